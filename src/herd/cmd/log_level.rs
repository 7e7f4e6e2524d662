//! The command `herd log-level`: how much a running server logs.

use std::io::Write;

use herd::status::Order;

use super::exit::{Exit, Failure};
use super::flags::LogLevelFlags;
use super::found_for;
use super::journal::orders::give;

/// Has a server log so much, for a while or until it is told otherwise.
///
/// # Errors
/// It does not run, does not answer or has no log.
pub fn log_level(out: &mut impl Write, flags: LogLevelFlags) -> Result<Exit, Failure> {
    let LogLevelFlags { name, level, time, place } = flags;
    give(out, &found_for(place, &name)?, &name, Order::LogLevel { level, time })
}
