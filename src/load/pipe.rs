//! The two ways to a server: its bytes as they are, or by TLS. Apart from the callers, to which
//! both are alike: a pipe takes and gives bytes, or would block.

use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;

use mio::net::TcpStream;
use rustls::client::Resumption;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};

use crate::trust::any_certificate;

pub enum Pipe {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

/// How all pipes by TLS begin: with a full handshake, for a ticket would make the second one of a
/// client cheaper than those of as many clients are.
pub fn full_handshakes() -> Arc<ClientConfig> {
    let mut config = any_certificate();
    config.resumption = Resumption::disabled();
    Arc::new(config)
}

impl Pipe {
    /// By TLS if that is wanted; its handshake goes on whenever the pipe is read or written.
    ///
    /// # Errors
    /// TLS cannot begin.
    pub fn new(stream: TcpStream, tls: Option<&Arc<ClientConfig>>) -> io::Result<Pipe> {
        let Some(config) = tls else { return Ok(Pipe::Plain(stream)) };
        let name = ServerName::from(stream.peer_addr().map_or([127, 0, 0, 1].into(), |it| it.ip()));
        let tls = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        Ok(Pipe::Tls(Box::new(StreamOwned::new(tls, stream))))
    }

    /// Whether a read that fills less than its buffer has taken all that has come. By TLS it may
    /// have been one record of several.
    pub fn gives_all(&self) -> bool {
        matches!(self, Pipe::Plain(_))
    }

    /// Says nothing more.
    ///
    /// # Errors
    /// Those of shutdown(2).
    pub fn end(&self) -> io::Result<()> {
        match self {
            Pipe::Plain(stream) => stream.shutdown(Shutdown::Write),
            Pipe::Tls(tls) => tls.sock.shutdown(Shutdown::Write),
        }
    }
}

impl Read for Pipe {
    fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
        match self {
            Pipe::Plain(stream) => stream.read(bytes),
            Pipe::Tls(tls) => tls.read(bytes),
        }
    }
}

impl Write for Pipe {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Pipe::Plain(stream) => stream.write(bytes),
            Pipe::Tls(tls) => tls.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Pipe::Plain(stream) => stream.flush(),
            Pipe::Tls(tls) => tls.flush(),
        }
    }
}
