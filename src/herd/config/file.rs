//! herd.toml: from its text to a [`Herd`] and its [`Settings`].
//!
//! Apart from the types it fills because its whole concern is the operator's mistakes: each gets
//! one sentence with the file and the line. What has no line, such as a port that is taken, is not
//! found here. `herd.toml` beside this file explains every key.

use std::fs;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Spanned;

use super::herd::{Herd, Link, Member, PEER_PORT_OFFSET, parse_name};
use super::settings::{Answers, LogSettings, PlacesSettings, RUN_DIR_MODE, mode};
use super::{Address, ConfigError, Limits, PlainShape, Settings, url};

/// A herd of a thousand servers needs a tenth of this; a mistyped path must not fill the memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// How much of a wrong line a sentence repeats, in characters.
const LINE_CHARS_SHOWN: usize = 60;

/// Reads a herd.toml.
///
/// # Errors
/// The file cannot be read, or says something wrong: see [`parse`].
pub fn read(path: &Path) -> Result<(Herd, Settings), ConfigError> {
    let shown = path.display();
    let mut text = String::new();
    fs::File::open(path)
        .and_then(|file| file.take(FILE_BYTES_MAX).read_to_string(&mut text))
        .map_err(|error| {
            ConfigError::new(format!(
                "{shown} cannot be read: {error}; name another with --config (HERD_CONFIG), or \
                 begin one with `herd example-config`"
            ))
        })?;
    if text.len() as u64 == FILE_BYTES_MAX {
        return Err(ConfigError::new(format!("{shown} is too long to be a herd.toml")));
    }
    parse(path, &text)
}

/// The run directory that a herd.toml names, however wrong the rest of it is: who looks for servers
/// that run must find them all the same.
pub fn run_dir(path: &Path) -> Option<PathBuf> {
    let text = fs::read_to_string(path).ok()?;
    let table: toml::Table = text.parse().ok()?;
    table.get("run_dir")?.as_str().map(PathBuf::from)
}

/// Understands the text of a herd.toml; `path` is only named in sentences.
///
/// # Errors
/// One sentence that begins with `FILE:LINE: `.
pub fn parse(path: &Path, text: &str) -> Result<(Herd, Settings), ConfigError> {
    let source = Source { path, text };
    let tables: File = toml::from_str(text)
        .map_err(|error| source.parser_error(error.span().unwrap_or_default(), error.message()))?;
    let herd = source.herd(&tables)?;
    let limits = match tables.limits {
        Some(limits) => source.limits(limits)?,
        None => Limits::DEFAULT,
    };
    let settings = Settings {
        key_file: tables.key_file,
        answers: tables.answers,
        places: tables.places,
        limits,
        log: tables.log,
        run_dir: tables.run_dir,
        run_dir_mode: tables.run_dir_mode,
    };
    Ok((herd, settings))
}

/// The file as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    herd: Spanned<String>,
    #[serde(default)]
    links: Vec<Spanned<[String; 2]>>,
    #[serde(default)]
    open: bool,
    key_file: Option<PathBuf>,
    run_dir: Option<PathBuf>,
    #[serde(default = "run_dir_mode", deserialize_with = "mode")]
    run_dir_mode: u32,
    #[serde(default)]
    server: Vec<ServerTable>,
    #[serde(default)]
    answers: Answers,
    #[serde(default)]
    places: PlacesSettings,
    #[serde(default)]
    log: LogSettings,
    limits: Option<Spanned<Limits>>,
}

fn run_dir_mode() -> u32 {
    RUN_DIR_MODE
}

/// One `[[server]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ServerTable {
    name: Spanned<String>,
    clients: Spanned<Address>,
    peers: Option<Spanned<Address>>,
    #[serde(default)]
    plain: bool,
    shape: Option<Spanned<PlainShape>>,
}

/// What sentences need to say where they are about.
struct Source<'a> {
    path: &'a Path,
    text: &'a str,
}

impl Source<'_> {
    fn line(&self, span: &Range<usize>) -> usize {
        let before = self.text.as_bytes().iter().take(span.start);
        1 + before.filter(|byte| **byte == b'\n').count()
    }

    fn error(&self, span: Range<usize>, sentence: &str) -> ConfigError {
        let sentence = sentence.trim_end().replace('\n', " ");
        ConfigError::new(format!("{}:{}: {sentence}", self.path.display(), self.line(&span)))
    }

    /// What the parsers say, in the words of those who write files and not programs.
    fn parser_error(&self, span: Range<usize>, message: &str) -> ConfigError {
        let message = message
            .replace("field `", "key `")
            .replace("type: map", "type: table")
            .replace("expected a map", "expected a table")
            .replace("expected a sequence", "expected an array, as in [[server]]")
            .replace("expected i64", "expected a whole number")
            .replace("expected a boolean", "expected true or false")
            .replace("expected a string", "expected a text in quotes");
        let line = self.text.lines().nth(self.line(&span) - 1).unwrap_or_default().trim();
        // A key that is unknown or missing is named already.
        if message.contains("key `") || line.is_empty() {
            return self.error(span, &message);
        }
        // Somebody may have pasted a key there.
        let shown: String = url::shown(line).chars().take(LINE_CHARS_SHOWN).collect();
        self.error(span, &format!("in `{shown}`: {message}"))
    }

    fn name(&self, text: &Spanned<String>) -> Result<String, ConfigError> {
        parse_name(text.get_ref()).map_err(|sentence| self.error(text.span(), &sentence))
    }

    fn herd(&self, tables: &File) -> Result<Herd, ConfigError> {
        let id = self.name(&tables.herd)?;
        let mut herd = Herd { id, members: Vec::new(), links: Vec::new(), open: tables.open };
        if tables.server.is_empty() {
            let sentence = "this herd has no servers: add a [[server]] with `name` and `clients`";
            return Err(self.error(tables.herd.span(), sentence));
        }
        for (position, table) in tables.server.iter().enumerate() {
            let member = self.member(&herd, table, &tables.server[..position])?;
            herd.members.push(member);
        }
        for (position, pair) in tables.links.iter().enumerate() {
            let link = self.link(&herd, pair, &tables.links[..position])?;
            herd.links.push(link);
        }
        Ok(herd)
    }

    fn member(
        &self,
        herd: &Herd,
        table: &ServerTable,
        earlier: &[ServerTable],
    ) -> Result<Member, ConfigError> {
        let name = self.name(&table.name)?;
        if let Some(first) = earlier.iter().find(|first| *first.name.get_ref() == name) {
            let line = self.line(&first.name.span());
            let sentence = format!("{name} is on line {line} already: a server has one [[server]]");
            return Err(self.error(table.name.span(), &sentence));
        }
        let clients = self.address(herd, &table.clients)?;
        if table.plain {
            return self.course_server(name, clients, table);
        }
        if let Some(shape) = &table.shape {
            let sentence = format!("{name} is not plain and so its lines have no `shape`");
            return Err(self.error(shape.span(), &sentence));
        }
        let peers = match &table.peers {
            Some(peers) => self.address(herd, peers)?,
            None => {
                let port = clients.port.checked_add(PEER_PORT_OFFSET).ok_or_else(|| {
                    let sentence = "client port + 100 is no port: give this server its `peers`";
                    self.error(table.clients.span(), sentence)
                })?;
                let peers = Address { host: clients.host.clone(), port };
                self.address(herd, &Spanned::new(table.clients.span(), peers))?
            }
        };
        if peers.same_as(&clients) {
            let sentence = format!("{name} cannot serve clients and peers on the same {peers}");
            return Err(self.error(table.clients.span(), &sentence));
        }
        Ok(Member { name, clients, peers: Some(peers), shape: PlainShape::default() })
    }

    fn course_server(
        &self,
        name: String,
        clients: Address,
        table: &ServerTable,
    ) -> Result<Member, ConfigError> {
        if let Some(peers) = &table.peers {
            let sentence = format!("{name} is plain and so has no port for peers: remove `peers`");
            return Err(self.error(peers.span(), &sentence));
        }
        if !clients.is_loopback() {
            let sentence = format!(
                "{name} is plain and so must be on loopback, not on {clients}: \
                 anybody can forge plain AT lines"
            );
            return Err(self.error(table.clients.span(), &sentence));
        }
        let shape = table.shape.as_ref().map(|shape| shape.get_ref().clone()).unwrap_or_default();
        Ok(Member { name, clients, peers: None, shape })
    }

    /// An address that can be dialled and that nobody else has.
    fn address(&self, herd: &Herd, address: &Spanned<Address>) -> Result<Address, ConfigError> {
        let found = address.get_ref();
        if found.ip().is_some_and(|ip| ip.is_unspecified()) {
            let sentence = format!(
                "nobody can dial {found}: write the address that others dial, and listen on all \
                 of this machine's with `herd serve --bind {}`",
                found.host
            );
            return Err(self.error(address.span(), &sentence));
        }
        if let Some(other) = herd.taken_by(found) {
            let other = &other.name;
            let sentence = format!(
                "{found} belongs to {other} already (a server has a port for clients and one for \
                 peers, by default 100 above it)"
            );
            return Err(self.error(address.span(), &sentence));
        }
        Ok(found.clone())
    }

    fn link(
        &self,
        herd: &Herd,
        pair: &Spanned<[String; 2]>,
        earlier: &[Spanned<[String; 2]>],
    ) -> Result<Link, ConfigError> {
        let fail = |sentence: &str| Err(self.error(pair.span(), sentence));
        let [dials, accepts] = pair.get_ref();
        for end in [dials, accepts] {
            if herd.member(end).is_none() {
                return fail(&format!(
                    "there is no server `{}` to link: this herd has {}",
                    end.escape_debug(),
                    herd.names()
                ));
            }
        }
        if dials == accepts {
            return fail(&format!("{dials} is linked with itself: name two servers"));
        }
        if herd.are_linked(dials, accepts) {
            let same = |other: &&Spanned<[String; 2]>| {
                let [one, two] = other.get_ref();
                (one == dials && two == accepts) || (one == accepts && two == dials)
            };
            let line = earlier.iter().find(same).map_or(0, |first| self.line(&first.span()));
            return fail(&format!("{dials} and {accepts} are linked on line {line} already"));
        }
        if [dials, accepts].iter().all(|end| herd.member(end).is_some_and(|m| m.peers.is_none())) {
            return fail(&format!(
                "{dials} and {accepts} are both plain: herd could not join them"
            ));
        }
        Ok(Link { dials: dials.clone(), accepts: accepts.clone() })
    }

    fn limits(&self, limits: Spanned<Limits>) -> Result<Limits, ConfigError> {
        match limits.get_ref().broken_rule() {
            Some(rule) => Err(self.error(limits.span(), &format!("in [limits], {rule}"))),
            None => Ok(limits.into_inner()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{EXAMPLE, Initiative, LinkKind};
    use super::*;

    const HILL: &str =
        "herd = \"demo\"\n[[server]]\nname = \"Hill\"\nclients = \"127.0.0.1:1000\"\n";

    fn parse_text(text: &str) -> Result<(Herd, Settings), ConfigError> {
        parse(Path::new("herd.toml"), text)
    }

    fn check(text: &str, expected: &str) {
        let sentence = parse_text(text).expect_err(text).to_string();
        assert!(sentence.starts_with(expected), "{text}\ngives {sentence}\n  not {expected}");
        assert!(!sentence.contains('\n'), "{sentence}");
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
        let (herd, settings) = parse_text(EXAMPLE).unwrap();
        assert_eq!(herd.names(), "Hill, Jaquez, Smith, Old");
        let kinds: Vec<_> = herd.neighbours("Smith").into_iter().map(|p| p.kind).collect();
        assert_eq!(kinds, [LinkKind::Herd, LinkKind::Plain]);
        let of_hill = herd.neighbours("Hill");
        assert!(of_hill.iter().all(|peer| peer.initiative == Initiative::Ours));

        // The comments promise that the values shown are the defaults.
        let (_, defaults) = parse_text(HILL).unwrap();
        assert_eq!(format!("{settings:?}"), format!("{defaults:?}"));
        assert_eq!(settings.limits, Limits::DEFAULT);
    }

    #[test]
    fn the_example_leaves_no_key_out() {
        // What is commented out must parse too, else the example lies about it.
        let text: String = EXAMPLE
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
        let shown = format!("{settings:?}");
        assert!(!shown.contains("None"), "a key is missing from the example: {shown}");
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
        let every = server("name = \"A\"\nclients = \"0.0.0.0:9\"");
        check_pair("", &every, "herd.toml:11: nobody can dial 0.0.0.0:9");
    }

    #[test]
    fn course_servers_stay_on_loopback_and_between_ours() {
        let plain = "plain = true\n";
        let far = format!("[[server]]\nname = \"A\"\nclients = \"10.0.0.1:9\"\n{plain}");
        check_pair("", &far, "herd.toml:11: A is plain and so must be on loopback");
        let peers = format!("{HILL}peers = \"127.0.0.1:9\"\n{plain}");
        check(&peers, "herd.toml:5: Hill is plain and so has no port for peers");
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
        check(&limits("drain = 5"), "herd.toml:6: in `drain = 5`: invalid type: integer `5`, ");
        check(&limits("waits_max = 0"), "herd.toml:6: in `waits_max = 0`: 0 is not between 1 and ");
        check(&limits("waits_max = -1"), "herd.toml:6: in `waits_max = -1`: -1 is not between");
        check(&limits("ping_after = \"31 s\""), "herd.toml:5: in [limits], silence_max must be");
        check(&limits("compare_every = 0"), "herd.toml:6: in `compare_every = 0`: invalid type: ");
        check(&limits("expire_after = \"90 s\""), "herd.toml:5: in [limits], expire_after must be");
        let places = |line: &str, part: &str| {
            let sentence = format!("herd.toml:6: in `{line}`: {part}");
            check(&format!("{HILL}[places]\n{line}\n"), &sentence);
        };
        places("workers = 0", "0 is not between 1 and 64");
        places("workers = 1000000000", "1000000000 is not between 1 and 64");
        places("queue_max = 100001", "100001 is not between 1 and 100000");
        places("kept_max = 0", "0 is not between 1 and 100000");
        places("questions_per_second = -1", "-1 is not between 1 and 1000000");
        places("questions_at_once = 1000001", "1000001 is not between 1 and 1000000");
        places("calls_per_day = 0", "0 is not between 1 and");
        places("deadline = \"2 d\"", "`2 d` is no duration");
    }
}
