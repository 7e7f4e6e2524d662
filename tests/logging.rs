//! The log of a whole process, which can be started only once: so this test has a process of its
//! own. What the disk may do to it is tested in `logging::sink`.

use std::fs;
use std::thread;
use std::time::Duration;

use herd::logging;

#[test]
fn records_land_in_the_file_of_the_server_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("not/yet there");
    let log = logging::start(&logs, "Bailey", log::LevelFilter::Debug, 0o640).unwrap();
    log::info!(target: "herd::reactor", "connection 1 opened");
    log::debug!(target: "ureq", "GET https://example.org/?key=secret");
    log::trace!(target: "herd::reactor", "below the level");
    wait_until("a first line", || fs::metadata(logs.join("Bailey.log")).is_ok_and(|m| m.len() > 0));
    fs::rename(logs.join("Bailey.log"), logs.join("Bailey.log.1")).unwrap();
    log.reopen();
    wait_until("a new file", || logs.join("Bailey.log").exists());
    log::warn!(target: "herd", "after the rotation");
    log.close(Duration::from_secs(5));

    let old = fs::read_to_string(logs.join("Bailey.log.1")).unwrap();
    let new = fs::read_to_string(logs.join("Bailey.log")).unwrap();
    assert!(old.ends_with("Z [INFO] connection 1 opened\n"), "{old}");
    assert!(new.ends_with("Z [WARN] after the rotation\n"), "{new}");
    assert_eq!((old.lines().count(), new.lines().count(), log.dropped()), (1, 1, 0));

    let again = logging::start(&logs, "Bona", log::LevelFilter::Info, 0o640).err().unwrap();
    assert_eq!(again.to_string(), "this process has a log already");
}

/// Five seconds at most.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1_000 {
        if holds() {
            return;
        }
        thread::sleep(Duration::from_millis(5));
    }
    panic!("no {what}");
}
