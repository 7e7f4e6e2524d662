//! What is measured, and against what: each trial has sides, which are measured in turns, and a
//! goal. Apart from how a side is measured (`sides`) and what is made of the figures (`table`).

use std::time::Duration;

use crate::hearing;
use crate::herd::Plan;
use crate::load::Span;
use crate::sides::{self, Load};

/// Names of what is measured. Trials, goals and tables agree on them.
pub const RATE: &str = "requests/s";
pub const CPU: &str = "CPU µs a request";
/// The loop's alone: without the thread that writes the log.
pub const LOOP: &str = "the loop's";
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
    few_connections: usize,
    many_connections: usize,
    few_clients: u64,
    clients: u64,
    many_clients: u64,
    rate: u64,
}

const SIZES: Sizes = Sizes {
    connections: 50,
    few_connections: 10,
    many_connections: 10_000,
    few_clients: 1_000,
    clients: 100_000,
    many_clients: 1_000_000,
    rate: 10_000,
};

const QUICK_SIZES: Sizes = Sizes {
    connections: 4,
    few_connections: 2,
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

fn loaded(name: &str, plan: &Plan, load: Load) -> Side {
    let plan = plan.clone();
    side(name, move |span| sides::herd(&plan, load, span))
}

fn trial(name: impl Into<String>, goal: Option<Goal>, sides: Vec<Side>) -> Trial {
    Trial { name: name.into(), goal, sides }
}

pub fn all(is_quick: bool) -> Vec<Trial> {
    let sizes = if is_quick { QUICK_SIZES } else { SIZES };
    let mut trials = burdens(&sizes);
    trials.extend(heard(&sizes));
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
        Some(Goal::AtMost("bytes", 100.0)),
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
        vec![side("a herd of two: one of them", |span| crate::deaths::herd(pause(span)))],
    ));
    trials
}

/// A second says enough.
fn pause(span: Span) -> Duration {
    span.measure.min(Duration::from_secs(1))
}

impl Sizes {
    fn load(&self, pipeline: u64) -> Load {
        Load {
            connections: self.connections,
            pipeline,
            clients: self.clients,
            whatsat_percent: 0,
            is_filled: false,
            is_asleep: false,
        }
    }

    /// The same from a load that shares its core with a server.
    fn load_asleep(&self, pipeline: u64) -> Load {
        Load { is_asleep: true, ..self.load(pipeline) }
    }
}

/// What a server does beside answering.
fn burdens(sizes: &Sizes) -> Vec<Trial> {
    let pinned = |fronts, peers| Plan { is_pinned: true, ..Plan::of(fronts, peers) };
    let compare = |name, goal, load: Load, sides: &[(&str, Plan)]| {
        let side = |(name, plan): &(&str, Plan)| loaded(name, plan, load);
        trial(name, goal, sides.iter().map(side).collect())
    };
    let alone = || ("alone", pinned(1, 0));
    let gathering = Plan { gather_us: 200, ..pinned(1, 4) };
    let logged = Plan { is_logged: true, ..pinned(1, 0) };
    let authenticated = Plan { has_key: true, ..pinned(1, 1) };
    let by_tls = Plan { is_by_tls: true, ..authenticated.clone() };
    vec![
        compare(
            "flooding",
            Some(Goal::RatioAtLeast(RATE, 0.5)),
            sizes.load_asleep(16),
            &[alone(), ("to four peers", pinned(1, 4))],
        ),
        compare(
            "flooding in large turns",
            Some(Goal::RatioAtMost(CPU, 1.25)),
            sizes.load_asleep(16),
            &[alone(), ("to four peers, gather_us = 200", gathering)],
        ),
        compare(
            "every line logged",
            Some(Goal::RatioAtLeast(RATE, 0.75)),
            sizes.load(16),
            &[alone(), ("in and out, to a file", logged)],
        ),
        compare(
            "authenticated peers",
            None,
            sizes.load_asleep(16),
            &[
                ("flooding to one", pinned(1, 1)),
                ("to one that shares a key", authenticated),
                ("to one by TLS", by_tls),
            ],
        ),
    ]
}

/// What hearing a report from a peer costs, beside answering one.
fn heard(sizes: &Sizes) -> [Trial; 2] {
    let plan = Plan { is_pinned: true, ..Plan::of(1, 0) };
    let (load, clients) = (sizes.load(16), sizes.clients);
    [("news", true, 0.6), ("copies", false, 0.25)].map(|(what, are_news, ratio)| {
        let told = side("from a peer", move |span| hearing::run(clients, are_news, span));
        let sides = vec![loaded("answering", &plan, load), told];
        trial(format!("hearing {what}"), Some(Goal::RatioAtMost(CPU, ratio)), sides)
    })
}

/// What many cost more than few.
fn growth(sizes: &Sizes) -> Vec<Trial> {
    let plan = Plan { is_pinned: true, ..Plan::of(1, 0) };
    let goal = Some(Goal::RatioAtMost(CPU, 1.6));
    let known = |clients| {
        let load = Load { clients, is_filled: true, ..sizes.load(16) };
        loaded(&format!("{clients}"), &plan, load)
    };
    let connected = |connections| {
        loaded(&format!("{connections}"), &plan, Load { connections, ..sizes.load(1) })
    };
    vec![
        trial("clients known", goal, vec![known(sizes.few_clients), known(sizes.many_clients)]),
        trial(
            "connections, pipeline 1",
            goal,
            vec![connected(sizes.few_connections), connected(sizes.many_connections)],
        ),
    ]
}

/// What more servers and all the cores give, and what they would give if they asked one store.
fn cores(sizes: &Sizes) -> Vec<Trial> {
    let mut trials = Vec::new();
    for pipeline in [1, 16] {
        let load = sizes.load_asleep(pipeline);
        trials.push(trial(
            format!("all the cores, pipeline {pipeline}"),
            None,
            vec![
                loaded("one server", &Plan::of(1, 0), load),
                loaded("two that flood to each other", &Plan::of(2, 0), load),
            ],
        ));
        let mixed = Load { whatsat_percent: 10, ..load };
        trials.push(trial(
            format!("a central store, pipeline {pipeline}, 10 % WHATSAT"),
            None,
            vec![
                loaded("two servers that flood", &Plan::of(2, 0), mixed),
                with_store(side("two that ask one Redis", move |span| {
                    sides::central(2, mixed, span)
                })),
            ],
        ));
    }
    trials
}
