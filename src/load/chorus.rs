//! Several loads that measure at the same time, and what came of them together.
//!
//! One process has not descriptors enough for all connections that a machine can hold. So each load
//! is a process, and this is what they tell each other: JSON, for the process that began them.

use serde::{Deserialize, Serialize};

use super::Heard;
use super::findings::LatencyUs;
use super::tally::Tally;

/// What one load says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Voice {
    /// How long was measured.
    pub seconds: f64,
    /// Answers that came in this time.
    pub answers: u64,
    /// Requests from the first connection on.
    pub asked: u64,
    /// What was due and never sent, because no connection had room for it.
    pub unsent: u64,
    pub errors: u64,
    pub first_error: Option<String>,
    /// Each latency in nanoseconds, to three digits, and how often it was measured.
    latencies: Vec<(u64, u64)>,
}

impl Voice {
    pub(super) fn of(heard: &Heard<'_>) -> Voice {
        Voice {
            seconds: heard.costs.elapsed.as_secs_f64(),
            answers: heard.tally.measured,
            asked: heard.tally.asked,
            unsent: heard.unsent,
            errors: heard.errors.total(),
            first_error: heard.tally.sample.clone(),
            latencies: heard.tally.latencies(),
        }
    }
}

/// All of them together.
#[derive(Clone, Debug, Serialize)]
pub struct Chorus {
    pub answers: u64,
    /// By the time of the load that took longest.
    pub answers_per_second: f64,
    /// Of all answers; not of the loads.
    pub latency_us: Option<LatencyUs>,
    pub asked: u64,
    pub unsent: u64,
    pub errors: u64,
    pub first_error: Option<String>,
}

impl Chorus {
    pub fn of(voices: &[Voice]) -> Chorus {
        let sum = |of: fn(&Voice) -> u64| voices.iter().map(of).sum();
        let mut tally = Tally::new();
        tally.is_measuring = true;
        for (latency_ns, times) in voices.iter().flat_map(|voice| &voice.latencies) {
            tally.hear(*times, *latency_ns);
        }
        let seconds = voices.iter().map(|voice| voice.seconds).fold(0.0, f64::max);
        let answers: u64 = sum(|voice| voice.answers);
        Chorus {
            answers,
            answers_per_second: answers as f64 / seconds.max(f64::MIN_POSITIVE),
            latency_us: tally.latency().map(LatencyUs::from),
            asked: sum(|voice| voice.asked),
            unsent: sum(|voice| voice.unsent),
            errors: sum(|voice| voice.errors),
            first_error: voices.iter().find_map(|voice| voice.first_error.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn voice(seconds: f64, latencies: &[(u64, u64)], errors: u64) -> Voice {
        let answers = latencies.iter().map(|(_, times)| times).sum();
        Voice {
            seconds,
            answers,
            asked: answers + 1,
            unsent: 2,
            errors,
            first_error: (errors > 0).then(|| "? no".to_owned()),
            latencies: latencies.to_vec(),
        }
    }

    #[test]
    fn percentiles_are_those_of_all_answers() {
        let quick = voice(10.0, &[(1_000_000, 980)], 0);
        let slow = voice(20.0, &[(1_000_000, 5), (800_000_000, 15)], 3);
        let said = serde_json::to_string(&slow).unwrap();
        let chorus = Chorus::of(&[quick, serde_json::from_str(&said).unwrap()]);
        let latency = chorus.latency_us.unwrap();
        assert!((latency.p50 - 1e3).abs() < 2.0, "{latency:?}");
        assert!((latency.p99 - 8e5).abs() < 1e3, "{latency:?}");
        assert_eq!((chorus.answers, chorus.asked, chorus.unsent), (1_000, 1_002, 4));
        assert_eq!((chorus.errors, chorus.first_error.as_deref()), (3, Some("? no")));
        assert!((chorus.answers_per_second - 50.0).abs() < 0.01);
    }

    #[test]
    fn nobody_has_nothing_to_say() {
        let chorus = Chorus::of(&[]);
        assert!(chorus.answers == 0 && chorus.latency_us.is_none());
    }
}
