//! What a line of a log costs if lines are not gathered.

use std::env;
use std::fs::{self, File};
use std::io::{self, Write};
use std::process;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use log::{Level, LevelFilter, Log, Record};
use simplelog::{ConfigBuilder, WriteLogger};

use super::{Experiment, Findings, House};

pub const LOG: Experiment = Experiment {
    name: "log",
    chapter: 14,
    title: "a line of a log on a bare file is two dozen system calls",
    about: "A logger formats a line piece by piece, and a file is not buffered: each piece is a \
            system call, and the loop waits for the disk each time.",
    steps: "2,000 lines with simplelog on a `File` that counts. The same 2,000 with the log of \
            this house.",
    house: "`LogSink` gathers a line and puts it into a queue in memory; a thread gives the queue \
            to the disk.",
    run: log_lines,
};

const LINES: u32 = 2_000;

/// A file that counts how often it is written to.
struct Counting(File, Arc<AtomicU64>);

impl Write for Counting {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.1.fetch_add(1, Ordering::Relaxed);
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

fn log_lines(found: &mut Findings, house: &House) -> io::Result<()> {
    let dir = env::temp_dir().join(format!("herd-lab-{}", process::id()));
    fs::create_dir(&dir)?;
    let opened =
        File::create(dir.join("bare")).and_then(|file| Ok((file, (house.start_log)(&dir)?)));
    // Both files are open, and end with this process.
    fs::remove_dir_all(&dir)?;
    let (file, end_log) = opened?;

    let count = Arc::new(AtomicU64::new(0));
    let config = ConfigBuilder::new().set_time_format_rfc3339().build();
    let bare = WriteLogger::new(LevelFilter::Info, config, Counting(file, count.clone()));
    let bare_time = time_lines(&*bare);
    let bare_writes = count.load(Ordering::Relaxed) as f64 / f64::from(LINES);

    let before = writes_of_process();
    let house_time = time_lines(log::logger());
    end_log();
    let writes = writes_of_process().zip(before).map(|(after, before)| after - before);
    let house_writes = writes.map(|writes| writes as f64 / f64::from(LINES));

    let micros = |time: Duration| format!("{:.1} µs", time.as_secs_f64() * 1e6);
    found.show("write calls a line, bare file", 1, format!("{bare_writes:.0}"));
    let told = house_writes.map_or("not known here".into(), |writes| format!("{writes:.3}"));
    found.show("write calls a line, `LogSink`", 1, told);
    found.show("a line on the loop, bare file", "1 µs", micros(bare_time));
    found.show("a line on the loop, `LogSink`", "1 µs", micros(house_time));
    found.demand(bare_writes > 1.5, "simplelog gathers a line itself by now");
    found.demand(house_writes.is_none_or(|writes| writes < 1.0), "`LogSink` does not gather");
    Ok(())
}

/// How long a line takes the thread that logs it.
fn time_lines(logger: &dyn Log) -> Duration {
    let begun = Instant::now();
    for number in 0..LINES {
        let text = format_args!("client-{number} <- IAMAT kiwi +34.068930-118.445127 1520023934.9");
        let record = Record::builder().target(module_path!()).level(Level::Info).args(text).build();
        logger.log(&record);
    }
    begun.elapsed() / LINES
}

/// Only Linux counts how often a process has written.
fn writes_of_process() -> Option<u64> {
    let told = fs::read_to_string("/proc/self/io").ok()?;
    told.lines().find_map(|line| line.strip_prefix("syscw: "))?.parse().ok()
}
