//! Shows configurations to people: `check-config` and `presets`.
//!
//! `herd::config` only says whether one is right. Nothing here shows a key.

use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use herd::config::HerdSelector;
use herd::config::herd::Member;
use herd::config::layers::guard;
use herd::config::log_settings::{LogFormat, show_level};
use herd::config::outgoing;
use herd::config::settings::{knobs, show_keep};
use herd::config::units::show_duration;
use herd::config::url::shown;
use herd::config::{
    Address, Config, ConfigError, Herd, HerdKey, Initiative, Limits, LinkKind, PlacesSource,
    Settings, StaleReply, TlsDoor, WebTls,
};

use super::here::is_here;
use super::table::write_table;

/// How long the files of `herd print` let a server stop (`TimeoutStopSec=`,
/// `terminationGracePeriodSeconds`), and what is to be spared of that.
const STOP_MAX: Duration = Duration::from_secs(60);
const STOP_SPARE: Duration = Duration::from_secs(5);

/// The herd that is meant, checked as far as that is possible without asking DNS or reading keys.
///
/// # Errors
/// Mistakes in the file or the flags, parts that nobody would hold, or a member that strangers
/// would reach.
pub fn checked_herd(
    selector: &HerdSelector,
    name: Option<&str>,
) -> Result<(Herd, Settings), ConfigError> {
    let (herd, settings) = selector.herd(name)?;
    settings.engine.suits_all(&herd)?;
    let has_keys = settings.key_file.is_some();
    for member in &herd.members {
        let Some(peers) = &member.peers else { continue };
        for address in [&member.clients, peers] {
            let host = selector.bind.as_ref().unwrap_or(&address.host).clone();
            let listens = Address { host, port: address.port };
            if let Some(ip) = listens.ip() {
                guard(&herd, has_keys, &member.name, SocketAddr::new(ip, listens.port))?;
            }
        }
    }
    Ok((herd, settings))
}

/// Servers, addresses, and which peer dials which; whether by one key, by two or by name alone.
///
/// # Errors
/// What `out` says.
pub fn write_herd(out: &mut impl Write, herd: &Herd, keys: &[HerdKey]) -> io::Result<()> {
    let servers = count(herd.members.len(), "server");
    writeln!(out, "herd {}: {servers}, {}", herd.id, count(herd.links.len(), "link"))?;
    match keys.len() {
        0 if herd.open => {
            writeln!(out, "open: any program that reaches a port can forge reports")?;
        }
        0 => writeln!(out, "peers are not authenticated: servers listen on loopback only")?,
        keys => writeln!(out, "peers are authenticated, with {}", count(keys, "key"))?,
    }
    writeln!(out)?;
    let header = ["SERVER", "CLIENTS", "PEERS", "DIALS", "IS DIALLED BY"].map(str::to_owned);
    let rows = herd.members.iter().map(|member| member_row(herd, member));
    write_table(out, &[vec![header], rows.collect()].concat())
}

/// The servers that `herd serve` can start on this machine, one a line: those that are not course
/// servers and whose address is here.
///
/// # Errors
/// What `out` says.
pub fn write_names(out: &mut impl Write, herd: &Herd) -> io::Result<()> {
    let ours = herd.members.iter().filter(|member| member.peers.is_some());
    let ours = ours.filter(|member| is_here(&member.clients));
    ours.map(|member| &member.name).try_for_each(|name| writeln!(out, "{name}"))
}

/// Says so if a server may take longer to stop than what has started it waits.
///
/// # Errors
/// What `out` says.
pub fn write_warning(out: &mut impl Write, limits: &Limits) -> io::Result<()> {
    let needed = limits.stop_max() + STOP_SPARE;
    if needed <= STOP_MAX {
        return Ok(());
    }
    let (needed, most) = (show_duration(needed), show_duration(STOP_MAX));
    writeln!(
        out,
        "\nlame_duck_grace, lame_duck and drain need {needed} with 5 s to spare, and what `herd \
         print` prints kills a server after {most}: raise TimeoutStopSec= in the unit and \
         terminationGracePeriodSeconds in the manifests, or shorten them"
    )
}

/// What one server would run with, after a blank line. `settings` are those of its herd.
///
/// # Errors
/// What `out` says.
pub fn write_config(out: &mut impl Write, config: &Config, settings: &Settings) -> io::Result<()> {
    let neighbours = |wanted: fn(&herd::config::Peer) -> bool| {
        let peers = config.peers.iter().filter(|peer| wanted(peer));
        listed(peers.map(|peer| match peer.kind {
            LinkKind::Herd => format!("{} ({})", peer.name, peer.address),
            LinkKind::Engine => peer.name.clone(),
            LinkKind::Plain => format!("{} ({}, {})", peer.name, peer.address, peer.shape),
        }))
    };
    let level = show_level(config.log.level);
    let format = if config.log.format == LogFormat::Json { ", json" } else { "" };
    let journal = config.journal.keep.map_or("no journal".to_owned(), |_| {
        format!("{}, in {}", show_keep(config.journal.keep), config.journal.dir.display())
    });
    let stale = match config.answers.stale_reply {
        StaleReply::Own => "their own line back, stamped",
        StaleReply::Stored => "the stored line",
    };
    let limits = &config.limits;
    let stop_times = [limits.lame_duck_grace, limits.lame_duck, limits.drain].map(show_duration);
    let show = |door: Option<SocketAddr>| door.map_or("off".to_owned(), |at| at.to_string());
    let [web, operators, mqtt] = [config.web, config.operators, config.mqtt].map(show);
    let by_tls = |how: &str, door: &TlsDoor| {
        let has_ca = door.files.client_ca.is_some();
        let readers = if has_ca { ", with certificates of their own" } else { "" };
        format!("{how}, shown {}{readers}", door.files.cert.display())
    };
    let (off, door) = (|| "off".to_owned(), config.tls.as_ref());
    let tls = door.and_then(|door| Some(by_tls(&door.address?.to_string(), door)));
    let tls = tls.unwrap_or_else(off);
    let web_tls = door.filter(|door| door.web != WebTls::Off);
    let web_tls = web_tls.map_or_else(off, |door| by_tls(door.web.name(), door));
    writeln!(out, "\nserver {}", config.name)?;
    let rows = [
        ["clients", &config.client_address.to_string()],
        ["clients by TLS", &tls],
        ["peers", &config.peer_address.to_string()],
        ["links by TLS", config.tls_peers.name()],
        ["web", &web],
        ["web by TLS", &web_tls],
        ["proxies in front", &config.proxy_from.to_string()],
        ["operators", &operators],
        ["mqtt", &mqtt],
        ["dials", &neighbours(|p| (p.kind, p.initiative) == (LinkKind::Herd, Initiative::Ours))],
        ["is dialled by", &neighbours(|p| p.initiative == Initiative::Theirs)],
        ["plain links", &neighbours(|p| p.kind == LinkKind::Plain)],
        ["engine", &neighbours(|p| p.kind == LinkKind::Engine)],
        ["holds", &show_parts(config)],
        ["believes AT from clients", if config.accept_plain { "yes" } else { "no" }],
        ["older IAMATs get", stale],
        ["closes after an answer", if config.answers.close_after_reply { "yes" } else { "no" }],
        ["places", &show_places(config)],
        ["origin of places", config.places.attribution.as_deref().unwrap_or("as the source says")],
        ["waits for a line's end", &format!("{:?}", config.limits.timeouts.partial_line)],
        ["looks before it sleeps", &format!("{} µs", config.limits.spin_us)],
        ["grace, lame duck, drain", &stop_times.join(", ")],
        ["log", &format!("{}, {level}{format}", config.log.dir.display())],
        ["journal", &journal],
        ["trace", &config.trace.as_ref().map_or("none".into(), |path| path.display().to_string())],
        ["run directory", &config.run_dir.display().to_string()],
    ];
    writeln!(out)?;
    write_table(out, &rows.map(|row| row.map(str::to_owned)))?;
    write_changes(out, settings)?;
    let ports = [config.client_address.port(), config.peer_address.port()];
    match outgoing::range().and_then(|range| outgoing::warning(&ports, &range)) {
        Some(warning) => writeln!(out, "\n{warning}"),
        None => Ok(()),
    }
}

/// Which clients it knows.
fn show_parts(config: &Config) -> String {
    let (engine, held) = (&config.engine, config.on_engine.parts.held_by(config.name.as_bytes()));
    let region = config.on_engine.regions.own.as_ref();
    let region = region.map_or_else(String::new, |region| format!(" of {region}"));
    if !engine.is_divided() {
        return format!("all clients{region}");
    }
    let (held, parts, copies) = (held.len(), engine.parts, count(engine.copies, "server"));
    format!("{held} of {parts} parts{region}, each of which is at {copies}; and its own clients")
}

/// Where places come from, and under which conditions.
fn show_places(config: &Config) -> String {
    let places = &config.places;
    let file = places.file.iter().filter(|_| places.source == PlacesSource::File);
    let file = file.map(|path| format!(" {}", path.display())).collect::<String>();
    let service = match (&places.url, &places.key) {
        (Some(url), Some(_)) => format!(" at {}, with a key", shown(url)),
        (Some(url), None) => format!(" at {}, without a key", shown(url)),
        (None, Some(_)) => ", with a key".to_owned(),
        (None, None) => String::new(),
    };
    let budget = places.calls.calls_per_day.filter(|_| places.source.is_remote());
    let budget = budget.map(|calls| format!(", {} a day", count(calls, "call")));
    format!("{}{file}{service}{}", places.source.name(), budget.unwrap_or_default())
}

/// The knobs that have another value than by default, with both.
fn write_changes(out: &mut impl Write, settings: &Settings) -> io::Result<()> {
    let defaults = Settings::default();
    let mut rows = vec![["SETTING", "VALUE", "DEFAULT"].map(str::to_owned)];
    for knob in knobs() {
        let (value, default) = (knob.show(settings), knob.show(&defaults));
        if value != default {
            let cell = |value: Option<String>| value.unwrap_or_else(|| "none".to_owned());
            rows.push([knob.name.to_owned(), cell(value), cell(default)]);
        }
    }
    if rows.len() == 1 {
        return Ok(());
    }
    writeln!(out)?;
    write_table(out, &rows)
}

fn member_row(herd: &Herd, member: &Member) -> [String; 5] {
    let peers = match &member.peers {
        Some(peers) => peers.to_string(),
        None => "course server".to_owned(),
    };
    let dials = herd.links.iter().filter(|link| link.dials == member.name);
    let accepts = herd.links.iter().filter(|link| link.accepts == member.name);
    [
        member.name.clone(),
        member.clients.to_string(),
        peers,
        listed(dials.map(|link| link.accepts.clone())),
        listed(accepts.map(|link| link.dials.clone())),
    ]
}

pub fn listed(words: impl Iterator<Item = String>) -> String {
    let words: Vec<String> = words.collect();
    if words.is_empty() { "-".to_owned() } else { words.join(" ") }
}

fn count(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}
