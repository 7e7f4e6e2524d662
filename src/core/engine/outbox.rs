//! What is said to all who hold a part: its lines wait for the end of the turn, and its batches
//! have numbers of their own. Apart from `outgoing` because it knows neither a node nor a store.

use std::collections::VecDeque;
use std::time::Duration;

use crate::parts::Part;

/// A batch that nothing follows for so long is followed by an empty one, so that a hole shows.
const TAIL_AFTER: Duration = Duration::from_secs(1);

/// What is said of one part.
struct Outbox {
    subject: Vec<u8>,
    lines: Vec<u8>,
    /// Of its last batch.
    number: u64,
    /// When a batch with lines was last published.
    news_at: Duration,
    has_tail: bool,
}

/// One outbox for each part; where clients are not divided, one for all.
pub(super) struct Outboxes {
    list: Vec<Outbox>,
    /// Those that have lines.
    filled: Vec<Part>,
    /// Bytes of all those lines.
    bytes: usize,
    /// Memory of those that have none.
    spare: Vec<Vec<u8>>,
    /// When the last batch of a part may be followed by an empty one, the earliest first.
    tails: VecDeque<(Part, Duration)>,
}

/// A batch that leaves.
pub(super) struct Batch {
    part: Part,
    pub subject: Vec<u8>,
    pub lines: Vec<u8>,
    pub number: u64,
}

impl Outboxes {
    /// `subject` is what those of the parts begin with.
    pub fn new(subject: &[u8], parts: usize) -> Outboxes {
        let outbox = |part: usize| Outbox {
            subject: [subject, part.to_string().as_bytes()].concat(),
            lines: Vec::new(),
            number: 0,
            news_at: Duration::ZERO,
            has_tail: false,
        };
        Outboxes {
            list: (0..parts).map(outbox).collect(),
            filled: Vec::new(),
            bytes: 0,
            spare: Vec::new(),
            tails: VecDeque::new(),
        }
    }

    fn at(&mut self, part: Part) -> &mut Outbox {
        &mut self.list[usize::from(part)]
    }

    /// Where what is said of a part is published.
    pub fn subject(&self, part: Part) -> &[u8] {
        &self.list[usize::from(part)].subject
    }

    /// The number of a part's last batch; 0 before the first.
    pub fn number(&self, part: Part) -> u64 {
        self.list[usize::from(part)].number
    }

    /// If no batch of this part was published, leaves the first number out.
    pub fn begin(&mut self, part: Part) {
        let number = &mut self.at(part).number;
        *number = (*number).max(1);
    }

    /// Bytes of lines that wait.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Bytes of a part's lines that wait.
    pub fn len(&self, part: Part) -> usize {
        self.list[usize::from(part)].lines.len()
    }

    /// Puts what `write` writes behind the lines of a part, and says how long they are now.
    pub fn write(&mut self, part: Part, write: impl FnOnce(&mut Vec<u8>)) -> usize {
        let outbox = &mut self.list[usize::from(part)];
        if outbox.lines.is_empty() {
            self.filled.push(part);
            if outbox.lines.capacity() == 0 {
                outbox.lines = self.spare.pop().unwrap_or_default();
            }
        }
        let before = outbox.lines.len();
        write(&mut outbox.lines);
        self.bytes += outbox.lines.len() - before;
        outbox.lines.len()
    }

    /// A part that has lines.
    pub fn any_filled(&self) -> Option<Part> {
        self.filled.first().copied()
    }

    /// Takes the next batch of a part. Its memory is to be given back.
    pub fn take(&mut self, part: Part) -> Batch {
        if let Some(at) = self.filled.iter().position(|filled| *filled == part) {
            self.filled.remove(at);
        }
        let outbox = self.at(part);
        outbox.number += 1;
        let (subject, number) = (std::mem::take(&mut outbox.subject), outbox.number);
        let lines = std::mem::take(&mut outbox.lines);
        self.bytes -= lines.len();
        Batch { part, subject, lines, number }
    }

    pub fn give_back(&mut self, Batch { part, subject, mut lines, .. }: Batch) {
        self.at(part).subject = subject;
        lines.clear();
        if lines.capacity() > 0 {
            self.spare.push(lines);
        }
    }

    /// All that waits is said another way.
    pub fn clear(&mut self) {
        for part in std::mem::take(&mut self.filled) {
            self.at(part).lines.clear();
        }
        self.tails.iter().for_each(|(part, _)| self.list[usize::from(*part)].has_tail = false);
        self.tails.clear();
        self.bytes = 0;
    }

    /// A batch of this part may have been the last.
    pub fn want_tail(&mut self, part: Part, now: Duration) {
        self.at(part).news_at = now;
        self.want_tail_at(part, now + TAIL_AFTER);
    }

    /// An empty batch of this part is due then, unless another one comes before.
    pub fn want_tail_at(&mut self, part: Part, at: Duration) {
        if !std::mem::replace(&mut self.at(part).has_tail, true) {
            self.tails.push_back((part, at));
        }
    }

    pub fn next_tail(&self) -> Option<Duration> {
        self.tails.front().map(|(_, at)| *at)
    }

    /// A part whose last batch is to be followed by an empty one now.
    pub fn take_tail(&mut self, now: Duration) -> Option<Part> {
        while self.next_tail().is_some_and(|at| now >= at) {
            let (part, _) = self.tails.pop_front()?;
            let outbox = self.at(part);
            outbox.has_tail = false;
            let news_at = outbox.news_at;
            if news_at == Duration::ZERO || now >= news_at + TAIL_AFTER {
                return Some(part);
            }
            self.want_tail_at(part, news_at + TAIL_AFTER);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// PROTOCOL 15.8.
    #[test]
    fn each_part_has_its_batches_and_numbers() {
        let mut outboxes = Outboxes::new(b"herd.demo.r.", 32);
        for (part, text) in [(3, &b"AT x\n"[..]), (31, b"AT yy\n"), (3, b"AT z\n")] {
            outboxes.write(part, |lines| lines.extend_from_slice(text));
        }
        assert_eq!((outboxes.bytes(), outboxes.len(3), outboxes.len(4)), (16, 10, 0));
        let mut batches = Vec::new();
        while let Some(part) = outboxes.any_filled() {
            let batch = outboxes.take(part);
            batches.push((batch.subject.clone(), batch.lines.clone(), batch.number));
            outboxes.give_back(batch);
        }
        let batch = |subject: &[u8], lines: &[u8]| (subject.to_vec(), lines.to_vec(), 1);
        assert_eq!(
            batches,
            [batch(b"herd.demo.r.3", b"AT x\nAT z\n"), batch(b"herd.demo.r.31", b"AT yy\n")]
        );
        assert_eq!((outboxes.number(3), outboxes.number(4), outboxes.bytes()), (1, 0, 0));
        assert_eq!(outboxes.spare.len(), 2, "their memory is used again");
    }

    #[test]
    fn what_is_followed_needs_no_tail() {
        let mut outboxes = Outboxes::new(b"r.", 2);
        outboxes.want_tail(0, SECOND);
        outboxes.want_tail(1, SECOND);
        outboxes.want_tail(0, 3 * SECOND / 2);
        assert_eq!(outboxes.next_tail(), Some(2 * SECOND));
        assert_eq!(outboxes.take_tail(2 * SECOND), Some(1));
        assert_eq!(outboxes.take_tail(2 * SECOND), None);
        assert_eq!(outboxes.take_tail(5 * SECOND / 2), Some(0));
        assert_eq!(outboxes.next_tail(), None);
    }
}
