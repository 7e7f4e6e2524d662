//! What an operator wants to know of a file of places: how many, where, and what was wrong.
//!
//! It only counts. The log gets it in a line, `herd places check` prints it in full.

use std::collections::BTreeMap;
use std::fmt;

use herd_core::whatsat::Position;

/// Lines that are named for each fault; an operator who mends those finds the others.
const LINES_NAMED: usize = 5;

/// Why a row is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    NoName,
    NoLatitude,
    NoLongitude,
    NotUtf8,
    /// A place that would make an answer longer than answers may be.
    TooLong,
    /// A line of CSV that no place can need.
    RowTooLong,
    OpenQuote,
    /// JSON that is none, or that breaks off.
    Broken,
    NotAFeature,
    NotAPoint,
    /// JSON of other kinds.
    Overpass,
    TopoJson,
}

/// What a file holds.
#[derive(Debug, Default)]
pub struct Survey {
    pub places: usize,
    skipped: BTreeMap<Fault, Skipped>,
    corners: Option<[Position; 2]>,
}

#[derive(Debug, Default)]
struct Skipped {
    rows: usize,
    /// The first of them.
    lines: Vec<u64>,
}

impl Survey {
    /// Counts a place.
    pub(super) fn count(&mut self, at: Position) {
        self.places += 1;
        let [low, high] = self.corners.get_or_insert([at, at]);
        low.latitude = low.latitude.min(at.latitude);
        low.longitude = low.longitude.min(at.longitude);
        high.latitude = high.latitude.max(at.latitude);
        high.longitude = high.longitude.max(at.longitude);
    }

    /// Counts a row that is no place.
    pub(super) fn skip(&mut self, line: u64, fault: Fault) {
        let skipped = self.skipped.entry(fault).or_default();
        skipped.rows += 1;
        // All of a file may stand in one line.
        if skipped.lines.len() < LINES_NAMED && skipped.lines.last() != Some(&line) {
            skipped.lines.push(line);
        }
    }

    /// Rows that are no places.
    pub fn skipped(&self) -> usize {
        self.skipped.values().map(|skipped| skipped.rows).sum()
    }

    /// One message for each fault, with the first lines that have it.
    pub fn complaints(&self) -> impl Iterator<Item = String> {
        self.skipped.iter().map(|(fault, Skipped { rows, lines })| {
            let named: Vec<_> = lines.iter().map(u64::to_string).collect();
            let more = if lines.len() == LINES_NAMED && *rows > LINES_NAMED { ", …" } else { "" };
            format!("{rows} × {fault}: line {}{more}", named.join(", "))
        })
    }

    /// South-western and north-eastern corner of the box around all places. It is drawn on the
    /// map, not on the globe: places on both sides of the date line make it go all the way round.
    pub fn corners(&self) -> Option<[Position; 2]> {
        self.corners
    }
}

/// A number of things, in words.
pub fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

impl fmt::Display for Survey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&counted(self.places, "place"))?;
        if self.skipped() > 0 {
            let complaints: Vec<_> = self.complaints().collect();
            let rows = counted(self.skipped(), "row");
            write!(f, ", {rows} skipped ({})", complaints.join("; "))?;
        }
        Ok(())
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Fault::NoName => "no name",
            Fault::NoLatitude => "no latitude between -90 and 90",
            Fault::NoLongitude => "no longitude between -180 and 180",
            Fault::NotUtf8 => "not UTF-8",
            Fault::TooLong => "longer than 4 KiB in an answer",
            Fault::RowTooLong => "a line of more than 1 MiB",
            Fault::OpenQuote => "a quote is not closed",
            Fault::Broken => "broken JSON",
            Fault::NotAFeature => "not a GeoJSON feature",
            Fault::NotAPoint => "not a point",
            Fault::Overpass => "an answer of Overpass, which osmtogeojson makes GeoJSON of",
            Fault::TopoJson => "TopoJSON, which is to be converted to GeoJSON",
        })
    }
}
