//! What the others wait for while one client never pauses.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::{Experiment, Findings, PATIENCE, pair};

pub const HOG: Experiment = Experiment {
    name: "hog",
    chapter: 4,
    title: "without a budget, one client has the loop to itself",
    about: "To read until there is nothing left is right, and unfair. With a budget a client has \
            work left that no event will tell of, so it stands in a queue: once, or its share \
            grows.",
    steps: "A hog sends 4 MB; each 4 KB cost 50 µs of work. Somebody else says a line whenever the \
            last one is answered. First everything is read that is there; then 4 KB a turn, with \
            a place in the queue for each event; then 4 KB a turn and one place at most.",
    house: "`READ_BUDGET` and `LINES_MAX` a turn; `Reactor::offer_turn` leaves a queued connection \
            to the queue. asyncio has no budget: see `herd lab starvation`.",
    run: hog,
};

const CHUNK: usize = 4096;
const CHUNKS: usize = 1024;
const WORK: Duration = Duration::from_micros(50);
const GREEDY: Token = Token(0);
const OTHER: Token = Token(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Rule {
    ReadAll,
    PlaceForEachEvent,
    OnePlace,
}

fn hog(found: &mut Findings) -> io::Result<()> {
    let rows = [
        ("all that is there", Rule::ReadAll),
        ("a place for each event", Rule::PlaceForEachEvent),
        ("one place", Rule::OnePlace),
    ];
    for (what, rule) in rows {
        let (share, waits) = serve(rule)?;
        let all_ms = waits.iter().sum::<Duration>().as_secs_f64() * 1e3;
        let each_ms = all_ms / waits.len().max(1) as f64;
        found.show(&format!("{what}: the hog's KB in one turn"), 4, 4 * share);
        found.show("  lines of the other, meanwhile", "hundreds", waits.len());
        found.show("  wait for each, on average", "0.1 ms", format!("{each_ms:.2} ms"));
        let is_fair = share == 1;
        found.demand(is_fair == (rule == Rule::OnePlace), "the rule made no difference");
    }
    Ok(())
}

/// The hog's largest share of one turn, in chunks, and how long the other waited for each answer.
fn serve(rule: Rule) -> io::Result<(usize, Vec<Duration>)> {
    let ((hog, near_hog), (other, near_other)) = (pair()?, pair()?);
    let mut streams = [near_hog, near_other];
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    for (stream, token) in streams.iter_mut().zip([GREEDY, OTHER]) {
        poll.registry().register(stream, token, Interest::READABLE)?;
    }
    let hog = thread::spawn(move || send_all(hog));
    let other = thread::spawn(move || ask_until_closed(other));

    let mut unfinished = VecDeque::new();
    let (mut share_max, mut is_over) = (0, false);
    while !is_over {
        let patience = if unfinished.is_empty() { PATIENCE } else { Duration::ZERO };
        poll.poll(&mut events, Some(patience))?;
        for token in events.iter().map(|event| event.token()) {
            if rule != Rule::OnePlace || !unfinished.contains(&token) {
                unfinished.push_back(token);
            }
        }
        let mut share = 0;
        for _ in 0..unfinished.len() {
            let Some(token) = unfinished.pop_front() else { break };
            let mut more = true;
            while more {
                more = take_chunk(&mut streams[token.0], token, &mut share, &mut is_over)?;
                if more && rule != Rule::ReadAll {
                    unfinished.push_back(token);
                    break;
                }
            }
        }
        share_max = share_max.max(share);
    }
    drop(streams);
    hog.join().map_err(|_| io::Error::other("the hog has panicked"))??;
    let waits = other.join().map_err(|_| io::Error::other("the other has panicked"))?;
    Ok((share_max, waits))
}

/// Reads once, and says whether there may be more.
fn take_chunk(
    stream: &mut mio::net::TcpStream,
    token: Token,
    share: &mut usize,
    is_over: &mut bool,
) -> io::Result<bool> {
    let mut scratch = [0; CHUNK];
    match stream.read(&mut scratch) {
        Ok(0) => *is_over |= token == GREEDY,
        Ok(_) if token == OTHER => {
            stream.write_all(b"x")?;
            return Ok(true);
        }
        Ok(_) => {
            *share += 1;
            let begun = Instant::now();
            while begun.elapsed() < WORK {}
            return Ok(true);
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    Ok(false)
}

fn send_all(mut hog: TcpStream) -> io::Result<()> {
    for _ in 0..CHUNKS {
        hog.write_all(&[b'x'; CHUNK])?;
    }
    hog.shutdown(Shutdown::Write)
}

fn ask_until_closed(mut other: TcpStream) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut begun = Instant::now();
    while other.write_all(b"x").and_then(|()| other.read_exact(&mut [0])).is_ok() {
        waits.push(begun.elapsed());
        begun = Instant::now();
    }
    waits
}
