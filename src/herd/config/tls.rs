//! What TLS needs of an operator. For clients: where they connect, and which files hold the
//! certificate, its key, and those who may sign clients' certificates. What is in the files is
//! `crate::tls`'s business; here they are only found, bounded, and the key is kept from others.
//! For peers: whether links are by TLS; what that rests on is the herd's key.

use std::fs;
use std::io::{self, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use super::key::KeyFile;
use super::knob::{Effect, Flag, Kind, Knob, some_path, time};
use super::layers::resolve;
use super::{Address, ConfigError, Herd, HerdSelector, Settings, TlsClients};

/// The longest chain, bundle of authorities, or key. A mistyped path must not fill the memory.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// The section `[tls]`.
#[derive(Clone, Debug, Default)]
pub struct TlsSettings {
    pub cert: Option<PathBuf>,
    pub key: Option<PathBuf>,
    pub client_ca: Option<PathBuf>,
    pub handshake: Duration,
    pub peers: PeerTls,
    pub web: WebTls,
}

/// Whether the web port speaks TLS.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebTls {
    #[default]
    Off,
    /// With those that begin so; others are served as they are.
    Allow,
    /// With all.
    Require,
}

impl WebTls {
    const ALL: [WebTls; 3] = [WebTls::Off, WebTls::Allow, WebTls::Require];

    /// The word that an operator writes.
    pub fn name(self) -> &'static str {
        match self {
            WebTls::Off => "off",
            WebTls::Allow => "allow",
            WebTls::Require => "require",
        }
    }
}

impl FromStr for WebTls {
    type Err = String;

    fn from_str(text: &str) -> Result<WebTls, String> {
        let found = WebTls::ALL.into_iter().find(|way| way.name() == text);
        found.ok_or_else(|| format!("`{text}` is not off, allow or require"))
    }
}

/// Whether links between peers are by TLS. A herd that runs changes over one step at a time, all
/// its servers before the next: neighbours that are one step apart understand each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum PeerTls {
    /// None is.
    #[default]
    Off,
    /// Those that peers dial so.
    Allow,
    /// Those that this server dials, too.
    Prefer,
    /// All are.
    Require,
}

impl PeerTls {
    const ALL: [PeerTls; 4] = [PeerTls::Off, PeerTls::Allow, PeerTls::Prefer, PeerTls::Require];

    /// The word that an operator writes.
    pub fn name(self) -> &'static str {
        match self {
            PeerTls::Off => "off",
            PeerTls::Allow => "allow",
            PeerTls::Prefer => "prefer",
            PeerTls::Require => "require",
        }
    }

    /// The same, if the herd has what links by TLS rest on.
    ///
    /// # Errors
    /// It has not.
    pub fn checked(self, has_keys: bool) -> Result<PeerTls, ConfigError> {
        if has_keys || self == PeerTls::Off {
            return Ok(self);
        }
        Err(ConfigError::new(format!(
            "links by TLS ({}) rest on the herd's key, and it has none: make one with `herd \
             keygen` and name it with --key-file (`key_file` in herd.toml)",
            self.name()
        )))
    }

    /// Whether this server dials by TLS.
    pub fn dials(self) -> bool {
        self >= PeerTls::Prefer
    }

    /// Whether a link that is by TLS, or is not, may stay so, whichever side has dialled it.
    pub fn takes(self, is_tls: bool) -> bool {
        self != if is_tls { PeerTls::Off } else { PeerTls::Require }
    }
}

impl FromStr for PeerTls {
    type Err = String;

    fn from_str(text: &str) -> Result<PeerTls, String> {
        let found = PeerTls::ALL.into_iter().find(|way| way.name() == text);
        found.ok_or_else(|| format!("`{text}` is not off, allow, prefer or require"))
    }
}

/// What the section `[tls]` may say.
pub const KNOBS: &[Knob] = &[
    some_path("tls.cert", |s| &mut s.tls.cert)
        .example("server.pem")
        .flag(Flag {
            long: "tls-cert",
            variable: "HERD_TLS_CERT",
            value: "FILE",
            help: "Certificate for clients that come by TLS, in PEM form, its chain behind it",
        })
        .means(
            "The certificate that servers show to clients that come by TLS (`tls_clients` of a \
             [[server]], and `web` here), in PEM form, with its chain behind. Each reload reads it \
             again.",
        )
        .takes_effect(Effect::NewConnections)
        .because("Only the operator knows by which name clients call a server."),
    some_path("tls.key", |s| &mut s.tls.key)
        .example("server.key")
        .flag(Flag {
            long: "tls-key",
            variable: "HERD_TLS_KEY",
            value: "FILE",
            help: "Key of that certificate, mode 600 (640 if it is root's)",
        })
        .means("Its key, in PEM form, kept from others like key_file.")
        .takes_effect(Effect::NewConnections)
        .because("It belongs to the certificate."),
    some_path("tls.client_ca", |s| &mut s.tls.client_ca)
        .example("clients.pem")
        .means(
            "Certificates in PEM form. Who comes by TLS must show a certificate that one of these \
             has signed.",
        )
        .takes_effect(Effect::NewConnections)
        .because("Most clients have none."),
    time("tls.handshake", |s| &mut s.tls.handshake, "5 s")
        .means("From a client's connection by TLS to the end of its handshake.")
        .takes_effect(Effect::NewConnections)
        .because(
            "A handshake is a few packets each way; who takes longer keeps a place among the 256 \
             that may be under way.",
        ),
    Knob::new(
        "tls.peers",
        Kind::Word {
            set: |s, text| text.parse().map(|way| s.tls.peers = way),
            show: |s| s.tls.peers.name().to_owned(),
            words: "off, allow, prefer or require",
        },
        "off",
    )
    .flag(Flag {
        long: "tls-peers",
        variable: "HERD_TLS_PEERS",
        value: "off|allow|prefer|require",
        help: "Whether links between peers are by TLS, which rests on the herd's key",
    })
    .means(
        "Whether links between peers are by TLS, which rests on key_file and needs no certificate: \
         off; allow, those that peers dial so; prefer, also those that this server dials; require, \
         all. A herd that runs goes from one to the next on all its servers; a reload dials anew \
         what must change.",
    )
    .because(
        "A herd in one network has no need to hide its reports, and links without are simpler to \
         watch.",
    ),
    Knob::new(
        "tls.web",
        Kind::Word {
            set: |s, text| text.parse().map(|way| s.tls.web = way),
            show: |s| s.tls.web.name().to_owned(),
            words: "off, allow or require",
        },
        "off",
    )
    .flag(Flag {
        long: "tls-web",
        variable: "HERD_TLS_WEB",
        value: "off|allow|require",
        help: "Whether the web port speaks TLS; needs --tls-cert and --tls-key",
    })
    .means(
        "Whether phones and browsers come to the web port by TLS: off; allow, those that begin \
         with it, and others as they are; require, all. `herd follow` and `herd forget` do not: \
         where it is required, they need a proxy.",
    )
    .takes_effect(Effect::Restart)
    .because("Without a certificate that phones believe, it helps nobody."),
];

/// How clients connect by TLS: where, and by which files.
#[derive(Clone, Debug)]
pub struct TlsDoor {
    /// Where IAMAT is spoken, if it is.
    pub address: Option<SocketAddr>,
    pub web: WebTls,
    pub files: TlsFiles,
    /// From a connection to the end of its handshake.
    pub handshake: Duration,
}

/// The files in PEM form that TLS rests on.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The certificate, with its chain behind.
    pub cert: PathBuf,
    pub key: PathBuf,
    /// Clients must show a certificate that one of these has signed.
    pub client_ca: Option<PathBuf>,
}

impl TlsDoor {
    /// How clients of `name` come by TLS, if they may; `given` is what a flag says of where.
    ///
    /// # Errors
    /// The host cannot be resolved, or a file is not named.
    pub fn of(
        herd: &Herd,
        name: &str,
        settings: &Settings,
        selector: &HerdSelector,
        given: Option<TlsClients>,
    ) -> Result<Option<TlsDoor>, ConfigError> {
        let is_given = given.is_some();
        let named = || herd.member(name).map(|member| member.tls_clients.clone());
        let wanted = given.or_else(named).and_then(|TlsClients(address)| address);
        let web = settings.tls.web;
        if wanted.is_none() && web == WebTls::Off {
            return Ok(None);
        }
        let bind = selector.bind.as_ref().filter(|_| !is_given);
        let at = |address: Address| {
            let host = bind.unwrap_or(&address.host).clone();
            resolve(name, &Address { host, port: address.port })
        };
        let address = wanted.map(at).transpose()?;
        let (files, handshake) = (settings.tls.files()?, settings.tls.handshake);
        Ok(Some(TlsDoor { address, web, files, handshake }))
    }
}

impl TlsSettings {
    /// The files of a server whose clients may come by TLS.
    ///
    /// # Errors
    /// The certificate or its key is not named.
    pub fn files(&self) -> Result<TlsFiles, ConfigError> {
        let who = match self.web {
            WebTls::Off => "clients may come by TLS (tls_clients)".to_owned(),
            way => format!("the web port speaks TLS (`web` in [tls] is {})", way.name()),
        };
        let missing = |what: &str, flag: &str, key: &str| {
            let message = format!(
                "{who}, and no {what} is named: name it with {flag}, or `{key}` in [tls] of \
                 herd.toml"
            );
            ConfigError::new(message)
        };
        let cert = self.cert.clone().ok_or_else(|| missing("certificate", "--tls-cert", "cert"))?;
        let key = self.key.clone();
        let key = key.ok_or_else(|| missing("key of its certificate", "--tls-key", "key"))?;
        Ok(TlsFiles { cert, key, client_ca: self.client_ca.clone() })
    }
}

impl TlsFiles {
    /// The text of the certificate and its chain.
    ///
    /// # Errors
    /// It cannot be read, or is too long.
    pub fn read_cert(&self) -> Result<Vec<u8>, ConfigError> {
        read(&self.cert, |why| self.wrong_cert(why))
    }

    /// The text of the key.
    ///
    /// # Errors
    /// It cannot be read, is too long, or is open to others than its owner.
    pub fn read_key(&self) -> Result<Vec<u8>, ConfigError> {
        self.key_file().read()
    }

    /// The text of those who may sign clients' certificates, if clients need one.
    ///
    /// # Errors
    /// It cannot be read, or is too long.
    pub fn read_client_ca(&self) -> Result<Option<Vec<u8>>, ConfigError> {
        let path = self.client_ca.as_deref();
        path.map(|path| read(path, |why| self.wrong_client_ca(why))).transpose()
    }

    /// A message about the certificate.
    pub fn wrong_cert(&self, why: &str) -> ConfigError {
        ConfigError::new(format!("the TLS certificate {} {why}", self.cert.display()))
    }

    /// A message about the key.
    pub fn wrong_key(&self, why: &str) -> ConfigError {
        self.key_file().wrong(why)
    }

    /// A message about the authorities of clients.
    pub fn wrong_client_ca(&self, why: &str) -> ConfigError {
        let path = self.client_ca.as_deref().unwrap_or(Path::new("client_ca"));
        ConfigError::new(format!("the TLS client_ca {} {why}", path.display()))
    }

    fn key_file(&self) -> KeyFile<'_> {
        let way_out = "name another with --tls-key (`key` in [tls] of herd.toml)";
        KeyFile { path: &self.key, what: "TLS key file", way_out, bytes_max: FILE_BYTES_MAX }
    }
}

fn read(path: &Path, wrong: impl Fn(&str) -> ConfigError) -> Result<Vec<u8>, ConfigError> {
    let mut bytes = Vec::new();
    let read = |bytes: &mut Vec<u8>| -> io::Result<usize> {
        fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(bytes)
    };
    match read(&mut bytes) {
        Err(error) => Err(wrong(&format!("cannot be read: {error}")).caused_by(error)),
        Ok(count) if count as u64 == FILE_BYTES_MAX => Err(wrong("is too long to be one")),
        Ok(_) => Ok(bytes),
    }
}
