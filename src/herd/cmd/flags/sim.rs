//! The flags of `sim` and `mutants`.

use std::ops::RangeInclusive;

use clap::Args;

use super::super::exit::{Exit, Failure};
use herd_sim::faults::Faults;
use herd_sim::graph::Shape;
use herd_sim::{Plan, SERVERS_MAX};
use herd_teach::mutation::hunt::Limits;

use super::super::mutants::{Hunt, SEEDS};
use super::super::sim::Runs;

/// What `sim` takes.
#[derive(Args, Clone, Debug)]
pub struct SimFlags {
    /// How many servers [default: each seed decides, 1 to 9]
    #[arg(long, value_name = "N|LO-HI", value_parser = parse_servers)]
    pub servers: Option<RangeInclusive<usize>>,
    /// The seed of the run, or of the first of several
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How many runs; one is shown in rows, several in a line
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub seeds: u64,
    /// What may go wrong: none, or a list such as crash,stall [default: each seed decides]
    #[arg(long, value_name = "none|LIST", value_parser = Faults::parse)]
    pub faults: Option<Faults>,
    /// Who is joined with whom: preset:2023, random, random:DEGREE, ring, star, line or mesh
    /// [default: each seed decides]
    #[arg(long, value_name = "GRAPH", value_parser = Shape::parse)]
    pub graph: Option<Shape>,
    /// Servers tell each other by an engine instead of links, and it has its accidents
    #[arg(long, conflicts_with_all = ["graph", "reports"])]
    pub engine: bool,
    /// Into how many parts their clients are divided [default: each seed decides]
    #[arg(long, value_name = "1|32", requires = "engine", value_parser = parse_parts)]
    pub parts: Option<usize>,
    /// Instead of herds: two servers and so many clients of each kind, and what each input costs
    #[arg(long, value_name = "CLIENTS")]
    #[arg(conflicts_with_all = ["servers", "graph", "faults", "reports", "engine"])]
    pub crowd: Option<usize>,
    /// Measure what so many reports cost where nothing goes wrong [default above 64 servers: 100]
    #[arg(long, value_name = "N", conflicts_with = "faults")]
    pub reports: Option<usize>,
    /// Show every line between servers; of several runs, each
    #[arg(short, long)]
    pub verbose: bool,
}

/// What `mutants` takes.
#[derive(Args, Clone, Debug)]
pub struct MutantsFlags {
    /// Names of bugs; of a single one, the run that notices it is shown in rows [default: all]
    #[arg(value_name = "BUG")]
    pub bugs: Vec<String>,
    /// The first simulated run of each bug
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How many runs a bug may take to be noticed
    #[arg(long, value_name = "K", default_value_t = SEEDS)]
    pub seeds: u64,
    /// Plant nothing: look for what is wrong with this very program
    #[arg(long, hide = true)]
    pub inside: bool,
    /// Look in herds on an engine
    #[arg(long, hide = true, requires = "inside")]
    pub engine: bool,
}

fn parse_parts(text: &str) -> Result<usize, &'static str> {
    [1, 32].into_iter().find(|parts| parts.to_string() == text).ok_or("write 1 or 32")
}

/// `5` or `2-9`.
fn parse_servers(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let bounds = least.parse().ok().zip(most.parse().ok());
    let is_sound = |&(least, most): &(usize, usize)| 1 <= least && least <= most && most <= 5_000;
    let (least, most) =
        bounds.filter(is_sound).ok_or("write a number from 1 to 5000, or two as in 2-9")?;
    Ok(least..=most)
}

impl SimFlags {
    /// # Errors
    /// The flags do not go together.
    pub fn runs(self) -> Result<Runs, Failure> {
        let SimFlags { servers, seed, seeds, faults, graph, engine, parts, .. } = self;
        let SimFlags { reports, crowd, verbose, .. } = self;
        if let Some((Shape::Preset(preset), servers)) = graph.zip(servers.as_ref())
            && !servers.contains(&preset.servers.len())
        {
            let message = format!("the herd of {} has {}", preset.year, preset.servers.len());
            return Err(Failure::new(Exit::Usage, message + " servers"));
        }
        let is_large = servers.as_ref().is_some_and(|servers| *servers.end() > SERVERS_MAX);
        if is_large && faults.is_some_and(|faults| !faults.is_empty()) {
            let message = format!("nothing goes wrong in herds of more than {SERVERS_MAX}");
            return Err(Failure::new(Exit::Usage, message));
        }
        let reports = reports.or(is_large.then_some(100));
        let plan = Plan { servers, graph, faults, engine, parts, reports };
        Ok(Runs { plan, seed, seeds, crowd, verbose })
    }
}

impl MutantsFlags {
    pub fn hunt(self) -> Hunt {
        let MutantsFlags { bugs, seed, seeds, inside, engine } = self;
        let limits = Limits { seed, seeds };
        Hunt { bugs, limits, is_inside: inside, is_on_engine: engine }
    }
}
