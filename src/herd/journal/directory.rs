//! The files of a journal, in a directory of one server. Everything that the operating system has
//! to say of them is said here.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use std::{fmt, process, thread};

use super::lock;
use herd_core::journal::SegmentId;
use herd_core::journal::load::{Piece, Pieces};
use herd_core::journal::writer::{Disk, Trouble};

/// Lies beside the segments, and is locked by the process that writes them.
pub const LOCK: &str = "lock";
/// Where segments go in which something has gone bad, for those who want to look at them.
pub const DAMAGED: &str = "damaged";
/// Where segments go that may be needed all the same.
pub const ASIDE: &str = "aside";
/// Behind the name of a segment: its file is a spare. No reader takes that for one.
const SPARE: &str = ".spare";
/// Zeros that are written at once.
const ZEROS_BYTES: usize = 64 * 1024;
/// How often a lock is tried for that another process holds.
const LOCK_PAUSE: Duration = Duration::from_millis(20);
/// A journal is busy if one segment is made so soon after another.
const BUSY_WITHIN: Duration = Duration::from_secs(1);

/// Which segments are filled with zeros, up to so many bytes, before they are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fill {
    None,
    /// All, and that is synced: to sync bytes that overwrite others costs half of what it costs to
    /// sync a file that has become longer.
    Synced(u64),
    /// Those of a busy journal: to write where something is costs a quarter of the processor time
    /// that it costs to make a file longer. Others would lie there for nothing.
    WhileBusy(u64),
}

/// Why a journal cannot be used. Its text is one sentence for the operator.
#[derive(Debug)]
pub enum DirectoryError {
    /// Another process writes it.
    Locked { path: PathBuf, pid: Option<u32> },
    /// The directory or a file in it cannot be made, read or written.
    Unusable { path: PathBuf, error: io::Error },
}

impl fmt::Display for DirectoryError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DirectoryError::Locked { path, pid } => {
                let holder =
                    pid.map_or("another process".to_owned(), |pid| format!("process {pid}"));
                write!(
                    f,
                    "the journal {} is written by {holder}; stop it or choose another directory \
                     with --journal-dir",
                    path.display()
                )
            }
            DirectoryError::Unusable { path, error } => write!(
                f,
                "the journal cannot be kept in {}: {error}; choose another directory with \
                 --journal-dir, or none with --keep off",
                path.display()
            ),
        }
    }
}

impl std::error::Error for DirectoryError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            DirectoryError::Locked { .. } => None,
            DirectoryError::Unusable { error, .. } => Some(error),
        }
    }
}

/// A directory of segments.
pub struct Directory {
    path: PathBuf,
    fill: Fill,
    /// When a segment was last made, unless one could not be made.
    made_at: Mutex<Option<Instant>>,
    /// Segments that are not removed when they are not needed any more, and where they go then.
    places: BTreeMap<SegmentId, &'static str>,
    /// What the system said last, for the operator.
    said: Mutex<Option<io::Error>>,
    /// Held for as long as this is.
    _lock: File,
}

impl Directory {
    /// Makes the directory, unless it is there, and takes its lock. A process that is ending may
    /// have it for up to `patience`.
    ///
    /// # Errors
    /// Another process has it, or it cannot be used.
    pub fn claim(path: &Path, fill: Fill, patience: Duration) -> Result<Directory, DirectoryError> {
        let unusable = |error| DirectoryError::Unusable { path: path.to_owned(), error };
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(unusable)?;
        let lock_path = path.join(LOCK);
        let mut lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(&lock_path)
            .map_err(unusable)?;
        let began = Instant::now();
        loop {
            match lock.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if began.elapsed() < patience => {
                    thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    let mut pid = String::new();
                    let read = lock.read_to_string(&mut pid);
                    let pid = read.ok().and_then(|_| pid.trim().parse().ok());
                    return Err(DirectoryError::Locked { path: path.to_owned(), pid });
                }
                Err(TryLockError::Error(error)) => return Err(unusable(error)),
            }
        }
        lock.set_len(0)
            .and_then(|()| writeln!(lock, "{}", process::id()))
            .and_then(|()| sync_names(path))
            .map_err(unusable)?;
        Ok(Directory {
            path: path.to_owned(),
            fill,
            made_at: Mutex::default(),
            places: BTreeMap::new(),
            said: Mutex::default(),
            _lock: lock,
        })
    }

    /// Remembers segments that are not to be removed: they go to a place below this directory.
    pub fn keep(&mut self, segments: impl IntoIterator<Item = SegmentId>, place: &'static str) {
        self.places.extend(segments.into_iter().map(|id| (id, place)));
    }

    /// Removes what earlier lives have kept to write over it: they have ended too soon to do it
    /// themselves. What cannot be removed is in nobody's way.
    pub fn remove_spares(&self) {
        let names = fs::read_dir(&self.path).into_iter().flatten().flatten();
        for name in names.map(|entry| entry.file_name()) {
            let of = name.to_str().and_then(|name| name.strip_suffix(SPARE));
            if let Some(spare) = of.and_then(SegmentId::of_file_name) {
                let _ = self.remove_spare(spare);
            }
        }
    }

    fn path_of(&self, id: SegmentId) -> PathBuf {
        self.path.join(id.to_string())
    }

    fn path_of_spare(&self, id: SegmentId) -> PathBuf {
        self.path.join(format!("{id}{SPARE}"))
    }

    fn set_aside(&self, id: SegmentId, place: &str) -> io::Result<()> {
        let place = self.path.join(place);
        DirBuilder::new().recursive(true).mode(0o700).create(&place)?;
        fs::rename(self.path_of(id), place.join(id.to_string()))
    }

    /// What the system said when it last failed.
    pub fn last_error(&self) -> String {
        let said = lock(&self.said);
        said.as_ref().map_or("no error".to_owned(), io::Error::to_string)
    }

    fn trouble(&self, error: io::Error) -> Trouble {
        let trouble = match error.kind() {
            ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::FileTooLarge
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::PermissionDenied => Trouble::Refused,
            _ => Trouble::Failed,
        };
        *lock(&self.said) = Some(error);
        trouble
    }

    fn make(&self, id: SegmentId, header: &[u8]) -> io::Result<File> {
        let path = self.path_of(id);
        let new = || OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        let mut file = match new() {
            // One that could not be made to its end, and not be removed then, either.
            Err(error) if error.kind() == ErrorKind::AlreadyExists && says_nothing(id, &path)? => {
                fs::remove_file(&path).and_then(|()| new())?
            }
            file => file?,
        };
        let filled = self.fill(&mut file, header);
        if filled.is_err() {
            // It says nothing, and would be in the way when the same number is tried again. There
            // may be room for reports where there is none for zeros.
            let _ = fs::remove_file(&path);
            *lock(&self.made_at) = None;
        }
        filled.map(|()| file)
    }

    /// Whether a segment was made just now.
    pub fn is_busy(&self) -> bool {
        lock(&self.made_at).is_some_and(|at| at.elapsed() < BUSY_WITHIN)
    }

    fn fill(&self, file: &mut File, header: &[u8]) -> io::Result<()> {
        let is_busy = self.is_busy();
        *lock(&self.made_at) = Some(Instant::now());
        file.write_all(header)?;
        match self.fill {
            Fill::Synced(bytes) => {
                write_zeros(file, header.len(), bytes)?;
                file.sync_all()?;
            }
            Fill::WhileBusy(bytes) => {
                file.sync_all()?;
                if is_busy {
                    write_zeros(file, header.len(), bytes)?;
                }
            }
            Fill::None => file.sync_all()?,
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> Result<(), Trouble> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(self.trouble(error)),
            _ => Ok(()),
        }
    }
}

impl Disk for Directory {
    type File = Arc<File>;

    fn create(&self, id: SegmentId, header: &[u8]) -> Result<Arc<File>, Trouble> {
        self.make(id, header).map(Arc::new).map_err(|error| self.trouble(error))
    }

    fn sync_names(&self) -> Result<(), Trouble> {
        sync_names(&self.path).map_err(|error| self.trouble(error))
    }

    fn write(&self, file: &Arc<File>, at: u64, bytes: &[u8]) -> Result<usize, Trouble> {
        loop {
            match file.write_at(bytes, at) {
                Ok(0) => return Err(self.trouble(ErrorKind::WriteZero.into())),
                Ok(count) => return Ok(count),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(self.trouble(error)),
            }
        }
    }

    /// The length of the file is synced with its data (fdatasync(2)). What is in a file that
    /// somebody has removed, nobody will find again.
    fn sync(&self, file: &Arc<File>) -> Result<(), Trouble> {
        file.sync_data().and_then(|()| has_name(file)).map_err(|error| {
            self.trouble(error);
            Trouble::Failed
        })
    }

    fn remove(&self, id: SegmentId) -> Result<(), Trouble> {
        match self.places.get(&id) {
            Some(place) => match self.set_aside(id, place) {
                Err(error) if error.kind() != ErrorKind::NotFound => Err(self.trouble(error)),
                _ => Ok(()),
            },
            None => self.remove_file(&self.path_of(id)),
        }
    }

    fn keep_spare(&self, id: SegmentId) -> Result<(), Trouble> {
        let kept = fs::rename(self.path_of(id), self.path_of_spare(id));
        kept.map_err(|error| self.trouble(error))
    }

    fn open_spare(&self, spare: SegmentId) -> Result<Arc<File>, Trouble> {
        *lock(&self.made_at) = Some(Instant::now());
        let opened = OpenOptions::new().write(true).open(self.path_of_spare(spare));
        opened.map(Arc::new).map_err(|error| self.trouble(error))
    }

    /// What somebody has put there under its new name stays (rename(2) would replace it).
    fn name_spare(&self, spare: SegmentId, id: SegmentId) -> Result<(), Trouble> {
        let path = self.path_of(id);
        let is_free = path.try_exists().and_then(|is_there| {
            if is_there { Err(ErrorKind::AlreadyExists.into()) } else { Ok(()) }
        });
        let named = is_free.and_then(|()| fs::rename(self.path_of_spare(spare), path));
        named.map_err(|error| self.trouble(error))
    }

    fn remove_spare(&self, spare: SegmentId) -> Result<(), Trouble> {
        self.remove_file(&self.path_of_spare(spare))
    }
}

/// Writes zeros behind what is there up to a length, in pieces: of what is written in one piece
/// the system keeps the pages together, and each write looks through them.
fn write_zeros(file: &mut File, at: usize, until: u64) -> io::Result<()> {
    let mut left = until.saturating_sub(at as u64);
    while left > 0 {
        let zeros = &[0; ZEROS_BYTES][..left.min(ZEROS_BYTES as u64) as usize];
        file.write_all(zeros)?;
        left -= zeros.len() as u64;
    }
    Ok(())
}

fn has_name(file: &File) -> io::Result<()> {
    if file.metadata()?.nlink() > 0 {
        return Ok(());
    }
    Err(io::Error::new(ErrorKind::NotFound, "its file was removed while it was written to"))
}

/// Whether there is no frame in a segment.
fn says_nothing(id: SegmentId, path: &Path) -> io::Result<bool> {
    let bytes = fs::read(path)?;
    Ok(!Pieces::of(id, &bytes).any(|piece| matches!(piece, Piece::Frame(_))))
}

/// The segments in a directory, the newest first.
///
/// # Errors
/// It cannot be read.
pub fn segments(path: &Path) -> io::Result<Vec<(SegmentId, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let id = entry.file_name().to_str().and_then(SegmentId::of_file_name);
        // To open a pipe would wait for its writer.
        if let Some(id) = id.filter(|_| !entry.file_type().is_ok_and(|kind| kind.is_fifo())) {
            found.push((id, entry.path()));
        }
    }
    found.sort_by_key(|(id, _)| std::cmp::Reverse((id.number, id.journal)));
    Ok(found)
}

/// Whether a server keeps a journal in a directory, or has kept one of which no file is left.
pub fn is_kept_in(path: &Path) -> bool {
    path.join(LOCK).is_file()
}

/// Makes it certain that the names in a directory outlive the machine.
fn sync_names(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(test)]
mod tests {
    use herd_core::journal::JournalId;
    use herd_core::journal::frame::{HEADER_BYTES, write_reports};

    use super::*;

    /// Goal: what was left of a file that could not be made is in nobody's way when the disk works
    /// again, and what somebody has written stays.
    #[test]
    fn a_file_that_says_nothing_is_made_again() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Directory::claim(dir.path(), Fill::None, Duration::ZERO).unwrap();
        let id = SegmentId { journal: JournalId(1), number: 7 };
        let (path, header) = (dir.path().join(id.to_string()), [b'h'; HEADER_BYTES]);
        for left in [&b""[..], b"half a header", &header] {
            fs::write(&path, left).unwrap();
            assert!(disk.create(id, &header).is_ok());
            assert_eq!(fs::read(&path).unwrap(), header);
            fs::remove_file(&path).unwrap();
        }
        let mut said = header.to_vec();
        write_reports(id, HEADER_BYTES as u64, b"AT Hill +1 kiwi +1-1 5\n", &mut said);
        fs::write(&path, &said).unwrap();
        assert_eq!(disk.create(id, &header).err(), Some(Trouble::Failed));
        assert!(fs::read(&path).unwrap() == said && disk.last_error().contains("exists"));
    }

    /// Goal: a spare takes no other file's place, however that came there, and what a life has
    /// left of them goes. What is none stays.
    #[test]
    fn a_spare_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let disk = Directory::claim(dir.path(), Fill::None, Duration::ZERO).unwrap();
        let [old, new] = [3, 7].map(|number| SegmentId { journal: JournalId(1), number });
        let (path, header) = (dir.path().join(new.to_string()), [b'h'; HEADER_BYTES]);
        drop(disk.create(old, &header).unwrap());
        disk.keep_spare(old).unwrap();
        assert!(segments(dir.path()).unwrap().is_empty() && disk.open_spare(old).is_ok());
        fs::write(&path, "somebody's").unwrap();
        assert_eq!(disk.name_spare(old, new), Err(Trouble::Failed));
        assert_eq!(fs::read(&path).unwrap(), b"somebody's");
        fs::remove_file(&path).unwrap();
        disk.name_spare(old, new).unwrap();
        assert_eq!(fs::read(&path).unwrap(), header);
        disk.keep_spare(new).unwrap();
        let other = dir.path().join("reports.spare");
        fs::write(&other, "somebody's").unwrap();
        disk.remove_spares();
        let left = fs::read_dir(dir.path()).unwrap().count();
        assert!(left == 2 && other.exists(), "the lock is the other one");
        assert!(disk.open_spare(new).is_err() && disk.remove_spare(new).is_ok());
    }

    /// Goal: a journal that is hardly written to takes no more of a disk than it says; of one that
    /// is busy, and of one whose syncs are waited for, all of a segment is there before it is used.
    #[test]
    fn segments_are_filled_while_a_journal_is_busy() {
        let header = [b'h'; HEADER_BYTES];
        let lengths = |fill| {
            let dir = tempfile::tempdir().unwrap();
            let disk = Directory::claim(dir.path(), fill, Duration::ZERO).unwrap();
            [1, 2].map(|number| {
                let id = SegmentId { journal: JournalId(1), number };
                disk.create(id, &header).unwrap().metadata().unwrap().len()
            })
        };
        let (empty, full) = (HEADER_BYTES as u64, 3 * ZEROS_BYTES as u64 + 1);
        assert_eq!(lengths(Fill::None), [empty; 2]);
        assert_eq!(lengths(Fill::Synced(full)), [full; 2]);
        assert_eq!(lengths(Fill::WhileBusy(full)), [empty, full]);
    }
}
