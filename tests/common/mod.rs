//! Real servers for the rings that speak TCP: processes with directories and ports of their own,
//! which end with their test. Apart because all of those rings need them; it knows how servers are
//! started and asked, and nothing of what they must answer.

// Each ring is a crate of its own and uses its part of this.
#![allow(dead_code)]

pub mod client;
pub mod fake_places;
pub mod openmetrics;
pub mod operator;
pub mod papers;
pub mod proxy;
pub mod rules;
pub mod transcript;
pub mod transcripts;
pub mod twin;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use std::{fs, thread};

use herd::config::presets;
use herd::status::{PeerState, QUESTION, Status};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

pub use client::Client;
use proxy::Proxy;

/// How long anything may take, however busy the machine is. Only a test that fails waits so long:
/// among planted bugs all do, and so not for long.
pub const TIMEOUT: Duration =
    Duration::from_secs(if option_env!("PLANTED_BUGS").is_some() { 20 } else { 120 });

/// Looks again and again until there is something to see, and gives it.
pub fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        if let Some(seen) = look() {
            return seen;
        }
        assert!(Instant::now() < deadline, "waited in vain until {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    await_some(what, || holds().then_some(()));
}

/// Says that this machine cannot run a test. Written past the test harness, which would keep it.
pub fn skip(why: &str) {
    let _ = writeln!(std::io::stderr(), "\n==== SKIPPED: {why}");
}

/// What the clock says, in nanoseconds since 1970.
pub fn posix_ns() -> i128 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

/// Client ports, and above them ports for peers, for the web, for operators and for MQTT.
///
/// The test that listens on the last of each two hundred and fifty has claimed them all, in
/// whatever process: so tests of several binaries, and of several checkouts, may run at the same
/// time.
struct Ports {
    base: u16,
    _claims: [TcpListener; 2],
}

impl Ports {
    /// Above the default herd's, and below the ports of outgoing connections.
    const FIRST: u16 = 13_000;
    const WIDTH: u16 = 500;
    const CLAIMS: u16 = 25;
    /// More servers than any herd of the tests has.
    const USED: u16 = 10;

    fn claim() -> Ports {
        await_some("there are free ports", || (0..Self::CLAIMS).find_map(Self::try_claim))
    }

    fn try_claim(number: u16) -> Option<Ports> {
        let base = Self::FIRST + number * Self::WIDTH;
        let listen = |port| TcpListener::bind(("127.0.0.1", port)).ok();
        let _claims = [listen(base + Self::WIDTH / 2 - 1)?, listen(base + Self::WIDTH - 1)?];
        for port in base..base + Self::USED {
            for door in [port, port + 100, port + 200, port + 300, port + 400] {
                listen(door)?;
            }
        }
        Some(Ports { base, _claims })
    }
}

/// Servers of one herd, each a process; they are killed when this goes.
pub struct Herd {
    pub names: Vec<String>,
    /// The first-named side dials.
    pub links: Vec<(String, String)>,
    dir: TempDir,
    ports: Ports,
    /// Flags that name the herd; `{}` in them is the server's name.
    which: Vec<String>,
    /// Whether its herd.toml says what is kept. Else nothing is: what a server knows after a start,
    /// its peers have told it.
    says_what_is_kept: bool,
    running: BTreeMap<String, Child>,
    /// Those of `running` that are of another make: they have no admin socket.
    others: BTreeSet<String>,
}

/// Flags for servers that are never asked for places: loading none saves half a second of a core
/// for each. A question all the same gets the AT line and `UNKNOWN_ERROR`.
pub const PLACELESS: &[&str] = &["--places", "google-legacy", "--places-url", "http://127.0.0.1:9"];

impl Herd {
    /// A preset. Nothing runs yet.
    pub fn of_year(year: &str) -> Herd {
        let preset = presets::of_year(year).unwrap();
        let ports = Ports::claim();
        let base = ports.base.to_string();
        let which = ["--preset", year, "--base-port", &base].map(str::to_owned).to_vec();
        Herd::new(ports, which, &preset.servers, preset.links)
    }

    /// Servers of a herd.toml that ends with `sections`. Nothing runs yet.
    pub fn of_file(names: &[&str], links: &[(&str, &str)], sections: &str) -> Herd {
        let ports = Ports::claim();
        let which = ["--config", "herd.toml"].map(str::to_owned).to_vec();
        let mut herd = Herd::new(ports, which, names, links);
        herd.says_what_is_kept = sections.contains("[journal]");
        fs::write(herd.path("herd.toml"), herd.file(|_| None) + sections).unwrap();
        herd
    }

    /// The same with a proxy on every link, in the order of the links. Each server has its own
    /// herd.toml, in which the peers that it dials have the proxies' addresses. Nothing runs yet.
    pub fn with_proxies(
        names: &[&str],
        links: &[(&str, &str)],
        sections: &str,
    ) -> (Herd, Vec<Proxy>) {
        let which = ["--config", "{}.toml"].map(str::to_owned).to_vec();
        let mut herd = Herd::new(Ports::claim(), which, names, links);
        herd.says_what_is_kept = sections.contains("[journal]");
        let proxies: Vec<_> =
            links.iter().map(|(_, accepts)| Proxy::before(herd.port(accepts) + 100)).collect();
        for name in names {
            let peer_port = |other: &str| {
                let link = links.iter().position(|link| *link == (name, other))?;
                Some(proxies[link].port())
            };
            let text = herd.file(peer_port) + sections;
            fs::write(herd.path(&format!("{name}.toml")), text).unwrap();
        }
        (herd, proxies)
    }

    /// A herd.toml. `peer_port` is where a server's peers find it, if not in its usual place.
    fn file(&self, peer_port: impl Fn(&str) -> Option<u16>) -> String {
        let listed = self.links.iter().map(|(dials, accepts)| format!("[{dials:?}, {accepts:?}]"));
        let listed: Vec<_> = listed.collect();
        let mut text = format!("herd = \"tests\"\nlinks = [{}]\n", listed.join(", "));
        for name in &self.names {
            let clients = format!("127.0.0.1:{}", self.port(name));
            text.push_str(&format!("[[server]]\nname = {name:?}\nclients = {clients:?}\n"));
            if let Some(port) = peer_port(name) {
                text.push_str(&format!("peers = \"127.0.0.1:{port}\"\n"));
            }
        }
        text
    }

    /// One server, Hill, which runs.
    pub fn of_one(sections: &str, flags: &[&str]) -> Herd {
        let mut herd = Herd::of_file(&["Hill"], &[], sections);
        herd.start("Hill", flags);
        herd
    }

    /// A preset whose servers all run and are joined.
    pub fn running(year: &str, flags: &[&str]) -> Herd {
        let mut herd = Herd::of_year(year);
        herd.start_all(flags);
        herd
    }

    fn new(ports: Ports, which: Vec<String>, names: &[&str], links: &[(&str, &str)]) -> Herd {
        let own = |&(dials, accepts): &(&str, &str)| (dials.to_owned(), accepts.to_owned());
        Herd {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            links: links.iter().map(own).collect(),
            dir: tempfile::tempdir().unwrap(),
            ports,
            which,
            says_what_is_kept: false,
            running: BTreeMap::new(),
            others: BTreeSet::new(),
        }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Makes a key file. Each digit is a key, the newest first.
    pub fn write_keys(&self, file: &str, digits: &str) {
        let keys = digits.chars().map(|digit| digit.to_string().repeat(64) + "\n");
        fs::write(self.path(file), keys.collect::<String>()).unwrap();
        fs::set_permissions(self.path(file), fs::Permissions::from_mode(0o600)).unwrap();
    }

    /// Where clients find a server.
    pub fn port(&self, name: &str) -> u16 {
        let position = self.names.iter().position(|other| other == name).unwrap();
        self.ports.base + position as u16
    }

    /// A port of this herd's that nobody uses.
    pub fn spare_port(&self) -> u16 {
        self.ports.base + Ports::USED - 1
    }

    pub fn connect(&self, name: &str) -> Client {
        Client::connect(self.port(name))
    }

    /// Where phones and browsers find a server.
    pub fn web_port(&self, name: &str) -> u16 {
        self.port(name) + 200
    }

    /// Where operators find a server.
    pub fn operators_port(&self, name: &str) -> u16 {
        self.port(name) + 300
    }

    /// Where clients that speak MQTT find a server.
    pub fn mqtt_port(&self, name: &str) -> u16 {
        self.port(name) + 400
    }

    pub fn connect_peer(&self, name: &str) -> Client {
        Client::connect(self.port(name) + 100)
    }

    // ---- starting and ending ----

    /// `herd serve`, without the environment of the person who runs the tests.
    pub fn command(&self, name: &str, flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        self.dress(&mut command, name);
        command.args(["serve", name]).args(self.which(name)).args(flags);
        command
    }

    /// `herd serve`, started by a shell that first does something else.
    pub fn command_after(&self, preparation: &str, name: &str, flags: &[&str]) -> Command {
        let mut command = Command::new("sh");
        self.dress(&mut command, name);
        command.arg("-c").arg(format!("{preparation}; exec \"$0\" \"$@\""));
        command.arg(env!("CARGO_BIN_EXE_herd"));
        command.args(["serve", name]).args(self.which(name)).args(flags);
        command
    }

    fn which(&self, name: &str) -> impl Iterator<Item = String> {
        self.which.iter().map(move |flag| flag.replace("{}", name))
    }

    fn dress(&self, command: &mut Command, name: &str) {
        for (variable, _) in std::env::vars().filter(|(variable, _)| variable.starts_with("HERD_"))
        {
            command.env_remove(variable);
        }
        if !self.says_what_is_kept {
            command.env("HERD_KEEP", "off");
        }
        let path = self.path(&format!("{name}.err"));
        let complaints = fs::File::options().create(true).append(true).open(path).unwrap();
        command.current_dir(self.dir.path()).stdin(Stdio::null());
        command.stdout(Stdio::null()).stderr(complaints);
    }

    pub fn start(&mut self, name: &str, flags: &[&str]) {
        self.launch(name, self.command(name, flags));
    }

    /// Starts a server and waits until it answers and knows its places.
    pub fn launch(&mut self, name: &str, mut command: Command) {
        let mut child = command.spawn().unwrap();
        until("a server answers", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{name} has ended with {status}: {}", self.complaints(name));
            }
            self.try_status(name).is_some_and(|status| !status.places.contains("loading"))
        });
        let before = self.running.insert(name.to_owned(), child);
        assert!(before.is_none(), "{name} runs already");
    }

    /// Starts a server of another make and waits until it listens.
    fn launch_other(&mut self, name: &str, mut command: Command) {
        let mut child = command.spawn().unwrap();
        until("a server of another make listens", || {
            if let Some(status) = child.try_wait().unwrap() {
                panic!("{name} has ended with {status}: {}", self.complaints(name));
            }
            TcpStream::connect(("127.0.0.1", self.port(name))).is_ok()
        });
        self.running.insert(name.to_owned(), child);
        self.others.insert(name.to_owned());
    }

    /// Starts all servers that do not run and waits until they are joined.
    pub fn start_all(&mut self, flags: &[&str]) {
        let missing = self.names.iter().filter(|name| !self.running.contains_key(*name));
        let missing: Vec<String> = missing.cloned().collect();
        for name in &missing {
            let child = self.command(name, flags).spawn().unwrap();
            self.running.insert(name.clone(), child);
        }
        for name in &missing {
            until("a server knows its places", || {
                self.try_status(name).is_some_and(|status| !status.places.contains("loading"))
            });
        }
        self.until_joined();
    }

    /// kill -9.
    pub fn kill(&mut self, name: &str) {
        let mut child = self.running.remove(name).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    pub fn pid(&self, name: &str) -> u32 {
        self.running[name].id()
    }

    pub fn signal(&self, name: &str, signal: Signal) {
        let pid = Pid::from_child(&self.running[name]);
        kill_process(pid, signal).unwrap();
    }

    /// Waits until a server has ended by itself.
    pub fn ended(&mut self, name: &str) -> ExitStatus {
        let mut child = self.running.remove(name).unwrap();
        await_some("a server has ended", || child.try_wait().unwrap())
    }

    // ---- asking ----

    pub fn status(&self, name: &str) -> Status {
        self.try_status(name).unwrap()
    }

    fn try_status(&self, name: &str) -> Option<Status> {
        let mut socket = UnixStream::connect(self.path(&format!("run/{name}.sock"))).ok()?;
        socket.set_read_timeout(Some(TIMEOUT)).unwrap();
        socket.write_all(QUESTION.as_bytes()).ok()?;
        let mut answer = String::new();
        socket.read_to_string(&mut answer).ok()?;
        serde_json::from_str(&answer).ok()
    }

    /// Waits until every server that runs is joined with each of its peers that run.
    pub fn until_joined(&self) {
        for name in self.running.keys().filter(|name| !self.others.contains(*name)) {
            until("all servers are joined", || {
                self.status(name).peers.iter().all(|peer| {
                    let runs = self.running.contains_key(&peer.name);
                    (peer.state == PeerState::Up) == runs || peer.state == PeerState::Plain
                })
            });
        }
    }

    /// Reports a position and gives the answer, an AT line.
    pub fn report(&self, name: &str, client: &str, position: &str, time: &str) -> String {
        let line = self.connect(name).ask(&format!("IAMAT {client} {position} {time}"));
        assert!(line.starts_with(&format!("AT {name} ")), "{line}");
        line
    }

    /// The AT line that a server holds for a client.
    pub fn held(&self, name: &str, client: &str) -> Option<String> {
        let mut asking = self.connect(name);
        let line = asking.ask(&format!("WHATSAT {client} 0 0"));
        (!line.starts_with('?')).then(|| {
            asking.through(b"\n\n");
            line
        })
    }

    /// Waits until all servers that run hold this AT line.
    pub fn until_all_hold(&self, client: &str, line: &str) {
        for name in self.running.keys() {
            until(&format!("{name} holds {line:?}"), || {
                self.held(name, client).is_some_and(|held| held == line)
            });
        }
    }

    /// What is in the log file by now.
    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("log/{name}.log"))).unwrap_or_default()
    }

    pub fn until_logged(&self, name: &str, part: &str) {
        until(&format!("{name} has logged {part:?}"), || self.log(name).contains(part));
    }

    /// What is on stderr by now.
    pub fn complaints(&self, name: &str) -> String {
        fs::read_to_string(self.path(&format!("{name}.err"))).unwrap_or_default()
    }
}

impl Drop for Herd {
    fn drop(&mut self) {
        for child in self.running.values_mut() {
            let _ = child.kill();
            let _ = child.wait();
        }
        for name in &self.names {
            let complaints = self.complaints(name);
            if thread::panicking() {
                let log = self.log(name);
                let first = log.lines().count().saturating_sub(30);
                let last: Vec<_> = log.lines().skip(first).collect();
                eprintln!("---- {name}\n{complaints}{}", last.join("\n"));
            } else {
                assert!(!complaints.contains("panicked"), "{name}: {complaints}");
            }
        }
    }
}
