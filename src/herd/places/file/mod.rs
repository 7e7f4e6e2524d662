//! The operator's own places, from a file: CSV with a header, or GeoJSON.
//!
//! The file is not ours: every row may be wrong. Bad rows are skipped and reported with their line
//! number and the reason; a file that cannot be read at all is an error. `csv` and `geojson` find
//! the rows of their formats, `unpack` opens a file; what all rows become is here.
//!
//! The places are kept as text, a row a line (`held`):
//!
//! ```text
//! text   osm:25⇥Kappeli⇥60.16⇥24.94⇥restaurant⇥Eteläesplanadi 1, Helsinki⏎osm:31⇥Stockmann⇥…
//! rows   ^0                                                               ^1
//! index  row ⇄ unit vector
//! ```

mod csv;
mod geojson;
mod json;
mod lines;
mod record;
mod survey;
mod unpack;

use std::io::BufRead;
use std::path::Path;
use std::{fmt, io};

use super::held::{self, Held, Rows};
use super::{Place, globe, render};
use crate::config::limits::PLACE_BYTES_MAX;
use herd_core::whatsat::Position;
pub use survey::{Fault, Survey, counted};

/// Bytes that are read of a file, unpacked: five million places. It keeps a mistyped path or a
/// gzip bomb from filling the memory.
const FILE_BYTES_MAX: u64 = 1 << 30;

/// A row of so few bytes fits into an answer, with any content: in its types, two bytes become
/// eighteen at most.
const ROW_BYTES_SURE: usize = PLACE_BYTES_MAX / 16;

/// Some programs write it before UTF-8.
const BYTE_ORDER_MARK: &[u8] = "\u{feff}".as_bytes();

/// The places of a file, ready to be asked.
pub type PlacesFile = Held<FileRows>;

/// The rows of a file, all written alike.
pub struct FileRows(String);

/// Why a file cannot be used at all.
#[derive(Debug)]
pub enum FileError {
    /// It cannot be opened, read or unpacked.
    Read(io::Error),
    /// Its header lacks a column.
    NoColumn { line: u64, column: &'static str },
    /// Its header is wrong itself.
    Header { line: u64, fault: Fault },
    /// It is something else; what, and the way out.
    Foreign(&'static str),
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
    /// The line of the last place that had no id, and how many of that line had none.
    nameless: (u64, u64),
}

impl PlacesFile {
    /// Reads and indexes a file. It takes 0.15 s for a quarter of a million places of CSV and 0.5 s
    /// for as many of GeoJSON, so a server does it on a thread of its own.
    ///
    /// `attribution` is HTML: the origin of the places, as readers of the answers must see it.
    ///
    /// # Errors
    /// See `FileError`. No usable place is none: the survey says so.
    pub fn load(path: &Path, attribution: Option<&str>) -> Result<(PlacesFile, Survey), FileError> {
        PlacesFile::read(unpack::open(path)?, attribution)
    }

    fn read(
        packed: impl BufRead,
        attribution: Option<&str>,
    ) -> Result<(PlacesFile, Survey), FileError> {
        let gathered = gather(unpack::unpack(packed)?)?;
        let Gathered { mut text, mut rows, vectors, survey, .. } = gathered;
        text.shrink_to_fit();
        rows.shrink_to_fit();
        let held = Held::new(FileRows(text), rows, &vectors, attribution);
        Ok((held.ok_or(FileError::TooMany)?, survey))
    }
}

impl Rows for FileRows {
    fn place(&self, offset: u32) -> Place<'_> {
        place(&self.0, offset)
    }
}

fn gather(unpacked: impl BufRead) -> Result<Gathered, FileError> {
    let mut unpacked = unpacked.take(FILE_BYTES_MAX);
    let mut gathered = Gathered::default();
    unpack::check_kind(unpacked.fill_buf().map_err(FileError::Read)?)?;
    let (first, lines) = skip_blank(&mut unpacked)?;
    match first {
        None => return Err(FileError::Foreign("it is empty")),
        Some(b'{' | b'[' | geojson::RECORD_SEPARATOR) => {
            geojson::gather(&mut unpacked, lines + 1, &mut gathered)?;
        }
        _ => csv::gather(&mut unpacked, lines, &mut gathered)?,
    }
    if unpacked.limit() == 0 { Err(FileError::TooMany) } else { Ok(gathered) }
}

/// Skips white space and byte order marks. Gives the byte behind them, and how many lines they
/// were.
fn skip_blank(text: &mut impl BufRead) -> Result<(Option<u8>, u64), FileError> {
    let mut lines = 0;
    loop {
        let bytes = text.fill_buf().map_err(FileError::Read)?;
        let length = match bytes {
            [] => return Ok((None, lines)),
            [b' ' | b'\t' | b'\r' | b'\n', ..] => 1,
            bytes if bytes.starts_with(BYTE_ORDER_MARK) => BYTE_ORDER_MARK.len(),
            [other, ..] => return Ok((Some(*other), lines)),
        };
        lines += u64::from(bytes[0] == b'\n');
        text.consume(length);
    }
}

impl Gathered {
    /// Takes a place, or notes what is wrong with it. `line` is where it begins.
    fn put(&mut self, line: u64, row: &Row<'_>) -> Result<(), FileError> {
        let is_nameless = row.name.chars().all(|c| c.is_whitespace() || c.is_control());
        let position = match position(row) {
            _ if is_nameless => Err(Fault::NoName),
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
        self.write(line, row);
        if self.text.len() - begin as usize > ROW_BYTES_SURE
            && render::place_bytes(&place(&self.text, begin)) > PLACE_BYTES_MAX
        {
            self.text.truncate(begin as usize);
            self.survey.skip(line, Fault::TooLong);
            return Ok(());
        }
        self.rows.push(begin);
        self.vectors.push(globe::unit_vector(position));
        self.survey.count(position);
        Ok(())
    }

    fn write(&mut self, line: u64, row: &Row<'_>) {
        let id = row.id.trim();
        if id.is_empty() {
            let (last, count) = self.nameless;
            self.nameless = (line, if line == last { count + 1 } else { 1 });
            self.text.push_str("line:");
            self.text.push_str(itoa::Buffer::new().format(line));
            // All of a file may stand in one line.
            if self.nameless.1 > 1 {
                self.text.push('.');
                self.text.push_str(itoa::Buffer::new().format(self.nameless.1));
            }
        }
        let fields = [id, row.name, row.latitude, row.longitude, row.types, row.vicinity];
        for (field, end) in fields.into_iter().zip(['\t', '\t', '\t', '\t', '\t', '\n']) {
            self.push(field.trim());
            self.text.push(end);
        }
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

/// The place whose row begins at `offset`.
fn place(text: &str, offset: u32) -> Place<'_> {
    let mut fields = held::line(text, offset).split('\t');
    let mut next = || fields.next().expect("`Gathered::write` writes every field");
    let (id, name) = (next(), next());
    let mut degrees = || next().parse().expect("`Gathered::put` parsed it before");
    let position = Position { latitude: degrees(), longitude: degrees() };
    Place { authority: "", id, name, position, types: next(), vicinity: next() }
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
                "its header (line {line}) names no column `{column}`: it must be CSV with a header \
                 like `name,lat,lon`, or GeoJSON"
            ),
            FileError::Header { line, fault } => {
                write!(f, "its header (line {line}) cannot be read: {fault}")
            }
            FileError::Foreign(what) => f.write_str(what),
            FileError::TooMany => f.write_str("it is larger than this server can use"),
        }
    }
}

impl std::error::Error for FileError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            FileError::Read(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests;
