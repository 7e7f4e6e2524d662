//! The other design: a server that keeps nothing and asks one Redis for everything. What flooding
//! is measured against. It has this herd's parser and event queue, and is a program of its own.
//!
//! It asks as cheaply as it can: one connection, and in each turn of its loop one write for all
//! that was asked in it. Answers come in the order of the questions, so a queue says whose they
//! are. A report is a plain SET, which keeps whatever came last; that the newest must win would
//! take a script in the store, which costs more. When the store is gone, it has nothing to say and
//! ends. Left out: logs, limits, deadlines.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use herd_core::clock::{PosixTime, Skew};
use herd_core::wire::Command;
use herd_core::wire::opening::Opening;
use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;

const LISTENER: Token = Token(usize::MAX);
const STORE: Token = Token(usize::MAX - 1);
const READ_BYTES: usize = 64 * 1024;
const EVENTS_MAX: usize = 1024;
/// No place is near: who knows places is not what is compared.
const NO_PLACES: &[u8] =
    b"{\"html_attributions\":[],\"results\":[],\"status\":\"ZERO_RESULTS\"}\n\n";

/// A socket and its two buffers; `None` when the far end has gone.
struct Line {
    stream: Option<TcpStream>,
    inbox: Vec<u8>,
    outbox: Vec<u8>,
    /// Commands whose answers wait for the store, or for those before them.
    unanswered: usize,
}

/// What is to be done with the store's next reply. The text waits in `Central::texts`.
enum Waiting {
    /// Say the text if the store has stored it.
    Report,
    /// Say what the store has, or else the text.
    Question,
    /// Say the text: the store was not asked.
    Text,
}

struct Central {
    poll: Poll,
    listener: TcpListener,
    store: Line,
    callers: Slab<Line>,
    /// For each command whose it is, and how long its text is.
    waiting: VecDeque<(usize, Waiting, usize)>,
    texts: VecDeque<u8>,
    /// Callers who are owed an answer this turn.
    owed: Vec<usize>,
    scratch: Vec<u8>,
    spare: Vec<u8>,
    opening: Opening,
}

/// Serves clients on `port` from the Redis on `store`, until that is gone.
pub fn serve(port: u16, store: u16) -> io::Result<()> {
    let poll = Poll::new()?;
    let mut listener = TcpListener::bind(([127, 0, 0, 1], port).into())?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let store = std::net::TcpStream::connect(("127.0.0.1", store))?;
    store.set_nonblocking(true)?;
    let store = Line::new(&poll, TcpStream::from_std(store), STORE)?;
    let mut central = Central {
        poll,
        listener,
        store,
        callers: Slab::new(),
        waiting: VecDeque::new(),
        texts: VecDeque::new(),
        owed: Vec::new(),
        scratch: vec![0; READ_BYTES],
        spare: Vec::new(),
        opening: Opening::new(b"Central"),
    };
    let mut events = Events::with_capacity(EVENTS_MAX);
    loop {
        central.turn(&mut events)?;
    }
}

impl Central {
    fn turn(&mut self, events: &mut Events) -> io::Result<()> {
        self.poll.poll(events, None)?;
        let now = now();
        for event in events.iter() {
            match event.token() {
                LISTENER => self.accept()?,
                STORE => {
                    if !self.store.fill(event, &mut self.scratch) {
                        return Err(io::Error::other("the store is gone"));
                    }
                    self.hear_store()?;
                }
                Token(caller) => self.hear(caller, event, now),
            }
        }
        self.store.flush();
        while let Some(caller) = self.owed.pop() {
            // A connection that is here twice has been flushed, and may be gone.
            let Some(line) = self.callers.get_mut(caller) else { continue };
            line.flush();
            if line.stream.is_none() && line.unanswered == 0 {
                self.callers.remove(caller);
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<()> {
        loop {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    let place = self.callers.vacant_entry();
                    let line = Line::new(&self.poll, stream, Token(place.key()))?;
                    place.insert(line);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    fn hear(&mut self, caller: usize, event: &Event, now: PosixTime) {
        // An event of this turn may be about somebody who has left earlier in it.
        let Some(line) = self.callers.get_mut(caller) else { return };
        if !line.fill(event, &mut self.scratch) {
            line.stream = None;
        }
        let inbox = std::mem::take(&mut line.inbox);
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', &inbox) {
            self.ask(caller, &inbox[start..end], now);
            start = end + 1;
        }
        let line = &mut self.callers[caller];
        line.inbox = inbox;
        line.inbox.drain(..start);
        self.owed.push(caller);
    }

    /// Asks the store what is needed to answer `command`.
    fn ask(&mut self, caller: usize, command: &[u8], now: PosixTime) {
        let mut text = std::mem::take(&mut self.spare);
        text.clear();
        let waiting = match Command::parse(command) {
            Command::Blank => {
                self.spare = text;
                return;
            }
            Command::Iamat(iamat) => {
                self.opening.spell(Skew::between(now, iamat.stamp));
                text.extend_from_slice(self.opening.as_bytes());
                iamat.write_operands(&mut text);
                text.push(b'\n');
                write_command(&[b"SET", iamat.client, &text], &mut self.store.outbox);
                Waiting::Report
            }
            Command::Whatsat { client, .. } => {
                write_command(&[b"GET", client], &mut self.store.outbox);
                Waiting::Question
            }
            Command::At(_) | Command::Invalid => Waiting::Text,
        };
        if !matches!(waiting, Waiting::Report) {
            text.extend_from_slice(b"? ");
            text.extend_from_slice(command);
            text.push(b'\n');
        }
        self.texts.extend(&text);
        self.callers[caller].unanswered += 1;
        self.waiting.push_back((caller, waiting, text.len()));
        self.spare = text;
        self.say_texts();
    }

    /// Hands out the store's replies.
    fn hear_store(&mut self) -> io::Result<()> {
        let mut inbox = std::mem::take(&mut self.store.inbox);
        let mut rest = inbox.as_slice();
        while let Some(reply) = Reply::take(&mut rest) {
            let Some((caller, waiting, length)) = self.waiting.pop_front() else {
                return Err(io::Error::other("the store answers what nobody asked"));
            };
            let outbox = &mut self.callers[caller].outbox;
            match (reply, waiting) {
                (Reply::Bulk(report), Waiting::Question) => {
                    outbox.extend_from_slice(report);
                    outbox.extend_from_slice(NO_PLACES);
                    self.texts.drain(..length);
                }
                (Reply::Ok, Waiting::Report) | (Reply::Nothing, Waiting::Question) => {
                    move_text(&mut self.texts, length, outbox);
                }
                _ => return Err(io::Error::other("the store refuses")),
            }
            self.answered(caller);
            self.say_texts();
        }
        let heard = inbox.len() - rest.len();
        inbox.drain(..heard);
        self.store.inbox = inbox;
        Ok(())
    }

    /// Says what waits for nothing but those before it.
    fn say_texts(&mut self) {
        while let Some((caller, Waiting::Text, length)) = self.waiting.front() {
            let (caller, length) = (*caller, *length);
            move_text(&mut self.texts, length, &mut self.callers[caller].outbox);
            self.waiting.pop_front();
            self.answered(caller);
        }
    }

    fn answered(&mut self, caller: usize) {
        self.callers[caller].unanswered -= 1;
        if self.owed.last() != Some(&caller) {
            self.owed.push(caller);
        }
    }
}

impl Line {
    fn new(poll: &Poll, mut stream: TcpStream, token: Token) -> io::Result<Line> {
        stream.set_nodelay(true)?;
        poll.registry().register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Line { stream: Some(stream), inbox: Vec::new(), outbox: Vec::new(), unanswered: 0 })
    }

    /// Reads what has come. Says whether the far end is still there.
    fn fill(&mut self, event: &Event, scratch: &mut [u8]) -> bool {
        let Some(stream) = &mut self.stream else { return false };
        loop {
            match stream.read(scratch) {
                Ok(0) => return false,
                Ok(count) => {
                    self.inbox.extend_from_slice(&scratch[..count]);
                    // A new edge reports more, but not an end that has come already.
                    if count < scratch.len() && !event.is_read_closed() {
                        return true;
                    }
                }
                Err(error) => return error.kind() == ErrorKind::WouldBlock,
            }
        }
    }

    /// Writes what is owed. What the socket does not take goes when it does.
    fn flush(&mut self) {
        let Some(stream) = self.stream.as_mut().filter(|_| !self.outbox.is_empty()) else { return };
        match stream.write(&self.outbox) {
            Ok(count) => drop(self.outbox.drain(..count)),
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.stream = None,
        }
    }
}

enum Reply<'a> {
    Ok,
    Nothing,
    Bulk(&'a [u8]),
    Refusal,
}

impl<'a> Reply<'a> {
    /// The first whole reply, which is taken from `bytes`.
    fn take(bytes: &mut &'a [u8]) -> Option<Reply<'a>> {
        let end = memchr::memchr(b'\n', bytes)?;
        let (head, rest) = (&bytes[..end], &bytes[end + 1..]);
        let reply = match head {
            b"+OK\r" => Reply::Ok,
            b"$-1\r" => Reply::Nothing,
            [b'$', length @ .., b'\r'] => {
                let length: usize = std::str::from_utf8(length).ok()?.parse().ok()?;
                let bulk = rest.get(..length)?;
                *bytes = rest.get(length + 2..)?;
                return Some(Reply::Bulk(bulk));
            }
            _ => Reply::Refusal,
        };
        *bytes = rest;
        Some(reply)
    }
}

fn move_text(texts: &mut VecDeque<u8>, length: usize, to: &mut Vec<u8>) {
    let (front, back) = texts.as_slices();
    let in_front = length.min(front.len());
    to.extend_from_slice(&front[..in_front]);
    to.extend_from_slice(&back[..length - in_front]);
    texts.drain(..length);
}

fn write_command(words: &[&[u8]], out: &mut Vec<u8>) {
    let mut digits = itoa::Buffer::new();
    let mut head = |mark, count, out: &mut Vec<u8>| {
        out.push(mark);
        out.extend_from_slice(digits.format(count).as_bytes());
        out.extend_from_slice(b"\r\n");
    };
    head(b'*', words.len(), out);
    for word in words {
        head(b'$', word.len(), out);
        out.extend_from_slice(word);
        out.extend_from_slice(b"\r\n");
    }
}

fn now() -> PosixTime {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    PosixTime::new(since_1970.as_secs(), since_1970.subsec_nanos())
}
