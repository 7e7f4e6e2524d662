//! What must be true of those who were erased (I18). A server that was erased at dies like others,
//! and what it alone held goes with it: the erasures that are still somebody's are judged.

use std::cmp::Ordering;

use super::tables::holds;
use super::{Invariant, Invariants, Violation, may_be_forgotten, nanos};
use crate::client::report;
use crate::host::Host;
use herd_core::store::rank;
use herd_core::wire::Report;

impl Invariants {
    /// A server holds this AT line from now on, which says that its client is forgotten.
    pub fn erased(&mut self, server: usize, line: String) {
        let operands = line.trim_end().splitn(4, ' ').nth(3).unwrap_or_default();
        self.said(server, operands);
        let report = report(&line);
        self.seats[server].clock.insert(nanos(&report.time) + nanos(report.skew));
        self.erasures.push(line);
    }

    /// At the end, nobody holds what is not newer than an erasure, or answers with it.
    ///
    /// # Errors
    /// I18.
    pub(super) fn are_erased(&self, bodies: &[&Host], repairs: bool) -> Result<(), Violation> {
        for line in self.erasures.iter().filter(|_| repairs) {
            let erasure = report(line);
            // Where clients are divided, others may have what their own clients have said before.
            // Another region hears of it as long as who was told first lives and knows, and knows
            // nothing newer of that region: of that, it may be the only one that lives.
            let is_said = bodies.iter().any(|body| {
                let is_near = |held: Report<'_>| body.hears_of(held.server);
                *body.server.settings().name == *erasure.server
                    && holds(body.server.store(), line)
                    && body.server.store().find(erasure.client).is_some_and(is_near)
            });
            let must_know = |body: &&&Host| {
                body.holds_part_of(erasure.client) && (is_said || body.hears_of(erasure.server))
            };
            for body in bodies.iter().filter(must_know) {
                let held = body.server.store().find(erasure.client);
                // A newer report may have taken its place, and be over by now: then there is none.
                let is_forgotten = held.is_none_or(|held| {
                    rank(&held, &erasure) != Ordering::Less || may_be_forgotten(body, &erasure)
                });
                let is_silent = held.is_none_or(|held| {
                    !held.is_erasure() || body.look_up(erasure.client).is_none()
                });
                Invariant::Erasing.demand(is_forgotten && is_silent, || {
                    let mut text = Vec::new();
                    held.inspect(|held| held.write_line(&mut text));
                    format!("{line:?} was said, and a server holds {}", text.escape_ascii())
                })?;
            }
        }
        Ok(())
    }
}
