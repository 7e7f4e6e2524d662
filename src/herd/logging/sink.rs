//! What the loop touches of the log: the sink that events go to, and the queue behind it.
//!
//! `LogSink` makes a line of an event and copies it to the `LogQueue`, under a lock that is never
//! held longer. Lines of clients and peers are put there as they came, all of one read or one
//! answer at a time. The `Writer`, in the file of that name, swaps the full queue for its empty
//! one, makes text of what is not yet text, and gives it to the disk:
//!
//! ```text
//!   loop ──events──▶ LogSink ──lines──▶ [ LogQueue.entries ]
//!     └─────────bytes as they came────────▲    ⇅ swap
//!           disk ◀──write(2)── [ batch ] ◀──text── [ Writer.taken ]
//! ```
//!
//! While the disk is stuck the queue fills; what no longer fits is dropped whole, and its lines are
//! counted. It knows nothing of levels, nor of files.

use std::mem;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use log::{Log, Metadata, Record};

use super::entries::{self, Entries, Reader, What};
use super::form::{Form, Stamp};

/// Bytes that may wait for the writer: some ten thousand lines, and a busy loop's of 20 ms.
pub(super) const QUEUE_BYTES_MAX: usize = 4 << 20;

/// A queue this full is worth a wake-up: the rest of the room is for what comes meanwhile.
const QUEUE_BYTES_URGENT: usize = QUEUE_BYTES_MAX / 2;

const UNPOISONED: &str = "nobody panics while holding the queue";

/// The `Log` that events go to: spells a record, and puts the line into the queue.
///
/// Only records of our own crates pass: the trace level of ureq and rustls shows URLs, and a URL
/// may hold the operator's key.
pub(super) struct LogSink {
    form: Form,
    stamp: Mutex<Stamp>,
    queue: Arc<LogQueue>,
}

impl LogSink {
    pub(super) fn new(form: Form, queue: Arc<LogQueue>) -> LogSink {
        LogSink { form, stamp: Mutex::default(), queue }
    }
}

impl Log for LogSink {
    fn enabled(&self, about: &Metadata<'_>) -> bool {
        about.level() <= log::max_level() && about.target().starts_with(env!("CARGO_PKG_NAME"))
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let mut stamp = self.stamp.lock().expect(UNPOISONED);
            // Read under the lock, so that stamps of two threads have the order of their lines.
            let line = self.form.spell(record, now(), &mut stamp);
            self.queue.push(What::Text, &line);
        }
    }

    /// Does nothing: waiting for the disk is exactly what this sink is there to avoid.
    fn flush(&self) {}
}

/// Since the Unix epoch; nothing by a clock that says an earlier time.
pub(super) fn now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// What the loop and the writer share.
///
/// invariant: `entries` holds whole lines only, and takes at most `QUEUE_BYTES_MAX` bytes.
pub(super) struct LogQueue {
    state: Mutex<State>,
    writer_wanted: Condvar,
    writer_gone: Condvar,
}

struct State {
    entries: Entries,
    writer: WriterState,
    /// Lines dropped since the queue was last emptied.
    missing: u64,
    /// Lines dropped since the start.
    dropped: u64,
    /// Lines that the writer has made since the start.
    spelled: u64,
    reopen_ordered: bool,
    close_ordered: bool,
}

/// What the writer is to do besides writing the batch.
pub(super) struct Orders {
    /// Lines that were dropped after those that were taken and before any later one.
    pub(super) missing: u64,
    pub(super) reopen: bool,
    pub(super) close: bool,
}

/// What the writer is doing, which decides whether it has to be woken.
#[derive(Clone, Copy, PartialEq, Eq)]
enum WriterState {
    /// Waits for a first line, however long.
    Idle,
    /// Lets lines gather; looks again by itself.
    Resting,
    /// Writes, or has been woken and is on its way.
    Busy,
    Gone,
}

impl LogQueue {
    pub(super) fn new() -> LogQueue {
        let state = State {
            entries: Entries::with_capacity(QUEUE_BYTES_MAX),
            writer: WriterState::Busy,
            missing: 0,
            dropped: 0,
            spelled: 0,
            reopen_ordered: false,
            close_ordered: false,
        };
        let (writer_wanted, writer_gone) = (Condvar::new(), Condvar::new());
        LogQueue { state: Mutex::new(state), writer_wanted, writer_gone }
    }

    /// Has the writer go on in a new file. Returns at once.
    pub(super) fn order_reopen(&self) {
        self.lock().reopen_ordered = true;
        self.writer_wanted.notify_one();
    }

    /// Lines that never reached the disk because there was no room for them.
    pub(super) fn dropped(&self) -> u64 {
        self.lock().dropped
    }

    /// Lines that the writer has made for the disk, but for those of the last milliseconds.
    pub(super) fn spelled(&self) -> u64 {
        self.lock().spelled
    }

    /// Has the writer empty the queue and end, and waits for that, `timeout` at most.
    pub(super) fn close(&self, timeout: Duration) {
        let mut state = self.lock();
        state.close_ordered = true;
        self.writer_wanted.notify_one();
        let alive = |state: &mut State| state.writer != WriterState::Gone;
        // Whether it ended in time changes nothing: the caller has nothing better to do.
        let _ = self.writer_gone.wait_timeout_while(state, timeout, alive).expect(UNPOISONED);
    }

    /// Takes whole lines in if there is room, or counts them as dropped.
    pub(super) fn push(&self, what: What, lines: &[u8]) {
        let mut state = self.lock();
        // Once a line is missing all others are until the queue is emptied, even those that would
        // fit: so one note at the end of the batch names the right place.
        let size = state.entries.size() + Entries::size_of(lines.len());
        let full = state.missing > 0 || size > QUEUE_BYTES_MAX;
        if full || state.writer == WriterState::Gone {
            let count = entries::count(what, lines);
            state.missing += count;
            state.dropped += count;
            return;
        }
        state.entries.push(what, lines);
        let urgent = size >= QUEUE_BYTES_URGENT;
        let wake = match state.writer {
            WriterState::Idle => true,
            WriterState::Resting => urgent,
            WriterState::Busy | WriterState::Gone => false,
        };
        if wake {
            // One wake-up is enough for all that arrives before the writer runs.
            state.writer = WriterState::Busy;
            drop(state);
            self.writer_wanted.notify_one();
        }
    }

    /// The writer sleeps until there is a line or an order.
    pub(super) fn idle(&self) {
        let mut state = self.lock();
        state.writer = WriterState::Idle;
        let nothing_to_do = |state: &mut State| state.entries.is_empty() && !state.ordered();
        let mut state = self.writer_wanted.wait_while(state, nothing_to_do).expect(UNPOISONED);
        state.writer = WriterState::Busy;
    }

    /// The writer lets lines gather for a while, less if the queue fills up or an order comes.
    pub(super) fn rest(&self, duration: Duration) {
        let mut state = self.lock();
        state.writer = WriterState::Resting;
        let may_rest =
            |state: &mut State| state.entries.size() < QUEUE_BYTES_URGENT && !state.ordered();
        let (mut state, _) =
            self.writer_wanted.wait_timeout_while(state, duration, may_rest).expect(UNPOISONED);
        state.writer = WriterState::Busy;
    }

    /// The writer waits for a better disk. A full queue is no reason to ask it sooner; an order is.
    pub(super) fn sit_out(&self, duration: Duration) {
        let no_order = |state: &mut State| !state.ordered();
        let waited = self.writer_wanted.wait_timeout_while(self.lock(), duration, no_order);
        drop(waited.expect(UNPOISONED));
    }

    /// Swaps what the queue holds for what the writer has done with, and hands over the orders. A
    /// writer that `has_work` left takes the orders only. It has made `spelled` lines so far.
    pub(super) fn take(&self, taken: &mut Reader, has_work: bool, spelled: u64) -> Orders {
        let mut state = self.lock();
        state.spelled = spelled;
        let mut missing = 0;
        if !has_work {
            taken.swap(&mut state.entries);
            missing = mem::take(&mut state.missing);
        }
        let reopen = mem::take(&mut state.reopen_ordered);
        Orders { missing, reopen, close: state.close_ordered }
    }

    /// Called by the writer when it ends: the queue will not be emptied again, and so many lines
    /// are lost.
    pub(super) fn leave(&self, unwritten: u64) {
        let mut state = self.lock();
        state.dropped += unwritten + Reader::new(mem::take(&mut state.entries)).count_lines();
        state.writer = WriterState::Gone;
        self.writer_gone.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect(UNPOISONED)
    }
}

impl State {
    fn ordered(&self) -> bool {
        self.reopen_ordered || self.close_ordered
    }
}

pub(super) fn count_lines(bytes: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', bytes).count() as u64
}
