//! Sessions of browsers: a cookie instead of the secret, so that no page's script holds it.
//!
//! A session is signed with a key that one process makes for itself, and is kept nowhere. It is
//! good at that server, until it ends or its token is taken away.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use herd_core::clock::PosixTime;
use ring::hmac::{self, HMAC_SHA256};

use super::{Denied, Token};

/// How long a browser need not show its secret again.
const LENGTH: Duration = Duration::from_secs(12 * 3600);

/// Gives sessions, and knows its own.
pub struct Sessions(hmac::Key);

/// That a session was given for a token, which must still be the same.
pub struct SessionProof {
    said: String,
    tag: Vec<u8>,
}

impl Sessions {
    pub fn new(key: &[u8]) -> Sessions {
        Sessions(hmac::Key::new(HMAC_SHA256, key))
    }

    /// The value of the cookie, and for how many seconds it is good.
    pub fn open(&self, token: &Token, now: PosixTime) -> (String, u64) {
        let ends = now.plus(LENGTH);
        let ends = token.grant.expires.map_or(ends, |expires| expires.min(ends)).whole_seconds();
        let said = format!("{}.{ends}", URL_SAFE_NO_PAD.encode(&token.grant.name));
        let tag = hmac::sign(&self.0, &signed(&said, token));
        let text = format!("{said}.{}", URL_SAFE_NO_PAD.encode(tag));
        (text, ends.saturating_sub(now.whole_seconds()))
    }

    /// Whose session this is, if it is one: [`is_of`](Sessions::is_of) says that.
    pub(super) fn read(
        &self,
        text: &str,
        now: PosixTime,
    ) -> Result<(String, SessionProof), Denied> {
        let (said, tag) = text.rsplit_once('.').ok_or(Denied::Wrong)?;
        let (name, ends) = said.split_once('.').ok_or(Denied::Wrong)?;
        let [name, tag] = [name, tag].map(|text| URL_SAFE_NO_PAD.decode(text));
        let (name, tag) = (name.map_err(|_| Denied::Wrong)?, tag.map_err(|_| Denied::Wrong)?);
        let name = String::from_utf8(name).map_err(|_| Denied::Wrong)?;
        let ends: u64 = ends.parse().map_err(|_| Denied::Wrong)?;
        if ends <= now.whole_seconds() {
            return Err(Denied::Expired);
        }
        Ok((name, SessionProof { said: said.to_owned(), tag }))
    }

    pub(super) fn is_of(&self, proof: &SessionProof, token: &Token) -> bool {
        hmac::verify(&self.0, &signed(&proof.said, token), &proof.tag).is_ok()
    }
}

/// A token that gets another secret is another token.
fn signed(said: &str, token: &Token) -> Vec<u8> {
    [said.as_bytes(), b"\n", token.digest.bytes()].concat()
}
