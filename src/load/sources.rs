//! Where a load's connections come from: descriptors enough, and source addresses enough.
//!
//! Both are rules of the system and not of the protocol. One source address has some 28,000 ports
//! towards one server, and a port is not free again before a second has passed. On loopback every
//! address of 127.0.0.0/8 is ours, so there a crowd may be larger, or come and go faster.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::LoadError;

/// So many come from ports that the system chooses. It has 28,232 ports (ip(7),
/// ip_local_port_range).
const SYSTEMS_CHOICE: usize = 20_000;

/// All others have a source that was chosen here: the kernel's search for a free port becomes
/// slower than all the rest when most are taken. These ports lie above those that it chooses from,
/// because it skips every port that is bound, on any address.
const PORT_FIRST: u16 = 61_000;
const PORTS: usize = 4_000;
/// Two loads do not meet: each process has so many addresses, and there are so many such ranges.
const ADDRESSES: u32 = 1_000;
const RANGES: u32 = 16_000;

/// Another process may listen on a port of all addresses, or have used it a moment ago.
const SOURCES_TRIED: usize = 100;

/// Descriptors that are not connections: standard streams, the event queue, /proc.
const DESCRIPTORS_RESERVED: u64 = 16;

/// Makes connections to one address.
pub struct Sources {
    to: SocketAddr,
    dialled: usize,
}

impl Sources {
    pub fn new(to: SocketAddr) -> Sources {
        Sources { to, dialled: 0 }
    }

    /// Begins a connection. It may not be one yet, and may never be.
    pub fn dial(&mut self) -> io::Result<TcpStream> {
        let mut begun = Err(io::ErrorKind::AddrNotAvailable.into());
        for _ in 0..SOURCES_TRIED {
            let source = self.source(std::process::id());
            begun = self.dial_from(source);
            self.dialled += 1;
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
    fn source(&self, pid: u32) -> Option<SocketAddr> {
        let is_ours = cfg!(target_os = "linux") && self.to.is_ipv4() && self.to.ip().is_loopback();
        let number = self.dialled.checked_sub(SYSTEMS_CHOICE).filter(|_| is_ours)?;
        let address = (number / PORTS) as u32 % ADDRESSES + pid % RANGES * ADDRESSES;
        let host = Ipv4Addr::from(u32::from(Ipv4Addr::LOCALHOST) + 1 + address);
        Some((host, PORT_FIRST + (number % PORTS) as u16).into())
    }
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
    let sentence = format!(
        "{connections} connections need {needed} descriptors, but only {hard} are allowed: raise \
         the limit (as root: ulimit -n {needed}) or ask for fewer"
    );
    Err(LoadError::System(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_chooses_until_it_would_search_long() {
        let check = |to: &str, dialled, expected: Option<&str>| {
            let sources = Sources { to: to.parse().unwrap(), dialled };
            let expected = expected.filter(|_| cfg!(target_os = "linux"));
            assert_eq!(sources.source(16_002), expected.map(|source| source.parse().unwrap()));
        };
        check("127.0.0.1:1", 0, None);
        check("127.0.0.1:1", SYSTEMS_CHOICE - 1, None);
        check("127.0.0.1:1", SYSTEMS_CHOICE, Some("127.0.7.210:61000"));
        check("127.0.0.1:1", SYSTEMS_CHOICE + 1, Some("127.0.7.210:61001"));
        check("127.0.0.1:1", SYSTEMS_CHOICE + PORTS, Some("127.0.7.211:61000"));
        check("127.0.0.1:1", SYSTEMS_CHOICE + 1_000 * PORTS, Some("127.0.7.210:61000"));
        check("192.0.2.1:1", SYSTEMS_CHOICE, None);
        check("[::1]:1", SYSTEMS_CHOICE, None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn chosen_sources_can_be_dialled_from() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut sources = Sources::new(listener.local_addr().unwrap());
        sources.dialled = SYSTEMS_CHOICE;
        for _ in 0..10 {
            let _begun = sources.dial().unwrap();
            let (_, from) = listener.accept().unwrap();
            assert_ne!(from.ip(), std::net::IpAddr::from(Ipv4Addr::LOCALHOST));
        }
    }

    #[test]
    fn too_few_descriptors_are_told_in_one_sentence() {
        assert!(claim_descriptors(1).is_ok());
        let failure = claim_descriptors(usize::MAX / 2).unwrap_err();
        let LoadError::System(sentence) = failure else { panic!("{failure}") };
        assert!(sentence.contains("ulimit -n "), "{sentence}");
    }
}
