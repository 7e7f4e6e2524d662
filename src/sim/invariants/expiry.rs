//! Reports that are over, or nearly: what must not come back, and what need not be there.

use super::{Invariant, Violation, holds};
use crate::client::report;
use crate::host::Host;
use herd_core::wire::Report;

/// Expiry counts whole seconds of two times.
const EXPIRY_SLACK: i128 = 2_000_000_000;

/// # Errors
/// I4: what had expired was taken in again.
pub(super) fn not_over(body: &Host, news: &Report<'_>) -> Result<(), Violation> {
    let is_over = body.over_for(news).is_some_and(|over_for| over_for > EXPIRY_SLACK);
    Invariant::Agreement.demand(!is_over, || {
        format!("{} came back after it had expired", news.client.escape_ascii())
    })
}

/// Whether a report is over on this server's clock, or nearly.
pub fn may_be_forgotten(body: &Host, report: &Report<'_>) -> bool {
    body.over_for(report).is_some_and(|over_for| over_for > -EXPIRY_SLACK)
}

/// Whether a server holds what this AT line says, or better, or need not any more.
pub(super) fn keeps(body: &Host, line: &str) -> bool {
    holds(body.server.store(), line) || may_be_forgotten(body, &report(line))
}
