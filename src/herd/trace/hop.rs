//! Hops: an AT line that leaves one server and reaches another has to be the same in both traces.
//! Lines are read here a second time, only to be recognized; their meaning is `core`'s.
//!
//! Both ends know the client, its time and the ports of the link, even if they are of different
//! makes, and no server sends the same report twice over one link while both last. So that is what
//! a hop's name is made of: FNV-1a over `client time sport>dport`, the sender's port first.
//! `traced.py` does the same.

use std::io::Write;

use herd_core::names::ConnId;

/// Which end of a hop this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    Sent,
    Received,
}

/// One way of a link, seen from one of its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkWay {
    pub way: Way,
    pub conn: ConnId,
}

/// As much of a client's id as a record has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientStart {
    length: u8,
    bytes: [u8; ClientStart::BYTES_MAX],
}

impl ClientStart {
    const BYTES_MAX: usize = 20;

    pub fn of(client: &[u8]) -> ClientStart {
        let length = client.len().min(Self::BYTES_MAX);
        let mut bytes = [0; Self::BYTES_MAX];
        bytes[..length].copy_from_slice(&client[..length]);
        ClientStart { length: length as u8, bytes }
    }

    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.length)]
    }
}

/// A link in one direction, as it stands in what is hashed: ` 40312>12103`.
#[derive(Clone, Copy, Debug)]
pub struct LinkName {
    length: usize,
    bytes: [u8; 12],
}

impl LinkName {
    fn new([teller, hearer]: [u16; 2]) -> LinkName {
        let mut bytes = [0; 12];
        let mut rest = bytes.as_mut_slice();
        write!(rest, " {teller}>{hearer}").expect("two ports have ten digits at most");
        let length = 12 - rest.len();
        LinkName { length, bytes }
    }
}

/// The names of links used lately. To ask the kernel for ports costs more than all other notes of
/// a turn, and a name is needed for each line.
#[derive(Default)]
pub struct Links([Option<(LinkWay, LinkName)>; 16]);

impl Links {
    pub fn name(
        &mut self,
        link: LinkWay,
        ports: impl FnOnce() -> Option<[u16; 2]>,
    ) -> Option<LinkName> {
        let place = (2 * link.conn.slot() + usize::from(link.way == Way::Sent)) % self.0.len();
        match self.0[place] {
            Some((known, name)) if known == link => Some(name),
            _ => {
                let name = LinkName::new(ports()?);
                self.0[place] = Some((link, name));
                Some(name)
            }
        }
    }
}

/// Client and time of every AT line; also of one that a seal follows.
pub fn reports(lines: &[u8]) -> impl Iterator<Item = [&[u8]; 2]> {
    let reports = lines.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"AT "));
    reports.filter_map(|line| {
        let mut fields =
            line.split(|byte| matches!(byte, b'\t'..=b'\r' | b' ')).filter(|word| !word.is_empty());
        Some([fields.nth(3)?, fields.nth(1)?])
    })
}

pub fn id(client: &[u8], time: &[u8], link: &LinkName) -> u64 {
    let pieces = [client, b" ", time, &link.bytes[..link.length]];
    pieces.into_iter().flatten().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_core::names::ConnKind;

    const HOP_ID: u64 = 0x0e7e_5dbd_84ec_aa02;

    /// Goal: a twin gives a hop the same name. The number is Python's.
    #[test]
    fn a_hop_has_one_name() {
        let link = LinkName::new([40312, 12103]);
        assert_eq!(&link.bytes[..link.length], b" 40312>12103");
        assert_eq!(id(b"kiwi", b"1520023934.918963997", &link), HOP_ID);
        assert_ne!(id(b"kiwi", b"1520023934.918963997", &LinkName::new([12103, 40312])), HOP_ID);
    }

    #[test]
    fn only_reports_hop() {
        let check = |lines: &str, expected: &[[&str; 2]]| {
            let found: Vec<_> = reports(lines.as_bytes()).collect();
            let expected: Vec<_> =
                expected.iter().map(|pair| pair.map(|field| field.as_bytes())).collect();
            assert_eq!(found, expected, "{lines:?}");
        };
        check("", &[]);
        check("PING 7\nIAMAT kiwi +1-1 7\n{\"AT \"}\n", &[]);
        check("AT Hill +0.5 kiwi +1-1 7\n", &[["kiwi", "7"]]);
        check(
            "AT Hill +0.5 a +1-1 7 5EA1\nPING 1\nAT Hill +0 b +1-1 8\r\n",
            &[["a", "7"], ["b", "8"]],
        );
        check("AT  Hill\t+0.5 x  +1-1 9", &[["x", "9"]]);
        check("AT Hill +0.5 kiwi +1-1", &[]);
    }

    #[test]
    fn ports_are_asked_for_once() {
        let mut links = Links::default();
        let conn = ConnId::new(ConnKind::Peer, 1, 3);
        assert!(links.name(LinkWay { way: Way::Sent, conn }, || None).is_none());
        for way in [Way::Sent, Way::Received] {
            assert!(links.name(LinkWay { way, conn }, || Some([1, 2])).is_some());
            assert!(links.name(LinkWay { way, conn }, || panic!("known")).is_some());
        }
        let next = ConnId::new(ConnKind::Peer, 2, 3);
        let name =
            links.name(LinkWay { way: Way::Sent, conn: next }, || Some([65535, 65535])).unwrap();
        assert_eq!(&name.bytes[..name.length], b" 65535>65535");
    }

    #[test]
    fn a_long_client_is_cut() {
        assert_eq!(ClientStart::of(b"kiwi").as_bytes(), b"kiwi");
        assert_eq!(ClientStart::of(&[b'x'; 1000]).as_bytes(), [b'x'; ClientStart::BYTES_MAX]);
    }
}
