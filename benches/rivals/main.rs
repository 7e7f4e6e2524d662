//! The herd beside servers of other kinds that do the same: `cargo bench --bench rivals`.
//!
//! It builds every rival that this machine can build, says of the others why not and what would
//! help, and lets `herd bench` load them one after the other, in several rounds, so that what else
//! the machine does hits all of them alike. The server has one core and the load another. Medians
//! are printed and drawn beside the limit: a loop in C that answers but keeps nothing. Apart from
//! the criterion benches because it compares servers and not commits.

mod chart;
#[path = "../common/load.rs"]
mod load;
#[path = "../common/machine.rs"]
mod machine;
mod race;
mod rivals;
mod size;
mod table;

use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{fs, io};

use clap::Parser;
use load::Span;
use race::{Course, LOADS, QUICK_LOADS};
use rivals::Rival;

/// Measure the herd beside servers of other kinds.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench rivals --")]
struct Flags {
    /// One short round with few connections: everything runs, no figure means anything
    #[arg(long)]
    quick: bool,
    /// How often each rival meets each load
    #[arg(long, value_name = "N", default_value_t = 3)]
    rounds: usize,
    /// How long each time
    #[arg(long, value_name = "S", default_value_t = 3.0)]
    seconds: f64,
    /// And how long before that, for Java five times: two compilers and some caches get warm
    #[arg(long, value_name = "S", default_value_t = 2.0)]
    warm_up: f64,
    /// Only rivals whose names contain one of these, beside the herd and the limit
    #[arg(long, value_name = "PART", value_delimiter = ',')]
    only: Vec<String>,
    /// Where rivals.csv and rivals.svg go [default: target/rivals]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// What cargo adds.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> io::Result<()> {
    let flags = Flags::parse();
    let workshop = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("rivals");
    let out = flags.out.clone().unwrap_or_else(|| workshop.clone());
    fs::create_dir_all(&workshop)?;
    fs::create_dir_all(&out)?;

    let mut rivals = Vec::new();
    for rival in rivals::all(&workshop) {
        match rival {
            Ok(rival) if is_wanted(&rival, &flags.only) => rivals.push(rival),
            Ok(_) => {}
            Err(why) => eprintln!("==== SKIPPED: {why}"),
        }
    }
    let course = if flags.quick {
        let short = Duration::from_millis(300);
        let span = Span { warm_up: short / 3, measure: short };
        Course { loads: QUICK_LOADS, rounds: 1, span }
    } else {
        let [measure, warm_up] = [flags.seconds, flags.warm_up].map(Duration::from_secs_f64);
        Course { loads: LOADS, rounds: flags.rounds, span: Span { warm_up, measure } }
    };
    let results = course.run(&rivals);

    println!("{}", table::write(&rivals, course.loads, &results));
    println!("{}", machine(&course, &rivals));
    fs::write(out.join("rivals.csv"), table::csv(&rivals, course.loads, &results))?;
    fs::write(out.join("rivals.svg"), chart::draw(&rivals, course.loads, &results))?;
    eprintln!("{}, and rivals.svg beside it", out.join("rivals.csv").display());
    let failed = results.iter().filter(|result| result.found.is_err()).count();
    if failed > 0 {
        eprintln!("{failed} of {} measurements failed: see above", results.len());
        std::process::exit(1);
    }
    Ok(())
}

fn is_wanted(rival: &Rival, only: &[String]) -> bool {
    let name = rival.name.to_lowercase();
    only.is_empty()
        || rival.is_ours
        || rival.is_limit
        || only.iter().any(|part| name.contains(part))
}

/// When and where, how, and what was measured.
fn machine(course: &Course, rivals: &[Rival]) -> String {
    let mut versions: Vec<&str> = Vec::new();
    for version in rivals.iter().filter_map(|rival| rival.version.as_deref()) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let (rounds, Span { warm_up, measure }) = (course.rounds, course.span);
    format!(
        "{}; medians of {rounds} rounds of {measure:?} after {warm_up:?}, for Java five times as \
         long, and in\nbrackets the least and the most; the herd without its log of lines but \
         where it says so, Redis\nand memcached in memory only; {}.",
        machine::description(),
        versions.join(", "),
    )
}
