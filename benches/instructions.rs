//! The deterministic guard: how many instructions a request costs, through the real reactor and
//! core, counted by valgrind and compared with what is written down here. Apart from the other
//! benches because it measures no time: a figure that is the same on a busy machine can fail a
//! build, and catches what a stopwatch cannot see.
//!
//! `cargo bench --bench instructions`. Whoever makes a request dearer on purpose writes the new
//! figure down, and says why; whoever makes it cheaper writes that down, too.
//!
//! Method: one client on one connection, so each turn of the loop is the same; the difference of
//! two runs, so that starting and stopping do not count. What the kernel does is not seen.

#[path = "common/chatter.rs"]
mod chatter;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use chatter::Chatter;
use rustix::process::{Pid, Signal, kill_process};

/// Requests in one write, and the instructions of each, as last written down.
/// A second hash of the id, with a key of the process, and the bounds on bytes and new clients are
/// some 70 of each. A turn of one request has some 340 more: the account of its work, a look at who
/// must wait, and deadlines that are judged after reading.
const RECORDED: [(usize, u64); 2] = [(1, 4_722), (16, 2_313)];
/// Another compiler, or another processor's `memcpy`, is not a regression.
const SLACK_PERCENT: u64 = 4;

const CLIENTS: u64 = 1_000;
/// Enough that every client is known, and the memory has settled, before the counting begins.
const FEW: usize = 4_000;
const MANY: usize = 20_000;
/// Valgrind is fifty times slower than the processor, and the machine may be busy.
const START_MAX: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let version = Command::new("valgrind").arg("--version").stdout(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        println!("==== SKIPPED: instructions, for valgrind is missing: apt-get install valgrind");
        return ExitCode::SUCCESS;
    }
    let mut is_dearer = false;
    println!("pipeline  instructions a request  written down");
    for (pipeline, recorded) in RECORDED {
        let [few, many] = [FEW, MANY].map(|requests| {
            count(requests, pipeline).unwrap_or_else(|error| panic!("{requests} requests: {error}"))
        });
        let each = (many - few) / (MANY - FEW) as u64;
        println!("{pipeline:8}  {each:22}  {recorded:12}");
        is_dearer |= each > recorded + recorded * SLACK_PERCENT / 100;
    }
    if is_dearer {
        println!("A request costs more than {SLACK_PERCENT} % above what is written down.");
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Instructions of a server's whole life, in which it answers so many requests.
fn count(requests: usize, pipeline: usize) -> io::Result<u64> {
    let dir = tempfile::tempdir()?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let report = dir.path().join("callgrind.out");
    let mut server = start(dir.path(), &report, address)?;
    let answered = connect(address, &mut server).and_then(|stream| ask(stream, requests, pipeline));
    // It must end by itself, or there is no report.
    if let Some(pid) = Pid::from_raw(server.id() as i32) {
        let _ = kill_process(pid, Signal::TERM);
    }
    server.wait()?;
    answered?;
    let text = fs::read_to_string(report)?;
    let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| io::Error::other("callgrind's report has no total"))
}

/// A server that is alone, knows no place, and does nothing by itself.
fn start(dir: &Path, report: &Path, address: SocketAddr) -> io::Result<Child> {
    let places = dir.join("places.csv");
    fs::write(&places, "name,lat,lon\nSomewhere,0,0\n")?;
    let config = dir.join("herd.toml");
    fs::write(
        &config,
        format!("herd = \"count\"\n[[server]]\nname = \"Alone\"\nclients = \"{address}\"\n"),
    )?;
    let mut report_flag = std::ffi::OsString::from("--callgrind-out-file=");
    report_flag.push(report);
    Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(report_flag)
        .arg(env!("CARGO_BIN_EXE_herd"))
        .args(["serve", "Alone", "--log-level", "off", "--places", "file"])
        .arg("--places-file")
        .arg(&places)
        .arg("--config")
        .arg(&config)
        .arg("--log-dir")
        .arg(dir)
        .arg("--run-dir")
        .arg(dir)
        .stdout(Stdio::null())
        .spawn()
}

fn connect(address: SocketAddr, server: &mut Child) -> io::Result<TcpStream> {
    let deadline = Instant::now() + START_MAX;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
        if let Some(status) = server.try_wait()? {
            return Err(io::Error::other(format!("the server has ended: {status}")));
        }
    }
}

fn ask(mut stream: TcpStream, requests: usize, pipeline: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut chatter = Chatter::new(CLIENTS);
    let (mut lines, mut answers) = (Vec::new(), [0; 64 * 1024]);
    for _ in 0..requests / pipeline {
        lines.clear();
        chatter.write_lines(pipeline, &mut lines);
        stream.write_all(&lines)?;
        let mut answered = 0;
        while answered < pipeline {
            let read = stream.read(&mut answers)?;
            if read == 0 {
                return Err(io::Error::other("the server has hung up"));
            }
            answered += answers[..read].iter().filter(|&&byte| byte == b'\n').count();
        }
    }
    Ok(())
}
