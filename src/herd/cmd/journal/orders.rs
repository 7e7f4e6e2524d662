//! `herd journal compact` and `herd journal hold`: what a running server does with its journal.

use std::io::{self, ErrorKind, Write};
use std::path::Path;
use std::time::Duration;

use herd::run_dir::RunDir;
use herd::status::{Order, Outcome};
use socket2::SockAddr;

use super::super::call::Call;
use super::super::exit::{Exit, Failure};
use super::super::query::{STATUS_TIMEOUT, unreadable};

/// Tells a server to do something, and prints what it says.
///
/// # Errors
/// It does not run, does not answer or does not do it, or `out` cannot be written.
pub fn give(
    out: &mut impl Write,
    run_dir: &RunDir,
    name: &str,
    order: Order,
) -> Result<Exit, Failure> {
    let sentence = tell(run_dir, name, &format!("{order}\n"), STATUS_TIMEOUT)?;
    let written = writeln!(out, "{sentence}").and_then(|()| out.flush());
    written.map(|()| Exit::Success).map_err(|error| Failure::of_output(&error))
}

/// Tells a server to do something, and gives what it says.
///
/// # Errors
/// It does not run, does not answer in time or does not do it.
pub fn tell(
    run_dir: &RunDir,
    name: &str,
    line: &str,
    patience: Duration,
) -> Result<String, Failure> {
    let socket = run_dir.socket(name).map_err(|error| unreadable(run_dir, &error))?;
    match call(&socket, line, patience) {
        Ok(Outcome::Done(sentence)) => Ok(sentence),
        Ok(Outcome::Refused(sentence)) => Err(Failure::new(Exit::Config, sentence)),
        Err(error) => Err(match error.kind() {
            ErrorKind::PermissionDenied => unreadable(run_dir, &error),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
                let path = run_dir.path().display();
                let sentence = format!("{name} is not running (run directory {path})");
                Failure::new(Exit::NotRunning, sentence)
            }
            ErrorKind::InvalidData => {
                let sentence = format!("{name} does not know this: restart it with this program");
                Failure::new(Exit::Unreachable, sentence)
            }
            _ => {
                let sentence = format!("{name} does not answer ({error}): try it again");
                Failure::new(Exit::Unreachable, sentence)
            }
        }),
    }
}

fn call(socket: &Path, line: &str, patience: Duration) -> io::Result<Outcome> {
    let mut call = Call::open(&SockAddr::unix(socket)?, patience)?;
    let mut answer = Vec::new();
    call.say(line.as_bytes())?;
    call.hear_out(&mut answer)?;
    serde_json::from_slice(&answer).map_err(|_| ErrorKind::InvalidData.into())
}
