//! Where a load's connections come from: descriptors enough, and source addresses enough.
//!
//! Apart from the crowd because both are the system's rules and not the protocol's. One source
//! address has some 28,000 ports towards one server; on loopback every address of 127.0.0.0/8 is
//! ours, so there a crowd may be larger.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use mio::net::TcpStream;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use socket2::{Domain, Protocol, Socket, Type};

use crate::exit::{Exit, Failure};

/// Below the 28,232 ports that Linux has for outgoing connections (ip(7), ip_local_port_range).
const PER_SOURCE: usize = 20_000;

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
        let socket = Socket::new(Domain::for_address(self.to), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if let Some(source) = self.source() {
            socket.bind(&SocketAddr::new(source, 0).into())?;
        }
        self.dialled += 1;
        match socket.connect(&self.to.into()) {
            Err(error) if !is_begun(&error) => Err(error),
            _ => Ok(TcpStream::from_std(socket.into())),
        }
    }

    /// The next address to come from; `None` leaves it to the system, which is cheaper.
    fn source(&self) -> Option<IpAddr> {
        let number = self.dialled / PER_SOURCE;
        let is_ours = cfg!(target_os = "linux") && self.to.is_ipv4() && self.to.ip().is_loopback();
        let host = u32::from(Ipv4Addr::LOCALHOST) + u32::try_from(number).unwrap_or_default();
        (is_ours && number > 0).then(|| Ipv4Addr::from(host).into())
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
pub fn claim_descriptors(connections: usize) -> Result<(), Failure> {
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
    Err(Failure::new(Exit::System, sentence))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_so_many_ports_and_then_the_next_is_used() {
        let check = |to: &str, dialled, expected: Option<&str>| {
            let sources = Sources { to: to.parse().unwrap(), dialled };
            let expected = expected.filter(|_| cfg!(target_os = "linux"));
            assert_eq!(sources.source(), expected.map(|source| source.parse().unwrap()));
        };
        check("127.0.0.1:1", 0, None);
        check("127.0.0.1:1", PER_SOURCE - 1, None);
        check("127.0.0.1:1", PER_SOURCE, Some("127.0.0.2"));
        check("127.0.0.1:1", 300 * PER_SOURCE, Some("127.0.1.45"));
        check("192.0.2.1:1", PER_SOURCE, None);
        check("[::1]:1", PER_SOURCE, None);
    }

    #[test]
    fn too_few_descriptors_are_told_in_one_sentence() {
        assert!(claim_descriptors(1).is_ok());
        let failure = claim_descriptors(usize::MAX / 2).unwrap_err();
        assert_eq!(failure.exit, Exit::System);
        assert!(failure.sentence.contains("ulimit -n "), "{}", failure.sentence);
    }
}
