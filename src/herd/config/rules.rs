//! What limits owe each other, whichever of them is set.

use super::Settings;
use super::limits::{AT_OVERHEAD_BYTES, EXPIRE_MARGIN, LINE_TAG_BYTES, PLACES_ANSWER_BYTES_MAX};
use super::units::KIB;

const _: () = {
    assert!(AT_OVERHEAD_BYTES + LINE_TAG_BYTES == 162, "a message of broken_rule names the sum");
    assert!(EXPIRE_MARGIN.as_secs() == 60, "a message of broken_rule names it");
    assert!(PLACES_ANSWER_BYTES_MAX == 96 * KIB, "a message of broken_rule names it");
};

/// The first rule that is broken; `None` if all are kept.
pub fn broken_rule(settings: &Settings) -> Option<&'static str> {
    let limits = &settings.limits;
    if limits.endless_bytes_max <= limits.line_bytes_max {
        return Some("endless_bytes_max must be above line_bytes_max");
    }
    // A report that no peer would read could never agree anywhere.
    if limits.peer_line_bytes_max < limits.line_bytes_max + AT_OVERHEAD_BYTES + LINE_TAG_BYTES {
        return Some("peer_line_bytes_max must be at least 162 above line_bytes_max");
    }
    if limits.outbox_bytes_max <= limits.high_water_bytes {
        return Some("outbox_bytes_max must be above high_water_bytes");
    }
    // The answers that wait on a connection may all come at once.
    let answer = PLACES_ANSWER_BYTES_MAX + limits.line_bytes_max + AT_OVERHEAD_BYTES;
    if limits.outbox_bytes_max / answer < limits.core.waits_max {
        return Some(
            "outbox_bytes_max must hold waits_max answers of 96 KiB, each with a line of \
             line_bytes_max",
        );
    }
    if limits.core.peer_outbox_bytes_max < limits.peer_line_bytes_max {
        return Some("peer_outbox_bytes_max must be at least peer_line_bytes_max");
    }
    if settings.engine.is_on() && limits.core.compare_every.is_none() {
        return Some(
            "compare_every must not be off with [engine]: an engine may lose what it is told",
        );
    }
    if limits.core.silence_max <= limits.core.ping_after {
        return Some("silence_max must be longer than ping_after");
    }
    if limits.core.backoff_min > limits.core.backoff_max {
        return Some("backoff_min must not be longer than backoff_max");
    }
    // A report that is forgotten before it is compared may be missing at some servers.
    let compared_within = limits.core.compare_every.unwrap_or_default() + EXPIRE_MARGIN;
    if limits.core.expire_after.is_some_and(|expire_after| expire_after <= compared_within) {
        return Some("expire_after must be over a minute longer than compare_every");
    }
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Limits;
    use super::*;

    fn with(change: impl FnOnce(&mut Limits)) -> Option<&'static str> {
        let mut settings = Settings::default();
        change(&mut settings.limits);
        broken_rule(&settings)
    }

    #[test]
    fn an_engine_wants_comparisons() {
        let mut settings = Settings::default();
        settings.limits.core.compare_every = None;
        assert_eq!(broken_rule(&settings), None);
        settings.engine.urls = "127.0.0.1:4222".parse().unwrap();
        assert!(broken_rule(&settings).is_some_and(|rule| rule.contains("with [engine]")));
        settings.limits.core.compare_every = Some(Duration::from_secs(30));
        assert_eq!(broken_rule(&settings), None);
    }

    #[test]
    fn rules_between_limits_are_kept() {
        let check = |change: &dyn Fn(&mut Limits), part: &str| {
            let rule = with(change).unwrap_or("none");
            assert!(rule.contains(part), "{rule}, not {part}");
        };
        check(&|_| {}, "none");
        check(&|l| l.endless_bytes_max = 8192, "endless_bytes_max");
        check(&|l| l.peer_line_bytes_max = 8192, "peer_line_bytes_max");
        check(&|l| l.peer_line_bytes_max = 8192 + 161, "at least 162 above");
        check(&|l| l.peer_line_bytes_max = 8192 + 162, "none");
        check(&|l| l.high_water_bytes = l.outbox_bytes_max, "outbox_bytes_max");
        check(&|l| l.core.waits_max *= 2, "waits_max answers");
        check(&|l| (l.core.waits_max, l.outbox_bytes_max) = (128, 16 << 20), "none");
        check(&|l| (l.line_bytes_max, l.peer_line_bytes_max) = (32 * KIB, 48 * KIB), "waits");
        check(&|l| l.core.peer_outbox_bytes_max = 1, "peer_outbox_bytes_max");
        check(&|l| l.core.ping_after = l.core.silence_max, "silence_max");
        check(&|l| l.core.backoff_max = Duration::from_millis(99), "backoff_min");
    }

    #[test]
    fn a_report_is_compared_before_it_is_forgotten() {
        let check = |expire_s: u64, compare_s: Option<u64>, is_kept: bool| {
            let rule = with(|limits| {
                limits.core.expire_after = Some(Duration::from_secs(expire_s));
                limits.core.compare_every = compare_s.map(Duration::from_secs);
            });
            assert_eq!(rule.is_none(), is_kept, "{rule:?}");
            assert!(rule.is_none_or(|rule| rule.contains("expire_after")));
        };
        check(90, Some(30), false);
        check(91, Some(30), true);
        check(60, None, false);
        check(61, None, true);
    }

    #[test]
    fn defaults_go_together() {
        for settings in [Settings::default(), Settings::preset()] {
            assert_eq!(broken_rule(&settings), None);
            let limits = &settings.limits;
            assert!(settings.places.deadline <= limits.drain, "a drain waits for answers");
            let timeouts = &limits.timeouts;
            assert!(
                timeouts.idle > timeouts.first_byte.max(timeouts.partial_line),
                "else they say nothing"
            );
            let queue = settings.places.calls.queue_max;
            assert!(limits.core.waits_max < queue, "else one connection could fill the queue");
        }
    }
}
