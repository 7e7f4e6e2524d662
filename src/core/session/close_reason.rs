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

impl CloseReason {
    /// All of them.
    pub const ALL: [CloseReason; 13] = [
        CloseReason::Done,
        CloseReason::HungUp,
        CloseReason::Expired(Expiry::Dial),
        CloseReason::Expired(Expiry::FirstByte),
        CloseReason::Expired(Expiry::PartialLine),
        CloseReason::Expired(Expiry::Idle),
        CloseReason::Expired(Expiry::WriteStall),
        CloseReason::Expired(Expiry::Linger),
        CloseReason::EndlessLine,
        CloseReason::OtherProtocol,
        CloseReason::OutboxFull,
        CloseReason::Displaced,
        CloseReason::Broken,
    ];

    /// Its place in `ALL`.
    pub fn index(self) -> usize {
        match self {
            CloseReason::Done => 0,
            CloseReason::HungUp => 1,
            CloseReason::Expired(Expiry::Dial) => 2,
            CloseReason::Expired(Expiry::FirstByte) => 3,
            CloseReason::Expired(Expiry::PartialLine) => 4,
            CloseReason::Expired(Expiry::Idle) => 5,
            CloseReason::Expired(Expiry::WriteStall) => 6,
            CloseReason::Expired(Expiry::Linger) => 7,
            CloseReason::EndlessLine => 8,
            CloseReason::OtherProtocol => 9,
            CloseReason::OutboxFull => 10,
            CloseReason::Displaced => 11,
            CloseReason::Broken => 12,
        }
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_its_place_and_its_word() {
        let places = CloseReason::ALL.map(CloseReason::index);
        assert_eq!(places, std::array::from_fn(|at| at));
        let mut words = CloseReason::ALL.map(|reason| reason.to_string());
        words.sort();
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]), "{words:?}");
    }
}
