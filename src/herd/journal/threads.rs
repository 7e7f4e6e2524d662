//! The threads of a journal. One writes what the loop does not write itself, one syncs now and
//! then, and one makes the next segment before it is needed, so that nobody waits for that. If
//! answers wait for syncs, the first one syncs what it has written, and all that is appended
//! meanwhile is its next group.
//!
//! ```text
//!    loop ──▶ queue ──▶ ▒ herd-journal ▒ ── write(2) ──▶ segment ◀── fdatasync(2) ── ▒ herd-sync ▒
//!      │                                                    ▲                             │
//!      │ itself, while the disk is quick ───────────────────┘                             │
//!      └◀── waker ◀── progress, stored first ◀────────────────────────────────────────────┘
//! ```
//!
//! While it is busy, the next segment is written over one that is not needed any more: the thread
//! that syncs keeps those, and the one that makes segments takes them.
//!
//! Lines are written in the order in which they were appended, for what is kept is a position in
//! it: a queue is taken, and written, by the one that holds the writer.
//!
//! asyncio: `await to_thread(os.fsync, fd)`, on the pool that resolves names as well.

use std::fs::File;
use std::mem;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::directory::Directory;
use super::lock;
use crate::logging::events::Event;
use herd_core::journal::appender::Keep;
use herd_core::journal::frame::whole_lines;
use herd_core::journal::writer::{Disk, Progress, Trouble, Writer};

/// The wait before a full disk is tried again: it doubles each time.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Lines that the thread writes at once: a segment is not much longer than others, however many
/// have waited. Only then its file can be written over, and a journal has its bound.
const PIECE_BYTES: usize = 512 * 1024;

/// What the loop and the threads share.
pub struct Shared {
    keep: Keep,
    /// How often what was written is synced, if no answer waits for that.
    sync_every: Duration,
    disk: Directory,
    writer: Mutex<Writer<Arc<File>>>,
    queue: Mutex<Queue>,
    for_writer: Condvar,
    for_syncer: Condvar,
    for_maker: Condvar,
    progress: Mutex<Progress>,
    /// One sync at a time: a later one must not end before an earlier one.
    syncing: Mutex<()>,
    /// One segment is made at a time.
    making: Mutex<()>,
    /// The disk takes nothing for now.
    is_refused: AtomicBool,
    /// No file is removed for now.
    keeps_files: AtomicBool,
    /// What the threads have done since the loop last took it, if there is a trace.
    work: Option<Mutex<Vec<Work>>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

/// A thread has written, or synced: for a trace.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    pub is_sync: bool,
    pub began: Instant,
    pub ended: Instant,
}

/// Much is done while the loop turns once only if that is stuck.
const WORK_MAX: usize = 1024;

/// What the threads are to do.
#[derive(Default)]
struct Queue {
    /// Lines to be written.
    lines: Vec<u8>,
    /// Segments before this one are not needed any more.
    oldest: Option<u32>,
    /// So long the journal may become before that is said again.
    grows_to: u64,
    /// The same, but the disk took no note of it: it is tried again at the next sync. Until then no
    /// compaction is due (`Appender`), so it must not be forgotten.
    put_off: Option<u32>,
    /// The next sync need not wait until its time has come.
    wants_sync: bool,
    /// The segment after the one that is written to.
    next: Next,
    is_over: bool,
}

/// Whether a segment is made before it is needed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Prepared,
    Wished,
    /// If it cannot be made, that is found out, and said, when it is needed.
    Tried,
}

impl Shared {
    pub fn new(
        (keep, sync_every): (Keep, Duration),
        disk: Directory,
        writer: Writer<Arc<File>>,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Shared {
        Shared {
            keep,
            sync_every,
            disk,
            progress: Mutex::new(writer.progress()),
            writer: Mutex::new(writer),
            queue: Mutex::default(),
            for_writer: Condvar::new(),
            for_syncer: Condvar::new(),
            for_maker: Condvar::new(),
            syncing: Mutex::default(),
            making: Mutex::default(),
            is_refused: AtomicBool::new(false),
            keeps_files: AtomicBool::new(false),
            work: None,
            wake,
        }
    }

    /// Notes from now on what the threads do.
    pub fn note_work(&mut self) {
        self.work = Some(Mutex::default());
    }

    /// What they have done since this was last asked for.
    pub fn take_work(&self) -> Vec<Work> {
        self.work.as_ref().map_or(Vec::new(), |work| mem::take(&mut lock(work)))
    }

    /// Notes what ends now.
    fn worked(&self, is_sync: bool, began: Instant) {
        if let Some(work) = &self.work {
            let mut work = lock(work);
            if work.len() < WORK_MAX {
                work.push(Work { is_sync, began, ended: Instant::now() });
            }
        }
    }

    /// How far the journal is.
    pub fn progress(&self) -> Progress {
        *lock(&self.progress)
    }

    /// Writes lines at once, if nobody else writes. Says whether it has.
    pub fn write_now(&self, lines: &[u8]) -> bool {
        let Ok(mut writer) = self.writer.try_lock() else { return false };
        if !writer.is_ready() || !lock(&self.queue).lines.is_empty() {
            return false;
        }
        let is_written = writer.write(&self.disk, lines).is_ok();
        self.publish(&writer);
        if writer.wants_next_soon() {
            self.wish_next();
        }
        is_written
    }

    /// Has the next segment made.
    fn wish_next(&self) {
        let mut queue = lock(&self.queue);
        if queue.next == Next::Prepared {
            queue.next = Next::Wished;
            self.for_maker.notify_one();
        }
    }

    /// Has lines written by the thread.
    pub fn write_later(&self, lines: &[u8]) {
        lock(&self.queue).lines.extend_from_slice(lines);
        self.for_writer.notify_one();
    }

    /// Has segments removed that come before this one, but those that are written over before the
    /// journal has so many bytes.
    pub fn outdate(&self, oldest: u32, grows_to: u64) {
        let mut queue = lock(&self.queue);
        (queue.oldest, queue.grows_to) = (Some(oldest), grows_to);
        drop(queue);
        self.for_syncer.notify_one();
    }

    /// Has no file removed from now on, or those that have become old meanwhile.
    pub fn keep_files(&self, keeps_files: bool) {
        let _queue = lock(&self.queue);
        self.keeps_files.store(keeps_files, Ordering::Release);
        self.for_syncer.notify_one();
    }

    /// Has what was written synced soon.
    pub fn sync_soon(&self) {
        lock(&self.queue).wants_sync = true;
        self.for_syncer.notify_one();
    }

    /// Has the threads write and sync what is left, and end.
    pub fn finish(&self) {
        lock(&self.queue).is_over = true;
        self.for_writer.notify_one();
        self.for_syncer.notify_one();
        self.for_maker.notify_one();
    }

    /// Whether the disk takes nothing for now.
    pub fn is_refused(&self) -> bool {
        self.is_refused.load(Ordering::Acquire)
    }

    /// The same, and what the disk says.
    pub fn complaint(&self) -> Option<String> {
        self.is_refused().then(|| self.disk.last_error())
    }

    fn publish(&self, writer: &Writer<Arc<File>>) {
        *lock(&self.progress) = writer.progress();
    }

    /// What the loop sees first, and is woken for second.
    fn announce(&self, writer: &Writer<Arc<File>>) {
        self.publish(writer);
        (self.wake)();
    }

    /// The life of the thread that writes.
    pub fn write_on(&self) {
        // Another file is tried at once, and then from time to time.
        let mut pause = Duration::ZERO;
        loop {
            let is_idle = |queue: &mut Queue| queue.lines.is_empty() && !queue.is_over;
            let queue = self.for_writer.wait_while(lock(&self.queue), is_idle);
            let queue = queue.unwrap_or_else(PoisonError::into_inner);
            let (is_empty, is_over) = (queue.lines.is_empty(), queue.is_over);
            drop(queue);
            if is_empty {
                break;
            }
            match self.write_queue() {
                Ok(()) => {
                    pause = Duration::ZERO;
                    if self.keep == Keep::Synced {
                        self.sync();
                    }
                }
                // It is full, and the process ends: what was answered is written.
                Err(_) if is_over => break,
                Err(_) => {
                    if !pause.is_zero() {
                        self.complain();
                    }
                    self.rest(pause);
                    pause = (2 * pause).clamp(PAUSE_MIN, PAUSE_MAX);
                }
            }
        }
        self.for_syncer.notify_one();
    }

    fn write_queue(&self) -> Result<(), Trouble> {
        let mut writer = lock(&self.writer);
        if !writer.is_ready() {
            drop(writer);
            self.prepare()?;
            writer = lock(&self.writer);
        }
        let lines = mem::take(&mut lock(&self.queue).lines);
        let began = Instant::now();
        let (mut written, mut result) = (0, Ok(()));
        while written < lines.len() && writer.is_ready() && result.is_ok() {
            let rest = &lines[written..];
            let piece = &rest[..whole_lines(rest, PIECE_BYTES)];
            result = writer.write(&self.disk, piece);
            written += if result.is_ok() { piece.len() } else { 0 };
        }
        self.worked(false, began);
        if written < lines.len() {
            lock(&self.queue).lines.splice(..0, lines[written..].iter().copied());
        }
        if result.is_ok() && self.is_refused.swap(false, Ordering::AcqRel) {
            Event::JournalGoesOn.log();
        }
        if writer.wants_next_soon() {
            self.wish_next();
        }
        self.announce(&writer);
        result
    }

    /// The disk takes nothing for now.
    fn complain(&self) {
        let error = self.disk.last_error();
        if !self.is_refused.swap(true, Ordering::AcqRel) {
            Event::JournalRefused { error: &error }.log();
            // The loop's patience begins.
            (self.wake)();
        }
    }

    /// Waits before the disk is tried again, but not for a process that ends.
    fn rest(&self, pause: Duration) {
        let queue = lock(&self.queue);
        let is_on = |queue: &mut Queue| !queue.is_over;
        let _ = self.for_writer.wait_timeout_while(queue, pause, is_on);
    }

    /// What the system said when the disk last failed.
    pub fn last_error(&self) -> String {
        self.disk.last_error()
    }

    /// Makes the next segment, unless it is there.
    pub fn prepare(&self) -> Result<(), Trouble> {
        let _making = lock(&self.making);
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut writer = lock(&self.writer);
        let next = if self.may_write_over() {
            writer.wants_next_over(since.as_secs())
        } else {
            writer.wants_next(since.as_secs())
        };
        drop(writer);
        let Some(next) = next else { return Ok(()) };
        // If one spare cannot be written over, the next attempt is another kind of file.
        let file = next.make(&self.disk).inspect_err(|_| self.remove_spares())?;
        let mut writer = lock(&self.writer);
        writer.prepared(next, file);
        lock(&self.queue).next = Next::Prepared;
        self.announce(&writer);
        Ok(())
    }

    /// Whether files are written over for now. While none is removed, somebody may be reading them.
    fn may_write_over(&self) -> bool {
        self.disk.is_busy() && !self.keeps_files.load(Ordering::Acquire)
    }

    /// Removes what is not written over soon.
    fn remove_spares(&self) {
        for spare in lock(&self.writer).calm_down() {
            // If it stays, the next life removes it.
            let _ = self.disk.remove_spare(spare);
        }
    }

    /// Syncs what was written so far. Says whether that has succeeded.
    fn sync(&self) -> bool {
        let _one_at_a_time = lock(&self.syncing);
        let Some(job) = lock(&self.writer).begin_sync() else { return true };
        let began = Instant::now();
        let result = job.run(&self.disk);
        self.worked(true, began);
        let mut writer = lock(&self.writer);
        writer.end_sync(job, result);
        self.announce(&writer);
        result.is_ok()
    }

    /// The life of the thread that syncs.
    pub fn sync_on(&self) {
        loop {
            let queue = lock(&self.queue);
            let is_idle = |queue: &mut Queue| {
                self.outdated(queue).is_none() && !queue.wants_sync && !queue.is_over
            };
            let waited = self.for_syncer.wait_timeout_while(queue, self.sync_every, is_idle);
            let (mut queue, _) = waited.unwrap_or_else(PoisonError::into_inner);
            queue.oldest = queue.oldest.max(queue.put_off.take());
            let (oldest, is_over) = (self.outdated(&queue), queue.is_over);
            queue.oldest = queue.oldest.filter(|_| oldest.is_none());
            queue.wants_sync = false;
            drop(queue);
            if let Some(oldest) = oldest {
                self.remove_before(oldest);
            } else {
                self.sync();
            }
            if is_over {
                // If it is not there, the next life does a little more.
                let _ = lock(&self.writer).seal(&self.disk);
                self.sync();
                self.remove_spares();
                break;
            }
            if !self.disk.is_busy() && !self.keeps_files.load(Ordering::Acquire) {
                self.remove_spares();
            }
            // Last, for what was removed has made room, and a server that dies soon and often would
            // else make files faster than it removes them. Of a journal with one file, nobody would
            // miss it. If it cannot be made, the other thread will find out, and say so.
            if !self.disk.is_busy() || !lock(&self.writer).is_ready() {
                let _ = self.prepare();
            }
        }
    }

    /// The life of the thread that makes segments.
    pub fn make_on(&self) {
        loop {
            let is_idle = |queue: &mut Queue| queue.next != Next::Wished && !queue.is_over;
            let queue = self.for_maker.wait_while(lock(&self.queue), is_idle);
            let mut queue = queue.unwrap_or_else(PoisonError::into_inner);
            if queue.is_over {
                break;
            }
            queue.next = Next::Tried;
            drop(queue);
            let _ = self.prepare();
        }
    }

    /// Before which segment all may be removed now.
    fn outdated(&self, queue: &Queue) -> Option<u32> {
        queue.oldest.filter(|_| !self.keeps_files.load(Ordering::Acquire))
    }

    /// Syncs in any case.
    fn remove_before(&self, oldest: u32) {
        let grows_to = if self.may_write_over() { lock(&self.queue).grows_to } else { 0 };
        let outdated = lock(&self.writer).outdate(&self.disk, oldest, grows_to);
        let is_synced = self.sync();
        let Ok(mut old) = outdated else {
            lock(&self.queue).put_off = Some(oldest);
            return;
        };
        if !is_synced {
            return;
        }
        if !old.run(&self.disk, || !self.keeps_files.load(Ordering::Acquire)) {
            lock(&self.queue).oldest.get_or_insert(oldest);
        }
        let mut writer = lock(&self.writer);
        writer.take_gone(old);
        self.announce(&writer);
    }
}

#[cfg(test)]
mod tests;
