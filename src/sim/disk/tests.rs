//! A machine that dies at any call of a writer that writes over its old files.

use std::cell::Cell;
use std::collections::BTreeSet;

use super::*;
use herd_core::journal::JournalId;
use herd_core::journal::load::{Past, Survey};
use herd_core::journal::writer::{Owner, Writer};

/// A disk that does nothing more behind so many calls: the machine has died.
struct Dying<'a> {
    disk: &'a SimDisk,
    calls_left: Cell<u32>,
}

impl Dying<'_> {
    fn lives(&self) -> Result<(), Trouble> {
        let left = self.calls_left.get();
        self.calls_left.set(left.saturating_sub(1));
        if left > 0 { Ok(()) } else { Err(Trouble::Failed) }
    }
}

impl Disk for Dying<'_> {
    type File = SimFile;

    fn create(&self, id: SegmentId, header: &[u8]) -> Result<SimFile, Trouble> {
        self.lives().and_then(|()| self.disk.create(id, header))
    }

    fn sync_names(&self) -> Result<(), Trouble> {
        self.lives().and_then(|()| self.disk.sync_names())
    }

    fn write(&self, file: &SimFile, at: u64, bytes: &[u8]) -> Result<usize, Trouble> {
        self.lives().and_then(|()| self.disk.write(file, at, bytes))
    }

    fn sync(&self, file: &SimFile) -> Result<(), Trouble> {
        self.lives().and_then(|()| self.disk.sync(file))
    }

    fn remove(&self, id: SegmentId) -> Result<(), Trouble> {
        self.lives().and_then(|()| self.disk.remove(id))
    }

    fn keep_spare(&self, id: SegmentId) -> Result<(), Trouble> {
        self.lives().and_then(|()| self.disk.keep_spare(id))
    }

    fn open_spare(&self, spare: SegmentId) -> Result<SimFile, Trouble> {
        self.lives().and_then(|()| self.disk.open_spare(spare))
    }

    fn name_spare(&self, spare: SegmentId, id: SegmentId) -> Result<(), Trouble> {
        self.lives().and_then(|()| self.disk.name_spare(spare, id))
    }

    fn remove_spare(&self, spare: SegmentId) -> Result<(), Trouble> {
        self.lives().and_then(|()| self.disk.remove_spare(spare))
    }
}

const SEGMENTS: u32 = 9;
const SEGMENT_BYTES: u64 = 1_000;

/// Fills segments, each second one of which makes those before it old. Gives what must be found
/// again, and how many were written over others, if the machine has not died before.
fn live(disk: &Dying<'_>) -> (BTreeSet<String>, Result<u32, Trouble>) {
    let owner = Owner { herd: b"sim".to_vec(), server: b"Anna".to_vec() };
    let mut writer = Writer::new(owner, JournalId(7), SEGMENT_BYTES, Past::default());
    let mut must = BTreeSet::new();
    let sync = |writer: &mut Writer<SimFile>| {
        let Some(job) = writer.begin_sync() else { return Ok(()) };
        let result = job.run(disk);
        writer.end_sync(job, result);
        result
    };
    let result = (1..=SEGMENTS).try_fold(0, |over, number| {
        let is_over = writer.has_spares();
        if let Some(next) = writer.wants_next_over(1) {
            let file = next.make(disk)?;
            writer.prepared(next, file);
        }
        for half in [1, 2] {
            let line = format!("AT Anna +1 c{number}-{half} +1-1 5\n");
            writer.write(disk, line.repeat(15).as_bytes())?;
            sync(&mut writer)?;
            must.insert(line.trim_end().to_owned());
        }
        if number % 2 == 0 {
            // From now on others need not be there, and may be.
            must.retain(|line| line.contains(&format!(" c{number}-")));
            let mut old = writer.outdate(disk, number, 9 * SEGMENT_BYTES)?;
            sync(&mut writer)?;
            old.run(disk, || true);
            writer.take_gone(old);
        }
        Ok(over + u32::from(is_over))
    });
    (must, result)
}

/// Goal: whenever a machine dies that writes over its old files, it comes back with all that was
/// synced and needed, and nothing is said to be damaged.
#[test]
fn a_machine_may_die_at_any_call() {
    for seed in 0..30 {
        for calls in 0.. {
            let disk = SimDisk::new(DiskFaults::default(), seed);
            let (must, result) = live(&Dying { disk: &disk, calls_left: Cell::new(calls) });
            disk.cut();
            let (mut survey, mut found) = (Survey::default(), BTreeSet::new());
            for (id, contents) in disk.files().iter().rev() {
                let mut take = |line: &[u8]| {
                    found.insert(String::from_utf8_lossy(line).into_owned());
                    line.starts_with(b"AT Anna")
                };
                survey.read(*id, contents, |found| found.each(&mut take)).unwrap();
            }
            let findings = survey.finish();
            assert!(findings.are_whole(), "seed {seed}, {calls} calls: {findings:?}");
            let lost: Vec<_> = must.difference(&found).collect();
            assert!(lost.is_empty(), "seed {seed}, {calls} calls: {lost:?}");
            if let Ok(over) = result {
                assert!(over >= SEGMENTS / 2, "{over} segments are written over others");
                break;
            }
            assert!(calls < 1_000, "it never comes to an end");
        }
    }
}
