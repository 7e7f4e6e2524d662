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
//! use herd_core::wire::line_buffer::{LineLimits, Lines};
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
//!             Output::TellFlushed { conn } => tell(herd, to, Input::Flushed { conn }),
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
mod client_commands;
pub mod clock;
mod counters;
pub mod digits;
pub mod driver;
pub mod engine;
pub mod journal;
pub mod names;
pub mod nats_wire;
pub mod parts;
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
use std::time::Duration;

use border::{Input, Output, Outputs, Timer};
use clock::Now;
use engine::Engine;
use journal::missed::Journaling;
use names::{ConnId, ConnKind, PeerId};
use peers::handover::Stage;
use peers::line_mac::Keyring;
use peers::table::Peers;
use reports::admission::Stamps;
use store::digest::{Hash, Node};
use store::heard::Heard;
use store::{Cursor, Store};
use whatsat::{TOO_LATE, Waits};
use wire::Report;
use wire::line_buffer::Lines;
use wire::opening::Opening;

pub use counters::{Counters, LostFor, RefusedFor};
pub use peers::course_frame::Frame;
pub use peers::handover::HandOver;
pub use peers::peer_clock::PeerClock;
pub use peers::table::{LinkState, PeerSettings, PeerView};
pub use reports::age::Ages;
pub use reports::changes::{Change, Changes};
pub use settings::{Limits, Settings};

/// What a link that is proven adds to each line, in bytes.
pub const LINE_MAC_BYTES: usize = peers::line_mac::LineMac::BYTES;

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
    /// The size of the store from which on the lines at hand may introduce no new client.
    newcomers_until: usize,
    /// When the store last changed.
    news_at: Duration,
    ages: Ages,
    /// Where the search for what has expired goes on.
    swept: Cursor,
    /// Reasons to refuse somebody, and when each was last logged.
    refusals: BTreeMap<&'static str, Duration>,
    stage: Stage,
    /// If there is a journal.
    journaling: Option<Journaling>,
    /// Somebody wants to know what changes.
    is_watched: bool,
    /// Others know more of some clients.
    asks_others: bool,
}

impl Server {
    /// A server that holds nothing and has no links; `Input::Started` sets it going.
    pub fn new(settings: Settings) -> Server {
        let Settings { keys, digest_key, nonce_key, herd, limits, .. } = &settings;
        let keyring = Keyring::new(keys, *digest_key, nonce_key, herd, limits.expire_after);
        let mut peers = Peers::new(&settings.peers, settings.seed);
        if let Some(engine) = &settings.engine {
            peers.add_engine(Engine::new(engine, &settings, &keyring));
        }
        Server {
            store: Store::new(keyring.hash_keys),
            waits: Waits::new(settings.limits.waits_max),
            peers,
            keyring,
            counters: Counters::default(),
            stamps: Stamps::default(),
            heard: Heard::new(),
            opening: Opening::new(&settings.name),
            newcomers_until: usize::MAX,
            news_at: Duration::ZERO,
            ages: Ages::default(),
            swept: Cursor::default(),
            refusals: BTreeMap::new(),
            stage: Stage::Serving,
            journaling: settings.keeps_journal.then(Journaling::new),
            is_watched: false,
            asks_others: settings.engine.as_ref().is_some_and(engine::EngineSettings::asks_others),
            settings,
        }
    }

    /// The one way in. `out` is empty before, and holds what must be done after. Inlined: where
    /// lines are given, it is known that they are lines.
    #[inline(always)]
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
            Input::Secret { conn } => self.peers.is_secret(conn),
            Input::Unproven { conn } => self.unproven(conn),
            Input::Lines { conn, lines } => self.lines(now, conn, lines, out),
            Input::Ended { conn } => self.ended(now, conn, out),
            Input::Closed { conn } => self.closed(now, conn, out),
            Input::Taken { conn, bytes } => self.taken(conn, bytes),
            Input::Flushed { conn } if conn.kind() == ConnKind::Engine => {
                self.engine_flushed(now, conn, out);
            }
            Input::Flushed { conn } => self.flushed(now, conn, out),
            Input::PlacesArrived { ticket, body } => self.places_arrived(ticket, body, out),
            Input::TimerFired { timer } => self.timer_fired(now, timer, out),
            Input::Erase { client } => self.erase(now, client, out),
            Input::Draining => {
                self.drain(out);
                self.leave_groups(now, out);
            }
            Input::Leaving => self.leave(now, out),
            Input::Changed { settings } => self.change(now, settings, out),
            Input::PeerConfigured { peer, settings } => self.configure_peer(peer, settings, out),
            Input::PeerRemoved { peer } => self.remove_peer(peer, out),
        }
        self.peers.pass_on_rest(out);
    }

    /// The reports held, to be read: they change by `handle` alone.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// What is known of a client, unless that has expired or was erased.
    pub fn look_up(&self, client: &[u8], now: Now) -> Option<Report<'_>> {
        let is_there = |held: &Report<'_>| !held.is_erasure() && !self.has_expired(held, now);
        self.store.find(client).filter(is_there)
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

    #[inline(always)]
    fn lines(&mut self, now: Now, conn: ConnId, lines: &mut Lines<'_>, out: &mut Outputs) {
        match conn.kind() {
            // One that speaks HTTP or MQTT says it by lines here; its driver keeps the answers to
            // itself.
            ConnKind::Client | ConnKind::Web | ConnKind::Mqtt => {
                let newcomers =
                    if self.refuses_reports() { None } else { Some(lines.newcomers_max()) };
                self.newcomers_until =
                    newcomers.map_or(0, |newcomers| self.store.len().saturating_add(newcomers));
                self.client_lines(now, conn, lines, out);
            }
            ConnKind::Peer => self.peer_lines(now, conn, lines, out),
            // A course server may answer what we sent it; there is nothing to learn from it.
            ConnKind::Course => while lines.take().is_some() {},
            ConnKind::Engine => self.engine_bytes(now, conn, lines, out),
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
            ConnKind::Peer => self.drop_link(now, conn, counters::CLOSED, out),
            _ => out.push(Output::Close { conn }),
        }
    }

    fn closed(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        match conn.kind() {
            ConnKind::Client => self.waits.forget(conn),
            ConnKind::Peer => self.link_closed(now, conn, out),
            ConnKind::Course => self.plain_closed(conn, out),
            ConnKind::Engine => self.engine_closed(now, conn, out),
            ConnKind::Admin | ConnKind::Operator | ConnKind::Web | ConnKind::Mqtt => {}
        }
    }

    fn timer_fired(&mut self, now: Now, timer: Timer, out: &mut Outputs) {
        match timer {
            Timer::Redial { peer, attempt } => self.redial(peer, attempt, out),
            Timer::Greeting { conn } if conn.kind() == ConnKind::Engine => {
                self.engine_greeting_due(now, conn, out);
            }
            Timer::Ping { conn } if conn.kind() == ConnKind::Engine => {
                self.engine_due(now, conn, out);
            }
            Timer::Greeting { conn } => self.greeting_due(now, conn, out),
            Timer::Ping { conn } => self.ping_due(now, conn, out),
            Timer::Compare { conn } => self.compare_due(now, conn, out),
            Timer::Sweep => self.sweep(now, out),
            Timer::Answer { ticket } => {
                let waiting = self.questions_waiting();
                self.places_arrived(ticket, TOO_LATE, out);
                self.counters.late += (waiting - self.questions_waiting()) as u64;
            }
        }
    }
}
