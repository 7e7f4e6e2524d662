//! What `print` takes, and what it prints pages and completions of.

use std::path::PathBuf;

use clap::{CommandFactory, Subcommand, ValueEnum};
use clap_complete::Shell;

use herd::config::herd::parse_name;

use super::{Cli, HerdFlags};

/// What tells news between the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Engine {
    /// A node of NATS in each pod, and all nodes a cluster
    Nats,
}

#[derive(Debug, Subcommand)]
pub enum PrintCommand {
    /// A unit of systemd, herd@.service; the instance is the server's name
    Systemd,
    /// A unit that has systemd hold the ports of a server over its restarts
    Socket {
        /// The server whose addresses are in it [default: the usual ports, herd@.socket]
        #[arg(value_parser = parse_name)]
        name: Option<String>,
        #[command(flatten)]
        herd: HerdFlags,
    },
    /// What /etc/logrotate.d wants for servers that systemd runs
    Logrotate,
    /// A Containerfile for the binary of `cargo build --release`
    Containerfile,
    /// Manifests of a herd of five in a cluster
    Kubernetes {
        /// Servers tell each other by an engine instead of links
        #[arg(long, value_enum)]
        engine: Option<Engine>,
    },
    /// Rules of a Prometheus: what to alert on
    Alerts,
    /// A dashboard of Grafana: the herd, a server's loop, peers and repair
    Dashboard,
    /// A manual page: of herd, or of one of its commands
    Man {
        /// A command of herd, such as `serve` or `journal check`
        command: Vec<String>,
        /// Write the pages of herd and of all its commands into this directory instead
        #[arg(long, value_name = "DIR", conflicts_with = "command")]
        into: Option<PathBuf>,
    },
    /// Completions of commands and flags for a shell
    Completions { shell: Shell },
}

/// A command with its flags and what is below it.
pub type Definition = clap::Command;

/// All commands and flags, with their descriptions.
pub fn definition() -> Definition {
    let mut herd = Cli::command();
    herd.build();
    herd
}
