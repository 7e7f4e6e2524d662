//! What is promised, by number and name, and what a broken promise is. How it is seen is in
//! `invariants`.

use std::any::Any;
use std::fmt;

/// The promises. Each has a number, by which tests and documents call it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Invariant {
    /// I1: reports have one order, and a store ends with the same however they come.
    Order,
    /// I2: what a server holds of a client never becomes older while it runs, nor by a restart if
    /// its journal had it.
    Rising,
    /// I3: a server's digests and counts match what it holds.
    Upkeep,
    /// I4: left in peace, the herd is whole again and all hold the same, within a bound; where
    /// clients are divided, all who hold a part.
    Agreement,
    /// I5: a report that was acknowledged is held or superseded everywhere, or where clients are
    /// divided, by all who hold its part, unless all servers that
    /// held it died, and no journal keeps it.
    Keeping,
    /// I6: every report held was made by a client, to the server that it names, at that time.
    Truth,
    /// I7: a report costs at most 2E − N + 1 lines, and exactly those where nothing goes wrong.
    Cost,
    /// I8: the k-th answer answers the k-th command, and nothing else is sent to a client.
    Answers,
    /// I9: outstanding answers and bytes of every connection are bounded.
    Bounds,
    /// I10: a server that has left waits for nothing and holds nothing.
    Leaving,
    /// I11: peers are accepted; strangers and forged links are not.
    Trust,
    /// I12: a herd with nothing to do does next to nothing.
    Idleness,
    /// I13: what a client was answered is there when its server starts again: after the death of
    /// the process, and after that of the machine if it was synced, or answers wait for that. Only
    /// a disk that breaks what it holds is excused.
    Kept,
    /// I14: a journal is no longer than several times what it says.
    Room,
    /// I15: who says that it has caught up with a peer holds all that the peer held when their link
    /// came up; and left in peace, all say so.
    CaughtUp,
    /// I16: who follows knows in the end what the server holds, however slowly it reads and however
    /// often its stream breaks; and never hears of somebody who leaves and was not there.
    Following,
    /// I17: a reload ends no connection of a client and no link, but those that it removes; and a
    /// link that was removed stays so until it is configured again.
    Reload,
    /// I18: who was erased is forgotten by all that run, and comes back only by a newer report.
    Erasing,
    /// I19: who leaves lets clients go between two lines, behind the answers to all they have said.
    LameDuck,
    /// I20: no client waits for other servers or for an engine: an IAMAT that is taken has its
    /// answer at once, unless a question before it waits for the places; the disk may hold that.
    Unhindered,
    /// I21: what a server on an engine heard first, a node has read from it; and to all, it tells
    /// nothing else.
    Told,
    /// I22: a server that calls a part complete holds what others had published of it when its
    /// connection came up; and left in peace, all who hold a part say so, and hold what anybody
    /// holds of it.
    Complete,
    /// I23: where clients are divided, a client that asks at rest is told the newest report that
    /// any server has, whichever server it asks.
    Asked,
    /// One input costs no more than a piece of the store, and all of them what they must.
    Bounded,
    /// Everything that happens comes to an end.
    Endless,
    /// What the code asserts of itself.
    Assertion,
    /// The same seed is the same run.
    Replay,
}

/// A broken promise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    pub invariant: Invariant,
    pub message: String,
}

impl Invariant {
    pub const ALL: [Invariant; 27] = [
        Invariant::Order,
        Invariant::Rising,
        Invariant::Upkeep,
        Invariant::Agreement,
        Invariant::Keeping,
        Invariant::Truth,
        Invariant::Cost,
        Invariant::Answers,
        Invariant::Bounds,
        Invariant::Leaving,
        Invariant::Trust,
        Invariant::Idleness,
        Invariant::Kept,
        Invariant::Room,
        Invariant::CaughtUp,
        Invariant::Following,
        Invariant::Reload,
        Invariant::Erasing,
        Invariant::LameDuck,
        Invariant::Unhindered,
        Invariant::Told,
        Invariant::Complete,
        Invariant::Asked,
        Invariant::Bounded,
        Invariant::Endless,
        Invariant::Assertion,
        Invariant::Replay,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Invariant::Order => "I1",
            Invariant::Rising => "I2",
            Invariant::Upkeep => "I3",
            Invariant::Agreement => "I4",
            Invariant::Keeping => "I5",
            Invariant::Truth => "I6",
            Invariant::Cost => "I7",
            Invariant::Answers => "I8",
            Invariant::Bounds => "I9",
            Invariant::Leaving => "I10",
            Invariant::Trust => "I11",
            Invariant::Idleness => "I12",
            Invariant::Kept => "I13",
            Invariant::Room => "I14",
            Invariant::CaughtUp => "I15",
            Invariant::Following => "I16",
            Invariant::Reload => "I17",
            Invariant::Erasing => "I18",
            Invariant::LameDuck => "I19",
            Invariant::Unhindered => "I20",
            Invariant::Told => "I21",
            Invariant::Complete => "I22",
            Invariant::Asked => "I23",
            Invariant::Bounded => "bounded",
            Invariant::Endless => "endless",
            Invariant::Assertion => "assertion",
            Invariant::Replay => "replay",
        }
    }

    pub fn broken(self, message: impl Into<String>) -> Violation {
        Violation { invariant: self, message: message.into() }
    }

    /// # Errors
    /// It is not as it should be.
    pub fn demand(self, is_so: bool, or: impl FnOnce() -> String) -> Result<(), Violation> {
        if is_so { Ok(()) } else { Err(self.broken(or())) }
    }
}

impl Violation {
    /// The violation that a panic's payload describes.
    pub fn of_panic(payload: &(dyn Any + Send)) -> Violation {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| payload.downcast_ref::<&str>().copied());
        Invariant::Assertion.broken(text.unwrap_or("a panic without a text"))
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.invariant.name(), self.message)
    }
}
