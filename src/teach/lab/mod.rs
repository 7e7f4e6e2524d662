//! The lab: the facts that the server rests on, each shown by a small program (`herd lab`).
//!
//! It uses no parts of the server but those that an experiment is about. The experiments are
//! written with raw mio, as a newcomer would, to be read in a lecture: the mistakes in them are on
//! purpose. An experiment that does not show its effect says so, for then the fact that a part of
//! the house rests on is not true any more on this system.
//!
//! Reading order: `readiness`, `names`, `waking`, `ends`, `descriptors`, `fairness`, `blocking`,
//! `resolving`, `logs`, `ties`, `files`, `disks`, `forking`, then `asyncio`.

mod asyncio;
mod blocking;
mod descriptors;
mod disks;
mod ends;
mod error;
mod fairness;
mod files;
mod forking;
mod logs;
mod names;
mod readiness;
mod resolving;
mod ties;
mod waking;

use std::fmt::Display;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;

use mio::{Events, Poll};
use ureq::Agent;

pub use error::LabError;

/// All of them, in the order of the book.
const EXPERIMENTS: &[Experiment] = &[
    readiness::UNDRAINED,
    readiness::LEVEL,
    ends::SILENT_END,
    ends::REFUSED,
    descriptors::DESCRIPTORS,
    fairness::HOG,
    asyncio::STARVATION,
    ends::RESET,
    names::NEWCOMER,
    waking::SHORT_SLEEPS,
    waking::WAKES,
    waking::WAKE_FIRST,
    blocking::BLOCKING,
    resolving::RESOLVER,
    asyncio::ORDER,
    asyncio::EXECUTOR,
    asyncio::TRICKLE,
    ties::FIRST_SEEN,
    asyncio::DEADLOCK,
    logs::LOG,
    files::KILL_NINE,
    files::WRITE_BLOCKS,
    files::GROUP_COMMIT,
    disks::FSYNC_LIES,
    disks::TORN_TAIL,
    forking::FORK_FREEZES,
    asyncio::FOLLOWERS,
    asyncio::START_TLS,
    asyncio::SERVER_CLOSE,
];

/// A busy machine may hide an effect once.
const TRIES: usize = 3;
/// Long enough for anything that comes at all.
const TIMEOUT: Duration = Duration::from_secs(1);
const COLUMNS: usize = 80;

/// A fact, and the program that shows it.
struct Experiment {
    name: &'static str,
    /// The chapter of NOTES.md.
    chapter: u8,
    title: &'static str,
    about: &'static str,
    steps: &'static str,
    /// What is built in the server because of it.
    house: &'static str,
    run: fn(&mut Findings, &House) -> io::Result<()>,
}

/// What an experiment has shown.
#[derive(Default)]
struct Findings {
    rows: Vec<[String; 3]>,
    /// Why the effect does not show.
    doubt: Option<String>,
}

impl Findings {
    /// A figure, after the one that a reader might have expected.
    fn show(&mut self, what: &str, expected: impl Display, found: impl Display) {
        self.rows.push([what.to_owned(), expected.to_string(), found.to_string()]);
    }

    /// What must hold if the effect is there, and the message if it does not.
    fn demand(&mut self, holds: bool, otherwise: &str) {
        if !holds {
            self.doubt.get_or_insert_with(|| otherwise.to_owned());
        }
    }
}

pub fn names() -> impl Iterator<Item = &'static str> {
    EXPERIMENTS.iter().map(|experiment| experiment.name)
}

/// Prints a line for each experiment.
///
/// # Errors
/// What `out` says.
pub fn list(out: &mut impl Write) -> io::Result<()> {
    for Experiment { name, chapter, title, .. } in EXPERIMENTS {
        writeln!(out, "{name:12}  {chapter:2}  {title}")?;
    }
    writeln!(out, "\nThe number is the chapter of NOTES.md. `herd lab NAME` runs one of them.")?;
    writeln!(out, "Bugs to be planted: cargo run --release --features mutants -- mutants")
}

/// Waits until a log is on the disk.
pub type EndLog = Box<dyn FnOnce()>;

/// The parts of the server that two experiments show beside what a newcomer would write. The caller
/// of the lab hands them in.
pub struct House {
    /// Starts a log in this folder, and gives what ends it.
    pub start_log: fn(&Path) -> io::Result<EndLog>,
    /// A client of HTTP whose resolver remembers.
    pub agent: fn(ureq::config::Config) -> Agent,
}

/// Runs one experiment and prints what came of it.
///
/// # Errors
/// There is none of this name, it cannot be run here, its effect does not show, or `out` cannot be
/// written.
pub fn run(out: &mut impl Write, name: &str, house: &House) -> Result<(), LabError> {
    let Some(experiment) = EXPERIMENTS.iter().find(|experiment| experiment.name == name) else {
        return Err(LabError::Unknown { name: name.to_owned() });
    };
    perform(out, experiment, house)
}

/// What `--alone` runs: the part of an experiment that must not share a process.
///
/// # Errors
/// What the system says.
pub fn run_alone(name: &str, manner: &str) -> io::Result<()> {
    match name {
        "kill-nine" => files::answer_until_killed(manner),
        _ => descriptors::serve(manner),
    }
}

fn perform(out: &mut impl Write, experiment: &Experiment, house: &House) -> Result<(), LabError> {
    write_head(out, experiment).map_err(LabError::Output)?;
    let findings = attempt(experiment, house).map_err(|error| match error.kind() {
        io::ErrorKind::Unsupported => LabError::Unsupported(error),
        _ => LabError::System(error),
    })?;
    write_findings(out, experiment, &findings).map_err(LabError::Output)?;
    findings.doubt.map_or(Ok(()), |doubt| Err(LabError::NoEffect(doubt)))
}

fn attempt(experiment: &Experiment, house: &House) -> io::Result<Findings> {
    let mut findings = Findings::default();
    for _ in 0..TRIES {
        findings = Findings::default();
        (experiment.run)(&mut findings, house)?;
        if findings.doubt.is_none() {
            break;
        }
    }
    Ok(findings)
}

fn write_head(out: &mut impl Write, experiment: &Experiment) -> io::Result<()> {
    let Experiment { name, title, about, steps, .. } = experiment;
    writeln!(out, "{name}: {title}\n")?;
    write_folded(out, "", about)?;
    writeln!(out)?;
    write_folded(out, "  ", steps)?;
    writeln!(out)?;
    // It may take seconds, and there is something to read meanwhile.
    out.flush()
}

fn write_findings(
    out: &mut impl Write,
    experiment: &Experiment,
    findings: &Findings,
) -> io::Result<()> {
    let header = ["", "expected?", "found"].map(str::to_owned);
    let rows = || [&header].into_iter().chain(&findings.rows);
    let width =
        |column: usize| rows().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let (first, second) = (width(0), width(1));
    for [what, expected, found] in rows() {
        let line = format!("  {what:first$}  {expected:second$}  {found}");
        writeln!(out, "{}", line.trim_end())?;
    }
    writeln!(out)?;
    write_folded(out, "", &format!("In this house: {}", experiment.house))?;
    writeln!(out, "NOTES, chapter {}", experiment.chapter)?;
    out.flush()
}

/// Prints words in lines that a lecture hall can read.
fn write_folded(out: &mut impl Write, margin: &str, text: &str) -> io::Result<()> {
    let mut line = String::new();
    for word in text.split(' ') {
        if margin.len() + line.chars().count() + 1 + word.chars().count() > COLUMNS {
            writeln!(out, "{margin}{line}")?;
            line.clear();
        }
        if !line.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    writeln!(out, "{margin}{line}")
}

// ---- what most experiments begin with ----

/// The two ends of a new connection: the far one blocks, ours does not.
fn pair() -> io::Result<(TcpStream, mio::net::TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let far = TcpStream::connect(listener.local_addr()?)?;
    let (near, _) = listener.accept()?;
    near.set_nonblocking(true)?;
    far.set_nodelay(true)?;
    Ok((far, mio::net::TcpStream::from_std(near)))
}

/// The result of a thread.
fn join<T>(thread: JoinHandle<T>) -> io::Result<T> {
    thread.join().map_err(|_| io::Error::other("a thread has panicked"))
}

/// How many events come within this time.
fn count_events(poll: &mut Poll, timeout: Duration) -> io::Result<usize> {
    let mut events = Events::with_capacity(16);
    poll.poll(&mut events, Some(timeout))?;
    Ok(events.iter().count())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    static RUNS: AtomicUsize = AtomicUsize::new(0);

    const WITHOUT_EFFECT: Experiment = Experiment {
        name: "without-effect",
        chapter: 4,
        title: "water runs uphill",
        about: "",
        steps: "",
        house: "",
        run: |found, _| {
            RUNS.fetch_add(1, Ordering::Relaxed);
            found.show("where it runs", "uphill", "downhill");
            found.demand(false, "it runs downhill");
            found.demand(false, "it does not run uphill");
            Ok(())
        },
    };

    #[test]
    fn an_effect_that_is_not_there_is_no_success() {
        let mut out = Vec::new();
        let house = House {
            start_log: |_| Ok(Box::new(|| {})),
            agent: |config| Agent::new_with_config(config),
        };
        let error = perform(&mut out, &WITHOUT_EFFECT, &house).unwrap_err();
        assert!(matches!(error, LabError::NoEffect(_)));
        assert_eq!(error.to_string(), "the effect is not there: it runs downhill");
        assert_eq!(RUNS.load(Ordering::Relaxed), TRIES);
        let told = String::from_utf8(out).unwrap();
        assert_eq!(told.matches("downhill").count(), 1, "the last try is shown: {told}");
    }
}
