//! How many clients one address may introduce. It counts by address and knows no clients; of
//! connections it only remembers which have no limit.
//!
//! An id costs its sender thirty bytes and every server of the herd a hundred, for as long as it
//! runs. So each address has a budget of new ids that refills at a fixed rate (a token bucket). A
//! connection that reports only known clients spends nothing, and its address is never looked up.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use crate::config::Limits;
use herd_core::names::ConnId;

/// What addresses have spent.
///
/// invariant: an address that is not in the table has all that there is to have
pub struct Newcomers {
    per_second: f64,
    at_once: f64,
    limits_loopback: bool,
    spent: BTreeMap<IpAddr, Spent>,
    /// Until then, an address may have spent everything.
    short_until: Duration,
    /// Connections that have no limit, by a part of their slots. To ask the kernel where one comes
    /// from is a system call more beside the two that answering takes.
    without_limit: Box<[Option<ConnId>]>,
}

#[derive(Clone, Copy)]
struct Spent {
    count: f64,
    /// When that was so.
    at: Duration,
}

impl Newcomers {
    /// Addresses that have an account of their own. Beyond that, the latest addresses share one
    /// account.
    const ADDRESSES_MAX: usize = 4096;
    /// Connections without a limit that are remembered, at most: 16 KiB.
    const CONNECTIONS: usize = 1024;
    const OTHERS: IpAddr = IpAddr::V6(Ipv6Addr::UNSPECIFIED);

    pub fn new(limits: &Limits) -> Newcomers {
        Newcomers {
            per_second: limits.new_clients_per_s as f64,
            at_once: limits.new_clients_at_once as f64,
            limits_loopback: limits.new_clients_limit_loopback,
            spent: BTreeMap::new(),
            short_until: Duration::ZERO,
            without_limit: vec![None; Self::CONNECTIONS].into_boxed_slice(),
        }
    }

    /// Keeps to other limits from now on. What was spent stays spent.
    pub fn change(&mut self, now: Duration, limits: &Limits) {
        let old = std::mem::replace(self, Newcomers::new(limits));
        old.spent.keys().for_each(|&account| self.charge(now, account, old.spent_by(now, account)));
    }

    /// A second's, those at once, and whether they hold for this machine.
    #[cfg(test)]
    pub fn limits(&self) -> (f64, f64, bool) {
        (self.per_second, self.at_once, self.limits_loopback)
    }

    /// Whether any address is near the end of its budget, so that the address of a connection
    /// matters.
    pub fn any_is_short(&self, now: Duration) -> bool {
        now < self.short_until
    }

    /// How many clients this address may introduce now.
    pub fn left(&self, now: Duration, from: IpAddr) -> usize {
        match self.account(from) {
            Some(account) => (self.at_once - self.spent_by(now, account)).max(0.0) as usize,
            None => usize::MAX,
        }
    }

    /// Whether a connection is known to have no limit.
    pub fn has_no_limit(&self, conn: ConnId) -> bool {
        self.without_limit[conn.slot() % Self::CONNECTIONS] == Some(conn)
    }

    /// Charges the clients that a connection has introduced to the address it comes from. More than
    /// were left becomes a debt.
    pub fn spend_by(&mut self, now: Duration, (conn, from): (ConnId, IpAddr), count: usize) {
        match self.account(from) {
            Some(_) => self.spend(now, from, count),
            None => self.without_limit[conn.slot() % Self::CONNECTIONS] = Some(conn),
        }
    }

    fn spend(&mut self, now: Duration, from: IpAddr, count: usize) {
        let Some(mut account) = self.account(from) else { return };
        if !self.spent.contains_key(&account) && self.spent.len() >= Self::ADDRESSES_MAX {
            self.forget_settled(now);
            if self.spent.len() >= Self::ADDRESSES_MAX {
                account = Self::OTHERS;
            }
        }
        self.charge(now, account, self.spent_by(now, account) + count as f64);
    }

    fn charge(&mut self, now: Duration, account: IpAddr, count: f64) {
        self.spent.insert(account, Spent { count, at: now });
        // One batch may spend a little more than is left, so an address that is near it counts as
        // short.
        let excess = count - self.at_once / 2.0;
        if excess > 0.0 {
            let settled = now + Duration::from_secs_f64(excess / self.per_second);
            self.short_until = self.short_until.max(settled);
        }
    }

    /// The account that pays for this address; `None` for an address of this machine. In IPv6, a
    /// host that has one address of a network has all of them.
    fn account(&self, from: IpAddr) -> Option<IpAddr> {
        if from.is_loopback() && !self.limits_loopback {
            return None;
        }
        Some(match from {
            IpAddr::V4(_) => from,
            IpAddr::V6(ip) => IpAddr::V6((ip.to_bits() >> 64 << 64).into()),
        })
    }

    fn spent_by(&self, now: Duration, account: IpAddr) -> f64 {
        let spent = self.spent.get(&account).or_else(|| {
            let is_full = self.spent.len() >= Self::ADDRESSES_MAX;
            is_full.then(|| self.spent.get(&Self::OTHERS)).flatten()
        });
        spent.map_or(0.0, |spent| {
            let back = now.saturating_sub(spent.at).as_secs_f64() * self.per_second;
            (spent.count - back).max(0.0)
        })
    }

    fn forget_settled(&mut self, now: Duration) {
        let per_second = self.per_second;
        self.spent.retain(|_, spent| {
            spent.count > now.saturating_sub(spent.at).as_secs_f64() * per_second
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn newcomers(limits_loopback: bool) -> Newcomers {
        Newcomers::new(&Limits {
            new_clients_per_s: 10,
            new_clients_at_once: 100,
            new_clients_limit_loopback: limits_loopback,
            ..crate::config::Settings::default().limits
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Goal: a reload gives nobody a new budget, and takes none away.
    #[test]
    fn what_is_spent_stays_spent_under_other_limits() {
        let (mut newcomers, from, now) = (newcomers(true), ip("10.0.0.1"), Duration::ZERO);
        newcomers.spend(now, from, 40);
        let limits = |at_once| Limits {
            new_clients_per_s: 1,
            new_clients_at_once: at_once,
            new_clients_limit_loopback: true,
            ..crate::config::Settings::default().limits
        };
        let later = Duration::from_secs(1);
        newcomers.change(later, &limits(50));
        assert_eq!(newcomers.left(later, from), 20, "ten came back at the old rate");
        assert!(newcomers.any_is_short(later), "which is near the end of the new budget");
        newcomers.change(later, &limits(1000));
        assert_eq!(newcomers.left(later, from), 970);
        assert!(!newcomers.any_is_short(later));
    }

    #[test]
    fn an_address_has_so_many_and_gets_them_back() {
        let mut newcomers = newcomers(false);
        let [now, later] = [10, 15].map(Duration::from_secs);
        let (one, other) = (ip("192.0.2.1"), ip("192.0.2.2"));
        assert_eq!(newcomers.left(now, one), 100);
        newcomers.spend(now, one, 40);
        assert!(!newcomers.any_is_short(now), "no address need be asked for");
        newcomers.spend(now, one, 80);
        assert!(newcomers.any_is_short(now));
        assert_eq!((newcomers.left(now, one), newcomers.left(now, other)), (0, 100));
        assert_eq!(newcomers.left(later, one), 30, "a debt of 20 is paid first");
        assert!(!newcomers.any_is_short(Duration::from_secs(18)));

        newcomers.spend(now, ip("2001:db8::1"), 100);
        assert_eq!(newcomers.left(now, ip("2001:db8::2")), 0, "the same network");
        newcomers.spend(now, ip("127.0.0.1"), 1_000);
        assert_eq!(newcomers.left(now, ip("127.0.0.1")), usize::MAX);
    }

    /// Goal: the kernel is asked once where a connection without a limit comes from, and each time
    /// where another does.
    #[test]
    fn who_has_no_limit_is_remembered() {
        use herd_core::names::ConnKind;
        let conn = |serial, slot| ConnId::new(ConnKind::Client, serial, slot);
        let mut newcomers = newcomers(false);
        newcomers.spend_by(Duration::ZERO, (conn(1, 0), ip("127.0.0.1")), 7);
        newcomers.spend_by(Duration::ZERO, (conn(2, 1), ip("192.0.2.1")), 7);
        assert!(newcomers.has_no_limit(conn(1, 0)) && !newcomers.has_no_limit(conn(3, 0)));
        assert!(!newcomers.has_no_limit(conn(2, 1)));
        assert_eq!(newcomers.left(Duration::ZERO, ip("192.0.2.1")), 93);
    }

    #[test]
    fn the_table_is_bounded() {
        let mut newcomers = newcomers(true);
        let now = Duration::from_secs(10);
        for number in 0..10_000_u32 {
            newcomers.spend(now, IpAddr::V4((0x0a00_0000 + number).into()), 1);
        }
        assert!(newcomers.spent.len() <= Newcomers::ADDRESSES_MAX + 1);
        assert_eq!(newcomers.left(now, ip("192.0.2.1")), 0, "one account for all others");
        newcomers.spend(Duration::from_secs(2_000), ip("192.0.2.1"), 1);
        assert_eq!(newcomers.spent.len(), 1, "what is settled is forgotten");
    }
}
