//! Whether a server has caught up with its herd since it started: a latch, which readiness asks and
//! which never falls. A herd that is divided must not take all of its servers out of service.
//!
//! The core knows when it holds all that a peer holds: the peer says so. An older peer cannot, and
//! with one this is as much as can be told: both ends held the same, or we came to hold what the
//! peer held when it first told us. In a herd that is never quiet neither need happen, so time
//! counts as well.

use std::fmt;
use std::time::Duration;

use super::Reactor;
use herd_core::LinkState;
use herd_core::names::PeerId;

/// A look adds up the digest, which costs as much as some reports; turns may come by the thousand.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// How a server has caught up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CaughtUp {
    /// There is no peer to be asked, or none has greeted in time.
    Alone,
    /// It has held what a peer holds.
    Even,
    /// It has been linked with an older one for so long that comparisons must have found
    /// everything.
    Linked,
}

impl CaughtUp {
    pub const ALL: [CaughtUp; 3] = [CaughtUp::Alone, CaughtUp::Even, CaughtUp::Linked];

    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            CaughtUp::Alone => "alone",
            CaughtUp::Even => "even",
            CaughtUp::Linked => "linked",
        }
    }
}

impl fmt::Display for CaughtUp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CaughtUp::Alone => "there was no peer to ask",
            CaughtUp::Even => "it has held what a peer holds",
            CaughtUp::Linked => "it has long been linked with an older peer",
        })
    }
}

impl Reactor {
    /// Looks whether it has caught up by now, unless it has long ago or it was just looked.
    #[inline]
    pub(super) fn look_whether_caught_up(&mut self) {
        if self.caught_up.is_none() && self.now.monotonic >= self.catching_up_look {
            self.catching_up_look = self.now.monotonic + LOOK_EVERY;
            self.caught_up = self.has_caught_up();
        }
    }

    #[cold]
    fn has_caught_up(&mut self) -> Option<CaughtUp> {
        let (now, limits) = (self.now.monotonic, &self.config.limits);
        // Two comparisons, each of which may come late by a fifth.
        let enough = limits.core.compare_every.map(|every| every.mul_f64(2.4));
        let has_passed = |since: Duration, wait: Option<Duration>| {
            wait.is_some_and(|wait| now.saturating_sub(since) >= wait)
        };
        let mut has_peers = false;
        let mut caught_up = None;
        for at in 0..self.config.peers.len() {
            let peer = self.server.peer(PeerId(at as u16));
            has_peers |= !matches!(peer.state, LinkState::Plain | LinkState::Removed);
            let holds_the_same = || peer.first_root.is_some_and(|it| it == self.server.digest());
            if peer.even_at.is_some() || holds_the_same() {
                return Some(CaughtUp::Even);
            }
            let Some(since) = peer.since else { continue };
            self.linked_at = now;
            // A peer that was told our digest and holds the same says nothing.
            let is_silent =
                peer.first_root.is_none() && has_passed(since, limits.ready_alone_after);
            if !peer.knows_even && (is_silent || has_passed(since, enough)) {
                caught_up = Some(CaughtUp::Linked);
            }
        }
        let is_late = has_passed(self.linked_at, limits.ready_alone_after);
        let is_alone = !has_peers || is_late;
        caught_up.or(is_alone.then_some(CaughtUp::Alone))
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::net::TcpStream;

    use super::*;
    use crate::reactor::tests::House;
    use herd_core::names::ConnKind;

    const ALONE: Duration = Duration::from_secs(10);

    /// Goal: each way of catching up takes its time, and none is left again.
    #[test]
    fn a_latch_falls_once() {
        let mut house = House::new();
        house.turn();
        assert_eq!(house.reactor.caught_up, None, "a peer may come");
        house.pass(ALONE);
        assert_eq!(house.reactor.caught_up, Some(CaughtUp::Alone));
        let (_bona, _) = house.come_as_bona();
        house.pass(ALONE);
        assert_eq!(house.reactor.caught_up, Some(CaughtUp::Alone));
    }

    /// Goal: a peer that holds the same says nothing; that counts after a while.
    #[test]
    fn silence_says_that_both_hold_the_same() {
        let mut house = House::new();
        let (_bona, _) = house.come_as_bona();
        house.pass(ALONE / 2);
        assert_eq!(house.reactor.caught_up, None);
        house.pass(ALONE / 2);
        assert_eq!(house.reactor.caught_up, Some(CaughtUp::Linked));
    }

    /// Goal: what a peer can say is not guessed from the time that passes, and a link that is lost
    /// meanwhile makes nobody ready at once.
    #[test]
    fn a_peer_that_can_say_so_is_waited_for() {
        let mut house = House::new();
        let mut bona = come_as_newer_bona(&mut house);
        bona.write_all(b"ROOT 3 00000000000000c1\n").unwrap();
        for _ in 0..20 {
            house.pass(ALONE);
            assert_eq!(house.reactor.caught_up, None);
            bona.write_all(b"\n").unwrap();
        }
        drop(bona);
        house.turn_until(|reactor| !is_linked(reactor));
        house.pass(ALONE / 2);
        assert_eq!(house.reactor.caught_up, None);
        let mut bona = come_as_newer_bona(&mut house);
        house.pass(ALONE);
        assert_eq!(house.reactor.caught_up, None);
        bona.write_all(b"EVEN 1\n").unwrap();
        house.turn_until(|reactor| reactor.caught_up.is_some());
        assert_eq!(house.reactor.caught_up, Some(CaughtUp::Even));
    }

    /// As `come_as_bona`, and Bona knows how to say that all has come.
    fn come_as_newer_bona(house: &mut House) -> TcpStream {
        let (mut stream, _) = house.come(ConnKind::Peer);
        let (herd, nonce) = (&house.reactor.config.herd, "0".repeat(32));
        writeln!(stream, "HERD/1 Bona Bailey {herd} {nonce} even").unwrap();
        house.turn_until(is_linked);
        stream
    }

    fn is_linked(reactor: &mut Reactor) -> bool {
        let views =
            (0..reactor.config.peers.len()).map(|at| reactor.server.peer(PeerId(at as u16)));
        views.into_iter().any(|peer| peer.since.is_some())
    }

    /// Goal: in a herd that is never quiet, a server is ready after two comparisons.
    #[test]
    fn a_long_link_counts_though_both_always_differ() {
        let mut house = House::new();
        let (mut bona, _) = house.come_as_bona();
        bona.write_all(b"ROOT 3 00000000000000c1\n").unwrap();
        for _ in 0..7 {
            house.pass(ALONE);
            assert_eq!(house.reactor.caught_up, None);
            // A sign of life.
            bona.write_all(b"\n").unwrap();
        }
        house.pass(ALONE);
        assert_eq!(house.reactor.caught_up, Some(CaughtUp::Linked));
    }
}
