//! What waits for the disk so that the loop need not: the writer thread of the log.
//!
//! This half may block, `sink` may not. It works on a `Destination`, so that tests can hand it a
//! disk that is full, slow or stuck. It knows nothing of levels.
//!
//! While the disk refuses, the batch is kept and offered again; what comes meanwhile stays in the
//! queue as long as it fits. So memory is bounded by twice `QUEUE_BYTES_MAX` and a batch, and where
//! lines are missing, the log says how many.

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::entries::{Entries, Reader, What};
use super::form::Form;
use super::sink::{LogQueue, QUEUE_BYTES_MAX, count_lines, now};
use super::traffic::Scribe;

/// Text is given to the disk when there is so much of it: few writes, and what was just spelled is
/// still in the processor's cache.
const BATCH_BYTES: usize = 128 * 1024;

/// The writer rests so long after a batch, so that under load a batch holds many lines, and waking
/// it costs the loop nothing. The first line after a silence is written at once.
const REST: Duration = Duration::from_millis(20);

/// How soon a batch that the disk refused is offered again.
const RETRY: Duration = Duration::from_secs(1);

/// Where lines end up: a file in life, a misbehaving disk in tests.
pub(super) trait Destination: Send + 'static {
    /// Takes some bytes from the front and says how many, as `io::Write::write` does.
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize>;

    /// So many bytes, whole lines, are about to be written, and only whole lines were before: it
    /// may go on in a new file.
    fn begin(&mut self, bytes: usize);

    /// Goes on in a new file. After an error the old one must still be writable.
    fn reopen(&mut self) -> io::Result<()>;

    /// Tells the operator in another way than the log, which is what is in trouble.
    fn complain(&mut self, message: &str);
}

/// Starts the writer thread. It ends after `LogQueue::close`.
pub(super) fn start(destination: impl Destination, form: Form) -> io::Result<Arc<LogQueue>> {
    let queue = Arc::new(LogQueue::new());
    let writer = Writer::new(Arc::clone(&queue), destination, form);
    thread::Builder::new().name("log".to_owned()).spawn(move || writer.run())?;
    Ok(queue)
}

/// The thread that waits for the disk so that no other has to.
struct Writer<D> {
    queue: Arc<LogQueue>,
    destination: D,
    /// Taken from the queue; what has been read of it is in the batch.
    taken: Reader,
    /// Lines that are missing behind what was taken.
    missing: u64,
    scribe: Scribe,
    /// Lines that were made since the start.
    spelled: u64,
    /// Finished lines, of which the first `written` bytes are on the disk.
    batch: Vec<u8>,
    written: usize,
    /// The last write failed.
    failing: bool,
}

impl<D: Destination> Writer<D> {
    fn new(queue: Arc<LogQueue>, destination: D, form: Form) -> Writer<D> {
        Writer {
            queue,
            destination,
            taken: Reader::new(Entries::with_capacity(QUEUE_BYTES_MAX)),
            missing: 0,
            scribe: Scribe::new(form),
            spelled: 0,
            batch: Vec::with_capacity(BATCH_BYTES),
            written: 0,
            failing: false,
        }
    }

    /// Bound: none in life; after an order to close, one more batch.
    fn run(mut self) {
        loop {
            if !self.failing {
                self.queue.idle();
            }
            let closing = self.take_orders();
            self.write_all();
            if closing {
                self.end();
                return;
            }
            if self.failing {
                self.queue.sit_out(RETRY);
            } else {
                self.queue.rest(REST);
            }
        }
    }

    /// Takes what waits if all before it is written, and carries out orders. True: close.
    fn take_orders(&mut self) -> bool {
        let has_work = !self.batch.is_empty() || !self.taken.is_done();
        let orders = self.queue.take(&mut self.taken, has_work, self.spelled);
        self.missing += orders.missing;
        if orders.reopen {
            self.reopen();
        }
        orders.close
    }

    fn reopen(&mut self) {
        match self.destination.reopen() {
            // A line that the old file got only a part of is written to the new one as a whole.
            Ok(()) => self.written = line_start(&self.batch, self.written),
            Err(error) => {
                let message = format!("cannot be opened anew, going on in the old file: {error}");
                self.destination.complain(&message);
                // Bound: a batch that is kept does not grow, however often this is tried.
                if !self.failing {
                    self.scribe.form().note("log-not-reopened", &message, now(), &mut self.batch);
                }
            }
        }
    }

    /// Writes all that was taken. What the disk refuses stays in the batch.
    ///
    /// Bound: every pass spells at least a line, and writes at least a byte of the batch or is the
    /// last but for signals.
    fn write_all(&mut self) {
        self.fill_batch();
        while !self.batch.is_empty() {
            if self.written == 0 {
                self.destination.begin(self.batch.len());
            }
            while self.written < self.batch.len() {
                match self.destination.write(&self.batch[self.written..]) {
                    Ok(0) => return self.turn_failing(&io::ErrorKind::WriteZero.into()),
                    Ok(count) => self.written += count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return self.turn_failing(&error),
                }
            }
            self.batch.clear();
            self.written = 0;
            if self.failing {
                self.failing = false;
                self.destination.complain("is written again");
            }
            self.fill_batch();
        }
    }

    /// Makes text of what was taken, a batch of it at most and a line.
    fn fill_batch(&mut self) {
        let Writer { taken, scribe, spelled, batch, .. } = self;
        while batch.len() < BATCH_BYTES && !taken.is_done() {
            taken.read(|what, bytes| match what {
                What::Text => {
                    batch.extend_from_slice(bytes);
                    *spelled += count_lines(bytes);
                    bytes.len()
                }
                What::Traffic(traffic) => {
                    let (taken, records) = scribe.spell(traffic, bytes, BATCH_BYTES, batch);
                    *spelled += records;
                    taken
                }
            });
        }
        if taken.is_done() && self.missing > 0 {
            let lines = match self.missing {
                1 => "1 line is".to_owned(),
                missing => format!("{missing} lines are"),
            };
            scribe.form().note("lines-missing", &format!("{lines} missing here"), now(), batch);
            self.missing = 0;
        }
    }

    /// One complaint for a failure, however often it is met again.
    fn turn_failing(&mut self, error: &io::Error) {
        if !self.failing {
            self.failing = true;
            self.destination.complain(&format!("cannot be written, trying again: {error}"));
        }
    }

    fn end(mut self) {
        // A batch that was held back by a failure has left lines in the queue.
        if !self.failing {
            self.take_orders();
            self.write_all();
        }
        let unwritten = count_lines(&self.batch[self.written..]) + self.taken.count_lines();
        self.queue.leave(unwritten);
    }
}

/// Where the line begins that `offset` lies in.
fn line_start(bytes: &[u8], offset: usize) -> usize {
    memchr::memrchr(b'\n', &bytes[..offset]).map_or(0, |newline| newline + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::logging::entries::{Traffic, Way};
    use crate::logging::form::date;
    use herd_core::names::{ConnId, ConnKind};
    use std::sync::{Condvar, Mutex};
    use std::time::Instant;

    /// How a disk behaves, switched while the writer uses it.
    #[derive(Clone, Copy, PartialEq)]
    enum Mood {
        Works,
        /// Takes three bytes at a time.
        Bites,
        Full,
        Stuck,
    }

    struct Disk {
        mood: Mood,
        reopens: bool,
        files: Vec<Vec<u8>>,
        complaints: Vec<String>,
        writes: u32,
    }

    #[derive(Clone)]
    struct Shared(Arc<(Mutex<Disk>, Condvar)>);

    impl Shared {
        fn new(mood: Mood) -> Shared {
            let (files, complaints) = (vec![Vec::new()], Vec::new());
            let disk = Disk { mood, reopens: true, files, complaints, writes: 0 };
            Shared(Arc::new((Mutex::new(disk), Condvar::new())))
        }

        fn turn(&self, mood: Mood) {
            self.0.0.lock().unwrap().mood = mood;
            self.0.1.notify_all();
        }

        /// Waits until the disk looks as demanded.
        fn wait_until(&self, what: &str, mut true_of: impl FnMut(&Disk) -> bool) {
            let (disk, timeout) = self
                .0
                .1
                .wait_timeout_while(self.0.0.lock().unwrap(), TIMEOUT, |disk| !true_of(disk))
                .unwrap();
            assert!(!timeout.timed_out(), "no {what}: {:?}", disk.complaints);
        }

        fn text(&self, file: usize) -> String {
            String::from_utf8(self.0.0.lock().unwrap().files[file].clone()).unwrap()
        }

        fn complaints(&self) -> Vec<String> {
            self.0.0.lock().unwrap().complaints.clone()
        }
    }

    impl Destination for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut disk = self.0.0.lock().unwrap();
            disk.writes += 1;
            self.0.1.notify_all();
            disk = self.0.1.wait_while(disk, |disk| disk.mood == Mood::Stuck).unwrap();
            let count = match disk.mood {
                Mood::Bites => bytes.len().min(3),
                Mood::Full => return Err(io::ErrorKind::StorageFull.into()),
                Mood::Works | Mood::Stuck => bytes.len(),
            };
            disk.files.last_mut().unwrap().extend_from_slice(&bytes[..count]);
            Ok(count)
        }

        fn begin(&mut self, _: usize) {
            let disk = self.0.0.lock().unwrap();
            let text = disk.files.last().unwrap();
            assert!(text.is_empty() || text.ends_with(b"\n"), "a new file here would tear a line");
        }

        fn reopen(&mut self) -> io::Result<()> {
            let mut disk = self.0.0.lock().unwrap();
            if !disk.reopens {
                return Err(io::ErrorKind::PermissionDenied.into());
            }
            disk.files.push(Vec::new());
            self.0.1.notify_all();
            Ok(())
        }

        fn complain(&mut self, message: &str) {
            self.0.0.lock().unwrap().complaints.push(message.to_owned());
            self.0.1.notify_all();
        }
    }

    /// Longer than any test takes, however busy the machine is.
    const TIMEOUT: Duration = Duration::from_secs(60);

    /// A line of 100 bytes.
    fn write_line(queue: &LogQueue, number: usize) {
        queue.push(What::Text, format!("{number:08} {:.<90}\n", "IAMAT").as_bytes());
    }

    fn start(disk: Shared) -> Arc<LogQueue> {
        super::start(disk, Form::new("Bailey", false, false)).unwrap()
    }

    fn numbers(text: &str) -> Vec<usize> {
        let records = text.lines().filter(|line| !line.starts_with("--"));
        records.map(|line| line.split_once(' ').unwrap().0.parse().unwrap()).collect()
    }

    fn check_everything_arrives(mood: Mood) {
        let disk = Shared::new(mood);
        let queue = start(disk.clone());
        (0..5_000).for_each(|number| write_line(&queue, number));
        queue.close(TIMEOUT);
        assert_eq!(numbers(&disk.text(0)), (0..5_000).collect::<Vec<_>>());
        assert_eq!(disk.text(0).len(), 500_000);
        assert_eq!((queue.dropped(), disk.complaints().len()), (0, 0));
    }

    #[test]
    fn close_flushes_whole_lines_in_order() {
        check_everything_arrives(Mood::Works);
        check_everything_arrives(Mood::Bites);
    }

    #[test]
    fn a_line_after_silence_is_written_at_once_and_a_burst_in_few_batches() {
        let disk = Shared::new(Mood::Works);
        let queue = start(disk.clone());
        write_line(&queue, 0);
        disk.wait_until("first line", |disk| disk.files[0].len() == 100);
        (1..4_000).for_each(|number| write_line(&queue, number));
        disk.wait_until("burst", |disk| disk.files[0].len() == 400_000);
        assert!(disk.0.0.lock().unwrap().writes < 400, "lines are written in batches");
    }

    #[test]
    fn a_stuck_disk_costs_lines_and_never_time() {
        const LINES: usize = 100_000;
        let disk = Shared::new(Mood::Stuck);
        let queue = start(disk.clone());
        write_line(&queue, 0);
        disk.wait_until("write", |disk| disk.writes == 1);
        // The writer holds line 0; of the next 100,000 the queue has room for some megabytes.
        let began = Instant::now();
        (1..=LINES).for_each(|number| write_line(&queue, number));
        // A thread that waited for the disk even a millisecond for each line would need twice as
        // long.
        assert!(began.elapsed() < Duration::from_secs(50), "{:?}", began.elapsed());
        let kept = QUEUE_BYTES_MAX / Entries::size_of(100);
        assert_eq!(queue.dropped(), (LINES - kept) as u64);
        queue.close(Duration::from_millis(50));

        disk.turn(Mood::Works);
        disk.wait_until("all that was kept", |disk| disk.files[0].ends_with(b"here --\n"));
        assert_eq!(numbers(&disk.text(0)), (0..=kept).collect::<Vec<_>>());
        let note = format!("-- {} lines are missing here --\n", LINES - kept);
        assert!(disk.text(0).ends_with(&note));
    }

    #[test]
    fn a_full_disk_is_complained_about_once_and_nothing_that_was_kept_is_lost() {
        let disk = Shared::new(Mood::Bites);
        let queue = start(disk.clone());
        write_line(&queue, 0);
        disk.wait_until("first line", |disk| disk.files[0].len() == 100);
        disk.turn(Mood::Full);
        let began = Instant::now();
        write_line(&queue, 1);
        disk.wait_until("complaint", |disk| disk.complaints.len() == 1);
        write_line(&queue, 2);
        // However much comes meanwhile, the disk is asked again only now and then.
        (0..100_000).for_each(|_| write_line(&queue, 3));
        disk.wait_until("second refusal", |disk| disk.writes >= 34 + 2);
        let asked_again = u64::from(disk.0.0.lock().unwrap().writes - 34 - 1);
        let pauses = began.elapsed().as_secs() / RETRY.as_secs();
        assert!((1..=1 + pauses).contains(&asked_again), "{asked_again} in {pauses} pauses");
        assert!(disk.complaints()[0].starts_with("cannot be written"));

        disk.turn(Mood::Works);
        disk.wait_until("recovery", |disk| disk.complaints.len() == 2);
        assert_eq!(disk.complaints()[1], "is written again");
        queue.close(TIMEOUT);
        let written = numbers(&disk.text(0));
        assert_eq!(written[..4], [0, 1, 2, 3]);
        assert_eq!(written.len() as u64 + queue.dropped(), 100_003);
    }

    #[test]
    fn closing_on_a_full_disk_ends_and_counts() {
        let disk = Shared::new(Mood::Full);
        let queue = start(disk.clone());
        write_line(&queue, 0);
        disk.wait_until("complaint", |disk| disk.complaints.len() == 1);
        write_line(&queue, 1);
        let began = Instant::now();
        queue.close(TIMEOUT);
        assert!(began.elapsed() < TIMEOUT);
        write_line(&queue, 2);
        assert_eq!(queue.dropped(), 3);
    }

    #[test]
    fn reopening_moves_to_a_new_file_between_two_lines() {
        let disk = Shared::new(Mood::Works);
        let queue = start(disk.clone());
        write_line(&queue, 0);
        disk.wait_until("first line", |disk| disk.files[0].len() == 100);
        queue.order_reopen();
        disk.wait_until("new file", |disk| disk.files.len() == 2);
        write_line(&queue, 1);
        disk.wait_until("second line", |disk| disk.files[1].len() == 100);

        disk.0.0.lock().unwrap().reopens = false;
        queue.order_reopen();
        disk.wait_until("complaint", |disk| disk.complaints.len() == 1);
        write_line(&queue, 2);
        queue.close(TIMEOUT);
        assert_eq!(numbers(&disk.text(0)), [0]);
        assert_eq!(numbers(&disk.text(1)), [1, 2], "the old file goes on");
        assert!(disk.text(1).contains("-- cannot be opened anew"));
    }

    /// Goal: lines that were copied and events are written in the order in which they came, also
    /// where a batch is full in the middle of an entry; what is dropped is counted in lines, not in
    /// entries. Method: entries of many lines, and an event behind each.
    #[test]
    fn lines_of_clients_and_events_keep_their_order() {
        const READS: usize = 100;
        const LINES: usize = 1_000;
        let disk = Shared::new(Mood::Stuck);
        let queue = start(disk.clone());
        write_line(&queue, 0);
        disk.wait_until("write", |disk| disk.writes == 1);
        let conn = ConnId::new(ConnKind::Client, 1, 0);
        let lines = "IAMAT kiwi +34.068930-118.445127 1520023934.918963997\n".repeat(LINES);
        for read in 1..=READS {
            let at = Duration::from_secs(read as u64);
            let traffic = Traffic { conn, way: Way::In, at };
            queue.push(What::Traffic(traffic), lines.as_bytes());
            write_line(&queue, read);
        }
        let entries = Entries::size_of(lines.len()) + Entries::size_of(100);
        let kept = QUEUE_BYTES_MAX / entries;
        assert!(kept < READS, "the queue must be too small");
        disk.turn(Mood::Bites);
        queue.close(TIMEOUT);

        let text = disk.text(0);
        let mut records = text.lines().skip(1);
        for read in 1..=kept {
            let date = date(Duration::from_secs(read as u64));
            let start = format!("{date}.000000000Z [DEBUG] client-1 <- IAMAT");
            assert!(records.by_ref().take(LINES).all(|record| record.starts_with(&start)));
            assert!(records.next().unwrap().starts_with(&format!("{read:08} ")));
        }
        let dropped = (READS - kept) * (LINES + 1);
        let left: Vec<_> = records.collect();
        let note = left.last().unwrap();
        let missing = dropped - (left.len() - 1);
        assert_eq!(note, &format!("-- {missing} lines are missing here --"));
        assert_eq!(queue.dropped(), missing as u64);
    }

    #[test]
    fn a_torn_line_begins_anew() {
        for (offset, expected) in [(0, 0), (2, 0), (3, 3), (5, 3), (6, 6)] {
            assert_eq!(line_start(b"ab\ncd\n", offset), expected, "offset {offset}");
        }
    }
}
