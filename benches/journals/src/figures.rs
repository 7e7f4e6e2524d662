//! Medians and ranges, as the other benches print them.

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// Lines of Markdown.
pub struct Table {
    pub head: String,
    pub rows: Vec<String>,
}

impl Table {
    pub fn new(columns: &[&str]) -> Table {
        let rule = "---:|".repeat(columns.len() - 1);
        Table { head: format!("| {} |\n|---|{rule}", columns.join(" | ")), rows: Vec::new() }
    }

    /// A row of figures, each of them in every round.
    pub fn add(&mut self, name: &str, figures: &[Vec<f64>]) {
        let cells: Vec<_> = figures.iter().map(|figure| cell(figure)).collect();
        self.rows.push(format!("| {name} | {} |", cells.join(" | ")));
    }
}

fn cell(found: &[f64]) -> String {
    let mut sorted = found.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.as_slice() {
        [] => "–".to_owned(),
        [only] => short(*only),
        [least, .., most] => {
            let middle = short(quantile(&sorted, 0.5));
            format!("{middle} [{}–{}]", short(*least), short(*most))
        }
    }
}

fn short(number: f64) -> String {
    match number {
        _ if number >= 99.5 => format!("{number:.0}"),
        _ if number >= 9.95 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

/// Of numbers in order.
pub fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get((share * last as f64).round() as usize).copied().unwrap_or(f64::NAN)
}

/// How long some things took, in microseconds.
#[derive(Default)]
pub struct Times(Vec<f64>);

impl Times {
    pub fn add(&mut self, took: Duration) {
        self.0.push(took.as_secs_f64() * 1e6);
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Those that so large a share did not exceed.
    pub fn quantiles<const N: usize>(mut self, shares: [f64; N]) -> [f64; N] {
        self.0.sort_by(f64::total_cmp);
        shares.map(|share| quantile(&self.0, share))
    }
}

/// The processor time of all threads.
pub fn cpu() -> Duration {
    let now = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(now.tv_sec as u64, now.tv_nsec as u32)
}
