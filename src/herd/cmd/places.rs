//! Looks at places for people: `places check` and `places near`.
//!
//! `herd::places` finds and counts; this is the way to ask it on the command line, without a
//! server.

use std::io::{self, Write};
use std::path::Path;

use super::exit::{Exit, Failure};
use herd::places::file::Survey;
use herd::places::{Local, PlacesFile, counted, has_shrunk};
use herd_core::wire::{self, Command};

/// Says what a file holds, and what is wrong with it; and whether it can replace the file
/// `against`, if there is one.
///
/// # Errors
/// A file cannot be used, holds no usable place, or has less than half of the places of `against`;
/// or `out` cannot be written.
pub fn check(out: &mut impl Write, path: &Path, against: Option<&Path>) -> Result<Exit, Failure> {
    let shown = path.display();
    let survey = survey(path)?;
    let before = against.map(|old| self::survey(old).map(|survey| (old, survey))).transpose()?;
    let written = (|| {
        let (places, rows) = (counted(survey.places, "place"), counted(survey.skipped(), "row"));
        writeln!(out, "{places}, {rows} skipped")?;
        survey.complaints().try_for_each(|complaint| writeln!(out, "  {complaint}"))?;
        if let Some([low, high]) = survey.corners() {
            let (south, north) = (low.latitude, high.latitude);
            let (west, east) = (low.longitude, high.longitude);
            writeln!(out, "latitudes {south} to {north}, longitudes {west} to {east}")?;
        }
        out.flush()
    })();
    written.map_err(|error: io::Error| Failure::of_output(&error))?;
    if survey.places == 0 {
        return Err(Failure::new(Exit::Config, format!("{shown} holds no usable place")));
    }
    if let Some((old, before)) = before
        && has_shrunk(before.places, survey.places)
    {
        let (now, before) = (survey.places, counted(before.places, "place"));
        let message = format!(
            "{shown} has less than half of what {} has, {now} instead of {before}",
            old.display()
        );
        return Err(Failure::new(Exit::Config, message));
    }
    Ok(Exit::Success)
}

fn survey(path: &Path) -> Result<Survey, Failure> {
    let loaded = PlacesFile::load(path, None).map_err(|error| {
        Failure::new(Exit::Config, format!("{} cannot be used: {error}", path.display()))
    })?;
    Ok(loaded.1)
}

/// Prints what these places answer to the question that the operands of a WHATSAT ask at a
/// position.
///
/// # Errors
/// The operands are none, the places cannot be loaded, or `out` cannot be written.
pub fn near(
    out: &mut impl Write,
    [position, radius, bound]: [&str; 3],
    local: &Local,
) -> Result<Exit, Failure> {
    let line = format!("WHATSAT client {radius} {bound}");
    let question = match Command::parse(line.as_bytes()) {
        Command::Whatsat { radius, bound, .. } => {
            wire::question(position.as_bytes(), radius, bound)
        }
        _ => None,
    };
    let question = question.ok_or_else(|| {
        let message = "write a position, kilometres up to 50 and results up to 20, as in \
             +60.1699+24.9384 5 3";
        Failure::new(Exit::Usage, message)
    })?;
    let loaded = local.load().map_err(|why| Failure::new(Exit::Config, why))?;
    let mut body = Vec::new();
    loaded.source.answer(&question, &mut body);
    body.push(b'\n');
    out.write_all(&body).and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Success)
}
