//! Which bytes go into which file, and what of them is kept. Apart from the disk, which is behind
//! [`Disk`]: what is decided here is simulated with one that tears, loses and lies.
//!
//! A segment is written to until it is long enough, and then left for the next, which should be
//! prepared by then (`wants_next`). The next may be written over the file of one that is not needed
//! any more (`old`). Three rules have no exception:
//!
//! - A file of an earlier life is never written to: its end may be torn.
//! - A file that a write or a sync has failed for is never written to again. A second sync of it
//!   could succeed because the system has thrown away what it could not write (fsync(2)).
//! - What is kept is what a sync has covered that began after it was written.

use std::collections::BTreeSet;
use std::mem;

use super::frame::{self, Fact, HEADER_BYTES, Header};
use super::load::Past;
use super::old::OldSegments;
use super::{JournalId, SegmentId};

/// How much of a segment is synced is said so many times in all, and when it is left.
const TOLD_PARTS: u64 = 64;
/// A file is not written over that is longer than a segment by more than this part of one: it would
/// take more room than it is counted for.
const LONGER_PARTS: u64 = 8;
/// Behind what is written over another segment. A reader that finds it knows that nothing was torn
/// there, and the next write begins with its place.
const END: &[u8] = &[0];

/// What a journal wants of a disk.
pub trait Disk {
    /// A file that can be written to and synced, by one owner each.
    type File: Clone;

    /// Makes a file that begins with a header and was never there before, and syncs it.
    ///
    /// # Errors
    /// The disk has no room for it, or fails; then there is no such file.
    fn create(&self, id: SegmentId, header: &[u8]) -> Result<Self::File, Trouble>;

    /// Returns when the names of all files have reached the disk.
    ///
    /// # Errors
    /// The disk fails.
    fn sync_names(&self) -> Result<(), Trouble>;

    /// Writes to a place of a file, which is not behind its end, or a part of it. Says how much.
    ///
    /// # Errors
    /// The disk has no room for it, or fails.
    fn write(&self, file: &Self::File, at: u64, bytes: &[u8]) -> Result<usize, Trouble>;

    /// Returns when all that was written has reached the disk.
    ///
    /// # Errors
    /// The disk fails; then nobody knows what of it the disk holds.
    fn sync(&self, file: &Self::File) -> Result<(), Trouble>;

    /// Removes a file.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove(&self, id: SegmentId) -> Result<(), Trouble>;

    /// Gives the file of a segment a name that is none of a segment: it is a spare.
    ///
    /// # Errors
    /// It cannot be renamed.
    fn keep_spare(&self, id: SegmentId) -> Result<(), Trouble>;

    /// Opens a spare, named by the segment that it was, to be written over from its beginning.
    ///
    /// # Errors
    /// It cannot be opened.
    fn open_spare(&self, spare: SegmentId) -> Result<Self::File, Trouble>;

    /// Gives a spare the name of a segment that was never there before.
    ///
    /// # Errors
    /// It cannot be renamed, or there is such a file.
    fn name_spare(&self, spare: SegmentId, id: SegmentId) -> Result<(), Trouble>;

    /// Removes a spare.
    ///
    /// # Errors
    /// It cannot be removed.
    fn remove_spare(&self, spare: SegmentId) -> Result<(), Trouble>;
}

/// How a disk fails. What is to be said of it to an operator, the disk knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// It takes no more: it is full, or may not be written to. What was written before is there.
    Refused,
    /// What was written to the file since its last sync may be lost.
    Failed,
}

/// Names that stand in every header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The herd's.
    pub herd: Vec<u8>,
    /// The server's.
    pub server: Vec<u8>,
}

/// The files of a journal that are written to in this life of its server.
pub struct Writer<F> {
    owner: Owner,
    journal: JournalId,
    /// The number of the segment that was begun last.
    last: u32,
    current: Option<Segment<F>>,
    /// Prepared: it has a header and nothing else.
    next: Option<Segment<F>>,
    /// Segments that were left with something in them that no sync has covered.
    left: Vec<Segment<F>>,
    /// Segments that this life has written to their end, lately and without a failure: their files
    /// may be written over when they are not needed any more.
    full: BTreeSet<SegmentId>,
    /// Files that wait to be written over, named by the segments that they were. The newest are the
    /// last.
    spares: Vec<SegmentId>,
    /// Files that were not removed yet, those of earlier lives among them.
    past: Past,
    /// What is to be said in the next frame of facts.
    untold: Vec<Fact>,
    /// How much of the current segment was last said to be synced.
    told_bytes: u64,
    /// Something was written since the last sync began.
    is_dirty: bool,
    progress: Progress,
    segment_bytes: u64,
    frames: Vec<u8>,
}

#[derive(Clone)]
struct Segment<F> {
    id: SegmentId,
    file: F,
    /// Bytes of it that were written, the header among them.
    len: u64,
    /// There are bytes of an older one behind that.
    is_over: bool,
}

/// How far a journal has come. Bytes are those of lines, counted from the start of the process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// What the system has taken: it survives this process.
    pub written: u64,
    /// What is on the disk: it survives the machine.
    pub synced: u64,
    /// How often the disk has failed. Each time, all that was written and not synced may be lost,
    /// and the journal must be given everything again.
    pub losses: u64,
    /// The number of the segment that is written to, or will be next.
    pub segment: u32,
    /// Bytes of all segments but those that have become old.
    pub bytes: u64,
    /// Bytes of files that wait to be written over, about.
    pub spare_bytes: u64,
    /// The first segment that is not old.
    pub oldest: u32,
}

/// Files to be synced. A thread does it without the writer, and tells it then.
pub struct SyncJob<F> {
    segments: Vec<Segment<F>>,
    /// What will be kept when it has succeeded.
    covers: u64,
}

/// A header to make a segment with. A thread does it without the writer, and tells it then.
pub struct NextSegment {
    id: SegmentId,
    /// The spare that it is written over.
    over: Option<SegmentId>,
    beginning: Vec<u8>,
}

impl<F: Clone> Writer<F> {
    /// Goes on behind the segments that are there.
    pub fn new(owner: Owner, journal: JournalId, segment_bytes: u64, past: Past) -> Writer<F> {
        let of_ours = past.lengths.keys().filter(|id| id.journal == journal);
        // What says it may lie in the same file, and go with it.
        let synced = past.synced.iter();
        let untold = synced.map(|(&segment, &bytes)| Fact::Synced { segment, bytes }).collect();
        Writer {
            owner,
            journal,
            last: of_ours.map(|id| id.number).max().unwrap_or(0),
            current: None,
            next: None,
            left: Vec::new(),
            full: BTreeSet::new(),
            spares: Vec::new(),
            untold,
            told_bytes: 0,
            is_dirty: false,
            progress: Progress {
                bytes: past.lengths.values().sum(),
                oldest: past.oldest,
                ..Progress::default()
            },
            past,
            segment_bytes,
            frames: Vec::new(),
        }
    }

    /// How far it has come.
    pub fn progress(&self) -> Progress {
        let current = self.current.as_ref().or(self.next.as_ref());
        Progress {
            segment: current.map_or(self.last + 1, |segment| segment.id.number),
            spare_bytes: self.spares.len() as u64 * self.segment_bytes,
            ..self.progress
        }
    }

    /// Whether a write would need no new file.
    pub fn is_ready(&self) -> bool {
        self.next.is_some() || self.current.as_ref().is_some_and(|current| !self.is_long(current))
    }

    /// Whether the next segment should be prepared: half of this one is written.
    pub fn wants_next_soon(&self) -> bool {
        let is_half = |current: &Segment<F>| current.len >= self.segment_bytes / 2;
        self.next.is_none() && self.current.as_ref().is_some_and(is_half)
    }

    /// What the next segment begins with, unless it is prepared. `made` is now, in POSIX seconds.
    pub fn wants_next(&self, made: u64) -> Option<NextSegment> {
        self.next.is_none().then(|| self.begin_next(made, None))
    }

    /// The same, written over a spare if there is one: it is none from now on.
    pub fn wants_next_over(&mut self, made: u64) -> Option<NextSegment> {
        if self.next.is_some() {
            return None;
        }
        let over = self.spares.pop();
        Some(self.begin_next(made, over))
    }

    fn begin_next(&self, made: u64, over: Option<SegmentId>) -> NextSegment {
        let id = SegmentId { journal: self.journal, number: self.last + 1 };
        let Owner { herd, server } = &self.owner;
        let mut beginning = Vec::with_capacity(HEADER_BYTES + END.len());
        let header = Header { herd, server, id, made, over: over.map(|spare| spare.number) };
        header.write(&mut beginning);
        if over.is_some() {
            beginning.extend_from_slice(END);
        }
        NextSegment { id, over, beginning }
    }

    /// Takes a segment that was made (`NextSegment::make`).
    pub fn prepared(&mut self, next: NextSegment, file: F) {
        self.last = next.id.number;
        self.past.lengths.insert(next.id, HEADER_BYTES as u64);
        self.progress.bytes += HEADER_BYTES as u64;
        let (id, len, is_over) = (next.id, HEADER_BYTES as u64, next.over.is_some());
        self.next = Some(Segment { id, file, len, is_over });
    }

    /// Writes whole lines, all of them or none, and before them what is to be said of the journal.
    ///
    /// # Errors
    /// What the disk says. Then the segment is left as it is: half a frame may be at its end, and
    /// the same lines are to be written again.
    pub fn write<D>(&mut self, disk: &D, lines: &[u8]) -> Result<(), Trouble>
    where
        D: Disk<File = F>,
    {
        self.begin_next_if_due();
        let Some(current) = &mut self.current else { return Err(Trouble::Refused) };
        self.frames.clear();
        if !self.untold.is_empty() {
            frame::write_facts(current.id, current.len, &self.untold, &mut self.frames);
        }
        let reports_at = current.len + self.frames.len() as u64;
        frame::write_reports(current.id, reports_at, lines, &mut self.frames);
        if current.is_over {
            self.frames.extend_from_slice(END);
        }
        let frames = mem::take(&mut self.frames);
        let result = self.append(disk, &frames);
        self.frames = frames;
        result?;
        self.untold.clear();
        self.progress.written += lines.len() as u64;
        Ok(())
    }

    fn begin_next_if_due(&mut self) {
        let is_due = self.current.as_ref().is_none_or(|current| self.is_long(current));
        if is_due && self.next.is_some() {
            let longest = self.segment_bytes + self.segment_bytes / LONGER_PARTS;
            self.full.extend(self.current.iter().filter(|it| it.len <= longest).map(|it| it.id));
            self.leave_current();
            self.current = self.next.take();
            self.told_bytes = 0;
            self.untold.push(Fact::Oldest { segment: self.past.oldest });
        }
    }

    fn append<D: Disk<File = F>>(&mut self, disk: &D, bytes: &[u8]) -> Result<(), Trouble> {
        let Some(current) = &mut self.current else { return Err(Trouble::Refused) };
        self.is_dirty = true;
        let mut rest = bytes;
        while !rest.is_empty() {
            let part = (bytes.len() - rest.len()) as u64;
            match disk.write(&current.file, current.len + part, rest) {
                Ok(count) => rest = &rest[count..],
                Err(trouble) => {
                    // Half a frame takes its room, too.
                    self.progress.bytes += part;
                    self.past.lengths.insert(current.id, current.len + part);
                    match trouble {
                        Trouble::Refused => self.leave_current(),
                        Trouble::Failed => self.give_up(),
                    }
                    return Err(trouble);
                }
            }
        }
        // The next write begins where this one's end is marked.
        let more = (bytes.len() - if current.is_over { END.len() } else { 0 }) as u64;
        current.len += more;
        self.progress.bytes += more;
        self.past.lengths.insert(current.id, current.len);
        Ok(())
    }

    fn is_long(&self, segment: &Segment<F>) -> bool {
        segment.len >= self.segment_bytes
    }

    fn leave_current(&mut self) {
        self.left.extend(self.current.take());
    }

    /// What was written to the current segment, and to those that wait to be synced, may be lost.
    fn give_up(&mut self) {
        self.leave_current();
        self.left.clear();
        self.full.clear();
        self.progress.losses += 1;
    }

    /// What is to be synced, if anything was written since the last sync began.
    pub fn begin_sync(&mut self) -> Option<SyncJob<F>> {
        if !mem::take(&mut self.is_dirty) {
            return None;
        }
        let segments = self.left.drain(..).chain(self.current.clone()).collect();
        Some(SyncJob { segments, covers: self.progress.written })
    }

    /// Takes the result of a sync.
    pub fn end_sync(&mut self, job: SyncJob<F>, result: Result<(), Trouble>) {
        if result.is_err() {
            return self.give_up();
        }
        self.progress.synced = self.progress.synced.max(job.covers);
        for Segment { id, len, .. } in job.segments {
            let is_current = self.current.as_ref().is_some_and(|current| current.id == id);
            if is_current && len < self.told_bytes + self.segment_bytes / TOLD_PARTS {
                continue;
            }
            self.untold.push(Fact::Synced { segment: id.number, bytes: len });
            if is_current {
                self.told_bytes = len;
            }
        }
    }

    /// The last words of a life: all of this segment is synced, if it is. So the next life need not
    /// write it again.
    ///
    /// # Errors
    /// As for `write`.
    pub fn seal<D: Disk<File = F>>(&mut self, disk: &D) -> Result<(), Trouble> {
        let Some(current) = self.current.as_ref().filter(|_| !self.is_dirty) else { return Ok(()) };
        self.untold.push(Fact::Synced { segment: current.id.number, bytes: current.len });
        self.write(disk, b"")
    }

    /// Everything that earlier segments say has been written again from segment `oldest` on, and
    /// was synced: notes that, and gives those that can go once that is synced, too. If the journal
    /// will grow to so many bytes before that comes again, files are kept to be written over until
    /// then, so that it takes no more room than without them.
    ///
    /// # Errors
    /// As for `write`.
    pub fn outdate<D: Disk<File = F>>(
        &mut self,
        disk: &D,
        oldest: u32,
        grows_to: u64,
    ) -> Result<OldSegments, Trouble> {
        self.past.oldest = oldest;
        self.untold.push(Fact::Oldest { segment: oldest });
        self.write(disk, b"")?;
        self.progress.oldest = oldest;
        let lengths = self.past.lengths.iter();
        self.progress.bytes =
            lengths.filter(|(id, _)| self.is_needed(**id)).map(|(_, bytes)| bytes).sum();
        let wanted = grows_to.saturating_sub(self.progress.bytes) / self.segment_bytes;
        let mut wanted = wanted.saturating_sub(self.spares.len() as u64);
        let mut old = OldSegments::default();
        // The newest are the likeliest to be in memory still.
        for &id in self.past.lengths.keys().rev().filter(|id| !self.is_needed(**id)) {
            let is_spare = wanted > 0 && self.full.contains(&id);
            wanted -= u64::from(is_spare);
            old.push(id, is_spare);
        }
        Ok(old)
    }

    /// All segments that were not removed.
    pub fn segments(&self) -> impl Iterator<Item = SegmentId> {
        self.past.lengths.keys().copied()
    }

    /// Segments have gone, or are spares now.
    pub fn take_gone(&mut self, old: OldSegments) {
        let (gone, spares) = old.into_gone();
        for id in gone.iter().chain(&spares) {
            self.past.lengths.remove(id);
            self.full.remove(id);
        }
        self.spares.extend(spares);
    }

    /// The journal is not busy: nothing is written over for now. Gives the spares, which are to be
    /// removed.
    pub fn calm_down(&mut self) -> Vec<SegmentId> {
        // By the time that it is busy again, a write to these may have to read first.
        self.full.clear();
        mem::take(&mut self.spares)
    }

    /// Whether any file waits to be written over.
    pub fn has_spares(&self) -> bool {
        !self.spares.is_empty()
    }

    fn is_needed(&self, id: SegmentId) -> bool {
        id.journal == self.journal && id.number >= self.progress.oldest
    }
}

impl<F> SyncJob<F> {
    /// Syncs the files, those that were left first.
    ///
    /// # Errors
    /// The first one of the disk; it is not tried again.
    pub fn run<D: Disk<File = F>>(&self, disk: &D) -> Result<(), Trouble> {
        self.segments.iter().try_for_each(|segment| disk.sync(&segment.file))
    }
}

impl NextSegment {
    /// Makes the file: a machine that dies from now on leaves it where it is.
    ///
    /// # Errors
    /// What the disk says. A spare that was to be written over is gone.
    pub fn make<D: Disk>(&self, disk: &D) -> Result<D::File, Trouble> {
        let file = match self.over {
            None => disk.create(self.id, &self.beginning)?,
            Some(spare) => self.write_over(disk, spare).inspect_err(|_| {
                // If it stays, the next life removes it.
                let _ = disk.remove_spare(spare);
            })?,
        };
        if let Err(trouble) = disk.sync_names() {
            // It says nothing, and would be in the way when the same number is tried again.
            let _ = disk.remove(self.id);
            return Err(trouble);
        }
        Ok(file)
    }

    /// A spare has the name of a segment when its beginning is on the disk, and not before: a
    /// machine that dies shows no segment with the header of another one.
    fn write_over<D: Disk>(&self, disk: &D, spare: SegmentId) -> Result<D::File, Trouble> {
        let file = disk.open_spare(spare)?;
        let mut at = 0;
        while at < self.beginning.len() {
            at += disk.write(&file, at as u64, &self.beginning[at..])?;
        }
        disk.sync(&file)?;
        disk.name_spare(spare, self.id)?;
        Ok(file)
    }
}
