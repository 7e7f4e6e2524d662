//! The border costs nothing: in the steady state a line is parsed, stored, answered and flooded
//! without a heap allocation. Apart because this binary has an allocator that counts.
//!
//! Steady means that clients are known, that their reports keep their length, and that the
//! reactor's buffers have grown to what a batch needs.

use std::time::Duration;

use herd_core::border::{Input, Output, Outputs};
use herd_core::clock::{Now, PosixTime};
use herd_core::names::{ConnId, ConnKind};
use herd_core::wire::line_buffer::{LineLimits, Lines};
use herd_core::{Frame, PeerSettings, Server};
use herd_sim::host::settings;

const LIMITS: LineLimits = LineLimits { line_bytes_max: 8 << 10, endless_bytes_max: 1 << 20 };

fn now() -> Now {
    Now { monotonic: Duration::from_secs(1), posix: PosixTime::new(1_796_567_144, 182_837_383) }
}

fn server(peers: usize, is_plain: bool) -> Server {
    let frame = is_plain
        .then(|| Frame::parse("{client} {position} {time}", "Hill", "Peer").expect("a frame"));
    let peer = |n| PeerSettings {
        name: format!("Peer{n}").into_bytes(),
        dials: is_plain,
        plain: frame.clone(),
    };
    Server::new(settings("Hill", (0..peers).map(peer).collect(), 1))
}

/// Tells the lines and gives how many texts are to be sent.
fn tell(server: &mut Server, conn: ConnId, read: &[u8], out: &mut Outputs) -> usize {
    server.handle(now(), Input::Lines { conn, lines: &mut Lines::new(read, LIMITS) }, out);
    let sends = out.list.iter().filter(|output| matches!(output, Output::Send { .. })).count();
    out.clear();
    sends
}

fn batch(first_client: u32, time: u32, word: &str) -> Vec<u8> {
    let line =
        |client| format!("{word} client-{client:04} +34.068930-118.445127 {time}.918963997\n");
    (first_client..first_client + 16).map(line).collect::<String>().into_bytes()
}

/// A server that this many peers have greeted.
fn check(peers: usize, kind: ConnKind, word: &str, sends_expected: usize) {
    let mut server = server(peers, false);
    let mut out = Outputs::default();
    for n in 0..peers {
        let conn = ConnId::new(ConnKind::Peer, n as u64, n);
        server.handle(now(), Input::Accepted { conn }, &mut out);
        out.clear();
        let greeting = format!("HERD/1 Peer{n} Hill sim {n:032x} -\n");
        tell(&mut server, conn, greeting.as_bytes(), &mut out);
    }
    let conn = ConnId::new(kind, if kind == ConnKind::Peer { 0 } else { 100 }, 0);
    check_rounds(&mut server, conn, word, sends_expected);
}

/// Counts the allocations of some batches, after as many to warm up.
fn check_rounds(server: &mut Server, conn: ConnId, word: &str, sends_expected: usize) {
    let mut out = Outputs::default();
    let mut rounds = |times: std::ops::Range<u32>| {
        let batches: Vec<_> = times.map(|time| batch(time % 10 * 16, time, word)).collect();
        allocation_counter::measure(|| {
            for batch in &batches {
                let sends = tell(server, conn, batch, &mut out);
                assert_eq!(sends, sends_expected, "{word}");
            }
        })
    };
    let grown = rounds(1_520_000_000..1_520_000_020);
    assert!(grown.count_total > 0, "the counter counts, and new clients need memory");
    let steady = rounds(1_520_000_020..1_520_000_040);
    assert_eq!(steady.count_total, 0, "{word}, {sends_expected} sent: {steady:?}");
}

#[test]
fn lines_of_known_clients_allocate_nothing() {
    check(0, ConnKind::Client, "IAMAT", 1);
    check(4, ConnKind::Client, "IAMAT", 5);
    check(4, ConnKind::Peer, "AT Bona +0.263873386", 3);
}

/// Their clients wait, for nobody has connected to a course server.
#[test]
fn lines_for_course_servers_allocate_nothing() {
    let conn = ConnId::new(ConnKind::Client, 100, 0);
    check_rounds(&mut server(4, true), conn, "IAMAT", 1);
}
