//! A fake connection: two pipes of bytes that deliver in random pieces, break and go silent. Apart
//! because it knows neither what the bytes mean nor when they move; `world` decides that.

use herd::core::names::{ConnId, Door};

/// Who is at one end of a wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// A server, in one of its lives.
    Server {
        server: usize,
        life: u32,
    },
    Talker(usize),
}

/// What lies at one end of a wire.
pub struct End {
    pub party: Party,
    /// On its way to this end.
    pub incoming: Vec<u8>,
    /// The far end will put nothing more into the pipe.
    pub finished: bool,
    /// A delivery is on the agenda.
    pub due: bool,
    /// This end still believes in the connection.
    pub alive: bool,
}

pub struct Wire {
    pub ends: [End; 2],
    /// Nothing is carried any more, whether or not the ends have noticed.
    pub cut: bool,
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
    pub fn conn(self, door: Door) -> ConnId {
        ConnId::new(door, self.wire as u64, 2 * self.wire + self.end)
    }

    pub fn of(conn: ConnId) -> At {
        At { wire: conn.slot() / 2, end: conn.slot() % 2 }
    }
}

impl Wire {
    pub fn between(one: Party, other: Party) -> Wire {
        let end =
            |party| End { party, incoming: Vec::new(), finished: false, due: false, alive: true };
        Wire { ends: [end(one), end(other)], cut: false }
    }

    /// Whether servers are at both ends.
    pub fn is_link(&self) -> bool {
        self.ends.iter().all(|end| matches!(end.party, Party::Server { .. }))
    }

    pub fn is_whole(&self) -> bool {
        !self.cut && self.ends.iter().all(|end| end.alive)
    }
}
