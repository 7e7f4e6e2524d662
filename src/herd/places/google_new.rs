//! Google's Places API (New): the Nearby Search that a new key may ask, answered in the legacy
//! shape.
//!
//! It differs from `google_legacy` in its request, in the names of everything, and in errors by
//! HTTP status. It stores no answers: the terms of the service forbid it. The fields it asks for
//! are those of the cheapest price class that has names and positions ("Pro"); ratings and opening
//! hours would make every question dearer.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;
use ureq::http::Response;
use ureq::{Agent, Body};

use super::Place;
use super::http::{Address, Failure, Reply};
use super::remote::{self, Protocol, Said, metres};
use super::render;
use crate::config::Secret;
use herd_core::whatsat::{Position, Question};

/// The fields that the service is to give of each place. Without this header it refuses to answer.
const FIELD_MASK: &str = "places.id,places.displayName,places.location,places.types,\
     places.shortFormattedAddress";

/// The service's policies ask for its name wherever its places are shown without a map.
const ATTRIBUTION: &str = "Google Maps";

pub struct GoogleNew {
    pub key: Option<Secret>,
}

impl Protocol for GoogleNew {
    fn address(&self) -> Address {
        Address {
            source: "google-new",
            home: "https://places.googleapis.com",
            path: "/v1/places:searchNearby",
            path_end: ":searchNearby",
        }
    }

    fn call(
        &self,
        agent: &Agent,
        endpoint: &str,
        question: &Question,
    ) -> Result<Response<Body>, ureq::Error> {
        let Position { latitude, longitude } = question.at;
        let request = Request {
            // It takes 1 to 20. A client that wants none still learns whether there would be any.
            max_result_count: question.bound.max(1),
            location_restriction: Restriction {
                circle: Circle {
                    center: Point { latitude, longitude },
                    // It takes no circle of radius 0.
                    radius: metres(question).max(0.1),
                },
            },
            rank_preference: "DISTANCE",
        };
        let mut call = agent.post(endpoint).header("X-Goog-FieldMask", FIELD_MASK);
        if let Some(key) = &self.key {
            call = call.header("X-Goog-Api-Key", key.reveal());
        }
        let body =
            serde_json::to_vec(&request).expect("the shape holds nothing but finite numbers");
        call.content_type("application/json").send(&body)
    }

    fn read(&self, reply: &Reply, question: &Question, out: &mut Vec<u8>) -> Result<Said, Failure> {
        if !reply.code.is_success() {
            return refused(reply, out);
        }
        let search: Search<'_> =
            serde_json::from_slice(&reply.body).map_err(|_| Failure::of_status(reply.code))?;
        let all = search.places.iter().flatten();
        let rows: Vec<Row> = all.clone().filter_map(|found| Row::of(found)).collect();
        let unread = all.count() - rows.len();
        let near = rows.iter().map(Row::place).collect();
        let unfit = remote::found(ATTRIBUTION, near, question, out);
        Ok(Said { skipped: unread as u64 + unfit, ..Said::default() })
    }
}

/// The service's own "no" is an answer; a web server's that is no such document is a failure. The
/// words for clients are ours: the service may repeat the key or our address in its own.
fn refused(reply: &Reply, out: &mut Vec<u8>) -> Result<Said, Failure> {
    let failure = Failure::of_status(reply.code);
    let refusal: Result<Refusal<'_>, _> = serde_json::from_slice(&reply.body);
    let Some(Refusal { error }) = refusal.ok().filter(|_| reply.code.is_client_error()) else {
        return Err(failure);
    };
    render::failure(failure.status, &failure.message, out);
    let error: Option<Value> = serde_json::from_str(error.get()).ok();
    let text = error.as_ref().and_then(|error| error["message"].as_str()).unwrap_or_default();
    let refusal = format!("{} {}: {text}", failure.status, reply.code.as_u16());
    Ok(Said { refusal: Some(refusal), ..Said::default() })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    max_result_count: u8,
    location_restriction: Restriction,
    rank_preference: &'static str,
}

#[derive(Serialize)]
struct Restriction {
    circle: Circle,
}

#[derive(Serialize)]
struct Circle {
    center: Point,
    radius: f64,
}

#[derive(Clone, Copy, Serialize, Deserialize, Default)]
#[serde(default)]
struct Point {
    latitude: f64,
    longitude: f64,
}

/// The answer leaves out everything that has its default value: no places at all are `{}`, and a
/// place on the equator has no latitude.
///
/// Nothing but places comes, because the field mask asks for nothing else: any other object is the
/// answer of another service.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search<'a> {
    #[serde(borrow)]
    places: Option<Vec<&'a RawValue>>,
}

/// A place as it comes. `null` means what is left out means.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    id: String,
    location: Point,
    display_name: Option<DisplayName>,
    types: Option<Vec<Value>>,
    short_formatted_address: Option<String>,
}

#[derive(Deserialize, Default)]
struct DisplayName {
    text: Option<String>,
}

/// What is said of it.
struct Row {
    id: String,
    name: String,
    position: Position,
    types: String,
    vicinity: String,
}

impl Row {
    /// `None` if it cannot be used.
    fn of(found: &RawValue) -> Option<Row> {
        let found: Found = serde_json::from_str(found.get()).ok()?;
        let Point { latitude, longitude } = found.location;
        let types = found.types.unwrap_or_default();
        let types: Vec<&str> = types.iter().filter_map(Value::as_str).collect();
        Some(Row {
            id: found.id,
            name: found.display_name.and_then(|name| name.text).unwrap_or_default(),
            position: Position { latitude, longitude },
            types: types.join(";"),
            vicinity: found.short_formatted_address.unwrap_or_default(),
        })
    }

    fn place(&self) -> Place<'_> {
        let Row { id, name, position, types, vicinity } = self;
        Place { authority: "", id, name, position: *position, vicinity, types }
    }
}

/// What every Google API says when it says no.
#[derive(Deserialize)]
struct Refusal<'a> {
    #[serde(borrow)]
    error: &'a RawValue,
}

#[cfg(test)]
mod tests {
    use super::super::tests::check_odd_element;
    use super::*;

    const PROTOCOL: GoogleNew = GoogleNew { key: None };

    /// `null` means what is left out means.
    const BODY: &str = r#"{"places":[
        {"id":"b","displayName":{"text":"B"},"location":{"latitude":60.18,"longitude":24.94},
         "types":null,"shortFormattedAddress":null},
        ODD,
        {"id":"a","displayName":{"text":"A"},"location":{"latitude":60.17,"longitude":24.94},
         "types":["bar",7]}]}"#;

    /// Goal: one odd element costs itself, and is counted. Method: it stands between two good ones.
    #[test]
    fn an_odd_element_costs_itself() {
        let check = |odd: &str| check_odd_element(&PROTOCOL, BODY, odd);
        check(r#"{"id":"x","displayName":{"text":"X"}}"#);
        check(r#"{"id":"x","location":null}"#);
        check(r#"{"id":"x","location":{"latitude":"60"}}"#);
        check(r#"{"id":"x","location":{"latitude":91}}"#);
        check(r#"{"displayName":{"text":"X"},"location":{"latitude":60.17}}"#);
        check(r#"{"id":1,"location":{"latitude":60.17}}"#);
        check(r#"{"id":"x","displayName":"X","location":{"latitude":60.17}}"#);
        check(r#"{"id":"\ud83d","location":{"latitude":60.17}}"#);
        check(&format!("{{\"id\":\"{}\",\"location\":{{}}}}", "x".repeat(5000)));
        check("null");
        check("7");
    }

    /// A place on the equator at Greenwich has an empty location, and may have no name.
    #[test]
    fn what_is_left_out_has_its_default() {
        let body = br#"{"places":[{"id":"x","displayName":null,"location":{}}]}"#.to_vec();
        let reply = Reply { code: ureq::http::StatusCode::OK, body };
        let at = Position { latitude: 0.0, longitude: 0.0 };
        let mut out = Vec::new();
        let question = Question { at, radius_km: 5.0, bound: 20 };
        assert_eq!(PROTOCOL.read(&reply, &question, &mut out).ok(), Some(Said::default()));
        let answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
        assert_eq!(answer["results"][0]["geometry"]["location"]["lng"], 0.0);
    }
}
