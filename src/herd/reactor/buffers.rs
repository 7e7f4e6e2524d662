//! What a connection owns only while something is under way: the line that has begun, and what it
//! is owed. Apart because of who does not own it: most connections, most of the time, wait between
//! two commands, and then all of this is one empty pointer.
//!
//! Buffers are lent. Whoever gives his back leaves them on a pile for whoever comes next, so a
//! connection that asks and is answered allocates nothing, however often it does.
//!
//! asyncio: each StreamReader has its `bytearray`, and each transport another, for life.

use super::deadlines::Moment;
use herd_core::line::LineBuffer;

/// invariant: between two turns, a connection that owns buffers has something in them
#[derive(Default)]
pub struct Buffers {
    pub inbox: LineBuffer,
    pub outbox: Outbox,
}

/// Bytes that are owed, and how far they have been sent.
#[derive(Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    sent: usize,
    /// When the kernel last took some of it, or it began to be.
    pub moved: Moment,
}

/// Buffers without an owner.
#[derive(Default)]
pub struct Spare {
    // What goes to and fro is the box itself; a pile of bare buffers would be copied each time.
    #[expect(clippy::vec_box)]
    pile: Vec<Box<Buffers>>,
}

impl Buffers {
    pub fn are_empty(&self) -> bool {
        self.outbox.owed() == 0 && !self.inbox.is_partial()
    }
}

impl Outbox {
    /// More memory than this is not kept for the next: one long answer would be paid for ever.
    const SPARE_BYTES_MAX: usize = 16 * 1024;

    pub fn owed(&self) -> usize {
        self.bytes.len() - self.sent
    }

    pub fn push(&mut self, text: &[u8]) {
        self.bytes.extend_from_slice(text);
    }

    /// What is to be sent next, at most so many bytes of it.
    pub fn next(&self, bytes_max: usize) -> &[u8] {
        let owed = &self.bytes[self.sent..];
        &owed[..owed.len().min(bytes_max)]
    }

    /// So many bytes more have been sent.
    pub fn advance(&mut self, count: usize) {
        self.sent += count;
    }

    /// Forgets what has been sent. Some may be left: a reader that is always a little behind must
    /// not make the buffer grow for ever, so that is moved to the front once it is the lesser part.
    pub fn compact(&mut self) {
        if self.owed() == 0 {
            self.bytes.clear();
            self.sent = 0;
            if self.bytes.capacity() > Self::SPARE_BYTES_MAX {
                self.bytes = Vec::new();
            }
        } else if self.sent > self.bytes.len() / 2 {
            self.bytes.drain(..self.sent);
            self.sent = 0;
        }
    }
}

impl Spare {
    /// Enough for every connection that one batch of events can make owe.
    const PILE_MAX: usize = 1024;

    pub fn lend(&mut self) -> Box<Buffers> {
        self.pile.pop().unwrap_or_default()
    }

    /// Takes back what is empty.
    pub fn take_back(&mut self, buffers: Box<Buffers>) {
        debug_assert!(buffers.are_empty());
        if self.pile.len() < Self::PILE_MAX {
            self.pile.push(buffers);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use mio::Events;

    use crate::reactor::tests::reactor;

    /// Goal: whoever asks in turn shares one pair of buffers, owned only until the answer is sent;
    /// then nothing is allocated, from the read to the write.
    #[test]
    fn buffers_go_from_hand_to_hand() {
        let dir = tempfile::tempdir().unwrap();
        let (mut reactor, [address, _]) = reactor(dir.path());
        let mut events = Events::with_capacity(16);
        let mut clients = [0; 3].map(|_| TcpStream::connect(address).unwrap());
        let mut ask_all = |time: u32| {
            let mut allocations = 0;
            for client in &mut clients {
                // In one piece: half a line would have to be kept.
                let line = format!("IAMAT kiwi +34.068930-118.445127 {time}.918963997\n");
                client.write_all(line.as_bytes()).unwrap();
                let asked = reactor.server.counters().lines_in + 1;
                while reactor.server.counters().lines_in < asked {
                    let turn = || reactor.turn(&mut events).unwrap();
                    allocations += allocation_counter::measure(turn).count_total;
                }
                let count = client.read(&mut [0; 1024]).unwrap();
                assert!(count > 0 && reactor.spare.pile.len() == 1);
            }
            allocations
        };
        assert!((0..10).map(|n| ask_all(1_520_000_000 + n)).sum::<u64>() > 0, "the counter counts");
        assert_eq!((0..10).map(|n| ask_all(1_520_000_010 + n)).sum::<u64>(), 0);
    }
}
