//! `herd journal compact`, `hold`, `restore` and `adopt`, and what `check` and `dump` say to a
//! stranger. What they say of a server's journal, `journal.rs` shows.

mod common;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use common::{Herd, skip, until};
use herd::status::{JournalState, JournalStatus};
use rustix::process::{Signal, geteuid};

const KEEPING: &str = "[journal]\nkeep = \"written\"\n[log]\nlevel = \"events\"\n";
/// Heard in 2018.
const LINES: &str = "AT Bona +0.5 fig +34.1-118.4 1520023934\n\
                     AT Hill +0.5 kiwi +34.1-118.4 1520023934.25\n";

/// What `herd journal` says in the herd's directory, and its exit code.
fn journal(herd: &Herd, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.current_dir(herd.dir()).env("HERD_CONFIG", "herd.toml").env_remove("HERD_PRESET");
    let output = command.arg("journal").args(words).stdin(Stdio::null()).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(said).unwrap())
}

/// The same for a user who owns nothing, if this machine lets us be one.
fn journal_for_nobody(herd: &Herd, words: &[&str]) -> Option<(i32, String)> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    if geteuid().is_root() {
        command = Command::new("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        command.arg(env!("CARGO_BIN_EXE_herd"));
    }
    command.current_dir(herd.dir()).arg("journal").args(words);
    let output = command.output().ok()?;
    let said = [output.stdout, output.stderr].concat();
    // The program may lie where only its user may go.
    let code = output.status.code().filter(|code| ![126, 127].contains(code))?;
    Some((code, String::from_utf8(said).unwrap()))
}

/// Demands that a command ends so, and says all this.
fn check(herd: &Herd, words: &[&str], code: i32, parts: &[&str]) {
    let (ended, said) = journal(herd, words);
    assert_eq!(ended, code, "{words:?}: {said}");
    for part in parts {
        assert!(said.contains(part), "{words:?}: {said}lacks {part}");
    }
}

fn status(herd: &Herd) -> JournalStatus {
    herd.status("Hill").journal.unwrap()
}

fn segments(herd: &Herd, dir: &str) -> Vec<PathBuf> {
    let files = fs::read_dir(herd.path(dir)).into_iter().flatten();
    let files = files.map(|file| file.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some()).collect();
    files.sort();
    files
}

/// Goal: old files go when everything was written anew, and not while an operator copies them.
#[test]
fn a_journal_is_compacted_and_held() {
    let mut herd = Herd::of_file(&["Hill"], &[], KEEPING);
    check(&herd, &["compact", "Hill"], 3, &["Hill is not running"]);
    check(&herd, &["hold", "Hill", "soon"], 2, &["`soon` is no duration"]);
    herd.start("Hill", &[]);
    herd.report("Hill", "kiwi", "+34.1-118.4", "7");
    let compact = |herd: &Herd| {
        check(herd, &["compact", "Hill"], 0, &["Hill writes all that it knows anew"]);
        until("all is written", || status(herd).state == JournalState::Well);
    };
    let begun_anew = |herd: &mut Herd| {
        let first = segments(herd, "journal/Hill")[0].clone();
        herd.kill("Hill");
        herd.start("Hill", &[]);
        first
    };
    let old = begun_anew(&mut herd);
    compact(&herd);
    until("it is removed", || !old.exists());
    let old = begun_anew(&mut herd);
    check(&herd, &["hold", "Hill", "60min"], 0, &["Hill removes no file of its journal for 1 h"]);
    // When the second is over, what the first has made old would be gone.
    compact(&herd);
    compact(&herd);
    assert!(old.exists() && status(&herd).held_ms > 0);
    check(&herd, &["hold", "Hill", "off"], 0, &["removes old files of its journal again"]);
    until("it is removed", || !old.exists());
    let old = begun_anew(&mut herd);
    check(&herd, &["hold", "Hill", "1s"], 0, &["for 1 s"]);
    compact(&herd);
    until("it is removed by itself", || !old.exists());
    herd.until_logged("Hill", "journal held ms=1000");
    herd.until_logged("Hill", "journal released");
    assert!(herd.held("Hill", "kiwi").is_some());
    herd.kill("Hill");
    herd.start("Hill", &["--keep", "off"]);
    check(&herd, &["compact", "Hill"], 78, &["Hill has no journal", "--keep"]);
}

/// Goal: a dump becomes a journal again, and nothing that is there is written over.
#[test]
fn a_dump_is_restored() {
    let mut herd = Herd::of_file(&["Hill"], &[], KEEPING);
    fs::write(herd.path("lines"), format!("\n{LINES}AT Bona +0.5 fig +1-1 1\n")).unwrap();
    fs::write(herd.path("odd"), format!("{LINES}AT Bona +0.5 fig\n")).unwrap();
    fs::write(herd.path("empty"), "\n").unwrap();
    let restore = |lines, dir, code, parts: &[&str]| {
        check(&herd, &["restore", lines, dir], code, parts);
    };
    restore("odd", "journal/Hill", 78, &["odd, line 3", "\"AT Bona +0.5 fig\" is no AT line"]);
    restore("empty", "journal/Hill", 78, &["no AT line in empty"]);
    restore("none", "journal/Hill", 78, &["none cannot be read"]);
    restore("lines", "journal/Bona", 78, &["has no server Bona", "--server"]);
    restore("lines", "lines/Hill", 73, &["no journal can be made in lines/Hill"]);
    assert!(!herd.path("journal").exists(), "nothing was made");
    restore("lines", "journal/Hill", 0, &["journal/Hill is a journal of Hill with 2 clients"]);
    restore("lines", "journal/Hill", 73, &["stays as it is"]);
    assert_eq!(journal(&herd, &["dump", "journal"]), (0, LINES.to_owned()));
    herd.start("Hill", &[]);
    assert_eq!(status(&herd).state, JournalState::Well, "nothing need be written again");
    assert_eq!(herd.held("Hill", "kiwi").as_deref(), LINES.lines().nth(1));
    herd.kill("Hill");
    check(&herd, &["check", "journal"], 0, &["2 clients"]);
}

/// Goal: a clock that is years ahead does not empty the disk.
#[test]
fn files_are_set_aside_if_the_clock_is_probably_wrong() {
    let settings = format!("{KEEPING}[limits]\nexpire_after = \"1 d\"\n");
    let mut herd = Herd::of_file(&["Hill"], &[], &settings);
    fs::write(herd.path("lines"), LINES).unwrap();
    check(&herd, &["restore", "lines", "journal/Hill"], 0, &[]);
    let restored = segments(&herd, "journal/Hill");
    herd.start("Hill", &[]);
    herd.until_logged("Hill", "clock doubted expired=2 clients=2");
    herd.report("Hill", "plum", "+34.1-118.4", "7");
    check(&herd, &["compact", "Hill"], 0, &[]);
    until("old files are set aside", || !restored[0].exists());
    herd.kill("Hill");
    for file in segments(&herd, "journal/Hill/aside") {
        fs::rename(&file, herd.path("journal/Hill").join(file.file_name().unwrap())).unwrap();
    }
    check(&herd, &["check", "journal"], 0, &["3 clients"]);
}

/// Goal: a server takes over what another one of its herd has kept, and nothing of another herd.
#[test]
fn a_journal_is_adopted() {
    let mut herd = Herd::of_file(&["Hill", "Jaquez"], &[], KEEPING);
    herd.start("Hill", &[]);
    let line = herd.report("Hill", "kiwi", "+34.1-118.4", "7");
    fs::create_dir_all(herd.path("other")).unwrap();
    check(&herd, &["adopt", "journal/Hill"], 98, &["is written by process"]);
    check(&herd, &["adopt", "other", "--server", "Hill"], 78, &["no journal in other"]);
    let of_all = ["adopt", "journal", "--server", "Hill"];
    check(&herd, &of_all, 78, &["no journal in journal itself"]);
    herd.signal("Hill", Signal::TERM);
    herd.ended("Hill");
    check(&herd, &["adopt", "journal/Hill"], 0, &["is a journal of Hill already"]);
    fs::rename(herd.path("journal/Hill"), herd.path("journal/Jaquez")).unwrap();
    let written = segments(&herd, "journal/Jaquez");
    let output = herd.command("Jaquez", &[]).stderr(Stdio::piped()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(said.contains("`herd journal adopt`"), "{said}");
    let stranger = ["adopt", "journal/Jaquez", "--server", "Bailey"];
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.current_dir(herd.dir()).arg("journal").args(stranger);
    let output = command.env("HERD_PRESET", "2023").output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(78) && said.contains("is of the herd tests"), "{said}");
    assert_eq!(segments(&herd, "journal/Jaquez"), written, "nothing was changed");
    check(
        &herd,
        &["adopt", "journal/Jaquez"],
        0,
        &["is a journal of Jaquez now, with 1 clients that Hill knew", "journal/Jaquez/aside"],
    );
    assert_eq!(segments(&herd, "journal/Jaquez/aside").len(), written.len());
    herd.start("Jaquez", &[]);
    assert_eq!(herd.held("Jaquez", "kiwi"), Some(line));
}

/// Makes a journal of two reports, with facts behind them that say that all of it is synced.
fn restore(herd: &Herd, dir: &str) -> PathBuf {
    fs::write(herd.path("lines"), LINES).unwrap();
    let (_, server) = dir.rsplit_once('/').unwrap();
    check(herd, &["restore", "lines", dir, "--server", server], 0, &["with 2 clients"]);
    segments(herd, dir)[0].clone()
}

/// Goal: who names something else than a journal is told what it is and what to name, whichever
/// command it is; where a journal was and is no more, that is not taken for a whole journal.
#[test]
fn what_is_no_journal_is_told() {
    let herd = Herd::of_file(&["Hill", "Jaquez"], &[], KEEPING);
    let segment = restore(&herd, "journal/Hill");
    fs::create_dir(herd.path("empty")).unwrap();
    fs::write(herd.path("file"), "x").unwrap();
    let segment = segment.strip_prefix(herd.dir()).unwrap().to_str().unwrap();
    for command in ["check", "dump"] {
        check(&herd, &[command, "none"], 78, &["there is nothing at none: name the directory"]);
        check(&herd, &[command, "file"], 78, &["file is a file: name the directory"]);
        check(&herd, &[command, segment], 78, &[segment, "is a file: name the directory"]);
        check(&herd, &[command, "empty"], 78, &["there is no journal in empty: name"]);
    }
    // A directory of all servers, in which one has lost its files, and two that hold none of it.
    fs::create_dir_all(herd.path("journal/Jaquez")).unwrap();
    check(&herd, &["check", "journal"], 0, &["server Hill of herd tests, 2 clients"]);
    fs::write(herd.path("journal/Jaquez/lock"), "").unwrap();
    let lost = "journal/Jaquez: no file is left of the journal that was kept here";
    check(&herd, &["check", "journal"], 1, &["server Hill", lost]);
    check(&herd, &["check", "journal/Jaquez"], 1, &[lost]);
    let (code, said) = journal(&herd, &["check", "journal/Jaquez", "--json"]);
    let page: serde_json::Value = serde_json::from_str(&said).unwrap();
    assert!(code == 1 && page["whole"] == false && page["segments"] == 0, "{code} {said}");
    check(&herd, &["dump", "journal"], 0, &[LINES, "not all is there that journal/Jaquez held"]);
}

/// Goal: what a user may not read is not passed over.
#[test]
fn what_may_not_be_read_is_told() {
    let herd = Herd::of_file(&["Hill", "Jaquez"], &[], KEEPING);
    let segment = restore(&herd, "journal/Hill");
    restore(&herd, "journal/Jaquez");
    let allow = |path: PathBuf, mode| fs::set_permissions(path, Permissions::from_mode(mode));
    for dir in [".", "journal", "journal/Jaquez"] {
        allow(herd.path(dir), 0o755).unwrap();
    }
    segments(&herd, "journal/Jaquez").into_iter().for_each(|path| allow(path, 0o644).unwrap());
    allow(herd.path("journal/Hill"), 0).unwrap();
    let Some((code, said)) = journal_for_nobody(&herd, &["check", "journal"]) else {
        return skip("a user who owns nothing, for setpriv is missing, or the way there is barred");
    };
    let denied = "journal/Hill may not be read by this user: look at it as its server's user";
    assert!(code == 77 && said.contains(denied), "{code} {said}");
    assert_eq!(journal_for_nobody(&herd, &["dump", "journal"]).unwrap(), (77, said));
    // One that can be found and not be read hides none of the others.
    allow(herd.path("journal/Hill"), 0o755).unwrap();
    allow(segment, 0).unwrap();
    let (code, said) = journal_for_nobody(&herd, &["check", "journal"]).unwrap();
    assert!(code == 77 && said.contains("server Jaquez of herd tests, 2 clients"), "{code} {said}");
    assert!(said.contains(".herd may not be read by this user"), "{said}");
}

/// Goal: what has gone bad is told with its way out; files of two herds are told apart.
#[test]
fn what_is_left_of_a_journal_is_told() {
    let herd = Herd::of_file(&["Hill"], &[], KEEPING);
    let segment = restore(&herd, "journal/Hill");
    let whole = fs::read(&segment).unwrap();
    let mut spoilt = whole.clone();
    spoilt[whole.windows(4).position(|window| window == b"kiwi").unwrap()] ^= 1;
    fs::write(&segment, spoilt).unwrap();
    check(&herd, &["dump", "journal"], 0, &["not all is there that journal/Hill held"]);
    check(&herd, &["check", "journal"], 1, &["  damaged: ", "  what is lost is on its peers"]);
    // A file that says nothing of what was synced may be one that its server has died over.
    fs::write(&segment, &whole[..300]).unwrap();
    check(&herd, &["check", "journal"], 0, &["0 clients", " torn bytes"]);
    fs::write(&segment, &whole).unwrap();
    check(&herd, &["check", "journal"], 0, &["2 clients", " 0 torn bytes"]);
    fs::rename(&segment, herd.path("mine")).unwrap();
    let text = fs::read_to_string(herd.path("herd.toml")).unwrap();
    fs::write(herd.path("herd.toml"), text.replacen("\"tests\"", "\"others\"", 1)).unwrap();
    fs::remove_dir_all(herd.path("journal")).unwrap();
    restore(&herd, "journal/Hill");
    fs::rename(herd.path("mine"), &segment).unwrap();
    let both = ["server Hill of herd tests", "server Hill of herd others", " and "];
    check(&herd, &["check", "journal"], 0, &both);
    check(&herd, &["dump", "journal"], 78, &["of herd others", "of herd tests", "name one"]);
}
