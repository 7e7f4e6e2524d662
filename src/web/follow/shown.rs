//! Clients as followers hear about them, put together once for all that look at the same change.

use std::cell::OnceCell;
use std::fmt::Write;

use herd_core::store::{Key, Store};
use herd_core::whatsat::Position;
use herd_core::wire::{self, Report};

use crate::clients::{Clients, Who};
use crate::mqtt::topic_of;
use crate::seen::{json, shown};

/// So many are remembered: those that change within a round.
const SIZE: usize = 4_096;

/// A client, as followers hear about it.
pub struct Shown {
    who: Who,
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
    /// For those who are told by messages.
    topic: OnceCell<Option<Box<str>>>,
    message: OnceCell<Option<Box<str>>>,
}

impl Shown {
    fn of(who: Who, seq: u64, report: &Report<'_>) -> Shown {
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
            who,
            seq,
            client: report.client.into(),
            at,
            id: json(&shown(report.client)).into(),
            place: place.into(),
            time: time.into(),
            topic: OnceCell::new(),
            message: OnceCell::new(),
        }
    }

    /// Its topic, without the root; `None` if no topic can name it.
    pub fn topic(&self) -> Option<&str> {
        let topic = || topic_of(&self.client).map(Into::into);
        self.topic.get_or_init(topic).as_deref()
    }

    /// Its message as OwnTracks writes it; `None` if it is nowhere on the globe.
    pub fn message(&self) -> Option<&str> {
        self.message.get_or_init(|| self.write_message()).as_deref()
    }

    /// The two letters are those that OwnTracks itself would show.
    fn write_message(&self) -> Option<Box<str>> {
        let Position { latitude, longitude } = self.at?;
        let seconds = self.time.split('.').next()?;
        let name = shown(&self.client);
        let letters = name.char_indices().rev().nth(1).map_or(0, |(at, _)| at);
        let letters = json(&name[letters..]);
        let message = format!(
            "{{\"_type\":\"location\",\"tid\":{letters},\"lat\":{latitude},\
             \"lon\":{longitude},\"tst\":{seconds}}}"
        );
        Some(message.into())
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
    /// The client of a number; `None` if the store holds it no more.
    pub fn look(&mut self, store: &Store, clients: &Clients, who: Who) -> Option<&Shown> {
        let seq = clients.list().map_or(0, |list| list.seq_of(who));
        let place = &mut self.0[who as usize % SIZE];
        if place.as_ref().is_none_or(|held| held.who != who || held.seq != seq) {
            *place = report(store, clients.key(who)).map(|it| Shown::of(who, seq, &it));
        }
        place.as_ref()
    }
}

/// What is held of the client of a key. Of two clients with one key, which is a matter of one in
/// 2^48, the first stands for both.
fn report(store: &Store, key: Key) -> Option<Report<'_>> {
    store.reports_of(key).next()
}
