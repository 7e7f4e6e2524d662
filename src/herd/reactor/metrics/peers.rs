//! What is measured of peers, and of those who are turned away.

use std::time::Duration;

use super::super::proxied::NoHead;
use super::{Reactor, TLS, count, door_name, gauge, label, yes};
use crate::config::LinkKind;
use crate::openmetrics::Figure::{self, Gauge};
use crate::openmetrics::Metrics;
use herd_core::names::{ConnKind, PeerId};
use herd_core::{LinkState, LostFor, RefusedFor};

impl Reactor {
    pub(super) fn measure_peers(&self, metrics: &mut Metrics) {
        let peers = self.config.peers.iter().enumerate();
        let views = peers.map(|(at, peer)| (peer, at, self.server.peer(PeerId(at as u16))));
        let views = views.filter(|(peer, _, view)| {
            peer.kind != LinkKind::Engine && view.state != LinkState::Removed
        });
        let views = Vec::from_iter(views);
        let mut many = |name, help, figure: &dyn Fn(usize) -> Figure| {
            let series = views.iter().enumerate();
            let series = series.map(|(at, (peer, ..))| (label("peer", &peer.name), figure(at)));
            metrics.many(name, help, series);
        };
        many("herd_peer_up", "Reports flow to and from it.", &|at| {
            yes(matches!(views[at].2.state, LinkState::Up | LinkState::Plain))
        });
        if self.wrapping.peers.is_some() {
            many("herd_peer_tls", "Its link is up, and by TLS.", &|at| {
                yes(views[at].2.conn.is_some_and(|conn| self.slots.is_wrapped(conn)))
            });
        }
        many("herd_peer_link_losses", "Links that were up and are over.", &|at| {
            count(self.counts.peers[views[at].1].link_losses)
        });
        many("herd_peer_links", "Links that came up.", &|at| {
            count(self.counts.peers[views[at].1].link_ups)
        });
        many("herd_peer_owed_bytes", "Sent to it, and not taken.", &|at| gauge(views[at].2.owed));
        let help = "It has not been told all that it misses.";
        many("herd_peer_behind", help, &|at| yes(views[at].2.is_behind));
        let posix_s = self.now.posix.whole_seconds() as f64;
        let date = |moment: Option<Duration>| {
            let ago = moment.map(|moment| self.now.monotonic.saturating_sub(moment));
            Gauge(ago.map_or(0.0, |ago| posix_s - ago.as_secs_f64().floor()))
        };
        let help = "When all that it held was last found to be held here, too; 0 if never.";
        many("herd_peer_last_even_timestamp_seconds", help, &|at| date(views[at].2.even_at));
        let help = "How far its clock is ahead of ours; 0 before that is measured.";
        many("herd_peer_clock_offset_seconds", help, &|at| {
            Gauge(views[at].2.clock.map_or(0.0, |clock| clock.ahead_ns as f64 / 1e9))
        });
        let help = "A line there and one back; 0 before that is measured.";
        many("herd_peer_round_trip_seconds", help, &|at| {
            Gauge(views[at].2.clock.map_or(0.0, |clock| clock.round_trip.as_secs_f64()))
        });
        let lost = LostFor::ALL
            .map(|why| (label("reason", why.name()), count(self.counts.links_lost[why as usize])));
        metrics.many("herd_links_lost", "Links that were up and are over, by reason.", lost);
        let differences = count(self.server.counters().differences);
        let help = "Parts of the store that differed from a peer's.";
        metrics.one("herd_peer_differences", help, differences);
    }

    /// Those on the peer port and, where proxies in front are named, those of proxies.
    pub(super) fn measure_refusals(&self, metrics: &mut Metrics) {
        let refused = |door: usize, reason: &'static str, number| {
            let door = ("door", door_name(door).to_owned());
            (vec![door, ("reason", reason.to_owned())], count(number))
        };
        let strangers = RefusedFor::ALL.map(|why| {
            let number = self.server.counters().refused_for[why as usize];
            refused(ConnKind::Peer as usize, why.name(), number)
        });
        let (web, mqtt) = (ConnKind::Web as usize, ConnKind::Mqtt as usize);
        let doors = [ConnKind::Client as usize, TLS, web, mqtt].into_iter();
        let has_proxies = !self.config.proxy_from.is_empty();
        let doors = doors.filter(|door| has_proxies && self.has_door(*door));
        let heads = doors.flat_map(|door| {
            NoHead::ALL.map(|why| refused(door, why.name(), self.heads.refused[door][why as usize]))
        });
        let help = "Connections of nobody who may come so, and links that broke the protocol.";
        metrics.many("herd_connections_refused", help, strangers.into_iter().chain(heads));
    }
}
