//! What a session has its driver do next. Apart because these are the answers alone; how a session
//! comes to them is in its methods.

/// What comes after a turn of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterTurn {
    /// The server must be told that no more lines will come.
    TellEnd,
    /// It has work left.
    TakeTurn,
    /// More must come first, or leave.
    Wait,
}

/// What comes after some of the outbox was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AfterWrite {
    /// The rest must be written, and the session counts as queued for that.
    pub must_flush: bool,
    /// The session is to have a turn, and counts as queued for that.
    pub must_serve: bool,
    /// It is to be closed once all is sent.
    pub may_be_over: bool,
}

/// What is to be done with a connection of which all is sent and nothing more will be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Farewell {
    /// The far end has closed, too: it is over.
    Close,
    /// Say that no more will come, and read until the far end closes.
    Linger,
}
