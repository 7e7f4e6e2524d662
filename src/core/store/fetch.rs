//! What lies in memory is brought to the processor before it is looked at, several pieces at once.
//! Apart from `store` because nothing depends on it but time.

use std::hint::black_box;

use arrayvec::ArrayVec;

use super::{Key, Store};

/// A store of this size is in the cache of any processor, and need not be brought there.
const CACHE_BYTES: usize = 1 << 20;

impl Store {
    /// Has what a search will look at brought into the cache. A search waits twice for memory,
    /// for its slot and then for its record; several at once wait hardly longer than one.
    pub fn fetch_ahead<const MAX: usize>(&self, keys: impl Iterator<Item = Key> + Clone) {
        if !self.is_beyond_cache() {
            return;
        }
        let bucket = |key: Key| &self.buckets[usize::from(key.leaf)];
        // All of the first before any of the second: none waits for another. The slot at which a
        // search begins brings those behind it, among them the one that it ends at.
        keys.clone().for_each(|key| {
            black_box(bucket(key).first(key.tag));
        });
        let records = keys.map(|key| bucket(key).of(key.tag).next().map(|(_, record)| record));
        let records = ArrayVec::<_, MAX>::from_iter(records);
        for record in records.into_iter().flatten() {
            self.arena.fetch_ahead(record);
        }
    }

    /// Whether a record is nearly always waited for: it lies in memory and in no cache.
    #[inline]
    pub(crate) fn is_beyond_cache(&self) -> bool {
        self.arena.bytes() >= CACHE_BYTES
    }
}
