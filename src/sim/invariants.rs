//! What must be true of a herd, seen from outside. `world` moves the bytes and the time; these are
//! the promises, and they should be readable without knowing how the simulation works.
//!
//! A promise that is broken is a value: it says which one, and what was seen.

mod erasing;
mod even;
mod expiry;
mod held;
mod kept;
mod promises;
mod tables;

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::client::report;
use super::host::Host;
use even::Evenness;
pub use expiry::may_be_forgotten;
use expiry::{keeps, not_over};
use held::Expected;
pub use held::Table;
use herd_core::Settings;
use herd_core::engine::EngineSettings;
use herd_core::store::rank;
use herd_core::wire::Report;
use kept::Ledger;
pub use promises::{Invariant, Violation};
pub use tables::{agree, lines_of, nanos};
use tables::{are_ordered, holds};

/// A server stamps a report with its clock, or, if that was set back, a little after the last.
const STAMP_LATE_MAX: i128 = 1_000_000;

/// What the checks have seen of a herd so far.
pub struct Invariants {
    seats: Vec<Seen>,
    /// What clients have said, without its first word, and to which servers.
    said: BTreeMap<String, BTreeSet<usize>>,
    /// AT lines that clients were answered with, and that must not be lost.
    acknowledged: Vec<String>,
    /// Some of all that clients were ever answered with.
    samples: Vec<String>,
    /// AT lines that say that a client is forgotten.
    erasures: Vec<String>,
    evenness: Evenness,
    /// What must come before a part is complete.
    expected: Expected,
}

/// Reports that are held against each other at the end of a run.
const SAMPLES_MAX: usize = 60;
/// A server is checked after every so many inputs.
const UPKEEP_EVERY: u64 = 200;

/// What was seen of a server.
#[derive(Default)]
struct Seen {
    /// In this run: what it held of each client when it was looked at last.
    registers: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Reports that it has taken in and forgotten.
    changes: u64,
    looks: u64,
    /// In this run: the greatest that it held of each client and that had expired.
    forgotten: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Moments at which it has received reports, as its answers say.
    stamps: BTreeSet<i128>,
    /// In all its runs: when it received clients' reports, on its own clock.
    clock: BTreeSet<i128>,
    /// What its journal must say, if it has one.
    ledger: Ledger,
}

impl Invariants {
    pub fn new(servers: usize) -> Invariants {
        Invariants {
            seats: (0..servers).map(|_| Seen::default()).collect(),
            said: BTreeMap::new(),
            acknowledged: Vec::new(),
            samples: Vec::new(),
            erasures: Vec::new(),
            evenness: Evenness::default(),
            expected: Expected::default(),
        }
    }

    pub fn said(&mut self, server: usize, operands: &str) {
        self.said.entry(operands.to_owned()).or_default().insert(server);
    }

    /// A server starts with what its journal says.
    ///
    /// # Errors
    /// I2, I6, I13.
    pub fn restart(
        &mut self,
        server: usize,
        body: &Host,
        names: &[String],
    ) -> Result<(), Violation> {
        self.evenness.forget(server);
        let lines = lines_of(body.server.store());
        let seen = &mut self.seats[server];
        seen.ledger.check(body.server.store())?;
        for line in &lines {
            let mut fields = Vec::new();
            report(line).write_fields(&mut fields);
            seen.registers.insert(report(line).client.to_vec(), fields);
            seen.ledger.found(line);
        }
        self.is_true(&lines, names)
    }

    /// Looks at a server that had an input, if there may be anything new to see.
    ///
    /// # Errors
    /// I2, I3.
    pub fn look(&mut self, server: usize, body: &mut Host) -> Result<(), Violation> {
        let seen = &mut self.seats[server];
        seen.clock.extend(body.take_stamps());
        seen.follow(body);
        seen.looks += 1;
        if seen.looks.is_multiple_of(UPKEEP_EVERY) {
            is_kept_up(body)?;
        }
        let counters = body.server.counters();
        let changes = counters.news + counters.expired;
        if std::mem::replace(&mut seen.changes, changes) == changes {
            return Ok(());
        }
        seen.compare(body)
    }

    /// The last moment at which a server, in this run, told a client that it had received its
    /// report.
    pub fn stamped(&self, server: usize) -> i128 {
        self.seats[server].stamps.last().copied().unwrap_or_default()
    }

    /// The last moment at which a server has heard a report, in all its runs.
    pub fn heard_until(&self, server: usize) -> Option<i128> {
        self.seats[server].clock.last().copied()
    }

    /// A client was answered by this server, if that still runs: then it must have what it says.
    /// `stamped` is when it had received the last one that the client can know of.
    ///
    /// # Errors
    /// I5, I6.
    pub fn acknowledge<'a>(
        &mut self,
        line: String,
        server: Option<(usize, &Host)>,
        stamped: &mut i128,
        mut living: impl Iterator<Item = &'a Host>,
    ) -> Result<(), Violation> {
        if let Some((server, body)) = server {
            let is_kept = keeps(body, &line) || self.seats[server].has_forgotten(&line);
            Invariant::Keeping
                .demand(is_kept, || format!("its server answered but does not hold {line:?}"))?;
            let report = report(&line);
            let stamp = nanos(&report.time) + nanos(report.skew);
            let is_later = std::mem::replace(stamped, stamp) < stamp;
            let is_new = self.seats[server].stamps.insert(stamp);
            // A clock that was far wrong takes its stamps back with it.
            let is_in_order = is_later && is_new || body.was_set_back();
            Invariant::Truth.demand(is_in_order, || {
                format!("its server had heard another one at that time: {line:?}")
            })?;
        }
        if self.samples.len() < SAMPLES_MAX {
            self.samples.push(line.clone());
        }
        // Its server may have died since, and another region brings back nothing.
        let has_it =
            |body: &Host| body.hears_of(report(&line).server) && holds(body.server.store(), &line);
        if living.any(has_it) {
            self.acknowledged.push(line);
        }
        Ok(())
    }

    /// A server's run has ended, its machine's as well if that `is_cut`; `living` are the others.
    ///
    /// # Errors
    /// I2, I3, I6.
    pub fn bury<'a>(
        &mut self,
        (server, body, is_cut): (usize, &Host, bool),
        living: impl Iterator<Item = &'a Host> + Clone,
        names: &[String],
        is_handed_over: bool,
    ) -> Result<(), Violation> {
        is_kept_up(body)?;
        self.has_lost_engine(server);
        let seen = &mut self.seats[server];
        seen.compare(body)?;
        if let Some(journal) = body.journal() {
            seen.ledger.end(journal, is_cut);
        }
        seen.registers.clear();
        seen.stamps.clear();
        seen.forgotten.clear();
        seen.changes = 0;
        let lines = lines_of(body.server.store());
        // Another region knows of some, and brings back none.
        let is_held = |line: &String| {
            let has_it = |body: &Host| {
                body.hears_of(report(line).server) && holds(body.server.store(), line)
            };
            living.clone().any(has_it)
        };
        if is_handed_over {
            // What it holds may be better than the line, and be over at the others by now.
            let may_be_over = |held: &Report<'_>| {
                may_be_forgotten(body, held)
                    || living.clone().any(|body| may_be_forgotten(body, held))
            };
            let is_lost = |line: &&String| {
                let held = body.server.store().find(report(line).client);
                let is_kept = held.is_some_and(|held| {
                    rank(&held, &report(line)) != Ordering::Less && !may_be_over(&held)
                });
                is_kept && !is_held(line)
            };
            let lost = self.acknowledged.iter().find(is_lost);
            Invariant::Keeping.demand(lost.is_none(), || {
                let held = lost.and_then(|line| body.server.store().find(report(line).client));
                let mut text = Vec::new();
                held.inspect(|held| held.write_fields(&mut text));
                let held = text.escape_ascii();
                format!("it has left with {held}, a peer keeps everything, and {lost:?} is gone")
            })?;
        }
        // What it alone had and no journal keeps is lost, and that is no broken promise.
        // Nor does what only another region's journal keeps come back.
        let is_near = |one: &[u8], other: &[u8]| body.hears_of(one) == body.hears_of(other);
        let is_kept = |line: &String| {
            let mut seats = self.seats.iter().zip(names);
            seats.any(|(seen, name)| {
                is_near(name.as_bytes(), report(line).server) && seen.ledger.promises(line)
            })
        };
        self.acknowledged.retain(|line| is_held(line) || is_kept(line));
        self.erasures.retain(|line| is_held(line) || is_kept(line));
        self.is_true(&lines, names)
    }

    /// What must be true of the tables at the end: all are this one, if links repair what they
    /// have missed.
    ///
    /// # Errors
    /// I1, I2, I3, I5, I6.
    pub fn judge(
        &mut self,
        bodies: &[&Host],
        names: &[String],
        repairs: bool,
    ) -> Result<(), Violation> {
        for (seen, body) in self.seats.iter_mut().zip(bodies) {
            is_kept_up(body)?;
            seen.compare(body)?;
        }
        self.are_erased(bodies, repairs)?;
        for line in self.acknowledged.iter().filter(|_| repairs) {
            let client = report(line).client;
            let is_over = || bodies.iter().any(|body| may_be_forgotten(body, &report(line)));
            let must_hold =
                |body: &&&Host| body.holds_part_of(client) && body.hears_of(report(line).server);
            let mut holders = bodies.iter().filter(must_hold);
            let is_kept = holders.all(|body| keeps(body, line) || is_over());
            Invariant::Keeping.demand(is_kept, || {
                format!("{line:?} was acknowledged, and nobody who had it has died")
            })?;
        }
        for body in bodies {
            self.is_true(&lines_of(body.server.store()), names)?;
        }
        are_ordered(&self.samples)
    }

    /// No report was invented.
    fn is_true(&self, lines: &[String], names: &[String]) -> Result<(), Violation> {
        for line in lines {
            let operands = line.trim_end().splitn(4, ' ').nth(3).unwrap_or_default();
            let report = report(line);
            let server = names.iter().position(|name| name.as_bytes() == report.server);
            let to = self.said.get(operands);
            let is_said = to.zip(server).is_some_and(|(to, server)| to.contains(&server));
            Invariant::Truth.demand(is_said, || format!("nobody has said {line:?} there"))?;
            let stamp = nanos(&report.time) + nanos(report.skew);
            let clock = server.map(|server| &self.seats[server].clock);
            let before = clock.and_then(|clock| clock.range(..=stamp).next_back());
            let is_then = before.is_some_and(|before| stamp - before < STAMP_LATE_MAX);
            Invariant::Truth.demand(is_then, || format!("not heard at that time: {line:?}"))?;
        }
        Ok(())
    }
}

impl Seen {
    /// Notes what has been told to clients, and what its journal has been given.
    fn follow(&mut self, body: &mut Host) {
        let told = body.take_told();
        let Some(journal) = body.journal() else { return };
        if !body.server.is_journal_behind() {
            self.ledger.all_given(journal.appender.appended());
        }
        // What has expired since it was answered may be forgotten; and what another server has
        // answered, where clients are divided, is not kept here.
        let Settings { name, engine, .. } = body.server.settings();
        let asks_others = engine.as_ref().is_some_and(EngineSettings::asks_others);
        let is_kept = |line: &str| {
            holds(body.server.store(), line) && (!asks_others || *report(line).server == **name)
        };
        for (line, appended) in told.iter().filter(|(line, _)| is_kept(line)) {
            self.ledger.told(line, *appended);
        }
    }

    /// Notes what it holds from now on.
    fn hold(&mut self, body: &Host, held: &Report<'_>) {
        let Some(journal) = body.journal() else { return };
        let appended = (!body.server.is_journal_behind()).then(|| journal.appender.appended());
        let mut line = Vec::new();
        held.write_line(&mut line);
        self.ledger.held(&String::from_utf8_lossy(&line), appended);
    }

    /// Whether it held what an AT line says, or better, until that expired.
    fn has_forgotten(&self, line: &str) -> bool {
        let line = report(line);
        let held = self.forgotten.get(line.client);
        held.is_some_and(|held| rank(&Report::from_fields(held), &line) != Ordering::Less)
    }

    fn compare(&mut self, body: &Host) -> Result<(), Violation> {
        let store = body.server.store();
        let mut text = Vec::new();
        for held in store.reports() {
            text.clear();
            held.write_fields(&mut text);
            match self.registers.get_mut(held.client) {
                Some(before) if *before == text => {}
                Some(before) => {
                    not_over(body, &held)?;
                    let old = Report::from_fields(before);
                    let has_risen = rank(&held, &old) == Ordering::Greater;
                    Invariant::Rising.demand(has_risen || may_be_forgotten(body, &old), || {
                        let [before, after] = [&*before, &text].map(|text| text.escape_ascii());
                        format!("{before} has become {after}")
                    })?;
                    if !has_risen {
                        forget(&mut self.forgotten, held.client, before);
                        self.ledger.forget(held.client);
                    }
                    before.clone_from(&text);
                    self.hold(body, &held);
                }
                None => {
                    not_over(body, &held)?;
                    self.registers.insert(held.client.to_vec(), text.clone());
                    self.hold(body, &held);
                }
            }
        }
        if store.len() < self.registers.len() {
            self.registers.retain(|client, before| {
                let may_be_gone = may_be_forgotten(body, &Report::from_fields(before));
                let is_gone = may_be_gone && store.find(client).is_none();
                if is_gone {
                    forget(&mut self.forgotten, client, before);
                    self.ledger.forget(client);
                }
                !is_gone
            });
        }
        Invariant::Rising.demand(store.len() >= self.registers.len(), || {
            format!("{} clients have become {}", self.registers.len(), store.len())
        })
    }
}

/// What was held of a client has expired. An answer may come after another one has, too.
fn forget(forgotten: &mut BTreeMap<Vec<u8>, Vec<u8>>, client: &[u8], held: &[u8]) {
    let report = Report::from_fields(held);
    let is_covered = forgotten
        .get(client)
        .is_some_and(|greatest| rank(&Report::from_fields(greatest), &report) == Ordering::Greater);
    if !is_covered {
        forgotten.insert(client.to_vec(), held.to_vec());
    }
}

/// # Errors
/// I3.
pub fn is_kept_up(body: &Host) -> Result<(), Violation> {
    let check = AssertUnwindSafe(|| body.server.store().check_invariants());
    let checked = catch_unwind(check).map_err(|payload| Violation::of_panic(&*payload).message);
    checked.map_err(|message| Invariant::Upkeep.broken(message))
}
