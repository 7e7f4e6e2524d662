//! What leaves: texts are owed first and written when the turn ends, one write a socket; a close
//! waits for the last of them. Apart from `serving` because everything here begins with an output
//! of the core, not with an event.

use log::{debug, info, warn};

use super::connection::{Flushed, Phase};
use super::{Due, FLUSH_EARLY, Mail, Reactor, traffic};
use crate::core::names::{ConnId, Door};

impl Reactor {
    /// Puts a text into a connection's outbox. It leaves when the turn ends.
    pub(super) fn owe(&mut self, conn: ConnId, text: &[u8]) {
        let now = self.moment();
        let owed_max = match conn.door() {
            Door::Peer => 2 * self.config.limits.peer_outbox_bytes_max,
            _ => self.config.limits.outbox_bytes_max,
        };
        let Some(connection) = self.slots.connection(conn) else { return };
        if traffic::is_logged() && conn.door() != Door::Admin {
            traffic::log_out(conn, text);
        }
        connection.owe(text, &mut self.spare, now);
        let owed = connection.owed();
        self.mark_owing(conn);
        if owed > FLUSH_EARLY {
            self.write(conn);
        }
        if self.slots.connection(conn).is_some_and(|connection| connection.owed() > owed_max) {
            warn!("{conn} is owed more than {owed_max} bytes and does not read");
            self.kill(conn);
        }
    }

    /// Queues a connection for the end of the turn, unless the kernel must speak first.
    pub(super) fn mark_owing(&mut self, conn: ConnId) {
        let Some(connection) = self.slots.connection(conn) else { return };
        if connection.owed() > 0 && !connection.flags.owing && !connection.flags.write_blocked {
            connection.flags.owing = true;
            self.owing.push_back(conn);
        }
    }

    /// Writes what a connection is owed, and does what had to wait for that.
    pub(super) fn flush(&mut self, conn: ConnId) {
        if let Some(connection) = self.slots.connection(conn) {
            connection.flags.owing = false;
        }
        self.write(conn);
        self.mark_owing(conn);
        self.queue_if_unfinished(conn);
        self.empty_mailbox();
    }

    fn write(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(connection) = self.slots.connection(conn) else { return };
        if connection.owed() == 0 {
            return;
        }
        match connection.flush(now) {
            Flushed::All => {
                connection.recycle(&mut self.spare);
                if std::mem::take(&mut connection.flags.tell_drained) {
                    self.mailbox.push_back(Mail::Drained { conn });
                }
                self.update_interest(conn);
                self.close_if_sent(conn);
            }
            Flushed::Partly => self.update_interest(conn),
            Flushed::Broken(error) => {
                debug!("{conn} broke: {error}");
                self.kill(conn);
            }
        }
    }

    fn update_interest(&mut self, conn: ConnId) {
        let Some(connection) = self.slots.connection(conn) else { return };
        if let Err(error) = connection.reregister(self.poll.registry()) {
            warn!("{conn} cannot be watched: {error}");
            self.kill(conn);
        }
    }

    pub(super) fn tell_when_drained(&mut self, conn: ConnId) {
        let Some(connection) = self.slots.connection(conn) else { return };
        match connection.owed() {
            0 => self.mailbox.push_back(Mail::Drained { conn }),
            _ => connection.flags.tell_drained = true,
        }
    }

    pub(super) fn close_when_sent(&mut self, conn: ConnId) {
        let Some(connection) = self.slots.connection(conn) else { return };
        connection.close_when_sent();
        self.close_if_sent(conn);
    }

    fn close_if_sent(&mut self, conn: ConnId) {
        let now = self.moment();
        let Some(connection) = self.slots.connection(conn) else { return };
        if connection.phase() != Phase::Closing || connection.owed() > 0 {
            return;
        }
        if connection.say_last_word(now) {
            return self.kill(conn);
        }
        // What was read before and what comes from now on is thrown away.
        connection.inbox = Default::default();
        if let Some((deadline, _)) = connection.deadline(&self.patience) {
            self.wheel.start(deadline.as_duration(), Due::Look(conn));
        }
        self.queue_if_unfinished(conn);
    }

    /// Ends a connection now. The core hears of it; its slot is freed when the turn ends.
    pub(super) fn kill(&mut self, conn: ConnId) {
        if !self.slots.kill(conn) {
            return;
        }
        match conn.door() {
            Door::Admin => debug!("{conn} has gone"),
            _ => info!("{conn} has gone"),
        }
        self.mailbox.push_back(Mail::Closed { conn });
    }
}
