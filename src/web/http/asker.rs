//! Who asks: by which name, and on behalf of which page.
//!
//! A web page may have its visitor's browser ask any port of the visitor's machine. It may not read
//! the answers, because they do not allow it (no CORS), unless the page's own name has been made to
//! stand for this machine (DNS rebinding). The browser says that name in `Host`, so a name that is
//! not ours is refused ([`is_our_host`]).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::Headers;

/// Whether a page of somebody else has its visitor's browser ask: it may neither report nor read.
/// What is no browser says nothing of pages.
pub fn is_of_a_foreign_page(headers: &Headers<'_>) -> bool {
    let is_foreign_site = !matches!(headers.fetch_site, None | Some("none" | "same-origin"));
    let is_foreign_origin = headers.origin.is_some_and(|origin| {
        let host = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
        host != headers.host
    });
    is_foreign_site || is_foreign_origin
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
    let name = name.strip_suffix('.').unwrap_or(name);
    let is = |other: &str| name.eq_ignore_ascii_case(other);
    let is_known = || is("localhost") || names.iter().any(|other| is(other));
    is_port(port) && (name.parse::<Ipv4Addr>().is_ok() || is_known())
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn pages_of_others_are_told_apart() {
        let check = |fetch_site, origin, is_foreign| {
            let host = Some("localhost:12200");
            let headers = Headers { host, fetch_site, origin, ..Headers::default() };
            assert_eq!(is_of_a_foreign_page(&headers), is_foreign, "{headers:?}");
        };
        check(None, None, false);
        check(Some("none"), None, false);
        check(Some("same-origin"), Some("http://localhost:12200"), false);
        check(None, Some("https://localhost:12200"), false);
        check(Some("cross-site"), None, true);
        check(Some("same-site"), None, true);
        check(None, Some("null"), true);
        check(None, Some("http://localhost:12201"), true);
        check(None, Some("http://evil.example"), true);
        check(Some("cross-site"), Some("http://localhost:12200"), true);
    }
}
