//! The form of a journal, and what is found in one that is damaged. How long one becomes is in
//! `lengths`, and files that are written over in `over`.

mod lengths;
mod over;

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use super::frame::{Fact, HEADER_BYTES, Header, HeaderError, write_facts, write_reports};
use super::load::{Damage, Findings, Past, Piece, Pieces, Survey};
use super::writer::{Disk, Owner, Trouble, Writer};
use super::{JournalId, SegmentId};

const JOURNAL: JournalId = JournalId(0x9f3a_0000_0000_0001);

fn segment_id(number: u32) -> SegmentId {
    SegmentId { journal: JOURNAL, number }
}

fn header(number: u32) -> Vec<u8> {
    header_over(number, None)
}

/// The header of a segment that may be written over the file of another one.
fn header_over(number: u32, over: Option<u32>) -> Vec<u8> {
    let id = segment_id(number);
    let mut segment = Vec::new();
    let (herd, server) = (&b"2023"[..], &b"Bailey"[..]);
    let header = Header { herd, server, id, made: 1_795_321_086, over };
    header.write(&mut segment);
    assert_eq!(Header::parse(&segment), Ok(header));
    segment
}

/// A segment with some reports, and their lines.
fn segment(number: u32, random: &mut fastrand::Rng) -> (Vec<u8>, BTreeSet<Vec<u8>>) {
    let mut segment = header(number);
    let mut lines = BTreeSet::new();
    for _ in 0..random.usize(2..8) {
        let mut text = Vec::new();
        for _ in 0..random.usize(1..80) {
            let (client, time) = (random.u32(..), random.u32(..));
            let line = format!("AT Bailey +0.25 {client} +34.1-118.4 {time}\n");
            text.extend_from_slice(line.as_bytes());
            lines.insert(line.into_bytes());
        }
        let offset = segment.len() as u64;
        write_reports(segment_id(number), offset, &text, &mut segment);
    }
    (segment, lines)
}

fn survey<'a>(segments: impl IntoIterator<Item = (u32, &'a [u8])>) -> (Findings, Vec<Vec<u8>>) {
    let (mut survey, mut lines) = (Survey::default(), Vec::new());
    for (number, segment) in segments {
        let mut take = |line: &[u8]| {
            lines.push([line, b"\n"].concat());
            line.starts_with(b"AT ")
        };
        survey.read(segment_id(number), segment, |found| found.each(&mut take)).unwrap();
    }
    (survey.finish(), lines)
}

#[test]
fn a_file_is_named_after_its_segment() {
    let name = segment_id(17).to_string();
    assert_eq!(name, "9f3a000000000001-00000017.herd");
    assert_eq!(SegmentId::of_file_name(&name), Some(segment_id(17)));
    let late = segment_id(u32::MAX);
    assert_eq!(SegmentId::of_file_name(&late.to_string()), Some(late));
    for other in ["lock", "9f3a-17.herd", "9F3A000000000001-00000017.herd", "x-00000017.herd"] {
        assert_eq!(SegmentId::of_file_name(other), None, "{other}");
    }
}

/// Goal: frames are short, a long line has one of its own, and all are read as they were written.
#[test]
fn what_is_written_is_read() {
    let mut segment = header(1);
    let long = [&b"AT A +1 "[..], &[b'x'; 70_000], b" +1-1 5\n"].concat();
    let text =
        [&b"AT A +1 kiwi +1-1 5\n".repeat(1_000)[..], &long, b"AT A +1 fig +1-1 5\n"].concat();
    let at = segment.len() as u64;
    write_reports(segment_id(1), at, &text, &mut segment);
    let mut read = Vec::new();
    for piece in Pieces::of(segment_id(1), &segment) {
        let Piece::Frame(frame) = piece else { panic!("{piece:?}") };
        assert!(frame.bytes() <= 4_200 || frame.payload == long, "{}", frame.bytes());
        assert_eq!(frame.reports, frame.payload.split(|&byte| byte == b'\n').count() - 1);
        read.extend_from_slice(frame.payload);
    }
    assert!(read == text);
    let (findings, lines) = survey([(1, &segment[..])]);
    assert!(lines.concat() == text && findings.are_whole());
    assert_eq!((findings.reports, findings.torn_bytes), (1_002, 0));
}

#[test]
fn a_header_of_another_version_is_told_from_a_damaged_one() {
    let good = header(3);
    for at in 0..good.trim_ascii_end().len() {
        for bit in 0..8 {
            let mut header = good.clone();
            header[at] ^= 1 << bit;
            // A magic word is no header of ours, whatever follows it.
            assert_eq!(Header::parse(&header), Err(HeaderError::Damaged), "byte {at}, bit {bit}");
        }
    }
    assert_eq!(Header::parse(&good[..200]), Err(HeaderError::Damaged));
    let mut later = b"herd journal 2 something=else".to_vec();
    later.resize(HEADER_BYTES, b' ');
    assert_eq!(Header::parse(&later), Err(HeaderError::Version(2)));
}

#[test]
fn facts_are_read_as_they_were_written() {
    let facts = [Fact::Synced { segment: 16, bytes: 16_777_104 }, Fact::Oldest { segment: 12 }];
    for fact in facts {
        let mut line = Vec::new();
        fact.write(&mut line);
        assert_eq!(Fact::parse(line.trim_ascii_end()), Some(fact));
    }
    for line in ["SYNCED 1", "SYNCED 1 2 3", "OLDEST", "OLDEST -1", "OLDEST 4294967296", "AT 1 2"] {
        assert_eq!(Fact::parse(line.as_bytes()), None, "{line}");
    }
}

/// Four segments, each of which says that the one before was synced, and a fifth that is prepared.
fn five_segments(random: &mut fastrand::Rng) -> Vec<Vec<u8>> {
    let mut segments: Vec<Vec<u8>> = Vec::new();
    for number in 1..=4 {
        let mut new = header(number);
        if let Some(before) = segments.last() {
            let synced = Fact::Synced { segment: number - 1, bytes: before.len() as u64 };
            write_facts(segment_id(number), HEADER_BYTES as u64, &[synced], &mut new);
        }
        for _ in 0..2 {
            let text = format!("AT A +1 c{} +1-1 {number}\n", random.u32(..)).repeat(5);
            let offset = new.len() as u64;
            write_reports(segment_id(number), offset, text.as_bytes(), &mut new);
        }
        segments.push(new);
    }
    segments.push(header(5));
    segments
}

fn survey_all(segments: &[Vec<u8>]) -> Findings {
    survey((1..).zip(segments.iter().map(|segment| &segment[..]))).0
}

/// Goal: what a death leaves is not damage, and what is damage is not taken for one.
#[test]
fn what_was_not_synced_may_be_torn() {
    let good = five_segments(&mut fastrand::Rng::with_seed(1));
    assert!(survey_all(&good).are_whole());
    // Lives have ended with half a frame, in what is the last segment now and before.
    let mut torn = good.clone();
    torn[2].extend_from_slice(b"#000030 0001 0123");
    torn[3].extend_from_slice(&[b"half a frame", &[0; 500][..]].concat());
    let findings = survey_all(&torn);
    assert!(findings.are_whole() && findings.torn_bytes == 17 + 12, "{findings:?}");
    // A server has died while it made the last one.
    for len in [0, 100] {
        let mut begun = good.clone();
        begun[4].truncate(len);
        assert!(survey_all(&begun).are_whole(), "{len} bytes of a header");
    }
    // Files that were filled with zeros before they were used.
    let mut filled = good.clone();
    filled.iter_mut().for_each(|segment| segment.resize(4_000, 0));
    assert_eq!(survey_all(&filled), survey_all(&good));
    // A segment that is shorter than what was synced of it.
    let mut short = good.clone();
    short[1].truncate(good[1].len() - 1);
    let [Damage { id, bytes }] = &survey_all(&short).damaged[..] else { panic!() };
    assert_eq!((id.number, bytes.end), (2, good[1].len() as u64));
    // The same in the last, of which nothing was synced: a machine that died may have left it so,
    // and a hole in it as well.
    let mut short = good.clone();
    short[3].truncate(good[3].len() - 1);
    let findings = survey_all(&short);
    assert!(findings.are_whole() && findings.torn_bytes > 0, "{findings:?}");
    let mut hole = good.clone();
    let facts_end = HEADER_BYTES + "#000000 0000 00000000\nSYNCED 3 123\n".len();
    hole[3][facts_end + 30] ^= 1;
    let findings = survey_all(&hole);
    assert!(findings.are_whole() && findings.torn_bytes > 0 && findings.frames == 7);
    // In one that was synced, it is damage.
    hole[1][facts_end + 30] ^= 1;
    assert_eq!(survey_all(&hole).damaged.len(), 1);
}

/// Goal: a header that has gone bad is told, though its frames say all that they did.
#[test]
fn a_header_that_has_gone_bad_is_damage() {
    let good = five_segments(&mut fastrand::Rng::with_seed(4));
    for (number, at) in [(1, 0), (4, 100), (4, HEADER_BYTES - 1)] {
        let mut bad = good.clone();
        bad[number - 1][at] ^= 1;
        let findings = survey_all(&bad);
        let [Damage { id, bytes }] = &findings.damaged[..] else { panic!("{findings:?}") };
        assert_eq!((id.number, bytes), (number as u32, &(0..HEADER_BYTES as u64)));
        assert_eq!((findings.torn_bytes, findings.frames), (0, 8));
    }
    // The last has no frame so far: it may be one that was not made to its end.
    let mut bad = good.clone();
    bad[4].truncate(100);
    let findings = survey_all(&bad);
    assert!(findings.are_whole() && findings.torn_bytes == 100, "{findings:?}");
    bad[4].fill(0);
    assert_eq!(survey_all(&bad).torn_bytes, 0);
}

/// Goal: a segment that is gone is missed, unless it was not needed any more.
#[test]
fn a_segment_that_is_missing_is_seen() {
    let mut segments = five_segments(&mut fastrand::Rng::with_seed(2));
    let only = |segments: &[Vec<u8>], numbers: &[u32]| {
        survey(numbers.iter().map(|&number| (number, &segments[number as usize - 1][..]))).0
    };
    for gone in 1..=4 {
        let left: Vec<_> = (1..=5).filter(|&number| number != gone).collect();
        assert_eq!(only(&segments, &left).missing, [segment_id(gone)]);
    }
    // The last was prepared, and nothing says that it was there.
    assert!(only(&segments, &[1, 2, 3, 4]).are_whole());
    let offset = segments[3].len() as u64;
    write_facts(segment_id(4), offset, &[Fact::Oldest { segment: 3 }], &mut segments[3]);
    assert!(only(&segments, &[3, 4, 5]).are_whole());
    assert_eq!(only(&segments, &[1, 2, 4, 5]).missing, [segment_id(3)]);
}

/// Takes whatever it is given.
#[derive(Default)]
struct Memory {
    /// Each file, by its number.
    files: RefCell<Vec<Vec<u8>>>,
    /// Which files are segments, and which are spares.
    segments: RefCell<BTreeMap<SegmentId, usize>>,
    spares: RefCell<BTreeMap<SegmentId, usize>>,
}

impl Memory {
    /// Files of segments.
    fn segments(&self) -> BTreeMap<SegmentId, Vec<u8>> {
        let files = self.files.borrow();
        self.segments.borrow().iter().map(|(&id, &file)| (id, files[file].clone())).collect()
    }

    /// Files of spares.
    fn spares(&self) -> Vec<Vec<u8>> {
        let files = self.files.borrow();
        self.spares.borrow().values().map(|&file| files[file].clone()).collect()
    }
}

impl Disk for Memory {
    type File = usize;

    fn create(&self, id: SegmentId, header: &[u8]) -> Result<usize, Trouble> {
        let mut files = self.files.borrow_mut();
        files.push(header.to_vec());
        self.segments.borrow_mut().insert(id, files.len() - 1);
        Ok(files.len() - 1)
    }

    fn sync_names(&self) -> Result<(), Trouble> {
        Ok(())
    }

    fn write(&self, file: &usize, at: u64, bytes: &[u8]) -> Result<usize, Trouble> {
        let file = &mut self.files.borrow_mut()[*file];
        let place = at as usize..at as usize + bytes.len();
        assert!(place.start <= file.len(), "a hole");
        file.resize(place.end.max(file.len()), 0);
        file[place].copy_from_slice(bytes);
        Ok(bytes.len())
    }

    fn sync(&self, _: &usize) -> Result<(), Trouble> {
        Ok(())
    }

    fn remove(&self, id: SegmentId) -> Result<(), Trouble> {
        self.segments.borrow_mut().remove(&id).map(|_| ()).ok_or(Trouble::Failed)
    }

    fn keep_spare(&self, id: SegmentId) -> Result<(), Trouble> {
        let file = self.segments.borrow_mut().remove(&id).ok_or(Trouble::Failed)?;
        self.spares.borrow_mut().insert(id, file);
        Ok(())
    }

    fn open_spare(&self, spare: SegmentId) -> Result<usize, Trouble> {
        self.spares.borrow().get(&spare).copied().ok_or(Trouble::Failed)
    }

    fn name_spare(&self, spare: SegmentId, id: SegmentId) -> Result<(), Trouble> {
        let file = self.spares.borrow_mut().remove(&spare).ok_or(Trouble::Failed)?;
        self.segments.borrow_mut().insert(id, file);
        Ok(())
    }

    fn remove_spare(&self, spare: SegmentId) -> Result<(), Trouble> {
        self.spares.borrow_mut().remove(&spare).map(|_| ()).ok_or(Trouble::Failed)
    }
}

/// Goal: the end of a file that an earlier life has synced is missed when it is cut off, though the
/// file itself has said that it was synced.
#[test]
fn what_an_earlier_life_has_synced_is_missed() {
    let disk = Memory::default();
    let mut past = Past::default();
    for time in 1..=2 {
        let owner = Owner { herd: b"2023".to_vec(), server: b"Bailey".to_vec() };
        let mut writer = Writer::new(owner, JOURNAL, 1 << 20, past.clone());
        let next = writer.wants_next(0).unwrap();
        let file = next.make(&disk).unwrap();
        writer.prepared(next, file);
        writer.write(&disk, format!("AT A +1 kiwi +1-1 {time}\n").as_bytes()).unwrap();
        let job = writer.begin_sync().unwrap();
        writer.end_sync(job, Ok(()));
        writer.seal(&disk).unwrap();
        let mut survey = Survey::default();
        for (id, segment) in disk.segments().iter().rev() {
            survey.read(*id, segment, |_| Ok(())).unwrap();
        }
        past = survey.past(JOURNAL);
        assert!(survey.finish().are_whole());
    }
    disk.files.borrow_mut()[disk.segments.borrow()[&segment_id(1)]].truncate(HEADER_BYTES);
    let files = disk.segments();
    let files = files.iter().rev().map(|(id, segment)| (id.number, &segment[..]));
    let damaged = survey(files).0.damaged;
    assert!(damaged.len() == 1 && damaged[0].id == segment_id(1), "{damaged:?}");
}

/// One fault of a disk.
fn spoil(segment: &mut Vec<u8>, other: &[u8], random: &mut fastrand::Rng) -> &'static str {
    const SECTOR: usize = 512;
    let at = random.usize(HEADER_BYTES..segment.len());
    let sector = at / SECTOR * SECTOR..(at / SECTOR * SECTOR + SECTOR).min(segment.len());
    match random.u8(0..7) {
        0 => {
            segment[at] ^= 1 << random.u8(0..8);
            "a bit"
        }
        1 => {
            segment[sector].fill(0);
            "a sector that was never written"
        }
        2 => {
            let len = sector.len().min(other.len());
            let from = random.usize(0..=other.len() - len);
            segment[sector][..len].copy_from_slice(&other[from..from + len]);
            "a sector of another file"
        }
        3 => {
            let from = random.usize(0..=segment.len() - sector.len());
            segment.copy_within(from..from + sector.len(), sector.start);
            "a sector written twice"
        }
        4 => {
            // The offset alone would not tell them apart.
            let end = (at + SECTOR * random.usize(1..9)).min(segment.len()).min(other.len());
            let place = at.min(end)..end;
            segment[place.clone()].copy_from_slice(&other[place]);
            "the same place of another file"
        }
        5 => {
            segment.drain(at..(at + random.usize(1..100)).min(segment.len()));
            "bytes that are gone"
        }
        _ => {
            segment.truncate(at);
            "a file that is too short"
        }
    }
}

/// Goal: whatever a disk does, no report is made up, and each frame that it has left alone is
/// found; what is lost is told.
#[test]
fn damage_costs_what_it_has_hit_and_no_more() {
    for seed in 0..3_000 {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut good, said) = segment(1, &mut random);
        let (other, _) = segment(2, &mut random);
        if random.bool() {
            good = over::lay(&good, &other);
        }
        let mut bad = good.clone();
        let fault = spoil(&mut bad, &other, &mut random);
        let (findings, lines) = survey([(1, &bad[..])]);
        let lines: BTreeSet<_> = lines.into_iter().collect();
        assert!(lines.is_subset(&said), "seed {seed}, {fault}: a report that nobody said");
        let untouched = Pieces::of(segment_id(1), &good);
        let mut at = HEADER_BYTES;
        for piece in untouched {
            let Piece::Frame(frame) = piece else { panic!("it was good") };
            let place = at..at + frame.bytes();
            at = place.end;
            if bad.get(place.clone()) == Some(&good[place.clone()]) {
                let mut frames = frame.payload.split_inclusive(|&byte| byte == b'\n');
                assert!(
                    frames.all(|line| lines.iter().any(|read| read == line)),
                    "seed {seed}, {fault}"
                );
            }
        }
        let is_lost = lines.len() < said.len();
        let is_told = findings.torn_bytes > 0;
        // Cut or zeroed at the end, it looks like a file that was not written to so far.
        let may_be_silent =
            matches!(fault, "a file that is too short" | "a sector that was never written");
        assert!(!is_lost || is_told || may_be_silent, "seed {seed}, {fault}: lost in silence");
    }
}

/// Goal: files whose names were exchanged lose nothing, and are told.
#[test]
fn a_file_under_another_ones_name_is_read() {
    let mut random = fastrand::Rng::with_seed(3);
    let (one, mut said) = segment(1, &mut random);
    let (two, more) = segment(2, &mut random);
    said.extend(more);
    let (findings, lines) = survey([(2, &one[..]), (1, &two[..])]);
    assert_eq!(lines.into_iter().collect::<BTreeSet<_>>(), said);
    let misnamed = |number, of: &[u8]| Damage { id: segment_id(number), bytes: 0..of.len() as u64 };
    assert_eq!(findings.damaged, [misnamed(1, &two), misnamed(2, &one)]);
}

/// Goal: the beginning of a file that was written to another one's place costs what it has hit.
#[test]
fn a_header_of_another_segment_hides_no_frames() {
    let mut segments = five_segments(&mut fastrand::Rng::with_seed(5));
    let beginning = segments[1][..HEADER_BYTES].to_vec();
    segments[3][..HEADER_BYTES].copy_from_slice(&beginning);
    let findings = survey_all(&segments);
    let bytes = 0..HEADER_BYTES as u64;
    assert_eq!(findings.damaged, [Damage { id: segment_id(4), bytes }]);
    assert_eq!((findings.frames, findings.torn_bytes), (8, 0));
}

/// Goal: any bytes are read to their end, in reasonable time.
#[test]
fn anything_can_be_read() {
    let mut random = fastrand::Rng::with_seed(9);
    for _ in 0..200 {
        let alphabet = random.choice([&b"# 0f\n"[..], b"#0 ", b"\0#", b"#000fff 0001 00000000\nA"]);
        let alphabet = alphabet.expect("there are some");
        let bytes: Vec<u8> = (0..20_000).map(|_| *random.choice(alphabet).unwrap()).collect();
        let (findings, lines) = survey([(1, &bytes[..])]);
        assert!(lines.is_empty() && findings.are_whole());
    }
    let hostile = b"#0fffff 0001 00000000\n".repeat(1_000);
    assert!(survey([(1, &hostile[..])]).1.is_empty());
}

#[test]
fn what_a_later_version_says_is_not_skipped() {
    let mut segment = header(1);
    write_reports(segment_id(1), HEADER_BYTES as u64, b"FORGET kiwi\n", &mut segment);
    let unknown = Survey::default()
        .read(segment_id(1), &segment, |found| found.each(|line| line.starts_with(b"AT ")));
    assert_eq!(unknown.unwrap_err().line, "FORGET kiwi");
}
