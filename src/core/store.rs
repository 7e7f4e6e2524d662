//! The newest report of every client. Apart because it alone decides what is newer, and because
//! its memory is laid out by hand; it does not know who told it or who must hear.
//!
//! In use, almost every look-up finds its client, and its cost is the two cache misses it takes:
//! one for the index, one for the record. So the index is one flat table whose slots hold a part
//! of the hash (no second miss for a stranger), and a record is one piece of text.
//!
//! ```text
//!   index: slot = hash mod size, then the next ones      arena: records, 8-byte steps
//!   ┌──────────┬──────────┬──────────┬──────────┐        ┌───┬──────────────────────────────┐
//!   │  empty   │ tag, ref │ tag, ref │  empty   │        │hdr│Hill +0.2 kiwi +34-118 15200… │
//!   └──────────┴──────────┴────┬─────┴──────────┘        └───┴──────────────────────────────┘
//!                              └────────────────────────▶
//! ```
//!
//! There is no deletion in the protocol, so there are no tombstones.
//!
//! invariant: every record in the arena that is not free is named by exactly one slot
//! invariant: at least one slot in eight is empty, so every search ends

use std::cmp::Ordering;

use siphasher::sip::SipHasher13;

use super::arena::{Arena, RecordRef};
use super::clock::PosixTime;
use super::wire::Report;

/// What the store says of a report it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was better than what the store held, and now is what the store holds.
    News,
    /// The store holds exactly this.
    Known,
    /// The store holds a better one.
    Stale,
}

pub struct Store {
    hasher: SipHasher13,
    index: Vec<Slot>,
    arena: Arena,
    clients: usize,
}

/// A place in the index: the record of a client, and enough of the hash to pass strangers by.
#[derive(Clone, Copy)]
struct Slot {
    tag: u32,
    record: Option<RecordRef>,
}

/// Where a walk over the store has come to. A walk visits every client that was known when it
/// began, perhaps some twice, never none.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cursor {
    index_len: usize,
    at: usize,
}

impl Store {
    /// Longest report that can be kept, in bytes of its AT line.
    pub const REPORT_BYTES_MAX: usize = Arena::TEXT_BYTES_MAX;
    const INDEX_MIN: usize = 64;
    const EMPTY: Slot = Slot { tag: 0, record: None };

    /// `key` keeps strangers, who choose the client ids, from choosing their hashes too.
    pub fn new(key: (u64, u64)) -> Store {
        Store {
            hasher: SipHasher13::new_with_keys(key.0, key.1),
            index: vec![Self::EMPTY; Self::INDEX_MIN],
            arena: Arena::new(),
            clients: 0,
        }
    }

    /// Keeps the report if it is better than what is held of its client. The outcome does not
    /// depend on the order in which reports come: every server ends with the same.
    pub fn put(&mut self, report: &Report<'_>) -> Verdict {
        let hash = self.hasher.hash(report.client);
        let at = self.search(hash, report.client);
        let Some(record) = self.index[at].record else {
            let record = self.arena.add(report);
            self.insert(at, Slot { tag: tag(hash), record: Some(record) });
            return Verdict::News;
        };
        match self.rank_against(report, record) {
            Ordering::Less => Verdict::Stale,
            Ordering::Equal => Verdict::Known,
            Ordering::Greater => {
                self.index[at].record = Some(self.arena.replace(record, report));
                Verdict::News
            }
        }
    }

    /// The newest report of a client, if there is any.
    pub fn find(&self, client: &[u8]) -> Option<Report<'_>> {
        let record = self.index[self.search(self.hasher.hash(client), client)].record?;
        Some(Report::from_fields(self.arena.text(record)))
    }

    /// Clients known.
    pub fn len(&self) -> usize {
        self.clients
    }

    pub fn is_empty(&self) -> bool {
        self.clients == 0
    }

    /// The next report of a walk that began with `Cursor::default()`, or `None` at its end.
    pub fn walk(&self, cursor: &mut Cursor) -> Option<Report<'_>> {
        if cursor.index_len != self.index.len() {
            // The index has grown and everything in it has moved.
            *cursor = Cursor { index_len: self.index.len(), at: 0 };
        }
        let rest = &self.index[cursor.at..];
        let step = rest.iter().position(|slot| slot.record.is_some()).unwrap_or(rest.len());
        let slot = rest.get(step);
        cursor.at += step + usize::from(slot.is_some());
        let record = slot?.record?;
        Some(Report::from_fields(self.arena.text(record)))
    }

    /// `rank`, but the record is taken apart only if its time does not settle it.
    fn rank_against(&self, report: &Report<'_>, record: RecordRef) -> Ordering {
        let held = self.arena.text(record);
        let stamp = Report::stamp_of_fields(held);
        report.stamp.cmp(&stamp).then_with(|| rank(report, &Report::from_fields(held)))
    }

    /// The slot of this client, or the empty one where it would go.
    fn search(&self, hash: u64, client: &[u8]) -> usize {
        let mask = self.index.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.index[at];
            match slot.record {
                None => return at,
                Some(record) if slot.tag == tag(hash) && self.arena.client(record) == client => {
                    return at;
                }
                Some(_) => at = (at + 1) & mask,
            }
        }
    }

    fn insert(&mut self, at: usize, slot: Slot) {
        self.index[at] = slot;
        self.clients += 1;
        if self.clients > self.index.len() / 8 * 7 {
            self.grow();
        }
    }

    /// Doubles the index. The records stay where they are and are not even looked at: only
    /// their clients' names are hashed again.
    fn grow(&mut self) {
        let larger = vec![Self::EMPTY; self.index.len() * 2];
        let mask = larger.len() - 1;
        for slot in std::mem::replace(&mut self.index, larger) {
            let Some(record) = slot.record else { continue };
            let mut at = self.hasher.hash(self.arena.client(record)) as usize & mask;
            while self.index[at].record.is_some() {
                at = (at + 1) & mask;
            }
            self.index[at] = slot;
        }
    }

    /// What must be true between any two calls; asked by tests.
    #[cfg(test)]
    pub fn check_invariants(&self) {
        let used: Vec<_> = self.index.iter().filter_map(|slot| slot.record).collect();
        assert_eq!(used.len(), self.clients, "a slot for every client");
        assert!(self.clients <= self.index.len() / 8 * 7, "a search must end");
        self.arena.check_invariants(&used);
        for record in used {
            let client = self.arena.client(record);
            let found = self.search(self.hasher.hash(client), client);
            assert_eq!(self.index[found].record, Some(record), "every record is found");
        }
    }
}

/// The upper half of the hash: the lower half already chose the slot.
fn tag(hash: u64) -> u32 {
    (hash >> 32) as u32
}

/// The total order on reports of one client: the later one is the greater one. Ties are broken
/// by every byte that servers tell each other, so that two reports are equal only if they are
/// the same; with any looser rule, two servers that heard them in different order would differ
/// for ever.
pub fn rank(a: &Report<'_>, b: &Report<'_>) -> Ordering {
    let finer = PosixTime::beyond_nanos;
    a.stamp
        .cmp(&b.stamp)
        .then_with(|| finer(a.time).cmp(finer(b.time)))
        .then_with(|| a.position.cmp(b.position))
        .then_with(|| a.server.cmp(b.server))
        .then_with(|| a.skew.cmp(b.skew))
        .then_with(|| a.time.cmp(b.time))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::wire::Command;

    fn report(line: &str) -> Report<'_> {
        match Command::parse(line.as_bytes()) {
            Command::At(report) => report,
            other => panic!("{line}: {other:?}"),
        }
    }

    fn text(report: Report<'_>) -> String {
        let mut line = Vec::new();
        report.write_fields(&mut line);
        String::from_utf8(line).unwrap()
    }

    #[test]
    fn reports_are_ranked_by_time_and_then_by_every_byte() {
        let check = |lesser: &str, greater: &str| {
            let (lesser, greater) = (report(lesser), report(greater));
            assert_eq!(rank(&lesser, &greater), Ordering::Less);
            assert_eq!(rank(&greater, &lesser), Ordering::Greater);
            assert_eq!(rank(&lesser, &lesser), Ordering::Equal);
        };
        check("AT B +9 x +2+2 9.5", "AT A +0 x +1+1 10");
        check("AT B +9 x +2+2 1.000000001", "AT A +0 x +1+1 1.000000002");
        check("AT B +9 x +2+2 1.0000000001", "AT A +0 x +1+1 1.0000000002");
        check("AT B +9 x +1+1 1", "AT A +0 x +1+2 1");
        check("AT A +9 x +1+1 1", "AT B +0 x +1+1 1");
        check("AT A +0 x +1+1 1", "AT A +1 x +1+1 1");
        check("AT A +0 x +1+1 1.5", "AT A +0 x +1+1 1.50");
    }

    #[test]
    fn the_newest_report_stays() {
        let mut store = Store::new((1, 2));
        assert_eq!(store.put(&report("AT A +0 x +1+1 5")), Verdict::News);
        assert_eq!(store.put(&report("AT A +0 x +1+1 5")), Verdict::Known);
        assert_eq!(store.put(&report("AT B +7.25 x +2.5+2 4.9")), Verdict::Stale);
        assert_eq!(text(store.find(b"x").unwrap()), "A +0 x +1+1 5");
        assert_eq!(store.put(&report("AT B +7.25 x +2.5+2.123456789 5.1")), Verdict::News);
        assert_eq!(text(store.find(b"x").unwrap()), "B +7.25 x +2.5+2.123456789 5.1");
        assert!(store.find(b"y").is_none());
        assert_eq!(store.len(), 1);
    }

    /// Goal: who makes all its clients' reports a little longer again and again must not own a
    /// place of every size for each of them.
    #[test]
    fn reports_that_grow_leave_few_places_behind() {
        let mut store = Store::new((1, 2));
        for length in (1..8_000).step_by(8) {
            let digits = "1".repeat(length);
            for client in 0..20 {
                let line = format!("AT A +0 {client} +1.{digits}+1 {length}");
                assert_eq!(store.put(&report(&line)), Verdict::News);
            }
        }
        store.check_invariants();
        let bytes = store.arena.bytes();
        assert!(bytes <= 4 << 20, "{bytes} bytes for 20 reports of 8,000");
    }

    /// Method: a store and a map, the same random reports; every one must be found, a walk must
    /// meet every one, also when the store grows under it.
    #[test]
    fn agrees_with_a_map() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut store = Store::new((3, 4));
        let mut map = std::collections::BTreeMap::<String, String>::new();
        for _ in 0..20_000 {
            let client = format!("client-{}", random.u32(0..5_000));
            let digits = "1".repeat(random.usize(1..200));
            let (time, server) = (random.u32(0..50), random.alphabetic());
            let line = format!("AT {server} +0 {client} +1.{digits}+1 {time}");
            let shown = report(&line);
            let better = match map.get(&client) {
                Some(held) => rank(&shown, &report(held)) == Ordering::Greater,
                None => true,
            };
            assert_eq!(store.put(&shown) == Verdict::News, better);
            if better {
                map.insert(client, line);
            }
        }
        store.check_invariants();
        assert_eq!(store.len(), map.len());
        for (client, line) in &map {
            assert_eq!(text(store.find(client.as_bytes()).unwrap()), line[3..]);
        }
        let mut cursor = Cursor::default();
        let mut met = std::collections::BTreeSet::new();
        let mut newcomers = 0..3_000;
        while let Some(held) = store.walk(&mut cursor) {
            met.insert(text(held));
            // New clients come while the walk goes on, until the index has to grow.
            if let Some(newcomer) = newcomers.next() {
                store.put(&report(&format!("AT A +0 newcomer-{newcomer} +1+1 1")));
            }
        }
        assert!(map.values().all(|line| met.contains(&line[3..])));
    }
}
