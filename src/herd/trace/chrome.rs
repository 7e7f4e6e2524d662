//! A recording as a file: Chrome's trace events in JSON, which Perfetto, chrome://tracing and the
//! viewer open. Names and formats are needed only here, long after the turns.
//!
//! Spans are complete events (`ph` X); a hop is a flow, which starts (`s`) in one server's file
//! and ends (`f`) in another's. Times are microseconds from the origin of the recording.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use super::{Due, Origin, Record, Recording, Row, SpanKind, Turn, Way};
use herd_core::names::PeerId;

/// Names the format, for those who read it.
pub const SCHEMA: &str = "herd-trace/1";

impl Recording {
    pub fn len(&self) -> usize {
        self.records.len()
    }

    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Writes the file beside its place and moves it there: a reader that opens it finds a whole
    /// one.
    ///
    /// # Errors
    /// The folder or the disk does not take it.
    pub fn save(&self, path: &Path) -> io::Result<()> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}.tmp", std::process::id()));
        let written = File::create(&beside).and_then(|file| {
            let mut out = BufWriter::new(file);
            self.write(&mut out)?;
            out.flush()?;
            fs::rename(&beside, path)
        });
        if written.is_err() {
            // There may be none, and it is not needed.
            let _ = fs::remove_file(&beside);
        }
        written
    }

    /// # Errors
    /// Those of `out`.
    pub fn write(&self, out: &mut impl Write) -> io::Result<()> {
        let (pid, server) = (std::process::id(), quoted(&self.heading.server));
        let Origin { posix, .. } = self.origin;
        write!(
            out,
            "{{\"displayTimeUnit\":\"ns\",\"otherData\":{{\"schema\":\"{SCHEMA}\",\
             \"server\":{server},\"engine\":\"reactor\",\"pid\":{pid},\
             \"origin_posix_us\":{},\"dropped\":{}}},\n\"traceEvents\":[\n",
            micros(posix.as_nanos() as u64),
            self.dropped
        )?;
        let name = quoted(&format!("{} (reactor)", self.heading.server));
        write_name(out, "process_name", Row::Loop, &name)?;
        let mut rows = vec![Row::Loop];
        rows.extend(self.records.iter().filter_map(|record| record.row()));
        rows.sort();
        rows.dedup();
        for row in rows {
            out.write_all(b",\n")?;
            write_name(out, "thread_name", row, &quoted(&self.row_name(row)))?;
        }
        for record in &self.records {
            out.write_all(b",\n")?;
            self.write_record(out, record)?;
        }
        out.write_all(b"\n]}\n")
    }

    fn write_record(&self, out: &mut impl Write, record: &Record) -> io::Result<()> {
        let (name, category) = record.note.name();
        let row = record.row().unwrap_or(Row::Loop);
        let (pid, tid, start) = (std::process::id(), row.tid(), micros(record.start_ns));
        write!(out, "{{\"name\":\"{name}\",\"cat\":\"{category}\",\"ts\":{start},\"pid\":{pid},")?;
        match record.note {
            SpanKind::Hop { way: Way::Sent, id, .. } => {
                write!(out, "\"ph\":\"s\",\"id\":\"{id:016x}\"")?
            }
            SpanKind::Hop { way: Way::Received, id, .. } => {
                write!(out, "\"ph\":\"f\",\"bp\":\"e\",\"id\":\"{id:016x}\"")?;
            }
            _ => write!(out, "\"ph\":\"X\",\"dur\":{}", micros(record.length_ns))?,
        }
        write!(out, ",\"tid\":{tid},\"args\":{{{}}}}}", self.args(&record.note))
    }

    fn args(&self, note: &SpanKind) -> String {
        match *note {
            SpanKind::Turn(n, turn) => {
                let Turn { ready, timers, unfinished, owing, open } = turn;
                format!(
                    "\"n\":{n},\"ready\":{ready},\"timers\":{timers},\
                     \"unfinished\":{unfinished},\"owing\":{owing},\"open\":{open}"
                )
            }
            SpanKind::Sleep { timeout, ready } => {
                let timeout = timeout.map_or("null".into(), |wait| wait.as_micros().to_string());
                format!("\"patience_us\":{timeout},\"ready\":{ready}")
            }
            SpanKind::Ready { token, conn, readable, writable, closed } => format!(
                "\"token\":{token},{}\"readable\":{readable},\"writable\":{writable},\
                 \"closed\":{closed}",
                conn.map_or_else(String::new, |conn| format!("\"conn\":\"{conn}\","))
            ),
            SpanKind::Waker { results } => format!("\"results\":{results}"),
            SpanKind::Signals | SpanKind::Round => String::new(),
            SpanKind::Timer { due: Due::Redial(peer) } => {
                format!("\"what\":\"Redial\",\"peer\":{}", quoted(self.peer(peer)))
            }
            SpanKind::Timer { due } => format!("\"what\":\"{due:?}\""),
            SpanKind::Unfinished { conn: None } => String::new(),
            SpanKind::Unfinished { conn: Some(conn) } | SpanKind::Flush { conn } => {
                format!("\"conn\":\"{conn}\"")
            }
            SpanKind::Bury { slots } => format!("\"slots\":{slots}"),
            SpanKind::Accept { conn } => {
                format!("\"conn\":\"{conn}\",\"door\":\"{:?}\"", conn.kind())
            }
            SpanKind::Fill { conn, bytes } => format!("\"conn\":\"{conn}\",\"bytes\":{bytes}"),
            SpanKind::Tell { input, lines, outputs } => {
                let (input, conn) = input.parts();
                let conn = conn.map_or_else(String::new, |conn| format!(",\"conn\":\"{conn}\""));
                format!("\"input\":\"{input}\"{conn},\"lines\":{lines},\"outputs\":{outputs}")
            }
            SpanKind::Keep { bytes, released, wait } => {
                format!("\"bytes\":{bytes},\"released\":{released},\"wait\":{wait}")
            }
            SpanKind::Write { conn, bytes, left } => {
                format!("\"conn\":\"{conn}\",\"bytes\":{bytes},\"left\":{left}")
            }
            SpanKind::Dial { peer } => format!("\"peer\":{}", quoted(self.peer(peer))),
            SpanKind::Call { row } => format!("\"what\":{}", quoted(&self.row_name(row))),
            SpanKind::Hop { client, .. } => {
                format!("\"client\":{}", quoted(&String::from_utf8_lossy(client.as_bytes())))
            }
        }
    }

    fn row_name(&self, row: Row) -> String {
        match row {
            Row::Loop => "loop".into(),
            Row::Load => "load".into(),
            Row::Trace => "trace".into(),
            Row::Journal => "journal".into(),
            Row::Sync => "sync".into(),
            Row::Places(number) => format!("places-{}", number + 1),
            Row::Resolve(peer) => format!("resolve {}", self.peer(peer)),
        }
    }

    fn peer(&self, peer: PeerId) -> &str {
        self.heading.peers.get(usize::from(peer.0)).map_or("", String::as_str)
    }
}

impl Record {
    /// The thread beside the loop that did it.
    fn row(&self) -> Option<Row> {
        match self.note {
            SpanKind::Call { row } => Some(row),
            _ => None,
        }
    }
}

impl Row {
    /// Places and peers have no common bound, so they take turns.
    fn tid(self) -> u32 {
        match self {
            Row::Loop => 1,
            Row::Load => 2,
            Row::Trace => 3,
            Row::Journal => 4,
            Row::Sync => 5,
            Row::Places(number) => 6 + 2 * u32::from(number),
            Row::Resolve(peer) => 7 + 2 * u32::from(peer.0),
        }
    }
}

fn write_name(out: &mut impl Write, what: &str, row: Row, quoted: &str) -> io::Result<()> {
    let (pid, tid) = (std::process::id(), row.tid());
    write!(
        out,
        "{{\"name\":\"{what}\",\"ph\":\"M\",\"pid\":{pid},\"tid\":{tid},\
         \"args\":{{\"name\":{quoted}}}}}"
    )
}

/// Nanoseconds as microseconds with three decimals, which no float would spell faster.
fn micros(nanos: u64) -> String {
    format!("{}.{:03}", nanos / 1000, nanos % 1000)
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
