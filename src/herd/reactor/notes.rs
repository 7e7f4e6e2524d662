//! What the herd's life writes into the log: the core's notes as events. Lines of clients and peers
//! are the log's own (`logging::LogHandle`).

use super::Reactor;
use crate::logging::events::Event;
use herd_core::LostFor;
use herd_core::border::Note;
use herd_core::names::{ConnId, PeerId};

/// A difference of clocks in a form for people.
fn spoken(seconds: u64) -> String {
    match seconds {
        0..7_200 => format!("{seconds} s"),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

impl Reactor {
    pub(super) fn log_note(&mut self, note: Note) {
        if let Note::PeerDown { peer, why, .. } = note {
            self.counts.peers[usize::from(peer.0)].link_losses += 1;
            self.counts.links_lost[LostFor::of(why) as usize] += 1;
        }
        if let Note::PeerUp { peer, .. } = note {
            self.counts.peers[usize::from(peer.0)].link_ups += 1;
        }
        let name = |peer: PeerId| &self.config.peers[usize::from(peer.0)].name;
        match note {
            Note::PeerUp { peer, conn } => Event::LinkUp { peer: name(peer), conn }.log(),
            Note::PeerDown { peer, conn, why } => {
                Event::LinkDown { peer: name(peer), conn, reason: why }.log();
            }
            Note::PeerUnreachable { peer } => Event::PeerUnreachable { peer: name(peer) }.log(),
            Note::Refused { conn, why } => Event::Refused { conn, reason: why }.log(),
            Note::TooManyNewcomers { conn } => Event::TooManyNewcomers { conn }.log(),
            Note::AheadOfClock { conn, seconds } => {
                Event::ClockAhead { conn, ahead: &spoken(seconds) }.log();
            }
            Note::TwoOfOneName { peer, conn, joined } => {
                let from = |conn: ConnId| {
                    let connection = self.slots.tenant(conn.slot());
                    let ip = connection.and_then(|connection| connection.peer_ip());
                    ip.map_or("unknown".to_owned(), |ip| ip.to_string())
                };
                let (joined, refused) = (&from(joined), &from(conn));
                Event::NameConflict { peer: name(peer), joined, refused }.log();
            }
            Note::Full { clients, bytes } => Event::StoreFull { clients, bytes }.log(),
            Note::PeerBehind { peer } => Event::PeerBehind { peer: name(peer) }.log(),
            Note::PlainOverflow { peer } => Event::CoursePeerOverflow { peer: name(peer) }.log(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn differences_are_spoken() {
        assert_eq!([90, 90_000, 1_795_321_086].map(spoken), ["90 s", "25 h", "20779 days"]);
    }
}
