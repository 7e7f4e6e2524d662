//! Traccar Client 9: a JSON object with one location, or several that were kept, and the device.

use super::{fix, parameters};
use crate::body::Asked;
use crate::fields::{Fields, json_array};
use crate::report::{Fix, Reading, Unusable};

pub fn read(object: &Fields<'_>, location: &str, asked: &Asked<'_>, reading: &mut Reading) {
    let client = object.text(parameters::CLIENT).or_else(|| asked.query.text(parameters::CLIENT));
    let mut take = |location: &str| reading.take(read_location(location, client.as_deref(), asked));
    match location.starts_with('[') {
        false => take(location),
        true => json_array(location).into_iter().flatten().for_each(|it| take(it.get())),
    }
}

fn read_location(location: &str, client: Option<&str>, asked: &Asked<'_>) -> Result<Fix, Unusable> {
    let location = Fields::json(location).ok_or(Unusable::Malformed)?;
    let position = location.object("coords").ok_or(Unusable::NoPosition)?;
    let (latitude, longitude) = (position.text(&["latitude"]), position.text(&["longitude"]));
    let time = location.text(&["timestamp"]);
    fix(client, [latitude.as_deref(), longitude.as_deref()], time.as_deref(), asked.hints)
}
