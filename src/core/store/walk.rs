//! A walk over the reports of a store, in pieces: for a peer, a journal or an operator who is given
//! all of it. Apart from `store`, whose memory it reads, because a piece is the walker's idea.

use arrayvec::ArrayVec;

use super::digest::{LEAVES, Leaf};
use super::record::Record;
use super::{Cursor, Store};
use crate::wire::Report;

/// Reports that are brought into the cache together: they lie anywhere, and each is waited for.
const REPORTS_AHEAD: usize = 16;

impl Store {
    /// Visits the reports of a leaf from a cursor on, until `visit` says that it is enough for now.
    /// Gives where to go on in this leaf, if there is more.
    ///
    /// Reports of one tag are never parted, because a cursor cannot tell them apart.
    pub fn visit_from(
        &self,
        cursor: Cursor,
        mut visit: impl FnMut(&Report<'_>) -> bool,
    ) -> Option<Cursor> {
        self.visit_records(cursor, |record| visit(&record.report()))
    }

    /// `visit_from` for callers that need not take the reports apart.
    pub(crate) fn visit_records(
        &self,
        cursor: Cursor,
        mut visit: impl FnMut(Record<'_>) -> bool,
    ) -> Option<Cursor> {
        let mut last = None;
        let mut is_enough = false;
        let mut records = self.buckets[usize::from(cursor.leaf)].from(cursor.tag);
        loop {
            let ahead =
                records.by_ref().take(REPORTS_AHEAD).collect::<ArrayVec<_, REPORTS_AHEAD>>();
            if ahead.is_empty() {
                return None;
            }
            ahead.iter().for_each(|(_, at)| self.arena.fetch_ahead(*at));
            for (tag, at) in ahead {
                if is_enough && last != Some(tag) {
                    return Some(Cursor { tag, ..cursor });
                }
                is_enough = visit(self.arena.record(at));
                last = Some(tag);
            }
        }
    }

    /// Writes the lines of reports from a cursor on, some `bytes` of them, whatever their leaf.
    /// Gives where to go on, if there is more.
    pub fn write_piece(
        &self,
        mut cursor: Cursor,
        bytes: usize,
        text: &mut Vec<u8>,
    ) -> Option<Cursor> {
        loop {
            let rest = self.visit_records(cursor, |record| {
                record.write_line(text);
                text.len() >= bytes
            });
            if rest.is_some() {
                return rest;
            }
            let leaf = Some(usize::from(cursor.leaf) + 1).filter(|leaf| *leaf < LEAVES)?;
            cursor = Cursor { leaf: leaf as Leaf, tag: 0 };
            if text.len() >= bytes {
                return Some(cursor);
            }
        }
    }
}
