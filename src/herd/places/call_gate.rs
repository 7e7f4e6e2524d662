//! The gate before a remote source: which questions become calls. The sources only know how to ask,
//! and the reactor only carries questions and answers. The gate opens no socket, starts no thread
//! and reads no clock, so its rules can be tested in no time.
//!
//! In use, a crowd asks about the same square, a scraper asks about everything, and now and then
//! the service dies. Each could cost the operator money or the clients time, so every question
//! passes the rules below, in this order. A refusal is an answer, given at once.
//!
//! ```text
//!   question ─▶ tokens for this address? ─▶ same question on its way? ─▶ is the service well?
//!                    no: refused                  yes: joins it              no: refused
//!            ─▶ room for another call? ─▶ money left for today? ─▶ queue ─▶ worker
//!                    no: refused               no: refused        │
//!                                                   no client waits any more: dropped
//! ```
//!
//! The queue is here and not with the workers, because only the gate knows which clients still
//! wait. Behind a service that hangs the queue grows old. Once the service is well again, it should
//! get the questions of now, not those whose clients have had an error long ago.
//!
//! invariant: a ticket waits at one call at most
//! invariant: every call is in the queue or with a worker, and `at_work` counts the latter

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use super::budget::{Budget, Spent};
use crate::config::places::CallRules;
use herd_core::clock::Now;
use herd_core::names::Ticket;
use herd_core::whatsat::Question;

/// Calls that must fail in a row before the service counts as dead.
const FAILURES_MAX: u32 = 5;

/// How long a dead service is left alone before one call tries it again.
const REST: Duration = Duration::from_secs(10);

/// What becomes of a question.
#[derive(Debug, PartialEq, Eq)]
pub enum Reception {
    /// There will be an answer, unless the service takes longer than the asker waits.
    Accepted,
    /// More is asked than may be. Why.
    Limited(&'static str),
    /// The service has failed, and is not asked. Why.
    Failed(&'static str),
}

/// Names a call until it is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct CallId(Key);

/// Two questions are the same if their answers must be: the numbers are compared by their bits, so
/// what is asked in other words is another question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    latitude: u64,
    longitude: u64,
    radius_km: u64,
    bound: u8,
}

pub struct CallGate {
    rules: CallRules,
    calls: HashMap<Key, Call>,
    /// Calls that no worker has yet, oldest first.
    queue: VecDeque<Key>,
    at_work: usize,
    breaker: Breaker,
    budget: Budget,
    askers: Askers,
}

impl CallGate {
    /// A gate that has spent so much already.
    pub fn new(rules: CallRules, spent: Spent) -> CallGate {
        CallGate {
            rules,
            calls: HashMap::new(),
            queue: VecDeque::new(),
            at_work: 0,
            breaker: Breaker::Closed { failures: 0 },
            budget: Budget::new(rules.calls_per_day, spent),
            askers: Askers::default(),
        }
    }

    /// Decides about a question. `from` is the address of the client, if it has one; `timeout` is
    /// how long it waits. Then ask `CallGate::next`.
    pub fn receive(
        &mut self,
        now: Now,
        from: Option<IpAddr>,
        ticket: Ticket,
        question: &Question,
        timeout: Duration,
    ) -> Reception {
        let until = now.monotonic + timeout;
        let limited = from.filter(|ip| self.rules.limits_loopback || !ip.is_loopback());
        if limited.is_some_and(|ip| !self.askers.may_ask(ip, now.monotonic, &self.rules)) {
            let why = "too many questions from this address; ask again in a second";
            return Reception::Limited(why);
        }
        let key = Key::of(question);
        if let Some(call) = self.calls.get_mut(&key) {
            call.tickets.push(ticket);
            call.until = call.until.max(until);
            return Reception::Accepted;
        }
        if !self.breaker.allows_call(now.monotonic) {
            let why = "the places service has failed repeatedly and is left alone for a moment";
            return Reception::Failed(why);
        }
        if self.calls.len() >= self.rules.workers + self.rules.queue_max {
            let why = "too many questions are waiting; ask again later";
            return Reception::Limited(why);
        }
        if !self.budget.may_call(now) {
            let why = "today's budget of questions is used up";
            return Reception::Limited(why);
        }
        self.breaker.call_begins();
        self.calls.insert(key, Call { question: *question, tickets: vec![ticket], until });
        self.queue.push_back(key);
        Reception::Accepted
    }

    /// The next call to make, if a worker is free for it. `CallGate::finished` must be called when
    /// it is over.
    pub fn next(&mut self, now: Duration) -> Option<(CallId, Question)> {
        while self.at_work < self.rules.workers {
            let key = self.queue.pop_front()?;
            let call = self.calls.get(&key)?;
            if call.until > now {
                self.at_work += 1;
                return Some((CallId(key), call.question));
            }
            self.calls.remove(&key);
            self.breaker.call_dropped(now);
            self.budget.call_dropped();
        }
        None
    }

    /// Ends a call. Gives everyone who waits for its answer, in the order in which they came.
    pub fn finished(&mut self, now: Duration, call: CallId, has_answered: bool) -> Vec<Ticket> {
        self.breaker.call_ends(has_answered, now);
        let Some(call) = self.calls.remove(&call.0) else { return Vec::new() };
        self.at_work -= 1;
        call.tickets
    }

    /// Calls that are on their way.
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// Whether the service has failed so often that it is left alone.
    pub fn is_resting(&self) -> bool {
        !matches!(self.breaker, Breaker::Closed { .. })
    }

    pub fn spent(&self) -> Spent {
        self.budget.spent()
    }

    /// Calls counted today, and how many may be.
    pub fn today(&self, now: Now) -> (usize, Option<usize>) {
        (self.budget.spent_today(now).calls, self.rules.calls_per_day)
    }
}

/// A question that becomes a call, and all who wait for its answer.
struct Call {
    question: Question,
    tickets: Vec<Ticket>,
    /// Until when any client waits.
    until: Duration,
}

impl Key {
    pub fn of(question: &Question) -> Key {
        Key {
            latitude: question.at.latitude.to_bits(),
            longitude: question.at.longitude.to_bits(),
            radius_km: question.radius_km.to_bits(),
            bound: question.bound,
        }
    }
}

/// A circuit breaker.
///
/// ```text
///            FAILURES_MAX in a row                REST is over
///   Well ───────────────────────────▶ Resting ──────────────────▶ Probed
///    ▲                                   ▲ ─────── failed ─────────┘ │
///    └────────────────────────── answered ───────────────────────────┘
/// ```
enum Breaker {
    Closed {
        failures: u32,
    },
    Open {
        until: Duration,
    },
    /// One call is on its way to find out.
    HalfOpen,
}

impl Breaker {
    fn allows_call(&self, now: Duration) -> bool {
        match self {
            Breaker::Closed { .. } => true,
            Breaker::Open { until } => now >= *until,
            Breaker::HalfOpen => false,
        }
    }

    fn call_begins(&mut self) {
        if let Breaker::Open { .. } = self {
            *self = Breaker::HalfOpen;
        }
    }

    /// No client waited for a call any more before it began: if it was to find out how the service
    /// is, another must.
    fn call_dropped(&mut self, now: Duration) {
        if let Breaker::HalfOpen = self {
            *self = Breaker::Open { until: now };
        }
    }

    fn call_ends(&mut self, has_answered: bool, now: Duration) {
        *self = match (&*self, has_answered) {
            (_, true) => Breaker::Closed { failures: 0 },
            (Breaker::Closed { failures }, false) if failures + 1 < FAILURES_MAX => {
                Breaker::Closed { failures: failures + 1 }
            }
            // A call that began before the service died says nothing new about it.
            (Breaker::Open { until }, false) => Breaker::Open { until: *until },
            (_, false) => Breaker::Open { until: now + REST },
        };
    }
}

/// A token bucket for each address that has asked lately.
#[derive(Default)]
struct Askers {
    buckets: HashMap<IpAddr, Bucket>,
    /// When the full buckets were last thrown out.
    swept: Duration,
}

struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Askers {
    /// Addresses remembered at a time. An address that asks rarely is forgotten first: a full
    /// bucket is no different from none.
    const REMEMBERED_MAX: usize = 10_000;
    const SWEEP_EVERY: Duration = Duration::from_secs(1);

    fn may_ask(&mut self, from: IpAddr, now: Duration, rules: &CallRules) -> bool {
        let from = network(from);
        let full = rules.questions_at_once as f64;
        if self.buckets.len() >= Self::REMEMBERED_MAX && !self.buckets.contains_key(&from) {
            if now - self.swept >= Self::SWEEP_EVERY {
                self.swept = now;
                self.buckets.retain(|_, bucket| bucket.level(now, rules) < full);
            }
            if self.buckets.len() >= Self::REMEMBERED_MAX {
                // Ten thousand addresses that all ask at once are one attacker.
                return false;
            }
        }
        let bucket = self.buckets.entry(from).or_insert(Bucket { tokens: full, at: now });
        let tokens = bucket.level(now, rules);
        let may = tokens >= 1.0;
        *bucket = Bucket { tokens: tokens - if may { 1.0 } else { 0.0 }, at: now };
        may
    }
}

impl Bucket {
    fn level(&self, now: Duration, rules: &CallRules) -> f64 {
        let gained = (now - self.at).as_secs_f64() * rules.questions_per_second as f64;
        (self.tokens + gained).min(rules.questions_at_once as f64)
    }
}

/// A host that has one IPv6 address has 2⁶⁴ of them (RFC 4291 section 2.5.1).
fn network(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V6(v6) if v6.to_ipv4_mapped().is_none() => {
            IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))
        }
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_core::clock::PosixTime;
    use herd_core::whatsat::Position;

    const RULES: CallRules = CallRules {
        workers: 2,
        queue_max: 1,
        calls_per_day: None,
        questions_per_second: 5,
        questions_at_once: 10,
        limits_loopback: false,
    };

    const TIMEOUT: Duration = Duration::from_secs(5);

    fn now(ms: u64) -> Now {
        let posix = PosixTime::new(86_400 + ms / 1000, 0);
        Now { monotonic: Duration::from_millis(ms), posix }
    }

    fn about(latitude: f64) -> Question {
        Question { at: Position { latitude, longitude: 0.0 }, radius_km: 1.0, bound: 5 }
    }

    /// Asks about a place of its own for each number.
    fn ask(gate: &mut CallGate, ms: u64, number: u64) -> Reception {
        gate.receive(now(ms), None, Ticket(number), &about(number as f64), TIMEOUT)
    }

    /// The same, and a worker takes it at once.
    fn call(gate: &mut CallGate, ms: u64, number: u64) -> CallId {
        assert_eq!(ask(gate, ms, number), Reception::Accepted, "question {number} at {ms} ms");
        let (call, question) = gate.next(Duration::from_millis(ms)).expect("a worker is free");
        assert_eq!(question, about(number as f64));
        call
    }

    fn refusal(reception: Reception) -> &'static str {
        match reception {
            Reception::Limited(why) => why,
            other => panic!("not limited: {other:?}"),
        }
    }

    fn is_left_alone(reception: Reception) -> bool {
        matches!(reception, Reception::Failed(_))
    }

    #[test]
    fn the_same_question_is_asked_once() {
        let mut gate = CallGate::new(RULES, Spent::default());
        let call = call(&mut gate, 0, 7);
        gate.receive(now(1), None, Ticket(8), &about(7.0), TIMEOUT);
        assert_eq!(gate.next(Duration::ZERO), None, "the second joins the first");
        let now = Duration::from_millis(5);
        assert_eq!(gate.finished(now, call, true), [Ticket(7), Ticket(8)]);
        assert_eq!(gate.finished(now, call, true), []);
        assert_eq!(gate.calls(), 0);
    }

    #[test]
    fn no_more_calls_than_allowed() {
        let mut gate = CallGate::new(RULES, Spent::default());
        let first = call(&mut gate, 0, 1);
        call(&mut gate, 0, 2);
        assert_eq!(ask(&mut gate, 0, 3), Reception::Accepted);
        assert_eq!(gate.next(Duration::ZERO), None, "no worker is free");
        assert!(refusal(ask(&mut gate, 0, 4)).contains("waiting"));
        gate.finished(Duration::ZERO, first, true);
        let next = gate.next(Duration::ZERO).expect("now one is");
        assert_eq!(next.1, about(3.0));
        assert_eq!(ask(&mut gate, 0, 4), Reception::Accepted);
    }

    #[test]
    fn what_nobody_waits_for_is_not_asked() {
        let mut gate = CallGate::new(
            CallRules { queue_max: 9, calls_per_day: Some(5), ..RULES },
            Spent::default(),
        );
        let stuck = [call(&mut gate, 0, 1), call(&mut gate, 0, 2)];
        ask(&mut gate, 1, 3);
        ask(&mut gate, 2, 4);
        // Another client asks the same, and will still wait.
        gate.receive(now(3_000), None, Ticket(5), &about(4.0), TIMEOUT);
        for call in stuck {
            gate.finished(Duration::from_secs(5), call, false);
        }
        let now = Duration::from_secs(6);
        let (fourth, question) = gate.next(now).expect("somebody still waits");
        assert_eq!(question, about(4.0), "and for the third nobody does");
        assert_eq!(gate.next(now), None);
        assert_eq!(gate.finished(now, fourth, true), [Ticket(4), Ticket(5)]);
        // Three calls were made, so the day has two left.
        call(&mut gate, 6_000, 6);
        call(&mut gate, 6_000, 7);
        assert!(refusal(ask(&mut gate, 6_000, 8)).contains("budget"));
    }

    #[test]
    fn a_probe_that_is_dropped_makes_room_for_another() {
        let mut gate =
            CallGate::new(CallRules { workers: 3, queue_max: 9, ..RULES }, Spent::default());
        for number in 3..FAILURES_MAX {
            let call = call(&mut gate, 0, u64::from(100 + number));
            gate.finished(Duration::ZERO, call, false);
        }
        let stuck = [1, 2, 3].map(|number| call(&mut gate, 0, number));
        for call in &stuck[..2] {
            gate.finished(Duration::ZERO, *call, false);
        }
        let more = [4, 5].map(|number| call(&mut gate, 0, number));
        gate.finished(Duration::ZERO, more[0], false);
        assert!(is_left_alone(ask(&mut gate, 0, 6)));
        // Two workers still hang, and a third is kept busy until the probe is too old.
        gate.at_work = 3;
        assert_eq!(ask(&mut gate, 10_000, 7), Reception::Accepted);
        gate.at_work = 2;
        assert_eq!(gate.next(Duration::from_secs(15)), None, "it is dropped");
        call(&mut gate, 15_000, 8);
    }

    #[test]
    fn a_dead_service_is_left_alone_and_then_tried_once() {
        let mut gate = CallGate::new(RULES, Spent::default());
        for number in 0..FAILURES_MAX {
            let call = call(&mut gate, 0, number.into());
            gate.finished(Duration::ZERO, call, false);
        }
        assert!(is_left_alone(ask(&mut gate, 9_999, 4)));
        let probe = call(&mut gate, 10_000, 5);
        assert!(is_left_alone(ask(&mut gate, 10_001, 6)));
        gate.finished(Duration::from_millis(10_500), probe, false);
        assert!(is_left_alone(ask(&mut gate, 20_499, 7)));
        let probe = call(&mut gate, 20_500, 8);
        gate.finished(Duration::from_millis(20_600), probe, true);
        call(&mut gate, 20_600, 9);
        call(&mut gate, 20_600, 10);
    }

    #[test]
    fn a_day_has_its_budget() {
        let mut gate =
            CallGate::new(CallRules { calls_per_day: Some(2), ..RULES }, Spent::default());
        for number in 0..2 {
            let call = call(&mut gate, 0, number);
            gate.finished(Duration::ZERO, call, true);
        }
        assert!(refusal(ask(&mut gate, 86_399_999, 3)).contains("budget"));
        call(&mut gate, 86_400_000, 4);
    }

    #[test]
    fn each_address_has_its_patience() {
        let rules = CallRules { queue_max: 1_000_000, ..RULES };
        let asks = |gate: &mut CallGate, ms, from: &str, count: u64| {
            let from: IpAddr = from.parse().unwrap();
            let answers = (0..count).map(|n| {
                let question = about(ms as f64 + n as f64 / 100.0);
                gate.receive(now(ms), Some(from), Ticket(n), &question, TIMEOUT)
            });
            answers.filter(|answer| !matches!(answer, Reception::Limited(_))).count()
        };
        let mut gate = CallGate::new(rules, Spent::default());
        assert_eq!(asks(&mut gate, 0, "192.0.2.1", 20), 10);
        assert_eq!(asks(&mut gate, 0, "192.0.2.2", 20), 10);
        assert_eq!(asks(&mut gate, 1_000, "192.0.2.1", 20), 5);
        assert_eq!(asks(&mut gate, 0, "127.0.0.1", 20), 20);
        assert_eq!(asks(&mut gate, 0, "2001:db8::1", 6), 6);
        assert_eq!(asks(&mut gate, 0, "2001:db8::2", 20), 4, "the same network");
        let mut strict =
            CallGate::new(CallRules { limits_loopback: true, ..rules }, Spent::default());
        assert_eq!(asks(&mut strict, 0, "127.0.0.1", 20), 10);
    }

    #[test]
    fn addresses_are_remembered_in_a_bound() {
        let mut gate = CallGate::new(CallRules { queue_max: 1_000_000, ..RULES }, Spent::default());
        let from = |n: u32| Some(IpAddr::from(n.to_be_bytes()));
        for n in 0..20_000 {
            gate.receive(now(0), from(n + (1 << 24)), Ticket(0), &about(1.0), TIMEOUT);
        }
        assert_eq!(gate.askers.buckets.len(), Askers::REMEMBERED_MAX);
        let later = gate.receive(now(2_000), from(7 << 24), Ticket(1), &about(1.0), TIMEOUT);
        assert_eq!((later, gate.askers.buckets.len()), (Reception::Accepted, 1));
    }
}
