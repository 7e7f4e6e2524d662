//! The body of an answer to WHATSAT, in the shape of Google Places' Nearby Search (legacy JSON).
//!
//! All sources answer in this one shape, even if they got their data in another. What is rendered
//! was found and sorted before.

use std::io;

use serde::Serialize;
use serde::ser::{SerializeStruct, Serializer};
use serde_json::ser::{CompactFormatter, Formatter, PrettyFormatter};

use super::Place;

/// The values of `status` that this server itself gives; Google's documentation of the legacy
/// Nearby Search says what each means.
pub mod status {
    pub const OK: &str = "OK";
    /// An answer, not an error: nothing is that near.
    pub const ZERO_RESULTS: &str = "ZERO_RESULTS";
    pub const INVALID_REQUEST: &str = "INVALID_REQUEST";
    pub const OVER_QUERY_LIMIT: &str = "OVER_QUERY_LIMIT";
    pub const REQUEST_DENIED: &str = "REQUEST_DENIED";
    /// Unknown, or none of the above; trying again may help.
    pub const UNKNOWN_ERROR: &str = "UNKNOWN_ERROR";
}

/// Appends the answer that holds `places`, laid out as Google does: one member on each line,
/// indented by three, the colon between spaces.
///
/// `attributions` are HTML: the credits that the places' licence requires.
fn write_places(attributions: &[&str], places: &[Place<'_>], status: &str, out: &mut Vec<u8>) {
    let body =
        Body { html_attributions: attributions, results: places, status, error_message: None };
    write(&body, Layout(PrettyFormatter::with_indent(b"   ")), out);
}

/// Appends the answer that holds the first `bound` of what was found nearby. A client that wants no
/// results still learns whether there would be any.
pub fn found(attributions: &[&str], near: &[Place<'_>], bound: u8, out: &mut Vec<u8>) {
    let status = if near.is_empty() { status::ZERO_RESULTS } else { status::OK };
    write_places(attributions, &near[..near.len().min(usize::from(bound))], status, out);
}

/// How many bytes a place has in an answer, with the layout around it.
pub fn place_bytes(place: &Place<'_>) -> usize {
    let bytes = |places: &[Place<'_>]| {
        let mut body = Vec::new();
        write_places(&[], places, status::OK, &mut body);
        body.len()
    };
    bytes(&[*place]) - bytes(&[])
}

/// Appends the answer of a source that has none: no results, and `message` as the reason.
///
/// `status` is one of [`status`]. `message` reaches clients: it names no key and no address.
pub fn failure(status: &str, message: &str, out: &mut Vec<u8>) {
    let body = Body { html_attributions: &[], results: &[], status, error_message: Some(message) };
    write(&body, CompactFormatter, out);
}

/// Appends `text` without its blank lines and without the newlines at its end, which a service may
/// send (PROTOCOL 3.6).
///
/// A line that holds nothing but carriage returns is blank, too: a client that reads CRLF lines
/// would see it so. A blank first line goes because the line before it, the AT line, has its own
/// newline.
pub fn normalise_newlines(text: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    for line in text.split(|&byte| byte == b'\n') {
        if line.iter().all(|&byte| byte == b'\r') {
            continue;
        }
        if out.len() > start {
            out.push(b'\n');
        }
        out.extend_from_slice(line);
    }
    while out.len() > start && out.ends_with(b"\r") {
        out.pop();
    }
}

/// The members in the order of the service.
#[derive(Serialize)]
struct Body<'a> {
    html_attributions: &'a [&'a str],
    results: &'a [Place<'a>],
    status: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    error_message: Option<&'a str>,
}

#[derive(Serialize)]
struct Geometry {
    location: Location,
}

#[derive(Serialize)]
struct Location {
    lat: f64,
    lng: f64,
}

/// The id with its authority before it, so that ids of different sources never meet.
struct PlaceId<'a>(&'a Place<'a>);

impl Serialize for Place<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let location = Location { lat: self.position.latitude, lng: self.position.longitude };
        let mut result = serializer.serialize_struct("Place", 5)?;
        result.serialize_field("geometry", &Geometry { location })?;
        result.serialize_field("name", self.name)?;
        result.serialize_field("place_id", &PlaceId(self))?;
        result.serialize_field("types", &Types(self.types))?;
        result.serialize_field("vicinity", self.vicinity)?;
        result.end()
    }
}

impl Serialize for PlaceId<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0.authority {
            "" => serializer.serialize_str(self.0.id),
            authority => serializer.collect_str(&format_args!("{authority}:{}", self.0.id)),
        }
    }
}

/// A list, of what is one text in a row of places.
struct Types<'a>(&'a str);

impl Serialize for Types<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let words = self.0.split(';').map(str::trim).filter(|word| !word.is_empty());
        serializer.collect_seq(words)
    }
}

fn write(body: &Body<'_>, formatter: impl Formatter, out: &mut Vec<u8>) {
    let mut serializer = serde_json::Serializer::with_formatter(out, formatter);
    body.serialize(&mut serializer)
        .expect("a Vec takes every byte, and the shape has no map whose keys are not texts");
}

/// serde_json's pretty layout with a space before the colon, as Google has it.
struct Layout<'a>(PrettyFormatter<'a>);

impl Formatter for Layout<'_> {
    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_array(out)
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array(out)
    }

    fn begin_array_value<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_array_value(out, first)
    }

    fn end_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_array_value(out)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.begin_object(out)
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object(out)
    }

    fn begin_object_key<W: ?Sized + io::Write>(
        &mut self,
        out: &mut W,
        first: bool,
    ) -> io::Result<()> {
        self.0.begin_object_key(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b" : ")
    }

    fn end_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.0.end_object_value(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd_core::whatsat::Position;

    #[test]
    fn places_are_laid_out_as_google_does() {
        let place = Place {
            authority: "geonames",
            id: "658225",
            name: "Helsinki \"Stadi\"",
            position: Position { latitude: 60.16952, longitude: 24.93545 },
            vicinity: "Suomi – Finland",
            types: "locality; political;",
        };
        let mut out = b"AT line\n".to_vec();
        write_places(&["<a>credit</a>"], &[place], status::OK, &mut out);
        let expected = r#"AT line
{
   "html_attributions" : [
      "<a>credit</a>"
   ],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 60.16952,
               "lng" : 24.93545
            }
         },
         "name" : "Helsinki \"Stadi\"",
         "place_id" : "geonames:658225",
         "types" : [
            "locality",
            "political"
         ],
         "vicinity" : "Suomi – Finland"
      }
   ],
   "status" : "OK"
}"#;
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn an_answer_has_no_more_places_than_were_asked_for() {
        let place = |id| Place {
            authority: "",
            id,
            name: "x",
            position: Position { latitude: 0.0, longitude: 0.0 },
            vicinity: "",
            types: "",
        };
        let near = ["1", "2", "3"].map(place);
        let check = |near: &[Place<'_>], bound: u8, results: usize, status: &str| {
            let mut out = Vec::new();
            found(&[], near, bound, &mut out);
            let out = String::from_utf8(out).unwrap();
            assert_eq!(out.matches("\"place_id\"").count(), results, "{bound}: {out}");
            assert!(out.contains(&format!("\"status\" : \"{status}\"")), "{bound}: {out}");
        };
        check(&near, 2, 2, status::OK);
        check(&near, 3, 3, status::OK);
        check(&near, 20, 3, status::OK);
        check(&near, 0, 0, status::OK);
        check(&[], 5, 0, status::ZERO_RESULTS);
    }

    #[test]
    fn a_failure_is_one_line() {
        let mut out = Vec::new();
        failure(status::UNKNOWN_ERROR, "no \"answer\"\nin time", &mut out);
        let expected = concat!(
            r#"{"html_attributions":[],"results":[],"status":"UNKNOWN_ERROR","#,
            r#""error_message":"no \"answer\"\nin time"}"#
        );
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn newlines_are_normalised() {
        fn check(text: &str, expected: &str) {
            let mut out = b"AT\n".to_vec();
            normalise_newlines(text.as_bytes(), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), format!("AT\n{expected}"), "{text:?}");
        }
        check("", "");
        check("{}", "{}");
        check("{\n}\n", "{\n}");
        check("{\n\n\n}\n\n", "{\n}");
        check("\n\n{\n}", "{\n}");
        check("{\r\n}\r\n", "{\r\n}");
        check("{\r\n\r\n}\r\n\r\n", "{\r\n}");
        check("{\n\r\n\r}", "{\n\r}");
        check("{\r\r\n\r\r\n}", "{\r\r\n}");
        check("{ \n \n }", "{ \n \n }");
        check("\r\n\n\r", "");
    }
}
