//! What a knob is: one thing that an operator can set, declared once.
//!
//! All that is known of a knob comes from its declaration: how herd.toml, a flag and a variable are
//! read and what they may say, the value without them, what `herd example-config` and SETTINGS.md
//! say of it, and what `herd check-config` shows. The declarations are in
//! [`limits`](super::limits), [`places`](super::places) and [`settings`](super::settings).

use std::ffi::OsStr;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::units::{TIMER_MAX, parse_duration, parse_size, show_duration, show_number, show_size};
use super::{Addresses, Networks, Settings, url};

/// Longer URLs are not known to be needed by any service.
const URL_BYTES_MAX: usize = 4_096;

/// How no time is spelled, where that is a value.
const NO_TIME: &str = "0 s";

/// One thing that an operator can set.
pub struct Knob {
    /// As herd.toml names it, with its section: `limits.idle`.
    pub name: &'static str,
    pub kind: Kind,
    /// The value unless another is given, spelled as behind a flag. For a kind that may have none:
    /// words for people.
    pub default: &'static str,
    /// The value in presets, if it is another one.
    pub preset: Option<&'static str>,
    /// The value where positions are kept from strangers, if it is another one.
    pub guarded: Option<&'static str>,
    /// A value for the example, if there is none by default.
    pub example: &'static str,
    /// What it does, in sentences.
    pub meaning: &'static str,
    /// Why the default is what it is, in a sentence.
    pub reason: &'static str,
    pub flag: Option<Flag>,
    pub effect: Effect,
}

/// When a server that runs does what a changed value says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// From a reload on.
    Live,
    /// From a reload on, for connections that come after it.
    NewConnections,
    /// When it is started again.
    Restart,
}

impl Effect {
    /// The word for it on the page of settings.
    pub fn name(self) -> &'static str {
        match self {
            Effect::Live => "live",
            Effect::NewConnections => "new connections",
            Effect::Restart => "restart",
        }
    }
}

impl fmt::Debug for Knob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What says the same on the command line of `serve`, and in the environment.
pub struct Flag {
    /// Without its dashes.
    pub long: &'static str,
    pub variable: &'static str,
    /// What stands for the value in help.
    pub value: &'static str,
    pub help: &'static str,
}

/// Where a value is in the settings.
type At<T> = fn(&mut Settings) -> &mut T;

/// What a knob's value may be, and where it goes.
pub enum Kind {
    /// A number of things.
    Count { at: At<usize>, range: RangeInclusive<usize>, of: &'static str },
    /// The same, or none.
    SomeCount { at: At<Option<usize>>, range: RangeInclusive<usize>, of: &'static str },
    /// One of some numbers.
    OneOf { at: At<usize>, values: &'static [usize] },
    /// Bytes.
    Size { at: At<usize>, range: RangeInclusive<usize> },
    /// A time above zero.
    Time { at: At<Duration>, max: Duration },
    /// The same, or none: `0 s`.
    TimeOrZero { at: At<Duration>, max: Duration },
    /// A time above zero, or `off`.
    TimeOrOff { at: At<Option<Duration>>, max: Duration },
    /// Yes or no.
    Switch { at: At<bool> },
    /// A path that is always known.
    Path { at: At<PathBuf> },
    /// A path, or none.
    SomePath { at: At<Option<PathBuf>> },
    /// A text of at most so many bytes, or none.
    SomeText { at: At<Option<String>>, bytes_max: usize },
    /// Networks of addresses, or none.
    Networks { at: At<Networks> },
    /// Addresses of hosts and ports, or none.
    Addresses { at: At<Addresses> },
    /// An URL, or none. It is shown without what may be a secret.
    SomeUrl { at: At<Option<String>> },
    /// A word that has a type of its own.
    Word {
        set: fn(&mut Settings, &str) -> Result<(), String>,
        show: fn(&Settings) -> String,
        /// The words to choose from, for people.
        words: &'static str,
    },
}

impl Knob {
    /// The section of herd.toml; empty for what stands above the first one.
    pub fn section(&self) -> &'static str {
        self.name.split_once('.').map_or("", |(section, _)| section)
    }

    pub fn key(&self) -> &'static str {
        self.name.split_once('.').map_or(self.name, |(_, key)| key)
    }

    /// Takes a value over, which is spelled as behind a flag.
    ///
    /// # Errors
    /// A message that names the value, what it may be, and so the way out.
    pub fn set(&self, settings: &mut Settings, value: &OsStr) -> Result<(), String> {
        let text = || value.to_str().ok_or_else(|| format!("{} is no UTF-8", value.display()));
        match &self.kind {
            Kind::Count { at, range, of } => *at(settings) = parse_count(text()?, range, of)?,
            Kind::SomeCount { at, range, of } => {
                *at(settings) = Some(parse_count(text()?, range, of)?)
            }
            Kind::OneOf { at, values } => *at(settings) = parse_one_of(text()?, values)?,
            Kind::Size { at, range } => *at(settings) = parse_bytes(text()?, range)?,
            Kind::TimeOrZero { at, .. } if text()? == NO_TIME => *at(settings) = Duration::ZERO,
            Kind::TimeOrZero { at, max } => {
                let found = parse_duration(text()?, *max);
                *at(settings) = found.map_err(|why| format!("{why}, or \"{NO_TIME}\""))?;
            }
            Kind::Time { at, max } => *at(settings) = parse_duration(text()?, *max)?,
            Kind::TimeOrOff { at, .. } if text()? == "off" => *at(settings) = None,
            Kind::TimeOrOff { at, max } => {
                let found = parse_duration(text()?, *max);
                *at(settings) = Some(found.map_err(|why| format!("{why}, or \"off\""))?);
            }
            Kind::Switch { at } => *at(settings) = parse_switch(text()?)?,
            Kind::Path { at } => *at(settings) = parse_path(value)?,
            Kind::SomePath { at } => *at(settings) = Some(parse_path(value)?),
            Kind::SomeText { at, bytes_max } => *at(settings) = Some(bounded(text()?, *bytes_max)?),
            Kind::SomeUrl { at } => *at(settings) = Some(bounded(text()?, URL_BYTES_MAX)?),
            Kind::Networks { at } => *at(settings) = text()?.parse()?,
            Kind::Addresses { at } => *at(settings) = text()?.parse()?,
            Kind::Word { set, .. } => set(settings, text()?)?,
        }
        Ok(())
    }

    /// The value, spelled as a flag would; `None` if there is none.
    pub fn show(&self, settings: &Settings) -> Option<String> {
        // The ways to a value lead to one that can be changed, so they are shown a copy.
        let mut settings = settings.clone();
        let settings = &mut settings;
        let path = |path: &PathBuf| path.display().to_string();
        match &self.kind {
            Kind::Count { at, .. } | Kind::OneOf { at, .. } => Some(at(settings).to_string()),
            Kind::SomeCount { at, .. } => at(settings).map(|count| count.to_string()),
            Kind::Size { at, .. } => Some(show_size(*at(settings))),
            Kind::Time { at, .. } | Kind::TimeOrZero { at, .. } => {
                Some(show_duration(*at(settings)))
            }
            Kind::TimeOrOff { at, .. } => {
                Some(at(settings).map_or_else(|| "off".to_owned(), show_duration))
            }
            Kind::Switch { at } => Some(at(settings).to_string()),
            Kind::Path { at } => Some(path(at(settings))),
            Kind::SomePath { at } => at(settings).as_ref().map(path),
            Kind::SomeText { at, .. } => at(settings).clone(),
            Kind::SomeUrl { at } => at(settings).as_deref().map(url::shown),
            Kind::Networks { at } => Some(at(settings).to_string()),
            Kind::Addresses { at } => Some(at(settings).to_string()),
            Kind::Word { show, .. } => Some(show(settings)),
        }
    }

    /// Whether it has the same value in both.
    pub fn is_same(&self, one: &Settings, other: &Settings) -> bool {
        let (one, other) = (&mut one.clone(), &mut other.clone());
        match &self.kind {
            Kind::Count { at, .. } | Kind::OneOf { at, .. } | Kind::Size { at, .. } => {
                at(one) == at(other)
            }
            Kind::SomeCount { at, .. } => at(one) == at(other),
            Kind::Time { at, .. } | Kind::TimeOrZero { at, .. } => at(one) == at(other),
            Kind::TimeOrOff { at, .. } => at(one) == at(other),
            Kind::Switch { at } => at(one) == at(other),
            Kind::Path { at } => at(one) == at(other),
            Kind::SomePath { at } => at(one) == at(other),
            Kind::SomeText { at, .. } | Kind::SomeUrl { at } => at(one) == at(other),
            Kind::Networks { at } => at(one) == at(other),
            Kind::Addresses { at } => at(one) == at(other),
            Kind::Word { show, .. } => show(one) == show(other),
        }
    }

    /// Gives it the value that it has elsewhere.
    pub fn copy(&self, from: &Settings, to: &mut Settings) {
        let from = &mut from.clone();
        match &self.kind {
            Kind::Count { at, .. } | Kind::OneOf { at, .. } | Kind::Size { at, .. } => {
                *at(to) = *at(from)
            }
            Kind::SomeCount { at, .. } => *at(to) = *at(from),
            Kind::Time { at, .. } | Kind::TimeOrZero { at, .. } => *at(to) = *at(from),
            Kind::TimeOrOff { at, .. } => *at(to) = *at(from),
            Kind::Switch { at } => *at(to) = *at(from),
            Kind::Path { at } => at(to).clone_from(at(from)),
            Kind::SomePath { at } => at(to).clone_from(at(from)),
            Kind::SomeText { at, .. } | Kind::SomeUrl { at } => at(to).clone_from(at(from)),
            Kind::Networks { at } => at(to).clone_from(at(from)),
            Kind::Addresses { at } => at(to).clone_from(at(from)),
            Kind::Word { set, show, .. } => {
                // What is shown can be set again: a test reads each value back.
                let _ = set(to, &show(from));
            }
        }
    }

    /// What its value may be, for people.
    pub fn range(&self) -> String {
        match &self.kind {
            Kind::Count { range, of, .. } | Kind::SomeCount { range, of, .. } => {
                format!("{} to {} {of}", range.start(), show_number(*range.end()))
            }
            Kind::OneOf { values, .. } => listed(values),
            Kind::Size { range, .. } => {
                format!("{} to {}", show_size(*range.start()), show_size(*range.end()))
            }
            Kind::Time { max, .. } => format!("1 ms to {}", show_duration(*max)),
            Kind::TimeOrZero { max, .. } => format!("{NO_TIME} to {}", show_duration(*max)),
            Kind::TimeOrOff { max, .. } => format!("1 ms to {}, or off", show_duration(*max)),
            Kind::Switch { .. } => "true or false".to_owned(),
            Kind::Path { .. } | Kind::SomePath { .. } => "a path".to_owned(),
            Kind::SomeText { bytes_max, .. } => format!("at most {}", show_size(*bytes_max)),
            Kind::SomeUrl { .. } => "an URL".to_owned(),
            Kind::Networks { .. } => "a list of networks".to_owned(),
            Kind::Addresses { .. } => "a list of HOST:PORT".to_owned(),
            Kind::Word { words, .. } => (*words).to_owned(),
        }
    }

    /// True if it may have no value.
    pub fn is_optional(&self) -> bool {
        matches!(
            self.kind,
            Kind::SomeCount { .. }
                | Kind::SomePath { .. }
                | Kind::SomeText { .. }
                | Kind::SomeUrl { .. }
        )
    }

    /// A value as herd.toml has it: in quotes, unless it is a number, true or false, and in
    /// brackets if it is a list.
    pub fn in_file(&self, value: &str) -> String {
        match self.kind {
            Kind::Count { .. } | Kind::SomeCount { .. } | Kind::OneOf { .. } => value.to_owned(),
            Kind::Switch { .. } => value.to_owned(),
            Kind::Networks { .. } => {
                let networks: Networks = value.parse().unwrap_or_default();
                toml::Value::from(networks.spelled()).to_string()
            }
            Kind::Addresses { .. } => {
                let addresses: Addresses = value.parse().unwrap_or_default();
                toml::Value::from(addresses.spelled()).to_string()
            }
            _ => toml::Value::from(value).to_string(),
        }
    }
}

fn parse_count(text: &str, range: &RangeInclusive<usize>, of: &str) -> Result<usize, String> {
    let number: i128 = text.parse().map_err(|_| format!("`{text}` is no number"))?;
    let fits = usize::try_from(number).ok().filter(|number| range.contains(number));
    let (min, max) = (range.start(), show_number(*range.end()));
    fits.ok_or_else(|| format!("{number} is not between {min} and {max} {of}"))
}

fn parse_one_of(text: &str, values: &[usize]) -> Result<usize, String> {
    let found = values.iter().find(|value| value.to_string() == text);
    found.copied().ok_or_else(|| format!("{text} is none of {}", listed(values)))
}

/// Numbers to choose from, for people: `1, 32 or 1024`.
fn listed(values: &[usize]) -> String {
    let words = Vec::from_iter(values.iter().map(usize::to_string));
    match words.split_last() {
        Some((last, others)) if !others.is_empty() => format!("{} or {last}", others.join(", ")),
        _ => words.concat(),
    }
}

fn parse_bytes(text: &str, range: &RangeInclusive<usize>) -> Result<usize, String> {
    // A number below zero is one out of range, and not ill spelled.
    let bytes = if text.starts_with('-') { None } else { Some(parse_size(text)?) };
    let bytes = bytes.and_then(|bytes| usize::try_from(bytes).ok());
    let (min, max) = (show_size(*range.start()), show_size(*range.end()));
    let fits = bytes.filter(|bytes| range.contains(bytes));
    fits.ok_or_else(|| format!("{text} is not between {min} and {max}"))
}

fn parse_path(text: &OsStr) -> Result<PathBuf, String> {
    if text.is_empty() {
        return Err("an empty path names nothing: leave it out".to_owned());
    }
    Ok(PathBuf::from(text))
}

fn bounded(text: &str, bytes_max: usize) -> Result<String, String> {
    if text.len() > bytes_max {
        let (bytes, most) = (text.len(), show_size(bytes_max));
        return Err(format!("this has {bytes} bytes: write {most} at most"));
    }
    Ok(text.to_owned())
}

/// Permissions as chmod(1) takes them: `0640`.
pub fn parse_mode(text: &str) -> Result<u32, String> {
    let mode = u32::from_str_radix(text, 8).ok().filter(|mode| *mode <= 0o777);
    // Without these, the server itself could not use what it has made.
    mode.filter(|mode| mode & 0o600 == 0o600).ok_or_else(|| {
        format!("`{text}` is no mode: write octal digits from 0600 to 0777, as in \"0640\"")
    })
}

/// What the variable of a flag without a value may say.
///
/// # Errors
/// A message with the words to choose from.
pub fn parse_switch(text: &str) -> Result<bool, String> {
    match text.to_ascii_lowercase().as_str() {
        "1" | "true" | "yes" | "on" => Ok(true),
        "0" | "false" | "no" | "off" => Ok(false),
        _ => Err("write 1 or 0".into()),
    }
}

// How a knob is declared.
impl Knob {
    pub const fn new(name: &'static str, kind: Kind, default: &'static str) -> Knob {
        Knob {
            name,
            kind,
            default,
            preset: None,
            guarded: None,
            example: default,
            meaning: "",
            reason: "",
            flag: None,
            effect: Effect::Live,
        }
    }

    /// Another range than from one to a billion.
    pub const fn within(mut self, wanted: RangeInclusive<usize>) -> Knob {
        if let Kind::Count { range, .. }
        | Kind::SomeCount { range, .. }
        | Kind::Size { range, .. } = &mut self.kind
        {
            *range = wanted;
        }
        self
    }

    pub const fn in_presets(mut self, value: &'static str) -> Knob {
        self.preset = Some(value);
        self
    }

    /// The value where access is configured or the web port is open.
    pub const fn where_guarded(mut self, value: &'static str) -> Knob {
        self.guarded = Some(value);
        self
    }

    pub const fn example(mut self, value: &'static str) -> Knob {
        self.example = value;
        self
    }

    pub const fn means(mut self, messages: &'static str) -> Knob {
        self.meaning = messages;
        self
    }

    pub const fn because(mut self, message: &'static str) -> Knob {
        self.reason = message;
        self
    }

    /// A changed value is not for what runs already.
    pub const fn takes_effect(mut self, effect: Effect) -> Knob {
        self.effect = effect;
        self
    }

    pub const fn flag(mut self, flag: Flag) -> Knob {
        self.flag = Some(flag);
        self
    }
}

/// What a number may be that nothing else bounds: it keeps sums of limits from overflowing, and a
/// billion of anything is out of reach.
const ANY: RangeInclusive<usize> = 1..=1_000_000_000;

/// A number of things.
pub const fn count(
    name: &'static str,
    at: At<usize>,
    default: &'static str,
    of: &'static str,
) -> Knob {
    Knob::new(name, Kind::Count { at, range: ANY, of }, default)
}

/// The same, or none: `default` says what that means.
pub const fn some_count(
    name: &'static str,
    at: At<Option<usize>>,
    default: &'static str,
    of: &'static str,
) -> Knob {
    Knob::new(name, Kind::SomeCount { at, range: ANY, of }, default)
}

pub const fn size(name: &'static str, at: At<usize>, default: &'static str) -> Knob {
    Knob::new(name, Kind::Size { at, range: ANY }, default)
}

pub const fn time(name: &'static str, at: At<Duration>, default: &'static str) -> Knob {
    Knob::new(name, Kind::Time { at, max: TIMER_MAX }, default)
}

/// A time, and none by default.
pub const fn time_or_zero(name: &'static str, at: At<Duration>) -> Knob {
    Knob::new(name, Kind::TimeOrZero { at, max: TIMER_MAX }, NO_TIME)
}

pub const fn time_or_off(
    name: &'static str,
    at: At<Option<Duration>>,
    default: &'static str,
    max: Duration,
) -> Knob {
    Knob::new(name, Kind::TimeOrOff { at, max }, default)
}

/// False unless it is set.
pub const fn switch(name: &'static str, at: At<bool>) -> Knob {
    Knob::new(name, Kind::Switch { at }, "false")
}

pub const fn path(name: &'static str, at: At<PathBuf>, default: &'static str) -> Knob {
    Knob::new(name, Kind::Path { at }, default)
}

pub const fn some_path(name: &'static str, at: At<Option<PathBuf>>) -> Knob {
    Knob::new(name, Kind::SomePath { at }, "none")
}
