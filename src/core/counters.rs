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
