//! What a WHATSAT costs when the embedded atlas answers it: loading, looking up, the whole body.
//!
//! It is apart from the other benches because it needs neither a socket nor a server.

use std::hint::black_box;
use std::num::NonZeroUsize;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use herd::places::index::Index;
use herd::places::{Atlas, Source, globe};
use herd_core::whatsat::{Position, Question};

/// Nothing on the globe is farther away.
const HALF_GIRTH_KM: f64 = 20_100.0;

/// Where questions come from: three kilometres off every town, in an order without locality, so
/// that neither the tree nor the text is warm.
fn everywhere(atlas: &Atlas) -> Vec<Position> {
    let anywhere = Position { latitude: 0.0, longitude: 0.0 };
    let all = NonZeroUsize::new(atlas.len()).expect("the atlas is not empty");
    let towns = atlas.nearest(anywhere, HALF_GIRTH_KM, all);
    let mut positions: Vec<_> = towns.into_iter().map(|town| town.position).collect();
    for position in &mut positions {
        position.latitude -= 0.03;
    }
    fastrand::Rng::with_seed(2).shuffle(&mut positions);
    positions
}

fn places(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("places");
    group.sample_size(10);
    group.bench_function("load", |bencher| bencher.iter(Atlas::load));
    group.sample_size(100);

    let atlas = Atlas::load().expect("the compiled-in data are whole");
    let mut positions = everywhere(&atlas).into_iter().cycle();
    let mut next = || positions.next().expect("a cycle does not end");
    let twenty = NonZeroUsize::new(20).expect("20 is not 0");
    let vectors: Vec<_> = everywhere(&atlas).into_iter().map(globe::unit_vector).collect();
    let index = Index::new(&vectors).expect("fewer than a u32 counts");
    group.bench_function("nearest 20 in 50 km", |bencher| {
        bencher.iter(|| index.nearest(next(), 50.0, twenty).len());
    });

    let (radius_km, bound) = (50.0, 20);
    let mut out = Vec::new();
    group.bench_function("answer anywhere", |bencher| {
        bencher.iter(|| {
            out.clear();
            atlas.answer(&Question { at: next(), radius_km, bound }, &mut out);
            out.len()
        });
    });

    let helsinki = Position { latitude: 60.1699, longitude: 24.9384 };
    let question = Question { at: helsinki, radius_km, bound };
    out.clear();
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
