//! Requests of HTTP/1.1, and of HTTP/1.0: bytes come in, and are a request, a part of one, or
//! nothing that can be served. It knows no socket and no path.

use std::borrow::Cow;
use std::mem::MaybeUninit;

use super::Answer;
use super::chunks::read_chunks;

/// Most lines in a head.
pub(super) const HEADERS_MAX: usize = 64;
/// What a port takes.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Longest head. Browsers and proxies send a tenth of 8 KiB.
    pub head_bytes_max: usize,
    /// Longest body; 0 for a port that only answers: it serves no POST.
    pub body_bytes_max: usize,
}

impl Limits {
    /// Bytes of the longest request. The heads of chunks may take as much as what they carry:
    /// senders cut by the kilobyte, and what a connection may make us keep must be bounded.
    pub fn request_bytes_max(self) -> usize {
        self.head_bytes_max + 2 * self.body_bytes_max
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    Get,
    /// As GET, without the body of the answer.
    Head,
    Post,
    Delete,
}

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    pub method: Method,
    /// Begins with a `/`. Nothing is decoded.
    pub path: &'a str,
    /// What stands behind the `?`; empty if there is none.
    pub query: &'a str,
    /// More requests may follow on the connection.
    pub keeps_open: bool,
    pub headers: Headers<'a>,
    /// Without its chunks' heads.
    pub body: Cow<'a, [u8]>,
}

/// What is read of a request's headers, without the space around it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'a> {
    /// Always there in HTTP/1.1.
    pub host: Option<&'a str>,
    /// The page that asks, if a browser says so.
    pub origin: Option<&'a str>,
    /// `Sec-Fetch-Site`: how that page is related to us.
    pub fetch_site: Option<&'a str>,
    pub authorization: Option<&'a str>,
    pub accept_encoding: Option<&'a str>,
    /// The tag of what the sender has kept.
    pub if_none_match: Option<&'a str>,
    /// What a browser keeps for us, and for every port of this machine.
    pub cookie: Option<&'a str>,
    /// OwnTracks' `X-Limit-U`.
    pub limit_user: Option<&'a str>,
    /// The id of the event that a follower has heard last.
    pub last_event_id: Option<&'a str>,
    /// OwnTracks' `X-Limit-D`.
    pub limit_device: Option<&'a str>,
}

impl<'a> Headers<'a> {
    /// Where the value of a header goes, if it is read: few are, and most have another length.
    fn field(&mut self, name: &str) -> Option<&mut Option<&'a str>> {
        let is = |other: &str| name.eq_ignore_ascii_case(other);
        match name.len() {
            4 if is("host") => Some(&mut self.host),
            6 if is("origin") => Some(&mut self.origin),
            6 if is("cookie") => Some(&mut self.cookie),
            9 if is("x-limit-u") => Some(&mut self.limit_user),
            9 if is("x-limit-d") => Some(&mut self.limit_device),
            13 if is("authorization") => Some(&mut self.authorization),
            13 if is("if-none-match") => Some(&mut self.if_none_match),
            13 if is("last-event-id") => Some(&mut self.last_event_id),
            14 if is("sec-fetch-site") => Some(&mut self.fetch_site),
            _ => None,
        }
    }
}

impl<'a> Request<'a> {
    /// The value of a parameter of the query: empty for one that has none.
    pub fn parameter(&self, name: &str) -> Option<&'a str> {
        let mut parts =
            self.query.split('&').map(|part| part.split_once('=').unwrap_or((part, "")));
        parts.find(|(other, _)| *other == name).map(|(_, value)| value)
    }

    /// The same request for another path.
    pub fn at<'b>(&'b self, path: &'b str) -> Request<'b> {
        let Request { method, query, keeps_open, headers, .. } = *self;
        Request { method, path, query, keeps_open, headers, body: Cow::Borrowed(&self.body) }
    }

    pub fn is_head(&self) -> bool {
        self.method == Method::Head
    }
}

/// What bytes begin with.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
pub enum Parsed<'a> {
    /// What may become a request: more must come. Its sender may wait for [`CONTINUE`] before the
    /// body.
    Partial { awaits_continue: bool },
    /// A request, and its length.
    Whole(Request<'a>, usize),
    /// Nothing that can be served: say so and close.
    Refused(Refusal),
}

/// Lets a sender that asked for leave send its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Why bytes are no request of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    Malformed,
    /// It has no end, in time or before the connection's.
    Unfinished,
    /// The head is too long.
    TooLong,
    /// This port does not serve this method.
    Method {
        may_post: bool,
    },
    /// It has a body, and must not, or a larger one than it may.
    Body {
        may_post: bool,
    },
    /// A coding of the body that is not ours.
    Coding,
    Version,
}

impl Refusal {
    pub fn answer(self) -> Answer {
        let (status, why) = match self {
            Refusal::Malformed => (400, "this is no HTTP request"),
            Refusal::Unfinished => (408, "the request has no end"),
            Refusal::TooLong => (431, "the head of the request is too long"),
            Refusal::Method { may_post: false } => (405, "only GET and HEAD are served"),
            Refusal::Method { may_post: true } => {
                (405, "only GET, HEAD, POST and DELETE are served")
            }
            Refusal::Body { may_post: false } => (413, "a request must not have a body"),
            Refusal::Body { may_post: true } => (413, "the body is too long: send fewer at a time"),
            Refusal::Coding => (501, "the body must come as it is, or in chunks"),
            Refusal::Version => (505, "only HTTP/1.1 and HTTP/1.0 are spoken"),
        };
        let answer = Answer::text(status, format!("{why}\n"));
        match self {
            Refusal::Method { may_post: false } => answer.allowing("GET, HEAD"),
            Refusal::Method { may_post: true } => answer.allowing("GET, HEAD, POST, DELETE"),
            _ => answer,
        }
    }
}

/// Reads one request of what has come. Each byte may be the last: nothing that is refused later is
/// served before, and nothing that is whole is called partial.
pub fn parse(bytes: &[u8], limits: Limits) -> Parsed<'_> {
    // To fill them would cost as much as to read most heads.
    let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
    let mut head = httparse::Request::new(&mut []);
    let whole = match head.parse_with_uninit_headers(bytes, &mut headers) {
        Ok(httparse::Status::Complete(length)) if length <= limits.head_bytes_max => {
            understand(&head, limits).and_then(|head| head.with_body(bytes, length, limits))
        }
        Ok(httparse::Status::Partial) if bytes.len() <= limits.head_bytes_max => Ok(None),
        Ok(_) | Err(httparse::Error::TooManyHeaders) => Err(Refusal::TooLong),
        Err(httparse::Error::Version) if memchr::memmem::find(bytes, b" HTTP/").is_some() => {
            Err(Refusal::Version)
        }
        Err(_) => Err(Refusal::Malformed),
    };
    match whole {
        Ok(Some(Body::Whole(request, length))) => Parsed::Whole(request, length),
        Ok(Some(Body::Partial { awaits_continue })) => Parsed::Partial { awaits_continue },
        Ok(None) => Parsed::Partial { awaits_continue: false },
        Err(refusal) => Parsed::Refused(refusal),
    }
}

/// A head that is understood, and what it says of the body.
struct Head<'a> {
    request: Request<'a>,
    framing: Framing,
    awaits_continue: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// So many bytes.
    Length(usize),
    Chunks,
}

#[expect(clippy::large_enum_variant, reason = "one at a time, on the stack")]
enum Body<'a> {
    Partial { awaits_continue: bool },
    Whole(Request<'a>, usize),
}

fn understand<'a>(head: &httparse::Request<'_, 'a>, limits: Limits) -> Result<Head<'a>, Refusal> {
    let (Some(method), Some(target), Some(minor)) = (head.method, head.path, head.version) else {
        return Err(Refusal::Malformed);
    };
    let may_post = limits.body_bytes_max > 0;
    let method = match method {
        "GET" => Method::Get,
        "HEAD" => Method::Head,
        "POST" if may_post => Method::Post,
        "DELETE" if may_post => Method::Delete,
        _ => return Err(Refusal::Method { may_post }),
    };
    let (mut headers, mut keeps_open) = (Headers::default(), minor == 1);
    let (mut framing, mut awaits_continue) = (None, false);
    for header in head.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        let value =
            || std::str::from_utf8(header.value.trim_ascii()).map_err(|_| Refusal::Malformed);
        if let Some(field) = headers.field(header.name) {
            // A proxy between us and the sender may have read the other one.
            if field.replace(value()?).is_some() {
                return Err(Refusal::Malformed);
            }
        } else if is("content-length") || is("transfer-encoding") {
            let other = if is("content-length") { length(value()?)? } else { coding(value()?)? };
            if framing.replace(other).is_some_and(|framing| framing != other) {
                return Err(Refusal::Malformed);
            }
        } else if is("accept-encoding") {
            headers.accept_encoding = Some(value()?);
        } else if is("expect") {
            awaits_continue = value()?.eq_ignore_ascii_case("100-continue") && minor == 1;
        } else if is("connection") {
            let words = || value().map(|words| words.split(',').map(str::trim));
            let has =
                |word: &str| words().map(|mut all| all.any(|it| it.eq_ignore_ascii_case(word)));
            keeps_open = !has("close")? && (keeps_open || has("keep-alive")?);
        }
    }
    let framing = framing.unwrap_or(Framing::Length(0));
    // HTTP/1.0 knows no chunks: what follows could be anything.
    if framing == Framing::Chunks && minor == 0 {
        return Err(Refusal::Malformed);
    }
    let is_too_long = match framing {
        Framing::Length(length) => length > limits.body_bytes_max,
        Framing::Chunks => !may_post,
    };
    if is_too_long {
        return Err(Refusal::Body { may_post });
    }
    // A proxy names the whole URL; this is none.
    if !target.starts_with('/') || minor == 1 && headers.host.is_none() {
        return Err(Refusal::Malformed);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let body = Cow::Borrowed(&[][..]);
    let request = Request { method, path, query, keeps_open, headers, body };
    Ok(Head { request, framing, awaits_continue })
}

fn length(value: &str) -> Result<Framing, Refusal> {
    // `parse` alone would take a sign.
    let are_digits = value.bytes().all(|byte| byte.is_ascii_digit());
    value.parse().ok().filter(|_| are_digits).map(Framing::Length).ok_or(Refusal::Malformed)
}

fn coding(value: &str) -> Result<Framing, Refusal> {
    let is_chunked = value.eq_ignore_ascii_case("chunked");
    is_chunked.then_some(Framing::Chunks).ok_or(Refusal::Coding)
}

impl<'a> Head<'a> {
    /// The request with its body, if all of that is there.
    fn with_body(
        self,
        bytes: &'a [u8],
        head_length: usize,
        limits: Limits,
    ) -> Result<Option<Body<'a>>, Refusal> {
        let rest = &bytes[head_length..];
        let body = match self.framing {
            Framing::Length(length) => rest.get(..length).map(|body| (Cow::Borrowed(body), length)),
            Framing::Chunks => read_chunks(rest, limits.body_bytes_max)?,
        };
        Ok(Some(match body {
            Some((body, length)) => {
                Body::Whole(Request { body, ..self.request }, head_length + length)
            }
            None => Body::Partial { awaits_continue: self.awaits_continue && rest.is_empty() },
        }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ANSWERING: Limits = Limits { head_bytes_max: 8192, body_bytes_max: 0 };
    const TAKING: Limits = Limits { head_bytes_max: 8192, body_bytes_max: 1000 };
    const PARTIAL: Parsed<'_> = Parsed::Partial { awaits_continue: false };

    fn request<'a>(path: &'a str, query: &'a str, host: Option<&'a str>) -> Request<'a> {
        let headers = Headers { host, ..Headers::default() };
        let (keeps_open, body) = (host.is_some(), Cow::Borrowed(&[][..]));
        Request { method: Method::Get, path, query, keeps_open, headers, body }
    }

    #[test]
    fn a_head_is_a_request() {
        let check = |head: &str, expected: Request<'_>| {
            for length in 0..head.len() {
                let begin = &head.as_bytes()[..length];
                assert_eq!(parse(begin, ANSWERING), PARTIAL, "{}", begin.escape_ascii());
            }
            let more = format!("{head}GET");
            let whole = Parsed::Whole(expected, head.len());
            assert_eq!(parse(more.as_bytes(), ANSWERING), whole, "{head}");
        };
        let plain = || request("/livez", "", Some("a:1"));
        check("GET /livez HTTP/1.1\r\nHost: a:1\r\n\r\n", plain());
        check("GET /livez HTTP/1.1\nhost:a:1 \nContent-Length: 0\n\n", plain());
        let head = Request { method: Method::Head, ..plain() };
        check("HEAD /livez HTTP/1.1\r\nHost: a:1\r\n\r\n", head);
        let closing = Request { keeps_open: false, ..plain() };
        check("GET /livez HTTP/1.1\r\nHost: a:1\r\nConnection: TE, Close\r\n\r\n", closing);
        check("GET / HTTP/1.0\r\n\r\n", request("/", "", None));
        let kept = Request { keeps_open: true, ..request("/", "", None) };
        check("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n", kept);
        let page = request("/connections", "limit=5&verbose&sort=", Some("b"));
        check("GET /connections?limit=5&verbose&sort= HTTP/1.1\r\nHost: b\r\n\r\n", page.clone());
        let values = ["limit", "verbose", "sort", "lim"].map(|name| page.parameter(name));
        assert_eq!(values, [Some("5"), Some(""), Some(""), None]);
    }

    #[test]
    fn what_is_no_request_is_refused() {
        let check = |head: &[u8], refusal: Refusal, status: u16| {
            assert_eq!(parse(head, ANSWERING), Parsed::Refused(refusal), "{}", head.escape_ascii());
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
        check(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n",
            Refusal::Method { may_post: false },
            405,
        );
        check(&get("Host: a\r\nContent-Length: 9\r\n"), Refusal::Body { may_post: false }, 413);
        check(
            &get("Host: a\r\nTransfer-Encoding: chunked\r\n"),
            Refusal::Body { may_post: false },
            413,
        );
        check(b"PRI * HTTP/2.0\r\n\r\n", Refusal::Version, 505);
        let long = "a".repeat(ANSWERING.head_bytes_max);
        check(&get(&format!("Host: a\r\nb: {long}\r\n")), Refusal::TooLong, 431);
        check(format!("GET /{long}").as_bytes(), Refusal::TooLong, 431);
        check(&get(&"a: b\r\n".repeat(HEADERS_MAX + 1)), Refusal::TooLong, 431);
        assert_eq!(Refusal::Unfinished.answer().status, 408);
    }

    #[test]
    fn a_body_belongs_to_its_request() {
        let check = |text: &str, body: &str| {
            for length in 0..text.len() {
                let begin = &text.as_bytes()[..length];
                let parsed = parse(begin, TAKING);
                assert!(
                    matches!(parsed, Parsed::Partial { .. }),
                    "{} {parsed:?}",
                    begin.escape_ascii()
                );
            }
            let more = format!("{text}POST");
            let body = Cow::Borrowed(body.as_bytes());
            let request = request("/report", "", Some("a"));
            let whole = Request { method: Method::Post, body, ..request };
            assert_eq!(parse(more.as_bytes(), TAKING), Parsed::Whole(whole, text.len()), "{text}");
        };
        let post = |rest: &str| format!("POST /report HTTP/1.1\r\nHost: a\r\n{rest}");
        check(&post("Content-Length: 5\r\n\r\nhello"), "hello");
        check(&post("content-length: 5\r\nContent-Length: 5\r\n\r\nhello"), "hello");
        check(&post("\r\n"), "");
        let chunked = "Transfer-Encoding: chunked\r\n\r\n";
        check(&post(&format!("{chunked}3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\n\r\n")), "hello");
        check(&post(&format!("{chunked}5\r\nhello\r\n0\r\nETag: x\r\n\r\n")), "hello");
        check(&post(&format!("{chunked}0\r\n\r\n")), "");
    }

    #[test]
    fn bodies_that_can_be_read_in_two_ways_are_refused() {
        let check = |rest: &str, refusal: Refusal, status: u16| {
            let text = format!("POST /report HTTP/1.1\r\nHost: a\r\n{rest}");
            assert_eq!(parse(text.as_bytes(), TAKING), Parsed::Refused(refusal), "{rest}");
            assert_eq!(refusal.answer().status, status);
        };
        let too_long = Refusal::Body { may_post: true };
        check("Content-Length: 1001\r\n\r\n", too_long, 413);
        check("Content-Length: 99999999999999999999\r\n\r\n", Refusal::Malformed, 400);
        check("Content-Length: +5\r\n\r\nhello", Refusal::Malformed, 400);
        check("Content-Length: 5, 5\r\n\r\nhello", Refusal::Malformed, 400);
        check("Content-Length: 5\r\nContent-Length: 6\r\n\r\n", Refusal::Malformed, 400);
        let both = "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(both, Refusal::Malformed, 400);
        check("Transfer-Encoding: gzip, chunked\r\n\r\n", Refusal::Coding, 501);
        let chunked = |rest: &str| format!("Transfer-Encoding: chunked\r\n\r\n{rest}");
        check(&chunked("x\r\n"), Refusal::Malformed, 400);
        check(&chunked("-1\r\n"), Refusal::Malformed, 400);
        check(&chunked("ffffffffffffffffff\r\n"), Refusal::Malformed, 400);
        check(&chunked("5\r\nhelloo"), Refusal::Malformed, 400);
        check(&chunked("3e9\r\n"), too_long, 413);
        check(&chunked(&format!("1;{}", "x".repeat(300))), Refusal::Malformed, 400);
        let old = b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n";
        assert_eq!(parse(old, TAKING), Parsed::Refused(Refusal::Malformed));
        let put = b"PUT / HTTP/1.1\r\nHost: a\r\n\r\n";
        let method = Refusal::Method { may_post: true };
        assert_eq!(parse(put, TAKING), Parsed::Refused(method));
    }

    #[test]
    fn who_waits_for_leave_is_known() {
        let head =
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";
        assert_eq!(parse(head, TAKING), Parsed::Partial { awaits_continue: true });
        assert_eq!(parse(&head[..head.len() - 1], TAKING), PARTIAL);
        assert_eq!(parse(&[head, &b"h"[..]].concat(), TAKING), PARTIAL);
        let whole = [head, &b"hello"[..]].concat();
        assert!(matches!(parse(&whole, TAKING), Parsed::Whole(..)));
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
                Just("POST "),
                Just("Transfer-Encoding: chunked"),
                Just("5"),
                Just("hello"),
                Just("0\r\n\r\n"),
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
            let is_partial = |parsed: &Parsed<'_>| matches!(parsed, Parsed::Partial { .. });
            let mut first = PARTIAL;
            for length in 0..=bytes.len() {
                first = parse(&bytes[..length], TAKING);
                if !is_partial(&first) {
                    break;
                }
            }
            match (first, parse(&bytes, TAKING)) {
                (Parsed::Whole(request, length), whole) => {
                    prop_assert_eq!(whole, Parsed::Whole(request.clone(), length));
                    let longer = [&bytes[..], &more].concat();
                    prop_assert_eq!(parse(&longer, TAKING), Parsed::Whole(request.clone(), length));
                    prop_assert!(request.path.starts_with('/') && length <= bytes.len());
                }
                (Parsed::Partial { .. }, whole) => prop_assert!(is_partial(&whole)),
                (Parsed::Refused(_), Parsed::Refused(_)) => {}
                (early, late) => prop_assert!(false, "{:?} becomes {:?}", early, late),
            }
        }
    }
}
