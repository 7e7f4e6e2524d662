//! The ports from which a system lets connections go out: the one thing about a port that depends
//! on the machine.
//!
//! Another program may hold a port of that range when a server wants it back after a restart. And a
//! dial to such a port, if no one listens there, may be given that very port, and reach itself.

use std::fs;
use std::ops::RangeInclusive;

/// The system's range, where it tells as Linux does (ip(7)).
pub fn range() -> Option<RangeInclusive<u16>> {
    parse(&fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?)
}

fn parse(text: &str) -> Option<RangeInclusive<u16>> {
    let mut ends = text.split_whitespace().map(str::parse);
    Some(ends.next()?.ok()?..=ends.next()?.ok()?)
}

/// A warning about those of these ports that lie in the range, if there are any.
pub fn warning(ports: &[u16], range: &RangeInclusive<u16>) -> Option<String> {
    let inside: Vec<_> =
        ports.iter().filter(|port| range.contains(port)).map(u16::to_string).collect();
    (!inside.is_empty()).then(|| {
        format!(
            "warning: this system takes ports {} to {} for outgoing connections, {} among them, so \
             another program may hold one when the server starts; choose lower ports with \
             --base-port or in herd.toml",
            range.start(),
            range.end(),
            inside.join(" and ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_that_others_may_take_are_named() {
        let range = parse("32768\t60999\n").unwrap();
        assert_eq!(warning(&[12_000, 12_100], &range), None);
        let told = warning(&[32_700, 32_800], &range).unwrap();
        assert!(told.contains("32768 to 60999") && told.contains(", 32800 among them"), "{told}");
        assert_eq!((parse(""), parse("1"), parse("a b")), (None, None, None));
    }
}
