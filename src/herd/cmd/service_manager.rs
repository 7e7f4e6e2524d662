//! What a server tells the program that has started it, if that is systemd (`Type=notify`) or
//! something that speaks as it does: sd_notify(3). To all others it says nothing.
//!
//! The crates for this send with a call that waits while the far end does not read. A loop must not
//! wait for its watchdog, so here such a message is dropped: the next one says the same.

use std::env;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use herd::reactor::DrainPhase;
use rustix::net::{SendFlags, SocketAddrUnix, sendto};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The time that each part of a journal may take to load (`TimeoutStartSec=` is for the whole
/// start, and knows nothing of a journal's length).
const LOADING_MAX: Duration = Duration::from_secs(60);

/// So much of the journal is loaded, in percent.
pub fn loading(percent: u8) {
    let status = if percent < 100 { format!("loading {percent} %") } else { String::new() };
    let micros = LOADING_MAX.as_micros();
    tell(&format!("EXTEND_TIMEOUT_USEC={micros}\nSTATUS={status}"));
}

/// The ports are open and clients are served.
pub fn ready() {
    tell("READY=1");
}

/// The configuration is read again; `ready` says that this is over. systemd wants to know when it
/// began, by the clock that is never set.
pub fn reloading() {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    let micros = tv_sec * 1_000_000 + tv_nsec / 1_000;
    tell(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
}

/// The server has begun to end, and is so far.
pub fn stopping(phase: DrainPhase) {
    if phase == DrainPhase::Told {
        tell("STOPPING=1");
    }
    tell(&format!("STATUS=stopping ({}): {phase}", phase.name()));
}

/// The loop turns.
pub fn alive() {
    tell("WATCHDOG=1");
}

/// How often it wants to hear that the loop turns: three times before it would restart a server
/// that has said nothing (`WatchdogSec=`).
pub fn pulse() -> Option<Duration> {
    let number = |name| env::var(name).ok()?.parse::<u64>().ok();
    // It may be meant for a process that has started us.
    let is_ours = number("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(std::process::id()));
    let patience = number("WATCHDOG_USEC").filter(|&micros| is_ours && micros > 0)?;
    Some(Duration::from_micros(patience) / 3)
}

/// Where nobody listens, a server serves all the same.
fn tell(state: &str) {
    let Some(name) = env::var_os("NOTIFY_SOCKET") else { return };
    let name = name.as_encoded_bytes();
    let address = match name {
        // A name that is not of the file system, as Linux knows them.
        #[cfg(target_os = "linux")]
        [b'@', rest @ ..] => SocketAddrUnix::new_abstract_name(rest),
        _ => SocketAddrUnix::new(name),
    };
    if let (Ok(address), Ok(socket)) = (address, UnixDatagram::unbound()) {
        let _ = sendto(&socket, state.as_bytes(), SendFlags::DONTWAIT, &address);
    }
}
