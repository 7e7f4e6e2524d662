//! How many lines of code a rival is: neither blank nor only a comment. Apart from what the rivals
//! do; it knows the comments of their languages and nothing else of them.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Of a file, or of all Rust below a folder. Tests at the end of a Rust file do not count.
pub fn lines_of_code(path: &Path) -> io::Result<usize> {
    if path.is_dir() {
        let paths = fs::read_dir(path)?.map(|entry| Ok(entry?.path()));
        let paths = paths.collect::<io::Result<Vec<_>>>()?;
        let is_ours =
            |path: &&PathBuf| path.is_dir() || path.extension().is_some_and(|it| it == "rs");
        return paths.iter().filter(is_ours).map(|path| lines_of_code(path)).sum();
    }
    let extension = path.extension().and_then(|extension| extension.to_str());
    let (line, block) = match extension {
        Some("py") => ("#", ("\"\"\"", "\"\"\"")),
        Some("c" | "java" | "js" | "rs") => ("//", ("/*", "*/")),
        _ => return Ok(0),
    };
    let text = fs::read_to_string(path)?;
    let text = text.split("#[cfg(test)]\nmod tests").next().unwrap_or_default();
    let mut is_comment = false;
    let is_code = |text: &&str| {
        let text = text.trim();
        if is_comment {
            is_comment = !text.ends_with(block.1);
            return false;
        }
        let begins = text.starts_with(block.0);
        // A comment of one line ends where it begins.
        is_comment = begins && !text[block.0.len()..].ends_with(block.1);
        !begins && !text.is_empty() && !text.starts_with(line)
    };
    Ok(text.lines().filter(is_code).count())
}
