//! What a course server wants around the AT lines it is sent: the assignment leaves that open, and
//! each herd has settled it its own way.
//!
//! A flag and a key of herd.toml say it in the same words.

use std::fmt;
use std::str::FromStr;

use herd_core::Frame;
use serde::{Deserialize, Deserializer, de};

use super::herd::parse_name;

/// How a course server wants its AT lines. The default is the bare line with a newline.
///
/// It is spelled as words with commas between them: `crlf,sender,word=FLOOD`. A whole line comes
/// last, because it may have commas: `crlf,line=AT {us},{peer} {server} {skew} …`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlainShape {
    /// CR LF ends the line: Twisted's `LineReceiver` knows no other end.
    pub crlf: bool,
    /// The sender's name stands behind the report.
    pub sender: bool,
    /// Stands before AT, in both directions.
    pub word: Option<String>,
    /// The whole line, without its end: fields of the report and names of the two servers stand in
    /// braces.
    pub line: Option<String>,
}

/// An AT line, as a frame has it.
const AT: &str = "AT {server} {skew} {client} {position} {time}";

impl PlainShape {
    /// The lines that our server `us` sends to the course server `peer`.
    pub fn frame(&self, us: &str, peer: &str) -> Frame {
        let mut line = match &self.line {
            Some(line) => line.clone(),
            None => self.word.as_ref().map_or(String::new(), |word| format!("{word} ")) + AT,
        };
        if self.sender {
            line += " {us}";
        }
        line += if self.crlf { "\r\n" } else { "\n" };
        Frame::parse(&line, us, peer).expect("a line was parsed before, and AT has all fields")
    }

    fn add(&mut self, word: &str) -> Result<(), String> {
        match word.split_once('=') {
            None if word == "crlf" => self.crlf = true,
            None if word == "lf" => self.crlf = false,
            None if word == "sender" => self.sender = true,
            Some(("word", word)) => self.word = Some(parse_name(word)?),
            _ => {
                return Err(format!(
                    "`{}` is no shape of AT lines: write lf, crlf, sender or word=WORD, with \
                     commas between them, or line=LINE at the end",
                    word.escape_debug()
                ));
            }
        }
        Ok(())
    }
}

impl FromStr for PlainShape {
    type Err = String;

    fn from_str(text: &str) -> Result<PlainShape, String> {
        let mut shape = PlainShape::default();
        let mut rest = Some(text);
        while let Some(text) = rest {
            if let Some(line) = text.trim_start().strip_prefix("line=") {
                shape.line = Some(parse_line(line)?);
                break;
            }
            let (word, behind) = match text.split_once(',') {
                Some((word, behind)) => (word, Some(behind)),
                None => (text, None),
            };
            shape.add(word.trim())?;
            rest = behind;
        }
        if shape.line.is_some() && (shape.word.is_some() || shape.sender) {
            return Err("a line= has all words of the line: leave out word= and sender".to_owned());
        }
        Ok(shape)
    }
}

fn parse_line(line: &str) -> Result<String, String> {
    let line = line.trim();
    let is_text = !line.is_empty() && line.chars().all(|c| c == ' ' || c.is_ascii_graphic());
    if !is_text || Frame::parse(line, "", "").is_none() {
        return Err(format!(
            "`{}` is no line of a course server: it needs {{client}}, {{position}} and {{time}}, \
             and may have {{server}}, {{skew}}, {{received}}, {{us}} and {{peer}}",
            line.escape_debug()
        ));
    }
    Ok(line.to_owned())
}

impl fmt::Display for PlainShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.crlf { "crlf" } else { "lf" })?;
        if self.sender {
            f.write_str(",sender")?;
        }
        self.word.iter().try_for_each(|word| write!(f, ",word={word}"))?;
        self.line.iter().try_for_each(|line| write!(f, ",line={line}"))
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
            (
                "crlf, line= A {client},{us} {position} {time} ",
                "crlf,line=A {client},{us} {position} {time}",
            ),
            ("line={client} {position} {time},crlf", "lf,line={client} {position} {time},crlf"),
        ] {
            assert_eq!(text.parse::<PlainShape>().unwrap().to_string(), again);
        }
        assert_eq!("lf".parse(), Ok(PlainShape::default()));
        for bad in ["", "cr", "CRLF", "sender=1", "word", "word=", "word=A B", "crlf;sender"]
            .into_iter()
            .chain(["line", "line=", "line=AT {client} {time}", "line={client}\t{position} {time}"])
        {
            let message = bad.parse::<PlainShape>().unwrap_err();
            assert!(message.contains(" is no "), "{message}");
        }
        for bad in ["sender,line=", "word=A,line="] {
            let bad = format!("{bad}{{client}} {{position}} {{time}}");
            let message = bad.parse::<PlainShape>().unwrap_err();
            assert!(message.contains("leave out"), "{message}");
        }
    }
}
