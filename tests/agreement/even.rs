//! When is one end of a link told that it holds all that the other held, and what is an older peer
//! told? The link is carried a piece at a time, so that each answer is seen to come when it may.

use std::time::Duration;

use super::pair::{A, B, KEY, OTHER_KEY, Pair, READ_BYTES, reports};
use herd_core::LinkState;
use herd_core::names::PeerId;

const JOINED: PeerId = PeerId(0);

/// Since when one of them holds all that the other held.
fn even_at(pair: &Pair, at: usize) -> Option<Duration> {
    pair.bodies[at].server.peer(JOINED).even_at
}

fn clients(pair: &Pair, at: usize) -> usize {
    pair.bodies[at].server.store().len()
}

/// The first words of what was said, with the number if there is one of few digits.
fn words(text: &[u8]) -> Vec<String> {
    let word = |line: &str| match line.split(' ').next().unwrap() {
        word @ ("EVEN?" | "EVEN") => format!("{word} {}", line.split(' ').nth(1).unwrap()),
        word => word.to_owned(),
    };
    String::from_utf8_lossy(text).lines().map(word).collect()
}

/// A link that is up, and on which nothing was said but greetings.
fn greeted(pair: &mut Pair) {
    pair.connect();
    pair.carry(A, |text| text);
    pair.carry(B, |text| text);
    assert!(pair.is_up());
}

/// What A says to B until that moment, a line at a time: `stop` looks at B before each.
fn carry_lines(pair: &mut Pair, from: usize, mut each: impl FnMut(&mut Pair, &[u8])) {
    let conn = pair.conn();
    let text = pair.bodies[from].flush(conn, READ_BYTES);
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        pair.bodies[1 - from].arrive(conn, line);
        each(pair, line);
    }
}

/// Goal: whether an end holds less, the other, or nothing, each end hears that it has all exactly
/// when it has, and not a line before. PROTOCOL 10.11, 10.12, 10.13.
#[test]
fn an_end_is_even_when_the_last_report_has_come() {
    for (ones, others) in [(0..0, 0..300), (0..300, 0..0), (0..310, 5..315), (0..300, 0..300)] {
        let mut pair = Pair::with(|_, _| {});
        pair.say(A, &reports(ones.clone()));
        pair.say(B, &reports(others.clone()));
        let all = ones.end.max(others.end);
        greeted(&mut pair);
        for _ in 0..12 {
            for from in [A, B] {
                carry_lines(&mut pair, from, |pair, line| {
                    let (to, line) = (1 - from, String::from_utf8_lossy(line));
                    let has_all = clients(pair, to) == all;
                    assert!(even_at(pair, to).is_none() || has_all, "{ones:?} {others:?} {line}");
                });
            }
        }
        pair.assert_equal();
        for at in [A, B] {
            assert!(even_at(&pair, at).is_some(), "{ones:?} {others:?} {at}");
        }
    }
}

/// Goal: what is said to be even is so although news comes all the time and there is hardly any
/// room. PROTOCOL 10.12.
#[test]
fn an_answer_waits_until_all_is_told() {
    let mut pair = Pair::with(|_, settings| settings.limits.peer_outbox_bytes_max = 400);
    pair.say(B, &reports(0..200));
    greeted(&mut pair);
    for round in 0..2_000 {
        pair.say(B, &format!("IAMAT walker +1-1 {round}\n"));
        for from in [A, B] {
            let conn = pair.conn();
            let text = pair.bodies[from].flush(conn, 50);
            pair.bodies[1 - from].arrive(conn, &text);
        }
        if even_at(&pair, A).is_some() {
            assert!(clients(&pair, A) >= 200, "it holds {}", clients(&pair, A));
            return;
        }
    }
    panic!("in a herd that is never quiet, nobody is even");
}

/// Goal: two that cannot compare digests tell each other everything, and then say so.
/// PROTOCOL 10.6, 10.11.
#[test]
fn ends_with_other_keys_are_even_too() {
    let keys = [vec![KEY], vec![OTHER_KEY, KEY]];
    let mut pair = Pair::with(|at, settings| settings.keys = keys[at].clone());
    pair.say(A, &reports(0..10));
    pair.say(B, &reports(5..15));
    pair.meet();
    for at in [A, B] {
        assert_eq!(clients(&pair, at), 15);
        assert!(even_at(&pair, at).is_some(), "{at}");
    }
}

/// Goal: it is asked again behind each comparison, and what was left alone because reports are
/// under way is not called even. PROTOCOL 10.7, 10.11, 10.12.
#[test]
fn each_comparison_says_when_it_was_even() {
    let every = Duration::from_secs(5);
    let mut pair = Pair::with(|_, settings| {
        settings.limits.compare_every = Some(every);
        settings.limits.ping_after = 100 * every;
        settings.limits.silence_max = 200 * every;
    });
    pair.say(A, &reports(0..1));
    pair.meet();
    let first = even_at(&pair, A).unwrap();
    pair.pass(2 * every);
    pair.talk();
    let second = even_at(&pair, A).unwrap();
    assert_eq!(second, first + 2 * every);
    assert_eq!(even_at(&pair, B), Some(second));

    // A's root and B's report cross each other.
    pair.pass(2 * every);
    let root = pair.bodies[A].flush(pair.conn(), READ_BYTES);
    assert_eq!(words(&root), ["ROOT", "EVEN? 3"]);
    pair.say(B, "IAMAT x +1-1 1\n");
    pair.bodies[B].arrive(pair.conn(), &root);
    assert_eq!(words(&pair.carry(B, |text| text)), ["AT"]);
    pair.talk();
    assert_eq!([A, B].map(|at| even_at(&pair, at)), [Some(second); 2]);
    pair.pass(2 * every);
    pair.talk();
    assert_eq!([A, B].map(|at| even_at(&pair, at)), [Some(second + 4 * every); 2]);
}

/// Goal: an older peer hears no line that it does not know, and a link with it works as ever.
/// Method: `even` is taken out of a greeting. PROTOCOL 6.4, 10.11.
#[test]
fn an_older_peer_is_not_asked() {
    for older in [A, B] {
        let mut pair = Pair::with(|_, _| {});
        pair.say(A, &reports(0..20));
        pair.say(B, &reports(10..30));
        pair.connect();
        for from in [A, B] {
            pair.carry(from, |text| {
                let text = String::from_utf8(text).unwrap();
                assert!(text.contains(",even,"), "{text}");
                let changed = if from == older { text.replacen(",even,", ",", 1) } else { text };
                changed.into_bytes()
            });
        }
        assert!(pair.is_up());
        for _ in 0..10 {
            let said = words(&pair.carry(1 - older, |text| text));
            assert!(!said.iter().any(|word| word.starts_with("EVEN?")), "{said:?}");
            pair.carry(older, |text| text);
        }
        pair.assert_equal();
        assert_eq!(even_at(&pair, 1 - older), None, "nobody has said so");
        let view = pair.bodies[1 - older].server.peer(JOINED);
        assert!(!view.knows_even && view.first_root.is_some());
    }
}

/// Goal: what says `EVEN` without having been asked is no peer of ours. PROTOCOL 8.2.
#[test]
fn an_answer_that_was_not_asked_for_ends_the_link() {
    for (answer, is_asked) in [("EVEN 1\n", true), ("EVEN 2\n", false), ("EVEN 0\n", false)] {
        let mut pair = Pair::with(|_, _| {});
        greeted(&mut pair);
        let asked = pair.bodies[A].flush(pair.conn(), READ_BYTES);
        assert_eq!(words(&asked), ["ROOT", "EVEN? 1"]);
        pair.bodies[A].arrive(pair.conn(), answer.as_bytes());
        let is_up = pair.bodies[A].server.peer(JOINED).state == LinkState::Up;
        assert_eq!(is_up, is_asked, "{answer}");
        assert_eq!(even_at(&pair, A).is_some(), is_asked, "{answer}");
    }
}

/// Goal: a server that forgets everything while it begins to compare is told all the same.
/// PROTOCOL 10.5, 10.13.
#[test]
fn what_is_forgotten_meanwhile_is_asked_for() {
    let hour = Duration::from_secs(3_600);
    let mut pair = Pair::with(|at, settings| {
        settings.limits.expire_after = Some(hour);
        (settings.limits.ping_after, settings.limits.silence_max) = (hour, 10 * hour);
        settings.seed = at as u64;
    });
    pair.say(A, "IAMAT old +1-1 5\n");
    pair.pass(hour - Duration::from_secs(60));
    pair.say(B, &reports(0..50));
    greeted(&mut pair);
    // A has told the digest of one report, and has none when it hears what B holds.
    pair.carry(A, |text| text);
    let answer = pair.bodies[B].flush(pair.conn(), READ_BYTES);
    for _ in 0..2_400 {
        pair.pass(Duration::from_millis(100));
    }
    assert_eq!(clients(&pair, A), 0);
    pair.bodies[A].arrive(pair.conn(), &answer);
    assert_eq!(even_at(&pair, A), None);
    pair.talk();
    assert_eq!(clients(&pair, A), 50);
    assert!(even_at(&pair, A).is_some());
}
