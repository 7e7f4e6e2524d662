//! Clients that are forgotten because somebody wants it, by two servers that do not always hear
//! each other.

use std::collections::BTreeMap;
use std::time::Duration;

use herd_core::LinkState;
use herd_core::clock::PosixTime;
use herd_core::names::PeerId;
use herd_sim::host::EPOCH;

use super::pair::{A, B, Pair};

/// Runs of the random test.
const SEEDS: u64 = 300;
/// What is done in each.
const ACTS: usize = 60;

/// What a server knows of a client: when it was there.
fn known(pair: &Pair, at: usize, client: &str) -> Option<PosixTime> {
    let held = pair.bodies[at].server.store().find(client.as_bytes())?;
    (!held.is_erasure()).then_some(held.stamp)
}

fn is_answered(pair: &mut Pair, at: usize, client: &str) -> bool {
    let question = format!("WHATSAT {client} 5 0\n");
    pair.say(at, &question) != format!("? {question}")
}

/// Has a client forgotten, and says by which time.
fn erase(pair: &mut Pair, at: usize, client: &str) -> PosixTime {
    pair.bodies[at].erase(client.as_bytes());
    assert!(pair.bodies[at].server.is_erased(client.as_bytes()));
    pair.bodies[at].server.store().find(client.as_bytes()).unwrap().stamp
}

/// They find each other when the one has waited for as long as it must before it dials again.
fn meet_again(pair: &mut Pair) {
    while pair.bodies[A].server.peer(PeerId(0)).state != LinkState::Dialing {
        pair.pass(Duration::from_millis(100));
    }
    pair.meet();
}

/// Goal: once both have caught up, nobody answers for an erased client with a report that is not
/// later than its erasure, and both with one that is; whatever is said, erased and lost meanwhile.
/// PROTOCOL 5.8, 5.9.
#[test]
fn nobody_answers_for_whom_is_erased() {
    let mut erasures = 0;
    for seed in 0..SEEDS {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut pair = if random.bool() { Pair::keyed() } else { Pair::with(|_, _| {}) };
        pair.meet();
        // Of each client, when it was last reported and last erased.
        let mut reported = BTreeMap::<String, PosixTime>::new();
        let mut erased = BTreeMap::<String, PosixTime>::new();
        for _ in 0..ACTS {
            let (at, client) = (random.usize(0..2), format!("client-{}", random.u8(0..4)));
            match random.u8(0..10) {
                0..5 => {
                    // Some clocks are ahead, and some phones were out of reach. None has reported
                    // at the nanosecond of an erasure: then the order of reports would decide.
                    let seconds = EPOCH + random.u64(0..40);
                    let stamp = PosixTime::new(seconds, 7 + 10 * random.u32(0..3));
                    pair.say(at, &format!("IAMAT {client} +34.0-118.5 {stamp}\n"));
                    let newest = reported.entry(client).or_default();
                    *newest = stamp.max(*newest);
                }
                5 | 6 => {
                    let stamp = erase(&mut pair, at, &client);
                    let latest = erased.entry(client).or_default();
                    *latest = stamp.max(*latest);
                    erasures += 1;
                }
                7 if pair.is_up() => pair.part(),
                8 if !pair.is_up() => meet_again(&mut pair),
                _ => pair.pass(Duration::from_millis(random.u64(0..3_000))),
            }
            if random.bool() {
                pair.talk();
            }
        }
        if pair.is_up() {
            pair.part();
        }
        meet_again(&mut pair);
        pair.assert_equal();
        for client in (0..4).map(|number| format!("client-{number}")) {
            let erased = erased.get(&client).copied();
            let newest = reported.get(&client).copied().filter(|stamp| Some(*stamp) > erased);
            for at in [A, B] {
                assert_eq!(known(&pair, at, &client), newest, "{client} in run {seed}");
                assert_eq!(is_answered(&mut pair, at, &client), newest.is_some());
            }
        }
    }
    assert!(erasures > SEEDS, "some were erased");
}

/// Goal: what cannot be a client's name is not erased, and a server that keeps nothing more erases
/// nothing.
#[test]
fn what_is_no_client_is_not_erased() {
    let mut pair = Pair::with(|_, settings| settings.limits.clients_max = 1);
    for name in ["", "a b", "a\nb", "\t"] {
        pair.bodies[A].erase(name.as_bytes());
        assert!(pair.bodies[A].server.store().is_empty(), "{name:?}");
    }
    pair.say(A, "IAMAT kiwi +1-1 5\n");
    pair.bodies[A].erase(b"fig");
    assert!(!pair.bodies[A].server.is_erased(b"fig"), "there is no room for one more");
    erase(&mut pair, A, "kiwi");
    assert_eq!(pair.bodies[A].server.store().len(), 1);
}

/// Goal: an erasure expires like a report, and then nothing is left of the client. PROTOCOL 5.6,
/// 5.8.
#[test]
fn an_erasure_expires() {
    let hour = Some(Duration::from_secs(3_600));
    let mut pair = Pair::with(|_, settings| settings.limits.expire_after = hour);
    pair.meet();
    let now = EPOCH;
    pair.say(A, &format!("IAMAT kiwi +1-1 {now}\n"));
    pair.talk();
    erase(&mut pair, B, "kiwi");
    pair.talk();
    assert!(pair.bodies[A].server.is_erased(b"kiwi"));
    pair.pass_in_steps();
    assert!(pair.bodies[A].server.is_erased(b"kiwi"));
    pair.now += Duration::from_secs(3_600);
    pair.pass_in_steps();
    assert!([A, B].iter().all(|at| pair.bodies[*at].server.store().is_empty()));
}
