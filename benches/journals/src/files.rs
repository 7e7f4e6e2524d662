//! Into which files? A sync of a file that has become longer commits its length as well; one of
//! bytes that overwrite others need not.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use crate::figures::{Table, Times};
use crate::{Batches, Course, Result};

/// Apart, as answers of a few clients are, so that each sync finds a disk at rest.
const PAUSE: Duration = Duration::from_millis(5);
const FILE_BYTES: usize = 4 << 20;

type Make = fn(&Path) -> Result<File>;

const KINDS: [(&str, Make); 3] = [
    ("appended to", |path| Ok(File::create(path)?)),
    ("made long, not written (`set_len`)", |path| {
        let file = File::create(path)?;
        file.set_len(FILE_BYTES as u64)?;
        file.sync_all()?;
        Ok(file)
    }),
    ("**filled with zeros**", |path| {
        let mut file = File::create(path)?;
        fill(&mut file, FILE_BYTES as u64)?;
        file.sync_all()?;
        Ok(file)
    }),
];

/// Writes zeros in pieces, as the server does: in one piece, the system keeps it in one that is so
/// large that each write looks through it, and takes four times as long.
pub fn fill(file: &mut File, bytes: u64) -> io::Result<()> {
    let zeros = [0; 64 * 1024];
    (0..bytes / zeros.len() as u64).try_for_each(|_| file.write_all(&zeros))
}

/// Measures all of them.
pub fn run(course: &Course) -> Result<Table> {
    let mut figures = vec![vec![Vec::new(); 3]; KINDS.len()];
    for _ in 0..course.rounds {
        for ((_, make), figures) in KINDS.iter().zip(&mut figures) {
            let [apart_p50, apart_p90] = measure(course, *make, PAUSE)?;
            let [busy_p50, _] = measure(course, *make, Duration::ZERO)?;
            let found = [apart_p50, apart_p90, busy_p50];
            figures.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
    }
    let mut table = Table::new(&[
        "a file",
        "fdatasync, 5 ms apart: p50 µs",
        "p90 µs",
        "one after the other: p50 µs",
    ]);
    KINDS.iter().zip(&figures).for_each(|((name, _), figures)| table.add(name, figures));
    Ok(table)
}

fn measure(course: &Course, make: Make, pause: Duration) -> Result<[f64; 2]> {
    let dir = course.fresh("files")?;
    let file = make(&dir.join("log"))?;
    let (mut batches, mut at, mut syncs) = (Batches::default(), 0, Times::default());
    let began = Instant::now();
    while began.elapsed() < course.span && at + 2048 < FILE_BYTES {
        let batch = batches.more();
        file.write_all_at(batch, at as u64)?;
        at += batch.len();
        let started = Instant::now();
        file.sync_data()?;
        syncs.add(started.elapsed());
        thread::sleep(pause);
    }
    Ok(syncs.quantiles([0.5, 0.9]))
}
