//! A client that blocks: sends bytes, and reads answers piece by piece. Apart because it is the
//! stranger's side of a connection: it knows nothing of the process at the other end.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Instant;

use super::TIMEOUT;

pub struct Client {
    stream: TcpStream,
    /// What was read beyond the last answer.
    heard: Vec<u8>,
}

impl Client {
    pub fn connect(port: u16) -> Client {
        Client::of(TcpStream::connect(("127.0.0.1", port)).unwrap())
    }

    pub fn of(stream: TcpStream) -> Client {
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        stream.set_write_timeout(Some(TIMEOUT)).unwrap();
        Client { stream, heard: Vec::new() }
    }

    pub fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends every byte by itself.
    pub fn send_chopped(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.stream.write_all(&[*byte]).unwrap();
        }
    }

    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Reads up to and including the next `end`.
    pub fn through(&mut self, end: &[u8]) -> Vec<u8> {
        let (mut seen, began) = (0, Instant::now());
        loop {
            let found = self.heard[seen..].windows(end.len()).position(|part| part == end);
            if let Some(at) = found {
                let rest = self.heard.split_off(seen + at + end.len());
                return std::mem::replace(&mut self.heard, rest);
            }
            seen = self.heard.len().saturating_sub(end.len() - 1);
            let more = self.read_more();
            let heard = self.heard.escape_ascii();
            assert!(more, "the connection has ended after {heard}");
            // A stream says now and then that it is there, whatever else it does not say.
            assert!(began.elapsed() < 2 * TIMEOUT, "in vain after {heard}");
        }
    }

    /// The next bytes, exactly so many.
    pub fn bytes(&mut self, count: usize) -> Vec<u8> {
        while self.heard.len() < count {
            assert!(self.read_more(), "the connection has ended");
        }
        let rest = self.heard.split_off(count);
        std::mem::replace(&mut self.heard, rest)
    }

    /// The next line, with its newline.
    pub fn line(&mut self) -> Vec<u8> {
        self.through(b"\n")
    }

    /// Sends a line and gives the one that comes back, both without their newlines.
    pub fn ask(&mut self, line: &str) -> String {
        self.send(format!("{line}\n"));
        let mut answer = self.line();
        answer.pop();
        String::from_utf8(answer).unwrap()
    }

    /// Everything to the end of the stream.
    pub fn rest(&mut self) -> Vec<u8> {
        while self.read_more() {}
        std::mem::take(&mut self.heard)
    }

    /// Whether nothing has come that was not read.
    pub fn is_silent(&mut self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let seen = self.stream.peek(&mut [0]);
        self.stream.set_nonblocking(false).unwrap();
        self.heard.is_empty() && seen.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
    }

    /// Waits until the far end is gone and gives what it said before; a reset counts as an end.
    pub fn hung_up(&mut self) -> Vec<u8> {
        let mut byte = [0; 4096];
        loop {
            match self.stream.read(&mut byte) {
                Ok(0) => break,
                Ok(count) => self.heard.extend_from_slice(&byte[..count]),
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => panic!("the connection has not ended: {error}"),
            }
        }
        std::mem::take(&mut self.heard)
    }

    /// Says whether there was more before the end.
    fn read_more(&mut self) -> bool {
        let mut piece = [0; 16 * 1024];
        let count = self.stream.read(&mut piece).unwrap_or_else(|error| {
            panic!("no answer ({error}) after {:?}", self.heard.escape_ascii().to_string())
        });
        self.heard.extend_from_slice(&piece[..count]);
        count > 0
    }
}
