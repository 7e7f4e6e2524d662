//! The legacy Nearby Search of Google Places, or of a service that speaks like it.
//!
//! Its answers are passed on as they come: digits, order of members and layout stay the service's.
//! The text of a refusal is not passed on: clients get its status and words of ours. It stores no
//! answers: the terms of the service forbid it. The key travels in the query of the URL, because
//! the service takes it nowhere else.

mod cut;

use ureq::http::Response;
use ureq::{Agent, Body};

use super::http::{Address, Failure, Reply};
use super::remote::{Protocol, Said, metres};
use super::render::{self, status};
use crate::config::Secret;
use herd_core::whatsat::Question;

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

    fn read(&self, reply: &Reply, question: &Question, out: &mut Vec<u8>) -> Result<Said, Failure> {
        let mut answer = Vec::with_capacity(reply.body.len());
        // A refusal may come with any HTTP status: the status in the body is what counts.
        let cut = cut::cut(&reply.body, question, &mut answer)
            .map_err(|cut::NotASearch| Failure::of_status(reply.code))?;
        let refusal = match &*cut.status {
            status::OK | status::ZERO_RESULTS => {
                render::normalise_newlines(&answer, out);
                None
            }
            refused => {
                // Its own words are the operator's: they name this server's address.
                render::failure(refused, words(refused), out);
                Some(format!("{refused}: {}", cut.message))
            }
        };
        Ok(Said { skipped: cut.skipped, refusal, is_partial: false })
    }
}

/// The text that a client gets for a status of the service.
fn words(status: &str) -> &'static str {
    match status {
        status::INVALID_REQUEST => "the places service calls the question invalid",
        status::OVER_QUERY_LIMIT => "the places service answers no more questions for now",
        status::REQUEST_DENIED => "the places service denies an answer to this server",
        _ => "the places service has no answer",
    }
}
