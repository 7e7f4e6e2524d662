//! Makes the keys of a herd: `keygen`, and `keygen --rotate`.
//!
//! `herd::config` only reads them. A key goes from the system's randomness into a file that no
//! other user may read, and is shown nowhere.

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use super::exit::{Exit, Failure};
use herd::config::HerdKey;
use ring::rand::{self, SystemRandom};

/// Makes a key file, and says what to do with it.
///
/// # Errors
/// There is one already, or it cannot be made.
pub fn create(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    let keys = HerdKey::print_all(&[random_key()?]);
    let mut file = open_new(path).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(
            Exit::CannotCreate,
            format!(
                "{shown} is there already and stays as it is: put a new key before its newest \
                 with `herd keygen --rotate {shown}`, or name another file"
            ),
        ),
        _ => cannot_make(path, &error),
    })?;
    write(&mut file, &keys).map_err(|error| {
        // Half a key would be in the way of the next attempt.
        let _ = fs::remove_file(path);
        cannot_make(path, &error)
    })?;
    Ok(format!(
        "{shown} holds a new key, and only you may read it (mode 0600).\n\
         Copy it to every machine of the herd, for instance with `scp -p {shown} MACHINE:`; name \
         it there\nwith `key_file = \"{shown}\"` above the first [[server]] of herd.toml, or with \
         --key-file {shown};\nthen start the servers anew. One with a key and one without do not \
         talk to each other.\n"
    ))
}

/// Puts a new key before the newest of a key file, drops what is older, and says what to do next.
///
/// # Errors
/// The file is unfit, or cannot be replaced.
pub fn rotate(path: &Path) -> Result<String, Failure> {
    let shown = path.display();
    // The file is replaced, not a link to it.
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    replace(path, &file)?;
    Ok(format!(
        "{shown} holds a new key, and after it the one before.\n\
         Copy it to every machine of the herd, for instance with `scp -p {shown} MACHINE:`; then \
         say\n`herd reload --wait` on each, in any order: two servers need only one key in common. \
         Rotate\nagain only when the last of them has it.\n"
    ))
}

/// Writes the new text beside the old and then gives it the old one's name, so that at any moment
/// there is one that is whole.
fn replace(path: &Path, file: &Path) -> Result<(), Failure> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    // It is also the lock: without it, one of two rotations at a time would lose its key.
    let mut new = open_new(&beside).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => Failure::new(
            Exit::CannotCreate,
            format!(
                "{0} is in the way: if no other rotation is under way, one was broken off, so \
                 remove {0} and rotate again",
                beside.display()
            ),
        ),
        // Without the file itself there is more to say than that its directory is missing.
        _ => HerdKey::read_all(path).err().map_or(cannot_make(&beside, &error), Failure::from),
    })?;
    let replaced = (|| {
        let keys = HerdKey::read_all(path)?.rotated(random_key()?);
        write(&mut new, &keys.print())
            .and_then(|()| owned_like(&new, file))
            .and_then(|()| fs::rename(&beside, file))
            .map_err(|error| cannot_make(&beside, &error))
    })();
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
pub fn owned_like(new: &File, old: &Path) -> io::Result<()> {
    fchown(new, Some(fs::metadata(old)?.uid()), None)
}

fn random_key() -> Result<HerdKey, Failure> {
    let none = |_| Failure::new(Exit::System, "the system gives no random numbers for a key");
    rand::generate(&SystemRandom::new()).map(|bytes| HerdKey::new(bytes.expose())).map_err(none)
}

pub fn cannot_make(path: &Path, error: &io::Error) -> Failure {
    let message = format!("{} cannot be made: {error}; name another file", path.display());
    Failure::new(Exit::CannotCreate, message)
}
