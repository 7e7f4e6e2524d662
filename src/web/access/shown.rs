//! What a request shows of who sends it. Of several ways, the first that it uses counts, right or
//! wrong: the path, `Authorization`, the cookie.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::http::{COOKIE, Headers};

/// What a request shows.
#[derive(Clone, PartialEq, Eq)]
pub enum Shown<'a> {
    Nothing,
    /// A secret or a share link, as Bearer or in the path.
    Secret(&'a str),
    /// A secret as the password of a user, by Basic or MQTT.
    Named {
        user: String,
        secret: String,
    },
    /// A browser's cookie.
    Session(&'a str),
    /// Something of no form that is known.
    Unreadable,
}

/// A path, and the secret before it, if there is one: `/t/SECRET/report`.
pub struct SplitPath<'a> {
    pub secret: Option<&'a str>,
    pub path: &'a str,
}

pub fn split_path(path: &str) -> SplitPath<'_> {
    let Some(rest) = path.strip_prefix("/t/") else { return SplitPath { secret: None, path } };
    match rest.find('/') {
        Some(end) => SplitPath { secret: Some(&rest[..end]), path: &rest[end..] },
        None => SplitPath { secret: Some(rest), path: "/" },
    }
}

impl<'a> Shown<'a> {
    /// What a request with this secret in its path and these headers shows.
    pub fn by(secret: Option<&'a str>, headers: &Headers<'a>) -> Shown<'a> {
        if let Some(secret) = secret {
            return Shown::Secret(secret);
        }
        if let Some(authorization) = headers.authorization {
            return by_authorization(authorization).unwrap_or(Shown::Unreadable);
        }
        headers.cookie.and_then(session).map_or(Shown::Nothing, Shown::Session)
    }
}

fn by_authorization(text: &str) -> Option<Shown<'_>> {
    let (scheme, rest) = text.split_once(' ')?;
    let rest = rest.trim();
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(Shown::Secret(rest));
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let text = String::from_utf8(STANDARD.decode(rest).ok()?).ok()?;
    let (user, secret) = text.split_once(':')?;
    Some(Shown::Named { user: user.to_owned(), secret: secret.to_owned() })
}

fn session(cookies: &str) -> Option<&str> {
    let mut cookies = cookies.split(';').filter_map(|cookie| cookie.trim().split_once('='));
    cookies.find(|(name, _)| *name == COOKIE).map(|(_, value)| value)
}
