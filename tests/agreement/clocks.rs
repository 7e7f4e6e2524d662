//! How far the clock of the other end is from ours: a sign of life says it.

use std::time::Duration;

use super::pair::{A, B, Pair, READ_BYTES};
use herd_core::PeerClock;
use herd_core::names::PeerId;

const MS: Duration = Duration::from_millis(1);

fn measured(pair: &Pair, at: usize) -> Option<PeerClock> {
    pair.bodies[at].server.peer(PeerId(0)).clock
}

/// What one says takes so long.
fn carry_slowly(pair: &mut Pair, from: usize, time: Duration) -> String {
    let text = pair.bodies[from].flush(pair.conn(), READ_BYTES);
    pair.pass(time);
    pair.bodies[1 - from].arrive(pair.conn(), &text);
    String::from_utf8(text).unwrap()
}

/// Goal: a clock that is wrong is seen, to half of the round trip, and so is one that is right.
/// PROTOCOL 8.7.
#[test]
fn a_peers_clock_is_measured() {
    for (ahead_ms, there, back) in [(0, 20, 20), (1_500, 20, 20), (-4_000, 5, 35)] {
        let mut pair = Pair::with(|_, _| {});
        pair.meet();
        pair.bodies[B].step_clock(ahead_ms);
        assert_eq!(measured(&pair, A), None);
        pair.pass(1_000 * MS);
        let asked = carry_slowly(&mut pair, A, there * MS);
        assert!(asked.contains("PING 1\n"), "{asked}");
        carry_slowly(&mut pair, B, back * MS);
        let clock = measured(&pair, A).unwrap();
        assert_eq!(clock.round_trip, 40 * MS);
        let wrong_ns = clock.ahead_ns - ahead_ms * 1_000_000;
        assert_eq!(wrong_ns, (i64::from(there) - i64::from(back)) / 2 * 1_000_000);
    }
}

/// Goal: on a link that is never silent, it is measured again after half a minute. PROTOCOL 8.7.
#[test]
fn a_clock_that_goes_wrong_is_seen_on_a_busy_link() {
    let mut pair = Pair::with(|_, _| {});
    pair.meet();
    for second in 0..80 {
        pair.say(B, &format!("IAMAT x +1-1 {second}\n"));
        pair.talk();
        pair.pass(1_000 * MS);
        if second == 40 {
            pair.bodies[B].step_clock(2_000);
        }
    }
    let ahead_ns = measured(&pair, A).unwrap().ahead_ns;
    assert!((1_900_000_000..2_100_000_000).contains(&ahead_ns), "{ahead_ns}");
}

/// Goal: an older peer hears no number that it does not know, and is not measured.
/// Method: `clock` is taken out of a greeting. PROTOCOL 6.4, 8.7.
#[test]
fn an_older_peer_is_not_told_the_time() {
    let mut pair = Pair::with(|_, _| {});
    pair.connect();
    pair.carry(A, |text| String::from_utf8(text).unwrap().replace(",clock\n", "\n").into_bytes());
    pair.carry(B, |text| text);
    pair.talk();
    for _ in 0..40 {
        pair.pass(1_000 * MS);
        pair.carry(A, |text| text);
        let said = String::from_utf8(pair.carry(B, |text| text)).unwrap();
        let answers = said.lines().filter(|line| line.starts_with("PONG "));
        assert!(answers.into_iter().all(|line| line.split(' ').count() == 2), "{said}");
    }
    assert!(pair.is_up());
    assert_eq!(measured(&pair, B), None);
}
