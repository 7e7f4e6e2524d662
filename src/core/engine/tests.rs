//! A server on a node that is played by hand: what it tells again when it cannot know that the node
//! has read it, and what it asks others of.

mod divided;
mod moving;
mod regions;

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::EngineSettings;
use super::outgoing::ASK_EVERY;
use crate::border::{Input, Output, Outputs, Timer};
use crate::clock::{Now, PosixTime};
use crate::names::{ConnId, ConnKind, PeerId, Ticket};
use crate::parts::{Part, Parts};
use crate::whatsat::Question;
use crate::wire::line_buffer::{LineLimits, Lines};
use crate::wire::peer_command::write_hex;
use crate::{Server, Settings};

const INFO: &[u8] = b"INFO {\"max_payload\":1048576}\r\n";

/// What comes of an output.
enum Due {
    Connected(PeerId),
    Flushed(ConnId),
    Fires(Timer),
}

struct Jar {
    server: Server,
    /// All that was said to the node since this was last taken.
    said: Vec<u8>,
    due: VecDeque<Due>,
    connections: u32,
    now: Duration,
    /// What clients were answered since this was last taken.
    answered: String,
    /// What was asked of the places.
    asked: VecDeque<(Ticket, Question)>,
    /// Batches that each of the others has said.
    batches: BTreeMap<String, u32>,
}

const CLIENT: usize = 2;

impl Jar {
    fn new() -> Jar {
        Jar::with(EngineSettings::new(vec![b"Bert".to_vec()]))
    }

    fn with(engine: EngineSettings) -> Jar {
        let engine = Some(engine);
        let mut jar = Jar {
            server: Server::new(Settings { engine, ..Settings::new("Anna", "test", Vec::new()) }),
            said: Vec::new(),
            due: VecDeque::new(),
            connections: 0,
            now: Duration::ZERO,
            answered: String::new(),
            asked: VecDeque::new(),
            batches: BTreeMap::new(),
        };
        jar.tell(Input::Started);
        jar
    }

    fn conn(&self) -> ConnId {
        ConnId::new(ConnKind::Engine, self.connections.into(), 1)
    }

    /// Tells the server something, and all that comes of it.
    fn tell(&mut self, input: Input<'_, '_>) {
        self.tell_one(input);
        while let Some(due) = self.due.pop_front() {
            match due {
                Due::Connected(peer) => {
                    self.connections += 1;
                    let conn = self.conn();
                    self.tell_one(Input::Connected { peer, conn });
                }
                Due::Flushed(conn) => self.tell_one(Input::Flushed { conn }),
                Due::Fires(timer) => self.tell_one(Input::TimerFired { timer }),
            }
        }
    }

    fn tell_one(&mut self, input: Input<'_, '_>) {
        let now = Now { monotonic: self.now, posix: PosixTime::new(100, 0) };
        let mut out = Outputs::default();
        self.server.handle(now, input, &mut out);
        for output in out.list.drain(..) {
            match output {
                Output::Send { conn, text } if conn.kind() == ConnKind::Engine => {
                    self.said.extend_from_slice(&out.text[text]);
                }
                Output::Send { text, .. } => {
                    self.answered += &String::from_utf8_lossy(&out.text[text]);
                }
                Output::AskPlaces { ticket, question, .. } => {
                    self.asked.push_back((ticket, question));
                }
                Output::Dial { peer } => self.due.push_back(Due::Connected(peer)),
                Output::TellFlushed { conn } => self.due.push_back(Due::Flushed(conn)),
                Output::StartTimer { timer: timer @ Timer::Redial { .. }, .. } => {
                    self.due.push_back(Due::Fires(timer));
                }
                _ => {}
            }
        }
    }

    fn lines(&mut self, conn: ConnId, text: &[u8]) {
        let lines = &mut Lines::new(text, LineLimits::equal(1_000));
        self.tell(Input::Lines { conn, lines });
    }

    /// The node says something.
    fn node(&mut self, text: &[u8]) {
        self.lines(self.conn(), text);
    }

    /// Clients report.
    fn report(&mut self, clients: impl Iterator<Item = usize>, time: u32) {
        let said: String = clients.map(|it| format!("IAMAT c{it} +1-1 {time}\n")).collect();
        self.client(&said);
    }

    fn client(&mut self, said: &str) {
        self.lines(ConnId::new(ConnKind::Client, 1, CLIENT), said.as_bytes());
    }

    /// Another server says this on a subject of the herd.
    fn hear(&mut self, from: &str, subject: &str, lines: &str) {
        let number = self.batches.entry(from.to_owned()).or_default();
        *number += 1;
        let mut digests = Vec::new();
        write_hex(&self.server.keyring.digest_id(), &mut digests);
        let word = String::from_utf8(digests).unwrap();
        let life = format!("{:016x}", from.len() * 7 + usize::from(from.as_bytes()[0]));
        let payload = format!("{from} {life} {number} {word} - -\n{lines}\n");
        let message = format!("MSG herd.test.{subject} 1 {}\r\n{payload}\r\n", payload.len());
        self.node(message.as_bytes());
    }

    /// What clients were answered, once the places have told of what they were asked.
    fn answers(&mut self) -> String {
        while let Some((ticket, _)) = self.asked.pop_front() {
            self.tell(Input::PlacesArrived { ticket, body: b"{}" });
        }
        std::mem::take(&mut self.answered)
    }

    /// So much time passes.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        let conn = self.conn();
        self.tell(Input::TimerFired { timer: Timer::Ping { conn } });
    }

    /// The server has time to ask how far the node has read, and it has read all.
    fn node_reads_all(&mut self) {
        self.pass(ASK_EVERY);
        self.node(b"PONG\r\n");
    }

    /// How often the node was asked how far it has read, since this was last asked.
    fn pings(&mut self) -> usize {
        let said = std::mem::take(&mut self.said);
        said.split(|&byte| byte == b'\n').filter(|line| *line == b"PING\r").count()
    }

    /// Reports that were published since this was last asked.
    fn published(&mut self) -> usize {
        let said = std::mem::take(&mut self.said);
        said.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"AT ")).count()
    }

    /// The node lets the server in, and has read all.
    fn let_in(&mut self) {
        self.node(INFO);
        self.node(b"PONG\r\n");
        self.node(b"PONG\r\n");
    }
}

/// Goal: where many clients are known, a node's end has those told again that it may not have read,
/// and hardly anybody else; what it has read, it has read. PROTOCOL 15.5.
#[test]
fn a_loss_is_told_again_and_little_else() {
    let mut jar = Jar::new();
    jar.let_in();
    for hundred in 0..300 {
        jar.report(100 * hundred..100 * (hundred + 1), 7);
        jar.node_reads_all();
    }
    assert_eq!(jar.published(), 30_000);

    jar.report((0..30_000).step_by(300), 8);
    assert_eq!(jar.published(), 100);
    let conn = jar.conn();
    jar.tell(Input::Closed { conn });
    jar.let_in();
    let again = jar.published();
    assert!((100..110).contains(&again), "{again} were told again");

    jar.node_reads_all();
    let conn = jar.conn();
    jar.tell(Input::Closed { conn });
    jar.let_in();
    assert_eq!(jar.published(), 0, "the node had read them");
}

/// Goal: what comes while there is no node is told once there is one, each client's last report.
#[test]
fn what_came_without_a_node_is_told_later() {
    let mut jar = Jar::new();
    (1..=3).for_each(|time| jar.report(0..1_000, time));
    assert_eq!(jar.published(), 0);
    jar.let_in();
    assert_eq!(jar.published(), 1_000);
}

/// Goal: however much is news in a turn, or is to be said again, a batch has a bound. PROTOCOL
/// 15.5.
#[test]
fn a_batch_has_a_bound() {
    let max = 4_096;
    let others = EngineSettings::new(vec![b"Bert".to_vec()]);
    let mut jar = Jar::with(EngineSettings { batch_bytes_max: max, ..others });
    let longest = |jar: &mut Jar| {
        let said = String::from_utf8(std::mem::take(&mut jar.said)).unwrap();
        let batches = said.lines().filter(|line| line.starts_with("PUB herd.test.r.0 "));
        let lengths = batches.map(|line| line.rsplit(' ').next().unwrap().parse::<usize>());
        let lengths = Vec::from_iter(lengths.map(Result::unwrap));
        assert!(lengths.len() > 5, "{said}");
        lengths.into_iter().max().unwrap()
    };
    jar.report(0..1_000, 7);
    jar.let_in();
    // The head, and the line with which a batch is long enough.
    assert!(longest(&mut jar) < max + 200);
    jar.report(0..1_000, 8);
    assert!(longest(&mut jar) < max + 200);
}

/// Goal: a node that does not read is owed no more than it may be, and what was not said to it is
/// said when it reads. PROTOCOL 15.5.
#[test]
fn what_a_node_is_owed_has_a_bound() {
    let owed_max = 64 * 1024;
    let others = EngineSettings::new(vec![b"Bert".to_vec()]);
    let mut jar = Jar::with(EngineSettings { owed_max, ..others });
    jar.let_in();
    for hundred in 0..50 {
        jar.report(100 * hundred..100 * (hundred + 1), 7);
        // The heads of batches come on top.
        assert!(jar.server.engine().unwrap().owed <= owed_max + 512);
    }
    let mut published = jar.published();
    assert!(published < 2_000, "{published}");
    for _ in 0..20 {
        jar.node(b"PONG\r\n");
        published += jar.published();
    }
    assert!((5_000..5_100).contains(&published), "{published}");
}

/// Goal: while news comes turn after turn, a node is asked how far it has read now and then, and
/// when no more comes, once more; at once, if it is owed much.
#[test]
fn a_node_is_asked_now_and_then() {
    let owed_max = 64 * 1024;
    let others = EngineSettings::new(vec![b"Bert".to_vec()]);
    let mut jar = Jar::with(EngineSettings { owed_max, ..others });
    jar.let_in();
    jar.pass(Duration::from_secs(2));
    jar.node_reads_all();
    let mut asked = 0;
    for turn in 0..10 * ASK_EVERY.as_millis() as u32 {
        jar.pings();
        jar.report(0..1, turn);
        jar.pass(Duration::from_millis(1));
        let pings = jar.pings();
        asked += pings;
        jar.node(&b"PONG\r\n".repeat(pings));
    }
    assert!((9..=11).contains(&asked), "{asked}");

    jar.report(0..1, 1_000);
    jar.node_reads_all();
    assert_eq!(jar.server.engine().unwrap().owed, 0);
    jar.pings();
    jar.report(0..10, 1_001);
    assert_eq!(jar.pings(), 0, "it was asked just now");
    jar.report(0..300, 1_002);
    assert_eq!(jar.pings(), 1, "it is owed much");
}

/// Goal: a second behind the last batch, an empty one has the next number, so that who has
/// missed it knows. PROTOCOL 15.8.
#[test]
fn a_last_batch_is_followed_by_an_empty_one() {
    let mut jar = Jar::new();
    jar.let_in();
    // The one that says that we are here.
    jar.pass(Duration::from_secs(1));
    jar.said.clear();
    let numbers = |jar: &mut Jar| {
        let said = String::from_utf8(std::mem::take(&mut jar.said)).unwrap();
        let lines = Vec::from_iter(said.lines());
        let is_one = |at: &usize| lines[*at].starts_with("PUB herd.test.r.0 ");
        let batches = (0..lines.len()).filter(is_one);
        let number = |head: &str| head.split(' ').nth(2).unwrap().parse::<u32>().unwrap();
        let has_lines = |at: usize| lines.get(at + 2).is_some_and(|line| line.starts_with("AT "));
        Vec::from_iter(batches.map(|at| (number(lines[at + 1]), has_lines(at))))
    };
    jar.report(0..1, 7);
    let said = numbers(&mut jar);
    let [(first, true)] = said[..] else { panic!("{said:?}") };
    jar.pass(Duration::from_millis(500));
    assert_eq!(numbers(&mut jar), []);
    jar.pass(Duration::from_millis(500));
    assert_eq!(numbers(&mut jar), [(first + 1, false)]);
    jar.pass(Duration::from_secs(5));
    assert_eq!(numbers(&mut jar), []);
}
