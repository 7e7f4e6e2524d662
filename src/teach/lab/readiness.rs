//! What readiness means to mio: news, reported once. The other kind, which repeats itself, is
//! poll(2).

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use mio::{Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll as poll_level};

use super::{Experiment, Findings, House, TIMEOUT, count_events, pair};

pub const UNDRAINED: Experiment = Experiment {
    name: "undrained",
    chapter: 4,
    title: "a socket that is not read to its end is not reported again",
    about: "mio says that a socket has become readable, not that it is. What was left unread is \
            never mentioned again, unless something else happens to the socket.",
    steps: "100 bytes arrive. We hear of it, read 10, and poll again for 500 ms. Then one more \
            byte arrives. Then we register the socket anew.",
    house: "`Flags::readable` remembers that something may be left, and \
            `Driver::queue_if_unfinished` gives the connection another turn.",
    run: undrained,
};

fn undrained(found: &mut Findings, _: &House) -> io::Result<()> {
    let (mut far, mut near) = pair()?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut near, Token(0), Interest::READABLE)?;

    far.write_all(&[b'x'; 100])?;
    let first = count_events(&mut poll, TIMEOUT)?;
    near.read_exact(&mut [0; 10])?;
    let second = count_events(&mut poll, Duration::from_millis(500))?;

    far.write_all(b"y")?;
    let after_byte = count_events(&mut poll, TIMEOUT)?;
    poll.registry().reregister(&mut near, Token(0), Interest::READABLE)?;
    let after_register = count_events(&mut poll, TIMEOUT)?;

    found.show("events when 100 bytes arrive", 1, first);
    found.show("events in 500 ms, 90 bytes left", 1, second);
    found.show("events when one more byte arrives", 1, after_byte);
    found.show("events when it is registered anew", 0, after_register);
    found.demand(first == 1, "mio did not tell of the first bytes");
    found.demand(second == 0, "mio announced the bytes that were left");
    found.demand(after_byte == 1 && after_register == 1, "mio stayed silent about something new");
    Ok(())
}

pub const LEVEL: Experiment = Experiment {
    name: "level",
    chapter: 4,
    title: "level triggering repeats itself, edge triggering does not",
    about: "asyncio asks in the other way: is there anything to read? Then nothing is forgotten, \
            but a program that does not want to read now is told again and again.",
    steps: "100 bytes arrive and are read 10 at a time, after each report, once with mio (edge) \
            and once with poll(2) (level). Then 100 bytes arrive that nobody wants to read for \
            100 ms: how often does the loop turn in vain?",
    house: "readable always, with mio: news that comes while reading is held back is remembered \
            (`Connection::interest`), and asking costs no system call.",
    run: level,
};

fn level(found: &mut Findings, _: &House) -> io::Result<()> {
    let (mut far, mut near) = pair()?;
    let mut poll = Poll::new()?;
    poll.registry().register(&mut near, Token(0), Interest::READABLE)?;
    let mut ten = [0; 10];

    let pause = Duration::from_millis(100);
    far.write_all(&[b'x'; 100])?;
    let mut edge_reads = 0;
    while count_events(&mut poll, pause)? > 0 {
        near.read_exact(&mut ten)?;
        edge_reads += 1;
    }
    near.read_exact(&mut [0; 90])?;

    let ready = |near: &_, timeout: &Timespec| {
        poll_level(&mut [PollFd::new(near, PollFlags::IN)], Some(timeout))
    };
    let timeout = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
    far.write_all(&[b'x'; 100])?;
    let mut level_reads = 0;
    while ready(&near, &timeout)? > 0 {
        near.read_exact(&mut ten)?;
        level_reads += 1;
    }

    far.write_all(&[b'x'; 100])?;
    let (mut edge_turns, mut level_turns) = (0, 0);
    while count_events(&mut poll, pause)? > 0 {
        edge_turns += 1;
    }
    let begun = Instant::now();
    while begun.elapsed() < pause && ready(&near, &timeout)? > 0 {
        level_turns += 1;
    }

    found.show("of 100 bytes, heard with edge", 100, 10 * edge_reads);
    found.show("of 100 bytes, heard with level", 100, 10 * level_reads);
    found.show("turns while held back, with edge", 1, edge_turns);
    found.show("turns while held back, with level", 1, level_turns);
    found.demand(edge_reads == 1, "mio repeated itself");
    found.demand(level_reads == 10, "poll(2) did not repeat itself");
    found.demand(level_turns > 10 * edge_turns, "poll(2) was as quiet as mio");
    Ok(())
}
