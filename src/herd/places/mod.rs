//! Answers questions about places: the outward half beside the reactor, and the only folder that
//! names ureq.
//!
//! Answering blocks, allocates and asks strangers, so it is not in `core`, which only decides when
//! to ask and how long to wait. This folder knows nothing of readiness: places held in memory
//! ([`Local`]) answer at once on the loop's thread, a [`Remote`] blocks the worker thread that
//! calls it. It starts no threads and writes no log.
//!
//! With every source, the answer is the body of a Nearby Search as Google's legacy service gives it
//! (PROTOCOL 3.5). Reading order: [`globe`], [`index`], [`render`]; [`held`], [`atlas`] and `file`
//! for what is in memory; [`http`], [`remote`] and the protocols [`google_legacy`], [`google_new`]
//! and [`overpass`] for what is asked elsewhere; [`call_gate`] for whether it is, and [`budget`]
//! for what that may cost.

pub mod atlas;
pub mod budget;
pub mod cache;
pub mod call_gate;
pub mod file;
pub mod globe;
pub mod google_legacy;
pub mod google_new;
pub mod held;
pub mod http;
pub mod index;
pub mod osm;
pub mod overpass;
pub mod remote;
pub mod render;
pub mod resolver;

use std::path::PathBuf;

use crate::config::{self, PlacesSource};
use herd_core::whatsat::{Position, Question};

pub use atlas::{Atlas, AtlasError};
pub use file::{PlacesFile, counted};
pub use http::SourceError;
pub use remote::Remote;

use cache::Cache;
use google_legacy::GoogleLegacy;
use google_new::GoogleNew;
use overpass::Overpass;
use remote::Protocol;

/// The source of the places that are compiled in, as CC BY 4.0 (section 3a) requires: for
/// `--version`; NOTICE says the same. Answers carry it as HTML in `html_attributions`.
pub const ATTRIBUTION: &str = "Places: GeoNames (https://www.geonames.org/), \
     CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/), modified.";

/// A source that can say what is near.
pub trait Source: Send + Sync {
    /// Appends the answer to `question`: a complete JSON document without blank lines and without a
    /// newline at its end. What goes wrong is in the document's `status` and `error_message`; there
    /// is always a document.
    ///
    /// It holds at most `question.bound` results, nearest first.
    fn answer(&self, question: &Question, out: &mut Vec<u8>) -> Outcome;
}

/// Whether a source was of use, or its document only says why not. A service that says no has
/// answered; one that is not there, or talks nonsense, has not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Answered,
    Failed,
}

/// One place, as every source that renders its own answers describes it.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The source of the place's id: the part of `place_id` before the colon. Empty if the id says
    /// so itself, or is Google's, whose services know it by nothing else.
    pub authority: &'a str,
    /// The id, unique to its authority.
    pub id: &'a str,
    pub name: &'a str,
    pub position: Position,
    /// Where it lies, in words.
    pub vicinity: &'a str,
    /// Google's place types, or words like them, with semicolons between them.
    pub types: &'a str,
}

/// Where the answers come from.
pub enum Supply {
    Local(Local),
    Remote(Remote),
}

/// Places that are held in memory once they are loaded.
#[derive(Clone, Debug)]
pub enum Local {
    Atlas,
    /// An operator's own, which may change while the server runs.
    File {
        path: PathBuf,
        attribution: Option<String>,
    },
}

/// What `Local::load` gives.
pub struct Loaded {
    pub source: Box<dyn Source>,
    pub places: usize,
    /// How many places, and what was wrong with others: for the log and for `herd status`.
    pub summary: String,
}

/// Whether so many places have been lost that an operator should look: the file may be half
/// written, or made from another region.
pub fn has_shrunk(before: usize, now: usize) -> bool {
    now < before.div_ceil(2)
}

impl Supply {
    /// Understands the configuration. Nothing is loaded or sent yet.
    pub fn of(places: &config::Places) -> Result<Supply, SourceError> {
        let key = places.key.clone();
        let needs_key = |source: PlacesSource| match (&places.key, &places.url) {
            // An operator's own service may need none.
            (None, None) => Err(SourceError::NoKey(source.name())),
            _ => Ok(()),
        };
        let (protocol, memory): (Box<dyn Protocol>, _) = match places.source {
            PlacesSource::Embedded => return Ok(Supply::Local(Local::Atlas)),
            PlacesSource::File => {
                let path = places.file.clone().ok_or(SourceError::NoFile)?;
                let attribution = places.attribution.clone();
                return Ok(Supply::Local(Local::File { path, attribution }));
            }
            PlacesSource::GoogleNew => {
                needs_key(places.source)?;
                (Box::new(GoogleNew { key }), None)
            }
            PlacesSource::GoogleLegacy => {
                needs_key(places.source)?;
                (Box::new(GoogleLegacy { key }), None)
            }
            PlacesSource::Overpass => {
                let memory = Cache::new(places.kept_max, places.kept);
                (Box::new(Overpass { deadline: places.deadline }), Some(memory))
            }
        };
        Remote::new(protocol, places, memory).map(Supply::Remote)
    }
}

impl Local {
    /// Reads all places. It takes up to a second, so a server does it on a thread of its own.
    ///
    /// # Errors
    /// A message. A file without one usable place is an error, too: it must not replace places
    /// that answer.
    pub fn load(&self) -> Result<Loaded, String> {
        match self {
            Local::Atlas => {
                let atlas = Atlas::load().map_err(|error| error.to_string())?;
                let (places, summary) = (atlas.len(), format!("{} places", atlas.len()));
                Ok(Loaded { source: Box::new(atlas), places, summary })
            }
            Local::File { path, attribution } => {
                let shown = path.display();
                let (places, survey) = PlacesFile::load(path, attribution.as_deref())
                    .map_err(|error| format!("{shown} cannot be used: {error}"))?;
                if places.is_empty() {
                    return Err(format!("{shown} holds no usable place: {survey}"));
                }
                let summary = format!("{survey} of {shown}");
                Ok(Loaded { source: Box::new(places), places: survey.places, summary })
            }
        }
    }
}

#[cfg(test)]
mod tests;
