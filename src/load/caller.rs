//! One connection of a load: what it has asked, and the answers as they come.
//!
//! The crowd decides when it asks. Answers come in the order of the requests, so a queue of what
//! was asked says which is which, and nothing is looked up.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};

use memchr::memchr_iter;

use super::chatter::Chatter;
use super::pipe::Pipe;
use super::tally::Tally;

/// A run of requests that were sent at the same time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asked {
    pub first: u64,
    pub count: u64,
    /// When they were sent; at a fixed rate, when they should have been.
    pub since_ns: u64,
}

#[derive(Default)]
pub struct Caller {
    /// `None` when it is lost or ended.
    pub pipe: Option<Pipe>,
    /// Its first report, of the client that its WHATSATs ask for.
    pub known: u64,
    asked: VecDeque<Asked>,
    unanswered: u64,
    /// Waits in the crowd's queue of callers with room for more requests.
    pub is_free: bool,
    /// Bytes that the socket did not take at once.
    owed: Vec<u8>,
    /// The beginning of a line whose end has not come.
    rest: Vec<u8>,
    /// In the middle of the answer to a WHATSAT.
    in_places: bool,
    is_connected: bool,
    /// It says nothing more and waits for the server to hang up, too.
    is_leaving: bool,
}

impl Caller {
    pub fn new(pipe: Pipe) -> Caller {
        Caller { pipe: Some(pipe), ..Caller::default() }
    }

    pub fn unanswered(&self) -> u64 {
        self.unanswered
    }

    /// Requests are about to be sent.
    pub fn expect(&mut self, asked: Asked) {
        self.asked.push_back(asked);
        self.unanswered += asked.count;
    }

    /// Sends `lines`; the rest goes when the socket takes it.
    pub fn send(&mut self, lines: &[u8]) -> io::Result<()> {
        let taken = if self.owed.is_empty() { self.write(lines)? } else { 0 };
        self.owed.extend_from_slice(&lines[taken..]);
        Ok(())
    }

    /// Says nothing more, once it is connected; the server's answer is to hang up.
    pub fn leave(&mut self) -> io::Result<()> {
        self.is_leaving = true;
        match &self.pipe {
            Some(pipe) if self.is_connected => pipe.end(),
            _ => Ok(()),
        }
    }

    pub fn is_leaving(&self) -> bool {
        self.is_leaving
    }

    /// The socket is connected, and takes more: sends what it has not taken yet.
    pub fn flush(&mut self) -> io::Result<()> {
        let was_connected = std::mem::replace(&mut self.is_connected, true);
        if !was_connected && self.is_leaving {
            self.leave()?;
        }
        if !self.owed.is_empty() {
            let owed = std::mem::take(&mut self.owed);
            let taken = self.write(&owed)?;
            self.owed.extend_from_slice(&owed[taken..]);
        }
        // By TLS, it may hold what it has taken.
        match self.pipe.as_mut().map_or(Ok(()), Write::flush) {
            Err(error) if !is_transient(&error) => Err(error),
            _ => Ok(()),
        }
    }

    /// How many of `bytes` the socket has taken, until it takes no more.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(pipe) = &mut self.pipe else { return Ok(0) };
        let mut taken = 0;
        while taken < bytes.len() {
            match pipe.write(&bytes[taken..]) {
                Ok(count) => taken += count,
                Err(error) if is_transient(&error) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(taken)
    }

    /// Reads once. Gives how many bytes came, or `None` at the end of the stream.
    pub fn read(&mut self, scratch: &mut [u8]) -> io::Result<Option<usize>> {
        let Some(pipe) = &mut self.pipe else { return Ok(Some(0)) };
        let read = match pipe.read(scratch) {
            Ok(0) => None,
            Ok(count) => Some(count),
            Err(error) if is_transient(&error) => Some(0),
            Err(error) => return Err(error),
        };
        if !self.owed.is_empty() && !self.gives_all() {
            // A handshake that has just ended takes what has waited for that.
            self.flush()?;
        }
        Ok(read)
    }

    /// Whether a read that fills less than its buffer has taken all that has come.
    pub fn gives_all(&self) -> bool {
        self.pipe.as_ref().is_none_or(Pipe::gives_all)
    }

    /// The server has hung up, which answers the request to leave.
    pub fn hear_end(&mut self, now_ns: u64, tally: &mut Tally) {
        self.unanswered = 0;
        for asked in self.asked.drain(..) {
            tally.hear(asked.count, now_ns.saturating_sub(asked.since_ns));
        }
    }

    /// Counts the answers in `bytes`. Every first line is looked at; the last is compared with what
    /// was asked, which makes a sample of one in a pipeline.
    pub fn hear(&mut self, bytes: &[u8], now_ns: u64, chatter: &mut Chatter, tally: &mut Tally) {
        if self.rest.is_empty() {
            let heard = self.hear_lines(bytes, now_ns, chatter, tally);
            self.rest.extend_from_slice(&bytes[heard..]);
        } else {
            let mut rest = std::mem::take(&mut self.rest);
            rest.extend_from_slice(bytes);
            let heard = self.hear_lines(&rest, now_ns, chatter, tally);
            rest.drain(..heard);
            self.rest = rest;
        }
    }

    /// Gives how many bytes were whole lines.
    fn hear_lines(
        &mut self,
        bytes: &[u8],
        now_ns: u64,
        chatter: &mut Chatter,
        tally: &mut Tally,
    ) -> usize {
        let mut start = 0;
        let mut answers = 0;
        for end in memchr_iter(b'\n', bytes) {
            let line = &bytes[start..end];
            start = end + 1;
            if chatter.is_beside(line) {
                continue;
            }
            let Some(front) = self.asked.front_mut() else {
                tally.errors.unasked += 1;
                tally.keep_sample(line);
                continue;
            };
            let number = front.first;
            if !self.in_places && !chatter.is_content(line) {
                tally.errors.refused += 1;
                tally.keep_sample(line);
            } else if chatter.is_question(number) {
                // An answer about places ends with an empty line.
                self.in_places = !line.is_empty();
                if self.in_places {
                    continue;
                }
            } else if front.count == 1 && !chatter.is_answer(number, line) {
                tally.errors.wrong += 1;
                tally.keep_sample(line);
            }
            answers += 1;
            front.first += 1;
            front.count -= 1;
            if front.count == 0 {
                tally.hear(answers, now_ns.saturating_sub(front.since_ns));
                self.unanswered -= answers;
                answers = 0;
                self.asked.pop_front();
                if self.asked.is_empty() {
                    // A million callers that wait for nothing keep no memory for that.
                    self.asked = VecDeque::new();
                }
            }
        }
        if let Some(front) = self.asked.front().filter(|_| answers > 0) {
            tally.hear(answers, now_ns.saturating_sub(front.since_ns));
            self.unanswered -= answers;
        }
        start
    }
}

/// Nothing is wrong: there is just nothing to be had now.
fn is_transient(error: &io::Error) -> bool {
    // Not connected yet: macOS says so where Linux would block.
    let kinds = [ErrorKind::WouldBlock, ErrorKind::Interrupted, ErrorKind::NotConnected];
    kinds.contains(&error.kind())
}

#[cfg(test)]
mod tests {
    use super::super::chatter::Dialect;
    use super::*;

    const PLACES: &str = "{\n   \"status\" : \"OK\"\n}\n\n";

    /// Asks `count` requests on no socket, reads `answers` chopped into pieces of `piece` bytes,
    /// and gives what the tally says: answered, refused, wrong, unasked.
    fn heard(whatsat_percent: u64, count: u64, answers: &str, piece: usize) -> [u64; 4] {
        let mut chatter = Chatter::new(Dialect::Herd, 0..10);
        chatter.ask_for_places(whatsat_percent);
        let mut tally = Tally::new();
        let mut caller = Caller::default();
        let mut requests = Vec::new();
        (0..count).for_each(|number| chatter.write(number, 0, &mut requests));
        caller.expect(Asked { first: 0, count, since_ns: 1 });
        let requests = String::from_utf8(requests).unwrap();
        let mut answers = answers.to_owned();
        for (number, request) in requests.lines().enumerate() {
            let operands = request.split_once(' ').unwrap().1;
            answers = answers.replace(&format!("<{number}>"), &format!("AT Hill +0.1 {operands}"));
        }
        for part in answers.as_bytes().chunks(piece) {
            caller.hear(part, 2, &mut chatter, &mut tally);
        }
        assert_eq!(caller.unanswered(), count - tally.answered);
        [tally.answered, tally.errors.refused, tally.errors.wrong, tally.errors.unasked]
    }

    #[test]
    fn answers_are_counted_however_they_are_chopped() {
        let check = |percent, count, answers: &str, expected| {
            for piece in [1, 2, 7, 64, 1_000_000] {
                let found = heard(percent, count, answers, piece);
                assert_eq!(found, expected, "{answers} in pieces of {piece}");
            }
        };
        check(0, 3, "<0>\n<1>\n<2>\n", [3, 0, 0, 0]);
        check(0, 3, "<0>\n<1>\n<2>", [2, 0, 0, 0]);
        check(0, 3, "<0>\n? IAMAT\n<2>\n", [3, 1, 0, 0]);
        check(0, 1, "<0>\n<0>\n\n", [1, 0, 0, 2]);
        // Only the last of a pipeline is compared.
        check(0, 2, "<0>\n<0>\n", [2, 0, 1, 0]);
        check(0, 2, "<1>\n<1>\n", [2, 0, 0, 0]);
        check(100, 2, &format!("<0>\n{PLACES}<1>\n{PLACES}"), [2, 0, 0, 0]);
        check(100, 2, &format!("? WHATSAT\n<1>\n{PLACES}"), [2, 1, 0, 0]);
        check(100, 2, &format!("<0>\n{PLACES}<1>\n{{\n}}\n"), [1, 0, 0, 0]);
        // Of two, the first is a report.
        check(50, 2, &format!("<0>\n<1>\n{PLACES}"), [2, 0, 0, 0]);
    }
}
