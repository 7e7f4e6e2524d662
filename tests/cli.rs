//! The built binary from outside: exit codes, and messages as an operator meets them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::{fs, thread};

use herd::run_dir::RunDir;

/// A command in a directory of its own, without the environment of the person who runs the tests.
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
        assert_eq!(ended.complaint.lines().count(), 1, "one message: {}", ended.complaint);
    }
}

#[test]
fn help_version_and_lists_are_printed() {
    check(&["--version"], 0, "GeoNames");
    check(&["--help"], 0, "Examples:");
    check(&["help"], 0, "Examples:");
    check(&["help", "serve"], 0, "HERD_PLACES_KEY ");
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
fn herds_are_simulated() {
    check(&["sim", "--seed", "3"], 0, "all promises kept");
    check(&["sim", "--seed", "3", "--servers", "4", "--faults", "none"], 0, "seed 3: 4 servers");
    check(&["sim", "--seeds", "2", "--faults", "crash,stall"], 0, "2 seeds, 0 violations: ");
    check(
        &["sim", "--graph", "preset:2023", "--reports", "5"],
        0,
        "\n5        6      5        8.00",
    );
    check(&["sim", "--servers", "0"], 2, "a number from 1 to 5000");
    check(&["sim", "--servers", "1", "--faults", "crash,disk"], 0, "seed 0: 1 servers");
    check(&["sim", "--graph", "cube"], 2, "ring, star, line or mesh");
    check(&["sim", "--faults", "fire"], 2, "`fire` is no fault");
    check(
        &["sim", "--graph", "preset:2023", "--servers", "7"],
        2,
        "the herd of 2023 has 5 servers",
    );
    check(&["sim", "--servers", "65", "--faults", "crash"], 2, "nothing goes wrong in herds of");
}

#[test]
fn bugs_are_planted_where_the_sources_are() {
    check(&["mutants"], 2, "is in no checkout of them");
    let source = Path::new(env!("CARGO_MANIFEST_DIR"));
    check_in(herd(source, &["mutants", "Moth"]), 2, "herd: there is no bug `Moth`");
    // What the copy of a bug runs to see what is wrong with it.
    check(&["mutants", "--inside", "--seeds", "0"], 0, "");
}

#[test]
fn configurations_are_checked() {
    check(&["check-config"], 0, "herd 2023: 5 servers, 6 links");
    check(&["check-config", "Hill"], 0, "herd 2020: 5 servers, 6 links");
    check(&["check-config", "--preset", "2019", "--base-port", "11000"], 0, "127.0.0.1:11104");
    let plain = ["check-config", "Hill", "--plain-peer", "Jaquez"];
    check(&plain, 0, "Jaquez (127.0.0.1:12001, lf)");
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
    let twice = ["check-config", "Hill", "--web", "127.0.0.1:9", "--mqtt", "127.0.0.1:9"];
    check(&twice, 78, "two of its ports on 127.0.0.1:9");
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
    let wide = ["check-config", "Dale", "--config", "herd.toml", "--bind", "0.0.0.0"];
    check_in(herd(dir.path(), &wide), 78, "`open = true` in herd.toml");

    let line = 1 + example.lines().position(|line| line.contains("\"Smith\"],")).unwrap();
    let bad = example.replace("\"Smith\"],", "\"Smiht\"],");
    fs::write(dir.path().join("bad.toml"), bad).unwrap();
    let message = format!("herd: bad.toml:{line}: there is no server `Smiht`");
    check_in(herd(dir.path(), &["check-config", "--config", "bad.toml"]), 78, &message);
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
    let empty = "CONFIG PRESET BASE_PORT BIND KEY_FILE PLACES PLACES_URL LOG_DIR PLAIN";
    let empty: Vec<_> = empty.split(' ').map(|name| format!("HERD_{name}")).collect();
    let empty: Vec<_> = empty.iter().map(|name| (name.as_str(), "")).collect();
    with(&empty, &["Bona"], 0, "believes AT from clients  no");
    with(&[("HERD_PLAIN", "Yes")], &["Bona"], 0, "believes AT from clients  yes");
    let nonsense = [("HERD_PLAIN", "nonsense")];
    with(&nonsense, &["Bona"], 2, "write 1 or 0");
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

/// The keys of a file that nobody else may read, without what digests are keyed with.
fn keys_in(path: &Path) -> Vec<String> {
    assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
    let text = fs::read_to_string(path).unwrap();
    let keys = text.lines().filter(|line| !line.starts_with('#') && !line.starts_with("digest "));
    keys.inspect(|key| assert_eq!(key.len(), 64, "{text}")).map(str::to_owned).collect()
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_key_is_made_once_and_shown_to_nobody() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("herd.key");
    // Whatever the user lets others read otherwise.
    let mut careless = Command::new("sh");
    careless.args(["-c", "umask 0; exec \"$0\" keygen", env!("CARGO_BIN_EXE_herd")]);
    let ended = end(careless.current_dir(dir.path()));
    assert_eq!((ended.code, ended.complaint.as_str()), (Some(0), ""));
    let keys = keys_in(&path);
    assert_eq!(keys.len(), 1);
    assert!(ended.out.contains("scp -p herd.key MACHINE:"), "{}", ended.out);
    assert!(!ended.out.contains(&keys[0]));

    let refused = "herd.key is there already and stays as it is";
    check_in(herd(dir.path(), &["keygen"]), 73, refused);
    check_in(herd(dir.path(), &["keygen", "herd.key"]), 73, "`herd keygen --rotate herd.key`");
    assert_eq!(keys_in(&path), keys);
    check_in(herd(dir.path(), &["keygen", "other.key"]), 0, "`key_file = \"other.key\"`");
    assert_ne!(keys_in(&dir.path().join("other.key")), keys);
    check_in(herd(dir.path(), &["keygen", "no/herd.key"]), 73, "no/herd.key cannot be made: ");
    assert_eq!(names_in(dir.path()), ["herd.key", "other.key"]);
}

#[test]
fn a_rotation_keeps_the_key_before_and_none_older() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("herd.key");
    let rotate = |code, part: &str| {
        check_in(herd(dir.path(), &["keygen", "--rotate", "link"]), code, part);
    };
    std::os::unix::fs::symlink("herd.key", dir.path().join("link")).unwrap();
    rotate(78, "the herd's key file link cannot be read: ");
    check_in(herd(dir.path(), &["keygen"]), 0, "");
    let mut before = keys_in(&path);
    for _ in 0..3 {
        rotate(0, "link holds a new key, and after it the one before.\nCopy it to every machine");
        let keys = keys_in(&path);
        assert_eq!((keys.len(), &keys[1]), (2, &before[0]));
        assert!(!before.contains(&keys[0]));
        before = keys;
    }
    assert!(fs::symlink_metadata(dir.path().join("link")).unwrap().is_symlink());
    assert_eq!(names_in(dir.path()), ["herd.key", "link"]);

    // What cannot be rotated stays as it is.
    fs::write(dir.path().join("herd.key.new"), "").unwrap();
    rotate(73, "herd.key.new is in the way: ");
    assert_eq!(keys_in(&path), before);
    fs::remove_file(dir.path().join("herd.key.new")).unwrap();
    fs::write(&path, "no key").unwrap();
    rotate(78, "make one with `herd keygen`");
    assert_eq!(fs::read_to_string(&path).unwrap(), "no key");
    assert_eq!(names_in(dir.path()), ["herd.key", "link"]);
}

#[test]
fn a_herd_says_what_its_key_file_lacks() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("herd.key");
    let (a, b) = ("ab".repeat(32), "0c".repeat(32));
    let with = |text: &str, mode: u32, code, part: &str| {
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let arguments = ["check-config", "Hill", "--key-file", "herd.key"];
        check_in(herd(dir.path(), &arguments), code, part);
        if code != 0 {
            let arguments = ["serve", "Hill", "--key-file", "herd.key"];
            check_in(herd(dir.path(), &arguments), code, part);
        }
    };
    with(&a, 0o600, 0, "\npeers are authenticated, with 1 key\n");
    with(&format!("# two\n{a}\n{b}\n"), 0o400, 0, "\npeers are authenticated, with 2 keys\n");
    with(&a, 0o644, 78, "herd: the herd's key file herd.key is open to others");
    with("", 0o600, 78, "herd: the herd's key file herd.key is empty");
    with(&a[2..], 0o600, 78, "a key of 62 hex digits in line 1: a key has 64");
    with("AIzaSecret", 0o600, 78, "does not hold 64 hex digits in line 1");
    with(&format!("{a}\n{a}\n"), 0o600, 78, "holds one key twice");
    with(&format!("{a}\n{b}\n{a}\n"), 0o600, 78, "holds 3 keys");
    let directory = ["check-config", "--key-file", "."];
    check_in(herd(dir.path(), &directory), 78, "the herd's key file . is a directory");
    let missing = ["check-config", "--key-file", "no.key"];
    check_in(herd(dir.path(), &missing), 78, "no.key cannot be read");
    // Who only wants to know names, as herd.sh does for `stop`, needs no key.
    check_in(herd(dir.path(), &[&missing[..], &["--names"]].concat()), 0, "Bailey\n");
}

/// Method: nothing but the key changes between a refusal and a start that would succeed.
#[test]
fn with_a_key_a_server_may_leave_the_machine() {
    let dir = tempfile::tempdir().unwrap();
    check_in(herd(dir.path(), &["keygen"]), 0, "");
    let wide = ["check-config", "Hill", "--bind", "0.0.0.0"];
    let no_key = "0.0.0.0:12000, where anybody could forge reports, because its herd has no key: \
                  make one with `herd keygen`";
    check_in(herd(dir.path(), &wide), 78, no_key);
    check_in(herd(dir.path(), &[&wide[..], &["--key-file", "herd.key"]].concat()), 0, "1 key\n");
    let mut by_environment = herd(dir.path(), &wide);
    by_environment.env("HERD_KEY_FILE", "herd.key");
    check_in(by_environment, 0, "0.0.0.0:12000");
    // Bare AT lines are not authenticated by anything.
    let plain = [&wide[..], &["--plain", "--key-file", "herd.key"]].concat();
    check_in(herd(dir.path(), &plain), 78, "plain links need loopback");
    let near = ["check-config", "Hill", "--plain-peer", "Jaquez", "--key-file", "herd.key"];
    check_in(herd(dir.path(), &near), 0, "plain links               Jaquez (127.0.0.1:12001, lf)");

    let file = |first: &str| {
        let server = "[[server]]\nname = \"Hill\"\nclients = \"10.1.2.3:1000\"\n";
        fs::write(dir.path().join("herd.toml"), format!("herd = \"far\"\n{first}\n{server}"))
            .unwrap();
        ["check-config", "--config", "herd.toml"]
    };
    check_in(herd(dir.path(), &file("")), 78, "`open = true` in herd.toml");
    check_in(
        herd(dir.path(), &file("open = true")),
        0,
        "\nopen: any program that reaches a port can forge",
    );
    let keyed = file("key_file = \"herd.key\"");
    check_in(herd(dir.path(), &keyed), 0, "\npeers are authenticated, with 1 key\n");
    let flag = [&keyed[..], &["--key-file", "no.key"]].concat();
    check_in(herd(dir.path(), &flag), 78, "no.key cannot be read");
    check(&["check-config"], 0, "\npeers are not authenticated: servers listen on loopback only\n");
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
    // A long path is no matter, unless that of temporary files is long as well.
    let long = "x".repeat(100);
    let mut refused = herd(dir.path(), &["serve", "Hill", "--run-dir", &long]);
    fs::create_dir(dir.path().join(&long)).unwrap();
    refused.env("TMPDIR", dir.path().join(&long));
    check_in(refused, 73, "name a shorter directory with --run-dir");
}

#[test]
fn say_sends_one_line_and_prints_all_that_comes() {
    // Bailey is the first of its year: its port is the base port.
    let listener = loop {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        if listener.local_addr().unwrap().port() < 65131 {
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

/// Goal: what packages need fits the binary that prints it.
#[test]
fn packages_get_a_unit_pages_and_completions() {
    check(&["print", "systemd"], 0, "ExecStart=/usr/bin/herd serve %i");
    check(&["print", "logrotate"], 0, "postrotate");
    for shell in ["bash", "zsh", "fish"] {
        check(&["print", "completions", shell], 0, "check-config");
    }
    check(
        &["print", "man"],
        0,
        concat!(".TH herd 1  \"herd ", env!("CARGO_PKG_VERSION"), "\" herd"),
    );
    check(&["print", "man", "no", "such"], 2, "herd has no command no such: `herd help` lists all");
    let dir = tempfile::tempdir().unwrap();
    let help = end(&mut herd(dir.path(), &["help"])).out;
    let (_, commands) = help.split_once("Commands:\n").unwrap();
    let commands = commands.lines().take_while(|line| !line.is_empty());
    for command in commands.filter_map(|line| line.strip_prefix("  ")?.split(' ').next()) {
        if !["", "help"].contains(&command) {
            check(&["print", "man", command], 0, &format!(".TH herd-{command} 1 "));
        }
    }
    check_in(herd(dir.path(), &["print", "man", "--into", "."]), 0, "");
    for page in ["herd", "herd-serve", "herd-journal-check"] {
        let text = fs::read_to_string(dir.path().join(format!("{page}.1"))).unwrap();
        assert!(text.contains(&format!(".TH {page} 1 ")), "{text}");
    }
    check(&["print", "man", "--into", "nowhere"], 73, "no pages can be made in nowhere: ");
}

/// Goal: what is printed for a cluster is a herd that a server can be of.
#[test]
fn the_manifests_have_a_herd_that_is_right() {
    let dir = tempfile::tempdir().unwrap();
    let manifests = end(&mut herd(dir.path(), &["print", "kubernetes"])).out;
    let (_, file) = manifests.split_once("  herd.toml: |\n").unwrap();
    let file = file.lines().take_while(|line| line.is_empty() || line.starts_with("    "));
    let file = file.map(|line| format!("{}\n", line.trim_start())).collect::<String>();
    fs::write(dir.path().join("herd.toml"), file).unwrap();
    assert_eq!(end(&mut herd(dir.path(), &["keygen"])).code, Some(0));
    for pod in 0..5 {
        let name = format!("herd-{pod}");
        let flags = ["--config", "herd.toml", "--bind", "0.0.0.0", "--key-file", "herd.key"];
        let command = herd(dir.path(), &[&["check-config", &name][..], &flags].concat());
        check_in(command, 0, "0.0.0.0:12300");
    }
    check(&["print", "containerfile"], 0, "ENTRYPOINT [\"/usr/bin/herd\"]");
}

/// Goal: the unit restarts a server that has died, and none whose operator must do something first.
#[test]
fn the_unit_knows_the_exit_codes() {
    let dir = tempfile::tempdir().unwrap();
    let unit = end(&mut herd(dir.path(), &["print", "systemd"])).out;
    let (_, never) = unit.split_once("RestartPreventExitStatus=").unwrap();
    let never = never.lines().next().unwrap();
    assert_eq!(never, "2 73 77 78 98", "usage, files, another user's, configuration, a taken port");
}
