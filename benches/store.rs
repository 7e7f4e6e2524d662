//! The store with a thousand, a hundred thousand and a million clients: a report that is news, one
//! that is stale, a look-up. Clients come in an order without locality: beyond the first size it
//! is the cache misses that are measured.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use herd_core::clock::{PosixTime, SpelledTime};
use herd_core::store::{HashKeys, Store, Verdict};
use herd_core::wire::Report;

/// The half of a million clients is more than any cache holds.
const SIZES: [usize; 3] = [1_000, 100_000, 1_000_000];
/// Put before the clock is read again.
const CHUNK: usize = 500;

/// Names of clients, shuffled; who asks for the next one reads on, and waits for no cache.
struct Names {
    text: String,
    len: usize,
    next: usize,
}

impl Names {
    const BYTES: usize = 18;

    fn new(len: usize) -> Names {
        let mut numbers: Vec<_> = (0..len).collect();
        fastrand::Rng::with_seed(3).shuffle(&mut numbers);
        let text = numbers.iter().map(|number| format!("client-{number:07}.org")).collect();
        Names { text, len, next: 0 }
    }

    fn next(&mut self) -> &[u8] {
        self.next = (self.next + 1) % self.len;
        &self.text.as_bytes()[self.next * Self::BYTES..][..Self::BYTES]
    }
}

fn report<'a>(client: &'a [u8], time: &'a [u8]) -> Report<'a> {
    Report {
        server: b"Goloman",
        skew: b"+0.263873386",
        client,
        position: b"+34.068930-118.445127",
        time: SpelledTime::InText(time),
        stamp: PosixTime::parse(time).expect("a time"),
    }
}

fn store(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("store");
    for size in SIZES {
        let mut names = Names::new(size);
        let mut store = Store::new(HashKeys { herd: (1, 2), process: (3, 4) });
        for _ in 0..size {
            assert!(store.put(&report(names.next(), b"1520000000.000000000")).is_news());
        }
        let mut seconds = 1_520_000_000;

        group.bench_function(format!("put news/{size} clients"), |bencher| {
            bencher.iter_custom(|count| {
                let mut elapsed = Duration::ZERO;
                let mut left = count as usize;
                while left > 0 {
                    // One time for many clients: the time's own spelling is not measured.
                    let chunk = left.min(CHUNK).min(size);
                    left -= chunk;
                    seconds += 1;
                    let time = format!("{seconds}.918963997");
                    let start = Instant::now();
                    for _ in 0..chunk {
                        let verdict = store.put(&report(names.next(), time.as_bytes()));
                        assert!(verdict.is_news());
                    }
                    elapsed += start.elapsed();
                }
                elapsed
            });
        });

        group.bench_function(format!("put stale/{size} clients"), |bencher| {
            bencher.iter(|| {
                let verdict = store.put(&report(names.next(), b"1519999999.918963997"));
                assert_eq!(verdict, Verdict::Stale);
            });
        });

        group.bench_function(format!("find/{size} clients"), |bencher| {
            bencher.iter(|| assert!(store.find(names.next()).is_some()));
        });

        group.bench_function(format!("find a stranger/{size} clients"), |bencher| {
            bencher.iter(|| {
                let name = &names.next()[1..];
                assert!(store.find(name).is_none());
            });
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(50)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = store
}
criterion_main!(benches);
