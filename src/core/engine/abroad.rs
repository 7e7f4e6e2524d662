//! Regions: servers that are far from each other, on clusters of NATS that leaf nodes join. News
//! stays in its region; others are told that a client is here now, and ask. Apart because a herd
//! in one place has no regions.
//!
//! ```text
//!   region eu: Anna, Bert                         region us: Cleo, Dora
//!   AT … kiwi …  ▶ herd.ID.eu.r.0                 hear nothing of that
//!   AT Anna … kiwi … ────▶ herd.ID.x.0 ─────────▶ keep it as they keep any report
//!                                                 WHATSAT kiwi: held is what Anna has said first
//!     ◀──────── herd.ID.eu.q.0 ◀──────────────── ASK … kiwi
//!   FOUND … AT Anna … ───▶ herd.ID.us.s.Dora ───▶ the newest that is known in eu
//! ```
//!
//! What crosses is a report like any other. It ranks above what was known of the client before, so
//! each region knows the same by the order that all reports have, and its servers compare it as
//! they compare everything. The server that a report names says which region to ask.
//!
//! A server tells other regions a client's report at once when it is the first that it hears of the
//! client, or the first since another region has told one. And each `tell_every` it tells them once
//! more all that its own clients have said last: so nothing needs to be acknowledged, and what was
//! lost on the way, the end of a client among it, is late and not lost.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use super::batch::NotBelieved;
use super::incoming::lines_of;
use super::members::Member;
use super::outbox::Outboxes;
use super::outgoing::{PIECE_BYTES, WALK_MAX};
use super::{Engine, EngineSettings, Region};
use crate::Server;
use crate::border::Outputs;
use crate::clock::Now;
use crate::names::PeerId;
use crate::peers::missed::Missed;
use crate::reports::erasing::is_of_erasure;
use crate::reports::flood::ReportLine;
use crate::store::digest::Node;
use crate::store::{Key, Span};
use crate::wire::Report;
use crate::wire::peer_command::PeerLine;

/// The level of the digest whose nodes are the steps of a round, and how many those are.
const LEVEL: usize = 1;
const STEPS: usize = 32;

/// What a server knows of other regions.
pub(super) struct Abroad {
    regions: Vec<Region>,
    /// How AT lines begin that name this server.
    ours: Vec<u8>,
    /// What the subjects of all regions begin with, and a dot.
    prefix: Vec<u8>,
    /// What is told to all of them.
    pub outboxes: Outboxes,
    /// Clients of ours that others know to be here, and those of the round before: a client is in
    /// one of them at least as long as a round takes.
    known: [BTreeSet<u64>; 2],
    /// What they are still to be told.
    missed: Missed,
    sending: Option<Span>,
    /// The next step of the round, and when it is due.
    step: usize,
    at: Option<Duration>,
    every: Duration,
    /// Answers to other regions, which are numbered as all batches are.
    answers: u64,
}

impl Abroad {
    /// None for a herd without regions. `prefix` is what all its subjects begin with.
    pub fn new(settings: &EngineSettings, us: &[u8], prefix: &[u8]) -> Option<Abroad> {
        let prefix = [prefix, b"."].concat();
        settings.region.as_ref().map(|_| Abroad {
            regions: settings.regions.clone(),
            outboxes: Outboxes::new(&[&prefix[..], b"x."].concat(), settings.parts.count()),
            ours: [b"AT ", us, b" "].concat(),
            prefix,
            known: Default::default(),
            missed: Missed::nothing(),
            sending: None,
            step: 0,
            at: None,
            every: settings.tell_every / STEPS as u32,
            answers: 0,
        })
    }

    /// Where something is published for one region: `last` are the last tokens of the subject.
    pub fn subject(&self, region: usize, last: &[&[u8]]) -> Vec<u8> {
        let name = &self.regions[region].name;
        [&self.prefix[..], name, b".", &last.join(&b'.')].concat()
    }

    /// Where the others hear what is told to all of them.
    pub fn heard_at(&self) -> Vec<u8> {
        [&self.prefix[..], b"x.*"].concat()
    }

    /// The names of a region's servers.
    pub fn servers(&self, region: usize) -> Vec<Vec<u8>> {
        self.regions[region].servers.clone()
    }

    /// How many other regions there are.
    pub fn len(&self) -> usize {
        self.regions.len()
    }

    /// The region that a server is in, if it is another one than ours.
    pub fn region_of(&self, server: &[u8]) -> Option<usize> {
        self.regions.iter().position(|region| region.has(server))
    }

    fn is_told(&self, subject: &[u8]) -> bool {
        subject.strip_prefix(&self.prefix[..]).is_some_and(|rest| rest.starts_with(b"x."))
    }

    /// Whether a client of ours is not known yet to be here. It is from now on.
    fn is_unknown(&mut self, key: Key) -> bool {
        let [now, before] = &mut self.known;
        now.insert(key.to_number()) && !before.contains(&key.to_number())
    }

    /// A client is somewhere else now.
    fn forget(&mut self, key: Key) {
        self.known.iter_mut().for_each(|known| _ = known.remove(&key.to_number()));
    }

    /// When more is to be told, if anything.
    pub fn next_due(&self) -> Option<Duration> {
        self.at
    }

    /// Whether there is anything to be told.
    pub fn is_behind(&self) -> bool {
        self.sending.is_some() || !self.missed.is_empty()
    }

    /// The connection is over. What was not read is told with all the rest when it is up again.
    pub fn lost(&mut self) {
        self.outboxes.clear();
        (self.missed, self.sending, self.at) = (Missed::nothing(), None, None);
    }

    /// Takes the part of the store that others are told next, if that is due.
    fn take_step(&mut self, now: Now) -> Option<Node> {
        self.at.take_if(|at| now.monotonic >= *at)?;
        self.at = Some(now.monotonic + self.every);
        self.step = (self.step + 1) % STEPS;
        if self.step == 0 {
            self.known.swap(0, 1);
            self.known[0].clear();
        }
        Node::new(LEVEL, self.step)
    }
}

/// Whether somebody else tells of the clients of this server: itself, or who hears it first here.
pub(super) fn is_anothers((members, abroad): (&[Member], Option<&Abroad>), server: &[u8]) -> bool {
    let is_abroad = |abroad: &Abroad| abroad.region_of(server).is_some();
    members.iter().any(|member| *member.name == *server) || abroad.is_some_and(is_abroad)
}

impl Engine {
    /// There is news of a client of ours: other regions hear of it, unless they know that it is
    /// here.
    pub(super) fn flood_abroad(&mut self, key: Key, line: Range<usize>, out: &mut Outputs) {
        let has_room = self.up().is_some() && self.has_room_for(line.len());
        let part = self.settings.parts.of(key.leaf());
        let Some(abroad) = &mut self.abroad else { return };
        let line = &out.text[line];
        let Some(rest) = line.strip_prefix(&abroad.ours[..]) else { return };
        if !has_room {
            abroad.missed.add(key);
        } else if abroad.is_unknown(key) || is_of_erasure(rest) {
            self.counters.abroad[0] += 1;
            let bytes = abroad.outboxes.write(part, |lines| lines.extend_from_slice(line));
            if bytes >= self.settings.batch_bytes_max {
                self.publish_abroad(out);
            }
        }
    }

    /// Publishes what was news in this turn for other regions.
    pub(super) fn publish_abroad(&mut self, out: &mut Outputs) {
        while let Some(abroad) = &mut self.abroad
            && let Some(part) = abroad.outboxes.any_filled()
        {
            let batch = abroad.outboxes.take(part);
            self.put(&batch.subject, batch.number, &batch.lines, out);
            if let Some(abroad) = &mut self.abroad {
                abroad.outboxes.give_back(batch);
            }
        }
    }

    /// Which region is asked about a client of which this is the best report so far: the one that
    /// it names, or if there is none, each in turn.
    pub(super) fn region_to_ask(
        &self,
        best: Option<&Report<'_>>,
        asked: &[usize],
    ) -> Option<usize> {
        let abroad = self.abroad.as_ref()?;
        match best {
            Some(best) => abroad.region_of(best.server).filter(|region| !asked.contains(region)),
            None => (0..abroad.len()).find(|region| !asked.contains(region)),
        }
    }

    /// The region that a server is in, if it is another one than ours.
    pub(super) fn region_of(&self, server: &[u8]) -> Option<usize> {
        self.abroad.as_ref().and_then(|abroad| abroad.region_of(server))
    }

    /// Tells a server of another region what it has asked.
    pub(super) fn answer_abroad(
        &mut self,
        (region, name): (usize, &[u8]),
        lines: &[u8],
        out: &mut Outputs,
    ) {
        let has_room = self.has_room_for(lines.len());
        let Some(abroad) = self.abroad.as_mut().filter(|_| has_room) else { return };
        abroad.answers += 1;
        let (subject, number) = (abroad.subject(region, &[b"s", name]), abroad.answers);
        self.put(&subject, number, lines, out);
    }
}

impl Server {
    /// The connection is up: other regions are told all that our clients have said last.
    pub(super) fn begin_abroad(&mut self, now: Now, engine: &mut Engine) {
        let Some(abroad) = &mut engine.abroad else { return };
        abroad.at = Some(now.monotonic + abroad.every);
        self.store.digest().filled(Node::ROOT).for_each(|leaf| abroad.missed.add_leaf(leaf));
    }

    /// Looks whether a piece of the store is to be told again.
    pub(super) fn go_on_abroad(&mut self, now: Now, engine: &mut Engine, out: &mut Outputs) {
        let Some(abroad) = &mut engine.abroad else { return };
        let Some(node) = abroad.take_step(now) else { return };
        self.store.digest().filled(node).for_each(|leaf| abroad.missed.add_leaf(leaf));
        engine.ask_flushed(out);
    }

    /// Tells other regions the next of what they are to be told.
    pub(super) fn say_abroad(&mut self, engine: &mut Engine, until: u64, out: &mut Outputs) {
        let mut walked = 0;
        while engine.has_room() && engine.sent < until && walked < WALK_MAX {
            let Some(abroad) = &mut engine.abroad else { return };
            let Some(span) = abroad.sending.take().or_else(|| abroad.missed.take()) else { break };
            let (part, mut bytes) = (engine.settings.parts.of(span.leaf()), 0);
            let name = &self.settings.name[..];
            abroad.sending = self.store.visit_span(span, |record| {
                let report = record.report();
                walked += 1;
                if report.server == name {
                    engine.counters.abroad[0] += 1;
                    abroad.known[0].insert(self.store.key(report.client).to_number());
                    bytes = abroad.outboxes.write(part, |lines| report.write_line(lines));
                }
                bytes >= PIECE_BYTES.min(engine.settings.batch_bytes_max) || walked >= WALK_MAX
            });
            engine.publish_abroad(out);
        }
        self.counters.walked += walked as u64;
    }

    /// A batch has come that is for all regions, if the subject says so.
    pub(super) fn hear_abroad(
        &mut self,
        now: Now,
        (peer, engine): (PeerId, &mut Engine),
        (subject, payload): (&[u8], &[u8]),
        out: &mut Outputs,
    ) -> Option<Result<(), NotBelieved>> {
        engine.abroad.as_ref().filter(|abroad| abroad.is_told(subject))?;
        let (head, lines) = match engine.keys.open(subject, payload) {
            Ok(batch) => batch,
            Err(why) => return Some(Err(why)),
        };
        // What is told in our own region, all who want it have heard.
        if *head.sender == *self.settings.name
            || engine.members.iter().any(|member| *member.name == *head.sender)
        {
            return Some(Ok(()));
        }
        let Some(region) = engine.region_of(head.sender) else {
            return Some(Err(NotBelieved::Foreign));
        };
        for line in lines_of(lines) {
            let PeerLine::At(report) = PeerLine::parse(line) else { continue };
            engine.counters.abroad[1] += 1;
            let key = self.store.key(report.client);
            let part = engine.settings.parts.of(key.leaf());
            let is_wanted =
                engine.held.binary_search(&part).is_ok() || self.store.newest_of(key).is_some();
            if engine.region_of(report.server) != Some(region)
                || !is_wanted
                || !self.may_hear(&report, now)
            {
                continue;
            }
            let told = ReportLine::write(&report, out);
            if self.accept_report(now, (key, told), Some(peer), out).is_news()
                && let Some(abroad) = &mut engine.abroad
            {
                abroad.forget(key);
            }
        }
        Some(Ok(()))
    }
}
