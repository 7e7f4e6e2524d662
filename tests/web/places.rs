//! Places by HTTP: who asks waits, and nobody else does.

use super::common::fake_places::FakePlaces;
use super::common::operator::{Operator, Reply};
use super::common::{Herd, TIMEOUT};
use serde_json::Value;

const KIWI: &str = "/v1/clients/kiwi";
const PLACES: &str = "/v1/clients/kiwi/places?radius=10500&limit=5";

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

/// The name of the first place of an answer.
fn place(reply: &Reply) -> String {
    let read: Value = serde_json::from_str(&reply.body).unwrap();
    read["results"][0]["name"].as_str().unwrap().to_owned()
}

fn asking(fake: &FakePlaces, more: &str) -> (Herd, Operator) {
    let herd = Herd::of_one(&fake.sections(more), &[]);
    herd.report("Hill", "kiwi", "+34.0-118.0", "1520023934");
    let asker = Operator::connect(herd.web_port("Hill"));
    (herd, asker)
}

/// Goal: who asks by HTTP is told what WHATSAT tells.
#[test]
fn places_are_those_of_whatsat() {
    let herd = Herd::of_one("", &[]);
    herd.report("Hill", "kiwi", "+60.1699+024.9384", "1520023934");
    let mut client = herd.connect("Hill");
    client.send("WHATSAT kiwi 10 5\n");
    client.line();
    let told = client.through(b"\n\n");
    let mut asker = Operator::connect(herd.web_port("Hill"));
    let reply = asker.ask(&get("/v1/clients/kiwi/places?radius=10000&limit=5"));
    assert_eq!((reply.status, &*reply.headers["content-type"]), (200, "application/json"));
    assert_eq!(reply.body.trim_end().as_bytes(), told.trim_ascii_end());
    let read: Value = serde_json::from_str(&reply.body).unwrap();
    assert_eq!(read["results"].as_array().unwrap().len(), 5);
    for (path, status) in [
        ("/v1/clients/nobody/places", 404),
        ("/v1/clients/kiwi/places?radius=50001", 400),
        ("/v1/clients/kiwi/places?limit=21", 400),
        ("/v1/clients/kiwi/places?near=1,2", 400),
        ("/v1/clients/kiwi/places", 200),
    ] {
        assert_eq!(asker.ask(&get(path)).status, status, "{path}");
    }
}

/// Goal: answers are in the order of the questions, however long a service takes, and others are
/// answered meanwhile.
#[test]
fn answers_wait_for_their_turn() {
    let fake = FakePlaces::start();
    let (herd, mut asker) = asking(&fake, "");
    asker.0.send([get(KIWI), get(PLACES), get(KIWI), get(PLACES), get("/nothing")].concat());
    assert!(asker.reply(false).body.contains("\"id\":\"kiwi\""));
    let call = fake.call();
    assert_eq!((call.query("location"), call.query("radius")), ("34%2C-118", "10500"));
    assert!(asker.0.is_silent(), "an answer has overtaken another one");
    let mut other = Operator::connect(herd.web_port("Hill"));
    assert_eq!(other.ask(&get(KIWI)).status, 200);
    call.answer_place();
    assert_eq!(place(&asker.reply(false)), "A");
    assert!(asker.reply(false).body.contains("\"id\":\"kiwi\""));
    // It was kept, or is asked for again.
    if let Some(call) = fake.next_call(std::time::Duration::from_millis(300)) {
        call.answer_place();
    }
    assert_eq!(place(&asker.reply(false)), "A");
    assert_eq!(asker.reply(false).status, 404);
    assert_eq!(asker.ask(&get(KIWI)).status, 200, "it goes on");
}

/// Goal: who has said its last still hears the answer, and a connection that has gone is no
/// trouble; a service that does not answer is reported in time.
#[test]
fn an_answer_finds_who_has_said_its_last() {
    let fake = FakePlaces::start();
    let (herd, mut asker) = asking(&fake, "deadline = \"2 s\"\n");
    asker.0.send(get(PLACES));
    asker.0.half_close();
    let call = fake.call();
    let mut gone = Operator::connect(herd.web_port("Hill"));
    gone.0.send(get("/v1/clients/kiwi/places?radius=7"));
    let call_of_gone = fake.call();
    drop(gone);
    call.answer_place();
    assert_eq!(place(&asker.reply(false)), "A");
    assert!(asker.0.rest().is_empty());
    call_of_gone.answer_place();
    let mut late = Operator::connect(herd.web_port("Hill"));
    let closing = "GET /v1/clients/kiwi/places?radius=9 HTTP/1.1\r\nHost: localhost\r\n\
                   Connection: close\r\n\r\n";
    late.0.send(closing);
    let _silent = fake.next_call(TIMEOUT).unwrap();
    let reply = late.reply(false);
    assert!(reply.status == 200 && reply.body.contains("did not answer in time"), "{reply:?}");
    assert!(late.0.rest().is_empty());
}
