//! Flags over environment over file over defaults, and one server's view of what comes out.
//!
//! Precedence is a function that a test can call without a command line: the command line fills
//! [`HerdSelector`] and [`Overrides`] with what its flags and variables say, and gets a [`Config`].

use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

use super::herd::{Herd, Link, Member, OtherPort, parse_name};
use super::share::share;
use super::{
    Address, Config, ConfigError, Door, HerdSelector, LinkKind, Places, PlacesSource, PlainShape,
    Secret, Settings, TlsClients, TlsDoor, access,
};

/// What flags and environment say about one server and herd.toml cannot.
#[derive(Clone, Debug, Default)]
pub struct Overrides {
    /// The key of the places, which comes from the environment only. It beats a key file.
    pub places_key: Option<Secret>,
    pub trace: Option<PathBuf>,
    /// Bare AT lines are believed even without a plain neighbour.
    pub plain: bool,
    pub plain_peers: Vec<PlainPeer>,
    /// Where clients connect by TLS.
    pub tls_clients: Option<TlsClients>,
    /// Where phones and browsers report and ask.
    pub web: Option<Door>,
    /// Where operators ask by HTTP.
    pub operators: Option<Door>,
    pub mqtt: Option<Door>,
}

/// A course server among the neighbours; behind the first comma is the shape of its lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PlainPeer {
    /// `NAME`: a course server runs in the place of this member of the herd.
    Member(String, Option<PlainShape>),
    /// `NAME=HOST:PORT`: a course server outside the herd, or elsewhere, becomes our neighbour.
    At(String, Address, Option<PlainShape>),
}

impl FromStr for PlainPeer {
    type Err = String;

    fn from_str(text: &str) -> Result<PlainPeer, String> {
        let (text, shape) = match text.split_once(',') {
            Some((text, shape)) => (text, Some(shape.parse()?)),
            None => (text, None),
        };
        Ok(match text.split_once('=') {
            None => PlainPeer::Member(parse_name(text)?, shape),
            Some((name, address)) => PlainPeer::At(parse_name(name)?, address.parse()?, shape),
        })
    }
}

/// The configuration of the server `name`, which is a member of `herd` as [`HerdSelector::herd`]
/// gave it, with its settings.
///
/// # Errors
/// A listening host that cannot be resolved or where strangers could forge, a course server
/// outside loopback, an unfit key file or URL.
pub fn configure(
    name: &str,
    mut herd: Herd,
    settings: Settings,
    selector: &HerdSelector,
    overrides: Overrides,
) -> Result<Config, ConfigError> {
    for peer in &overrides.plain_peers {
        join_plain(&mut herd, name, peer)?;
    }
    let (client_address, peer_address) = listening(&herd, name, selector.bind.as_deref())?;
    let door = |port, over| other_address(&herd, name, (port, over), &settings, selector);
    let web = door(OtherPort::Web, overrides.web.as_ref())?;
    let operators = door(OtherPort::Operators, overrides.operators.as_ref())?;
    let mqtt = door(OtherPort::Mqtt, overrides.mqtt.as_ref())?.map(|(_, address)| address);
    let http_hosts = hosts(&herd, name, [web.as_ref(), operators.as_ref()]);
    let [web, operators] = [web, operators].map(|door| door.map(|(_, address)| address));
    let tls = TlsDoor::of(&herd, name, &settings, selector, overrides.tls_clients)?;
    let tls_address = tls.as_ref().and_then(|door| door.address);
    let keys = settings.herd_keys()?;
    let peers = settings.engine.peers(&herd, name, !keys.is_empty(), selector.config.is_some())?;
    let accept_plain = overrides.plain || peers.iter().any(|peer| peer.kind == LinkKind::Plain);
    let is_reached = |address: &SocketAddr| !address.ip().to_canonical().is_loopback();
    let mut doors = [client_address].into_iter().chain(tls_address);
    if accept_plain && let Some(address) = doors.find(is_reached) {
        return Err(ConfigError::new(format!(
            "{name} would believe plain AT lines from anybody who reaches {address}: \
             plain links need loopback, so bind 127.0.0.1 or leave them out"
        )));
    }
    for address in [client_address, peer_address].into_iter().chain(tls_address) {
        guard(&herd, !keys.is_empty(), name, address)?;
    }
    let places = share(places(settings.places, selector, overrides.places_key)?, &herd, name)?;
    let config = Config {
        access: access::of(settings.access.as_deref(), &keys, &herd.id)?,
        on_engine: settings.engine.on_engine(&herd, name, [web, mqtt])?,
        engine: settings.engine,
        herd: herd.id,
        name: name.to_owned(),
        client_address,
        peer_address,
        tls,
        tls_peers: settings.tls.peers.checked(!keys.is_empty())?,
        web,
        operators,
        mqtt,
        http_hosts,
        proxy_from: settings.proxy_from,
        peers,
        keys,
        servers: herd.members.iter().map(|member| member.name.clone()).collect(),
        accept_plain,
        answers: settings.answers,
        places,
        limits: settings.limits,
        log: settings.log,
        journal: settings.journal,
        nearby: settings.nearby,
        trace: overrides.trace,
        run_dir: settings.run_dir,
        run_dir_mode: settings.run_dir_mode,
    };
    config.with_ports_apart()
}

/// Where answers to WHATSAT come from, for all servers of a herd.
///
/// # Errors
/// An unfit key, URL or file.
pub fn places(
    places: Places,
    selector: &HerdSelector,
    key: Option<Secret>,
) -> Result<Places, ConfigError> {
    // A file that would not be read is a mistake, not a wish.
    let names_file = selector.gives("places.file") && !selector.gives("places.source");
    if names_file && places.source != PlacesSource::File {
        return Err(ConfigError::new(format!(
            "--places-file (HERD_PLACES_FILE) names a file, but the places are {}: add --places \
             file (HERD_PLACES=file)",
            places.source.name()
        )));
    }
    // A source that is not told it does not need it to be right.
    let key = key.filter(|_| places.source.is_paid()).map(|key| {
        let no_word = "HERD_PLACES_KEY does not hold one word of ASCII: put the key alone in it";
        Secret::parse(key.reveal()).ok_or_else(|| ConfigError::new(no_word))
    });
    places.complete(key.transpose()?)
}

/// Refuses an address that strangers reach, unless peers have keys or the operator accepts that.
///
/// # Errors
/// A message with the reason and the two ways out.
pub fn guard(
    herd: &Herd,
    has_keys: bool,
    name: &str,
    address: SocketAddr,
) -> Result<(), ConfigError> {
    if has_keys || herd.open || address.ip().to_canonical().is_loopback() {
        return Ok(());
    }
    Err(ConfigError::new(format!(
        "{name} would listen on {address}, where anybody could forge reports, because its herd \
         has no key: make one with `herd keygen` and name it with --key-file (`key_file` in \
         herd.toml), or accept forgeries with `open = true` in herd.toml"
    )))
}

fn join_plain(herd: &mut Herd, name: &str, peer: &PlainPeer) -> Result<(), ConfigError> {
    let (other, address, shape) = match peer {
        PlainPeer::Member(other, shape) => (other, None, shape),
        PlainPeer::At(other, address, shape) => (other, Some(address), shape),
    };
    if other == name {
        let message = format!("{name} cannot be its own plain peer: name another server");
        return Err(ConfigError::new(message));
    }
    let position = herd.members.iter().position(|member| member.name == *other);
    let known = position.map(|position| herd.members.remove(position));
    let usual = known.as_ref().map(|member| member.shape.clone());
    let shape = shape.clone().or(usual).unwrap_or_default();
    let clients = match (address, known) {
        (Some(address), _) => address.clone(),
        (None, Some(member)) => member.clients,
        (None, None) => {
            return Err(ConfigError::new(format!(
                "there is no server {other} in this herd ({}): \
                 say where it is with --plain-peer {other}=HOST:PORT",
                herd.names()
            )));
        }
    };
    if !clients.is_loopback() {
        return Err(ConfigError::new(format!(
            "plain peer {other} must be on loopback, not on {clients}: \
             anybody can forge plain AT lines"
        )));
    }
    if let Some(Member { name: taken, .. }) = herd.taken_by(&clients) {
        return Err(ConfigError::new(format!(
            "plain peer {other} cannot be on {clients}, which belongs to {taken}"
        )));
    }
    let its = Member::of_course(other.clone(), clients, shape);
    herd.members.push(its);
    if address.is_some() && !herd.are_linked(name, other) {
        herd.links.push(Link { dials: name.to_owned(), accepts: other.clone() });
    }
    Ok(())
}

/// Where `name` listens for clients and for peers.
fn listening(
    herd: &Herd,
    name: &str,
    bind: Option<&str>,
) -> Result<(SocketAddr, SocketAddr), ConfigError> {
    let Some(Member { clients, peers: Some(peers), .. }) = herd.member(name) else {
        return Err(ConfigError::new(format!(
            "{name} is a course server (plain = true), which is started by its own means: \
             start another server of the herd"
        )));
    };
    let bound = |address: &Address| {
        let host = bind.unwrap_or(&address.host).to_owned();
        resolve(name, &Address { host, port: address.port })
    };
    Ok((bound(clients)?, bound(peers)?))
}

pub(super) fn resolve(name: &str, address: &Address) -> Result<SocketAddr, ConfigError> {
    address.resolve().map_err(|error| {
        ConfigError::new(format!(
            "{name} cannot listen on {address}, which names no address of this machine ({error}): \
             correct it, or name one with --bind ADDR"
        ))
        .caused_by(error)
    })
}

/// Where `name` has this port, if it does, as it is written and as it is.
fn other_address(
    herd: &Herd,
    name: &str,
    (port, door): (OtherPort, Option<&Door>),
    settings: &Settings,
    selector: &HerdSelector,
) -> Result<Option<(Address, SocketAddr)>, ConfigError> {
    let Some(member) = herd.member(name) else { return Ok(None) };
    // On another loopback address, a server is with its other doors.
    let bind =
        selector.bind.clone().filter(|host| Address { host: host.clone(), port: 1 }.is_loopback());
    let host = bind.unwrap_or_else(|| member.clients.host.clone());
    let clients = Address { host, port: member.clients.port };
    let door = door.unwrap_or(member.door(port));
    let Some(written) = door.address(port, &clients).map_err(ConfigError::new)? else {
        return Ok(None);
    };
    let address = resolve(name, &written)?;
    let guarded = (settings.is_guarded(), "report and see clients", "web_open");
    let operators = (settings.operators_open, "see who is connected", "operators_open");
    let ((is_open, who, switch), what) = match port {
        OtherPort::Web => (guarded, "serve phones and browsers"),
        OtherPort::Mqtt => (guarded, "speak MQTT"),
        OtherPort::Operators => (operators, "answer operators"),
    };
    if !is_open && !address.ip().to_canonical().is_loopback() {
        return Err(ConfigError::new(format!(
            "{name} would {what} on {address}, where anybody could {who}: write `{switch} = \
             true` in herd.toml if a firewall keeps strangers away, or a loopback address, or off"
        )));
    }
    Ok(Some((written, address)))
}

/// By which names this machine may be called by HTTP.
fn hosts(herd: &Herd, name: &str, doors: [Option<&(Address, SocketAddr)>; 2]) -> Vec<String> {
    let Some(member) = herd.member(name) else { return Vec::new() };
    let addresses = member.peers.iter().chain([&member.clients]);
    let doors = doors.into_iter().flatten().map(|(written, _)| written);
    let mut hosts = Vec::from_iter(addresses.chain(doors).map(|address| address.host.clone()));
    hosts.sort();
    hosts.dedup();
    hosts
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use log::LevelFilter;

    use super::super::settings::{Given, knobs};
    use super::super::{Initiative, StaleReply, file};
    use super::*;

    const FILE: &str = "herd = \"demo\"\n\
        links = [[\"Hill\", \"Far\"], [\"Old\", \"Hill\"]]\n\
        run_dir = \"/file/run\"\n\
        [[server]]\nname = \"Hill\"\nclients = \"127.0.0.1:1000\"\n\
        [[server]]\nname = \"Far\"\nclients = \"far.example.org:1000\"\n\
        [[server]]\nname = \"Old\"\nclients = \"127.0.0.1:1001\"\nplain = true\n\
        [answers]\nstale_reply = \"stored\"\nclose_after_reply = true\n\
        [log]\ndir = \"/file/log\"\nlevel = \"warn\"\n\
        [places]\nsource = \"google-legacy\"\nurl = \"https://file.example/\"\n\
        deadline = \"1 s\"\n";

    fn from_file(
        text: &str,
        selector: &HerdSelector,
        overrides: Overrides,
    ) -> Result<Config, ConfigError> {
        let mut settings = Settings::default();
        let herd = file::parse(Path::new("herd.toml"), text, &mut settings)?;
        settings.take(&selector.given)?;
        configure("Hill", herd, settings, selector, overrides)
    }

    fn from_preset(selector: &HerdSelector, overrides: Overrides) -> Result<Config, ConfigError> {
        let (herd, settings) = selector.herd(Some("Hill"))?;
        configure("Hill", herd, settings, selector, overrides)
    }

    fn refused(found: Result<Config, ConfigError>, part: &str) {
        let message = found.expect_err(part).to_string();
        assert!(message.contains(part), "{message}\n  lacks {part}");
    }

    fn say(values: &[(&str, &str)]) -> Vec<Given> {
        let given = |(name, value): &(&str, &str)| {
            let knob = knobs().find(|knob| knob.name == *name).unwrap();
            Given { knob, value: value.into() }
        };
        values.iter().map(given).collect()
    }

    fn plain(peers: &[&str]) -> Overrides {
        let plain_peers = peers.iter().map(|text| text.parse().unwrap()).collect();
        Overrides { plain_peers, ..Overrides::default() }
    }

    #[test]
    fn a_name_alone_is_a_complete_configuration() {
        let config = from_preset(&HerdSelector::default(), Overrides::default()).unwrap();
        assert_eq!(config.herd, "2020");
        assert_eq!(config.client_address.to_string(), "127.0.0.1:12000");
        assert_eq!(config.peer_address.to_string(), "127.0.0.1:12100");
        assert_eq!(config.peers.len(), 2);
        assert_eq!(config.limits.core.backoff_max, Duration::from_millis(200));
        assert_eq!(config.places.source, PlacesSource::Embedded);
        assert_eq!((config.log.level, config.accept_plain), (LevelFilter::Debug, false));
        assert_eq!((config.log.dir, config.run_dir), ("log".into(), "run".into()));
    }

    #[test]
    fn the_file_decides_where_no_flag_does() {
        let config = from_file(FILE, &HerdSelector::default(), Overrides::default()).unwrap();
        assert_eq!((config.herd.as_str(), config.name.as_str()), ("demo", "Hill"));
        assert_eq!(
            (config.answers.stale_reply, config.answers.close_after_reply),
            (StaleReply::Stored, true)
        );
        assert_eq!(config.log.dir, PathBuf::from("/file/log"));
        assert_eq!(config.log.level, LevelFilter::Warn);
        assert_eq!(config.run_dir, PathBuf::from("/file/run"));
        assert_eq!(config.places.url.as_deref(), Some("https://file.example/"));
        assert_eq!(config.places.deadline, Duration::from_secs(1));
        assert_eq!(config.limits.core.backoff_max, Duration::from_secs(5));
        let far = &config.peers[0];
        assert_eq!(far.address.to_string(), "far.example.org:1100");
        assert_eq!((far.initiative, far.kind), (Initiative::Ours, LinkKind::Herd));
        let old = &config.peers[1];
        assert_eq!(old.address.to_string(), "127.0.0.1:1001");
        assert_eq!((old.initiative, old.kind), (Initiative::Ours, LinkKind::Plain));
        assert!(config.accept_plain);
    }

    #[test]
    fn flags_and_environment_beat_the_file() {
        let given = say(&[
            ("places.source", "google-legacy"),
            ("places.attribution", "<b>us</b>"),
            ("places.url", "http://127.0.0.1:9/"),
            ("log.dir", "/flag/log"),
            ("log.level", "error"),
            ("run_dir", "/flag/run"),
        ]);
        let bind = Some("127.0.0.7".to_owned());
        let selector = HerdSelector { bind, given, ..HerdSelector::default() };
        let places_key = Some(Secret::new("AIza".to_owned()));
        let overrides = Overrides { places_key, ..Overrides::default() };
        let config = from_file(FILE, &selector, overrides).unwrap();
        assert_eq!(config.client_address.to_string(), "127.0.0.7:1000");
        assert_eq!(config.peer_address.to_string(), "127.0.0.7:1100");
        assert_eq!(config.places.attribution.as_deref(), Some("<b>us</b>"));
        assert_eq!(config.places.url.as_deref(), Some("http://127.0.0.1:9/"));
        assert_eq!(config.places.key.as_ref().map(Secret::reveal), Some("AIza"));
        assert_eq!(config.log.dir, PathBuf::from("/flag/log"));
        assert_eq!(config.log.level, LevelFilter::Error);
        assert_eq!(config.run_dir, PathBuf::from("/flag/run"));
        let given = say(&[("places.source", "embedded")]);
        let selector = HerdSelector { given, ..HerdSelector::default() };
        let config = from_file(FILE, &selector, Overrides::default()).unwrap();
        assert_eq!((config.places.source, config.places.url), (PlacesSource::Embedded, None));
    }

    #[test]
    fn a_preset_moves_as_a_whole() {
        let selector = HerdSelector {
            base_port: Some(20000),
            bind: Some("127.0.0.9".to_owned()),
            preset: Some("2014".to_owned()),
            ..HerdSelector::default()
        };
        let config = from_preset(&selector, Overrides::default()).unwrap();
        assert_eq!(config.client_address.to_string(), "127.0.0.9:20002");
        assert_eq!(config.peers[0].address.to_string(), "127.0.0.9:20103");
        assert_eq!(config.operators.map(|at| at.to_string()).as_deref(), Some("127.0.0.9:20302"));
    }

    #[test]
    fn operators_are_answered_on_loopback_unless_that_is_wished() {
        let at = |text: &str, bind: Option<&str>, door: Option<&str>| {
            let bind = bind.map(str::to_owned);
            let selector = HerdSelector { bind, ..HerdSelector::default() };
            let operators = door.map(|door| door.parse().unwrap());
            let config =
                from_file(text, &selector, Overrides { operators, ..Overrides::default() });
            config.map(|config| config.operators.map(|address| address.to_string()))
        };
        let check = |found: Result<Option<String>, _>, expected: Option<&str>| {
            assert_eq!(found.unwrap().as_deref(), expected);
        };
        check(at(FILE, None, None), Some("127.0.0.1:1300"));
        check(at(FILE, Some("127.0.0.7"), None), Some("127.0.0.7:1300"));
        check(at(FILE, None, Some("off")), None);
        check(at(FILE, None, Some("127.0.0.3:9")), Some("127.0.0.3:9"));
        let open = format!("open = true\n{}", FILE.replace("plain = true", ""));
        check(at(&open, Some("0.0.0.0"), None), Some("127.0.0.1:1300"));
        let wide = at(FILE, None, Some("0.0.0.0:9")).unwrap_err().to_string();
        assert!(wide.contains("0.0.0.0:9") && wide.contains("`operators_open = true`"), "{wide}");
        let open = format!("operators_open = true\n{FILE}");
        check(at(&open, None, Some("0.0.0.0:9")), Some("0.0.0.0:9"));
        let hosts = from_file(FILE, &HerdSelector::default(), Overrides::default()).unwrap();
        assert_eq!(hosts.http_hosts, ["127.0.0.1"]);
    }

    #[test]
    fn strangers_are_kept_out_unless_the_operator_opens() {
        let wide = HerdSelector { bind: Some("0.0.0.0".to_owned()), ..HerdSelector::default() };
        let message = "Hill would listen on 0.0.0.0:12000, where anybody could forge reports";
        refused(from_preset(&wide, Overrides::default()), message);
        let closed = FILE.replace("plain = true", "");
        refused(from_file(&closed, &wide, Overrides::default()), "`open = true` in herd.toml");
        let open = format!("open = true\n{closed}");
        let config = from_file(&open, &wide, Overrides::default()).unwrap();
        assert_eq!(config.peer_address.to_string(), "0.0.0.0:1100");
        // A key file that is only named opens nothing.
        let keyed = HerdSelector { given: say(&[("key_file", "no.key")]), ..wide.clone() };
        refused(from_preset(&keyed, Overrides::default()), "no.key cannot be read");
        // Not even an open herd believes bare AT lines of strangers.
        let open = format!("open = true\n{FILE}");
        refused(from_file(&open, &wide, Overrides::default()), "plain links need loopback");
        let bind = HerdSelector {
            bind: Some("no-such-host.invalid".to_owned()),
            ..HerdSelector::default()
        };
        refused(from_preset(&bind, Overrides::default()), "Hill cannot listen on no-such-host");
    }

    #[test]
    fn a_course_server_takes_a_place_or_gets_a_new_one() {
        let selector = HerdSelector::default();
        let config = from_preset(&selector, plain(&["Jaquez"])).unwrap();
        let seen: Vec<_> = config.peers.iter().map(|p| (p.name.as_str(), p.kind)).collect();
        assert_eq!(seen, [("Jaquez", LinkKind::Plain), ("Smith", LinkKind::Herd)]);
        assert_eq!(config.peers[0].address.to_string(), "127.0.0.1:12001");
        assert!(config.accept_plain);

        assert_eq!(config.peers[0].shape.to_string(), "lf");
        assert_eq!(config.servers.len(), 5);
        let config = from_preset(&selector, plain(&["Mine=localhost:9,crlf,sender"])).unwrap();
        assert_eq!(config.peers[2].address.to_string(), "localhost:9");
        assert_eq!(config.peers[2].kind, LinkKind::Plain);
        assert_eq!(config.peers[2].shape.to_string(), "crlf,sender");
        assert_eq!(config.servers.last().map(String::as_str), Some("Mine"));

        let twisted = HerdSelector { preset: Some("2014".to_owned()), ..HerdSelector::default() };
        for (flag, shape) in [("Meeks", "crlf"), ("Meeks,lf", "lf"), ("Mine=localhost:9", "lf")] {
            let config = from_preset(&twisted, plain(&[flag])).unwrap();
            let plain = config.peers.iter().find(|peer| peer.kind == LinkKind::Plain).unwrap();
            assert_eq!(plain.shape.to_string(), shape, "{flag}");
        }

        // Hill and Singleton are not linked: the graph is kept.
        let config = from_preset(&selector, plain(&["Singleton"])).unwrap();
        assert_eq!((config.peers.len(), config.accept_plain), (2, false));

        refused(from_preset(&selector, plain(&["Hill"])), "cannot be its own plain peer");
        refused(from_preset(&selector, plain(&["Mine"])), "--plain-peer Mine=HOST:PORT");
        refused(from_preset(&selector, plain(&["Mine=10.0.0.1:9"])), "must be on loopback");
        let taken = "cannot be on 127.0.0.1:12100, which belongs to Hill";
        refused(from_preset(&selector, plain(&["Mine=127.0.0.1:12100"])), taken);

        let mut settings = Settings::default();
        let herd = file::parse(Path::new("herd.toml"), FILE, &mut settings).unwrap();
        let old = configure("Old", herd, settings, &selector, Overrides::default());
        refused(old, "Old is a course server");
    }
}
