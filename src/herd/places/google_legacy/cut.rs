//! Cuts a service's Nearby Search to what was asked for, and leaves its bytes alone.
//!
//! It is pure: a text goes in, a text comes out. Nothing is rendered anew: digits, order of members
//! and layout stay the service's. The results are lifted out of their slots and put back in the
//! order of distance, and the slots left over fall away:
//!
//! ```text
//! { … "results" : [⏎  C  ,⏎  A  ,⏎  B  ⏎], "status" : "OK" }     as it came
//! { … "results" : [⏎  A  ,⏎  B         ⏎], "status" : "OK" }     nearest first, at most two
//! ```

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::places::globe;
use herd_core::whatsat::{Position, Question};

/// The document is not a Nearby Search: not UTF-8, not JSON, no object, without a `status` that is
/// one, or its `results` are no list.
#[derive(Debug, PartialEq, Eq)]
pub struct NotASearch;

/// What was read of a document.
#[derive(Debug, PartialEq, Eq)]
pub struct Cut {
    /// In capital letters.
    pub status: String,
    /// The service's own words, which are not in what was appended.
    pub message: String,
    /// Results that are no objects.
    pub skipped: u64,
}

/// Longest `status`, in bytes.
const STATUS_BYTES_MAX: usize = 40;

/// Appends `document` with at most `question.bound` results, nearest first, and without messages.
///
/// The service sorts by prominence and takes an order by distance only in place of a radius, so
/// the order is made here. Results that do not say where they are come last; what is no object is
/// none.
pub fn cut(document: &[u8], question: &Question, out: &mut Vec<u8>) -> Result<Cut, NotASearch> {
    let document = str::from_utf8(document).map_err(|_| NotASearch)?;
    let search: Search<'_> = serde_json::from_str(document).map_err(|_| NotASearch)?;
    let is_status = |byte: u8| byte.is_ascii_uppercase() || byte == b'_';
    if search.status.len() > STATUS_BYTES_MAX || !search.status.bytes().all(is_status) {
        return Err(NotASearch);
    }
    let message: Option<String> =
        search.error_message.and_then(|message| serde_json::from_str(message.get()).ok());
    let results = search.results.filter(|results| results.get() != "null");
    let (results_cut, skipped) =
        results.map(|results| nearest(results.get(), question)).transpose()?.unwrap_or_default();
    // What stays as it came, with what was put in place of the rest.
    let mut pieces: Vec<(&RawValue, &[u8])> = Vec::new();
    pieces.extend(results.map(|results| (results, &*results_cut)));
    pieces.extend(search.error_message.map(|message| (message, &b"\"\""[..])));
    pieces.extend(search.info_messages.map(|messages| (messages, &b"[]"[..])));
    pieces.sort_by_key(|(old, _)| offset(document, old.get()));
    let mut end = 0;
    for (old, new) in pieces {
        let begin = offset(document, old.get());
        out.extend_from_slice(&document.as_bytes()[end..begin]);
        out.extend_from_slice(new);
        end = begin + old.get().len();
    }
    out.extend_from_slice(&document.as_bytes()[end..]);
    let (status, message) = (search.status.into_owned(), message.unwrap_or_default());
    Ok(Cut { status, message, skipped })
}

/// The list `results` with those that the question wants, and how many were none.
fn nearest(results: &str, question: &Question) -> Result<(Vec<u8>, u64), NotASearch> {
    let slots: Vec<&RawValue> = serde_json::from_str(results).map_err(|_| NotASearch)?;
    let from = globe::unit_vector(question.at);
    let objects = slots.iter().filter(|slot| slot.get().starts_with('{'));
    let mut nearest: Vec<(f64, &str)> =
        objects.map(|slot| (chord_squared(from, slot), slot.get())).collect();
    let skipped = (slots.len() - nearest.len()) as u64;
    nearest.sort_by(|a, b| a.0.total_cmp(&b.0));
    nearest.truncate(usize::from(question.bound));
    let mut out = Vec::new();
    if nearest.is_empty() {
        out.extend_from_slice(b"[]");
    } else {
        put_back(results, &slots, &nearest, &mut out);
    }
    Ok((out, skipped))
}

/// What this server reads of a document; the rest stays unread.
#[derive(Deserialize)]
struct Search<'a> {
    /// Its presence tells a Nearby Search from anything else that a web server says.
    #[serde(borrow)]
    status: Cow<'a, str>,
    #[serde(borrow)]
    results: Option<&'a RawValue>,
    #[serde(borrow)]
    error_message: Option<&'a RawValue>,
    #[serde(borrow)]
    info_messages: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Found {
    geometry: Geometry,
}

#[derive(Deserialize)]
struct Geometry {
    location: Location,
}

#[derive(Deserialize)]
struct Location {
    lat: f64,
    lng: f64,
}

/// How far a result is; infinitely far if it does not say.
fn chord_squared(from: [f64; 3], result: &RawValue) -> f64 {
    let Ok(Found { geometry: Geometry { location } }) = serde_json::from_str(result.get()) else {
        return f64::INFINITY;
    };
    let at = Position { latitude: location.lat, longitude: location.lng };
    globe::chord_squared(from, globe::unit_vector(at))
}

/// Appends the list `results` with `nearest` in its first slots and without the other slots.
fn put_back(results: &str, slots: &[&RawValue], nearest: &[(f64, &str)], out: &mut Vec<u8>) {
    let mut end = 0;
    for (slot, (_, result)) in slots.iter().zip(nearest) {
        let begin = offset(results, slot.get());
        out.extend_from_slice(&results.as_bytes()[end..begin]);
        out.extend_from_slice(result.as_bytes());
        end = begin + slot.get().len();
    }
    // What follows the last slot closes the list, however many slots fell away before it.
    let closing = slots.last().map_or(end, |slot| offset(results, slot.get()) + slot.get().len());
    out.extend_from_slice(&results.as_bytes()[closing..]);
}

/// Where in `whole` its part begins. A borrowed `RawValue` is such a part: serde_json says that it
/// borrows from its input.
fn offset(whole: &str, part: &str) -> usize {
    let offset = part.as_ptr().addr() - whole.as_ptr().addr();
    debug_assert!(offset + part.len() <= whole.len());
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cut_all(document: &str, bound: u8) -> Result<(String, Cut), NotASearch> {
        let at = Position { latitude: 0.0, longitude: 0.0 };
        let mut out = Vec::new();
        let cut = cut(document.as_bytes(), &Question { at, radius_km: 1.0, bound }, &mut out)?;
        Ok((String::from_utf8(out).unwrap(), cut))
    }

    fn cut_at_zero(document: &str, bound: u8) -> Result<String, NotASearch> {
        cut_all(document, bound).map(|(text, _)| text)
    }

    #[test]
    fn results_are_sorted_and_cut_and_all_else_stays() {
        /// One result at 1.5° N, one at 2° S, one at the pole, one nowhere; and a whole document.
        fn spelled(results: &str) -> String {
            let place = |lat: &str, name: &str| {
                format!(
                    "{{ \"n\":{name},\"geometry\":{{\"location\":{{\"lng\":0,\"lat\":{lat}}}}}}}"
                )
            };
            let results = results
                .replace('①', &place("1.50", "[1.0e0]"))
                .replace('②', &place("-2", "\"\\u00e9é\""))
                .replace('③', &place("90.0", "null"))
                .replace('④', "{\"geometry\" : null}");
            format!("{{\"x\":1.0,\n \"results\" : {results} , \"status\" : \"OK\"}}\n\n")
        }
        fn check(results: &str, bound: u8, expected: &str) {
            let out = cut_at_zero(&spelled(results), bound);
            assert_eq!(out, Ok(spelled(expected)), "{results} {bound}");
        }
        check("[\n ①,\n\n ② ,③\n]", 20, "[\n ①,\n\n ② ,③\n]");
        check("[\n ①,\n\n ② ,③\n]", 3, "[\n ①,\n\n ② ,③\n]");
        check("[\n ①,\n\n ② ,③\n]", 2, "[\n ①,\n\n ②\n]");
        check("[\n ①,\n\n ② ,③\n]", 1, "[\n ①\n]");
        check("[\n ①,\n\n ② ,③\n]", 0, "[]");
        check("[③, ②,①]", 20, "[①, ②,③]");
        check("[④,② ,7,①]", 4, "[①,② ,④]");
        check("[④,② ,7,①]", 3, "[①,② ,④]");
        check("[②,②,①]", 2, "[①,②]");
        check("[]", 5, "[]");
        check("null", 5, "null");
    }

    #[test]
    fn a_search_without_results_stays() {
        let denied = "{\"error_message\":\"\",\n\"status\":\"REQUEST_DENIED\"}";
        assert_eq!(cut_at_zero(denied, 5), Ok(denied.to_owned()));
    }

    /// Goal: the service's own words, which name this server's address, reach no client.
    #[test]
    fn messages_are_taken_out() {
        let document = "{\"error_message\" : \"from IP 192.0.2.7\",\n\"results\":[7,{},null],\
            \"info_messages\" : [ \"192.0.2.7\" ], \"status\":\"OK\"}";
        let (text, cut) = cut_all(document, 5).unwrap();
        let expected = "{\"error_message\" : \"\",\n\"results\":[{}],\
            \"info_messages\" : [], \"status\":\"OK\"}";
        assert_eq!(text, expected);
        let (status, message) = ("OK".to_owned(), "from IP 192.0.2.7".to_owned());
        assert_eq!(cut, Cut { status, message, skipped: 2 });
    }

    #[test]
    fn other_documents_are_told_apart() {
        fn check(document: &str) {
            assert_eq!(cut_at_zero(document, 5), Err(NotASearch), "{document}");
        }
        check("");
        check("<html>");
        check("[]");
        check("{}");
        check("{\"status\":1}");
        check("{\"status\":\"error\"}");
        check("{\"status\":\"NO 192.0.2.7\"}");
        check("{\"error\":{\"code\":403}}");
        check("{\"status\":\"OK\",\"results\":{}}");
        check("{\"status\":\"OK\",\"results\":[1,]}");
        check("{\"status\":\"OK\",\"results\":[]} x");
        check("{\"status\":\"OK\",\"results\":[");
        check(&"[".repeat(500_000));
    }

    #[test]
    fn deep_nesting_costs_no_stack() {
        let deep = "[".repeat(400_000) + &"]".repeat(400_000);
        let document = format!("{{\"status\":\"OK\",\"results\":[{{\"x\":{deep}}}],\"x\":{deep}}}");
        assert_eq!(cut_at_zero(&document, 5), Ok(document));
    }
}
