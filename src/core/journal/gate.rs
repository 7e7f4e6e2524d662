//! Answers wait until what they rest on is kept, and clients are not read while too much waits to
//! be written: what a driver does with its sessions if its server has a journal. The loop itself
//! never waits.
//!
//! ```text
//!   a client is about to be read       puts_off    not now, if the buffer is half full
//!   an outbox is about to be written   settle      what came since the last time leaves, or waits
//!   the journal has gone on            release     what waited for that leaves
//! ```
//!
//! If the disk takes nothing for too long, no answer waits for it any more ([`WhenBroken`]), but
//! those that do already, and what must leave behind them.

use std::mem;
use std::time::Duration;

use super::appender::Appender;
use super::breaker::{Breaker, WhenBroken};
use crate::driver::Sessions;
use crate::names::ConnId;
use crate::session::{Moment, Session};

/// What may pass between a journal's clients and the core.
pub struct Gate {
    breaker: Breaker,
    when_broken: WhenBroken,
    /// Clients that are not read while too much waits to be written.
    waiting: Vec<ConnId>,
    /// Answers that have left though what they rest on was not kept.
    unkept: u64,
}

impl Gate {
    /// The journal is not broken.
    pub fn new(when_broken: WhenBroken) -> Gate {
        Gate { breaker: Breaker::default(), when_broken, waiting: Vec::new(), unkept: 0 }
    }

    // ---- what leaves ----

    /// An outbox is about to be written. What was queued for a client since this was last said may
    /// leave if all that was appended is kept, and else waits for that.
    pub fn settle(&mut self, appender: &mut Appender, session: &mut Session) {
        if !session.id().kind().is_client() {
            return;
        }
        let has_held = session.free_bytes() < session.queued_bytes();
        if self.is_broken() && !has_held && !appender.is_all_kept() {
            if self.when_broken == WhenBroken::Serve {
                self.unkept += answers(session.unsettled());
            }
            session.free_answers();
        } else {
            Gate::settle_strictly(appender, session);
        }
    }

    /// The same while the journal is not broken.
    fn settle_strictly(appender: &mut Appender, session: &mut Session) {
        if appender.is_all_kept() {
            return session.free_answers();
        }
        let bytes = session.hold_answers();
        if bytes > 0 {
            appender.hold(session.id(), bytes);
        }
    }

    /// Lets bytes leave that wait for nothing any more. Gives a connection that has some; to be
    /// called until there is none.
    pub fn release(
        appender: &mut Appender,
        sessions: &mut impl Sessions,
        now: Moment,
    ) -> Option<ConnId> {
        let (conn, bytes) = appender.release()?;
        if let Some(session) = sessions.session(conn) {
            session.free_held(bytes, now);
        }
        Some(conn)
    }

    // ---- what comes in ----

    /// Whether so much waits to be written that clients are not read. While the journal is broken,
    /// they are: what they say finds no room, or is refused.
    pub fn is_congested(&self, appender: &Appender) -> bool {
        appender.is_congested() && !self.is_broken()
    }

    /// Whether a client must not be read now: it waits until there is room.
    pub fn puts_off(&mut self, appender: &Appender, session: &mut Session) -> bool {
        let is_put_off = session.id().kind().is_client() && self.is_congested(appender);
        if is_put_off {
            session.flags.unfinished = true;
            self.waiting.push(session.id());
        }
        is_put_off
    }

    /// Connections that are not read for now.
    pub fn waiting(&self) -> &[ConnId] {
        &self.waiting
    }

    /// The same, if there is room for what they say: they are read again.
    pub fn take_waiting(&mut self, appender: &Appender) -> Vec<ConnId> {
        if self.is_congested(appender) { Vec::new() } else { mem::take(&mut self.waiting) }
    }

    // ---- a disk that takes nothing ----

    /// Whether the journal is broken.
    pub fn is_broken(&self) -> bool {
        self.breaker.is_broken()
    }

    /// What becomes of reports of clients while it is.
    pub fn when_broken(&self) -> WhenBroken {
        self.when_broken
    }

    /// When it must be looked at, if nothing happens before.
    pub fn due(&self) -> Option<Duration> {
        self.breaker.due()
    }

    /// Answers that have left though what they rest on was not kept.
    pub fn unkept(&self) -> u64 {
        self.unkept
    }

    /// Looks at a disk that is in trouble or not, when all has been released that may be. Says
    /// whether it breaks the journal now, or has mended it. If it breaks it, what is queued must be
    /// held (`hold_queued`), and then may have to leave (`release_unkept`).
    pub fn look(&mut self, now: Duration, is_trouble: bool, appender: &Appender) -> bool {
        self.breaker.look(now, is_trouble, appender.is_holding())
    }

    /// The journal has just been broken. What was queued before waits, unlike what comes from now
    /// on.
    pub fn hold_queued(appender: &mut Appender, session: &mut Session) {
        if session.id().kind().is_client() {
            Gate::settle_strictly(appender, session);
        }
    }

    /// As `release`, for what waits and must not wait any longer.
    pub fn release_unkept(
        &mut self,
        appender: &mut Appender,
        sessions: &mut impl Sessions,
        now: Moment,
    ) -> Option<ConnId> {
        let (conn, bytes) = appender.release_unkept()?;
        if let Some(session) = sessions.session(conn) {
            self.unkept += answers(session.free_held(bytes, now));
        }
        Some(conn)
    }
}

/// How many answers there are in a text: each has one AT line, at its beginning.
fn answers(text: &[u8]) -> u64 {
    let lines = text.split(|&byte| byte == b'\n');
    lines.filter(|line| line.starts_with(b"AT ")).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::appender::{Keep, Sizes};
    use crate::journal::breaker::PATIENCE;
    use crate::journal::writer::Progress;
    use crate::names::ConnKind;
    use crate::session::{BufferPool, Phase};

    /// A client and a peer, before a journal that has been given one byte of news and keeps
    /// nothing.
    struct Door {
        gate: Gate,
        appender: Appender,
        sessions: [Session; 2],
        pool: BufferPool,
    }

    impl Sessions for [Session; 2] {
        fn session(&mut self, conn: ConnId) -> Option<&mut Session> {
            self.iter_mut().find(|session| session.id() == conn)
        }
    }

    impl Door {
        fn new(when_broken: WhenBroken) -> Door {
            let sizes = Sizes { segment_bytes: 1_000, room: 4, buffer_bytes: 2 };
            let mut appender = Appender::new(Keep::Written, sizes);
            appender.append(b"x", std::slice::from_ref(&(0..1)));
            let session = |kind| Session::new(ConnId::new(kind, 1, 0), Phase::Open, moment());
            let sessions = [ConnKind::Client, ConnKind::Peer].map(session);
            let pool = BufferPool::default();
            Door { gate: Gate::new(when_broken), appender, sessions, pool }
        }

        /// Queues a text for both. Gives what may leave to each.
        fn say(&mut self, text: &str) -> [String; 2] {
            for session in &mut self.sessions {
                session.queue(text.as_bytes(), &mut self.pool, moment());
                self.gate.settle(&mut self.appender, session);
            }
            self.leaving()
        }

        fn leaving(&mut self) -> [String; 2] {
            self.sessions.each_mut().map(|session| {
                let text = session.to_send(1_000).to_vec();
                session.sent(text.len(), moment());
                session.end_writing(session.free_bytes() > 0);
                String::from_utf8(text).unwrap()
            })
        }

        fn kept(&mut self) {
            self.appender.update(Progress { written: 1, ..Progress::default() });
        }

        /// The disk takes nothing for so long that the journal is broken, or takes all.
        fn is_turned(&mut self, is_trouble: bool) -> bool {
            let Door { gate, appender, .. } = self;
            let mut look = |after| gate.look(after, is_trouble, appender);
            look(Duration::ZERO) || look(PATIENCE)
        }
    }

    fn moment() -> Moment {
        Moment::at(Duration::ZERO)
    }

    /// Goal: an answer waits for all that was appended, and for no more; a peer waits for nothing.
    #[test]
    fn answers_wait_and_peers_do_not() {
        let mut door = Door::new(WhenBroken::Refuse);
        assert_eq!(door.say("AT 1\n"), ["", "AT 1\n"]);
        assert_eq!(Gate::release(&mut door.appender, &mut door.sessions, moment()), None);
        door.kept();
        let client = door.sessions[0].id();
        let release =
            |door: &mut Door| Gate::release(&mut door.appender, &mut door.sessions, moment());
        assert_eq!(release(&mut door), Some(client));
        assert_eq!(release(&mut door), None);
        assert_eq!(door.leaving(), ["AT 1\n", ""]);
        assert_eq!(door.say("AT 2\n"), ["AT 2\n", "AT 2\n"], "nothing was appended since");
    }

    /// Goal: who is put off is read again as soon as there is room, or no answer waits any more.
    #[test]
    fn clients_are_not_read_while_too_much_waits() {
        let mut door = Door::new(WhenBroken::Refuse);
        let Door { gate, appender, sessions: [client, peer], .. } = &mut door;
        assert!(gate.puts_off(appender, client) && !gate.puts_off(appender, peer));
        assert!(client.flags.unfinished && gate.take_waiting(appender).is_empty());
        door.kept();
        assert_eq!(door.gate.take_waiting(&door.appender), [door.sessions[0].id()]);
        assert!(door.gate.waiting().is_empty());
    }

    /// Goal: what waits when the journal breaks goes on waiting, and what is queued behind it. What
    /// others are told leaves.
    #[test]
    fn a_broken_journal_lets_nothing_overtake_what_waits() {
        let mut door = Door::new(WhenBroken::Refuse);
        door.say("AT 1\n");
        assert!(door.is_turned(true) && door.gate.is_broken());
        assert_eq!(door.say("? 2\n"), ["", "? 2\n"]);
        assert_eq!(door.gate.unkept(), 0);
        door.kept();
        while Gate::release(&mut door.appender, &mut door.sessions, moment()).is_some() {}
        assert_eq!(door.leaving()[0], "AT 1\n? 2\n");
        assert!(door.is_turned(false) && !door.gate.is_broken());
    }

    /// Goal: where an operator wants that, all answers leave from then on, and each is counted.
    #[test]
    fn a_broken_journal_may_serve() {
        let mut door = Door::new(WhenBroken::Serve);
        door.say("AT 1\n");
        assert!(door.is_turned(true));
        for session in &mut door.sessions {
            Gate::hold_queued(&mut door.appender, session);
        }
        let Door { gate, appender, sessions, .. } = &mut door;
        while gate.release_unkept(appender, sessions, moment()).is_some() {}
        assert_eq!(door.leaving()[0], "AT 1\n");
        assert_eq!(door.say("AT 2\nAT 3\n")[0], "AT 2\nAT 3\n");
        assert_eq!(door.gate.unkept(), 3);
    }
}
