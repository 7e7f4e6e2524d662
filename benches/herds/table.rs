//! What came of the trials, in Markdown for people and in CSV for programs. Apart from the trials,
//! which know no tables.

use std::fmt::Write;

use crate::machine::{fine, median, short, spread};
use crate::trial::{CPU, DONE, FREE, Found, Goal, LOOP, P50, P99, RATE, Trial};

/// One side of a trial in one round.
pub struct Measurement {
    pub trial: usize,
    pub side: usize,
    pub round: usize,
    pub found: Result<Found, String>,
}

const NOTHING: &str = "–";
/// A server that leaves more undone is fast for that reason.
const DONE_LEAST: f64 = 95.0;

struct Results<'a> {
    trials: &'a [Trial],
    all: &'a [Measurement],
}

/// Two tables: those who are loaded, each trial compared with its first side; and figures that
/// stand for themselves.
pub fn write(trials: &[Trial], all: &[Measurement]) -> String {
    let results = Results { trials, all };
    let is_loaded = |trial: &usize| {
        (0..trials[*trial].sides.len()).any(|side| results.of(*trial, side, RATE).is_some())
    };
    let (loaded, others): (Vec<_>, Vec<_>) = (0..trials.len()).partition(is_loaded);

    let mut text = format!(
        "In parentheses, of the trial's first line. Done is what was logged, or flooded at once: \
         a peer that\ncannot keep up is told the newest later.\n\n\
         | | {RATE} | {CPU} | {LOOP} | {P50} | {P99} | {DONE} | {FREE} | goal |\n\
         |---|---:|---:|---:|---:|---:|---:|---:|---|\n"
    );
    for trial in loaded {
        for (side, wanted) in trials[trial].sides.iter().enumerate() {
            let cell = |figure, spoken| results.cell((trial, side), figure, spoken);
            let cells = [
                cell(RATE, short),
                cell(CPU, fine),
                cell(LOOP, fine),
                results.plain_cell((trial, side), P50),
                results.plain_cell((trial, side), P99),
                results.plain_cell((trial, side), DONE),
                cell(FREE, short),
                results.judged(trial, side).unwrap_or_default(),
            ];
            let (name, side) = (&trials[trial].name, &wanted.name);
            text += &format!("| **{name}**: {side} | {} |\n", cells.join(" | "));
        }
    }
    text += "\n| | figures | goal |\n|---|---|---|\n";
    for trial in others {
        for (side, wanted) in trials[trial].sides.iter().enumerate() {
            let figures = results
                .names(trial, side)
                .into_iter()
                .map(|figure| format!("{figure} {}", results.plain_cell((trial, side), figure)));
            let figures: Vec<_> = figures.collect();
            let goal = results.judged(trial, side).unwrap_or_default();
            let (name, side) = (&trials[trial].name, &wanted.name);
            text += &format!("| **{name}**: {side} | {} | {goal} |\n", figures.join(", "));
        }
    }
    text
}

impl Results<'_> {
    /// The figures of a side over the rounds.
    fn found(&self, trial: usize, side: usize) -> impl Iterator<Item = &Found> {
        let of_both = move |result: &&Measurement| result.trial == trial && result.side == side;
        self.all.iter().filter(of_both).filter_map(|result| result.found.as_ref().ok())
    }

    fn all_of(&self, trial: usize, side: usize, figure: &str) -> Vec<f64> {
        let figures = self.found(trial, side).flatten();
        figures.filter(|(name, _)| *name == figure).map(|(_, value)| *value).collect()
    }

    /// The median of one figure; `None` if it was never found.
    fn of(&self, trial: usize, side: usize, figure: &str) -> Option<f64> {
        median(self.all_of(trial, side, figure))
    }

    fn names(&self, trial: usize, side: usize) -> Vec<&'static str> {
        self.found(trial, side).next().into_iter().flatten().map(|(name, _)| *name).collect()
    }

    fn plain_cell(&self, (trial, side): (usize, usize), figure: &str) -> String {
        let spread = spread(&self.all_of(trial, side, figure), plain);
        self.of(trial, side, figure).map_or_else(|| NOTHING.to_owned(), plain) + &spread
    }

    fn cell(
        &self,
        (trial, side): (usize, usize),
        figure: &str,
        spoken: fn(f64) -> String,
    ) -> String {
        let Some(value) = self.of(trial, side, figure) else { return NOTHING.to_owned() };
        let spread = spread(&self.all_of(trial, side, figure), spoken);
        match self.of(trial, 0, figure).filter(|_| side > 0) {
            Some(first) => format!("{} ({:.2}){spread}", spoken(value), value / first),
            None => spoken(value) + &spread,
        }
    }

    /// The goal, beside the side that should reach it, and whether it does. A side that has left
    /// something undone cannot.
    fn judged(&self, trial: usize, side: usize) -> Option<String> {
        let sides = self.trials[trial].sides.len();
        let is_done = self.of(trial, side, DONE).is_none_or(|done| done >= DONE_LEAST);
        let value = |figure| self.of(trial, side, figure);
        let ratio = |figure| Some(value(figure)? / self.of(trial, 0, figure)?);
        let (text, is_reached) = match self.trials[trial].goal? {
            Goal::RatioAtLeast(..) | Goal::RatioAtMost(..) if side + 1 < sides => return None,
            Goal::RatioAtLeast(figure, least) => {
                (format!("{figure} ≥ {least} of the first"), ratio(figure)? >= least)
            }
            Goal::RatioAtMost(figure, most) => {
                (format!("{figure} ≤ {most} of the first"), ratio(figure)? <= most)
            }
            Goal::AtMost(figure, most) => (format!("{figure} ≤ {most}"), value(figure)? <= most),
        };
        let verdict = match (is_done, is_reached) {
            (false, _) => "not comparable",
            (true, true) => "reached",
            (true, false) => "missed",
        };
        Some(format!("{text}: {verdict}"))
    }
}

fn plain(value: f64) -> String {
    match value {
        _ if value.abs() < 99.95 => format!("{value:.2}"),
        _ => format!("{value:.0}"),
    }
}

/// Every figure of every measurement by itself.
pub fn csv(trials: &[Trial], all: &[Measurement]) -> String {
    let mut text = String::from("round,trial,side,figure,value,error\n");
    for result in all {
        let trial = &trials[result.trial];
        let head = format!(
            "{},\"{}\",\"{}\"",
            result.round + 1,
            trial.name,
            trial.sides[result.side].name
        );
        // Writing to a String cannot fail.
        let _ = match &result.found {
            Ok(found) => found
                .iter()
                .try_for_each(|(figure, value)| writeln!(text, "{head},\"{figure}\",{value:.3},")),
            Err(why) => {
                let why = why.replace('"', "'").replace('\n', " ");
                writeln!(text, "{head},,,\"{why}\"")
            }
        };
    }
    text
}
