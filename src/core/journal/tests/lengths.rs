//! How long a journal becomes, how much is written for that, and that nothing is lost by it: the
//! server, the loop's account and the writer together, on a disk whose files have their whole
//! length before they are used.

use std::time::Duration;

use super::Memory;
use crate::border::{Input, Outputs};
use crate::clock::{Now, PosixTime};
use crate::journal::JournalId;
use crate::journal::appender::{Appender, Keep, Sizes};
use crate::journal::load::{Past, Survey};
use crate::journal::writer::{Owner, Progress, Writer};
use crate::names::{ConnId, ConnKind};
use crate::wire::line_buffer::{LineLimits, Lines};
use crate::{Server, Settings};

/// Reports in a turn of the loop.
const AT_ONCE: usize = 50;
const ROOM: u64 = 4;

/// Files that have their whole length before they are used.
struct Filled {
    segment_bytes: u64,
    disk: Memory,
}

impl Filled {
    fn bytes(&self) -> u64 {
        let length = |file: &Vec<u8>| self.segment_bytes.max(file.len() as u64);
        let segments = self.disk.segments().values().map(length).sum::<u64>();
        segments + self.disk.spares().iter().map(length).sum::<u64>()
    }

    /// What a server begins with that finds these files.
    fn read(&self) -> Server {
        let (mut server, mut survey) = (server(), Survey::default());
        for (id, file) in self.disk.segments().iter().rev() {
            survey.read(*id, file, |found| server.restore(found)).unwrap();
        }
        server
    }
}

/// A server that is told so much, and the longest that its journal was.
struct Told {
    live: u64,
    most: u64,
    /// Bytes of news, and of all lines that were written.
    news: u64,
    written: u64,
    /// Segments that were begun, and files that were made for them.
    segments: u32,
    files: usize,
}

fn server() -> Server {
    Server::new(Settings { keeps_journal: true, ..Settings::new("Anna", "test", Vec::new()) })
}

/// `client` gives the number of who reports, by the number of the report. Whenever files are
/// removed, or kept to be written over because it is busy, those that are left must hold all that
/// the server knows.
fn tell(
    (segment_bytes, is_busy): (u64, bool),
    reports: usize,
    mut client: impl FnMut(usize) -> usize,
) -> Told {
    let mut server = server();
    let filled = Filled { segment_bytes, disk: Memory::default() };
    let disk = &filled.disk;
    let owner = Owner { herd: b"test".to_vec(), server: b"Anna".to_vec() };
    let mut writer = Writer::new(owner, JournalId(1), segment_bytes, Past::default());
    let sizes = Sizes { segment_bytes, room: ROOM, buffer_bytes: 1 << 20 };
    let mut appender = Appender::new(Keep::Written, sizes);
    let mut out = Outputs::default();
    let (mut most, mut news) = (0, 0);
    for turn in 0..reports / AT_ONCE {
        let report = |at| {
            let (client, time) = (client(turn * AT_ONCE + at), 1_520_000_000 + turn);
            format!("IAMAT client{client:06} +34.068930-118.445127 {time}.918963997\n")
        };
        let text: String = (0..AT_ONCE).map(report).collect();
        let lines = &mut Lines::new(text.as_bytes(), LineLimits::equal(1_000));
        let now = Now { monotonic: Duration::ZERO, posix: PosixTime::new(1_520_000_000, 0) };
        server.handle(
            now,
            Input::Lines { conn: ConnId::new(ConnKind::Client, 1, 1), lines },
            &mut out,
        );
        let before = appender.appended();
        appender.append(&out.text, &out.news);
        news += appender.appended() - before;
        out.clear();
        appender.update(writer.progress());
        server.feed_journal(&mut appender, false, &mut out);
        let lines = appender.hand_over(Vec::new());
        // As soon as it may be, so that nothing hides how long it becomes.
        if writer.wants_next_soon() || !writer.is_ready() {
            let next = if is_busy { writer.wants_next_over(0) } else { writer.wants_next(0) };
            let next = next.unwrap();
            let file = next.make(disk).unwrap();
            writer.prepared(next, file);
        }
        writer.write(disk, &lines).unwrap();
        most = most.max(filled.bytes());
        if let Some(job) = writer.begin_sync() {
            writer.end_sync(job, Ok(()));
        }
        appender.update(writer.progress());
        if let Some(oldest) = appender.end_compaction() {
            let grows_to = if is_busy { appender.grows_to() } else { 0 };
            let mut old = writer.outdate(disk, oldest, grows_to).unwrap();
            assert!(old.run(disk, || true));
            writer.take_gone(old);
            assert_eq!(filled.read().digest(), server.digest(), "after {turn} turns");
        }
    }
    let Progress { written, segment, .. } = writer.progress();
    let live = (server.store().bytes() - server.store().index_bytes()) as u64;
    let files = disk.files.borrow().len();
    Told { live, most, news, written, segments: segment, files }
}

/// Goal: a journal has the bound that is promised, all files counted as they lie on the disk, for a
/// few clients and for many, whether all of them report or only some, and whether files are written
/// over or not. If they are, hardly any is made.
#[test]
fn a_journal_is_no_longer_than_its_bound() {
    let mut random = fastrand::Rng::with_seed(1);
    let (few, many) = ((2_000, 128 << 10), (4_000, 32 << 10));
    for ((clients, segment_bytes), is_busy) in
        [(few, false), (few, true), (many, false), (many, true)]
    {
        let any = tell((segment_bytes, is_busy), 30_000, |_| random.usize(0..clients));
        // All report once, and then one in a hundred does.
        let few = tell((segment_bytes, is_busy), 30_000, |report| match report {
            report if report < clients => report,
            report => report % (clients / 100),
        });
        assert!(is_busy == (any.files < any.segments as usize), "{} files", any.files);
        for Told { live, most, .. } in [any, few] {
            let bound = (2 * ROOM + 3) * live / 2 + 6 * segment_bytes;
            assert!(most <= bound, "{most} bytes for {live}, more than {bound}");
            assert!(most > 4 * segment_bytes, "nothing was ever written anew");
        }
    }
}

/// Goal: to have its bound, a journal writes half as much again as it is told at most; a tenth if
/// its clients report more often than it is compacted.
#[test]
fn a_journal_writes_little_anew() {
    let share = |Told { news, written, .. }: Told| written as f64 / news as f64;
    let mut random = fastrand::Rng::with_seed(1);
    let busy = share(tell((128 << 10, true), 60_000, |_| random.usize(0..2_000)));
    assert!((1.001..1.1).contains(&busy), "{busy}");
    let many = share(tell((32 << 10, true), 60_000, |_| random.usize(0..4_000)));
    assert!((1.01..1.5).contains(&many), "{many}");
    let few = share(tell((32 << 10, true), 60_000, |report| match report {
        report if report < 4_000 => report,
        report => report % 40,
    }));
    assert!((1.01..1.5).contains(&few), "{few}");
}
