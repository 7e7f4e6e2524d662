//! A node of NATS with one client, which is a server of the herd, and what another server publishes
//! on it. Apart because it speaks NATS' language, as far as is needed to count what that costs.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

const INFO: &[u8] = b"INFO {\"server_id\":\"N\",\"version\":\"2.9.10\",\"headers\":true,\
    \"max_payload\":1048576}\r\n";
/// A server whose instructions are counted is slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where a node is to be.
pub fn listen() -> io::Result<(TcpListener, SocketAddr)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    Ok((listener, address))
}

/// A node, and the connection of a server that is up on it.
pub struct Node {
    stream: TcpStream,
    /// Something comes for each PONG of the server.
    pongs: Receiver<()>,
    published: usize,
}

impl Node {
    /// Lets in the server that comes, and reads all that it says.
    pub fn serve(listener: TcpListener) -> io::Result<Node> {
        let (stream, _) = listener.accept()?;
        stream.set_nodelay(true)?;
        let (pongs, pinged) = (channel(), channel());
        let mut reading = stream.try_clone()?;
        reading.write_all(INFO)?;
        thread::spawn(move || read(reading, &pinged.0, &pongs.0));
        let is_up = pinged.1.recv_timeout(PATIENCE);
        is_up.map_err(|_| io::Error::other("the server does not come to its engine"))?;
        Ok(Node { stream, pongs: pongs.1, published: 0 })
    }

    /// Tells the server these lines as the next batch of another one, in a herd without a key, and
    /// waits until it has read them.
    pub fn publish(&mut self, sender: &str, herd: &str, lines: &str) -> io::Result<()> {
        self.published += 1;
        let (number, nought) = (self.published, "0".repeat(16));
        let batch = format!("{sender} {nought} {number} {nought} - -\n{lines}");
        let message = format!("MSG herd.{herd}.r.0 1 {}\r\n{batch}\r\nPING\r\n", batch.len());
        self.stream.write_all(message.as_bytes())?;
        self.pongs.recv_timeout(PATIENCE).map_err(|_| io::Error::other("the server is silent"))
    }
}

/// Answers each PING, and tells of each one and of each PONG.
fn read(stream: TcpStream, pinged: &Sender<()>, pongs: &Sender<()>) -> io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?);
    let (mut stream, mut line) = (stream, Vec::new());
    while {
        line.clear();
        lines.read_until(b'\n', &mut line)? > 0
    } {
        match &line[..] {
            b"PING\r\n" => {
                stream.write_all(b"PONG\r\n")?;
                // Only the first one is waited for.
                let _ = pinged.send(());
            }
            b"PONG\r\n" => drop(pongs.send(())),
            _ => {}
        }
    }
    Ok(())
}
