//! `herd bench` as a program beside the server: it is started, and later tells what it found. Apart
//! from who is loaded and why.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

/// What `herd bench` has told.
pub struct Figures(Value);

impl Figures {
    /// A number of its JSON, by its path, such as `/latency_us/p50`; `None` if it is not known.
    pub fn number(&self, path: &str) -> Option<f64> {
        self.0.pointer(path)?.as_f64()
    }
}

/// How long to load, before anything is measured and then.
#[derive(Clone, Copy, Debug)]
pub struct Span {
    pub warm_up: Duration,
    pub measure: Duration,
}

/// A load under way.
pub struct Loading {
    child: Child,
}

impl Loading {
    /// `bench` is the program, on whichever core; `flags` have blanks between, as on a terminal.
    pub fn begin(
        mut bench: Command,
        (port, pids): (u16, &[u32]),
        flags: &str,
        span: Span,
    ) -> Result<Loading, String> {
        let pids: Vec<_> = pids.iter().map(u32::to_string).collect();
        bench.args(["bench", "--json", "--connect", &format!("127.0.0.1:{port}")]);
        bench.args(["--pid", &pids.join(",")]);
        bench.args(["--seconds", &span.measure.as_secs_f64().to_string()]);
        bench.args(["--warm-up", &span.warm_up.as_secs_f64().to_string()]);
        bench.args(flags.split_whitespace());
        let bench = bench.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        bench.spawn().map(|child| Loading { child }).map_err(|error| error.to_string())
    }

    /// Waits until it is over. A load that was answered wrongly has failed.
    pub fn end(self) -> Result<Figures, String> {
        let output = self.child.wait_with_output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        serde_json::from_slice(&output.stdout).map(Figures).map_err(|error| error.to_string())
    }
}
