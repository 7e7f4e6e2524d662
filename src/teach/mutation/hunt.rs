//! Builds the copy once and runs it with one bug after the other. Here processes are started and
//! waited for.
//!
//! A bug that breaks a promise is hunted by the simulator, in a process of its own; the others by
//! the test that is to notice them. Before that, simulator and tests run with no bug at all: what
//! fails even then would notice everything.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;
use std::time::{Duration, Instant};
use std::{env, thread};

use rustix::process::{Pid, Signal, kill_process_group};
use serde::Deserialize;

use super::copy::{self, SWITCH};
use super::{Expected, Mutant, MutationError, Test};

/// The copy and what is built of it, below the root of the tree.
const FOLDER: &str = "target/mutants";
/// How long a bug may keep the simulator or a test busy. A bug that makes it hang is not noticed: a
/// test that hangs does not say what is wrong.
const TIMEOUT: Duration = Duration::from_secs(300);
/// Runs that must go well without a bug.
const SOUND_LIVES: u64 = 100;

/// How a hunt goes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The first run of each bug.
    pub seed: u64,
    /// Runs that a bug may take to be noticed.
    pub seeds: u64,
}

/// What has noticed a bug.
#[derive(Clone, Debug)]
pub enum Found {
    Run(Catch),
    Red(Test),
    /// All was well.
    Nothing,
    /// It cannot be said whether all was well, and why.
    Unknown(&'static str),
}

/// The run that noticed a bug.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catch {
    /// Runs until then, this one too.
    pub runs: u64,
    pub seed: u64,
    /// It was a crowd and no herd: there is no seed to run again.
    pub is_crowd: bool,
    /// The name of the promise.
    pub promise: String,
    pub message: String,
}

/// A copy of the tree that is built.
pub struct Copy {
    herd: PathBuf,
    tree: PathBuf,
    /// The programs of tests, by the file in which their crate begins.
    tests: Vec<(PathBuf, PathBuf)>,
}

/// A line of `cargo --message-format=json`, as far as it matters.
#[derive(Deserialize)]
struct Message {
    executable: Option<PathBuf>,
    target: Option<Target>,
    profile: Option<Profile>,
    message: Option<Diagnostic>,
}

#[derive(Deserialize)]
struct Target {
    src_path: PathBuf,
}

#[derive(Deserialize)]
struct Profile {
    test: bool,
}

#[derive(Deserialize)]
struct Diagnostic {
    level: String,
    rendered: Option<String>,
}

impl Catch {
    /// The one line that `herd mutants --inside` prints of it.
    pub fn line(&self) -> String {
        let Catch { runs, seed, is_crowd, promise, message } = self;
        format!("{runs} {seed} {is_crowd} {promise} {message}")
    }

    fn parse(line: &str) -> Option<Catch> {
        let mut words = line.trim_end().splitn(5, ' ');
        Some(Catch {
            runs: words.next()?.parse().ok()?,
            seed: words.next()?.parse().ok()?,
            is_crowd: words.next()?.parse().ok()?,
            promise: words.next()?.to_owned(),
            message: words.next()?.to_owned(),
        })
    }
}

impl Found {
    /// Whether what must notice it has noticed it.
    pub fn is_expected(&self, mutant: &Mutant) -> bool {
        match (self, &mutant.expected) {
            (Found::Run(catch), Expected::Broken(promises)) => promises.contains(&catch.promise),
            (Found::Red(test), Expected::Red(expected)) => test == expected,
            _ => false,
        }
    }
}

impl Copy {
    /// Copies the tree at `root`, plants all of `mutants`, and builds what the `wanted` ones need.
    /// The first time takes minutes.
    ///
    /// # Errors
    /// A mutant does not fit, a file cannot be written, or the copy does not build.
    pub fn build(
        root: &Path,
        mutants: &[Mutant],
        wanted: &[Mutant],
    ) -> Result<Copy, MutationError> {
        let tree = root.join(FOLDER).join("tree");
        let target = root.join(FOLDER).join("target");
        copy::make(root, &tree, mutants)?;
        let mut copy = Copy { herd: PathBuf::new(), tree, tests: Vec::new() };
        let mut tests = BTreeMap::<PathBuf, BTreeSet<String>>::new();
        for mutant in wanted {
            if let Expected::Red(test) = &mutant.expected {
                let (folder, flag) = copy.crate_of(&test.file);
                tests.entry(folder).or_default().insert(flag);
            }
        }
        copy.cargo(&copy.tree.clone(), &target, ["build", "--bin=herd"])?;
        for (folder, flags) in &tests {
            let flags = flags.iter().map(String::as_str);
            copy.cargo(folder, &target, ["test", "--no-run"].into_iter().chain(flags))?;
        }
        Ok(copy)
    }

    /// The folder of the crate that a test belongs to, and the flag that has cargo build it.
    fn crate_of(&self, file: &str) -> (PathBuf, String) {
        if let Some(name) = file.strip_prefix("tests/") {
            let name = name.split(['/', '.']).next().unwrap_or_default();
            return (self.tree.clone(), format!("--test={name}"));
        }
        let path = self.tree.join(file);
        let folder = path.ancestors().skip(1).find(|folder| folder.join("Cargo.toml").exists());
        (folder.unwrap_or(&self.tree).to_owned(), "--lib".to_owned())
    }

    fn cargo<'a>(
        &mut self,
        folder: &Path,
        target: &Path,
        arguments: impl IntoIterator<Item = &'a str>,
    ) -> Result<(), MutationError> {
        let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.args(arguments);
        if folder == self.tree {
            // Else the libraries of all crates would be built with their tests.
            cargo.arg("--package=herd");
        }
        // Half a minute less to build; how fast the bugs run matters little.
        cargo
            .args(["--release", "--locked", "--message-format=json"])
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", target)
            .env("CARGO_PROFILE_RELEASE_LTO", "off")
            .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16")
            .env("CARGO_PROFILE_RELEASE_INCREMENTAL", "true")
            .env("CARGO_PROFILE_RELEASE_DEBUG", "false")
            // Tests are not patient where they are to fail.
            .env("PLANTED_BUGS", "yes")
            .stdout(Stdio::piped());
        let failed = |error| MutationError::System("run cargo".to_owned(), error);
        let mut child = cargo.spawn().map_err(failed)?;
        let mut complaints = String::new();
        for line in BufReader::new(child.stdout.take().expect("it is piped")).lines() {
            let Ok(message) = serde_json::from_str::<Message>(&line.map_err(failed)?) else {
                continue;
            };
            match message {
                Message {
                    executable: Some(program),
                    target: Some(Target { src_path }),
                    profile: Some(Profile { test }),
                    ..
                } => {
                    if test {
                        self.tests.push((src_path, program));
                    } else {
                        self.herd = program;
                    }
                }
                Message { message: Some(Diagnostic { level, rendered }), .. }
                    if level == "error" =>
                {
                    complaints += &rendered.unwrap_or_default();
                }
                _ => {}
            }
        }
        if child.wait().map_err(failed)?.success() {
            Ok(())
        } else {
            Err(MutationError::Copy(format!(
                "{complaints}the copy in {} does not build; does the tree itself?",
                self.tree.display()
            )))
        }
    }

    /// Whether simulator and tests pass where no bug is planted.
    ///
    /// # Errors
    /// One of them is not.
    pub fn check(&self, wanted: &[Mutant], limits: Limits) -> Result<(), MutationError> {
        let judges = wanted.iter().map(|mutant| match &mutant.expected {
            Expected::Red(test) => Ok(test),
            Expected::Broken(_) => Err(mutant.is_on_engine),
        });
        // Each test once, and the simulator once for herds of either kind.
        for judge in judges.collect::<BTreeSet<_>>() {
            let found = match judge {
                Ok(test) => self.run_test("", test)?,
                Err(is_on_engine) => {
                    let seeds = SOUND_LIVES.min(limits.seeds);
                    self.simulate("", is_on_engine, Limits { seeds, ..limits })?
                }
            };
            if !matches!(found, Found::Nothing) {
                let who = judge.map_or("the simulator", |test| &test.name);
                let message = format!("without any bug, {who} is not content: {found:?}");
                return Err(MutationError::Copy(message));
            }
        }
        Ok(())
    }

    /// Plants each of these bugs alone, and says what has noticed it.
    ///
    /// # Errors
    /// A process cannot be started.
    pub fn hunt(&self, mutants: &[Mutant], limits: Limits) -> Result<Vec<Found>, MutationError> {
        let found = Mutex::new(BTreeMap::new());
        // The simulator needs nothing but a processor; tests want the machine for themselves.
        let by_life = |mutant: &&Mutant| matches!(mutant.expected, Expected::Broken(_));
        let queue = Mutex::new(mutants.iter().filter(by_life));
        thread::scope(|scope| {
            for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    let next = || queue.lock().expect("no hunter panics").next();
                    while let Some(mutant) = next() {
                        let caught = self.simulate(&mutant.name, mutant.is_on_engine, limits);
                        found.lock().expect("no hunter panics").insert(&mutant.name, caught);
                    }
                });
            }
        });
        let mut found = found.into_inner().expect("no hunter panics");
        for mutant in mutants {
            if let Expected::Red(test) = &mutant.expected {
                found.insert(&mutant.name, self.run_test(&mutant.name, test));
            }
        }
        mutants.iter().filter_map(|mutant| found.remove(&mutant.name)).collect()
    }

    /// The run that noticed a bug, in rows.
    ///
    /// # Errors
    /// The process cannot be started.
    pub fn live_again(&self, mutant: &Mutant, catch: &Catch) -> io::Result<String> {
        let mut herd = Command::new(&self.herd);
        herd.args(["sim", "--seed", &catch.seed.to_string()]).env(SWITCH, &mutant.name);
        herd.args(mutant.is_on_engine.then_some("--engine"));
        let said = String::from_utf8_lossy(&herd.output()?.stdout).into_owned();
        // That command would run it without the bug.
        let rows = said.lines().filter(|line| !line.starts_with("run it again"));
        Ok(rows.flat_map(|row| [row, "\n"]).collect())
    }

    fn simulate(
        &self,
        switch: &str,
        is_on_engine: bool,
        limits: Limits,
    ) -> Result<Found, MutationError> {
        let mut herd = Command::new(&self.herd);
        let Limits { seed, seeds } = limits;
        herd.args(["mutants", "--inside", &format!("--seed={seed}"), &format!("--seeds={seeds}")]);
        herd.args(is_on_engine.then_some("--engine"));
        Ok(match run(&mut herd, switch)? {
            None => Found::Unknown("it goes on for ever"),
            Some((0, _)) => Found::Nothing,
            Some((_, said)) => match said.lines().find_map(Catch::parse) {
                Some(catch) => Found::Run(catch),
                None => Found::Unknown("the simulator has died"),
            },
        })
    }

    /// Runs one test, wherever in its crate it stands.
    fn run_test(&self, switch: &str, test: &Test) -> Result<Found, MutationError> {
        let path = self.tree.join(&test.file);
        let is_within = |root: &&(PathBuf, PathBuf)| {
            root.0 == path || root.0.parent().is_some_and(|folder| path.starts_with(folder))
        };
        let depth = |root: &&(PathBuf, PathBuf)| (root.0 == path, root.0.components().count());
        let Some((_, program)) = self.tests.iter().filter(is_within).max_by_key(depth) else {
            return Ok(Found::Unknown("its test is in no program"));
        };
        let mut command = Command::new(program);
        command.arg(&test.name).current_dir(&self.tree);
        let Some((_, said)) = run(&mut command, switch)? else {
            return Ok(Found::Unknown("its test goes on for ever"));
        };
        let is_it = |line: &&str| {
            let path = line.split(' ').nth(1).unwrap_or_default();
            line.starts_with("test ") && path.rsplit("::").next() == Some(&*test.name)
        };
        // Before its end, a slow test may be said to be running.
        Ok(match said.lines().rfind(is_it) {
            Some(line) if line.ends_with("FAILED") => Found::Red(test.clone()),
            Some(line) if line.ends_with("ok") => Found::Nothing,
            _ => Found::Unknown("its test has said nothing"),
        })
    }
}

/// Runs a command with a bug switched on. What it said and its exit code, or `None` if it goes on
/// for ever.
fn run(command: &mut Command, switch: &str) -> Result<Option<(i32, String)>, MutationError> {
    let failed = |error| MutationError::System("run the copy".to_owned(), error);
    command.env(SWITCH, switch).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    // A test may have servers: they end with it.
    let mut child = command.process_group(0).spawn().map_err(failed)?;
    let mut stdout = child.stdout.take().expect("it is piped");
    let said = thread::scope(|scope| {
        let reader = scope.spawn(move || {
            let mut said = Vec::new();
            stdout.read_to_end(&mut said).map(|_| String::from_utf8_lossy(&said).into_owned())
        });
        let code = wait(&mut child);
        let _ = kill_process_group(Pid::from_child(&child), Signal::KILL);
        let _ = child.wait();
        code.and_then(|code| Ok(code.zip(Some(reader.join().expect("it only reads")?))))
    });
    said.map_err(failed)
}

fn wait(child: &mut Child) -> io::Result<Option<i32>> {
    let began = Instant::now();
    while began.elapsed() < TIMEOUT {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status.code().unwrap_or(-1)));
        }
        thread::sleep(Duration::from_millis(5));
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_catch_is_read_as_it_was_written() {
        let [promise, message] = ["I4", "A holds \"x\", B does not"].map(str::to_owned);
        let catch = Catch { runs: 3, seed: 2, is_crowd: false, promise, message };
        assert_eq!(Catch::parse(&catch.line()), Some(catch));
        assert_eq!(Catch::parse("all promises kept"), None);
    }
}
