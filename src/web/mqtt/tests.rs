//! Packets and topics, from bytes to what they mean.

use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use super::answer::Connack;
use super::far_end::{Heard, hear, write};
use super::*;
use crate::client;

fn written(packet: &Packet<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(packet, &mut bytes);
    bytes
}

/// What apps send first, byte by byte: mosquitto_pub 2.0, paho-mqtt 2.1 and OwnTracks for Android.
#[test]
fn connects_of_apps_are_read() {
    let mosquitto = b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02mq";
    let expected = Connect {
        client_id: "mq",
        is_clean: true,
        keep_alive_s: 60,
        will: None,
        user: None,
        password: None,
    };
    assert_eq!(parse(mosquitto), Parsed::Whole(Packet::Connect(expected.clone()), 16));
    let owntracks = b"\x10\x4a\0\x04MQTT\x04\xec\x0e\x10\0\x09janephone\
                      \0\x14owntracks/jane/phone\0\x0f{\"_type\":\"lwt\"}\0\x04jane\0\x06secret";
    let will = Will { topic: "owntracks/jane/phone", payload: b"{\"_type\":\"lwt\"}" };
    let phone = Connect {
        client_id: "janephone",
        is_clean: false,
        keep_alive_s: 3_600,
        will: Some(will),
        user: Some("jane"),
        password: Some(b"secret"),
    };
    assert_eq!(parse(owntracks), Parsed::Whole(Packet::Connect(phone), owntracks.len()));
    let nameless = b"\x10\x0c\0\x04MQTT\x04\x02\0\x3c\0\0";
    let nobody = Connect { client_id: "", ..expected };
    assert_eq!(parse(nameless), Parsed::Whole(Packet::Connect(nobody), 14));
    for other in
        [&b"\x10\x0d\0\x04MQTT\x05\x02\0\x3c\0\0\0"[..], b"\x10\x0e\0\x06MQIsdp\x03\x02\0\x3c\0\0"]
    {
        assert_eq!(parse(other), Parsed::Refused(Refusal::Version));
    }
}

#[test]
fn what_the_standard_calls_malformed_is_refused() {
    for (bytes, why) in [
        (&b"GET / HTTP/1.1\r\n"[..], "HTTP"),
        (b"\x16\x03\x01\x02\0", "TLS"),
        (b"IAMAT kiwi +1+1 1\n", "a course client"),
        (b"\x00\x00", "a kind that is forbidden"),
        (b"\x20\x02\0\0", "what only a server says"),
        (b"\x11\x00", "flags of a CONNECT"),
        (b"\x80\x06\0\x01\0\x01a\0", "flags of a SUBSCRIBE"),
        (b"\xc0\xff\xff\xff\xff\x01", "a length of five bytes"),
        (b"\x10\x0e\0\x04MQTS\x04\x02\0\x3c\0\x02mq", "another protocol"),
        (b"\x10\x0e\0\x04MQTT\x04\x03\0\x3c\0\x02mq", "the reserved flag"),
        (b"\x10\x12\0\x04MQTT\x04\x42\0\x3c\0\x02mq\0\x02pw", "a password without a user"),
        (b"\x10\x0e\0\x04MQTT\x04\x0a\0\x3c\0\x02mq", "the QoS of no will"),
        (b"\x10\x0e\0\x04MQTT\x04\x22\0\x3c\0\x02mq", "no will, to be retained"),
        (b"\x10\x0f\0\x04MQTT\x04\x02\0\x3c\0\x02mqx", "more than it has"),
        (b"\x10\x0d\0\x04MQTT\x04\x02\0\x3c\0\x02m", "less than it has"),
        (b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02m\0", "a null character"),
        (b"\x10\x0e\0\x04MQTT\x04\x02\0\x3c\0\x02m\xff", "no text"),
        (b"\x36\x06\0\x01a\0\x01x", "QoS 3"),
        (b"\x38\x04\0\x01ax", "QoS 0 again"),
        (b"\x32\x05\0\x01a\0\0", "the identifier 0"),
        (b"\x30\x02\0\0", "no topic"),
        (b"\x30\x05\0\x03a/+", "a topic with a wildcard"),
        (b"\x82\x02\0\x01", "no filter"),
        (b"\x82\x06\0\x01\0\x01a\x03", "a filter of QoS 3"),
        (b"\xa2\x02\0\x01", "no filter to drop"),
        (b"\xe0\x01\0", "a long DISCONNECT"),
    ] {
        assert_eq!(parse(bytes), Parsed::Refused(Refusal::Malformed), "{why}");
    }
    let long = [b"\x30", &[0x80, 0x80, 0x10][..]].concat();
    assert_eq!(parse(&long), Parsed::Refused(Refusal::TooLong));
}

#[test]
fn answers_are_those_of_the_standard() {
    assert_eq!(answer::connack(Connack::NotAuthorized), *b"\x20\x02\0\x05");
    assert_eq!(answer::published(0, 0), None);
    assert_eq!(answer::published(1, 258), Some(*b"\x40\x02\x01\x02"));
    assert_eq!(answer::published(2, 258), Some(*b"\x50\x02\x01\x02"));
    assert_eq!(answer::released(7), *b"\x70\x02\0\x07");
    assert_eq!(answer::unsuback(7), *b"\xb0\x02\0\x07");
    assert_eq!(answer::suback(7, &[0, 0x80]), b"\x90\x04\0\x07\0\x80");
    let mut out = Vec::new();
    answer::publish(&["a/", "b"], "xyz", true, &mut out);
    assert_eq!(out, b"\x31\x08\0\x03a/bxyz");
    out.clear();
    answer::publish(&["a"], &"x".repeat(200), false, &mut out);
    assert_eq!(&out[..6], b"\x30\xcb\x01\0\x01a");
    let heard = Heard::Message { topic: "a".into(), payload: vec![b'x'; 200], is_retained: false };
    assert_eq!((hear(&mut out), out.len()), (Some(heard), 0));
}

#[test]
fn topics_are_clients() {
    for (topic, client) in [
        ("owntracks/jane/phone", Some("jane/phone")),
        ("home/kiwi", Some("kiwi")),
        ("owntracks/Jane Doe/100%", Some("Jane%20Doe/100%25")),
        ("owntracks//", Some("/")),
        ("owntracks", None),
        ("owntracks/", None),
        ("$SYS/broker", None),
    ] {
        assert_eq!(client_of(topic).ok().as_deref(), client, "{topic}");
    }
    for (client, topic) in [
        (&b"kiwi.cs.ucla.edu"[..], Some("kiwi.cs.ucla.edu")),
        (b"Jane%20Doe", Some("Jane Doe")),
        (b"100%25", Some("100%")),
        ("käthe".as_bytes(), Some("käthe")),
        // None of these is what a topic would be read as.
        (b"100%", None),
        (b"a+b", None),
        (b"a%2Bb", None),
        (b"#", None),
        (b"a%00", None),
        (b"\xff", None),
        (b"%20\xff", None),
    ] {
        assert_eq!(topic_of(client).as_deref(), topic, "{}", client.escape_ascii());
    }
}

#[test]
fn filters_ask_for_clients() {
    let check = |filter: &str, topics: &[&str], others: &[&str]| {
        let filter = Filter::parse(filter).unwrap();
        for (all, matches) in [(topics, true), (others, false)] {
            all.iter().for_each(|topic| assert_eq!(filter.matches(topic), matches, "{topic}"));
        }
        filter
    };
    let all = check("#", &["kiwi", "jane/phone", "a/b/c", ""], &[]);
    assert_eq!((all.root(), all.client()), ("owntracks", None));
    let phones = check("owntracks/+/+", &["jane/phone", "/"], &["kiwi", "a/b/c"]);
    assert_eq!(phones.root(), "owntracks");
    assert_eq!(check("home/#", &["kiwi", "jane/phone"], &[]).root(), "home");
    assert_eq!(check("+/kiwi", &["kiwi"], &["fig"]).root(), "owntracks");
    check("owntracks/jane/#", &["jane", "jane/phone", "jane/a/b"], &["janet", "j"]);
    check("+/+/phone", &["jane/phone"], &["jane", "jane/phone/x", "jane/tablet"]);
    check("owntracks/+/+/event", &["jane/phone/event"], &["jane/phone"]);
    let one = check("owntracks/Jane Doe/phone", &["Jane Doe/phone"], &["Jane Doe"]);
    assert_eq!(one.client().as_deref(), Some("Jane%20Doe/phone"));
    for nobody in ["$SYS/#", "owntracks", "+", "$share/a/owntracks/#"] {
        assert!(!check(nobody, &[], &["kiwi", "jane/phone", ""]).asks_for_clients(), "{nobody}");
    }
    for none in ["", "a/#/b", "a+", "a/b#", "#/a", "a/++", &"x".repeat(257)] {
        assert_eq!(Filter::parse(none), None, "{none}");
    }
}

fn text() -> impl Strategy<Value = String> {
    "[a-c/ %ä$]{0,12}"
}

fn name() -> impl Strategy<Value = String> {
    "[a-c/ %ä$]{1,12}"
}

/// Levels that often match each other.
fn levels(wildcards: bool) -> impl Strategy<Value = Vec<String>> {
    let level = if wildcards { "a|b|\\+|" } else { "a|b|" };
    proptest::collection::vec(level, 1..5)
}

/// Bytes that are often nearly a packet.
fn bytes() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        any::<u8>().prop_map(|byte| vec![byte]),
        prop::sample::select(vec![
            &b"\x10"[..],
            b"\x30",
            b"\x32",
            b"\x62",
            b"\x82",
            b"\xa2",
            b"\xc0",
            b"\0\x04MQTT\x04",
            b"\x02\0\x3c",
            b"\0\x01a",
            b"\0\x03a/+\0",
            b"\0\x01",
            b"\x80",
        ])
        .prop_map(<[u8]>::to_vec),
        (0u8..32).prop_map(|length| vec![length]),
    ];
    proptest::collection::vec(part, 0..16).prop_map(|parts| parts.concat())
}

/// Random cases are the same in each run.
fn settings() -> ProptestConfig {
    ProptestConfig {
        cases: 4_000,
        rng_seed: RngSeed::Fixed(16),
        failure_persistence: None,
        ..ProptestConfig::default()
    }
}

proptest! {
    #![proptest_config(settings())]

    /// Goal: no bytes break the parser; in however many pieces they come, the first word is the
    /// same; what is whole does not depend on what follows.
    #[test]
    fn pieces_do_not_matter(bytes in bytes(), more in any::<[u8; 4]>()) {
        let mut first = Parsed::Partial;
        for length in 0..=bytes.len() {
            first = parse(&bytes[..length]);
            if first != Parsed::Partial {
                break;
            }
        }
        prop_assert_eq!(&first, &parse(&bytes));
        if let Parsed::Whole(_, length) = first {
            prop_assert!((2..=bytes.len()).contains(&length));
            let longer = [&bytes[..], &more].concat();
            prop_assert_eq!(&first, &parse(&longer));
        }
    }

    /// Goal: what a client writes is what is read.
    #[test]
    fn packets_are_read_back(
        (topic, other) in (name(), text()),
        payload in proptest::collection::vec(any::<u8>(), 0..300),
        (qos, id, keep_alive_s) in (0u8..3, 1u16.., any::<u16>()),
        (one, two, three) in any::<(bool, bool, bool)>(),
    ) {
        let message = Publish {
            topic: &topic,
            payload: &payload,
            qos,
            id: if qos > 0 { id } else { 0 },
            is_retained: one,
            is_again: two && qos > 0,
        };
        let connect = Connect {
            client_id: &other,
            is_clean: one,
            keep_alive_s,
            will: two.then_some(Will { topic: &topic, payload: &payload }),
            user: three.then_some(&*other),
            password: (three && one).then_some(&*payload),
        };
        let filters = vec![(&*topic, qos), (&*other, 0)];
        let names = vec![&*topic, &*other];
        for packet in [
            Packet::Connect(connect),
            Packet::Publish(message),
            Packet::Release { id },
            Packet::Subscribe { id, filters },
            Packet::Unsubscribe { id, filters: names },
            Packet::Ping,
            Packet::Disconnect,
        ] {
            let bytes = written(&packet);
            let length = bytes.len();
            prop_assert_eq!(parse(&bytes), Parsed::Whole(packet, length));
        }
    }

    /// Goal: who publishes to a topic and subscribes to it hears itself; two clients never have
    /// one topic.
    #[test]
    fn a_topic_is_one_client(topic in name(), client in "[a-c/%2B0+#ä]{1,8}") {
        let spelled = client::spell(&topic).unwrap();
        prop_assert_eq!(topic_of(spelled.as_bytes()), Some(topic));
        if let Some(topic) = topic_of(client.as_bytes()) {
            prop_assert_eq!(client_of(&format!("owntracks/{topic}")), Ok(client));
        }
    }

    /// Goal: a filter asks for the topics that the standard says, which is put here in other words.
    #[test]
    fn filters_are_those_of_the_standard(
        mut filter in levels(true),
        topic in levels(false),
        has_hash in any::<bool>(),
    ) {
        let is_alike = |(wanted, level): (&String, &String)| wanted == "+" || wanted == level;
        let begins_so = topic.len() >= filter.len() && filter.iter().zip(&topic).all(is_alike);
        let expected = begins_so && (has_hash || topic.len() == filter.len());
        if has_hash {
            filter.push("#".to_owned());
        }
        let read = Filter::parse(&format!("owntracks/{}", filter.join("/"))).unwrap();
        prop_assert_eq!(read.matches(&topic.join("/")), expected);
    }
}
