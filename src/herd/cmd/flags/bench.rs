//! The flags of `herd bench`, and the plan that they make.

use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgGroup, Args, ValueEnum};

use herd::config::Address;
use herd::config::herd::parse_name;
use herd_load::{CLIENTS_MAX, Dialect, Pace};

use super::HerdFlags;

/// The server, the load, and how to tell of it.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
#[command(group(ArgGroup::new("server").required(true).args(["name", "connect", "million"])))]
pub struct BenchFlags {
    /// The server's name in its herd
    #[arg(value_parser = parse_name)]
    pub name: Option<String>,
    /// Where the server listens, instead of a name
    #[arg(long, value_name = "HOST:PORT")]
    pub connect: Option<Address>,
    /// A million connections on a herd of 55 servers that is started for it, and ends with it
    #[arg(long, conflicts_with_all = ["protocol", "tls", "pipeline", "clients", "clients_from"])]
    #[arg(conflicts_with_all = ["whatsat", "reconnect", "idle", "pid", "warm_up", "run_dir"])]
    pub million: bool,
    /// Servers of that herd: each has its part of the connections
    #[arg(long, value_name = "N", default_value_t = 55, requires = "million")]
    #[arg(value_parser = clap::value_parser!(u64).range(2..=200))]
    pub servers: u64,
    /// What the server speaks
    #[arg(long, value_enum, default_value_t = Protocol::Herd)]
    pub protocol: Protocol,
    /// Connections that ask [default: 50, none beside --idle, 1000000 with --million]
    #[arg(short, long, value_name = "N")]
    pub connections: Option<usize>,
    /// Requests of a connection that may be unanswered
    #[arg(short, long, value_name = "N", default_value_t = 1)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=10_000))]
    pub pipeline: u64,
    /// Different clients that are reported
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=CLIENTS_MAX))]
    pub clients: u64,
    /// Number of the first of them: two loads at a time report different ones
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub clients_from: u64,
    /// Of a hundred requests, so many are WHATSATs
    #[arg(long, value_name = "PERCENT", default_value_t = 0, conflicts_with = "reconnect")]
    #[arg(value_parser = clap::value_parser!(u64).range(0..=100))]
    pub whatsat: u64,
    /// Requests a second, sent when they are due and not when the last is answered
    #[arg(short, long, value_name = "N")]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    pub rate: Option<u64>,
    /// A new connection for each request
    #[arg(long, conflicts_with_all = ["rate", "pipeline"])]
    pub reconnect: bool,
    /// Connections that say one report and then nothing
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub idle: usize,
    /// By TLS: each connection begins with a full handshake, and any certificate is taken
    #[arg(long)]
    pub tls: bool,
    /// Sleep until answers come: the server pays for waking this client, but gets its core
    #[arg(long)]
    pub asleep: bool,
    /// How long to measure [default: 10, or 300 with --million]
    #[arg(short, long, value_name = "S", value_parser = parse_seconds)]
    pub seconds: Option<Duration>,
    /// How long to load before that
    #[arg(long, value_name = "S", default_value = "1", value_parser = parse_seconds)]
    pub warm_up: Duration,
    /// The server's processes, for their CPU time and memory [default: found by its name]
    #[arg(long, value_name = "PID", value_delimiter = ',')]
    pub pid: Vec<u32>,
    /// Draw connections and memory over time into this file, as an SVG
    #[arg(long, value_name = "FILE", requires = "million")]
    pub chart: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// One of several loads: say `ready` when all connections are open, wait for a line, print JSON
    /// of another form, and keep them open until the end of the input
    #[arg(long, hide = true)]
    pub on_cue: bool,
    /// Directory of pid files [default: what herd.toml says, or run]
    #[arg(long, value_name = "DIR", env = "HERD_RUN_DIR", hide_env_values = true)]
    pub run_dir: Option<PathBuf>,
    #[command(flatten)]
    pub herd: HerdFlags,
}

const EXAMPLES: &str = "\
Examples:
  herd bench Hill                        50 connections, each asks when it is answered
  herd bench Hill -p 16 -c 1000          16 requests a write, on 1,000 connections
  herd bench Hill --rate 10000           latency at 10,000 requests a second
  herd bench Hill --reconnect            connect, ask, read, close
  herd bench Hill --idle 10000           memory of connections that say nothing
  herd bench --connect 127.0.0.1:8443 --tls
  herd bench --million                   a million connections on this machine
  herd bench --connect 127.0.0.1:6379 --protocol redis-set --pid $(pidof redis-server)";

#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum Protocol {
    Herd,
    RedisSet,
    RedisGeoadd,
    Memcached,
    /// NATS: a stream that takes the subject `reports`
    Jetstream,
    /// Version 2 of its HTTP
    Etcd,
}

const CONNECTIONS: usize = 50;
const SECONDS: Duration = Duration::from_secs(10);
const SECONDS_MAX: f64 = 86_400.0;

pub(super) fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.0..=SECONDS_MAX).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| format!("write 0 to {SECONDS_MAX} seconds"))
}

impl BenchFlags {
    pub fn dialect(&self) -> Dialect {
        match self.protocol {
            Protocol::Herd => Dialect::Herd,
            Protocol::RedisSet => Dialect::RedisSet,
            Protocol::RedisGeoadd => Dialect::RedisGeoadd,
            Protocol::Memcached => Dialect::Memcached,
            Protocol::Jetstream => Dialect::Jetstream,
            Protocol::Etcd => Dialect::Etcd,
        }
    }

    pub fn pace(&self) -> Pace {
        match self.rate {
            Some(rate) => Pace::PerSecond(rate),
            None if self.reconnect => Pace::Reconnect,
            None => Pace::Closed,
        }
    }

    pub fn seconds(&self) -> Duration {
        self.seconds.unwrap_or(SECONDS)
    }

    pub fn connections(&self) -> usize {
        let default = if self.idle > 0 { 0 } else { CONNECTIONS };
        self.connections.unwrap_or(default)
    }
}
