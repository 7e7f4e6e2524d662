//! Mutants: bugs planted on purpose, each an edit of one place, to see which test notices. The tree
//! knows nothing of them. A mutant is a file in `src/teach/mutants`; `herd mutants` copies the tree
//! (`copy`), puts every edit into the copy behind a switch that is read when it runs, builds that
//! once, and hunts each (`hunt`).
//!
//! A file says what the bug is, where it stands, and which test or promise must notice it:
//!
//! ```toml
//! what = "a peer that holds nothing is sent nothing"
//! chapter = 11                  # of NOTES.md: where the rule is explained
//! breaks = ["I4"]               # promises of the simulator, of which it must see one broken;
//!                               # or: test = "tests/reactor.rs::silence_has_deadlines"
//! file = "src/core/peers/repair.rs"
//! at = "if their_count == 0 {"  # found once in the file; without it, `old` is
//! old = "their_count == 0"      # found once in `at`
//! new = "false"
//! engine = true                 # herds are simulated on an engine; without it, with links
//! ```
//!
//! `old` is one expression or some whole statements, so that the copy can choose between the two.

pub mod copy;
pub mod hunt;

use std::error::Error;
use std::fmt;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;

/// Where the files of the mutants are, below the root of the tree.
pub const FOLDER: &str = "src/teach/mutants";

/// One bug.
#[derive(Clone, Debug)]
pub struct Mutant {
    /// The name of its file.
    pub name: String,
    /// What it does wrong, in a few words.
    pub what: String,
    /// The chapter of NOTES.md that explains the rule.
    pub chapter: u8,
    pub expected: Expected,
    /// The herds that are simulated are on an engine.
    pub is_on_engine: bool,
    pub edit: Edit,
}

/// What must notice it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expected {
    /// The simulator, which sees one of these promises broken.
    Broken(Vec<String>),
    Red(Test),
}

/// A test, by the file in which it stands and its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Test {
    pub file: String,
    pub name: String,
}

/// What is changed, and where.
#[derive(Clone, Debug)]
pub struct Edit {
    /// Below the root of the tree.
    pub file: String,
    at: Option<String>,
    pub old: String,
    pub new: String,
}

/// A mutant as its file has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    what: String,
    chapter: u8,
    breaks: Option<Vec<String>>,
    test: Option<String>,
    #[serde(default)]
    engine: bool,
    file: String,
    at: Option<String>,
    old: String,
    new: String,
}

/// Why mutants cannot be hunted.
#[derive(Debug)]
pub enum MutationError {
    /// The folder is in no checkout of this repository.
    NoCheckout(PathBuf),
    /// There is no mutant of this name.
    Unknown(String),
    /// A mutant is not as it should be.
    Unsound { mutant: String, why: String },
    /// What was tried, and what the system says to it.
    System(String, std::io::Error),
    /// The copy does not build, or does not pass its tests even though no bug is planted.
    Copy(String),
}

impl Mutant {
    fn parse(name: &str, text: &str) -> Result<Mutant, String> {
        let Written { what, chapter, breaks, test, engine, file, at, old, new } =
            toml::from_str(text).map_err(|error| error.message().to_owned())?;
        let expected = match (breaks, test) {
            (Some(breaks), None) => Expected::Broken(breaks),
            (None, Some(test)) => Expected::Red(Test::parse(&test)?),
            _ => return Err("either `breaks` or `test` says who notices".to_owned()),
        };
        let name = name.to_owned();
        let edit = Edit { file, at, old, new };
        Ok(Mutant { name, what, chapter, expected, is_on_engine: engine, edit })
    }

    fn unsound(&self, why: impl Into<String>) -> MutationError {
        MutationError::Unsound { mutant: self.name.clone(), why: why.into() }
    }
}

impl Test {
    fn parse(text: &str) -> Result<Test, String> {
        let (file, name) = text.split_once("::").ok_or("a test is FILE::NAME")?;
        Ok(Test { file: file.to_owned(), name: name.to_owned() })
    }
}

impl Edit {
    /// Where `old` is in the text of its file.
    ///
    /// # Errors
    /// It is not found exactly once.
    pub fn place(&self, text: &str) -> Result<Range<usize>, String> {
        let around = match &self.at {
            Some(at) => once(text, at)?,
            None => 0..text.len(),
        };
        let old = once(&text[around.clone()], &self.old)?;
        Ok(around.start + old.start..around.start + old.end)
    }
}

fn once(text: &str, wanted: &str) -> Result<Range<usize>, String> {
    match text.matches(wanted).count() {
        1 => {
            let start = text.find(wanted).unwrap_or_default();
            Ok(start..start + wanted.len())
        }
        count => Err(format!("`{wanted}` is found {count} times and not once")),
    }
}

/// The root of the checkout that this folder is in.
///
/// # Errors
/// It is in none.
pub fn checkout(folder: &Path) -> Result<PathBuf, MutationError> {
    let root = folder.ancestors().find(|folder| folder.join(FOLDER).is_dir());
    root.map(Path::to_owned).ok_or_else(|| MutationError::NoCheckout(folder.to_owned()))
}

/// All mutants of a checkout, in the order of the chapters and then of their names.
///
/// # Errors
/// One of the files cannot be read, or does not say what it must.
pub fn read_all(root: &Path) -> Result<Vec<Mutant>, MutationError> {
    let folder = root.join(FOLDER);
    let failed = |error| MutationError::System(format!("read {}", folder.display()), error);
    let mut mutants = Vec::new();
    for entry in fs::read_dir(&folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = fs::read_to_string(&path)
            .map_err(|error| MutationError::System(format!("read {}", path.display()), error))?;
        let parsed = Mutant::parse(&name, &text);
        mutants.push(parsed.map_err(|why| MutationError::Unsound { mutant: name, why })?);
    }
    mutants.sort_by(|one, other| (one.chapter, &one.name).cmp(&(other.chapter, &other.name)));
    Ok(mutants)
}

/// The mutants of these names; all if there are no names.
///
/// # Errors
/// There is no mutant of a name.
pub fn named(mutants: &[Mutant], names: &[String]) -> Result<Vec<Mutant>, MutationError> {
    if let Some(name) = names.iter().find(|name| mutants.iter().all(|m| m.name != **name)) {
        return Err(MutationError::Unknown(name.clone()));
    }
    let is_wanted = |mutant: &&Mutant| names.is_empty() || names.contains(&mutant.name);
    Ok(mutants.iter().filter(is_wanted).cloned().collect())
}

impl fmt::Display for MutationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            MutationError::NoCheckout(folder) => write!(
                f,
                "bugs are planted in a copy of the sources, and {} is in no checkout of them: \
                 change to one (git clone), and have cargo",
                folder.display()
            ),
            MutationError::Unknown(name) => write!(f, "there is no bug `{name}`"),
            MutationError::Unsound { mutant, why } => write!(f, "{FOLDER}/{mutant}.toml: {why}"),
            MutationError::System(what, error) => write!(f, "cannot {what}: {error}"),
            MutationError::Copy(what) => f.write_str(what),
        }
    }
}

impl Error for MutationError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            MutationError::System(_, error) => Some(error),
            _ => None,
        }
    }
}
