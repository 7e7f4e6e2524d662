//! Who asks, and what they may: whose positions they report, and whose they see.
//!
//! Each request is answered for one [`Caller`], and whatever reads or writes a client's position
//! asks it first. A client that may not be seen is answered like one that nobody knows, and is not
//! counted either: nothing may tell the two apart.

mod pattern;

use std::sync::Arc;

pub use pattern::Pattern;

/// What somebody may.
#[derive(Debug, Default)]
pub struct Grant {
    /// What a report is filed under that says no name.
    pub name: String,
    /// Clients whose positions may be reported.
    pub report: Vec<Pattern>,
    /// Clients whose positions may be seen.
    pub read: Vec<Pattern>,
}

/// Who asks. It may be kept as long as its connection, and a clone costs next to nothing.
#[derive(Clone, Debug)]
pub struct Caller(Option<Arc<Grant>>);

impl Caller {
    /// Whoever asks a server whose access is not configured: everything is open to them.
    pub fn anybody() -> Caller {
        Caller(None)
    }

    pub fn new(grant: Arc<Grant>) -> Caller {
        Caller(Some(grant))
    }

    /// What the caller goes by, if that is known.
    pub fn name(&self) -> Option<&str> {
        self.0.as_deref().map(|grant| &*grant.name)
    }

    /// Whether the caller may say where this client is. Its name is as on the wire.
    pub fn may_report(&self, client: &[u8]) -> bool {
        self.0.as_deref().is_none_or(|grant| is_among(&grant.report, client))
    }

    /// Whether the caller may know where this client is, and that it exists.
    pub fn may_read(&self, client: &[u8]) -> bool {
        self.0.as_deref().is_none_or(|grant| is_among(&grant.read, client))
    }

    /// Whether everybody may be seen: then there is no need to ask for each of them.
    pub fn may_read_all(&self) -> bool {
        self.0.as_deref().is_none_or(|grant| grant.read.iter().any(Pattern::is_everybody))
    }
}

fn is_among(patterns: &[Pattern], client: &[u8]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(client))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_may_what_is_granted() {
        let patterns = |texts: &[&str]| Vec::from_iter(texts.iter().map(|it| it.parse().unwrap()));
        let (report, read) = (patterns(&["jane/*"]), patterns(&["jane/*", "kiwi"]));
        let jane = Caller::new(Arc::new(Grant { name: "jane".to_owned(), report, read }));
        assert!(jane.may_report(b"jane/phone") && jane.may_read(b"jane/phone"));
        assert!(!jane.may_report(b"kiwi") && jane.may_read(b"kiwi") && !jane.may_read(b"kiwis"));
        assert!(!jane.may_read_all());
        assert_eq!(jane.name(), Some("jane"));
        let nobody = Caller::new(Arc::default());
        assert!(!nobody.may_report(b"kiwi") && !nobody.may_read(b"kiwi"));
        let anybody = Caller::anybody();
        assert!(anybody.may_report(b"kiwi") && anybody.may_read(b"kiwi") && anybody.may_read_all());
        assert_eq!(anybody.name(), None);
    }
}
