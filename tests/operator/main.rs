//! What an operator does with a whole herd: `start`, `stop`, `restart`, `reload`, `status`, `pid`,
//! with everything that may be wrong with a machine. Servers are real; each test has a directory
//! and ports of its own, and leaves nothing running.

#[path = "../common/mod.rs"]
mod common;
mod home;

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use ::herd::status::PeerState;
use common::{Herd, PLACELESS, TIMEOUT, skip, until};
use home::{Home, NAMES, Sleeper, end, in_a_shell, is_root, started};

#[test]
fn a_herd_starts_runs_and_stops() {
    let home = Home::new();
    home.check(&["status", "--all"], 3, "Campbell  stopped");
    let first = home.check(&["start"], 0, "Ready. ");
    let up = home.up();
    let pids = up.iter().map(|(name, status)| (name.clone(), status.pid)).collect();
    assert_eq!(started(&first.out), pids, "each is said to have the pid that it has");
    assert!(NAMES.iter().all(|name| up.contains_key(*name)));
    let joined =
        up.values().all(|status| status.peers.iter().all(|peer| peer.state == PeerState::Up));
    assert!(joined, "{up:?}");

    let running = format!("Bona: running already (pid {})\n", up["Bona"].pid);
    home.check(&["start"], 0, &running);
    let quiet = ["start", "Bona", "--log-level", "off"];
    home.check(&quiet, 0, "with other settings than these: `herd restart Bona`");
    home.check(&["start", "--base-port", "1"], 98, "and not on 127.0.0.1:1: `herd stop` first");
    assert_eq!(home.pid("Bona"), up["Bona"].pid);

    home.check(&["reload", "Bona"], 0, "Bona: reloads (pid ");
    home.check(&["reload", "--wait", "Bona"], 0, "Bona: nothing has changed");
    home.herd.until_logged("Bona", "log reopened");
    home.check(&["stop", "Bona", "Bona"], 0, "Bona: stopped (pid ");
    home.check(&["stop", "Bona"], 0, "Bona: not running");
    home.check(&["reload", "Bona"], 3, "Bona is not running");
    home.check(&["status", "--all"], 3, "Bona      stopped");
    home.check(&["start", "Bona", "Bona"], 0, "Bona: started");
    home.check(&["stop"], 0, "Clark: stopped");
    home.check(&["stop"], 0, "No server is running.");
    home.check(&["reload"], 3, "no server is running");
    assert!(home.herd.log("Clark").ends_with("stopped\n"), "nothing comes after the end");
}

/// Goal: nobody who makes a mistake in a `restart` has nothing running afterwards.
#[test]
fn a_restart_finds_mistakes_before_it_stops_anybody() {
    let home = Home::new();
    home.check(&["start", "Bailey", "Bona"], 0, "");
    let before = [home.pid("Bailey"), home.pid("Bona")];
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let taken = taken.local_addr().unwrap().port().min(65_000).to_string();
    let _claim = TcpListener::bind(("127.0.0.1", taken.parse::<u16>().unwrap()));
    fs::write(home.path("bad.toml"), "herd = \"x\"\n[[server]]\nname = \"Bona\"\n").unwrap();
    fs::write(home.path("file"), "").unwrap();
    for (arguments, code, part) in [
        (&["restart", "Bona", "Bonna"][..], 78, "Bonna"),
        (&["restart", "--nonsense"], 2, "--nonsense"),
        (&["restart", "--key-file", "no.key"], 78, "no.key cannot be read"),
        (&["restart", "Bona", "--places", "file"], 78, "needs a file"),
        (&["restart", "Bona", "--places-url", "https://[::1/"], 78, "URL"),
        (&["restart", "Bona", "--preset", "2018"], 78, "has no server Bona"),
        (&["restart", "Bailey", "--base-port", &taken], 98, "nothing has been stopped"),
        (&["restart", "--log-dir", "file/log"], 73, "the log directory file/log cannot be made"),
        (&["restart", "--trace", "file/trace"], 73, "the trace directory file/trace cannot"),
    ] {
        home.check(arguments, code, part);
        assert_eq!([home.pid("Bailey"), home.pid("Bona")], before, "{arguments:?}");
    }
    let mut by_environment = home.command(&["restart"]);
    by_environment.env_remove("HERD_BASE_PORT").env("HERD_CONFIG", "bad.toml");
    home.check_of(by_environment, 78, "bad.toml:2: missing key `clients`");
    assert_eq!([home.pid("Bailey"), home.pid("Bona")], before);
    home.check(&["restart", "Bona"], 0, "Bona: started");
    assert_eq!(home.pid("Bailey"), before[0]);
    assert_ne!(home.pid("Bona"), before[1]);
}

/// Goal: two that start at once do not start twice, and neither tells of a server that is not
/// there.
#[test]
fn two_starts_at_once_are_one_after_the_other() {
    let home = Home::new();
    let both = [0, 1].map(|_| {
        let mut command = home.command(&["start"]);
        command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    });
    let said = both.map(|child| child.wait_with_output().unwrap());
    let said = said.map(|output| {
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    });
    let [one, other] = said.each_ref().map(|said| started(said));
    assert_eq!(one.len() + other.len(), NAMES.len(), "{said:?}");
    let up = home.up();
    for (name, pid) in one.iter().chain(&other) {
        assert_eq!(up[name].pid, *pid);
    }
    home.check(&["stop"], 0, "stopped");
    assert!(home.up().is_empty(), "nobody was waiting to take their places");
}

#[test]
fn a_start_that_fails_is_undone() {
    let home = Home::new();
    let port = home.herd.port("Campbell");
    let claim = TcpListener::bind(("127.0.0.1", port)).unwrap();
    let ended = home.check(&["start"], 98, "Campbell did not start; it said:\n    herd: ");
    assert!(ended.complaint.contains("is taken by another program"), "{}", ended.complaint);
    assert!(ended.complaint.contains("Bailey: stopped again (pid "), "{}", ended.complaint);
    assert!(home.up().is_empty());
    home.check(&["start", "Bailey"], 0, "");
    let before = home.pid("Bailey");
    home.check(&["start"], 98, "Bailey: running already");
    assert_eq!(home.pid("Bailey"), before, "who ran before is left alone");
    drop(claim);
    home.check(&["start"], 0, "Campbell: started");
}

/// Goal: a reader who has seen enough, as in `herd start | head -1`, keeps nothing from being done.
#[test]
fn who_stops_reading_stops_nothing() {
    let home = Home::new();
    let unheard = |arguments: &[&str]| {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let status = home.command(arguments).stdout(writer).status().unwrap();
        assert_eq!(status.code(), Some(0), "{arguments:?}");
        home.up()
    };
    let before = unheard(&["start"]);
    assert_eq!(before.len(), NAMES.len());
    let after = unheard(&["restart"]);
    assert!(NAMES.iter().all(|name| after[*name].pid != before[*name].pid), "{after:?}");
    assert!(!unheard(&["drain", "Bona", "--wait"]).contains_key("Bona"));
    assert_eq!(unheard(&["stop", "Bona", "Clark"]).len(), NAMES.len() - 2);
}

/// Goal: one herd.toml serves all machines of a herd.
#[test]
fn only_those_whose_address_is_here_are_started() {
    let home = Home::new();
    let port = |name| home.herd.port(name);
    // RFC 5737, section 3: no machine has this address.
    let text = format!(
        "herd = \"two\"\nopen = true\nrun_dir = \"elsewhere/run\"\nlinks = [[\"Near\", \"Far\"]]\n\
         [log]\ndir = \"elsewhere/log\"\nmode = \"0600\"\n\
         [[server]]\nname = \"Near\"\nclients = \"127.0.0.1:{}\"\n\
         [[server]]\nname = \"Far\"\nclients = \"192.0.2.1:{}\"\n",
        port("Bailey"),
        port("Bona")
    );
    fs::write(home.path("herd.toml"), text).unwrap();
    let with_file = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env_remove("HERD_BASE_PORT").env("HERD_CONFIG", "herd.toml");
        command
    };
    let check =
        |arguments: &[&str], code, part: &str| home.check_of(with_file(arguments), code, part);
    let ended = check(&["start"], 0, "Far: elsewhere (192.0.2.1:");
    assert!(ended.out.contains("Near: started") && ended.complaint.is_empty(), "{}", ended.out);
    let row = format!("Far     elsewhere  192.0.2.1:{}", port("Bona"));
    check(&["status", "--all"], 0, &row);
    check(&["start", "Far"], 78, "which is no address of this machine");
    check(&["check-config", "--names"], 0, "Near\n");
    // What herd.toml says of directories, every command knows.
    check(&["pid", "Near"], 0, "");
    check(&["logs"], 0, "server listening");
    let mode = |name: &str| fs::metadata(home.path(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode("elsewhere/log/Near.log"), 0o600);
    assert_eq!(mode("elsewhere/log/Near.out"), 0o600);
    assert_eq!(mode("elsewhere/run"), 0o750);
    assert!(!home.path("run").exists() && !home.path("log").exists());
    // A herd.toml that was broken meanwhile is reported, and stops nothing.
    let broken = fs::read_to_string(home.path("herd.toml")).unwrap() + "colour = 1\n";
    fs::write(home.path("herd.toml"), broken).unwrap();
    let ended = check(&["status"], 0, "Near    up");
    assert!(ended.complaint.contains("unknown key `colour`"), "{}", ended.complaint);
    check(&["stop"], 0, "Near: stopped");
}

#[test]
fn directories_may_be_named_by_variables_and_have_long_paths() {
    let home = Home::new();
    let deep = home.path(&"a long way down/".repeat(10));
    fs::create_dir_all(&deep).unwrap();
    let with_home = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        command.env("HERD_HOME", &deep).env("TMPDIR", home.herd.dir());
        command
    };
    home.check_of(with_home(&["start", "Bona"]), 0, "Bona: started");
    assert!(deep.join("log/Bona.log").exists() && deep.join("run/Bona.pid").exists());
    // By another spelling of the same directory, and with another place for temporary files.
    let mut there = home.command(&["status", "Bona"]);
    home.check_of(
        {
            there.current_dir(&deep);
            there
        },
        0,
        "Bona    up",
    );
    home.check_of(with_home(&["restart", "Bona"]), 0, "Bona: started");
    home.check_of(with_home(&["stop"]), 0, "Bona: stopped");
}

/// Goal: a cleaner of temporary files, or a slip, makes no server immortal.
#[test]
fn who_has_lost_a_file_can_be_found_and_stopped() {
    let home = Home::new();
    for lost in ["run/Bona.pid", "run/Bona.sock"] {
        home.check(&["start", "Bona"], 0, "Bona: started");
        let pid = home.pid("Bona");
        fs::remove_file(home.path(lost)).unwrap();
        if lost.ends_with("pid") {
            assert_eq!(home.pid("Bona"), pid);
            home.check(&["status"], 0, "Bona    up");
            home.check(&["start", "Bona"], 0, "Bona: running already");
        } else {
            home.check(&["status"], 69, "Bona    not answering");
            home.check(&["start", "Bona"], 69, "does not answer: `herd stop Bona` first");
        }
        home.check(&["stop"], 0, &format!("Bona: stopped (pid {pid})"));
        assert!(!Path::new(&format!("/proc/{pid}/exe")).exists(), "it is gone");
    }
}

/// Goal: no process is signalled because its number stands in a file.
#[test]
fn a_stranger_is_never_signalled() {
    let home = Home::new();
    let mut sleeper = Sleeper::new();
    fs::create_dir(home.path("run")).unwrap();
    fs::write(home.path("run/Bona.pid"), format!("{}\n", sleeper.0.id())).unwrap();
    home.check(&["stop", "Bona"], 0, "Bona: not running");
    home.check(&["reload", "Bona"], 3, "Bona is not running");
    home.check(&["start", "Bona"], 0, "Bona: started");
    if Path::new("/proc/self/fd").exists() {
        // As a server in a container writes it, whose numbers are others.
        let pid = home.pid("Bona");
        fs::write(home.path("run/Bona.pid"), format!("{}\n", sleeper.0.id())).unwrap();
        home.check(&["stop", "Bona"], 77, "Bona runs in another container: stop it there");
        home.check(&["reload"], 77, "Bona runs in another container");
        home.check(&["pid", "Bona"], 77, "another container");
        fs::write(home.path("run/Bona.pid"), format!("{pid}\n")).unwrap();
    }
    assert!(sleeper.is_alive());
}

#[test]
fn what_others_left_in_the_run_directory_is_in_nobodys_way() {
    let home = Home::new();
    home.check(&["start", "Bona"], 0, "Bona: started");
    for foreign in ["a b.pid", "nginx.sock", "notes", "-x.pid"] {
        fs::write(home.path("run").join(foreign), "1\n").unwrap();
    }
    fs::create_dir(home.path("run/dir.pid")).unwrap();
    home.check(&["status"], 0, "Bona    up");
    home.check(&["status", "--all"], 3, "Bailey    stopped");
    home.check(&["stop"], 0, "Bona: stopped");
}

/// Goal: who may not stop a server is told so, at once.
#[test]
fn another_user_is_told_whose_it_is() {
    let has_setpriv = Command::new("setpriv").arg("--version").output().is_ok();
    if !is_root() || !has_setpriv {
        skip("two users need root and setpriv(1)");
        return;
    }
    let mut home = Home::new();
    fs::set_permissions(home.herd.dir(), fs::Permissions::from_mode(0o755)).unwrap();
    home.check(&["start", "Bona"], 0, "Bona: started");
    // Somebody else may be unable to reach the folder of the build.
    let program = home.path("herd");
    // By a process of its own: a copy that this one still had open for writing when another test
    // forks could not be run.
    let copied = Command::new("cp").arg(env!("CARGO_BIN_EXE_herd")).arg(&program).status();
    assert!(copied.unwrap().success());
    let nobody = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
    let as_nobody = |arguments: &[&str]| {
        let mut command = home.command(arguments);
        let given = std::mem::replace(&mut command, Command::new("setpriv"));
        command
            .args(&nobody[1..])
            .arg(&program)
            .args(given.get_args())
            .current_dir(home.herd.dir());
        for (name, value) in given.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command
    };
    let check = |arguments: &[&str], code, part: &str| {
        let began = Instant::now();
        home.check_of(as_nobody(arguments), code, part);
        assert!(began.elapsed() < TIMEOUT);
    };
    for arguments in [&["stop"][..], &["stop", "Bona"], &["reload"], &["status"], &["pid", "Bona"]]
    {
        check(arguments, 77, "another user's");
    }
    check(&["start", "Bona", "--log-dir", "/tmp"], 77, "run");
    // An older version, or an operator, has let others look in.
    fs::set_permissions(home.path("run"), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(home.path("run/lock"), fs::Permissions::from_mode(0o666)).unwrap();
    for arguments in [&["stop"][..], &["stop", "Bona"], &["reload"]] {
        check(arguments, 77, "is another user's: do this as that user, or as root");
    }
    assert_eq!(home.up().len(), 1);
    assert_eq!(fs::metadata(home.path("run")).unwrap().uid(), 0);
    home.as_whom.clear();
}

/// Goal: a server that was told to stop does not hold up its successor.
#[test]
fn a_successor_has_the_name_while_the_old_one_drains() {
    let home = Home::new();
    home.check(&["start", "Bona"], 0, "Bona: started");
    let old = home.pid("Bona");
    let waiting = home.herd.connect("Bona");
    // It is told to stop, and the client does not hang up.
    assert!(Command::new("kill").arg(old.to_string()).status().unwrap().success());
    until("it drains", || home.check(&["status", "Bona"], 0, "").out.contains("stopping"));
    let ended = home.check(&["start", "Bona"], 0, "Bona: started");
    let new = started(&ended.out)["Bona"];
    assert_eq!(home.pid("Bona"), new);
    let up = home.up();
    assert_eq!((up["Bona"].pid, up["Bona"].draining), (new, false));
    if let Some(gone) = up.get(&format!("Bona.{old}")) {
        assert!(gone.draining);
    }
    drop(waiting);
    until("the old one has ended", || !home.path(&format!("run/Bona.{old}.pid")).exists());
    assert_eq!(home.pid("Bona"), new);
    home.check(&["status", "Bona"], 0, "Bona    up");
}

#[test]
fn a_clock_that_is_wrong_is_told_once() {
    let herd = Herd::of_one("", PLACELESS);
    let mut client = herd.connect("Hill");
    for _ in 0..3 {
        assert_eq!(client.ask("IAMAT kiwi +1-1 9999999999"), "? IAMAT kiwi +1-1 9999999999");
    }
    let message = "set the clock that is wrong";
    herd.until_logged("Hill", message);
    let log = herd.log("Hill");
    assert_eq!(log.matches(message).count(), 1, "{log}");
    assert!(log.contains(" days\""), "{log}");
}

#[test]
fn a_server_in_the_foreground_says_where_it_is() {
    let home = Home::new();
    let mut server = home.command(&["serve", "Bona"]).stdout(Stdio::piped()).spawn().unwrap();
    until("it answers", || !home.up().is_empty());
    home.check(&["stop"], 0, "Bona: stopped");
    let out = server.stdout.take().unwrap();
    assert!(server.wait().unwrap().success());
    let said = std::io::read_to_string(out).unwrap();
    let clients =
        format!("Bona of herd 2023 serves clients on 127.0.0.1:{}", home.herd.port("Bona"));
    assert!(said.starts_with(&clients) && said.lines().count() == 1, "{said}");
    assert!(said.contains("; log log/Bona.log; `kill "), "{said}");
}

/// Goal: what `check-config` lets pass, `serve` takes, and they say the same of what they do not.
#[test]
fn a_url_is_judged_once() {
    let home = Home::new();
    for (url, is_fit) in [
        ("http://127.0.0.1:9/maps", true),
        ("https://maps.example.org:8443/a/b", true),
        ("https://[::1/", false),
        ("https://[::1]x/", false),
        ("https://a.example/?q=1", false),
        ("https://a.example/#x", false),
        ("https://a.example:99999/", false),
        ("https://u@a.example/", false),
        ("https://", false),
        ("https:///x", false),
        ("http://a.example/", false),
        ("a.example", false),
        ("https://a.example/ b", false),
    ] {
        let flags = ["--places", "overpass", "--places-url", url];
        let whole = home.run(&[&["check-config"][..], &flags].concat());
        let one = home.run(&[&["check-config", "Bona"][..], &flags].concat());
        assert_eq!((whole.code, &whole.complaint), (one.code, &one.complaint), "{url}");
        if is_fit {
            assert_eq!(one.code, Some(0), "{url}: {}", one.complaint);
            home.check(&[&["start", "Bona"][..], &flags].concat(), 0, "Bona: started");
            home.check(&["stop"], 0, "stopped");
        } else {
            assert_eq!(one.code, Some(78), "{url}");
            let served = home.run(&[&["serve", "Bona"][..], &flags].concat());
            assert_eq!(served.code, Some(78), "{url}");
            assert_eq!(one.complaint, served.complaint);
            assert!(one.complaint.contains("URL"), "{}", one.complaint);
        }
    }
}

/// Goal: a lock that the caller holds is not the servers' for as long as they live.
#[test]
fn servers_keep_nothing_that_the_caller_had_open() {
    if !Path::new("/proc/self/fd").exists() {
        skip("no /proc to see which files a process has open");
        return;
    }
    let home = Home::new();
    let given = home.command(&["start", "Bona"]);
    let mut command = in_a_shell(&given, home.herd.dir(), "exec 7>held 9>held; exec");
    let ended = end(&mut command);
    assert_eq!(ended.code, Some(0), "{}", ended.complaint);
    let files = fs::read_dir(format!("/proc/{}/fd", home.pid("Bona"))).unwrap();
    let files: Vec<_> = files.flatten().flat_map(|file| fs::read_link(file.path())).collect();
    assert!(files.iter().any(|file| file.ends_with("Bona.pid")), "{files:?}");
    assert!(!files.iter().any(|file| file.ends_with("held")), "{files:?}");
}

#[test]
fn too_few_descriptors_are_no_matter_of_ports() {
    let home = Home::new();
    for few in [4, 5, 6, 7, 8, 12, 20, 40] {
        let given = home.command(&["serve", "Bona"]);
        // What runs these tests may have some open that it hands on.
        let script = format!("exec 3>&- 4>&- 5>&-; ulimit -n {few}; exec");
        let ended = end(&mut in_a_shell(&given, home.herd.dir(), &script));
        assert_eq!(ended.code, Some(71), "{few}: {}", ended.complaint);
        assert!(ended.complaint.contains("(ulimit -n)"), "{}", ended.complaint);
    }
}

#[test]
fn a_log_that_is_a_pipe_is_refused_at_once() {
    let home = Home::new();
    fs::create_dir(home.path("log")).unwrap();
    for file in ["log/Bona.log", "log/Bona.out"] {
        let _ = fs::remove_file(home.path(file));
        assert!(Command::new("mkfifo").arg(home.path(file)).status().unwrap().success());
        home.check(&["start", "Bona"], 73, "is no regular file");
        fs::remove_file(home.path(file)).unwrap();
    }
}

#[test]
fn costs_are_only_those_of_the_server_that_is_loaded() {
    let home = Home::new();
    home.check(&["start", "Bailey"], 0, "Bailey: started");
    let bench = |more: &[&str]| {
        let arguments = ["bench", "Bailey", "-c", "1", "-s", "0.2", "--warm-up", "0", "--json"];
        let said = home.check(&[&arguments[..], more].concat(), 0, "").out;
        serde_json::from_str::<serde_json::Value>(&said).unwrap()
    };
    if cfg!(target_os = "linux") {
        assert!(bench(&[])["cpu_percent"].is_number());
    }
    // The same name in another herd.
    let other = Herd::running("2023", PLACELESS);
    let base = other.port("Bailey").to_string();
    assert!(bench(&["--base-port", &base])["cpu_percent"].is_null());
}
