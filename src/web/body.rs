//! Which app has sent a body: its content says so.

use std::time::Duration;

use herd_core::clock::PosixTime;

use crate::bodies::{geojson, home_assistant, overland, owntracks, parameters, traccar};
use crate::fields::{Fields, json_array};
use crate::report::{Reading, Reply, Unusable};

/// What is known of a request beside its body.
#[derive(Clone, Copy, Debug)]
pub struct Hints<'a> {
    /// What stands behind the `?` of its URL.
    pub query: &'a str,
    /// The user that its credentials name: the client, if nothing else says who it is.
    pub name: Option<&'a str>,
    /// OwnTracks' `X-Limit-U`.
    pub user: Option<&'a str>,
    /// OwnTracks' `X-Limit-D`.
    pub device: Option<&'a str>,
    /// When it came: the time of reports that say none.
    pub now: PosixTime,
    /// How far a report may be ahead of that.
    pub ahead_max: Duration,
}

/// Reads all reports of a body, whichever app it is from; of an empty one, those of the query.
///
/// Bounds: it looks at most six levels into JSON, and copies no more than the body has.
pub fn read_body(body: &[u8], hints: &Hints<'_>) -> Reading {
    let mut reading = Reading::default();
    let query = Fields::form(hints.query.as_bytes());
    let asked = Asked { hints, query: &query };
    let Ok(text) = std::str::from_utf8(body.trim_ascii()) else {
        reading.take(Err(Unusable::Malformed));
        return reading;
    };
    match text.as_bytes().first() {
        Some(b'{') => read_object(text, &asked, &mut reading),
        Some(b'[') => match json_array(text) {
            Some(elements) => elements
                .into_iter()
                .for_each(|element| read_object(element.get(), &asked, &mut reading)),
            None => reading.take(Err(Unusable::Malformed)),
        },
        Some(_) => parameters::read(&Fields::form(text.as_bytes()), &asked, &mut reading),
        // OwnTracks asks to forget a friend so.
        None if query.is_empty() => {
            reading.reply = Reply::OwnTracks;
            reading.take(Err(Unusable::NoPosition));
        }
        None => parameters::read(&query, &asked, &mut reading),
    }
    reading
}

/// What every reader of a body is given beside it.
pub struct Asked<'a> {
    pub hints: &'a Hints<'a>,
    pub query: &'a Fields<'a>,
}

fn read_object(text: &str, asked: &Asked<'_>, reading: &mut Reading) {
    let Some(object) = Fields::json(text) else {
        // What breaks off is still answered as its app wants it.
        if text.contains("\"_type\"") {
            reading.reply = Reply::OwnTracks;
        } else if text.contains("\"locations\"") {
            reading.reply = Reply::Overland;
        }
        return reading.take(Err(Unusable::Malformed));
    };
    if object.raw("_type").is_some() {
        return owntracks::read(&object, asked, reading);
    } else if let Some(locations) = object.raw("locations") {
        return overland::read(locations, asked, reading);
    } else if let Some(location) = object.raw("location").filter(|raw| raw.starts_with(['{', '[']))
    {
        return traccar::read(&object, location, asked, reading);
    }
    match object.text(&["type"]).as_deref() {
        Some("Feature" | "FeatureCollection" | "Point") => geojson::read(&object, asked, reading),
        Some("update_location") => home_assistant::read(&object, asked, reading),
        _ => parameters::read(&object, asked, reading),
    }
}
