//! Listeners that somebody else has opened and keeps, such as systemd with a `.socket` unit
//! (sd_listen_fds(3)): while a server restarts, those who connect wait in the backlog and are not
//! refused.
//!
//! Each is known by its address, not by its place in the list or a name: a unit has one name for
//! all. What is the address of no port of ours is a mistake of the operator's, and served by nobody
//! if it were kept.
//!
//! A listener that is closed here lives on there. So it is never shut down, and the queue must be
//! told that it is not ours any more: epoll watches the socket behind a descriptor, even if
//! another process holds it, too.

use std::env;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::process;

use listenfd::ListenFd;
use rustix::net::sockopt::socket_acceptconn;

use super::StartError;
use super::listener::canonical;

/// What was handed over and not yet taken.
#[derive(Default)]
pub struct Passed {
    listeners: Vec<(SocketAddr, TcpListener)>,
    /// What is no such thing, in words.
    others: Vec<String>,
}

impl Passed {
    /// What this process was started with. To be asked once and first of all: the descriptors have
    /// fixed numbers, and what says so in the environment is removed.
    pub fn from_env() -> Passed {
        let mut passed = Passed::default();
        // It may be meant for a process that has started us.
        let is_ours = env::var("LISTEN_PID").is_ok_and(|pid| pid == process::id().to_string());
        if !is_ours {
            return passed;
        }
        let mut given = ListenFd::from_env();
        for at in 0..given.len() {
            match given.take_tcp_listener(at) {
                Ok(Some(listener)) => passed.add(listener),
                Ok(None) => {}
                Err(error) => passed.others.push(format!("what is of no use ({error})")),
            }
        }
        passed
    }

    fn add(&mut self, listener: TcpListener) {
        match (listener.local_addr(), socket_acceptconn(&listener)) {
            (Ok(address), Ok(true)) => self.listeners.push((address, listener)),
            (Ok(address), _) => self.others.push(format!("{address}, which does not listen")),
            (Err(error), _) => self.others.push(format!("a socket without an address ({error})")),
        }
    }

    /// Demands that each is for one of these ports.
    pub fn check(&self, ports: &[SocketAddr]) -> Result<(), StartError> {
        let mut free = ports.to_vec();
        let mut strange = self.others.clone();
        for (address, _) in &self.listeners {
            match free.iter().position(|port| serves(*address, *port)) {
                Some(at) => drop(free.swap_remove(at)),
                None => strange.push(address.to_string()),
            }
        }
        if strange.is_empty() {
            return Ok(());
        }
        let ports = ports.iter().map(SocketAddr::to_string).collect();
        Err(StartError::Passed { strange, ports })
    }

    /// The one for this port, if there is one.
    pub fn take(&mut self, port: SocketAddr) -> Option<TcpListener> {
        let at = self.listeners.iter().position(|(address, _)| serves(*address, port))?;
        Some(self.listeners.swap_remove(at).1)
    }
}

/// Whether a listener on `address` is what is wanted of `port`. One on all addresses of IPv6 hears
/// those of IPv4 as well, unless its unit forbids that (`BindIPv6Only=`).
fn serves(address: SocketAddr, port: SocketAddr) -> bool {
    let (address, port) = (canonical(address), canonical(port));
    let is_wider = address.ip() == IpAddr::V6(Ipv6Addr::UNSPECIFIED)
        && port.ip() == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    address.port() == port.port() && (address.ip() == port.ip() || is_wider)
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use mio::{Events, Interest, Poll, Token};

    use super::*;
    use crate::reactor::listener::Listener;
    use herd_core::names::ConnKind;

    fn passed(addresses: &[&str]) -> (Passed, Vec<SocketAddr>) {
        let mut passed = Passed::default();
        for address in addresses {
            passed.add(TcpListener::bind(address).unwrap());
        }
        let addresses = passed.listeners.iter().map(|(address, _)| *address).collect();
        (passed, addresses)
    }

    #[test]
    fn each_is_known_by_its_address() {
        let (mut some, ports) = passed(&["127.0.0.1:0", "127.0.0.2:0", "127.0.0.1:0"]);
        assert!(some.check(&[ports[2], ports[0], ports[1]]).is_ok());
        let other = SocketAddr::new(ports[1].ip(), ports[0].port());
        let complaint = some.check(&[ports[0], other, ports[2]]).unwrap_err().to_string();
        assert!(complaint.contains(&format!("passed {}, but", ports[1])), "{complaint}");
        assert!(complaint.contains(&format!("its ports are {}, {other}, ", ports[0])));
        assert_eq!(some.take(ports[1]).unwrap().local_addr().unwrap(), ports[1]);
        assert!(some.take(ports[1]).is_none() && some.take(other).is_none());
    }

    /// Goal: what stands for all addresses of IPv6 stands for those of IPv4, and for no single one.
    #[test]
    fn all_addresses_are_written_in_two_ways() {
        let check = |address: &str, port: &str, expected: bool| {
            assert_eq!(serves(address.parse().unwrap(), port.parse().unwrap()), expected);
        };
        check("[::]:1", "0.0.0.0:1", true);
        check("[::]:1", "[::]:1", true);
        check("[::ffff:10.0.0.1]:1", "10.0.0.1:1", true);
        check("[::]:1", "0.0.0.0:2", false);
        check("[::]:1", "127.0.0.1:1", false);
        check("0.0.0.0:1", "127.0.0.1:1", false);
        check("0.0.0.0:1", "[::]:1", false);
        check("127.0.0.1:1", "0.0.0.0:1", false);
    }

    /// Goal: who connects to a listener that lives on elsewhere wakes no loop that has closed it.
    #[test]
    fn a_closed_copy_is_forgotten() {
        let kept = TcpListener::bind("127.0.0.1:0").unwrap();
        kept.set_nonblocking(true).unwrap();
        let copy = mio::net::TcpListener::from_std(kept.try_clone().unwrap());
        let (mut poll, mut events) = (Poll::new().unwrap(), Events::with_capacity(8));
        let mut listener = Listener::tcp(7, ConnKind::Client, copy);
        listener.register(poll.registry()).unwrap();
        listener.close(poll.registry());
        let address = kept.local_addr().unwrap();
        let _waits = TcpStream::connect(address).unwrap();
        // An event that would come after all of those of the closed one.
        let mut last = mio::net::TcpListener::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        poll.registry().register(&mut last, Token(1), Interest::READABLE).unwrap();
        let _comes = TcpStream::connect(last.local_addr().unwrap()).unwrap();
        let mut seen = Vec::new();
        while !seen.contains(&Token(1)) {
            poll.poll(&mut events, None).unwrap();
            seen.extend(events.iter().map(|event| event.token()));
        }
        assert_eq!(seen, [Token(1)]);
    }
}
