//! Files that hold secrets: no other user can ever read them, and at any moment there is one that
//! is whole.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};

/// Writes what `make` gives beside the old file, and then gives it the old one's name. Nobody else
/// changes the file meanwhile, so `make` may read it; it need not be there.
pub fn replace(file: &Path, make: impl FnOnce() -> Result<String, Failure>) -> Result<(), Failure> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // It is also the lock: without it, one of two changes at a time would be lost.
    let mut new = open_new(&beside).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(
            Exit::CannotCreate,
            format!(
                "{0} is in the way: if nobody else changes the file, a change was broken off, so \
                 remove {0} and try again",
                beside.display()
            ),
        ),
        _ => cannot_make(&beside, &error),
    })?;
    let replaced = make().and_then(|text| {
        write(&mut new, &text)
            .and_then(|()| if file.exists() { owned_like(&new, file) } else { Ok(()) })
            .and_then(|()| fs::rename(&beside, file))
            .map_err(|error| cannot_make(&beside, &error))
    });
    if replaced.is_err() {
        let _ = fs::remove_file(&beside);
    }
    replaced
}

/// A file that no other user has ever been able to read.
pub fn open_new(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

pub fn write(file: &mut File, text: &str) -> io::Result<()> {
    file.write_all(text.as_bytes()).and_then(|()| file.sync_all())
}

/// The users that may read the old one may read the new one, even if root writes it.
fn owned_like(new: &File, old: &Path) -> io::Result<()> {
    fchown(new, Some(fs::metadata(old)?.uid()), None)
}

pub fn cannot_make(path: &Path, error: &io::Error) -> Failure {
    let message = format!("{} cannot be made: {error}; name another file", path.display());
    Failure::new(Exit::CannotCreate, message)
}
