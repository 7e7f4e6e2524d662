//! What clients are told at rest of clients that their servers do not hold, where clients are
//! divided: and what of them when a server dies while it is asked.
//!
//! ```text
//!   at rest ──▶ each server is asked, one question after the other   as long as the rest lasts
//!     │
//!   all is judged ──▶ each is asked once more, and one of them dies ──▶ the answers are judged
//! ```

use std::collections::BTreeSet;
use std::time::Duration;

use super::{Event, World};
use crate::client::{Client, report};
use crate::invariants::{Invariant, Violation, lines_of, may_be_forgotten};
use herd_core::store::rank;

/// Questions to each server at rest.
const ROUNDS: usize = 3;
/// Who is killed has been asked for so long, or for less.
const DEATH_AFTER_MAX: Duration = Duration::from_millis(200);
/// Then all have their answers: two questions to other servers wait for half a second each, and
/// that to the places for less than one.
const ANSWERED_AFTER: Duration = Duration::from_secs(5);

/// What was asked at rest.
#[derive(Default)]
pub(super) struct AtRest {
    rounds: usize,
    questions: Vec<AskedAtRest>,
    /// When all must be answered, after a death.
    ends_at: Option<Duration>,
}

/// A question: who asks, about which client, and what one may be told, as it was then.
struct AskedAtRest {
    asker: usize,
    about: String,
    answers: BTreeSet<String>,
}

impl World {
    /// Each server of a herd at rest whose clients are divided is asked about one of them, or about
    /// a client that nobody knows.
    ///
    /// # Errors
    /// As `Self::come`.
    pub(super) fn ask_at_rest(&mut self) -> Result<(), Violation> {
        if !self.scenario.asks_others() || self.at_rest.rounds == ROUNDS {
            return Ok(());
        }
        self.at_rest.rounds += 1;
        let known = self.known(None);
        for server in 0..self.seats.len() {
            self.ask(server, &known, None)?;
        }
        Ok(())
    }

    /// If a server is to die in the end, it does while the others are asked what it holds. Says
    /// whether it does.
    ///
    /// # Errors
    /// As `Self::come`.
    pub(super) fn ask_the_dead(&mut self) -> Result<bool, Violation> {
        let Some(how) = self.scenario.division.death else { return Ok(false) };
        let dead = self.random.usize(0..self.seats.len());
        let known = self.known(Some(dead));
        self.at_rest.questions.clear();
        for server in (0..self.seats.len()).filter(|server| *server != dead) {
            self.ask(server, &known, Some(dead))?;
        }
        self.at_rest.ends_at = Some(self.now + ANSWERED_AFTER);
        let after = self.up_to(DEATH_AFTER_MAX);
        // Half of them are dead before the question comes.
        let after = if self.random.bool() { Duration::ZERO } else { after };
        let run = self.seats[dead].run;
        self.plan(after, Event::Death { server: dead, run, how });
        self.plan(ANSWERED_AFTER, Event::Look);
        Ok(true)
    }

    /// Whether clients were asked about that a server held which has died since: who asked has its
    /// answers.
    ///
    /// # Errors
    /// I8, I23.
    pub(super) fn has_asked_the_dead(&self) -> Result<bool, Violation> {
        if self.at_rest.ends_at.is_none_or(|ends_at| self.now < ends_at) {
            return Ok(false);
        }
        for AskedAtRest { asker, .. } in &self.at_rest.questions {
            let asker = &self.clients[*asker];
            let is_content = asker.is_cut || asker.is_content();
            Invariant::Answers.demand(is_content, || asker.complaint())?;
        }
        self.judge_at_rest().map(|()| true)
    }

    /// All clients that are known, or those that one server knows; and one that nobody knows.
    fn known(&self, to: Option<usize>) -> Vec<String> {
        let seats = self.seats.iter().enumerate();
        let seats = seats.filter(|(server, _)| to.is_none_or(|to| to == *server));
        let bodies = seats.filter_map(|(_, seat)| seat.body.as_ref());
        let lines = bodies.flat_map(|body| lines_of(body.server.store()));
        let known = lines.map(|line| String::from_utf8_lossy(report(&line).client).into_owned());
        Vec::from_iter(BTreeSet::from_iter(known.chain(["nobody".to_owned()])))
    }

    /// A client of this server asks about one of those. What only `dead` has is told or is not.
    fn ask(
        &mut self,
        server: usize,
        known: &[String],
        dead: Option<usize>,
    ) -> Result<(), Violation> {
        let about = known[self.random.usize(0..known.len())].clone();
        let answers = self.answers(&about, dead);
        let name = &self.seats[server].name;
        let (client, bytes) = Client::with_question(name, &about, &self.scenario);
        let asker = self.clients.len();
        self.at_rest.questions.push(AskedAtRest { asker, about, answers });
        self.come(server, client, &bytes)
    }

    /// What one may be told of a client, though `dead` may have died.
    fn answers(&self, about: &str, dead: Option<usize>) -> BTreeSet<String> {
        let newest = |dead| [false, true].map(|is_near| self.newest(about, dead, is_near));
        newest(None).into_iter().chain(newest(dead)).collect()
    }

    /// The newest AT line that any server but one has of a client, or a question mark. Of what a
    /// server has told another region and not its own before it died, its own knows nothing: it
    /// does not count if `is_near`.
    fn newest(&self, client: &str, but: Option<usize>, is_near: bool) -> String {
        let seats = self.seats.iter().enumerate().filter(|(server, _)| Some(*server) != but);
        let bodies = seats.filter_map(|(_, seat)| seat.body.as_ref());
        let lines = bodies.flat_map(|body| {
            let is_known = move |line: &String| !is_near || body.hears_of(report(line).server);
            lines_of(body.server.store()).into_iter().filter(is_known)
        });
        let its = lines.filter(|line| report(line).client == client.as_bytes());
        let newest = its.max_by(|one, other| rank(&report(one), &report(other)));
        let newest = newest.filter(|line| !report(line).is_erasure());
        newest.unwrap_or_else(|| "?".to_owned())
    }

    /// Each question has the newest answer that there is, where nothing keeps servers from
    /// answering each other in time.
    ///
    /// # Errors
    /// I23.
    pub(super) fn judge_at_rest(&self) -> Result<(), Violation> {
        let is_over = |line: &String| {
            let mut bodies = self.seats.iter().filter_map(|seat| seat.body.as_ref());
            line != "?" && bodies.any(|body| may_be_forgotten(body, &report(line)))
        };
        let questions = self.at_rest.questions.iter().filter(|_| self.scenario.is_prompt());
        for AskedAtRest { asker, about, answers } in questions {
            let asker = &self.clients[*asker];
            // A herd may come to rest twice, and hear of somebody in between.
            let has_changed =
                self.at_rest.ends_at.is_none() && *answers != self.answers(about, None);
            if asker.is_cut || has_changed || answers.iter().any(is_over) {
                continue;
            }
            let told = asker.told().unwrap_or_default();
            Invariant::Asked.demand(answers.contains(told), || {
                format!("{about} is {answers:?}, and a client was told {told:?}")
            })?;
        }
        Ok(())
    }
}
