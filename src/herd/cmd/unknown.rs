//! Names that no server has: a slip of the fingers must not look like a server that does not run.

use herd::config::meant::meant;
use herd::config::{ConfigError, HerdSelector};
use herd::run_dir::RunDir;

/// Refuses the first of these names that is no server's: none has run here by that name, and the
/// herd that is meant has none. Without a herd.toml, each server of a preset may be meant.
///
/// # Errors
/// There is such a name.
pub fn refuse(run_dir: &RunDir, which: &HerdSelector, names: &[String]) -> Result<(), ConfigError> {
    // What runs here can be stopped whatever is wrong with herd.toml; and if it cannot be seen what
    // runs here, the command itself has more to say about that.
    let (Ok(seen), Ok(_)) = (run_dir.names(), which.herd(None)) else { return Ok(()) };
    let strangers = names.iter().filter(|name| !seen.contains(name));
    let mut unknown = strangers.filter_map(|name| Some((name, which.herd(Some(name)).err()?)));
    let Some((name, unknown)) = unknown.next() else { return Ok(()) };
    if which.config.is_some() || seen.is_empty() {
        return Err(unknown);
    }
    let meant = meant(name, seen.iter().map(String::as_str));
    Err(ConfigError::new(format!(
        "no server called {name} has run in {}{meant}: there are {}; --config names another herd",
        run_dir.path().display(),
        seen.join(", ")
    )))
}
