//! What must be true of a herd, seen from outside. Apart from `world`, which moves the bytes and
//! the time, because these are the promises: they should be readable without knowing how a jar
//! works.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::hash::Hasher;

use herd::core::names::PeerId;
use herd::core::store::{Store, rank};
use herd::core::{LinkState, Server};
use siphasher::sip::SipHasher13;

use super::talker::{Talker, report};
use super::wire::At;

/// Everything that happened, as one number: the same seed must give the same.
#[derive(Default)]
pub struct Trace {
    hash: SipHasher13,
}

impl Trace {
    pub fn note(&mut self, now_nanos: u128, what: &str, at: (usize, usize), bytes: &[u8]) {
        self.hash.write_u128(now_nanos);
        self.hash.write(what.as_bytes());
        self.hash.write_usize(at.0);
        self.hash.write_usize(at.1);
        self.hash.write_usize(bytes.len());
        self.hash.write(bytes);
    }

    pub fn hash(&self) -> u64 {
        self.hash.finish()
    }
}

/// The AT lines that servers tell each other.
#[derive(Default)]
pub struct Tellings {
    /// Unfinished lines.
    partial: BTreeMap<(usize, usize), Vec<u8>>,
    /// How often each was told at all.
    pub lines: BTreeMap<Vec<u8>, usize>,
}

impl Tellings {
    /// Bytes that leave this end.
    pub fn sent(&mut self, from: At, bytes: &[u8]) {
        let key = (from.wire, from.end);
        let partial = self.partial.entry(key).or_default();
        partial.extend_from_slice(bytes);
        let Some(last) = memchr::memrchr(b'\n', partial) else { return };
        let rest = partial.split_off(last + 1);
        let whole = std::mem::replace(partial, rest);
        for line in whole.split_inclusive(|&byte| byte == b'\n') {
            if !line.starts_with(b"AT ") {
                continue;
            }
            *self.lines.entry(line.to_vec()).or_default() += 1;
        }
    }
}

/// All AT lines of a store, in an order of their own.
pub fn lines_of(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    for report in store.reports() {
        let mut line = Vec::new();
        report.write_line(&mut line);
        lines.push(String::from_utf8(line).unwrap());
    }
    lines.sort();
    assert_eq!(lines.len(), store.len(), "a walk over a store at rest meets every client once");
    lines
}

/// What must be true of a server once the herd has been left in peace.
pub fn is_at_rest(name: &str, server: &Server, peers: usize) {
    for peer in 0..peers {
        let view = server.peer(PeerId(peer as u16));
        assert_eq!(view.state, LinkState::Up, "peer {peer} of {name} was not joined again");
    }
    assert_eq!(server.questions_waiting(), 0, "{name} still waits for places");
}

/// Two servers hold the same.
pub fn agree((one, ones): (&str, &[String]), (other, others): (&str, &[String])) {
    let only = |these: &[String], those: &[String]| -> Vec<String> {
        let missing = these.iter().filter(|line| those.binary_search(line).is_err());
        missing.map(|line| line.chars().take(80).collect()).collect()
    };
    let (ones, others) = (only(ones, others), only(others, ones));
    let same = ones.is_empty() && others.is_empty();
    assert!(same, "only {one} holds {ones:#?}, only {other} holds {others:#?}");
}

/// No report was invented, and none that a client was told of was lost.
pub fn is_faithful(lines: &[String], talkers: &[Talker], nothing_lost: bool) {
    let held: BTreeMap<_, _> = lines.iter().map(|line| (report(line).client, line)).collect();
    let acknowledged = || talkers.iter().flat_map(|talker| &talker.acknowledged);
    for line in acknowledged().filter(|_| nothing_lost) {
        let Some(held) = held.get(report(line).client) else { panic!("lost: {line}") };
        let older = rank(&report(held), &report(line)) == Ordering::Less;
        assert!(!older, "{held} is held where {line} was acknowledged");
    }
}
