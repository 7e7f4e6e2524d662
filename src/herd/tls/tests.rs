//! The two ends of a session in one memory: a client of rustls on one side, on the other what
//! servers use. No sockets, so bytes may come in any pieces.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::{env, fs};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, SupportedProtocolVersion, version};

use super::*;

/// A certificate for `localhost` that is good until this year, and its key.
pub(crate) fn make_files(dir: &Path, until: i32) -> TlsFiles {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let cert = params.self_signed(&key).unwrap();
    let files = TlsFiles { cert: dir.join("cert.pem"), key: dir.join("key.pem"), client_ca: None };
    fs::write(&files.cert, cert.pem()).unwrap();
    write_key(&files.key, &key);
    files
}

fn write_key(path: &Path, key: &KeyPair) {
    fs::write(path, key.serialize_pem()).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// What a client needs that trusts this certificate.
fn trusting(files: &TlsFiles) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let text = fs::read(&files.cert).unwrap();
    for cert in CertificateDer::pem_slice_iter(&text) {
        roots.add(cert.unwrap()).unwrap();
    }
    roots
}

fn client_of(
    files: &TlsFiles,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_protocol_versions(versions).unwrap();
    Arc::new(builder.with_root_certificates(trusting(files)).with_no_client_auth())
}

/// Both ends, and what is between them.
struct Wire {
    client: ClientConnection,
    server: Session,
    plain: Vec<u8>,
    out: Vec<u8>,
    fed: Fed,
}

impl Wire {
    fn new(terms: &Terms, client: &Arc<ClientConfig>) -> Wire {
        let name = ServerName::try_from("localhost").unwrap();
        Wire {
            client: ClientConnection::new(Arc::clone(client), name).unwrap(),
            server: Session::new(terms).unwrap(),
            plain: Vec::new(),
            out: Vec::new(),
            fed: Fed::default(),
        }
    }

    /// All that the client has to send now.
    fn of_client(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        while self.client.wants_write() {
            self.client.write_tls(&mut bytes).unwrap();
        }
        bytes
    }

    /// Feeds the server pieces of so many bytes.
    fn feed(&mut self, bytes: &[u8], piece: usize) -> Result<(), String> {
        for piece in bytes.chunks(piece) {
            let mut bytes = [self.server.partial(), piece].concat();
            let fed = self.server.feed(&mut bytes, &mut self.plain, &mut self.out)?;
            self.fed = Fed { is_ended: self.fed.is_ended | fed.is_ended, ..fed };
        }
        Ok(())
    }

    /// What the server has said goes to the client.
    fn answer(&mut self) {
        let mut rest = &self.out[..];
        while !rest.is_empty() {
            self.client.read_tls(&mut rest).unwrap();
            self.client.process_new_packets().unwrap();
        }
        self.out.clear();
    }

    fn shake(&mut self, piece: usize) -> Result<(), String> {
        while self.client.is_handshaking() || !self.fed.is_open {
            let bytes = self.of_client();
            self.feed(&bytes, piece)?;
            self.answer();
        }
        Ok(())
    }

    fn heard(&mut self) -> Vec<u8> {
        let mut heard = Vec::new();
        // What has come and no more: there is no end to be seen.
        let _ = self.client.reader().read_to_end(&mut heard);
        heard
    }
}

const BOTH: [&[&SupportedProtocolVersion]; 2] = [&[&version::TLS13], &[&version::TLS12]];

/// Goal: a session is the same in whatever pieces its bytes come, and several records in one.
#[test]
fn records_come_in_any_pieces() {
    let dir = tempfile::tempdir().unwrap();
    let files = make_files(dir.path(), 4000);
    let terms = Terms::read(&files, None).unwrap();
    for versions in BOTH {
        let config = client_of(&files, versions);
        for piece in (1..40).chain([100, 1000, usize::MAX]) {
            let mut wire = Wire::new(&terms, &config);
            wire.shake(piece).unwrap();
            for line in ["one\n", "two\n", &"x".repeat(40_000)] {
                wire.client.writer().write_all(line.as_bytes()).unwrap();
            }
            let bytes = wire.of_client();
            wire.feed(&bytes, piece).unwrap();
            let expected = format!("one\ntwo\n{}", "x".repeat(40_000));
            assert_eq!(wire.plain, expected.as_bytes(), "{piece}");
            assert!(wire.server.partial().is_empty() && !wire.fed.is_ended);

            let mut said = Vec::new();
            for length in [1, PIECE_BYTES_MAX, 0, 700] {
                let text = vec![b'y'; length];
                wire.server.seal(&text, &mut wire.out).unwrap();
                said.extend(text);
            }
            wire.answer();
            assert_eq!(wire.heard(), said);
        }
    }
}

/// Goal: each direction ends by itself, and in the middle of a record nothing is lost.
#[test]
fn the_two_directions_end_apart() {
    let dir = tempfile::tempdir().unwrap();
    let files = make_files(dir.path(), 4000);
    let terms = Terms::read(&files, None).unwrap();
    for versions in BOTH {
        let mut wire = Wire::new(&terms, &client_of(&files, versions));
        wire.shake(usize::MAX).unwrap();
        wire.client.writer().write_all(b"last").unwrap();
        wire.client.send_close_notify();
        let bytes = wire.of_client();
        wire.feed(&bytes[..bytes.len() - 1], usize::MAX).unwrap();
        assert!(!wire.fed.is_ended);
        wire.feed(&bytes[bytes.len() - 1..], usize::MAX).unwrap();
        assert!(wire.fed.is_ended && wire.plain == b"last");

        wire.server.seal(b"answer", &mut wire.out).unwrap();
        wire.server.close(&mut wire.out).unwrap();
        wire.answer();
        let mut heard = Vec::new();
        wire.client.reader().read_to_end(&mut heard).expect("the end is told");
        assert_eq!(heard, b"answer");
    }
}

/// Goal: one ticket, by which a client comes back without a signature; it stays good when the
/// certificate is read again, unless other clients may come from then on.
#[test]
fn a_client_comes_back_with_a_ticket() {
    let dir = tempfile::tempdir().unwrap();
    let files = make_files(dir.path(), 4000);
    let first = Terms::read(&files, None).unwrap();
    let again = Terms::read(&files, Some(&first)).unwrap();
    let other = Terms::read(&files, None).unwrap();
    for versions in BOTH {
        let config = client_of(&files, versions);
        for (terms, resumes) in [(&first, false), (&first, true), (&again, true), (&other, false)] {
            let mut wire = Wire::new(terms, &config);
            wire.shake(usize::MAX).unwrap();
            assert_eq!(wire.server.is_resumed(), resumes);
        }
    }
    let with_ca = TlsFiles { client_ca: Some(files.cert.clone()), ..files.clone() };
    let closed = Terms::read(&with_ca, Some(&first)).unwrap();
    assert!(!Arc::ptr_eq(&closed.server.ticketer, &first.server.ticketer));
}

/// Goal: who must show a certificate is let in with the right one only.
#[test]
fn clients_show_certificates() {
    let dir = tempfile::tempdir().unwrap();
    let mut files = make_files(dir.path(), 4000);
    let issuer = |name: &str| {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    };
    let (ours, theirs) = (issuer("ours"), issuer("theirs"));
    let authorities = dir.path().join("ca.pem");
    fs::write(&authorities, ours.pem()).unwrap();
    files.client_ca = Some(authorities);
    let terms = Terms::read(&files, None).unwrap();
    let client = |issuer: &CertifiedIssuer<'_, KeyPair>| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(["client".to_owned()]).unwrap();
        let cert = params.signed_by(&key, issuer).unwrap();
        let key = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(trusting(&files));
        Arc::new(builder.with_client_auth_cert(vec![cert.der().clone()], key).unwrap())
    };
    Wire::new(&terms, &client(&ours)).shake(100).unwrap();
    Wire::new(&terms, &client(&theirs)).shake(100).expect_err("another one's");
    let none = client_of(&files, &[&version::TLS13]);
    let mut wire = Wire::new(&terms, &none);
    let why = wire.shake(100).unwrap_err();
    assert!(why.contains("no certificates"), "{why}");
    assert!(!wire.out.is_empty(), "the far end is told");
}

/// Goal: what makes a server compute and brings nothing ends, whatever the client likes.
#[test]
fn a_flood_of_key_updates_ends() {
    let dir = tempfile::tempdir().unwrap();
    let files = make_files(dir.path(), 4000);
    let terms = Terms::read(&files, None).unwrap();
    let mut wire = Wire::new(&terms, &client_of(&files, &[&version::TLS13]));
    wire.shake(usize::MAX).unwrap();
    // A few are right, and the answer comes with what is said next.
    for _ in 0..3 {
        wire.client.refresh_traffic_keys().unwrap();
        wire.client.writer().write_all(b"x").unwrap();
        let bytes = wire.of_client();
        wire.feed(&bytes, 7).unwrap();
        wire.server.seal(b"y", &mut wire.out).unwrap();
        wire.answer();
        assert_eq!(wire.heard(), b"y");
    }
    let ended = (0..1_000).find_map(|_| {
        wire.client.refresh_traffic_keys().unwrap();
        let bytes = wire.of_client();
        wire.feed(&bytes, usize::MAX).err()
    });
    assert_eq!(ended.unwrap(), "peer misbehaved: TooManyKeyUpdateRequests");
}

/// Goal: no bytes make it panic or go on for ever; who sends them has the session ended. For more:
/// `FUZZ_BYTES=100000000 cargo test --lib garbage_never_panics`.
#[test]
fn garbage_never_panics() {
    let fed_min = env::var("FUZZ_BYTES").map_or(1_000_000, |text| text.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let files = make_files(dir.path(), 4000);
    let terms = Terms::read(&files, None).unwrap();
    let config = client_of(&files, &[&version::TLS13, &version::TLS12]);
    let mut random = fastrand::Rng::with_seed(11);
    let (mut ended, mut fed) = (0, 0);
    for round in 0.. {
        if fed >= fed_min {
            break;
        }
        let mut wire = Wire::new(&terms, &config);
        // After a handshake, in the middle of one, or as the first that comes.
        let mut bytes = match round % 3 {
            0 => {
                if round % 30 == 0 {
                    wire.shake(usize::MAX).unwrap();
                }
                wire.client.writer().write_all(&[b'x'; 200]).unwrap();
                wire.of_client()
            }
            1 => wire.of_client(),
            _ => {
                let mut bytes = vec![0; random.usize(2..2_000)];
                random.fill(&mut bytes);
                (bytes[0], bytes[1]) = (0x16, 3);
                bytes
            }
        };
        for _ in 0..random.usize(1..8) {
            let at = random.usize(..bytes.len());
            match random.u8(..4) {
                0 => bytes[at] = random.u8(..),
                1 => bytes[at] ^= 1 << random.u8(..8),
                2 => bytes.truncate(at.max(1)),
                _ => bytes.insert(at, random.u8(..)),
            }
        }
        let piece = random.usize(1..300);
        fed += 2 * bytes.len();
        ended += usize::from(wire.feed(&bytes, piece).is_err());
        // It may be fed more, whatever it has said.
        let _ = wire.feed(&bytes, piece);
        let _ = wire.server.seal(b"z", &mut wire.out);
    }
    println!("{fed} bytes were fed, {ended} sessions ended");
    assert!(ended > fed_min / 2_000, "{ended}");
}

/// Goal: an idle session takes 3 KiB at most. With TLS 1.3 it is 2,809 bytes: an expanded key to
/// seal with, what opens and three secrets, and rustls' account of them.
#[test]
fn an_idle_session_is_small() {
    let dir = tempfile::tempdir().unwrap();
    let files = make_files(dir.path(), 4000);
    let terms = Terms::read(&files, None).unwrap();
    for versions in BOTH {
        let mut config = client_of(&files, versions);
        // What the client keeps of the session would be counted.
        Arc::get_mut(&mut config).unwrap().resumption = Resumption::disabled();
        // The first of all also makes what the library keeps for all of them.
        Wire::new(&terms, &config).shake(usize::MAX).unwrap();
        let mut server = None;
        let allocated = allocation_counter::measure(|| {
            let mut wire = Wire::new(&terms, &config);
            wire.shake(usize::MAX).unwrap();
            wire.client.writer().write_all(b"line\n").unwrap();
            let bytes = wire.of_client();
            wire.feed(&bytes, usize::MAX).unwrap();
            wire.server.seal(b"answer\n", &mut wire.out).unwrap();
            server = Some(wire.server);
        });
        let bytes = allocated.bytes_current as usize + size_of::<Session>();
        assert!(bytes <= 3 * 1024, "{versions:?}: {bytes} bytes");
        assert!(bytes > size_of::<Session>(), "the counter counts");
    }
}

#[test]
fn each_mistake_has_one_sentence() {
    let dir = tempfile::tempdir().unwrap();
    let files = make_files(dir.path(), 4000);
    let check = |files: &TlsFiles, parts: &[&str]| {
        let message = Terms::read(files, None).err().unwrap().to_string();
        for part in parts {
            assert!(message.contains(part), "{message}\n  lacks {part}");
        }
        assert!(!message.contains('\n'), "{message}");
    };
    let at = |name: &str, text: &str| {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        path
    };
    let with_cert = |cert| TlsFiles { cert, ..files.clone() };
    let with_key = |key| TlsFiles { key, ..files.clone() };
    check(&with_cert("no/such.pem".into()), &["the TLS certificate no/such.pem cannot be read"]);
    check(&with_cert(at("text", "hello")), &["text holds no certificate"]);
    check(&with_cert(files.key.clone()), &["key.pem holds no certificate"]);
    let ill = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    check(&with_cert(at("ill", ill)), &["ill is no certificate of X.509"]);
    check(&with_key("no/such.key".into()), &["the TLS key file no/such.key cannot", "--tls-key"]);
    check(&with_key(files.cert.clone()), &["cert.pem is open to others"]);
    check(&with_key(at("word", "hello")), &["word holds no private key"]);
    let other = KeyPair::generate().unwrap();
    check(
        &with_key(at("other", &other.serialize_pem())),
        &["cert.pem and the key /", "do not go together"],
    );
    let client_ca = Some(at("empty", ""));
    check(
        &TlsFiles { client_ca, ..files.clone() },
        &["the TLS client_ca /", "holds no certificate"],
    );
    let old = tempfile::tempdir().unwrap();
    check(&make_files(old.path(), 2001), &["cert.pem has expired on 2001-01-01: put a new one"]);
}
