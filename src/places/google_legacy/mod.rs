//! The legacy Nearby Search of Google Places, or whatever speaks like it.
//!
//! It is apart from the other protocols because its answers are passed on as they come: digits,
//! order of members and layout stay the service's. It stores no answers: the terms of the service
//! forbid it. The key travels in the query of the URL, because the service takes it nowhere else.

mod cut;

use ureq::http::Response;
use ureq::{Agent, Body};

use super::http::{Address, Failure, Reply};
use super::remote::{Extent, Protocol, metres};
use super::render;
use crate::config::Secret;
use crate::core::whatsat::Question;

pub struct GoogleLegacy {
    pub key: Option<Secret>,
}

impl Protocol for GoogleLegacy {
    fn address(&self) -> Address {
        Address {
            source: "google-legacy",
            home: "https://maps.googleapis.com",
            path: "/maps/api/place/nearbysearch/json",
            path_end: "/json",
        }
    }

    fn call(
        &self,
        agent: &Agent,
        endpoint: &str,
        question: &Question,
    ) -> Result<Response<Body>, ureq::Error> {
        // `{}` prints the shortest text that is the same f64: no digit of the position is lost.
        let location = format!("{},{}", question.at.latitude, question.at.longitude);
        agent
            .get(endpoint)
            .query("location", location)
            .query("radius", metres(question).to_string())
            .query_pairs(self.key.iter().map(|key| ("key", key.reveal())))
            .call()
    }

    fn read(
        &self,
        reply: &Reply,
        question: &Question,
        out: &mut Vec<u8>,
    ) -> Result<Extent, Failure> {
        let mut answer = Vec::with_capacity(reply.body.len());
        // A refusal may come with any HTTP status: the status in the body is what counts.
        cut::cut(&reply.body, question, &mut answer)
            .map_err(|cut::NotASearch| Failure::of_status(reply.code))?;
        render::normalise_newlines(&answer, out);
        Ok(Extent::Whole)
    }
}
