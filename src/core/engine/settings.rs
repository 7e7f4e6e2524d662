//! What a server must know of its engine. Apart because it is configuration only.

use std::time::Duration;

use super::login::Login;
use super::members::Member;
use crate::parts::{Part, Parts};

/// What a server must know of its engine.
#[derive(Clone)]
pub struct EngineSettings {
    /// What all subjects begin with.
    pub subject: String,
    /// The other servers of the herd that are on the engine.
    pub members: Vec<Vec<u8>>,
    /// Who we are to it.
    pub login: Login,
    /// A batch that is longer leaves before the turn ends.
    pub batch_bytes_max: usize,
    /// Bytes that the engine has not read, above which news only leaves a mark.
    pub owed_max: usize,
    /// A comparison is made when the connection is up, and again after this: until then others'
    /// news may not find its way here.
    pub settle: Duration,
    /// How long a server may take to answer before another one is asked.
    pub ask_timeout: Duration,
    /// Who holds what.
    pub parts: Parts,
    /// The region that this server is in, a token; none if the herd is in one place.
    pub region: Option<Vec<u8>>,
    /// The others.
    pub regions: Vec<Region>,
    /// How often other regions are told anew what the clients of a server have said last.
    pub tell_every: Duration,
}

impl EngineSettings {
    /// Whether there are clients of which other servers know more.
    pub fn asks_others(&self) -> bool {
        !self.parts.is_whole() || self.region.is_some()
    }

    pub(super) fn member(&self, name: &[u8], held: &[Part]) -> Member {
        Member::new(name, &self.parts, held)
    }

    /// For simulations and tests: short times, small bounds.
    pub fn new(members: Vec<Vec<u8>>) -> EngineSettings {
        EngineSettings {
            subject: "herd".to_owned(),
            members,
            login: Login::Nobody,
            batch_bytes_max: 16 * 1024,
            owed_max: 1024 * 1024,
            settle: Duration::from_millis(500),
            ask_timeout: Duration::from_millis(500),
            parts: Parts::whole(),
            region: None,
            regions: Vec::new(),
            tell_every: Duration::from_secs(600),
        }
    }
}

/// Another region of the herd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its name, a token.
    pub name: Vec<u8>,
    /// The servers in it.
    pub servers: Vec<Vec<u8>>,
}

impl Region {
    /// Whether a server is in it.
    pub fn has(&self, server: &[u8]) -> bool {
        self.servers.iter().any(|name| *name == *server)
    }
}
