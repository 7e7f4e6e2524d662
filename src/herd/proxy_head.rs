//! Heads of the PROXY protocol: what a proxy in front says of the client that it speaks for, before
//! the client's first byte. Bytes in, an address out; only this file names the library.
//!
//! ```text
//!   version 1   PROXY TCP4 203.0.113.9 10.0.0.1 51234 12000\r\n
//!   version 2   twelve bytes that no text has, command, family, length, addresses, extensions
//! ```
//!
//! Nothing is guessed: a proxy that must send a head is known by the address that it connects from.

use std::net::SocketAddr;

use proxy_header::{ParseConfig, ProxyHeader};

/// The most that a head may have. One of version 1 has 107 bytes at most, and one of version 2 some
/// sixty and extensions.
pub const BYTES_MAX: usize = 1024;

const TEXT_BYTES_MAX: usize = 107;
const TEXT: &[u8] = b"PROXY ";
const BINARY: &[u8] = b"\r\n\r\n\x00\r\nQUIT\n";
/// Where in a binary head its command stands, and then how long the rest is.
const COMMAND_AT: usize = BINARY.len();
const FIXED_BYTES: usize = BINARY.len() + 4;
const COMMAND_LOCAL: u8 = 0x20;

/// What the beginning of a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Head {
    /// It may become a head.
    Partial,
    /// So many bytes are a head. `client` is the address that the proxy speaks for; `None` if it
    /// speaks for itself or does not say.
    Whole { bytes: usize, client: Option<SocketAddr> },
    /// No head begins like this.
    Wrong,
}

/// Reads the head that a connection begins with. More bytes than it has may be there.
pub fn read(begin: &[u8]) -> Head {
    let is_binary = begins_like(begin, BINARY);
    if !is_binary && !begins_like(begin, TEXT) {
        return Head::Wrong;
    }
    let bytes = match if is_binary { binary_length(begin) } else { text_length(begin) } {
        Length::NotYet => return Head::Partial,
        Length::TooLong => return Head::Wrong,
        Length::Bytes(bytes) => bytes,
    };
    if is_binary && begin[COMMAND_AT] == COMMAND_LOCAL {
        // Whatever addresses it has are not for us.
        return Head::Whole { bytes, client: None };
    }
    let config = ParseConfig { include_tlvs: false, ..ParseConfig::default() };
    match ProxyHeader::parse(&begin[..bytes], config) {
        Ok((head, used)) if used == bytes => {
            Head::Whole { bytes, client: head.proxied_address().map(|address| address.source) }
        }
        Ok(_) | Err(_) => Head::Wrong,
    }
}

/// How long a head is.
enum Length {
    NotYet,
    Bytes(usize),
    TooLong,
}

fn begins_like(begin: &[u8], sign: &[u8]) -> bool {
    let both = begin.len().min(sign.len());
    begin[..both] == sign[..both]
}

fn text_length(begin: &[u8]) -> Length {
    let most = &begin[..begin.len().min(TEXT_BYTES_MAX)];
    match most.windows(2).position(|pair| pair == b"\r\n") {
        Some(at) => Length::Bytes(at + 2),
        None if begin.len() >= TEXT_BYTES_MAX => Length::TooLong,
        None => Length::NotYet,
    }
}

fn binary_length(begin: &[u8]) -> Length {
    let Some(fixed) = begin.get(..FIXED_BYTES) else { return Length::NotYet };
    let [.., high, low] = *fixed else { return Length::NotYet };
    let bytes = FIXED_BYTES + usize::from(u16::from_be_bytes([high, low]));
    match bytes {
        _ if bytes > BYTES_MAX => Length::TooLong,
        _ if bytes > begin.len() => Length::NotYet,
        _ => Length::Bytes(bytes),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use proxy_header::{ProxiedAddress, Tlv};

    use super::*;

    const TO: &str = "10.0.0.1:12000";

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn head_from(from: SocketAddr, to: SocketAddr, extension: &[u8]) -> ProxyHeader<'_> {
        let mut head = ProxyHeader::with_address(ProxiedAddress::stream(from, to));
        if !extension.is_empty() {
            head.append_tlv(Tlv::Custom(0xe0, extension.into()));
        }
        head
    }

    fn spell(head: &ProxyHeader<'_>, is_binary: bool) -> Vec<u8> {
        let mut room = vec![0; 64 * 1024];
        let length = if is_binary {
            head.encode_to_slice_v2(&mut room)
        } else {
            head.encode_to_slice_v1(&mut room)
        };
        room.truncate(length.unwrap());
        room
    }

    #[test]
    fn a_head_names_the_client_or_nobody() {
        let whole = |head: &[u8], client: Option<&str>| {
            let expected = Head::Whole { bytes: head.len(), client: client.map(address) };
            assert_eq!(read(head), expected, "{}", head.escape_ascii());
        };
        whole(b"PROXY TCP4 203.0.113.9 10.0.0.1 51234 12000\r\n", Some("203.0.113.9:51234"));
        whole(b"PROXY TCP6 2001:db8::9 ::1 51234 12000\r\n", Some("[2001:db8::9]:51234"));
        whole(b"PROXY UNKNOWN\r\n", None);
        whole(b"PROXY UNKNOWN ffff::1 ffff::2 65535 65535\r\n", None);
        // LOCAL; whatever family and addresses it has, they are skipped.
        for rest in [b"\x20\x00\x00\x00".to_vec(), b"\x20\x11\x00\x02ab".to_vec()] {
            whole(&[BINARY, &rest].concat(), None);
        }
        // PROXY for a Unix socket, and for what it does not say.
        whole(&[BINARY, b"\x21\x31\x00\xd8", &[0; 216]].concat(), None);
        whole(&[BINARY, b"\x21\x00\x00\x01x"].concat(), None);
    }

    #[test]
    fn what_is_no_head_is_known_as_soon_as_it_can_be() {
        let text = |rest: &str| format!("PROXY {rest}\r\n").into_bytes();
        for wrong in [
            b"IAMAT kiwi +1-1 7\n".to_vec(),
            b"G".to_vec(),
            b"PROXY\t".to_vec(),
            b"\r\nIAMAT".to_vec(),
            text("TCP4 203.0.113.9 10.0.0.1 51234"),
            text("TCP4 203.0.113.9 10.0.0.1 51234 70000"),
            text("TCP4 2001:db8::9 ::1 51234 12000"),
            text("TCP4  203.0.113.9 10.0.0.1 51234 12000"),
            text("TCP5 203.0.113.9 10.0.0.1 51234 12000"),
            text("X"),
            [TEXT, &[b'x'; TEXT_BYTES_MAX]].concat(),
            // Version 1 of the binary form, an unknown command, addresses cut short, and a length
            // beyond the bound.
            [BINARY, b"\x11\x11\x00\x0c", &[1; 12]].concat(),
            [BINARY, b"\x22\x11\x00\x0c", &[1; 12]].concat(),
            [BINARY, b"\x21\x11\x00\x0b", &[1; 11]].concat(),
            [BINARY, b"\x21\x11\xff\xff"].concat(),
        ] {
            assert_eq!(read(&wrong), Head::Wrong, "{}", wrong.escape_ascii());
        }
    }

    #[test]
    fn a_bound_is_kept_to_the_byte() {
        let extension = |count| vec![b'x'; count];
        // Sixteen bytes, twelve of addresses, three of the extension.
        let room = BYTES_MAX - FIXED_BYTES - 12 - 3;
        for (count, fits) in [(room, true), (room + 1, false)] {
            let (from, to, extension) = (address("203.0.113.9:1"), address(TO), extension(count));
            let head = spell(&head_from(from, to, &extension), true);
            assert_eq!(matches!(read(&head), Head::Whole { .. }), fits);
        }
    }

    proptest! {
        /// Goal: whatever comes behind a head, and however it is cut, the same head is read, and
        /// nothing of what is behind it.
        #[test]
        fn a_head_is_the_same_in_pieces(
            (from, to) in prop_oneof![
                any::<[(u32, u16); 2]>().prop_map(|[a, b]| (
                    SocketAddr::from((a.0.to_be_bytes(), a.1)),
                    SocketAddr::from((b.0.to_be_bytes(), b.1)),
                )),
                any::<[([u16; 8], u16); 2]>().prop_map(|[a, b]| (a.into(), b.into())),
            ],
            extension in proptest::collection::vec(any::<u8>(), 0..300),
            is_binary: bool,
            behind in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let extension = if is_binary { extension } else { Vec::new() };
            let head = spell(&head_from(from, to, &extension), is_binary);
            for end in 0..head.len() {
                prop_assert_eq!(read(&head[..end]), Head::Partial, "{}", end);
            }
            let expected = Head::Whole { bytes: head.len(), client: Some(from) };
            prop_assert_eq!(read(&[&head[..], &behind].concat()), expected);
        }

        /// Goal: nothing makes it panic, a head is never longer than what is there or than its
        /// bound, and more bytes never change what was found.
        #[test]
        fn any_bytes_are_judged_for_good(
            sign in 0..3_usize,
            rest in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let begin = [[TEXT, BINARY, b"PROXY TCP4 1.2.3.4 "][sign], &rest].concat();
            let mut before = Head::Partial;
            for end in 0..=begin.len() {
                let found = read(&begin[..end]);
                if before != Head::Partial {
                    prop_assert_eq!(found, before);
                }
                if let Head::Whole { bytes, .. } = found {
                    prop_assert!(bytes <= end.min(BYTES_MAX));
                }
                before = found;
            }
        }
    }
}
