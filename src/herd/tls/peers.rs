//! What two servers of a herd show each other by TLS: that both know one of the herd's keys. There
//! is no certificate, no name and no date.
//!
//! ```text
//!   herd's key ──HKDF-SHA-256──▶ seed ──▶ key pair of Ed25519, the same at all servers
//! ```
//!
//! Each end shows the public half as it is (RFC 7250, raw public keys), signs the handshake with
//! the other half, and takes nothing but what its own keys make. So who lacks the key can neither
//! be a peer nor stand between two. While a herd changes keys, a server has two: each end says in
//! `certificate_authorities` (RFC 8446, section 4.2.4) which public keys it takes, and is shown the
//! newest that both have, as in the greeting.
//!
//! Which server the far end is, the greeting inside says. That both ends have the same pair does
//! no harm: the signature says whether it was a dialler's or an acceptor's.

use std::sync::Arc;

use ring::hkdf;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{ResolvesClientCert, Resumption, UnbufferedClientConnection};
use rustls::crypto::ring::sign::any_eddsa_type;
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature_with_raw_key};
use rustls::pki_types::{
    CertificateDer, PrivatePkcs8KeyDer, ServerName, SubjectPublicKeyInfoDer, UnixTime,
};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, DistinguishedName, Error, ServerConfig,
    SignatureScheme, version,
};

use super::suites::provider;
use super::{End, Session};
use crate::config::HerdKey;

/// Another text here would be another herd: it is told apart from all else that is derived from
/// the key.
const SALT: &[u8] = b"herd peer tls 1";
const INFO: &[u8] = b"ed25519 seed";

const SEED_BYTES: usize = 32;

/// What stands before a seed of Ed25519 in a private key's DER (RFC 8410, section 7).
const PKCS8_BEFORE_SEED: [u8; 16] =
    [0x30, 0x2E, 2, 1, 0, 0x30, 5, 6, 3, 0x2B, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// What every link by TLS of this server rests on.
#[derive(Clone)]
pub struct PeerTerms {
    server: Arc<ServerConfig>,
    client: Arc<ClientConfig>,
}

impl PeerTerms {
    /// `None` if there is no key: then anybody could be a peer, by TLS or not.
    pub fn of(keys: &[HerdKey]) -> Option<PeerTerms> {
        PeerTerms::derive(keys).ok().filter(|_| !keys.is_empty())
    }

    fn derive(keys: &[HerdKey]) -> Result<PeerTerms, Error> {
        let pairs: Result<Vec<Pair>, Error> = keys.iter().map(Pair::derive).collect();
        PeerTerms::with(Arc::new(Ours::new(pairs?)))
    }

    fn with(ours: Arc<Ours>) -> Result<PeerTerms, Error> {
        let provider = Arc::new(provider());
        let versions = &[&version::TLS13];
        let mut server = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)?
            .with_client_cert_verifier(Arc::clone(&ours) as _)
            .with_cert_resolver(Arc::clone(&ours) as _);
        // Links last: one that is dialled anew proves itself anew.
        server.send_tls13_tickets = 0;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        let mut client = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(versions)?
            .dangerous()
            .with_custom_certificate_verifier(Arc::clone(&ours) as _)
            .with_client_cert_resolver(ours);
        client.resumption = Resumption::disabled();
        client.enable_sni = false;
        Ok(PeerTerms { server: Arc::new(server), client: Arc::new(client) })
    }

    /// The session of a connection that a peer has dialled. `None` if the system has no randomness
    /// to give.
    pub fn accept(&self) -> Option<Session> {
        Session::accept(&self.server)
    }

    /// The session of a connection that was dialled. `None`: see `accept`.
    pub fn dial(&self) -> Option<Session> {
        // It is neither said nor compared with anything.
        let name = ServerName::try_from("herd").ok()?;
        let rustls = UnbufferedClientConnection::new(Arc::clone(&self.client), name).ok()?;
        Some(Session::of(End::Dialled(rustls)))
    }
}

/// What follows from one of the herd's keys.
#[derive(Debug)]
struct Pair {
    certified: Arc<CertifiedKey>,
    /// As it is said aloud.
    public: Vec<u8>,
    /// The name of it, where TLS has names of authorities.
    name: DistinguishedName,
}

impl Pair {
    fn derive(key: &HerdKey) -> Result<Pair, Error> {
        let failed = |_| Error::General("no key can be derived".to_owned());
        let mut seed = [0; SEED_BYTES];
        let salt = hkdf::Salt::new(hkdf::HKDF_SHA256, SALT);
        let derived = salt.extract(&key.reveal());
        let derived = derived.expand(&[INFO], hkdf::HKDF_SHA256).map_err(failed)?;
        derived.fill(&mut seed).map_err(failed)?;
        let private = [&PKCS8_BEFORE_SEED[..], &seed].concat();
        let signer = any_eddsa_type(&PrivatePkcs8KeyDer::from(private))?;
        let public = signer.public_key().map(|public| public.to_vec()).unwrap_or_default();
        let shown = vec![CertificateDer::from(public.clone())];
        let name = DistinguishedName::in_sequence(&public);
        Ok(Pair { certified: Arc::new(CertifiedKey::new(shown, signer)), public, name })
    }
}

/// The pairs of this server, the newest first: what it shows, and all that it takes.
#[derive(Debug)]
struct Ours {
    pairs: Vec<Pair>,
    names: Vec<DistinguishedName>,
    algorithms: WebPkiSupportedAlgorithms,
}

impl Ours {
    fn new(pairs: Vec<Pair>) -> Ours {
        let names = pairs.iter().map(|pair| pair.name.clone()).collect();
        let algorithms = provider().signature_verification_algorithms;
        Ours { pairs, names, algorithms }
    }

    /// The newest of ours that the far end takes.
    fn choose(&self, is_taken: impl Fn(&[u8]) -> bool) -> Option<Arc<CertifiedKey>> {
        let pair = self.pairs.iter().find(|pair| is_taken(pair.name.as_ref()))?;
        Some(Arc::clone(&pair.certified))
    }

    fn check(&self, shown: &CertificateDer<'_>) -> Result<(), Error> {
        let is_ours = self.pairs.iter().any(|pair| pair.public == **shown);
        let stranger = CertificateError::ApplicationVerificationFailure;
        is_ours.then_some(()).ok_or(Error::InvalidCertificate(stranger))
    }

    fn check_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let public = SubjectPublicKeyInfoDer::from(shown.as_ref());
        verify_tls13_signature_with_raw_key(message, &public, signed, &self.algorithms)
    }
}

/// TLS 1.2 is not spoken between peers.
fn too_old() -> Error {
    Error::General("peers speak TLS 1.3".to_owned())
}

impl ResolvesServerCert for Ours {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let taken = hello.certificate_authorities()?;
        self.choose(|name| taken.iter().any(|taken| taken.as_ref() == name))
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }
}

impl ResolvesClientCert for Ours {
    fn resolve(&self, taken: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.choose(|name| taken.contains(&name))
    }

    fn only_raw_public_keys(&self) -> bool {
        true
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for Ours {
    fn verify_server_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        self.check(shown).map(|()| ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }

    fn root_hint_subjects(&self) -> Option<&[DistinguishedName]> {
        Some(&self.names)
    }
}

impl ClientCertVerifier for Ours {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        &self.names
    }

    fn verify_client_cert(
        &self,
        shown: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        self.check(shown).map(|()| ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Err(too_old())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        shown: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.check_signature(message, shown, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        vec![SignatureScheme::ED25519]
    }

    fn requires_raw_public_keys(&self) -> bool {
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::PIECE_BYTES_MAX;

    fn terms(keys: &[u8]) -> PeerTerms {
        let keys: Vec<HerdKey> = keys.iter().map(|byte| HerdKey::new([*byte; 32])).collect();
        PeerTerms::of(&keys).unwrap()
    }

    /// Two ends, and the bytes between them.
    struct Link {
        ends: [Session; 2],
        is_open: [bool; 2],
        /// What each end has heard, once it is unwrapped.
        plain: [Vec<u8>; 2],
        /// What has been on the wire.
        seen: Vec<u8>,
    }

    impl Link {
        /// Dials, and carries bytes to and fro until both ends are silent.
        fn dial(from: &PeerTerms, to: &PeerTerms) -> Result<Link, String> {
            let ends = [from.dial().unwrap(), to.accept().unwrap()];
            let mut link =
                Link { ends, is_open: [false; 2], plain: Default::default(), seen: Vec::new() };
            let mut out = link.hear(0, &[])?;
            let mut at = 1;
            while !out.is_empty() {
                out = link.hear(at, &out)?;
                at = 1 - at;
            }
            assert_eq!(link.is_open, [true; 2]);
            Ok(link)
        }

        fn hear(&mut self, at: usize, bytes: &[u8]) -> Result<Vec<u8>, String> {
            self.seen.extend_from_slice(bytes);
            let mut wire = [self.ends[at].partial(), bytes].concat();
            let mut out = Vec::new();
            let fed = self.ends[at].feed(&mut wire, &mut self.plain[at], &mut out)?;
            self.is_open[at] |= fed.is_open;
            Ok(out)
        }

        fn say(&mut self, from: usize, text: &[u8]) {
            let mut out = Vec::new();
            self.ends[from].seal(text, &mut out).unwrap();
            self.hear(1 - from, &out).unwrap();
        }
    }

    /// Goal: servers with one key have a link, on which nobody else reads anything.
    #[test]
    fn one_key_is_enough() {
        let (one, other) = (terms(&[1]), terms(&[1]));
        let mut link = Link::dial(&one, &other).unwrap();
        let line = b"AT Hill +0.1 kiwi +1-1 7\n";
        for _ in 0..100 {
            link.say(0, line);
            link.say(1, line);
        }
        assert_eq!(link.plain, [line.repeat(100), line.repeat(100)]);
        link.say(0, &[b'x'; PIECE_BYTES_MAX]);
        let contains = |part: &[u8]| link.seen.windows(part.len()).any(|piece| piece == part);
        assert!(!contains(b"kiwi") && !contains(b"xxxx") && contains(&[0x16, 3, 1]));
    }

    /// Goal: while a herd changes keys, everybody has links with everybody: with the old key, with
    /// both, and with the new one, as long as they have one in common.
    #[test]
    fn keys_change_one_server_after_the_other() {
        let check = |from: &[u8], to: &[u8], agree: bool| {
            let link = Link::dial(&terms(from), &terms(to));
            assert_eq!(link.is_ok(), agree, "{from:?} {to:?}");
        };
        let steps = [&[1][..], &[2, 1], &[2]];
        for (at, from) in steps.iter().enumerate() {
            for (to_at, to) in steps.iter().enumerate() {
                check(from, to, at.abs_diff(to_at) < 2);
            }
        }
        check(&[1, 2], &[2, 1], true);
    }

    /// Goal: who has another key, or none, is refused before a word is said, on both sides.
    #[test]
    fn a_stranger_is_refused() {
        let (ours, theirs) = (terms(&[1]), terms(&[2]));
        let why = Link::dial(&theirs, &ours).err().unwrap();
        assert!(why.contains("no server certificate chain resolved"), "{why}");
        // One who takes anything, and shows a pair of its own.
        let [mut theirs, ours_of] =
            [2, 1].map(|byte| Pair::derive(&HerdKey::new([byte; 32])).unwrap());
        theirs.name = ours_of.name;
        let liar = PeerTerms::with(Arc::new(Ours::new(vec![theirs]))).unwrap();
        for (from, to) in [(&liar, &ours), (&ours, &liar)] {
            let why = Link::dial(from, to).err().unwrap();
            assert!(why.contains("invalid peer certificate"), "{why}");
        }
        assert!(PeerTerms::of(&[]).is_none(), "without a key there is nothing to prove");
    }

    /// Goal: the pair follows from the key and from nothing else, and tells nothing of it.
    #[test]
    fn the_pair_follows_from_the_key() {
        let public = |byte| Pair::derive(&HerdKey::new([byte; 32])).unwrap().public;
        assert_eq!(public(7), public(7));
        assert_ne!(public(7), public(8));
        // RFC 8410, section 4: a header, and 32 bytes.
        assert_eq!(public(7).len(), 44);
        let shown = format!("{:?}", Pair::derive(&HerdKey::new([7; 32])).unwrap());
        assert!(!shown.contains("7, 7, 7"), "{shown}");
    }
}
