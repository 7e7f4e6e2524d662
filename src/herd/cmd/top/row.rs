//! What is shown of one server: figures of two samples, and how they are written.

use serde::Serialize;

use herd::status::{PeerState, Status};

use super::watch::{Sample, Seen};
use crate::cmd::over_http::{Readings, Report};
use crate::cmd::table::shown;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Ready,
    /// It serves, and clients should not be sent there yet.
    NotReady,
    Draining,
    Stopped,
    /// It should answer and does not.
    Silent,
    /// On another machine, where it cannot be asked from here.
    Elsewhere,
    /// It was asked just now.
    Asked,
}

/// One server. What is not known is `None`: rates need two samples of the same process.
#[derive(Clone, Debug, Serialize)]
pub struct Row {
    pub name: String,
    pub state: State,
    /// What is wrong, if something is.
    pub why: Option<String>,
    pub herd: Option<String>,
    pub uptime_s: Option<u64>,
    /// Of clients.
    pub connections: Option<u64>,
    /// The share of clients that have come by TLS; `None` if there are none.
    pub tls_share: Option<f64>,
    /// Lines of clients.
    pub requests_per_s: Option<f64>,
    pub received_bytes_per_s: Option<f64>,
    pub sent_bytes_per_s: Option<f64>,
    /// The share of a core that the loop has used.
    pub busy: Option<f64>,
    /// In so many seconds, 99 of 100 turns were over.
    pub turn_p99_s: Option<f64>,
    /// What peers have not taken yet.
    pub owed_bytes: Option<u64>,
    pub resident_bytes: Option<u64>,
    /// How far a peer's clock is ahead of its own: the one that differs most.
    pub clock_offset_s: Option<f64>,
    /// So old were 99 of 100 reports of peers when they came, at most.
    pub report_age_p99_s: Option<f64>,
    pub clients_known: Option<u64>,
    /// Equal at servers that hold the same; `None` if they hold different parts.
    pub digest: Option<String>,
    pub peers: Vec<String>,
    pub peers_missing: Vec<String>,
}

impl Row {
    /// What is shown of a server that nothing is known of.
    pub fn of_none(name: &str, state: State, why: Option<String>) -> Row {
        Row {
            name: name.to_owned(),
            state,
            why,
            herd: None,
            uptime_s: None,
            connections: None,
            tls_share: None,
            requests_per_s: None,
            received_bytes_per_s: None,
            sent_bytes_per_s: None,
            busy: None,
            turn_p99_s: None,
            owed_bytes: None,
            resident_bytes: None,
            clock_offset_s: None,
            report_age_p99_s: None,
            clients_known: None,
            digest: None,
            peers: Vec::new(),
            peers_missing: Vec::new(),
        }
    }

    pub fn of(name: &str, before: Option<&Sample>, now: &Sample) -> Row {
        match &now.seen {
            Seen::Answer(report) => Row::of_report(name, report, Pair::of(before, now, report)),
            Seen::Stopped => Row::of_none(name, State::Stopped, None),
            Seen::Silent(why) => Row::of_none(name, State::Silent, Some(why.clone())),
            Seen::Elsewhere(clients) => {
                let why = format!("its clients are at {clients}: give it `operators` to ask it");
                Row::of_none(name, State::Elsewhere, Some(why))
            }
        }
    }

    fn of_report(name: &str, report: &Report, pair: Option<Pair<'_>>) -> Row {
        let Report { status, readings } = report;
        let state = match report.is_draining() {
            true => State::Draining,
            false if report.is_ready() => State::Ready,
            false => State::NotReady,
        };
        let rate = |count: &dyn Fn(&Readings) -> Option<f64>| pair.as_ref()?.rate(count);
        let p99 = |name: &str| pair.as_ref().and_then(|pair| pair.quantile(name, 0.99));
        let whole = |figure: Option<f64>| figure.map(|figure| figure as u64);
        let (peers, peers_missing) = joined(status);
        Row {
            herd: Some(status.herd.clone()),
            uptime_s: Some(status.uptime_s),
            connections: Some(status.connections),
            tls_share: tls_share(readings),
            requests_per_s: rate(&|it| it.sum("herd_commands_total")),
            received_bytes_per_s: rate(&|it| served(it, "herd_received_bytes_total")),
            sent_bytes_per_s: rate(&|it| served(it, "herd_sent_bytes_total")),
            busy: rate(&|it| it.sum("herd_loop_cpu_seconds_total")),
            turn_p99_s: p99("herd_loop_turn_duration_seconds"),
            owed_bytes: whole(readings.sum("herd_peer_owed_bytes")),
            resident_bytes: whole(readings.value("process_resident_memory_bytes")),
            clock_offset_s: readings.farthest_from_zero("herd_peer_clock_offset_seconds"),
            report_age_p99_s: p99("herd_report_age_seconds"),
            clients_known: Some(status.clients_known),
            digest: holds_all(status).then(|| status.digest.clone()),
            peers,
            peers_missing,
            ..Row::of_none(name, state, None)
        }
    }
}

/// Two samples of the same process.
struct Pair<'a> {
    older: &'a Readings,
    newer: &'a Readings,
    elapsed_s: f64,
}

impl<'a> Pair<'a> {
    fn of(before: Option<&'a Sample>, now: &Sample, report: &'a Report) -> Option<Pair<'a>> {
        let before = before?;
        let Seen::Answer(older) = &before.seen else { return None };
        let process = |report: &Report| (report.status.pid, report.status.since_posix_s);
        let elapsed_s = now.at.saturating_duration_since(before.at).as_secs_f64();
        // Another process has counted from its own start.
        let is_pair = process(older) == process(report) && elapsed_s > 0.0;
        is_pair.then_some(Pair { older: &older.readings, newer: &report.readings, elapsed_s })
    }

    /// How fast what is counted has grown, by the second.
    fn rate(&self, count: impl Fn(&Readings) -> Option<f64>) -> Option<f64> {
        Some((count(self.newer)? - count(self.older)?).max(0.0) / self.elapsed_s)
    }

    /// The bound below which this share of what a histogram was given in between lies; `None` if
    /// that was nothing.
    fn quantile(&self, name: &str, share: f64) -> Option<f64> {
        let older = self.older.buckets(name);
        let before = |at: usize| older.get(at).map_or(0.0, |(_, count)| *count);
        let newer = self.newer.buckets(name).into_iter().enumerate();
        let grown = Vec::from_iter(newer.map(|(at, (bound, count))| (bound, count - before(at))));
        let all = grown.last()?.1;
        let is_in = |(_, count): &&(f64, f64)| *count >= all * share;
        (all > 0.0).then(|| grown.iter().find(is_in).map(|(bound, _)| *bound))?
    }
}

/// The bytes of clients and peers: who looks must not be seen.
fn served(readings: &Readings, name: &str) -> Option<f64> {
    let looking = ["admin", "operator"].map(|door| format!("{name}{{door=\"{door}\"}}"));
    let looking = looking.iter().filter_map(|series| readings.value(series)).sum::<f64>();
    Some(readings.sum(name)? - looking)
}

/// Of clients that are connected, how many have come by TLS.
fn tls_share(readings: &Readings) -> Option<f64> {
    let open = |door: &str| readings.value(&format!("herd_connections{{door=\"{door}\"}}"));
    let (tls, plain) = (open("tls")?, open("client")?);
    (tls + plain > 0.0).then(|| tls / (tls + plain))
}

/// Whether it holds what the other servers hold. Where clients are divided, none does.
fn holds_all(status: &Status) -> bool {
    status.engine.as_ref().is_none_or(|engine| engine.parts_in_all <= 1)
}

/// The peers that are joined, and those that are not.
fn joined(status: &Status) -> (Vec<String>, Vec<String>) {
    let is_up = |state| matches!(state, PeerState::Up | PeerState::Plain);
    let (up, down): (Vec<_>, Vec<_>) = status.peers.iter().partition(|peer| is_up(peer.state));
    let names = |peers: Vec<&herd::status::PeerStatus>| {
        peers.iter().map(|peer| peer.name.clone()).collect()
    };
    (names(up), names(down))
}

/// A column of the table.
pub struct Column {
    pub head: &'static str,
    /// Those with the highest go first if there is no room.
    pub rank: u8,
    pub is_number: bool,
    cell: fn(&Row) -> String,
}

impl Column {
    pub fn cell(&self, row: &Row) -> String {
        shown(&(self.cell)(row))
    }
}

/// The last one has the room that is left.
pub const COLUMNS: [Column; 17] = [
    Column { head: "SERVER", rank: 0, is_number: false, cell: |row| row.name.clone() },
    Column { head: "STATE", rank: 0, is_number: false, cell: |row| state(row.state).to_owned() },
    Column { head: "UP", rank: 5, is_number: true, cell: |row| known(row.uptime_s, age) },
    Column { head: "CONN", rank: 1, is_number: true, cell: |row| known(row.connections, count) },
    Column { head: "TLS", rank: 8, is_number: true, cell: |row| known(row.tls_share, percent) },
    Column {
        head: "REQ/S",
        rank: 1,
        is_number: true,
        cell: |row| known(row.requests_per_s, short),
    },
    Column {
        head: "IN/S",
        rank: 6,
        is_number: true,
        cell: |row| known(row.received_bytes_per_s, short),
    },
    Column {
        head: "OUT/S",
        rank: 6,
        is_number: true,
        cell: |row| known(row.sent_bytes_per_s, short),
    },
    Column { head: "BUSY", rank: 2, is_number: true, cell: |row| known(row.busy, percent) },
    Column { head: "TURN", rank: 5, is_number: true, cell: |row| known(row.turn_p99_s, time) },
    Column { head: "OWED", rank: 4, is_number: true, cell: |row| known(row.owed_bytes, count) },
    Column { head: "RSS", rank: 4, is_number: true, cell: |row| known(row.resident_bytes, count) },
    Column { head: "OFF", rank: 7, is_number: true, cell: |row| known(row.clock_offset_s, offset) },
    Column { head: "AGE", rank: 7, is_number: true, cell: |row| known(row.report_age_p99_s, time) },
    Column { head: "KNOWN", rank: 3, is_number: true, cell: |row| known(row.clients_known, count) },
    Column { head: "DIGEST", rank: 3, is_number: false, cell: digest },
    Column { head: "PEERS", rank: 0, is_number: false, cell: last },
];

fn known<T>(figure: Option<T>, write: fn(T) -> String) -> String {
    figure.map_or("-".to_owned(), write)
}

fn state(state: State) -> &'static str {
    match state {
        State::Ready => "ready",
        State::NotReady => "not ready",
        State::Draining => "draining",
        State::Stopped => "stopped",
        State::Silent => "silent",
        State::Elsewhere => "elsewhere",
        State::Asked => "asked",
    }
}

/// Enough of it to see whether two are equal.
fn digest(row: &Row) -> String {
    row.digest.as_ref().map_or("-".to_owned(), |digest| digest.chars().take(8).collect())
}

/// Its peers, the missing ones behind a `!`; or what is wrong with the server itself.
fn last(row: &Row) -> String {
    if let Some(why) = &row.why {
        return why.clone();
    }
    let missing = row.peers_missing.iter().map(|name| format!("!{name}"));
    let all: Vec<_> = row.peers.iter().cloned().chain(missing).collect();
    if all.is_empty() { "-".to_owned() } else { all.join(" ") }
}

fn count(number: u64) -> String {
    short(number as f64)
}

/// Three digits and what they stand for: `18.2k`.
pub fn short(number: f64) -> String {
    let (mut number, mut unit) = (number, "");
    for next in ["k", "M", "G", "T"] {
        // 999.95 would be rounded to four digits.
        if number < 999.5 {
            break;
        }
        (number, unit) = (number / 1000.0, next);
    }
    let digits = usize::from(!unit.is_empty() && number < 9.95);
    format!("{number:.digits$}{unit}")
}

fn percent(share: f64) -> String {
    format!("{:.0} %", share * 100.0)
}

/// A short time, up to a bound of a histogram; the last one has none.
fn time(seconds: f64) -> String {
    match seconds {
        _ if seconds.is_infinite() => "long".to_owned(),
        _ if seconds < 0.001 => format!("{:.0}us", seconds * 1e6),
        _ if seconds < 1.0 => format!("{:.0}ms", seconds * 1e3),
        _ => format!("{seconds:.0}s"),
    }
}

fn offset(seconds: f64) -> String {
    match seconds.abs() {
        below if below < 0.000_5 => "0".to_owned(),
        below if below < 1.0 => format!("{:+.0}ms", seconds * 1e3),
        below if below < 100.0 => format!("{seconds:+.0}s"),
        _ => format!("{}{}", if seconds < 0.0 { "-" } else { "+" }, age(seconds.abs() as u64)),
    }
}

fn age(seconds: u64) -> String {
    match seconds {
        0..100 => format!("{seconds}s"),
        100..6_000 => format!("{}m", seconds / 60),
        6_000..360_000 => format!("{}h", seconds / 3_600),
        _ => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let check = |number: f64, expected: &str| assert_eq!(short(number), expected);
        check(0.0, "0");
        check(7.4, "7");
        check(999.4, "999");
        check(999.5, "1.0k");
        check(9_940.0, "9.9k");
        check(9_960.0, "10k");
        check(999_499.0, "999k");
        check(999_500.0, "1.0M");
        check(38_123_456.0, "38M");
        check(5e15, "5000T");
    }

    #[test]
    fn times_and_offsets_are_short() {
        let times = [0.00003, 0.001, 0.25, 60.0, f64::INFINITY].map(time);
        assert_eq!(times, ["30us", "1ms", "250ms", "60s", "long"]);
        let offsets = [0.0001, -0.003, 0.25, -7.0, -86_400.0, 200.0].map(offset);
        assert_eq!(offsets, ["0", "-3ms", "+250ms", "-7s", "-24h", "+3m"]);
    }

    /// Goal: a quantile is of what came between two samples, and not since the start.
    #[test]
    fn a_quantile_is_of_what_came_in_between() {
        let readings = |counts: [u64; 3]| {
            let bounds = ["0.001", "1.0", "+Inf"];
            let lines = bounds.iter().zip(counts);
            let lines = lines.map(|(le, count)| format!("a_bucket{{le=\"{le}\"}} {count}\n"));
            Readings::parse(&lines.collect::<String>())
        };
        let check = |before, now, expected| {
            let (older, newer) = (&readings(before), &readings(now));
            let pair = Pair { older, newer, elapsed_s: 1.0 };
            assert_eq!(pair.quantile("a", 0.99), expected, "{before:?} {now:?}");
        };
        check([5, 5, 5], [5, 5, 5], None);
        check([0, 900, 900], [100, 1_000, 1_000], Some(0.001));
        check([0, 0, 0], [98, 100, 100], Some(1.0));
        check([0, 0, 0], [0, 0, 7], Some(f64::INFINITY));
    }

    #[test]
    fn ages_have_one_unit() {
        let check = |seconds, expected: &str| assert_eq!(age(seconds), expected);
        check(99, "99s");
        check(100, "1m");
        check(5_999, "99m");
        check(6_000, "1h");
        check(359_999, "99h");
        check(360_000, "4d");
    }
}
