//! Connections a second: connect, IAMAT, answer, close, so many at a time, against a server in
//! another process. Apart from `requests`, where connections stay.
//!
//! The client is one thread on mio: connect, register, write, read, close, without a store or a
//! parser. It needs about as much of the machine as the server does, for half of a connection is
//! the kernel's work at its end; on two cores it is not what is being measured, on one it is.
//!
//! It closes with `SO_LINGER` 0 once the answer is read, that is with a reset. A polite close
//! would leave each connection in TIME_WAIT at the client for a minute, and after the 28,000 ports
//! of a source address it would measure the kernel's search for a free one. What is left out is
//! the exchange of FINs, about a tenth of the kernel's work.

#[path = "common/chatter.rs"]
mod chatter;
#[path = "common/server.rs"]
mod server;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chatter::Chatter;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use server::Server;
use socket2::SockRef;

/// A client whose server is silent for so long gives up.
const SILENCE_MAX: Duration = Duration::from_secs(20);

struct Crowd {
    poll: Poll,
    events: Events,
    address: SocketAddr,
    visitors: Vec<Visitor>,
    chatter: Chatter,
    line: Vec<u8>,
}

struct Visitor {
    stream: Option<TcpStream>,
    has_asked: bool,
}

impl Crowd {
    fn new(address: SocketAddr, at_once: usize) -> Crowd {
        let visitor = || Visitor { stream: None, has_asked: false };
        Crowd {
            poll: Poll::new().expect("a queue"),
            events: Events::with_capacity(1024),
            address,
            visitors: (0..at_once).map(|_| visitor()).collect(),
            chatter: Chatter::new(100_000),
            line: Vec::new(),
        }
    }

    /// So many visits, by all visitors together.
    fn visit(&mut self, visits: u64) -> Duration {
        let start = Instant::now();
        let mut to_begin = visits;
        let mut to_end = visits;
        for visitor in 0..self.visitors.len().min(visits as usize) {
            to_begin -= 1;
            self.come(visitor);
        }
        while to_end > 0 {
            let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            self.poll.poll(&mut events, Some(SILENCE_MAX)).expect("no signal comes here");
            assert!(!events.is_empty(), "the server has fallen silent");
            for event in &events {
                let visitor = event.token().0;
                if !self.has_been_served(visitor, event) {
                    continue;
                }
                to_end -= 1;
                if to_begin > 0 {
                    to_begin -= 1;
                    self.come(visitor);
                }
            }
            self.events = events;
        }
        start.elapsed()
    }

    fn come(&mut self, visitor: usize) {
        let mut stream = TcpStream::connect(self.address).expect("a port and a descriptor");
        SockRef::from(&stream).set_linger(Some(Duration::ZERO)).expect("TCP lingers");
        let interest = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut stream, Token(visitor), interest).expect("a new socket");
        self.visitors[visitor] = Visitor { stream: Some(stream), has_asked: false };
    }

    /// The visit's next step. Says whether it was the last.
    fn has_been_served(&mut self, visitor: usize, event: &Event) -> bool {
        let visitor = &mut self.visitors[visitor];
        // A late event of the visit before.
        let Some(stream) = &mut visitor.stream else { return false };
        if !visitor.has_asked && event.is_writable() {
            self.line.clear();
            self.chatter.write_lines(1, &mut self.line);
            let sent = stream.write(&self.line).expect("it is connected");
            assert_eq!(sent, self.line.len(), "a line fits into an empty socket");
            visitor.has_asked = true;
        }
        if !event.is_readable() {
            return false;
        }
        let mut answer = [0; 256];
        match stream.read(&mut answer) {
            Ok(count) => {
                let whole = count > 0 && answer[count - 1] == b'\n';
                assert!(whole && answer.starts_with(b"AT "), "an AT line in one piece");
                visitor.stream = None;
                true
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("hung up on: {error}"),
        }
    }
}

fn connections(criterion: &mut Criterion) {
    let server = Server::start();
    let mut group = criterion.benchmark_group("connections");
    for at_once in [1, 50, 500] {
        group.throughput(Throughput::Elements(at_once));
        let mut crowd = Crowd::new(server.clients, at_once as usize);
        group.bench_function(format!("{at_once} at a time"), |bencher| {
            bencher.iter_custom(|rounds| crowd.visit(rounds * at_once));
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    targets = connections
}
criterion_main!(benches);
