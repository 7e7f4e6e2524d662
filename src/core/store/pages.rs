//! A walk through the store in pieces, for those who ask for it page by page and keep elsewhere how
//! far they are. Apart because no herd needs it.

use super::{Cursor, LEAVES, Leaf, Store, Tag};
use crate::wire::Report;

impl Store {
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
