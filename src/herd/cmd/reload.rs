//! The command `herd reload`: running servers read again what may change while they run.

use std::io::Write;
use std::time::Duration;

use rustix::process::Signal;

use herd::run_dir::RunDir;
use herd::status::RELOAD;

use super::exit::{Exit, Failure};
use super::journal::orders::tell;
use super::query::unreadable;
use super::start::me;
use super::stop::{checked_process, signal};

/// A server may have to read a large file of places, or wait for a resolver.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has these servers, or all that run here, read their configuration again. With `wait`, says what
/// has come of it.
///
/// # Errors
/// One of them does not run, cannot be reached or refuses what it has read; the others have been
/// told.
pub fn reload(
    out: &mut impl Write,
    run_dir: &RunDir,
    names: &[String],
    wait: bool,
) -> Result<Exit, Failure> {
    let is_chosen = !names.is_empty();
    let all = run_dir.names().map_err(|error| unreadable(run_dir, &error))?;
    let mut failures = Vec::new();
    let mut count = 0;
    for name in if is_chosen { names } else { &all } {
        match checked_process(run_dir, name) {
            Ok(Some(pid)) => {
                count += 1;
                match reload_one(run_dir, name, pid, wait) {
                    Ok(line) => {
                        writeln!(out, "{line}").map_err(|error| Failure::of_output(&error))?;
                    }
                    Err(why) => failures.push(why),
                }
            }
            Ok(None) if is_chosen => {
                let message = format!("{name} is not running: `{} start {name}`", me());
                failures.push(Failure::new(Exit::NotRunning, message));
            }
            Ok(None) => {}
            Err(why) => failures.push(why),
        }
    }
    out.flush().map_err(|error| Failure::of_output(&error))?;
    let messages = Vec::from_iter(failures.iter().map(|failure| failure.message.as_str()));
    match failures.last() {
        Some(Failure { exit, .. }) => Err(Failure::new(*exit, messages.join("\n"))),
        None if count == 0 => {
            let path = run_dir.path().display();
            let message = format!("no server is running (run directory {path})");
            Err(Failure::new(Exit::NotRunning, message))
        }
        None => Ok(Exit::Success),
    }
}

fn reload_one(run_dir: &RunDir, name: &str, pid: u32, wait: bool) -> Result<String, Failure> {
    if wait {
        return match tell(run_dir, name, RELOAD, PATIENCE) {
            Ok(sentence) => Ok(format!("{name}: {sentence}")),
            Err(Failure { exit: Exit::Config, message }) => {
                let message = format!("{name} goes on as before: {message}");
                Err(Failure::new(Exit::Config, message))
            }
            Err(why) => Err(why),
        };
    }
    signal(name, pid, Signal::HUP)?;
    Ok(format!("{name}: reloads (pid {pid}); its log says what came of it"))
}
