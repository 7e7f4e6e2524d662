//! One batch on the bus: who says it, in which order, and the proof of it. Apart because it is all
//! that a server believes of what an engine brings: its operators and its other tenants are not the
//! herd.
//!
//! ```text
//!   Bailey 16a3c0de01020304 17 5c0e9f3a01020304 1a2b3c4d 0d94…
//!          sender's process, number, digests, key, tag; then lines as between peers
//!   AT …
//!
//!   bus key = HMAC(K, "bus/1" ‖ herd)
//!   tag     = first 16 bytes of HMAC(bus key, len ‖ subject ‖ the line before the tag ‖ lines)
//! ```
//!
//! The subject is in the tag, so that what was said to one server is not taken by another; the
//! number is, so that nothing is taken twice. What is replayed from a life that is long over may be
//! taken once more: reports are ranked, and so are stale, and a comparison begins one more answer.
//!
//! In a herd without keys there is no proof, and both words are `-`: loopback only, as for peers.

use ring::hmac;

use crate::peers::line_mac::{KeyId, RunId, first_bytes, key_id, mac};
use crate::wire::peer_command::{from_hex, write_hex};

/// Why a batch is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotBelieved {
    /// It is no batch, or of no server of this herd.
    Foreign,
    /// Its key is none of ours, or it has none where one is wanted.
    WrongKey,
    /// Its tag is not what the key makes of it.
    WrongTag,
    /// Its number has come before.
    Replayed,
    /// It is longer than any of ours.
    TooMuch,
}

impl NotBelieved {
    /// All of them, each at its place: `ALL[why as usize]`.
    pub const ALL: [NotBelieved; 5] = [
        NotBelieved::Foreign,
        NotBelieved::WrongKey,
        NotBelieved::WrongTag,
        NotBelieved::Replayed,
        NotBelieved::TooMuch,
    ];

    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            NotBelieved::Foreign => "foreign",
            NotBelieved::WrongKey => "wrong_key",
            NotBelieved::WrongTag => "wrong_tag",
            NotBelieved::Replayed => "replayed",
            NotBelieved::TooMuch => "too_much",
        }
    }
}

/// What a batch says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head<'a> {
    pub sender: &'a [u8],
    /// The sender's process.
    pub life: RunId,
    /// Counts what it has said to this subject in this life, from 1.
    pub number: u64,
    /// Servers of which this differs do not expect to have equal digests.
    pub digests: [u8; 8],
}

impl<'a> Head<'a> {
    fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.sender);
        out.push(b' ');
        write_hex(&self.life, out);
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(self.number).as_bytes());
        out.push(b' ');
        write_hex(&self.digests, out);
    }

    fn parse(text: &'a [u8]) -> Option<Head<'a>> {
        let mut words = text.split(|&byte| byte == b' ');
        let mut next = || words.next();
        let (sender, life, number, digests) = (next()?, next()?, next()?, next()?);
        let number = std::str::from_utf8(number).ok()?.parse().ok()?;
        let head = Head { sender, life: from_hex(life)?, number, digests: from_hex(digests)? };
        next().is_none().then_some(head)
    }
}

/// The keys that batches are proven with.
pub(super) struct BusKeys {
    /// The newest first.
    keys: Vec<(KeyId, hmac::Key)>,
    /// The one that ours are sealed with: the oldest, until somebody was heard who has a newer one
    /// already. So a key that not all have yet is not used, and one that some have no more is not
    /// used for long.
    at: usize,
}

impl BusKeys {
    pub fn new(keys: &[[u8; 32]], herd: &[u8]) -> BusKeys {
        let bus = |key: &[u8; 32]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            let bus = hmac::Key::new(hmac::HMAC_SHA256, &mac(&key, &[b"bus/1", herd]));
            (key_id(&key), bus)
        };
        let keys = Vec::from_iter(keys.iter().map(bus));
        BusKeys { at: keys.len().saturating_sub(1), keys }
    }

    /// Writes a batch, which is to be published to the subject.
    pub fn seal(&self, subject: &[u8], head: &Head<'_>, lines: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        head.write(out);
        match self.keys.get(self.at) {
            None => out.extend_from_slice(b" - -"),
            Some((id, key)) => {
                let tag = tag(key, subject, &out[start..], lines);
                out.push(b' ');
                write_hex(id, out);
                out.push(b' ');
                write_hex(&tag, out);
            }
        }
        out.push(b'\n');
        out.extend_from_slice(lines);
    }

    /// Reads a batch that has come on the subject: its head and its lines, if a server of this herd
    /// says it.
    pub fn open<'a>(
        &mut self,
        subject: &[u8],
        payload: &'a [u8],
    ) -> Result<(Head<'a>, &'a [u8]), NotBelieved> {
        let newline = memchr::memchr(b'\n', payload).ok_or(NotBelieved::Foreign)?;
        let (line, lines) = (&payload[..newline], &payload[newline + 1..]);
        let mut words = line.rsplitn(3, |&byte| byte == b' ');
        let (theirs, id, text) = (words.next(), words.next(), words.next());
        let (Some(theirs), Some(id), Some(text)) = (theirs, id, text) else {
            return Err(NotBelieved::Foreign);
        };
        let head = Head::parse(text).ok_or(NotBelieved::Foreign)?;
        if self.keys.is_empty() {
            return Ok((head, lines));
        }
        let is_it = |(ours, _): &(KeyId, hmac::Key)| from_hex(id) == Some(*ours);
        let at = self.keys.iter().position(is_it).ok_or(NotBelieved::WrongKey)?;
        let theirs = from_hex(theirs).map(u128::from_be_bytes).ok_or(NotBelieved::WrongTag)?;
        if u128::from_be_bytes(tag(&self.keys[at].1, subject, text, lines)) != theirs {
            return Err(NotBelieved::WrongTag);
        }
        self.at = self.at.min(at);
        Ok((head, lines))
    }
}

fn tag(key: &hmac::Key, subject: &[u8], head: &[u8], lines: &[u8]) -> [u8; 16] {
    let length = (subject.len() as u64).to_be_bytes();
    first_bytes(&mac(key, &[&length, subject, head, b"\n", lines]))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: Head<'static> = Head { sender: b"Anna", life: [1; 8], number: 17, digests: [2; 8] };

    fn keys(keys: &[u8]) -> BusKeys {
        let keys = Vec::from_iter(keys.iter().map(|&key| [key; 32]));
        BusKeys::new(&keys, b"demo")
    }

    fn sealed(keys: &BusKeys, subject: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        keys.seal(subject, &HEAD, b"AT x\nAT y\n", &mut out);
        out
    }

    #[test]
    fn what_was_sealed_is_believed() {
        for known in [&[][..], &[7], &[8, 7]] {
            let payload = sealed(&keys(known), b"herd.demo.r.0");
            let opened = keys(known).open(b"herd.demo.r.0", &payload).map(|it| (it.0, it.1.len()));
            assert_eq!(opened, Ok((HEAD, 10)), "{known:?}");
        }
    }

    /// Goal: no byte of a batch, and nothing of where it came, can be changed.
    #[test]
    fn what_was_changed_is_not() {
        let mut ours = keys(&[7]);
        let payload = sealed(&ours, b"herd.demo.r.0");
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            assert!(ours.open(b"herd.demo.r.0", &changed).is_err(), "byte {at}");
            assert!(ours.open(b"herd.demo.r.0", &payload[..at]).is_err(), "{at} bytes");
        }
        let refused = |mut keys: BusKeys, subject: &[u8]| keys.open(subject, &payload).unwrap_err();
        assert_eq!(refused(keys(&[7]), b"herd.demo.s.Bert"), NotBelieved::WrongTag);
        assert_eq!(refused(keys(&[8]), b"herd.demo.r.0"), NotBelieved::WrongKey);
        let other_herd = BusKeys::new(&[[7; 32]], b"other");
        assert_eq!(refused(other_herd, b"herd.demo.r.0"), NotBelieved::WrongTag);
        let open = sealed(&keys(&[]), b"herd.demo.r.0");
        assert_eq!(ours.open(b"herd.demo.r.0", &open).unwrap_err(), NotBelieved::WrongKey);
    }

    /// Goal: a key is used when all have it, and not when some have it no more.
    #[test]
    fn a_key_follows_another_without_a_pause() {
        let (mut both, mut new) = (keys(&[8, 7]), keys(&[8]));
        let subject = b"herd.demo.r.0";
        assert!(keys(&[7]).open(subject, &sealed(&both, subject)).is_ok(), "not all have the new");
        assert!(new.open(subject, &sealed(&both, subject)).is_err());
        assert!(both.open(subject, &sealed(&new, subject)).is_ok());
        assert!(new.open(subject, &sealed(&both, subject)).is_ok(), "somebody has the new alone");
    }
}
