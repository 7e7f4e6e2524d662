//! What must be true of a run directory with any content.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::process;

use super::*;

fn run_dir() -> (tempfile::TempDir, RunDir) {
    let dir = tempfile::tempdir().unwrap();
    let run_dir = RunDir::new(dir.path().join("a/run"));
    (dir, run_dir)
}

#[test]
fn a_claim_is_held_until_it_is_dropped() {
    let (_dir, run_dir) = run_dir();
    assert_eq!(run_dir.holder("Hill").unwrap(), None);
    assert!(run_dir.names().unwrap().is_empty());

    let claim = run_dir.claim("Hill").unwrap();
    let ours = std::process::id();
    assert_eq!(run_dir.holder("Hill").unwrap(), Some(Holder::Process(ours)));
    assert_eq!(run_dir.holder("Smith").unwrap(), None);
    let message = run_dir.claim("Hill").unwrap_err().to_string();
    assert!(message.starts_with(&format!("Hill is running already (pid {ours})")));
    let other = run_dir.claim("Bona").unwrap();

    drop(claim);
    assert_eq!(run_dir.holder("Hill").unwrap(), None);
    assert_eq!(run_dir.names().unwrap(), ["Bona", "Hill"]);
    assert!(fs::read(run_dir.path().join("Hill.pid")).unwrap().is_empty());
    drop(run_dir.claim("Hill").unwrap());
    drop(other);
}

#[test]
fn a_rival_leaves_no_trace() {
    let (_dir, run_dir) = run_dir();
    let (first, rival) = run_dir.claim_beside("Hill", 1).unwrap();
    assert!(rival.is_none());
    let (second, rival) = run_dir.claim_beside("Hill", 2).unwrap();
    assert!(rival.is_some());
    assert_eq!([first.name(), second.name()], ["Hill", "Hill@2"]);
    assert_eq!(run_dir.names().unwrap(), ["Hill", "Hill@2"]);
    assert!(run_dir.claim_beside("Hill", 2).is_err());
    drop(second);
    assert_eq!(run_dir.names().unwrap(), ["Hill"]);
    drop(first);
    // Also where there is hardly room for the rest.
    let long = "x".repeat(64);
    let first = run_dir.claim(&long).unwrap();
    let (second, _) = run_dir.claim_beside(&long, 65_535).unwrap();
    assert_eq!(second.name(), format!("{long}@65535"));
    drop(first);
}

/// Goal: from the moment that a server is told to stop, another may be started by its name, and
/// both are found until the first has ended.
#[test]
fn a_name_that_is_given_up_goes_to_the_successor() {
    for depth in [0, 12] {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(dir.path().join("long/er".repeat(3 * depth + 1)));
        let ours = process::id();
        let mut old = run_dir.claim("Hill").unwrap();
        let listener = UnixListener::bind(run_dir.socket("Hill").unwrap()).unwrap();
        old.give_up_name();
        assert_eq!(run_dir.names().unwrap(), ["Hill"]);
        assert!(run_dir.lives("Hill", ours) && run_dir.listens("Hill"));
        assert_eq!(run_dir.holder("Hill").unwrap(), None);

        let new = run_dir.claim("Hill").unwrap();
        let gone = gone_by("Hill", ours);
        assert_eq!(run_dir.names().unwrap(), ["Hill", &gone]);
        assert!(run_dir.listens(&gone) && !run_dir.listens("Hill"));
        let heard = UnixListener::bind(run_dir.socket("Hill").unwrap()).unwrap();
        drop(listener);
        drop(old);
        assert_eq!(run_dir.names().unwrap(), ["Hill"]);
        assert!(run_dir.listens("Hill"), "the old one takes nothing of the new one's with it");
        assert_eq!(run_dir.holder("Hill").unwrap(), Some(Holder::Process(ours)));
        drop(heard);
        drop(new);
        assert!(!run_dir.socket("Hill").unwrap().exists());
    }
}

#[test]
fn who_has_lost_its_pid_file_is_still_there() {
    let (_dir, run_dir) = run_dir();
    let claim = run_dir.claim("Hill").unwrap();
    let _listener = UnixListener::bind(run_dir.socket("Hill").unwrap()).unwrap();
    fs::remove_file(run_dir.path().join("Hill.pid")).unwrap();
    let ours = process::id();
    assert_eq!(run_dir.holder("Hill").unwrap(), None);
    assert_eq!(run_dir.names().unwrap(), ["Hill"]);
    assert_eq!(run_dir.check("Hill", ours), Holder::Process(ours));
    assert!(run_dir.lives("Hill", ours));
    let message = run_dir.claim("Hill").unwrap_err().to_string();
    assert!(message.starts_with("Hill is running already"), "{message}");
    drop(claim);
}

/// Goal: whichever number stands in the file, only the process that holds it is ever signalled.
#[test]
fn a_number_that_is_somebody_elses_is_noticed() {
    if !Path::new("/proc/self/fd").exists() {
        return;
    }
    let (_dir, run_dir) = run_dir();
    let claim = run_dir.claim("Hill").unwrap();
    let mut sleeper = process::Command::new("sleep").arg("60").spawn().unwrap();
    for stranger in [sleeper.id(), u32::MAX] {
        // As a process in another container writes it, with the lock held.
        fs::write(run_dir.path().join("Hill.pid"), format!("{stranger}\n")).unwrap();
        assert_eq!(run_dir.holder("Hill").unwrap(), Some(Holder::Elsewhere));
    }
    sleeper.kill().unwrap();
    sleeper.wait().unwrap();
    drop(claim);
}

#[test]
fn what_others_leave_here_is_passed_over() {
    let (_dir, run_dir) = run_dir();
    drop(run_dir.claim("Hill").unwrap());
    for foreign in ["a b.pid", "-x.pid", ".pid", "nginx.sock", "notes.txt"] {
        fs::write(run_dir.path().join(foreign), "1\n").unwrap();
    }
    let pipe = run_dir.path().join("Pipe.pid");
    assert!(process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    assert_eq!(run_dir.names().unwrap(), ["Hill"]);
    assert_eq!(run_dir.holder("Pipe").unwrap(), None);
    assert!(run_dir.claim("Pipe").unwrap_err().to_string().contains("it is no file"));
}

#[test]
fn one_at_a_time_starts_and_stops() {
    let (_dir, run_dir) = run_dir();
    let lock = run_dir.lock().unwrap();
    assert!(lock.is_some() && run_dir.lock().unwrap().is_none());
    drop(lock);
    assert!(run_dir.lock().unwrap().is_some());
}

#[test]
fn strangers_may_not_look_in() {
    let (_dir, run_dir) = run_dir();
    run_dir.make().unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode();
    assert_eq!(mode(run_dir.path()) & 0o007, 0);
    let shared = RunDir::new(run_dir.path().join("shared")).with_mode(0o755);
    shared.make().unwrap();
    assert_eq!(mode(shared.path()) & 0o700, 0o700);
}

#[test]
fn a_pid_left_behind_is_not_believed() {
    let (_dir, run_dir) = run_dir();
    fs::create_dir_all(run_dir.path()).unwrap();
    let path = run_dir.path().join("Hill.pid");
    fs::write(&path, "4294967295\n").unwrap();
    assert_eq!(run_dir.holder("Hill").unwrap(), None);
    let claim = run_dir.claim("Hill").unwrap();
    let expected = format!("{}\n", std::process::id());
    assert_eq!(fs::read_to_string(&path).unwrap(), expected);
    drop(claim);
}

#[test]
fn looking_does_not_keep_a_server_from_starting() {
    let (_dir, run_dir) = run_dir();
    drop(run_dir.claim("Hill").unwrap());
    let looking = File::open(run_dir.path().join("Hill.pid")).unwrap();
    looking.lock_shared().unwrap();
    assert_eq!(run_dir.holder("Hill").unwrap(), None);
    let ends = thread::spawn(move || {
        thread::sleep(3 * LOCK_PAUSE);
        drop(looking);
    });
    assert!(run_dir.claim("Hill").is_ok());
    ends.join().unwrap();
}

#[test]
fn names_do_not_lead_out() {
    let (_dir, run_dir) = run_dir();
    for name in ["../Hill", "", "a b"] {
        assert!(run_dir.holder(name).is_err());
        assert!(run_dir.socket(name).is_err());
    }
}

#[test]
fn a_directory_that_cannot_be_made_is_named() {
    let (dir, _) = run_dir();
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    let message = RunDir::new(file.join("run")).claim("Hill").unwrap_err().to_string();
    assert!(message.contains("file/run cannot be used ("), "{message}");
}
