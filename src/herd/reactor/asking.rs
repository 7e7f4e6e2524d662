//! What those hear who ask by HTTP where clients are. How a question is spelled, `herd_web::ask`
//! knows; who is near, `herd_web::nearby`. One that needs the index waits until that is up to date
//! (`super::nearby`).
//!
//! An answer is bounded in what it shows and in what it looks at: one that breaks off says how to
//! ask for the rest. Clients that the caller may not see are skipped before anything is counted.

use super::Reactor;
use herd_core::names::ConnId;
use herd_core::store::Cursor;
use herd_core::wire::Report;
use herd_web::access::Caller;
use herd_web::ask::{self, Ask, Selection};
use herd_web::clients::{Clients, Places, Who};
use herd_web::http::{Answer, Request};
use herd_web::nearby::{Area, LOOKS_MAX, Near, Point, TooMany};
use herd_web::seen::{self, Collection};
use herd_web::unescape;

/// Of more clients than this, `thin` shows counts.
const THIN_ABOVE: usize = 5_000;
/// Into so many rows and columns it cuts an area.
const PARTS: (usize, usize) = (24, 32);

/// Reports that are brought into the cache together: they lie anywhere, and each is waited for.
const REPORTS_AHEAD: usize = 64;

/// A question that has been read.
pub(super) struct Question {
    ask: Ask,
    /// A client that is not shown, for it is the one that is asked about.
    but: Option<Vec<u8>>,
    /// By what it was asked, for the one that asks on.
    path: String,
    query: String,
    caller: Caller,
}

/// Which clients an answer may show.
struct Shown<'a> {
    reactor: &'a Reactor,
    caller: &'a Caller,
    max_age_s: Option<u64>,
    limit: usize,
    collection: Collection,
}

impl Shown<'_> {
    /// The report of a client that may be shown. One that has expired is not held any more, though
    /// it may not be swept yet; one that was erased is held for those who have not heard of it.
    fn may_show(&self, report: &Report<'_>) -> bool {
        let (server, now) = (&self.reactor.server, self.reactor.now);
        let age_s = now.posix.whole_seconds().saturating_sub(report.stamp.whole_seconds());
        self.caller.may_read(report.client)
            && self.max_age_s.is_none_or(|max| age_s <= max)
            && !report.is_erasure()
            && !server.has_expired(report, now)
    }

    /// Shows a client, unless it must not be shown. Says whether there was room for it.
    fn show(&mut self, report: &Report<'_>, metres: Option<f64>) -> bool {
        if !self.may_show(report) {
            return true;
        }
        let has_room = self.collection.len() < self.limit;
        if has_room {
            self.collection.add(report, self.reactor.now.posix, metres);
        }
        has_room
    }

    fn named(&mut self, ids: &[Vec<u8>]) {
        for id in ids {
            if let Some(report) = self.reactor.server.store().find(id) {
                self.show(&report, None);
            }
        }
    }

    /// Those whose names begin so, in the order of the store.
    fn beginning(&mut self, prefix: &[u8], from: Cursor) -> Option<Cursor> {
        let (mut met, reactor) = (0, self.reactor);
        let (mut cursor, mut looked) = (Some(from), 0);
        while let Some(at) = cursor
            && met < self.limit
            && looked < LOOKS_MAX
        {
            // A few at a time: all of a piece are shown.
            let most = (self.limit - met).min(64);
            cursor = reactor.server.store().visit_some(at, most, |report| {
                looked += 1;
                if report.client.starts_with(prefix) && self.may_show(report) {
                    met += 1;
                    self.collection.add(report, reactor.now.posix, None);
                }
            });
        }
        cursor
    }

    fn inside(&mut self, grid: Places<'_>, area: &Area, from: Who) -> Option<Who> {
        let store = self.reactor.server.store();
        grid.inside(area, from, |who| {
            let report = store.reports_of(grid.key(who)).next();
            report.is_none_or(|report| self.show(&report, None))
        })
    }

    /// From behind this one on. Says behind which client it breaks off.
    fn near(
        &mut self,
        grid: Places<'_>,
        (centre, radius_m): (Point, f64),
        behind: Option<(u64, u64)>,
        but: Option<&[u8]>,
    ) -> Result<Option<(u64, u64)>, TooMany> {
        let mut found = Vec::new();
        grid.near(centre, radius_m, &mut found)?;
        // No distance is below zero, so their bits are in their order.
        let place = |near: &Near| (near.metres.to_bits(), u64::from(near.who));
        let first = found.partition_point(|near| behind.is_some_and(|it| place(near) <= it));
        self.collection.expect(self.limit.min(found.len() - first));
        let store = self.reactor.server.store();
        let mut last = None;
        for some in found[first..].chunks(REPORTS_AHEAD) {
            let keys = some.iter().map(|near| grid.key(near.who));
            store.fetch_ahead::<REPORTS_AHEAD>(keys);
            for near in some {
                let report = store.reports_of(grid.key(near.who)).next();
                let Some(report) = report else { continue };
                if but == Some(report.client) {
                    continue;
                }
                if !self.show(&report, Some(near.metres)) {
                    return Ok(last);
                }
                last = Some(place(near));
            }
        }
        Ok(None)
    }
}

impl Reactor {
    /// `/v1/clients/…`. A name may have slashes: what begins with the last one may be a question.
    pub(super) fn show_client(
        &mut self,
        rest: &str,
        (conn, request): (ConnId, &Request<'_>),
        caller: &Caller,
    ) -> Option<Answer> {
        if let Some(id) = rest.strip_suffix("/near") {
            return self.show_around(&unescape(id), (conn, request), caller);
        }
        Some(match self.seen(&unescape(rest), caller) {
            Some(report) => {
                let mut text = Vec::new();
                seen::write_feature(&report, self.now.posix, None, &mut text);
                text.push(b'\n');
                geojson(text)
            }
            None => unknown(),
        })
    }

    /// An answer, unless it has to wait.
    pub(super) fn show_clients(
        &mut self,
        (conn, request): (ConnId, &Request<'_>),
        caller: &Caller,
    ) -> Option<Answer> {
        match Ask::read(request.query) {
            Ok(ask) => self.answer_or_hold((conn, request), ask, None, caller),
            Err(why) => Some(bad(&why)),
        }
    }

    fn show_around(
        &mut self,
        id: &[u8],
        (conn, request): (ConnId, &Request<'_>),
        caller: &Caller,
    ) -> Option<Answer> {
        let Some(report) = self.seen(id, caller) else { return Some(unknown()) };
        let Some(centre) = Point::spelled(report.position) else {
            return Some(bad("this client is nowhere on the globe"));
        };
        match Ask::read_around(request.query, centre) {
            Ok(ask) => self.answer_or_hold((conn, request), ask, Some(id), caller),
            Err(why) => Some(bad(&why)),
        }
    }

    fn answer_or_hold(
        &mut self,
        (conn, request): (ConnId, &Request<'_>),
        ask: Ask,
        but: Option<&[u8]>,
        caller: &Caller,
    ) -> Option<Answer> {
        if matches!(ask.selection, Selection::Inside(_) | Selection::Near { .. }) {
            self.open_index();
            if self.has_index() && self.indexed().is_none() {
                let asker = self.hold(conn, request)?;
                let (path, query) = (request.path.to_owned(), request.query.to_owned());
                let (but, caller) = (but.map(<[u8]>::to_vec), caller.clone());
                self.answer_when_indexed(asker, Question { ask, but, path, query, caller });
                return None;
            }
        }
        Some(self.answer_ask(&ask, but, (request.path, request.query), caller))
    }

    pub(super) fn answer_question(&self, question: &Question) -> Answer {
        let Question { ask, but, path, query, caller } = question;
        self.answer_ask(ask, but.as_deref(), (path, query), caller)
    }

    fn answer_ask(
        &self,
        ask: &Ask,
        but: Option<&[u8]>,
        (path, query): (&str, &str),
        caller: &Caller,
    ) -> Answer {
        let (max_age_s, limit) = (ask.max_age_s, ask.limit);
        let collection = Collection::default();
        let mut shown = Shown { reactor: self, caller, max_age_s, limit, collection };
        let grid = self.indexed().and_then(Clients::grid);
        let next = match (&ask.selection, grid) {
            (Selection::Named(ids), _) => {
                shown.limit = ids.len();
                shown.named(ids);
                None
            }
            (Selection::Beginning(prefix), _) => {
                let from = ask.cursor.map_or(Some(Cursor::default()), |it| Cursor::numbered(it.0));
                let Some(from) = from else { return bad("cursor is none of this question") };
                shown.beginning(prefix, from).map(|cursor| (cursor.number(), 0))
            }
            (Selection::Inside(area), Some(grid)) => {
                if ask.thins && self.is_thinned(grid, area, ask, caller) {
                    let counts = grid.counts(area, PARTS);
                    counts.iter().for_each(|count| shown.collection.add_count(count));
                    return geojson(shown.collection.finish(None));
                }
                let Ok(from) = u32::try_from(ask.cursor.unwrap_or_default().0) else {
                    return bad("cursor is none of this question");
                };
                shown.inside(grid, area, from).map(|who| (u64::from(who), 0))
            }
            (Selection::Near { centre, radius_m }, Some(grid)) => {
                match shown.near(grid, (*centre, *radius_m), ask.cursor, but) {
                    Ok(next) => next,
                    Err(TooMany) => {
                        return bad(&format!(
                            "more than {LOOKS_MAX} clients are about there: make the radius \
                             smaller, or ask by bbox, in pages"
                        ));
                    }
                }
            }
            (Selection::Inside(_) | Selection::Near { .. }, None) => {
                let why = "this server has no index of where clients are: `index` of [nearby] is \
                           false\n";
                return Answer::text(501, why.to_owned());
            }
        };
        let next = next.map(|cursor| format!("{path}?{}", ask::next_query(query, cursor)));
        geojson(shown.collection.finish(next.as_deref()))
    }

    /// Whether counts are shown instead of clients. They count all, so only those hear them who may
    /// see all.
    fn is_thinned(&self, grid: Places<'_>, area: &Area, ask: &Ask, caller: &Caller) -> bool {
        let sees_all = caller.may_read_all() && ask.max_age_s.is_none();
        sees_all && !grid.is_looked_over(area, THIN_ABOVE)
    }

    /// What is known of a client, if the caller may know that.
    pub(super) fn seen(&self, id: &[u8], caller: &Caller) -> Option<Report<'_>> {
        self.server.look_up(id, self.now).filter(|_| caller.may_read(id))
    }
}

pub(super) fn geojson(text: Vec<u8>) -> Answer {
    Answer::new(200, "application/geo+json", text)
}

pub(super) fn unknown() -> Answer {
    Answer::text(404, "no such client is known here\n".to_owned())
}

pub(super) fn bad(why: &str) -> Answer {
    Answer::text(400, format!("{why}\n"))
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;
    use std::sync::Arc;

    use herd_core::names::ConnKind;
    use herd_core::wire::line_buffer::{LineLimits, Lines};
    use herd_web::access::Grant;
    use herd_web::http::{Headers, Method};

    use super::*;
    use crate::reactor::tests::House;

    fn nobody() -> ConnId {
        ConnId::new(ConnKind::Web, 0, 99)
    }

    fn request<'a>(path: &'a str, query: &'a str) -> Request<'a> {
        let (headers, body) = (Headers::default(), Cow::Borrowed(&[][..]));
        Request { method: Method::Get, path, query, keeps_open: true, headers, body }
    }

    fn text(answer: Option<Answer>) -> String {
        String::from_utf8(answer.expect("few are read at once").body).unwrap()
    }

    /// Goal: who may not be seen is not shown, not counted, and leaves no gap: all answers are
    /// those of a server that does not know it. Method: one server knows it, and one does not.
    #[test]
    fn who_is_hidden_is_not_there() {
        let mut houses = ["spy", ""].map(|spy| {
            let mut house = House::new();
            let reactor = &mut house.reactor;
            reactor.config.web = Some(reactor.config.client_address);
            let (_, conn) = house.come(ConnKind::Client);
            for client in ["kiwi", spy, "fig", "plum"].iter().filter(|it| !it.is_empty()) {
                let line = format!("IAMAT {client} +60.17+24.94 1520023934\n");
                let mut lines = Lines::new(line.as_bytes(), LineLimits::equal(1_000));
                house.reactor.tell_lines(conn, &mut lines);
            }
            house
        });
        let read = ["kiwi", "fig", "plum"].map(|pattern| pattern.parse().unwrap()).to_vec();
        let caller = Caller::new(Arc::new(Grant { read, ..Grant::default() }));
        let answers = houses.each_mut().map(|house| {
            let mut ask = |rest: &str, query: &str| {
                let path = format!("/v1/clients/{rest}");
                let (reactor, conn) = (&mut house.reactor, nobody());
                text(match rest {
                    "" => reactor.show_clients((conn, &request("/v1/clients", query)), &caller),
                    rest => reactor.show_client(rest, (conn, &request(&path, query)), &caller),
                })
            };
            [
                ask("", "near=60.17,24.94&radius=5"),
                ask("", "near=60.17,24.94&radius=5&limit=3"),
                ask("", "bbox=24,60,25,61&limit=3"),
                ask("", "bbox=24,60,25,61&thin=true"),
                ask("", "prefix=s"),
                ask("", "id=spy&id=kiwi"),
                ask("spy", ""),
                ask("spy/near", "radius=5"),
                ask("kiwi/near", "radius=5"),
            ]
        });
        // Clocks differ from server to server.
        let skewless = |all: &[String; 9]| {
            all.each_ref().map(|text| {
                let parts = text.split("\"skew\":");
                Vec::from_iter(parts.map(|it| it.split_once(',').map_or(it, |(_, rest)| rest)))
                    .join("")
            })
        };
        assert_eq!(skewless(&answers[0]), skewless(&answers[1]));
        let [near, page, inside, ..] = &answers[0];
        for all in [near, page, inside] {
            assert!(all.contains("\"numberReturned\":3}"), "{all}");
        }
        let everybody = request("/v1/clients", "near=60.17,24.94&radius=5");
        let asked = (nobody(), &everybody);
        let all = text(houses[0].reactor.show_clients(asked, &Caller::anybody()));
        assert!(all.contains("\"numberReturned\":4}") && all.contains("spy"), "{all}");
    }
}
