//! Round trips a second on connections that stay open, against a server in another process. Apart
//! from `connections`, where each request has a connection of its own.
//!
//! Every connection keeps `pipeline` IAMATs of 100,000 clients in flight: it sends them in one
//! write and sends the next when all are answered. The client is one thread on mio that copies
//! lines and counts newlines; at pipeline 1 its system calls cost as much as the server's, at
//! pipeline 16 it idles. In `flooding` the same thread is also the server's four peers, and reads
//! each report five times; there it is busier than the server.

#[path = "common/chatter.rs"]
mod chatter;
#[path = "common/server.rs"]
mod server;

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use chatter::Chatter;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use server::Server;

/// A client whose server is silent for so long gives up.
const SILENCE_MAX: Duration = Duration::from_secs(20);

struct Crowd {
    poll: Poll,
    events: Events,
    clients: Vec<Client>,
    /// Peers of the server, which only listen. Their tokens follow those of the clients.
    peers: Vec<TcpStream>,
    chatter: Chatter,
    pipeline: usize,
    lines: Vec<u8>,
    scratch: Vec<u8>,
}

struct Client {
    stream: TcpStream,
    unanswered: usize,
}

impl Crowd {
    fn new(address: SocketAddr, clients: usize, pipeline: usize) -> Crowd {
        let poll = Poll::new().expect("a queue");
        let client = |token| Client { stream: connect(&poll, address, token), unanswered: 0 };
        Crowd {
            clients: (0..clients).map(client).collect(),
            poll,
            events: Events::with_capacity(1024),
            peers: Vec::new(),
            chatter: Chatter::new(100_000),
            pipeline,
            lines: Vec::new(),
            scratch: vec![0; 256 * 1024],
        }
    }

    fn join_as_peers(&mut self, address: SocketAddr) {
        for n in 1..=4 {
            let mut stream = connect(&self.poll, address, self.clients.len() + self.peers.len());
            let greeting = format!("HERD/1 Peer{n} Hub bench {n:032x} -\n");
            stream.write_all(greeting.as_bytes()).expect("it is connected");
            self.peers.push(stream);
        }
    }

    /// So many batches, by all clients together: a client that is answered sends the next.
    fn ask(&mut self, batches: u64) -> Duration {
        let start = Instant::now();
        let mut to_send = batches;
        let mut to_hear = batches;
        for client in 0..self.clients.len().min(batches as usize) {
            to_send -= 1;
            self.send(client);
        }
        while to_hear > 0 {
            let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
            self.poll.poll(&mut events, Some(SILENCE_MAX)).expect("no signal comes here");
            assert!(!events.is_empty(), "the server has fallen silent");
            for event in &events {
                let client = event.token().0;
                if client >= self.clients.len() {
                    drain(&mut self.peers[client - self.clients.len()], &mut self.scratch);
                    continue;
                }
                if !self.hear(client) {
                    continue;
                }
                to_hear -= 1;
                if to_send > 0 {
                    to_send -= 1;
                    self.send(client);
                }
            }
            self.events = events;
        }
        start.elapsed()
    }

    fn send(&mut self, client: usize) {
        self.lines.clear();
        self.chatter.write_lines(self.pipeline, &mut self.lines);
        let client = &mut self.clients[client];
        let sent = client.stream.write(&self.lines).expect("it is connected");
        assert_eq!(sent, self.lines.len(), "a batch fits into an empty socket");
        client.unanswered = self.pipeline;
    }

    /// Reads once: what comes later is a new edge. Says whether the batch is answered.
    fn hear(&mut self, client: usize) -> bool {
        let client = &mut self.clients[client];
        if client.unanswered == 0 {
            return false;
        }
        match client.stream.read(&mut self.scratch) {
            Ok(0) => panic!("hung up on"),
            Ok(count) => {
                client.unanswered -= memchr::memchr_iter(b'\n', &self.scratch[..count]).count();
                client.unanswered == 0
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => false,
            Err(error) => panic!("hung up on: {error}"),
        }
    }
}

fn connect(poll: &Poll, address: SocketAddr, token: usize) -> TcpStream {
    let stream = std::net::TcpStream::connect(address).expect("the server listens");
    stream.set_nodelay(true).expect("TCP has it");
    stream.set_nonblocking(true).expect("sockets can");
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(token), Interest::READABLE).expect("a new socket");
    stream
}

fn drain(peer: &mut TcpStream, scratch: &mut [u8]) {
    while peer.read(scratch).is_ok_and(|count| count == scratch.len()) {}
}

fn requests(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("requests");
    for clients in [1, 50, 1_000] {
        for pipeline in [1, 16] {
            let server = Server::start();
            let mut crowd = Crowd::new(server.clients, clients, pipeline);
            group.throughput(Throughput::Elements((clients * pipeline) as u64));
            group.bench_function(format!("{clients} connections/pipeline {pipeline}"), |bencher| {
                bencher.iter_custom(|rounds| crowd.ask(rounds * clients as u64));
            });
        }
    }
    let server = Server::start();
    let mut crowd = Crowd::new(server.clients, 50, 16);
    crowd.join_as_peers(server.peers);
    group.throughput(Throughput::Elements(50 * 16));
    group.bench_function("50 connections/pipeline 16/flooding to 4 peers", |bencher| {
        bencher.iter_custom(|rounds| crowd.ask(rounds * 50));
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(5));
    targets = requests
}
criterion_main!(benches);
