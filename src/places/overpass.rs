//! OpenStreetMap by way of an Overpass API server: shops and sights without a key.
//!
//! It is apart from the Google services because it answers with whatever is tagged, in no useful
//! order, and because its answers may be kept (see `memory`).
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
use ureq::http::Response;
use ureq::{Agent, Body};

use super::Place;
use super::http::{Address, Failure, Reply};
use super::osm::{self, KEYS};
use super::remote::{Extent, Protocol, metres, nearest_first};
use super::render;
use crate::core::whatsat::{Position, Question};

/// The inner circle.
const NEAR_METRES: f64 = 500.0;

/// Places that each circle may give: about 600 bytes each, so that both fit well into a body.
const FOUND_MAX: u32 = 500;

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
        // It counts whole seconds, and takes no 0. Working longer than we wait helps nobody.
        let mut query = format!("[out:json][timeout:{}];", self.deadline.as_secs().max(1));
        let circles = [NEAR_METRES.min(metres), metres];
        for radius in &circles[usize::from(metres <= NEAR_METRES)..] {
            let _ = write!(
                query,
                "nwr(around:{radius},{latitude},{longitude})[~\"^({keys})$\"~\".\"][name];\
                 out center {FOUND_MAX};"
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

    fn read(
        &self,
        reply: &Reply,
        question: &Question,
        out: &mut Vec<u8>,
    ) -> Result<Extent, Failure> {
        if !reply.code.is_success() {
            return Err(Failure::of_status(reply.code));
        }
        let found: Found<'_> =
            serde_json::from_slice(&reply.body).map_err(|_| Failure::of_status(reply.code))?;
        // A server that runs out of time says so with status 200 and what it has until then.
        let is_partial = found.remark.is_some_and(|remark| remark.contains("error"));
        if is_partial && found.elements.is_empty() {
            return Err(Failure::unknown("the places service could not finish its work"));
        }
        // By id: what both circles hold becomes one, and what is equally far has an order.
        let rows: BTreeMap<_, _> = found.elements.iter().filter_map(Row::of).collect();
        let mut near: Vec<Place<'_>> = rows.iter().map(|(id, row)| row.place(id)).collect();
        nearest_first(&mut near, question);
        render::found(&[osm::ATTRIBUTION], &near, question.bound, out);
        Ok(if is_partial { Extent::Partial } else { Extent::Whole })
    }
}

#[derive(Deserialize)]
struct Found<'a> {
    #[serde(borrow)]
    elements: Vec<Element<'a>>,
    #[serde(borrow)]
    remark: Option<Cow<'a, str>>,
}

/// A node has a position, a way or a relation a centre.
#[derive(Deserialize)]
struct Element<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    id: u64,
    lat: Option<f64>,
    lon: Option<f64>,
    center: Option<Center>,
    #[serde(default)]
    tags: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Center {
    lat: f64,
    lon: f64,
}

/// What is told of an element.
struct Row<'a> {
    name: &'a str,
    position: Position,
    types: String,
    vicinity: String,
}

impl<'a> Row<'a> {
    /// With its id; `None` if it is not a place.
    fn of(element: &'a Element<'_>) -> Option<(String, Row<'a>)> {
        let tag = |key: &str| element.tags.get(key).map(String::as_str);
        let (latitude, longitude) = match (&element.center, element.lat, element.lon) {
            (Some(center), ..) => (center.lat, center.lon),
            (None, Some(lat), Some(lon)) => (lat, lon),
            _ => return None,
        };
        let position = Position { latitude, longitude };
        let mut row =
            Row { name: tag("name")?, position, types: String::new(), vicinity: String::new() };
        osm::write_types(tag, &mut row.types);
        osm::write_vicinity(tag, &mut row.vicinity);
        Some((format!("{}/{}", element.kind, element.id), row))
    }

    fn place<'b>(&'b self, id: &'b str) -> Place<'b> {
        let Row { name, position, types, vicinity } = self;
        Place { authority: "osm", id, name, position: *position, types, vicinity }
    }
}

#[cfg(test)]
mod tests {
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
                 out center 500;"
            )
        };
        check(0.0, &circle("0"));
        check(0.5, &circle("500"));
        check(0.5001, &(circle("500") + &circle("500.1")));
        check(10.0, &(circle("500") + &circle("10000")));
    }
}
