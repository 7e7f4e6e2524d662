//! Answers of HTTP/1.1: what is said becomes bytes.

use std::fmt::Write;

use arrayvec::ArrayString;
use time::OffsetDateTime;

/// The head of most answers is shorter.
const HEAD_BYTES: usize = 256;

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
    /// The body is the beginning of one that goes on until the connection's end.
    pub goes_on: bool,
    /// How long the far end may keep it.
    cache: &'static str,
    /// Headers of this answer alone, each with its line end.
    extra: String,
}

impl Answer {
    pub fn new(status: u16, content_type: &'static str, body: Vec<u8>) -> Answer {
        let (goes_on, cache, extra) = (false, "no-store", String::new());
        Answer { status, content_type, body, goes_on, cache, extra }
    }

    /// One whose body goes on: its length is not known, and its end is the connection's.
    pub fn stream(content_type: &'static str, begins: Vec<u8>) -> Answer {
        Answer { goes_on: true, ..Answer::new(200, content_type, begins) }
    }

    /// May be kept, but has to be asked for anew by its tag (RFC 9110, section 8.8.3).
    #[must_use]
    pub fn tagged(self, tag: &str) -> Answer {
        Answer { cache: "no-cache", ..self.with_header("ETag", tag) }
    }

    /// What was kept is as it was.
    pub fn not_modified(tag: &str) -> Answer {
        Answer::new(304, "", Vec::new()).tagged(tag)
    }

    /// Says which methods are served.
    #[must_use]
    pub fn allowing(self, methods: &str) -> Answer {
        self.with_header("Allow", methods)
    }

    /// One more header; the value is ours, not a stranger's.
    #[must_use]
    pub fn with_header(mut self, name: &str, value: &str) -> Answer {
        let _ = write!(self.extra, "{name}: {value}\r\n");
        self
    }

    pub fn text(status: u16, body: String) -> Answer {
        Answer::new(status, "text/plain; charset=utf-8", body.into_bytes())
    }

    pub fn json(body: Vec<u8>) -> Answer {
        Answer::new(200, "application/json", body)
    }

    /// The bytes to be sent. The time is that of the `Date`, in seconds since 1970 began.
    pub fn into_bytes(self, posix_s: u64, is_head: bool, keeps_open: bool) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.extra.len() + self.body.len());
        self.write(posix_s, is_head, keeps_open, &mut bytes);
        bytes
    }

    /// Appends the bytes to be sent.
    pub fn write(&self, posix_s: u64, is_head: bool, keeps_open: bool, out: &mut Vec<u8>) {
        self.write_head(posix_s, keeps_open, out);
        if !is_head {
            out.extend_from_slice(&self.body);
        }
    }

    /// Appends the bytes to be sent before the body.
    pub fn write_head(&self, posix_s: u64, keeps_open: bool, out: &mut Vec<u8>) {
        let mut say = |text: &str| out.extend_from_slice(text.as_bytes());
        say("HTTP/1.1 ");
        say(&digits::<3>(self.status.into()));
        say(" ");
        say(phrase(self.status));
        say("\r\nDate: ");
        say(&date(posix_s));
        // What is not modified has a type and a length, but not those of this answer.
        let has_body = self.status != 304;
        if has_body {
            say("\r\nContent-Type: ");
            say(self.content_type);
        }
        say("\r\nCache-Control: ");
        say(self.cache);
        say("\r\nX-Content-Type-Options: nosniff\r\n");
        if has_body && !self.goes_on {
            say("Content-Length: ");
            let length = digits::<20>(self.body.len() as u64);
            say(if self.body.is_empty() { "0" } else { length.trim_start_matches('0') });
            say("\r\n");
        }
        say(&self.extra);
        // HTTP/1.0 takes silence for a close, and HTTP/1.1 for the opposite; both read the word.
        say("Connection: ");
        say(if keeps_open { "keep-alive\r\n\r\n" } else { "close\r\n\r\n" });
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        501 => "Not Implemented",
        503 => "Service Unavailable",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` (RFC 9110, section 5.6.7). A clock that cannot be right is taken
/// for that of 1970. By hand, as it is in every answer: the standard formatter takes ten times as
/// long.
fn date(posix_s: u64) -> ArrayString<29> {
    const WEEKDAYS: &str = "MonTueWedThuFriSatSun";
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let seconds = i64::try_from(posix_s).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let (year, month, day) = time.to_calendar_date();
    let (hour, minute, second) = time.to_hms();
    let name = |names: &'static str, number: u8| &names[3 * usize::from(number)..][..3];
    let mut text = ArrayString::new();
    text.push_str(name(WEEKDAYS, time.weekday().number_days_from_monday()));
    text.push_str(", ");
    text.push_str(&digits::<2>(day.into()));
    text.push(' ');
    text.push_str(name(MONTHS, u8::from(month) - 1));
    text.push(' ');
    text.push_str(&digits::<4>(year.unsigned_abs().into()));
    for (before, part) in [(' ', hour), (':', minute), (':', second)] {
        text.push(before);
        text.push_str(&digits::<2>(part.into()));
    }
    text.push_str(" GMT");
    text
}

/// The last digits of a number, as many as are wanted.
fn digits<const COUNT: usize>(mut number: u64) -> ArrayString<COUNT> {
    let mut digits = [b'0'; COUNT];
    for digit in digits.iter_mut().rev() {
        *digit += (number % 10) as u8;
        number /= 10;
    }
    ArrayString::from_byte_string(&digits).expect("digits are text")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_says_how_long_it_is() {
        let answer = Answer::text(405, "no\n".to_owned()).allowing("GET, HEAD");
        let text = String::from_utf8(answer.clone().into_bytes(784_111_777, false, false)).unwrap();
        let expected = "HTTP/1.1 405 Method Not Allowed\r\n\
                        Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                        Content-Type: text/plain; charset=utf-8\r\n\
                        Cache-Control: no-store\r\n\
                        X-Content-Type-Options: nosniff\r\n\
                        Content-Length: 3\r\n\
                        Allow: GET, HEAD\r\n\
                        Connection: close\r\n\r\nno\n";
        assert_eq!(text, expected);
        let head = String::from_utf8(answer.into_bytes(u64::MAX, true, true)).unwrap();
        assert!(head.ends_with("Connection: keep-alive\r\n\r\n") && head.contains("Length: 3\r\n"));
        assert!(head.contains("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
        let kept = Answer::not_modified("W/\"7\"").into_bytes(0, false, true);
        let kept = String::from_utf8(kept).unwrap();
        assert!(kept.contains("Cache-Control: no-cache\r\n") && kept.contains("ETag: W/\"7\"\r\n"));
        assert!(!kept.contains("Content-Length") && kept.ends_with("\r\n\r\n"), "{kept}");
    }
}
