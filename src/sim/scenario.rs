//! What a seed decides: the herd, how much goes wrong and how the clients behave. A simulation is
//! only as good as its bad luck, and here all of that can be seen at once.
//!
//! Mechanisms are switched off in part of the seeds. Where everything goes wrong all the time, the
//! repair of one mechanism hides the faults of another.

mod division;

use std::ops::RangeInclusive;
use std::time::Duration;

use fastrand::Rng;

use super::Plan;
use super::disk::DiskFaults;
use super::faults::{Fault, Faults};
use super::graph::{Graph, Shape};
use division::Division;
use herd_core::journal::appender::{Keep, Sizes};
use herd_core::presets::{PRESETS, SERVERS};

pub const MS: Duration = Duration::from_millis(1);
/// Servers of a random herd, if their number is not given.
const SERVERS_DRAWN: RangeInclusive<usize> = 2..=9;
/// Clients come and things break until then; afterwards the herd is left in peace.
const PEACE: Duration = Duration::from_secs(8);
/// Silence is noticed within three seconds, twice if a dial went into it; then peers are dialled
/// again. The rest is for a slow link with a small pipe, by which all that is compared and missed
/// goes a line at a time. Most herds are at rest long before.
const HEALING_MAX: Duration = Duration::from_secs(120);
/// All are joined by then if nothing goes wrong.
const JOINED: Duration = Duration::from_secs(2);

/// A second in which clocks agree is far less, and the clients who are ahead are far more.
const AHEAD_MAX: Duration = Duration::from_secs(60);
/// Nothing expires before the end.
const EXPIRES_LATE: Duration = Duration::from_secs(3_600);
/// A server has looked through all it holds after a minute, and its clock may have been wrong by
/// another two.
const FORGETTING_MAX: Duration = Duration::from_secs(200);

/// Of the herds to which anything happens, so many are reloaded.
const RELOADS_ONE_IN: u32 = 3;
/// Of all herds, so many have servers that let their clients go one after the other.
const LAME_DUCKS_ONE_IN: u32 = 3;

/// In so many herds, clients are erased, each time less often than this.
const ERASURES_ONE_IN: u32 = 3;
const ERASURES_MAX: usize = 12;

/// More clients than these are a crowd.
const CROWD: u32 = 40;

pub struct Scenario {
    pub graph: Graph,
    /// Of an engine that servers have instead of links; 0 for none.
    pub nodes: usize,
    /// How long one node takes to learn what the clients of another want to hear.
    pub interest_after: Duration,
    pub division: Division,
    pub faults: Faults,
    /// Faults that happen until the herd is left in peace.
    pub faults_count: usize,
    pub peace: Duration,
    /// By then the herd must be at rest.
    pub end: Duration,
    /// Clients that come, one after the other.
    pub clients: usize,
    /// How often somebody has a client forgotten.
    pub erasures: usize,
    /// When the first of them may come.
    pub first_talk: Duration,
    /// Each client comes at its time and says one line.
    pub in_turn: bool,
    /// Names that they choose from.
    pub ids: u32,
    pub id_bytes: usize,
    /// Reports are nanoseconds apart, and many tie.
    pub ties: bool,
    /// The last reports of some clients tie or nearly tie, at several servers at once.
    pub finale: bool,
    /// Clients repeat at one server what was said to another.
    pub repeats: bool,
    /// Servers' clocks differ by up to so many milliseconds.
    pub clocks_apart_ms: u64,
    /// Bytes that one direction of a connection holds.
    pub pipe_bytes: usize,
    pub peer_owed_max: usize,
    /// How long a piece is under way.
    pub latency: (Duration, Duration),
    /// One answer of the places in so many comes too late or never; 0 for none.
    pub late_one_in: u32,
    /// Nothing makes a report cost more or less than it must, so lines can be counted.
    pub is_counted: bool,
    pub keys: Keys,
    /// How often the ends of a link look whether they hold the same.
    pub compare_every: Option<Duration>,
    /// A full server takes no new clients.
    pub clients_max: Option<usize>,
    /// Some clients' clocks are far ahead, and some servers bear no more than this.
    pub ahead_max: Option<Duration>,
    pub expire_after: Option<Duration>,
    /// Servers keep what they answer.
    pub durability: Option<Durability>,
    /// How long servers that are told to stop still take clients, and how long they take then to
    /// let them go; if they do.
    pub lame_duck: Option<[Duration; 2]>,
    /// The ends of a link find out what they have missed. Where they do not, what a server has lost
    /// is not brought back by others.
    pub repairs: bool,
}

/// What may happen to a herd of so many servers.
fn draw_faults(plan: &Plan, seed: u64, servers: usize, random: &mut Rng) -> Faults {
    let faults = match plan.faults {
        Some(faults) => return faults,
        None if random.u32(0..4) == 0 => Faults::NONE,
        // Most of what may happen to a herd happens to its links.
        None if servers == 1 => Faults::some(random).and(Faults::OF_ONE),
        None => Faults::some(random),
    };
    if faults.is_empty() { faults } else { with_reloads(faults, seed) }
}

/// Drawn apart, so that the other runs are what they were before there were reloads.
fn with_reloads(faults: Faults, seed: u64) -> Faults {
    let reloads = Rng::with_seed(!seed).u32(0..RELOADS_ONE_IN) == 0;
    if reloads { faults.with(Fault::Reload) } else { faults }
}

/// Drawn apart as well.
fn draw_lame_duck(seed: u64) -> Option<[Duration; 2]> {
    let mut random = Rng::with_seed(seed.rotate_left(32));
    let times = [MS * random.u32(0..=800), MS * random.u32(200..=2_500)];
    (random.u32(0..LAME_DUCKS_ONE_IN) == 0).then_some(times)
}

/// How the servers of a herd keep what they answer, and on what.
#[derive(Clone, Copy, Debug)]
pub struct Durability {
    pub keep: Keep,
    pub sizes: Sizes,
    pub faults: DiskFaults,
    /// The disks are quick enough for the loop to write itself now and then.
    pub loop_writes: bool,
    /// Now and then, a disk does nothing for seconds.
    pub sticks: bool,
    /// A server dies most often when its disk has just failed or been too slow: then what its
    /// journal has missed is not there yet.
    pub takes_along: bool,
}

/// What the servers of a herd prove themselves with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Keys {
    /// Nothing: names are not verified.
    None,
    One,
    /// A key is being replaced: all know one of two, and some the other one too.
    Two,
}

impl Scenario {
    pub fn of_seed(plan: &Plan, seed: u64) -> Scenario {
        let mut random = Rng::with_seed(seed);
        let demands_disk = plan.faults.is_some_and(|faults| faults.has(Fault::Disk));
        let keeps = demands_disk || random.u32(0..3) == 0;
        let graph = draw_graph(plan, keeps, &mut random);
        let faults = draw_faults(plan, seed, graph.names.len(), &mut random);
        let durability = keeps.then(|| Durability::drawn(faults, &mut random));
        let repairs = durability.is_none() || random.u32(0..3) > 0;
        let bulky = random.u32(0..12) == 0;
        let has_small_pipes = faults.has(Fault::Reader);
        let scenario = Scenario {
            graph,
            nodes: 0,
            interest_after: Duration::ZERO,
            division: Division::default(),
            faults,
            faults_count: if faults.and(Faults::EVENTS).is_empty() {
                0
            } else {
                random.usize(1..20)
            },
            peace: PEACE,
            end: PEACE + HEALING_MAX,
            clients: random.usize(10..100),
            erasures: 0,
            first_talk: Duration::ZERO,
            in_turn: false,
            ids: if bulky { 100 } else { random.u32(1..30) },
            id_bytes: if bulky { 1_000 } else { 0 },
            ties: random.bool(),
            finale: random.bool(),
            repeats: random.bool(),
            clocks_apart_ms: if random.bool() { 0 } else { 5_000 },
            pipe_bytes: if !has_small_pipes {
                1 << 20
            } else if bulky {
                8 * 1024
            } else {
                random.usize(100..4_000)
            },
            peer_owed_max: if has_small_pipes { random.usize(200..3_000) } else { 256 * 1024 },
            latency: (Duration::ZERO, MS * random.u32(1..60)),
            late_one_in: if random.bool() { 0 } else { 3 },
            is_counted: false,
            keys: Keys::None,
            compare_every: None,
            clients_max: None,
            ahead_max: None,
            expire_after: None,
            durability,
            lame_duck: draw_lame_duck(seed),
            repairs,
        };
        let scenario = scenario.with_mechanisms(plan, &mut random);
        let faults = scenario.faults;
        let scenario = match random.u32(0..8) {
            _ if faults.is_empty() && random.bool() => scenario.counted(),
            0 if plan.faults.is_none() && !faults.is_empty() => scenario.overflowing(&mut random),
            1..=3 if plan.faults.is_none() => scenario.dying_of_disks(&mut random),
            _ => scenario,
        };
        let scenario = scenario.with_room_for_a_crowd().with_erasures(seed);
        if plan.engine {
            scenario.on_an_engine(plan, &mut random).divided(plan, seed)
        } else {
            scenario
        }
    }

    /// The same herd without links, on one to three nodes of an engine. What links have lost, an
    /// engine loses in its own ways.
    fn on_an_engine(self, plan: &Plan, random: &mut Rng) -> Scenario {
        let drawn = Faults::some_of_engine(random);
        let is_calm = self.faults.is_empty();
        let faults = plan.faults.unwrap_or(if is_calm { Faults::NONE } else { drawn });
        let faults = faults.without(Faults::OF_LINKS);
        let faults = match self.keys {
            Keys::None => faults.without(Faults::of(&[Fault::Tenant])),
            _ => faults,
        };
        // In some, servers lose nothing by themselves, and one node loses for all.
        let is_bare = random.u32(0..3) == 0;
        let faults = if is_bare { faults.and(Faults::OF_ONE_NODE) } else { faults };
        let has_events = !faults.and(Faults::EVENTS).is_empty();
        let interest_max = if faults.has(Fault::LateInterest) { 300 } else { 5 };
        let on_engine = Scenario {
            nodes: if is_bare { 1 } else { random.usize(1..=3) },
            interest_after: MS * random.u32(0..=interest_max),
            faults,
            faults_count: if has_events { random.usize(1..20) } else { 0 },
            // A node takes no batch in pieces of a hundred bytes.
            pipe_bytes: self.pipe_bytes.max(8 * 1024),
            compare_every: Some(MS * random.u32(2_000..5_000)),
            repairs: true,
            expire_after: self.expire_after.filter(|_| !is_bare),
            ..self
        };
        if is_bare && plan.servers.is_none() && random.bool() {
            on_engine.cut_to_a_pair(random)
        } else {
            on_engine
        }
    }

    /// Two servers that never compare without a reason: all that an engine loses must show by
    /// itself. Of more than two, one might ask another that has missed the same.
    fn cut_to_a_pair(mut self, random: &mut Rng) -> Scenario {
        self.graph.names.truncate(2);
        self.graph.links.retain(|(one, other)| *one.max(other) < 2);
        if self.faults.is_empty() && random.bool() {
            self.faults = Faults::of(&[Fault::LateInterest]);
            self.interest_after = MS * random.u32(0..=300);
        }
        let nodes = random.usize(1..=2);
        // A hole shows by the next batch, so somebody must say something behind it.
        let may_be_cut = nodes == 2 && self.clients_max.is_none();
        if may_be_cut && random.bool() {
            self.faults = self.faults.with(Fault::RouteCut);
            self.faults_count = random.usize(1..20);
        }
        Scenario { nodes, compare_every: None, ..self }
    }

    /// Nothing but one report after the other, in a herd at its best: for measuring.
    pub fn measured(plan: &Plan, reports: usize, seed: u64) -> Scenario {
        let graph = draw_graph(plan, false, &mut Rng::with_seed(seed));
        let peace = JOINED + MS * 20 * u32::try_from(reports).unwrap_or(u32::MAX);
        Scenario {
            graph,
            nodes: 0,
            interest_after: Duration::ZERO,
            division: Division::default(),
            faults: Faults::NONE,
            faults_count: 0,
            peace,
            end: peace + HEALING_MAX,
            clients: reports,
            erasures: 0,
            first_talk: JOINED,
            in_turn: true,
            ids: u32::MAX,
            id_bytes: 0,
            ties: false,
            finale: false,
            repeats: false,
            clocks_apart_ms: 0,
            pipe_bytes: 1 << 20,
            peer_owed_max: 256 * 1024,
            latency: (MS, MS),
            late_one_in: 0,
            is_counted: true,
            keys: Keys::None,
            compare_every: None,
            clients_max: None,
            ahead_max: None,
            expire_after: None,
            durability: None,
            lame_duck: None,
            repairs: true,
        }
    }

    /// Each mechanism is there in some runs and not in others.
    fn with_mechanisms(self, plan: &Plan, random: &mut Rng) -> Scenario {
        let demands_keys =
            plan.faults.is_some_and(|faults| !faults.and(Faults::ON_THE_WIRE).is_empty());
        let keys = match random.u32(0..6) {
            // Without seals, nobody notices that lines are taken out.
            _ if !self.repairs => Keys::None,
            0 => Keys::Two,
            1 | 2 => Keys::One,
            _ if demands_keys => Keys::One,
            _ => Keys::None,
        };
        let mut one_in = |many: u32| random.u32(0..many) == 0;
        let (compares, is_full, is_ahead) = (one_in(2), one_in(6), one_in(6));
        let (is_short, is_long, is_crowded) = (one_in(12), one_in(12), one_in(12));
        let faults = match keys {
            Keys::None => self.faults.without(Faults::ON_THE_WIRE),
            _ => self.faults,
        };
        Scenario {
            faults,
            faults_count: if faults.and(Faults::EVENTS).is_empty() { 0 } else { self.faults_count },
            ids: if is_crowded { random.u32(100..400) } else { self.ids },
            id_bytes: if is_crowded { 0 } else { self.id_bytes },
            keys,
            compare_every: compares.then(|| MS * random.u32(2_000..5_000)),
            clients_max: is_full.then(|| random.usize(1..6)),
            ahead_max: is_ahead.then_some(AHEAD_MAX),
            expire_after: if is_short {
                Some(Duration::from_secs(random.u64(3..7)))
            } else {
                is_long.then_some(EXPIRES_LATE)
            },
            end: if is_short { self.end + FORGETTING_MAX } else { self.end },
            ..self
        }
    }

    /// Whether reports expire during the simulation.
    pub fn expires_soon(&self) -> bool {
        self.expire_after.is_some_and(|after| after < EXPIRES_LATE)
    }

    /// The keys of a server in one of its runs.
    pub fn draws_keys(&self, random: &mut Rng) -> Vec<[u8; 32]> {
        let (old, new) = ([1; 32], [2; 32]);
        match (self.keys, random.u32(0..3)) {
            (Keys::None, _) => Vec::new(),
            (Keys::One, _) | (Keys::Two, 0) => vec![old],
            (Keys::Two, 1) => vec![old, new],
            (Keys::Two, _) => vec![new, old],
        }
    }

    /// All are joined before the first client comes, and no server is ever behind.
    fn counted(self) -> Scenario {
        let (first_talk, compare_every, expire_after) = (JOINED, None, None);
        let is_counted = true;
        Scenario { first_talk, id_bytes: 0, is_counted, compare_every, expire_after, ..self }
    }

    /// A peer's outbox is tiny, links stall for long, and then nothing more is said: only repair
    /// can deliver what was held back.
    fn overflowing(self, random: &mut Rng) -> Scenario {
        Scenario {
            faults: Faults::of(&[Fault::Stall, Fault::Reader]),
            faults_count: random.usize(10..40),
            clients: 2 * self.clients,
            id_bytes: 0,
            pipe_bytes: random.usize(64..1_000),
            peer_owed_max: random.usize(100..1_000),
            finale: false,
            compare_every: None,
            expire_after: None,
            ..self
        }
    }

    /// Disks fail, or are full and stuck, and their servers die of it and of little else: then what
    /// a journal has missed is not there yet.
    fn dying_of_disks(self, random: &mut Rng) -> Scenario {
        let Some(durability) = self.durability else { return self };
        let fails = random.bool();
        let (death, faults) = match fails {
            true => (Fault::Power, DiskFaults { sync_failed: 200, ..DiskFaults::default() }),
            false => (Fault::Crash, DiskFaults { refused: 200, ..DiskFaults::default() }),
        };
        let sizes = Sizes { buffer_bytes: 1_024, ..durability.sizes };
        let (sticks, takes_along) = (!fails, true);
        Scenario {
            faults: Faults::of(&[Fault::Disk, death]),
            faults_count: random.usize(1..4),
            clients: 2 * self.clients,
            id_bytes: 0,
            keys: Keys::None,
            expire_after: None,
            durability: Some(Durability { sizes, faults, sticks, takes_along, ..durability }),
            ..self
        }
    }

    /// Drawn apart, so that the other runs are what they were before anybody was erased. Where
    /// lines are counted, and where there may be no room for who is not known, nobody is.
    fn with_erasures(self, seed: u64) -> Scenario {
        let mut random = Rng::with_seed(seed.rotate_left(32));
        let are_some = random.u32(0..ERASURES_ONE_IN) == 0;
        let may_be = !self.is_counted && self.clients_max.is_none();
        let erasures = if are_some && may_be { random.usize(1..ERASURES_MAX) } else { 0 };
        Scenario { erasures, ..self }
    }

    /// Where there is room for one line at a time, hundreds of parts that differ are sent one after
    /// the other, and no run is long enough for that. No configuration allows so little.
    fn with_room_for_a_crowd(self) -> Scenario {
        if self.ids <= CROWD {
            return self;
        }
        let [pipe_bytes, peer_owed_max] = [self.pipe_bytes, self.peer_owed_max].map(|bytes| {
            const ROOM: usize = 4_000;
            bytes.max(ROOM)
        });
        Scenario { pipe_bytes, peer_owed_max, ..self }
    }

    /// The longest that a link stalls: shorter than its ends' timeouts, or they would give it up
    /// and nothing be left to go on.
    pub fn stall_max(&self) -> Duration {
        MS * 2_500
    }

    /// One link in three is slow, if any are.
    pub fn draws_slow_link(&self, random: &mut Rng) -> bool {
        self.faults.has(Fault::Slow) && random.u32(0..3) == 0
    }
}

impl Durability {
    fn drawn(faults: Faults, random: &mut Rng) -> Durability {
        let has_faults = faults.has(Fault::Disk);
        let disk_faults = DiskFaults::drawn(random);
        let sizes = Sizes {
            segment_bytes: [1_024, 4_096][random.usize(0..2)],
            room: random.u64(2..=4),
            buffer_bytes: [1_024, 4_096][random.usize(0..2)],
        };
        Durability {
            keep: if random.bool() { Keep::Written } else { Keep::Synced },
            sizes,
            faults: if has_faults { disk_faults } else { DiskFaults::default() },
            loop_writes: random.bool(),
            sticks: has_faults && random.bool(),
            takes_along: has_faults && random.bool(),
        }
    }
}

/// The herd of a year in two seeds of five, unless the plan says which. Half of those that keep
/// what they answer are a single server: a herd of several brings back what one has lost.
fn draw_graph(plan: &Plan, keeps: bool, random: &mut Rng) -> Graph {
    let wanted = plan.servers.clone().unwrap_or(SERVERS_DRAWN);
    let is_free = plan.graph.is_none() && wanted.contains(&SERVERS);
    if is_free && plan.servers.is_none() && keeps && random.bool() {
        return Shape::Line.graph(1, random);
    }
    if is_free && random.u32(0..5) < 2 {
        return Graph::of_preset(&PRESETS[random.usize(0..PRESETS.len())]);
    }
    let servers = random.usize(wanted);
    plan.graph.unwrap_or(Shape::Random(None)).graph(servers, random)
}
