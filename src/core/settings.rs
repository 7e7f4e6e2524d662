//! What a server is told once, when it is made. Apart from `lib.rs` because it is a list.

use std::fmt;
use std::rc::Rc;
use std::time::Duration;

use super::engine::EngineSettings;
use super::peers::table::PeerSettings;

/// What a server must be told once. `config` is where the values and their reasons come from.
///
/// Its `Debug` shows nothing: there are keys in it.
#[derive(Clone)]
pub struct Settings {
    /// Counted, because every report of a client borrows it while the store changes.
    pub name: Rc<[u8]>,
    /// The name of the herd: a peer of another one is refused.
    pub herd: Vec<u8>,
    /// In the order of their `PeerId`s.
    pub peers: Vec<PeerSettings>,
    /// By which news is told instead of links; it gets the `PeerId` behind the peers'.
    pub engine: Option<EngineSettings>,
    /// Servers of which bare AT lines on the client port are believed; without any, none is.
    pub plain_names: Vec<Vec<u8>>,
    /// Answer an older IAMAT with the newer report that is held.
    pub stale_reply_stored: bool,
    /// Close after the first answer.
    pub close_after_reply: bool,
    /// How long a WHATSAT waits for the source of places.
    pub answer_timeout: Duration,
    /// The bounds that an operator may set.
    pub limits: Limits,
    /// Connections on the peer port that have not shown who they are. Each lasts for the
    /// greeting's patience at most; beyond so many, the oldest must go.
    pub strangers_max: usize,
    /// Keys of the herd, the newest first. Without any, peers are believed by their names.
    pub keys: Vec<[u8; 32]>,
    /// What digests are keyed with; `None`: the newest key.
    pub digest_key: Option<[u8; 32]>,
    /// News is given to a journal (`Outputs::news`).
    pub keeps_journal: bool,
    /// Where jitter comes from: the same seed, the same life.
    pub seed: u64,
    /// What nonces are made of; nobody else may know it.
    pub nonce_key: [u8; 32],
}

/// What an operator may bound. In the configuration, each is declared with the reason for the value
/// that operators get.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Answers of one connection that may wait.
    pub waits_max: usize,
    /// Clients that may be known; reports of further ones are refused where they are first heard.
    pub clients_max: usize,
    /// Memory for reports and their index, in bytes. As `clients_max`, it holds where reports are
    /// first heard, and not for what peers tell.
    pub store_bytes_max: usize,
    /// Longest client id that is taken from a client.
    pub id_bytes_max: usize,
    /// Bytes owed to a peer above which floods to it are held back.
    pub peer_outbox_bytes_max: usize,
    /// How far ahead of our clock a client's may be, if there is a bound.
    pub client_ahead_max: Option<Duration>,
    /// A report is forgotten so long after its server heard it, if ever. The same at all servers.
    pub expire_after: Option<Duration>,
    /// How often a link's two ends look whether they hold the same; `None` for once.
    pub compare_every: Option<Duration>,
    /// How long a link's greeting may take, from the connection on.
    pub greeting: Duration,
    /// A peer that has said nothing for so long is asked for a sign of life.
    pub ping_after: Duration,
    /// A link on which nothing was heard for so long is given up.
    pub silence_max: Duration,
    /// The wait before another dial: it grows with each attempt, and chance takes up to half off.
    pub backoff_min: Duration,
    /// What the wait before another dial grows to at most.
    pub backoff_max: Duration,
}

/// As [`Settings::new`] has them, for simulations, tests and first steps: hardly any bound, and
/// short times. An operator's are declared in the configuration of the crate `herd`.
impl Default for Limits {
    fn default() -> Limits {
        Limits {
            waits_max: 16,
            clients_max: usize::MAX,
            store_bytes_max: usize::MAX,
            id_bytes_max: 8_192,
            peer_outbox_bytes_max: 256 * 1024,
            client_ahead_max: None,
            expire_after: None,
            compare_every: None,
            greeting: Duration::from_millis(500),
            ping_after: Duration::from_secs(1),
            silence_max: Duration::from_secs(3),
            backoff_min: Duration::from_millis(100),
            backoff_max: Duration::from_millis(200),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Settings(…)")
    }
}

impl Settings {
    /// A server without keys and without limits, whose times are short: for simulations, tests and
    /// first steps. An operator's come from the configuration.
    pub fn new(name: &str, herd: &str, peers: Vec<PeerSettings>) -> Settings {
        Settings {
            name: name.as_bytes().into(),
            herd: herd.as_bytes().to_vec(),
            peers,
            engine: None,
            plain_names: Vec::new(),
            stale_reply_stored: false,
            close_after_reply: false,
            answer_timeout: Duration::from_secs(1),
            limits: Limits::default(),
            strangers_max: 64,
            keys: Vec::new(),
            digest_key: None,
            keeps_journal: false,
            seed: 0,
            nonce_key: [7; 32],
        }
    }
}
