//! The index of where clients are, from the first question for it on. Until then it costs a report
//! nothing; from then on, what the core says has changed is written into it before anything else is
//! done, so every answer comes from what is held.
//!
//! What the store holds at that time is read into it a piece a turn. Meanwhile changes are written,
//! too, and it does not matter which comes first: a piece is read from what is held.

use super::{Due, Reactor};
use herd_core::store::Cursor;
use herd_core::wire::Report;
use herd_core::{Change, wire};
use herd_web::nearby::{Clients, Point};

/// Reports that are read in a turn: some two milliseconds of it.
const READ_AT_ONCE: usize = 16_384;

pub(super) struct Index {
    clients: Clients,
    /// Where the store is still to be read.
    unread: Option<Cursor>,
}

impl Index {
    /// Where clients are, once all of them are there.
    pub(super) fn clients(&self) -> Option<&Clients> {
        self.unread.is_none().then_some(&self.clients)
    }
}

impl Reactor {
    /// Sees to it that there is an index, if this server may have one.
    pub(super) fn open_index(&mut self) {
        let may_have = self.config.web.is_some() && self.config.nearby.index;
        if self.web.nearby.is_some() || !may_have {
            return;
        }
        let mut random = fastrand::Rng::new();
        let clients = Clients::new((random.u64(..), random.u64(..)));
        self.server.watch();
        self.web.nearby = Some(Box::new(Index { clients, unread: Some(Cursor::default()) }));
        self.read_into_index();
    }

    /// Reads a piece of the store, and has a timer go on.
    pub(super) fn read_into_index(&mut self) {
        let Some(index) = &mut self.web.nearby else { return };
        let Some(cursor) = index.unread else { return };
        let store = self.server.store();
        index.unread = store.visit_some(cursor, READ_AT_ONCE, |report| {
            if !report.is_erasure() {
                index.clients.put(store.client_hash(report.client), place(report));
            }
        });
        if index.unread.is_some() {
            self.wheel.start(self.now.monotonic, Due::Index);
        }
    }

    /// Has the index follow what an input has changed.
    pub(super) fn index_changes(&mut self) {
        let Some(Index { clients, .. }) = self.web.nearby.as_deref_mut() else { return };
        let store = self.server.store();
        for change in self.out.changes() {
            match change {
                Change::News(report) => {
                    clients.put(store.client_hash(report.client), place(&report));
                }
                Change::Gone(client) => clients.remove(store.client_hash(client)),
            }
        }
    }
}

/// Where a report says its client is; some are nowhere on the globe.
pub(super) fn place(report: &Report<'_>) -> Option<Point> {
    let at = wire::position(report.position)?;
    Point::new(at.latitude, at.longitude)
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
        assert!(house.reactor.web.nearby.is_none(), "nobody has asked");
        house.reactor.open_index();
        let index = house.reactor.web.nearby.as_deref().unwrap();
        assert!(index.clients().is_none() && index.clients.grid().len() >= READ_AT_ONCE);
        report(&mut house, (0..old).step_by(3).map(|n| format!("IAMAT old-{n} +1+2 1520023935\n")));
        report(&mut house, (0..10).map(|n| format!("IAMAT new-{n} +1+2 1520023935\n")));
        let clients =
            |reactor: &Reactor| reactor.web.nearby.as_ref().map(|it| it.clients().is_some());
        house.turn_until(|reactor| clients(reactor) == Some(true));
        let grid = house.reactor.web.nearby.as_ref().unwrap().clients().unwrap().grid();
        let mut found = Vec::new();
        let mut near = |latitude, longitude| {
            let centre = Point::new(latitude, longitude).unwrap();
            grid.near(centre, 1.0, &mut found).map(|()| found.len())
        };
        let moved = old.div_ceil(3);
        assert_eq!((near(60.0, 24.0), near(1.0, 2.0)), (Ok(old - moved), Ok(moved + 10)));
    }
}
