//! A directory with a herd that is run by commands, and how they are given. Apart because what must
//! come of them is for the tests.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use herd::status::Status;

use super::common::{Herd, PLACELESS};

pub const NAMES: [&str; 5] = ["Bailey", "Bona", "Campbell", "Clark", "Jaquez"];

/// A directory with a herd that is run by commands; what is left of it ends with this.
pub struct Home {
    pub herd: Herd,
    /// Goes before the program: how to be somebody else.
    pub as_whom: Vec<String>,
}

pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub complaint: String,
}

impl Home {
    /// The preset 2023.
    pub fn new() -> Home {
        Home { herd: Herd::of_year("2023"), as_whom: Vec::new() }
    }

    pub fn command(&self, arguments: &[&str]) -> Command {
        let program = env!("CARGO_BIN_EXE_herd").to_owned();
        let words = [&*self.as_whom, &[program]].concat();
        let mut command = Command::new(&words[0]);
        for (variable, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
            command.env_remove(variable);
        }
        command.args(&words[1..]).args(arguments).current_dir(self.herd.dir());
        // What nobody asks for need not be loaded.
        let [places, source, url, value] = PLACELESS else { panic!("four words") };
        assert_eq!((*places, *url), ("--places", "--places-url"));
        command.env("HERD_PLACES", source).env("HERD_PLACES_URL", value);
        command.env("HERD_BASE_PORT", self.herd.port("Bailey").to_string());
        command.stdin(Stdio::null());
        command
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        end(&mut self.command(arguments))
    }

    /// Demands an exit code, and that a part stands in what is said or complained of.
    pub fn check(&self, arguments: &[&str], code: i32, part: &str) -> Ended {
        self.check_of(self.command(arguments), code, part)
    }

    pub fn check_of(&self, mut command: Command, code: i32, part: &str) -> Ended {
        let ended = end(&mut command);
        let said = format!("{}{}", ended.out, ended.complaint);
        assert_eq!(ended.code, Some(code), "{command:?}: {said}");
        assert!(said.contains(part), "{command:?} says\n{said}\nand not {part}");
        assert!(!said.contains("panicked"), "{said}");
        ended
    }

    /// Those that are up, and what they say.
    pub fn up(&self) -> BTreeMap<String, Status> {
        let sights = self.run(&["status", "--json"]).out;
        let sights: Vec<serde_json::Value> = serde_json::from_str(&sights).unwrap();
        let up = sights.into_iter().filter(|sight| sight["state"] == "up");
        let up = up.map(|sight| serde_json::from_value::<Status>(sight).unwrap());
        up.map(|status| (status.name.clone(), status)).collect()
    }

    pub fn pid(&self, name: &str) -> u32 {
        self.check(&["pid", name], 0, "").out.trim().parse().unwrap()
    }

    pub fn path(&self, name: &str) -> std::path::PathBuf {
        self.herd.path(name)
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        self.as_whom.clear();
        let ended = self.run(&["stop"]);
        if !std::thread::panicking() {
            assert_eq!(ended.code, Some(0), "{}", ended.complaint);
        }
    }
}

pub fn end(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ended {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        complaint: String::from_utf8(stderr).unwrap(),
    }
}

/// The same command, given by a shell that first says `script`.
pub fn in_a_shell(given: &Command, dir: &Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!("{script} \"$0\" \"$@\""));
    command.arg(given.get_program()).args(given.get_args()).current_dir(dir);
    for (name, value) in given.get_envs() {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    command
}

/// Names and pids of a line such as `Bona: started (pid 17)`.
pub fn started(said: &str) -> BTreeMap<String, u32> {
    let pid = |rest: &str| rest.strip_suffix(')').unwrap().parse().unwrap();
    let lines = said.lines().filter_map(|line| line.split_once(": started (pid "));
    lines.map(|(name, rest)| (name.to_owned(), pid(rest))).collect()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

pub struct Sleeper(pub Child);

impl Sleeper {
    pub fn new() -> Sleeper {
        Sleeper(Command::new("sleep").arg("600").spawn().unwrap())
    }

    pub fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Sleeper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
