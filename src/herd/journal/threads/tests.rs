//! The threads of a journal, on real files: what they promise the loop, and what they leave.

use std::{fs, thread};

use herd_core::journal::frame::Header;
use herd_core::journal::load::{Past, Survey};

use super::super::directory::{Fill, segments};
use super::*;
use herd_core::journal::writer::Owner;
use herd_core::journal::{JournalId, SegmentId};

/// Goal: old files go, though the disk took no note of that when it was first said. Method: at
/// first there is no segment that it could be written to.
#[test]
fn what_is_old_goes_at_the_next_sync_if_not_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let (journal, minute) = (JournalId(1), Duration::from_secs(60));
    let old = dir.path().join(SegmentId { journal, number: 1 }.to_string());
    fs::write(&old, "x").unwrap();
    let disk = Directory::claim(dir.path(), Fill::None, minute).unwrap();
    let owner = Owner { herd: b"tests".to_vec(), server: b"Hill".to_vec() };
    let lengths = [(SegmentId { journal, number: 1 }, 1)].into();
    let past = Past { lengths, oldest: 1, ..Past::default() };
    let writer = Writer::new(owner, journal, 1 << 20, past);
    let every = (Keep::Written, Duration::from_millis(10));
    let shared = Shared::new(every, disk, writer, Box::new(|| {}));
    shared.outdate(2, 0);
    thread::scope(|scope| {
        scope.spawn(|| shared.sync_on());
        let began = Instant::now();
        while old.exists() && began.elapsed() < minute {
            thread::sleep(Duration::from_millis(1));
        }
        shared.finish();
    });
    assert!(!old.exists() && shared.progress().oldest == 2);
}

/// Goal: a segment is there before it is needed, however often one is needed and however seldom
/// something is synced.
#[test]
fn no_answer_waits_for_the_next_segment() {
    let hour = Duration::from_secs(3600);
    for keep in [Keep::Written, Keep::Synced] {
        let dir = tempfile::tempdir().unwrap();
        let disk = Directory::claim(dir.path(), Fill::None, hour).unwrap();
        let owner = Owner { herd: b"tests".to_vec(), server: b"Hill".to_vec() };
        let writer = Writer::new(owner, JournalId(1), 1 << 10, Past::default());
        let shared = Shared::new((keep, hour), disk, writer, Box::new(|| {}));
        shared.prepare().unwrap();
        let lines = b"AT Hill +1 kiwi +1-1 5\n".repeat(100);
        let is_ahead = |count: u32| {
            let Progress { segment, written, .. } = shared.progress();
            let is_written = written == u64::from(count) * lines.len() as u64;
            is_written && segment == count && !lock(&shared.writer).wants_next_soon()
        };
        let was_ahead = thread::scope(|scope| {
            scope.spawn(|| shared.write_on());
            scope.spawn(|| shared.sync_on());
            scope.spawn(|| shared.make_on());
            let was_ahead = (1..5).all(|count| {
                shared.write_later(&lines);
                let began = Instant::now();
                while !is_ahead(count) && began.elapsed() < hour / 60 {
                    thread::sleep(Duration::from_millis(1));
                }
                is_ahead(count)
            });
            shared.finish();
            was_ahead
        });
        assert!(was_ahead, "{keep:?}");
    }
}

/// Goal: while a journal is busy, its segments are written over those that are not needed any more,
/// all that it says is there, and what it does not need any more is removed at the end. While no
/// file is to go, none is written over.
#[test]
fn a_busy_journal_writes_over_its_old_files() {
    const SEGMENT_BYTES: u64 = 64 << 10;
    let dir = tempfile::tempdir().unwrap();
    let minute = Duration::from_secs(60);
    let fill = Fill::WhileBusy(SEGMENT_BYTES);
    let disk = Directory::claim(dir.path(), fill, minute).unwrap();
    let owner = Owner { herd: b"tests".to_vec(), server: b"Hill".to_vec() };
    let writer = Writer::new(owner, JournalId(1), SEGMENT_BYTES, Past::default());
    let every = (Keep::Written, Duration::from_millis(100));
    let shared = Shared::new(every, disk, writer, Box::new(|| {}));
    shared.prepare().unwrap();
    let (mut written, mut time) = (0, 0_u32);
    // Whether a segment was written over an old one, once another is written.
    let mut write_one = || {
        time += 1;
        let lines = format!("AT Hill +1 kiwi +1-1 {time}\n").repeat(SEGMENT_BYTES as usize / 22);
        shared.write_later(lines.as_bytes());
        written += lines.len() as u64;
        let began = Instant::now();
        while shared.progress().written < written && began.elapsed() < minute {
            thread::sleep(Duration::from_millis(1));
        }
        let files = segments(dir.path()).unwrap();
        let over = files.iter().filter(|(_, path)| {
            let bytes = fs::read(path).unwrap_or_default();
            Header::parse(&bytes).is_ok_and(|header| header.over.is_some())
        });
        over.count()
    };
    thread::scope(|scope| {
        scope.spawn(|| shared.write_on());
        scope.spawn(|| shared.sync_on());
        scope.spawn(|| shared.make_on());
        let began = Instant::now();
        let mut over = 0;
        while over == 0 && began.elapsed() < minute {
            over = write_one();
            shared.outdate(shared.progress().segment, 4 * SEGMENT_BYTES);
        }
        assert!(over > 0, "none was ever written over");
        shared.keep_files(true);
        let before = write_one();
        assert!((0..3).all(|_| write_one() <= before + 1), "somebody may be reading them");
        shared.keep_files(false);
        shared.outdate(shared.progress().segment, 4 * SEGMENT_BYTES);
        write_one();
        shared.finish();
    });
    let names = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name());
    let spares = names.filter(|name| name.to_string_lossy().ends_with(".spare"));
    assert_eq!(spares.count(), 0);
    let (mut survey, mut newest) = (Survey::default(), 0);
    for (id, path) in segments(dir.path()).unwrap() {
        let mut take = |line: &[u8]| {
            let said: Option<u32> =
                String::from_utf8_lossy(line).rsplit(' ').next().and_then(|it| it.parse().ok());
            newest = said.unwrap_or_default().max(newest);
            said.is_some()
        };
        survey.read(id, &fs::read(path).unwrap(), |found| found.each(&mut take)).unwrap();
    }
    let findings = survey.finish();
    assert!(findings.are_whole() && findings.torn_bytes == 0, "{findings:?}");
    assert_eq!(newest, time, "of all that was written");
}
