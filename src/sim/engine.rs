//! A fake engine: nodes of NATS as the real ones behave, with what a herd must bear of them. It is
//! told what comes and says what leaves; `world::nodes` has the wires and the time.
//!
//! Order is kept on each connection and between each two nodes, and nowhere else. A PONG says that
//! a node has read all before it, and nothing of the others. What one node knows of who wants to
//! hear what, another learns later. A client that does not read is cut off, and what waited for it
//! is lost without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Bytes that wait for a client, above which it is cut off.
pub const QUEUE_MAX: usize = 64 * 1024;
/// Bytes that a server may owe a node.
pub const OWED_MAX: usize = 32 * 1024;
/// What a tenant remembers of what was published.
const TAPE_MAX: usize = 200;
/// The longest payload that a node takes: that of a few long lines.
pub const PAYLOAD_MAX: usize = 8 * 1024;
/// What a node says first.
pub const INFO: &[u8] = b"INFO {\"server_id\":\"N\",\"version\":\"2.9.10\",\"proto\":1,\
    \"headers\":true,\"max_payload\":8192} \r\n";

/// What somebody has published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub subject: Vec<u8>,
    pub payload: Vec<u8>,
}

/// What a node wants done.
#[derive(Debug)]
pub enum Wish {
    /// Bytes for the client at the other end of this wire.
    Send { wire: usize, bytes: Vec<u8> },
    /// To be told to all other nodes.
    Route(Published),
    /// This client says what none says, or may not say it.
    Close { wire: usize },
}

/// A client of a node.
#[derive(Default)]
struct Client {
    inbox: Vec<u8>,
    /// Subjects, and since when other nodes know that somebody here wants them.
    wants: BTreeMap<Vec<u8>, Duration>,
    is_in: bool,
}

/// One node.
#[derive(Default)]
pub struct Node {
    clients: BTreeMap<usize, Client>,
    /// It is not there until then.
    pub away_until: Duration,
    /// Publishing is denied until then.
    pub denies_until: Duration,
}

/// All nodes of a cluster.
pub struct Engine {
    pub nodes: Vec<Node>,
    /// Between these two, everything is lost until then, and nobody is told.
    pub cut_until: BTreeMap<(usize, usize), Duration>,
    /// When the last message from one node to another arrives: later ones do not overtake it.
    pub last_due: BTreeMap<(usize, usize), Duration>,
    pub tape: Vec<Published>,
    /// AT lines that servers have published for all, and that a node has read.
    pub told: BTreeSet<Vec<u8>>,
    /// How long other nodes take to learn who wants what.
    pub interest_after: Duration,
}

impl Engine {
    pub fn new(nodes: usize, interest_after: Duration) -> Engine {
        Engine {
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            cut_until: BTreeMap::new(),
            last_due: BTreeMap::new(),
            tape: Vec::new(),
            told: BTreeSet::new(),
            interest_after,
        }
    }

    pub fn is_away(&self, node: usize, now: Duration) -> bool {
        now < self.nodes[node].away_until
    }

    pub fn accept(&mut self, node: usize, wire: usize) {
        self.nodes[node].clients.insert(wire, Client::default());
    }

    pub fn forget(&mut self, node: usize, wire: usize) {
        self.nodes[node].clients.remove(&wire);
    }

    /// The wires of a node's clients.
    pub fn clients(&self, node: usize) -> Vec<usize> {
        self.nodes[node].clients.keys().copied().collect()
    }

    /// Bytes of a client have come.
    pub fn hear(&mut self, (node, wire): (usize, usize), bytes: &[u8], now: Duration) -> Vec<Wish> {
        let Some(client) = self.nodes[node].clients.get_mut(&wire) else { return Vec::new() };
        client.inbox.extend_from_slice(bytes);
        let mut wishes = Vec::new();
        let denies = now < self.nodes[node].denies_until;
        loop {
            let Some(client) = self.nodes[node].clients.get_mut(&wire) else { return wishes };
            let Some((line, payload)) = take_operation(&mut client.inbox) else { return wishes };
            let words = Vec::from_iter(line.split(|&byte| byte == b' '));
            let say = |bytes: &[u8]| Wish::Send { wire, bytes: bytes.to_vec() };
            match words[..] {
                [b"CONNECT", ..] => client.is_in = true,
                [b"PING"] => wishes.push(say(b"PONG\r\n")),
                [b"PONG"] => {}
                [b"SUB", subject, _sid] if client.is_in => {
                    client.wants.insert(subject.to_vec(), now + self.interest_after);
                }
                [b"PUB", _, _] if client.is_in && denies => {
                    wishes.push(say(b"-ERR 'Permissions Violation for Publish'\r\n"));
                }
                [b"PUB", subject, _] if client.is_in => {
                    let published = Published { subject: subject.to_vec(), payload };
                    wishes.extend(self.deliver(node, Some(wire), &published, None));
                    self.record(&published);
                    wishes.push(Wish::Route(published));
                }
                _ => {
                    wishes.push(say(b"-ERR 'Unknown Protocol Operation'\r\n"));
                    wishes.push(Wish::Close { wire });
                    return wishes;
                }
            }
        }
    }

    /// Gives something to the clients of a node that want it; if it comes from another node, to
    /// those that the node has known when it was published.
    pub fn deliver(
        &self,
        node: usize,
        but: Option<usize>,
        published: &Published,
        published_at: Option<Duration>,
    ) -> Vec<Wish> {
        let Published { subject, payload } = published;
        let wants = |client: &Client| {
            client
                .wants
                .get(subject)
                .is_some_and(|known| published_at.is_none_or(|at| at >= *known))
        };
        let clients = self.nodes[node].clients.iter();
        let those = clients.filter(|(wire, client)| Some(**wire) != but && wants(client));
        let message = |(&wire, _): (&usize, &Client)| {
            let mut bytes = b"MSG ".to_vec();
            bytes.extend_from_slice(subject);
            bytes.extend_from_slice(format!(" 1 {}\r\n", payload.len()).as_bytes());
            bytes.extend_from_slice(payload);
            bytes.extend_from_slice(b"\r\n");
            Wish::Send { wire, bytes }
        };
        those.map(message).collect()
    }

    fn record(&mut self, published: &Published) {
        if self.tape.len() < TAPE_MAX {
            self.tape.push(published.clone());
        }
    }
}

/// The next operation of a client: its line, and the payload of a PUB.
fn take_operation(inbox: &mut Vec<u8>) -> Option<(Vec<u8>, Vec<u8>)> {
    let end = inbox.windows(2).position(|bytes| bytes == b"\r\n")?;
    let line = inbox[..end].to_vec();
    let mut taken = end + 2;
    let mut payload = Vec::new();
    if line.starts_with(b"PUB ") {
        let count = line.rsplit(|&byte| byte == b' ').next()?;
        let count: usize = std::str::from_utf8(count).ok()?.parse().ok()?;
        payload = inbox.get(taken..taken + count)?.to_vec();
        let behind = inbox.get(taken + count..taken + count + 2)?;
        debug_assert_eq!(behind, b"\r\n", "a payload is as long as it says");
        taken += count + 2;
    }
    inbox.drain(..taken);
    Some((line, payload))
}
