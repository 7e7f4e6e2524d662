//! Friends as OwnTracks wants them in its answer: for each a card, which gives a name to what is on
//! the map, and a location.

use herd_core::wire::{self, Report};
use serde_json::json;

use crate::seen::shown;

/// A JSON array. The whole name stands where the app has two letters: two friends with the same two
/// would be one.
pub fn write(friends: &[Report<'_>]) -> String {
    let mut parts = Vec::with_capacity(2 * friends.len());
    for friend in friends {
        let Some(at) = wire::position(friend.position) else { continue };
        let id = shown(friend.client);
        parts.push(json!({ "_type": "card", "tid": id, "name": id }));
        parts.push(json!({
            "_type": "location",
            "tid": id,
            "lat": at.latitude,
            "lon": at.longitude,
            "tst": friend.stamp.whole_seconds(),
        }));
    }
    serde_json::Value::from(parts).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_friend_has_a_card_and_a_location() {
        assert_eq!(write(&[]), "[]");
        let line = b"AT Hill +0.25 \"jane\" +60.1699+024.9384 1795910184.000000001";
        let friend = Report::of_line(line).unwrap();
        let read: serde_json::Value = serde_json::from_str(&write(&[friend])).unwrap();
        let expected = json!([
            { "_type": "card", "tid": "\"jane\"", "name": "\"jane\"" },
            { "_type": "location", "tid": "\"jane\"", "lat": 60.1699, "lon": 24.9384,
              "tst": 1_795_910_184 },
        ]);
        assert_eq!(read, expected);
    }
}
