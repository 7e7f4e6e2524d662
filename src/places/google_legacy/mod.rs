//! Asks the legacy Nearby Search of Google Places, or whatever speaks like it.
//!
//! It is apart from the atlas because it blocks: a call waits for names, connections and a stranger
//! for as long as its deadline allows, so only worker threads make it. All of them share one
//! `GoogleLegacy`, and with it the idle connections. It stores no answers: the terms of the service
//! forbid it. It queues nothing and tries nothing again; that is for whoever calls.
//!
//! The key travels in the query of the URL, because the service takes it nowhere else. So no
//! message of ureq, which may quote the URL, ever leaves this file: `Failure` says in words of our
//! own what went wrong. (ureq's log quotes it too, at the level Trace; the logger leaves ureq out.)

mod cut;

use std::fmt;
use std::io::Read;
use std::net::IpAddr;
use std::time::Duration;

use ureq::Agent;
use ureq::config::Config;
use ureq::http::{StatusCode, Uri};
use ureq::unversioned::transport::DefaultConnector;

use super::render::{self, status};
use super::resolver::Remembering;
use super::{Source, Told};
use crate::config::Secret;
use crate::core::whatsat::Question;

/// Where Google itself serves.
const GOOGLE: &str = "https://maps.googleapis.com";

/// The path of the service, below whatever base it is reached by.
const PATH: &str = "/maps/api/place/nearbysearch/json";

/// Longest body that is read, in bytes and unpacked: twenty results come in about 25 kB.
const BODY_BYTES_MAX: u64 = 1 << 20;

/// Idle connections that are kept. A new one costs two or three round trips for TLS, so there are
/// more than there are workers by default.
const IDLE_CONNECTIONS_MAX: usize = 8;

/// A way to ask the service.
pub struct GoogleLegacy {
    agent: Agent,
    endpoint: String,
    key: Option<Secret>,
}

/// What an operator must mend before the service can be asked. One sentence each.
#[derive(Debug, PartialEq, Eq)]
pub enum SourceError {
    /// The base URL cannot be used.
    NotABase,
    /// The key would travel in the clear.
    InTheClear,
    /// There is no key.
    NoKey,
}

/// Why there is no answer, in the words of the legacy service.
struct Failure {
    status: &'static str,
    message: String,
}

impl GoogleLegacy {
    /// Prepares to ask with `key`; nothing is sent yet. No call takes longer than `deadline`, from
    /// the look-up of the name to the last byte of the body.
    ///
    /// `base_url` is what stands before `/maps/api/place/nearbysearch/json`, `None` being Google's
    /// own. A URL that ends with `/json` is taken as the whole endpoint instead. It has the scheme
    /// https, or http if its host is loopback; user, query and fragment are refused. Google wants
    /// a key; a service of one's own may not.
    pub fn new(
        base_url: Option<&str>,
        key: Option<Secret>,
        deadline: Duration,
    ) -> Result<GoogleLegacy, SourceError> {
        if key.is_none() && base_url.is_none() {
            return Err(SourceError::NoKey);
        }
        let endpoint = endpoint(base_url.unwrap_or(GOOGLE))?;
        let resolver = Remembering::default();
        let agent = Agent::with_parts(config(deadline), DefaultConnector::default(), resolver);
        Ok(GoogleLegacy { agent, endpoint, key })
    }

    /// Ends the calls in flight and refuses new ones: `answer` returns at once with a failure. A
    /// name look-up or a connect under way is not cut short; its deadline ends it.
    pub fn shutdown(&self) {
        self.agent.clone().shutdown();
    }

    /// Asks, and appends what the service answers.
    fn ask(&self, question: &Question, out: &mut Vec<u8>) -> Result<(), Failure> {
        // `{}` prints the shortest text that is the same f64: no digit of the position is lost.
        let location = format!("{},{}", question.at.latitude, question.at.longitude);
        // The service wants metres where WHATSAT has kilometres. A tenth of one is finer than any
        // position, and rounding hides that 4.35 km is not quite 4,350 m in binary.
        let metres = (question.radius_km * 10_000.0).round() / 10.0;
        let mut response = self
            .agent
            .get(&self.endpoint)
            .query("location", location)
            .query("radius", metres.to_string())
            .query_pairs(self.key.iter().map(|key| ("key", key.reveal())))
            .call()
            .map_err(Failure::of_call)?;
        let mut body = Vec::new();
        // ureq's own limit counts what came over the wire; this one stops a gzip bomb, too.
        let mut unpacked = response.body_mut().as_reader().take(BODY_BYTES_MAX + 1);
        unpacked.read_to_end(&mut body).map_err(|error| Failure::of_call(error.into()))?;
        if body.len() as u64 > BODY_BYTES_MAX {
            return Err(Failure::too_large());
        }
        let mut answer = Vec::with_capacity(body.len());
        // A refusal may come with any HTTP status: the status in the body is what counts.
        cut::cut(&body, question, &mut answer)
            .map_err(|cut::NotASearch| Failure::of_status(response.status()))?;
        render::normalise_newlines(&answer, out);
        Ok(())
    }
}

impl Source for GoogleLegacy {
    fn answer(&self, question: &Question, out: &mut Vec<u8>) -> Told {
        match self.ask(question, out) {
            Ok(()) => Told::Answer,
            Err(Failure { status, message }) => {
                render::failure(status, &message, out);
                Told::Excuse
            }
        }
    }
}

impl Failure {
    /// No answer came.
    fn of_call(error: ureq::Error) -> Failure {
        let message = match error {
            ureq::Error::Timeout(_) => "the places service did not answer in time".to_owned(),
            ureq::Error::HostNotFound => "the places service has no address".to_owned(),
            // The kind of an I/O error is one of a fixed set of phrases; its text need not be.
            ureq::Error::Io(error) => format!("the places service failed: {}", error.kind()),
            ureq::Error::Rustls(_) | ureq::Error::Tls(_) => {
                "no trusted connection to the places service".to_owned()
            }
            _ => "the places service does not speak HTTP as it should".to_owned(),
        };
        Failure { status: status::UNKNOWN_ERROR, message }
    }

    /// More came than an answer can be long.
    fn too_large() -> Failure {
        let message = format!("the places service answered with more than {BODY_BYTES_MAX} bytes");
        Failure { status: status::UNKNOWN_ERROR, message }
    }

    /// An answer came, and it is not a Nearby Search.
    fn of_status(code: StatusCode) -> Failure {
        let status = match code.as_u16() {
            400 => status::INVALID_REQUEST,
            401 | 403 => status::REQUEST_DENIED,
            429 => status::OVER_QUERY_LIMIT,
            _ => status::UNKNOWN_ERROR,
        };
        let message = if code.is_success() {
            "the places service answered, but not with places".to_owned()
        } else {
            format!("the places service answered with HTTP status {}", code.as_u16())
        };
        Failure { status, message }
    }
}

impl fmt::Display for SourceError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SourceError::NotABase => {
                "the URL of google-legacy must be https:// and a host, optionally with a port \
                 and a path, and nothing else"
            }
            SourceError::InTheClear => {
                "the URL of google-legacy must begin with https://: over http:// anyone on the \
                 way could read the key, so only loopback hosts may be asked that way"
            }
            SourceError::NoKey => {
                "google-legacy needs a key: name a file that holds it with --places-key-file"
            }
        })
    }
}

impl std::error::Error for SourceError {}

/// The rules of every call.
fn config(deadline: Duration) -> Config {
    // The global deadline bounds the whole call; every part is bounded, too, so that none is ever
    // without one. No proxy is taken from the environment: it would see where clients are.
    let deadline = Some(deadline);
    Agent::config_builder()
        .timeout_global(deadline)
        .timeout_resolve(deadline)
        .timeout_connect(deadline)
        .timeout_send_request(deadline)
        .timeout_recv_response(deadline)
        .timeout_recv_body(deadline)
        .max_redirects(0)
        .proxy(None)
        .http_status_as_error(false)
        .max_idle_connections_per_host(IDLE_CONNECTIONS_MAX)
        .user_agent(concat!("herd/", env!("CARGO_PKG_VERSION")))
        .build()
}

/// The URL to ask, by the rule that `GoogleLegacy::new` states.
fn endpoint(base: &str) -> Result<String, SourceError> {
    let uri: Uri = base.parse().map_err(|_| SourceError::NotABase)?;
    let host = uri.host().filter(|host| !host.is_empty()).ok_or(SourceError::NotABase)?;
    if base.contains(['?', '#', '@']) {
        return Err(SourceError::NotABase);
    }
    match uri.scheme_str() {
        Some("https") => {}
        Some("http") if is_loopback(host) => {}
        Some("http") => return Err(SourceError::InTheClear),
        _ => return Err(SourceError::NotABase),
    }
    let base = base.trim_end_matches('/');
    let path = if base.ends_with("/json") { "" } else { PATH };
    Ok(format!("{base}{path}"))
}

fn is_loopback(host: &str) -> bool {
    let digits = host.trim_start_matches('[').trim_end_matches(']');
    let address: Result<IpAddr, _> = digits.parse();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |address| address.is_loopback())
}

#[cfg(test)]
mod tests;
