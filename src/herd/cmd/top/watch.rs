//! Asks servers once a second, each by a thread of its own: one that is slow delays no other.
//!
//! A thread may hang in a look-up of a name; nobody waits for it, and it ends with the process.

use std::io::{self, ErrorKind, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use herd::config::Address;
use herd::config::herd::Member;
use herd::run_dir::RunDir;
use herd::status::{ConnectionStatus, ConnectionsPage, METRICS, QUESTION};

use crate::cmd::over_http::{self, Readings, Report};
use crate::cmd::{here, query};

/// How often a server is asked.
pub const INTERVAL: Duration = Duration::from_secs(1);
/// How long a server has for all that it is asked at a time.
pub const PATIENCE: Duration = Duration::from_secs(1);
/// As many connections as a tall terminal has lines.
const CONNECTIONS: usize = 100;

/// Who is asked, and where.
#[derive(Clone)]
pub struct Target {
    pub name: String,
    pub at: Place,
}

#[derive(Clone)]
pub enum Place {
    /// The run directory, and where that has no such server, as the herd says.
    Named(RunDir, Option<Box<Member>>),
    /// A port for operators; any server may answer there.
    Port(Address),
}

impl Target {
    /// Its name; at a port that is named by its address, the name of who answers there.
    pub fn shown<'a>(&'a self, sample: &'a Sample) -> &'a str {
        match (&self.at, &sample.seen) {
            (Place::Port(_), Seen::Answer(report)) => &report.status.name,
            _ => &self.name,
        }
    }
}

/// What one asking has shown.
pub struct Sample {
    pub at: Instant,
    pub seen: Seen,
    /// Of the server whose connections are wanted.
    pub connections: Option<Result<Vec<ConnectionStatus>, String>>,
}

pub enum Seen {
    Answer(Box<Report>),
    /// It belongs here and does not run.
    Stopped,
    /// It is on another machine, and nothing says where it could be asked.
    Elsewhere(String),
    /// It should answer and does not: a sentence that says why.
    Silent(String),
}

/// Whose connections are wanted, and in which order: by its number among the targets.
#[derive(Clone, Copy, Default)]
pub struct Wanted {
    pub target: Option<usize>,
    pub order: &'static str,
}

/// What the threads share with the one that shows.
#[derive(Clone)]
pub struct Post {
    pub samples: Sender<(usize, Sample)>,
    pub wanted: Arc<Mutex<Wanted>>,
    /// A byte for each sample, so that it can be waited for together with keys.
    pub bell: Option<Arc<UnixStream>>,
}

impl Post {
    /// `Err`: nobody looks any more.
    fn put(&self, number: usize, sample: Sample) -> Result<(), ()> {
        self.samples.send((number, sample)).map_err(|_| ())?;
        if let Some(bell) = &self.bell {
            // A bell that rings already is heard.
            let _ = (&**bell).write(&[0]);
        }
        Ok(())
    }
}

/// Begins to ask a target, so many times or for ever.
///
/// # Errors
/// The system gives no thread.
pub fn watch(number: usize, target: Target, rounds: Option<u32>, post: Post) -> io::Result<()> {
    let work = move || {
        let began = Instant::now();
        for round in 0.. {
            let sample = look(number, &target, &post.wanted);
            if post.put(number, sample).is_err() || rounds.is_some_and(|most| round + 1 >= most) {
                return;
            }
            // Never twice in a row because one look took long.
            let next = INTERVAL * (began.elapsed().as_secs() as u32 + 1);
            thread::sleep(next.saturating_sub(began.elapsed()));
        }
    };
    thread::Builder::new().name(format!("asks {number}")).spawn(work).map(drop)
}

fn look(number: usize, target: &Target, wanted: &Mutex<Wanted>) -> Sample {
    let (seen, port) = match &target.at {
        Place::Port(at) => (ask_port(at, None), Some(at.clone())),
        Place::Named(run_dir, member) => match look_here(run_dir, &target.name) {
            Seen::Stopped => {
                member.as_ref().map_or((Seen::Stopped, None), |member| look_there(member))
            }
            seen => (seen, None),
        },
    };
    let at = Instant::now();
    let wanted = *wanted.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let connections = match &seen {
        Seen::Answer(report) if wanted.target == Some(number) => {
            Some(connections(report, port, wanted.order))
        }
        _ => None,
    };
    Sample { at, seen, connections }
}

/// By the admin socket.
fn look_here(run_dir: &RunDir, name: &str) -> Seen {
    let ask = |line| query::ask_for(&run_dir.socket(name)?, line, PATIENCE);
    let answers = ask(QUESTION).and_then(|status| Ok((status, ask(METRICS)?)));
    let report = answers.and_then(|(status, metrics)| {
        let readings = Readings::parse(&String::from_utf8_lossy(&metrics));
        Ok(Box::new(Report { status: serde_json::from_slice(&status)?, readings }))
    });
    match (report, run_dir.holder(name)) {
        (Ok(report), _) => Seen::Answer(report),
        (Err(error), Ok(None)) if error.kind() != ErrorKind::TimedOut => Seen::Stopped,
        (Err(error), Ok(_)) if error.kind() == ErrorKind::TimedOut => {
            Seen::Silent(format!("it runs here and has not answered within {PATIENCE:?}"))
        }
        (Err(error), _) => Seen::Silent(format!("it runs here and cannot be asked: {error}")),
    }
}

/// By HTTP, if it is on another machine.
fn look_there(member: &Member) -> (Seen, Option<Address>) {
    if here::is_here(&member.clients) {
        return (Seen::Stopped, None);
    }
    match over_http::port_of(member) {
        None => (Seen::Elsewhere(member.clients.to_string()), None),
        Some(at) => (ask_port(&at, Some(&member.name)), Some(at)),
    }
}

fn ask_port(at: &Address, name: Option<&str>) -> Seen {
    match over_http::look(at, PATIENCE) {
        Ok(report) if name.is_some_and(|name| name != report.status.name) => {
            Seen::Silent(format!("{at} is that of {}", report.status.name))
        }
        Ok(report) => Seen::Answer(Box::new(report)),
        Err(why) => Seen::Silent(why),
    }
}

/// Who is connected to a server; one of this machine says itself where that is answered.
fn connections(
    report: &Report,
    port: Option<Address>,
    order: &str,
) -> Result<Vec<ConnectionStatus>, String> {
    let own = report.status.operators_address.as_ref();
    let at = port.or_else(|| own.and_then(|at| at.parse().ok()));
    let at = at.ok_or("its port for operators is off")?;
    let path = format!("/connections?limit={CONNECTIONS}&sort={order}");
    let answers = over_http::ask(&at, &[&path], PATIENCE)?;
    let page: ConnectionsPage = serde_json::from_slice(&answers[0].body)
        .map_err(|_| format!("{at} says nothing of connections"))?;
    Ok(page.connections)
}
