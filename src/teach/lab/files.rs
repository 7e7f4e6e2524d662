//! What a write to a file means: what of it survives its process, who waits for it, and what it
//! costs to have it on the disk.

use std::env;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{self, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use mio::unix::SourceFd;
use mio::{Interest, Poll, Token};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::{Experiment, Findings, House, join};

pub const KILL_NINE: Experiment = Experiment {
    name: "kill-nine",
    chapter: 22,
    title: "kill -9 takes what a process keeps to itself, and no more",
    about: "What write(2) has taken is in the system's memory and outlives the process. A buffer \
            in the process dies with it, however often it was promised. asyncio changes nothing \
            about that: `open()` has a buffer of 8 KiB, and each answer before `flush()` is a \
            promise that nobody keeps.",
    steps: "A process writes a line to a file and then answers, again and again, until it is \
            killed. Once the file is behind a `BufWriter`, once it is bare. Which of the lines \
            that were answered are in the file?",
    house: "what a turn has brought is written before its answers leave: `Reactor::keep_news`.",
    run: kill_nine,
};

const LINE: &str = "AT Hill +0.263873386 kiwi +34.068930-118.445127 1520023934.918963997\n";
const ANSWERS: usize = 2_000;

fn kill_nine(found: &mut Findings, _: &House) -> io::Result<()> {
    let (buffered_answers, buffered) = die_answering("buffered")?;
    let (bare_answers, bare) = die_answering("bare")?;
    found.show("lines answered, with a buffer", buffered_answers, buffered_answers);
    found.show("of them in the file", buffered_answers, buffered.min(buffered_answers));
    found.show("lines answered, written at once", bare_answers, bare_answers);
    found.show("of them in the file", bare_answers, bare.min(bare_answers));
    found.demand(buffered < buffered_answers, "a buffer has survived its process");
    found.demand(bare >= bare_answers, "what was written has not survived its process");
    Ok(())
}

/// How many lines a process has answered when it is killed, and how many the file has.
fn die_answering(manner: &str) -> io::Result<(usize, usize)> {
    let scratch = Scratch::in_dir(&env::temp_dir())?;
    let mut process = Command::new(env::current_exe()?);
    process.args(["lab", "kill-nine", "--alone", manner]).current_dir(&scratch.0);
    let mut process = process.stdout(Stdio::piped()).spawn()?;
    let answers = process.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
    let mut answers = BufReader::new(answers).lines();
    let early = answers.by_ref().take(ANSWERS).count();
    process.kill()?;
    process.wait()?;
    // Some were on their way.
    let answered = early + answers.map_while(Result::ok).count();
    Ok((answered, fs::read_to_string(scratch.0.join("log"))?.lines().count()))
}

/// What `--alone` runs, until it is killed.
pub fn answer_until_killed(manner: &str) -> io::Result<()> {
    let file = File::create("log")?;
    let mut log: Box<dyn Write> = match manner {
        "buffered" => Box::new(BufWriter::new(file)),
        _ => Box::new(file),
    };
    loop {
        log.write_all(LINE.as_bytes())?;
        writeln!(io::stdout(), "{}", LINE.trim_end())?;
    }
}

pub const WRITE_BLOCKS: Experiment = Experiment {
    name: "write-blocks",
    chapter: 22,
    title: "a file is always ready, and makes one wait all the same",
    about: "Readiness is for what comes from afar. poll(2) says of a file that it is ready, \
            always; epoll refuses it. A write waits nevertheless, for another write to the same \
            file, or for a disk that cannot follow. So asyncio has no files: `aiofiles` and \
            `to_thread` send each call to the threads that resolve names as well.",
    steps: "We ask poll(2) about a file, and register it with mio. Then we write 100 bytes to it \
            every millisecond, for 300 ms: alone, and while a thread writes 32 MiB at a time.",
    house: "the loop writes itself only while that is quick (`Journal::hand_over`); else, and for \
            each sync, there are threads, and answers wait instead of the loop.",
    run: write_blocks,
};

const SMALL: [u8; 100] = [b'x'; 100];
const LARGE_BYTES: usize = 32 << 20;

fn write_blocks(found: &mut Findings, _: &House) -> io::Result<()> {
    let scratch = Scratch::in_dir(&env::temp_dir())?;
    let file = Arc::new(File::create(scratch.0.join("log"))?);
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    let ready = poll(&mut [PollFd::new(&file, PollFlags::OUT)], Some(&now))?;
    let registry = Poll::new()?;
    let registry = registry.registry();
    let registered =
        registry.register(&mut SourceFd(&file.as_raw_fd()), Token(0), Interest::WRITABLE);
    let alone = longest_write(&file)?;

    let is_over = Arc::new(AtomicBool::new(false));
    let (other, is_other_over) = (Arc::clone(&file), Arc::clone(&is_over));
    let other = thread::spawn(move || {
        let large = vec![b'y'; LARGE_BYTES];
        while !is_other_over.load(Ordering::Relaxed) {
            other.write_all_at(&large, SMALL.len() as u64)?;
        }
        io::Result::Ok(())
    });
    let beside = longest_write(&file);
    is_over.store(true, Ordering::Relaxed);
    join(other)??;
    let beside = beside?;

    let answer =
        registered.as_ref().map_or_else(|error| error.kind().to_string(), |()| "taken".into());
    found.show("poll(2): ready to be written to", "yes", if ready == 1 { "yes" } else { "no" });
    found.show("mio, asked to watch it", "taken", answer);
    found.show("the longest write, alone", "0.1 ms", millis(alone));
    found.show("the longest write, beside another's", "0.1 ms", millis(beside));
    found.demand(ready == 1, "a file was not ready");
    found.demand(registered.is_err(), "a file can be watched by now");
    found.demand(beside > 4 * alone.min(Duration::from_millis(1)), "no write had to wait");
    Ok(())
}

fn longest_write(file: &File) -> io::Result<Duration> {
    let (begun, mut longest) = (Instant::now(), Duration::ZERO);
    while begun.elapsed() < Duration::from_millis(300) {
        let write = Instant::now();
        file.write_all_at(&SMALL, 0)?;
        longest = longest.max(write.elapsed());
        thread::sleep(Duration::from_millis(1));
    }
    Ok(longest)
}

pub const GROUP_COMMIT: Experiment = Experiment {
    name: "group-commit",
    chapter: 22,
    title: "a sync costs the same for one report and for eight hundred",
    about: "A sync waits for the disk, whatever it has to carry. If each client's report is synced \
            on its own, the disk is as fast as one client. In asyncio, `to_thread(os.fsync)` for \
            each of 800 clients is 800 syncs, in a queue before as many threads as there are \
            cores, and four.",
    steps: "For 900 ms, 1, 50 and 800 reports in turns are written at once and synced. How many \
            reports a second would be on the disk, by the quickest sync of each?",
    house: "what is appended during one sync is the next one's group: `Shared::write_on`.",
    run: group_commit,
};

fn group_commit(found: &mut Findings, _: &House) -> io::Result<()> {
    let scratch = Scratch::on_disk()?;
    let mut file = File::create(scratch.0.join("log"))?;
    let groups = [1, 50, 800].map(|waiters| (waiters, LINE.repeat(waiters)));
    // The quickest of each, in turns: others use the disk, too.
    let mut quickest = [Duration::MAX; 3];
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_millis(900) {
        for ((_, group), quickest) in groups.iter().zip(&mut quickest) {
            let begun = Instant::now();
            file.write_all(group.as_bytes())?;
            file.sync_data()?;
            *quickest = begun.elapsed().min(*quickest);
        }
    }
    let mut rates = Vec::new();
    for ((waiters, _), each) in groups.iter().zip(quickest) {
        let rate = *waiters as f64 / each.as_secs_f64();
        found.show(&format!("{waiters} waiting for each sync: one takes"), "1 ms", millis(each));
        let expected = rates.first().unwrap_or(&rate);
        found.show("  reports a second", format!("{expected:.0}"), format!("{rate:.0}"));
        rates.push(rate);
    }
    found.demand(rates[1] > 5.0 * rates[0], "a group of 50 was hardly quicker");
    found.demand(rates[2] > 2.0 * rates[1], "a group of 800 was hardly quicker than one of 50");
    Ok(())
}

fn millis(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1e3)
}

/// A directory that is gone with this.
struct Scratch(PathBuf);

impl Scratch {
    fn in_dir(dir: &Path) -> io::Result<Scratch> {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let number = MADE.fetch_add(1, Ordering::Relaxed);
        let path = dir.join(format!("herd-lab-{}-{number}", process::id()));
        fs::create_dir(&path).map(|()| Scratch(path))
    }

    /// On something for which a sync is more than a call.
    fn on_disk() -> io::Result<Scratch> {
        for dir in [env::temp_dir(), "/var/tmp".into(), env::current_dir()?] {
            let Ok(scratch) = Scratch::in_dir(&dir) else { continue };
            let mut file = File::create(scratch.0.join("try"))?;
            let mut sync = || {
                file.write_all(LINE.as_bytes())?;
                let begun = Instant::now();
                file.sync_data().map(|()| begun.elapsed())
            };
            let times = (0..5).map(|_| sync()).collect::<io::Result<Vec<_>>>()?;
            if times.iter().min().is_some_and(|time| *time > Duration::from_micros(50)) {
                return Ok(scratch);
            }
        }
        let message = "this experiment needs a directory on a disk: set TMPDIR to one; where it \
                       has looked, a sync costs nothing";
        Err(io::Error::new(ErrorKind::Unsupported, message))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // It is in the temporary directory, in the worst case.
        let _ = fs::remove_dir_all(&self.0);
    }
}
