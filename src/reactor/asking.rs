//! What takes longer than a turn: questions about places, and dials. Apart because each begins in
//! one turn and ends in another, with only a ticket or a peer's name to tie them together.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use log::{debug, error, info};
use mio::net::TcpStream;

use super::connection::{Connection, Phase};
use super::dialer::Route;
use super::worker::{Finished, PlacesPool};
use super::{Due, Mail, Reactor};
use crate::config::LinkKind;
use crate::core::border::Timer;
use crate::core::names::{ConnId, Door, PeerId, Ticket};
use crate::core::whatsat::Question;
use crate::places::desk::{CallId, Desk, Reception, Rules};
use crate::places::render::status::UNKNOWN_ERROR;
use crate::places::{Atlas, Source, Told, render};

/// Whoever answers questions, and the questions that came before it was ready.
pub struct Places {
    source: Answerer,
    /// Reused for every answer of the atlas.
    body: Vec<u8>,
}

enum Answerer {
    /// The atlas is being unpacked; these wait for it.
    Unpacking(VecDeque<(Ticket, Question)>),
    Atlas(Box<Atlas>),
    /// The atlas is broken; why.
    Nobody(String),
    Remote {
        pool: PlacesPool,
        desk: Box<Desk>,
    },
}

impl Places {
    pub fn unpacking() -> Places {
        Places { source: Answerer::Unpacking(VecDeque::new()), body: Vec::new() }
    }

    pub fn remote(pool: PlacesPool, rules: Rules) -> Places {
        let desk = Box::new(Desk::new(rules));
        Places { source: Answerer::Remote { pool, desk }, body: Vec::new() }
    }

    /// The body of an answer that needs no waiting: from the atlas, microseconds away.
    pub fn answer_now(&mut self, question: &Question) -> Option<&[u8]> {
        self.body.clear();
        match &self.source {
            Answerer::Atlas(atlas) => {
                atlas.answer(question, &mut self.body);
            }
            Answerer::Nobody(why) => render::failure(UNKNOWN_ERROR, why, &mut self.body),
            Answerer::Unpacking(_) | Answerer::Remote { .. } => return None,
        }
        Some(&self.body)
    }

    /// For the status: what answers, and whether it is ready.
    pub fn describe(&self) -> String {
        match &self.source {
            Answerer::Unpacking(_) => "embedded, loading".into(),
            Answerer::Atlas(atlas) => format!("embedded, {} places", atlas.len()),
            Answerer::Nobody(why) => format!("embedded, broken: {why}"),
            Answerer::Remote { desk, .. } => format!("google-legacy, {} calls", desk.calls()),
        }
    }

    pub fn shut_down(&self) {
        if let Answerer::Remote { pool, .. } = &self.source {
            pool.shut_down();
        }
    }
}

impl Reactor {
    pub(super) fn ask_places(
        &mut self,
        conn: ConnId,
        ticket: Ticket,
        question: Question,
        patience: Duration,
    ) {
        match &mut self.places.source {
            Answerer::Atlas(_) | Answerer::Nobody(_) => {
                self.mailbox.push_back(Mail::Asked { ticket, question });
                return;
            }
            Answerer::Unpacking(early) => early.push_back((ticket, question)),
            Answerer::Remote { pool, desk } => {
                // Asked only now and here: an address kept for each connection would cost more
                // memory than all the system calls for those who ask.
                let from = self.slots.connection(conn).and_then(|asker| asker.peer_ip());
                match desk.receive(self.now, from, ticket, &question) {
                    Reception::Call(call) => pool.ask(call, question),
                    Reception::Joined => {}
                    Reception::Refused(status, why) => {
                        let mut body = Vec::new();
                        render::failure(status, why, &mut body);
                        self.mailbox.push_back(Mail::Answered { ticket, body: body.into() });
                        return;
                    }
                }
            }
        }
        let timer = Timer::Answer { ticket };
        self.wheel.start(self.now.monotonic + patience, Due::Core(timer));
    }

    /// Many wakes may have become one event: takes all that lies there.
    pub(super) fn pick_up_results(&mut self) {
        while let Some(finished) = self.results.next() {
            match finished {
                Finished::Places { call, told, body } => self.call_finished(call, told, body),
                Finished::Atlas(loaded) => self.atlas_loaded(*loaded),
                Finished::Resolved { peer, addresses } => match addresses {
                    Ok(addresses) => match self.routes.resolved(peer, addresses) {
                        Some(address) => self.connect(peer, address),
                        None => self.dial_failed(peer, "its name has no address"),
                    },
                    Err(error) => self.dial_failed(peer, &error.to_string()),
                },
            }
        }
        self.empty_mailbox();
    }

    /// One answer for everybody who asked the same.
    fn call_finished(&mut self, call: CallId, told: Told, body: Vec<u8>) {
        let Answerer::Remote { desk, .. } = &mut self.places.source else { return };
        let has_answered = told == Told::Answer;
        let body: Rc<[u8]> = body.into();
        for ticket in desk.finished(self.now.monotonic, call, has_answered) {
            self.mailbox.push_back(Mail::Answered { ticket, body: body.clone() });
        }
    }

    fn atlas_loaded(&mut self, loaded: Result<Atlas, String>) {
        let source = match loaded {
            Ok(atlas) => {
                info!("the atlas is open: {} places", atlas.len());
                Answerer::Atlas(Box::new(atlas))
            }
            Err(why) => {
                error!("the atlas cannot be opened: {why}");
                Answerer::Nobody(why)
            }
        };
        if let Answerer::Unpacking(early) = std::mem::replace(&mut self.places.source, source) {
            let asked = |(ticket, question)| Mail::Asked { ticket, question };
            self.mailbox.extend(early.into_iter().map(asked));
        }
    }

    pub(super) fn dial(&mut self, peer: PeerId) {
        match self.routes.next(peer) {
            Route::Connect(address) => self.connect(peer, address),
            Route::Resolve(address) => {
                if let Err(error) = self.postbox.resolve(peer, address) {
                    self.dial_failed(peer, &error.to_string());
                }
            }
        }
    }

    fn connect(&mut self, peer: PeerId, address: SocketAddr) {
        let door = match self.config.peers[usize::from(peer.0)].kind {
            LinkKind::Herd => Door::Peer,
            LinkKind::Plain => Door::Plain,
        };
        let stream = match TcpStream::connect(address) {
            Ok(stream) => stream,
            Err(error) => return self.dial_failed(peer, &error.to_string()),
        };
        // Reports are small and must not wait for each other (tcp(7), TCP_NODELAY).
        let _ = stream.set_nodelay(true);
        let phase = Phase::Connecting { peer };
        let now = self.moment();
        match self.slots.admit(door, |id| Connection::tcp(id, stream, phase, now)) {
            Some(conn) if self.register(conn) => debug!("{conn} dials {address}"),
            _ => self.dial_failed(peer, "this server has no place left"),
        }
    }

    /// Says whether the connection is more than a dial. A dial that is through becomes one here.
    pub(super) fn is_dialled(&mut self, conn: ConnId) -> bool {
        let now = self.moment();
        let Some(connection) = self.slots.connection(conn) else { return false };
        let Phase::Connecting { peer } = connection.phase() else { return true };
        match connection.dialled() {
            Ok(true) => {
                connection.open(now);
                self.mailbox.push_back(Mail::Connected { peer, conn });
                self.empty_mailbox();
                true
            }
            Ok(false) => false,
            Err(error) => {
                self.dial_over(conn, peer, &error.to_string());
                false
            }
        }
    }

    /// A dial under way has come to nothing.
    pub(super) fn dial_over(&mut self, conn: ConnId, peer: PeerId, why: &str) {
        self.slots.kill(conn);
        self.dial_failed(peer, why);
        self.empty_mailbox();
    }

    fn dial_failed(&mut self, peer: PeerId, why: &str) {
        let address = self.routes.address(peer);
        debug!("cannot reach {} at {address}: {why}", self.config.peers[usize::from(peer.0)].name);
        self.mailbox.push_back(Mail::DialFailed { peer });
    }
}
