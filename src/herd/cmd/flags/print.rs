//! What `print` takes, and what it prints pages and completions of.

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;

use super::Cli;

#[derive(Debug, Subcommand)]
pub enum PrintCommand {
    /// A unit of systemd, herd@.service; the instance is the server's name
    Systemd,
    /// What /etc/logrotate.d wants for servers that systemd runs
    Logrotate,
    /// A Containerfile for the binary of `cargo build --release`
    Containerfile,
    /// Manifests of a herd of five in a cluster
    Kubernetes,
    /// A manual page: of herd, or of one of its commands
    Man {
        /// A command of herd, such as `serve` or `journal check`
        command: Vec<String>,
    },
    /// Completions of commands and flags for a shell
    Completions { shell: Shell },
}

/// All commands and flags, with their descriptions.
pub fn definition() -> clap::Command {
    let mut herd = Cli::command();
    herd.build();
    herd
}
