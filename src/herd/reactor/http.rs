//! How the loop speaks HTTP: requests are taken from what a connection has sent, and each is
//! answered. What they mean, `operators` and `web` know; how they are spelled, `herd_web::http`.

use super::Reactor;
use super::access::Refused;
use herd_core::driver::Driver;
use herd_core::names::ConnId;
use herd_core::wire::line_buffer::Lines;
use herd_web::http::{self, Answer, Limits, Parsed, Request};

/// A longer body is not put behind its head before both are sent: that costs more than to send
/// twice.
const COPIED_BYTES_MAX: usize = 4 * 1024;

/// What a port takes, and how it answers.
pub(super) struct Port {
    pub limits: Limits,
    /// Requests of one connection that are answered in one turn.
    pub requests_max: usize,
    /// Whether pages of others may make a browser ask this.
    pub serves_foreign_pages: fn(&Request<'_>) -> bool,
    /// `None`: the answer comes by itself, and the connection is held until then.
    pub answer: fn(&mut Reactor, ConnId, &Request<'_>) -> Option<Answer>,
}

impl Reactor {
    /// A connection that speaks HTTP has sent something.
    pub(super) fn answer_http(&mut self, conn: ConnId, lines: &mut Lines<'_>, port: &Port) {
        for _ in 0..port.requests_max {
            match http::parse(lines.rest(), port.limits) {
                Parsed::Whole(request, length) => {
                    lines.pass(length);
                    self.keep_under_way(conn, 0);
                    if !self.give_answer(conn, &request, port) {
                        // What a connection that is held has sent is served when it goes on.
                        if !self.awaits_answer(conn) {
                            lines.rest_is_partial();
                        }
                        return;
                    }
                    if lines.rest().is_empty() {
                        return;
                    }
                }
                Parsed::Partial { awaits_continue } if !lines.are_last() => {
                    if let Some(answer) = self.keep_under_way(conn, lines.rest().len()) {
                        return self.refuse_with(conn, lines, answer);
                    }
                    if awaits_continue {
                        self.send(conn, http::CONTINUE);
                    }
                    return lines.rest_is_partial();
                }
                Parsed::Partial { .. } => {
                    return self.refuse(conn, lines, http::Refusal::Unfinished);
                }
                Parsed::Refused(refusal) => return self.refuse(conn, lines, refusal),
            }
        }
        let rest = http::parse(lines.rest(), port.limits);
        if !lines.are_last() && matches!(rest, Parsed::Partial { .. }) {
            lines.rest_is_partial();
        }
    }

    fn refuse(&mut self, conn: ConnId, lines: &mut Lines<'_>, refusal: http::Refusal) {
        self.refuse_with(conn, lines, refusal.answer());
    }

    fn refuse_with(&mut self, conn: ConnId, lines: &mut Lines<'_>, answer: Answer) {
        lines.rest_is_partial();
        let answer = answer.into_bytes(self.now.posix.whole_seconds(), false, false);
        self.send(conn, &answer);
        self.close_when_sent(conn);
    }

    /// Says whether more requests may follow.
    fn give_answer(&mut self, conn: ConnId, request: &Request<'_>, port: &Port) -> bool {
        let headers = &request.headers;
        let is_ours = headers.host.is_none_or(|it| http::is_our_host(it, &self.config.http_hosts));
        let is_foreign =
            http::is_of_a_foreign_page(headers) && !(port.serves_foreign_pages)(request);
        let answer = if !is_ours {
            self.refused(conn, Refused::Host);
            let why = "this server does not go by that name: ask by an address or localhost\n";
            Some(Answer::text(421, why.to_owned()))
        } else if is_foreign {
            self.refused(conn, Refused::ForeignPage);
            Some(Answer::text(403, "pages of others may not ask here\n".to_owned()))
        } else {
            (port.answer)(self, conn, request)
        };
        let Some(answer) = answer else { return request.keeps_open && !self.awaits_answer(conn) };
        let goes_on = answer.goes_on && !request.is_head();
        let keeps_open = request.keeps_open && is_ours && !is_foreign && !answer.goes_on;
        let posix_s = self.now.posix.whole_seconds();
        let mut bytes = std::mem::take(&mut self.web.answer);
        bytes.clear();
        if answer.body.len() <= COPIED_BYTES_MAX {
            answer.write(posix_s, request.is_head(), keeps_open, &mut bytes);
            self.send(conn, &bytes);
        } else {
            answer.write_head(posix_s, keeps_open, &mut bytes);
            self.send(conn, &bytes);
            if !request.is_head() {
                self.send(conn, &answer.body);
            }
        }
        self.web.answer = bytes;
        if goes_on {
            // Another request on this connection would be answered inside this answer.
            if let Some(session) = self.slots.session(conn) {
                session.flags.paused = true;
            }
        } else if !keeps_open {
            self.close_when_sent(conn);
        }
        keeps_open
    }
}
