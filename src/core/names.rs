//! Names that never lie: counters that are never given out twice. Apart because both halves of
//! the house use them; they hold nothing and look nothing up.
//!
//! A slab slot and a file descriptor are places: when their owner dies, a stranger moves in. A
//! name is for ever. The name of something that is gone finds nothing, which is why nothing in
//! this house is ever cancelled.

use std::fmt;

/// What kind of connection it is, which settles once and for all how its bytes are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnKind {
    /// Accepted on the client port.
    Client,
    /// Accepted on the peer port, or dialled to one.
    Peer,
    /// Dialled to the client port of a server that knows only the course's wire.
    Course,
    /// Accepted on the admin socket.
    Admin,
    /// Accepted on the operators' port, which speaks HTTP.
    Operator,
    /// Accepted on the web port: a client that speaks HTTP.
    Web,
    /// Accepted on the port for MQTT: a client that speaks that.
    Mqtt,
    /// Dialled to an engine, which carries what servers tell each other.
    Engine,
}

impl ConnKind {
    /// All of them, each at its place: `ALL[kind as usize]`.
    pub const ALL: [ConnKind; 8] = [
        ConnKind::Client,
        ConnKind::Peer,
        ConnKind::Course,
        ConnKind::Admin,
        ConnKind::Operator,
        ConnKind::Web,
        ConnKind::Mqtt,
        ConnKind::Engine,
    ];

    /// Whether it is somebody's who reports and asks, in whatever language.
    pub fn is_client(self) -> bool {
        matches!(self, ConnKind::Client | ConnKind::Web | ConnKind::Mqtt)
    }

    /// Whether the core looks after it: what it is owed, and when it is silent for too long.
    pub fn is_bounded_by_core(self) -> bool {
        matches!(self, ConnKind::Peer | ConnKind::Engine)
    }

    /// The word for it in logs, in metrics and in the names of connections.
    pub fn name(self) -> &'static str {
        match self {
            ConnKind::Client => "client",
            ConnKind::Peer => "peer",
            ConnKind::Course => "course",
            ConnKind::Admin => "admin",
            ConnKind::Operator => "operator",
            ConnKind::Web => "web",
            ConnKind::Mqtt => "mqtt",
            ConnKind::Engine => "engine",
        }
    }
}

/// A connection's name: its kind and a serial number.
///
/// The reactor packs the slot beside them, so that it finds the connection without a search; the
/// serial number tells it whether the slot still holds that one. The core only compares.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnId(u64);

impl ConnId {
    const SLOT_BITS: u32 = 20;
    const KIND_BITS: u32 = 3;
    /// Slots that a name can carry.
    pub const SLOTS_MAX: usize = 1 << Self::SLOT_BITS;
    /// At 5,000 connections a second, 41 bits last for 13 years.
    const SERIALS_MAX: u64 = 1 << (u64::BITS - Self::SLOT_BITS - Self::KIND_BITS);

    /// Panics if the serial number or the slot has more bits than a name has room for.
    pub fn new(kind: ConnKind, serial: u64, slot: usize) -> ConnId {
        assert!(slot < Self::SLOTS_MAX && serial < Self::SERIALS_MAX, "a name must fit 64 bits");
        let number = serial << Self::KIND_BITS | kind as u64;
        ConnId(number << Self::SLOT_BITS | slot as u64)
    }

    /// How its bytes are read: it is a part of the name, and never changes.
    pub fn kind(self) -> ConnKind {
        match (self.0 >> Self::SLOT_BITS) & 0b111 {
            0 => ConnKind::Client,
            1 => ConnKind::Peer,
            2 => ConnKind::Course,
            3 => ConnKind::Admin,
            4 => ConnKind::Operator,
            5 => ConnKind::Web,
            6 => ConnKind::Mqtt,
            _ => ConnKind::Engine,
        }
    }

    /// Where the reactor looks for it, below `SLOTS_MAX`; a place that others get after it.
    pub fn slot(self) -> usize {
        (self.0 & (Self::SLOTS_MAX as u64 - 1)) as usize
    }

    /// Counts the connections since the start: who came later has a greater one.
    pub fn serial(self) -> u64 {
        self.0 >> (Self::SLOT_BITS + Self::KIND_BITS)
    }
}

impl fmt::Display for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.kind().name(), self.serial())
    }
}

impl fmt::Debug for ConnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// A peer's name: its place in the list of the configuration, which does not change at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct PeerId(pub u16);

/// Names a question to the places until it is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_gives_back_what_went_in() {
        for (at, kind) in ConnKind::ALL.into_iter().enumerate() {
            assert_eq!(kind as usize, at);
            for (serial, slot) in [(0, 0), (1, ConnId::SLOTS_MAX - 1), (ConnId::SERIALS_MAX - 1, 7)]
            {
                let name = ConnId::new(kind, serial, slot);
                assert_eq!((name.kind(), name.serial(), name.slot()), (kind, serial, slot));
            }
        }
        assert_eq!(ConnId::new(ConnKind::Client, 17, 3).to_string(), "client-17");
    }
}
