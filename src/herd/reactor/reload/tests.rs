//! What a reload brings about, key by key: a server that was reloaded is compared with one that was
//! started with the same file.

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use log::LevelFilter;

use super::*;
use crate::config::knob::{Effect, Kind, Knob};
use crate::config::layers::{Overrides, configure};
use crate::config::settings::{SECTIONS, knobs};
use crate::config::units::{parse_duration, parse_size, show_duration};
use crate::config::{HerdKey, HerdSelector, Settings, file};
use crate::logging::{self, LogSettings};
use crate::reactor::passed::Passed;
use crate::reactor::tests::House;
use crate::reactor::tests::house;
use crate::tls::tests::make_files;

const HERD: &str = "herd = \"demo\"\n";
const SERVERS: &str = "[[server]]\nname = \"Hill\"\nclients = \"127.0.0.1:1000\"\n\
    tls_clients = \"127.0.0.1:1050\"\nweb = \"off\"\n\
    [[server]]\nname = \"Bona\"\nclients = \"127.0.0.1:1001\"\n\
    [[server]]\nname = \"Clark\"\nclients = \"127.0.0.1:1002\"\n";

/// A herd.toml that a test changes, and a server that reads it again.
struct Reloaded {
    house: House,
    text: Arc<Mutex<String>>,
}

/// What Hill makes of a herd.toml. Its own addresses are not those that stand there.
fn parse(text: &str, own: [SocketAddr; 4]) -> Result<Parsed, ConfigError> {
    let mut settings = Settings::default();
    let herd = file::parse(Path::new("herd.toml"), text, &mut settings)?;
    let selector = HerdSelector::default();
    let mut config = configure("Hill", herd, settings.clone(), &selector, Overrides::default())?;
    let [clients, peers, operators, tls] = own;
    (config.client_address, config.peer_address) = (clients, peers);
    (config.operators, config.mqtt) = (Some(operators), None);
    config.tls.iter_mut().for_each(|door| door.address = Some(tls));
    Ok(Parsed { config, settings })
}

impl Reloaded {
    fn start(text: &str, log: &LogHandle) -> Reloaded {
        let dir = tempfile::tempdir().unwrap();
        let free = |_| TcpListener::bind("127.0.0.1:0").unwrap();
        for _ in 0..100 {
            let own = [0; 4].map(free).map(|listener| listener.local_addr().unwrap());
            let first = parse(text, own).unwrap();
            let mut log = log.clone();
            log.prepare(first.config.log.level).unwrap();
            log.set_level(first.config.log.level);
            let started = Reactor::start(
                first.config.clone(),
                dir.path().join("sock"),
                log,
                Passed::default(),
                |_| {},
            );
            let mut reactor = match started {
                Ok(reactor) => reactor,
                Err(StartError::Taken { .. }) => continue,
                Err(error) => panic!("{error}"),
            };
            let text = Arc::new(Mutex::new(text.to_owned()));
            let file = Arc::clone(&text);
            let read = Arc::new(move || parse(&file.lock().unwrap(), own));
            reactor.when_reloading(Rereading { first, read, begins: || {}, is_over: || {} });
            let [clients, peers, ..] = own;
            return Reloaded { house: house(reactor, [clients, peers], dir), text };
        }
        panic!("no port is free")
    }

    /// Reads this text, and says what has come of it.
    fn reload(&mut self, text: &str) -> Result<String, String> {
        *self.text.lock().unwrap() = text.to_owned();
        self.house.reactor.begin_reload(None);
        self.house.turn_until(|reactor| !reactor.reload.as_ref().unwrap().is_under_way);
        self.house.reactor.reload.as_ref().unwrap().done.clone()
    }

    /// All that a server runs with, from wherever it has gone.
    fn in_force(&self) -> String {
        let reactor = &self.house.reactor;
        let (config, core) = (&reactor.config, reactor.server.settings());
        let settings = &reactor.reload.as_ref().unwrap().running.settings;
        let Settings { key_file, access, open, operators_open, web_open, .. } = settings;
        let own = (key_file, access, open, operators_open, web_open, &config.proxy_from);
        let ours = (&config.answers, &config.places, &config.limits, &config.log);
        let tls = config.tls.as_ref().map(|door| (&door.files, door.handshake));
        let tls = (tls, config.tls_peers, reactor.wrapping.peers.is_some());
        let theirs = (&core.limits, &core.plain_names, core.answer_timeout, core.strangers_max);
        let answers = (core.stale_reply_stored, core.close_after_reply);
        let keys = config.keys.iter().map(HerdKey::reveal);
        let keys = (Vec::from_iter(keys), reactor.server.greets_with(&core_keys(config)));
        let parts = (reactor.newcomers.limits(), reactor.shares, reactor.log.level());
        let journal = (&config.journal, &config.run_dir, config.run_dir_mode, &config.servers);
        // What moves away is held for others.
        let held = reactor.server.engine().map(|engine| engine.parts - engine.parts_moving);
        let whole = (own, ours, tls, theirs, answers, keys, parts, journal, held);
        format!("{whole:?}")
    }
}

fn core_keys(config: &Config) -> Vec<[u8; 32]> {
    config.keys.iter().map(HerdKey::reveal).collect()
}

fn key_file(dir: &Path, name: &str, keys: &[u8]) -> PathBuf {
    let path = dir.join(name);
    let keys = Vec::from_iter(keys.iter().map(|&key| HerdKey::new([key; 32])));
    fs::write(&path, HerdKey::print_all(&keys)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    path
}

/// A herd.toml that says this of knobs.
fn herd_toml(values: &[(&Knob, String)]) -> String {
    let mut text = HERD.to_owned();
    for section in &SECTIONS {
        if !section.name.is_empty() {
            text += &format!("[{}]\n", section.name);
        }
        for (knob, value) in values.iter().filter(|(knob, _)| knob.section() == section.name) {
            text += &format!("{} = {}\n", knob.key(), knob.in_file(value));
        }
        if section.name.is_empty() {
            text += SERVERS;
        }
    }
    text
}

/// It leaves no files.
const SILENT: &str = "[log]\nlevel = \"off\"\n[journal]\nkeep = \"off\"\n";

/// A log that nothing is written to.
fn silent(dir: &Path) -> LogHandle {
    let log = LogSettings {
        dir,
        server: "Hill",
        level: LevelFilter::Off,
        is_json: false,
        mode: 0o640,
        size_max: u64::MAX,
    };
    logging::start(&log).unwrap()
}

/// A value that is not the default and breaks no rule.
fn another(knob: &Knob, dir: &Path) -> String {
    let longer = || parse_duration(knob.default, Duration::MAX).unwrap() + Duration::from_millis(1);
    match &knob.kind {
        // There are no more servers than the default.
        Kind::Count { .. } if knob.name == "engine.copies" => "2".to_owned(),
        Kind::Count { range, .. } => {
            let usual: usize = knob.default.parse().unwrap();
            (if usual < *range.end() { usual + 1 } else { usual - 1 }).to_string()
        }
        Kind::OneOf { values, .. } => values[values.len() - 1].to_string(),
        Kind::Size { .. } => (parse_size(knob.default).unwrap() + 1).to_string(),
        Kind::TimeOrOff { .. } if knob.default == "off" => "2 d".to_owned(),
        Kind::Time { .. } | Kind::TimeOrOff { .. } => show_duration(longer()),
        Kind::TimeOrZero { .. } => "1 s".to_owned(),
        Kind::Switch { .. } => (knob.default != "true").to_string(),
        Kind::SomePath { .. } if knob.name == "key_file" => {
            key_file(dir, "other.key", &[5, 7]).display().to_string()
        }
        Kind::SomePath { .. } if knob.name == "access" => {
            let path = dir.join("access.toml");
            fs::write(&path, "").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            path.display().to_string()
        }
        Kind::SomePath { .. } if knob.name == "places.ca_file" => {
            let path = dir.join("ca.pem");
            let text = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
            fs::write(&path, text).unwrap();
            path.display().to_string()
        }
        Kind::SomePath { .. } if knob.section() == "tls" => {
            let (of, to) = match knob.key() {
                "key" => ("key.pem", "other-key.pem"),
                _ => ("cert.pem", "other-cert.pem"),
            };
            fs::copy(dir.join(of), dir.join(to)).unwrap();
            dir.join(to).display().to_string()
        }
        Kind::Path { .. } | Kind::SomePath { .. } => "elsewhere".to_owned(),
        Kind::SomeUrl { .. } => "http://127.0.0.1:9/other".to_owned(),
        Kind::SomeText { .. } => knob.example.to_owned(),
        Kind::SomeCount { .. } => "9".to_owned(),
        Kind::Networks { .. } => "10.1.2.0/24,::1".to_owned(),
        Kind::Addresses { .. } => "127.0.0.1:4223,[::1]:4224".to_owned(),
        Kind::Word { .. } => match knob.name {
            "places.source" => "google-legacy",
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
    }
}

/// Goal: of each key it is true what is declared of its effect, and a server that was reloaded
/// differs in nothing from one that was started with the same file, but in what wants a restart.
#[test]
fn every_key_takes_effect_as_is_declared() {
    let dir = tempfile::tempdir().unwrap();
    let log = silent(dir.path());
    let named = |name: &str| knobs().find(|knob| knob.name == name).unwrap();
    let key = key_file(dir.path(), "herd.key", &[7]).display().to_string();
    let tls = make_files(dir.path(), 4000);
    let usual = [
        (named("key_file"), key),
        (named("log.level"), "off".to_owned()),
        (named("journal.keep"), "off".to_owned()),
        (named("tls.cert"), tls.cert.display().to_string()),
        (named("tls.key"), tls.key.display().to_string()),
        (named("places.source"), "overpass".to_owned()),
        (named("places.url"), "http://127.0.0.1:9/".to_owned()),
    ];
    for knob in knobs() {
        let mut base = usual.to_vec();
        if ["engine.parts", "engine.copies"].contains(&knob.name) {
            base.push((named("engine.urls"), "127.0.0.1:9".to_owned()));
        }
        if knob.name == "engine.copies" {
            base.push((named("engine.parts"), "32".to_owned()));
        }
        let mut values = base.clone();
        values.retain(|(other, _)| other.name != knob.name);
        values.push((knob, another(knob, dir.path())));
        let (old, new) = (herd_toml(&base), herd_toml(&values));
        let mut server = Reloaded::start(&old, &log);
        let before = server.in_force();
        assert_eq!(server.reload(&old).as_deref(), Ok("nothing has changed"), "{}", knob.name);
        assert_eq!(server.in_force(), before);
        let said = server.reload(&new).unwrap_or_else(|why| panic!("{}: {why}", knob.name));
        let after = server.in_force();
        let expected = match knob.effect {
            Effect::Live => format!("in force: {}", knob.name),
            Effect::NewConnections => format!("in force for new connections: {}", knob.name),
            Effect::Restart => format!("for a restart: {}", knob.name),
        };
        assert!(said.starts_with(&expected), "{said}\n  not {expected}");
        assert!(!said.contains("places") || knob.section() == "places", "{said}");
        let pending = server.house.reactor.pending_restart();
        if knob.effect == Effect::Restart {
            assert_eq!((after, pending), (before, vec![knob.name]));
            server.reload(&old).unwrap();
            assert!(server.house.reactor.pending_restart().is_empty(), "{}", knob.name);
            continue;
        }
        assert!(pending.is_empty(), "{}", knob.name);
        assert_ne!(after, before, "{} is forgotten", knob.name);
        let has_new_pool = server.house.reactor.places.pool() != Some(0);
        assert_eq!(has_new_pool, knob.section() == "places", "{}", knob.name);
        drop(server);
        assert_eq!(after, Reloaded::start(&new, &log).in_force(), "{}", knob.name);
    }
}

/// Goal: where clients are divided, a reload changes who holds what, but not into how many parts.
#[test]
fn parts_move_by_a_reload() {
    let dir = tempfile::tempdir().unwrap();
    let log = silent(dir.path());
    let divided = |more: &str, copies: usize| {
        let engine = format!("[engine]\nurls = [\"127.0.0.1:9\"]\nparts = 32\ncopies = {copies}\n");
        format!("{HERD}{SERVERS}{more}{engine}{SILENT}")
            .replace("tls_clients = \"127.0.0.1:1050\"\n", "")
    };
    let old = divided("", 2);
    let mut server = Reloaded::start(&old, &log);
    let held = |server: &Reloaded| {
        let engine = server.house.reactor.server.engine().unwrap();
        (engine.parts - engine.parts_moving, engine.parts_moving)
    };
    let before = held(&server);
    assert_eq!(before.1, 0);
    let another = "[[server]]\nname = \"Dora\"\nclients = \"127.0.0.1:1003\"\n";
    for (more, copies, changed) in [
        ("holds = false\n", 2, "holds"),
        (another, 2, "servers"),
        ("", 1, "engine.copies"),
        ("holds = false\n", 1, "engine.copies"),
    ] {
        let new = divided(more, copies);
        assert_eq!(server.reload(&new).unwrap(), format!("in force: {changed}"));
        assert!(server.house.reactor.pending_restart().is_empty());
        assert_ne!(held(&server).0, before.0, "{changed}");
        let again = Reloaded::start(&new, &log);
        assert_eq!(server.in_force(), again.in_force(), "{changed}");
        server.reload(&old).unwrap();
        assert_eq!(held(&server).0, before.0, "{changed}");
    }
    let finer = old.replace("parts = 32", "parts = 1024").replace("copies = 2", "copies = 1");
    let said = server.reload(&finer).unwrap();
    assert_eq!(said, "for a restart: engine.parts, engine.copies");
    assert_eq!(held(&server).0, before.0);
    server.reload(&old).unwrap();
    assert!(server.house.reactor.pending_restart().is_empty());
    let refused = server.reload(&old.replace("web = \"off\"", "web = \"127.0.0.1:1200\""));
    assert!(refused.is_err_and(|why| why.contains("because [engine] has `parts`")));

    // What an engine that comes will carry waits for a restart with it.
    let engine = old.find("[engine]").unwrap();
    let without = old[..engine].to_owned() + SILENT;
    let mut server = Reloaded::start(&without, &log);
    server.reload(&old).unwrap();
    assert!(server.house.reactor.pending_restart().contains(&"engine.urls"));
    assert!(server.house.reactor.config.on_engine.parts.is_whole());
}

/// Goal: who is in which region is the same as long as a server runs, and each reload says what
/// waits.
#[test]
fn regions_wait_for_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let log = silent(dir.path());
    let with = |regions: [&str; 3]| {
        let mut servers = SERVERS.replace("tls_clients = \"127.0.0.1:1050\"\n", "");
        for (name, region) in ["Hill", "Bona", "Clark"].iter().zip(regions) {
            let line = format!("name = \"{name}\"\n");
            servers = servers.replace(&line, &format!("{line}region = \"{region}\"\n"));
        }
        format!("{HERD}{servers}[engine]\nurls = [\"127.0.0.1:9\"]\n{SILENT}")
    };
    let old = with(["eu", "eu", "us"]);
    let mut server = Reloaded::start(&old, &log);
    let regions = server.house.reactor.config.on_engine.regions.clone();
    assert_eq!((regions.servers.len(), regions.others.len()), (2, 1));
    let another = old.clone() + "[[server]]\nname = \"Dora\"\nclients = \"127.0.0.1:1003\"\n";
    assert!(server.reload(&another).is_err_and(|why| why.contains("give it its `region`")));
    let another = another + "region = \"eu\"\n";
    for (new, waits) in [(with(["eu", "us", "us"]), "region"), (another, "servers")] {
        assert_eq!(server.reload(&new).unwrap(), format!("for a restart: {waits}"));
        assert_eq!(server.house.reactor.config.on_engine.regions, regions, "{waits}");
        server.reload(&old).unwrap();
        assert!(server.house.reactor.pending_restart().is_empty());
    }
}
