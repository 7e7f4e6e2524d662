//! Clients that speak MQTT, with real servers.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use herd_web::mqtt::far_end::{Heard, hear, write};
use herd_web::mqtt::{Connect, Packet, Publish, Will};

use super::access::{self, CLIENTS, TOKENS, among, guarded};
use super::common::operator::Operator;
use super::common::{Herd, PLACELESS, TIMEOUT, until};

/// Somebody who speaks MQTT.
struct Speaker {
    stream: TcpStream,
    bytes: Vec<u8>,
}

impl Speaker {
    /// Somebody who has a connection and has said nothing.
    fn come(herd: &Herd, name: &str) -> Speaker {
        let stream = TcpStream::connect(("127.0.0.1", herd.mqtt_port(name))).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        Speaker { stream, bytes: Vec::new() }
    }

    /// Somebody who is connected.
    fn connected(herd: &Herd, name: &str) -> Speaker {
        let mut speaker = Speaker::come(herd, name);
        assert_eq!(speaker.ask(Packet::Connect(NOBODY)), Heard::Connack(0));
        speaker
    }

    fn say(&mut self, packet: &Packet<'_>) {
        let mut bytes = Vec::new();
        write(packet, &mut bytes);
        self.stream.write_all(&bytes).unwrap();
    }

    fn ask(&mut self, packet: Packet<'_>) -> Heard {
        self.say(&packet);
        self.hear().expect("an answer")
    }

    /// `None` when the server has closed.
    fn hear(&mut self) -> Option<Heard> {
        let mut piece = [0; 4096];
        loop {
            if let Some(heard) = hear(&mut self.bytes) {
                return Some(heard);
            }
            match self.stream.read(&mut piece) {
                Ok(0) => return None,
                Ok(count) => self.bytes.extend_from_slice(&piece[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => return None,
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn publish(&mut self, topic: &str, payload: &str, qos: u8) -> Option<Heard> {
        let message = message(topic, payload, qos);
        self.say(&Packet::Publish(message));
        if qos > 0 { self.hear() } else { None }
    }

    fn subscribe(&mut self, filters: &[&str]) -> Vec<u8> {
        let filters = filters.iter().map(|filter| (*filter, 2)).collect();
        self.say(&Packet::Subscribe { id: 9, filters });
        // What was subscribed to before may be told meanwhile.
        loop {
            if let Heard::Suback(9, codes) = self.hear().expect("an answer") {
                return codes;
            }
        }
    }

    /// The next message, as `topic payload`, with `!` before it if it was retained.
    fn message(&mut self) -> String {
        let Some(Heard::Message { topic, payload, is_retained }) = self.hear() else {
            panic!("no message")
        };
        let mark = if is_retained { "!" } else { "" };
        format!("{mark}{topic} {}", String::from_utf8(payload).unwrap())
    }
}

const NOBODY: Connect<'_> = Connect {
    client_id: "",
    is_clean: true,
    keep_alive_s: 60,
    will: None,
    user: None,
    password: None,
};

/// What somebody is answered who shows this.
pub fn connect_as(herd: &Herd, user: &str, secret: &str) -> Heard {
    let (user, password) = (Some(user), Some(secret.as_bytes()));
    Speaker::come(herd, "Hill").ask(Packet::Connect(Connect { user, password, ..NOBODY }))
}

const PUBACK: u8 = 0x40;
const PUBREC: u8 = 0x50;
const PUBCOMP: u8 = 0x70;
const UNSUBACK: u8 = 0xb0;

fn message<'a>(topic: &'a str, payload: &'a str, qos: u8) -> Publish<'a> {
    let (payload, id) = (payload.as_bytes(), if qos > 0 { 7 } else { 0 });
    Publish { topic, payload, qos, id, is_retained: true, is_again: false }
}

/// As OwnTracks says it by MQTT: the topic says who it is.
fn location(time: u64) -> String {
    format!(r#"{{"_type":"location","tid":"ph","lat":60.1699,"lon":24.9384,"tst":{time}}}"#)
}

/// Goal: what a phone publishes is known to the whole herd and to those who subscribe, anywhere;
/// who comes later has it as a retained message, who is there already as it changes.
#[test]
fn a_phone_publishes_and_the_herd_tells() {
    let herd = Herd::running("2023", PLACELESS);
    herd.until_joined();
    let mut early = Speaker::connected(&herd, "Clark");
    assert_eq!(early.subscribe(&["owntracks/+/+"]), [0]);
    let mut phone = Speaker::connected(&herd, "Bailey");
    let answer = phone.publish("owntracks/jane/phone", &location(1_520_023_934), 1);
    assert_eq!(answer, Some(Heard::Acknowledged(PUBACK, 7)));
    let line = herd.held("Bailey", "jane/phone").expect("it is acknowledged when it is held");
    assert!(line.ends_with(" jane/phone +60.1699000+024.9384000 1520023934.000000000"), "{line}");
    herd.until_all_hold("jane/phone", &line);
    let told = |mark: &str, time: u64| {
        format!(
            "{mark}owntracks/jane/phone {{\"_type\":\"location\",\"tid\":\"ne\",\"lat\":60.1699,\
             \"lon\":24.9384,\"tst\":{time}}}"
        )
    };
    // It may have come while the list was read, or after.
    assert!(early.message().ends_with(&told("", 1_520_023_934)));
    let mut late = Speaker::connected(&herd, "Campbell");
    assert_eq!(late.subscribe(&["#", "a/#/b", "$SYS/#"]), [0, 0x80, 0]);
    assert_eq!(late.message(), told("!", 1_520_023_934));

    // What others report by a line is told as well; a client of one word has a topic of one.
    herd.report("Jaquez", "kiwi", "+1.5-2.5", "1520023935");
    let kiwi =
        r#"owntracks/kiwi {"_type":"location","tid":"wi","lat":1.5,"lon":-2.5,"tst":1520023935}"#;
    assert_eq!(late.message(), kiwi);
    // QoS 2 in its two steps; the same again is no news.
    for _ in 0..2 {
        let answer = phone.publish("owntracks/jane/phone", &location(1_520_023_936), 2);
        assert_eq!(answer, Some(Heard::Acknowledged(PUBREC, 7)));
        assert_eq!(phone.ask(Packet::Release { id: 7 }), Heard::Acknowledged(PUBCOMP, 7));
    }
    assert_eq!(early.message(), told("", 1_520_023_936));
    assert_eq!(late.message(), told("", 1_520_023_936));
    let done = late.ask(Packet::Unsubscribe { id: 5, filters: vec!["#"] });
    assert_eq!(done, Heard::Acknowledged(UNSUBACK, 5));
    phone.publish("owntracks/jane/phone", &location(1_520_023_937), 0);
    assert_eq!(early.message(), told("", 1_520_023_937));
    assert_eq!(late.ask(Packet::Ping), Heard::Pong);
    assert_eq!(late.subscribe(&["home/jane/phone"]), [0]);
    assert_eq!(late.message(), told("!", 1_520_023_937).replace("owntracks", "home"));
    late.say(&Packet::Disconnect);
    assert_eq!(late.hear(), None);
}

/// Goal: what is no position is acknowledged, or a phone would send it for ever; and counted.
#[test]
fn what_is_of_no_use_is_acknowledged() {
    let herd = Herd::of_one("", PLACELESS);
    let mut phone = Speaker::connected(&herd, "Hill");
    for (topic, payload) in [
        ("owntracks/jane/phone", r#"{"_type":"lwt","tst":1520023934}"#),
        ("owntracks/jane/phone", "{"),
        ("owntracks/jane/phone/event", r#"{"_type":"transition","lat":1,"lon":1,"tst":1}"#),
        ("owntracks/jane/phone", r#"{"_type":"location","lat":91,"lon":1,"tst":1520023934}"#),
        ("owntracks/jane/phone", r#"{"_type":"location","lat":1,"lon":1,"tst":9520023934}"#),
        ("home", &location(1_520_023_934)),
        ("$SYS/a", &location(1_520_023_934)),
    ] {
        let answer = phone.publish(topic, payload, 1);
        assert_eq!(answer, Some(Heard::Acknowledged(PUBACK, 7)), "{topic} {payload}");
    }
    // The topic says who it is, whatever the payload says; any form that is taken by HTTP is.
    phone.publish("home/fig", r#"{"id":"kiwi","lat":1.5,"lon":-2.5,"timestamp":1520023934}"#, 1);
    assert!(herd.held("Hill", "fig").is_some() && herd.held("Hill", "kiwi").is_none());
    // An empty message that is to be retained clears what was.
    assert_eq!(phone.publish("home/fig", "", 1), Some(Heard::Acknowledged(PUBACK, 7)));
    assert_eq!(herd.held("Hill", "fig"), None);
    let metrics = Operator::connect(herd.operators_port("Hill")).get("/metrics").body;
    for (reason, count) in [
        ("no_position", 2),
        ("malformed", 1),
        ("bad_position", 1),
        ("ahead_of_clock", 1),
        ("no_client", 2),
    ] {
        let line = format!("herd_web_unusable_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}{metrics}");
    }
}

/// Goal: a will is a report of one who goes without a word, and of no other; one name has one
/// connection.
#[test]
fn who_goes_without_a_word_has_a_will() {
    let herd = Herd::of_one("", PLACELESS);
    let come = |topic: &str, time: u64| {
        let mut phone = Speaker::come(&herd, "Hill");
        let payload = location(time);
        let will = Will { topic, payload: payload.as_bytes() };
        let connect = Connect { client_id: "phone", will: Some(will), ..NOBODY };
        assert_eq!(phone.ask(Packet::Connect(connect)), Heard::Connack(0));
        phone
    };
    let time = || herd.held("Hill", "jane/phone").map(|line| line[line.len() - 20..].to_owned());
    let mut polite = come("owntracks/jane/polite", 1_520_023_934);
    polite.say(&Packet::Disconnect);
    assert_eq!(polite.hear(), None);
    let topic = "owntracks/jane/phone";
    let mut second = come(topic, 1_520_023_935);
    assert_eq!(second.ask(Packet::Ping), Heard::Pong);
    let third = come(topic, 1_520_023_936);
    assert_eq!(second.hear(), None, "another one has its name");
    until("its will is done", || time().as_deref() == Some("1520023935.000000000"));
    drop(third);
    until("its will is done", || time().as_deref() == Some("1520023936.000000000"));
    // Wills are done in the order in which their devices have gone.
    assert_eq!(herd.held("Hill", "jane/polite"), None, "who has said good-bye has no will");
    // Clients without a name are many.
    let mut both = [0; 2].map(|_| Speaker::connected(&herd, "Hill"));
    both.iter_mut().for_each(|one| assert_eq!(one.ask(Packet::Ping), Heard::Pong));
}

/// Goal: who says anything else is hung up on, and nobody else notices.
#[test]
fn what_is_no_mqtt_is_hung_up_on() {
    let herd = Herd::of_one("", PLACELESS);
    let mut well = Speaker::connected(&herd, "Hill");
    let written = |packet: &Packet<'_>| {
        let mut bytes = Vec::new();
        write(packet, &mut bytes);
        bytes
    };
    let connect = written(&Packet::Connect(NOBODY));
    let code = |code: u8| Some(Heard::Connack(code));
    let lost = Connect { is_clean: false, ..NOBODY };
    for (bytes, answers) in [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec(), vec![None]),
        (b"IAMAT kiwi +1+1 1\n".to_vec(), vec![None]),
        (written(&Packet::Ping), vec![None]),
        ([&connect[..], &connect].concat(), vec![code(0), None]),
        ([&connect[..], b"\x36\0"].concat(), vec![code(0), None]),
        ([&connect[..], b"\x30\xff\xff\xff\x7f"].concat(), vec![code(0), None]),
        (b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0".to_vec(), vec![code(1), None]),
        (written(&Packet::Connect(lost)), vec![code(2), None]),
    ] {
        let mut speaker = Speaker::come(&herd, "Hill");
        speaker.stream.write_all(&bytes).unwrap();
        for answer in answers {
            assert_eq!(speaker.hear(), answer, "{}", bytes.escape_ascii());
        }
    }
    // Byte by byte, and many at once, is as good as one by one.
    let mut slow = Speaker::come(&herd, "Hill");
    for byte in [&connect[..], &written(&Packet::Ping)].concat() {
        slow.stream.write_all(&[byte]).unwrap();
    }
    assert_eq!([slow.hear(), slow.hear()], [code(0), Some(Heard::Pong)]);
    slow.stream.write_all(&written(&Packet::Ping).repeat(1_000)).unwrap();
    (0..1_000).for_each(|_| assert_eq!(slow.hear(), Some(Heard::Pong)));
    let filters = Vec::from_iter((0..64).map(|number| format!("a/{number}")));
    let filters = Vec::from_iter(filters.iter().map(|filter| &**filter));
    let codes = slow.subscribe(&filters);
    assert_eq!(codes.iter().filter(|code| **code == 0).count(), 32, "so many, and no more");
    assert_eq!(well.ask(Packet::Ping), Heard::Pong);
}

/// Goal: each token may publish and sees what access.toml says, whatever it asks for; and nobody
/// learns that there is more.
#[test]
fn who_may_what_is_as_by_http() {
    let (herd, secrets) = guarded();
    let held = |client: &str| herd.held("Hill", client);
    let mut cases = 0_u64;
    for (who, secret) in TOKENS.iter().zip(&secrets) {
        let connect = |user: &'static str, secret: &str| {
            let mut speaker = Speaker::come(&herd, "Hill");
            let password = Some(secret.as_bytes());
            let connect = Connect { user: Some(user), password, ..NOBODY };
            (speaker.ask(Packet::Connect(connect)), speaker)
        };
        let (code, mut speaker) = connect(who.name, secret);
        assert_eq!(code, Heard::Connack(if who.is_over { 4 } else { 0 }), "{}", who.name);
        if who.is_over {
            continue;
        }
        assert_eq!(connect("somebody", secret).0, Heard::Connack(4));
        let filters = ["#", "owntracks/jane/phone", "owntracks/+", "x/jane/#", "owntracks/kiwi"];
        assert_eq!(speaker.subscribe(&filters), [0; 5]);
        for (at, client) in CLIENTS.iter().chain([&access::NOBODY]).enumerate() {
            let stamp = 1_520_000_000 + cases + at as u64;
            let before = held(client);
            let (topic, payload) = (format!("owntracks/{client}"), location(stamp));
            speaker.say(&Packet::Publish(message(&topic, &payload, 1)));
            let answer = loop {
                match speaker.hear() {
                    Some(Heard::Message { topic, .. }) => {
                        let client = topic.split_once('/').unwrap().1;
                        assert!(among(who.read, client), "{} sees {topic}", who.name);
                    }
                    other => break other,
                }
            };
            assert_eq!(answer, Some(Heard::Acknowledged(PUBACK, 7)));
            let is_changed = held(client) != before;
            assert_eq!(is_changed, among(who.report, client), "{} reports {client}", who.name);
        }
        // All of them change once more: whatever else would be told has been told by then.
        cases += 100;
        let stamp = (1_520_000_000 + cases).to_string();
        CLIENTS.iter().for_each(|client| _ = herd.report("Hill", client, "+1-1", &stamp));
        let mut left = CLIENTS.iter().filter(|client| among(who.read, client)).count();
        let told = format!("\"tst\":{stamp}}}");
        // Five filters, so some are told more than once.
        while left > 0 {
            let message = speaker.message();
            let client = message.split([' ', '/']).skip(1).take_while(|it| !it.starts_with('{'));
            let client = Vec::from_iter(client).join("/");
            assert!(among(who.read, &client), "{} sees {message}", who.name);
            left -= usize::from(message.ends_with(&told));
        }
    }
    let mut nobody = Speaker::come(&herd, "Hill");
    assert_eq!(nobody.ask(Packet::Connect(NOBODY)), Heard::Connack(5));
    assert_eq!(nobody.hear(), None);
}
