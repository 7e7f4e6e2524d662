//! The log of a whole process, which can be started only once: so this test has a process of its
//! own. What the disk may do to it is tested in `logging::sink`.

use std::fs;
use std::thread;
use std::time::Duration;

use herd::logging::{self, LogSettings};
use herd_core::names::{ConnId, ConnKind};

#[test]
fn records_land_in_the_file_of_the_server_and_others_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let logs = dir.path().join("not/yet there");
    let settings = LogSettings {
        dir: &logs,
        server: "Bailey",
        level: log::LevelFilter::Debug,
        is_json: false,
        mode: 0o640,
        size_max: 1 << 30,
    };
    let mut log = logging::start(&settings).unwrap();
    log::info!(target: "herd::reactor", "connection 1 opened");
    log::debug!(target: "ureq", "GET https://example.org/?key=secret");
    log::trace!(target: "herd::reactor", "below the level");
    // What connections say goes another way, and looks and is ordered as if it did not.
    let conn = ConnId::new(ConnKind::Client, 7, 0);
    log.heard(conn, b"IAMAT \x1b\nWHATSAT\n");
    log::debug!(target: "herd::reactor", "client-7 <- IAMAT");
    log.said(conn, b"AT\n");
    log.said(ConnId::new(ConnKind::Admin, 8, 0), b"{}\n");
    wait_until("all lines", || {
        fs::read_to_string(logs.join("Bailey.log")).is_ok_and(|text| text.ends_with("-> AT\n"))
    });
    fs::rename(logs.join("Bailey.log"), logs.join("Bailey.log.1")).unwrap();
    log.reopen();
    wait_until("a new file", || logs.join("Bailey.log").exists());
    log::warn!(target: "herd", "after the rotation");
    // The level of events and of lines is changed while it runs.
    assert!(log.set_level(log::LevelFilter::Error));
    log::warn!(target: "herd", "below the new level");
    log.heard(conn, b"IAMAT\n");
    assert!(log.set_level(log::LevelFilter::Trace));
    log.heard(conn, b"WHATSAT\n");
    log.close(Duration::from_secs(5));

    let old = fs::read_to_string(logs.join("Bailey.log.1")).unwrap();
    let new = fs::read_to_string(logs.join("Bailey.log")).unwrap();
    let (stamps, texts): (Vec<_>, Vec<_>) =
        old.lines().map(|line| line.split_once("Z [").unwrap()).unzip();
    let expected = [
        "INFO] connection 1 opened",
        r"DEBUG] client-7 <- IAMAT \x1b",
        "DEBUG] client-7 <- WHATSAT",
        "DEBUG] client-7 <- IAMAT",
        "DEBUG] client-7 -> AT",
    ];
    assert_eq!(texts, expected);
    assert!(stamps.is_sorted(), "{stamps:?}");
    let shape = |stamp: &&str| stamp.replace(|c: char| c.is_ascii_digit(), "0");
    assert!(stamps.iter().map(shape).all(|shape| shape == "0000-00-00T00:00:00.000000000"));
    assert!(new.contains("Z [WARN] after the rotation\n"), "{new}");
    assert!(new.ends_with("Z [DEBUG] client-7 <- WHATSAT\n"), "{new}");
    assert_eq!((new.lines().count(), log.dropped()), (2, 0));

    let again = logging::start(&LogSettings { server: "Bona", ..settings }).err().unwrap();
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
