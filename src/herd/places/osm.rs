//! OpenStreetMap's tags in the words of a Nearby Search.
//!
//! Two sources read tags: `overpass` gets them from a service, `file` finds them in what ogr2ogr
//! writes. It looks tags up by name and does not care where they are kept.

use std::borrow::Cow;

/// The keys that make a thing a place, the most informative first.
pub const KEYS: &[&str] = &["amenity", "shop", "tourism", "leisure", "office", "craft", "historic"];

/// The attribution that the licence of the data, ODbL 1.0, requires.
pub const ATTRIBUTION: &str = "&copy; <a href=\"https://www.openstreetmap.org/copyright\">\
     OpenStreetMap contributors</a>, \
     <a href=\"https://opendatacommons.org/licenses/odbl/1-0/\">ODbL</a>";

/// Appends the place's types, with semicolons between them as OpenStreetMap itself has it.
///
/// A value such as `cafe`, `pharmacy` or `museum` is mostly the very word that Google uses; what
/// differs is left as it is, for a wrong word would be worse than an unknown one. Every shop is a
/// `store` as well.
pub fn write_types<'t>(tag: impl Fn(&str) -> Option<&'t str>, out: &mut String) {
    let begin = out.len();
    for key in KEYS {
        let Some(value) = tag(key) else { continue };
        let word = if *key == "shop" { "store" } else { "" };
        let value = if matches!(value, "yes" | "no") { "" } else { value };
        for part in [value, word].into_iter().filter(|part| !part.is_empty()) {
            if out.len() > begin {
                out.push(';');
            }
            out.push_str(part);
        }
    }
}

/// Appends street, number and town, as far as the tags name them.
pub fn write_vicinity<'t>(tag: impl Fn(&str) -> Option<&'t str>, out: &mut String) {
    let begin = out.len();
    let street = tag("addr:street").or_else(|| tag("addr:place"));
    if let Some(street) = street {
        out.push_str(street);
        if let Some(number) = tag("addr:housenumber") {
            out.push(' ');
            out.push_str(number);
        }
    }
    if let Some(city) = tag("addr:city") {
        out.push_str(if out.len() > begin { ", " } else { "" });
        out.push_str(city);
    }
}

/// Splits ogr2ogr's `other_tags`, which has the tags that got no column as PostgreSQL writes an
/// hstore: `"amenity"=>"cafe","name:fi"=>"say \"hei\""`. A tag whose value is `NULL` is none. What
/// follows a mistake is not seen.
pub fn split_hstore(text: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    let mut rest = text;
    let pairs = std::iter::from_fn(move || {
        let key = take_quoted(&mut rest)?;
        rest = rest.trim_start().strip_prefix("=>")?.trim_start();
        let value = match rest.get(..4) {
            Some(null) if null.eq_ignore_ascii_case("NULL") => {
                rest = &rest[4..];
                None
            }
            _ => Some(take_quoted(&mut rest)?),
        };
        rest = rest.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest);
        Some((key, value))
    });
    pairs.filter_map(|(key, value)| value.map(|value| (key, value)))
}

fn take_quoted<'t>(rest: &mut &'t str) -> Option<Cow<'t, str>> {
    let text = rest.trim_start().strip_prefix('"')?;
    let mut plain = String::new();
    let mut begin = 0;
    while let Some(length) = text[begin..].find(['"', '\\']) {
        let end = begin + length;
        if text.as_bytes()[end] == b'"' {
            *rest = &text[end + 1..];
            if plain.is_empty() {
                return Some(Cow::Borrowed(&text[begin..end]));
            }
            plain.push_str(&text[begin..end]);
            return Some(Cow::Owned(plain));
        }
        plain.push_str(&text[begin..end]);
        let escaped = text[end + 1..].chars().next()?;
        plain.push(escaped);
        begin = end + 1 + escaped.len_utf8();
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hstore_is_split() {
        fn check(text: &str, expected: &[(&str, &str)]) {
            let found: Vec<_> = split_hstore(text).collect();
            let expected: Vec<_> =
                expected.iter().map(|&(key, value)| (key.into(), value.into())).collect();
            assert_eq!(found, expected, "{text}");
        }
        check("", &[]);
        check(r#""amenity"=>"cafe""#, &[("amenity", "cafe")]);
        check(r#""a"=>"b","c"=>"d,\"e\"=>f""#, &[("a", "b"), ("c", "d,\"e\"=>f")]);
        check(r#""a" => "b" , "c" => """#, &[("a", "b"), ("c", "")]);
        check(r#""a"=>"\\","b"=>"\é""#, &[("a", "\\"), ("b", "é")]);
        check(r#""a"=>"b","c"=>NULL,"d"=>"e""#, &[("a", "b"), ("d", "e")]);
        check(r#""c"=> null"#, &[]);
        check(r#""a"=>"b","c"=>nothing,"d"=>"e""#, &[("a", "b")]);
        check(r#""a"=>"b"#, &[]);
        check(r#""a"=>"b\"#, &[]);
    }

    #[test]
    fn tags_become_types_and_a_vicinity() {
        fn check(tags: &[(&str, &'static str)], types: &str, vicinity: &str) {
            let tag =
                |key: &str| tags.iter().find(|(other, _)| *other == key).map(|&(_, value)| value);
            let (mut seen_types, mut seen_vicinity) = (String::new(), String::new());
            write_types(tag, &mut seen_types);
            write_vicinity(tag, &mut seen_vicinity);
            assert_eq!((seen_types.as_str(), seen_vicinity.as_str()), (types, vicinity));
        }
        check(&[], "", "");
        check(&[("shop", "bakery"), ("amenity", "cafe")], "cafe;bakery;store", "");
        check(&[("shop", "yes")], "store", "");
        check(&[("historic", "yes"), ("addr:city", "Helsinki")], "", "Helsinki");
        let street = ("addr:street", "Aleksanterinkatu");
        check(&[street, ("addr:housenumber", "1")], "", "Aleksanterinkatu 1");
        check(&[street, ("addr:city", "Helsinki")], "", "Aleksanterinkatu, Helsinki");
        check(&[("addr:housenumber", "1"), ("addr:place", "Kylä")], "", "Kylä 1");
    }
}
