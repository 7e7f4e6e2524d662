//! Servers that are joined to each other, each in a process of its own, as one measurement needs
//! them. Apart from what is measured.

use std::collections::BTreeSet;
use std::fs;
use std::process::Stdio;
use std::thread;
use std::time::{Duration, Instant};

use herd::status::{PeerState, Status};
use tempfile::TempDir;

use crate::machine::{self, Running, cores, free_ports, pinned};

/// A busy machine may take its time.
const JOIN_MAX: Duration = Duration::from_secs(30);

/// A herd to be.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    pub servers: Vec<String>,
    /// Peers that somebody else will be.
    pub strangers: Vec<String>,
    /// The first-named dials.
    pub links: Vec<(String, String)>,
    pub has_key: bool,
    /// Links are by TLS, which needs the key.
    pub is_by_tls: bool,
    /// Every line in and out is written to a file.
    pub is_logged: bool,
    /// So long each server waits before it looks what has come (`limits.gather_us`).
    pub gather_us: u64,
    /// The first server has a core of its own, and the others have what neither it nor the load
    /// has. Otherwise all go wherever the system likes.
    pub is_pinned: bool,
}

impl Plan {
    /// `fronts` are all joined to each other, and to the first of them so many peers.
    pub fn of(fronts: usize, peers: usize) -> Plan {
        let name = |kind: &str, number: usize| format!("{kind}{number}");
        let mut plan = Plan::default();
        for front in 0..fronts {
            let before = (0..front).map(|other| (name("Front", front), name("Front", other)));
            plan.links.extend(before);
            plan.servers.push(name("Front", front));
        }
        for peer in 0..peers {
            plan.links.push((name("Peer", peer), name("Front", 0)));
            plan.servers.push(name("Peer", peer));
        }
        plan
    }
}

/// Gone when dropped, with everything that it wrote.
pub struct Herd {
    /// In the order of the plan.
    pub servers: Vec<Server>,
    strangers: BTreeSet<String>,
    dir: TempDir,
}

pub struct Server {
    pub name: String,
    pub clients: u16,
    pub peers: u16,
    running: Running,
}

impl Server {
    pub fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// The processor time so far of its first thread, which is its loop; of Linux alone.
    pub fn loop_time(&self) -> Result<Duration, String> {
        let path = format!("/proc/{pid}/task/{pid}/schedstat", pid = self.pid());
        let text = fs::read_to_string(&path).map_err(|error| format!("{path}: {error}"))?;
        let nanos = text.split(' ').next().and_then(|nanos| nanos.parse().ok());
        nanos.map(Duration::from_nanos).ok_or_else(|| format!("{path} is not as it should be"))
    }
}

impl Herd {
    /// All servers have found each other when it returns.
    pub fn start(plan: &Plan) -> Result<Herd, String> {
        let dir = tempfile::tempdir().map_err(|error| error.to_string())?;
        let mut herd =
            Herd { servers: Vec::new(), strangers: plan.strangers.iter().cloned().collect(), dir };
        let ports = free_ports(2 * plan.servers.len());
        herd.write_files(plan, &ports)?;
        for (number, name) in plan.servers.iter().enumerate() {
            let [clients, peers] = [ports[2 * number], ports[2 * number + 1]];
            let mut command = machine::herd();
            command.current_dir(herd.dir.path()).args(["serve", name, "--config", "herd.toml"]);
            command.args(["--log-level", if plan.is_logged { "traffic" } else { "off" }]);
            command.args(["--keep", "off", "--places", "file", "--places-file", "places.csv"]);
            let command = if plan.is_pinned { pinned(core_of(number), command) } else { command };
            let running =
                Running::start(command, clients).map_err(|why| format!("{name}: {why}"))?;
            herd.servers.push(Server { name: name.clone(), clients, peers, running });
        }
        herd.wait_until_joined()?;
        Ok(herd)
    }

    fn write_files(&self, plan: &Plan, ports: &[u16]) -> Result<(), String> {
        let quoted = |(one, other): &(String, String)| format!("[\"{one}\", \"{other}\"]");
        let links: Vec<_> = plan.links.iter().map(quoted).collect();
        let mut toml = format!("herd = \"herds\"\nlinks = [{}]\n", links.join(", "));
        if plan.has_key {
            let mut keygen = machine::herd();
            let made = keygen.current_dir(self.dir.path()).arg("keygen").stdout(Stdio::null());
            let made = made.status().map_err(|error| error.to_string())?;
            if !made.success() {
                return Err("herd keygen has failed".to_owned());
            }
            toml += "key_file = \"herd.key\"\n";
        }
        // The usual ports of the others could be somebody's, for these are drawn by the system.
        let server = |name, clients, peers| {
            format!(
                "[[server]]\nname = \"{name}\"\nclients = \"127.0.0.1:{clients}\"\n\
                 peers = \"127.0.0.1:{peers}\"\n\
                 web = \"off\"\noperators = \"off\"\nmqtt = \"off\"\n"
            )
        };
        for (name, ports) in plan.servers.iter().zip(ports.chunks(2)) {
            toml += &server(name, ports[0], ports[1]);
        }
        // Nobody dials them: they do.
        for (number, name) in plan.strangers.iter().enumerate() {
            toml += &server(name, 2 * number as u16 + 1, 2 * number as u16 + 2);
        }
        if plan.gather_us > 0 {
            toml += &format!("[limits]\ngather_us = {}\n", plan.gather_us);
        }
        if plan.is_by_tls {
            toml += "[tls]\npeers = \"require\"\n";
        }
        let write = |name, text: &str| fs::write(self.dir.path().join(name), text);
        write("herd.toml", &toml)
            .and_then(|()| write("places.csv", "name,lat,lon\nSomewhere,0,0\n"))
            .map_err(|error| error.to_string())
    }

    fn wait_until_joined(&self) -> Result<(), String> {
        let deadline = Instant::now() + JOIN_MAX;
        while Instant::now() < deadline {
            let is_joined = |status: Status| {
                status
                    .peers
                    .iter()
                    .all(|peer| peer.state == PeerState::Up || self.strangers.contains(&peer.name))
            };
            if self.status()?.into_iter().all(is_joined) {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Err(format!("the servers have not found each other in {JOIN_MAX:?}"))
    }

    /// What all of them say of themselves, in the order of the plan.
    pub fn status(&self) -> Result<Vec<Status>, String> {
        let mut command = machine::herd();
        command.current_dir(self.dir.path()).args(["status", "--json"]);
        command.args(self.servers.iter().map(|server| &server.name));
        let output = command.stdin(Stdio::null()).output().map_err(|error| error.to_string())?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
        }
        serde_json::from_slice(&output.stdout).map_err(|error| error.to_string())
    }
}

/// The first server has core 0 and the load core 1. The others have cores of their own, or share
/// that of the load: then it is the load that they slow down.
fn core_of(server: usize) -> usize {
    match server {
        0 => 0,
        _ if server + 1 < cores() => server + 1,
        _ => 1,
    }
}
