//! The herd with a journal beside others that keep what they answer: who is measured with
//! `--journal`. Apart from `rivals`, whose servers keep nothing.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use std::{fs, thread};

use crate::machine::{free_ports, said};
use crate::rivals::{Found, Rival, herd_with};

/// etcd elects itself before it takes anything.
const READY_MAX: Duration = Duration::from_secs(10);

/// In the order in which they are shown: first what survives a process, then what survives a
/// machine. What they write goes to `workshop`, which says which disk is measured.
pub fn all(workshop: &Path) -> Vec<Found> {
    let base = herd_with("herd, off", "off", &["--keep", "off"], workshop);
    vec![
        base.map(|herd| Rival { is_limit: true, ..herd }),
        herd_with("herd, written", "off", &["--keep", "written"], workshop),
        redis("everysec", workshop),
        jetstream(workshop),
        herd_with("herd, synced", "off", &["--keep", "synced"], workshop),
        redis("always", workshop),
        etcd(workshop),
    ]
}

/// A directory without anything of the server before.
fn emptied(folder: &Path) -> PathBuf {
    let _ = fs::remove_dir_all(folder);
    let _ = fs::create_dir_all(folder);
    folder.to_owned()
}

fn redis(policy: &'static str, workshop: &Path) -> Found {
    let name = format!("Redis SET, {policy}");
    let version = said("redis-server", &["--version"]);
    let version = version.ok_or(format!("{name}: apt-get install redis-server"))?;
    let folder = workshop.join("redis-journal");
    let rival = Rival::new(&name, move |port| {
        let mut command = Command::new("redis-server");
        command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
        command.args(["--appendfsync", policy, "--port", &port.to_string()]);
        // The load comes from all of 127.0.0.0/8, of which only one address is trusted.
        command.args(["--protected-mode", "no"]).current_dir(emptied(&folder));
        command
    });
    // `Redis server v=7.0.15 sha=…`
    let version = version.split(' ').nth(2).map(|version| version.replace("v=", "Redis "));
    Ok(Rival { protocol: "redis-set", version, ..rival })
}

fn jetstream(workshop: &Path) -> Found {
    let version = said("nats-server", &["--version"]);
    let version = version.ok_or("NATS JetStream: apt-get install nats-server")?;
    let folder = workshop.join("nats");
    let rival = Rival::new("NATS JetStream", move |port| {
        let mut command = Command::new("nats-server");
        command.args(["--addr", "127.0.0.1", "--port", &port.to_string(), "--jetstream"]);
        command.arg("--store_dir").arg(emptied(&folder));
        command
    });
    Ok(Rival { protocol: "jetstream", version: Some(version), prepare: make_stream, ..rival })
}

/// A stream in files that takes what is published as `reports`.
fn make_stream(port: u16) -> Result<(), String> {
    let wanted = r#"{"name":"R","subjects":["reports"],"storage":"file","retention":"limits"}"#;
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(told)?;
    stream.set_read_timeout(Some(READY_MAX)).map_err(told)?;
    let ask = format!(
        "CONNECT {{\"verbose\":false}}\r\nSUB made 1\r\nPUB $JS.API.STREAM.CREATE.R made {}\r\n\
         {wanted}\r\n",
        wanted.len()
    );
    stream.write_all(ask.as_bytes()).map_err(told)?;
    for line in BufReader::new(stream).lines() {
        let line = line.map_err(told)?;
        if line.contains("stream_create_response") {
            return if line.contains("\"error\"") { Err(line) } else { Ok(()) };
        }
    }
    Err("NATS hangs up".to_owned())
}

fn etcd(workshop: &Path) -> Found {
    let version = said("etcd", &["--version"]).ok_or("etcd: apt-get install etcd-server")?;
    let folder = workshop.join("etcd");
    let rival = Rival::new("etcd", move |port| {
        let (clients, peers) = (url(port), url(free_ports(1)[0]));
        let mut command = Command::new("etcd");
        command.args(["--log-level", "error", "--enable-v2", "--name", "rival", "--data-dir"]);
        command.arg(emptied(&folder)).args(["--listen-client-urls", &clients]);
        command.args(["--advertise-client-urls", &clients, "--listen-peer-urls", &peers]);
        command.args(["--initial-advertise-peer-urls", &peers]);
        command.args(["--initial-cluster", &format!("rival={peers}")]);
        command
    });
    // `etcd Version: 3.4.23`
    let version = Some(version.replace(" Version:", ""));
    Ok(Rival { protocol: "etcd", version, prepare: wait_for_leader, ..rival })
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn wait_for_leader(port: u16) -> Result<(), String> {
    let began = Instant::now();
    while began.elapsed() < READY_MAX {
        let mut answer = String::new();
        let asked = TcpStream::connect(("127.0.0.1", port)).and_then(|mut stream| {
            stream.write_all(b"GET /health HTTP/1.0\r\n\r\n")?;
            stream.read_to_string(&mut answer)
        });
        if asked.is_ok() && answer.contains("\"health\":\"true\"") {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    Err(format!("etcd is not ready after {READY_MAX:?}"))
}

fn told(error: impl ToString) -> String {
    error.to_string()
}
