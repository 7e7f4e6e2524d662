//! Servers of the herd's kind beside each other in one criterion group, so that criterion's report
//! draws a line for each over the number of connections. Apart from what is asked of them.
//!
//! The servers run all the time, on the first core, and who is not asked sleeps; the load is
//! `herd bench`'s, in this process, on the second core.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use criterion::measurement::WallTime;
use criterion::{
    AxisScale, BenchmarkGroup, BenchmarkId, Criterion, PlotConfiguration, PlottingBackend,
    SamplingMode, Throughput,
};
use herd_load::{CountedLoad, Dialect, Pace, Plan, claim_descriptors};

use crate::machine::{Running, cores, free_ports, pinned, said};
use crate::rivals;

const CONNECTIONS: [usize; 4] = [1, 50, 500, 5_000];
const SAMPLES: usize = 10;
const MEASURE_LEAST: Duration = Duration::from_secs(2);

pub struct Contest {
    servers: Vec<Server>,
    connections: Vec<usize>,
}

struct Server {
    name: String,
    address: SocketAddr,
    _running: Running,
}

/// What is asked of all servers.
pub struct Task {
    /// For the label of a line.
    pub name: &'static str,
    pub pace: Pace,
    pub pipeline: u64,
}

/// The plots are criterion's own, with and without gnuplot.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(SAMPLES)
        .warm_up_time(Duration::from_secs(1))
        .plotting_backend(PlottingBackend::Plotters)
}

impl Contest {
    /// Builds and starts those it can, and says which are missing and why.
    pub fn start() -> Contest {
        let mut connections = CONNECTIONS.to_vec();
        // Servers inherit what is claimed here.
        while let Some(most) = connections.last().copied()
            && let Err(error) = claim_descriptors(most)
        {
            println!("==== SKIPPED: {most} connections at a time: {error}");
            connections.pop();
        }
        let workshop = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("rivals");
        std::fs::create_dir_all(&workshop).expect("a folder below target");
        let mut servers = Vec::new();
        for rival in rivals::loops(&workshop) {
            let started = rival.and_then(|rival| {
                let port = free_ports(1)[0];
                let running = Running::start(pinned(0, rival.command(port)), port)?;
                let address = SocketAddr::from(([127, 0, 0, 1], port));
                Ok(Server { name: rival.name, address, _running: running })
            });
            match started {
                Ok(server) => servers.push(server),
                Err(why) => println!("==== SKIPPED: {why}"),
            }
        }
        if cores() > 1 {
            let this = std::process::id().to_string();
            // Where it is missing, the servers are not pinned either.
            let _ = said("taskset", &["-cp", "1", &this]);
        }
        Contest { servers, connections }
    }

    /// One group with a line for each server and each task.
    pub fn run(&self, criterion: &mut Criterion, name: &str, tasks: &[Task]) {
        let mut group = criterion.benchmark_group(name);
        group.sampling_mode(SamplingMode::Flat);
        let scale = PlotConfiguration::default().summary_scale(AxisScale::Logarithmic);
        group.plot_config(scale);
        for task in tasks {
            let mut paces = vec![Duration::ZERO; self.servers.len()];
            // In turns, so that what else the machine does hits all of them alike.
            for connections in &self.connections {
                for (server, pace) in self.servers.iter().zip(&mut paces) {
                    measure(&mut group, server, task, *connections, pace);
                }
            }
        }
        group.finish();
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("criterion");
        let report = target.join(name).join("report/index.html");
        if report.exists() {
            println!("The report, with throughput over connections: {}", report.display());
        }
    }
}

/// `pace` is how long an answer took before, and is after.
fn measure(
    group: &mut BenchmarkGroup<WallTime>,
    server: &Server,
    task: &Task,
    connections: usize,
    pace: &mut Duration,
) {
    let plan = plan(server.address, task, connections);
    // As many answers as connections are one iteration, which is what criterion's axis needs. It
    // complains where a sample is a single one.
    let iteration = *pace * connections as u32;
    group.measurement_time(MEASURE_LEAST.max(iteration * 3 * SAMPLES as u32));
    group.throughput(Throughput::Elements(connections as u64));
    let id = BenchmarkId::new(format!("{}: {}", task.name, server.name), connections);
    let mut load = None;
    group.bench_function(id, |bencher| {
        let load = load.get_or_insert_with(|| answered(CountedLoad::open(&plan)));
        bencher.iter_custom(|rounds| {
            let answers = rounds * connections as u64;
            let took = answered(load.run(answers));
            *pace = took.div_f64(answers as f64);
            took
        });
    });
}

pub fn answered<T>(result: Result<T, herd_load::LoadError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

pub fn plan(address: SocketAddr, task: &Task, connections: usize) -> Plan {
    Plan {
        address,
        pids: Vec::new(),
        dialect: Dialect::Herd,
        pace: task.pace,
        connections,
        pipeline: task.pipeline,
        clients: 0..100_000,
        whatsat_percent: 0,
        idle: 0,
        is_tls: false,
        is_awake: cores() > 1,
        looks_every: None,
        warm_up: Duration::ZERO,
        duration: Duration::ZERO,
    }
}
