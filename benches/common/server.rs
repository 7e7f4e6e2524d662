//! A server in a process of its own, so that the kernel shares it with nobody but through sockets,
//! as in life. Apart from the clients, which differ from bench to bench.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use tempfile::TempDir;

/// A busy machine may take its time.
const START_MAX: Duration = Duration::from_secs(30);

/// Gone when dropped, with everything that it wrote.
pub struct Server {
    child: Child,
    pub clients: SocketAddr,
    pub peers: SocketAddr,
    _dir: TempDir,
}

impl Server {
    /// `Hub` has four peers, which would dial if they lived: without them it is alone and quiet.
    pub fn start() -> Server {
        Server::start_with("")
    }

    /// `sections` are added to its herd.toml.
    pub fn start_with(sections: &str) -> Server {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let [clients, peers] = free_addresses();
        let config = dir.path().join("herd.toml");
        fs::write(&config, herd_toml(clients, peers) + sections).expect("a file in it");
        let child = Command::new(env!("CARGO_BIN_EXE_herd"))
            // They would be 200 and 300 above that of clients, which may be other programs'.
            .env("HERD_WEB", "off")
            .env("HERD_OPERATORS", "off")
            .args(["serve", "Hub", "--log-level", "off", "--keep", "off", "--config"])
            .arg(&config)
            .arg("--log-dir")
            .arg(dir.path())
            .arg("--run-dir")
            .arg(dir.path())
            .stdout(Stdio::null())
            .spawn()
            .expect("the binary was built with the bench");
        let mut server = Server { child, clients, peers, _dir: dir };
        server.wait_until_it_answers();
        server
    }

    fn wait_until_it_answers(&mut self) {
        let deadline = Instant::now() + START_MAX;
        while Instant::now() < deadline {
            let exited = self.child.try_wait().expect("a child of ours");
            assert!(exited.is_none(), "the server did not start");
            let doors = [self.peers, self.clients].map(TcpStream::connect);
            if let [Ok(_), Ok(mut stream)] = doors {
                let mut answer = [0; 2];
                stream.write_all(b"IAMAT first +0+0 0\n").expect("it listens");
                stream.read_exact(&mut answer).expect("it answers");
                return;
            }
            thread::sleep(Duration::from_millis(5));
        }
        panic!("the server does not answer");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have died already; then there is nothing to end.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Somebody else may take them before the server does; then the bench fails, and is run again.
fn free_addresses() -> [SocketAddr; 2] {
    let sockets = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    sockets.map(|socket| socket.local_addr().expect("it is bound"))
}

fn herd_toml(clients: SocketAddr, peers: SocketAddr) -> String {
    let mut text = String::from("herd = \"bench\"\n");
    let links: Vec<_> = (1..=4).map(|n| format!("[\"Peer{n}\", \"Hub\"]")).collect();
    text += &format!("links = [{}]\n", links.join(", "));
    text += &format!("[[server]]\nname = \"Hub\"\nclients = \"{clients}\"\npeers = \"{peers}\"\n");
    for n in 1..=4 {
        text += &format!("[[server]]\nname = \"Peer{n}\"\nclients = \"127.0.0.1:{n}\"\n");
    }
    text
}
