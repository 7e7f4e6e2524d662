//! What one server of a herd decides: a state machine, pure. [`border::Input`]s go in,
//! [`border::Output`]s come out. There is no socket, no thread, no clock, no log, and no randomness
//! that was not handed in, so a whole herd can be simulated, fuzzed and taught without a network.
//! The half that owns the sockets and the time is the `reactor` of the crate `herd`.
//!
//! A herd of two servers, in one function and without a socket:
//!
//! ```
//! use std::time::Duration;
//!
//! use herd_core::border::{Input, Output, Outputs};
//! use herd_core::clock::{Now, PosixTime};
//! use herd_core::wire::line::{LineLimits, Lines};
//! use herd_core::names::{ConnId, ConnKind};
//! use herd_core::{PeerSettings, Server, Settings};
//!
//! fn link() -> ConnId {
//!     ConnId::new(ConnKind::Peer, 0, 0)
//! }
//!
//! /// Tells a server something, and the other one what it sends. Gives what clients are answered.
//! fn tell(herd: &mut [Server; 2], to: usize, input: Input) -> String {
//!     let now = Now { monotonic: Duration::ZERO, posix: PosixTime::new(1_520_023_935, 0) };
//!     let limits = LineLimits { line_bytes_max: 1_000, endless_bytes_max: 10_000 };
//!     let (mut out, mut answers) = (Outputs::default(), String::new());
//!     herd[to].handle(now, input, &mut out);
//!     for output in out.list {
//!         answers += &match output {
//!             Output::Send { conn, text } if conn.kind() == ConnKind::Peer => {
//!                 let lines = &mut Lines::new(&out.text[text], limits);
//!                 tell(herd, 1 - to, Input::Lines { conn, lines })
//!             }
//!             Output::Send { text, .. } => String::from_utf8_lossy(&out.text[text]).into(),
//!             Output::Dial { peer } => {
//!                 tell(herd, 1 - to, Input::Accepted { conn: link() })
//!                     + &tell(herd, to, Input::Connected { peer, conn: link() })
//!             }
//!             Output::TellDrained { conn } => tell(herd, to, Input::Drained { conn }),
//!             _ => String::new(),
//!         };
//!     }
//!     answers
//! }
//!
//! let server = |name, peer: &str, dials| {
//!     let peer = PeerSettings { name: peer.into(), dials, plain: None };
//!     Server::new(Settings::new(name, "example", vec![peer]))
//! };
//! let mut herd = [server("Anna", "Bert", true), server("Bert", "Anna", false)];
//! tell(&mut herd, 0, Input::Started);
//!
//! let limits = LineLimits { line_bytes_max: 1_000, endless_bytes_max: 10_000 };
//! let lines = &mut Lines::new(b"IAMAT kiwi +34.1-118.4 1520023934.5\n", limits);
//! let conn = ConnId::new(ConnKind::Client, 1, 1);
//! let answer = tell(&mut herd, 0, Input::Lines { conn, lines });
//! assert_eq!(answer, "AT Anna +0.500000000 kiwi +34.1-118.4 1520023934.5\n");
//! assert_eq!(herd[0].digest(), herd[1].digest(), "both know it");
//! ```
//!
//! Reading order: `border` (all that can happen), this file (what a client's command does),
//! `reports` (what becomes of a report), `peers` (a link's life), then the tools as they are met:
//! `wire` for lines, `store` for what is held, `clock`, `timer_wheel`. `journal` is for servers
//! that keep what they have answered on disk. `session` is a connection without its socket;
//! `driver` stands between sessions and the server.

#![warn(missing_docs)]

pub mod border;
pub mod clock;
mod counters;
mod digits;
pub mod driver;
pub mod journal;
pub mod names;
mod peers;
pub mod presets;
mod reports;
pub mod session;
mod settings;
pub mod store;
pub mod timer_wheel;
pub mod whatsat;
pub mod wire;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use arrayvec::ArrayVec;
use border::{Input, Output, Outputs, Timer};
use clock::{Now, Skew};
use journal::missed::Journaling;
use names::{ConnId, ConnKind, PeerId, Ticket};
use peers::handover::Stage;
use peers::line_mac::Keyring;
use peers::table::Peers;
use reports::admission::Stamps;
use reports::flood::ReportLine;
use store::digest::{Hash, Node};
use store::heard::Heard;
use store::{Key, Place, Store, Verdict};
use whatsat::{TOO_LATE, Waits};
use wire::line::{Line, Lines, Mark};
use wire::opening::Opening;
use wire::{Command, Iamat};

pub use counters::Counters;
pub use peers::course_frame::Frame;
pub use peers::handover::HandOver;
pub use peers::table::{LinkState, PeerSettings, PeerView};
pub use settings::{Limits, Settings};

/// What a link that is proven adds to each line, in bytes.
pub const LINE_MAC_BYTES: usize = peers::line_mac::LineMac::BYTES;

/// Lines of a client that are looked up together. More would not fit into the processor's queue of
/// loads that wait for memory.
const LINES_AHEAD: usize = 16;

/// A line that was taken and parsed, and is not yet handled.
struct Ahead<'a> {
    /// The place before it.
    mark: Mark,
    line: &'a [u8],
    command: Command<'a>,
    /// Of the client that it is about, if there is one.
    key: Key,
}

/// One server of the herd.
///
/// invariant: `handle` is called with empty `Outputs`, and they are carried out before the next
/// invariant: what reaches an `Output` never depends on the order of a hash table
pub struct Server {
    settings: Settings,
    store: Store,
    waits: Waits,
    peers: Peers,
    keyring: Keyring,
    counters: Counters,
    stamps: Stamps,
    heard: Heard,
    /// Of the report that was made last.
    opening: Opening,
    /// The size of the store at which clients become known no more by the lines at hand.
    newcomers_until: usize,
    /// When the store last changed.
    news_at: Duration,
    /// Where the search for what has expired goes on.
    swept: Place,
    /// Reasons to refuse somebody, and when each was last logged.
    refusals: BTreeMap<&'static str, Duration>,
    stage: Stage,
    /// If there is a journal.
    journaling: Option<Journaling>,
}

impl Server {
    /// A server that holds nothing and has no links; `Input::Started` sets it going.
    pub fn new(settings: Settings) -> Server {
        let Settings { keys, nonce_key, herd, limits, .. } = &settings;
        let keyring = Keyring::new(keys, nonce_key, herd, limits.expire_after);
        Server {
            store: Store::new(keyring.hash_keys),
            waits: Waits::new(settings.limits.waits_max),
            peers: Peers::new(&settings.peers, settings.seed),
            keyring,
            counters: Counters::default(),
            stamps: Stamps::default(),
            heard: Heard::new(),
            opening: Opening::new(&settings.name),
            newcomers_until: usize::MAX,
            news_at: Duration::ZERO,
            swept: Place::default(),
            refusals: BTreeMap::new(),
            stage: Stage::Serving,
            journaling: settings.keeps_journal.then(Journaling::new),
            settings,
        }
    }

    /// The one way in. `out` is empty before, and holds what must be done after.
    pub fn handle(&mut self, now: Now, input: Input<'_, '_>, out: &mut Outputs) {
        debug_assert!(out.list.is_empty() && out.text.is_empty(), "drain before the next input");
        match input {
            Input::Started => {
                self.dial_all(out);
                self.sweep_later(out);
            }
            Input::Accepted { conn } => self.accepted(now, conn, out),
            Input::Connected { peer, conn } => self.connected(peer, conn, out),
            Input::DialFailed { peer } => self.dial_failed(peer, out),
            Input::Lines { conn, lines } => self.lines(now, conn, lines, out),
            Input::Ended { conn } => self.ended(now, conn, out),
            Input::Closed { conn } => self.closed(now, conn, out),
            Input::Taken { conn, bytes } => self.taken(conn, bytes),
            Input::Drained { conn } => self.drained(conn, out),
            Input::PlacesArrived { ticket, body } => self.places_arrived(ticket, body, out),
            Input::TimerFired { timer } => self.timer_fired(now, timer, out),
            Input::Draining => self.drain(out),
            Input::Leaving => self.leave(out),
            Input::Changed { settings } => self.change(now, settings, out),
            Input::PeerConfigured { peer, settings } => self.configure_peer(peer, settings, out),
            Input::PeerRemoved { peer } => self.remove_peer(peer, out),
        }
    }

    /// The reports held, to be read: they change by `handle` alone.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The digest of all reports held: equal at all servers that hold the same.
    pub fn digest(&self) -> Hash {
        self.keyring.shown(self.store.digest().hash(Node::ROOT))
    }

    /// What has been counted so far; it only grows.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// What it was told when it was made, and since (`Input::Changed`).
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Whether greetings are with these keys, in this order.
    pub fn greets_with(&self, keys: &[[u8; 32]]) -> bool {
        self.keyring.has(keys)
    }

    /// Whether answers to this client have to wait for another.
    pub fn is_waiting(&self, conn: ConnId) -> bool {
        self.waits.is_waiting(conn)
    }

    /// Bytes that a peer is owed on this link, by the core's account: never less than by the
    /// reactor's.
    pub fn owed_to(&self, conn: ConnId) -> Option<usize> {
        self.peers.owed(conn)
    }

    /// Questions that wait for an answer.
    pub fn questions_waiting(&self) -> usize {
        self.waits.len()
    }

    /// What there is to see of a peer.
    pub fn peer(&self, peer: PeerId) -> PeerView {
        self.peers.view(peer)
    }

    fn accepted(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        if conn.kind() == ConnKind::Peer {
            self.stranger_came(now, conn, out);
        }
    }

    fn lines(&mut self, now: Now, conn: ConnId, lines: &mut Lines<'_>, out: &mut Outputs) {
        match conn.kind() {
            ConnKind::Client => {
                let newcomers =
                    if self.refuses_reports() { None } else { Some(lines.newcomers_max()) };
                self.newcomers_until =
                    newcomers.map_or(0, |newcomers| self.store.len().saturating_add(newcomers));
                // Reports borrow it while the store changes.
                let mut opening = std::mem::take(&mut self.opening);
                self.client_lines(now, conn, lines, &mut opening, out);
                self.opening = opening;
            }
            ConnKind::Peer => self.peer_lines(now, conn, lines, out),
            // A course server may answer what we sent it; there is nothing to learn from it.
            ConnKind::Course => while lines.take().is_some() {},
            ConnKind::Admin | ConnKind::Operator => {
                unreachable!("the reactor answers the operator itself")
            }
        }
    }

    fn ended(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        match conn.kind() {
            // A client that half-closes still waits for its answers.
            ConnKind::Client if self.waits.end(conn) => {}
            // A peer that half-closes does not, and news must not be put behind a last word.
            ConnKind::Peer => self.drop_link(now, conn, "it has closed", out),
            _ => out.push(Output::Close { conn }),
        }
    }

    fn closed(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        match conn.kind() {
            ConnKind::Client => self.waits.forget(conn),
            ConnKind::Peer => self.link_closed(now, conn, out),
            ConnKind::Course => self.plain_closed(conn, out),
            ConnKind::Admin | ConnKind::Operator => {}
        }
    }

    fn timer_fired(&mut self, now: Now, timer: Timer, out: &mut Outputs) {
        match timer {
            Timer::Redial { peer, attempt } => self.redial(peer, attempt, out),
            Timer::Greeting { conn } => self.greeting_due(now, conn, out),
            Timer::Ping { conn } => self.ping_due(now, conn, out),
            Timer::Compare { conn } => self.compare_due(now, conn, out),
            Timer::Sweep => self.sweep(now, out),
            Timer::Answer { ticket } => self.places_arrived(ticket, TOO_LATE, out),
        }
    }

    /// Takes lines until enough is owed to the client or it waits for too many answers.
    ///
    /// Several are taken at once and looked up together (`Store::fetch_ahead`), then handled one
    /// by one, in order; those that cannot be handled yet are given back.
    fn client_lines(
        &mut self,
        now: Now,
        conn: ConnId,
        lines: &mut Lines<'_>,
        opening: &mut Opening,
        out: &mut Outputs,
    ) {
        let mut ahead = ArrayVec::<Ahead<'_>, LINES_AHEAD>::new();
        loop {
            let is_all = !self.look_ahead(lines, &mut ahead);
            for line in &ahead {
                let is_full = self.waits.hold_if_full(conn);
                if is_full || out.text.len() > lines.room_bytes() {
                    lines.give_back(line.mark);
                    if is_full {
                        lines.hold();
                    }
                    return;
                }
                self.counters.lines_in += 1;
                let answered = self.command(now, conn, line, opening, out);
                if answered && self.settings.close_after_reply {
                    lines.hold();
                    self.ended(now, conn, out);
                    return;
                }
            }
            if is_all {
                return;
            }
            ahead.clear();
        }
    }

    /// Takes as many lines as can be looked up together. Says whether there may be more. Not
    /// inlined, for its numbers would push those of its caller out of registers.
    #[inline(never)]
    fn look_ahead<'a>(
        &self,
        lines: &mut Lines<'a>,
        ahead: &mut ArrayVec<Ahead<'a>, LINES_AHEAD>,
    ) -> bool {
        // Behind an answer that closes the connection, nothing may be taken.
        let lines_max = if self.settings.close_after_reply { 1 } else { LINES_AHEAD };
        while ahead.len() < lines_max && !lines.is_over() {
            let mark = lines.mark();
            if let Some((line, iamat, bytes)) = wire::fast_path::iamat(lines.ahead()) {
                lines.pass(bytes);
                let (command, key) = (Command::Iamat(iamat), self.store.key(iamat.client));
                ahead.push(Ahead { mark, line, command, key });
                continue;
            }
            let (line, command) = match lines.take() {
                Some(Line::Whole(line)) => (line, Command::parse(line)),
                Some(Line::TooLong(start)) => (start, Command::Invalid),
                None => break,
            };
            let key = command.client().map(|client| self.store.key(client)).unwrap_or_default();
            ahead.push(Ahead { mark, line, command, key });
        }
        if ahead.len() > 1 {
            self.store.fetch_ahead::<LINES_AHEAD>(ahead.iter().map(|line| line.key));
        }
        ahead.len() == lines_max
    }

    /// Handles one line of a client. Says whether the line gets an answer, now or later.
    fn command(
        &mut self,
        now: Now,
        conn: ConnId,
        ahead: &Ahead<'_>,
        opening: &mut Opening,
        out: &mut Outputs,
    ) -> bool {
        match ahead.command {
            Command::Iamat(ref iamat) => self.iamat(now, conn, ahead, (iamat, opening), out),
            Command::Whatsat { client, radius, bound } => {
                self.whatsat(now, conn, ahead, (client, radius, bound), out)
            }
            Command::Blank => {
                self.counters.other_lines += 1;
                false
            }
            Command::At(_) | Command::Invalid => {
                self.counters.other_lines += 1;
                !self.plain_line(now, ahead.line, out) && self.reject(conn, ahead.line, out)
            }
        }
    }

    /// Stores, floods and answers, in this order.
    fn iamat(
        &mut self,
        now: Now,
        conn: ConnId,
        ahead: &Ahead<'_>,
        (iamat, opening): (&Iamat<'_>, &mut Opening),
        out: &mut Outputs,
    ) -> bool {
        let (client, stamp) = (iamat.client, iamat.stamp);
        let heard = self.next_stamp(now, client);
        let skew = Skew::between(heard, stamp);
        if skew.is_negative() && self.is_too_far_ahead(stamp, heard) {
            self.note_ahead(now, conn, stamp.seconds() - heard.seconds(), out);
            return self.reject(conn, ahead.line, out);
        }
        let start = out.text.len();
        opening.write(skew, &mut out.text);
        iamat.write_operands(&mut out.text);
        out.text.push(b'\n');
        let client_at = opening.fields_len();
        let told = ReportLine { client, client_at, line: [start, out.text.len()], stamp };
        let may_keep = self.may_keep(ahead.key, client, &out.text[start..]);
        if !may_keep || !self.may_introduce(now, conn, client, out) {
            out.text.truncate(start);
            if !may_keep {
                self.note_full(now, out);
            }
            return self.reject(conn, ahead.line, out);
        }
        let verdict = self.accept_report(now, (ahead.key, told), None, out);
        if verdict == Verdict::Stale && self.settings.stale_reply_stored {
            out.text.truncate(start);
            let held = self.store.find(client).expect("something made the report stale");
            held.write_line(&mut out.text);
            return self.reply(conn, start..out.text.len(), out);
        }
        self.reply(conn, told.range(), out)
    }

    fn whatsat(
        &mut self,
        now: Now,
        conn: ConnId,
        ahead: &Ahead<'_>,
        (client, radius, bound): (&[u8], &[u8], u8),
        out: &mut Outputs,
    ) -> bool {
        self.counters.whatsats += 1;
        let held = self.store.find(client);
        let Some((held, question)) = held
            .filter(|held| !self.has_expired(held, now))
            .and_then(|held| Some((held, wire::question(held.position, radius, bound)?)))
        else {
            self.counters.unanswerable += 1;
            return self.reject(conn, ahead.line, out);
        };
        let mut at_line = Vec::with_capacity(held.fields_len() + 4);
        held.write_line(&mut at_line);
        self.lay_held(ahead.key, client, out);
        let ticket = self.waits.open(conn, at_line);
        let timeout = self.settings.answer_timeout;
        out.push(Output::AskPlaces { conn, ticket, question, timeout });
        true
    }

    fn reject(&mut self, conn: ConnId, line: &[u8], out: &mut Outputs) -> bool {
        self.counters.rejected += 1;
        let start = out.text.len();
        out.text.extend_from_slice(b"? ");
        out.text.extend_from_slice(line);
        out.text.push(b'\n');
        self.reply(conn, start..out.text.len(), out)
    }

    /// Sends a range of the text to the client, behind the answers that it waits for.
    #[inline(always)]
    fn reply(&mut self, conn: ConnId, text: Range<usize>, out: &mut Outputs) -> bool {
        if self.waits.is_waiting(conn) {
            self.waits.queue(conn, &out.text[text]);
        } else {
            out.send(conn, text);
        }
        true
    }

    fn places_arrived(&mut self, ticket: Ticket, body: &[u8], out: &mut Outputs) {
        let start = out.text.len();
        let Some(release) = self.waits.close(ticket, body, &mut out.text) else { return };
        let conn = release.conn;
        if release.answers > 0 {
            out.send(conn, start..out.text.len());
        }
        if release.finished {
            out.push(Output::Close { conn });
        } else if release.resume {
            out.push(Output::ResumeReading { conn });
        }
    }
}
