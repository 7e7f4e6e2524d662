//! HTTP/1.1 as the operators' port speaks it: bytes come in and are requests, answers go out and
//! are bytes. It knows no socket, no server and no path.
//!
//! A request is a head without a body: GET or HEAD, at most [`HEAD_BYTES_MAX`]. All else is
//! refused by a status and a line of text, and the connection is closed.
//!
//! A web page may have its visitor's browser ask any port of the visitor's machine. It may not read
//! the answers, because they do not allow it (no CORS), unless the page's own name has been made to
//! stand for this machine (DNS rebinding). The browser says that name in `Host`, so a name that is
//! not ours is refused ([`is_our_host`]).

use std::fmt::{self, Write};
use std::net::{Ipv4Addr, Ipv6Addr};

use time::OffsetDateTime;

/// Longest head of a request. Browsers and proxies send a tenth of it.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;
/// Most lines in a head.
const HEADERS_MAX: usize = 64;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// HEAD: as GET, without the body.
    pub is_head: bool,
    /// Begins with a `/`. Nothing is decoded: no path of ours has a `%`.
    pub path: &'a str,
    /// What stands behind the `?`; empty if there is none.
    pub query: &'a str,
    /// Always there in HTTP/1.1; never more than one.
    pub host: Option<&'a str>,
    /// More requests may follow on the connection.
    pub keeps_open: bool,
}

impl<'a> Request<'a> {
    /// The value of a parameter of the query: empty for one that has none.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut parts =
            self.query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
        parts.find(|(other, _)| *other == name).map(|(_, value)| value)
    }
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed<'a> {
    /// A head that may become a request: more must come.
    Partial,
    /// A request, and the length of its head.
    Whole(Request<'a>, usize),
    /// Nothing that can be served: say so and close.
    Refused(Refusal),
}

/// Why a head is no request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    /// The head has no end, in time or before the connection's.
    Unfinished,
    TooLong,
    /// Neither GET nor HEAD.
    Method,
    /// It has a body.
    Body,
    Version,
}

impl Refusal {
    pub fn answer(self) -> Answer {
        let (status, why) = match self {
            Refusal::Malformed => (400, "this is no HTTP request"),
            Refusal::Unfinished => (408, "the request has no end"),
            Refusal::TooLong => (431, "the head of the request is too long"),
            Refusal::Method => (405, "only GET and HEAD are served"),
            Refusal::Body => (413, "a request must not have a body"),
            Refusal::Version => (505, "only HTTP/1.1 and HTTP/1.0 are spoken"),
        };
        Answer::text(status, format!("{why}\n"))
    }
}

/// Reads one request of what has come. Each byte may be the last: nothing that is refused later is
/// served before, and nothing that is whole is called partial.
pub fn parse(bytes: &[u8]) -> Parsed<'_> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut headers);
    match head.parse(bytes) {
        Ok(httparse::Status::Complete(length)) if length <= HEAD_BYTES_MAX => {
            match understand(&head) {
                Ok(request) => Parsed::Whole(request, length),
                Err(refusal) => Parsed::Refused(refusal),
            }
        }
        Ok(httparse::Status::Partial) if bytes.len() <= HEAD_BYTES_MAX => Parsed::Partial,
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Parsed::Refused(Refusal::TooLong),
        Err(httparse::Error::Version) if memchr::memmem::find(bytes, b" HTTP/").is_some() => {
            Parsed::Refused(Refusal::Version)
        }
        Err(_) => Parsed::Refused(Refusal::Malformed),
    }
}

fn understand<'a>(head: &httparse::Request<'_, 'a>) -> Result<Request<'a>, Refusal> {
    let (Some(method), Some(target), Some(minor)) = (head.method, head.path, head.version) else {
        return Err(Refusal::Malformed);
    };
    if !matches!(method, "GET" | "HEAD") {
        return Err(Refusal::Method);
    }
    let (mut host, mut keeps_open) = (None, minor == 1);
    for header in head.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let value = || std::str::from_utf8(header.value).map_err(|_| Refusal::Malformed);
        if is("host") && host.replace(value()?.trim()).is_some() {
            return Err(Refusal::Malformed);
        } else if is("transfer-encoding") || is("content-length") && value()?.trim() != "0" {
            return Err(Refusal::Body);
        } else if is("connection") {
            let words = || value().map(|words| words.split(',').map(str::trim));
            let has =
                |word: &str| words().map(|mut all| all.any(|it| it.eq_ignore_ascii_case(word)));
            keeps_open = !has("close")? && (keeps_open || has("keep-alive")?);
        }
    }
    // A proxy names the whole URL; this is none.
    if !target.starts_with('/') || minor == 1 && host.is_none() {
        return Err(Refusal::Malformed);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    Ok(Request { is_head: method == "HEAD", path, query, host, keeps_open })
}

/// Whether a value of `Host` names this machine: an address in digits, `localhost`, or one of these
/// names, which are in lower case. The port does not matter: it may have been mapped.
pub fn is_our_host(host: &str, names: &[String]) -> bool {
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(rest) = host.strip_prefix('[') {
        let Some((ip, port)) = rest.split_once(']') else { return false };
        let has_port = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return has_port && ip.parse::<Ipv6Addr>().is_ok();
    }
    let (name, port) = host.split_once(':').unwrap_or((host, ""));
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let is_known = || name == "localhost" || names.contains(&name);
    is_port(port) && (name.parse::<Ipv4Addr>().is_ok() || is_known())
}

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    pub status: u16,
    pub content_type: &'static str,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(status: u16, body: String) -> Answer {
        Answer { status, content_type: "text/plain; charset=utf-8", body: body.into_bytes() }
    }

    pub fn json(body: Vec<u8>) -> Answer {
        Answer { status: 200, content_type: "application/json", body }
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
             Date: {}\r\n\
             Content-Type: {}\r\n\
             Content-Length: {}\r\n\
             Cache-Control: no-store\r\n\
             X-Content-Type-Options: nosniff\r\n",
            self.status,
            phrase(self.status),
            date(posix_s),
            self.content_type,
            self.body.len()
        )?;
        if self.status == 405 {
            out.write_str("Allow: GET, HEAD\r\n")?;
        }
        // HTTP/1.0 takes silence for a close, and HTTP/1.1 for the opposite; both read the word.
        let connection = if keeps_open { "keep-alive" } else { "close" };
        write!(out, "Connection: {connection}\r\n\r\n")
    }
}

fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        400 => "Bad Request",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        413 => "Content Too Large",
        421 => "Misdirected Request",
        431 => "Request Header Fields Too Large",
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
    use proptest::prelude::*;

    use super::*;

    fn request<'a>(path: &'a str, query: &'a str, host: Option<&'a str>) -> Request<'a> {
        Request { is_head: false, path, query, host, keeps_open: host.is_some() }
    }

    #[test]
    fn a_head_is_a_request() {
        let check = |head: &str, expected: Request<'_>| {
            for length in 0..head.len() {
                let begin = &head.as_bytes()[..length];
                assert_eq!(parse(begin), Parsed::Partial, "{}", begin.escape_ascii());
            }
            let more = format!("{head}GET");
            assert_eq!(parse(more.as_bytes()), Parsed::Whole(expected, head.len()), "{head}");
        };
        let plain = request("/livez", "", Some("a:1"));
        check("GET /livez HTTP/1.1\r\nHost: a:1\r\n\r\n", plain);
        check("GET /livez HTTP/1.1\nhost:a:1 \nContent-Length: 0\n\n", plain);
        check("HEAD /livez HTTP/1.1\r\nHost: a:1\r\n\r\n", Request { is_head: true, ..plain });
        let closing = Request { keeps_open: false, ..plain };
        check("GET /livez HTTP/1.1\r\nHost: a:1\r\nConnection: TE, Close\r\n\r\n", closing);
        check("GET / HTTP/1.0\r\n\r\n", request("/", "", None));
        let kept = Request { keeps_open: true, ..request("/", "", None) };
        check("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", kept);
        let page = request("/connections", "limit=5&verbose&sort=", Some("b"));
        check("GET /connections?limit=5&verbose&sort= HTTP/1.1\r\nHost: b\r\n\r\n", page);
        let values = ["limit", "verbose", "sort", "lim"].map(|name| page.parameter(name));
        assert_eq!(values, [Some("5"), Some(""), Some(""), None]);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let check = |head: &[u8], refusal: Refusal, status: u16| {
            assert_eq!(parse(head), Parsed::Refused(refusal), "{}", head.escape_ascii());
            assert_eq!(refusal.answer().status, status);
        };
        let get = |headers: &str| format!("GET / HTTP/1.1\r\n{headers}\r\n").into_bytes();
        check(b"\x16\x03\x01\x02\x00\x01\x00", Refusal::Malformed, 400);
        check(b"IAMAT kiwi +34.07-118.45 1520023934.918963997\n", Refusal::Malformed, 400);
        check(&get(""), Refusal::Malformed, 400);
        check(&get("Host: a\r\nHost: a\r\n"), Refusal::Malformed, 400);
        check(&get("Host: a\r\n b: c\r\n"), Refusal::Malformed, 400);
        check(b"GET / HTTP/1.1\r\nHost: \xe9\r\n\r\n", Refusal::Malformed, 400);
        check(b"GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Malformed, 400);
        check(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n", Refusal::Method, 405);
        check(&get("Host: a\r\nContent-Length: 9\r\n"), Refusal::Body, 413);
        check(&get("Host: a\r\nTransfer-Encoding: chunked\r\n"), Refusal::Body, 413);
        check(b"PRI * HTTP/2.0\r\n\r\n", Refusal::Version, 505);
        let long = "a".repeat(HEAD_BYTES_MAX);
        check(&get(&format!("Host: a\r\nb: {long}\r\n")), Refusal::TooLong, 431);
        check(format!("GET /{long}").as_bytes(), Refusal::TooLong, 431);
        check(&get(&"a: b\r\n".repeat(HEADERS_MAX + 1)), Refusal::TooLong, 431);
        assert_eq!(Refusal::Unfinished.answer().status, 408);
    }

    #[test]
    fn only_our_names_are_served() {
        let names = ["hill.example.org".to_owned()];
        for ours in [
            "127.0.0.1",
            "127.0.0.1:12300",
            "10.9.8.7:1",
            "[::1]",
            "[::1]:12300",
            "localhost",
            "LocalHost.:80",
            "hill.EXAMPLE.org:12300",
        ] {
            assert!(is_our_host(ours, &names), "{ours}");
        }
        for other in [
            "",
            "evil.example",
            "evil.example:12300",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "127.0.0.1:80@evil.example",
            "[::1",
            "[::1]x",
            "[evil]",
            "x.hill.example.org",
            "2130706433",
        ] {
            assert!(!is_our_host(other, &names), "{other}");
        }
    }

    #[test]
    fn an_answer_says_how_long_it_is() {
        let answer = Answer::text(405, "no\n".to_owned());
        let text = String::from_utf8(answer.clone().into_bytes(784_111_777, false, false)).unwrap();
        let expected = "HTTP/1.1 405 Method Not Allowed\r\n\
                        Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
                        Content-Type: text/plain; charset=utf-8\r\n\
                        Content-Length: 3\r\n\
                        Cache-Control: no-store\r\n\
                        X-Content-Type-Options: nosniff\r\n\
                        Allow: GET, HEAD\r\n\
                        Connection: close\r\n\r\nno\n";
        assert_eq!(text, expected);
        let head = String::from_utf8(answer.into_bytes(u64::MAX, true, true)).unwrap();
        assert!(head.ends_with("Connection: keep-alive\r\n\r\n") && head.contains("Length: 3\r\n"));
        assert!(head.contains("Date: Thu, 01 Jan 1970 00:00:00 GMT\r\n"));
    }

    /// Bytes that are often nearly a request.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let part = prop_oneof![
            any::<u8>().prop_map(|byte| vec![byte]),
            prop_oneof![
                Just("GET "),
                Just("HEAD "),
                Just("/livez"),
                Just("?verbose"),
                Just(" HTTP/1.1"),
                Just(" HTTP/1.0"),
                Just("\r\n"),
                Just("\n"),
                Just("Host: localhost"),
                Just("Connection: close"),
                Just("Content-Length: "),
            ]
            .prop_map(|text| text.as_bytes().to_vec()),
        ];
        proptest::collection::vec(part, 0..24).prop_map(|parts| parts.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]

        /// Goal: no bytes break the parser; in however many pieces they come, the first word is the
        /// same; what is whole does not depend on what follows.
        #[test]
        fn pieces_do_not_matter(bytes in bytes(), more in any::<[u8; 4]>()) {
            let mut first = Parsed::Partial;
            for length in 0..=bytes.len() {
                first = parse(&bytes[..length]);
                if first != Parsed::Partial {
                    break;
                }
            }
            match (first, parse(&bytes)) {
                (Parsed::Whole(request, length), whole) => {
                    prop_assert_eq!(whole, Parsed::Whole(request, length));
                    let longer = [&bytes[..], &more].concat();
                    prop_assert_eq!(parse(&longer), Parsed::Whole(request, length));
                    prop_assert!(request.path.starts_with('/') && length <= bytes.len());
                }
                (Parsed::Partial, whole) => prop_assert_eq!(whole, Parsed::Partial),
                (Parsed::Refused(_), Parsed::Refused(_)) => {}
                (early, late) => prop_assert!(false, "{:?} becomes {:?}", early, late),
            }
        }
    }
}
