//! Followers: an answer by HTTP that goes on, with what changes. Who is told what, when and how it
//! is spelled is in `herd_web::follow`; here are their connections, and the timer by which they
//! have their turns.
//!
//! The loop knows nothing of it. What an input has changed is noted where the journal is given it,
//! a timer fires when somebody's turn comes, and what is told is sent like any answer.

use std::collections::VecDeque;
use std::time::Duration;

use super::asking::Question;
use super::follower_places::Account;
use super::web_places::Asker;
use super::{Due, Reactor, Unfinished};
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind};
use herd_core::store::{Cursor, Store};
use herd_core::wire::Report;
use herd_web::access::Caller;
use herd_web::follow::{BYE, Following, Seat, Served, Wish};
use herd_web::http::{Answer, Request};
use herd_web::nearby::Point;

/// A follower may be owed so much; what comes then is put together when it has read.
const OUTBOX_BYTES: usize = 32 * 1024;
/// How much is read of the store at a time when the first follower comes.
const PIECE_BYTES: usize = 256 * 1024;
/// After nobody has asked or followed for so long, reports cost nothing again.
pub(super) const WATCHED_FOR: Duration = Duration::from_secs(15 * 60);
/// The first words: after a break, come again in two seconds.
const RETRY: &[u8] = b"retry: 2000\n\n";

/// Whose stream it is.
pub(super) struct Stream {
    pub conn: ConnId,
    pub caller: Caller,
    /// To what its place is counted.
    pub account: Option<Account>,
}

/// A follower that waits until the list has everybody.
struct Waiting {
    stream: Stream,
    wish: Wish,
    last: Option<String>,
}

/// How far the store is read into something.
#[derive(Clone, Copy)]
pub(super) enum Reading {
    /// Nobody wants it yet.
    NotBegun,
    At(Cursor),
    /// It has everybody.
    Done,
}

/// Everybody, and those who follow, from the first one on who follows or asks who is where.
pub(super) struct Followers {
    pub(super) following: Following<Stream>,
    /// The list of changes.
    list: Reading,
    /// The index of where clients are.
    pub(super) index: Reading,
    waiting: Vec<Waiting>,
    /// Those who wait until the index is up to date, each with a question, the first first.
    pub(super) asked: VecDeque<(Asker, Question)>,
    /// A timer fires by which the index is read on.
    pub(super) is_reading_on: bool,
    /// When a timer fires by which somebody is told something.
    armed: Option<Duration>,
    /// When somebody asked or followed last, as far as `unwatch_clients` has looked.
    wanted_at: Duration,
}

impl Followers {
    fn len(&self) -> usize {
        self.following.len() + self.waiting.len()
    }

    /// Seats a follower; the list has everybody, with their last changes.
    pub(super) fn seat(
        &mut self,
        store: &Store,
        stream: Stream,
        wish: Wish,
        now: Duration,
    ) -> Seat {
        self.following.join(store, (stream, wish), None, now)
    }

    /// Frees a seat, if this connection still has it.
    pub(super) fn leave_if_of(&mut self, store: &Store, seat: Seat, conn: ConnId) {
        if self.following.whose(seat).is_some_and(|stream| stream.conn == conn) {
            self.following.leave(store, seat);
        }
    }

    /// How many places are counted to something.
    pub(super) fn count_of(&self, account: Account) -> usize {
        self.streams().filter(|stream| stream.account == Some(account)).count()
    }

    fn streams(&self) -> impl Iterator<Item = &Stream> {
        let seated = self.following.seats().map(|(_, stream)| stream);
        seated.chain(self.waiting.iter().map(|waiting| &waiting.stream))
    }

    fn is_in_use(&self) -> bool {
        let is_read = |reading: &Reading| !matches!(reading, Reading::At(_));
        let is_waited_for = self.len() > 0 || !self.asked.is_empty();
        is_waited_for || !is_read(&self.list) || !is_read(&self.index)
    }

    fn due(&self, now: Duration) -> Option<Duration> {
        match self.list {
            Reading::NotBegun => None,
            Reading::At(_) => Some(now),
            Reading::Done => self.following.due(),
        }
    }
}

impl Reactor {
    /// `GET /v1/follow`: the answer begins, and goes on with what changes.
    pub(super) fn follow(
        &mut self,
        conn: ConnId,
        request: &Request<'_>,
        caller: &Caller,
    ) -> Answer {
        match Wish::parse(request.query) {
            Ok(wish) => self.begin_stream(conn, request, caller, wish),
            Err(why) => Answer::text(400, why),
        }
    }

    /// The same for somebody whose wish is known, and granted.
    pub(super) fn begin_stream(
        &mut self,
        conn: ConnId,
        request: &Request<'_>,
        caller: &Caller,
        wish: Wish,
    ) -> Answer {
        let answer = Answer::stream("text/event-stream", RETRY.to_vec())
            .with_header("X-Accel-Buffering", "no");
        if request.is_head() {
            return answer;
        }
        let account = match self.find_place(conn, caller) {
            Ok(account) => account,
            Err(no_place) => return no_place.answer(),
        };
        let now = self.now.monotonic;
        let is_read = self.begin_to_follow();
        let Some(followers) = &mut self.web.followers else { return answer };
        let stream = Stream { conn, caller: caller.clone(), account };
        let last = request.headers.last_event_id.map(str::to_owned);
        if !is_read {
            followers.waiting.push(Waiting { stream, wish, last });
        } else {
            followers.following.join(self.server.store(), (stream, wish), last.as_deref(), now);
        }
        self.arm_followers();
        answer
    }

    /// Begins to keep who there is, if nobody has asked or followed before.
    pub(super) fn watch_clients(&mut self) -> &mut Followers {
        let now = self.now.monotonic;
        let followers = self.web.followers.get_or_insert_with(|| {
            self.server.watch();
            self.wheel.start(now + WATCHED_FOR, Due::Unwatch);
            let boot = format!("{:08x}", fastrand::u32(..));
            let following = Following::new(&self.config.name, &boot);
            Box::new(Followers {
                following,
                list: Reading::NotBegun,
                index: Reading::NotBegun,
                waiting: Vec::new(),
                asked: VecDeque::new(),
                is_reading_on: false,
                armed: None,
                wanted_at: now,
            })
        });
        followers.wanted_at = now;
        followers
    }

    /// Forgets who there is, unless somebody has wanted to know it lately. Who comes again to
    /// follow hears everything anew; who asks has the index made again.
    pub(super) fn unwatch_clients(&mut self) {
        let now = self.now.monotonic;
        let Some(followers) = &mut self.web.followers else { return };
        if followers.is_in_use() {
            followers.wanted_at = now;
        }
        let due = followers.wanted_at + WATCHED_FOR;
        if due > now {
            return self.wheel.start(due, Due::Unwatch);
        }
        self.web.followers = None;
        self.server.unwatch();
    }

    /// Begins to keep the list, if nobody has followed before. Says whether it has everybody, with
    /// their last changes; if not, those who wait are seated when it has (`seat_all`).
    pub(super) fn begin_to_follow(&mut self) -> bool {
        let followers = self.watch_clients();
        if matches!(followers.list, Reading::NotBegun) {
            followers.following.clients_mut().keep_list();
            followers.list = Reading::At(Cursor::default());
        }
        let is_read = matches!(followers.list, Reading::Done) && self.read_noted();
        self.arm_followers();
        is_read
    }

    /// Seats all who wait, if the list has everybody, with their last changes.
    pub(super) fn seat_all(&mut self) {
        let Some(followers) = &mut self.web.followers else { return };
        if !matches!(followers.list, Reading::Done) || !followers.following.is_up_to_date() {
            return;
        }
        let (store, now) = (self.server.store(), self.now.monotonic);
        for Waiting { stream, wish, last } in followers.waiting.drain(..) {
            followers.following.join(store, (stream, wish), last.as_deref(), now);
        }
        self.seat_all_subscriptions();
        self.arm_followers();
    }

    /// Notes what an input has changed.
    pub(super) fn note_changes(&mut self) {
        let Some(followers) = &mut self.web.followers else { return };
        let (store, now) = (self.server.store(), self.now.monotonic);
        followers.following.note_all(store, self.out.changes(), now);
        self.arm_followers();
    }

    /// Sees to it that somebody's turn comes in time. If it has come, that is the loop's next one:
    /// a tick of the wheel before each piece would be most of what a long answer takes. Pieces of
    /// the store are read a tick apart, for nobody hears more by one. A timer that fires too early
    /// does no harm.
    pub(super) fn arm_followers(&mut self) {
        let Some(followers) = &mut self.web.followers else { return };
        let Some(due) = followers.due(self.now.monotonic) else { return };
        if followers.armed.is_none_or(|armed| armed > due) {
            followers.armed = Some(due);
            if due <= self.now.monotonic && matches!(followers.list, Reading::Done) {
                self.unfinished.push_back(Unfinished::Followers);
            } else {
                self.wheel.start(due, Due::Followers);
            }
        }
    }

    /// Somebody's turn has come.
    pub(super) fn serve_followers(&mut self) {
        let now = self.now.monotonic;
        // An earlier turn came, and this timer is left from before.
        if self.web.followers.as_ref().is_none_or(|it| it.armed.is_none_or(|armed| armed > now)) {
            return;
        }
        let Some(mut followers) = self.web.followers.take() else { return };
        followers.armed = None;
        let had_to_read = matches!(followers.list, Reading::At(_));
        if had_to_read {
            self.read_into_list(&mut followers);
        } else {
            for seat in followers.following.take_due(now) {
                self.serve_follower(&mut followers.following, seat);
            }
        }
        let is_read = had_to_read && matches!(followers.list, Reading::Done);
        self.web.followers = Some(followers);
        if is_read && self.read_noted() {
            self.seat_all();
        }
        self.arm_followers();
    }

    /// Puts clients of the store into the list that have not changed since it is there.
    fn read_into_list(&mut self, followers: &mut Followers) {
        let store = self.server.store();
        let Reading::At(cursor) = followers.list else { return };
        let mut text = Vec::new();
        let rest = store.write_piece(cursor, PIECE_BYTES, &mut text);
        followers.list = rest.map_or(Reading::Done, Reading::At);
        for line in text.split_inclusive(|&byte| byte == b'\n') {
            let report = Report::from_fields(Report::fields_of(line));
            if report.is_erasure() {
                continue;
            }
            let (key, position) = (store.key(report.client), report.position);
            let clients = followers.following.clients_mut();
            if !clients.is_listed(key) {
                clients.put(key, Point::spelled(position));
            }
        }
    }

    fn serve_follower(&mut self, following: &mut Following<Stream>, seat: Seat) {
        let Some(Stream { conn, caller, .. }) = following.whose(seat) else { return };
        let (conn, caller) = (*conn, self.still_let_in(caller));
        let Some(caller) = caller else {
            following.leave(self.server.store(), seat);
            return self.say_bye(conn);
        };
        let Some(session) = self.slots.session(conn) else {
            return following.leave(self.server.store(), seat);
        };
        // The far end has closed: it would never be read, because it has nothing more to say.
        if session.flags.read_on {
            following.leave(self.server.store(), seat);
            return self.close_when_sent(conn);
        }
        let room = OUTBOX_BYTES.saturating_sub(session.queued_bytes());
        let mut text = Vec::new();
        let may_read = |client: &[u8]| caller.may_follow(client);
        let when = (self.now.monotonic, room);
        let served = following.serve(self.server.store(), seat, when, &may_read, &mut text);
        if !text.is_empty() {
            self.send(conn, &text);
        }
        if served == Served::TooMany {
            following.leave(self.server.store(), seat);
            self.close_when_sent(conn);
        }
    }

    /// Says good-bye to a follower, if it is one: it comes again, perhaps elsewhere.
    pub(super) fn end_stream(&mut self, conn: ConnId) -> bool {
        if conn.kind() == ConnKind::Mqtt {
            self.say_bye(conn);
            return true;
        }
        let Some(followers) = &mut self.web.followers else { return false };
        let waits = followers.waiting.iter().position(|waiting| waiting.stream.conn == conn);
        let seat = followers.following.seats().find(|(_, stream)| stream.conn == conn);
        match (waits, seat.map(|(seat, _)| seat)) {
            (Some(at), _) => drop(followers.waiting.swap_remove(at)),
            (None, Some(seat)) => followers.following.leave(self.server.store(), seat),
            (None, None) => return false,
        }
        self.say_bye(conn);
        true
    }

    /// MQTT has no word for it.
    fn say_bye(&mut self, conn: ConnId) {
        if conn.kind() == ConnKind::Web {
            self.send(conn, BYE.as_bytes());
        }
        self.close_when_sent(conn);
    }

    /// Says good-bye to all followers.
    pub(super) fn end_streams(&mut self) {
        let Some(mut followers) = self.web.followers.take() else { return };
        for stream in followers.streams() {
            self.say_bye(stream.conn);
        }
        let seats = Vec::from_iter(followers.following.seats().map(|(seat, _)| seat));
        seats.into_iter().for_each(|seat| followers.following.leave(self.server.store(), seat));
        followers.waiting.clear();
        // Who asks may go on asking.
        self.web.followers = Some(followers);
    }

    /// Followers there are, with those who wait for the list.
    pub(super) fn count_followers(&self) -> usize {
        let followers = self.web.followers.as_ref().map_or(0, |followers| followers.len());
        followers + self.web.mqtt.count_waiting(None)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::reactor::tests::House;

    fn ask(house: &mut House, query: &str) -> (TcpStream, ConnId) {
        let (mut stream, conn) = house.come(ConnKind::Web);
        let head = format!("GET /v1/follow?{query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let before = house.reactor.count_followers();
        house.turn_until(|reactor| reactor.count_followers() > before);
        (stream, conn)
    }

    fn heard(stream: &mut TcpStream, house: &mut House, until: &str) -> String {
        stream.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let (mut text, mut piece) = (Vec::new(), [0; 64 * 1024]);
        house.turn_until(|_| {
            let Ok(count) = stream.read(&mut piece) else { return false };
            // The kernel may have taken tens of megabytes, and each is looked at once.
            let from = text.len().saturating_sub(until.len());
            text.extend_from_slice(&piece[..count]);
            memchr::memmem::find(&text[from..], until.as_bytes()).is_some()
        });
        String::from_utf8(text).unwrap()
    }

    /// Goal: one who reads nothing is owed 64 KiB at most, whatever happens, and hears the newest
    /// of each client once it reads.
    #[test]
    fn who_reads_nothing_grows_by_nothing() {
        let mut house = House::new();
        let (mut stalled, conn) = ask(&mut house, "every=50");
        heard(&mut stalled, &mut house, "event: ready");
        house.block(conn, 4_096);
        for second in 0..8 {
            house.report(2_000, second);
            house.pass(Duration::from_millis(250));
            let queued = house.reactor.slots.session(conn).unwrap().queued_bytes();
            assert!(queued < 64 * 1024, "{queued} bytes after {second} s");
        }
        let text = heard(&mut stalled, &mut house, "\"client-1999\",-1.5,1.5,1520000007]");
        assert!(text.contains("event: lag"), "it was late, and hears so");
    }

    /// Goal: the first follower has the list read from the store, in pieces, and hears of everybody
    /// once, though some change meanwhile.
    #[test]
    fn who_follows_first_hears_of_everybody() {
        let mut house = House::new();
        house.report(20_000, 1);
        let (mut stream, _) = ask(&mut house, "");
        house.report(100, 2);
        let text = heard(&mut stream, &mut house, "event: ready");
        assert!(text.starts_with("HTTP/1.1 200 OK\r\n"), "{text}");
        let head = text.split("\r\n\r\n").next().unwrap();
        assert!(head.contains("X-Accel-Buffering: no") && !head.contains("Content-Length"));
        assert_eq!(text.matches("[\"client-").count(), 20_000);
        assert_eq!(text.matches(",1520000002]").count(), 100);
    }

    /// Goal: who closes is let go of, and a server that stops says so.
    #[test]
    fn streams_end() {
        let mut house = House::new();
        let (stream, _) = ask(&mut house, "id=client-1");
        let (mut other, _) = ask(&mut house, "");
        heard(&mut other, &mut house, "event: ready");
        drop(stream);
        house.report(2, 1);
        house.turn_until(|reactor| {
            reactor.clocks.skip(Duration::from_millis(100));
            reactor.count_followers() == 1
        });
        house.reactor.begin_to_stop(true);
        let text = heard(&mut other, &mut house, "retry: 500");
        assert!(text.contains("event: bye"), "{text}");
        let mut rest = Vec::new();
        other.set_read_timeout(None).unwrap();
        house.turn();
        other.read_to_end(&mut rest).expect("it is closed in good order");
    }
}
