//! What is true of the pure core whatever it is given. Apart from the unit tests, which say what
//! single cases come to, and from `jar`, where several servers meet.
//!
//! Each property is shown for inputs that proptest draws, and shrinks when they break it.

use std::cmp::Ordering;
use std::time::Duration;

use herd_core::border::{Input, Note, Outputs};
use herd_core::clock::{Now, PosixTime, Skew};
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::store::{HashKeys, Store, Verdict, rank};
use herd_core::timer_wheel::{TICK, TimerWheel};
use herd_core::wire::line_buffer::{Line, LineBuffer, LineLimits, Lines};
use herd_core::wire::{Command, Report};
use herd_core::{Frame, PeerSettings, Server};
use herd_sim::host::{Act, Host, LIMITS, settings};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

fn report(line: &[u8]) -> Report<'_> {
    match Command::parse(line) {
        Command::At(report) => report,
        other => panic!("{}: {other:?}", line.escape_ascii()),
    }
}

/// A field that means nothing to the wire: any bytes but white space.
fn word() -> impl Strategy<Value = Vec<u8>> {
    let is_space = |byte: &u8| b" \t\r\n\x0b\x0c".contains(byte);
    vec(any::<u8>().prop_filter("white space", move |byte| !is_space(byte)), 1..40)
}

fn at_line() -> impl Strategy<Value = Vec<u8>> {
    let skew = "[+-]?[0-9]{1,9}(\\.[0-9]{1,9})?";
    let position = "[+-][0-8]?[0-9](\\.[0-9]{1,12})?[+-]1?[0-7]?[0-9](\\.[0-9]{1,12})?";
    let time = "[0-9]{1,30}(\\.[0-9]{1,15})?";
    (word(), skew, word(), position, time).prop_map(|(server, skew, client, position, time)| {
        let fields = [b"AT", &server[..], skew.as_bytes(), &client, position.as_bytes()];
        let mut line = fields.join(&b' ');
        line.push(b' ');
        line.extend_from_slice(time.as_bytes());
        line
    })
}

/// Reports of one client that are as alike as reports can be: ties, near-ties, other spellings.
fn rivals() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let time = select(vec!["7", "7.0", "07", "7.000000001", "7.0000000010", "7.0000000019", "8"]);
    let position = select(vec!["+1+1", "+1.0+1", "-1+1"]);
    let server = select(vec!["A", "B", "AA"]);
    let rival = (server, select(vec!["+0", "+0.0", "-1"]), position, time).prop_map(
        |(server, skew, position, time)| format!("AT {server} {skew} x {position} {time}"),
    );
    vec(rival.prop_map(String::into_bytes), 1..12)
}

/// What a store holds of `x` after these, one after the other.
fn held_after<'a>(lines: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let mut store = Store::new(HashKeys { herd: (1, 2), process: (3, 4) });
    for line in lines {
        let before = held(&store);
        let verdict = store.put(&report(line));
        let changed = before != held(&store);
        assert_eq!(changed, verdict.is_news(), "news is what changes the store");
        assert_eq!(verdict == Verdict::Known, before.as_ref() == Some(line));
    }
    held(&store).expect("something was put")
}

fn held(store: &Store) -> Option<Vec<u8>> {
    let mut line = Vec::new();
    store.find(b"x")?.write_line(&mut line);
    line.pop();
    Some(line)
}

/// Cuts bytes at these places.
fn chop<'a>(bytes: &'a [u8], cuts: &[prop::sample::Index]) -> Vec<&'a [u8]> {
    let mut places: Vec<_> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    places.sort();
    let starts = [0].into_iter().chain(places.iter().copied());
    let ends = places.iter().copied().chain([bytes.len()]);
    starts.zip(ends).map(|(start, end)| &bytes[start..end]).collect()
}

/// Lines of clients, good and bad, and what is not even a line.
fn chatter() -> impl Strategy<Value = Vec<u8>> {
    let client = "[a-c]";
    let line = prop_oneof![
        4 => (client, 0..50u32).prop_map(|(id, time)| format!("IAMAT {id} +1.5-2 {time}.5\n")),
        3 => (client, 0..60u32).prop_map(|(id, km)| format!("WHATSAT {id} {km} 3\r\n")),
        1 => "[ -~]{0,30}\n",
        1 => Just("\r\r\n \n".to_owned()),
        1 => (1_900..2_300usize).prop_map(|long| format!("{}\n", "y".repeat(long))),
    ];
    vec(line, 0..40).prop_map(|lines| lines.concat().into_bytes())
}

fn lines_of(pieces: &[&[u8]], limits: LineLimits, lines_max: usize) -> Vec<(bool, Vec<u8>)> {
    let mut buffer = LineBuffer::default();
    let mut told = Vec::new();
    for &piece in pieces {
        let mut read = piece;
        loop {
            let mut lines = buffer.lines(read, limits).bounded(lines_max, 0);
            while let Some(line) = lines.take() {
                told.push(match line {
                    Line::Whole(bytes) => (true, bytes.to_vec()),
                    Line::TooLong(bytes) => (false, bytes.to_vec()),
                });
            }
            let outcome = lines.outcome();
            buffer.settle(read, outcome);
            read = &[];
            if !outcome.lines_left {
                break;
            }
        }
    }
    told
}

/// What a server answers to a client whose bytes come in these pieces. Places are answered as
/// late as they can be: when nothing else is left to do.
fn answers_to(pieces: &[&[u8]]) -> Vec<u8> {
    let mut body = Host::new(settings("Hill", Vec::new(), 5), Duration::ZERO, 0);
    let conn = ConnId::new(ConnKind::Client, 1, 1);
    body.set_time(Duration::from_secs(60));
    body.start();
    body.accept(conn);
    for piece in pieces {
        body.arrive(conn, piece);
    }
    body.end(conn);
    let mut answers = Vec::new();
    loop {
        while !body.owing().is_empty() {
            answers.extend(body.flush(conn, usize::MAX));
        }
        let acts = body.take_acts();
        if acts.is_empty() {
            return answers;
        }
        for act in acts {
            if let Act::Ask { ticket, question, .. } = act {
                body.answer(ticket, format!("{question:?}").as_bytes());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_parsed_is_printed_as_it_was(line in at_line()) {
        let parsed = report(&line);
        let mut printed = Vec::new();
        parsed.write_line(&mut printed);
        prop_assert_eq!(&printed[..printed.len() - 1], &line[..]);
        let again = Report::from_fields(&line[3..]);
        prop_assert_eq!(rank(&parsed, &again), Ordering::Equal);
    }

    #[test]
    fn lines_do_not_depend_on_pieces(
        bytes in vec(select(b"ab \r\n".to_vec()), 0..200),
        long in 0..700usize,
        cuts in vec(any::<prop::sample::Index>(), 0..20),
        lines_max in 1..5usize,
    ) {
        let limits = LineLimits { line_bytes_max: 300, endless_bytes_max: 100_000 };
        let bytes = [&bytes[..], &b"z".repeat(long), b"\r\n", &bytes, b"\n"].concat();
        let whole = lines_of(&[&bytes], limits, usize::MAX);
        prop_assert_eq!(lines_of(&chop(&bytes, &cuts), limits, lines_max), whole);
    }

    #[test]
    fn answers_do_not_depend_on_pieces(
        bytes in chatter(),
        cuts in vec(any::<prop::sample::Index>(), 0..20),
    ) {
        prop_assert_eq!(answers_to(&chop(&bytes, &cuts)), answers_to(&[&bytes]));
    }

    #[test]
    fn a_store_forgets_the_order(lines in rivals(), seed: u64, split: prop::sample::Index) {
        let held = held_after(&lines);
        let mut shuffled = lines.clone();
        fastrand::Rng::with_seed(seed).shuffle(&mut shuffled);
        prop_assert_eq!(&held_after(&shuffled), &held, "commutative");
        prop_assert_eq!(&held_after(lines.iter().chain(&lines)), &held, "idempotent");
        let (some, others) = lines.split_at(split.index(lines.len()));
        let parts = [some, others].into_iter().filter(|part| !part.is_empty());
        let parts: Vec<_> = parts.map(held_after).collect();
        prop_assert_eq!(&held_after(&parts), &held, "associative");
    }

    /// PROTOCOL 5.2.
    #[test]
    fn rank_is_a_total_order(lines in rivals()) {
        for a in &lines {
            for b in &lines {
                let order = rank(&report(a), &report(b));
                prop_assert_eq!(order, rank(&report(b), &report(a)).reverse());
                prop_assert_eq!(order == Ordering::Equal, a == b, "equal only if the same");
                for c in &lines {
                    let is_chain = order != Ordering::Greater
                        && rank(&report(b), &report(c)) != Ordering::Greater;
                    let is_ordered = rank(&report(a), &report(c)) != Ordering::Greater;
                    prop_assert!(!is_chain || is_ordered, "transitive");
                }
            }
        }
    }

    #[test]
    fn a_timer_fires_once_and_never_early(
        steps in vec((0..30_000_000u64, 0..2_000_000u64), 1..100),
    ) {
        let mut wheel = TimerWheel::new();
        let mut waiting = std::collections::BTreeMap::new();
        let mut now = Duration::ZERO;
        for (number, (after, step)) in steps.into_iter().enumerate() {
            let deadline = now + Duration::from_micros(after);
            wheel.start(deadline, number);
            waiting.insert(number, deadline);
            now += Duration::from_micros(step);
            let mut fired = Vec::new();
            wheel.expire(now, &mut fired);
            for number in fired {
                let deadline = waiting.remove(&number);
                prop_assert!(deadline.is_some_and(|deadline| deadline <= now), "once, not early");
            }
            prop_assert_eq!(wheel.len(), waiting.len());
            let first = waiting.values().min();
            prop_assert!(first.is_none_or(|&first| first + TICK > now), "a tick late at most");
            // A sleep until then misses nothing.
            let next = wheel.next_deadline();
            prop_assert_eq!(next.is_some(), first.is_some());
            prop_assert!(first.is_none_or(|&first| next < Some(first + TICK)));
        }
    }

    /// Method: the same subtraction in nanoseconds, in integers that are wide enough.
    #[test]
    fn skew_is_exact(
        (seconds, nanos) in (any::<u64>(), 0..1_000_000_000u32),
        (integer, fraction) in ("[0-9]{1,28}", "[0-9]{1,12}"),
    ) {
        let stamp = PosixTime::parse(format!("{integer}.{fraction}").as_bytes()).unwrap();
        let mut skew = Vec::new();
        Skew::between(PosixTime::new(seconds, nanos), stamp).write(&mut skew);
        let server = i128::from(seconds) * 1_000_000_000 + i128::from(nanos);
        let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
        let client = format!("{integer}{nine}").parse::<i128>().unwrap();
        let difference = server - client;
        let sign = if difference < 0 { '-' } else { '+' };
        let (whole, rest) = (difference.abs() / 1_000_000_000, difference.abs() % 1_000_000_000);
        let expected = format!("{sign}{whole}.{rest:09}");
        prop_assert_eq!(std::str::from_utf8(&skew).unwrap(), expected);
    }
}

fn peer(name: &str, dials: bool) -> PeerSettings {
    PeerSettings { name: name.into(), dials, plain: None }
}

/// The course server among the fuzzed server's peers.
const OLD: PeerId = PeerId(2);

const GREETING: &[u8] = b"HERD/1 Smith Hill sim 0000000000000000000000000000feed -\n";

/// The border's `Close` is a last word: what is news while it is on its way must not be put
/// behind it. `Host` complains of that.
#[test]
fn a_peer_that_half_closes_hears_no_more() {
    let peers = vec![peer("Smith", false)];
    let mut body = Host::new(settings("Hill", peers, 5), Duration::ZERO, 0);
    let [smith, client] = [(ConnKind::Peer, 1), (ConnKind::Client, 2)]
        .map(|(kind, at)| ConnId::new(kind, at as u64, at));
    body.set_time(Duration::from_secs(1));
    body.accept(smith);
    body.arrive(smith, GREETING);
    body.end(smith);
    body.accept(client);
    body.arrive(client, b"IAMAT x +1+1 1\n");
    assert!(!body.flush(client, usize::MAX).is_empty());
    let is_broken = body.take_acts().iter().any(|act| matches!(act, Act::Broken(_)));
    assert!(!is_broken, "nothing follows a last word");
}

/// Goal: whatever strangers send, nobody panics, the law of the border is kept (`Host` says
/// if not), what is stored can be told, and the next client is served. Method: seeded lives of one
/// server among bytes that are random, or nearly right.
#[test]
fn no_bytes_can_hurt_a_server() {
    for seed in 0..200 {
        let mut random = fastrand::Rng::with_seed(seed);
        let line = "FLOOD AT {server} {skew} {client} {position} {time} {us}\r\n";
        let frame = Frame::parse(line, "Hill", "Old").unwrap();
        let old = PeerSettings { plain: Some(frame), ..peer("Old", true) };
        let peers = vec![peer("Smith", false), peer("Jaquez", true), old];
        let mut settings = settings("Hill", peers, seed);
        // Half of them have course servers beside them.
        if seed % 2 == 1 {
            settings.plain_names = vec![b"Smith".to_vec(), b"Old".to_vec()];
        }
        let mut body = Host::new(settings, Duration::ZERO, 0);
        let mut now = Duration::ZERO;
        body.start();
        let mut conns = Vec::new();
        for _ in 0..200 {
            now += Duration::from_millis(random.u64(0..200));
            body.set_time(now);
            hurt(&mut body, &mut conns, &mut random);
        }
        for held in body.server.store().reports() {
            let mut line = Vec::new();
            held.write_line(&mut line);
            assert_eq!(rank(&report(&line), &held), Ordering::Equal, "seed {seed}");
        }
        let conn = ConnId::new(ConnKind::Client, 1_000_000, 0);
        body.accept(conn);
        body.arrive(conn, b"IAMAT proof +1+1 1\n");
        let answer = body.flush(conn, usize::MAX);
        assert!(answer.starts_with(b"AT Hill "), "seed {seed}: {}", answer.escape_ascii());
        body.leave();
        for minute in 1..10 {
            body.set_time(now + Duration::from_secs(60 * minute));
            body.expire();
        }
        assert_eq!(body.next_deadline(), None, "seed {seed}: who has left waits for nothing");
    }
}

fn hurt(body: &mut Host, conns: &mut Vec<ConnId>, random: &mut fastrand::Rng) {
    let some = conns.get(random.usize(0..conns.len().max(1))).copied();
    match (random.u32(0..12), some) {
        (0..2, _) | (_, None) => {
            let kind = if random.bool() { ConnKind::Client } else { ConnKind::Peer };
            let conn = ConnId::new(kind, conns.len() as u64, conns.len());
            conns.push(conn);
            body.accept(conn);
        }
        (2..7, Some(conn)) => body.arrive(conn, &venom(random)),
        (7, Some(conn)) => body.end(conn),
        (8, Some(conn)) => body.lose(conn),
        _ => body.expire(),
    }
    for conn in body.owing() {
        if random.bool() {
            body.flush(conn, random.usize(1..5_000));
        }
    }
    for act in body.take_acts() {
        match act {
            Act::Ask { ticket, .. } if random.bool() => body.answer(ticket, &venom(random)),
            Act::Dial { peer } if random.bool() => {
                let kind = if peer == OLD { ConnKind::Course } else { ConnKind::Peer };
                let conn = ConnId::new(kind, conns.len() as u64, conns.len());
                conns.push(conn);
                body.connected(peer, conn);
            }
            Act::Dial { peer } => body.dial_failed(peer),
            Act::Ask { .. } | Act::Joined { .. } | Act::SaidBye { .. } | Act::SaidKept { .. } => {}
            Act::Finish { conn } | Act::Closed { conn, .. } => {
                assert!(conns.contains(&conn));
            }
            Act::Noted(note) => assert!(!matches!(note, Note::PlainOverflow { .. })),
            Act::Broken(violation) => panic!("{violation}"),
        }
    }
    let waits = settings("Hill", Vec::new(), 0).limits.waits_max;
    assert!(body.server.questions_waiting() <= waits * conns.len());
}

/// A few hundred bytes, made of what would be right elsewhere and of what is right nowhere.
fn venom(random: &mut fastrand::Rng) -> Vec<u8> {
    let words: [&[u8]; 29] = [
        b"IAMAT ",
        b"WHATSAT ",
        b"AT ",
        b"PING 1\n",
        b"PONG 1\n",
        b"BYE\n",
        b"ROOT ",
        b"AUTH ",
        b"L1 ",
        b"L2 ",
        b"L3 ",
        b"0123456789abcdef ",
        b"99999999999999999999 ",
        b"FLOOD ",
        b"  ",
        b"\n",
        b"\r\n",
        b" ",
        b"kiwi ",
        b"+1-2 ",
        b"+90.1+0 ",
        b"7.5\n",
        b"10 5\n",
        b"Smith +0.5 kiwi +1+1 8\n",
        b"Hill ",
        b"-0 ",
        GREETING,
        b"HERD/1 Jaquez Hill sim ",
        b"\0\xff\x1c",
    ];
    let mut bytes = Vec::new();
    for _ in 0..random.usize(0..30) {
        match random.u32(0..20) {
            0 => bytes.extend((0..random.usize(0..40)).map(|_| random.u8(..))),
            1 => bytes.extend(b"x".repeat(random.usize(0..2 * LIMITS.line_bytes_max))),
            _ => bytes.extend_from_slice(words[random.usize(0..words.len())]),
        }
    }
    bytes
}

/// Goal: a peer that catches up is never owed so much at once that the reactor gives it up, which
/// it does at twice the bound, however low that is set.
#[test]
fn a_piece_of_the_store_keeps_to_the_bound_of_a_peer() {
    let peers = vec![PeerSettings { name: b"B".to_vec(), dials: false, plain: None }];
    let mut settings = settings("A", peers, 1);
    settings.limits.peer_outbox_bytes_max = 4_096;
    let mut server = Server::new(settings);
    let now = Now { monotonic: Duration::ZERO, posix: PosixTime::new(0, 0) };
    let reports: String = (0..1_000).map(|client| format!("IAMAT {client} +1-1 0\n")).collect();
    let greeting = format!("HERD/1 B A sim {:032} -\n", 0);
    let [client, peer] = [ConnKind::Client, ConnKind::Peer].map(|kind| ConnId::new(kind, 1, 0));
    let mut out = Outputs::default();
    server.handle(now, Input::Accepted { conn: peer }, &mut out);
    for (conn, text) in [(client, reports), (peer, greeting)] {
        out.clear();
        let lines = &mut Lines::new(text.as_bytes(), LIMITS);
        server.handle(now, Input::Lines { conn, lines }, &mut out);
    }
    out.clear();
    server.handle(now, Input::Flushed { conn: peer }, &mut out);
    assert!((4_096..8_192).contains(&out.text.len()), "{} bytes", out.text.len());
}
