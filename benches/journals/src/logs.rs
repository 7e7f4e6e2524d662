//! Which log? Each is behind one seam: it takes a batch, and it syncs.

use std::fs::{File, OpenOptions};
use std::io::{Seek, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use fjall::{Database as Fjall, Keyspace, KeyspaceCreateOptions, PersistMode};
use herd_core::journal::load::Past;
use herd_core::journal::writer::{Disk, Owner, Trouble, Writer};
use herd_core::journal::{JournalId, SegmentId};
use redb::{Database as Redb, Durability, TableDefinition};
use wal_db::{SegmentedStore, Wal};

use crate::figures::{Table, Times, cpu};
use crate::files::fill;
use crate::{Batches, Course, REPORTS, Result};

const SEGMENT_BYTES: u64 = 16 << 20;

/// The seam.
trait Log {
    /// The batch survives the process, if the log can say so.
    fn write(&mut self, batch: &[u8]) -> Result<()>;

    /// A batch survives the machine.
    fn write_and_sync(&mut self, batch: &[u8]) -> Result<()>;
}

type Open = fn(&Path) -> Result<Box<dyn Log>>;

const LOGS: [(&str, Open); 7] = [
    ("a bare file, appended to", |dir| Ok(Box::new(Bare(File::create(dir.join("log"))?)))),
    ("**the herd's segments**", |dir| Ok(Box::new(Ours::open(dir, 0, false)?))),
    ("**the same, filled with zeros**", |dir| Ok(Box::new(Ours::open(dir, SEGMENT_BYTES, false)?))),
    ("**the same, written over**", |dir| Ok(Box::new(Ours::open(dir, SEGMENT_BYTES, true)?))),
    ("wal-db, segments", |dir| Ok(Box::new(Wal::open_segmented(dir, SEGMENT_BYTES)?))),
    ("fjall, a key for each client", |dir| Ok(Box::new(Tree::open(dir)?))),
    ("redb, a key for each client", |dir| Ok(Box::new(Redb::create(dir.join("redb"))?))),
];

/// Measures all of them.
pub fn run(course: &Course) -> Result<Table> {
    let mut figures = vec![vec![Vec::new(); 5]; LOGS.len()];
    for _ in 0..course.rounds {
        for ((_, open), figures) in LOGS.iter().zip(&mut figures) {
            let found = measure(course, *open)?;
            figures.iter_mut().zip(found).for_each(|(all, one)| all.push(one));
        }
    }
    let mut table = Table::new(&[
        "a log",
        "write: CPU µs a batch",
        "write: p50 µs",
        "write: p99 µs",
        "write and sync: p50 µs",
        "p90 µs",
    ]);
    LOGS.iter().zip(&figures).for_each(|((name, _), figures)| table.add(name, figures));
    Ok(table)
}

fn measure(course: &Course, open: Open) -> Result<[f64; 5]> {
    let dir = course.fresh("logs")?;
    let mut batches = Batches::default();
    let mut log = open(&dir)?;
    let (began, cpu_before, mut making) = (Instant::now(), cpu(), std::time::Duration::ZERO);
    let mut writes = Times::default();
    while began.elapsed() < course.span {
        let made = cpu();
        let batch = batches.more();
        making += cpu() - made;
        let at = Instant::now();
        log.write(batch)?;
        writes.add(at.elapsed());
    }
    let spent = (cpu() - cpu_before).saturating_sub(making).as_secs_f64() * 1e6;
    let cpu_us = spent / writes.count() as f64;

    // A file of its own: what was written before is not to be synced by the first of these.
    drop(log);
    let dir = course.fresh("logs")?;
    let mut log = open(&dir)?;
    log.write_and_sync(batches.more())?;
    let (began, mut syncs) = (Instant::now(), Times::default());
    while began.elapsed() < course.span {
        let batch = batches.more();
        let at = Instant::now();
        log.write_and_sync(batch)?;
        syncs.add(at.elapsed());
    }
    drop(log);
    let [write_p50, write_p99] = writes.quantiles([0.5, 0.99]);
    let [sync_p50, sync_p90] = syncs.quantiles([0.5, 0.9]);
    Ok([cpu_us, write_p50, write_p99, sync_p50, sync_p90])
}

struct Bare(File);

impl Log for Bare {
    fn write(&mut self, batch: &[u8]) -> Result<()> {
        Ok(self.0.write_all(batch)?)
    }

    fn write_and_sync(&mut self, batch: &[u8]) -> Result<()> {
        self.write(batch)?;
        Ok(self.0.sync_data()?)
    }
}

/// The code that ships, on files like the server's.
struct Ours {
    disk: Folder,
    writer: Writer<Arc<File>>,
    /// Each segment is old when the next is needed, and the one after that is written over it.
    is_written_over: bool,
}

struct Folder {
    dir: PathBuf,
    filled_bytes: u64,
}

impl Ours {
    fn open(dir: &Path, filled_bytes: u64, is_written_over: bool) -> Result<Ours> {
        let owner = Owner { herd: b"bench".to_vec(), server: b"Bailey".to_vec() };
        let writer = Writer::new(owner, JournalId(1), SEGMENT_BYTES, Past::default());
        let disk = Folder { dir: dir.to_owned(), filled_bytes };
        let mut ours = Ours { disk, writer, is_written_over };
        ours.prepare()?;
        Ok(ours)
    }

    /// In life another thread does it ahead.
    fn prepare(&mut self) -> Result<()> {
        let current = self.writer.segments().last();
        if let Some(current) = current.filter(|_| self.is_written_over) {
            let old = self.writer.outdate(&self.disk, current.number, u64::MAX);
            let mut old = old.map_err(told)?;
            old.run(&self.disk, || true);
            self.writer.take_gone(old);
        }
        if let Some(next) = self.writer.wants_next_over(0) {
            let file = next.make(&self.disk).map_err(told)?;
            self.writer.prepared(next, file);
        }
        Ok(())
    }
}

fn told(trouble: Trouble) -> Box<dyn std::error::Error> {
    format!("the disk: {trouble:?}").into()
}

impl Log for Ours {
    fn write(&mut self, batch: &[u8]) -> Result<()> {
        if !self.writer.is_ready() {
            self.prepare()?;
        }
        self.writer.write(&self.disk, batch).map_err(told)
    }

    fn write_and_sync(&mut self, batch: &[u8]) -> Result<()> {
        self.write(batch)?;
        if let Some(job) = self.writer.begin_sync() {
            let result = job.run(&self.disk);
            self.writer.end_sync(job, result);
            result.map_err(told)?;
        }
        Ok(())
    }
}

impl Disk for Folder {
    type File = Arc<File>;

    fn create(&self, id: SegmentId, header: &[u8]) -> std::result::Result<Arc<File>, Trouble> {
        let make = || {
            let path = self.dir.join(id.to_string());
            let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
            file.write_all(header)?;
            if self.filled_bytes > 0 {
                file.rewind()?;
                fill(&mut file, self.filled_bytes)?;
                file.rewind()?;
                file.write_all(header)?;
            }
            file.sync_all()?;
            Ok(Arc::new(file))
        };
        make().map_err(|_: std::io::Error| Trouble::Failed)
    }

    fn sync_names(&self) -> std::result::Result<(), Trouble> {
        let synced = File::open(&self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(|_| Trouble::Failed)
    }

    fn write(
        &self,
        file: &Arc<File>,
        at: u64,
        bytes: &[u8],
    ) -> std::result::Result<usize, Trouble> {
        file.write_at(bytes, at).map_err(|_| Trouble::Failed)
    }

    fn sync(&self, file: &Arc<File>) -> std::result::Result<(), Trouble> {
        file.sync_data().map_err(|_| Trouble::Failed)
    }

    fn remove(&self, id: SegmentId) -> std::result::Result<(), Trouble> {
        std::fs::remove_file(self.dir.join(id.to_string())).map_err(|_| Trouble::Failed)
    }

    fn keep_spare(&self, id: SegmentId) -> std::result::Result<(), Trouble> {
        let kept = std::fs::rename(self.dir.join(id.to_string()), self.spare(id));
        kept.map_err(|_| Trouble::Failed)
    }

    fn open_spare(&self, spare: SegmentId) -> std::result::Result<Arc<File>, Trouble> {
        let opened = OpenOptions::new().write(true).open(self.spare(spare));
        opened.map(Arc::new).map_err(|_| Trouble::Failed)
    }

    fn name_spare(&self, spare: SegmentId, id: SegmentId) -> std::result::Result<(), Trouble> {
        let named = std::fs::rename(self.spare(spare), self.dir.join(id.to_string()));
        named.map_err(|_| Trouble::Failed)
    }

    fn remove_spare(&self, spare: SegmentId) -> std::result::Result<(), Trouble> {
        std::fs::remove_file(self.spare(spare)).map_err(|_| Trouble::Failed)
    }
}

impl Folder {
    fn spare(&self, id: SegmentId) -> PathBuf {
        self.dir.join(format!("{id}.spare"))
    }
}

impl Log for Wal<SegmentedStore> {
    fn write(&mut self, batch: &[u8]) -> Result<()> {
        let _lsn = self.append(batch)?;
        Ok(())
    }

    fn write_and_sync(&mut self, batch: &[u8]) -> Result<()> {
        let _lsn = self.append_and_sync(batch)?;
        Ok(())
    }
}

/// Lines of a batch with the client that is the key.
fn keyed(batch: &[u8]) -> impl Iterator<Item = (&[u8], &[u8])> {
    let lines = batch.split(|&byte| byte == b'\n').take(REPORTS);
    lines.filter_map(|line| Some((line.split(|&byte| byte == b' ').nth(3)?, line)))
}

struct Tree {
    database: Fjall,
    reports: Keyspace,
}

impl Tree {
    fn open(dir: &Path) -> Result<Tree> {
        let database = Fjall::builder(dir).open()?;
        let reports = database.keyspace("reports", KeyspaceCreateOptions::default)?;
        Ok(Tree { database, reports })
    }

    fn insert(&self, batch: &[u8], mode: PersistMode) -> Result<()> {
        let mut changes = self.database.batch().durability(Some(mode));
        keyed(batch).for_each(|(client, line)| changes.insert(&self.reports, client, line));
        Ok(changes.commit()?)
    }
}

impl Log for Tree {
    fn write(&mut self, batch: &[u8]) -> Result<()> {
        self.insert(batch, PersistMode::Buffer)
    }

    fn write_and_sync(&mut self, batch: &[u8]) -> Result<()> {
        self.insert(batch, PersistMode::SyncData)
    }
}

const TABLE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("reports");

fn insert(database: &Redb, batch: &[u8], durability: Durability) -> Result<()> {
    let mut change = database.begin_write()?;
    change.set_durability(durability)?;
    {
        let mut table = change.open_table(TABLE)?;
        for (client, line) in keyed(batch) {
            table.insert(client, line)?;
        }
    }
    Ok(change.commit()?)
}

impl Log for Redb {
    fn write(&mut self, batch: &[u8]) -> Result<()> {
        insert(self, batch, Durability::None)
    }

    fn write_and_sync(&mut self, batch: &[u8]) -> Result<()> {
        insert(self, batch, Durability::Immediate)
    }
}
