//! The graph of a herd.toml: who is in the herd, where they listen, who is linked with whom.

use serde::Deserialize;
use toml::Spanned;

use super::super::herd::{
    Door, Herd, Link, Member, OtherPort, PEER_PORT_OFFSET, TlsClients, parse_name,
};
use super::super::{Address, ConfigError, PlainShape};
use super::Source;

/// The graph as it is written.
#[derive(Deserialize)]
pub(super) struct Graph {
    pub herd: Spanned<String>,
    #[serde(default)]
    pub links: Vec<Spanned<[String; 2]>>,
    #[serde(default)]
    pub server: Vec<ServerTable>,
}

/// One `[[server]]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ServerTable {
    name: Spanned<String>,
    clients: Spanned<Address>,
    tls_clients: Option<Spanned<String>>,
    peers: Option<Spanned<Address>>,
    web: Option<Spanned<String>>,
    operators: Option<Spanned<String>>,
    mqtt: Option<Spanned<String>>,
    #[serde(default)]
    plain: bool,
    shape: Option<Spanned<PlainShape>>,
    holds: Option<Spanned<bool>>,
    region: Option<Spanned<String>>,
}

impl ServerTable {
    fn door(&self, port: OtherPort) -> Option<&Spanned<String>> {
        match port {
            OtherPort::Web => self.web.as_ref(),
            OtherPort::Operators => self.operators.as_ref(),
            OtherPort::Mqtt => self.mqtt.as_ref(),
        }
    }
}

impl Source<'_> {
    fn name(&self, text: &Spanned<String>) -> Result<String, ConfigError> {
        parse_name(text.get_ref()).map_err(|message| self.error(text.span(), &message))
    }

    /// The herd, of which it is not known yet whether it is open.
    pub fn herd(&self, tables: &Graph, is_divided: bool) -> Result<Herd, ConfigError> {
        let id = self.name(&tables.herd)?;
        let mut herd = Herd { id, members: Vec::new(), links: Vec::new(), open: false };
        if tables.server.is_empty() {
            let message = "this herd has no servers: add a [[server]] with `name` and `clients`";
            return Err(self.error(tables.herd.span(), message));
        }
        for (position, table) in tables.server.iter().enumerate() {
            let mut member = self.member(&herd, table, &tables.server[..position])?;
            if is_divided {
                member.close_usual_doors();
            }
            herd.members.push(member);
        }
        for (position, table) in tables.server.iter().enumerate() {
            for port in OtherPort::ALL {
                self.check_door(&herd, position, (table, port))?;
            }
        }
        for (position, pair) in tables.links.iter().enumerate() {
            let link = self.link(&herd, pair, &tables.links[..position])?;
            herd.links.push(link);
        }
        Ok(herd)
    }

    fn member(
        &self,
        herd: &Herd,
        table: &ServerTable,
        earlier: &[ServerTable],
    ) -> Result<Member, ConfigError> {
        let name = self.name(&table.name)?;
        if let Some(first) = earlier.iter().find(|first| *first.name.get_ref() == name) {
            let line = self.line(&first.name.span());
            let message = format!("{name} is on line {line} already: a server has one [[server]]");
            return Err(self.error(table.name.span(), &message));
        }
        let clients = self.address(herd, &table.clients)?;
        if table.plain {
            return self.course_server(name, clients, table);
        }
        if let Some(shape) = &table.shape {
            let message = format!("{name} is not plain and so its lines have no `shape`");
            return Err(self.error(shape.span(), &message));
        }
        let peers = match &table.peers {
            Some(peers) => self.address(herd, peers)?,
            None => {
                let port = clients.port.checked_add(PEER_PORT_OFFSET).ok_or_else(|| {
                    let message = "client port + 100 is no port: give this server its `peers`";
                    self.error(table.clients.span(), message)
                })?;
                let peers = Address { host: clients.host.clone(), port };
                self.address(herd, &Spanned::new(table.clients.span(), peers))?
            }
        };
        if peers.same_as(&clients) {
            let message = format!("{name} cannot serve clients and peers on the same {peers}");
            return Err(self.error(table.clients.span(), &message));
        }
        let tls_clients = self.tls_clients(herd, &name, [&clients, &peers], table)?;
        let door = |port| match table.door(port) {
            None => Ok(Door::Usual),
            Some(text) => {
                text.get_ref().parse().map_err(|why: String| self.line_error(text.span(), &why))
            }
        };
        let (web, operators) = (door(OtherPort::Web)?, door(OtherPort::Operators)?);
        let mqtt = door(OtherPort::Mqtt)?;
        let (peers, shape) = (Some(peers), PlainShape::default());
        let holds = table.holds.as_ref().is_none_or(|holds| *holds.get_ref());
        let region = table.region.as_ref().map(|region| region.get_ref().clone());
        Ok(Member { name, clients, tls_clients, peers, web, operators, mqtt, shape, holds, region })
    }

    /// Where clients come by TLS: nobody else's address, and none of the server's others.
    fn tls_clients(
        &self,
        herd: &Herd,
        name: &str,
        others: [&Address; 2],
        table: &ServerTable,
    ) -> Result<TlsClients, ConfigError> {
        let Some(text) = &table.tls_clients else { return Ok(TlsClients::default()) };
        let parsed: Result<TlsClients, String> = text.get_ref().parse();
        let TlsClients(address) = parsed.map_err(|why| self.line_error(text.span(), &why))?;
        let Some(address) = address else { return Ok(TlsClients(None)) };
        if others.into_iter().any(|other| other.same_as(&address)) {
            let message = format!("{name} has {address} already: TLS needs an address of its own");
            return Err(self.error(text.span(), &message));
        }
        let address = self.address(herd, &Spanned::new(text.span(), address))?;
        Ok(TlsClients(Some(address)))
    }

    /// Ports for HTTP or MQTT that are others' already. Each may be on the loopback of a machine of
    /// its own, so two of them are compared only if their servers are on one.
    fn check_door(
        &self,
        herd: &Herd,
        position: usize,
        (table, port): (&ServerTable, OtherPort),
    ) -> Result<(), ConfigError> {
        let span = table.door(port).map_or(table.clients.span(), Spanned::span);
        let (earlier, member) = (&herd.members[..position], &herd.members[position]);
        let address = match member.door(port).address(port, &member.clients) {
            Ok(Some(address)) => address,
            Ok(None) => return Ok(()),
            Err(why) => return Err(self.error(span, &why)),
        };
        let is_at = |other: &Member, port: OtherPort| {
            let theirs = other.door(port).address(port, &other.clients).ok().flatten();
            theirs.is_some_and(|theirs| theirs.same_as(&address))
        };
        let is_beside = |other: &&Member| other.clients.host == member.clients.host;
        let is_theirs = |other: &&Member| OtherPort::ALL.iter().any(|port| is_at(other, *port));
        let beside = || earlier.iter().filter(is_beside).find(is_theirs);
        let earlier_ports = || OtherPort::ALL.into_iter().take_while(|other| *other != port);
        let is_twice = || earlier_ports().any(|other| is_at(member, other));
        let both = || Some(member).filter(|_| is_twice());
        herd.taken_by(&address).or_else(beside).or_else(both).map_or(Ok(()), |other| {
            let key = port.key();
            let user = match port {
                OtherPort::Web => "the web",
                OtherPort::Operators => "operators",
                OtherPort::Mqtt => "MQTT",
            };
            let message = format!(
                "{address}, for {user}, belongs to {} already: give {} other `{key}`, or \"off\"",
                other.name, member.name
            );
            Err(self.error(span, &message))
        })
    }

    fn course_server(
        &self,
        name: String,
        clients: Address,
        table: &ServerTable,
    ) -> Result<Member, ConfigError> {
        if let Some(peers) = &table.peers {
            let message = format!("{name} is plain and so has no port for peers: remove `peers`");
            return Err(self.error(peers.span(), &message));
        }
        if let Some(holds) = &table.holds {
            let message = format!("{name} is plain and so holds no parts: remove `holds`");
            return Err(self.error(holds.span(), &message));
        }
        if let Some(region) = &table.region {
            let message = format!("{name} is plain and so is in no region: remove `region`");
            return Err(self.error(region.span(), &message));
        }
        for port in OtherPort::ALL {
            if let Some(door) = table.door(port) {
                let key = port.key();
                let message = format!("{name} is plain and so has no port for {key}: remove it");
                return Err(self.error(door.span(), &message));
            }
        }
        if let Some(tls_clients) = &table.tls_clients {
            let message = format!("{name} is plain and so has no TLS: remove `tls_clients`");
            return Err(self.error(tls_clients.span(), &message));
        }
        if !clients.is_loopback() {
            let message = format!(
                "{name} is plain and so must be on loopback, not on {clients}: \
                 anybody can forge plain AT lines"
            );
            return Err(self.error(table.clients.span(), &message));
        }
        let shape = table.shape.as_ref().map(|shape| shape.get_ref().clone()).unwrap_or_default();
        Ok(Member::of_course(name, clients, shape))
    }

    /// An address that can be dialled and that nobody else has.
    fn address(&self, herd: &Herd, address: &Spanned<Address>) -> Result<Address, ConfigError> {
        let found = address.get_ref();
        if found.ip().is_some_and(|ip| ip.is_unspecified()) {
            let message = format!(
                "nobody can dial {found}: write the address that others dial, and listen on all \
                 of this machine's with `herd serve --bind {}`",
                found.host
            );
            return Err(self.error(address.span(), &message));
        }
        if let Some(other) = herd.taken_by(found) {
            let other = &other.name;
            let message = format!(
                "{found} belongs to {other} already (a server has a port for clients and one for \
                 peers, by default 100 above it)"
            );
            return Err(self.error(address.span(), &message));
        }
        Ok(found.clone())
    }

    fn link(
        &self,
        herd: &Herd,
        pair: &Spanned<[String; 2]>,
        earlier: &[Spanned<[String; 2]>],
    ) -> Result<Link, ConfigError> {
        let fail = |message: &str| Err(self.error(pair.span(), message));
        let [dials, accepts] = pair.get_ref();
        for end in [dials, accepts] {
            if herd.member(end).is_none() {
                return fail(&format!(
                    "there is no server `{}` to link: this herd has {}",
                    end.escape_debug(),
                    herd.names()
                ));
            }
        }
        if dials == accepts {
            return fail(&format!("{dials} is linked with itself: name two servers"));
        }
        if herd.are_linked(dials, accepts) {
            let same = |other: &&Spanned<[String; 2]>| {
                let [one, two] = other.get_ref();
                (one == dials && two == accepts) || (one == accepts && two == dials)
            };
            let line = earlier.iter().find(same).map_or(0, |first| self.line(&first.span()));
            return fail(&format!("{dials} and {accepts} are linked on line {line} already"));
        }
        if [dials, accepts].iter().all(|end| herd.member(end).is_some_and(|m| m.peers.is_none())) {
            return fail(&format!(
                "{dials} and {accepts} are both plain: herd could not join them"
            ));
        }
        Ok(Link { dials: dials.clone(), accepts: accepts.clone() })
    }
}
