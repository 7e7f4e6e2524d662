//! Google's Places API (New): the Nearby Search that a new key may ask, told in the legacy shape.
//!
//! It is apart from `google_legacy` because it is another service: another request, other names for
//! everything, and errors by HTTP status. It stores no answers: the terms of the service forbid it.
//! The fields it asks for are those of the cheapest price class that has names and positions
//! ("Pro"); ratings and opening hours would make every question dearer.

use serde::{Deserialize, Serialize};
use ureq::http::Response;
use ureq::{Agent, Body};

use super::Place;
use super::http::{Address, Failure, Reply};
use super::remote::{Extent, Protocol, metres, nearest_first};
use super::render;
use crate::config::Secret;
use crate::core::whatsat::{Position, Question};

/// What the service is to tell of each place. Without this header it refuses to answer.
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
            // It takes 1 to 20. Whoever wants none still learns whether there would be any.
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

    fn read(
        &self,
        reply: &Reply,
        question: &Question,
        out: &mut Vec<u8>,
    ) -> Result<Extent, Failure> {
        if !reply.code.is_success() {
            return refused(reply, out);
        }
        let search: Search =
            serde_json::from_slice(&reply.body).map_err(|_| Failure::of_status(reply.code))?;
        let types: Vec<String> = search.places.iter().map(|found| found.types.join(";")).collect();
        let mut near: Vec<Place<'_>> =
            search.places.iter().zip(&types).map(|(found, types)| found.place(types)).collect();
        nearest_first(&mut near, question);
        render::found(&[ATTRIBUTION], &near, question.bound, out);
        Ok(Extent::Whole)
    }
}

/// The service's own "no" is an answer; a web server's that is no such document is a failure. The
/// words are ours: the service may repeat the key in its own.
fn refused(reply: &Reply, out: &mut Vec<u8>) -> Result<Extent, Failure> {
    let failure = Failure::of_status(reply.code);
    let is_no: Result<Refusal, _> = serde_json::from_slice(&reply.body);
    if !reply.code.is_client_error() || is_no.is_err() {
        return Err(failure);
    }
    render::failure(failure.status, &failure.message, out);
    Ok(Extent::Whole)
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

#[derive(Serialize, Deserialize, Default)]
#[serde(default)]
struct Point {
    latitude: f64,
    longitude: f64,
}

/// The answer leaves out whatever has its default value: no places at all are `{}`, and a place on
/// the equator has no latitude.
///
/// Nothing but places comes, because the field mask asks for nothing else: any other object is the
/// answer of somebody else.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Search {
    #[serde(default)]
    places: Vec<Found>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Found {
    id: String,
    #[serde(default)]
    display_name: DisplayName,
    location: Point,
    #[serde(default)]
    types: Vec<String>,
    #[serde(default)]
    short_formatted_address: String,
}

impl Found {
    fn place<'a>(&'a self, types: &'a str) -> Place<'a> {
        let Point { latitude, longitude } = self.location;
        Place {
            authority: "",
            id: &self.id,
            name: &self.display_name.text,
            position: Position { latitude, longitude },
            vicinity: &self.short_formatted_address,
            types,
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct DisplayName {
    text: String,
}

/// What every Google API says when it says no; only that it is one is of interest.
#[derive(Deserialize)]
struct Refusal {
    #[serde(rename = "error")]
    _error: serde::de::IgnoredAny,
}
