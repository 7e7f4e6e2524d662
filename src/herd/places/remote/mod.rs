//! A source that another party runs, in any protocol.
//!
//! It blocks, unlike places held in memory: a call waits for names, connections and a stranger for
//! as long as its deadline allows, so only worker threads make it. All of them share one `Remote`.
//! It queues nothing and retries nothing; that is for its callers. What differs from service to
//! service is a [`Protocol`]; how all of them are reached is in `http`.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use ureq::http::Response;
use ureq::{Agent, Body};

use super::cache::Cache;
use super::globe;
use super::http::{Address, Failure, Http, Reply, SourceError};
use super::render;
use super::{Outcome, Place, Source};
use crate::config::limits::{PLACE_BYTES_MAX, PLACES_ANSWER_BYTES_MAX};
use crate::config::{Places, Secret};
use herd_core::whatsat::{Position, Question};

/// A shorter key may stand in an answer by chance. Real ones have 39 characters.
const KEY_BYTES_MIN: usize = 16;

/// One service's way of being asked, and of answering.
pub trait Protocol: Send + Sync {
    /// Where it is found.
    fn address(&self) -> Address;

    /// Makes the call.
    fn call(
        &self,
        agent: &Agent,
        endpoint: &str,
        question: &Question,
    ) -> Result<Response<Body>, ureq::Error>;

    /// Appends to `out` what the reply says, as `Source::answer` wants it. An element that cannot
    /// be used costs itself and no other.
    fn read(&self, reply: &Reply, question: &Question, out: &mut Vec<u8>) -> Result<Said, Failure>;
}

/// What a service has said.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Said {
    /// It ran out of time: better than nothing, and not to be kept.
    pub is_partial: bool,
    /// Elements that could not be used.
    pub skipped: u64,
    /// A refusal, in words for the operator, which may be the service's own.
    pub refusal: Option<String>,
}

/// Longest text of a service that the operator is shown, in bytes.
const REFUSAL_BYTES_MAX: usize = 300;

/// A way to ask a service.
pub struct Remote {
    http: Http,
    protocol: Box<dyn Protocol>,
    key: Option<Secret>,
    cache: Option<Cache>,
    /// Elements of answers that could not be used, since the start.
    skipped: AtomicU64,
    trouble: Mutex<Option<Trouble>>,
}

/// What went wrong last, if nothing has gone right since. It is the operator's: it may name what no
/// client needs to know, but never the key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The service refuses.
    Refusal(String),
    /// It does not answer, or not with places.
    Failure(String),
}

impl Remote {
    /// Prepares to ask as `places` wants it; nothing is sent yet. Without a `cache` no answer is
    /// ever kept.
    pub fn new(
        protocol: Box<dyn Protocol>,
        places: &Places,
        cache: Option<Cache>,
    ) -> Result<Remote, SourceError> {
        let http = Http::new(&protocol.address(), places)?;
        let (key, skipped, trouble) = (places.key.clone(), AtomicU64::new(0), Mutex::new(None));
        Ok(Remote { http, protocol, key, cache, skipped, trouble })
    }

    /// Appends the answer to `question` if one is kept that may be given again: at once, so it
    /// need not wait for a thread, nor count as a call.
    pub fn recall(&self, question: &Question, out: &mut Vec<u8>) -> bool {
        let cache = self.cache.as_ref();
        cache.is_some_and(|cache| cache.recall(question, Instant::now(), out))
    }

    /// Ends the calls in flight and refuses new ones: `answer` returns soon, with a failure.
    pub fn shutdown(&self) {
        self.http.shutdown();
    }

    /// Elements of answers that could not be used, since the start.
    pub fn skipped(&self) -> u64 {
        self.skipped.load(Ordering::Relaxed)
    }

    pub fn trouble(&self) -> Option<Trouble> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn ask(&self, question: &Question, out: &mut Vec<u8>) -> Result<Said, Failure> {
        let reply =
            self.http.ask(|agent, endpoint| self.protocol.call(agent, endpoint, question))?;
        let begin = out.len();
        let said = self.protocol.read(&reply, question, out)?;
        let length = out.len() - begin;
        let wrong = if self.key.as_ref().is_some_and(|key| holds(&out[begin..], key)) {
            Some("the places service repeated what must stay secret")
        } else if length > PLACES_ANSWER_BYTES_MAX {
            Some("the places service answered at too great a length")
        } else {
            None
        };
        if let Some(wrong) = wrong {
            out.truncate(begin);
            return Err(Failure::unknown(wrong));
        }
        if let Some(cache) = &self.cache
            && !said.is_partial
        {
            cache.keep(question, Instant::now(), &out[begin..]);
        }
        Ok(said)
    }

    /// Notes how a call has ended.
    fn note(&self, said: &Result<Said, Failure>) {
        let trouble = match said {
            Ok(said) => {
                self.skipped.fetch_add(said.skipped, Ordering::Relaxed);
                said.refusal.as_deref().map(|text| Trouble::Refusal(self.shown(text)))
            }
            Err(failure) => Some(Trouble::Failure(failure.message.clone())),
        };
        *self.trouble.lock().unwrap_or_else(PoisonError::into_inner) = trouble;
    }

    /// The part of a service's text that an operator may see.
    fn shown(&self, text: &str) -> String {
        let secret = self.key.as_ref().map_or("", Secret::reveal);
        let text = if secret.is_empty() { text.to_owned() } else { text.replace(secret, "…") };
        let mut end = text.len().min(REFUSAL_BYTES_MAX);
        while !text.is_char_boundary(end) {
            end -= 1;
        }
        text[..end].chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
    }
}

impl Source for Remote {
    fn answer(&self, question: &Question, out: &mut Vec<u8>) -> Outcome {
        let said = self.ask(question, out);
        self.note(&said);
        match said {
            Ok(_) => Outcome::Answered,
            Err(Failure { status, message }) => {
                render::failure(status, &message, out);
                Outcome::Failed
            }
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (Trouble::Refusal(text) | Trouble::Failure(text)) = self;
        f.write_str(text)
    }
}

/// A service that refuses a key may well quote it, and answers reach any client.
fn holds(answer: &[u8], key: &Secret) -> bool {
    let key = key.reveal().as_bytes();
    key.len() >= KEY_BYTES_MIN && memchr::memmem::find(answer, key).is_some()
}

/// The radius as services want it, where WHATSAT has kilometres. A tenth of a metre is finer than
/// any position, and rounding hides that 4.35 km is not quite 4,350 m in binary.
pub fn metres(question: &Question) -> f64 {
    (question.radius_km * 10_000.0).round() / 10.0
}

/// Appends the answer that holds the nearest of `near`; if some are equally far, the first stays
/// first. Gives how many could not be used: they lie nowhere, or are too long.
pub fn found(
    attribution: &str,
    mut near: Vec<Place<'_>>,
    question: &Question,
    out: &mut Vec<u8>,
) -> u64 {
    let all = near.len();
    near.retain(|place| {
        let Position { latitude, longitude } = place.position;
        let is_here = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        is_here && render::place_bytes(place) <= PLACE_BYTES_MAX
    });
    let from = globe::unit_vector(question.at);
    let chord = |place: &Place<'_>| globe::chord_squared(from, globe::unit_vector(place.position));
    near.sort_by(|a, b| chord(a).total_cmp(&chord(b)));
    render::found(&[attribution], &near, question.bound, out);
    (all - near.len()) as u64
}

#[cfg(test)]
mod tests;
