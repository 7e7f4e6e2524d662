//! The checker before the judge: small histories, right ones and wrong ones, and which promise
//! each breaks. Apart because a checker that finds nothing proves nothing until it is shown to
//! find what is there.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::checker::{Promise, check};
use crate::record::{Connection, Exchange, History, Life};

/// Rows of a history:
///
/// ```text
/// 1 A0 5-9  REQUEST > ANSWER     connection 1, with A's first life: asked at 5, answered at 9
/// 1 A0 5    REQUEST              never answered
/// 1 A0 5-9  ! MORE               what came after the last answer
/// alive A0                       this life did not end
/// end A AT B +1 kiwi +1-1 7      what A holds in the end; `end A` alone: nothing
/// ```
///
/// A WHATSAT that is answered with an AT line is given a body, too.
fn history(rows: &[&str]) -> History {
    let mut history = History::default();
    let mut names = Vec::new();
    for row in rows {
        let (word, rest) = row.split_once(' ').unwrap();
        match word {
            "alive" => history.alive.push(life(rest)),
            "end" => {
                let (server, line) = rest.split_once(' ').unwrap_or((rest, ""));
                let held = history.healed.entry(server.into()).or_default();
                if let Some(client) = line.split(' ').nth(3) {
                    held.insert(client.into(), line.into());
                }
            }
            name => {
                let fields: Vec<&str> = rest.splitn(3, ' ').collect();
                let with = life(fields[0]);
                let at = names.iter().position(|known| known == name).unwrap_or_else(|| {
                    names.push(name.to_owned());
                    history.connections.push(Connection {
                        with,
                        exchanges: Vec::new(),
                        more: String::new(),
                    });
                    names.len() - 1
                });
                add(&mut history.connections[at], fields[1], fields[2]);
            }
        }
    }
    history
}

fn life(text: &str) -> Life {
    let (server, number) = text.split_at(1);
    Life { server: server.into(), number: number.parse().unwrap() }
}

fn add(connection: &mut Connection, times: &str, text: &str) {
    if let Some(more) = text.strip_prefix("! ") {
        connection.more = more.into();
        return;
    }
    let (asked, answered) = times.split_once('-').unwrap_or((times, ""));
    let moment = |text: &str| Duration::from_secs(text.parse().unwrap());
    let (request, answer) = text.split_once(" > ").unwrap_or((text, ""));
    let body = if request.starts_with('W') && answer.starts_with("AT") { "{}\n\n" } else { "" };
    let answer = (!answered.is_empty()).then(|| (moment(answered), format!("{answer}\n{body}")));
    connection.exchanges.push(Exchange { asked: moment(asked), request: request.into(), answer });
}

/// Demands that exactly these promises are found broken.
fn broken(rows: &[&str], expected: &[Promise]) {
    let complaints = check(&history(rows));
    let found: BTreeSet<_> = complaints.iter().map(|complaint| complaint.broken).collect();
    assert!(found.iter().eq(expected.iter()), "{rows:#?}\n{complaints:#?}");
}

/// One report, known to both servers.
const REPORTED: &str = "1 A0 1-2 IAMAT kiwi +1-1 7 > AT A +5 kiwi +1-1 7";
const ENDS: [&str; 4] =
    ["alive A0", "alive B0", "end A AT A +5 kiwi +1-1 7", "end B AT A +5 kiwi +1-1 7"];

fn reported_and(rows: &[&str]) -> Vec<String> {
    [&[REPORTED], rows, &ENDS].concat().iter().map(|row| (*row).to_owned()).collect()
}

fn check_rows(rows: &[&str], expected: &[Promise]) {
    let all = reported_and(rows);
    broken(&all.iter().map(String::as_str).collect::<Vec<_>>(), expected);
}

#[test]
fn right_histories_are_believed() {
    check_rows(&[], &[]);
    // Elsewhere it may not be known yet, and questions that overlap may go either way.
    check_rows(&["2 B0 3-4 WHATSAT kiwi 1 0 > ? WHATSAT kiwi 1 0"], &[]);
    check_rows(&["2 A0 1-2 WHATSAT kiwi 1 0 > ? WHATSAT kiwi 1 0"], &[]);
    check_rows(&["2 A0 1-2 WHATSAT kiwi 1 0 > AT A +5 kiwi +1-1 7"], &[]);
    // The sender of something stale is answered with its own line, and the server keeps the other.
    check_rows(&["1 A0 3-4 IAMAT kiwi +1-1 6 > AT A +6 kiwi +1-1 6"], &[]);
    // The same line at another server is less than what is held, or more.
    check_rows(&["2 B0 3 IAMAT kiwi +1-1 6.9", "2 B0 3 IAMAT kiwi +1-1 7"], &[]);
    // A server that has died has lost what it knew.
    check_rows(
        &[
            "2 B1 3-4 IAMAT kiwi +1-1 8 > AT B +5 kiwi +1-1 8",
            "3 B0 5-6 WHATSAT kiwi 1 0 > ? WHATSAT kiwi 1 0",
        ],
        &[],
    );
}

#[test]
fn answers_that_do_not_fit_are_refused() {
    let wrong = &[Promise::AnswersInOrder];
    let check = |row: &str| check_rows(&[row], wrong);
    check("2 B0 3-4 WHATSAT kiwi 1 0 > ? WHATSAT kiwi 1 1");
    check("2 B0 3-4 WHATSAT kiwi 1 0 > ?");
    check("2 B0 3-4 IAMAT kiwi +1-1 6 > ? IAMAT kiwi +1-1 6");
    check("2 B0 3-4 IAMAT kiwi +1-1 6 > AT A +5 kiwi +1-1 6");
    check("2 B0 3-4 IAMAT kiwi +1-1 6 > AT B +5 kiwi +1-1 6.0");
    check("2 B0 3-4 IAMAT kiwi +1-1 6 > AT B 5 kiwi +1-1 6");
    check("2 B0 3-4 ! ? WHATSAT kiwi 1 0");
    // Two answers that were exchanged, and one that was left out.
    check_rows(
        &[
            "2 B0 3-5 WHATSAT kiwi 1 0 > ? WHATSAT kiwi 2 0",
            "2 B0 4-5 WHATSAT kiwi 2 0 > ? WHATSAT kiwi 1 0",
        ],
        wrong,
    );
    check_rows(
        &["2 B0 3 WHATSAT kiwi 1 0", "2 B0 4-5 WHATSAT kiwi 1 0 > ? WHATSAT kiwi 1 0"],
        wrong,
    );
    // Somebody else's line.
    check_rows(
        &[
            "2 A0 3-4 IAMAT pear +1-1 7 > AT A +5 pear +1-1 7",
            "2 A0 5-6 WHATSAT pear 1 0 > AT A +5 kiwi +1-1 7",
            "end A AT A +5 pear +1-1 7",
            "end B AT A +5 pear +1-1 7",
        ],
        wrong,
    );
}

#[test]
fn phantoms_are_refused() {
    let wrong = &[Promise::NoPhantom];
    let check = |line: &str| {
        check_rows(&[&format!("2 C0 3-4 WHATSAT kiwi 1 0 > {line}")], wrong);
    };
    check("AT A +5 kiwi +1-1 6");
    check("AT A +5 kiwi +1-1 7.0");
    check("AT A +5 kiwi +1-2 7");
    check("AT B +5 kiwi +1-1 7");
    check("AT A +6 kiwi +1-1 7");
    // It had not been reported yet.
    check_rows(
        &[
            "2 B0 3-4 WHATSAT kiwi 1 0 > AT B +5 kiwi +1-1 5",
            "3 B0 5-6 IAMAT kiwi +1-1 5 > AT B +5 kiwi +1-1 5",
        ],
        wrong,
    );
    // One report that was not answered explains one stamp and not two.
    let lost = "2 B0 3 IAMAT kiwi +1-1 6";
    let seen = |connection: u32, stamp: u32| {
        format!("{connection} C{connection} 4-5 WHATSAT kiwi 1 0 > AT B +{stamp} kiwi +1-1 6")
    };
    check_rows(&[lost, &seen(3, 1), &seen(4, 1)], &[]);
    check_rows(&[lost, &seen(3, 1), &seen(4, 2)], wrong);
    // A line that all agree on may be a phantom all the same.
    broken(&["end A AT A +5 kiwi +1-1 7", "end B AT A +5 kiwi +1-1 7"], wrong);
}

#[test]
fn going_back_is_refused() {
    let wrong = &[Promise::NeverBack];
    // Its own report, on the same connection though it was asked at once, and on another one.
    check_rows(&["1 A0 1-2 WHATSAT kiwi 1 0 > ? WHATSAT kiwi 1 0"], wrong);
    check_rows(&["2 A0 3-4 WHATSAT kiwi 1 0 > ? WHATSAT kiwi 1 0"], wrong);
    let older = "2 B0 1-2 IAMAT kiwi +1-1 6 > AT B +5 kiwi +1-1 6";
    check_rows(&[older, "3 A0 3-4 WHATSAT kiwi 1 0 > AT B +5 kiwi +1-1 6"], wrong);
    // What it had said, though it was another server's.
    let newest = "3 B0 3-4 WHATSAT kiwi 1 0 > AT A +5 kiwi +1-1 7";
    check_rows(&[older, newest, "4 B0 5-6 WHATSAT kiwi 1 0 > AT B +5 kiwi +1-1 6"], wrong);
    check_rows(&[older, newest, "4 B0 4-6 WHATSAT kiwi 1 0 > AT B +5 kiwi +1-1 6"], &[]);
    check_rows(&[older, newest, "3 B0 3-4 WHATSAT kiwi 1 0 > AT B +5 kiwi +1-1 6"], wrong);
    // A tie, in which the skew decides.
    check_rows(
        &[
            "2 A0 1-3 IAMAT kiwi +1-1 7 > AT A +4 kiwi +1-1 7",
            "2 A0 4-5 WHATSAT kiwi 1 0 > AT A +4 kiwi +1-1 7",
        ],
        wrong,
    );
}

#[test]
fn losses_are_refused() {
    let newer = "2 A0 3-4 IAMAT kiwi +1-1 7.0000000001 > AT A +4 kiwi +1-1 7.0000000001";
    check_rows(&[newer], &[Promise::NothingLost]);
    // A server that lives had it.
    let elsewhere = newer.replace("A0", "C0").replace("AT A", "AT C");
    check_rows(&[&elsewhere], &[]);
    let read = "3 B0 5-6 WHATSAT kiwi 1 0 > AT C +4 kiwi +1-1 7.0000000001";
    check_rows(&[&elsewhere, read], &[Promise::NothingLost]);
    broken(&[REPORTED, "alive A0", "end A", "end B"], &[Promise::NothingLost]);
}

#[test]
fn disagreement_is_refused() {
    let wrong = &[Promise::Agreement];
    let tie = "2 B0 1-2 IAMAT kiwi +1-1 7 > AT B +5 kiwi +1-1 7";
    let ends = |b: &'static str| [REPORTED, tie, "end A AT A +5 kiwi +1-1 7", b];
    broken(&ends("end B AT B +5 kiwi +1-1 7"), wrong);
    broken(&ends("end B"), wrong);
    broken(&ends("end B AT A +5 kiwi +1-1 7"), &[]);
    broken(&[REPORTED], wrong);
}
