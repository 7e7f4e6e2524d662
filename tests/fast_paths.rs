//! Wherever the core reads what nearly all lines look like in a way of its own, that way and the
//! general one must come to the same. Apart from `core_properties`, which says what is true of the
//! core, because here two ways are compared, and over what real clients send: seconds of ten digits
//! and fractions of nine, as close together as a total order has to tell them apart.
//!
//! The general way is taken for lines that mean the same but are spelled otherwise: with two spaces
//! instead of one, a tab, a zero before the seconds.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::time::Duration;

use herd_core::border::{Input, Output, Outputs};
use herd_core::clock::{Now, PosixTime, Skew};
use herd_core::names::{ConnId, ConnKind};
use herd_core::store::{HashKeys, Store, Verdict, rank};
use herd_core::wire::fast_path;
use herd_core::wire::line_buffer::{Line, LineLimits, Lines};
use herd_core::wire::opening::Opening;
use herd_core::wire::{Command, Report, Spelled};
use herd_core::{PeerSettings, Server, Settings};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Seconds around those of a day in use, and around where they get a digit more.
fn seconds() -> impl Strategy<Value = String> {
    prop_oneof![
        6 => (1_795_321_086..1_795_321_089u64).prop_map(|seconds| seconds.to_string()),
        1 => (999_999_998..1_000_000_002u64).prop_map(|seconds| seconds.to_string()),
        1 => (9_999_999_998..10_000_000_002u64).prop_map(|seconds| seconds.to_string()),
        1 => (795_321_086..795_321_089u64).prop_map(|seconds| format!("{seconds:010}")),
        1 => "[0-9]{1,25}",
    ]
}

/// Nine digits mostly, and mostly close together; also none, fewer, and finer than a nanosecond.
fn fraction() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => (918_963_995..918_963_999u32).prop_map(|nanos| format!(".{nanos}")),
        2 => (0..3u32).prop_map(|nanos| format!(".{nanos:09}")),
        1 => Just(".999999999".to_owned()),
        1 => Just(String::new()),
        2 => "\\.[0-9]{1,8}",
        1 => "\\.91896399[0-9]{1,2}",
        1 => "\\.918963997[0-2]{1,3}",
        // Other spellings of the same.
        2 => "\\.90{0,3}",
    ]
}

fn time() -> impl Strategy<Value = String> {
    (seconds(), fraction()).prop_map(|(seconds, fraction)| seconds + &fraction)
}

/// A report of one client, the fields of which are easily taken for each other.
fn at_line() -> impl Strategy<Value = String> {
    let server = select(vec!["Hill", "Bona", "1795321086.918963997"]);
    let skew = select(vec!["+0.263873386", "-0.5", "1e-05"]);
    let position = select(vec!["+34.068930-118.445127", "+34.068930-118.445128", "+1-1"]);
    (server, skew, position, time()).prop_map(|(server, skew, position, time)| {
        format!("AT {server} {skew} {CLIENT} {position} {time}")
    })
}

const CLIENT: &str = "1795321086.918963996";

fn report(line: &str) -> Report<'_> {
    Report::of_line(line.as_bytes()).unwrap_or_else(|| panic!("{line}"))
}

/// What a time means by the rules alone: whole seconds, nanoseconds, and the digits after those.
fn meaning(time: &str) -> (u128, u32, &str) {
    let (seconds, fraction) = time.split_once('.').unwrap_or((time, ""));
    let nine: String = fraction.chars().chain("000000000".chars()).take(9).collect();
    let beyond = fraction.get(9..).unwrap_or_default();
    (seconds.parse().unwrap(), nine.parse().unwrap(), beyond)
}

/// What a line means by the general way.
fn told(line: &[u8]) -> (String, Vec<Vec<u8>>, Option<PosixTime>) {
    all_of(Command::parse(line))
}

/// Everything that a command says, to be compared.
fn all_of(command: Command<'_>) -> (String, Vec<Vec<u8>>, Option<PosixTime>) {
    let fields = |fields: &[&[u8]]| fields.iter().map(|field| field.to_vec()).collect();
    match command {
        Command::Iamat(iamat) => {
            let mut operands = Vec::new();
            iamat.write_operands(&mut operands);
            let fields = operands.split(|&byte| byte == b' ').map(<[u8]>::to_vec).collect();
            ("IAMAT".into(), fields, Some(iamat.stamp))
        }
        Command::Whatsat { client, radius, bound } => {
            (format!("WHATSAT {bound}"), fields(&[client, radius]), None)
        }
        Command::At(Report { server, skew, client, position, time, stamp, .. }) => {
            ("AT".into(), fields(&[server, skew, client, position, &time]), Some(stamp))
        }
        Command::Blank => ("blank".into(), Vec::new(), None),
        Command::Invalid => ("?".into(), Vec::new(), None),
    }
}

/// A byte that is not meant, most often one that is nearly right.
fn slip() -> impl Strategy<Value = u8> {
    prop_oneof![2 => any::<u8>(), 3 => select(b" \t\r\x0b\x0c+-.09/:\0\x1c\x80".to_vec())]
}

/// IAMATs as they are, and what a slip of a few bytes makes of them.
fn nearly_iamat() -> impl Strategy<Value = Vec<u8>> {
    let client = prop_oneof!["[a-z.]{1,30}", "[!-~é]{1,12}"];
    let degrees = "[+-][0-9]{1,3}(\\.[0-9]{1,20})?";
    let usual = (client, "[+-][0-8]?[0-9]\\.[0-9]{6}[+-][01]?[0-7]?[0-9]\\.[0-9]{6}", time());
    let odd = ("[a-z]{1,9}", (degrees, degrees).prop_map(|(one, other)| one + &other), time());
    let line = prop_oneof![3 => usual, 1 => odd];
    let line =
        line.prop_map(|(client, position, time)| format!("IAMAT {client} {position} {time}"));
    (line, vec((any::<Index>(), slip(), 0..3u8), 0..3)).prop_map(|(line, slips)| {
        let mut line = line.into_bytes();
        for (at, byte, way) in slips {
            let at = at.index(line.len());
            match way {
                0 => line[at] = byte,
                1 => line.insert(at, byte),
                _ => drop(line.remove(at)),
            }
        }
        line.retain(|&byte| byte != b'\n');
        line
    })
}

/// A position and a time together may be as long as a time.
#[test]
fn a_position_is_no_time() {
    let mut store = Store::new(HashKeys { herd: (1, 2), process: (3, 4) });
    assert!(store.put(&report("AT A +0 x +1-1 12345.5")).is_news());
    assert_eq!(store.put(&report("AT A +0 x +1-1 0000012344.5")), Verdict::Stale);
}

const LIMITS: LineLimits = LineLimits { line_bytes_max: 120, endless_bytes_max: 120 };

/// A server with two links that are up, on these connections.
fn linked(expire_after: Option<Duration>) -> (Server, [ConnId; 2]) {
    let peer = PeerSettings { name: b"Hill".to_vec(), dials: false, plain: None };
    let other = PeerSettings { name: b"Bona".to_vec(), ..peer.clone() };
    let mut settings = Settings::new("Alone", "herd", vec![peer, other]);
    settings.limits.expire_after = expire_after;
    let mut server = Server::new(settings);
    let conns = [1, 2].map(|serial| ConnId::new(ConnKind::Peer, serial, serial as usize));
    for (conn, name) in conns.into_iter().zip(["Hill", "Bona"]) {
        let greeting = format!("HERD/1 {name} Alone herd {} -\n", "0".repeat(32));
        tell(&mut server, Input::Accepted { conn });
        let lines = &mut Lines::new(greeting.as_bytes(), LIMITS);
        tell(&mut server, Input::Lines { conn, lines });
    }
    (server, conns)
}

/// A line of a peer: a report of one of a few clients most often.
fn said_by_a_peer() -> impl Strategy<Value = String> {
    let client = select(vec![CLIENT, "kiwi", "a.longer.example.org"]);
    let usual = (client, time()).prop_map(|(client, time)| {
        format!("AT Hill +0.263873386 {client} +34.068930-118.445127 {time}")
    });
    // As long as a line may be, give or take a few bytes.
    let long = (110..130usize).prop_map(|length| {
        let line = "AT Hill +0.263873386 x +1.0-1.0 1795321086.918963996";
        line.replacen('x', &"x".repeat(length + 1 - line.len()), 1)
    });
    let slipped = nearly_iamat().prop_map(|line| {
        String::from_utf8_lossy(&line).replacen("IAMAT", "AT Hill +0.263873386", 1)
    });
    prop_oneof![
        12 => usual,
        2 => at_line(),
        1 => select(vec!["PING 7".to_owned(), " ".to_owned()]),
        1 => long,
        1 => slipped,
    ]
}

/// What a server wants of its reactor: the bytes for each connection, and all else in its order.
type Wanted = (BTreeMap<usize, Vec<u8>>, Vec<Output>);

fn tell(server: &mut Server, input: Input<'_, '_>) -> Wanted {
    let now = Now {
        monotonic: Duration::from_secs(7),
        posix: PosixTime::new(1_795_321_087, 918_963_997),
    };
    let mut out = Outputs::default();
    server.handle(now, input, &mut out);
    let mut wanted = Wanted::default();
    for output in out.list {
        match output {
            Output::Send { conn, text } => {
                wanted.0.entry(conn.slot()).or_default().extend_from_slice(&out.text[text]);
            }
            other => wanted.1.push(other),
        }
    }
    wanted
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2_048,
        ..ProptestConfig::default()
    })]

    /// The store takes what it holds apart only if the spelling of the times does not settle it.
    #[test]
    fn the_store_ranks_as_the_order_does(held in at_line(), told in at_line()) {
        let mut store = Store::new(HashKeys { herd: (1, 2), process: (3, 4) });
        prop_assert!(store.put(&report(&held)).is_news());
        let expected = rank(&report(&told), &report(&held));
        let found = match store.put(&report(&told)) {
            Verdict::News => Ordering::Greater,
            Verdict::Known => Ordering::Equal,
            Verdict::Stale => Ordering::Less,
        };
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn times_rank_as_they_mean(one in time(), other in time()) {
        let expected = meaning(&one).cmp(&meaning(&other));
        let parsed = |time: &str| PosixTime::parse(time.as_bytes()).unwrap();
        let finer = |time: &str| PosixTime::beyond_nanos(time.as_bytes()).to_vec();
        let found = parsed(&one).cmp(&parsed(&other));
        prop_assert_eq!(found.then_with(|| finer(&one).cmp(&finer(&other))), expected);
    }

    /// Most times have ten digits, a point and nine digits; a zero before them changes the way.
    #[test]
    fn usual_times_are_read_like_others(
        time in "[0-9]{10}\\.[0-9]{9}",
        slip in proptest::option::weighted(0.8, (0..20usize, slip())),
    ) {
        let mut text = time.into_bytes();
        if let Some((at, byte)) = slip {
            text[at] = byte;
        }
        // What is no digit at the front stays at the front.
        let mut longer = text.clone();
        longer.insert(usize::from(!text[0].is_ascii_digit()), b'0');
        let found = PosixTime::parse(&text);
        prop_assert_eq!(found, PosixTime::parse(&longer));
        if let Some(time) = found.filter(|_| text[10] == b'.') {
            let (seconds, nanos, _) = meaning(std::str::from_utf8(&text).unwrap());
            prop_assert_eq!(time, PosixTime::new(seconds as u64, nanos));
        }
    }

    /// What is recognised as usual is what the general way says, whatever follows it.
    #[test]
    fn usual_iamats_are_read_like_others(
        line in nearly_iamat(),
        end in select(vec!["\n", "\r\n", "\r", " \n", "", "0\n"]),
        behind in vec(slip(), 0..30),
    ) {
        let bytes = [&line[..], end.as_bytes(), &behind].concat();
        let whole = bytes.split(|&byte| byte == b'\n').next().unwrap();
        let whole = whole.strip_suffix(b"\r").unwrap_or(whole);
        if let Some((found, iamat, length)) = fast_path::iamat(&bytes) {
            prop_assert_eq!(found, whole);
            prop_assert_eq!(bytes[length - 1], b'\n');
            prop_assert_eq!(bytes[..length].iter().filter(|&&byte| byte == b'\n').count(), 1);
            prop_assert_eq!(all_of(Command::Iamat(iamat)), told(whole));
        }
    }

    /// Most IAMATs are recognised, or all of this would be for nothing.
    #[test]
    fn usual_iamats_are_recognised(
        client in "[!-~]{1,40}",
        position in "[+-][1-8]?[0-9]\\.[0-9]{1,7}[+-](1[0-7]|[1-9])?[0-9]\\.[0-9]{1,7}",
        time in "[0-9]{10,14}(\\.[0-9]{1,12})?",
        end in select(vec!["\n", "\r\n"]),
    ) {
        let line = format!("IAMAT {client} {position} {time}");
        // Behind a line so short that it would end among the bytes looked at, there is another.
        let bytes = line.clone() + end + "IAMAT x +1-1 0\n";
        let (found, iamat, length) = fast_path::iamat(bytes.as_bytes()).expect("a usual one");
        prop_assert_eq!((found, length), (line.as_bytes(), line.len() + end.len()));
        prop_assert_eq!(all_of(Command::Iamat(iamat)), told(line.as_bytes()));
    }

    /// An AT line that is recognised as usual is what the general way says, and is written as it
    /// came.
    #[test]
    fn usual_reports_are_read_like_others(
        line in prop_oneof![
            at_line(),
            ("[+-][0-9]{1,12}\\.[0-9]{8,10}", nearly_iamat())
                .prop_map(|(skew, line)| {
                    let line = String::from_utf8_lossy(&line);
                    line.replacen("IAMAT", &format!("AT Hill {skew}"), 1)
                }),
        ],
        slip in proptest::option::weighted(0.5, (any::<Index>(), slip())),
        behind in vec(slip(), 0..30),
    ) {
        let mut line = line.into_bytes();
        if let Some((at, byte)) = slip.filter(|&(_, byte)| byte != b'\n') {
            let at = at.index(line.len());
            line[at] = byte;
        }
        let bytes = [&line[..], b"\n", &behind].concat();
        let front = fast_path::at_front(&bytes).filter(|(_, rest)| rest.len() == 1 + behind.len());
        prop_assert_eq!(front.is_some(), fast_path::at(&line).is_some());
        for report in front.map(|front| front.0).into_iter().chain(fast_path::at(&line)) {
            let mut again = Vec::new();
            report.write_at(&mut again);
            prop_assert_eq!(&again, &line);
            prop_assert_eq!(all_of(Command::At(report)), told(&line));
        }
    }

    /// Most reports that servers tell each other are recognised.
    #[test]
    fn usual_reports_are_recognised(
        (server, client) in ("[!-~]{1,20}", "[!-~]{1,40}"),
        skew in "[+-][0-9]{1,12}\\.[0-9]{9}",
        position in "[+-][1-8]?[0-9]\\.[0-9]{1,7}[+-](1[0-7]|[1-9])?[0-9]\\.[0-9]{1,7}",
        time in "[0-9]{10}\\.[0-9]{9}",
    ) {
        let line = format!("AT {server} {skew} {client} {position} {time}");
        let report = fast_path::at(line.as_bytes()).expect("a usual one");
        prop_assert_eq!(all_of(Command::At(report)), told(line.as_bytes()));
    }

    /// Method: the same bytes, with and without the usual way, cut anywhere.
    #[test]
    fn a_batch_is_the_same_lines_in_either_way(
        lines in vec((nearly_iamat(), select(vec!["\n", "\r\n", "\n\n"])), 1..5),
        line_bytes_max in 50..90usize,
        has_ended in any::<bool>(),
        cut in any::<Index>(),
    ) {
        let lines = lines.iter().map(|(line, end)| [line, end.as_bytes()].concat());
        let mut bytes = lines.collect::<Vec<_>>().concat();
        bytes.truncate(cut.index(bytes.len()) + 1);
        let limits = LineLimits { line_bytes_max, endless_bytes_max: 1_000 };
        let batch = || {
            let lines = Lines::new(&bytes, limits).bounded(4, usize::MAX);
            if has_ended { lines.ended() } else { lines }
        };
        let (mut plain, mut fast) = (batch(), batch());
        loop {
            let expected = plain.take();
            let found = match fast_path::iamat(fast.ahead()) {
                Some((line, _, length)) => {
                    fast.pass(length);
                    Some(Line::Whole(line))
                }
                None => fast.take(),
            };
            prop_assert_eq!(found, expected);
            prop_assert_eq!(fast.outcome(), plain.outcome());
            if expected.is_none() {
                break;
            }
        }
    }

    /// Lines with nothing but spaces between their fields are split many bytes at a time.
    #[test]
    fn spaces_split_like_other_white_space(
        line in at_line(),
        space in select(b"\t\r\x0b\x0c".to_vec()),
    ) {
        let spaced = line.bytes().map(|byte| if byte == b' ' { space } else { byte });
        let other: Vec<u8> = spaced.collect();
        prop_assert_eq!(told(line.as_bytes()), told(&other));
        prop_assert_eq!(told(line.as_bytes()).0, "AT");
    }

    /// What an answer has at its end is the same, in one piece or put together of its fields.
    #[test]
    fn one_piece_is_like_three_fields(line in nearly_iamat()) {
        let bytes = [&line[..], b"\n"].concat();
        if let Some((line, iamat, _)) = fast_path::iamat(&bytes) {
            prop_assert!(matches!(iamat.spelled, Spelled::InOnePiece(_)));
            let Command::Iamat(other) = Command::parse(line) else { panic!("an IAMAT") };
            prop_assert!(!matches!(other.spelled, Spelled::InOnePiece(_)));
            prop_assert_eq!((iamat.client, iamat.stamp), (other.client, other.stamp));
            let [one, other] = [iamat, other].map(|iamat| {
                let mut operands = Vec::new();
                iamat.write_operands(&mut operands);
                operands
            });
            prop_assert_eq!(one, other);
        }
    }

    /// Method: one opening for all of them, each with what is left of the one before, and one anew.
    #[test]
    fn a_skew_is_spelled_over_another_as_anew(times in vec((time(), time()), 1..20)) {
        let mut opening = Opening::new(b"Hill");
        for (server, client) in times {
            let [server, client] =
                [server, client].map(|time| PosixTime::parse(time.as_bytes()).unwrap());
            let skew = Skew::between(server, client);
            opening.spell(skew);
            let mut expected = b"AT Hill ".to_vec();
            skew.write(&mut expected);
            expected.push(b' ');
            prop_assert_eq!(opening.as_bytes(), expected);
        }
    }

    /// Method: the same subtraction in nanoseconds, for clocks that are close together.
    #[test]
    fn skews_of_clocks_that_nearly_agree(
        client in time(),
        seconds in 1_795_321_085..1_795_321_090u64,
        nanos in prop_oneof![0..1_000_000_000u32, 0..3u32, 918_963_995..918_963_999u32],
    ) {
        let stamp = PosixTime::parse(client.as_bytes()).unwrap();
        let (whole, fine, _) = meaning(&client);
        let difference = i128::from(seconds) * 1_000_000_000 + i128::from(nanos)
            - (whole as i128 * 1_000_000_000 + i128::from(fine));
        let sign = if difference < 0 { '-' } else { '+' };
        let (whole, rest) = (difference.abs() / 1_000_000_000, difference.abs() % 1_000_000_000);
        let mut skew = Vec::new();
        Skew::between(PosixTime::new(seconds, nanos), stamp).write(&mut skew);
        let found = std::str::from_utf8(&skew).unwrap();
        prop_assert_eq!(found, format!("{sign}{whole}.{rest:09}"));
    }
}

proptest! {
    // Each case has two servers.
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 256,
        ..ProptestConfig::default()
    })]

    /// Method: what a peer says, and then another one, with lines left out and repeated: all at
    /// once, and line by line with two spaces in each report.
    #[test]
    fn peers_are_heard_alike_in_either_way(
        said in vec(said_by_a_peer(), 1..12),
        left_out in vec(any::<Index>(), 0..3),
        again in vec(any::<Index>(), 0..4),
        ends in vec(select(vec!["\n", "\n", "\n", "\r\n"]), 16),
        expire_after in select(vec![None, None, Some(Duration::from_secs(2))]),
        lines_max in 1..30usize,
    ) {
        let again = again.iter().map(|at| at.get(&said).clone());
        let lines = said.iter().cloned().chain(again).zip(ends);
        let mut lines = Vec::from_iter(lines.map(|(line, end)| line + end));
        let ((mut fast, conns), (mut plain, _)) = (linked(expire_after), linked(expire_after));
        for conn in conns {
            let all = lines.concat();
            let mut batch = Lines::new(all.as_bytes(), LIMITS).bounded(lines_max, usize::MAX);
            let found = tell(&mut fast, Input::Lines { conn, lines: &mut batch });
            let taken = batch.outcome().taken;
            prop_assert!(batch.is_paused() || taken == lines_max.min(lines.len()));
            let mut expected = Wanted::default();
            for line in &lines[..taken] {
                let spaced = line.replacen("AT ", "AT  ", 1);
                let longer = spaced.len() - line.len();
                let limits = LineLimits::equal(LIMITS.line_bytes_max + longer);
                let lines = &mut Lines::new(spaced.as_bytes(), limits);
                let (texts, others) = tell(&mut plain, Input::Lines { conn, lines });
                for (slot, text) in texts {
                    expected.0.entry(slot).or_default().extend_from_slice(&text);
                }
                expected.1.extend(others);
            }
            prop_assert_eq!(found, expected);
            prop_assert_eq!(fast.counters(), plain.counters());
            prop_assert_eq!(fast.digest(), plain.digest());
            for at in &left_out {
                lines.remove(at.index(lines.len()));
                if lines.is_empty() {
                    return Ok(());
                }
            }
        }
    }
}
