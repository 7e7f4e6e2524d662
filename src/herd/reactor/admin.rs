//! What a server says through its admin socket: of itself, and all that it knows. It reads every
//! part of the loop and changes none.

use super::{Reactor, engine};
use crate::config::{Initiative, LinkKind};
use crate::status::{DUMP, METRICS, Order, Outcome, PeerState, PeerStatus, RELOAD, Status};
use herd_core::LinkState;
use herd_core::driver::Driver;
use herd_core::names::{ConnId, ConnKind, PeerId};
use herd_core::store::Cursor;
use herd_core::wire::line_buffer::{Line, Lines};
use serde::Serialize;

/// What is sent of a dump at a time: the next piece when this one has left.
const PIECE_BYTES: usize = 64 * 1024;

/// A connection that is sent all reports, and where that goes on.
pub struct Dump {
    conn: ConnId,
    next: Cursor,
}

impl Reactor {
    /// The admin socket has been told a line.
    pub(super) fn answer_admin(&mut self, conn: ConnId, lines: &mut Lines<'_>) {
        let Some(line) = lines.take() else { return };
        lines.pause();
        if matches!(line, Line::Whole(line) if line == DUMP.trim_end().as_bytes()) {
            self.dumps.retain(|dump| self.slots.session(dump.conn).is_some());
            self.dumps.push(Dump { conn, next: Cursor::default() });
            return self.go_on_dumping(conn);
        }
        if matches!(line, Line::Whole(line) if line == RELOAD.trim_end().as_bytes()) {
            return self.begin_reload(Some(conn));
        }
        let order = match line {
            Line::Whole(line) => Order::parse(line),
            Line::TooLong(_) => None,
        };
        let is_of_metrics =
            matches!(line, Line::Whole(line) if line == METRICS.trim_end().as_bytes());
        let answer = match order {
            Some(order) => json_line(&self.obey(order)),
            None if is_of_metrics => {
                self.look_whether_caught_up();
                self.figures().into_text().into_bytes()
            }
            None => status_line(self),
        };
        self.send(conn, &answer);
        self.close_when_sent(conn);
    }

    /// Does what an operator says.
    fn obey(&mut self, order: Order) -> Outcome {
        match order {
            Order::Compact => self.compact_journal(),
            Order::Hold(time) => self.hold_journal(time),
            Order::Drain => self.drain_by_order(),
            Order::Forget(client) => self.erase_by_order(&client),
            Order::LogLevel { level, time } => self.change_log_level(level, time),
        }
    }

    /// Sends the next piece of a dump, if one is under way and the last has left.
    pub(super) fn go_on_dumping(&mut self, conn: ConnId) {
        let Some(at) = self.dumps.iter().position(|dump| dump.conn == conn) else { return };
        if self.slots.session(conn).is_none_or(|session| session.queued_bytes() > 0) {
            return;
        }
        let mut text = Vec::with_capacity(2 * PIECE_BYTES);
        let rest = self.server.store().write_piece(self.dumps[at].next, PIECE_BYTES, &mut text);
        match rest {
            Some(next) => self.dumps[at].next = next,
            None => {
                text.push(b'\n');
                self.dumps.swap_remove(at);
            }
        }
        self.send(conn, &text);
        if rest.is_none() {
            self.close_when_sent(conn);
        }
    }
}

/// One line of JSON, with its newline.
pub fn status_line(reactor: &Reactor) -> Vec<u8> {
    json_line(&status(reactor))
}

pub(super) fn json_line(value: &impl Serialize) -> Vec<u8> {
    let mut line = match serde_json::to_vec(value) {
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
        tls_address: config.tls.as_ref().and_then(|door| door.address).map(|it| it.to_string()),
        web_address: config.web.map(|address| address.to_string()),
        operators_address: config.operators.map(|address| address.to_string()),
        mqtt_address: config.mqtt.map(|address| address.to_string()),
        peers: (0..config.peers.len()).filter_map(|at| peer_status(reactor, at)).collect(),
        engine: engine::status(reactor),
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
        journal: reactor
            .durability
            .as_ref()
            .map(|durability| durability.status(reactor.now.monotonic, counters.unkept_refused)),
        draining: reactor.is_draining(),
        drain_phase: reactor.drain_phase().map(|phase| phase.name().to_owned()),
        drain_s: config.limits.stop_max().as_secs(),
        settings: reactor.fingerprint(),
    }
}

/// `None` for a peer that was removed, and for an engine, which is none.
fn peer_status(reactor: &Reactor, at: usize) -> Option<PeerStatus> {
    let peer = &reactor.config.peers[at];
    if peer.kind == LinkKind::Engine {
        return None;
    }
    let view = reactor.server.peer(PeerId(at as u16));
    Some(PeerStatus {
        name: peer.name.clone(),
        state: match view.state {
            LinkState::Removed => return None,
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
        tls: view.conn.is_some_and(|conn| reactor.slots.is_wrapped(conn)),
        trouble: view.trouble.map(str::to_owned),
    })
}
