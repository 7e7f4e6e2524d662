//! The command `herd top`: what servers do, second by second, on a terminal; or once, as a table or
//! as JSON.
//!
//! `watch` asks, `row` and `view` say what is shown, `terminal` is where, and `live` joins them.

mod live;
mod row;
mod terminal;
mod view;
mod watch;

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use herd::config::herd::Member;
use herd::run_dir::RunDir;

use super::exit::{Exit, Failure};
use super::flags::TopFlags;
use super::query::unreadable;
use row::{Row, State};
use watch::{INTERVAL, PATIENCE, Place, Post, Sample, Target, Wanted, watch};

/// Shows the servers that were chosen or, if none were, all that have run here, all of `herd` and
/// all ports that were named.
///
/// # Errors
/// The run directory cannot be read, the system gives no thread, or there is nothing to write on.
pub fn top(
    out: &mut impl Write,
    run_dir: RunDir,
    flags: &TopFlags,
    herd: &[Member],
) -> Result<Exit, Failure> {
    let targets = targets(run_dir, flags, herd)?;
    let is_once = flags.once || flags.json;
    if is_once || !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return once(out, &targets, flags.json);
    }
    if targets.is_empty() {
        return Err(Failure::new(Exit::NotRunning, NOBODY));
    }
    live::show(&targets)
}

const NOBODY: &str = "no server has run here yet: `herd serve NAME`, or say with --config which \
                      herd it is";

fn targets(run_dir: RunDir, flags: &TopFlags, herd: &[Member]) -> Result<Vec<Target>, Failure> {
    let mut names = flags.names.clone();
    if names.is_empty() && flags.at.is_empty() || flags.knows_herd() && flags.names.is_empty() {
        names.extend(herd.iter().map(|member| member.name.clone()));
        let seen = run_dir.names().map_err(|error| unreadable(&run_dir, &error))?;
        let others: Vec<_> = seen.into_iter().filter(|name| !names.contains(name)).collect();
        names.extend(others);
    }
    let named = names.into_iter().map(|name| {
        let member = herd.iter().find(|member| member.name == name).cloned().map(Box::new);
        Target { at: Place::Named(run_dir.clone(), member), name }
    });
    let ports =
        flags.at.iter().map(|at| Target { name: at.to_string(), at: Place::Port(at.clone()) });
    Ok(named.chain(ports).collect())
}

/// The rows of servers that were asked twice, so that rates are known.
fn once(out: &mut impl Write, targets: &[Target], json: bool) -> Result<Exit, Failure> {
    let (sender, samples) = channel();
    let post =
        Post { samples: sender, wanted: Arc::new(Mutex::new(Wanted::default())), bell: None };
    for (number, target) in targets.iter().enumerate() {
        watch(number, target.clone(), Some(2), post.clone()).map_err(no_thread)?;
    }
    drop(post);
    let mut shown = Shown::of(targets);
    let deadline = Instant::now() + INTERVAL + 3 * PATIENCE;
    let left = || deadline.saturating_duration_since(Instant::now());
    while let Ok((number, sample)) = samples.recv_timeout(left()) {
        shown.take(number, sample);
    }
    let rows = shown.rows(Instant::now());
    let written = if json {
        rows.iter().try_for_each(|row| {
            serde_json::to_writer(&mut *out, row).map_err(io::Error::from)?;
            writeln!(out)
        })
    } else if rows.is_empty() {
        writeln!(out, "{NOBODY}")
    } else {
        view::table(&rows, None).iter().try_for_each(|line| writeln!(out, "{line}"))
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?;
    let any = |wanted: State| rows.iter().any(|row| row.state == wanted);
    Ok(match () {
        () if rows.is_empty() || any(State::Stopped) => Exit::NotRunning,
        () if any(State::Silent) || any(State::Asked) => Exit::Unreachable,
        () => Exit::Success,
    })
}

fn no_thread(error: io::Error) -> Failure {
    Failure::new(Exit::System, format!("the system gives no thread: {error}"))
}

/// The last two samples of each target.
struct Shown<'a> {
    targets: &'a [Target],
    samples: Vec<[Option<Sample>; 2]>,
    began: Instant,
}

impl Shown<'_> {
    fn of(targets: &[Target]) -> Shown<'_> {
        let samples = targets.iter().map(|_| [None, None]).collect();
        Shown { targets, samples, began: Instant::now() }
    }

    fn take(&mut self, number: usize, sample: Sample) {
        let [before, now] = &mut self.samples[number];
        *before = now.replace(sample);
    }

    fn latest(&self, number: usize) -> Option<&Sample> {
        self.samples.get(number)?[1].as_ref()
    }

    /// A thread that has not been heard of for long hangs in a look-up of its server's name.
    fn rows(&self, now: Instant) -> Vec<Row> {
        let row = |(target, [before, latest]): (&Target, &[Option<Sample>; 2])| {
            let heard = latest.as_ref().map_or(self.began, |latest| latest.at);
            if now.saturating_duration_since(heard) > INTERVAL + 2 * PATIENCE {
                let why = "its name is being looked up, which takes long".to_owned();
                return Row::of_none(&target.name, State::Silent, Some(why));
            }
            match latest {
                Some(latest) => Row::of(target.shown(latest), before.as_ref(), latest),
                None => Row::of_none(&target.name, State::Asked, None),
            }
        };
        self.targets.iter().zip(&self.samples).map(row).collect()
    }
}
