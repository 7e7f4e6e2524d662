//! What changes, for those who watch a server: followers, and an index of where clients are. Apart
//! because most servers are watched by nobody, and can forget this file.
//!
//! It is told with what an input brings about, as the journal's news is. Of news it says only whose
//! they are: what is held is in the store, and who watches need not look at once. So who watches
//! costs a report a key, and who does not, a look at a flag.

use std::ops::Range;

use super::erasing::is_before_erased;
use super::flood::ReportLine;
use crate::Server;
use crate::border::Outputs;
use crate::store::Key;

/// Something that has become different in the store.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The report of this client was forgotten: it has expired or was erased.
    Gone(&'a [u8]),
    /// A report is held now that was not held before, of the client that has this key. It may say
    /// that the client was erased; then the client is gone as well.
    News(Key),
}

/// What one input has changed.
#[derive(Debug, Default)]
pub struct Changes {
    /// Whose reports are news.
    news: Vec<Key>,
    /// Names of clients: ranges of the text of `Outputs`.
    gone: Vec<Range<usize>>,
}

impl Changes {
    pub(crate) fn clear(&mut self) {
        self.news.clear();
        self.gone.clear();
    }
}

impl Outputs {
    /// What the input has changed, if the server is watched (`Server::watch`): the store is as it
    /// is after all of it. Who is gone comes first, but may have come again.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        let Changes { news, gone } = &self.changes;
        let gone = gone.iter().map(|client| Change::Gone(&self.text[client.clone()]));
        gone.chain(news.iter().map(|key| Change::News(*key)))
    }

    #[cold]
    fn push_gone(&mut self, client: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(client);
        self.changes.gone.push(start..self.text.len());
    }
}

impl Server {
    /// From now on, what changes is told (`Outputs::changes`), until `unwatch`.
    pub fn watch(&mut self) {
        self.is_watched = true;
    }

    /// Nobody wants to hear what changes any more.
    pub fn unwatch(&mut self) {
        self.is_watched = false;
    }

    /// A report that no erasure is spelled like is news.
    #[inline(always)]
    pub(crate) fn note_news(&self, key: Key, out: &mut Outputs) {
        if self.is_watched {
            out.changes.news.push(key);
        }
    }

    /// A report is news: it may be an erasure.
    #[inline(always)]
    pub(crate) fn note_told(&self, key: Key, told: ReportLine<'_>, out: &mut Outputs) {
        if self.is_watched {
            out.changes.news.push(key);
            if is_before_erased(&told.fields(out)[..told.client_at]) {
                out.push_gone(told.client);
            }
        }
    }

    /// The report of a client is forgotten.
    pub(crate) fn note_gone(&self, client: &[u8], out: &mut Outputs) {
        if self.is_watched {
            out.push_gone(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::border::{Input, Timer};
    use crate::clock::{Now, PosixTime};
    use crate::names::{ConnId, ConnKind};
    use crate::settings::{Limits, Settings};
    use crate::wire::line_buffer::{LineLimits, Lines};

    fn server() -> Server {
        let limits = Limits { expire_after: Some(Duration::from_secs(100)), ..Limits::default() };
        Server::new(Settings { limits, ..Settings::new("Anna", "test", vec![]) })
    }

    fn at(second: u64) -> Now {
        Now { monotonic: Duration::from_secs(second), posix: PosixTime::new(second, 0) }
    }

    /// What changes by an input: whose, and the position that is held then, or `-`.
    fn changes(server: &mut Server, second: u64, input: Input<'_, '_>) -> Vec<String> {
        let mut out = Outputs::default();
        server.handle(at(second), input, &mut out);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let show = |change| match change {
            Change::Gone(client) => format!("-{}", text(client)),
            Change::News(key) => {
                let report = server.store().reports_of(key).next().unwrap();
                text(report.client) + &text(report.position)
            }
        };
        out.changes().map(show).collect()
    }

    fn say(server: &mut Server, second: u64, text: &str) -> Vec<String> {
        let conn = ConnId::new(ConnKind::Client, 1, 1);
        let lines = &mut Lines::new(text.as_bytes(), LineLimits::equal(1_000));
        changes(server, second, Input::Lines { conn, lines })
    }

    /// Goal: who watches hears of each change once, and of nothing else; nobody else does.
    #[test]
    fn who_watches_hears_what_changes() {
        let mut server = server();
        assert!(say(&mut server, 10, "IAMAT kiwi +1-1 7\n").is_empty(), "nobody watches");
        server.watch();
        let news = "IAMAT kiwi +2-2 8\nIAMAT fig +3-3 8\nWHATSAT kiwi 1 1\nIAMAT kiwi +2-2 6\n";
        assert_eq!(say(&mut server, 11, news), ["kiwi+2-2", "fig+3-3"]);
        // It is over and not swept yet: an older report takes its place.
        let after = say(&mut server, 111, "IAMAT kiwi +4-4 5\nIAMAT kiwi +5-5 6\n");
        assert_eq!(after, ["-kiwi", "kiwi+5-5", "kiwi+5-5"]);
        let mut swept = Vec::new();
        for _ in 0..600 {
            let sweep = Input::TimerFired { timer: Timer::Sweep };
            swept.extend(changes(&mut server, 112, sweep));
        }
        assert_eq!(swept, ["-fig"]);
        let erased = changes(&mut server, 113, Input::Erase { client: b"kiwi" });
        assert_eq!(erased, ["-kiwi", "kiwi+0+0"]);
        server.unwatch();
        assert!(say(&mut server, 114, "IAMAT kiwi +1-1 113\n").is_empty(), "nobody watches");
    }
}
