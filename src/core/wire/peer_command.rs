//! One line of a peer, one message. Apart from `command`, which clients need as well, because all
//! but the AT line is said between peers only. It is a tool: it knows bytes and nothing of links.
//!
//! ```text
//!   HERD/1 <from> <to> <herd> <nonce> <caps> [<mac>]     who is there, and the proof of it
//!   AUTH <mac>                                           the dialler's proof
//!   AT …                                                 a report, as `command` spells it
//!   ROOT <count> <hash>                                  how many clients, and the digest of all
//!   L1 <32 hashes>  L2 <at> <32 hashes>  L3 <at> <16 hashes>      digests of parts
//!   EVEN? <n>  EVEN <n>                                  all that you have missed has been said
//!   PING <n>  PONG <n> [<ns>]                           alive; and the time there
//!   BYE  KEPT                                            the sender leaves; all it said is kept
//!   REFUSED <word>                                       no link will come of this, and why
//! ```

use super::command::{Report, is_space};
use crate::digits;
use crate::store::digest::{Hash, Node};

/// Bytes of a proof: HMAC-SHA-256.
pub const MAC_BYTES: usize = 32;

/// A line of a peer.
#[derive(Debug)]
pub enum PeerLine<'a> {
    /// The first line of a link.
    Greeting(Greeting<'a>),
    /// The dialler's last word before the link is up.
    Auth {
        /// Its proof that it knows the herd's key.
        mac: [u8; MAC_BYTES],
    },
    /// News, or what a comparison has shown to be missing.
    At(Report<'a>),
    /// Begins a comparison of the two stores.
    Root {
        /// How many clients the sender knows.
        count: u64,
        /// The digest of all that it holds.
        hash: Hash,
    },
    /// Goes on with a comparison, one level deeper.
    Parts(Parts<'a>),
    /// Wants an `Even` when all has been said that the sender has missed.
    EvenAsked {
        /// Grows by one with each question.
        number: u64,
    },
    /// All has been said that the peer had missed when it asked.
    Even {
        /// Of its question.
        number: u64,
    },
    /// Wants a `Pong`.
    Ping {
        /// Decimal digits, which the answer repeats.
        number: &'a [u8],
    },
    /// A sign of life.
    Pong {
        /// Of the `Ping`; 0 if no `Ping` of ours has had one so great.
        number: u64,
        /// The sender's time of day, in nanoseconds since 1970, if it says it.
        posix_ns: Option<u64>,
    },
    /// The sender leaves, and waits for `Kept`.
    Bye,
    /// Answers `Bye`: all that was said before it is kept.
    Kept,
    /// No link will come of this connection.
    Refused {
        /// A text for our log, one of a few: nothing of it is the sender's.
        why: &'static str,
    },
    /// Nothing but white space.
    Blank,
    /// Anything else: the sender breaks the protocol.
    Invalid,
}

impl<'a> PeerLine<'a> {
    /// What a line means, given without its terminator; `Invalid` if it is none of these messages.
    pub fn parse(line: &'a [u8]) -> PeerLine<'a> {
        if line.starts_with(b"AT ") {
            return Report::of_line(line).map_or(PeerLine::Invalid, PeerLine::At);
        }
        let mut fields = line.split(|&byte| is_space(byte)).filter(|field| !field.is_empty());
        let Some(first) = fields.next() else { return PeerLine::Blank };
        let message = match first {
            b"PING" => fields
                .next()
                .filter(|number| digits::are_all(number))
                .map(|number| PeerLine::Ping { number }),
            b"PONG" => Self::pong(&mut fields),
            b"EVEN?" => fields.next().and_then(number).map(|number| PeerLine::EvenAsked { number }),
            b"EVEN" => fields.next().and_then(number).map(|number| PeerLine::Even { number }),
            b"BYE" => Some(PeerLine::Bye),
            b"KEPT" => Some(PeerLine::Kept),
            b"REFUSED" => {
                let refusal = fields.next().and_then(Refusal::parse);
                refusal.map(|refusal| PeerLine::Refused { why: refusal.why() })
            }
            b"ROOT" => Self::root(&mut fields),
            b"L1" | b"L2" | b"L3" => {
                // The hashes are taken out of the line later, one by one.
                return Parts::parse(line).map_or(PeerLine::Invalid, PeerLine::Parts);
            }
            b"HERD/1" => Greeting::parse(&mut fields).map(PeerLine::Greeting),
            b"AUTH" => fields.next().and_then(from_hex).map(|mac| PeerLine::Auth { mac }),
            _ => None,
        };
        match (message, fields.next()) {
            (Some(message), None) => message,
            _ => PeerLine::Invalid,
        }
    }

    fn pong(fields: &mut impl Iterator<Item = &'a [u8]>) -> Option<PeerLine<'a>> {
        let digits = fields.next().filter(|number| digits::are_all(number))?;
        let posix_ns = match fields.next() {
            Some(time) => Some(number(time)?),
            None => None,
        };
        Some(PeerLine::Pong { number: number(digits).unwrap_or(0), posix_ns })
    }

    fn root(fields: &mut impl Iterator<Item = &'a [u8]>) -> Option<PeerLine<'a>> {
        let count = number(fields.next()?)?;
        let hash = parse_hash(fields.next()?)?;
        Some(PeerLine::Root { count, hash })
    }
}

/// How peers introduce themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeting<'a> {
    /// The name of the server that says it.
    pub from: &'a [u8],
    /// The name of the server that it expects to talk to.
    pub to: &'a [u8],
    /// The herd that both must belong to.
    pub herd: &'a [u8],
    /// Made anew for each connection, so that no two greetings are alike.
    pub nonce: u128,
    /// What the sender knows, words with commas between: see `line_mac::Caps`.
    pub caps: &'a [u8],
    /// The acceptor's proof that it knows the herd's key.
    pub mac: Option<[u8; MAC_BYTES]>,
}

impl<'a> Greeting<'a> {
    fn parse(fields: &mut impl Iterator<Item = &'a [u8]>) -> Option<Greeting<'a>> {
        let [from, to, herd] = [fields.next()?, fields.next()?, fields.next()?];
        let nonce = fields.next().and_then(from_hex).map(u128::from_be_bytes)?;
        let caps = fields.next()?;
        let mac = match fields.next() {
            Some(mac) => Some(from_hex(mac)?),
            None => None,
        };
        Some(Greeting { from, to, herd, nonce, caps, mac })
    }

    /// Writes the greeting, with its newline.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        for field in [b"HERD/1", self.from, self.to, self.herd] {
            out.extend_from_slice(field);
            out.push(b' ');
        }
        write_hex(&self.nonce.to_be_bytes(), out);
        out.push(b' ');
        out.extend_from_slice(self.caps);
        if let Some(mac) = &self.mac {
            out.push(b' ');
            write_hex(mac, out);
        }
        out.push(b'\n');
    }
}

/// Why a server that could be a peer is not let in: said to it, for its own log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The two have no key in common.
    Key,
    /// Another process of that name is joined.
    Name,
}

impl Refusal {
    const ALL: [(Refusal, &'static str); 2] = [(Refusal::Key, "key"), (Refusal::Name, "name")];

    fn parse(word: &[u8]) -> Option<Refusal> {
        Self::ALL.into_iter().find(|(_, name)| name.as_bytes() == word).map(|(refusal, _)| refusal)
    }

    /// Writes the refusal, without a newline.
    pub fn write(self, out: &mut Vec<u8>) {
        let word = Self::ALL.into_iter().find(|(refusal, _)| *refusal == self);
        out.extend_from_slice(b"REFUSED ");
        out.extend_from_slice(word.map_or("", |(_, name)| name).as_bytes());
    }

    /// What it means to the one who is refused.
    fn why(self) -> &'static str {
        match self {
            Refusal::Key => "does not share a key with us",
            Refusal::Name => "another server with our name has joined it",
        }
    }
}

/// The digests of the parts of a node.
#[derive(Clone, Copy, Debug)]
pub struct Parts<'a> {
    /// Whose parts they are.
    pub of: Node,
    /// As many hashes as the node has parts.
    text: &'a [u8],
}

impl<'a> Parts<'a> {
    fn parse(line: &'a [u8]) -> Option<Parts<'a>> {
        let (level, rest) = line.split_at_checked(2)?;
        let level = [b"L1", b"L2", b"L3"].iter().position(|name| *name == level)?;
        let mut text = rest.trim_ascii();
        let mut at = 0;
        if level > 0 {
            let end = text.iter().position(|&byte| byte == b' ')?;
            at = usize::try_from(number(&text[..end])?).ok()?;
            text = &text[end + 1..];
        }
        let of = Node::new(level, at)?;
        let parts = Parts { of, text };
        let hashes = parts.text.split(|&byte| byte == b' ');
        let count = hashes.map(parse_hash).try_fold(0, |count, hash| hash.map(|_| count + 1))?;
        (count == of.fan_out()).then_some(parts)
    }

    /// The hashes, one for each part.
    pub fn hashes(self) -> impl Iterator<Item = Hash> {
        self.text.split(|&byte| byte == b' ').filter_map(parse_hash)
    }

    /// Writes the hashes of the parts of a node, without a newline.
    pub fn write(of: Node, hash: impl Fn(Node) -> Hash, out: &mut Vec<u8>) {
        out.extend_from_slice(match of.level() {
            0 => b"L1",
            1 => b"L2",
            _ => b"L3",
        });
        if of.level() > 0 {
            out.push(b' ');
            out.extend_from_slice(itoa::Buffer::new().format(of.at()).as_bytes());
        }
        for child in of.children() {
            out.push(b' ');
            write_hex(&hash(child).to_be_bytes(), out);
        }
    }
}

/// Writes the digest of everything, without a newline.
pub(crate) fn write_root(count: usize, hash: Hash, out: &mut Vec<u8>) {
    out.extend_from_slice(b"ROOT ");
    out.extend_from_slice(itoa::Buffer::new().format(count).as_bytes());
    out.push(b' ');
    write_hex(&hash.to_be_bytes(), out);
}

/// Two hexadecimal digits for each byte, small letters only.
pub(crate) fn write_hex(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for byte in bytes {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]);
    }
}

fn parse_hash(text: &[u8]) -> Option<Hash> {
    from_hex(text).map(Hash::from_be_bytes)
}

/// Exactly `N` bytes in hexadecimal digits, small letters only: one value, one spelling.
pub(crate) fn from_hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let mut bytes = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (byte, digits) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        *byte = hex_digit(digits[0])? << 4 | hex_digit(digits[1])?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

fn number(digits: &[u8]) -> Option<u64> {
    if !digits::are_all(digits) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::digest::Digest;

    /// PROTOCOL 6.3.
    #[test]
    fn greetings() {
        let mut line = Vec::new();
        let mut greeting = Greeting {
            from: b"A",
            to: b"B",
            herd: b"demo",
            nonce: 0xfeed,
            caps: b"digest:00",
            mac: None,
        };
        greeting.write_line(&mut line);
        assert_eq!(line, b"HERD/1 A B demo 0000000000000000000000000000feed digest:00\n");
        for mac in [None, Some([0xa5; MAC_BYTES])] {
            greeting.mac = mac;
            line.clear();
            greeting.write_line(&mut line);
            let PeerLine::Greeting(parsed) = PeerLine::parse(&line) else { panic!("a greeting") };
            assert_eq!(parsed, greeting);
        }
        line.truncate(line.len() - 3);
        assert!(matches!(PeerLine::parse(&line), PeerLine::Invalid), "half a proof");
    }

    /// PROTOCOL 8.3, 10.3.
    #[test]
    fn digests_of_parts() {
        let mut digest = Digest::new();
        digest.toggle(77, 0xabcdef);
        for node in [Node::ROOT, Node::new(1, 31).unwrap(), Node::new(2, 4).unwrap()] {
            let mut line = Vec::new();
            Parts::write(node, |node| digest.hash(node), &mut line);
            let PeerLine::Parts(parts) = PeerLine::parse(&line) else { panic!("{line:?}") };
            assert_eq!(parts.of, node);
            let expected: Vec<Hash> = node.children().map(|child| digest.hash(child)).collect();
            assert_eq!(parts.hashes().collect::<Vec<_>>(), expected);
            line.pop();
            assert!(matches!(PeerLine::parse(&line), PeerLine::Invalid), "half a hash");
        }
        let mut line = Vec::new();
        write_root(3, 0xabcdef, &mut line);
        assert_eq!(line, b"ROOT 3 0000000000abcdef");
        let parsed = PeerLine::parse(&line);
        assert!(matches!(parsed, PeerLine::Root { count: 3, hash: 0xabcdef }));
    }

    /// PROTOCOL 8.2.
    #[test]
    fn what_is_no_line_of_a_peer() {
        let hashes = |count| " 0123456789abcdef".repeat(count);
        let check = |line: &str| {
            let parsed = PeerLine::parse(line.as_bytes());
            assert!(matches!(parsed, PeerLine::Invalid), "{line}");
        };
        for line in ["HERD/1 A B demo feed -", "HERD/2 A B demo 00 -", "HERD/1 A B demo"] {
            check(line);
        }
        for line in ["EVEN?", "EVEN", "EVEN? x", "EVEN 1 2", "EVEN 99999999999999999999"] {
            check(line);
        }
        for line in ["PONG 1 x", "PONG 1 2 3", "PONG x 2", "PONG 1 99999999999999999999"] {
            check(line);
        }
        for line in ["PING", "PING x", "PING 1 2", "PONG", "BYE now", "IAMAT x +1-1 0", "AT x"] {
            check(line);
        }
        for line in ["ROOT", "ROOT 1", "ROOT x 0123456789abcdef", "ROOT 1 0123456789ABCDEF"] {
            check(line);
        }
        check("ROOT 99999999999999999999999 0123456789abcdef");
        check("ROOT 1 0123456789abcdef 2");
        for (level, at, count) in [(1, "", 31), (1, "", 33), (2, " 32", 32), (3, " 1024", 16)] {
            check(&format!("L{level}{at}{}", hashes(count)));
        }
        for line in ["L1", "L2", "L3 1", "L0 1", "L4 1", "L1  ", "AUTH", "AUTH 00", "AUTH zz"] {
            check(line);
        }
        check(&format!("L2{}", hashes(32)));
        for line in ["  L1 0", "\tL1", " L3 1", "\x0bL2 0"] {
            check(line);
        }
        check(&format!(" L1{}", hashes(32)));
    }
}
