//! The command `herd reload`: running servers read again what may change while they run.

use std::io::Write;

use rustix::process::Signal;

use herd::run_dir::RunDir;

use super::exit::{Exit, Failure};
use super::query::unreadable;
use super::start::me;
use super::stop::{checked_process, signal};

/// Has these servers, or all that run here, open their logs anew and read their places again.
///
/// # Errors
/// One of them does not run, or cannot be signalled; the others have been.
pub fn reload(out: &mut impl Write, run_dir: &RunDir, names: &[String]) -> Result<Exit, Failure> {
    let is_chosen = !names.is_empty();
    let all = run_dir.names().map_err(|error| unreadable(run_dir, &error))?;
    let mut failure = None;
    let mut count = 0;
    for name in if is_chosen { names } else { &all } {
        let reloaded = checked_process(run_dir, name).and_then(|pid| match pid {
            Some(pid) => signal(name, pid, Signal::HUP).map(|()| Some(pid)),
            None => Ok(None),
        });
        match reloaded {
            Ok(Some(pid)) => {
                count += 1;
                writeln!(out, "{name}: reloads (pid {pid}); its log says what came of it")
                    .map_err(|error| Failure::of_output(&error))?;
            }
            Ok(None) if is_chosen => {
                let message = format!("{name} is not running: `{} start {name}`", me());
                failure = Some(Failure::new(Exit::NotRunning, message));
            }
            Ok(None) => {}
            Err(why) => failure = Some(why),
        }
    }
    out.flush().map_err(|error| Failure::of_output(&error))?;
    match failure {
        Some(failure) => Err(failure),
        None if count == 0 => {
            let path = run_dir.path().display();
            let message = format!("no server is running (run directory {path})");
            Err(Failure::new(Exit::NotRunning, message))
        }
        None => Ok(Exit::Success),
    }
}
