//! What a server answers phones, browsers and scripts by HTTP: they report where they are, and ask
//! where others are. Which app has sent a body, `herd_web` finds out.
//!
//! Each request is answered for a [`Caller`], who says whose positions it may report and read.
//!
//! A report of no use is answered like a good one. Only what may be sent again later is refused: a
//! phone keeps it, and what comes behind it.

use std::mem;
use std::time::Duration;

use super::access::{Callers, is_public};
use super::follower_places::Accounts;
use super::following::Followers;
use super::http::Port;
use super::mqtt::Mqtt;
use super::web_places::Askers;
use super::{Reactor, StartError};
use herd_core::border::{Input, Output};
use herd_core::driver::Driver;
use herd_core::names::ConnId;
use herd_core::wire::Report;
use herd_core::wire::line_buffer::{LineLimits, Lines};
use herd_web::access::{Caller, Pattern};
use herd_web::ask::OPENAPI;
use herd_web::http::{Answer, Limits, Method, Request};
use herd_web::{Fix, Hints, Reading, Reply, Unusable, friends, map, read_body, unescape};

/// Overland sends a thousand fixes of 600 bytes.
pub(super) const LIMITS: Limits = Limits { head_bytes_max: 16 * 1024, body_bytes_max: 1024 * 1024 };
/// A clock that is further ahead is wrong: a phone's clock is set by its network.
const AHEAD_MAX: Duration = Duration::from_secs(300);
/// Clients that one request may report: all of them are flooded within a turn.
const REPORTED_MAX: usize = 1_000;
/// Friends that OwnTracks hears about.
const FRIENDS_MAX: usize = 256;
/// Of more clients than these, friends are only those that a token names in full: nobody else's
/// phone makes us walk over a million.
const WALKED_MAX: usize = 10_000;
const JSON: &str = "application/json";
/// After so many seconds, a report may find room.
const RETRY_AFTER_S: &str = "30";

const PORT: Port = Port {
    limits: LIMITS,
    requests_max: 16,
    serves_foreign_pages: |request| map::has(request.path) || is_public(request),
    answer: Reactor::answer_web_request,
};

const CLIENTS: &str = "/v1/clients";
pub(super) const FOLLOW: &str = "/v1/follow";
const HELP: &str = "\
This is a server of a herd. Report where somebody is:

  POST /report             as OwnTracks, Overland, Traccar Client, GPSLogger or GeoJSON send it
  GET /report?id=kiwi&lat=60.1699&lon=24.9384

and ask:

  GET /v1/clients/kiwi     where kiwi is, as GeoJSON
  GET /v1/clients?id=kiwi&id=fig
  GET /v1/follow?id=kiwi   where kiwi goes, as events
  GET /v1/clients?near=60.1699,24.9384&radius=500     who is within so many metres
  GET /v1/clients?bbox=24,60,25,61                    who is between west, south, east and north
  GET /v1/clients?prefix=jane/                        whose names begin so
  GET /v1/clients/kiwi/near?radius=500                who is near kiwi
  GET /v1/clients/kiwi/places?radius=500&limit=5      what is near kiwi, as WHATSAT says it

DELETE /v1/clients/kiwi has kiwi forgotten, in the whole herd.

or see it live in a browser: /map

GET /openapi.json describes all of it for programs.
";

/// What is kept for those who come by HTTP or MQTT.
pub(super) struct Web {
    pub(super) callers: Callers,
    /// Who is where, and those who are told what changes, once there was one who wanted to know.
    pub(super) followers: Option<Box<Followers>>,
    /// To what the places of followers are counted.
    pub(super) accounts: Accounts,
    /// Room for the bytes of an answer.
    pub(super) answer: Vec<u8>,
    /// Room for a report as the core hears it.
    line: Vec<u8>,
    /// Those who wait for an answer.
    pub(super) askers: Askers,
    /// Those who speak MQTT.
    pub(super) mqtt: Mqtt,
}

impl Web {
    /// # Errors
    /// The system gives no randomness.
    pub(super) fn open() -> Result<Web, StartError> {
        Ok(Web {
            callers: Callers::new()?,
            followers: None,
            accounts: Accounts::default(),
            answer: Vec::new(),
            line: Vec::new(),
            askers: Askers::default(),
            mqtt: Mqtt::default(),
        })
    }
}

impl Reactor {
    /// The web port has been told something.
    pub(super) fn answer_web(&mut self, conn: ConnId, lines: &mut Lines<'_>) {
        self.answer_http(conn, lines, &PORT);
    }

    fn answer_web_request(&mut self, conn: ConnId, request: &Request<'_>) -> Option<Answer> {
        // The page itself is for everybody: which clients it shows, is asked when it asks for them.
        if let Some(file) = map::answer(request) {
            return Some(file);
        }
        let (caller, request) = match self.let_in(conn, request) {
            Ok(let_in) => let_in,
            Err(answer) => return Some(answer),
        };
        let request = &request;
        if let Some(blurred) = caller.blurred() {
            return Some(self.answer_blurred(conn, request, &caller, blurred));
        }
        let id = client_in(request.path).and_then(|rest| rest.strip_suffix("/places"));
        match id.filter(|_| matches!(request.method, Method::Get | Method::Head)) {
            Some(id) => self.ask_web_places(conn, &unescape(id), request, &caller),
            None => self.answer_caller(conn, request, &caller),
        }
    }

    /// An answer, unless it has to wait.
    fn answer_caller(
        &mut self,
        conn: ConnId,
        request: &Request<'_>,
        caller: &Caller,
    ) -> Option<Answer> {
        let is_report = request.method == Method::Post || !request.query.is_empty();
        if request.method == Method::Delete {
            return Some(match client_in(request.path) {
                Some(id) => self.erase_for(&unescape(id), caller),
                None => not_here(),
            });
        }
        Some(match request.path {
            "/" | "/report" | "/pub" if is_report => self.take_reports(conn, request, caller),
            "/" | "/report" | "/pub" => Answer::text(200, HELP.to_owned()),
            _ if request.method == Method::Post => not_here(),
            CLIENTS => return self.show_clients((conn, request), caller),
            FOLLOW => self.follow(conn, request, caller),
            "/openapi.json" => Answer::json(OPENAPI.into()),
            path => match client_in(path) {
                Some(rest) => return self.show_client(rest, (conn, request), caller),
                None => not_here(),
            },
        })
    }

    fn take_reports(&mut self, conn: ConnId, request: &Request<'_>, caller: &Caller) -> Answer {
        let hints = Hints {
            query: request.query,
            name: caller.name(),
            user: request.headers.limit_user,
            device: request.headers.limit_device,
            ..self.hints()
        };
        let mut reading = read_body(&request.body, &hints);
        reading.keep_allowed(caller);
        reading.keep_newest();
        if reading.fixes.len() > REPORTED_MAX {
            let why = format!("report at most {REPORTED_MAX} clients at a time\n");
            return Answer::text(413, why);
        }
        if !self.take_reading(conn, &mut reading, caller) {
            let why = "there is no room for this report now: send it again later\n";
            return Answer::text(503, why.to_owned()).with_header("Retry-After", RETRY_AFTER_S);
        }
        let (answer, content_type) = match reading.reply {
            Reply::OwnTracks => (self.friends(caller, &reading.fixes), JSON),
            _ => reading.answer(),
        };
        Answer::new(200, content_type, answer.into_bytes())
    }

    /// What is known of a report beside itself, if nothing else is.
    pub(super) fn hints(&self) -> Hints<'static> {
        let ahead_max = self.config.limits.core.client_ahead_max;
        let ahead_max = ahead_max.map_or(AHEAD_MAX, |it| it.min(AHEAD_MAX));
        Hints { query: "", name: None, user: None, device: None, now: self.now.posix, ahead_max }
    }

    /// Takes the reports of somebody who may report them, as far as it may so often. Says whether
    /// there was room for all.
    pub(super) fn take_reading(
        &mut self,
        conn: ConnId,
        reading: &mut Reading,
        caller: &Caller,
    ) -> bool {
        reading.drop_where(|fix| self.over_limit(fix, caller));
        for (count, of_this) in self.counts.web_unusable.iter_mut().zip(reading.unusable) {
            *count += u64::from(of_this);
        }
        let mut all_taken = true;
        for fix in &reading.fixes {
            let is_taken = self.take_fix(conn, fix, caller);
            self.counts.web_reports[usize::from(is_taken)] += 1;
            all_taken &= is_taken;
        }
        all_taken
    }

    /// Why a token may not report this now. A phone hears nothing of it: what it keeps and sends
    /// again would only be more.
    fn over_limit(&mut self, fix: &Fix, caller: &Caller) -> Option<Unusable> {
        // Who has no token has no share of it to use up.
        caller.name()?;
        let is_known = self.server.look_up(fix.client.as_bytes(), self.now).is_some();
        if !is_known && !self.web.callers.may_make_one(caller) {
            return Some(Unusable::TooManyClients);
        }
        let may_now = self.web.callers.may_report_now(caller, self.now.monotonic);
        (!may_now).then_some(Unusable::TooOften)
    }

    /// What OwnTracks is answered: where those are that the caller may see, its own devices not.
    fn friends(&self, caller: &Caller, own: &[Fix]) -> String {
        let Some(grant) = caller.grant() else { return "[]".to_owned() };
        let is_own = |id: &[u8]| own.iter().any(|fix| fix.client.as_bytes() == id);
        let mut reports = Vec::new();
        if self.server.store().len() <= WALKED_MAX {
            let known = self.server.store().reports();
            let seen = known.filter(|report| caller.may_read(report.client));
            let alive = seen.filter_map(|report| self.server.look_up(report.client, self.now));
            reports.extend(alive.filter(|report| !is_own(report.client)).take(FRIENDS_MAX));
        } else {
            let named = grant.read.iter().filter_map(Pattern::client);
            let named = named.filter(|id| !is_own(id.as_bytes())).take(FRIENDS_MAX);
            reports.extend(named.filter_map(|id| self.server.look_up(id.as_bytes(), self.now)));
        }
        reports.sort_by_key(|report| report.client);
        friends::write(&reports)
    }

    /// Says whether there was room for it.
    fn take_fix(&mut self, conn: ConnId, fix: &Fix, caller: &Caller) -> bool {
        // A phone that hears nothing sends the same again, which is no news: it would be flooded.
        let held = self.server.look_up(fix.client.as_bytes(), self.now);
        let is_same = |held: Report<'_>| {
            held.stamp == fix.stamp && *held.position == *fix.position.as_bytes()
        };
        if held.is_some_and(is_same) {
            return true;
        }
        let known = self.server.store().len();
        let mut line = mem::take(&mut self.web.line);
        line.clear();
        fix.write_line(&mut line);
        let lines = Lines::new(&line, LineLimits::equal(line.len()));
        let mut lines = lines.introducing(self.newcomers_max(conn));
        self.server.handle(self.now, Input::Lines { conn, lines: &mut lines }, &mut self.out);
        self.append_news();
        let is_taken = self.take_answer(conn);
        self.web.line = line;
        self.carry_out();
        self.tell_deferred();
        let known_now = self.server.store().len();
        if known_now > known {
            self.charge_newcomers(conn, known_now - known);
            self.web.callers.has_made_one(caller);
        }
        is_taken
    }

    /// The core's answer to a line is not for the far end, which speaks another language. Says
    /// whether the line was a report that was taken.
    fn take_answer(&mut self, conn: ConnId) -> bool {
        let (list, text) = (&mut self.out.list, &self.out.text);
        let mut is_taken = false;
        list.retain(|output| match output {
            Output::Send { conn: to, text: range } if *to == conn => {
                is_taken |= text[range.clone()].starts_with(b"AT ");
                false
            }
            Output::Close { conn: to } => *to != conn,
            _ => true,
        });
        is_taken
    }
}

/// What stands behind `/v1/clients/`.
pub(super) fn client_in(path: &str) -> Option<&str> {
    path.strip_prefix(CLIENTS)?.strip_prefix('/')
}

fn not_here() -> Answer {
    Answer::text(404, "there is nothing here; GET / says what there is\n".to_owned())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};

    use herd_core::names::ConnKind;

    use crate::reactor::tests::House;

    /// What a POST of one report allocates: the list of the body's values, the client, the
    /// position, the list of reports and the answer's body. All of it is bounded by the request.
    const ALLOCATIONS: u64 = 5;

    /// Goal: a phone that reports on a connection that stays open allocates a few times for each
    /// report. Method: the least of ten, for the memory of timers may grow meanwhile.
    #[test]
    fn a_post_allocates_a_few_times() {
        let mut house = House::new();
        let (mut phone, _) = house.come(ConnKind::Web);
        let mut post = |time: u32| {
            let body = format!(
                "{{\"_type\":\"location\",\"lat\":34.06893,\"lon\":-118.445127,\"tst\":{time},\
                 \"tid\":\"ph\",\"batt\":83,\"topic\":\"owntracks/jane/phone\"}}"
            );
            let head = "POST /pub HTTP/1.1\r\nHost: localhost\r\nContent-Length";
            // In one piece: half a request would have to be kept.
            phone.write_all(format!("{head}: {}\r\n\r\n{body}", body.len()).as_bytes()).unwrap();
            let mut allocations = 0;
            let news = house.reactor.server.counters().news;
            while house.reactor.server.counters().news == news {
                let turn = || house.reactor.turn(&mut house.events).unwrap();
                allocations += allocation_counter::measure(turn).count_total;
            }
            let count = phone.read(&mut [0; 1024]).unwrap();
            assert!(count > 0);
            allocations
        };
        (0..10).for_each(|n| _ = post(1_520_000_000 + n));
        let least = (0..10).map(|n| post(1_520_000_010 + n)).min();
        assert_eq!(least, Some(ALLOCATIONS));
    }
}
