//! `herd bench --million`: as many connections as one machine can hold, on a herd of its own.
//!
//! A process has one loop, and the system grants it some 20,000 descriptors. So a million takes 55
//! servers and as many loads, which are processes of this program again:
//!
//! ```text
//!   what does the machine lack? ─▶ servers ─▶ connections ─▶ cue ─▶ reports at a fixed rate
//!                                             each says one report          │
//!                      all have one digest? ◀─ what each load has measured ◀┘
//! ```
//!
//! Memory is watched all the while: the herd ends before the machine does.

mod chart;
mod machine;
mod outcome;
mod processes;

use std::fs;
use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use signal_hook::consts::{SIGINT, SIGTERM};

use super::exit::{Exit, Failure};
use super::flags::BenchFlags;
use chart::Sample;
use herd_load::{CLIENTS_MAX, Chorus};
use machine::{Machine, Needs};
use outcome::{Outcome, megabytes};
use processes::{Load, Servers};

pub use processes::READY;

/// Links of each server: with fewer a herd falls apart too easily, with more each report is heard
/// once more by everybody.
pub const LINKS: usize = 3;
/// How often a condition is checked while it is waited for.
const PAUSE: Duration = Duration::from_millis(100);
/// Servers find each other in a second; 55 that start at once on two cores take a few.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Two cores open some 20,000 connections a second.
const OPEN_TIMEOUT: Duration = Duration::from_secs(600);
/// What a load may take above its seconds, until it has said what it has measured.
const LATE_MAX: Duration = Duration::from_secs(60);
/// So long after the last answer all must know the same.
const EQUAL_TIMEOUT: Duration = Duration::from_secs(60);
/// Below this the machine would begin to kill processes of its own choice.
const AVAILABLE_BYTES_MIN: u64 = 512 << 20;

/// What is to be shown.
struct Plan {
    servers: usize,
    connections: u64,
    /// Reports a second, of all connections together.
    rate: u64,
    seconds: Duration,
}

impl Plan {
    fn of(flags: &BenchFlags) -> Result<Plan, Failure> {
        let connections = flags.connections.map_or(CLIENTS_MAX, |connections| connections as u64);
        let servers = flags.servers;
        if connections > CLIENTS_MAX || connections < servers {
            let message = format!(
                "{servers} servers can have {servers} to {CLIENTS_MAX} connections, not \
                 {connections}: choose --connections or --servers anew"
            );
            return Err(Failure::new(Exit::Usage, message));
        }
        let rate = flags.rate.unwrap_or(RATE).max(servers);
        let seconds = flags.seconds.unwrap_or(SECONDS);
        Ok(Plan { servers: servers as usize, connections, rate, seconds })
    }

    /// Of `total` things, those of server `number`.
    fn part(&self, total: u64, number: usize) -> Range<u64> {
        let (servers, number) = (self.servers as u64, number as u64);
        total * number / servers..total * (number + 1) / servers
    }
}

/// One report a client and minute.
const RATE: u64 = 16_700;
const SECONDS: Duration = Duration::from_secs(300);

/// Shows it, and says what came of it.
///
/// # Errors
/// The machine lacks something, or its memory runs out; a server or a load ends; not all that was
/// asked was answered well; the servers do not agree in the end; `out` cannot be written.
pub fn million(out: &mut impl Write, flags: &BenchFlags) -> Result<Exit, Failure> {
    let plan = Plan::of(flags)?;
    let machine = Machine::look();
    let needs = Needs::of(&plan);
    machine.refuse_if_it_lacks(&needs)?;
    say(&format!(
        "{} servers with {LINKS} links each, {} connections, {} reports a second for {} s; that \
         needs some {} of memory, and {} are there",
        plan.servers,
        plan.connections,
        plan.rate,
        plan.seconds.as_secs(),
        megabytes(needs.memory_bytes),
        megabytes(machine.available_bytes().unwrap_or_default()),
    ));
    let (outcome, samples) = Show::begin(plan, machine)?.go_on()?;
    if let Some(file) = &flags.chart {
        fs::write(file, chart::draw(&outcome, &samples)).map_err(|error| {
            let message = format!("{} cannot be written: {error}", file.display());
            Failure::new(Exit::CannotCreate, message)
        })?;
    }
    let written = if flags.json {
        serde_json::to_writer_pretty(&mut *out, &outcome)
            .map_err(io::Error::from)
            .and_then(|()| writeln!(out))
    } else {
        write!(out, "{outcome}")
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?;
    match outcome.complaint() {
        None => Ok(Exit::Success),
        Some(message) => Err(Failure::new(Exit::Unreachable, message)),
    }
}

/// One that is under way. Whatever ends it, no process of it is left.
struct Show {
    plan: Plan,
    machine: Machine,
    available_before: Option<u64>,
    /// When all servers had found each other, and how many sockets there were then.
    linked: (Instant, u64),
    samples: Vec<Sample>,
    /// An operator wants it to end.
    stopping: Arc<AtomicBool>,
    /// Before the servers: a load that is killed asks nothing any more.
    loads: Vec<Load>,
    servers: Servers,
}

impl Show {
    fn begin(plan: Plan, machine: Machine) -> Result<Show, Failure> {
        let stopping = Arc::new(AtomicBool::new(false));
        for signal in [SIGINT, SIGTERM] {
            signal_hook::flag::register(signal, Arc::clone(&stopping))
                .map_err(|error| Failure::new(Exit::System, error.to_string()))?;
        }
        let available_before = machine.available_bytes();
        let servers = Servers::start(plan.servers)?;
        let linked = (Instant::now(), machine.sockets());
        let (samples, loads) = (Vec::new(), Vec::new());
        Ok(Show { plan, machine, available_before, linked, samples, stopping, loads, servers })
    }

    fn go_on(mut self) -> Result<(Outcome, Vec<Sample>), Failure> {
        let wait = "servers do not find each other";
        self.until(START_TIMEOUT, wait, |show| show.servers.are_linked().then_some(()))?;
        say(&format!("{} servers have found each other", self.plan.servers));

        let opening = Instant::now();
        (self.linked, self.samples) = ((opening, self.machine.sockets()), Vec::new());
        for number in 0..self.plan.servers {
            let clients = self.plan.part(self.plan.connections, number);
            let rate = self.plan.part(self.plan.rate, number);
            let rate = rate.end - rate.start;
            self.loads.push(Load::start(self.servers.port(number), clients, rate, &self.plan)?);
        }
        self.until(OPEN_TIMEOUT, "connections are not all open", |show| {
            show.progress(format_args!("{} sockets are open", show.machine.sockets()));
            show.loads.iter_mut().all(Load::is_ready).then_some(())
        })?;
        let opened_in = opening.elapsed();
        say(&format!("all connections are open after {:.0} s", opened_in.as_secs_f64()));

        self.loads.iter_mut().try_for_each(Load::cue)?;
        let cued = Instant::now();
        let mut least_available = self.machine.available_bytes();
        self.until(self.plan.seconds + LATE_MAX, "loads do not come to their end", |show| {
            least_available = least_available.min(show.machine.available_bytes());
            show.progress(format_args!("{:.0} s of reports", cued.elapsed().as_secs_f64()));
            show.loads.iter_mut().all(Load::is_done).then_some(())
        })?;
        let voices = self.loads.iter_mut().map(Load::voice).collect::<Result<Vec<_>, _>>()?;

        let ended = Instant::now();
        let resident_bytes = self.servers.resident_bytes();
        let clients = self.plan.connections;
        let agree = |show: &mut Show| show.servers.agree_on(clients).then_some(());
        // Servers that differ are an outcome, and the figures are worth having all the same.
        let equal = self.until(EQUAL_TIMEOUT, "", agree).ok().map(|()| ended.elapsed());
        let used = self.available_before.zip(least_available);
        let outcome = Outcome {
            servers: self.plan.servers,
            links: LINKS,
            connections: self.plan.connections,
            opened_in_s: opened_in.as_secs_f64(),
            seconds: self.plan.seconds.as_secs_f64(),
            rate: self.plan.rate,
            reports: Chorus::of(&voices),
            memory_bytes: used.map(|(before, after)| before.saturating_sub(after)),
            servers_resident_bytes: resident_bytes,
            agreed_after_s: equal.map(|after| after.as_secs_f64()),
        };
        Ok((outcome, std::mem::take(&mut self.samples)))
    }

    /// Notes what there is, once a second.
    fn sample(&mut self) {
        let (linked, sockets) = self.linked;
        let seconds = linked.elapsed().as_secs_f64();
        if self.samples.last().is_none_or(|last| seconds - last.seconds >= 1.0) {
            let used = self.available_before.zip(self.machine.available_bytes());
            self.samples.push(Sample {
                seconds,
                // Each has both its ends here.
                connections: self.machine.sockets().saturating_sub(sockets) / 2,
                memory_bytes: used.map_or(0, |(before, now)| before.saturating_sub(now)),
            });
        }
    }

    /// Waits until `check` has something.
    fn until<T>(
        &mut self,
        timeout: Duration,
        what: &str,
        mut check: impl FnMut(&mut Show) -> Option<T>,
    ) -> Result<T, Failure> {
        let began = Instant::now();
        loop {
            self.sample();
            if let Some(found) = check(self) {
                self.progress(format_args!(""));
                return Ok(found);
            }
            if self.stopping.load(Ordering::Relaxed) {
                return Err(Failure::new(Exit::Failed, "told to stop; all of it has ended"));
            }
            if self.machine.available_bytes().is_some_and(|bytes| bytes < AVAILABLE_BYTES_MIN) {
                let message = "the machine's memory is nearly used up, so this has ended before \
                               it: ask for fewer with --connections or --servers";
                return Err(Failure::new(Exit::System, message));
            }
            let load = || self.loads.iter_mut().find_map(Load::failed);
            if let Some(why) = self.servers.failed().or_else(load) {
                return Err(Failure::new(Exit::Unreachable, why));
            }
            if began.elapsed() > timeout {
                let message = format!("{what} after {} s", timeout.as_secs());
                return Err(Failure::new(Exit::Unreachable, message));
            }
            thread::sleep(PAUSE);
        }
    }

    /// A line that is rewritten in place.
    fn progress(&self, what: std::fmt::Arguments<'_>) {
        let mut stderr = io::stderr();
        if stderr.is_terminal() {
            let left = self.machine.available_bytes().map(megabytes).unwrap_or_default();
            let shown = what.to_string();
            // It does no harm if it cannot be shown.
            let _ = if shown.is_empty() {
                write!(stderr, "\r\x1b[K")
            } else {
                write!(stderr, "\r\x1b[K{shown}, {left} of memory left")
            };
        }
    }
}

fn say(what: &str) {
    // It does no harm if nobody hears it.
    let _ = writeln!(io::stderr(), "{what}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_the_whole_and_nearly_equal() {
        let seconds = Duration::from_secs(1);
        let plan = Plan { servers: 55, connections: 1_000_000, rate: 16_700, seconds };
        let parts = Vec::from_iter((0..55).map(|number| plan.part(1_000_000, number)));
        assert_eq!((parts[0].start, parts[54].end), (0, 1_000_000));
        assert!(parts.windows(2).all(|pair| pair[0].end == pair[1].start));
        assert!(parts.iter().all(|part| (18_181..=18_182).contains(&(part.end - part.start))));
    }
}
