//! CSV with a header, as a spreadsheet or ogr2ogr writes it (`-f CSV -lco GEOMETRY=AS_XY`).
//!
//! It is apart because it knows columns: `id,name,lat,lon,type,vicinity` are an operator's own;
//! `X,Y,osm_id,other_tags` and columns named like tags come from OpenStreetMap.

use std::borrow::Cow;
use std::io::BufRead;
use std::str::Utf8Error;

use super::lines::Lines;
use super::record::Record;
use super::{Fault, FileError, Gathered, Row};
use crate::places::osm;

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
}

/// Texts that are made for one row after the other.
#[derive(Default)]
struct Scratch {
    id: String,
    types: String,
    vicinity: String,
}

pub fn gather(text: impl BufRead, gathered: &mut Gathered) -> Result<(), FileError> {
    let mut lines = Lines::new(text);
    let mut record = Record::default();
    let mut scratch = Scratch::default();
    let columns = match record.read(&mut lines)? {
        Some(line) => Columns::of(line, &record)?,
        None => return Err(FileError::NoColumn { line: 1, column: "name" }),
    };
    while let Some(line) = record.read(&mut lines)? {
        match columns.row(&record, &mut scratch) {
            Ok(row) => gathered.put(line, &row)?,
            Err(_) => gathered.survey.skip(line, Fault::NotUtf8),
        }
    }
    Ok(())
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
            longitude: need("lon", &["lon", "lng", "longitude", "x"])?,
            types: any(&["type"]),
            vicinity: any(&["vicinity"]),
            other_tags: any(&["other_tags"]),
            names,
        })
    }

    fn row<'r>(&self, record: &'r Record, scratch: &'r mut Scratch) -> Result<Row<'r>, Utf8Error> {
        let cell = |column: Option<usize>| {
            str::from_utf8(column.map_or(&[], |column| record.field(column)))
        };
        let mut row = Row {
            id: cell(self.id)?,
            name: cell(Some(self.name))?,
            latitude: cell(Some(self.latitude))?,
            longitude: cell(Some(self.longitude))?,
            types: cell(self.types)?,
            vicinity: cell(self.vicinity)?,
        };
        let Scratch { id, types, vicinity } = scratch;
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

    /// A tag is a column or among those that have none.
    fn tag<'t>(
        &self,
        key: &str,
        record: &'t Record,
        other: &'t [(Cow<'_, str>, Cow<'_, str>)],
    ) -> Option<&'t str> {
        let column = self.names.iter().position(|name| name == key);
        let cell = column.and_then(|column| str::from_utf8(record.field(column)).ok());
        let others = || other.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref());
        cell.filter(|cell| !cell.is_empty()).or_else(others)
    }
}
