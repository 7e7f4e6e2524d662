//! What came of it, for people and as JSON.

use std::fmt;

use serde::Serialize;

use herd_load::Chorus;

/// Times are in seconds; what is not known is null.
#[derive(Debug, Serialize)]
pub struct Outcome {
    pub servers: usize,
    /// Of each server.
    pub links: usize,
    /// As many as clients: each has its own.
    pub connections: u64,
    pub opened_in_s: f64,
    /// How long reports were sent.
    pub seconds: f64,
    /// Reports a second that should have been sent.
    pub rate: u64,
    pub reports: Chorus,
    /// What the machine had less at the worst moment than before it began.
    pub memory_bytes: Option<u64>,
    pub servers_resident_bytes: Option<u64>,
    /// From the last answer until every server knew every client and all had one digest.
    pub agreed_after_s: Option<f64>,
}

impl Outcome {
    /// What makes it no success, if it is none.
    pub fn complaint(&self) -> Option<String> {
        let first = self.reports.first_error.as_deref().unwrap_or("an answer is missing");
        match self.reports.errors {
            0 if self.agreed_after_s.is_none() => {
                Some("the servers do not agree on what they know".to_owned())
            }
            // At any moment some are due that the next turn of their load sends.
            0 if self.reports.unsent > self.rate => {
                let unsent = self.reports.unsent;
                Some(format!("the herd did not keep up: {unsent} reports that were due, not sent"))
            }
            0 => None,
            errors => Some(format!("{errors} errors, so the figures are worth nothing: {first}")),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Outcome { servers, links, connections, opened_in_s, seconds, .. } = self;
        writeln!(
            f,
            "herd      {servers} servers with {links} links each, {connections} connections, each \
             of a client of its own, opened in {opened_in_s:.0} s"
        )?;
        let Chorus { answers, answers_per_second, latency_us, .. } = &self.reports;
        writeln!(
            f,
            "answers   {answers} in {seconds:.0} s, that is {answers_per_second:.0} a second of \
             {} that were due",
            self.rate
        )?;
        if let Some(latency) = latency_us {
            writeln!(f, "latency   {latency}")?;
        }
        if let Some(bytes) = self.memory_bytes {
            write!(f, "memory    {} in all", megabytes(bytes))?;
            match self.servers_resident_bytes {
                None => writeln!(f)?,
                Some(resident) => writeln!(
                    f,
                    ", of it {} the servers', {} each, and {} bytes for each connection, both ends \
                     and load",
                    megabytes(resident),
                    megabytes(resident / (*servers as u64).max(1)),
                    bytes.saturating_sub(resident) / (*connections).max(1)
                )?,
            }
        }
        match self.agreed_after_s {
            Some(after) => writeln!(
                f,
                "agreed    every server knows every client, and all have one digest, {after:.1} s \
                 after the last answer"
            )?,
            None => writeln!(f, "agreed    not: some servers know other things than the others")?,
        }
        if self.reports.unsent > self.rate {
            writeln!(f, "unsent    {} that were due", self.reports.unsent)?;
        }
        match self.reports.errors {
            0 => writeln!(f, "errors    none in {} requests", self.reports.asked),
            errors => writeln!(f, "errors    {errors} of {} requests", self.reports.asked),
        }
    }
}

/// 9,812,345,678 as `9812 MB`.
pub fn megabytes(bytes: u64) -> String {
    format!("{} MB", bytes / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(agreed_after_s: Option<f64>) -> Outcome {
        Outcome {
            servers: 2,
            links: 1,
            connections: 1_000,
            opened_in_s: 1.0,
            seconds: 10.0,
            rate: 100,
            reports: Chorus::of(&[]),
            memory_bytes: Some(40_000_000),
            servers_resident_bytes: Some(30_000_000),
            agreed_after_s,
        }
    }

    #[test]
    fn servers_that_differ_are_no_success() {
        assert_eq!(outcome(Some(0.4)).complaint(), None);
        let text = outcome(Some(0.4)).to_string();
        assert!(
            text.contains("30 MB the servers', 15 MB each, and 10000 bytes for each"),
            "{text}"
        );
        assert!(text.contains("one digest, 0.4 s after") && text.contains("errors    none"));
        assert!(outcome(None).complaint().unwrap().contains("do not agree"));
        let mut late = outcome(Some(0.4));
        late.reports.unsent = late.rate;
        assert_eq!(late.complaint(), None);
        late.reports.unsent += 1;
        assert!(late.complaint().unwrap().contains("101 reports"));
    }
}
