//! The asyncio twin as a process of a test. Apart from the servers of ours, because it needs a
//! Python that a machine may lack, and has neither an admin socket nor a port for peers.

use std::process::{Command, Stdio};

use super::Herd;

/// The twin's source, from the root of the repository.
pub const SOURCE: &str = "src/teach/twin/herd_twin.py";

/// Python's standard library has all that the twin needs, from this version on.
pub fn have_python() -> bool {
    let look = "import sys; sys.exit(sys.version_info < (3, 11))";
    let mut python = Command::new("python3");
    python.args(["-c", look]).stdout(Stdio::null()).stderr(Stdio::null());
    python.status().is_ok_and(|status| status.success())
}

impl Herd {
    /// Starts the twin of a server of a preset, and waits until it listens.
    pub fn start_twin(&mut self, name: &str, flags: &[&str]) {
        self.start_source(SOURCE, name, flags);
    }

    /// The same, watched by `traced.py`.
    pub fn start_traced_twin(&mut self, name: &str, flags: &[&str]) {
        self.start_source("src/teach/twin/traced.py", name, flags);
    }

    fn start_source(&mut self, source: &str, name: &str, flags: &[&str]) {
        let mut command = Command::new("python3");
        self.dress(&mut command, name);
        // Whatever proxy the machine has must not come between the twin and a service of a test.
        command.env("no_proxy", "*").arg(format!("{}/{source}", env!("CARGO_MANIFEST_DIR")));
        command.arg(name).args(self.which(name)).args(flags);
        self.launch_other(name, command);
    }

    /// A preset all of whose servers are twins.
    pub fn of_twins(year: &str) -> Herd {
        let mut herd = Herd::of_year(year);
        for name in herd.names.clone() {
            herd.start_twin(&name, &[]);
        }
        herd
    }
}
