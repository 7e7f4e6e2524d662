//! Clients as followers hear about them, put together once for all that look at the same change.

use std::cell::OnceCell;

use herd_core::store::{Key, Store};
use herd_core::whatsat::Position;
use herd_core::wire::{self, Report};

use crate::blur::{Blur, Square};
use crate::clients::{Clients, Who};
use crate::json_text::{push_degrees, push_fraction, push_text, push_whole};
use crate::mqtt::topic_of;
use crate::seen::{json, shown};

/// So many are remembered: those that change within a round.
const SIZE: usize = 4_096;

/// A client, as followers hear about it. Its memory is used again for the next one at its place.
pub struct Shown {
    who: Who,
    /// The change that this is of.
    seq: u64,
    pub client: Vec<u8>,
    pub at: Option<Position>,
    /// JSON: `["kiwi",24.9384,60.1699,1520023934]`.
    row: String,
    /// Where the name ends in it, and where the place does.
    ends: [usize; 2],
    /// The second it was there, without its fraction.
    second: u64,
    /// For those who are told by messages.
    topic: OnceCell<Option<Box<str>>>,
    message: OnceCell<Option<Box<str>>>,
}

impl Shown {
    /// Nobody.
    fn empty() -> Shown {
        Shown {
            who: Who::MAX,
            seq: 0,
            client: Vec::new(),
            at: None,
            row: String::new(),
            ends: [0; 2],
            second: 0,
            topic: OnceCell::new(),
            message: OnceCell::new(),
        }
    }

    fn fill(&mut self, who: Who, seq: u64, report: &Report<'_>) {
        (self.who, self.seq) = (who, seq);
        self.client.clear();
        self.client.extend_from_slice(report.client);
        self.at = wire::position(report.position);
        self.second = report.stamp.whole_seconds();
        let mut row = std::mem::take(&mut self.row).into_bytes();
        row.clear();
        row.push(b'[');
        push_text(report.client, &mut row);
        let id_end = row.len();
        row.push(b',');
        match self.at {
            Some(at) => {
                push_degrees(at.longitude, &mut row);
                row.push(b',');
                push_degrees(at.latitude, &mut row);
            }
            None => row.extend_from_slice(b"null,null"),
        }
        self.ends = [id_end, row.len()];
        row.push(b',');
        push_whole(self.second, 1, &mut row);
        push_fraction(report.stamp.nanos().into(), 9, &mut row);
        row.push(b']');
        self.row = String::from_utf8(row).expect("JSON is text");
        (self.topic, self.message) = (OnceCell::new(), OnceCell::new());
    }

    /// All of it, as JSON: its name, where and when it was.
    pub fn row(&self) -> &str {
        &self.row
    }

    /// Its name, as JSON.
    pub fn id(&self) -> &str {
        &self.row[1..self.ends[0]]
    }

    /// Longitude and latitude, as JSON, with a comma between.
    pub fn place(&self) -> &str {
        &self.row[self.ends[0] + 1..self.ends[1]]
    }

    /// The second it was there, as JSON.
    pub fn time(&self) -> &str {
        &self.row[self.ends[1] + 1..self.row.len() - 1]
    }

    /// Where and when it was, for those who may know that only so coarsely.
    pub fn square(&self, blur: Blur) -> Square {
        blur.square(self.at, self.second)
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
        let seconds = self.second;
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
            let Some(report) = report(store, clients.key(who)) else {
                *place = None;
                return None;
            };
            place.get_or_insert_with(Shown::empty).fill(who, seq, &report);
        }
        place.as_ref()
    }
}

/// What is held of the client of a key. Of two clients with one key, which is a matter of one in
/// 2^48, the first stands for both.
fn report(store: &Store, key: Key) -> Option<Report<'_>> {
    store.reports_of(key).next()
}
