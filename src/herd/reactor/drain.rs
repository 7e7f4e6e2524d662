//! Signals, and the orderly end. Every other file may pretend that the loop turns for ever.
//!
//! ```text
//!   TERM, INT ──▶ doors closed, no more lines ──▶ answers sent ──▶ BYE to peers ──▶ all gone: 0
//!                          └──────────── at most `limits.drain` ─────────────▶ exit all the same
//! ```
//!
//! Reading on until the far end has closed too (`Phase::Lingering`) matters most here: a process
//! that exits with unread input resets its connections, and answers already given to the kernel
//! are thrown away with them.

use std::time::Duration;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGUSR1};

use super::{Due, Reactor};
use crate::logging::events::Event;
use herd_core::HandOver;
use herd_core::border::Input;
use herd_core::driver::Driver;
use herd_core::names::ConnKind;

/// How long the disk may take at the very end.
const JOURNAL_TIMEOUT: Duration = Duration::from_secs(2);

/// What has become of the reports when the process ends.
pub struct Ended {
    /// What peers have said of them.
    pub hand_over: HandOver,
    /// All that was answered is on the disk, if there is a journal.
    pub is_kept: bool,
}

/// How far the drain has come.
pub enum Drain {
    /// Clients still receive their answers.
    Clients,
    /// Only peers are left, and BYE was sent to them.
    Peers,
    /// The time for the drain is over.
    Over,
}

impl Reactor {
    pub(super) fn handle_signals(&mut self) {
        let signals: Vec<_> = self.signals.pending().collect();
        for signal in signals {
            match signal {
                SIGHUP => {
                    self.log.reopen();
                    Event::LogReopened.log();
                    self.load_places_again();
                }
                SIGUSR1 => self.want_trace(),
                SIGTERM | SIGINT if self.drain.is_none() => self.begin_drain(),
                SIGTERM | SIGINT => {
                    Event::StoppingAtOnce { why: "second signal" }.log();
                    self.drain = Some(Drain::Over);
                }
                _ => {}
            }
        }
    }

    pub(super) fn is_draining(&self) -> bool {
        self.drain.is_some()
    }

    pub(super) fn is_over(&self) -> bool {
        matches!(self.drain, Some(Drain::Over))
    }

    /// Takes the drain's next steps once a turn has made them possible.
    pub(super) fn step_drain(&mut self) {
        if let Some(Drain::Clients) = self.drain
            && self.slots.alive(ConnKind::Client) == 0
        {
            self.drain = Some(Drain::Peers);
            self.tell(Input::Leaving);
        }
        if let Some(Drain::Peers) = self.drain
            && self.slots.alive(ConnKind::Peer) + self.slots.alive(ConnKind::Course) == 0
        {
            self.drain = Some(Drain::Over);
        }
    }

    fn begin_drain(&mut self) {
        let bound = self.config.limits.drain;
        Event::Stopping { drain: bound }.log();
        self.drain = Some(Drain::Clients);
        // A successor may start from now on, and needs the name as it needs the ports.
        if let Some(give_up_name) = self.give_up_name.take() {
            give_up_name();
        }
        self.wheel.start(self.now.monotonic + bound, Due::DrainOver);
        self.tell(Input::Draining);
        self.slots.remove_listener(self.doors.client);
        self.slots.remove_listener(self.doors.peer);
        if let Some(operators) = self.doors.operators {
            self.slots.remove_listener(operators);
        }
        for conn in self.slots.names() {
            self.dismiss(conn);
        }
    }

    pub(super) fn cut_drain_short(&mut self) {
        Event::StoppingAtOnce { why: "drain timeout" }.log();
        self.drain = Some(Drain::Over);
    }

    /// The last words of a process.
    pub(super) fn end(mut self) -> Ended {
        let is_kept = self.keeping.take().is_none_or(|keeping| keeping.close(JOURNAL_TIMEOUT));
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
