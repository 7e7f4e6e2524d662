//! What a body says: where clients were, what of it is of no use and why, and how the app that sent
//! it wants to be answered.

use std::collections::HashMap;

use herd_core::clock::PosixTime;

use crate::access::Caller;
use crate::json_text::push_whole;

/// Where a client was, in the words of the wire: what an IAMAT says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fix {
    /// As IAMAT spells it: no white space, at most [`CLIENT_BYTES_MAX`](Fix::CLIENT_BYTES_MAX).
    pub client: String,
    /// ISO 6709 with seven decimals, a centimetre: `+60.1699000+024.9384000`.
    pub position: String,
    /// When the client was there.
    pub stamp: PosixTime,
}

impl Fix {
    /// Longest name of a client that may come by HTTP, in bytes.
    pub const CLIENT_BYTES_MAX: usize = 128;

    /// The IAMAT that says it, with its newline.
    pub fn write_line(&self, line: &mut Vec<u8>) {
        let Fix { client, position, stamp } = self;
        for part in ["IAMAT ", client, " ", position, " "] {
            line.extend_from_slice(part.as_bytes());
        }
        push_whole(stamp.whole_seconds(), 1, line);
        line.push(b'.');
        push_whole(stamp.nanos().into(), 9, line);
        line.push(b'\n');
    }
}

/// Why something that an app has sent is no report. A closed list: it is a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unusable {
    /// No app is known to send this.
    UnknownForm,
    /// It has no syntax: JSON that breaks off, or bytes that are no text.
    Malformed,
    /// Something else than a position: a battery level, a card, the last will of a connection.
    NoPosition,
    /// Encrypted for somebody else.
    Encrypted,
    /// The device says that it does not know where it is, or it is at 0, 0.
    NoFix,
    /// A latitude or longitude that is no number, or not on the globe.
    BadPosition,
    /// A time that is none.
    BadTime,
    /// A time so far ahead of the clock that every true report behind it would be too old.
    AheadOfClock,
    /// It does not say whose position it is.
    NoClient,
    /// A name longer than [`Fix::CLIENT_BYTES_MAX`].
    LongClient,
    /// A client that its sender may not report.
    NotAllowed,
    /// Its sender reports more often than it may.
    TooOften,
    /// Its sender has reported more clients than it may.
    TooManyClients,
}

impl Unusable {
    /// All of them, each at its place: `ALL[reason as usize]`.
    pub const ALL: [Unusable; 13] = [
        Unusable::UnknownForm,
        Unusable::Malformed,
        Unusable::NoPosition,
        Unusable::Encrypted,
        Unusable::NoFix,
        Unusable::BadPosition,
        Unusable::BadTime,
        Unusable::AheadOfClock,
        Unusable::NoClient,
        Unusable::LongClient,
        Unusable::NotAllowed,
        Unusable::TooOften,
        Unusable::TooManyClients,
    ];

    /// The word for it in answers and metrics.
    pub fn name(self) -> &'static str {
        match self {
            Unusable::UnknownForm => "unknown_form",
            Unusable::Malformed => "malformed",
            Unusable::NoPosition => "no_position",
            Unusable::Encrypted => "encrypted",
            Unusable::NoFix => "no_fix",
            Unusable::BadPosition => "bad_position",
            Unusable::BadTime => "bad_time",
            Unusable::AheadOfClock => "ahead_of_clock",
            Unusable::NoClient => "no_client",
            Unusable::LongClient => "long_client",
            Unusable::NotAllowed => "not_allowed",
            Unusable::TooOften => "too_often",
            Unusable::TooManyClients => "too_many_clients",
        }
    }
}

/// How an app is told that it need not send this again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reply {
    /// Any success: what was taken, as JSON, for the person who tries it.
    #[default]
    Summary,
    /// A JSON array, never an empty body: an empty one jams the queue of older Android apps.
    OwnTracks,
    /// `{"result":"ok"}`; anything else is sent again.
    Overland,
}

/// What a body says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// In the order of the body.
    pub fixes: Vec<Fix>,
    /// How many of each reason.
    pub unusable: [u32; Unusable::ALL.len()],
    /// How to answer.
    pub reply: Reply,
}

impl Reading {
    /// One thing that is no report.
    pub fn of_none(why: Unusable) -> Reading {
        let mut reading = Reading::default();
        reading.take(Err(why));
        reading
    }

    pub(crate) fn take(&mut self, fix: Result<Fix, Unusable>) {
        match fix {
            Ok(fix) => self.fixes.push(fix),
            Err(why) => self.unusable[why as usize] += 1,
        }
    }

    /// Keeps the fixes of those clients that the sender may report.
    pub fn keep_allowed(&mut self, caller: &Caller) {
        let is_allowed = |fix: &Fix| caller.may_report(fix.client.as_bytes());
        self.drop_where(|fix| (!is_allowed(fix)).then_some(Unusable::NotAllowed));
    }

    /// Drops fixes that something is wrong with.
    pub fn drop_where(&mut self, mut wrong: impl FnMut(&Fix) -> Option<Unusable>) {
        let unusable = &mut self.unusable;
        self.fixes.retain(|fix| {
            let why = wrong(fix);
            if let Some(why) = why {
                unusable[why as usize] += 1;
            }
            why.is_none()
        });
    }

    /// Keeps the newest fix of each client, in the order of their first: a phone that was out of
    /// reach for a day sends a thousand at once, and the herd wants to know where it is.
    pub fn keep_newest(&mut self) {
        if self.fixes.len() <= 1 {
            return;
        }
        let fixes = std::mem::take(&mut self.fixes);
        let mut places = HashMap::new();
        for fix in fixes {
            let next = self.fixes.len();
            let place = *places.entry(fix.client.clone()).or_insert(next);
            match self.fixes.get_mut(place) {
                Some(kept) if kept.stamp <= fix.stamp => *kept = fix,
                Some(_) => {}
                None => self.fixes.push(fix),
            }
        }
    }

    /// The body of the answer, and its content type.
    pub fn answer(&self) -> (String, &'static str) {
        let text = match self.reply {
            Reply::OwnTracks => "[]".to_owned(),
            Reply::Overland => r#"{"result":"ok"}"#.to_owned(),
            Reply::Summary => {
                let mut parts = vec![format!("\"taken\":{}", self.fixes.len())];
                let counts = Unusable::ALL.iter().zip(self.unusable);
                let unusable = counts.filter(|(_, count)| *count > 0);
                let unusable = unusable.map(|(why, count)| format!("\"{}\":{count}", why.name()));
                let unusable = Vec::from_iter(unusable);
                if !unusable.is_empty() {
                    parts.push(format!("\"unusable\":{{{}}}", unusable.join(",")));
                }
                format!("{{{}}}\n", parts.join(","))
            }
        };
        (text, "application/json")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use super::*;
    use crate::access::{Access, Grant, Sessions, Shown, Signer, Token, digest};

    fn fix(client: &str, seconds: u64) -> Fix {
        let position = "+1.0000000+002.0000000".to_owned();
        Fix { client: client.to_owned(), position, stamp: PosixTime::new(seconds, 0) }
    }

    #[test]
    fn reasons_are_at_their_places() {
        for (at, why) in Unusable::ALL.into_iter().enumerate() {
            assert_eq!(why as usize, at);
        }
    }

    #[test]
    fn the_newest_of_each_client_is_kept() {
        let fixes = [("kiwi", 5), ("fig", 9), ("kiwi", 7), ("kiwi", 6), ("fig", 8)];
        let fixes = fixes.map(|(client, seconds)| fix(client, seconds)).into();
        let mut reading = Reading { fixes, ..Reading::default() };
        reading.keep_newest();
        assert_eq!(reading.fixes, [fix("kiwi", 7), fix("fig", 9)]);
    }

    #[test]
    fn what_is_not_allowed_is_counted() {
        let report = vec!["jane/*".parse().unwrap()];
        let grant = Arc::new(Grant { report, ..Grant::default() });
        let tokens = vec![Token { digest: digest(b"secret"), grant }];
        let access = Access::new(tokens, HashSet::new(), Signer::default()).unwrap();
        let (shown, now) = (Shown::Secret("secret"), PosixTime::new(5, 0));
        let jane = access.caller(&shown, &Sessions::new(&[]), now).unwrap();
        let fixes = ["kiwi", "jane/phone", "fig"].map(|client| fix(client, 5)).into();
        let mut reading = Reading { fixes, ..Reading::default() };
        reading.keep_allowed(&Caller::anybody());
        assert_eq!(reading.fixes.len(), 3);
        reading.keep_allowed(&jane);
        assert_eq!(reading.fixes, [fix("jane/phone", 5)]);
        assert_eq!(reading.unusable[Unusable::NotAllowed as usize], 2);
    }

    #[test]
    fn an_answer_says_what_was_taken() {
        let mut reading = Reading::default();
        reading.take(Ok(fix("kiwi", 5)));
        assert_eq!(reading.answer().0, "{\"taken\":1}\n");
        reading.take(Err(Unusable::NoFix));
        reading.take(Err(Unusable::BadTime));
        reading.take(Err(Unusable::NoFix));
        let expected = "{\"taken\":1,\"unusable\":{\"no_fix\":2,\"bad_time\":1}}\n";
        assert_eq!(reading.answer().0, expected);
        reading.reply = Reply::OwnTracks;
        assert_eq!(reading.answer().0, "[]");
        reading.reply = Reply::Overland;
        assert_eq!(reading.answer().0, "{\"result\":\"ok\"}");
    }
}
