//! GeoJSON with a feature a line, as `ogr2ogr -f GeoJSONSeq` writes it, or after RFC 8142 with a
//! record separator before each.
//!
//! It is apart because it knows features: a point, and properties named like the columns of `csv`.

use std::borrow::Cow;
use std::collections::HashMap;
use std::io::BufRead;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::lines::Lines;
use super::{Fault, FileError, Gathered, Row};
use crate::places::osm;

/// What RFC 8142, section 2 puts before every text.
pub const RECORD_SEPARATOR: u8 = 0x1e;

#[derive(Deserialize)]
struct Feature<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    id: Option<Value>,
    #[serde(borrow)]
    geometry: Option<Geometry<'a>>,
    properties: Option<HashMap<String, Value>>,
}

#[derive(Deserialize)]
struct Geometry<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow)]
    coordinates: Option<&'a RawValue>,
}

pub fn gather(text: impl BufRead, gathered: &mut Gathered) -> Result<(), FileError> {
    let mut lines = Lines::new(text);
    let mut bytes = Vec::new();
    while lines.append_to(&mut bytes)? {
        let line = lines.number;
        let feature = bytes.strip_prefix(&[RECORD_SEPARATOR]).unwrap_or(&bytes).trim_ascii();
        match read(feature) {
            _ if feature.is_empty() => {}
            Ok(found) => gathered.put(line, &found.row())?,
            Err(fault) => gathered.survey.skip(line, fault),
        }
        bytes.clear();
    }
    Ok(())
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

fn read(feature: &[u8]) -> Result<Found, Fault> {
    let text = str::from_utf8(feature).map_err(|_| Fault::NotUtf8)?;
    let feature: Feature<'_> = serde_json::from_str(text).map_err(|_| Fault::NotAFeature)?;
    if feature.kind != "Feature" {
        return Err(Fault::NotAFeature);
    }
    let point = feature.geometry.filter(|geometry| geometry.kind == "Point");
    let coordinates = point.and_then(|point| point.coordinates).ok_or(Fault::NotAPoint)?;
    // A height may follow.
    let numbers: Vec<f64> =
        serde_json::from_str(coordinates.get()).map_err(|_| Fault::NotAPoint)?;
    let [longitude, latitude, ..] = numbers[..] else { return Err(Fault::NotAPoint) };

    let properties = feature.properties.unwrap_or_default();
    let property = |key: &str| properties.get(key).and_then(Value::as_str);
    let other: Vec<_> = osm::split_hstore(property("other_tags").unwrap_or_default()).collect();
    let tag = |key: &str| {
        let others = || other.iter().find(|(name, _)| name == key).map(|(_, value)| value.as_ref());
        property(key).or_else(others)
    };
    let text = |key: &str| property(key).unwrap_or_default().to_owned();
    let mut found = Found {
        id: id(feature.id.as_ref(), &properties),
        name: text("name"),
        latitude: latitude.to_string(),
        longitude: longitude.to_string(),
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

/// Ids are numbers or texts, of the feature or among its properties.
fn id(of_feature: Option<&Value>, properties: &HashMap<String, Value>) -> String {
    let text = |value: &Value| match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    };
    let own = properties.get("id").and_then(text);
    let osm = || properties.get("osm_id").and_then(text).map(|id| format!("osm:{id}"));
    own.or_else(osm).or_else(|| of_feature.and_then(text)).unwrap_or_default()
}
