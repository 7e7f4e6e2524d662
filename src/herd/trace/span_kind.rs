//! What can be noted: every kind of span, as small as it can be, with the names that it has in the
//! file. This is the list to read beside a trace; nothing here takes a time.

use std::time::Duration;

use super::Row;
use super::hop::{ClientStart, Way};
use herd_core::border::{Input, Timer};
use herd_core::names::{ConnId, PeerId};

/// What happened in a span, or at a moment. `chrome` says how it is called in the file.
#[derive(Clone, Copy, Debug)]
pub enum SpanKind {
    Turn(u64, Turn),
    Sleep {
        timeout: Option<Duration>,
        ready: u32,
    },
    Ready {
        token: u32,
        conn: Option<ConnId>,
        readable: bool,
        writable: bool,
        closed: bool,
    },
    Waker {
        results: u32,
    },
    Signals,
    Timer {
        due: Due,
    },
    Round,
    Unfinished {
        conn: Option<ConnId>,
    },
    /// So many bytes were given to the journal; and how often answers were let go, or wait.
    Keep {
        bytes: u32,
        released: u32,
        wait: u32,
    },
    Flush {
        conn: ConnId,
    },
    Bury {
        slots: u32,
    },
    Accept {
        conn: ConnId,
    },
    Fill {
        conn: ConnId,
        bytes: u32,
    },
    Tell {
        input: InputKind,
        lines: u32,
        outputs: u32,
    },
    Write {
        conn: ConnId,
        bytes: u32,
        left: u32,
    },
    Dial {
        peer: PeerId,
    },
    Call {
        row: Row,
    },
    Hop {
        way: Way,
        id: u64,
        client: ClientStart,
    },
}

/// How a turn ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Turn {
    pub ready: u32,
    pub timers: u32,
    /// Left for the next turn.
    pub unfinished: u32,
    pub owing: u32,
    /// Connections alive.
    pub open: u32,
}

/// Which timer it was.
#[derive(Clone, Copy, Debug)]
pub enum Due {
    Redial(PeerId),
    Greeting,
    Ping,
    Compare,
    Sweep,
    Answer,
    Accept,
    LameDuck,
    DrainOver,
    Handshake,
    Head,
    LogLevel,
    Followers,
    Index,
    Mqtt,
    Pulse,
}

/// Which input the core was given, and of which connection.
#[derive(Clone, Copy, Debug)]
pub enum InputKind {
    Started,
    Accepted(ConnId),
    Connected(ConnId),
    DialFailed,
    Secret(ConnId),
    Unproven(ConnId),
    Lines(ConnId),
    Ended(ConnId),
    Closed(ConnId),
    Taken(ConnId),
    Flushed(ConnId),
    PlacesArrived,
    TimerFired,
    Erase,
    Draining,
    Leaving,
    Changed,
    PeerConfigured,
    PeerRemoved,
}

impl SpanKind {
    /// Its name and its category.
    pub fn name(&self) -> (&'static str, &'static str) {
        match self {
            SpanKind::Turn(..) => ("turn", "turn"),
            SpanKind::Sleep { .. } => ("sleep", "phase"),
            SpanKind::Ready { .. } => ("ready", "phase"),
            SpanKind::Waker { .. } => ("waker", "phase"),
            SpanKind::Signals => ("signals", "phase"),
            SpanKind::Timer { .. } => ("timer", "phase"),
            SpanKind::Round => ("round", "phase"),
            SpanKind::Unfinished { .. } => ("unfinished", "phase"),
            SpanKind::Keep { .. } => ("keep", "phase"),
            SpanKind::Flush { .. } => ("flush", "phase"),
            SpanKind::Bury { .. } => ("bury", "phase"),
            SpanKind::Accept { .. } => ("accept", "work"),
            SpanKind::Fill { .. } => ("fill", "work"),
            SpanKind::Tell { .. } => ("tell", "work"),
            SpanKind::Write { .. } => ("write", "work"),
            SpanKind::Dial { .. } => ("dial", "work"),
            SpanKind::Call { row: Row::Journal } => ("journal", "work"),
            SpanKind::Call { row: Row::Sync } => ("sync", "work"),
            SpanKind::Call { .. } => ("call", "work"),
            SpanKind::Hop { .. } => ("AT", "hop"),
        }
    }
}

impl InputKind {
    pub fn parts(self) -> (&'static str, Option<ConnId>) {
        match self {
            InputKind::Started => ("Started", None),
            InputKind::Accepted(conn) => ("Accepted", Some(conn)),
            InputKind::Connected(conn) => ("Connected", Some(conn)),
            InputKind::DialFailed => ("DialFailed", None),
            InputKind::Secret(conn) => ("Secret", Some(conn)),
            InputKind::Unproven(conn) => ("Unproven", Some(conn)),
            InputKind::Lines(conn) => ("Lines", Some(conn)),
            InputKind::Ended(conn) => ("Ended", Some(conn)),
            InputKind::Closed(conn) => ("Closed", Some(conn)),
            InputKind::Taken(conn) => ("Taken", Some(conn)),
            InputKind::Flushed(conn) => ("Flushed", Some(conn)),
            InputKind::PlacesArrived => ("PlacesArrived", None),
            InputKind::TimerFired => ("TimerFired", None),
            InputKind::Erase => ("Erase", None),
            InputKind::Draining => ("Draining", None),
            InputKind::Leaving => ("Leaving", None),
            InputKind::Changed => ("Changed", None),
            InputKind::PeerConfigured => ("PeerConfigured", None),
            InputKind::PeerRemoved => ("PeerRemoved", None),
        }
    }
}

impl From<&Input<'_, '_>> for InputKind {
    fn from(input: &Input<'_, '_>) -> InputKind {
        match *input {
            Input::Started => InputKind::Started,
            Input::Accepted { conn } => InputKind::Accepted(conn),
            Input::Connected { conn, .. } => InputKind::Connected(conn),
            Input::DialFailed { .. } => InputKind::DialFailed,
            Input::Secret { conn } => InputKind::Secret(conn),
            Input::Unproven { conn } => InputKind::Unproven(conn),
            Input::Lines { conn, .. } => InputKind::Lines(conn),
            Input::Ended { conn } => InputKind::Ended(conn),
            Input::Closed { conn } => InputKind::Closed(conn),
            Input::Taken { conn, .. } => InputKind::Taken(conn),
            Input::Flushed { conn } => InputKind::Flushed(conn),
            Input::PlacesArrived { .. } => InputKind::PlacesArrived,
            Input::TimerFired { .. } => InputKind::TimerFired,
            Input::Erase { .. } => InputKind::Erase,
            Input::Draining => InputKind::Draining,
            Input::Leaving => InputKind::Leaving,
            Input::Changed { .. } => InputKind::Changed,
            Input::PeerConfigured { .. } => InputKind::PeerConfigured,
            Input::PeerRemoved { .. } => InputKind::PeerRemoved,
        }
    }
}

impl From<&Timer> for Due {
    fn from(timer: &Timer) -> Due {
        match *timer {
            Timer::Redial { peer, .. } => Due::Redial(peer),
            Timer::Greeting { .. } => Due::Greeting,
            Timer::Ping { .. } => Due::Ping,
            Timer::Compare { .. } => Due::Compare,
            Timer::Sweep => Due::Sweep,
            Timer::Answer { .. } => Due::Answer,
        }
    }
}
