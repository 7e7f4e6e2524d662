//! What is on the agenda of a simulated world.

use std::time::Duration;

use crate::engine::Published;
use crate::faults::Fault;
use crate::wire::At;
use herd_core::names::{PeerId, Ticket};

/// Something that happens at a moment.
pub(super) enum Event {
    Deliver(At),
    Dialed {
        server: usize,
        run: u32,
        peer: PeerId,
    },
    Timers {
        server: usize,
        run: u32,
    },
    Answer {
        server: usize,
        run: u32,
        ticket: Ticket,
        body: String,
    },
    /// Something that was published at one node of the engine comes to another.
    Routed {
        to: usize,
        published: Published,
        at: Duration,
    },
    /// This end notices that the wire is dead.
    Lost(At),
    /// A client talks to this server; it has this to report or draws something.
    Talk {
        server: usize,
        report: Option<String>,
    },
    Fault,
    /// Somebody has a client forgotten at this server.
    Erase {
        server: usize,
        client: String,
    },
    Start {
        server: usize,
    },
    /// A lame duck goes on: its client port closes, or some clients have their turn to leave.
    LameDuck {
        server: usize,
        run: u32,
    },
    /// A leaving server looks whether its clients are gone.
    Farewell {
        server: usize,
        run: u32,
    },
    /// The time that it gives all others is over, too.
    Gone {
        server: usize,
        run: u32,
    },
    /// Files say from now on that others hold the parts.
    Move,
    /// A server reads its configuration again, which says so.
    Reread {
        server: usize,
    },
    /// A link that was removed is configured again.
    Relink {
        server: usize,
        run: u32,
        peer: usize,
    },
    /// The thread of a journal that writes does something, or the one that syncs.
    Disk {
        server: usize,
        run: u32,
        syncs: bool,
    },
    /// The trouble of its disk is the end of a server.
    Death {
        server: usize,
        run: u32,
        how: Fault,
    },
    /// Is the herd at rest?
    Look,
}
