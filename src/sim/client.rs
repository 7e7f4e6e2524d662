//! A client of the simulation: it says all it has to say at once, and then compares every answer
//! with its command. It knows the protocol as a client does, and no server's inside.

use std::cmp::Ordering;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use fastrand::Rng;

use super::host::EPOCH;
use super::invariants::{Invariant, Violation};
use super::scenario::Scenario;
use super::settings::WAITS_MAX;
use herd_core::names::Ticket;
use herd_core::store::rank;
use herd_core::wire::{Command, Report};

/// The first digits of a client's time, if its clock is not decades behind.
const AHEAD_DIGITS: &str = "18";

pub struct Client {
    name: String,
    /// Commands without an answer, oldest first.
    asked: VecDeque<Asked>,
    heard: Vec<u8>,
    /// The newest report of each client that this connection was answered with.
    seen: BTreeMap<Vec<u8>, String>,
    /// AT lines that answered an IAMAT: the server has the report.
    acknowledged: Vec<String>,
    pub half_closes: bool,
    /// For each question that its server has asked for it: whether the answer comes in time, and
    /// when it is settled.
    promises: BTreeMap<Ticket, (bool, Duration)>,
    /// When its server had received the last report that it can know of.
    pub stamped: i128,
    /// Why its reports may be refused, and why acknowledged ones may be forgotten.
    laxity: Laxity,
    /// The connection broke, or its server leaves: not every command will be answered.
    pub is_cut: bool,
    /// What of it has come to its server.
    said: Said,
    /// Answers so far.
    answers: usize,
    /// The AT line of the last answer to a question, or a question mark.
    told: Option<String>,
    /// Its server has let it go, behind so many answers.
    let_go_behind: Option<usize>,
}

/// What has come to a server.
#[derive(Default)]
struct Said {
    /// Whole lines that say something.
    lines: usize,
    /// When a line has begun that has no end.
    begun_at: Option<Duration>,
}

/// A line without an end is taken for whole after so long: the timeout of a host, or less.
const LINE_MAX: Duration = Duration::from_secs(7);

/// What a server may do that it must not in most runs.
#[derive(Clone, Copy, Default)]
struct Laxity {
    is_full: bool,
    refuses_ahead: bool,
    forgets: bool,
    /// Other servers are asked, and not always the same one.
    asks_others: bool,
}

enum Asked {
    Iamat { client: Vec<u8>, operands: String },
    Whatsat { line: String, client: Vec<u8>, radius: String },
    Nonsense { line: String },
}

impl Client {
    /// A client of the server of this name that reports this and no more.
    pub fn with_report(name: &str, operands: &str, scenario: &Scenario) -> (Client, Vec<u8>) {
        let mut client = Client {
            name: name.to_owned(),
            asked: VecDeque::new(),
            heard: Vec::new(),
            seen: BTreeMap::new(),
            acknowledged: Vec::new(),
            half_closes: true,
            promises: BTreeMap::new(),
            stamped: 0,
            laxity: Laxity {
                is_full: scenario.clients_max.is_some(),
                refuses_ahead: scenario.ahead_max.is_some(),
                forgets: scenario.expires_soon() || scenario.erasures > 0,
                asks_others: scenario.asks_others(),
            },
            is_cut: false,
            said: Said::default(),
            answers: 0,
            told: None,
            let_go_behind: None,
        };
        let said = client.iamat(operands.to_owned()).into_bytes();
        (client, said)
    }

    /// A client of the server of this name that asks where another one is, and does nothing else.
    pub fn with_question(name: &str, id: &str, scenario: &Scenario) -> (Client, Vec<u8>) {
        let (mut client, _) = Client::with_report(name, "nobody +0+0 0", scenario);
        client.asked.clear();
        let (line, radius) = (format!("WHATSAT {id} 1.25 1"), "1.25".to_owned());
        let said = format!("{line}\n").into_bytes();
        client.asked.push_back(Asked::Whatsat { line, client: id.into(), radius });
        (client, said)
    }

    /// What it was told last about the client that it asked for: an AT line, or a question mark.
    pub fn told(&self) -> Option<&str> {
        self.told.as_deref()
    }

    /// A client of the server of this name, and what it says. `before` was said by others.
    pub fn drawn(
        name: &str,
        before: &[String],
        scenario: &Scenario,
        random: &mut Rng,
    ) -> (Client, Vec<u8>) {
        let first = drawn_report(before, scenario, random);
        let (mut client, mut said) = Client::with_report(name, &first, scenario);
        client.half_closes = random.bool();
        said.push(b'\n');
        for at in 0..random.usize(0..11) {
            let id = drawn_id(scenario, random);
            let line = match random.u32(0..8) {
                0 => client.nonsense(at),
                1 | 2 => client.whatsat(id, random),
                _ => client.iamat(drawn_report(before, scenario, random)),
            };
            said.extend_from_slice(line.as_bytes());
            said.extend_from_slice([&b"\n"[..], b"\r\n", b" \t\n\n"][random.usize(0..3)]);
        }
        if random.bool() {
            // The end of the stream ends the last line too, and so does the server's timeout.
            let end = said.iter().rposition(|&byte| !byte.is_ascii_whitespace());
            said.truncate(end.map_or(0, |at| at + 1));
        }
        (client, said)
    }

    /// What it reports, without the first word.
    pub fn reports(&self) -> impl Iterator<Item = &String> {
        self.asked.iter().filter_map(|asked| match asked {
            Asked::Iamat { operands, .. } => Some(operands),
            _ => None,
        })
    }

    /// Commands that have no answer yet.
    pub fn waits_for(&self) -> usize {
        self.asked.len()
    }

    /// Its server has asked the places for it. The answer comes in time, or at `settled` the client
    /// learns that there was none.
    ///
    /// # Errors
    /// I9: too many of its questions are open.
    pub fn promise(
        &mut self,
        ticket: Ticket,
        is_in_time: bool,
        now: Duration,
        settled: Duration,
    ) -> Result<(), Violation> {
        // Others may be asked first, so the places are not always asked in the order of commands.
        self.promises.insert(ticket, (is_in_time, settled));
        let open = self.promises.values().filter(|(_, settled)| *settled > now).count();
        Invariant::Bounds
            .demand(open <= WAITS_MAX, || format!("{open} answers wait on one connection"))
    }

    fn iamat(&mut self, operands: String) -> String {
        let line = format!("IAMAT {operands}");
        let client = operands.split(' ').next().unwrap_or_default().as_bytes().to_vec();
        self.asked.push_back(Asked::Iamat { client, operands });
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

    /// This has come to its server.
    pub fn has_said(&mut self, piece: &[u8], now: Duration) {
        for byte in piece {
            match byte {
                b'\n' => self.said.lines += usize::from(self.said.begun_at.take().is_some()),
                byte if byte.is_ascii_whitespace() => {}
                _ => self.said.begun_at = self.said.begun_at.or(Some(now)),
            }
        }
    }

    /// Its server has let it go, and takes no more of it.
    ///
    /// # Errors
    /// I19: it was in the middle of a line.
    pub fn let_go(&mut self, now: Duration) -> Result<(), Violation> {
        self.is_cut = true;
        self.let_go_behind = Some(self.said.lines);
        let is_between = self.said.begun_at.is_none_or(|begun_at| begun_at + LINE_MAX < now);
        Invariant::LameDuck
            .demand(is_between, || format!("in the middle of a line, {} lets go", self.name))
    }

    /// Its connection breaks, and what it hears last means nothing.
    pub fn cut(&mut self) {
        (self.is_cut, self.let_go_behind) = (true, None);
    }

    /// Nothing follows what it has heard.
    ///
    /// # Errors
    /// I19: its server has let it go, and owes it an answer.
    pub fn ended(&self) -> Result<(), Violation> {
        let Some(behind) = self.let_go_behind else { return Ok(()) };
        let is_behind = self.answers >= behind && self.heard.is_empty();
        Invariant::LameDuck.demand(is_behind, || {
            let (name, answers) = (&self.name, self.answers);
            format!("{name} has let a client go behind {answers} answers of {behind}")
        })
    }

    /// For people: what waits, and for which answer it has begun to read.
    pub fn complaint(&self) -> String {
        let asked = self.asked.front().map(|asked| match asked {
            Asked::Iamat { operands, .. } => format!("IAMAT {operands}"),
            Asked::Whatsat { line, .. } | Asked::Nonsense { line } => line.clone(),
        });
        let (waits, name) = (self.asked.len(), &self.name);
        format!("{waits} commands were not answered by {name}, first {asked:?}")
    }

    /// Whether everything was answered.
    pub fn is_content(&self) -> bool {
        self.asked.is_empty() && self.heard.is_empty()
    }

    /// Reads answers, and gives the reports that they acknowledge.
    ///
    /// # Errors
    /// I8: the k-th answer does not answer the k-th command, or something else has come. I2: an
    /// answer is older than an earlier one on this connection.
    pub fn hear(&mut self, bytes: &[u8]) -> Result<Vec<String>, Violation> {
        self.heard.extend_from_slice(bytes);
        while let Some(asked) = self.asked.front() {
            let end = if self.heard.starts_with(b"? ") { b"\n" } else { asked.answer_end() };
            let Some(answer) = take_through(&mut self.heard, end) else { break };
            self.answers += 1;
            if let Some(asked) = self.asked.pop_front() {
                self.judge(asked, &answer)?;
            }
        }
        let is_fair = !self.asked.is_empty() || self.heard.is_empty();
        Invariant::Answers
            .demand(is_fair, || format!("an answer to nothing: {}", self.heard.escape_ascii()))?;
        Ok(std::mem::take(&mut self.acknowledged))
    }

    fn judge(&mut self, asked: Asked, answer: &str) -> Result<(), Violation> {
        let demand = |is_so: bool, asked: &str| {
            Invariant::Answers.demand(is_so, || format!("{answer:?} does not answer {asked:?}"))
        };
        let is_copy = |line: &str| answer.strip_prefix("? ").is_some_and(|a| a.trim_end() == line);
        match asked {
            Asked::Nonsense { line } => demand(is_copy(&line), &line),
            Asked::Iamat { client, operands } if answer.starts_with("? ") => {
                demand(is_copy(&format!("IAMAT {operands}")), &operands)?;
                let Laxity { is_full, refuses_ahead, forgets, .. } = self.laxity;
                let was_known = self.seen.contains_key(&client) && !forgets;
                let is_ahead = operands.contains(&format!(" {AHEAD_DIGITS}"));
                let is_fair = is_full && !was_known || refuses_ahead && is_ahead;
                demand(is_fair, &operands)
            }
            Asked::Iamat { client, operands } => {
                let from = format!("AT {} ", self.name);
                let is_own = answer.starts_with(&from);
                demand(is_own && answer.ends_with(&format!(" {operands}\n")), &operands)?;
                self.acknowledged.push(answer.to_owned());
                self.remember(client, answer)
            }
            Asked::Whatsat { line, client, .. } if answer.starts_with("? ") => {
                demand(is_copy(&line), &line)?;
                self.told = Some("?".to_owned());
                let was_known = self.seen.contains_key(&client) && !self.laxity.forgets;
                Invariant::Rising.demand(!was_known, || format!("{line:?} was answerable before"))
            }
            Asked::Whatsat { line, client, radius } => {
                let end = answer.find('\n').map_or(answer.len(), |newline| newline + 1);
                let (at_line, body) = answer.split_at(end);
                let in_time = body.contains(&format!("\"radius\":{radius},"));
                let is_late = body.contains("did not answer in time");
                demand(in_time || is_late, &line)?;
                let promise = self.promises.pop_first().map(|(_, (is_in_time, _))| is_in_time);
                let was_told = promise.is_some_and(|is_in_time| in_time || !is_in_time);
                Invariant::Answers
                    .demand(was_told, || format!("{line:?} had an answer and was told none"))?;
                let is_report = parse(at_line).is_some_and(|report| report.client == client);
                demand(is_report, &line)?;
                self.told = Some(at_line.to_owned());
                if let Some(seen) = self.seen.get(&client) {
                    let is_newer = rank(&report(at_line), &report(seen)) != Ordering::Less
                        || self.laxity.forgets;
                    Invariant::Rising
                        .demand(is_newer, || format!("{at_line:?} was answered after {seen:?}"))?;
                }
                // Where others are asked, the next one may not have heard what this one had.
                if self.laxity.asks_others {
                    return Ok(());
                }
                self.remember(client, at_line)
            }
        }
    }

    fn remember(&mut self, client: Vec<u8>, at_line: &str) -> Result<(), Violation> {
        let is_report = parse(at_line).is_some();
        Invariant::Answers.demand(is_report, || format!("{at_line:?} is no AT line"))?;
        let seen = self.seen.entry(client).or_insert_with(|| at_line.to_owned());
        if rank(&report(at_line), &report(seen)) == Ordering::Greater {
            *seen = at_line.to_owned();
        }
        Ok(())
    }
}

impl Asked {
    /// The end of an answer, which occurs nowhere else in it.
    fn answer_end(&self) -> &'static [u8] {
        match self {
            Asked::Whatsat { .. } => b"\n\n",
            Asked::Iamat { .. } | Asked::Nonsense { .. } => b"\n",
        }
    }
}

pub fn drawn_id(scenario: &Scenario, random: &mut Rng) -> String {
    format!("c{}{}", random.u32(0..scenario.ids), "-".repeat(scenario.id_bytes))
}

/// A report of a new client, or one that was made before: a client that had no answer tries
/// elsewhere.
fn drawn_report(before: &[String], scenario: &Scenario, random: &mut Rng) -> String {
    if scenario.repeats && !before.is_empty() && random.u32(0..4) == 0 {
        let latest = before.len().saturating_sub(10);
        return before[random.usize(latest..before.len())].clone();
    }
    let fraction = ["", ".0", ".000000001", ".0000000010", ".0000000019", ".5", ".500000001"];
    let seconds = match scenario.ahead_max {
        // Their clocks are right, or up to an hour ahead.
        Some(_) if random.u32(0..4) == 0 => EPOCH + random.u64(0..3_600),
        _ if scenario.ties => 7,
        _ => random.u64(0..1_000),
    };
    let time = format!("{seconds}{}", fraction[random.usize(0..fraction.len())]);
    let position = format!("+{}-{}.5", random.u32(0..3), random.u32(0..3));
    format!("{} {position} {time}", drawn_id(scenario, random))
}

/// Last words about some clients: reports that tie or are up to 40 ns apart, later than all else.
pub fn finale(scenario: &Scenario, random: &mut Rng) -> Vec<String> {
    let id = drawn_id(scenario, random);
    let base = random.u32(0..900_000_000);
    let telling = |random: &mut Rng| {
        let apart = if random.bool() { 0 } else { random.u32(1..=40) };
        format!("{id} +{}-1.5 2000.{:09}", random.u32(0..2), base + apart)
    };
    let mut propagation: Vec<String> = (0..random.usize(2..5)).map(|_| telling(random)).collect();
    if random.bool() {
        // The same line, word for word, at another server.
        propagation.push(propagation[0].clone());
    }
    propagation
}

fn take_through(bytes: &mut Vec<u8>, end: &[u8]) -> Option<String> {
    let at = memchr::memmem::find(bytes, end)?;
    let rest = bytes.split_off(at + end.len());
    let taken = std::mem::replace(bytes, rest);
    Some(String::from_utf8_lossy(&taken).into_owned())
}

fn parse(at_line: &str) -> Option<Report<'_>> {
    match Command::parse(at_line.as_bytes()) {
        Command::At(report) => Some(report),
        _ => None,
    }
}

/// The report of a line that was seen to be one before.
pub fn report(at_line: &str) -> Report<'_> {
    parse(at_line).expect("stores and clients keep only AT lines")
}
