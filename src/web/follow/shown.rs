//! Clients as followers hear about them, put together once for all that look at the same change.

use std::fmt::Write;

use herd_core::store::{Key, Store};
use herd_core::whatsat::Position;
use herd_core::wire::{self, Report};

use super::recency::{Recency, Slot};
use crate::seen::{json, shown};

/// So many are remembered: those that change within a round.
const SIZE: usize = 4_096;

/// A client, as followers hear about it.
pub struct Shown {
    slot: Slot,
    /// The change that this is of.
    seq: u64,
    pub client: Box<[u8]>,
    pub at: Option<Position>,
    /// Its name, as JSON.
    pub id: Box<str>,
    /// Longitude and latitude, as JSON, with a comma between.
    pub place: Box<str>,
    /// The second it was there, as JSON.
    pub time: Box<str>,
}

impl Shown {
    fn of(slot: Slot, seq: u64, report: &Report<'_>) -> Shown {
        let at = wire::position(report.position);
        let place = match at {
            Some(at) => format!("{},{}", at.longitude, at.latitude),
            None => "null,null".to_owned(),
        };
        let mut time = report.stamp.whole_seconds().to_string();
        if report.stamp.nanos() > 0 {
            let _ = write!(time, ".{:09}", report.stamp.nanos());
            time.truncate(time.trim_end_matches('0').len());
        }
        Shown {
            slot,
            seq,
            client: report.client.into(),
            at,
            id: json(&shown(report.client)).into(),
            place: place.into(),
            time: time.into(),
        }
    }
}

/// The last ones that were looked at.
pub struct Looks(Box<[Option<Shown>]>);

impl Default for Looks {
    fn default() -> Looks {
        Looks((0..SIZE).map(|_| None).collect())
    }
}

impl Looks {
    /// The client of a place in the list; `None` if the store holds it no more.
    pub fn look(&mut self, store: &Store, recency: &Recency, slot: Slot) -> Option<&Shown> {
        let seq = recency.seq_of(slot);
        let place = &mut self.0[slot as usize % SIZE];
        if place.as_ref().is_none_or(|held| held.slot != slot || held.seq != seq) {
            *place = report(store, recency.key(slot)).map(|it| Shown::of(slot, seq, &it));
        }
        place.as_ref()
    }
}

/// What is held of the client of a key. Of two clients with one key, which is a matter of one in
/// 2^48, the first stands for both.
fn report(store: &Store, key: Key) -> Option<Report<'_>> {
    store.reports_of(key).next()
}
