//! The server's log: one file for each server or stderr, one line for each record, written by a
//! thread.
//!
//! Events go through `log` to `sink`, which makes a line of one; `form` decides what that looks
//! like. Lines of clients and peers, of which there are hundreds of thousands a second, go around
//! both: the loop only copies them, and `traffic` spells them on the writer's thread. The queue of
//! `sink` takes both in without ever making the loop wait, in one order; `writer` brings them to
//! the disk, by way of `destination`. A program that rotates logs sends SIGHUP, which is `reopen`;
//! a file that has become too long all the same is moved away.

mod destination;
mod entries;
pub mod events;
mod form;
mod sink;
mod traffic;
mod writer;

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use herd_core::names::{ConnId, ConnKind};
use log::LevelFilter;

use destination::{LogFile, Stderr};
use entries::{Traffic, Way, What};
use form::Form;
use sink::{LogQueue, LogSink};

pub use destination::{make_dir, open_to_append};

/// What a log is told at its start.
#[derive(Clone, Copy, Debug)]
pub struct LogSettings<'a> {
    /// Holds `SERVER.log`; [`STDERR`] for none.
    pub dir: &'a Path,
    pub server: &'a str,
    pub level: LevelFilter,
    /// A line is an object of JSON.
    pub is_json: bool,
    /// Permissions of the file.
    pub mode: u32,
    /// Bytes after which a file is moved to `SERVER.log.1`, and a new one is begun.
    pub size_max: u64,
}

/// Instead of a directory: the log goes to stderr.
pub const STDERR: &str = "-";

/// The running log, as the rest of the program uses it. Clones share one log.
#[derive(Clone)]
pub struct LogHandle {
    place: Arc<Place>,
    /// Its queue, at the levels that have the lines of clients and peers.
    traffic: Option<Arc<LogQueue>>,
    level: LevelFilter,
}

/// Where the log is.
struct Place {
    dir: PathBuf,
    server: String,
    is_json: bool,
    mode: u32,
    size_max: u64,
    /// Empty as long as the level has always been `off`: there is no file and no thread.
    queue: OnceLock<Arc<LogQueue>>,
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
            push_traffic(queue, conn, Way::Out, without_password(conn, text));
        }
    }

    /// Has the writer thread open the path anew, because the file was moved (SIGHUP).
    ///
    /// Returns at once. If the path cannot be opened the old file is kept, and both it and stderr
    /// say so.
    pub fn reopen(&self) {
        if let Some(queue) = self.place.queue.get() {
            queue.order_reopen();
        }
    }

    /// Makes the file and the thread, unless they are there or this level needs none.
    ///
    /// # Errors
    /// One of [`LogError`], for the operator.
    pub fn prepare(&self, level: LevelFilter) -> Result<(), LogError> {
        if level != LevelFilter::Off && self.place.queue.get().is_none() {
            let _ = self.place.queue.set(self.place.open()?);
        }
        Ok(())
    }

    /// How much this handle logs.
    pub fn level(&self) -> LevelFilter {
        self.level
    }

    /// Has the whole process log so much from now on, of traffic what goes through this handle.
    /// False at a log that has no file because it is not prepared: it stays as it is.
    pub fn set_level(&mut self, level: LevelFilter) -> bool {
        let queue = self.place.queue.get();
        if queue.is_none() && level != LevelFilter::Off {
            return false;
        }
        log::set_max_level(level);
        self.traffic = queue.filter(|_| level >= LevelFilter::Debug).cloned();
        self.level = level;
        true
    }

    /// Lines of the log so far, but for those of the last milliseconds.
    pub fn lines(&self) -> u64 {
        self.place.queue.get().map_or(0, |queue| queue.spelled())
    }

    /// Lines lost so far because the disk could not keep up.
    pub fn dropped(&self) -> u64 {
        self.place.queue.get().map_or(0, |queue| queue.dropped())
    }

    /// Writes what is still held and ends the log; lines that come later count as dropped.
    ///
    /// Waits `timeout` at most, so that a dead disk cannot keep a process from its end.
    pub fn close(&self, timeout: Duration) {
        if let Some(queue) = self.place.queue.get() {
            queue.close(timeout);
        }
    }
}

/// What a server says first to an engine may hold a password, in a line of its own.
fn without_password(conn: ConnId, text: &[u8]) -> &[u8] {
    if conn.kind() == ConnKind::Engine && text.starts_with(b"CONNECT ") {
        let end = memchr::memchr(b'\n', text).map_or(text.len(), |newline| newline + 1);
        return &text[end..];
    }
    text
}

/// Not inlined: the loop has it behind a test that nearly always fails or nearly always succeeds.
#[inline(never)]
fn push_traffic(queue: &LogQueue, conn: ConnId, way: Way, lines: &[u8]) {
    if lines.is_empty()
        || matches!(
            conn.kind(),
            ConnKind::Admin | ConnKind::Operator | ConnKind::Web | ConnKind::Mqtt
        )
    {
        return;
    }
    // Read anew for each, or a line could have an earlier stamp than an event before it.
    let at = sink::now();
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

/// Makes `dir` if it is missing, opens `dir/SERVER.log` and sends every record there from now on.
///
/// The file gets the permissions `mode`, and so does a directory that is made, which can be entered
/// besides. At level `off` nothing is made and nothing is opened. Call it once in a process.
///
/// # Errors
/// One of [`LogError`], for the operator.
pub fn start(settings: &LogSettings<'_>) -> Result<LogHandle, LogError> {
    let &LogSettings { dir, server, level, is_json, mode, size_max } = settings;
    let (dir, server) = (dir.to_owned(), server.to_owned());
    let place = Place { dir, server, is_json, mode, size_max, queue: OnceLock::new() };
    let mut log = LogHandle { place: Arc::new(place), traffic: None, level: LevelFilter::Off };
    log.prepare(level)?;
    log.set_level(level);
    Ok(log)
}

impl Place {
    /// Opens the file, if it is one, and starts the thread.
    fn open(&self) -> Result<Arc<LogQueue>, LogError> {
        let Place { dir, server, is_json, mode, size_max, .. } = self;
        let (form, queue);
        if *dir == Path::new(STDERR) {
            form = Form::new(server, *is_json, destination::stderr_is_journal());
            queue = writer::start(Stderr, form.clone());
        } else {
            form = Form::new(server, *is_json, false);
            make_dir(dir, *mode).map_err(|error| LogError::Directory(dir.clone(), error))?;
            let path = dir.join(format!("{server}.log"));
            let file = LogFile::open(&path, *mode, *size_max);
            let file = file.map_err(|error| LogError::File(path, error))?;
            queue = writer::start(file, form.clone());
        }
        let queue = queue.map_err(LogError::Thread)?;
        let sink = LogSink::new(form, Arc::clone(&queue));
        log::set_boxed_logger(Box::new(sink)).map_err(|_| LogError::Twice)?;
        Ok(queue)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn settings<'a>(dir: &'a Path, server: &'a str, level: LevelFilter) -> LogSettings<'a> {
        LogSettings { dir, server, level, is_json: false, mode: 0o640, size_max: 1 << 20 }
    }

    #[test]
    fn level_off_opens_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let log = start(&settings(&dir.path().join("log"), "Bailey", LevelFilter::Off)).unwrap();
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
        let error = start(&settings(&file, "Bailey", LevelFilter::Info)).err().unwrap().to_string();
        assert!(error.contains("the log directory"), "{error}");
        assert!(error.contains("--log-dir"), "{error}");

        fs::create_dir(dir.path().join("Bona.log")).unwrap();
        let error =
            start(&settings(dir.path(), "Bona", LevelFilter::Info)).err().unwrap().to_string();
        assert!(error.contains("Bona.log") && error.contains("--log-dir"), "{error}");
    }

    #[test]
    fn what_is_no_file_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("Bailey.log");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        let error = start(&settings(dir.path(), "Bailey", LevelFilter::Info)).err().unwrap();
        let message = error.to_string();
        assert!(message.contains("Bailey.log: it is there and is no regular file"), "{message}");
    }
}
