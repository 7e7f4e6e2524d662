//! The day of measuring: may a crate keep the journal, who should write it, and into which files?
//!
//! Three tables are printed. *Logs* are written behind one seam, a batch of what one read brings at
//! a time. *Writers* are the loop itself, a thread, and the loop while nothing is being synced.
//! *Files* are appended to, made long, or filled with zeros. All go in turns, in several rounds, so
//! that what else the machine does hits all of them alike.

mod figures;
mod files;
mod logs;
mod writers;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Parser;
use figures::Table;

/// Measure journals.
#[derive(Debug, Parser)]
struct Flags {
    /// One short round: everything runs, no figure means anything
    #[arg(long)]
    quick: bool,
    /// How often each is measured
    #[arg(long, value_name = "N", default_value_t = 9)]
    rounds: usize,
    /// How long each time
    #[arg(long, value_name = "S", default_value_t = 0.5)]
    seconds: f64,
    /// Where the files go, which says which disk is measured
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// What is measured, and how often.
pub struct Course {
    pub dir: PathBuf,
    pub rounds: usize,
    pub span: Duration,
}

/// Any error ends it: half a table compares nothing.
pub type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> Result<()> {
    let flags = Flags::parse();
    let below_target = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/journals/files");
    let dir = flags.dir.unwrap_or(below_target);
    let (rounds, seconds) = if flags.quick { (1, 0.03) } else { (flags.rounds, flags.seconds) };
    let course = Course { dir, rounds, span: Duration::from_secs_f64(seconds) };
    fs::create_dir_all(&course.dir)?;
    for table in [logs::run(&course)?, writers::run(&course)?, files::run(&course)?] {
        let Table { head, rows } = table;
        println!("{head}");
        rows.iter().for_each(|row| println!("{row}"));
        println!();
    }
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    println!(
        "medians of {rounds} rounds of {:?}; in brackets the least and the most; load {}",
        course.span,
        load.split(' ').take(3).collect::<Vec<_>>().join(" ")
    );
    Ok(())
}

impl Course {
    /// An empty directory of its own.
    pub fn fresh(&self, name: &str) -> Result<PathBuf> {
        // Threads of what was measured before may still put files into its directory.
        let mut dirs = (0..9).map(|n| self.dir.join(format!("{name}-{n}")));
        let is_made = |dir: &PathBuf| {
            let _ = fs::remove_dir_all(dir);
            fs::create_dir(dir).is_ok()
        };
        Ok(dirs.find(is_made).ok_or("no directory can be made")?)
    }
}

/// What one read of a client that sends sixteen lines brings, as it is appended: about 1.5 KB.
#[derive(Default)]
pub struct Batches {
    number: u64,
    text: Vec<u8>,
}

pub const REPORTS: usize = 16;
const CLIENTS: u64 = 100_000;

impl Batches {
    /// Another one.
    pub fn more(&mut self) -> &[u8] {
        self.text.clear();
        for _ in 0..REPORTS {
            self.number += 1;
            // An odd multiplier goes past all clients before one comes again.
            let client = self.number.wrapping_mul(7_919) % CLIENTS;
            let number = self.number;
            let line = format!(
                "AT Bailey +0.000{:06} client-{client:06}.example.org +34.068930-118.445127 \
                 {}.{:09}\n",
                number % 1_000_000,
                1_700_000_000 + number / 1_000_000_000,
                number % 1_000_000_000
            );
            self.text.extend_from_slice(line.as_bytes());
        }
        &self.text
    }
}
