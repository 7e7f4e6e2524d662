//! A fake engine: nodes of NATS as the real ones behave, with what a herd must bear of them. It is
//! told what comes and says what leaves; `world::nodes` has the wires and the time.
//!
//! Order is kept on each connection and between each two nodes, and nowhere else. A PONG says that
//! a node has read all before it, and nothing of the others. What one node knows of who wants to
//! hear what, another learns later. Of a group, one is chosen by chance, wherever it is; if nobody
//! is known who wants what was published, its publisher is told so where it wants a reply. A client
//! that does not read is cut off, and what waited for it is lost without a word.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use fastrand::Rng;

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
    /// For one of a group.
    pub is_for_one: bool,
}

/// What a node wants done.
#[derive(Debug)]
pub enum Wish {
    /// Bytes for the client at the other end of this wire.
    Send { wire: usize, bytes: Vec<u8> },
    /// To be told to all other nodes.
    Route(Published),
    /// To be told to this node, for one of a group.
    RouteTo { to: usize, published: Published },
    /// This client says what none says, or may not say it.
    Close { wire: usize },
}

/// A client of a node.
#[derive(Default)]
struct Client {
    inbox: Vec<u8>,
    /// Subjects, and since when other nodes know that somebody here wants them.
    wants: BTreeMap<Vec<u8>, Duration>,
    /// The same for subjects on which it is one of a group, by the number of the subscription.
    groups: BTreeMap<Vec<u8>, (Vec<u8>, Duration)>,
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
    /// Chooses among a group.
    random: Rng,
}

impl Client {
    /// Since when others know that it wants to hear this subject, or all that differ from it in
    /// their last token.
    fn wants(&self, subject: &[u8]) -> Option<Duration> {
        let prefix = subject.iter().rposition(|&byte| byte == b'.').map_or(0, |dot| dot + 1);
        let any = [&subject[..prefix], b"*"].concat();
        self.wants.get(subject).or_else(|| self.wants.get(&any)).copied()
    }

    fn is_in_group(&self, subject: &[u8], known_at: Option<Duration>) -> bool {
        let is_known = |known: Duration| known_at.is_none_or(|at| at >= known);
        self.groups.values().any(|(of, known)| of == subject && is_known(*known))
    }
}

impl Engine {
    pub fn new(nodes: usize, interest_after: Duration, seed: u64) -> Engine {
        Engine {
            nodes: (0..nodes).map(|_| Node::default()).collect(),
            cut_until: BTreeMap::new(),
            last_due: BTreeMap::new(),
            tape: Vec::new(),
            told: BTreeSet::new(),
            interest_after,
            random: Rng::with_seed(seed),
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
                [b"SUB", subject, _group, sid] if client.is_in => {
                    let known = now + self.interest_after;
                    client.groups.insert(sid.to_vec(), (subject.to_vec(), known));
                }
                [b"UNSUB", sid] if client.is_in => drop(client.groups.remove(sid)),
                [b"PUB", _, .., _] if client.is_in && denies => {
                    wishes.push(say(b"-ERR 'Permissions Violation for Publish'\r\n"));
                }
                [b"PUB", subject, ref reply @ .., _] if client.is_in && reply.len() < 2 => {
                    let subject = subject.to_vec();
                    let published = Published { subject, payload, is_for_one: false };
                    let reply = reply.first().copied();
                    wishes.extend(self.publish((node, wire), published, reply, now));
                }
                _ => {
                    wishes.push(say(b"-ERR 'Unknown Protocol Operation'\r\n"));
                    wishes.push(Wish::Close { wire });
                    return wishes;
                }
            }
        }
    }

    /// A client has published something, and may want to know if nobody hears it.
    fn publish(
        &mut self,
        (node, wire): (usize, usize),
        published: Published,
        reply: Option<&[u8]>,
        now: Duration,
    ) -> Vec<Wish> {
        self.record(&published);
        let mut wishes = self.deliver(node, Some(wire), &published, None);
        wishes.extend(self.deliver_to_one(node, wire, &published, now));
        if let Some(reply) = reply.filter(|_| !self.is_wanted(wire, &published.subject, now)) {
            let reply = String::from_utf8_lossy(reply);
            let bytes = format!("HMSG {reply} 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n").into_bytes();
            wishes.push(Wish::Send { wire, bytes });
        }
        wishes.push(Wish::Route(published));
        wishes
    }

    /// Whether anybody but this client is known to want it.
    fn is_wanted(&self, but: usize, subject: &[u8], now: Duration) -> bool {
        let clients = self.nodes.iter().flat_map(|node| &node.clients);
        let mut others = clients.filter(|(wire, _)| **wire != but);
        others.any(|(_, client)| {
            let wants = client.wants(subject).is_some_and(|known| now >= known);
            wants || client.is_in_group(subject, None)
        })
    }

    /// Chooses one of a group: at this node, or at another one whose groups are known here.
    fn deliver_to_one(
        &mut self,
        node: usize,
        but: usize,
        published: &Published,
        now: Duration,
    ) -> Option<Wish> {
        let mut group = Vec::new();
        for (at, it) in self.nodes.iter().enumerate() {
            let known_at = (at != node).then_some(now);
            let is_in = |client: &Client| client.is_in_group(&published.subject, known_at);
            let those = it.clients.iter().filter(|(wire, client)| **wire != but && is_in(client));
            group.extend(those.map(|(wire, _)| (at, *wire)));
        }
        let (to, wire) = self.random.choice(group)?;
        let published = Published { is_for_one: true, ..published.clone() };
        Some(match to == node {
            true => Wish::Send { wire, bytes: message(&published) },
            false => Wish::RouteTo { to, published },
        })
    }

    /// Gives what another node has chosen this one for to one of the group, if it is still there.
    pub fn deliver_chosen(&mut self, node: usize, published: &Published) -> Option<Wish> {
        let clients = self.nodes[node].clients.iter();
        let group = clients.filter(|(_, client)| client.is_in_group(&published.subject, None));
        let wire = self.random.choice(Vec::from_iter(group.map(|(wire, _)| *wire)))?;
        Some(Wish::Send { wire, bytes: message(published) })
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
        let wants = |client: &Client| {
            let known = client.wants(&published.subject);
            known.is_some_and(|known| published_at.is_none_or(|at| at >= known))
        };
        let clients = self.nodes[node].clients.iter();
        let those = clients.filter(|(wire, client)| Some(**wire) != but && wants(client));
        those.map(|(&wire, _)| Wish::Send { wire, bytes: message(published) }).collect()
    }

    fn record(&mut self, published: &Published) {
        if self.tape.len() < TAPE_MAX {
            self.tape.push(published.clone());
        }
    }
}

/// What a client hears of something that was published.
fn message(Published { subject, payload, .. }: &Published) -> Vec<u8> {
    let mut bytes = b"MSG ".to_vec();
    bytes.extend_from_slice(subject);
    bytes.extend_from_slice(format!(" 1 {}\r\n", payload.len()).as_bytes());
    bytes.extend_from_slice(payload);
    bytes.extend_from_slice(b"\r\n");
    bytes
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
