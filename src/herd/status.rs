//! What a server says of itself when it is asked through its admin socket.
//!
//! It belongs to neither end: the reactor fills a [`Status`], the command `herd status` shows it,
//! and `--json` passes it on to scripts. The exchange is one line each way: `status`, then the
//! JSON. `metrics` is answered with what is measured, `dump` with what the server knows.

use std::fmt;
use std::time::Duration;

use log::LevelFilter;
use serde::{Deserialize, Serialize};

/// The line that asks for a [`Status`].
pub const QUESTION: &str = "status\n";
/// The line that asks for what `/metrics` says at the operators' port.
pub const METRICS: &str = "metrics\n";
/// The line that asks for all reports: AT lines, and an empty one behind the last.
pub const DUMP: &str = "dump\n";

/// The line that has the configuration read again, and is answered with an [`Outcome`].
pub const RELOAD: &str = "reload\n";

/// What a server is told to do. It is answered with an [`Outcome`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Stop in good order, as by the first SIGTERM.
    Drain,
    /// Write all that is known anew to the journal, so that older files can go.
    Compact,
    /// Remove no file of the journal for so long; `None`: remove files again.
    Hold(Option<Duration>),
    /// Forget this client, in the whole herd.
    Forget(String),
    /// Log so much, for so long or for good.
    LogLevel { level: LevelFilter, time: Option<Duration> },
}

/// A sentence: what a server does now, or why it does not.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    Done(String),
    Refused(String),
}

impl Order {
    /// What is said to the admin socket, without a newline.
    pub fn parse(line: &[u8]) -> Option<Order> {
        let line = std::str::from_utf8(line).ok()?;
        if let Some(wanted) = line.strip_prefix("log-level ") {
            let (level, time) = wanted.split_once(' ').unzip();
            let time = time.map(str::parse).transpose().ok()?.map(Duration::from_millis);
            let level = level.unwrap_or(wanted).parse().ok()?;
            return Some(Order::LogLevel { level, time });
        }
        if let Some(client) = line.strip_prefix("forget ") {
            return Some(Order::Forget(client.to_owned()));
        }
        match line {
            "drain" => Some(Order::Drain),
            "journal compact" => Some(Order::Compact),
            "journal hold off" => Some(Order::Hold(None)),
            order => {
                let ms = order.strip_prefix("journal hold ")?.parse().ok()?;
                Some(Order::Hold(Some(Duration::from_millis(ms))))
            }
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Order::Drain => f.write_str("drain"),
            Order::Forget(client) => write!(f, "forget {client}"),
            Order::Compact => f.write_str("journal compact"),
            Order::Hold(None) => f.write_str("journal hold off"),
            Order::Hold(Some(time)) => write!(f, "journal hold {}", time.as_millis()),
            Order::LogLevel { level, time } => {
                write!(f, "log-level {level}")?;
                time.map_or(Ok(()), |time| write!(f, " {}", time.as_millis()))
            }
        }
    }
}

/// One server, as it sees itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    pub name: String,
    /// The herd's id.
    pub herd: String,
    pub version: String,
    pub pid: u32,
    /// When it began to listen, in seconds since 1970 began (POSIX time).
    pub since_posix_s: u64,
    /// How long ago that was, by a clock that is never set.
    pub uptime_s: u64,
    pub client_address: String,
    pub peer_address: String,
    /// Where clients connect by TLS; `None` if that is off.
    #[serde(default)]
    pub tls_address: Option<String>,
    /// Where phones and browsers report and ask; `None` if that is off.
    #[serde(default)]
    pub web_address: Option<String>,
    /// Where operators ask by HTTP; `None` if that is off.
    #[serde(default)]
    pub operators_address: Option<String>,
    /// Where clients report and ask by MQTT; `None` if that is off.
    #[serde(default)]
    pub mqtt_address: Option<String>,
    /// In the order of the configuration.
    pub peers: Vec<PeerStatus>,
    /// By which servers tell each other instead of links, if there is one.
    #[serde(default)]
    pub engine: Option<EngineStatus>,
    /// Clients whose report the store holds.
    pub clients_known: u64,
    /// Connections of clients, now and since the start.
    pub connections: u64,
    pub connections_total: u64,
    /// Lines read from clients and peers.
    pub lines_in: u64,
    /// Reports from clients and peers that the store did not, or did, have better.
    pub reports_news: u64,
    pub reports_stale: u64,
    /// The digest of all reports held: equal at all servers that hold the same.
    pub digest: String,
    /// Parts of the store that differed from a peer's when they were compared.
    pub differences: u64,
    /// Connections to the peer port that were no peer's, and links that broke the protocol.
    pub refused: u64,
    /// Reports of new clients that were one too many of their address.
    #[serde(default)]
    pub newcomers_refused: u64,
    /// Reports of clients that were refused because the store is full.
    #[serde(default)]
    pub reports_refused_full: u64,
    /// Reports that were forgotten because nothing newer came.
    pub reports_expired: u64,
    /// WHATSATs whose places are not there yet.
    pub questions_waiting: u64,
    /// Log lines lost because the disk was too slow or full.
    pub log_lines_dropped: u64,
    /// The source of places, and whether it is loaded or how it is.
    pub places: String,
    /// How a remote source of places is, and what it has cost.
    #[serde(default)]
    pub places_service: Option<ServiceStatus>,
    /// `None` if there is no journal.
    #[serde(default)]
    pub journal: Option<JournalStatus>,
    /// It was told to stop and finishes what it has begun.
    pub draining: bool,
    /// How far it is then: see "Drain" in `PRODUCTION.md`.
    #[serde(default)]
    pub drain_phase: Option<String>,
    /// How long that may take, from the first word on.
    #[serde(default)]
    pub drain_s: u64,
    /// Equal at two servers with the same settings: see `Config::fingerprint`.
    #[serde(default)]
    pub settings: String,
}

/// The engine that carries what servers tell each other, as one of them sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineStatus {
    /// waiting, dialing, connecting, informed, up or denied.
    pub state: String,
    /// Where it was dialled last.
    pub node: String,
    /// Bytes that it has not read, as far as is known.
    pub owed_bytes: u64,
    /// Parts of the store of which others may not have what was heard here.
    pub leaves_missed: u64,
    /// Batches of others that did not come.
    pub gaps: u64,
    /// Comparisons that were asked for.
    pub asks: u64,
    /// Batches that were not believed.
    pub refused: u64,
    /// Other servers that were heard on it.
    pub servers_heard: u64,
    /// Parts of all clients that it holds; 1, all of them, where they are not divided.
    pub parts: u64,
    /// Parts that there are.
    #[serde(default)]
    pub parts_in_all: u64,
    /// Those of which all has come that others have told; 0 where clients are not divided.
    #[serde(default)]
    pub parts_complete: u64,
    /// Those that others are to hold, and that this server holds until they do.
    pub parts_moving: u64,
    /// WHATSATs about clients of parts that it does not hold.
    #[serde(default)]
    pub questions: QuestionStatus,
    /// Why it does not let us in.
    pub trouble: Option<String>,
}

/// What became of the questions of a server since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuestionStatus {
    /// Those that other servers were asked.
    pub asked: u64,
    /// Of those, to which another server had a report.
    pub found: u64,
    /// Of those, to which none had one.
    pub none: u64,
    /// Times that nobody was there who holds the part.
    pub no_responders: u64,
    /// Times that an answer did not come in time.
    pub too_late: u64,
    /// Those that nobody could be asked.
    pub unasked: u64,
    /// Times that another region was asked.
    pub abroad: u64,
}

/// A page of connections.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionsPage {
    /// All that there are.
    pub total: u64,
    /// What to ask for `after` this page; `None` if it is the last.
    pub next: Option<String>,
    pub connections: Vec<ConnectionStatus>,
}

/// One connection.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionStatus {
    /// As the log names it: `client-17`.
    pub conn: String,
    /// client, peer, course, admin or operator.
    pub door: String,
    /// The far end; `None` for a Unix socket, or if it is gone.
    pub from: Option<String>,
    /// Since anything came or left, or the connection did.
    pub idle_ms: u64,
    /// Bytes that wait to be sent.
    pub owed_bytes: u64,
    /// It is not yet open, or will be closed when all is sent.
    pub is_closing: bool,
}

/// A service that is asked for places, as one server sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceStatus {
    pub state: ServiceState,
    pub calls_under_way: u64,
    /// Calls counted today (UTC), and how many more this server may make; `None`: any number.
    pub calls_today: u64,
    pub calls_left_today: Option<u64>,
    /// Elements of answers that could not be used, since the start.
    pub elements_skipped: u64,
    /// What went wrong last, if nothing has gone right since.
    pub trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ServiceState {
    Well,
    /// It answers, and says no.
    Refuses,
    /// It has failed repeatedly: one call tries it now and then.
    LeftAlone,
}

impl fmt::Display for ServiceStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.state {
            ServiceState::Well => "well",
            ServiceState::Refuses => "refuses",
            ServiceState::LeftAlone => "fails and is left alone",
        })?;
        if let Some(trouble) = &self.trouble {
            write!(f, " ({trouble})")?;
        }
        write!(f, ", calls: {} under way, {} today", self.calls_under_way, self.calls_today)?;
        if let Some(left) = self.calls_left_today {
            write!(f, ", {left} left")?;
        }
        if self.elements_skipped > 0 {
            write!(f, ", {} odd places skipped", self.elements_skipped)?;
        }
        Ok(())
    }
}

/// The journal of a server: what of its reports is on disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JournalStatus {
    /// What an answer waits for: `written` or `synced`.
    pub keep: String,
    pub state: JournalState,
    /// Bytes of reports since the start: given to the journal, taken by the system, on the disk.
    pub appended_bytes: u64,
    pub written_bytes: u64,
    pub synced_bytes: u64,
    /// How often it is synced.
    #[serde(default)]
    pub sync_every_ms: u64,
    /// For how long the oldest report that is not on the disk has waited for that.
    pub unsynced_ms: u64,
    /// Bytes of its files, but those that are old and being removed.
    pub file_bytes: u64,
    /// No file is removed for so long (`herd journal hold`).
    #[serde(default)]
    pub held_ms: u64,
    /// Answers wait for the disk.
    pub answers_wait: bool,
    /// They have waited for too long; `when_broken` says what becomes of reports: `refuse` or
    /// `serve`.
    #[serde(default)]
    pub broken: bool,
    #[serde(default)]
    pub when_broken: String,
    /// Reports that were refused, and answers that have left though what they rest on was not kept.
    #[serde(default)]
    pub refused: u64,
    #[serde(default)]
    pub unkept: u64,
    /// What the system said, if the disk takes nothing.
    pub trouble: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum JournalState {
    Well,
    /// All that is known is written anew, so that old files can go.
    Compacting,
    /// The same, because the disk has lost something: answers wait for it.
    StartingOver,
    /// The disk takes nothing: answers wait.
    Refused,
}

impl fmt::Display for JournalStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            JournalState::Well => "well",
            JournalState::Compacting => "compacting",
            JournalState::StartingOver => "starting over",
            JournalState::Refused => "refused",
        };
        let megabytes = self.file_bytes.div_ceil(1_000_000);
        write!(f, "{}, {state}, {megabytes} MB", self.keep)?;
        // So much is promised: a second, or two on a slow disk.
        if self.unsynced_ms > 2_000 {
            write!(f, ", not on the disk for {} ms", self.unsynced_ms)?;
        }
        match (self.broken, &*self.when_broken) {
            (true, "serve") => write!(f, ", answers are not kept")?,
            (true, _) => write!(f, ", reports are refused")?,
            (false, _) => {}
        }
        self.trouble.as_ref().map_or(Ok(()), |trouble| write!(f, " ({trouble})"))
    }
}

/// One neighbour, as the server sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    pub name: String,
    pub state: PeerState,
    /// We take the initiative.
    pub dials: bool,
    pub address: String,
    /// How often the link was dialled again.
    pub redials: u64,
    /// The link is up, and by TLS.
    #[serde(default)]
    pub tls: bool,
    /// Why there is no link, if one of the two has said so.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// A peer's life; `core::peers` is what moves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PeerState {
    /// Greeted: reports flow.
    Up,
    /// Backing off before it is dialled again.
    Waiting,
    Dialing,
    Greeting,
    /// It is the peer who dials, and it has not.
    Down,
    /// A course server, whose links have no state between two lines.
    Plain,
}
