//! How a run ends: left in peace, the herd comes to rest, all hold the same, and then next to
//! nothing happens. The world is only looked at from outside, now and then.

use std::time::Duration;

use super::{Event, World};
use crate::client::report;
use crate::host::Host;
use crate::invariants::{Invariant, Table, Violation, agree, lines_of, may_be_forgotten};
use crate::wire::Wire;
use herd_core::LinkState;
use herd_core::names::PeerId;
use herd_core::wire::Report;

/// How often the herd is checked for being at rest.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How long a herd at rest is watched for what it does.
const REST: Duration = Duration::from_secs(4);
/// Timers that fire and pieces that come, for each link and second of rest. A link at rest is asked
/// for a sign of life about once a second from each end; and it may have things left to forget.
const STIRS_MAX: u64 = 16;
/// Where clients are divided, each server asks each other now and then: lines a second.
const PAIR_STIRS_MAX: u64 = 8;
/// Where there are two regions, each server tells the other one all in each round, and has a timer
/// for each step of that: a second.
const ROUND_STIRS_MAX: u64 = 100;
/// Where reports expire, each server looks through some so often.
const SWEEPS_A_SECOND: u64 = 11;

/// What a herd had done when it came to rest.
#[derive(Clone, Copy)]
pub(super) struct Rest {
    since: Duration,
    stirs: u64,
}

impl World {
    pub(super) fn look(&mut self) -> Result<(), Violation> {
        self.heal_disks();
        if self.has_asked_the_dead()? {
            self.is_over = true;
            return Ok(());
        }
        let outcome = self.is_at_rest();
        let is_late = self.now >= self.scenario.end;
        match (outcome, self.rest) {
            (Err(why), _) if is_late => return Err(why),
            (Err(_), _) => self.rest = None,
            (Ok(()), None) => {
                self.rest = Some(Rest { since: self.now, stirs: self.stirs() });
                let clients = self.bodies().next().map_or(0, |body| body.server.store().len());
                self.event_log.tell(self.now, "", || format!("all agree on {clients} clients"));
                self.ask_at_rest()?;
            }
            (Ok(()), Some(rest)) if self.now >= rest.since + REST => match self.is_idle(rest) {
                Err(why) if is_late => return Err(why),
                // It holds the same, and still says so again and again.
                Err(_) => self.rest = None,
                Ok(()) => {
                    self.judge()?;
                    self.is_over = !self.ask_the_dead()?;
                    return Ok(());
                }
            },
            (Ok(()), Some(_)) => self.ask_at_rest()?,
        }
        self.plan(LOOK_EVERY, Event::Look);
        Ok(())
    }

    /// All servers are there, joined with all their peers and with nothing left to flush, and all
    /// hold the same.
    fn is_at_rest(&self) -> Result<(), Violation> {
        let healed = |is_so: bool, who: &str, what: &str| {
            Invariant::Agreement.demand(is_so, || format!("{who} {what} for too long"))
        };
        let mut tables = Vec::<Table<'_>>::new();
        for (at, seat) in self.seats.iter().enumerate() {
            let name = &seat.name;
            let body = seat.body.as_ref().filter(|_| !seat.is_leaving);
            healed(body.is_some(), name, "was away")?;
            let Some(body) = body else { continue };
            for (at, (peer, _)) in seat.peers.iter().enumerate() {
                let is_up = body.server.peer(PeerId(at as u16)).state == LinkState::Up;
                healed(is_up, name, &format!("was not joined with {}", self.seats[*peer].name))?;
                self.is_even(name, body, at)?;
            }
            self.is_on_engine(at)?;
            let is_moving = body.server.engine().is_some_and(|engine| engine.parts_moving > 0);
            healed(!is_moving, name, "held what is others'")?;
            let waits = body.server.questions_waiting();
            Invariant::Answers.demand(waits == 0, || format!("{name} waits for places"))?;
            let lines = self.lasting_lines(body);
            let near =
                tables.iter().find(|(_, _, other)| body.hears_of(&other.server.settings().name));
            match near {
                _ if !self.scenario.repairs => {}
                Some((other, others, _)) if self.parts.is_whole() => {
                    agree((*other, others), (name, &lines))?;
                }
                _ => tables.push((name, lines, body)),
            }
        }
        self.invariants.are_parts_whole(&tables, &self.parts)?;
        // What was lost between two regions, the next round brings.
        let rounds = self.scenario.division.tell_every.map_or(Duration::ZERO, |round| 3 * round);
        healed(self.now >= self.scenario.peace + rounds, "the other region", "was not told all")?;
        self.are_journals_at_rest()?;
        // Who was erased with a clock far ahead stays so until then.
        let is_ahead = |body: &Host, held: &Report<'_>| {
            held.is_erasure() && body.over_for(held).is_some_and(|over_for| over_for < 0)
        };
        let is_forgotten =
            |body: &Host| body.server.store().reports().all(|held| is_ahead(body, &held));
        Invariant::Bounds
            .demand(!self.scenario.expires_soon() || self.bodies().all(is_forgotten), || {
                "what has expired is still held".to_owned()
            })?;
        let is_believed = self.wires.iter().any(Wire::is_believed);
        Invariant::Trust
            .demand(!is_believed, || "a stranger, or a forged link, is listened to".to_owned())?;
        let mut links = self.wires.iter().filter(|wire| wire.is_link());
        healed(!links.any(|wire| wire.deceives()), "somebody", "has trusted a dead link")?;
        for client in self.clients.iter().filter(|client| !client.is_cut) {
            Invariant::Answers.demand(client.is_content(), || client.complaint())?;
        }
        Ok(())
    }

    /// This server knows that it holds all that the peer held when their link came up, if links
    /// repair what they have missed.
    fn is_even(&self, name: &str, body: &Host, peer: usize) -> Result<(), Violation> {
        let view = body.server.peer(PeerId(peer as u16));
        let is_even = view.even_at.is_some_and(|even_at| Some(even_at) >= view.since);
        Invariant::CaughtUp.demand(is_even || !self.scenario.repairs, || {
            format!("{name} did not hear for too long that it has caught up")
        })
    }

    /// Since it came to rest, next to nothing has happened.
    fn is_idle(&self, rest: Rest) -> Result<(), Violation> {
        // A server that has started again since counts anew.
        let stirs = self.stirs().checked_sub(rest.stirs).unwrap_or(u64::MAX);
        // On an engine, each server has one connection.
        let links = self.scenario.graph.links.len().max(self.seats.len()) as u64;
        let link_seconds = links * (self.now - rest.since).as_secs();
        let sweeps = match self.scenario.expire_after {
            Some(_) => SWEEPS_A_SECOND * self.seats.len() as u64,
            None => 0,
        };
        let seconds = (self.now - rest.since).as_secs();
        let servers = self.seats.len() as u64;
        let pairs = if self.parts.is_whole() { 0 } else { servers * (servers - 1) };
        let asks = PAIR_STIRS_MAX * pairs * (seconds + 1);
        let rounds = match self.scenario.division.tell_every {
            Some(_) => ROUND_STIRS_MAX * servers * servers * (seconds + 1),
            None => 0,
        };
        let stirs_max = STIRS_MAX * link_seconds + sweeps * (seconds + 1) + asks + rounds;
        Invariant::Idleness.demand(stirs <= stirs_max, || {
            format!("{stirs} stirs in a herd at rest, and {stirs_max} are many")
        })
    }

    /// What must be true of a herd at rest, beside that.
    fn judge(&mut self) -> Result<(), Violation> {
        for body in self.seats.iter_mut().filter_map(|seat| seat.body.as_mut()) {
            body.end_following()?;
        }
        let bodies = self.seats.iter().filter_map(|seat| seat.body.as_ref());
        let bodies: Vec<_> = bodies.collect();
        self.invariants.judge(&bodies, &self.scenario.graph.names, self.scenario.repairs)?;
        self.judge_at_rest()?;
        match bodies.first() {
            _ if self.engine.is_some() => self.judge_engine(),
            Some(body) if self.scenario.is_counted => {
                self.propagation.check(&self.scenario.graph, &lines_of(body.server.store()))
            }
            _ => Ok(()),
        }
    }

    /// What a server holds that no server may have forgotten yet.
    fn lasting_lines(&self, body: &Host) -> Vec<String> {
        let mut lines = lines_of(body.server.store());
        if self.scenario.expire_after.is_some() {
            // A server whose clock is behind may have held what was over elsewhere and ranked above
            // an erasure that came: when that is over here, too, only a comparison brings it.
            let differs = self.scenario.expires_soon() && self.scenario.compare_every.is_none();
            let is_found = |report: &Report<'_>| !differs || !report.is_erasure();
            lines.retain(|line| {
                let report = report(line);
                is_found(&report) && !self.bodies().any(|body| may_be_forgotten(body, &report))
            });
        }
        lines
    }

    /// The inputs of all servers so far.
    fn stirs(&self) -> u64 {
        let steps = |body: &Host| body.timers_fired() + body.disk_steps();
        self.bodies().map(|body| steps(body) + body.server.counters().lines_in).sum()
    }

    fn bodies(&self) -> impl Iterator<Item = &Host> {
        self.seats.iter().filter_map(|seat| seat.body.as_ref())
    }
}
