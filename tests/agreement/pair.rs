//! Two minds and the one link between them, which the test carries.

use std::time::Duration;

use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::store::digest::Node;
use herd_core::{LinkState, PeerSettings, Settings};
use herd_sim::host::{Host, settings};

pub const KEY: [u8; 32] = [1; 32];
pub const OTHER_KEY: [u8; 32] = [2; 32];
/// What a turn of the loop takes from a link at most.
pub const READ_BYTES: usize = 64 * 1024;

/// The dialler is A and comes first.
pub const A: usize = 0;
pub const B: usize = 1;

pub struct Pair {
    pub bodies: [Host; 2],
    pub links: u64,
    pub now: Duration,
    pub sent: [usize; 2],
    /// Times that the bytes of both were carried over.
    pub trips: usize,
    pub last: [Vec<u8>; 2],
    pub owed_most: usize,
}

impl Pair {
    pub fn with(change: impl Fn(usize, &mut Settings)) -> Pair {
        let body = |at: usize| {
            let (name, other) = [("A", "B"), ("B", "A")][at];
            let peer = PeerSettings { name: other.into(), dials: at == A, plain: None };
            let mut settings = settings(name, vec![peer], at as u64);
            change(at, &mut settings);
            Host::new(settings, Duration::ZERO, 0)
        };
        let mut pair = Pair {
            bodies: [body(A), body(B)],
            links: 0,
            now: Duration::from_secs(1),
            sent: [0; 2],
            trips: 0,
            last: [Vec::new(), Vec::new()],
            owed_most: 0,
        };
        for body in &mut pair.bodies {
            body.set_time(pair.now);
            body.start();
        }
        pair
    }

    pub fn keyed() -> Pair {
        Pair::with(|_, settings| settings.keys = vec![KEY])
    }

    pub fn conn(&self) -> ConnId {
        ConnId::new(ConnKind::Peer, self.links, 0)
    }

    /// A new connection from A to B, over which nothing has been carried.
    pub fn connect(&mut self) {
        self.links += 1;
        (self.sent, self.trips) = ([0; 2], 0);
        let conn = self.conn();
        self.bodies[B].accept(conn);
        if self.bodies[A].server.peer(PeerId(0)).state != LinkState::Dialing {
            self.pass(Duration::from_millis(300));
        }
        self.bodies[A].connected(PeerId(0), conn);
    }

    /// Time passes, and timers fire.
    pub fn pass(&mut self, time: Duration) {
        self.now += time;
        for body in &mut self.bodies {
            body.set_time(self.now);
            body.expire();
        }
    }

    /// A minute and some seconds pass, in which both say what they have to.
    pub fn pass_in_steps(&mut self) {
        for _ in 0..700 {
            self.pass(Duration::from_millis(100));
            self.talk();
        }
    }

    /// Carries what one of them has sent, and says what that was.
    pub fn carry(&mut self, from: usize, change: impl Fn(Vec<u8>) -> Vec<u8>) -> Vec<u8> {
        let conn = self.conn();
        let text = self.bodies[from].flush(conn, READ_BYTES);
        self.owed_most = self.owed_most.max(text.len());
        self.sent[from] += text.len();
        let text = change(text);
        self.bodies[1 - from].arrive(conn, &text);
        text
    }

    /// Carries everything until both are silent.
    pub fn talk(&mut self) {
        loop {
            let carried = [A, B].map(|from| self.carry(from, |text| text));
            if carried.iter().all(Vec::is_empty) {
                return;
            }
            self.trips += 1;
            assert!(self.trips < 1_000, "they go on and on");
            self.last = carried;
        }
    }

    pub fn meet(&mut self) {
        self.connect();
        self.talk();
    }

    pub fn part(&mut self) {
        let conn = self.conn();
        self.bodies.iter_mut().for_each(|body| body.lose(conn));
    }

    /// A client says this to one of them, and hears that.
    pub fn say(&mut self, to: usize, text: &str) -> String {
        let conn = ConnId::new(ConnKind::Client, 0, 1);
        let body = &mut self.bodies[to];
        body.accept(conn);
        let mut heard = Vec::new();
        for line in text.split_inclusive('\n') {
            body.arrive(conn, line.as_bytes());
            heard.extend(body.flush(conn, usize::MAX));
        }
        body.lose(conn);
        String::from_utf8(heard).unwrap()
    }

    pub fn is_up(&self) -> bool {
        self.bodies.iter().all(|body| body.server.peer(PeerId(0)).state == LinkState::Up)
    }

    pub fn roots(&self) -> [u64; 2] {
        [A, B].map(|at| self.bodies[at].server.store().digest().hash(Node::ROOT))
    }

    pub fn assert_equal(&self) {
        let [one, other] = [A, B].map(|at| {
            let store = self.bodies[at].server.store();
            store.check_invariants();
            store.len()
        });
        assert_eq!(one, other);
        assert_eq!(self.roots()[A], self.roots()[B]);
    }
}

pub fn reports(clients: std::ops::Range<usize>) -> String {
    clients.map(|client| format!("IAMAT client-{client} +34.0-118.5 1520023934.9\n")).collect()
}
