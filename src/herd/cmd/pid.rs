//! The command `herd pid`: the process id of a server, for scripts.

use std::io::Write;

use herd::run_dir::Holder;

use super::exit::{Exit, Failure};
use super::flags::PlaceFlags;
use super::found_for;
use super::query::{find_process, unreadable};

/// Prints the process id of `name`, which is looked for in its place.
///
/// # Errors
/// There is no such server, it is not running, its pid file cannot be read, its process cannot be
/// determined, or `out` not be written.
pub fn pid(out: &mut impl Write, place: PlaceFlags, name: &str) -> Result<Exit, Failure> {
    let run_dir = &found_for(place, name)?;
    let path = run_dir.path().display();
    match find_process(run_dir, name).map_err(|error| unreadable(run_dir, &error))? {
        Some(Holder::Process(pid) | Holder::OfAnotherUser(pid)) => {
            let written = writeln!(out, "{pid}").and_then(|()| out.flush());
            written.map_err(|error| Failure::of_output(&error))?;
            Ok(Exit::Success)
        }
        Some(Holder::Elsewhere) => {
            let message = format!("{name} runs in another container: ask for its pid there");
            Err(Failure::new(Exit::NotAllowed, message))
        }
        None => {
            let message = format!("{name} is not running (run directory {path})");
            Err(Failure::new(Exit::NotRunning, message))
        }
    }
}
