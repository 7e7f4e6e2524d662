//! How a simulated server is set up, unless a seed says otherwise. Apart from `body`, which is the
//! same for all of them.

use std::time::Duration;

use crate::core::{PeerSettings, Settings};

/// How long an answer of the places may take.
pub const PATIENCE: Duration = Duration::from_millis(800);
/// Answers that may wait on one connection.
pub const WAITS_MAX: usize = 4;

/// Settings as a preset has them, with a shorter patience: a simulated herd heals within seconds.
pub fn settings(name: &str, peers: Vec<PeerSettings>, seed: u64) -> Settings {
    Settings {
        name: name.as_bytes().into(),
        herd: b"sim".to_vec(),
        peers,
        plain_names: Vec::new(),
        stale_reply_stored: false,
        close_after_reply: false,
        answer_patience: PATIENCE,
        waits_max: WAITS_MAX,
        strangers_max: 64,
        clients_max: 1_000_000,
        store_bytes_max: usize::MAX,
        id_bytes_max: 8_192,
        peer_owed_max: 256 * 1024,
        greeting_patience: Duration::from_millis(500),
        ping_after: Duration::from_secs(1),
        silence_max: Duration::from_secs(3),
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_millis(200),
        seed,
        keys: Vec::new(),
        ahead_max: None,
        expire_after: None,
        compare_every: None,
        nonce_key: [7; 32],
    }
}
