//! Where the lines of a log go: a file that grows, and may be moved away under us at any time, or
//! stderr.

use std::env;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::writer::Destination;

/// Makes the directory of files that have the permissions `mode`; one that is there stays as it
/// is.
///
/// # Errors
/// What the system says.
pub fn make_dir(dir: &Path, mode: u32) -> io::Result<()> {
    // A user who may read a file in it may enter it (chmod(1): r becomes rx).
    DirBuilder::new().recursive(true).mode(mode | (mode & 0o444) >> 2).create(dir)
}

/// Opens a file that only grows: lines stay whole even if two processes share it, and a rotation
/// that truncates it in place leaves no hole. It has the permissions `mode` from now on, if it is
/// ours.
///
/// # Errors
/// What the system says, or a message if it is no file: to open a pipe could take for ever.
pub fn open_to_append(path: &Path, mode: u32) -> io::Result<File> {
    let is_fit = |about: &fs::Metadata| about.is_file() || about.file_type().is_char_device();
    if fs::metadata(path).is_ok_and(|about| !is_fit(&about)) {
        return Err(io::Error::other("it is there and is no regular file"));
    }
    let file = OpenOptions::new().append(true).create(true).mode(mode).open(path)?;
    if file.metadata()?.is_file() {
        // If the file belongs to another user, that user has chosen its permissions.
        let _ = file.set_permissions(Permissions::from_mode(mode));
    }
    Ok(file)
}

/// The file at a path, which may be moved away under us at any time.
pub(super) struct LogFile {
    path: PathBuf,
    mode: u32,
    file: File,
    /// Bytes that it has, if nobody else writes to it or cuts it.
    bytes: u64,
    bytes_max: u64,
}

impl LogFile {
    pub(super) fn open(path: &Path, mode: u32, bytes_max: u64) -> io::Result<LogFile> {
        let file = open_to_append(path, mode)?;
        let bytes = file.metadata()?.len();
        Ok(LogFile { path: path.to_owned(), mode, file, bytes, bytes_max })
    }

    /// Moves the file away and begins a new one, unless it is not so long after all.
    fn rotate(&mut self, bytes: u64) -> io::Result<()> {
        let about = self.file.metadata()?;
        self.bytes = about.len() + bytes;
        // A device is no longer than before, and a single batch may be longer than all may be.
        if !about.is_file() || about.len() == 0 || self.bytes <= self.bytes_max {
            return Ok(());
        }
        // If another program has moved it already, there is only a new one to open.
        let same = |other: fs::Metadata| (other.dev(), other.ino()) == (about.dev(), about.ino());
        if fs::metadata(&self.path).is_ok_and(same) {
            let mut moved = self.path.clone().into_os_string();
            moved.push(".1");
            fs::rename(&self.path, moved)?;
        }
        self.reopen()?;
        self.bytes += bytes;
        Ok(())
    }
}

impl Destination for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn begin(&mut self, bytes: usize) {
        let bytes = bytes as u64;
        self.bytes += bytes;
        if self.bytes > self.bytes_max
            && let Err(error) = self.rotate(bytes)
        {
            self.complain(&format!("cannot be moved away, going on in the same file: {error}"));
            // It is tried again after as much as a file may hold.
            self.bytes = 0;
        }
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open_to_append(&self.path, self.mode)?;
        self.bytes = self.file.metadata()?.len();
        Ok(())
    }

    fn complain(&mut self, message: &str) {
        // stderr may lie on the disk that is full; there is nowhere left to complain about that.
        let _ = writeln!(io::stderr(), "herd: log {}: {message}", self.path.display());
    }
}

/// What the program that runs the server reads: a service manager, a container, a terminal.
pub(super) struct Stderr;

impl Destination for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        io::stderr().write(bytes)
    }

    /// Who reads it bounds what is kept.
    fn begin(&mut self, _: usize) {}

    fn reopen(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// There is nowhere else to complain.
    fn complain(&mut self, _: &str) {}
}

/// Whether stderr leads to journald, which says so by its device and inode in `JOURNAL_STREAM`.
pub(super) fn stderr_is_journal() -> bool {
    let about = io::stderr().as_fd().try_clone_to_owned().map(File::from);
    let about = about.and_then(|file| file.metadata());
    let named = env::var("JOURNAL_STREAM").unwrap_or_default();
    about.is_ok_and(|about| named == format!("{}:{}", about.dev(), about.ino()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MODE: u32 = 0o640;

    #[test]
    fn a_moved_file_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let mut file = LogFile::open(&path, MODE, u64::MAX).unwrap();
        file.write(b"one\n").unwrap();
        fs::rename(&path, &moved).unwrap();
        file.write(b"two\n").unwrap();
        file.reopen().unwrap();
        file.write(b"three\n").unwrap();
        assert_eq!(fs::read(&moved).unwrap(), b"one\ntwo\n");
        assert_eq!(fs::read(&path).unwrap(), b"three\n");
    }

    /// Goal: strangers do not read where clients are, even if the umask or an older version has
    /// allowed it.
    #[test]
    fn a_log_has_the_permissions_that_were_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let path = dir.path().join("a.log");
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        open_to_append(&path, 0o640).unwrap();
        assert_eq!(mode(&path), 0o640);
        open_to_append(&dir.path().join("b.log"), 0o604).unwrap();
        assert_eq!(mode(&dir.path().join("b.log")), 0o604);
        make_dir(&dir.path().join("logs"), MODE).unwrap();
        assert_eq!(mode(&dir.path().join("logs")) & 0o027, 0, "others may not enter");
    }

    /// Linux has a device that is always full; its error must come back as a value.
    #[test]
    fn a_full_disk_is_an_error_and_not_a_panic() {
        let Ok(mut file) = LogFile::open(Path::new("/dev/full"), MODE, 1) else { return };
        assert_eq!(file.write(b"one\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }

    #[test]
    fn a_pipe_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success() && open_to_append(&pipe, MODE).is_err());
    }

    /// Goal: a file grows to its bound and is moved away between two batches, though others move or
    /// cut it, too; and what cannot be moved goes on.
    #[test]
    fn a_file_that_is_too_long_is_moved_away() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let read = |path: &Path| fs::read_to_string(path).unwrap_or_default();
        fs::write(&path, "old\n").unwrap();
        let mut file = LogFile::open(&path, MODE, 12).unwrap();
        let mut write = |text: &str| {
            file.begin(text.len());
            assert_eq!(file.write(text.as_bytes()).unwrap(), text.len());
        };
        write("one\n");
        write("two\n");
        assert_eq!((read(&path), read(&moved)), ("old\none\ntwo\n".into(), String::new()));
        write("three\n");
        assert_eq!((&*read(&path), &*read(&moved)), ("three\n", "old\none\ntwo\n"));
        // A single batch may be longer than all.
        write("four and five\n");
        assert_eq!((&*read(&path), &*read(&moved)), ("four and five\n", "three\n"));
        // Another program has cut it, and then moved it.
        File::create(&path).unwrap();
        write("six\n");
        fs::rename(&path, dir.path().join("elsewhere")).unwrap();
        write("seven and\n");
        assert_eq!((&*read(&path), &*read(&moved)), ("seven and\n", "three\n"));
        // Where it should go there is a directory that is not empty.
        fs::remove_file(&moved).unwrap();
        fs::create_dir_all(moved.join("x")).unwrap();
        write("eight\n");
        write("nine\n");
        assert_eq!(read(&path), "seven and\neight\nnine\n");
    }
}
