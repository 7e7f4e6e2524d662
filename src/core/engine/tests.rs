//! A server on a node that is played by hand: what it tells again when it cannot know that the node
//! has read it.

use std::collections::VecDeque;
use std::time::Duration;

use super::EngineSettings;
use crate::border::{Input, Output, Outputs, Timer};
use crate::clock::{Now, PosixTime};
use crate::names::{ConnId, ConnKind, PeerId};
use crate::wire::line_buffer::{LineLimits, Lines};
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
}

impl Jar {
    fn new() -> Jar {
        let engine = Some(EngineSettings::new(vec![b"Bert".to_vec()]));
        let mut jar = Jar {
            server: Server::new(Settings { engine, ..Settings::new("Anna", "test", Vec::new()) }),
            said: Vec::new(),
            due: VecDeque::new(),
            connections: 0,
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
        let now = Now { monotonic: Duration::ZERO, posix: PosixTime::new(100, 0) };
        let mut out = Outputs::default();
        self.server.handle(now, input, &mut out);
        for output in out.list.drain(..) {
            match output {
                Output::Send { conn, text } if conn.kind() == ConnKind::Engine => {
                    self.said.extend_from_slice(&out.text[text]);
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
        self.lines(ConnId::new(ConnKind::Client, 1, 2), said.as_bytes());
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
