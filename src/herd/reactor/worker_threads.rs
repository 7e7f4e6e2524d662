//! The few threads for what blocks: calls to remote places, names to resolve, places to load.
//! Nothing here may touch the loop's state; jobs go in through one channel, results come back
//! through another, and mio's `Waker` ends the loop's sleep.
//!
//! ```text
//!    loop ──▶ jobs ───────────▶ ▒ worker ▒ ── blocks in ureq ──┐
//!      ▲                        ▒ worker ▒                     │
//!      └── drain ◀── waker ◀── results, queued first ◀─────────┘
//! ```
//!
//! The order matters: a result is queued first and the loop is woken second. The other way
//! round, the loop could wake, find nothing and sleep again, with the result lying there. Many
//! calls of `wake` may become one event, so after it everything is drained.
//!
//! asyncio: `run_in_executor`, whose future's `call_soon_threadsafe` does the same through a
//! self-pipe; its default pool's queue has no bound.

use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use mio::Waker;

use super::reload::Reread;
use crate::config::Address;
use crate::logging::events::Event;
use crate::places::budget::{Ledger, Spent};
use crate::places::call_gate::{CallGate, CallId};
use crate::places::remote::Trouble;
use crate::places::render::status::UNKNOWN_ERROR;
use crate::places::{Loaded, Local, Outcome, Remote, Source, render};
use crate::trace::{Call, Row};
use herd_core::names::PeerId;
use herd_core::whatsat::Question;

/// What a worker has done.
pub enum Finished {
    Places {
        pool: PoolId,
        call: CallId,
        outcome: Outcome,
        body: Vec<u8>,
    },
    Loaded(Result<Loaded, String>),
    /// The configuration, or why there is none.
    Reread(Box<Result<Reread, String>>),
    Resolved {
        peer: PeerId,
        addresses: io::Result<Vec<SocketAddr>>,
    },
    TraceWritten,
}

/// Where workers leave what they have done. Each has its own.
#[derive(Clone)]
pub struct CompletionSender {
    results: Sender<(Call, Finished)>,
    waker: Arc<Waker>,
}

/// Where the loop picks it up.
pub struct Completions(Receiver<(Call, Finished)>);

/// Names a pool: a reload may put another one in its place while its calls are under way.
pub type PoolId = u32;

/// Threads that ask a remote source, one question at a time each.
pub struct PlacesPool {
    pub id: PoolId,
    questions: Sender<Job>,
    source: Arc<Remote>,
}

/// A call to make, and what is spent with it.
type Job = (CallId, Question, Spent);

/// The source to ask, and the budget that is recorded before.
struct Asker {
    id: PoolId,
    source: Arc<Remote>,
    /// `None` if the source has no budget.
    ledger: Option<Arc<Ledger>>,
}

impl CompletionSender {
    pub fn new(waker: Waker) -> (CompletionSender, Completions) {
        let (results, receiver) = mpsc::channel();
        (CompletionSender { results, waker: Arc::new(waker) }, Completions(receiver))
    }

    /// Leaves what was done since `began`.
    pub fn post(&self, row: Row, began: Instant, finished: Finished) {
        let call = Call { row, began, ended: Instant::now() };
        // Both fail only when the loop is gone, and then no one waits.
        if self.results.send((call, finished)).is_ok() {
            let _ = self.waker.wake();
        }
    }

    /// Ends the loop's sleep, for those who leave what they have done elsewhere.
    pub fn wake(&self) -> Box<dyn Fn() + Send + Sync> {
        let waker = Arc::clone(&self.waker);
        Box::new(move || {
            // It fails only when the loop is gone.
            let _ = waker.wake();
        })
    }

    /// Loads places while the loop already listens, or still answers from those it has.
    pub fn load(&self, places: Local) -> io::Result<()> {
        let completion_sender = self.clone();
        let load = move || {
            let began = Instant::now();
            // A panic in a library must not leave early questions without an answer for ever.
            let loaded = catch_unwind(AssertUnwindSafe(|| places.load()));
            let loaded = loaded.unwrap_or_else(|_| Err("the loading failed".to_owned()));
            completion_sender.post(Row::Load, began, Finished::Loaded(loaded));
        };
        thread::Builder::new().name("herd-load".into()).spawn(load).map(drop)
    }

    /// Has the configuration read again, which may take as long as a disk and a resolver do.
    pub fn reread(
        &self,
        read: impl FnOnce() -> Result<Reread, String> + Send + 'static,
    ) -> io::Result<()> {
        let completion_sender = self.clone();
        let work = move || {
            let began = Instant::now();
            let done = catch_unwind(AssertUnwindSafe(read));
            let done = done.unwrap_or_else(|_| Err("the reading failed".to_owned()));
            completion_sender.post(Row::Load, began, Finished::Reread(Box::new(done)));
        };
        thread::Builder::new().name("herd-reload".into()).spawn(work).map(drop)
    }

    /// Resolves a name on a thread of its own: there are few peers, and a resolver that hangs
    /// must keep neither places nor other peers waiting.
    pub fn resolve(&self, peer: PeerId, address: Address) -> io::Result<()> {
        let completion_sender = self.clone();
        let resolve = move || {
            let began = Instant::now();
            let found = (address.host.as_str(), address.port).to_socket_addrs();
            let addresses = found.map(Iterator::collect);
            let resolved = Finished::Resolved { peer, addresses };
            completion_sender.post(Row::Resolve(peer), began, resolved);
        };
        thread::Builder::new().name("herd-resolve".into()).spawn(resolve).map(drop)
    }
}

impl Completions {
    pub fn next(&self) -> Option<(Call, Finished)> {
        self.0.try_recv().ok()
    }
}

impl PlacesPool {
    pub fn start(
        id: PoolId,
        source: Remote,
        ledger: Option<Ledger>,
        threads: usize,
        completion_sender: &CompletionSender,
    ) -> io::Result<PlacesPool> {
        let (source, ledger) = (Arc::new(source), ledger.map(Arc::new));
        let (questions, receiver) = mpsc::channel();
        let receiver = Arc::new(Mutex::new(receiver));
        for number in 0..threads {
            let asker = Asker { id, source: source.clone(), ledger: ledger.clone() };
            let (receiver, completion_sender) = (receiver.clone(), completion_sender.clone());
            thread::Builder::new().name(format!("herd-places-{number}")).spawn(move || {
                let row = Row::Places(number as u16);
                ask_for_ever(row, &asker, &receiver, &completion_sender);
            })?;
        }
        Ok(PlacesPool { id, questions, source })
    }

    /// Appends an answer that is kept and may be given again, if there is one.
    pub fn recall(&self, question: &Question, out: &mut Vec<u8>) -> bool {
        self.source.recall(question, out)
    }

    /// Hands the gate's next calls to the threads that are free.
    pub fn ask_next(&self, gate: &mut CallGate, now: Duration) {
        while let Some((call, question)) = gate.next(now) {
            // The threads live as long as this end of the channel.
            let _ = self.questions.send((call, question, gate.spent()));
        }
    }

    /// Elements of answers that could not be used, since the start.
    pub fn skipped(&self) -> u64 {
        self.source.skipped()
    }

    /// What went wrong last, if nothing has gone right since.
    pub fn trouble(&self) -> Option<Trouble> {
        self.source.trouble()
    }

    /// Ends the calls under way, so that the process can.
    pub fn shut_down(&self) {
        self.source.shutdown();
    }
}

fn ask_for_ever(
    row: Row,
    Asker { id, source, ledger }: &Asker,
    questions: &Mutex<Receiver<Job>>,
    completion_sender: &CompletionSender,
) {
    loop {
        // The lock is held while waiting: the others wait for the lock, which comes to the same.
        let next = questions.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok((call, question, spent)) = next else { return };
        let began = Instant::now();
        // Before the call: one that was made and not counted would cost money twice.
        if let Some(Err(error)) = ledger.as_ref().map(|ledger| ledger.record(spent)) {
            Event::CallsUncounted { error: &error.to_string() }.log();
        }
        let mut body = Vec::new();
        // A panic in a library must cost one answer, not one thread of the pool.
        let asked = catch_unwind(AssertUnwindSafe(|| source.answer(&question, &mut body)));
        let outcome = asked.unwrap_or_else(|_| {
            body.clear();
            render::failure(UNKNOWN_ERROR, "the source of places failed", &mut body);
            Outcome::Failed
        });
        let pool = *id;
        completion_sender.post(row, began, Finished::Places { pool, call, outcome, body });
    }
}

#[cfg(test)]
mod tests {
    use mio::{Events, Poll, Token};

    use super::*;

    /// Goal: a loop that was woken by a result and finds none would sleep again beside it.
    #[test]
    fn who_is_woken_finds_the_result() {
        let mut poll = Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), Token(0)).unwrap();
        let (completion_sender, results) = CompletionSender::new(waker);
        // A waker that is dropped takes its event with it, so one end of it stays here.
        let theirs = completion_sender.clone();
        let worker =
            thread::spawn(move || theirs.post(Row::Load, Instant::now(), Finished::TraceWritten));
        let mut events = Events::with_capacity(1);
        poll.poll(&mut events, Some(Duration::from_secs(60))).unwrap();
        assert!(!events.is_empty(), "the loop is woken");
        assert!(results.next().is_some(), "and finds what it was woken for");
        worker.join().unwrap();
    }
}
