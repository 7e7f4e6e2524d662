//! The newest report of every client. Apart because it alone decides what is newer, and because
//! its memory is laid out by hand; it does not know who told it or who must hear.
//!
//! In use, almost every look-up finds its client, and its cost is the two cache misses it takes:
//! one for the index, one for the record. So the index is flat, its slots hold a part of the hash
//! (no second miss for a stranger), and a record is one piece of memory (`record`).
//!
//! ```text
//!   leaf, keyed by the herd    tag, keyed by this process   arena: pages of records
//!   ┌─────┐                    ┌──────────┬──────────┐      ┌───┬─────────────────────────────┐
//!   │ 225 │───────────────────▶│  empty   │ tag, ref │      │hdr│ time, Hill +0.2 kiwi +34-118│
//!   └─────┘                    └──────────┴────┬─────┘      └───┴─────────────────────────────┘
//!                                              └────────────▶
//! ```
//!
//! A client has two hashes. Servers compare what they hold leaf by leaf, so the leaf is a hash that
//! all of them calculate alike. Where in the leaf a client lies is hashed with a key that this
//! process drew when it started: neither chosen ids nor the order in which they come make a search
//! long (`bucket`). "Send all of this leaf" is a walk along one list, and each list grows alone.
//!
//! There are no tombstones: a client that was erased has a report that says so, and what has
//! expired is taken out.
//!
//! invariant: every record in the arena is named by exactly one slot, in the list of its leaf
//! invariant: the digest is that of the records held

pub(crate) mod arena;
pub(crate) mod bucket;
pub mod digest;
mod fetch;
pub(crate) mod hash;
pub(crate) mod heard;
mod key;
mod pages;
pub(crate) mod rank;
pub(crate) mod record;
pub(crate) mod walk;
mod wipe;

use std::cmp::Ordering;

use crate::wire::Report;
use arena::{Arena, Moved, RecordRef};
use bucket::Bucket;
pub(crate) use bucket::Tag;
use digest::{Digest, LEAVES, Leaf};
use hash::Hasher;
pub use key::Key;
pub use rank::rank;
use rank::{is_later, rank_records};
use record::Record;
pub(crate) use walk::Span;

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

impl Verdict {
    /// Whether the store holds the report now and did not before.
    pub fn is_news(self) -> bool {
        self == Verdict::News
    }
}

/// The best report of each client known.
pub struct Store {
    /// Of clients: where their leaves are, and their tags. Boxed, or the loop over the lines of a
    /// batch would load all their keys before the first line, most of them for nothing.
    client_hashers: Box<[Hasher; 2]>,
    /// Of reports, for the digest; its key is that of leaves.
    report_hasher: Hasher,
    buckets: Box<[Bucket]>,
    arena: Arena,
    digest: Digest,
    clients: usize,
    bucket_bytes: usize,
}

/// The report of a client that is held.
struct Held<'a> {
    at: RecordRef,
    record: Record<'a>,
}

/// How far a walk through all reports has come. What changes meanwhile is met or not; what does
/// not change is met once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    pub(crate) leaf: Leaf,
    pub(crate) tag: Tag,
}

/// The keys of a store's hashes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HashKeys {
    /// The same at all servers of the herd, so that their leaves have the same clients.
    pub herd: (u64, u64),
    /// Of this process alone. It keeps strangers, who choose the ids, from choosing the hashes.
    pub process: (u64, u64),
}

impl Store {
    /// Longest report that can be kept, in bytes of its AT line.
    pub const REPORT_BYTES_MAX: usize = Record::TEXT_BYTES_MAX;

    /// A store that holds nothing.
    pub fn new(keys: HashKeys) -> Store {
        Store {
            client_hashers: Box::new([Hasher::new(keys.herd), Hasher::new(keys.process)]),
            report_hasher: Hasher::new(keys.herd),
            buckets: (0..LEAVES).map(|_| Bucket::default()).collect(),
            arena: Arena::new(),
            digest: Digest::new(),
            clients: 0,
            bucket_bytes: 0,
        }
    }

    /// Keeps the report if it is better than what is held of its client. The outcome does not
    /// depend on the order in which reports come: every server ends with the same.
    pub fn put(&mut self, report: &Report<'_>) -> Verdict {
        let mut text = Vec::with_capacity(report.fields_len());
        report.write_fields(&mut text);
        self.put_record(self.key(report.client), Record::of(report, &text), &text)
    }

    /// `put` for callers that know the client's key and have put the record together, of this text.
    /// Inlined: to hand over so much costs as much as to rank it.
    #[inline(always)]
    pub(crate) fn put_record(&mut self, key: Key, mut record: Record<'_>, text: &[u8]) -> Verdict {
        let Key { leaf, tag } = key;
        match self.search(key, record.client()) {
            None => {
                record.hash = self.report_hasher.hash(text);
                let at = self.arena.add(record);
                self.change(leaf, |bucket| bucket.insert(tag, at));
                self.clients += 1;
                self.digest.toggle(leaf, record.hash);
            }
            Some((slot, held)) => {
                if !is_later(record, held.record) {
                    match rank_records(record, held.record) {
                        Ordering::Less => return Verdict::Stale,
                        Ordering::Equal => return Verdict::Known,
                        Ordering::Greater => {}
                    }
                }
                let (at, old) = (held.at, held.record.hash);
                let is_as_long = held.record.bytes() == record.bytes();
                record.hash = self.report_hasher.hash(text);
                self.digest.toggle(leaf, old ^ record.hash);
                if is_as_long {
                    self.arena.overwrite(at, record);
                } else {
                    self.replace(leaf, (slot, at), record);
                }
            }
        }
        Verdict::News
    }

    /// The newest report of a client, if there is any.
    pub fn find(&self, client: &[u8]) -> Option<Report<'_>> {
        let (_, held) = self.search(self.key(client), client)?;
        Some(held.record.report())
    }

    /// Whether the client of an AT line is known and, unless there is room for more bytes, the
    /// report would fit where the one that is held lies.
    #[cold]
    pub fn has_place(&self, key: Key, line: &[u8], has_bytes: bool) -> bool {
        let fields = Report::fields_of(line);
        let report = Report::from_fields(fields);
        let held = self.search(key, report.client);
        let fits = |at| self.arena.fits(at, Record::of(&report, fields));
        held.is_some_and(|(_, held)| has_bytes || fits(held.at))
    }

    /// Clients known.
    pub fn len(&self) -> usize {
        self.clients
    }

    /// Whether no client is known.
    pub fn is_empty(&self) -> bool {
        self.clients == 0
    }

    /// Clients of a leaf.
    pub fn len_of(&self, leaf: Leaf) -> usize {
        self.buckets[usize::from(leaf)].len()
    }

    /// Memory that the reports and their index take.
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.bucket_bytes
    }

    /// What of that is the index.
    pub fn index_bytes(&self) -> usize {
        self.bucket_bytes
    }

    /// What shows where two stores differ.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The reports of a leaf from this cursor on, each with its tag. A walk that stops before a tag
    /// goes on there later and misses none that has not changed meanwhile.
    pub fn reports_from(&self, cursor: Cursor) -> impl Iterator<Item = (Tag, Report<'_>)> {
        let records = self.buckets[usize::from(cursor.leaf)].from(cursor.tag);
        records.map(|(tag, at)| (tag, self.arena.record(at).report()))
    }

    /// All reports.
    pub fn reports(&self) -> impl Iterator<Item = Report<'_>> {
        let filled = self.buckets.iter().filter(|bucket| bucket.len() > 0);
        let records = filled.flat_map(|bucket| bucket.from(0));
        records.map(|(_, at)| self.arena.record(at).report())
    }

    /// Takes out the report of a client; says whether there was one.
    pub fn remove(&mut self, client: &[u8]) -> bool {
        let key = self.key(client);
        let Some((slot, Held { at, .. })) = self.search(key, client) else { return false };
        self.change(key.leaf, |bucket| bucket.remove(slot));
        self.forget(key.leaf, at);
        true
    }

    /// Takes out what a leaf holds from a cursor on for which `is_over`; says how many those were,
    /// and where to go on: it looks at about `most` reports.
    pub fn remove_where(
        &mut self,
        cursor: Cursor,
        most: usize,
        mut is_over: impl FnMut(&Report<'_>) -> bool,
    ) -> (usize, Option<Cursor>) {
        let Cursor { leaf, tag: from } = cursor;
        let (mut at, mut seen, mut last, mut removed) = (0, 0, None, 0);
        while let Some((slot, tag, record)) = self.buckets[usize::from(leaf)].next(at, from) {
            // Records of one tag are never parted: the next walk begins at a tag.
            if seen >= most && last != Some(tag) {
                return (removed, Some(Cursor { leaf, tag }));
            }
            (seen, last, at) = (seen + 1, Some(tag), slot);
            if is_over(&self.arena.record(record).report()) {
                self.change(leaf, |bucket| bucket.remove(slot));
                self.forget(leaf, record);
                removed += 1;
            } else {
                at += 1;
            }
        }
        self.change(leaf, Bucket::shrink);
        (removed, None)
    }

    /// Where a client is or would be kept.
    #[inline(always)]
    pub fn key(&self, client: &[u8]) -> Key {
        let [leaf, tag] = &*self.client_hashers;
        let (leaf, tag) = leaf.hash_both(tag, client);
        let (leaf, tag) = (leaf >> (u64::BITS - LEAVES.ilog2()), tag >> (u64::BITS - Tag::BITS));
        Key { leaf: leaf as Leaf, tag: tag as Tag }
    }

    #[inline(always)]
    fn search(&self, key: Key, client: &[u8]) -> Option<(usize, Held<'_>)> {
        for (slot, at) in self.buckets[usize::from(key.leaf)].of(key.tag) {
            let record = self.arena.record(at);
            if record.client() == client {
                return Some((slot, Held { at, record }));
            }
        }
        None
    }

    /// Puts a record of another length where one was, or in a new place.
    fn replace(&mut self, leaf: Leaf, (slot, held): (usize, RecordRef), record: Record<'_>) {
        let (at, moved) = self.arena.replace(held, record);
        if at != held {
            self.buckets[usize::from(leaf)].set(slot, at);
            self.follow(moved);
        }
    }

    fn change(&mut self, leaf: Leaf, how: impl FnOnce(&mut Bucket)) {
        let bucket = &mut self.buckets[usize::from(leaf)];
        self.bucket_bytes -= bucket.bytes();
        how(bucket);
        self.bucket_bytes += bucket.bytes();
    }

    /// Forgets a record that no slot names any more.
    fn forget(&mut self, leaf: Leaf, record: RecordRef) {
        self.digest.toggle(leaf, self.arena.record(record).hash);
        self.clients -= 1;
        let moved = self.arena.remove(record);
        self.follow(moved);
    }

    /// Has the slot of a record that was moved name its new place.
    fn follow(&mut self, moved: Option<Moved>) {
        let Some(Moved { from, to }) = moved else { return };
        let Key { leaf, tag } = self.key(self.arena.record(to).client());
        let bucket = &mut self.buckets[usize::from(leaf)];
        if let Some((at, _)) = bucket.find(tag, |record| record == from) {
            bucket.set(at, to);
        }
    }

    /// What must be true between any two calls; for tests and the simulator.
    pub fn check_invariants(&self) {
        let mut digest = Digest::new();
        let mut used = Vec::new();
        for (leaf, bucket) in self.buckets.iter().enumerate() {
            bucket.check_invariants();
            for (tag, record) in bucket.from(0) {
                let kept = self.arena.record(record);
                let key = self.key(kept.client());
                assert_eq!(key, Key { leaf: leaf as Leaf, tag }, "where it belongs");
                let found = self.search(key, kept.client());
                assert_eq!(found.map(|(_, held)| held.at), Some(record));
                let mut text = Vec::new();
                kept.report().write_fields(&mut text);
                assert_eq!(kept.hash, self.report_hasher.hash(&text), "what it adds to the digest");
                digest.toggle(leaf as Leaf, kept.hash);
                used.push(record);
            }
        }
        assert_eq!(used.len(), self.clients, "a slot for every client");
        self.arena.check_invariants(used);
        let bucket_bytes: usize = self.buckets.iter().map(Bucket::bytes).sum();
        assert_eq!(bucket_bytes, self.bucket_bytes, "memory is accounted for");
        assert!(digest == self.digest, "the digest is that of the records held");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Command;
    use digest::Node;

    const KEYS: HashKeys = HashKeys { herd: (1, 2), process: (5, 6) };

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
    fn the_newest_report_stays() {
        let mut store = Store::new(KEYS);
        assert!(store.put(&report("AT A +0 x +1+1 5")).is_news());
        assert_eq!(store.put(&report("AT A +0 x +1+1 5")), Verdict::Known);
        assert_eq!(store.put(&report("AT B +7.25 x +2.5+2 4.9")), Verdict::Stale);
        assert_eq!(text(store.find(b"x").unwrap()), "A +0 x +1+1 5");
        assert!(store.put(&report("AT B +7.25 x +2.5+2.123456789 5.1")).is_news());
        assert_eq!(text(store.find(b"x").unwrap()), "B +7.25 x +2.5+2.123456789 5.1");
        assert!(store.find(b"y").is_none());
        assert_eq!(store.len(), 1);
    }

    /// Goal: memory is what is held and a bounded share, whatever was held before.
    #[test]
    fn reports_that_grow_and_shrink_leave_no_memory_behind() {
        let mut store = Store::new(KEYS);
        let lengths = (1..8_000).step_by(40);
        let mut time = 0;
        for length in lengths.clone().chain(lengths.rev()) {
            let digits = "1".repeat(length);
            time += 1;
            for client in 0..200 {
                let line = format!("AT A +0 {client} +1.{digits}+1 {time}");
                assert!(store.put(&report(&line)).is_news());
            }
            let (bytes, live) = (store.bytes(), 200 * (length + 30));
            assert!(bytes <= live * 3 / 2 + (2 << 20), "{bytes} bytes for {live}");
        }
        store.check_invariants();
    }

    /// Goal: a search is short although all clients are of one leaf, and in whatever order they
    /// come; a server that is refilled leaf by leaf is filled as fast as any.
    #[test]
    fn chosen_ids_do_not_make_a_search_long() {
        let (mut store, mut in_order) = (Store::new(KEYS), Store::new(KEYS));
        let ids = (0..).map(|number| format!("c{number}"));
        for id in ids.filter(|id| store.key(id.as_bytes()).leaf < 8).take(3_000).collect::<Vec<_>>()
        {
            assert!(store.put(&report(&format!("AT A +0 {id} +1+1 1"))).is_news());
        }
        store.reports().for_each(|report| assert!(in_order.put(&report).is_news()));
        store.check_invariants();
        in_order.check_invariants();
        assert_eq!(store.bytes(), in_order.bytes());
    }

    #[test]
    fn a_walk_goes_on_where_it_stopped() {
        let mut store = Store::new(KEYS);
        for client in 0..40_000 {
            let line = format!("AT A +0 c{client} +1+1 {}", client % 2);
            assert!(store.put(&report(&line)).is_news());
        }
        let (mut gone, mut walks) = (0, 0);
        for leaf in 0..LEAVES {
            let mut cursor = Some(Cursor { leaf: leaf as Leaf, tag: 0 });
            while let Some(from) = cursor {
                let (removed, next) = store.remove_where(from, 1, |report| *report.time == *b"1");
                (gone, walks, cursor) = (gone + removed, walks + 1, next);
            }
        }
        assert!(gone == 20_000 && store.len() == 20_000 && walks > 20_000);
        store.check_invariants();
    }

    /// Method: a store and a map, the same random reports; every one must be found, a walk must
    /// meet every one, also when the store grows under it.
    #[test]
    fn agrees_with_a_map() {
        let mut random = fastrand::Rng::with_seed(7);
        let mut store = Store::new(HashKeys { herd: (3, 4), ..KEYS });
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
        let places = (0..LEAVES).map(|leaf| Cursor { leaf: leaf as Leaf, tag: 0 });
        let gone: usize = places.map(|cursor| store.remove_where(cursor, 9, leaves).0).sum();
        map.retain(|_, line| !leaves(&report(line)));
        store.check_invariants();
        assert!(gone > 100 && map.len() > 100 && store.len() == map.len());
        for (client, line) in &map {
            assert_eq!(text(store.find(client.as_bytes()).unwrap()), line[3..]);
        }
    }

    /// Goal: the digest depends on what is held, not on how it came to be held. PROTOCOL 10.2.
    #[test]
    fn equal_stores_have_equal_digests() {
        let [mut one, mut other] = [Store::new(KEYS), Store::new(KEYS)];
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
        let mut elsewhere = Store::new(HashKeys { herd: (3, 4), ..KEYS });
        one.reports().for_each(|report| assert!(elsewhere.put(&report).is_news()));
        assert_ne!(root(&one), root(&elsewhere), "nobody knows the digest without the key");
    }
}
