//! A body for the mind: what `reactor` does for one `core::Server`, without a kernel. Apart from
//! `world` because tests need a mind that lives alone, too; it opens no socket, and the time, the
//! bytes and the losses come from whoever holds it.
//!
//! It keeps the law of the border as the reactor does: outputs are carried out before the next
//! input, and what comes of one at once goes to a mailbox and is told after. Its bounds are
//! smaller than the reactor's, so that small tests reach them.
//!
//! What it cannot do alone, it leaves as an `Act` for the world outside.

mod checks;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

pub use super::settings::settings;
pub use super::socket::Act;
use super::socket::Socket;
use super::watch::{Invariant, nanos};
use herd_core::border::{Input, Output, Outputs, Timer};
use herd_core::clock::{Now, PosixTime};
use herd_core::line::LineLimits;
use herd_core::names::{ConnId, Door, PeerId, Ticket};
use herd_core::timer_wheel::TimerWheel;
use herd_core::wire::Report;
use herd_core::{Server, Settings};

/// Lines taken from one connection before another input may come.
const LINES_MAX: usize = 8;
/// Answers owed to a client above which its lines wait.
const HIGH_WATER: usize = 4 * 1024;
pub const LIMITS: LineLimits = LineLimits { line_bytes_max: 2_000, endless_bytes_max: 20_000 };
/// How much of the store a peer is told at a time, if it may be owed as much; without the last
/// line.
const PIECE_BYTES: usize = 64 * 1024;
/// Greetings and signs of life, beside the reports.
const WORDS_BYTES: usize = 512;
/// What comes at once of one input: some mail for each connection, and not for ever.
const MAILS_MAX: usize = 10_000;
/// How long it is waited for a peer to close as well.
const LINGER: Duration = Duration::from_secs(2);
/// The Unix time at which the simulated world begins.
pub const EPOCH: u64 = 1_800_000_000;
pub const NANOS: u64 = 1_000_000_000;

pub struct Body {
    pub server: Server,
    born: Duration,
    /// How far its clock is ahead of the world's.
    ahead_ms: i64,
    now: Now,
    /// The same on the clock of the day, in nanoseconds.
    posix_nanos: u64,
    /// The latest that this clock has shown.
    latest_nanos: u64,
    /// It was seen to be behind that by seconds.
    pub was_set_back: bool,
    wheel: TimerWheel<Timer>,
    mailbox: VecDeque<Mail>,
    out: Outputs,
    sockets: BTreeMap<ConnId, Socket>,
    peer_owed_max: usize,
    expire_after: Option<Duration>,
    acts: Vec<Act>,
    /// When clients were heard, on its own clock.
    stamps: Vec<i128>,
    timers_fired: u64,
    /// Reports that the server has walked by so far.
    walked: u64,
    peers: usize,
    /// Peers that are to close, too, and until when.
    lingering: VecDeque<(Duration, ConnId)>,
}

enum Mail {
    Closed { conn: ConnId },
    Taken { conn: ConnId, bytes: usize },
    Drained { conn: ConnId },
}

impl Body {
    pub fn new(settings: Settings, born: Duration, ahead_ms: i64) -> Body {
        Body {
            peers: settings.peers.len(),
            peer_owed_max: settings.limits.peer_outbox_bytes_max,
            expire_after: settings.limits.expire_after,
            server: Server::new(settings),
            born,
            ahead_ms,
            now: Now { monotonic: Duration::ZERO, posix: PosixTime::new(0, 0) },
            posix_nanos: 0,
            latest_nanos: 0,
            was_set_back: false,
            wheel: TimerWheel::new(),
            mailbox: VecDeque::new(),
            out: Outputs::default(),
            sockets: BTreeMap::new(),
            acts: Vec::new(),
            stamps: Vec::new(),
            timers_fired: 0,
            walked: 0,
            lingering: VecDeque::new(),
        }
    }

    /// The world's time, before anything else is said.
    pub fn set_time(&mut self, now: Duration) {
        let since = EPOCH * NANOS + now.as_nanos() as u64;
        self.posix_nanos = since.saturating_add_signed(self.ahead_ms * 1_000_000);
        self.latest_nanos = self.latest_nanos.max(self.posix_nanos);
        self.was_set_back |= self.posix_nanos + NANOS < self.latest_nanos;
        self.now = Now {
            monotonic: now - self.born,
            posix: PosixTime::new(self.posix_nanos / NANOS, (self.posix_nanos % NANOS) as u32),
        };
    }

    /// Somebody sets the clock.
    pub fn step_clock(&mut self, by_ms: i64) {
        self.ahead_ms += by_ms;
    }

    pub fn start(&mut self) {
        self.tell(Input::Started);
    }

    /// No more commands are taken: clients hear the answers that they are owed, and go.
    pub fn dismiss_clients(&mut self) {
        self.tell(Input::Draining);
        let conns: Vec<ConnId> = self.sockets.keys().copied().collect();
        for conn in conns.into_iter().filter(|conn| conn.door() == Door::Client) {
            if let Some(socket) = self.sockets.get_mut(&conn) {
                socket.unread.clear();
                socket.dismissed = true;
            }
            self.end(conn);
        }
    }

    pub fn leave(&mut self) {
        self.tell(Input::Leaving);
    }

    /// Loses every connection that is left.
    pub fn lose_all(&mut self) {
        while let Some((&conn, _)) = self.sockets.first_key_value() {
            self.lose(conn);
        }
    }

    pub fn accept(&mut self, conn: ConnId) {
        self.admit(conn);
        self.tell(Input::Accepted { conn });
    }

    pub fn connected(&mut self, peer: PeerId, conn: ConnId) {
        self.admit(conn);
        self.tell(Input::Connected { peer, conn });
    }

    pub fn dial_failed(&mut self, peer: PeerId) {
        self.tell(Input::DialFailed { peer });
    }

    /// A worker has an answer.
    pub fn answer(&mut self, ticket: Ticket, body: &[u8]) {
        self.tell(Input::PlacesArrived { ticket, body });
    }

    /// For how long a report has been over on this server's clock, in nanoseconds; less than
    /// nothing if it is not over, `None` if none ever is.
    pub fn over_for(&self, report: &Report<'_>) -> Option<i128> {
        let after = self.expire_after?.as_nanos() as i128;
        let heard = nanos(report.time) + nanos(report.skew);
        Some(i128::from(self.posix_nanos) - heard - after)
    }

    pub fn expire(&mut self) {
        let mut fired = Vec::new();
        let now = self.now.monotonic;
        self.wheel.expire(self.now.monotonic, &mut fired);
        self.timers_fired += fired.len() as u64;
        for timer in fired {
            self.tell(Input::TimerFired { timer });
        }
        while let Some(&(end, conn)) = self.lingering.front()
            && end <= now
        {
            self.lingering.pop_front();
            if self.bury(conn) {
                self.acts.push(Act::Reset { conn });
            }
        }
        self.empty_mailbox();
    }

    /// In the world's time.
    pub fn next_deadline(&self) -> Option<Duration> {
        let linger = self.lingering.front().map(|(end, _)| *end);
        let deadlines = [self.wheel.next_deadline(), linger];
        deadlines.into_iter().flatten().min().map(|deadline| self.born + deadline)
    }

    /// Bytes have come.
    pub fn arrive(&mut self, conn: ConnId, bytes: &[u8]) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        if !socket.closing && !socket.dismissed {
            socket.unread.extend_from_slice(bytes);
            self.hear(conn);
        }
    }

    /// The far end will send no more.
    pub fn end(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        socket.ended = true;
        if socket.finished {
            return self.lose(conn);
        }
        self.hear(conn);
    }

    /// The connection is gone.
    pub fn lose(&mut self, conn: ConnId) {
        self.bury(conn);
        self.empty_mailbox();
    }

    /// Connections that are owed something.
    pub fn owing(&self) -> Vec<ConnId> {
        let owing = self.sockets.iter().filter(|(_, socket)| !socket.outbox.is_empty());
        owing.map(|(&conn, _)| conn).collect()
    }

    /// Gives up to `room` bytes of what a connection is owed to the kernel.
    pub fn flush(&mut self, conn: ConnId, room: usize) -> Vec<u8> {
        let Some(socket) = self.sockets.get_mut(&conn) else { return Vec::new() };
        let rest = socket.outbox.split_off(room.min(socket.outbox.len()));
        let sent = std::mem::replace(&mut socket.outbox, rest);
        if conn.door() == Door::Peer && !sent.is_empty() {
            self.mailbox.push_back(Mail::Taken { conn, bytes: sent.len() });
        }
        if socket.outbox.is_empty() {
            if std::mem::take(&mut socket.tell_drained) {
                self.mailbox.push_back(Mail::Drained { conn });
            }
            self.finish_if_sent(conn);
        }
        self.empty_mailbox();
        self.hear(conn);
        sent
    }

    pub fn timers_fired(&self) -> u64 {
        self.timers_fired
    }

    /// When clients were heard since the last call, on its own clock, in nanoseconds.
    pub fn take_stamps(&mut self) -> Vec<i128> {
        std::mem::take(&mut self.stamps)
    }

    /// Bytes that a connection is owed.
    pub fn owed(&self, conn: ConnId) -> usize {
        self.sockets.get(&conn).map_or(0, |socket| socket.outbox.len())
    }

    pub fn take_acts(&mut self) -> Vec<Act> {
        std::mem::take(&mut self.acts)
    }

    fn tell(&mut self, input: Input<'_, '_>) {
        self.server.handle(self.now, input, &mut self.out);
        self.carry_out();
        self.empty_mailbox();
    }

    fn empty_mailbox(&mut self) {
        let mut told = 0;
        while let Some(mail) = self.mailbox.pop_front() {
            told += 1;
            if told > MAILS_MAX {
                let broken = Invariant::Endless.broken("what comes of one input has no end");
                self.acts.push(Act::Broken(broken));
                return;
            }
            let input = match mail {
                Mail::Closed { conn } => Input::Closed { conn },
                Mail::Taken { conn, bytes } => Input::Taken { conn, bytes },
                Mail::Drained { conn } => Input::Drained { conn },
            };
            self.server.handle(self.now, input, &mut self.out);
            self.carry_out();
        }
    }

    fn carry_out(&mut self) {
        self.count_work();
        let mut out = std::mem::take(&mut self.out);
        for output in out.list.drain(..) {
            match output {
                Output::Send { conn, text } => self.owe(conn, &out.text[text]),
                Output::Close { conn } => {
                    let Some(socket) = self.sockets.get_mut(&conn) else { continue };
                    socket.closing = true;
                    if conn.door() == Door::Peer {
                        self.lingering.push_back((self.now.monotonic + LINGER, conn));
                    }
                    self.finish_if_sent(conn);
                }
                Output::HangUp { conn } => {
                    if self.bury(conn) {
                        self.acts.push(Act::Reset { conn });
                    }
                }
                Output::Dial { peer } => self.acts.push(Act::Dial { peer }),
                Output::StartTimer { timer, after } => {
                    self.wheel.start(self.now.monotonic + after, timer);
                }
                Output::AskPlaces { conn, ticket, question, patience } => {
                    let timer = Timer::Answer { ticket };
                    self.wheel.start(self.now.monotonic + patience, timer);
                    self.acts.push(Act::Ask { conn, ticket, question });
                }
                Output::ResumeReading { conn } => {
                    if let Some(socket) = self.sockets.get_mut(&conn) {
                        socket.held = false;
                    }
                }
                Output::TellDrained { conn } => self.tell_when_drained(conn),
                Output::Note(note) => self.acts.push(Act::Noted(note)),
            }
        }
        out.clear();
        self.out = out;
    }

    fn owe(&mut self, conn: ConnId, text: &[u8]) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        socket.outbox.extend_from_slice(text);
        let piece_bytes = PIECE_BYTES.min(self.peer_owed_max) + LIMITS.line_bytes_max;
        let owed_max = match conn.door() {
            Door::Peer => self.peer_owed_max + piece_bytes + WORDS_BYTES,
            // All answers that waited leave at once; they are as long as their commands.
            _ => HIGH_WATER + LINES_MAX * 2 * LIMITS.line_bytes_max,
        };
        let broken = if text.is_empty() || socket.closing {
            Invariant::Assertion.broken(format!("{conn} is sent nothing, or after its last word"))
        } else if socket.outbox.len() > owed_max {
            Invariant::Bounds.broken(format!("{conn} is owed more than {owed_max} bytes"))
        } else {
            return;
        };
        self.acts.push(Act::Broken(broken));
    }

    fn tell_when_drained(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        match socket.outbox.is_empty() {
            true => self.mailbox.push_back(Mail::Drained { conn }),
            false => socket.tell_drained = true,
        }
    }

    fn finish_if_sent(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        if !socket.closing || socket.finished || !socket.outbox.is_empty() {
            return;
        }
        socket.finished = true;
        let ended = socket.ended;
        self.acts.push(Act::Finish { conn });
        if ended {
            self.bury(conn);
        }
    }

    fn admit(&mut self, conn: ConnId) {
        self.sockets.insert(conn, Socket::default());
    }

    /// Says whether there was anybody.
    fn bury(&mut self, conn: ConnId) -> bool {
        if self.sockets.remove(&conn).is_none() {
            return false;
        }
        if conn.door() == Door::Peer {
            self.acts.push(Act::Over { conn });
        }
        self.mailbox.push_back(Mail::Closed { conn });
        true
    }

    /// Before the outputs: the answer that lets lines be taken again may be among them.
    fn hold(&mut self, conn: ConnId) {
        if let Some(socket) = self.sockets.get_mut(&conn) {
            socket.held = true;
        }
    }

    /// Tells the lines that have come, as many as may be taken now.
    ///
    /// Bound: each pass takes a line, or is the last.
    fn hear(&mut self, conn: ConnId) {
        let posix = i128::from(self.posix_nanos);
        loop {
            let Some(socket) = self.sockets.get_mut(&conn) else { return };
            let is_deaf = socket.held || socket.closing || socket.end_told;
            // Two peers that owe each other much must not wait for each other to read.
            let is_slow = conn.door() == Door::Client && socket.outbox.len() > HIGH_WATER;
            if is_deaf || is_slow {
                return;
            }
            let read = match socket.lines_left {
                true => Vec::new(),
                false => std::mem::take(&mut socket.unread),
            };
            let is_end = socket.ended && socket.unread.is_empty();
            if read.is_empty() && !socket.lines_left && !is_end {
                return;
            }
            if conn.door() == Door::Client && self.stamps.last() != Some(&posix) {
                self.stamps.push(posix);
            }
            let room = HIGH_WATER.saturating_sub(socket.outbox.len());
            let mut inbox = std::mem::take(&mut socket.inbox);
            let mut lines = inbox.lines(&read, LIMITS).bounded(LINES_MAX, room);
            if is_end && !socket.dismissed && conn.door() == Door::Client {
                lines = lines.ended();
            }
            self.server.handle(self.now, Input::Lines { conn, lines: &mut lines }, &mut self.out);
            if lines.is_held() {
                self.hold(conn);
            }
            self.carry_out();
            self.empty_mailbox();
            let outcome = lines.outcome();
            inbox.settle(&read, outcome);

            let Some(socket) = self.sockets.get_mut(&conn) else { return };
            let is_endless = inbox.is_endless(LIMITS);
            socket.inbox = inbox;
            socket.lines_left = outcome.lines_left;
            if is_endless {
                self.acts.push(Act::Reset { conn });
                return self.lose(conn);
            }
            if is_end && !outcome.lines_left {
                return self.tell_end(conn);
            }
        }
    }

    fn tell_end(&mut self, conn: ConnId) {
        let Some(socket) = self.sockets.get_mut(&conn) else { return };
        socket.end_told = true;
        self.tell(Input::Ended { conn });
    }
}
