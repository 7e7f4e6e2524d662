//! Answers of HTTP/1.1: what is said becomes bytes.

use std::fmt::{self, Write};

use time::OffsetDateTime;

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
        let mut head = String::with_capacity(256);
        self.write_head(&mut head, posix_s, keeps_open).expect("a String takes what it is given");
        let mut bytes = head.into_bytes();
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }

    fn write_head(&self, out: &mut String, posix_s: u64, keeps_open: bool) -> fmt::Result {
        write!(
            out,
            "HTTP/1.1 {} {}\r\n\
             Date: {}\r\n",
            self.status,
            phrase(self.status),
            date(posix_s),
        )?;
        // What is not modified has a type and a length, but not those of this answer.
        let has_body = self.status != 304;
        if has_body {
            write!(out, "Content-Type: {}\r\n", self.content_type)?;
        }
        write!(out, "Cache-Control: {}\r\nX-Content-Type-Options: nosniff\r\n", self.cache)?;
        if has_body && !self.goes_on {
            write!(out, "Content-Length: {}\r\n", self.body.len())?;
        }
        out.write_str(&self.extra)?;
        // HTTP/1.0 takes silence for a close, and HTTP/1.1 for the opposite; both read the word.
        let connection = if keeps_open { "keep-alive" } else { "close" };
        write!(out, "Connection: {connection}\r\n\r\n")
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
/// for that of 1970.
fn date(posix_s: u64) -> String {
    let seconds = i64::try_from(posix_s).unwrap_or_default();
    let time = OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    let weekday = &time.weekday().to_string()[..3];
    let (day, year, month) = (time.day(), time.year(), &time.month().to_string()[..3]);
    let (hour, minute, second) = time.to_hms();
    format!("{weekday}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
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
