//! What is measured, and against what: each trial has sides, which are measured in turns, and a
//! goal. Apart from how a side is measured (`sides`) and from what is made of the figures (`table`).

use std::time::Duration;

use crate::herd::Plan;
use crate::load::Span;
use crate::sides;

/// Names of what is measured. Trials, goals and tables agree on them.
pub const RATE: &str = "requests/s";
pub const CPU: &str = "CPU µs a request";
pub const P50: &str = "p50 µs";
pub const P99: &str = "p99 µs";
pub const FREE: &str = "requests/s with free cores";
pub const DONE: &str = "done %";

/// Figures by their names.
pub type Found = Vec<(&'static str, f64)>;

/// What was wished for.
#[derive(Clone, Copy)]
pub enum Goal {
    /// Figure of the last side, as a multiple of the first's.
    RatioAtLeast(&'static str, f64),
    RatioAtMost(&'static str, f64),
    /// Figure of each side.
    AtMost(&'static str, f64),
}

pub struct Trial {
    pub name: String,
    pub goal: Option<Goal>,
    /// Compared with the first, if they are under load.
    pub sides: Vec<Side>,
}

pub struct Side {
    pub name: String,
    /// It runs a Redis.
    pub needs_store: bool,
    pub run: Box<dyn Fn(Span) -> Result<Found, String>>,
}

/// How large a trial is.
struct Sizes {
    connections: usize,
    many_connections: usize,
    few_clients: u64,
    clients: u64,
    many_clients: u64,
    rate: u64,
}

const SIZES: Sizes = Sizes {
    connections: 50,
    many_connections: 10_000,
    few_clients: 1_000,
    clients: 100_000,
    many_clients: 1_000_000,
    rate: 10_000,
};

const QUICK_SIZES: Sizes = Sizes {
    connections: 4,
    many_connections: 100,
    few_clients: 100,
    clients: 1_000,
    many_clients: 5_000,
    rate: 200,
};

fn side(name: &str, run: impl Fn(Span) -> Result<Found, String> + 'static) -> Side {
    Side { name: name.to_owned(), needs_store: false, run: Box::new(run) }
}

fn with_store(side: Side) -> Side {
    Side { needs_store: true, ..side }
}

/// A load on all the fronts of a herd, `-c` and `-p` of each.
fn loaded(name: &str, plan: &Plan, load: String, clients: u64, fill: bool) -> Side {
    let plan = plan.clone();
    side(name, move |span| sides::herd(&plan, &load, clients, fill, span))
}

fn trial(name: impl Into<String>, goal: Option<Goal>, sides: Vec<Side>) -> Trial {
    Trial { name: name.into(), goal, sides }
}

pub fn all(is_quick: bool) -> Vec<Trial> {
    let sizes = if is_quick { QUICK_SIZES } else { SIZES };
    let mut trials = burdens(&sizes);
    trials.extend(growth(&sizes));
    trials.extend(cores(&sizes));
    let (rate, many_clients, many) = (sizes.rate, sizes.many_clients, sizes.many_connections);
    trials.push(trial(
        "a report to all other servers",
        Some(Goal::AtMost("p99 ms", 5.0)),
        vec![side(&format!("five servers, {rate} reports a second"), move |span| {
            crate::spread::run(rate, span)
        })],
    ));
    trials.push(trial(
        "memory of a client known",
        Some(Goal::AtMost("bytes", 110.0)),
        vec![side(&format!("{many_clients} clients"), move |_| sides::memory(many_clients))],
    ));
    trials.push(trial(
        "memory of an idle connection",
        Some(Goal::AtMost("bytes", 96.0)),
        vec![side(&format!("{many} connections"), move |span| sides::idle(many, span))],
    ));
    trials.push(trial(
        "somebody is killed",
        None,
        vec![
            side("a herd of two: one of them", |span| crate::deaths::herd(pause(span))),
            with_store(side("a central store: the store", |span| {
                crate::deaths::central(pause(span))
            })),
        ],
    ));
    trials
}

/// A second says enough.
fn pause(span: Span) -> Duration {
    span.measure.min(Duration::from_secs(1))
}

/// What a server does beside answering.
fn burdens(sizes: &Sizes) -> Vec<Trial> {
    let load = format!("-c {} -p 16", sizes.connections);
    let pinned = |fronts, peers| Plan { is_pinned: true, ..Plan::of(fronts, peers) };
    let compare = |name, goal, sides: [(&str, Plan); 2]| {
        let side =
            |(name, plan): &(&str, Plan)| loaded(name, plan, load.clone(), sizes.clients, false);
        trial(name, goal, sides.iter().map(side).collect())
    };
    let alone = || ("alone", pinned(1, 0));
    let logged = Plan { is_logged: true, ..pinned(1, 0) };
    let authenticated = Plan { has_key: true, ..pinned(1, 1) };
    vec![
        compare(
            "flooding",
            Some(Goal::RatioAtLeast(RATE, 0.5)),
            [alone(), ("to four peers", pinned(1, 4))],
        ),
        compare(
            "every line logged",
            Some(Goal::RatioAtLeast(RATE, 0.6)),
            [alone(), ("in and out, to a file", logged)],
        ),
        compare(
            "authenticated peers",
            None,
            [("flooding to one", pinned(1, 1)), ("to one that shares a key", authenticated)],
        ),
    ]
}

/// What many cost more than few.
fn growth(sizes: &Sizes) -> Vec<Trial> {
    let plan = Plan { is_pinned: true, ..Plan::of(1, 0) };
    let goal = Some(Goal::RatioAtMost(CPU, 1.6));
    let load = format!("-c {} -p 16", sizes.connections);
    let known = |clients| loaded(&format!("{clients} clients"), &plan, load.clone(), clients, true);
    let connected = |connections: usize| {
        let name = format!("{connections} connections");
        loaded(&name, &plan, format!("-c {connections}"), sizes.clients, false)
    };
    vec![
        trial("clients known", goal, vec![known(sizes.few_clients), known(sizes.many_clients)]),
        trial(
            "connections, pipeline 1",
            goal,
            vec![
                connected(sizes.connections.min(10)),
                connected(sizes.connections),
                connected(sizes.many_connections),
            ],
        ),
    ]
}

/// What more servers and all the cores give, and what they would give if they asked one store.
fn cores(sizes: &Sizes) -> Vec<Trial> {
    let mut trials = Vec::new();
    for pipeline in [1, 16] {
        let (connections, clients) = (sizes.connections, sizes.clients);
        let load = |servers| format!("-c {} -p {pipeline}", connections / servers);
        let herd =
            |name, servers| loaded(name, &Plan::of(servers, 0), load(servers), clients, false);
        trials.push(trial(
            format!("all the cores, pipeline {pipeline}"),
            None,
            vec![herd("one server", 1), herd("two that flood to each other", 2)],
        ));
        // One in ten asks for a position.
        let mixed = format!("{} --whatsat 10", load(2));
        let asking = mixed.clone();
        trials.push(trial(
            format!("a central store, pipeline {pipeline}, 10 % WHATSAT"),
            None,
            vec![
                loaded("two servers that flood", &Plan::of(2, 0), mixed, clients, false),
                with_store(side("two that ask one Redis", move |span| {
                    sides::central(2, &asking, clients, span)
                })),
            ],
        ));
    }
    trials
}
