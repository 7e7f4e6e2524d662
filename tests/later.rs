//! What one server does only after a while, in virtual time: it forgets, compares again, and has
//! patience anew. Apart from `core_properties`, which holds at every moment, and from the
//! simulator, where a server that fails at one of these is helped by the others.

use std::time::Duration;

use herd_core::border::Note;
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::store::digest::{LEAVES, Leaf};
use herd_core::{PeerSettings, Settings};
use herd_sim::host::{Act, EPOCH, Host, settings};

const HOUR: Duration = Duration::from_secs(3_600);
const JAQUEZ: PeerId = PeerId(0);

/// One server and the time.
struct Life {
    body: Host,
    now: Duration,
    conns: u64,
}

impl Life {
    fn of(settings: Settings) -> Life {
        let mut life =
            Life { body: Host::new(settings, Duration::ZERO, 0), now: Duration::ZERO, conns: 0 };
        life.body.set_time(life.now);
        life.body.start();
        life
    }

    /// A server that dials its only peer, Jaquez.
    fn with_peer(change: impl FnOnce(&mut Settings)) -> Life {
        let peers = vec![PeerSettings { name: b"Jaquez".to_vec(), dials: true, plain: None }];
        let mut settings = settings("Hill", peers, 5);
        change(&mut settings);
        Life::of(settings)
    }

    fn conn(&mut self, kind: ConnKind) -> ConnId {
        self.conns += 1;
        ConnId::new(kind, self.conns, self.conns as usize)
    }

    /// Lets time pass in steps of 50 ms, in each of which what is due is done.
    fn pass(&mut self, time: Duration, mut step: impl FnMut(&mut Host)) {
        let end = self.now + time;
        while self.now < end {
            self.now += Duration::from_millis(50);
            self.body.set_time(self.now);
            self.body.expire();
            step(&mut self.body);
        }
    }

    /// Sends lines on a client's connection of their own, and takes the answers.
    fn say(&mut self, lines: &str) -> String {
        let conn = self.conn(ConnKind::Client);
        self.body.accept(conn);
        self.body.arrive(conn, lines.as_bytes());
        self.body.end(conn);
        let mut answers = Vec::new();
        while self.body.owed(conn) > 0 {
            answers.extend(self.body.flush(conn, usize::MAX));
        }
        String::from_utf8(answers).unwrap()
    }

    /// How long it takes until the peer is dialled.
    fn dialled_after(&mut self) -> Duration {
        let began = self.now;
        while !self.body.take_acts().iter().any(|act| matches!(act, Act::Dial { .. })) {
            assert!(self.now < began + HOUR, "never dialled");
            self.pass(Duration::from_millis(50), |_| {});
        }
        self.now - began
    }

    /// Jaquez accepts the dial, and greets.
    fn link(&mut self) -> ConnId {
        let conn = self.conn(ConnKind::Peer);
        self.body.connected(JAQUEZ, conn);
        let greeting = String::from_utf8(self.body.flush(conn, usize::MAX)).unwrap();
        let caps = greeting.trim_end().rsplit(' ').next().unwrap();
        self.body.arrive(conn, format!("HERD/1 Jaquez Hill sim {:032} {caps}\n", 7).as_bytes());
        conn
    }
}

/// A report that is over is not taken from a course server either: it would come back.
/// PROTOCOL 12.4.
#[test]
fn a_bare_report_that_has_expired_is_not_taken() {
    let mut settings = settings("Hill", Vec::new(), 5);
    (settings.limits.expire_after, settings.plain_names) = (Some(HOUR), vec![b"Old".to_vec()]);
    let mut life = Life::of(settings);
    let told = |client: &str, age: u64| format!("AT Old +0.5 {client} +1-1 {}\n", EPOCH - age);
    let lines = told("over", 3_601) + &told("fresh", 3_599) + &told("over", 7_200);
    assert_eq!(life.say(&lines), "", "an update is not answered");
    let clients: Vec<_> = life.body.server.store().reports().map(|held| held.client).collect();
    assert_eq!(clients, [b"fresh"]);
}

/// Goal: whatever leaf of the digest a client is in, its report is forgotten. Method: clients until
/// there is one in the first leaf and one in the last, and then the time that a sweep of all takes.
/// PROTOCOL 5.6.
#[test]
fn every_leaf_is_swept() {
    let mut settings = settings("Hill", Vec::new(), 5);
    (settings.limits.expire_after, settings.limits.clients_max) = (Some(HOUR), usize::MAX);
    let mut life = Life::of(settings);
    let ends = [0, (LEAVES - 1) as Leaf];
    let mut clients = 0;
    while !ends.iter().all(|&leaf| life.body.server.store().len_of(leaf) > 0) {
        let line = |client| format!("IAMAT {client} +1-1 {EPOCH}\n");
        life.say(&(clients..clients + 1_000).map(line).collect::<String>());
        clients += 1_000;
        assert!(clients < 1_000_000, "no client falls into one of {ends:?}");
    }
    life.now += HOUR - Duration::from_secs(1);
    life.pass(Duration::from_millis(50), |_| {});
    assert_eq!(life.body.server.store().len(), clients, "none is over yet");
    // A minute and a little for one sweep, and what was swept before it was over.
    life.pass(Duration::from_secs(65), |_| {});
    let left: Vec<_> = life.body.server.store().reports().map(|held| held.client).collect();
    assert!(left.is_empty(), "{} are left, {:?} among them", left.len(), left[0].escape_ascii());
}

/// Goal: the two ends of a link compare what they hold for as long as it lasts, also after one of
/// them could not keep up. Method: news beyond what a peer may be owed, which reads nothing while
/// it would be asked to compare; then it reads all. PROTOCOL 10.7.
#[test]
fn comparing_goes_on_after_a_peer_was_behind() {
    let mut life = Life::with_peer(|settings| {
        settings.limits.peer_outbox_bytes_max = 2_000;
        settings.limits.compare_every = Some(Duration::from_secs(1));
        settings.limits.silence_max = HOUR;
    });
    life.dialled_after();
    let conn = life.link();
    let mut said = String::new();
    life.pass(Duration::from_secs(5), |body| {
        said += &String::from_utf8(body.flush(conn, usize::MAX)).unwrap();
    });
    assert!(said.matches("ROOT ").count() >= 4, "while it keeps up: {said}");

    life.say(&(0..200).map(|client| format!("IAMAT {client} +1-1 7\n")).collect::<String>());
    life.pass(Duration::from_secs(5), |_| {});
    let acts = life.body.take_acts();
    assert!(acts.iter().any(|act| matches!(act, Act::Noted(note) if note_is_behind(note))));

    said.clear();
    life.pass(Duration::from_secs(5), |body| {
        said += &String::from_utf8(body.flush(conn, usize::MAX)).unwrap();
    });
    for client in 0..200 {
        assert!(said.contains(&format!(" {client} +1-1 7\n")), "{client} is missing");
    }
    assert!(said.matches("ROOT ").count() >= 3, "again: {said}");
}

fn note_is_behind(note: &Note) -> bool {
    matches!(note, Note::PeerBehind { .. })
}

/// Goal: a link that was up for ten seconds makes the failures before it forgotten, and one that
/// was not does not. Method: the pause after the loss of a link, when many dials had failed.
/// PROTOCOL 6.11.
#[test]
fn the_pause_is_short_again_after_ten_seconds_up() {
    let (first, last) = (Duration::from_millis(100), Duration::from_secs(60));
    for (lasted, is_stable) in [(9, false), (11, true)] {
        let mut life = Life::with_peer(|settings| {
            (settings.limits.backoff_min, settings.limits.backoff_max) = (first, last);
            settings.limits.silence_max = HOUR;
        });
        for _ in 0..40 {
            life.dialled_after();
            life.body.dial_failed(JAQUEZ);
        }
        let grown = life.dialled_after();
        assert!(grown >= last / 2, "{grown:?} after forty failures");
        let conn = life.link();
        life.pass(Duration::from_secs(lasted), |body| {
            body.flush(conn, usize::MAX);
        });
        life.body.lose(conn);
        let pause = life.dialled_after();
        let expected = if is_stable { Duration::ZERO..=2 * first } else { last / 2..=last + first };
        assert!(expected.contains(&pause), "{pause:?} after {lasted} s up");
    }
}
