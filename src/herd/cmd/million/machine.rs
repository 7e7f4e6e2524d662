//! What the machine has, as Linux says it in /proc, and what it lacks.

use std::fs;

use rustix::process::{Resource, getrlimit};

use super::super::exit::{Exit, Failure};
use super::outcome::megabytes;
use super::{AVAILABLE_BYTES_MIN, Plan};
use herd_load::SYSTEMS_CHOICE;

/// Both ends of a connection in the kernel, and what the load remembers of it.
const CONNECTION_BYTES: u64 = 6_400;
/// A server that knows nobody.
const SERVER_BYTES: u64 = 14_000_000;
/// A client in a server's store, and its connection there.
const CLIENT_BYTES: u64 = 95;
/// Descriptors of a server or a load that are not for these connections.
const DESCRIPTORS_BESIDE: u64 = 400;

/// What it takes.
pub struct Needs {
    pub memory_bytes: u64,
    /// Of one process.
    descriptors: u64,
    /// Of all.
    files: u64,
    /// From which one load dials, and on which servers listen.
    ports: u64,
}

/// What the machine has; what it does not say is not compared.
#[derive(Clone, Copy)]
struct Has {
    memory_bytes: Option<u64>,
    files: Option<u64>,
    descriptors_max: u64,
    ports: Option<u64>,
}

impl Needs {
    pub fn of(plan: &Plan) -> Needs {
        let (servers, connections) = (plan.servers as u64, plan.connections);
        Needs {
            memory_bytes: connections * CONNECTION_BYTES
                + servers * (SERVER_BYTES + connections * CLIENT_BYTES),
            descriptors: connections.div_ceil(servers) + DESCRIPTORS_BESIDE,
            files: 2 * (connections + servers * DESCRIPTORS_BESIDE),
            ports: connections.div_ceil(servers).min(SYSTEMS_CHOICE as u64) + 2 * servers,
        }
    }
}

/// Figures of the whole machine; each is missing where there is no such file.
pub struct Machine;

impl Machine {
    pub fn look() -> Machine {
        Machine
    }

    /// Memory that processes could still get.
    pub fn available_bytes(&self) -> Option<u64> {
        let text = fs::read_to_string("/proc/meminfo").ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
        let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
        Some(kib * 1024)
    }

    /// Sockets of TCP, both ends of connections on loopback.
    pub fn sockets(&self) -> u64 {
        let text = fs::read_to_string("/proc/net/sockstat").unwrap_or_default();
        let count = text.lines().find_map(|line| line.strip_prefix("TCP: inuse "));
        count.and_then(|rest| rest.split(' ').next()?.parse().ok()).unwrap_or_default()
    }

    /// Descriptors that the whole system may still give.
    fn files(&self) -> Option<u64> {
        let text = fs::read_to_string("/proc/sys/fs/file-nr").ok()?;
        let mut counts = text.split_whitespace().map(str::parse::<u64>);
        let (used, _, most) = (counts.next()?.ok()?, counts.next()?.ok()?, counts.next()?.ok()?);
        Some(most.saturating_sub(used))
    }

    /// Ports that the system chooses from.
    fn ports(&self) -> Option<u64> {
        let text = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
        let mut bounds = text.split_whitespace().map(str::parse::<u64>);
        let (first, last) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
        Some((last + 1).saturating_sub(first))
    }

    /// All that is missing, in one message, before anything is begun.
    pub fn refuse_if_it_lacks(&self, needs: &Needs) -> Result<(), Failure> {
        let hard = getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX);
        let has = Has {
            memory_bytes: self.available_bytes(),
            files: self.files(),
            descriptors_max: hard,
            ports: self.ports(),
        };
        let lacks = lacks(needs, has);
        if lacks.is_empty() {
            return Ok(());
        }
        let message = format!("this machine cannot hold that:\n  {}", lacks.join("\n  "));
        Err(Failure::new(Exit::System, message))
    }
}

fn lacks(needs: &Needs, has: Has) -> Vec<String> {
    let mut lacks = Vec::new();
    match has.memory_bytes {
        None => lacks.push("it has no /proc/meminfo: this is for Linux".to_owned()),
        Some(memory) if memory < needs.memory_bytes + AVAILABLE_BYTES_MIN => lacks.push(format!(
            "it takes some {} of memory, and {} must be left, but there are {}: ask for fewer \
             with --connections, or for fewer --servers",
            megabytes(needs.memory_bytes),
            megabytes(AVAILABLE_BYTES_MIN),
            megabytes(memory)
        )),
        Some(_) => {}
    }
    if has.descriptors_max < needs.descriptors {
        lacks.push(format!(
            "each process needs {} descriptors, but only {} are allowed: raise the limit (as root: \
             ulimit -Hn {}), or ask for more --servers",
            needs.descriptors, has.descriptors_max, needs.descriptors
        ));
    }
    if let Some(files) = has.files.filter(|files| *files < needs.files) {
        lacks.push(format!(
            "all together need {} descriptors, but the system has {files} left: raise fs.file-max",
            needs.files
        ));
    }
    if let Some(ports) = has.ports.filter(|ports| *ports < needs.ports) {
        lacks.push(format!(
            "a load needs {} ports to dial from, but there are {ports}: widen \
             net.ipv4.ip_local_port_range, or ask for more --servers",
            needs.ports
        ));
    }
    lacks
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn needs(servers: usize) -> Needs {
        let seconds = Duration::from_secs(1);
        Needs::of(&Plan { servers, connections: 1_000_000, rate: 1, seconds })
    }

    #[test]
    fn everything_that_is_missing_is_said_with_its_way_out() {
        let plenty = Some(1 << 40);
        let has = |memory_bytes, files, descriptors_max, ports| Has {
            memory_bytes,
            files,
            descriptors_max,
            ports,
        };
        assert!(lacks(&needs(55), has(plenty, plenty, 20_000, Some(28_232))).is_empty());
        let check = |missing: &[String], words: &[&str]| {
            assert_eq!(missing.len(), words.len(), "{missing:?}");
            assert!(missing.iter().zip(words).all(|(lack, word)| lack.contains(word)));
        };
        check(&lacks(&needs(55), has(plenty, plenty, 18_000, None)), &["ulimit -Hn 18582"]);
        check(
            &lacks(&needs(40), has(Some(1 << 30), Some(2_000_000), 1_024, Some(14_000))),
            &["--connections", "ulimit", "fs.file-max", "ip_local_port_range"],
        );
        check(&lacks(&needs(55), has(None, None, 20_000, None)), &["Linux"]);
    }

    #[test]
    fn more_servers_hold_it_more_often() {
        assert!(needs(100).memory_bytes > needs(55).memory_bytes + 40 * 1_000_000 * CLIENT_BYTES);
        assert!(needs(100).descriptors < needs(55).descriptors);
    }
}
