//! How a connection begins and ends, as the kernel tells it: late, at once, or in a way that
//! destroys what was sent.

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener};
use std::thread;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::{Experiment, Findings, House, TIMEOUT, count_events, join, pair};

pub const REFUSED: Experiment = Experiment {
    name: "refused",
    chapter: 4,
    title: "a refused dial seems to succeed, then is ready for everything",
    about: "A dial that does not block cannot fail at once. When the answer is there the socket \
            becomes writable, whatever the answer is: three questions tell what it was.",
    steps: "Connect to a port where nobody listens, poll, and look at the event. Then ask the \
            socket for its error, and for its peer.",
    house: "`Connection::dialled` asks in that order: writable, `take_error`, `peer_addr`.",
    run: refused,
};

fn refused(found: &mut Findings, _: &House) -> io::Result<()> {
    let nobody = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    let mut stream = TcpStream::connect(nobody)?;
    let interest = Interest::READABLE | Interest::WRITABLE;
    poll.registry().register(&mut stream, Token(0), interest)?;
    poll.poll(&mut events, Some(TIMEOUT))?;

    found.show("connect() says", "refused", "all is well");
    let flags = |event: &mio::event::Event| {
        let flags = [
            (event.is_readable(), "readable"),
            (event.is_writable(), "writable"),
            (event.is_error(), "error"),
            (event.is_read_closed(), "closed"),
        ];
        let set = flags.into_iter().filter(|(is_set, _)| *is_set);
        set.map(|(_, name)| name).collect::<Vec<_>>().join(", ")
    };
    let event = events.iter().next();
    found.show("the event says", "error", event.map(flags).unwrap_or_default());
    let (error, peer) = (stream.take_error()?, stream.peer_addr());
    let kind = |error: &io::Error| error.kind().to_string();
    found.show("take_error() says", "", error.as_ref().map_or("nothing".into(), kind));
    found.show("peer_addr() says", "", peer.as_ref().map_or_else(kind, ToString::to_string));
    let is_writable = event.is_some_and(|event| event.is_writable());
    found.demand(is_writable, "a refused dial was not writable");
    let is_refused = error.is_some_and(|error| error.kind() == io::ErrorKind::ConnectionRefused);
    found.demand(is_refused && peer.is_err(), "the checks did not tell that it was refused");
    Ok(())
}

pub const SILENT_END: Experiment = Experiment {
    name: "silent-end",
    chapter: 4,
    title: "a line and a close are one event: the end behind it is silent",
    about: "A program that reads the line and waits for an event that tells of the end waits for \
            ever: there has been one event, for both.",
    steps: "The far end says a line and closes; then we poll, read the line, and poll again for \
            300 ms. Then we simply read once more.",
    house: "`Flags::read_on` is remembered from the event: after it `Connection::fill` reads \
            on until the end.",
    run: silent_end,
};

fn silent_end(found: &mut Findings, _: &House) -> io::Result<()> {
    let (mut far, mut near) = pair()?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    far.write_all(b"a line\n")?;
    drop(far);
    thread::sleep(Duration::from_millis(50));

    poll.registry().register(&mut near, Token(0), Interest::READABLE)?;
    poll.poll(&mut events, Some(TIMEOUT))?;
    let first = events.iter().count();
    let told_both = events.iter().any(|event| event.is_readable() && event.is_read_closed());
    let mut scratch = [0; 64];
    let line = near.read(&mut scratch)?;
    let second = count_events(&mut poll, Duration::from_millis(300))?;
    let end = near.read(&mut scratch)?;

    let both = if told_both { "readable, closed" } else { "readable" };
    found.show("the first event says", "readable", both);
    found.show("bytes read", 7, line);
    found.show("events after that", "1: the end", second);
    found.show("bytes read without an event", "WouldBlock", format!("{end}: the end"));
    found.demand(first == 1 && told_both, "line and end did not come as one event");
    found.demand(second == 0 && end == 0, "the end was told by an event of its own");
    Ok(())
}

pub const RESET: Experiment = Experiment {
    name: "reset",
    chapter: 5,
    title: "a close with unread input destroys what was sent",
    about: "To close a socket means: I will not read. If there is something to be read already, \
            the kernel says so with a reset, and a reset throws away what is still on its way.",
    steps: "A client asks in 13 bytes; a server sends 200,000 and closes; the client reads. Once \
            the server has read the question. Once it has not. Once it shuts its sending half, \
            reads on until the client is gone, and only then closes.",
    house: "after the last word we read on: `Session::take_farewell`, then `Phase::Lingering`.",
    run: reset,
};

const ANSWER: usize = 200_000;

/// What the server does with the client's 13 bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Read,
    Unread,
    ReadAtLast,
}

fn reset(found: &mut Findings, _: &House) -> io::Result<()> {
    let rows = [
        ("all was read", Question::Read, false),
        ("13 bytes unread", Question::Unread, true),
        ("13 bytes read at last", Question::ReadAtLast, false),
    ];
    for (what, question, is_destroyed) in rows {
        let (heard, end) = close_after_answer(question)?;
        let told =
            end.as_ref().map_or_else(|error| error.kind().to_string(), |()| "the end".into());
        found.show(what, "200000, then the end", format!("{heard}, then {told}"));
        let destroyed = heard < ANSWER && end.is_err();
        found.demand(destroyed == is_destroyed, "the unread bytes made no difference");
    }
    Ok(())
}

/// How many bytes the client receives, and how that ends.
fn close_after_answer(question: Question) -> io::Result<(usize, io::Result<()>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = std::net::TcpStream::connect(listener.local_addr()?)?;
    let (mut server, _) = listener.accept()?;
    client.write_all(b"one question\n")?;
    let server = thread::spawn(move || {
        if question == Question::Read {
            server.read_exact(&mut [0; 13])?;
        }
        // Blocks until the client reads, if the kernel has no room for all of it.
        server.write_all(&[b'x'; ANSWER])?;
        if question == Question::ReadAtLast {
            server.shutdown(Shutdown::Write)?;
            io::copy(&mut server, &mut io::sink())?;
        }
        Ok::<_, io::Error>(())
    });
    thread::sleep(Duration::from_millis(100));
    let mut heard = 0;
    let mut scratch = [0; 4096];
    let end = loop {
        match client.read(&mut scratch) {
            Ok(0) => break Ok(()),
            Ok(count) => heard += count,
            Err(error) => break Err(error),
        }
    };
    drop(client);
    join(server)??;
    Ok((heard, end))
}
