//! A load on one server, and what came of it (`herd bench`); and clients that move about a city
//! (`herd demo`: `stroll`, and `streets` for the city).
//!
//! It uses nothing of the server: a load that shared the server's loop, parser or buffers would
//! share its mistakes. It speaks to other servers as well (Redis, memcached, NATS, etcd), so that
//! one ruler measures all. One thread, so that one core is enough for it.
//!
//! Reading order: `Plan` (what is wanted), `run` (in which order), `crowd` (the loop), `caller`,
//! `chatter`, `schedule`, `tally`, `meter`, `sources`, `pipe` (the tools), `findings` (the report),
//! `chorus` (the report of several loads at a time), `picture` (what pictures of figures share).

mod caller;
mod chatter;
mod chorus;
mod crowd;
mod error;
mod findings;
mod meter;
pub mod picture;
mod pipe;
mod schedule;
mod sources;
mod streets;
mod stroll;
mod tally;
mod trust;

use std::net::SocketAddr;
use std::ops::Range;
use std::thread;
use std::time::{Duration, Instant};

use chatter::Chatter;
use crowd::Crowd;
use meter::{Meter, Reading};
use tally::{Errors, Tally};

pub use chatter::{CLIENTS_MAX, Dialect};
pub use chorus::{Chorus, Voice};
pub use error::LoadError;
pub use findings::Findings;
pub use sources::{SYSTEMS_CHOICE, claim_descriptors};
pub use stroll::Stroll;
pub use trust::any_certificate;

/// How often progress is shown.
const PROGRESS_EVERY: Duration = Duration::from_millis(500);

/// When the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When the last pipeline is answered: a closed loop.
    Closed,
    /// When it is due, however late the others are: an open loop of so many a second.
    PerSecond(u64),
    /// As `Closed`, on a new connection each: the one that has waited longest closes and dials
    /// again, so that all connections are open and a bounded number waits for an answer.
    Reconnect,
    /// As `Reconnect`, but nothing is asked: the answer is that the server hangs up, too.
    Connect,
}

impl Pace {
    /// Whether each request has a connection of its own.
    fn is_anew(self) -> bool {
        matches!(self, Pace::Reconnect | Pace::Connect)
    }
}

/// A load.
#[derive(Clone, Debug)]
pub struct Plan {
    pub address: SocketAddr,
    /// The server's processes, as far as they can be looked at.
    pub pids: Vec<u32>,
    pub dialect: Dialect,
    pub pace: Pace,
    /// Connections that ask. None if there are only idle ones.
    pub connections: usize,
    /// Requests of one connection that may be unanswered.
    pub pipeline: u64,
    /// Numbers of the clients that are reported.
    pub clients: Range<u64>,
    /// So many of a hundred requests are WHATSATs.
    pub whatsat_percent: u64,
    /// Connections that say one report and then nothing.
    pub idle: usize,
    /// All connections are by TLS, whatever certificate the server has.
    pub is_tls: bool,
    /// Answers are waited for without sleeping, which takes a core that nobody else needs.
    pub is_awake: bool,
    /// How often it looks what is due and what was answered, if not at once: many loads that wake
    /// for each answer would take the processor from the servers. Latencies count to the look.
    pub looks_every: Option<Duration>,
    /// Load that is not measured, because caches, compilers and buffers are still cold.
    pub warm_up: Duration,
    pub duration: Duration,
}

impl Plan {
    /// A server that neither answers nor hangs up for so long is stuck. One of many on a machine
    /// may only be late.
    fn silence_max(&self) -> Duration {
        Duration::from_secs(if self.looks_every.is_some() { 60 } else { 10 })
    }
}

/// What is known in the middle of a load.
#[derive(Clone, Copy, Debug)]
pub struct Progress {
    /// Since the measurement began.
    pub elapsed: Duration,
    pub answers: u64,
}

/// Puts the load on the server.
///
/// # Errors
/// The server is not there or is no such server, its process cannot be looked at, the system grants
/// too few descriptors. What goes wrong later stands in the findings, unless nothing goes at all.
pub fn run(plan: &Plan, look_on: impl FnMut(Progress)) -> Result<Findings, LoadError> {
    load(plan, || {}, look_on, |heard| Findings::of(plan, heard))
}

/// Puts one of several loads on a server. When all connections are open, `cue` is called, and may
/// wait until the others are as far; they stay open until `said` returns, which is given what was
/// measured.
///
/// # Errors
/// As `run`.
pub fn run_on_cue(
    plan: &Plan,
    cue: impl FnOnce(),
    said: impl FnOnce(Voice),
) -> Result<(), LoadError> {
    load(plan, cue, |_| {}, |heard| said(Voice::of(heard)))
}

/// Bytes of memory that these processes hold, if they may be looked at.
pub fn resident_bytes(pids: &[u32]) -> Option<u64> {
    Meter::of(pids).ok()?.resident_bytes()
}

/// What a load has brought.
struct Heard<'a> {
    tally: &'a Tally,
    errors: Errors,
    unsent: u64,
    costs: Costs,
    memory: Memory,
}

/// What `resident` says as soon as it says the same twice, or after two seconds: a server that
/// has just started may still be unpacking its atlas, which no connection is to pay for.
fn settled(resident: impl Fn() -> Option<u64>) -> Option<u64> {
    let mut last = resident();
    for _ in 0..20 {
        thread::sleep(Duration::from_millis(100));
        let now = resident();
        if now == last {
            break;
        }
        last = now;
    }
    last
}

fn load<T>(
    plan: &Plan,
    cue: impl FnOnce(),
    mut look_on: impl FnMut(Progress),
    take: impl FnOnce(&Heard<'_>) -> T,
) -> Result<T, LoadError> {
    claim_descriptors(plan.connections + plan.idle)?;
    let meter = open_meter(&plan.pids)?;
    let resident = || meter.as_ref().and_then(Meter::resident_bytes);

    let mut crowd = Crowd::new(plan, Chatter::new(plan.dialect, plan.clients.clone()))?;
    // All idle connections speak for one client: connections are measured, not reports.
    let one = plan.clients.start..plan.clients.start + 1;
    let mut idle = Crowd::new(plan, Chatter::new(plan.dialect, one))?;
    idle.open(1)?;
    let resident_before = if plan.idle > 0 { settled(resident) } else { resident() };
    idle.open(1 + plan.idle)?;
    let resident_idle = resident();

    crowd.open(plan.connections)?;
    cue();
    crowd.begin(u64::MAX);
    crowd.load_until(Instant::now() + plan.warm_up)?;

    let costs = measure(plan, meter.as_ref(), &mut crowd, &mut look_on)?;
    let unsent = crowd.unsent();
    let memory = Memory { before: resident_before, idle: resident_idle, after: resident() };
    crowd.end()?;
    while idle.turn(Duration::ZERO)? > 0 {}

    let mut errors = crowd.tally.errors.clone();
    if plan.idle > 0 {
        errors.lost += idle.tally.errors.lost;
    }
    Ok(take(&Heard { tally: &crowd.tally, errors, unsent, costs, memory }))
}

/// A load that goes on by answers instead of by seconds, for a bench with a stopwatch of its own.
pub struct CountedLoad<'a> {
    crowd: Crowd<'a>,
}

impl<'a> CountedLoad<'a> {
    /// Opens the connections, each of which is answered once.
    ///
    /// # Errors
    /// As `run`.
    pub fn open(plan: &'a Plan) -> Result<CountedLoad<'a>, LoadError> {
        claim_descriptors(plan.connections)?;
        let mut crowd = Crowd::new(plan, Chatter::new(plan.dialect, plan.clients.clone()))?;
        crowd.open(plan.connections)?;
        Ok(CountedLoad { crowd })
    }

    /// Asks so often, in a closed loop, and gives how long it took to be answered as often.
    ///
    /// # Errors
    /// The server has closed a connection, is silent, or has answered wrongly.
    pub fn run(&mut self, answers: u64) -> Result<Duration, LoadError> {
        let start = Instant::now();
        self.crowd.begin(answers);
        self.crowd.load_until_answered()?;
        Ok(start.elapsed())
    }
}

/// The part that counts.
fn measure(
    plan: &Plan,
    server: Option<&Meter>,
    crowd: &mut Crowd,
    look_on: &mut impl FnMut(Progress),
) -> Result<Costs, LoadError> {
    let own = Meter::of(&[std::process::id()]).ok();
    let read = |meter: Option<&Meter>| meter.and_then(|meter| meter.read().ok());
    let (server_before, own_before) = (read(server), read(own.as_ref()));
    let spun_before = crowd.spun;
    let start = Instant::now();
    crowd.tally.is_measuring = true;
    while start.elapsed() < plan.duration {
        let left = plan.duration.saturating_sub(start.elapsed());
        crowd.load_until(Instant::now() + left.min(PROGRESS_EVERY))?;
        look_on(Progress { elapsed: start.elapsed(), answers: crowd.tally.measured });
    }
    crowd.tally.is_measuring = false;
    let elapsed = start.elapsed();
    // It works for as long as it runs, and not while it looks for answers in vain.
    let not_spun = elapsed.saturating_sub(crowd.spun - spun_before);
    let used = |before: Option<Reading>, meter| Some(read(meter)?.since(&before?));
    Ok(Costs {
        elapsed,
        server: used(server_before, server),
        own: used(own_before, own.as_ref()).map(|used| used.min(not_spun)),
    })
}

/// What the measured part took: time, and CPU time where it is known.
#[derive(Clone, Copy, Debug)]
struct Costs {
    elapsed: Duration,
    server: Option<Duration>,
    /// The load's, without the time in which it only looked for answers.
    own: Option<Duration>,
}

/// The server's resident bytes, where they are known: with one connection, with the idle ones, and
/// at the end.
#[derive(Clone, Copy, Debug)]
struct Memory {
    before: Option<u64>,
    idle: Option<u64>,
    after: Option<u64>,
}

fn open_meter(pids: &[u32]) -> Result<Option<Meter>, LoadError> {
    if pids.is_empty() {
        return Ok(None);
    }
    Meter::of(pids).map(Some).map_err(|error| {
        let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
        let pids = pids.join(",");
        let message = format!("process {pids} cannot be looked at ({error}): is it the server's?");
        LoadError::NotRunning(message)
    })
}
