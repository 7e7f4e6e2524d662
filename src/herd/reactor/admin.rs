//! What a server says of itself through its admin socket. It reads every part of the loop and
//! changes none.

use super::Reactor;
use crate::config::Initiative;
use crate::status::{PeerState, PeerStatus, Status};
use herd_core::LinkState;
use herd_core::names::{ConnKind, PeerId};

/// One line of JSON, with its newline.
pub fn status_line(reactor: &Reactor) -> Vec<u8> {
    let mut line = match serde_json::to_vec(&status(reactor)) {
        Ok(json) => json,
        // A struct of numbers and strings has no reason to fail; if it does, say so.
        Err(error) => error.to_string().into_bytes(),
    };
    line.push(b'\n');
    line
}

fn status(reactor: &Reactor) -> Status {
    let config = &reactor.config;
    let counters = reactor.server.counters();
    Status {
        name: config.name.clone(),
        herd: config.herd.clone(),
        version: env!("CARGO_PKG_VERSION").into(),
        pid: std::process::id(),
        since_posix_s: reactor.clocks.born_posix_s,
        uptime_s: reactor.clocks.age().as_secs(),
        client_address: config.client_address.to_string(),
        peer_address: config.peer_address.to_string(),
        peers: (0..config.peers.len()).map(|at| peer_status(reactor, at)).collect(),
        clients_known: reactor.server.store().len() as u64,
        connections: reactor.slots.alive(ConnKind::Client) as u64,
        connections_total: reactor.slots.admitted(ConnKind::Client),
        lines_in: counters.lines_in,
        reports_news: counters.news,
        reports_stale: counters.stale,
        digest: format!("{:016x}", reactor.server.digest()),
        differences: counters.differences,
        refused: counters.refused,
        newcomers_refused: counters.newcomers_refused,
        reports_refused_full: counters.full,
        reports_expired: counters.expired,
        questions_waiting: reactor.server.questions_waiting() as u64,
        log_lines_dropped: reactor.log.dropped(),
        places: reactor.places.describe(reactor.now),
        places_service: reactor.places.service(reactor.now),
        journal: reactor.keeping.as_ref().map(|keeping| keeping.status(reactor.now.monotonic)),
        draining: reactor.is_draining(),
        drain_s: config.limits.drain.as_secs(),
        settings: config.fingerprint(),
    }
}

fn peer_status(reactor: &Reactor, at: usize) -> PeerStatus {
    let peer = &reactor.config.peers[at];
    let view = reactor.server.peer(PeerId(at as u16));
    PeerStatus {
        name: peer.name.clone(),
        state: match view.state {
            LinkState::Down => PeerState::Down,
            LinkState::Waiting => PeerState::Waiting,
            LinkState::Dialing => PeerState::Dialing,
            LinkState::Greeting => PeerState::Greeting,
            LinkState::Up => PeerState::Up,
            LinkState::Plain => PeerState::Plain,
        },
        dials: peer.initiative == Initiative::Ours,
        address: peer.address.to_string(),
        redials: view.redials,
        trouble: view.trouble.map(str::to_owned),
    }
}
