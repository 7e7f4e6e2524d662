//! This machine: which programs it has, its cores, and servers that run on them. Apart from the
//! loads, and from what is compared: rivals and herds are started and stopped alike.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

/// A Java that compiles itself on a busy core may take its time.
const START_MAX: Duration = Duration::from_secs(30);
/// How often it is looked whether somebody listens: the error of the time that a start takes.
const LOOK_EVERY: Duration = Duration::from_millis(1);

pub fn cores() -> usize {
    thread::available_parallelism().map_or(1, usize::from)
}

/// A command on one core of its own, where the system can do that.
pub fn pinned(core: usize, command: Command) -> Command {
    if core >= cores() || cores() < 2 || said("taskset", &["--version"]).is_none() {
        return command;
    }
    let mut taskset = Command::new("taskset");
    taskset.arg("-c").arg(core.to_string()).arg(command.get_program()).args(command.get_args());
    if let Some(dir) = command.get_current_dir() {
        taskset.current_dir(dir);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => taskset.env(name, value),
            None => taskset.env_remove(name),
        };
    }
    taskset
}

/// The herd's program, without the environment of the person who runs the bench.
pub fn herd() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    // They would be 200 and 300 above that of clients, which may be other programs'.
    command.env("HERD_WEB", "off").env("HERD_OPERATORS", "off");
    command
}

/// The first line that a program says, on whichever stream, if it is there and content.
pub fn said(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).stdin(Stdio::null()).output().ok()?;
    let text = if output.stdout.is_empty() { output.stderr } else { output.stdout };
    let text = String::from_utf8_lossy(&text).into_owned();
    output.status.success().then(|| text.lines().next().unwrap_or_default().trim().to_owned())
}

/// When and where: figures without these mean nothing.
pub fn description() -> String {
    let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("? unknown");
    format!(
        "{}; {} cores, {}; {}",
        said("date", &["+%Y-%m-%d"]).unwrap_or_default(),
        cores(),
        cpu.trim_start_matches([' ', '\t', ':']),
        said("uname", &["-sr"]).unwrap_or_default(),
    )
}

/// Ports that nobody has. Somebody else may take one before the server does; then the measurement
/// fails.
pub fn free_ports(count: usize) -> Vec<u16> {
    let bind = |_| TcpListener::bind("127.0.0.1:0").expect("a free port");
    // All of them at a time, so that no two are the same.
    let listeners: Vec<_> = (0..count).map(bind).collect();
    listeners.iter().map(|it| it.local_addr().expect("it is bound").port()).collect()
}

/// A server that is killed when it goes.
pub struct Running {
    child: Child,
}

impl Running {
    /// Runs `command` until it listens on `port` of 127.0.0.1.
    pub fn start(mut command: Command, port: u16) -> Result<Running, String> {
        let began = Instant::now();
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let child = child.spawn().map_err(|error| error.to_string())?;
        let mut running = Running { child };
        while began.elapsed() < START_MAX {
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
            thread::sleep(LOOK_EVERY);
        }
        Err(format!("does not listen after {START_MAX:?}"))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have died already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The middle one, or what is between the two in the middle; `None` of nothing.
pub fn median(mut found: Vec<f64>) -> Option<f64> {
    found.sort_by(f64::total_cmp);
    let middle = found.len() / 2;
    match found.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(found[middle]),
        _ => Some(f64::midpoint(found[middle - 1], found[middle])),
    }
}

/// The least and the most behind a median, in brackets; nothing if there was only one.
pub fn spread(found: &[f64], spoken: impl Fn(f64) -> String) -> String {
    let least = found.iter().copied().fold(f64::INFINITY, f64::min);
    let most = found.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    match found.len() {
        0 | 1 => String::new(),
        _ => format!(" [{}–{}]", spoken(least), spoken(most)),
    }
}

/// 2.05 M, 152 k, 98.
pub fn short(number: f64) -> String {
    match number {
        _ if number >= 999_500.0 => format!("{:.2} M", number / 1e6),
        _ if number >= 9_995.0 => format!("{:.0} k", number / 1e3),
        _ if number >= 999.5 => format!("{:.1} k", number / 1e3),
        _ => format!("{number:.0}"),
    }
}

pub fn fine(number: f64) -> String {
    if number < 9.995 { format!("{number:.2}") } else { format!("{number:.1}") }
}
