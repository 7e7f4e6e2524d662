//! The command line: flags, the environment that stands in for them, help.
//!
//! A flag beats its `HERD_*` variable (clap sees to that, except where two flags exclude each
//! other); what both beat is decided by `herd::config::layers`. Flags that set what herd.toml sets,
//! too, are declared with the knobs of `herd::config`; `flags::knobs` makes them.

mod access;
mod bench;
mod demo;
mod follow;
mod journal;
mod knobs;
mod lab;
mod print;
mod running;
mod sim;
mod trace;

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::LazyLock;

use clap::builder::{Resettable, StyledStr};
use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

use herd::config::HerdSelector;
use herd::config::herd::parse_name;
use herd::config::knob::parse_switch;
use herd::config::layers::{Overrides, PlainPeer, configure};
use herd::config::presets::BASE_PORT_MAX;
use herd::config::{ConfigError, Door, Parsed, Secret, TlsClients, address};
use herd::places::ATTRIBUTION;

pub use access::{ForgetFlags, ShareFlags, TokenCommand};
pub use bench::BenchFlags;
pub use demo::DemoFlags;
pub use follow::FollowFlags;
pub use journal::JournalCommand;
pub use knobs::KnobFlags;
pub use lab::LabFlags;
pub use print::{Definition, Engine, PrintCommand, definition};
pub use running::{
    LogLevelFlags, LogsFlags, PlaceFlags, RunningFlags, StartFlags, StatusFlags, TopFlags,
    WhoseFlags,
};
pub use sim::{MutantsFlags, SimFlags};
pub use trace::TraceCommand;

/// The towns' licence (CC BY 4.0) asks for credit wherever they are shown.
static VERSION: LazyLock<String> =
    LazyLock::new(|| format!("{}\n{ATTRIBUTION}", env!("CARGO_PKG_VERSION")));

const EXAMPLES: &str = "\
Examples:
  herd serve Hill                        run Hill of the newest year that has one
  herd start                             start a whole herd, in the background
  herd say Hill 'IAMAT kiwi +34.07-118.45 1520023934.918963997'
  herd say Hill 'WHATSAT kiwi 10 5'      ask what is near
  herd demo                              a hundred clients move about Helsinki
  herd status                            who runs, who is joined with whom
  herd places near +60.17+24.94 5 3      ask what is near, without a server
  herd bench Hill -p 16                  how many requests a second it answers
  herd sim --seed 17                     a life of a herd in virtual time, and its faults
  herd lab --list                        experiments for a lecture
  herd example-config > herd.toml        begin a herd of your own
  herd serve Hill --config herd.toml     run it
  herd keygen                            make a key, so that it may leave this machine
  herd token add jane --report 'jane/*'  give a phone's owner a secret

Exit codes: 0 done, 1 a simulated herd broke a promise or an experiment failed, 2 usage, 3 not
running, 69 nobody answers, 71 the system refuses threads, descriptors or memory, 73 no log, run
directory, journal, trace or new key file, 74 not all is on the disk, 77 it is another user's, 78
configuration, 98 port, name or journal taken.";

/// A herd of equal servers that tell each other where their clients are.
#[derive(Debug, Parser)]
#[command(name = "herd", version = VERSION.as_str(), after_help = EXAMPLES)]
pub struct Cli {
    #[command(subcommand)]
    pub command: Command,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run one server of a herd, until it is told to stop (SIGTERM, Ctrl-C)
    Serve {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        #[command(flatten)]
        trace: TraceFlag,
        #[command(flatten)]
        flags: ServeFlags,
    },
    /// Start servers in the background, and return when all of them answer
    Start(Box<StartFlags>),
    /// Stop servers that run, after they have answered what they have read
    Stop(RunningFlags),
    /// Have a server stop as slowly as its lame duck wants it, without a signal
    Drain {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        /// Return when it has ended
        #[arg(long)]
        wait: bool,
        #[command(flatten)]
        place: PlaceFlags,
    },
    /// Have a client forgotten by a server and, through it, by the whole herd
    Forget(ForgetFlags),
    /// Check what `start` would start, then stop those servers and start them
    Restart(Box<StartFlags>),
    /// Have servers that run open their logs anew and read herd.toml, keys and places again
    Reload {
        #[command(flatten)]
        flags: RunningFlags,
        /// Wait for what comes of it, and print that
        #[arg(long)]
        wait: bool,
    },
    /// Print the ends of the servers' logs
    Logs(LogsFlags),
    /// Have a running server log more or less, until it is told otherwise or for a while
    LogLevel(LogLevelFlags),
    /// Check what `serve` with the same flags would run, and describe it
    CheckConfig {
        /// One server, whose addresses and keys are checked too
        #[arg(value_parser = parse_name)]
        name: Option<String>,
        /// Print only the names of the servers whose address is on this machine, one a line
        #[arg(long, conflicts_with = "name")]
        names: bool,
        #[command(flatten)]
        trace: TraceFlag,
        #[command(flatten)]
        flags: ServeFlags,
    },
    /// Print a complete herd.toml that explains every key
    ExampleConfig,
    /// Print a nats-server.conf that fits a herd on an engine
    ExampleNats(HerdFlags),
    /// Make a key by which the servers of a herd know each other
    Keygen {
        /// Where the key goes, or is
        #[arg(default_value = "herd.key")]
        file: PathBuf,
        /// Put a new key before the newest of the file, and drop those that are older
        #[arg(long)]
        rotate: bool,
    },
    /// Say who may report and ask by HTTP
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make a link by which anybody may see one client for a while
    Share(Box<ShareFlags>),
    /// List the herds that need no herd.toml
    Presets,
    /// Show who runs, since when, and who is joined with whom
    Status(StatusFlags),
    /// Show what servers do, second by second; `q` ends it
    Top(TopFlags),
    /// Send one line to a server as a client would, and print the answer
    Say {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        /// The line; several words are joined by blanks. Flags may follow it, unless `--` leads it
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        line: Vec<String>,
        #[command(flatten)]
        herd: HerdFlags,
    },
    /// Follow clients: print who moves, who comes and who goes, until it is interrupted
    Follow(FollowFlags),
    /// Print the process id of a running server
    Pid {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        #[command(flatten)]
        place: PlaceFlags,
    },
    /// Print what a running server knows: the newest report of each client, as AT lines, sorted
    Dump {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        #[command(flatten)]
        place: PlaceFlags,
    },
    /// Move clients about a city, each a report a second, until Ctrl-C: see them on /map
    Demo(DemoFlags),
    /// Put a load on a server and measure it
    Bench(Box<BenchFlags>),
    /// Look at places: what a file holds, what is near a position
    #[command(subcommand)]
    Places(PlacesCommand),
    /// Look at the files in which a server keeps its reports (`serve --keep`)
    #[command(subcommand)]
    Journal(JournalCommand),
    /// Look at what servers have recorded (`serve --trace`)
    #[command(subcommand)]
    Trace(TraceCommand),
    /// Print what packages and machines need of herd: systemd, Kubernetes, man, shells
    #[command(subcommand)]
    Print(PrintCommand),
    /// Show a fact that this house rests on, as a small experiment; without a name, list them
    Lab(LabFlags),
    /// Simulate herds, with faults, and check that they keep what they promise
    Sim(SimFlags),
    /// Plant bugs in a copy of the sources, and show what notices each (needs a checkout and cargo)
    Mutants(MutantsFlags),
}

#[derive(Debug, Subcommand)]
pub enum PlacesCommand {
    /// Say how many places a file holds, where they are, and what is wrong with others
    Check {
        /// CSV or GeoJSON, packed with gzip or not
        file: PathBuf,
        /// The file that it is to replace: fail if less than half of its places are left
        #[arg(long, value_name = "FILE")]
        against: Option<PathBuf>,
    },
    /// Print what a WHATSAT would be answered with, without a server
    Near {
        /// As in IAMAT: +60.1699+24.9384
        #[arg(allow_hyphen_values = true)]
        position: String,
        /// Kilometres, at most 50
        radius: String,
        /// How many results, at most 20
        bound: String,
        /// Your own places instead of the atlas
        #[arg(long, value_name = "FILE")]
        file: Option<PathBuf>,
        /// HTML that names their origin
        #[arg(long, value_name = "HTML", requires = "file")]
        attribution: Option<String>,
    },
}

/// Which herd is meant.
#[derive(Args, Clone, Debug, Default)]
pub struct HerdFlags {
    /// A herd of your own; see `herd example-config`
    #[arg(long, value_name = "FILE", env = "HERD_CONFIG", hide_env_values = true)]
    pub config: Option<PathBuf>,
    /// The herd of a year; see `herd presets` [default: the newest with that server]
    #[arg(long, value_name = "YEAR", env = "HERD_PRESET", hide_env_values = true)]
    pub preset: Option<String>,
    /// First client port of a preset [default: 12000]; peer ports are 100 above
    #[arg(long, value_name = "PORT", env = "HERD_BASE_PORT", hide_env_values = true)]
    #[arg(value_parser = parse_port)]
    pub base_port: Option<u16>,
    /// Host to listen on instead of the configured one (127.0.0.1 in a preset)
    #[arg(long, value_name = "ADDR", env = "HERD_BIND", hide_env_values = true)]
    #[arg(value_parser = address::parse_host)]
    pub bind: Option<String>,
}

/// Where a server's trace goes.
#[derive(Args, Clone, Debug, Default)]
pub struct TraceFlag {
    /// Record what the loop does, and write it there at the end and at SIGUSR1; see `herd trace`
    #[arg(long, value_name = "FILE", env = "HERD_TRACE", hide_env_values = true)]
    pub trace: Option<PathBuf>,
}

/// What `serve` takes, and `start` for all that it starts.
#[derive(Args, Clone, Debug, Default)]
pub struct ServeFlags {
    #[command(flatten)]
    pub herd: HerdFlags,
    #[command(flatten)]
    pub knobs: KnobFlags,
    /// Believe AT lines on the client port, as course servers send them (loopback only)
    #[arg(long, env = "HERD_PLAIN", hide_env_values = true, value_name = "1|0")]
    #[arg(value_parser = parse_switch, num_args = 0..=1, default_missing_value = "1")]
    #[arg(require_equals = true)]
    pub plain: Option<bool>,
    /// Where phones and browsers report and ask by HTTP, HOST:PORT or off [default: this machine,
    /// client port + 200]
    #[arg(long, env = "HERD_WEB", hide_env_values = true, value_name = "ADDR|off")]
    pub web: Option<Door>,
    /// Where clients connect by TLS, HOST:PORT or off [default: off]; needs --tls-cert and
    /// --tls-key
    #[arg(long, env = "HERD_TLS_CLIENTS", hide_env_values = true, value_name = "ADDR|off")]
    pub tls_clients: Option<TlsClients>,
    /// Where operators ask by HTTP, HOST:PORT or off [default: this machine, client port + 300]
    #[arg(long, env = "HERD_OPERATORS", hide_env_values = true, value_name = "ADDR|off")]
    pub operators: Option<Door>,
    /// Where clients report and ask by MQTT, HOST:PORT or off [default: this machine, client port
    /// + 400]
    #[arg(long, env = "HERD_MQTT", hide_env_values = true, value_name = "ADDR|off")]
    pub mqtt: Option<Door>,
    /// A course server is our neighbour: a member's name or NAME=HOST:PORT, and behind commas what
    /// its AT lines need: crlf, sender (our name), word=WORD; may be repeated, implies --plain
    #[arg(long, value_name = "NAME[=HOST:PORT][,SHAPE]")]
    pub plain_peer: Vec<PlainPeer>,
    /// The key itself comes from the environment only: everybody can read a command line.
    #[arg(skip)]
    pub places_key: Option<Secret>,
}

impl Cli {
    /// What this process was told. Ends it when that is not understood, or was a cry for help.
    pub fn from_process() -> Cli {
        let mut definition = without_empty_variables(Cli::command());
        definition.build();
        let matches = definition.clone().try_get_matches_from(flags_first(env::args_os()));
        let matches = matches.unwrap_or_else(|error| name_variable(&definition, error).exit());
        let mut cli = Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit());
        if let Some((_, given)) = matches.subcommand() {
            cli.command.prefer_flags(given).unwrap_or_else(|error| error.exit());
        }
        cli
    }
}

/// Where `run` and `log` are unless something else is said: herd.sh names its own folder.
fn home() -> Option<PathBuf> {
    env::var_os("HERD_HOME").filter(|home| !home.is_empty()).map(PathBuf::from)
}

/// The rest of a `say` is its line, in which a position may look like a flag. So the flags that it
/// knows are moved to the front, where clap sees them; after `--`, nothing is one.
fn flags_first(words: impl Iterator<Item = OsString>) -> Vec<OsString> {
    let mut words = words;
    let mut flags: Vec<OsString> = words.by_ref().take(2).collect();
    let mut rest = Vec::new();
    if flags.get(1).is_some_and(|command| command == "say") {
        while let Some(word) = words.next() {
            let text = word.to_string_lossy().into_owned();
            let (flag, value) =
                text.split_once('=').map_or((&*text, false), |(flag, _)| (flag, true));
            match flag {
                "--" => {
                    rest.push(word);
                    break;
                }
                "--config" | "--preset" | "--base-port" | "--bind" => {
                    flags.push(word);
                    flags.extend(words.by_ref().take(usize::from(!value)));
                }
                "-h" | "--help" => flags.push(word),
                _ => rest.push(word),
            }
        }
    }
    flags.into_iter().chain(rest).chain(words).collect()
}

/// An empty variable is one that is not set, as in shells.
fn without_empty_variables(command: clap::Command) -> clap::Command {
    let command = command.mut_args(|arg| {
        let value = arg.get_env().and_then(env::var_os);
        if value.is_some_and(|value| value.is_empty()) { arg.env(Resettable::Reset) } else { arg }
    });
    command.mut_subcommands(without_empty_variables)
}

/// Clap blames the flag even if it was never typed: its variable may have been exported long ago.
fn name_variable(definition: &clap::Command, mut error: clap::Error) -> clap::Error {
    let Some(ContextValue::String(blamed)) = error.get(ContextKind::InvalidArg) else {
        return error;
    };
    let mut args = definition.get_subcommands().flat_map(clap::Command::get_arguments);
    let Some(arg) = args.find(|arg| arg.to_string() == *blamed) else { return error };
    let flag = format!("--{}", arg.get_long().unwrap_or_default());
    let is_typed = env::args_os().any(|word| word.to_string_lossy().starts_with(&flag));
    if let Some(variable) = arg.get_env().filter(|name| !is_typed && env::var_os(name).is_some()) {
        let tip = format!("this comes from the variable {}", variable.display());
        let tip = ContextValue::StyledStrs(vec![StyledStr::from(tip)]);
        error.insert(ContextKind::Suggested, tip);
    }
    error
}

/// Whether so many ports fit above it is the preset's affair.
fn parse_port(text: &str) -> Result<u16, String> {
    text.parse().map_err(|_| format!("`{text}` is no port: write 1 to {BASE_PORT_MAX}"))
}

impl Command {
    /// Forgets what the environment says where a flag that excludes it was given, and hands over
    /// what is in no flag.
    fn prefer_flags(&mut self, given: &ArgMatches) -> Result<(), clap::Error> {
        let is_flag = |id: &str| given.value_source(id) == Some(ValueSource::CommandLine);
        let herd = match self {
            Command::Serve { flags, .. } | Command::CheckConfig { flags, .. } => {
                flags.take_key(is_flag("places-key-file"));
                &mut flags.herd
            }
            Command::Start(start) | Command::Restart(start) => {
                start.remember(given);
                start.flags.take_key(is_flag("places-key-file"));
                &mut start.flags.herd
            }
            Command::Say { herd, .. } => herd,
            Command::Share(flags) => &mut flags.herd,
            Command::Status(flags) => &mut flags.herd,
            Command::Top(flags) => &mut flags.herd,
            Command::Logs(flags) => &mut flags.herd,
            Command::Demo(flags) => &mut flags.herd,
            Command::Bench(flags) => &mut flags.herd,
            _ => return Ok(()),
        };
        match (is_flag("config"), is_flag("preset")) {
            (true, true) => {
                let message = "--config and --preset name two herds: leave one out";
                return Err(Cli::command().error(ErrorKind::ArgumentConflict, message));
            }
            (true, false) => {
                herd.preset = None;
                herd.base_port = herd.base_port.filter(|_| is_flag("base_port"));
            }
            (false, true) => herd.config = None,
            (false, false) => {}
        }
        Ok(())
    }
}

impl HerdFlags {
    pub fn which(&self) -> HerdSelector {
        HerdSelector {
            config: self.config.clone(),
            preset: self.preset.clone(),
            base_port: self.base_port,
            bind: self.bind.clone(),
            given: Vec::new(),
            home: home(),
        }
    }
}

impl ServeFlags {
    pub fn which(&self) -> HerdSelector {
        HerdSelector { given: self.knobs.0.clone(), ..self.herd.which() }
    }

    /// The configuration of the server `name`, and what it was made of.
    ///
    /// # Errors
    /// Every mistake that an operator can make before a socket is opened.
    pub fn read(self, name: &str, trace: Option<PathBuf>) -> Result<Parsed, ConfigError> {
        let selector = self.which();
        let (herd, settings) = selector.herd(Some(name))?;
        let overrides = Overrides { trace, ..self.overrides() };
        let config = configure(name, herd, settings.clone(), &selector, overrides)?;
        Ok(Parsed { config, settings })
    }

    /// The key itself comes from the environment only, and a key file that was named beats it.
    fn take_key(&mut self, is_file_named: bool) {
        let key = env::var_os("HERD_PLACES_KEY").filter(|_| !is_file_named);
        let key = key.map(|key| key.to_string_lossy().into_owned());
        self.places_key = key.filter(|key| !key.trim().is_empty()).map(Secret::new);
    }

    fn overrides(self) -> Overrides {
        Overrides {
            places_key: self.places_key,
            trace: None,
            plain: self.plain.unwrap_or(false),
            plain_peers: self.plain_peer,
            web: self.web,
            tls_clients: self.tls_clients,
            operators: self.operators,
            mqtt: self.mqtt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn flags_of_say_may_follow_its_line() {
        let check = |words: &[&str], expected: &[&str], year: Option<&str>| {
            let words = [&["herd", "say", "Hill"], words].concat();
            let words = flags_first(words.into_iter().map(OsString::from));
            let Command::Say { line, herd, .. } = Cli::try_parse_from(words).unwrap().command
            else {
                panic!("not say");
            };
            assert_eq!(
                (line, herd.preset.as_deref()),
                (Vec::from_iter(expected.iter().map(|word| (*word).to_owned())), year)
            );
        };
        check(&["WHATSAT", "kiwi", "-5", "1"], &["WHATSAT", "kiwi", "-5", "1"], None);
        check(&["IAMAT x -1-1 5", "--preset", "2020"], &["IAMAT x -1-1 5"], Some("2020"));
        check(
            &["--preset=2020", "IAMAT", "x", "-1-1", "5"],
            &["IAMAT", "x", "-1-1", "5"],
            Some("2020"),
        );
        check(&["--", "WHATSAT", "--preset"], &["WHATSAT", "--preset"], None);
    }
}
