//! A herd on an engine, over real sockets. The engine is a node of this file's own, which speaks as
//! much of NATS as a herd needs, so that no other program has to be there; `tests/engine.py` does
//! the same and worse with the real one, in two versions.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{Herd, until};

const INFO: &[u8] = b"INFO {\"server_id\":\"N\",\"version\":\"2.9.10\",\"headers\":true,\
    \"max_payload\":1048576}\r\n";

/// A subject and what was published to it.
type Published = (String, Vec<u8>);

/// A node: all that its threads share.
#[derive(Clone)]
struct Node {
    address: SocketAddr,
    clients: Arc<Mutex<BTreeMap<usize, Client>>>,
    /// It takes connections and says nothing.
    is_silent: Arc<AtomicBool>,
    published: Arc<Mutex<Vec<Published>>>,
}

struct Client {
    stream: TcpStream,
    wants: Vec<String>,
}

impl Node {
    fn start() -> Node {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let node = Node {
            address: listener.local_addr().unwrap(),
            clients: Arc::default(),
            is_silent: Arc::default(),
            published: Arc::default(),
        };
        let serving = node.clone();
        thread::spawn(move || {
            for (number, stream) in listener.incoming().flatten().enumerate() {
                let node = serving.clone();
                thread::spawn(move || node.serve(number, stream));
            }
        });
        node
    }

    fn serve(&self, number: usize, mut stream: TcpStream) -> Option<()> {
        if self.is_silent.load(Ordering::Relaxed) {
            let _ = stream.read(&mut [0]);
            return None;
        }
        stream.write_all(INFO).ok()?;
        let client = Client { stream: stream.try_clone().ok()?, wants: Vec::new() };
        self.clients.lock().unwrap().insert(number, client);
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        while {
            line.clear();
            reader.read_line(&mut line).unwrap_or(0) > 0
        } {
            let words = Vec::from_iter(line.split_whitespace());
            match words[..] {
                ["PING"] => self.send(number, b"PONG\r\n"),
                ["SUB", subject, _] => {
                    let mut clients = self.clients.lock().unwrap();
                    clients.get_mut(&number)?.wants.push(subject.to_owned());
                }
                ["PUB", subject, count] => {
                    let mut payload = vec![0; count.parse::<usize>().unwrap() + 2];
                    reader.read_exact(&mut payload).ok()?;
                    payload.truncate(payload.len() - 2);
                    self.publish(Some(number), subject, &payload);
                    self.published.lock().unwrap().push((subject.to_owned(), payload));
                }
                _ => {}
            }
        }
        self.clients.lock().unwrap().remove(&number);
        None
    }

    fn send(&self, number: usize, bytes: &[u8]) {
        if let Some(client) = self.clients.lock().unwrap().get_mut(&number) {
            let _ = client.stream.write_all(bytes);
        }
    }

    fn publish(&self, but: Option<usize>, subject: &str, payload: &[u8]) {
        let mut message = format!("MSG {subject} 1 {}\r\n", payload.len()).into_bytes();
        message.extend_from_slice(payload);
        message.extend_from_slice(b"\r\n");
        let mut clients = self.clients.lock().unwrap();
        for (number, client) in clients.iter_mut() {
            if Some(*number) != but && client.wants.iter().any(|wanted| wanted == subject) {
                let _ = client.stream.write_all(&message);
            }
        }
    }

    /// Every client is cut off.
    fn cut(&self) {
        for client in self.clients.lock().unwrap().values() {
            let _ = client.stream.shutdown(std::net::Shutdown::Both);
        }
    }

    /// Waits until so many servers are on it.
    fn await_servers(&self, count: usize) {
        let wants = |client: &Client| client.wants.len() == 2;
        until("servers are on the engine", || {
            self.clients.lock().unwrap().values().filter(|client| wants(client)).count() == count
        });
    }
}

const NAMES: [&str; 3] = ["Anna", "Bert", "Cleo"];
const BRIEF: &str = "settle = \"100 ms\"\n[limits]\ncompare_every = \"1 s\"\n";

fn herd_on(node: &Node) -> Herd {
    let engine = format!("[engine]\nurls = [\"{}\"]\n{BRIEF}", node.address);
    let mut herd = Herd::of_file(&NAMES, &[], &engine);
    herd.write_keys("herd.key", "7");
    herd.start_all(&["--key-file=herd.key"]);
    node.await_servers(3);
    herd
}

/// Goal: what one server hears, all know; and so it is after the engine was away, though clients
/// were answered meanwhile. PROTOCOL 15.5, 15.6.
#[test]
fn all_hold_the_same_though_the_engine_was_away() {
    let node = Node::start();
    let herd = herd_on(&node);
    let line = herd.report("Anna", "kiwi", "+1-1", "1");
    herd.until_all_hold("kiwi", &line);

    node.is_silent.store(true, Ordering::Relaxed);
    node.cut();
    node.await_servers(0);
    // Nobody waits for the engine.
    let report =
        |time: u32| herd.report(NAMES[time as usize % 3], "kiwi", "+1-1", &time.to_string());
    let line = (2..50).fold(String::new(), |_, time| report(time));
    node.is_silent.store(false, Ordering::Relaxed);
    node.await_servers(3);
    herd.until_all_hold("kiwi", &line);
}

/// Goal: batches that a tenant of the engine forges, repeats or sends elsewhere are not believed.
#[test]
fn a_tenant_is_not_believed() {
    let node = Node::start();
    let herd = herd_on(&node);
    let line = herd.report("Anna", "kiwi", "+1-1", "1");
    herd.until_all_hold("kiwi", &line);

    let taped = node.published.lock().unwrap().clone();
    let subject = taped.iter().map(|(subject, _)| subject).find(|it| it.ends_with(".r.0")).unwrap();
    let mut sent = 0;
    for round in 0..500 {
        for (from, payload) in &taped {
            node.publish(None, from, payload);
            let mut changed = payload.clone();
            changed.extend_from_slice(format!("AT Anna +0 forged{round} +9+9 9\n").as_bytes());
            node.publish(None, subject, &changed);
            let elsewhere = if from == subject { "herd.tests.s.Bert" } else { subject };
            node.publish(None, elsewhere, payload);
            sent += 3;
        }
    }
    assert!(sent >= 3_000, "{sent}");
    let line = herd.report("Cleo", "kiwi", "+1-1", "2");
    herd.until_all_hold("kiwi", &line);
    for name in NAMES {
        assert_eq!(herd.held(name, "forged7"), None, "{name} believes it");
        let status = herd.status(name);
        assert_eq!(status.clients_known, 1);
        assert!(status.engine.is_some_and(|engine| engine.refused > 1_000));
    }
}
