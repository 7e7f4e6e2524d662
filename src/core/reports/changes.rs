//! What changes, for those who watch a server: followers, and an index of where clients are. Apart
//! because most servers are watched by nobody, and can forget this file.
//!
//! It is told with what an input brings about, as the journal's news is, and names the lines that
//! stand in the text of the outputs in any case: who watches costs no copy, and who does not, a
//! look at a flag.

use std::ops::Range;

use super::erasing::is_erasure;
use crate::Server;
use crate::border::Outputs;
use crate::store::Key;
use crate::wire::Report;

/// Something that has become different in the store.
#[derive(Clone, Copy, Debug)]
pub enum Change<'a> {
    /// The report of this client was forgotten: it has expired or was erased.
    Gone(&'a [u8]),
    /// A report is held now that was not held before: whose, and its position as spelled.
    News {
        /// The client's.
        key: Key,
        /// An ISO 6709 text, within bounds.
        position: &'a [u8],
    },
}

/// What one input has changed: ranges of the text of `Outputs`.
#[derive(Debug, Default)]
pub struct Changes {
    /// AT lines, each with its newline, and whose they are: who watches needs no hash of the name.
    news: Vec<(Key, Range<usize>)>,
    /// Names of clients.
    gone: Vec<Range<usize>>,
}

impl Changes {
    pub(crate) fn clear(&mut self) {
        self.news.clear();
        self.gone.clear();
    }
}

impl Outputs {
    /// What the input has changed, if the server is watched (`Server::watch`). Who is gone comes
    /// first: what one input forgets of a client, it forgets before it hears news of it.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        let Changes { news, gone } = &self.changes;
        let gone = gone.iter().map(|client| Change::Gone(&self.text[client.clone()]));
        let news = news.iter().map(|(key, line)| {
            let fields = Report::fields_of(&self.text[line.clone()]);
            let [_, skew, client, position] = Report::words_of(fields);
            if is_erasure(skew, position) {
                Change::Gone(client)
            } else {
                Change::News { key: *key, position }
            }
        });
        gone.chain(news)
    }

    fn push_gone(&mut self, client: &[u8]) {
        let start = self.text.len();
        self.text.extend_from_slice(client);
        self.changes.gone.push(start..self.text.len());
    }
}

impl Server {
    /// From now on, what changes is told (`Outputs::changes`).
    pub fn watch(&mut self) {
        self.is_watched = true;
    }

    /// A line in the text of the outputs is news of a client.
    #[inline(always)]
    pub(crate) fn note_news(&self, key: Key, line: Range<usize>, out: &mut Outputs) {
        if self.is_watched {
            out.changes.news.push((key, line));
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

    /// What changes by an input: `+` and the position, or `-`, and whose.
    fn changes(server: &mut Server, second: u64, input: Input<'_, '_>) -> Vec<String> {
        let mut out = Outputs::default();
        server.handle(at(second), input, &mut out);
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let store = server.store();
        let name = |key| ["kiwi", "fig"].into_iter().find(|it| store.key(it.as_bytes()) == key);
        let show = |change| match change {
            Change::Gone(client) => format!("-{}", text(client)),
            Change::News { key, position } => name(key).unwrap().to_owned() + &text(position),
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
        assert_eq!(after, ["-kiwi", "kiwi+4-4", "kiwi+5-5"]);
        let mut swept = Vec::new();
        for _ in 0..600 {
            let sweep = Input::TimerFired { timer: Timer::Sweep };
            swept.extend(changes(&mut server, 112, sweep));
        }
        assert_eq!(swept, ["-fig"]);
    }
}
