//! What can be set besides the graph: keys, answers, places, limits, log and run directory.
//!
//! Apart from [`Config`](super::Config) because it is not yet one server's: a key is still a path,
//! and flags and environment may have their say.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;
use serde::{Deserialize, Deserializer, de};

use super::{
    Address, ConfigError, HerdKey, Limits, Places, PlacesSource, Secret, StaleReply, durations,
    limits, url,
};

/// The sections of herd.toml, or their defaults.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What peers must know. `None`: they are believed by their names.
    pub key_file: Option<PathBuf>,
    pub answers: Answers,
    pub places: PlacesSettings,
    pub limits: Limits,
    pub log: LogSettings,
    /// `None`: where [`default_dir`] says.
    pub run_dir: Option<PathBuf>,
    pub run_dir_mode: u32,
}

impl Settings {
    /// What the presets run with.
    pub fn preset() -> Settings {
        Settings {
            key_file: None,
            answers: Answers::default(),
            places: PlacesSettings::default(),
            limits: Limits::PRESET,
            log: LogSettings::default(),
            run_dir: None,
            run_dir_mode: RUN_DIR_MODE,
        }
    }

    /// The herd's keys, the newest first; none if no file is named.
    ///
    /// # Errors
    /// The file is unfit.
    pub fn herd_keys(&self) -> Result<Vec<HerdKey>, ConfigError> {
        self.key_file.as_deref().map_or(Ok(Vec::new()), HerdKey::read_all)
    }
}

/// Logs hold where clients are: their owner writes them, his group may read them.
pub const LOG_MODE: u32 = 0o640;

/// Others than the owner and his group have no business among admin sockets.
pub const RUN_DIR_MODE: u32 = 0o750;

/// The section `[log]`; [`Log`](super::Log) is what becomes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LogSettings {
    /// `None`: where [`default_dir`] says.
    pub dir: Option<PathBuf>,
    #[serde(deserialize_with = "level")]
    pub level: LevelFilter,
    #[serde(deserialize_with = "mode")]
    pub mode: u32,
}

impl Default for LogSettings {
    fn default() -> LogSettings {
        LogSettings { dir: None, level: LevelFilter::Debug, mode: LOG_MODE }
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
    pub file: Option<PathBuf>,
    pub attribution: Option<String>,
    pub url: Option<String>,
    pub key_file: Option<PathBuf>,
    #[serde(deserialize_with = "durations::duration")]
    pub deadline: Duration,
    #[serde(deserialize_with = "limits::places_workers")]
    pub workers: usize,
    #[serde(deserialize_with = "limits::places_memory")]
    pub queue_max: usize,
    #[serde(deserialize_with = "limits::some_count")]
    pub calls_per_day: Option<usize>,
    #[serde(deserialize_with = "limits::places_rate")]
    pub questions_per_second: usize,
    #[serde(deserialize_with = "limits::places_rate")]
    pub questions_at_once: usize,
    pub limits_loopback: bool,
    pub proxy_from_env: bool,
    pub ca_file: Option<PathBuf>,
    #[serde(deserialize_with = "limits::places_memory")]
    pub kept_max: usize,
    #[serde(deserialize_with = "durations::duration")]
    pub kept: Duration,
}

impl PlacesSettings {
    /// What the server runs with. `key` is the key itself; it beats the key file.
    ///
    /// # Errors
    /// An unfit key file or URL, no key for a service that surely wants one, no file to read.
    pub fn complete(self, key: Option<Secret>) -> Result<Places, ConfigError> {
        let calls_per_day = self.calls_per_day.or_else(|| self.budget());
        let mut places = Places {
            source: self.source,
            file: self.file,
            attribution: self.attribution,
            url: None,
            key: None,
            deadline: self.deadline,
            workers: self.workers,
            queue_max: self.queue_max,
            calls_per_day,
            questions_per_second: self.questions_per_second,
            questions_at_once: self.questions_at_once,
            limits_loopback: self.limits_loopback,
            proxy_from_env: self.proxy_from_env,
            ca_file: self.ca_file,
            kept_max: self.kept_max,
            kept: self.kept,
        };
        if self.source == PlacesSource::File {
            check_file(places.file.as_deref())?;
        }
        let bytes_max = limits::PLACES_ATTRIBUTION_BYTES_MAX;
        if places.attribution.as_ref().is_some_and(|html| html.len() > bytes_max) {
            return Err(ConfigError::new(format!(
                "the attribution of the places has more than {bytes_max} bytes, and every answer \
                 carries it: name its origin in fewer words"
            )));
        }
        // A key that nobody needs is best left where it lies.
        if self.source.is_paid() {
            places.key = match (key, self.key_file) {
                (Some(key), _) => Some(key),
                (None, Some(path)) => Some(Secret::read(&path)?),
                (None, None) if self.url.is_none() => {
                    return Err(ConfigError::new(format!(
                        "places source {} needs a key: put it in a file for --places-key-file, \
                         or in HERD_PLACES_KEY",
                        self.source.name()
                    )));
                }
                // A stand-in for the service, as in a test, may ask for no key.
                (None, None) => None,
            };
        }
        if self.source.is_remote() {
            places.url = self.url.map(check_url).transpose()?;
        }
        Ok(places)
    }

    /// Calls of a day unless the operator says otherwise. A service of one's own costs nothing and
    /// can be asked for ever.
    fn budget(&self) -> Option<usize> {
        let calls = if self.source.is_paid() {
            limits::PLACES_CALLS_PER_DAY
        } else {
            limits::OVERPASS_CALLS_PER_DAY
        };
        self.url.is_none().then_some(calls)
    }
}

impl Default for PlacesSettings {
    fn default() -> PlacesSettings {
        PlacesSettings {
            source: PlacesSource::default(),
            file: None,
            attribution: None,
            url: None,
            key_file: None,
            deadline: limits::PLACES_DEADLINE,
            workers: limits::PLACES_WORKERS,
            queue_max: limits::PLACES_QUEUE_MAX,
            calls_per_day: None,
            questions_per_second: limits::PLACES_QUESTIONS_PER_SECOND,
            questions_at_once: limits::PLACES_QUESTIONS_AT_ONCE,
            limits_loopback: false,
            proxy_from_env: false,
            ca_file: None,
            kept_max: limits::PLACES_KEPT_MAX,
            kept: limits::PLACES_KEPT,
        }
    }
}

/// Where files go of which nobody has said where: to `name` in the directory `home`, or in the
/// one where the command is started.
pub fn default_dir(home: Option<&Path>, name: &str) -> PathBuf {
    home.map_or_else(|| PathBuf::from(name), |home| home.join(name))
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

/// Permissions as chmod(1) takes them: `"0640"`.
pub(super) fn mode<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u32, D::Error> {
    let text = String::deserialize(deserializer)?;
    let mode = u32::from_str_radix(&text, 8).ok().filter(|mode| *mode <= 0o777);
    // Without these, the server itself could not use what it has made.
    mode.filter(|mode| mode & 0o600 == 0o600).ok_or_else(|| {
        let sentence = "is no mode: write octal digits from 0600 to 0777, as in \"0640\"";
        de::Error::custom(format!("`{text}` {sentence}"))
    })
}

pub(super) fn level<'de, D: Deserializer<'de>>(deserializer: D) -> Result<LevelFilter, D::Error> {
    parse_level(&String::deserialize(deserializer)?).map_err(de::Error::custom)
}

/// A file that nobody would ask is a mistake, not a wish.
pub(super) fn require_file_source(source: PlacesSource) -> Result<(), ConfigError> {
    if source == PlacesSource::File {
        return Ok(());
    }
    Err(ConfigError::new(format!(
        "--places-file (HERD_PLACES_FILE) names a file, but the places are {}: add --places file \
         (HERD_PLACES=file)",
        source.name()
    )))
}

/// Lets a file pass that can be read now. What is in it is looked at later, off the loop.
fn check_file(path: Option<&Path>) -> Result<(), ConfigError> {
    let Some(path) = path else {
        let sentence = "places source file needs a file: name it with --places-file";
        return Err(ConfigError::new(sentence));
    };
    let fail = |why: &str| {
        let shown = path.display();
        ConfigError::new(format!("the file of places {shown} cannot be read: {why}"))
    };
    match fs::metadata(path) {
        // Opening a pipe would wait for whoever writes to it.
        Ok(about) if about.is_file() => {
            fs::File::open(path).map(drop).map_err(|error| fail(&error.to_string()))
        }
        Ok(about) if about.is_dir() => Err(fail("it is a directory: name the file in it")),
        Ok(_) => Err(fail("it is no regular file but a pipe, a socket or a device")),
        Err(error) => Err(fail(&error.to_string())),
    }
}

/// Lets a base URL pass that keeps the key and the answers private.
fn check_url(url: String) -> Result<String, ConfigError> {
    let shown = url::shown(&url);
    let fail = |why: &str| Err(ConfigError::new(format!("places URL `{shown}` {why}")));
    if url.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return fail("holds white space: write one word");
    }
    let (encrypted, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
        (Some(rest), _) => (true, rest),
        (None, Some(rest)) => (false, rest),
        (None, None) => return fail("must begin with https://"),
    };
    if rest.contains(['?', '#']) {
        return fail("must not hold a query or a fragment: a key belongs in --places-key-file");
    }
    let authority = rest.split('/').next().unwrap_or_default();
    if authority.contains('@') {
        return fail("must not hold a user or a password: a key belongs in --places-key-file");
    }
    let with_port = |port: &str| format!("{authority}{port}").parse::<Address>().ok();
    let Some(address) = with_port("").or_else(|| with_port(":80")) else {
        return fail("names no host: write https://HOST/");
    };
    if !encrypted && !address.is_loopback() {
        return fail("must begin with https://, because it is not on loopback");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remote_source_needs_a_key_and_privacy() {
        let with = |url: Option<&str>, key: Option<&str>| {
            let settings = PlacesSettings {
                source: PlacesSource::GoogleLegacy,
                url: url.map(str::to_owned),
                ..PlacesSettings::default()
            };
            settings.complete(key.map(|key| Secret::new(key.to_owned())))
        };
        let refused = |url: Option<&str>, part: &str| {
            let sentence = with(url, None).expect_err(part).to_string();
            assert!(sentence.contains(part), "{sentence}\n  lacks {part}");
        };
        refused(None, "google-legacy needs a key");
        let new = PlacesSettings { source: PlacesSource::GoogleNew, ..PlacesSettings::default() };
        assert!(new.complete(None).is_err());
        assert!(with(None, Some("AIza")).is_ok());
        for good in ["http://localhost:1", "http://[::1]:9/x", "http://127.0.0.1", "https://a.b/c"]
        {
            assert!(with(Some(good), None).is_ok(), "{good}");
        }
        refused(Some("http://a.example/"), "must begin with https://, because");
        refused(Some("ftp://a.example/"), "must begin with https://");
        refused(Some("https://"), "names no host");
        refused(Some("https://u:p@a.example"), "must not hold a user");
        refused(Some("http://127.0.0.1@a.example/"), "must not hold a user");
        refused(Some("https://a.example/ x"), "holds white space");
        refused(
            Some("https://a.example/json?key=AIza"),
            "`https://a.example/json?…` must not hold",
        );
        refused(Some("https://a.example/#AIza"), "must not hold a query or a fragment");
    }

    #[test]
    fn each_source_takes_what_it_needs() {
        let complete = |source: PlacesSource, file: Option<&str>| {
            let file = file.map(PathBuf::from);
            let settings = PlacesSettings { source, file, ..PlacesSettings::default() };
            settings.complete(Some(Secret::new("AIza".to_owned())))
        };
        let places = complete(PlacesSource::Overpass, None).unwrap();
        assert!(places.key.is_none(), "nobody is told a key who needs none");
        assert_eq!(places.calls_per_day, Some(limits::OVERPASS_CALLS_PER_DAY));
        let places = complete(PlacesSource::GoogleNew, None).unwrap();
        assert!(places.key.is_some());
        assert_eq!(places.calls_per_day, Some(limits::PLACES_CALLS_PER_DAY));

        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(complete(PlacesSource::File, Some(here)).unwrap().key.is_none());
        for (file, part) in [
            (None, "needs a file: name it with --places-file"),
            (Some("no/such.csv"), "the file of places no/such.csv cannot be read: "),
            (Some(env!("CARGO_MANIFEST_DIR")), "cannot be read: it is a directory"),
        ] {
            let sentence = complete(PlacesSource::File, file).unwrap_err().to_string();
            assert!(sentence.contains(part), "{sentence}");
        }
        // What is not used is not looked at.
        assert!(complete(PlacesSource::Embedded, Some("no/such.csv")).is_ok());
    }
}
