//! The command `herd serve`: one server, until it is told to stop.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::path::Path;
use std::process;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use herd::config::log_settings::LogFormat;
use herd::config::{Config, ConfigError, Parsed};
use herd::logging::{self, LogSettings, STDERR};
use herd::reactor::{self, DrainPhase, Ended, Passed, Reactor, Rereading, StartError};
use herd::run_dir::{Claim, RunDir};

use super::exit::{Exit, Failure};
use super::service_manager;

/// How long the log may take to reach the disk at the very end.
const LOG_TIMEOUT: Duration = Duration::from_secs(1);

type Read = Arc<dyn Fn() -> Result<Parsed, ConfigError> + Send + Sync>;

/// Runs one server until it is told to stop.
///
/// `read` reads its configuration again.
///
/// # Errors
/// It cannot start, or has ended badly.
pub fn serve(first: Parsed, read: Read, out: &mut impl Write) -> Result<Exit, Failure> {
    // Before any other descriptor is opened.
    let passed = Passed::from_env();
    let config = first.config.clone();
    let run_dir = RunDir::new(config.run_dir.clone()).with_mode(config.run_dir_mode);
    let port = config.client_address.port();
    let (claim, rival) = run_dir.claim_beside(&config.name, port)?;
    let called = claim.name().to_owned();
    let admin_path = run_dir
        .socket(&called)
        .map_err(|error| Failure::new(Exit::CannotCreate, error.to_string()))?;
    reactor::outlive_full_files().map_err(|error| {
        Failure::new(Exit::System, format!("cannot set up the signals: {error}"))
    })?;
    let log = logging::start(&LogSettings {
        dir: &config.log.dir,
        server: &called,
        level: config.log.level,
        is_json: config.log.format == LogFormat::Json,
        mode: config.log.mode,
        size_max: config.log.size_max as u64,
    })?;
    let greeting = serving(&config, &called);
    let claim = Rc::new(RefCell::new(claim));
    let started = Reactor::start(config, admin_path, log.clone(), passed, service_manager::loading);
    let ran = match (started, rival) {
        (Ok(mut reactor), _) => {
            reactor.when_reloading(Rereading {
                first,
                read,
                begins: service_manager::reloading,
                is_over: service_manager::ready,
            });
            // Where the output is closed, it serves all the same.
            run(reactor, &claim, || _ = writeln!(out, "{greeting}").and_then(|()| out.flush()))
        }
        (Err(StartError::Taken { .. }), Some(rival)) => Err(Failure::from(rival)),
        (Err(error), _) => Err(Failure::from(error)),
    };
    log.close(LOG_TIMEOUT);
    if matches!(ran, Ok(Ended { is_kept: false, .. })) {
        claim.borrow_mut().end_unkept();
    }
    drop(claim);
    let Ended { hand_over, is_kept } = ran?;
    if !is_kept {
        let warning = "what was answered last may not be on the disk; the log says why";
        return Err(Failure::new(Exit::NotKept, warning.to_owned()));
    }
    if hand_over.has_failed() {
        return Err(Failure::new(Exit::NotHandedOver, hand_over.warning()));
    }
    Ok(Exit::Success)
}

/// Serves until the end.
fn run(
    mut reactor: Reactor,
    claim: &Rc<RefCell<Claim>>,
    greet: impl FnOnce(),
) -> Result<Ended, Failure> {
    let claim = Rc::clone(claim);
    reactor.when_stopping(Box::new(move |phase| {
        // A successor may start from then on, and needs the name as it needs the ports.
        if phase == DrainPhase::Draining {
            claim.borrow_mut().give_up_name();
        }
        service_manager::stopping(phase);
    }));
    if let Some(pulse) = service_manager::pulse() {
        reactor.when_alive(pulse, service_manager::alive);
    }
    greet();
    service_manager::ready();
    reactor
        .run()
        .map_err(|error| Failure::new(Exit::System, format!("the event queue has failed: {error}")))
}

/// What a server says when it has begun to serve: who it is, where, and how to end it.
fn serving(config: &Config, called: &str) -> String {
    let end = if io::stdout().is_terminal() {
        "Ctrl-C".to_owned()
    } else {
        format!("kill {}", process::id())
    };
    let log = match config.log.level {
        log::LevelFilter::Off => "no log".to_owned(),
        _ if config.log.dir == Path::new(STDERR) => "log on stderr".to_owned(),
        _ => format!("log {}", config.log.dir.join(format!("{called}.log")).display()),
    };
    let (clients, peers) = (config.client_address, config.peer_address);
    format!(
        "{called} of herd {} serves clients on {clients}, peers on {peers}; {log}; `{end}` ends it",
        config.herd
    )
}
