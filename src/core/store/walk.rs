//! A walk over the reports of a store, in pieces: for a peer, a journal or an operator who is given
//! all of it. Apart from `store`, whose memory it reads, because a piece is the walker's idea.

use std::ops::{Range, RangeInclusive};

use arrayvec::ArrayVec;

use super::bucket::Tag;
use super::digest::{LEAVES, Leaf};
use super::record::Record;
use super::{Cursor, Key, Store};
use crate::wire::Report;

/// Reports that are brought into the cache together: they lie anywhere, and each is waited for.
const REPORTS_AHEAD: usize = 16;

/// A part of a leaf: the reports of the tags that lie together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    leaf: Leaf,
    first: Tag,
    last: Tag,
}

impl Span {
    /// How many parts a leaf has that are equally large, on the average. At a million clients there
    /// is one in each.
    pub const SLICES: u32 = 64;
    /// What is left of a tag in a slice.
    pub const SLICE_BITS: u32 = Tag::BITS - Self::SLICES.ilog2();

    /// Slices of a leaf; not none.
    pub fn of_slices(leaf: Leaf, slices: Range<u32>) -> Span {
        let last = (slices.end - 1) << Self::SLICE_BITS | (Tag::MAX >> Self::SLICES.ilog2());
        Span { leaf, first: slices.start << Self::SLICE_BITS, last }
    }

    /// The slice of its leaf that a client lies in.
    #[inline]
    pub fn around(key: Key) -> Span {
        Span::of_slices(key.leaf, key.slice()..key.slice() + 1)
    }

    /// The leaf that it is a part of.
    pub fn leaf(self) -> Leaf {
        self.leaf
    }

    /// The slices that it has, or of which it has something.
    pub fn slices(self) -> RangeInclusive<u32> {
        self.first >> Self::SLICE_BITS..=self.last >> Self::SLICE_BITS
    }

    /// Whether a client lies in it.
    pub fn has(self, key: Key) -> bool {
        key.leaf == self.leaf && (self.first..=self.last).contains(&key.tag)
    }

    /// All of a leaf from there on.
    fn from(Cursor { leaf, tag }: Cursor) -> Span {
        Span { leaf, first: tag, last: Tag::MAX }
    }
}

impl Store {
    /// Visits the reports of a leaf from a cursor on, until `visit` says that it is enough for now.
    /// Gives where to go on in this leaf, if there is more.
    pub fn visit_from(
        &self,
        cursor: Cursor,
        mut visit: impl FnMut(&Report<'_>) -> bool,
    ) -> Option<Cursor> {
        self.visit_records(cursor, |record| visit(&record.report()))
    }

    /// `visit_from` for callers that need not take the reports apart.
    fn visit_records(
        &self,
        cursor: Cursor,
        visit: impl FnMut(Record<'_>) -> bool,
    ) -> Option<Cursor> {
        let rest = self.visit_span(Span::from(cursor), visit)?;
        Some(Cursor { leaf: rest.leaf, tag: rest.first })
    }

    /// Visits the records of a part of a leaf, until `visit` says that it is enough for now. Gives
    /// what is left of the part, if there is more.
    ///
    /// Records of one tag are never parted, because nothing could tell them apart.
    pub(crate) fn visit_span(
        &self,
        span: Span,
        visit: impl FnMut(Record<'_>) -> bool,
    ) -> Option<Span> {
        self.visit_those(span, |_| true, visit)
    }

    /// `visit_span` for those records whose tags are wanted: others are not looked at.
    pub(crate) fn visit_those(
        &self,
        span: Span,
        is_wanted: impl Fn(Tag) -> bool,
        mut visit: impl FnMut(Record<'_>) -> bool,
    ) -> Option<Span> {
        let mut last = None;
        let mut is_enough = false;
        let records = self.buckets[usize::from(span.leaf)].from(span.first);
        let records = records.take_while(|(tag, _)| *tag <= span.last);
        let mut records = records.filter(|(tag, _)| is_wanted(*tag));
        loop {
            let ahead =
                records.by_ref().take(REPORTS_AHEAD).collect::<ArrayVec<_, REPORTS_AHEAD>>();
            if ahead.is_empty() {
                return None;
            }
            ahead.iter().for_each(|(_, at)| self.arena.fetch_ahead(*at));
            for (tag, at) in ahead {
                if is_enough && last != Some(tag) {
                    return Some(Span { first: tag, ..span });
                }
                is_enough = visit(self.arena.record(at));
                last = Some(tag);
            }
        }
    }

    /// How many reports there are in a part of a leaf.
    pub(crate) fn len_within(&self, span: Span) -> usize {
        let records = self.buckets[usize::from(span.leaf)].from(span.first);
        records.take_while(|(tag, _)| *tag <= span.last).count()
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
