//! What a load has received: how many answers, how late, and what was wrong.
//!
//! It only counts; it does not decide what is good.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Latencies above this are counted as this: no client waits so long.
const LATENCY_NS_MAX: u64 = 600 * 1_000_000_000;
/// Three digits: a percentile is wrong by less than a thousandth of itself.
const DIGITS: u8 = 3;
/// Bytes of a complaint that are shown.
const SAMPLE_BYTES_MAX: usize = 120;

/// All that can be wrong. Each of them makes the figures beside it worth less.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Errors {
    /// Answers that are complaints: `?` and its like.
    pub refused: u64,
    /// Answers to another question than was asked, as far as they were compared.
    pub wrong: u64,
    /// Requests whose answer did not come in time.
    pub missing: u64,
    /// Answers to which there is no request.
    pub unasked: u64,
    /// Connections that the server ended, or that could not be made.
    pub lost: u64,
}

impl Errors {
    pub fn total(&self) -> u64 {
        self.refused + self.wrong + self.missing + self.unasked + self.lost
    }
}

pub struct Tally {
    /// Since the load was made, introductions and warm-up included.
    pub asked: u64,
    pub answered: u64,
    pub errors: Errors,
    /// The first thing that was wrong.
    pub sample: Option<String>,
    /// Answers are measured only while this is so.
    pub is_measuring: bool,
    pub measured: u64,
    latencies: Histogram<u64>,
}

impl Tally {
    pub fn new() -> Tally {
        Tally {
            asked: 0,
            answered: 0,
            errors: Errors::default(),
            sample: None,
            is_measuring: false,
            measured: 0,
            latencies: Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS)
                .expect("invariant: these bounds are far enough apart"),
        }
    }

    /// So many answers came, so long after their requests.
    pub fn hear(&mut self, answers: u64, latency_ns: u64) {
        self.answered += answers;
        if self.is_measuring {
            self.measured += answers;
            self.latencies.saturating_record_n(latency_ns, answers);
        }
    }

    pub fn keep_sample(&mut self, line: &[u8]) {
        if self.sample.is_none() {
            let shown = &line[..line.len().min(SAMPLE_BYTES_MAX)];
            self.sample = Some(String::from_utf8_lossy(shown).trim_end().to_owned());
        }
    }

    /// Each latency that was measured, in nanoseconds, and how often.
    pub fn latencies(&self) -> Vec<(u64, u64)> {
        let recorded = self.latencies.iter_recorded();
        Vec::from_iter(recorded.map(|at| (at.value_iterated_to(), at.count_at_value())))
    }

    /// `None` if nothing was measured.
    pub fn latency(&self) -> Option<Latency> {
        let at = |percent| Duration::from_nanos(self.latencies.value_at_percentile(percent));
        (!self.latencies.is_empty()).then(|| Latency {
            mean: Duration::from_nanos(self.latencies.mean() as u64),
            p50: at(50.0),
            p90: at(90.0),
            p99: at(99.0),
            p99_9: at(99.9),
            max: Duration::from_nanos(self.latencies.max()),
        })
    }
}

/// How late answers came.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    pub mean: Duration,
    pub p50: Duration,
    pub p90: Duration,
    pub p99: Duration,
    pub p99_9: Duration,
    pub max: Duration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_the_measurement_is_only_counted() {
        let mut tally = Tally::new();
        tally.hear(5, 1_000_000_000);
        assert!(tally.latency().is_none());
        tally.is_measuring = true;
        tally.hear(90, 1_000);
        tally.hear(10, 5_000_000);
        assert_eq!((tally.answered, tally.measured), (105, 100));
        let latency = tally.latency().unwrap();
        let near =
            |found: Duration, ns: u64| found.as_nanos().abs_diff(ns.into()) <= ns as u128 / 500;
        assert!(near(latency.p50, 1_000) && near(latency.p90, 1_000));
        assert!(near(latency.p99, 5_000_000) && near(latency.max, 5_000_000));
    }

    #[test]
    fn the_first_complaint_is_kept_and_short() {
        let mut tally = Tally::new();
        tally.keep_sample(&[b'?'; 1_000]);
        tally.keep_sample(b"second");
        assert_eq!(tally.sample.unwrap(), "?".repeat(SAMPLE_BYTES_MAX));
    }
}
