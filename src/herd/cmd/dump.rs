//! The command `herd dump`: all that a server knows, as AT lines.

use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use herd::status::DUMP;

use super::exit::{Exit, Failure};
use super::flags::PlaceFlags;
use super::found_for;
use super::query::unreadable;

/// How long a server may take for each piece.
const PIECE_TIMEOUT: Duration = Duration::from_secs(10);

/// Prints the report of each client that `name` knows, in the order of the lines. Reports that come
/// meanwhile may be among them or not.
///
/// # Errors
/// There is no such server, it does not run or breaks off, or `out` cannot be written.
pub fn dump(out: &mut impl Write, place: PlaceFlags, name: &str) -> Result<Exit, Failure> {
    let run_dir = &found_for(place, name)?;
    let socket = run_dir.socket(name).map_err(|error| unreadable(run_dir, &error))?;
    let text = match UnixStream::connect(&socket).and_then(hear_all) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => {
            return Err(unreadable(run_dir, &error));
        }
        Err(error) if is_absent(&error) => {
            let path = run_dir.path().display();
            let sentence = format!("{name} is not running (run directory {path})");
            return Err(Failure::new(Exit::NotRunning, sentence));
        }
        Err(error) => {
            let sentence = format!("{name} has broken off: {error}; dump it again");
            return Err(Failure::new(Exit::Unreachable, sentence));
        }
    };
    let mut lines: Vec<&[u8]> = text.split_inclusive(|&byte| byte == b'\n').collect();
    // An empty line says that nothing is missing.
    if lines.pop() != Some(b"\n") {
        let sentence = format!("{name} has broken off: it may have ended; dump it again");
        return Err(Failure::new(Exit::Unreachable, sentence));
    }
    lines.sort_unstable();
    let written = lines.iter().try_for_each(|line| out.write_all(line)).and_then(|()| out.flush());
    written.map(|()| Exit::Success).map_err(|error| Failure::of_output(&error))
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused)
}

fn hear_all(mut stream: UnixStream) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(PIECE_TIMEOUT))?;
    stream.set_write_timeout(Some(PIECE_TIMEOUT))?;
    stream.write_all(DUMP.as_bytes())?;
    let mut text = Vec::new();
    stream.read_to_end(&mut text)?;
    Ok(text)
}
