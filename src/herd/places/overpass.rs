//! OpenStreetMap by way of an Overpass API server: shops and sights without a key.
//!
//! It answers with everything that is tagged, in no useful order. Unlike Google's, its answers may
//! be kept (see `cache`).
//!
//! A server prints what it finds by rising number, not by distance, and a city has more than can be
//! fetched. So one request asks twice: for what is within half a kilometre, and for what is within
//! the radius. Up to `FOUND_MAX` places in the inner circle, the nearest are surely among what
//! comes; in a crowd beyond that, and between the circles, they are a sample. A bigger system would
//! fetch the region once and index it; that is what source `file` is for.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::Place;
use super::http::{Address, BODY_BYTES_MAX, Failure, Reply};
use super::osm::{self, KEYS};
use super::remote::{self, Protocol, Said, metres};
use herd_core::whatsat::{Position, Question};

/// The inner circle.
const NEAR_METRES: f64 = 500.0;

/// Places that each circle may give.
const FOUND_MAX: u32 = 500;

/// Bytes that a place may take if all are to fit into a body: about 600 are usual, and what has a
/// name in forty languages has the most.
const ELEMENT_BYTES: u64 = 2_000;

const _: () = assert!(2 * FOUND_MAX as u64 * ELEMENT_BYTES <= BODY_BYTES_MAX);

pub struct Overpass {
    /// How long the server may work on a question.
    pub deadline: Duration,
}

impl Overpass {
    /// The question in the server's language, Overpass QL.
    fn query(&self, question: &Question) -> String {
        let Position { latitude, longitude } = question.at;
        let metres = metres(question);
        let keys = KEYS.join("|");
        // It counts whole seconds, and takes no 0. Working longer than we wait is of no use.
        let mut query = format!("[out:json][timeout:{}];", self.deadline.as_secs().max(1));
        // Ways and relations give their centres, not their parts.
        let circles = [NEAR_METRES.min(metres), metres];
        for radius in &circles[usize::from(metres <= NEAR_METRES)..] {
            let _ = write!(
                query,
                "nwr(around:{radius},{latitude},{longitude})[~\"^({keys})$\"~\".\"][name];\
                 out tags center {FOUND_MAX};"
            );
        }
        query
    }
}

impl Protocol for Overpass {
    fn address(&self) -> Address {
        Address {
            source: "overpass",
            home: "https://overpass-api.de",
            path: "/api/interpreter",
            path_end: "/interpreter",
        }
    }

    fn call(
        &self,
        agent: &Agent,
        endpoint: &str,
        question: &Question,
    ) -> Result<Response<Body>, ureq::Error> {
        agent.post(endpoint).send_form([("data", self.query(question))])
    }

    fn read(&self, reply: &Reply, question: &Question, out: &mut Vec<u8>) -> Result<Said, Failure> {
        if !reply.code.is_success() {
            return Err(Failure::of_status(reply.code));
        }
        let found: Found<'_> =
            serde_json::from_slice(&reply.body).map_err(|_| Failure::of_status(reply.code))?;
        // A server that runs out of time says so with status 200 and what it has until then.
        let remark = found.remark.map(|remark| remark.get().to_owned());
        let is_partial = remark.is_some_and(|remark| remark.contains("error"));
        if is_partial && found.elements.is_empty() {
            return Err(Failure::unknown("the places service could not finish its work"));
        }
        // By id: what both circles hold becomes one, and what is equally far has an order.
        let (mut rows, mut unread) = (BTreeMap::new(), 0);
        for element in &found.elements {
            match Row::of(element) {
                Ok(row) => rows.extend(row),
                Err(Odd) => unread += 1,
            }
        }
        let near = rows.iter().map(|(id, row)| row.place(id)).collect();
        let unfit = remote::found(osm::ATTRIBUTION, near, question, out);
        Ok(Said { is_partial, skipped: unread + unfit, refusal: None })
    }
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    elements: Vec<&'a RawValue>,
    #[serde(borrow)]
    remark: Option<&'a RawValue>,
}

/// A node has a position, a way or a relation a centre. Their members are looked at one by one,
/// because a server may say `"60.17"` for 60.17, or 1 for the text `"1"`.
#[derive(Deserialize)]
struct Element<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    id: &'a RawValue,
    #[serde(borrow)]
    lat: Option<&'a RawValue>,
    #[serde(borrow)]
    lon: Option<&'a RawValue>,
    #[serde(borrow)]
    center: Option<Center<'a>>,
    #[serde(borrow)]
    tags: Option<HashMap<Cow<'a, str>, &'a RawValue>>,
}

#[derive(Deserialize)]
struct Center<'a> {
    #[serde(borrow)]
    lat: &'a RawValue,
    #[serde(borrow)]
    lon: &'a RawValue,
}

/// What is said of an element.
struct Row<'a> {
    name: Cow<'a, str>,
    position: Position,
    types: String,
    vicinity: String,
}

/// It is no element, or its members do not mean what they should.
struct Odd;

impl<'a> Row<'a> {
    /// With its id; `None` if it is not a place.
    fn of(element: &'a RawValue) -> Result<Option<(String, Row<'a>)>, Odd> {
        let element: Element<'a> = serde_json::from_str(element.get()).map_err(|_| Odd)?;
        let tags = element.tags.iter().flatten();
        let tags: HashMap<&str, Cow<'a, str>> =
            tags.filter_map(|(key, value)| Some((key.as_ref(), spelled(value)?))).collect();
        let tag = |key: &str| tags.get(key).map(AsRef::as_ref);
        let name = tags.get("name").filter(|name| !name.trim().is_empty());
        let (latitude, longitude) = match (&element.center, element.lat, element.lon) {
            (Some(center), ..) => (center.lat, center.lon),
            (None, Some(lat), Some(lon)) => (lat, lon),
            _ => return Ok(None),
        };
        let Some(name) = name else { return Ok(None) };
        let degrees = |value: &'a RawValue| -> Result<f64, Odd> {
            spelled(value).and_then(|text| text.trim().parse().ok()).ok_or(Odd)
        };
        let position = Position { latitude: degrees(latitude)?, longitude: degrees(longitude)? };
        let (mut types, mut vicinity) = (String::new(), String::new());
        osm::write_types(tag, &mut types);
        osm::write_vicinity(tag, &mut vicinity);
        let id = spelled(element.id).ok_or(Odd)?;
        let id = format!("{}/{id}", element.kind);
        Ok(Some((id, Row { name: name.clone(), position, types, vicinity })))
    }

    fn place<'b>(&'b self, id: &'b str) -> Place<'b> {
        let Row { name, position, types, vicinity } = self;
        Place { authority: "osm", id, name, position: *position, types, vicinity }
    }
}

/// A text, or a number as it is spelled; `None` for what is neither.
fn spelled(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().as_bytes() {
        [b'"', ..] => serde_json::from_str(value.get()).ok().map(Cow::<str>::Owned),
        [b'-' | b'0'..=b'9', ..] => Some(Cow::Borrowed(value.get())),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_odd_element;
    use super::*;

    #[test]
    fn the_question_in_the_servers_language() {
        fn check(radius_km: f64, expected: &str) {
            let at = Position { latitude: 60.17, longitude: -24.94 };
            let overpass = Overpass { deadline: Duration::from_millis(5500) };
            let query = overpass.query(&Question { at, radius_km, bound: 20 });
            assert_eq!(query, format!("[out:json][timeout:5];{expected}"));
        }
        let circle = |metres: &str| {
            format!(
                "nwr(around:{metres},60.17,-24.94)\
                 [~\"^(amenity|shop|tourism|leisure|office|craft|historic)$\"~\".\"][name];\
                 out tags center 500;"
            )
        };
        check(0.0, &circle("0"));
        check(0.5, &circle("500"));
        check(0.5001, &(circle("500") + &circle("500.1")));
        check(10.0, &(circle("500") + &circle("10000")));
    }

    const PROTOCOL: Overpass = Overpass { deadline: Duration::from_secs(5) };

    const BODY: &str = r#"{"elements":[
        {"type":"node","id":"6","lat":6018e-2,"lon":" 24.94","tags":{"name":"B","note":"\ud83d"}},
        ODD,
        {"type":"node","id":8,"lat":60.17,"lon":24.94,"tags":null},
        {"type":"node","id":-5,"lat":"60.17","lon":24.94,"tags":{"name":"A","level":1,"x":null}}
    ]}"#;

    /// Goal: one odd element costs itself, and is counted. Method: it stands between two good ones.
    #[test]
    fn an_odd_element_costs_itself() {
        let check = |odd: &str| check_odd_element(&PROTOCOL, BODY, odd);
        check(r#"{"type":"node","lat":60.17,"lon":24.94,"tags":{"name":"X"}}"#);
        check(r#"{"type":7,"id":1,"lat":60.17,"lon":24.94,"tags":{"name":"X"}}"#);
        check(r#"{"type":"node","id":[],"lat":60.17,"lon":24.94,"tags":{"name":"X"}}"#);
        check(r#"{"type":"node","id":1,"lat":60.17,"lon":24.94,"tags":["name"]}"#);
        check(r#"{"type":"way","id":1,"center":{"lat":60.17},"tags":{"name":"X"}}"#);
        check(r#"{"type":"node","id":1,"lat":91,"lon":24.94,"tags":{"name":"X"}}"#);
        check(r#"{"type":"node","id":1,"lat":60.17,"lon":"east","tags":{"name":"X"}}"#);
        let long = "x".repeat(5000);
        check(&format!(r#"{{"type":"node","id":1,"lat":60,"lon":24,"tags":{{"name":"{long}"}}}}"#));
        check("null");
        check("[]");
    }
}
