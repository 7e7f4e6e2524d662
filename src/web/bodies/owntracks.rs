//! OwnTracks for Android and iOS in mode HTTP: one JSON object a request, of which only those of
//! `_type` location are reports.

use std::borrow::Cow;

use super::fix;
use crate::body::Asked;
use crate::fields::Fields;
use crate::report::{Fix, Reading, Reply, Unusable};
use crate::stamp;

/// An app that counts from 2001 says so many seconds less; none counts from 1970 and is older.
const FROM_2001: u64 = 978_307_200;
const SECONDS_MIN: u64 = 1_000_000_000;

pub fn read(object: &Fields<'_>, asked: &Asked<'_>, reading: &mut Reading) {
    reading.reply = Reply::OwnTracks;
    reading.take(match object.text(&["_type"]).as_deref() {
        Some("location") => read_location(object, asked),
        Some("encrypted") => Err(Unusable::Encrypted),
        _ => Err(Unusable::NoPosition),
    });
}

fn read_location(object: &Fields<'_>, asked: &Asked<'_>) -> Result<Fix, Unusable> {
    let (latitude, longitude) = (object.text(&["lat"]), object.text(&["lon"]));
    let time = object.text(&["tst"]);
    let client = client(object, asked);
    let position = [latitude.as_deref(), longitude.as_deref()];
    let seconds = time.as_deref().and_then(stamp::parse).map(|time| time.whole_seconds());
    let corrected = seconds.filter(|seconds| *seconds < SECONDS_MIN);
    let time = corrected.map(|seconds| Cow::Owned((seconds + FROM_2001).to_string())).or(time);
    fix(client.as_deref(), position, time.as_deref(), asked.hints)
}

/// `user/device`: of the topic, which begins with a word that is the same for all; else what the
/// headers or the query say; else who the credentials are, and the two letters shown on the map.
fn client<'a>(object: &'a Fields<'_>, asked: &'a Asked<'_>) -> Option<Cow<'a, str>> {
    if let Some(topic) = object.text(&["topic"]) {
        return Some(match topic {
            Cow::Borrowed(topic) => Cow::Borrowed(behind_slash(topic)),
            Cow::Owned(topic) => Cow::Owned(behind_slash(&topic).to_owned()),
        });
    }
    let (hints, query) = (asked.hints, asked.query);
    let user = hints.user.map(Cow::Borrowed).or_else(|| query.text(&["u"]));
    let device = hints.device.map(Cow::Borrowed).or_else(|| query.text(&["d"]));
    let user = user.or(hints.name.map(Cow::Borrowed));
    match (user, device.or_else(|| object.text(&["tid"]))) {
        (Some(user), Some(device)) => Some(Cow::Owned(format!("{user}/{device}"))),
        (user, device) => user.or(device),
    }
}

fn behind_slash(topic: &str) -> &str {
    topic.split_once('/').map_or(topic, |(_, client)| client)
}
