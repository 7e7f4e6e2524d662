//! What an operator decides: names, addresses, who is whose peer, limits.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// Everything one server process needs to know, checked and complete.
#[derive(Clone, Debug)]
pub struct Config {
    /// The herd's id: peers of another herd are refused in the greeting.
    pub herd: String,
    /// This server's name: the second field of every AT line it makes.
    pub name: String,
    /// Where clients connect.
    pub client_address: SocketAddr,
    /// Where peers connect.
    pub peer_address: SocketAddr,
    /// Everyone this server is linked with, in the order of the configuration.
    pub peers: Vec<Peer>,
    /// Bare AT lines on the client port count as reports (loopback only).
    pub accept_plain: bool,
    /// What the sender of an older IAMAT is answered with.
    pub stale_reply: StaleReply,
    /// Close a client's connection after its first answer.
    pub close_after_reply: bool,
    pub places: Places,
    pub limits: Limits,
    pub log: Log,
    /// Holds the admin socket and the pid file.
    pub run_dir: PathBuf,
}

/// One neighbour in the graph of the herd.
#[derive(Clone, Debug)]
pub struct Peer {
    pub name: String,
    pub address: Address,
    pub initiative: Initiative,
    pub kind: LinkKind,
}

/// A host and a port. The host may be a name, which is resolved when it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    pub host: String,
    pub port: u16,
}

/// Who opens the connection of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Initiative {
    Ours,
    Theirs,
}

/// How the two ends of a link talk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkKind {
    /// Greeted, kept open and pinged, on the peer port.
    Herd,
    /// The course's habit: one connection to the client port for each AT line.
    Plain,
}

/// What the sender of an IAMAT older than the stored report is answered with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StaleReply {
    /// The line the sender just sent, stamped by this server.
    #[default]
    Own,
    /// The newer line that this server holds.
    Stored,
}

/// Where the places of WHATSAT come from.
#[derive(Clone, Debug)]
pub struct Places {
    pub source: PlacesSource,
    /// Base URL of a remote source; `None` is the service's own.
    pub url: Option<String>,
    /// Key of a remote source.
    pub key: Option<Secret>,
    /// How long a WHATSAT waits for its answer, in the wheel of the loop.
    pub deadline: Duration,
    /// Threads that ask remote sources.
    pub workers: usize,
    /// Questions that may wait for a thread; more are refused at once.
    pub queue_max: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PlacesSource {
    Embedded,
    GoogleLegacy,
}

/// A text that must never be shown: it has no `Display`, and its `Debug` hides it.
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// The text itself. Call it only where it leaves for the service it opens.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret(…)")
    }
}

#[derive(Clone, Debug)]
pub struct Log {
    pub dir: PathBuf,
    pub level: log::LevelFilter,
}

/// A bound on everything; each default and its reason stands in `limits`.
#[derive(Clone, Debug)]
pub struct Limits {
    /// Longest command of a client, in bytes without its terminator.
    pub line_bytes_max: usize,
    /// Bytes without a newline after which a client is hung up on.
    pub endless_bytes_max: usize,
    /// Longest line of a peer, in bytes without its terminator.
    pub peer_line_bytes_max: usize,
    /// Connections of clients at a time. `None`: as many as the descriptors allow.
    pub connections_max: Option<usize>,
    /// Bytes owed to a client above which its commands are no longer read.
    pub high_water_bytes: usize,
    /// Bytes owed to a client above which it is hung up on.
    pub outbox_bytes_max: usize,
    /// Bytes owed to a peer above which floods to it are held back and repaired later.
    pub peer_outbox_bytes_max: usize,
    /// Commands of one connection that may wait for an answer at a time.
    pub waits_max: usize,
    /// Clients known; IAMATs of new ones are refused beyond it.
    pub clients_max: usize,
    pub idle: Duration,
    pub first_byte: Duration,
    pub partial_line: Duration,
    pub write_stall: Duration,
    pub dial: Duration,
    pub greeting: Duration,
    /// Silence of a peer after which it is asked for a sign of life.
    pub ping_after: Duration,
    /// Silence of a peer after which it counts as dead.
    pub silence_max: Duration,
    pub backoff_min: Duration,
    pub backoff_max: Duration,
    /// How long a drain may take before the process exits all the same.
    pub drain: Duration,
}
