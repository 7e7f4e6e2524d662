//! Clients that speak MQTT: what they publish is reported like what comes by HTTP, and what they
//! subscribe to is followed like a stream of events. How packets look, `herd_web::mqtt` knows.
//!
//! ```text
//!   CONNECT ──▶ caller    PUBLISH ──▶ report ──▶ PUBACK    SUBSCRIBE ──▶ a follower each
//! ```
//!
//! The loop knows nothing of it but when a connection has ended: then its followers go, and its
//! will is done, by a timer in a turn of its own.

use std::collections::HashMap;
use std::time::Duration;

use super::access::Refused;
use super::follower_places::{Account, OF_A_TOKEN_MAX};
use super::following::Stream;
use super::{Due, Reactor};
use herd_core::driver::Driver;
use herd_core::names::ConnId;
use herd_core::session::{CloseReason, Expiry};
use herd_core::wire::line_buffer::Lines;
use herd_web::access::{Caller, Shown};
use herd_web::follow::{Seat, Wish};
use herd_web::mqtt::answer::{self, Connack};
use herd_web::mqtt::{self, Connect, Filter, Packet, Parsed, Publish};
use herd_web::{Hints, Reading, read_body};

/// Packets of one connection that are taken in one turn.
const PACKETS_MAX: usize = 64;
/// Filters of one connection.
const SUBSCRIPTIONS_MAX: usize = 32;
/// Longest name that a connection may give itself, in bytes.
const CLIENT_ID_BYTES_MAX: usize = 256;
/// A will that is longer, in bytes, is no position.
const WILL_BYTES_MAX: usize = 2 * 1024;
/// A connection that promises no sign of life has to give one in this time all the same.
const KEEP_ALIVE_MAX: Duration = Duration::from_secs(18 * 3600);
/// How often it is looked who is silent.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// All who have connected.
#[derive(Default)]
pub(super) struct Mqtt {
    sessions: HashMap<ConnId, Session>,
    /// The connection of each name that a token's device has given itself.
    by_name: HashMap<Name, ConnId>,
    /// Connections that have ended.
    gone: Vec<ConnId>,
    /// When a timer fires.
    armed: Option<Duration>,
}

impl Mqtt {
    /// Subscriptions that will have a place each, once the list has everybody: all, or those that
    /// are counted to something.
    pub(super) fn count_waiting(&self, account: Option<Account>) -> usize {
        let is_meant = |session: &&Session| account.is_none() || session.account == account;
        let sessions = self.sessions.values().filter(is_meant);
        let waits =
            |(filter, seat): &&(Filter, Option<Seat>)| seat.is_none() && filter.asks_for_clients();
        sessions.map(|session| session.subscriptions.iter().filter(waits).count()).sum()
    }
}

/// The token, and the name of the device: those of others do not end our connections.
type Name = (Option<String>, Box<str>);

/// Somebody who has connected.
struct Session {
    caller: Caller,
    name: Name,
    /// The longest silence.
    patience: Duration,
    heard_at: Duration,
    /// Topic and payload.
    will: Option<(Box<str>, Box<[u8]>)>,
    /// To what the places of its subscriptions are counted.
    account: Option<Account>,
    /// Those that ask for clients are seated once the list has everybody.
    subscriptions: Vec<(Filter, Option<Seat>)>,
}

impl Reactor {
    /// The port for MQTT has been told something.
    pub(super) fn answer_mqtt(&mut self, conn: ConnId, lines: &mut Lines<'_>) {
        for _ in 0..PACKETS_MAX {
            match mqtt::parse(lines.rest()) {
                Parsed::Whole(packet, length) => {
                    lines.pass(length);
                    self.keep_under_way(conn, 0);
                    if !self.take_packet(conn, packet) {
                        lines.rest_is_partial();
                        return self.close_when_sent(conn);
                    }
                }
                Parsed::Partial => {
                    let has_room = self.keep_under_way(conn, lines.rest().len()).is_none();
                    lines.rest_is_partial();
                    // A last packet that breaks off is none.
                    if !has_room || lines.are_last() {
                        self.close_when_sent(conn);
                    }
                    return;
                }
                Parsed::Refused(refusal) => {
                    if refusal == mqtt::Refusal::Version {
                        self.send(conn, &answer::connack(Connack::Version));
                    }
                    self.refused(conn, Refused::Malformed);
                    lines.rest_is_partial();
                    return self.close_when_sent(conn);
                }
            }
        }
        match mqtt::parse(lines.rest()) {
            Parsed::Partial => lines.rest_is_partial(),
            _ => lines.rest_is_whole(),
        }
    }

    /// Says whether more packets may follow.
    fn take_packet(&mut self, conn: ConnId, packet: Packet<'_>) -> bool {
        let now = self.now.monotonic;
        let Some(session) = self.web.mqtt.sessions.get_mut(&conn) else {
            return match packet {
                Packet::Connect(connect) => {
                    let code = self.connect_mqtt(conn, &connect);
                    self.send(conn, &answer::connack(code));
                    code == Connack::Accepted
                }
                _ => {
                    self.refused(conn, Refused::Malformed);
                    false
                }
            };
        };
        session.heard_at = now;
        match packet {
            Packet::Publish(message) => return self.take_message(conn, &message),
            Packet::Release { id } => self.send(conn, &answer::released(id)),
            Packet::Subscribe { id, filters } => {
                let codes = filters.iter().map(|(filter, _)| self.subscribe(conn, filter));
                let codes = Vec::from_iter(codes);
                self.send(conn, &answer::suback(id, &codes));
            }
            Packet::Unsubscribe { id, filters } => {
                filters.iter().for_each(|filter| self.unsubscribe(conn, filter));
                self.send(conn, &answer::unsuback(id));
            }
            Packet::Ping => self.send(conn, &answer::PINGRESP),
            Packet::Disconnect => {
                session.will = None;
                return false;
            }
            Packet::Connect(_) => {
                self.refused(conn, Refused::Malformed);
                return false;
            }
        }
        true
    }

    // ---- who connects ----

    fn connect_mqtt(&mut self, conn: ConnId, connect: &Connect<'_>) -> Connack {
        let is_nameless = connect.client_id.is_empty();
        if is_nameless && !connect.is_clean || connect.client_id.len() > CLIENT_ID_BYTES_MAX {
            return Connack::ClientId;
        }
        let caller = match self.let_in_mqtt(conn, connect) {
            Ok(caller) => caller,
            Err(code) => return code,
        };
        let name = (caller.name().map(str::to_owned), connect.client_id.into());
        if !is_nameless && let Some(other) = self.web.mqtt.by_name.insert(name.clone(), conn) {
            self.close_now(other, CloseReason::Displaced);
        }
        let keep_alive = Duration::from_secs(connect.keep_alive_s.into());
        let patience = if keep_alive.is_zero() { KEEP_ALIVE_MAX } else { keep_alive * 3 / 2 };
        let is_short =
            |will: &mqtt::Will<'_>| will.topic.len() + will.payload.len() <= WILL_BYTES_MAX;
        let will = connect.will.filter(is_short);
        let session = Session {
            caller,
            name,
            patience,
            heard_at: self.now.monotonic,
            will: will.map(|will| (will.topic.into(), will.payload.into())),
            account: None,
            subscriptions: Vec::new(),
        };
        self.web.mqtt.sessions.insert(conn, session);
        self.arm_mqtt(self.now.monotonic + LOOK_EVERY);
        Connack::Accepted
    }

    fn let_in_mqtt(&mut self, conn: ConnId, connect: &Connect<'_>) -> Result<Caller, Connack> {
        let Some(access) = self.config.access.clone() else { return Ok(Caller::anybody()) };
        let shown = match (connect.user, connect.password.map(str::from_utf8)) {
            (None, _) => Shown::Nothing,
            (Some(user), Some(Ok(secret))) => {
                Shown::Named { user: user.to_owned(), secret: secret.to_owned() }
            }
            (Some(_), _) => Shown::Unreadable,
        };
        let caller = access.caller(&shown, &self.web.callers.sessions, self.now.posix);
        let caller = caller.map_err(|denied| match self.count_denied(conn, denied.into()) {
            Refused::NoSecret => Connack::NotAuthorized,
            Refused::TooManyWrong => Connack::Unavailable,
            _ => Connack::WrongSecret,
        })?;
        let name = caller.name().map(str::to_owned);
        let is_of_it = |session: &&Session| session.name.0 == name;
        let of_a_token = self.web.mqtt.sessions.values().filter(is_of_it).count();
        if of_a_token >= OF_A_TOKEN_MAX {
            self.refused(conn, Refused::TooManyRequests);
            return Err(Connack::Unavailable);
        }
        Ok(caller)
    }

    // ---- what is published ----

    /// Says whether the message is taken. It is if it was of no use, too: who hears nothing sends
    /// it again, and what comes behind it waits.
    fn take_message(&mut self, conn: ConnId, message: &Publish<'_>) -> bool {
        let caller = self.web.mqtt.sessions.get(&conn).map(|session| session.caller.clone());
        let Some(caller) = caller.and_then(|caller| self.still_let_in(&caller)) else {
            return false;
        };
        let is_taken = match self.is_erasing(message, &caller) {
            Some(client) => self.erase_if_new(client.as_bytes(), &caller),
            None => self.report_message(conn, (message.topic, message.payload), &caller),
        };
        if let Some(answer) = answer::published(message.qos, message.id).filter(|_| is_taken) {
            self.send(conn, &answer);
        }
        // Without an answer, the message is sent again after the next CONNECT.
        is_taken || message.qos == 0
    }

    /// The client that is to be forgotten: an empty message that is to be retained clears what was
    /// retained before (3.3.1.3).
    fn is_erasing(&self, message: &Publish<'_>, caller: &Caller) -> Option<String> {
        let clears = message.is_retained && message.payload.is_empty();
        let client = mqtt::client_of(message.topic).ok().filter(|_| clears);
        client.filter(|client| caller.may_report(client.as_bytes()))
    }

    /// Says whether there was room for what is a report.
    fn report_message(
        &mut self,
        conn: ConnId,
        (topic, payload): (&str, &[u8]),
        caller: &Caller,
    ) -> bool {
        let mut reading = match mqtt::client_of(topic) {
            Ok(client) => {
                let hints = Hints { name: Some(&client), ..self.hints() };
                let mut reading = read_body(payload, &hints);
                // The topic says who it is, whatever the payload says.
                reading.fixes.iter_mut().for_each(|fix| fix.client.clone_from(&client));
                reading
            }
            Err(why) => Reading::of_none(why),
        };
        reading.keep_allowed(caller);
        reading.keep_newest();
        self.take_reading(conn, &mut reading, caller)
    }

    // ---- what is subscribed to ----

    /// The code that a SUBACK has for this filter.
    fn subscribe(&mut self, conn: ConnId, text: &str) -> u8 {
        let Some(filter) = Filter::parse(text) else { return answer::SUBSCRIBE_FAILED };
        // Who subscribes again hears of everybody again.
        self.unsubscribe(conn, text);
        let session = self.web.mqtt.sessions.get(&conn);
        let session = session.filter(|it| it.subscriptions.len() < SUBSCRIPTIONS_MAX);
        let caller = session.map(|session| session.caller.clone());
        let place = caller.and_then(|caller| self.find_place(conn, &caller).ok());
        let session = self.web.mqtt.sessions.get_mut(&conn);
        let Some((account, session)) = place.zip(session) else { return answer::SUBSCRIBE_FAILED };
        session.account = account;
        let asks = filter.asks_for_clients();
        session.subscriptions.push((filter, None));
        if asks && self.begin_to_follow() {
            self.seat_subscriptions(conn);
        }
        answer::GRANTED
    }

    /// Seats whose filters are not yet followed: the list has everybody now.
    fn seat_subscriptions(&mut self, conn: ConnId) {
        let Some(followers) = &mut self.web.followers else { return };
        let Some(session) = self.web.mqtt.sessions.get_mut(&conn) else { return };
        for (filter, seat) in &mut session.subscriptions {
            if seat.is_none() && filter.asks_for_clients() {
                let (caller, account) = (session.caller.clone(), session.account);
                let stream = Stream { conn, caller, account };
                let wish = Wish::of_topics(filter.clone());
                let now = self.now.monotonic;
                *seat = Some(followers.seat(self.server.store(), stream, wish, now));
            }
        }
        self.arm_followers();
    }

    /// The list has everybody now.
    pub(super) fn seat_all_subscriptions(&mut self) {
        for conn in Vec::from_iter(self.web.mqtt.sessions.keys().copied()) {
            self.seat_subscriptions(conn);
        }
    }

    fn unsubscribe(&mut self, conn: ConnId, text: &str) {
        let Some(session) = self.web.mqtt.sessions.get_mut(&conn) else { return };
        let of_text = |(filter, _): &(Filter, _)| filter.text() == text;
        let Some(at) = session.subscriptions.iter().position(of_text) else { return };
        let (_, seat) = session.subscriptions.swap_remove(at);
        if let (Some(seat), Some(followers)) = (seat, &mut self.web.followers) {
            followers.leave_if_of(self.server.store(), seat, conn);
        }
    }

    // ---- ends ----

    /// A connection has ended, in the middle of whatever is done.
    pub(super) fn mqtt_closed(&mut self, conn: ConnId) {
        if self.web.mqtt.sessions.contains_key(&conn) {
            self.web.mqtt.gone.push(conn);
            self.arm_mqtt(self.now.monotonic);
        }
    }

    fn arm_mqtt(&mut self, due: Duration) {
        if self.web.mqtt.armed.is_none_or(|armed| armed > due) {
            self.web.mqtt.armed = Some(due);
            self.wheel.start(due, Due::Mqtt);
        }
    }

    /// Looks who has ended, and who is silent.
    pub(super) fn look_after_mqtt(&mut self) {
        let now = self.now.monotonic;
        // An earlier look came, and this timer is left from before.
        if self.web.mqtt.armed.is_none_or(|armed| armed > now) {
            return;
        }
        self.web.mqtt.armed = None;
        let is_silent = |session: &Session| now >= session.heard_at + session.patience;
        let sessions = self.web.mqtt.sessions.iter();
        let silent = sessions.filter(|(_, session)| is_silent(session)).map(|(conn, _)| *conn);
        for conn in Vec::from_iter(silent) {
            self.close_now(conn, CloseReason::Expired(Expiry::Idle));
        }
        for conn in std::mem::take(&mut self.web.mqtt.gone) {
            self.end_mqtt(conn);
        }
        if !self.web.mqtt.sessions.is_empty() {
            self.arm_mqtt(now + LOOK_EVERY);
        }
    }

    fn end_mqtt(&mut self, conn: ConnId) {
        let Some(session) = self.web.mqtt.sessions.remove(&conn) else { return };
        if self.web.mqtt.by_name.get(&session.name) == Some(&conn) {
            self.web.mqtt.by_name.remove(&session.name);
        }
        if let Some(followers) = &mut self.web.followers {
            for seat in session.subscriptions.into_iter().filter_map(|(_, seat)| seat) {
                followers.leave_if_of(self.server.store(), seat, conn);
            }
        }
        // A server that stops is no reason to say that its clients have gone.
        if let Some((topic, payload)) = session.will.filter(|_| !self.is_draining())
            && let Some(caller) = self.still_let_in(&session.caller)
        {
            self.report_message(conn, (&topic, &payload), &caller);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream;

    use super::*;
    use crate::reactor::follower_places::OF_ONE_MAX;
    use crate::reactor::tests::{House, by_link};
    use herd_core::names::ConnKind;
    use herd_web::mqtt::far_end::{Heard, hear, write};

    /// Somebody who has connected, has this will and has asked for everybody.
    fn come(house: &mut House, keep_alive_s: u16) -> (TcpStream, ConnId) {
        let (mut stream, conn) = house.come(ConnKind::Mqtt);
        let payload = br#"{"_type":"location","lat":1,"lon":1}"#;
        let will = Some(mqtt::Will { topic: "owntracks/will", payload });
        let (is_clean, client_id) = (true, "");
        let connect =
            Connect { client_id, is_clean, keep_alive_s, will, user: None, password: None };
        let mut bytes = Vec::new();
        write(&Packet::Connect(connect), &mut bytes);
        write(&Packet::Subscribe { id: 1, filters: vec![("#", 0)] }, &mut bytes);
        stream.write_all(&bytes).unwrap();
        house.turn_until(|reactor| reactor.count_followers() > 0);
        (stream, conn)
    }

    /// Goal: a subscriber that reads nothing is owed 64 KiB at most, whatever happens, and hears
    /// the newest of each client once it reads.
    #[test]
    fn who_reads_nothing_grows_by_nothing() {
        let mut house = House::new();
        let (mut stalled, conn) = come(&mut house, 0);
        for second in 0..8 {
            house.report(2_000, second);
            house.pass(Duration::from_millis(500));
            if second == 1 {
                house.block(conn, 4_096);
            }
            let queued = house.reactor.slots.session(conn).unwrap().queued_bytes();
            assert!(second < 2 || queued < 64 * 1024, "{queued} bytes after {second} s");
        }
        stalled.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
        let (mut tail, mut piece) = (Vec::new(), [0; 64 * 1024]);
        let newest = b"owntracks/client-1999{\"_type\":\"location\",\"tid\":\"99\",\"lat\":1.5,\
                       \"lon\":-1.5,\"tst\":1520000007}";
        house.turn_until(|_| {
            if let Ok(count) = stalled.read(&mut piece) {
                let from = tail.len().saturating_sub(newest.len());
                tail.drain(..from);
                tail.extend_from_slice(&piece[..count]);
            }
            tail.windows(newest.len()).any(|window| window == newest)
        });
    }

    /// Goal: who is silent for one and a half of what it has promised is hung up on, and has its
    /// will; who says something now and then is not, and who has promised nothing is left alone.
    #[test]
    fn who_keeps_no_promise_is_hung_up_on() {
        let mut house = House::new();
        let (_silent, silent) = come(&mut house, 10);
        let (mut alive, heard) = come(&mut house, 10);
        let (_patient, patient) = come(&mut house, 0);
        for _ in 0..3 {
            house.pass(Duration::from_secs(7));
            alive.write_all(b"\xc0\0").unwrap();
            let mut piece = [0; 4096];
            alive.set_read_timeout(Some(Duration::from_millis(1))).unwrap();
            let mut bytes = Vec::new();
            house.turn_until(|_| {
                if let Ok(count) = alive.read(&mut piece) {
                    bytes.extend_from_slice(&piece[..count]);
                }
                std::iter::from_fn(|| hear(&mut bytes)).any(|heard| heard == Heard::Pong)
            });
        }
        assert!(!house.lives(silent) && house.knows("will"));
        assert!(house.lives(heard) && house.lives(patient));
        house.pass(Duration::from_secs(400));
        assert!(!house.lives(heard) && house.lives(patient));
        assert_eq!(house.reactor.count_followers(), 1, "who is gone follows nobody");
    }

    /// Goal: those who subscribe by one link while the list is read have no more places than
    /// others, and all that they are granted. Method: sessions whose connections are gone.
    #[test]
    fn a_place_is_counted_before_it_is_taken() {
        let mut house = House::new();
        house.report(10_000, 0);
        let caller = by_link("1");
        let conns = (0..).map(|serial| ConnId::new(ConnKind::Mqtt, 1, serial));
        let mut subscribe = |conn: ConnId| {
            let (client_id, is_clean, keep_alive_s, will) = ("", true, 0, None);
            let connect =
                Connect { client_id, is_clean, keep_alive_s, will, user: None, password: None };
            assert_eq!(house.reactor.connect_mqtt(conn, &connect), Connack::Accepted);
            house.reactor.web.mqtt.sessions.get_mut(&conn).unwrap().caller = caller.clone();
            let filters = (0..SUBSCRIPTIONS_MAX).map(|number| format!("owntracks/{number}/#"));
            filters.take_while(|it| house.reactor.subscribe(conn, it) == answer::GRANTED).count()
        };
        assert_eq!(conns.take(40).map(&mut subscribe).sum::<usize>(), OF_ONE_MAX);
        let seated = |reactor: &Reactor| reactor.web.followers.as_ref().unwrap().following.len();
        let counted = |house: &House| (seated(&house.reactor), house.reactor.count_followers());
        assert_eq!(counted(&house), (0, OF_ONE_MAX), "the list is not read yet");
        house.turn_until(|reactor| seated(reactor) > 0);
        assert_eq!(counted(&house), (OF_ONE_MAX, OF_ONE_MAX));
    }

    /// Goal: a server that stops hangs up, and does nobody's will.
    #[test]
    fn a_server_that_stops_does_no_will() {
        let mut house = House::new();
        let (mut stream, conn) = come(&mut house, 0);
        house.reactor.begin_to_stop(true);
        house.turn_until(|reactor| {
            reactor
                .slots
                .session(conn)
                .is_none_or(|it| it.phase() != herd_core::session::Phase::Open)
        });
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let mut rest = Vec::new();
        house.turn();
        stream.read_to_end(&mut rest).expect("it is closed in good order");
        drop(stream);
        house.turn();
        assert!(!house.knows("will"));
    }
}
