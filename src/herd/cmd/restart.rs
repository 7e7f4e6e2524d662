//! The command `herd restart`: stop and start, once it is sure that the start can succeed.

use std::io::Write;

use super::exit::{Exit, Failure};
use super::flags::StartFlags;
use super::query::unreadable;
use super::start::{check_ports, launch_missing, lock, make_dirs, plan};
use super::stop::stop_all;

/// Stops those that run, and starts them. Everything that can be wrong is found before the first
/// stops.
///
/// # Errors
/// As for `start`; or one cannot be stopped.
pub fn restart(out: &mut impl Write, flags: &StartFlags) -> Result<Exit, Failure> {
    let plan = plan(out, flags)?;
    let _lock = lock(&plan.run_dir)?;
    make_dirs(&plan, flags)?;
    let names = if plan.is_whole {
        plan.run_dir.names().map_err(|error| unreadable(&plan.run_dir, &error))?
    } else {
        plan.configs.iter().map(|config| config.name.clone()).collect()
    };
    check_ports(&plan, &names)?;
    stop_all(out, &plan.run_dir, &names, false)?;
    launch_missing(out, &plan, flags)?;
    Ok(Exit::Success)
}
