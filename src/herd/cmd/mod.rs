//! The command line: a file for each command, named as it is typed, and what several of them need:
//! `flags` and `exit` for all, `query` for those that look at running servers.

pub mod exit;
pub mod flags;

mod bench;
mod call;
mod check_config;
mod demo;
mod drain;
mod dump;
mod example_nats;
mod follow;
mod heard;
mod here;
mod journal;
mod keygen;
mod kubernetes;
mod lab;
mod log_level;
mod logs;
mod million;
mod mutants;
mod over_http;
mod pid;
mod places;
mod presets;
mod print;
mod query;
mod reload;
mod restart;
mod say;
mod secret_file;
mod serve;
mod service_manager;
mod share;
mod sim;
mod start;
mod status;
mod stop;
mod table;
mod token;
mod top;
mod trace;
mod unknown;

use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;

use herd::config::HerdSelector;
use herd::config::example::example;
use herd::config::herd::Member;
use herd::config::layers::places as configured_places;
use herd::config::{ConfigError, Parsed, WebTls};
use herd::places::{Local, Supply};
use herd::run_dir::RunDir;
use herd::status::Order;
use herd::tls::Terms;

use check_config::checked_herd;
use exit::{Exit, Failure};
use flags::{
    Command, ForgetFlags, JournalCommand, PlaceFlags, PlacesCommand, RunningFlags, ServeFlags,
};
use heard::heard;

/// Does what a command says.
///
/// # Errors
/// What kept it from being done, in a message.
pub fn run(command: Command) -> Result<Exit, Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let written = match command {
        Command::Serve { name, trace, flags } => {
            let read = move || flags.clone().read(&name, trace.trace.clone());
            return serve::serve(read()?, Arc::new(read), &mut out);
        }
        Command::Start(flags) => return heard(out, |out| start::start(out, &flags)),
        Command::Restart(flags) => return heard(out, |out| restart::restart(out, &flags)),
        Command::Stop(RunningFlags { names, place }) => {
            return heard(out, |out| stop::stop(out, &found(place, &names)?, &names));
        }
        Command::Drain { name, wait, place } => {
            return heard(out, |out| drain::drain(out, &found_for(place, &name)?, &name, wait));
        }
        Command::Forget(ForgetFlags { name, client, place }) => {
            let order = Order::Forget(client);
            return journal::orders::give(&mut out, &found_for(place, &name)?, &name, order);
        }
        Command::Reload { flags, wait } => {
            return heard(out, |out| reload::reload(out, flags, wait));
        }
        Command::LogLevel(flags) => return log_level::log_level(&mut out, flags),
        Command::Logs(flags) => {
            let (dir, herd) = logs::log_dir(&flags)?;
            return Err(logs::logs(&dir, &flags, &herd));
        }
        Command::Status(flags) => {
            let herd = listed(&flags.herd.which(), flags.all || !flags.names.is_empty());
            let run_dir = found(flags.place(), &flags.names)?;
            return status::status(&mut out, &run_dir, flags.names, &herd, flags.json);
        }
        Command::Top(flags) => {
            let herd = listed(&flags.herd.which(), flags.knows_herd());
            return top::top(&mut out, found(flags.place(), &flags.names)?, &flags, &herd);
        }
        Command::Say { name, line, herd } => {
            return say::say(&mut out, &herd.which(), &name, &line.join(" "));
        }
        Command::Pid { name, place } => return pid::pid(&mut out, place, &name),
        Command::Dump { name, place } => return dump::dump(&mut out, place, &name),
        Command::Demo(flags) => return demo::demo(&mut out, &flags),
        Command::Follow(flags) => return follow::follow(&mut out, &flags),
        Command::Bench(flags) => return bench::bench(&mut out, &flags),
        Command::CheckConfig { names: true, flags, .. } => {
            check_config::write_names(&mut out, &checked_herd(&flags.which(), None)?.0)
        }
        Command::CheckConfig { name, trace, flags, .. } => {
            describe(&mut out, name, trace.trace, flags)?
        }
        Command::ExampleConfig => out.write_all(example().as_bytes()),
        Command::ExampleNats(flags) => example_nats::write(&mut out, &flags)?,
        Command::Keygen { file, rotate } => {
            let next = if rotate { keygen::rotate(&file)? } else { keygen::create(&file)? };
            out.write_all(next.as_bytes())
        }
        Command::Token(command) => token::run(&mut out, command)?,
        Command::Share(flags) => share::share(&mut out, &flags)?,
        Command::Places(command) => return look_at_places(&mut out, command),
        Command::Journal(command) => return look_after_journal(&mut out, command),
        Command::Presets => presets::write_presets(&mut out),
        Command::Print(command) => return print::print(&mut out, command),
        Command::Trace(command) => return trace::run(&mut out, &command),
        Command::Lab(flags) => return lab::run(&mut out, flags),
        Command::Sim(flags) => return sim::show(&mut out, &flags.runs()?),
        Command::Mutants(flags) => return mutants::show(&mut out, &flags.hunt()),
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Success)
}

/// Checks what `serve` with these flags would run, and describes it.
fn describe(
    out: &mut impl Write,
    name: Option<String>,
    trace: Option<PathBuf>,
    flags: ServeFlags,
) -> Result<io::Result<()>, Failure> {
    let selector = flags.which();
    let (herd, settings) = checked_herd(&selector, name.as_deref())?;
    let keys = settings.herd_keys()?;
    let key = flags.places_key.clone();
    let places = configured_places(settings.places.clone(), &selector, key)?;
    Supply::of(&places).map_err(|error| ConfigError::new(error.to_string()))?;
    let parsed = name.map(|name| flags.read(&name, trace)).transpose()?;
    let is_by_tls = match &parsed {
        Some(parsed) => parsed.config.tls.is_some(),
        None => {
            let is_wanted = herd.members.iter().any(|member| member.tls_clients.0.is_some());
            is_wanted || settings.tls.web != WebTls::Off
        }
    };
    if is_by_tls {
        Terms::read(&settings.tls.files()?, None)?;
    }
    let limits = parsed.as_ref().map_or(&settings.limits, |parsed| &parsed.config.limits);
    let written = check_config::write_herd(out, &herd, &keys)
        .and_then(|()| match &parsed {
            Some(Parsed { config, settings }) => check_config::write_config(out, config, settings),
            None => Ok(()),
        })
        .and_then(|()| check_config::write_warning(out, limits));
    Ok(written)
}

/// The run directory that is meant, in which these servers are looked for. What is wrong with
/// herd.toml is reported, but stops nothing.
///
/// # Errors
/// No server has one of the names.
fn found(place: PlaceFlags, names: &[String]) -> Result<RunDir, Failure> {
    let which = HerdSelector { config: place.config.clone(), ..HerdSelector::default() };
    let (run_dir, complaint) = place.run_dir();
    if let Some(complaint) = complaint {
        start::say(&format!("{complaint}; looking in {} all the same", run_dir.path().display()));
    }
    unknown::refuse(&run_dir, &which, names)?;
    Ok(run_dir)
}

/// The same for one server.
fn found_for(place: PlaceFlags, name: &str) -> Result<RunDir, Failure> {
    found(place, &[name.to_owned()])
}

/// The servers of the herd that is meant; none if they are not known, or nobody wants them.
fn listed(selector: &HerdSelector, is_wanted: bool) -> Vec<Member> {
    if !is_wanted {
        return Vec::new();
    }
    let mut members = selector.herd(None).map(|(herd, _)| herd.members).unwrap_or_default();
    members.retain(|member| member.peers.is_some());
    members
}

fn look_after_journal(out: &mut impl Write, command: JournalCommand) -> Result<Exit, Failure> {
    match command {
        JournalCommand::Check { dir, json } => journal::check(out, &dir, json),
        JournalCommand::Dump { dir } => journal::dump(out, &dir),
        JournalCommand::Compact { name, place } => {
            journal::orders::give(out, &found_for(place, &name)?, &name, Order::Compact)
        }
        JournalCommand::Hold { name, time, place } => {
            journal::orders::give(out, &found_for(place, &name)?, &name, time)
        }
        JournalCommand::Restore { lines, dir, whose } => {
            journal::rebuild::restore(out, &lines, &dir, &whose)
        }
        JournalCommand::Adopt { dir, whose } => journal::rebuild::adopt(out, &dir, &whose),
    }
}

fn look_at_places(out: &mut impl Write, command: PlacesCommand) -> Result<Exit, Failure> {
    match command {
        PlacesCommand::Check { file, against } => places::check(out, &file, against.as_deref()),
        PlacesCommand::Near { position, radius, bound, file, attribution } => {
            let local = match file {
                Some(path) => Local::File { path, attribution },
                None => Local::Atlas,
            };
            places::near(out, [&position, &radius, &bound], &local)
        }
    }
}
