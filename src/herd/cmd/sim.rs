//! Shows simulated runs to people: `sim`.
//!
//! `herd_sim` runs them; this is the way to ask for them and to read the results. Only this file
//! looks at a clock: how long a simulation takes is no part of it.

use std::io::{self, Write};
use std::time::Instant;

use super::exit::{Exit, Failure};
use herd_sim::crowd::{self, Crowd, Price, Shape};
use herd_sim::event_log::{Counts, Detail};
use herd_sim::{Plan, Run};

use super::table::write_table;

/// Violations that are shown; a bug breaks many seeds, and a few of them say it all.
const SHOWN_MAX: u64 = 10;

/// What is to be run.
#[derive(Clone, Debug)]
pub struct Runs {
    pub plan: Plan,
    pub seed: u64,
    pub seeds: u64,
    /// So many clients at two servers, instead of herds.
    pub crowd: Option<usize>,
    pub verbose: bool,
}

/// Runs them, and shows one in rows or many in a line.
///
/// # Errors
/// A promise was broken, or `out` cannot be written.
pub fn show(out: &mut impl Write, runs: &Runs) -> Result<Exit, Failure> {
    let shown = match (runs.crowd, runs.plan.reports, runs.seeds) {
        (Some(clients), ..) => crowds(out, clients, runs.seed),
        (None, Some(_), _) => measure(out, runs),
        (None, None, 1) => tell(out, runs),
        (None, None, _) => count(out, runs),
    };
    let kept = shown.and_then(|kept| out.flush().map(|()| kept));
    if kept.map_err(|error| Failure::of_output(&error))? {
        Ok(Exit::Success)
    } else {
        Err(Failure::new(Exit::Failed, ""))
    }
}

/// One run in rows. Says whether all promises were kept.
fn tell(out: &mut impl Write, runs: &Runs) -> io::Result<bool> {
    let detail = if runs.verbose { Detail::Lines } else { Detail::Events };
    let run = runs.plan.run(runs.seed, detail);
    let s = if run.links == 1 { "" } else { "s" };
    writeln!(out, "seed {}: {} servers, {} link{s}", run.seed, run.servers, run.links)?;
    run.rows.iter().try_for_each(|row| writeln!(out, "{row}"))?;
    let Counts { events, commands, link_faults, crashes, time } = run.counts;
    writeln!(
        out,
        "{events} events in {:.1} s; {commands} commands, {link_faults} link faults, {crashes} \
         crashes; trace {:016x}",
        time.as_secs_f64(),
        run.hash
    )?;
    write_verdict(out, runs, &run)
}

/// Many runs in one line, and those that broke a promise in two each.
fn count(out: &mut impl Write, runs: &Runs) -> io::Result<bool> {
    let begun = Instant::now();
    let (mut total, mut violations) = (Counts::default(), 0);
    for number in 0..runs.seeds {
        let run = runs.plan.run_one_of_many(runs.seed.wrapping_add(number), number);
        total.events += run.counts.events;
        total.commands += run.counts.commands;
        total.link_faults += run.counts.link_faults;
        total.crashes += run.counts.crashes;
        total.time += run.counts.time;
        violations += u64::from(run.outcome.is_err());
        if runs.verbose || run.outcome.is_err() && violations <= SHOWN_MAX {
            write!(out, "seed {}: ", run.seed)?;
            write_verdict(out, runs, &run)?;
            out.flush()?;
        }
    }
    let seconds = begun.elapsed().as_secs_f64();
    writeln!(
        out,
        "{} seeds, {violations} violations: {:.1} hours of {} events, {} commands, {} link faults \
         and {} crashes in {seconds:.1} s, {:.0} seeds a minute",
        runs.seeds,
        total.time.as_secs_f64() / 3_600.0,
        total.events,
        total.commands,
        total.link_faults,
        total.crashes,
        runs.seeds as f64 * 60.0 / seconds
    )?;
    Ok(violations == 0)
}

/// Crowds of all kinds, a row for each. Long lines and searched ids are fewer, for they cost more.
/// Says whether all promises were kept.
fn crowds(out: &mut impl Write, clients: usize, seed: u64) -> io::Result<bool> {
    let header = ["CLIENTS", "KIND", "MB HELD", "MB TO REFILL", "TRIPS", "MB OF HALF", "TRIPS"];
    let mut rows = vec![header.map(str::to_owned)];
    let mut broken = Vec::new();
    for (clients, shape, kind) in [
        (clients, Shape::Usual, "usual lines"),
        (clients.div_ceil(20), Shape::LongLines, "long lines"),
        (clients.div_ceil(100), Shape::HeavyLeaf, "long lines, one leaf"),
    ] {
        match crowd::run(Crowd { clients, shape }, seed) {
            Ok(Price { held, said, trips }) => {
                let mb = |bytes: usize| format!("{:.1}", bytes as f64 / 1e6);
                let [refill, half] = said.map(mb);
                let [trips, half_trips] = trips.map(|trips| trips.to_string());
                let clients = clients.to_string();
                rows.push([clients, kind.to_owned(), mb(held), refill, trips, half, half_trips]);
            }
            Err(violation) => broken.push(format!("{clients} clients, {kind}: BROKEN {violation}")),
        }
    }
    write_table(out, &rows)?;
    broken.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    Ok(broken.is_empty())
}

/// What reports cost, a row for each run.
fn measure(out: &mut impl Write, runs: &Runs) -> io::Result<bool> {
    let header = [
        "SERVERS",
        "LINKS",
        "REPORTS",
        "LINES EACH",
        "2E-N+1",
        "BYTES EACH",
        "ROUNDS MEAN",
        "MAX",
        "AGREED AFTER MEAN",
        "MAX",
    ];
    let mut rows = vec![header.map(str::to_owned)];
    let mut broken = Vec::new();
    for seed in (0..runs.seeds).map(|number| runs.seed.wrapping_add(number)) {
        let run = runs.plan.run(seed, Detail::Silent);
        let reports = run.cost.reports.max(1) as f64;
        let ms = |seconds: f64| format!("{:.1} ms", 1_000.0 * seconds);
        rows.push([
            run.servers.to_string(),
            run.links.to_string(),
            run.cost.reports.to_string(),
            format!("{:.2}", run.cost.lines as f64 / reports),
            (2 * run.links + 1 - run.servers).to_string(),
            format!("{:.0}", run.cost.bytes as f64 / reports),
            format!("{:.1}", f64::from(run.cost.rounds_sum) / reports),
            run.cost.rounds_max.to_string(),
            ms(run.cost.time_sum.as_secs_f64() / reports),
            ms(run.cost.time_max.as_secs_f64()),
        ]);
        broken.extend(Some(run).filter(|run| run.outcome.is_err()));
    }
    write_table(out, &rows)?;
    for run in &broken {
        write_verdict(out, runs, run)?;
    }
    Ok(broken.is_empty())
}

fn write_verdict(out: &mut impl Write, runs: &Runs, run: &Run) -> io::Result<bool> {
    match &run.outcome {
        Ok(()) => writeln!(out, "all promises kept")?,
        Err(violation) => {
            writeln!(out, "BROKEN {violation}")?;
            writeln!(out, "run it again: {}", runs.plan.command(run.seed))?;
        }
    }
    Ok(run.outcome.is_ok())
}
