//! What is measured of the engine; a server without one has none of it.

use super::{Reactor, count, gauge, label, yes};
use crate::openmetrics::Metrics;
use herd_core::engine::{EngineState, NotBelieved};

impl Reactor {
    pub(super) fn measure_engine(&self, metrics: &mut Metrics) {
        let Some(engine) = self.server.engine() else { return };
        let counters = engine.counters;
        let states = EngineState::ALL
            .map(|state| (label("state", state.name()), yes(engine.state == state)));
        metrics.many("herd_engine_state", "How far the connection has come.", states);
        let help = "Sent to it, and not known to be read.";
        metrics.one("herd_engine_owed_bytes", help, gauge(engine.owed));
        let help = "Parts of the store of which others may not have what was heard here.";
        metrics.one("herd_engine_leaves_missed", help, gauge(engine.leaves_missed));
        let help = "Other servers that were heard on it.";
        metrics.one("herd_engine_servers_heard", help, gauge(engine.members_heard));
        let directions = |received, sent| {
            [("received", received), ("sent", sent)]
                .map(|(way, number)| (label("direction", way), count(number)))
        };
        let batches = directions(counters.batches_in, counters.batches_out);
        metrics.many("herd_engine_batches", "Batches of all servers' news.", batches);
        let lines = directions(counters.lines_in, counters.lines_out);
        metrics.many("herd_engine_lines", "Lines of them.", lines);
        let lines = directions(counters.abroad[1], counters.abroad[0]);
        metrics.many("herd_engine_abroad_lines", "Lines from and to other regions.", lines);
        let help = "Batches that others have published and that did not come.";
        metrics.one("herd_engine_gaps", help, count(counters.gaps));
        let help = "Comparisons that this server has asked for.";
        metrics.one("herd_engine_asks", help, count(counters.asks));
        let refused = NotBelieved::ALL
            .map(|why| (label("reason", why.name()), count(counters.refused[why as usize])));
        metrics.many("herd_engine_refused", "Batches that were not believed.", refused);
        let help = "Parts of all clients that this server holds, where they are divided.";
        metrics.one("herd_engine_parts", help, gauge(engine.parts));
        let help = "Those of which all has come that others have told.";
        metrics.one("herd_engine_parts_complete", help, gauge(engine.parts_complete));
        let help = "Those that others are to hold, and that this server holds until they do.";
        metrics.one("herd_engine_parts_moving", help, gauge(engine.parts_moving));
        let asked = engine.questions;
        let questions = [
            ("asked", asked.asked),
            ("found", asked.found),
            ("none", asked.none),
            ("no_responders", asked.no_responders),
            ("too_late", asked.too_late),
            ("unasked", asked.unasked),
            ("abroad", asked.abroad),
        ];
        let questions = questions.map(|(what, number)| (label("what", what), count(number)));
        let help = "WHATSATs about clients that others hold, and what became of them.";
        metrics.many("herd_engine_questions", help, questions);
    }
}
