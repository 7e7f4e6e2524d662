//! Arguments in, one command out. What a command does stands elsewhere.

#![forbid(unsafe_code)]

mod cli;
mod describe;
mod halt;
mod here;
mod keygen;
mod launch;
mod lives;
mod load;
mod mutants;
mod operator;
mod sight;
mod survey;
mod table;
mod traces;

use std::cell::RefCell;
use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::rc::Rc;
use std::time::Duration;

use cli::{Cli, Command, PlaceFlags, PlacesCommand};
use herd::config::layers::{Which, places};
use herd::config::{self, Address, Config, ConfigError};
use herd::exit::{Exit, Failure};
use herd::lab;
use herd::logging;
use herd::places::{Local, Supply};
use herd::reactor::{self, Reactor, StartError};
use herd::run_dir::RunDir;

/// How long the log may take to reach the disk at the very end.
const LOG_PATIENCE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let exit = match run(Cli::from_process().command) {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.sentence.is_empty() {
                // Where nobody listens to complaints, the exit code must do.
                let _ = writeln!(io::stderr(), "herd: {}", failure.sentence);
            }
            failure.exit
        }
    };
    exit.into()
}

fn run(command: Command) -> Result<Exit, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match command {
        Command::Serve { name, trace, flags } => {
            return serve(flags.config(&name, trace.trace)?, &mut out);
        }
        Command::Start(flags) => return launch::start(&mut out, &flags),
        Command::Restart(flags) => return launch::restart(&mut out, &flags),
        Command::Stop(flags) => return halt::stop(&mut out, &found(flags.place), &flags.names),
        Command::Reload(flags) => return halt::reload(&mut out, &found(flags.place), &flags.names),
        Command::Logs(flags) => {
            let (dir, herd) = operator::log_dir(&flags.herd.which(), flags.log_dir)?;
            return Err(operator::logs(&dir, &flags.names, &herd, flags.follow));
        }
        Command::Status(flags) => {
            let herd = if flags.all { listed(&flags.herd.which()) } else { Vec::new() };
            let run_dir = found(flags.place());
            return operator::status(&mut out, &run_dir, flags.names, &herd, flags.json);
        }
        Command::Say { name, line, herd } => {
            return operator::say(&mut out, &herd.which(), &name, &line.join(" "));
        }
        Command::Pid { name, place } => {
            return operator::pid(&mut out, &found(place), &name);
        }
        Command::Bench(flags) => return load::bench(&mut out, &flags),
        Command::CheckConfig { names: true, flags, .. } => {
            describe::write_names(&mut out, &describe::checked_herd(&flags.which(), None)?.0)
        }
        Command::CheckConfig { name, trace, flags, .. } => {
            let (herd, settings) = describe::checked_herd(&flags.which(), name.as_deref())?;
            let keys = settings.herd_keys()?;
            let places = places(settings.places, &flags.clone().overrides())?;
            Supply::of(&places).map_err(|error| ConfigError::new(error.to_string()))?;
            let config = name.map(|name| flags.config(&name, trace.trace)).transpose()?;
            describe::write_herd(&mut out, &herd, &keys).and_then(|()| match &config {
                Some(config) => describe::write_config(&mut out, config),
                None => Ok(()),
            })
        }
        Command::ExampleConfig => out.write_all(config::EXAMPLE.as_bytes()),
        Command::Keygen { file, rotate } => {
            let next = if rotate { keygen::rotate(&file)? } else { keygen::create(&file)? };
            out.write_all(next.as_bytes())
        }
        Command::Places(command) => return look_at_places(&mut out, command),
        Command::Presets => describe::write_presets(&mut out),
        Command::Trace(command) => return traces::run(&mut out, &command),
        Command::Lab(flags) => match (flags.name, flags.alone) {
            (Some(_), Some(manner)) => {
                return lab::serve_without_descriptors(&manner)
                    .map(|()| Exit::Success)
                    .map_err(|error| Failure::new(Exit::System, error.to_string()));
            }
            (Some(name), None) => return lab::run(&mut out, &name),
            (None, _) => lab::list(&mut out),
        },
        Command::Sim(flags) => return lives::show(&mut out, &flags.lives()?),
        Command::Mutants(flags) => return mutants::show(&mut out, &flags.hunt()),
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Success)
}

/// The run directory that is meant. What is wrong with herd.toml is told, and in nobody's way.
fn found(place: PlaceFlags) -> RunDir {
    let (run_dir, complaint) = place.run_dir();
    if let Some(complaint) = complaint {
        launch::say(&format!("{complaint}; looking in {} all the same", run_dir.path().display()));
    }
    run_dir
}

/// The servers of the herd that is meant, with their addresses; none if nobody can tell.
fn listed(which: &Which) -> Vec<(String, Address)> {
    let members = which.herd(None).map(|(herd, _)| herd.members).unwrap_or_default();
    let ours = members.into_iter().filter(|member| member.peers.is_some());
    ours.map(|member| (member.name, member.clients)).collect()
}

fn look_at_places(out: &mut impl Write, command: PlacesCommand) -> Result<Exit, Failure> {
    match command {
        PlacesCommand::Check { file, against } => survey::check(out, &file, against.as_deref()),
        PlacesCommand::Near { position, radius, bound, file, attribution } => {
            let local = match file {
                Some(path) => Local::File { path, attribution },
                None => Local::Atlas,
            };
            survey::near(out, [&position, &radius, &bound], &local)
        }
    }
}

/// Runs one server until it is told to stop.
fn serve(config: Config, out: &mut impl Write) -> Result<Exit, Failure> {
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
    let log = logging::start(&config.log.dir, &called, config.log.level, config.log.mode)?;
    let greeting = describe::serving(&config, &called);
    let claim = Rc::new(RefCell::new(claim));
    let ran = match (Reactor::start(config, admin_path, log.clone()), rival) {
        (Ok(mut reactor), _) => {
            let claim = Rc::clone(&claim);
            reactor.when_stopping(Box::new(move || claim.borrow_mut().give_up_name()));
            // Where nobody listens, it serves all the same.
            let _ = writeln!(out, "{greeting}").and_then(|()| out.flush());
            reactor.run().map_err(|error| {
                Failure::new(Exit::System, format!("the event queue has failed: {error}"))
            })
        }
        (Err(StartError::Taken { .. }), Some(rival)) => Err(Failure::from(rival)),
        (Err(error), _) => Err(Failure::from(error)),
    };
    log.close(LOG_PATIENCE);
    drop(claim);
    let hand_over = ran?;
    match hand_over.has_failed() {
        true => Err(Failure::new(Exit::NotHandedOver, hand_over.warning())),
        false => Ok(Exit::Success),
    }
}
