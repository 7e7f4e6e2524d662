//! What a connection owns only while something is under way: the line that has begun, and what is
//! to be sent. Most connections, most of the time, wait between two commands, and then all of
//! this is one empty pointer.
//!
//! Buffers are lent from a pool, so a connection that asks and is answered allocates nothing,
//! however often it does.
//!
//! asyncio: each StreamReader has its `bytearray`, and each transport another, for life.

use super::timeouts::Moment;
use crate::wire::line_buffer::LineBuffer;

/// invariant: between two turns, a connection that owns buffers has something in them, or is a
/// peer's or an engine's: there are few, and what many clients report fills them again in each turn
#[derive(Default)]
pub(super) struct Buffers {
    pub inbox: LineBuffer,
    pub outbox: Outbox,
}

/// Bytes to be sent, and how far they have been.
#[derive(Default)]
pub(super) struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// So many bytes at the end must not leave before the journal has what they rest on.
    held: usize,
    /// Of the bytes before this place it is known whether they are held.
    settled: usize,
    /// When the kernel last took some of it, or the first byte was put in.
    pub moved: Moment,
}

/// Buffers that no connection has now.
#[derive(Default)]
pub struct BufferPool {
    // The box itself moves between pool and session; bare buffers would be copied each time.
    #[expect(clippy::vec_box)]
    free: Vec<Box<Buffers>>,
}

impl Buffers {
    pub fn are_empty(&self) -> bool {
        self.outbox.len() == 0 && !self.inbox.is_partial()
    }
}

impl Outbox {
    /// A buffer of more memory is dropped when it is empty: one long answer would be paid for ever.
    const SPARE_BYTES_MAX: usize = 16 * 1024;
    /// The same of one to whom others' reports go, who is written to before it is longer.
    const PEERS_SPARE_BYTES_MAX: usize = 128 * 1024;

    /// Bytes that are still to be sent.
    pub fn len(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
    }

    /// Bytes that may leave now.
    pub fn sendable_len(&self) -> usize {
        self.len() - self.held
    }

    /// What is to be sent next, at most so many bytes of it.
    pub fn next(&self, bytes_max: usize) -> &[u8] {
        &self.bytes[self.sent..][..self.sendable_len().min(bytes_max)]
    }

    /// Holds what has come since this was last settled. Says how many bytes that are.
    pub fn hold_new(&mut self) -> usize {
        let count = self.bytes.len() - self.settled;
        self.held += count;
        self.settled = self.bytes.len();
        count
    }

    /// Nothing is held any more.
    pub fn release_all(&mut self) {
        self.held = 0;
        self.settled = self.bytes.len();
    }

    /// So many of the held bytes may leave: these.
    pub fn release(&mut self, count: usize) -> &[u8] {
        let at = self.settled - self.held;
        self.held -= count;
        &self.bytes[at..at + count]
    }

    /// Bytes of which it is not settled whether they are held.
    pub fn unsettled(&self) -> &[u8] {
        &self.bytes[self.settled..]
    }

    /// So many bytes more have been sent.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
    }

    /// Forgets what has been sent. What is left is moved to the front once it is the lesser part,
    /// so a reader that is always a little behind does not make the buffer grow for ever.
    pub fn compact(&mut self, is_peers: impl Fn() -> bool) {
        if self.len() == 0 {
            self.bytes.clear();
            self.sent = 0;
            self.settled = 0;
            let capacity = self.bytes.capacity();
            let is_much = capacity > Self::SPARE_BYTES_MAX;
            if is_much && (capacity > Self::PEERS_SPARE_BYTES_MAX || !is_peers()) {
                self.bytes = Vec::new();
            }
        } else if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.settled = self.settled.saturating_sub(self.sent);
            self.sent = 0;
        }
    }
}

impl BufferPool {
    /// Enough for every connection that one batch of events can answer.
    const FREE_MAX: usize = 1024;

    #[inline]
    pub(super) fn lend(&mut self) -> Box<Buffers> {
        self.free.pop().unwrap_or_default()
    }

    /// Buffers that nobody uses now.
    pub fn idle(&self) -> usize {
        self.free.len()
    }

    /// Takes back what is empty.
    #[inline]
    pub(super) fn take_back(&mut self, buffers: Box<Buffers>) {
        debug_assert!(buffers.are_empty());
        if self.free.len() < Self::FREE_MAX {
            self.free.push(buffers);
        }
    }
}
