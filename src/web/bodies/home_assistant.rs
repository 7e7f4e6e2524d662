//! Home Assistant's companion app: `update_location` as it tells it to Home Assistant itself. It
//! says no name, so the query or the credentials do.

use super::{fix, parameters};
use crate::body::Asked;
use crate::fields::{Fields, json_array, json_text};
use crate::report::{Fix, Reading, Unusable};

pub fn read(object: &Fields<'_>, asked: &Asked<'_>, reading: &mut Reading) {
    reading.take(read_one(object, asked));
}

fn read_one(object: &Fields<'_>, asked: &Asked<'_>) -> Result<Fix, Unusable> {
    let data = object.object("data").ok_or(Unusable::NoPosition)?;
    let gps = data.raw("gps").and_then(json_array).ok_or(Unusable::NoPosition)?;
    let [latitude, longitude] = [0, 1].map(|at| gps.get(at).and_then(|raw| json_text(raw.get())));
    let client = asked.query.text(parameters::CLIENT);
    let position = [latitude.as_deref(), longitude.as_deref()];
    fix(client.as_deref(), position, data.text(parameters::TIME).as_deref(), asked.hints)
}
