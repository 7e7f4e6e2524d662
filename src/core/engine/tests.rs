//! A server on a node that is played by hand: what it tells again when it cannot know that the node
//! has read it, and what it asks others of.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::EngineSettings;
use crate::border::{Input, Output, Outputs, Timer};
use crate::clock::{Now, PosixTime};
use crate::names::{ConnId, ConnKind, PeerId, Ticket};
use crate::parts::Parts;
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

    /// Of Anna, Bert and Cleo, each holds what the others do not.
    fn divided() -> Jar {
        let names = ["Anna", "Bert", "Cleo"].map(|name| name.as_bytes().to_vec());
        let parts = Parts::divided(32, 1, &names).unwrap();
        Jar::with(EngineSettings { parts, ..EngineSettings::new(names[1..].to_vec()) })
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
        jar.node(b"PONG\r\n");
    }
    assert_eq!(jar.published(), 30_000);

    jar.report((0..30_000).step_by(300), 8);
    assert_eq!(jar.published(), 100);
    let conn = jar.conn();
    jar.tell(Input::Closed { conn });
    jar.let_in();
    let again = jar.published();
    assert!((100..110).contains(&again), "{again} were told again");

    jar.node(b"PONG\r\n");
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

// ---- clients are divided into parts ----

impl Jar {
    /// A client of whose part this server is the holder.
    fn client_held_by(&self, name: &str) -> String {
        let parts = &self.server.settings().engine.as_ref().unwrap().parts;
        let part = |client: &str| parts.of(self.server.store().key(client.as_bytes()).leaf());
        let names = (0..).map(|at| format!("c{at}"));
        names.into_iter().find(|it| parts.is_holder(name.as_bytes(), part(it))).unwrap()
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

    /// Another server says that it is there.
    fn meet(&mut self, name: &str) {
        self.hear(name, "s.Anna", "");
    }

    /// The only question that was published since this was last asked: its subject, and the nonce.
    fn question(&mut self, client: &str) -> (String, String) {
        let said = String::from_utf8(std::mem::take(&mut self.said)).unwrap();
        let lines = Vec::from_iter(said.lines());
        let at = lines.iter().position(|line| line.starts_with("ASK ")).unwrap();
        assert!(!lines[at + 1..].iter().any(|line| line.starts_with("ASK ")), "{said}");
        let words = Vec::from_iter(lines[at - 2].split(' '));
        let nonce = lines[at].strip_suffix(client).unwrap()[4..].trim().to_owned();
        let [verb, subject, reply, _] = words[..] else { panic!("{said}") };
        assert_eq!((verb, reply), ("PUB", &*format!("herd.test.s.Anna.{nonce}")));
        (subject.strip_prefix("herd.test.").unwrap().to_owned(), nonce)
    }

    /// What clients were answered, once the places have told of what they were asked.
    fn answers(&mut self) -> String {
        while let Some((ticket, _)) = self.asked.pop_front() {
            self.tell(Input::PlacesArrived { ticket, body: b"{}" });
        }
        std::mem::take(&mut self.answered)
    }

    fn nobody_hears(&mut self, nonce: &str) {
        let head = format!("HMSG herd.test.s.Anna.{nonce} 3000 16 16\r\n");
        self.node(format!("{head}NATS/1.0 503\r\n\r\n\r\n").as_bytes());
    }

    /// Everybody was asked what Anna misses, and nobody has said anything in time.
    fn become_complete(&mut self) {
        self.pass(Duration::from_millis(500));
        self.pass(Duration::from_millis(500));
    }

    /// So much time passes.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        let conn = self.conn();
        self.tell(Input::TimerFired { timer: Timer::Ping { conn } });
    }
}

/// Goal: a WHATSAT about a client that another server holds is asked of one of the part's group,
/// and answered with what that one holds; later commands wait for it. PROTOCOL 15.12, 15.13.
#[test]
fn a_holder_is_asked() {
    let mut jar = Jar::divided();
    jar.let_in();
    let said = String::from_utf8(std::mem::take(&mut jar.said)).unwrap();
    assert!(said.contains(",\"headers\":true,\"no_responders\":true"), "{said}");
    assert!(said.contains("SUB herd.test.s.Anna.* 3000\r\nSUB herd.test.q 3001\r\n"), "{said}");
    jar.meet("Bert");
    let client = jar.client_held_by("Bert");
    jar.client(&format!("WHATSAT {client} 1 2\nIAMAT other +1-1 3\n"));
    let (subject, nonce) = jar.question(&client);
    assert!(subject.starts_with("q."), "{subject}");
    // Another question's nonce, and another client's report, are no answer.
    jar.hear("Bert", "s.Anna", &format!("FOUND 0000000000000000 AT Bert +1 {client} +1-1 5"));
    jar.hear("Bert", "s.Anna", "NONE 00");
    assert_eq!(jar.answers(), "");
    jar.hear("Bert", "s.Anna", &format!("FOUND {nonce} AT Bert +1 {client} +2-2 5"));
    let expected = format!("AT Bert +1 {client} +2-2 5\n{{}}\n\nAT Anna +97 other +1-1 3\n");
    let answers = jar.answers();
    assert_eq!(answers.replace("+97.000000000", "+97"), expected);
    assert!(jar.server.store().find(client.as_bytes()).is_none(), "it is not kept");

    jar.client(&format!("WHATSAT {client} 1 2\n"));
    let (_, nonce) = jar.question(&client);
    jar.hear("Bert", "s.Anna", &format!("NONE {nonce}"));
    assert_eq!(jar.answers(), format!("? WHATSAT {client} 1 2\n"));
    let counted = jar.server.engine().unwrap().questions;
    assert_eq!((counted.asked, counted.found, counted.none), (2, 1, 1));
}

/// Goal: of what clients have said here and what a holder has heard, the newer one is told; who was
/// erased is not known, unless there is a later report. PROTOCOL 15.13.
#[test]
fn the_newer_one_is_told() {
    let mut jar = Jar::divided();
    jar.let_in();
    jar.meet("Bert");
    let client = jar.client_held_by("Bert");
    jar.client(&format!("IAMAT {client} +1-1 50\n"));
    jar.answers();
    let mut told = |report: &str| {
        jar.client(&format!("WHATSAT {client} 1 2\n"));
        let (_, nonce) = jar.question(&client);
        let answer = if report.is_empty() { "NONE" } else { "FOUND" };
        jar.hear("Bert", "s.Anna", format!("{answer} {nonce} {report}").trim_end());
        jar.answers()
    };
    let at = |time: &str| format!("AT Bert +1 {client} +2-2 {time}");
    assert!(told(&at("49")).starts_with("AT Anna "));
    assert!(told("").starts_with("AT Anna "));
    assert_eq!(told(&at("51")), format!("{}\n{{}}\n\n", at("51")));
    let erased = |time: &str| format!("AT Bert +0e0 {client} +0+0 {time}");
    assert!(told(&erased("49")).starts_with("AT Anna "));
    assert!(told(&erased("51")).starts_with("? WHATSAT "));
}

/// Goal: where nobody holds the part, or its holder does not answer in time, all are asked, and the
/// newest of what they have is told. PROTOCOL 15.14.
#[test]
fn all_are_asked_if_no_holder_answers() {
    let mut jar = Jar::divided();
    jar.let_in();
    jar.meet("Bert");
    jar.meet("Cleo");
    let client = jar.client_held_by("Bert");
    for is_silent in [false, true] {
        jar.client(&format!("WHATSAT {client} 1 2\n"));
        let (_, nonce) = jar.question(&client);
        if is_silent {
            // They are there, and answer other questions.
            jar.pass(Duration::from_millis(400));
            jar.meet("Bert");
            jar.meet("Cleo");
            jar.pass(Duration::from_millis(100));
        } else {
            jar.nobody_hears(&nonce);
        }
        let (subject, nonce) = jar.question(&client);
        assert_eq!(subject, "q");
        jar.hear("Bert", "s.Anna", &format!("COPY {nonce} AT Bert +1 {client} +1-1 7"));
        assert_eq!(jar.answers(), "", "Cleo may have a newer one");
        jar.hear("Cleo", "s.Anna", &format!("COPY {nonce} AT Cleo +1 {client} +2-2 8"));
        assert_eq!(jar.answers(), format!("AT Cleo +1 {client} +2-2 8\n{{}}\n\n"));
    }

    // One who does not answer is not waited for longer; who has left its group is no holder.
    jar.client(&format!("WHATSAT {client} 1 2\n"));
    let (_, nonce) = jar.question(&client);
    jar.hear("Bert", "s.Anna", &format!("NOCOPY {nonce}"));
    let (subject, nonce) = jar.question(&client);
    assert_eq!(subject, "q");
    jar.hear("Bert", "s.Anna", &format!("NOCOPY {nonce}"));
    jar.pass(Duration::from_millis(500));
    assert_eq!(jar.answers(), format!("? WHATSAT {client} 1 2\n"));
    let counted = jar.server.engine().unwrap().questions;
    assert_eq!((counted.no_responders, counted.too_late, counted.none), (1, 2, 1));
}

/// Goal: without an engine, a client is answered at once with what its own server has. PROTOCOL
/// 15.14.
#[test]
fn nobody_waits_for_an_engine_that_is_away() {
    let mut jar = Jar::divided();
    let client = jar.client_held_by("Bert");
    let ask = format!("WHATSAT {client} 1 2\n");
    jar.client(&ask);
    assert_eq!(jar.answers(), format!("? {ask}"));
    jar.let_in();
    jar.said.clear();
    jar.client(&format!("IAMAT {client} +1-1 50\n{ask}"));
    jar.question(&client);
    let conn = jar.conn();
    jar.tell(Input::Closed { conn });
    assert_eq!(jar.answers().lines().filter(|line| line.starts_with("AT Anna ")).count(), 2);
}

/// Goal: a server answers for a part that it holds once that is complete, and stops to be asked
/// before it leaves; of other parts it tells what it happens to have. PROTOCOL 15.12.
#[test]
fn who_has_all_of_a_part_is_in_its_group() {
    let mut jar = Jar::divided();
    jar.let_in();
    let client = jar.client_held_by("Anna");
    let other = jar.client_held_by("Bert");
    jar.client(&format!("IAMAT {client} +1-1 50\nIAMAT {other} +1-1 50\n"));
    let answer = |jar: &mut Jar, subject: &str, client: &str| {
        jar.said.clear();
        jar.hear("Bert", subject, &format!("ASK 00000000000000aa {client}"));
        let said = String::from_utf8(std::mem::take(&mut jar.said)).unwrap();
        assert!(said.contains("PUB herd.test.s.Bert "), "{said}");
        let is_it = |line: &&str| line.contains("00000000000000aa");
        said.lines().find(is_it).unwrap().split(" +").next().unwrap().to_owned()
    };
    assert_eq!(answer(&mut jar, "q", &client), "COPY 00000000000000aa AT Anna");
    let parts = jar.server.settings().engine.as_ref().unwrap().parts.clone();
    let held = parts.held_by(b"Anna").len();
    jar.become_complete();
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    assert_eq!(said.lines().filter(|line| line.starts_with("SUB herd.test.q.")).count(), held);
    assert_eq!(answer(&mut jar, "q.0", &client), "FOUND 00000000000000aa AT Anna");
    assert_eq!(answer(&mut jar, "q", &other), "COPY 00000000000000aa AT Anna");
    let unknown = (0..).map(|at| format!("{client}{at}"));
    let is_ours = |it: &String| {
        parts.is_holder(b"Anna", parts.of(jar.server.store().key(it.as_bytes()).leaf()))
    };
    let unknown = unknown.into_iter().find(is_ours).unwrap();
    assert_eq!(answer(&mut jar, "q", &unknown), "NONE 00000000000000aa");

    jar.said.clear();
    jar.tell(Input::Draining);
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    assert_eq!(said.lines().filter(|line| line.starts_with("UNSUB 4")).count(), held);
}

/// Goal: a server that leaves says so to all, and goes when the holders of its clients' parts keep
/// them. PROTOCOL 15.11.
#[test]
fn who_leaves_is_kept_by_those_who_hold_its_parts() {
    let mut jar = Jar::divided();
    jar.let_in();
    jar.meet("Bert");
    jar.meet("Cleo");
    let client = jar.client_held_by("Bert");
    jar.client(&format!("IAMAT {client} +1-1 50\n"));
    jar.become_complete();
    jar.said.clear();
    jar.tell(Input::Draining);
    jar.tell(Input::Leaving);
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    for name in ["Bert", "Cleo"] {
        let mut messages = said.split("PUB herd.test.s.");
        let is_bye = |it: &str| it.starts_with(name) && it.lines().any(|line| line == "BYE");
        assert!(messages.any(is_bye), "{name} hears no good-bye: {said}");
    }
    jar.hear("Cleo", "s.Anna", "KEPT");
    assert_eq!(jar.server.hand_over().kept_by, 0, "Cleo does not hold it");
    jar.hear("Bert", "s.Anna", "KEPT");
    assert_eq!(jar.server.hand_over().kept_by, 1);
}
