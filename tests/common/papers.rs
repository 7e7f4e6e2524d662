//! Certificates for tests, and a client that comes by TLS. It knows nothing of the process at the
//! other end.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

use rcgen::{CertificateParams, KeyPair};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use super::TIMEOUT;

/// Writes `cert.pem` and `key.pem`, good for `localhost` until this year, one after the other as an
/// operator would.
pub fn write_papers(dir: &Path, until: i32) -> CertificateDer<'static> {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(until, 1, 1);
    let cert = params.self_signed(&key).unwrap();
    fs::write(dir.join("cert.pem"), cert.pem()).unwrap();
    fs::write(dir.join("key.pem"), key.serialize_pem()).unwrap();
    fs::set_permissions(dir.join("key.pem"), fs::Permissions::from_mode(0o600)).unwrap();
    cert.der().clone()
}

/// What clients share: their tickets.
pub fn client_config() -> Arc<ClientConfig> {
    Arc::new(herd_load::any_certificate())
}

/// A client that comes by TLS, and blocks.
pub type TlsStream = StreamOwned<ClientConnection, TcpStream>;

/// Its handshake is done when it first reads or writes.
pub fn connect_tls(config: &Arc<ClientConfig>, port: u16) -> TlsStream {
    tls_over(config, TcpStream::connect(("127.0.0.1", port)).unwrap())
}

pub fn tls_over(config: &Arc<ClientConfig>, stream: TcpStream) -> TlsStream {
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
    stream.set_write_timeout(Some(TIMEOUT)).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).unwrap(), stream)
}

/// Sends a line and gives the one that comes back, both without their newlines.
pub fn ask(stream: &mut TlsStream, line: &str) -> String {
    stream.write_all(format!("{line}\n").as_bytes()).unwrap();
    read_line(stream)
}

pub fn read_line(stream: &mut TlsStream) -> String {
    let mut line = Vec::new();
    let mut byte = [0];
    while stream.read_exact(&mut byte).is_ok() && byte != *b"\n" {
        line.push(byte[0]);
    }
    String::from_utf8(line).unwrap()
}
