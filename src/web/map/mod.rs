//! The live map: a page that follows the herd. This hands out its files; what they do begins in
//! `main.js`, which reads best after `globe.js`, `clients.js`, `stream.js` and `painter.js`.
//!
//! All of it is in the binary, and the page asks nobody but the server that it came from. What it
//! lays land and towns on is made by `data/make.py`. Anybody may load it: positions are shown only
//! to those who have leave to ask for them.

use std::io::{Read, Write};
use std::sync::OnceLock;

use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;

use super::http::{Answer, Method, Request};

/// What the page may load, and from where: nothing but its own files and its own server.
const POLICY: &str = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; \
                      frame-ancestors 'none'";

/// A file, and the same packed.
struct File {
    path: &'static str,
    content_type: &'static str,
    source: Source,
    packed: OnceLock<Packed>,
}

enum Source {
    /// Packed when somebody first asks for it.
    Plain(&'static [u8]),
    /// Kept packed by gzip.
    Packed(&'static [u8]),
}

struct Packed {
    bytes: Vec<u8>,
    /// The same content has the same tag, in any coding: so it is a weak one.
    tag: String,
}

const fn plain(path: &'static str, content_type: &'static str, text: &'static str) -> File {
    let source = Source::Plain(text.as_bytes());
    File { path, content_type, source, packed: OnceLock::new() }
}

const fn data(path: &'static str, bytes: &'static [u8]) -> File {
    let source = Source::Packed(bytes);
    File { path, content_type: "application/octet-stream", source, packed: OnceLock::new() }
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
static FILES: [File; 17] = [
    plain("/map", HTML, include_str!("index.html")),
    plain("/map/map.css", "text/css; charset=utf-8", include_str!("map.css")),
    plain("/map/icon.svg", "image/svg+xml", include_str!("icon.svg")),
    plain("/map/answers.js", SCRIPT, include_str!("answers.js")),
    plain("/map/clients.js", SCRIPT, include_str!("clients.js")),
    plain("/map/fences.js", SCRIPT, include_str!("fences.js")),
    plain("/map/globe.js", SCRIPT, include_str!("globe.js")),
    plain("/map/main.js", SCRIPT, include_str!("main.js")),
    plain("/map/painter.js", SCRIPT, include_str!("painter.js")),
    plain("/map/stream.js", SCRIPT, include_str!("stream.js")),
    plain("/map/table.js", SCRIPT, include_str!("table.js")),
    data("/map/coarse.bin", include_bytes!("data/coarse.bin.gz")),
    data("/map/coast.bin", include_bytes!("data/coast.bin.gz")),
    data("/map/cities.bin", include_bytes!("data/cities.bin.gz")),
    data("/map/west.bin", include_bytes!("data/west.bin.gz")),
    data("/map/middle.bin", include_bytes!("data/middle.bin.gz")),
    data("/map/east.bin", include_bytes!("data/east.bin.gz")),
];

/// Whether this is a file of the page, which other pages may lead to.
pub fn has(path: &str) -> bool {
    FILES.iter().any(|file| file.path == path)
}

/// A file of the page, if it is asked for one.
pub fn answer(request: &Request<'_>) -> Option<Answer> {
    let is_asked = matches!(request.method, Method::Get | Method::Head);
    let file = FILES.iter().find(|file| is_asked && file.path == request.path)?;
    let packed = file.packed.get_or_init(|| file.source.pack());
    if request.headers.if_none_match.is_some_and(|tags| tags.contains(&packed.tag)) {
        return Some(Answer::not_modified(&packed.tag));
    }
    let answer = if request.headers.accept_encoding.is_some_and(takes_gzip) {
        Answer::new(200, file.content_type, packed.bytes.clone())
            .with_header("Content-Encoding", "gzip")
    } else {
        Answer::new(200, file.content_type, file.source.unpacked())
    };
    let answer = answer.tagged(&packed.tag).with_header("Vary", "Accept-Encoding");
    Some(
        answer
            .with_header("Content-Security-Policy", POLICY)
            .with_header("Referrer-Policy", "no-referrer")
            .with_header("Permissions-Policy", "geolocation=(self), camera=(), microphone=()"),
    )
}

/// RFC 9110, section 12.5.3: a weight of 0 means that it does not.
fn takes_gzip(codings: &str) -> bool {
    let mut codings = codings.split(',').map(|it| it.split_once(';').unwrap_or((it, "")));
    let is_zero = |weight: &str| weight.trim().trim_end_matches(['0', '.']).ends_with("q=");
    codings.any(|(name, weight)| name.trim().eq_ignore_ascii_case("gzip") && !is_zero(weight))
}

impl Source {
    fn pack(&self) -> Packed {
        let bytes = match self {
            Source::Packed(bytes) => bytes.to_vec(),
            Source::Plain(text) => {
                let mut out = GzEncoder::new(Vec::new(), Compression::default());
                out.write_all(text).expect("a Vec takes what it is given");
                out.finish().expect("a Vec takes what it is given")
            }
        };
        let mut sum = flate2::Crc::new();
        sum.update(&bytes);
        let tag = format!("W/\"{:08x}-{}\"", sum.sum(), bytes.len());
        Packed { bytes, tag }
    }

    fn unpacked(&self) -> Vec<u8> {
        match self {
            Source::Plain(text) => text.to_vec(),
            Source::Packed(bytes) => {
                let mut out = Vec::new();
                let read = GzDecoder::new(*bytes).read_to_end(&mut out);
                read.expect("invariant: make.py has packed it");
                out
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::borrow::Cow;

    use super::*;
    use crate::http::{Headers, Method};

    fn ask(path: &str, headers: Headers<'_>) -> Option<Answer> {
        let (query, body) = ("", Cow::Borrowed(&[][..]));
        answer(&Request { method: Method::Get, path, query, keeps_open: true, headers, body })
    }

    fn unpacked(bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        GzDecoder::new(bytes).read_to_end(&mut out).unwrap();
        out
    }

    #[test]
    fn packed_is_for_those_who_unpack() {
        for codings in ["gzip", "br, GZIP", "gzip;q=0.5", "gzip; q=1.0"] {
            assert!(takes_gzip(codings), "{codings}");
        }
        for codings in ["", "br", "gzip;q=0", "gzip; q=0.0, br"] {
            assert!(!takes_gzip(codings), "{codings}");
        }
    }

    /// Goal: every file comes packed or not, as it is wanted, and not again if it is known.
    #[test]
    fn files_are_handed_out_in_both_codings() {
        for file in &FILES {
            let plain = ask(file.path, Headers::default()).unwrap();
            let headers = Headers { accept_encoding: Some("br, gzip"), ..Headers::default() };
            let packed = ask(file.path, headers).unwrap();
            assert_eq!(unpacked(&packed.body), plain.body, "{}", file.path);
            assert!(packed.body.len() < plain.body.len(), "{}", file.path);
            let tag = file.packed.get().unwrap().tag.as_str();
            let headers = Headers { if_none_match: Some(tag), ..Headers::default() };
            assert_eq!(ask(file.path, headers).unwrap().status, 304, "{}", file.path);
            let headers = Headers { if_none_match: Some("W/\"0-0\""), ..Headers::default() };
            assert_eq!(ask(file.path, headers).unwrap().status, 200, "{}", file.path);
        }
        assert!(has("/map") && !has("/map/") && ask("/map/mod.rs", Headers::default()).is_none());
    }

    /// Goal: the first view is small: the page, what that loads, and the coarse land.
    #[test]
    fn the_first_view_is_small() {
        let is_near =
            |path: &str| ["coast", "west", "middle", "east"].iter().any(|it| path.contains(it));
        let files = FILES.iter().filter(|file| !is_near(file.path));
        let bytes: usize = files.map(|file| file.source.pack().bytes.len()).sum();
        assert!(bytes < 80_000, "{bytes}");
    }

    /// Goal: the page asks nobody else, and every file that one of its own names is there.
    #[test]
    fn nothing_foreign_is_loaded() {
        for file in &FILES {
            let Source::Plain(text) = &file.source else { continue };
            let text = std::str::from_utf8(text).unwrap();
            assert!(!text.contains("innerHTML") && !text.contains("style=\""), "{}", file.path);
            for quoted in text.split(['"', '`']).skip(1).step_by(2) {
                if let Some(name) = quoted.strip_prefix("./") {
                    assert!(has(&format!("/map/{name}")), "{} imports {quoted}", file.path);
                }
                let is_foreign = quoted.starts_with("http") || quoted.starts_with("//");
                // A link that a reader may follow, and the name of a format.
                let is_known = quoted == "https://www.geonames.org/" || quoted.ends_with("/svg");
                assert!(!is_foreign || is_known, "{} names {quoted}", file.path);
            }
        }
    }
}
