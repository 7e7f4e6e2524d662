//! herd.toml: from its text to a [`Herd`] and its [`Settings`].
//!
//! Its whole concern is the operator's mistakes: each gets one message with the file and the line.
//! What has no line, such as a port that is taken, is not found here. `herd example-config`
//! explains every key.

mod graph;

use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;
use toml::de::{DeArray, DeString, DeTable, DeValue, Deserializer};

use super::herd::Herd;
use super::knob::{Kind, Knob};
use super::rules::broken_rule;
use super::settings::SECTIONS;
use super::{ConfigError, Settings, url};
use graph::Graph;

/// A herd of a thousand servers needs a tenth of this; a mistyped path must not fill the memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How much of a wrong line a message repeats, in characters.
const LINE_CHARS_SHOWN: usize = 60;

/// Keys that describe the graph and not a setting: the fields of [`Graph`].
const GRAPH: [&str; 3] = ["herd", "links", "server"];

/// Reads a herd.toml. What it sets goes over `settings`.
///
/// # Errors
/// The file cannot be read, or says something wrong: see [`parse`].
pub fn read(path: &Path, settings: &mut Settings) -> Result<Herd, ConfigError> {
    let shown = path.display();
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| {
            ConfigError::new(format!(
                "{shown} cannot be read: {error}; name another with --config (HERD_CONFIG), or \
                 begin one with `herd example-config`"
            ))
            .caused_by(error)
        })?;
    if text.len() as u64 == FILE_BYTES_MAX {
        return Err(ConfigError::new(format!("{shown} is too long to be a herd.toml")));
    }
    parse(path, &text, settings)
}

/// The run directory that a herd.toml names, however wrong the rest of it is: a command that looks
/// for running servers must find them all the same.
pub fn run_dir(path: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(path).ok()?;
    let table: toml::Table = text.parse().ok()?;
    table.get("run_dir")?.as_str().map(PathBuf::from)
}

/// Understands the text of a herd.toml; `path` is only named in messages.
///
/// # Errors
/// One message that begins with `FILE:LINE: `.
pub fn parse(path: &Path, text: &str, settings: &mut Settings) -> Result<Herd, ConfigError> {
    let source = Source { path, text };
    let root = DeTable::parse(text).map_err(|error| source.parser_error(&error))?;
    let span = root.span();
    let (graph, mut others): (DeTable, Vec<_>) = split(root.into_inner());
    // As they stand in the file: the first mistake is the one that is told.
    others.sort_by_key(|(key, _)| key.span().start);
    for (key, value) in &others {
        source.section_or_knob(key, value, settings)?;
    }
    let graph = Graph::deserialize(Deserializer::from(Spanned::new(span, graph)))
        .map_err(|error| source.parser_error(&error))?;
    let mut herd = source.herd(&graph, settings.engine.is_divided())?;
    herd.open = settings.open;
    if let Some(rule) = broken_rule(settings) {
        let limits = others.iter().find(|(key, _)| key.get_ref() == "limits");
        let span = limits.map_or(0..0, |(_, limits)| limits.span());
        return Err(source.error(span, &format!("in [limits], {rule}")));
    }
    Ok(herd)
}

type Entry<'a> = (Spanned<DeString<'a>>, Spanned<DeValue<'a>>);

/// What describes the graph, and all else.
fn split(root: DeTable) -> (DeTable, Vec<Entry>) {
    let mut others = Vec::new();
    let mut graph = DeTable::new();
    for (key, value) in root {
        if GRAPH.contains(&&**key.get_ref()) {
            graph.insert(key, value);
        } else {
            others.push((key, value));
        }
    }
    (graph, others)
}

/// What messages need to say where they are about.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    fn error(&self, span: Range<usize>, message: &str) -> ConfigError {
        let message = message.trim_end().replace('\n', " ");
        ConfigError::new(format!("{}:{}: {message}", self.path.display(), self.line(&span)))
    }

    /// What the parsers say, in the words of those who write files and not programs.
    fn parser_error(&self, error: &toml::de::Error) -> ConfigError {
        let message = error
            .message()
            .replace("field `", "key `")
            .replace("type: map", "type: table")
            .replace("expected a map", "expected a table")
            .replace("expected a sequence", "expected an array, as in [[server]]")
            .replace("expected i64", "expected a whole number")
            .replace("expected a boolean", "expected true or false")
            .replace("expected a string", "expected a text in quotes");
        self.line_error(error.span().unwrap_or_default(), &message).caused_by(error.clone())
    }

    /// A message that repeats the line, unless it names the key already.
    fn line_error(&self, span: Range<usize>, message: &str) -> ConfigError {
        let line = self.text.lines().nth(self.line(&span) - 1).unwrap_or_default().trim();
        if message.contains("key `") || line.is_empty() {
            return self.error(span, message);
        }
        // Somebody may have pasted a key there.
        let shown: String = url::shown(line).chars().take(LINE_CHARS_SHOWN).collect();
        self.error(span, &format!("in `{shown}`: {message}"))
    }

    fn section_or_knob(
        &self,
        key: &Spanned<DeString>,
        value: &Spanned<DeValue>,
        settings: &mut Settings,
    ) -> Result<(), ConfigError> {
        let name = &**key.get_ref();
        let mut named = SECTIONS.iter().filter(|section| !section.name.is_empty());
        let Some(section) = named.find(|section| section.name == name) else {
            return self.knob(key, value, SECTIONS[0].knobs, settings);
        };
        let DeValue::Table(table) = value.get_ref() else {
            let message = format!("expected a section, as in [{}]", section.name);
            return Err(self.line_error(value.span(), &message));
        };
        let mut entries: Vec<_> = table.iter().collect();
        entries.sort_by_key(|(key, _)| key.span().start);
        entries
            .into_iter()
            .try_for_each(|(key, value)| self.knob(key, value, section.knobs, settings))
    }

    fn knob(
        &self,
        key: &Spanned<DeString>,
        value: &Spanned<DeValue>,
        knobs: &'static [Knob],
        settings: &mut Settings,
    ) -> Result<(), ConfigError> {
        let Some(knob) = knobs.iter().find(|knob| knob.key() == &**key.get_ref()) else {
            return Err(self.error(key.span(), &unknown(key.get_ref(), knobs)));
        };
        let set = spelled(value.get_ref(), &knob.kind)
            .and_then(|text| knob.set(settings, OsStr::new(&text)));
        set.map_err(|why| self.line_error(value.span(), &why))
    }
}

/// A value as it would be spelled behind a flag.
///
/// # Errors
/// It is of another type than the knob wants.
fn spelled(value: &DeValue, kind: &Kind) -> Result<String, String> {
    let wanted = match (kind, value) {
        (
            Kind::Count { .. } | Kind::SomeCount { .. } | Kind::OneOf { .. } | Kind::Size { .. },
            DeValue::Integer(digits),
        ) => {
            let number = i128::from_str_radix(digits.as_str(), digits.radix());
            return Ok(number.unwrap_or(i128::MAX).to_string());
        }
        (Kind::Count { .. } | Kind::SomeCount { .. } | Kind::OneOf { .. }, _) => "a whole number",
        (Kind::Switch { .. }, DeValue::Boolean(value)) => return Ok(value.to_string()),
        (Kind::Switch { .. }, _) => "true or false",
        (Kind::Networks { .. }, DeValue::Array(list)) => match strings(list) {
            Some(networks) => return Ok(networks.join(",")),
            None => "a list of texts, as in [\"10.1.2.0/24\"]",
        },
        (Kind::Addresses { .. }, DeValue::Array(list)) => match strings(list) {
            Some(addresses) => return Ok(addresses.join(",")),
            None => "a list of texts, as in [\"127.0.0.1:4222\"]",
        },
        (Kind::Addresses { .. }, _) => "a list, as in [\"127.0.0.1:4222\"]",
        (Kind::Networks { .. }, _) => "a list, as in [\"10.1.2.0/24\"]",
        (_, DeValue::String(text)) => return Ok(text.to_string()),
        (Kind::Size { .. }, _) => "a size, as in 8192 or \"8 KiB\"",
        (Kind::Time { .. } | Kind::TimeOrZero { .. } | Kind::TimeOrOff { .. }, _) => {
            "a duration in quotes, as in \"30 s\""
        }
        _ => "a text in quotes",
    };
    Err(format!("expected {wanted}, not a value of type {}", value.type_str()))
}

/// What a list holds, if that are texts, none of which would become two.
fn strings(list: &DeArray) -> Option<Vec<String>> {
    let text = |value: &Spanned<DeValue>| match value.get_ref() {
        DeValue::String(text) if !text.contains(',') && !text.is_empty() => Some(text.to_string()),
        _ => None,
    };
    list.iter().map(text).collect()
}

/// A message with all that could have been meant.
fn unknown(key: &str, knobs: &[Knob]) -> String {
    let mut keys: Vec<_> = knobs.iter().map(|knob| format!("`{}`", knob.key())).collect();
    if knobs.iter().all(|knob| knob.section().is_empty()) {
        let sections = SECTIONS.iter().map(|section| section.name).filter(|name| !name.is_empty());
        keys.extend(GRAPH.into_iter().chain(sections).map(|name| format!("`{name}`")));
    }
    format!("unknown key `{}`, expected one of {}", key.escape_debug(), keys.join(", "))
}

#[cfg(test)]
mod tests {
    use super::super::example::example;
    use super::super::settings::knobs;
    use super::super::{Door, Initiative, LinkKind};
    use super::*;

    const HILL: &str =
        "herd = \"demo\"\n[[server]]\nname = \"Hill\"\nclients = \"127.0.0.1:1000\"\n";

    fn parse_text(text: &str) -> Result<(Herd, Settings), ConfigError> {
        let mut settings = Settings::default();
        let herd = parse(Path::new("herd.toml"), text, &mut settings)?;
        Ok((herd, settings))
    }

    fn check(text: &str, expected: &str) {
        let message = parse_text(text).expect_err(text).to_string();
        assert!(message.starts_with(expected), "{text}\ngives {message}\n  not {expected}");
        assert!(!message.contains('\n'), "{message}");
    }

    /// Two servers, then `more`, under `first` lines of the file.
    fn check_pair(first: &str, more: &str, expected: &str) {
        let text = format!(
            "{first}\nherd = \"demo\"\n\
             [[server]]\nname = \"Hill\"\nclients = \"127.0.0.1:1000\"\n\
             [[server]]\nname = \"Jaquez\"\nclients = \"127.0.0.1:1001\"\n{more}"
        );
        check(&text, expected);
    }

    #[test]
    fn the_example_is_a_herd_with_the_default_settings() {
        let (herd, settings) = parse_text(&example()).unwrap();
        assert_eq!(herd.names(), "Hill, Dale, Smith, Old");
        let kinds: Vec<_> = herd.neighbours("Smith").into_iter().map(|p| p.kind).collect();
        assert_eq!(kinds, [LinkKind::Herd, LinkKind::Plain]);
        let of_hill = herd.neighbours("Hill");
        assert!(of_hill.iter().all(|peer| peer.initiative == Initiative::Ours));

        // The comments promise that the values shown are the defaults.
        let (_, defaults) = parse_text(HILL).unwrap();
        assert_eq!(format!("{settings:?}"), format!("{defaults:?}"));
        assert_eq!(format!("{settings:?}"), format!("{:?}", Settings::default()));
    }

    #[test]
    fn the_example_leaves_no_key_out() {
        // What is commented out must parse too, else the example lies about it.
        let text: String = example()
            .lines()
            .map(|line| match line.strip_prefix('#') {
                Some(key) if key.starts_with(|c: char| c.is_ascii_lowercase()) => key,
                _ => line,
            })
            .flat_map(|line| [line, "\n"])
            .collect();
        let (_, settings) = parse_text(&text).unwrap();
        assert_eq!(settings.limits.connections_max, Some(10000));
        assert_eq!(settings.key_file, Some(PathBuf::from("herd.key")));
        assert_eq!(settings.places.key_file, Some(PathBuf::from("places.key")));
        for knob in knobs() {
            assert!(knob.show(&settings).is_some(), "{} is missing from the example", knob.name);
        }
    }

    #[test]
    fn syntax_and_unknown_keys_have_their_line() {
        check("herd = \"demo\"\nlinks = [\n", "herd.toml:");
        check("herd = \n", "herd.toml:1: ");
        check("herd = \"demo\"\n\ncolour = 1\n", "herd.toml:3: unknown key `colour`, expected ");
        check(&format!("{HILL}port = 1\n"), "herd.toml:5: unknown key `port`, expected ");
        check(&format!("{HILL}[limits]\nidel = 1\n"), "herd.toml:6: unknown key `idel`");
        check(&format!("{HILL}[answers]\nstale_reply = \"x\"\n"), "herd.toml:6: ");
        check(&format!("{HILL}[places]\nsource = \"bing\"\n"), "herd.toml:6: ");
        check(
            &format!("{HILL}[log]\nlevel = \"loud\"\n"),
            "herd.toml:6: in `level = \"loud\"`: `loud` is no log level",
        );
        let single = "herd = \"a\"\n[server]\n";
        check(single, "herd.toml:2: in `[server]`: invalid type: table, expected an array, as in");
        let key = "AIzaSyA-0123456789_abcdefghijklmnopqrst";
        let pasted = format!("{HILL}[places]\nurl = https://a.example/json?key={key}\n");
        check(&pasted, "herd.toml:6: in `url = https://a.example/json?…`: ");
        check(&format!("{HILL}[places]\nkey = {key}\n"), "herd.toml:6: in `key = …`: ");
        check("open = true\n", "herd.toml:1: missing key `herd`");
        check("herd = \"demo\"\n[[server]]\nname = \"A\"\n", "herd.toml:2: missing key `clients`");
        check("\nherd = \"demo\"\n", "herd.toml:2: this herd has no servers");
        check("herd = \"a b\"\n", "herd.toml:1: `a b` is no name");
    }

    #[test]
    fn links_name_two_different_servers_once() {
        let links = |pairs: &str| format!("links = [\n{pairs}]");
        let none = "herd.toml:2: there is no server `Jakez` to link: this herd has Hill, Jaquez";
        check_pair(&links("[\"Hill\", \"Jakez\"]"), "", none);
        let itself = "herd.toml:2: Hill is linked with itself";
        check_pair(&links("[\"Hill\", \"Hill\"]"), "", itself);
        let twice = "herd.toml:3: Jaquez and Hill are linked on line 2 already";
        check_pair(&links("[\"Hill\", \"Jaquez\"],\n[\"Jaquez\", \"Hill\"]"), "", twice);
        let three =
            "herd.toml:2: in `[\"Hill\"]]`: invalid length 1, expected an array of length 2";
        check_pair(&links("[\"Hill\"]"), "", three);
    }

    #[test]
    fn servers_and_addresses_are_had_once() {
        let server = |lines: &str| format!("[[server]]\n{lines}\n");
        let twice = "herd.toml:10: Hill is on line 4 already";
        check_pair("", &server("name = \"Hill\"\nclients = \"127.0.0.1:9\""), twice);
        let taken = "herd.toml:11: 127.0.0.1:1001 belongs to Jaquez already";
        check_pair("", &server("name = \"A\"\nclients = \"127.0.0.1:1001\""), taken);
        let alias = "herd.toml:11: localhost:1001 belongs to Jaquez already";
        check_pair("", &server("name = \"A\"\nclients = \"localhost:1001\""), alias);
        let of_peers = "herd.toml:11: 127.0.0.1:1100 belongs to Hill already";
        check_pair("", &server("name = \"A\"\nclients = \"127.0.0.1:1100\""), of_peers);
        let by_default = "herd.toml:11: 127.0.0.1:1000 belongs to Hill already";
        check_pair("", &server("name = \"A\"\nclients = \"127.0.0.1:900\""), by_default);
        let both = "name = \"A\"\nclients = \"127.0.0.1:9\"\npeers = \"127.0.0.1:9\"";
        check_pair("", &server(both), "herd.toml:11: A cannot serve clients and peers on the same");
        let high = server("name = \"A\"\nclients = \"127.0.0.1:65500\"");
        check_pair("", &high, "herd.toml:11: client port + 100 is no port");
        let bad = server("name = \"A\"\nclients = \"127.0.0.1\"");
        check_pair(
            "",
            &bad,
            "herd.toml:11: in `clients = \"127.0.0.1\"`: `127.0.0.1` is no address: ",
        );
        let operators = |clients: &str, operators: &str| {
            server(&format!("name = \"A\"\nclients = {clients:?}\noperators = {operators:?}"))
        };
        let taken = "herd.toml:12: 127.0.0.1:1300, for operators, belongs to Hill already";
        check_pair("", &operators("127.0.0.1:9", "127.0.0.1:1300"), taken);
        let of_clients = "herd.toml:12: 127.0.0.1:1001, for operators, belongs to Jaquez";
        check_pair("", &operators("127.0.0.1:9", "127.0.0.1:1001"), of_clients);
        let elsewhere = operators("far.example.org:9", "127.0.0.1:1300");
        assert!(parse_text(&format!("{HILL}{elsewhere}")).is_ok(), "each machine has a loopback");
        check_pair("", &operators("127.0.0.1:9", "on"), "herd.toml:12: in `operators = \"on\"`: ");
        let high = server("name = \"A\"\nclients = \"127.0.0.1:65300\"");
        check_pair("", &high, "herd.toml:11: client port + 300 is no port");
        let every = server("name = \"A\"\nclients = \"0.0.0.0:9\"");
        check_pair("", &every, "herd.toml:11: nobody can dial 0.0.0.0:9");
    }

    #[test]
    fn ports_beside_may_be_off() {
        check(&format!("{HILL}mqtt = \"on\"\n"), "herd.toml:5: in `mqtt = \"on\"`: ");
        let twice = "web = \"127.0.0.1:9\"\nmqtt = \"127.0.0.1:9\"\n";
        check(&format!("{HILL}{twice}"), "herd.toml:6: 127.0.0.1:9, for MQTT, belongs to Hill");
        assert!(parse_text(&format!("{HILL}web = \"off\"\nmqtt = \"off\"\n")).is_ok());
        check(
            &format!("{HILL}peers = \"off\"\n"),
            "herd.toml:5: in `peers = \"off\"`: `off` is no",
        );
    }

    #[test]
    fn where_clients_are_divided_usual_ports_are_off() {
        let divided = "[engine]\nparts = 32\n";
        let (herd, _) = parse_text(&format!("{HILL}holds = false\n{divided}")).unwrap();
        let hill = &herd.members[0];
        assert_eq!((hill.holds, &hill.web, &hill.mqtt), (false, &Door::Off, &Door::Off));
        assert_eq!(hill.operators, Door::Usual);
        let (herd, _) = parse_text(&format!("{HILL}web = \"127.0.0.1:9\"\n{divided}")).unwrap();
        assert_ne!(herd.members[0].web, Door::Off, "who has written it is to be told");
        check(&format!("{HILL}plain = true\nholds = true\n"), "herd.toml:6: Hill is plain and so");
    }

    #[test]
    fn course_servers_stay_on_loopback_and_between_ours() {
        let plain = "plain = true\n";
        let far = format!("[[server]]\nname = \"A\"\nclients = \"10.0.0.1:9\"\n{plain}");
        check_pair("", &far, "herd.toml:11: A is plain and so must be on loopback");
        let peers = format!("{HILL}peers = \"127.0.0.1:9\"\n{plain}");
        check(&peers, "herd.toml:5: Hill is plain and so has no port for peers");
        let operators = format!("{HILL}operators = \"off\"\n{plain}");
        check(&operators, "herd.toml:5: Hill is plain and so has no port for operators");
        check(&format!("{HILL}shape = \"crlf\"\n"), "herd.toml:5: Hill is not plain and so");
        let shape = format!("{HILL}{plain}shape = \"cr\"\n");
        check(&shape, "herd.toml:6: in `shape = \"cr\"`: `cr` is no shape of AT lines: write lf");
        let text = format!(
            "links = [[\"Hill\", \"A\"]]\n{HILL}{plain}\
             [[server]]\nname = \"A\"\nclients = \"127.0.0.1:9\"\n{plain}"
        );
        check(&text, "herd.toml:1: Hill and A are both plain");
    }

    #[test]
    fn limits_are_above_zero_and_related() {
        let limits = |line: &str| format!("{HILL}[limits]\n{line}\n");
        check(&limits("idle = \"0 s\""), "herd.toml:6: in `idle = \"0 s\"`: `0 s` is no duration");
        check(&limits("drain = 5"), "herd.toml:6: in `drain = 5`: expected a duration in quotes, ");
        check(&limits("waits_max = 0"), "herd.toml:6: in `waits_max = 0`: 0 is not between 1 and ");
        check(&limits("waits_max = -1"), "herd.toml:6: in `waits_max = -1`: -1 is not between");
        check(&limits("ping_after = \"31 s\""), "herd.toml:5: in [limits], silence_max must be");
        check(&limits("compare_every = 0"), "herd.toml:6: in `compare_every = 0`: expected a ");
        check(&limits("expire_after = \"90 s\""), "herd.toml:5: in [limits], expire_after must be");
        let places = |line: &str, part: &str| {
            let message = format!("herd.toml:6: in `{line}`: {part}");
            check(&format!("{HILL}[places]\n{line}\n"), &message);
        };
        places("workers = 0", "0 is not between 1 and 64");
        places("workers = 1000000000", "1000000000 is not between 1 and 64");
        places("queue_max = 100001", "100001 is not between 1 and 100,000");
        places("kept_max = 0", "0 is not between 1 and 100,000");
        places("questions_per_second = -1", "-1 is not between 1 and 1,000,000");
        places("questions_at_once = 1000001", "1000001 is not between 1 and 1,000,000");
        places("calls_per_day = 0", "0 is not between 1 and");
        places("deadline = \"2 d\"", "`2 d` is no duration");
    }
}
