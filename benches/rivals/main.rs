//! The herd beside servers of other kinds that do the same: `cargo bench --bench rivals`.
//!
//! It builds every rival that this machine can build, says of the others why not and what would
//! help, and lets `herd bench` load them one after the other, in several rounds, so that what else
//! the machine does hits all of them alike. The server has one core and the load another. Medians
//! are printed and drawn beside the limit: a loop in C that answers but keeps nothing. Apart from
//! the criterion benches because it compares servers and not commits.

mod chart;
mod journals;
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
use race::{Course, JOURNAL_LOADS, LOADS, QUICK_JOURNAL_LOADS, QUICK_LOADS};
use rivals::Rival;

/// Measure the herd beside servers of other kinds.
#[derive(Debug, Parser)]
#[command(name = "cargo bench --bench rivals --")]
struct Flags {
    /// One short round with few connections: everything runs, no figure means anything
    #[arg(long)]
    quick: bool,
    /// Those that keep what they answer on disk, beside the herd with a journal and without
    #[arg(long)]
    journal: bool,
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
    /// Where the tables of figures and the charts go [default: target/rivals]
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
    let all = if flags.journal { journals::all(&workshop) } else { rivals::all(&workshop) };
    for rival in all {
        match rival {
            Ok(rival) if is_wanted(&rival, &flags.only) => rivals.push(rival),
            Ok(_) => {}
            Err(why) => eprintln!("==== SKIPPED: {why}"),
        }
    }
    let loads = match (flags.journal, flags.quick) {
        (false, false) => LOADS,
        (false, true) => QUICK_LOADS,
        (true, false) => JOURNAL_LOADS,
        (true, true) => QUICK_JOURNAL_LOADS,
    };
    let course = if flags.quick {
        let short = Duration::from_millis(300);
        Course { loads, rounds: 1, span: Span { warm_up: short / 3, measure: short } }
    } else {
        let [measure, warm_up] = [flags.seconds, flags.warm_up].map(Duration::from_secs_f64);
        Course { loads, rounds: flags.rounds, span: Span { warm_up, measure } }
    };
    // What the others' figures are compared with, and where all of them go.
    let (base, file) = if flags.journal { ("off", "journals") } else { ("the limit", "rivals") };
    let results = course.run(&rivals);

    println!("{}", table::write(&rivals, course.loads, &results, base));
    println!("{}", machine(&course, &rivals, flags.journal));
    let csv = out.join(file).with_extension("csv");
    fs::write(&csv, table::csv(&rivals, course.loads, &results))?;
    let chart = chart::draw(&rivals, course.loads, &results);
    fs::write(out.join(file).with_extension("svg"), chart)?;
    eprintln!("{}, and {file}.svg beside it", csv.display());
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
fn machine(course: &Course, rivals: &[Rival], is_journal: bool) -> String {
    let mut versions: Vec<&str> = Vec::new();
    for version in rivals.iter().filter_map(|rival| rival.version.as_deref()) {
        if !versions.contains(&version) {
            versions.push(version);
        }
    }
    let (rounds, Span { warm_up, measure }) = (course.rounds, course.span);
    let kept = if is_journal {
        "the herd without its log of lines"
    } else {
        "for Java five times as long; the herd without its log of lines but where it says so, \
         Redis\nand memcached in memory only"
    };
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    format!(
        "{}; medians of {rounds} rounds of {measure:?} after {warm_up:?}, and in brackets the \
         least and\nthe most; {kept}; {}; load of the machine at the end {}.",
        machine::description(),
        versions.join(", "),
        load.split(' ').next().unwrap_or_default(),
    )
}
