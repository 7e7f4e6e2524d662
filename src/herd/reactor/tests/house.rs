//! A server that a test turns by hand, and who comes to it.

use std::collections::HashSet;

use log::LevelFilter;

use super::*;
use crate::config::HerdSelector;
use crate::config::layers::{Overrides, configure};
use crate::logging::{self, LogSettings};
use herd_core::clock::PosixTime;
use herd_core::journal::appender::Keep;
use herd_core::wire::line_buffer::{LineLimits, Lines};
use herd_web::access::{Access, Caller, Link, Sessions, Shown, Signer};

/// Somebody who has shown the share link of this serial.
pub fn by_link(serial: &str) -> Caller {
    let signer = Signer::new(&[[7; 32]], "demo");
    let expires = PosixTime::new(u64::MAX >> 1, 0);
    let (serial, client) = (serial.to_owned(), "kiwi".to_owned());
    let link = signer.sign(&Link { serial, expires, client, blur: None }).unwrap();
    let access = Access::new(Vec::new(), HashSet::new(), signer).unwrap();
    let (sessions, now) = (Sessions::new(&[9; 32]), PosixTime::new(1, 0));
    access.caller(&Shown::Secret(&link), &sessions, now).unwrap()
}

/// A server on ports that are free, for clients and for the peers, who would dial it; to be
/// turned by hand.
pub fn reactor(dir: &std::path::Path) -> (Reactor, [SocketAddr; 2]) {
    reactor_that(dir, |_| {})
}

/// The same one, with another configuration.
fn reactor_that(
    dir: &std::path::Path,
    is_changed: impl Fn(&mut Config),
) -> (Reactor, [SocketAddr; 2]) {
    let selector = HerdSelector::default();
    let (herd, settings) = selector.herd(Some("Bailey")).unwrap();
    let mut config = configure("Bailey", herd, settings, &selector, Overrides::default()).unwrap();
    config.journal.keep = None;
    is_changed(&mut config);
    let free = |_| TcpListener::bind("127.0.0.1:0").unwrap();
    for _ in 0..100 {
        // The ports are free again when this line is over, and nearly always still are later.
        let addresses = [0, 1, 2, 3, 4].map(free).map(|listener| listener.local_addr().unwrap());
        let [clients, peers, web, operators, mqtt] = addresses;
        (config.client_address, config.peer_address) = (clients, peers);
        (config.web, config.operators) = (Some(web), Some(operators));
        config.mqtt = Some(mqtt);
        let log = LogSettings {
            dir,
            server: "Bailey",
            level: LevelFilter::Off,
            is_json: false,
            mode: 0o640,
            size_max: u64::MAX,
        };
        let log = logging::start(&log).unwrap();
        match Reactor::start(config.clone(), dir.join("sock"), log, Passed::default(), |_| {}) {
            Ok(reactor) => return (reactor, [clients, peers]),
            Err(StartError::Taken { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no port is free")
}

/// A server that is turned by hand, and whose clock moves only when the test moves it.
pub struct House {
    pub reactor: Reactor,
    pub events: Events,
    pub clients: SocketAddr,
    pub peers: SocketAddr,
    _dir: tempfile::TempDir,
}

/// A house around this server.
pub fn house(reactor: Reactor, [clients, peers]: [SocketAddr; 2], dir: tempfile::TempDir) -> House {
    House { reactor, events: Events::with_capacity(EVENTS_MAX), clients, peers, _dir: dir }
}

impl House {
    pub fn new() -> House {
        let dir = tempfile::tempdir().unwrap();
        let (reactor, [clients, peers]) = reactor(dir.path());
        house(reactor, [clients, peers], dir)
    }

    /// Its answers wait for the disk.
    pub fn with_journal() -> House {
        let dir = tempfile::tempdir().unwrap();
        let (reactor, doors) = reactor_that(dir.path(), |config| {
            config.journal.keep = Some(Keep::Synced);
            config.journal.dir = dir.path().join("journal");
        });
        house(reactor, doors, dir)
    }

    /// One turn, which does not sleep for long.
    pub fn turn(&mut self) {
        // A timer that is due at once, for a listener that does not exist: it only ends the sleep.
        let due = Due::Accept { slot: usize::MAX };
        self.reactor.wheel.start(self.reactor.now.monotonic, due);
        self.reactor.turn(&mut self.events).unwrap();
    }

    /// So many clients report at this second, without a connection.
    pub fn report(&mut self, clients: usize, second: usize) {
        let nobody = ConnId::new(ConnKind::Client, 0, 99);
        for client in 0..clients {
            let line = format!("IAMAT client-{client} +1.5-1.5 15200{second:05}\n");
            let limits = LineLimits::equal(1_000);
            self.reactor.tell_lines(nobody, &mut Lines::new(line.as_bytes(), limits));
            self.reactor.tell_deferred();
        }
    }

    #[track_caller]
    pub fn turn_until(&mut self, mut holds: impl FnMut(&mut Reactor) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        while !holds(&mut self.reactor) {
            assert!(Instant::now() < deadline, "waited in vain");
            self.turn();
        }
    }

    /// Lets time pass, in steps that are no pauses.
    pub fn pass(&mut self, time: Duration) {
        let end = self.reactor.now.monotonic + time;
        while self.reactor.now.monotonic < end {
            self.reactor.clocks.skip(Duration::from_millis(250));
            self.turn();
        }
    }

    /// A connection through this door, both its ends.
    pub fn come(&mut self, kind: ConnKind) -> (TcpStream, ConnId) {
        let address = match kind {
            ConnKind::Peer => self.peers,
            ConnKind::Operator => self.reactor.config.operators.unwrap(),
            ConnKind::Web => self.reactor.config.web.unwrap(),
            ConnKind::Mqtt => self.reactor.config.mqtt.unwrap(),
            _ => self.clients,
        };
        let before = self.reactor.slots.names();
        let stream = TcpStream::connect(address).unwrap();
        // Else the kernel may keep the second of two writes for longer than minutes last here.
        stream.set_nodelay(true).unwrap();
        let mut conn = None;
        self.turn_until(|reactor| {
            let mut names = reactor.slots.names().into_iter();
            conn = names.find(|name| name.kind() == kind && !before.contains(name));
            conn.is_some()
        });
        (stream, conn.unwrap())
    }

    /// A peer that has greeted.
    pub fn come_as_bona(&mut self) -> (TcpStream, ConnId) {
        let (mut stream, conn) = self.come(ConnKind::Peer);
        let (herd, nonce) = (&self.reactor.config.herd, "0".repeat(32));
        writeln!(stream, "HERD/1 Bona Bailey {herd} {nonce} -").unwrap();
        self.turn_until(|reactor| links_up(reactor) == 1);
        (stream, conn)
    }

    pub fn lives(&mut self, conn: ConnId) -> bool {
        self.reactor.slots.connection(conn).is_some()
    }

    pub fn knows(&self, client: &str) -> bool {
        self.reactor.server.store().find(client.as_bytes()).is_some()
    }

    /// Queues so much that the kernel takes no more, and this is left.
    pub fn block(&mut self, conn: ConnId, left: usize) {
        let mut since = Instant::now();
        // Its buffers grow while they are used, so it is asked for a while. The last time it takes
        // nothing: else the session would be queued to be flushed, and not be.
        loop {
            self.reactor.work = Work::default();
            let before = owed(&mut self.reactor, conn);
            self.reactor.flush(conn);
            let owed = owed(&mut self.reactor, conn);
            if owed < left {
                self.reactor.send(conn, &vec![b'x'; left - owed]);
            }
            if owed != before {
                since = Instant::now();
            } else if since.elapsed() >= Duration::from_millis(200) {
                break;
            }
        }
        self.reactor.to_flush.clear();
    }
}
