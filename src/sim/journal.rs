//! The journal of a simulated server: what the reactor and its threads do for one, as steps
//! that the world puts in order. Between the server and the disk is the code that ships. The disk
//! outlives the server, as far as its faults let it.

use std::collections::VecDeque;
use std::mem;
use std::rc::Rc;

use super::disk::{SimDisk, SimFile};
use super::invariants::{Invariant, Violation};
use herd_core::Server;
use herd_core::journal::JournalId;
use herd_core::journal::appender::{Appender, Keep, Sizes};
use herd_core::journal::breaker::WhenBroken;
use herd_core::journal::gate::Gate;
use herd_core::journal::load::Survey;
use herd_core::journal::old::OldSegments;
use herd_core::journal::writer::{Disk, Owner, Progress, SyncJob, Trouble, Writer};

const JOURNAL: JournalId = JournalId(7);

pub struct Journal {
    pub appender: Appender,
    pub gate: Gate,
    disk: Rc<SimDisk>,
    writer: Writer<SimFile>,
    /// What the writing thread has been given.
    queue: VecDeque<Vec<u8>>,
    /// A sync that is under way, and how it will end.
    syncing: Option<(SyncJob<SimFile>, Result<(), Trouble>)>,
    /// Something was written since it was last asked whether there is something to be synced.
    may_sync: bool,
    /// To be removed once the sync that is under way, or the next, has succeeded.
    outdated: OldSegments,
    /// A compaction is over, and the writing thread is to be told: this segment is the first one
    /// needed.
    oldest: Option<u32>,
}

impl Journal {
    /// Gives a new server what lies on its disk.
    ///
    /// # Errors
    /// I6: a frame that is whole says what is no report. I13: an honest disk is said to be damaged.
    pub fn open(
        (keep, sizes): (Keep, Sizes),
        disk: Rc<SimDisk>,
        name: &str,
        server: &mut Server,
    ) -> Result<Journal, Violation> {
        let mut survey = Survey::default();
        for (id, contents) in disk.files().iter().rev() {
            let read = survey.read(*id, contents, |found| server.restore(found));
            read.map_err(|unknown| Invariant::Truth.broken(format!("no report: {unknown:?}")))?;
        }
        disk.remove_spares();
        let past = survey.past(JOURNAL);
        let oldest = past.oldest;
        let findings = survey.finish();
        Invariant::Kept.demand(findings.are_whole() || !disk.is_honest(), || {
            format!("an honest disk is said to be damaged: {findings:?}")
        })?;
        let owner = Owner { herd: b"sim".to_vec(), server: name.as_bytes().to_vec() };
        let writer = Writer::new(owner, JOURNAL, sizes.segment_bytes, past);
        let mut appender = Appender::new(keep, sizes);
        let next = writer.progress().segment;
        server.journal_restored(&mut appender, findings.are_whole(), oldest, next);
        Ok(Journal {
            appender,
            gate: Gate::new(WhenBroken::Refuse),
            disk,
            writer,
            queue: VecDeque::new(),
            syncing: None,
            may_sync: false,
            outdated: OldSegments::default(),
            oldest: None,
        })
    }

    /// Whether its disk has broken what it held.
    pub fn has_broken(&self) -> bool {
        self.disk.has_broken()
    }

    /// How far the threads are.
    pub fn progress(&self) -> Progress {
        self.writer.progress()
    }

    // ---- what the loop does ----

    /// Learns how far the threads are. Says whether the disk has lost something since.
    pub fn update(&mut self) -> bool {
        self.appender.update(self.writer.progress());
        self.appender.take_loss()
    }

    /// Has written what was appended: at once if the disk is quick and nobody else writes or syncs.
    pub fn hand_over(&mut self, is_quick: bool) {
        if let Some(oldest) = self.appender.end_compaction() {
            self.oldest = Some(oldest);
        }
        if !self.appender.has_news() {
            return;
        }
        let may_write = self.queue.is_empty() && self.syncing.is_none() && self.writer.is_ready();
        self.queue.push_back(self.appender.hand_over(Vec::new()));
        if is_quick && may_write && self.appender.keep() == Keep::Written {
            self.write_lines();
        }
        self.appender.update(self.writer.progress());
    }

    /// Writes and syncs what is left, as far as the disk takes it: the process was asked to end.
    pub fn close(&mut self) {
        self.hand_over(false);
        self.end_sync();
        while self.prepare() && self.write_lines() {}
        self.sync_now();
        // If it is not there, the next life does a little more.
        let _ = self.writer.seal(&*self.disk);
        self.sync_now();
        self.remove_spares();
        self.appender.update(self.writer.progress());
    }

    // ---- what the threads do ----

    /// Whether the thread that writes has something to do.
    pub fn wants_write(&self) -> bool {
        let is_outdated = self.oldest.is_some() && self.syncing.is_none();
        !self.queue.is_empty() || is_outdated || self.writer.wants_next(0).is_some()
    }

    /// Whether a sync is under way.
    pub fn is_syncing(&self) -> bool {
        self.syncing.is_some()
    }

    /// Whether the thread that syncs has something to do.
    pub fn wants_sync(&self) -> bool {
        self.may_sync || self.syncing.is_some() || self.writer.has_spares()
    }

    /// The writing thread does something.
    pub fn write(&mut self) {
        self.disk.rot();
        self.prepare();
        if let (Some(oldest), None) = (self.oldest, &self.syncing)
            && let Ok(outdated) = self.outdate(oldest)
        {
            (self.outdated, self.oldest, self.may_sync) = (outdated, None, true);
        }
        self.write_lines();
    }

    fn outdate(&mut self, oldest: u32) -> Result<OldSegments, Trouble> {
        let grows_to = if self.disk.is_busy() { self.appender.grows_to() } else { 0 };
        self.writer.outdate(&*self.disk, oldest, grows_to)
    }

    /// A sync begins, or comes to an end.
    pub fn sync(&mut self) {
        self.disk.rot();
        if !self.end_sync() {
            self.begin_sync();
        }
        if !self.disk.is_busy() {
            self.remove_spares();
        }
    }

    fn remove_spares(&mut self) {
        for spare in self.writer.calm_down() {
            // If it stays, the next life removes it.
            let _ = self.disk.remove_spare(spare);
        }
    }

    /// Makes the next segment, unless it is there. Says whether lines can be written.
    fn prepare(&mut self) -> bool {
        let next = if self.disk.is_busy() {
            self.writer.wants_next_over(1)
        } else {
            self.writer.wants_next(1)
        };
        if let Some(next) = next
            && let Ok(file) = next.make(&*self.disk)
        {
            self.writer.prepared(next, file);
        }
        self.writer.is_ready()
    }

    fn write_lines(&mut self) -> bool {
        let Some(lines) = self.queue.front().filter(|_| self.writer.is_ready()) else {
            return false;
        };
        let is_written = self.writer.write(&*self.disk, lines).is_ok();
        if is_written {
            self.queue.pop_front();
        }
        self.may_sync = true;
        is_written
    }

    fn begin_sync(&mut self) {
        self.may_sync = false;
        let job = self.writer.begin_sync();
        self.syncing =
            job.map(|job| (job.run(&*self.disk), job)).map(|(result, job)| (job, result));
    }

    /// Says whether one was under way.
    fn end_sync(&mut self) -> bool {
        let Some((job, result)) = self.syncing.take() else { return false };
        self.writer.end_sync(job, result);
        // Those that are not removed now, the next compaction will find.
        let mut outdated = mem::take(&mut self.outdated);
        if result.is_ok() {
            outdated.run(&*self.disk, || true);
            self.writer.take_gone(outdated);
        }
        true
    }

    fn sync_now(&mut self) {
        self.begin_sync();
        self.end_sync();
    }
}
