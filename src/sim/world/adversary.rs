//! What attackers do to a herd: strangers repeat what servers have said, pretend to be servers, or
//! change what a link carries. In `inject` no one means any harm. The strangers know everything but
//! the keys.

use super::World;
use crate::faults::{Fault, Faults};
use crate::invariants::Violation;
use crate::scenario::Keys;
use crate::wire::{At, Party};
use herd_core::border::Note;
use herd_core::names::{ConnId, ConnKind, PeerId};

/// What strangers remember of a link.
const TAPE_BYTES_MAX: usize = 16 * 1024;
/// A report that no client has made.
const FORGED: &str = "+0.000000000 forged +1.5-1.5 3000";

/// What ends a link only if its far end is no server of ours.
const BREACHES: [&str; 3] = [
    "it does not speak our language",
    "a line of it is not sealed as it should be",
    "a line of it is too long",
];

impl World {
    /// Whether a server may think so of the far end.
    pub(super) fn is_fair(&self, server: usize, note: Note) -> bool {
        let wire = |conn: ConnId| &self.wires[At::of(conn).wire];
        match note {
            Note::Refused { why: "its link was removed", .. } => self.has_removed(server),
            Note::Refused { conn, why } => why == "no greeting in time" || wire(conn).is_forged,
            Note::PeerDown { conn, why, .. } => !BREACHES.contains(&why) || wire(conn).is_forged,
            Note::PeerUp { conn, .. } if conn.kind() == ConnKind::Engine => true,
            Note::PeerUp { peer, conn } => {
                let far = At::of(conn).far();
                let (named, _) = self.seats[server].peers[usize::from(peer.0)];
                let far_end = wire(conn).ends[far.end].party;
                matches!(far_end, Party::Server { server, .. } if server == named)
            }
            _ => true,
        }
    }

    /// Strangers listen to what diallers say.
    pub(super) fn listen(&mut self, at: At, bytes: &[u8]) {
        let listeners = Faults::of(&[Fault::Replay, Fault::Forge]);
        let wire = &mut self.wires[at.wire];
        let room = TAPE_BYTES_MAX.saturating_sub(wire.tape.len());
        if at.end == 1 && wire.is_link() && !self.scenario.faults.and(listeners).is_empty() {
            wire.tape.extend_from_slice(&bytes[..room.min(bytes.len())]);
        }
    }

    /// What a dialler has once said, byte for byte, and the server that it dialled.
    fn drawn_tape(&mut self) -> Option<(usize, Vec<u8>)> {
        let taped = |&wire: &usize| !self.wires[wire].tape.is_empty();
        let taped: Vec<usize> = (0..self.wires.len()).filter(taped).collect();
        let wire = &self.wires[*taped.get(self.random.usize(0..taped.len().max(1)))?];
        let Party::Server { server, .. } = wire.ends[1].party else { return None };
        Some((server, wire.tape.clone()))
    }

    /// A stranger says to a server what a peer of it has said to it before.
    pub(super) fn replay(&mut self) -> Result<(), Violation> {
        let Some((server, tape)) = self.drawn_tape() else { return Ok(()) };
        self.row(server, || "hears a stranger say what a peer said before".to_owned());
        self.intrude(server, &tape)
    }

    /// A stranger says to a server that it is one of its peers; without keys it would be accepted,
    /// so there it says something else.
    pub(super) fn forge(&mut self) -> Result<(), Violation> {
        let server = self.random.usize(0..self.seats.len());
        let name = self.seats[server].name.clone();
        let peers = &self.seats[server].peers;
        if peers.is_empty() {
            return Ok(());
        }
        let (peer, _) = peers[self.random.usize(0..peers.len())];
        let peer = self.seats[peer].name.clone();
        let nonce = format!("{:032x}", self.random.u128(..));
        let caps = self.drawn_caps();
        let greeting = match (self.scenario.keys, self.random.u32(0..4)) {
            (Keys::None, 0) => format!("HERD/1 Nobody {name} sim {nonce} {caps}"),
            (Keys::None, 1) => format!("HERD/1 {peer} Nobody sim {nonce} {caps}"),
            (Keys::None, 2) => format!("HERD/1 {peer} {name} another {nonce} {caps}"),
            (Keys::None, _) | (_, 0) => format!("AT {peer} {FORGED}"),
            _ => format!("HERD/1 {peer} {name} sim {nonce} {caps}"),
        };
        let (proof, tag) = (format!("{nonce}{nonce}"), format!("{:032x}", self.random.u128(..)));
        let said = if self.random.bool() {
            format!("{greeting}\nAUTH {proof}\nAT {peer} {FORGED} ~{tag}\nPING 1 ~{tag}\n")
        } else {
            format!("{greeting}\nAT {peer} {FORGED}\nAT {peer} {FORGED} ~{tag}\n")
        };
        self.row(server, || format!("hears a stranger say {greeting}"));
        self.intrude(server, said.as_bytes())
    }

    /// What a stranger says that it knows: nothing, or what it has read a server say of itself.
    fn drawn_caps(&mut self) -> String {
        let heard = self.drawn_tape().map(|(_, tape)| String::from_utf8_lossy(&tape).into_owned());
        let caps = heard.as_deref().and_then(|tape| tape.lines().next()?.split(' ').nth(5));
        match self.random.u32(0..4) {
            0 => "digest:0123456789abcdef".to_owned(),
            _ => caps.unwrap_or("key:00000000").to_owned(),
        }
    }

    /// A stranger connects to a server's peer port and says this.
    fn intrude(&mut self, server: usize, said: &[u8]) -> Result<(), Violation> {
        if self.seats[server].body.is_none() || self.seats[server].is_leaving {
            return Ok(());
        }
        let run = self.seats[server].run;
        let at = self.lay(Party::Stranger, Party::Server { server, run }, false).far();
        self.tell(server, |body| body.accept(at.conn(ConnKind::Peer)))?;
        self.put(at, said);
        self.wires[at.wire].ends[at.end].finished = self.random.bool();
        Ok(())
    }

    /// Whether a stranger answers the next dial.
    pub(super) fn has_impostor(&mut self) -> bool {
        let may_be = self.scenario.faults.has(Fault::Forge) && self.now < self.scenario.peace;
        may_be && self.random.u32(0..4) == 0
    }

    pub(super) fn dial_a_stranger(&mut self, server: usize, peer: PeerId) -> Result<(), Violation> {
        let run = self.seats[server].run;
        let at = self.lay(Party::Server { server, run }, Party::Stranger, false);
        self.row(server, || "dials, and a stranger answers".to_owned());
        self.tell(server, |body| body.connected(peer, at.conn(ConnKind::Peer)))
    }

    /// A stranger was dialled and greeted: it sends the greeting back, or one with the names
    /// swapped, with or without a proof.
    pub(super) fn answer_falsely(&mut self, at: At, piece: &[u8]) -> Result<(), Violation> {
        let heard = String::from_utf8_lossy(piece).into_owned();
        let words: Vec<&str> = heard.split_whitespace().collect();
        let ["HERD/1", from, to, herd, nonce, caps] = words[..] else { return Ok(()) };
        let is_open = self.scenario.keys == Keys::None;
        let answer = match self.random.u32(0..3) {
            0 => heard,
            1 if !is_open => format!("HERD/1 {to} {from} {herd} {nonce} {caps}\n"),
            _ if is_open => format!("HERD/1 {to} {from} not-{herd} {nonce} {caps}\n"),
            _ => format!("HERD/1 {to} {from} {herd} {nonce} {caps} {nonce}{nonce}\n"),
        };
        self.put(at.far(), format!("{answer}AT {FORGED}\n").as_bytes());
        Ok(())
    }

    /// An attacker in the middle changes what is on its way, if one waits for it. Gives what
    /// arrives.
    pub(super) fn meddle_with(&mut self, at: At, bytes: &[u8]) -> Option<Vec<u8>> {
        let wire = &mut self.wires[at.wire];
        if wire.meddler != Some(at.end) || bytes.len() < 2 {
            return None;
        }
        let random = &mut self.random;
        let mut lines: Vec<Vec<u8>> =
            bytes.split_inclusive(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect();
        let line = random.usize(0..lines.len());
        let next = (line + 1) % lines.len();
        let what = random.u32(0..5);
        match what {
            0 => drop(lines.remove(line)),
            1 => lines.insert(line, lines[line].clone()),
            2 if next != line => lines.swap(line, next),
            3 => lines[line].truncate(1),
            _ => {
                let bit = random.usize(0..8 * lines[line].len());
                lines[line][bit / 8] ^= 1 << (bit % 8);
            }
        }
        wire.meddler = None;
        wire.is_forged = true;
        if what == 3 {
            lines.truncate(line + 1);
            self.reset(at.wire);
        }
        Some(lines.concat())
    }
}
