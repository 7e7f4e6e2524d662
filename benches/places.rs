//! What a WHATSAT costs when the embedded atlas answers it: loading, looking up, the whole body.
//!
//! It is apart from the other benches because it needs neither a socket nor a server.

use std::hint::black_box;
use std::num::NonZeroUsize;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use herd::core::whatsat::{Position, Question};
use herd::places::{Atlas, Source};

/// Where questions come from: a few kilometres off a town that is drawn anew for each question, so
/// that neither the tree nor the text is warm.
fn somewhere(atlas: &Atlas, random: &mut fastrand::Rng) -> Position {
    let latitude = random.f64() * 180.0 - 90.0;
    let longitude = random.f64() * 360.0 - 180.0;
    let town = atlas.nearest(Position { latitude, longitude }, 20_100.0, NonZeroUsize::MIN)[0];
    Position { latitude: town.position.latitude - 0.03, longitude: town.position.longitude }
}

fn places(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("places");
    group.sample_size(10);
    group.bench_function("load", |bencher| bencher.iter(Atlas::load));
    group.sample_size(100);

    let atlas = Atlas::load().expect("the compiled-in data are whole");
    let mut random = fastrand::Rng::with_seed(2);
    let twenty = NonZeroUsize::new(20).expect("20 is not 0");
    group.bench_function("nearest 20 in 50 km", |bencher| {
        bencher.iter_batched(
            || somewhere(&atlas, &mut random),
            |at| black_box(atlas.nearest(at, 50.0, twenty)).len(),
            BatchSize::SmallInput,
        );
    });

    let (radius_km, bound) = (50.0, 20);
    let helsinki = Position { latitude: 60.1699, longitude: 24.9384 };
    let question = Question { at: helsinki, radius_km, bound };
    let mut out = Vec::new();
    atlas.answer(&question, &mut out);
    group.throughput(Throughput::Bytes(out.len() as u64));
    group.bench_function("answer at Helsinki", |bencher| {
        bencher.iter(|| {
            out.clear();
            atlas.answer(black_box(&question), &mut out);
            out.len()
        });
    });
    group.finish();
}

criterion_group!(benches, places);
criterion_main!(benches);
