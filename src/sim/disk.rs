//! A disk that fails as disks do, under the journal's real code. What was written is in two
//! places: in the system's memory, which survives a process, and on the disk, which survives the
//! machine. A sync copies the one to the other, unless it fails or lies. Names are apart from what
//! is in a file, and reach the disk by themselves.

use std::cell::RefCell;
use std::collections::BTreeMap;

use herd_core::journal::SegmentId;
use herd_core::journal::writer::{Disk, Trouble};

/// What a disk writes at once, or not at all.
const SECTOR: usize = 64;

/// What goes wrong, each with this chance in thousands.
#[derive(Clone, Copy, Debug, Default)]
pub struct DiskFaults {
    /// A write finds no room, perhaps after a part of it.
    pub refused: u32,
    /// A write fails.
    pub write_failed: u32,
    /// A sync fails, and the next one succeeds although the disk has not got the bytes.
    pub sync_failed: u32,
    /// A write succeeds and the disk never gets it.
    pub lost: u32,
    /// A write goes to another place of the file.
    pub misdirected: u32,
    /// Something that the disk has held for long goes bad.
    pub rot: u32,
}

impl DiskFaults {
    /// Each kind is absent from most disks, so that it is also met alone. Few promises are left on
    /// a disk that lies, so most do not.
    pub fn drawn(random: &mut fastrand::Rng) -> DiskFaults {
        let mut chance = |most: u32| if random.u8(0..4) == 0 { random.u32(1..=most) } else { 0 };
        let [refused, write_failed, sync_failed] = [chance(200), chance(20), chance(100)];
        let mut rarely = |most: u32| if chance(3) > 2 { chance(most) } else { 0 };
        let [lost, misdirected, rot] = [rarely(20), rarely(20), rarely(50)];
        DiskFaults { refused, write_failed, sync_failed, lost, misdirected, rot }
    }
}

/// The disk of one server.
pub struct SimDisk {
    state: RefCell<State>,
}

/// A file, whatever its name is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SimFile(u32);

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Name {
    Segment(SegmentId),
    Spare(SegmentId),
}

/// What happens to names. To have another one is one thing, which is done or is not.
#[derive(Clone, Copy)]
struct Change {
    gone: Option<Name>,
    new: Option<(Name, SimFile)>,
}

/// Whether the journal is so busy that files are written over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Busy {
    Never,
    Always,
    Sometimes,
}

struct State {
    files: BTreeMap<SimFile, Contents>,
    /// As programs see them.
    names: BTreeMap<Name, SimFile>,
    /// As the disk has them,
    durable_names: BTreeMap<Name, SimFile>,
    /// and what has happened to them since.
    changes: Vec<Change>,
    /// How many files were made.
    made: u32,
    faults: DiskFaults,
    random: fastrand::Rng,
    busy: Busy,
    /// How often it has said that something failed.
    failures: u32,
    /// It does not hold what it was said to hold.
    has_broken: bool,
}

#[derive(Clone, Default)]
struct Contents {
    /// What a read finds.
    cached: Vec<u8>,
    /// Which sectors the disk does not hold as they are cached.
    dirty: Vec<bool>,
    /// What the disk holds.
    durable: Vec<u8>,
}

impl SimDisk {
    /// An empty one.
    pub fn new(faults: DiskFaults, seed: u64) -> SimDisk {
        let mut random = fastrand::Rng::with_seed(seed);
        let state = State {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            changes: Vec::new(),
            made: 0,
            faults,
            busy: [Busy::Never, Busy::Always, Busy::Sometimes][random.usize(0..3)],
            random,
            failures: 0,
            has_broken: false,
        };
        SimDisk { state: RefCell::new(state) }
    }

    /// What is found in each file of a journal.
    pub fn files(&self) -> Vec<(SegmentId, Vec<u8>)> {
        let state = self.state.borrow();
        let segment = |(name, file): (&Name, &SimFile)| match name {
            Name::Segment(id) => Some((*id, state.files[file].cached.clone())),
            Name::Spare(_) => None,
        };
        state.names.iter().filter_map(segment).collect()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        let state = self.state.borrow();
        state.names.values().map(|file| state.files[file].cached.len() as u64).sum()
    }

    /// A new life begins: it removes the spares that the one before has left.
    pub fn remove_spares(&self) {
        let state = &mut *self.state.borrow_mut();
        let names: Vec<Name> = state.names.keys().copied().collect();
        for name in names.into_iter().filter(|name| matches!(name, Name::Spare(_))) {
            state.change(Some(name), None);
        }
    }

    /// Whether files are written over for now.
    pub fn is_busy(&self) -> bool {
        let State { busy, random, .. } = &mut *self.state.borrow_mut();
        *busy == Busy::Always || *busy == Busy::Sometimes && random.bool()
    }

    /// Whether it has never failed, so that all that was synced must be there.
    pub fn is_honest(&self) -> bool {
        let state = self.state.borrow();
        state.failures == 0 && !state.has_broken
    }

    /// How often it has said that something failed.
    pub fn failures(&self) -> u32 {
        self.state.borrow().failures
    }

    /// Whether what was synced may be gone, though nothing was said of it.
    pub fn has_broken(&self) -> bool {
        self.state.borrow().has_broken
    }

    /// From now on it works, and there is little to do.
    pub fn heal(&self) {
        let State { faults, busy, .. } = &mut *self.state.borrow_mut();
        (*faults, *busy) = (DiskFaults::default(), Busy::Never);
    }

    /// The machine dies. Of what was not synced, the disk has each sector or not, and each name.
    pub fn cut(&self) {
        let State { files, names, durable_names, changes, random, .. } =
            &mut *self.state.borrow_mut();
        for change in changes.drain(..).filter(|_| random.bool()) {
            change.apply(durable_names);
        }
        names.clone_from(durable_names);
        files.retain(|file, _| names.values().any(|named| named == file));
        for file in files.values_mut() {
            let len = random.usize(file.durable.len().min(file.cached.len())..=file.cached.len());
            file.durable.resize(len.max(file.durable.len()), 0);
            for at in 0..file.dirty.len() {
                let sector = at * SECTOR..((at + 1) * SECTOR).min(file.durable.len());
                if file.dirty[at] && !sector.is_empty() && random.bool() {
                    // A part of a sector, now and then.
                    let end = if random.u8(0..4) == 0 {
                        random.usize(sector.start..sector.end)
                    } else {
                        sector.end.min(file.cached.len())
                    };
                    let torn = sector.start..end.min(file.cached.len()).max(sector.start);
                    file.durable[torn.clone()].copy_from_slice(&file.cached[torn]);
                }
            }
            file.cached = file.durable.clone();
            file.dirty = vec![false; file.cached.len().div_ceil(SECTOR)];
        }
    }

    /// A sector of some file goes bad, if it is time for that.
    pub fn rot(&self) {
        let State { files, faults, random, has_broken, .. } = &mut *self.state.borrow_mut();
        if random.u32(0..1000) >= faults.rot || files.is_empty() {
            return;
        }
        let nth = random.usize(0..files.len());
        let file = files.values_mut().nth(nth).expect("there are so many");
        if !file.cached.is_empty() {
            let at = random.usize(0..file.cached.len());
            file.cached[at] ^= 1 << random.u8(0..8);
            *has_broken = true;
            if let Some(byte) = file.durable.get_mut(at) {
                *byte = file.cached[at];
            }
        }
    }
}

impl State {
    fn happens(&mut self, chance: u32) -> bool {
        self.random.u32(0..1000) < chance
    }

    fn change(&mut self, gone: Option<Name>, new: Option<(Name, SimFile)>) {
        let change = Change { gone, new };
        change.apply(&mut self.names);
        self.changes.push(change);
    }

    fn file(&mut self, file: SimFile) -> &mut Contents {
        self.files.get_mut(&file).expect("it was created")
    }

    /// Another name for a file, if there is none of that name.
    fn rename(&mut self, from: Name, to: Name) -> Result<(), Trouble> {
        match self.names.get(&from) {
            Some(&file) if !self.names.contains_key(&to) => {
                self.change(Some(from), Some((to, file)));
                Ok(())
            }
            _ => Err(Trouble::Failed),
        }
    }
}

impl Change {
    fn apply(self, names: &mut BTreeMap<Name, SimFile>) {
        if let Some(gone) = self.gone {
            names.remove(&gone);
        }
        names.extend(self.new);
    }
}

impl Contents {
    /// Writes to a place of it, which may be its end.
    fn put(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.reach(end);
        self.cached[at..end].copy_from_slice(bytes);
        self.dirty[at / SECTOR..end.div_ceil(SECTOR)].fill(true);
    }

    /// It is so long at least.
    fn reach(&mut self, end: usize) {
        let len = end.max(self.cached.len());
        self.cached.resize(len, 0);
        self.dirty.resize(len.div_ceil(SECTOR), true);
    }

    fn sync(&mut self) {
        self.durable.resize(self.cached.len(), 0);
        for at in (0..self.dirty.len()).filter(|&at| self.dirty[at]) {
            let sector = at * SECTOR..((at + 1) * SECTOR).min(self.cached.len());
            self.durable[sector.clone()].copy_from_slice(&self.cached[sector]);
        }
        self.dirty.fill(false);
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn create(&self, id: SegmentId, header: &[u8]) -> Result<SimFile, Trouble> {
        let mut state = self.state.borrow_mut();
        let chance = state.faults.refused;
        if state.happens(chance) {
            return Err(Trouble::Refused);
        }
        let name = Name::Segment(id);
        if state.names.contains_key(&name) {
            // A file is never made where one is (open(2), O_EXCL).
            return Err(Trouble::Failed);
        }
        let file = SimFile(state.made);
        state.made += 1;
        let mut contents = Contents::default();
        contents.put(0, header);
        contents.sync();
        state.files.insert(file, contents);
        state.change(None, Some((name, file)));
        Ok(file)
    }

    fn sync_names(&self) -> Result<(), Trouble> {
        let State { files, names, durable_names, changes, .. } = &mut *self.state.borrow_mut();
        changes.clear();
        durable_names.clone_from(names);
        files.retain(|file, _| names.values().any(|named| named == file));
        Ok(())
    }

    fn write(&self, file: &SimFile, at: u64, bytes: &[u8]) -> Result<usize, Trouble> {
        let mut state = self.state.borrow_mut();
        let DiskFaults { refused, write_failed, lost, misdirected, .. } = state.faults;
        if state.happens(write_failed) {
            state.failures += 1;
            return Err(Trouble::Failed);
        }
        // It may take less than it is given.
        let (at, part) = (at as usize, state.random.usize(1..=bytes.len()));
        let count = if state.random.bool() { bytes.len() } else { part };
        if state.happens(refused) {
            state.file(*file).put(at, &bytes[..part - 1]);
            return Err(Trouble::Refused);
        }
        if state.happens(lost) {
            state.has_broken = true;
            state.file(*file).reach(at + count);
        } else if state.happens(misdirected) {
            state.has_broken = true;
            let end = state.files[file].cached.len();
            let place = state.random.usize(0..=end);
            let contents = state.file(*file);
            contents.reach(at + count);
            let hit = place..(place + count).min(contents.cached.len());
            contents.cached[hit.clone()].copy_from_slice(&bytes[..hit.len()]);
            contents.dirty.fill(true);
        } else {
            state.file(*file).put(at, &bytes[..count]);
        }
        Ok(count)
    }

    fn sync(&self, file: &SimFile) -> Result<(), Trouble> {
        let mut state = self.state.borrow_mut();
        let chance = state.faults.sync_failed;
        let fails = state.happens(chance);
        state.failures += u32::from(fails);
        let contents = state.file(*file);
        if fails {
            // The system calls what it could not write clean (fsync(2)).
            contents.dirty.fill(false);
            return Err(Trouble::Failed);
        }
        contents.sync();
        Ok(())
    }

    fn remove(&self, id: SegmentId) -> Result<(), Trouble> {
        self.state.borrow_mut().change(Some(Name::Segment(id)), None);
        Ok(())
    }

    fn keep_spare(&self, id: SegmentId) -> Result<(), Trouble> {
        self.state.borrow_mut().rename(Name::Segment(id), Name::Spare(id))
    }

    fn open_spare(&self, spare: SegmentId) -> Result<SimFile, Trouble> {
        let state = self.state.borrow();
        state.names.get(&Name::Spare(spare)).copied().ok_or(Trouble::Failed)
    }

    fn name_spare(&self, spare: SegmentId, id: SegmentId) -> Result<(), Trouble> {
        self.state.borrow_mut().rename(Name::Spare(spare), Name::Segment(id))
    }

    fn remove_spare(&self, spare: SegmentId) -> Result<(), Trouble> {
        self.state.borrow_mut().change(Some(Name::Spare(spare)), None);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
