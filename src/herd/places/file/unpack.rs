//! Opens a file of places: what lies at its path, how it is packed, and what it surely is not.
//!
//! It reads no places: it hands on the bytes of a regular file, unpacked. It names the kinds of
//! files that are often mistaken for places, and how most of them can be converted.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

use flate2::bufread::GzDecoder;

use super::FileError;

/// Bytes read at a time.
pub const BLOCK_BYTES: usize = 64 * 1024;

/// The first bytes of everything that gzip has packed (RFC 1952, section 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];

/// The first bytes of other common kinds of files, and the message for each.
const FOREIGN: &[(&[u8], &str)] = &[
    (b"\xff\xfe", UTF_16),
    (b"\xfe\xff", UTF_16),
    (b"\0\0\xfe\xff", UTF_16),
    (b"PK\x03\x04", "it is a zip archive (or a spreadsheet): unpack it, or save it as CSV"),
    (b"BZh", "it is packed with bzip2: unpack it, or pack it with gzip"),
    (b"\xfd7zXZ", "it is packed with xz: unpack it, or pack it with gzip"),
    (b"\x28\xb5\x2f\xfd", "it is packed with zstd: unpack it, or pack it with gzip"),
    (GZIP, "it is packed with gzip twice: unpack it once"),
    (b"SQLite format 3", "it is a GeoPackage or another SQLite file: convert it with ogr2ogr"),
    (b"\0\0\x27\x0a", "it is a shapefile: convert it with ogr2ogr"),
    (b"<", "it is XML or HTML (KML, GPX and .osm are): convert it with ogr2ogr"),
    (b"%PDF", "it is a PDF"),
];

const UTF_16: &str =
    "it is UTF-16: save it as UTF-8, or convert it with `iconv -f UTF-16 -t UTF-8`";

/// Opens the regular file at `path`. Anything else that lies there could keep its reader waiting
/// for ever, or never end.
pub fn open(path: &Path) -> Result<impl BufRead, FileError> {
    check_is_file(&fs::metadata(path).map_err(FileError::Read)?)?;
    let file = File::open(path).map_err(FileError::Read)?;
    // The file that was checked and the one that was opened may differ.
    check_is_file(&file.metadata().map_err(FileError::Read)?)?;
    Ok(BufReader::with_capacity(BLOCK_BYTES, file))
}

fn check_is_file(about: &fs::Metadata) -> Result<(), FileError> {
    match about.file_type() {
        kind if kind.is_file() => Ok(()),
        kind if kind.is_dir() => Err(FileError::Foreign("it is a directory: name the file in it")),
        _ => Err(FileError::Foreign("it is no regular file but a pipe, a socket or a device")),
    }
}

/// The bytes of a file, unpacked if they are packed. The content decides: a name says little, and
/// `ogr2ogr /vsigzip/…` gives none.
pub fn unpack<'r>(mut packed: impl BufRead + 'r) -> Result<Box<dyn BufRead + 'r>, FileError> {
    if !packed.fill_buf().map_err(FileError::Read)?.starts_with(GZIP) {
        return Ok(Box::new(packed));
    }
    let unpacked = Unpacked { member: Some(GzDecoder::new(packed)) };
    Ok(Box::new(BufReader::with_capacity(BLOCK_BYTES, unpacked)))
}

/// Demands that the first bytes are not of a known other kind.
pub fn check_kind(first: &[u8]) -> Result<(), FileError> {
    let known = FOREIGN.iter().find(|(begin, _)| first.starts_with(begin));
    match known {
        Some((_, what)) => Err(FileError::Foreign(what)),
        // Without a mark, UTF-16 has a NUL beside every letter.
        None if matches!(first, [a, b, ..] if (*a == 0) != (*b == 0)) => {
            Err(FileError::Foreign(UTF_16))
        }
        None if first.get(257..262) == Some(b"ustar") => {
            Err(FileError::Foreign("it is a tar archive: unpack it"))
        }
        None => Ok(()),
    }
}

/// What gzip has packed, as often as it has: files that were packed one after the other are one,
/// and zeros may follow the last (`gzip` itself skips them; tapes and block devices leave them).
struct Unpacked<R> {
    /// `None` once all is read.
    member: Option<GzDecoder<R>>,
}

impl<R: BufRead> Read for Unpacked<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while let Some(member) = &mut self.member {
            let length = member.read(out).map_err(explained)?;
            if length > 0 || out.is_empty() {
                return Ok(length);
            }
            let Some(mut packed) = self.member.take().map(GzDecoder::into_inner) else { break };
            let next = skip_zeros(&mut packed)?;
            match next {
                None => {}
                Some(byte) if byte == GZIP[0] => self.member = Some(GzDecoder::new(packed)),
                Some(_) => {
                    let what = "what follows its packed data is not gzip: pack it anew";
                    return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                }
            }
        }
        Ok(0)
    }
}

/// Gives the first byte that is none.
fn skip_zeros(packed: &mut impl BufRead) -> io::Result<Option<u8>> {
    loop {
        let bytes = packed.fill_buf()?;
        let length = bytes.len();
        let zeros = bytes.iter().take_while(|byte| **byte == 0).count();
        let next = bytes.get(zeros).copied();
        packed.consume(zeros);
        if next.is_some() || length == 0 {
            return Ok(next);
        }
    }
}

/// An error of unpacking, in words that say what to do.
fn explained(error: io::Error) -> io::Error {
    let what = match error.kind() {
        io::ErrorKind::UnexpectedEof => "its packed data end too early: fetch it again",
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => {
            "its packed data are damaged: fetch it again"
        }
        _ => return error,
    };
    io::Error::new(error.kind(), what)
}
