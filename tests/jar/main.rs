//! A herd in a jar: the servers' minds with fake wires between them, and virtual time. Goal: after
//! whatever has happened, every server holds the same reports, and every client was answered in
//! order. Method: each seed is a life of a herd, as eventful as `chance` says.
//!
//! A life that goes wrong prints its seed, to be lived again:
//!
//! ```sh
//! HERD_SEED=17 cargo test --test jar
//! HERD_SEEDS=20000 cargo test --release --test jar    # many more lives
//! ```

#[path = "../body/mod.rs"]
mod body;
mod chance;
mod talker;
mod watch;
mod wire;
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};

use chance::Chance;
use herd::config::presets::PRESETS;
use world::Jar;

const SEEDS: u64 = 300;

#[test]
fn every_life_ends_in_agreement() {
    let seeds = match (number("HERD_SEED"), number("HERD_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => 0..seeds.unwrap_or(SEEDS),
    };
    for seed in seeds {
        let life = catch_unwind(AssertUnwindSafe(|| Jar::new(seed).live()));
        assert!(life.is_ok(), "live it again: HERD_SEED={seed} cargo test --test jar");
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

#[test]
fn the_same_seed_is_the_same_life() {
    let trace = |seed| {
        let mut jar = Jar::new(seed);
        jar.live();
        jar.trace.hash()
    };
    for seed in (0..SEEDS).step_by(10) {
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
    }
    assert_ne!(trace(0), trace(1), "a hash that says something");
}

/// Method: nothing goes wrong, everybody is joined before the first report, and no report makes
/// another one stale, because no client reports twice.
#[test]
fn a_report_costs_2e_minus_n_plus_1_lines() {
    for (seed, preset) in PRESETS.iter().enumerate() {
        let mut jar = Jar::with(Chance::without_faults(preset), seed as u64);
        jar.live();
        let lines = 2 * preset.links.len() + 1 - preset.servers.len();
        assert!(jar.tellings.lines.len() > 20, "reports were told");
        for (line, &times) in &jar.tellings.lines {
            assert_eq!(times, lines, "{}: {}", preset.year, line.escape_ascii());
        }
    }
}
