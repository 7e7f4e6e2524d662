//! What the tests of several remote sources share.

use super::http::Reply;
use super::remote::{Protocol, Said};
use herd_core::whatsat::{Position, Question};

/// Reads a reply in which one odd element stands between two good ones: it costs itself, and is
/// counted.
pub(super) fn check_odd_element(protocol: &impl Protocol, body: &str, odd: &str) {
    let body = body.replace("ODD", odd).into_bytes();
    let reply = Reply { code: ureq::http::StatusCode::OK, body };
    let at = Position { latitude: 60.17, longitude: 24.94 };
    let question = Question { at, radius_km: 5.0, bound: 20 };
    let mut out = Vec::new();
    let said = protocol.read(&reply, &question, &mut out).ok();
    assert_eq!(said, Some(Said { skipped: 1, ..Said::default() }), "{odd}");
    let answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
    let results = answer["results"].as_array().unwrap().iter();
    let names: Vec<_> = results.map(|result| result["name"].as_str().unwrap()).collect();
    assert_eq!((names, &answer["status"]), (vec!["A", "B"], &"OK".into()), "{odd}");
}
