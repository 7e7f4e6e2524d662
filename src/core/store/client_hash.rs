//! Clients by 64 bits instead of their names: for an index beside the store, which then needs no
//! copy of each name. Apart because no herd needs it to agree.

use super::{Cursor, Key, LEAVES, Leaf, Store, Tag};
use crate::wire::Report;

/// A client's two hashes, of which this process alone has drawn the key of the second: nobody can
/// choose names that are alike in both. Of a million clients, two are in one of 30 million herds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientHash(pub u64);

const TAG_BITS: u32 = u64::BITS - LEAVES.ilog2();

impl ClientHash {
    /// Where the client is or would be kept.
    pub fn key(self) -> Key {
        let tag = (self.0 << LEAVES.ilog2() >> (u64::BITS - Tag::BITS)) as Tag;
        Key { leaf: (self.0 >> TAG_BITS) as Leaf, tag }
    }
}

impl Store {
    /// The hash of a client, known or not.
    pub fn client_hash(&self, client: &[u8]) -> ClientHash {
        let [leaf, tag] = &*self.client_hashers;
        let (leaf, tag) = leaf.hash_both(tag, client);
        ClientHash(leaf >> TAG_BITS << TAG_BITS | tag >> LEAVES.ilog2())
    }

    /// The report of the client of this hash.
    pub fn find_by_hash(&self, hash: ClientHash) -> Option<Report<'_>> {
        let Key { leaf, tag } = hash.key();
        let alike = self.reports_from(Cursor { leaf, tag }).take_while(|(it, _)| *it == tag);
        let mut reports = alike.map(|(_, report)| report);
        reports.find(|report| self.client_hash(report.client) == hash)
    }

    /// Visits reports from a cursor on, whatever their leaf, at least so many unless there are no
    /// more. Gives where to go on.
    pub fn visit_some(
        &self,
        mut cursor: Cursor,
        mut most: usize,
        mut visit: impl FnMut(&Report<'_>),
    ) -> Option<Cursor> {
        loop {
            let rest = self.visit_from(cursor, |report| {
                visit(report);
                most = most.saturating_sub(1);
                most == 0
            });
            if rest.is_some() {
                return rest;
            }
            let leaf = Some(usize::from(cursor.leaf) + 1).filter(|leaf| *leaf < LEAVES)?;
            cursor = Cursor { leaf: leaf as Leaf, tag: 0 };
            if most == 0 {
                return Some(cursor);
            }
        }
    }
}

impl Cursor {
    /// As a number, for those who keep it elsewhere.
    pub fn number(self) -> u64 {
        u64::from(self.leaf) << Tag::BITS | u64::from(self.tag)
    }

    /// What `number` gave; `None` if it has not.
    pub fn numbered(number: u64) -> Option<Cursor> {
        let leaf = Leaf::try_from(number >> Tag::BITS).ok()?;
        (usize::from(leaf) < LEAVES).then_some(Cursor { leaf, tag: number as Tag })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::HashKeys;

    #[test]
    fn clients_are_found_by_their_hashes() {
        let mut store = Store::new(HashKeys { herd: (1, 2), process: (5, 6) });
        let names = Vec::from_iter((0..1_000).map(|n| format!("client-{n}")));
        for name in &names {
            let line = format!("AT A +0 {name} +1+1 5");
            assert!(store.put(&Report::of_line(line.as_bytes()).unwrap()).is_news());
        }
        for name in &names {
            let hash = store.client_hash(name.as_bytes());
            assert_eq!(hash.key(), store.key(name.as_bytes()));
            assert_eq!(store.find_by_hash(hash).unwrap().client, name.as_bytes());
        }
        assert!(store.find_by_hash(store.client_hash(b"nobody")).is_none());
    }

    #[test]
    fn some_and_some_are_all() {
        let mut store = Store::new(HashKeys { herd: (1, 2), process: (5, 6) });
        for client in 0..1_000 {
            let line = format!("AT A +0 {client} +1+1 5");
            store.put(&Report::of_line(line.as_bytes()).unwrap());
        }
        let (mut met, mut cursor) = (0, Some(Cursor::default()));
        while let Some(from) = cursor {
            assert_eq!(Cursor::numbered(from.number()), Some(from));
            let before = met;
            cursor = store.visit_some(from, 7, |_| met += 1);
            assert!((7..=9).contains(&(met - before)) || cursor.is_none());
        }
        assert_eq!(met, 1_000);
        assert_eq!(Cursor::numbered(u64::MAX), None);
    }
}
