//! What must be true of a herd, seen from outside. `world` moves the bytes and the time; these are
//! the promises, and they should be readable without knowing how the simulation works.
//!
//! A promise that is broken is a value: it says which one, and what was seen.

use std::any::Any;
use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::client::report;
use super::host::Host;
use herd_core::store::{HashKeys, Store, rank};
use herd_core::wire::Report;

/// A server stamps a report with its clock, or, if that was set back, a little after the last.
const STAMP_LATE_MAX: i128 = 1_000_000;

/// The promises. Each has a number, by which tests and documents call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// I1: reports have one order, and a store ends with the same however they come.
    Order,
    /// I2: what a server holds of a client never becomes older while it runs.
    Rising,
    /// I3: a server's digests and counts match what it holds.
    Upkeep,
    /// I4: left in peace, the herd is whole again and all hold the same, within a bound.
    Agreement,
    /// I5: a report that was acknowledged is held or superseded everywhere, unless all servers that
    /// held it died.
    Keeping,
    /// I6: every report held was made by a client, to the server that it names, at that time.
    Truth,
    /// I7: a report costs at most 2E − N + 1 lines, and exactly those where nothing goes wrong.
    Cost,
    /// I8: the k-th answer answers the k-th command, and nothing else is sent to a client.
    Answers,
    /// I9: outstanding answers and bytes of every connection are bounded.
    Bounds,
    /// I10: a server that has left waits for nothing and holds nothing.
    Leaving,
    /// I11: peers are accepted; strangers and forged links are not.
    Trust,
    /// I12: a herd with nothing to do does next to nothing.
    Idleness,
    /// One input costs no more than a piece of the store, and all of them what they must.
    Bounded,
    /// Everything that happens comes to an end.
    Endless,
    /// What the code asserts of itself.
    Assertion,
    /// The same seed is the same run.
    Replay,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub message: String,
}

impl Invariant {
    pub const ALL: [Invariant; 16] = [
        Invariant::Order,
        Invariant::Rising,
        Invariant::Upkeep,
        Invariant::Agreement,
        Invariant::Keeping,
        Invariant::Truth,
        Invariant::Cost,
        Invariant::Answers,
        Invariant::Bounds,
        Invariant::Leaving,
        Invariant::Trust,
        Invariant::Idleness,
        Invariant::Bounded,
        Invariant::Endless,
        Invariant::Assertion,
        Invariant::Replay,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Invariant::Order => "I1",
            Invariant::Rising => "I2",
            Invariant::Upkeep => "I3",
            Invariant::Agreement => "I4",
            Invariant::Keeping => "I5",
            Invariant::Truth => "I6",
            Invariant::Cost => "I7",
            Invariant::Answers => "I8",
            Invariant::Bounds => "I9",
            Invariant::Leaving => "I10",
            Invariant::Trust => "I11",
            Invariant::Idleness => "I12",
            Invariant::Bounded => "bounded",
            Invariant::Endless => "endless",
            Invariant::Assertion => "assertion",
            Invariant::Replay => "replay",
        }
    }

    pub fn broken(self, message: impl Into<String>) -> Violation {
        Violation { invariant: self, message: message.into() }
    }

    /// # Errors
    /// It is not as it should be.
    pub fn demand(self, is_so: bool, or: impl FnOnce() -> String) -> Result<(), Violation> {
        if is_so { Ok(()) } else { Err(self.broken(or())) }
    }
}

impl Violation {
    /// The violation that a panic's payload describes.
    pub fn of_panic(payload: &(dyn Any + Send)) -> Violation {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Invariant::Assertion.broken(text.unwrap_or("a panic without a text"))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.message)
    }
}

/// What the checks have seen of a herd so far.
pub struct Invariants {
    seats: Vec<Seen>,
    /// What clients have said, without its first word, and to which servers.
    said: BTreeMap<String, BTreeSet<usize>>,
    /// AT lines that clients were answered with, and that must not be lost.
    acknowledged: Vec<String>,
    /// Some of all that clients were ever answered with.
    samples: Vec<String>,
}

/// Reports that are held against each other at the end of a run.
const SAMPLES_MAX: usize = 60;
/// A server is checked after every so many inputs.
const UPKEEP_EVERY: u64 = 200;
/// Expiry counts whole seconds of two times.
const EXPIRY_SLACK: i128 = 2_000_000_000;

/// What was seen of a server.
#[derive(Default)]
struct Seen {
    /// In this run: what it held of each client when it was looked at last.
    registers: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Reports that it has taken in and forgotten.
    changes: u64,
    looks: u64,
    /// In this run: what it held of each client when that had expired.
    forgotten: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Moments at which it has received reports, as its answers say.
    stamps: BTreeSet<i128>,
    /// In all its runs: when it received clients' reports, on its own clock.
    clock: BTreeSet<i128>,
}

impl Invariants {
    pub fn new(servers: usize) -> Invariants {
        Invariants {
            seats: (0..servers).map(|_| Seen::default()).collect(),
            said: BTreeMap::new(),
            acknowledged: Vec::new(),
            samples: Vec::new(),
        }
    }

    pub fn said(&mut self, server: usize, operands: &str) {
        self.said.entry(operands.to_owned()).or_default().insert(server);
    }

    /// Looks at a server that had an input, if there may be anything new to see.
    ///
    /// # Errors
    /// I2, I3.
    pub fn look(&mut self, server: usize, body: &mut Host) -> Result<(), Violation> {
        let seen = &mut self.seats[server];
        seen.clock.extend(body.take_stamps());
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
        if living.any(|body| holds(body.server.store(), &line)) {
            self.acknowledged.push(line);
        }
        Ok(())
    }

    /// A server's run has ended; `living` are the others.
    ///
    /// # Errors
    /// I2, I3, I6.
    pub fn bury<'a>(
        &mut self,
        server: usize,
        body: &Host,
        living: impl Iterator<Item = &'a Host> + Clone,
        names: &[String],
        is_handed_over: bool,
    ) -> Result<(), Violation> {
        is_kept_up(body)?;
        let seen = &mut self.seats[server];
        seen.compare(body)?;
        seen.registers.clear();
        seen.stamps.clear();
        seen.forgotten.clear();
        seen.changes = 0;
        let lines = lines_of(body.server.store());
        let is_held = |line: &String| living.clone().any(|body| holds(body.server.store(), line));
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
        // What it alone had is lost, and that is no broken promise.
        self.acknowledged.retain(is_held);
        self.is_true(&lines, names)
    }

    /// What must be true of the tables at the end: all are this one.
    ///
    /// # Errors
    /// I1, I2, I3, I5, I6.
    pub fn judge(&mut self, bodies: &[&Host], names: &[String]) -> Result<(), Violation> {
        for (seen, body) in self.seats.iter_mut().zip(bodies) {
            is_kept_up(body)?;
            seen.compare(body)?;
        }
        let Some(body) = bodies.first() else { return Ok(()) };
        for line in &self.acknowledged {
            Invariant::Keeping.demand(keeps(body, line), || {
                format!("{line:?} was acknowledged, and nobody who had it has died")
            })?;
        }
        self.is_true(&lines_of(body.server.store()), names)?;
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
                        self.forgotten.insert(held.client.to_vec(), before.clone());
                    }
                    before.clone_from(&text);
                }
                None => {
                    not_over(body, &held)?;
                    self.registers.insert(held.client.to_vec(), text.clone());
                }
            }
        }
        if store.len() < self.registers.len() {
            self.registers.retain(|client, before| {
                let may_be_gone = may_be_forgotten(body, &Report::from_fields(before));
                let is_gone = may_be_gone && store.find(client).is_none();
                if is_gone {
                    self.forgotten.insert(client.clone(), std::mem::take(before));
                }
                !is_gone
            });
        }
        Invariant::Rising.demand(store.len() >= self.registers.len(), || {
            format!("{} clients have become {}", self.registers.len(), store.len())
        })
    }
}

/// # Errors
/// I4: what had expired was taken in again.
fn not_over(body: &Host, news: &Report<'_>) -> Result<(), Violation> {
    let is_over = body.over_for(news).is_some_and(|over_for| over_for > EXPIRY_SLACK);
    Invariant::Agreement.demand(!is_over, || {
        format!("{} came back after it had expired", news.client.escape_ascii())
    })
}

/// Whether a report is over on this server's clock, or nearly.
pub fn may_be_forgotten(body: &Host, report: &Report<'_>) -> bool {
    body.over_for(report).is_some_and(|over_for| over_for > -EXPIRY_SLACK)
}

/// # Errors
/// I3.
pub fn is_kept_up(body: &Host) -> Result<(), Violation> {
    let check = AssertUnwindSafe(|| body.server.store().check_invariants());
    let checked = catch_unwind(check).map_err(|payload| Violation::of_panic(&*payload).message);
    checked.map_err(|message| Invariant::Upkeep.broken(message))
}

/// Any two reports of a client have an order, and a store that is given all of them ends with the
/// same, in any order and however often.
///
/// # Errors
/// I1.
fn are_ordered(lines: &[String]) -> Result<(), Violation> {
    let [mut there, mut back] =
        [(); 2].map(|()| Store::new(HashKeys { herd: (1, 2), process: (3, 4) }));
    for (at, line) in lines.iter().enumerate() {
        let one = report(line);
        for other_line in &lines[..at] {
            let other = report(other_line);
            let order = rank(&one, &other);
            let is_fair = order == rank(&other, &one).reverse()
                && (order != Ordering::Equal || line == other_line);
            Invariant::Order.demand(one.client != other.client || is_fair, || {
                format!("{line:?} and {other_line:?} have no order")
            })?;
        }
        there.put(&one);
    }
    for line in lines.iter().rev().chain(lines) {
        back.put(&report(line));
    }
    let [there, back] = [there, back].map(|store| lines_of(&store));
    Invariant::Order.demand(there == back, || "a store depends on the order of reports".to_owned())
}

/// Whether a server holds what this AT line says, or better, or need not any more.
fn keeps(body: &Host, line: &str) -> bool {
    holds(body.server.store(), line) || may_be_forgotten(body, &report(line))
}

/// Whether a store holds what this AT line says, or better.
fn holds(store: &Store, line: &str) -> bool {
    let line = report(line);
    store.find(line.client).is_some_and(|held| rank(&held, &line) != Ordering::Less)
}

/// All AT lines of a store, in an order of their own.
pub fn lines_of(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    for report in store.reports() {
        let mut line = Vec::new();
        report.write_line(&mut line);
        lines.push(String::from_utf8_lossy(&line).into_owned());
    }
    lines.sort();
    lines
}

/// The first difference between the tables of two servers.
///
/// # Errors
/// I4.
pub fn agree(
    (one, ones): (&str, &[String]),
    (other, others): (&str, &[String]),
) -> Result<(), Violation> {
    let first = |these: &[String], those: &[String]| {
        let missing = these.iter().find(|line| those.binary_search(line).is_err());
        missing.map(|line| line.chars().take(80).collect::<String>())
    };
    let difference = match (first(ones, others), first(others, ones)) {
        (Some(line), _) => format!("{one} holds {line:?}, {other} does not"),
        (None, Some(line)) => format!("{other} holds {line:?}, {one} does not"),
        (None, None) => return Ok(()),
    };
    Err(Invariant::Agreement.broken(difference))
}

/// A time or a skew in nanoseconds; digits beyond are left out, as they are in a skew.
pub fn nanos(decimal: &[u8]) -> i128 {
    let (sign, digits) = match decimal {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let dot = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let fraction = digits[dot..].iter().skip(1).chain([b'0'; 9].iter()).take(9);
    let number = digits[..dot].iter().chain(fraction);
    sign * number.fold(0, |number, &digit| 10 * number + i128::from(digit.saturating_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_skews_add_up() {
        let check = |text: &str, expected: i128| assert_eq!(nanos(text.as_bytes()), expected);
        check("7", 7_000_000_000);
        check("7.5", 7_500_000_000);
        check("+0.000000001", 1);
        check("-1.0000000019", -1_000_000_001);
    }

    #[test]
    fn differences_are_named() {
        let check = |ones: &[&str], others: &[&str], expected: Option<&str>| {
            let [ones, others] = [ones, others].map(|lines| lines.iter().map(|l| l.to_string()));
            let [ones, others] = [ones.collect::<Vec<_>>(), others.collect()];
            let outcome = agree(("A", &ones), ("B", &others)).map_err(|broken| broken.to_string());
            assert_eq!(outcome.err().as_deref(), expected);
        };
        check(&["x"], &["x"], None);
        check(&["x", "y"], &["x"], Some("I4: A holds \"y\", B does not"));
        check(&["x"], &["x", "y"], Some("I4: B holds \"y\", A does not"));
    }
}
