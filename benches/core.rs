//! A whole mind without a kernel: sixteen IAMATs of one read through `Server::handle`, with nobody
//! and with four peers to flood to. This is what the border costs, and all that a server does
//! between two system calls. Apart from `requests`, which is the same with the kernel.

#[path = "common/chatter.rs"]
mod chatter;

use std::time::{Duration, Instant};

use chatter::Chatter;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use herd_core::border::{Input, Output, Outputs};
use herd_core::clock::{Now, PosixTime};
use herd_core::names::{ConnId, ConnKind};
use herd_core::wire::line_buffer::{LineLimits, Lines};
use herd_core::{Limits, PeerSettings, Server, Settings};

const CLIENTS: u64 = 100_000;
const BATCH: usize = 16;
/// Batches that are prepared at a time, and measured together: they fit into the second cache.
const CHUNK: u64 = 64;
const LIMITS: LineLimits = LineLimits { line_bytes_max: 8 << 10, endless_bytes_max: 1 << 20 };

/// The least of a reactor: it throws away what it is to send, and so has always sent it.
struct Mind {
    server: Server,
    out: Outputs,
    flushed: Vec<ConnId>,
}

impl Mind {
    fn with_peers(count: usize) -> Mind {
        let peer = |n: usize| PeerSettings {
            name: format!("Peer{n}").into_bytes(),
            dials: false,
            plain: None,
        };
        let server = Server::new(settings((0..count).map(peer).collect()));
        let mut mind = Mind { server, out: Outputs::default(), flushed: Vec::new() };
        for n in 0..count {
            let conn = ConnId::new(ConnKind::Peer, n as u64, n);
            mind.tell(Input::Accepted { conn });
            mind.tell_lines(conn, format!("HERD/1 Peer{n} Hub bench {n:032x} -\n").as_bytes());
        }
        mind
    }

    fn tell_lines(&mut self, conn: ConnId, read: &[u8]) {
        self.tell(Input::Lines { conn, lines: &mut Lines::new(read, LIMITS) });
    }

    fn tell(&mut self, input: Input<'_, '_>) {
        let posix = PosixTime::new(1_796_567_144, 182_837_383);
        let now = Now { monotonic: Duration::from_secs(1), posix };
        self.server.handle(now, input, &mut self.out);
        for output in &self.out.list {
            if let Output::TellFlushed { conn } = output {
                self.flushed.push(*conn);
            }
        }
        self.out.clear();
        while let Some(conn) = self.flushed.pop() {
            self.server.handle(now, Input::Flushed { conn }, &mut self.out);
            self.out.clear();
        }
    }
}

fn settings(peers: Vec<PeerSettings>) -> Settings {
    let limits = Limits {
        waits_max: 64,
        clients_max: 1_000_000,
        greeting: Duration::from_secs(2),
        ping_after: Duration::from_secs(10),
        silence_max: Duration::from_secs(30),
        backoff_max: Duration::from_secs(5),
        ..Limits::default()
    };
    let answer_timeout = Duration::from_secs(5);
    Settings { answer_timeout, limits, seed: 1, ..Settings::new("Hub", "bench", peers) }
}

fn core(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("core");
    group.throughput(Throughput::Elements(BATCH as u64));
    for peers in [0, 4] {
        let mut mind = Mind::with_peers(peers);
        let mut chatter = Chatter::new(CLIENTS);
        let client = ConnId::new(ConnKind::Client, 100, 100);
        let mut text = Vec::new();
        let mut handle = |batches: u64| {
            text.clear();
            chatter.write_lines(BATCH * batches as usize, &mut text);
            let start = Instant::now();
            for batch in text.chunks(text.len() / batches as usize) {
                mind.tell_lines(client, batch);
            }
            start.elapsed()
        };
        // From here on every client is known.
        handle(CLIENTS / BATCH as u64);
        group.bench_function(format!("16 IAMATs/{peers} peers"), |bencher| {
            bencher.iter_custom(|count| {
                let chunks = [CHUNK].repeat((count / CHUNK) as usize);
                let rest = Some(count % CHUNK).filter(|&rest| rest > 0);
                chunks.into_iter().chain(rest).map(&mut handle).sum()
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = core
}
criterion_main!(benches);
