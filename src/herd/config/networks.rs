//! Networks of addresses, as in `10.1.2.0/24`: who is meant by where it connects from.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// How none is spelled behind a flag.
const NONE: &str = "none";

/// Some networks, or none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Networks(Vec<Network>);

/// All addresses that begin with the same bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    address: IpAddr,
    bits: u8,
}

impl Networks {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether an address, one of IPv4 in its own form, belongs to one of them.
    pub fn hold(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.holds(address))
    }

    /// Each of them.
    pub fn spelled(&self) -> Vec<String> {
        self.0.iter().map(Network::to_string).collect()
    }
}

impl FromStr for Networks {
    type Err = String;

    /// With commas between them.
    fn from_str(text: &str) -> Result<Networks, String> {
        if text.is_empty() || text == NONE {
            return Ok(Networks::default());
        }
        text.split(',').map(str::parse).collect::<Result<_, _>>().map(Networks)
    }
}

impl fmt::Display for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.is_empty() {
            true => f.write_str(NONE),
            false => f.write_str(&self.spelled().join(",")),
        }
    }
}

impl fmt::Debug for Networks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Network {
    fn holds(&self, address: IpAddr) -> bool {
        match (self.address, address) {
            (IpAddr::V4(one), IpAddr::V4(other)) => {
                let differing = one.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.bits)
            }
            (IpAddr::V6(one), IpAddr::V6(other)) => {
                let differing = one.to_bits() ^ other.to_bits();
                differing.leading_zeros() >= u32::from(self.bits)
            }
            _ => false,
        }
    }

    /// Whether it is spelled by its first address.
    fn is_first(&self) -> bool {
        let trailing = match self.address {
            IpAddr::V4(ip) => ip.to_bits().trailing_zeros() as u8,
            IpAddr::V6(ip) => ip.to_bits().trailing_zeros() as u8,
        };
        trailing >= bits_of(self.address) - self.bits
    }
}

fn bits_of(address: IpAddr) -> u8 {
    if address.is_ipv4() { 32 } else { 128 }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Network, String> {
        let wrong = || format!("`{text}` is no network: write it as in \"10.1.2.0/24\" or \"::1\"");
        let (address, bits) = match text.split_once('/') {
            None => (text, None),
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
        };
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let bits = bits.unwrap_or(bits_of(address));
        if bits > bits_of(address) {
            return Err(wrong());
        }
        let network = Network { address, bits };
        // One letter less or more in it would mean others: 10.1.2.0/16 may be meant for either.
        let is_first = network.is_first();
        is_first.then_some(network).ok_or_else(|| {
            format!("`{text}` is no network: {address} has bits beyond the first {bits}")
        })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.address)?;
        match self.bits == bits_of(self.address) {
            true => Ok(()),
            false => write!(f, "/{}", self.bits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_by_its_first_bits() {
        let networks: Networks = "10.1.2.0/24,192.0.2.7,2001:db8::/32,::1".parse().unwrap();
        for (address, belongs) in [
            ("10.1.2.0", true),
            ("10.1.2.255", true),
            ("10.1.3.0", false),
            ("192.0.2.7", true),
            ("192.0.2.6", false),
            ("2001:db8:ffff::1", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::2", false),
            ("127.0.0.1", false),
        ] {
            assert_eq!(networks.hold(address.parse().unwrap()), belongs, "{address}");
        }
        let all: Networks = "0.0.0.0/0".parse().unwrap();
        assert!(all.hold("203.0.113.9".parse().unwrap()) && !all.hold("::1".parse().unwrap()));
    }

    #[test]
    fn networks_are_spelled_as_they_were() {
        for text in ["none", "10.1.2.0/24", "127.0.0.1", "10.0.0.0/8,2001:db8::/32,::1", "::/0"] {
            assert_eq!(text.parse::<Networks>().unwrap().to_string(), text);
        }
        let bits = ["10.1.2.3/24", "10.0.0.0/33", "::/129", "10.0.0.0/-1", "10.0.0.0/"];
        for wrong in [&bits[..], &["x", "10.0.0.0/8,", "/8"]].concat() {
            assert!(wrong.parse::<Networks>().is_err(), "{wrong}");
        }
    }
}
