//! Which clients: `kiwi` is that client alone, `jane/*` are all whose names begin with `jane/`, and
//! `*` is everybody.

use std::fmt;
use std::str::FromStr;

/// Clients by the beginning of their names, or one of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    text: String,
    /// Names that begin so, not the name that is so.
    is_prefix: bool,
}

impl Pattern {
    /// The client that is called so, whatever is in its name.
    pub fn of_one(client: String) -> Pattern {
        Pattern { text: client, is_prefix: false }
    }

    pub fn matches(&self, client: &[u8]) -> bool {
        let text = self.text.as_bytes();
        if self.is_prefix { client.starts_with(text) } else { client == text }
    }

    /// The one client that it can match, if it names one.
    pub fn client(&self) -> Option<&str> {
        (!self.is_prefix).then_some(&*self.text)
    }

    /// What all names that it matches begin with.
    pub fn prefix(&self) -> &str {
        &self.text
    }

    pub fn is_everybody(&self) -> bool {
        self.is_prefix && self.text.is_empty()
    }
}

impl FromStr for Pattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Pattern, String> {
        let (text, is_prefix) = match text.strip_suffix('*') {
            Some(prefix) => (prefix, true),
            None => (text, false),
        };
        if text.is_empty() && !is_prefix {
            return Err("an empty pattern is no client's: write * for everybody".to_owned());
        }
        let is_word = |char: char| !char.is_whitespace() && !char.is_control();
        if text.contains('*') || !text.chars().all(is_word) {
            return Err(format!("`{text}` is no pattern: write kiwi, jane/* or *"));
        }
        Ok(Pattern { text: text.to_owned(), is_prefix })
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.text, if self.is_prefix { "*" } else { "" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_is_the_end_of_a_prefix() {
        for (pattern, client, matches) in [
            ("kiwi", "kiwi", true),
            ("kiwi", "kiwis", false),
            ("kiwi", "kiw", false),
            ("kiwi", "Kiwi", false),
            ("jane/*", "jane/phone", true),
            ("jane/*", "jane/", true),
            ("jane/*", "jane", false),
            ("jane/*", "janet/phone", false),
            ("jane/*", "x/jane/phone", false),
            ("*", "anybody", true),
            ("*", "", true),
        ] {
            let read: Pattern = pattern.parse().unwrap();
            assert_eq!(read.matches(client.as_bytes()), matches, "{pattern} {client}");
            assert_eq!(read.to_string(), pattern);
        }
        for wrong in ["", "*/phone", "a*b", "**", "a b", "a\n*"] {
            assert!(wrong.parse::<Pattern>().is_err(), "{wrong}");
        }
    }
}
