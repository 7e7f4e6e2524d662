//! Named values, whether of a form or of a JSON object: what most apps send is a list of these, and
//! only the names differ.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Values of one object or form. No app sends a tenth of it, and each is looked for by a walk.
const FIELDS_MAX: usize = 256;

/// Named values, in the order in which they came: most have ten, and a walk finds one sooner than a
/// hash. Numbers keep the digits they came with: a time as a floating-point number would lose its
/// nanoseconds.
pub enum Fields<'a> {
    Form(Vec<(Cow<'a, str>, Cow<'a, str>)>),
    Json(Vec<(Cow<'a, str>, &'a RawValue)>),
}

impl<'a> Fields<'a> {
    /// The parameters of a query or of a form, as far as they are looked at. Of two of the same
    /// name, the last one counts.
    pub fn form(text: &'a [u8]) -> Fields<'a> {
        Fields::Form(form_urlencoded::parse(text).take(FIELDS_MAX).collect())
    }

    /// A JSON object, if it is one and has no more values than are looked at.
    pub fn json(value: &'a str) -> Option<Fields<'a>> {
        let Object(values) = serde_json::from_str(value).ok()?;
        Some(Fields::Json(values))
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Fields::Form(values) => values.is_empty(),
            Fields::Json(values) => values.is_empty(),
        }
    }

    /// The value of the first of these names that has one that is not empty: a text, or a number or
    /// a truth as it is spelled.
    pub fn text(&self, names: &[&str]) -> Option<Cow<'_, str>> {
        let mut texts = names.iter().filter_map(|name| self.one_text(name));
        texts.find(|text| !text.is_empty())
    }

    fn one_text(&self, name: &str) -> Option<Cow<'_, str>> {
        match self {
            Fields::Form(values) => last(values, name).map(|value| Cow::Borrowed(&**value)),
            Fields::Json(values) => json_text(last(values, name)?.get()),
        }
    }

    /// The JSON of a name, as it is spelled; a form has none.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        match self {
            Fields::Form(_) => None,
            Fields::Json(values) => last(values, name).map(|value| value.get()),
        }
    }

    /// The JSON object of a name.
    pub fn object(&self, name: &str) -> Option<Fields<'a>> {
        Fields::json(self.raw(name)?)
    }
}

fn last<'b, T>(values: &'b [(Cow<'_, str>, T)], name: &str) -> Option<&'b T> {
    values.iter().rev().find(|(other, _)| other == name).map(|(_, value)| value)
}

/// A JSON object, taken apart and no further.
struct Object<'a>(Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Object<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Values;
        impl<'de> Visitor<'de> for Values {
            type Value = Object<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                // A phone's object has fewer.
                let mut values = Vec::with_capacity(16);
                while let Some((Name(name), value)) = map.next_entry()? {
                    if values.len() == FIELDS_MAX {
                        return Err(A::Error::custom("too many values"));
                    }
                    values.push((name, value));
                }
                Ok(Object(values))
            }
        }
        from.deserialize_map(Values)
    }
}

/// The name of a value: a piece of the text, unless it has escapes.
struct Name<'a>(Cow<'a, str>);

impl<'de: 'a, 'a> Deserialize<'de> for Name<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Text;
        impl<'de> Visitor<'de> for Text {
            type Value = Name<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_str<E: Error>(self, name: &'de str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Borrowed(name)))
            }

            fn visit_str<E: Error>(self, name: &str) -> Result<Self::Value, E> {
                Ok(Name(Cow::Owned(name.to_owned())))
            }
        }
        from.deserialize_str(Text)
    }
}

/// The text of a JSON value that is no object, no array and not null. Nothing is copied, unless it
/// has escapes.
pub fn json_text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
        b'"' if !raw.contains('\\') => Some(Cow::Borrowed(&raw[1..raw.len() - 1])),
        b'"' => serde_json::from_str::<String>(raw).ok().map(Cow::Owned),
        b'{' | b'[' | b'n' => None,
        _ => Some(Cow::Borrowed(raw)),
    }
}

/// The elements of a JSON array, if it is one.
pub fn json_array(raw: &str) -> Option<Vec<&RawValue>> {
    serde_json::from_str(raw).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms_and_objects_are_asked_alike() {
        let form = Fields::form(b"id=jane+doe&lat=1%2C5&empty=&timestamp=1795910184");
        let json =
            Fields::json(r#"{"id":"jane doe","lat":"1,5","empty":null,"timestamp":1795910184}"#);
        for fields in [form, json.unwrap()] {
            assert_eq!(fields.text(&["deviceid", "empty", "id"]).as_deref(), Some("jane doe"));
            assert_eq!(fields.text(&["lat"]).as_deref(), Some("1,5"));
            assert_eq!(fields.text(&["timestamp"]).as_deref(), Some("1795910184"));
            assert_eq!(fields.text(&["empty"]), None);
        }
    }

    #[test]
    fn numbers_keep_their_digits() {
        let json = Fields::json(r#"{"a":1795910184.123456789,"b":-0.10,"c":true,"d":{"e":[1]}}"#);
        let json = json.unwrap();
        assert_eq!(json.text(&["a"]).as_deref(), Some("1795910184.123456789"));
        assert_eq!(json.text(&["b"]).as_deref(), Some("-0.10"));
        assert_eq!(json.text(&["c"]).as_deref(), Some("true"));
        assert_eq!(json.text(&["d"]), None);
        assert_eq!(json.object("d").unwrap().raw("e"), Some("[1]"));
        assert!(Fields::json("[1]").is_none() && Fields::json("{").is_none());
    }
}
