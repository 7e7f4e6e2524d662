//! Remembers where a service lives.
//!
//! It is apart because it is a part of ureq, put in place of another: with any timeout set, ureq's
//! own resolver starts a thread for every call, even for an address written in digits, and those
//! threads pile up behind a name server that does not answer. This one asks it only when what it
//! knows has grown old. It makes no choice among the addresses; the connector tries them in order.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ureq::Error;
use ureq::config::Config;
use ureq::http::Uri;
use ureq::unversioned::resolver::{DefaultResolver, ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::NextTimeout;

/// How long an answer of the name server is used: what big services set as the life of theirs.
const FRESH: Duration = Duration::from_secs(60);

/// The addresses of the one host that an agent asks.
///
/// invariant: every URI of the agent has the same authority. A source has one base URL and follows
/// no redirects, so there is nothing to tell hosts apart by.
#[derive(Debug, Default)]
pub struct Remembering {
    known: Mutex<Option<Known>>,
    system: DefaultResolver,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: ResolvedSocketAddrs,
    since: Instant,
}

impl Resolver for Remembering {
    fn resolve(
        &self,
        uri: &Uri,
        config: &Config,
        timeout: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, Error> {
        // The lock is not held while the name server is asked: one slow answer would make all
        // workers late. A poisoned lock still guards a whole value.
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(known) = &known
            && known.since.elapsed() < FRESH
        {
            return Ok(known.addresses.clone());
        }
        match self.system.resolve(uri, config, timeout) {
            Ok(addresses) => {
                let since = Instant::now();
                let fresh = Known { addresses: addresses.clone(), since };
                *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
                Ok(addresses)
            }
            // An old address is a better guess than none.
            Err(error) => known.map(|known| known.addresses).ok_or(error),
        }
    }
}
