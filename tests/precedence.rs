//! A flag beats its variable, which beats herd.toml, which beats the default: for every knob that
//! `serve` has, by what `check-config` says of it. Apart from the other tests of the command line
//! because it is one table, which must be complete.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

/// One knob, and what tells its values apart. Where there are only two values, it has two rows.
struct Knob {
    /// Without the dashes; the variable is the same in capitals, after `HERD_`.
    flag: &'static str,
    /// What herd.toml says with the value in place of `{}`, if it can say it: above the first
    /// server, and in a section.
    file: [&'static str; 2],
    /// By flag, variable, file, and by nobody.
    values: [&'static str; 3],
    shown: [&'static str; 4],
}

const KNOBS: &[Knob] = &[
    Knob {
        flag: "bind",
        file: ["", ""],
        values: ["127.0.0.3", "127.0.0.2", ""],
        shown: ["127.0.0.3:1000", "127.0.0.2:1000", "127.0.0.1:1000", "127.0.0.1:1000"],
    },
    Knob {
        flag: "tls-clients",
        // It is a key of the server before it.
        file: ["", "tls_clients = \"{}\""],
        values: ["127.0.0.1:3", "off", "127.0.0.1:1"],
        shown: [
            "no certificate is named",
            "clients by TLS            off\n",
            "no certificate is named",
            "clients by TLS            off\n",
        ],
    },
    Knob {
        flag: "tls-cert",
        file: ["", "tls_clients = \"127.0.0.1:9\"\n[tls]\nkey = \"a.key\"\ncert = \"{}\""],
        values: ["flag.pem", "variable.pem", "file.pem"],
        shown: [
            "flag.pem cannot",
            "variable.pem cannot",
            "file.pem cannot",
            "clients by TLS            off\n",
        ],
    },
    Knob {
        flag: "tls-key",
        // Any file can be read.
        file: ["", "tls_clients = \"127.0.0.1:9\"\n[tls]\ncert = \"herd.toml\"\nkey = \"{}\""],
        values: ["flag.key", "variable.key", "file.key"],
        shown: [
            "flag.key cannot",
            "variable.key cannot",
            "file.key cannot",
            "clients by TLS            off\n",
        ],
    },
    Knob {
        flag: "proxy-from",
        file: ["proxy_from = [\"{}\"]", ""],
        values: ["10.3.0.0/16", "10.2.0.0/16", "10.1.0.0/16"],
        shown: [
            "proxies in front          10.3.0.0/16\n",
            "proxies in front          10.2.0.0/16\n",
            "proxies in front          10.1.0.0/16\n",
            "proxies in front          none\n",
        ],
    },
    Knob {
        flag: "tls-peers",
        file: ["", "[tls]\npeers = \"{}\""],
        values: ["require", "prefer", "allow"],
        shown: [
            "links by TLS (require) rest",
            "links by TLS (prefer) rest",
            "links by TLS (allow) rest",
            "links by TLS              off\n",
        ],
    },
    Knob {
        flag: "tls-web",
        file: ["", "[tls]\nweb = \"{}\""],
        values: ["require", "allow", "off"],
        shown: [
            "TLS (`web` in [tls] is require), and",
            "TLS (`web` in [tls] is allow), and",
            "web by TLS                off\n",
            "web by TLS                off\n",
        ],
    },
    Knob {
        flag: "engine",
        file: ["", "[engine]\nurls = [\"{}\"]"],
        values: ["127.0.0.1:3", "127.0.0.1:2", "127.0.0.1:1"],
        shown: [
            "engine                    nats://127.0.0.1:3\n",
            "engine                    nats://127.0.0.1:2\n",
            "engine                    nats://127.0.0.1:1\n",
            "engine                    -\n",
        ],
    },
    Knob {
        flag: "web",
        // It is a key of the server before it.
        file: ["", "web = \"{}\""],
        values: ["127.0.0.1:3", "off", "127.0.0.1:1"],
        shown: [
            "web                       127.0.0.1:3\n",
            "web                       off\n",
            "web                       127.0.0.1:1\n",
            "web                       127.0.0.1:1200\n",
        ],
    },
    Knob {
        flag: "operators",
        // It is a key of the server before it.
        file: ["", "operators = \"{}\""],
        values: ["127.0.0.1:3", "off", "127.0.0.1:1"],
        shown: [
            "operators                 127.0.0.1:3\n",
            "operators                 off\n",
            "operators                 127.0.0.1:1\n",
            "operators                 127.0.0.1:1300\n",
        ],
    },
    Knob {
        flag: "mqtt",
        // It is a key of the server before it.
        file: ["", "mqtt = \"{}\""],
        values: ["127.0.0.1:3", "off", "127.0.0.1:1"],
        shown: [
            "mqtt                      127.0.0.1:3\n",
            "mqtt                      off\n",
            "mqtt                      127.0.0.1:1\n",
            "mqtt                      127.0.0.1:1400\n",
        ],
    },
    Knob {
        flag: "key-file",
        file: ["key_file = \"{}\"", ""],
        values: ["flag.key", "variable.key", "file.key"],
        shown: ["flag.key cannot", "variable.key cannot", "file.key cannot", "not authenticated"],
    },
    Knob {
        flag: "access",
        file: ["access = \"{}\"", ""],
        values: ["flag.toml", "variable.toml", "file.toml"],
        shown: ["flag.toml cannot", "variable.toml cannot", "file.toml cannot", "web"],
    },
    Knob {
        flag: "keep",
        file: ["", "[journal]\nkeep = \"{}\""],
        values: ["written", "synced", "off"],
        shown: [
            "  written, in journal\n",
            "  synced, in journal\n",
            "no journal\n",
            "  written, in journal\n",
        ],
    },
    Knob {
        flag: "journal-dir",
        file: ["", "[journal]\nkeep = \"written\"\ndir = \"{}\""],
        values: ["by-flag", "by-variable", "by-file"],
        shown: [" by-flag ", " by-variable ", "written, in by-file\n", "written, in journal\n"],
    },
    Knob {
        flag: "places",
        file: ["", "[places]\nurl = \"http://127.0.0.1:9\"\nsource = \"{}\""],
        values: ["embedded", "overpass", "google-legacy"],
        shown: ["  embedded\n", "  overpass at", "  google-legacy at", "  embedded\n"],
    },
    Knob {
        flag: "places-file",
        file: ["", "[places]\nsource = \"file\"\nfile = \"{}\""],
        values: ["flag.csv", "variable.csv", "file.csv"],
        shown: ["flag.csv cannot", "variable.csv cannot", "file.csv cannot", "  embedded\n"],
    },
    Knob {
        flag: "places-attribution",
        file: ["", "[places]\nattribution = \"{}\""],
        values: ["<b>flag</b>", "<b>variable</b>", "<b>file</b>"],
        shown: ["  <b>flag</b>\n", "  <b>variable</b>\n", "  <b>file</b>\n", "as the source says"],
    },
    Knob {
        flag: "places-url",
        file: ["", "[places]\nsource = \"overpass\"\nurl = \"{}\""],
        values: ["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"],
        shown: ["at http://127.0.0.1:1", "at http://127.0.0.1:2", "at http://127.0.0.1:3", ""],
    },
    Knob {
        flag: "places-key-file",
        file: ["", "[places]\nsource = \"google-new\"\nkey_file = \"{}\""],
        values: ["flag.key", "variable.key", "file.key"],
        shown: ["file flag.key cannot", "file variable.key cannot", "file file.key cannot", ""],
    },
    Knob {
        flag: "log-dir",
        file: ["", "[log]\ndir = \"{}\""],
        values: ["of/flag", "of/variable", "of/file"],
        shown: ["  of/flag, traffic", "  of/variable, ", "  of/file, ", "  log, traffic"],
    },
    Knob {
        flag: "log-level",
        file: ["", "[log]\nlevel = \"{}\""],
        values: ["warn", "error", "off"],
        shown: ["log, warn", "log, error", "log, off", "log, traffic"],
    },
    Knob {
        flag: "log-format",
        file: ["", "[log]\nformat = \"{}\""],
        values: ["json", "text", "json"],
        shown: ["traffic, json\n", "traffic\n", "traffic, json\n", "traffic\n"],
    },
    Knob {
        flag: "log-format",
        file: ["", "[log]\nformat = \"{}\""],
        values: ["text", "json", "text"],
        shown: ["traffic\n", "traffic, json\n", "traffic\n", "traffic\n"],
    },
    Knob {
        flag: "run-dir",
        file: ["run_dir = \"{}\"", ""],
        values: ["of/flag", "of/variable", "of/file"],
        shown: ["of/flag\n", "of/variable\n", "of/file\n", "run directory             run\n"],
    },
    Knob {
        flag: "trace",
        file: ["", ""],
        values: ["flag.json", "variable.json", ""],
        shown: ["  flag.json\n", "  variable.json\n", "  none\n", "  none\n"],
    },
    Knob {
        flag: "lame-duck-grace",
        file: ["", "[limits]\nlame_duck_grace = \"{}\""],
        values: ["3 s", "2 s", "1 s"],
        shown: ["  3 s, 0 s, 5 s\n", "  2 s, 0 s, 5 s\n", "  1 s, 0 s, 5 s\n", "  0 s, 0 s, 5 s\n"],
    },
    Knob {
        flag: "lame-duck",
        file: ["", "[limits]\nlame_duck = \"{}\""],
        values: ["3 s", "2 s", "1 s"],
        shown: ["  0 s, 3 s, 5 s\n", "  0 s, 2 s, 5 s\n", "  0 s, 1 s, 5 s\n", "  0 s, 0 s, 5 s\n"],
    },
    Knob {
        flag: "spin-us",
        file: ["", "[limits]\nspin_us = {}"],
        values: ["3", "2", "1"],
        shown: ["  3 µs", "  2 µs", "  1 µs", "  0 µs"],
    },
    Knob {
        flag: "partial-line",
        file: ["", "[limits]\npartial_line = \"{}\""],
        values: ["300 ms", "2 s", "1s"],
        shown: ["  300ms\n", "  2s\n", "  1s\n", "  10s\n"],
    },
    Knob {
        flag: "partial-line",
        file: ["", "[limits]\npartial_line = \"{}\""],
        values: ["3 s", "2 s", "1 s"],
        shown: ["end    3s", "end    2s", "end    1s", "end    10s"],
    },
    Knob {
        flag: "stale-reply",
        file: ["", "[answers]\nstale_reply = \"{}\""],
        values: ["stored", "own", "stored"],
        shown: ["the stored line", "their own line", "the stored line", "their own line"],
    },
    Knob {
        flag: "stale-reply",
        file: ["", "[answers]\nstale_reply = \"{}\""],
        values: ["own", "stored", "own"],
        shown: ["their own line", "the stored line", "their own line", "their own line"],
    },
    Knob {
        flag: "close-after-reply",
        file: ["", "[answers]\nclose_after_reply = {}"],
        values: ["1", "0", "true"],
        shown: ["answer    yes", "answer    no", "answer    yes", "answer    no"],
    },
    Knob {
        flag: "close-after-reply",
        file: ["", "[answers]\nclose_after_reply = {}"],
        values: ["0", "1", "false"],
        shown: ["answer    no", "answer    yes", "answer    no", "answer    no"],
    },
    Knob {
        flag: "plain",
        file: ["", ""],
        values: ["1", "0", ""],
        shown: ["clients  yes", "clients  no", "clients  no", "clients  no"],
    },
    Knob {
        flag: "plain",
        file: ["", ""],
        values: ["0", "1", ""],
        shown: ["clients  no", "clients  yes", "clients  no", "clients  no"],
    },
];

/// What chooses the herd is not in a herd.toml, and the key itself in no flag: of these,
/// `tests/cli.rs` says what beats what.
const OTHERS: [&str; 4] = ["HERD_CONFIG", "HERD_PRESET", "HERD_BASE_PORT", "HERD_PLACES_KEY"];

fn herd(dir: &Path, arguments: &[&str], variables: &[(String, &str)]) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    command.envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.current_dir(dir).args(arguments).stdin(Stdio::null()).output().unwrap();
    assert!(matches!(output.status.code(), Some(0 | 78)), "{arguments:?}: {output:?}");
    let said = [output.stdout, output.stderr].map(|said| String::from_utf8(said).unwrap());
    said.concat()
}

#[test]
fn a_flag_beats_its_variable_which_beats_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let mut check = 0;
    for Knob { flag, file, values, shown } in KNOBS {
        let variable = format!("HERD_{}", flag.to_uppercase().replace('-', "_"));
        let by_flag = format!("--{flag}={}", values[0]);
        let by_variable = [(variable, values[1])];
        // Who says something, from the last to all of them.
        for speakers in 0..4 {
            let [above, section] = match speakers {
                0 => ["".to_owned(), "".to_owned()],
                _ => file.map(|text| text.replace("{}", values[2])),
            };
            let text = format!(
                "herd = \"demo\"\n{above}\n[[server]]\nname = \"Hill\"\n\
                 clients = \"127.0.0.1:1000\"\n{section}\n"
            );
            fs::write(dir.path().join("herd.toml"), text).unwrap();
            let mut arguments = vec!["check-config", "Hill", "--config", "herd.toml"];
            arguments.extend((speakers == 3).then_some(&*by_flag));
            let variables = if speakers >= 2 { &by_variable[..] } else { &[] };
            let said = herd(dir.path(), &arguments, variables);
            let expected = shown[3 - speakers];
            assert!(
                said.contains(expected),
                "{flag}, {speakers} speakers:\n{said}lacks {expected}"
            );
            check += 1;
        }
    }
    assert_eq!(check, 4 * KNOBS.len());
}

/// Goal: a knob that is added must be in the table.
#[test]
fn no_knob_is_left_out() {
    let dir = tempfile::tempdir().unwrap();
    let help = herd(dir.path(), &["serve", "--help"], &[]);
    let seen = help.split(|c: char| !(c.is_ascii_uppercase() || c == '_'));
    let seen: BTreeSet<_> = seen.filter(|word| word.starts_with("HERD_")).collect();
    let tested = KNOBS.iter().map(|knob| knob.flag.to_uppercase().replace('-', "_"));
    let tested: Vec<_> = tested.map(|name| format!("HERD_{name}")).collect();
    let tested: BTreeSet<_> = tested.iter().map(|name| &**name).chain(OTHERS).collect();
    assert_eq!(seen, tested);
}

/// Goal: a flag or a variable of `serve` is on the operator's page, or on the page of all settings.
#[test]
fn the_pages_for_operators_have_every_flag() {
    let pages = ["src/herd/PRODUCTION.md", "src/herd/config/SETTINGS.md"]
        .map(|page| fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap());
    let dir = tempfile::tempdir().unwrap();
    let help = herd(dir.path(), &["serve", "--help"], &[]);
    let words = help.split(|c: char| c.is_whitespace() || "[]=,:".contains(c));
    let is_name =
        |word: &&str| word.starts_with("--") && word.len() > 2 || word.starts_with("HERD_");
    for word in words.filter(is_name).filter(|word| *word != "--help") {
        let is_there = pages.iter().any(|page| page.contains(&format!("`{word}")));
        assert!(is_there, "{word} is on no page");
    }
}

/// Goal: a variable that is none of its business keeps no command from its work.
#[test]
fn only_who_needs_a_variable_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    let check = |variable: &str, value: &str, arguments: &[&str], part: &str| {
        let said = herd(dir.path(), arguments, &[(variable.to_owned(), value)]);
        assert!(said.contains(part), "{variable}={value} {arguments:?}: {said}");
    };
    let key =
        |arguments: &[&str], part: &str| check("HERD_PLACES_KEY", "two words", arguments, part);
    key(&["presets"], "2023");
    key(&["check-config"], "herd 2023");
    key(&["check-config", "Bona"], "server Bona");
    key(&["check-config", "Bona", "--places", "overpass"], "overpass");
    key(&["check-config", "Bona", "--places", "google-new"], "does not hold one word");
    let near = ["places", "near", "+60.17+24.94", "5", "1"];
    check("HERD_PLACES_FILE", "no.csv", &near, "Helsinki");
    check("HERD_PLACES_FILE", "no.csv", &["check-config", "Bona"], "add --places file");
    check("HERD_CONFIG", "no.toml", &near, "Helsinki");
    check("HERD_CONFIG", "no.toml", &["presets"], "2023");
}
