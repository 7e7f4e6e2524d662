//! The commands `herd trace merge` and `herd trace view`: files in, one file out.
//!
//! `herd_teach::trace` knows texts but neither files nor terminals.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use herd_teach::trace;

use super::flags::TraceCommand;

/// # Errors
/// A file cannot be read, is no trace or cannot be written, or `out` cannot.
pub fn run(out: &mut impl Write, command: &TraceCommand) -> Result<Exit, Failure> {
    let (output, text) = match command {
        TraceCommand::Merge { files, output } => (output, merged(files)?),
        TraceCommand::View { files, output } => (output, trace::page(&merged(files)?)),
    };
    fs::write(output, text).map_err(|error| {
        let message = format!("{} cannot be written: {error}", output.display());
        Failure::new(Exit::CannotCreate, message)
    })?;
    let written = writeln!(out, "{}", told(command, output)).and_then(|()| out.flush());
    written.map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Success)
}

fn merged(files: &[PathBuf]) -> Result<String, Failure> {
    let unfit = |message: String| Failure::new(Exit::Config, message);
    let read = |path: &PathBuf| {
        let text = fs::read_to_string(path);
        let name = path.display().to_string();
        text.map_err(|error| unfit(format!("{name} cannot be read: {error}")))
            .map(|text| (name, text))
    };
    let texts = files.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    trace::merge(&texts).map_err(unfit)
}

fn told(command: &TraceCommand, output: &Path) -> String {
    let output = output.display();
    match command {
        TraceCommand::Merge { files, .. } => {
            format!("{output}: {} traces on one timeline, by the wall clock", files.len())
        }
        TraceCommand::View { .. } => format!("{output}: open it in a browser"),
    }
}
