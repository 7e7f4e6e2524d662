//! All that a server writes into its log, apart from the lines of clients and peers: a closed list.
//! An event begins with its name, which does not change, and goes on with `key=value`. What is
//! behind a colon is for people: details, or what an operator can do. The table is in
//! `PRODUCTION.md`.

mod members;

use std::fmt::{self, Display};
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use herd_core::names::{ConnId, ConnKind};
use herd_core::session::CloseReason;
use log::{Level, Record};

/// Something that an operator may want to know.
pub enum Event<'a> {
    Listening {
        name: &'a str,
        herd: &'a str,
        clients: &'a dyn Display,
        tls: Option<SocketAddr>,
        peers: &'a dyn Display,
        web: Option<SocketAddr>,
        operators: Option<SocketAddr>,
        mqtt: Option<SocketAddr>,
        connections_max: usize,
    },
    /// It was told to stop, and takes so long at most.
    Stopping {
        grace: Duration,
        lame_duck: Duration,
        drain: Duration,
    },
    DrainPhase {
        phase: &'static str,
        meaning: &'a dyn Display,
    },
    /// A signal to stop, to a server that an operator has told to drain.
    StopNoted,
    StoppingAtOnce {
        why: &'static str,
    },
    NotHandedOver {
        peer: &'a str,
    },
    ReportsAtRisk {
        warning: &'a str,
    },
    Stopped,
    LogReopened,
    /// An operator wants so much logged, or no longer does.
    LogLevel {
        level: &'a str,
        time: Option<Duration>,
    },
    Reloaded {
        changes: &'a str,
    },
    ReloadRefused {
        error: &'a str,
    },
    Connected {
        conn: ConnId,
        from: Option<SocketAddr>,
    },
    Closed {
        conn: ConnId,
        reason: CloseReason,
        error: Option<&'a dyn Display>,
    },
    /// A line has no end for so long that it is taken for whole.
    LineTimeout {
        conn: ConnId,
    },
    Refused {
        conn: ConnId,
        reason: &'static str,
    },
    OtherProtocol {
        conn: ConnId,
        protocol: &'static str,
    },
    /// All others had to wait for so long. `work` says what ran.
    SlowTurn {
        took: Duration,
        others: u64,
        ready: usize,
        work: &'a str,
    },
    /// A client or a peer by TLS does not get through; the first of each in a minute.
    HandshakeFailed {
        conn: ConnId,
        why: &'a str,
    },
    /// A request by HTTP is refused, whatever it wants; the first in a minute.
    WebRefused {
        conn: ConnId,
        reason: &'static str,
    },
    CertificateLoaded {
        /// In POSIX seconds.
        expires: u64,
    },
    AcceptFailed {
        error: &'a dyn Display,
    },
    Dialing {
        conn: ConnId,
        address: SocketAddr,
    },
    DialFailed {
        peer: &'a str,
        address: &'a dyn Display,
        reason: &'a str,
    },
    LinkUp {
        peer: &'a str,
        conn: ConnId,
    },
    LinkDown {
        peer: &'a str,
        conn: ConnId,
        reason: &'static str,
    },
    PeerUnreachable {
        peer: &'a str,
    },
    PeerBehind {
        peer: &'a str,
    },
    CoursePeerOverflow {
        peer: &'a str,
    },
    NameConflict {
        peer: &'a str,
        joined: &'a str,
        refused: &'a str,
    },
    ClockAhead {
        conn: ConnId,
        ahead: &'a str,
    },
    StoreFull {
        clients: usize,
        bytes: usize,
    },
    TooManyNewcomers {
        conn: ConnId,
    },
    JournalLoaded {
        clients: usize,
        reports: u64,
        segments: usize,
        torn_bytes: u64,
        took: Duration,
    },
    JournalDamaged {
        segment: &'a dyn Display,
        from: u64,
        to: u64,
    },
    JournalIncomplete {
        segment: &'a dyn Display,
    },
    /// The disk takes nothing for now.
    JournalRefused {
        error: &'a str,
    },
    JournalGoesOn,
    /// What was written and not synced may be lost.
    JournalFailed {
        error: &'a str,
    },
    /// Answers have waited for too long.
    JournalBroken {
        then: &'static str,
    },
    JournalMended,
    /// No file is removed for so long, or files are removed again.
    JournalHeld {
        time: Option<Duration>,
    },
    JournalNotKept,
    /// So much of what was loaded has expired that the clock is probably wrong.
    ClockDoubted {
        expired: usize,
        clients: usize,
    },
    PlacesLoaded {
        summary: &'a str,
    },
    /// The new places are so few that it may be a mistake.
    PlacesShrunk {
        places: usize,
        before: usize,
    },
    PlacesNotLoaded {
        error: &'a str,
    },
    PlacesServiceSuspended {
        error: &'a str,
    },
    PlacesServiceResumed,
    PlacesServiceRefuses {
        error: &'a str,
    },
    PlacesServiceAccepts,
    /// What was spent at a places service today cannot be read or written.
    CallsUncounted {
        error: &'a str,
    },
    TraceWritten {
        records: usize,
        path: &'a Path,
    },
    TraceNotWritten {
        error: &'a str,
    },
}

impl Event<'_> {
    /// Writes it into the log.
    pub fn log(&self) {
        let level = self.level();
        if level <= log::max_level() {
            let target = module_path!();
            let mut about = Record::builder();
            about.level(level).target(target).key_values(self);
            log::logger().log(&about.args(format_args!("{self}")).build());
        }
    }

    fn level(&self) -> Level {
        match self {
            Event::Connected { conn, .. }
            | Event::Closed { conn, .. }
            | Event::LineTimeout { conn }
                if is_by_the_way(*conn) =>
            {
                Level::Debug
            }
            Event::Dialing { .. } | Event::DialFailed { .. } => Level::Debug,
            Event::Listening { .. }
            | Event::Stopping { .. }
            | Event::DrainPhase { .. }
            | Event::StopNoted
            | Event::NotHandedOver { .. }
            | Event::Stopped
            | Event::LogReopened
            | Event::LogLevel { .. }
            | Event::Reloaded { .. }
            | Event::Connected { .. }
            | Event::Closed { .. }
            | Event::LineTimeout { .. }
            | Event::LinkUp { .. }
            | Event::JournalLoaded { .. }
            | Event::JournalGoesOn
            | Event::JournalMended
            | Event::JournalHeld { .. }
            | Event::CertificateLoaded { .. }
            | Event::PlacesLoaded { .. }
            | Event::TraceWritten { .. } => Level::Info,
            Event::ReloadRefused { .. }
            | Event::PlacesNotLoaded { .. }
            | Event::CallsUncounted { .. } => Level::Error,
            _ => Level::Warn,
        }
    }
}

/// Whether connections of this kind come and go too often to be logged.
fn is_by_the_way(conn: ConnId) -> bool {
    matches!(conn.kind(), ConnKind::Admin | ConnKind::Operator | ConnKind::Web | ConnKind::Mqtt)
}

/// The kind of a connection, as its events name it.
fn kind(conn: ConnId) -> &'static str {
    match conn.kind() {
        ConnKind::Client => "client",
        ConnKind::Peer => "peer",
        ConnKind::Course => "course peer",
        ConnKind::Admin => "admin",
        ConnKind::Operator => "operator",
        ConnKind::Web => "web",
        ConnKind::Mqtt => "mqtt",
        ConnKind::Engine => "engine",
    }
}

impl Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::Listening {
                name,
                herd,
                clients,
                tls,
                peers,
                web,
                operators,
                mqtt,
                connections_max,
            } => {
                let show = |door: Option<SocketAddr>| {
                    door.map_or("off".to_owned(), |address| address.to_string())
                };
                let [tls, web, operators, mqtt] = [tls, web, operators, mqtt].map(show);
                write!(
                    f,
                    "server listening name={name} herd={herd} clients={clients} tls={tls} \
                     peers={peers} web={web} operators={operators} mqtt={mqtt} \
                     connections_max={connections_max}"
                )
            }
            Event::Stopping { grace, lame_duck, drain } => {
                let times = [grace, lame_duck, drain];
                let [grace, lame_duck, drain] = times.map(|time| time.as_millis());
                let name = "server stopping";
                write!(f, "{name} grace_ms={grace} lame_duck_ms={lame_duck} drain_ms={drain}")
            }
            Event::DrainPhase { phase, meaning } => write!(f, "drain phase={phase}: {meaning}"),
            Event::StopNoted => {
                write!(f, "stop noted: the drain goes on; another signal ends it at once")
            }
            Event::StoppingAtOnce { why } => write!(f, "server stopping at once reason={why:?}"),
            Event::NotHandedOver { peer } => {
                write!(f, "reports not confirmed peer={peer}")
            }
            Event::ReportsAtRisk { warning } => write!(f, "reports at risk: {warning}"),
            Event::Stopped => write!(f, "server stopped"),
            Event::LogReopened => write!(f, "log reopened"),
            Event::LogLevel { level, time } => {
                write!(f, "log level to={level}")?;
                time.map_or(Ok(()), |time| write!(f, " ms={}", time.as_millis()))
            }
            Event::Reloaded { changes } => write!(f, "configuration reloaded: {changes}"),
            Event::ReloadRefused { error } => {
                write!(f, "reload refused error={error:?}: nothing has changed")
            }
            Event::Connected { conn, from } => {
                write!(f, "{} connected conn={conn}", kind(conn))?;
                from.map_or(Ok(()), |from| write!(f, " from={from}"))
            }
            Event::Closed { conn, reason, error } => {
                write!(f, "{} closed conn={conn} reason={reason}", kind(conn))?;
                error.map_or(Ok(()), |error| write!(f, " error=\"{error}\""))
            }
            Event::LineTimeout { conn } => {
                write!(f, "{} line timeout conn={conn}", kind(conn))
            }
            _ => self.fmt_of_loop(f),
        }
    }
}

impl Event<'_> {
    /// Of connections that do not go well, and of the loop.
    fn fmt_of_loop(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::Refused { conn, reason } => {
                write!(f, "connection refused conn={conn} reason={reason:?}")
            }
            Event::OtherProtocol { conn, protocol } => {
                write!(f, "other protocol conn={conn} protocol={protocol}")
            }
            Event::SlowTurn { took, others, ready, work } => {
                write!(f, "slow turn us={} others={others} ready={ready} {work}", took.as_micros())
            }
            Event::HandshakeFailed { conn, why } => {
                write!(f, "tls handshake failed conn={conn} reason={why:?}")
            }
            Event::WebRefused { conn, reason } => {
                write!(f, "web refused conn={conn} reason={reason}")
            }
            Event::CertificateLoaded { expires } => {
                write!(f, "certificate loaded expires={expires}")
            }
            Event::AcceptFailed { error } => {
                write!(f, "accept failed error=\"{error}\": new connections wait")
            }
            Event::Dialing { conn, address } => write!(f, "dial conn={conn} address={address}"),
            Event::DialFailed { peer, address, reason } => {
                write!(f, "dial failed peer={peer} address={address} reason={reason:?}")
            }
            _ => self.fmt_of_herd(f),
        }
    }

    /// Of peers and of reports.
    fn fmt_of_herd(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::LinkUp { peer, conn } => write!(f, "peer link up peer={peer} conn={conn}"),
            Event::LinkDown { peer, conn, reason } => {
                write!(f, "peer link down peer={peer} conn={conn} reason={reason:?}")
            }
            Event::PeerUnreachable { peer } => {
                write!(f, "peer unreachable peer={peer}: it is dialled again and again")
            }
            Event::PeerBehind { peer } => {
                write!(f, "peer behind peer={peer}: what it misses is sent later")
            }
            Event::CoursePeerOverflow { peer } => {
                write!(f, "course peer overflow peer={peer}: it will miss reports")
            }
            Event::NameConflict { peer, joined, refused } => write!(
                f,
                "name conflict peer={peer} joined={joined} refused={refused}: two servers have one \
                 name, give each its own"
            ),
            Event::ClockAhead { conn, ahead } => write!(
                f,
                "report refused reason=clock_ahead conn={conn} ahead={ahead:?}: set the clock that \
                 is wrong, or client_ahead_max in herd.toml"
            ),
            Event::StoreFull { clients, bytes } => write!(
                f,
                "report refused reason=store_full clients={clients} bytes={bytes}: raise \
                 clients_max or store_bytes_max in herd.toml, or forget old ones by expire_after"
            ),
            Event::TooManyNewcomers { conn } => write!(
                f,
                "report refused reason=new_clients conn={conn}: its address reports more new \
                 clients than new_clients_per_s in herd.toml allows"
            ),
            _ => self.fmt_of_journal(f),
        }
    }

    fn fmt_of_journal(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::JournalLoaded { clients, reports, segments, torn_bytes, took } => write!(
                f,
                "journal loaded clients={clients} reports={reports} segments={segments} \
                 torn_bytes={torn_bytes} ms={}",
                took.as_millis()
            ),
            Event::JournalDamaged { segment, from, to } => write!(
                f,
                "journal damaged segment={segment} from={from} to={to}: what it held comes from \
                 peers, and all that is known is written anew"
            ),
            Event::JournalIncomplete { segment } => {
                write!(f, "journal incomplete segment={segment}: what it held comes from peers")
            }
            Event::JournalRefused { error } => write!(
                f,
                "journal refused error={error:?}: answers wait until the disk has room, which is \
                 tried again and again"
            ),
            Event::JournalGoesOn => write!(f, "journal goes on"),
            Event::JournalFailed { error } => write!(
                f,
                "journal failed error={error:?}: answers wait until all that is known is written \
                 anew; look after the disk"
            ),
            Event::JournalBroken { then } => write!(f, "journal broken: {then}"),
            Event::JournalMended => write!(f, "journal mended"),
            Event::JournalHeld { time: Some(time) } => {
                write!(f, "journal held ms={}", time.as_millis())
            }
            Event::JournalHeld { time: None } => write!(f, "journal released"),
            Event::JournalNotKept => write!(f, "journal not kept"),
            Event::ClockDoubted { expired, clients } => write!(
                f,
                "clock doubted expired={expired} clients={clients}: most of what was kept is older \
                 than expire_after; if the clock is wrong, set it, stop, and bring the files back \
                 that are in `aside` by then"
            ),
            _ => self.fmt_of_places(f),
        }
    }

    /// Of places and of the trace.
    fn fmt_of_places(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Event::PlacesLoaded { summary } => write!(f, "places loaded: {summary}"),
            Event::PlacesShrunk { places, before } => write!(
                f,
                "places shrunk places={places} before={before}: if that is a mistake, mend the \
                 file and send SIGHUP again"
            ),
            Event::PlacesNotLoaded { error } => {
                write!(f, "places not loaded error={error:?}: there are none")
            }
            Event::PlacesServiceSuspended { error } => write!(
                f,
                "places service suspended error={error:?}: it fails, and is tried now and then"
            ),
            Event::PlacesServiceResumed => write!(f, "places service resumed"),
            Event::PlacesServiceRefuses { error } => {
                write!(f, "places service refuses error={error:?}")
            }
            Event::PlacesServiceAccepts => write!(f, "places service accepts"),
            Event::CallsUncounted { error } => write!(
                f,
                "calls uncounted error={error:?}: the budget of the day does not outlive a restart"
            ),
            Event::TraceWritten { records, path } => {
                write!(f, "trace written records={records} path={}", path.display())
            }
            Event::TraceNotWritten { error } => write!(f, "trace not written error={error:?}"),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
