//! What an operator decides: names, addresses, who is whose peer, limits.
//!
//! It stands apart so that everything behind it may trust a [`Config`]: complete, checked, and free
//! of optional things that somebody would have to fill in later. It opens no socket and starts
//! nothing; it reads herd.toml and the key files, and resolves the host that this server binds.
//!
//! A herd comes from one of two places: [`presets`] (the herds of the course's years) or [`file`]
//! (herd.toml). Both give a [`Herd`], which is the graph, and [`Settings`], which is the rest.
//! [`layers`] lays flags and environment over them and takes one server's view: the [`Config`].

pub mod address;
pub mod durations;
pub mod file;
pub mod herd;
pub mod herd_key;
pub mod key;
pub mod layers;
pub mod limits;
pub mod outgoing;
pub mod presets;
pub mod settings;
pub mod shape;
pub mod share;
pub mod url;

use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

pub use address::Address;
pub use herd::Herd;
pub use herd_key::HerdKey;
pub use key::Secret;
pub use limits::Limits;
pub use settings::Settings;
pub use shape::PlainShape;

/// A complete herd.toml with every key explained: `herd example-config` prints it.
pub const EXAMPLE: &str = include_str!("herd.toml");

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
    /// What peers prove to each other that they know, the newest first. Without any, they are
    /// believed by their names.
    pub keys: Vec<HerdKey>,
    /// All servers of the herd, itself and course servers among them.
    pub servers: Vec<String>,
    /// Bare AT lines on the client port count as reports of one of `servers` (loopback only).
    pub accept_plain: bool,
    /// What the sender of an older IAMAT is answered with.
    pub stale_reply: StaleReply,
    /// Close a client's connection after its first answer.
    pub close_after_reply: bool,
    pub places: Places,
    pub limits: Limits,
    pub log: Log,
    /// Where the trace of the loop goes, if it is wanted.
    pub trace: Option<PathBuf>,
    /// Holds the admin socket and the pid file.
    pub run_dir: PathBuf,
    /// Its permissions, if it has to be made.
    pub run_dir_mode: u32,
}

impl Config {
    /// Tells two configurations apart, but for their keys: for `herd start`, which says so if a
    /// server runs with others than it would be started with.
    pub fn fingerprint(&self) -> String {
        let mut hasher = DefaultHasher::new();
        // What must stay secret has a `Debug` that hides it.
        format!("{self:?}").hash(&mut hasher);
        format!("{:016x}", hasher.finish())
    }
}

/// One neighbour in the graph of the herd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    pub name: String,
    pub address: Address,
    pub initiative: Initiative,
    pub kind: LinkKind,
    /// How it wants its lines, if the link is plain.
    pub shape: PlainShape,
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
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
    /// The operator's own places; `Some` for source `File`.
    pub file: Option<PathBuf>,
    /// Whom answers from `file` must name as its origin, in HTML.
    pub attribution: Option<String>,
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
    /// Calls of a remote source in a day (UTC); `None`: as many as are asked for.
    pub calls_per_day: Option<usize>,
    /// Questions for a remote source that one client address may ask for long, and at once.
    pub questions_per_second: usize,
    pub questions_at_once: usize,
    /// Clients on this machine are held to that, too.
    pub limits_loopback: bool,
    /// Remote sources are asked through the proxy that the environment names.
    pub proxy_from_env: bool,
    /// Certificates that a remote source's must come from, instead of the usual ones.
    pub ca_file: Option<PathBuf>,
    /// Answers of Overpass that are kept, and how long.
    pub kept_max: usize,
    pub kept: Duration,
}

/// Who is asked what is near a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlacesSource {
    /// The atlas of towns inside the program: no key, no network.
    #[default]
    Embedded,
    /// The operator's own, from a file.
    File,
    /// Google's Places API (New), Nearby Search.
    GoogleNew,
    /// Google's Places API (Legacy), Nearby Search.
    GoogleLegacy,
    /// OpenStreetMap, by way of an Overpass API server.
    Overpass,
}

impl std::str::FromStr for StaleReply {
    type Err = String;

    fn from_str(text: &str) -> Result<StaleReply, String> {
        match text {
            "own" => Ok(StaleReply::Own),
            "stored" => Ok(StaleReply::Stored),
            _ => Err("write own or stored".into()),
        }
    }
}

impl PlacesSource {
    const ALL: [PlacesSource; 5] = [
        PlacesSource::Embedded,
        PlacesSource::File,
        PlacesSource::GoogleNew,
        PlacesSource::GoogleLegacy,
        PlacesSource::Overpass,
    ];

    /// The name an operator writes.
    pub fn name(self) -> &'static str {
        match self {
            PlacesSource::Embedded => "embedded",
            PlacesSource::File => "file",
            PlacesSource::GoogleNew => "google-new",
            PlacesSource::GoogleLegacy => "google-legacy",
            PlacesSource::Overpass => "overpass",
        }
    }

    /// It is asked over the network.
    pub fn is_remote(self) -> bool {
        !matches!(self, PlacesSource::Embedded | PlacesSource::File)
    }

    /// It costs money, and so has keys.
    pub fn is_paid(self) -> bool {
        matches!(self, PlacesSource::GoogleNew | PlacesSource::GoogleLegacy)
    }
}

impl std::str::FromStr for PlacesSource {
    type Err = String;

    fn from_str(text: &str) -> Result<PlacesSource, String> {
        let found = PlacesSource::ALL.into_iter().find(|source| source.name() == text);
        found.ok_or_else(|| {
            let names = PlacesSource::ALL.map(PlacesSource::name).join(", ");
            format!("the sources of places are {names}")
        })
    }
}

/// What is written to the log, and where.
#[derive(Clone, Debug)]
pub struct Log {
    /// Holds one file for each server.
    pub dir: PathBuf,
    /// `Info` logs connections and peers coming and going, `Debug` every line in and out as well.
    pub level: log::LevelFilter,
    /// Permissions of the files.
    pub mode: u32,
}

/// Why there is no [`Config`]: one sentence that names the thing and the way out.
///
/// Mistakes in herd.toml begin with `FILE:LINE: `, which editors and terminals make a link of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError(String);

impl ConfigError {
    pub fn new(sentence: impl Into<String>) -> ConfigError {
        ConfigError(sentence.into())
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for ConfigError {}
