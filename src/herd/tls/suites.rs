//! What sessions compute with: *ring*, as rustls does by itself, but for two things.
//!
//! An expanded key of AES with the table of its MAC is half a kilobyte, and an idle session would
//! have two of them: a third of all its memory. The one to open with stays here as it was agreed
//! on, and is expanded for each record: 0.15 µs, where a record comes with a read of 1 µs and more.
//! What is sealed and how sessions begin is rustls' own.
//!
//! And the order is another one: a handshake hashes a hundred times, and processors have
//! instructions for SHA-256 and none for SHA-384.

use std::sync::LazyLock;

use ring::aead::{self, Aad, LessSafeKey, UnboundKey};
use rustls::crypto::cipher::{
    AeadKey, InboundOpaqueMessage, InboundPlainMessage, Iv, KeyBlockShape, MessageDecrypter,
    MessageEncrypter, Nonce, Tls12AeadAlgorithm, Tls13AeadAlgorithm, UnsupportedOperationError,
    make_tls12_aad, make_tls13_aad,
};
use rustls::crypto::{CryptoProvider, ring::default_provider};
use rustls::{
    CipherSuite, CipherSuiteCommon, ConnectionTrafficSecrets, Error, SupportedCipherSuite,
    Tls12CipherSuite, Tls13CipherSuite,
};

/// Bytes that the plaintext of a record has at most.
const PLAIN_BYTES_MAX: usize = 1 << 14;
/// With TLS 1.2, the part of a nonce that is agreed on, and the part that comes with its record.
const SALT_BYTES: usize = 4;
const SENT_NONCE_BYTES: usize = 8;

/// Made once, because rustls wants suites to live as long as the process.
static SUITES: LazyLock<Vec<SupportedCipherSuite>> = LazyLock::new(|| {
    let mut suites: Vec<_> = default_provider().cipher_suites.into_iter().map(lean).collect();
    suites.sort_by_key(|suite| (cipher(suite.suite()).is_none(), common(suite).1));
    suites
});

/// What both kinds of sessions compute with.
pub fn provider() -> CryptoProvider {
    CryptoProvider { cipher_suites: SUITES.clone(), ..default_provider() }
}

/// Which cipher of AES a suite has.
fn cipher(suite: CipherSuite) -> Option<&'static aead::Algorithm> {
    match suite {
        CipherSuite::TLS13_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 => Some(&aead::AES_128_GCM),
        CipherSuite::TLS13_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384
        | CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 => Some(&aead::AES_256_GCM),
        _ => None,
    }
}

/// What all suites have, and the length of their hashes.
fn common(suite: &SupportedCipherSuite) -> (CipherSuiteCommon, usize) {
    let common = match suite {
        SupportedCipherSuite::Tls12(suite) => &suite.common,
        SupportedCipherSuite::Tls13(suite) => &suite.common,
    };
    let CipherSuiteCommon { suite, hash_provider, confidentiality_limit } = *common;
    let copy = CipherSuiteCommon { suite, hash_provider, confidentiality_limit };
    (copy, hash_provider.output_len())
}

/// The same suite, with small keys to open with if its cipher is AES.
fn lean(suite: SupportedCipherSuite) -> SupportedCipherSuite {
    let (common, _) = common(&suite);
    let Some(cipher) = cipher(common.suite) else { return suite };
    match suite {
        SupportedCipherSuite::Tls13(of_rustls) => {
            let aead_alg = Box::leak(Box::new(Lean { cipher, of_rustls: of_rustls.aead_alg }));
            let hkdf_provider = of_rustls.hkdf_provider;
            let suite = Tls13CipherSuite { common, hkdf_provider, aead_alg, quic: None };
            SupportedCipherSuite::Tls13(Box::leak(Box::new(suite)))
        }
        SupportedCipherSuite::Tls12(of_rustls) => {
            let aead_alg = Box::leak(Box::new(Lean { cipher, of_rustls: of_rustls.aead_alg }));
            let Tls12CipherSuite { prf_provider, kx, sign, .. } = *of_rustls;
            let suite = Tls12CipherSuite { common, prf_provider, kx, sign, aead_alg };
            SupportedCipherSuite::Tls12(Box::leak(Box::new(suite)))
        }
    }
}

/// A cipher whose keys to open with are small. All else is done by rustls' own.
struct Lean<T: ?Sized + 'static> {
    cipher: &'static aead::Algorithm,
    of_rustls: &'static T,
}

impl Tls13AeadAlgorithm for Lean<dyn Tls13AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageEncrypter> {
        self.of_rustls.encrypter(key, iv)
    }

    fn decrypter(&self, key: AeadKey, iv: Iv) -> Box<dyn MessageDecrypter> {
        Box::new(Opener13 { key: Key { cipher: self.cipher, key }, iv })
    }

    fn key_len(&self) -> usize {
        self.of_rustls.key_len()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: Iv,
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.of_rustls.extract_keys(key, iv)
    }
}

impl Tls12AeadAlgorithm for Lean<dyn Tls12AeadAlgorithm> {
    fn encrypter(&self, key: AeadKey, iv: &[u8], extra: &[u8]) -> Box<dyn MessageEncrypter> {
        self.of_rustls.encrypter(key, iv, extra)
    }

    fn decrypter(&self, key: AeadKey, iv: &[u8]) -> Box<dyn MessageDecrypter> {
        let mut salt = [0; SALT_BYTES];
        salt.copy_from_slice(&iv[..SALT_BYTES]);
        Box::new(Opener12 { key: Key { cipher: self.cipher, key }, salt })
    }

    fn key_block_shape(&self) -> KeyBlockShape {
        self.of_rustls.key_block_shape()
    }

    fn extract_keys(
        &self,
        key: AeadKey,
        iv: &[u8],
        explicit: &[u8],
    ) -> Result<ConnectionTrafficSecrets, UnsupportedOperationError> {
        self.of_rustls.extract_keys(key, iv, explicit)
    }
}

/// A key as it was agreed on.
struct Key {
    cipher: &'static aead::Algorithm,
    key: AeadKey,
}

impl Key {
    fn expand(&self) -> Result<LessSafeKey, Error> {
        let key = UnboundKey::new(self.cipher, self.key.as_ref());
        key.map(LessSafeKey::new).map_err(|_| Error::DecryptError)
    }
}

/// Opens records of TLS 1.3 (RFC 8446, section 5.2).
struct Opener13 {
    key: Key,
    iv: Iv,
}

impl MessageDecrypter for Opener13 {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let payload = &mut message.payload;
        let nonce = aead::Nonce::assume_unique_for_key(Nonce::new(&self.iv, number).0);
        let about = Aad::from(make_tls13_aad(payload.len()));
        let plain = self.key.expand()?.open_in_place(nonce, about, payload);
        let plain_len = plain.map_err(|_| Error::DecryptError)?.len();
        payload.truncate(plain_len);
        message.into_tls13_unpadded_message()
    }
}

/// Opens records of TLS 1.2 (RFC 5288, section 3).
struct Opener12 {
    key: Key,
    salt: [u8; SALT_BYTES],
}

impl MessageDecrypter for Opener12 {
    fn decrypt<'a>(
        &mut self,
        mut message: InboundOpaqueMessage<'a>,
        number: u64,
    ) -> Result<InboundPlainMessage<'a>, Error> {
        let (kind, version) = (message.typ, message.version);
        let payload = &mut message.payload;
        let overhead = SENT_NONCE_BYTES + self.key.cipher.tag_len();
        let expected = payload.len().checked_sub(overhead).ok_or(Error::DecryptError)?;
        let mut nonce = [0; SALT_BYTES + SENT_NONCE_BYTES];
        nonce[..SALT_BYTES].copy_from_slice(&self.salt);
        nonce[SALT_BYTES..].copy_from_slice(&payload[..SENT_NONCE_BYTES]);
        let nonce = aead::Nonce::assume_unique_for_key(nonce);
        let about = Aad::from(make_tls12_aad(number, kind, version, expected));
        let plain = self.key.expand()?.open_within(nonce, about, payload, SENT_NONCE_BYTES..);
        let plain_len = plain.map_err(|_| Error::DecryptError)?.len();
        if plain_len > PLAIN_BYTES_MAX {
            return Err(Error::PeerSentOversizedRecord);
        }
        payload.truncate(plain_len);
        Ok(message.into_plain_message())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: all that rustls offers is offered, the cheap hash first, and other ciphers than AES
    /// last.
    #[test]
    fn the_order_is_ours_and_nothing_is_left_out() {
        let names = |suites: &[SupportedCipherSuite]| {
            Vec::from_iter(suites.iter().map(SupportedCipherSuite::suite))
        };
        let (mut ours, mut all) = (names(&SUITES), names(&default_provider().cipher_suites));
        let [first, .., last] = ours[..] else { panic!("there are several") };
        assert_eq!(first, CipherSuite::TLS13_AES_128_GCM_SHA256);
        assert_eq!(cipher(last), None);
        let with_384 = |suite: &CipherSuite| format!("{suite:?}").ends_with("SHA384");
        let aes = ours.iter().filter(|suite| cipher(**suite).is_some());
        assert!(aes.map(with_384).is_sorted(), "{ours:?}");
        ours.sort_by_key(|suite| u16::from(*suite));
        all.sort_by_key(|suite| u16::from(*suite));
        assert_eq!(ours, all);
        assert!(SUITES.iter().any(|suite| cipher(suite.suite()).is_some()));
    }
}
