//! Connections a second of the herd, of a bare loop in C, of tokio and of asyncio, each in a
//! process of its own, with one, 50, 500 and 5,000 connections at a time. Apart from `requests`,
//! where connections stay.
//!
//! So many connections are open. The oldest closes and dials again; at most 64 at a time wait for
//! the server, for the shortest queue of a listener holds 100. *Connect, ask, close* says an IAMAT
//! and reads the answer. *Connect only* says nothing; when its turn to be the oldest comes, it
//! closes its half and waits until the server, which must have accepted it, closes the other.
//!
//! The load needs about as much of the machine as the server, because half of a connection is the
//! kernel's work at its end.

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

use contest::{Contest, Task, criterion};
use criterion::{Criterion, criterion_group, criterion_main};
use herd_load::Pace;

fn connections(criterion: &mut Criterion) {
    let tasks = [
        Task { name: "connect only", pace: Pace::Connect, pipeline: 1 },
        Task { name: "connect, ask, close", pace: Pace::Reconnect, pipeline: 1 },
    ];
    Contest::start().run(criterion, "connections", &tasks);
}

criterion_group! {
    name = benches;
    config = criterion();
    targets = connections
}
criterion_main!(benches);
