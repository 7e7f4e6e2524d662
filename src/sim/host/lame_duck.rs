//! A server that lets its clients go one after the other before it leaves. The host only does what
//! the reactor does, and looks who is still there afterwards.

use std::time::Duration;

use super::{Act, Host};
use crate::invariants::{Invariant, Violation, lines_of};
use herd_core::driver::{Driver, Sessions};
use herd_core::names::{ConnId, ConnKind};

/// Who was between two lines for so long has had a turn to leave, however often it was put off.
const TURN_MAX: Duration = Duration::from_millis(200);

impl Host {
    /// Its connections that are clients'.
    pub fn clients(&self) -> Vec<ConnId> {
        let conns = self.conns().into_iter();
        conns.filter(|conn| conn.kind() == ConnKind::Client).collect()
    }

    /// Lets a client go, if it is between two lines. Says whether it has no more turn: `None` if it
    /// had gone before.
    pub fn let_go(&mut self, conn: ConnId) -> Option<bool> {
        self.pipes.session(conn)?;
        let has_left = self.let_leave(conn);
        self.serve_unfinished();
        Some(has_left)
    }

    /// Something has come on this connection, or left.
    pub(super) fn stir(&mut self, conn: ConnId) {
        let now = self.clock.now.monotonic;
        self.pipes.0.entry(conn).and_modify(|pipe| pipe.quiet_since = now);
    }

    /// The time of the lame duck is over, and all who could have been let go of have been.
    ///
    /// # Errors
    /// I19.
    pub fn has_let_go(&mut self) -> Result<(), Violation> {
        let now = self.clock.now.monotonic;
        let waits = |conn: &ConnId| {
            let pipe = self.pipes.0.get(conn);
            pipe.is_some_and(|pipe| {
                pipe.session.is_between_lines() && pipe.quiet_since + TURN_MAX < now
            })
        };
        let left = self.clients().into_iter().find(waits);
        Invariant::LameDuck.demand(left.is_none(), || {
            format!("{left:?} was between two lines, and had no turn to leave")
        })
    }

    /// A text was sent: it may be the last of a link.
    pub(super) fn note_farewell(&mut self, conn: ConnId, text: &[u8]) {
        if conn.kind() != ConnKind::Peer {
            return;
        }
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            if line.starts_with(b"BYE") {
                let held = lines_of(self.server.store());
                self.acts.push(Act::SaidBye { conn, held });
            } else if line.starts_with(b"KEPT") {
                self.acts.push(Act::SaidKept { conn });
            }
        }
    }
}
