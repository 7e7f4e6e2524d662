//! A client that never gives up: it reports and asks at whatever server it reaches, many lines at
//! once, and writes down what it said and heard. Apart because it must not know what goes wrong:
//! it sees a herd as any client does, through connections that fail.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;

use crate::record::{Connection, Exchange, Life};

/// What those who talk and those who make trouble know of each other.
pub struct Field {
    begun: Instant,
    /// Where clients find each server, and which life it is in: odd while it lives.
    servers: BTreeMap<String, (u16, AtomicUsize)>,
    is_closing: AtomicBool,
}

impl Field {
    pub fn new(servers: impl Iterator<Item = (String, u16)>) -> Field {
        let servers = servers.map(|(name, port)| (name, (port, AtomicUsize::new(0))));
        Field {
            begun: Instant::now(),
            servers: servers.collect(),
            is_closing: AtomicBool::new(false),
        }
    }

    /// A server is about to die, or has come to life.
    pub fn turns(&self, server: &str) {
        self.servers[server].1.fetch_add(1, Ordering::SeqCst);
    }

    pub fn life(&self, server: &str) -> Life {
        Life { server: server.to_owned(), number: self.servers[server].1.load(Ordering::SeqCst) }
    }

    /// From now on, everybody says their last words.
    pub fn close(&self) {
        self.is_closing.store(true, Ordering::SeqCst);
    }

    fn is_closing(&self) -> bool {
        self.is_closing.load(Ordering::SeqCst)
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Connects with a server if it can be said with which of its lives.
    fn connect(&self, server: &str) -> Option<(Life, TcpStream)> {
        let life = self.life(server);
        let is_alive = life.number % 2 == 1;
        let stream = is_alive.then(|| TcpStream::connect(("127.0.0.1", self.servers[server].0)));
        let stream = stream?.ok()?;
        (self.life(server) == life).then_some((life, stream))
    }
}

/// All that anybody reports. Few names and few places, so that reports meet and tie.
pub const CLIENTS: [&str; 8] = ["kiwi", "pear", "plum", "fig", "lime", "date", "sloe", "haw"];
const POSITIONS: [&str; 4] = ["+34.068930-118.445127", "+34.06893-118.445127", "-1+1", "+1-1"];
/// Equal, nearly equal, and equal but for how they are spelled.
const FRACTIONS: [&str; 8] =
    ["", ".0", ".000000001", ".000000002", ".0000000011", ".0000000012", ".5", ".50"];
const EPOCH: u64 = 1_520_023_934;
/// Long after everything else that anybody reports.
const LAST: u64 = EPOCH + 1_000_000;
const LINES_MAX: usize = 12;

pub struct Talker<'a> {
    field: &'a Field,
    random: Rng,
    connections: Vec<Connection>,
    /// Lines to be said again, elsewhere.
    again: Vec<String>,
}

impl<'a> Talker<'a> {
    pub fn new(field: &'a Field, seed: u64) -> Talker<'a> {
        let random = Rng::with_seed(seed);
        Talker { field, random, connections: Vec::new(), again: Vec::new() }
    }

    /// Talks until the field is closing, and then says its last words.
    pub fn talk(mut self) -> Vec<Connection> {
        while !self.field.is_closing() {
            let turns = self.random.usize(1..8);
            self.visit(turns, Self::lines);
        }
        let last: Vec<String> = CLIENTS.map(|client| self.report(client, LAST)).into();
        // The same lines at two servers, wherever they can be said.
        for _ in 0..2 {
            self.visit(1, |_| last.clone());
        }
        self.connections
    }

    /// Connects with somebody and says what `lines` gives, so many times.
    fn visit(&mut self, turns: usize, lines: impl Fn(&mut Self) -> Vec<String>) {
        let names: Vec<&String> = self.field.servers.keys().collect();
        let name = names[self.random.usize(..names.len())];
        let Some((life, stream)) = self.field.connect(name) else {
            thread::sleep(Duration::from_millis(20));
            return;
        };
        let timeout = Duration::from_millis(self.random.u64(300..1500));
        let mut visit = Visit::new(self.field, life, stream, timeout);
        for _ in 0..turns {
            let lines = lines(self);
            let is_answered = visit.ask(&lines);
            let is_told_again = |_: &String| !is_answered || self.random.u8(..10) == 0;
            self.again.extend(lines.into_iter().filter(is_told_again));
            if !is_answered {
                break;
            }
            thread::sleep(Duration::from_millis(self.random.u64(..30)));
        }
        self.connections.push(visit.leave());
    }

    fn lines(&mut self) -> Vec<String> {
        let count = self.random.usize(1..=LINES_MAX);
        let mut lines = std::mem::take(&mut self.again);
        lines.truncate(count);
        while lines.len() < count {
            let client = CLIENTS[self.random.usize(..CLIENTS.len())];
            // A new second every tenth of one, so that others report the same second.
            let second = EPOCH + self.field.now().as_millis() as u64 / 100;
            let second = second - self.random.u64(..3);
            let radius = self.random.u8(0..=50);
            lines.push(match self.random.u8(..5) {
                0..3 => self.report(client, second),
                _ => format!("WHATSAT {client} {radius} 0"),
            });
        }
        lines
    }

    fn report(&mut self, client: &str, second: u64) -> String {
        let position = POSITIONS[self.random.usize(..POSITIONS.len())];
        let fraction = FRACTIONS[self.random.usize(..FRACTIONS.len())];
        format!("IAMAT {client} {position} {second}{fraction}")
    }
}

/// One connection while it lasts.
struct Visit<'a> {
    field: &'a Field,
    stream: BufReader<TcpStream>,
    connection: Connection,
}

impl<'a> Visit<'a> {
    fn new(field: &'a Field, with: Life, stream: TcpStream, timeout: Duration) -> Visit<'a> {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(timeout)).unwrap();
        stream.set_write_timeout(Some(timeout)).unwrap();
        let connection = Connection { with, exchanges: Vec::new(), more: String::new() };
        Visit { field, stream: BufReader::new(stream), connection }
    }

    /// Says all lines at once, then listens. Says whether all were answered in time.
    fn ask(&mut self, lines: &[String]) -> bool {
        let asked = self.field.now();
        let first = self.connection.exchanges.len();
        let exchanges =
            lines.iter().map(|line| Exchange { asked, request: line.clone(), answer: None });
        self.connection.exchanges.extend(exchanges);
        let text: String = lines.iter().flat_map(|line| [line, "\n"]).collect();
        if self.stream.get_mut().write_all(text.as_bytes()).is_err() {
            return false;
        }
        for number in first..first + lines.len() {
            let is_report = self.connection.exchanges[number].is_report();
            let Some(answer) = self.hear(is_report) else { return false };
            self.connection.exchanges[number].answer = Some((self.field.now(), answer));
        }
        true
    }

    /// One answer: a line, and after the AT line of a question a body that ends with a blank one.
    fn hear(&mut self, is_report: bool) -> Option<String> {
        let mut answer = Vec::new();
        self.hear_line(&mut answer)?;
        if !is_report && !answer.starts_with(b"? ") {
            while self.hear_line(&mut answer)? > 1 {}
        }
        Some(String::from_utf8_lossy(&answer).into_owned())
    }

    /// Adds a whole line and says how long it is; `None` if it does not come.
    fn hear_line(&mut self, answer: &mut Vec<u8>) -> Option<usize> {
        let count = self.stream.read_until(b'\n', answer).ok()?;
        answer.ends_with(b"\n").then_some(count)
    }

    /// Hangs up. Who was answered everything first listens whether there is more.
    fn leave(mut self) -> Connection {
        if self.connection.exchanges.iter().all(|exchange| exchange.answer.is_some()) {
            let _ = self.stream.get_mut().shutdown(Shutdown::Write);
            let mut more = Vec::new();
            // A reset or a silence is an end as good as any.
            let _ = self.stream.read_to_end(&mut more);
            self.connection.more = String::from_utf8_lossy(&more).into_owned();
        }
        self.connection
    }
}
