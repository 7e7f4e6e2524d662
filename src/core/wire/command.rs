//! One line, one message: what clients may say, and how a report is spelled. Apart because it is a
//! tool: it knows bytes and nothing of a server, its store or its clock. What else peers say to
//! each other is in `peer_command`.
//!
//! Texts are checked here and then carried as they were spelled: nothing that a client wrote is
//! ever printed anew from a number. The rules are in PROTOCOL.md, sections 1 to 5.

use std::ops::RangeInclusive;

use crate::clock::{PosixTime, SpelledTime};
use crate::digits::{self, every};
use crate::whatsat::{Position, Question};

/// Kilometres: PROTOCOL 3.2.
const RADIUS_KM_MAX: u64 = 50;
/// Results: PROTOCOL 3.3.
const BOUND_MAX: u64 = 20;
/// No message has more fields than AT has.
pub(crate) const FIELDS_MAX: usize = 6;

/// A line of a client.
#[derive(Debug)]
pub enum Command<'a> {
    /// A client tells where it is.
    Iamat(Iamat<'a>),
    /// A client asks what is near another one.
    Whatsat {
        /// Whose surroundings are asked for.
        client: &'a [u8],
        /// Kilometres, in [0, 50], as spelled but for a plus sign.
        radius: &'a [u8],
        /// How many results at most, in [0, 20].
        bound: u8,
    },
    /// What only a server says: believed of course servers alone.
    At(Report<'a>),
    /// Nothing but white space: answered with nothing.
    Blank,
    /// Anything else: answered with a question mark.
    Invalid,
}

/// Where a client says that it is, and when.
#[derive(Clone, Copy, Debug)]
pub struct Iamat<'a> {
    /// The id of the client that says it.
    pub client: &'a [u8],
    /// What its time means.
    pub stamp: PosixTime,
    /// The bytes that an AT line takes over.
    pub spelled: Spelled<'a>,
}

/// How the operands of an IAMAT stand in its line.
#[derive(Clone, Copy, Debug)]
pub enum Spelled<'a> {
    /// As in an AT line: the client, the position and the time with one space between each.
    InOnePiece(&'a [u8]),
    /// With any white space between them.
    Apart {
        /// An ISO 6709 text, within bounds.
        position: &'a [u8],
        /// POSIX seconds, with a fraction or without.
        time: &'a [u8],
    },
}

impl Iamat<'_> {
    /// The operands as an AT line has them at its end.
    #[inline]
    pub fn write_operands(&self, out: &mut Vec<u8>) {
        match self.spelled {
            Spelled::InOnePiece(operands) => out.extend_from_slice(operands),
            Spelled::Apart { position, time } => {
                for field in [self.client, b" ", position, b" ", time] {
                    out.extend_from_slice(field);
                }
            }
        }
    }
}

impl<'a> Command<'a> {
    /// What a line means, given without its terminator.
    pub fn parse(line: &'a [u8]) -> Command<'a> {
        let fields = Fields::split(line);
        let command = match fields.as_slice() {
            [] => Some(Command::Blank),
            [b"IAMAT", client, position, time] => Self::iamat(client, position, time),
            [b"WHATSAT", client, radius, bound] => Self::whatsat(client, radius, bound),
            [b"AT", operands @ ..] => Report::parse(operands).map(Command::At),
            _ => None,
        };
        command.unwrap_or(Command::Invalid)
    }

    /// The client that it is about.
    pub fn client(&self) -> Option<&'a [u8]> {
        match self {
            Command::Iamat(Iamat { client, .. }) | Command::Whatsat { client, .. } => Some(client),
            Command::At(report) => Some(report.client),
            Command::Blank | Command::Invalid => None,
        }
    }

    fn iamat(client: &'a [u8], position: &'a [u8], time: &'a [u8]) -> Option<Command<'a>> {
        split_position(position)?;
        let stamp = PosixTime::parse(time)?;
        let spelled = Spelled::Apart { position, time };
        Some(Command::Iamat(Iamat { client, stamp, spelled }))
    }

    fn whatsat(client: &'a [u8], radius: &'a [u8], bound: &'a [u8]) -> Option<Command<'a>> {
        let radius = radius.strip_prefix(b"+").unwrap_or(radius);
        let bound = bound.strip_prefix(b"+").unwrap_or(bound);
        if decimal_length(radius, Some(RADIUS_KM_MAX))? != radius.len() || !digits::are_all(bound) {
            return None;
        }
        let (bound, _) = digits::leading(bound);
        let bound = (bound <= BOUND_MAX).then_some(bound as u8)?;
        Some(Command::Whatsat { client, radius, bound })
    }
}

/// Who was where, when, and which server heard it first: an AT line, its texts as spelled.
#[derive(Clone, Copy, Debug)]
pub struct Report<'a> {
    /// The name of the server that heard it first.
    pub server: &'a [u8],
    /// That server's clock minus `time`, in seconds.
    pub skew: &'a [u8],
    /// The id of the client that was there.
    pub client: &'a [u8],
    /// An ISO 6709 text, within bounds.
    pub position: &'a [u8],
    /// POSIX seconds by the client's clock.
    pub time: SpelledTime<'a>,
    /// What `time` means.
    pub stamp: PosixTime,
}

impl<'a> Report<'a> {
    /// The report of an AT line.
    pub fn of_line(line: &'a [u8]) -> Option<Report<'a>> {
        match Fields::split(line).as_slice() {
            [b"AT", operands @ ..] => Report::parse(operands),
            _ => None,
        }
    }

    /// `operands` are the fields of an AT line after its first word.
    pub(crate) fn parse(operands: &[&'a [u8]]) -> Option<Report<'a>> {
        let &[server, skew, client, position, time] = operands else { return None };
        split_position(position)?;
        let stamp = PosixTime::parse(time)?;
        let time = SpelledTime::InText(time);
        is_skew(skew).then_some(Report { server, skew, client, position, time, stamp })
    }

    /// Takes a report apart that `write_fields` has put together, and so was checked before.
    pub fn from_fields(text: &'a [u8]) -> Report<'a> {
        let mut fields = text.splitn(5, |&byte| byte == b' ');
        let mut next = || fields.next().expect("write_fields wrote five fields");
        let [server, skew, client, position, time] = [next(), next(), next(), next(), next()];
        let stamp = PosixTime::parse(time).expect("only checked times are written");
        Report { server, skew, client, position, time: SpelledTime::InText(time), stamp }
    }

    /// The five fields with one space between each: an AT line without its first word and its
    /// newline, which is also how the store keeps it.
    pub fn write_fields(&self, out: &mut Vec<u8>) {
        out.reserve(self.line_len());
        for field in [self.server, self.skew, self.client, self.position] {
            out.extend_from_slice(field);
            out.push(b' ');
        }
        out.extend_from_slice(&self.time);
    }

    /// What `write_fields` writes, in what `write_line` has written.
    pub fn fields_of(line: &[u8]) -> &[u8] {
        &line[b"AT ".len()..line.len() - 1]
    }

    /// Where the client's id begins in what `write_fields` writes.
    pub fn client_at(&self) -> usize {
        self.server.len() + self.skew.len() + 2
    }

    /// How many bytes `write_fields` writes.
    pub fn fields_len(&self) -> usize {
        let fields = [self.server, self.skew, self.client, self.position, &self.time];
        fields.iter().map(|field| field.len()).sum::<usize>() + 4
    }

    /// How many bytes `write_line` writes.
    pub fn line_len(&self) -> usize {
        b"AT ".len() + self.fields_len() + 1
    }

    /// The AT line, without its newline.
    pub fn write_at(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(b"AT ");
        self.write_fields(out);
    }

    /// The whole AT line, with its newline.
    pub fn write_line(&self, out: &mut Vec<u8>) {
        self.write_at(out);
        out.push(b'\n');
    }
}

/// The name of the server in what `write_line` has written.
pub(crate) fn server_of(line: &[u8]) -> &[u8] {
    let fields = Report::fields_of(line);
    memchr::memchr(b' ', fields).map_or(fields, |space| &fields[..space])
}

/// The fields of a line: runs of bytes with white space between them.
struct Fields<'a> {
    fields: [&'a [u8]; FIELDS_MAX],
    count: usize,
}

impl<'a> Fields<'a> {
    /// A line of more than `FIELDS_MAX` fields is no message; its fields are given as none that
    /// any message has.
    fn split(line: &'a [u8]) -> Fields<'a> {
        let mut split = Fields { fields: [&[]; FIELDS_MAX], count: 0 };
        if has_other_spaces(line) {
            line.split(|byte| is_space(*byte)).for_each(|field| split.add(field));
            return split;
        }
        // Nearly every line has nothing but spaces between its fields. Those can be found many
        // bytes at a time, as could be seen above that there is nothing else.
        let mut start = 0;
        for at in memchr::memchr_iter(b' ', line) {
            split.add(&line[start..at]);
            start = at + 1;
        }
        split.add(&line[start..]);
        split
    }

    fn add(&mut self, field: &'a [u8]) {
        if field.is_empty() {
            return;
        }
        match self.fields.get_mut(self.count) {
            Some(next) => {
                *next = field;
                self.count += 1;
            }
            None => self.fields[0] = &[],
        }
    }

    fn as_slice(&self) -> &[&'a [u8]] {
        &self.fields[..self.count]
    }
}

/// The course's white space but for the space: tab, newline, vertical tab, form feed, carriage
/// return. `u8::is_ascii_whitespace` would be wrong: it lacks the vertical tab.
const OTHER_SPACES: RangeInclusive<u8> = b'\t'..=b'\r';

/// How many bytes come before the first that may be white space: it is a space or less.
#[inline]
pub(crate) fn word_length(text: &[u8]) -> usize {
    let mut length = 0;
    while let Some(word) = text[length..].first_chunk() {
        // As in `digits`: eight bytes together, and the first that is marked is marked rightly.
        let lanes = u64::from_le_bytes(*word);
        let marks = lanes.wrapping_sub(every(b' ' + 1)) & !lanes & every(0x80);
        if marks != 0 {
            return length + marks.trailing_zeros() as usize / 8;
        }
        length += word.len();
    }
    length + text[length..].iter().take_while(|byte| **byte > b' ').count()
}

/// Looks at every byte, even if the first is one: so many bytes can be looked at together.
fn has_other_spaces(text: &[u8]) -> bool {
    text.iter().fold(false, |found, byte| found | OTHER_SPACES.contains(byte))
}

pub(crate) fn is_space(byte: u8) -> bool {
    byte == b' ' || OTHER_SPACES.contains(&byte)
}

/// What a checked position means, for those who calculate with it.
///
/// It is in decimal degrees, unless it has exactly the digits by which ISO 6709 tells degrees and
/// minutes (`+0012.5-00015.5`), or degrees, minutes and seconds: four or six of latitude and five
/// or seven of longitude. More than sixty minutes are none.
pub fn position(text: &[u8]) -> Option<Position> {
    let (latitude, longitude) = split_position(text)?;
    let sexagesimal = || {
        let places = match (digits::count(&latitude[1..]), digits::count(&longitude[1..])) {
            (4, 5) => 1,
            (6, 7) => 2,
            _ => return None,
        };
        Some(Position {
            latitude: of_minutes(latitude, 2, places)?,
            longitude: of_minutes(longitude, 3, places)?,
        })
    };
    sexagesimal()
        .or_else(|| Some(Position { latitude: float(latitude)?, longitude: float(longitude)? }))
}

/// Degrees of a coordinate that has so many digits of degrees, and then `places` times two of a
/// sixtieth each, of which the last may have a fraction.
fn of_minutes(text: &[u8], degrees: usize, places: usize) -> Option<f64> {
    let (sign, digits) = text.split_at(1);
    let (degrees, mut rest) = digits.split_at(degrees);
    let mut value = float(degrees)?;
    let mut unit = 1.0;
    for place in 1..=places {
        let (part, behind) = rest.split_at(if place == places { rest.len() } else { 2 });
        let part = float(part).filter(|part| *part < 60.0)?;
        unit /= 60.0;
        value += part * unit;
        rest = behind;
    }
    Some(if sign == b"-" { -value } else { value })
}

/// What a checked radius and position ask. The numbers become floats here and not earlier:
/// bounds are checked on the digits.
pub fn question(at: &[u8], radius: &[u8], bound: u8) -> Option<Question> {
    Some(Question { at: position(at)?, radius_km: float(radius)?, bound })
}

/// Latitude and longitude of an ISO 6709 text such as `+34.068930-118.445127`, in decimal
/// degrees, each with its sign; bounds included, no third number, no solidus.
fn split_position(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let latitude = coordinate_length(text, 90)?;
    let (latitude, longitude) = text.split_at(latitude);
    (coordinate_length(longitude, 180)? == longitude.len()).then_some((latitude, longitude))
}

#[inline]
fn coordinate_length(text: &[u8], degrees_max: u64) -> Option<usize> {
    match text {
        [b'+' | b'-', decimal @ ..] => Some(1 + decimal_length(decimal, Some(degrees_max))?),
        _ => None,
    }
}

/// How many of the first bytes spell `digits[.digits]`, if their value is not above `max`.
#[inline]
fn decimal_length(text: &[u8], max: Option<u64>) -> Option<usize> {
    let (value, integer) = digits::leading(text);
    if integer == 0 || max.is_some_and(|max| value > max) {
        return None;
    }
    let [b'.', fraction @ ..] = &text[integer..] else { return Some(integer) };
    let length = digits::count(fraction);
    let over = max == Some(value) && fraction[..length].iter().any(|&digit| digit != b'0');
    (length > 0 && !over).then_some(integer + 1 + length)
}

/// A skew of another server: usually `+0.263873386`, but those that print a float may also say
/// `0.5` or `1e-05`. It is never calculated with, so its shape is all that matters.
fn is_skew(text: &[u8]) -> bool {
    let unsigned = match text {
        [b'+' | b'-', rest @ ..] => rest,
        _ => text,
    };
    let Some(length) = decimal_length(unsigned, None) else { return false };
    match &unsigned[length..] {
        [] => true,
        [b'e' | b'E', b'+' | b'-', rest @ ..] | [b'e' | b'E', rest @ ..] => digits::are_all(rest),
        _ => false,
    }
}

fn float(text: &[u8]) -> Option<f64> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(line: &str) -> &'static str {
        match Command::parse(line.as_bytes()) {
            Command::Iamat(_) => "IAMAT",
            Command::Whatsat { .. } => "WHATSAT",
            Command::At(_) => "AT",
            Command::Blank => "blank",
            Command::Invalid => "?",
        }
    }

    #[test]
    fn positions() {
        let check = |text: &str, valid: bool| {
            assert_eq!(split_position(text.as_bytes()).is_some(), valid, "{text}");
        };
        for good in ["+34.068930-118.445127", "+34-118", "-0.0+0.0", "+90+180", "-90-180"] {
            check(good, true);
        }
        for good in ["+90.000+180.0", "+0000034.5-000118.25", "+1.123456789012345678901+2"] {
            check(good, true);
        }
        for bad in ["", "+", "34-118", "+34", "+34-", "+34.-118", "+.5-118", "+34-118/", "++1+1"] {
            check(bad, false);
        }
        for bad in ["+90.0001+0", "+91+0", "-90.1-0", "+0+180.1", "+0-181", "+99999999999+0"] {
            check(bad, false);
        }
        for bad in ["+1e1+1", "+1+1+1", "+1+1e1", "+nan+1", "+1,5+2", "+1_0+2", "+1 +2"] {
            check(bad, false);
        }
    }

    /// Goal: what ISO 6709 calls minutes is never read as degrees, and padding stays padding.
    /// PROTOCOL 2.5.
    #[test]
    fn minutes_are_told_by_their_digits() {
        fn check(text: &str, latitude: f64, longitude: f64) {
            let at = position(text.as_bytes()).unwrap();
            let is_near = |one: f64, other: f64| (one - other).abs() < 1e-12;
            assert!(is_near(at.latitude, latitude) && is_near(at.longitude, longitude), "{at:?}");
        }
        check("+0012.5-00015.5", 12.5 / 60.0, -15.5 / 60.0);
        check("-0030+00115", -0.5, 1.25);
        check("-000030.5+0000100", -30.5 / 3600.0, 1.0 / 60.0);
        check("+0000+00000", 0.0, 0.0);
        for (padded, latitude, longitude) in [
            ("+0034.5-0118.25", 34.5, -118.25),
            ("+034.5-00118.25", 34.5, -118.25),
            ("+0000034.5-000118.25", 34.5, -118.25),
            ("+012.5-015.5", 12.5, -15.5),
            ("+0060-00015", 60.0, -15.0),
            ("+0012-00175", 12.0, -175.0),
            ("+000060-0000000", 60.0, 0.0),
        ] {
            check(padded, latitude, longitude);
        }
    }

    #[test]
    fn commands() {
        let check = |line: &str, expected: &str| assert_eq!(kind(line), expected, "{line:?}");
        check("IAMAT kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997", "IAMAT");
        check("  IAMAT\tx \x0b+1-1\x0c 0 \r", "IAMAT");
        check("", "blank");
        check(" \t\r\x0b\x0c", "blank");
        check("iamat x +1-1 0", "?");
        check("IAMAT x +1-1", "?");
        check("IAMAT x +1-1 0 0", "?");
        check("IAMAT x +1-1 0 0 0 0 0 0", "?");
        check("IAMATx +1-1 0", "?");
        check("IAMAT x\u{a0}y +1-1 0", "IAMAT");
        check("IAMAT x\x1cy +1-1 0", "IAMAT");
        check("IAMAT x\0y +1-1 0", "IAMAT");
        for good in ["50 20", "0 0", "10.5 5", "+10 +5", "010 020", "50.000 1", "0.0001 1"] {
            check(&format!("WHATSAT x {good}"), "WHATSAT");
        }
        for bad in ["51 5", "50.5 5", "10 21", "-1 5", "1 -1", "1e1 5", "10 5.0", "nan 5", "inf 5"]
        {
            check(&format!("WHATSAT x {bad}"), "?");
        }
        for bad in [". 5", "10. 5", ".5 5", "++1 5", "10 ++5", "+ 5", "5 +", "-0 5", "5 4294967297"]
        {
            check(&format!("WHATSAT x {bad}"), "?");
        }
    }

    /// PROTOCOL 5.5.
    #[test]
    fn reports_of_other_servers() {
        let check = |line: &str, expected: &str| assert_eq!(kind(line), expected, "{line:?}");
        check("AT Hill +0.263873386 x +1-1 0", "AT");
        for skew in ["+0", "-1.5", "0.25", "1e-05", "+1.5E+10", "-1.25e3", "-98204679145.97"] {
            check(&format!("AT Hill {skew} x +1-1 0"), "AT");
        }
        for skew in ["", "+", "nan", "+inf", "1.", ".5", "1e", "1e+", "1-1", "e5"] {
            check(&format!("AT Hill {skew} x +1-1 0"), "?");
        }
        check("AT Hill +0 x +1-1", "?");
        check("AT Hill +0 x +1-1 0 extra", "?");
    }

    #[test]
    fn a_report_is_printed_as_it_was_spelled() {
        let Command::At(report) = Command::parse(b"AT  Hill\t-0.5 x  +01.50-1 0001.5000 \r") else {
            panic!("a valid report")
        };
        let mut line = Vec::new();
        report.write_line(&mut line);
        assert_eq!(line, b"AT Hill -0.5 x +01.50-1 0001.5000\n");
        let fields = &line[3..line.len() - 1];
        assert_eq!(fields.len(), report.fields_len());
        let again = Report::from_fields(fields);
        assert_eq!((again.client, &*again.time), (report.client, &*report.time));
        assert_eq!(again.stamp, report.stamp);
    }
}
