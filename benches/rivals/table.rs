//! What came of the race, in Markdown for people and in CSV for programs. Apart from the chart,
//! which shows less of it.

use std::fmt::Write;

use crate::machine::{fine, median, short, spread};
use crate::race::{Aim, Load, Measurement, all_of, median_number, median_of};
use crate::rivals::Rival;

/// What a table is made of, and who is in it.
struct Results<'a> {
    rivals: &'a [Rival],
    loads: &'a [Load],
    all: &'a [Measurement],
}

/// Three tables: requests a second; CPU time a request, with the memory of who is idle; and how
/// late the answers are, with what a server takes before it is asked anything.
///
/// `base` is what figures are compared with.
pub fn write(rivals: &[Rival], loads: &[Load], all: &[Measurement], base: &str) -> String {
    let results = Results { rivals, loads, all };
    let rates = results.loads_for(|aim| matches!(aim, Aim::Rate { .. }));
    let mut text = format!("Requests a second; in parentheses, of {base}'s:\n\n");
    results.write_one(&mut text, &results.names(&rates), |rival| {
        rates.iter().map(|load| results.cell(rival, *load, RATE, short)).collect()
    });

    text += "\nMicroseconds of the server's CPU time a request; ";
    text += &format!("in parentheses, of {base}'s. For those who are idle,\n");
    text += "resident bytes a connection:\n\n";
    let idle = results.loads_for(|aim| aim == Aim::Idle);
    let columns = [rates.as_slice(), &idle].concat();
    results.write_one(&mut text, &results.names(&columns), |rival| {
        let cpu = rates.iter().map(|load| results.cell(rival, *load, "/cpu_us_per_answer", fine));
        let whole = |bytes| format!("{bytes:.0}");
        let path = "/resident_bytes_per_idle";
        let bytes = idle.iter().map(|load| results.plain_cell(rival, *load, path, whole));
        cpu.chain(bytes).collect()
    });

    text +=
        &format!("\nMicroseconds until an answer comes (in parentheses, of {base}'s), the start ");
    text += "in milliseconds, megabytes\nresident after one request, lines of code:\n\n";
    let lone = results.loads_for(|aim| aim == Aim::Lone);
    let pace = results.loads_for(|aim| aim == Aim::Pace);
    let mut heads: Vec<_> = lone.iter().map(|load| format!("{}: p50", loads[*load].name)).collect();
    for percentile in ["p50", "p99", "p99.9"] {
        heads.extend(pace.iter().map(|load| format!("{}: {percentile}", loads[*load].name)));
    }
    heads.extend(["start", "memory", "lines"].map(str::to_owned));
    results.write_one(&mut text, &heads, |rival| results.late_cells(rival, &lone, &pace));
    for (mark, meaning) in [(SOMETIMES, SOMETIMES_MEANS), (ALWAYS, ALWAYS_MEANS)] {
        if text.contains(mark) {
            text += &format!("\n{mark} {meaning}\n");
        }
    }
    text
}

impl Results<'_> {
    fn loads_for(&self, is_meant: impl Fn(Aim) -> bool) -> Vec<usize> {
        (0..self.loads.len()).filter(|load| is_meant(self.loads[*load].aim)).collect()
    }

    fn names(&self, loads: &[usize]) -> Vec<String> {
        loads.iter().map(|load| self.loads[*load].name.to_owned()).collect()
    }

    /// Rows without any figure are left out.
    fn write_one(&self, text: &mut String, heads: &[String], row: impl Fn(usize) -> Vec<String>) {
        *text += &format!("| | {} |\n|---|{}\n", heads.join(" | "), "---:|".repeat(heads.len()));
        for (number, rival) in self.rivals.iter().enumerate() {
            let cells = row(number);
            if cells.iter().all(|cell| cell == NOTHING) {
                continue;
            }
            let name =
                if rival.is_ours { format!("**{}**", rival.name) } else { rival.name.clone() };
            *text += &format!("| {name} | {} |\n", cells.join(" | "));
        }
    }

    fn late_cells(&self, rival: usize, lone: &[usize], pace: &[usize]) -> Vec<String> {
        let whole = |us: f64| format!("{us:.0}");
        let mut cells: Vec<_> =
            lone.iter().map(|load| self.cell(rival, *load, "/latency_us/p50", whole)).collect();
        for path in ["/latency_us/p50", "/latency_us/p99", "/latency_us/p99_9"] {
            cells.extend(pace.iter().map(|load| self.plain_cell(rival, *load, path, whole)));
        }
        let load = lone.first().copied().unwrap_or_default();
        let started = median_of(self.all, rival, load, |result| result.started_ms);
        cells.push(told(started, whole));
        let megabytes = |bytes: f64| format!("{:.1}", bytes / 1e6);
        cells.push(self.plain_cell(rival, load, "/resident_bytes_before", megabytes));
        cells.push(told(self.rivals[rival].lines.map(|lines| lines as f64), whole));
        cells
    }

    fn plain_cell(
        &self,
        rival: usize,
        load: usize,
        path: &str,
        spoken: impl Fn(f64) -> String,
    ) -> String {
        let figure = median_number(self.all, rival, load, path);
        told(figure, &spoken) + &self.spread(rival, load, path, spoken)
    }

    fn spread(
        &self,
        rival: usize,
        load: usize,
        path: &str,
        spoken: impl Fn(f64) -> String,
    ) -> String {
        spread(&all_of(self.all, rival, load, |it| it.found.as_ref().ok()?.number(path)), spoken)
    }

    /// A figure, and its ratio to the limit's.
    fn cell(
        &self,
        rival: usize,
        load: usize,
        path: &str,
        spoken: impl Fn(f64) -> String,
    ) -> String {
        let all = |rival| all_of(self.all, rival, load, |it| it.found.as_ref().ok()?.number(path));
        let found = all(rival);
        let Some(number) = median(found.clone()) else { return NOTHING.to_owned() };
        let spread = spread(&found, &spoken);
        let limit = self.rivals.iter().position(|rival| rival.is_limit);
        let limits = limit.filter(|limit| *limit != rival).map(all).unwrap_or_default();
        match median(limits.clone()) {
            Some(limit) if limit > 0.0 => {
                let mark = mark(&found, &limits, path == RATE);
                format!("{} ({:.2}){mark}{spread}", spoken(number), number / limit)
            }
            _ => spoken(number) + &spread,
        }
    }
}

/// Says of a figure that is better than the limit's how far it can be believed.
fn mark(found: &[f64], limits: &[f64], is_more_better: bool) -> &'static str {
    // What is better is more from here on.
    let sign = if is_more_better { 1.0 } else { -1.0 };
    let [found, limits] = [found, limits].map(|all| all.iter().map(|it| sign * it));
    let least = found.clone().fold(f64::INFINITY, f64::min);
    let most = limits.clone().fold(f64::NEG_INFINITY, f64::max);
    if median(found.collect()) <= median(limits.collect()) {
        ""
    } else if least > most {
        ALWAYS
    } else {
        SOMETIMES
    }
}

const NOTHING: &str = "–";
const SOMETIMES: &str = "†";
const SOMETIMES_MEANS: &str = "Better than the limit by less than the rounds differ.";
const ALWAYS: &str = "‡";
const ALWAYS_MEANS: &str = "Better than the limit in every round: benches/README.md says why.";
const RATE: &str = "/answers_per_second";

fn told(figure: Option<f64>, spoken: impl Fn(f64) -> String) -> String {
    figure.map_or_else(|| NOTHING.to_owned(), spoken)
}

/// What `herd bench` tells that the CSV repeats.
const PATHS: [&str; 10] = [
    RATE,
    "/cpu_us_per_answer",
    "/latency_us/p50",
    "/latency_us/p99",
    "/latency_us/p99_9",
    "/latency_us/max",
    "/resident_bytes_before",
    "/resident_bytes_after",
    "/resident_bytes_per_idle",
    "/load_cpu_percent",
];

/// Every measurement by itself. A figure that is not known is an empty field.
pub fn csv(rivals: &[Rival], loads: &[Load], results: &[Measurement]) -> String {
    let heads = PATHS.map(|path| path.trim_start_matches('/').replace('/', "_"));
    let mut text = format!("round,load,rival,lines,started_ms,{},error\n", heads.join(","));
    let spoken = |number: Option<f64>| number.map_or(String::new(), |n| format!("{n:.3}"));
    for result in results {
        let (load, rival) = (loads[result.load].name, &rivals[result.rival]);
        let mut fields = vec![
            (result.round + 1).to_string(),
            format!("\"{load}\""),
            format!("\"{}\"", rival.name),
            rival.lines.map_or(String::new(), |lines| lines.to_string()),
            spoken(result.started_ms),
        ];
        let (found, why) = match &result.found {
            Ok(figures) => (Some(figures), String::new()),
            Err(why) => (None, format!("\"{}\"", why.replace('"', "'").replace('\n', " "))),
        };
        let number = |path: &&str| spoken(found.and_then(|figures| figures.number(path)));
        fields.extend(PATHS.iter().map(number));
        fields.push(why);
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}", fields.join(","));
    }
    text
}
