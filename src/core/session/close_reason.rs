//! Why a connection ends: the one list for logs, metrics and simulated herds.

use std::fmt;

use super::Expiry;

/// Why a connection has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CloseReason {
    /// All was said, on both sides.
    Done,
    /// The server wants it closed at once; the log line before says why.
    HungUp,
    /// Something that was expected has not come in time.
    Expired(Expiry),
    /// A line has begun that has no end.
    EndlessLine,
    /// It speaks HTTP, TLS or SSH.
    OtherProtocol,
    /// More answers wait than `outbox_bytes_max`.
    OutboxFull,
    /// It was idle, and another one needed its place.
    Displaced,
    /// The system reports an error.
    Broken,
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            CloseReason::Done => "done",
            CloseReason::HungUp => "hung_up",
            CloseReason::Expired(Expiry::Dial) => "dial_timeout",
            CloseReason::Expired(Expiry::FirstByte) => "first_byte_timeout",
            CloseReason::Expired(Expiry::PartialLine) => "line_timeout",
            CloseReason::Expired(Expiry::Idle) => "idle_timeout",
            CloseReason::Expired(Expiry::WriteStall) => "write_timeout",
            CloseReason::Expired(Expiry::Linger) => "linger_timeout",
            CloseReason::EndlessLine => "endless_line",
            CloseReason::OtherProtocol => "other_protocol",
            CloseReason::OutboxFull => "outbox_full",
            CloseReason::Displaced => "displaced",
            CloseReason::Broken => "broken",
        })
    }
}
