//! How a URL is shown: without what may be a secret.
//!
//! Every message that quotes a URL needs it, because an operator may have pasted a key or a
//! password into any part of one. It checks nothing; `places` says which URLs are fit.

/// A run of so many letters and digits may be a key; Google's have 39. Words are shorter, or have
/// small letters only.
const KEY_CHARS_MIN: usize = 20;

/// The URL with `…` in place of a user, a query, a fragment, and whatever looks like a key.
pub fn shown(url: &str) -> String {
    let (scheme, rest) = match url.find("://") {
        Some(at) => url.split_at(at + "://".len()),
        None => ("", url),
    };
    let end = rest.find(['?', '#']).unwrap_or(rest.len());
    let (rest, query) = rest.split_at(end);
    let authority = rest.find('/').unwrap_or(rest.len());
    let (mut host, mut path) = rest.split_at(authority);
    // A host may have a name as long as a key; without a scheme, nothing says that it is one.
    if scheme.is_empty() {
        (host, path) = ("", rest);
    }
    let (user, host) = match host.rsplit_once('@') {
        Some((_, host)) => ("…@", host),
        None => ("", host),
    };
    let mark = if query.is_empty() { String::new() } else { format!("{}…", &query[..1]) };
    format!("{scheme}{user}{host}{}{mark}", without_keys(path))
}

fn without_keys(path: &str) -> String {
    let is_key_char = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    let mut shown = String::new();
    let mut rest = path;
    while let Some(first) = rest.chars().next() {
        let run = rest.find(|c| !is_key_char(c)).unwrap_or(rest.len());
        let (piece, behind) = rest.split_at(if run > 0 { run } else { first.len_utf8() });
        let is_word = |c: char| c.is_ascii_lowercase() || matches!(c, '-' | '_');
        let is_key = run >= KEY_CHARS_MIN && !piece.chars().all(is_word);
        shown.push_str(if is_key { "…" } else { piece });
        rest = behind;
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_not_shown() {
        const KEY: &str = "AIzaSyA-0123456789_abcdefghijklmnopqrst";
        fn check(url: &str, expected: &str) {
            assert_eq!(shown(url), expected);
        }
        check(
            "https://a.example:8443/v1/places:searchNearby",
            "https://a.example:8443/v1/places:searchNearby",
        );
        check("http://[::1]:9/json", "http://[::1]:9/json");
        check(
            "https://a-name-of-more-than-twenty.example",
            "https://a-name-of-more-than-twenty.example",
        );
        check(&format!("https://a.example/json?key={KEY}"), "https://a.example/json?…");
        check("https://a.example/json?", "https://a.example/json?…");
        check(&format!("https://a.example#{KEY}"), "https://a.example#…");
        check(&format!("https://a.example/{KEY}/json"), "https://a.example/…/json");
        check("https://me:pass@a.example/", "https://…@a.example/");
        check("https://me@x:pass@a.example/é", "https://…@a.example/é");
        check(KEY, "…");
        check(&format!("{KEY} x"), "… x");
        check(&format!("a.example/?{KEY}"), "a.example/?…");
        check("https://a.example/questions_per_second", "https://a.example/questions_per_second");
        check("", "");
    }
}
