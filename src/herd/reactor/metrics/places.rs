//! What is measured of places, by the source that answers now, and of what threads do for the loop.

use super::{CALL_BOUNDS, QUESTIONS, Reactor, count, gauge, label, yes};
use crate::openmetrics::Figure::{Gauge, Histogram};
use crate::openmetrics::{Buckets, Metrics};

impl Reactor {
    pub(super) fn measure_places(&self, metrics: &mut Metrics) {
        let counters = self.server.counters();
        let source = || label("source", self.places.name());
        let waiting = gauge(self.server.questions_waiting());
        let help = "WHATSATs whose places are not there.";
        metrics.many("herd_questions_waiting", help, [(source(), waiting)]);
        let outcomes = QUESTIONS.into_iter().zip(self.counts.questions);
        let outcomes = outcomes.chain([("late", counters.late)]);
        let outcomes = outcomes.map(|(outcome, number)| {
            let labels = [source(), label("outcome", outcome)].concat();
            (labels, count(number))
        });
        metrics.many("herd_questions", "WHATSATs, by what became of them.", outcomes);
        let bounds = CALL_BOUNDS.map(|ms| ms as f64 / 1e3);
        let calls = Buckets::new(&bounds, &self.counts.calls, self.counts.call_nanos as f64 / 1e9);
        let help = "How long the service of places took to answer.";
        metrics.one("herd_places_call_duration_seconds", help, Histogram(calls));
        let loaded = yes(!self.places.are_loading());
        metrics.many("herd_places_loaded", "Places are read, or cannot be.", [(source(), loaded)]);
        let service = self.places.service(self.now);
        let today = service.as_ref().map_or(0, |service| service.calls_today);
        let today = Gauge(today as f64);
        metrics.many("herd_places_calls_today", "Calls of this day (UTC).", [(source(), today)]);
        if let Some(left) = service.and_then(|service| service.calls_left_today) {
            let left = Gauge(left as f64);
            let help = "Calls that this day has left.";
            metrics.many("herd_places_calls_left", help, [(source(), left)]);
        }
    }

    /// What threads have been given and the loop waits for.
    pub(super) fn measure_workers(&self, metrics: &mut Metrics) {
        let service = self.places.service(self.now);
        let jobs = [
            ("places", service.map_or(0, |service| service.calls_under_way as usize)),
            ("load", usize::from(self.places.are_loading())),
            ("resolve", self.routes.awaited()),
            ("reload", usize::from(self.is_reloading())),
        ];
        let jobs = jobs.map(|(job, number)| (label("job", job), gauge(number)));
        metrics.many("herd_worker_jobs", "What threads do and the loop waits for.", jobs);
    }
}
