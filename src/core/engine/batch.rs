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

/// How many words a head has.
const HEAD_WORDS: usize = 4;

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

/// The keys that batches are proven with, the newest first. A batch has a tag of each, so two
/// servers need only one in common while a key follows another.
pub(super) struct BusKeys(Vec<(KeyId, hmac::Key)>);

impl BusKeys {
    pub fn new(keys: &[[u8; 32]], herd: &[u8]) -> BusKeys {
        let bus = |key: &[u8; 32]| {
            let key = hmac::Key::new(hmac::HMAC_SHA256, key);
            let bus = hmac::Key::new(hmac::HMAC_SHA256, &mac(&key, &[b"bus/1", herd]));
            (key_id(&key), bus)
        };
        BusKeys(keys.iter().map(bus).collect())
    }

    /// Writes what comes before the lines of a batch, which is to be published to the subject.
    pub fn seal(&self, subject: &[u8], head: &Head<'_>, lines: &[u8], out: &mut Vec<u8>) {
        let start = out.len();
        head.write(out);
        let end = out.len();
        if self.0.is_empty() {
            out.extend_from_slice(b" - -");
        }
        for (id, key) in self.0.iter() {
            let tag = tag(key, subject, &out[start..end], lines);
            out.push(b' ');
            write_hex(id, out);
            out.push(b' ');
            write_hex(&tag, out);
        }
        out.push(b'\n');
    }

    /// Reads a batch that has come on the subject: its head and its lines, if a server of this herd
    /// says it.
    pub fn open<'a>(
        &self,
        subject: &[u8],
        payload: &'a [u8],
    ) -> Result<(Head<'a>, &'a [u8]), NotBelieved> {
        let newline = memchr::memchr(b'\n', payload).ok_or(NotBelieved::Foreign)?;
        let (line, lines) = (&payload[..newline], &payload[newline + 1..]);
        let mut spaces = memchr::memchr_iter(b' ', line);
        let end = spaces.nth(HEAD_WORDS - 1).ok_or(NotBelieved::Foreign)?;
        let (text, proofs) = (&line[..end], &line[end + 1..]);
        let head = Head::parse(text).ok_or(NotBelieved::Foreign)?;
        if self.0.is_empty() {
            return Ok((head, lines));
        }
        let mut words = proofs.split(|&byte| byte == b' ');
        while let (Some(id), Some(theirs)) = (words.next(), words.next()) {
            let is_it = |(ours, _): &&(KeyId, hmac::Key)| from_hex(id) == Some(*ours);
            let Some((_, key)) = self.0.iter().find(is_it) else { continue };
            let is_right = from_hex(theirs) == Some(tag(key, subject, text, lines));
            return is_right.then_some((head, lines)).ok_or(NotBelieved::WrongTag);
        }
        Err(NotBelieved::WrongKey)
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
        let lines = b"AT x\nAT y\n";
        keys.seal(subject, &HEAD, lines, &mut out);
        out.extend_from_slice(lines);
        out
    }

    /// PROTOCOL 15.2.
    #[test]
    fn what_was_sealed_is_believed() {
        for known in [&[][..], &[7], &[8, 7]] {
            let payload = sealed(&keys(known), b"herd.demo.r.0");
            let opened = keys(known).open(b"herd.demo.r.0", &payload).map(|it| (it.0, it.1.len()));
            assert_eq!(opened, Ok((HEAD, 10)), "{known:?}");
        }
    }

    /// Goal: no byte of a batch, and nothing of where it came, can be changed. PROTOCOL 15.3.
    #[test]
    fn what_was_changed_is_not() {
        let ours = keys(&[7]);
        let payload = sealed(&ours, b"herd.demo.r.0");
        for at in 0..payload.len() {
            let mut changed = payload.clone();
            changed[at] ^= 1;
            assert!(ours.open(b"herd.demo.r.0", &changed).is_err(), "byte {at}");
            assert!(ours.open(b"herd.demo.r.0", &payload[..at]).is_err(), "{at} bytes");
        }
        let refused = |keys: BusKeys, subject: &[u8]| keys.open(subject, &payload).unwrap_err();
        assert_eq!(refused(keys(&[7]), b"herd.demo.s.Bert"), NotBelieved::WrongTag);
        assert_eq!(refused(keys(&[8]), b"herd.demo.r.0"), NotBelieved::WrongKey);
        let other_herd = BusKeys::new(&[[7; 32]], b"other");
        assert_eq!(refused(other_herd, b"herd.demo.r.0"), NotBelieved::WrongTag);
        let open = sealed(&keys(&[]), b"herd.demo.r.0");
        assert_eq!(ours.open(b"herd.demo.r.0", &open).unwrap_err(), NotBelieved::WrongKey);
    }

    /// Goal: a key follows another without a pause.
    #[test]
    fn two_need_only_one_key_in_common() {
        let subject = b"herd.demo.r.0";
        let heard = |theirs: &[u8], ours: &[u8]| {
            keys(ours).open(subject, &sealed(&keys(theirs), subject)).is_ok()
        };
        assert!(heard(&[7], &[8, 7]) && heard(&[8, 7], &[7]));
        assert!(heard(&[8], &[8, 7]) && heard(&[8, 7], &[8]));
        assert!(!heard(&[7], &[8]) && !heard(&[], &[8]));
    }
}
