//! The other side: what a client writes, and what it reads. For tests and for what measures.

use super::answer::write_length;
use super::{Connect, Packet, Publish};

/// What a server has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// The code of a CONNACK.
    Connack(u8),
    Message {
        topic: String,
        payload: Vec<u8>,
        is_retained: bool,
    },
    /// PUBACK, PUBREC, PUBCOMP or UNSUBACK: its first byte, and the identifier.
    Acknowledged(u8, u16),
    Suback(u16, Vec<u8>),
    Pong,
}

/// Appends the packet that a client writes.
pub fn write(packet: &Packet<'_>, out: &mut Vec<u8>) {
    let mut body = Vec::new();
    let first = match packet {
        Packet::Connect(connect) => {
            write_connect(connect, &mut body);
            0x10
        }
        Packet::Publish(Publish { topic, payload, qos, id, is_retained, is_again }) => {
            write_binary(topic.as_bytes(), &mut body);
            if *qos > 0 {
                body.extend(id.to_be_bytes());
            }
            body.extend_from_slice(payload);
            0x30 | u8::from(*is_again) << 3 | qos << 1 | u8::from(*is_retained)
        }
        Packet::Release { id } => {
            body.extend(id.to_be_bytes());
            0x62
        }
        Packet::Subscribe { id, filters } => {
            body.extend(id.to_be_bytes());
            for (filter, qos) in filters {
                write_binary(filter.as_bytes(), &mut body);
                body.push(*qos);
            }
            0x82
        }
        Packet::Unsubscribe { id, filters } => {
            body.extend(id.to_be_bytes());
            filters.iter().for_each(|filter| write_binary(filter.as_bytes(), &mut body));
            0xa2
        }
        Packet::Ping => 0xc0,
        Packet::Disconnect => 0xe0,
    };
    out.push(first);
    write_length(body.len(), out);
    out.append(&mut body);
}

fn write_connect(connect: &Connect<'_>, body: &mut Vec<u8>) {
    let Connect { client_id, is_clean, keep_alive_s, will, user, password } = connect;
    write_binary(b"MQTT", body);
    let flags =
        [(is_clean, 1), (&will.is_some(), 2), (&password.is_some(), 6), (&user.is_some(), 7)];
    let flags = flags.iter().map(|(is_set, bit)| u8::from(**is_set) << bit).sum();
    body.extend([4, flags]);
    body.extend(keep_alive_s.to_be_bytes());
    write_binary(client_id.as_bytes(), body);
    if let Some(will) = will {
        write_binary(will.topic.as_bytes(), body);
        write_binary(will.payload, body);
    }
    user.iter().for_each(|user| write_binary(user.as_bytes(), body));
    password.iter().for_each(|password| write_binary(password, body));
}

fn write_binary(bytes: &[u8], out: &mut Vec<u8>) {
    out.extend((bytes.len() as u16).to_be_bytes());
    out.extend_from_slice(bytes);
}

/// Takes the first packet of a server from these bytes; `None` if it is not whole, or none.
pub fn hear(bytes: &mut Vec<u8>) -> Option<Heard> {
    let mut length = 0;
    let digits = bytes.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0)? + 1;
    for (at, byte) in bytes[1..=digits].iter().enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * at);
    }
    if bytes.len() < 1 + digits + length {
        return None;
    }
    let packet = Vec::from_iter(bytes.drain(..1 + digits + length));
    let body = &packet[1 + digits..];
    let number = |at: usize| Some(u16::from_be_bytes([*body.get(at)?, *body.get(at + 1)?]));
    Some(match packet[0] {
        0x20 => Heard::Connack(*body.get(1)?),
        first @ (0x30 | 0x31) => {
            let topic = body.get(2..2 + usize::from(number(0)?))?;
            let payload = body[2 + topic.len()..].to_vec();
            let topic = String::from_utf8(topic.to_vec()).ok()?;
            Heard::Message { topic, payload, is_retained: first == 0x31 }
        }
        0x90 => Heard::Suback(number(0)?, body[2..].to_vec()),
        0xd0 => Heard::Pong,
        first => Heard::Acknowledged(first, number(0)?),
    })
}
