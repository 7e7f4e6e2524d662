//! The index of where clients are, from the first question for it until nobody has asked for long.
//! Without it a report costs nothing; with it, it is noted who has changed, and a question first
//! has those read (`Following::read_noted`), so every answer comes from what is held.
//!
//! What the store holds at first is read into it a piece a turn. Meanwhile changes are noted or
//! read, too, and it does not matter which comes first: either is read from what is held. Who asks
//! for what takes more than a turn to read waits, and nobody else does.

use super::asking::Question;
use super::following::Reading;
use super::web_places::Asker;
use super::{Due, Reactor};
use herd_core::store::Cursor;
use herd_web::clients::Clients;
use herd_web::nearby::Point;

/// Reports that are read in a turn: some two milliseconds of it.
const READ_AT_ONCE: usize = 2_048;
/// Questions that have waited and are answered in a turn.
const ANSWERED_AT_ONCE: usize = 64;

impl Reactor {
    /// Sees to it that there is an index, if this server may have one, and that it says where
    /// clients are now, once everybody is in it.
    pub(super) fn open_index(&mut self) {
        if self.config.web.is_none() || !self.config.nearby.index {
            return;
        }
        let watch = self.watch_clients();
        if matches!(watch.index, Reading::NotBegun) {
            watch.following.clients_mut().keep_grid();
            watch.index = Reading::At(Cursor::default());
            self.read_into_index();
        }
        if self.is_index_whole() {
            self.read_noted();
        }
    }

    fn is_index_whole(&self) -> bool {
        self.web.followers.as_ref().is_some_and(|it| matches!(it.index, Reading::Done))
    }

    /// Reads who has changed, as many as a turn may. Says whether that was all; if not, later turns
    /// go on, and then serve those who wait.
    pub(super) fn read_noted(&mut self) -> bool {
        let Some(watch) = &mut self.web.followers else { return true };
        // Who waits has them read.
        let is_read = !watch.is_reading_on
            && watch.following.read_noted(self.server.store(), self.now.monotonic);
        if !is_read {
            self.read_on_later();
        }
        is_read
    }

    fn read_on_later(&mut self) {
        let Some(watch) = &mut self.web.followers else { return };
        if !std::mem::replace(&mut watch.is_reading_on, true) {
            self.wheel.start(self.now.monotonic, Due::Index);
        }
    }

    /// Reads the next piece, and once all is read serves those who wait for that.
    pub(super) fn read_on(&mut self) {
        let Some(watch) = &mut self.web.followers else { return };
        watch.is_reading_on = false;
        if matches!(watch.index, Reading::At(_)) {
            self.read_into_index();
            return self.read_on_later();
        }
        if self.read_noted() {
            self.seat_all();
            self.answer_those_who_wait();
        }
    }

    /// Answers a question once the index is up to date.
    pub(super) fn answer_when_indexed(&mut self, asker: Asker, question: Question) {
        if let Some(watch) = &mut self.web.followers {
            watch.asked.push_back((asker, question));
            self.read_on_later();
        }
    }

    fn answer_those_who_wait(&mut self) {
        for _ in 0..ANSWERED_AT_ONCE {
            let asked = self.web.followers.as_mut().and_then(|watch| watch.asked.pop_front());
            let Some((asker, question)) = asked else { return };
            let answer = self.answer_question(&question);
            self.answer_asker(&asker, answer);
        }
        self.read_on_later();
    }

    /// Whether there is an index, though it may not have everybody yet.
    pub(super) fn has_index(&self) -> bool {
        self.web.followers.as_ref().is_some_and(|it| !matches!(it.index, Reading::NotBegun))
    }

    /// Where clients are, once all of them are there, and their last changes are read.
    pub(super) fn indexed(&self) -> Option<&Clients> {
        let watch = self.web.followers.as_deref()?;
        let is_up_to_date = self.is_index_whole() && watch.following.is_up_to_date();
        is_up_to_date.then(|| watch.following.clients())
    }

    /// Reads a piece of the store, and has a timer go on.
    fn read_into_index(&mut self) {
        let Some(watch) = self.web.followers.as_deref_mut() else { return };
        let Reading::At(cursor) = watch.index else { return };
        let (store, clients) = (self.server.store(), watch.following.clients_mut());
        let rest = store.visit_some(cursor, READ_AT_ONCE, |report| {
            if !report.is_erasure() {
                clients.place(store.key(report.client), Point::spelled(report.position));
            }
        });
        match rest {
            Some(cursor) => {
                watch.index = Reading::At(cursor);
                self.read_on_later();
            }
            None => {
                clients.grid_is_read();
                watch.index = Reading::Done;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use herd_core::driver::Driver;
    use herd_core::names::{ConnId, ConnKind};
    use herd_core::wire::line_buffer::{LineLimits, Lines};

    use super::super::following::WATCHED_FOR;
    use super::*;
    use crate::reactor::tests::House;

    fn report(house: &mut House, lines: impl Iterator<Item = String>) {
        let nobody = ConnId::new(ConnKind::Client, 0, 99);
        for line in lines {
            let mut lines = Lines::new(line.as_bytes(), LineLimits::equal(1_000));
            house.reactor.tell_lines(nobody, &mut lines);
            house.reactor.tell_deferred();
        }
    }

    /// Goal: an index that is asked for late has everybody, where each is now: those who were there
    /// before, who moved while it was read, and who came meanwhile. A first question makes it, in
    /// pieces, and no report does.
    #[test]
    fn a_late_index_has_everybody() {
        let mut house = House::new();
        house.reactor.config.web = Some(house.reactor.config.client_address);
        let old = READ_AT_ONCE + 1_000;
        report(&mut house, (0..old).map(|n| format!("IAMAT old-{n} +60+24 1520023934\n")));
        assert!(house.reactor.web.followers.is_none(), "nobody has asked");
        house.reactor.open_index();
        let read = house.reactor.web.followers.as_deref().unwrap().following.clients().len();
        assert!(house.reactor.indexed().is_none() && (READ_AT_ONCE..old).contains(&read));
        report(&mut house, (0..old).step_by(3).map(|n| format!("IAMAT old-{n} +1+2 1520023935\n")));
        report(&mut house, (0..10).map(|n| format!("IAMAT new-{n} +1+2 1520023935\n")));
        house.turn_until(|reactor| reactor.indexed().is_some());
        // As a question does.
        house.reactor.open_index();
        house.turn_until(|reactor| reactor.indexed().is_some());
        house.reactor.indexed().unwrap().check_invariants();
        let grid = house.reactor.indexed().and_then(Clients::grid).unwrap();
        let mut found = Vec::new();
        let mut near = |latitude, longitude| {
            let centre = Point::new(latitude, longitude).unwrap();
            grid.near(centre, 1.0, &mut found).map(|()| found.len())
        };
        let moved = old.div_ceil(3);
        assert_eq!((near(60.0, 24.0), near(1.0, 2.0)), (Ok(old - moved), Ok(moved + 10)));
    }

    /// Goal: when nobody has asked for long, reports cost what they did before, and the next
    /// question has an index of what is held then. Method: one that asks now and then comes first.
    #[test]
    fn an_index_that_nobody_wants_is_let_go_of() {
        let mut house = House::new();
        report(&mut house, ["IAMAT old +60+24 1520023934\n".to_owned()].into_iter());
        // No connection is open that could be given up meanwhile: time may go by at a stroke.
        let pass = |house: &mut House, time: Duration| {
            house.reactor.clocks.skip(time);
            house.reactor.now = house.reactor.clocks.read(None);
            (0..3).for_each(|_| house.turn());
        };
        house.reactor.open_index();
        for _ in 0..3 {
            pass(&mut house, WATCHED_FOR * 2 / 3);
            assert!(house.reactor.indexed().is_some(), "somebody has asked lately");
            house.reactor.open_index();
        }
        pass(&mut house, WATCHED_FOR * 2 / 3);
        assert!(house.reactor.web.followers.is_some());
        pass(&mut house, WATCHED_FOR * 2 / 3);
        house.turn_until(|reactor| reactor.web.followers.is_none());
        report(&mut house, ["IAMAT new +60+24 1520023934\n".to_owned()].into_iter());
        assert_eq!(house.reactor.out.changes().count(), 0, "nobody watches");
        house.reactor.open_index();
        let clients = house.reactor.indexed().unwrap();
        clients.check_invariants();
        assert_eq!(clients.len(), 2);
    }
}
