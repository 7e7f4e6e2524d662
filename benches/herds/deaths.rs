//! What clients notice when somebody is killed: one of two servers that flood. Apart from the
//! loads, which end when they are not answered. A central store is not killed beside it: alone, it
//! would leave nothing, and a second one and who decides between them are another design.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crate::herd::{Herd, Plan};
use crate::trial::Found;

/// Who is not answered for so long hangs up and comes again.
const TIMEOUT: Duration = Duration::from_millis(100);

/// A client asks the second of two servers, and the first is killed.
pub fn herd(pause: Duration) -> Result<Found, String> {
    let mut herd = Herd::start(&Plan::of(2, 0))?;
    let port = herd.servers[1].clients;
    Ok(watch(port, pause, || drop(herd.servers.remove(0))))
}

/// Asks for as long as `pause`, lets `kill` happen, and asks for as long again.
fn watch(port: u16, pause: Duration, kill: impl FnOnce()) -> Found {
    let is_dead = Arc::new(AtomicBool::new(false));
    let asking = {
        let (is_dead, end) = (is_dead.clone(), Instant::now() + 2 * pause);
        thread::spawn(move || answers(port, &is_dead, end))
    };
    thread::sleep(pause);
    kill();
    is_dead.store(true, Ordering::Relaxed);
    let answers = asking.join().unwrap_or_default();
    let [before, after] = answers.map(|answers| answers as f64 / pause.as_secs_f64());
    vec![("answers/s before", before), ("answers/s after", after)]
}

/// How many answers come before and after somebody dies, to a client that does not give up.
fn answers(port: u16, is_dead: &AtomicBool, end: Instant) -> [u64; 2] {
    let mut answers = [0; 2];
    while Instant::now() < end {
        // Whatever goes wrong, it is tried again.
        let _ = ask_on(port, end, || {
            answers[usize::from(is_dead.load(Ordering::Relaxed))] += 1;
        });
        thread::sleep(Duration::from_millis(1));
    }
    answers
}

/// Asks on one connection until something goes wrong.
fn ask_on(port: u16, end: Instant, mut heard: impl FnMut()) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut answers = BufReader::new(stream.try_clone()?);
    let mut answer = String::new();
    while Instant::now() < end {
        let time = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let (seconds, nanos) = (time.as_secs(), time.subsec_nanos());
        let command = format!("IAMAT kiwi +34.068930-118.445127 {seconds}.{nanos:09}\n");
        stream.write_all(command.as_bytes())?;
        answer.clear();
        if answers.read_line(&mut answer)? == 0 || !answer.starts_with("AT ") {
            return Ok(());
        }
        heard();
    }
    Ok(())
}
