//! Stops servers that run, and has them look again at their files: `stop` and `reload`.
//!
//! The processes are not its children: each is found by what it holds in the run directory, and no
//! number is signalled that was not checked there.

use std::io::{self, Write};
use std::thread;
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::process::{Pid, Signal, kill_process};

use super::exit::{Exit, Failure};
use herd::run_dir::{Holder, RunDir};

use super::query::unreadable;
use super::query::{Sight, find_process, look_at_all};
use super::start::{PAUSE, lock};

/// The time for a server to stop, beyond that of its drain; and the time for the system to end one
/// that is killed.
pub const MARGIN: Duration = Duration::from_secs(5);

/// Servers that are asked to stop, and how long each may take.
struct Stopping {
    name: String,
    pid: u32,
    timeout: Duration,
}

/// Stops these servers, or all that run here.
///
/// Ends with [`Exit::NotKept`] if the disk of one has not taken all that it has answered.
///
/// # Errors
/// One of them cannot be stopped; the others have been.
pub fn stop(out: &mut impl Write, run_dir: &RunDir, names: &[String]) -> Result<Exit, Failure> {
    if !run_dir.path().exists() {
        return told_of_none(out, names);
    }
    // A full disk must keep no server from being stopped.
    let is_unwritable = run_dir.lock().is_err_and(|error| {
        matches!(error.kind(), io::ErrorKind::ReadOnlyFilesystem | io::ErrorKind::StorageFull)
    });
    let _lock = if is_unwritable { None } else { Some(lock(run_dir)?) };
    let is_chosen = !names.is_empty();
    let all = run_dir.names().map_err(|error| unreadable(run_dir, &error))?;
    stop_all(out, run_dir, if is_chosen { names } else { &all }, is_chosen)
}

fn told_of_none(out: &mut impl Write, names: &[String]) -> Result<Exit, Failure> {
    let written = match names {
        [] => writeln!(out, "No server is running."),
        names => names.iter().try_for_each(|name| writeln!(out, "{name}: not running")),
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Success)
}

/// The same for a caller that holds the lock of the run directory. Servers that do not run are
/// reported if they were chosen. Says whether all that they have answered is on the disk.
pub fn stop_all(
    out: &mut impl Write,
    run_dir: &RunDir,
    names: &[String],
    is_chosen: bool,
) -> Result<Exit, Failure> {
    let mut stopping = Vec::new();
    let mut failure = None;
    let mut tell = |line: String| {
        let told = writeln!(out, "{line}").and_then(|()| out.flush());
        told.map_err(|error| Failure::of_output(&error))
    };
    for (name, sight) in names.iter().zip(look_at_all(run_dir, names, &[])) {
        match ask_to_stop(run_dir, name, &sight) {
            Ok(Some(server)) => stopping.push(server),
            Ok(None) if is_chosen => tell(format!("{name}: not running"))?,
            Ok(None) => {}
            Err(why) => failure = Some(why),
        }
    }
    if stopping.is_empty() && failure.is_none() && !is_chosen {
        tell("No server is running.".to_owned())?;
    }
    let begun = Instant::now();
    let mut exit = Exit::Success;
    for server in stopping {
        match await_end(run_dir, &server, begun) {
            Ok(line) if run_dir.is_unkept(&server.name, server.pid) => {
                exit = Exit::NotKept;
                tell(format!("{line}, not kept: the disk has not taken all, its log says why"))?;
            }
            Ok(line) => tell(line)?,
            Err(why) => failure = Some(why),
        }
    }
    failure.map_or(Ok(exit), Err)
}

/// `None`: it does not run.
fn ask_to_stop(run_dir: &RunDir, name: &str, sight: &Sight) -> Result<Option<Stopping>, Failure> {
    let Some(pid) = checked_process(run_dir, name)? else { return Ok(None) };
    let (drain_s, is_draining) = match sight {
        Sight::Up(status) => (status.drain_s, status.draining),
        _ => (0, false),
    };
    // A second signal would cut short what it has begun.
    if !is_draining {
        signal(name, pid, Signal::TERM)?;
    }
    let timeout = Duration::from_secs(drain_s.max(5)) + MARGIN;
    Ok(Some(Stopping { name: name.to_owned(), pid, timeout }))
}

/// The process that is the server `name`, if it runs and can be signalled.
pub fn checked_process(run_dir: &RunDir, name: &str) -> Result<Option<u32>, Failure> {
    match find_process(run_dir, name) {
        Ok(Some(Holder::Process(pid))) => Ok(Some(pid)),
        Ok(None) => Ok(None),
        Ok(Some(Holder::OfAnotherUser(pid))) => Err(not_allowed(name, pid)),
        Ok(Some(Holder::Elsewhere)) => {
            let message = format!("{name} runs in another container: stop it there");
            Err(Failure::new(Exit::NotAllowed, message))
        }
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            Err(unreadable(run_dir, &error))
        }
        Err(error) => {
            let path = run_dir.path().display();
            let message = format!("{name} in {path} cannot be looked at: {error}");
            Err(Failure::new(Exit::System, message))
        }
    }
}

fn not_allowed(name: &str, pid: u32) -> Failure {
    let message = format!("{name} (pid {pid}) is another user's: do this as that user, or as root");
    Failure::new(Exit::NotAllowed, message)
}

/// A server that has ended meanwhile needs no signal.
pub fn signal(name: &str, pid: u32, signal: Signal) -> Result<(), Failure> {
    let Some(process) = i32::try_from(pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
    match kill_process(process, signal) {
        Ok(()) | Err(Errno::SRCH) => Ok(()),
        Err(Errno::PERM) => Err(not_allowed(name, pid)),
        Err(error) => {
            let message = format!("{name} (pid {pid}) cannot be signalled: {error}");
            Err(Failure::new(Exit::System, message))
        }
    }
}

/// Says how it ended.
fn await_end(run_dir: &RunDir, server: &Stopping, begun: Instant) -> Result<String, Failure> {
    let Stopping { name, pid, timeout } = server;
    let mut is_killed = false;
    while run_dir.lives(name, *pid) {
        let waited = begun.elapsed();
        if waited > *timeout && !is_killed {
            // The number may be another's by now.
            if run_dir.lives(name, *pid) {
                signal(name, *pid, Signal::KILL)?;
            }
            is_killed = true;
        }
        if waited > *timeout + MARGIN {
            let message = format!(
                "{name} (pid {pid}) was killed and has not ended: it may wait for a disk, see \
                 `ps -o stat,wchan -p {pid}`"
            );
            return Err(Failure::new(Exit::System, message));
        }
        thread::sleep(PAUSE);
    }
    if is_killed {
        let seconds = timeout.as_secs();
        return Ok(format!("{name}: killed, for it did not stop in {seconds} seconds (pid {pid})"));
    }
    Ok(format!("{name}: stopped (pid {pid})"))
}
