//! What goes into the trace, and how its file is written. The loop only says what it has done
//! (`trace::Recorder::end`); this file decides which file that goes to, and when.
//!
//! The file is written at the end, and whenever SIGUSR1 comes. The loop copies what is recorded
//! and turns on; a thread writes, and its completion wakes the loop. A signal that comes meanwhile
//! is not forgotten: another copy is taken when that thread is done.

use std::path::{Path, PathBuf};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::Events;

use super::connection::{Connection, Filled};
use super::start::StartError;
use super::worker_threads::Finished;
use super::{Due, Reactor};
use crate::config::Config;
use crate::journal::{Journal, Work};
use crate::logging::events::Event;
use crate::trace::{self, Call, Heading, Recorder, Recording, Row, Span, SpanKind, Turn};
use herd_core::names::{ConnId, ConnKind};

/// Where the trace goes.
#[derive(Default)]
pub struct TraceFile {
    path: Option<PathBuf>,
    /// It was asked for.
    wanted: bool,
    writer: Option<JoinHandle<()>>,
}

/// A recorder, and the file for it: with nothing in it yet, so that a place where it cannot be is
/// known before there is a trace to lose.
pub fn start(config: &Config) -> Result<(Recorder, TraceFile), StartError> {
    let Some(path) = config.trace.clone() else {
        return Ok((Recorder::off(), TraceFile::default()));
    };
    let peers = config.peers.iter().map(|peer| peer.name.clone()).collect();
    let recorder = Recorder::on(Heading { server: config.name.clone(), peers });
    if let Some(empty) = recorder.recording() {
        empty.save(&path).map_err(|error| StartError::Trace { path: path.clone(), error })?;
    }
    Ok((recorder, TraceFile { path: Some(path), ..TraceFile::default() }))
}

pub fn write(connection: &Connection, bytes: usize) -> SpanKind {
    let (conn, left) = (connection.id(), connection.session.queued_bytes() as u32);
    SpanKind::Write { conn, bytes: bytes as u32, left }
}

pub fn due(due: &Due) -> trace::Due {
    match due {
        Due::Core(timer) => timer.into(),
        Due::Accept { .. } => trace::Due::Accept,
        Due::WebAnswer { .. } => trace::Due::Answer,
        Due::LameDuck => trace::Due::LameDuck,
        Due::DrainOver => trace::Due::DrainOver,
        Due::Handshake { .. } => trace::Due::Handshake,
        Due::Head { .. } => trace::Due::Head,
        Due::LogLevel => trace::Due::LogLevel,
        Due::Followers | Due::Unwatch => trace::Due::Followers,
        Due::Index => trace::Due::Index,
        Due::Mqtt => trace::Due::Mqtt,
        Due::Pulse { .. } => trace::Due::Pulse,
    }
}

impl Reactor {
    pub(super) fn end_turn(&mut self, turn: Span) {
        if self.trace.is_on() {
            self.record_turn(turn);
        }
    }

    #[cold]
    fn record_turn(&mut self, turn: Span) {
        self.trace.end_turn(turn, || Turn {
            unfinished: (self.unfinished.len() + self.unfinished_peers.len()) as u32,
            owing: self.to_flush.len() as u32,
            open: self.slots.open() as u32,
            ..Turn::default()
        });
        self.offer_trace();
    }

    /// Reports among the lines that were read have come by a hop, if it is a link. A client that
    /// sends AT to a server that does not accept it is no source.
    pub(super) fn trace_lines(&mut self, span: Span, conn: ConnId, heard: &[u8], outputs: usize) {
        if self.trace.is_on() {
            self.record_lines(span, conn, heard, outputs as u32);
        }
    }

    #[cold]
    fn record_lines(&mut self, span: Span, conn: ConnId, heard: &[u8], outputs: u32) {
        let is_link = conn.kind() != ConnKind::Client || self.config.accept_plain;
        self.trace.end_hearing(span, conn, outputs, heard, || {
            // Its lines may have ended it.
            let teller = self.slots.tenant(conn.slot()).filter(|_| is_link)?;
            let [ours, theirs] = teller.ports()?;
            Some([theirs, ours])
        });
    }

    pub(super) fn trace_sleep(&mut self, timeout: Option<Duration>, events: &Events) {
        self.trace.done(|| SpanKind::Sleep { timeout, ready: events.iter().count() as u32 });
    }

    pub(super) fn trace_fill(&mut self, conn: ConnId, filled: &Filled) {
        let bytes = if let Filled::Bytes(count) = filled { *count as u32 } else { 0 };
        self.trace.done(|| SpanKind::Fill { conn, bytes });
    }

    /// Notes what the threads of the journal have done.
    pub(super) fn trace_journal(&mut self, journal: &Journal) {
        if self.trace.is_on() {
            for Work { is_sync, began, ended } in journal.take_work() {
                let row = if is_sync { Row::Sync } else { Row::Journal };
                self.trace.call(Call { row, began, ended });
            }
        }
    }

    /// SIGUSR1 has come.
    pub(super) fn want_trace(&mut self) {
        match self.trace_file.path {
            Some(_) => self.trace_file.wanted = true,
            None => {
                let error = "SIGUSR1 asks for one, and there is none: start with --trace FILE";
                Event::TraceNotWritten { error }.log();
            }
        }
    }

    /// Has the trace written if it was asked for and is not being written yet. To be called between
    /// two turns.
    fn offer_trace(&mut self) {
        if !self.trace_file.wanted || self.trace_file.writer.is_some() {
            return;
        }
        self.trace_file.wanted = false;
        let Some((recording, path)) = self.trace.recording().zip(self.trace_file.path.clone())
        else {
            return;
        };
        let completion_sender = self.completion_sender.clone();
        let write = move || {
            let began = Instant::now();
            tell_of(&recording, &path);
            completion_sender.post(Row::Trace, began, Finished::TraceWritten);
        };
        match thread::Builder::new().name("herd-trace".into()).spawn(write) {
            Ok(writer) => self.trace_file.writer = Some(writer),
            Err(error) => {
                Event::TraceNotWritten { error: &format!("no thread: {error}") }.log();
            }
        }
    }

    pub(super) fn trace_written(&mut self) {
        self.trace_file.writer = None;
    }

    /// Writes the trace at the end, when no one has to wait for it.
    pub(super) fn end_trace(&mut self) {
        let Some((recording, path)) = self.trace.recording().zip(self.trace_file.path.take())
        else {
            return;
        };
        if let Some(writer) = self.trace_file.writer.take() {
            // Its older file must not replace ours. If it has panicked, ours is all there is.
            let _ = writer.join();
        }
        tell_of(&recording, &path);
    }
}

fn tell_of(recording: &Recording, path: &Path) {
    match recording.save(path) {
        Ok(()) => Event::TraceWritten { records: recording.len(), path }.log(),
        Err(error) => {
            let error = format!("{}: {error}", path.display());
            Event::TraceNotWritten { error: &error }.log();
        }
    }
}
