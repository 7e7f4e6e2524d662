//! A herd in a jar: the servers' minds with fake wires between them, and virtual time. Goal:
//! whatever happens to it, a herd keeps what it promises. Method: each seed is a run of a herd, as
//! eventful as `sim::chance` says; some dozens of them here, and as many as there is time for with
//! `herd sim --seeds`. A run that goes wrong prints the command that repeats it.

use herd_core::presets::PRESETS;
use herd_sim::event_log::Detail;
use herd_sim::faults::Faults;
use herd_sim::graph::Shape;
use herd_sim::{Plan, Run};

const SEEDS: u64 = 60;

fn keep_promises(plan: &Plan, seed: u64) -> Run {
    let run = plan.run(seed, Detail::Silent);
    if let Err(violation) = &run.outcome {
        panic!("{violation}\nrun it again: {}", plan.command(seed));
    }
    run
}

/// PROTOCOL 2.10, 8.4, 8.5, 11.2.
#[test]
fn every_promise_is_kept_in_every_life() {
    for seed in 0..SEEDS {
        keep_promises(&Plan::default(), seed);
    }
}

/// Goal: a server alone, on a disk that fails, has after each death what it has answered. Nobody
/// brings back what its journal has lost.
#[test]
fn a_single_server_keeps_what_it_has_answered() {
    let faults = Some(Faults::parse("crash,power,leave,disk").unwrap());
    let plan = Plan { servers: Some(1..=1), faults, ..Plan::default() };
    let mut deaths = 0;
    for seed in 0..SEEDS {
        deaths += keep_promises(&plan, seed).counts.crashes;
    }
    assert!(deaths > 2 * SEEDS, "{deaths} deaths");
}

#[test]
fn the_same_seed_is_the_same_life() {
    let plan = Plan::default();
    let hash = |seed, detail| plan.run(seed, detail).hash;
    for seed in (0..SEEDS).step_by(20) {
        let (first, told) = (hash(seed, Detail::Silent), hash(seed, Detail::Lines));
        assert_eq!(first, told, "seed {seed}: recording a run does not change it");
    }
    assert_ne!(hash(0, Detail::Silent), hash(1, Detail::Silent), "a hash that says something");
}

/// PROTOCOL 9.1.
#[test]
fn a_report_costs_2e_minus_n_plus_1_lines() {
    let shapes = ["random", "random:6", "ring", "star", "line", "mesh"].map(Shape::parse);
    let shapes = shapes.into_iter().map(Result::unwrap);
    for (seed, shape) in shapes.chain(PRESETS.iter().map(Shape::Preset)).enumerate() {
        let servers = Some(if matches!(shape, Shape::Preset(_)) { 5..=5 } else { 4..=20 });
        let plan = Plan { servers, graph: Some(shape), reports: Some(20), ..Plan::default() };
        let run = keep_promises(&plan, seed as u64);
        assert_eq!(run.cost.reports, 20, "{shape}");
        let lines = 20 * (2 * run.links + 1 - run.servers);
        assert_eq!(run.cost.lines, lines, "{shape}");
    }
}

/// Goal: a fault that was asked for happens, so that a clean run says something.
#[test]
fn each_fault_happens_where_it_is_asked_for() {
    let check = |faults: &str, sign: &str| {
        let plan = Plan { faults: Some(Faults::parse(faults).unwrap()), ..Plan::default() };
        let shows = |seed| {
            let rows = plan.run(seed, Detail::Events).rows;
            rows.iter().any(|row| row.to_string().contains(sign))
        };
        assert!((0..40).any(shows), "{faults}: nothing {sign}");
    };
    check("crash", "is killed");
    check("power", "loses power");
    check("leave", "has left");
    check("reset", "is reset");
    check("silence", "falls silent");
    check("deaf", "carries nothing one way");
    check("stall", "stalls until");
    check("clock", "clock set by");
    check("refusal", "cannot reach");
    check("stall,reader", "holds news back");
    check("replay", "say what a peer said before");
    check("forge", "hears a stranger say HERD/1");
    check("forge", "a stranger answers");
    check("meddle", "a line of it is not sealed as it should be");
    check("crash,disk", "clients of its journal");
}
