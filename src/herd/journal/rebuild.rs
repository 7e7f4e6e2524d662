//! Journals that are made without a server: of lines that were saved, or of the journal of another
//! server. A file that is there is never changed: what is made is a new journal, of another id, and
//! files that it replaces are set aside when it is on the disk.

use std::fs::{self, File};
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::directory::{ASIDE, Directory, DirectoryError, Fill, LOCK};
use super::load::{Loaded, Whose, load};
use super::{JournalError, SEGMENT_BYTES};
use herd_core::journal::JournalId;
use herd_core::journal::load::{Found, Past};
use herd_core::journal::writer::{Disk, Owner, Trouble, Writer};
use herd_core::store::Store;

/// Bytes of lines that are written at a time.
const PIECE_BYTES: usize = 64 * 1024;

/// Makes a journal of the reports in a store.
///
/// # Errors
/// There is something in the directory already, or it cannot be used; then nothing was made.
pub fn restore(path: &Path, owner: Owner, store: &Store) -> Result<(), JournalError> {
    let is_other = |name: &str| name != LOCK;
    let names = fs::read_dir(path).into_iter().flatten().flatten().map(|entry| entry.file_name());
    if names.into_iter().any(|name| name.to_str().is_none_or(is_other)) {
        return Err(JournalError::Occupied { path: path.to_owned() });
    }
    let disk = claim(path)?;
    write(&disk, owner, store).map_err(|_| unusable(path, &disk))
}

/// Makes a journal that another server of the herd has written this server's own, and sets the old
/// files aside. Gives what was read, or `None` if it was this server's already. `take` is given the
/// lines of reports, as by `load`; `store` is what it has made of them.
///
/// # Errors
/// It is of another herd, is being written, or cannot be used.
pub fn adopt(
    path: &Path,
    owner: Owner,
    store: &mut Store,
    take: for<'a> fn(&mut Store, Found<'a>) -> Result<(), &'a [u8]>,
) -> Result<Option<Loaded>, JournalError> {
    let mut disk = claim(path)?;
    let loaded = load(path, Whose::Herds(&owner.herd), |found| take(store, found), |_| {});
    let loaded = loaded.map_err(JournalError::Load)?;
    let is_known = !loaded.owners.is_empty();
    if is_known && loaded.owners.iter().all(|found| *found == owner) {
        return Ok(None);
    }
    write(&disk, owner, store).map_err(|_| unusable(path, &disk))?;
    let old: Vec<_> =
        loaded.journal.iter().flat_map(|(_, past)| past.lengths.keys()).copied().collect();
    disk.keep(old.iter().copied(), ASIDE);
    disk.remove_spares();
    let set_aside = old.into_iter().try_for_each(|id| disk.remove(id));
    set_aside.and_then(|()| disk.sync_names()).map_err(|_| unusable(path, &disk))?;
    Ok(Some(loaded))
}

fn claim(path: &Path) -> Result<Directory, JournalError> {
    Directory::claim(path, Fill::None, Duration::ZERO).map_err(JournalError::Directory)
}

fn unusable(path: &Path, disk: &Directory) -> JournalError {
    let error = io::Error::other(disk.last_error());
    JournalError::Directory(DirectoryError::Unusable { path: path.to_owned(), error })
}

/// Writes and syncs a whole journal. If that fails, nothing of it is left.
fn write(disk: &Directory, owner: Owner, store: &Store) -> Result<(), Trouble> {
    let id = JournalId(fastrand::u64(..));
    let mut writer = Writer::new(owner, id, SEGMENT_BYTES, Past::default());
    let written = write_all(disk, &mut writer, store);
    if written.is_err() {
        for id in writer.segments() {
            let _ = disk.remove(id);
        }
    }
    written
}

fn write_all(
    disk: &Directory,
    writer: &mut Writer<Arc<File>>,
    store: &Store,
) -> Result<(), Trouble> {
    let mut lines = Vec::with_capacity(2 * PIECE_BYTES);
    for report in store.reports() {
        report.write_line(&mut lines);
        if lines.len() >= PIECE_BYTES {
            put(disk, writer, &lines)?;
            lines.clear();
        }
    }
    put(disk, writer, &lines)?;
    sync(disk, writer)?;
    writer.seal(disk)?;
    sync(disk, writer)
}

fn put(disk: &Directory, writer: &mut Writer<Arc<File>>, lines: &[u8]) -> Result<(), Trouble> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    if !writer.is_ready()
        && let Some(next) = writer.wants_next(since.as_secs())
    {
        let file = next.make(disk)?;
        writer.prepared(next, file);
    }
    writer.write(disk, lines)
}

fn sync(disk: &Directory, writer: &mut Writer<Arc<File>>) -> Result<(), Trouble> {
    let Some(job) = writer.begin_sync() else { return Ok(()) };
    let result = job.run(disk);
    writer.end_sync(job, result);
    result
}
