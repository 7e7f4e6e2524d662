//! Where the admin sockets of a run directory are.
//!
//! A socket's path must be short, a directory's need not be.

use std::os::unix::fs::{DirBuilderExt, MetadataExt, symlink};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::{env, fs, io};

use rustix::process::geteuid;

use super::RunDir;

/// sun_path without its NUL: 108 bytes on Linux (unix(7)), 104 on macOS.
const SOCKET_PATH_BYTES_MAX: usize = if cfg!(target_os = "macos") { 103 } else { 107 };

impl RunDir {
    /// Where the server `name` can be asked. Perhaps no process listens there.
    ///
    /// # Errors
    /// It is no name.
    pub fn socket(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.file(name, "sock")?;
        Ok(fs::read_link(&path).unwrap_or(path))
    }

    /// Whether a process listens on the admin socket of `name`.
    pub(super) fn listens(&self, name: &str) -> bool {
        self.socket(name).and_then(UnixStream::connect).is_ok()
    }

    /// Sees to it that a socket can be made where `socket` says. If the path of this directory is
    /// too long for that, it lies in a directory for temporary files, and a link leads there.
    pub(super) fn place_socket(&self, name: &str) -> io::Result<()> {
        let path = self.file(name, "sock")?;
        // Even if it is relative now, others may spell it in full.
        let full = fs::canonicalize(&self.path)?.join(format!("{name}.sock"));
        let _ = fs::remove_file(&path);
        if full.as_os_str().len() <= SOCKET_PATH_BYTES_MAX {
            return Ok(());
        }
        let short = self.short_dir()?.join(format!("{name}.sock"));
        if short.as_os_str().len() > SOCKET_PATH_BYTES_MAX {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!(
                    "no socket can have a path as long as {} or {}: name a shorter directory with \
                     --run-dir, or set TMPDIR to one",
                    full.display(),
                    short.display()
                ),
            ));
        }
        symlink(short, path)
    }

    /// A directory of ours for the sockets of this one, by a hash of its path. Every user may write
    /// where it lies, so a stranger could have made it first.
    fn short_dir(&self) -> io::Result<PathBuf> {
        let full = fs::canonicalize(&self.path)?;
        let hash =
            full.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
                // FNV-1a: no one gains by a collision, for the directory is ours either way.
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let user = geteuid();
        let path = env::temp_dir().join(format!("herd-{}-{hash:016x}", user.as_raw()));
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let about = fs::symlink_metadata(&path)?;
        if !about.is_dir() || about.uid() != user.as_raw() || about.mode() & 0o022 != 0 {
            let message = format!("{} is not ours alone: remove it", path.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
        Ok(path)
    }

    /// The socket goes by another name from now on. The process that listens on it does not notice.
    pub(super) fn move_socket(&self, from: &str, to: &str) -> io::Result<()> {
        let (old, new) = (self.file(from, "sock")?, self.file(to, "sock")?);
        let real = fs::read_link(&old);
        let moved = match &real {
            Ok(short) => {
                let target = short.with_file_name(format!("{to}.sock"));
                fs::rename(short, &target).and_then(|()| {
                    let _ = fs::remove_file(&new);
                    symlink(target, new)
                })
            }
            Err(_) => fs::rename(&old, new),
        };
        match moved {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    pub(super) fn remove_socket(&self, name: &str) {
        let Ok(path) = self.file(name, "sock") else { return };
        if let Ok(short) = fs::read_link(&path) {
            let _ = fs::remove_file(short);
        }
        let _ = fs::remove_file(path);
    }
}
