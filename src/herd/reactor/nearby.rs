//! The index of where clients are, from the first question for it on. Until then it costs a report
//! nothing; from then on, what the core says has changed is written into it before anything else is
//! done, so every answer comes from what is held.
//!
//! What the store holds at that time is read into it a piece a turn. Meanwhile changes are written,
//! too, and it does not matter which comes first: a piece is read from what is held.

use super::following::Reading;
use super::{Due, Reactor};
use herd_core::store::Cursor;
use herd_web::clients::Clients;
use herd_web::nearby::Point;

/// Reports that are read in a turn: some two milliseconds of it.
const READ_AT_ONCE: usize = 2_048;

impl Reactor {
    /// Sees to it that there is an index, if this server may have one.
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
    }

    /// Whether there is an index, though it may not have everybody yet.
    pub(super) fn has_index(&self) -> bool {
        self.web.followers.as_ref().is_some_and(|it| !matches!(it.index, Reading::NotBegun))
    }

    /// Where clients are, once all of them are there.
    pub(super) fn indexed(&self) -> Option<&Clients> {
        let watch = self.web.followers.as_deref()?;
        matches!(watch.index, Reading::Done).then(|| watch.following.clients())
    }

    /// Reads a piece of the store, and has a timer go on.
    pub(super) fn read_into_index(&mut self) {
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
                self.wheel.start(self.now.monotonic, Due::Index);
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
    use herd_core::driver::Driver;
    use herd_core::names::{ConnId, ConnKind};
    use herd_core::wire::line_buffer::{LineLimits, Lines};

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
}
