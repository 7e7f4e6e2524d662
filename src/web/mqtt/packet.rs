//! What a client says: one control packet after the other, each with its length before it.
//!
//! Everything that the standard calls malformed is refused, and so is what only a server may say.
//! Section numbers are those of MQTT 3.1.1.

/// The longest packet that is taken. Positions have a few hundred bytes; what else apps publish
/// (way points, cards with a picture) is acknowledged and dropped, so it must fit as well.
pub const PACKET_BYTES_MAX: usize = 256 * 1024;
/// A packet of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet<'a> {
    Connect(Connect<'a>),
    Publish(Publish<'a>),
    /// The second step of a PUBLISH at QoS 2.
    Release {
        id: u16,
    },
    /// The filters, each with the QoS that is asked for.
    Subscribe {
        id: u16,
        filters: Vec<(&'a str, u8)>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<&'a str>,
    },
    Ping,
    Disconnect,
}

/// The first packet of a connection (3.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect<'a> {
    pub client_id: &'a str,
    pub is_clean: bool,
    /// Seconds between two packets, at most; 0 for no bound.
    pub keep_alive_s: u16,
    pub will: Option<Will<'a>>,
    pub user: Option<&'a str>,
    pub password: Option<&'a [u8]>,
}

/// What is published for a client that goes without a word (3.1.2.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Will<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
}

/// A message (3.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Publish<'a> {
    pub topic: &'a str,
    pub payload: &'a [u8],
    /// 0 to 2.
    pub qos: u8,
    /// 0 at QoS 0, which has none.
    pub id: u16,
    pub is_retained: bool,
    pub is_again: bool,
}

/// Why a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No packet that a client may send, or no MQTT at all.
    Malformed,
    /// Longer than [`PACKET_BYTES_MAX`].
    TooLong,
    /// A CONNECT of another version.
    Version,
}

/// What has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A packet, and its length in bytes.
    Whole(Packet<'a>, usize),
    /// More must come.
    Partial,
    Refused(Refusal),
}

/// Reads the packet with which these bytes begin.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    match packet(bytes) {
        Ok(Some((packet, length))) => Parsed::Whole(packet, length),
        Ok(None) => Parsed::Partial,
        Err(refusal) => Parsed::Refused(refusal),
    }
}

type Read<T> = Result<T, Refusal>;

const CONNECT: u8 = 1;
const PUBLISH: u8 = 3;
const PUBREL: u8 = 6;
const SUBSCRIBE: u8 = 8;
const UNSUBSCRIBE: u8 = 10;
const PINGREQ: u8 = 12;
const DISCONNECT: u8 = 14;

fn packet(bytes: &[u8]) -> Read<Option<(Packet<'_>, usize)>> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    let (kind, flags) = (first >> 4, first & 0b1111);
    // What cannot be a packet is refused before the rest of it is waited for.
    let do_flags_fit = match kind {
        CONNECT | PINGREQ | DISCONNECT => flags == 0,
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => flags == 0b0010,
        kind => kind == PUBLISH,
    };
    if !do_flags_fit {
        return Err(Refusal::Malformed);
    }
    let Some((length, digits)) = remaining_length(rest)? else { return Ok(None) };
    let front = 1 + digits;
    if front + length > PACKET_BYTES_MAX {
        return Err(Refusal::TooLong);
    }
    let Some(body) = bytes.get(front..front + length) else { return Ok(None) };
    let mut body = Body(body);
    let packet = match kind {
        CONNECT => Packet::Connect(body.connect()?),
        PUBLISH => Packet::Publish(body.publish(flags)?),
        PUBREL => Packet::Release { id: body.id()? },
        SUBSCRIBE => {
            let (id, mut filters) = (body.id()?, Vec::new());
            while !body.0.is_empty() || filters.is_empty() {
                filters.push((body.text()?, body.qos()?));
            }
            Packet::Subscribe { id, filters }
        }
        UNSUBSCRIBE => {
            let (id, mut filters) = (body.id()?, Vec::new());
            while !body.0.is_empty() || filters.is_empty() {
                filters.push(body.text()?);
            }
            Packet::Unsubscribe { id, filters }
        }
        PINGREQ => Packet::Ping,
        _ => Packet::Disconnect,
    };
    if body.0.is_empty() { Ok(Some((packet, front + length))) } else { Err(Refusal::Malformed) }
}

/// The length of what follows, and in how many bytes that is said (2.2.3).
fn remaining_length(bytes: &[u8]) -> Read<Option<(usize, usize)>> {
    let mut length = 0;
    for (at, &byte) in bytes.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok(Some((length, at + 1)));
        }
    }
    if bytes.len() < 4 { Ok(None) } else { Err(Refusal::Malformed) }
}

/// What is left of a packet's body.
struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn bytes(&mut self, count: usize) -> Read<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Refusal::Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Read<u8> {
        Ok(self.bytes(1)?[0])
    }

    fn number(&mut self) -> Read<u16> {
        let bytes = self.bytes(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// A packet identifier, which is never 0 (2.3.1).
    fn id(&mut self) -> Read<u16> {
        self.number().and_then(|id| if id > 0 { Ok(id) } else { Err(Refusal::Malformed) })
    }

    fn qos(&mut self) -> Read<u8> {
        self.byte().and_then(|qos| if qos <= 2 { Ok(qos) } else { Err(Refusal::Malformed) })
    }

    fn binary(&mut self) -> Read<&'a [u8]> {
        let length = self.number()?;
        self.bytes(length.into())
    }

    /// UTF-8 without the null character (1.5.3).
    fn text(&mut self) -> Read<&'a str> {
        let text = std::str::from_utf8(self.binary()?).map_err(|_| Refusal::Malformed)?;
        if text.contains('\0') { Err(Refusal::Malformed) } else { Ok(text) }
    }

    /// A name without wildcards (3.3.2.1, 4.7.3).
    fn topic(&mut self) -> Read<&'a str> {
        let topic = self.text()?;
        let is_name = !topic.is_empty() && !topic.contains(['+', '#']);
        if is_name { Ok(topic) } else { Err(Refusal::Malformed) }
    }

    fn connect(&mut self) -> Read<Connect<'a>> {
        let (protocol, level) = (self.binary()?, self.byte()?);
        match (protocol, level) {
            (b"MQTT", 4) => {}
            (b"MQTT" | b"MQIsdp", _) => return Err(Refusal::Version),
            _ => return Err(Refusal::Malformed),
        }
        let flags = self.byte()?;
        let is_set = |bit: u8| flags & (1 << bit) != 0;
        let (has_user, has_password, has_will) = (is_set(7), is_set(6), is_set(2));
        let will_qos = flags >> 3 & 0b11;
        let is_wrong = is_set(0)
            || has_password && !has_user
            || will_qos == 3
            || !has_will && (will_qos > 0 || is_set(5));
        if is_wrong {
            return Err(Refusal::Malformed);
        }
        let keep_alive_s = self.number()?;
        let client_id = self.text()?;
        let will = if has_will {
            Some(Will { topic: self.topic()?, payload: self.binary()? })
        } else {
            None
        };
        let user = if has_user { Some(self.text()?) } else { None };
        let password = if has_password { Some(self.binary()?) } else { None };
        Ok(Connect { client_id, is_clean: is_set(1), keep_alive_s, will, user, password })
    }

    fn publish(&mut self, flags: u8) -> Read<Publish<'a>> {
        let (qos, is_again, is_retained) = (flags >> 1 & 0b11, flags & 8 != 0, flags & 1 != 0);
        if qos == 3 || qos == 0 && is_again {
            return Err(Refusal::Malformed);
        }
        let topic = self.topic()?;
        let id = if qos > 0 { self.id()? } else { 0 };
        let payload = std::mem::take(&mut self.0);
        Ok(Publish { topic, payload, qos, id, is_retained, is_again })
    }
}
