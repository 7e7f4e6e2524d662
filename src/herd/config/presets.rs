//! The herds of the course's years (PROTOCOL 14.1), all on loopback.
//!
//! With them, `herd serve Hill` works on a fresh machine without any file.

use herd_core::presets::{PRESETS, Preset, SERVERS};

use super::herd::{Door, Herd, Link, Member, OtherPort, PEER_PORT_OFFSET, TlsClients};
use super::meant::meant;
use super::{Address, ConfigError, PlainShape};

/// The client port of a preset's first server; the others follow in their order.
pub const BASE_PORT: u16 = 12000;

/// The last base port whose herd still fits below 65536, the ports for MQTT included.
pub const BASE_PORT_MAX: u16 = u16::MAX - OtherPort::Mqtt.offset() - (SERVERS as u16 - 1);

/// Until this year the course was about Twisted, whose `LineReceiver` knows only CR LF.
const TWISTED_UNTIL: &str = "2017";

/// The preset of a year.
///
/// # Errors
/// A message that lists the years.
pub fn of_year(year: &str) -> Result<&'static Preset, ConfigError> {
    let found = PRESETS.iter().find(|preset| preset.year == year || preset.alias == Some(year));
    found.ok_or_else(|| {
        let years = PRESETS.map(|preset| preset.year).join(", ");
        ConfigError::new(format!("there is no preset `{year}`: the years are {years}"))
    })
}

/// The newest preset with a server of this name, or simply the newest.
///
/// # Errors
/// A message if no year had such a server.
pub fn with_server(name: Option<&str>) -> Result<&'static Preset, ConfigError> {
    let has = |preset: &&Preset| name.is_none_or(|name| preset.servers.contains(&name));
    PRESETS.iter().rev().find(has).ok_or_else(|| {
        let name = name.unwrap_or_default();
        let meant = meant(name, servers());
        ConfigError::new(format!(
            "no preset has a server called {name}{meant}: `herd presets` lists them, \
             and --config names a herd of your own"
        ))
    })
}

/// The servers of all presets; some names are there several times.
pub fn servers() -> impl Iterator<Item = &'static str> {
    PRESETS.iter().flat_map(|preset| preset.servers)
}

/// Its herd, on `host`, from `base_port` (at most [`BASE_PORT_MAX`]) upwards.
pub fn herd(preset: &Preset, host: &str, base_port: u16) -> Herd {
    let address = |port| Address { host: host.to_owned(), port };
    let shape = PlainShape { crlf: preset.year <= TWISTED_UNTIL, ..PlainShape::default() };
    let members = preset.servers.iter().zip(base_port..).map(|(name, port)| Member {
        name: (*name).to_owned(),
        clients: address(port),
        peers: Some(address(port + PEER_PORT_OFFSET)),
        tls_clients: TlsClients::default(),
        web: Door::Usual,
        operators: Door::Usual,
        mqtt: Door::Usual,
        shape: shape.clone(),
        holds: true,
        region: None,
    });
    let links = preset.links.iter().map(|(dials, accepts)| Link {
        dials: (*dials).to_owned(),
        accepts: (*accepts).to_owned(),
    });
    Herd {
        id: preset.year.to_owned(),
        members: members.collect(),
        links: links.collect(),
        open: false,
    }
}

#[cfg(test)]
mod tests {
    use super::super::herd::LOOPBACK;
    use super::super::{Initiative, LinkKind};
    use super::*;

    #[test]
    fn ports_count_up_from_the_base() {
        for preset in &PRESETS {
            let herd = super::herd(preset, "127.0.0.5", 20000);
            for (position, member) in herd.members.iter().enumerate() {
                let clients = format!("127.0.0.5:{}", 20000 + position);
                let peers = format!("127.0.0.5:{}", 20100 + position);
                assert_eq!(member.clients.to_string(), clients);
                assert_eq!(member.peers.as_ref().map(Address::to_string), Some(peers));
            }
        }
        let last = herd(&PRESETS[0], LOOPBACK, BASE_PORT_MAX);
        let Member { clients, mqtt, .. } = &last.members[4];
        let port = mqtt.address(OtherPort::Mqtt, clients).unwrap().map(|at| at.port);
        assert_eq!(port, Some(65535));
    }

    #[test]
    fn links_join_members_once_and_one_side_dials() {
        for preset in &PRESETS {
            let herd = super::herd(preset, LOOPBACK, BASE_PORT);
            let mut ends = 0;
            for member in &herd.members {
                for peer in herd.neighbours(&member.name) {
                    ends += 1;
                    let back = herd.neighbours(&peer.name);
                    let back: Vec<_> = back.iter().filter(|p| p.name == member.name).collect();
                    assert_eq!(back.len(), 1, "{}: {}, {}", preset.year, member.name, peer.name);
                    assert_ne!(back[0].initiative, peer.initiative);
                    assert_eq!(peer.kind, LinkKind::Herd);
                }
            }
            assert_eq!(ends, 2 * preset.links.len(), "{}: a link to nobody", preset.year);
        }
        let bona = super::herd(of_year("2023").unwrap(), LOOPBACK, BASE_PORT).neighbours("Bona");
        let seen: Vec<_> = bona.iter().map(|peer| (peer.name.as_str(), peer.initiative)).collect();
        let expected = [
            ("Clark", Initiative::Theirs),
            ("Campbell", Initiative::Theirs),
            ("Bailey", Initiative::Ours),
        ];
        assert_eq!(seen, expected);
    }

    /// PROTOCOL 14.2.
    #[test]
    fn a_name_alone_finds_its_year() {
        let check = |name: &str, year: &str| {
            assert_eq!(with_server(Some(name)).unwrap().year, year, "{name}");
        };
        check("Jaquez", "2023");
        check("Bona", "2023");
        check("Juzang", "2022");
        check("Bernard", "2022");
        check("Riley", "2021");
        check("Hill", "2020");
        check("Goloman", "2018");
        check("Alford", "2017");
        check("Powell", "2015");
        check("Gasol", "2014");
        assert!(with_server(Some("Nobody")).is_err());
        assert_eq!(with_server(None).unwrap().year, "2023");
        assert_eq!(of_year("2019").unwrap().year, "2018");
        assert!(of_year("2016").unwrap_err().to_string().contains("2014, 2015, 2017"));
    }
}
