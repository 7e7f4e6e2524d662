//! Questions about places (WHATSAT). A question begins in one turn and may end in another; its
//! ticket, a number, ties the two together.

use std::rc::Rc;
use std::time::Duration;

use super::Reactor;
use super::metrics::Answered;
use super::web_places::is_of_web;
use super::worker_threads::{Finished, PlacesPool, PoolId};
use crate::logging::events::Event;
use crate::places::call_gate::{CallGate, CallId, Reception};
use crate::places::remote::Trouble;
use crate::places::render::status::{OVER_QUERY_LIMIT, UNKNOWN_ERROR};
use crate::places::{Loaded, Local, Outcome, has_shrunk, render};
use crate::status::{ServiceState, ServiceStatus};
use herd_core::border::Input;
use herd_core::clock::Now;
use herd_core::driver::{Deferred, Driver};
use herd_core::names::{ConnId, Ticket};
use herd_core::whatsat::Question;

/// Questions of one connection that are answered from memory before the next connection has its
/// turn.
const ANSWERS_MAX: usize = 8;

/// The source that answers questions.
pub struct Places {
    /// What the operator calls the source.
    name: &'static str,
    source: Answerer,
    /// Reused for every answer of places in memory.
    body: Vec<u8>,
    /// Services that were asked before, until their last calls are over.
    former: Vec<(PlacesPool, Box<CallGate>)>,
}

enum Answerer {
    Local {
        local: Local,
        held: Held,
    },
    Remote {
        pool: PlacesPool,
        gate: Box<CallGate>,
        /// The service has refused, and the operator has been informed.
        refuses: bool,
    },
}

/// The places in memory.
enum Held {
    /// They are on their way for the first time.
    NotYet,
    Here(Loaded),
    /// They cannot be loaded; why.
    Nothing(String),
}

impl Places {
    pub fn loading(name: &'static str, local: Local) -> Places {
        Places::of(name, Answerer::Local { local, held: Held::NotYet })
    }

    pub fn loaded(name: &'static str, local: Local, loaded: Loaded) -> Places {
        Places::of(name, Answerer::Local { local, held: Held::Here(loaded) })
    }

    pub fn remote(name: &'static str, pool: PlacesPool, gate: CallGate) -> Places {
        let source = Answerer::Remote { pool, gate: Box::new(gate), refuses: false };
        Places::of(name, source)
    }

    fn of(name: &'static str, source: Answerer) -> Places {
        Places { name, source, body: Vec::new(), former: Vec::new() }
    }

    /// Takes another one's place.
    fn replace(&mut self, new: Places) {
        let old = std::mem::replace(self, new);
        self.former = old.former;
        if let Answerer::Remote { pool, gate, .. } = old.source
            && gate.calls() > 0
        {
            self.former.push((pool, gate));
        }
    }

    /// How many there are, if they are those of an operator's file.
    fn count(&self) -> Option<usize> {
        match &self.source {
            Answerer::Local { local: Local::File { .. }, held: Held::Here(loaded) } => {
                Some(loaded.places)
            }
            _ => None,
        }
    }

    /// Whether a file or the atlas is still being read.
    pub fn are_loading(&self) -> bool {
        matches!(&self.source, Answerer::Local { held: Held::NotYet, .. })
    }

    /// Whether questions are answered from memory by now, be it that there are no places.
    pub fn can_answer(&self) -> bool {
        matches!(&self.source, Answerer::Local { held, .. } if !matches!(held, Held::NotYet))
    }

    /// The body of an answer that needs no waiting, for it comes from memory. `reuse` takes its
    /// buffer back.
    pub fn answer_now(&mut self, question: &Question) -> Option<Vec<u8>> {
        self.body.clear();
        let Answerer::Local { held, .. } = &self.source else { return None };
        match held {
            Held::NotYet => return None,
            Held::Here(loaded) => {
                loaded.source.answer(question, &mut self.body);
            }
            // The reason is for the operator only: it may name a file.
            Held::Nothing(_) => {
                let why = "this server has no places to tell of";
                render::failure(UNKNOWN_ERROR, why, &mut self.body);
            }
        }
        Some(std::mem::take(&mut self.body))
    }

    /// The threads that ask a service, if there is one.
    #[cfg(test)]
    pub fn pool(&self) -> Option<PoolId> {
        match &self.source {
            Answerer::Remote { pool, .. } => Some(pool.id),
            Answerer::Local { .. } => None,
        }
    }

    pub fn reuse(&mut self, body: Vec<u8>) {
        self.body = body;
    }

    /// For the status: what answers, and whether it is ready.
    pub fn describe(&self, now: Now) -> String {
        let name = self.name;
        match &self.source {
            Answerer::Local { held: Held::NotYet, .. } => format!("{name}, loading"),
            Answerer::Local { held: Held::Here(loaded), .. } => {
                format!("{name}, {}", loaded.summary)
            }
            Answerer::Local { held: Held::Nothing(why), .. } => format!("{name}, broken: {why}"),
            Answerer::Remote { .. } => match self.service(now) {
                Some(service) => format!("{name}, {service}"),
                None => name.to_owned(),
            },
        }
    }

    /// For the status: how a remote source is, and what it has cost.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub fn service(&self, now: Now) -> Option<ServiceStatus> {
        let Answerer::Remote { pool, gate, .. } = &self.source else { return None };
        let (calls_today, calls_per_day) = gate.today(now);
        let trouble = pool.trouble();
        let is_refused = matches!(trouble, Some(Trouble::Refusal(_)));
        Some(ServiceStatus {
            state: match (gate.is_resting(), is_refused) {
                (true, _) => ServiceState::LeftAlone,
                (false, true) => ServiceState::Refuses,
                (false, false) => ServiceState::Well,
            },
            calls_under_way: gate.calls() as u64,
            calls_today: calls_today as u64,
            calls_left_today: calls_per_day.map(|max| max.saturating_sub(calls_today) as u64),
            elements_skipped: pool.skipped(),
            trouble: trouble.map(|trouble| trouble.to_string()),
        })
    }

    pub fn shut_down(&self) {
        self.former.iter().for_each(|(pool, _)| pool.shut_down());
        if let Answerer::Remote { pool, .. } = &self.source {
            pool.shut_down();
        }
    }
}

impl Reactor {
    pub(super) fn ask(
        &mut self,
        conn: ConnId,
        ticket: Ticket,
        question: Question,
        timeout: Duration,
    ) {
        match &mut self.places.source {
            Answerer::Local { held, .. } => {
                self.asked.push(conn, ticket, question);
                if !matches!(held, Held::NotYet) {
                    return;
                }
            }
            Answerer::Remote { pool, gate, .. } => {
                let mut body = Vec::new();
                if pool.recall(&question, &mut body) {
                    self.counts.answered(Answered::Kept, 1);
                    self.answer_later(ticket, body.into());
                    return;
                }
                // Asked only now and here: an address kept for each connection would cost more
                // memory than all the system calls for those who ask.
                let from = self.slots.address(conn).map(|from| from.ip());
                let refusal = match gate.receive(self.now, from, ticket, &question, timeout) {
                    Reception::Accepted => None,
                    Reception::Limited(why) => Some((Answered::Limited, OVER_QUERY_LIMIT, why)),
                    Reception::Failed(why) => Some((Answered::Failed, UNKNOWN_ERROR, why)),
                };
                if let Some((how, status, why)) = refusal {
                    self.counts.answered(how, 1);
                    render::failure(status, why, &mut body);
                    self.answer_later(ticket, body.into());
                    return;
                }
                pool.ask_next(gate, self.now.monotonic);
            }
        }
        self.wheel.start(self.now.monotonic + timeout, Reactor::answer_timer(ticket));
    }

    /// Answers from memory, as many as a turn may, a few for each connection that asks.
    pub(super) fn answer_questions(&mut self) {
        if !self.asked.is_waiting() || !self.places.can_answer() {
            return;
        }
        while self.work.may_answer()
            && let Some(conn) = self.asked.next()
        {
            self.answer_some(conn);
        }
    }

    /// Answers the next few questions of one connection. A connection with a full outbox is passed
    /// over until it has read (`Reactor::write`): its outbox would grow by all that it has asked.
    fn answer_some(&mut self, conn: ConnId) {
        let high_water = self.config.limits.high_water_bytes;
        for _ in 0..ANSWERS_MAX {
            let connection = self.slots.session(conn);
            if connection.is_none_or(|it| it.queued_bytes() > high_water) {
                return;
            }
            let Some((ticket, question)) = self.asked.take(conn) else { return };
            let Some(body) = self.places.answer_now(&question) else { return };
            self.work.answered(body.len());
            self.counts.answered(Answered::Ok, 1);
            if is_of_web(ticket) {
                self.answer_web_places(ticket, &body);
            } else {
                self.tell(Input::PlacesArrived { ticket, body: &body });
            }
            self.places.reuse(body);
        }
        self.asked.call(conn);
    }

    /// Takes all results that are queued, for many wakes may have become one event. Says how many
    /// they were.
    pub(super) fn pick_up_completions(&mut self) -> u32 {
        let mut results = 0;
        while let Some((call, finished)) = self.completions.next() {
            if let Finished::Places { .. } = finished {
                self.counts.called(call.ended.duration_since(call.began));
            }
            self.trace.call(call);
            results += 1;
            match finished {
                Finished::Places { pool, call, outcome, body } => {
                    self.call_finished((pool, call), outcome, body);
                }
                Finished::Loaded(loaded) => self.places_loaded(loaded),
                Finished::Reread(reread) => self.reread(*reread),
                Finished::TraceWritten => self.trace_written(),
                Finished::Resolved { peer, .. } if !self.routes.is_awaited(peer) => {}
                Finished::Resolved { peer, addresses } => match addresses {
                    Ok(addresses) => match self.routes.resolved(peer, addresses) {
                        Some(address) => self.connect(peer, address),
                        None => self.dial_failed(peer, "its name has no address"),
                    },
                    Err(error) => self.dial_failed(peer, &error.to_string()),
                },
            }
        }
        self.tell_deferred();
        results
    }

    /// One answer for every connection that asked the same.
    fn call_finished(&mut self, (of, call): (PoolId, CallId), outcome: Outcome, body: Vec<u8>) {
        let has_answered = outcome == Outcome::Answered;
        let outcome = if has_answered { Answered::Ok } else { Answered::Failed };
        let former = self.places.former.iter().position(|(pool, _)| pool.id == of);
        if let Some(at) = former {
            let (pool, gate) = &mut self.places.former[at];
            let body: Rc<[u8]> = body.into();
            let tickets = gate.finished(self.now.monotonic, call, has_answered);
            self.counts.answered(outcome, tickets.len());
            pool.ask_next(gate, self.now.monotonic);
            if gate.calls() == 0 {
                self.places.former.swap_remove(at);
            }
            tickets.into_iter().for_each(|ticket| self.answer_later(ticket, body.clone()));
            return;
        }
        let Answerer::Remote { pool, gate, refuses } = &mut self.places.source else { return };
        let was_resting = gate.is_resting();
        let body: Rc<[u8]> = body.into();
        let tickets = gate.finished(self.now.monotonic, call, has_answered);
        self.counts.answered(outcome, tickets.len());
        tell_of_service(pool.trouble(), was_resting, gate.is_resting(), refuses);
        pool.ask_next(gate, self.now.monotonic);
        tickets.into_iter().for_each(|ticket| self.answer_later(ticket, body.clone()));
    }

    /// Has an answer given to who asked: the core, or a connection that speaks HTTP.
    fn answer_later(&mut self, ticket: Ticket, body: Rc<[u8]>) {
        if is_of_web(ticket) {
            self.answer_web_places(ticket, &body);
        } else {
            self.deferred.push_back(Deferred::Answered { ticket, body });
        }
    }

    /// Takes the places that were loaded at the start, unless a reload has brought newer ones.
    fn places_loaded(&mut self, loaded: Result<Loaded, String>) {
        let Answerer::Local { held: held @ Held::NotYet, .. } = &mut self.places.source else {
            return;
        };
        *held = match loaded {
            Ok(loaded) => {
                Event::PlacesLoaded { summary: &loaded.summary }.log();
                Held::Here(loaded)
            }
            Err(why) => {
                Event::PlacesNotLoaded { error: &why }.log();
                Held::Nothing(why)
            }
        };
    }

    /// Answers from another source from now on. Questions that wait for the one before are asked
    /// there, or were: then its answers still come.
    pub(super) fn change_places(&mut self, new: Places) {
        let before = self.places.count();
        if let Answerer::Local { local: Local::File { .. }, held: Held::Here(loaded) } = &new.source
        {
            Event::PlacesLoaded { summary: &loaded.summary }.log();
            if let Some(before) = before.filter(|&before| has_shrunk(before, loaded.places)) {
                Event::PlacesShrunk { places: loaded.places, before }.log();
            }
        }
        self.places.replace(new);
        if let Answerer::Remote { .. } = self.places.source {
            let timeout = self.config.places.deadline;
            for (conn, ticket, question) in self.asked.take_all() {
                self.ask(conn, ticket, question, timeout);
            }
        }
    }
}

/// Logs when a service dies or refuses, and when it is well again: once each, however much traffic
/// there is.
fn tell_of_service(
    trouble: Option<Trouble>,
    was_resting: bool,
    is_resting: bool,
    refuses: &mut bool,
) {
    let why = trouble.as_ref().map_or_else(String::new, Trouble::to_string);
    match (was_resting, is_resting) {
        (false, true) => Event::PlacesServiceSuspended { error: &why }.log(),
        (true, false) => Event::PlacesServiceResumed.log(),
        _ => {}
    }
    let is_refused = matches!(trouble, Some(Trouble::Refusal(_)));
    if is_refused && !*refuses {
        Event::PlacesServiceRefuses { error: &why }.log();
    } else if *refuses && trouble.is_none() {
        Event::PlacesServiceAccepts.log();
    }
    // Whether it would refuse is unknown while it fails.
    *refuses = is_refused || *refuses && trouble.is_some();
}
