//! What a server says. Section numbers are those of MQTT 3.1.1.

/// What a client that wants to connect is told (3.2.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Connack {
    Accepted = 0,
    Version = 1,
    ClientId = 2,
    /// Come again later.
    Unavailable = 3,
    WrongSecret = 4,
    NotAuthorized = 5,
}

/// The filter is none that is served (3.9.3).
pub const SUBSCRIBE_FAILED: u8 = 0x80;
/// What is told is told at QoS 0, whatever was asked for.
pub const GRANTED: u8 = 0;
pub const PINGRESP: [u8; 2] = [0xd0, 0];

/// The answer to a CONNECT. No session is ever present: none is kept.
pub fn connack(code: Connack) -> [u8; 4] {
    [0x20, 2, 0, code as u8]
}

/// The answer to a PUBLISH of this QoS, if it has one: PUBACK or PUBREC.
pub fn published(qos: u8, id: u16) -> Option<[u8; 4]> {
    match qos {
        0 => None,
        1 => Some(with_id(0x40, id)),
        _ => Some(with_id(0x50, id)),
    }
}

/// PUBCOMP, the answer to a PUBREL.
pub fn released(id: u16) -> [u8; 4] {
    with_id(0x70, id)
}

pub fn unsuback(id: u16) -> [u8; 4] {
    with_id(0xb0, id)
}

/// The answer to a SUBSCRIBE: a code for each filter.
pub fn suback(id: u16, codes: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x90];
    write_length(2 + codes.len(), &mut packet);
    packet.extend_from_slice(&id.to_be_bytes());
    packet.extend_from_slice(codes);
    packet
}

/// Appends a PUBLISH at QoS 0. An empty payload says that there is nothing any more.
///
/// The topic, which may be in several parts, must have less than 64 KiB.
pub fn publish(topic: &[&str], payload: &str, is_retained: bool, out: &mut Vec<u8>) {
    let topic_bytes = topic.iter().map(|part| part.len()).sum::<usize>();
    out.push(0x30 | u8::from(is_retained));
    write_length(2 + topic_bytes + payload.len(), out);
    out.extend_from_slice(&(topic_bytes as u16).to_be_bytes());
    topic.iter().for_each(|part| out.extend_from_slice(part.as_bytes()));
    out.extend_from_slice(payload.as_bytes());
}

fn with_id(first: u8, id: u16) -> [u8; 4] {
    let [high, low] = id.to_be_bytes();
    [first, 2, high, low]
}

/// Seven bits a byte, the lowest first (2.2.3).
pub(super) fn write_length(mut length: usize, out: &mut Vec<u8>) {
    while length > 0x7f {
        out.push(length as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
}
