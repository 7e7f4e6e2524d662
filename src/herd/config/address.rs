//! A host and a port as an operator writes them, and what can be said of them without asking DNS.
//!
//! It is no `SocketAddr`, because the host may be a name: what it stands for may change while the
//! herd runs, so it is kept as text and resolved each time it is dialled, off the loop.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

/// A host and a port. The host may be a name, which is resolved when it is dialled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// An IPv4 address, an IPv6 address without brackets, or a DNS name in lower case.
    pub host: String,
    /// Never 0 when it was parsed: no one can dial that.
    pub port: u16,
}

impl Address {
    /// The IP address, if the host is one in digits. `localhost` counts as 127.0.0.1: RFC 6761,
    /// section 6.3 promises that it never leaves the machine.
    pub fn ip(&self) -> Option<IpAddr> {
        if self.host == "localhost" {
            return Some(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        self.host.parse().ok().map(|ip: IpAddr| ip.to_canonical())
    }

    /// True if it surely stays on this machine. A DNS name does not: it may change its meaning.
    pub fn is_loopback(&self) -> bool {
        self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// True if both name one port of one host. Two different names are never the same.
    pub fn same_as(&self, other: &Address) -> bool {
        let same_host = match (self.ip(), other.ip()) {
            (Some(ours), Some(theirs)) => ours == theirs,
            _ => self.host == other.host,
        };
        same_host && self.port == other.port
    }

    /// The first socket address it stands for now. It may ask DNS and so may block for seconds:
    /// only for the time before a loop runs, and for client commands.
    ///
    /// # Errors
    /// What the resolver says, or `NotFound` if it knows the name but no address of it.
    pub fn resolve(&self) -> io::Result<SocketAddr> {
        if let Some(ip) = self.ip() {
            return Ok(SocketAddr::new(ip, self.port));
        }
        let mut found = (self.host.as_str(), self.port).to_socket_addrs()?;
        found.next().ok_or_else(|| io::Error::new(io::ErrorKind::NotFound, "it has no address"))
    }
}

impl FromStr for Address {
    type Err = String;

    fn from_str(text: &str) -> Result<Address, String> {
        let complain = || format!("`{text}` is no address: write HOST:PORT, as in 127.0.0.1:12000");
        let (host, port) = text.rsplit_once(':').ok_or_else(complain)?;
        let port: u16 = port.parse().map_err(|_| complain())?;
        if port == 0 {
            return Err(format!("`{text}` has port 0, which nobody can dial: write 1 to 65535"));
        }
        if host.contains(':') && !host.starts_with('[') {
            return Err(format!("`{text}` hides its port: write IPv6 as in [::1]:12000"));
        }
        let host = parse_host(host).map_err(|_| complain())?;
        Ok(Address { host, port })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Address, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A host alone: an IP address, bracketed or not, or a DNS name, which becomes lower case.
///
/// # Errors
/// A message if it is neither, for instance because it carries a port.
pub fn parse_host(text: &str) -> Result<String, String> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(ip.to_string());
    }
    let is_name = |host: &str| {
        let of_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        // RFC 1035, section 2.3.4: a name has at most 255 bytes, which is 253 as people write it.
        !host.is_empty() && host.len() <= 253 && host.bytes().all(of_name)
    };
    // A name of digits and dots alone was meant as an address: better to say so than to ask DNS.
    let in_digits = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if in_digits || !is_name(text) {
        return Err(format!("`{text}` is no host: write 127.0.0.1, ::1 or a name, without a port"));
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_hosts_with_ports() {
        let check = |text: &str, expected: Option<&str>| {
            let found = text.parse::<Address>().map(|address| address.to_string()).ok();
            assert_eq!(found.as_deref(), expected, "{text}");
        };
        check("127.0.0.1:12000", Some("127.0.0.1:12000"));
        check("[::1]:12000", Some("[::1]:12000"));
        check("Hill.Example.org:1", Some("hill.example.org:1"));
        check("localhost:65535", Some("localhost:65535"));
        for bad in [
            "",
            ":",
            "12000",
            "127.0.0.1",
            "127.0.0.1:",
            "127.0.0.1:0",
            "127.0.0.1:65536",
            "a b:1",
            ":12000",
            "::1:12000",
            "256.1.1.1:1",
            "[::1]12000",
            "http://x:1",
            "x:+-1",
            "[a]:1",
        ] {
            check(bad, None);
        }
    }

    #[test]
    fn a_host_carries_no_port() {
        assert_eq!(parse_host("[::1]").as_deref(), Ok("::1"));
        assert_eq!(parse_host("::1").as_deref(), Ok("::1"));
        assert_eq!(parse_host("127.0.0.1").as_deref(), Ok("127.0.0.1"));
        assert!(parse_host("127.0.0.1:12000").is_err());
        assert!(parse_host("").is_err());
    }

    #[test]
    fn loopback_and_sameness_need_no_resolver() {
        let address = |text: &str| text.parse::<Address>().unwrap();
        assert!(address("localhost:1").is_loopback());
        assert!(address("127.9.9.9:1").is_loopback());
        assert!(address("[::1]:1").is_loopback());
        assert!(address("[::ffff:127.0.0.1]:1").is_loopback());
        assert!(!address("0.0.0.0:1").is_loopback());
        assert!(!address("loopback.example:1").is_loopback());
        assert!(address("localhost:1").same_as(&address("127.0.0.1:1")));
        assert!(!address("127.0.0.1:1").same_as(&address("127.0.0.1:2")));
        assert!(!address("127.0.0.1:1").same_as(&address("127.0.0.2:1")));
    }
}
