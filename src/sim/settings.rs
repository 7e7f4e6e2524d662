//! How a simulated server is set up, unless a seed says otherwise.

use std::time::Duration;

use herd_core::{Limits, PeerSettings, Settings};

/// How long an answer of the places may take.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(800);
/// Answers that may wait on one connection.
pub const WAITS_MAX: usize = 4;

/// Settings with shorter timeouts than an operator's: a simulated herd heals within seconds.
pub fn settings(name: &str, peers: Vec<PeerSettings>, seed: u64) -> Settings {
    Settings {
        answer_timeout: ANSWER_TIMEOUT,
        limits: Limits { waits_max: WAITS_MAX, clients_max: 1_000_000, ..Limits::default() },
        seed,
        ..Settings::new(name, "sim", peers)
    }
}
