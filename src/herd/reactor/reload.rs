//! What changes while the loop turns: the configuration is read again, on a thread, and when all of
//! it is right, everything that may change does so between two steps of one turn. A reader of
//! `Reactor::turn` does not meet it.
//!
//! ```text
//!   SIGHUP, `herd reload` ──▶ thread: files, keys, places ──▶ wrong: nothing changes, and why
//!                                                        └──▶ right: core, links, bounds, places
//! ```
//!
//! No connection is closed, but that of a link that was removed, or is by TLS or plain and must not
//! be any more.

use std::io;
use std::sync::Arc;

use super::admin::json_line;
use super::descriptors::Shares;
use super::metrics::PeerCounts;
use super::questions::Places;
use super::start::{open_service, peer_settings, settings};
use super::worker_threads::{CompletionSender, PoolId};
use super::wrapped_links::peer_terms;
use super::{Reactor, StartError};
use crate::config::{Changes, Config, ConfigError, Parsed, Peer};
use crate::logging::LogHandle;
use crate::logging::events::Event;
use crate::places::{Local, Supply};
use crate::status::Outcome;
use crate::tls::{PeerTerms, Terms};
use herd_core::border::Input;
use herd_core::driver::Driver;
use herd_core::names::{ConnId, PeerId};
use herd_core::session::Phase;
use herd_core::{LinkState, PeerSettings};

/// Why a server does not reload that could.
const STOPPING: &str = "this server is stopping";

/// How a server reads its configuration again, and who is told.
pub struct Rereading {
    /// As it was read at the start.
    pub first: Parsed,
    /// Called on a thread.
    pub read: Arc<dyn Fn() -> Result<Parsed, ConfigError> + Send + Sync>,
    /// A reload begins, and is over.
    pub begins: fn(),
    pub is_over: fn(),
}

/// Reloads of this process.
pub struct Reload {
    ways: Rereading,
    /// As it was read last.
    last: Parsed,
    /// What runs. Its peers are as they are written; the loop's are in the order of their names.
    running: Parsed,
    /// How often it was read; names pools of threads.
    count: PoolId,
    /// Who waits for what comes of the reload that is under way.
    asking: Vec<ConnId>,
    is_under_way: bool,
    /// Who came since: files may have changed after they were read, so it is done again.
    next: Vec<ConnId>,
    is_wanted_again: bool,
    /// What came of the last one.
    done: Result<String, String>,
    success_posix_s: u64,
}

/// What a thread has read, and what it has made ready.
pub struct Reread {
    read: Parsed,
    /// What runs from now on.
    wanted: Parsed,
    shares: Shares,
    /// What new connections by TLS rest on, if any may come.
    terms: Option<Terms>,
    /// What links by TLS rest on, if there may be any.
    peer_terms: Option<PeerTerms>,
    /// Another source of places, or the same file read again.
    places: Option<Places>,
}

/// What the thread is given.
struct Reader {
    read: Arc<dyn Fn() -> Result<Parsed, ConfigError> + Send + Sync>,
    running: Parsed,
    pool: PoolId,
    terms: Option<Terms>,
    log: LogHandle,
    completion_sender: CompletionSender,
}

impl Reader {
    /// # Errors
    /// One sentence that names the thing.
    fn read(&self) -> Result<Reread, String> {
        let read = (self.read)().map_err(|error| error.to_string())?;
        let wanted = read.clone().beside(&self.running).map_err(|error| error.to_string())?;
        let shares = Shares::claim(&wanted.config).map_err(|error| error.to_string())?;
        self.log.prepare(wanted.config.log.level).map_err(|error| error.to_string())?;
        let terms = match &wanted.config.tls {
            None => None,
            Some(door) => {
                let read = Terms::read(&door.files, self.terms.as_ref());
                Some(read.map_err(|error| error.to_string())?)
            }
        };
        let places = self.places(&wanted.config)?;
        let peer_terms = peer_terms(&wanted.config);
        Ok(Reread { read, wanted, shares, terms, peer_terms, places })
    }

    /// `None` if what answers now goes on: the atlas never changes, and a service that is asked as
    /// before remembers what it has answered.
    fn places(&self, config: &Config) -> Result<Option<Places>, String> {
        let (old, new) = (&self.running.config.places, &config.places);
        let name = new.source.name();
        match Supply::of(new).map_err(|error| error.to_string())? {
            Supply::Local(Local::Atlas) if old.source == new.source => Ok(None),
            Supply::Local(local) => {
                let loaded = local.load()?;
                Ok(Some(Places::loaded(name, local, loaded)))
            }
            Supply::Remote(_) if old == new => Ok(None),
            Supply::Remote(remote) => {
                let opened = open_service(config, self.pool, remote, &self.completion_sender);
                opened.map(Some).map_err(|error| no_thread(&error))
            }
        }
    }
}

fn no_thread(error: &io::Error) -> String {
    StartError::System("a thread", io::Error::other(error.to_string())).to_string()
}

impl Reactor {
    /// Has the configuration read again, when that is asked for.
    pub fn when_reloading(&mut self, ways: Rereading) {
        let first = ways.first.clone();
        self.reload = Some(Box::new(Reload {
            ways,
            last: first.clone(),
            running: Parsed { config: self.config.clone(), ..first },
            count: 0,
            asking: Vec::new(),
            is_under_way: false,
            next: Vec::new(),
            is_wanted_again: false,
            done: Ok(String::new()),
            success_posix_s: self.clocks.born_posix_s,
        }));
    }

    /// Reads the configuration again, once more if that is under way. `asker` is told what comes of
    /// it.
    pub(super) fn begin_reload(&mut self, asker: Option<ConnId>) {
        if let Some(session) = asker.and_then(|conn| self.slots.session(conn)) {
            // It waits for us, however long a disk takes.
            session.flags.paused = true;
        }
        let is_draining = self.is_draining();
        let Some(reload) = self.reload.as_mut().filter(|_| !is_draining) else {
            return self.answer_reload(asker, &Err(STOPPING.to_owned()));
        };
        if reload.is_under_way {
            reload.is_wanted_again = true;
            reload.next.extend(asker);
            return;
        }
        reload.asking.extend(asker);
        self.read_again();
    }

    fn read_again(&mut self) {
        let Some(reload) = &mut self.reload else { return };
        reload.is_under_way = true;
        reload.count += 1;
        (reload.ways.begins)();
        let reader = Reader {
            read: Arc::clone(&reload.ways.read),
            running: reload.running.clone(),
            pool: reload.count,
            terms: self.wrapping.terms.clone(),
            log: self.log.clone(),
            completion_sender: self.completion_sender.clone(),
        };
        if let Err(error) = self.completion_sender.reread(move || reader.read()) {
            self.reread(Err(no_thread(&error)));
        }
    }

    /// A thread has read the configuration.
    pub(super) fn reread(&mut self, reread: Result<Reread, String>) {
        let done = match reread {
            Ok(_) if self.is_draining() => Err(STOPPING.to_owned()),
            reread => reread.map(|reread| self.take_over(reread)),
        };
        match &done {
            Ok(changes) => Event::Reloaded { changes }.log(),
            Err(error) => Event::ReloadRefused { error }.log(),
        }
        let Some(reload) = &mut self.reload else { return };
        reload.done.clone_from(&done);
        if done.is_ok() {
            reload.success_posix_s = self.now.posix.whole_seconds();
        }
        (reload.ways.is_over)();
        reload.is_under_way = false;
        let asking = std::mem::replace(&mut reload.asking, std::mem::take(&mut reload.next));
        let is_wanted_again = std::mem::take(&mut reload.is_wanted_again);
        asking.into_iter().for_each(|conn| self.answer_reload(Some(conn), &done));
        if is_wanted_again {
            self.read_again();
        }
    }

    fn answer_reload(&mut self, asker: Option<ConnId>, done: &Result<String, String>) {
        let Some(conn) = asker else { return };
        let outcome = match done.clone() {
            Ok(changes) => Outcome::Done(changes),
            Err(error) => Outcome::Refused(error),
        };
        self.send(conn, &json_line(&outcome));
        self.close_when_sent(conn);
    }

    /// All that may change does so. Says what has changed since the configuration was last read,
    /// and what waits for a restart.
    fn take_over(&mut self, reread: Reread) -> String {
        let Reread { read, wanted, shares, terms, peer_terms, places } = reread;
        let Some(mut reload) = self.reload.take() else { return String::new() };
        let mut changes = Changes::between(&reload.last, &read);
        changes.restart = Changes::between(&wanted, &read).restart;
        let mut sentence = changes.to_string();
        let peers = std::mem::take(&mut self.config.peers);
        self.config = Config { peers, ..wanted.config.clone() };
        if changes.live.contains(&"log.level") {
            self.reload_log_level(self.config.log.level);
        }
        self.shares = shares;
        self.newcomers.change(self.now.monotonic, &self.config.limits);
        self.tell_changes(shares);
        self.change_links(&wanted.config.peers);
        if let Some(terms) = terms {
            self.take_terms(terms);
        }
        self.take_peer_terms(peer_terms);
        if let Some(places) = places {
            self.change_places(places);
            sentence += &format!("; places: {}", self.places.describe(self.now));
        }
        self.look_at_all();
        (reload.last, reload.running) = (read, wanted);
        self.reload = Some(reload);
        sentence
    }

    fn tell_changes(&mut self, shares: Shares) {
        // It fails if the system has no random numbers, and had some at the start.
        if let Ok(settings) = settings(&self.config, shares) {
            self.tell(Input::Changed { settings: &settings });
        }
    }

    /// Links that are new, gone, or dialled otherwise.
    fn change_links(&mut self, wanted: &[Peer]) {
        for at in 0..self.config.peers.len() {
            let (peer, old) = (PeerId(at as u16), self.config.peers[at].clone());
            let new = wanted.iter().find(|new| new.name == old.name);
            let is_there = self.server.peer(peer).state != LinkState::Removed;
            let is_other = |new: &Peer| (new.kind, &new.shape) != (old.kind, &old.shape);
            if is_there && new.is_none_or(is_other) {
                self.remove_link(peer);
            }
            if let Some(new) = new.filter(|new| **new != old || !is_there) {
                self.configure_link(peer, new);
            }
        }
        for new in wanted {
            if self.config.peers.iter().all(|peer| peer.name != new.name) {
                self.configure_link(PeerId(self.config.peers.len() as u16), new);
            }
        }
    }

    fn configure_link(&mut self, peer: PeerId, new: &Peer) {
        match self.config.peers.get_mut(usize::from(peer.0)) {
            Some(old) => old.clone_from(new),
            None => {
                self.config.peers.push(new.clone());
                self.counts.peers.push(PeerCounts::default());
            }
        }
        self.routes.set(peer, new.address.clone());
        let settings: PeerSettings = peer_settings(&self.config, new);
        self.tell(Input::PeerConfigured { peer, settings: &settings });
    }

    fn remove_link(&mut self, peer: PeerId) {
        self.routes.forget(peer);
        for conn in self.slots.names() {
            let session = self.slots.session(conn);
            let phase = session.map(|session| session.phase());
            if matches!(phase, Some(Phase::Connecting { peer: dialled }) if dialled == peer) {
                self.slots.kill(conn);
            }
        }
        self.tell(Input::PeerRemoved { peer });
    }

    /// Connections are looked at under the new bounds: they may be over time, or have room again.
    fn look_at_all(&mut self) {
        for conn in self.slots.names() {
            self.check_deadline(conn);
            self.queue_if_unfinished(conn);
        }
        for conn in self.slots.names() {
            self.asked.call(conn);
        }
        self.open_doors_again();
        self.tell_deferred();
    }

    /// Whether the configuration was right when it was last read, and when it last was.
    pub(super) fn last_reload(&self) -> (bool, u64) {
        match &self.reload {
            Some(reload) => (reload.done.is_ok(), reload.success_posix_s),
            None => (true, self.clocks.born_posix_s),
        }
    }

    /// Whether a thread is reading the configuration.
    pub(super) fn is_reloading(&self) -> bool {
        self.reload.as_ref().is_some_and(|reload| reload.is_under_way)
    }

    /// What has changed since the start, and is not in force.
    pub(super) fn pending_restart(&self) -> Vec<&'static str> {
        let pending = |reload: &Reload| Changes::between(&reload.running, &reload.last).restart;
        self.reload.as_deref().map_or_else(Vec::new, pending)
    }

    /// Of what runs, as if it had been started so.
    pub(super) fn fingerprint(&self) -> String {
        match &self.reload {
            Some(reload) => reload.running.config.fingerprint(),
            None => self.config.fingerprint(),
        }
    }
}

#[cfg(test)]
mod tests;
