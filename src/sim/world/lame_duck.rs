//! A server of a simulated herd is told to stop and lets its clients go one after the other, as the
//! reactor's lame duck does. What must be true of it is looked at from outside: what a client has
//! said, what it has heard, and when its stream ended.

use super::{Event, World};
use crate::invariants::Violation;
use crate::wire::{At, Party};
use herd_core::session::Leavers;

/// How far it has come.
pub(super) enum LameDuck {
    /// It was not told to stop.
    None,
    /// All goes on, and clients are taken.
    Told,
    /// Its client port is closed, and clients have their turns to leave.
    Closed(Leavers),
}

impl World {
    /// A server is told to stop. If it is a lame duck already, it is told to be quick.
    pub(super) fn leave(&mut self, server: usize) -> Result<(), Violation> {
        let seat = &mut self.seats[server];
        if seat.body.is_none() || seat.is_leaving {
            return Ok(());
        }
        match (self.scenario.lame_duck, &seat.lame_duck) {
            (Some([grace, _]), LameDuck::None) => {
                seat.lame_duck = LameDuck::Told;
                let run = seat.run;
                self.row(server, || "is told to stop".to_owned());
                self.plan(grace, Event::LameDuck { server, run });
                Ok(())
            }
            _ => self.dismiss(server),
        }
    }

    /// The grace is over, or it is some clients' turn to leave.
    pub(super) fn step_lame_duck(&mut self, server: usize) -> Result<(), Violation> {
        let seat = &mut self.seats[server];
        let (Some(body), false) = (&seat.body, seat.is_leaving) else { return Ok(()) };
        let within = self.scenario.lame_duck.map_or_else(Default::default, |[_, within]| within);
        let mut leavers = match std::mem::replace(&mut seat.lame_duck, LameDuck::None) {
            LameDuck::Closed(leavers) => leavers,
            _ => Leavers::new(self.now, within, body.clients(), &mut self.random),
        };
        for conn in leavers.take_due(self.now) {
            let mut has_left = None;
            self.tell(server, |body| has_left = body.let_go(conn))?;
            match has_left {
                Some(true) => self.note_let_go(At::of(conn))?,
                Some(false) => leavers.put_off(conn),
                None => {}
            }
        }
        let Some(body) = &mut self.seats[server].body else { return Ok(()) };
        if leavers.is_over(self.now) || !body.has_clients() {
            body.has_let_go()?;
            return self.dismiss(server);
        }
        let (run, after) = (self.seats[server].run, leavers.next_turn(self.now) - self.now);
        self.seats[server].lame_duck = LameDuck::Closed(leavers);
        self.plan(after, Event::LameDuck { server, run });
        Ok(())
    }

    /// Whether a server takes no new clients.
    pub(super) fn refuses_clients(&self, server: usize) -> bool {
        let seat = &self.seats[server];
        let is_closed = seat.is_leaving || matches!(seat.lame_duck, LameDuck::Closed(_));
        seat.body.is_none() || is_closed
    }

    /// These bytes have come to a server.
    pub(super) fn note_said(&mut self, at: At, piece: &[u8]) {
        let now = self.now;
        if let Party::Client(client) = self.wires[at.wire].ends[at.far().end].party {
            self.clients[client].has_said(piece, now);
        }
    }

    /// A server takes no more of a client, whose connection ends here.
    fn note_let_go(&mut self, at: At) -> Result<(), Violation> {
        let now = self.now;
        match self.wires[at.wire].ends[at.far().end].party {
            Party::Client(client) => self.clients[client].let_go(now),
            _ => Ok(()),
        }
    }
}
