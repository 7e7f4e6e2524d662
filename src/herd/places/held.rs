//! Places that are held in memory: a text with a row for each, and an index of where they lie. A
//! place is a view of its row. What a row looks like is the affair of the two that use this: the
//! `atlas`, which is compiled in, and an operator's `file`.

use std::num::NonZeroUsize;

use super::index::Index;
use super::{Outcome, Place, Source, render};
use herd_core::whatsat::{Position, Question};

/// A text of rows.
pub trait Rows: Send + Sync {
    /// The place whose row begins at `offset`.
    fn place(&self, offset: u32) -> Place<'_>;
}

/// Places that are ready to be asked.
pub struct Held<T> {
    pub(super) text: T,
    /// Where in the text the row of each place begins.
    pub(super) rows: Vec<u32>,
    /// Its rows are indices of `rows`.
    index: Index,
    /// HTML: which source the places are from.
    attribution: Option<String>,
}

impl<T: Rows> Held<T> {
    /// Indexes rows, each with its unit vector. `None` if there are too many.
    pub(super) fn new(
        text: T,
        rows: Vec<u32>,
        vectors: &[[f64; 3]],
        attribution: Option<&str>,
    ) -> Option<Held<T>> {
        let index = Index::new(vectors)?;
        Some(Held { text, rows, index, attribution: attribution.map(str::to_owned) })
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// At most `bound` places within `radius_km` of `at`, nearest first. If some are equally far,
    /// the one whose row is first in the text comes first.
    pub fn nearest(&self, at: Position, radius_km: f64, bound: NonZeroUsize) -> Vec<Place<'_>> {
        let rows = self.index.nearest(at, radius_km, bound);
        rows.into_iter().map(|row| self.text.place(self.rows[row as usize])).collect()
    }
}

impl<T: Rows> Source for Held<T> {
    fn answer(&self, question: &Question, out: &mut Vec<u8>) -> Outcome {
        let bound = NonZeroUsize::new(question.bound.into()).unwrap_or(NonZeroUsize::MIN);
        let near = self.nearest(question.at, question.radius_km, bound);
        let attributions: Vec<_> = self.attribution.as_deref().into_iter().collect();
        render::found(&attributions, &near, question.bound, out);
        Outcome::Answered
    }
}

/// The line that begins at `offset`, without its newline.
pub fn line(text: &str, offset: u32) -> &str {
    let rest = &text[offset as usize..];
    &rest[..memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len())]
}
