//! What a server answers to the questions of others, and how answers look. Apart from `questions`
//! because who answers need not ask.

use super::Engine;
use super::batch::{Head, NotBelieved};
use super::incoming::lines_of;
use crate::Server;
use crate::border::Outputs;
use crate::clock::Now;
use crate::wire::Report;
use crate::wire::peer_command::{from_hex, write_hex};

/// Who answers, and what of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Says {
    /// A server that holds the part and misses nothing.
    Holder,
    /// Any other one, of what it happens to hold.
    Copy,
}

/// An answer to a question of ours.
pub(super) struct Answer<'a> {
    pub says: Says,
    pub nonce: u64,
    pub report: Option<Report<'a>>,
}

impl<'a> Answer<'a> {
    pub fn parse(line: &'a [u8]) -> Option<Answer<'a>> {
        let mut words = line.splitn(3, |&byte| byte == b' ');
        let (word, nonce, rest) = (words.next()?, words.next()?, words.next());
        let (says, has_report) = match word {
            b"FOUND" => (Says::Holder, true),
            b"NONE" => (Says::Holder, false),
            b"COPY" => (Says::Copy, true),
            b"NOCOPY" => (Says::Copy, false),
            _ => return None,
        };
        let report = match rest {
            Some(line) => Some(Report::of_line(line)?),
            None => None,
        };
        let nonce = u64::from_be_bytes(from_hex(nonce)?);
        (has_report == report.is_some()).then_some(Answer { says, nonce, report })
    }

    /// Writes it, without a newline.
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(match (self.says, &self.report) {
            (Says::Holder, Some(_)) => b"FOUND ",
            (Says::Holder, None) => b"NONE ",
            (Says::Copy, Some(_)) => b"COPY ",
            (Says::Copy, None) => b"NOCOPY ",
        });
        write_hex(&self.nonce.to_be_bytes(), out);
        if let Some(report) = &self.report {
            out.push(b' ');
            report.write_at(out);
        }
    }
}

/// The nonce and the client of an `ASK`.
fn parse_ask(line: &[u8]) -> Option<(u64, &[u8])> {
    let rest = line.strip_prefix(b"ASK ")?;
    let (nonce, client) = rest.split_at_checked(16)?;
    let client = client.strip_prefix(b" ").filter(|client| !client.is_empty())?;
    Some((u64::from_be_bytes(from_hex(nonce)?), client))
}

impl Server {
    /// A batch on another subject than those for reports and answers: questions, or nothing.
    pub(super) fn hear_questions(
        &mut self,
        now: Now,
        engine: &mut Engine,
        (subject, payload): (&[u8], &[u8]),
        out: &mut Outputs,
    ) -> Result<(), NotBelieved> {
        let is_question = subject.strip_prefix(&engine.questions.for_all[..]);
        if !engine.asks_others() || is_question.is_none() {
            return Err(NotBelieved::Foreign);
        }
        let (head, lines) = engine.keys.open(subject, payload)?;
        let Head { sender, .. } = head;
        if *sender == *self.settings.name {
            return Ok(());
        }
        let member = engine.members.iter().position(|member| *member.name == *sender);
        let region = engine.region_of(sender);
        if member.is_none() && region.is_none() {
            return Err(NotBelieved::Foreign);
        }
        let mut abroad = Vec::new();
        for line in lines_of(lines) {
            let Some((nonce, client)) = parse_ask(line) else { continue };
            let part = engine.settings.parts.of(self.store.key(client).leaf());
            let says = if engine.has_all_of(now, part) { Says::Holder } else { Says::Copy };
            let report = self.store.find(client).filter(|held| !self.has_expired(held, now));
            let answer = Answer { says, nonce, report };
            match member {
                Some(member) => engine.say(member, out, |text| answer.write(text)),
                None => {
                    answer.write(&mut abroad);
                    abroad.push(b'\n');
                }
            }
        }
        if let (Some(region), false) = (region, abroad.is_empty()) {
            engine.answer_abroad((region, sender), &abroad, out);
        }
        Ok(())
    }
}
