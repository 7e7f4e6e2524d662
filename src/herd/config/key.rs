//! A secret, and the only way one is read from a file.
//!
//! What must never be shown is read and handed out here, and nowhere else. The keys of a herd are
//! read here, too; what they look like is `herd_key`'s affair.

use std::fmt;
use std::fs;
use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::geteuid;

use super::ConfigError;

/// No key is longer; it keeps a mistyped path (a film, `/dev/zero`) from filling the memory.
pub(super) const KEY_FILE_BYTES_MAX: u64 = 4096;

/// A text that must never be shown: it has no `Display`, and its `Debug` hides it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    pub fn new(text: String) -> Secret {
        Secret(text)
    }

    /// Reads a key: one word, white space around it is ignored.
    ///
    /// # Errors
    /// The file is missing, unreadable, empty, no word, or open to others (`complaint`).
    pub fn read(path: &Path) -> Result<Secret, ConfigError> {
        let way_out = "name another with --places-key-file";
        let file = KeyFile { path, what: "key file", way_out, bytes_max: KEY_FILE_BYTES_MAX };
        let bytes = file.read()?;
        if bytes.trim_ascii().is_empty() {
            return Err(file.wrong("is empty: put the key in it"));
        }
        let text = String::from_utf8(bytes).ok();
        text.and_then(|text| Secret::parse(&text))
            .ok_or_else(|| file.wrong("does not hold one word: put the key alone in it"))
    }

    /// A key is one word of ASCII; white space around it is ignored.
    pub fn parse(text: &str) -> Option<Secret> {
        let key = text.trim();
        let is_word = key.bytes().all(|byte| byte.is_ascii_graphic());
        (is_word && !key.is_empty()).then(|| Secret(key.to_owned()))
    }

    /// The text itself. Call it only where it leaves for the service it opens.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

/// A file that is kept from others (`complaint`), and what an operator reads about it.
pub(super) struct KeyFile<'a> {
    pub path: &'a Path,
    /// What it is, for messages.
    pub what: &'a str,
    /// What to do if it cannot be read.
    pub way_out: &'a str,
    /// One of so many bytes is too long.
    pub bytes_max: u64,
}

impl KeyFile<'_> {
    /// All of it, which may be nothing.
    pub fn read(&self) -> Result<Vec<u8>, ConfigError> {
        let cannot = |error: std::io::Error| {
            self.wrong(&format!("cannot be read: {error}; {}", self.way_out)).caused_by(error)
        };
        let file = fs::File::open(self.path).map_err(cannot)?;
        // The open file is asked, not the path: between the two a path may change its meaning.
        let about = file.metadata().map_err(cannot)?;
        if about.is_dir() {
            return Err(self.wrong("is a directory: name the file in it"));
        }
        let (owner, us) = (about.uid(), geteuid().as_raw());
        if let Some(why) = complaint(self.path, owner, us, about.mode() & 0o777) {
            return Err(self.wrong(&why));
        }
        let mut bytes = Vec::new();
        file.take(self.bytes_max).read_to_end(&mut bytes).map_err(cannot)?;
        if bytes.len() as u64 == self.bytes_max {
            let most = self.bytes_max - 1;
            return Err(self.wrong(&format!("is too long: it may have {most} bytes")));
        }
        Ok(bytes)
    }

    /// A message about the file.
    pub fn wrong(&self, why: &str) -> ConfigError {
        ConfigError::new(format!("the {} {} {why}", self.what, self.path.display()))
    }
}

/// Why a file with this owner and mode is unfit to hold a secret of a process that runs as `us`.
///
/// Our own file is ours alone. One of root's may be read by its group, because that is how those
/// who hand secrets over let another user read them: systemd's LoadCredential and the volumes of
/// Kubernetes with an fsGroup make files of root's with mode 0440. PostgreSQL has the same rule.
fn complaint(path: &Path, owner: u32, us: u32, mode: u32) -> Option<String> {
    const ROOT: u32 = 0;
    let shown = path.display();
    if owner == us && mode & 0o077 != 0 {
        Some(format!("is open to others than its owner (mode {mode:04o}): chmod 600 {shown}"))
    } else if owner == us {
        None
    } else if owner != ROOT {
        Some(format!(
            "belongs to another user (uid {owner}), who can change it: chown it to the user who \
             runs the server, or to root"
        ))
    } else if mode & 0o037 != 0 {
        Some(format!(
            "is root's and open to more than reading by its group (mode {mode:04o}): chmod 640 \
             {shown}"
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, chown};

    use super::*;

    fn check(text: &str, mode: u32, expected: Result<&str, &str>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        match (Secret::read(&path), expected) {
            (Ok(secret), Ok(key)) => assert_eq!(secret.reveal(), key),
            (Err(error), Err(part)) => {
                let message = error.to_string();
                assert!(message.contains(part), "{message}");
                assert!(!message.contains("AIza"), "{message}");
            }
            (found, expected) => panic!("{found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn only_the_owner_may_read_a_key() {
        check("AIzaKey\n", 0o600, Ok("AIzaKey"));
        check("AIzaKey", 0o400, Ok("AIzaKey"));
        check("AIzaKey\n", 0o640, Err("mode 0640): chmod 600 "));
        check("AIzaKey\n", 0o604, Err("chmod 600 "));
    }

    #[test]
    fn the_group_may_read_what_root_hands_over() {
        const ROOT: u32 = 0;
        let about = |owner, us, mode| complaint(Path::new("key"), owner, us, mode);
        for us in [ROOT, 7] {
            for mode in 0..=0o777 {
                assert_eq!(about(us, us, mode).is_none(), mode & 0o077 == 0, "{us} {mode:o}");
                assert_eq!(about(ROOT, 7, mode).is_none(), mode & 0o037 == 0, "{mode:o}");
                assert!(about(8, us, mode).is_some(), "{us} {mode:o}");
            }
        }
        let check = |found: Option<String>, part| assert!(found.unwrap().contains(part), "{part}");
        check(about(ROOT, 7, 0o444), "(mode 0444): chmod 640 key");
        check(about(8, 7, 0o400), "belongs to another user (uid 8)");
        check(about(8, ROOT, 0o400), "(uid 8), who can change it: chown it to the user");
    }

    /// Goal: the owner of the open file counts, whatever we may do.
    #[test]
    fn a_file_of_another_user_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("key");
        fs::write(&path, "AIzaKey").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        if chown(&path, Some(65_534), None).is_err() {
            return eprintln!("skipped: only root can give a file away");
        }
        let message = Secret::read(&path).unwrap_err().to_string();
        assert!(message.contains("belongs to another user (uid 65534)"), "{message}");
    }

    #[test]
    fn a_key_is_one_word() {
        check("", 0o600, Err("is empty"));
        check(" \n", 0o600, Err("is empty"));
        check("AIza Key\n", 0o600, Err("does not hold one word"));
        check(&"AIza".repeat(2000), 0o600, Err("too long"));
        let missing = Secret::read(Path::new("no/such/key")).unwrap_err().to_string();
        assert!(missing.ends_with("name another with --places-key-file"), "{missing}");
        assert!(missing.starts_with("the key file no/such/key cannot be read: "), "{missing}");
    }

    #[test]
    fn a_directory_is_no_key_file() {
        let dir = tempfile::tempdir().unwrap();
        let message = Secret::read(dir.path()).unwrap_err().to_string();
        assert!(message.ends_with("is a directory: name the file in it"), "{message}");
    }

    #[test]
    fn debug_shows_nothing() {
        assert_eq!(format!("{:?}", Secret::new("AIzaKey".to_owned())), "Secret(…)");
    }
}
