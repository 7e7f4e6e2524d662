//! The servers and the loads: processes of this program, which end with the one that holds them.

use std::fmt::Write as _;
use std::fs::{self, DirBuilder};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use herd::run_dir::RunDir;
use herd::status::{PeerState, Status};
use herd_load::{CLIENTS_MAX, Voice, resident_bytes};

use super::super::exit::{Exit, Failure};
use super::super::query::{Sight, look_at_all};
use super::Plan;

/// What a load says when its connections are open.
pub const READY: &str = "ready";

/// Two cores have 55 loops to turn: each turn is to do as much as it may.
const GATHER_US: u64 = 10_000;
/// What the servers know of places: the atlas would take memory from the connections.
const PLACES: &str = "id,name,lat,lon\nhere,Here,0,0\n";

/// A herd of its own.
pub struct Servers {
    dir: PathBuf,
    run_dir: RunDir,
    names: Vec<String>,
    ports: Vec<Ports>,
    children: Vec<Child>,
}

/// Where a server listens.
struct Ports {
    clients: u16,
    peers: u16,
}

impl Servers {
    pub fn start(count: usize) -> Result<Servers, Failure> {
        let dir = std::env::temp_dir().join(format!("herd-million-{}", std::process::id()));
        let names = Vec::from_iter((0..count).map(|number| format!("m{number:03}")));
        let run_dir = RunDir::new(dir.join("run"));
        let ports = free_ports(count).map_err(|error| cannot_start("server", &error))?;
        let mut servers = Servers { dir, run_dir, names, ports, children: Vec::new() };
        servers.write_files().map_err(|error| {
            let message = format!(
                "{} cannot be written ({error}): name another place with TMPDIR",
                servers.dir.display()
            );
            Failure::new(Exit::CannotCreate, message)
        })?;
        for number in 0..count {
            let child = servers.launch(number).map_err(|error| cannot_start("server", &error))?;
            servers.children.push(child);
        }
        Ok(servers)
    }

    fn write_files(&self) -> io::Result<()> {
        DirBuilder::new().mode(0o700).create(&self.dir)?;
        fs::write(self.dir.join("places.csv"), PLACES)?;
        fs::write(self.dir.join("herd.toml"), herd_toml(&self.dir, &self.names, &self.ports))
    }

    fn launch(&self, number: usize) -> io::Result<Child> {
        let name = &self.names[number];
        let said = fs::File::create(said(&self.dir, name))?;
        let mut command = this_program()?;
        command.args(["serve", name, "--config"]).arg(self.dir.join("herd.toml"));
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said).spawn()
    }

    /// Where clients find server `number`.
    pub fn port(&self, number: usize) -> u16 {
        self.ports[number].clients
    }

    fn statuses(&self) -> Vec<Status> {
        let sights = look_at_all(&self.run_dir, &self.names, &[]);
        let status = |sight| match sight {
            Sight::Up(status) => Some(*status),
            _ => None,
        };
        sights.into_iter().filter_map(status).collect()
    }

    /// Whether each has found all its peers.
    pub fn are_linked(&self) -> bool {
        let statuses = self.statuses();
        let is_linked =
            |status: &Status| status.peers.iter().all(|peer| matches!(peer.state, PeerState::Up));
        statuses.len() == self.names.len() && statuses.iter().all(is_linked)
    }

    /// Whether each knows so many clients, and all know the same of them.
    pub fn agree_on(&self, clients: u64) -> bool {
        let statuses = self.statuses();
        statuses.len() == self.names.len()
            && statuses.iter().all(|status| status.clients_known == clients)
            && statuses.windows(2).all(|pair| pair[0].digest == pair[1].digest)
    }

    pub fn resident_bytes(&self) -> Option<u64> {
        resident_bytes(&Vec::from_iter(self.children.iter().map(Child::id)))
    }

    /// Why the first of them that has ended did.
    pub fn failed(&mut self) -> Option<String> {
        let ended = |child: &mut Child| matches!(child.try_wait(), Ok(Some(_)));
        let number = self.children.iter_mut().position(ended)?;
        let name = &self.names[number];
        let text = fs::read_to_string(said(&self.dir, name)).unwrap_or_default();
        let last = text.lines().last().unwrap_or("nothing");
        Some(format!("server {name} has ended; it said: {last}"))
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        // There is nothing to keep, and nobody to be told.
        self.children.iter_mut().for_each(end);
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Where a server's own words go.
fn said(dir: &Path, name: &str) -> PathBuf {
    dir.join(format!("{name}.out"))
}

/// A ring, and chords to the other side of it: `super::LINKS` for each server, and every server
/// within a few steps.
fn links(servers: usize) -> Vec<(usize, usize)> {
    let ring = (0..servers).map(|number| (number, (number + 1) % servers));
    let half = servers / 2;
    let chords = (0..half).map(|number| (number, number + half));
    let mut links = Vec::new();
    for (one, other) in ring.chain(chords) {
        let link = (one.min(other), one.max(other));
        if !links.contains(&link) {
            links.push(link);
        }
    }
    links
}

/// Ports that nobody has, of this many servers. All are held until all are known, so none comes
/// twice.
fn free_ports(servers: usize) -> io::Result<Vec<Ports>> {
    let held = (0..2 * servers).map(|_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)));
    let held = held.collect::<io::Result<Vec<_>>>()?;
    let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
    let ports =
        |pair: &[TcpListener]| Ok(Ports { clients: port(&pair[0])?, peers: port(&pair[1])? });
    held.chunks_exact(2).map(ports).collect()
}

fn herd_toml(dir: &Path, names: &[String], ports: &[Ports]) -> String {
    let shown = |name: &str| format!("{:?}", dir.join(name).display().to_string());
    let links = links(names.len()).into_iter();
    let links = Vec::from_iter(
        links.map(|(one, other)| format!("[\"{}\", \"{}\"]", names[one], names[other])),
    );
    let mut text = format!(
        "herd = \"million\"\nlinks = [{}]\nrun_dir = {}\n\n[log]\ndir = {}\nlevel = \"events\"\n\n\
         [journal]\nkeep = \"off\"\n\n\
         [places]\nsource = \"file\"\nfile = {}\n\n[limits]\nidle = \"1 d\"\nclients_max = {}\n\
         gather_us = {GATHER_US}\n",
        links.join(", "),
        shown("run"),
        shown("log"),
        shown("places.csv"),
        // A full server looks for each client before it takes a report.
        2 * CLIENTS_MAX,
    );
    for (name, Ports { clients, peers }) in names.iter().zip(ports) {
        write!(
            text,
            "\n[[server]]\nname = \"{name}\"\nclients = \"127.0.0.1:{clients}\"\npeers = \
             \"127.0.0.1:{peers}\"\nweb = \"off\"\nmqtt = \"off\"\noperators = \"off\"\n"
        )
        .expect("invariant: a text can always be written to");
    }
    text
}

/// A load on one server.
pub struct Load {
    child: Child,
    cue: Option<ChildStdin>,
    lines: Receiver<String>,
    said: Option<String>,
    is_ready: bool,
}

impl Load {
    pub fn start(port: u16, clients: Range<u64>, rate: u64, plan: &Plan) -> Result<Load, Failure> {
        let count = (clients.end - clients.start).to_string();
        let words = [
            ["--connect".to_owned(), format!("127.0.0.1:{port}")],
            ["--connections".to_owned(), count.clone()],
            ["--clients".to_owned(), count],
            ["--clients-from".to_owned(), clients.start.to_string()],
            ["--rate".to_owned(), rate.to_string()],
            ["--seconds".to_owned(), plan.seconds.as_secs_f64().to_string()],
        ];
        let begun = this_program().and_then(|mut command| {
            command.args(["bench", "--on-cue", "--asleep", "--warm-up", "0"]);
            command.args(words.iter().flatten());
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()
        });
        let mut child = begun.map_err(|error| cannot_start("load", &error))?;
        let out = child.stdout.take().expect("invariant: it is a pipe");
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        let cue = child.stdin.take();
        Ok(Load { child, cue, lines, said: None, is_ready: false })
    }

    /// Whether all its connections are open.
    pub fn is_ready(&mut self) -> bool {
        self.is_ready |= self.lines.try_recv().is_ok_and(|line| line == READY);
        self.is_ready
    }

    /// It begins to report.
    pub fn cue(&mut self) -> Result<(), Failure> {
        let cue = self.cue.as_mut().expect("invariant: it is a pipe until it is dropped");
        cue.write_all(b"go\n").map_err(|error| cannot_start("load", &error))
    }

    /// Whether it has said what it has measured.
    pub fn is_done(&mut self) -> bool {
        if self.said.is_none() {
            self.said = self.lines.try_recv().ok();
        }
        self.said.is_some()
    }

    pub fn voice(&mut self) -> Result<Voice, Failure> {
        serde_json::from_str(self.said.as_deref().unwrap_or_default()).map_err(|error| {
            Failure::new(Exit::Failed, format!("a load says what nobody understands: {error}"))
        })
    }

    /// Why it has ended, if it has.
    pub fn failed(&mut self) -> Option<String> {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            return None;
        }
        let errors = self.child.stderr.take().map(io::read_to_string);
        let text = errors.and_then(Result::ok).unwrap_or_default();
        Some(format!("a load has ended: {}", text.lines().last().unwrap_or("nothing was said")))
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        end(&mut self.child);
    }
}

fn end(child: &mut Child) {
    // It may have ended before.
    let _ = child.kill();
    let _ = child.wait();
}

/// Without the settings of its environment.
fn this_program() -> io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HERD_") {
            command.env_remove(name);
        }
    }
    Ok(command)
}

fn cannot_start(what: &str, error: &io::Error) -> Failure {
    Failure::new(Exit::System, format!("a {what} cannot be started: {error}"))
}

#[cfg(test)]
mod tests {
    use super::super::LINKS;
    use super::*;

    #[test]
    fn every_server_has_its_links_and_none_twice() {
        for servers in [2, 3, 4, 5, 54, 55, 100] {
            let links = links(servers);
            let degree = |number| {
                links.iter().filter(|(one, other)| *one == number || *other == number).count()
            };
            assert!((0..servers).all(|number| (1..=LINKS).contains(&degree(number))), "{links:?}");
            assert!(links.iter().all(|(one, other)| one < other));
            if servers > LINKS {
                let many = (0..servers).filter(|number| degree(*number) == LINKS).count();
                assert!(many >= servers - 1, "{servers}: {many}");
            }
        }
    }
}
