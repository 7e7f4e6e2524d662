//! A disk that fails as disks do, under the journal's real code. What was written is in two
//! places: in the system's memory, which survives a process, and on the disk, which survives the
//! machine. A sync copies the one to the other, unless it fails or lies.

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

struct State {
    files: BTreeMap<SegmentId, Contents>,
    /// Files that were removed: their names may still be on the disk.
    removed: BTreeMap<SegmentId, Contents>,
    faults: DiskFaults,
    random: fastrand::Rng,
    /// How often it has said that something failed.
    failures: u32,
    /// It does not hold what it was said to hold.
    has_broken: bool,
}

#[derive(Clone, Default)]
struct Contents {
    /// Its name is on the disk.
    is_named: bool,
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
        let random = fastrand::Rng::with_seed(seed);
        let (files, removed) = (BTreeMap::new(), BTreeMap::new());
        let (failures, has_broken) = (0, false);
        let state = State { files, removed, faults, random, failures, has_broken };
        SimDisk { state: RefCell::new(state) }
    }

    /// What is found in each file.
    pub fn files(&self) -> Vec<(SegmentId, Vec<u8>)> {
        let state = self.state.borrow();
        state.files.iter().map(|(&id, file)| (id, file.cached.clone())).collect()
    }

    /// Bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.state.borrow().files.values().map(|file| file.cached.len() as u64).sum()
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

    /// From now on it works.
    pub fn heal(&self) {
        let State { faults, .. } = &mut *self.state.borrow_mut();
        *faults = DiskFaults::default();
    }

    /// The machine dies. Of what was not synced, the disk has each sector or not, and each name.
    pub fn cut(&self) {
        let State { files, removed, random, .. } = &mut *self.state.borrow_mut();
        files.retain(|_, file| file.is_named || random.bool());
        files.extend(std::mem::take(removed).into_iter().filter(|_| random.bool()));
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
            file.is_named = true;
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

    fn append(&mut self, id: SegmentId, bytes: &[u8]) {
        let file = self.files.get_mut(&id).expect("it was created");
        let start = file.cached.len();
        file.cached.extend_from_slice(bytes);
        let end = file.cached.len();
        file.dirty.resize(end.div_ceil(SECTOR), false);
        file.dirty[start / SECTOR..end.div_ceil(SECTOR)].fill(true);
    }
}

impl Contents {
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
    type File = SegmentId;

    fn create(&self, id: SegmentId, header: &[u8]) -> Result<SegmentId, Trouble> {
        let mut state = self.state.borrow_mut();
        let chance = state.faults.refused;
        if state.happens(chance) {
            return Err(Trouble::Refused);
        }
        if state.files.contains_key(&id) {
            // A file is never made where one is (open(2), O_EXCL).
            return Err(Trouble::Failed);
        }
        state.files.insert(id, Contents::default());
        state.append(id, header);
        state.files.get_mut(&id).expect("it was just made").sync();
        Ok(id)
    }

    fn sync_names(&self) -> Result<(), Trouble> {
        let State { files, removed, .. } = &mut *self.state.borrow_mut();
        files.values_mut().for_each(|file| file.is_named = true);
        removed.clear();
        Ok(())
    }

    fn write(&self, file: &SegmentId, bytes: &[u8]) -> Result<usize, Trouble> {
        let mut state = self.state.borrow_mut();
        let DiskFaults { refused, write_failed, lost, misdirected, .. } = state.faults;
        if state.happens(write_failed) {
            state.failures += 1;
            return Err(Trouble::Failed);
        }
        // It may take less than it is given.
        let part = state.random.usize(1..=bytes.len());
        let count = if state.random.bool() { bytes.len() } else { part };
        if state.happens(refused) {
            state.append(*file, &bytes[..part - 1]);
            return Err(Trouble::Refused);
        }
        if state.happens(lost) {
            state.has_broken = true;
            state.append(*file, &vec![0; count]);
        } else if state.happens(misdirected) {
            state.has_broken = true;
            let end = state.files[file].cached.len();
            state.append(*file, &vec![0; count]);
            let at = state.random.usize(0..=end);
            let contents = state.files.get_mut(file).expect("it was created");
            let hit = at..(at + count).min(contents.cached.len());
            contents.cached[hit.clone()].copy_from_slice(&bytes[..hit.len()]);
            contents.dirty.fill(true);
        } else {
            state.append(*file, &bytes[..count]);
        }
        Ok(count)
    }

    fn sync(&self, file: &SegmentId) -> Result<(), Trouble> {
        let mut state = self.state.borrow_mut();
        let chance = state.faults.sync_failed;
        let fails = state.happens(chance);
        state.failures += u32::from(fails);
        let contents = state.files.get_mut(file).expect("it was created");
        if fails {
            // The system calls what it could not write clean (fsync(2)).
            contents.dirty.fill(false);
            return Err(Trouble::Failed);
        }
        contents.sync();
        Ok(())
    }

    fn remove(&self, id: SegmentId) -> Result<(), Trouble> {
        let State { files, removed, .. } = &mut *self.state.borrow_mut();
        removed.extend(files.remove_entry(&id).filter(|(_, file)| file.is_named));
        Ok(())
    }
}
