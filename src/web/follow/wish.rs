//! What a follower wants to know: the query of a request is read.

use std::time::Duration;

use super::area::Area;
use super::events::Form;
use crate::access::Blurred;
use crate::client::unescape;
use crate::mqtt;

/// Clients that a follower may name.
const IDS_MAX: usize = 100;
const EVERY_DEFAULT: Duration = Duration::from_millis(250);
/// The furthest that a border may be blurred.
const HYSTERESIS_METERS_MAX: f64 = 10_000.0;
const DWELL_MAX: Duration = Duration::from_secs(24 * 3600);

/// Which changes a follower hears of.
#[derive(Clone, Debug, PartialEq)]
pub enum Filter {
    /// Clients whose names begin so: everybody's do with nothing.
    Prefix(Vec<u8>),
    Ids(Vec<Vec<u8>>),
    /// Clients of certain topics.
    Topics(mqtt::Filter),
    Area(Watched),
}

/// An area, and what is said about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Watched {
    /// Enter and exit are told by this name; without one, every move inside.
    pub fence: Option<String>,
    /// Who comes in here is inside.
    pub area: Area,
    /// Who was inside is, until they leave this one.
    pub outer: Area,
    /// A client that comes in is announced after so long inside.
    pub dwell: Duration,
}

/// What a follower asks for.
#[derive(Clone, Debug, PartialEq)]
pub struct Wish {
    pub filter: Filter,
    /// It is told no more often.
    pub every: Duration,
    pub form: Form,
}

impl Wish {
    /// Reads a query.
    ///
    /// # Errors
    /// A sentence for the one who asks.
    pub fn parse(query: &str) -> Result<Wish, String> {
        let (every, form) = (EVERY_DEFAULT, Form::Events);
        let mut wish = Wish { filter: Filter::Prefix(Vec::new()), every, form };
        let (mut ids, mut filters, mut hysteresis, mut dwell) = (Vec::new(), 0, 0.0, 0.0);
        for part in query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let bytes = unescape(value);
            let text = String::from_utf8_lossy(&bytes);
            let wrong = |what: &str| format!("`{name}={value}` is wrong: {what}\n");
            let number = || {
                let number = text.parse::<f64>().ok().filter(|number| *number >= 0.0);
                number.ok_or_else(|| wrong("a number that is not negative"))
            };
            match name {
                "prefix" => wish.filter = Filter::Prefix(bytes),
                "id" => ids.push(bytes),
                "bbox" => {
                    let area = Area::parse(&text)
                        .ok_or_else(|| wrong("four degrees: bbox=west,south,east,north"))?;
                    wish.filter = Filter::Area(Watched::of(None, area));
                }
                "fence" => {
                    let fence = text.split_once(':').and_then(|(fence, area)| {
                        Some(Watched::of(Some(fence.to_owned()), Area::parse(area)?))
                    });
                    let how = "a name and four degrees: fence=depot:west,south,east,north";
                    wish.filter = Filter::Area(fence.ok_or_else(|| wrong(how))?);
                }
                "hysteresis" => hysteresis = number()?.min(HYSTERESIS_METERS_MAX),
                "dwell" => dwell = number()?.min(DWELL_MAX.as_secs_f64()),
                "every" => wish.every = Duration::from_millis(number()?.min(60_000.0) as u64),
                _ => {
                    return Err(wrong(
                        "follow knows prefix, id, bbox, fence, hysteresis, \
                                       dwell and every",
                    ));
                }
            }
            filters += usize::from(matches!(name, "prefix" | "bbox" | "fence"));
        }
        filters += usize::from(!ids.is_empty());
        if filters > 1 {
            return Err("follow one of prefix, id, bbox and fence\n".to_owned());
        }
        if ids.len() > IDS_MAX {
            return Err(format!("follow at most {IDS_MAX} clients by id\n"));
        }
        if !ids.is_empty() {
            wish.filter = Filter::Ids(ids);
        }
        match &mut wish.filter {
            Filter::Area(watched) => {
                watched.outer = watched.area.grown(hysteresis);
                watched.dwell = Duration::from_secs_f64(dwell);
            }
            _ if hysteresis > 0.0 || dwell > 0.0 => {
                return Err("hysteresis and dwell are a fence's\n".to_owned());
            }
            _ => {}
        }
        Ok(wish)
    }

    /// The same for somebody who may only know in which square one client is; `None` if it asks
    /// for anything else.
    pub fn blurred(self, blurred: &Blurred) -> Option<Wish> {
        let is_it = |id: &Vec<u8>| **id == *blurred.client.as_bytes();
        let asks_for_it = matches!(&self.filter, Filter::Ids(ids) if ids.iter().all(is_it));
        asks_for_it.then_some(Wish { form: Form::Squares(blurred.blur), ..self })
    }

    /// What a subscriber of MQTT asks for.
    pub fn of_topics(filter: mqtt::Filter) -> Wish {
        let form = Form::Messages { root: filter.root().into() };
        let filter = match filter.client() {
            Some(client) => Filter::Ids(vec![client.into_bytes()]),
            None => Filter::Topics(filter),
        };
        Wish { filter, every: EVERY_DEFAULT, form }
    }
}

impl Watched {
    fn of(fence: Option<String>, area: Area) -> Watched {
        Watched { fence, area, outer: area, dwell: Duration::ZERO }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read() {
        let (every, form) = (EVERY_DEFAULT, Form::Events);
        let all = Wish { filter: Filter::Prefix(Vec::new()), every, form: form.clone() };
        assert_eq!(Wish::parse("").unwrap(), all);
        let jane = Wish { filter: Filter::Prefix(b"jane/".to_vec()), every, form: form.clone() };
        assert_eq!(Wish::parse("prefix=jane%2F&").unwrap(), jane);
        let ids = Filter::Ids(vec![b"a".to_vec(), b"b c".to_vec()]);
        let two = Wish { filter: ids, every: Duration::from_millis(50), form };
        assert_eq!(Wish::parse("id=a&id=b%20c&every=50").unwrap(), two);
        let depot = Wish::parse("fence=depot:24,60,25,61&hysteresis=50&dwell=1.5").unwrap();
        let Filter::Area(watched) = depot.filter else { panic!("a fence is an area") };
        assert_eq!(watched.fence.as_deref(), Some("depot"));
        assert!(watched.outer.west < 24.0 && watched.dwell == Duration::from_millis(1_500));
        for (query, why) in [
            ("bbox=1,2,3", "four degrees"),
            ("fence=1,2,3,4", "a name and four degrees"),
            ("prefix=a&id=b", "one of prefix"),
            ("prefix=a&dwell=1", "a fence's"),
            ("every=soon", "a number"),
            ("colour=red", "follow knows prefix"),
            (&"id=a&".repeat(101), "at most 100"),
        ] {
            let complaint = Wish::parse(query).unwrap_err();
            assert!(complaint.contains(why), "{query}: {complaint}");
        }
    }
}
