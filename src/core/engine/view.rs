//! What there is to see of the engine from outside.

use super::{Engine, NotBelieved, Phase, QuestionCounters};
use crate::Server;
use crate::parts::Part;
use crate::peers::table::{LinkState, PeerView};

/// How far the connection with the engine has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EngineState {
    /// It could not be reached, and will be dialled again.
    Waiting,
    /// It is being dialled.
    Dialing,
    /// Connected; it has not said anything yet.
    Connecting,
    /// It has introduced itself, and so have we.
    Informed,
    /// News goes to and fro.
    Up,
    /// It does not let us in, and will be dialled again.
    Denied,
}

impl EngineState {
    /// All of them.
    pub const ALL: [EngineState; 6] = [
        EngineState::Waiting,
        EngineState::Dialing,
        EngineState::Connecting,
        EngineState::Informed,
        EngineState::Up,
        EngineState::Denied,
    ];

    /// The word for it in status and metrics.
    pub fn name(self) -> &'static str {
        match self {
            EngineState::Waiting => "waiting",
            EngineState::Dialing => "dialing",
            EngineState::Connecting => "connecting",
            EngineState::Informed => "informed",
            EngineState::Up => "up",
            EngineState::Denied => "denied",
        }
    }
}

/// What was counted of the engine since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct EngineCounters {
    /// Batches of other servers that were believed.
    pub batches_in: u64,
    /// Their lines.
    pub lines_in: u64,
    /// Batches that were published for all.
    pub batches_out: u64,
    /// Their lines.
    pub lines_out: u64,
    /// Lines that other regions were told, and lines of theirs.
    pub abroad: [u64; 2],
    /// Batches that others have published and that did not come.
    pub gaps: u64,
    /// Comparisons that we have asked for.
    pub asks: u64,
    /// Batches that were not believed: `refused[why as usize]`.
    pub refused: [u64; NotBelieved::ALL.len()],
}

/// What there is to see of the engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EngineView {
    /// How far the connection has come.
    pub state: EngineState,
    /// Why it does not let us in.
    pub denied: Option<&'static str>,
    /// Bytes that the node has not read, as far as is known.
    pub owed: usize,
    /// Parts of the store of which others may not have what we heard first.
    pub leaves_missed: usize,
    /// Other servers of which anything was heard on it.
    pub members_heard: usize,
    /// Parts that this server holds: one, if clients are not divided.
    pub parts: usize,
    /// Those of which all news has come. None, if clients are not divided.
    pub parts_complete: usize,
    /// Those that others are to hold, and that this one holds until they do.
    pub parts_moving: usize,
    /// What was counted.
    pub counters: EngineCounters,
    /// What was counted of questions about clients of parts that others hold.
    pub questions: QuestionCounters,
}

impl Engine {
    fn state(&self) -> EngineState {
        match self.phase {
            Phase::Up { .. } => EngineState::Up,
            _ if self.denied.is_some() => EngineState::Denied,
            Phase::Waiting { .. } | Phase::Left => EngineState::Waiting,
            Phase::Dialing { .. } => EngineState::Dialing,
            Phase::Connecting { .. } => EngineState::Connecting,
            Phase::Informed { .. } => EngineState::Informed,
        }
    }

    /// The same as of a peer.
    pub(crate) fn peer_view(&self, blank: PeerView) -> PeerView {
        let (state, since) = match self.phase {
            Phase::Waiting { .. } => (LinkState::Waiting, None),
            Phase::Dialing { .. } => (LinkState::Dialing, None),
            Phase::Connecting { .. } | Phase::Informed { .. } => (LinkState::Greeting, None),
            Phase::Up { since, .. } => (LinkState::Up, Some(since)),
            Phase::Left => (LinkState::Down, None),
        };
        PeerView {
            state,
            trouble: self.denied,
            conn: self.up(),
            since,
            knows_even: since.is_some(),
            heard: self.up().map(|_| self.heard),
            owed: self.owed(),
            is_behind: self.is_behind(),
            leaves_missed: self.missed.leaves(),
            ..blank
        }
    }
}

impl Server {
    /// The part that a client is in.
    pub fn part_of(&self, client: &[u8]) -> Part {
        let parts = self.settings.engine.as_ref().map(|engine| &engine.parts);
        parts.map_or(0, |parts| parts.of(self.store.key(client).leaf()))
    }

    /// Whether this server holds a part, and all news of it has come.
    pub fn is_complete(&self, part: Part) -> bool {
        self.peers.engine_view().is_some_and(|engine| engine.is_complete(part))
    }

    /// What there is to see of the engine, if there is one.
    pub fn engine(&self) -> Option<EngineView> {
        let engine = self.peers.engine_view()?;
        Some(EngineView {
            state: engine.state(),
            denied: engine.denied,
            owed: engine.owed(),
            leaves_missed: engine.missed.leaves(),
            members_heard: engine.members.iter().filter(|member| member.is_known()).count(),
            parts: engine.held.len(),
            parts_complete: engine.complete_parts(),
            parts_moving: engine.divided.moving.len(),
            counters: engine.counters,
            questions: engine.questions.counters,
        })
    }
}
