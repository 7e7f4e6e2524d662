//! A file for each app: how it names things, and in which units.

pub mod geojson;
pub mod home_assistant;
pub mod overland;
pub mod owntracks;
pub mod parameters;
pub mod traccar;

use crate::body::Hints;
use crate::report::{Fix, Unusable};
use crate::{client, position, stamp};

/// A fix of what an app says; without a time, it is now.
fn fix(
    client: Option<&str>,
    [latitude, longitude]: [Option<&str>; 2],
    time: Option<&str>,
    hints: &Hints<'_>,
) -> Result<Fix, Unusable> {
    let (latitude, longitude) = match (latitude, longitude) {
        (Some(latitude), Some(longitude)) => (latitude, longitude),
        (None, None) => return Err(Unusable::NoPosition),
        _ => return Err(Unusable::BadPosition),
    };
    let position = position::spell(latitude, longitude)?;
    let stamp = match time {
        Some(time) => stamp::parse(time).ok_or(Unusable::BadTime)?,
        None => hints.now,
    };
    if stamp > hints.now.plus(hints.ahead_max) {
        return Err(Unusable::AheadOfClock);
    }
    let client = client::spell(client.or(hints.name).unwrap_or_default())?;
    Ok(Fix { client, position, stamp })
}
