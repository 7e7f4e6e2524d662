//! What a server counts: for its status, for simulations and for tests.

/// What a server has counted since it started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Lines that were taken, of clients and of peers.
    pub lines_in: u64,
    /// Those of peers, and of strangers on the peer port.
    pub peer_lines: u64,
    /// WHATSATs of clients.
    pub whatsats: u64,
    /// Lines of clients that are neither IAMAT nor WHATSAT.
    pub other_lines: u64,
    /// Lines of clients that were answered with `?`.
    pub rejected: u64,
    /// Those that were WHATSATs, about nobody who is known or too wide.
    pub unanswerable: u64,
    /// Those that were IAMATs from the future.
    pub ahead: u64,
    /// WHATSATs whose places did not come in time.
    pub late: u64,
    /// Reports that were better than what was held, from clients and from peers.
    pub news: u64,
    /// Reports that were not.
    pub stale: u64,
    /// Those of peers that were better.
    pub peer_news: u64,
    /// Those of peers that were not.
    pub peer_stale: u64,
    /// Connections to the peer port that were not a peer's, and links that broke the protocol.
    pub refused: u64,
    /// The same by reason: `refused_for[why as usize]`.
    pub refused_for: [u64; RefusedFor::ALL.len()],
    /// IAMATs of new clients that were one too many of an address.
    pub newcomers_refused: u64,
    /// Leaves of the digest that differed from a peer's.
    pub differences: u64,
    /// Reports of clients that were refused because the store is full.
    pub full: u64,
    /// Reports of clients that were refused because the journal is broken.
    pub unkept_refused: u64,
    /// Reports that were forgotten because nothing newer came for too long.
    pub expired: u64,
    /// Reports that were looked at one by one: to be sent to a peer that had missed something of
    /// their leaf, or to be forgotten.
    pub walked: u64,
}

impl Counters {
    pub(crate) fn refuse(&mut self, why: RefusedFor) {
        self.refused += 1;
        self.refused_for[why as usize] += 1;
    }
}

/// Why somebody on the peer port is turned away, in few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedFor {
    /// No server of this herd that we have a link with.
    Stranger,
    /// A server of another herd.
    OtherHerd,
    /// It does not prove that it has the key.
    WrongKey,
    /// No greeting, or none in time.
    NoGreeting,
    /// A peer of that name is joined, and alive.
    Double,
    /// A link that was up has said what no peer says.
    Protocol,
}

impl RefusedFor {
    /// All of them, each at its place: `ALL[why as usize]`.
    pub const ALL: [RefusedFor; 6] = [
        RefusedFor::Stranger,
        RefusedFor::OtherHerd,
        RefusedFor::WrongKey,
        RefusedFor::NoGreeting,
        RefusedFor::Double,
        RefusedFor::Protocol,
    ];

    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            RefusedFor::Stranger => "stranger",
            RefusedFor::OtherHerd => "other_herd",
            RefusedFor::WrongKey => "wrong_key",
            RefusedFor::NoGreeting => "no_greeting",
            RefusedFor::Double => "double",
            RefusedFor::Protocol => "protocol",
        }
    }
}

/// Why a link that was up is over, in few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LostFor {
    /// The connection has ended, and the peer has not said why.
    FarEnd,
    /// Nothing was heard for too long.
    Silent,
    /// The peer stops, and has said so.
    Bye,
    /// The peer has come again by another connection.
    Replaced,
    /// The configuration has it no more.
    Removed,
    /// One of the two has said what no peer says, or will have no link.
    Protocol,
}

impl LostFor {
    /// All of them, each at its place: `ALL[why as usize]`.
    pub const ALL: [LostFor; 6] = [
        LostFor::FarEnd,
        LostFor::Silent,
        LostFor::Bye,
        LostFor::Replaced,
        LostFor::Removed,
        LostFor::Protocol,
    ];

    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            LostFor::FarEnd => "far_end",
            LostFor::Silent => "silent",
            LostFor::Bye => "bye",
            LostFor::Replaced => "replaced",
            LostFor::Removed => "removed",
            LostFor::Protocol => "protocol",
        }
    }

    /// Of what the log says: the reason of `Note::PeerDown`.
    pub fn of(why: &str) -> LostFor {
        match why {
            CLOSED | CONNECTION_LOST => LostFor::FarEnd,
            SILENT => LostFor::Silent,
            SAID_BYE | KEEPS_ALL => LostFor::Bye,
            REPLACED => LostFor::Replaced,
            REMOVED => LostFor::Removed,
            _ => LostFor::Protocol,
        }
    }
}

// Reasons that links end for, as the log has them.
pub(crate) const CLOSED: &str = "it has closed";
pub(crate) const CONNECTION_LOST: &str = "connection lost";
pub(crate) const SILENT: &str = "silent for too long";
pub(crate) const SAID_BYE: &str = "it said good-bye";
pub(crate) const KEEPS_ALL: &str = "it keeps what we knew";
pub(crate) const REPLACED: &str = "replaced by a newer connection";
/// It dials until it reads its own configuration again.
pub(crate) const REMOVED: &str = "its link was removed";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_have_places_and_words() {
        let refused = RefusedFor::ALL.map(|why| (why as usize, why.name()));
        let lost = LostFor::ALL.map(|why| (why as usize, why.name()));
        for reasons in [refused, lost] {
            let mut words = reasons.map(|(_, word)| word);
            words.sort_unstable();
            assert!(words.windows(2).all(|pair| pair[0] != pair[1]));
            assert!(reasons.iter().enumerate().all(|(at, (place, _))| at == *place));
        }
        assert_eq!(LostFor::of(CLOSED), LostFor::FarEnd);
        assert_eq!(LostFor::of("does not share a key with us"), LostFor::Protocol);
    }
}
