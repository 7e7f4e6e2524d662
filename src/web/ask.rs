//! Questions for clients: what the query of `/v1/clients` may say, and what is wrong with it if it
//! says something else.

//!
//! `openapi.json` describes the same for programs; a test compares the two, and another one what it
//! says with what a server does.

use crate::client::unescape;
use crate::nearby::{Area, Point};

/// How programs are told what the port takes and answers: OpenAPI 3.1.
pub const OPENAPI: &str = include_str!("openapi.json");

/// What `/v1/clients` may be asked with.
const OF_CLIENTS: [&str; 9] =
    ["bbox", "near", "radius", "prefix", "id", "limit", "cursor", "max_age", "thin"];
/// What `/v1/clients/ID/near` may.
const OF_NEAR: [&str; 4] = ["radius", "limit", "cursor", "max_age"];
/// What `/v1/clients/ID/places` may.
const OF_PLACES: [&str; 2] = ["radius", "limit"];

/// Clients in one answer, unless the question says otherwise.
const LIMIT: usize = 100;
/// The most that it may say: an answer is written within a turn of the loop.
const LIMIT_MAX: usize = 1_000;
/// Clients that may be asked for by name.
const IDS_MAX: usize = 100;
/// Half around the globe.
const RADIUS_M_MAX: f64 = 20_037_508.0;

/// Which clients a question is about.
#[derive(Clone, Debug, PartialEq)]
pub enum Selection {
    /// These, in this order.
    Named(Vec<Vec<u8>>),
    /// Those whose names begin so: with nothing, all do.
    Beginning(Vec<u8>),
    Inside(Area),
    /// The nearest first.
    Near {
        centre: Point,
        radius_m: f64,
    },
}

/// A question.
#[derive(Clone, Debug, PartialEq)]
pub struct Ask {
    pub selection: Selection,
    pub limit: usize,
    /// Where an earlier answer broke off: two numbers that it gave.
    pub cursor: Option<(u64, u64)>,
    /// Only reports of the last so many seconds.
    pub max_age_s: Option<u64>,
    /// Instead of many clients, how many there are where.
    pub thins: bool,
}

/// The parameters, each at most once but `id`.
#[derive(Default)]
struct Parameters {
    ids: Vec<Vec<u8>>,
    others: Vec<(&'static str, String)>,
}

impl Parameters {
    fn read(query: &str, known: &[&'static str]) -> Result<Parameters, String> {
        let mut read = Parameters::default();
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let Some(&name) = known.iter().find(|&&known| known == name) else {
                let name = name.escape_default();
                return Err(format!(
                    "no parameter is called {name}: there is {}",
                    known.join(", ")
                ));
            };
            if name == "id" {
                read.ids.push(unescape(value));
                continue;
            }
            if read.text(name).is_some() {
                return Err(format!("{name} is there twice"));
            }
            let value = String::from_utf8(unescape(value));
            read.others.push((name, value.map_err(|_| format!("{name} is not UTF-8"))?));
        }
        Ok(read)
    }

    fn text(&self, name: &str) -> Option<&str> {
        let mut others = self.others.iter();
        others.find(|(other, _)| *other == name).map(|(_, value)| &**value)
    }

    /// A whole number.
    fn count(&self, name: &str) -> Result<Option<u64>, String> {
        let read = |text: &str| text.parse().map_err(|_| format!("{name} must be a whole number"));
        self.text(name).map(read).transpose()
    }

    fn limit(&self, most: usize, otherwise: usize) -> Result<usize, String> {
        match self.count("limit")? {
            None => Ok(otherwise),
            Some(limit) if (1..=most as u64).contains(&limit) => Ok(limit as usize),
            Some(_) => Err(format!("limit must be 1 to {most}")),
        }
    }

    fn radius_m(&self) -> Result<f64, String> {
        let why = "radius must be metres, 0 to 20037508";
        let text = self.text("radius").ok_or(why)?;
        let radius = text.parse().ok().filter(|it| (0.0..=RADIUS_M_MAX).contains(it));
        radius.ok_or_else(|| why.to_owned())
    }
}

impl Ask {
    /// Reads the query of `/v1/clients`.
    ///
    /// # Errors
    /// A sentence for who has asked.
    pub fn read(query: &str) -> Result<Ask, String> {
        let read = Parameters::read(query, &OF_CLIENTS)?;
        let selection = [
            read.text("bbox").map(|text| area(text).map(Selection::Inside)),
            read.text("near").map(|text| near(text, &read)),
            read.text("prefix").map(|text| Ok(Selection::Beginning(text.as_bytes().to_vec()))),
            (!read.ids.is_empty()).then(|| named(&read.ids)),
        ];
        let mut selection = selection.into_iter().flatten();
        let (first, second) = (selection.next(), selection.next());
        if second.is_some() {
            return Err("of bbox, near, prefix and id, only one may be there".to_owned());
        }
        let selection = first.unwrap_or(Ok(Selection::Beginning(Vec::new())))?;
        if read.text("radius").is_some() && !matches!(selection, Selection::Near { .. }) {
            return Err("radius belongs to near".to_owned());
        }
        let thins = match read.text("thin") {
            None | Some("false") => false,
            Some("true") if matches!(selection, Selection::Inside(_)) => true,
            Some("true") => return Err("thin belongs to bbox".to_owned()),
            Some(_) => return Err("thin must be true or false".to_owned()),
        };
        let ask = Ask {
            selection,
            limit: read.limit(LIMIT_MAX, LIMIT)?,
            cursor: None,
            max_age_s: None,
            thins,
        };
        ask.with_page(&read)
    }

    /// Reads the query of `/v1/clients/ID/near`; the client is there.
    ///
    /// # Errors
    /// A sentence for who has asked.
    pub fn read_around(query: &str, centre: Point) -> Result<Ask, String> {
        let read = Parameters::read(query, &OF_NEAR)?;
        let selection = Selection::Near { centre, radius_m: read.radius_m()? };
        let limit = read.limit(LIMIT_MAX, LIMIT)?;
        Ask { selection, limit, cursor: None, max_age_s: None, thins: false }.with_page(&read)
    }

    fn with_page(self, read: &Parameters) -> Result<Ask, String> {
        let number = |text| u64::from_str_radix(text, 16).ok();
        let cursor = match read.text("cursor") {
            None => None,
            Some(_) if matches!(self.selection, Selection::Named(_)) => {
                return Err("cursor does not belong to id".to_owned());
            }
            Some(text) => {
                let both = text.split_once('-').and_then(|(a, b)| number(a).zip(number(b)));
                Some(both.ok_or("cursor must be one that `next` of an answer has")?)
            }
        };
        Ok(Ask { cursor, max_age_s: read.count("max_age")?, ..self })
    }
}

/// How places are asked for, in kilometres and places: the query of `/v1/clients/ID/places`.
///
/// # Errors
/// A sentence for who has asked.
pub fn read_places(query: &str) -> Result<(f64, u8), String> {
    let read = Parameters::read(query, &OF_PLACES)?;
    let radius = read.text("radius").unwrap_or("10000");
    let radius = radius.parse().ok().filter(|it| (0.0..=50_000.0).contains(it));
    let radius_m: f64 = radius.ok_or("radius must be metres, 0 to 50000")?;
    Ok((radius_m / 1_000.0, read.limit(20, 5)? as u8))
}

fn area(text: &str) -> Result<Area, String> {
    let why = "bbox must be west,south,east,north in degrees, for instance 24.5,60,25.5,60.5";
    let numbers: Option<Vec<f64>> = text.split(',').map(|it| it.trim().parse().ok()).collect();
    let corners = match numbers.as_deref() {
        Some(&[west, south, east, north]) => Point::new(south, west).zip(Point::new(north, east)),
        _ => None,
    };
    let (southwest, northeast) = corners.ok_or(why)?;
    Area::between(southwest, northeast)
        .ok_or_else(|| "bbox has its south north of its north".to_owned())
}

fn near(text: &str, read: &Parameters) -> Result<Selection, String> {
    let why = "near must be latitude,longitude in degrees, for instance 60.1699,24.9384";
    let centre = text.split_once(',').and_then(|(latitude, longitude)| {
        Point::new(latitude.trim().parse().ok()?, longitude.trim().parse().ok()?)
    });
    Ok(Selection::Near { centre: centre.ok_or(why)?, radius_m: read.radius_m()? })
}

fn named(ids: &[Vec<u8>]) -> Result<Selection, String> {
    if ids.len() > IDS_MAX {
        return Err(format!("ask for 1 to {IDS_MAX} clients: /v1/clients?id=kiwi&id=fig"));
    }
    Ok(Selection::Named(ids.to_vec()))
}

/// The query that asks for what comes next: the same with another cursor.
pub fn next_query(query: &str, (first, second): (u64, u64)) -> String {
    let parts = query.split('&').filter(|part| !part.is_empty() && !part.starts_with("cursor="));
    let mut next = Vec::from_iter(parts.map(str::to_owned));
    next.push(format!("cursor={first:x}-{second:x}"));
    next.join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_read() {
        let read = |query: &str| Ask::read(query).unwrap();
        let helsinki = Point::new(60.1699, 24.9384).unwrap();
        let near = read("near=60.1699,24.9384&radius=1e3&limit=7&max_age=60&cursor=ff-1");
        assert_eq!(near.selection, Selection::Near { centre: helsinki, radius_m: 1_000.0 });
        assert_eq!((near.limit, near.cursor, near.max_age_s), (7, Some((255, 1)), Some(60)));
        assert_eq!(read("near=60.1699%2C24.9384&radius=0").limit, LIMIT);
        let corners = [(60.0, 179.0), (61.0, -179.0)].map(|(a, b)| Point::new(a, b).unwrap());
        let area = Area::between(corners[0], corners[1]).unwrap();
        let inside = read("bbox=179,60,-179,61&thin=true");
        assert_eq!((inside.selection, inside.thins), (Selection::Inside(area), true));
        assert_eq!(read("prefix=jane/").selection, Selection::Beginning(b"jane/".to_vec()));
        assert_eq!(read("").selection, Selection::Beginning(Vec::new()));
        let ids = Selection::Named(vec![b"a b".to_vec(), b"\xff".to_vec()]);
        assert_eq!(read("id=a%20b&id=%ff").selection, ids);
        assert_eq!(read_places("").unwrap(), (10.0, 5));
        assert_eq!(read_places("limit=20&radius=500").unwrap(), (0.5, 20));
        assert_eq!(next_query("a=b&cursor=1-2&&c", (255, 3)), "a=b&c&cursor=ff-3");
        assert_eq!(next_query("", (0, 3)), "cursor=0-3");
    }

    #[test]
    fn who_asks_wrongly_is_told_why() {
        for (query, why) in [
            ("bbox=1,2,3", "bbox must be"),
            ("bbox=1,2,3,91", "bbox must be"),
            ("bbox=1,3,3,2", "south north"),
            ("bbox=1,2,3,NaN", "bbox must be"),
            ("near=91,0&radius=1", "near must be"),
            ("near=60,24", "radius must be metres"),
            ("near=60,24&radius=-1", "radius must be metres"),
            ("near=60,24&radius=inf", "radius must be metres"),
            ("radius=5", "radius belongs to near"),
            ("bbox=1,2,3,4&near=1,2&radius=1", "only one"),
            ("limit=0", "limit must be 1 to 1000"),
            ("limit=1001", "limit must be 1 to 1000"),
            ("limit=x", "whole number"),
            ("limit=1&limit=1", "twice"),
            ("max_age=-1", "whole number"),
            ("cursor=5", "cursor must be"),
            ("id=a&cursor=5-5", "does not belong"),
            ("thin=true", "thin belongs to bbox"),
            ("thin=1&bbox=1,2,3,4", "true or false"),
            ("prefix=%ff", "not UTF-8"),
            ("name=kiwi", "no parameter is called name"),
        ] {
            let told = Ask::read(query).unwrap_err();
            assert!(told.contains(why), "{query}: {told}");
        }
        assert!(Ask::read(&"id=a&".repeat(101)).unwrap_err().contains("1 to 100 clients"));
        assert!(read_places("radius=50001").unwrap_err().contains("metres"));
        assert!(read_places("limit=21").unwrap_err().contains("1 to 20"));
        let centre = Point::new(0.0, 0.0).unwrap();
        assert!(Ask::read_around("near=1,2&radius=1", centre).unwrap_err().contains("called near"));
    }

    /// Goal: the description names what is read, no more and no less.
    #[test]
    fn the_description_has_all_parameters() {
        let described: serde_json::Value = serde_json::from_str(OPENAPI).unwrap();
        let of = |path: &str, parameters: &[&str]| {
            let operation = &described["paths"][path]["get"];
            let all = operation["parameters"].as_array().unwrap().iter();
            let in_query = all.filter(|it| it["in"] == "query").map(|it| it["name"].as_str());
            assert_eq!(Vec::from_iter(in_query.flatten()), parameters, "{path}");
        };
        of("/v1/clients", &OF_CLIENTS);
        of("/v1/clients/{id}/near", &OF_NEAR);
        of("/v1/clients/{id}/places", &OF_PLACES);
    }
}
