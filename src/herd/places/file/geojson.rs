//! GeoJSON in any layout: a feature a line (`ogr2ogr -f GeoJSONSeq`), texts with a record
//! separator before each (RFC 8142), collections of features (`ogr2ogr -f GeoJSON`), or several of
//! them one behind the other.
//!
//! It knows features: a point, and properties named like the columns of `csv`. Features are taken
//! as they come, so a collection needs no more memory than its longest feature.

use std::io::BufRead;

use super::json::{Halt, Json};
use super::{Fault, FileError, Gathered, Row};
use crate::places::osm;

/// What RFC 8142, section 2 puts before every text.
pub const RECORD_SEPARATOR: u8 = 0x1e;

/// The properties that are read, in lower case; all others are skipped.
const READ: [&str; 17] = [
    "id",
    "osm_id",
    "name",
    "type",
    "vicinity",
    "other_tags",
    "addr:street",
    "addr:place",
    "addr:housenumber",
    "addr:city",
    "amenity",
    "shop",
    "tourism",
    "leisure",
    "office",
    "craft",
    "historic",
];

/// Reads a text whose first byte is on `line`.
pub fn gather(text: impl BufRead, line: u64, gathered: &mut Gathered) -> Result<(), FileError> {
    let mut json = Json::new(text, line);
    let mut reader = Reader { gathered, begun: (line, 0), is_within: false, is_lost: false };
    loop {
        match reader.next(&mut json) {
            Ok(true) => {}
            Ok(false) => return Ok(()),
            Err(Halt::File(error)) => return Err(error),
            Err(Halt::Broken) => reader.resume(&mut json)?,
        }
    }
}

struct Reader<'g> {
    gathered: &'g mut Gathered,
    /// Line and indent of the feature that is read.
    begun: (u64, usize),
    /// A collection is open.
    is_within: bool,
    /// A collection has broken off: its end is still to come, and closes nothing.
    is_lost: bool,
}

impl Reader<'_> {
    /// Reads what comes next between the texts of a file. Says whether there was anything.
    fn next<R: BufRead>(&mut self, json: &mut Json<R>) -> Result<bool, Halt> {
        let Some(byte) = json.next()? else { return Ok(false) };
        self.begin(json);
        self.is_within = byte == b'[';
        match byte {
            // Lines of a collection that was taken apart end with commas.
            RECORD_SEPARATOR | b',' => json.take(),
            b'{' => self.text(json)?,
            _ if self.is_lost => {
                json.take();
                self.find(json)?;
            }
            b'[' => json.elements(|json| self.element(json))?,
            _ => {
                json.skip()?;
                self.gathered.survey.skip(self.begun.0, Fault::NotAFeature);
            }
        }
        Ok(true)
    }

    /// Notes that the feature which is read is broken, and finds the next one: the next line that
    /// begins as this one did.
    fn resume<R: BufRead>(&mut self, json: &mut Json<R>) -> Result<(), FileError> {
        self.is_lost |= self.is_within;
        self.gathered.survey.skip(self.begun.0, Fault::Broken);
        match self.find(json) {
            Err(Halt::File(error)) => Err(error),
            _ => Ok(()),
        }
    }

    fn find<R: BufRead>(&mut self, json: &mut Json<R>) -> Result<(), Halt> {
        json.skip_lines(&[b'{', RECORD_SEPARATOR], self.begun.1)
    }

    fn begin<R: BufRead>(&mut self, json: &Json<R>) {
        self.begun = (json.line, json.indent.unwrap_or(0));
    }

    /// A feature of a collection.
    fn element<R: BufRead>(&mut self, json: &mut Json<R>) -> Result<(), Halt> {
        json.need()?;
        self.begin(json);
        let mut feature = Feature::default();
        if json.need()? == b'{' {
            json.members(|json, name| feature.member(json, name))?;
        } else {
            json.skip()?;
        }
        self.put(&feature)
    }

    /// A feature, or a collection of them.
    fn text<R: BufRead>(&mut self, json: &mut Json<R>) -> Result<(), Halt> {
        let mut feature = Feature::default();
        json.members(|json, name| {
            if name == b"features" && json.need()? == b'[' {
                self.is_within = true;
                return json.elements(|json| self.element(json));
            }
            feature.member(json, name)
        })?;
        if self.is_within { Ok(()) } else { self.put(&feature) }
    }

    fn put(&mut self, feature: &Feature) -> Result<(), Halt> {
        let (line, _) = self.begun;
        match feature.found() {
            Ok(found) => self.gathered.put(line, &found.row()).map_err(Halt::File),
            Err(fault) => {
                self.gathered.survey.skip(line, fault);
                Ok(())
            }
        }
    }
}

/// What is read of a feature, as it is spelled.
#[derive(Default)]
struct Feature {
    kind: Vec<u8>,
    id: Vec<u8>,
    geometry: Geometry,
    /// The properties of `READ`.
    properties: [Vec<u8>; READ.len()],
    /// It has what only an answer of Overpass has.
    is_overpass: bool,
}

#[derive(Default)]
struct Geometry {
    kind: Vec<u8>,
    longitude: Vec<u8>,
    latitude: Vec<u8>,
    /// How many positions there are, and in how many arrays each of them lies.
    positions: usize,
    depth: usize,
}

impl Feature {
    fn member<R: BufRead>(&mut self, json: &mut Json<R>, name: &[u8]) -> Result<(), Halt> {
        let is_object = json.need()? == b'{';
        match name {
            b"type" => json.scalar(&mut self.kind),
            b"id" => json.scalar(&mut self.id),
            b"geometry" if is_object => json.members(|json, name| self.geometry.member(json, name)),
            b"properties" if is_object => json.members(|json, name| self.property(json, name)),
            b"elements" => {
                self.is_overpass = true;
                json.skip()
            }
            _ => json.skip(),
        }
    }

    fn property<R: BufRead>(&mut self, json: &mut Json<R>, name: &[u8]) -> Result<(), Halt> {
        let place = READ.iter().position(|read| read.as_bytes().eq_ignore_ascii_case(name));
        match place {
            // Of two that differ only in their case, the first that says something counts.
            Some(place) if self.properties[place].is_empty() => {
                json.scalar(&mut self.properties[place])
            }
            _ => json.skip(),
        }
    }

    fn found(&self) -> Result<Found, Fault> {
        match &*self.kind {
            b"Feature" => {}
            b"Topology" => return Err(Fault::TopoJson),
            _ if self.is_overpass => return Err(Fault::Overpass),
            _ => return Err(Fault::NotAFeature),
        }
        let Geometry { kind, longitude, latitude, positions, depth } = &self.geometry;
        match (&**kind, depth, positions) {
            (b"Point", 1, 1) | (b"MultiPoint", 2, 1) => {}
            _ => return Err(Fault::NotAPoint),
        }
        let spelled = |bytes| str::from_utf8(bytes).map_err(|_| Fault::NotUtf8);
        let mut texts = [""; READ.len()];
        for (text, bytes) in texts.iter_mut().zip(&self.properties) {
            *text = spelled(bytes)?;
        }
        let property = |key: &str| {
            let text = READ.iter().position(|read| *read == key).map(|place| texts[place]);
            text.filter(|text| !text.is_empty())
        };
        let other: Vec<_> = osm::split_hstore(property("other_tags").unwrap_or_default()).collect();
        let tag = |key: &str| {
            let others = || other.iter().find(|(name, _)| name == key).map(|(_, it)| it.as_ref());
            property(key).or_else(others)
        };
        let text = |key: &str| property(key).unwrap_or_default().to_owned();
        let osm_id = || property("osm_id").map(|id| format!("osm:{id}"));
        let own_id = property("id").map(str::to_owned).or_else(osm_id);
        let mut found = Found {
            id: own_id.map_or_else(|| spelled(&self.id).map(str::to_owned), Ok)?,
            name: text("name"),
            latitude: spelled(latitude)?.to_owned(),
            longitude: spelled(longitude)?.to_owned(),
            types: text("type"),
            vicinity: text("vicinity"),
        };
        if found.types.is_empty() {
            osm::write_types(tag, &mut found.types);
        }
        if found.vicinity.is_empty() {
            osm::write_vicinity(tag, &mut found.vicinity);
        }
        Ok(found)
    }
}

impl Geometry {
    fn member<R: BufRead>(&mut self, json: &mut Json<R>, name: &[u8]) -> Result<(), Halt> {
        match name {
            b"type" => json.scalar(&mut self.kind),
            b"coordinates" if json.need()? == b'[' => self.coordinates(json, 1),
            _ => json.skip(),
        }
    }

    /// Keeps the first position. What is deeper than the positions of a point can lie is skipped.
    fn coordinates<R: BufRead>(&mut self, json: &mut Json<R>, depth: usize) -> Result<(), Halt> {
        let mut numbers = 0;
        json.elements(|json| {
            if json.need()? == b'[' {
                if depth == 1 && self.positions == 0 {
                    return self.coordinates(json, 2);
                }
                self.positions += 1;
                return json.skip();
            }
            numbers += 1;
            match numbers {
                1 => json.scalar(&mut self.longitude),
                2 => json.scalar(&mut self.latitude),
                // A height may follow.
                _ => json.skip(),
            }
        })?;
        if numbers >= 2 {
            self.positions += 1;
            self.depth = depth;
        }
        Ok(())
    }
}

/// The texts of a row.
#[derive(Default)]
struct Found {
    id: String,
    name: String,
    latitude: String,
    longitude: String,
    types: String,
    vicinity: String,
}

impl Found {
    fn row(&self) -> Row<'_> {
        Row {
            id: &self.id,
            name: &self.name,
            latitude: &self.latitude,
            longitude: &self.longitude,
            types: &self.types,
            vicinity: &self.vicinity,
        }
    }
}
