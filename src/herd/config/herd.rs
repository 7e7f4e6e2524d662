//! The herd as a graph: who is in it, where they listen, who is linked with whom.
//!
//! Several commands look at the whole herd; a server needs its own neighbours only, which are in
//! its [`Config`](super::Config). This module knows nothing of files or flags.

use std::net::IpAddr;
use std::str::FromStr;

use super::meant::meant;
use super::{Address, ConfigError, Initiative, LinkKind, Peer, PlainShape, limits};

/// The host of what listens for its own machine only: the servers of a preset, operators' ports.
pub const LOOPBACK: &str = "127.0.0.1";

/// A peer port is its client port and this many more, unless herd.toml says otherwise. It keeps the
/// roles of a connection apart without a second number to remember (PROTOCOL 6.1).
pub const PEER_PORT_OFFSET: u16 = 100;

/// A port beside those for clients and peers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OtherPort {
    /// For phones, browsers and scripts, by HTTP.
    Web,
    /// For operators and what watches machines, by HTTP.
    Operators,
    /// For clients that speak MQTT.
    Mqtt,
}

impl OtherPort {
    pub const ALL: [OtherPort; 3] = [OtherPort::Web, OtherPort::Operators, OtherPort::Mqtt];

    /// Its name in a `[[server]]`.
    pub fn key(self) -> &'static str {
        match self {
            OtherPort::Web => "web",
            OtherPort::Operators => "operators",
            OtherPort::Mqtt => "mqtt",
        }
    }

    /// It is the client port and this many more, unless something else is said.
    pub const fn offset(self) -> u16 {
        match self {
            OtherPort::Web => 200,
            OtherPort::Operators => 300,
            OtherPort::Mqtt => 400,
        }
    }
}

/// Where a server speaks HTTP or MQTT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Door {
    /// On loopback, so many above the client port.
    #[default]
    Usual,
    At(Address),
    Off,
}

impl Door {
    /// The address, for a server whose clients find it there; `None` if the door is closed.
    ///
    /// # Errors
    /// There is no port so far above that of the clients.
    pub fn address(&self, port: OtherPort, clients: &Address) -> Result<Option<Address>, String> {
        match self {
            Door::Off => Ok(None),
            Door::At(address) => Ok(Some(address.clone())),
            Door::Usual => {
                let is_loopback = clients.ip().is_some_and(|ip: IpAddr| ip.is_loopback());
                let host = if is_loopback { &clients.host } else { LOOPBACK };
                let (offset, key) = (port.offset(), port.key());
                let port = clients.port.checked_add(offset).ok_or_else(|| {
                    format!(
                        "client port + {offset} is no port: give this server its `{key}`, or \
                         \"off\""
                    )
                })?;
                Ok(Some(Address { host: host.to_owned(), port }))
            }
        }
    }
}

impl FromStr for Door {
    type Err = String;

    fn from_str(text: &str) -> Result<Door, String> {
        match text {
            "off" => Ok(Door::Off),
            _ => text.parse().map(Door::At).map_err(|why| format!("{why}, or write off")),
        }
    }
}

/// Where clients connect by TLS: an address, or nowhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsClients(pub Option<Address>);

impl FromStr for TlsClients {
    type Err = String;

    fn from_str(text: &str) -> Result<TlsClients, String> {
        let address = if text == "off" { Ok(None) } else { text.parse().map(Some) };
        address.map(TlsClients).map_err(|why: String| format!("{why}, or write off"))
    }
}

/// All servers and links.
///
/// invariant: names are unique; no two addresses are the same; every link joins two different
/// members, at least one of them no course server; no two are linked twice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Herd {
    /// The herd's id: peers of another herd are refused in the greeting.
    pub id: String,
    pub members: Vec<Member>,
    pub links: Vec<Link>,
    /// The operator accepts that, without a key, anybody who reaches a port may forge reports.
    pub open: bool,
}

/// One server of the herd.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    pub name: String,
    /// Where clients find it.
    pub clients: Address,
    /// Where they find it by TLS, if they may come so.
    pub tls_clients: TlsClients,
    /// Where peers find it. `None`: a course server, which knows no other port than that of its
    /// clients, and whose links are plain.
    pub peers: Option<Address>,
    /// Where phones and browsers find it; of no meaning for a course server.
    pub web: Door,
    /// Where operators find it; of no meaning for a course server.
    pub operators: Door,
    /// Where clients find it by MQTT; of no meaning for a course server.
    pub mqtt: Door,
    /// How AT lines look that are for it as a course server.
    pub shape: PlainShape,
    /// Where clients are divided into parts, it may hold some.
    pub holds: bool,
    /// The region that it is in, where the herd has some.
    pub region: Option<String>,
}

impl Member {
    /// A course server: it has one port, and links that are plain.
    pub fn of_course(name: String, clients: Address, shape: PlainShape) -> Member {
        Member {
            name,
            clients,
            tls_clients: TlsClients::default(),
            peers: None,
            web: Door::Off,
            operators: Door::Off,
            mqtt: Door::Off,
            shape,
            holds: false,
            region: None,
        }
    }

    /// Where no server holds all clients, it has ports for HTTP and MQTT only if they are written.
    pub fn close_usual_doors(&mut self) {
        for door in [&mut self.web, &mut self.mqtt] {
            if *door == Door::Usual {
                *door = Door::Off;
            }
        }
    }

    /// Where it has this port.
    pub fn door(&self, port: OtherPort) -> &Door {
        match port {
            OtherPort::Web => &self.web,
            OtherPort::Operators => &self.operators,
            OtherPort::Mqtt => &self.mqtt,
        }
    }
}

/// Two members that exchange reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    pub dials: String,
    pub accepts: String,
}

impl Herd {
    pub fn member(&self, name: &str) -> Option<&Member> {
        self.members.iter().find(|member| member.name == name)
    }

    /// The names of all members, for messages: `Hill, Jaquez, Smith`.
    pub fn names(&self) -> String {
        let names: Vec<&str> = self.members.iter().map(|member| member.name.as_str()).collect();
        names.join(", ")
    }

    /// That it has no server of this name. `whose` says where it comes from.
    pub fn lacks(&self, name: &str, whose: &str) -> ConfigError {
        let meant = meant(name, self.members.iter().map(|member| member.name.as_str()));
        let names = self.names();
        ConfigError::new(format!("{whose} has no server {name}{meant}: it has {names}"))
    }

    /// Who listens on this address already.
    pub fn taken_by(&self, address: &Address) -> Option<&Member> {
        self.members.iter().find(|member| {
            let others = member.peers.iter().chain(&member.tls_clients.0);
            others.chain([&member.clients]).any(|theirs| theirs.same_as(address))
        })
    }

    pub fn are_linked(&self, one: &str, other: &str) -> bool {
        self.links.iter().any(|link| {
            (link.dials == one && link.accepts == other)
                || (link.dials == other && link.accepts == one)
        })
    }

    /// Everyone that `name` is linked with, in the order of the links.
    pub fn neighbours(&self, name: &str) -> Vec<Peer> {
        self.links.iter().filter_map(|link| self.far_end(link, name)).collect()
    }

    fn far_end(&self, link: &Link, name: &str) -> Option<Peer> {
        let (other, initiative) = if link.dials == name {
            (&link.accepts, Initiative::Ours)
        } else if link.accepts == name {
            (&link.dials, Initiative::Theirs)
        } else {
            return None;
        };
        let member = self.member(other)?;
        // Each side of a plain link opens a connection for each line it has to tell.
        let (address, initiative, kind) = match &member.peers {
            Some(peers) => (peers, initiative, LinkKind::Herd),
            None => (&member.clients, Initiative::Ours, LinkKind::Plain),
        };
        let (name, shape) = (member.name.clone(), member.shape.clone());
        Some(Peer { name, address: address.clone(), initiative, kind, shape })
    }
}

/// A server's name or a herd's id, which travel as one field of a line and name files.
///
/// # Errors
/// A message if it is empty, too long, or holds what a line or a file name cannot carry.
pub fn parse_name(text: &str) -> Result<String, String> {
    let unfit = |c: char| c.is_whitespace() || c.is_control() || c == '/';
    if text.is_empty() || text.len() > limits::NAME_BYTES_MAX || text.contains(unfit) {
        // However long it is, the message is one for people.
        let shown: String = text.chars().take(limits::NAME_BYTES_MAX).collect();
        return Err(format!(
            "`{}` is no name: write one word of at most {} bytes, without `/`",
            shown.escape_debug(),
            limits::NAME_BYTES_MAX
        ));
    }
    // Every command would take it for a flag.
    if text.starts_with('-') {
        return Err(format!("`{text}` is no name: begin it with a letter or a digit"));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_single_words() {
        for good in ["Hill", "é", "a-b.c", &"x".repeat(64)] {
            assert_eq!(parse_name(good).as_deref(), Ok(good));
        }
        for bad in
            ["-x", "--help", "", " ", "a b", "a\n", "a\u{7f}", "a/b", "a\u{2003}b", &"x".repeat(65)]
        {
            assert!(parse_name(bad).is_err(), "{bad:?}");
        }
    }
}
