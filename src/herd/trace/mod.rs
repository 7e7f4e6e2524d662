//! The trace: what the loop did in its last turns and when, to be looked at like a film. It is not
//! the log: it is made of times and numbers, cheap enough to note every read. It knows no socket
//! and decides nothing. `reactor` says what is noted, and when.
//!
//! In use, a span is begun, something is done, and the span is ended with a `SpanKind`. The clock
//! is read at ends only: on one thread, what begins now begins where the last thing ended. So spans
//! nest by themselves, a parent behind its children:
//!
//! ```text
//!   turn ├──────────────────────────────────────────────────────┤      the ring:
//!   sleep├───────────────┤ready ├──────────────┤flush├──────────┤      … sleep fill tell ready
//!                         fill  ├─────┤         write├──────────┤        write flush turn …
//!                         tell        ├────────┤
//! ```
//!
//! The ring is full after some thousand turns; then the oldest records make way. `Recording` is a
//! copy of it, whole turns only, for `chrome` to write. `herd_teach::trace` lays several on one
//! timeline and draws them.
//!
//! asyncio: `loop.set_debug`, which reports steps above 100 ms; its twin of this is `traced.py`.

mod chrome;
mod hop;
mod span_kind;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use herd_core::border::Input;
use herd_core::names::{ConnId, ConnKind, PeerId};
use hop::{ClientStart, LinkWay, Links, Way};
pub(crate) use span_kind::{Due, InputKind, SpanKind, Turn};

/// Records that are kept: some 10,000 turns of one request each, in 3 MiB.
const RECORDS_MAX: usize = 65_536;

/// The server that is traced: what the file says about itself.
#[derive(Debug)]
pub struct Heading {
    pub server: String,
    /// Names of the peers, in the order of their `PeerId`s.
    pub peers: Vec<String>,
}

/// Takes notes, or does not: that is one branch for each span.
pub struct Recorder {
    ring: Option<Box<Ring>>,
    /// When the clock was last read, in nanoseconds since the origin.
    last: u64,
}

/// Something has begun; `Recorder::end` says what it was.
#[derive(Clone, Copy)]
pub struct Span(u64);

/// What a thread beside the loop has done. The loop notes it when it picks the result up.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub row: Row,
    pub began: Instant,
    pub ended: Instant,
}

/// A thread, as the trace shows it: a row of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Row {
    Loop,
    /// Loads places.
    Load,
    /// Writes the trace that is being looked at, or an earlier one.
    Trace,
    /// Writes the journal.
    Journal,
    /// Has the disk take what was written.
    Sync,
    /// Asks remote places; several do.
    Places(u16),
    /// Resolves the name of a peer, of which there is one at a time.
    Resolve(PeerId),
}

/// One span, or a moment that takes no time.
#[derive(Clone, Copy, Debug)]
struct Record {
    start_ns: u64,
    length_ns: u64,
    note: SpanKind,
}

const _: () = assert!(size_of::<Record>() <= 48);

/// invariant: `records` never grows beyond the capacity with which it was made
struct Ring {
    heading: Arc<Heading>,
    origin: Origin,
    records: VecDeque<Record>,
    records_max: usize,
    dropped: u64,
    turns: u64,
    /// What is known of the turn that has begun.
    turn: Turn,
    links: Links,
}

/// The moment from which a trace counts, by both clocks.
#[derive(Clone, Copy, Debug)]
struct Origin {
    monotonic: Instant,
    posix: Duration,
}

/// The whole turns that a ring held when it was copied.
pub struct Recording {
    heading: Arc<Heading>,
    origin: Origin,
    records: Vec<Record>,
    /// Records that are not here any more.
    dropped: u64,
}

impl Recorder {
    pub fn off() -> Recorder {
        Recorder { ring: None, last: 0 }
    }

    pub fn on(heading: Heading) -> Recorder {
        Recorder::of_size(heading, RECORDS_MAX)
    }

    fn of_size(heading: Heading, records_max: usize) -> Recorder {
        let ring = Ring {
            heading: Arc::new(heading),
            origin: Origin::now(),
            records: VecDeque::with_capacity(records_max),
            records_max,
            dropped: 0,
            turns: 0,
            turn: Turn::default(),
            links: Links::default(),
        };
        Recorder { ring: Some(Box::new(ring)), last: 0 }
    }

    pub fn is_on(&self) -> bool {
        self.ring.is_some()
    }

    pub fn begin(&self) -> Span {
        Span(self.last)
    }

    #[inline]
    pub(crate) fn end(&mut self, span: Span, note: impl FnOnce() -> SpanKind) {
        if let Some(ring) = &mut self.ring {
            self.last = ring.end(span, note());
        }
    }

    /// Ends a span in which something was done, if it is worth a record.
    #[inline]
    pub(crate) fn end_if(&mut self, span: Span, kind: Option<SpanKind>) {
        if let Some(kind) = kind {
            self.end(span, || kind);
        }
    }

    /// An input is about to be given to the core.
    #[inline]
    pub(crate) fn begin_tell(&self, input: &Input<'_, '_>) -> Option<(Span, InputKind)> {
        self.is_on().then(|| (self.begin(), InputKind::from(input)))
    }

    /// So many outputs came of it, and are carried out.
    #[inline]
    pub(crate) fn end_tell(&mut self, begun: Option<(Span, InputKind)>, outputs: usize) {
        if let Some((span, input)) = begun {
            self.end(span, || SpanKind::Tell { input, lines: 0, outputs: outputs as u32 });
        }
    }

    /// Ends a span in which no other was: it began where the last ended.
    #[inline]
    pub(crate) fn done(&mut self, note: impl FnOnce() -> SpanKind) {
        self.end(self.begin(), note);
    }

    /// Ends the span in which lines were given to the core. Those that are reports have come by a
    /// hop, if there are ports of a link, the sender's first; they are asked for rarely.
    pub(crate) fn end_hearing(
        &mut self,
        span: Span,
        conn: ConnId,
        outputs: u32,
        heard: &[u8],
        ports: impl FnOnce() -> Option<[u16; 2]>,
    ) {
        if let Some(ring) = &mut self.ring {
            self.last = ring.end_hearing(span, conn, outputs, heard, ports);
        }
    }

    /// Notes the hops that begin with these lines, if they go over a link.
    #[inline]
    pub(crate) fn hop(
        &mut self,
        conn: ConnId,
        lines: &[u8],
        ports: impl FnOnce() -> Option<[u16; 2]>,
    ) {
        if let Some(ring) = &mut self.ring {
            self.last = ring.tell_hops(conn, lines, ports).unwrap_or(self.last);
        }
    }

    /// Turns are numbered, from 0. What was ready and which timers fired is known already.
    pub(crate) fn end_turn(&mut self, span: Span, turn: impl FnOnce() -> Turn) {
        if let Some(ring) = &mut self.ring {
            let Turn { ready, timers, .. } = std::mem::take(&mut ring.turn);
            self.last =
                ring.end(span, SpanKind::Turn(ring.turns, Turn { ready, timers, ..turn() }));
            ring.turns += 1;
        }
    }

    pub fn call(&mut self, call: Call) {
        if let Some(ring) = &mut self.ring {
            let [start_ns, end_ns] = [call.began, call.ended].map(|at| ring.origin.nanos(at));
            let length_ns = end_ns - start_ns;
            ring.push(Record { start_ns, length_ns, note: SpanKind::Call { row: call.row } });
        }
    }

    /// A copy of what is held; `None` if nothing ever is. To be asked for between two turns.
    pub fn recording(&self) -> Option<Recording> {
        self.ring.as_deref().map(Ring::recording)
    }
}

impl Ring {
    /// Out of line, as are all that take notes: a server without a trace should not have to jump
    /// over it.
    #[cold]
    fn end(&mut self, Span(start_ns): Span, note: SpanKind) -> u64 {
        let end_ns = self.origin.nanos(Instant::now());
        match note {
            SpanKind::Sleep { ready, .. } => self.turn.ready = ready,
            SpanKind::Timer { .. } => self.turn.timers += 1,
            _ => {}
        }
        self.push(Record { start_ns, length_ns: end_ns - start_ns, note });
        end_ns
    }

    /// A hop ends where its lines are first noted, as soon after their reading as can be.
    fn end_hearing(
        &mut self,
        span: Span,
        conn: ConnId,
        outputs: u32,
        heard: &[u8],
        ports: impl FnOnce() -> Option<[u16; 2]>,
    ) -> u64 {
        self.hops(LinkWay { way: Way::Received, conn }, span.0 + 1, heard, ports);
        let newlines = heard.iter().filter(|&&byte| byte == b'\n').count();
        let has_rest = !heard.is_empty() && !heard.ends_with(b"\n");
        let lines = (newlines + usize::from(has_rest)) as u32;
        self.end(span, SpanKind::Tell { input: InputKind::Lines(conn), lines, outputs })
    }

    #[cold]
    fn tell_hops(
        &mut self,
        conn: ConnId,
        lines: &[u8],
        ports: impl FnOnce() -> Option<[u16; 2]>,
    ) -> Option<u64> {
        // A client receives AT lines, too, but those are answers.
        let is_link = matches!(conn.kind(), ConnKind::Peer | ConnKind::Course);
        if !is_link || hop::reports(lines).next().is_none() {
            return None;
        }
        let now_ns = self.origin.nanos(Instant::now());
        self.hops(LinkWay { way: Way::Sent, conn }, now_ns, lines, ports);
        Some(now_ns)
    }

    fn hops(
        &mut self,
        link: LinkWay,
        start_ns: u64,
        lines: &[u8],
        ports: impl FnOnce() -> Option<[u16; 2]>,
    ) {
        let mut reports = hop::reports(lines).peekable();
        let Some(name) = reports.peek().and_then(|_| self.links.name(link, ports)) else { return };
        for [client, time] in reports {
            let id = hop::id(client, time, &name);
            let note = SpanKind::Hop { way: link.way, id, client: ClientStart::of(client) };
            self.push(Record { start_ns, length_ns: 0, note });
        }
    }

    fn push(&mut self, record: Record) {
        if self.records.len() == self.records_max {
            self.records.pop_front();
            self.dropped += 1;
        }
        self.records.push_back(record);
    }

    /// Of a turn that has lost its first records nothing is worth showing, nor of one that has not
    /// ended: only its place before the turn's record says that a record belongs to that turn.
    fn recording(&self) -> Recording {
        let is_turn = |record: &Record| matches!(record.note, SpanKind::Turn(..));
        let end = self.records.iter().rposition(is_turn).map_or(0, |last| last + 1);
        let first_turn = self.records.iter().position(is_turn).map_or(0, |first| first + 1);
        let start = if self.dropped > 0 { first_turn } else { 0 };
        let records: Vec<_> = self.records.range(start..end).copied().collect();
        let dropped = self.dropped + (self.records.len() - records.len()) as u64;
        Recording { heading: self.heading.clone(), origin: self.origin, records, dropped }
    }
}

impl Origin {
    /// Reads both clocks as close together as they come: a merge is as good as this.
    fn now() -> Origin {
        let read = |_| {
            let monotonic = Instant::now();
            let posix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            (monotonic.elapsed(), Origin { monotonic, posix })
        };
        let reads = (0..8).map(read).min_by_key(|(apart, _)| *apart);
        reads.map(|(_, origin)| origin).expect("eight is not none")
    }

    fn nanos(&self, at: Instant) -> u64 {
        at.saturating_duration_since(self.monotonic).as_nanos() as u64
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn recorder(records_max: usize) -> Recorder {
        let heading = Heading { server: "Bai\"ley".into(), peers: vec!["Bona".into()] };
        Recorder::of_size(heading, records_max)
    }

    /// A turn with a phase and a piece of work in it.
    fn turn(recorder: &mut Recorder) {
        let conn = ConnId::new(ConnKind::Client, 1, 0);
        let turn = recorder.begin();
        let ready = recorder.begin();
        let fill = recorder.begin();
        recorder.end(fill, || SpanKind::Fill { conn, bytes: 7 });
        recorder.end(ready, || SpanKind::Flush { conn });
        recorder.end_turn(turn, Turn::default);
    }

    /// The events of the file that are no names, as `name start end`.
    fn spans(recorder: &Recorder) -> (Value, Vec<(String, f64, f64)>) {
        let mut file = Vec::new();
        recorder.recording().unwrap().write(&mut file).unwrap();
        let mut file: Value = serde_json::from_slice(&file).unwrap();
        let events = file["traceEvents"].take();
        let mut spans = Vec::new();
        for event in events.as_array().unwrap().iter().filter(|event| event["ph"] == "X") {
            let name = event["name"].as_str().unwrap().to_owned();
            let start = event["ts"].as_f64().unwrap();
            spans.push((name, start, start + event["dur"].as_f64().unwrap()));
        }
        (file["otherData"].take(), spans)
    }

    /// Goal: however much the ring has lost, the file holds whole turns and nothing else, and says
    /// how many records are not there.
    #[test]
    fn only_whole_turns_are_shown() {
        let check = |records_max: usize, turns: usize, whole: usize| {
            let mut recorder = recorder(records_max);
            (0..turns).for_each(|_| turn(&mut recorder));
            // What comes of a turn that has not ended.
            let begun = recorder.begin();
            recorder.end(begun, || SpanKind::Round);
            let (about, spans) = spans(&recorder);
            assert_eq!(about["dropped"], 3 * (turns - whole) + 1, "{records_max}, {turns}");
            assert_eq!(spans.len(), 3 * whole);
            for three in spans.chunks(3) {
                let names: Vec<_> = three.iter().map(|(name, ..)| name.as_str()).collect();
                assert_eq!(names, ["fill", "flush", "turn"]);
            }
        };
        check(100, 0, 0);
        check(100, 1, 1);
        check(100, 33, 33);
        check(100, 34, 32);
        check(10, 34, 2);
        check(3, 34, 0);
    }

    /// Goal: spans that overlap lie one in the other, and turns come one after the other.
    #[test]
    fn spans_nest() {
        let mut recorder = recorder(1000);
        (0..200).for_each(|_| turn(&mut recorder));
        let (_, spans) = spans(&recorder);
        for (one, start, end) in &spans {
            for (other, from, to) in &spans {
                // Microseconds are floats here.
                let apart = *end <= from + 0.000_5 || *to <= start + 0.000_5;
                let within = |a: f64, b: f64, c: f64, d: f64| a >= c - 0.000_5 && b <= d + 0.000_5;
                let nests = within(*start, *end, *from, *to) || within(*from, *to, *start, *end);
                assert!(apart || nests, "{one} {start} {end}, {other} {from} {to}");
            }
        }
    }

    #[test]
    fn threads_have_rows_and_names_are_quoted() {
        let mut recorder = recorder(100);
        let began = Instant::now();
        for row in [Row::Places(0), Row::Resolve(PeerId(0)), Row::Places(0)] {
            recorder.call(Call { row, began, ended: Instant::now() });
        }
        turn(&mut recorder);
        let mut file = Vec::new();
        recorder.recording().unwrap().write(&mut file).unwrap();
        let file: Value = serde_json::from_slice(&file).unwrap();
        let events = file["traceEvents"].as_array().unwrap().iter();
        let named = events.filter(|event| event["ph"] == "M");
        let names: Vec<_> = named
            .map(|event| (event["tid"].as_u64().unwrap(), event["args"]["name"].as_str().unwrap()))
            .collect();
        let expected =
            [(1, "Bai\"ley (reactor)"), (1, "loop"), (6, "places-1"), (7, "resolve Bona")];
        assert_eq!(names, expected);
    }

    #[test]
    fn off_means_nothing() {
        let mut recorder = Recorder::off();
        let span = recorder.begin();
        recorder.end(span, || panic!("nobody looks"));
        recorder.end_turn(span, || panic!("nobody looks"));
        assert!(recorder.recording().is_none());
    }
}
