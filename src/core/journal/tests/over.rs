//! Segments that are written over the files of older ones: nothing of those is believed, and the
//! end of what was written is known.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;

use super::super::frame::{HEADER_BYTES, Header};
use super::super::load::{Findings, Past, Survey};
use super::super::writer::{Disk, Owner, Trouble, Writer};
use super::{JOURNAL, Memory, SegmentId, header, header_over, segment, segment_id, survey};

const SECTOR: usize = 512;

/// What segment 1 is like if it is written over this file of segment 2.
pub(super) fn lay(new: &[u8], old: &[u8]) -> Vec<u8> {
    let mut file = [new, &[0]].concat();
    file[..HEADER_BYTES].copy_from_slice(&header_over(1, Some(2)));
    file.extend_from_slice(old.get(file.len()..).unwrap_or(&[]));
    file
}

/// The same, as a program reads it that knows nothing of this.
fn read_by_yesterdays(file: &[u8]) -> Findings {
    let mut file = file.to_vec();
    file[..HEADER_BYTES].copy_from_slice(&header(1));
    survey([(1, &file[..])]).0
}

/// Goal: whatever is behind the end, all that was written is read and nothing else, and nothing was
/// torn. A program of yesterday reads the same, and counts what is behind it as torn.
#[test]
fn what_a_file_has_said_before_is_not_read() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let ((new, said), (mut old, _)) = (segment(1, &mut random), segment(2, &mut random));
        // Its end is anywhere, or just where the new one's is.
        let end = new.len() - 1 + random.usize(0..4);
        old.resize(if random.bool() { end } else { old.len() }, b'#');
        let file = lay(&new, &old);
        let (findings, lines) = survey([(1, &file[..])]);
        assert_eq!(lines.into_iter().collect::<BTreeSet<_>>(), said, "seed {seed}");
        assert!(findings.are_whole() && findings.torn_bytes == 0, "seed {seed}: {findings:?}");
        let behind = old.get(new.len() + 1..).unwrap_or(&[]).len() as u64;
        let torn_bytes = if behind == 0 { 0 } else { behind + 1 };
        assert_eq!(read_by_yesterdays(&file), Findings { torn_bytes, ..findings }, "seed {seed}");
    }
}

/// Goal: a write that a death has cut short costs itself, is told, and is counted no longer than it
/// was and the frame that it has hit. Method: of the last write, some sectors have reached the disk
/// or the first part has.
#[test]
fn a_write_over_an_old_file_may_be_torn() {
    for seed in 0..500 {
        let mut random = fastrand::Rng::with_seed(seed);
        let ((new, said), (mut old, _)) = (segment(1, &mut random), segment(2, &mut random));
        while old.len() < new.len() + 10_000 {
            let text = b"AT Bailey +0.25 kiwi +34.1-118.4 5\n".repeat(random.usize(1..200));
            super::write_reports(segment_id(2), old.len() as u64, &text, &mut old);
        }
        let begin = random.usize(HEADER_BYTES + 1..new.len());
        let (before, whole) = (lay(&new[..begin], &old), lay(&new, &old));
        let mut file = before.clone();
        if random.bool() {
            let cut = random.usize(begin..new.len());
            file[..cut].copy_from_slice(&whole[..cut]);
        } else {
            for sector in (begin / SECTOR * SECTOR..=new.len()).step_by(SECTOR) {
                let place = sector..(sector + SECTOR).min(file.len());
                if random.bool() {
                    file[place.clone()].copy_from_slice(&whole[place]);
                }
            }
        }
        let (findings, lines) = survey([(1, &file[..])]);
        let lines: BTreeSet<_> = lines.into_iter().collect();
        assert!(lines.is_subset(&said), "seed {seed}: a report that nobody said");
        let most = (new.len() - begin + 2 * 4_200) as u64;
        let torn_bytes = findings.torn_bytes;
        assert!(torn_bytes <= most, "seed {seed}: {torn_bytes} bytes of {most}");
        assert!(findings.are_whole() && torn_bytes <= read_by_yesterdays(&file).torn_bytes);
    }
}

/// A disk on which all goes well, or every call from the n-th on fails.
struct Failing {
    disk: Memory,
    calls_left: Cell<u32>,
    /// What it was asked.
    asked: RefCell<Vec<&'static str>>,
}

impl Failing {
    fn ask(&self, what: &'static str) -> Result<(), Trouble> {
        self.asked.borrow_mut().push(what);
        let left = self.calls_left.get();
        self.calls_left.set(left.saturating_sub(1));
        if left > 0 { Ok(()) } else { Err(Trouble::Failed) }
    }
}

impl Disk for Failing {
    type File = usize;

    fn create(&self, id: SegmentId, header: &[u8]) -> Result<usize, Trouble> {
        self.ask("create")?;
        self.disk.create(id, header)
    }

    fn sync_names(&self) -> Result<(), Trouble> {
        self.ask("sync names")
    }

    fn write(&self, file: &usize, at: u64, bytes: &[u8]) -> Result<usize, Trouble> {
        self.ask("write")?;
        self.disk.write(file, at, bytes)
    }

    fn sync(&self, _: &usize) -> Result<(), Trouble> {
        self.ask("sync")
    }

    fn remove(&self, id: SegmentId) -> Result<(), Trouble> {
        self.ask("remove")?;
        self.disk.remove(id)
    }

    fn keep_spare(&self, id: SegmentId) -> Result<(), Trouble> {
        self.ask("keep")?;
        self.disk.keep_spare(id)
    }

    fn open_spare(&self, spare: SegmentId) -> Result<usize, Trouble> {
        self.ask("open")?;
        self.disk.open_spare(spare)
    }

    fn name_spare(&self, spare: SegmentId, id: SegmentId) -> Result<(), Trouble> {
        self.ask("name")?;
        self.disk.name_spare(spare, id)
    }

    fn remove_spare(&self, spare: SegmentId) -> Result<(), Trouble> {
        self.disk.remove_spare(spare)
    }
}

const SEGMENT_BYTES: u64 = 2_000;

/// What is done to a writer.
type After = Box<dyn FnMut(&mut Writer<usize>)>;

/// A writer that has filled so many segments and has the next; `after` is done to it and the disk
/// behind each.
fn filled(disk: &Failing, count: u32, mut after: impl FnMut(&mut Writer<usize>)) -> Writer<usize> {
    let owner = Owner { herd: b"2023".to_vec(), server: b"Bailey".to_vec() };
    let mut writer = Writer::new(owner, JOURNAL, SEGMENT_BYTES, Past::default());
    for number in 1..=count {
        write(&mut writer, disk, number);
        after(&mut writer);
    }
    write(&mut writer, disk, count + 1);
    writer
}

fn make_next(writer: &mut Writer<usize>, disk: &Failing) -> Result<(), Trouble> {
    if let Some(next) = writer.wants_next_over(7) {
        let file = next.make(disk)?;
        writer.prepared(next, file);
    }
    Ok(())
}

/// Writes a whole segment, which is written to a little later than the one before is left.
fn write(writer: &mut Writer<usize>, disk: &Failing, number: u32) {
    make_next(writer, disk).unwrap();
    let line = format!("AT Bailey +0.25 c{number} +34.1-118.4 5\n");
    let lines = line.repeat((SEGMENT_BYTES as usize - 200) / line.len());
    writer.write(disk, lines.as_bytes()).unwrap();
    let job = writer.begin_sync().unwrap();
    let result = job.run(disk);
    writer.end_sync(job, result);
}

fn quiet() -> Failing {
    let calls_left = Cell::new(u32::MAX);
    Failing { disk: Memory::default(), calls_left, asked: RefCell::default() }
}

/// All that was found, by the number in the client's name.
fn found(disk: &Failing) -> (Findings, BTreeSet<String>) {
    let (mut survey, mut clients) = (Survey::default(), BTreeSet::new());
    for (id, file) in disk.disk.segments().iter().rev() {
        let mut take = |line: &[u8]| {
            let line = String::from_utf8_lossy(line).into_owned();
            clients.insert(line.split(' ').nth(3).unwrap_or_default().to_owned());
            true
        };
        survey.read(*id, file, |found| found.each(&mut take)).unwrap();
    }
    (survey.finish(), clients)
}

/// Goal: the next segment is written over an old one's file, in steps of which each may be the last
/// of a machine: no name of a segment stands for another one's file, and what is needed is there.
#[test]
fn the_next_segment_is_written_over_an_old_one() {
    let disk = quiet();
    let mut writer = filled(&disk, 3, |_| {});
    let mut old = writer.outdate(&disk, 3, 5 * SEGMENT_BYTES).unwrap();
    let job = writer.begin_sync().unwrap();
    let result = job.run(&disk);
    writer.end_sync(job, result);
    disk.asked.borrow_mut().clear();
    assert!(old.run(&disk, || true));
    writer.take_gone(old);
    assert_eq!(disk.asked.take(), ["keep", "keep", "sync names"]);
    assert!(writer.has_spares() && disk.disk.segments().len() == 2);
    let names: Vec<_> = writer.segments().map(|id| id.number).collect();
    assert_eq!(names, [3, 4]);
    make_next(&mut writer, &disk).unwrap();
    assert_eq!(disk.asked.take(), ["open", "write", "sync", "name", "sync names"]);
    let file = &disk.disk.segments()[&segment_id(5)];
    let header = Header::parse(file).unwrap();
    assert_eq!((header.id, header.over), (segment_id(5), Some(2)));
    assert!(file.len() as u64 >= SEGMENT_BYTES && file[HEADER_BYTES] == 0);
    let clients = |numbers: &[u32]| numbers.iter().map(|it| format!("c{it}")).collect();
    let (findings, said) = found(&disk);
    assert!(findings.are_whole() && findings.torn_bytes == 0, "{findings:?}");
    assert_eq!(said, clients(&[3, 4]));
    write(&mut writer, &disk, 5);
    write(&mut writer, &disk, 6);
    assert_eq!(disk.disk.files.borrow().len(), 4, "no file was made");
    let (findings, said) = found(&disk);
    assert!(findings.are_whole() && findings.torn_bytes == 0, "{findings:?}");
    assert_eq!(said, clients(&[3, 4, 5, 6]));
}

/// Goal: as many files are kept as the journal will need, and of them none that is needed, none
/// that is much longer, and none after the disk has failed or the journal was calm.
#[test]
fn files_are_kept_that_will_be_written_over() {
    let spares = |grows_to: u64, mut after: After| {
        let disk = quiet();
        let mut writer = filled(&disk, 4, &mut after);
        let mut old = writer.outdate(&disk, 4, grows_to * SEGMENT_BYTES).unwrap();
        old.run(&disk, || true);
        writer.take_gone(old);
        assert_eq!(writer.segments().count(), 2);
        let left = writer.calm_down();
        assert_eq!(left.len(), disk.disk.spares().len());
        left.iter().map(|id| id.number).collect::<Vec<_>>()
    };
    let nothing = || -> After { Box::new(|_| {}) };
    assert_eq!(spares(9, nothing()), [1, 2, 3]);
    assert_eq!(spares(4, nothing()), [3], "two are needed, and it will have four");
    assert_eq!(spares(0, nothing()), []);
    let is_calm = |writer: &mut Writer<usize>| {
        if writer.progress().segment == 3 {
            assert!(writer.calm_down().is_empty());
        }
    };
    assert_eq!(spares(9, Box::new(is_calm)), [3], "it is busy again");
    let fails = |writer: &mut Writer<usize>| {
        if writer.progress().segment == 2 {
            let disk = quiet();
            disk.calls_left.set(0);
            assert_eq!(writer.write(&disk, b"x\n"), Err(Trouble::Failed));
        }
    };
    assert_eq!(spares(9, Box::new(fails)), [3], "what came before may have failed, too");
    let disk = quiet();
    let mut writer = filled(&disk, 1, |writer| {
        writer.write(&disk, &b"AT Bailey +0.25 kiwi +34.1-118.4 5\n".repeat(10)).unwrap();
    });
    let old = writer.outdate(&disk, 2, 9 * SEGMENT_BYTES).unwrap().into_gone();
    assert_eq!(old, (vec![], vec![]));
    let mut old = writer.outdate(&disk, 2, 9 * SEGMENT_BYTES).unwrap();
    old.run(&disk, || true);
    assert_eq!(old.into_gone(), (vec![segment_id(1)], vec![]), "it is longer than others");
}

/// Goal: whichever step fails, another file is made the next time, and nothing is lost or said to
/// be.
#[test]
fn a_spare_that_cannot_be_written_over_is_given_up() {
    for calls in 0..5 {
        let disk = quiet();
        let mut writer = filled(&disk, 3, |_| {});
        let mut old = writer.outdate(&disk, 3, 4 * SEGMENT_BYTES).unwrap();
        assert!(old.run(&disk, || true));
        writer.take_gone(old);
        disk.calls_left.set(calls);
        assert_eq!(make_next(&mut writer, &disk), Err(Trouble::Failed));
        disk.calls_left.set(u32::MAX);
        assert!(!writer.has_spares());
        // A name that could not be removed is in the way of nobody: `Directory::create`.
        disk.disk.segments.borrow_mut().remove(&segment_id(5));
        write(&mut writer, &disk, 5);
        let (findings, said) = found(&disk);
        assert!(findings.are_whole(), "{calls} calls: {findings:?}");
        assert_eq!(said.len(), 3, "{calls} calls");
        assert!(disk.disk.spares().is_empty(), "{calls} calls");
    }
}

/// Goal: while no file is to go, none becomes a spare; those that have not gone do later.
#[test]
fn what_must_stay_for_now_stays() {
    let disk = quiet();
    let mut writer = filled(&disk, 3, |_| {});
    let mut old = writer.outdate(&disk, 4, 9 * SEGMENT_BYTES).unwrap();
    let asked = Cell::new(0);
    let may_go = || asked.replace(asked.get() + 1) < 1;
    assert!(!old.run(&disk, may_go));
    writer.take_gone(old);
    let numbers =
        |writer: &Writer<usize>| writer.segments().map(|id| id.number).collect::<Vec<_>>();
    assert_eq!(numbers(&writer), [2, 3, 4]);
    let mut old = writer.outdate(&disk, 4, 9 * SEGMENT_BYTES).unwrap();
    assert!(old.run(&disk, || true));
    writer.take_gone(old);
    assert_eq!(numbers(&writer), [4]);
    assert_eq!(writer.calm_down().len(), 3);
}
