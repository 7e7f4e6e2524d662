//! Requests a second on connections that stay open, of the herd, of a bare loop in C, of tokio and
//! of asyncio, each in a process of its own. Apart from `connections`, where each request has a
//! connection of its own.
//!
//! Every connection keeps one IAMAT or sixteen in flight: it sends them in one write, and the next
//! when all are answered. In the last group the herd also floods to four peers, which are threads
//! of this process that only read; there the load sleeps, because they share its core.

// Each bench needs another part of these.
#[allow(dead_code)]
#[path = "common/machine.rs"]
mod machine;
#[allow(dead_code)]
#[path = "rivals/rivals.rs"]
mod rivals;
#[allow(dead_code)]
#[path = "rivals/size.rs"]
mod size;

#[path = "common/contest.rs"]
mod contest;
#[path = "common/server.rs"]
mod server;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;

use contest::{Contest, Task, answered, criterion, plan};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use herd_load::{CountedLoad, Pace, Plan};
use server::Server;

fn requests(criterion: &mut Criterion) {
    let tasks = [
        Task { name: "pipeline 1", pace: Pace::Closed, pipeline: 1 },
        Task { name: "pipeline 16", pace: Pace::Closed, pipeline: 16 },
    ];
    Contest::start().run(criterion, "requests", &tasks);
}

fn flooding(criterion: &mut Criterion) {
    let server = Server::start();
    for number in 1..=4 {
        listen_as_peer(server.peers, number);
    }
    let task = Task { name: "flooding", pace: Pace::Closed, pipeline: 16 };
    let plan = Plan { is_awake: false, ..plan(server.clients, &task, 50) };
    let mut load = answered(CountedLoad::open(&plan));
    let mut group = criterion.benchmark_group("flooding");
    group.throughput(Throughput::Elements(16 * 50));
    group.bench_function("herd to 4 peers/50 connections, pipeline 16", |bencher| {
        bencher.iter_custom(|rounds| answered(load.run(rounds * 16 * 50)));
    });
    group.finish();
}

/// Greets, and reads until the server ends.
fn listen_as_peer(address: SocketAddr, number: u32) {
    let mut stream = TcpStream::connect(address).expect("the server listens");
    let greeting = format!("HERD/1 Peer{number} Hub bench {number:032x} -\n");
    stream.write_all(greeting.as_bytes()).expect("it is connected");
    thread::spawn(move || {
        let mut scratch = vec![0; 256 * 1024];
        while stream.read(&mut scratch).is_ok_and(|count| count > 0) {}
    });
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = requests, flooding
}
criterion_main!(benches);
