//! What a record looks like: a line of text for people, or an object of JSON for programs.
//!
//! ```text
//! 2026-11-22T03:24:05.123456789Z [INFO] peer link up peer=Bona conn=peer-3
//! {"ts":"2026-11-22T03:24:05.123456Z","level":"info","server":"Hill","event":"peer-link-up", …
//! ```
//!
//! Members of the JSON come in one order: `ts`, `level`, `server`, `event`, `conn`, `door`, `peer`,
//! `reason`, `dir`, `line`, `bytes`, `msg`. What does not apply is left out.

use std::fmt::Arguments;
use std::io::Write;
use std::time::Duration;

use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use time::OffsetDateTime;

use herd_core::digits;

use super::entries::{Traffic, Way};

pub(super) const GROWS: &str = "a Vec takes what it is given";

/// How the records of one log are spelled.
#[derive(Clone, Debug)]
pub(super) struct Form {
    /// The server's name as JSON, with its quotes; `None` for text.
    json: Option<String>,
    /// Each line begins with its severity, as journald reads it from stderr: `<4>`.
    has_priority: bool,
}

/// The second of the last record, and its date and time: most records share both.
#[derive(Debug, Default)]
pub(super) struct Stamp {
    second: Option<u64>,
    date: String,
}

impl Form {
    pub(super) fn new(server: &str, is_json: bool, has_priority: bool) -> Form {
        Form { json: is_json.then(|| json(server)), has_priority }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json.is_some()
    }

    /// Spells an event, with its newline.
    pub(super) fn spell(&self, record: &Record<'_>, at: Duration, stamp: &mut Stamp) -> Vec<u8> {
        let mut line = Vec::with_capacity(256);
        self.begin(record.level(), at, stamp, &mut line);
        if self.is_json() {
            let visited = record.key_values().visit(&mut Members(&mut line));
            visited.expect(GROWS);
            end_with(*record.args(), &mut line);
        } else {
            let start = line.len();
            write!(line, "{}", record.args()).expect(GROWS);
            // What the system or another program has said may have lines of its own.
            if line[start..].iter().any(u8::is_ascii_control) {
                let said = line.split_off(start);
                line.extend(said.into_iter().flat_map(|byte| {
                    let escaped = byte.is_ascii_control().then(|| byte.escape_ascii());
                    let plain = escaped.is_none().then_some(byte);
                    escaped.into_iter().flatten().chain(plain)
                }));
            }
            line.push(b'\n');
        }
        line
    }

    /// Spells a sentence of the log's own. As text it is unlike any record: it has no time of its
    /// own, only a place.
    pub(super) fn note(&self, event: &str, message: &str, at: Duration, line: &mut Vec<u8>) {
        if self.is_json() {
            self.begin(Level::Warn, at, &mut Stamp::default(), line);
            write!(line, ",\"event\":\"{event}\"").expect(GROWS);
            end_with(format_args!("{message}"), line);
        } else {
            line.extend_from_slice(self.priority(Level::Warn).as_bytes());
            writeln!(line, "-- {message} --").expect(GROWS);
        }
    }

    /// What the records of some lines of a connection begin with.
    pub(super) fn begin_traffic(&self, traffic: Traffic, stamp: &mut Stamp, start: &mut Vec<u8>) {
        let Traffic { conn, way, at } = traffic;
        self.begin(Level::Debug, at, stamp, start);
        if self.is_json() {
            start.extend_from_slice(b",\"event\":\"line\",\"conn\":\"");
            write!(start, "{conn}").expect(GROWS);
            let (door, dir) = (conn.kind().name(), if way == Way::In { "in" } else { "out" });
            put(start, &["\",\"door\":\"", door, "\",\"dir\":\"", dir, "\",\"line\":\""]);
        } else {
            write!(start, "{conn}").expect(GROWS);
            put(start, &[if way == Way::In { " <- " } else { " -> " }]);
        }
    }

    /// Piece by piece, for this is done for every read and every answer.
    fn begin(&self, level: Level, at: Duration, stamp: &mut Stamp, line: &mut Vec<u8>) {
        let date = stamp.date(at);
        let nanos = digits::nine_of(at.subsec_nanos());
        line.extend_from_slice(self.priority(level).as_bytes());
        match &self.json {
            Some(server) => {
                put(line, &["{\"ts\":\"", date, "."]);
                line.extend_from_slice(&nanos[..6]);
                put(line, &["Z\",\"level\":\"", lower(level), "\",\"server\":", server]);
            }
            None => {
                put(line, &[date, "."]);
                line.extend_from_slice(&nanos);
                put(line, &["Z [", level.as_str(), "] "]);
            }
        }
    }

    fn priority(&self, level: Level) -> &'static str {
        match level {
            _ if !self.has_priority => "",
            Level::Error => "<3>",
            Level::Warn => "<4>",
            Level::Info => "<6>",
            Level::Debug | Level::Trace => "<7>",
        }
    }
}

impl Stamp {
    fn date(&mut self, at: Duration) -> &str {
        if self.second != Some(at.as_secs()) {
            self.second = Some(at.as_secs());
            self.date = date(at);
        }
        &self.date
    }
}

/// `2026-11-22T03:24:05`. A clock that cannot be right is taken for that of 1970.
pub(super) fn date(at: Duration) -> String {
    let seconds = i64::try_from(at.as_secs()).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let month = u8::from(month);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

fn lower(level: Level) -> &'static str {
    match level {
        Level::Error => "error",
        Level::Warn => "warn",
        Level::Info => "info",
        Level::Debug => "debug",
        Level::Trace => "trace",
    }
}

fn put(line: &mut Vec<u8>, parts: &[&str]) {
    parts.iter().for_each(|part| line.extend_from_slice(part.as_bytes()));
}

fn end_with(message: Arguments<'_>, line: &mut Vec<u8>) {
    line.extend_from_slice(b",\"msg\":");
    line.extend_from_slice(json(&message.to_string()).as_bytes());
    line.extend_from_slice(b"}\n");
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// Adds what an event says of itself, in the order in which it says it.
struct Members<'a>(&'a mut Vec<u8>);

impl<'kvs> VisitSource<'kvs> for Members<'_> {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        write!(self.0, ",\"{key}\":{}", json(&value.to_string())).expect(GROWS);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: Duration = Duration::new(1_795_944_516, 500_529_034);

    fn spelled(form: &Form, level: Level) -> String {
        let pairs = [("event", "peer-\"up"), ("peer", "Bona")];
        let args = format_args!("up \x1b\"");
        let record = Record::builder().level(level).key_values(&pairs).args(args).build();
        String::from_utf8(form.spell(&record, AT, &mut Stamp::default())).unwrap()
    }

    #[test]
    fn a_record_has_two_forms() {
        let text = Form::new("Hi\"ll", false, false);
        let line = "2026-11-29T09:28:36.500529034Z [INFO] up \\x1b\"\n";
        assert_eq!(spelled(&text, Level::Info), line);
        let json = Form::new("Hi\"ll", true, false);
        let line = "{\"ts\":\"2026-11-29T09:28:36.500529Z\",\"level\":\"warn\",\"server\":\
                    \"Hi\\\"ll\",\"event\":\"peer-\\\"up\",\"peer\":\"Bona\",\
                    \"msg\":\"up \\u001b\\\"\"}\n";
        assert_eq!(spelled(&json, Level::Warn), line);
    }

    #[test]
    fn a_note_has_two_forms() {
        let note = |is_json| {
            let mut line = Vec::new();
            Form::new("Hill", is_json, true).note("lines-missing", "2 \"are\"", AT, &mut line);
            String::from_utf8(line).unwrap()
        };
        assert_eq!(note(false), "<4>-- 2 \"are\" --\n");
        let json = "<4>{\"ts\":\"2026-11-29T09:28:36.500529Z\",\"level\":\"warn\",\"server\":\
                    \"Hill\",\"event\":\"lines-missing\",\"msg\":\"2 \\\"are\\\"\"}\n";
        assert_eq!(note(true), json);
    }

    #[test]
    fn priorities_are_those_of_syslog() {
        let form = Form::new("Hill", false, true);
        let levels = [Level::Error, Level::Warn, Level::Info, Level::Debug, Level::Trace];
        let seen = levels.map(|level| spelled(&form, level)[..3].to_owned());
        assert_eq!(seen, ["<3>", "<4>", "<6>", "<7>", "<7>"]);
    }

    #[test]
    fn dates_are_of_the_calendar() {
        let check = |seconds, expected: &str| {
            assert_eq!(date(Duration::from_secs(seconds)), expected);
        };
        check(0, "1970-01-01T00:00:00");
        check(951_782_399, "2000-02-28T23:59:59");
        check(951_782_400, "2000-02-29T00:00:00");
        check(u64::MAX, "1970-01-01T00:00:00");
    }
}
