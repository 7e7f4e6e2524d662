//! The engine that carries what servers tell each other, instead of links: the section `[engine]`,
//! and what a herd must be like for it. How it is spoken to is `herd_core::engine`'s affair.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::herd::Herd;
use super::key::{KEY_FILE_BYTES_MAX, KeyFile};
use super::knob::{Effect, Flag, Kind, Knob, size, some_path};
use super::{Address, ConfigError, Initiative, LinkKind, Peer, PlainShape};
use herd_core::engine::{Login, Nkey};
use herd_core::nats_wire::is_token;

/// The longest that is waited for news to find its way, or for an answer.
const WAIT_MAX: Duration = Duration::from_secs(60);

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
        }
    }
}

/// A server among those on its engine.
#[derive(Clone, Debug)]
pub struct OnEngine {
    pub login: Login,
    /// Itself among them.
    pub servers: Vec<String>,
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
    /// the course's wire.
    ///
    /// # Errors
    /// As `login`.
    pub fn on_engine(&self, herd: &Herd) -> Result<OnEngine, ConfigError> {
        let ours = herd.members.iter().filter(|member| member.peers.is_some());
        let servers = ours.map(|member| member.name.clone()).collect();
        Ok(OnEngine { login: self.login()?, servers })
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
