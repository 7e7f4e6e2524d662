//! A greeted connection to a peer, and what may be told on it now. Apart from `repair`, which
//! tells, because this is only the account of it: what was sent, what was held back, who was heard
//! when.

use std::ops::Range;
use std::time::Duration;

use super::even::Even;
use super::handover::Farewell;
use super::line_mac::{Abilities, LineMac, RunId};
use super::missed::Missed;
use super::peer_clock::{Measuring, nanos};
use crate::border::{Note, Output, Outputs};
use crate::clock::Now;
use crate::names::{ConnId, PeerId};
use crate::store::digest::{Hash, Leaf, NODES, Node};
use crate::store::{Key, Span};

/// A greeted connection to a peer.
///
/// invariant: `owed` is at least what the reactor has not yet sent on this connection, less the
/// greeting, which was sent before there was a link
/// invariant: whenever something is missed or untold, `asked` is set, so that it will be repaired
pub(crate) struct Link {
    pub conn: ConnId,
    /// When it was greeted.
    pub since: Duration,
    /// When the peer last said anything.
    pub heard: Duration,
    /// Where it is in the list of what was news lately.
    pub position: u64,
    /// Bytes sent that the far end has not taken.
    pub owed: usize,
    /// Above it, what is not yet said waits (`Limits::peer_outbox_bytes_max`).
    pub owed_max: usize,
    /// What the peer has not been told, or may not know.
    pub missed: Missed,
    /// The rest of what was sent in part.
    pub sending: Option<Span>,
    /// Nodes whose parts were to be told when there was no room for it.
    pub untold: Marks,
    /// The digest of everything was to be told when there was no room for it.
    pub root_owed: bool,
    /// The digest that was last told, or is owed, was that of nothing: parts of it say no more.
    pub told_nothing: bool,
    /// The peer's digests can be compared with ours.
    pub shares_digest: bool,
    /// The peer knows what `EVEN?` means.
    pub knows_even: bool,
    /// The peer's process, if it names it.
    pub run: Option<RunId>,
    /// We dialled, and so it is us who tell our digest first.
    pub begins: bool,
    /// The peer has told its digest on this link.
    pub compared: bool,
    /// What it held when it told that for the first time, if we did not hold the same.
    pub first_root: Option<Hash>,
    pub even: Even,
    /// The peer says its time with each sign of life.
    pub knows_clock: bool,
    pub clock: Measuring,
    /// Digests in a row that differed while reports were under way.
    pub doubts: u8,
    /// When it is looked whether the peer is alive: a timer that fires earlier is an old one.
    pub ping_at: Duration,
    /// When digests are compared next, if they are. As with `ping_at`.
    pub compare_at: Option<Duration>,
    /// Signs of life asked for.
    pings: u64,
    /// The number of a ping that was not answered yet, for there was no room.
    pong: Option<Box<[u8]>>,
    pub farewell: Farewell,
    /// `Flushed` was asked for.
    asked: bool,
    /// The log knows that the peer is slow.
    is_noted: bool,
    seal: Option<Box<LineMac>>,
}

/// What a greeting has settled about a link.
pub(crate) struct Terms {
    /// We dialled.
    pub begins: bool,
    pub seal: Option<Box<LineMac>>,
    pub theirs: Abilities,
}

impl Link {
    pub fn new(conn: ConnId, now: Duration, owed_max: usize, terms: Terms) -> Link {
        Link {
            conn,
            since: now,
            heard: now,
            position: 0,
            owed: 0,
            owed_max,
            missed: Missed::nothing(),
            sending: None,
            untold: Marks::none_of(NODES),
            root_owed: false,
            told_nothing: false,
            shares_digest: terms.theirs.shares_digest,
            knows_even: terms.theirs.knows_even,
            run: terms.theirs.run,
            begins: terms.begins,
            compared: false,
            first_root: None,
            even: Even::default(),
            knows_clock: terms.theirs.knows_clock,
            clock: Measuring::default(),
            doubts: 0,
            ping_at: Duration::ZERO,
            compare_at: None,
            pings: 0,
            pong: None,
            farewell: Farewell::None,
            asked: false,
            is_noted: false,
            seal: terms.seal,
        }
    }

    pub fn age(&self, now: Duration) -> Duration {
        now - self.since
    }

    /// Whether each line proves who says it.
    pub fn is_sealed(&self) -> bool {
        self.seal.is_some()
    }

    /// Says one line, which `write` gives without its newline.
    pub fn say(&mut self, out: &mut Outputs, write: impl FnOnce(&mut Vec<u8>)) {
        let start = out.text.len();
        write(&mut out.text);
        self.finish_line(start, out);
    }

    /// What the peer has said, if it is the peer who says it.
    pub fn open<'a>(&mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        match &mut self.seal {
            Some(seal) => seal.open(line),
            None => Some(line),
        }
    }

    /// Sends news of some clients, if all of it can be sent as it is: nothing is missed, there is
    /// room, and no line needs a seal. Says whether it was.
    #[inline]
    pub fn flood_all(&mut self, lines: Range<usize>, out: &mut Outputs) -> bool {
        let has_room = self.owed + lines.len() + LineMac::BYTES <= self.owed_max;
        let can_hear =
            has_room && self.seal.is_none() && self.missed.is_empty() && !self.has_said_farewell();
        if can_hear {
            self.send(lines, out);
        }
        can_hear
    }

    /// Sends news, or remembers that it was not sent. A peer that is behind with a client gets its
    /// newest report later, once, however often it changes meanwhile.
    #[inline]
    pub fn flood(&mut self, peer: PeerId, key: Key, line: Range<usize>, out: &mut Outputs) {
        if self.has_said_farewell() {
            return;
        }
        if self.missed.has(key) {
            return;
        }
        if self.owed + line.len() + LineMac::BYTES > self.owed_max {
            if !self.is_noted {
                self.is_noted = true;
                out.note(Note::PeerBehind { peer });
            }
            self.missed.add(key);
            return self.ask(out);
        }
        match &mut self.seal {
            // All who need no seal are sent the same bytes.
            None => self.send(line, out),
            Some(_) => {
                let start = out.text.len();
                out.text.extend_from_within(line.start..line.end - 1);
                self.finish_line(start, out);
            }
        }
    }

    /// Behind a last word, nothing is heard.
    fn has_said_farewell(&self) -> bool {
        self.farewell == Farewell::Said
    }

    /// Asks for a sign of life.
    pub fn ping(&mut self, now: Now, out: &mut Outputs) {
        self.pings += 1;
        self.clock.begin(now);
        let number = self.pings;
        self.say(out, |text| text.extend_from_slice(format!("PING {number}").as_bytes()));
    }

    /// Gives a sign of life, now or when there is room. Who hears it has heard before it what it
    /// had asked for before.
    pub fn pong(&mut self, now: Now, number: &[u8], out: &mut Outputs) {
        if self.has_room() && self.has_told() {
            let knows_clock = self.knows_clock;
            self.say(out, |text| {
                text.extend_from_slice(b"PONG ");
                text.extend_from_slice(number);
                if knows_clock {
                    text.push(b' ');
                    text.extend_from_slice(itoa::Buffer::new().format(nanos(now)).as_bytes());
                }
            });
        } else {
            self.pong = Some(number.into());
            self.ask(out);
        }
    }

    /// Gives the sign of life that there was no room for.
    pub fn pong_late(&mut self, now: Now, out: &mut Outputs) {
        if self.has_told()
            && let Some(number) = self.pong.take()
        {
            self.pong(now, &number, out);
        }
    }

    /// The sign of life of this number has come, with the peer's time if it says that.
    pub fn ponged(&mut self, now: Now, number: u64, theirs_ns: Option<u64>) {
        if let Some(theirs_ns) = theirs_ns.filter(|_| number == self.pings) {
            self.clock.end(now, theirs_ns);
        }
    }

    /// The far end has taken so many bytes.
    pub fn taken(&mut self, bytes: usize) {
        self.owed = self.owed.saturating_sub(bytes);
    }

    /// Whether there is room for what can also be said later.
    pub fn has_room(&self) -> bool {
        self.owed <= self.owed_max
    }

    /// Whether nothing is left to be told about what we hold.
    pub fn has_told(&self) -> bool {
        self.untold.is_empty() && !self.root_owed
    }

    /// Whether there is anything that the peer must still be told.
    pub fn is_behind(&self) -> bool {
        !self.has_told() || self.sending.is_some() || !self.missed.is_empty()
    }

    /// What the peer must be sent next. News of what is being sent is flooded again: what the walk
    /// has passed, it does not meet.
    pub fn next_span(&mut self) -> Option<Span> {
        self.sending.take().or_else(|| self.missed.take())
    }

    /// Remembers that the peer must be sent what this leaf holds.
    pub fn miss(&mut self, leaf: Leaf, out: &mut Outputs) {
        self.missed.add_leaf(leaf);
        self.ask(out);
    }

    /// Remembers that the peer must be told the digest of everything.
    pub fn owe_root(&mut self, out: &mut Outputs) {
        self.root_owed = true;
        self.told_nothing = false;
        self.ask(out);
    }

    /// Remembers that the peer must be told the digests of this node's parts.
    pub fn owe_parts(&mut self, node: Node, out: &mut Outputs) {
        self.untold.add(node.number());
        self.ask(out);
    }

    /// Asks to be told when nothing is owed any more.
    pub fn ask(&mut self, out: &mut Outputs) {
        if !self.asked {
            self.asked = true;
            out.push(Output::TellFlushed { conn: self.conn });
        }
    }

    /// Nothing is owed any more.
    pub fn flushed(&mut self) {
        self.taken(self.owed);
        self.asked = false;
        self.is_noted &= self.is_behind();
    }

    fn finish_line(&mut self, start: usize, out: &mut Outputs) {
        if let Some(seal) = &mut self.seal {
            seal.close(&mut out.text, start);
        }
        out.text.push(b'\n');
        self.send(start..out.text.len(), out);
    }

    #[inline(always)]
    fn send(&mut self, text: Range<usize>, out: &mut Outputs) {
        self.owed += text.len();
        out.send(self.conn, text);
        if self.owed > self.owed_max / 2 {
            self.ask(out);
        }
    }
}

/// Some of many small numbers: one bit for each. All leaves take 2 KiB.
pub(crate) struct Marks {
    bits: Box<[u64]>,
    count: usize,
    /// Where the search for the next one begins, so that all have their turn.
    at: usize,
}

impl Marks {
    /// None of the numbers below `numbers`.
    pub fn none_of(numbers: usize) -> Marks {
        let words = numbers.div_ceil(u64::BITS as usize);
        Marks { bits: vec![0; words].into_boxed_slice(), count: 0, at: 0 }
    }

    pub fn len(&self) -> usize {
        self.count
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn has(&self, number: usize) -> bool {
        let (word, bit) = word_and_bit(number);
        self.count > 0 && self.bits[word] & bit != 0
    }

    pub fn add(&mut self, number: usize) {
        let (word, bit) = word_and_bit(number);
        self.count += usize::from(self.bits[word] & bit == 0);
        self.bits[word] |= bit;
    }

    pub fn list(&self) -> impl Iterator<Item = usize> {
        (0..self.bits.len() * u64::BITS as usize).filter(|&number| self.has(number))
    }

    /// Takes one out.
    pub fn take(&mut self) -> Option<usize> {
        if self.count == 0 {
            return None;
        }
        while self.bits[self.at] == 0 {
            self.at = (self.at + 1) % self.bits.len();
        }
        let word = &mut self.bits[self.at];
        let bit = word.trailing_zeros() as usize;
        *word &= *word - 1;
        self.count -= 1;
        Some(self.at * u64::BITS as usize + bit)
    }
}

fn word_and_bit(number: usize) -> (usize, u64) {
    (number / 64, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::store::digest::LEAVES;

    #[test]
    fn every_leaf_that_was_missed_is_taken_once() {
        let mut random = fastrand::Rng::with_seed(5);
        let (mut set, mut expected) = (Marks::none_of(LEAVES), BTreeSet::new());
        for _ in 0..2_000 {
            let leaf = random.usize(0..LEAVES);
            assert_eq!(set.has(leaf), expected.contains(&leaf));
            set.add(leaf);
            expected.insert(leaf);
            if random.bool() {
                let taken = set.take().unwrap();
                assert!(expected.remove(&taken) && !set.has(taken));
            }
        }
        while let Some(leaf) = set.take() {
            assert!(expected.remove(&leaf));
        }
        assert!(expected.is_empty() && set.is_empty());
    }
}
