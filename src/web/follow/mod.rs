//! Following: who wants to know what changes is told, at a pace, the newest of each client.
//!
//! ```text
//!   Change ──▶ note ──▶ read ──▶ clients: each once, in the order of its last change
//!                ▼        │
//!              noted      └────▶ wake: broad followers by a flag, narrow ones by id or cell
//!    while nobody follows           │ at most every `every`
//!                                   ▼
//!              serve ──▶ what has changed since a follower's cursor, as far as there is room
//! ```
//!
//! What is promised is the state and not a log: who reads slowly hears less often, and always the
//! newest. Nothing is put together for a follower before there is room for it, so one that reads
//! nothing costs what it cost when it came.
//!
//! Reading order: `clients::recency` (the list), `wish` and `area` (what is asked for), `follower`
//! (what one has been told), this file (whose turn it is), `events` and `shown` (how it is
//! spelled).

pub mod area;
mod events;
mod follower;
pub mod reader;
mod rounds;
mod shown;
pub mod told;
mod wish;

use std::collections::{BTreeSet, HashMap};
use std::mem;
use std::time::Duration;

use arrayvec::ArrayVec;
use herd_core::Change;
use herd_core::store::{Key, Store};
use herd_core::wire;

use crate::clients::{Clients, Moved, NOTED_BLOCK, Recency, Who};
use crate::nearby::Point;
use area::{Area, Cell, cell};
use follower::{Follower, Turn};
use rounds::Rounds;
use shown::Looks;

pub use events::Form;
pub use follower::Served;
pub use wish::{Filter, Wish};

/// Where a follower is kept.
pub type Seat = u32;

/// Who hears nothing for so long is sent a comment, so that what lies between does not hang up.
const QUIET_MAX: Duration = Duration::from_secs(15);
/// How often it is looked who has heard nothing.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// With less room than this, nothing is put together.
const ROOM_BYTES_MIN: usize = 8 * 1024;
/// Clients that are read together.
const READ_AT_ONCE: usize = 16;
/// Clients that are read in a turn, of those who were noted: some two milliseconds of it.
const READ_A_TURN: usize = 4_096;
/// After a resume, a broad area's inside is looked up among so many clients; with more, everything
/// is told anew.
const RESUME_MAX: usize = 65_536;

/// All followers of a server, and everybody whom they could follow. `W` is whose stream one is.
pub struct Following<W> {
    clients: Clients,
    /// Somebody waits until all who are noted are read: meanwhile nobody else is noted.
    is_catching_up: bool,
    /// Server and boot: the numbers of changes are of these.
    origin: String,
    followers: Vec<Option<(W, Follower)>>,
    free: Vec<Seat>,
    by_key: HashMap<u64, Vec<Seat>>,
    by_cell: HashMap<Cell, Vec<Seat>>,
    rounds: Rounds,
    /// Who goes on at some time, whatever changes.
    going_on: BTreeSet<(Duration, Seat)>,
    look_at: Duration,
    looks: Looks,
}

impl<W> Following<W> {
    /// Nobody follows yet, and nothing is listed before `Clients::keep_list`. `boot` tells this
    /// process from others of the same name.
    pub fn new(server: &str, boot: &str) -> Following<W> {
        Following {
            clients: Clients::default(),
            is_catching_up: false,
            origin: format!("{server}.{boot}"),
            followers: Vec::new(),
            free: Vec::new(),
            by_key: HashMap::new(),
            by_cell: HashMap::new(),
            rounds: Rounds::default(),
            going_on: BTreeSet::new(),
            look_at: Duration::ZERO,
            looks: Looks::default(),
        }
    }

    /// Everybody, as they were when `read_noted` said last that it has read all.
    pub fn clients(&self) -> &Clients {
        &self.clients
    }

    /// Everybody, for the one who reads them from the store.
    pub fn clients_mut(&mut self) -> &mut Clients {
        &mut self.clients
    }

    fn list(&self) -> &Recency {
        list(&self.clients)
    }

    /// Followers there are.
    pub fn len(&self) -> usize {
        self.followers.len() - self.free.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whose stream it is.
    pub fn whose(&self, seat: Seat) -> Option<&W> {
        self.followers.get(seat as usize)?.as_ref().map(|(whose, _)| whose)
    }

    /// All followers.
    pub fn seats(&self) -> impl Iterator<Item = (Seat, &W)> {
        let taken = self.followers.iter().enumerate();
        taken.filter_map(|(at, it)| it.as_ref().map(|(whose, _)| (at as Seat, whose)))
    }

    // ---- changes ----

    /// Some things have changed in the store. While nobody follows, it is only noted whose they
    /// are, and who has changed is read when somebody wants to know.
    pub fn note_all<'a>(
        &mut self,
        store: &Store,
        changes: impl Iterator<Item = Change<'a>>,
        now: Duration,
    ) {
        let is_read_now = !self.is_empty() || self.is_catching_up;
        let mut keys = ArrayVec::<_, READ_AT_ONCE>::new();
        for change in changes {
            match change {
                Change::News(key) if !is_read_now && self.clients.note(key) => {}
                Change::News(key) => keys.push(key),
                Change::Gone(client) => self.note_gone(store, client, now),
            }
            if keys.is_full() {
                self.read(store, &keys, now);
                keys.clear();
            }
        }
        self.read(store, &keys, now);
    }

    /// Reads who has changed while nobody followed, for one who asks where clients are or comes to
    /// follow: as many as a turn may. Says whether that was all; if not, changes are read as they
    /// come from now on, until a later call has read the rest.
    pub fn read_noted(&mut self, store: &Store, now: Duration) -> bool {
        let mut read = 0;
        while read + NOTED_BLOCK <= READ_A_TURN
            && let Some(some) = self.clients.take_noted()
        {
            read += some.len();
            for keys in some.chunks(READ_AT_ONCE) {
                self.read(store, keys, now);
            }
        }
        self.is_catching_up = self.clients.has_noted();
        !self.is_catching_up
    }

    /// Whether all changes are read, so that `clients` is where everybody is now.
    pub fn is_up_to_date(&self) -> bool {
        !self.clients.has_noted()
    }

    /// Reads where some clients are, as many as are read together: with many clients each look-up
    /// waits for memory, and these wait together. Who is erased is gone, and that is told apart.
    fn read(&mut self, store: &Store, keys: &[Key], now: Duration) {
        store.fetch_ahead::<READ_AT_ONCE>(keys.iter().copied());
        let found = keys.iter().map(|key| (*key, self.clients.find(*key)));
        for (key, who) in ArrayVec::<_, READ_AT_ONCE>::from_iter(found) {
            let Some(position) = store.place_of(key) else { continue };
            let moved = self.clients.put_found(key, who, Point::spelled(position));
            self.wake_for(key, Some(position), moved, now);
        }
    }

    fn note_gone(&mut self, store: &Store, client: &[u8], now: Duration) {
        let key = store.key(client);
        // News of it has come by the same input.
        if store.reports_of(key).any(|held| !held.is_erasure()) {
            return;
        }
        let is_erased = store.reports_of(key).next().is_some();
        let moved = self.clients.remove(key, client, is_erased);
        self.wake_for(key, None, moved, now);
    }

    /// Has those that a change concerns wait for their rounds.
    fn wake_for(&mut self, key: Key, position: Option<&[u8]>, moved: Option<Moved>, now: Duration) {
        let Some(Moved { who, from }) = moved.filter(|_| !self.is_empty()) else { return };
        self.rounds.wake_broad(now);
        for seat in self.by_key.get(&key.to_number()).into_iter().flatten() {
            wake(&mut self.followers, &mut self.rounds, (*seat, who), now, |_| true);
        }
        let at = position.and_then(wire::position);
        let left = from.map(cell);
        let came = at.map(|at| cell(Point::new(at.latitude, at.longitude)));
        let cells = [left, came.filter(|_| came != left)];
        for cell in cells.into_iter().flatten() {
            for seat in self.by_cell.get(&cell).into_iter().flatten() {
                let concerns = |follower: &Follower| match &follower.wish.filter {
                    Filter::Area(watched) => {
                        at.is_some_and(|at| watched.area.contains(at)) || follower.has(who)
                    }
                    _ => false,
                };
                wake(&mut self.followers, &mut self.rounds, (*seat, who), now, concerns);
            }
        }
    }

    // ---- followers come and go ----

    /// A follower more. `last` is the id of the event that it has heard last, if it comes again.
    /// Those who are noted are read first: a caller that may not take long has that done before.
    pub fn join(
        &mut self,
        store: &Store,
        (whose, wish): (W, Wish),
        last: Option<&str>,
        now: Duration,
    ) -> Seat {
        while !self.read_noted(store, now) {}
        let cells = match &wish.filter {
            Filter::Area(watched) => watched.outer.cells(),
            _ => None,
        };
        let is_broad = cells.is_none() && !matches!(wish.filter, Filter::Ids(_));
        let is_wide = is_broad && matches!(wish.filter, Filter::Area(_));
        let may_resume = !is_wide || self.list().len() <= RESUME_MAX;
        let cursor = last.and_then(|last| events::cursor(last, &self.origin));
        let cursor = cursor.filter(|it| may_resume && self.list().remembers(*it)).unwrap_or(0);
        let mut follower = Follower::new(wish, cursor, self.list().seq(), is_broad);
        follower.said_at = now;
        let around = self.clients_of(store, &follower.wish.filter, cells.as_deref());
        if let Filter::Area(watched) = &follower.wish.filter
            && cursor > 0
        {
            let inside = self.inside_of(store, &around, watched.area);
            follower.name_inside(inside, self.list().seq());
        }
        if !is_broad {
            follower.look_at(self.list(), around);
        }
        let seat = self.free.pop().unwrap_or(self.followers.len() as Seat);
        self.enter(store, seat, &follower.wish, cells.as_deref());
        if seat as usize == self.followers.len() {
            self.followers.push(None);
        }
        self.followers[seat as usize] = Some((whose, follower));
        self.going_on.insert((now, seat));
        self.look_at = self.look_at.max(now + LOOK_EVERY);
        seat
    }

    /// A follower is gone.
    pub fn leave(&mut self, store: &Store, seat: Seat) {
        let Some((_, follower)) = self.followers.get_mut(seat as usize).and_then(Option::take)
        else {
            return;
        };
        self.free.push(seat);
        self.rounds.leave(seat, follower.wish.every);
        self.going_on.retain(|(_, other)| *other != seat);
        let forget = |seats: &mut Vec<Seat>| seats.retain(|other| *other != seat);
        match &follower.wish.filter {
            Filter::Ids(ids) => {
                for id in ids {
                    let key = store.key(id).to_number();
                    self.by_key.entry(key).and_modify(forget);
                    if self.by_key.get(&key).is_some_and(Vec::is_empty) {
                        self.by_key.remove(&key);
                    }
                }
            }
            Filter::Area(watched) => {
                for cell in watched.outer.cells().into_iter().flatten() {
                    self.by_cell.entry(cell).and_modify(forget);
                    if self.by_cell.get(&cell).is_some_and(Vec::is_empty) {
                        self.by_cell.remove(&cell);
                    }
                }
            }
            Filter::Prefix(_) | Filter::Topics(_) => {}
        }
    }

    /// Has changes find a follower.
    fn enter(&mut self, store: &Store, seat: Seat, wish: &Wish, cells: Option<&[Cell]>) {
        match (&wish.filter, cells) {
            (Filter::Ids(ids), _) => {
                for id in ids {
                    self.by_key.entry(store.key(id).to_number()).or_default().push(seat);
                }
            }
            (_, Some(cells)) => {
                cells.iter().for_each(|cell| self.by_cell.entry(*cell).or_default().push(seat));
            }
            (_, None) => self.rounds.join_broad(seat, wish.every),
        }
    }

    /// Those that a follower may have to hear about at first, without a walk of the list.
    fn clients_of(&self, store: &Store, filter: &Filter, cells: Option<&[Cell]>) -> Vec<Who> {
        match (filter, cells) {
            (Filter::Ids(ids), _) => {
                ids.iter().filter_map(|id| self.clients.find(store.key(id))).collect()
            }
            (Filter::Area(_), Some(cells)) => {
                let is_near = |who: &Who| cells.binary_search(&cell(self.clients.at(*who))).is_ok();
                self.list().all().filter(is_near).collect()
            }
            (Filter::Area(_), None) if self.list().len() <= RESUME_MAX => {
                self.list().all().collect()
            }
            _ => Vec::new(),
        }
    }

    fn inside_of(&self, store: &Store, some: &[Who], area: Area) -> Vec<Who> {
        let position = |key: Key| wire::position(store.reports_of(key).next()?.position);
        let is_inside =
            |who: &&Who| position(self.clients.key(**who)).is_some_and(|at| area.contains(at));
        some.iter().filter(is_inside).copied().collect()
    }

    // ---- turns ----

    /// When somebody's turn comes; `None` while nobody waits for anything.
    pub fn due(&self) -> Option<Duration> {
        if self.is_empty() {
            return None;
        }
        let going_on = self.going_on.first().map(|(due, _)| *due);
        let dues = [self.rounds.due(), going_on, Some(self.look_at)];
        dues.into_iter().flatten().min()
    }

    /// Those whose turn it is.
    pub fn take_due(&mut self, now: Duration) -> Vec<Seat> {
        let mut due = Vec::new();
        self.rounds.take_due(now, &mut due);
        for seat in &due {
            if let Some(Some((_, follower))) = self.followers.get_mut(*seat as usize) {
                follower.is_woken = false;
            }
        }
        while let Some((at, seat)) = self.going_on.first().copied()
            && at <= now
        {
            self.going_on.remove(&(at, seat));
            due.push(seat);
        }
        if self.look_at <= now {
            self.look_at = now + LOOK_EVERY;
            let head = list(&self.clients).seq();
            for (at, follower) in self.followers.iter_mut().enumerate() {
                let Some((_, follower)) = follower else { continue };
                if follower.is_idle() && !follower.is_woken && follower.behind_since.is_none() {
                    // Nothing since then was its business.
                    follower.cursor = follower.cursor.max(head);
                }
                if is_quiet(follower, now) {
                    due.push(at as Seat);
                }
            }
        }
        due.sort_unstable();
        due.dedup();
        due
    }

    /// Writes what a follower is told now, if it has room for so many bytes more. `may_read` says
    /// of which clients it may know.
    pub fn serve(
        &mut self,
        store: &Store,
        seat: Seat,
        (now, room): (Duration, usize),
        may_read: &dyn Fn(&[u8]) -> bool,
        out: &mut Vec<u8>,
    ) -> Served {
        let Some(Some((_, follower))) = self.followers.get_mut(seat as usize) else {
            return Served::All;
        };
        let every = self.rounds.every(follower.wish.every);
        if room < ROOM_BYTES_MIN {
            follower.behind_since.get_or_insert(now);
            self.going_on.insert((now + every, seat));
            return Served::Part;
        }
        let (clients, looks) = (&self.clients, &mut self.looks);
        let mut turn = Turn { store, clients, list: list(clients), looks, now, room, may_read };
        let served = follower.serve(&mut turn, &self.origin, out);
        if out.is_empty() && is_quiet(follower, now) {
            out.extend_from_slice(b":\n\n");
        }
        if !out.is_empty() {
            follower.said_at = now;
        }
        if served == Served::Part {
            self.going_on.insert((now, seat));
        } else if let Some(due) = follower.dwelt_at() {
            self.going_on.insert((due, seat));
        }
        served
    }

    /// Memory that a follower takes.
    pub fn bytes_of(&self, seat: Seat) -> usize {
        let follower = self.followers.get(seat as usize).and_then(Option::as_ref);
        follower.map_or(0, |(_, it)| size_of::<Option<(W, Follower)>>() + it.bytes())
    }

    /// What must be true between any two calls; for tests and the simulator.
    pub fn check_invariants(&self, store: &Store) {
        self.clients.check_invariants();
        let held = store.reports().filter(|report| !report.is_erasure()).count();
        assert_eq!(self.list().len(), held, "the list has who is held");
    }
}

fn list(clients: &Clients) -> &Recency {
    clients.list().expect("there is a list before anybody follows")
}

/// The last words of a server that stops: who hears them comes again, perhaps elsewhere.
pub const BYE: &str = "event: bye\ndata: {\"why\":\"the server stops\"}\nretry: 500\n\n";

/// Whether a follower is to be sent a comment. Who is told by MQTT says itself that it is there.
fn is_quiet(follower: &Follower, now: Duration) -> bool {
    follower.wish.form.has_events() && now.saturating_sub(follower.said_at) >= QUIET_MAX
}

/// Hands a change to a follower that it concerns, and has it wait for its round.
fn wake<W>(
    followers: &mut [Option<(W, Follower)>],
    rounds: &mut Rounds,
    (seat, who): (Seat, Who),
    now: Duration,
    concerns: impl Fn(&Follower) -> bool,
) {
    let Some((_, follower)) = &mut followers[seat as usize] else { return };
    if !concerns(follower) {
        return;
    }
    follower.hand(who);
    if !mem::replace(&mut follower.is_woken, true) {
        rounds.wake(seat, follower.wish.every, now);
    }
}

#[cfg(test)]
mod tests;
