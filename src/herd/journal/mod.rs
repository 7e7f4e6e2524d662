//! What a server has answered, on disk. `herd_core::journal` says what lies there and what is kept;
//! here are the files (`directory`, `load`) and the threads (`threads`), and what the loop has of
//! them: [`Journal`].

mod directory;
pub mod load;
mod pace;
pub mod rebuild;
mod threads;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use std::{fmt, io, mem, thread};

use crate::logging::events::Event;
use directory::{ASIDE, DAMAGED, Directory, Fill};
pub use directory::{DirectoryError, is_kept_in, segments};
use herd_core::Server;
use herd_core::clock::Now;
use herd_core::journal::JournalId;
use herd_core::journal::appender::{Appender, Keep, Sizes};
use herd_core::journal::load::Past;
use herd_core::journal::writer::{Owner, Progress, Writer};
use load::{LoadError, Loaded, Whose, load};
use pace::Pace;
use threads::Shared;
pub use threads::Work;

/// Long enough that files are begun seldom, and short enough that what lies in those that are begun
/// and not full is little.
const SEGMENT_BYTES: u64 = 8 << 20;
/// What a busy server appends in some 50 ms; beyond half of it, clients are not read.
const BUFFER_BYTES: u64 = 8 << 20;
/// How often it is told how much of a journal is loaded. Who is told may
/// read slowly, and must not be flooded.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// How a journal is kept.
#[derive(Clone, Debug)]
pub struct JournalSettings {
    pub keep: Keep,
    /// Of this server alone.
    pub dir: PathBuf,
    pub owner: Owner,
    /// How many times as long as what it says it may become.
    pub room: u64,
    /// How long a process that is ending may hold it.
    pub patience: Duration,
    /// What is damaged or missing is not gone on without.
    pub is_strict: bool,
    /// How often what was written is synced, if no answer waits for that.
    pub sync_every: Duration,
    /// What the threads do is noted, for a trace.
    pub is_traced: bool,
    /// Is told how much is loaded, in percent: at the beginning and the end, and once a second.
    pub tell_loaded: fn(u8),
}

/// Why a journal cannot be kept. Its text is one sentence for the operator.
#[derive(Debug)]
pub enum JournalError {
    Directory(DirectoryError),
    Load(LoadError),
    /// Something is damaged or missing, and the operator is strict about that.
    NotWhole {
        path: PathBuf,
        damaged: usize,
        missing: usize,
    },
    /// A journal was to be made where something is.
    Occupied {
        path: PathBuf,
    },
    /// The system grants no thread.
    Threads(io::Error),
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            JournalError::Directory(error) => error.fmt(f),
            JournalError::Load(error) => error.fmt(f),
            JournalError::NotWhole { path, damaged, missing } => write!(
                f,
                "the journal {0} is not whole (damaged places: {damaged}, missing files: \
                 {missing}): `herd journal check {0}` says which; bring them back, or set \
                 journal.strict = false to go on with the rest",
                path.display()
            ),
            JournalError::Occupied { path } => write!(
                f,
                "there is something in {} already, and it stays as it is: name a directory that is \
                 empty or not there",
                path.display()
            ),
            JournalError::Threads(error) => {
                write!(f, "cannot set up the threads of the journal: {error}")
            }
        }
    }
}

impl std::error::Error for JournalError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            JournalError::Directory(error) => Some(error),
            JournalError::Load(error) => Some(error),
            JournalError::NotWhole { .. } | JournalError::Occupied { .. } => None,
            JournalError::Threads(error) => Some(error),
        }
    }
}

/// The loop's end of a journal.
pub struct Journal {
    pub appender: Appender,
    shared: Arc<Shared>,
    threads: [JoinHandle<()>; 3],
    /// The memory of the buffer that was written last.
    spare: Vec<u8>,
    /// Says whether the loop writes itself.
    pace: Pace,
}

impl Journal {
    /// Takes the directory, gives the server what lies there, and starts the threads. `wake` ends
    /// the loop's sleep.
    ///
    /// # Errors
    /// The directory, or what lies there, is not to be used.
    pub fn open(
        settings: JournalSettings,
        server: &mut Server,
        now: Now,
        wake: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Journal, JournalError> {
        let keep = settings.keep;
        let fill = match keep {
            Keep::Written => Fill::WhileBusy(SEGMENT_BYTES),
            Keep::Synced => Fill::Synced(SEGMENT_BYTES),
        };
        let disk = Directory::claim(&settings.dir, fill, settings.patience);
        let mut disk = disk.map_err(JournalError::Directory)?;
        let Loaded { findings, journal, .. } = restore(&settings, server, &mut disk, now)?;
        disk.remove_spares();
        let JournalSettings { dir, owner, room, sync_every, is_traced, .. } = settings;
        let new = || (JournalId(fastrand::u64(..)), Past::default());
        let (id, past) = journal.unwrap_or_else(new);
        let oldest = past.oldest;
        let writer = Writer::new(owner, id, SEGMENT_BYTES, past);
        let sizes = Sizes { segment_bytes: SEGMENT_BYTES, room, buffer_bytes: BUFFER_BYTES };
        let mut appender = Appender::new(keep, sizes);
        let next = writer.progress().segment;
        server.journal_restored(&mut appender, findings.are_whole(), oldest, next);
        let mut shared = Shared::new((keep, sync_every), disk, writer, wake);
        if is_traced {
            shared.note_work();
        }
        let shared = Arc::new(shared);
        shared.prepare().map_err(|_| {
            let error = io::Error::other(shared.last_error());
            JournalError::Directory(DirectoryError::Unusable { path: dir, error })
        })?;
        let start = |name: &str, live: fn(&Shared)| {
            let shared = Arc::clone(&shared);
            let life = move || live(&shared);
            thread::Builder::new().name(name.into()).spawn(life).map_err(JournalError::Threads)
        };
        let threads = [
            start("herd-journal", Shared::write_on)?,
            start("herd-sync", Shared::sync_on)?,
            start("herd-segment", Shared::make_on)?,
        ];
        Ok(Journal { appender, shared, threads, spare: Vec::new(), pace: Pace::new() })
    }

    /// Learns how far the threads are.
    pub fn update(&mut self) {
        self.appender.update(self.shared.progress());
    }

    /// Whether the disk has lost something, in a write or in a sync (`Appender::take_loss`).
    pub fn take_loss(&mut self) -> bool {
        let has_lost = self.appender.take_loss();
        if has_lost {
            Event::JournalFailed { error: &self.shared.last_error() }.log();
        }
        has_lost
    }

    /// Has written what was appended: by the loop itself while the disk is quick and no answer
    /// waits for a sync, else by the thread. Says how many bytes that are.
    pub fn hand_over(&mut self) -> usize {
        if !self.appender.has_news() {
            return 0;
        }
        let mut lines = self.appender.hand_over(mem::take(&mut self.spare));
        if !self.write_now(&lines) {
            self.shared.write_later(&lines);
        }
        let bytes = lines.len();
        lines.clear();
        self.spare = lines;
        self.update();
        bytes
    }

    fn write_now(&mut self, lines: &[u8]) -> bool {
        if self.appender.keep() == Keep::Synced {
            return false;
        }
        let began = Instant::now();
        if !self.pace.is_quick(began) {
            return false;
        }
        let is_written = self.shared.write_now(lines);
        self.pace.note(began, began.elapsed(), lines.len());
        is_written
    }

    /// A compaction is over: removes the segments that are not needed any more.
    pub fn outdate(&self, oldest: u32) {
        self.shared.outdate(oldest, self.appender.grows_to());
    }

    /// What the threads have done since this was last asked for, if there is a trace.
    pub fn take_work(&self) -> Vec<Work> {
        self.shared.take_work()
    }

    /// Has what was written synced soon.
    pub fn sync_soon(&self) {
        self.shared.sync_soon();
    }

    /// No file is removed from now on, or old ones are removed again.
    pub fn keep_files(&mut self, keeps_files: bool) {
        self.appender.keep_files(keeps_files);
        self.shared.keep_files(keeps_files);
    }

    /// How far it is.
    pub fn progress(&self) -> Progress {
        self.shared.progress()
    }

    /// Whether the disk takes nothing, or fails again and again.
    pub fn is_in_trouble(&self) -> bool {
        self.shared.is_refused() || self.appender.fails_again()
    }

    /// What the disk says, if it takes nothing for now.
    pub fn complaint(&self) -> Option<String> {
        self.shared.complaint()
    }

    /// Writes and syncs what is left, and ends the threads. Says whether all that was appended is
    /// on the disk.
    pub fn close(mut self, patience: Duration) -> bool {
        self.hand_over();
        self.shared.finish();
        let deadline = Instant::now() + patience;
        let is_over = |threads: &[JoinHandle<()>]| threads.iter().all(JoinHandle::is_finished);
        while !is_over(&self.threads) && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(1));
        }
        self.update();
        self.appender.synced() == self.appender.appended()
    }
}

/// What a mutex holds, though a thread may have panicked that held it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives the server what lies in a directory, and says what was found there.
fn restore(
    settings: &JournalSettings,
    server: &mut Server,
    disk: &mut Directory,
    now: Now,
) -> Result<Loaded, JournalError> {
    let JournalSettings { dir, owner, tell_loaded, .. } = settings;
    let began = Instant::now();
    let mut told_at: Option<Instant> = None;
    let tell = |percent| {
        if percent == 100 || told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            told_at = Some(Instant::now());
            tell_loaded(percent);
        }
    };
    let loaded = load(dir, Whose::Servers(owner), |found| server.restore(found), tell);
    let loaded = loaded.map_err(JournalError::Load)?;
    let findings = &loaded.findings;
    if settings.is_strict && !findings.are_whole() {
        let (damaged, missing) = (findings.damaged.len(), findings.missing.len());
        return Err(JournalError::NotWhole { path: dir.clone(), damaged, missing });
    }
    for damage in &findings.damaged {
        let (segment, bytes) = (&damage.id, &damage.bytes);
        Event::JournalDamaged { segment, from: bytes.start, to: bytes.end }.log();
    }
    for segment in &findings.missing {
        Event::JournalIncomplete { segment }.log();
    }
    let clients = server.store().len();
    Event::JournalLoaded {
        clients,
        reports: findings.reports,
        segments: findings.segments,
        torn_bytes: findings.torn_bytes,
        took: began.elapsed(),
    }
    .log();
    let expired = server.count_expired(now);
    if 2 * expired > clients {
        Event::ClockDoubted { expired, clients }.log();
        let past = loaded.journal.iter().flat_map(|(_, past)| past.lengths.keys());
        disk.keep(past.copied(), ASIDE);
    }
    disk.keep(findings.damaged.iter().map(|damage| damage.id), DAMAGED);
    Ok(loaded)
}
