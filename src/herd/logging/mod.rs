//! The server's log: one file for each server, one line for each record, written by a thread.
//!
//! Events go through `log` and simplelog: this file decides what a record of one looks like. Lines
//! of clients and peers, of which there are hundreds of thousands a second, go around both: the
//! loop only copies them, and `traffic` spells them on the writer's thread as simplelog would.
//! `sink` takes both in without ever making the loop wait, in one order; `writer` brings them to
//! the disk. None of them rotates a file: a program that rotates logs sends SIGHUP, which is
//! `reopen`.

mod entries;
pub mod events;
mod sink;
mod traffic;
mod writer;

use std::error::Error;
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use herd_core::names::{ConnId, ConnKind};
use log::LevelFilter;
use simplelog::{Config, ConfigBuilder, WriteLogger, format_description};

use entries::{Traffic, Way, What};
use sink::LogQueue;
use writer::Destination;

/// The running log, as the rest of the program uses it. Clones share one log.
#[derive(Clone)]
pub struct LogHandle {
    /// `None` at level `off`: there is no file and no thread.
    queue: Option<Arc<LogQueue>>,
    /// The same, at the levels that have the lines of clients and peers.
    traffic: Option<Arc<LogQueue>>,
}

impl LogHandle {
    /// Logs lines that a connection has sent, one after the other.
    pub fn heard(&self, conn: ConnId, lines: &[u8]) {
        if let Some(queue) = &self.traffic {
            push_traffic(queue, conn, Way::In, lines);
        }
    }

    /// Logs what a connection is sent.
    pub fn said(&self, conn: ConnId, text: &[u8]) {
        if let Some(queue) = &self.traffic {
            push_traffic(queue, conn, Way::Out, text);
        }
    }

    /// Has the writer thread open the path anew, because the file was moved (SIGHUP).
    ///
    /// Returns at once. If the path cannot be opened the old file is kept, and both it and stderr
    /// say so.
    pub fn reopen(&self) {
        if let Some(queue) = &self.queue {
            queue.order_reopen();
        }
    }

    /// Lines lost so far because the disk could not keep up.
    pub fn dropped(&self) -> u64 {
        self.queue.as_ref().map_or(0, |queue| queue.dropped())
    }

    /// Writes what is still held and ends the log; lines that come later count as dropped.
    ///
    /// Waits `timeout` at most, so that a dead disk cannot keep a process from its end.
    pub fn close(&self, timeout: Duration) {
        if let Some(queue) = &self.queue {
            queue.close(timeout);
        }
    }
}

/// Not inlined: the loop has it behind a test that nearly always fails or nearly always succeeds.
#[inline(never)]
fn push_traffic(queue: &LogQueue, conn: ConnId, way: Way, lines: &[u8]) {
    if lines.is_empty() || matches!(conn.kind(), ConnKind::Admin | ConnKind::Operator) {
        return;
    }
    // Read anew for each, or a line could have an earlier stamp than an event before it.
    let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    queue.push(What::Traffic(Traffic { conn, way, at }), lines);
}

/// Why there is no log. Its text is one message for the operator.
#[derive(Debug)]
pub enum LogError {
    Directory(PathBuf, io::Error),
    File(PathBuf, io::Error),
    Thread(io::Error),
    /// `log` takes one logger in the life of a process.
    Twice,
}

impl fmt::Display for LogError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const WAY_OUT: &str = "choose another directory with --log-dir";
        match self {
            LogError::Directory(path, error) => {
                write!(f, "cannot make the log directory {}: {error}; {WAY_OUT}", path.display())
            }
            LogError::File(path, error) => {
                write!(f, "cannot open the log {}: {error}; {WAY_OUT}", path.display())
            }
            LogError::Thread(error) => write!(f, "cannot start the thread of the log: {error}"),
            LogError::Twice => f.write_str("this process has a log already"),
        }
    }
}

impl Error for LogError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            LogError::Directory(_, error) | LogError::File(_, error) | LogError::Thread(error) => {
                Some(error)
            }
            LogError::Twice => None,
        }
    }
}

/// Makes `dir` if it is missing, opens `dir/server.log` and sends every record there from now on.
///
/// The file gets the permissions `mode`, and so does a directory that is made, which can be entered
/// besides. At level `off` nothing is made and nothing is opened. Call it once in a process.
///
/// # Errors
/// One of [`LogError`], for the operator.
pub fn start(
    dir: &Path,
    server: &str,
    level: LevelFilter,
    mode: u32,
) -> Result<LogHandle, LogError> {
    if level == LevelFilter::Off {
        log::set_max_level(level);
        return Ok(LogHandle { queue: None, traffic: None });
    }
    make_dir(dir, mode).map_err(|error| LogError::Directory(dir.to_owned(), error))?;
    let path = dir.join(format!("{server}.log"));
    let file = LogFile::open(&path, mode).map_err(|error| LogError::File(path, error))?;
    let (sink, queue) = writer::start(file).map_err(LogError::Thread)?;
    WriteLogger::init(level, record_format(), sink).map_err(|_| LogError::Twice)?;
    let traffic = (level >= LevelFilter::Debug).then(|| Arc::clone(&queue));
    Ok(LogHandle { queue: Some(queue), traffic })
}

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
struct LogFile {
    path: PathBuf,
    mode: u32,
    file: File,
}

impl LogFile {
    fn open(path: &Path, mode: u32) -> io::Result<LogFile> {
        Ok(LogFile { path: path.to_owned(), mode, file: open_to_append(path, mode)? })
    }
}

impl Destination for LogFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn reopen(&mut self) -> io::Result<()> {
        self.file = open_to_append(&self.path, self.mode)?;
        Ok(())
    }

    fn complain(&mut self, message: &str) {
        // stderr may lie on the disk that is full; there is nowhere left to complain about that.
        let _ = writeln!(io::stderr(), "herd: log {}: {message}", self.path.display());
    }
}

/// `2026-11-22T03:24:05.123456789Z [INFO] text`: every stamp has the same width, so that columns
/// stay columns.
///
/// Only records of our own crate pass: the trace level of ureq and rustls shows URLs, and a URL
/// may hold the operator's key.
fn record_format() -> Config {
    ConfigBuilder::new()
        .set_time_format_custom(format_description!(
            "[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:9]Z"
        ))
        .set_thread_level(LevelFilter::Off)
        .set_target_level(LevelFilter::Off)
        .set_location_level(LevelFilter::Off)
        .add_filter_allow_str(env!("CARGO_PKG_NAME"))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;
    use log::{Level, Log, Record};
    use std::sync::Mutex;

    const MODE: u32 = 0o640;

    /// Collects what simplelog writes.
    #[derive(Clone, Default)]
    struct Page(Arc<Mutex<Vec<u8>>>);

    impl Write for Page {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn check(target: &str, level: Level, expected: Option<&str>) {
        let page = Page::default();
        let logger = WriteLogger::new(LevelFilter::Trace, record_format(), page.clone());
        let text = format_args!("text");
        logger.log(&Record::builder().target(target).level(level).args(text).build());
        let text = String::from_utf8(page.0.lock().unwrap().clone()).unwrap();
        let Some(expected) = expected else {
            assert_eq!(text, "", "{target} must not be logged");
            return;
        };
        let (stamp, rest) = text.split_once(' ').unwrap();
        let shape = stamp.replace(|c: char| c.is_ascii_digit(), "0");
        assert_eq!(shape, "0000-00-00T00:00:00.000000000Z");
        assert_eq!(rest, expected);
    }

    #[test]
    fn a_record_is_one_line_of_our_own_crate() {
        check("herd", Level::Info, Some("[INFO] text\n"));
        check("herd::reactor", Level::Trace, Some("[TRACE] text\n"));
        check("ureq", Level::Error, None);
        check("ureq_proto::client", Level::Debug, None);
        check("rustls::client", Level::Warn, None);
    }

    #[test]
    fn level_off_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = start(&dir.path().join("log"), "Bailey", LevelFilter::Off, MODE).unwrap();
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        log.reopen();
        log.close(Duration::from_secs(1));
        assert_eq!(log.dropped(), 0);
    }

    #[test]
    fn an_error_names_the_path_and_the_way_out() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let error = start(&file, "Bailey", LevelFilter::Info, MODE).err().unwrap().to_string();
        assert!(error.contains("the log directory"), "{error}");
        assert!(error.contains("--log-dir"), "{error}");

        fs::create_dir(dir.path().join("Bona.log")).unwrap();
        let error = start(dir.path(), "Bona", LevelFilter::Info, MODE).err().unwrap().to_string();
        assert!(error.contains("Bona.log") && error.contains("--log-dir"), "{error}");
    }

    #[test]
    fn a_moved_file_is_opened_anew() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("a.log"), dir.path().join("a.log.1"));
        let mut file = LogFile::open(&path, MODE).unwrap();
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

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("Bailey.log");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let error = start(dir.path(), "Bailey", LevelFilter::Info, MODE).err().unwrap();
        let message = error.to_string();
        assert!(message.contains("Bailey.log: it is there and is no regular file"), "{message}");
        assert!(open_to_append(&pipe, MODE).is_err());
    }

    /// Linux has a device that is always full; its error must come back as a value.
    #[test]
    fn a_full_disk_is_an_error_and_not_a_panic() {
        let Ok(mut file) = LogFile::open(Path::new("/dev/full"), MODE) else { return };
        assert_eq!(file.write(b"one\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
