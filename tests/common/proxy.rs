//! A link in the hands of the test: it stands between two servers, and passes what they say, or
//! loses it, holds it back, slows it down, cuts it off or rewrites it. Apart because every ring
//! with faults needs it; it knows bytes and newlines, and nothing of what they mean.
//!
//! In use, the dialling server's herd.toml names the proxy where the other listens
//! (`Herd::with_proxies`). The test sets a mood; whatever crosses after that crosses in this mood.
//!
//! ```text
//!   dialler ──▶ ends[0] ──▶ pipes[0] ──▶ ends[1] ──▶ acceptor       Way::There
//!           ◀── ends[0] ◀── pipes[1] ◀── ends[1] ◀──                Way::Back
//! ```
//!
//! It looks at its sockets every millisecond instead of waiting for readiness: all of it is one
//! loop then, with nothing that blocks and must be woken.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use socket2::SockRef;

/// What becomes of bytes that cross, each way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    Pass,
    /// Bytes are taken and never delivered, ends and resets are not told. A stream with a hole
    /// stays silent for ever, also when the mood has passed.
    Hole,
    /// Nothing is taken, so TCP pushes back; nothing is lost.
    Stall,
    /// Everything is under way for so long.
    Delay(Duration),
    /// A few bytes at a time.
    Drip,
    /// Half of the next line, and the end.
    Cut,
    /// All connections are reset, and new ones are too.
    Severed,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the dialling side.
    There,
    Back,
}

impl Way {
    pub fn turned(self) -> Way {
        match self {
            Way::There => Way::Back,
            Way::Back => Way::There,
        }
    }
}

/// What is delivered in place of a line, newlines included.
pub type Edit = Box<dyn FnMut(Way, &[u8]) -> Vec<u8> + Send>;

/// Stands in for a server's peer port until it is dropped.
pub struct Proxy {
    port: u16,
    orders: Arc<Mutex<Orders>>,
    thread: Option<JoinHandle<()>>,
}

/// What the test wants, and what it may want to know. Locked while sockets are looked at, so an
/// order holds for every byte that is read after it was given.
struct Orders {
    moods: [Mood; 2],
    edit: Option<Edit>,
    /// All that each connection's ends have said, in the order of the connections.
    tapes: Vec<[Vec<u8>; 2]>,
    is_over: bool,
}

const WAYS: [Way; 2] = [Way::There, Way::Back];
const PIECE_BYTES: usize = 16 * 1024;
/// Bytes between the ends above which the proxy does not read: those of a fast network.
const HELD_BYTES_MAX: usize = 256 * 1024;
const DRIP_BYTES: usize = 16;
const PAUSE: Duration = Duration::from_millis(1);

impl Proxy {
    /// Connections to the proxy are joined with `target`, a port on loopback.
    pub fn before(target: u16) -> Proxy {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let port = listener.local_addr().unwrap().port();
        let orders =
            Orders { moods: [Mood::Pass; 2], edit: None, tapes: Vec::new(), is_over: false };
        let orders = Arc::new(Mutex::new(orders));
        let shared = Arc::clone(&orders);
        let thread = thread::spawn(move || stand_between(&listener, target, &shared));
        Proxy { port, orders, thread: Some(thread) }
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    pub fn set(&self, mood: Mood) {
        self.orders().moods = [mood; 2];
    }

    pub fn set_one(&self, way: Way, mood: Mood) {
        self.orders().moods[way as usize] = mood;
    }

    /// Rewrites whole lines from now on, one call for each.
    pub fn rewrite(&self, edit: impl FnMut(Way, &[u8]) -> Vec<u8> + Send + 'static) {
        self.orders().edit = Some(Box::new(edit));
    }

    pub fn rewrite_no_more(&self) {
        self.orders().edit = None;
    }

    /// What the ends of each connection have said until now, before it was rewritten.
    pub fn tapes(&self) -> Vec<[Vec<u8>; 2]> {
        self.orders().tapes.clone()
    }

    fn orders(&self) -> MutexGuard<'_, Orders> {
        self.orders.lock().unwrap()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        // An edit that panicked has poisoned the lock and ended the thread.
        if let Ok(mut orders) = self.orders.lock() {
            orders.is_over = true;
        }
        let outcome = self.thread.take().map(JoinHandle::join);
        assert!(thread::panicking() || matches!(outcome, Some(Ok(()))), "a proxy has panicked");
    }
}

fn stand_between(listener: &TcpListener, target: u16, shared: &Mutex<Orders>) {
    let mut joints: Vec<Joint> = Vec::new();
    loop {
        {
            let mut orders = shared.lock().unwrap();
            if orders.is_over {
                return;
            }
            admit(listener, target, &mut orders, &mut joints);
            joints.retain_mut(|joint| joint.turn(&mut orders));
        }
        thread::sleep(PAUSE);
    }
}

/// Takes the connections that have come. In a hole the kernel accepts them, and the far side never
/// learns of it.
fn admit(listener: &TcpListener, target: u16, orders: &mut Orders, joints: &mut Vec<Joint>) {
    if orders.moods.contains(&Mood::Stall) {
        return;
    }
    while let Ok((dialler, _)) = listener.accept() {
        if orders.moods.contains(&Mood::Severed) {
            reset(dialler);
            continue;
        }
        let is_hole = orders.moods.contains(&Mood::Hole);
        let acceptor = if is_hole {
            None
        } else if let Ok(acceptor) = TcpStream::connect(("127.0.0.1", target)) {
            Some(acceptor)
        } else {
            reset(dialler);
            continue;
        };
        orders.tapes.push(Default::default());
        joints.push(Joint::new([Some(dialler), acceptor], is_hole, orders.tapes.len() - 1));
    }
}

fn reset(stream: TcpStream) {
    let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
}

/// One connection, from end to end.
struct Joint {
    /// `None` where an end is gone and the other must not know.
    ends: [Option<TcpStream>; 2],
    pipes: [Pipe; 2],
    tape: usize,
}

/// What is under way in one direction.
#[derive(Default)]
struct Pipe {
    held: VecDeque<(Instant, Vec<u8>)>,
    /// A line that has begun, of which nothing was passed because it will be rewritten.
    line: Vec<u8>,
    is_mid_line: bool,
    has_hole: bool,
    has_ended: bool,
    end_is_told: bool,
}

/// Why a connection goes no further.
enum Broken {
    /// One of its ends was reset.
    Reset(usize),
    Cut,
}

impl Joint {
    fn new(ends: [Option<TcpStream>; 2], is_hole: bool, tape: usize) -> Joint {
        for end in ends.iter().flatten() {
            end.set_nonblocking(true).unwrap();
            end.set_nodelay(true).unwrap();
        }
        let pipe = || Pipe { has_hole: is_hole, ..Pipe::default() };
        Joint { ends, pipes: [pipe(), pipe()], tape }
    }

    /// Moves what can move. Says whether the connection goes on.
    fn turn(&mut self, orders: &mut Orders) -> bool {
        if orders.moods.contains(&Mood::Severed) {
            return self.end();
        }
        for way in WAYS {
            let mood = orders.moods[way as usize];
            let moved = match mood {
                Mood::Stall => continue,
                _ => self.take(way, mood, orders).and_then(|()| self.deliver(way, mood)),
            };
            match moved {
                Ok(()) => {}
                // Both ends see an orderly end, as if a process had died.
                Err(Broken::Cut) => return false,
                Err(Broken::Reset(side)) if self.has_hole() => self.ends[side] = None,
                Err(Broken::Reset(_)) => return self.end(),
            }
        }
        let is_open = self.ends.iter().any(Option::is_some);
        is_open && !self.pipes.iter().all(|pipe| pipe.end_is_told)
    }

    fn has_hole(&self) -> bool {
        self.pipes.iter().any(|pipe| pipe.has_hole)
    }

    /// Resets both ends.
    fn end(&mut self) -> bool {
        self.ends.iter_mut().filter_map(Option::take).for_each(reset);
        false
    }

    fn take(&mut self, way: Way, mood: Mood, orders: &mut Orders) -> Result<(), Broken> {
        let side = way as usize;
        let pipe = &mut self.pipes[side];
        if mood == Mood::Hole {
            pipe.has_hole = true;
            pipe.held.clear();
        }
        let held: usize = pipe.held.iter().map(|(_, bytes)| bytes.len()).sum();
        let Some(from) = self.ends[side].as_mut().filter(|_| held < HELD_BYTES_MAX) else {
            return Ok(());
        };
        let mut piece = [0; PIECE_BYTES];
        let count = match from.read(&mut piece) {
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(_) => return Err(Broken::Reset(side)),
        };
        let piece = &piece[..count];
        orders.tapes[self.tape][side].extend_from_slice(piece);
        if pipe.has_hole {
            // Who has hung up hears nothing any more, and the other side does not hear of it.
            return if count == 0 { Err(Broken::Reset(side)) } else { Ok(()) };
        }
        pipe.has_ended |= count == 0;
        let bytes = pipe.rewritten(way, piece, orders.edit.as_mut());
        let after = if let Mood::Delay(after) = mood { after } else { Duration::ZERO };
        if !bytes.is_empty() {
            pipe.held.push_back((Instant::now() + after, bytes));
        }
        Ok(())
    }

    fn deliver(&mut self, way: Way, mood: Mood) -> Result<(), Broken> {
        let side = 1 - way as usize;
        let pipe = &mut self.pipes[way as usize];
        let Some(to) = self.ends[side].as_mut() else {
            pipe.held.clear();
            return Ok(());
        };
        while let Some((due, bytes)) = pipe.held.front_mut() {
            if *due > Instant::now() {
                return Ok(());
            }
            let count = match mood {
                Mood::Drip => bytes.len().min(DRIP_BYTES),
                Mood::Cut => middle_of_last_line(bytes),
                _ => bytes.len(),
            };
            let written = match to.write(&bytes[..count]) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(_) => return Err(Broken::Reset(side)),
            };
            bytes.drain(..written);
            if bytes.is_empty() {
                pipe.held.pop_front();
            }
            match mood {
                Mood::Cut => return Err(Broken::Cut),
                Mood::Drip => return Ok(()),
                _ => {}
            }
        }
        if pipe.has_ended && !pipe.end_is_told {
            let _ = to.shutdown(Shutdown::Write);
            pipe.end_is_told = true;
        }
        Ok(())
    }
}

impl Pipe {
    /// What is to be delivered for these bytes. Lines that had begun before there was an edit
    /// stay as they are.
    fn rewritten(&mut self, way: Way, bytes: &[u8], edit: Option<&mut Edit>) -> Vec<u8> {
        let Some(edit) = edit else {
            let begun = std::mem::take(&mut self.line);
            self.is_mid_line = bytes.last().map_or(self.is_mid_line, |&byte| byte != b'\n');
            return [&begun, bytes].concat();
        };
        let mut delivered = Vec::new();
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let is_whole = part.ends_with(b"\n");
            if self.is_mid_line {
                delivered.extend_from_slice(part);
                self.is_mid_line = !is_whole;
                continue;
            }
            self.line.extend_from_slice(part);
            if is_whole {
                delivered.extend(edit(way, &std::mem::take(&mut self.line)));
            }
        }
        delivered
    }
}

fn middle_of_last_line(bytes: &[u8]) -> usize {
    let before = &bytes[..bytes.len().saturating_sub(1)];
    let start = before.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
    start + (bytes.len() - start) / 2
}
