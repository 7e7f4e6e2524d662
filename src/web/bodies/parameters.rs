//! Names and values: Traccar Client to version 8 and from 10, OsmAnd, GPSLogger, PhoneTrack, Home
//! Assistant's `rest_command`, gateways and scripts. They come as a query, a form or a JSON object,
//! and each app has other names for the same.

use super::fix;
use crate::body::Asked;
use crate::fields::Fields;
use crate::report::{Fix, Reading, Unusable};

/// Whose position it is.
pub const CLIENT: &[&str] = &["id", "deviceid", "device_id", "device", "uniqueId"];
const LATITUDE: &[&str] = &["lat", "latitude"];
const LONGITUDE: &[&str] = &["lon", "lng", "longitude"];
/// Seconds, milliseconds (OsmAnd, Traccar's `forward.url`) or a date.
pub const TIME: &[&str] = &["timestamp", "time", "fixTime", "tst"];

pub fn read(fields: &Fields<'_>, asked: &Asked<'_>, reading: &mut Reading) {
    reading.take(read_one(fields, asked));
}

fn read_one(fields: &Fields<'_>, asked: &Asked<'_>) -> Result<Fix, Unusable> {
    let client = fields.text(CLIENT);
    let location = fields.text(&["location"]);
    let pair = location.as_deref().and_then(|location| location.split_once(','));
    let (latitude, longitude) = (fields.text(LATITUDE), fields.text(LONGITUDE));
    let is_known = client.is_some() || location.is_some();
    if !is_known && latitude.is_none() && longitude.is_none() {
        return Err(Unusable::UnknownForm);
    }
    if matches!(fields.text(&["valid"]).as_deref(), Some("0" | "false")) {
        return Err(Unusable::NoFix);
    }
    let position = match pair {
        Some((latitude, longitude)) => [Some(latitude), Some(longitude)],
        None if location.is_some() => return Err(Unusable::BadPosition),
        None => [latitude.as_deref(), longitude.as_deref()],
    };
    let client = client.or_else(|| asked.query.text(CLIENT));
    fix(client.as_deref(), position, fields.text(TIME).as_deref(), asked.hints)
}
