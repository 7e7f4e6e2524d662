//! How one side of a trial is measured: servers are started, loaded and asked what they have done.
//! Apart from which sides there are.

use std::process::Command;
use std::thread;
use std::time::Duration;

use crate::herd::{Herd, Plan};
use crate::load::{Figures, Loading, Span};
use crate::machine::{self, Running, free_ports, pinned, said};
use crate::trial::{CPU, DONE, FREE, Found, LOOP, P50, P99, RATE};

/// A load that fills a server with clients takes this long at first, and twice as long each time
/// that it was too short.
const FILL_AT_FIRST: Duration = Duration::from_secs(2);
const FILLS_MAX: usize = 6;

/// What servers are loaded with, all of them together.
#[derive(Clone, Copy)]
pub struct Load {
    pub connections: usize,
    pub pipeline: u64,
    pub clients: u64,
    pub whatsat_percent: u64,
    /// All clients are known before it begins.
    pub is_filled: bool,
    /// It sleeps until answers come, and leaves its core to others meanwhile.
    pub is_asleep: bool,
}

/// Loads each front of a herd with its share.
pub fn herd(plan: &Plan, load: Load, span: Span) -> Result<Found, String> {
    let herd = Herd::start(plan)?;
    let is_front = |name: &str| name.starts_with("Front");
    let fronts: Vec<_> = herd.servers.iter().filter(|server| is_front(&server.name)).collect();
    if load.is_filled {
        fill(&herd, load.clients)?;
    }
    let targets: Vec<_> =
        fronts.iter().map(|server| (server.clients, vec![server.pid()])).collect();
    let before = herd.status()?;
    let busy = fronts[0].loop_time();
    let (mut found, asked) = loaded(&targets, load, plan.is_pinned, span)?;
    if let (Ok(before), Ok(after), 1) = (busy, fronts[0].loop_time(), fronts.len()) {
        found.push((LOOP, (after - before).as_secs_f64() * 1e6 / asked));
    }
    let after = herd.status()?;
    if plan.is_logged {
        let lines: u64 = after.iter().map(|status| 2 * status.lines_in).sum();
        let dropped: u64 = after.iter().map(|status| status.log_lines_dropped).sum();
        found.push((DONE, 100.0 * (1.0 - dropped as f64 / lines as f64)));
    } else if after.len() > 1 {
        // Each report is news to every server, unless it is flooded too late.
        let news = after
            .iter()
            .zip(&before)
            .map(|(after, before)| after.reports_news - before.reports_news);
        let reports = asked * (100 - load.whatsat_percent) as f64 / 100.0;
        found.push((DONE, 100.0 * news.sum::<u64>() as f64 / (reports * after.len() as f64)));
    }
    if !plan.is_pinned {
        // With a core for each server, all of them are busy for as long as each costs.
        let cpu = found.iter().find(|(name, _)| *name == CPU).map_or(f64::NAN, |(_, us)| *us);
        found.push((FREE, fronts.len() as f64 * 1e6 / cpu));
    }
    Ok(found)
}

/// Loads servers that keep nothing, and one store that they ask.
pub fn central(servers: usize, load: Load, span: Span) -> Result<Found, String> {
    let store = Store::start()?;
    let servers: Vec<_> = (0..servers).map(|_| store.server()).collect::<Result<_, _>>()?;
    let mut targets: Vec<_> =
        servers.iter().map(|(port, server)| (*port, vec![server.pid()])).collect();
    // What the store costs is counted with the first: in the end, all is added.
    targets[0].1.push(store.running.pid());
    loaded(&targets, load, false, span).map(|(found, _)| found)
}

/// A Redis, in memory only.
pub struct Store {
    port: u16,
    running: Running,
}

impl Store {
    pub fn start() -> Result<Store, String> {
        let port = free_ports(1)[0];
        let mut redis = Command::new("redis-server");
        redis.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
        redis.arg(port.to_string());
        Ok(Store { port, running: Running::start(redis, port)? })
    }

    /// A server that asks it, and its port.
    pub fn server(&self) -> Result<(u16, Running), String> {
        let port = free_ports(1)[0];
        let this = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(this);
        command.arg("--central").arg(port.to_string()).arg("--store").arg(self.port.to_string());
        Ok((port, Running::start(command, port)?))
    }

    pub fn is_missing() -> bool {
        said("redis-server", &["--version"]).is_none()
    }
}

/// One load for each port, all at a time. Rates are added; CPU time is that of all requests;
/// latencies are the worst of the loads'. Gives also how much was asked, warm-up included.
fn loaded(
    targets: &[(u16, Vec<u32>)],
    load: Load,
    is_pinned: bool,
    span: Span,
) -> Result<(Found, f64), String> {
    let connections = load.connections / targets.len();
    let clients = load.clients / targets.len() as u64;
    let Load { pipeline, whatsat_percent, .. } = load;
    let asleep = if load.is_asleep { "--asleep" } else { "" };
    let mut loads = Vec::new();
    for (number, (port, pids)) in (0..).zip(targets) {
        let flags = format!(
            "-c {connections} -p {pipeline} --whatsat {whatsat_percent} --clients {clients} \
             --clients-from {} {asleep}",
            number * clients
        );
        let bench = if is_pinned { pinned(1, machine::herd()) } else { machine::herd() };
        loads.push(Loading::begin(bench, (*port, pids), &flags, span)?);
    }
    let figures: Vec<_> = loads.into_iter().map(Loading::end).collect::<Result<_, _>>()?;
    let all = |path: &str| -> Vec<f64> {
        figures.iter().map(|figures: &Figures| figures.number(path).unwrap_or(f64::NAN)).collect()
    };
    let rates = all("/answers_per_second");
    let rate: f64 = rates.iter().sum();
    let cpu: f64 = all("/cpu_us_per_answer").iter().zip(&rates).map(|(us, rate)| us * rate).sum();
    let worst = |path| all(path).into_iter().fold(f64::NAN, f64::max);
    let mut found = vec![
        (RATE, rate),
        (CPU, cpu / rate),
        (P50, worst("/latency_us/p50")),
        (P99, worst("/latency_us/p99")),
    ];
    // Where nothing was answered, there are no latencies, and no cost of an answer.
    found.retain(|(_, value)| !value.is_nan());
    Ok((found, all("/asked").iter().sum()))
}

/// Makes so many clients known. Gives the first server's resident bytes before and after.
fn fill(herd: &Herd, clients: u64) -> Result<(f64, f64), String> {
    let server = &herd.servers[0];
    let mut before = None;
    for attempt in 0..FILLS_MAX {
        let span = Span { warm_up: Duration::ZERO, measure: FILL_AT_FIRST * (1 << attempt) };
        let flags = format!("-c 10 -p 128 --clients {clients}");
        let bench = pinned(1, machine::herd());
        let loading = Loading::begin(bench, (server.clients, &[server.pid()]), &flags, span)?;
        let figures = loading.end()?;
        let number = |path| figures.number(path).unwrap_or(f64::NAN);
        let before = *before.get_or_insert(number("/resident_bytes_before"));
        if herd.status()?[0].clients_known >= clients {
            return Ok((before, number("/resident_bytes_after")));
        }
    }
    Err(format!("{clients} clients are not known after {FILLS_MAX} loads"))
}

/// What a client that is known costs in memory.
pub fn memory(clients: u64) -> Result<Found, String> {
    let herd = Herd::start(&Plan { is_pinned: true, ..Plan::of(1, 0) })?;
    let (before, after) = fill(&herd, clients)?;
    Ok(vec![("bytes", (after - before) / clients as f64)])
}

/// What a connection that says nothing costs in memory.
pub fn idle(connections: usize, span: Span) -> Result<Found, String> {
    let herd = Herd::start(&Plan { is_pinned: true, ..Plan::of(1, 0) })?;
    // Whatever a server makes for itself in the beginning is no connection's.
    thread::sleep(span.warm_up);
    let server = &herd.servers[0];
    let span = Span { warm_up: Duration::ZERO, measure: Duration::from_millis(100) };
    let flags = format!("--idle {connections}");
    let bench = pinned(1, machine::herd());
    let figures = Loading::begin(bench, (server.clients, &[server.pid()]), &flags, span)?.end()?;
    let bytes = figures.number("/resident_bytes_per_idle").unwrap_or(f64::NAN);
    Ok(vec![("bytes", bytes)])
}
