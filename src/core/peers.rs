//! A peer's life, written down as states. Apart because who is joined to whom is a story of its
//! own; what is said once a link is up is in `flood` and `sync`.
//!
//! ```text
//!                 ┌───────────── back-off ─────────────┐
//!                 ▼                                    │ refused, silent, lost
//!   we dial:   Waiting ──▶ Dialing ──▶ Greeting ──▶ Up ┘
//!
//!   they dial: Down ◀─────────────────────────────▶ Up
//!                        (a stranger until greeted)
//! ```
//!
//! One side of each link dials; the configuration says which. The other is silent until it has
//! read the greeting, so a scanner learns nothing from an open port. A newer greeted connection
//! replaces an older one: the older is the leftover of a peer that died without a word.
//!
//! asyncio: all of this hides in the program counter of `while True: await open_connection(…)`.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::Server;
use super::border::{Note, Output, Outputs, Timer};
use super::clock::Now;
use super::line::{Line, Lines};
use super::names::{ConnId, PeerId};
use super::plain::PlainPeer;
use super::sync::Link;
use super::wire::{Greeting, PeerLine, Report};

/// Connections on the peer port that have not said who they are. Each lasts for the greeting's
/// patience at most; beyond this many, the oldest must go.
const STRANGERS_MAX: usize = 64;
/// A link that has lasted this long makes the peer's earlier failures forgotten.
const STABLE_AFTER: Duration = Duration::from_secs(10);
/// Nothing beyond the plain protocol is offered yet.
const CAPS: &[u8] = b"-";

/// What a server must be told of a peer.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    pub name: Vec<u8>,
    /// We open the connection; otherwise we wait for theirs.
    pub dials: bool,
    /// The peer knows only the course's wire.
    pub plain: bool,
}

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// They dial, and have not.
    Down,
    Waiting,
    Dialing,
    Greeting,
    Up,
    /// A course server: connected only while there is something to tell.
    Plain,
}

/// What there is to see of a peer from outside.
#[derive(Clone, Copy, Debug)]
pub struct PeerView {
    pub state: LinkState,
    /// Dials after the first.
    pub redials: u64,
}

/// Everyone this server is linked with.
pub(super) struct Peers {
    list: Vec<Peer>,
    strangers: VecDeque<ConnId>,
    random: fastrand::Rng,
}

pub(super) struct Peer {
    pub name: Vec<u8>,
    dials: bool,
    redials: u64,
    pub state: State,
}

/// `attempt` counts the dials since the peer was last up for long.
pub(super) enum State {
    Down,
    Waiting { attempt: u32 },
    Dialing { attempt: u32 },
    Greeting { conn: ConnId, attempt: u32 },
    Up { link: Link, attempt: u32 },
    Plain(PlainPeer),
}

impl Peers {
    pub fn new(settings: &[PeerSettings], seed: u64) -> Peers {
        let peer = |settings: &PeerSettings| Peer {
            name: settings.name.clone(),
            dials: settings.dials && !settings.plain,
            redials: 0,
            state: match settings.plain {
                true => State::Plain(PlainPeer::default()),
                false => State::Down,
            },
        };
        Peers {
            list: settings.iter().map(peer).collect(),
            strangers: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
        }
    }

    pub fn ids(&self) -> impl Iterator<Item = PeerId> + use<> {
        (0..self.list.len() as u16).map(PeerId)
    }

    pub fn view(&self, peer: PeerId) -> PeerView {
        let peer = &self.list[usize::from(peer.0)];
        let state = match peer.state {
            State::Down => LinkState::Down,
            State::Waiting { .. } => LinkState::Waiting,
            State::Dialing { .. } => LinkState::Dialing,
            State::Greeting { .. } => LinkState::Greeting,
            State::Up { .. } => LinkState::Up,
            State::Plain(_) => LinkState::Plain,
        };
        PeerView { state, redials: peer.redials }
    }

    /// Passes news on to one peer, if it can hear.
    pub fn tell(
        &mut self,
        peer: PeerId,
        report: &Report<'_>,
        text: Range<usize>,
        owed_max: usize,
        out: &mut Outputs,
    ) {
        let entry = self.at(peer);
        match &mut entry.state {
            State::Up { link, .. } => link.flood(peer, text, owed_max, out),
            // It reported this itself; another server's report, it may not have.
            State::Plain(_) if entry.name == report.server => {}
            State::Plain(plain) => plain.add(peer, report.client, out),
            _ => {}
        }
    }

    pub fn at(&mut self, peer: PeerId) -> &mut Peer {
        &mut self.list[usize::from(peer.0)]
    }

    /// The peer at the other end of a connection, if it is greeted or being greeted.
    fn behind(&self, conn: ConnId) -> Option<PeerId> {
        let is_there = |peer: &Peer| match &peer.state {
            State::Greeting { conn: greeting, .. } => *greeting == conn,
            State::Up { link, .. } => link.conn() == conn,
            _ => false,
        };
        self.list.iter().position(is_there).map(|at| PeerId(at as u16))
    }

    pub fn link(&mut self, conn: ConnId) -> Option<(PeerId, &mut Link)> {
        let peer = self.behind(conn)?;
        match &mut self.at(peer).state {
            State::Up { link, .. } => Some((peer, link)),
            _ => None,
        }
    }

    fn named(&self, name: &[u8]) -> Option<PeerId> {
        let is_named = |peer: &Peer| peer.name == name && !matches!(peer.state, State::Plain(_));
        self.list.iter().position(is_named).map(|at| PeerId(at as u16))
    }
}

impl Server {
    pub(super) fn dial_all(&mut self, out: &mut Outputs) {
        for peer in self.peers.ids() {
            if self.peers.at(peer).dials {
                self.dial(peer, 0, out);
            }
        }
    }

    pub(super) fn redial(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        match &self.peers.at(peer).state {
            State::Waiting { attempt: awaited } if *awaited == attempt && !self.leaving => {
                self.peers.at(peer).redials += 1;
                self.dial(peer, attempt, out);
            }
            State::Plain(_) => self.plain_redial(peer, attempt, out),
            // Meanwhile the peer came up by itself.
            _ => {}
        }
    }

    fn dial(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        self.peers.at(peer).state = State::Dialing { attempt };
        out.push(Output::Dial { peer });
    }

    pub(super) fn dial_failed(&mut self, peer: PeerId, out: &mut Outputs) {
        match self.peers.at(peer).state {
            State::Dialing { attempt } => {
                if attempt == 0 {
                    out.note(Note::PeerUnreachable { peer });
                }
                self.wait(peer, attempt + 1, out);
            }
            State::Plain(_) => self.plain_dial_failed(peer, out),
            _ => {}
        }
    }

    /// Waits before the next dial: exponentially longer, up to a cap, and never in step with
    /// the others who lost the same peer.
    fn wait(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        if !self.peers.at(peer).dials || self.leaving {
            self.peers.at(peer).state = State::Down;
            return;
        }
        self.peers.at(peer).state = State::Waiting { attempt };
        let after = self.backoff(attempt);
        out.push(Output::StartTimer { timer: Timer::Redial { peer, attempt }, after });
    }

    pub(super) fn backoff(&mut self, attempt: u32) -> Duration {
        let doubled = self.settings.backoff_min * 2u32.saturating_pow(attempt.min(16));
        let longest = doubled.min(self.settings.backoff_max);
        longest.mul_f64(0.5 + 0.5 * self.peers.random.f64())
    }

    pub(super) fn connected(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        match self.peers.at(peer).state {
            State::Dialing { attempt } => {
                self.peers.at(peer).state = State::Greeting { conn, attempt };
                self.greet(peer, conn, out);
                self.await_greeting(conn, out);
            }
            State::Plain(_) => self.plain_connected(peer, conn, out),
            // They have connected to us while we were still dialling.
            _ => out.push(Output::HangUp { conn }),
        }
    }

    /// Somebody has connected to the peer port, and says nothing about itself yet.
    pub(super) fn stranger_came(&mut self, conn: ConnId, out: &mut Outputs) {
        self.peers.strangers.push_back(conn);
        self.await_greeting(conn, out);
        if self.peers.strangers.len() > STRANGERS_MAX
            && let Some(conn) = self.peers.strangers.pop_front()
        {
            self.refuse(conn, "too many have not greeted", out);
        }
    }

    fn await_greeting(&mut self, conn: ConnId, out: &mut Outputs) {
        let after = self.settings.greeting_patience;
        out.push(Output::StartTimer { timer: Timer::Greeting { conn }, after });
    }

    pub(super) fn greeting_due(&mut self, conn: ConnId, out: &mut Outputs) {
        if self.peers.strangers.contains(&conn) {
            self.peers.strangers.retain(|&stranger| stranger != conn);
            self.refuse(conn, "no greeting in time", out);
        } else if let Some(peer) = self.peers.behind(conn)
            && matches!(self.peers.at(peer).state, State::Greeting { .. })
        {
            self.refuse(conn, "no greeting in time", out);
        }
    }

    fn refuse(&mut self, conn: ConnId, why: &'static str, out: &mut Outputs) {
        self.counters.refused += 1;
        out.note(Note::Refused { conn, why });
        out.push(Output::HangUp { conn });
    }

    fn greet(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        let nonce = self.peers.random.u128(..);
        let (from, herd) = (&*self.settings.name, &self.settings.herd);
        let to = &self.peers.list[usize::from(peer.0)].name;
        out.say(conn, |text| Greeting { from, to, herd, nonce, caps: CAPS }.write_line(text));
    }

    pub(super) fn peer_lines(
        &mut self,
        now: Now,
        conn: ConnId,
        lines: &mut Lines<'_>,
        out: &mut Outputs,
    ) {
        while let Some(line) = lines.take() {
            self.counters.lines_in += 1;
            let message = match line {
                Line::Whole(line) => PeerLine::parse(line),
                Line::TooLong(_) => PeerLine::Invalid,
            };
            let goes_on = match self.peers.behind(conn) {
                Some(peer) => match self.peers.at(peer).state {
                    State::Up { .. } => self.link_line(now, peer, conn, message, out),
                    _ => self.greeted_back(now, peer, conn, message, out),
                },
                None => self.stranger_line(now, conn, message, out),
            };
            if !goes_on {
                lines.hold();
            }
        }
    }

    /// The first line on a connection that we accepted.
    fn stranger_line(
        &mut self,
        now: Now,
        conn: ConnId,
        line: PeerLine<'_>,
        out: &mut Outputs,
    ) -> bool {
        let known = self.peers.strangers.len();
        self.peers.strangers.retain(|&stranger| stranger != conn);
        if self.peers.strangers.len() == known {
            // Neither a peer nor a stranger: hung up on, and its last lines are still coming.
            return false;
        }
        match self.check_greeting(line) {
            Ok(peer) => {
                self.greet(peer, conn, out);
                self.link_up(now, peer, conn, out);
                true
            }
            Err(why) => {
                self.refuse(conn, why, out);
                false
            }
        }
    }

    /// The first line on a connection that we dialled.
    fn greeted_back(
        &mut self,
        now: Now,
        peer: PeerId,
        conn: ConnId,
        line: PeerLine<'_>,
        out: &mut Outputs,
    ) -> bool {
        let checked = self.check_greeting(line);
        match checked {
            Ok(from) if from == peer => {
                self.link_up(now, peer, conn, out);
                true
            }
            checked => {
                self.refuse(conn, checked.err().unwrap_or("not the peer that was dialled"), out);
                false
            }
        }
    }

    /// Says which peer greets us, or what is wrong with the greeting.
    fn check_greeting(&self, line: PeerLine<'_>) -> Result<PeerId, &'static str> {
        let PeerLine::Greeting(greeting) = line else { return Err("not a greeting") };
        if greeting.herd != self.settings.herd {
            return Err("a server of another herd");
        }
        if *greeting.to != *self.settings.name {
            return Err("greets another server than this one");
        }
        self.peers.named(greeting.from).ok_or("not a peer of this server")
    }

    fn link_up(&mut self, now: Now, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        let attempt = match &self.peers.at(peer).state {
            State::Up { link, attempt } => {
                let (old, attempt) = (link.conn(), *attempt);
                let why = "replaced by a newer connection";
                out.note(Note::PeerDown { peer, conn: old, why });
                out.push(Output::HangUp { conn: old });
                attempt
            }
            State::Greeting { conn: dialled, attempt } => {
                let (dialled, attempt) = (*dialled, *attempt);
                if dialled != conn {
                    out.push(Output::HangUp { conn: dialled });
                }
                attempt
            }
            State::Waiting { attempt } | State::Dialing { attempt } => *attempt,
            State::Down | State::Plain(_) => 0,
        };
        self.peers.at(peer).state = State::Up { link: Link::new(conn, now.monotonic), attempt };
        out.note(Note::PeerUp { peer, conn });
        let after = self.settings.ping_after;
        out.push(Output::StartTimer { timer: Timer::Ping { conn }, after });
        // From here on news is flooded on this link, and only now begins what it has missed:
        // the other order would lose what comes in between.
        self.catch_up(peer, out);
    }

    /// Ends a link that is up or being greeted, for a reason of ours.
    pub(super) fn drop_link(
        &mut self,
        now: Now,
        conn: ConnId,
        why: &'static str,
        out: &mut Outputs,
    ) {
        out.push(Output::HangUp { conn });
        self.link_lost(now, conn, why, out);
    }

    pub(super) fn link_closed(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        self.peers.strangers.retain(|&stranger| stranger != conn);
        self.link_lost(now, conn, "connection lost", out);
    }

    fn link_lost(&mut self, now: Now, conn: ConnId, why: &'static str, out: &mut Outputs) {
        let Some(peer) = self.peers.behind(conn) else { return };
        let attempt = match &self.peers.at(peer).state {
            State::Up { link, attempt } => {
                let stable = link.age(now.monotonic) >= STABLE_AFTER;
                out.note(Note::PeerDown { peer, conn, why });
                if stable { 0 } else { attempt + 1 }
            }
            State::Greeting { attempt, .. } => attempt + 1,
            _ => return,
        };
        self.wait(peer, attempt, out);
    }

    pub(super) fn leave(&mut self, out: &mut Outputs) {
        self.leaving = true;
        while let Some(conn) = self.peers.strangers.pop_front() {
            out.push(Output::HangUp { conn });
        }
        for peer in self.peers.ids() {
            match &self.peers.at(peer).state {
                State::Up { link, .. } => {
                    let conn = link.conn();
                    out.say(conn, |text| text.extend_from_slice(b"BYE\n"));
                    out.push(Output::Close { conn });
                }
                State::Greeting { conn, .. } => out.push(Output::HangUp { conn: *conn }),
                State::Plain(_) => continue,
                _ => {}
            }
            self.peers.at(peer).state = State::Down;
        }
    }
}
