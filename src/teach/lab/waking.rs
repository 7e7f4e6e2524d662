//! How a thread wakes the loop, and how long the loop sleeps at least.

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mio::{Poll, Token, Waker};

use super::{Experiment, Findings, House, TIMEOUT, count_events, join};

pub const WAKES: Experiment = Experiment {
    name: "wakes",
    chapter: 8,
    title: "a thousand wakes are one event",
    about: "A waker says that something has happened, not how often. A loop that takes one \
            result for each event leaves the others lying.",
    steps: "1,000 calls of `wake`, then one poll, and another.",
    house: "`Reactor::pick_up_completions` takes all that lies there.",
    run: wakes,
};

fn wakes(found: &mut Findings, _: &House) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let waker = Waker::new(poll.registry(), Token(0))?;
    let begun = Instant::now();
    for _ in 0..1_000 {
        waker.wake()?;
    }
    let each = begun.elapsed() / 1_000;
    let events = count_events(&mut poll, TIMEOUT)?;
    let later = count_events(&mut poll, Duration::from_millis(50))?;
    found.show("events after 1,000 wakes", "1,000", events);
    found.show("events after that", "", later);
    found.show("time of a call", "", format!("{:.2} µs", each.as_secs_f64() * 1e6));
    found.demand(events == 1 && later == 0, "the wakes were not one event");
    Ok(())
}

pub const WAKE_FIRST: Experiment = Experiment {
    name: "wake-first",
    chapter: 8,
    title: "wake, then queue: the result lies there until the next wake",
    about: "A worker has two things to do when it is done: put the result into the queue, and wake \
            the loop. Between the two anything may happen, for instance that the loop wakes.",
    steps: "A worker wakes the loop and is held up for 50 ms before it queues its result. The loop \
            wakes, looks, and polls again for 500 ms. Then the same, the other way round.",
    house: "queue first, wake second: `CompletionSender::post`. The planted bug \
            `WakeBeforeQueue` is this one.",
    run: wake_first,
};

fn wake_first(found: &mut Findings, _: &House) -> io::Result<()> {
    for queue_first in [false, true] {
        let mut poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), Token(0))?;
        let (results, queue) = mpsc::channel();
        let worker = thread::spawn(move || {
            let queue = || results.send("the result").map_err(io::Error::other);
            if queue_first {
                queue()?;
            }
            waker.wake()?;
            thread::sleep(Duration::from_millis(50));
            if queue_first { Ok(()) } else { queue() }
        });
        let mut seen = 0;
        while count_events(&mut poll, Duration::from_millis(500))? > 0 {
            seen += queue.try_iter().count();
        }
        join(worker)??;
        let lost = queue.try_iter().count();
        let order = if queue_first { "queue, then wake" } else { "wake, then queue" };
        let outcome = if seen == 1 { "found" } else { "lies there unseen" };
        found.show(order, "found", outcome);
        let as_told = if queue_first { seen == 1 } else { lost == 1 };
        found.demand(as_told, "the order made no difference");
    }
    Ok(())
}

pub const SHORT_SLEEPS: Experiment = Experiment {
    name: "short-sleeps",
    chapter: 7,
    title: "a poll of 100 µs lasts a millisecond",
    about: "epoll_wait counts in milliseconds, and mio rounds up: a timer that is looked at too \
            early would turn the loop in vain.",
    steps: "Twenty polls of 100 µs each, with nothing to hear.",
    house: "the timer wheel has ticks of 5 ms (`TICK`); finer ones would be fiction.",
    run: short_sleeps,
};

fn short_sleeps(found: &mut Findings, _: &House) -> io::Result<()> {
    let mut poll = Poll::new()?;
    let begun = Instant::now();
    for _ in 0..20 {
        count_events(&mut poll, Duration::from_micros(100))?;
    }
    let took = begun.elapsed();
    let took_ms = took.as_secs_f64() * 1e3;
    found.show("twenty polls of 100 µs", "2 ms", format!("{took_ms:.1} ms"));
    found.demand(took >= Duration::from_millis(20), "this system sleeps for less than 1 ms");
    Ok(())
}
