//! Which of two reports of a client is the newer one. Apart from the store, which keeps it, because
//! all servers must come to the same; it knows reports and nothing of where they are kept.

use std::cmp::Ordering;

use super::record::Record;
use crate::clock::PosixTime;
use crate::wire::Report;

/// Whether the times alone say that a report is newer than the one held, as they do of nearly all.
#[inline(always)]
pub(crate) fn is_later(told: Record<'_>, held: Record<'_>) -> bool {
    matches!((told.time(), held.time()), (Some(time), Some(held_time)) if time > held_time)
}

/// `rank` of two reports as they are kept. They are taken apart only if neither their times nor all
/// their bytes settle it.
#[inline(always)]
pub(crate) fn rank_records(told: Record<'_>, held: Record<'_>) -> Ordering {
    match (told.time(), held.time()) {
        (Some(time), Some(held_time)) if time != held_time => time.cmp(&held_time),
        _ if told.is_spelled_like(held) => Ordering::Equal,
        _ => rank_apart(told, held),
    }
}

#[cold]
fn rank_apart(told: Record<'_>, held: Record<'_>) -> Ordering {
    rank(&told.report(), &held.report())
}

/// The total order on reports of one client: the later one is the greater one. Ties are broken
/// by every byte that servers tell each other, so that two reports are equal only if they are
/// the same; with any looser rule, two servers that heard them in different order would differ
/// for ever.
pub fn rank(a: &Report<'_>, b: &Report<'_>) -> Ordering {
    let finer = PosixTime::beyond_nanos;
    a.stamp
        .cmp(&b.stamp)
        .then_with(|| finer(&a.time).cmp(finer(&b.time)))
        .then_with(|| a.position.cmp(b.position))
        .then_with(|| a.server.cmp(b.server))
        .then_with(|| a.skew.cmp(b.skew))
        .then_with(|| a.time.cmp(&b.time))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(line: &str) -> Report<'_> {
        Report::of_line(line.as_bytes()).unwrap_or_else(|| panic!("{line}"))
    }

    #[test]
    fn reports_are_ranked_by_time_and_then_by_every_byte() {
        let check = |lesser: &str, greater: &str| {
            let (lesser, greater) = (report(lesser), report(greater));
            assert_eq!(rank(&lesser, &greater), Ordering::Less);
            assert_eq!(rank(&greater, &lesser), Ordering::Greater);
            assert_eq!(rank(&lesser, &lesser), Ordering::Equal);
        };
        check("AT B +9 x +2+2 9.5", "AT A +0 x +1+1 10");
        check("AT B +9 x +2+2 1.000000001", "AT A +0 x +1+1 1.000000002");
        check("AT B +9 x +2+2 1.0000000001", "AT A +0 x +1+1 1.0000000002");
        check("AT B +9 x +1+1 1", "AT A +0 x +1+2 1");
        check("AT A +9 x +1+1 1", "AT B +0 x +1+1 1");
        check("AT A +0 x +1+1 1", "AT A +1 x +1+1 1");
        check("AT A +0 x +1+1 1.5", "AT A +0 x +1+1 1.50");
    }
}
