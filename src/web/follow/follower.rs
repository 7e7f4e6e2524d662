//! One follower: what it has been told, and what it is told next. It holds no text: what is to be
//! told is put together when there is room for it, of what is held then.

use std::time::Duration;

use super::events::{Events, Form};
use super::shown::{Looks, Shown};
use super::wish::{Filter, Watched, Wish};
use crate::blur::{Blur, Square};
use crate::clients::{Clients, Gone, Recency, Who};
use crate::mqtt::topic_of;
use crate::seen::json;
use herd_core::store::Store;

/// Clients that one follower may have inside an area: four bytes each.
const INSIDE_MAX: usize = 10_000;
/// One in so many places of that list may be empty.
const INSIDE_SPARE: usize = 8;
/// Changes that a narrow follower is handed; with more, it looks at all since its last.
const PENDING_MAX: usize = 1_024;
/// Places in the list that one follower looks at before others have their turn.
const LOOKS_MAX: usize = 8_192;
/// Names in one event.
const NAMES_MAX: usize = 256;

/// What the far end of one stream has been told, and wants.
pub struct Follower {
    pub wish: Wish,
    /// All changes up to this number were told, or are none of its business.
    pub cursor: u64,
    /// Who was gone by this change was never told to be there.
    gone_from: u64,
    /// The client of that change: the list goes on behind it.
    hint: Option<Who>,
    /// It looks at every change. Others are handed those that may concern them (`pending`).
    pub is_broad: bool,
    /// Too many were handed to it: it looks at every change since its last, once.
    must_walk: bool,
    pending: Vec<Who>,
    /// Clients that it was told are inside its area, sorted by number.
    inside: Vec<Who>,
    /// After a resume, the names of those: from which number on, and up to which change.
    naming: Option<(Who, u64)>,
    /// Clients that must stay inside until then to be announced.
    dwelling: Vec<(Who, Duration)>,
    /// The square that it was told last, if it may know of no more.
    square: Option<Box<Square>>,
    /// What it was told was not told here: it hears everything, and then that it has.
    pub is_resumed: bool,
    has_hello: bool,
    is_ready: bool,
    /// Since when it takes nothing, if something waits for it.
    pub behind_since: Option<Duration>,
    pub said_at: Duration,
    /// It waits for a round already.
    pub is_woken: bool,
}

/// What has become of a follower's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Served {
    /// It knows all there is to know.
    All,
    /// It goes on when there is room again.
    Part,
    /// Too many are inside its area: it was told so, and is to be closed.
    TooMany,
}

/// What a follower's turn looks at.
pub struct Turn<'a> {
    pub store: &'a Store,
    pub clients: &'a Clients,
    /// Theirs.
    pub list: &'a Recency,
    pub looks: &'a mut Looks,
    pub now: Duration,
    /// Bytes that the text may have, about.
    pub room: usize,
    /// Whether the follower may know of this client.
    pub may_read: &'a dyn Fn(&[u8]) -> bool,
}

impl Follower {
    /// A follower that has been told all up to `cursor`; 0 for nothing. `head` is the last change.
    pub fn new(wish: Wish, cursor: u64, head: u64, is_broad: bool) -> Follower {
        Follower {
            wish,
            cursor,
            gone_from: if cursor > 0 { cursor } else { head },
            hint: None,
            is_broad,
            must_walk: false,
            pending: Vec::new(),
            inside: Vec::new(),
            naming: None,
            dwelling: Vec::new(),
            square: None,
            is_resumed: cursor > 0,
            has_hello: false,
            is_ready: false,
            behind_since: None,
            said_at: Duration::ZERO,
            is_woken: false,
        }
    }

    /// The narrow follower's first look: at these, of all that there is.
    pub fn look_at(&mut self, list: &Recency, mut some: Vec<Who>) {
        some.retain(|who| list.seq_of(*who) > self.cursor);
        self.pending = some;
    }

    /// What was told to be inside before the stream broke is told anew, by names.
    pub fn name_inside(&mut self, inside: Vec<Who>, seq: u64) {
        self.inside = inside;
        self.inside.sort_unstable();
        self.naming = Some((0, seq));
        // Their numbers may have been those of others.
        self.gone_from = seq;
    }

    /// A change that may concern it.
    pub fn hand(&mut self, who: Who) {
        if self.must_walk || self.pending.last() == Some(&who) {
            return;
        }
        if self.pending.len() >= PENDING_MAX {
            self.must_walk = true;
            self.pending = Vec::new();
        } else {
            self.pending.push(who);
        }
    }

    /// Whether it has heard that this client is inside, or is about to.
    pub fn has(&self, who: Who) -> bool {
        self.inside.binary_search(&who).is_ok() || self.dwelling.iter().any(|(it, _)| *it == who)
    }

    /// When somebody has been inside for long enough.
    pub fn dwelt_at(&self) -> Option<Duration> {
        self.dwelling.iter().map(|(_, due)| *due).min()
    }

    /// Bytes that it takes beyond itself.
    pub fn bytes(&self) -> usize {
        let square = self.square.as_ref().map_or(0, |_| size_of::<Square>());
        let places = 4 * (self.pending.capacity() + self.inside.capacity());
        places + square + 24 * self.dwelling.capacity()
    }

    /// Whether there is nothing that it has to look at, of the narrow.
    pub fn is_idle(&self) -> bool {
        !self.is_broad && !self.must_walk && self.pending.is_empty() && self.naming.is_none()
    }

    /// Writes what is to be told now.
    pub fn serve(&mut self, turn: &mut Turn<'_>, origin: &str, out: &mut Vec<u8>) -> Served {
        if !turn.list.remembers(self.cursor.max(self.gone_from)) {
            self.begin_anew(turn.list);
        }
        let form = self.wish.form.clone();
        let how = (&form, !self.is_ready);
        let mut events = Events::new(out, how, origin, self.cursor);
        if !self.has_hello {
            self.has_hello = true;
            let (server, epoch) = origin.rsplit_once('.').unwrap_or((origin, ""));
            let (server, resumed) = (json(server), self.is_resumed);
            let epoch = json(epoch);
            let data = format!("{{\"server\":{server},\"epoch\":{epoch},\"resumed\":{resumed}}}");
            events.tell("hello", &data);
        }
        if let Some(since) = self.behind_since.take() {
            let late = turn.now.saturating_sub(since).as_millis();
            events.tell("lag", &format!("{{\"ms\":{late}}}"));
        }
        let is_all = self.tell_inside(turn, &mut events)
            && self.tell_changes(turn, &mut events)
            && self.tell_dwelt(turn, &mut events);
        events.end_moves();
        if self.inside.len() + self.dwelling.len() > INSIDE_MAX {
            let why = format!("more than {INSIDE_MAX} are inside: follow a smaller area");
            events.tell("bye", &format!("{{\"why\":\"{why}\"}}"));
            return Served::TooMany;
        }
        if is_all && !self.is_ready {
            self.is_ready = true;
            events.tell_change("ready", "{}", self.cursor);
        }
        if is_all { Served::All } else { Served::Part }
    }

    /// So many clients are gone since it was told something that it cannot be told who: it drops
    /// what it has, and hears everything.
    fn begin_anew(&mut self, list: &Recency) {
        let woken = (self.is_woken, self.said_at);
        *self = Follower::new(self.wish.clone(), 0, list.seq(), self.is_broad);
        (self.is_woken, self.said_at) = woken;
        self.must_walk = !self.is_broad;
    }

    /// Says who is inside, after a resume. Who has moved since that was looked up comes later, as
    /// one who has come in.
    fn tell_inside(&mut self, turn: &mut Turn<'_>, events: &mut Events<'_>) -> bool {
        let Some((from, seq)) = self.naming else { return true };
        let mut at = self.inside.partition_point(|who| *who < from);
        loop {
            let mut names = Vec::new();
            while at < self.inside.len() && names.len() < NAMES_MAX {
                let who = self.inside[at];
                let is_same = (1..=seq).contains(&turn.list.seq_of(who));
                let client = turn.looks.look(turn.store, turn.clients, who);
                match client.filter(|it| is_same && (turn.may_read)(&it.client)) {
                    Some(client) => {
                        names.push(client.id().to_owned());
                        at += 1;
                    }
                    None => {
                        self.inside.remove(at);
                        // It may be looked at no more, if it has not moved.
                        self.hand(who);
                    }
                }
            }
            let is_last = at >= self.inside.len();
            events.tell("inside", &format!("{{\"ids\":[{}],\"last\":{is_last}}}", names.join(",")));
            if is_last {
                self.naming = None;
                return true;
            }
            self.naming = Some((self.inside[at], seq));
            if events.len() >= turn.room {
                return false;
            }
        }
    }

    /// Tells what has changed since the cursor, as far as there is room. Says whether that is all.
    fn tell_changes(&mut self, turn: &mut Turn<'_>, events: &mut Events<'_>) -> bool {
        let list = turn.list;
        let walks = self.is_broad || self.must_walk;
        let mut handed = std::mem::take(&mut self.pending);
        handed.retain(|who| list.seq_of(*who) > self.cursor);
        handed.sort_unstable_by_key(|who| list.seq_of(*who));
        handed.dedup();
        let mut handed = handed.into_iter().peekable();
        let mut walk = if walks { list.since(self.cursor, self.hint) } else { None };
        let mut gone = list.gone_since(self.cursor.max(self.gone_from)).peekable();
        let mut looks = 0;
        let is_all = loop {
            let next = if walks { walk } else { handed.peek().copied() };
            let seq = next.map_or(list.seq(), |who| list.seq_of(who));
            if events.len() >= turn.room || looks >= LOOKS_MAX {
                break false;
            }
            looks += 1;
            if let Some(before) = gone.next_if(|gone| gone.seq <= seq) {
                self.tell_gone(before, turn, events);
                (self.gone_from, self.hint) = (before.seq, None);
                self.cursor = self.cursor.max(before.seq);
                events.reach(self.cursor);
                continue;
            }
            let Some(who) = next else { break true };
            if let Some(client) = turn.looks.look(turn.store, turn.clients, who) {
                let may_read = (turn.may_read)(&client.client);
                self.judge((who, seq), client, may_read, turn.now, events);
            }
            (self.cursor, self.hint) = (seq, Some(who));
            events.reach(seq);
            if walks {
                walk = list.after(who);
            } else {
                handed.next();
            }
        };
        if is_all {
            let head = list.seq();
            if self.cursor < head {
                (self.cursor, self.hint) = (head, None);
            }
            self.must_walk = false;
        } else {
            self.pending = handed.collect();
        }
        is_all
    }

    fn tell_gone(&mut self, gone: &Gone, turn: &Turn<'_>, events: &mut Events<'_>) {
        let mut topic = None;
        if !self.wish.form.has_events() {
            topic = topic_of(&gone.client);
        }
        let concerns = match &self.wish.filter {
            Filter::Prefix(prefix) => gone.client.starts_with(prefix),
            Filter::Ids(ids) => ids.iter().any(|id| **id == *gone.client),
            Filter::Topics(filter) => topic.as_ref().is_some_and(|it| filter.matches(it)),
            Filter::Area(_) => {
                self.dwelling.retain(|(who, _)| *who != gone.who);
                remove(&mut self.inside, gone.who)
            }
        };
        if concerns && (turn.may_read)(&gone.client) {
            self.square = None;
            let why = if gone.is_erased { "erased" } else { "expired" };
            events.tell_gone(&gone.client, topic.as_deref(), why, gone.seq);
        }
    }

    /// Tells of a client that has changed, if it is to be told.
    fn judge(
        &mut self,
        (who, seq): (Who, u64),
        client: &Shown,
        may_read: bool,
        now: Duration,
        events: &mut Events<'_>,
    ) {
        let concerns = match &self.wish.filter {
            Filter::Prefix(prefix) => client.client.starts_with(prefix),
            Filter::Ids(ids) => ids.iter().any(|id| **id == *client.client),
            Filter::Topics(filter) => client.topic().is_some_and(|topic| filter.matches(topic)),
            Filter::Area(watched) => {
                let was_inside = self.inside.binary_search(&who).is_ok();
                let area = if was_inside { &watched.outer } else { &watched.area };
                let is_inside = may_read && client.at.is_some_and(|at| area.contains(at));
                match (was_inside, is_inside) {
                    (true, true) => watched.tell_move(client, seq, events),
                    (true, false) => {
                        watched.tell_exit(client, (seq, may_read), events);
                        remove(&mut self.inside, who);
                    }
                    (false, false) => self.dwelling.retain(|(other, _)| *other != who),
                    (false, true) if watched.dwell.is_zero() => {
                        watched.tell_enter(client, seq, events);
                        insert(&mut self.inside, who);
                    }
                    (false, true) if self.dwelling.iter().all(|(other, _)| *other != who) => {
                        self.dwelling.push((who, now + watched.dwell));
                    }
                    (false, true) => {}
                }
                return;
            }
        };
        match self.wish.form {
            _ if !concerns || !may_read => {}
            Form::Squares(blur) => self.tell_square(client, blur, seq, events),
            _ => events.tell_move(client, seq),
        }
    }

    /// How often a client reports inside its square, is not told: that is how it moves.
    fn tell_square(&mut self, client: &Shown, blur: Blur, seq: u64, events: &mut Events<'_>) {
        let square = client.square(blur);
        if self.square.as_deref() != Some(&square) {
            events.tell_square(client, &square, seq);
            self.square = Some(Box::new(square));
        }
    }

    /// Tells of those that have been inside for long enough.
    fn tell_dwelt(&mut self, turn: &mut Turn<'_>, events: &mut Events<'_>) -> bool {
        let Filter::Area(watched) = &self.wish.filter else { return true };
        while let Some(at) = self.dwelling.iter().position(|(_, due)| *due <= turn.now) {
            if events.len() >= turn.room {
                return false;
            }
            let (who, _) = self.dwelling.swap_remove(at);
            if let Some(client) = turn.looks.look(turn.store, turn.clients, who) {
                watched.tell_enter(client, self.cursor, events);
                insert(&mut self.inside, who);
            }
        }
        true
    }
}

impl Watched {
    fn tell_enter(&self, client: &Shown, seq: u64, events: &mut Events<'_>) {
        match &self.fence {
            Some(fence) => events.tell_fence("enter", &json(fence), client, seq),
            None => events.tell_move(client, seq),
        }
    }

    fn tell_move(&self, client: &Shown, seq: u64, events: &mut Events<'_>) {
        if self.fence.is_none() {
            events.tell_move(client, seq);
        }
    }

    fn tell_exit(&self, client: &Shown, (seq, may_read): (u64, bool), events: &mut Events<'_>) {
        match &self.fence {
            Some(fence) if may_read => events.tell_fence("exit", &json(fence), client, seq),
            _ => {
                let why = if may_read { "left" } else { "hidden" };
                events.tell_gone(&client.client, None, why, seq);
            }
        }
    }
}

fn insert(sorted: &mut Vec<Who>, who: Who) {
    if let Err(at) = sorted.binary_search(&who) {
        if sorted.len() == sorted.capacity() {
            // Doubled, it would have room for twice as many as there are.
            sorted.reserve_exact(1 + sorted.len() / INSIDE_SPARE);
        }
        sorted.insert(at, who);
    }
}

/// Says whether it was there.
fn remove(sorted: &mut Vec<Who>, who: Who) -> bool {
    let found = sorted.binary_search(&who);
    if let Ok(at) = found {
        sorted.remove(at);
    }
    found.is_ok()
}
