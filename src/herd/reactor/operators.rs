//! What a server answers its operators by HTTP: one path, one answer. All of it is read from the
//! loop's parts and nothing is changed. How requests and answers are spelled is `http`'s business.
//!
//! The port has connections of its own, so it answers although clients are at their limit, and the
//! last of them is kept free: the one that has been idle for the longest goes.

use super::{Reactor, admin, connections};

use crate::metrics;
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind};
use herd_core::session::CloseReason;
use herd_core::wire::line::Lines;
use herd_web::http::{self, Answer, Limits, Parsed, Refusal, Request};

/// Requests without bodies.
pub(super) const LIMITS: Limits = Limits { head_bytes_max: 8 * 1024, body_bytes_max: 0 };
/// What can be asked for.
const PATHS: &str = "/livez /readyz /startupz /status /connections /metrics";

/// Something that must be so before a server is ready.
struct Condition {
    name: &'static str,
    is_met: bool,
    /// How it is, in words.
    why: String,
}

impl Reactor {
    /// The operators' port has been told something: at most one request a turn is answered.
    pub(super) fn answer_operator(&mut self, conn: ConnId, lines: &mut Lines<'_>) {
        let refusal = match http::parse(lines.rest(), LIMITS) {
            Parsed::Whole(request, length) => {
                self.look_whether_caught_up();
                lines.pass(length);
                self.give_answer(conn, &request);
                let more = http::parse(lines.rest(), LIMITS);
                if !lines.are_last() && matches!(more, Parsed::Partial { .. }) {
                    lines.rest_is_partial();
                }
                return;
            }
            Parsed::Partial { .. } if lines.are_last() => Refusal::Unfinished,
            Parsed::Partial { .. } => return lines.rest_is_partial(),
            Parsed::Refused(refusal) => refusal,
        };
        lines.rest_is_partial();
        let answer = refusal.answer().into_bytes(self.now.posix.whole_seconds(), false, false);
        self.send(conn, &answer);
        self.close_when_sent(conn);
    }

    fn give_answer(&mut self, conn: ConnId, request: &Request<'_>) {
        let hosts = &self.config.operator_hosts;
        let is_ours = request.headers.host.is_none_or(|host| http::is_our_host(host, hosts));
        let keeps_open = request.keeps_open && is_ours;
        let answer = if is_ours {
            self.answer_path(request)
        } else {
            let why = "this server does not go by that name: ask by an address or localhost\n";
            Answer::text(421, why.to_owned())
        };
        let posix_s = self.now.posix.whole_seconds();
        self.send(conn, &answer.into_bytes(posix_s, request.is_head(), keeps_open));
        if !keeps_open {
            self.close_when_sent(conn);
        }
    }

    fn answer_path(&self, request: &Request<'_>) -> Answer {
        match request.path {
            // Whoever is answered knows that the loop turns.
            "/livez" => Answer::text(200, "ok\n".to_owned()),
            "/readyz" => verdict(request, &self.conditions(true)),
            "/startupz" => verdict(request, &self.conditions(false)),
            "/status" => Answer::json(admin::status_line(self)),
            "/connections" => connections::answer(self, request),
            "/metrics" => {
                let text = self.figures().into_text();
                Answer::new(200, metrics::CONTENT_TYPE, text.into_bytes())
            }
            _ => Answer::text(404, format!("there is nothing here; ask for {PATHS}\n")),
        }
    }

    /// Whether clients may be sent here.
    pub(super) fn is_ready(&self) -> bool {
        self.conditions(true).iter().all(|condition| condition.is_met)
    }

    /// What must be so before clients are sent here. A server that drains has started all the same.
    fn conditions(&self, heeds_drain: bool) -> Vec<Condition> {
        let places = self.places.describe(self.now);
        let caught_up = self.caught_up.map(|how| how.to_string());
        let mut conditions = vec![
            Condition { name: "places", is_met: !self.places.are_loading(), why: places },
            Condition {
                name: "caught up",
                is_met: caught_up.is_some(),
                why: caught_up.unwrap_or("what peers hold is still coming".to_owned()),
            },
        ];
        if heeds_drain {
            let is_met = !self.is_draining();
            let why = self.drain_phase().map_or("clients are taken".to_owned(), |phase| {
                format!("it was told to stop, phase {}: {phase}", phase.name())
            });
            conditions.push(Condition { name: "doors", is_met, why });
        }
        if let Some(keeping) = self.keeping.as_ref().filter(|_| heeds_drain) {
            let (is_met, why) = keeping.readiness();
            conditions.push(Condition { name: "journal", is_met, why: why.to_owned() });
        }
        conditions
    }

    /// Keeps the last place free for the next operator: if this one has taken it, the one that has
    /// been between two requests for the longest must go.
    pub(super) fn make_room_for_operators(&mut self, newest: ConnId) {
        self.operators.retain(|&conn| self.slots.session(conn).is_some());
        let others = self.operators.clone();
        self.operators.push(newest);
        if self.slots.alive(ConnKind::Operator) < self.shares.operators {
            return;
        }
        let mut idle = None;
        for conn in others {
            let Some(session) = self.slots.session(conn) else { continue };
            let is_idle = session.queued_bytes() == 0 && !session.has_begun_line();
            let since = (session.last_active(), conn.serial());
            if is_idle && idle.is_none_or(|(earliest, _)| since < earliest) {
                idle = Some((since, conn));
            }
        }
        if let Some((_, conn)) = idle {
            self.close_now(conn, CloseReason::Displaced);
        }
    }
}

/// 200 if all is as it must be, else 503 with what is not; each of them if that is wanted.
fn verdict(request: &Request<'_>, conditions: &[Condition]) -> Answer {
    let is_met = conditions.iter().all(|condition| condition.is_met);
    let status = if is_met { 200 } else { 503 };
    let line = |condition: &Condition| {
        let Condition { name, is_met, why } = condition;
        format!("[{}] {name}: {why}\n", if *is_met { '+' } else { '-' })
    };
    if request.parameter("verbose").is_some() {
        return Answer::text(status, conditions.iter().map(line).collect());
    }
    let missing = conditions.iter().filter(|condition| !condition.is_met);
    let missing = missing.map(|condition| format!("{}: {}", condition.name, condition.why));
    match Vec::from_iter(missing).as_slice() {
        [] => Answer::text(status, "ok\n".to_owned()),
        missing => Answer::text(status, format!("{}\n", missing.join("; "))),
    }
}
