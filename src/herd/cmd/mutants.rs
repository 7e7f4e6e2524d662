//! `herd mutants` for people: which planted bugs the simulator notices, and how soon. Apart from
//! `sim::mutants`, which plants them, because this is only how a person reads what came of it.

use std::io::Write;

use super::exit::{Exit, Failure};

/// Lives that a bug may take to be noticed, if nobody says how many.
pub const SEEDS: u64 = 2_000;

/// What is to be hunted.
#[derive(Clone, Debug)]
#[cfg_attr(not(feature = "mutants"), expect(dead_code, reason = "a build without bugs hunts none"))]
pub struct Hunt {
    /// Names of bugs; without any, all.
    pub bugs: Vec<String>,
    /// The first life of each.
    pub seed: u64,
    pub seeds: u64,
}

/// # Errors
/// In this build there is nothing to be found.
#[cfg(not(feature = "mutants"))]
pub fn show(_: &mut impl Write, _: &Hunt) -> Result<Exit, Failure> {
    let sentence = "this build has no planted bugs: cargo run --release --features mutants -- \
                    mutants";
    Err(Failure::new(Exit::Usage, sentence))
}

#[cfg(feature = "mutants")]
pub use with_bugs::show;

#[cfg(feature = "mutants")]
mod with_bugs {
    use std::io;

    use herd_core::planted::{MUTANTS, Mutant};
    use herd_sim::mutants::{Catch, hunt, relive};

    use super::table::write_table;
    use super::*;

    /// Plants one bug after the other, and shows which life noticed it. Of a single one, that life
    /// is told in rows.
    ///
    /// # Errors
    /// A bug was not noticed, there is none of this name, or `out` cannot be written.
    pub fn show(out: &mut impl Write, wanted: &Hunt) -> Result<Exit, Failure> {
        for bug in &wanted.bugs {
            if !MUTANTS.iter().any(|mutant| name(mutant) == *bug) {
                return Err(Failure::new(Exit::Usage, format!("there is no bug `{bug}`")));
            }
        }
        // A life that ends in a panic says so in the table.
        std::panic::set_hook(Box::new(|_| {}));
        let is_wanted = |mutant: &&Mutant| {
            wanted.bugs.is_empty() || wanted.bugs.iter().any(|bug| *bug == name(mutant))
        };
        let caught: Vec<_> = MUTANTS
            .iter()
            .filter(is_wanted)
            .map(|mutant| (mutant, hunt(mutant.bug, wanted.seed, wanted.seeds)))
            .collect();
        let written = match &caught[..] {
            [(mutant, Some(caught))] => tell(out, mutant, caught),
            _ => Ok(()),
        };
        written.and_then(|()| write(out, &caught)).map_err(|error| Failure::of_output(&error))?;
        match caught.iter().all(|(_, caught)| caught.is_some()) {
            true => Ok(Exit::Success),
            false => Err(Failure::new(Exit::Failed, "")),
        }
    }

    fn name(mutant: &Mutant) -> String {
        format!("{:?}", mutant.bug)
    }

    /// Of a single bug, the life that noticed it, in rows.
    fn tell(out: &mut impl Write, mutant: &Mutant, caught: &Catch) -> io::Result<()> {
        if caught.is_crowd {
            writeln!(out, "BROKEN {}", caught.violation)?;
            return writeln!(out, "crowds without the bug: herd sim --crowd 20000\n");
        }
        let life = relive(mutant.bug, caught.seed);
        let s = if life.links == 1 { "" } else { "s" };
        writeln!(out, "seed {}: {} servers, {} link{s}", life.seed, life.servers, life.links)?;
        life.rows.iter().try_for_each(|row| writeln!(out, "{row}"))?;
        writeln!(out, "BROKEN {}", caught.violation)?;
        writeln!(out, "the same life without the bug: herd sim --seed {}\n", caught.seed)
    }

    fn write(out: &mut impl Write, caught: &[(&Mutant, Option<Catch>)]) -> io::Result<()> {
        let header = ["BUG", "SEEDS", "FOUND", "EXPECTED", "NOTES", "WHAT"];
        let mut rows = vec![header.map(str::to_owned)];
        for (mutant, caught) in caught {
            let (seeds, found) = match caught {
                Some(caught) => {
                    (caught.lives.to_string(), caught.violation.invariant.name().to_owned())
                }
                None => ("-".to_owned(), "not noticed".to_owned()),
            };
            let (bug, expected) = (name(mutant), mutant.breaks.join(" or "));
            let chapter = mutant.chapter.to_string();
            rows.push([bug, seeds, found, expected, chapter, mutant.what.to_owned()]);
        }
        write_table(out, &rows)?;
        let noticed = caught.iter().filter(|(_, caught)| caught.is_some()).count();
        writeln!(out, "{noticed} of {} planted bugs were noticed", caught.len())?;
        out.flush()
    }
}
