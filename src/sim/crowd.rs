//! Two servers at their claimed size: what one input may cost, however much is held and whichever
//! ids strangers have chosen. The herds of `world` are small so that many can be run: here nothing
//! goes wrong but what was missed, and the work is counted.
//!
//! The promise is `Invariant::Bounded`: no input makes a server say more than a piece of its store,
//! or walk more of it than that (`Host` counts each), and all inputs together cost what is missed
//! and not more.

use std::time::Duration;

use super::host::{Host, settings};
use super::invariants::{Invariant, Violation, agree, is_kept_up, lines_of};
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::store::digest::{LEAVES, Leaf, Node};
use herd_core::{LinkState, PeerSettings};

/// What clients have chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// Short lines, spread over all leaves.
    Usual,
    /// Lines as long as may be.
    LongLines,
    /// Long lines, all of one leaf: ids that an attacker has searched for.
    HeavyLeaf,
}

/// How many there are, and how.
#[derive(Clone, Copy, Debug)]
pub struct Crowd {
    pub clients: usize,
    pub shape: Shape,
}

/// What it cost to bring a server up to date that knew nothing, and one that had missed half.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// Bytes of all reports.
    pub held: usize,
    /// Bytes that both ends said.
    pub said: [usize; 2],
    /// Times that the bytes of both were carried over.
    pub trips: [usize; 2],
}

const A: usize = 0;
const B: usize = 1;
/// The most that a turn of the loop takes from a link.
const READ_BYTES: usize = 64 * 1024;
/// Digits of a position that make a line long.
const LONG_DIGITS: usize = 1_800;
/// What repair may say beside what was missed: the digests of all parts, and of each leaf that
/// differs the reports that do not.
const EXTRA_BYTES: usize = 1_200_000;
/// Reports, one after the other, that nobody keeps for a peer that does not read.
const REPORTS_UNREAD_MAX: u32 = 100_000;
/// The parts of a leaf that are sent apart.
const SLICES: usize = 64;
/// What is said beside reports while nobody is joined: signs of life.
const LITTLE_BYTES: usize = 1_000;
/// A client's share of the memory beside its report: its place in the index, and what a place is
/// larger than its record.
const SHARE_BYTES: usize = 48;
/// A client's share of the index, and what the list of a leaf has at least: with more of them, ids
/// could be chosen so that lists stay empty but for one place.
const INDEX_BYTES: usize = 24;
const LEAF_BYTES: usize = 64;
/// One page of each size, and the lists of leaves that have hardly begun.
const BASE_BYTES: usize = 16 << 20;

struct Pair {
    bodies: [Host; 2],
    links: u64,
    now: Duration,
    said: usize,
    trips: usize,
}

/// Goes through the refilling of an empty server and of one that has missed half, while a client
/// goes on reporting.
///
/// # Errors
/// The promise that was broken first.
pub fn run(crowd: Crowd, seed: u64) -> Result<Price, Violation> {
    let ids = ids(crowd, seed);
    let mut pair = Pair::new(seed);
    pair.report(A, &ids, crowd.shape, 1)?;
    if crowd.shape == Shape::HeavyLeaf {
        let leaves = pair.bodies[A].server.store().digest().filled(Node::ROOT).count();
        assert_eq!(leaves, 1, "all of them are of one leaf");
    }
    let held: usize = lines_of(pair.bodies[A].server.store()).iter().map(String::len).sum();
    pair.is_small(held)?;

    pair.meet()?;
    let refilled = (pair.said, pair.trips);
    pair.are_equal()?;
    Invariant::Bounded.demand(refilled.0 <= held + EXTRA_BYTES, || {
        format!("{} bytes were said to tell of {held}", refilled.0)
    })?;

    pair.fall_behind(&ids[ids.len() * 9 / 10..], crowd.shape)?;

    pair.part()?;
    pair.report(B, &ids[..ids.len() / 2], crowd.shape, 2)?;
    pair.meet()?;
    pair.are_equal()?;
    let said = pair.said;
    // Whole leaves are sent, by both: those that have missed something.
    Invariant::Bounded.demand(said <= 3 * held + EXTRA_BYTES, || {
        format!("{said} bytes were said to tell of half of {held}")
    })?;

    pair.forget()?;

    // One server leaves when its link has just come up, and one when its peer has not read for
    // long.
    for is_joined in [false, true] {
        let mut pair = Pair::new(seed);
        if is_joined {
            pair.connect();
            pair.carry(false)?;
            pair.report(A, &ids, crowd.shape, 1)?;
        } else {
            pair.report(A, &ids, crowd.shape, 1)?;
            pair.connect();
            while pair.bodies[A].server.peer(PeerId(0)).state != LinkState::Up {
                pair.trip()?;
            }
        }
        pair.leave()?;
    }
    Ok(Price { held, said: [refilled.0, said], trips: [refilled.1, pair.trips] })
}

fn ids(crowd: Crowd, seed: u64) -> Vec<String> {
    let all = (0u64..).map(|number| format!("{:x}", number.wrapping_mul(0x9e37_79b9) ^ seed));
    match crowd.shape {
        Shape::Usual | Shape::LongLines => all.take(crowd.clients).collect(),
        Shape::HeavyLeaf => {
            let pair = Pair::new(seed);
            let store = pair.bodies[A].server.store();
            let mut leaf = None;
            let is_heavy = |id: &String| {
                let own = store.key(id.as_bytes()).leaf();
                *leaf.get_or_insert(own) == own
            };
            all.filter(is_heavy).take(crowd.clients).collect()
        }
    }
}

impl Pair {
    fn new(seed: u64) -> Pair {
        let body = |at: usize| {
            let (name, other) = [("A", "B"), ("B", "A")][at];
            let peer = PeerSettings { name: other.into(), dials: at == A, plain: None };
            let mut settings = settings(name, vec![peer], seed);
            settings.nonce_key = [at as u8 + 1; 32];
            settings.limits.expire_after = Some(Duration::from_secs(3_600));
            Host::new(settings, Duration::ZERO, 0)
        };
        let now = Duration::from_secs(1);
        let mut pair = Pair { bodies: [body(A), body(B)], links: 0, now, said: 0, trips: 0 };
        for body in &mut pair.bodies {
            body.set_time(now);
            body.start();
        }
        pair
    }

    /// Clients report to one of the two, at this time on their clocks.
    fn report(
        &mut self,
        at: usize,
        ids: &[String],
        shape: Shape,
        time: u32,
    ) -> Result<(), Violation> {
        let conn = ConnId::new(ConnKind::Client, u64::from(time), at + 1);
        self.bodies[at].accept(conn);
        let digits = match shape {
            Shape::Usual => "5".to_owned(),
            Shape::LongLines | Shape::HeavyLeaf => "1".repeat(LONG_DIGITS),
        };
        // A report is forgotten an hour after it was received, and this is when.
        let seconds = super::host::EPOCH + u64::from(time);
        for id in ids {
            let line = format!("IAMAT {id} +1.{digits}-1.5 {seconds}\n");
            self.bodies[at].arrive(conn, line.as_bytes());
            self.bodies[at].flush(conn, usize::MAX);
        }
        self.bodies[at].lose(conn);
        self.check(at)
    }

    /// Demands that the hosts asked nothing forbidden of the world.
    fn check(&mut self, at: usize) -> Result<(), Violation> {
        self.bodies[at].first_violation().map_or(Ok(()), Err)
    }

    /// A new link that carries everything that the two have to say; a client of A goes on reporting
    /// meanwhile.
    fn meet(&mut self) -> Result<(), Violation> {
        self.connect();
        self.carry(true)
    }

    /// A leaves: if B says that it keeps everything, it must have it; and it must say so.
    fn leave(&mut self) -> Result<(), Violation> {
        let lines = lines_of(self.bodies[A].server.store());
        self.bodies[A].dismiss_clients();
        self.bodies[A].leave();
        self.carry(false)?;
        let is_kept = self.bodies[A].server.hand_over().kept_by == 1;
        Invariant::Keeping.demand(is_kept, || "no one keeps what a leaver knew".to_owned())?;
        let others = lines_of(self.bodies[B].server.store());
        Invariant::Keeping.demand(others == lines, || {
            format!("of {} reports of a leaver, {} are kept", lines.len(), others.len())
        })
    }

    fn connect(&mut self) {
        self.links += 1;
        (self.said, self.trips) = (0, 0);
        let conn = self.conn();
        self.bodies[B].accept(conn);
        while self.bodies[A].server.peer(PeerId(0)).state != LinkState::Dialing {
            self.pass(Duration::from_millis(300));
        }
        self.bodies[A].connected(PeerId(0), conn);
    }

    fn conn(&self) -> ConnId {
        ConnId::new(ConnKind::Peer, self.links, 0)
    }

    /// Carries everything over that the two have to say.
    fn carry(&mut self, is_busy: bool) -> Result<(), Violation> {
        while self.trip()? > 0 {
            let trips_max = 1_000 + self.bodies[A].server.store().len();
            Invariant::Endless.demand(self.trips < trips_max, || "they go on and on".to_owned())?;
            if is_busy && self.trips < 50 {
                self.report(A, &["walker".to_owned()], Shape::Usual, 1_000 + self.trips as u32)?;
            }
        }
        Ok(())
    }

    /// Carries over once what each has to say. Says how many bytes that were.
    fn trip(&mut self) -> Result<usize, Violation> {
        let (conn, mut carried) = (self.conn(), 0);
        for from in [A, B] {
            let text = self.bodies[from].flush(conn, READ_BYTES);
            carried += text.len();
            self.bodies[1 - from].arrive(conn, &text);
            self.check(from)?;
            self.check(1 - from)?;
        }
        (self.said, self.trips) = (self.said + carried, self.trips + 1);
        Ok(carried)
    }

    /// B does not read while one client says much, and then these report again. It hears about them
    /// and of hardly anybody else: who is slow must not be given more to read than there is news.
    fn fall_behind(&mut self, ids: &[String], shape: Shape) -> Result<(), Violation> {
        (self.said, self.trips) = (0, 0);
        let mut much = 0;
        for time in 2.. {
            Invariant::Endless.demand(time < REPORTS_UNREAD_MAX, || {
                "who does not read is told more and more".to_owned()
            })?;
            self.report(A, &["runner".to_owned()], Shape::Usual, time)?;
            let peer = self.bodies[A].server.peer(PeerId(0));
            if peer.is_behind {
                break;
            }
            much = peer.owed;
        }
        self.report(A, ids, shape, 2)?;
        self.carry(false)?;
        self.are_equal()?;

        let store = self.bodies[A].server.store();
        let lines = ids.iter().filter_map(|id| Some(store.find(id.as_bytes())?.line_len()));
        let (news, longest) = (lines.clone().sum::<usize>(), lines.max().unwrap_or(0));
        let heaviest = (0..LEAVES).map(|leaf| store.len_of(leaf as Leaf)).max().unwrap_or(0);
        // Others have a slice in common with them: so many in a leaf that is full, a few by chance.
        let beside = news / 8 + 2 * news * heaviest / SLICES + 4 * longest;
        let said_max = much + LITTLE_BYTES + news + beside;
        Invariant::Bounded.demand(self.said <= said_max, || {
            format!("{} bytes were said to one who was behind with {news}", self.said)
        })
    }

    fn part(&mut self) -> Result<(), Violation> {
        let conn = self.conn();
        self.bodies.iter_mut().for_each(|body| body.lose(conn));
        self.check(A)?;
        self.check(B)
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        for body in &mut self.bodies {
            body.set_time(self.now);
            body.expire();
        }
    }

    fn are_equal(&self) -> Result<(), Violation> {
        let [ones, others] = [A, B].map(|at| lines_of(self.bodies[at].server.store()));
        agree(("A", &ones), ("B", &others))?;
        self.bodies.iter().try_for_each(is_kept_up)
    }

    /// Memory is what is held and a bounded share.
    fn is_small(&self, held: usize) -> Result<(), Violation> {
        let store = self.bodies[A].server.store();
        let index_max =
            INDEX_BYTES * store.len() + LEAF_BYTES * store.digest().filled(Node::ROOT).count();
        Invariant::Bounded.demand(store.index_bytes() <= index_max, || {
            format!("an index of {} bytes, and {index_max} are many", store.index_bytes())
        })?;
        let bytes_max = held + held / 8 + SHARE_BYTES * store.len() + BASE_BYTES;
        Invariant::Bounded.demand(store.bytes() <= bytes_max, || {
            format!("{} bytes for {held}, and {bytes_max} are many", store.bytes())
        })
    }

    /// All reports become too old, and are forgotten a few at a time.
    fn forget(&mut self) -> Result<(), Violation> {
        self.part()?;
        self.now += Duration::from_secs(7_200);
        let clients = self.bodies[A].server.store().len();
        let mut sweeps = 0;
        while !self.bodies[A].server.store().is_empty() {
            self.pass(Duration::from_millis(100));
            self.check(A)?;
            sweeps += 1;
            let is_ending = sweeps < 700 + clients / 1_000;
            Invariant::Bounded.demand(is_ending, || "they are not forgotten".to_owned())?;
        }
        self.is_small(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_costs_what_it_must() {
        for (clients, shape) in
            [(20_000, Shape::Usual), (1_000, Shape::LongLines), (200, Shape::HeavyLeaf)]
        {
            let price =
                run(Crowd { clients, shape }, 1).unwrap_or_else(|broken| panic!("{broken}"));
            assert!(price.trips[0] <= 50 + price.held / 1_000, "{price:?}");
        }
    }
}
