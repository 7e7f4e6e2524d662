//! What a history must and must not show: a pure function from what was seen to what was wrong
//! with it. Apart from everything that makes histories, so that it can be shown wrong ones.
//!
//! It knows the total order of reports and nothing else of how servers agree. Where it cannot
//! know something, it believes the herd: a report that was not answered may have been heard, or
//! not; what only a dead server had may be lost. So whatever it complains of is a fault.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use herd_core::store::rank;

use crate::record::{Connection, Exchange, History, Life, report};

/// What is promised, and was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Promise {
    /// Answer k of a connection answers its request k, and nothing else is said.
    AnswersInOrder,
    /// An AT line repeats a report that was made, and the stamp of the server that took it.
    NoPhantom,
    /// One life of a server never goes back behind what it has said or taken.
    NeverBack,
    /// What a server that lives has said or taken is there in the end.
    NothingLost,
    /// In the end all servers give the same AT line for every client.
    Agreement,
}

#[derive(Clone, Debug)]
pub struct Complaint {
    pub broken: Promise,
    /// What was seen.
    pub seen: String,
}

/// All that is wrong with a history.
pub fn check(history: &History) -> Vec<Complaint> {
    let mut complaints = Complaints::default();
    history.connections.iter().for_each(|connection| answers(connection, &mut complaints));
    phantoms(history, &mut complaints);
    for (of, moments) in lives(history) {
        never_back(&of, &moments, &mut complaints);
        if history.alive.contains(of.life) {
            nothing_lost(&of, &moments, history, &mut complaints);
        }
    }
    agreement(history, &mut complaints);
    complaints.0
}

#[derive(Default)]
struct Complaints(Vec<Complaint>);

impl Complaints {
    fn add(&mut self, broken: Promise, seen: String) {
        self.0.push(Complaint { broken, seen });
    }
}

// ---- answers in order ----

fn answers(connection: &Connection, complaints: &mut Complaints) {
    let mut is_silent = false;
    for exchange in &connection.exchanges {
        let Some((_, answer)) = &exchange.answer else {
            is_silent = true;
            continue;
        };
        let fits = if exchange.is_report() {
            is_report_answer(&exchange.request, &connection.with.server, answer)
        } else {
            is_question_answer(exchange, answer)
        };
        if is_silent || !fits {
            let seen = format!("{:?} was answered {answer:?}", exchange.request);
            complaints.add(Promise::AnswersInOrder, seen);
        }
    }
    if !connection.more.is_empty() {
        complaints.add(Promise::AnswersInOrder, format!("and then came {:?}", connection.more));
    }
}

/// `AT`, this server, a skew with its sign, and the operands as they were.
fn is_report_answer(request: &str, server: &str, answer: &str) -> bool {
    let Some(line) = answer.strip_suffix('\n') else { return false };
    let fields: Vec<&str> = line.split(' ').collect();
    let operands: Vec<&str> = request.split(' ').skip(1).collect();
    let [_, by, skew, at @ ..] = fields.as_slice() else { return false };
    *by == server && skew.starts_with(['+', '-']) && at == operands && report(line).is_some()
}

/// The AT line of the client asked for and a body; or the request, from a server that does not know
/// it.
fn is_question_answer(exchange: &Exchange, answer: &str) -> bool {
    if let Some(copy) = answer.strip_prefix("? ") {
        return copy.strip_suffix('\n') == Some(&exchange.request);
    }
    let Some((line, body)) = answer.split_once('\n') else { return false };
    let is_of_client = report(line).is_some_and(|at| at.client == exchange.client().as_bytes());
    is_of_client && body.starts_with('{') && body.find("\n\n") == Some(body.len() - 2)
}

// ---- no phantom ----

/// The reports that may have brought an AT line about: same server, same operands.
#[derive(Default)]
struct Origin<'a> {
    first_asked: Option<Duration>,
    /// The lines with which they were answered.
    answers: BTreeSet<&'a str>,
    /// Those that were not answered: each may have been given any one stamp.
    unanswered: usize,
    stamps_seen: BTreeSet<&'a str>,
}

/// The server and the operands of an AT line: all but the first word and the skew.
fn origin_of(line: &str) -> Option<(&str, &str)> {
    let mut fields = line.splitn(4, ' ');
    let (_, server, _, operands) = (fields.next()?, fields.next()?, fields.next()?, fields.next()?);
    Some((server, operands))
}

fn phantoms(history: &History, complaints: &mut Complaints) {
    let mut origins: BTreeMap<(&str, &str), Origin> = BTreeMap::new();
    for connection in &history.connections {
        for exchange in connection.exchanges.iter().filter(|exchange| exchange.is_report()) {
            let Some((_, operands)) = exchange.request.split_once(' ') else { continue };
            let origin = origins.entry((&connection.with.server, operands)).or_default();
            let earlier = origin.first_asked.unwrap_or(exchange.asked).min(exchange.asked);
            origin.first_asked = Some(earlier);
            match exchange.at_line() {
                Some(line) => _ = origin.answers.insert(line),
                None => origin.unanswered += 1,
            }
        }
    }
    let questions = history.connections.iter().flat_map(|connection| &connection.exchanges);
    let questions = questions.filter(|exchange| !exchange.is_report());
    let given = questions.filter_map(|asked| Some((asked.answer.as_ref()?.0, asked.at_line()?)));
    let healed = history.healed.values().flat_map(BTreeMap::values);
    for (when, line) in given.chain(healed.map(|line| (Duration::MAX, line.as_str()))) {
        let origin = origin_of(line).and_then(|key| origins.get_mut(&key));
        let Some(origin) = origin.filter(|origin| origin.first_asked.is_some_and(|at| at < when))
        else {
            complaints.add(Promise::NoPhantom, format!("nobody had reported {line:?}"));
            continue;
        };
        let is_new = !origin.answers.contains(line) && origin.stamps_seen.insert(line);
        if is_new && origin.stamps_seen.len() > origin.unanswered {
            complaints.add(Promise::NoPhantom, format!("no server stamped {line:?}"));
        }
    }
}

// ---- what one life of a server has said and taken ----

struct Of<'a> {
    life: &'a Life,
    client: &'a str,
}

/// An answered exchange about one client with one life of a server.
struct Moment<'a> {
    connection: usize,
    asked: Duration,
    answered: Duration,
    is_report: bool,
    /// `None`: the server did not know the client.
    line: Option<&'a str>,
}

fn lives(history: &History) -> Vec<(Of<'_>, Vec<Moment<'_>>)> {
    let mut lives: BTreeMap<(&Life, &str), Vec<Moment>> = BTreeMap::new();
    for (number, connection) in history.connections.iter().enumerate() {
        for exchange in &connection.exchanges {
            let Some((answered, _)) = exchange.answer else { continue };
            let (asked, is_report, line) =
                (exchange.asked, exchange.is_report(), exchange.at_line());
            let moment = Moment { connection: number, asked, answered, is_report, line };
            lives.entry((&connection.with, exchange.client())).or_default().push(moment);
        }
    }
    let of = |((life, client), moments)| (Of { life, client }, moments);
    lives.into_iter().map(of).collect()
}

/// The order of reports; not to know a client is less than anything.
fn order(one: Option<&str>, other: Option<&str>) -> Ordering {
    match (one.and_then(report), other.and_then(report)) {
        (Some(one), Some(other)) => rank(&one, &other),
        (one, other) => one.is_some().cmp(&other.is_some()),
    }
}

fn newer<'a>(one: Option<&'a str>, other: Option<&'a str>) -> Option<&'a str> {
    if order(one, other) == Ordering::Less { other } else { one }
}

/// Demands that no question is answered with less than what the same life had said or taken
/// before: earlier on the same connection, or answered on another one before this was asked.
fn never_back(of: &Of<'_>, moments: &[Moment<'_>], complaints: &mut Complaints) {
    let mut by_answer: Vec<&Moment> = moments.iter().collect();
    by_answer.sort_by_key(|moment| moment.answered);
    let mut by_question: Vec<(usize, &Moment)> = moments.iter().enumerate().collect();
    by_question.sort_by_key(|(position, moment)| (moment.asked, *position));

    let mut answered = by_answer.into_iter().peekable();
    let mut floor = None;
    let mut floors: BTreeMap<usize, Option<&str>> = BTreeMap::new();
    for (_, moment) in by_question {
        while let Some(before) = answered.next_if(|before| before.answered < moment.asked) {
            floor = newer(floor, before.line);
        }
        let own = floors.entry(moment.connection).or_default();
        let least = newer(floor, *own);
        if !moment.is_report && order(moment.line, least) == Ordering::Less {
            let (Life { server, number }, client) = (of.life, of.client);
            let line = moment.line;
            let seen = format!("{server} ({number}) said {line:?} of {client} after {least:?}");
            complaints.add(Promise::NeverBack, seen);
        }
        *own = newer(*own, moment.line);
    }
}

fn nothing_lost(
    of: &Of<'_>,
    moments: &[Moment<'_>],
    history: &History,
    complaints: &mut Complaints,
) {
    let newest = moments.iter().fold(None, |newest, moment| newer(newest, moment.line));
    for (server, held) in &history.healed {
        let held = held.get(of.client).map(String::as_str);
        if order(held, newest) == Ordering::Less {
            let seen =
                format!("{server} ends with {held:?}; {} once had {newest:?}", of.life.server);
            complaints.add(Promise::NothingLost, seen);
        }
    }
}

fn agreement(history: &History, complaints: &mut Complaints) {
    let Some((first, expected)) = history.healed.first_key_value() else {
        return complaints.add(Promise::Agreement, "nobody was asked in the end".into());
    };
    for (server, held) in &history.healed {
        let clients: BTreeSet<&String> = held.keys().chain(expected.keys()).collect();
        for client in clients {
            let [one, other] = [expected, held].map(|lines| lines.get(client));
            if one != other {
                let seen = format!("{first} ends with {one:?}, {server} with {other:?}");
                complaints.add(Promise::Agreement, seen);
            }
        }
    }
}
