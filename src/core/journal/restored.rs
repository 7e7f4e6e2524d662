//! What a server takes from its journal when it starts. Apart from `missed`, which says what it is
//! given from then on.

use arrayvec::ArrayVec;

use super::appender::Appender;
use super::load::Found;
use crate::Server;
use crate::clock::PosixTime;
use crate::store::Key;
use crate::store::record::Record;
use crate::wire::{Report, fast_path};

/// Reports of a journal that are looked up together.
pub(crate) const REPORTS_AHEAD: usize = 16;

impl Server {
    /// All that was found in the journal has been taken (`restore`). What the disk may not have is
    /// written again, to segment `next` and those behind it; before that, no answer leaves, and the
    /// segments from `oldest` on are needed. If something has gone bad, that is everything.
    pub fn journal_restored(
        &mut self,
        appender: &mut Appender,
        is_whole: bool,
        oldest: u32,
        next: u32,
    ) {
        if !is_whole {
            self.journal_misses_all();
        }
        if self.is_journal_behind() {
            appender.begin_with_rewrite(if is_whole { oldest } else { next });
        }
    }

    /// Takes reports that were found in the journal, when the server starts: nobody hears of them.
    /// If it is not certain that the disk has them, they are written again.
    ///
    /// # Errors
    /// A line that is not spelled as a report.
    pub fn restore<'a>(&mut self, found: Found<'a>) -> Result<(), &'a [u8]> {
        let mut lines = found.lines();
        loop {
            // A million clients are more than a cache holds: several are looked up together.
            let mut ahead = ArrayVec::<_, REPORTS_AHEAD>::new();
            for line in lines.by_ref().take(REPORTS_AHEAD) {
                let usual = fast_path::at(line);
                let text = usual.and_then(|_| line.strip_prefix(b"AT "));
                let report = usual.or_else(|| Report::of_line(line)).ok_or(line)?;
                ahead.push((self.store.key(report.client), report, text));
            }
            if ahead.is_empty() {
                return Ok(());
            }
            self.store.fetch_ahead::<REPORTS_AHEAD>(ahead.iter().map(|(key, ..)| *key));
            for (key, report, text) in ahead {
                self.restore_one(key, (&report, text), found.is_synced);
            }
        }
    }

    /// `text` is what `Report::write_fields` writes, if that lies there.
    fn restore_one(
        &mut self,
        key: Key,
        (report, text): (&Report<'_>, Option<&[u8]>),
        is_synced: bool,
    ) {
        if *report.server == *self.settings.name {
            self.stamps.restore(PosixTime::heard_at(report.stamp, report.skew));
        }
        let verdict = match text {
            Some(text) => self.store.put_record(key, Record::of(report, text), text),
            None => self.store.put(report),
        };
        if verdict.is_news()
            && !is_synced
            && let Some(journaling) = &mut self.journaling
        {
            journaling.missed.add(key);
        }
    }
}
