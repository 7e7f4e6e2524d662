//! The keys by which the servers of a herd know each other, and the spelling of their file:
//!
//! ```text
//!   64 hex digits           the newest key
//!   64 hex digits           the one before it, if there is one
//!   digest 64 hex digits    what digests are keyed with, once the newest key is not
//! ```
//!
//! Keys change while a herd runs, but what is held stays keyed as it is: so the third line stays
//! the same through all rotations, and servers that were started before one and after it can
//! compare what they hold.
//!
//! A [`Secret`](super::Secret) is a service's word of any length; these are ours, have one length,
//! and are two while a herd changes from one to the next. Nothing is made random here, and no peer
//! is authenticated; `keygen` and `core` do that.

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use super::ConfigError;
use super::key::{KEY_FILE_BYTES_MAX, KeyFile};

/// HMAC-SHA-256 gains nothing from a key that is longer than its digest.
pub const HERD_KEY_BYTES: usize = 32;

/// The newest and the one before it. A third would only be one that was never taken away.
pub const HERD_KEYS_MAX: usize = 2;

const DIGITS: usize = 2 * HERD_KEY_BYTES;

/// Begins the line of what digests are keyed with. It is no word of hex digits.
const DIGEST: &str = "digest";

/// Bytes that the servers of a herd share and no one else knows. Its `Debug` hides them.
#[derive(Clone, PartialEq, Eq)]
pub struct HerdKey([u8; HERD_KEY_BYTES]);

/// What a key file holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HerdKeys {
    /// The newest first; none if there is no file.
    pub all: Vec<HerdKey>,
    /// What digests are keyed with; `None`: the newest key.
    pub digest: Option<HerdKey>,
}

impl Deref for HerdKeys {
    type Target = [HerdKey];

    fn deref(&self) -> &[HerdKey] {
        &self.all
    }
}

impl HerdKeys {
    /// The same after a rotation: a new key before the newest, and what is older is dropped.
    pub fn rotated(mut self, new: HerdKey) -> HerdKeys {
        self.digest = self.digest.or_else(|| self.all.first().cloned());
        self.all.truncate(1);
        self.all.insert(0, new);
        self
    }

    /// The text of a key file.
    pub fn print(&self) -> String {
        let mut text = HerdKey::print_all(&self.all);
        if let Some(HerdKey(bytes)) = &self.digest {
            text += "# What digests are keyed with: it stays.\n";
            text += &format!("{DIGEST} {}\n", hex(bytes));
        }
        text
    }
}

impl HerdKey {
    pub fn new(bytes: [u8; HERD_KEY_BYTES]) -> HerdKey {
        HerdKey(bytes)
    }

    /// Reads one or two keys, the newest first, and what digests are keyed with: hex digits, one
    /// key a line. A `#` begins a comment.
    ///
    /// # Errors
    /// The file is missing, unreadable, readable by anyone but its owner, or not so spelled.
    pub fn read_all(path: &Path) -> Result<HerdKeys, ConfigError> {
        let way_out = "name another with --key-file, or make one with `herd keygen`";
        let file =
            KeyFile { path, what: "herd's key file", way_out, bytes_max: KEY_FILE_BYTES_MAX };
        let keys = parse(&file.read()?).map_err(|why| file.wrong(&why))?;
        match keys.all.as_slice() {
            [] => Err(file.wrong("is empty: remove it and make one with `herd keygen`")),
            [new, old] if new == old => Err(file.wrong("holds one key twice: remove one line")),
            [_] | [_, _] => Ok(keys),
            more => Err(file.wrong(&format!(
                "holds {} keys: leave the newest and the one before it",
                more.len()
            ))),
        }
    }

    /// The text of a key file.
    pub fn print_all(keys: &[HerdKey]) -> String {
        let mut text = "# Keys of a herd, the newest first: the same for all its servers, and for \
                        nobody else.\n"
            .to_owned();
        for HerdKey(bytes) in keys {
            text += &hex(bytes);
            text.push('\n');
        }
        text
    }

    /// The bytes themselves. Call it only where they are handed to who computes with them.
    pub fn reveal(&self) -> [u8; HERD_KEY_BYTES] {
        self.0
    }
}

impl fmt::Debug for HerdKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HerdKey(…)")
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What no message may do is repeat a line: a mistyped key is nearly a key.
fn parse(bytes: &[u8]) -> Result<HerdKeys, String> {
    let mut keys = HerdKeys::default();
    for (line, number) in bytes.split(|byte| *byte == b'\n').zip(1..) {
        let comment = line.iter().position(|byte| *byte == b'#').unwrap_or(line.len());
        let digits = line[..comment].trim_ascii();
        if digits.is_empty() {
            continue;
        }
        let of_digest = digits.strip_prefix(DIGEST.as_bytes()).map(<[u8]>::trim_ascii);
        let digits = of_digest.unwrap_or(digits);
        let values = digits.iter().map(|digit| char::from(*digit).to_digit(16));
        let Some(values) = values.collect::<Option<Vec<u32>>>() else {
            return Err(format!(
                "does not hold {DIGITS} hex digits in line {number}: make one with `herd keygen`"
            ));
        };
        if values.len() != DIGITS {
            let count = values.len();
            return Err(format!(
                "has a key of {count} hex digits in line {number}: a key has {DIGITS}"
            ));
        }
        let byte = |at: usize| (values[2 * at] * 16 + values[2 * at + 1]) as u8;
        let key = HerdKey(std::array::from_fn(byte));
        match of_digest {
            None => keys.all.push(key),
            Some(_) if keys.digest.is_none() => keys.digest = Some(key),
            Some(_) => return Err(format!("names a second digest in line {number}: remove it")),
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const A: HerdKey = HerdKey([0xAB; HERD_KEY_BYTES]);
    const B: HerdKey = HerdKey([0x0C; HERD_KEY_BYTES]);

    fn read(text: &[u8], mode: u32) -> Result<HerdKeys, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("herd.key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        HerdKey::read_all(&path).map_err(|error| error.to_string())
    }

    /// Goal: what digests are keyed with stays, whatever becomes of the keys.
    #[test]
    fn a_rotation_keeps_what_digests_are_keyed_with() {
        let keys = read(HerdKey::print_all(&[A]).as_bytes(), 0o600).unwrap();
        assert_eq!(keys.digest, None, "the newest key");
        let once = keys.rotated(B);
        let twice = once.clone().rotated(HerdKey([7; HERD_KEY_BYTES]));
        assert_eq!((&once.all[..], &once.digest), (&[B, A][..], &Some(A)));
        assert_eq!((twice.all.len(), &twice.all[1], &twice.digest), (2, &B, &Some(A)));
        for keys in [once, twice] {
            assert_eq!(read(keys.print().as_bytes(), 0o600), Ok(keys));
        }
        let again = format!("{0}\ndigest {0}\ndigest {0}\n", "ab".repeat(32));
        assert!(read(again.as_bytes(), 0o600).unwrap_err().contains("line 3"));
    }

    #[test]
    fn keys_are_lines_of_hex_digits() {
        let check = |text: &str, keys: &[HerdKey]| {
            assert!(read(text.as_bytes(), 0o600).unwrap().all == keys)
        };
        let (a, b) = ("ab".repeat(32), "0C".repeat(32));
        check(&a, &[A]);
        check(&format!("{a}\n"), &[A]);
        check(&format!("# new\r\n\t{b} # of May\r\n\n{a}\r\n"), &[B, A]);
        for keys in [&[A][..], &[B, A]] {
            check(&HerdKey::print_all(keys), keys);
        }
    }

    #[test]
    fn whatever_is_wrong_has_its_message_and_no_digits() {
        let check = |text: &[u8], mode: u32, part: &str| {
            let message = read(text, mode).unwrap_err();
            assert!(message.starts_with("the herd's key file /"), "{message}");
            assert!(message.contains(part), "{message}\n  lacks {part}");
            assert!(!message.contains("abab") && !message.contains('\n'), "{message}");
        };
        let key = "ab".repeat(32);
        let lines = |lines: &[&str]| lines.join("\n").into_bytes();
        check(key.as_bytes(), 0o640, "open to others than its owner (mode 0640): chmod 600 /");
        check(b"", 0o600, "is empty: remove it");
        check(b"# nothing yet\n \n", 0o600, "is empty: remove it");
        check(&lines(&["#", &key[1..]]), 0o600, "a key of 63 hex digits in line 2: a key has 64");
        check(&lines(&[&key.repeat(2)]), 0o600, "a key of 128 hex digits in line 1");
        check(&lines(&[&key, &key.replace('b', "g")]), 0o600, "64 hex digits in line 2");
        check(&lines(&[&key, "secret"]), 0o600, "64 hex digits in line 2: make one with");
        check(&[0xFF; 32], 0o600, "64 hex digits in line 1");
        check(&lines(&[&key, &key.to_uppercase()]), 0o600, "holds one key twice");
        let other = "0c".repeat(32);
        check(&lines(&[&key, &other, &key]), 0o600, "holds 3 keys: leave the newest");
        check(&[b'a'; 5000], 0o600, "is too long: it may have 4095 bytes");
    }

    #[test]
    fn a_file_that_is_not_there_can_be_made() {
        let message = HerdKey::read_all(Path::new("no/such.key")).unwrap_err().to_string();
        assert!(message.starts_with("the herd's key file no/such.key cannot be read: "));
        assert!(message.ends_with("or make one with `herd keygen`"), "{message}");
        let dir = tempfile::tempdir().unwrap();
        let message = HerdKey::read_all(dir.path()).unwrap_err().to_string();
        assert!(message.ends_with("is a directory: name the file in it"), "{message}");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{A:?}"), "HerdKey(…)");
    }
}
