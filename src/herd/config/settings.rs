//! What can be set besides the graph of the herd: the sections of herd.toml, and all knobs.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::time::Duration;

use log::LevelFilter;

use super::knob::{Effect, Flag, Kind, Knob, count, parse_mode, path, some_path, switch};
use super::log_settings::{Log, LogFormat};
use super::tls::{self, TlsSettings};
use super::{
    ConfigError, Engine, HerdKey, HerdKeys, Limits, Networks, Places, StaleReply, engine, limits,
    log_settings, places,
};
use herd_core::journal::appender::Keep;
use herd_core::journal::breaker::WhenBroken;

/// Every setting with its value. [`Settings::default`] has all defaults; herd.toml, variables and
/// flags go over them.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Without a key, peers may be beyond this machine.
    pub open: bool,
    /// Operators may.
    pub operators_open: bool,
    /// So may those who report and ask by HTTP.
    pub web_open: bool,
    /// Proxies, which say which client they speak for.
    pub proxy_from: Networks,
    /// Who may report and ask by HTTP. `None`: everybody who reaches the port.
    pub access: Option<PathBuf>,
    /// What peers must know. `None`: they are believed by their names.
    pub key_file: Option<PathBuf>,
    pub run_dir: PathBuf,
    pub run_dir_mode: u32,
    pub answers: Answers,
    pub tls: TlsSettings,
    pub engine: Engine,
    pub places: Places,
    pub log: Log,
    pub journal: Journal,
    pub nearby: Nearby,
    pub limits: Limits,
}

/// What answers who is near a point: the section `[nearby]`.
#[derive(Clone, Debug, Default)]
pub struct Nearby {
    /// Where clients are is indexed, if there is a web port.
    pub index: bool,
}

/// What is kept on disk, and where: the section `[journal]`.
#[derive(Clone, Debug)]
pub struct Journal {
    /// What an answer waits for; `None` if there is no journal.
    pub keep: Option<Keep>,
    /// Holds a directory for each server.
    pub dir: PathBuf,
    /// Space amplification: a journal may grow to this multiple of what it says, and by two
    /// segments more.
    pub room: usize,
    /// What becomes of reports while the disk takes nothing.
    pub when_broken: WhenBroken,
    /// How often what was written is synced, if no answer waits for that.
    pub sync_every: Duration,
    /// A server does not start without what is damaged or missing.
    pub strict: bool,
}

/// The section `[answers]`: choices that the course's text leaves open.
#[derive(Clone, Debug, Default)]
pub struct Answers {
    pub stale_reply: StaleReply,
    pub close_after_reply: bool,
}

/// A section of herd.toml.
pub struct Section {
    /// Empty for what stands above the first one.
    pub name: &'static str,
    /// What the example says of it.
    pub about: &'static str,
    pub knobs: &'static [Knob],
}

/// All sections and, in them, all knobs, in the order of the example.
pub const SECTIONS: [Section; 9] = [
    Section { name: "", about: "", knobs: HERD },
    Section { name: "answers", about: "", knobs: ANSWERS },
    Section { name: "tls", about: "", knobs: tls::KNOBS },
    Section { name: "engine", about: "", knobs: engine::KNOBS },
    Section { name: "places", about: "", knobs: places::KNOBS },
    Section { name: "log", about: "", knobs: log_settings::KNOBS },
    Section { name: "journal", about: "", knobs: JOURNAL },
    Section { name: "nearby", about: "", knobs: NEARBY },
    Section {
        name: "limits",
        about: "A bound on everything. Durations are spelled like \"100 ms\", \"30 s\", \
                \"5 min\", \"12 h\" or \"1 d\", sizes like 8192, \"8 KiB\", \"1 MiB\" or \"1 GB\".",
        knobs: limits::KNOBS,
    },
];

/// All knobs, in the order of the example.
pub fn knobs() -> impl Iterator<Item = &'static Knob> {
    SECTIONS.iter().flat_map(|section| section.knobs)
}

/// A knob that a flag or its variable sets, and to what.
#[derive(Clone, Debug)]
pub struct Given {
    pub knob: &'static Knob,
    pub value: OsString,
}

impl Settings {
    /// What the presets run with.
    pub fn preset() -> Settings {
        let mut settings = Settings::default();
        for knob in knobs() {
            settings.must_set(knob, knob.preset.unwrap_or(knob.default));
        }
        settings
    }

    /// Whether positions are to be kept from strangers: somebody is asked who they are, or others
    /// than this machine may come.
    pub fn is_guarded(&self) -> bool {
        self.access.is_some() || self.web_open
    }

    /// What such a herd runs with, unless it says otherwise.
    #[must_use]
    pub fn guarded(mut self) -> Settings {
        for knob in knobs() {
            if let Some(value) = knob.guarded {
                self.must_set(knob, value);
            }
        }
        self
    }

    /// Resolves relative directories against `home`.
    pub fn live_in(&mut self, home: &Path) {
        for dir in [&mut self.log.dir, &mut self.run_dir, &mut self.journal.dir] {
            if *dir != Path::new("-") {
                *dir = home.join(&*dir);
            }
        }
    }

    /// Takes over what flags and variables say.
    ///
    /// # Errors
    /// A value that its knob does not take.
    pub fn take(&mut self, given: &[Given]) -> Result<(), ConfigError> {
        for Given { knob, value } in given {
            knob.set(self, value)
                .map_err(|why| ConfigError::new(format!("{}: {why}", knob.name)))?;
        }
        Ok(())
    }

    /// The herd's keys, the newest first; none if no file is named.
    ///
    /// # Errors
    /// The file is unfit.
    pub fn herd_keys(&self) -> Result<HerdKeys, ConfigError> {
        self.key_file.as_deref().map_or(Ok(HerdKeys::default()), HerdKey::read_all)
    }

    /// Panics if a default that is built in is invalid; tests parse all of them.
    fn must_set(&mut self, knob: &Knob, value: &str) {
        if !knob.is_optional() {
            let set = knob.set(self, OsStr::new(value));
            set.unwrap_or_else(|why| panic!("{}: {why}", knob.name));
        }
    }
}

impl Default for Settings {
    fn default() -> Settings {
        let mut settings = Settings {
            open: false,
            operators_open: false,
            web_open: false,
            proxy_from: Networks::default(),
            access: None,
            key_file: None,
            run_dir: PathBuf::new(),
            run_dir_mode: 0,
            answers: Answers::default(),
            tls: TlsSettings::default(),
            engine: Engine::default(),
            places: Places::default(),
            log: Log {
                dir: PathBuf::new(),
                level: LevelFilter::Off,
                mode: 0,
                format: LogFormat::Text,
                size_max: 0,
            },
            journal: Journal {
                keep: None,
                dir: PathBuf::new(),
                room: 0,
                when_broken: WhenBroken::Refuse,
                sync_every: Duration::ZERO,
                strict: false,
            },
            nearby: Nearby::default(),
            limits: Limits::default(),
        };
        for knob in knobs() {
            settings.must_set(knob, knob.default);
        }
        settings
    }
}

/// What is kept unless an operator says otherwise, in presets and herd.sh, too.
const KEEP: &str = "written";

/// Who may lose more than a minute needs no journal.
const SYNC_EVERY_MAX: Duration = Duration::from_secs(60);

/// What an answer waits for: `off`, `written` or `synced`.
///
/// # Errors
/// A sentence that lists the words.
fn parse_keep(text: &str) -> Result<Option<Keep>, String> {
    match text {
        "off" => Ok(None),
        "written" => Ok(Some(Keep::Written)),
        "synced" => Ok(Some(Keep::Synced)),
        _ => Err(format!("`{text}` is not off, written or synced")),
    }
}

/// The word that an operator writes.
pub fn show_keep(keep: Option<Keep>) -> String {
    let word = match keep {
        None => "off",
        Some(Keep::Written) => "written",
        Some(Keep::Synced) => "synced",
    };
    word.to_owned()
}

/// What becomes of reports: `refuse` or `serve`.
///
/// # Errors
/// A sentence that lists the words.
fn parse_when_broken(text: &str) -> Result<WhenBroken, String> {
    match text {
        "refuse" => Ok(WhenBroken::Refuse),
        "serve" => Ok(WhenBroken::Serve),
        _ => Err(format!("`{text}` is not refuse or serve")),
    }
}

/// The word that an operator writes.
pub fn show_when_broken(when_broken: WhenBroken) -> String {
    let word = match when_broken {
        WhenBroken::Refuse => "refuse",
        WhenBroken::Serve => "serve",
    };
    word.to_owned()
}

/// What may stand above the first section.
const HERD: &[Knob] = &[
    some_path("key_file", |s| &mut s.key_file)
        .example("herd.key")
        .flag(Flag {
            long: "key-file",
            variable: "HERD_KEY_FILE",
            value: "FILE",
            help: "File with the herd's keys, mode 600 (640 if it is root's), the same for all its \
                   servers; see `herd keygen`",
        })
        .takes_effect(Effect::NewConnections)
        .means(
            "Holds the herd's key, by which its servers know each other; `herd keygen` makes \
             it. All of them need the same one. It is the server's own and nobody else may read \
             it (chmod 600), or root's and only its group may (chmod 640).",
        )
        .because("A herd on one machine needs none."),
    switch("open", |s| &mut s.open)
        .means(
            "Without a key, servers refuse to listen beyond this machine (127.0.0.1, ::1), \
             because anybody who reaches a port could forge reports. `open = true` says that \
             you accept that, for instance because a firewall or a tunnel keeps strangers away. \
             With a key it changes nothing.",
        )
        .because("Only the operator can know who reaches a port."),
    switch("operators_open", |s| &mut s.operators_open)
        .means(
            "Servers answer operators by HTTP (`operators` of a [[server]]), without asking who \
             they are, and so on this machine only (127.0.0.1, ::1). `operators_open = true` \
             allows other addresses, for instance because a firewall or a proxy keeps strangers \
             away: they would see who is connected, and change nothing.",
        )
        .because("Only the operator can know who reaches a port."),
    switch("web_open", |s| &mut s.web_open)
        .means(
            "Servers take reports by HTTP and MQTT (`web` and `mqtt` of a [[server]]) and say \
             where clients are, and so on this machine only (127.0.0.1, ::1), unless they ask \
             who it is (access). `web_open = true` allows other addresses all the same, for \
             instance because a proxy in front asks for a password.",
        )
        .because("Positions of people are not for everybody."),
    Knob::new("proxy_from", Kind::Networks { at: |s| &mut s.proxy_from }, "none")
        .example("10.1.2.0/24")
        .flag(Flag {
            long: "proxy-from",
            variable: "HERD_PROXY_FROM",
            value: "NETWORKS",
            help: "Proxies, with commas between them: who connects from there begins with a head \
                   of the PROXY protocol",
        })
        .takes_effect(Effect::NewConnections)
        .means(
            "Proxies in front (HAProxy, nginx, a load balancer), by the addresses that they \
             connect from. On the client ports and the web port, they begin each connection with \
             a head of the PROXY protocol, version 1 or 2, and the address in it counts as the \
             client's: for limits by address and in the log. Without a right head within 2 s such \
             a connection is closed; from anybody else a head is a wrong line.",
        )
        .because("Only the operator knows whose word on addresses is to be believed."),
    some_path("access", |s| &mut s.access)
        .example("access.toml")
        .flag(Flag {
            long: "access",
            variable: "HERD_ACCESS",
            value: "FILE",
            help: "File that says who may report and ask by HTTP, mode 600 (640 if it is root's), \
                   the same for all servers of a herd; see `herd token`",
        })
        .means(
            "Says who may report and ask by HTTP; `herd token add` writes it. All servers of a \
             herd need the same one, which is kept from others like key_file. Without it, \
             everybody who reaches the web port may everything.",
        )
        .because("On one machine, everybody who uses it may try the port."),
    path("run_dir", |s| &mut s.run_dir, "run")
        .flag(Flag {
            long: "run-dir",
            variable: "HERD_RUN_DIR",
            value: "DIR",
            help: "Directory of pid files and admin sockets",
        })
        .takes_effect(Effect::Restart)
        .means(
            "Holds the pid file and the admin socket of each server: in HERD_HOME if that is \
             set, else in the directory in which a command is started.",
        )
        .because("It lies beside herd.toml, and needs no rights that the operator lacks."),
    Knob::new(
        "run_dir_mode",
        Kind::Word {
            set: |s, text| parse_mode(text).map(|mode| s.run_dir_mode = mode),
            show: |s| format!("{:04o}", s.run_dir_mode),
            words: "0600 to 0777",
        },
        "0750",
    )
    .takes_effect(Effect::Restart)
    .means("Its permissions, if it has to be made.")
    .because("Others than the owner and his group have no business among admin sockets."),
];

/// What the section `[answers]` may say.
const ANSWERS: &[Knob] = &[
    Knob::new(
        "answers.stale_reply",
        Kind::Word {
            set: |s, text| text.parse().map(|reply| s.answers.stale_reply = reply),
            show: |s| s.answers.stale_reply.name().to_owned(),
            words: "own or stored",
        },
        "own",
    )
    .flag(Flag {
        long: "stale-reply",
        variable: "HERD_STALE_REPLY",
        value: "own|stored",
        help: "Answer the sender of an older IAMAT with its own line or the stored one",
    })
    .means(
        "What the sender of an IAMAT older than the stored one is answered with: own, the \
             line just sent, or stored, the newer one.",
    )
    .because("The course's text describes the answer to a line by that line."),
    switch("answers.close_after_reply", |s| &mut s.answers.close_after_reply)
        .flag(Flag {
            long: "close-after-reply",
            variable: "HERD_CLOSE_AFTER_REPLY",
            value: "1|0",
            help: "Close after the first answer, for clients that wait for the end of the stream",
        })
        .means("Hang up after the first answer, as some course servers do.")
        .because("A client that has more to say need not connect again."),
];

/// What the section `[journal]` may say.
const JOURNAL: &[Knob] = &[
    Knob::new(
        "journal.keep",
        Kind::Word {
            set: |s, text| parse_keep(text).map(|keep| s.journal.keep = keep),
            show: |s| show_keep(s.journal.keep),
            words: "off, written or synced",
        },
        KEEP,
    )
    .flag(Flag {
        long: "keep",
        variable: "HERD_KEEP",
        value: "off|written|synced",
        help: "What an answer waits for: nothing, that the system has taken the report, or that \
               the disk has",
    })
    .takes_effect(Effect::Restart)
    .means(
        "What an answer to a client promises. off: the report is in memory, and is lost if all \
         servers die. written: the system has taken it, and a server that is killed still knows \
         it; what was written in the last second or two may be lost with the machine. synced: the \
         disk has it.",
    )
    .because(
        "Who was answered may rely on it though all servers are killed. It costs a server that \
         is kept busy an eighth to a fifth of its time; off costs nothing.",
    ),
    path("journal.dir", |s| &mut s.journal.dir, "journal")
        .flag(Flag {
            long: "journal-dir",
            variable: "HERD_JOURNAL_DIR",
            value: "DIR",
            help: "Directory of the journals",
        })
        .takes_effect(Effect::Restart)
        .means(
            "Holds a directory for the journal of each server: in HERD_HOME if that is set, else \
             in the directory in which a command is started.",
        )
        .because("It lies beside herd.toml, and needs no rights that the operator lacks."),
    count("journal.room", |s| &mut s.journal.room, "4", "times")
        .within(2..=100)
        .takes_effect(Effect::Restart)
        .means(
            "How many times as long as what it says a journal may become before all that is known \
             is written anew and old files are removed.",
        )
        .because("A third of what is written is then written a second time."),
    Knob::new(
        "journal.when_broken",
        Kind::Word {
            set: |s, text| parse_when_broken(text).map(|when| s.journal.when_broken = when),
            show: |s| show_when_broken(s.journal.when_broken),
            words: "refuse or serve",
        },
        "refuse",
    )
    .takes_effect(Effect::Restart)
    .means(
        "When the disk has taken nothing for 5 s though answers wait. refuse: IAMATs are answered \
         with `?` and not taken, and answers that wait go on waiting. serve: they are taken and \
         answered, and so are those that wait, though nothing of it is kept; `unkept` of `herd \
         status --json` counts the answers. Either way positions are told, and peers are heard.",
    )
    .because("An answer that promises nothing must be wanted."),
    Knob::new(
        "journal.sync_every",
        Kind::Time { at: |s| &mut s.journal.sync_every, max: SYNC_EVERY_MAX },
        "1 s",
    )
    .takes_effect(Effect::Restart)
    .means(
        "How often the disk is asked to have what was written. With keep = \"written\", the \
         machine takes with it what was answered in so long, and in the time that a sync takes.",
    )
    .because("Disks are asked often enough to lose little, and seldom enough to rest."),
    switch("journal.strict", |s| &mut s.journal.strict)
        .takes_effect(Effect::Restart)
        .means(
            "A server whose journal is damaged, or lacks a file, does not start. Else it says so \
             and goes on with the rest.",
        )
        .because("Peers have what is missing; a herd of one server has none."),
];

/// What the section `[nearby]` may say.
const NEARBY: &[Knob] = &[Knob::new(
    "nearby.index",
    Kind::Switch { at: |s| &mut s.nearby.index },
    "true",
)
.takes_effect(Effect::Restart)
.means(
    "A server with a web port knows who is near a point (`near` and `bbox` of /v1/clients). From \
         such a question until a quarter of an hour after the last one, that costs about 26 bytes \
         a client and a sixteenth of each report, or more of it where over 4,000 clients report \
         between two questions.",
)
.because("Who has a web port may ask there, and until somebody does it costs nothing.")];
