//! The beginning: sockets bound, threads started, everything that the loop takes for granted. All
//! that can go wrong here concerns the operator and is reported in one message; nothing that goes
//! wrong later ends the process.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::{fmt, fs, io};

use mio::net::{TcpListener, UnixListener};
use mio::{Poll, Waker};
use ring::rand::{self, SystemRandom};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGXFSZ};
use signal_hook_mio::v1_0::Signals;

use super::clocks::Clocks;
use super::deadlines::Backlog;
use super::descriptors::Shares;
use super::journal::Durability;
use super::lame_duck::DrainPhase;
use super::listener::Listener;
use super::metrics::Counts;
use super::newcomers::Newcomers;
use super::passed::Passed;
use super::proxied::Heads;
use super::question_queue::Asked;
use super::questions::Places;
use super::slots::{Slot, Slots};
use super::turn_budget::Work;
use super::unwrapping::Wrapping;
use super::web::Web;
use super::worker_threads::{CompletionSender, Completions, PlacesPool, PoolId};
use super::{Due, READ_BUDGET, Reactor, SIGNALS, WAKER, engine, traced};
use crate::config::limits::{self, PEER_LINE_BYTES_CEILING};
use crate::config::{
    Config, ConfigError, HerdKey, Initiative, LinkKind, Peer, PeerTls, StaleReply, WebTls,
};
use crate::journal::{Journal, JournalError, JournalSettings};
use crate::logging::LogHandle;
use crate::logging::events::Event;
use crate::places::budget::{Ledger, Spent};
use crate::places::call_gate::CallGate;
use crate::places::{Remote, Supply};
use herd_core::border::Outputs;
use herd_core::clock::Now;
use herd_core::journal::writer::Owner;
use herd_core::names::ConnKind;
use herd_core::session::{BufferPool, DeadlineScan};
use herd_core::store::Store;
use herd_core::timer_wheel::TimerWheel;
use herd_core::{LINE_MAC_BYTES, PeerSettings, Server, Settings};

/// Connections that may wait in the kernel until they are accepted: as many as Linux allows by
/// default. mio asks for 128, which a few hundred clients at once overflow, and a client that finds
/// it full tries again after a whole second.
const BACKLOG: i32 = 4096;

/// How much longer than its drain a process that ends may hold its journal.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(2);

const _: () = assert!(PEER_LINE_BYTES_CEILING <= Store::REPORT_BYTES_MAX);
const _: () = assert!(limits::LINE_TAG_BYTES == LINE_MAC_BYTES);

/// Why a server cannot start. Its text is one message for the operator.
#[derive(Debug)]
pub enum StartError {
    /// Another process listens there already.
    Taken { address: SocketAddr, whose: &'static str },
    /// The address is not one of this machine, or needs rights that the process lacks.
    CannotListen { address: SocketAddr, whose: &'static str, error: io::Error },
    /// What has started the server has opened sockets for it that it has no use for.
    Passed { strange: Vec<String>, ports: Vec<String> },
    /// The admin socket cannot be made.
    AdminSocket { path: PathBuf, error: io::Error },
    /// The trace cannot be written there.
    Trace { path: PathBuf, error: io::Error },
    /// The journal cannot be kept.
    Journal(JournalError),
    /// The certificate for clients, or its key, cannot be used.
    Tls(ConfigError),
    /// The source of places is misconfigured.
    Places(String),
    /// The system grants fewer descriptors than there are uses for.
    Descriptors { granted: usize, needed: usize },
    /// The system refuses something that every process may have.
    System(&'static str, io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Taken { address, whose } => write!(
                f,
                "{address}, the {whose} port, is taken by another program; stop that program or \
                 choose other ports with --base-port or in herd.toml"
            ),
            StartError::CannotListen { address, whose, error } => {
                write!(
                    f,
                    "cannot listen on {address}, the {whose} port: {error}; choose an address of \
                     this machine and a port above 1023"
                )
            }
            StartError::Passed { strange, ports } => write!(
                f,
                "this server was passed {}, but its ports are {}; correct ListenStream= in the \
                 .socket unit, or herd.toml",
                strange.join(" and "),
                ports.join(", ")
            ),
            StartError::AdminSocket { path, error } => write!(
                f,
                "cannot create the admin socket {}: {error}; choose another place with --run-dir",
                path.display()
            ),
            StartError::Trace { path, error } => write!(
                f,
                "the trace cannot be written to {}: {error}; choose another place with --trace",
                path.display()
            ),
            StartError::Journal(error) => error.fmt(f),
            StartError::Tls(error) => error.fmt(f),
            StartError::Places(why) => f.write_str(why),
            StartError::Descriptors { granted, needed } => write!(
                f,
                "this server needs {needed} descriptors at least, and the system grants {granted}: \
                 allow it more (ulimit -n)"
            ),
            StartError::System(what, error) => write!(f, "cannot set up {what}: {error}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::CannotListen { error, .. }
            | StartError::AdminSocket { error, .. }
            | StartError::Trace { error, .. }
            | StartError::System(_, error) => Some(error),
            StartError::Journal(error) => Some(error),
            StartError::Tls(error) => Some(error),
            StartError::Taken { .. }
            | StartError::Passed { .. }
            | StartError::Places(_)
            | StartError::Descriptors { .. } => None,
        }
    }
}

/// The slots of the listeners that a drain closes.
pub struct Doors {
    /// Until it is shut.
    pub client: Option<usize>,
    /// Unless it is off, until it is shut.
    pub tls: Option<usize>,
    pub peer: usize,
    pub admin: usize,
    pub web: Option<usize>,
    /// Unless it is off.
    pub operators: Option<usize>,
    pub mqtt: Option<usize>,
}

/// Lets a write beyond the system's limit on the size of files fail as one to a full disk does.
/// Unless asked not to, the system ends the process (setrlimit(2), RLIMIT_FSIZE).
///
/// # Errors
/// The system's.
pub fn outlive_full_files() -> io::Result<()> {
    signal_hook::flag::register(SIGXFSZ, Arc::default()).map(drop)
}

impl Reactor {
    /// Binds, registers and starts everything. When it returns, clients can connect. Ports that
    /// were `passed` are not bound. `tell_loaded` hears what is loaded of a journal, in percent.
    /// `admin_path` is where the admin socket will be; anything that lies there is a leftover,
    /// because the caller holds the lock of the run directory.
    pub fn start(
        config: Config,
        admin_path: PathBuf,
        log: LogHandle,
        passed: Passed,
        tell_loaded: fn(u8),
    ) -> Result<Reactor, StartError> {
        let shares = Shares::claim(&config)?;
        let mut clocks = Clocks::new();
        let poll = Poll::new().map_err(|error| StartError::System("the event queue", error))?;
        let mut slots = Slots::new();
        let wrapping = Wrapping::open(&config)?;
        let doors = open_doors(&config, &poll, &mut slots, admin_path, passed)?;
        let signals = watch_signals(&poll)?;
        let (completion_sender, completions) = make_completions(&poll)?;
        let places = open_places(&config, &completion_sender)?;
        let mut server = Server::new(settings(&config, shares)?);
        let now = clocks.read(None);
        let durability = open_journal(&config, &mut server, now, &completion_sender, tell_loaded)?;
        let (trace, trace_file) = traced::start(&config)?;
        announce(&config, shares);
        Ok(Reactor {
            poll,
            slots,
            server,
            log,
            lent_level: None,
            now: clocks.read(None),
            clocks,
            wheel: TimerWheel::new(),
            scan: DeadlineScan::default(),
            backlog: Backlog::default(),
            counts: Counts::of(config.peers.len()),
            turn_times: Default::default(),
            caught_up: None,
            linked_at: Duration::ZERO,
            catching_up_look: Duration::ZERO,
            work: Work::default(),
            newcomers: Newcomers::new(&config.limits),
            heads: Heads::default(),
            out: Outputs::default(),
            deferred: VecDeque::new(),
            is_catching_up: false,
            unfinished: VecDeque::new(),
            unfinished_peers: VecDeque::new(),
            asked: Asked::default(),
            to_flush: VecDeque::new(),
            buffers: BufferPool::default(),
            scratch: vec![0; READ_BUDGET].into_boxed_slice(),
            fired: Vec::new(),
            signals,
            completion_sender,
            completions,
            places,
            wrapping,
            routes: engine::routes(&config),
            doors,
            shares,
            drain: None,
            dumps: Vec::new(),
            operators: Vec::new(),
            durability,
            web: Web::open()?,
            when_stopping: None,
            reload: None,
            trace,
            trace_file,
            config,
        })
    }

    /// Has `tell` called with each phase of the end, when it begins.
    pub fn when_stopping(&mut self, tell: Box<dyn FnMut(DrainPhase)>) {
        self.when_stopping = Some(tell);
    }

    /// Has `tell` called now, and then again and again while the loop turns. An idle loop wakes for
    /// it.
    pub fn when_alive(&mut self, every: Duration, tell: fn()) {
        tell();
        self.wheel.start(self.now.monotonic + every, Due::Pulse { every, tell });
    }
}

/// The log's first event.
fn announce(config: &Config, shares: Shares) {
    Event::Listening {
        name: &config.name,
        herd: &config.herd,
        clients: &config.client_address,
        tls: config.tls.as_ref().and_then(|door| door.address),
        peers: &config.peer_address,
        web: config.web,
        operators: config.operators,
        mqtt: config.mqtt,
        connections_max: shares.clients,
    }
    .log();
}

fn open_doors(
    config: &Config,
    poll: &Poll,
    slots: &mut Slots,
    admin_path: PathBuf,
    mut passed: Passed,
) -> Result<Doors, StartError> {
    passed.check(&config.addresses())?;
    let mut open = |address, whose| match passed.take(address) {
        Some(listener) => take_over(listener, address, whose),
        None => listen(address, whose),
    };
    let client = open(config.client_address, "client")?;
    let tls = config.tls.as_ref().and_then(|door| door.address);
    let tls = tls.map(|address| open(address, "TLS")).transpose()?;
    let peer = open(config.peer_address, "peer")?;
    let web = config.web.map(|address| open(address, "web")).transpose()?;
    let operators = config.operators.map(|address| open(address, "operators'")).transpose()?;
    let mqtt = config.mqtt.map(|address| open(address, "MQTT")).transpose()?;
    // The path is ours by the lock of the run directory; a crash leaves the file behind.
    let _ = fs::remove_file(&admin_path);
    let admin = UnixListener::bind(&admin_path)
        .map_err(|error| StartError::AdminSocket { path: admin_path, error })?;
    let tcp = |kind, socket, is_wrapped| {
        move |slot| Listener::tcp(slot, kind, socket).wrapped(is_wrapped)
    };
    let (peers, web_tls) = (config.tls_peers != PeerTls::Off, config.web_tls() != WebTls::Off);
    let doors = Doors {
        client: Some(slots.add_listener(tcp(ConnKind::Client, client, false))),
        tls: tls.map(|socket| slots.add_listener(tcp(ConnKind::Client, socket, true))),
        peer: slots.add_listener(tcp(ConnKind::Peer, peer, peers)),
        admin: slots.add_listener(|slot| Listener::unix(slot, ConnKind::Admin, admin)),
        web: web.map(|socket| slots.add_listener(tcp(ConnKind::Web, socket, web_tls))),
        operators: operators
            .map(|socket| slots.add_listener(tcp(ConnKind::Operator, socket, false))),
        mqtt: mqtt.map(|socket| slots.add_listener(tcp(ConnKind::Mqtt, socket, false))),
    };
    let own = [doors.peer, doors.admin].into_iter();
    let others = [doors.client, doors.tls, doors.web, doors.operators, doors.mqtt];
    for slot in own.chain(others.into_iter().flatten()) {
        if let Some(Slot::Listener(listener)) = slots.at(slot) {
            listener
                .register(poll.registry())
                .map_err(|error| StartError::System("the listeners", error))?;
        }
    }
    Ok(doors)
}

fn listen(address: SocketAddr, whose: &'static str) -> Result<TcpListener, StartError> {
    let listener = TcpListener::bind(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => StartError::Taken { address, whose },
        _ => StartError::CannotListen { address, whose, error },
    })?;
    // Answers are small and must not wait for each other. Accepted sockets inherit this, which
    // saves a system call for each (tcp(7), TCP_NODELAY).
    let _ = socket2::SockRef::from(&listener).set_tcp_nodelay(true);
    // Listening again sets the backlog anew (listen(2)). A system that allows less takes less.
    let _ = socket2::SockRef::from(&listener).listen(BACKLOG);
    Ok(listener)
}

/// Serves a listener that was passed. Its backlog was set by the process that opened it.
fn take_over(
    listener: std::net::TcpListener,
    address: SocketAddr,
    whose: &'static str,
) -> Result<TcpListener, StartError> {
    let failed = |error| StartError::CannotListen { address, whose, error };
    listener.set_nonblocking(true).map_err(failed)?;
    let _ = socket2::SockRef::from(&listener).set_tcp_nodelay(true);
    Ok(TcpListener::from_std(listener))
}

fn watch_signals(poll: &Poll) -> Result<Signals, StartError> {
    use mio::Interest;
    let failed = |error| StartError::System("the signals", error);
    let mut signals = Signals::new([SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2]).map_err(failed)?;
    poll.registry().register(&mut signals, SIGNALS, Interest::READABLE).map_err(failed)?;
    Ok(signals)
}

fn make_completions(poll: &Poll) -> Result<(CompletionSender, Completions), StartError> {
    let waker = Waker::new(poll.registry(), WAKER);
    let waker = waker.map_err(|error| StartError::System("the waker", error))?;
    Ok(CompletionSender::new(waker))
}

fn open_places(
    config: &Config,
    completion_sender: &CompletionSender,
) -> Result<Places, StartError> {
    let no_thread = |error| StartError::System("a thread", error);
    let places = &config.places;
    let name = places.source.name();
    match Supply::of(places).map_err(|error| StartError::Places(error.to_string()))? {
        Supply::Local(local) => {
            completion_sender.load(local.clone()).map_err(no_thread)?;
            Ok(Places::loading(name, local))
        }
        Supply::Remote(remote) => {
            open_service(config, 0, remote, completion_sender).map_err(no_thread)
        }
    }
}

/// Threads for a remote source, and the gate before it.
pub(super) fn open_service(
    config: &Config,
    id: PoolId,
    remote: Remote,
    completion_sender: &CompletionSender,
) -> io::Result<Places> {
    let rules = config.places.calls;
    let (ledger, spent) = open_ledger(config).unzip();
    let pool = PlacesPool::start(id, remote, ledger, rules.workers, completion_sender)?;
    let gate = CallGate::new(rules, spent.unwrap_or_default());
    Ok(Places::remote(config.places.source.name(), pool, gate))
}

/// What was spent today at a source that has a budget. The file is of this server of this herd,
/// whichever process it is: one that drains and the next one share it.
fn open_ledger(config: &Config) -> Option<(Ledger, Spent)> {
    config.places.calls.calls_per_day?;
    let path = config.run_dir.join(format!("{}@{}.calls", config.name, config.herd));
    let (ledger, spent, complaint) = Ledger::open(path, config.places.source.name());
    if let Some(complaint) = complaint {
        Event::CallsUncounted { error: &complaint }.log();
    }
    Some((ledger, spent))
}

/// Loads what an earlier life of this server has kept, if the operator wants that.
fn open_journal(
    config: &Config,
    server: &mut Server,
    now: Now,
    completion_sender: &CompletionSender,
    tell_loaded: fn(u8),
) -> Result<Option<Box<Durability>>, StartError> {
    let Some(keep) = config.journal.keep else { return Ok(None) };
    let settings = JournalSettings {
        keep,
        dir: config.journal.dir.join(&config.name),
        owner: Owner {
            herd: config.herd.clone().into_bytes(),
            server: config.name.clone().into_bytes(),
        },
        room: config.journal.room as u64,
        // One that is draining has it until it ends.
        patience: config.limits.drain + JOURNAL_TIMEOUT,
        is_strict: config.journal.strict,
        sync_every: config.journal.sync_every,
        is_traced: config.trace.is_some(),
        tell_loaded,
    };
    let journal = Journal::open(settings, server, now, completion_sender.wake());
    let durability = |journal| Some(Box::new(Durability::new(journal, &config.journal)));
    journal.map(durability).map_err(StartError::Journal)
}

/// What the core learns about a peer.
pub(super) fn peer_settings(config: &Config, peer: &Peer) -> PeerSettings {
    let frame = || peer.shape.frame(&config.name, &peer.name);
    PeerSettings {
        name: peer.name.clone().into_bytes(),
        dials: peer.initiative == Initiative::Ours,
        plain: (peer.kind == LinkKind::Plain).then(frame),
    }
}

/// The core's settings; randomness is among them, because the core has none of its own.
pub(super) fn settings(config: &Config, shares: Shares) -> Result<Settings, StartError> {
    // Seeded from the system's randomness: two servers must not redial in step.
    let mut random = fastrand::Rng::new();
    let nonce_key = rand::generate(&SystemRandom::new()).map_err(|_| {
        StartError::System("random numbers", io::Error::other("the system gives none"))
    })?;
    Ok(Settings {
        name: config.name.as_bytes().into(),
        herd: config.herd.clone().into_bytes(),
        peers: engine::servers(config).map(|peer| peer_settings(config, peer)).collect(),
        engine: engine::settings(config),
        plain_names: if config.accept_plain {
            config.servers.iter().map(|name| name.clone().into_bytes()).collect()
        } else {
            Vec::new()
        },
        stale_reply_stored: config.answers.stale_reply == StaleReply::Stored,
        close_after_reply: config.answers.close_after_reply,
        answer_timeout: config.places.deadline,
        limits: config.limits.core.clone(),
        strangers_max: shares.strangers,
        seed: random.u64(..),
        keys: config.keys.iter().map(HerdKey::reveal).collect(),
        digest_key: config.keys.digest.as_ref().map(HerdKey::reveal),
        keeps_journal: config.journal.keep.is_some(),
        nonce_key: nonce_key.expose(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HerdSelector;
    use crate::config::layers::{Overrides, configure};

    #[test]
    fn the_core_is_told_keys_and_limits() {
        let selector = HerdSelector::default();
        let (herd, preset) = selector.herd(Some("Hill")).unwrap();
        let mut config = configure("Hill", herd, preset, &selector, Overrides::default()).unwrap();
        let shares = Shares { clients: 9, strangers: 7, admins: 5, operators: 3, web: 2, mqtt: 1 };
        let settings = super::settings(&config, shares).unwrap();
        assert_eq!(settings.strangers_max, 7);
        assert!(settings.keys.is_empty());
        assert_eq!(settings.limits, config.limits.core);

        config.keys.all = vec![HerdKey::new([7; 32]), HerdKey::new([5; 32])];
        config.keys.digest = Some(HerdKey::new([3; 32]));
        config.limits.core.compare_every = None;
        let again = super::settings(&config, shares).unwrap();
        assert_eq!((&again.keys[..], again.digest_key), (&[[7; 32], [5; 32]][..], Some([3; 32])));
        assert_eq!(again.limits, config.limits.core);
        assert_ne!(settings.nonce_key, again.nonce_key, "nobody may foresee a nonce");
    }

    /// Method: nothing accepts. A client that finds the backlog full would retry until its timeout.
    #[test]
    fn a_crowd_may_wait_at_the_door() {
        let listener = listen("127.0.0.1:0".parse().unwrap(), "client").unwrap();
        let address = listener.local_addr().unwrap();
        let come = |_| std::net::TcpStream::connect_timeout(&address, Duration::from_secs(5));
        // macOS allows 128, however many are asked for.
        let crowd = if cfg!(target_os = "linux") { 500 } else { 100 };
        let arrived: Result<Vec<_>, _> = (0..crowd).map(come).collect();
        assert_eq!(arrived.unwrap().len(), crowd);
    }
}
