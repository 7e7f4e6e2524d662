//! GeoJSON (RFC 7946): a point, a feature or a collection of features. Longitude comes first.

use std::borrow::Cow;

use super::{fix, parameters};
use crate::body::Asked;
use crate::fields::{Fields, json_array, json_text};
use crate::report::{Fix, Reading, Unusable};

/// The first is ours, exact to the nanosecond.
const TIME: &[&str] = &["stamp", "timestamp", "time"];

pub fn read(object: &Fields<'_>, asked: &Asked<'_>, reading: &mut Reading) {
    let clients = &[parameters::CLIENT, &["name"]];
    match object.raw("features").filter(|_| is_of_type(object, "FeatureCollection")) {
        Some(features) => match json_array(features) {
            Some(features) => features.into_iter().for_each(|feature| {
                let feature = Fields::json(feature.get()).ok_or(Unusable::Malformed);
                reading.take(feature.and_then(|it| read_feature(&it, asked, clients)));
            }),
            None => reading.take(Err(Unusable::Malformed)),
        },
        None if is_of_type(object, "Point") => {
            reading.take(read_point(Some(object), None, &Fields::form(b""), asked));
        }
        None => reading.take(read_feature(object, asked, clients)),
    }
}

/// One feature. Whose position it is, one of these properties says, or its own `id`, or the query;
/// groups of names are asked one after the other.
pub fn read_feature(
    feature: &Fields<'_>,
    asked: &Asked<'_>,
    clients: &[&[&str]],
) -> Result<Fix, Unusable> {
    let properties = feature.object("properties").unwrap_or(Fields::form(b""));
    let geometry = feature.object("geometry");
    let [first, others] = [clients.first(), clients.get(1)]
        .map(|names| names.and_then(|names| properties.text(names)));
    let client = feature.text(&["id"]).or(first).or_else(|| asked.query.text(parameters::CLIENT));
    let client = client.or_else(|| asked.hints.name.map(Cow::Borrowed)).or(others);
    read_point(geometry.as_ref(), client.as_deref(), &properties, asked)
}

fn read_point(
    geometry: Option<&Fields<'_>>,
    client: Option<&str>,
    properties: &Fields<'_>,
    asked: &Asked<'_>,
) -> Result<Fix, Unusable> {
    let geometry = geometry.filter(|it| is_of_type(it, "Point")).ok_or(Unusable::NoPosition)?;
    let coordinates = geometry.raw("coordinates").and_then(json_array);
    let coordinates = coordinates.ok_or(Unusable::BadPosition)?;
    let number = |at: usize| coordinates.get(at).and_then(|raw| json_text(raw.get()));
    let (longitude, latitude) = (number(0), number(1));
    if longitude.is_none() || latitude.is_none() {
        return Err(Unusable::BadPosition);
    }
    let named = asked.query.text(parameters::CLIENT);
    let client = client.or(named.as_deref());
    let position = [latitude.as_deref(), longitude.as_deref()];
    fix(client, position, properties.text(TIME).as_deref(), asked.hints)
}

fn is_of_type(object: &Fields<'_>, name: &str) -> bool {
    object.text(&["type"]).is_some_and(|it| it == name)
}
