//! One call that blocks, on the loop and beside it.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token, Waker};

use super::{Experiment, Findings, House, join, pair};

pub const BLOCKING: Experiment = Experiment {
    name: "blocking",
    chapter: 8,
    title: "one call that blocks makes everybody wait",
    about: "There is one thread. A handler that waits for a service for 200 ms has all clients \
            wait for 200 ms, whatever they wanted.",
    steps: "Four clients say a line every millisecond and wait for its echo. A fifth asks \
            something that takes 200 ms, five times. Once the loop itself waits for that; once a \
            worker does, and wakes the loop.",
    house: "workers wait, `CompletionSender::post` wakes the loop, and how many questions may \
            wait is bounded: `CallGate::receive`.",
    run: blocking,
};

const ECHOES: usize = 4;
const QUESTIONS: usize = 5;
const SERVICE: Duration = Duration::from_millis(200);
const ASKER: Token = Token(ECHOES);
const WAKER: Token = Token(ECHOES + 1);

fn blocking(found: &mut Findings, _: &House) -> io::Result<()> {
    for (what, on_loop) in [("on the loop", true), ("in a worker", false)] {
        let mut waits = serve(on_loop)?;
        waits.sort_unstable();
        let at = |percent: usize| waits[(waits.len() - 1) * percent / 100].as_secs_f64() * 1e3;
        let name = format!("{what}: an echo at the median");
        found.show(&name, "0.1 ms", format!("{:.2} ms", at(50)));
        found.show("  99 of 100 are back after", "1 ms", format!("{:.1} ms", at(99)));
        found.show("  the last", "1 ms", format!("{:.1} ms", at(100)));
        let waited = at(99) > SERVICE.as_secs_f64() * 1e3 / 2.0;
        found.demand(waited == on_loop, "it made no difference who waits");
    }
    Ok(())
}

/// Serves until the asker has its last answer. Returns how long each echo took.
fn serve(on_loop: bool) -> io::Result<Vec<Duration>> {
    let mut poll = Poll::new()?;
    let (mut streams, mut clients) = (Vec::new(), Vec::new());
    for token in 0..=ECHOES {
        let (far, mut near) = pair()?;
        poll.registry().register(&mut near, Token(token), Interest::READABLE)?;
        streams.push(near);
        clients.push(far);
    }
    let asker = clients.pop().map(|far| thread::spawn(move || ask(far)));
    let echoes: Vec<_> =
        clients.into_iter().map(|far| thread::spawn(move || measure_echoes(far))).collect();

    let waker = Waker::new(poll.registry(), WAKER)?;
    let (questions, inbox) = mpsc::channel();
    let (results, answers) = mpsc::channel();
    let worker = thread::spawn(move || {
        for () in inbox {
            thread::sleep(SERVICE);
            let told = results.send(()).map_err(io::Error::other);
            told.and_then(|()| waker.wake())?;
        }
        Ok::<_, io::Error>(())
    });

    let mut events = Events::with_capacity(16);
    let mut answered = 0;
    while answered < QUESTIONS {
        poll.poll(&mut events, None)?;
        for token in events.iter().map(|event| event.token()) {
            while token != WAKER && has_line(&mut streams[token.0])? {
                match token {
                    ASKER if !on_loop => questions.send(()).map_err(io::Error::other)?,
                    ASKER => {
                        thread::sleep(SERVICE);
                        streams[token.0].write_all(b"x")?;
                        answered += 1;
                    }
                    _ => streams[token.0].write_all(b"x")?,
                }
            }
        }
        for () in answers.try_iter() {
            streams[ECHOES].write_all(b"x")?;
            answered += 1;
        }
    }
    drop((streams, questions));
    join(worker)??;
    asker.map_or(Ok(Ok(())), join)??;
    Ok(echoes.into_iter().map(join).collect::<io::Result<Vec<_>>>()?.concat())
}

/// A line of one byte. With edge triggering one must look again, until there is none.
fn has_line(stream: &mut mio::net::TcpStream) -> io::Result<bool> {
    match stream.read(&mut [0]) {
        Ok(count) => Ok(count > 0),
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
        Err(error) => Err(error),
    }
}

fn ask(mut asker: TcpStream) -> io::Result<()> {
    for _ in 0..QUESTIONS {
        thread::sleep(Duration::from_millis(50));
        asker.write_all(b"x")?;
        asker.read_exact(&mut [0])?;
    }
    Ok(())
}

/// Goes on until the server is gone.
fn measure_echoes(mut client: TcpStream) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut begun = Instant::now();
    while client.write_all(b"x").and_then(|()| client.read_exact(&mut [0])).is_ok() {
        waits.push(begun.elapsed());
        thread::sleep(Duration::from_millis(1));
        begun = Instant::now();
    }
    waits
}
