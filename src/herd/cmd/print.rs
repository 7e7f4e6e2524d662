//! The command `herd print`: files for machines that run herd, as they fit this very binary.

use std::fs;
use std::io::{self, Write};
use std::path::Path;

use clap_mangen::Man;

use herd::config::layers::{Overrides, configure};

use super::exit::{Exit, Failure};
use super::flags::{Definition, HerdFlags, PrintCommand, definition};
use super::kubernetes;

/// As the bottom line of a manual page has it.
const VERSION: &str = concat!("herd ", env!("CARGO_PKG_VERSION"));
const UNIT: &str = include_str!("../ops/herd@.service");
const SOCKET: &str = include_str!("../ops/herd@.socket");
const CONTAINERFILE: &str = include_str!("../ops/Containerfile");
const ALERTS: &str = include_str!("../ops/alerts.yaml");
const DASHBOARD: &str = include_str!("../ops/dashboard.json");
const LOGROTATE: &str = include_str!("../ops/herd.logrotate");

/// Prints one of them.
///
/// # Errors
/// There is no such command that a manual page could be of, or what is made cannot be written.
pub fn print(out: &mut impl Write, what: PrintCommand) -> Result<Exit, Failure> {
    let written = match what {
        PrintCommand::Systemd => out.write_all(UNIT.as_bytes()),
        PrintCommand::Socket { name, herd } => {
            out.write_all(socket_unit(name.as_deref(), &herd)?.as_bytes())
        }
        PrintCommand::Logrotate => out.write_all(LOGROTATE.as_bytes()),
        PrintCommand::Containerfile => out.write_all(CONTAINERFILE.as_bytes()),
        PrintCommand::Alerts => out.write_all(ALERTS.as_bytes()),
        PrintCommand::Dashboard => out.write_all(DASHBOARD.as_bytes()),
        PrintCommand::Kubernetes { engine } => {
            out.write_all(kubernetes::manifests(engine).as_bytes())
        }
        PrintCommand::Man { into: Some(dir), .. } => {
            write_pages(definition(), &dir).map_err(|error| {
                let message = format!("no pages can be made in {}: {error}", dir.display());
                Failure::new(Exit::CannotCreate, message)
            })?;
            Ok(())
        }
        PrintCommand::Man { command, .. } => page(&command)?.render(out),
        PrintCommand::Completions { shell } => {
            // It panics where it cannot write, so it writes into memory.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut definition(), "herd", &mut script);
            out.write_all(&script)
        }
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Success)
}

/// The unit with the addresses of this server, or with the usual ones.
fn socket_unit(name: Option<&str>, flags: &HerdFlags) -> Result<String, Failure> {
    let Some(name) = name else { return Ok(SOCKET.to_owned()) };
    let selector = flags.which();
    let (herd, settings) = selector.herd(Some(name))?;
    let config = configure(name, herd, settings, &selector, Overrides::default())?;
    let ports = config.addresses().into_iter();
    let mut listen = Some(ports.map(|port| format!("ListenStream={port}\n")).collect::<String>());
    let lines = SOCKET.lines().map(|line| match line.starts_with("ListenStream=") {
        true => listen.take().unwrap_or_default(),
        false => format!("{line}\n"),
    });
    Ok(lines.collect::<String>().replace("%i", name))
}

/// The page of a command: `herd journal check` is `herd-journal-check(1)`.
fn page(words: &[String]) -> Result<Man, Failure> {
    let mut found = definition();
    for word in words {
        let below = found.find_subcommand(word).cloned();
        found = below.ok_or_else(|| {
            let message = format!("herd has no command {}: `herd help` lists all", words.join(" "));
            Failure::new(Exit::Usage, message)
        })?;
    }
    Ok(page_of(found))
}

fn page_of(command: Definition) -> Man {
    let title = title(&command);
    Man::new(command).title(title).source(VERSION).manual("herd")
}

/// `herd-journal-check`, which is the name of its page.
fn title(command: &Definition) -> String {
    command.get_display_name().unwrap_or("herd").to_owned()
}

/// The pages of a command and of all below it, each in a file of its name.
fn write_pages(command: Definition, dir: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| below.get_name() != "help") {
        write_pages(below.clone(), dir)?;
    }
    let mut page = Vec::new();
    let path = dir.join(title(&command) + ".1");
    page_of(command).render(&mut page)?;
    fs::write(path, page)
}
