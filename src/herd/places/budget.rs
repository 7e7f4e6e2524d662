//! What a day of calls may cost, and how much of it is spent, over restarts as well.
//!
//! `call_gate` asks here whether one more call may be made. A process that is killed and started
//! again must not begin with a full budget. So every call stands in a file before it is made. The
//! file is replaced in one step, which holds against a process that dies; against a machine that
//! loses power it holds as far as its file system does. A damaged file counts as nothing spent, and
//! the operator is warned.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use herd_core::clock::Now;

const SECONDS_A_DAY: i128 = 86_400;

/// A file of calls holds one short line.
const FILE_BYTES_MAX: u64 = 256;

/// The calls that were made on a day, which is counted in UTC since 1970 began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Spent {
    pub day: i64,
    pub calls: usize,
}

/// The calls of one server.
pub struct Budget {
    /// `None` for a service that costs nothing.
    calls_per_day: Option<usize>,
    spent: Spent,
}

impl Budget {
    pub fn new(calls_per_day: Option<usize>, spent: Spent) -> Budget {
        Budget { calls_per_day, spent }
    }

    /// Counts a call, if it may be made.
    pub fn may_call(&mut self, now: Now) -> bool {
        self.spent = self.spent_today(now);
        let may = self.calls_per_day.is_none_or(|calls_max| self.spent.calls < calls_max);
        self.spent.calls += usize::from(may);
        may
    }

    /// A call that was counted has not been made.
    pub fn call_dropped(&mut self) {
        self.spent.calls = self.spent.calls.saturating_sub(1);
    }

    pub fn spent(&self) -> Spent {
        self.spent
    }

    /// What was spent on the day of `now`. A clock that goes back over midnight brings no new
    /// budget; one that goes back further was wrong before.
    pub fn spent_today(&self, now: Now) -> Spent {
        let day = (now.posix.seconds() / SECONDS_A_DAY) as i64;
        let is_today = self.spent.day == day || self.spent.day == day + 1;
        if is_today { self.spent } else { Spent { day, calls: 0 } }
    }
}

/// The file that holds what a server has spent. Threads share it.
pub struct Ledger {
    path: PathBuf,
    /// The source that the calls were made at: another has a budget of its own.
    source: &'static str,
    written: Mutex<Spent>,
}

impl Ledger {
    /// Reads what was spent. The message says why nothing is known, if a file is there.
    pub fn open(path: PathBuf, source: &'static str) -> (Ledger, Spent, Option<String>) {
        let (spent, complaint) = match read(&path) {
            Ok(text) => match parse(&text, source) {
                Some(spent) => (spent, None),
                None => (Spent::default(), Some("it is damaged".to_owned())),
            },
            Err(error) if error.kind() == io::ErrorKind::NotFound => (Spent::default(), None),
            Err(error) => (Spent::default(), Some(error.to_string())),
        };
        let shown = path.display();
        let complaint = complaint.map(|why| {
            format!("the calls of today are counted anew: {shown} cannot be read ({why})")
        });
        (Ledger { path, source, written: Mutex::new(spent) }, spent, complaint)
    }

    /// Writes what is spent, if it is more than was written before, here or by the process that
    /// this one follows.
    ///
    /// # Errors
    /// The file cannot be replaced. It is as it was.
    pub fn record(&self, spent: Spent) -> io::Result<()> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        // Another thread may have been faster with a later call; a process that still answers its
        // last clients has spent less than the one that has taken its place.
        let known = read(&self.path).ok().and_then(|text| parse(&text, self.source));
        *written = known.unwrap_or_default().max(*written);
        // As in `Budget::spent_today`: what was written by a clock that was wrong says nothing.
        if spent <= *written && written.day <= spent.day + 1 {
            return Ok(());
        }
        let new = self.path.with_extension("calls-new");
        let Spent { day, calls } = spent;
        fs::write(&new, format!("{} {day} {calls}\n", self.source))?;
        fs::rename(&new, &self.path)?;
        *written = spent;
        Ok(())
    }
}

fn read(path: &Path) -> io::Result<String> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is no regular file"));
    }
    let mut bytes = Vec::new();
    fs::File::open(path)?.take(FILE_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn parse(text: &str, source: &str) -> Option<Spent> {
    let line = text.strip_suffix('\n')?;
    let mut words = line.split(' ');
    let (whose, day, calls) = (words.next()?, words.next()?, words.next()?);
    let spent = Spent { day: day.parse().ok()?, calls: calls.parse().ok()? };
    if words.next().is_some() || spent.day < 0 {
        return None;
    }
    Some(if whose == source { spent } else { Spent::default() })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use herd_core::clock::PosixTime;

    fn day(day: u64) -> Now {
        let posix = PosixTime::new(day * 86_400, 0);
        Now { monotonic: Duration::ZERO, posix }
    }

    #[test]
    fn a_clock_that_goes_back_brings_no_new_budget() {
        let mut budget = Budget::new(Some(2), Spent { day: 100, calls: 1 });
        assert!(budget.may_call(day(100)));
        assert!(!budget.may_call(day(100)) && !budget.may_call(day(99)));
        assert!(budget.may_call(day(101)));
        assert_eq!(budget.spent(), Spent { day: 101, calls: 1 });
        // It was a year ahead, and is right again.
        assert!(budget.may_call(day(466)) && budget.may_call(day(101)));
        assert_eq!(budget.spent(), Spent { day: 101, calls: 1 });
        let mut free = Budget::new(None, Spent::default());
        assert!((0..1000).all(|_| free.may_call(day(1))));
        assert_eq!(free.spent_today(day(1)).calls, 1000);
        assert_eq!(free.spent_today(day(2)).calls, 0);
    }

    #[test]
    fn what_is_spent_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Hill@2020.calls");
        let open = |source| {
            let (ledger, spent, complaint) = Ledger::open(path.clone(), source);
            assert_eq!(complaint, None);
            (ledger, spent)
        };
        let (ledger, spent) = open("overpass");
        assert_eq!(spent, Spent::default());
        for (calls, kept) in [(1, 1), (3, 3), (2, 3)] {
            ledger.record(Spent { day: 7, calls }).unwrap();
            assert_eq!(open("overpass").1, Spent { day: 7, calls: kept });
        }
        ledger.record(Spent { day: 8, calls: 1 }).unwrap();
        assert_eq!(open("overpass").1, Spent { day: 8, calls: 1 });
        open("overpass").0.record(Spent { day: 8, calls: 5 }).unwrap();
        ledger.record(Spent { day: 8, calls: 2 }).unwrap();
        assert_eq!(open("overpass").1, Spent { day: 8, calls: 5 }, "the first process is late");
        assert_eq!(open("google-new").1, Spent::default(), "another source, another budget");
        for spent in [Spent { day: 99_999, calls: 1 }, Spent { day: 8, calls: 6 }] {
            ledger.record(spent).unwrap();
            assert_eq!(open("overpass").1, spent, "a clock was wrong");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left lying");
    }

    #[test]
    fn a_damaged_file_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("Hill@2020.calls");
        let check = |complaint: &str| {
            let (ledger, spent, seen) = Ledger::open(path.clone(), "overpass");
            assert_eq!(spent, Spent::default());
            assert!(seen.as_ref().is_some_and(|seen| seen.contains(complaint)), "{seen:?}");
            ledger
        };
        for text in ["", "overpass 7 3", "overpass 7\n", "overpass 7 3 4\n", "overpass 7 -3\n"] {
            fs::write(&path, text).unwrap();
            check("cannot be read (it is damaged)");
        }
        fs::write(&path, [0xff; 1000]).unwrap();
        check("damaged").record(Spent { day: 7, calls: 3 }).unwrap();
        assert_eq!(Ledger::open(path.clone(), "overpass").1, Spent { day: 7, calls: 3 });
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        let ledger = check("it is no regular file");
        assert!(ledger.record(Spent { day: 7, calls: 3 }).is_err());
    }
}
