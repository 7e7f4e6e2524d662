//! How long a report takes from one server of a herd of five to each of the four others, while
//! reports come at a fixed rate. Apart from the loads of `herd bench`, which see one server only.
//!
//! Method: to each of the four we are one more peer, which only listens. The time in a report is
//! the one at which it was due to be sent, so its age is known wherever it arrives, and a sender
//! that is late makes it older. A course peer would get a connection for each line, and those would
//! be what is measured.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hdrhistogram::Histogram;
use herd::config::presets;

use crate::herd::{Herd, Plan};
use crate::load::Span;
use crate::trial::{DONE, Found};

const PRESET: &str = "2023";
const CLIENTS: u64 = 10_000;
/// Who has heard nothing for so long will not hear the rest.
const SILENCE_MAX: Duration = Duration::from_secs(5);
const NS: u64 = 1_000_000_000;

/// When reports are due, in nanoseconds since 1970.
#[derive(Clone, Copy)]
struct Schedule {
    began_ns: u64,
    rate: u64,
    /// Those before are told, and not measured.
    first: u64,
    end: u64,
}

pub fn run(rate: u64, span: Span) -> Result<Found, String> {
    let herd = Herd::start(&plan())?;
    let listening = herd.servers[1..].iter().map(|server| join(&server.name, server.peers));
    let listening: Vec<_> = listening.collect::<Result<_, _>>()?;
    let teller = TcpStream::connect(("127.0.0.1", herd.servers[0].clients));
    let teller = teller.map_err(|error| error.to_string())?;

    let reports = |time: Duration| (time.as_secs_f64() * rate as f64) as u64;
    let first = reports(span.warm_up);
    let schedule = Schedule { began_ns: now_ns(), rate, first, end: first + reports(span.measure) };
    let listeners: Vec<_> =
        listening.into_iter().map(|peer| thread::spawn(move || hear(peer, schedule))).collect();
    tell(teller, schedule).map_err(|error| format!("the teller: {error}"))?;

    let mut ages = histogram();
    for listener in listeners {
        let heard = listener.join().map_err(|_| "a listener has died")?;
        let heard = heard.map_err(|error| format!("a listener: {error}"))?;
        ages.add(heard).map_err(|error| error.to_string())?;
    }
    let wanted = (herd.servers.len() - 1) as u64 * (schedule.end - schedule.first);
    let at = |percent| ages.value_at_percentile(percent) as f64 / 1e6;
    Ok(vec![
        ("p50 ms", at(50.0)),
        ("p99 ms", at(99.0)),
        ("max ms", ages.max() as f64 / 1e6),
        (DONE, 100.0 * ages.len() as f64 / wanted as f64),
    ])
}

/// The preset's servers and links, and a stranger beside each server but the first.
fn plan() -> Plan {
    let preset = presets::of_year(PRESET).expect("it is built in");
    let link = |(one, other): &(&str, &str)| ((*one).to_owned(), (*other).to_owned());
    let mut plan = Plan {
        servers: preset.servers.iter().map(|name| (*name).to_owned()).collect(),
        links: preset.links.iter().map(link).collect(),
        ..Plan::default()
    };
    for server in &preset.servers[1..] {
        plan.strangers.push(ear(server));
        plan.links.push((ear(server), (*server).to_owned()));
    }
    plan
}

/// The name of a peer that listens to this server.
pub fn ear(server: &str) -> String {
    format!("Ear-{server}")
}

/// Greets as a peer that knows nothing of digests and has no key, and waits to be greeted.
pub fn join(server: &str, port: u16) -> Result<BufReader<TcpStream>, String> {
    let greet = || {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(SILENCE_MAX))?;
        stream.write_all(
            format!("HERD/1 {} {server} herds {port:032x} -\n", ear(server)).as_bytes(),
        )?;
        let mut stream = BufReader::with_capacity(256 * 1024, stream);
        let mut greeting = String::new();
        stream.read_line(&mut greeting)?;
        Ok((stream, greeting))
    };
    let (stream, greeting) = greet().map_err(|error: std::io::Error| error.to_string())?;
    if greeting.starts_with(&format!("HERD/1 {server} ")) {
        Ok(stream)
    } else {
        Err(format!("{server} does not greet: `{}`", greeting.trim_end()))
    }
}

/// Sends each report when it is due, and throws the answers away.
fn tell(mut stream: TcpStream, schedule: Schedule) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let mut answers = stream.try_clone()?;
    let reader = thread::spawn(move || {
        let mut scratch = [0; 64 * 1024];
        while answers.read(&mut scratch).is_ok_and(|count| count > 0) {}
    });
    let (mut next, mut lines) = (0, Vec::new());
    while next < schedule.end {
        let now_ns = now_ns();
        lines.clear();
        while next < schedule.end && schedule.due_ns(next) <= now_ns {
            let (client, due_ns) = (next % CLIENTS, schedule.due_ns(next));
            let (seconds, nanos) = (due_ns / NS, due_ns % NS);
            writeln!(
                lines,
                "IAMAT client-{client:06}.example.org +34.068930-118.445127 {seconds}.{nanos:09}"
            )?;
            next += 1;
        }
        stream.write_all(&lines)?;
        // Sleeping leaves the processor to the servers. Waking up late makes reports older.
        thread::sleep(Duration::from_nanos(schedule.due_ns(next).saturating_sub(self::now_ns())));
    }
    stream.shutdown(Shutdown::Write)?;
    let _ = reader.join();
    Ok(())
}

/// The ages of all reports that count, until the last has come or nothing comes any more.
fn hear(mut peer: BufReader<TcpStream>, schedule: Schedule) -> std::io::Result<Histogram<u64>> {
    let mut ages = histogram();
    let (mut line, mut heard_at) = (String::new(), Instant::now());
    let wanted = schedule.end - schedule.first;
    while ages.len() < wanted && heard_at.elapsed() < SILENCE_MAX {
        line.clear();
        if peer.read_line(&mut line)? == 0 {
            break;
        }
        let Some(due_ns) = line.strip_prefix("AT ").and_then(time_of) else { continue };
        let now_ns = now_ns();
        if due_ns >= schedule.due_ns(schedule.first) {
            ages.saturating_record(now_ns.saturating_sub(due_ns).max(1));
            heard_at = Instant::now();
        }
    }
    Ok(ages)
}

/// The last field, in nanoseconds since 1970.
fn time_of(report: &str) -> Option<u64> {
    let (seconds, nanos) = report.trim_end().rsplit(' ').next()?.split_once('.')?;
    Some(seconds.parse::<u64>().ok()? * NS + nanos.parse::<u64>().ok()?)
}

impl Schedule {
    fn due_ns(&self, report: u64) -> u64 {
        self.began_ns + report * NS / self.rate
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_bounds(1, 600 * NS, 3).expect("these bounds are far enough apart")
}

fn now_ns() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since_1970.as_nanos() as u64
}
