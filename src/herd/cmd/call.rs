//! A question to a server, by blocking calls that one deadline bounds.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

/// Far above any answer; it keeps the process that listens there from filling our memory.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// A connection with a deadline for all that is said on it.
pub struct Call {
    pub socket: Socket,
    deadline: Instant,
}

impl Call {
    /// # Errors
    /// No server listens there.
    pub fn open(address: &SockAddr, timeout: Duration) -> io::Result<Call> {
        let deadline = Instant::now() + timeout;
        let socket = Socket::new(Domain::from(i32::from(address.family())), Type::STREAM, None)?;
        socket.connect_timeout(address, timeout)?;
        socket.set_write_timeout(Some(timeout))?;
        Ok(Call { socket, deadline })
    }

    /// # Errors
    /// What the system says.
    pub fn say(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    /// Everything until the far end hangs up; what came before an error is in `heard` too.
    ///
    /// # Errors
    /// `TimedOut` at the deadline, or what the system says.
    pub fn hear_out(&mut self, heard: &mut Vec<u8>) -> io::Result<()> {
        let mut piece = [0; 16 * 1024];
        while heard.len() < ANSWER_BYTES_MAX {
            let left = self.deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            self.socket.set_read_timeout(Some(left))?;
            match self.socket.read(&mut piece) {
                Ok(0) => return Ok(()),
                Ok(bytes) => heard.extend_from_slice(&piece[..bytes]),
                // A read timeout shows as WouldBlock (socket(7)); the next round reports it.
                Err(error)
                    if matches!(
                        error.kind(),
                        ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error),
            }
        }
        Err(io::Error::other("it does not stop talking"))
    }
}
