//! Course servers as peers: they know nothing of greetings or links that stay open, only the AT
//! line, one connection for each. Apart because none of `peers`' states fit them, and because a
//! herd that has none can forget this file.
//!
//! In use, a report is news, and a connection is opened to tell it; while it is opened, more news
//! may come. What waits are the names of clients, not lines: when a connection is there, it gets
//! the newest report of the next client, and a client that moved ten times meanwhile is told
//! once.
//!
//! The course leaves it open how servers spell what they tell each other, so each peer has a
//! [`Frame`] of its own. What comes from them is taken on the client port, as an AT line or as a
//! peer spells it, if it names a server of the configuration; words behind the report are who sent
//! it or who has seen it, and only the last of them matters.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::course_frame::Frame;
use crate::Server;
use crate::border::{Note, Output, Outputs, Timer};
use crate::clock::{Now, PosixTime};
use crate::names::{ConnId, PeerId};
use crate::reports::flood::ReportLine;
use crate::store::Verdict;
use crate::wire::{FIELDS_MAX, Report, is_space};

/// Connections to one course server at a time.
const CONNECTIONS_MAX: usize = 8;
/// Clients whose news may wait for a course server that cannot be reached. The course does not
/// ask that it hears what it missed; this is enough for a restart.
const WAITING_MAX: usize = 10_000;

/// Clients of which is remembered that the peer was put right about them.
const PUT_RIGHT_MAX: usize = 10_000;

pub(crate) struct PlainPeer {
    frame: Frame,
    /// Clients with news for this peer, in the order of the first.
    waiting: VecDeque<Box<[u8]>>,
    /// The same names, to find them.
    names: BTreeSet<Box<[u8]>>,
    dials: usize,
    connections: Vec<ConnId>,
    /// Failed dials in a row; while it is not 0, a timer will dial again.
    failures: u32,
    overflowed: bool,
    /// The stamps of what it was sent because it had told something older. It may never take
    /// that, and so hears of each only once.
    put_right: BTreeMap<Box<[u8]>, PosixTime>,
}

/// Where a client waits for its report to be told.
pub(crate) enum Place {
    AsBefore,
    Last,
    /// There are too many.
    None,
}

impl PlainPeer {
    pub fn new(frame: Frame) -> PlainPeer {
        PlainPeer {
            frame,
            waiting: VecDeque::new(),
            names: BTreeSet::new(),
            dials: 0,
            connections: Vec::new(),
            failures: 0,
            overflowed: false,
            put_right: BTreeMap::new(),
        }
    }

    pub fn frame(&self) -> &Frame {
        &self.frame
    }

    /// It has sent a report of this client, and something with this stamp is newer.
    fn put_right(&mut self, peer: PeerId, client: &[u8], stamp: PosixTime, out: &mut Outputs) {
        if self.put_right.get(client) == Some(&stamp) {
            return;
        }
        if self.put_right.len() == PUT_RIGHT_MAX {
            self.put_right.clear();
        }
        self.put_right.insert(client.into(), stamp);
        let place = self.queue(client);
        self.queued(peer, place, out);
    }

    /// Has a client wait whose report is news for the peer.
    pub fn queue(&mut self, client: &[u8]) -> Place {
        if self.names.contains(client) {
            Place::AsBefore
        } else if self.waiting.len() == WAITING_MAX {
            Place::None
        } else {
            self.names.insert(client.into());
            self.waiting.push_back(client.into());
            Place::Last
        }
    }

    /// Does what a client that was queued asks for. Apart, for its name may lie in the outputs.
    pub fn queued(&mut self, peer: PeerId, place: Place, out: &mut Outputs) {
        match place {
            Place::Last if self.failures == 0 => self.dial_more(peer, out),
            Place::None => {
                if !self.overflowed {
                    out.note(Note::PlainOverflow { peer });
                }
                self.overflowed = true;
            }
            Place::Last | Place::AsBefore => {}
        }
    }

    fn dial_more(&mut self, peer: PeerId, out: &mut Outputs) {
        let in_use = |plain: &PlainPeer| plain.dials + plain.connections.len();
        while in_use(self) < CONNECTIONS_MAX && self.dials < self.waiting.len() {
            self.dials += 1;
            out.push(Output::Dial { peer });
        }
    }

    fn next_client(&mut self) -> Option<Box<[u8]>> {
        let client = self.waiting.pop_front()?;
        self.names.remove(&client);
        Some(client)
    }
}

impl Server {
    /// Handles a line on the client port as a course server's. Says whether it was one: without
    /// course links, none is.
    pub(crate) fn plain_line(&mut self, now: Now, line: &[u8], out: &mut Outputs) -> bool {
        let mut skew = Vec::new();
        let Some((report, behind)) = self.plain_report(line, &mut skew) else { return false };
        let mut words = behind.rsplit(|&byte| is_space(byte));
        let sender = words.find(|word| !word.is_empty());
        let sender = sender.and_then(|name| self.peers.plain_named(name));
        let key = self.store.key(report.client);
        if self.has_expired(&report, now) {
            return true;
        }
        let told = ReportLine::write(&report, out);
        if !self.may_keep(key, told.client, &out.text[told.range()]) {
            out.text.truncate(told.range().start);
            return true;
        }
        if self.accept_report(now, (key, told), sender, out) == Verdict::Stale {
            self.put_right(&report, sender, out);
        }
        true
    }

    /// What a bare AT line reports, or a line as a peer spells it, and what stands behind that.
    /// `skew` is memory for one that has to be calculated.
    fn plain_report<'a>(
        &self,
        line: &'a [u8],
        skew: &'a mut Vec<u8>,
    ) -> Option<(Report<'a>, &'a [u8])> {
        let names = &self.settings.plain_names;
        if names.is_empty() {
            return None;
        }
        let is_known = |report: &Report<'_>| names.iter().any(|name| name == report.server);
        let (fields, behind) = split_behind_fields(line);
        if let Some(report) = Report::of_line(fields).filter(is_known) {
            return Some((report, behind));
        }
        let is_read = |frame: &&Frame| frame.read(line, &mut Vec::new()).is_some();
        let frame = self.peers.frames().find(is_read)?;
        frame.read(line, skew).filter(|(report, _)| is_known(report))
    }

    /// Queues what is newer for a peer that has told something older. A bare line does not say
    /// who sent it; then it may have been any of them.
    fn put_right(&mut self, told: &Report<'_>, sender: Option<PeerId>, out: &mut Outputs) {
        let Some(held) = self.store.find(told.client) else { return };
        if held.stamp == told.stamp {
            // A tie is settled by rules that course servers do not have.
            return;
        }
        for peer in self.peers.ids().filter(|peer| sender.is_none_or(|sender| sender == *peer)) {
            if let Some(plain) = self.peers.plain(peer) {
                plain.put_right(peer, told.client, held.stamp, out);
            }
        }
    }

    pub(crate) fn plain_connected(&mut self, peer: PeerId, conn: ConnId, out: &mut Outputs) {
        let Some(plain) = self.peers.plain(peer) else { return };
        plain.dials -= 1;
        plain.failures = 0;
        plain.overflowed = false;
        plain.connections.push(conn);
        let client = plain.next_client();
        if let Some(report) = client.and_then(|client| self.store.find(&client)) {
            out.say(conn, |text| plain.frame.write(&report, text));
        }
        out.push(Output::Close { conn });
    }

    pub(crate) fn plain_closed(&mut self, conn: ConnId, out: &mut Outputs) {
        for peer in self.peers.ids() {
            let Some(plain) = self.peers.plain(peer) else { continue };
            let before = plain.connections.len();
            plain.connections.retain(|&open| open != conn);
            if plain.connections.len() < before && plain.failures == 0 {
                plain.dial_more(peer, out);
            }
        }
    }

    pub(crate) fn plain_dial_failed(&mut self, peer: PeerId, out: &mut Outputs) {
        let Some(plain) = self.peers.plain(peer) else { return };
        plain.dials -= 1;
        if plain.dials > 0 {
            // The last of those under way speaks for all.
            return;
        }
        if plain.failures == 0 {
            out.note(Note::PeerUnreachable { peer });
        }
        plain.failures += 1;
        let attempt = plain.failures;
        let after = self.backoff(attempt);
        out.push(Output::StartTimer { timer: Timer::Redial { peer, attempt }, after });
    }

    pub(crate) fn plain_redial(&mut self, peer: PeerId, attempt: u32, out: &mut Outputs) {
        let Some(plain) = self.peers.plain(peer) else { return };
        if plain.failures == attempt && plain.dials == 0 {
            // One dial finds out; the others follow when it succeeds.
            plain.dials = 1;
            out.push(Output::Dial { peer });
        }
    }
}

/// As many fields of a line as AT has, and what comes behind them.
fn split_behind_fields(line: &[u8]) -> (&[u8], &[u8]) {
    let (mut ended, mut in_field) = (0, false);
    let is_end = |&byte: &u8| {
        ended += usize::from(in_field && is_space(byte));
        in_field = !is_space(byte);
        ended == FIELDS_MAX
    };
    line.split_at(line.iter().position(is_end).unwrap_or(line.len()))
}
