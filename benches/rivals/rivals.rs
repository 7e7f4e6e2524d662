//! Who is measured, and how each of them is built and started. Apart from the race, to which they
//! are all alike: a name, a protocol, and a command that listens on a port.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::machine::{self, said};
use crate::size::lines_of_code;

/// A server that can be started.
pub struct Rival {
    pub name: String,
    /// As `herd bench --protocol` has it.
    pub protocol: &'static str,
    pub is_ours: bool,
    /// What all others are compared with.
    pub is_limit: bool,
    /// It differs from another one only when there is one connection.
    pub is_for_lone_only: bool,
    /// How many times as long as the others it is loaded before anything is measured.
    pub warm_ups: u32,
    pub version: Option<String>,
    /// Of its sources, if they are here.
    pub lines: Option<usize>,
    /// What must be done once it listens on a port, before it is loaded.
    pub prepare: fn(u16) -> Result<(), String>,
    pub launch: Box<dyn Fn(u16) -> Command>,
}

/// A rival, or why it is not there and what would help.
pub type Found = Result<Rival, String>;

impl Rival {
    pub fn new(name: &str, launch: impl Fn(u16) -> Command + 'static) -> Rival {
        Rival {
            name: name.to_owned(),
            protocol: "herd",
            is_ours: false,
            is_limit: false,
            is_for_lone_only: false,
            warm_ups: 1,
            version: None,
            lines: None,
            prepare: |_| Ok(()),
            launch: Box::new(launch),
        }
    }

    /// It was made from these sources.
    fn made_from(self, sources: &Path) -> Rival {
        Rival { lines: lines_of_code(sources).ok(), ..self }
    }

    /// What makes it listen on `port` of 127.0.0.1.
    pub fn command(&self, port: u16) -> Command {
        (self.launch)(port)
    }
}

/// In the order in which they are shown. What is built goes to `workshop`.
pub fn all(workshop: &Path) -> Vec<Found> {
    let mut all = loops(workshop);
    all.extend([
        logging_herd(workshop),
        spinning_herd(workshop),
        c("C epoll, with a store", workshop, "store", &["-DSTORE"]),
        java_nio(workshop),
        java_threads(workshop),
        node(),
        asyncio_streams(),
        redis("Redis SET", "redis-set", workshop),
        redis("Redis GEOADD", "redis-geoadd", workshop),
        memcached(),
    ]);
    all
}

/// Those that are most like the herd: one loop on one thread, and the herd's protocol.
pub fn loops(workshop: &Path) -> Vec<Found> {
    vec![
        c("C epoll, keeps nothing", workshop, "limit", &[]),
        herd(workshop),
        tokio(workshop),
        asyncio_protocol(),
    ]
}

fn here(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/rivals").join(file)
}

fn with_port(mut command: Command, port: u16) -> Command {
    command.arg(port.to_string());
    command
}

/// Runs a build, and complains in the words of its last line.
fn build(name: &str, help: &str, command: &mut Command) -> Result<(), String> {
    let output = command.stdin(Stdio::null()).output();
    let output = output.map_err(|error| format!("{name}: {error} ({help})"))?;
    if output.status.success() {
        return Ok(());
    }
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(format!("{name} does not build ({help}): {}", text.lines().last().unwrap_or_default()))
}

fn c(name: &'static str, workshop: &Path, file: &str, defines: &[&str]) -> Found {
    let program = workshop.join(file);
    let mut compiler = Command::new("cc");
    compiler.arg("-O2").args(defines).arg("-o").arg(&program).arg(here("epoll.c"));
    build(name, "Linux and a C compiler: apt-get install gcc libc6-dev", &mut compiler)?;
    let rival = Rival::new(name, move |port| with_port(Command::new(&program), port));
    let is_limit = file == "limit";
    Ok(Rival { is_limit, version: said("cc", &["--version"]), ..rival }.made_from(&here("epoll.c")))
}

/// The whole server, alone in a herd of its own: store, order, digest, limits; no log of lines.
fn herd(workshop: &Path) -> Found {
    herd_with("herd", "off", &["--keep", "off"], workshop)
}

/// As it is started by default: each line in and out goes to a file.
fn logging_herd(workshop: &Path) -> Found {
    herd_with("herd, every line logged", "traffic", &["--keep", "off"], workshop)
}

/// Everything that it writes goes to a directory that is emptied when it starts.
pub fn herd_with(
    name: &str,
    level: &'static str,
    flags: &'static [&str],
    workshop: &Path,
) -> Found {
    let folder = workshop.join(format!("herd-{level}"));
    let version = said(env!("CARGO_BIN_EXE_herd"), &["--version"]);
    let rival = Rival::new(name, move |port| {
        let server = format!("[[server]]\nname = \"Rival\"\nclients = \"127.0.0.1:{port}\"\n");
        let text = format!("herd = \"rivals\"\nlinks = []\n{server}");
        let config = folder.join("herd.toml");
        // The log of a second has a gigabyte: none is kept. What goes wrong here, the server says.
        let _ = fs::remove_dir_all(&folder);
        let _ = fs::create_dir_all(&folder).and_then(|()| fs::write(&config, text));
        let mut command = machine::herd();
        command.args(["serve", "Rival", "--log-level", level, "--config"]).arg(&config);
        command.arg("--log-dir").arg(&folder).arg("--run-dir").arg(&folder);
        command.arg("--journal-dir").arg(folder.join("journal")).args(flags);
        command
    });
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    Ok(Rival { is_ours: true, version, ..rival }.made_from(&sources))
}

/// The same, awake for a while before it sleeps: what waking up costs, only a lone client sees.
fn spinning_herd(workshop: &Path) -> Found {
    let help = machine::herd().args(["serve", "--help"]).output().map(|output| output.stdout);
    if !String::from_utf8_lossy(&help.unwrap_or_default()).contains("--spin-us") {
        return Err("herd, spinning: this herd has no --spin-us".to_owned());
    }
    let Rival { launch, version, .. } = herd(workshop)?;
    let rival = Rival::new("herd, spinning", move |port| {
        let mut command = launch(port);
        command.args(["--spin-us", "50"]);
        command
    });
    Ok(Rival { is_ours: true, is_for_lone_only: true, version, ..rival })
}

fn tokio(workshop: &Path) -> Found {
    let target = workshop.join("tokio");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--quiet", "--release", "--locked", "--manifest-path"]);
    command.arg(here("tokio/Cargo.toml")).env("CARGO_TARGET_DIR", &target);
    build("tokio", "it is downloaded from crates.io", &mut command)?;
    let program = target.join("release/rival");
    let rival = Rival::new("Rust tokio", move |port| with_port(Command::new(&program), port));
    let version = said("rustc", &["--version"]);
    Ok(Rival { version, ..rival }.made_from(&here("tokio/src/main.rs")))
}

fn java(class: &'static str, name: &str, workshop: &Path) -> Found {
    let folder = workshop.join("java");
    let mut javac = Command::new("javac");
    let source = here(&format!("{class}.java"));
    javac.arg("-d").arg(&folder).arg(&source);
    build(name, "a JDK, 16 or later: apt-get install default-jdk-headless", &mut javac)?;
    let rival = Rival::new(name, move |port| {
        let mut command = Command::new("java");
        command.arg("-cp").arg(&folder).arg(class);
        with_port(command, port)
    });
    // It compiles what is used often, on the one core that it has, and then once more.
    let rival = Rival { warm_ups: 5, version: said("java", &["-version"]), ..rival };
    Ok(rival.made_from(&source))
}

fn java_nio(workshop: &Path) -> Found {
    java("JavaNio", "Java NIO", workshop)
}

fn java_threads(workshop: &Path) -> Found {
    // `openjdk version "21.0.5" 2024-10-15`
    let version = said("java", &["-version"]).unwrap_or_default();
    let major = version.split(['"', '.']).nth(1).and_then(|major| major.parse().ok()).unwrap_or(0);
    let name = if major >= 21 { "Java virtual threads" } else { "Java threads" };
    java("JavaThreads", name, workshop)
}

fn node() -> Found {
    let version = said("node", &["--version"]).ok_or("Node.js: apt-get install nodejs")?;
    let rival = Rival::new("Node.js net", |port| {
        let mut command = Command::new("node");
        command.arg(here("node_net.js"));
        with_port(command, port)
    });
    let version = Some(format!("node {version}"));
    Ok(Rival { version, ..rival }.made_from(&here("node_net.js")))
}

fn python(name: &str, file: &'static str) -> Found {
    let version = said("python3", &["--version"]);
    let version = version.ok_or(format!("{name}: apt-get install python3"))?;
    let rival = Rival::new(name, move |port| {
        let mut command = Command::new("python3");
        command.arg(here(file));
        with_port(command, port)
    });
    Ok(Rival { version: Some(version), ..rival }.made_from(&here(file)))
}

fn asyncio_streams() -> Found {
    python("asyncio streams", "asyncio_streams.py")
}

fn asyncio_protocol() -> Found {
    let program = "import uvloop; print('uvloop', uvloop.__version__)";
    let Some(uvloop) = said("python3", &["-c", program]) else {
        eprintln!(
            "==== SKIPPED: uvloop, so asyncio's own loop runs the Protocol: pip install uvloop"
        );
        return python("asyncio Protocol", "asyncio_protocol.py");
    };
    let rival = python("asyncio Protocol, uvloop", "asyncio_protocol.py")?;
    Ok(Rival { version: Some(uvloop), ..rival })
}

fn redis(name: &str, protocol: &'static str, workshop: &Path) -> Found {
    let version = said("redis-server", &["--version"]);
    let version = version.ok_or(format!("{name}: apt-get install redis-server"))?;
    let folder = workshop.to_owned();
    let rival = Rival::new(name, move |port| {
        let mut command = Command::new("redis-server");
        // In memory only, as the herd is.
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
        command.arg(port.to_string()).args(["--maxclients", "15000"]);
        // The load comes from all of 127.0.0.0/8, of which only one address is trusted.
        command.args(["--protected-mode", "no"]).current_dir(&folder);
        command
    });
    // `Redis server v=7.0.15 sha=…`
    let version = version.split(' ').nth(2).map(|version| version.replace("v=", "Redis "));
    Ok(Rival { protocol, version, ..rival })
}

fn memcached() -> Found {
    let version = said("memcached", &["--version"]);
    let version = version.ok_or("memcached: apt-get install memcached")?;
    let rival = Rival::new("memcached", |port| {
        let mut command = Command::new("memcached");
        command.args(["-l", "127.0.0.1", "-t", "1", "-m", "1024", "-c", "15000"]);
        // Of what a client has sent at once it takes all, as the others do; 20 is its default.
        command.args(["-R", "1024", "-p"]);
        command.arg(port.to_string());
        if rustix::process::getuid().is_root() {
            // It insists on being told that this is meant.
            command.args(["-u", "root"]);
        }
        command
    });
    Ok(Rival { protocol: "memcached", version: Some(version), ..rival })
}
