//! The section `[log]`: what is written to the log, how and where.

use std::path::PathBuf;

use log::LevelFilter;

use super::knob::{Effect, Flag, Kind, Knob, parse_mode, path, size};

/// What is written to the log, and where: the section `[log]`.
#[derive(Clone, Debug)]
pub struct Log {
    /// Holds one file for each server; `-` is stderr.
    pub dir: PathBuf,
    /// `Info` logs connections and peers coming and going, `Debug` every line in and out as well.
    pub level: LevelFilter,
    /// Permissions of the files.
    pub mode: u32,
    pub format: LogFormat,
    /// Bytes above which a file is moved away, and a new one is begun.
    pub size_max: usize,
}

/// What a line of the log is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    Text,
    /// An object.
    Json,
}

/// What the section `[log]` may say.
pub const KNOBS: &[Knob] = &[
    path("log.dir", |s| &mut s.log.dir, "log")
        .flag(Flag {
            long: "log-dir",
            variable: "HERD_LOG_DIR",
            value: "DIR",
            help: "Directory of the log files, or - for stderr",
        })
        .takes_effect(Effect::Restart)
        .means(
            "Holds a file for each server, Hill.log and so on: in HERD_HOME if that is set, \
             else in the directory in which a command is started. - is stderr, with priorities if \
             that is journald; only `herd serve` takes it, for `herd start` leaves no stderr.",
        )
        .because("It lies beside herd.toml, and needs no rights that the operator lacks."),
    Knob::new(
        "log.mode",
        Kind::Word {
            set: |s, text| parse_mode(text).map(|mode| s.log.mode = mode),
            show: |s| format!("{:04o}", s.log.mode),
            words: "0600 to 0777",
        },
        "0640",
    )
    .takes_effect(Effect::Restart)
    .means("Permissions of the files.")
    .because("They hold where clients are: their owner writes them, his group may read them."),
    Knob::new(
        "log.level",
        Kind::Word {
            set: |s, text| parse_level(text).map(|level| s.log.level = level),
            show: |s| show_level(s.log.level),
            words: "off, error, warn, info (or events), debug (or traffic) or trace",
        },
        "traffic",
    )
    .flag(Flag {
        long: "log-level",
        variable: "HERD_LOG_LEVEL",
        value: "LEVEL",
        help: "How much to log: off, error, warn, info (or events), debug (or traffic), trace",
    })
    .means(
        "How much to log: events are connections and peers that come and go, traffic is \
             every line in and out as well.",
    )
    .where_guarded("events")
    .because("The course wants every line in the log; of people, that would be a diary."),
    Knob::new(
        "log.format",
        Kind::Word {
            set: |s, text| parse_format(text).map(|format| s.log.format = format),
            show: |s| show_format(s.log.format).to_owned(),
            words: "text or json",
        },
        "text",
    )
    .flag(Flag {
        long: "log-format",
        variable: "HERD_LOG_FORMAT",
        value: "text|json",
        help: "What a line of the log is",
    })
    .takes_effect(Effect::Restart)
    .means("What a line of the log is: text, or an object of JSON.")
    .because("People read a log first."),
    size("log.size_max", |s| &mut s.log.size_max, "1 GB")
        .within((1 << 20)..=(1 << 40))
        .takes_effect(Effect::Restart)
        .means(
            "A file above this becomes NAME.log.1, in the place of the one before, and a new one \
             is begun: a server has twice as much on its disk at most.",
        )
        .because(
            "A program that rotates logs does so long before; without one, no disk becomes full.",
        ),
];

/// A log level by its own name or by what it adds: `events` or `traffic`.
///
/// # Errors
/// A message that lists the levels.
pub fn parse_level(text: &str) -> Result<LevelFilter, String> {
    match text {
        "off" => Ok(LevelFilter::Off),
        "error" => Ok(LevelFilter::Error),
        "warn" => Ok(LevelFilter::Warn),
        "info" | "events" => Ok(LevelFilter::Info),
        "debug" | "traffic" => Ok(LevelFilter::Debug),
        "trace" => Ok(LevelFilter::Trace),
        _ => Err(format!(
            "`{text}` is no log level: write off, error, warn, info (or events), \
             debug (or traffic) or trace"
        )),
    }
}

/// What a line of the log is: `text` or `json`.
///
/// # Errors
/// A sentence that lists the words.
fn parse_format(text: &str) -> Result<LogFormat, String> {
    match text {
        "text" => Ok(LogFormat::Text),
        "json" => Ok(LogFormat::Json),
        _ => Err(format!("`{text}` is neither text nor json")),
    }
}

fn show_format(format: LogFormat) -> &'static str {
    match format {
        LogFormat::Text => "text",
        LogFormat::Json => "json",
    }
}

/// A level by what it adds, where it has such a name.
pub fn show_level(level: LevelFilter) -> String {
    match level {
        LevelFilter::Info => "events".to_owned(),
        LevelFilter::Debug => "traffic".to_owned(),
        level => level.to_string().to_lowercase(),
    }
}
