//! The command `herd lab`: experiments, and the parts of the server that two of them show.

use std::io::{self, Write};
use std::time::Duration;

use log::LevelFilter;
use ureq::Agent;
use ureq::unversioned::transport::DefaultConnector;

use herd::logging::{self, LogSettings};
use herd::places::resolver::CachingResolver;
use herd_teach::lab::{self, House};

use super::exit::{Exit, Failure};
use super::flags::LabFlags;

/// How long the log of an experiment may take to reach the disk.
const LOG_TIMEOUT: Duration = Duration::from_secs(1);

const HOUSE: House = House {
    start_log: |dir| {
        let log = logging::start(&LogSettings {
            dir,
            server: "lab",
            level: LevelFilter::Info,
            is_json: false,
            mode: 0o640,
            size_max: u64::MAX,
        });
        let log = log.map_err(|error| io::Error::other(error.to_string()))?;
        Ok(Box::new(move || log.close(LOG_TIMEOUT)))
    },
    agent: |config| {
        Agent::with_parts(config, DefaultConnector::default(), CachingResolver::default())
    },
};

/// Runs an experiment, or lists them all.
///
/// # Errors
/// It cannot be run, its effect does not show, or `out` cannot be written.
pub fn run(out: &mut impl Write, flags: LabFlags) -> Result<Exit, Failure> {
    match (flags.name, flags.alone) {
        (Some(name), Some(manner)) => lab::run_alone(&name, &manner)
            .map_err(|error| Failure::new(Exit::System, error.to_string()))?,
        (Some(name), None) => lab::run(out, &name, &HOUSE)?,
        (None, _) => {
            lab::list(out).and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?
        }
    }
    Ok(Exit::Success)
}
