//! The command `herd say`: one line to a server, and what it answers.

use std::io::{ErrorKind, Write};
use std::net::Shutdown;
use std::time::Duration;

use herd::config::HerdSelector;

use super::call::Call;
use super::exit::{Exit, Failure};

/// How much longer it waits than the deadline that the server itself has for a WHATSAT.
const MARGIN: Duration = Duration::from_secs(3);

/// Sends `line` to the client port of `name` and prints what comes back until it hangs up.
///
/// # Errors
/// There is no such server, none listens or answers in time, or `out` cannot be written.
pub fn say(
    out: &mut impl Write,
    selector: &HerdSelector,
    name: &str,
    line: &str,
) -> Result<Exit, Failure> {
    let (herd, settings) = selector.herd(Some(name))?;
    let member =
        herd.member(name).expect("invariant: HerdSelector::herd gives a herd with this name");
    let clients = &member.clients;
    let unreachable = |message: String| Failure::new(Exit::Unreachable, message);
    let address = clients
        .resolve()
        .map_err(|error| unreachable(format!("{name} cannot be found at {clients}: {error}")))?;
    let timeout = settings.places.deadline + MARGIN;
    let mut call = Call::open(&address.into(), timeout).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => unreachable(format!(
            "nobody listens on {clients}, where {name} of herd {} should: start it with \
             `herd serve {name}{}`",
            herd.id,
            selector.flags()
        )),
        _ => unreachable(format!("{name} cannot be reached at {clients}: {error}")),
    })?;
    let mut answer = Vec::new();
    let heard = call
        .say(format!("{line}\n").as_bytes())
        .and_then(|()| call.socket.shutdown(Shutdown::Write))
        .and_then(|()| call.hear_out(&mut answer));
    // What did arrive is worth showing, even if an error came afterwards.
    out.write_all(&answer)
        .and_then(|()| out.flush())
        .map_err(|error| Failure::of_output(&error))?;
    heard.map_err(|error| match error.kind() {
        ErrorKind::TimedOut => {
            unreachable(format!("{name} at {clients} did not answer within {timeout:?}"))
        }
        _ => unreachable(format!("{name} at {clients} broke off: {error}")),
    })?;
    // A blank line is the only one that is no question.
    if answer.is_empty() && !line.trim().is_empty() {
        return Err(unreachable(format!(
            "{name} at {clients} hung up without an answer: see its log, or whether it is a herd's \
             server that listens there"
        )));
    }
    Ok(Exit::Success)
}
