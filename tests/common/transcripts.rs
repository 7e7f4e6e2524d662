//! The transcripts of the wire (PROTOCOL.md, sections 1 to 4) in bytes: what is sent, what must
//! come back, and after each line a proof of life on the same connection. Apart from `conformance`
//! and `twin`, which say them to servers of different make; nothing here knows how those are
//! started.
//!
//! Only the server's name and its skew are masked, and the places' JSON is looked at as JSON;
//! everything else is compared byte for byte.

use super::rules::{lines_and_fields, positions_and_times, questions};
use super::transcript::{Answer, Case, case, check, check_places, copy_of, iamat, is_at_line};
use super::{Herd, posix_ns};

/// Says a transcript to the servers of a herd that runs and is joined.
pub type Transcript = fn(&Herd);

macro_rules! transcripts {
    ($($name:ident,)*) => {
        /// All transcripts by their names.
        pub const TRANSCRIPTS: &[(&str, Transcript)] = &[$((stringify!($name), $name),)*];
    };
}

transcripts! {
    every_line_is_answered_by_the_rules,
    the_last_line_needs_no_newline,
    lines_have_a_longest,
    skews_are_exact,
    an_older_report_replaces_nothing,
    equal_times_are_settled_everywhere_alike,
    a_question_never_overtakes_the_report_before_it,
    one_read_gets_the_whole_answer,
    clients_cannot_speak_as_servers,
    the_server_speaks_when_spoken_to,
}

// ---- how it is sent ----

enum Pace {
    LineByLine,
    /// All in one segment, as far as the system has it so.
    Glued,
    Chopped,
}

/// Sends all lines on one connection, each followed by a proof of life, and demands every answer,
/// in order, and then the end of the stream.
fn talk(herd: &Herd, server: &str, cases: &[Case], pace: &Pace, terminator: &str, last: &str) {
    let mut client = herd.connect(server);
    let alive = |number: usize| iamat("life", "+0+0", &number.to_string());
    let mut stream = Vec::new();
    for (number, case) in cases.iter().enumerate() {
        stream.extend([&case.line, terminator.as_bytes()].concat());
        stream.extend([&alive(number).line, terminator.as_bytes()].concat());
        if let Pace::LineByLine = pace {
            let ends = number + 1 == cases.len();
            if ends {
                stream.truncate(stream.len() - terminator.len());
                stream.extend(last.as_bytes());
            }
            client.send(std::mem::take(&mut stream));
            if ends {
                client.half_close();
            }
            check(&mut client, server, case);
            check(&mut client, server, &alive(number));
        }
    }
    if !stream.is_empty() {
        stream.truncate(stream.len() - terminator.len());
        stream.extend(last.as_bytes());
        match pace {
            Pace::Chopped => client.send_chopped(&stream),
            _ => client.send(&stream),
        }
        client.half_close();
        for (number, case) in cases.iter().enumerate() {
            check(&mut client, server, case);
            check(&mut client, server, &alive(number));
        }
    }
    assert_eq!(client.rest(), b"", "nothing else is ever sent");
}

/// Goal: any line in any disguise is answered by the rules, wherever it is asked. Method: the
/// table, at every server, in every pace, with both terminators, with and without the last one.
/// PROTOCOL 1.3, 3.5.
pub fn every_line_is_answered_by_the_rules(herd: &Herd) {
    for (position, server) in herd.names.iter().enumerate() {
        let teller = &herd.names[(position + 1) % herd.names.len()];
        let [here, sea] = [format!("here-{server}"), format!("sea-{server}")];
        let at_here = herd.report(teller, &here, "+60.1699+24.9384", "1520023934.918963997");
        let at_sea = herd.report(teller, &sea, "-48.8767-123.3933", "1520023934.9");
        herd.until_all_hold(&here, &at_here);
        herd.until_all_hold(&sea, &at_sea);
        let mut cases = lines_and_fields();
        cases.extend(positions_and_times());
        cases.extend(questions((&here, &at_here), (&sea, &at_sea)));
        for pace in [Pace::LineByLine, Pace::Glued, Pace::Chopped] {
            for terminator in ["\n", "\r\n"] {
                for last in ["", terminator] {
                    talk(herd, server, &cases, &pace, terminator, last);
                }
            }
        }
    }
}

/// A command may end with the client's half-close, whatever it is. PROTOCOL 1.1, 1.2.
pub fn the_last_line_needs_no_newline(herd: &Herd) {
    for server in &herd.names {
        let client = format!("last-{server}");
        let at_line = herd.report(server, &client, "-48.8767-123.3933", "7");
        let whatsat = Answer::Places { at_line, least: 0, most: 0 };
        for case in [
            iamat("kiwi", "+1-1", "7"),
            case(format!("WHATSAT {client} 10 5"), whatsat),
            case(format!("WHATSAT no-{client} 10 5"), Answer::Copy),
            case("NOPE", Answer::Copy),
            case("x", Answer::Copy),
            case(" \t ", Answer::Nothing),
            case("", Answer::Nothing),
        ] {
            let mut client = herd.connect(server);
            client.send(&case.line);
            client.half_close();
            check(&mut client, server, &case);
            assert_eq!(client.rest(), b"");
        }
        // The terminator is one newline and at most one carriage return before it.
        let mut client = herd.connect(server);
        client.send("x\r\r\ny\r\n\r\n\rz\r");
        client.half_close();
        assert_eq!(client.rest(), b"? x\r\n? y\n? \rz\n");
    }
}

/// Longest lines: a command of 8 KiB is a command, one byte more is cut, a mebibyte is the end.
/// PROTOCOL 1.8, 1.9.
pub fn lines_have_a_longest(herd: &Herd) {
    let server = &herd.names[0];
    let sized = |length: usize| iamat("i".repeat(length - "IAMAT  +1-1 7".len()), "+1-1", "7");
    let cut = |length: usize| case(vec![b'x'; length], Answer::Start(256));
    let cases = [
        sized(8_192),
        case(sized(8_193).line, Answer::Start(256)),
        case(vec![b'x'; 8_192], Answer::Copy),
        cut(8_193),
        cut(100_000),
        cut(1_000_000),
        case(vec![b' '; 8_192], Answer::Nothing),
        iamat("kiwi", "+1-1", "7"),
    ];
    for pace in [Pace::LineByLine, Pace::Glued] {
        for (terminator, last) in [("\n", ""), ("\r\n", "\r\n")] {
            talk(herd, server, &cases, &pace, terminator, last);
        }
    }

    let mut client = herd.connect(server);
    client.send(vec![b'x'; 1_000_000]);
    assert_eq!(client.line(), copy_of(&[b'x'; 256]), "before its end has come");
    // The server may hang up while this is still being sent.
    let _ = std::io::Write::write_all(&mut client.stream(), &[b'x'; 100_000]);
    assert_eq!(client.hung_up(), b"");
}

/// Goal: the skew is exact to the nanosecond. Method: skew and client's time must add up to a time
/// of the server's clock, which is ours, between a reading before and one after. PROTOCOL 2.8.
pub fn skews_are_exact(herd: &Herd) {
    for server in &herd.names {
        let mut client = herd.connect(server);
        for time in [
            "0",
            "7",
            "0.000000001",
            "1520023934.918963997",
            "1520023934.9",
            "4102444800.000000007",
            "99999999999.999999999",
            "1520023934.91896399799999999999",
        ] {
            let before = posix_ns();
            let answer = client.ask(&format!("IAMAT kiwi +1-1 {time}"));
            let after = posix_ns();
            let heard = ns(answer.split(' ').nth(2).unwrap()) + ns(time);
            assert!((before..=after).contains(&heard), "{answer}: {before} {heard} {after}");
        }
    }
}

/// A decimal number of seconds in nanoseconds; what is finer is cut off.
fn ns(text: &str) -> i128 {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, text.strip_prefix('+').unwrap_or(text)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let nanos = format!("{fraction:0<9}")[..9].parse::<i128>().unwrap();
    sign * (whole.parse::<i128>().unwrap() * 1_000_000_000 + nanos)
}

/// The newest report counts, at any server, and the sender of an older one hears its own.
/// PROTOCOL 2.11, 5.3.
pub fn an_older_report_replaces_nothing(herd: &Herd) {
    for (position, server) in herd.names.iter().enumerate() {
        let other = &herd.names[(position + 2) % herd.names.len()];
        let client = format!("old-{server}");
        let newest = herd.report(server, &client, "+1-1", "1520023934.000000002");
        herd.until_all_hold(&client, &newest);
        for at in [server, other] {
            for older in ["0", "1520023933.999999999", "1520023934", "1520023934.000000001999"] {
                let answer = herd.report(at, &client, "+2-2", older);
                assert!(answer.ends_with(&format!(" {client} +2-2 {older}")), "{answer}");
                assert_eq!(herd.held(at, &client), Some(newest.clone()));
            }
        }
        // Beyond nanoseconds, the remaining text decides.
        for newer in ["1520023934.00000000200000001", "1520023934.0000000020000001", "1520023935"] {
            let newest = herd.report(other, &client, "+3-3", newer);
            herd.until_all_hold(&client, &newest);
        }
    }
}

/// Two reports of one time: one of them counts, whichever, at all servers. PROTOCOL 5.2.
pub fn equal_times_are_settled_everywhere_alike(herd: &Herd) {
    for (position, server) in herd.names.iter().enumerate() {
        let other = &herd.names[(position + 1) % herd.names.len()];
        for (number, (one, two)) in [("+1-1", "+2-2"), ("+2-2", "+1-1")].into_iter().enumerate() {
            let client = format!("equal-{server}-{number}");
            let lines = [
                herd.report(server, &client, one, "1520023934.5"),
                herd.report(other, &client, two, "1520023934.5"),
            ];
            // The total order looks at the position next.
            herd.until_all_hold(&client, &lines[usize::from(two > one)]);
        }
    }
}

/// Commands of one connection take effect in the order sent, and are answered so.
/// PROTOCOL 1.11, 3.9.
pub fn a_question_never_overtakes_the_report_before_it(herd: &Herd) {
    for server in &herd.names {
        let mut client = herd.connect(server);
        let id = format!("order-{server}");
        let mut stream = format!("WHATSAT {id} 1 0\n");
        for number in 0..200 {
            stream += &format!(
                "IAMAT {id} +{}-1 {number}\nWHATSAT {id} 1 0\nNOPE {number}\n",
                number % 90
            );
        }
        client.send(&stream);
        client.half_close();
        assert_eq!(client.line(), format!("? WHATSAT {id} 1 0\n").as_bytes());
        for number in 0..200 {
            let line = client.line();
            let tail = format!("{id} +{}-1 {number}", number % 90);
            assert!(is_at_line(&line, server, tail.as_bytes()), "{}", line.escape_ascii());
            assert_eq!(client.line(), line, "as it was first given");
            check_places(&client.through(b"\n\n"), 0, 0);
            assert_eq!(client.line(), format!("? NOPE {number}\n").as_bytes());
        }
        assert_eq!(client.rest(), b"");
    }
}

/// AT line and places leave in one write: clients of the course read once. PROTOCOL 3.10.
pub fn one_read_gets_the_whole_answer(herd: &Herd) {
    for server in &herd.names {
        let client = format!("once-{server}");
        let line = herd.report(server, &client, "+60.1699+24.9384", "7");
        let mut asking = herd.connect(server);
        asking.send(format!("WHATSAT {client} 10 5\n"));
        let mut piece = [0; 16 * 1024];
        let count = std::io::Read::read(&mut asking.stream(), &mut piece).unwrap();
        let body = piece[..count].strip_prefix(format!("{line}\n").as_bytes()).unwrap();
        check_places(body, 1, 5);
    }
}

/// What is well-formed between servers is an invalid command of a client, and changes nothing.
/// PROTOCOL 12.1.
pub fn clients_cannot_speak_as_servers(herd: &Herd) {
    for server in &herd.names {
        let id = format!("forged-{server}");
        let mut client = herd.connect(server);
        let nonce = "0".repeat(32);
        for line in [
            format!("AT {server} +0.263873386 {id} +34.068930-118.445127 1520023934.918963997"),
            format!("AT Bona +0.263873386 {id} +34.068930-118.445127 1520023934.918963997"),
            format!("HERD/1 Bona {server} 2023 {nonce} -"),
            "PING 1".into(),
            "BYE".into(),
            "status".into(),
        ] {
            assert_eq!(client.ask(&line), format!("? {line}"));
            assert_eq!(client.ask(&format!("WHATSAT {id} 1 1")), format!("? WHATSAT {id} 1 1"));
        }
        for other in &herd.names {
            assert_eq!(herd.held(other, &id), None);
        }
    }
}

/// No banner, no prompt: a client that sends nothing receives nothing. PROTOCOL 1.10, 1.12.
pub fn the_server_speaks_when_spoken_to(herd: &Herd) {
    for server in &herd.names {
        let mut silent = herd.connect(server);
        let mut client = herd.connect(server);
        assert!(client.ask("IAMAT kiwi +1-1 7").starts_with("AT "));
        assert!(client.is_silent() && silent.is_silent());
        silent.half_close();
        assert_eq!(silent.rest(), b"");
    }
}
