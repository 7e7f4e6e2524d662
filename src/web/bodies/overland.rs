//! Overland for iOS and Android: a batch of GeoJSON features, up to a thousand after a day without
//! a network, which is sent again until the answer is `{"result":"ok"}`.

use super::{geojson, parameters};
use crate::body::Asked;
use crate::fields::{Fields, json_array};
use crate::report::{Reading, Reply, Unusable};

pub fn read(locations: &str, asked: &Asked<'_>, reading: &mut Reading) {
    reading.reply = Reply::Overland;
    let Some(locations) = json_array(locations) else {
        return reading.take(Err(Unusable::Malformed));
    };
    for location in locations {
        reading.take(match Fields::json(location.get()) {
            Some(feature) => geojson::read_feature(&feature, asked, &[parameters::CLIENT, UNIQUE]),
            None => Err(Unusable::Malformed),
        });
    }
}

/// Of an installation: for those who have given their device no name.
const UNIQUE: &[&str] = &["unique_id"];
