//! The engine that carries what servers tell each other, instead of links: the section `[engine]`,
//! and what a herd must be like for it. How it is spoken to is `herd_core::engine`'s affair.

use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::herd::Herd;
use super::key::{KEY_FILE_BYTES_MAX, KeyFile};
use super::knob::{Effect, Flag, Kind, Knob, size, some_path};
use super::regions::Regions;
use super::{Address, ConfigError, Initiative, LinkKind, Peer, PlainShape};
use herd_core::engine::{Login, Nkey};
use herd_core::nats_wire::is_token;
use herd_core::parts::Parts;

/// The longest that is waited for news to find its way, or for an answer.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// The longest that what was lost between regions may be late.
const ROUND_MAX: Duration = Duration::from_secs(24 * 3_600);

/// What the section says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Engine {
    /// Without any, there is no engine.
    pub urls: Addresses,
    /// What all subjects begin with.
    pub subject: String,
    pub user: Option<String>,
    pub password_file: Option<PathBuf>,
    /// It is the user, where there is one.
    pub nkey_file: Option<PathBuf>,
    pub batch_bytes_max: usize,
    /// Bytes that the engine has not read, above which news is said again later.
    pub owed_max: usize,
    pub settle: Duration,
    pub ask_patience: Duration,
    /// Into how many parts clients are divided. 1: every server holds all.
    pub parts: usize,
    /// Servers that hold each part, if there are several.
    pub copies: usize,
    /// How often servers tell other regions anew what their clients have said last.
    pub tell_every: Duration,
}

impl Default for Engine {
    fn default() -> Engine {
        Engine {
            urls: Addresses::default(),
            subject: String::new(),
            user: None,
            password_file: None,
            nkey_file: None,
            batch_bytes_max: 0,
            owed_max: 0,
            settle: Duration::ZERO,
            ask_patience: Duration::ZERO,
            parts: 1,
            copies: 0,
            tell_every: Duration::ZERO,
        }
    }
}

/// A server among those on its engine.
#[derive(Clone, Debug)]
pub struct OnEngine {
    pub login: Login,
    /// The servers around it, and those elsewhere.
    pub regions: Regions,
    /// Which of those around it holds what.
    pub parts: Parts,
}

/// Some addresses, or none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Addresses(pub Vec<Address>);

impl Addresses {
    /// Each of them.
    pub fn spelled(&self) -> Vec<String> {
        self.0.iter().map(Address::to_string).collect()
    }
}

impl FromStr for Addresses {
    type Err = String;

    /// With commas between them; NATS' own `nats://` may stand before each.
    fn from_str(text: &str) -> Result<Addresses, String> {
        if text.is_empty() || text == "none" {
            return Ok(Addresses::default());
        }
        let one = |url: &str| url.strip_prefix("nats://").unwrap_or(url).parse();
        text.split(',').map(one).collect::<Result<_, _>>().map(Addresses)
    }
}

impl fmt::Display for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&if self.0.is_empty() { "none".to_owned() } else { self.spelled().join(",") })
    }
}

impl fmt::Debug for Addresses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Engine {
    /// Whether there is one.
    pub fn is_on(&self) -> bool {
        !self.urls.0.is_empty()
    }

    /// Whether no server holds all clients.
    pub fn is_divided(&self) -> bool {
        self.parts > 1
    }

    /// The peers that a server tells. Where there is an engine, a preset's links give way to it,
    /// and a file must not have any: a herd has links or an engine.
    ///
    /// # Errors
    /// A sentence that says what to change.
    pub fn peers(
        &self,
        herd: &Herd,
        name: &str,
        has_keys: bool,
        is_file: bool,
    ) -> Result<Vec<Peer>, ConfigError> {
        let mut peers = herd.neighbours(name);
        let Some(engine) = self.peer(herd, has_keys)? else { return Ok(peers) };
        let link = peers.iter().find(|peer| peer.kind == LinkKind::Herd);
        if let Some(link) = link.filter(|_| is_file) {
            return Err(ConfigError::new(format!(
                "{name} has a link with {} and an engine: leave out `links` but plain ones, or \
                 `urls` of [engine]",
                link.name
            )));
        }
        peers.retain(|peer| peer.kind == LinkKind::Plain);
        peers.push(engine);
        Ok(peers)
    }

    /// The engine as a peer of this server, if the herd is such that it can be one.
    ///
    /// # Errors
    /// A sentence that says what to change.
    fn peer(&self, herd: &Herd, has_keys: bool) -> Result<Option<Peer>, ConfigError> {
        let Some(first) = self.urls.0.first() else { return Ok(None) };
        let names = herd.members.iter().filter(|it| it.peers.is_some()).map(|it| &it.name);
        if let Some(name) = names.chain([&herd.id]).find(|name| !is_token(name.as_bytes())) {
            return Err(ConfigError::new(format!(
                "`{name}` would be part of a subject of the engine, and so may have only letters, \
                 digits, `-` and `_` of ASCII: choose another name, or leave out [engine]"
            )));
        }
        if let Some(far) = self.urls.0.iter().find(|url| !url.is_loopback()) {
            if !has_keys {
                return Err(ConfigError::new(format!(
                    "anybody on the way to the engine at {far} could forge reports, because this \
                     herd has no key: make one with `herd keygen`, or let servers speak to a leaf \
                     node on their own host"
                )));
            }
            if !herd.open {
                return Err(ConfigError::new(format!(
                    "the engine at {far} would be spoken to without TLS: let servers speak to a \
                     leaf node on their own host, or accept that positions can be read on the way \
                     with `open = true`"
                )));
            }
        }
        Ok(Some(Peer {
            // No server has a name with a slash.
            name: format!("nats://{}", self.urls),
            address: first.clone(),
            initiative: Initiative::Ours,
            kind: LinkKind::Engine,
            shape: PlainShape::default(),
        }))
    }

    /// Who a server is to the engine, and who else is on it: all servers but those that know only
    /// the course's wire. `doors` are this server's for the web and for MQTT.
    ///
    /// # Errors
    /// As `login`, `parts` and `suits_doors`.
    pub fn on_engine(
        &self,
        herd: &Herd,
        name: &str,
        doors: [Option<SocketAddr>; 2],
    ) -> Result<OnEngine, ConfigError> {
        self.suits_doors(name, doors.map(|door| door.is_some()))?;
        let regions = Regions::of(herd, name, self.is_on())?;
        let parts = self.parts(herd, &regions.servers)?;
        Ok(OnEngine { login: self.login()?, regions, parts })
    }

    /// Whether each server of a herd has somebody who holds each part.
    ///
    /// # Errors
    /// As `parts`, and of `Regions::of`.
    pub fn suits_all(&self, herd: &Herd) -> Result<(), ConfigError> {
        for member in herd.members.iter().filter(|member| member.peers.is_some()) {
            let regions = Regions::of(herd, &member.name, self.is_on())?;
            self.parts(herd, &regions.servers)?;
        }
        Ok(())
    }

    /// Which of these servers holds what.
    ///
    /// # Errors
    /// A sentence that says what to change.
    fn parts(&self, herd: &Herd, servers: &[String]) -> Result<Parts, ConfigError> {
        let ours = || herd.members.iter().filter(|member| servers.contains(&member.name));
        if !self.is_divided() {
            return match ours().find(|member| !member.holds) {
                None => Ok(Parts::whole()),
                Some(member) => Err(ConfigError::new(format!(
                    "{} has `holds = false`, but without `parts` in [engine] every server holds \
                     all: leave it out",
                    member.name
                ))),
            };
        }
        if !self.is_on() {
            return Err(ConfigError::new(
                "`parts` of [engine] divides clients among servers that ask each other by an \
                 engine: name its `urls`, or leave out `parts`",
            ));
        }
        let names = ours().filter(|member| member.holds).map(|it| it.name.clone().into_bytes());
        let names = Vec::from_iter(names);
        let (copies, holders) = (self.copies, names.len());
        let parts = Parts::divided(self.parts, copies, &names).filter(|_| copies <= holders);
        parts.ok_or_else(|| {
            ConfigError::new(format!(
                "each part is to have {copies} holders (`copies` of [engine]), but no more than \
                 {holders} servers hold parts: lower it, or let others hold some, too"
            ))
        })
    }

    /// Whether these doors, for the web and for MQTT, are ones that a server may have.
    ///
    /// # Errors
    /// They would show only what this server holds.
    fn suits_doors(&self, name: &str, doors: [bool; 2]) -> Result<(), ConfigError> {
        if !self.is_divided() || doors == [false; 2] {
            return Ok(());
        }
        Err(ConfigError::new(format!(
            "by HTTP and MQTT, {name} would show only those clients that it holds itself, because \
             [engine] has `parts`: leave out its `web` and `mqtt`, which are off then, or `parts`"
        )))
    }

    /// Who a server is to the engine.
    ///
    /// # Errors
    /// A file cannot be read, is open to others, or holds something else.
    fn login(&self) -> Result<Login, ConfigError> {
        if !self.is_on() {
            return Ok(Login::Nobody);
        }
        if let Some(path) = &self.nkey_file {
            let (file, text) = secret(path, "nkey file")?;
            let nkey = Nkey::parse(&text).map_err(|why| file.wrong(&format!("is unfit: {why}")))?;
            return Ok(Login::Nkey(nkey));
        }
        match (&self.user, &self.password_file) {
            (None, None) => Ok(Login::Nobody),
            (Some(user), Some(path)) => {
                let (_, text) = secret(path, "password file")?;
                Ok(Login::User { user: user.clone(), password: text.trim_end().to_owned() })
            }
            _ => Err(ConfigError::new(
                "`user` and `password_file` of [engine] belong together: name both, or nkey_file",
            )),
        }
    }
}

fn secret<'a>(path: &'a Path, what: &'a str) -> Result<(KeyFile<'a>, String), ConfigError> {
    let way_out = "name another in [engine]";
    let file = KeyFile { path, what, way_out, bytes_max: KEY_FILE_BYTES_MAX };
    let text = String::from_utf8(file.read()?).map_err(|_| file.wrong("holds no text"))?;
    Ok((file, text))
}

/// What the section `[engine]` may say.
pub const KNOBS: &[Knob] = &[
    Knob::new("engine.urls", Kind::Addresses { at: |s| &mut s.engine.urls }, "none")
        .example("127.0.0.1:4222")
        .flag(Flag {
            long: "engine",
            variable: "HERD_ENGINE",
            value: "HOST:PORT",
            help: "Node of NATS by which servers tell each other, instead of links; more of them \
                   with commas between",
        })
        .takes_effect(Effect::Restart)
        .means(
            "Nodes of NATS (nats-server 2.9 or later) by which servers tell each other what is \
             news, instead of `links`, which must then be left out; plain links with course \
             servers stay. They are dialled in turn. There is no TLS: name a node on this host \
             (127.0.0.1, ::1), which may be a leaf node of a cluster; another one wants a key and \
             `open = true`.",
        )
        .because("Where one flood is enough, links need no other program."),
    Knob::new(
        "engine.subject",
        Kind::Word {
            set: |s, text| {
                if !is_token(text.as_bytes()) {
                    return Err(format!(
                        "`{text}` is no part of a subject: write letters and digits"
                    ));
                }
                text.clone_into(&mut s.engine.subject);
                Ok(())
            },
            show: |s| s.engine.subject.clone(),
            words: "one word",
        },
        "herd",
    )
    .takes_effect(Effect::Restart)
    .means(
        "What all subjects begin with. The herd's id follows, so that several herds may share an \
         engine; a user needs to publish and hear SUBJECT.HERD.> and nothing else.",
    )
    .because("It says whose subjects these are."),
    Knob::new(
        "engine.user",
        Kind::SomeText { at: |s| &mut s.engine.user, bytes_max: 4096 },
        "none",
    )
    .example("herd")
    .takes_effect(Effect::Restart)
    .means("Who a server is to the engine; wants password_file.")
    .because("An engine on loopback need not ask."),
    some_path("engine.password_file", |s| &mut s.engine.password_file)
        .example("engine.password")
        .takes_effect(Effect::Restart)
        .means("Holds the user's password; kept from others like key_file.")
        .because("An engine on loopback need not ask."),
    some_path("engine.nkey_file", |s| &mut s.engine.nkey_file)
        .example("engine.nk")
        .takes_effect(Effect::Restart)
        .means(
            "Holds the seed of a user's key (SU…), by which the engine knows a server without a \
             password; kept from others like key_file. It goes before user.",
        )
        .because("An engine on loopback need not ask."),
    size("engine.batch_bytes_max", |s| &mut s.engine.batch_bytes_max, "16 KiB")
        .within(1024..=512 * 1024)
        .takes_effect(Effect::Restart)
        .means(
            "What is news in one turn of a server leaves as one batch, or as several that are not \
             longer than this, or than one line.",
        )
        .because("Two hundred reports: more save hardly anything, and others wait behind them."),
    size("engine.owed_max", |s| &mut s.engine.owed_max, "1 MiB")
        .within(64 * 1024..=64 * 1024 * 1024)
        .takes_effect(Effect::Restart)
        .means(
            "Bytes that the engine has not read. Above it, what is news is only marked, in 130 KiB \
             at most, and said when the engine reads again, as it is then: clients never wait for \
             it.",
        )
        .because("A tenth of a second at full speed."),
    Knob::new("engine.settle", Kind::Time { at: |s| &mut s.engine.settle, max: WAIT_MAX }, "2 s")
        .takes_effect(Effect::Restart)
        .means(
            "A server that has come to the engine compares what it holds with another one at \
             once, and again after this.",
        )
        .because("A cluster has told all its nodes by then who wants to hear what."),
    Knob::new(
        "engine.ask_patience",
        Kind::Time { at: |s| &mut s.engine.ask_patience, max: WAIT_MAX },
        "1 s",
    )
    .takes_effect(Effect::Restart)
    .means("How long a server may take to answer, before another one is asked.")
    .because("An answer takes milliseconds."),
    Knob::new(
        "engine.parts",
        Kind::OneOf { at: |s| &mut s.engine.parts, values: &[1, 32, 1024] },
        "1",
    )
    .takes_effect(Effect::Restart)
    .means(
        "Into how many parts clients are divided, each of which some servers hold; 1: every server \
         holds all. What a server's own clients say it keeps as well, and about others it asks \
         who holds them. `web` and `mqtt` are off then, because they would show only what is held \
         here. To change it, stop all servers first.",
    )
    .because("Where all servers can hold all, no WHATSAT has to be asked of another one."),
    Knob::new(
        "engine.copies",
        Kind::Count { at: |s| &mut s.engine.copies, range: 1..=16, of: "servers" },
        "3",
    )
    .means("How many servers hold each part, where clients are divided into parts.")
    .because("Two of them may be gone, and all is still held."),
    Knob::new(
        "engine.tell_every",
        Kind::Time { at: |s| &mut s.engine.tell_every, max: ROUND_MAX },
        "10 min",
    )
    .takes_effect(Effect::Restart)
    .means(
        "Where servers have a `region`, each tells the other regions at once that a client is here \
         now, and in each such time all once more that its own clients have said last. What was \
         lost between two regions is late by as much at most.",
    )
    .because(
        "Of a client that reports every ten seconds, one report in sixty goes to other regions.",
    ),
];

#[cfg(test)]
mod tests {
    use super::super::herd::LOOPBACK;
    use super::super::presets;
    use super::*;

    fn engine(urls: &str) -> Engine {
        Engine { urls: urls.parse().unwrap(), ..Engine::default() }
    }

    fn herd() -> Herd {
        presets::herd(presets::of_year("2023").unwrap(), LOOPBACK, presets::BASE_PORT)
    }

    fn names(herd: &Herd) -> Vec<String> {
        herd.members.iter().map(|member| member.name.clone()).collect()
    }

    #[test]
    fn clients_are_divided_among_those_who_hold() {
        let refused = |engine: &Engine, herd: &Herd, part: &str| {
            let why = engine.parts(herd, &names(herd)).unwrap_err().to_string();
            assert!(why.contains(part) && !why.contains('\n'), "{why}");
        };
        let whole = engine("127.0.0.1:4222");
        assert!(whole.parts(&herd(), &names(&herd())).unwrap().is_whole());
        let with = |parts, copies| Engine { parts, copies, ..whole.clone() };
        let mut some = herd();
        some.members[0].holds = false;
        refused(&whole, &some, "`holds = false`");
        let parts = with(32, 2).parts(&some, &names(&some)).unwrap();
        assert!(parts.held_by(some.members[0].name.as_bytes()).is_empty());
        let share = 32 * 2 / (some.members.len() - 1);
        assert_eq!(parts.held_by(some.members[1].name.as_bytes()).len(), share);
        refused(&with(32, 5), &some, "no more than 4 servers hold parts");
        some.members.iter_mut().for_each(|member| member.holds = false);
        refused(&with(32, 1), &some, "no more than 0 servers hold parts");
        refused(&Engine { urls: Addresses::default(), ..with(32, 2) }, &herd(), "name its `urls`");
        assert!(with(32, 2).suits_doors("Hill", [false; 2]).is_ok());
        assert!(with(32, 2).suits_doors("Hill", [false, true]).is_err());
        assert!(whole.suits_doors("Hill", [true; 2]).is_ok());
    }

    #[test]
    fn a_herd_must_be_fit_for_an_engine() {
        let refused = |engine: &Engine, herd: &Herd, has_keys, part: &str| {
            let why = engine.peer(herd, has_keys).unwrap_err().to_string();
            assert!(why.contains(part) && !why.contains('\n'), "{why}");
        };
        let near = engine("nats://127.0.0.1:4222,localhost:4223");
        let peer = near.peer(&herd(), false).unwrap().unwrap();
        assert_eq!(peer.name, "nats://127.0.0.1:4222,localhost:4223");
        assert_eq!(engine("none").peer(&herd(), false).unwrap(), None);
        let mut other = herd();
        other.members[0].name = "a.b".to_owned();
        refused(&near, &other, true, "`a.b` would be part of a subject");
        refused(&engine("10.0.0.1:4222"), &herd(), false, "this herd has no key");
        refused(&engine("10.0.0.1:4222"), &herd(), true, "without TLS");
        assert!(engine("10.0.0.1:4222").peer(&Herd { open: true, ..herd() }, true).is_ok());
        let half = Engine { user: Some("x".to_owned()), ..near };
        assert!(half.login().is_err_and(|why| why.to_string().contains("belong together")));
    }
}
