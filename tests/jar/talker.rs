//! A client in the jar: it says all it has to say at once, and then holds every answer against
//! its command. Apart because it knows the protocol as a client does, and no server's inside.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};

use fastrand::Rng;
use herd::core::store::rank;
use herd::core::wire::{Command, Report};

use super::chance::Chance;

pub struct Talker {
    server: &'static str,
    /// Commands without an answer, oldest first.
    asked: VecDeque<Asked>,
    heard: Vec<u8>,
    /// The newest report of each client that this connection was answered with.
    seen: BTreeMap<Vec<u8>, String>,
    /// AT lines that answered an IAMAT: the server has the report.
    pub acknowledged: Vec<String>,
    pub half_closes: bool,
    /// The connection broke; not every command will be answered.
    pub is_cut: bool,
}

enum Asked {
    Iamat { client: Vec<u8>, operands: String },
    Whatsat { line: String, client: Vec<u8>, radius: String },
    Nonsense { line: String },
}

impl Talker {
    /// A client of this server, and what it says.
    pub fn new(server: &'static str, chance: &Chance, random: &mut Rng) -> (Talker, Vec<u8>) {
        let mut talker = Talker {
            server,
            asked: VecDeque::new(),
            heard: Vec::new(),
            seen: BTreeMap::new(),
            acknowledged: Vec::new(),
            half_closes: random.bool(),
            is_cut: false,
        };
        let mut said = Vec::new();
        for at in 0..random.usize(1..12) {
            let id = format!("c{}{}", random.u32(0..chance.ids), "-".repeat(chance.id_bytes));
            let line = match random.u32(0..8) {
                0 => talker.nonsense(at),
                1 | 2 => talker.whatsat(id, random),
                _ => talker.iamat(id, chance, random),
            };
            said.extend_from_slice(line.as_bytes());
            said.extend_from_slice([&b"\n"[..], b"\r\n", b" \t\n\n"][random.usize(0..3)]);
        }
        if talker.half_closes && random.bool() {
            // The end of the stream ends the last line too.
            let end = said.iter().rposition(|&byte| !byte.is_ascii_whitespace());
            said.truncate(end.map_or(0, |at| at + 1));
        }
        (talker, said)
    }

    fn iamat(&mut self, id: String, chance: &Chance, random: &mut Rng) -> String {
        let fraction = ["", ".0", ".000000001", ".0000000010", ".0000000019", ".5", ".500000001"];
        let seconds = if chance.ties { 7 } else { random.u32(0..1_000) };
        let time = format!("{seconds}{}", fraction[random.usize(0..fraction.len())]);
        let position = format!("+{}-{}.5", random.u32(0..3), random.u32(0..3));
        let operands = format!("{id} {position} {time}");
        let line = format!("IAMAT {operands}");
        self.asked.push_back(Asked::Iamat { client: id.into(), operands });
        line
    }

    fn whatsat(&mut self, id: String, random: &mut Rng) -> String {
        let radius = format!("{}.25", random.u32(0..50));
        let line = format!("WHATSAT {id} {radius} {}", random.u32(0..21));
        self.asked.push_back(Asked::Whatsat { line: line.clone(), client: id.into(), radius });
        line
    }

    fn nonsense(&mut self, at: usize) -> String {
        let line = format!("WHATSAT nobody-{at} 51 5");
        self.asked.push_back(Asked::Nonsense { line: line.clone() });
        line
    }

    /// Whether everything was answered.
    pub fn is_content(&self) -> bool {
        self.asked.is_empty() && self.heard.is_empty()
    }

    /// The k-th answer must answer the k-th command, and nothing else may come.
    pub fn hear(&mut self, bytes: &[u8]) {
        self.heard.extend_from_slice(bytes);
        while let Some(asked) = self.asked.front() {
            let end = if self.heard.starts_with(b"? ") { b"\n" } else { asked.answer_end() };
            let Some(answer) = take_through(&mut self.heard, end) else { return };
            let asked = self.asked.pop_front().expect("it was just looked at");
            self.judge(asked, &answer);
        }
        assert!(self.heard.is_empty(), "an answer to nothing: {:?}", self.heard.escape_ascii());
    }

    fn judge(&mut self, asked: Asked, answer: &str) {
        match asked {
            Asked::Nonsense { line } => {
                assert!(answer.strip_prefix("? ").is_some_and(|copy| copy.trim_end() == line));
            }
            Asked::Iamat { client, operands } => {
                let from = format!("AT {} ", self.server);
                let ok = answer.starts_with(&from) && answer.ends_with(&format!(" {operands}\n"));
                assert!(ok, "{answer:?} does not answer {operands:?}");
                self.acknowledged.push(answer.to_owned());
                self.remember(client, answer);
            }
            Asked::Whatsat { line, client, .. } if answer.starts_with("? ") => {
                assert_eq!(answer[2..].trim_end(), line);
                assert!(!self.seen.contains_key(&client), "{client:?} was known before");
            }
            Asked::Whatsat { line, client, radius } => {
                let (at_line, body) = answer.split_at(answer.find('\n').unwrap() + 1);
                let in_time = body.contains(&format!("\"radius\":{radius},"));
                let late = body.contains("did not answer in time");
                assert!(in_time || late, "{answer:?} does not answer {line:?}");
                let report = report(at_line);
                assert_eq!(report.client, client);
                if let Some(seen) = self.seen.get(&client) {
                    let newer = rank(&report, &self::report(seen)) != Ordering::Less;
                    assert!(newer, "{at_line:?} is older than {seen:?}, seen before");
                }
                self.remember(client, at_line);
            }
        }
    }

    fn remember(&mut self, client: Vec<u8>, at_line: &str) {
        let seen = self.seen.entry(client).or_insert_with(|| at_line.to_owned());
        if rank(&report(at_line), &report(seen)) == Ordering::Greater {
            *seen = at_line.to_owned();
        }
    }
}

impl Asked {
    /// What an answer ends with, and has nowhere else.
    fn answer_end(&self) -> &'static [u8] {
        match self {
            Asked::Whatsat { .. } => b"\n\n",
            Asked::Iamat { .. } | Asked::Nonsense { .. } => b"\n",
        }
    }
}

fn take_through(bytes: &mut Vec<u8>, end: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(bytes, end)?;
    let rest = bytes.split_off(at + end.len());
    let taken = std::mem::replace(bytes, rest);
    Some(String::from_utf8(taken).expect("the jar's clients speak ASCII"))
}

pub fn report(at_line: &str) -> Report<'_> {
    match Command::parse(at_line.as_bytes()) {
        Command::At(report) => report,
        _ => panic!("{at_line:?} is no AT line"),
    }
}
