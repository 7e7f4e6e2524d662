//! What a snapshot by fork(2) costs: a process that has much memory stands still while it forks.

use std::io::{self, BufRead, BufReader, ErrorKind, Write};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use super::{Experiment, Findings, House};

pub const FORK_FREEZES: Experiment = Experiment {
    name: "fork-freezes",
    chapter: 22,
    title: "the more a process holds, the longer a fork freezes it",
    about: "A snapshot by fork(2) is elegant: the child has all memory as it was. But the system \
            copies the tables of all that memory first, and nobody is served meanwhile; then \
            each page that either writes to is copied, too. An asyncio program that forks so, as \
            `multiprocessing` did by default, stands still with all its coroutines.",
    steps: "This program has no unsafe code, and so it cannot fork; a shell does: one that holds \
            next to nothing, and one that holds 64 MiB. Each starts a subshell 20 times and says \
            when it goes on. Then we copy 64 MiB in pieces of 64 KiB, the journal's measure.",
    house: "no snapshot and no fork: the disk is a slow peer that is given what it has missed, a \
            piece in each turn (`core::journal::missed`). A join does not mind that the pieces \
            are of different moments.",
    run: fork_freezes,
};

/// Doubles a text of 16 bytes so many times, and then forks for each line that it is told.
const SCRIPT: &str = "x=0123456789abcdef
i=0
while [ $i -lt $1 ]; do x=$x$x; i=$((i+1)); done
echo ready
while read -r line; do (:); echo done; done";
const FORKS: usize = 20;
const DOUBLINGS: u32 = 22;
const PIECE_BYTES: usize = 64 * 1024;

fn fork_freezes(found: &mut Findings, _: &House) -> io::Result<()> {
    let small = time_fork(1)?;
    let large = time_fork(DOUBLINGS)?;
    let piece = median_piece(16 << DOUBLINGS);
    let millis = |time: Duration| format!("{:.3} ms", time.as_secs_f64() * 1e3);
    found.show("a fork, holding next to nothing", "0.2 ms", millis(small));
    found.show("a fork, holding 64 MiB", "0.2 ms", millis(large));
    found.show("64 MiB in pieces: the median one", "0.2 ms", millis(piece));
    found.demand(large > 2 * small, "a fork takes no longer for what is held");
    found.demand(piece < large / 2, "a piece takes as long as a fork");
    Ok(())
}

/// The median.
fn time_fork(doublings: u32) -> io::Result<Duration> {
    let mut shell = Command::new("sh");
    shell.args(["-c", SCRIPT, "sh", &doublings.to_string()]);
    let mut shell = shell.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut stdin = shell.stdin.take().ok_or(ErrorKind::BrokenPipe)?;
    let mut answers = BufReader::new(shell.stdout.take().ok_or(ErrorKind::BrokenPipe)?);
    let mut answer = || answers.read_line(&mut String::new());
    answer()?;
    let mut times = Vec::new();
    for _ in 0..FORKS {
        let begun = Instant::now();
        stdin.write_all(b"fork\n")?;
        answer()?;
        times.push(begun.elapsed());
    }
    drop(stdin);
    shell.wait()?;
    times.sort_unstable();
    Ok(times[FORKS / 2])
}

/// How long a copy of one piece takes.
fn median_piece(bytes: usize) -> Duration {
    let (held, mut piece) = (vec![b'x'; bytes], Vec::with_capacity(PIECE_BYTES));
    let time = |part: &[u8]| {
        let begun = Instant::now();
        piece.clear();
        piece.extend_from_slice(part);
        begun.elapsed()
    };
    let mut times: Vec<_> = held.chunks(PIECE_BYTES).map(time).collect();
    times.sort_unstable();
    times[times.len() / 2]
}
