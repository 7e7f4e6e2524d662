//! What the others wait for while one client never pauses.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};

use super::{Experiment, Findings, House, TIMEOUT, join, pair};

pub const HOG: Experiment = Experiment {
    name: "hog",
    chapter: 4,
    title: "without a budget, one client has the loop to itself",
    about: "To read until there is nothing left is right, and unfair. With a budget a client has \
            work left that no event will report, so it stands in a queue: once, or its share \
            grows.",
    steps: "A hog sends 4 MB; each 4 KB cost 50 µs of work. Another client says a line \
            1 ms after each answer. First everything is read that is there; then 4 KB a turn, \
            with a place in the queue for each event; then 4 KB a turn and one place at most.",
    house: "`READ_BUDGET` and `LINES_MAX` a turn; `Reactor::on_ready` leaves a queued connection \
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

fn hog(found: &mut Findings, _: &House) -> io::Result<()> {
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
        found.show("  lines of the other, meanwhile", 50, waits.len());
        found.show("  wait for each, on average", "0.1 ms", format!("{each_ms:.1} ms"));
        let is_fair = share == 1;
        found.demand(is_fair == (rule == Rule::OnePlace), "the rule made no difference");
    }
    Ok(())
}

/// The hog's largest share of one turn, in chunks, and how long the other waited for each answer.
fn serve(rule: Rule) -> io::Result<(usize, Vec<Duration>)> {
    let ((hog, near_hog), (other, near_other)) = (pair()?, pair()?);
    let mut streams = [Some(near_hog), Some(near_other)];
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    for (stream, token) in streams.iter_mut().flatten().zip([GREEDY, OTHER]) {
        poll.registry().register(stream, token, Interest::READABLE)?;
    }
    let hog = thread::spawn(move || send_all(hog));
    let other = thread::spawn(move || ask_beside(hog, other));

    let mut unfinished = VecDeque::new();
    let mut share_max = 0;
    while streams[OTHER.0].is_some() {
        let timeout = if unfinished.is_empty() { TIMEOUT } else { Duration::ZERO };
        poll.poll(&mut events, Some(timeout))?;
        for token in events.iter().map(|event| event.token()) {
            if rule != Rule::OnePlace || !unfinished.contains(&token) {
                unfinished.push_back(token);
            }
        }
        let mut share = 0;
        for _ in 0..unfinished.len() {
            let Some(token) = unfinished.pop_front() else { break };
            while let Some(chunks) = take_chunk(&mut streams[token.0], token)? {
                share += chunks;
                if rule != Rule::ReadAll {
                    unfinished.push_back(token);
                    break;
                }
            }
        }
        share_max = share_max.max(share);
    }
    Ok((share_max, join(other)??))
}

/// Reads once. `None` if there was nothing, else how many of the hog's chunks there were.
fn take_chunk(client: &mut Option<mio::net::TcpStream>, token: Token) -> io::Result<Option<usize>> {
    let Some(stream) = client else { return Ok(None) };
    match stream.read(&mut [0; CHUNK]) {
        Ok(0) => *client = None,
        Ok(_) if token == OTHER => {
            stream.write_all(b"x")?;
            return Ok(Some(0));
        }
        Ok(_) => {
            let begun = Instant::now();
            while begun.elapsed() < WORK {}
            return Ok(Some(1));
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => {}
        Err(error) => return Err(error),
    }
    Ok(None)
}

/// Ends when the server has taken everything.
fn send_all(mut hog: TcpStream) -> io::Result<()> {
    for _ in 0..CHUNKS {
        hog.write_all(&[b'x'; CHUNK])?;
    }
    hog.shutdown(Shutdown::Write)?;
    hog.read(&mut [0]).map(drop)
}

fn ask_beside(hog: JoinHandle<io::Result<()>>, mut other: TcpStream) -> io::Result<Vec<Duration>> {
    let mut waits = Vec::new();
    while !hog.is_finished() {
        thread::sleep(Duration::from_millis(1));
        let begun = Instant::now();
        other.write_all(b"x")?;
        other.read_exact(&mut [0])?;
        waits.push(begun.elapsed());
    }
    join(hog)??;
    Ok(waits)
}
