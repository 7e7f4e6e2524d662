//! The run directory: which servers run here, and where to ask them.
//!
//! The reactor and the client commands use it. Each server has two files here: `NAME.pid`, which it
//! keeps locked while it lives, and `NAME.sock`, its admin socket, which the reactor makes. The
//! lock goes with the process, however that ends; the number in the file is only what its holder
//! calls itself, and may mean another process where it is read.
//!
//! A server that was told to stop gives its name up at once ([`Claim::give_up_name`]): it goes on
//! as `NAME.PID`, and a successor may be `NAME` before it has ended.

mod claim;
mod socket;

use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use claim::unkept_by;
pub use claim::{Claim, ClaimError, gone_by};

use crate::config::Settings;
use crate::config::herd::parse_name;
use crate::config::limits::NAME_BYTES_MAX;

/// What `@PORT` and `.PID` may add to a name.
const SUFFIX_BYTES_MAX: usize = 11;

/// A lock that is held is tried again this often before it counts. [`RunDir::holder`] holds it for
/// an instant, and a server that was just killed may still be dying.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A directory that may not exist yet.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
    mode: u32,
}

/// The process that is a server, as far as it is known here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    /// This process, for sure.
    Process(u32),
    /// It calls itself by this number, and the process of this number is another user's. It cannot
    /// be looked into, nor signalled.
    OfAnotherUser(u32),
    /// It lives, but no process that is seen here is it: it runs in another container.
    Elsewhere,
}

impl RunDir {
    pub fn new(path: PathBuf) -> RunDir {
        RunDir { path, mode: Settings::default().run_dir_mode }
    }

    /// The same with other permissions, should it have to be made.
    pub fn with_mode(self, mode: u32) -> RunDir {
        RunDir { mode, ..self }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes the directory if it is missing.
    ///
    /// # Errors
    /// What the system says.
    pub fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(self.mode).create(&self.path)
    }

    /// Keeps every other process from starting and stopping servers here, until the file is
    /// dropped. `None`: another process does so already.
    ///
    /// # Errors
    /// The directory or the file cannot be made.
    pub fn lock(&self) -> io::Result<Option<File>> {
        self.make()?;
        let file = open_lock(&self.path.join("lock"))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(file)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// The holder of `name`, if it is held. Its process is not asked, so this does not wait.
    ///
    /// # Errors
    /// The file cannot be read or, though it is locked, holds no pid.
    pub fn holder(&self, name: &str) -> io::Result<Option<Holder>> {
        let path = self.file(name, "pid")?;
        // To open a pipe would wait, and no server locks one.
        if fs::metadata(&path).is_ok_and(|about| !about.is_file()) {
            return Ok(None);
        }
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut pid = Ok(0);
        for _ in 0..LOCK_ATTEMPTS {
            // Shared, so that two processes that look at the same time do not take each other for
            // the server.
            match file.try_lock_shared() {
                Ok(()) => return Ok(None),
                Err(TryLockError::WouldBlock) => pid = read_pid(&mut file),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            match pid {
                Ok(pid) => return Ok(Some(self.check(name, pid))),
                // It has just been locked, or is about to be let go.
                Err(_) => thread::sleep(LOCK_PAUSE),
            }
        }
        pid.map(|pid| Some(self.check(name, pid)))
    }

    /// Whether the process `pid` is the server `name`, which is known to live. A number can be a
    /// stranger's: that of a process in another container, or of one long dead.
    pub fn check(&self, name: &str, pid: u32) -> Holder {
        match self.is_open_in(name, pid) {
            Ok(true) => Holder::Process(pid),
            Ok(false) => Holder::Elsewhere,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                Holder::OfAnotherUser(pid)
            }
            // As on macOS, which has no containers: what stands under a held lock is its holder's.
            Err(_) => Holder::Process(pid),
        }
    }

    /// Whether the server `name`, which was the process `pid`, still lives, be it on its way out.
    pub fn lives(&self, name: &str, pid: u32) -> bool {
        let holds =
            |name: &str| matches!(self.holder(name), Ok(Some(Holder::Process(p))) if p == pid);
        holds(name) || holds(&gone_by(name, pid)) || self.is_open_in(name, pid).unwrap_or(false)
    }

    /// Whether the server `name`, which was the process `pid` and has ended, has said that the disk
    /// has not taken all that it has answered.
    pub fn is_unkept(&self, name: &str, pid: u32) -> bool {
        let said = self.file(name, "pid").and_then(fs::read_to_string);
        said.is_ok_and(|said| said == unkept_by(pid))
    }

    /// Whether the process `pid` has the pid file of `name` open, as the process of that server
    /// has, even if the file was removed.
    ///
    /// # Errors
    /// `Unsupported` where the system gives no such list; `PermissionDenied` of other users'
    /// processes.
    fn is_open_in(&self, name: &str, pid: u32) -> io::Result<bool> {
        if !Path::new("/proc/self/fd").exists() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        let path = fs::canonicalize(&self.path)?.join(format!("{name}.pid"));
        let mut removed = path.clone().into_os_string();
        removed.push(" (deleted)");
        let files = match fs::read_dir(format!("/proc/{pid}/fd")) {
            Err(error) if error.kind() != io::ErrorKind::PermissionDenied => return Ok(false),
            files => files?,
        };
        let mut targets = files.flatten().flat_map(|file| fs::read_link(file.path()));
        Ok(targets.any(|target| target == path || target.as_os_str() == removed))
    }

    /// The servers that have run here, sorted by name. None if there is no such directory.
    ///
    /// # Errors
    /// The directory exists but cannot be read.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut names = Vec::new();
        for entry in entries {
            let entry = entry?;
            let file_name = entry.file_name();
            let Some(file_name) = file_name.to_str() else { continue };
            // After a cleaner of old files, only the socket may be left. And a server that is
            // stopping and has no successor yet is still found by its old name.
            let is_passing = |name: &str| {
                name.rsplit_once('.').is_some_and(|(_, pid)| pid.parse::<u32>().is_ok())
            };
            let name = match (file_name.strip_suffix(".pid"), file_name.strip_suffix(".sock")) {
                (Some(_), _) if !entry.file_type()?.is_file() => continue,
                (Some(name), _) if !is_passing(name) || self.listens(name) => name,
                (_, Some(name)) if self.has_lost_its_file(name) => name,
                _ => continue,
            };
            // Other programs may have left files here as well.
            names.extend(self.file(name, "pid").is_ok().then(|| name.to_owned()));
        }
        names.sort_unstable();
        names.dedup();
        Ok(names)
    }

    /// `name` may come straight from a command line: it must not lead out of the directory.
    fn file(&self, name: &str, extension: &str) -> io::Result<PathBuf> {
        let suffix = name.rfind(['@', '.']).filter(|at| {
            let digits = &name[at + 1..];
            digits.len() < SUFFIX_BYTES_MAX && digits.bytes().all(|byte| byte.is_ascii_digit())
        });
        let stem =
            if name.len() > NAME_BYTES_MAX { suffix.unwrap_or(name.len()) } else { name.len() };
        parse_name(&name[..stem])
            .map_err(|message| io::Error::new(io::ErrorKind::InvalidInput, message))?;
        Ok(self.path.join(format!("{name}.{extension}")))
    }

    fn has_lost_its_file(&self, name: &str) -> bool {
        !self.path.join(format!("{name}.pid")).exists() && self.listens(name)
    }

    fn is_locked(&self, name: &str) -> bool {
        let file = self.file(name, "pid").and_then(File::open);
        file.is_ok_and(|file| matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    if fs::metadata(path).is_ok_and(|about| !about.is_file()) {
        return Err(io::Error::other("it is no file"));
    }
    OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)
}

fn read_pid(file: &mut File) -> io::Result<u32> {
    let mut text = String::new();
    file.rewind()?;
    // A pid has at most ten digits; nothing else belongs here.
    file.take(16).read_to_string(&mut text)?;
    text.trim_end().parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "its pid file is locked but holds no pid")
    })
}

#[cfg(test)]
mod tests;
