//! Who holds what in a herd whose clients are divided, as the world sees it.

use std::time::Duration;

use super::{Event, World};
use crate::client::report;
use crate::faults::{Fault, Faults};
use crate::host::Host;
use crate::invariants::{Violation, lines_of};

/// Trouble in which a server that is asked answers in time: who does not may be passed over.
const ANSWERED: [Fault; 8] = [
    Fault::Crash,
    Fault::Leave,
    Fault::Clock,
    Fault::Pieces,
    Fault::Disk,
    Fault::Reload,
    Fault::LateInterest,
    Fault::Tenant,
];

/// A server reads its file so long after it was written, at most.
const READ_WITHIN: Duration = Duration::from_secs(3);

impl World {
    /// Other servers are to hold the parts. Those that start from now on know it at once.
    pub(super) fn move_parts(&mut self) -> Result<(), Violation> {
        if let Some(parts) = self.scenario.parts_then() {
            self.parts = parts;
            for server in 0..self.seats.len() {
                let after = self.up_to(READ_WITHIN);
                self.plan(after, Event::Reread { server });
            }
        }
        Ok(())
    }

    pub(super) fn reread(&mut self, server: usize) -> Result<(), Violation> {
        if self.seats[server].body.is_none() || self.seats[server].is_leaving {
            return Ok(());
        }
        let settings = self.read_settings(server);
        self.row(server, || "reads that parts move".to_owned());
        self.tell(server, |body| body.reload(&settings))
    }

    /// The connection of a server with a node has come up. What others have told by then and still
    /// hold must come, if nothing keeps them from answering.
    pub(super) fn joined_engine(&mut self, server: usize) {
        let others = self.scenario.faults.without(Faults::of(&ANSWERED));
        let is_sure = others.is_empty() && self.scenario.pipe_bytes >= 1 << 20;
        let (Some(engine), false) = (&self.engine, self.parts.is_whole() || !is_sure) else {
            return;
        };
        let mut told = Vec::new();
        for (at, seat) in self.seats.iter().enumerate() {
            let body = seat.body.as_ref().filter(|_| at != server && !seat.is_leaving);
            let is_up = |view: &herd_core::engine::EngineView| {
                view.state == herd_core::engine::EngineState::Up
            };
            let Some(body) = body.filter(|body| body.server.engine().is_some_and(|it| is_up(&it)))
            else {
                continue;
            };
            let lines = lines_of(body.server.store());
            let own = lines.into_iter().filter(|line| engine.told.contains(line.as_bytes()));
            let own = own.filter(|line| *report(line).server == *seat.name.as_bytes());
            told.extend(own.map(|line| (at, line)));
        }
        self.invariants.expect(server, told);
    }

    /// How many servers hear this AT line, which the one that it names publishes.
    pub(super) fn holders_but_the_first(&self, line: &[u8]) -> usize {
        let text = String::from_utf8_lossy(line);
        let told = report(&text);
        let any = self.seats.iter().find_map(|seat| seat.body.as_ref());
        let part = any.map_or(0, |body| body.server.part_of(told.client));
        let bodies = self.seats.iter().filter_map(|seat| seat.body.as_ref());
        let hears = |body: &&Host| {
            let name = &body.server.settings().name;
            **name != *told.server && self.parts.is_holder(name, part) && body.hears_of(told.server)
        };
        bodies.filter(hears).count()
    }
}
