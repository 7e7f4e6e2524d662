//! The page of the live map, as a browser loads it. What it shows, `tests/map.py` looks at.

use super::common::operator::Operator;
use super::common::{Herd, PLACELESS};

/// Goal: the page may be led to from anywhere and keeps to itself; who has it is not sent it again.
#[test]
fn the_map_is_handed_out() {
    let herd = Herd::of_one("", PLACELESS);
    let ask = |head: &str| {
        let mut browser = Operator::connect(herd.web_port("Hill"));
        browser.ask(&format!("{head}\r\nHost: localhost\r\n\r\n"))
    };
    let page = ask("GET /map HTTP/1.1\r\nSec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate");
    assert_eq!(page.status, 200, "{page:?}");
    assert!(page.body.contains("<script type=\"module\" src=\"/map/main.js\">"), "{page:?}");
    let policy = &page.headers["content-security-policy"];
    assert!(policy.starts_with("default-src 'self';") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(page.headers["referrer-policy"], "no-referrer");
    assert_eq!(page.headers["cache-control"], "no-cache");
    let tag = &page.headers["etag"];
    let kept = ask(&format!("GET /map HTTP/1.1\r\nIf-None-Match: {tag}"));
    assert!(kept.status == 304 && kept.body.is_empty(), "{kept:?}");
    let script = ask("GET /map/main.js HTTP/1.1");
    assert_eq!(script.headers["content-type"], "text/javascript; charset=utf-8");
    assert_eq!(ask("GET /map/mod.rs HTTP/1.1").status, 404);
    assert_eq!(ask("GET /v1/clients/kiwi HTTP/1.1\r\nSec-Fetch-Site: cross-site").status, 403);
}
