//! Answers questions about places: the outward half beside the reactor, and the only folder that
//! names ureq.
//!
//! It is apart from `core` because answering blocks, allocates and asks strangers; `core` only
//! decides when to ask and how long to wait. It is apart from `reactor` because it knows nothing
//! of readiness: [`Atlas`] answers at once on the loop's thread, [`GoogleLegacy`] blocks whichever
//! worker thread calls it. It starts no threads and writes no log.
//!
//! Whatever the source, the answer is the body of a Nearby Search as Google's legacy service gives
//! it (spec.md, section 3). Reading order: [`globe`], [`index`], [`atlas`], [`render`],
//! [`google_legacy`], [`resolver`].

pub mod atlas;
pub mod desk;
pub mod globe;
pub mod google_legacy;
pub mod index;
pub mod render;
pub mod resolver;

use crate::core::whatsat::{Position, Question};

pub use atlas::{Atlas, AtlasError};
pub use google_legacy::{GoogleLegacy, SourceError};

/// Whose places are compiled in, as CC BY 4.0 (section 3a) wants it told: for `--version`; NOTICE
/// says the same. Answers carry it as HTML in `html_attributions`.
pub const ATTRIBUTION: &str = "Places: GeoNames (https://www.geonames.org/), \
     CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), modified.";

/// Whoever can say what is near.
pub trait Source: Send + Sync {
    /// Appends the answer to `question`: a complete JSON document without blank lines and without
    /// a newline at its end. What goes wrong is told by the document's `status` and
    /// `error_message`; there is always a document.
    ///
    /// It holds at most `question.bound` results, nearest first.
    fn answer(&self, question: &Question, out: &mut Vec<u8>) -> Told;
}

/// Whether a source was of use, or its document only says why not. A service that says no has
/// answered; one that is not there, or talks nonsense, has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    Answer,
    Excuse,
}

/// One place, as every source that renders its own answers describes it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// Who gave the place its id: the part of `place_id` before the colon.
    pub authority: &'a str,
    /// The id, unique to its authority.
    pub id: &'a str,
    pub name: &'a str,
    pub position: Position,
    /// Where it lies, in words.
    pub vicinity: &'a str,
    /// Of Google's place types, those that fit.
    pub types: &'a [&'a str],
}
