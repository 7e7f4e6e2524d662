//! JSON of any size and layout, read a value at a time.
//!
//! This file knows brackets, texts and lines; what the members mean is in `geojson`. A library
//! would want a whole document in memory, or give all of it up for one value that is not read. So
//! it is lenient within a value: `NaN`, half a surrogate pair, an unknown escape or a hundred
//! thousand brackets harm nothing. It is strict about what holds values together, because only then
//! it can tell where one has broken off.

use std::io::{self, BufRead};

use super::FileError;

/// Brackets that may be open at a time within a value that is skipped: one byte each.
const DEPTH_MAX: usize = 1 << 20;

/// Bytes of a text that are kept; a longer one is cut.
const TEXT_BYTES_MAX: usize = 1 << 20;

/// What stands for half of a surrogate pair (Unicode 16.0, section 3.9).
const REPLACEMENT: char = char::REPLACEMENT_CHARACTER;

/// Some programs write it before UTF-8, and `cat` puts it between two files.
const BYTE_ORDER_MARK: [u8; 3] = [0xef, 0xbb, 0xbf];

pub struct Json<R> {
    text: R,
    /// Of the next byte.
    pub line: u64,
    /// How far the next byte is indented, if nothing but white space stands before it in its line.
    pub indent: Option<usize>,
    /// The brackets that close what is open in a value that is skipped.
    closing: Vec<u8>,
}

/// Why a value is not read to its end.
#[derive(Debug)]
pub enum Halt {
    /// It is no JSON, or the file ends within it.
    Broken,
    File(FileError),
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Halt {
        Halt::File(FileError::Read(error))
    }
}

impl<R: BufRead> Json<R> {
    /// Reads from a text whose first byte is on `line`.
    pub fn new(text: R, line: u64) -> Json<R> {
        Json { text, line, indent: Some(0), closing: Vec::new() }
    }

    /// Skips white space. Gives the byte behind it, which stays; `None` at the end of the file.
    pub fn next(&mut self) -> Result<Option<u8>, Halt> {
        loop {
            let bytes = self.text.fill_buf()?;
            let Some(&first) = bytes.first() else { return Ok(None) };
            let mut blank = 0;
            for &byte in bytes {
                match byte {
                    b'\n' => (self.line, self.indent) = (self.line + 1, Some(0)),
                    b' ' | b'\t' | b'\r' => self.indent = self.indent.map(|indent| indent + 1),
                    _ => break,
                }
                blank += 1;
            }
            self.text.consume(blank);
            if blank == 0 && first == BYTE_ORDER_MARK[0] {
                self.skip_mark()?;
            } else if blank == 0 {
                return Ok(Some(first));
            }
        }
    }

    /// Takes the byte that `next` has given.
    pub fn take(&mut self) {
        self.text.consume(1);
        self.indent = None;
    }

    /// Reads the members of an object: `each` is given every name and must read the value.
    pub fn members(
        &mut self,
        mut each: impl FnMut(&mut Json<R>, &[u8]) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let mut name = Vec::new();
        self.list(b'{', |json| {
            name.clear();
            json.name(Some(&mut name))?;
            each(json, &name)
        })
    }

    /// Reads the elements of an array: `each` must read one.
    pub fn elements(
        &mut self,
        each: impl FnMut(&mut Json<R>) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        self.list(b'[', each)
    }

    /// Reads a text or a number into `kept`, which it empties before; what is neither is skipped.
    pub fn scalar(&mut self, kept: &mut Vec<u8>) -> Result<(), Halt> {
        kept.clear();
        match self.need()? {
            b'"' => return self.text(Some(kept)),
            b'{' | b'[' => return self.skip(),
            _ => self.word(Some(kept))?,
        }
        // `null`, `true` and `NaN` say nothing that could be shown.
        if !kept.iter().any(u8::is_ascii_digit) {
            kept.clear();
        }
        Ok(())
    }

    /// Reads a value that is not wanted.
    pub fn skip(&mut self) -> Result<(), Halt> {
        self.closing.clear();
        loop {
            match self.need()? {
                b'"' => self.text(None)?,
                bracket @ (b'{' | b'[') => {
                    self.take();
                    // In ASCII, either closing bracket is two behind its opening one.
                    let close = bracket + 2;
                    if self.need()? != close {
                        if self.closing.len() == DEPTH_MAX {
                            return Err(Halt::Broken);
                        }
                        self.closing.push(close);
                        self.name_within(close)?;
                        continue;
                    }
                    self.take();
                }
                _ => self.word(None)?,
            }
            loop {
                let Some(&close) = self.closing.last() else { return Ok(()) };
                match self.need()? {
                    b',' => {
                        self.take();
                        self.name_within(close)?;
                        break;
                    }
                    byte if byte == close => {
                        self.take();
                        self.closing.pop();
                    }
                    _ => return Err(Halt::Broken),
                }
            }
        }
    }

    /// Skips the rest of the line, and all lines that do not begin with one of `begins`, indented
    /// by `indent_max` at most. Where such a line begins already, nothing is skipped.
    pub fn skip_lines(&mut self, begins: &[u8], indent_max: usize) -> Result<(), Halt> {
        while let Some(byte) = self.next()? {
            let is_outer = self.indent.is_some_and(|indent| indent <= indent_max);
            if is_outer && begins.contains(&byte) {
                break;
            }
            let bytes = self.text.fill_buf()?;
            let length = memchr::memchr(b'\n', bytes).unwrap_or(bytes.len());
            self.text.consume(length.max(1));
            self.indent = None;
        }
        Ok(())
    }

    /// The next byte, which must be there.
    pub fn need(&mut self) -> Result<u8, Halt> {
        self.next()?.ok_or(Halt::Broken)
    }

    fn list(
        &mut self,
        open: u8,
        mut each: impl FnMut(&mut Json<R>) -> Result<(), Halt>,
    ) -> Result<(), Halt> {
        let close = open + 2;
        if self.need()? != open {
            return Err(Halt::Broken);
        }
        self.take();
        if self.need()? == close {
            self.take();
            return Ok(());
        }
        loop {
            each(self)?;
            let byte = self.need()?;
            if byte != b',' && byte != close {
                return Err(Halt::Broken);
            }
            self.take();
            // One comma too many at the end is a common slip in lists written by hand.
            if byte == b',' && self.need()? == close {
                self.take();
                return Ok(());
            }
            if byte == close {
                return Ok(());
            }
        }
    }

    fn name_within(&mut self, close: u8) -> Result<(), Halt> {
        if close == b'}' { self.name(None) } else { Ok(()) }
    }

    /// Reads the name of a member and its colon.
    fn name(&mut self, kept: Option<&mut Vec<u8>>) -> Result<(), Halt> {
        self.text(kept)?;
        if self.need()? != b':' {
            return Err(Halt::Broken);
        }
        self.take();
        Ok(())
    }

    /// Reads a value that is no text and no list: mostly a number. Any such value ends.
    fn word(&mut self, mut kept: Option<&mut Vec<u8>>) -> Result<(), Halt> {
        let mut is_empty = true;
        loop {
            let bytes = self.text.fill_buf()?;
            let is_over = |byte: &u8| *byte <= b' ' || b",:]}[{\"".contains(byte);
            let end = bytes.iter().position(is_over);
            let length = end.unwrap_or(bytes.len());
            keep(&mut kept, &bytes[..length]);
            is_empty &= length == 0;
            let is_end = end.is_some() || bytes.is_empty();
            self.text.consume(length);
            self.indent = None;
            if is_end {
                return if is_empty { Err(Halt::Broken) } else { Ok(()) };
            }
        }
    }

    fn text(&mut self, mut kept: Option<&mut Vec<u8>>) -> Result<(), Halt> {
        if self.need()? != b'"' {
            return Err(Halt::Broken);
        }
        self.take();
        // The first half of a surrogate pair, until the second comes.
        let mut half = None;
        loop {
            let bytes = self.text.fill_buf()?;
            let end = memchr::memchr3(b'"', b'\\', b'\n', bytes);
            let length = end.unwrap_or(bytes.len());
            if bytes.is_empty() {
                return Err(Halt::Broken);
            }
            if length > 0 || bytes[0] != b'\\' {
                mend(&mut half, &mut kept);
            }
            keep(&mut kept, &bytes[..length]);
            let end = end.map(|end| bytes[end]);
            self.text.consume(length);
            match end {
                None => {}
                Some(b'"') => {
                    self.text.consume(1);
                    return Ok(());
                }
                Some(b'\\') => {
                    self.text.consume(1);
                    self.escape(&mut half, &mut kept)?;
                }
                // JSON has no newline in a text: it has broken off, and the next line may be whole.
                Some(_) => return Err(Halt::Broken),
            }
        }
    }

    /// Reads what follows a backslash.
    fn escape(
        &mut self,
        half: &mut Option<u16>,
        kept: &mut Option<&mut Vec<u8>>,
    ) -> Result<(), Halt> {
        let byte = self.byte()?;
        if byte == b'u' {
            return self.unit(half, kept);
        }
        mend(half, kept);
        keep(
            kept,
            &[match byte {
                b'b' => 0x08,
                b'f' => 0x0c,
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                other => other,
            }],
        );
        Ok(())
    }

    /// Reads four hexadecimal digits, which are a character or half of one.
    fn unit(
        &mut self,
        half: &mut Option<u16>,
        kept: &mut Option<&mut Vec<u8>>,
    ) -> Result<(), Halt> {
        let mut unit = 0;
        for _ in 0..4 {
            let digit = char::from(self.byte()?).to_digit(16).ok_or(Halt::Broken)?;
            unit = unit << 4 | digit as u16;
        }
        let unit = u32::from(unit);
        if let (Some(first), 0xdc00..0xe000) = (*half, unit) {
            *half = None;
            let code = 0x1_0000 + (u32::from(first) - 0xd800) * 0x400 + (unit - 0xdc00);
            keep_char(kept, char::from_u32(code).unwrap_or(REPLACEMENT));
            return Ok(());
        }
        mend(half, kept);
        match unit {
            0xd800..0xdc00 => *half = Some(unit as u16),
            _ => keep_char(kept, char::from_u32(unit).unwrap_or(REPLACEMENT)),
        }
        Ok(())
    }

    /// The next byte of a text.
    fn byte(&mut self) -> Result<u8, Halt> {
        let byte = self.text.fill_buf()?.first().copied();
        let byte = byte.filter(|byte| *byte != b'\n').ok_or(Halt::Broken)?;
        self.text.consume(1);
        Ok(byte)
    }

    fn skip_mark(&mut self) -> Result<(), Halt> {
        for expected in BYTE_ORDER_MARK {
            if self.byte()? != expected {
                return Err(Halt::Broken);
            }
        }
        Ok(())
    }
}

/// What a half that stays alone becomes.
fn mend(half: &mut Option<u16>, kept: &mut Option<&mut Vec<u8>>) {
    if half.take().is_some() {
        keep_char(kept, REPLACEMENT);
    }
}

fn keep_char(kept: &mut Option<&mut Vec<u8>>, c: char) {
    keep(kept, c.encode_utf8(&mut [0; 4]).as_bytes());
}

fn keep(kept: &mut Option<&mut Vec<u8>>, bytes: &[u8]) {
    if let Some(kept) = kept {
        let room = TEXT_BYTES_MAX.saturating_sub(kept.len());
        kept.extend_from_slice(&bytes[..bytes.len().min(room)]);
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    /// Reads one value as a text, with a buffer of this many bytes.
    fn scalar(text: &str, buffer: usize) -> Option<String> {
        let mut json = Json::new(BufReader::with_capacity(buffer, text.as_bytes()), 1);
        let mut kept = Vec::new();
        json.scalar(&mut kept).ok()?;
        Some(String::from_utf8(kept).unwrap())
    }

    #[test]
    fn texts_and_numbers() {
        fn check(text: &str, expected: Option<&str>) {
            for buffer in [1, 2, 5, 4096] {
                assert_eq!(scalar(text, buffer).as_deref(), expected, "{text:?} by {buffer}");
            }
        }
        check("\"\"", Some(""));
        check(" \"a\\\"\\\\\\/\\n\\té\" ", Some("a\"\\/\n\té"));
        check("\"\\u00e9\\ud83d\\ude00\"", Some("é😀"));
        check("\"\\ud83d\"", Some("\u{fffd}"));
        check("\"\\ud83dx\\ude00\"", Some("\u{fffd}x\u{fffd}"));
        check("\"\\ud83d\\n\"", Some("\u{fffd}\n"));
        check("\"\\ud83d\\ud83d\\ude00\"", Some("\u{fffd}😀"));
        check("\"\\x\"", Some("x"));
        check("42", Some("42"));
        check("-1.5e3,", Some("-1.5e3"));
        check("null", Some(""));
        check("NaN", Some(""));
        check("true", Some(""));
        check("{\"a\":[1,{}]}", Some(""));
        check("\u{feff}\"a\"", Some("a"));
        for broken in ["", ",", "\"a", "\"a\n\"", "\"\\u12\"", "\"\\", "[1 2]", "[1,]", "{1:2}"] {
            check(broken, None);
        }
        for broken in ["{\"a\" 1}", "{\"a\":1", "[1}", "{\"a\":1,}", "[[]", "[{\"a\":1]]"] {
            check(broken, None);
        }
    }

    #[test]
    fn depth_costs_no_stack_and_has_a_bound() {
        let nested = |depth: usize| "[".repeat(depth) + &"]".repeat(depth);
        assert_eq!(scalar(&nested(400_000), 4096).as_deref(), Some(""));
        assert_eq!(scalar(&nested(DEPTH_MAX + 2), 4096), None);
    }

    #[test]
    fn a_text_is_kept_in_a_bound() {
        let long = format!("\"{}\"", "x".repeat(TEXT_BYTES_MAX + 7));
        assert_eq!(scalar(&long, 4096).map(|text| text.len()), Some(TEXT_BYTES_MAX));
    }
}
