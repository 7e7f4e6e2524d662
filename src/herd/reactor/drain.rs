//! Signals, and the orderly end. Every other file may pretend that the loop turns for ever.
//!
//! ```text
//!   TERM, INT ──▶ doors closed, no more lines ──▶ answers sent ──▶ BYE to peers ──▶ all gone: 0
//!                          └──────────── at most `limits.drain` ─────────────▶ exit all the same
//! ```
//!
//! Before that, clients may be let go of more gently: see `lame_duck`.
//!
//! Reading on until the far end has closed too (`Phase::Lingering`) matters most here: a process
//! that exits with unread input resets its connections, and answers already given to the kernel
//! are thrown away with them.

use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1, SIGUSR2};

use super::lame_duck::DrainPhase;
use super::start::Doors;
use super::{Due, Reactor};
use crate::logging::events::Event;
use herd_core::HandOver;
use herd_core::border::Input;
use herd_core::driver::Driver;
use herd_core::names::ConnKind;
use herd_core::session::Leavers;

/// How long the disk may take at the very end.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// What has become of the reports when the process ends.
pub struct Ended {
    /// What peers have said of them.
    pub hand_over: HandOver,
    /// All that was answered is on the disk, if there is a journal.
    pub is_kept: bool,
}

/// A server that was told to stop.
pub struct Drain {
    pub phase: DrainPhase,
    /// One of the signals that end a process has come: another one ends it at once.
    pub was_signalled: bool,
    /// Clients that are let go of, while that is under way.
    pub leavers: Option<Leavers>,
}

impl Drain {
    /// A signal has come while it stops. Says whether it goes on: the first one is only noted if an
    /// operator had begun the drain, for what stops machines knows nothing of that; and one that
    /// is hasty skips what comes before the drain.
    fn note_signal(&mut self, is_hasty: bool) -> bool {
        let is_first = !std::mem::replace(&mut self.was_signalled, true);
        if is_first {
            Event::StopNoted.log();
        }
        is_first || is_hasty && self.phase < DrainPhase::Draining
    }
}

impl Reactor {
    pub(super) fn handle_signals(&mut self) {
        let signals: Vec<_> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGHUP => {
                    self.log.reopen();
                    Event::LogReopened.log();
                    self.begin_reload(None);
                }
                SIGUSR1 => self.want_trace(),
                SIGUSR2 if self.drain.is_none() => self.begin_to_stop(false),
                // Somebody at a terminal does not wait for a load balancer.
                SIGINT => self.obey_signal(true),
                SIGTERM => self.obey_signal(false),
                _ => {}
            }
        }
    }

    /// `is_hasty`: SIGINT, and not SIGTERM.
    pub(super) fn obey_signal(&mut self, is_hasty: bool) {
        if self.drain.is_none() {
            self.begin_to_stop(true);
        } else if self.drain.as_mut().is_some_and(|drain| !drain.note_signal(is_hasty)) {
            Event::StoppingAtOnce { why: "second signal" }.log();
            return self.enter(DrainPhase::Over);
        }
        if is_hasty && self.drain.as_ref().is_some_and(|drain| drain.phase < DrainPhase::Draining) {
            self.begin_drain();
        }
    }

    /// How far it has come, if it was told to stop.
    pub(super) fn drain_phase(&self) -> Option<DrainPhase> {
        self.drain.as_ref().map(|drain| drain.phase)
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        self.drain_phase() == Some(DrainPhase::Over)
    }

    /// Goes on to a phase, and tells those who watch.
    pub(super) fn enter(&mut self, phase: DrainPhase) {
        let Some(drain) = &mut self.drain else { return };
        drain.phase = phase;
        if phase == DrainPhase::Over {
            return;
        }
        Event::DrainPhase { phase: phase.name(), meaning: &phase }.log();
        if let Some(tell) = &mut self.when_stopping {
            tell(phase);
        }
    }

    /// Takes the drain's next steps once a turn has made them possible.
    pub(super) fn step_drain(&mut self) {
        let Some(phase) = self.drain_phase() else { return };
        let clients = [ConnKind::Client, ConnKind::Web, ConnKind::Mqtt];
        let is_there = |kind| self.slots.alive(kind) + self.heads.waiting(kind) > 0;
        let has_clients = clients.into_iter().any(is_there);
        if matches!(phase, DrainPhase::Closed | DrainPhase::Leaving) && !has_clients {
            self.begin_drain();
        }
        if self.drain_phase() == Some(DrainPhase::Draining) && !has_clients {
            self.enter(DrainPhase::HandingOver);
            self.tell(Input::Leaving);
        }
        if self.drain_phase() == Some(DrainPhase::HandingOver)
            && [ConnKind::Peer, ConnKind::Course, ConnKind::Engine]
                .into_iter()
                .all(|kind| self.slots.alive(kind) == 0)
        {
            self.enter(DrainPhase::Over);
        }
    }

    pub(super) fn begin_drain(&mut self) {
        self.enter(DrainPhase::Draining);
        self.wheel.start(self.now.monotonic + self.config.limits.drain, Due::DrainOver);
        self.tell(Input::Draining);
        self.close_client_doors();
        self.close_door(self.doors.peer);
        if let Some(operators) = self.doors.operators {
            self.close_door(operators);
        }
        self.end_streams();
        for conn in self.slots.names() {
            self.dismiss(conn);
        }
    }

    /// No client comes in any more, in whatever language.
    pub(super) fn close_client_doors(&mut self) {
        let Doors { client, tls, web, mqtt, .. } = &mut self.doors;
        let doors = [client, tls, web, mqtt].map(Option::take);
        doors.into_iter().flatten().for_each(|door| self.close_door(door));
    }

    fn close_door(&mut self, slot: usize) {
        if let Some(listener) = self.slots.remove_listener(slot) {
            listener.close(self.poll.registry());
        }
    }

    pub(super) fn cut_drain_short(&mut self) {
        Event::StoppingAtOnce { why: "drain timeout" }.log();
        self.enter(DrainPhase::Over);
    }

    /// The last words of a process.
    pub(super) fn end(mut self) -> Ended {
        let is_kept =
            self.durability.take().is_none_or(|durability| durability.close(JOURNAL_TIMEOUT));
        if !is_kept {
            Event::JournalNotKept.log();
        }
        let hand_over = self.server.hand_over();
        self.log_hand_over(&hand_over);
        self.places.shut_down();
        self.end_trace();
        Event::Stopped.log();
        Ended { hand_over, is_kept }
    }

    fn log_hand_over(&self, hand_over: &HandOver) {
        for (peer, _) in &hand_over.owed {
            let name = &self.config.peers[usize::from(peer.0)].name;
            Event::NotHandedOver { peer: name }.log();
        }
        if hand_over.has_failed() {
            Event::ReportsAtRisk { warning: &hand_over.warning() }.log();
        }
    }
}
