//! Where a load's connections come from: descriptors enough, and source addresses enough.
//!
//! Both are rules of the system and not of the protocol. One source address has some 28,000 ports
//! towards one server, and a port is not free again before a second has passed. On loopback every
//! address of 127.0.0.0/8 is ours, so there a crowd may be larger, or come and go faster.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use mio::net::TcpStream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::LoadError;

/// So many connections of a load to one server come from ports that the system chooses, of those
/// that stay. It has 28,232 ports (ip(7), ip_local_port_range).
pub const SYSTEMS_CHOICE: usize = 14_000;

/// All others, and those that come and go, have a source that was chosen here: the kernel's search
/// for a free port becomes slower than all the rest when most are taken. These ports lie above
/// those that it chooses from, because it skips every port that is bound, on any address.
const PORT_FIRST: u16 = 61_000;
const PORTS: usize = 4_000;
/// Two loads do not meet: each process has so many addresses, and there are so many such ranges.
const ADDRESSES: u32 = 1_000;
const RANGES: u32 = 16_000;

/// Another process may listen on a port of all addresses, or have used it a moment ago.
const SOURCES_TRIED: usize = 100;

/// Descriptors that are not connections: standard streams, the event queue, /proc.
const DESCRIPTORS_RESERVED: u64 = 16;

/// How many sources this process has chosen: two crowds must not meet either.
static CHOSEN: AtomicUsize = AtomicUsize::new(0);

/// Makes connections to one address.
pub struct Sources {
    to: SocketAddr,
    /// So many more are left to the system.
    systems_choice: usize,
}

impl Sources {
    /// `are_staying`: connections are not closed before the load ends.
    pub fn new(to: SocketAddr, are_staying: bool) -> Sources {
        Sources { to, systems_choice: if are_staying { SYSTEMS_CHOICE } else { 0 } }
    }

    /// Begins a connection. It may not be one yet, and may never be.
    pub fn dial(&mut self) -> io::Result<TcpStream> {
        let mut begun = Err(io::ErrorKind::AddrNotAvailable.into());
        for _ in 0..SOURCES_TRIED {
            let source = self.source();
            begun = self.dial_from(source);
            let taken = [io::ErrorKind::AddrInUse, io::ErrorKind::AddrNotAvailable];
            let is_taken = begun.as_ref().is_err_and(|error| taken.contains(&error.kind()));
            if source.is_none() || !is_taken {
                break;
            }
        }
        begun
    }

    fn dial_from(&self, source: Option<SocketAddr>) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = source {
            socket.set_reuse_address(true)?;
            socket.bind(&source.into())?;
        }
        match socket.connect(&self.to.into()) {
            Err(error) if !is_begun(&error) => Err(error),
            _ => Ok(TcpStream::from_std(socket.into())),
        }
    }

    /// Where the next comes from; `None` leaves it to the system.
    fn source(&mut self) -> Option<SocketAddr> {
        let is_ours = cfg!(target_os = "linux") && self.to.is_ipv4() && self.to.ip().is_loopback();
        if !is_ours {
            return None;
        }
        if self.systems_choice > 0 {
            self.systems_choice -= 1;
            return None;
        }
        Some(chosen(CHOSEN.fetch_add(1, Ordering::Relaxed), std::process::id()))
    }
}

/// Source `number` of a process.
fn chosen(number: usize, pid: u32) -> SocketAddr {
    let address = (number / PORTS) as u32 % ADDRESSES + pid % RANGES * ADDRESSES;
    let host = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + 1 + address);
    (host, PORT_FIRST + (number % PORTS) as u16).into()
}

fn is_begun(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock
        || error.raw_os_error() == Some(rustix::io::Errno::INPROGRESS.raw_os_error())
}

/// Makes sure that so many connections may be open at a time.
///
/// # Errors
/// The system grants fewer descriptors.
pub fn claim_descriptors(connections: usize) -> Result<(), LoadError> {
    let needed = connections as u64 + DESCRIPTORS_RESERVED;
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_none_or(|soft| soft >= needed) {
        return Ok(());
    }
    let raised = Rlimit { current: Some(needed), maximum: limit.maximum };
    let hard = limit.maximum.unwrap_or(needed);
    if hard >= needed && setrlimit(Resource::Nofile, raised).is_ok() {
        return Ok(());
    }
    let message = format!(
        "{connections} connections need {needed} descriptors, but only {hard} are allowed: raise \
         the limit (as root: ulimit -n {needed}) or ask for fewer"
    );
    Err(LoadError::System(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_chosen_one_port_after_the_other() {
        let check = |number, expected: &str| {
            assert_eq!(chosen(number, 16_002), expected.parse().unwrap());
        };
        check(0, "127.0.7.210:61000");
        check(1, "127.0.7.210:61001");
        check(PORTS, "127.0.7.211:61000");
        check(1_000 * PORTS, "127.0.7.210:61000");
    }

    #[test]
    fn the_system_chooses_until_it_would_search_long() {
        let check = |to: &str, are_staying, by_system: usize| {
            let mut sources = Sources::new(to.parse().unwrap(), are_staying);
            let found = (0..=SYSTEMS_CHOICE).take_while(|_| sources.source().is_none()).count();
            let by_system = if cfg!(target_os = "linux") { by_system } else { SYSTEMS_CHOICE + 1 };
            assert_eq!(found, by_system, "{to}");
        };
        check("127.0.0.1:1", true, SYSTEMS_CHOICE);
        check("127.0.0.1:1", false, 0);
        check("192.0.2.1:1", false, SYSTEMS_CHOICE + 1);
        check("[::1]:1", false, SYSTEMS_CHOICE + 1);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn chosen_sources_can_be_dialled_from() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sources = Sources::new(listener.local_addr().unwrap(), false);
        for _ in 0..10 {
            let _begun = sources.dial().unwrap();
            let (_, from) = listener.accept().unwrap();
            assert_ne!(from.ip(), std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        }
    }

    #[test]
    fn too_few_descriptors_are_told_in_one_message() {
        assert!(claim_descriptors(1).is_ok());
        let failure = claim_descriptors(usize::MAX / 2).unwrap_err();
        let LoadError::System(message) = failure else { panic!("{failure}") };
        assert!(message.contains("ulimit -n "), "{message}");
    }
}
