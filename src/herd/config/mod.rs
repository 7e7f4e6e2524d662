//! What an operator decides: names, addresses, who is whose peer, limits.
//!
//! Everything behind it may trust a [`Config`]: it is complete and checked, and nothing in it has
//! to be filled in later. This module opens no socket and starts nothing; it reads herd.toml and
//! the key files, and resolves the host that this server binds.
//!
//! A herd comes from one of two places: [`presets`] (the herds of the course's years) or `file`
//! (herd.toml). Both give a [`Herd`], which is the graph, and [`Settings`], which is the rest.
//! [`layers`] lays flags and environment over them and takes one server's view: the [`Config`].
//!
//! What an operator can set is declared once, as a [`knob`]: in [`limits`], [`places`] and
//! [`settings`]. To add a limit, add its field and its declaration there, and use it.

pub mod access;
pub mod address;
pub mod changes;
pub mod engine;
pub mod example;
pub mod file;
pub mod herd;
pub mod herd_key;
pub mod key;
pub mod knob;
pub mod layers;
pub mod limits;
pub mod log_settings;
pub mod meant;
pub mod networks;
pub mod outgoing;
pub mod places;
pub mod presets;
pub mod regions;
pub mod rules;
mod selector;
pub mod settings;
pub mod shape;
pub mod share;
pub mod tls;
pub mod units;
pub mod url;

use std::error::Error;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use herd_web::access::Access;

pub use address::Address;
pub use changes::{Changes, Parsed};
pub use engine::{Addresses, Engine, OnEngine};
pub use herd::{Door, Herd, TlsClients};
pub use herd_key::{HerdKey, HerdKeys};
pub use key::Secret;
pub use limits::Limits;
pub use log_settings::Log;
pub use networks::Networks;
pub use places::{Places, PlacesSource};
pub use selector::HerdSelector;
pub use settings::{Answers, Journal, Nearby, Settings};
pub use shape::PlainShape;
pub use tls::{PeerTls, TlsDoor, TlsFiles, WebTls};

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
    /// Where clients connect by TLS, if that is not off.
    pub tls: Option<TlsDoor>,
    /// Whether links with peers are by TLS.
    pub tls_peers: PeerTls,
    /// Where phones and browsers report and ask, if that is not off.
    pub web: Option<SocketAddr>,
    /// Where operators ask by HTTP, if that is not off.
    pub operators: Option<SocketAddr>,
    /// Where clients report and ask by MQTT, if that is not off.
    pub mqtt: Option<SocketAddr>,
    /// By which they may call this machine, besides addresses in digits.
    pub http_hosts: Vec<String>,
    /// Proxies in front, which say which client they speak for.
    pub proxy_from: Networks,
    /// Everyone this server is linked with, in the order of the configuration.
    pub peers: Vec<Peer>,
    /// What peers prove to each other that they know, the newest first. Without any, they are
    /// believed by their names.
    pub keys: HerdKeys,
    /// By which servers tell each other instead of links, if it is on; it is the last of `peers`.
    pub engine: Engine,
    /// Who we are to it, and who else is on it.
    pub on_engine: OnEngine,
    /// Who may report and ask by HTTP; everybody, if there is none.
    pub access: Option<Arc<Access>>,
    /// All servers of the herd, itself and course servers among them.
    pub servers: Vec<String>,
    /// Bare AT lines on the client port count as reports of one of `servers` (loopback only).
    pub accept_plain: bool,
    pub answers: Answers,
    pub places: Places,
    pub limits: Limits,
    pub log: Log,
    pub journal: Journal,
    pub nearby: Nearby,
    /// Where the trace of the loop goes, if it is wanted.
    pub trace: Option<PathBuf>,
    /// Holds the admin socket and the pid file.
    pub run_dir: PathBuf,
    /// Its permissions, if it has to be made.
    pub run_dir_mode: u32,
}

impl Config {
    /// Differs where servers of one herd do not agree on what they should all be told.
    pub fn shared_fingerprint(&self) -> u64 {
        let core = &self.limits.core;
        let shared = (core.client_ahead_max, core.expire_after, core.compare_every);
        let mut servers = self.servers.clone();
        servers.sort();
        let mut hasher = DefaultHasher::new();
        let parts = &self.on_engine.parts;
        // Each region has holders of its own.
        let is_one_place = self.on_engine.regions.own.is_none();
        let held = || Vec::from_iter(servers.iter().map(|name| parts.held_by(name.as_bytes())));
        let held = is_one_place.then(held);
        let divided = (self.engine.parts, self.engine.copies, self.on_engine.regions.all());
        (&self.herd, servers, shared, held, divided).hash(&mut hasher);
        hasher.finish()
    }

    /// Whether the web port speaks TLS.
    pub fn web_tls(&self) -> WebTls {
        self.tls.as_ref().map_or(WebTls::Off, |door| door.web)
    }

    /// Every address that it listens on.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        let tls = self.tls.as_ref().and_then(|door| door.address);
        let always = [self.client_address, self.peer_address];
        let others = [self.web, self.operators, self.mqtt].into_iter().flatten();
        always.into_iter().chain(tls).chain(others).collect()
    }

    /// The same, unless two of its own ports are one: the system would say that another program has
    /// it.
    fn with_ports_apart(self) -> Result<Config, ConfigError> {
        let addresses = self.addresses();
        let is_one = |a: &SocketAddr, b: &SocketAddr| {
            let is_any = a.ip().is_unspecified() || b.ip().is_unspecified();
            a.port() == b.port() && (is_any || a.ip() == b.ip())
        };
        let mut earlier = addresses.iter().enumerate();
        let twice = earlier.find(|(at, a)| addresses[..*at].iter().any(|b| is_one(a, b)));
        let Some((_, address)) = twice else { return Ok(self) };
        Err(ConfigError::new(format!(
            "{} would have two of its ports on {address}: name another for one of them",
            self.name
        )))
    }

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
    /// No server: it carries what is told to all.
    Engine,
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

impl StaleReply {
    /// The word that an operator writes.
    pub fn name(self) -> &'static str {
        match self {
            StaleReply::Own => "own",
            StaleReply::Stored => "stored",
        }
    }
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

/// Why there is no [`Config`]: one message that names the thing and the way out.
///
/// Mistakes in herd.toml begin with `FILE:LINE: `, which editors and terminals make a link of.
#[derive(Clone, Debug)]
pub struct ConfigError {
    message: String,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl ConfigError {
    pub fn new(message: impl Into<String>) -> ConfigError {
        ConfigError { message: message.into(), source: None }
    }

    /// Names what lies behind it, which the message says in its own words.
    pub fn caused_by(self, source: impl Error + Send + Sync + 'static) -> ConfigError {
        ConfigError { source: Some(Arc::new(source)), ..self }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Error for ConfigError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.source.as_deref().map(|source| source as &(dyn Error + 'static))
    }
}
