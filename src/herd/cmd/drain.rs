//! The command `herd drain`: one server stops in good order, as slowly as herd.toml wants it.

use std::io::Write;
use std::thread;
use std::time::{Duration, Instant};

use herd::run_dir::RunDir;
use herd::status::Order;

use super::exit::{Exit, Failure};
use super::journal::orders;
use super::query::{Sight, look};
use super::start::PAUSE;
use super::stop::{MARGIN, checked_process};

/// Tells a server to drain, and waits until it has ended if that is wanted.
///
/// Ends with [`Exit::NotKept`] if its disk has not taken all that it has answered.
///
/// # Errors
/// It does not run or does not answer, or it has not ended when it should have.
pub fn drain(
    out: &mut impl Write,
    run_dir: &RunDir,
    name: &str,
    waits: bool,
) -> Result<Exit, Failure> {
    // While it drains it may go by another name, or by none.
    let pid = if waits { checked_process(run_dir, name)? } else { None };
    let bound = match look(run_dir, name) {
        Sight::Up(status) => Duration::from_secs(status.drain_s),
        _ => Duration::ZERO,
    };
    orders::give(out, run_dir, name, Order::Drain)?;
    let Some(pid) = pid else { return Ok(Exit::Success) };
    let begun = Instant::now();
    while run_dir.lives(name, pid) {
        if begun.elapsed() > bound + MARGIN {
            let message = format!(
                "{name} (pid {pid}) has not ended in {} seconds: its log says what it waits for, \
                 `herd stop {name}` ends it",
                begun.elapsed().as_secs()
            );
            return Err(Failure::new(Exit::Unreachable, message));
        }
        thread::sleep(PAUSE);
    }
    let is_kept = !run_dir.is_unkept(name, pid);
    let end = if is_kept { "" } else { ", not kept: the disk has not taken all, its log says why" };
    let written = writeln!(out, "{name}: stopped (pid {pid}){end}").and_then(|()| out.flush());
    written.map_err(|error| Failure::of_output(&error))?;
    Ok(if is_kept { Exit::Success } else { Exit::NotKept })
}
