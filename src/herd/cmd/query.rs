//! What can be seen of a server from outside: by its files in the run directory, and by asking it,
//! on another machine by HTTP.
//!
//! The commands `status`, `pid`, `bench` and `stop` use it. It makes plain blocking calls, each
//! bounded by a deadline, and changes nothing.

use std::io::{self, ErrorKind};
use std::path::Path;
use std::thread;
use std::time::Duration;

use serde::Serialize;
use socket2::SockAddr;

use herd::config::herd::Member;
use herd::run_dir::{Holder, RunDir};
use herd::status::{QUESTION, Status};

use super::call::Call;
use super::exit::{Exit, Failure};
use super::{here, over_http};

/// A server answers within a turn; one that needs this long is stuck or stopped (SIGSTOP).
pub const STATUS_TIMEOUT: Duration = Duration::from_secs(2);

/// What can be seen of a server.
#[derive(Debug, Serialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum Sight {
    Up(Box<Status>),
    Stopped {
        name: String,
    },
    /// It lives, but the admin socket does not answer.
    NotAnswering {
        name: String,
        /// Unknown if it runs in another container, or its pid file is gone.
        pid: Option<u32>,
    },
    /// On another machine, where nothing can be asked from here.
    Elsewhere {
        name: String,
        client_address: String,
    },
    /// On another machine, where its port for operators answers. Clients may be sent there.
    Ready(Box<Status>),
    /// The same, but clients may not.
    NotReady(Box<Status>),
    Draining(Box<Status>),
    /// On another machine, and its port for operators does not answer as it should.
    Silent {
        name: String,
        client_address: String,
        why: String,
    },
    /// Its files cannot be read.
    Unreadable {
        name: String,
        why: String,
    },
}

impl Sight {
    /// What the server says of itself, if it says anything.
    pub fn status(&self) -> Option<&Status> {
        match self {
            Sight::Up(status)
            | Sight::Ready(status)
            | Sight::NotReady(status)
            | Sight::Draining(status) => Some(status),
            _ => None,
        }
    }
}

/// Looks at several at once, so that servers that do not answer cost one timeout and not one each.
/// Those of `herd` that do not run here and belong on another machine are asked there.
pub fn look_at_all(run_dir: &RunDir, names: &[String], herd: &[Member]) -> Vec<Sight> {
    let look_for = |name: &String| match look(run_dir, name) {
        Sight::Stopped { name } => {
            let member = herd.iter().find(|member| member.name == name);
            let far = member.filter(|member| !here::is_here(&member.clients));
            far.map_or(Sight::Stopped { name }, look_elsewhere)
        }
        sight => sight,
    };
    thread::scope(|scope| {
        let looks: Vec<_> = names.iter().map(|name| scope.spawn(move || look_for(name))).collect();
        let join = |look: thread::ScopedJoinHandle<'_, _>| {
            look.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        looks.into_iter().map(join).collect()
    })
}

/// Asks a server of another machine.
fn look_elsewhere(member: &Member) -> Sight {
    let (name, client_address) = (member.name.clone(), member.clients.to_string());
    let Some(at) = over_http::port_of(member) else {
        return Sight::Elsewhere { name, client_address };
    };
    match over_http::look(&at, STATUS_TIMEOUT) {
        Ok(report) if report.status.name != name => {
            let why = format!("{at} is that of {}", report.status.name);
            Sight::Silent { name, client_address, why }
        }
        Ok(report) if report.is_draining() => Sight::Draining(Box::new(report.status)),
        Ok(report) if report.is_ready() => Sight::Ready(Box::new(report.status)),
        Ok(report) => Sight::NotReady(Box::new(report.status)),
        Err(why) => Sight::Silent { name, client_address, why },
    }
}

/// Looks at one server. It takes [`STATUS_TIMEOUT`] if that is stuck.
pub fn look(run_dir: &RunDir, name: &str) -> Sight {
    let asked = run_dir.socket(name).and_then(|socket| ask(&socket));
    // The lock is looked at last: a server that started meanwhile is not taken for stopped.
    match (asked, run_dir.holder(name)) {
        // If two servers have one name, one of them has a longer name here: see
        // `RunDir::claim_beside`.
        (Ok(status), _) => Sight::Up(Box::new(Status { name: name.to_owned(), ..status })),
        (Err(error), Ok(None)) if error.kind() != ErrorKind::TimedOut => {
            Sight::Stopped { name: name.to_owned() }
        }
        (Err(_), Ok(holder)) => {
            let pid = match holder {
                Some(Holder::Process(pid) | Holder::OfAnotherUser(pid)) => Some(pid),
                Some(Holder::Elsewhere) | None => None,
            };
            Sight::NotAnswering { name: name.to_owned(), pid }
        }
        (Err(_), Err(why)) => Sight::Unreadable { name: name.to_owned(), why: why.to_string() },
    }
}

/// Which process is the server `name`; `None` if none is.
///
/// # Errors
/// Its files cannot be read, or it lives and nothing says which process it is.
pub fn find_process(run_dir: &RunDir, name: &str) -> io::Result<Option<Holder>> {
    if let Some(holder) = run_dir.holder(name)? {
        return Ok(Some(holder));
    }
    // Its pid file may have been removed, or it is stopping and has let go of its name.
    match run_dir.socket(name).and_then(|socket| ask(&socket)) {
        Ok(status) => Ok(Some(run_dir.check(name, status.pid))),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(io::Error::other(
            "it does not answer, and without its pid file nothing says which process it is",
        )),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Err(error),
        Err(_) => Ok(None),
    }
}

/// What a server says of itself.
///
/// # Errors
/// No server listens or answers in time, or the answer is no status.
pub fn ask(socket: &Path) -> io::Result<Status> {
    Ok(serde_json::from_slice(&ask_for(socket, QUESTION, STATUS_TIMEOUT)?)?)
}

/// What an admin socket answers to a line.
///
/// # Errors
/// No server listens, or none answers in time.
pub fn ask_for(socket: &Path, line: &str, patience: Duration) -> io::Result<Vec<u8>> {
    let mut call = Call::open(&SockAddr::unix(socket)?, patience)?;
    let mut answer = Vec::new();
    call.say(line.as_bytes())?;
    call.hear_out(&mut answer)?;
    Ok(answer)
}

/// Why the run directory, or a server's files in it, cannot be read.
pub fn unreadable(run_dir: &RunDir, error: &io::Error) -> Failure {
    let path = run_dir.path().display();
    if error.kind() == ErrorKind::PermissionDenied {
        let message = format!(
            "{path} is another user's ({error}): look as that user or as root, or name another run \
             directory with --run-dir"
        );
        return Failure::new(Exit::NotAllowed, message);
    }
    let message = format!("{path} cannot be read ({error}): name another with --run-dir");
    Failure::new(Exit::CannotCreate, message)
}
