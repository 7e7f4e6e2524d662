//! What a seed decides: the herd, how much goes wrong and how the clients behave. Apart because a
//! simulation is only as good as its bad luck, and here all of that can be seen at once.
//!
//! Mechanisms are switched off in part of the seeds. Where everything goes wrong all the time, the
//! repair of one mechanism hides the faults of another.

use std::time::Duration;

use fastrand::Rng;
use herd::config::presets::{PRESETS, Preset};

pub const MS: Duration = Duration::from_millis(1);

pub struct Chance {
    pub preset: &'static Preset,
    /// Clients that come, one after the other.
    pub talkers: usize,
    /// When the first of them may come.
    pub first_talk: Duration,
    /// Names that they choose from.
    pub ids: u32,
    pub id_bytes: usize,
    /// Servers' clocks differ by up to so many milliseconds.
    pub clocks_apart_ms: u64,
    /// Bytes that one direction of a connection holds; a small pipe is a slow reader.
    pub pipe_bytes: usize,
    pub peer_owed_max: usize,
    /// The longest that a piece is under way.
    pub latency_max: Duration,
    /// Faults until the herd is left in peace.
    pub faults: usize,
    /// Servers may crash or leave, and come back empty.
    pub restarts: bool,
    /// One dial in so many is refused; 0 for none.
    pub refused_one_in: u32,
    /// One answer of the places in so many comes too late or never.
    pub late_one_in: u32,
    /// Reports are nanoseconds apart, and many tie.
    pub ties: bool,
}

impl Chance {
    pub fn of_seed(seed: u64) -> Chance {
        let mut random = Rng::with_seed(seed);
        let calm = random.u32(0..4) == 0;
        let bulky = random.u32(0..8) == 0;
        let slow = bulky && random.bool();
        Chance {
            preset: &PRESETS[random.usize(0..PRESETS.len())],
            talkers: random.usize(10..60),
            first_talk: Duration::ZERO,
            ids: if bulky { 150 } else { random.u32(1..30) },
            id_bytes: if bulky { 1_000 } else { 0 },
            clocks_apart_ms: if random.bool() { 0 } else { 5_000 },
            pipe_bytes: if slow { 8 * 1024 } else { 1 << 20 },
            peer_owed_max: if slow { 8 * 1024 } else { 256 * 1024 },
            latency_max: MS * random.u32(1..60),
            faults: if calm { 0 } else { random.usize(1..12) },
            restarts: random.bool(),
            refused_one_in: if calm || random.bool() { 0 } else { 3 },
            late_one_in: if random.bool() { 0 } else { 3 },
            ties: random.bool(),
        }
    }

    /// A herd at its best: all are joined before the first client comes, and no client reports
    /// twice.
    pub fn without_faults(preset: &'static Preset) -> Chance {
        Chance {
            preset,
            talkers: 30,
            first_talk: Duration::from_secs(4),
            ids: u32::MAX,
            id_bytes: 0,
            clocks_apart_ms: 0,
            pipe_bytes: 1 << 20,
            peer_owed_max: 256 * 1024,
            latency_max: 30 * MS,
            faults: 0,
            restarts: false,
            refused_one_in: 0,
            late_one_in: 0,
            ties: false,
        }
    }
}
