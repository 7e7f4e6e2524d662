//! A name that no server has, typed where a server is meant: each command refuses it in one
//! sentence that says which names there are, and does nothing.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// All commands that take the name of a server, the way that they are typed here.
const COMMANDS: [&str; 20] = [
    "serve Baily",
    "start Baily",
    "stop Baily",
    "drain Baily --wait",
    "forget Baily kiwi",
    "restart Baily",
    "reload Baily --wait",
    "logs Baily",
    "log-level Baily debug",
    "check-config Baily",
    "status Baily",
    "top Baily --once",
    "say Baily IAMAT",
    "pid Baily",
    "dump Baily",
    "bench Baily",
    "journal compact Baily",
    "journal hold Baily off",
    "journal restore /dev/null journal/Baily",
    "print socket Baily",
];
/// The one whose argument is a directory, of which its help says no name.
const BY_DIRECTORY: &str = "journal restore";

fn run(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    let ended = command.current_dir(dir).args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ended.status.code(), text(ended.stdout), text(ended.stderr))
}

/// Each command ends as it does for a herd that is wrong, and says this once.
fn check_all(dir: &Path, flags: &[&str], sentence: &str) {
    for typed in COMMANDS {
        let is_of_herd = ["start", "restart", "check-config"];
        let words = Vec::from_iter(typed.split(' ').chain(flags.iter().copied()));
        let (code, out, complaint) = run(dir, &words);
        assert_eq!((code, out.as_str()), (Some(78), ""), "{words:?}: {complaint}");
        assert_eq!(complaint.lines().count(), 1, "{words:?}: {complaint}");
        let is_said = complaint.contains(sentence);
        assert!(is_said || is_of_herd.contains(&words[0]), "{words:?}: {complaint}");
        assert!(complaint.contains("Baily (is Bailey meant?)"), "{words:?}: {complaint}");
    }
}

#[test]
fn no_command_takes_a_slip_for_a_server() {
    let dir = tempfile::tempdir().unwrap();
    let preset = "no preset has a server called Baily (is Bailey meant?): `herd presets` lists";
    check_all(dir.path(), &[], preset);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing was done");

    let server =
        |name: &str, port| format!("[[server]]\nname = {name:?}\nclients = \"127.0.0.1:{port}\"\n");
    let herd = "herd = \"test\"\nlinks = [[\"Bailey\", \"Anna\"]]\n".to_owned();
    let herd = herd + &server("Bailey", 1) + &server("Anna", 2);
    fs::write(dir.path().join("herd.toml"), herd).unwrap();
    let flags = ["--config", "herd.toml"];
    let file = "herd.toml has no server Baily (is Bailey meant?): it has Bailey, Anna";
    check_all(dir.path(), &flags, file);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing was done");

    // Whose herd.toml is not at hand knows those that have run here.
    fs::create_dir(dir.path().join("run")).unwrap();
    for name in ["Bailey", "Anna"] {
        fs::write(dir.path().join(format!("run/{name}.pid")), "").unwrap();
    }
    for typed in ["stop Anna Baily", "status Baily", "pid Baily", "top Baily --once"] {
        let (code, out, complaint) = run(dir.path(), &Vec::from_iter(typed.split(' ')));
        assert_eq!((code, out.as_str()), (Some(78), ""), "{typed}: {complaint}");
        let sentence = "herd: no server called Baily has run in run (is Bailey meant?): there are \
                        Anna, Bailey; --config names another herd\n";
        assert_eq!(complaint, sentence, "{typed}");
    }
}

/// Goal: what has a name and does not run is no mistake, and neither is what runs and stands in no
/// herd.toml any more.
#[test]
fn who_does_not_run_is_known_all_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let check = |typed: &str, code: i32, said: &str| {
        let (ended, out, complaint) = run(dir.path(), &Vec::from_iter(typed.split(' ')));
        assert_eq!(ended, Some(code), "{typed}: {out}{complaint}");
        assert!((out + &complaint).contains(said), "{typed} does not say {said}");
    };
    check("stop Bailey", 0, "Bailey: not running\n");
    check("pid Bailey", 3, "Bailey is not running");
    fs::create_dir(dir.path().join("run")).unwrap();
    fs::write(dir.path().join("run/Zoe.pid"), "").unwrap();
    check("stop Zoe Bailey", 0, "Zoe: not running\nBailey: not running\n");
    fs::write(dir.path().join("herd.toml"), "nonsense").unwrap();
    check("stop Baily --config herd.toml", 0, "Baily: not running\n");
}

/// Goal: a command that is added is tried here.
#[test]
fn all_commands_that_take_a_server_are_tried() {
    let dir = tempfile::tempdir().unwrap();
    let help = |words: &[&str]| run(dir.path(), &[words, &["--help"]].concat()).1;
    let below = |words: &[&str]| {
        let text = help(words);
        let list = text.split("Commands:\n").nth(1).unwrap_or_default();
        let list = list.split("\n\n").next().unwrap_or_default().lines();
        let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
        let names = names.map(|line| line.split_whitespace().next().unwrap().to_owned());
        Vec::from_iter(names.filter(|name| name != "help"))
    };
    let mut found = BTreeSet::new();
    for command in below(&[]) {
        let mut paths = vec![vec![command.clone()]];
        paths.extend(below(&[&command]).into_iter().map(|name| vec![command.clone(), name]));
        for path in paths {
            let words = Vec::from_iter(path.iter().map(String::as_str));
            let text = help(&words);
            // What an argument is may stand in a line of its own.
            let lines = Vec::from_iter(text.lines().map(str::trim_start));
            let takes_server = lines.windows(2).any(|two| {
                let is_name = two[0].starts_with("<NAME>") || two[0].starts_with("[NAME]");
                is_name && two.concat().to_lowercase().contains("server")
            });
            if takes_server {
                found.insert(words.join(" "));
            }
        }
    }
    let tried = COMMANDS.iter().map(|typed| {
        let words = Vec::from_iter(typed.split(' ').take_while(|word| !word.contains("Baily")));
        words.join(" ")
    });
    let tried = tried.filter(|words| !words.starts_with(BY_DIRECTORY));
    assert_eq!(found, tried.collect::<BTreeSet<_>>());
}
