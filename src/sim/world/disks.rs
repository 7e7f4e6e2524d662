//! What the disks of a herd do, and when: each of a server's two threads has its own time. How much
//! goes wrong is in `scenario`, what that is in `disk`.

use std::time::Duration;

use super::{Event, MS, World};
use crate::faults::{Fault, Faults};
use crate::host::Host;
use crate::invariants::{Invariant, Violation};
use crate::journal::Journal;
use crate::scenario::Durability;
use herd_core::journal::appender::{Keep, SEGMENTS_MORE};

/// A write takes up to so long, and a pause of the loop while everything is written anew.
const WRITE_MAX: Duration = Duration::from_millis(20);
/// A sync takes up to so long.
const SYNC_MAX: Duration = Duration::from_millis(50);
/// The pause between two of them, if no answer waits for it.
const SYNC_EVERY: Duration = Duration::from_secs(1);
/// If the trouble of a disk is the end of a process, it comes so soon: what the disk takes only now
/// is not all written.
const KILLED_WITHIN: Duration = Duration::from_millis(20);
/// The same for a machine: there may be another sync.
const CUT_WITHIN: Duration = Duration::from_millis(1_000);
/// A disk that is stuck: longer than a client may be idle.
const STUCK_MAX: Duration = Duration::from_secs(7);

impl World {
    /// A server that keeps a journal begins with what its disk holds.
    pub(super) fn with_journal(&self, server: usize, body: Host) -> Result<Host, Violation> {
        let Some(Durability { keep, sizes, .. }) = self.scenario.durability else {
            return Ok(body);
        };
        let seat = &self.seats[server];
        let open = |core: &mut _| Journal::open((keep, sizes), seat.disk.clone(), &seat.name, core);
        body.with_journal(self.invariants.heard_until(server), open)
    }

    /// The loop has its turn, in which it may write itself if the disk is quick.
    pub(super) fn keep_news(&mut self, server: usize) {
        let Some(durability) = &self.scenario.durability else { return };
        let is_quick = durability.loop_writes && self.random.bool();
        if let Some(body) = &mut self.seats[server].body {
            body.keep_news(is_quick);
        }
    }

    /// Wakes the threads of a server that have something to do.
    pub(super) fn plan_disk(&mut self, server: usize) {
        let Some(durability) = &self.scenario.durability else { return };
        let (keep, may_stick) =
            (durability.keep, durability.sticks && self.now < self.scenario.peace);
        let seat = &self.seats[server];
        let Some(journal) = seat.body.as_ref().and_then(Host::journal) else { return };
        let (run, is_syncing) = (seat.run, journal.is_syncing());
        let writes = journal.wants_write() || journal.appender.is_compacting();
        for (syncs, wants) in [(false, writes), (true, journal.wants_sync())] {
            if !wants
                || std::mem::replace(&mut self.seats[server].disk_due[usize::from(syncs)], true)
            {
                continue;
            }
            let longest = match (syncs, keep) {
                _ if may_stick && self.random.u32(0..40) == 0 => STUCK_MAX,
                (false, _) => WRITE_MAX,
                (true, Keep::Written) if !is_syncing => SYNC_EVERY,
                (true, _) => SYNC_MAX,
            };
            let after = self.up_to(longest);
            self.plan(after.max(MS), Event::Disk { server, run, syncs });
        }
    }

    /// One of the threads does something.
    pub(super) fn work_disk(&mut self, server: usize, syncs: bool) -> Result<(), Violation> {
        self.seats[server].disk_due[usize::from(syncs)] = false;
        self.note("disk", (server, usize::from(syncs)), b"");
        let was_in_trouble = self.is_disk_behind(server);
        let failures = self.seats[server].disk.failures();
        self.tell(server, |body| body.work_disk(syncs))?;
        if was_in_trouble || self.seats[server].disk.failures() > failures {
            self.take_along(server);
        }
        Ok(())
    }

    /// Whether clients are not read because their server's disk is too slow.
    fn is_disk_behind(&self, server: usize) -> bool {
        let journal = self.seats[server].body.as_ref().and_then(Host::journal);
        journal.is_some_and(|journal| journal.appender.is_congested())
    }

    /// The trouble of a disk may be the end of its server, if anything may.
    fn take_along(&mut self, server: usize) {
        let takes_along = self.scenario.durability.is_some_and(|it| it.takes_along);
        if !takes_along || self.now >= self.scenario.peace || self.random.bool() {
            return;
        }
        let deaths = self.scenario.faults.and(Faults::of(&[Fault::Crash, Fault::Power]));
        let deaths: Vec<Fault> = deaths.list().collect();
        if !deaths.is_empty() {
            let how = deaths[self.random.usize(0..deaths.len())];
            let within = if how == Fault::Power { CUT_WITHIN } else { KILLED_WITHIN };
            let (run, after) = (self.seats[server].run, self.up_to(within));
            self.plan(after, Event::Death { server, run, how });
        }
    }

    /// From now on, all disks work.
    pub(super) fn heal_disks(&self) {
        self.seats.iter().for_each(|seat| seat.disk.heal());
    }

    /// Everything is on the disk, and no more than that.
    ///
    /// # Errors
    /// I13, I14.
    pub(super) fn are_journals_at_rest(&self) -> Result<(), Violation> {
        let Some(Durability { sizes, .. }) = self.scenario.durability else { return Ok(()) };
        for seat in &self.seats {
            let Some(body) = &seat.body else { continue };
            let Some(journal) = body.journal() else { continue };
            let appender = &journal.appender;
            let is_kept = appender.synced() == appender.appended() && !appender.needs_rewrite();
            let name = &seat.name;
            Invariant::Kept.demand(is_kept, || format!("{name} has not synced all of it"))?;
            let live = body.server.store().bytes() as u64;
            let bytes_max = sizes.room * live + (SEGMENTS_MORE + 1) * sizes.segment_bytes;
            Invariant::Room.demand(seat.disk.bytes() <= bytes_max, || {
                let bytes = seat.disk.bytes();
                format!("{name} has {bytes} bytes on its disk for {live}, more than {bytes_max}")
            })?;
        }
        Ok(())
    }
}
