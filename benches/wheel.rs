//! The timer wheel with nobody, a thousand and a hundred thousand timers waiting: what one more
//! costs, what a turn costs in which one fires, and what it costs to ask how long to sleep.

use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use herd_core::timer_wheel::{TICK, TimerWheel};

/// Timers wait longer than any bench lasts on the wheel's clock, so their number stays.
const FAR: Duration = Duration::from_secs(1 << 30);
/// Deadlines of a server are a few seconds away.
const NEAR: Duration = Duration::from_secs(10);
/// Timers started before those are fired again, so that not many more than `waiting` wait.
const CHUNK: u64 = 1_000;

fn wheel(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("wheel");
    for waiting in [0, 1_000, 100_000] {
        let mut random = fastrand::Rng::with_seed(1);
        let mut wheel = TimerWheel::new();
        for number in 0..waiting {
            wheel.start(FAR + NEAR.mul_f64(random.f64()), number);
        }
        let mut now = Duration::ZERO;
        let mut fired = Vec::new();

        group.bench_function(format!("start/{waiting} waiting"), |bencher| {
            bencher.iter_custom(|count| {
                let mut elapsed = Duration::ZERO;
                let mut left = count;
                while left > 0 {
                    let chunk = left.min(CHUNK);
                    left -= chunk;
                    let deadlines: Vec<_> =
                        (0..chunk).map(|_| now + NEAR.mul_f64(random.f64())).collect();
                    let start = Instant::now();
                    for deadline in deadlines {
                        wheel.start(deadline, 0);
                    }
                    elapsed += start.elapsed();
                    now += NEAR;
                    wheel.expire(now + TICK, &mut fired);
                    fired.clear();
                }
                elapsed
            });
        });

        group.bench_function(format!("start and fire one/{waiting} waiting"), |bencher| {
            bencher.iter(|| {
                now += TICK;
                wheel.start(now, 0);
                now += TICK;
                wheel.expire(now, &mut fired);
                assert_eq!(fired.pop(), Some(0));
            });
        });

        group.bench_function(format!("next deadline/{waiting} waiting"), |bencher| {
            bencher.iter(|| wheel.next_deadline());
        });
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(2));
    targets = wheel
}
criterion_main!(benches);
