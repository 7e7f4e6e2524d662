//! When answers wait no longer for a disk that takes nothing. Pure arithmetic: what follows from it
//! is the operator's choice ([`WhenBroken`]), and the server's to do.

use std::time::Duration;

/// So long answers wait for a disk that takes nothing or fails again and again. A disk that is only
/// slow is waited for.
pub const PATIENCE: Duration = Duration::from_secs(5);

/// What becomes of new reports of clients while a journal is broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenBroken {
    /// They are refused. Answers that wait already go on waiting.
    Refuse,
    /// They are taken and answered, though nothing is kept; so are those whose answers wait.
    Serve,
}

/// Whether a journal is broken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Breaker {
    /// Since when answers have waited for a disk in trouble.
    since: Option<Duration>,
    is_broken: bool,
}

impl Breaker {
    /// Whether it is broken.
    pub fn is_broken(&self) -> bool {
        self.is_broken
    }

    /// Looks at a disk that is in trouble or not, and for which answers wait or not. Says whether
    /// it breaks the journal now, or has mended it.
    pub fn look(&mut self, now: Duration, is_trouble: bool, is_holding: bool) -> bool {
        let was_broken = self.is_broken;
        if !is_trouble || (!is_holding && !was_broken) {
            *self = Breaker::default();
        } else if !was_broken {
            let since = *self.since.get_or_insert(now);
            self.is_broken = now.saturating_sub(since) >= PATIENCE;
        }
        self.is_broken != was_broken
    }

    /// When it must be looked at, if nothing happens before.
    pub fn due(&self) -> Option<Duration> {
        self.since.filter(|_| !self.is_broken).map(|since| since + PATIENCE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: patience begins with the trouble, is not used up by a disk that is only slow, and ends
    /// with the trouble.
    #[test]
    fn a_journal_breaks_after_some_patience() {
        let mut breaker = Breaker::default();
        let mut look = |seconds, is_trouble, is_holding| {
            let changed = breaker.look(Duration::from_secs(seconds), is_trouble, is_holding);
            let due = breaker.due().map(|due| due.as_secs());
            (changed.then_some(breaker.is_broken()), due)
        };
        assert_eq!(look(0, false, true), (None, None));
        assert_eq!(look(100, true, false), (None, None), "no answer waits");
        assert_eq!(look(101, true, true), (None, Some(106)));
        assert_eq!(look(104, false, true), (None, None));
        assert_eq!(look(104, true, true), (None, Some(109)));
        assert_eq!(look(104, true, false), (None, None), "what waited has left");
        assert_eq!(look(105, true, true), (None, Some(110)));
        assert_eq!(look(109, true, true), (None, Some(110)));
        assert_eq!(look(110, true, true), (Some(true), None));
        assert_eq!(look(111, true, false), (None, None), "answers that have left change nothing");
        assert_eq!(look(112, false, false), (Some(false), None));
        assert_eq!(look(113, true, true), (None, Some(118)));
    }
}
