//! The index of where clients are: what the core says has changed is written into it before
//! anything else is done, so every answer comes from what is held.

use super::Reactor;
use crate::config::Config;
use herd_core::wire::Report;
use herd_core::{Change, Server, wire};
use herd_web::nearby::{Clients, Point};

/// The index of what is held, if somebody may ask for it. From now on, it is told what changes.
pub(super) fn open(config: &Config, server: &mut Server) -> Option<Box<Clients>> {
    if config.web.is_none() || !config.nearby.index {
        return None;
    }
    let mut random = fastrand::Rng::new();
    let mut clients = Clients::new((random.u64(..), random.u64(..)));
    for report in server.store().reports() {
        clients.put(server.store().client_hash(report.client), place(&report));
    }
    server.watch();
    Some(Box::new(clients))
}

impl Reactor {
    /// Has the index follow what an input has changed.
    pub(super) fn index_changes(&mut self) {
        let Some(clients) = &mut self.web.nearby else { return };
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
