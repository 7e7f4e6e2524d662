//! The operator's own places, from a file: CSV with a header, or GeoJSON a feature a line.
//!
//! It is apart from the atlas because the file is a stranger's work: every row may be wrong, and
//! the operator is told which ones are, and why. A wrong row is skipped; what cannot be read at all
//! is an error. How a row is found is a matter of the format (`csv`, `geojson`); what all rows
//! become is here.
//!
//! The places are kept as text, a row a line, in the atlas's way:
//!
//! ```text
//! text   osm:25⇥Kappeli⇥60.16⇥24.94⇥restaurant⇥Eteläesplanadi 1, Helsinki⏎osm:31⇥Stockmann⇥…
//! rows   ^0                                                               ^1
//! index  row ⇄ unit vector
//! ```

mod csv;
mod geojson;
mod lines;
mod record;
mod survey;

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::num::NonZeroUsize;
use std::path::Path;
use std::{fmt, io};

use flate2::bufread::MultiGzDecoder;

use super::globe;
use super::index::Index;
use super::render;
use super::{Place, Source, Told};
use crate::core::whatsat::{Position, Question};
pub use survey::{Fault, Survey};

/// Bytes that are read of a file, unpacked: five million places. It keeps a mistyped path or a
/// gzip bomb from filling the memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// Bytes read at a time.
const BLOCK_BYTES: usize = 64 * 1024;

/// The first bytes of whatever gzip has packed (RFC 1952, section 2.3.1).
const GZIP: &[u8] = &[0x1f, 0x8b];

/// Some programs write it before UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The places of a file, ready to be asked.
pub struct PlacesFile {
    text: String,
    /// Where in `text` the row of each place begins.
    rows: Vec<u32>,
    /// Its rows are indices of `rows`.
    index: Index,
    attributions: Vec<String>,
}

/// Why a file cannot be used at all.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be opened, read or unpacked.
    Read(io::Error),
    /// Its header lacks a column.
    NoColumn { line: u64, column: &'static str },
    /// A row is too long to be a place; where it has become so.
    RowTooLong { line: u64, bytes_max: usize },
    /// There are more places, or longer ones, than can be counted.
    TooMany,
}

/// One place as the formats find it. What they do not find is empty.
#[derive(Default)]
struct Row<'a> {
    id: &'a str,
    name: &'a str,
    latitude: &'a str,
    longitude: &'a str,
    /// With semicolons between them.
    types: &'a str,
    vicinity: &'a str,
}

/// Places on their way into a `PlacesFile`.
#[derive(Default)]
struct Gathered {
    text: String,
    rows: Vec<u32>,
    vectors: Vec<[f64; 3]>,
    survey: Survey,
}

impl PlacesFile {
    /// Reads and indexes a file. It takes about 100 ms for a quarter of a million places, so
    /// a server does it on a thread of its own.
    ///
    /// `attribution` is HTML: whom a reader of the answers must be shown as the places' origin.
    ///
    /// # Errors
    /// See `FileError`. No usable place is none: the survey says so.
    pub fn load(path: &Path, attribution: Option<&str>) -> Result<(PlacesFile, Survey), FileError> {
        let file = File::open(path).map_err(FileError::Read)?;
        PlacesFile::read(BufReader::with_capacity(BLOCK_BYTES, file), attribution)
    }

    /// How many places there are.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// At most `bound` places within `radius_km` of `at`, nearest first. Of those that are equally
    /// far, the earlier in the file comes first.
    pub fn nearest(&self, at: Position, radius_km: f64, bound: NonZeroUsize) -> Vec<Place<'_>> {
        let rows = self.index.nearest(at, radius_km, bound);
        rows.into_iter().map(|row| self.place(self.rows[row as usize])).collect()
    }

    fn read(
        mut packed: impl BufRead,
        attribution: Option<&str>,
    ) -> Result<(PlacesFile, Survey), FileError> {
        // Told by content: a name says little, and `ogr2ogr /vsigzip/…` gives none.
        let is_packed = packed.fill_buf().map_err(FileError::Read)?.starts_with(GZIP);
        let gathered = if is_packed {
            gather(BufReader::with_capacity(BLOCK_BYTES, MultiGzDecoder::new(packed)))?
        } else {
            gather(packed)?
        };
        let Gathered { mut text, mut rows, vectors, survey } = gathered;
        text.shrink_to_fit();
        rows.shrink_to_fit();
        let index = Index::new(&vectors).ok_or(FileError::TooMany)?;
        let attributions = attribution.map(str::to_owned).into_iter().collect();
        Ok((PlacesFile { text, rows, index, attributions }, survey))
    }

    /// The place whose row begins at `offset`.
    fn place(&self, offset: u32) -> Place<'_> {
        let rest = &self.text[offset as usize..];
        let row = &rest[..memchr::memchr(b'\n', rest.as_bytes()).unwrap_or(rest.len())];
        let mut fields = row.split('\t');
        let mut next = || fields.next().expect("`Gathered::put` writes every field");
        let (id, name) = (next(), next());
        let mut degrees = || next().parse().expect("`Gathered::put` parsed it before");
        let position = Position { latitude: degrees(), longitude: degrees() };
        Place { authority: "", id, name, position, types: next(), vicinity: next() }
    }
}

impl Source for PlacesFile {
    fn answer(&self, question: &Question, out: &mut Vec<u8>) -> Told {
        let bound = NonZeroUsize::new(question.bound.into()).unwrap_or(NonZeroUsize::MIN);
        let near = self.nearest(question.at, question.radius_km, bound);
        let attributions: Vec<_> = self.attributions.iter().map(String::as_str).collect();
        render::found(&attributions, &near, question.bound, out);
        Told::Answer
    }
}

fn gather(unpacked: impl BufRead) -> Result<Gathered, FileError> {
    let mut unpacked = unpacked.take(FILE_BYTES_MAX);
    let mut gathered = Gathered::default();
    if unpacked.fill_buf().map_err(FileError::Read)?.starts_with(BYTE_ORDER_MARK) {
        unpacked.consume(BYTE_ORDER_MARK.len());
    }
    match unpacked.fill_buf().map_err(FileError::Read)?.first() {
        Some(b'{' | &geojson::RECORD_SEPARATOR) => geojson::gather(&mut unpacked, &mut gathered)?,
        _ => csv::gather(&mut unpacked, &mut gathered)?,
    }
    if unpacked.limit() == 0 { Err(FileError::TooMany) } else { Ok(gathered) }
}

impl Gathered {
    /// Takes a place, or notes what is wrong with it. `line` is where it begins.
    fn put(&mut self, line: u64, row: &Row<'_>) -> Result<(), FileError> {
        let position = match position(row) {
            _ if row.name.trim().is_empty() => Err(Fault::NoName),
            found => found,
        };
        let position = match position {
            Ok(position) => position,
            Err(fault) => {
                self.survey.skip(line, fault);
                return Ok(());
            }
        };
        let begin = u32::try_from(self.text.len()).map_err(|_| FileError::TooMany)?;
        self.rows.push(begin);
        self.vectors.push(globe::unit_vector(position));
        self.survey.count(position);
        if row.id.is_empty() {
            self.text.push_str("line:");
            self.text.push_str(itoa::Buffer::new().format(line));
        }
        let fields = [row.id, row.name, row.latitude, row.longitude, row.types, row.vicinity];
        for (field, end) in fields.into_iter().zip(['\t', '\t', '\t', '\t', '\t', '\n']) {
            self.push(field.trim());
            self.text.push(end);
        }
        Ok(())
    }

    /// A tab or a newline within a field would end it.
    fn push(&mut self, field: &str) {
        if field.bytes().any(|byte| byte.is_ascii_control()) {
            self.text.extend(field.chars().map(|c| if c.is_control() { ' ' } else { c }));
        } else {
            self.text.push_str(field);
        }
    }
}

fn position(row: &Row<'_>) -> Result<Position, Fault> {
    let degrees = |text: &str, bound: f64| {
        let number: Option<f64> = text.trim().parse().ok();
        number.filter(|degrees| (-bound..=bound).contains(degrees))
    };
    let latitude = degrees(row.latitude, 90.0).ok_or(Fault::NoLatitude)?;
    let longitude = degrees(row.longitude, 180.0).ok_or(Fault::NoLongitude)?;
    Ok(Position { latitude, longitude })
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FileError::Read(error) => write!(f, "it cannot be read: {error}"),
            FileError::NoColumn { line, column } => write!(
                f,
                "its header (line {line}) names no column `{column}`: it must be CSV with commas \
                 and a header, or GeoJSON with a feature a line"
            ),
            FileError::RowTooLong { line, bytes_max } => write!(
                f,
                "at line {line} a row has more than {bytes_max} bytes: a quote is not closed, or \
                 all of GeoJSON is in one line (`ogr2ogr -f GeoJSONSeq` writes a feature a line)"
            ),
            FileError::TooMany => f.write_str("it is larger than this server can use"),
        }
    }
}

impl std::error::Error for FileError {}

#[cfg(test)]
mod tests;
