//! A source that somebody else runs, whatever it is asked in.
//!
//! It is apart from the places held in memory because it blocks: a call waits for names,
//! connections and a stranger for as long as its deadline allows, so only worker threads make it.
//! All of them share one `Remote`. It queues nothing and tries nothing again; that is for whoever
//! calls. What differs from service to service is a [`Protocol`]; how all of them are reached is
//! in `http`.

use std::time::Instant;

use ureq::http::Response;
use ureq::{Agent, Body};

use super::globe;
use super::http::{Address, Failure, Http, Reply, SourceError};
use super::memory::Memory;
use super::render;
use super::{Place, Source, Told};
use crate::config::{Places, Secret};
use crate::core::whatsat::Question;

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

    /// Appends to `out` what the reply says, as `Source::answer` wants it.
    fn read(
        &self,
        reply: &Reply,
        question: &Question,
        out: &mut Vec<u8>,
    ) -> Result<Extent, Failure>;
}

/// Whether the service has said all it had to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    Whole,
    /// It ran out of time: better than nothing, and not to be kept.
    Partial,
}

/// A way to ask a service.
pub struct Remote {
    http: Http,
    protocol: Box<dyn Protocol>,
    key: Option<Secret>,
    memory: Option<Memory>,
}

impl Remote {
    /// Prepares to ask as `places` wants it; nothing is sent yet. Without a `memory` no answer is
    /// ever kept.
    pub fn new(
        protocol: Box<dyn Protocol>,
        places: &Places,
        memory: Option<Memory>,
    ) -> Result<Remote, SourceError> {
        let (base, proxy) = (places.url.as_deref(), places.proxy_from_env);
        let http = Http::new(&protocol.address(), base, places.deadline, proxy)?;
        Ok(Remote { http, protocol, key: places.key.clone(), memory })
    }

    /// Appends the answer to `question` if one is kept that may be given again: at once, so it
    /// need not wait for a thread, nor count as a call.
    pub fn recall(&self, question: &Question, out: &mut Vec<u8>) -> bool {
        let memory = self.memory.as_ref();
        memory.is_some_and(|memory| memory.recall(question, Instant::now(), out))
    }

    /// Ends the calls in flight and refuses new ones: `answer` returns soon, with a failure.
    pub fn shutdown(&self) {
        self.http.shutdown();
    }

    fn ask(&self, question: &Question, out: &mut Vec<u8>) -> Result<(), Failure> {
        let reply =
            self.http.ask(|agent, endpoint| self.protocol.call(agent, endpoint, question))?;
        let begin = out.len();
        let extent = self.protocol.read(&reply, question, out)?;
        if self.key.as_ref().is_some_and(|key| holds(&out[begin..], key)) {
            out.truncate(begin);
            return Err(Failure::unknown("the places service repeated what must stay secret"));
        }
        if let Some(memory) = &self.memory
            && extent == Extent::Whole
        {
            memory.keep(question, Instant::now(), &out[begin..]);
        }
        Ok(())
    }
}

impl Source for Remote {
    fn answer(&self, question: &Question, out: &mut Vec<u8>) -> Told {
        match self.ask(question, out) {
            Ok(()) => Told::Answer,
            Err(Failure { status, message }) => {
                render::failure(status, &message, out);
                Told::Excuse
            }
        }
    }
}

/// A service that refuses a key may well quote it, and answers reach anybody.
fn holds(answer: &[u8], key: &Secret) -> bool {
    let key = key.reveal().as_bytes();
    key.len() >= KEY_BYTES_MIN && memchr::memmem::find(answer, key).is_some()
}

/// The radius as services want it, where WHATSAT has kilometres. A tenth of a metre is finer than
/// any position, and rounding hides that 4.35 km is not quite 4,350 m in binary.
pub fn metres(question: &Question) -> f64 {
    (question.radius_km * 10_000.0).round() / 10.0
}

/// Sorts places by distance; of those that are equally far, the first stays first.
pub fn nearest_first(places: &mut [Place<'_>], question: &Question) {
    let from = globe::unit_vector(question.at);
    let chord = |place: &Place<'_>| globe::chord_squared(from, globe::unit_vector(place.position));
    places.sort_by(|a, b| chord(a).total_cmp(&chord(b)));
}

#[cfg(test)]
mod tests;
