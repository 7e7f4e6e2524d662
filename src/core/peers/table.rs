//! The table of peers: who they are, and how far each link has come. What moves a peer from state
//! to state, and dials it again, is in `peers`.

use std::collections::VecDeque;
use std::ops::Range;
use std::time::Duration;

use super::course::PlainPeer;
use super::course_frame::Frame;
use super::handover::Heir;
use super::line_mac::{Abilities, Claim, RunId};
use super::link::Link;
use super::peer_clock::PeerClock;
use crate::border::Outputs;
use crate::engine::Engine;
use crate::names::{ConnId, PeerId};
use crate::store::Key;
use crate::wire::{Report, server_of};

/// What a server must know of a peer.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// The name by which it must greet us.
    pub name: Vec<u8>,
    /// We open the connection; otherwise we wait for theirs.
    pub dials: bool,
    /// The peer knows only the course's wire, with this around its lines.
    pub plain: Option<Frame>,
}

/// How far a link has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkState {
    /// They dial, and have not.
    Down,
    /// We dial, and wait for the time of the next attempt.
    Waiting,
    /// We have dialled, and the connection is not there yet.
    Dialing,
    /// Connected, and the greeting is not over.
    Greeting,
    /// Greeted: reports are flooded over it.
    Up,
    /// A course server: connected only while there is something to tell.
    Plain,
    /// Its link was removed: it is nobody until it is configured again.
    Removed,
}

/// What there is to see of a peer from outside.
#[derive(Clone, Copy, Debug)]
pub struct PeerView {
    /// How far the link with it has come.
    pub state: LinkState,
    /// Dials after the first.
    pub redials: u64,
    /// Why there is no link, if one of the two has said so.
    pub trouble: Option<&'static str>,
    /// The connection of the link that is up.
    pub conn: Option<ConnId>,
    /// When it came up.
    pub since: Option<Duration>,
    /// When we last held all that the peer held, as a comparison on this link or an earlier one
    /// has shown.
    pub even_at: Option<Duration>,
    /// It is up, and the peer can be asked whether it has told all that we have missed.
    pub knows_even: bool,
    /// What was measured of the peer's clock on it.
    pub clock: Option<PeerClock>,
    /// What the peer held when it first told its digest on it, if we did not hold the same: a
    /// digest, which ours becomes when all of it has come and nothing else.
    pub first_root: Option<u64>,
    /// When the peer last said anything on it.
    pub heard: Option<Duration>,
    /// Bytes sent on it that the peer has not taken.
    pub owed: usize,
    /// There is more to be said on it than there was room for.
    pub is_behind: bool,
    /// So many parts of the store among that.
    pub leaves_missed: usize,
}

/// Everyone this server is linked with.
pub(crate) struct Peers {
    list: Vec<Peer>,
    /// Connections on the peer port that have not shown who they are, the oldest first.
    pub strangers: VecDeque<Stranger>,
    pub random: fastrand::Rng,
    news: News,
}

/// News that is to be passed on before the input is over: to ask of each line whether each peer can
/// be sent it takes as long as a quarter of an answer.
struct News {
    /// The peer that has told it.
    source: Option<PeerId>,
    /// In the text of the outputs, where they follow each other; `NOWHERE` before the first.
    lines: Range<usize>,
    /// Of the client of each line.
    keys: Vec<Key>,
}

const NOWHERE: Range<usize> = usize::MAX..usize::MAX;

/// A connection on the peer port that has not shown which peer it is.
pub(crate) struct Stranger {
    pub conn: ConnId,
    /// Nobody else can say anything on it.
    pub is_secret: bool,
    /// Who it says that it is. Without keys there is nothing to be shown, and this is not used.
    pub claims: Option<Claims>,
}

pub(crate) struct Claims {
    pub peer: PeerId,
    pub claim: Claim,
    pub theirs: Abilities,
}

pub(crate) struct Peer {
    pub name: Vec<u8>,
    pub dials: bool,
    pub redials: u64,
    pub state: State,
    /// The process that was last replaced by another one while its link was up.
    pub replaced: Option<RunId>,
    /// Why there is no link, if one of the two has said so.
    pub trouble: Option<&'static str>,
    /// When we last held all that it held, as far as it has said.
    pub even_at: Option<Duration>,
    /// Whether it would have our reports if we were gone.
    pub heir: Heir,
}

/// `attempt` counts the dials since the peer was last up for long.
pub(crate) enum State {
    Down,
    Waiting {
        attempt: u32,
    },
    Dialing {
        attempt: u32,
    },
    Greeting {
        conn: ConnId,
        nonce: u128,
        attempt: u32,
        /// Nobody else can say anything on it.
        is_secret: bool,
    },
    Up {
        link: Link,
        attempt: u32,
    },
    Plain(PlainPeer),
    /// No server: the engine that all are told by. It is lent while it is being told something.
    Engine(Option<Box<Engine>>),
    /// The tombstone of a link that was removed: its `PeerId` names nobody else.
    Removed,
}

impl Peer {
    fn new(settings: &PeerSettings) -> Peer {
        Peer {
            name: settings.name.clone(),
            dials: settings.dials && settings.plain.is_none(),
            redials: 0,
            replaced: None,
            trouble: None,
            even_at: None,
            heir: Heir::None,
            state: match &settings.plain {
                Some(frame) => State::Plain(PlainPeer::new(frame.clone())),
                None => State::Down,
            },
        }
    }

    /// Tells it news of a client, if it can hear: a line in the text of the outputs.
    fn tell(&mut self, peer: PeerId, line: Range<usize>, key: Key, out: &mut Outputs) {
        match &mut self.state {
            State::Up { link, .. } => link.flood(peer, key, line, out),
            // What it reported itself it knows; another server's report, it may not have.
            State::Plain(plain) if *self.name != *server_of(&out.text[line.clone()]) => {
                let fields = Report::fields_of(&out.text[line]);
                let place = plain.queue(Report::from_fields(fields).client);
                plain.queued(peer, place, out);
            }
            State::Engine(Some(engine)) => engine.flood(peer, key, line, out),
            _ => {}
        }
    }
}

impl Peers {
    pub fn new(settings: &[PeerSettings], seed: u64) -> Peers {
        Peers {
            list: settings.iter().map(Peer::new).collect(),
            strangers: VecDeque::new(),
            random: fastrand::Rng::with_seed(seed),
            news: News { source: None, lines: NOWHERE, keys: Vec::new() },
        }
    }

    /// Gives this name to a peer that has none yet, or that was removed.
    ///
    /// invariant: `peer` is the next name or a removed peer's
    pub fn add(&mut self, peer: PeerId, settings: &PeerSettings) {
        let at = usize::from(peer.0);
        if at == self.list.len() {
            return self.list.push(Peer::new(settings));
        }
        debug_assert!(self.is_removed(peer), "a name is given once");
        let redials = self.list[at].redials;
        self.list[at] = Peer { redials, ..Peer::new(settings) };
    }

    /// Whether this name is a peer's that has not been removed.
    pub fn is_known(&self, peer: PeerId) -> bool {
        usize::from(peer.0) < self.list.len() && !self.is_removed(peer)
    }

    fn is_removed(&self, peer: PeerId) -> bool {
        matches!(self.list[usize::from(peer.0)].state, State::Removed)
    }

    /// Whether a peer of this name was removed.
    pub fn was_removed(&self, name: &[u8]) -> bool {
        self.list.iter().any(|peer| peer.name == name && matches!(peer.state, State::Removed))
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
            State::Engine(_) => LinkState::Down,
            State::Removed => LinkState::Removed,
        };
        let link = match &peer.state {
            State::Up { link, .. } => Some(link),
            _ => None,
        };
        let view = PeerView {
            state,
            redials: peer.redials,
            trouble: peer.trouble,
            conn: link.map(|link| link.conn),
            since: link.map(|link| link.since),
            even_at: peer.even_at,
            knows_even: link.is_some_and(|link| link.knows_even),
            clock: link.and_then(|link| link.clock.last),
            first_root: link.and_then(|link| link.first_root),
            heard: link.map(|link| link.heard),
            owed: link.map_or(0, |link| link.owed),
            is_behind: link.is_some_and(Link::is_behind),
            leaves_missed: link.map_or(0, |link| link.missed.leaves()),
        };
        match &peer.state {
            State::Engine(Some(engine)) => engine.peer_view(view),
            _ => view,
        }
    }

    /// Whether a peer would have our reports if we were gone, and its link if that is still up.
    pub fn heir(&self, peer: PeerId) -> (Heir, Option<&Link>) {
        let peer = &self.list[usize::from(peer.0)];
        match &peer.state {
            State::Up { link, .. } => (peer.heir, Some(link)),
            _ => (peer.heir, None),
        }
    }

    /// Whether this server is linked with no one.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Whether this server is linked with anyone but this peer.
    pub fn are_others_than(&self, peer: PeerId) -> bool {
        (0..self.list.len()).any(|at| at != usize::from(peer.0))
    }

    /// Passes news of a client on to every peer that can hear, but the one that has told it: a line
    /// in the text of the outputs. One that follows on another is only noted, until `pass_on_rest`;
    /// the first is not, so that peers are sent something before any client is answered.
    #[inline(never)]
    pub fn pass_on(
        &mut self,
        source: Option<PeerId>,
        line: Range<usize>,
        key: Key,
        out: &mut Outputs,
    ) {
        if self.news.lines.end == line.start && self.news.source == source {
            self.news.lines.end = line.end;
            self.news.keys.push(key);
        } else {
            self.pass_on_first(source, line, key, out);
        }
    }

    #[inline(never)]
    fn pass_on_first(
        &mut self,
        source: Option<PeerId>,
        line: Range<usize>,
        key: Key,
        out: &mut Outputs,
    ) {
        self.pass_on_rest(out);
        self.tell_all(source, line.clone(), &[key], out);
        (self.news.source, self.news.lines) = (source, line.end..line.end);
    }

    /// Passes on what was only noted: what comes does not follow on it, or the input is over.
    #[inline(always)]
    pub fn pass_on_rest(&mut self, out: &mut Outputs) {
        if !self.news.keys.is_empty() {
            self.pass_on_noted(out);
        }
        self.news.lines = NOWHERE;
    }

    #[inline(never)]
    fn pass_on_noted(&mut self, out: &mut Outputs) {
        let mut keys = std::mem::take(&mut self.news.keys);
        self.tell_all(self.news.source, self.news.lines.clone(), &keys, out);
        keys.clear();
        self.news.keys = keys;
    }

    /// Tells news to every peer but its source: lines in the text of the outputs, which follow each
    /// other, and the clients that they are about.
    fn tell_all(
        &mut self,
        source: Option<PeerId>,
        lines: Range<usize>,
        keys: &[Key],
        out: &mut Outputs,
    ) {
        for (at, entry) in self.list.iter_mut().enumerate() {
            let peer = PeerId(at as u16);
            if Some(peer) == source {
                continue;
            }
            let is_told = match &mut entry.state {
                State::Up { link, .. } => link.flood_all(lines.clone(), out),
                State::Engine(Some(engine)) => engine.flood_all(keys, lines.clone(), out),
                State::Plain(_) => false,
                // It cannot hear.
                _ => true,
            };
            if is_told {
                continue;
            }
            let mut start = lines.start;
            for &key in keys {
                let length = memchr::memchr(b'\n', &out.text[start..lines.end]);
                let end = length.map_or(lines.end, |length| start + length + 1);
                entry.tell(peer, start..end, key, out);
                start = end;
            }
        }
    }

    /// Adds the engine, behind all peers that are there.
    pub fn add_engine(&mut self, engine: Engine) {
        let (name, plain) = (b"engine".to_vec(), None);
        let peer = Peer::new(&PeerSettings { name, dials: true, plain });
        self.list.push(Peer { state: State::Engine(Some(Box::new(engine))), ..peer });
    }

    /// The place of the engine, if this herd has one.
    pub fn engine(&mut self) -> Option<(PeerId, &mut Option<Box<Engine>>)> {
        self.list.iter_mut().enumerate().find_map(|(at, peer)| match &mut peer.state {
            State::Engine(engine) => Some((PeerId(at as u16), engine)),
            _ => None,
        })
    }

    /// The engine, to be looked at.
    pub fn engine_view(&self) -> Option<&Engine> {
        self.list.iter().find_map(|peer| match &peer.state {
            State::Engine(engine) => engine.as_deref(),
            _ => None,
        })
    }

    /// Takes a connection out of the strangers, if it is one.
    pub fn take_stranger(&mut self, conn: ConnId) -> Option<Stranger> {
        let at = self.strangers.iter().position(|stranger| stranger.conn == conn)?;
        self.strangers.remove(at)
    }

    pub fn name(&self, peer: PeerId) -> &[u8] {
        &self.list[usize::from(peer.0)].name
    }

    pub fn plain(&mut self, peer: PeerId) -> Option<&mut PlainPeer> {
        match &mut self.at(peer).state {
            State::Plain(plain) => Some(plain),
            _ => None,
        }
    }

    /// The course server of this name.
    pub fn plain_named(&self, name: &[u8]) -> Option<PeerId> {
        let is_named = |peer: &Peer| peer.name == name && matches!(peer.state, State::Plain(_));
        self.list.iter().position(is_named).map(|at| PeerId(at as u16))
    }

    /// How each course server spells a report.
    pub fn frames(&self) -> impl Iterator<Item = &Frame> {
        self.list.iter().filter_map(|peer| match &peer.state {
            State::Plain(plain) => Some(plain.frame()),
            _ => None,
        })
    }

    pub fn at(&mut self, peer: PeerId) -> &mut Peer {
        &mut self.list[usize::from(peer.0)]
    }

    /// Nobody else can say anything on this connection.
    pub fn is_secret(&mut self, conn: ConnId) {
        if let Some(stranger) = self.strangers.iter_mut().find(|stranger| stranger.conn == conn) {
            stranger.is_secret = true;
        }
        if let Some(peer) = self.peer_on(conn)
            && let State::Greeting { is_secret, .. } = &mut self.at(peer).state
        {
            *is_secret = true;
        }
    }

    /// The peer at the other end of a connection, if it is greeted or being greeted.
    pub fn peer_on(&self, conn: ConnId) -> Option<PeerId> {
        let is_there = |peer: &Peer| match &peer.state {
            State::Greeting { conn: greeting, .. } => *greeting == conn,
            State::Up { link, .. } => link.conn == conn,
            _ => false,
        };
        self.list.iter().position(is_there).map(|at| PeerId(at as u16))
    }

    /// The link that is up on this connection.
    pub fn link(&mut self, conn: ConnId) -> Option<(PeerId, &mut Link)> {
        let peer = self.peer_on(conn)?;
        match &mut self.at(peer).state {
            State::Up { link, .. } => Some((peer, link)),
            _ => None,
        }
    }

    /// Bytes sent on this link that the far end has not taken.
    pub fn owed(&self, conn: ConnId) -> Option<usize> {
        self.list.iter().find_map(|peer| match &peer.state {
            State::Up { link, .. } if link.conn == conn => Some(link.owed),
            _ => None,
        })
    }

    /// The peer of this name, unless it is a course server or an engine, which never greet, or was
    /// removed.
    pub fn named(&self, name: &[u8]) -> Option<PeerId> {
        let greets = |peer: &Peer| {
            !matches!(peer.state, State::Plain(_) | State::Engine(_) | State::Removed)
        };
        let is_named = |peer: &Peer| peer.name == name && greets(peer);
        self.list.iter().position(is_named).map(|at| PeerId(at as u16))
    }
}
