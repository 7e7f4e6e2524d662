//! CSV with a header, as a spreadsheet or ogr2ogr writes it (`-f CSV -lco GEOMETRY=AS_XY`).
//!
//! It knows columns: `id,name,lat,lon,type,vicinity` are an operator's own; `X,Y,osm_id,other_tags`
//! and columns named like tags come from OpenStreetMap.

use std::borrow::Cow;
use std::io::BufRead;
use std::str::Utf8Error;

use super::lines::Lines;
use super::record::Record;
use super::{Fault, FileError, Gathered, Row};
use crate::places::osm;

/// Column separators, the likeliest first.
const SEPARATORS: [u8; 4] = *b",;\t|";

/// How databases and data frames spell that there is nothing. A place of such a name would be
/// spelled otherwise: in other letters, or larger and smaller ones.
const NOTHING: [&str; 4] = ["\\N", "NULL", "nan", "NaN"];

/// Where the columns are. A file may have more of them, in any order.
struct Columns {
    id: Option<usize>,
    osm_id: Option<usize>,
    name: usize,
    latitude: usize,
    longitude: usize,
    types: Option<usize>,
    vicinity: Option<usize>,
    other_tags: Option<usize>,
    /// All of them, in lower case: any may be a tag.
    names: Vec<String>,
    /// Where commas do not part columns, one may stand in a number.
    has_decimal_commas: bool,
}

/// Texts that are made for one row after the other.
#[derive(Default)]
struct Scratch {
    id: String,
    latitude: String,
    longitude: String,
    types: String,
    vicinity: String,
}

/// Reads a text before which there were `lines_before` lines.
pub fn gather(
    mut text: impl BufRead,
    lines_before: u64,
    gathered: &mut Gathered,
) -> Result<(), FileError> {
    let first = text.fill_buf().map_err(FileError::Read)?;
    // Programs of the old Macintosh end lines like this, and some spreadsheets still can.
    let is_old = !first.contains(&b'\n') && first.contains(&b'\r');
    let mut lines = Lines::new(text, lines_before, if is_old { b'\r' } else { b'\n' });
    let mut record = Record::new(SEPARATORS[0]);
    let columns = header(&mut record, &mut lines)?;
    let mut scratch = Scratch::default();
    while let Some((line, state)) = record.read(&mut lines)? {
        match state.and_then(|()| {
            columns.row(&record, &mut scratch).map_err(|_: Utf8Error| Fault::NotUtf8)
        }) {
            Ok(row) => gathered.put(line, &row)?,
            Err(fault) => gathered.survey.skip(line, fault),
        }
    }
    Ok(())
}

/// Reads the header, and with it finds out what stands between columns.
fn header(record: &mut Record, lines: &mut Lines<impl BufRead>) -> Result<Columns, FileError> {
    let mut begun = record.read(lines)?;
    // Spreadsheets say so before the header.
    if let [b's' | b'S', b'e' | b'E', b'p' | b'P', b'=', separator] = *record.raw() {
        record.separator = separator;
        begun = record.read(lines)?;
    }
    let (line, state) =
        begun.ok_or(FileError::NoColumn { line: lines.number.max(1), column: "name" })?;
    if let Err(fault) = state {
        return Err(FileError::Header { line, fault });
    }
    let found = Columns::of(line, record);
    if found.is_err() {
        for separator in SEPARATORS {
            record.separator = separator;
            if let (line, Ok(())) = record.split(lines)?
                && let Ok(columns) = Columns::of(line, record)
            {
                return Ok(columns);
            }
        }
    }
    found
}

impl Columns {
    fn of(line: u64, header: &Record) -> Result<Columns, FileError> {
        let lower = |name: &[u8]| String::from_utf8_lossy(name).trim().to_ascii_lowercase();
        let names: Vec<String> = header.fields().map(lower).collect();
        let any = |wanted: &[&str]| {
            wanted.iter().find_map(|wanted| names.iter().position(|name| name == wanted))
        };
        let need = |column: &'static str, wanted: &[&str]| {
            any(wanted).ok_or(FileError::NoColumn { line, column })
        };
        Ok(Columns {
            id: any(&["id"]),
            osm_id: any(&["osm_id"]),
            name: need("name", &["name"])?,
            latitude: need("lat", &["lat", "latitude", "y"])?,
            longitude: need("lon", &["lon", "lng", "long", "longitude", "x"])?,
            types: any(&["type"]),
            vicinity: any(&["vicinity"]),
            other_tags: any(&["other_tags"]),
            names,
            has_decimal_commas: header.separator != b',',
        })
    }

    fn row<'r>(&self, record: &'r Record, scratch: &'r mut Scratch) -> Result<Row<'r>, Utf8Error> {
        let cell = |column: Option<usize>| {
            let text = column.map_or(&[][..], |column| record.field(column));
            str::from_utf8(text).map(said)
        };
        let Scratch { id, latitude, longitude, types, vicinity } = scratch;
        let mut row = Row {
            id: cell(self.id)?,
            name: cell(Some(self.name))?,
            latitude: self.degrees(cell(Some(self.latitude))?, latitude),
            longitude: self.degrees(cell(Some(self.longitude))?, longitude),
            types: cell(self.types)?,
            vicinity: cell(self.vicinity)?,
        };
        let osm_id = cell(self.osm_id)?;
        if row.id.is_empty() && !osm_id.is_empty() {
            id.clear();
            id.push_str("osm:");
            id.push_str(osm_id);
            row.id = id;
        }
        if row.types.is_empty() || row.vicinity.is_empty() {
            let other: Vec<(Cow<'_, str>, Cow<'_, str>)> =
                osm::split_hstore(cell(self.other_tags)?).collect();
            let tag = |key: &str| self.tag(key, record, &other);
            types.clear();
            vicinity.clear();
            osm::write_types(tag, types);
            osm::write_vicinity(tag, vicinity);
            row.types = if row.types.is_empty() { types } else { row.types };
            row.vicinity = if row.vicinity.is_empty() { vicinity } else { row.vicinity };
        }
        Ok(row)
    }

    fn degrees<'r>(&self, cell: &'r str, scratch: &'r mut String) -> &'r str {
        if !self.has_decimal_commas || !cell.contains(',') {
            return cell;
        }
        scratch.clear();
        scratch.extend(cell.chars().map(|c| if c == ',' { '.' } else { c }));
        scratch
    }

    /// A tag is a column or among those that have none.
    fn tag<'t>(
        &self,
        key: &str,
        record: &'t Record,
        other: &'t [(Cow<'_, str>, Cow<'_, str>)],
    ) -> Option<&'t str> {
        let column = self.names.iter().position(|name| name == key);
        let cell = column.and_then(|column| str::from_utf8(record.field(column)).ok());
        let cell = cell.map(said);
        let others = || other.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref());
        cell.filter(|cell| !cell.is_empty()).or_else(others)
    }
}

/// What a cell says; nothing if it spells that there is nothing. A byte order mark comes between
/// two files that `cat` has joined.
fn said(cell: &str) -> &str {
    let cell = cell.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    if NOTHING.contains(&cell) { "" } else { cell }
}
