//! Who is there? The first lines on a peer connection, on either side of it. Apart from the rest
//! of a peer's life because this is where a stranger becomes a peer, or does not.
//!
//! ```text
//!   we dial:   HERD/1 us them … ──▶                 we accept:  ◀── HERD/1 them us …
//!              ◀── HERD/1 them us … proof                  HERD/1 us them … proof ──▶
//!              AUTH proof ──▶                                   ◀── AUTH proof
//! ```
//!
//! The side that accepts sends nothing before it has read a greeting that is meant for it, from a
//! server that could be a peer. What proofs are made of is in `line_mac`. In a herd without keys
//! there are none, the second line is the last, and names are believed; such a herd must be out of
//! strangers' reach (`config::layers::guard`).

use std::time::Duration;

use super::line_mac::Role;
use super::link::Terms;
use super::table::{Claims, State, Stranger};
use crate::Server;
use crate::border::{Note, Output, Outputs, Timer};
use crate::clock::Now;
use crate::counters::{REMOVED, RefusedFor};
use crate::names::{ConnId, PeerId};
use crate::wire::line_buffer::{Line, Lines};
use crate::wire::peer_command::{Greeting, MAC_BYTES, PeerLine, Refusal, write_hex};

/// A reason to refuse a connection is logged once in this time, however many come.
const NOTED_EVERY: Duration = Duration::from_secs(60);

/// Why a connection is refused.
type Reason = &'static str;

const NO_COMMON_KEY: Reason = "does not share a key with us";
const WRONG_PROOF: Reason = "its proof is wrong";
const NO_PROOF: Reason = "it proves nothing";
const OTHER_HERD: Reason = "a server of another herd";
const NO_GREETING: Reason = "no greeting in time";
const TOO_MANY: Reason = "too many have not greeted";

/// The reason in few words.
fn in_few_words(why: Reason) -> RefusedFor {
    match why {
        NO_COMMON_KEY | WRONG_PROOF | NO_PROOF => RefusedFor::WrongKey,
        OTHER_HERD => RefusedFor::OtherHerd,
        NO_GREETING | TOO_MANY => RefusedFor::NoGreeting,
        _ => RefusedFor::Stranger,
    }
}

impl Server {
    /// Lines on the peer port, from peers and from those who may become one.
    pub(crate) fn peer_lines(
        &mut self,
        now: Now,
        conn: ConnId,
        lines: &mut Lines<'_>,
        out: &mut Outputs,
    ) {
        let (news, stale) = (self.counters.news, self.counters.stale);
        let place = self.heard.end();
        loop {
            self.usual_lines(now, conn, lines, out);
            let Some(line) = lines.take() else { break };
            self.counters.lines_in += 1;
            let goes_on = match self.peers.peer_on(conn) {
                Some(peer) => match self.peers.at(peer).state {
                    State::Up { .. } => self.link_line(now, peer, line, out),
                    _ => self.greeted_back(now, peer, conn, line, out),
                },
                None => self.stranger_line(now, conn, line, out),
            };
            if !goes_on {
                lines.pause();
            }
        }
        // By the read, so that no line costs more.
        let counters = &mut self.counters;
        counters.peer_lines += lines.taken() as u64;
        counters.peer_stale += counters.stale - stale;
        counters.peer_news += counters.news - news;
        if self.heard.end() > place {
            self.look_at_age(now);
        }
    }

    /// Somebody has connected to the peer port, and says nothing about itself yet.
    pub(crate) fn stranger_came(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        self.peers.strangers.push_back(Stranger { conn, is_secret: false, claims: None });
        self.await_greeting(conn, out);
        if self.peers.strangers.len() > self.settings.strangers_max
            && let Some(oldest) = self.peers.strangers.pop_front()
        {
            self.refuse(now, oldest.conn, TOO_MANY, out);
        }
    }

    fn await_greeting(&mut self, conn: ConnId, out: &mut Outputs) {
        let after = self.settings.limits.greeting;
        out.push(Output::StartTimer { timer: Timer::Greeting { conn }, after });
    }

    pub(crate) fn greeting_due(&mut self, now: Now, conn: ConnId, out: &mut Outputs) {
        let peer = self.peers.peer_on(conn);
        let is_greeting =
            peer.is_some_and(|peer| matches!(self.peers.at(peer).state, State::Greeting { .. }));
        if self.peers.take_stranger(conn).is_some() || is_greeting {
            self.refuse(now, conn, NO_GREETING, out);
        }
    }

    /// TLS has found no key that both ends know. If we have dialled, we know whose the other is.
    pub(crate) fn unproven(&mut self, conn: ConnId) {
        self.counters.refuse(RefusedFor::WrongKey);
        if let Some(peer) = self.peers.peer_on(conn) {
            self.peers.at(peer).trouble = Some(NO_COMMON_KEY);
        }
    }

    /// The first line on a connection that we accepted, or the second.
    fn stranger_line(&mut self, now: Now, conn: ConnId, line: Line<'_>, out: &mut Outputs) -> bool {
        // Neither a peer nor a stranger: hung up on, and its last lines are still coming.
        let Some(stranger) = self.peers.take_stranger(conn) else { return false };
        let answered = match stranger.claims {
            None => self.answer_greeting(now, &stranger, parse(line), out),
            Some(claims) => self.verify(now, conn, claims, parse(line), out),
        };
        answered.map_err(|why| self.refuse(now, conn, why, out)).is_ok()
    }

    /// Answers the greeting of a stranger who names a peer of ours.
    fn answer_greeting(
        &mut self,
        now: Now,
        stranger: &Stranger,
        line: PeerLine<'_>,
        out: &mut Outputs,
    ) -> Result<(), Reason> {
        let (conn, is_secret) = (stranger.conn, stranger.is_secret);
        let PeerLine::Greeting(theirs) = line else { return Err("not a greeting") };
        let peer = self.check_names(&theirs)?;
        if self.peers.at(peer).dials {
            self.hint_redial(peer, conn, out);
            return Ok(());
        }
        let key = self.keyring.common(theirs.caps);
        if key.is_none() && !self.keyring.is_open() {
            self.peers.at(peer).trouble = Some(NO_COMMON_KEY);
            return Err(NO_COMMON_KEY);
        }
        let abilities = self.keyring.abilities(theirs.caps, is_secret);
        let caps = self.keyring.caps(key, abilities.is_bare);
        let nonce = self.keyring.nonce();
        let mut ours = self.greeting(peer, nonce, &caps);
        let claim = key.and_then(|key| self.keyring.claim(key, &theirs, &ours));
        ours.mac = claim.as_ref().map(|claim| claim.proof(Role::Acceptor));
        out.say(conn, |text| ours.write_line(text));
        match claim {
            None => {
                let terms = Terms { begins: false, seal: None, theirs: abilities };
                self.link_up(now, peer, conn, terms, out);
            }
            Some(claim) => {
                let claims = Some(Claims { peer, claim, theirs: abilities });
                self.peers.strangers.push_back(Stranger { conn, is_secret, claims });
            }
        }
        Ok(())
    }

    /// The last word of the greeting: the dialler's proof.
    fn verify(
        &mut self,
        now: Now,
        conn: ConnId,
        claims: Claims,
        line: PeerLine<'_>,
        out: &mut Outputs,
    ) -> Result<(), Reason> {
        let Claims { peer, claim, theirs } = claims;
        match line {
            PeerLine::Auth { mac } if claim.is_proven(Role::Dialler, &mac) => {
                let seal = (!theirs.is_bare).then(|| claim.seal(Role::Acceptor));
                let terms = Terms { begins: false, seal, theirs };
                self.link_up(now, peer, conn, terms, out);
                Ok(())
            }
            PeerLine::Auth { .. } => Err(WRONG_PROOF),
            _ => Err(NO_PROOF),
        }
    }

    /// A dial has succeeded: we speak first.
    pub(crate) fn greet(&mut self, peer: PeerId, conn: ConnId, attempt: u32, out: &mut Outputs) {
        let (nonce, caps) = (self.keyring.nonce(), self.keyring.caps(None, true));
        out.say(conn, |text| self.greeting(peer, nonce, &caps).write_line(text));
        self.peers.at(peer).state = State::Greeting { conn, nonce, attempt, is_secret: false };
        self.await_greeting(conn, out);
    }

    /// The first line on a connection that we dialled.
    fn greeted_back(
        &mut self,
        now: Now,
        peer: PeerId,
        conn: ConnId,
        line: Line<'_>,
        out: &mut Outputs,
    ) -> bool {
        let checked = self.check_answer(peer, parse(line));
        match checked {
            Ok((terms, proof)) => {
                if let Some(mac) = proof {
                    out.say(conn, |text| {
                        text.extend_from_slice(b"AUTH ");
                        write_hex(&mac, text);
                        text.push(b'\n');
                    });
                }
                self.link_up(now, peer, conn, terms, out);
                true
            }
            Err(why) => {
                self.peers.at(peer).trouble = Some(why);
                self.refuse(now, conn, why, out);
                false
            }
        }
    }

    /// Looks at what a peer has answered to our greeting. Gives what is agreed, and our proof.
    fn check_answer(
        &mut self,
        peer: PeerId,
        line: PeerLine<'_>,
    ) -> Result<(Terms, Option<[u8; MAC_BYTES]>), Reason> {
        let theirs = match line {
            PeerLine::Greeting(theirs) => theirs,
            PeerLine::Refused { why } => return Err(why),
            _ => return Err("not a greeting"),
        };
        if self.check_names(&theirs)? != peer {
            return Err("not the peer that was dialled");
        }
        let State::Greeting { nonce, is_secret, .. } = self.peers.at(peer).state else {
            return Err("it was greeted before");
        };
        let abilities = self.keyring.abilities(theirs.caps, is_secret);
        let Some(mac) = theirs.mac else {
            let is_open = self.keyring.is_open();
            let terms = Terms { begins: true, seal: None, theirs: abilities };
            return is_open.then_some((terms, None)).ok_or(NO_COMMON_KEY);
        };
        let key = self.keyring.common(theirs.caps).ok_or(NO_COMMON_KEY)?;
        let caps = self.keyring.caps(None, true);
        let ours = self.greeting(peer, nonce, &caps);
        let claim = self.keyring.claim(key, &ours, &theirs);
        let claim = claim.filter(|claim| claim.is_proven(Role::Acceptor, &mac));
        let claim = claim.ok_or(WRONG_PROOF)?;
        let seal = (!abilities.is_bare).then(|| claim.seal(Role::Dialler));
        let terms = Terms { begins: true, seal, theirs: abilities };
        Ok((terms, Some(claim.proof(Role::Dialler))))
    }

    /// Our greeting to a peer, without a proof.
    fn greeting<'a>(&'a self, peer: PeerId, nonce: u128, caps: &'a [u8]) -> Greeting<'a> {
        let (from, herd) = (&*self.settings.name, &self.settings.herd);
        Greeting { from, to: self.peers.name(peer), herd, nonce, caps, mac: None }
    }

    /// Says which peer greets us, or what is wrong with the greeting.
    fn check_names(&self, greeting: &Greeting<'_>) -> Result<PeerId, Reason> {
        if greeting.herd != self.settings.herd {
            return Err(OTHER_HERD);
        }
        if *greeting.to != *self.settings.name {
            return Err("greets another server than this one");
        }
        self.peers.named(greeting.from).ok_or_else(|| {
            let was_removed = self.peers.was_removed(greeting.from);
            if was_removed { REMOVED } else { "not a peer of this server" }
        })
    }

    fn refuse(&mut self, now: Now, conn: ConnId, why: Reason, out: &mut Outputs) {
        self.counters.refuse(in_few_words(why));
        if self.may_note(now, why) {
            out.note(Note::Refused { conn, why });
        }
        match why {
            // It knows our names: it may know this, too, and its own log will have the reason.
            NO_COMMON_KEY => {
                out.say(conn, |text| {
                    Refusal::Key.write(text);
                    text.push(b'\n');
                });
                out.push(Output::Close { conn });
            }
            _ => out.push(Output::HangUp { conn }),
        }
    }

    /// Whether the log is to hear of this reason to refuse something, and notes that it does:
    /// somebody who comes again and again would else fill the disk.
    pub(crate) fn may_note(&mut self, now: Now, why: Reason) -> bool {
        let noted = self.refusals.get(why);
        let is_due = noted.is_none_or(|noted| now.monotonic - *noted >= NOTED_EVERY);
        if is_due {
            self.refusals.insert(why, now.monotonic);
        }
        is_due
    }
}

fn parse(line: Line<'_>) -> PeerLine<'_> {
    match line {
        Line::Whole(line) => PeerLine::parse(line),
        Line::TooLong(_) => PeerLine::Invalid,
    }
}
