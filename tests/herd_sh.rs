//! herd.sh beside stand-ins for cargo and for the binary: what it has built, what it hands over and
//! how it ends. `tests/herd_sh.sh` runs it with real servers, and takes a minute.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use common::skip;
use tempfile::TempDir;

/// Stands for the binary: writes down what it is asked, takes its time, and ends as it is told.
const BINARY: &str = r#"#!/bin/sh
echo "herd $*" >>"$HERD_HOME/done"
sleep 0.1
echo "ended" >>"$HERD_HOME/done"
exit "$(cat "$HERD_HOME/code")"
"#;
/// Stands for cargo.
const CARGO: &str = r#"#!/bin/sh
[ "$1" = --version ] && echo "cargo 1.999.0" && exit
echo "cargo $1" >>"$HERD_HOME/done"
exit "$(cat "$HERD_HOME/build")"
"#;

/// A checkout in which nothing is real but herd.sh.
struct Checkout(TempDir);

impl Checkout {
    /// `None` where there is no bash.
    fn new() -> Option<Checkout> {
        if Command::new("bash").arg("--version").stdout(Stdio::null()).status().is_err() {
            skip("herd.sh needs bash, which is missing here");
            return None;
        }
        let checkout = Checkout(tempfile::tempdir().unwrap());
        let source = Path::new(env!("CARGO_MANIFEST_DIR"));
        for name in ["herd.sh", "Cargo.toml"] {
            fs::copy(source.join(name), checkout.path(name)).unwrap();
        }
        checkout.write_program("target/release/herd", BINARY);
        checkout.write_program("bin/cargo", CARGO);
        checkout.ends_with("code", 0);
        checkout.ends_with("build", 0);
        Some(checkout)
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    fn write_program(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// How the binary (`code`) or cargo (`build`) ends from now on.
    fn ends_with(&self, what: &str, code: i32) {
        fs::write(self.path(what), code.to_string()).unwrap();
    }

    /// Runs herd.sh. Gives its exit code, and what was done by then.
    fn run(&self, arguments: &[&str]) -> (Option<i32>, Vec<String>) {
        let _ = fs::remove_file(self.path("done"));
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new("bash");
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
            command.env_remove(name);
        }
        command.env("PATH", format!("{}:{path}", self.path("bin").display()));
        command.arg(self.path("herd.sh")).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let code = command.status().unwrap().code();
        let done = fs::read_to_string(self.path("done")).unwrap_or_default();
        (code, done.lines().map(str::to_owned).collect())
    }
}

#[test]
fn commands_are_handed_over_and_their_ends_passed_on() {
    let Some(checkout) = Checkout::new() else { return };
    let check = |typed: &[&str], asked: &str, code: i32| {
        checkout.ends_with("code", code);
        let done = [asked, "ended"].map(str::to_owned).to_vec();
        assert_eq!(checkout.run(typed), (Some(code), done), "{typed:?}");
    };
    check(&["status"], "herd status --all", 0);
    check(&["status", "Hill", "--json"], "herd status --all Hill --json", 3);
    check(&["reload", "Hill"], "herd reload Hill", 77);
    check(&["top", "Hill"], "herd top Hill", 69);
    check(&["say", "Hill", "IAMAT kiwi +1-1 7"], "herd say Hill IAMAT kiwi +1-1 7", 69);
    check(&["logs", "Hill"], "herd logs Hill", 1);
}

#[test]
fn a_stop_ends_when_the_servers_have() {
    let Some(checkout) = Checkout::new() else { return };
    checkout.ends_with("code", 3);
    let done = ["herd stop Hill", "ended"].map(str::to_owned).to_vec();
    assert_eq!(checkout.run(&["stop", "Hill"]), (Some(3), done));
}

#[test]
fn a_build_that_fails_starts_nothing() {
    let Some(checkout) = Checkout::new() else { return };
    let check = |code: i32, done: &[&str]| {
        checkout.ends_with("build", code);
        for command in ["start", "restart"] {
            let done = done.iter().map(|line| line.replace("COMMAND", command)).collect();
            assert_eq!(checkout.run(&[command, "Hill"]), (Some(code), done));
        }
    };
    check(0, &["cargo build", "herd COMMAND Hill", "ended"]);
    check(101, &["cargo build"]);
}

#[test]
fn what_concerns_the_build_is_not_handed_over() {
    let Some(checkout) = Checkout::new() else { return };
    let done = ["herd start Hill --trace here", "ended"].map(str::to_owned).to_vec();
    let typed = ["start", "Hill", "--no-build", "--trace", "here"];
    assert_eq!(checkout.run(&typed), (Some(0), done));
}
