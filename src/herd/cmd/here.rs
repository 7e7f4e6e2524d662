//! Which addresses are this machine's.
//!
//! A herd.toml may name several machines, and commands on one of them must know which servers are
//! theirs.

use std::net::{IpAddr, UdpSocket};

use herd::config::Address;

/// Whether a server could listen there. A name is looked up, which may take seconds; one that is
/// not known here is another machine's.
pub fn is_here(address: &Address) -> bool {
    address.resolve().is_ok_and(|address| is_ours(address.ip()))
}

/// Whether this machine has the address. A socket that sends nothing asks the system.
pub fn is_ours(ip: IpAddr) -> bool {
    ip.is_loopback() || UdpSocket::bind((ip, 0)).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_here_and_a_test_network_is_not() {
        let check = |text: &str| is_here(&text.parse().unwrap());
        assert!(check("127.0.0.1:1") && check("localhost:1") && check("[::1]:1"));
        // RFC 5737, section 3: no machine has these.
        assert!(!check("192.0.2.1:1") && !check("203.0.113.9:1"));
        assert!(!check("no-such-host.invalid:1"));
    }
}
