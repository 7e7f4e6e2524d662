//! Every knob is declared once: the page and the example say what is declared, every value in range
//! is taken and no other, and what herd.toml sets reaches the server.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use herd::config::HerdSelector;
use herd::config::knob::{Kind, Knob};
use herd::config::layers::{Overrides, configure};
use herd::config::settings::{SECTIONS, knobs};
use herd::config::units::{parse_duration, parse_size, show_duration};
use herd::config::{Config, HerdKey, Settings, example, file};

const SERVER: &str = "[[server]]\nname = \"Hill\"\nclients = \"127.0.0.1:34000\"\n";

/// A herd.toml with one server that says this of knobs.
fn herd_toml(values: &[(&Knob, &str)]) -> String {
    let mut text = "herd = \"demo\"\n".to_owned();
    for section in &SECTIONS {
        if !section.name.is_empty() {
            text += &format!("[{}]\n", section.name);
        }
        for (knob, value) in values.iter().filter(|(knob, _)| knob.section() == section.name) {
            text += &format!("{} = {value}\n", knob.key());
        }
        if section.name.is_empty() {
            text += SERVER;
        }
    }
    text
}

fn knob(name: &str) -> &'static Knob {
    knobs().find(|knob| knob.name == name).unwrap()
}

fn settings_of(text: &str) -> Result<Settings, String> {
    let mut settings = Settings::default();
    let herd = file::parse(Path::new("herd.toml"), text, &mut settings);
    herd.map(|_| settings).map_err(|error| error.to_string())
}

/// A value that is not the default and breaks no rule, as herd.toml has it.
fn other_value(knob: &Knob, key_file: &Path) -> String {
    let default_time = || parse_duration(knob.default, Duration::MAX).unwrap();
    let a_little_longer = || show_duration(default_time() + Duration::from_millis(1));
    let value = match &knob.kind {
        Kind::Count { range, .. } => {
            let default: usize = knob.default.parse().unwrap();
            let other = if default < *range.end() { default + 1 } else { default - 1 };
            other.to_string()
        }
        Kind::OneOf { values, .. } => values.last().unwrap().to_string(),
        Kind::Size { .. } => (parse_size(knob.default).unwrap() + 1).to_string(),
        Kind::Time { .. } => a_little_longer(),
        Kind::TimeOrZero { .. } => "7 s".to_owned(),
        Kind::TimeOrOff { .. } if knob.default == "off" => "2 d".to_owned(),
        Kind::TimeOrOff { .. } => a_little_longer(),
        Kind::Switch { .. } => (knob.default == "false").to_string(),
        Kind::SomePath { .. } if knob.name == "key_file" => key_file.display().to_string(),
        Kind::SomePath { .. } if knob.name == "access" => {
            let path = key_file.with_file_name("access.toml");
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path.display().to_string()
        }
        Kind::Path { .. } | Kind::SomePath { .. } => "elsewhere".to_owned(),
        Kind::SomeUrl { .. } => "http://127.0.0.1:34001".to_owned(),
        Kind::SomeText { .. } | Kind::SomeCount { .. } => knob.example.to_owned(),
        Kind::Networks { .. } => "10.1.2.0/24,::1".to_owned(),
        Kind::Addresses { .. } => "127.0.0.1:4223,[::1]:4224".to_owned(),
        Kind::Word { .. } => match knob.name {
            "places.source" => "overpass",
            "journal.keep" => "synced",
            "journal.when_broken" => "serve",
            "answers.stale_reply" => "stored",
            "run_dir_mode" | "log.mode" => "0700",
            "log.level" => "warn",
            "tls.peers" => "prefer",
            "tls.web" => "allow",
            "log.format" => "json",
            "engine.subject" => "other",
            name => panic!("{name} needs another word here"),
        }
        .to_owned(),
    };
    assert_ne!(value, knob.default);
    knob.in_file(&value)
}

fn with_key_file() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("herd.key");
    fs::write(&path, HerdKey::print_all(&[HerdKey::new([7; 32])])).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    (dir, path)
}

#[test]
fn the_page_says_what_is_declared() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/herd/config/SETTINGS.md");
    let (page, found) = (example::page(), fs::read_to_string(&path).unwrap_or_default());
    assert!(page == found, "SETTINGS.md should be this:\n{page}");
}

/// Where PROTOCOL.md gives a default behind a key, it is the one that is declared.
#[test]
fn the_protocol_has_the_defaults() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/core/PROTOCOL.md");
    let text = fs::read_to_string(path).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
    let mut checked = BTreeSet::new();
    for (before, value) in text.match_indices("` (").map(|(at, end)| text.split_at(at + end.len()))
    {
        let key = before.trim_end_matches("` (").rsplit('`').next().unwrap();
        let key = key.split(' ').next().unwrap();
        let Some(knob) = knobs().find(|knob| knob.key() == key) else { continue };
        // A number may be a rule's.
        let given = value.split(')').next().unwrap_or_default();
        let is_rule = given.contains('.');
        assert!(
            is_rule || value.starts_with(knob.default),
            "{key} is {}, not {given}",
            knob.default
        );
        checked.insert(key);
    }
    assert!(checked.len() >= 25, "{checked:?}");
}

#[test]
fn every_knob_is_explained() {
    let mut names = BTreeSet::new();
    for knob in knobs() {
        assert!(names.insert(knob.name), "{} is declared twice", knob.name);
        for messages in [knob.meaning, knob.reason] {
            assert!(messages.ends_with(['.', ')']), "{}: {messages:?}", knob.name);
        }
        if let Some(flag) = &knob.flag {
            let variable = format!("HERD_{}", flag.long.to_uppercase().replace('-', "_"));
            assert_eq!(flag.variable, variable);
        }
    }
}

/// Goal: a default is in its range, and is spelled as it is shown again.
#[test]
fn defaults_are_values_that_may_be_set() {
    let (settings, preset) = (Settings::default(), Settings::preset());
    for knob in knobs() {
        let shown = knob.show(&settings);
        if knob.is_optional() {
            assert_eq!(shown, None, "{}", knob.name);
            let taken = knob.set(&mut Settings::default(), OsStr::new(knob.example));
            assert_eq!(taken, Ok(()), "{}", knob.name);
            continue;
        }
        let (shown, in_presets) = (shown.unwrap(), knob.show(&preset).unwrap());
        assert_eq!(in_presets, knob.preset.unwrap_or(knob.default), "{}", knob.name);
        if matches!(knob.kind, Kind::Size { .. }) {
            assert_eq!(parse_size(&shown), parse_size(knob.default), "{}", knob.name);
        }
        assert_eq!(shown, knob.default, "{}", knob.name);
        let text = herd_toml(&[(knob, &knob.in_file(&shown))]);
        let again = settings_of(&text).unwrap();
        assert_eq!(format!("{again:?}"), format!("{settings:?}"), "{}", knob.name);
    }
}

/// What is no value of a knob, as herd.toml has it, and what a message must say of it.
fn bad_values(knob: &Knob) -> Vec<(String, String)> {
    let beyond = |max: usize| (max + 1).to_string();
    let longer = |max: Duration| format!("\"{}\"", show_duration(max + Duration::from_secs(1)));
    let range = knob.range();
    let range = range.split(" of ").next().unwrap();
    match &knob.kind {
        Kind::Count { range: bounds, of, .. } | Kind::SomeCount { range: bounds, of, .. } => {
            let between = format!("is not between {}", range.replace(" to ", " and "));
            assert!(between.ends_with(of));
            let mut bad = vec![(beyond(*bounds.end()), between.clone())];
            bad.push(((*bounds.start() as i64 - 1).to_string(), between.clone()));
            bad.push(("99999999999999999999".to_owned(), between));
            bad.push(("\"1\"".to_owned(), "expected a whole number".to_owned()));
            bad
        }
        Kind::OneOf { .. } => vec![("0".to_owned(), format!("is none of {range}"))],
        Kind::Size { range: bounds, .. } => {
            let between = format!("is not between {}", range.replace(" to ", " and "));
            vec![
                (beyond(*bounds.end()), between.clone()),
                ("0".to_owned(), between.clone()),
                ("-1".to_owned(), between),
                ("\"1 K\"".to_owned(), "is no size: write bytes".to_owned()),
                ("true".to_owned(), "expected a size".to_owned()),
            ]
        }
        Kind::Time { max, .. } | Kind::TimeOrOff { max, .. } => {
            let most = format!("at most {}", show_duration(*max));
            vec![
                (longer(*max), most.clone()),
                ("\"0 s\"".to_owned(), most),
                ("5".to_owned(), "expected a duration in quotes".to_owned()),
            ]
        }
        Kind::TimeOrZero { max, .. } => {
            let most = format!("at most {}, or \"0 s\"", show_duration(*max));
            vec![
                (longer(*max), most.clone()),
                ("\"0 ms\"".to_owned(), most),
                ("5".to_owned(), "expected a duration in quotes".to_owned()),
            ]
        }
        Kind::Switch { .. } => vec![("1".to_owned(), "expected true or false".to_owned())],
        Kind::Path { .. } | Kind::SomePath { .. } => {
            let empty = ("\"\"".to_owned(), "an empty path names nothing".to_owned());
            vec![empty, ("1".to_owned(), "expected a text in quotes".to_owned())]
        }
        Kind::SomeText { bytes_max, .. } => {
            let text = format!("\"{}\"", "x".repeat(bytes_max + 1));
            vec![(text, "write 4 KiB at most".to_owned())]
        }
        Kind::SomeUrl { .. } => {
            vec![(format!("\"{}\"", "x".repeat(4_097)), "write 4 KiB at most".to_owned())]
        }
        Kind::Networks { .. } => vec![
            ("[\"10.1.2.3/24\"]".to_owned(), "bits beyond the first 24".to_owned()),
            ("[\"10.1.2.0/24,::1\"]".to_owned(), "a list of texts".to_owned()),
            ("[1]".to_owned(), "a list of texts".to_owned()),
            ("true".to_owned(), "expected a list".to_owned()),
        ],
        Kind::Addresses { .. } => vec![
            ("[\"127.0.0.1\"]".to_owned(), "is no address".to_owned()),
            ("[1]".to_owned(), "a list of texts".to_owned()),
            ("true".to_owned(), "expected a list".to_owned()),
        ],
        Kind::Word { .. } => vec![("\"?\"".to_owned(), String::new())],
    }
}

#[test]
fn what_is_out_of_range_is_refused_with_its_line() {
    for knob in knobs() {
        let bad_values = bad_values(knob);
        assert!(!bad_values.is_empty());
        for (value, why) in bad_values {
            let text = herd_toml(&[(knob, &value)]);
            let line = text.lines().position(|line| line.starts_with(&format!("{} =", knob.key())));
            let message = settings_of(&text).expect_err(knob.name);
            let place = format!("herd.toml:{}: in `{} = ", line.unwrap() + 1, knob.key());
            assert!(message.starts_with(&place), "{message}\n  not {place}");
            assert!(message.contains(&why), "{message}\n  lacks {why}");
        }
    }
}

/// Each field's value by its name, with the names of the structs around it, as `Debug` prints them.
fn fields(settings: &Settings) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let mut around = Vec::new();
    let mut last = String::new();
    for line in format!("{settings:#?}").lines().map(str::trim).skip(1) {
        match line.split_once(": ") {
            Some((name, value)) if value.ends_with('{') => around.push(name.to_owned()),
            Some((name, value)) => {
                last = [&around[..], &[name.to_owned()]].concat().join(".");
                fields.insert(last.clone(), value.trim_end_matches(',').to_owned());
            }
            None if line.starts_with('}') => drop(around.pop()),
            // A value in several lines.
            None => {
                let value = fields.get_mut(&last);
                value.filter(|value| value.ends_with('(')).into_iter().for_each(|v| *v += line);
            }
        }
    }
    fields
}

/// Goal: no knob without a field of its own, and no field that nobody can set.
#[test]
fn every_field_has_its_knob() {
    let (_dir, key_file) = with_key_file();
    let defaults = fields(&Settings::default());
    let mut set = BTreeSet::new();
    for knob in knobs() {
        let text = herd_toml(&[(knob, &other_value(knob, &key_file))]);
        let changed = fields(&settings_of(&text).unwrap());
        let is_changed = |(name, value): &(&String, &String)| changed[*name] != **value;
        let differ = defaults.iter().filter(is_changed);
        let differ: Vec<_> = differ.map(|(name, _)| name.clone()).collect();
        assert_eq!(differ.len(), 1, "{} changes {differ:?}", knob.name);
        let field = differ[0].rsplit('.').next().unwrap();
        assert_eq!(field, knob.key(), "{} sets another's field", knob.name);
        assert!(set.insert(differ[0].clone()), "{field} has two knobs");
    }
    let free: Vec<_> = defaults.keys().filter(|name| !set.contains(*name)).collect();
    let not_set = ["limits.timeouts.linger", "places.key"];
    assert_eq!(free, not_set, "the one is always the same, the other is found and not set");
}

/// Parts are divided among servers on an engine, of which there is only one in these files.
const PARTS_NEED: [(&str, &str); 2] =
    [("engine.urls", "[\"127.0.0.1:4222\"]"), ("engine.copies", "1")];

fn config_of(text: &str) -> Config {
    let mut settings = Settings::default();
    let herd = file::parse(Path::new("herd.toml"), text, &mut settings).unwrap();
    configure("Hill", herd, settings, &HerdSelector::default(), Overrides::default()).unwrap()
}

/// Goal: what herd.toml sets is in `check-config`, and in the configuration of the server.
#[test]
fn every_knob_reaches_the_server() {
    let (dir, key_file) = with_key_file();
    let overpass = (knob("places.source"), "\"overpass\"");
    let usual = config_of(&herd_toml(&[overpass])).fingerprint();
    let key_path = other_value(knob("key_file"), &key_file);
    let key = (knob("key_file"), &*key_path);
    for knob in knobs() {
        let value = other_value(knob, &key_file);
        let needed = match knob.name {
            // Links by TLS rest on a key.
            "tls.peers" => vec![key],
            "engine.parts" => PARTS_NEED.map(|(name, value)| (self::knob(name), value)).to_vec(),
            _ => Vec::new(),
        };
        let text = herd_toml(&[&needed[..], &[(knob, &*value)]].concat());
        fs::write(dir.path().join("herd.toml"), text).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
            command.env_remove(name);
        }
        let arguments = ["check-config", "Hill", "--config", "herd.toml"];
        let output = command.current_dir(dir.path()).args(arguments).output().unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let changes = said.split("SETTING").nth(1).unwrap_or_default();
        let row = changes.lines().find(|row| row.starts_with(&format!("{} ", knob.name)));
        let settings = settings_of(&herd_toml(&[(knob, &value)])).unwrap();
        let shown = knob.show(&settings).unwrap();
        // The files that TLS on the web port rests on are read first: `tests/tls.rs` has some.
        let is_shown = knob.name == "tls.web" || row.is_some_and(|row| row.contains(&shown));
        assert!(is_shown, "{} = {value}:\n{said}", knob.name);

        // Whether strangers may come is asked before there is a configuration.
        if ["open", "operators_open", "web_open", "places.source"].contains(&knob.name) {
            continue;
        }
        let (before, with_it) = if knob.section() == "tls" {
            (with_tls(key, None), with_tls(key, Some((knob, &value))))
        } else {
            let with_it = herd_toml(&[&needed[..], &[overpass, (knob, &value)]].concat());
            (usual.clone(), config_of(&with_it).fingerprint())
        };
        assert_ne!(with_it, before, "{} is forgotten", knob.name);
    }
}

/// Of a server whose clients may come by TLS: without that, nothing is done with these knobs.
fn with_tls(key: (&Knob, &str), value: Option<(&Knob, &str)>) -> String {
    let named = [key, (knob("tls.cert"), "\"cert.pem\""), (knob("tls.key"), "\"key.pem\"")];
    let is_other = |(knob, _): &(&Knob, &str)| value.is_none_or(|(it, _)| it.name != knob.name);
    let values = named.into_iter().filter(is_other).chain(value);
    let server = format!("{SERVER}tls_clients = \"127.0.0.1:34050\"\n");
    let text = herd_toml(&values.collect::<Vec<_>>()).replace(SERVER, &server);
    config_of(&text).fingerprint()
}

/// Method: its field is read somewhere behind the configuration.
#[test]
fn no_knob_is_only_configured() {
    let mut code = String::new();
    let mut folders = vec!["src/herd".into(), "src/core".into()];
    while let Some(folder) = folders.pop() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join::<PathBuf>(folder);
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.ends_with("config") && !path.ends_with("flags") {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                code += &fs::read_to_string(path).unwrap();
            }
        }
    }
    let reads = |field: &str| {
        let field = format!(".{field}");
        let is_end = |rest: &str| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        code.match_indices(&field).any(|(at, _)| is_end(&code[at + field.len()..]))
    };
    assert!(!reads("no_such_field"));
    for knob in knobs() {
        // Keys become what they hold already in the configuration, and whether strangers may come
        // to a port that speaks HTTP is asked there.
        let read_before = ["key_file", "operators_open", "web_open"];
        let login = ["user", "password_file", "nkey_file"];
        if !read_before.iter().chain(&login).any(|key| *key == knob.key()) {
            assert!(reads(knob.key()), "nothing reads {}", knob.name);
        }
    }
}

/// Goal: what the page for operators says of limits is about limits that there are.
#[test]
fn the_page_for_operators_names_knobs() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/herd/PRODUCTION.md");
    let page = fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once("\n## Limits\n").unwrap();
    let (section, _) = section.split_once("\n## ").unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    let cells = rows.filter_map(|row| row.split('|').nth(1));
    let keys: Vec<_> = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert!(keys.len() > 10);
    for key in keys {
        knob(&format!("limits.{key}"));
    }
}
