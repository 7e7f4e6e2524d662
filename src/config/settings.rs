//! What can be set besides the graph: answers, places, limits, log and run directory.
//!
//! Apart from [`Config`](super::Config) because it is not yet one server's: a key is still a path,
//! and flags and environment may have their say.

use std::path::PathBuf;
use std::time::Duration;

use log::LevelFilter;
use serde::{Deserialize, Deserializer, de};

use super::{Limits, Log, PlacesSource, StaleReply, limits};

/// The sections of herd.toml, or their defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    pub answers: Answers,
    pub places: PlacesSettings,
    pub limits: Limits,
    pub log: Log,
    pub run_dir: PathBuf,
}

impl Settings {
    /// What the presets run with.
    pub fn preset() -> Settings {
        Settings {
            answers: Answers::default(),
            places: PlacesSettings::default(),
            limits: Limits::PRESET,
            log: Log::default(),
            run_dir: default_run_dir(),
        }
    }
}

/// The section `[answers]`: choices that the course's text leaves open.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Answers {
    pub stale_reply: StaleReply,
    pub close_after_reply: bool,
}

/// The section `[places]`; [`Places`](super::Places) is what becomes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PlacesSettings {
    pub source: PlacesSource,
    pub url: Option<String>,
    pub key_file: Option<PathBuf>,
    #[serde(deserialize_with = "limits::duration")]
    pub deadline: Duration,
    #[serde(deserialize_with = "limits::count")]
    pub workers: usize,
    #[serde(deserialize_with = "limits::count")]
    pub queue_max: usize,
}

impl Default for PlacesSettings {
    fn default() -> PlacesSettings {
        PlacesSettings {
            source: PlacesSource::default(),
            url: None,
            key_file: None,
            deadline: limits::PLACES_DEADLINE,
            workers: limits::PLACES_WORKERS,
            queue_max: limits::PLACES_QUEUE_MAX,
        }
    }
}

/// Where pid files and admin sockets go unless somebody says otherwise.
pub fn default_run_dir() -> PathBuf {
    PathBuf::from("run")
}

/// A log level by its own name or by what it adds: `events` or `traffic`.
///
/// # Errors
/// A sentence that lists the levels.
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

pub(super) fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LevelFilter, D::Error> {
    parse_level(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}
