//! Named values, whether of a form or of a JSON object: what most apps send is a list of these, and
//! only the names differ.

use std::borrow::Cow;
use std::collections::HashMap;

use serde_json::value::RawValue;

/// Named values. Numbers keep the digits they came with: a time as a floating-point number would
/// lose its nanoseconds.
pub enum Fields<'a> {
    Form(HashMap<Cow<'a, str>, Cow<'a, str>>),
    Json(HashMap<String, &'a RawValue>),
}

impl<'a> Fields<'a> {
    /// The parameters of a query or of a form. Of two of the same name, the last one counts.
    pub fn form(text: &'a [u8]) -> Fields<'a> {
        Fields::Form(form_urlencoded::parse(text).collect())
    }

    /// A JSON object, if it is one.
    pub fn json(value: &'a str) -> Option<Fields<'a>> {
        serde_json::from_str(value).ok().map(Fields::Json)
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
            Fields::Form(values) => values.get(name).map(|value| Cow::Borrowed(&**value)),
            Fields::Json(values) => json_text(values.get(name)?.get()),
        }
    }

    /// The JSON of a name, as it is spelled; a form has none.
    pub fn raw(&self, name: &str) -> Option<&'a str> {
        match self {
            Fields::Form(_) => None,
            Fields::Json(values) => values.get(name).map(|value| value.get()),
        }
    }

    /// The JSON object of a name.
    pub fn object(&self, name: &str) -> Option<Fields<'a>> {
        Fields::json(self.raw(name)?)
    }
}

/// The text of a JSON value that is no object, no array and not null.
pub fn json_text(raw: &str) -> Option<Cow<'_, str>> {
    match raw.as_bytes().first()? {
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
