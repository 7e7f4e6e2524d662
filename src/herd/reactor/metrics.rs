//! What is measured, for `/metrics`: the loop's own counts and what its parts say of themselves,
//! read at one moment. Names, labels and series are the same at each scrape; no label is a client,
//! an address or a text from outside. How they are spelled is `metrics`' business.

mod engine;
mod peers;
mod places;

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, getrlimit};
use rustix::time::{ClockId, Timespec, clock_gettime};

use super::Reactor;
use super::access::Refused;
use super::catching_up::CaughtUp;
use super::handshakes::Outcome;
use super::lame_duck::DrainPhase;
use crate::config::LinkKind;
use crate::openmetrics::Figure::{Counter, Gauge, Histogram, Info};
use crate::openmetrics::{Buckets, Figure, Label, Metrics};
use crate::status::JournalState;
use herd_core::names::{ConnId, ConnKind};
use herd_core::session::CloseReason;
use herd_core::{Ages, LostFor};
use herd_web::Unusable;

/// Doors that connections come through: one for each kind, and one for clients by TLS.
pub const DOORS: usize = ConnKind::ALL.len() + 1;
pub const TLS: usize = ConnKind::ALL.len();

/// Reasons for their ends.
const REASONS: usize = CloseReason::ALL.len();

/// A figure of this many bits is exact in the floating-point numbers of a scraper.
const EXACT_BITS: u32 = 48;

/// What the loop counts, from its start on. Each costs an addition where it happens, and none is
/// counted by the line.
pub struct Counts {
    pub turns: u64,
    /// Bytes by the door of their connection.
    pub received: [u64; DOORS],
    pub sent: [u64; DOORS],
    /// Connections that have ended, by their reason.
    pub closed: [u64; REASONS],
    /// The system had no descriptor to give.
    pub accept_failures: u64,
    /// By the peer that they are about.
    pub peers: Vec<PeerCounts>,
    /// Links that were up and are over, by their reason.
    pub links_lost: [u64; LostFor::ALL.len()],
    /// Reports that came by HTTP: those that had to be refused, and those that were taken.
    pub web_reports: [u64; 2],
    /// What came by HTTP and is no report, by its reason.
    pub web_unusable: [u64; Unusable::ALL.len()],
    /// Clients that were forgotten because somebody wanted that.
    pub erased: u64,
    /// Questions that were answered with places from memory or a service, or with what was kept,
    /// that were refused, and that a service could not answer.
    pub questions: [u64; QUESTIONS.len()],
    /// Calls of a service, by how long they took.
    pub calls: [u64; CALL_BOUNDS.len() + 1],
    pub call_nanos: u64,
}

/// What becomes of a question that is in time.
#[derive(Clone, Copy)]
pub enum Answered {
    Ok,
    Kept,
    Limited,
    Failed,
}

/// The same in words, in this order.
const QUESTIONS: [&str; 4] = ["ok", "kept", "limited", "failed"];

/// Milliseconds up to which calls are counted apart.
const CALL_BOUNDS: [u64; 8] = [10, 50, 100, 250, 500, 1_000, 2_500, 5_000];

/// What the loop counts of a peer.
#[derive(Clone, Copy, Default)]
pub struct PeerCounts {
    /// Links that came up.
    pub link_ups: u64,
    /// Those of them that are over; `Counts::links_lost` has their reasons.
    pub link_losses: u64,
}

impl Counts {
    pub fn of(peers: usize) -> Counts {
        Counts {
            turns: 0,
            received: [0; DOORS],
            sent: [0; DOORS],
            closed: [0; REASONS],
            accept_failures: 0,
            peers: vec![PeerCounts::default(); peers],
            links_lost: [0; LostFor::ALL.len()],
            web_reports: [0; 2],
            web_unusable: [0; Unusable::ALL.len()],
            erased: 0,
            questions: [0; QUESTIONS.len()],
            calls: [0; CALL_BOUNDS.len() + 1],
            call_nanos: 0,
        }
    }

    /// So many questions have had this outcome.
    pub fn answered(&mut self, outcome: Answered, questions: usize) {
        self.questions[outcome as usize] += questions as u64;
    }

    /// A call of a service took so long.
    pub fn called(&mut self, took: Duration) {
        let bucket = CALL_BOUNDS.iter().position(|ms| took <= Duration::from_millis(*ms));
        self.calls[bucket.unwrap_or(CALL_BOUNDS.len())] += 1;
        self.call_nanos += took.as_nanos() as u64;
    }
}

impl Reactor {
    /// All that is measured, as it is now.
    pub(super) fn figures(&self) -> Metrics {
        let mut metrics = Metrics::default();
        self.measure_server(&mut metrics);
        self.measure_connections(&mut metrics);
        self.measure_refusals(&mut metrics);
        self.measure_handshakes(&mut metrics);
        self.measure_web(&mut metrics);
        self.measure_commands(&mut metrics);
        self.measure_places(&mut metrics);
        self.measure_reports(&mut metrics);
        self.measure_peers(&mut metrics);
        self.measure_engine(&mut metrics);
        self.measure_workers(&mut metrics);
        self.measure_loop(&mut metrics);
        self.measure_journal(&mut metrics);
        measure_process(&mut metrics, self.clocks.born_posix_s);
        metrics
    }

    fn measure_server(&self, metrics: &mut Metrics) {
        let version = vec![("version", env!("CARGO_PKG_VERSION").to_owned())];
        metrics.many("herd_build", "Which program this is.", [(version, Info)]);
        let (name, herd) = (self.config.name.clone(), self.config.herd.clone());
        let labels = vec![("name", name), ("herd", herd)];
        metrics.many("herd_server", "Which server this is.", [(labels, Info)]);
        metrics.one("herd_ready", "Clients may be sent here.", yes(self.is_ready()));
        let ways =
            CaughtUp::ALL.map(|how| (label("how", how.name()), yes(self.caught_up == Some(how))));
        metrics.many("herd_caught_up", "It has caught up with its herd, and how.", ways);
        let now = self.drain_phase();
        let phases =
            DrainPhase::ALL.map(|phase| (label("phase", phase.name()), yes(now == Some(phase))));
        metrics.many("herd_draining", "It was told to stop, and how far it is.", phases);
        let hash = short(self.config.shared_fingerprint());
        let help = "Differs between servers that are not told what all must be told alike.";
        metrics.one("herd_config_hash", help, hash);
        let (is_successful, at_posix_s) = self.last_reload();
        let help = "The configuration was right when it was last read.";
        metrics.one("herd_config_last_reload_successful", help, yes(is_successful));
        let help = "When it was last read and right: at the start, or at a reload since.";
        let at = Gauge(at_posix_s as f64);
        metrics.one("herd_config_last_reload_success_timestamp_seconds", help, at);
        let help = "Settings that have changed and want a restart.";
        metrics.one("herd_config_pending_restart", help, gauge(self.pending_restart().len()));
    }

    fn measure_web(&self, metrics: &mut Metrics) {
        let reports = [("refused", 0), ("taken", 1)].map(|(verdict, at)| {
            (vec![("verdict", verdict.to_owned())], count(self.counts.web_reports[at]))
        });
        metrics.many("herd_web_reports", "Reports that came by HTTP or MQTT.", reports);
        let unusable = Unusable::ALL.map(|why| {
            let labels = vec![("reason", why.name().to_owned())];
            (labels, count(self.counts.web_unusable[why as usize]))
        });
        let help = "What came by HTTP or MQTT, was answered like a report and is none.";
        metrics.many("herd_web_unusable", help, unusable);
        let help = "Clients that were forgotten at this server because somebody wanted that.";
        metrics.one("herd_erased", help, count(self.counts.erased));
        let help = "Streams and subscriptions by which somebody follows clients.";
        metrics.one("herd_web_followers", help, gauge(self.count_followers()));
        let refused = Refused::ALL.map(|why| {
            let labels = vec![("reason", why.name().to_owned())];
            (labels, count(self.web.callers.refused[why as usize]))
        });
        let help = "Requests by HTTP or MQTT that were refused, whatever they wanted.";
        metrics.many("herd_web_refused", help, refused);
    }

    fn measure_connections(&self, metrics: &mut Metrics) {
        let by_door = |figure: &dyn Fn(usize) -> Figure| {
            let doors = (0..DOORS).filter(|door| self.has_door(*door));
            Vec::from_iter(doors.map(|door| (label("door", door_name(door)), figure(door))))
        };
        let open = by_door(&|door| gauge(self.alive(door)));
        metrics.many("herd_connections", "Connections that are open.", open);
        let left_by = |others| self.shares.clients.saturating_sub(others);
        let limits = [
            (ConnKind::Client as usize, left_by(self.wrapping.alive)),
            (TLS, left_by(self.alive(ConnKind::Client as usize))),
            (ConnKind::Admin as usize, self.shares.admins),
            (ConnKind::Operator as usize, self.shares.operators),
            (ConnKind::Web as usize, self.shares.web),
            (ConnKind::Mqtt as usize, self.shares.mqtt),
        ];
        let limits = limits.into_iter().filter(|(door, _)| self.has_door(*door));
        let limits = limits.map(|(door, most)| (label("door", door_name(door)), gauge(most)));
        let help = "Connections that there may be; clients by TLS and others share one limit.";
        metrics.many("herd_connections_limit", help, limits);
        let opened = by_door(&|door| count(self.admitted(door)));
        metrics.many("herd_connections_opened", "Connections since the start.", opened);
        let closed = CloseReason::ALL.map(|reason| {
            (label("reason", &reason.to_string()), count(self.counts.closed[reason.index()]))
        });
        metrics.many("herd_connections_closed", "Connections that have ended.", closed);
        let failures = count(self.counts.accept_failures);
        let help = "The system had no descriptor to give, so connections waited.";
        metrics.one("herd_accept_failures", help, failures);
        let received = by_door(&|door| count(self.counts.received[door]));
        metrics.many("herd_received_bytes", "Bytes that were read.", received);
        let sent = by_door(&|door| count(self.counts.sent[door]));
        metrics.many("herd_sent_bytes", "Bytes that were written.", sent);
    }

    /// Whether a door may be used. That is so until the process ends, so series do not come and go.
    fn has_door(&self, door: usize) -> bool {
        match ConnKind::ALL.get(door) {
            None => self.config.tls.as_ref().is_some_and(|tls| tls.address.is_some()),
            Some(ConnKind::Web) => self.config.web.is_some(),
            Some(ConnKind::Mqtt) => self.config.mqtt.is_some(),
            Some(ConnKind::Operator) => self.config.operators.is_some(),
            Some(ConnKind::Course) => {
                self.config.peers.iter().any(|peer| peer.kind == LinkKind::Plain)
            }
            Some(ConnKind::Engine) => self.config.engine.is_on(),
            Some(_) => true,
        }
    }

    /// Where a connection has come in; it may have ended in this turn.
    pub(super) fn door(&self, conn: ConnId) -> usize {
        let is_tls = conn.kind() == ConnKind::Client && self.slots.is_wrapped(conn);
        if is_tls { TLS } else { conn.kind() as usize }
    }

    fn alive(&self, door: usize) -> usize {
        match ConnKind::ALL.get(door) {
            None => self.wrapping.alive,
            Some(ConnKind::Client) => self.slots.alive(ConnKind::Client) - self.wrapping.alive,
            Some(&kind) => self.slots.alive(kind),
        }
    }

    fn admitted(&self, door: usize) -> u64 {
        match ConnKind::ALL.get(door) {
            None => self.wrapping.admitted,
            Some(ConnKind::Client) => {
                self.slots.admitted(ConnKind::Client) - self.wrapping.admitted
            }
            Some(&kind) => self.slots.admitted(kind),
        }
    }

    /// Nothing, unless clients or peers may come by TLS.
    fn measure_handshakes(&self, metrics: &mut Metrics) {
        let wrapping = &self.wrapping;
        if wrapping.terms.is_none() && wrapping.peers.is_none() {
            return;
        }
        let ended = Outcome::ALL.map(|outcome| {
            (label("outcome", outcome.name()), count(wrapping.handshakes.ended[outcome as usize]))
        });
        metrics.many("herd_tls_handshakes", "Handshakes that are over.", ended);
        let pending = gauge(wrapping.handshakes.pending);
        metrics.one("herd_tls_handshakes_pending", "Handshakes under way.", pending);
        let Some(terms) = &wrapping.terms else { return };
        let help = "When the certificate for clients expires.";
        let expires = Gauge(terms.expires as f64);
        metrics.one("herd_tls_certificate_expiry_timestamp_seconds", help, expires);
    }

    fn measure_commands(&self, metrics: &mut Metrics) {
        let counters = self.server.counters();
        let of_clients = counters.lines_in - counters.peer_lines;
        let iamats = of_clients - counters.whatsats - counters.other_lines;
        let command = |name: &str, number| (label("command", name), count(number));
        let commands = [
            command("iamat", iamats),
            command("whatsat", counters.whatsats),
            command("other", counters.other_lines),
        ];
        metrics.many("herd_commands", "Lines of clients.", commands);
        let peer_lines = count(counters.peer_lines);
        metrics.one("herd_peer_lines", "Lines of peers.", peer_lines);
        let known = [
            ("unanswerable", counters.unanswerable),
            ("ahead", counters.ahead),
            ("full", counters.full),
            ("new_clients", counters.newcomers_refused),
            ("journal", counters.unkept_refused),
        ];
        let sum: u64 = known.iter().map(|(_, number)| number).sum();
        let rest = [("malformed", counters.rejected.saturating_sub(sum))];
        let refused = known.into_iter().chain(rest);
        let refused = refused.map(|(reason, number)| (label("reason", reason), count(number)));
        metrics.many("herd_commands_refused", "Lines answered with a question mark.", refused);
    }

    fn measure_reports(&self, metrics: &mut Metrics) {
        let counters = self.server.counters();
        let reports = [
            ("client", "news", counters.news - counters.peer_news),
            ("client", "stale", counters.stale - counters.peer_stale),
            ("peer", "news", counters.peer_news),
            ("peer", "stale", counters.peer_stale),
        ];
        let reports = reports.map(|(from, verdict, number)| {
            (vec![("from", from.to_owned()), ("verdict", verdict.to_owned())], count(number))
        });
        metrics.many("herd_reports", "Reports of clients and peers.", reports);
        let ages = self.server.report_ages();
        let buckets = Buckets::new(&Ages::bounds(), &ages.counts, ages.sum.as_secs_f64());
        let help =
            "How old news of peers was, by the clocks of its two servers; one in a millisecond.";
        metrics.one("herd_report_age_seconds", help, Histogram(buckets));
        let repaired = count(ages.repaired);
        let help = "Those that were older than a minute: they were missed at first.";
        metrics.one("herd_reports_repaired", help, repaired);
        let help = "Those of more than a second ahead: one of the two clocks is wrong.";
        metrics.one("herd_reports_from_future", help, count(ages.from_future));
        let expired = count(counters.expired);
        metrics.one("herd_reports_expired", "Reports forgotten for their age.", expired);
        let (store, limits) = (self.server.store(), &self.config.limits.core);
        metrics.one("herd_clients", "Clients that are known.", Gauge(store.len() as f64));
        let most = gauge(limits.clients_max);
        metrics.one("herd_clients_limit", "Clients that may be known.", most);
        metrics.one("herd_store_bytes", "Memory of reports and their index.", gauge(store.bytes()));
        let most = gauge(limits.store_bytes_max);
        metrics.one("herd_store_bytes_limit", "Memory that they may take.", most);
        let help = "Equal at servers that hold the same reports.";
        metrics.one("herd_store_digest", help, short(self.server.digest()));
    }

    fn measure_loop(&self, metrics: &mut Metrics) {
        metrics.one("herd_loop_turns", "Turns of the loop.", count(self.counts.turns));
        let busy = Counter(cpu_seconds(ClockId::ThreadCPUTime));
        metrics.one("herd_loop_cpu_seconds", "Time that the loop's thread has computed.", busy);
        let busy = Counter(self.turn_times.busy_nanos as f64 / 1e9);
        metrics.one("herd_loop_busy_seconds", "Time that turns took, without sleep.", busy);
        let turns = Histogram(self.turn_times.buckets());
        metrics.one("herd_loop_turn_duration_seconds", "How long a turn took.", turns);
        let slow = count(self.turn_times.slow);
        metrics.one("herd_loop_slow_turns", "Turns above limits.slow_turn.", slow);
        let unfinished = gauge(self.unfinished.len() + self.unfinished_peers.len());
        metrics.one("herd_loop_unfinished", "Connections with work left.", unfinished);
        metrics.one("herd_timers", "Timers that run.", gauge(self.wheel.len()));
        let lines = count(self.log.lines());
        metrics.one("herd_log_lines", "Lines of the log.", lines);
        let dropped = count(self.log.dropped());
        metrics.one("herd_log_lines_dropped", "Log lines that the disk was too slow for.", dropped);
    }

    /// A server without a journal has none of these.
    fn measure_journal(&self, metrics: &mut Metrics) {
        let Some(durability) = &self.durability else { return };
        let refused = self.server.counters().unkept_refused;
        let journal = durability.status(self.now.monotonic, refused);
        let appended = count(journal.appended_bytes);
        metrics.one("herd_journal_appended_bytes", "Bytes that were given to it.", appended);
        let written = count(journal.written_bytes);
        metrics.one("herd_journal_written_bytes", "Bytes that the system has taken.", written);
        let synced = count(journal.synced_bytes);
        metrics.one("herd_journal_synced_bytes", "Bytes that the disk has.", synced);
        let unsynced = Gauge(journal.unsynced_ms as f64 / 1_000.0);
        let help = "How long the oldest report has waited for the disk.";
        metrics.one("herd_journal_unsynced_seconds", help, unsynced);
        let files = Gauge(journal.file_bytes as f64);
        metrics.one(
            "herd_journal_file_bytes",
            "Bytes of its files, but those that are going.",
            files,
        );
        let waits = yes(journal.answers_wait);
        metrics.one("herd_journal_answers_wait", "Answers wait for the disk.", waits);
        let help = "Answers have waited for too long.";
        metrics.one("herd_journal_broken", help, yes(journal.broken));
        let is_refused = yes(journal.state == JournalState::Refused);
        metrics.one("herd_journal_refused", "The disk takes nothing.", is_refused);
    }
}

/// What the system says of the process. Where it has no `/proc`, memory and descriptors are not
/// told.
fn measure_process(metrics: &mut Metrics, born_posix_s: u64) {
    let cpu = Counter(cpu_seconds(ClockId::ProcessCPUTime));
    metrics.one("process_cpu_seconds", "Time that all threads have computed.", cpu);
    let born = Gauge(born_posix_s as f64);
    metrics.one("process_start_time_seconds", "When it began, in POSIX time.", born);
    if let Some(most) = getrlimit(Resource::Nofile).current {
        let most = Gauge(most as f64);
        metrics.one("process_max_fds", "Descriptors that it may have.", most);
    }
    // Linux says how many there are as the size of the directory, since 6.2; to list them would
    // take milliseconds.
    if let Some(open) = fs::metadata("/proc/self/fd").ok().filter(|about| about.len() > 0) {
        let open = Gauge(open.len() as f64);
        metrics.one("process_open_fds", "Descriptors that it has.", open);
    }
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let kib = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<f64>().ok()
    };
    if let (Some(addresses), Some(resident)) = (kib("VmSize:"), kib("VmRSS:")) {
        let [addresses, resident] = [addresses, resident].map(|kib| Gauge(kib * 1024.0));
        metrics.one("process_virtual_memory_bytes", "Addresses that it has.", addresses);
        metrics.one("process_resident_memory_bytes", "Memory that it has.", resident);
    }
}

fn cpu_seconds(clock: ClockId) -> f64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    tv_sec as f64 + tv_nsec as f64 / 1e9
}

fn label(name: &'static str, value: &str) -> Vec<Label> {
    vec![(name, value.to_owned())]
}

/// The word for a door.
pub fn door_name(door: usize) -> &'static str {
    ConnKind::ALL.get(door).map_or("tls", |kind| kind.name())
}

fn yes(is_so: bool) -> Figure {
    Gauge(f64::from(u8::from(is_so)))
}

fn gauge(number: usize) -> Figure {
    Gauge(number as f64)
}

fn count(number: u64) -> Figure {
    Counter(number as f64)
}

/// Of a hash, as much as is exact.
fn short(hash: u64) -> Figure {
    Gauge((hash & ((1 << EXACT_BITS) - 1)) as f64)
}
