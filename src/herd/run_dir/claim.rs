//! The right to be the server of a name, and how it is given up.
//!
//! Only servers do this. Everything is done while a lock is held that shows that this process is
//! alive.

use std::fs::{self, File, TryLockError};
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::{fmt, process, thread};

use super::{LOCK_ATTEMPTS, LOCK_PAUSE, RunDir, open_lock, read_pid};

impl RunDir {
    /// Makes this process the one server `name` of this directory, for as long as the [`Claim`]
    /// lives. May take 200 ms if another one holds it.
    ///
    /// # Errors
    /// Another server holds it, or the directory or the file cannot be made.
    pub fn claim(&self, name: &str) -> Result<Claim, ClaimError> {
        let failed = |path: &Path, error| ClaimError::Failed { path: path.to_owned(), error };
        self.make().map_err(|error| failed(&self.path, error))?;
        let path = self.file(name, "pid").map_err(|error| failed(&self.path, error))?;
        let mut file = open_lock(&path).map_err(|error| failed(&path, error))?;
        for attempt in 1.. {
            match file.try_lock() {
                Ok(()) => break,
                Err(TryLockError::WouldBlock) if attempt < LOCK_ATTEMPTS => {
                    thread::sleep(LOCK_PAUSE);
                }
                Err(TryLockError::WouldBlock) => {
                    let pid = read_pid(&mut file).ok();
                    return Err(ClaimError::Taken { name: name.to_owned(), pid });
                }
                Err(TryLockError::Error(error)) => return Err(failed(&path, error)),
            }
        }
        let before = read_pid(&mut file).ok();
        let before = before.map(|pid| gone_by(name, pid)).filter(|gone| self.is_locked(gone));
        match &before {
            // It is stopping, and may be asked how far it is until it has ended.
            Some(gone) => self.move_socket(name, gone).map_err(|error| failed(&path, error))?,
            // A server that answers has lost its pid file, and is no less alive for that.
            None if self.listens(name) => {
                return Err(ClaimError::Taken { name: name.to_owned(), pid: None });
            }
            None => {}
        }
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| writeln!(file, "{}", process::id()))
            .and_then(|()| self.place_socket(name))
            .map_err(|error| failed(&path, error))?;
        let (run_dir, name) = (self.clone(), name.to_owned());
        Ok(Claim { run_dir, name, file, is_passing: false, after: None, is_unkept: false })
    }

    /// Claims `name`, or `name@port` if another server has it here: two herds that know nothing of
    /// each other may share a directory. Gives the claim, and in the second case the rival: if the
    /// ports turn out to be taken, too, that was the reason.
    ///
    /// # Errors
    /// As for `claim`.
    pub fn claim_beside(
        &self,
        name: &str,
        port: u16,
    ) -> Result<(Claim, Option<ClaimError>), ClaimError> {
        match self.claim(name) {
            Ok(claim) => Ok((claim, None)),
            Err(rival @ ClaimError::Taken { .. }) => match self.claim(&format!("{name}@{port}")) {
                Ok(mut claim) => {
                    claim.is_passing = true;
                    Ok((claim, Some(rival)))
                }
                Err(_) => Err(rival),
            },
            Err(rival) => Err(rival),
        }
    }
}

/// The name of a server that was told to stop.
pub fn gone_by(name: &str, pid: u32) -> String {
    format!("{name}.{pid}")
}

/// The right to be the server of a name. Dropping it empties the pid file and lets others in.
///
/// The file of a name stays: a process that removed it could pull it from under a newcomer that has
/// just opened it, and then two servers would hold two locks.
#[derive(Debug)]
pub struct Claim {
    run_dir: RunDir,
    name: String,
    file: File,
    /// The name is only this process's, and its file goes with it: or it would be listed as stopped
    /// for ever.
    is_passing: bool,
    /// The lock under which it goes on, once it has given its name up.
    after: Option<Box<Claim>>,
    /// The disk has not taken all that the server has answered.
    is_unkept: bool,
}

impl Claim {
    /// The server's name here.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The disk has not taken all that was answered: the pid file says so when the claim ends. That
    /// takes no room of a disk that is full.
    pub fn end_unkept(&mut self) {
        self.is_unkept = true;
    }

    /// Lets a successor have the name, and goes on as `NAME.PID`. Until one comes, the server is
    /// still found by its old name.
    pub fn give_up_name(&mut self) {
        if self.after.is_some() {
            return;
        }
        // At every moment it holds a lock that shows that it is alive. If there can be no second
        // one, it keeps the first.
        let gone = gone_by(&self.name, process::id());
        if let Ok(mut after) = self.run_dir.claim(&gone) {
            after.is_passing = true;
            self.after = Some(Box::new(after));
            let _ = self.file.unlock();
        }
    }
}

impl Claim {
    fn write_unkept(&mut self) -> io::Result<()> {
        let text = unkept_by(process::id());
        self.file.rewind()?;
        self.file.write_all(text.as_bytes())?;
        self.file.set_len(text.len() as u64)
    }
}

/// What the pid file of a server says that has ended so.
pub fn unkept_by(pid: u32) -> String {
    format!("not kept {pid}\n")
}

impl Drop for Claim {
    fn drop(&mut self) {
        // The server that has the name now has its files as well.
        let is_ours = self.after.is_none() || self.file.try_lock().is_ok();
        if is_ours {
            self.run_dir.remove_socket(&self.name);
            // If it fails, the pid stays behind in an unlocked file, where it is not trusted.
            let _ = if self.is_unkept { self.write_unkept() } else { self.file.set_len(0) };
            if self.is_passing
                && let Ok(path) = self.run_dir.file(&self.name, "pid")
            {
                let _ = fs::remove_file(path);
            }
        }
    }
}

/// Why a server may not run here.
#[derive(Debug)]
pub enum ClaimError {
    /// Another process is this server. Without a pid, its pid file is gone or not yet written.
    Taken { name: String, pid: Option<u32> },
    /// The directory or the pid file cannot be used.
    Failed { path: PathBuf, error: io::Error },
}

impl fmt::Display for ClaimError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ClaimError::Taken { name, pid: Some(pid) } => {
                write!(f, "{name} is running already (pid {pid}): stop it first (kill {pid})")
            }
            ClaimError::Taken { name, pid: None } => {
                write!(f, "{name} is running already, or just starting: `herd stop {name}` first")
            }
            ClaimError::Failed { error, .. } if error.kind() == io::ErrorKind::InvalidInput => {
                write!(f, "{error}")
            }
            ClaimError::Failed { path, error } => {
                let path = path.display();
                write!(f, "{path} cannot be used ({error}): name another place with --run-dir")
            }
        }
    }
}

impl std::error::Error for ClaimError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ClaimError::Taken { .. } => None,
            ClaimError::Failed { error, .. } => Some(error),
        }
    }
}
