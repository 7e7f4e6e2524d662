//! The herd on an engine: instead of links, servers tell each other news by NATS, a node of which
//! runs on the same host. Apart from `peers` because an engine is no server of the herd: it carries
//! what they say, may lose any of it, and is believed nothing.
//!
//! ```text
//!            ┌───────────────── back-off ───────────────────────────┐
//!            ▼                                                      │
//!   Waiting, Denied ──▶ Dialing ──▶ Connecting ──▶ Informed ──▶ Up ─┘
//!                       connect     INFO awaited   PONG awaited
//!
//!   ◀ INFO {…}                      ▶ CONNECT {…}  SUB herd.ID.r.0  SUB herd.ID.s.ME  PING
//!   ◀ PONG: up                      ▶ PUB herd.ID.r.0     what was news in a turn, as one batch
//!                                     PING, now and then
//!   ◀ PONG: the node has read all before it
//! ```
//!
//! Every server hears what is published to `r.0`, and nobody passes it on. `s.NAME` is for one
//! server: comparisons of digests go there, and what they find. Batches are sealed and numbered
//! (`batch`), so a hole is seen, and whose it is. What cannot be sent, or was sent and not read by
//! the node when a connection ends, leaves marks on its parts of the store, as with a slow peer
//! (`outgoing`); what others have lost, comparisons find (`compare`). No client waits for any of
//! this.
//!
//! Where clients are divided into parts, servers ask each other about those that they do not hold
//! (`questions`).
//!
//! A server that was heard last says what its own clients have said, and nobody else's: else
//! everybody would say everything.
//!
//! Where clients are divided into parts, there is an `r.P` for each of them, which only those hear
//! who hold it. What else is different then is in `divided`, `moving` and `leaving`.

mod abroad;
mod answers;
mod batch;
mod compare;
mod divided;
mod heard_in_parts;
mod in_parts;
mod incoming;
mod leaving;
mod login;
mod members;
mod moving;
mod outbox;
mod outgoing;
mod questions;
mod settings;
#[cfg(test)]
mod tests;
mod view;
mod words;

use std::time::Duration;

use crate::Server;
use crate::border::{Note, Output, Outputs, Timer};
use crate::clock::Now;
use crate::names::{ConnId, PeerId};
use crate::nats_wire::{Inbox, write_pub, write_sub};
use crate::parts::Part;
use crate::peers::handover::Stage;
use crate::peers::line_mac::{Keyring, RunId};
use crate::peers::missed::Missed;
use crate::settings::Settings;
use crate::store::Span;
use abroad::Abroad;
use batch::BusKeys;
use compare::Comparing;
use divided::Divided;
use login::{Info, write_connect};
use members::Member;
use moving::sid;
use outbox::Outboxes;
use questions::Questions;

pub use batch::NotBelieved;
pub use login::{Login, Nkey};
pub use questions::QuestionCounters;
pub use settings::{EngineSettings, Region};
pub use view::{EngineCounters, EngineState, EngineView};

/// A connection that has lasted this long makes earlier failures forgotten.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Longest batch that is read. Ours are shorter by far: one line may be longer than a batch should.
const PAYLOAD_MAX: usize = 1024 * 1024;
/// By which a node knows that we hear what is for us alone; those of parts are below.
const SID_OWN: u32 = 2_000;

/// How far the connection has come. `attempt` counts the dials since it was last up for long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Waiting {
        attempt: u32,
    },
    Dialing {
        attempt: u32,
    },
    Connecting {
        conn: ConnId,
        attempt: u32,
    },
    Informed {
        conn: ConnId,
        attempt: u32,
    },
    Up {
        conn: ConnId,
        attempt: u32,
        since: Duration,
    },
    /// This server leaves, and has said all.
    Left,
}

/// A server's side of the engine.
///
/// invariant: news that the node may not have read lies in `since`, `before` or `missed`
pub(crate) struct Engine {
    settings: EngineSettings,
    /// Of what is published for all who hold a part.
    outboxes: Outboxes,
    /// The parts that this server holds, in their order.
    held: Vec<Part>,
    /// Where we are spoken to.
    for_us: Vec<u8>,
    keys: BusKeys,
    life: RunId,
    /// Equal at servers whose digests can be compared.
    digests: [u8; 8],
    ping_after: Duration,
    silence_max: Duration,
    phase: Phase,
    /// Why it does not let us in, if it has said so.
    denied: Option<&'static str>,
    inbox: Inbox,
    members: Vec<Member>,
    /// Which of them, or of other regions, was served first last time.
    first: usize,
    /// Lines for this member that wait for the end of the input.
    own: (usize, Vec<u8>),
    /// Bytes sent on this connection, and how many of them the node has read.
    sent: u64,
    read: u64,
    /// A PING is under way: what was sent before it, and when.
    ping: Option<(u64, Duration)>,
    /// When the last one was said on this connection.
    pinged_at: Option<Duration>,
    /// Where what was sent since that PING lies, and what was sent before it. No more than
    /// `owed_max` has lines, and its memory is used again.
    since: Vec<Span>,
    before: Vec<Span>,
    /// Of which others may not have what we heard first.
    missed: Missed,
    sending: Option<Span>,
    /// When the node last said anything.
    heard: Duration,
    comparing: Comparing,
    questions: Questions,
    abroad: Option<Abroad>,
    divided: Divided,
    /// `Flushed` was asked for.
    asked: bool,
    is_noted: bool,
    /// The earliest timer that is set.
    wakes_at: Option<Duration>,
    counters: EngineCounters,
    scratch: Vec<u8>,
}

/// The name of a server, of the subject that it hears alone.
fn last_token(subject: &[u8]) -> &[u8] {
    subject.rsplit(|&byte| byte == b'.').next().unwrap_or_default()
}

impl Engine {
    pub fn new(settings: &EngineSettings, server: &Settings, keyring: &Keyring) -> Engine {
        let Settings { name, herd, keys, limits, .. } = server;
        let of_herd = [settings.subject.as_bytes(), herd].join(&b'.');
        let prefix = match &settings.region {
            Some(region) => [&of_herd[..], region].join(&b'.'),
            None => of_herd.clone(),
        };
        let subject = |last: [&[u8]; 2]| [&prefix[..], last[0], last[1]].join(&b'.');
        let held = settings.parts.held_by(name);
        let questions = Questions::new(&prefix, keyring.run);
        Engine {
            outboxes: Outboxes::new(&subject([b"r", b""]), settings.parts.count()),
            for_us: subject([b"s", name]),
            keys: BusKeys::new(keys, herd),
            life: keyring.run,
            digests: keyring.digest_id(),
            ping_after: limits.ping_after,
            silence_max: limits.silence_max,
            phase: Phase::Waiting { attempt: 0 },
            denied: None,
            inbox: Inbox::new(PAYLOAD_MAX),
            members: settings.members.iter().map(|name| settings.member(name, &held)).collect(),
            first: 0,
            own: (0, Vec::new()),
            sent: 0,
            read: 0,
            ping: None,
            pinged_at: None,
            since: Vec::new(),
            before: Vec::new(),
            missed: Missed::nothing(),
            sending: None,
            heard: Duration::ZERO,
            comparing: Comparing::default(),
            questions,
            abroad: Abroad::new(settings, name, &of_herd),
            divided: Divided::new(held.len()),
            held,
            asked: false,
            is_noted: false,
            wakes_at: None,
            counters: EngineCounters::default(),
            scratch: Vec::new(),
            settings: settings.clone(),
        }
    }

    /// The connection on which it is up.
    fn up(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Up { conn, .. } => Some(conn),
            _ => None,
        }
    }

    /// Since when it has been up.
    fn since(&self) -> Option<Duration> {
        match self.phase {
            Phase::Up { since, .. } => Some(since),
            _ => None,
        }
    }

    fn conn(&self) -> Option<ConnId> {
        match self.phase {
            Phase::Connecting { conn, .. }
            | Phase::Informed { conn, .. }
            | Phase::Up { conn, .. } => Some(conn),
            Phase::Waiting { .. } | Phase::Dialing { .. } | Phase::Left => None,
        }
    }

    /// The servers that may be heard and told have changed.
    pub fn set_members(&mut self, names: &[Vec<u8>]) {
        self.members.retain(|member| names.contains(&member.name));
        for name in names {
            if !self.members.iter().any(|member| member.name == *name) {
                self.members.push(self.settings.member(name, &self.held));
            }
        }
        // They have other places now.
        self.own.1.clear();
        self.comparing.forget_who();
    }
}

impl Server {
    /// Lends the engine, so that reports can be heard meanwhile.
    fn lend_engine(&mut self, conn: ConnId) -> Option<(PeerId, Box<Engine>)> {
        let (peer, slot) = self.peers.engine()?;
        let is_it = slot.as_ref().is_some_and(|engine| engine.conn() == Some(conn));
        is_it.then(|| slot.take().map(|engine| (peer, engine)))?
    }

    fn take_engine_back(&mut self, engine: Box<Engine>) {
        if let Some((_, slot)) = self.peers.engine() {
            *slot = Some(engine);
        }
    }

    /// Does something with the engine of this connection, and then sets the next timer.
    fn with_engine(
        &mut self,
        now: Now,
        conn: ConnId,
        out: &mut Outputs,
        act: impl FnOnce(&mut Server, PeerId, &mut Engine, &mut Outputs),
    ) {
        let Some((peer, mut engine)) = self.lend_engine(conn) else { return };
        act(self, peer, &mut engine, out);
        if engine.up().is_some() {
            if engine.settings.parts.is_whole() {
                self.go_on_comparing(now, &mut engine, out);
            } else {
                self.go_on_in_parts(now, (peer, &mut engine), out);
            }
            self.go_on_asking(now, &mut engine, out);
            self.go_on_abroad(now, &mut engine, out);
            self.leave_engine(now, (peer, &mut engine), out);
        }
        if engine.up().is_some() {
            self.join_groups(now, &mut engine, out);
            engine.send_own(out);
            engine.wake(now, out);
        }
        self.take_engine_back(engine);
    }

    /// The servers on the engine may have changed, and bounds.
    pub(crate) fn change_engine(&mut self, now: Now, new: &Settings, out: &mut Outputs) {
        let Some((_, Some(engine))) = self.peers.engine() else { return };
        (engine.ping_after, engine.silence_max) = (new.limits.ping_after, new.limits.silence_max);
        if let Some(settings) = &new.engine {
            engine.set_members(&settings.members);
            engine.set_parts(now, &settings.parts, out);
        }
        self.settings.engine.clone_from(&new.engine);
    }

    pub(crate) fn change_engine_keys(&mut self, keys: &[[u8; 32]]) {
        if let Some((_, Some(engine))) = self.peers.engine() {
            engine.keys = BusKeys::new(keys, &self.settings.herd);
        }
    }

    /// No client is left: what is still to be said is said, and somebody asked to keep it.
    pub(crate) fn begin_to_leave_engine(&mut self, now: Now, out: &mut Outputs) {
        let Some(conn) = self.peers.engine_view().and_then(Engine::conn) else { return };
        self.with_engine(now, conn, out, |server, peer, engine, out| {
            if engine.up().is_none() {
                server.lose_engine(now, (peer, engine), "we leave", out);
            }
        });
    }

    pub(crate) fn engine_redial(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        let is_serving = self.stage == Stage::Serving;
        let Some((_, Some(engine))) = self.peers.engine() else { return };
        if engine.phase == (Phase::Waiting { attempt }) && is_serving {
            engine.phase = Phase::Dialing { attempt };
            out.push(Output::Dial { peer });
        }
    }

    pub(crate) fn engine_connected(&mut self, conn: ConnId, out: &mut Outputs) {
        let after = self.settings.limits.greeting;
        let Some((_, Some(engine))) = self.peers.engine() else { return };
        let Phase::Dialing { attempt } = engine.phase else {
            return out.push(Output::HangUp { conn });
        };
        engine.phase = Phase::Connecting { conn, attempt };
        out.push(Output::StartTimer { timer: Timer::Greeting { conn }, after });
    }

    pub(crate) fn engine_dial_failed(&mut self, peer: PeerId, out: &mut Outputs) {
        let Some((_, Some(engine))) = self.peers.engine() else { return };
        let Phase::Dialing { attempt } = engine.phase else { return };
        if attempt == 0 {
            out.note(Note::PeerUnreachable { peer });
        }
        let phase = self.engine_waits(peer, attempt + 1, out);
        if let Some((_, Some(engine))) = self.peers.engine() {
            engine.phase = phase;
        }
    }

    /// Waits before the next dial, unless this server leaves.
    fn engine_waits(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) -> Phase {
        if self.stage > Stage::Serving {
            return Phase::Left;
        }
        let after = self.backoff(attempt);
        out.push(Output::StartTimer { timer: Timer::Redial { peer, attempt }, after });
        Phase::Waiting { attempt }
    }

    /// INFO was awaited for too long, or PONG.
    pub(crate) fn engine_greeting_due(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        self.with_engine(now, conn, out, |server, peer, engine, out| {
            if engine.up().is_none() {
                server.lose_engine(now, (peer, engine), "it does not let us in in time", out);
            }
        });
    }

    pub(crate) fn engine_closed(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        self.with_engine(now, conn, out, |server, peer, engine, out| {
            server.lose_engine(now, (peer, engine), crate::counters::CONNECTION_LOST, out);
        });
    }

    /// Ends the connection: what the node may not have read is missed from now on.
    fn lose_engine(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        why: &'static str,
        out: &mut Outputs,
    ) {
        let (conn, attempt) = match engine.phase {
            Phase::Connecting { conn, attempt } | Phase::Informed { conn, attempt } => {
                (conn, attempt + 1)
            }
            Phase::Up { conn, attempt, since } => {
                out.note(Note::PeerDown { peer, conn, why });
                let is_stable = now.monotonic.saturating_sub(since) >= STABLE_AFTER;
                (conn, if is_stable { 0 } else { attempt + 1 })
            }
            Phase::Waiting { .. } | Phase::Dialing { .. } | Phase::Left => return,
        };
        out.push(Output::HangUp { conn });
        engine.forget_connection();
        self.questions_lost(now, engine, out);
        engine.phase = self.engine_waits(peer, attempt, out);
    }

    /// The node has introduced itself: so do we, and say what we want to hear.
    fn engine_informed(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        json: &[u8],
        out: &mut Outputs,
    ) {
        let info = Info::parse(json);
        if info.is_leaving && engine.up().is_some() {
            self.lose_engine(now, (peer, engine), "the node is about to end", out);
            return;
        }
        let Phase::Connecting { conn, attempt } = engine.phase else { return };
        let needed = engine.settings.batch_bytes_max;
        let why = if info.wants_tls {
            Some("it wants TLS: let servers speak to a leaf node on their own host")
        } else if info.wants_login && matches!(engine.settings.login, Login::Nobody) {
            Some("it wants a user: nkey_file, or user and password_file, of [engine]")
        } else if info.payload_max.is_some_and(|max| max < needed) {
            Some("its max_payload is below batch_bytes_max of [engine]")
        } else {
            None
        };
        if let Some(why) = why {
            engine.denied = Some(why);
            return self.lose_engine(now, (peer, engine), why, out);
        }
        let own_name = String::from_utf8_lossy(&self.settings.name).into_owned();
        let start = out.text.len();
        let asks = engine.asks_others();
        write_connect(&engine.settings.login, &own_name, &info, asks, &mut out.text);
        for part in &engine.held {
            write_sub(engine.outboxes.subject(*part), sid(*part), &mut out.text);
        }
        write_sub(&engine.for_us, SID_OWN, &mut out.text);
        engine.write_question_subs(&mut out.text);
        out.text.extend_from_slice(b"PING\r\n");
        out.send(conn, start..out.text.len());
        engine.phase = Phase::Informed { conn, attempt };
    }

    /// The node has read what we want to hear: from here on news is published, and only now begins
    /// what was missed. The other order would lose what comes in between.
    fn engine_up(&mut self, now: Now, (peer, engine): (PeerId, &mut Engine), out: &mut Outputs) {
        let Phase::Informed { conn, attempt } = engine.phase else { return };
        engine.phase = Phase::Up { conn, attempt, since: now.monotonic };
        engine.denied = None;
        engine.heard = now.monotonic;
        out.note(Note::PeerUp { peer, conn });
        if engine.settings.parts.is_whole() {
            engine.comparing.begin(now, engine.settings.settle);
            // An empty batch says that we are here, and how far our numbers have come: who has
            // missed one before the connection broke learns of it.
            engine.outboxes.want_tail_at(0, now.monotonic + engine.settings.settle);
        } else {
            self.begin_in_parts(now, engine);
        }
        self.begin_abroad(now, engine);
        engine.ask_flushed(out);
    }
}

impl Engine {
    /// Sets a timer for what is due next.
    fn wake(&mut self, now: Now, out: &mut Outputs) {
        let Some(conn) = self.up() else { return };
        let Some(next) = self.next_deadline() else { return };
        let is_set = self.wakes_at.is_some_and(|at| now.monotonic < at && at <= next);
        if !is_set {
            self.wakes_at = Some(next);
            let after = next.saturating_sub(now.monotonic);
            out.push(Output::StartTimer { timer: Timer::Ping { conn }, after });
        }
    }
}
