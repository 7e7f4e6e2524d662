//! What a course server wants around the AT lines it is sent: the assignment leaves that open, and
//! each herd has settled it its own way.
//!
//! A flag and a key of herd.toml say it in the same words.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, de};

use super::herd::parse_name;

/// How a course server wants its AT lines. The default is the bare line with a newline.
///
/// It is spelled as words with commas between them: `crlf,sender,word=FLOOD`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainShape {
    /// CR LF ends the line: Twisted's `LineReceiver` knows no other end.
    pub crlf: bool,
    /// The sender's name stands behind the report.
    pub sender: bool,
    /// Stands before AT, in both directions.
    pub word: Option<String>,
}

impl FromStr for PlainShape {
    type Err = String;

    fn from_str(text: &str) -> Result<PlainShape, String> {
        let mut shape = PlainShape::default();
        for word in text.split(',').map(str::trim) {
            match word.split_once('=') {
                None if word == "crlf" => shape.crlf = true,
                None if word == "lf" => shape.crlf = false,
                None if word == "sender" => shape.sender = true,
                Some(("word", word)) => shape.word = Some(parse_name(word)?),
                _ => {
                    return Err(format!(
                        "`{}` is no shape of AT lines: write lf, crlf, sender or word=WORD, with \
                         commas between them",
                        word.escape_debug()
                    ));
                }
            }
        }
        Ok(shape)
    }
}

impl fmt::Display for PlainShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.crlf { "crlf" } else { "lf" })?;
        if self.sender {
            f.write_str(",sender")?;
        }
        self.word.iter().try_for_each(|word| write!(f, ",word={word}"))
    }
}

impl<'de> Deserialize<'de> for PlainShape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<PlainShape, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_are_spelled_in_words() {
        for (text, again) in [
            ("lf", "lf"),
            ("crlf", "crlf"),
            ("sender", "lf,sender"),
            ("word=FLOOD, sender, crlf", "crlf,sender,word=FLOOD"),
            ("crlf,lf", "lf"),
        ] {
            assert_eq!(text.parse::<PlainShape>().unwrap().to_string(), again);
        }
        assert_eq!("lf".parse(), Ok(PlainShape::default()));
        for bad in ["", "cr", "CRLF", "sender=1", "word", "word=", "word=A B", "crlf;sender"] {
            let message = bad.parse::<PlainShape>().unwrap_err();
            assert!(message.contains(" is no "), "{message}");
        }
    }
}
