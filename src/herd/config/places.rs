//! Where the answers to WHATSAT come from: the section `[places]`.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::knob::{Flag, Kind, Knob, count, some_count, some_path, switch, time};
use super::limits::PLACES_ATTRIBUTION_BYTES_MAX;
use super::{Address, ConfigError, Secret, url};

/// The values of the section `[places]`; [`KNOBS`] says what each is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Places {
    pub source: PlacesSource,
    /// The operator's own places; `Some` for source `File`.
    pub file: Option<PathBuf>,
    pub attribution: Option<String>,
    /// `None`: the service's own.
    pub url: Option<String>,
    pub key_file: Option<PathBuf>,
    /// The key itself, which [`Places::complete`] finds for a source that needs one.
    pub key: Option<Secret>,
    pub deadline: Duration,
    pub calls: CallRules,
    pub proxy_from_env: bool,
    pub ca_file: Option<PathBuf>,
    pub kept_max: usize,
    pub kept: Duration,
}

/// Which questions become calls of a remote source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CallRules {
    /// Calls at a time, and so threads.
    pub workers: usize,
    pub queue_max: usize,
    /// `None`: as many as are asked for.
    pub calls_per_day: Option<usize>,
    pub questions_per_second: usize,
    pub questions_at_once: usize,
    pub limits_loopback: bool,
}

/// Google charges for each call; a day's worth costs about as much as a lunch.
const PAID_CALLS_PER_DAY: usize = 1_000;

/// Half of what the public Overpass servers let one asker have in a day.
const OVERPASS_CALLS_PER_DAY: usize = 5_000;

/// Questions or answers that may be held: some kilobytes each.
const HELD_MAX: usize = 100_000;

/// Questions of one address: more than a loop has time for.
const RATE_MAX: usize = 1_000_000;

/// Who is asked what is near a client.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PlacesSource {
    /// The atlas of towns inside the program: no key, no network.
    #[default]
    Embedded,
    /// The operator's own, from a file.
    File,
    /// Google's Places API (New), Nearby Search.
    GoogleNew,
    /// Google's Places API (Legacy), Nearby Search.
    GoogleLegacy,
    /// OpenStreetMap, by way of an Overpass API server.
    Overpass,
}

impl PlacesSource {
    const ALL: [PlacesSource; 5] = [
        PlacesSource::Embedded,
        PlacesSource::File,
        PlacesSource::GoogleNew,
        PlacesSource::GoogleLegacy,
        PlacesSource::Overpass,
    ];

    /// The name an operator writes.
    pub fn name(self) -> &'static str {
        match self {
            PlacesSource::Embedded => "embedded",
            PlacesSource::File => "file",
            PlacesSource::GoogleNew => "google-new",
            PlacesSource::GoogleLegacy => "google-legacy",
            PlacesSource::Overpass => "overpass",
        }
    }

    /// It is asked over the network.
    pub fn is_remote(self) -> bool {
        !matches!(self, PlacesSource::Embedded | PlacesSource::File)
    }

    /// It costs money, and so has keys.
    pub fn is_paid(self) -> bool {
        matches!(self, PlacesSource::GoogleNew | PlacesSource::GoogleLegacy)
    }
}

impl std::str::FromStr for PlacesSource {
    type Err = String;

    fn from_str(text: &str) -> Result<PlacesSource, String> {
        let found = PlacesSource::ALL.into_iter().find(|source| source.name() == text);
        found.ok_or_else(|| {
            let names = PlacesSource::ALL.map(PlacesSource::name).join(", ");
            format!("the sources of places are {names}")
        })
    }
}

impl Places {
    /// Checks what the source needs and finds its key. `key` is the key itself; it beats the file.
    ///
    /// # Errors
    /// An unfit key file or URL, no key for a service that surely wants one, no file to read.
    pub fn complete(mut self, key: Option<Secret>) -> Result<Places, ConfigError> {
        if self.source == PlacesSource::File {
            check_file(self.file.as_deref())?;
        }
        self.calls.calls_per_day = self.calls.calls_per_day.or_else(|| self.budget());
        // A key that is not needed is best left where it lies.
        self.key = if self.source.is_paid() { self.find_key(key)? } else { None };
        self.url = self.url.filter(|_| self.source.is_remote()).map(check_url).transpose()?;
        Ok(self)
    }

    fn find_key(&self, key: Option<Secret>) -> Result<Option<Secret>, ConfigError> {
        match (key, &self.key_file) {
            (Some(key), _) => Ok(Some(key)),
            (None, Some(path)) => Secret::read(path).map(Some),
            (None, None) if self.url.is_none() => Err(ConfigError::new(format!(
                "places source {} needs a key: put it in a file for --places-key-file, or in \
                 HERD_PLACES_KEY",
                self.source.name()
            ))),
            // A stand-in for the service, as in a test, may ask for no key.
            (None, None) => Ok(None),
        }
    }

    /// Calls of a day unless the operator says otherwise. A service of one's own costs nothing and
    /// can be asked for ever.
    fn budget(&self) -> Option<usize> {
        let is_paid = self.source.is_paid();
        let calls = if is_paid { PAID_CALLS_PER_DAY } else { OVERPASS_CALLS_PER_DAY };
        self.url.is_none().then_some(calls)
    }
}

/// Passes a file that can be read now. What is in it is looked at later, off the loop.
fn check_file(path: Option<&Path>) -> Result<(), ConfigError> {
    let Some(path) = path else {
        let message = "places source file needs a file: name it with --places-file";
        return Err(ConfigError::new(message));
    };
    let fail = |why: &str| {
        let shown = path.display();
        ConfigError::new(format!("the file of places {shown} cannot be read: {why}"))
    };
    let cannot = |error: io::Error| fail(&error.to_string()).caused_by(error);
    let about = fs::metadata(path).map_err(cannot)?;
    if about.is_dir() {
        return Err(fail("it is a directory: name the file in it"));
    }
    // Opening a pipe would wait for a program that writes to it.
    if !about.is_file() {
        return Err(fail("it is no regular file but a pipe, a socket or a device"));
    }
    fs::File::open(path).map(drop).map_err(cannot)
}

/// Passes a base URL that keeps the key and the answers private.
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

/// What the section `[places]` may say, in the order of the example.
pub const KNOBS: &[Knob] = &[
    Knob::new(
        "places.source",
        Kind::Word {
            set: |s, text| text.parse().map(|source| s.places.source = source),
            show: |s| s.places.source.name().to_owned(),
            words: "embedded, file, google-new, google-legacy or overpass",
        },
        "embedded",
    )
    .flag(Flag {
        long: "places",
        variable: "HERD_PLACES",
        value: "SOURCE",
        help: "Who knows what is near: embedded, file, google-new, google-legacy, overpass",
    })
    .means(
        "Who knows what is near a client: embedded, towns of the world inside the program; \
             file, your own places, from `file`; google-new, Google's Places API (New), which \
             needs a key; google-legacy, the older one, for keys from before 2025; overpass, \
             OpenStreetMap, by an Overpass API server.",
    )
    .because("It needs no key and no network, and costs nothing."),
    some_path("places.file", |s| &mut s.places.file)
        .example("places.csv")
        .flag(Flag {
            long: "places-file",
            variable: "HERD_PLACES_FILE",
            value: "FILE",
            help: "Your own places, for source `file`: CSV or GeoJSON; see `herd places check`",
        })
        .means(
            "Your own places, CSV or GeoJSON, packed with gzip or not; what is in it is read \
             again at `herd reload`. `herd places check FILE` says what is in it.",
        )
        .because("What there is depends on the operator."),
    Knob::new(
        "places.attribution",
        Kind::SomeText {
            at: |s| &mut s.places.attribution,
            bytes_max: PLACES_ATTRIBUTION_BYTES_MAX,
        },
        "none",
    )
    .example("&copy; OpenStreetMap contributors, ODbL")
    .flag(Flag {
        long: "places-attribution",
        variable: "HERD_PLACES_ATTRIBUTION",
        value: "HTML",
        help: "HTML that names the origin of your own places in every answer, if their licence \
               wants that",
    })
    .means("HTML that names the origin of `file` in every answer, if its licence wants that.")
    .because("Every answer carries it."),
    Knob::new("places.url", Kind::SomeUrl { at: |s| &mut s.places.url }, "the service's own")
        .example("https://maps.example.org")
        .flag(Flag {
            long: "places-url",
            variable: "HERD_PLACES_URL",
            value: "URL",
            help: "Base URL of the places service, if it is not the service's own",
        })
        .means("Base URL of the remote service; https, except on loopback.")
        .because("Most operators ask the service itself."),
    some_path("places.key_file", |s| &mut s.places.key_file)
        .example("places.key")
        .flag(Flag {
            long: "places-key-file",
            variable: "HERD_PLACES_KEY_FILE",
            value: "FILE",
            help: "File with the service's key, mode 600; HERD_PLACES_KEY may hold the key itself",
        })
        .means(
            "Holds the service's key, and others may not read it, as with the herd's `key_file`. \
             HERD_PLACES_KEY may hold the key itself instead.",
        )
        .because("A key in herd.toml would be read by everybody who may read the rest of it."),
    time("places.deadline", |s| &mut s.places.deadline, "5 s")
        .means("How long a WHATSAT waits before it is answered with a status that says so.")
        .because(
            "Longer than the slowest good answer of a remote service, shorter than a test \
             client waits.",
        ),
    count("places.workers", |s| &mut s.places.calls.workers, "4", "threads")
        .within(1..=64)
        .means("Threads that ask the service, and so calls at a time.")
        .because(
            "At 100 ms an answer they give 40 a second; no service lets one client have more \
             than 64 connections, each with two descriptors.",
        ),
    count("places.queue_max", |s| &mut s.places.calls.queue_max, "256", "questions")
        .within(1..=HELD_MAX)
        .means("Questions that may wait for a thread; more are refused at once.")
        .because(
            "At 40 answers a second the last of them waits as long as its deadline allows; more \
             would only be refused later.",
        ),
    some_count(
        "places.calls_per_day",
        |s| &mut s.places.calls.calls_per_day,
        "1000 for Google itself, 5000 for the public Overpass server, no end for a url of your own",
        "calls",
    )
    .example("1000")
    .means(
        "Calls of the service in a day (UTC), of the whole herd: each server has an equal \
             part, which it keeps to over restarts.",
    )
    .because(
        "Google charges for each call, and a thousand cost about as much as a lunch; 5000 \
             are half of what the public Overpass servers let one asker have in a day.",
    ),
    count(
        "places.questions_per_second",
        |s| &mut s.places.calls.questions_per_second,
        "5",
        "questions",
    )
    .within(1..=RATE_MAX)
    .means("Questions for the service that one client address may ask a second, for long.")
    .because("A person asks for what is near a few times a minute; five a second is a program."),
    count("places.questions_at_once", |s| &mut s.places.calls.questions_at_once, "10", "questions")
        .within(1..=RATE_MAX)
        .means("Questions that it may ask at once, after a pause.")
        .because("A page that shows ten friends asks ten questions at once."),
    switch("places.limits_loopback", |s| &mut s.places.calls.limits_loopback)
        .means("Hold clients on this machine to these two as well.")
        .because("Clients on this machine are no strangers; a proxy on it may want them limited."),
    switch("places.proxy_from_env", |s| &mut s.places.proxy_from_env)
        .means(
            "Ask the service through the proxy that ALL_PROXY, HTTPS_PROXY or HTTP_PROXY names, \
             which speaks HTTP and not SOCKS; the server does not start with one that cannot be \
             used.",
        )
        .because("What a variable of the shell says is not always meant for a server."),
    some_path("places.ca_file", |s| &mut s.places.ca_file)
        .example("ca.pem")
        .means(
            "Certificates (PEM) that the service's must come from, instead of those that \
             browsers trust: for a service of your own, or a proxy that looks into TLS.",
        )
        .because("Public services have certificates that browsers trust."),
    count("places.kept_max", |s| &mut s.places.kept_max, "1000", "answers")
        .within(1..=HELD_MAX)
        .means("Answers of Overpass that are kept. Google's terms forbid to keep theirs.")
        .because("They take about 6 MB."),
    time("places.kept", |s| &mut s.places.kept, "1 h")
        .means("How long they are kept.")
        .because("Shops open and close by the week."),
];

#[cfg(test)]
mod tests {
    use super::super::Settings;
    use super::*;

    fn defaults() -> Places {
        Settings::default().places
    }

    #[test]
    fn a_remote_source_needs_a_key_and_privacy() {
        let with = |url: Option<&str>, key: Option<&str>| {
            let settings = Places {
                source: PlacesSource::GoogleLegacy,
                url: url.map(str::to_owned),
                ..defaults()
            };
            settings.complete(key.map(|key| Secret::new(key.to_owned())))
        };
        let refused = |url: Option<&str>, part: &str| {
            let message = with(url, None).expect_err(part).to_string();
            assert!(message.contains(part), "{message}\n  lacks {part}");
        };
        refused(None, "google-legacy needs a key");
        let new = Places { source: PlacesSource::GoogleNew, ..defaults() };
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
            let settings = Places { source, file, ..defaults() };
            settings.complete(Some(Secret::new("AIza".to_owned())))
        };
        let places = complete(PlacesSource::Overpass, None).unwrap();
        assert!(places.key.is_none(), "nobody is told a key who needs none");
        assert_eq!(places.calls.calls_per_day, Some(OVERPASS_CALLS_PER_DAY));
        let places = complete(PlacesSource::GoogleNew, None).unwrap();
        assert!(places.key.is_some());
        assert_eq!(places.calls.calls_per_day, Some(PAID_CALLS_PER_DAY));

        let here = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
        assert!(complete(PlacesSource::File, Some(here)).unwrap().key.is_none());
        for (file, part) in [
            (None, "needs a file: name it with --places-file"),
            (Some("no/such.csv"), "the file of places no/such.csv cannot be read: "),
            (Some(env!("CARGO_MANIFEST_DIR")), "cannot be read: it is a directory"),
        ] {
            let message = complete(PlacesSource::File, file).unwrap_err().to_string();
            assert!(message.contains(part), "{message}");
        }
        // What is not used is not looked at.
        assert!(complete(PlacesSource::Embedded, Some("no/such.csv")).is_ok());
    }
}
