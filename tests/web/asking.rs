//! Who asks a real server where clients are.

use std::collections::BTreeSet;

use serde_json::Value;

use super::common::operator::{Operator, Reply};
use super::common::{Herd, PLACELESS, until};

/// Somebody who asks by HTTP.
struct Asker(Operator);

impl Asker {
    fn of(herd: &Herd, name: &str) -> Asker {
        Asker(Operator::connect(herd.web_port(name)))
    }

    fn get(&mut self, path: &str) -> Reply {
        self.0.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    /// Reports these clients at once.
    fn report(&mut self, clients: &[(&str, f64, f64)]) {
        let report = |(id, lat, lon): &(&str, f64, f64)| {
            format!(r#"{{"id":"{id}","lat":{lat},"lon":{lon}}}"#)
        };
        let body = format!("[{}]", Vec::from_iter(clients.iter().map(report)).join(","));
        let length = body.len();
        let head = format!("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}");
        let reply = self.0.ask(&format!("{head}\r\n\r\n{body}"));
        assert_eq!(reply.body, format!("{{\"taken\":{}}}\n", clients.len()));
    }

    fn collection(&mut self, path: &str) -> Value {
        let reply = self.get(path);
        assert_eq!((reply.status, &*reply.headers["content-type"]), (200, "application/geo+json"));
        let read: Value = serde_json::from_str(&reply.body).unwrap();
        assert_eq!(read["type"], "FeatureCollection");
        assert_eq!(read["features"].as_array().unwrap().len(), read["numberReturned"]);
        read
    }

    fn ids(&mut self, path: &str) -> Vec<String> {
        ids_of(&self.collection(path))
    }

    /// All pages of an answer, and how many they are.
    fn pages(&mut self, path: &str) -> (Vec<String>, usize) {
        let (mut ids, mut pages, mut next) = (Vec::new(), 0, Some(path.to_owned()));
        while let Some(path) = next {
            let page = self.collection(&path);
            ids.extend(ids_of(&page));
            pages += 1;
            next = page["next"].as_str().map(str::to_owned);
        }
        (ids, pages)
    }

    fn check_bad(&mut self, path: &str, why: &str) {
        let reply = self.get(path);
        assert!(reply.status == 400 && reply.body.contains(why), "{path}: {reply:?}");
    }
}

fn ids_of(collection: &Value) -> Vec<String> {
    let features = collection["features"].as_array().unwrap();
    Vec::from_iter(features.iter().map(|it| it["id"].as_str().unwrap_or_default().to_owned()))
}

/// Goal: who is near is known at every server, the nearest first and with its distance, wherever
/// it was before and however it has reported.
#[test]
fn who_is_near_is_known() {
    let herd = Herd::running("2023", PLACELESS);
    herd.until_joined();
    let mut asker = Asker::of(&herd, "Bailey");
    asker.report(&[
        ("kiwi", 60.1699, 24.9384),
        ("fig", 60.1708, 24.9384),
        ("plum", 60.1699, 24.9584),
        ("lime", 24.9384, 60.1699),
    ]);
    herd.report("Bailey", "jane/phone", "+60.1699+024.9385", "1520023934");
    let near = "/v1/clients?near=60.1699,24.9384&radius=500";
    let mut far = Asker::of(&herd, "Clark");
    until("all are known", || far.ids(near).len() == 3);
    let found = far.collection(near);
    assert_eq!(ids_of(&found), ["kiwi", "jane/phone", "fig"]);
    let metres = |at: usize| found["features"][at]["properties"]["distance"].as_f64().unwrap();
    assert_eq!(metres(0), 0.0);
    assert!((5.0..6.0).contains(&metres(1)) && (100.0..100.2).contains(&metres(2)), "{found}");

    assert_eq!(far.ids("/v1/clients/kiwi/near?radius=500"), ["jane/phone", "fig"]);
    assert_eq!(far.ids("/v1/clients/jane/phone/near?radius=5e3"), ["kiwi", "fig", "plum"]);
    assert_eq!(far.get("/v1/clients/nobody/near?radius=5").status, 404);
    assert_eq!(far.ids("/v1/clients?near=60.1699,24.9384&radius=500&max_age=3600").len(), 2);
    let page = far.collection("/v1/clients/kiwi/near?radius=5e3&limit=1");
    assert_eq!(ids_of(&page), ["jane/phone"]);
    let (all, pages) = far.pages("/v1/clients/kiwi/near?radius=5e3&limit=1");
    assert_eq!((all, pages), (vec!["jane/phone".into(), "fig".into(), "plum".into()], 3));

    // Some leave a cell, and some stay in it.
    asker.report(&[("kiwi", 60.19, 24.9384), ("fig", 60.1709, 24.9384)]);
    until("they have moved", || far.ids(near) == ["jane/phone", "fig"]);
    assert_eq!(far.ids("/v1/clients?near=60.19,24.9384&radius=1"), ["kiwi"]);
}

/// Goal: areas may cross 180 degrees and have poles; a wrong question is told why.
#[test]
fn areas_and_names_are_asked_for() {
    let herd = Herd::of_one("", PLACELESS);
    let mut asker = Asker::of(&herd, "Hill");
    asker.report(&[
        ("east", 10.0, 179.9),
        ("west", 10.0, -179.9),
        ("line", 10.0, 180.0),
        ("home", 10.0, 0.5),
        ("pole", 90.0, 77.0),
        ("a%b", 0.5, 0.5),
    ]);
    let all = |ids: Vec<String>| BTreeSet::from_iter(ids);
    let named = |names: &[&str]| BTreeSet::from_iter(names.iter().map(|it| it.to_string()));
    for (query, expected) in [
        ("bbox=179,9,-179,11", &["east", "west", "line"][..]),
        ("bbox=-179,9,179,11", &["home"]),
        ("bbox=-180,-90,180,90", &["east", "west", "line", "home", "pole", "a%25b"]),
        ("bbox=0,89,1,90", &[]),
        ("near=10,-180&radius=20000", &["east", "west", "line"]),
        ("near=90,0&radius=0.1", &["pole"]),
        ("prefix=h", &["home"]),
        ("prefix=a%2525", &["a%25b"]),
        ("", &["east", "west", "line", "home", "pole", "a%25b"]),
        ("id=home&id=nobody&id=east", &["home", "east"]),
    ] {
        let found = asker.ids(&format!("/v1/clients?{query}"));
        assert_eq!((found.len(), all(found)), (expected.len(), named(expected)), "{query}");
    }
    let head = "HEAD /v1/clients?prefix=h HTTP/1.1\r\nHost: localhost\r\n\r\n";
    asker.0.0.send(head);
    let reply = asker.0.reply(true);
    assert!(reply.status == 200 && reply.body.is_empty(), "{reply:?}");
    for (query, why) in [
        ("bbox=1,2", "west,south,east,north"),
        ("near=60,24", "radius must be metres"),
        ("near=24", "latitude,longitude"),
        ("name=kiwi", "no parameter is called name"),
        ("limit=1001", "1 to 1000"),
        ("bbox=0,0,1,1&cursor=100000000-0", "none of this question"),
        ("cursor=ffffffffffffffff-0", "none of this question"),
    ] {
        asker.check_bad(&format!("/v1/clients?{query}"), why);
    }
    asker.check_bad("/v1/clients/home/near", "radius must be metres");
}

/// Goal: however many there are, an answer is short, and the pages of all answers name each client
/// once; a map is told how many there are where.
#[test]
fn many_come_in_pages() {
    const CLIENTS: usize = 20_000;
    let herd = Herd::of_one("", PLACELESS);
    let mut asker = Asker::of(&herd, "Hill");
    let names = Vec::from_iter((0..CLIENTS).map(|n| format!("c{n}")));
    let place = |n: usize| (60.0 + (n % 100) as f64 / 1e4, 24.0 + (n / 100) as f64 / 1e4);
    let clients = names.iter().enumerate().map(|(n, name)| (&**name, place(n).0, place(n).1));
    let clients = Vec::from_iter(clients);
    clients.chunks(1_000).for_each(|some| asker.report(some));
    let area = "/v1/clients?bbox=23,59,25,61";
    for path in [&format!("{area}&limit=1000"), "/v1/clients?limit=1000", "/v1/clients?prefix=c1"] {
        let (ids, pages) = asker.pages(path);
        let expected = if path.contains("prefix") { 11_111 } else { CLIENTS };
        let count = ids.len();
        assert!((expected, pages > 19) == (count, true), "{path}: {count} in {pages}");
        assert_eq!(BTreeSet::from_iter(ids).len(), count, "{path}: met twice");
    }
    let counts = asker.collection(&format!("{area}&thin=true"));
    let counts = counts["features"].as_array().unwrap();
    let counted: u64 = counts.iter().map(|it| it["properties"]["count"].as_u64().unwrap()).sum();
    assert_eq!(counted, CLIENTS as u64);
    let few = asker.collection("/v1/clients?bbox=24,60,24.001,60.0009&thin=true");
    assert!(few["features"][0]["properties"]["count"].is_null(), "{few}");
    asker.check_bad("/v1/clients?near=60,24&radius=1e5", "make the radius smaller");
}

/// Goal: who asks for what takes many turns to read waits for an answer that lacks nothing, be it
/// the first question or one after a long silence in which everybody has moved; what comes behind
/// it on the same connection is answered after it, and nobody else waits.
#[test]
fn a_question_waits_for_what_has_changed() {
    const CLIENTS: usize = 30_000;
    let herd = Herd::of_one("", PLACELESS);
    let mut asker = Asker::of(&herd, "Hill");
    let mut other = Asker::of(&herd, "Hill");
    let names = Vec::from_iter((0..CLIENTS).map(|n| format!("c{n}")));
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    for round in 0..3 {
        // The last one is where the question is about.
        let latitude = 60.0 + f64::from(round);
        for some in names.chunks(1_000) {
            let clients = some.iter().map(|name| (&**name, latitude, 24.0));
            other.report(&Vec::from_iter(clients));
        }
        other.report(&[("kiwi", latitude, 25.0)]);
        let near = format!("/v1/clients?near={latitude},25&radius=100000&limit=1");
        let all = format!("/v1/clients?bbox=23,{latitude},26,{}&limit=1000", latitude + 0.5);
        let both = [ask(&near), ask("/v1/clients/kiwi"), ask(&all)].concat();
        asker.0.0.send(&both);
        assert_eq!(other.get("/v1/clients/kiwi").status, 200);
        for expected in [400, 200, 200] {
            let reply = asker.0.reply(false);
            assert_eq!(reply.status, expected, "{reply:?}");
        }
        let inside = asker.collection(&format!("/v1/clients?near={latitude},25&radius=10"));
        assert_eq!(ids_of(&inside), ["kiwi"]);
        let (ids, _) = asker.pages(&all);
        assert_eq!(ids.len(), CLIENTS + 1);
    }
}

/// Goal: without an index, what needs none is still answered.
#[test]
fn the_index_can_be_off() {
    let herd = Herd::of_one("[nearby]\nindex = false\n", PLACELESS);
    let mut asker = Asker::of(&herd, "Hill");
    asker.report(&[("kiwi", 60.1699, 24.9384)]);
    assert_eq!(asker.ids("/v1/clients?prefix=k"), ["kiwi"]);
    let reply = asker.get("/v1/clients?bbox=24,60,25,61");
    assert!(reply.status == 501 && reply.body.contains("`index` of [nearby]"), "{reply:?}");
}
