//! A session driven with slices: what the reactor and the simulator rely on.

use std::time::Duration;

use super::*;
use crate::wire::line_buffer::{Line, LineLimits};

const LIMITS: LineLimits = LineLimits { line_bytes_max: 20, endless_bytes_max: 50 };
const HIGH_WATER: usize = 100;
const TIMEOUTS: Timeouts = Timeouts {
    idle: Duration::from_secs(300),
    first_byte: Duration::from_secs(30),
    partial_line: Duration::from_secs(10),
    write_stall: Duration::from_secs(5),
    dial: Duration::from_secs(1),
    linger: Duration::from_secs(2),
};

fn at(seconds: u64) -> Moment {
    Moment::at(Duration::from_secs(seconds))
}

struct Driver {
    session: Session,
    pool: BufferPool,
    is_endless: bool,
}

impl Driver {
    fn new(kind: ConnKind) -> Driver {
        let session = Session::new(ConnId::new(kind, 1, 0), Phase::Open, at(0));
        Driver { session, pool: BufferPool::default(), is_endless: false }
    }

    /// Bytes have come; gives the lines that are taken, at most so many.
    fn read(&mut self, bytes: &[u8], lines_max: usize, now: Moment) -> Vec<String> {
        if self.session.wants_bytes() && !bytes.is_empty() {
            self.session.received(bytes.len(), false, now);
        }
        let Some(mut batch) = self.session.begin_batch(bytes, HIGH_WATER) else {
            return Vec::new();
        };
        let mut lines = batch.lines(bytes, LIMITS, lines_max);
        let mut taken = Vec::new();
        while let Some(line) = lines.take() {
            let (Line::Whole(bytes) | Line::TooLong(bytes)) = line;
            taken.push(String::from_utf8_lossy(bytes).into_owned());
        }
        let outcome = lines.outcome();
        self.is_endless = self.session.settle(batch, bytes, outcome, LIMITS, now, &mut self.pool);
        taken
    }
}

#[test]
fn lines_that_are_left_come_before_more_is_read() {
    let mut driver = Driver::new(ConnKind::Client);
    assert_eq!(driver.read(b"a\nb\nc\nd", 2, at(1)), ["a", "b"]);
    assert!(driver.session.wants_turn(HIGH_WATER) && !driver.session.wants_bytes());
    assert_eq!(driver.read(b"", 2, at(1)), ["c"]);
    assert!(!driver.session.wants_turn(HIGH_WATER) && driver.session.wants_bytes());
    assert_eq!(driver.read(b"e\n", 2, at(1)), ["de"]);
    // An answer that has left takes no half line with it.
    assert!(driver.read(b"f", 2, at(1)).is_empty());
    driver.session.queue(b"x", &mut driver.pool, at(1));
    driver.session.sent(1, at(1));
    driver.session.end_writing(false);
    driver.session.release(&mut driver.pool);
    assert_eq!(driver.read(b"g\n", 2, at(1)), ["fg"]);
    assert!(driver.session.owns_no_empty_buffers());
}

#[test]
fn a_short_read_leaves_nothing_unless_more_was_announced() {
    let mut driver = Driver::new(ConnKind::Client);
    for (is_full, read_on, readable) in
        [(false, false, false), (true, false, true), (false, true, true)]
    {
        driver.session.flags.read_on = read_on;
        driver.session.received(1, is_full, at(1));
        assert_eq!(driver.session.flags.readable, readable, "{is_full} {read_on}");
    }
}

#[test]
fn a_half_close_is_a_clients_newline_and_not_a_peers() {
    for (kind, expected) in [(ConnKind::Client, vec!["b"]), (ConnKind::Peer, vec![])] {
        let mut driver = Driver::new(kind);
        assert_eq!(driver.read(b"a\nb", 9, at(1)), ["a"]);
        driver.session.received_end();
        assert_eq!(driver.read(b"", 9, at(1)), expected);
        assert!(driver.session.take_end(&mut driver.pool));
        assert!(!driver.session.take_end(&mut driver.pool), "told once");
    }
}

#[test]
fn an_end_is_told_after_the_last_line() {
    let mut driver = Driver::new(ConnKind::Client);
    driver.read(b"a\nb\n", 1, at(1));
    driver.session.received_end();
    assert!(!driver.session.take_end(&mut driver.pool), "a line is left");
    assert_eq!(driver.read(b"", 9, at(1)), ["b"]);
    assert!(driver.session.take_end(&mut driver.pool));
}

#[test]
fn who_is_held_or_owed_much_has_no_turn() {
    let mut driver = Driver::new(ConnKind::Client);
    driver.session.flags.readable = true;
    assert!(driver.session.wants_turn(HIGH_WATER));
    driver.session.flags.paused = true;
    assert!(!driver.session.wants_turn(HIGH_WATER));
    driver.session.flags.paused = false;
    driver.session.queue(&[b'x'; HIGH_WATER + 1], &mut driver.pool, at(1));
    assert!(!driver.session.wants_turn(HIGH_WATER));
    driver.session.sent(1, at(2));
    assert!(driver.session.wants_turn(HIGH_WATER));
}

#[test]
fn a_line_without_an_end_is_noticed() {
    let mut driver = Driver::new(ConnKind::Client);
    for _ in 0..5 {
        driver.read(&[b'x'; 10], 9, at(1));
        assert!(!driver.is_endless);
    }
    driver.read(&[b'x'; 10], 9, at(1));
    assert!(driver.is_endless);
}

#[test]
fn a_close_waits_for_the_last_byte_and_for_the_far_end() {
    let mut driver = Driver::new(ConnKind::Client);
    driver.session.queue(b"bye", &mut driver.pool, at(1));
    driver.session.close_when_sent();
    assert_eq!(driver.session.take_farewell(&mut driver.pool, at(1)), None);
    assert_eq!(driver.session.to_send(2), b"by");
    driver.session.sent(3, at(1));
    driver.session.end_writing(false);
    let farewell = driver.session.take_farewell(&mut driver.pool, at(1));
    assert_eq!(farewell, Some(Farewell::Linger));
    assert!(driver.session.owns_no_empty_buffers());
    assert!(!driver.session.linger(60_000) && driver.session.linger(6_000), "64 KiB");

    let mut driver = Driver::new(ConnKind::Client);
    driver.session.received_end();
    driver.session.close_when_sent();
    let farewell = driver.session.take_farewell(&mut driver.pool, at(1));
    assert_eq!(farewell, Some(Farewell::Close));
}

#[test]
fn flushed_is_told_once_and_when_all_is_sent() {
    let mut driver = Driver::new(ConnKind::Peer);
    driver.session.queue(b"news", &mut driver.pool, at(1));
    driver.session.flags.tell_flushed = true;
    assert!(!driver.session.take_drained());
    driver.session.sent(4, at(1));
    assert!(driver.session.take_drained() && !driver.session.take_drained());
}

#[test]
fn each_wait_has_its_own_bound() {
    let expires = |driver: &Driver| driver.session.deadline(&TIMEOUTS);
    let due = |seconds, wait| at(seconds) + wait;
    let mut driver = Driver::new(ConnKind::Client);
    assert_eq!(expires(&driver), Some((due(0, TIMEOUTS.first_byte), Expiry::FirstByte)));
    driver.read(b"IAM", 9, at(1));
    assert_eq!(expires(&driver), Some((due(1, TIMEOUTS.partial_line), Expiry::PartialLine)));
    driver.read(b"AT", 9, at(3));
    assert_eq!(expires(&driver), Some((due(1, TIMEOUTS.partial_line), Expiry::PartialLine)));
    driver.read(b"\n", 9, at(4));
    assert_eq!(expires(&driver), Some((due(4, TIMEOUTS.idle), Expiry::Idle)));
    driver.session.queue(b"answer", &mut driver.pool, at(5));
    assert_eq!(expires(&driver), Some((due(5, TIMEOUTS.write_stall), Expiry::WriteStall)));
    driver.session.sent(6, at(6));
    assert_eq!(expires(&driver), Some((due(6, TIMEOUTS.idle), Expiry::Idle)), "bytes left");
    driver.session.close_when_sent();
    assert_eq!(expires(&driver), None, "the last answer is being looked for");
    driver.session.take_farewell(&mut driver.pool, at(7));
    assert_eq!(expires(&driver), Some((due(7, TIMEOUTS.linger), Expiry::Linger)));
    assert_eq!(expires(&Driver::new(ConnKind::Peer)), None, "the server looks after links");
}

/// Goal: who has said something, and was put off by us for longer than it may be idle, has its
/// answer all the same.
#[test]
fn what_waited_for_us_is_no_idleness() {
    let mut driver = Driver::new(ConnKind::Client);
    assert_eq!(driver.read(b"a\nb\n", 1, at(1)), ["a"]);
    assert_eq!(driver.read(b"", 1, at(1_000)), ["b"]);
    let due = at(1_000) + TIMEOUTS.idle;
    assert_eq!(driver.session.deadline(&TIMEOUTS), Some((due, Expiry::Idle)));
}

/// Goal: an answer that waits for the disk is not sent, and no reason to hang up.
#[test]
fn a_held_answer_waits_without_a_deadline() {
    let mut driver = Driver::new(ConnKind::Client);
    driver.read(b"a\n", 1, at(1));
    let Driver { session, pool, .. } = &mut driver;
    session.queue(b"first", pool, at(1));
    assert_eq!(session.hold_answers(), 5);
    session.queue(b"second", pool, at(2));
    assert_eq!(session.hold_answers(), 6);
    assert!(session.to_send(100).is_empty() && !session.join_flush());
    assert_eq!(session.deadline(&TIMEOUTS), None);
    session.free_held(5, at(100));
    assert!(session.to_send(100) == b"first" && session.join_flush());
    let (deadline, expiry) = session.deadline(&TIMEOUTS).unwrap();
    assert!(deadline >= at(105) && deadline < at(106) && expiry == Expiry::WriteStall);
    session.sent(5, at(101));
    session.end_writing(false);
    assert!(session.to_send(100).is_empty() && session.queued_bytes() == 6);
    session.free_held(6, at(102));
    assert_eq!(session.to_send(100), b"second");
    session.sent(6, at(102));
    session.end_writing(false);
    session.free_answers();
    session.queue(b"third", pool, at(103));
    assert_eq!(session.to_send(100), b"third");
}

/// Goal: a peer or an engine, to which each turn sends what many clients report, keeps its buffers;
/// a client gives them back.
#[test]
fn a_peer_keeps_its_buffers() {
    for (kind, kept) in
        [(ConnKind::Peer, true), (ConnKind::Engine, true), (ConnKind::Client, false)]
    {
        let Driver { mut session, mut pool, .. } = Driver::new(kind);
        session.queue(&[b'x'; 100_000], &mut pool, at(1));
        session.sent(100_000, at(1));
        session.end_writing(false);
        session.release(&mut pool);
        assert_eq!((session.buffers.is_some(), pool.idle()), (kept, usize::from(!kept)));
        assert!(session.owns_no_empty_buffers());
        let expiry = session.deadline(&TIMEOUTS).map(|(_, expiry)| expiry);
        assert_ne!(expiry, Some(Expiry::WriteStall));
    }
}
