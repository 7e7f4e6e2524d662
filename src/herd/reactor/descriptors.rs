//! How the descriptors that the system grants are shared out. Everything that holds one must be in
//! one sum: a holder that is not counted takes another's.
//!
//! ```text
//!   ├ the house's ┼ peers, places ┼ strangers ┼ admin ┼ operators ┼ web ┼ MQTT ┼─── clients ───┤
//! ```

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::StartError;
use crate::config::Config;
use herd_core::names::ConnId;

/// Streams of the process, doors, log, epoll, the signals' and the waker's, and some to spare for
/// files that are open for a moment.
const FILES: usize = 24;
/// Connections that have ended in this turn: beyond them none is accepted before they are buried.
pub const DEAD_MAX: usize = 8;
const HOUSE: usize = FILES + DEAD_MAX;
/// Each peer may have an old connection and a new one; each thread, a socket and a resolver's.
const FOR_EACH: usize = 2;
/// Connections to the peer port that have not greeted: each lasts for the greeting's timeout.
const STRANGERS_MAX: usize = 64;
/// Connections to the admin socket; each is answered at once.
const ADMINS_MAX: usize = 16;
/// Connections to the operators' port: a few that scrape and probe.
const OPERATORS_MAX: usize = 16;
/// Connections to the web port and to that for MQTT, of as many as there may be of clients' own.
const WEB_MAX: usize = 16_384;
/// Where few are left for clients, each of the others gets one part of this many.
const PART: usize = 10;
/// Kinds of connections that others open.
const KINDS: usize = 6;
/// More than this is never asked of the system: each connection also costs the kernel memory.
const WANTED: u64 = 200_000;
/// The most that macOS grants, even if its hard limit is higher (setrlimit(2) there, OPEN_MAX).
const MACOS: u64 = 10_240;

// At what most systems grant without being asked, strangers have all that they may.
const _: () = assert!(1024 / PART >= STRANGERS_MAX && STRANGERS_MAX >= ADMINS_MAX);

/// How many connections there may be of each kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shares {
    pub clients: usize,
    pub strangers: usize,
    pub admins: usize,
    /// None if their door is closed.
    pub operators: usize,
    /// None if its door is closed.
    pub web: usize,
    /// None if its door is closed.
    pub mqtt: usize,
}

impl Shares {
    /// Takes as many descriptors as the system grants, and shares them out.
    ///
    /// # Errors
    /// They are too few for one of each kind: such a server would listen and answer no one.
    pub fn claim(config: &Config) -> Result<Shares, StartError> {
        let (granted, needed) = (raise_limit(), ours(config) + KINDS);
        if granted < needed {
            Err(StartError::Descriptors { granted, needed })
        } else {
            Ok(Shares::of(granted, config))
        }
    }

    fn of(descriptors: usize, config: &Config) -> Shares {
        let ours = ours(config);
        let people = descriptors.saturating_sub(ours);
        let strangers = (people / PART).clamp(1, STRANGERS_MAX);
        let admins = (people / PART).clamp(1, ADMINS_MAX);
        let is_open = usize::from(config.operators.is_some());
        let operators = is_open * (people / PART).clamp(1, OPERATORS_MAX);
        let of_door =
            |door: Option<_>| usize::from(door.is_some()) * (people / PART).clamp(1, WEB_MAX);
        let (web, mqtt) = (of_door(config.web), of_door(config.mqtt));
        let others = strangers + admins + operators + web + mqtt;
        let possible = people.saturating_sub(others).clamp(1, ConnId::SLOTS_MAX / 2);
        let wanted = config.limits.connections_max.unwrap_or(possible);
        Shares { clients: wanted.min(possible), strangers, admins, operators, web, mqtt }
    }
}

/// What a server needs before any connection has come.
fn ours(config: &Config) -> usize {
    HOUSE + FOR_EACH * (config.peers.len() + config.places.calls.workers)
}

/// Says how many descriptors there are then.
fn raise_limit() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let hard = limit.maximum.unwrap_or(WANTED);
    for wanted in [hard.min(WANTED), MACOS] {
        let raised = Rlimit { current: Some(wanted), maximum: limit.maximum };
        let is_more = limit.current.is_some_and(|soft| soft < wanted);
        if is_more && wanted <= hard && setrlimit(Resource::Nofile, raised).is_ok() {
            return wanted as usize;
        }
    }
    limit.current.unwrap_or(WANTED) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::HerdSelector;
    use crate::config::layers::{Overrides, configure};

    /// Goal: all of them together never need more than there is, unless it is too little for a
    /// server at all.
    #[test]
    fn the_shares_are_a_whole() {
        let selector = HerdSelector::default();
        let (herd, preset) = selector.herd(Some("Bona")).unwrap();
        let mut config = configure("Bona", herd, preset, &selector, Overrides::default()).unwrap();
        let ours = ours(&config);
        for descriptors in 0..3_000 {
            let Shares { clients, strangers, admins, operators, web, mqtt } =
                Shares::of(descriptors, &config);
            let least = clients.min(strangers).min(admins).min(operators).min(web).min(mqtt);
            assert!(least > 0);
            let all = ours + clients + strangers + admins + operators + web + mqtt;
            assert!(all <= descriptors.max(ours + KINDS), "{all} of {descriptors}");
            assert!(descriptors < 3 * ours || clients > (descriptors - ours) / 3);
        }
        assert_eq!(Shares::of(2_000, &config).strangers, STRANGERS_MAX);
        config.operators = None;
        assert_eq!(Shares::of(2_000, &config).operators, 0);
        config.limits.connections_max = Some(7);
        assert_eq!(Shares::of(2_000, &config).clients, 7);
    }
}
