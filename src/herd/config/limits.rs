//! A bound on everything: the section `[limits]`, and the bounds that cannot be set.
//!
//! Names carry their unit last; durations are `Duration`s. What limits owe each other stands in
//! [`rules`](super::rules).

use std::time::Duration;

use herd_core::session::Timeouts;

use super::knob::{
    Effect, Flag, Knob, count, size, some_count, switch, time, time_or_off, time_or_zero,
};
use super::units::{KIB, SPAN_MAX, TIMER_MAX};

/// Longest name of a server or herd, in bytes: it stands in every AT line and in file names.
pub const NAME_BYTES_MAX: usize = 64;

/// What an AT line has above the IAMAT that it reports: the server's name and the skew, which has
/// at most 20 digits on either side of its point.
pub const AT_OVERHEAD_BYTES: usize = NAME_BYTES_MAX + 64;

/// What a line between peers with a key has at its end: " ~" and half a digest in 32 hex digits.
pub const LINE_TAG_BYTES: usize = 2 + 32;

/// The store counts a report's bytes in 16 bits.
pub const PEER_LINE_BYTES_CEILING: usize = 65_535;

/// Places of records are counted in 32 bits.
const STORE_BYTES_CEILING: usize = 32 << 30;

/// The clocks of two servers differ, and each takes a minute to look through what it holds, so one
/// forgets a report before the other does. All should have heard it long before.
pub const EXPIRE_MARGIN: Duration = Duration::from_secs(60);

/// Longest place in an answer, in bytes of JSON: OpenStreetMap has no text above 1 KiB, and a place
/// has a name, an address and a few types.
pub const PLACE_BYTES_MAX: usize = 4 * KIB;

/// Longest `attribution`, in bytes: some name a dozen sources, each with a link.
pub const PLACES_ATTRIBUTION_BYTES_MAX: usize = 4 * KIB;

/// Longest answer about places, in bytes: twenty of the longest places, and the name of their
/// source. All questions that may wait on a connection can be answered at once.
pub const PLACES_ANSWER_BYTES_MAX: usize = 96 * KIB;

const _: () =
    assert!(20 * PLACE_BYTES_MAX + PLACES_ATTRIBUTION_BYTES_MAX < PLACES_ANSWER_BYTES_MAX);

/// The values of the section `[limits]`; [`KNOBS`] says what each is.
///
/// invariant: what `Settings::default()` gives keeps every rule
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Those that the core keeps to.
    pub core: herd_core::Limits,
    pub line_bytes_max: usize,
    pub endless_bytes_max: usize,
    pub peer_line_bytes_max: usize,
    /// `None`: as many as the descriptors allow.
    pub connections_max: Option<usize>,
    pub high_water_bytes: usize,
    pub outbox_bytes_max: usize,
    pub new_clients_per_s: usize,
    pub new_clients_at_once: usize,
    pub new_clients_limit_loopback: bool,
    /// How long a connection may wait.
    pub timeouts: Timeouts,
    pub lame_duck_grace: Duration,
    pub lame_duck: Duration,
    pub drain: Duration,
    /// `None`: as long as it takes.
    pub ready_alone_after: Option<Duration>,
    pub spin_us: usize,
    pub gather_us: usize,
    /// `None`: no turn is slow.
    pub slow_turn: Option<Duration>,
}

impl Limits {
    /// How long a server may take that is told to stop.
    pub fn stop_max(&self) -> Duration {
        self.lame_duck_grace + self.lame_duck + self.drain
    }
}

/// What the section `[limits]` may say, in the order of the example.
pub const KNOBS: &[Knob] = &[
    size("limits.line_bytes_max", |s| &mut s.limits.line_bytes_max, "8 KiB")
        .means("Longest command of a client, without its terminator.")
        .because(
            "Client ids of 1,000 bytes must work; eight times that is generous, and still so \
             small that a hundred thousand half-sent lines fit into the memory.",
        ),
    size("limits.endless_bytes_max", |s| &mut s.limits.endless_bytes_max, "1 MiB")
        .means("Bytes without a newline after which a client is hung up on.")
        .because("A program that sends this much without a newline is no client of a herd."),
    size("limits.peer_line_bytes_max", |s| &mut s.limits.peer_line_bytes_max, "16 KiB")
        .within(1..=PEER_LINE_BYTES_CEILING)
        .means("Longest line of a peer. It must be at least 162 bytes above line_bytes_max.")
        .because("Twice a client's line: whatever a client may say, its report fits."),
    some_count(
        "limits.connections_max",
        |s| &mut s.limits.connections_max,
        "as many as the descriptor limit allows",
        "connections",
    )
    .example("10000")
    .means("Connections of clients at a time.")
    .because("The system's limit is the only one that every server needs."),
    size("limits.high_water_bytes", |s| &mut s.limits.high_water_bytes, "64 KiB")
        .means(
            "Bytes owed to a client above which its commands are not read, so that TCP pushes \
             back.",
        )
        .because("64 KiB is what one write to the kernel takes at once on most systems."),
    size("limits.outbox_bytes_max", |s| &mut s.limits.outbox_bytes_max, "8 MiB")
        .means(
            "Bytes owed to a client above which it is hung up on. It must hold waits_max \
             answers of 96 KiB, each with a line.",
        )
        .because(
            "All 64 waiting questions may be answered at once, each with some 40 kB if a \
             service has twenty results, and that must not end a client that only reads slowly.",
        ),
    size("limits.peer_outbox_bytes_max", |s| &mut s.limits.core.peer_outbox_bytes_max, "256 KiB")
        .means("Bytes owed to a slow peer above which reports are held back and repaired later.")
        .because("A peer costs the same memory however long it is slow."),
    count("limits.waits_max", |s| &mut s.limits.core.waits_max, "64", "commands")
        .means("Commands of one connection that may wait for an answer at a time.")
        .because("Later commands stay in the kernel, and one connection cannot fill the queue."),
    count("limits.clients_max", |s| &mut s.limits.core.clients_max, "1000000", "clients")
        .means(
            "Clients known; an IAMAT of yet another one is refused. What peers report is always \
             taken, so that full servers agree as well.",
        )
        .because(
            "A million clients are about 110 MB of reports. (N servers that fill up at the same \
             time may hold N times as many.)",
        ),
    size("limits.store_bytes_max", |s| &mut s.limits.core.store_bytes_max, "1 GB")
        .within(1..=STORE_BYTES_CEILING)
        .means("Memory for reports and their index; new and longer IAMATs are refused beyond it.")
        .because(
            "A million clients that say as much as phones do need a ninth of it; a client that \
             spells a position with thousands of digits is refused before the machine runs out.",
        ),
    size("limits.id_bytes_max", |s| &mut s.limits.core.id_bytes_max, "8 KiB")
        .means("Longest client id of an IAMAT.")
        .because(
            "An id may be as long as a line has room for; an operator who knows the clients may \
             want less.",
        ),
    count("limits.new_clients_per_s", |s| &mut s.limits.new_clients_per_s, "100", "clients")
        .means(
            "Clients that one address may make known in a second, for long; an IAMAT of yet \
             another one is refused.",
        )
        .because("A program that makes up ids fills no herd in less than hours."),
    count("limits.new_clients_at_once", |s| &mut s.limits.new_clients_at_once, "10000", "clients")
        .means("Clients that it may make known at once, after a pause.")
        .because("An address may be a gateway of thousands."),
    switch("limits.new_clients_limit_loopback", |s| &mut s.limits.new_clients_limit_loopback)
        .means("Hold this machine's own addresses to these two as well.")
        .because("Programs on the machine itself are the operator's, and load it for tests."),
    time_or_off(
        "limits.client_ahead_max",
        |s| &mut s.limits.core.client_ahead_max,
        "1 d",
        SPAN_MAX,
    )
    .in_presets("off")
    .means(
        "How far ahead of the server's clock the time of an IAMAT may be. One that is \
             further ahead is refused: it would keep out all that its client says until then.",
    )
    .because(
        "A day forgives every time zone that somebody took for another; test clients of the \
             presets take any number for the time.",
    ),
    time_or_off("limits.expire_after", |s| &mut s.limits.core.expire_after, "off", SPAN_MAX)
        .example("30 d")
        .where_guarded("1 d")
        .takes_effect(Effect::Restart)
        .means(
            "How long after a server heard it a report is forgotten, by all servers. It must be \
             over a minute longer than compare_every.",
        )
        .because("A client's last position is worth keeping until the operator says otherwise."),
    time_or_off("limits.compare_every", |s| &mut s.limits.core.compare_every, "30 s", TIMER_MAX)
        .means(
            "How often the two ends of a link compare what they hold; off: once, when it comes \
             up. Not with [engine].",
        )
        .because(
            "Floods are heard at once, so this only finds what the world has broken, for 100 \
             bytes a link.",
        ),
    time("limits.idle", |s| &mut s.limits.timeouts.idle, "5 min")
        .means("A client that says nothing for so long is hung up on.")
        .because("Clients may be slow to speak again, but not for ever: each holds a descriptor."),
    time("limits.first_byte", |s| &mut s.limits.timeouts.first_byte, "30 s")
        .means("A client that says not a byte for so long after it connected is hung up on.")
        .because("A client that connects without a word is a scanner or has died."),
    time("limits.partial_line", |s| &mut s.limits.timeouts.partial_line, "10 s")
        .flag(Flag {
            long: "partial-line",
            variable: "HERD_PARTIAL_LINE",
            value: "DURATION",
            help: "How long a line may lack its end before it is answered as it stands",
        })
        .means(
            "A client that does not finish a line within this is hung up on. What has come of \
             the line is taken for all of it then, and answered first.",
        )
        .because(
            "A line once begun is finished soon; dripping is how slow-loris attacks hold \
             connections.",
        ),
    time("limits.write_stall", |s| &mut s.limits.timeouts.write_stall, "10 s")
        .means("A client that takes nothing of its answers for so long is hung up on.")
        .because("A far end that takes not one byte for so long has died or attacks."),
    time("limits.dial", |s| &mut s.limits.timeouts.dial, "1 s")
        .means("How long opening a link may take.")
        .because(
            "Three round trips around the world; a peer that needs longer is dialled again \
             anyway.",
        ),
    time("limits.greeting", |s| &mut s.limits.core.greeting, "2 s")
        .takes_effect(Effect::NewConnections)
        .means("How long a link's greeting may take, from the connection on.")
        .because("Two round trips and a busy turn."),
    time("limits.ping_after", |s| &mut s.limits.core.ping_after, "10 s")
        .means("A peer that is silent for so long is asked for a sign of life.")
        .because("A lively peer is never asked, and a dead one is found within silence_max."),
    time("limits.silence_max", |s| &mut s.limits.core.silence_max, "30 s")
        .means(
            "A peer that is silent for so long counts as dead. It must be longer than \
             ping_after.",
        )
        .because("Three unanswered pings: the link is dead, whatever TCP believes."),
    time("limits.backoff_min", |s| &mut s.limits.core.backoff_min, "100 ms")
        .means("Pause before a link is dialled again, at first.")
        .because("Short, because most restarts take less than a second."),
    time("limits.backoff_max", |s| &mut s.limits.core.backoff_max, "5 s")
        .in_presets("200 ms")
        .means("Pause before a link is dialled again, at most.")
        .because(
            "Between machines, a dial each five seconds for ever does no harm; on loopback it \
             costs microseconds, and a server that comes back is to be joined within half a \
             second.",
        ),
    time_or_zero("limits.lame_duck_grace", |s| &mut s.limits.lame_duck_grace)
        .flag(Flag {
            long: "lame-duck-grace",
            variable: "HERD_LAME_DUCK_GRACE",
            value: "DURATION",
            help: "How long a server that was told to stop serves on, though it says so",
        })
        .means(
            "How long a server that was told to stop (SIGTERM, `herd drain`) serves on and takes \
             new clients, though `/readyz` says 503 already.",
        )
        .because(
            "A load balancer in front needs its probes to fail before the door may be shut; on \
             loopback there is none.",
        ),
    time_or_zero("limits.lame_duck", |s| &mut s.limits.lame_duck)
        .flag(Flag {
            long: "lame-duck",
            variable: "HERD_LAME_DUCK",
            value: "DURATION",
            help: "Over how long it lets go of its clients then, one after the other",
        })
        .means(
            "Over how long its clients' connections are closed after that, evenly and between two \
             lines, one a second at least.",
        )
        .because(
            "Thousands of clients that connect again at once are a load that other servers of a \
             herd must not get; on loopback nobody does.",
        ),
    time("limits.drain", |s| &mut s.limits.drain, "5 s")
        .means("How long a server that was told to stop may take to answer what is in flight.")
        .because("The questions in flight get their whole deadline."),
    time_or_off(
        "limits.ready_alone_after",
        |s| &mut s.limits.ready_alone_after,
        "10 s",
        TIMER_MAX,
    )
    .means(
        "After so long without a peer, a server that has peers is ready all the same (`/readyz`), \
         and after so long in which a peer has not said that it holds anything else. off: it waits \
         for a peer.",
    )
    .because(
        "A restart takes less; the last server of a herd must not wait for others that are gone.",
    ),
    time_or_off("limits.slow_turn", |s| &mut s.limits.slow_turn, "10 ms", TIMER_MAX)
        .means(
            "A turn of the loop that takes longer is counted, and one in 10 s is logged with what \
             ran in it.",
        )
        .because("Turns are bounded in work, and a bound is some milliseconds."),
    count("limits.spin_us", |s| &mut s.limits.spin_us, "0", "microseconds")
        .within(0..=1_000)
        .flag(Flag {
            long: "spin-us",
            variable: "HERD_SPIN_US",
            value: "N",
            help: "Look for work so many microseconds before sleeping: sooner answers, a busy core",
        })
        .means(
            "Microseconds for which the loop looks for work before it sleeps. It answers sooner \
             and takes a whole core while there is something to do.",
        )
        .because(
            "A core costs more than the wait; beyond a millisecond the next tick of the timers \
             would come first, and the server would never sleep.",
        ),
    count("limits.gather_us", |s| &mut s.limits.gather_us, "0", "microseconds")
        .within(0..=100_000)
        .means(
            "Microseconds for which the loop lets more come after a turn, before it looks. Turns \
             become fewer and larger, and each answer and each hop of a flood as much later.",
        )
        .because(
            "Who comes alone is answered at once. It pays where more servers share a machine \
             than it has cores: what a report costs is mostly the turn that it is read in.",
        ),
];
