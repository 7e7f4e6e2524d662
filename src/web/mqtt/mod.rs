//! MQTT 3.1.1 (OASIS Standard, 2014), as much of it as positions need. Pure, like the rest of this
//! crate: bytes come in, packets go out, and no socket is known here.
//!
//! A herd is a broker already, in other words: for each client it holds the newest report, which is
//! what MQTT calls a retained message. So that is what it serves, and nothing else:
//!
//! ```text
//!   PUBLISH owntracks/jane/phone {"_type":"location", …}  ──▶ the report of client jane/phone
//!   SUBSCRIBE owntracks/jane/+  ──▶ where all of those are (retained), then what changes
//! ```
//!
//! What follows from that. A message that is no position is acknowledged, counted and not passed
//! on. A report twice is a report once, so no packet identifier is remembered: QoS 1 and QoS 2 are
//! acknowledged when the store has the report. What subscribers get is the state, not a log: QoS 0,
//! the newest of each client, and after a break the retained messages again. So there is no session
//! to be kept, and a slow reader costs nothing.
//!
//! The crates that frame MQTT were looked at: those that are small have had no release for years
//! (`mqttbytes`, `mqttrs`), and the one that is kept well (`mqtt-protocol-core`) brings 51 others.
//! Ten kinds of packets are 300 lines.
//!
//! Reading order: `packet` (what clients say), `answer` (what they are told), `topic` (which client
//! a topic is), `far_end` (the other side, for tests).

pub mod answer;
pub mod far_end;
mod packet;
mod topic;

pub use packet::{Connect, PACKET_BYTES_MAX, Packet, Parsed, Publish, Refusal, Will, parse};
pub use topic::{Filter, client_of, topic_of};

#[cfg(test)]
mod tests;
