//! The flags of the commands that start servers or look for those that run.
//!
//! `serve` must be right about everything; here, a herd.toml that is wrong must not hide what runs.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args};
use log::LevelFilter;

use herd::config::herd::parse_name;
use herd::config::log_settings::parse_level;
use herd::config::units::{TIMER_MAX, parse_duration};
use herd::config::{Address, Config, ConfigError, Settings, file};
use herd::run_dir::RunDir;

use super::{HerdFlags, ServeFlags, home};

/// What `start` and `restart` take.
#[derive(Args, Clone, Debug)]
pub struct StartFlags {
    /// Servers of the herd [default: all whose address is on this machine]
    #[arg(value_name = "NAME", value_parser = parse_name)]
    pub names: Vec<String>,
    /// Have each server write a trace into this directory, as NAME.json
    #[arg(long, value_name = "DIR", env = "HERD_TRACE_DIR", hide_env_values = true)]
    pub trace: Option<PathBuf>,
    #[command(flatten)]
    pub flags: ServeFlags,
    /// The flags of `serve` as they were typed.
    #[arg(skip)]
    pub typed: Vec<OsString>,
}

/// Where running servers are found.
#[derive(Args, Clone, Debug, Default)]
pub struct PlaceFlags {
    /// Directory of pid files and admin sockets [default: what herd.toml says, or run]
    #[arg(long, value_name = "DIR", env = "HERD_RUN_DIR", hide_env_values = true)]
    pub run_dir: Option<PathBuf>,
    /// The herd.toml that names the run directory
    #[arg(long, value_name = "FILE", env = "HERD_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
}

/// Whose a journal is to be.
#[derive(Args, Clone, Debug)]
pub struct WhoseFlags {
    /// The server [default: the last word of DIR]
    #[arg(long, value_name = "NAME", value_parser = parse_name)]
    pub server: Option<String>,
    #[command(flatten)]
    pub herd: HerdFlags,
}

/// Which servers `stop` and `reload` mean.
#[derive(Args, Clone, Debug)]
pub struct RunningFlags {
    /// Servers [default: all that run here]
    #[arg(value_name = "NAME", value_parser = parse_name)]
    pub names: Vec<String>,
    #[command(flatten)]
    pub place: PlaceFlags,
}

/// What `status` takes.
#[derive(Args, Clone, Debug)]
pub struct StatusFlags {
    /// Servers to ask [default: all that have run here]
    #[arg(value_name = "NAME", value_parser = parse_name)]
    pub names: Vec<String>,
    /// All servers of the herd, and all others that have run here
    #[arg(long)]
    pub all: bool,
    /// Print a JSON array instead of a table
    #[arg(long)]
    pub json: bool,
    /// Directory of pid files and admin sockets [default: what herd.toml says, or run]
    #[arg(long, value_name = "DIR", env = "HERD_RUN_DIR", hide_env_values = true)]
    pub run_dir: Option<PathBuf>,
    #[command(flatten)]
    pub herd: HerdFlags,
}

/// What `top` takes.
#[derive(Args, Clone, Debug)]
pub struct TopFlags {
    /// Servers [default: all that have run here, and all of the herd that is named]
    #[arg(value_name = "NAME", value_parser = parse_name)]
    pub names: Vec<String>,
    /// Another port for operators that is asked by HTTP, such as a tunnel's; may be repeated
    #[arg(long, value_name = "HOST:PORT")]
    pub at: Vec<Address>,
    /// Print a table and end, as where the output is no terminal
    #[arg(long)]
    pub once: bool,
    /// Print a line of JSON for each server and end
    #[arg(long)]
    pub json: bool,
    /// Directory of pid files and admin sockets [default: what herd.toml says, or run]
    #[arg(long, value_name = "DIR", env = "HERD_RUN_DIR", hide_env_values = true)]
    pub run_dir: Option<PathBuf>,
    #[command(flatten)]
    pub herd: HerdFlags,
}

/// What `log-level` takes.
#[derive(Args, Clone, Debug)]
pub struct LogLevelFlags {
    /// The server's name in its herd
    #[arg(value_parser = parse_name)]
    pub name: String,
    /// off, error, warn, info (or events), debug (or traffic) or trace
    #[arg(value_parser = parse_level)]
    pub level: LevelFilter,
    /// As in 5min: then the level of before comes back
    #[arg(long = "for", value_name = "TIME", value_parser = parse_time)]
    pub time: Option<Duration>,
    #[command(flatten)]
    pub place: PlaceFlags,
}

/// What `logs` takes.
#[derive(Args, Clone, Debug)]
pub struct LogsFlags {
    /// Servers of the herd [default: all of it that have a log]
    #[arg(value_name = "NAME", value_parser = parse_name)]
    pub names: Vec<String>,
    /// Go on printing what is added
    #[arg(short, long)]
    pub follow: bool,
    /// Directory of the log files [default: what herd.toml says, or log]
    #[arg(long, value_name = "DIR", env = "HERD_LOG_DIR", hide_env_values = true)]
    pub log_dir: Option<PathBuf>,
    #[command(flatten)]
    pub herd: HerdFlags,
}

impl StartFlags {
    /// The configuration of a server, with the trace that it is to write.
    ///
    /// # Errors
    /// Every mistake that an operator can make before a socket is opened.
    pub fn config(&self, name: &str) -> Result<Config, ConfigError> {
        let trace = self.trace.as_ref().map(|dir| dir.join(format!("{name}.json")));
        self.flags.clone().read(name, trace).map(|parsed| parsed.config)
    }

    /// Remembers the flags that `serve` is to be given, too. What the environment says it will
    /// find there by itself.
    pub(super) fn remember(&mut self, given: &ArgMatches) {
        let typed = given.ids().map(|id| id.as_str()).filter(|id| {
            // A group of flags has an id as well, the name of its struct, and for values their ids.
            !["names", "trace"].contains(id)
                && !id.starts_with(char::is_uppercase)
                && given.value_source(id) == Some(ValueSource::CommandLine)
        });
        for id in typed {
            let values = given.try_get_raw(id).ok().flatten();
            for value in values.into_iter().flatten() {
                let mut word = OsString::from(format!("--{}=", id.replace('_', "-")));
                word.push(value);
                self.typed.push(word);
            }
        }
    }
}

impl PlaceFlags {
    /// The run directory: flag or environment, else what herd.toml names, else `run`. And what is
    /// wrong with herd.toml, if it was asked.
    pub fn run_dir(self) -> (RunDir, Option<ConfigError>) {
        let (complaint, named) = match (&self.run_dir, &self.config) {
            (None, Some(path)) => {
                let complaint = file::read(path, &mut Settings::default()).err();
                (complaint, file::run_dir(path))
            }
            _ => (None, None),
        };
        let path = self.run_dir.or(named).unwrap_or_else(|| usual_settings().run_dir);
        (RunDir::new(path), complaint)
    }

    /// The same run directory, for a command whose servers say what is wrong with herd.toml.
    pub fn quietly(self) -> PlaceFlags {
        let config = self.config.clone();
        let (run_dir, _) = self.run_dir();
        PlaceFlags { run_dir: Some(run_dir.path().to_owned()), config }
    }
}

fn parse_time(text: &str) -> Result<Duration, String> {
    parse_duration(text, TIMER_MAX)
}

/// The settings of a command that knows of no herd.
fn usual_settings() -> Settings {
    let mut settings = Settings::default();
    if let Some(home) = home() {
        settings.live_in(&home);
    }
    settings
}

impl TopFlags {
    pub fn place(&self) -> PlaceFlags {
        PlaceFlags { run_dir: self.run_dir.clone(), config: self.herd.config.clone() }
    }

    /// Whether something says which herd is meant.
    pub fn knows_herd(&self) -> bool {
        self.herd.config.is_some() || self.herd.preset.is_some()
    }
}

impl StatusFlags {
    pub fn place(&self) -> PlaceFlags {
        PlaceFlags { run_dir: self.run_dir.clone(), config: self.herd.config.clone() }
    }
}
