//! One who follows a simulated server, and reads as a seed wants: the promise of followers (I16).
//!
//! The list and the follower are what ships (`herd_web::follow`); here is the far end, which is
//! slow, breaks off and comes again.

use std::collections::{BTreeMap, BTreeSet};
use std::mem;
use std::time::Duration;

use fastrand::Rng;

use crate::invariants::{Invariant, Violation};
use herd_core::Server;
use herd_core::border::Outputs;
use herd_core::wire::{self, Report};
use herd_web::follow::reader::Reader;
use herd_web::follow::told::Told;
use herd_web::follow::{Filter, Following, Seat, Wish};
use herd_web::nearby::Point;

/// What is followed: the area has about half of the positions that clients draw.
const WISHES: [&str; 6] = [
    "every=50",
    "prefix=c1",
    "id=c0&id=c2",
    "bbox=-2,0.5,0,3",
    "fence=f:-2,0.5,0,3",
    "fence=f:-2,0.5,0,3&dwell=1",
];
const ROOM_BYTES: usize = 48 * 1024;
/// All paces and times to dwell are shorter.
const LONG_ENOUGH: Duration = Duration::from_secs(3);

pub struct Follower {
    following: Following<()>,
    wish: Wish,
    seat: Option<Seat>,
    reader: Reader,
    told: Told,
    random: Rng,
    has_read_store: bool,
}

impl Follower {
    pub fn new(name: &str, seed: u64) -> Follower {
        let mut random = Rng::with_seed(seed);
        let wish = Wish::parse(WISHES[random.usize(0..WISHES.len())]);
        let mut following = Following::new(name, "sim");
        following.clients_mut().keep_list();
        Follower {
            following,
            wish: wish.expect("the wishes are right"),
            seat: None,
            reader: Reader::default(),
            told: Told::default(),
            random,
            has_read_store: false,
        }
    }

    /// Notes what an input has changed; the first time, what a journal held is there already.
    pub fn note(&mut self, server: &Server, out: &Outputs, now: Duration) {
        let store = server.store();
        if !mem::replace(&mut self.has_read_store, true) {
            for report in store.reports().filter(|report| !report.is_erasure()) {
                let (key, position) = (store.key(report.client), report.position);
                self.following.clients_mut().put(key, Point::spelled(position));
            }
            return;
        }
        self.following.note_all(store, out.changes(), now);
    }

    /// Reads what is told, or nothing, or breaks off.
    ///
    /// # Errors
    /// I16.
    pub fn read(&mut self, server: &Server, now: Duration) -> Result<(), Violation> {
        if self.seat.is_some() && self.random.u32(0..200) == 0 {
            self.go(server);
        }
        if self.seat.is_none() && self.random.u32(0..4) == 0 {
            self.come(server, now);
        }
        let room = if self.random.u32(0..3) == 0 { 0 } else { ROOM_BYTES };
        self.serve(server, now, room)
    }

    /// It reads all that is still to be told.
    ///
    /// # Errors
    /// I16.
    pub fn finish(&mut self, server: &Server, now: Duration) -> Result<(), Violation> {
        if self.seat.is_none() {
            self.come(server, now);
        }
        let end = now + LONG_ENOUGH;
        let mut now = now;
        while let Some(due) = self.following.due().filter(|due| *due <= end) {
            now = now.max(due);
            self.serve(server, now, ROOM_BYTES)?;
        }
        self.following.check_invariants(server.store());
        let (clients, inside) = self.expected(server);
        let is_fence = matches!(&self.wish.filter, Filter::Area(area) if area.fence.is_some());
        let is_so = if is_fence {
            self.told.inside == inside
        } else {
            let place = |told: &String| told.rsplit_once(',').map(|(place, _)| place.to_owned());
            let told = self.told.clients.iter();
            told.map(|(client, told)| (client.clone(), place(told).unwrap_or_default()))
                .eq(clients.clone())
        };
        Invariant::Following.demand(is_so && self.told.is_ready, || {
            let Told { clients: told, inside: told_inside, .. } = &self.told;
            format!(
                "{:?}: told {told:?} and inside {told_inside:?}, and held are {clients:?}",
                self.wish
            )
        })
    }

    fn come(&mut self, server: &Server, now: Duration) {
        self.reader = mem::take(&mut self.reader).again();
        let last = Some(&*self.reader.last_id).filter(|last| !last.is_empty());
        let wish = ((), self.wish.clone());
        self.seat = Some(self.following.join(server.store(), wish, last, now));
    }

    fn go(&mut self, server: &Server) {
        if let Some(seat) = self.seat.take() {
            self.following.leave(server.store(), seat);
        }
    }

    fn serve(&mut self, server: &Server, now: Duration, room: usize) -> Result<(), Violation> {
        if self.following.due().is_none_or(|due| due > now) {
            return Ok(());
        }
        for seat in self.following.take_due(now) {
            let mut text = Vec::new();
            self.following.serve(server.store(), seat, (now, room), &|_| true, &mut text);
            for event in self.reader.take(&text) {
                self.told.take(&event).map_err(|why| Invariant::Following.broken(why))?;
            }
        }
        Ok(())
    }

    /// Who is to be known, and where: what the server holds.
    fn expected(&self, server: &Server) -> (BTreeMap<String, String>, BTreeSet<String>) {
        let is_told = |report: &Report<'_>| match &self.wish.filter {
            Filter::Prefix(prefix) => report.client.starts_with(prefix),
            Filter::Ids(ids) => ids.iter().any(|id| id == report.client),
            // What a topic asks for is `herd_web::mqtt`'s business.
            Filter::Topics(_) => false,
            Filter::Area(watched) => {
                wire::position(report.position).is_some_and(|at| watched.area.contains(at))
            }
        };
        let mut clients = BTreeMap::new();
        let held = server.store().reports().filter(|report| !report.is_erasure());
        for report in held.filter(is_told) {
            let mut place = "null,null".to_owned();
            if let Some(at) = wire::position(report.position) {
                place = format!("{},{}", at.longitude, at.latitude);
            }
            let client = String::from_utf8_lossy(report.client).into_owned();
            clients.insert(client, place);
        }
        (clients.clone(), clients.into_keys().collect())
    }
}
