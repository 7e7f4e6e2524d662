//! The newest report of every client. Apart because it alone decides what is newer, and because
//! its memory is laid out by hand; it does not know who told it or who must hear.
//!
//! In use, almost every look-up finds its client, and its cost is the two cache misses it takes:
//! one for the index, one for the record. So the index is one flat table whose slots hold a part
//! of the hash (no second miss for a stranger), and a record is one piece of text.
//!
//! ```text
//!   index: home = the first bits of the tag              arena: records, 4-byte steps
//!   ┌──────────┬──────────┬──────────┬──────────┐        ┌───┬──────────────────────────────┐
//!   │  empty   │ tag, ref │ tag, ref │  empty   │        │hdr│Hill +0.2 kiwi +34-118 15200… │
//!   └──────────┴──────────┴────┬─────┴──────────┘        └───┴──────────────────────────────┘
//!                              └────────────────────────▶
//! ```
//!
//! The first bits of the hash choose the slot, so the clients of one leaf of the digest lie side
//! by side, and "send all of this leaf" is a look at a few slots. It also means that the index
//! grows without looking at a single name: each slot says where it belongs.
//!
//! The servers of a herd hash with one key, for only then have their leaves the same clients.
//!
//! There is no deletion in the protocol, so there are no tombstones; a record that has expired is
//! taken out, and those behind it move up.
//!
//! invariant: every record in the arena that is not free is named by exactly one slot
//! invariant: at least one slot in eight is empty, so every search ends
//! invariant: between a record's home and its slot no slot is empty
//! invariant: the digest is that of the records held

use std::cmp::Ordering;
use std::hint::black_box;

use polymur_hash::PolymurHash;

use super::arena::{Arena, RecordRef};
use super::clock::PosixTime;
use super::digest::{Digest, Hash, LEAVES, Leaf};
use super::planted::{Bug, misjudged, planted};
use super::wire::Report;

/// What the store says of a report it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was better than what the store held, and now is what the store holds.
    News { leaf: Leaf },
    /// The store holds exactly this.
    Known,
    /// The store holds a better one.
    Stale,
}

impl Verdict {
    pub fn is_news(self) -> bool {
        matches!(self, Verdict::News { .. })
    }
}

pub struct Store {
    hasher: PolymurHash,
    index: Vec<Slot>,
    arena: Arena,
    digest: Digest,
    clients: usize,
}

/// A place in the index: the record of a client, and enough of the hash to pass strangers by.
#[derive(Clone, Copy)]
struct Slot {
    tag: Tag,
    record: Option<RecordRef>,
}

/// The first half of a client's hash.
pub type Tag = u32;

impl Store {
    /// Longest report that can be kept, in bytes of its AT line.
    pub const REPORT_BYTES_MAX: usize = Arena::TEXT_BYTES_MAX;
    const INDEX_MIN: usize = 64;
    const EMPTY: Slot = Slot { tag: 0, record: None };

    /// `key` keeps strangers, who choose the client ids, from choosing their hashes too.
    pub fn new(key: (u64, u64)) -> Store {
        Store {
            hasher: PolymurHash::from_u64x2_seed(key.0, key.1),
            index: vec![Self::EMPTY; Self::INDEX_MIN],
            arena: Arena::new(),
            digest: Digest::new(),
            clients: 0,
        }
    }

    /// Keeps the report if it is better than what is held of its client. The outcome does not
    /// depend on the order in which reports come: every server ends with the same.
    pub fn put(&mut self, report: &Report<'_>) -> Verdict {
        let mut text = Vec::with_capacity(report.fields_len());
        report.write_fields(&mut text);
        self.put_text(self.tag(report.client), report, &text)
    }

    /// `put` for whoever knows the client's tag and has the report as `write_fields` writes it.
    pub fn put_text(&mut self, tag: Tag, report: &Report<'_>, text: &[u8]) -> Verdict {
        debug_assert_eq!(text.len(), report.fields_len(), "the text is the report's");
        let at = self.search(tag, report.client);
        let client = report.client_at()..report.client_at() + report.client.len();
        match self.index[at].record {
            None => {
                let record = self.arena.add(text, client);
                self.insert(at, Slot { tag, record: Some(record) });
                if !planted(Bug::DigestForgetsNew) {
                    self.digest.toggle(leaf(tag), self.hasher.hash(text));
                }
            }
            Some(held) => {
                let (held_text, held_client) = self.arena.parts(held);
                match rank_against(report, held_text, held_client.end) {
                    Ordering::Less => return Verdict::Stale,
                    Ordering::Equal => return Verdict::Known,
                    Ordering::Greater => {}
                }
                // Side by side: the processor goes on with one while the other waits.
                let (old, new) = (self.hasher.hash(held_text), self.hasher.hash(text));
                let old = if planted(Bug::DigestKeepsOld) { 0 } else { old };
                self.digest.toggle(leaf(tag), old ^ new);
                self.index[at].record = Some(self.arena.replace(held, text, client));
            }
        }
        Verdict::News { leaf: leaf(tag) }
    }

    /// The newest report of a client, if there is any.
    pub fn find(&self, client: &[u8]) -> Option<Report<'_>> {
        let record = self.index[self.search(self.tag(client), client)].record?;
        Some(Report::from_fields(self.arena.text(record)))
    }

    /// Has what a search will look at brought into the cache. A search waits twice for memory,
    /// for its slot and then for its record; several at once wait hardly longer than one.
    pub fn fetch_ahead(&self, tags: impl Iterator<Item = Tag> + Clone) {
        let records = |tag| self.index[self.home(tag)].record;
        for record in tags.clone().map(records) {
            black_box(record);
        }
        for record in tags.filter_map(records) {
            self.arena.fetch_ahead(record);
        }
    }

    /// Clients known.
    pub fn len(&self) -> usize {
        self.clients
    }

    pub fn is_empty(&self) -> bool {
        self.clients == 0
    }

    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// All reports of a leaf.
    pub fn reports_of(&self, leaf: Leaf) -> impl Iterator<Item = Report<'_>> {
        let slots = self.slots_of(leaf);
        slots.map(|(_, record)| Report::from_fields(self.arena.text(record)))
    }

    /// All reports.
    pub fn reports(&self) -> impl Iterator<Item = Report<'_>> {
        let records = self.index.iter().filter_map(|slot| slot.record);
        records.map(|record| Report::from_fields(self.arena.text(record)))
    }

    /// Takes out the report of a client; says whether there was one.
    pub fn remove(&mut self, client: &[u8]) -> bool {
        let leaf = leaf(self.tag(client));
        self.remove_where(leaf, |report| report.client == client) > 0
    }

    /// Takes out what a leaf holds for which `is_over`; says how many those were.
    pub fn remove_where(&mut self, leaf: Leaf, is_over: impl Fn(&Report<'_>) -> bool) -> usize {
        let mut removed = 0;
        loop {
            let found = self
                .slots_of(leaf)
                .find(|&(_, record)| is_over(&Report::from_fields(self.arena.text(record))));
            let Some((at, record)) = found else { return removed };
            self.digest.toggle(leaf, self.hash(record));
            self.arena.remove(record);
            self.take_out(at);
            removed += 1;
        }
    }

    /// Where a search for this client begins.
    pub fn tag(&self, client: &[u8]) -> Tag {
        (self.hasher.hash(client) >> (u64::BITS - Tag::BITS)) as Tag
    }

    /// What a record adds to the digest of its leaf.
    fn hash(&self, record: RecordRef) -> Hash {
        self.hasher.hash(self.arena.text(record))
    }

    /// The slot where a search begins: as far into the index as the tag is into all tags. So the
    /// index may be of any size, and is in the order of tags at each.
    fn home(&self, tag: Tag) -> usize {
        ((u64::from(tag) * self.index.len() as u64) >> Tag::BITS) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.index.len() { 0 } else { at + 1 }
    }

    /// The slot of this client, or the empty one where it would go.
    fn search(&self, tag: Tag, client: &[u8]) -> usize {
        let mut at = self.home(tag);
        loop {
            let slot = self.index[at];
            match slot.record {
                None => return at,
                Some(record) if slot.tag == tag && self.arena.client(record) == client => {
                    return at;
                }
                Some(_) => at = self.next(at),
            }
        }
    }

    /// The slots of a leaf's records: between the first home that the leaf has and the first
    /// empty slot behind the last.
    fn slots_of(&self, leaf: Leaf) -> impl Iterator<Item = (usize, RecordRef)> {
        let size = self.index.len();
        let first_tag = Tag::from(leaf) << LEAF_SHIFT;
        let homes = self.home(first_tag)..=self.home(first_tag | ((1 << LEAF_SHIFT) - 1));
        let is_within = move |&at: &usize| homes.contains(&at);
        let first = self.home(first_tag);
        (first..first + size)
            .map(move |at| (at, self.index[at % size]))
            .take_while(move |(at, slot)| slot.record.is_some() || is_within(at))
            .filter(move |(_, slot)| self::leaf(slot.tag) == leaf)
            .filter_map(move |(at, slot)| Some((at % size, slot.record?)))
    }

    fn insert(&mut self, at: usize, slot: Slot) {
        self.index[at] = slot;
        self.clients += 1;
        if self.clients > self.index.len() / 8 * 7 {
            self.grow();
        }
    }

    /// Makes the index larger by a quarter: most of it is in use at any size. The records stay
    /// where they are and are not even looked at.
    fn grow(&mut self) {
        let larger = vec![Self::EMPTY; self.index.len() / 4 * 5];
        for slot in std::mem::replace(&mut self.index, larger) {
            if slot.record.is_none() {
                continue;
            }
            let mut at = self.home(slot.tag);
            while self.index[at].record.is_some() {
                at = self.next(at);
            }
            self.index[at] = slot;
        }
    }

    /// Empties a slot. Each of those behind it moves into the gap if its home is not behind that.
    fn take_out(&mut self, at: usize) {
        let size = self.index.len();
        let distance = |from: usize, to: usize| (to + size - from) % size;
        let (mut gap, mut next) = (at, self.next(at));
        while self.index[next].record.is_some() {
            let home = self.home(self.index[next].tag);
            if distance(home, next) >= distance(gap, next) {
                self.index[gap] = self.index[next];
                gap = next;
            }
            next = self.next(next);
        }
        self.index[gap] = Self::EMPTY;
        self.clients -= 1;
    }

    /// What must be true between any two calls; for tests and the simulator.
    pub fn check_invariants(&self) {
        let used: Vec<_> = self.index.iter().filter_map(|slot| slot.record).collect();
        assert_eq!(used.len(), self.clients, "a slot for every client");
        assert!(self.clients <= self.index.len() / 8 * 7, "a search must end");
        self.arena.check_invariants(&used);
        let mut digest = Digest::new();
        for record in used {
            let client = self.arena.client(record);
            let tag = self.tag(client);
            let found = self.search(tag, client);
            assert_eq!(self.index[found].record, Some(record), "every record is found");
            digest.toggle(leaf(tag), self.hash(record));
        }
        assert!(digest == self.digest, "the digest is that of the records held");
    }
}

/// The bits of a tag behind those that say the leaf.
const LEAF_SHIFT: u32 = Tag::BITS - LEAVES.ilog2();

fn leaf(tag: Tag) -> Leaf {
    (tag >> LEAF_SHIFT) as Leaf
}

/// `rank`, but what is held is taken apart only if its time does not settle it. Its client's id
/// ends at `client_end`.
fn rank_against(report: &Report<'_>, held: &[u8], client_end: usize) -> Ordering {
    if let Some(order) = misjudged(report, held) {
        return order;
    }
    let time = Report::time_of_fields(held, client_end, report.time.len());
    PosixTime::order_as_spelled(report.time, time)
        .unwrap_or_else(|| rank(report, &Report::from_fields(held)))
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
    use crate::core::digest::Node;
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
        assert!(store.put(&report("AT A +0 x +1+1 5")).is_news());
        assert_eq!(store.put(&report("AT A +0 x +1+1 5")), Verdict::Known);
        assert_eq!(store.put(&report("AT B +7.25 x +2.5+2 4.9")), Verdict::Stale);
        assert_eq!(text(store.find(b"x").unwrap()), "A +0 x +1+1 5");
        assert!(store.put(&report("AT B +7.25 x +2.5+2.123456789 5.1")).is_news());
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
                assert!(store.put(&report(&line)).is_news());
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
            assert_eq!(store.put(&shown).is_news(), better);
            if better {
                map.insert(client, line);
            }
        }
        store.check_invariants();
        assert_eq!(store.len(), map.len());
        for (client, line) in &map {
            assert_eq!(text(store.find(client.as_bytes()).unwrap()), line[3..]);
        }
        let all: std::collections::BTreeSet<String> = store.reports().map(text).collect();
        assert!(all.len() == map.len() && map.values().all(|line| all.contains(&line[3..])));

        // Half of them leave, and those who stay are found as before.
        let leaves = |report: &Report<'_>| report.client.len().is_multiple_of(2);
        let gone: usize = (0..LEAVES).map(|leaf| store.remove_where(leaf as Leaf, leaves)).sum();
        map.retain(|_, line| !leaves(&report(line)));
        store.check_invariants();
        assert!(gone > 100 && map.len() > 100 && store.len() == map.len());
        for (client, line) in &map {
            assert_eq!(text(store.find(client.as_bytes()).unwrap()), line[3..]);
        }
    }

    /// Goal: the digest depends on what is held, not on how it came to be held.
    #[test]
    fn equal_stores_have_equal_digests() {
        let key = (1, 2);
        let [mut one, mut other] = [Store::new(key), Store::new(key)];
        for client in 0..1_000 {
            one.put(&report(&format!("AT A +0 c{client} +1+1 1{client}")));
        }
        for client in (0..1_000).rev() {
            other.put(&report(&format!("AT A +0 c{client} +1+1 0.{client}")));
            other.put(&report(&format!("AT A +0 c{client} +1+1 1{client}")));
        }
        let root = |store: &Store| store.digest().hash(Node::ROOT);
        assert_eq!(root(&one), root(&other));
        other.put(&report("AT A +0 c7 +1+1 17.1"));
        assert_ne!(root(&one), root(&other));
        let mut elsewhere = Store::new((3, 4));
        one.reports().for_each(|report| assert!(elsewhere.put(&report).is_news()));
        assert_ne!(root(&one), root(&elsewhere), "nobody knows the digest without the key");
    }
}
