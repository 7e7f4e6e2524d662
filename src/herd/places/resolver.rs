//! A caching DNS resolver for ureq.
//!
//! It replaces ureq's own, which starts a thread for every call if any timeout is set, even for an
//! address written in digits; those threads pile up behind a name server that does not answer. This
//! one asks the name server only when its own answer has expired. It makes no choice among the
//! addresses; the connector tries them in order.

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
/// no redirects, so there is nothing to tell hosts apart by. Behind a proxy only the proxy's name
/// is looked up.
#[derive(Debug, Default)]
pub struct CachingResolver {
    known: Mutex<Option<Known>>,
    system: DefaultResolver,
}

#[derive(Clone, Debug)]
struct Known {
    addresses: ResolvedSocketAddrs,
    since: Instant,
}

impl Resolver for CachingResolver {
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
            // An old address is a better guess than none. Without one, the system's error is of no
            // kind that a caller could tell from others.
            Err(error) => match (known, error) {
                (Some(known), _) => Ok(known.addresses),
                (None, Error::Io(_)) => Err(Error::HostNotFound),
                (None, error) => Err(error),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(resolver: &CachingResolver, uri: &str) -> Option<Vec<std::net::SocketAddr>> {
        let timeout = NextTimeout { after: FRESH.into(), ..NextTimeout::default() };
        let addresses = resolver.resolve(&uri.parse().unwrap(), &Config::default(), timeout);
        addresses.ok().map(|addresses| addresses.to_vec())
    }

    fn since(resolver: &CachingResolver) -> Option<Instant> {
        resolver.known.lock().unwrap().as_ref().map(|known| known.since)
    }

    /// Method: a name that no name server may know (RFC 6761, section 6.4).
    #[test]
    fn a_name_that_is_not_found_is_told_as_such() {
        let timeout = NextTimeout { after: FRESH.into(), ..NextTimeout::default() };
        let uri = "https://places.invalid".parse().unwrap();
        let found = CachingResolver::default().resolve(&uri, &Config::default(), timeout);
        assert!(matches!(found, Err(Error::HostNotFound)), "{found:?}");
    }

    #[test]
    fn the_system_is_asked_again_only_when_an_answer_is_old() {
        let resolver = CachingResolver::default();
        // ureq knows no such scheme and refuses to look the name up.
        let no_address = "gopher://127.0.0.1:7";
        assert_eq!(resolve(&resolver, no_address), None);
        let expected = Some(vec!["127.0.0.1:7".parse().unwrap()]);
        assert_eq!(resolve(&resolver, "http://127.0.0.1:7"), expected);
        let first = since(&resolver);
        assert_eq!(resolve(&resolver, "http://127.0.0.1:7"), expected);
        assert_eq!(since(&resolver), first);

        let age = |resolver: &CachingResolver| {
            resolver.known.lock().unwrap().as_mut().unwrap().since -= FRESH;
        };
        age(&resolver);
        assert_eq!(resolve(&resolver, "http://127.0.0.1:7"), expected);
        assert!(since(&resolver) >= first);
        age(&resolver);
        assert_eq!(resolve(&resolver, no_address), expected, "an old address is used");
    }
}
