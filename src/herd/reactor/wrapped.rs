//! A connection whose bytes are not lines as they come: TLS is around them. Its session is the same
//! as everybody's and knows nothing of it; here bytes of the wire become bytes of lines, and back.
//!
//! ```text
//!   kernel ──▶ scratch ──▶ feed ──▶ plain ──▶ session       what is not whole yet: `partial`
//!   kernel ◀── unsent  ◀── seal ◀──────────── session       what the kernel refused: `unsent`
//! ```
//!
//! Scratch, plain and the room for sealing are the loop's, for all connections. What an idle one
//! has of its own is its keys.
//!
//! Bytes of the outbox count as sent once the kernel has taken all of the record that they are in.
//! Until then they are owed, so a session's deadlines, its high water and its close need no word on
//! TLS. A record is sealed once: to seal it again would skip a number.

use std::io;
use std::time::Duration;

use rustix::io::Errno;

use super::connection::{Connection, Filled, Flushed, WRITE_BUDGET};
use crate::tls::{self, PIECE_BYTES_MAX};
use herd_core::session::{Moment, Phase, Reading, Session};

/// How far a connection has come before its lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// It was dialled, and the dial is under way.
    Dialling,
    /// The handshake is not over.
    Shaking,
    /// Lines come and go.
    Open,
    /// The far end speaks no TLS.
    Plain,
    /// There was no handshake, and there will be none.
    Failed,
}

pub struct Wrapped {
    pub connection: Connection,
    pub stage: Stage,
    tls: tls::Session,
    /// Sealed bytes that the kernel has not taken.
    unsent: Vec<u8>,
    /// So many bytes of the outbox are in them.
    covered: usize,
    /// No more is to be sent behind them.
    is_last: bool,
    /// Who has connected here says by its first byte whether it speaks TLS, and has not.
    is_asked: bool,
    /// When it must be open.
    pub open_by: Duration,
}

/// Why a read brought nothing and nothing more will come.
pub enum Failed {
    /// The far end has closed before its handshake was over.
    Gone,
    /// What has come is no TLS.
    NoTls,
    /// The handshake, or the session, has failed.
    Refused(String),
    Broken(io::Error),
}

impl Wrapped {
    pub fn new(connection: Connection, tls: tls::Session, open_by: Duration) -> Wrapped {
        Wrapped {
            connection,
            stage: Stage::Shaking,
            tls,
            unsent: Vec::new(),
            covered: 0,
            is_last: false,
            is_asked: true,
            open_by,
        }
    }

    /// One that was dialled, and is not connected.
    pub fn dialled(connection: Connection, tls: tls::Session) -> Wrapped {
        let wrapped = Wrapped::new(connection, tls, Duration::MAX);
        Wrapped { stage: Stage::Dialling, is_asked: false, ..wrapped }
    }

    /// The dial is through: we say the first word.
    ///
    /// # Errors
    /// Why there is none.
    pub fn begin(&mut self, open_by: Duration) -> Result<(), Failed> {
        (self.stage, self.open_by) = (Stage::Shaking, open_by);
        let fed = self.tls.feed(&mut [], &mut Vec::new(), &mut self.unsent);
        fed.map(drop).map_err(Failed::Refused)
    }

    fn session(&mut self) -> &mut Session {
        &mut self.connection.session
    }

    /// Whether the kernel has refused something that is not in the outbox, or is and is sealed.
    pub fn has_unsent(&self) -> bool {
        !self.unsent.is_empty()
    }

    pub fn is_resumed(&self) -> bool {
        self.tls.is_resumed()
    }

    /// Reads once, at most so many bytes, and appends what they say to `plain`. Says how many bytes
    /// have come. The scratch must hold `PARTIAL_BYTES_MAX` and more.
    ///
    /// # Errors
    /// Why the connection is over. What is `unsent` may still tell the far end.
    pub fn fill(
        &mut self,
        scratch: &mut [u8],
        read_max: usize,
        plain: &mut Vec<u8>,
        now: Moment,
    ) -> Result<Filled, Failed> {
        let kept = self.tls.partial().len();
        scratch[..kept].copy_from_slice(self.tls.partial());
        let end = scratch.len().min(kept + read_max);
        let count = match self.connection.read(&mut scratch[kept..end]) {
            Ok(0) => return self.end(),
            Ok(count) => count,
            Err(Errno::AGAIN) => {
                self.session().received_nothing();
                return Ok(Filled::Nothing);
            }
            Err(error) => return Err(Failed::Broken(error.into())),
        };
        let is_full = kept + count == end;
        if std::mem::take(&mut self.is_asked) && !tls::may_begin_with(scratch[0]) {
            self.stage = Stage::Plain;
            self.session().received(count, is_full, now);
            return Ok(Filled::Bytes(count));
        }
        let begin = plain.len();
        self.feed(&mut scratch[..kept + count], plain, now)?;
        match plain.len() - begin {
            // Nothing has moved yet, as far as the session knows.
            0 => {
                let flags = &mut self.session().flags;
                flags.readable = is_full || flags.read_on;
            }
            bytes => self.session().received(bytes, is_full, now),
        }
        Ok(Filled::Bytes(count))
    }

    /// Takes all that is whole; plaintext that stayed inside would be announced by no event.
    fn feed(&mut self, wire: &mut [u8], plain: &mut Vec<u8>, now: Moment) -> Result<(), Failed> {
        let fed = self.tls.feed(wire, plain, &mut self.unsent).map_err(Failed::Refused)?;
        if fed.is_open && self.stage == Stage::Shaking {
            self.stage = Stage::Open;
            // Lines are waited for from now on.
            self.session().open(now);
        }
        if fed.is_ended && self.session().reading == Reading::Open {
            self.session().end_partial_line();
        }
        Ok(())
    }

    /// The far end has closed its half. Without a word of TLS before, somebody else may have cut
    /// the connection, and half a line is none.
    fn end(&mut self) -> Result<Filled, Failed> {
        if self.stage == Stage::Shaking {
            return Err(Failed::Gone);
        }
        self.session().stop_reading();
        self.session().received_end();
        Ok(Filled::End)
    }

    /// Reads what comes after our last word, which is thrown away.
    pub fn drain(&mut self, scratch: &mut [u8], now: Moment) -> Filled {
        self.connection.fill(scratch, now)
    }

    /// Writes what is to be sent, as far as the kernel takes it. `out` is room for sealing. Says
    /// how many bytes of the outbox have left, how many bytes of the wire, and what came of it.
    pub fn flush(&mut self, out: &mut Vec<u8>, now: Moment) -> (usize, usize, Flushed) {
        let (mut left, mut wire) = (0, 0);
        loop {
            match self.push(&mut wire, now) {
                Ok(bytes) => left += bytes,
                Err(Errno::AGAIN) => {
                    self.session().end_writing(true);
                    return (left, wire, Flushed::Partly);
                }
                Err(error) => return (left, wire, Flushed::Broken(error.into())),
            }
            let budget = WRITE_BUDGET.saturating_sub(left).min(PIECE_BYTES_MAX);
            let piece = self.connection.session.to_send(budget);
            if piece.is_empty() || self.stage != Stage::Open {
                break;
            }
            out.clear();
            if let Err(why) = self.tls.seal(piece, out) {
                return (left, wire, Flushed::Broken(io::Error::other(why)));
            }
            let covered = piece.len();
            match self.connection.write(out) {
                Ok(count) if count == out.len() => {
                    self.session().sent(covered, now);
                    (left, wire) = (left + covered, wire + count);
                }
                taken => {
                    let count = taken.unwrap_or(0);
                    wire += count;
                    self.unsent.extend_from_slice(&out[count..]);
                    self.covered = covered;
                }
            }
        }
        // Until it is open, what is to be sent waits for more than room.
        let must_wait = self.stage != Stage::Open;
        self.session().end_writing(must_wait);
        let is_all = self.session().queued_bytes() == 0;
        (left, wire, if is_all { Flushed::All } else { Flushed::Partly })
    }

    /// Writes what was sealed before. Says how many bytes of the outbox have left with it.
    fn push(&mut self, wire: &mut usize, now: Moment) -> Result<usize, Errno> {
        if self.unsent.is_empty() {
            return Ok(0);
        }
        while !self.unsent.is_empty() {
            let count = self.connection.write(&self.unsent)?;
            *wire += count;
            self.unsent.drain(..count);
            // Something has moved, though no whole record has left.
            self.session().sent(0, now);
        }
        self.unsent = Vec::new();
        let covered = std::mem::take(&mut self.covered);
        if covered > 0 {
            self.session().sent(covered, now);
        }
        if std::mem::take(&mut self.is_last) {
            self.connection.shut_down();
        }
        Ok(covered)
    }

    /// Says that no more will come: by TLS, and then by TCP once the kernel has taken that. Whether
    /// it could be said.
    pub fn shut_down(&mut self, now: Moment) -> bool {
        if self.stage != Stage::Open {
            return self.connection.shut_down();
        }
        self.is_last = self.tls.close(&mut self.unsent).is_ok();
        match self.push(&mut 0, now) {
            Ok(_) => true,
            Err(Errno::AGAIN) => {
                self.connection.session.flags.write_blocked = true;
                true
            }
            Err(_) => false,
        }
    }

    /// The last words of a connection that ends at once, if they can be said at once.
    pub fn part(&mut self) {
        let is_open = self.stage == Stage::Open && !self.has_unsent();
        let is_over = matches!(self.connection.session.phase(), Phase::Lingering { .. });
        if is_open && !is_over && self.tls.close(&mut self.unsent).is_err() {
            self.unsent.clear();
        }
        let _ = self.connection.write(&self.unsent);
    }
}
