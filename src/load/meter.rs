//! What processes cost the machine, as the kernel accounts for it: CPU time and resident memory.
//!
//! It looks at other processes, by their ids, and only where there is a /proc. Elsewhere the
//! figures are missing, and the report says so.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The length of a tick of /proc/PID/stat on every common Linux (USER_HZ).
const TICK: Duration = Duration::from_millis(10);
/// Where utime stands behind the name in parentheses; stime follows.
const UTIME_AT: usize = 11;

/// Looks at some processes as if they were one.
pub struct Meter {
    folders: Vec<PathBuf>,
}

/// CPU time that processes had used at one moment.
pub struct Reading {
    /// By thread, in nanoseconds.
    threads: BTreeMap<String, u64>,
    /// Of all threads, also those that have ended, in ticks.
    ticks: u32,
}

impl Meter {
    /// # Errors
    /// There is no such process, or it may not be looked at.
    pub fn of(pids: &[u32]) -> io::Result<Meter> {
        let folder = |pid| PathBuf::from(format!("/proc/{pid}"));
        let meter = Meter { folders: pids.iter().map(folder).collect() };
        meter.read()?;
        Ok(meter)
    }

    pub fn read(&self) -> io::Result<Reading> {
        let (mut threads, mut ticks) = (BTreeMap::new(), 0);
        for folder in &self.folders {
            for entry in fs::read_dir(folder.join("task"))? {
                let entry = entry?;
                // One that ends while we look is seen to be missing next time.
                let Ok(text) = fs::read_to_string(entry.path().join("schedstat")) else { continue };
                let ran_ns = text.split(' ').next().and_then(|ran| ran.parse().ok()).unwrap_or(0);
                threads.insert(entry.file_name().to_string_lossy().into_owned(), ran_ns);
            }
            ticks += Self::ticks(folder)?;
        }
        Ok(Reading { threads, ticks })
    }

    fn ticks(folder: &Path) -> io::Result<u32> {
        let text = fs::read_to_string(folder.join("stat"))?;
        // The name before may hold blanks and parentheses of its own.
        let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
        let ticks = rest.split(' ').skip(UTIME_AT).take(2);
        Ok(ticks.filter_map(|ticks| ticks.parse::<u32>().ok()).sum())
    }

    /// Bytes of memory that are its own, or that it shares, and that are not swapped out.
    pub fn resident_bytes(&self) -> Option<u64> {
        self.folders.iter().map(|folder| Self::resident_bytes_of(folder)).sum()
    }

    fn resident_bytes_of(folder: &Path) -> Option<u64> {
        // The first is exact, but a stranger's is hidden.
        let files = [("smaps_rollup", "Rss:"), ("status", "VmRSS:")];
        files.into_iter().find_map(|(file, key)| {
            let text = fs::read_to_string(folder.join(file)).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            let kib: u64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
            Some(kib * 1024)
        })
    }
}

impl Reading {
    /// What was used since an earlier reading: to the nanosecond, unless a thread has ended in
    /// between and taken its count along; then to the tick.
    pub fn since(&self, earlier: &Reading) -> Duration {
        let by_ticks = TICK * self.ticks.saturating_sub(earlier.ticks);
        let Some(before) = earlier.threads.keys().try_fold(0, |sum: u64, thread| {
            self.threads.contains_key(thread).then(|| sum + earlier.threads[thread])
        }) else {
            return by_ticks;
        };
        let by_threads = self.threads.values().sum::<u64>().saturating_sub(before);
        // Threads that came and went between the readings are in the ticks only.
        let by_threads = Duration::from_nanos(by_threads);
        if by_ticks > by_threads + 2 * TICK { by_ticks } else { by_threads }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Method: this process works until the kernel says that it has worked for long enough.
    #[test]
    #[cfg(target_os = "linux")]
    fn work_and_memory_are_seen() {
        let meter = Meter::of(&[std::process::id()]).unwrap();
        let (before, start) = (meter.read().unwrap(), std::time::Instant::now());
        let mut used = Duration::ZERO;
        while used < Duration::from_millis(50) {
            used = meter.read().unwrap().since(&before);
            assert!(start.elapsed() < Duration::from_secs(60), "work costs nothing");
        }
        let resident = meter.resident_bytes().unwrap();
        assert!(resident > 100_000);
        let twice = Meter::of(&[std::process::id(); 2]).unwrap();
        assert!(twice.resident_bytes().unwrap() > resident * 3 / 2);
    }

    #[test]
    fn an_ended_thread_leaves_only_ticks() {
        let reading = |threads: &[(&str, u64)], ticks| Reading {
            threads: threads.iter().map(|(name, ns)| ((*name).to_owned(), *ns)).collect(),
            ticks,
        };
        let check = |later: &[(&str, u64)], ticks, expected_ns| {
            let earlier = reading(&[("1", 1_000), ("2", 500)], 7);
            assert_eq!(reading(later, ticks).since(&earlier).as_nanos(), expected_ns);
        };
        check(&[("1", 1_001), ("2", 502)], 7, 3);
        check(&[("1", 1_001), ("2", 500), ("3", 9)], 8, 10);
        check(&[("1", 1_001)], 9, 20_000_000);
        check(&[("1", 1_001), ("2", 500)], 107, 1_000_000_000);
    }

    #[test]
    fn nobody_is_not_looked_at() {
        assert!(Meter::of(&[std::process::id(), u32::MAX]).is_err());
    }
}
