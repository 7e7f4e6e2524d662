//! A herd of one server on a disk that fails: what it has answered must be there after each death.
//! A herd of several would hide what a journal loses, for its peers would bring it back.
//!
//! What is between the server and the disk here is what the reactor and its two threads do, as
//! steps that chance puts in order.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::disk::{DiskFaults, SimDisk};
use super::settings::settings;
use herd_core::border::{Input, Output, Outputs};
use herd_core::clock::{Now, PosixTime};
use herd_core::journal::keeper::{Keep, Keeper, Sizes};
use herd_core::journal::load::{Findings, Survey};
use herd_core::journal::writer::{Disk, Owner, SyncJob, Trouble, Writer};
use herd_core::journal::{JournalId, SegmentId};
use herd_core::names::{ConnId, ConnKind};
use herd_core::store::rank;
use herd_core::wire::Report;
use herd_core::wire::line::{LineLimits, Lines};
use herd_core::{Server, Settings};

const JOURNAL: JournalId = JournalId(7);
const SIZES: Sizes = Sizes { segment_bytes: 4_096, room: 4, tray_bytes: 4_096 };
const LIMITS: LineLimits = LineLimits { line_bytes_max: 2_000, endless_bytes_max: 20_000 };
const CONNS: usize = 4;
const CLIENTS: u32 = 20;

/// What a life was like, if no promise was broken in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Reports and questions that were answered.
    pub answers: usize,
    /// How often the process died.
    pub deaths: usize,
    /// How often everything was written anew.
    pub walks: usize,
    /// How often the disk failed.
    pub losses: u64,
}

/// Lives one life.
///
/// # Errors
/// A message, if a promise was broken.
pub fn live(seed: u64) -> Result<Tally, String> {
    let mut random = fastrand::Rng::with_seed(seed);
    let faults = choose_faults(&mut random);
    let keep = if random.bool() { Keep::Written } else { Keep::Synced };
    let mut machine = Machine {
        keep,
        faults,
        loop_writes: random.bool(),
        disk: SimDisk::new(faults, random.u64(..)),
        answered: BTreeMap::new(),
        said: BTreeSet::new(),
        clock: 1_700_000_000,
        tally: Tally::default(),
        random,
    };
    for _ in 0..machine.random.usize(2..6) {
        machine.live_and_die()?;
    }
    Ok(machine.tally)
}

/// Each kind of fault is absent from most lives, so that it is also met alone.
fn choose_faults(random: &mut fastrand::Rng) -> DiskFaults {
    let mut chance = |most: u32| if random.u8(0..4) == 0 { random.u32(1..=most) } else { 0 };
    let [refused, write_failed, sync_failed] = [chance(200), chance(20), chance(100)];
    // Few promises are left on a disk that lies, so most do not.
    let mut rarely = |most: u32| if chance(3) > 2 { chance(most) } else { 0 };
    let [lost, misdirected, rot] = [rarely(20), rarely(20), rarely(50)];
    DiskFaults { refused, write_failed, sync_failed, lost, misdirected, rot }
}

/// What outlives the process.
struct Machine {
    keep: Keep,
    faults: DiskFaults,
    /// The disk is quick enough for the loop to write itself now and then.
    loop_writes: bool,
    disk: SimDisk,
    /// For each client, what clients were answered of it.
    answered: BTreeMap<Vec<u8>, Vec<Answer>>,
    /// Every report that was ever made.
    said: BTreeSet<Vec<u8>>,
    clock: u64,
    tally: Tally,
    random: fastrand::Rng,
}

/// A report that a client was told.
struct Answer {
    line: Vec<u8>,
    /// What had been laid by then, if it was in this life of the process.
    laid: Option<u64>,
    /// Even if the machine dies, it must be there.
    is_certain: bool,
}

/// What does not.
struct Process {
    server: Server,
    keeper: Keeper,
    writer: Writer<SegmentId>,
    out: Outputs,
    /// What waits to be sent on each connection, and how much of it was not held so far.
    outboxes: [(VecDeque<u8>, usize); CONNS],
    /// What the writing thread has been given.
    queue: VecDeque<Vec<u8>>,
    syncing: Option<(SyncJob<SegmentId>, Result<(), Trouble>)>,
    /// To be removed once the sync that is under way has succeeded.
    outdated: Vec<SegmentId>,
    /// A walk is over, and the writing thread is to be told.
    oldest: Option<u32>,
}

impl Machine {
    fn live_and_die(&mut self) -> Result<(), String> {
        let mut process = self.start()?;
        for _ in 0..self.random.usize(1..400) {
            self.step(&mut process);
        }
        self.tally.deaths += 1;
        if self.random.u8(0..4) == 0 {
            // It was asked to end: what it says last is true whatever has become of the rest.
            let _ = process.writer.seal(&self.disk);
        }
        self.tally.losses += process.writer.progress().losses;
        if self.random.u8(0..4) == 0 {
            self.calm_down(&mut process)?;
        }
        let is_cut = self.random.bool();
        let keeper = &process.keeper;
        for answer in self.answered.values_mut().flatten() {
            answer.is_certain |= match answer.laid.take() {
                Some(laid) => laid <= keeper.synced(),
                None => !keeper.is_doubtful(),
            };
        }
        if is_cut {
            self.disk.cut();
            if self.keep == Keep::Written {
                self.answered.values_mut().for_each(|lines| lines.retain(|one| one.is_certain));
            }
        }
        Ok(())
    }

    /// Loads what there is, and checks it.
    fn start(&mut self) -> Result<Process, String> {
        let settings = Settings { keeps_journal: true, ..settings("Anna", Vec::new(), 1) };
        let mut server = Server::new(settings);
        let mut survey = Survey::default();
        let mut files = self.disk.files();
        files.reverse();
        for (id, contents) in &files {
            let loaded = survey.read(*id, contents, |found| {
                let is_said = |line| self.said.contains(line);
                assert!(found.lines().all(is_said), "a report that nobody said");
                server.restore(found)
            });
            loaded.map_err(|unknown| format!("{unknown:?} is not known"))?;
        }
        let past = survey.past(JOURNAL);
        let oldest = past.oldest;
        let findings = survey.finish();
        self.check(&server, &findings)?;
        let owner = Owner { herd: b"sim".to_vec(), server: b"Anna".to_vec() };
        let mut process = Process {
            server,
            keeper: Keeper::new(self.keep, SIZES),
            writer: Writer::new(owner, JOURNAL, SIZES.segment_bytes, past),
            out: Outputs::default(),
            outboxes: Default::default(),
            queue: VecDeque::new(),
            syncing: None,
            outdated: Vec::new(),
            oldest: None,
        };
        let next = process.writer.progress().segment;
        let Process { server, keeper, .. } = &mut process;
        server.journal_restored(keeper, findings.are_whole(), oldest, next);
        Ok(process)
    }

    fn check(&self, server: &Server, findings: &Findings) -> Result<(), String> {
        if self.faults.break_promises() {
            return Ok(());
        }
        if !findings.are_whole() && self.tally.losses == 0 {
            return Err(format!("an honest disk is said to be damaged: {findings:?}"));
        }
        for (client, lines) in &self.answered {
            for Answer { line, .. } in lines {
                let answered = Report::of_line(line).expect("it is an answer");
                let held = server.store().find(client);
                if held.is_none_or(|held| rank(&held, &answered).is_lt()) {
                    let line = String::from_utf8_lossy(line);
                    return Err(format!("{line} was answered and is not kept ({:?})", self.keep));
                }
            }
        }
        Ok(())
    }

    fn step(&mut self, process: &mut Process) {
        self.disk.rot();
        match self.random.u8(0..10) {
            0..4 => self.hear(process),
            4..7 => self.end_turn(process),
            7..9 => self.write(process),
            _ => self.sync(process),
        }
    }

    fn now(&self) -> Now {
        let monotonic = Duration::from_secs(self.clock);
        Now { monotonic, posix: PosixTime::new(self.clock, 0) }
    }

    /// A client says something.
    fn hear(&mut self, process: &mut Process) {
        if process.keeper.is_congested() {
            return;
        }
        self.clock += self.random.u64(0..2);
        let at = self.random.usize(0..CONNS);
        let mut text = String::new();
        for _ in 0..self.random.u32(1..5) {
            let (client, time) = (self.random.u32(0..CLIENTS), self.random.u64(0..1_000));
            text += &match self.random.u8(0..4) {
                0 => format!("WHATSAT {client} 10 0\n"),
                _ => format!("IAMAT {client} +34.1-118.4 {time}\n"),
            };
        }
        let conn = ConnId::new(ConnKind::Client, at as u64, at);
        let lines = &mut Lines::new(text.as_bytes(), LIMITS);
        let queued = process.outboxes[at].0.len();
        process.tell(self.now(), Input::Lines { conn, lines });
        let fresh: Vec<u8> = process.outboxes[at].0.range(queued..).copied().collect();
        let lines = fresh.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"AT "));
        self.said.extend(lines.map(<[u8]>::to_vec));
    }

    /// The end of a turn of the loop.
    fn end_turn(&mut self, process: &mut Process) {
        process.keeper.update(process.writer.progress());
        let has_lost = process.keeper.take_loss();
        process.keeper.earn_by_clock(100);
        let Process { server, keeper, out, .. } = process;
        server.feed_journal(keeper, has_lost, out);
        if let Some(oldest) = process.keeper.end_walk() {
            process.oldest = Some(oldest);
            self.tally.walks += 1;
        }
        if process.keeper.has_news() {
            process.queue.push_back(process.keeper.hand_over(Vec::new()));
        }
        if self.loop_writes && self.random.bool() {
            self.write(process);
        }
        process.keeper.update(process.writer.progress());
        for at in 0..CONNS {
            let bytes = std::mem::take(&mut process.outboxes[at].1);
            if bytes > 0 {
                process.keeper.hold(ConnId::new(ConnKind::Client, at as u64, at), bytes);
            }
        }
        while let Some((conn, bytes)) = process.keeper.release() {
            let text: Vec<u8> = process.outboxes[conn.slot()].0.drain(..bytes).collect();
            for line in text.split(|&byte| byte == b'\n').filter(|line| line.starts_with(b"AT ")) {
                let report = Report::of_line(line).expect("it is an answer");
                let lines = self.answered.entry(report.client.to_vec()).or_default();
                let laid = Some(process.keeper.laid());
                lines.push(Answer { line: line.to_vec(), laid, is_certain: false });
                self.tally.answers += 1;
            }
        }
    }

    /// The writing thread does something.
    fn write(&mut self, process: &mut Process) {
        let Process { writer, queue, oldest, outdated, syncing, .. } = process;
        if let Some(next) = writer.wants_next(self.clock)
            && let Ok(file) = next.make(&self.disk)
        {
            writer.prepared(next, file);
        }
        if let (Some(first), None) = (*oldest, &syncing)
            && let Ok(segments) = writer.outdate(&self.disk, first)
        {
            (*outdated, *oldest) = (segments, None);
        }
        if let Some(lines) = queue.front()
            && writer.is_ready()
            && writer.write(&self.disk, lines).is_ok()
        {
            queue.pop_front();
        }
    }

    /// The syncing thread begins, or comes to an end.
    fn sync(&mut self, process: &mut Process) {
        let Some((job, result)) = process.syncing.take() else {
            let job = process.writer.begin_sync();
            process.syncing = job.map(|job| (job.run(&self.disk), job)).map(|(r, job)| (job, r));
            return;
        };
        process.writer.end_sync(job, result);
        for id in process.outdated.drain(..).filter(|_| result.is_ok()) {
            self.disk.remove(id).expect("it can be removed");
            process.writer.removed(id);
        }
    }

    /// Everything goes well for a while, so all answers leave and the journal has its bound.
    fn calm_down(&mut self, process: &mut Process) -> Result<(), String> {
        self.disk.heal();
        for _ in 0..200 {
            self.end_turn(process);
            self.write(process);
            self.sync(process);
            self.sync(process);
        }
        if process.outboxes.iter().any(|(text, _)| !text.is_empty()) {
            return Err("an answer is held for ever".to_owned());
        }
        let live = process.server.store().bytes();
        let bound = SIZES.room * live as u64 + 3 * SIZES.segment_bytes;
        let bytes = self.disk.bytes();
        if bytes > bound {
            return Err(format!("{bytes} bytes for {live}: more than {bound}"));
        }
        Ok(())
    }
}

impl Process {
    fn tell(&mut self, now: Now, input: Input<'_, '_>) {
        self.server.handle(now, input, &mut self.out);
        let mut out = std::mem::take(&mut self.out);
        self.keeper.lay(&out.text, &out.news);
        let mut questions = Vec::new();
        for output in out.list.drain(..) {
            match output {
                Output::Send { conn, text } => {
                    let (outbox, fresh) = &mut self.outboxes[conn.slot()];
                    outbox.extend(&out.text[text.clone()]);
                    *fresh += text.len();
                }
                Output::AskPlaces { ticket, .. } => questions.push(ticket),
                _ => {}
            }
        }
        out.clear();
        self.out = out;
        for ticket in questions {
            self.tell(now, Input::PlacesArrived { ticket, body: b"{}\n\n" });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: what was answered is there after each death, as far as the policy promises it.
    #[test]
    fn what_was_answered_is_kept() {
        let mut sum = Tally::default();
        for seed in 0..600 {
            let tally = live(seed).unwrap_or_else(|broken| panic!("seed {seed}: {broken}"));
            sum.answers += tally.answers;
            sum.deaths += tally.deaths;
            sum.walks += tally.walks;
            sum.losses += tally.losses;
        }
        assert!(sum.answers > 10_000 && sum.deaths > 1_000, "{sum:?}");
        assert!(sum.walks > 200 && sum.losses > 200, "{sum:?}");
    }
}
