//! A bound on everything: each default with its unit and its reason.
//!
//! Apart from the code that keeps to them, so that all bounds can be seen, and related, in one
//! place. Names carry their unit last; durations are `Duration`s.

use std::time::Duration;

use serde::{Deserialize, Deserializer, de};

use super::durations;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

pub(super) const SECONDS_A_DAY: u64 = 24 * 60 * 60;

/// Longest name of a server or herd, in bytes: it stands in every AT line and in file names.
pub const NAME_BYTES_MAX: usize = 64;

/// What an AT line has above the IAMAT that it reports: the server's name and the skew, which has
/// at most 20 digits on either side of its point.
pub const AT_OVERHEAD_BYTES: usize = NAME_BYTES_MAX + 64;

/// What a line between peers with a key has at its end: " ~" and half a digest in 32 hex digits.
pub const LINE_TAG_BYTES: usize = 2 + 32;

/// Client ids of 1,000 bytes must work in any herd; eight times that is generous, and
/// still small enough that a hundred thousand half-sent lines fit into the memory.
pub const LINE_BYTES_MAX: usize = 8 * KIB;

/// Whoever sends this much without a newline is no client of ours, and is hung up on.
pub const ENDLESS_BYTES_MAX: usize = MIB;

/// Twice a client's line: whatever a client may say, its report fits.
pub const PEER_LINE_BYTES_MAX: usize = 16 * KIB;

/// What `peer_line_bytes_max` may be set to at most: the store counts a report's bytes in 16 bits.
pub const PEER_LINE_BYTES_CEILING: usize = 65_535;

/// Answers owed to a client that does not read. Above it we stop reading what it asks, so that TCP
/// pushes back; 64 KiB is what one write to the kernel takes at once on most systems.
pub const HIGH_WATER_BYTES: usize = 64 * KIB;

/// Nobody is owed more. All 64 waiting questions may be answered at once, each with some 40 kB if
/// Google has twenty results, and that must not end a client that only reads slowly.
pub const OUTBOX_BYTES_MAX: usize = 8 * MIB;

/// Floods owed to a slow peer. Above it floods are held back and repaired later, so that a peer
/// costs the same memory however long it is slow.
pub const PEER_OUTBOX_BYTES_MAX: usize = 256 * KIB;

/// Answers of one connection that may be outstanding; later commands stay in the kernel.
pub const WAITS_MAX: usize = 64;

/// A million clients are about 110 MB of reports. A client too many is refused where it reports
/// itself, and nowhere else: what one server has accepted, all accept, so this bound cannot make
/// them disagree. (A herd of N servers that fill up at the same time may hold N times as many.)
pub const CLIENTS_MAX: usize = 1_000_000;

/// Memory for the reports of a million clients that say as much as phones do, nine times over.
/// Whoever spells a position with thousands of digits is refused before the machine runs out.
pub const STORE_BYTES_MAX: usize = 1_000_000_000;

/// What `store_bytes_max` may be set to at most: places of records are counted in 32 bits.
const STORE_BYTES_CEILING: i64 = 32 << 30;

/// An id may be as long as a line has room for; an operator who knows the clients may want less.
pub const ID_BYTES_MAX: usize = LINE_BYTES_MAX;

/// New clients of one address in a second, and at once. An address may be a gateway of thousands; a
/// program that makes up ids fills no herd in less than hours.
pub const NEW_CLIENTS_PER_S: usize = 100;
pub const NEW_CLIENTS_AT_ONCE: usize = 10_000;

/// How far ahead of its server's clock a client's may be. A report from the year 9999 would keep
/// out all that its client says later, so one is refused where it is first told; a day forgives
/// every time zone that somebody took for another.
pub const CLIENT_AHEAD_MAX: Duration = Duration::from_secs(SECONDS_A_DAY);

/// Floods are heard at once, so this only finds what the world has broken: 100 bytes a link.
pub const COMPARE_EVERY: Duration = Duration::from_secs(30);

/// The clocks of two servers differ, and each takes a minute to look through what it holds, so one
/// forgets a report before the other does. All should have heard it long before.
pub const EXPIRE_MARGIN: Duration = Duration::from_secs(60);

/// Clients may be slow to speak again, but not for ever: each holds a descriptor.
pub const IDLE: Duration = Duration::from_secs(300);

/// Who connects without a word within this time is a scanner or has died.
pub const FIRST_BYTE: Duration = Duration::from_secs(30);

/// A line once begun is finished soon; dripping is how slow-loris attacks hold connections. What
/// has come of it by then is taken for all of it, for clients that send no newline.
pub const PARTIAL_LINE: Duration = Duration::from_secs(10);

/// A far end that takes not one byte of what it is owed for so long has died or attacks.
pub const WRITE_STALL: Duration = Duration::from_secs(10);

/// Three round trips around the world; a peer that needs longer is dialled again anyway.
pub const DIAL: Duration = Duration::from_secs(1);

/// From the connection to the end of the greeting: two round trips and a busy turn.
pub const GREETING: Duration = Duration::from_secs(2);

/// A peer that has said nothing for so long is asked for a sign of life.
pub const PING_AFTER: Duration = Duration::from_secs(10);

/// Three unanswered pings: the link is dead, whatever TCP believes.
pub const SILENCE_MAX: Duration = Duration::from_secs(30);

/// The first redial. Short, because most restarts take less than a second.
pub const BACKOFF_MIN: Duration = Duration::from_millis(100);

/// Between machines, a dial each five seconds for ever disturbs nobody.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);

/// On loopback a refused dial costs microseconds, and a server that comes back is to be joined
/// within half a second, however long it was away (PROTOCOL 6.11).
pub const PRESET_BACKOFF_MAX: Duration = Duration::from_millis(200);

/// How long a drain may take: the questions in flight get their whole deadline.
pub const DRAIN: Duration = Duration::from_secs(5);

/// How long a WHATSAT waits for places: longer than the slowest good answer of a remote service,
/// shorter than the patience of a test client.
pub const PLACES_DEADLINE: Duration = Duration::from_secs(5);

/// Longest place in an answer, in bytes of JSON: OpenStreetMap has no text above 1 KiB, and a place
/// has a name, an address and a few types.
pub const PLACE_BYTES_MAX: usize = 4 * KIB;

/// Longest `attribution`, in bytes: some name a dozen sources, each with a link.
pub const PLACES_ATTRIBUTION_BYTES_MAX: usize = 4 * KIB;

/// Longest answer about places, in bytes: twenty of the longest places, and whom they are from. All
/// questions that may wait on a connection can be answered at once.
pub const PLACES_ANSWER_BYTES_MAX: usize = 96 * KIB;

/// Threads that ask remote sources: at 100 ms an answer they give 40 a second.
pub const PLACES_WORKERS: usize = 4;

/// More threads than a service lets one client have connections, each with two descriptors.
const PLACES_WORKERS_MAX: i64 = 64;

/// What `queue_max` and `kept_max` may be at most: some kilobytes each.
const PLACES_MEMORY_MAX: i64 = 100_000;

/// What questions of one address may be set to at most: more than a loop has time for.
const PLACES_RATE_MAX: i64 = 1_000_000;

/// Questions that wait for a thread. At 40 a second the last of them would wait longer than its
/// deadline, so more of them would only be refused later.
pub const PLACES_QUEUE_MAX: usize = 256;

/// Google charges for each call; a day's worth costs about as much as a lunch.
pub const PLACES_CALLS_PER_DAY: usize = 1_000;

/// Half of what the public Overpass servers let one asker have in a day.
pub const OVERPASS_CALLS_PER_DAY: usize = 5_000;

/// Answers of Overpass that are kept: about 6 MB.
pub const PLACES_KEPT_MAX: usize = 1_000;

/// How long they are: shops open and close by the week.
pub const PLACES_KEPT: Duration = Duration::from_secs(3600);

/// A person asks for what is near a few times a minute; five a second is a program.
pub const PLACES_QUESTIONS_PER_SECOND: usize = 5;

/// A page that shows ten friends asks ten questions at once.
pub const PLACES_QUESTIONS_AT_ONCE: usize = 10;

/// Calls that must fail in a row before a remote source counts as dead.
pub const PLACES_FAILURES_MAX: u32 = 5;

/// How long a dead source is left alone before one call tries it again.
pub const PLACES_REST: Duration = Duration::from_secs(10);

/// A spin beyond a millisecond would not end before the next tick of the timers: the server would
/// never sleep.
const SPIN_US_MAX: u32 = 1_000;

/// The longest duration that may be configured: timers beyond a day are a slip of the pen.
pub(super) const TIMER_DAYS_MAX: u64 = 1;

/// The longest time that may lie between two clocks' readings. No timer waits so long; ten years
/// of nanoseconds fit into 64 bits.
pub(super) const SPAN_DAYS_MAX: u64 = 3650;

/// A bound on everything; each default and its reason stands in this file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Longest command of a client, in bytes without its terminator.
    #[serde(deserialize_with = "count")]
    pub line_bytes_max: usize,
    /// Bytes without a newline after which a client is hung up on.
    #[serde(deserialize_with = "count")]
    pub endless_bytes_max: usize,
    /// Longest line of a peer, in bytes without its terminator.
    #[serde(deserialize_with = "count")]
    pub peer_line_bytes_max: usize,
    /// Connections of clients at a time. `None`: as many as the descriptors allow.
    #[serde(deserialize_with = "some_count")]
    pub connections_max: Option<usize>,
    /// Bytes owed to a client above which its commands are no longer read.
    #[serde(deserialize_with = "count")]
    pub high_water_bytes: usize,
    /// Bytes owed to a client above which it is hung up on.
    #[serde(deserialize_with = "count")]
    pub outbox_bytes_max: usize,
    /// Bytes owed to a peer above which floods to it are held back and repaired later.
    #[serde(deserialize_with = "count")]
    pub peer_outbox_bytes_max: usize,
    /// Commands of one connection that may wait for an answer at a time.
    #[serde(deserialize_with = "count")]
    pub waits_max: usize,
    /// Clients known; IAMATs of new ones are refused beyond it, reports of peers are not.
    #[serde(deserialize_with = "count")]
    pub clients_max: usize,
    /// Memory for reports and their index, in bytes; new and longer IAMATs are refused beyond it.
    #[serde(deserialize_with = "store_bytes")]
    pub store_bytes_max: usize,
    /// Longest client id of an IAMAT, in bytes.
    #[serde(deserialize_with = "count")]
    pub id_bytes_max: usize,
    /// Clients that one address may make known in a second, in the long run.
    #[serde(deserialize_with = "count")]
    pub new_clients_per_s: usize,
    /// And at once, if it has made none known for a while.
    #[serde(deserialize_with = "count")]
    pub new_clients_at_once: usize,
    /// Whether this machine's own addresses are limited, too.
    pub new_clients_limit_loopback: bool,
    /// How far ahead of our clock the time of an IAMAT may be. `None`: as far as it likes.
    #[serde(deserialize_with = "durations::span_or_off")]
    pub client_ahead_max: Option<Duration>,
    /// How long after its server heard it a report is forgotten. `None`: never.
    #[serde(deserialize_with = "durations::span_or_off")]
    pub expire_after: Option<Duration>,
    /// How often the two ends of a link compare what they hold. `None`: when it comes up only.
    #[serde(deserialize_with = "durations::duration_or_off")]
    pub compare_every: Option<Duration>,
    #[serde(deserialize_with = "durations::duration")]
    pub idle: Duration,
    #[serde(deserialize_with = "durations::duration")]
    pub first_byte: Duration,
    #[serde(deserialize_with = "durations::duration")]
    pub partial_line: Duration,
    #[serde(deserialize_with = "durations::duration")]
    pub write_stall: Duration,
    #[serde(deserialize_with = "durations::duration")]
    pub dial: Duration,
    #[serde(deserialize_with = "durations::duration")]
    pub greeting: Duration,
    /// Silence of a peer after which it is asked for a sign of life.
    #[serde(deserialize_with = "durations::duration")]
    pub ping_after: Duration,
    /// Silence of a peer after which it counts as dead.
    #[serde(deserialize_with = "durations::duration")]
    pub silence_max: Duration,
    #[serde(deserialize_with = "durations::duration")]
    pub backoff_min: Duration,
    #[serde(deserialize_with = "durations::duration")]
    pub backoff_max: Duration,
    /// How long a drain may take before the process exits all the same.
    #[serde(deserialize_with = "durations::duration")]
    pub drain: Duration,
    /// How long the loop looks for events before it sleeps, in microseconds.
    #[serde(deserialize_with = "spin")]
    pub spin_us: u32,
}

impl Limits {
    /// For herds of herd.toml.
    pub const DEFAULT: Limits = Limits {
        line_bytes_max: LINE_BYTES_MAX,
        endless_bytes_max: ENDLESS_BYTES_MAX,
        peer_line_bytes_max: PEER_LINE_BYTES_MAX,
        connections_max: None,
        high_water_bytes: HIGH_WATER_BYTES,
        outbox_bytes_max: OUTBOX_BYTES_MAX,
        peer_outbox_bytes_max: PEER_OUTBOX_BYTES_MAX,
        waits_max: WAITS_MAX,
        clients_max: CLIENTS_MAX,
        store_bytes_max: STORE_BYTES_MAX,
        id_bytes_max: ID_BYTES_MAX,
        new_clients_per_s: NEW_CLIENTS_PER_S,
        new_clients_at_once: NEW_CLIENTS_AT_ONCE,
        new_clients_limit_loopback: false,
        client_ahead_max: Some(CLIENT_AHEAD_MAX),
        expire_after: None,
        compare_every: Some(COMPARE_EVERY),
        idle: IDLE,
        first_byte: FIRST_BYTE,
        partial_line: PARTIAL_LINE,
        write_stall: WRITE_STALL,
        dial: DIAL,
        greeting: GREETING,
        ping_after: PING_AFTER,
        silence_max: SILENCE_MAX,
        backoff_min: BACKOFF_MIN,
        backoff_max: BACKOFF_MAX,
        drain: DRAIN,
        spin_us: 0,
    };

    /// For the presets, whose servers all live on loopback, and whose test clients take any number
    /// for the time.
    pub const PRESET: Limits =
        Limits { backoff_max: PRESET_BACKOFF_MAX, client_ahead_max: None, ..Limits::DEFAULT };

    /// What limits owe each other. `None` if they hold it; else the first rule that is broken.
    pub const fn broken_rule(&self) -> Option<&'static str> {
        if self.endless_bytes_max <= self.line_bytes_max {
            return Some("endless_bytes_max must be above line_bytes_max");
        }
        // A report that no peer would read could never agree anywhere.
        if self.peer_line_bytes_max < self.line_bytes_max + AT_OVERHEAD_BYTES + LINE_TAG_BYTES {
            return Some("peer_line_bytes_max must be at least 162 above line_bytes_max");
        }
        if self.peer_line_bytes_max > PEER_LINE_BYTES_CEILING {
            return Some("peer_line_bytes_max must be at most 65535");
        }
        if self.outbox_bytes_max <= self.high_water_bytes {
            return Some("outbox_bytes_max must be above high_water_bytes");
        }
        // The answers that wait on a connection may all come at once.
        let answer = PLACES_ANSWER_BYTES_MAX + self.line_bytes_max + AT_OVERHEAD_BYTES;
        if self.outbox_bytes_max / answer < self.waits_max {
            return Some(
                "outbox_bytes_max must hold waits_max answers of 96 KiB, each with a line of \
                 line_bytes_max",
            );
        }
        if self.peer_outbox_bytes_max < self.peer_line_bytes_max {
            return Some("peer_outbox_bytes_max must be at least peer_line_bytes_max");
        }
        if !longer(self.silence_max, self.ping_after) {
            return Some("silence_max must be longer than ping_after");
        }
        if longer(self.backoff_min, self.backoff_max) {
            return Some("backoff_min must not be longer than backoff_max");
        }
        // A report that is forgotten before it is compared may be missing at some servers.
        let compared_within = match self.compare_every {
            Some(compare_every) => compare_every.saturating_add(EXPIRE_MARGIN),
            None => EXPIRE_MARGIN,
        };
        if let Some(expire_after) = self.expire_after
            && !longer(expire_after, compared_within)
        {
            return Some("expire_after must be over a minute longer than compare_every");
        }
        None
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits::DEFAULT
    }
}

const _: () = {
    assert!(Limits::DEFAULT.broken_rule().is_none());
    assert!(Limits::PRESET.broken_rule().is_none());
    assert!(AT_OVERHEAD_BYTES + LINE_TAG_BYTES == 162, "a sentence of broken_rule names the sum");
    assert!(EXPIRE_MARGIN.as_secs() == 60, "a sentence of broken_rule names it");
    assert!(!longer(PLACES_DEADLINE, DRAIN), "a drain waits for the questions in flight");
    assert!(longer(IDLE, FIRST_BYTE) && longer(IDLE, PARTIAL_LINE), "else they say nothing");
    assert!(20 * PLACE_BYTES_MAX + PLACES_ATTRIBUTION_BYTES_MAX < PLACES_ANSWER_BYTES_MAX);
    assert!(PLACES_ANSWER_BYTES_MAX == 96 * KIB, "a sentence of broken_rule names it");
    assert!(WAITS_MAX < PLACES_QUEUE_MAX, "else one connection could fill the queue");
};

/// A number of things, at least one.
///
/// # Errors
/// Serde's, and a sentence for 0.
pub(super) fn count<'de, D: Deserializer<'de>>(deserializer: D) -> Result<usize, D::Error> {
    // The bound keeps sums of limits from overflowing; a billion of anything is out of reach.
    match i64::deserialize(deserializer)? {
        number @ 1..=1_000_000_000 => Ok(number as usize),
        number => Err(de::Error::custom(format!("{number} is not between 1 and 1,000,000,000"))),
    }
}

/// As [`count`], with a bound of its own.
fn count_to<'de, D: Deserializer<'de>>(deserializer: D, max: i64) -> Result<usize, D::Error> {
    match i64::deserialize(deserializer)? {
        number if (1..=max).contains(&number) => Ok(number as usize),
        number => Err(de::Error::custom(format!("{number} is not between 1 and {max}"))),
    }
}

fn store_bytes<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    count_to(from, STORE_BYTES_CEILING)
}

pub(super) fn places_workers<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    count_to(from, PLACES_WORKERS_MAX)
}

pub(super) fn places_memory<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    count_to(from, PLACES_MEMORY_MAX)
}

pub(super) fn places_rate<'de, D: Deserializer<'de>>(from: D) -> Result<usize, D::Error> {
    count_to(from, PLACES_RATE_MAX)
}

fn spin<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    check_spin(u32::deserialize(deserializer)?).map_err(de::Error::custom)
}

fn check_spin(us: u32) -> Result<u32, String> {
    match us {
        0..=SPIN_US_MAX => Ok(us),
        _ => Err(format!("{us} is not between 0 and {SPIN_US_MAX} microseconds")),
    }
}

/// What `--spin-us` takes.
///
/// # Errors
/// A sentence that names the bounds.
pub fn parse_spin(text: &str) -> Result<u32, String> {
    text.parse().map_err(|_| format!("`{text}` is no number")).and_then(check_spin)
}

pub(super) fn some_count<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<usize>, D::Error> {
    count(deserializer).map(Some)
}

const fn longer(one: Duration, other: Duration) -> bool {
    one.as_nanos() > other.as_nanos()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROTOCOL 5.7.
    #[test]
    fn rules_between_limits_are_kept() {
        let check = |limits: Limits, part: &str| {
            let rule = limits.broken_rule().unwrap_or("none");
            assert!(rule.contains(part), "{rule}");
        };
        let default = || Limits::DEFAULT;
        check(Limits { endless_bytes_max: 8192, ..default() }, "endless_bytes_max");
        check(Limits { peer_line_bytes_max: 8192, ..default() }, "peer_line_bytes_max");
        check(Limits { peer_line_bytes_max: 8192 + 161, ..default() }, "at least 162 above");
        check(Limits { peer_line_bytes_max: 8192 + 162, ..default() }, "none");
        check(Limits { high_water_bytes: OUTBOX_BYTES_MAX, ..default() }, "outbox_bytes_max");
        let many = Limits { waits_max: 2 * WAITS_MAX, ..default() };
        check(many.clone(), "waits_max answers");
        check(Limits { outbox_bytes_max: 2 * OUTBOX_BYTES_MAX, ..many }, "none");
        check(
            Limits { line_bytes_max: 32 * KIB, peer_line_bytes_max: 48 * KIB, ..default() },
            "waits",
        );
        check(Limits { peer_outbox_bytes_max: 1, ..default() }, "peer_outbox_bytes_max");
        check(Limits { ping_after: SILENCE_MAX, ..default() }, "silence_max");
        check(Limits { backoff_max: Duration::from_millis(99), ..default() }, "backoff_min");
        let expiring = |seconds: u64, compare_every: Option<Duration>| Limits {
            expire_after: Some(Duration::from_secs(seconds)),
            compare_every,
            ..default()
        };
        check(expiring(90, Some(COMPARE_EVERY)), "expire_after");
        check(expiring(91, Some(COMPARE_EVERY)), "none");
        check(expiring(60, None), "expire_after");
        check(expiring(61, None), "none");
    }
}
