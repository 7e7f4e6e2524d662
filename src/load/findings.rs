//! The report on a load: for people, a few lines; for machines, JSON.
//!
//! It divides and rounds, and says which figure is worth nothing.

use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::tally::{Errors, Latency};
use super::{Dialect, Heard, Pace, Plan};

/// A load that needs this much of its core may be slower than the server.
const BUSY_PERCENT: f64 = 95.0;

/// Durations are in the unit that ends their names; what is not known is null.
#[derive(Clone, Debug, Serialize)]
pub struct Findings {
    pub server: String,
    pub protocol: Dialect,
    pub mode: &'static str,
    pub connections: usize,
    pub pipeline: u64,
    pub clients: u64,
    pub whatsat_percent: u64,
    /// Requests a second that should have been sent, in an open loop.
    pub rate: Option<u64>,
    pub idle: usize,
    pub warm_up_s: f64,
    /// How long was measured.
    pub seconds: f64,
    /// Good and bad ones that came in this time.
    pub answers: u64,
    pub answers_per_second: f64,
    pub latency_us: Option<LatencyUs>,
    /// From the first connection to the last late answer, as the errors are.
    pub asked: u64,
    pub answered: u64,
    /// What was due in an open loop and never sent, because no connection had room for it.
    pub unsent: u64,
    pub errors: Errors,
    pub errors_total: u64,
    pub first_error: Option<String>,
    /// The server's, in the measured time.
    pub cpu_us_per_answer: Option<f64>,
    pub cpu_percent: Option<f64>,
    /// The load's own, without waiting: near 100 it is the load that was measured.
    pub load_cpu_percent: Option<f64>,
    pub resident_bytes_before: Option<u64>,
    pub resident_bytes_after: Option<u64>,
    pub resident_bytes_per_idle: Option<f64>,
}

#[derive(Clone, Copy, Debug, Serialize)]
pub struct LatencyUs {
    pub mean: f64,
    pub p50: f64,
    pub p90: f64,
    pub p99: f64,
    pub p99_9: f64,
    pub max: f64,
}

impl From<Latency> for LatencyUs {
    fn from(latency: Latency) -> LatencyUs {
        let us = |duration: Duration| duration.as_secs_f64() * 1e6;
        LatencyUs {
            mean: us(latency.mean),
            p50: us(latency.p50),
            p90: us(latency.p90),
            p99: us(latency.p99),
            p99_9: us(latency.p99_9),
            max: us(latency.max),
        }
    }
}

/// The line of latencies.
impl fmt::Display for LatencyUs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [p50, p90, p99, p99_9, max] =
            [self.p50, self.p90, self.p99, self.p99_9, self.max].map(spoken_us);
        write!(f, "p50 {p50}  p90 {p90}  p99 {p99}  p99.9 {p99_9}  max {max}")
    }
}

impl Findings {
    pub(super) fn of(plan: &Plan, heard: &Heard<'_>) -> Findings {
        let Heard { tally, errors, unsent, costs, memory } = heard;
        let seconds = costs.elapsed.as_secs_f64();
        let percent = |used: Duration| 100.0 * used.as_secs_f64() / seconds;
        let answers = tally.measured;
        let us = |duration: Duration| duration.as_secs_f64() * 1e6;
        let per_answer = |used| (answers > 0).then(|| us(used) / answers as f64);
        let per_idle =
            |(before, idle): (u64, u64)| (idle as f64 - before as f64) / plan.idle as f64;
        Findings {
            server: plan.address.to_string(),
            protocol: plan.dialect,
            mode: mode(plan),
            connections: plan.connections,
            pipeline: plan.pipeline,
            clients: plan.clients.end - plan.clients.start,
            whatsat_percent: plan.whatsat_percent,
            rate: rate(plan),
            idle: plan.idle,
            warm_up_s: plan.warm_up.as_secs_f64(),
            seconds,
            answers,
            answers_per_second: answers as f64 / seconds,
            latency_us: tally.latency().map(LatencyUs::from),
            asked: tally.asked,
            answered: tally.answered,
            unsent: *unsent,
            errors_total: errors.total(),
            errors: errors.clone(),
            first_error: tally.sample.clone(),
            cpu_us_per_answer: costs.server.and_then(per_answer),
            cpu_percent: costs.server.map(percent),
            load_cpu_percent: costs.own.map(percent),
            resident_bytes_before: memory.before,
            resident_bytes_after: memory.after,
            resident_bytes_per_idle: memory
                .before
                .zip(memory.idle)
                .filter(|_| plan.idle > 0)
                .map(per_idle),
        }
    }
}

fn mode(plan: &Plan) -> &'static str {
    match plan.pace {
        _ if plan.connections == 0 => "idle",
        Pace::Closed => "closed loop",
        Pace::PerSecond(_) => "open loop",
        Pace::Reconnect => "reconnect",
        Pace::Connect => "connect",
    }
}

fn rate(plan: &Plan) -> Option<u64> {
    match plan.pace {
        Pace::PerSecond(rate) => Some(rate),
        Pace::Closed | Pace::Reconnect | Pace::Connect => None,
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_question(f)?;
        if self.connections > 0 {
            let (answers, a_second) =
                (grouped(self.answers), grouped(self.answers_per_second as u64));
            writeln!(f, "answers   {answers}, that is {a_second} a second")?;
        }
        if let Some(latency) = &self.latency_us {
            writeln!(f, "latency   {latency}")?;
        }
        self.write_costs(f)?;
        self.write_errors(f)
    }
}

impl Findings {
    fn write_question(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.server, self.mode)?;
        if let Some(rate) = self.rate {
            write!(f, " at {} a second", grouped(rate))?;
        }
        if self.connections > 0 {
            let connections = counted(self.connections as u64, "connection");
            write!(f, ", {connections}, pipeline {}", self.pipeline)?;
            write!(f, ", {}", counted(self.clients, "client"))?;
        }
        if self.whatsat_percent > 0 {
            write!(f, ", {} % WHATSAT", self.whatsat_percent)?;
        }
        if self.idle > 0 {
            write!(f, ", {}", counted(self.idle as u64, "idle connection"))?;
        }
        writeln!(f, "; {:.1} s after {:.1} s of warm-up", self.seconds, self.warm_up_s)
    }

    fn write_costs(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = Vec::new();
        said.extend(self.cpu_us_per_answer.map(|us| format!("{us:.2} µs of CPU an answer")));
        said.extend(self.cpu_percent.map(|percent| format!("{percent:.0} % of a core")));
        let mib = |bytes: u64| format!("{:.1} MB", bytes as f64 / 1e6);
        if let Some((before, after)) = self.resident_bytes_before.zip(self.resident_bytes_after) {
            said.push(format!("{} resident ({} before)", mib(after), mib(before)));
        }
        let per_idle = self.resident_bytes_per_idle;
        said.extend(per_idle.map(|bytes| format!("{bytes:.0} bytes an idle connection")));
        if !said.is_empty() {
            writeln!(f, "server    {}", said.join(", "))?;
        }
        let Some(percent) = self.load_cpu_percent.filter(|_| self.connections > 0) else {
            return Ok(());
        };
        let doubt = if percent > BUSY_PERCENT { ": the load may be what was measured" } else { "" };
        writeln!(f, "load      {percent:.0} % of a core{doubt}")
    }

    fn write_errors(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unsent > 0 {
            let unsent = grouped(self.unsent);
            writeln!(f, "unsent    {unsent} that were due: the server did not keep up")?;
        }
        let Errors { refused, wrong, missing, unasked, lost } = self.errors;
        let kinds = [
            (refused, "refused"),
            (wrong, "wrong"),
            (missing, "missing"),
            (unasked, "unasked"),
            (lost, if lost == 1 { "connection lost" } else { "connections lost" }),
        ];
        let found = kinds.iter().filter(|(count, _)| *count > 0);
        let found: Vec<_> =
            found.map(|(count, kind)| format!("{} {kind}", grouped(*count))).collect();
        let asked = counted(self.asked, "request");
        match (&*found, &self.first_error) {
            ([], _) if self.asked == 0 => writeln!(f, "errors    none; nothing was asked"),
            ([], _) => writeln!(f, "errors    none in {asked}"),
            (_, None) => writeln!(f, "errors    {} of {asked}", found.join(", ")),
            (_, Some(first)) => {
                writeln!(f, "errors    {} of {asked}; the first: {first}", found.join(", "))
            }
        }
    }
}

/// 1234567 as 1,234,567.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// So many of a thing, in words.
fn counted(number: u64, thing: &str) -> String {
    format!("{} {thing}{}", grouped(number), if number == 1 { "" } else { "s" })
}

fn spoken_us(us: f64) -> String {
    match us {
        _ if us < 1e3 => format!("{us:.0} µs"),
        _ if us < 1e5 => format!("{:.2} ms", us / 1e3),
        _ if us < 1e6 => format!("{:.0} ms", us / 1e3),
        _ => format!("{:.2} s", us / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Tally;
    use super::super::{Costs, Memory};
    use super::*;

    #[test]
    fn numbers_are_spoken() {
        let check = |number, expected: &str| assert_eq!(grouped(number), expected);
        check(0, "0");
        check(999, "999");
        check(1_000, "1,000");
        check(1_234_567, "1,234,567");
        let check = |us, expected: &str| assert_eq!(spoken_us(us), expected);
        check(17.4, "17 µs");
        check(1_234.0, "1.23 ms");
        check(123_456.0, "123 ms");
        check(2_500_000.0, "2.50 s");
    }

    fn findings(pace: Pace, sample: &[&str], costs: Costs) -> String {
        let plan = Plan {
            address: "127.0.0.1:12000".parse().unwrap(),
            pids: Vec::new(),
            dialect: Dialect::Herd,
            pace,
            connections: 50,
            pipeline: 16,
            clients: 0..1_000,
            whatsat_percent: 0,
            idle: 0,
            is_tls: false,
            is_awake: false,
            looks_every: None,
            warm_up: Duration::from_secs(1),
            duration: Duration::from_secs(2),
        };
        let mut tally = Tally::new();
        tally.asked = 2_000;
        tally.is_measuring = true;
        tally.hear(2_000, 1_000_000);
        sample.iter().for_each(|line| tally.keep_sample(line.as_bytes()));
        let errors = Errors { refused: sample.len() as u64, ..Errors::default() };
        let memory = Memory { before: None, idle: None, after: None };
        Findings::of(&plan, &Heard { tally: &tally, errors, unsent: 3, costs, memory }).to_string()
    }

    #[test]
    fn what_is_not_known_is_not_told() {
        let known = Some(Duration::from_secs(1));
        let costs = Costs { elapsed: Duration::from_secs(2), server: known, own: known };
        let text = findings(Pace::Closed, &[], costs);
        assert!(text.contains("closed loop, 50 connections, pipeline 16, 1,000 clients; 2.0 s"));
        assert!(text.contains("answers   2,000, that is 1,000 a second"), "{text}");
        assert!(text.contains("500.00 µs of CPU an answer, 50 % of a core\n"), "{text}");
        assert!(text.contains("errors    none in 2,000 requests"), "{text}");
        let costs = Costs { server: None, own: None, ..costs };
        let text = findings(Pace::PerSecond(9_000), &["? no", "? not"], costs);
        assert!(text.contains("open loop at 9,000 a second"), "{text}");
        assert!(text.contains("errors    2 refused of 2,000 requests; the first: ? no"), "{text}");
        assert!(!text.contains("CPU") && text.contains("unsent    3 "), "{text}");
    }

    #[test]
    fn a_busy_load_is_doubted() {
        let used = Some(Duration::from_secs(2));
        let costs = Costs { elapsed: Duration::from_secs(2), server: None, own: used };
        assert!(findings(Pace::Closed, &[], costs).contains("the load may be what was measured"));
        let costs = Costs { own: used.map(|used| used / 2), ..costs };
        assert!(!findings(Pace::Closed, &[], costs).contains("may be what"));
    }
}
