//! What a line costs before anything is done about it: taken apart, its skew, printed. Apart from
//! `core`, where the same happens in its place.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use herd_core::clock::{PosixTime, Skew};
use herd_core::wire::Command;
use herd_core::wire::fast_path;
use herd_core::wire::line_buffer::{LineLimits, Lines};
use herd_core::wire::opening::Opening;
use herd_core::wire::peer_command::{Greeting, PeerLine};

const AT: &[u8] =
    b"AT Goloman +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997";
const LINES: [(&str, &[u8]); 3] = [
    ("IAMAT", b"IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997"),
    ("WHATSAT", b"WHATSAT kiwi.cs.ucla.edu 10 5"),
    ("invalid", b"IAMAT kiwi.cs.ucla.edu +34.068930-181.445127 1520023934.918963997"),
];
const USUAL: &[u8] = b"IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997\n";
const PEER_LINES: [(&str, &[u8]); 3] = [
    ("AT", AT),
    ("PING", b"PING 17"),
    ("greeting", b"HERD/1 Hill Smith 2020 00000000000000000000000000c0ffee -"),
];
const LIMITS: LineLimits = LineLimits { line_bytes_max: 8 << 10, endless_bytes_max: 1 << 20 };

fn wire(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wire");
    for (name, line) in LINES {
        group.bench_function(format!("parse {name}"), |bencher| {
            bencher.iter(|| Command::parse(black_box(line)));
        });
    }
    group.bench_function("parse a usual IAMAT", |bencher| {
        bencher.iter(|| fast_path::iamat(black_box(USUAL)).is_some());
    });
    for (name, line) in PEER_LINES {
        group.bench_function(format!("parse {name}"), |bencher| {
            bencher.iter(|| PeerLine::parse(black_box(line)));
        });
    }

    let server = PosixTime::new(1_796_567_144, 182_837_383);
    let client = PosixTime::parse(b"1520023934.918963997").expect("a time");
    let mut opening = Opening::new(b"Hill");
    group.bench_function("skew", |bencher| {
        bencher.iter(|| opening.spell(Skew::between(black_box(server), black_box(client))));
    });

    let Command::At(report) = Command::parse(AT) else { unreachable!("AT is a report") };
    let mut out = Vec::new();
    group.bench_function("print a report", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&report).write_line(&mut out);
            out.len()
        });
    });
    let greeting = Greeting {
        from: b"Hill",
        to: b"Smith",
        herd: b"2020",
        nonce: 0xc0ffee,
        caps: b"-",
        mac: None,
    };
    group.bench_function("print a greeting", |bencher| {
        bencher.iter(|| {
            out.clear();
            black_box(&greeting).write_line(&mut out);
            out.len()
        });
    });

    let batch = [LINES[0].1, b"\r\n"].concat().repeat(16);
    group.throughput(Throughput::Elements(16));
    group.bench_function("take 16 lines", |bencher| {
        bencher.iter(|| {
            let mut lines = Lines::new(black_box(&batch), LIMITS);
            while let Some(line) = lines.take() {
                black_box(line);
            }
        });
    });
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = wire
}
criterion_main!(benches);
