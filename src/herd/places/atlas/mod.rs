//! The atlas that is compiled in: the towns of GeoNames with 1,000 people or more.
//!
//! It needs no network, no key and no thread: a new herd has real places at once. A question costs
//! microseconds, so it is answered on the loop. It knows towns, not shops.
//!
//! The text is unpacked into one block and stays there (`held`):
//!
//! ```text
//! text  =Finland⏎630752⇥Ypäjä⇥60.80⇥23.28⏎630768⇥Ylöjärvi⇥61.55⇥23.58⏎=France⏎…
//! rows           ^0                       ^1                                   ^2
//! regions ^0                                                          ^1
//! index   row ⇄ unit vector
//! ```
//!
//! `make.py`, beside this file, makes the data and describes the text.

use std::fmt;
use std::io::{self, Read};

use flate2::read::GzDecoder;

use super::held::{self, Held, Rows};
use super::{Place, globe};
use herd_core::whatsat::Position;

/// What `make.py` made.
static PACKED: &[u8] = include_bytes!("cities1000.tsv.gz");

/// Bytes and rows of the text in `PACKED`, so that nothing is moved as it grows. Too small only
/// costs time.
const TEXT_BYTES: usize = 6_400_000;
const ROWS: usize = 171_000;

/// `ATTRIBUTION` of `places`, for `html_attributions`.
const HTML_ATTRIBUTION: &str = "Places: <a href=\"https://www.geonames.org/\">GeoNames</a>, \
     <a href=\"https://creativecommons.org/licenses/by/4.0/\">CC BY 4.0</a>, modified";

/// The embedded places, ready to be asked. If some are equally far, the order is by region, then as
/// `make.py` sorts.
pub type Atlas = Held<Towns>;

/// The text of the atlas.
pub struct Towns {
    text: String,
    /// Where the heading of each region begins, in rising order.
    regions: Vec<u32>,
}

/// Why there is no atlas: the compiled-in data are not what `make.py` makes.
#[derive(Debug)]
pub enum AtlasError {
    /// They cannot be unpacked.
    Packed(io::Error),
    /// A line is neither a heading nor a place, or comes before the first heading.
    Line { number: usize },
    /// There are more than can be counted.
    TooMany,
}

/// The fields of a row, still text but for the position.
struct Row<'a> {
    id: &'a str,
    name: &'a str,
    position: Position,
}

impl Atlas {
    /// Unpacks and indexes the compiled-in data. It takes about 60 ms, so a server does it on
    /// a thread of its own while it already listens.
    pub fn load() -> Result<Atlas, AtlasError> {
        Atlas::unpack(PACKED)
    }

    fn unpack(packed: &[u8]) -> Result<Atlas, AtlasError> {
        let mut text = String::with_capacity(TEXT_BYTES);
        GzDecoder::new(packed).read_to_string(&mut text).map_err(AtlasError::Packed)?;
        Atlas::parse(text)
    }

    fn parse(text: String) -> Result<Atlas, AtlasError> {
        let (mut rows, mut regions) = (Vec::with_capacity(ROWS), Vec::new());
        let mut vectors = Vec::with_capacity(ROWS);
        let mut begin = 0;
        for (i, line) in text.lines().enumerate() {
            let offset = u32::try_from(begin).map_err(|_| AtlasError::TooMany)?;
            if line.starts_with('=') {
                regions.push(offset);
            } else {
                let row = Row::parse(line).filter(|_| !regions.is_empty());
                let row = row.ok_or(AtlasError::Line { number: i + 1 })?;
                rows.push(offset);
                vectors.push(globe::unit_vector(row.position));
            }
            begin += line.len() + 1;
        }
        Held::new(Towns { text, regions }, rows, &vectors, Some(HTML_ATTRIBUTION))
            .ok_or(AtlasError::TooMany)
    }
}

impl Rows for Towns {
    fn place(&self, offset: u32) -> Place<'_> {
        let row = held::line(&self.text, offset);
        let row = Row::parse(row).expect("every row was parsed when it was indexed");
        let heading = self.regions.partition_point(|&region| region < offset) - 1;
        Place {
            authority: "geonames",
            id: row.id,
            name: row.name,
            position: row.position,
            vicinity: &held::line(&self.text, self.regions[heading])[1..],
            types: "locality;political",
        }
    }
}

impl<'a> Row<'a> {
    fn parse(line: &'a str) -> Option<Row<'a>> {
        let mut fields = line.split('\t');
        let (id, name) = (fields.next()?, fields.next()?);
        let latitude = degrees(fields.next()?, 90.0)?;
        let longitude = degrees(fields.next()?, 180.0)?;
        let whole = fields.next().is_none() && !id.is_empty();
        whole.then_some(Row { id, name, position: Position { latitude, longitude } })
    }
}

/// A finite number in [-bound, bound].
fn degrees(text: &str, bound: f64) -> Option<f64> {
    text.parse().ok().filter(|degrees| (-bound..=bound).contains(degrees))
}

impl fmt::Display for AtlasError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AtlasError::Packed(error) => write!(f, "the atlas cannot be unpacked: {error}"),
            AtlasError::Line { number } => {
                write!(f, "line {number} of the atlas is neither a region nor a place")
            }
            AtlasError::TooMany => f.write_str("the atlas holds more than can be counted"),
        }
    }
}

impl std::error::Error for AtlasError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            AtlasError::Packed(error) => Some(error),
            AtlasError::Line { .. } | AtlasError::TooMany => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use super::*;
    use crate::places::{Source, render};
    use herd_core::whatsat::Question;

    static ATLAS: LazyLock<Atlas> = LazyLock::new(|| Atlas::load().unwrap());

    fn ask(latitude: f64, longitude: f64, radius_km: f64, bound: u8) -> serde_json::Value {
        let at = Position { latitude, longitude };
        let mut out = Vec::new();
        ATLAS.answer(&Question { at, radius_km, bound }, &mut out);
        let mut normal = Vec::new();
        render::normalise_newlines(&out, &mut normal);
        assert_eq!(out, normal);
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn every_place_is_there() {
        assert_eq!(ATLAS.len(), 170_391);
        for &row in &ATLAS.rows {
            let place = ATLAS.text.place(row);
            assert!(!place.name.is_empty() && !place.vicinity.is_empty(), "{place:?}");
        }
    }

    #[test]
    fn answers() {
        fn check(at: (f64, f64), km: f64, bound: u8, status: &str, count: usize, first: &str) {
            let answer = ask(at.0, at.1, km, bound);
            let context = format!("{at:?} {km} {bound}");
            assert_eq!(answer["status"], status, "{context}");
            assert_eq!(answer["results"].as_array().unwrap().len(), count, "{context}");
            assert_eq!(answer["results"][0]["name"].as_str().unwrap_or(""), first, "{context}");
            let credit = answer["html_attributions"][0].as_str().unwrap();
            assert!(credit.contains("geonames.org") && credit.contains("/by/4.0/"));
        }
        check((60.1699, 24.9384), 50.0, 20, "OK", 20, "Helsinki");
        check((60.16952, 24.93545), 0.0, 20, "OK", 1, "Helsinki");
        check((60.16952, 24.93545), 10.5, 0, "OK", 0, "");
        check((34.06893, -118.445127), 10.0, 5, "OK", 5, "Bel Air");
        check((40.0, -117.8), 20.0, 5, "ZERO_RESULTS", 0, "");
        check((40.0, -117.8), 20.0, 0, "ZERO_RESULTS", 0, "");
        check((90.0, 0.0), 50.0, 20, "ZERO_RESULTS", 0, "");
        check((63.06, -179.9), 50.0, 5, "OK", 1, "Beringovskiy");
    }

    #[test]
    fn a_result_says_where_it_is() {
        let answer = ask(34.05223, -118.24368, 1.0, 20);
        let result = &answer["results"][0];
        assert_eq!(result["name"], "Los Angeles");
        assert_eq!(result["vicinity"], "California, United States");
        assert_eq!(result["place_id"], "geonames:5368361");
        assert_eq!(result["types"], serde_json::json!(["locality", "political"]));
        let location = serde_json::json!({"lat": 34.05223, "lng": -118.24368});
        assert_eq!(result["geometry"]["location"], location);
    }

    #[test]
    fn bad_data_are_refused() {
        fn check(text: &str, expected: &str) {
            let error = Atlas::parse(text.to_owned()).err().unwrap();
            assert_eq!(error.to_string(), expected, "{text:?}");
        }
        let line = |number| format!("line {number} of the atlas is neither a region nor a place");
        check("1\tA\t1\t2\n", &line(1));
        check("=X\n1\tA\t1\t2\n1\tA\t91\t2\n", &line(3));
        check("=X\n1\tA\t1\n", &line(2));
        check("=X\n1\tA\t1\t2\t3\n", &line(2));
        check("=X\n1\tA\tNaN\t2\n", &line(2));
        check("=X\n\n", &line(2));
        let cut = Atlas::unpack(&PACKED[..PACKED.len() / 2]).err().unwrap();
        assert!(cut.to_string().starts_with("the atlas cannot be unpacked: "), "{cut}");
    }
}
