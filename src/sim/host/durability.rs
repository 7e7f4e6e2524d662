//! A simulated server with a journal: its answers wait at the gate of the reactor's. What its
//! threads do is the world's business, and what a client has been told is noted for it.

use super::Host;
use crate::invariants::Violation;
use crate::journal::Journal;
use herd_core::driver::Sessions;
use herd_core::journal::gate::Gate;
use herd_core::names::{ConnId, ConnKind};

/// Bytes of a compaction for each turn of the loop, if there is no news.
const COMPACTION_BYTES: u64 = 100;

impl Host {
    /// A server begins with what its journal says. Its stamps go on from there: in an earlier life
    /// it has heard reports until then, and its clock may be behind that.
    ///
    /// # Errors
    /// Those of `open`.
    pub fn with_journal(
        mut self,
        heard_until: Option<i128>,
        open: impl FnOnce(&mut herd_core::Server) -> Result<Journal, Violation>,
    ) -> Result<Host, Violation> {
        self.journal = Some(open(&mut self.server)?);
        self.clock.was_set_back |=
            heard_until.is_some_and(|until| until > self.clock.posix_nanos());
        Ok(self)
    }

    pub fn journal(&self) -> Option<&Journal> {
        self.journal.as_ref()
    }

    /// The process was asked to end, and its last connection is closed.
    pub fn close_journal(&mut self) {
        self.journal.iter_mut().for_each(Journal::close);
    }

    /// The thread that syncs does something, or the one that writes.
    pub fn work_disk(&mut self, syncs: bool) {
        self.disk_steps += 1;
        match &mut self.journal {
            Some(journal) if syncs => journal.sync(),
            Some(journal) => journal.write(),
            None => {}
        }
    }

    /// What the threads have done so far.
    pub fn disk_steps(&self) -> u64 {
        self.disk_steps
    }

    /// AT lines that have left for clients since the last call, and what had been appended by then.
    pub fn take_told(&mut self) -> Vec<(String, u64)> {
        std::mem::take(&mut self.told)
    }

    /// What an input brought as news is appended before anything of it is sent.
    pub(super) fn append_news(&mut self) {
        if let Some(journal) = &mut self.journal {
            journal.appender.append(&self.out.text, &self.out.news);
        }
    }

    /// The end of a turn: its news is written, and answers may leave that wait for nothing any
    /// more. If `is_quick`, the loop may write itself.
    pub fn keep_news(&mut self, is_quick: bool) {
        let now = self.moment();
        let Some(journal) = &mut self.journal else { return };
        let has_lost = journal.update();
        journal.appender.earn_by_clock(COMPACTION_BYTES);
        self.server.feed_journal(&mut journal.appender, has_lost, &mut self.out);
        journal.hand_over(is_quick);
        while Gate::release(&mut journal.appender, &mut self.pipes, now).is_some() {}
        self.unfinished.extend(journal.gate.take_waiting(&journal.appender));
        self.count_work();
        self.serve_unfinished();
    }

    /// Whether a client must not be read now: it will be once there is room.
    pub(super) fn puts_off(&mut self, conn: ConnId) -> bool {
        let (Some(journal), Some(session)) = (&mut self.journal, self.pipes.session(conn)) else {
            return false;
        };
        journal.gate.puts_off(&journal.appender, session)
    }

    /// What was queued for a client may leave, or waits.
    pub(super) fn settle(&mut self, conn: ConnId) {
        if let (Some(journal), Some(session)) = (&mut self.journal, self.pipes.session(conn)) {
            journal.gate.settle(&mut journal.appender, session);
        }
    }

    /// A client is told this.
    pub(super) fn note_told(&mut self, conn: ConnId, sent: &[u8]) {
        let Some(journal) = &self.journal else { return };
        let Some(pipe) = self.pipes.0.get_mut(&conn) else { return };
        if conn.kind() != ConnKind::Client {
            return;
        }
        pipe.leaving.extend_from_slice(sent);
        let Some(end) = memchr::memrchr(b'\n', &pipe.leaving) else { return };
        let rest = pipe.leaving.split_off(end + 1);
        let lines = std::mem::replace(&mut pipe.leaving, rest);
        let lines = lines.split_inclusive(|&byte| byte == b'\n');
        for line in lines.filter(|line| line.starts_with(b"AT ")) {
            let line = String::from_utf8_lossy(line).into_owned();
            self.told.push((line, journal.appender.appended()));
        }
    }
}
