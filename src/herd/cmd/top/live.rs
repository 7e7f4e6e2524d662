//! The live screen: waits for samples, keys and signals together, and draws what has changed.
//!
//! asyncio: `add_reader` and `add_signal_handler` on one loop. Here it is one `poll`.

use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGINT, SIGTERM, SIGTSTP, SIGWINCH};
use signal_hook::low_level::{emulate_default_handler, pipe};

use super::super::exit::{Exit, Failure};
use super::terminal::Terminal;
use super::view::{self, Detail};
use super::watch::{INTERVAL, Post, Sample, Seen, Target, Wanted, watch};
use super::{Shown, no_thread};

/// Orders of connections, as `/connections` knows them.
const ORDERS: [&str; 3] = ["owed", "idle", "age"];

/// What was heard, besides samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// `q`, Ctrl-C, or a signal that ends programs.
    End,
    /// Ctrl-Z.
    Stop,
    /// The screen must be drawn anew: it was resized, or others have drawn on it.
    Redraw,
    Up,
    Down,
    Tab,
    Order,
}

/// Shows the targets until `q`.
///
/// # Errors
/// The system refuses threads or the terminal.
pub fn show(targets: &[Target]) -> Result<Exit, Failure> {
    let system = |error: io::Error| {
        Failure::new(Exit::System, format!("the terminal cannot be used: {error}"))
    };
    let (bell, ears) = UnixStream::pair().map_err(system)?;
    for end in [&bell, &ears] {
        end.set_nonblocking(true).map_err(system)?;
    }
    let signals = Signals::catch().map_err(system)?;
    let (sender, samples) = channel();
    let wanted = Wanted { target: Some(0), order: ORDERS[0] };
    let wanted = Arc::new(Mutex::new(wanted));
    let post = Post { samples: sender, wanted: Arc::clone(&wanted), bell: Some(Arc::new(bell)) };
    for (number, target) in targets.iter().enumerate() {
        watch(number, target.clone(), None, post.clone()).map_err(no_thread)?;
    }
    drop(post);
    // https://no-color.org
    let has_colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let terminal = Terminal::enter(has_colours).map_err(system)?;
    let screen = Screen {
        terminal,
        shown: Shown::of(targets),
        samples,
        wanted,
        chosen: 0,
        order: 0,
        shows_peers: false,
    };
    screen.run(&ears, &signals).map_err(system)
}

struct Screen<'a> {
    terminal: Terminal,
    shown: Shown<'a>,
    samples: Receiver<(usize, Sample)>,
    wanted: Arc<Mutex<Wanted>>,
    chosen: usize,
    order: usize,
    shows_peers: bool,
}

impl Screen<'_> {
    fn run(mut self, ears: &UnixStream, signals: &Signals) -> io::Result<Exit> {
        let stdin = io::stdin();
        loop {
            self.draw()?;
            let mut ready = [
                PollFd::new(&stdin, PollFlags::IN),
                PollFd::new(ears, PollFlags::IN),
                PollFd::new(&signals.ears, PollFlags::IN),
            ];
            // Ages grow though nobody says anything.
            let timeout = Timespec { tv_sec: INTERVAL.as_secs() as i64, tv_nsec: 0 };
            match poll(&mut ready, Some(&timeout)) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let has_keys = !ready[0].revents().is_empty();
            drain(ears);
            self.take_samples();
            let mut events = signals.heard();
            if has_keys {
                let mut bytes = [0; 64];
                match rustix::io::read(&stdin, &mut bytes) {
                    // The terminal is gone.
                    Ok(0) | Err(rustix::io::Errno::IO) => events.push(Event::End),
                    Ok(length) => events.extend(keys(&bytes[..length])),
                    Err(_) => {}
                }
            }
            for event in events {
                if event == Event::End {
                    return Ok(Exit::Success);
                }
                self.obey(event)?;
            }
        }
    }

    fn take_samples(&mut self) {
        loop {
            match self.samples.try_recv() {
                Ok((number, sample)) => self.shown.take(number, sample),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => return,
            }
        }
    }

    fn obey(&mut self, event: Event) -> io::Result<()> {
        let last = self.shown.targets.len() - 1;
        match event {
            Event::Up => self.chosen = self.chosen.saturating_sub(1),
            Event::Down => self.chosen = (self.chosen + 1).min(last),
            Event::Tab => self.shows_peers = !self.shows_peers,
            Event::Order => self.order = (self.order + 1) % ORDERS.len(),
            Event::Stop => {
                self.terminal.give_back();
                emulate_default_handler(SIGTSTP)?;
                self.terminal.take()?;
            }
            // A shell has changed the modes since a SIGSTOP.
            Event::Redraw => self.terminal.take()?,
            Event::End => {}
        }
        let wanted = Wanted { target: Some(self.chosen), order: ORDERS[self.order] };
        *self.wanted.lock().unwrap_or_else(|poisoned| poisoned.into_inner()) = wanted;
        Ok(())
    }

    fn draw(&self) -> io::Result<()> {
        let sample = self.shown.latest(self.chosen);
        let report = sample.and_then(|sample| match &sample.seen {
            Seen::Answer(report) => Some(report),
            _ => None,
        });
        let detail = match (report, sample.and_then(|sample| sample.connections.as_ref())) {
            (Some(report), _) if self.shows_peers => Detail::Peers(&report.status.peers),
            (Some(_), Some(Ok(all))) => {
                Detail::Connections { order: ORDERS[self.order], shown: Ok(all) }
            }
            (Some(_), Some(Err(why))) => Detail::Connections { order: "", shown: Err(why) },
            (Some(_), None) => Detail::Connections { order: "", shown: Err("asked") },
            (None, _) => Detail::Connections { order: "", shown: Err("nothing is known") },
        };
        let rows = self.shown.rows(Instant::now());
        let size = self.terminal.size();
        self.terminal.draw(&view::screen(&rows, self.chosen, &detail, &clock(), size))
    }
}

/// The time of day (UTC).
fn clock() -> String {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let second = since_1970.as_secs() % 86_400;
    format!("{:02}:{:02}:{:02} UTC", second / 3_600, second / 60 % 60, second % 60)
}

/// What keys say. An arrow comes in one read, as terminals send it.
fn keys(bytes: &[u8]) -> Vec<Event> {
    let mut events = Vec::new();
    let mut rest = bytes;
    while let [first, behind @ ..] = rest {
        let (event, length) = match (first, behind) {
            (0x1b, [b'[' | b'O', b'A', ..]) => (Some(Event::Up), 3),
            (0x1b, [b'[' | b'O', b'B', ..]) => (Some(Event::Down), 3),
            // Another key of this kind: its end is a letter or `~`.
            (0x1b, [b'[' | b'O', rest @ ..]) => {
                let end = rest.iter().position(|byte| (0x40..=0x7e).contains(byte));
                (None, end.map_or(bytes.len(), |end| end + 3))
            }
            (b'q' | b'Q' | 0x03, _) => (Some(Event::End), 1),
            (b'k', _) => (Some(Event::Up), 1),
            (b'j', _) => (Some(Event::Down), 1),
            (b'\t', _) => (Some(Event::Tab), 1),
            (b's', _) => (Some(Event::Order), 1),
            (0x0c, _) => (Some(Event::Redraw), 1),
            _ => (None, 1),
        };
        events.extend(event);
        rest = rest.get(length..).unwrap_or_default();
    }
    events
}

/// Signals as bytes that can be waited for.
struct Signals {
    ears: UnixStream,
    caught: Vec<(Event, UnixStream)>,
}

impl Signals {
    /// Each kind has a stream of its own, and all ring one bell.
    fn catch() -> io::Result<Signals> {
        let (bell, ears) = UnixStream::pair()?;
        ears.set_nonblocking(true)?;
        let mut caught = Vec::new();
        for (event, signals) in [
            (Event::End, &[SIGINT, SIGTERM, SIGHUP][..]),
            (Event::Stop, &[SIGTSTP]),
            (Event::Redraw, &[SIGCONT, SIGWINCH]),
        ] {
            let (far, near) = UnixStream::pair()?;
            near.set_nonblocking(true)?;
            for signal in signals {
                pipe::register(*signal, far.try_clone()?)?;
                pipe::register(*signal, bell.try_clone()?)?;
            }
            caught.push((event, near));
        }
        Ok(Signals { ears, caught })
    }

    fn heard(&self) -> Vec<Event> {
        drain(&self.ears);
        let caught = self.caught.iter().filter(|(_, stream)| drain(stream));
        caught.map(|(event, _)| *event).collect()
    }
}

/// Reads what is there, and says whether anything was.
fn drain(mut stream: &UnixStream) -> bool {
    let (mut bytes, mut is_any) = ([0; 256], false);
    while stream.read(&mut bytes).is_ok_and(|length| length > 0) {
        is_any = true;
    }
    is_any
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_letters_and_arrows() {
        let check = |bytes: &[u8], expected: &[Event]| assert_eq!(keys(bytes), expected);
        check(b"\x1b[A\x1bOBjk", &[Event::Up, Event::Down, Event::Down, Event::Up]);
        check(b"\ts\x0cq", &[Event::Tab, Event::Order, Event::Redraw, Event::End]);
        // Home, F5, an unfinished one, Escape alone, others.
        check(b"\x1b[H\x1b[15~q\x1b[", &[Event::End]);
        check(b"\x1bxyz", &[]);
    }
}
