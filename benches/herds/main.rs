//! The herd beside itself: `cargo bench --bench herds`.
//!
//! What does flooding cost, or logging, or a key? What do many clients cost more than few? What
//! does a second server add, and what would a central store take away? Each trial has two sides or
//! more, which are measured one after the other, in several rounds, so that what else the machine
//! does hits all of them alike. Apart from `rivals`, where others are measured.

mod central;
#[path = "../common/chatter.rs"]
mod chatter;
mod deaths;
mod hearing;
mod herd;
#[path = "../common/load.rs"]
mod load;
#[path = "../common/machine.rs"]
mod machine;
mod sides;
mod spread;
mod table;
mod trial;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use clap::Parser;
use load::Span;
use sides::Store;
use table::Measurement;
use trial::Trial;

/// Measure the herd beside itself.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench herds --")]
struct Flags {
    /// One short round with few clients: everything runs, no figure means anything
    #[arg(long)]
    quick: bool,
    /// How often each side of each trial is measured
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How long each time
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// And how long before that
    #[arg(long, value_name = "S", default_value_t = 1.0)]
    warm_up: f64,
    /// Only trials whose names contain one of these
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<String>,
    /// Where herds.csv goes [default: target/herds]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Be a server on this port that asks the store, as the trials start it.
    #[arg(long, hide = true, requires = "store")]
    central: Option<u16>,
    #[arg(long, hide = true)]
    store: Option<u16>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> io::Result<()> {
    let flags = Flags::parse();
    if let Some((port, store)) = flags.central.zip(flags.store) {
        return central::serve(port, store);
    }
    let out = flags.out.clone();
    let out = out.unwrap_or_else(|| Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("herds"));
    fs::create_dir_all(&out)?;

    let mut trials = trial::all(flags.quick);
    let is_wanted = |name: String| flags.only.iter().any(|part| name.contains(part));
    trials.retain(|trial| flags.only.is_empty() || is_wanted(trial.name.to_lowercase()));
    if Store::is_missing() {
        eprintln!(
            "==== SKIPPED: the central store, for Redis is missing: apt-get install redis-server"
        );
        trials.iter_mut().for_each(|trial| trial.sides.retain(|side| !side.needs_store));
    }
    if trials.is_empty() {
        eprintln!("no trial has a name like that: --help tells what --only means");
        std::process::exit(2);
    }
    let (rounds, span) = if flags.quick {
        let short = Duration::from_millis(200);
        (1, Span { warm_up: short / 4, measure: short })
    } else {
        let [measure, warm_up] = [flags.seconds, flags.warm_up].map(Duration::from_secs_f64);
        (flags.rounds, Span { warm_up, measure })
    };
    let results = run(&trials, rounds, span);

    println!("{}", table::write(&trials, &results));
    let Span { warm_up, measure } = span;
    let machine = machine::description();
    println!(
        "{machine}; medians of {rounds} rounds of {measure:?} after {warm_up:?}, and in brackets \
         the least and the\nmost; without a log of lines but where it says so."
    );
    fs::write(out.join("herds.csv"), table::csv(&trials, &results))?;
    eprintln!("{}", out.join("herds.csv").display());
    let failed = results.iter().filter(|result| result.found.is_err()).count();
    if failed > 0 {
        eprintln!("{failed} of {} measurements failed: see above", results.len());
        std::process::exit(1);
    }
    Ok(())
}

fn run(trials: &[Trial], rounds: usize, span: Span) -> Vec<Measurement> {
    let mut results = Vec::new();
    for round in 0..rounds {
        for (trial, wanted) in trials.iter().enumerate() {
            for (side, measured) in wanted.sides.iter().enumerate() {
                let found = (measured.run)(span);
                let told = match &found {
                    Ok(found) => {
                        let told = found.iter().map(|(name, value)| format!("{name} {value:.2}"));
                        told.collect::<Vec<_>>().join(", ")
                    }
                    Err(why) => format!("FAILED: {why}"),
                };
                let (trial_name, side_name, number) = (&wanted.name, &measured.name, round + 1);
                eprintln!("{number}/{rounds} {trial_name}: {side_name}: {told}");
                results.push(Measurement { trial, side, round, found });
            }
        }
    }
    results
}
