//! What ureq does to resolve a name, and what `places::resolver` does instead.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpListener;
use std::thread;
use std::time::Duration;

use ureq::Agent;

use super::{Experiment, Findings, House, join};

pub const RESOLVER: Experiment = Experiment {
    name: "resolver",
    chapter: 8,
    title: "a client with a timeout may start a thread for each call",
    about: "Nobody can interrupt getaddrinfo. A library that promises a timeout all the same has a \
            thread wait for it: one for each call, and behind a name server that does not answer \
            they pile up.",
    steps: "20 calls of ureq to an address written in digits: without a timeout, with one, and \
            with one and a resolver that remembers. How many threads have been started?",
    house: "`CachingResolver` asks the system once a minute, and takes an old address rather than \
            none.",
    run: resolver,
};

const CALLS: usize = 20;

fn resolver(found: &mut Findings, house: &House) -> io::Result<()> {
    let config = |timeout| Agent::config_builder().timeout_global(timeout).proxy(None).build();
    let timeout = Some(Duration::from_secs(5));
    let bare = count_threads(config(None).new_agent())?;
    let timed = count_threads(config(timeout).new_agent())?;
    let remembered = count_threads((house.agent)(config(timeout)))?;
    found.show("threads for 20 calls, no timeout", 0, bare);
    found.show("threads for 20 calls, a timeout", 0, timed);
    found.show("threads for 20 calls, `CachingResolver`", 1, remembered);
    found.demand(bare == 0 && timed >= CALLS as u64, "a timeout costs no threads any more");
    found.demand(remembered <= 1, "`CachingResolver` forgets");
    Ok(())
}

/// Threads that this process starts during so many calls.
fn count_threads(agent: Agent) -> io::Result<u64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let service = thread::spawn(move || answer_all(&listener));
    let begun = thread_number()?;
    for _ in 0..CALLS {
        agent.get(format!("http://{address}/")).call().map_err(io::Error::other)?;
    }
    let ended = thread_number()?;
    join(service)??;
    Ok(ended - begun - 1)
}

/// The number of a new thread. Numbers are given in turn and never again, and only `Debug` shows
/// them.
fn thread_number() -> io::Result<u64> {
    let id = join(thread::spawn(|| format!("{:?}", thread::current().id())))?;
    let digits: String = id.chars().filter(char::is_ascii_digit).collect();
    digits.parse().map_err(io::Error::other)
}

fn answer_all(listener: &TcpListener) -> io::Result<()> {
    for _ in 0..CALLS {
        let (mut stream, _) = listener.accept()?;
        let head = BufReader::new(stream.try_clone()?).lines();
        head.map_while(Result::ok).take_while(|line| !line.is_empty()).for_each(drop);
        stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    }
    Ok(())
}
