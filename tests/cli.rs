//! The built binary from outside: exit codes, and sentences as an operator meets them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::{fs, thread};

use herd::run_dir::RunDir;

/// A command in a directory of its own, without the environment of whoever runs the tests.
fn herd(dir: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    command.current_dir(dir).args(arguments).stdin(Stdio::null());
    command
}

struct Ended {
    code: Option<i32>,
    out: String,
    complaint: String,
}

fn end(command: &mut Command) -> Ended {
    let Output { status, stdout, stderr } = command.output().unwrap();
    Ended {
        code: status.code(),
        out: String::from_utf8(stdout).unwrap(),
        complaint: String::from_utf8(stderr).unwrap(),
    }
}

/// Runs `arguments`; `part` must stand in what it complains of, or in what it says if it does not.
fn check(arguments: &[&str], code: i32, part: &str) {
    let dir = tempfile::tempdir().unwrap();
    check_in(herd(dir.path(), arguments), code, part);
}

fn check_in(mut command: Command, code: i32, part: &str) {
    let ended = end(&mut command);
    let said = if code == 0 { &ended.out } else { &ended.complaint };
    assert_eq!(ended.code, Some(code), "{command:?}: {said}");
    assert!(said.contains(part), "{command:?} says\n{said}\nand not {part}");
    assert!(!ended.complaint.contains("panicked"), "{}", ended.complaint);
    if code >= 3 {
        assert_eq!(ended.complaint.lines().count(), 1, "one sentence: {}", ended.complaint);
    }
}

#[test]
fn help_version_and_lists_are_printed() {
    check(&["--version"], 0, "GeoNames");
    check(&["--help"], 0, "Examples:");
    check(&["serve", "--help"], 0, "HERD_PLACES_KEY ");
    check(&["presets"], 0, "2018, 2019  Goloman Hands Holiday Welsh Wilkes");
    check(&["example-config"], 0, "[[server]]");
}

#[test]
fn usage_errors_end_with_2() {
    check(&["serve"], 2, "<NAME>");
    check(&["serve", "two words"], 2, "`two words` is no name");
    check(&["serve", "../Hill"], 2, "is no name");
    check(&["serve", "Hill", "--log-level", "loud"], 2, "`loud` is no log level");
    check(
        &["serve", "Hill", "--places", "bing"],
        2,
        "embedded, file, google-new, google-legacy, overpass",
    );
    check(&["serve", "Hill", "--bind", "127.0.0.1:1"], 2, "without a port");
    check(&["serve", "Hill", "--places-key", "AIza"], 2, "--places-key");
    check(&["serve", "Hill", "--base-port", "many"], 2, "`many` is no port");
    check(&["serve", "Hill", "--plain-peer", "Old=here"], 2, "`here` is no address");
    check(&["check-config", "--config", "a", "--preset", "2018"], 2, "leave one out");
}

#[test]
fn configurations_are_checked() {
    check(&["check-config"], 0, "herd 2023: 5 servers, 6 links");
    check(&["check-config", "Hill"], 0, "herd 2020: 5 servers, 6 links");
    check(&["check-config", "--preset", "2019", "--base-port", "11000"], 0, "127.0.0.1:11104");
    let plain = ["check-config", "Hill", "--plain-peer", "Jaquez"];
    check(&plain, 0, "Jaquez (127.0.0.1:12001)");
    check(&["check-config", "--preset", "2016"], 78, "herd: there is no preset `2016`");
    check(&["check-config", "Nobody"], 78, "no preset has a server called Nobody");
    check(&["check-config", "--base-port", "65500"], 78, "does not fit");
    check(&["check-config", "--bind", "0.0.0.0"], 78, "anybody could forge reports");
    check(&["serve", "Hill", "--bind", "0.0.0.0"], 78, "anybody could forge reports");
    check(&["serve", "Hill", "--places", "google-legacy"], 78, "needs a key");
    check(&["serve", "Hill", "--places-file", "x.csv"], 78, "add --places file");
    let replies = ["check-config", "Hill", "--stale-reply", "stored", "--close-after-reply"];
    check(&replies, 0, "the stored line\ncloses after an answer    yes");
    check(&["serve", "Hill", "--config", "herd.toml"], 78, "herd.toml cannot be read");
}

#[test]
fn files_are_checked_with_their_lines() {
    let dir = tempfile::tempdir().unwrap();
    let example = end(&mut herd(dir.path(), &["example-config"])).out;
    fs::write(dir.path().join("herd.toml"), &example).unwrap();
    let good = ["check-config", "--config", "herd.toml", "Smith"];
    check_in(herd(dir.path(), &good), 0, "herd example: 4 servers, 3 links");
    let course = ["serve", "Old", "--config", "herd.toml"];
    check_in(herd(dir.path(), &course), 78, "Old is a course server");
    let wide = ["check-config", "Jaquez", "--config", "herd.toml", "--bind", "0.0.0.0"];
    check_in(herd(dir.path(), &wide), 78, "`open = true` in herd.toml");

    let line = 1 + example.lines().position(|line| line.contains("\"Smith\"],")).unwrap();
    let bad = example.replace("\"Smith\"],", "\"Smiht\"],");
    fs::write(dir.path().join("bad.toml"), bad).unwrap();
    let sentence = format!("herd: bad.toml:{line}: there is no server `Smiht`");
    check_in(herd(dir.path(), &["check-config", "--config", "bad.toml"]), 78, &sentence);
}

#[test]
fn flags_beat_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let with = |variables: &[(&str, &str)], arguments: &[&str], code, part: &str| {
        let mut command = herd(dir.path(), &[&["check-config"], arguments].concat());
        command.envs(variables.iter().copied());
        check_in(command, code, part);
    };
    with(&[("HERD_PRESET", "2018")], &[], 0, "herd 2018");
    with(&[("HERD_PRESET", "2018")], &["--preset", "2020"], 0, "herd 2020");
    with(&[("HERD_CONFIG", "no.toml")], &[], 78, "no.toml cannot be read");
    with(&[("HERD_CONFIG", "no.toml")], &["--preset", "2020"], 0, "herd 2020");
    let config = ["--config", "no.toml"];
    let both = [("HERD_PRESET", "2018"), ("HERD_BASE_PORT", "1")];
    with(&both, &config, 78, "no.toml cannot be read");
    let two = [("HERD_PRESET", "2018"), ("HERD_CONFIG", "no.toml")];
    with(&two, &[], 78, "leave one out");
    with(&[("HERD_BASE_PORT", "11000")], &["Hill"], 0, "127.0.0.1:11100");
    with(&[("HERD_LOG_LEVEL", "warn")], &["Hill"], 0, "log, warn");
    with(&[("HERD_LOG_LEVEL", "warn")], &["Hill", "--log-level", "info"], 0, "log, events");
    let empty =
        ["CONFIG", "PRESET", "BASE_PORT", "BIND", "PLACES", "PLACES_URL", "LOG_DIR", "PLAIN"];
    let empty = empty.map(|name| format!("HERD_{name}"));
    let empty: Vec<_> = empty.iter().map(|name| (name.as_str(), "")).collect();
    with(&empty, &["Bona"], 0, "believes AT from clients  no");
    with(&[("HERD_PLAIN", "Yes")], &["Bona"], 0, "believes AT from clients  yes");
    let nonsense = [("HERD_PLAIN", "nonsense")];
    with(&nonsense, &["Bona"], 2, "'--plain': write 1 or 0");
    with(&nonsense, &["Bona"], 2, "tip: this comes from the variable HERD_PLAIN");
    let nonsense = [("HERD_BASE_PORT", "x")];
    with(&nonsense, &[], 2, "tip: this comes from the variable HERD_BASE_PORT");
    with(&[("HERD_BASE_PORT", "1")], &["--base-port", "x"], 2, "`x` is no port");
}

#[test]
fn keys_are_private_and_never_shown() {
    let dir = tempfile::tempdir().unwrap();
    let key = dir.path().join("key");
    fs::write(&key, "AIzaSecret\n").unwrap();
    let arguments = ["check-config", "Hill", "--places", "google-legacy"];
    let with_file = [&arguments[..], &["--places-key-file", "key"]].concat();
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    check_in(herd(dir.path(), &with_file), 78, "(mode 0644): chmod 600 key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let mut by_environment = herd(dir.path(), &arguments);
    by_environment.env("HERD_PLACES_KEY", "AIzaSecret");
    for mut command in [herd(dir.path(), &with_file), by_environment] {
        let ended = end(&mut command);
        assert_eq!(ended.code, Some(0), "{}", ended.complaint);
        assert!(ended.out.contains("google-legacy, with a key"), "{}", ended.out);
        assert!(!ended.out.contains("Secret"));
    }
    // A key file that was named is used, even where the environment has a key.
    let mut missing = herd(dir.path(), &[&arguments[..], &["--places-key-file", "no"]].concat());
    missing.env("HERD_PLACES_KEY", "AIzaSecret");
    check_in(missing, 78, "the key file no cannot be read");
}

#[test]
fn nobody_is_reached_and_nothing_runs() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let base = free.min(65431).to_string();
    let say = ["say", "Bailey", "--base-port", &base, "IAMAT", "x"];
    let hint = format!("start it with `herd serve Bailey --base-port {base}`");
    check(&say, 69, &hint);
    check(&["pid", "Hill"], 3, "herd: Hill is not running (run directory run)");
    check(&["pid", "Hill", "--run-dir", &"x".repeat(200)], 3, "Hill is not running");

    let dir = tempfile::tempdir().unwrap();
    let ended = end(&mut herd(dir.path(), &["status"]));
    assert_eq!((ended.code, ended.complaint.as_str()), (Some(3), ""));
    assert!(ended.out.contains("herd serve NAME"), "{}", ended.out);
    let ended = end(&mut herd(dir.path(), &["status", "Hill"]));
    assert_eq!(ended.code, Some(3));
    assert!(ended.out.contains("\nHill    stopped"), "{}", ended.out);
    let ended = end(&mut herd(dir.path(), &["status", "Hill", "--json"]));
    let seen: serde_json::Value = serde_json::from_str(&ended.out).unwrap();
    assert_eq!(seen, serde_json::json!([{ "name": "Hill", "state": "stopped" }]));
    let ended = end(&mut herd(dir.path(), &["status", "--json"]));
    assert_eq!((ended.code, ended.out.as_str()), (Some(3), "[]\n"));
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "asking leaves no traces");
}

#[test]
fn a_name_runs_once() {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = RunDir::new(dir.path().join("run"));
    let claim = run_dir.claim("Hill").unwrap();
    let ours = std::process::id();
    check_in(herd(dir.path(), &["pid", "Hill"]), 0, &format!("{ours}\n"));
    // Its port is taken as well, so it is the same server and not another herd's.
    let port = TcpListener::bind("127.0.0.1:0").unwrap();
    let base_port = port.local_addr().unwrap().port().to_string();
    let running = format!("herd: Hill is running already (pid {ours})");
    let again = ["serve", "Hill", "--preset", "2020", "--base-port", &base_port];
    check_in(herd(dir.path(), &again), 98, &running);
    drop(claim);
    check_in(herd(dir.path(), &["pid", "Hill"]), 3, "not running");

    fs::write(dir.path().join("file"), "").unwrap();
    let refused = ["serve", "Hill", "--run-dir", "file"];
    check_in(herd(dir.path(), &refused), 73, "herd: file cannot be used (");
    let long = "x".repeat(100);
    let refused = ["serve", "Hill", "--run-dir", &long];
    check_in(herd(dir.path(), &refused), 73, "name a shorter directory with --run-dir");
}

#[test]
fn say_sends_one_line_and_prints_all_that_comes() {
    // Bailey is the first of its year: its port is the base port.
    let listener = loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if listener.local_addr().unwrap().port() < 65431 {
            break listener;
        }
    };
    let base = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut heard = String::new();
        stream.read_to_string(&mut heard).unwrap();
        stream.write_all(b"AT Bailey\n{}\n\n").unwrap();
        heard
    });
    let dir = tempfile::tempdir().unwrap();
    let say = ["say", "--base-port", &base, "Bailey", "WHATSAT", "kiwi", "10", "5"];
    let ended = end(&mut herd(dir.path(), &say));
    assert_eq!((ended.code, ended.out.as_str()), (Some(0), "AT Bailey\n{}\n\n"));
    assert_eq!(server.join().unwrap(), "WHATSAT kiwi 10 5\n");
}

#[test]
fn a_closed_pipe_is_no_panic() {
    let dir = tempfile::tempdir().unwrap();
    for arguments in [["example-config"], ["presets"], ["status"]] {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let ended = end(herd(dir.path(), &arguments).stdout(writer));
        assert_eq!(ended.complaint, "", "{arguments:?}");
    }
}
