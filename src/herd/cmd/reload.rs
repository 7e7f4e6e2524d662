//! The command `herd reload`: running servers read again what may change while they run.

use std::io::Write;
use std::time::Duration;

use rustix::process::Signal;

use herd::run_dir::RunDir;
use herd::status::RELOAD;

use super::exit::{Exit, Failure};
use super::flags::RunningFlags;
use super::found;
use super::journal::orders::tell;
use super::query::unreadable;
use super::start::me;
use super::stop::{checked_process, signal};

/// A server may have to read a large file of places, or wait for a resolver.
const PATIENCE: Duration = Duration::from_secs(60);

/// Has servers, or all that run here, read their configuration again. With `wait`, says what has
/// come of it.
///
/// # Errors
/// One of them does not run, cannot be reached or refuses what it has read; the others have been
/// told. Or no server has a name that was given; then none has.
pub fn reload(out: &mut impl Write, flags: RunningFlags, wait: bool) -> Result<Exit, Failure> {
    let RunningFlags { names, place } = flags;
    let run_dir = &found(if wait { place.quietly() } else { place }, &names)?;
    let is_chosen = !names.is_empty();
    let all = run_dir.names().map_err(|error| unreadable(run_dir, &error))?;
    let mut failures = Vec::new();
    // What they say of a file that all of them read is one sentence.
    let mut refusals: Vec<(String, Vec<&str>)> = Vec::new();
    let mut count = 0;
    for name in if is_chosen { &names } else { &all } {
        match checked_process(run_dir, name) {
            Ok(Some(pid)) => {
                count += 1;
                match reload_one(run_dir, name, pid, wait) {
                    Ok(line) => {
                        writeln!(out, "{line}").map_err(|error| Failure::of_output(&error))?;
                    }
                    Err(Failure { exit: Exit::Config, message }) => {
                        match refusals.iter_mut().find(|(other, _)| *other == message) {
                            Some((_, names)) => names.push(name),
                            None => refusals.push((message, vec![name.as_str()])),
                        }
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
    for (message, names) in refusals {
        let go = if names.len() == 1 { "goes" } else { "go" };
        let message = format!("{} {go} on as before: {message}", names.join(", "));
        failures.push(Failure::new(Exit::Config, message));
    }
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
        return tell(run_dir, name, RELOAD, PATIENCE).map(|sentence| format!("{name}: {sentence}"));
    }
    signal(name, pid, Signal::HUP)?;
    Ok(format!("{name}: reloads (pid {pid}); its log says what came of it"))
}
