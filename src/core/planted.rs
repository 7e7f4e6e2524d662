//! Bugs that were planted on purpose: a simulator that finds none has yet to show that it could.
//! Apart because it is the list of them; each stands where somebody could have made it, as a
//! condition `planted(Bug::…)`, or in `misjudged`. A few of the reactor's stand in `sim::body`.
//!
//! Without the feature `mutants` there are none: `planted` is `false`, and the compiler leaves the
//! lines out. With it, `herd mutants` plants one after the other and counts the lives that it
//! takes to notice. They are also the exercises of NOTES.md: each one is a rule broken.

#[cfg(feature = "mutants")]
use std::cell::Cell;
use std::cmp::Ordering;

#[cfg(feature = "mutants")]
use super::store::rank;
use super::wire::Report;

/// A bug, named after the rule that it breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bug {
    NoRepair,
    OneWayRepair,
    EmptyNotRefilled,
    SyncBeforeFlood,
    FirstRootDoubted,
    RootCutShort,
    LeafMissedByOne,
    DigestKeepsOld,
    DigestForgetsNew,
    TiesByArrival,
    TiesByPosition,
    FloatTime,
    NewestArrivalWins,
    NoForward,
    TellerToldToo,
    OverflowDropped,
    MissedBitLost,
    LeafHalfSent,
    OwedForEver,
    LeafSentWhole,
    RestOfLeafForgotten,
    TagByHerdKey,
    ComparisonCutShort,
    ByeTooEarly,
    PieceWithoutBound,
    AckBeforeStore,
    QuestionOvertakes,
    AnswersOutOfOrder,
    HoldForgotten,
    TicketsKept,
    StaleTimerBelieved,
    OldLinkKept,
    SilenceUnnoticed,
    RedialGivesUp,
    StampGoesBack,
    AheadRefusedByPeers,
    FullForPeers,
    ExpiredComesBack,
    ProofUnchecked,
    NonceUsedAgain,
    TagUnchecked,
    CountNotSealed,
    PartialLineKept,
    WakeBeforeQueue,
    GraveyardSkipped,
    ResumeForgotten,
    EndBeforeLines,
}

/// Whether this bug is the one that is planted.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub fn planted(_: Bug) -> bool {
    false
}

/// How a planted bug ranks a report against the text of the one that is held.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
pub(super) fn misjudged(_: &Report<'_>, _: &[u8]) -> Option<Ordering> {
    None
}

#[cfg(feature = "mutants")]
thread_local! {
    static PLANTED: Cell<Option<Bug>> = const { Cell::new(None) };
}

#[cfg(feature = "mutants")]
pub fn planted(bug: Bug) -> bool {
    PLANTED.get() == Some(bug)
}

/// Plants a bug in everything that this thread does from now on, and no other.
#[cfg(feature = "mutants")]
pub fn plant(bug: Option<Bug>) {
    PLANTED.set(bug);
}

#[cfg(feature = "mutants")]
pub(super) fn misjudged(report: &Report<'_>, held: &[u8]) -> Option<Ordering> {
    let held = Report::from_fields(held);
    let float = |report: &Report<'_>| std::str::from_utf8(report.time).ok()?.parse::<f64>().ok();
    match PLANTED.get()? {
        Bug::TiesByArrival => Some(report.stamp.cmp(&held.stamp)),
        Bug::TiesByPosition => {
            Some(report.stamp.cmp(&held.stamp).then_with(|| report.position.cmp(held.position)))
        }
        Bug::FloatTime => float(report).partial_cmp(&float(&held)),
        Bug::NewestArrivalWins => Some(match rank(report, &held) {
            Ordering::Equal => Ordering::Equal,
            _ => Ordering::Greater,
        }),
        _ => None,
    }
}

/// What is known of a bug.
#[cfg(feature = "mutants")]
pub struct Mutant {
    pub bug: Bug,
    /// The invariants that it breaks, of which the simulator should name one.
    pub breaks: &'static [&'static str],
    pub what: &'static str,
    /// Of NOTES.md: where the rule is explained.
    pub chapter: u8,
}

#[cfg(feature = "mutants")]
const fn mutant(
    bug: Bug,
    chapter: u8,
    breaks: &'static [&'static str],
    what: &'static str,
) -> Mutant {
    Mutant { bug, breaks, what, chapter }
}

/// All of them, in the order in which NOTES.md meets the rules.
#[cfg(feature = "mutants")]
pub const MUTANTS: &[Mutant] = &[
    mutant(Bug::NoRepair, 11, &["I4"], "a link that comes up compares nothing"),
    mutant(Bug::OneWayRepair, 11, &["I4"], "whoever accepted never tells its own digest"),
    mutant(Bug::EmptyNotRefilled, 11, &["I4"], "a peer that holds nothing is sent nothing"),
    mutant(Bug::SyncBeforeFlood, 11, &["I4"], "a link compares before news is flooded on it"),
    mutant(Bug::FirstRootDoubted, 11, &["I4"], "the first comparison of a link may be put off"),
    mutant(Bug::RootCutShort, 11, &["I4"], "only eight bits of the root are compared"),
    mutant(Bug::LeafMissedByOne, 11, &["I4"], "the leaf beside the one that differs is sent"),
    mutant(Bug::DigestKeepsOld, 11, &["I3"], "a report that is replaced stays in the digest"),
    mutant(Bug::DigestForgetsNew, 11, &["I3"], "a new client is not put into the digest"),
    mutant(Bug::TiesByArrival, 10, &["I1", "I4", "I5"], "of equal times the first to come wins"),
    mutant(Bug::TiesByPosition, 10, &["I1", "I4", "I5"], "ties are broken by position alone"),
    mutant(Bug::FloatTime, 7, &["I2", "I4", "I5"], "times are compared as floats"),
    mutant(Bug::NewestArrivalWins, 10, &["I2", "I4", "I5"], "whatever comes last is held"),
    mutant(Bug::NoForward, 10, &["I4"], "what a peer tells is told to nobody else"),
    mutant(Bug::TellerToldToo, 10, &["I7"], "the teller is told its own news"),
    mutant(Bug::OverflowDropped, 11, &["I4"], "news for a slow peer is dropped"),
    mutant(Bug::MissedBitLost, 11, &["I4"], "news for a leaf that was missed clears its bit"),
    mutant(Bug::LeafHalfSent, 11, &["I4"], "of a leaf only the first report is sent"),
    mutant(Bug::OwedForEver, 11, &["I4", "endless"], "what was sent still counts as owed"),
    mutant(Bug::LeafSentWhole, 11, &["bounded", "I9"], "a leaf is sent in one piece"),
    mutant(Bug::RestOfLeafForgotten, 11, &["I4"], "of a leaf only the first piece is sent"),
    mutant(Bug::TagByHerdKey, 11, &["bounded"], "places in the index can be chosen by strangers"),
    mutant(Bug::ComparisonCutShort, 11, &["I5"], "a leaver does not wait for a comparison"),
    mutant(Bug::ByeTooEarly, 11, &["I5"], "good-bye is said to a peer that is owed reports"),
    mutant(Bug::PieceWithoutBound, 11, &["I9"], "all that was missed is sent at once"),
    mutant(Bug::AckBeforeStore, 10, &["I5", "I8"], "a report whose answer must wait is not stored"),
    mutant(Bug::QuestionOvertakes, 8, &["I8"], "answers do not wait for those before them"),
    mutant(Bug::AnswersOutOfOrder, 8, &["I8"], "whatever is ready leaves"),
    mutant(Bug::HoldForgotten, 8, &["I9"], "more may wait than waits_max"),
    mutant(Bug::TicketsKept, 6, &["I10", "assertion"], "tickets of those who left are kept"),
    mutant(Bug::StaleTimerBelieved, 6, &["I4", "I10"], "a redial is due, whatever has happened"),
    mutant(Bug::OldLinkKept, 11, &["I4", "I10"], "a link that was replaced is not closed"),
    mutant(Bug::SilenceUnnoticed, 11, &["I4", "I9", "I10"], "a silent peer is never given up"),
    mutant(Bug::RedialGivesUp, 11, &["I4", "I10"], "a peer is dialled five times, then no more"),
    mutant(Bug::StampGoesBack, 11, &["I6"], "stamps follow the clock when it is set back"),
    mutant(Bug::AheadRefusedByPeers, 11, &["I4"], "peers, too, refuse what is too far ahead"),
    mutant(Bug::FullForPeers, 11, &["I4"], "a full server refuses what peers tell"),
    mutant(Bug::ExpiredComesBack, 11, &["I4"], "what has expired is taken from peers"),
    mutant(Bug::ProofUnchecked, 11, &["I11"], "whoever greets well is a peer"),
    mutant(Bug::NonceUsedAgain, 11, &["I11"], "each greeting has the same nonce"),
    mutant(Bug::TagUnchecked, 11, &["I6", "I11"], "the tags of lines are not looked at"),
    mutant(Bug::CountNotSealed, 11, &["I11"], "a tag does not depend on the line's number"),
    mutant(Bug::PartialLineKept, 5, &["I6", "I11"], "half a line of a dead link begins the next"),
    mutant(Bug::WakeBeforeQueue, 8, &["I8"], "the waker is rung before the answer is queued"),
    mutant(Bug::GraveyardSkipped, 6, &["I8", "I11"], "the slot of the dead is given away at once"),
    mutant(Bug::ResumeForgotten, 5, &["I8"], "whose lines were held back is never read again"),
    mutant(Bug::EndBeforeLines, 5, &["I8"], "the end is told before the last lines"),
];
