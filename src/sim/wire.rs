//! A fake connection: two pipes of bytes that deliver in random pieces, stall, break and go silent.
//! It knows neither what the bytes mean nor when they move; `world` decides that.

use std::time::Duration;

use herd_core::names::{ConnId, ConnKind};

/// The party at one end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// A server, in one of its runs.
    Server {
        server: usize,
        run: u32,
    },
    Client(usize),
    /// A client of the peer port that is no server.
    Stranger,
    /// A node of the engine.
    Node(usize),
}

/// What lies at one end of a wire.
pub struct End {
    pub party: Party,
    /// On its way to this end.
    pub incoming: Vec<u8>,
    /// A line that was not sent as a whole so far, where some are taken out.
    begun: Vec<u8>,
    /// The far end has closed its side: nothing more will come.
    pub finished: bool,
    /// A delivery is scheduled.
    pub due: bool,
    /// This end still takes the connection for alive.
    pub alive: bool,
    /// Nothing reaches this end any more, and it does not know.
    pub deaf: bool,
}

pub struct Wire {
    pub ends: [End; 2],
    /// Carries nothing until then, and loses nothing by it.
    pub stalled_until: Duration,
    /// Everything takes longer here.
    pub slow: bool,
    /// All bytes that the end that dialled has sent, if they are recorded.
    pub tape: Vec<u8>,
    /// The end whose next bytes an attacker will change.
    pub meddler: Option<usize>,
    /// Bytes came out that did not go in, or one end is a stranger.
    pub is_forged: bool,
}

/// One end of one wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct At {
    pub wire: usize,
    pub end: usize,
}

impl At {
    pub fn far(self) -> At {
        At { end: 1 - self.end, ..self }
    }

    /// The connection's name at this end, from which `At::of` finds the way back.
    pub fn conn(self, kind: ConnKind) -> ConnId {
        ConnId::new(kind, self.wire as u64, 2 * self.wire + self.end)
    }

    pub fn of(conn: ConnId) -> At {
        At { wire: conn.slot() / 2, end: conn.slot() % 2 }
    }
}

impl End {
    /// Takes the first bytes that are on their way.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        if count >= self.incoming.len() {
            return std::mem::take(&mut self.incoming);
        }
        let rest = self.incoming.split_off(count);
        std::mem::replace(&mut self.incoming, rest)
    }
}

impl Wire {
    pub fn between(one: Party, other: Party, slow: bool) -> Wire {
        let end = |party| End {
            party,
            incoming: Vec::new(),
            begun: Vec::new(),
            finished: false,
            due: false,
            alive: true,
            deaf: false,
        };
        let (stalled_until, tape) = (Duration::ZERO, Vec::new());
        let ends = [end(one), end(other)];
        let is_forged = ends.iter().any(|end| end.party == Party::Stranger);
        Wire { ends, stalled_until, slow, tape, meddler: None, is_forged }
    }

    /// What of these bytes, and of those before, goes on to an end if nobody may learn there what
    /// it has missed: lines without the digest of everything.
    pub fn without_roots(&mut self, end: usize, bytes: &[u8]) -> Vec<u8> {
        let begun = &mut self.ends[end].begun;
        begun.extend_from_slice(bytes);
        let whole = memchr::memrchr(b'\n', begun).map_or(0, |newline| newline + 1);
        let rest = begun.split_off(whole);
        let lines = std::mem::replace(begun, rest);
        let lines = lines.split_inclusive(|&byte| byte == b'\n');
        lines.filter(|line| !line.starts_with(b"ROOT ")).flatten().copied().collect()
    }

    /// Whether servers tell each other by it.
    pub fn is_link(&self) -> bool {
        let is_of_herd = |end: &End| matches!(end.party, Party::Server { .. } | Party::Node(_));
        self.ends.iter().all(is_of_herd)
    }

    /// What a server takes it for.
    pub fn kind(&self) -> ConnKind {
        match self.ends[1].party {
            Party::Client(_) => ConnKind::Client,
            Party::Node(_) => ConnKind::Engine,
            _ => ConnKind::Peer,
        }
    }

    pub fn is_whole(&self) -> bool {
        self.ends.iter().all(|end| end.alive && !end.deaf)
    }

    /// Whether bytes were forged on it, and every server that has an end of it takes it for alive.
    pub fn is_believed(&self) -> bool {
        let is_server = |end: &End| matches!(end.party, Party::Server { .. });
        self.is_forged && self.ends.iter().all(|end| end.alive || !is_server(end))
    }

    /// Whether an end still takes a connection for alive that does not work.
    pub fn deceives(&self) -> bool {
        // A node learns by itself, sooner or later.
        let trusts = |end: &End| end.alive && !matches!(end.party, Party::Node(_));
        !self.is_whole() && self.ends.iter().any(trusts)
    }
}
