//! Share links: leave to see one client for a while, signed by the herd's key. Any server of the
//! herd reads one, and none keeps it.
//!
//! `s1.PAYLOAD.MAC`: the payload is `SERIAL EXPIRES CLIENT`, and both parts are base64 for URLs.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use herd_core::clock::PosixTime;
use ring::hmac::{self, HMAC_SHA256};

/// What a link begins with, and no other secret.
pub const LINK_BEGIN: &str = "s1.";

/// What a link is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// By this it can be taken back: hex digits.
    pub serial: String,
    pub expires: PosixTime,
    /// The client that it shows. Its name is as on the wire.
    pub client: String,
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
        let Link { serial, expires, client } = link;
        let said = format!("{serial} {} {client}", expires.whole_seconds());
        let said = format!("{LINK_BEGIN}{}", URL_SAFE_NO_PAD.encode(said));
        let tag = hmac::sign(&key, said.as_bytes());
        Some(format!("{said}.{}", URL_SAFE_NO_PAD.encode(tag)))
    }

    /// What a text says that one of these keys has signed.
    pub fn read(&self, text: &str) -> Option<Link> {
        let (said, tag) = text.rsplit_once('.')?;
        let tag = URL_SAFE_NO_PAD.decode(tag).ok()?;
        let mut keys = self.keys.iter().map(|key| hmac::Key::new(HMAC_SHA256, key));
        keys.find(|key| hmac::verify(key, said.as_bytes(), &tag).is_ok())?;
        let said = URL_SAFE_NO_PAD.decode(said.strip_prefix(LINK_BEGIN)?).ok()?;
        let said = String::from_utf8(said).ok()?;
        let mut words = said.splitn(3, ' ');
        let serial = words.next()?.to_owned();
        let expires = PosixTime::new(words.next()?.parse().ok()?, 0);
        Some(Link { serial, expires, client: words.next()?.to_owned() })
    }
}
