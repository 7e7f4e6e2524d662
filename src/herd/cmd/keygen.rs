//! Makes the keys of a herd: `keygen`, and `keygen --rotate`.
//!
//! `herd::config` only reads them. A key goes from the system's randomness into a file that no
//! other user may read, and is shown nowhere.

use std::fs;
use std::io::ErrorKind;
use std::path::Path;

use super::exit::{Exit, Failure};
use super::secret_file::{cannot_make, open_new, replace, write};
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
    // Without the file itself there is more to say than that its directory is missing.
    HerdKey::read_all(path)?;
    replace(&file, || Ok(HerdKey::read_all(path)?.rotated(random_key()?).print()))?;
    Ok(format!(
        "{shown} holds a new key, and after it the one before.\n\
         Copy it to every machine of the herd, for instance with `scp -p {shown} MACHINE:`; then \
         say\n`herd reload --wait` on each, in any order: two servers need only one key in common. \
         Rotate\nagain only when the last of them has it.\n"
    ))
}

fn random_key() -> Result<HerdKey, Failure> {
    let none = |_| Failure::new(Exit::System, "the system gives no random numbers for a key");
    rand::generate(&SystemRandom::new()).map(|bytes| HerdKey::new(bytes.expose())).map_err(none)
}
