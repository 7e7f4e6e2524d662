//! The command `herd logs`: the ends of the logs, and what is added to them.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process;

use herd::logging::STDERR;

use super::exit::{Exit, Failure};
use super::flags::LogsFlags;

/// Lines of a log that are printed.
const LOG_LINES: &str = "50";

/// Becomes the program `tail`, which prints the ends of logs and, to follow them, what is added.
///
/// # Errors
/// There are no such logs, or there is no `tail`.
pub fn logs(dir: &Path, flags: &LogsFlags, herd: &[String]) -> Failure {
    let LogsFlags { names, follow, .. } = flags;
    if dir == Path::new(STDERR) {
        let message = "the logs go to stderr (log.dir is -): ask what runs the servers, as in \
                       `journalctl -u 'herd@*'`";
        return Failure::new(Exit::Failed, message);
    }
    let file = |name: &String| dir.join(format!("{name}.log"));
    let there = |path: &PathBuf| path.is_file();
    let files: Vec<PathBuf> = match names.as_slice() {
        [] => herd.iter().map(file).filter(there).collect(),
        names => names.iter().map(file).collect(),
    };
    let mut unknown = names.iter().filter(|name| !there(&file(name)));
    if let Some(error) = unknown.find_map(|name| flags.herd.which().herd(Some(name)).err()) {
        return error.into();
    }
    let missing = files.iter().find(|path| !there(path));
    if let Some(path) = missing.cloned().or_else(|| files.is_empty().then(|| dir.join("NAME.log")))
    {
        let message = format!(
            "there is no log {}: has the server been started, and with this log directory?",
            path.display()
        );
        return Failure::new(Exit::Failed, message);
    }
    let mut tail = process::Command::new("tail");
    if *follow {
        tail.arg("-F");
    }
    let error = tail.args(["-n", LOG_LINES, "--"]).args(files).exec();
    Failure::new(Exit::Failed, format!("the program `tail` cannot be started: {error}"))
}

/// Where the logs are, and which servers the herd has.
///
/// # Errors
/// herd.toml is wrong.
pub fn log_dir(flags: &LogsFlags) -> Result<(PathBuf, Vec<String>), Failure> {
    let (herd, settings) = flags.herd.which().herd(None)?;
    let dir = flags.log_dir.clone().unwrap_or(settings.log.dir);
    Ok((dir, herd.members.into_iter().map(|member| member.name).collect()))
}
