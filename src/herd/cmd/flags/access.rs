//! What `token`, `share` and `forget` take.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use herd::config::herd::parse_name;
use herd::config::units::{parse_distance, parse_duration};
use herd_web::access::{Pattern, check_name};
use herd_web::blur::Blur;

use super::{HerdFlags, PlaceFlags};

/// Nobody should have to remember a secret for longer.
const TIME_MAX: Duration = Duration::from_secs(3650 * 86_400);
/// A link is for a while.
const LINK_TIME_MAX: Duration = Duration::from_secs(31 * 86_400);

#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Give somebody a secret, and print it: the only time that it is shown
    Add {
        /// Whose it is: a person or a device
        #[arg(value_parser = parse_token_name)]
        name: String,
        /// Clients that may be reported with it: kiwi, jane/* or *; may be repeated
        #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
        report: Vec<Pattern>,
        /// Clients that may be seen with it; may be repeated
        #[arg(long, value_name = "PATTERN", value_parser = parse_pattern)]
        read: Vec<Pattern>,
        /// For how long it is good, as in 30d [default: until it is removed]
        #[arg(long = "for", value_name = "DURATION", value_parser = parse_time)]
        time: Option<Duration>,
        #[command(flatten)]
        access: AccessFlag,
    },
    /// Show who has one, and what for
    List {
        #[command(flatten)]
        access: AccessFlag,
    },
    /// Take a secret back
    Remove {
        /// Whose it is
        name: String,
        #[command(flatten)]
        access: AccessFlag,
    },
    /// Take a link back that `share` has made
    Revoke {
        /// Its serial, as `share` has told it
        #[arg(value_parser = parse_serial)]
        serial: String,
        #[command(flatten)]
        access: AccessFlag,
    },
}

/// Which file.
#[derive(Args, Clone, Debug)]
pub struct AccessFlag {
    /// The file that says who may report and ask by HTTP
    #[arg(long, value_name = "FILE", env = "HERD_ACCESS", hide_env_values = true)]
    #[arg(default_value = "access.toml")]
    pub access: PathBuf,
}

/// The client that a link shows, and for how long.
#[derive(Args, Clone, Debug)]
pub struct ShareFlags {
    /// The client, as it is called in IAMAT
    #[arg(value_parser = parse_client)]
    pub client: String,
    /// For how long it can be seen, as in 2h; at most 31d
    #[arg(long = "for", value_name = "DURATION", value_parser = parse_link_time)]
    pub time: Duration,
    /// Show only in which square of at least this size (1 km) the client is, and the minute
    #[arg(long, value_name = "DISTANCE", value_parser = parse_blur)]
    #[arg(num_args = 0..=1, default_missing_value = "1 km")]
    pub blur: Option<Blur>,
    /// Where the herd is reached, if not at the web port of its first server
    #[arg(long, value_name = "URL")]
    pub url: Option<String>,
    /// File with the herd's keys
    #[arg(long, value_name = "FILE", env = "HERD_KEY_FILE", hide_env_values = true)]
    pub key_file: Option<PathBuf>,
    /// The file that says who may report and ask by HTTP
    #[arg(long, value_name = "FILE", env = "HERD_ACCESS", hide_env_values = true)]
    pub access: Option<PathBuf>,
    #[command(flatten)]
    pub herd: HerdFlags,
}

/// Which client to forget, and by which server.
#[derive(Args, Clone, Debug)]
pub struct ForgetFlags {
    /// The server's name in its herd
    #[arg(value_parser = parse_name)]
    pub name: String,
    /// The client, as it is called in IAMAT
    #[arg(value_parser = parse_client)]
    pub client: String,
    #[command(flatten)]
    pub place: PlaceFlags,
}

fn parse_token_name(text: &str) -> Result<String, String> {
    check_name(text).map(|()| text.to_owned())
}

fn parse_pattern(text: &str) -> Result<Pattern, String> {
    text.parse()
}

fn parse_time(text: &str) -> Result<Duration, String> {
    parse_duration(text, TIME_MAX)
}

fn parse_link_time(text: &str) -> Result<Duration, String> {
    parse_duration(text, LINK_TIME_MAX)
}

fn parse_blur(text: &str) -> Result<Blur, String> {
    let metres = parse_distance(text, Blur::METRES_MIN..=Blur::METRES_MAX)?;
    Blur::new(metres).ok_or_else(|| "this is out of bounds".to_owned())
}

fn parse_serial(text: &str) -> Result<String, String> {
    let is_serial = text.len() == 8 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let wrong = || format!("`{}` is no serial: it has 8 hex digits", text.escape_debug());
    is_serial.then(|| text.to_ascii_lowercase()).ok_or_else(wrong)
}

fn parse_client(text: &str) -> Result<String, String> {
    let is_word = !text.chars().any(|char| char.is_whitespace() || char.is_control());
    let wrong = || format!("`{}` is no client: it is one word", text.escape_debug());
    (is_word && !text.is_empty()).then(|| text.to_owned()).ok_or_else(wrong)
}
