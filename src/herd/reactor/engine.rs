//! What the loop knows of an engine: that it is dialled like a peer, at several addresses, and what
//! there is to see of it. All else is the core's (`herd_core::engine`).

use super::Reactor;
use super::routes::Routes;
use crate::config::{Config, LinkKind, Peer};
use crate::status::{EngineStatus, QuestionStatus};
use herd_core::engine::{EngineSettings, QuestionCounters, Region};
use herd_core::names::PeerId;

/// The peers that are servers.
pub(super) fn servers(config: &Config) -> impl Iterator<Item = &Peer> {
    config.peers.iter().filter(|peer| peer.kind != LinkKind::Engine)
}

/// What the core must know of the engine, if there is one.
pub(super) fn settings(config: &Config) -> Option<EngineSettings> {
    let engine = &config.engine;
    let regions = &config.on_engine.regions;
    let others = regions.servers.iter().filter(|name| **name != config.name);
    let settings = || EngineSettings {
        subject: engine.subject.clone(),
        members: others.map(|name| name.clone().into_bytes()).collect(),
        login: config.on_engine.login.clone(),
        batch_bytes_max: engine.batch_bytes_max,
        owed_max: engine.owed_max,
        settle: engine.settle,
        ask_timeout: engine.ask_patience,
        parts: config.on_engine.parts.clone(),
        region: regions.own.clone().map(String::into_bytes),
        regions: regions.others.iter().map(region).collect(),
        tell_every: engine.tell_every,
    };
    engine.is_on().then(settings)
}

fn region((name, servers): (&String, &Vec<String>)) -> Region {
    let servers = servers.iter().map(|name| name.clone().into_bytes()).collect();
    Region { name: name.clone().into_bytes(), servers }
}

/// Where each peer is dialled.
pub(super) fn routes(config: &Config) -> Routes {
    let mut routes = Routes::new(config.peers.iter().map(|peer| peer.address.clone()));
    if let Some(engine) = place(config) {
        routes.set_all(engine, &config.engine.urls.0);
    }
    routes
}

fn place(config: &Config) -> Option<PeerId> {
    let at = config.peers.iter().position(|peer| peer.kind == LinkKind::Engine)?;
    Some(PeerId(at as u16))
}

/// `None` if servers have links.
pub(super) fn status(reactor: &Reactor) -> Option<EngineStatus> {
    let engine = reactor.server.engine()?;
    Some(EngineStatus {
        state: engine.state.name().to_owned(),
        node: reactor.routes.address(place(&reactor.config)?).to_string(),
        owed_bytes: engine.owed as u64,
        leaves_missed: engine.leaves_missed as u64,
        gaps: engine.counters.gaps,
        asks: engine.counters.asks,
        refused: engine.counters.refused.iter().sum(),
        servers_heard: engine.members_heard as u64,
        parts: engine.parts as u64,
        parts_in_all: reactor.config.engine.parts as u64,
        parts_complete: engine.parts_complete as u64,
        parts_moving: engine.parts_moving as u64,
        questions: questions(engine.questions),
        trouble: engine.denied.map(str::to_owned),
    })
}

fn questions(counters: QuestionCounters) -> QuestionStatus {
    let QuestionCounters { asked, found, none, no_responders, too_late, unasked, abroad } =
        counters;
    QuestionStatus { asked, found, none, no_responders, too_late, unasked, abroad }
}
