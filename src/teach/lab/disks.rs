//! What a disk leaves of a log: syncs that fail once, ends that are torn off.

use std::collections::BTreeSet;
use std::io;

use herd_core::journal::frame::{HEADER_BYTES, write_reports};
use herd_core::journal::load::{Past, Survey};
use herd_core::journal::writer::{Disk, Owner, Trouble, Writer};
use herd_core::journal::{JournalId, SegmentId};
use herd_sim::disk::{DiskFaults, SimDisk, SimFile};

use super::{Experiment, Findings, House};

const JOURNAL: JournalId = JournalId(7);

pub const FSYNC_LIES: Experiment = Experiment {
    name: "fsync-lies",
    chapter: 22,
    title: "a sync that is tried again succeeds, and the disk has nothing",
    about: "If a sync fails, the system has said so, and calls the pages clean. The next sync \
            finds nothing to do. A disk that fails on demand needs root, so this one is the \
            simulated disk of `herd sim`, which does as Linux does. `await to_thread(os.fsync, \
            fd)` in a loop until it succeeds is this bug in asyncio; `aiofiles` has no sync at \
            all.",
    steps: "1,000 reports are written and synced; the sync fails; the disk works again. One log \
            syncs once more. The other, which is the journal's own writer, leaves the file and \
            writes all to another. Then the power goes.",
    house: "a file that a sync has failed for is never synced again: `Writer::end_sync`, and all \
            that is known is written anew.",
    run: fsync_lies,
};

fn fsync_lies(found: &mut Findings, _: &House) -> io::Result<()> {
    let reports = said(1_000);
    let text = reports.concat();

    let disk = failing_disk();
    let title = b"a log\n";
    let file = disk.create(segment(1), title).map_err(failed)?;
    disk.sync_names().map_err(failed)?;
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let at = (title.len() + text.len() - rest.len()) as u64;
        rest = &rest[disk.write(&file, at, rest).map_err(failed)?..];
    }
    let first = disk.sync(&file);
    disk.heal();
    let second = disk.sync(&file);
    let read_back = count(&disk, &reports);
    disk.cut();
    let left = count(&disk, &reports);

    let disk = failing_disk();
    let (herd, server) = (b"2023".to_vec(), b"Bailey".to_vec());
    let mut writer = Writer::new(Owner { herd, server }, JOURNAL, 1 << 20, Past::default());
    let synced_first = write_and_sync(&mut writer, &disk, &text).map_err(failed)?;
    disk.heal();
    let synced_then = write_and_sync(&mut writer, &disk, &text).map_err(failed)?;
    disk.cut();
    let ours = count(&disk, &reports);

    let told = |result: Result<(), Trouble>| if result.is_ok() { "succeeds" } else { "fails" };
    found.show("the first sync", "succeeds", told(first));
    found.show("the second sync of the file", "fails", told(second));
    found.show("reports, read back from the file", 0, read_back);
    found.show("reports on the disk when the power is gone", read_back, left);
    found.show("the same, written anew to another file", reports.len(), ours);
    found.demand(first.is_err() && second.is_ok(), "the second sync has reported the failure");
    found.demand(read_back == reports.len() && left == 0, "nothing was lost");
    found.demand(!synced_first && synced_then, "the writer trusts a file that has failed");
    found.demand(ours == reports.len(), "the writer has lost something");
    Ok(())
}

/// Its syncs fail, until it is healed.
fn failing_disk() -> SimDisk {
    SimDisk::new(DiskFaults { sync_failed: 1_000, ..DiskFaults::default() }, 1)
}

/// Whether all that was written is on the disk, as far as the writer knows.
fn write_and_sync(
    writer: &mut Writer<SimFile>,
    disk: &SimDisk,
    text: &str,
) -> Result<bool, Trouble> {
    if let Some(next) = writer.wants_next(0) {
        let file = next.make(disk)?;
        writer.prepared(next, file);
    }
    writer.write(disk, text.as_bytes())?;
    if let Some(job) = writer.begin_sync() {
        let result = job.run(disk);
        writer.end_sync(job, result);
    }
    Ok(writer.progress().synced == writer.progress().written)
}

fn failed(trouble: Trouble) -> io::Error {
    io::Error::other(format!("the simulated disk fails: {trouble:?}"))
}

fn count(disk: &SimDisk, reports: &[String]) -> usize {
    let files = disk.files();
    let texts = files.iter().map(|(_, bytes)| String::from_utf8_lossy(bytes));
    let lines: BTreeSet<_> =
        texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>()).collect();
    reports.iter().filter(|report| lines.contains(report.trim_end())).count()
}

pub const TORN_TAIL: Experiment = Experiment {
    name: "torn-tail",
    chapter: 22,
    title: "half a line is a report that nobody said",
    about: "A machine that dies leaves what it was writing half written, and disks let bits rot. A \
            reader of lines believes what looks like a line: a time that lacks its last digits is \
            a time. `async for line in file` of `aiofiles` gives the torn line like any other.",
    steps: "A log of 8 reports is cut at each of its bytes; then each of its bits is turned \
            over. Each time it is read line by line, and as frames with checksums. How often does \
            a report come out that nobody said?",
    house: "frames have checksums that cover their place, and what is no frame is skipped: \
            `core::journal::frame`, `Pieces`.",
    run: torn_tail,
};

fn torn_tail(found: &mut Findings, _: &House) -> io::Result<()> {
    let reports = said(8);
    let lines = reports.concat().into_bytes();
    // Two frames, as of two turns of a loop.
    let mut frames = vec![b' '; HEADER_BYTES];
    for part in [&reports[..4], &reports[4..]] {
        let at = frames.len() as u64;
        write_reports(segment(1), at, part.concat().as_bytes(), &mut frames);
    }
    let known: BTreeSet<_> = reports.iter().map(|report| report.trim_end().to_owned()).collect();
    let is_made_up = |read: Vec<String>| read.iter().any(|report| !known.contains(report));
    let cuts = |log: &[u8], from, read: fn(&[u8]) -> Vec<String>| {
        (from..log.len()).filter(|&at| is_made_up(read(&log[..at]))).count()
    };
    let flips = |log: &[u8], from: usize, read: fn(&[u8]) -> Vec<String>| {
        let flip = |bit: &usize| {
            let mut log = log.to_vec();
            log[bit / 8] ^= 1 << (bit % 8);
            is_made_up(read(&log))
        };
        (8 * from..8 * log.len()).filter(flip).count()
    };
    let (line_cuts, line_flips) = (cuts(&lines, 0, read_lines), flips(&lines, 0, read_lines));
    let frame_cuts = cuts(&frames, HEADER_BYTES, read_frames);
    let frame_flips = flips(&frames, HEADER_BYTES, read_frames);
    let mut bad = frames.clone();
    bad[HEADER_BYTES + 60] ^= 1;
    let behind = read_frames(&bad).len();

    let of = |count: usize, all: usize| format!("{count} of {all}");
    let (cut_places, bits) = (frames.len() - HEADER_BYTES, 8 * (frames.len() - HEADER_BYTES));
    found.show("made up after a cut, by lines", 0, of(line_cuts, lines.len()));
    found.show("made up after a cut, by frames", 0, of(frame_cuts, cut_places));
    found.show("made up after a bit, by lines", 0, of(line_flips, 8 * lines.len()));
    found.show("made up after a bit, by frames", 0, of(frame_flips, bits));
    found.show("of 8 reports, read when one is bad", 8, behind);
    found.demand(line_cuts > 0 && line_flips > 0, "lines were not believed");
    found.demand(frame_cuts + frame_flips == 0, "a frame was believed");
    found.demand(behind == 4, "what lies behind the damage was not read");
    Ok(())
}

/// What a program does that has no frames: it takes what has the fields of a report.
fn read_lines(log: &[u8]) -> Vec<String> {
    let text = String::from_utf8_lossy(log);
    let is_report = |line: &&str| {
        let fields: Vec<_> = line.split(' ').collect();
        matches!(fields[..], ["AT", _, skew, _, _, time]
            if skew.parse::<f64>().is_ok() && time.parse::<f64>().is_ok())
    };
    text.lines().filter(is_report).map(str::to_owned).collect()
}

fn read_frames(log: &[u8]) -> Vec<String> {
    let mut reports = Vec::new();
    // An unknown line in a frame would be of a later version; here there is none.
    let _ = Survey::default().read(segment(1), log, |frame| {
        reports.extend(frame.lines().map(|line| String::from_utf8_lossy(line).into_owned()));
        Ok(())
    });
    reports
}

fn segment(number: u32) -> SegmentId {
    SegmentId { journal: JOURNAL, number }
}

/// Reports of as many clients.
fn said(clients: u32) -> Vec<String> {
    let time = |client: u32| 1_520_023_934 + client;
    let report =
        |client| format!("AT Hill +0.263873386 c{client} +34.06-118.44 {}.918963\n", time(client));
    (0..clients).map(report).collect()
}
