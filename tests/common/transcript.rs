//! What is said and what must come back, in bytes. Apart from the transcripts because comparing is
//! the same for all of them: only the server's name and its skew are masked, and the places' JSON
//! is looked at as JSON.

use super::Client;

/// A line without its terminator, and what must come back.
pub struct Case {
    pub line: Vec<u8>,
    pub answer: Answer,
}

pub enum Answer {
    /// An AT line of this server that ends with these fields.
    At(Vec<u8>),
    /// `? ` and the line.
    Copy,
    /// `? ` and the first bytes of the line.
    Start(usize),
    Nothing,
    /// The AT line that is held, and at least and at most so many places.
    Places {
        at_line: String,
        least: usize,
        most: usize,
    },
}

pub fn case(line: impl AsRef<[u8]>, answer: Answer) -> Case {
    Case { line: line.as_ref().to_vec(), answer }
}

pub fn iamat(client: impl AsRef<[u8]>, position: &str, time: &str) -> Case {
    let tail = [client.as_ref(), position.as_bytes(), time.as_bytes()].join(&b' ');
    case([b"IAMAT ", &tail[..]].concat(), Answer::At(tail))
}

pub fn reshaped(line: &[u8], tail: &str) -> Case {
    case(line, Answer::At(tail.into()))
}

/// Reads what must come back, and nothing more.
pub fn check(client: &mut Client, server: &str, Case { line, answer }: &Case) {
    let asked = line.escape_ascii();
    match answer {
        Answer::Nothing => {}
        Answer::Copy => assert_eq!(client.line(), copy_of(line), "{asked}"),
        Answer::Start(length) => assert_eq!(client.line(), copy_of(&line[..*length]), "{asked}"),
        Answer::At(tail) => {
            let heard = client.line();
            assert!(is_at_line(&heard, server, tail), "{asked}: {}", heard.escape_ascii());
        }
        Answer::Places { at_line, least, most } => {
            assert_eq!(client.line(), format!("{at_line}\n").as_bytes(), "{asked}");
            let body = client.through(b"\n\n");
            check_places(&body, *least, *most);
        }
    }
}

pub fn copy_of(line: &[u8]) -> Vec<u8> {
    [b"? ", line, b"\n"].concat()
}

/// `AT <server> <sign><digits>.<nine digits> <tail>`, with one space between.
pub fn is_at_line(heard: &[u8], server: &str, tail: &[u8]) -> bool {
    let start = format!("AT {server} ");
    let end = [b" ", tail, b"\n"].concat();
    let skew = heard.strip_prefix(start.as_bytes()).and_then(|rest| rest.strip_suffix(&end[..]));
    let Some([b'+' | b'-', digits @ ..]) = skew else { return false };
    let dot = digits.iter().position(|&byte| byte == b'.');
    let Some((whole, fraction)) = dot.map(|dot| (&digits[..dot], &digits[dot + 1..])) else {
        return false;
    };
    let all_digits = |text: &[u8]| !text.is_empty() && text.iter().all(u8::is_ascii_digit);
    all_digits(whole) && all_digits(fraction) && fraction.len() == 9
}

/// A body with its two newlines: no blank line before them, and the members of the service.
/// PROTOCOL 3.6, 3.7.
pub fn check_places(body: &[u8], least: usize, most: usize) {
    let text = std::str::from_utf8(body).unwrap();
    let text = text.strip_suffix("\n\n").unwrap();
    assert!(!text.ends_with('\n') && !text.starts_with('\n'), "{text}");
    let seen: serde_json::Value = serde_json::from_str(text).unwrap();
    let results = seen["results"].as_array().unwrap();
    assert!(seen["html_attributions"].is_array() && seen["status"].is_string(), "{text}");
    assert!((least..=most).contains(&results.len()), "{} results: {text}", results.len());
    let status = if most == 0 { seen["status"].as_str().unwrap() } else { "OK" };
    assert!(["OK", "ZERO_RESULTS"].contains(&status), "{text}");
}
