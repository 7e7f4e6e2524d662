//! Clients that somebody wants to be forgotten. When, where and who is drawn apart: the other
//! events of a seed are what they would be without.

use std::time::Duration;

use fastrand::Rng;

use super::{Event, World};
use crate::client::drawn_id;
use crate::invariants::{Invariant, Violation};

impl World {
    pub(super) fn plan_erasures(&mut self) {
        // Of the number that the others are drawn from, without drawing from it.
        let mut random = Rng::with_seed(self.random.get_seed().rotate_left(17));
        for _ in 0..self.scenario.erasures {
            let server = random.usize(0..self.seats.len());
            let client = drawn_id(&self.scenario, &mut random);
            let after = random.u64(0..=self.scenario.peace.as_micros() as u64);
            self.plan(Duration::from_micros(after), Event::Erase { server, client });
        }
    }

    /// A server that runs has the client forgotten, whether it knows it or not.
    pub(super) fn erase(&mut self, server: usize, client: &str) -> Result<(), Violation> {
        let seat = &self.seats[server];
        if seat.body.is_none() || seat.is_leaving {
            return Ok(());
        }
        self.note("erase", (server, 0), client.as_bytes());
        self.row(server, || format!("forgets {client}"));
        if let Some(body) = &mut self.seats[server].body {
            body.set_time(self.now);
            body.erase(client.as_bytes());
            let held = body.server.store().find(client.as_bytes());
            let line = held.filter(|held| held.is_erasure()).map(|held| {
                let mut line = Vec::new();
                held.write_line(&mut line);
                String::from_utf8_lossy(&line).into_owned()
            });
            // Whose journal is broken takes nothing any more.
            let must = self.scenario.durability.is_none();
            Invariant::Erasing.demand(line.is_some() || !must, || {
                format!("{} was to forget {client}, and has not", self.seats[server].name)
            })?;
            if let Some(line) = line {
                self.invariants.erased(server, line);
            }
        }
        self.settle(server)
    }
}
