//! What must hold between two turns, checked in builds with debug assertions. The queues and the
//! connections each know half of it: a connection in no queue, of which the kernel has nothing more
//! to say, would wait for ever, and no single place would be wrong.

use super::connection::Connection;
use super::{Reactor, Unfinished};
use herd_core::names::{ConnId, ConnKind};
use herd_core::session::{Flags, Phase};

/// More connections than this are looked at in one of so many turns only.
const LOOKS_MAX: usize = 64;

/// What is sent on a link before it is one.
const GREETING_BYTES_MAX: usize = 1024;

impl Reactor {
    pub(super) fn check_invariants(&self) {
        let connections = self.slots.open();
        let is_its_turn = self.now.monotonic.as_micros().is_multiple_of(LOOKS_MAX as u128);
        if connections > LOOKS_MAX && !is_its_turn {
            return;
        }
        let has_scan = self.scan.next_deadline().is_some();
        assert!(connections == 0 || has_scan, "nobody looks at the connections");

        let unfinished = self.unfinished.iter().filter_map(|next| match next {
            Unfinished::Connection(conn) => Some(*conn),
            Unfinished::Listener(_) | Unfinished::Followers => None,
        });
        let waiting = self.durability.as_ref().map_or(&[][..], |durability| durability.waiting());
        let unfinished = unfinished.chain(self.unfinished_peers.iter().chain(waiting).copied());
        self.check_queue("unfinished", unfinished, |flags| flags.unfinished);
        self.check_queue("to be flushed", self.to_flush.iter().copied(), |flags| flags.to_flush);
        for kind in ConnKind::ALL {
            let alive = self.slots.living().filter(|connection| connection.id().kind() == kind);
            assert_eq!(self.slots.alive(kind), alive.count(), "{kind:?}");
        }
        self.slots.living().for_each(|connection| self.check_connection(connection));
    }

    /// The living connections in a queue are those that say so, each once.
    fn check_queue(
        &self,
        what: &str,
        queue: impl Iterator<Item = ConnId>,
        says: impl Fn(&Flags) -> bool,
    ) {
        let tenant = |conn: ConnId| {
            self.slots.tenant(conn.slot()).filter(|it| it.id() == conn && !it.session.is_dead())
        };
        let mut queued = 0;
        for connection in queue.filter_map(tenant) {
            assert!(
                says(&connection.session.flags),
                "{} is {what} and does not know",
                connection.id()
            );
            queued += 1;
        }
        let saying =
            self.slots.living().filter(|connection| says(&connection.session.flags)).count();
        assert_eq!(queued, saying, "{what}: queued, and those who say so");
    }

    fn check_connection(&self, connection: &Connection) {
        let (conn, flags) = (connection.id(), &connection.session.flags);
        let high_water = self.config.limits.high_water_bytes;
        assert!(
            !connection.session.wants_turn(high_water) || flags.unfinished,
            "{conn} would never be heard"
        );
        let queued = connection.session.queued_bytes();
        let free = connection.session.free_bytes();
        let has_work = free > 0 || flags.tell_flushed;
        let is_known = flags.to_flush || flags.write_blocked;
        assert!(!has_work || is_known, "{conn} would never be written to");
        let is_holding = self.durability.as_ref().is_some_and(|durability| durability.is_holding());
        assert!(free == queued || is_holding, "{conn} waits for what is kept");
        assert!(connection.session.owns_no_empty_buffers(), "{conn} keeps what it does not need");
        if conn.kind() == ConnKind::Client && connection.session.phase() == Phase::Open {
            let waits = self.server.is_waiting(conn);
            assert!(!flags.paused || waits, "{conn} is paused for nothing");
            let is_passed_over = self.asked.is_passed_over(conn);
            assert!(!is_passed_over || queued > high_water, "{conn} is never answered");
        }
        // Unit tests fill the outbox as they like, and do not ask the core.
        if let Some(owed) = self.server.owed_to(conn).filter(|_| !cfg!(test)) {
            let most = owed + GREETING_BYTES_MAX;
            assert!(queued <= most, "{conn} is owed more than the core knows");
        }
    }
}
