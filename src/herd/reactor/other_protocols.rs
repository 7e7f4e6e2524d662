//! Clients that have come to the wrong port. Only this file knows other protocols.
//!
//! A web page may send its visitor's browser to any port of the visitor's machine, with a text of
//! its own in the body. If it were answered line by line, each header would be wrong and the text
//! would be taken for commands. So a connection that begins in another language is closed, and
//! nothing of it is taken. Only the beginning of a connection is looked at. Clients of mail and the
//! like need no case here: they wait for a greeting, and none comes.

/// The language in which a connection begins, if it is known and not ours. `None` for a first line
/// that is ours or of no known protocol, and while too little of it has come.
pub fn language(begin: &[u8], line_bytes_max: usize) -> Option<&'static str> {
    let blank = begin.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    let begin = &begin[blank..];
    if begin.starts_with(&[0x16, 0x03]) {
        // A handshake record of some version.
        return Some("TLS");
    }
    if begin.starts_with(b"SSH-") {
        return Some("SSH");
    }
    let speaks_http = match memchr::memchr(b'\n', begin) {
        Some(end) => is_request(begin[..end].trim_ascii_end()) || is_header(begin),
        // Its end, which would show the protocol, will never be seen.
        None => begin.len() > line_bytes_max && has_target(begin),
    };
    speaks_http.then_some("HTTP")
}

/// `METHOD TARGET HTTP/1.1`, for any method.
fn is_request(line: &[u8]) -> bool {
    let mut words = line.rsplit(|&byte| byte == b' ');
    words.next().is_some_and(|last| last.starts_with(b"HTTP/")) && words.count() >= 2
}

fn is_header(line: &[u8]) -> bool {
    line.get(..5).is_some_and(|name| name.eq_ignore_ascii_case(b"host:"))
}

/// Whether the second word is a path or a URL, and the first is no command of ours.
fn has_target(line: &[u8]) -> bool {
    let mut words = line.split(|&byte| byte == b' ');
    let is_ours = words.next().is_none_or(|word| matches!(word, b"IAMAT" | b"WHATSAT" | b"AT"));
    let is_target = |word: &[u8]| word.starts_with(b"/") || word.starts_with(b"http");
    !is_ours && words.next().is_some_and(is_target)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// PROTOCOL 1.13.
    #[test]
    fn other_languages_are_known_by_their_beginning() {
        let check = |begin: &[u8], expected: Option<&str>| {
            assert_eq!(language(begin, 100), expected, "{}", begin.escape_ascii());
        };
        let http = Some("HTTP");
        for line in ["POST / HTTP/1.1", "GET /a?b=c HTTP/1.0", "OPTIONS * HTTP/1.1", "host: a"] {
            check(format!("{line}\r\nA: b\r\n").as_bytes(), http);
            check(format!("\r\n{line}\n").as_bytes(), http);
        }
        check(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", http);
        check(b"CONNECT a.example:443 HTTP/1.1\r\n", http);
        check(b"IAMAT / HTTP/1.1\r\n", http);
        check(&[b"GET /".as_slice(), &[b'x'; 200]].concat(), http);
        check(&[0x16, 0x03, 0x01, 0x02, 0x00, 0x01], Some("TLS"));
        check(b"SSH-2.0-OpenSSH_9.6\r\n", Some("SSH"));

        for line in ["IAMAT kiwi +1-1 7", "WHATSAT kiwi 1 1", "AT A +1 kiwi +1-1 7", "HELLO", ""] {
            check(format!("{line}\n").as_bytes(), None);
            check(
                format!("{line}\r\nPOST / HTTP/1.1\r\n").as_bytes(),
                line.is_empty().then_some("HTTP"),
            );
        }
        for line in ["GET /", "HTTP/1.1", "a HTTP/1.1", "hostile: 1", "EHLO a.example", "SSH"] {
            check(format!("{line}\n").as_bytes(), None);
        }
        // Not yet, or not so.
        check(b"POST / HTTP/1.1", None);
        check(b"\x16", None);
        check(&[b"IAMAT /".as_slice(), &[b'x'; 200]].concat(), None);
        check(&[b'x'; 200], None);
    }
}
