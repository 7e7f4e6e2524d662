//! What a server answers its operators by HTTP: one path, one answer. All of it is read from the
//! loop's parts and nothing is changed. How requests and answers are spelled is `http`'s business.
//!
//! The port has connections of its own, so it answers although clients are at their limit, and the
//! last of them is kept free: the one that has been idle for the longest goes. What comes here is
//! served first in its turn, and answered in it: an operator waits for the turn under way at most.

use super::http::Port;
use super::{Reactor, admin, connections};

use crate::openmetrics;
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind};
use herd_core::session::CloseReason;
use herd_core::wire::line_buffer::Lines;
use herd_web::http::{Answer, Limits, Request};

/// Requests without bodies.
pub(super) const LIMITS: Limits = Limits { head_bytes_max: 8 * 1024, body_bytes_max: 0 };
const PORT: Port = Port {
    limits: LIMITS,
    requests_max: 1,
    serves_foreign_pages: |_| true,
    answer: |reactor, conn, request| Some(reactor.answer_path(conn, request)),
};
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
        self.answer_http(conn, lines, &PORT);
        // The answer leaves before clients have their turns: a full turn takes some milliseconds.
        if self.slots.session(conn).is_some_and(|session| session.queued_bytes() > 0) {
            self.write(conn);
        }
    }

    fn answer_path(&mut self, _conn: ConnId, request: &Request<'_>) -> Answer {
        self.look_whether_caught_up();
        match request.path {
            // Any answer shows that the loop turns.
            "/livez" => Answer::text(200, "ok\n".to_owned()),
            "/readyz" => verdict(request, &self.conditions(true)),
            "/startupz" => verdict(request, &self.conditions(false)),
            "/status" => Answer::json(admin::status_line(self)),
            "/connections" => connections::answer(self, request),
            "/metrics" => {
                let text = self.figures().into_text();
                Answer::new(200, openmetrics::CONTENT_TYPE, text.into_bytes())
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
        if let Some(durability) = self.durability.as_ref().filter(|_| heeds_drain) {
            let (is_met, why) = durability.readiness();
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

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;
    use crate::reactor::tests::House;

    /// Lines of clients that had been taken when a whole answer was given.
    fn lines_taken(mut operator: &TcpStream) -> String {
        let mut answer = Vec::new();
        while !answer.ends_with(b"# EOF\n") {
            let mut piece = [0; 16 * 1024];
            let count = operator.read(&mut piece).unwrap();
            assert!(count > 0, "it was hung up on");
            answer.extend_from_slice(&piece[..count]);
        }
        let text = String::from_utf8(answer).unwrap();
        let line =
            text.lines().find(|line| line.starts_with("herd_commands_total{command=\"iamat"));
        line.unwrap().rsplit(' ').next().unwrap().to_owned()
    }

    /// Goal: an operator waits for no client that has sent something in the same turn, however
    /// early, and no turn longer if the question comes with the connection.
    #[test]
    fn operators_are_served_first() {
        let mut house = House::new();
        let mut clients = [0; 30].map(|_| TcpStream::connect(house.clients).unwrap());
        house.turn_until(|reactor| reactor.slots.alive(ConnKind::Client) == 30);
        let (kept, _) = house.come(ConnKind::Operator);
        let port = house.reactor.config.operators.unwrap();
        let mut taken = 0;
        for is_new in [false, true, false] {
            for client in &mut clients {
                client.write_all(b"IAMAT kiwi +1-1 7\n").unwrap();
            }
            let new = is_new.then(|| TcpStream::connect(port).unwrap());
            let mut operator = new.as_ref().unwrap_or(&kept);
            operator.write_all(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
            // The kernel may be slow to bring it.
            std::thread::sleep(Duration::from_millis(20));
            house.turn();
            assert_eq!(lines_taken(operator), taken.to_string());
            taken += clients.len();
            assert_eq!(house.reactor.server.counters().lines_in, taken as u64);
        }
    }
}
