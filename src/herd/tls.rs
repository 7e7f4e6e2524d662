//! TLS as bytes in and bytes out. Only this file and those below it name rustls; it knows no socket
//! and no loop. What peers prove to each other is in `peers`.
//!
//! ```text
//!   bytes of the wire ──▶ feed ──▶ plaintext, and what must be said in return
//!   plaintext         ──▶ seal ──▶ bytes of the wire
//! ```
//!
//! rustls' *unbuffered* connection decrypts where the bytes lie and keeps none of them, so an idle
//! session is its keys and little else. Its other interface keeps four kilobytes for reading alone.
//!
//! asyncio: `loop.start_tls` and `sslproto.SSLProtocol`, which copies through two `MemoryBIO`s and
//! keeps 256 KiB for each connection.

mod certificate;
mod peers;
mod suites;

use std::sync::Arc;
use std::time::SystemTime;

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{
    NoServerSessionStorage, ServerConnectionData, UnbufferedServerConnection, WebPkiClientVerifier,
};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncryptError, UnbufferedStatus, WriteTraffic,
};
use rustls::{HandshakeKind, RootCertStore, ServerConfig};

use crate::config::{ConfigError, TlsFiles};

pub use peers::PeerTerms;

/// The most that one record takes on the wire, with its header.
const RECORD_BYTES_MAX: usize = 5 + 16 * 1024 + 2048;

/// The most that may wait for its rest: a record, or a message of a handshake with a long chain of
/// certificates.
pub const PARTIAL_BYTES_MAX: usize = 32 * 1024;

const _: () = assert!(PARTIAL_BYTES_MAX > RECORD_BYTES_MAX);

/// The most plaintext that is sealed at once: one record.
pub const PIECE_BYTES_MAX: usize = 16 * 1024;

/// What a record adds to a little plaintext: its header, its tag, and a word on keys before it.
const RECORD_OVERHEAD: usize = 64;

/// What is said of a session that has failed before.
const FAILED: &str = "the session has failed";

/// What every handshake of this server rests on: its certificate, its key, and who may come.
#[derive(Clone)]
pub struct Terms {
    server: Arc<ServerConfig>,
    /// When the certificate expires, in POSIX seconds.
    pub expires: u64,
    /// The text of those who may sign clients' certificates.
    client_ca: Option<Vec<u8>>,
}

impl Terms {
    /// Reads certificate and keys. Tickets of `before` stay good, unless others may come now: who
    /// brings a ticket is not asked for a certificate again.
    ///
    /// # Errors
    /// One sentence: a file cannot be read or is no PEM, the certificate has expired, or the key is
    /// another one's.
    pub fn read(files: &TlsFiles, before: Option<&Terms>) -> Result<Terms, ConfigError> {
        let provider = Arc::new(suites::provider());
        let wrong = |error: rustls::Error| {
            let (cert, key) = (files.cert.display(), files.key.display());
            ConfigError::new(format!(
                "the TLS certificate {cert} and the key {key} do not go together: {error}"
            ))
            .caused_by(error)
        };
        let (chain, key, client_ca) =
            (files.read_cert()?, files.read_key()?, files.read_client_ca()?);
        let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&chain).collect();
        let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or_else(|| {
            files
                .wrong_cert("holds no certificate: put it there in PEM form, with its chain behind")
        })?;
        let expires = certificate::expiry(&chain[0])
            .ok_or_else(|| files.wrong_cert("is no certificate of X.509"))?;
        if expires <= posix_s() {
            let date = certificate::date(expires);
            return Err(files.wrong_cert(&format!("has expired on {date}: put a new one there")));
        }
        let key = PrivateKeyDer::from_pem_slice(&key)
            .map_err(|_| files.wrong_key("holds no private key in PEM form"))?;
        let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(wrong)?;
        let builder = match &client_ca {
            None => builder.with_no_client_auth(),
            Some(text) => {
                let no_roots = || files.wrong_client_ca("holds no certificate in PEM form");
                let mut roots = RootCertStore::empty();
                for root in CertificateDer::pem_slice_iter(text) {
                    root.ok().and_then(|root| roots.add(root).ok()).ok_or_else(no_roots)?;
                }
                let roots = Arc::new(roots);
                let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider);
                builder.with_client_cert_verifier(verifier.build().map_err(|_| no_roots())?)
            }
        };
        let mut server = builder.with_single_cert(chain, key).map_err(wrong)?;
        // All that it speaks is good, and what reviews a server asks that it chooses itself.
        server.ignore_client_order = true;
        server.session_storage = Arc::new(NoServerSessionStorage {});
        server.send_tls13_tickets = 1;
        server.ticketer = match before {
            Some(before) if before.client_ca == client_ca => Arc::clone(&before.server.ticketer),
            _ => ring::Ticketer::new().map_err(wrong)?,
        };
        Ok(Terms { server: Arc::new(server), expires, client_ca })
    }
}

fn posix_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether this byte can begin a session: it is that of a handshake.
pub fn may_begin_with(first: u8) -> bool {
    first == 0x16
}

/// One connection's TLS.
pub struct Session {
    end: End,
    /// The beginning of a record, or of a message in several. rustls remembers what is in it, so it
    /// must be shown it whatever it is asked, or it would panic.
    partial: Vec<u8>,
    /// It is over, and rustls must not be asked any more: it would panic.
    has_failed: bool,
}

/// Which end of the session we are. rustls has a type for each, with the same states.
enum End {
    Accepted(UnbufferedServerConnection),
    Dialled(UnbufferedClientConnection),
}

/// What came of bytes that were fed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fed {
    /// The handshake is over, and plaintext may be sent.
    pub is_open: bool,
    /// The far end has said that it will send no more.
    pub is_ended: bool,
}

impl Session {
    /// `None` if the system has no randomness to give.
    pub fn new(terms: &Terms) -> Option<Session> {
        Session::accept(&terms.server)
    }

    fn accept(server: &Arc<ServerConfig>) -> Option<Session> {
        let rustls = UnbufferedServerConnection::new(Arc::clone(server)).ok()?;
        Some(Session::of(End::Accepted(rustls)))
    }

    fn of(end: End) -> Session {
        Session { end, partial: Vec::new(), has_failed: false }
    }

    /// Whether the far end came back with a ticket, so that no signature was made.
    pub fn is_resumed(&self) -> bool {
        let kind = match &self.end {
            End::Accepted(rustls) => rustls.handshake_kind(),
            End::Dialled(rustls) => rustls.handshake_kind(),
        };
        kind == Some(HandshakeKind::Resumed)
    }

    /// What has come and is not whole. It must be in front of what is fed next.
    pub fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// Takes all that is whole in `wire`, which it changes: `partial`, and what has come behind it.
    /// Appends the plaintext, and what must be said in return: that also after an error, where it
    /// is an alert. Who has dialled is fed nothing first, and says the first word.
    ///
    /// # Errors
    /// Why the session is over.
    pub fn feed(
        &mut self,
        wire: &mut [u8],
        plain: &mut Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<Fed, String> {
        if self.has_failed {
            return Err(FAILED.to_owned());
        }
        let fed = match &mut self.end {
            End::Accepted(rustls) => feed_until_all(rustls, wire, plain, out),
            End::Dialled(rustls) => feed_until_all(rustls, wire, plain, out),
        };
        let fed = fed.and_then(|(fed, used)| self.keep(&wire[used..]).map(|()| fed));
        if fed.is_err() {
            self.has_failed = true;
            self.partial = Vec::new();
            match &mut self.end {
                End::Accepted(rustls) => take_alert(rustls, out),
                End::Dialled(rustls) => take_alert(rustls, out),
            }
        }
        fed
    }

    fn keep(&mut self, rest: &[u8]) -> Result<(), String> {
        if rest.len() > PARTIAL_BYTES_MAX {
            return Err("a message is too long".to_owned());
        }
        if rest.is_empty() {
            self.partial = Vec::new();
        } else {
            self.partial.clear();
            self.partial.extend_from_slice(rest);
        }
        Ok(())
    }

    /// Appends a record, or several, with this plaintext in it.
    ///
    /// # Errors
    /// Why nothing can be sent: the handshake is not over, or the keys are used up.
    pub fn seal(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), String> {
        self.write(&Word::Plain(plain), out)
    }

    /// Appends the word that no more will be sent.
    ///
    /// # Errors
    /// Why it cannot be said: see `seal`.
    pub fn close(&mut self, out: &mut Vec<u8>) -> Result<(), String> {
        self.write(&Word::Close, out)
    }

    fn write(&mut self, word: &Word<'_>, out: &mut Vec<u8>) -> Result<(), String> {
        if self.has_failed {
            return Err(FAILED.to_owned());
        }
        // Nothing in it is whole, so nothing of it is used up.
        let partial = &mut self.partial;
        match &mut self.end {
            End::Accepted(rustls) => write(rustls, partial, word, out),
            End::Dialled(rustls) => write(rustls, partial, word, out),
        }
    }
}

/// What both types of rustls do under one name, and no trait of rustls has.
trait Rustls {
    type Data;

    fn next<'c, 'i>(&'c mut self, wire: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
    fn has_word(&self) -> bool;
}

impl Rustls for UnbufferedServerConnection {
    type Data = ServerConnectionData;

    fn next<'c, 'i>(&'c mut self, wire: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(wire)
    }

    fn has_word(&self) -> bool {
        self.wants_write()
    }
}

impl Rustls for UnbufferedClientConnection {
    type Data = ClientConnectionData;

    fn next<'c, 'i>(&'c mut self, wire: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(wire)
    }

    fn has_word(&self) -> bool {
        self.wants_write()
    }
}

/// Says what came of it, and how much of the wire is used up.
fn feed_until_all(
    rustls: &mut impl Rustls,
    wire: &mut [u8],
    plain: &mut Vec<u8>,
    out: &mut Vec<u8>,
) -> Result<(Fed, usize), String> {
    let (mut fed, mut used) = (Fed::default(), 0);
    loop {
        let UnbufferedStatus { mut discard, state, .. } = rustls.next(&mut wire[used..]);
        let is_all = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(|error| error.to_string())?;
                    discard += record.discard;
                    plain.extend_from_slice(record.payload);
                }
                false
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(out, 0, |room| data.encode(room))?;
                false
            }
            Ok(ConnectionState::TransmitTlsData(data)) => {
                data.done();
                false
            }
            Ok(ConnectionState::PeerClosed) => {
                fed.is_ended = true;
                false
            }
            Ok(ConnectionState::WriteTraffic(_)) => {
                fed.is_open = true;
                true
            }
            Ok(ConnectionState::BlockedHandshake | ConnectionState::Closed) => true,
            // Early data is never offered, so none comes.
            Ok(_) => return Err("unexpected early data".to_owned()),
            Err(error) => return Err(error.to_string()),
        };
        used += discard;
        if is_all {
            return Ok((fed, used));
        }
    }
}

/// What the far end hears about an error. After that, rustls must not be asked any more.
fn take_alert(rustls: &mut impl Rustls, out: &mut Vec<u8>) {
    while rustls.has_word() {
        match rustls.next(&mut []).state {
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                let _ = append(out, 0, |room| data.encode(room));
            }
            _ => return,
        }
    }
}

/// What is to be sent.
enum Word<'a> {
    Plain(&'a [u8]),
    Close,
}

impl Word<'_> {
    fn write<Data>(
        &self,
        traffic: &mut WriteTraffic<'_, Data>,
        room: &mut [u8],
    ) -> Result<usize, EncryptError> {
        match self {
            Word::Plain(plain) => traffic.encrypt(plain, room),
            Word::Close => traffic.queue_close_notify(room),
        }
    }

    /// What it probably takes.
    fn room(&self) -> usize {
        match self {
            Word::Plain(plain) => plain.len() + RECORD_OVERHEAD,
            Word::Close => RECORD_OVERHEAD,
        }
    }
}

fn write(
    rustls: &mut impl Rustls,
    partial: &mut [u8],
    word: &Word<'_>,
    out: &mut Vec<u8>,
) -> Result<(), String> {
    loop {
        match rustls.next(partial).state {
            Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                return append(out, word.room(), |room| word.write(&mut traffic, room));
            }
            Ok(ConnectionState::EncodeTlsData(mut data)) => {
                append(out, 0, |room| data.encode(room))?;
            }
            Ok(ConnectionState::TransmitTlsData(data)) => data.done(),
            Ok(_) => return Err("the session is not open".to_owned()),
            Err(error) => return Err(error.to_string()),
        }
    }
}

/// Why something was not written.
enum NotWritten {
    /// It needs so much room.
    Needs(usize),
    Never(String),
}

impl From<EncodeError> for NotWritten {
    fn from(error: EncodeError) -> NotWritten {
        match error {
            EncodeError::InsufficientSize(size) => NotWritten::Needs(size.required_size),
            EncodeError::AlreadyEncoded => NotWritten::Never(error.to_string()),
        }
    }
}

impl From<EncryptError> for NotWritten {
    fn from(error: EncryptError) -> NotWritten {
        match error {
            EncryptError::InsufficientSize(size) => NotWritten::Needs(size.required_size),
            EncryptError::EncryptExhausted => NotWritten::Never(error.to_string()),
        }
    }
}

/// Lets something be written behind what is in `out`. It probably needs `room` bytes; if it says
/// that it needs more, it is asked again.
fn append<E: Into<NotWritten>>(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Result<usize, E>,
) -> Result<(), String> {
    let begin = out.len();
    loop {
        out.resize(begin + room, 0);
        match write(&mut out[begin..]).map_err(E::into) {
            Ok(count) => {
                out.truncate(begin + count);
                return Ok(());
            }
            Err(NotWritten::Needs(more)) if more > room => room = more,
            Err(error) => {
                out.truncate(begin);
                return Err(match error {
                    NotWritten::Needs(_) => "it has room and wants it".to_owned(),
                    NotWritten::Never(why) => why,
                });
            }
        }
    }
}

#[cfg(test)]
pub(crate) mod tests;
