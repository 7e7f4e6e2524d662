//! Share links: leave to see one client for a while, signed by the herd's key. Any server of the
//! herd reads one, and none keeps it.
//!
//! `s1.PAYLOAD.MAC`: the payload is `SERIAL EXPIRES CLIENT`, and both parts are base64 for URLs.
//! `s2.PAYLOAD.MAC` blurs where the client is: the payload is `SERIAL EXPIRES METRES CLIENT`. What
//! a link begins with is signed, too, so nobody makes one of the other; and a server that is too
//! old to blur takes the second for a wrong secret.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use herd_core::clock::PosixTime;
use ring::hmac::{self, HMAC_SHA256};

use crate::blur::Blur;

/// What a link begins with, and no other secret: one that shows where its client is, and one that
/// blurs that.
const EXACT: &str = "s1.";
const BLURRED: &str = "s2.";

/// What a link is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// By this it can be taken back: hex digits.
    pub serial: String,
    pub expires: PosixTime,
    /// The client that it shows. Its name is as on the wire.
    pub client: String,
    /// How coarsely it shows where that is; `None`: as it was reported.
    pub blur: Option<Blur>,
}

/// Whether a secret is a link, good or not.
pub fn is_link(text: &str) -> bool {
    text.starts_with(EXACT) || text.starts_with(BLURRED)
}

/// Signs links and reads them, with keys that are derived from those of the herd.
#[derive(Clone, Default)]
pub struct Signer {
    /// The newest first.
    keys: Vec<[u8; 32]>,
}

impl PartialEq for Signer {
    fn eq(&self, other: &Signer) -> bool {
        self.keys == other.keys
    }
}

impl Eq for Signer {}

impl Signer {
    /// With no key, no link can be made and none is good.
    pub fn new(keys: &[[u8; 32]], herd: &str) -> Signer {
        let derive = |key: &[u8; 32]| {
            let tag = hmac::sign(
                &hmac::Key::new(HMAC_SHA256, key),
                format!("herd share link 1\n{herd}").as_bytes(),
            );
            let mut derived = [0; 32];
            derived.copy_from_slice(tag.as_ref());
            derived
        };
        Signer { keys: keys.iter().map(derive).collect() }
    }

    /// The text of a link; `None` if there is no key.
    pub fn sign(&self, link: &Link) -> Option<String> {
        let key = hmac::Key::new(HMAC_SHA256, self.keys.first()?);
        let Link { serial, expires, client, blur } = link;
        let expires = expires.whole_seconds();
        let (begin, said) = match blur {
            None => (EXACT, format!("{serial} {expires} {client}")),
            Some(blur) => (BLURRED, format!("{serial} {expires} {} {client}", blur.metres())),
        };
        let said = format!("{begin}{}", URL_SAFE_NO_PAD.encode(said));
        let tag = hmac::sign(&key, said.as_bytes());
        Some(format!("{said}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// What a text says that one of these keys has signed.
    pub fn read(&self, text: &str) -> Option<Link> {
        let (said, tag) = text.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let mut keys = self.keys.iter().map(|key| hmac::Key::new(HMAC_SHA256, key));
        keys.find(|key| hmac::verify(key, said.as_bytes(), &tag).is_ok())?;
        let (is_blurred, said) = match said.strip_prefix(EXACT) {
            Some(said) => (false, said),
            None => (true, said.strip_prefix(BLURRED)?),
        };
        let said = String::from_utf8(URL_SAFE_NO_PAD.decode(said).ok()?).ok()?;
        let mut words = said.splitn(if is_blurred { 4 } else { 3 }, ' ');
        let serial = words.next()?.to_owned();
        let expires = PosixTime::new(words.next()?.parse().ok()?, 0);
        let blur = match is_blurred {
            true => Some(Blur::new(words.next()?.parse().ok()?)?),
            false => None,
        };
        Some(Link { serial, expires, client: words.next()?.to_owned(), blur })
    }
}
