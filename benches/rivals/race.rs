//! The race: every rival meets every load, in turns, and `herd bench` measures. Apart from who the
//! rivals are and from what is made of the figures.

use std::thread;
use std::time::{Duration, Instant};

use crate::load::{Figures, Loading, Span};
use crate::machine::{self, Running, free_ports, median, pinned};
use crate::rivals::Rival;

/// What a load is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Aim {
    /// Requests a second, and what each of them costs.
    Rate { is_drawn: bool },
    /// How late an answer is when the server has nothing else to do.
    Lone,
    /// How late answers are when all rivals are asked equally often.
    Pace,
    /// Connections are weighed, and nothing is answered.
    Idle,
}

/// What is asked of a server.
pub struct Load {
    /// Short, for the head of a column.
    pub name: &'static str,
    /// As `herd bench` takes them, with blanks between.
    flags: &'static str,
    pub aim: Aim,
}

const DRAWN: Aim = Aim::Rate { is_drawn: true };
const TOLD: Aim = Aim::Rate { is_drawn: false };

const fn load(name: &'static str, flags: &'static str, aim: Aim) -> Load {
    Load { name, flags, aim }
}

/// The pace is one that the slowest of them can keep.
pub const LOADS: &[Load] = &[
    load("1 connection", "-c 1", Aim::Lone),
    load("50 connections", "-c 50", DRAWN),
    load("1,000", "-c 1000", TOLD),
    load("10,000", "-c 10000", TOLD),
    load("50, pipeline 16", "-c 50 -p 16", DRAWN),
    load("50, pipeline 128", "-c 50 -p 128", TOLD),
    load("connect, ask, close", "-c 50 --reconnect", DRAWN),
    load("5,000 a second", "-c 50 --rate 5000", Aim::Pace),
    load("10,000 idle", "--idle 10000", Aim::Idle),
];

pub const QUICK_LOADS: &[Load] = &[
    load("1 connection", "-c 1", Aim::Lone),
    load("5, pipeline 16", "-c 5 -p 16", DRAWN),
    load("connect, ask, close", "-c 5 --reconnect", DRAWN),
    load("100 a second", "-c 5 --rate 100", Aim::Pace),
    load("100 idle", "--idle 100", Aim::Idle),
];

/// For those that keep what they answer.
pub const JOURNAL_LOADS: &[Load] = &[
    load("1 connection", "-c 1", Aim::Lone),
    load("50 connections", "-c 50", DRAWN),
    load("50, pipeline 16", "-c 50 -p 16", DRAWN),
    load("1,000 a second", "-c 50 --rate 1000", Aim::Pace),
];

pub const QUICK_JOURNAL_LOADS: &[Load] = &[
    load("1 connection", "-c 1", Aim::Lone),
    load("5, pipeline 16", "-c 5 -p 16", DRAWN),
    load("100 a second", "-c 5 --rate 100", Aim::Pace),
];

/// On a busy machine others may have a server's core for as long as a short measurement takes: then
/// it is measured again, for four times as long.
const TRIES: usize = 3;

pub struct Course {
    pub loads: &'static [Load],
    pub rounds: usize,
    pub span: Span,
}

/// One measurement.
pub struct Measurement {
    pub rival: usize,
    pub load: usize,
    pub round: usize,
    /// From its start until somebody could connect.
    pub started_ms: Option<f64>,
    pub found: Result<Figures, String>,
}

impl Course {
    pub fn run(&self, rivals: &[Rival]) -> Vec<Measurement> {
        let mut results = Vec::new();
        for round in 0..self.rounds {
            for (load, wanted) in self.loads.iter().enumerate() {
                for (rival, server) in rivals.iter().enumerate() {
                    if server.is_for_lone_only && wanted.aim != Aim::Lone {
                        continue;
                    }
                    let mut started_ms = None;
                    let found = self.measure(server, wanted, &mut started_ms);
                    let told = match &found {
                        Ok(figures) => told(figures),
                        Err(why) => format!("FAILED: {why}"),
                    };
                    let (name, number, rounds) = (&server.name, round + 1, self.rounds);
                    eprintln!("{number}/{rounds} {}: {name}: {told}", wanted.name);
                    results.push(Measurement { rival, load, round, started_ms, found });
                }
            }
        }
        results
    }

    /// The server has one core and the load another.
    fn measure(
        &self,
        rival: &Rival,
        load: &Load,
        started_ms: &mut Option<f64>,
    ) -> Result<Figures, String> {
        let port = free_ports(1)[0];
        let began = Instant::now();
        let server = Running::start(pinned(0, rival.command(port)), port)?;
        *started_ms = Some(began.elapsed().as_secs_f64() * 1e3);
        (rival.prepare)(port)?;
        // The server may still be loading, which is no answer's cost.
        thread::sleep(self.span.warm_up.max(Duration::from_millis(100)) / 2);
        let flags = format!("{} --protocol {}", load.flags, rival.protocol);
        let mut span = Span { warm_up: rival.warm_ups * self.span.warm_up, ..self.span };
        for _ in 0..TRIES {
            let bench = pinned(1, machine::herd());
            let figures = Loading::begin(bench, (port, &[server.pid()]), &flags, span)?.end()?;
            if load.aim == Aim::Idle || figures.number("/answers_per_second") != Some(0.0) {
                return Ok(figures);
            }
            span.measure *= 4;
        }
        Err("nothing was answered while it was measured".to_owned())
    }
}

/// One figure on the way, which shows that it goes on.
fn told(figures: &Figures) -> String {
    if let Some(bytes) = figures.number("/resident_bytes_per_idle") {
        return format!("{bytes:.0} bytes a connection");
    }
    let figure = |path| figures.number(path).unwrap_or_default();
    let [rate, us] = ["/answers_per_second", "/cpu_us_per_answer"].map(figure);
    format!("{rate:.0}/s, {us:.2} µs of CPU, p50 {:.0} µs", figure("/latency_us/p50"))
}

/// One figure of a rival in each round in which it is known.
pub fn all_of(
    results: &[Measurement],
    rival: usize,
    load: usize,
    figure: impl Fn(&Measurement) -> Option<f64>,
) -> Vec<f64> {
    let of_both = |result: &&Measurement| result.rival == rival && result.load == load;
    results.iter().filter(of_both).filter_map(figure).collect()
}

/// The median of one figure of a rival over the rounds; `None` if nobody knows it.
pub fn median_of(
    results: &[Measurement],
    rival: usize,
    load: usize,
    figure: impl Fn(&Measurement) -> Option<f64>,
) -> Option<f64> {
    median(all_of(results, rival, load, figure))
}

/// The median of a number that `herd bench` tells.
pub fn median_number(
    results: &[Measurement],
    rival: usize,
    load: usize,
    path: &str,
) -> Option<f64> {
    median_of(results, rival, load, |result| result.found.as_ref().ok()?.number(path))
}
