//! The run directory: who runs here, and where to ask them.
//!
//! Apart from the reactor because client commands need it too. Each server has two files here:
//! `NAME.pid`, which it keeps locked while it lives, and `NAME.sock`, its admin socket, which the
//! reactor makes. Only the lock says that a server lives: it goes with the process, however that
//! ends, so a pid read under a held lock can never be a stranger's.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use crate::config::herd::parse_name;

/// sun_path without its NUL: 108 bytes on Linux (unix(7)), 104 on macOS.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

/// A lock that is held is tried again this often before it is believed. [`RunDir::running`] holds
/// it for an instant, and a server that was just killed may still be dying.
const LOCK_ATTEMPTS: u32 = 20;
const LOCK_PAUSE: Duration = Duration::from_millis(10);

/// A directory that may not exist yet.
#[derive(Clone, Debug)]
pub struct RunDir {
    path: PathBuf,
}

impl RunDir {
    pub fn new(path: PathBuf) -> RunDir {
        RunDir { path }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Makes this process the one server `name` of this directory, for as long as the [`Claim`]
    /// lives. May take 200 ms if another one holds it.
    ///
    /// # Errors
    /// Another server holds it, or the directory or the file cannot be made.
    pub fn claim(&self, name: &str) -> Result<Claim, ClaimError> {
        let failed = |path: &Path, error| ClaimError::Failed { path: path.to_owned(), error };
        self.socket(name).map_err(|error| failed(&self.path, error))?;
        fs::create_dir_all(&self.path).map_err(|error| failed(&self.path, error))?;
        let path = self.file(name, "pid").map_err(|error| failed(&self.path, error))?;
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(|error| failed(&path, error))?;
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
        file.set_len(0)
            .and_then(|()| writeln!(file, "{}", std::process::id()))
            .map_err(|error| failed(&path, error))?;
        Ok(Claim { file, removes: None })
    }

    /// Claims `name`, or `name@port` if somebody else lives here by it: two herds that know nothing
    /// of each other may share a directory. Gives the name that was claimed, and in the second
    /// case the rival: if the ports turn out to be taken, too, that was the reason.
    ///
    /// # Errors
    /// As for `claim`.
    pub fn claim_beside(
        &self,
        name: &str,
        port: u16,
    ) -> Result<(String, Claim, Option<ClaimError>), ClaimError> {
        let rival = match self.claim(name) {
            Ok(claim) => return Ok((name.to_owned(), claim, None)),
            Err(rival) => rival,
        };
        let longer = format!("{name}@{port}");
        match rival {
            ClaimError::Taken { .. } => match self.claim(&longer) {
                Ok(mut claim) => {
                    claim.removes = self.file(&longer, "pid").ok();
                    Ok((longer, claim, Some(rival)))
                }
                Err(_) => Err(rival),
            },
            ClaimError::Failed { .. } => Err(rival),
        }
    }

    /// The pid of the server that holds `name`, if one does.
    ///
    /// # Errors
    /// The file cannot be read or, though it is locked, holds no pid.
    pub fn running(&self, name: &str) -> io::Result<Option<u32>> {
        let mut file = match File::open(self.file(name, "pid")?) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let mut pid = Ok(0);
        for _ in 0..LOCK_ATTEMPTS {
            // Shared, so that two who look at the same time do not take each other for the server.
            match file.try_lock_shared() {
                Ok(()) => return Ok(None),
                Err(TryLockError::WouldBlock) => pid = read_pid(&mut file),
                Err(TryLockError::Error(error)) => return Err(error),
            }
            match pid {
                Ok(pid) => return Ok(Some(pid)),
                // It has just been locked, or is about to be let go.
                Err(_) => thread::sleep(LOCK_PAUSE),
            }
        }
        pid.map(Some)
    }

    /// Where the server `name` can be asked. Nobody may listen there.
    ///
    /// # Errors
    /// `InvalidInput` with a sentence if no socket can have so long a path.
    pub fn socket(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.file(name, "sock")?;
        let bytes = path.as_os_str().len();
        if bytes > SOCKET_PATH_BYTES_MAX {
            return Err(invalid(format!(
                "the socket {} would have a path of {bytes} bytes, but {SOCKET_PATH_BYTES_MAX} is \
                 the most a Unix socket can have: name a shorter directory with --run-dir",
                path.display()
            )));
        }
        Ok(path)
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
            let file_name = entry?.file_name();
            let name = file_name.to_str().and_then(|name| name.strip_suffix(".pid"));
            names.extend(name.map(str::to_owned));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// `name` may come straight from a command line: it must not lead out of the directory.
    fn file(&self, name: &str, extension: &str) -> io::Result<PathBuf> {
        let name = parse_name(name).map_err(invalid)?;
        Ok(self.path.join(format!("{name}.{extension}")))
    }
}

/// The right to be the server of a name. Dropping it empties the pid file and lets others in.
///
/// The file itself stays: whoever removed it could pull it from under a newcomer who has just
/// opened it, and then two servers would hold two locks.
#[derive(Debug)]
pub struct Claim {
    file: File,
    /// Of a `name@port`, which has its port to itself, the file goes after all: it was of this one
    /// process, and nobody wants to be told for ever that it is stopped.
    removes: Option<PathBuf>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // If it fails, the pid stays behind in an unlocked file, where nobody believes it.
        let _ = self.file.set_len(0);
        if let Some(path) = &self.removes {
            let _ = fs::remove_file(path);
        }
    }
}

/// Why a server may not run here.
#[derive(Debug)]
pub enum ClaimError {
    /// Another process is this server.
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
                write!(f, "{name} is just starting or stopping elsewhere: try again in a moment")
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

impl std::error::Error for ClaimError {}

fn read_pid(file: &mut File) -> io::Result<u32> {
    let mut text = String::new();
    file.rewind()?;
    // A pid has at most ten digits; nothing else belongs here.
    file.take(16).read_to_string(&mut text)?;
    text.trim_end().parse().map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, "its pid file is locked but holds no pid")
    })
}

fn invalid(sentence: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, sentence)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run_dir() -> (tempfile::TempDir, RunDir) {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(dir.path().join("a/run"));
        (dir, run_dir)
    }

    #[test]
    fn a_claim_is_held_until_it_is_dropped() {
        let (_dir, run_dir) = run_dir();
        assert_eq!(run_dir.running("Hill").unwrap(), None);
        assert!(run_dir.names().unwrap().is_empty());

        let claim = run_dir.claim("Hill").unwrap();
        let ours = std::process::id();
        assert_eq!(run_dir.running("Hill").unwrap(), Some(ours));
        assert_eq!(run_dir.running("Smith").unwrap(), None);
        let sentence = run_dir.claim("Hill").unwrap_err().to_string();
        assert!(sentence.starts_with(&format!("Hill is running already (pid {ours})")));
        let other = run_dir.claim("Bona").unwrap();

        drop(claim);
        assert_eq!(run_dir.running("Hill").unwrap(), None);
        assert_eq!(run_dir.names().unwrap(), ["Bona", "Hill"]);
        assert!(fs::read(run_dir.path().join("Hill.pid")).unwrap().is_empty());
        drop(run_dir.claim("Hill").unwrap());
        drop(other);
    }

    #[test]
    fn a_rival_leaves_no_trace() {
        let (_dir, run_dir) = run_dir();
        let (first, claim, rival) = run_dir.claim_beside("Hill", 1).unwrap();
        assert!(rival.is_none());
        let (second, beside, rival) = run_dir.claim_beside("Hill", 2).unwrap();
        assert!(rival.is_some());
        assert_eq!([&*first, &*second], ["Hill", "Hill@2"]);
        assert_eq!(run_dir.names().unwrap(), ["Hill", "Hill@2"]);
        assert!(run_dir.claim_beside("Hill", 2).is_err());
        drop(beside);
        assert_eq!(run_dir.names().unwrap(), ["Hill"]);
        drop(claim);
    }

    #[test]
    fn a_pid_left_behind_is_not_believed() {
        let (_dir, run_dir) = run_dir();
        fs::create_dir_all(run_dir.path()).unwrap();
        let path = run_dir.path().join("Hill.pid");
        fs::write(&path, "4294967295\n").unwrap();
        assert_eq!(run_dir.running("Hill").unwrap(), None);
        let claim = run_dir.claim("Hill").unwrap();
        let expected = format!("{}\n", std::process::id());
        assert_eq!(fs::read_to_string(&path).unwrap(), expected);
        drop(claim);
    }

    #[test]
    fn looking_does_not_keep_a_server_from_starting() {
        let (_dir, run_dir) = run_dir();
        drop(run_dir.claim("Hill").unwrap());
        let looking = File::open(run_dir.path().join("Hill.pid")).unwrap();
        looking.lock_shared().unwrap();
        assert_eq!(run_dir.running("Hill").unwrap(), None);
        let ends = thread::spawn(move || {
            thread::sleep(3 * LOCK_PAUSE);
            drop(looking);
        });
        assert!(run_dir.claim("Hill").is_ok());
        ends.join().unwrap();
    }

    #[test]
    fn names_do_not_lead_out_and_paths_fit() {
        let (_dir, run_dir) = run_dir();
        for name in ["../Hill", "", "a b"] {
            assert!(run_dir.running(name).is_err());
            assert!(run_dir.socket(name).is_err());
        }
        let long = RunDir::new(PathBuf::from("x".repeat(SOCKET_PATH_BYTES_MAX - 10)));
        assert!(long.socket("Hill").is_ok());
        let sentence = long.claim("Hills").unwrap_err().to_string();
        assert!(sentence.ends_with("name a shorter directory with --run-dir"), "{sentence}");
    }

    #[test]
    fn a_directory_that_cannot_be_made_is_named() {
        let (dir, _) = run_dir();
        let file = dir.path().join("file");
        fs::write(&file, "").unwrap();
        let sentence = RunDir::new(file.join("run")).claim("Hill").unwrap_err().to_string();
        assert!(sentence.contains("file/run cannot be used ("), "{sentence}");
    }
}
