//! `herd journal compact` and `herd journal hold`: what a running server does with its journal.

use std::io::{self, ErrorKind, Write};
use std::path::Path;

use herd::run_dir::RunDir;
use herd::status::{Order, Outcome};
use socket2::SockAddr;

use super::super::exit::{Exit, Failure};
use super::super::query::{Call, STATUS_TIMEOUT, unreadable};

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
    let socket = run_dir.socket(name).map_err(|error| unreadable(run_dir, &error))?;
    match tell(&socket, order) {
        Ok(Outcome::Done(sentence)) => {
            let written = writeln!(out, "{sentence}").and_then(|()| out.flush());
            written.map(|()| Exit::Success).map_err(|error| Failure::of_output(&error))
        }
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

fn tell(socket: &Path, order: Order) -> io::Result<Outcome> {
    let mut call = Call::open(&SockAddr::unix(socket)?, STATUS_TIMEOUT)?;
    let mut answer = Vec::new();
    call.say(format!("{order}\n").as_bytes())?;
    call.hear_out(&mut answer)?;
    serde_json::from_slice(&answer).map_err(|_| ErrorKind::InvalidData.into())
}
