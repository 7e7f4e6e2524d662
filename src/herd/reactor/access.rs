//! Who asks by HTTP: each request is let in or refused here, before anybody looks at what it wants.
//! What may be shown is `herd_web::access`'s business; what it costs to keep asking is ours.
//!
//! ```text
//!   request ──▶ for everybody? ──────────────────────────────▶ answered
//!          └──▶ access not configured ──▶ anybody ───────────▶ answered for a caller
//!          └──▶ secret, link, session ──▶ caller ──▶ too many? ──▶ 429
//!                                    └──▶ denied ──▶ 401, and 429 after ten wrong ones
//! ```
//!
//! A secret that opens something is never refused because of others that did not: a phone may share
//! its address with somebody who tries.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use ring::rand::{SecureRandom, SystemRandom};

use super::{Reactor, StartError};
use crate::logging::events::Event;
use herd_core::names::ConnId;
use herd_web::access::{Buckets, Caller, Denied, Pattern, Sessions, Shown, split_path};
use herd_web::http::{Answer, COOKIE, Method, Request};

/// Wrong secrets of one address: so many at once, and as many a minute.
const WRONG_PER_MINUTE: f64 = 10.0;
/// Requests of one token: so many a second, and at once.
const REQUESTS_PER_S: f64 = 100.0;
const REQUESTS_AT_ONCE: f64 = 2_000.0;
/// Reports of one token that are flooded: so many a second, and at once.
const REPORTS_PER_S: f64 = 10.0;
const REPORTS_AT_ONCE: f64 = 1_000.0;
/// Clients that one token may make known to this server, until it is started again.
const MADE_MAX: usize = 1_000;
/// Bytes of requests that are not whole yet, of all connections together.
const UNDER_WAY_BYTES_MAX: usize = 64 * 1024 * 1024;
/// A request of fewer bytes is not worth an entry: the kernel keeps as much of each connection.
const UNDER_WAY_BYTES_MIN: usize = 4 * 1024;
/// After so many seconds, there may be room.
const RETRY_AFTER_S: &str = "30";
/// One refusal in this time is logged.
const LOG_EVERY: Duration = Duration::from_secs(60);

/// Paths whose answers say nothing of anybody, each with all that is below it.
const PUBLIC: [&str; 3] = ["/map", "/openapi.json", "/favicon.ico"];
const SESSION: &str = "/v1/session";
const SESSION_END: &str = "/v1/session/end";
const ME: &str = "/v1/me";

/// Why a request was refused before anybody looked at what it wants. A closed list: it is a label
/// of a metric.
#[derive(Clone, Copy)]
pub enum Refused {
    NoSecret,
    WrongSecret,
    Expired,
    Revoked,
    /// Ten wrong secrets in a minute.
    TooManyWrong,
    TooManyRequests,
    /// A token, a link, an address or the server has as many followers as it may have.
    TooManyFollowers,
    /// A name that is not ours, in `Host`.
    Host,
    /// A page of somebody else.
    ForeignPage,
    /// Too much is under way.
    Busy,
    /// What came by MQTT is no packet, or stands where it may not.
    Malformed,
}

impl Refused {
    /// All of them, each at its place.
    pub const ALL: [Refused; 11] = [
        Refused::NoSecret,
        Refused::WrongSecret,
        Refused::Expired,
        Refused::Revoked,
        Refused::TooManyWrong,
        Refused::TooManyRequests,
        Refused::TooManyFollowers,
        Refused::Host,
        Refused::ForeignPage,
        Refused::Busy,
        Refused::Malformed,
    ];

    /// The word for it in metrics and the log.
    pub fn name(self) -> &'static str {
        match self {
            Refused::NoSecret => "no_secret",
            Refused::WrongSecret => "wrong_secret",
            Refused::Expired => "expired",
            Refused::Revoked => "revoked",
            Refused::TooManyWrong => "too_many_wrong",
            Refused::TooManyRequests => "too_many_requests",
            Refused::TooManyFollowers => "too_many_followers",
            Refused::Host => "host",
            Refused::ForeignPage => "foreign_page",
            Refused::Busy => "busy",
            Refused::Malformed => "malformed",
        }
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Refused {
        match denied {
            Denied::Missing => Refused::NoSecret,
            Denied::Wrong => Refused::WrongSecret,
            Denied::Expired => Refused::Expired,
            Denied::Revoked => Refused::Revoked,
        }
    }
}

/// Those who ask by HTTP, and what each has used up.
pub struct Callers {
    pub sessions: Sessions,
    wrong: Buckets<IpAddr>,
    requests: Buckets<String>,
    reports: Buckets<String>,
    /// Clients that each token has made known.
    made: BTreeMap<String, usize>,
    /// Bytes of a request that each connection has sent and that is not whole; some have ended.
    under_way: BTreeMap<ConnId, usize>,
    under_way_bytes: usize,
    /// By reason.
    pub refused: [u64; Refused::ALL.len()],
    logged_at: Option<Duration>,
}

impl Callers {
    /// # Errors
    /// The system has no random numbers.
    pub fn new() -> Result<Callers, StartError> {
        let mut key = [0; 32];
        let none = |_| StartError::System("sessions", std::io::Error::other("no random numbers"));
        SystemRandom::new().fill(&mut key).map_err(none)?;
        Ok(Callers {
            sessions: Sessions::new(&key),
            wrong: Buckets::new(WRONG_PER_MINUTE / 60.0, WRONG_PER_MINUTE),
            requests: Buckets::new(REQUESTS_PER_S, REQUESTS_AT_ONCE),
            reports: Buckets::new(REPORTS_PER_S, REPORTS_AT_ONCE),
            made: BTreeMap::new(),
            under_way: BTreeMap::new(),
            under_way_bytes: 0,
            refused: [0; Refused::ALL.len()],
            logged_at: None,
        })
    }

    /// Whether a report of this token may be flooded now.
    pub fn may_report_now(&mut self, caller: &Caller, now: Duration) -> bool {
        caller.name().is_none_or(|name| self.reports.take(now, &name.to_owned()))
    }

    /// Whether this token may make another client known.
    pub fn may_make_one(&self, caller: &Caller) -> bool {
        let made = caller.name().and_then(|name| self.made.get(name));
        made.is_none_or(|made| *made < MADE_MAX)
    }

    pub fn has_made_one(&mut self, caller: &Caller) {
        if let Some(name) = caller.name() {
            *self.made.entry(name.to_owned()).or_default() += 1;
        }
    }

    /// A connection keeps so many bytes of a request that is not whole.
    fn keeps(&mut self, conn: ConnId, bytes: usize) {
        let kept = if bytes < UNDER_WAY_BYTES_MIN {
            self.under_way.remove(&conn)
        } else {
            self.under_way_bytes += bytes;
            self.under_way.insert(conn, bytes)
        };
        self.under_way_bytes -= kept.unwrap_or_default();
    }
}

/// Whether a page of somebody else may have its visitor's browser ask for this: what everybody may
/// see says nothing of anybody, and a link to it may stand anywhere.
pub(super) fn is_public(request: &Request<'_>) -> bool {
    let is_below = |public: &str| {
        let rest = request.path.strip_prefix(public);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    let is_help = matches!(request.path, "/" | "/report" | "/pub") && request.query.is_empty();
    matches!(request.method, Method::Get | Method::Head)
        && (is_help || PUBLIC.into_iter().any(is_below))
}

impl Reactor {
    /// Who asks, and for what path; an answer for those who may ask nothing, and for those whose
    /// business is their access itself.
    pub(super) fn let_in<'a>(
        &mut self,
        conn: ConnId,
        request: &'a Request<'_>,
    ) -> Result<(Caller, Request<'a>), Answer> {
        let split = split_path(request.path);
        let asked = request.at(split.path);
        let Some(access) = self.config.access.clone() else {
            return match asked.path {
                ME => Err(show_grant(&Caller::anybody())),
                SESSION | SESSION_END => Err(no_session()),
                _ => Ok((Caller::anybody(), asked)),
            };
        };
        if is_public(&asked) {
            return Ok((Caller::nobody(), asked));
        }
        let shown = Shown::by(split.secret, &request.headers);
        let posix = self.now.posix;
        let caller = match access.caller(&shown, &self.web.callers.sessions, posix) {
            Ok(caller) => caller,
            Err(denied) => return Err(self.deny(conn, request, denied.into())),
        };
        let now = self.now.monotonic;
        if let Some(name) = caller.name()
            && !self.web.callers.requests.take(now, &name.to_owned())
        {
            let answer = Answer::text(429, "this token has asked too often\n".to_owned());
            self.refused(conn, Refused::TooManyRequests);
            return Err(answer.with_header("Retry-After", "1"));
        }
        match (asked.path, request.method) {
            (ME, Method::Get | Method::Head) => Err(show_grant(&caller)),
            (SESSION, Method::Post) => {
                let token = caller.name().and_then(|name| access.named(name));
                Err(token.map_or_else(no_session, |token| {
                    let (text, seconds) = self.web.callers.sessions.open(token, posix);
                    show_grant(&caller).with_header("Set-Cookie", &cookie(&text, seconds))
                }))
            }
            (SESSION_END, Method::Post) => {
                let answer = Answer::text(200, "the session is over\n".to_owned());
                Err(answer.with_header("Set-Cookie", &cookie("", 0)))
            }
            _ => Ok((caller, asked)),
        }
    }

    /// A caller who was let in before, as it may be now; `None` if it may nothing any more. Who
    /// keeps a caller for longer than a request asks this before it tells it more.
    pub(super) fn still_let_in(&self, caller: &Caller) -> Option<Caller> {
        match &self.config.access {
            None => Some(Caller::anybody()),
            Some(access) => access.again(caller, self.now.posix),
        }
    }

    /// Counts somebody who has shown nothing, or something wrong. Says why it is refused: perhaps
    /// because there were too many of the latter.
    pub(super) fn count_denied(&mut self, conn: ConnId, mut refused: Refused) -> Refused {
        let from = self.slots.connection(conn).and_then(|connection| connection.peer_ip());
        let account = account(from.unwrap_or(IpAddr::V6(Ipv6Addr::UNSPECIFIED)));
        let is_wrong = !matches!(refused, Refused::NoSecret);
        if is_wrong && !self.web.callers.wrong.take(self.now.monotonic, &account) {
            refused = Refused::TooManyWrong;
        }
        self.refused(conn, refused);
        refused
    }

    fn deny(&mut self, conn: ConnId, request: &Request<'_>, refused: Refused) -> Answer {
        let refused = self.count_denied(conn, refused);
        if let Refused::TooManyWrong = refused {
            let why = "too many wrong secrets came from this address: wait a minute\n";
            return Answer::text(429, why.to_owned()).with_header("Retry-After", "60");
        }
        let why = match refused {
            Refused::NoSecret => "show the secret of a token: as Bearer, as the password of Basic",
            Refused::Expired => "this secret is good no more: its time is over",
            Refused::Revoked => "this link was taken back",
            _ => "this secret opens nothing here",
        };
        // A browser would ask its user for a password whenever our own page is refused something.
        let is_page = request.headers.fetch_site.is_some();
        let scheme = if is_page { "Bearer" } else { "Basic" };
        let challenge = format!("{scheme} realm=\"herd\"");
        Answer::text(401, format!("{why}\n")).with_header("WWW-Authenticate", &challenge)
    }

    /// Counts a refusal, and logs one in a while: there may be thousands.
    pub(super) fn refused(&mut self, conn: ConnId, refused: Refused) {
        self.web.callers.refused[refused as usize] += 1;
        let (now, logged_at) = (self.now.monotonic, self.web.callers.logged_at);
        if logged_at.is_none_or(|at| now >= at + LOG_EVERY) {
            self.web.callers.logged_at = Some(now);
            Event::WebRefused { conn, reason: refused.name() }.log();
        }
    }

    /// A connection keeps so many bytes of a request that is not whole, or none. An answer if all
    /// connections together keep too many: this one is to send it again later.
    pub(super) fn keep_under_way(&mut self, conn: ConnId, bytes: usize) -> Option<Answer> {
        self.web.callers.keeps(conn, bytes);
        if self.web.callers.under_way_bytes <= UNDER_WAY_BYTES_MAX {
            return None;
        }
        let (slots, callers) = (&mut self.slots, &mut self.web.callers);
        callers.under_way.retain(|conn, _| slots.session(*conn).is_some());
        callers.under_way_bytes = callers.under_way.values().sum();
        if callers.under_way_bytes <= UNDER_WAY_BYTES_MAX {
            return None;
        }
        callers.keeps(conn, 0);
        self.refused(conn, Refused::Busy);
        let why = "too many requests are under way: send this again later\n";
        Some(Answer::text(503, why.to_owned()).with_header("Retry-After", RETRY_AFTER_S))
    }
}

/// The address that something is counted for. In IPv6, a host that has one address of a
/// network has all.
pub(super) fn account(from: IpAddr) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        ip => ip,
    }
}

fn cookie(value: &str, seconds: u64) -> String {
    format!("{COOKIE}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict")
}

fn no_session() -> Answer {
    Answer::text(404, "there is no session to be had: only a token has one\n".to_owned())
}

/// What the caller may, as JSON.
fn show_grant(caller: &Caller) -> Answer {
    let grant = caller.grant();
    let texts = |patterns: &[Pattern]| Vec::from_iter(patterns.iter().map(Pattern::to_string));
    let everything = || vec!["*".to_owned()];
    let shown = serde_json::json!({
        "name": grant.map(|grant| &grant.name).filter(|name| !name.is_empty()),
        "report": grant.map_or_else(everything, |grant| texts(&grant.report)),
        "read": grant.map_or_else(everything, |grant| texts(&grant.read)),
        "blurred": caller.blurred().map(|it| serde_json::json!({
            "client": it.client, "metres": it.blur.metres(),
        })),
        "expires": grant.and_then(|grant| grant.expires).map(|time| time.whole_seconds()),
    });
    Answer::json(format!("{shown}\n").into_bytes())
}

#[cfg(test)]
mod tests {
    use herd_core::names::ConnKind;

    use super::*;
    use crate::reactor::tests::House;

    #[test]
    fn refusals_are_at_their_places() {
        for (at, refused) in Refused::ALL.into_iter().enumerate() {
            assert_eq!(refused as usize, at);
        }
    }

    #[test]
    fn a_network_has_one_account() {
        let ip = |text: &str| account(text.parse().unwrap());
        assert_eq!(ip("2001:db8::1"), ip("2001:db8::2"));
        assert_ne!(ip("2001:db8::1"), ip("2001:db8:0:1::1"));
        assert_eq!(ip("::ffff:192.0.2.1"), ip("192.0.2.1"));
        assert_ne!(ip("192.0.2.1"), ip("192.0.2.2"));
    }

    /// Goal: of requests that are not whole, 64 MiB are kept in all. Then one is told
    /// to come again, and there is room when others have ended.
    #[test]
    fn what_is_under_way_is_bounded() {
        const EACH: usize = 1 << 20;
        let mut house = House::new();
        let mut halves = Vec::from_iter((0..66).map(|_| house.come(ConnKind::Web)));
        let keep = |house: &mut House, conn| house.reactor.keep_under_way(conn, EACH);
        for (_, conn) in &halves[..64] {
            assert_eq!(keep(&mut house, *conn), None);
        }
        for (_, conn) in &halves[64..] {
            assert_eq!(keep(&mut house, *conn).map(|answer| answer.status), Some(503));
        }
        assert_eq!(house.reactor.web.callers.under_way_bytes, UNDER_WAY_BYTES_MAX);
        let (stream, gone) = halves.swap_remove(0);
        drop(stream);
        house.turn_until(|reactor| reactor.slots.session(gone).is_none());
        assert_eq!(keep(&mut house, halves[64].1), None, "one has ended");
        assert_eq!(house.reactor.web.callers.refused[Refused::Busy as usize], 2);
    }

    #[test]
    fn what_is_under_way_is_counted() {
        let mut callers = Callers::new().unwrap();
        let conn = |serial| ConnId::new(herd_core::names::ConnKind::Web, 1, serial);
        for (serial, bytes, sum) in
            [(1, 5_000, 5_000), (2, 6_000, 11_000), (1, 7_000, 13_000), (2, 10, 7_000), (1, 0, 0)]
        {
            callers.keeps(conn(serial), bytes);
            assert_eq!(callers.under_way_bytes, sum);
        }
        assert!(callers.under_way.is_empty());
    }
}
