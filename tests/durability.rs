//! What an operator chooses for a journal, and does with one. That it keeps what it promises is in
//! `journal.rs`.

mod common;

use std::fs;
use std::process::{Command, Stdio};

use common::operator::Operator;
use common::{Client, Herd, until};
use herd::status::{JournalState, JournalStatus};
use rustix::process::Signal;

fn with_journal(settings: &str) -> String {
    format!("[journal]\nkeep = \"written\"\n{settings}\n[log]\nlevel = \"events\"\n")
}

fn journal(herd: &Herd) -> JournalStatus {
    herd.status("Hill").journal.unwrap()
}

/// A server whose disk takes nothing, and a client that waits for so many answers. The first ones
/// have come. Method: files may not become long, and new ones have no place.
fn with_full_disk(when_broken: &str) -> (Herd, Client, u64) {
    let settings = with_journal(&format!("when_broken = {when_broken:?}"));
    let mut herd = Herd::of_file(&["Hill"], &[], &settings);
    let command = herd.command_after("ulimit -f 8", "Hill", &["--log-level", "off"]);
    herd.launch("Hill", command);
    fs::rename(herd.path("journal/Hill"), herd.path("elsewhere")).unwrap();
    let mut client = herd.connect("Hill");
    let mut sent = 0;
    loop {
        let JournalStatus { state, appended_bytes, written_bytes, .. } = journal(&herd);
        if state == JournalState::Refused {
            break;
        }
        // What waits must fit into a file as long as files may become.
        if appended_bytes == written_bytes {
            sent += 1;
            client.send(format!("IAMAT c{sent} +34.1-118.4 {sent}\n"));
        }
        assert!(sent < 100_000, "nothing was ever full");
    }
    until("it is broken", || journal(&herd).broken);
    (herd, client, sent)
}

/// Gives the disk its place back.
fn mend(herd: &Herd) {
    fs::rename(herd.path("elsewhere"), herd.path("journal/Hill")).unwrap();
    until("it is mended", || !journal(herd).broken);
}

/// Goal: a server that can keep nothing says so to its clients, tells what it knows, and keeps what
/// it had taken before.
#[test]
fn a_broken_journal_refuses_reports() {
    let (mut herd, mut waiting, sent) = with_full_disk("refuse");
    let mut other = herd.connect("Hill");
    let refused = "IAMAT kiwi +34.1-118.4 7";
    assert_eq!(other.ask(refused), format!("? {refused}"));
    assert!(other.ask("WHATSAT c1 1 0\n").starts_with("AT Hill "), "what is known is told");
    other.through(b"\n\n");
    assert_eq!(other.ask("WHATSAT kiwi 1 0\n"), "? WHATSAT kiwi 1 0");
    let status = journal(&herd);
    assert_eq!((status.refused, status.unkept, status.answers_wait), (1, 0, true));
    let mut operator = Operator::connect(herd.operators_port("Hill"));
    let ready = operator.get("/readyz");
    assert!(ready.status == 503 && ready.body.contains("reports are refused"), "{ready:?}");
    // What is said behind an answer that waits, waits.
    waiting.send("IAMAT kiwi +34.1-118.4 8\n");
    until("it is refused", || journal(&herd).refused == 2);
    mend(&herd);
    assert_eq!(operator.get("/readyz").status, 200);
    (0..sent).for_each(|_| assert!(waiting.line().starts_with(b"AT Hill ")));
    assert_eq!(waiting.line(), b"? IAMAT kiwi +34.1-118.4 8\n");
    assert!(other.ask(refused).starts_with("AT Hill "));
    herd.kill("Hill");
    herd.start("Hill", &[]);
    assert!(herd.held("Hill", &format!("c{sent}")).is_some());
    assert!(herd.held("Hill", "kiwi").is_some_and(|line| line.ends_with(" 7")));
}

/// Goal: where the operator wants that, clients are served though nothing is kept, and it is
/// counted how many have relied on it. What they said is kept as soon as that can be.
#[test]
fn a_broken_journal_serves_if_it_is_told_to() {
    let (mut herd, mut waiting, sent) = with_full_disk("serve");
    (0..sent).for_each(|_| assert!(waiting.line().starts_with(b"AT Hill ")));
    let unkept = journal(&herd).unkept;
    assert!((1..=sent).contains(&unkept), "{unkept} of {sent} answers");
    assert!(herd.connect("Hill").ask("IAMAT kiwi +34.1-118.4 7\n").starts_with("AT Hill "));
    let status = journal(&herd);
    assert_eq!((status.refused, status.unkept, status.answers_wait), (0, unkept + 1, false));
    let ready = Operator::connect(herd.operators_port("Hill")).get("/readyz?verbose");
    assert!(ready.status == 200 && ready.body.contains("answers are not kept"), "{ready:?}");
    mend(&herd);
    assert!(herd.connect("Hill").ask("IAMAT fig +34.1-118.4 7\n").starts_with("AT Hill "));
    assert_eq!(journal(&herd).unkept, unkept + 1);
    herd.kill("Hill");
    herd.start("Hill", &[]);
    for client in ["kiwi", "fig", &format!("c{sent}")] {
        assert!(herd.held("Hill", client).is_some(), "{client}");
    }
}

/// Goal: what is written to a file that somebody has removed is written to another one.
#[test]
fn files_that_are_removed_are_missed() {
    let mut herd = Herd::of_file(&["Hill"], &[], &with_journal("sync_every = \"100 ms\""));
    herd.start("Hill", &[]);
    herd.report("Hill", "kiwi", "+34.1-118.4", "7");
    let files = fs::read_dir(herd.path("journal/Hill")).unwrap().map(|file| file.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some()).collect();
    files.iter().for_each(|path| fs::remove_file(path).unwrap());
    herd.report("Hill", "fig", "+34.1-118.4", "7");
    herd.until_logged("Hill", "journal failed");
    until("all is written anew", || journal(&herd).state == JournalState::Well);
    herd.kill("Hill");
    herd.start("Hill", &[]);
    assert!(herd.held("Hill", "kiwi").is_some() && herd.held("Hill", "fig").is_some());
}

/// What a server says that does not start, and its exit code.
fn refused(herd: &Herd) -> (Option<i32>, String) {
    let output = herd.command("Hill", &[]).stderr(Stdio::piped()).output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}

fn change(herd: &Herd, from: &str, to: &str) {
    let path = herd.path("herd.toml");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

/// Goal: who has no peers to mend a journal is not made to go on without what is missing.
#[test]
fn a_strict_server_does_not_start_without_what_is_missing() {
    let mut herd = Herd::of_file(&["Hill"], &[], &with_journal("strict = true"));
    herd.start("Hill", &[]);
    herd.report("Hill", "kiwi", "+34.1-118.4", "7");
    herd.signal("Hill", Signal::TERM);
    herd.ended("Hill");
    // What a death leaves is normal.
    herd.start("Hill", &[]);
    herd.report("Hill", "fig", "+34.1-118.4", "7");
    herd.kill("Hill");
    herd.start("Hill", &[]);
    herd.kill("Hill");
    let mut files: Vec<_> = fs::read_dir(herd.path("journal/Hill")).unwrap().flatten().collect();
    files.sort_by_key(fs::DirEntry::file_name);
    let with_kiwi =
        |file: &&fs::DirEntry| fs::read_to_string(file.path()).unwrap().contains("kiwi");
    let lost = files.iter().find(with_kiwi).unwrap().path();
    fs::rename(&lost, herd.path("lost")).unwrap();
    let (code, said) = refused(&herd);
    assert_eq!(code, Some(78), "{said}");
    for part in ["missing files: 1", "herd journal check", "journal.strict = false"] {
        assert!(said.contains(part), "{said}");
    }
    assert_eq!(fs::read_dir(herd.path("journal/Hill")).unwrap().count(), files.len() - 1);
    fs::rename(herd.path("lost"), &lost).unwrap();
    herd.start("Hill", &[]);
    assert!(herd.held("Hill", "kiwi").is_some());
    herd.kill("Hill");
    fs::remove_file(&lost).unwrap();
    change(&herd, "strict = true", "strict = false");
    herd.start("Hill", &[]);
    herd.until_logged("Hill", "journal incomplete");
    assert!(herd.held("Hill", "kiwi").is_none() && herd.held("Hill", "fig").is_some());
}

/// Goal: how much the machine may take with it is the operator's choice, and he sees it.
#[test]
fn syncs_are_as_often_as_the_operator_wants() {
    let mut herd = Herd::of_file(&["Hill"], &[], &with_journal("sync_every = \"1 min\""));
    herd.start("Hill", &[]);
    herd.report("Hill", "kiwi", "+34.1-118.4", "7");
    let status = journal(&herd);
    assert_eq!((status.sync_every_ms, status.synced_bytes), (60_000, 0));
    assert!(status.written_bytes > 0 && status.written_bytes == status.appended_bytes);
    herd.signal("Hill", Signal::TERM);
    herd.ended("Hill");
    change(&herd, "1 min", "20 ms");
    herd.start("Hill", &[]);
    herd.report("Hill", "kiwi", "+34.1-118.4", "8");
    until("it is synced", || journal(&herd).synced_bytes == journal(&herd).appended_bytes);
}

/// Goal: who stops a server whose disk takes nothing hears that something may be lost, and from the
/// next one, of which all is kept, does not.
#[test]
fn a_stop_says_what_is_not_kept() {
    let (mut herd, waiting, _) = with_full_disk("refuse");
    drop(waiting);
    let stop = |herd: &Herd| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        let output = command.current_dir(herd.dir()).args(["stop", "Hill"]).output().unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, said) = stop(&herd);
    assert!(code == Some(74) && said.contains(", not kept: "), "{code:?} {said}");
    assert_eq!(herd.ended("Hill").code(), Some(74));
    fs::rename(herd.path("elsewhere"), herd.path("journal/Hill")).unwrap();
    herd.start("Hill", &[]);
    let (code, said) = stop(&herd);
    assert!(code == Some(0) && !said.contains("not kept"), "{code:?} {said}");
}
