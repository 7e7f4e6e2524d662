//! Arguments in, one command out. What a command does stands elsewhere.

#![forbid(unsafe_code)]

mod cli;
mod describe;
mod keygen;
mod lives;
mod load;
mod mutants;
mod operator;
mod survey;
mod table;
mod traces;

use std::io::{self, BufWriter, Write};
use std::process::ExitCode;
use std::time::Duration;

use cli::{Cli, Command, PlacesCommand};
use herd::config::{self, Config};
use herd::exit::{Exit, Failure};
use herd::lab;
use herd::logging;
use herd::places::Local;
use herd::reactor::{Reactor, StartError};
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
        Command::Serve { name, flags } => return serve(flags.config(&name)?),
        Command::Status { names, json, place } => {
            return operator::status(&mut out, &RunDir::new(place.run_dir()?), names, json);
        }
        Command::Say { name, line, herd } => {
            return operator::say(&mut out, &herd.which(), &name, &line.join(" "));
        }
        Command::Pid { name, place } => {
            return operator::pid(&mut out, &RunDir::new(place.run_dir()?), &name);
        }
        Command::Bench(flags) => return load::bench(&mut out, &flags),
        Command::CheckConfig { names: true, flags, .. } => {
            describe::write_names(&mut out, &describe::checked_herd(&flags.which(), None)?.0)
        }
        Command::CheckConfig { name, flags, .. } => {
            let (herd, settings) = describe::checked_herd(&flags.which(), name.as_deref())?;
            let keys = settings.herd_keys()?;
            let config = name.map(|name| flags.config(&name)).transpose()?;
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
        Command::Places(PlacesCommand::Check { file }) => return survey::check(&mut out, &file),
        Command::Places(PlacesCommand::Near { position, radius, bound, file, attribution }) => {
            let local = match file {
                Some(path) => Local::File { path, attribution },
                None => Local::Atlas,
            };
            return survey::near(&mut out, [&position, &radius, &bound], &local);
        }
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

/// Runs one server until it is told to stop.
fn serve(config: Config) -> Result<Exit, Failure> {
    let run_dir = RunDir::new(config.run_dir.clone());
    let port = config.client_address.port();
    let (called, _claim, rival) = run_dir.claim_beside(&config.name, port)?;
    let admin_path = run_dir
        .socket(&called)
        .map_err(|error| Failure::new(Exit::CannotCreate, error.to_string()))?;
    let log = logging::start(&config.log.dir, &called, config.log.level)?;
    let ran = match (Reactor::start(config, admin_path, log.clone()), rival) {
        (Ok(reactor), _) => reactor.run().map_err(|error| {
            Failure::new(Exit::System, format!("the event queue has failed: {error}"))
        }),
        (Err(StartError::Taken { .. }), Some(rival)) => Err(Failure::from(rival)),
        (Err(error), _) => Err(Failure::from(error)),
    };
    log.close(LOG_PATIENCE);
    ran.map(|()| Exit::Success)
}
