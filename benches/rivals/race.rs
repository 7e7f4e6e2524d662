//! The race: every rival meets every load, in turns, and `herd bench` measures. Apart from who the
//! rivals are and from what is made of the figures.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use serde::Deserialize;

use crate::pinned;
use crate::rivals::Rival;

/// A Java that compiles itself on a busy core may take its time.
const START_MAX: Duration = Duration::from_secs(30);

/// What is asked of a server.
pub struct Load {
    /// Short, for the head of a column.
    pub name: &'static str,
    /// As `herd bench` takes them, with blanks between.
    pub flags: &'static str,
    /// It is connections that are weighed, and nothing is answered.
    pub is_idle: bool,
    /// Among those that are drawn.
    pub is_drawn: bool,
}

const fn load(name: &'static str, flags: &'static str, is_drawn: bool) -> Load {
    Load { name, flags, is_idle: false, is_drawn }
}

const fn idle(name: &'static str, flags: &'static str) -> Load {
    Load { name, flags, is_idle: true, is_drawn: false }
}

pub const LOADS: &[Load] = &[
    load("50 connections", "-c 50", true),
    load("1,000", "-c 1000", false),
    load("10,000", "-c 10000", false),
    load("50, pipeline 16", "-c 50 -p 16", true),
    load("50, pipeline 128", "-c 50 -p 128", false),
    load("connect, ask, close", "-c 50 --reconnect", true),
    idle("10,000 idle", "--idle 10000"),
];

pub const QUICK_LOADS: &[Load] = &[
    load("5 connections", "-c 5", true),
    load("5, pipeline 16", "-c 5 -p 16", true),
    load("connect, ask, close", "-c 5 --reconnect", true),
    idle("100 idle", "--idle 100"),
];

pub struct Course {
    pub loads: &'static [Load],
    pub rounds: usize,
    pub measure: Duration,
    pub warm_up: Duration,
}

/// One measurement.
pub struct Measurement {
    pub rival: usize,
    pub load: usize,
    pub round: usize,
    pub found: Result<Figures, String>,
}

/// What `herd bench` tells, as far as it is wanted here.
#[derive(Clone, Copy, Deserialize)]
pub struct Figures {
    pub answers_per_second: f64,
    pub cpu_us_per_answer: Option<f64>,
    pub latency_us: Option<Latency>,
    pub resident_bytes_after: Option<u64>,
    pub resident_bytes_per_idle: Option<f64>,
    pub load_cpu_percent: Option<f64>,
}

#[derive(Clone, Copy, Deserialize)]
pub struct Latency {
    pub p50: f64,
    pub p99: f64,
}

impl Course {
    pub fn run(&self, rivals: &[Rival]) -> Vec<Measurement> {
        let mut results = Vec::new();
        for round in 0..self.rounds {
            for (load, wanted) in self.loads.iter().enumerate() {
                for (rival, server) in rivals.iter().enumerate() {
                    let found = self.measure(server, wanted);
                    let told = match &found {
                        Ok(figures) => told(figures),
                        Err(why) => format!("FAILED: {why}"),
                    };
                    eprintln!(
                        "{}/{} {}: {}: {told}",
                        round + 1,
                        self.rounds,
                        wanted.name,
                        server.name
                    );
                    results.push(Measurement { rival, load, round, found });
                }
            }
        }
        results
    }

    fn measure(&self, rival: &Rival, load: &Load) -> Result<Figures, String> {
        let port = free_port();
        let server = Running::start(rival, port)?;
        // Whoever listens may still be loading, which is no answer's cost.
        thread::sleep(self.warm_up / 2);
        let mut bench = Command::new(env!("CARGO_BIN_EXE_herd"));
        bench.args(["bench", "--json", "--protocol", rival.protocol]);
        bench.args(["--connect", &format!("127.0.0.1:{port}")]);
        bench.args(["--pid", &server.child.id().to_string()]);
        bench.args(["--seconds", &self.measure.as_secs_f64().to_string()]);
        bench.args(["--warm-up", &self.warm_up.as_secs_f64().to_string()]);
        bench.args(load.flags.split(' '));
        let output = pinned(1, bench).stdin(Stdio::null()).output();
        let output = output.map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }
}

/// One figure on the way, so that whoever waits sees that it goes on.
fn told(figures: &Figures) -> String {
    match (figures.resident_bytes_per_idle, figures.cpu_us_per_answer) {
        (Some(bytes), _) => format!("{bytes:.0} bytes a connection"),
        (_, Some(us)) => format!("{:.0}/s, {us:.2} µs of CPU", figures.answers_per_second),
        (None, None) => format!("{:.0}/s", figures.answers_per_second),
    }
}

/// A server that is killed when it goes.
struct Running {
    child: Child,
}

impl Running {
    fn start(rival: &Rival, port: u16) -> Result<Running, String> {
        let mut command = pinned(0, rival.command(port));
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = child.spawn().map_err(|error| error.to_string())?;
        let mut running = Running { child };
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(running);
            }
            if let Ok(Some(status)) = running.child.try_wait() {
                let mut complaint = String::new();
                if let Some(stderr) = &mut running.child.stderr {
                    let _ = stderr.read_to_string(&mut complaint);
                }
                return Err(format!("ended with {status}: {}", complaint.trim()));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("does not listen after {START_MAX:?}"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have died already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody else may take it before the server does; then this measurement fails.
fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it is bound").port()
}
