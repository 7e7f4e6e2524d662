//! How many may follow a server, and how many of them by one token, one share link or from one
//! address: nobody takes all places.
//!
//! Where access is configured, a token has few places and a link many, for it is given to many.
//! Where it is not, nobody has shown anything, and the address is what there is to go by. This
//! machine has no bound of its own: a proxy on it speaks for everybody.

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;

use super::Reactor;
use super::access::{self, Refused};
use herd_core::names::{ConnId, ConnKind};
use herd_web::access::Caller;
use herd_web::http::Answer;

/// Followers of a server.
pub(super) const FOLLOWERS_MAX: usize = 10_000;
/// Followers of one token, and connections of it that speak MQTT.
pub(super) const OF_A_TOKEN_MAX: usize = 16;
/// Followers by one share link, or of one address.
pub(super) const OF_ONE_MAX: usize = FOLLOWERS_MAX / 10;
/// After so many seconds, somebody may have left.
const RETRY_AFTER_S: &str = "30";

/// To what a follower's place is counted: a hash of it, keyed by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Account(u64);

/// Why there is no place for a follower.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoPlace {
    Server,
    Token,
    Link,
    Address,
}

impl NoPlace {
    pub(super) fn answer(self) -> Answer {
        let (status, why) = match self {
            NoPlace::Server => (503, format!("{FOLLOWERS_MAX} follow already: come again later\n")),
            NoPlace::Token => (429, format!("{OF_A_TOKEN_MAX} follow with this token already\n")),
            NoPlace::Link => (429, format!("{OF_ONE_MAX} follow by this link already\n")),
            NoPlace::Address => (429, format!("{OF_ONE_MAX} follow from this address already\n")),
        };
        Answer::text(status, why).with_header("Retry-After", RETRY_AFTER_S)
    }
}

/// Finds accounts.
#[derive(Default)]
pub(super) struct Accounts(RandomState);

impl Accounts {
    /// To what a place for this caller is counted, how many that has, and what it is; `None` if
    /// there is no bound but the server's.
    fn of(&self, caller: &Caller, from: Option<IpAddr>) -> Option<(Account, usize, NoPlace)> {
        let (hash, most, what) = if let Some(name) = caller.name() {
            (self.0.hash_one(name), OF_A_TOKEN_MAX, NoPlace::Token)
        } else if let Some(link) = caller.link() {
            (self.0.hash_one(link), OF_ONE_MAX, NoPlace::Link)
        } else {
            let is_unasked = caller.grant().is_none();
            let from = from.filter(|from| is_unasked && !from.is_loopback())?;
            (self.0.hash_one(access::account(from)), OF_ONE_MAX, NoPlace::Address)
        };
        Some((Account(hash), most, what))
    }
}

impl Reactor {
    /// To what the place of a new follower is counted, if to anything. Counts who is refused.
    ///
    /// # Errors
    /// There is no place.
    pub(super) fn find_place(
        &mut self,
        conn: ConnId,
        caller: &Caller,
    ) -> Result<Option<Account>, NoPlace> {
        let place = self.look_for_place(conn, caller);
        if place.is_err() {
            self.refused(conn, Refused::TooManyFollowers);
        }
        place
    }

    fn look_for_place(&self, conn: ConnId, caller: &Caller) -> Result<Option<Account>, NoPlace> {
        if self.count_followers() >= FOLLOWERS_MAX {
            return Err(NoPlace::Server);
        }
        // By MQTT, a token is bounded by its connections, and each of those by its filters.
        if conn.kind() == ConnKind::Mqtt && caller.name().is_some() {
            return Ok(None);
        }
        let connection = self.slots.tenant(conn.slot()).filter(|it| it.id() == conn);
        let from = connection.and_then(|connection| connection.peer_ip());
        let Some((account, most, what)) = self.web.accounts.of(caller, from) else {
            return Ok(None);
        };
        let followers = self.web.followers.as_deref();
        let count = followers.map_or(0, |followers| followers.count_of(account))
            + self.web.mqtt.count_waiting(Some(account));
        if count >= most { Err(what) } else { Ok(Some(account)) }
    }
}

#[cfg(test)]
mod tests {
    use herd_web::access::Grant;
    use herd_web::follow::Wish;
    use herd_web::http::{Headers, Method, Request};

    use super::*;
    use crate::reactor::tests::{House, by_link};

    fn by_token(name: &str) -> Caller {
        Caller::new(Grant { name: name.to_owned(), ..Grant::default() }.into())
    }

    /// So many ask to follow, of whom nobody is connected any more. Gives how many may, and what
    /// the next one is answered.
    fn follow(house: &mut House, caller: &Caller, most: usize) -> (usize, u16) {
        let (headers, body) = (Headers::default(), (&[][..]).into());
        let (path, query) = ("/v1/follow", "");
        let request = Request { method: Method::Get, path, query, keeps_open: true, headers, body };
        for number in 0..most {
            let conn = ConnId::new(ConnKind::Web, 1, number);
            let wish = Wish::parse("id=kiwi").unwrap();
            let answer = house.reactor.begin_stream(conn, &request, caller, wish);
            if answer.status != 200 {
                let status = answer.status;
                let text = String::from_utf8(answer.into_bytes(0, false, false)).unwrap();
                assert!(text.contains("\r\nRetry-After: 30\r\n"), "{text}");
                return (number, status);
            }
        }
        (most, 200)
    }

    /// Goal: a link and a token have so many places each, however many others have, and one that
    /// has none left takes none from others.
    #[test]
    fn one_link_takes_not_all_places() {
        let mut house = House::new();
        assert_eq!(follow(&mut house, &by_link("1"), FOLLOWERS_MAX), (OF_ONE_MAX, 429));
        assert_eq!(follow(&mut house, &by_token("jane"), FOLLOWERS_MAX), (OF_A_TOKEN_MAX, 429));
        assert_eq!(follow(&mut house, &by_link("1"), 1), (0, 429));
        assert_eq!(follow(&mut house, &by_link("2"), 1), (1, 200));
        let left = FOLLOWERS_MAX - OF_ONE_MAX - OF_A_TOKEN_MAX - 1;
        assert_eq!(follow(&mut house, &Caller::anybody(), FOLLOWERS_MAX), (left, 503));
        assert_eq!(follow(&mut house, &by_link("2"), 1), (0, 503));
        assert_eq!(house.reactor.web.callers.refused[Refused::TooManyFollowers as usize], 5);
    }

    /// Goal: where nobody is asked who they are, places are counted by address, but for this
    /// machine's; elsewhere the address does not matter.
    #[test]
    fn an_address_counts_where_nobody_is_asked() {
        let accounts = Accounts::default();
        let of = |caller: &Caller, from: &str| {
            accounts.of(caller, Some(from.parse().unwrap())).map(|(account, ..)| account)
        };
        let anybody = Caller::anybody();
        let here = of(&anybody, "192.0.2.1");
        assert!(here.is_some() && here == of(&anybody, "192.0.2.1"));
        assert_ne!(here, of(&anybody, "192.0.2.2"));
        assert_eq!(of(&anybody, "2001:db8::1"), of(&anybody, "2001:db8::2"), "one network");
        assert_eq!((of(&anybody, "127.0.0.1"), of(&anybody, "::1")), (None, None));
        assert_eq!(accounts.of(&anybody, None), None);
        for caller in [by_link("1"), by_token("jane")] {
            assert_eq!(of(&caller, "192.0.2.1"), of(&caller, "127.0.0.1"));
        }
    }
}
