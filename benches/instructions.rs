//! The deterministic guard: how many instructions a request costs, through the real reactor and
//! core, counted by valgrind and compared with what is written down here. Apart from the other
//! benches because it measures no time: a figure that is the same on a busy machine can fail a
//! build, and catches what a stopwatch cannot see.
//!
//! `cargo bench --bench instructions`. It fails if a request is much dearer than written down, and
//! if it is much cheaper: a change that does either on purpose writes the new figure down. On
//! another machine it counts, and says that it compares nothing.
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
const RECORDED: [(usize, u64); 2] = [(1, 2_800), (16, 1_337)];
/// Where that was: the compiler, the processor and the counter. Another compiler's code, or another
/// processor's `memcpy`, is neither a regression nor a gain.
const RECORDED_AT: [&str; 3] = ["rustc 1.95.0", "AMD EPYC", "valgrind-3.19.0"];
/// A request that is dearer by more must be made cheaper, or be written down with the reason.
const DEARER_PERCENT: u64 = 4;
/// A request that is cheaper by more must be written down, or the gain can be lost unseen.
const CHEAPER_PERCENT: u64 = 10;

const CLIENTS: u64 = 1_000;
/// Enough that every client is known, and the memory has settled, before the counting begins.
const FEW: usize = 4_000;
const MANY: usize = 20_000;
/// Valgrind is fifty times slower than the processor, and the machine may be busy.
const START_MAX: Duration = Duration::from_secs(120);

fn main() -> ExitCode {
    let Some(valgrind) = first_line("valgrind") else {
        println!("==== SKIPPED: instructions, for valgrind is missing: apt-get install valgrind");
        return ExitCode::SUCCESS;
    };
    let here = [compiler(), processor(), valgrind];
    let mut verdict = Ok(());
    println!("pipeline  instructions a request  written down");
    for (pipeline, recorded) in RECORDED {
        let [few, many] = [FEW, MANY].map(|requests| {
            count(requests, pipeline).unwrap_or_else(|error| panic!("{requests} requests: {error}"))
        });
        let each = (many - few) / (MANY - FEW) as u64;
        println!("{pipeline:8}  {each:22}  {recorded:12}");
        verdict = verdict.and(judge(each, recorded));
    }
    if here != RECORDED_AT {
        println!("==== SKIPPED: comparing, for what is written down was counted at");
        println!("==== {}, and this is {}", RECORDED_AT.join(", "), here.join(", "));
        return ExitCode::SUCCESS;
    }
    match verdict {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            println!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

fn judge(each: u64, recorded: u64) -> Result<(), String> {
    if each > recorded * (100 + DEARER_PERCENT) / 100 {
        Err(format!("A request costs more than {DEARER_PERCENT} % above what is written down."))
    } else if each < recorded * (100 - CHEAPER_PERCENT) / 100 {
        Err(format!("A request is cheaper by {CHEAPER_PERCENT} %: write it down in RECORDED."))
    } else {
        Ok(())
    }
}

/// The compiler without its commit: `rustc 1.95.0`.
fn compiler() -> String {
    let line = first_line("rustc").unwrap_or_default();
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    name.unwrap_or("an unknown processor").trim_start_matches([' ', '\t', ':']).to_owned()
}

/// What a program says of its version, if it is there.
fn first_line(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
    output.status.success().then_some(text)
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
