//! How every remote source speaks HTTP: one set of rules, one set of words for what goes wrong.
//!
//! A stranger's web server can be slow, huge or hostile in the same ways for every protocol. This
//! file knows no protocol: which request to make and what an answer means is for its callers.
//!
//! No message of ureq, which may quote a URL and with it a key, ever leaves this file: [`Failure`]
//! says in words of our own what went wrong. (ureq's log quotes URLs too, at the level Trace; the
//! logger leaves ureq out.)

use std::ffi::OsString;
use std::io::{self, Read};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fmt, fs};

use ureq::config::Config;
use ureq::http::{Response, StatusCode, Uri};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};
use ureq::unversioned::transport::DefaultConnector;
use ureq::{Agent, Body, Proxy, ProxyProtocol};

use super::render::status;
use super::resolver::CachingResolver;
use crate::config::Places;

/// Longest body that is read, in bytes and unpacked: twenty results of Google come in about 25 kB,
/// a thousand of Overpass in about 600 kB.
pub const BODY_BYTES_MAX: u64 = 2 << 20;

/// Longest file of certificates, in bytes: all that Mozilla trusts are a quarter of it.
const CA_FILE_BYTES_MAX: u64 = 1 << 20;

/// Where the environment may name a proxy, in ureq's order: the first that does counts.
const PROXY_VARIABLES: [&str; 6] =
    ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"];

/// Idle connections that are kept. A new one costs two or three round trips for TLS, so there are
/// more than there are workers by default.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// Where a service is found.
#[derive(Clone, Copy, Debug)]
pub struct Address {
    /// What the operator calls the source.
    pub source: &'static str,
    /// Base URL of the service's own servers.
    pub home: &'static str,
    /// What stands behind any base.
    pub path: &'static str,
    /// The end of `path`. A URL that has it, too, is the whole endpoint and no base.
    pub path_end: &'static str,
}

/// A way to one service. All worker threads share it, and with it the idle connections.
pub struct Http {
    agent: Agent,
    endpoint: String,
}

/// What came back, with any status.
pub struct Reply {
    pub code: StatusCode,
    pub body: Vec<u8>,
}

/// Why there is no answer: one of [`status`], and a message that names no key and no address.
pub struct Failure {
    pub status: &'static str,
    pub message: String,
}

/// What an operator must mend before a service can be asked. One message each.
#[derive(Debug, PartialEq, Eq)]
pub enum SourceError {
    /// The base URL cannot be used.
    NotABase(&'static str),
    /// What is asked, and the key, would travel in the clear.
    InTheClear(&'static str),
    /// There is no key.
    NoKey(&'static str),
    /// There is no file to read places from.
    NoFile,
    /// A proxy is wanted, and this variable names none that can be used; whether it is SOCKS.
    Proxy { variable: &'static str, is_socks: bool },
    /// The certificates to trust cannot be read.
    CaFile { path: PathBuf, why: String },
}

impl Http {
    /// Prepares to ask; nothing is sent yet. No call takes longer than `deadline`, from the look-up
    /// of the name to the last byte of the body.
    ///
    /// The URL of `places` is what stands before the path of `address`, `None` being the service's
    /// own. It has the scheme https, or http if its host is loopback; user, query and fragment are
    /// refused.
    pub fn new(address: &Address, places: &Places) -> Result<Http, SourceError> {
        let base = places.url.as_deref().unwrap_or(address.home);
        let (endpoint, is_loopback) = endpoint(address, base)?;
        // What stays on this machine needs no help to get there.
        let wants_proxy = places.proxy_from_env && !is_loopback;
        let proxy = if wants_proxy { proxy_of(env::var_os)? } else { None };
        let roots = places.ca_file.as_deref().map(read_roots).transpose()?;
        let (connector, resolver) = (DefaultConnector::default(), CachingResolver::default());
        let config = config(places.deadline, proxy, roots);
        let agent = Agent::with_parts(config, connector, resolver);
        Ok(Http { agent, endpoint })
    }

    /// Makes the call that `call` wants made and reads the whole answer. It blocks.
    pub fn ask(
        &self,
        call: impl FnOnce(&Agent, &str) -> Result<Response<Body>, ureq::Error>,
    ) -> Result<Reply, Failure> {
        let mut response = call(&self.agent, &self.endpoint).map_err(Failure::of_call)?;
        let mut body = Vec::new();
        // ureq's own limit counts what came over the wire; this one stops a gzip bomb, too.
        let mut unpacked = response.body_mut().as_reader().take(BODY_BYTES_MAX + 1);
        unpacked.read_to_end(&mut body).map_err(|error| Failure::of_call(error.into()))?;
        if body.len() as u64 > BODY_BYTES_MAX {
            return Err(Failure::unknown(format!(
                "the places service answered with more than {BODY_BYTES_MAX} bytes"
            )));
        }
        Ok(Reply { code: response.status(), body })
    }

    /// Ends the calls in flight and refuses new ones. A name look-up or a connect under way is not
    /// cut short; its deadline ends it.
    pub fn shutdown(&self) {
        self.agent.clone().shutdown();
    }
}

impl Failure {
    pub fn unknown(message: impl Into<String>) -> Failure {
        Failure { status: status::UNKNOWN_ERROR, message: message.into() }
    }

    /// An answer came, and it holds no places.
    pub fn of_status(code: StatusCode) -> Failure {
        let message = if code.is_success() {
            "the places service answered, but not with places".to_owned()
        } else {
            format!("the places service answered with HTTP status {}", code.as_u16())
        };
        Failure { status: legacy_status(code), message }
    }

    /// No answer came.
    fn of_call(error: ureq::Error) -> Failure {
        Failure::unknown(match error {
            ureq::Error::Timeout(_) => "the places service did not answer in time".to_owned(),
            ureq::Error::HostNotFound => {
                "the name of the places service is not found: it is wrong, or DNS is down"
                    .to_owned()
            }
            // The kind of an I/O error is one of a fixed set of phrases; its text need not be.
            ureq::Error::Io(error) => format!("the places service failed: {}", error.kind()),
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
                "no trusted connection to the places service".to_owned()
            }
            _ => "the places service does not speak HTTP as it should".to_owned(),
        })
    }
}

/// What an HTTP status means in the words of the legacy service.
fn legacy_status(code: StatusCode) -> &'static str {
    match code.as_u16() {
        400 => status::INVALID_REQUEST,
        401 | 403 => status::REQUEST_DENIED,
        429 => status::OVER_QUERY_LIMIT,
        _ => status::UNKNOWN_ERROR,
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SourceError::NotABase(source) => write!(
                f,
                "the URL of {source} must be https:// and a host, optionally with a port and a \
                 path, and nothing else"
            ),
            SourceError::InTheClear(source) => write!(
                f,
                "the URL of {source} must begin with https://: over http:// anyone on the way \
                 could read what is asked, so only loopback hosts may be asked that way"
            ),
            SourceError::NoKey(source) => {
                write!(f, "{source} needs a key: name a file that holds it with --places-key-file")
            }
            SourceError::NoFile => {
                f.write_str("places source file needs a file: name it with --places-file")
            }
            SourceError::Proxy { variable, is_socks } => {
                let what = if *is_socks { "a SOCKS proxy" } else { "no proxy that can be used" };
                write!(
                    f,
                    "proxy_from_env wants a proxy, but {variable} names {what}: set it to \
                     http://HOST:PORT or https://HOST:PORT, unset it, or set proxy_from_env = false"
                )
            }
            SourceError::CaFile { path, why } => {
                let path = path.display();
                write!(f, "ca_file {path} {why}: name a file of PEM certificates")
            }
        }
    }
}

impl std::error::Error for SourceError {}

/// The proxy that the environment names. A proxy that cannot be used is an error: an operator who
/// wants a proxy wants nothing to go past it.
fn proxy_of(
    variable: impl Fn(&'static str) -> Option<OsString>,
) -> Result<Option<Proxy>, SourceError> {
    let mut named = PROXY_VARIABLES.into_iter().filter_map(|name| Some((name, variable(name)?)));
    let Some((variable, value)) = named.find(|(_, value)| !value.is_empty()) else {
        return Ok(None);
    };
    let value = value.to_string_lossy();
    let has_port = |proxy: &Proxy| {
        let authority = proxy.uri().authority().map_or("", |authority| authority.as_str());
        let host = authority.rsplit('@').next().unwrap_or_default();
        // ureq takes the usual port in place of one that is none.
        host.ends_with(proxy.host()) || proxy.uri().port_u16().is_some()
    };
    let proxy = Proxy::new(&value).ok().filter(has_port);
    match proxy.as_ref().map(Proxy::protocol) {
        // ureq reads it again, because only then it knows NO_PROXY as well.
        Some(ProxyProtocol::Http | ProxyProtocol::Https) => Ok(Proxy::try_from_env().or(proxy)),
        _ => {
            let is_socks = value.trim_start().to_ascii_lowercase().starts_with("socks");
            Err(SourceError::Proxy { variable, is_socks })
        }
    }
}

/// The certificates of a file, which then are the only ones that are trusted.
fn read_roots(path: &Path) -> Result<RootCerts, SourceError> {
    let fail = |why: String| SourceError::CaFile { path: path.to_owned(), why };
    let cannot = |error: io::Error| fail(format!("cannot be read ({error})"));
    if !fs::metadata(path).map_err(cannot)?.is_file() {
        return Err(fail("is no regular file".to_owned()));
    }
    let mut pem = Vec::new();
    let file = fs::File::open(path).map_err(cannot)?;
    file.take(CA_FILE_BYTES_MAX).read_to_end(&mut pem).map_err(cannot)?;
    let certificates = parse_pem(&pem).filter_map(|item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(Ok(certificate)),
        Ok(_) => None,
        Err(_) => Some(Err(fail("is damaged".to_owned()))),
    });
    let certificates = certificates.collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(fail("holds no certificate".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&certificates))
}

/// The rules of every call.
fn config(deadline: Duration, proxy: Option<Proxy>, roots: Option<RootCerts>) -> Config {
    // The global deadline bounds the whole call; every part is bounded, too, so that none is ever
    // without one. A proxy sees where clients are, so only the operator can want one.
    let deadline = Some(deadline);
    let tls = TlsConfig::builder().root_certs(roots.unwrap_or(RootCerts::WebPki)).build();
    Agent::config_builder()
        .tls_config(tls)
        .timeout_global(deadline)
        .timeout_resolve(deadline)
        .timeout_connect(deadline)
        .timeout_send_request(deadline)
        .timeout_send_body(deadline)
        .timeout_recv_response(deadline)
        .timeout_recv_body(deadline)
        .max_redirects(0)
        .proxy(proxy)
        .http_status_as_error(false)
        .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
        .user_agent(concat!("herd/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The URL to ask, by the rule that `Http::new` states, and whether it stays on this machine.
fn endpoint(address: &Address, base: &str) -> Result<(String, bool), SourceError> {
    let not_a_base = || SourceError::NotABase(address.source);
    let uri: Uri = base.parse().map_err(|_| not_a_base())?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or_else(not_a_base)?;
    if base.contains(['?', '#', '@']) {
        return Err(not_a_base());
    }
    let is_loopback = is_loopback(host);
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback => {}
        Some("http") => return Err(SourceError::InTheClear(address.source)),
        _ => return Err(not_a_base()),
    }
    let base = base.trim_end_matches('/');
    let path = if base.ends_with(address.path_end) { "" } else { address.path };
    Ok((format!("{base}{path}"), is_loopback))
}

fn is_loopback(host: &str) -> bool {
    let digits = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<IpAddr, _> = digits.parse();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |address| {
        address.to_canonical().is_loopback()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ADDRESS: Address = Address {
        source: "google-legacy",
        home: "https://maps.googleapis.com",
        path: "/maps/api/place/nearbysearch/json",
        path_end: "/json",
    };

    /// Goal: an operator who wants a proxy gets it or an error; nothing goes past it silently.
    #[test]
    fn proxies_of_the_environment() {
        fn check(set: &[(&'static str, &str)], expected: Result<Option<&str>, (&str, bool)>) {
            let value = |name: &'static str| {
                let found = set.iter().find(|(other, _)| *other == name);
                found.map(|(_, value)| OsString::from(value))
            };
            let found = proxy_of(value);
            match (&found, expected) {
                (Ok(None), Ok(None)) => {}
                (Ok(Some(proxy)), Ok(Some(host))) => assert_eq!(proxy.host(), host),
                (Err(SourceError::Proxy { variable, is_socks }), Err(expected)) => {
                    assert_eq!((*variable, *is_socks), expected);
                    let message = found.as_ref().unwrap_err().to_string();
                    assert!(message.contains(expected.0), "{message}");
                    assert!(!message.contains("secret"), "{message}");
                }
                _ => panic!("{set:?}: {found:?}"),
            }
        }
        check(&[], Ok(None));
        check(&[("ALL_PROXY", "")], Ok(None));
        check(&[("HTTPS_PROXY", "http://p.test:3128")], Ok(Some("p.test")));
        check(&[("http_proxy", "p.test:3128")], Ok(Some("p.test")));
        for socks in ["socks5://u:secret@p.test:1080", "socks5h://p.test", "SOCKS4://p.test"] {
            check(&[("ALL_PROXY", socks)], Err(("ALL_PROXY", true)));
            let both = [("all_proxy", socks), ("https_proxy", "http://p.test:1")];
            check(&both, Err(("all_proxy", true)));
        }
        for bad in [
            "http://",
            "ftp://u:secret@p.test",
            "http://p.test:99999",
            "http://p.test:",
            "two words",
            "\u{e9}",
        ] {
            check(&[("HTTP_PROXY", bad)], Err(("HTTP_PROXY", false)));
        }
        check(
            &[("ALL_PROXY", "http://p.test:1"), ("HTTP_PROXY", "socks5://q")],
            Ok(Some("p.test")),
        );
    }

    #[test]
    fn certificates_come_from_a_file_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ca.pem");
        let refused = |text: &str, part: &str| {
            std::fs::write(&path, text).unwrap();
            let message = read_roots(&path).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        };
        refused("", "ca.pem holds no certificate: name a file of PEM certificates");
        refused("hello", "holds no certificate");
        let key = "-----BEGIN PRIVATE KEY-----\nMAA=\n-----END PRIVATE KEY-----\n";
        refused(key, "holds no certificate");
        refused("-----BEGIN CERTIFICATE-----\nMAA=\n", "is damaged");
        let good = "-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n";
        std::fs::write(&path, format!("{key}{good}{good}")).unwrap();
        let RootCerts::Specific(roots) = read_roots(&path).unwrap() else { panic!("others") };
        assert_eq!(roots.len(), 2);
        std::fs::remove_file(&path).unwrap();
        let message = read_roots(&path).unwrap_err().to_string();
        assert!(message.contains("cannot be read ("), "{message}");
        assert!(read_roots(dir.path()).unwrap_err().to_string().contains("is no regular file"));
    }

    #[test]
    fn bases() {
        use SourceError::{InTheClear, NotABase};
        fn check(base: &str, expected: Result<&str, fn(&'static str) -> SourceError>) {
            let found = endpoint(&ADDRESS, base).map(|(url, _)| url);
            let expected = expected.map(str::to_owned).map_err(|error| error(ADDRESS.source));
            assert_eq!(found, expected, "{base}");
        }
        const AT_GOOGLE: &str = "https://maps.googleapis.com/maps/api/place/nearbysearch/json";
        check(ADDRESS.home, Ok(AT_GOOGLE));
        check("https://maps.googleapis.com/", Ok(AT_GOOGLE));
        check(AT_GOOGLE, Ok(AT_GOOGLE));
        check(
            "https://x.test:8443/v/",
            Ok("https://x.test:8443/v/maps/api/place/nearbysearch/json"),
        );
        check("http://localhost:1/places/json", Ok("http://localhost:1/places/json"));
        check("http://[::1]:1/json", Ok("http://[::1]:1/json"));
        check("http://127.9.9.9/json", Ok("http://127.9.9.9/json"));
        check("http://maps.googleapis.com", Err(InTheClear));
        check("http://127.0.0.1.evil.test", Err(InTheClear));
        check("http://localhost@evil.test", Err(NotABase));
        check("https://x.test/?key=1", Err(NotABase));
        check("https://x.test/#a", Err(NotABase));
        check("ftp://x.test", Err(NotABase));
        check("x.test", Err(NotABase));
        check("/json", Err(NotABase));
        check("", Err(NotABase));
    }
}
