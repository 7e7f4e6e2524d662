//! The command line: flags, the environment that stands in for them, help.
//!
//! Apart from what the commands do. A flag beats its `HERD_*` variable (clap sees to that, except
//! where two flags exclude each other); what both beat is decided by `herd::config::layers`.

mod bench;
mod lab;
mod trace;

use std::env;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::{Resettable, StyledStr};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};
use log::LevelFilter;

use herd::config::herd::parse_name;
use herd::config::layers::{Overrides, PlainPeer, Which, configure};
use herd::config::limits::parse_spin;
use herd::config::presets::BASE_PORT_MAX;
use herd::config::settings::{default_run_dir, parse_level};
use herd::config::{Config, ConfigError, PlacesSource, Secret, StaleReply, address, file};
use herd::exit::{Exit, Failure};
use herd::places::ATTRIBUTION;
use herd::sim::faults::Faults;
use herd::sim::graph::Shape;
use herd::sim::{Plan, SERVERS_MAX};

use crate::lives::Lives;
use crate::mutants::{Hunt, SEEDS};

pub use {bench::BenchFlags, lab::LabFlags, trace::TraceCommand};

/// The towns' licence (CC BY 4.0) asks for credit wherever they are shown.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{}\n{ATTRIBUTION}", env!("CARGO_PKG_VERSION")));

const EXAMPLES: &str = "\
Examples:
  herd serve Hill                        run Hill of the newest year that has one
  herd say Hill 'IAMAT kiwi +34.07-118.45 1520023934.918963997'
  herd say Hill 'WHATSAT kiwi 10 5'      ask what is near
  herd status                            who runs, who is joined with whom
  herd places near +60.17+24.94 5 3      ask what is near, without a server
  herd bench Hill -p 16                  how many requests a second it answers
  herd sim --seed 17                     a life of a herd in virtual time, and its faults
  herd lab --list                        experiments for a lecture
  herd example-config > herd.toml        begin a herd of your own
  herd serve Hill --config herd.toml     run it
  herd keygen                            make a key, so that it may leave this machine

Exit codes: 0 done, 1 a simulated herd broke a promise or an experiment failed, 2 usage, 3 not
running, 69 nobody answers, 73 no log, run directory, trace or new key file, 78 configuration,
98 port or name taken.";

const LEVEL_HELP: &str =
    "How much to log: off, error, warn, info (or events), debug (or traffic), trace";

/// A herd of equal servers that tell each other where their clients are.
#[derive(Debug, Parser)]
#[command(name = "herd", version = VERSION.as_str(), after_help = EXAMPLES)]
#[command(disable_help_subcommand = true)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one server of a herd, until it is told to stop (SIGTERM, Ctrl-C)
    Serve {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        #[command(flatten)]
        flags: ServeFlags,
    },
    /// Check what `serve` with the same flags would run, and describe it
    CheckConfig {
        /// One server, whose addresses and keys are checked too
        #[arg(value_parser = parse_name)]
        name: Option<String>,
        /// Print only the names of the servers that can be started here, one a line
        #[arg(long, conflicts_with = "name")]
        names: bool,
        #[command(flatten)]
        flags: ServeFlags,
    },
    /// Print a complete herd.toml that explains every key
    ExampleConfig,
    /// Make a key by which the servers of a herd know each other
    Keygen {
        /// Where the key goes, or is
        #[arg(default_value = "herd.key")]
        file: PathBuf,
        /// Put a new key before the newest of the file, and drop those that are older
        #[arg(long)]
        rotate: bool,
    },
    /// List the herds that need no herd.toml
    Presets,
    /// Show who runs, since when, and who is joined with whom
    Status {
        /// Servers to ask [default: all that have run here]
        #[arg(value_parser = parse_name)]
        names: Vec<String>,
        /// Print a JSON array instead of a table
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        place: PlaceFlags,
    },
    /// Send one line to a server as a client would, and print the answer
    Say {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        /// The line; several words are joined by blanks
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        line: Vec<String>,
        #[command(flatten)]
        herd: HerdFlags,
    },
    /// Print the process id of a running server
    Pid {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        #[command(flatten)]
        place: PlaceFlags,
    },
    /// Put a load on a server and measure it
    Bench(Box<BenchFlags>),
    /// Look at places: what a file holds, what is near a position
    #[command(subcommand)]
    Places(PlacesCommand),
    /// Look at what servers have recorded (`serve --trace`)
    #[command(subcommand)]
    Trace(TraceCommand),
    /// Show a fact that this house rests on, as a small experiment; without a name, list them
    Lab(LabFlags),
    /// Simulate herds, with faults, and check that they keep what they promise
    Sim(SimFlags),
    /// Plant bugs in simulated herds, and show how soon each is noticed (in a build for it)
    Mutants(MutantsFlags),
}

#[derive(Debug, Subcommand)]
pub enum PlacesCommand {
    /// Say how many places a file holds, where they are, and what is wrong with others
    Check {
        /// CSV or GeoJSON, packed with gzip or not
        file: PathBuf,
    },
    /// Print what a WHATSAT would be answered with, without a server
    Near {
        /// As in IAMAT: +60.1699+24.9384
        #[arg(allow_hyphen_values = true)]
        position: String,
        /// Kilometres, at most 50
        radius: String,
        /// How many results, at most 20
        bound: String,
        /// Your own places instead of the atlas
        #[arg(long, value_name = "FILE", env = "HERD_PLACES_FILE", hide_env_values = true)]
        file: Option<PathBuf>,
        /// HTML that names their origin
        #[arg(long, value_name = "HTML", env = "HERD_PLACES_ATTRIBUTION", hide_env_values = true)]
        attribution: Option<String>,
    },
}

/// Which herd is meant.
#[derive(Args, Clone, Debug, Default)]
pub struct HerdFlags {
    /// A herd of your own; see `herd example-config`
    #[arg(long, value_name = "FILE", env = "HERD_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// The herd of a year; see `herd presets` [default: the newest with that server]
    #[arg(long, value_name = "YEAR", env = "HERD_PRESET", hide_env_values = true)]
    pub preset: Option<String>,
    /// First client port of a preset [default: 12000]; peer ports are 100 above
    #[arg(long, value_name = "PORT", env = "HERD_BASE_PORT", hide_env_values = true)]
    #[arg(value_parser = parse_port)]
    pub base_port: Option<u16>,
    /// Host to listen on instead of the configured one (127.0.0.1 in a preset)
    #[arg(long, value_name = "ADDR", env = "HERD_BIND", hide_env_values = true)]
    #[arg(value_parser = address::parse_host)]
    pub bind: Option<String>,
}

/// What `serve` takes.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    #[command(flatten)]
    pub herd: HerdFlags,
    /// File with the herd's keys, mode 600, the same for all its servers; see `herd keygen`
    #[arg(long, value_name = "FILE", env = "HERD_KEY_FILE", hide_env_values = true)]
    pub key_file: Option<PathBuf>,
    /// Who knows what is near: embedded (the default), file, google-new, google-legacy, overpass
    #[arg(long, value_name = "SOURCE", env = "HERD_PLACES", hide_env_values = true)]
    pub places: Option<PlacesSource>,
    /// Your own places, for source `file`: CSV or GeoJSON; see `herd places check`
    #[arg(long, value_name = "FILE", env = "HERD_PLACES_FILE", hide_env_values = true)]
    pub places_file: Option<PathBuf>,
    /// HTML that names the origin of your own places in every answer, if their licence wants that
    #[arg(long, value_name = "HTML", env = "HERD_PLACES_ATTRIBUTION", hide_env_values = true)]
    pub places_attribution: Option<String>,
    /// Base URL of the places service, if it is not the service's own
    #[arg(long, value_name = "URL", env = "HERD_PLACES_URL", hide_env_values = true)]
    pub places_url: Option<String>,
    /// File with the service's key, mode 600; HERD_PLACES_KEY may hold the key itself
    #[arg(long, value_name = "FILE", env = "HERD_PLACES_KEY_FILE", hide_env_values = true)]
    pub places_key_file: Option<PathBuf>,
    /// Directory of the log files [default: log]
    #[arg(long, value_name = "DIR", env = "HERD_LOG_DIR", hide_env_values = true)]
    pub log_dir: Option<PathBuf>,
    #[arg(long, value_name = "LEVEL", env = "HERD_LOG_LEVEL", hide_env_values = true)]
    #[arg(value_parser = parse_level, help = LEVEL_HELP)]
    pub log_level: Option<LevelFilter>,
    /// Directory of pid files and admin sockets [default: run]
    #[arg(long, value_name = "DIR", env = "HERD_RUN_DIR", hide_env_values = true)]
    pub run_dir: Option<PathBuf>,
    /// Record what the loop does, and write it there at the end and at SIGUSR1; see `herd trace`
    #[arg(long, value_name = "FILE", env = "HERD_TRACE", hide_env_values = true)]
    pub trace: Option<PathBuf>,
    /// Look for work so many microseconds before sleeping: sooner answers, a busy core [default: 0]
    #[arg(long, value_name = "N", env = "HERD_SPIN_US", hide_env_values = true)]
    #[arg(value_parser = parse_spin)]
    pub spin_us: Option<u32>,
    /// Answer the sender of an older IAMAT with its own line (the default) or the stored one
    #[arg(long, value_name = "own|stored", env = "HERD_STALE_REPLY", hide_env_values = true)]
    pub stale_reply: Option<StaleReply>,
    /// Close after the first answer, for clients that wait for the end of the stream
    #[arg(long, env = "HERD_CLOSE_AFTER_REPLY", hide_env_values = true)]
    #[arg(value_parser = parse_switch)]
    pub close_after_reply: bool,
    /// Believe AT lines on the client port, as course servers send them (loopback only)
    #[arg(long, env = "HERD_PLAIN", hide_env_values = true)]
    #[arg(value_parser = parse_switch)]
    pub plain: bool,
    /// A course server is our neighbour: a member's name or NAME=HOST:PORT, and behind commas what
    /// its AT lines need: crlf, sender (our name), word=WORD; may be repeated, implies --plain
    #[arg(long, value_name = "NAME[=HOST:PORT][,SHAPE]")]
    pub plain_peer: Vec<PlainPeer>,
    /// The key itself comes from the environment only: everybody can read a command line.
    #[arg(skip)]
    pub places_key: Option<Secret>,
}

/// What `sim` takes.
#[derive(Args, Clone, Debug)]
pub struct SimFlags {
    /// How many servers [default: each seed decides, 2 to 9]
    #[arg(long, value_name = "N|LO-HI", value_parser = parse_servers)]
    pub servers: Option<RangeInclusive<usize>>,
    /// The life to be lived, or the first of several
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How many lives; one is told in rows, several in a line
    #[arg(long, value_name = "K", default_value_t = 1)]
    pub seeds: u64,
    /// What may go wrong: none, or a list such as crash,stall [default: each seed decides]
    #[arg(long, value_name = "none|LIST", value_parser = Faults::parse)]
    pub faults: Option<Faults>,
    /// Who is joined with whom: preset:2023, random, random:DEGREE, ring, star, line or mesh
    /// [default: each seed decides]
    #[arg(long, value_name = "GRAPH", value_parser = Shape::parse)]
    pub graph: Option<Shape>,
    /// Measure what so many reports cost where nothing goes wrong [default above 64 servers: 100]
    #[arg(long, value_name = "N", conflicts_with = "faults")]
    pub reports: Option<usize>,
    /// Show every line between servers; of several lives, each
    #[arg(short, long)]
    pub verbose: bool,
}

/// What `mutants` takes.
#[derive(Args, Clone, Debug)]
pub struct MutantsFlags {
    /// Names of bugs; of a single one, the life that notices it is told in rows [default: all]
    #[arg(value_name = "BUG")]
    pub bugs: Vec<String>,
    /// The first life of each bug
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub seed: u64,
    /// How many lives a bug may take to be noticed
    #[arg(long, value_name = "K", default_value_t = SEEDS)]
    pub seeds: u64,
}

/// Where running servers are found.
#[derive(Args, Clone, Debug, Default)]
pub struct PlaceFlags {
    /// Directory of pid files and admin sockets [default: what herd.toml says, or run]
    #[arg(long, value_name = "DIR", env = "HERD_RUN_DIR", hide_env_values = true)]
    pub run_dir: Option<PathBuf>,
    /// The herd.toml that names the run directory
    #[arg(long, value_name = "FILE", env = "HERD_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

impl Cli {
    /// What this process was told. Ends it when that is not understood, or was a cry for help.
    pub fn from_process() -> Cli {
        let mut definition = without_empty_variables(Cli::command());
        definition.build();
        let matches = definition.clone().try_get_matches();
        let matches = matches.unwrap_or_else(|error| name_variable(&definition, error).exit());
        let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        let key = env::var("HERD_PLACES_KEY").ok().filter(|key| !key.trim().is_empty());
        let key = key.map(|key| {
            let no_word = "HERD_PLACES_KEY holds more than one word: put the key alone in it";
            let error = || Cli::command().error(ErrorKind::InvalidValue, no_word);
            Secret::parse(&key).unwrap_or_else(|| error().exit())
        });
        if let Some((_, given)) = matches.subcommand() {
            cli.command.prefer_flags(given, key).unwrap_or_else(|error| error.exit());
        }
        cli
    }
}

/// An empty variable is one that is not set, as in shells.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(env::var_os);
        if value.is_some_and(|value| value.is_empty()) { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Clap blames the flag even if it was never typed: its variable may have been exported long ago.
fn name_variable(definition: &clap::Command, mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(blamed)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let mut args = definition.get_subcommands().flat_map(clap::Command::get_arguments);
    let Some(arg) = args.find(|arg| arg.to_string() == *blamed) else { return error };
    let flag = format!("--{}", arg.get_long().unwrap_or_default());
    let is_typed = env::args_os().any(|word| word.to_string_lossy().starts_with(&flag));
    if let Some(variable) = arg.get_env().filter(|name| !is_typed && env::var_os(name).is_some()) {
        let tip = format!("this comes from the variable {}", variable.display());
        let tip = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

/// Whether so many ports fit above it is the preset's affair.
fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is no port: write 1 to {BASE_PORT_MAX}"))
}

/// What the variable of a flag without a value may say.
fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("write 1 or 0".into()),
    }
}

/// `5` or `2-9`.
fn parse_servers(text: &str) -> Result<RangeInclusive<usize>, String> {
    let (least, most) = text.split_once('-').unwrap_or((text, text));
    let bounds = least.parse().ok().zip(most.parse().ok());
    let is_sound = |&(least, most): &(usize, usize)| 2 <= least && least <= most && most <= 5_000;
    let (least, most) =
        bounds.filter(is_sound).ok_or("write a number from 2 to 5000, or two as in 2-9")?;
    Ok(least..=most)
}

impl Command {
    /// Forgets what the environment says where a flag that excludes it was given.
    fn prefer_flags(
        &mut self,
        given: &ArgMatches,
        places_key: Option<Secret>,
    ) -> Result<(), clap::Error> {
        let is_flag = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
        let herd = match self {
            Command::Serve { flags, .. } | Command::CheckConfig { flags, .. } => {
                if !is_flag("places_key_file") {
                    flags.places_key = places_key;
                }
                &mut flags.herd
            }
            Command::Say { herd, .. } => herd,
            Command::Bench(flags) => &mut flags.herd,
            _ => return Ok(()),
        };
        match (is_flag("config"), is_flag("preset")) {
            (true, true) => {
                let sentence = "--config and --preset name two herds: leave one out";
                return Err(Cli::command().error(ErrorKind::ArgumentConflict, sentence));
            }
            (true, false) => {
                herd.preset = None;
                herd.base_port = herd.base_port.filter(|_| is_flag("base_port"));
            }
            (false, true) => herd.config = None,
            (false, false) => {}
        }
        Ok(())
    }
}

impl HerdFlags {
    pub fn which(&self) -> Which {
        Which {
            config: self.config.clone(),
            preset: self.preset.clone(),
            base_port: self.base_port,
            bind: self.bind.clone(),
            key_file: None,
        }
    }
}

impl ServeFlags {
    pub fn which(&self) -> Which {
        Which { key_file: self.key_file.clone(), ..self.herd.which() }
    }

    /// The configuration of the server `name`.
    ///
    /// # Errors
    /// Every mistake that an operator can make before a socket is opened.
    pub fn config(self, name: &str) -> Result<Config, ConfigError> {
        let which = self.which();
        let (herd, settings) = which.herd(Some(name))?;
        configure(name, herd, settings, &which, self.overrides())
    }

    fn overrides(self) -> Overrides {
        Overrides {
            places: self.places,
            places_file: self.places_file,
            places_attribution: self.places_attribution,
            places_url: self.places_url,
            places_key_file: self.places_key_file,
            places_key: self.places_key,
            log_dir: self.log_dir,
            log_level: self.log_level,
            run_dir: self.run_dir,
            trace: self.trace,
            spin_us: self.spin_us,
            stale_reply: self.stale_reply,
            close_after_reply: self.close_after_reply,
            plain: self.plain,
            plain_peers: self.plain_peer,
        }
    }
}

impl SimFlags {
    /// # Errors
    /// The flags do not go together.
    pub fn lives(self) -> Result<Lives, Failure> {
        let SimFlags { servers, seed, seeds, faults, graph, reports, verbose } = self;
        if let Some((Shape::Preset(preset), servers)) = graph.zip(servers.as_ref())
            && !servers.contains(&preset.servers.len())
        {
            let sentence = format!("the herd of {} has {}", preset.year, preset.servers.len());
            return Err(Failure::new(Exit::Usage, sentence + " servers"));
        }
        let is_large = servers.as_ref().is_some_and(|servers| *servers.end() > SERVERS_MAX);
        if is_large && faults.is_some_and(|faults| !faults.is_empty()) {
            let sentence = format!("nothing goes wrong in herds of more than {SERVERS_MAX}");
            return Err(Failure::new(Exit::Usage, sentence));
        }
        let reports = reports.or(is_large.then_some(100));
        let plan = Plan { servers, graph, faults, reports };
        Ok(Lives { plan, seed, seeds, verbose })
    }
}

impl MutantsFlags {
    pub fn hunt(self) -> Hunt {
        Hunt { bugs: self.bugs, seed: self.seed, seeds: self.seeds }
    }
}

impl PlaceFlags {
    /// The run directory: flag or environment, else herd.toml, else `run`.
    ///
    /// # Errors
    /// herd.toml is asked and wrong.
    pub fn run_dir(self) -> Result<PathBuf, ConfigError> {
        match (self.run_dir, self.config) {
            (Some(run_dir), _) => Ok(run_dir),
            (None, Some(path)) => Ok(file::read(&path)?.1.run_dir),
            (None, None) => Ok(default_run_dir()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_rest_of_say_is_one_line() {
        let words = ["herd", "say", "Hill", "WHATSAT", "kiwi", "-5", "--preset"];
        let Command::Say { line, .. } = Cli::try_parse_from(words).unwrap().command else {
            panic!("not say");
        };
        assert_eq!(line, ["WHATSAT", "kiwi", "-5", "--preset"]);
    }
}
