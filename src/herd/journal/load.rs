//! Reading a journal: when its server starts, and for `herd journal`, which only looks.

use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use herd_core::journal::frame::{Header, HeaderError};
use herd_core::journal::load::{Findings, Found, Past, Piece, Pieces, Survey, UnknownLine};
use herd_core::journal::writer::Owner;
use herd_core::journal::{JournalId, SegmentId};

use super::directory::segments;

/// Bytes that are lost with a place that cannot be read.
const BLOCK_BYTES: usize = 4096;

/// Why a journal is not loaded. Its text is one sentence for the operator; nothing was changed.
#[derive(Debug)]
pub enum LoadError {
    /// It is of another herd: to load it would mix the two.
    OtherHerd { path: PathBuf, herd: String },
    /// It is of another server, which may be a mistake.
    OtherServer { path: PathBuf, server: String },
    /// A later program has written it.
    Version { path: PathBuf, version: u32 },
    /// The same, in the middle of a file.
    Unknown { path: PathBuf, line: String },
    /// The directory or a file cannot be read.
    Unreadable { path: PathBuf, error: io::Error },
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LoadError::OtherHerd { path, herd } => write!(
                f,
                "{} is of the herd {herd}; choose another directory with --journal-dir \
                 (HERD_JOURNAL_DIR)",
                path.display()
            ),
            LoadError::OtherServer { path, server } => write!(
                f,
                "{} was written by the server {server}; choose another directory with \
                 --journal-dir, or make it this server's with `herd journal adopt`",
                path.display()
            ),
            LoadError::Version { path, version } => write!(
                f,
                "{} is of version {version} of the journal, and this program knows version 1; \
                 use the program that has written it",
                path.display()
            ),
            LoadError::Unknown { path, line } => write!(
                f,
                "{} has a line that this program does not know ({line:?}); use the program that \
                 has written it",
                path.display()
            ),
            LoadError::Unreadable { path, error } => {
                let path = path.display();
                write!(f, "the journal {path} cannot be read: {error}; mend that, or name another")
            }
        }
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            LoadError::Unreadable { error, .. } => Some(error),
            _ => None,
        }
    }
}

/// What was read.
pub struct Loaded {
    pub findings: Findings,
    /// The journal to go on with, and what its writer must know; `None` if there is none.
    pub journal: Option<(JournalId, Past)>,
    /// Who have written it, as far as headers could be read: the last first.
    pub owners: Vec<Owner>,
}

/// Whose files may be loaded.
#[derive(Clone, Copy)]
pub enum Whose<'a> {
    Anybodys,
    /// Those of all servers of a herd.
    Herds(&'a [u8]),
    Servers(&'a Owner),
}

/// Reads all segments in a directory, the newest first, and gives `take` the lines of reports.
/// `tell` is given how much was read, in percent, before each file and behind the last one.
///
/// # Errors
/// The files are not ours or of a later version, or cannot be read.
pub fn load(
    path: &Path,
    whose: Whose<'_>,
    mut take: impl for<'a> FnMut(Found<'a>) -> Result<(), &'a [u8]>,
    mut tell: impl FnMut(u8),
) -> Result<Loaded, LoadError> {
    let unreadable = |path: &Path, error| LoadError::Unreadable { path: path.to_owned(), error };
    let files = segments(path).map_err(|error| unreadable(path, error))?;
    let mut survey = Survey::default();
    let mut owners = Vec::new();
    // Nothing is taken before all of it is known to be ours.
    for (id, file) in &files {
        let head = read_head(file).map_err(|error| unreadable(file, error))?;
        if let Some(header) = check_header(*id, file, &head, whose)? {
            let owner = Owner { herd: header.herd.to_vec(), server: header.server.to_vec() };
            if !owners.contains(&owner) {
                owners.push(owner);
            }
        }
    }
    let mut bytes = Vec::new();
    let length = |(_, file): &(SegmentId, PathBuf)| file.metadata().map_or(0, |data| data.len());
    let (mut read, all) = (0, files.iter().map(length).sum::<u64>());
    for (id, file) in &files {
        tell((100 * read / all.max(1)).min(100) as u8);
        read_around(file, &mut bytes).map_err(|error| unreadable(file, error))?;
        survey
            .read(*id, &bytes, &mut take)
            .map_err(|UnknownLine { line, .. }| LoadError::Unknown { path: file.clone(), line })?;
        read += bytes.len() as u64;
    }
    if !files.is_empty() {
        tell(100);
    }
    let journal = files.first().map(|(id, _)| (id.journal, survey.past(id.journal)));
    Ok(Loaded { findings: survey.finish(), journal, owners })
}

fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    // A header that cannot be read is damaged, like one that is wrong.
    let read = File::open(path)?.take(2 * BLOCK_BYTES as u64).read_to_end(&mut head);
    Ok(read.map_or(Vec::new(), |_| head))
}

fn check_header<'a>(
    id: SegmentId,
    path: &Path,
    head: &'a [u8],
    whose: Whose<'_>,
) -> Result<Option<Header<'a>>, LoadError> {
    let path = path.to_owned();
    let shown = |name: &[u8]| String::from_utf8_lossy(name).into_owned();
    let is_ours = || Pieces::of(id, head).any(|piece| matches!(piece, Piece::Frame(_)));
    match Header::parse(head) {
        // What was written to a wrong place does not make a file another one's.
        Ok(header) if header.id != id && is_ours() => Ok(None),
        Ok(header) => match whose {
            Whose::Herds(herd) if header.herd != herd => {
                Err(LoadError::OtherHerd { path, herd: shown(header.herd) })
            }
            Whose::Servers(owner) if header.herd != owner.herd => {
                Err(LoadError::OtherHerd { path, herd: shown(header.herd) })
            }
            Whose::Servers(owner) if header.server != owner.server => {
                Err(LoadError::OtherServer { path, server: shown(header.server) })
            }
            _ => Ok(Some(header)),
        },
        // Two bytes that have gone bad do not make it another version, either.
        Err(HeaderError::Version(version)) => {
            if is_ours() {
                Ok(None)
            } else {
                Err(LoadError::Version { path, version })
            }
        }
        Err(HeaderError::Damaged) => Ok(None),
    }
}

/// Reads the bytes of a file, with zeros where the disk cannot read it, into memory that the file
/// before has had. If it has lost its name meanwhile, a server may have written over it.
fn read_around(path: &Path, bytes: &mut Vec<u8>) -> io::Result<()> {
    let mut file = File::open(path)?;
    bytes.clear();
    let Err(error) = file.read_to_end(bytes) else { return path.symlink_metadata().map(|_| ()) };
    bytes.resize(file.metadata()?.len() as usize, 0);
    let mut readable = 0;
    for (at, block) in bytes.chunks_mut(BLOCK_BYTES).enumerate() {
        match file.read_exact_at(block, (at * BLOCK_BYTES) as u64) {
            Ok(()) => readable += 1,
            Err(_) => block.fill(0),
        }
    }
    if readable > 0 { Ok(()) } else { Err(error) }
}
