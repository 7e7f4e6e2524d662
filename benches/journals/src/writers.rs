//! Who calls write(2)? The loop, a thread that it hands its news to, or the loop while it is calm:
//! while nothing is being synced. A thread syncs all the time, ten times as often as in life.

use std::fs::File;
use std::io::Write;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};
use rustix::fd::OwnedFd;

use crate::figures::{Table, Times, cpu};
use crate::{Batches, Course, Result};

const SYNC_EVERY: Duration = Duration::from_millis(100);
/// A loop at pipeline 16 does other things in between: about as long as sixteen requests take.
const TURN: Duration = Duration::from_micros(10);

#[derive(Clone, Copy, PartialEq)]
enum Who {
    Loop,
    Thread,
    Calm,
}

const ALL: [(&str, Who); 3] = [
    ("the loop", Who::Loop),
    ("a thread", Who::Thread),
    ("**the loop while it is calm**", Who::Calm),
];

/// Measures all of them.
pub fn run(course: &Course) -> Result<Table> {
    let mut figures = vec![vec![Vec::new(); 5]; ALL.len()];
    for _ in 0..course.rounds {
        for ((_, who), figures) in ALL.iter().zip(&mut figures) {
            let found = measure(course, *who)?;
            figures.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
    }
    let mut table = Table::new(&[
        "who writes",
        "CPU µs a batch",
        "written after: p50 µs",
        "p99 µs",
        "max µs",
        "the loop stands still: max µs",
    ]);
    ALL.iter().zip(&figures).for_each(|((name, _), figures)| table.add(name, figures));
    Ok(table)
}

/// What the loop and the threads share.
struct Shared {
    file: File,
    /// Lines, and the position at their end.
    queue: Mutex<(Vec<u8>, u64)>,
    for_writer: Condvar,
    written: AtomicU64,
    is_syncing: AtomicBool,
    is_over: AtomicBool,
    woken: OwnedFd,
}

fn measure(course: &Course, who: Who) -> Result<[f64; 5]> {
    let dir = course.fresh("writers")?;
    let shared = Shared {
        file: File::create(dir.join("log"))?,
        queue: Mutex::default(),
        for_writer: Condvar::new(),
        written: AtomicU64::new(0),
        is_syncing: AtomicBool::new(false),
        is_over: AtomicBool::new(false),
        woken: eventfd(0, EventfdFlags::NONBLOCK)?,
    };
    thread::scope(|scope| {
        scope.spawn(|| shared.sync_on());
        if who != Who::Loop {
            scope.spawn(|| shared.write_on());
        }
        let found = shared.turn(course.span, who);
        shared.is_over.store(true, Ordering::Release);
        shared.for_writer.notify_all();
        found
    })
}

impl Shared {
    /// The loop: news, its writing, and the wait until an answer to it may leave.
    fn turn(&self, span: Duration, who: Who) -> Result<[f64; 5]> {
        let (mut batches, mut appended) = (Batches::default(), 0);
        let (mut latencies, mut longest) = (Times::default(), Duration::ZERO);
        let (began, cpu_before, mut beside) = (Instant::now(), cpu(), Duration::ZERO);
        while began.elapsed() < span {
            let (made, before) = (Instant::now(), cpu());
            let batch = batches.more();
            while made.elapsed() < TURN {}
            beside += cpu() - before;
            appended += batch.len() as u64;
            let at = Instant::now();
            let is_calm = who == Who::Calm && !self.is_syncing.load(Ordering::Acquire);
            if who == Who::Loop || is_calm {
                (&self.file).write_all(batch)?;
                self.written.store(appended, Ordering::Release);
                longest = longest.max(at.elapsed());
            } else {
                let mut queue = self.lock();
                queue.0.extend_from_slice(batch);
                queue.1 = appended;
                drop(queue);
                self.for_writer.notify_one();
                longest = longest.max(at.elapsed());
                while self.written.load(Ordering::Acquire) < appended {
                    poll(&mut [PollFd::new(&self.woken, PollFlags::IN)], None)?;
                    let _ = rustix::io::read(&self.woken, &mut [0; 8]);
                }
            }
            latencies.add(at.elapsed());
        }
        let spent = (cpu() - cpu_before).saturating_sub(beside).as_secs_f64() * 1e6;
        let cpu_us = spent / latencies.count() as f64;
        let [p50, p99, max] = latencies.quantiles([0.5, 0.99, 1.0]);
        Ok([cpu_us, p50, p99, max, longest.as_secs_f64() * 1e6])
    }

    fn write_on(&self) {
        loop {
            let mut queue = self.lock();
            while queue.0.is_empty() && !self.is_over.load(Ordering::Acquire) {
                queue = self.for_writer.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            let (batch, appended) = std::mem::take(&mut *queue);
            drop(queue);
            if batch.is_empty() {
                return;
            }
            (&self.file).write_all(&batch).expect("room on the disk");
            self.written.store(appended, Ordering::Release);
            rustix::io::write(&self.woken, &1_u64.to_ne_bytes()).expect("an eventfd");
        }
    }

    fn sync_on(&self) {
        while !self.is_over.load(Ordering::Acquire) {
            thread::sleep(SYNC_EVERY);
            self.is_syncing.store(true, Ordering::Release);
            self.file.sync_data().expect("a disk that syncs");
            self.is_syncing.store(false, Ordering::Release);
        }
    }

    fn lock(&self) -> MutexGuard<'_, (Vec<u8>, u64)> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
