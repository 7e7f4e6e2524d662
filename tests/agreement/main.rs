//! Two minds at the ends of one link: what they tell each other to agree, what that costs, and what
//! they do not believe. The bytes between them can be counted and changed; a whole herd, with
//! everything that can go wrong, lives in `jar`.

mod clocks;
mod erasing;
mod even;
mod pair;

use std::time::Duration;

use herd_core::LinkState;
use herd_core::names::PeerId;
use herd_sim::host::EPOCH;
use pair::{A, B, KEY, OTHER_KEY, Pair, READ_BYTES, reports};

#[test]
fn a_client_hears_its_own_line_without_a_seal() {
    let mut pair = Pair::keyed();
    pair.meet();
    assert!(pair.is_up());
    let heard = pair.say(A, "IAMAT x +1-1 5\nIAMAT x +1-1 4\n");
    let lines: Vec<&str> = heard.lines().collect();
    assert_eq!(lines.len(), 2, "{heard}");
    assert!(lines[0].ends_with(" x +1-1 5") && lines[1].ends_with(" x +1-1 4"), "{heard}");
    pair.talk();
    pair.assert_equal();
}

/// Bound: one line of digest and one to hear that all is well, whatever they hold. PROTOCOL 10.4,
/// 10.5.
#[test]
fn to_be_equal_costs_three_short_lines() {
    for (keyed, cost) in [(false, 50), (true, 155)] {
        let mut pair = if keyed { Pair::keyed() } else { Pair::with(|_, _| {}) };
        pair.meet();
        pair.say(A, &reports(0..1_000));
        pair.talk();
        pair.assert_equal();
        pair.part();
        pair.connect();
        // The greeting comes first, and what it costs depends on names.
        let is_greeting = |text: &[u8]| text.starts_with(b"HERD/1 ") || text.starts_with(b"AUTH ");
        let mut said = Vec::new();
        for from in [A, B, A, B, A, B] {
            said.extend(pair.carry(from, |text| text));
        }
        let digests: Vec<&[u8]> =
            said.split_inclusive(|&byte| byte == b'\n').filter(|line| !is_greeting(line)).collect();
        let words: Vec<&[u8]> =
            digests.iter().map(|line| line.split(|&byte| byte == b' ').next().unwrap()).collect();
        assert_eq!(words, [&b"ROOT"[..], b"EVEN?", b"EVEN"]);
        assert!(digests.concat().len() <= cost, "{} bytes", digests.concat().len());
        assert!(pair.is_up());
    }
}

/// Bound: 40 KB and five round trips for ten reports among 100,000, and one for the greeting.
#[test]
fn a_few_missed_reports_cost_little() {
    let mut pair = Pair::with(|_, settings| {
        settings.keys = vec![KEY];
        settings.limits.clients_max = 1_000_000;
    });
    pair.meet();
    for begin in (0..100_000).step_by(1_000) {
        pair.say(A, &reports(begin..begin + 1_000));
        pair.talk();
    }
    pair.part();
    pair.say(A, &reports(100_000..100_005));
    pair.say(B, &reports(100_005..100_010));
    assert_ne!(pair.roots()[A], pair.roots()[B]);
    pair.meet();
    pair.assert_equal();
    assert_eq!(pair.bodies[A].server.store().len(), 100_010);
    let bytes = pair.sent[A] + pair.sent[B];
    assert!(bytes <= 40_000 && pair.trips <= 6, "{bytes} bytes, {} trips", pair.trips);
}

/// PROTOCOL 10.5.
#[test]
fn a_server_that_has_lost_everything_is_told_everything() {
    for lost in [A, B] {
        let mut pair = Pair::keyed();
        pair.say(1 - lost, &reports(0..5_000));
        pair.meet();
        pair.assert_equal();
        assert_eq!(pair.bodies[lost].server.store().len(), 5_000);
    }
}

/// Goal: digests of different keys say nothing about each other, and need not. PROTOCOL 7.1, 10.6.
#[test]
fn servers_agree_while_keys_are_changed() {
    for (ones, others) in [
        (vec![KEY], vec![OTHER_KEY, KEY]),
        (vec![OTHER_KEY, KEY], vec![KEY]),
        (vec![OTHER_KEY, KEY], vec![KEY, OTHER_KEY]),
    ] {
        let keys = [ones, others];
        let mut pair = Pair::with(|at, settings| settings.keys = keys[at].clone());
        pair.say(A, &reports(0..10));
        pair.say(B, &reports(5..15));
        pair.meet();
        assert!(pair.is_up());
        assert!(pair.bodies.iter().all(|body| body.server.store().len() == 15));
    }
}

/// Goal: in the middle of a rotation, what a comparison finds is mended on a link that is up, as at
/// any other time. Method: B has the new key file; something that A held is gone. PROTOCOL 10.1.
#[test]
fn digests_outlive_a_rotation() {
    let keys = [vec![KEY], vec![OTHER_KEY, KEY]];
    let mut pair = Pair::with(|at, settings| {
        settings.keys = keys[at].clone();
        settings.digest_key = (at == B).then_some(KEY);
    });
    pair.say(A, &reports(0..2_000));
    pair.say(B, &reports(1_990..2_000));
    pair.meet();
    assert!(pair.is_up());
    pair.assert_equal();
    pair.part();
    pair.say(A, &reports(2_000..2_001));
    pair.sent = [0; 2];
    pair.meet();
    pair.assert_equal();
    let all = 2_000 * 40;
    assert!(pair.sent[A] < all / 10, "{} bytes: all was told again", pair.sent[A]);
}

/// Goal: nothing is lost on a peer that reads nothing for long, and it is told each client's last
/// report only. Method: B's link is not carried while 100 clients report 200 times each.
/// PROTOCOL 9.2, 10.8.
#[test]
fn a_slow_peer_is_told_the_newest_once() {
    let mut pair = Pair::with(|_, settings| settings.keys = vec![KEY]);
    pair.meet();
    let mut owed_most = 0;
    for time in 0..200 {
        let lines: String =
            (0..100).map(|client| format!("IAMAT c{client} +1-1 {time}\n")).collect();
        pair.say(A, &lines);
        owed_most = owed_most.max(pair.bodies[A].owed(pair.conn()));
    }
    assert!(owed_most > 200_000, "the peer was slow");
    assert!(owed_most <= 256 * 1024, "{owed_most} bytes for one peer");
    pair.sent = [0; 2];
    pair.talk();
    pair.assert_equal();
    let lines = (pair.sent[A] - owed_most) / 60;
    assert!(lines <= 300, "{lines} lines beyond what was owed");
}

/// Goal: two that differ much agree, however little may be owed at a time. Method: reports so long
/// that each is more than a peer may be owed. PROTOCOL 10.9.
#[test]
fn a_low_bound_does_not_keep_them_from_agreeing() {
    let mut pair = Pair::with(|_, settings| settings.limits.peer_outbox_bytes_max = 1_000);
    let long = |from: usize, to: usize| -> String {
        let padding = "x".repeat(1_015);
        (from..to).map(|client| format!("IAMAT {client}-{padding} +1-1 5\n")).collect()
    };
    for (to, from) in [(A, 0), (B, 200)] {
        for at in (from..from + 300).step_by(10) {
            pair.say(to, &long(at, at + 10));
        }
    }
    pair.meet();
    pair.assert_equal();
    assert_eq!(pair.bodies[A].server.store().len(), 500);
}

/// Goal: what is compared while reports are under way is not repaired in vain. PROTOCOL 10.7.
#[test]
fn a_difference_that_is_under_way_is_not_repaired() {
    let every = Duration::from_secs(5);
    let mut pair = Pair::with(|_, settings| {
        settings.limits.compare_every = Some(every);
        settings.limits.ping_after = 100 * every;
        settings.limits.silence_max = 200 * every;
    });
    pair.meet();
    // A's root and B's report cross each other.
    for round in 0..3 {
        pair.pass(every * 2);
        let root = pair.bodies[A].flush(pair.conn(), READ_BYTES);
        assert!(root.starts_with(b"ROOT "), "round {round}");
        pair.say(B, &format!("IAMAT x +1-1 {round}\n"));
        pair.bodies[B].arrive(pair.conn(), &root);
        let said = pair.carry(B, |text| text);
        assert!(
            said.starts_with(b"AT B ") && said.iter().filter(|&&byte| byte == b'\n').count() == 1
        );
        pair.talk();
        pair.assert_equal();
    }
}

/// Goal: no line that was not said here and now changes anything. PROTOCOL 7.5.
#[test]
fn a_changed_line_ends_the_link_and_changes_nothing() {
    let last_line = |text: &[u8]| {
        let start = text[..text.len() - 1].iter().rposition(|&byte| byte == b'\n');
        start.map_or(0, |at| at + 1)
    };
    type Change = fn(Vec<u8>, usize) -> Vec<u8>;
    let changes: [(&str, Change); 7] = [
        ("forged", |_, _| b"AT A +0 evil +1-1 5\n".to_vec()),
        ("a bit", |mut text, at| {
            text[at + 20] ^= 1;
            text
        }),
        ("cut short", |mut text, _| {
            text.truncate(text.len() - 9);
            text.push(b'\n');
            text
        }),
        ("said twice", |text, at| [&text[..], &text[at..]].concat()),
        ("left out", |text, at| text[at..].to_vec()),
        ("swapped", |text, at| [&text[at..], &text[..at]].concat()),
        ("no seal", |text, at| {
            let line = &text[at..];
            [&line[..line.len() - 35], b"\n"].concat()
        }),
    ];
    for (what, change) in changes {
        let mut pair = Pair::keyed();
        pair.meet();
        pair.say(A, "IAMAT one +1-1 5\nIAMAT two +1-1 5\n");
        let at = std::cell::Cell::new(0);
        pair.carry(A, |text| {
            at.set(last_line(&text));
            change(text, at.get())
        });
        assert_eq!(pair.bodies[B].server.peer(PeerId(0)).state, LinkState::Down, "{what}");
        assert_eq!(pair.bodies[B].server.counters().refused, 1, "{what}");
        assert!(pair.bodies[B].server.store().find(b"evil").is_none());
        pair.part();
        pair.meet();
        pair.assert_equal();
        assert_eq!(pair.bodies[B].server.store().len(), 2, "{what}");
    }
}

/// PROTOCOL 6.8.
#[test]
fn who_cannot_prove_the_key_is_no_peer() {
    for (ones, others) in [(vec![KEY], vec![OTHER_KEY]), (vec![], vec![KEY]), (vec![KEY], vec![])] {
        let keys = [ones, others];
        let mut pair = Pair::with(|at, settings| settings.keys = keys[at].clone());
        pair.say(A, &reports(0..3));
        pair.meet();
        assert!(!pair.is_up());
        for body in &pair.bodies {
            let trouble = body.server.peer(PeerId(0)).trouble;
            assert_eq!(trouble, Some("does not share a key with us"), "each side says it");
        }
        assert!(pair.bodies[B].server.store().is_empty());
    }
}

/// Goal: a recorded meeting opens nothing. Method: B meets one who says what A said. PROTOCOL 7.3.
#[test]
fn a_recorded_meeting_is_not_believed() {
    let mut pair = Pair::keyed();
    pair.connect();
    let greeting = pair.carry(A, |text| text);
    pair.carry(B, |text| text);
    let proof = pair.carry(A, |text| text);
    assert!(pair.is_up() && proof.starts_with(b"AUTH "));
    pair.part();

    pair.links += 1;
    let conn = pair.conn();
    pair.bodies[B].accept(conn);
    pair.bodies[B].arrive(conn, &greeting);
    let answer = pair.bodies[B].flush(conn, READ_BYTES);
    assert!(answer.starts_with(b"HERD/1 B A "), "a greeting is answered, for it may be A's");
    pair.bodies[B].arrive(conn, &proof);
    assert_eq!(pair.bodies[B].server.peer(PeerId(0)).state, LinkState::Down);
    assert_eq!(pair.bodies[B].server.counters().refused, 1);
}

/// PROTOCOL 2.12, 5.4.
#[test]
fn a_time_too_far_ahead_is_refused_where_it_is_first_heard() {
    let day = Duration::from_secs(86_400);
    let mut pair = Pair::with(|at, told| told.limits.client_ahead_max = (at == A).then_some(day));
    pair.meet();
    let ahead = |seconds: u64| format!("IAMAT x{seconds} +1-1 {}\n", EPOCH + seconds);
    assert!(pair.say(A, &ahead(86_000)).starts_with("AT A -85999."));
    assert!(pair.say(A, &ahead(90_000)).starts_with("? IAMAT x90000 "));
    // B has no such bound, and A takes what B tells.
    assert!(pair.say(B, &ahead(90_000)).starts_with("AT B "));
    pair.talk();
    pair.assert_equal();
    assert_eq!(pair.bodies[A].server.store().len(), 2);
}

/// PROTOCOL 2.13, 5.4.
#[test]
fn a_full_server_refuses_new_clients_but_hears_its_peers() {
    let mut pair = Pair::with(|at, settings| {
        if at == A {
            settings.limits.clients_max = 10;
        }
    });
    pair.meet();
    pair.say(A, &reports(0..10));
    assert!(pair.say(A, &reports(10..11)).starts_with("? IAMAT client-10 "));
    assert!(pair.say(A, "IAMAT client-3 +0-0 1600000000\n").starts_with("AT A "));
    pair.say(B, &reports(10..12));
    pair.talk();
    pair.assert_equal();
    assert_eq!(pair.bodies[A].server.store().len(), 12);
}

/// Goal: what nobody has renewed is forgotten everywhere, and stays so. PROTOCOL 3.4, 5.6.
#[test]
fn reports_expire_everywhere() {
    let hour = Duration::from_secs(3_600);
    let mut pair = Pair::with(|_, settings| {
        settings.limits.expire_after = Some(hour);
        (settings.limits.ping_after, settings.limits.silence_max) = (hour, 10 * hour);
        settings.limits.compare_every = Some(hour / 4);
    });
    pair.meet();
    pair.say(A, "IAMAT old +1-1 5\n");
    pair.talk();
    pair.pass(hour / 2);
    pair.talk();
    pair.say(B, "IAMAT young +1-1 5\n");
    pair.talk();
    pair.pass(hour * 2 / 3);
    pair.talk();
    assert_eq!(pair.say(A, "WHATSAT old 5 0\n"), "? WHATSAT old 5 0\n");
    // Not yet swept at A, and so still there; an older report of the client is news now.
    assert!(pair.say(A, "IAMAT old +2-2 4\n").starts_with("AT A "));
    assert!(pair.bodies[A].server.store().find(b"old").is_some_and(|held| *held.time == *b"4"));
    pair.pass_in_steps();
    pair.assert_equal();
    assert_eq!(pair.bodies[A].server.store().len(), 2);
    pair.pass(3 * hour / 2);
    pair.pass_in_steps();
    assert!(pair.bodies.iter().all(|body| body.server.store().is_empty()));
    assert_eq!(pair.roots(), [0, 0]);
}

/// Goal: who leaves looks for nothing to forget any more.
#[test]
fn nothing_expires_at_a_server_that_leaves() {
    let after = Some(Duration::from_secs(5));
    let mut pair = Pair::with(|_, settings| settings.limits.expire_after = after);
    pair.meet();
    pair.bodies[A].leave();
    pair.bodies[A].lose_all();
    for _ in 0..100 {
        pair.pass(Duration::from_millis(100));
    }
    assert_eq!(pair.bodies[A].has_left(1), Ok(()));
}

/// Goal: the stamps of a server go on when its clock is set back. PROTOCOL 2.9.
#[test]
fn stamps_never_go_back() {
    let mut pair = Pair::with(|_, _| {});
    let skew = |answer: &str| answer.split(' ').nth(2).unwrap().parse::<f64>().unwrap();
    let first = skew(&pair.say(A, "IAMAT x +1-1 0\n"));
    pair.now -= Duration::from_millis(500);
    pair.bodies[A].set_time(pair.now);
    let second = skew(&pair.say(A, "IAMAT x +1-1 0\n"));
    assert!(second >= first && second < first + 0.001, "{first} {second}");
}

/// Goal: a clock that was a year ahead for a moment leaves its mark on nothing but what was said in
/// that moment, and no client is heard in another order than it spoke. PROTOCOL 2.9.
#[test]
fn stamps_return_with_the_clock() {
    let mut pair = Pair::with(|_, _| {});
    let heard = |answer: &str| {
        let skew = answer.split(' ').nth(2).unwrap();
        skew.parse::<f64>().unwrap()
    };
    let before = heard(&pair.say(A, "IAMAT x +1-1 0\n"));
    const YEAR: Duration = Duration::from_secs(365 * 86_400);
    pair.now += YEAR;
    pair.bodies[A].set_time(pair.now);
    let glitch = heard(&pair.say(A, "IAMAT moved +1-1 1\n"));
    pair.now -= YEAR;
    pair.bodies[A].set_time(pair.now);
    let after = heard(&pair.say(A, "IAMAT x +1-1 2\n")) + 2.0;
    assert!(glitch > before + 3e7 && after >= before && after < before + 60.0, "{after}");
    let again = heard(&pair.say(A, "IAMAT moved +1-1 2\n")) + 1.0;
    assert!(again >= glitch - 1e-3, "{again} is before {glitch}");
}
