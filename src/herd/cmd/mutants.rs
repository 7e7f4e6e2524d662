//! `herd mutants` for people: which planted bugs are noticed, by what, and how soon.
//! `herd_teach::mutation` plants and hunts them; this shows the results.

use std::env;
use std::io::{self, Write};

use super::exit::{Exit, Failure};
use herd_sim::Plan;
use herd_sim::hunt::first_broken;
use herd_teach::mutation::hunt::{Catch, Copy, Found, Limits};
use herd_teach::mutation::{self, Expected, Mutant, MutationError};

use super::table::write_table;

/// Simulated runs that a bug may take to be noticed, by default.
pub const SEEDS: u64 = 2_000;

/// What is to be hunted.
#[derive(Clone, Debug)]
pub struct Hunt {
    /// Names of bugs; without any, all.
    pub bugs: Vec<String>,
    pub limits: Limits,
    /// Plant nothing: look for what is wrong with this very program.
    pub is_inside: bool,
    /// And with an engine.
    pub is_on_engine: bool,
}

/// Plants one bug after the other in a copy of the current checkout, and shows what noticed it. If
/// a single one is noticed by a run, that run is shown in rows.
///
/// # Errors
/// A bug was not noticed as it must be, there is none of this name, this is no checkout, its copy
/// does not build, or `out` cannot be written.
pub fn show(out: &mut impl Write, wanted: &Hunt) -> Result<Exit, Failure> {
    let is_well = if wanted.is_inside {
        look_inside(out, wanted).map_err(|error| Failure::of_output(&error))?
    } else {
        let results = hunt(out, wanted)?;
        write(out, &results).map_err(|error| Failure::of_output(&error))?;
        results.iter().all(|(mutant, found)| found.is_expected(mutant))
    };
    if is_well { Ok(Exit::Success) } else { Err(Failure::new(Exit::Failed, "")) }
}

/// Says in one line what is wrong with this program, if the simulator finds anything.
fn look_inside(out: &mut impl Write, wanted: &Hunt) -> io::Result<bool> {
    let Limits { seed, seeds } = wanted.limits;
    let plan = Plan { engine: wanted.is_on_engine, ..Plan::default() };
    let Some(caught) = first_broken(&plan, seed, seeds) else { return Ok(true) };
    let herd_sim::hunt::Catch { runs, seed, violation, is_crowd } = caught;
    let (promise, message) = (violation.invariant.name().to_owned(), violation.message);
    writeln!(out, "{}", Catch { runs, seed, is_crowd, promise, message }.line())?;
    out.flush().map(|()| false)
}

fn hunt(out: &mut impl Write, wanted: &Hunt) -> Result<Vec<(Mutant, Found)>, Failure> {
    let found = || {
        let here = env::current_dir()
            .map_err(|error| MutationError::System("look where this is".to_owned(), error))?;
        let root = mutation::checkout(&here)?;
        let all = mutation::read_all(&root)?;
        let wanted_ones = mutation::named(&all, &wanted.bugs)?;
        let copy = Copy::build(&root, &all, &wanted_ones)?;
        copy.check(&wanted_ones, wanted.limits)?;
        let found = copy.hunt(&wanted_ones, wanted.limits)?;
        Ok((copy, wanted_ones.into_iter().zip(found).collect::<Vec<_>>()))
    };
    let (copy, results) = found().map_err(|error: MutationError| {
        let exit = match error {
            MutationError::NoCheckout(_) | MutationError::Unknown(_) => Exit::Usage,
            _ => Exit::Failed,
        };
        Failure::new(exit, error.to_string())
    })?;
    if let [(mutant, Found::Run(catch))] = &results[..] {
        tell(out, &copy, mutant, catch).map_err(|error| Failure::of_output(&error))?;
    }
    Ok(results)
}

/// The run that noticed a single bug, in rows.
fn tell(out: &mut impl Write, copy: &Copy, mutant: &Mutant, catch: &Catch) -> io::Result<()> {
    if catch.is_crowd {
        writeln!(out, "BROKEN {}: {}", catch.promise, catch.message)?;
        return writeln!(out, "crowds without the bug: herd sim --crowd 20000\n");
    }
    out.write_all(copy.live_again(mutant, catch)?.as_bytes())?;
    let engine = if mutant.is_on_engine { " --engine" } else { "" };
    writeln!(out, "the same run without the bug: herd sim --seed {}{engine}\n", catch.seed)
}

fn write(out: &mut impl Write, results: &[(Mutant, Found)]) -> io::Result<()> {
    let header = ["BUG", "SEEDS", "FOUND", "EXPECTED", "NOTES", "WHAT"];
    let mut rows = vec![header.map(str::to_owned)];
    for (mutant, found) in results {
        let (seeds, found) = match found {
            Found::Run(catch) => (catch.runs.to_string(), catch.promise.clone()),
            Found::Red(test) => ("-".to_owned(), test.name.clone()),
            Found::Nothing => ("-".to_owned(), "not noticed".to_owned()),
            Found::Unknown(why) => ("-".to_owned(), format!("not noticed: {why}")),
        };
        let expected = match &mutant.expected {
            Expected::Broken(promises) => promises.join(" or "),
            Expected::Red(test) => test.name.clone(),
        };
        let (bug, what) = (mutant.name.clone(), mutant.what.clone());
        rows.push([bug, seeds, found, expected, mutant.chapter.to_string(), what]);
    }
    write_table(out, &rows)?;
    let noticed = results.iter().filter(|(mutant, found)| found.is_expected(mutant)).count();
    writeln!(out, "{noticed} of {} planted bugs were noticed", results.len())?;
    out.flush()
}
