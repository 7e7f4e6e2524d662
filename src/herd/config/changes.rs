//! What a reload changes: the configuration as it was read, compared with how it was read before.
//!
//! What runs is never compared: a reading that is the same twice changes nothing, whatever has
//! become of the server meanwhile. What a change is for comes from the declaration of its knob
//! ([`Effect`]), here and nowhere else.

use std::fmt;
use std::net::SocketAddr;

use super::engine::Engine;
use super::knob::{Effect, Knob};
use super::rules::broken_rule;
use super::settings::knobs;
use super::{Config, ConfigError, LinkKind, OnEngine, PeerTls, Settings, TlsDoor};

/// The configuration of a server as files, variables and flags say it at one time.
#[derive(Clone, Debug)]
pub struct Parsed {
    pub config: Config,
    pub settings: Settings,
}

/// How two readings differ, by the names of what an operator has written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    pub live: Vec<&'static str>,
    pub new_connections: Vec<&'static str>,
    pub restart: Vec<&'static str>,
}

impl Changes {
    pub fn between(old: &Parsed, new: &Parsed) -> Changes {
        let mut changes = Changes::default();
        for knob in knobs() {
            if !knob.is_same(&old.settings, &new.settings) || has_other_content(knob, old, new) {
                changes.add(knob.name, effect(knob, old, new));
            }
        }
        let (old, new) = (&old.config, &new.config);
        let graph = [
            ("herd", old.herd != new.herd, Effect::Restart),
            ("clients", old.client_address != new.client_address, Effect::Restart),
            ("peers", old.peer_address != new.peer_address, Effect::Restart),
            ("tls_clients", tls_address(old) != tls_address(new), Effect::Restart),
            ("web", old.web != new.web, Effect::Restart),
            ("operators", old.operators != new.operators, Effect::Restart),
            ("mqtt", old.mqtt != new.mqtt, Effect::Restart),
            ("servers", old.servers != new.servers, effect_of_servers(old, new)),
            ("holds", has_other_holders(old, new), effect_of_servers(old, new)),
            ("region", has_other_regions(old, new), Effect::Restart),
            ("links", has_other_links(old, new), Effect::Live),
        ];
        for (name, is_other, effect) in graph {
            if is_other {
                changes.add(name, effect);
            }
        }
        changes
    }

    fn add(&mut self, name: &'static str, effect: Effect) {
        match effect {
            Effect::Live => self.live.push(name),
            Effect::NewConnections => self.new_connections.push(name),
            Effect::Restart => self.restart.push(name),
        }
    }

    pub fn is_empty(&self) -> bool {
        *self == Changes::default()
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("nothing has changed");
        }
        let parts = [
            ("in force", &self.live),
            ("in force for new connections", &self.new_connections),
            ("for a restart", &self.restart),
        ];
        let parts = parts.iter().filter(|(_, names)| !names.is_empty());
        for (number, (what, names)) in parts.enumerate() {
            let before = if number == 0 { "" } else { "; " };
            write!(f, "{before}{what}: {}", names.join(", "))?;
        }
        Ok(())
    }
}

/// Files of keys may say something else though their names are the same.
fn has_other_content(knob: &Knob, old: &Parsed, new: &Parsed) -> bool {
    match knob.name {
        "key_file" => old.config.keys != new.config.keys,
        "access" => old.config.access != new.config.access,
        "places.key_file" => old.config.places.key != new.config.places.key,
        _ => false,
    }
}

/// A herd that gets its first key, or gives up its last, is another herd to all its peers; and what
/// says who holds what may have to wait with what else does.
fn effect(knob: &Knob, old: &Parsed, new: &Parsed) -> Effect {
    let has_key = |parsed: &Parsed| !parsed.config.keys.is_empty();
    if knob.name == "key_file" && has_key(old) != has_key(new) {
        return Effect::Restart;
    }
    // It says who holds what, as the servers do.
    if knob.name == "engine.copies" && stays_as_it_is(&old.config, &new.config) {
        return Effect::Restart;
    }
    knob.effect
}

/// Where an engine comes or goes, so do links, with the restart that it wants.
fn has_other_links(old: &Config, new: &Config) -> bool {
    let links = |config: &Config| {
        let links = config.peers.iter().filter(|peer| peer.kind != LinkKind::Engine);
        links.cloned().collect::<Vec<_>>()
    };
    old.engine.is_on() == new.engine.is_on() && links(old) != links(new)
}

/// Where clients are divided, one server more or less means that others hold other parts: those
/// move.
fn effect_of_servers(old: &Config, new: &Config) -> Effect {
    if stays_as_it_is(old, new) { Effect::Restart } else { Effect::Live }
}

/// Who is in which region, and how clients are divided, is the same as long as a server runs; and
/// what servers there are, where it is said by that.
fn stays_as_it_is(old: &Config, new: &Config) -> bool {
    let counts = |config: &Config| config.on_engine.parts.count();
    let has_regions = |config: &Config| config.on_engine.regions.own.is_some();
    has_regions(old) || has_regions(new) || old.engine.is_on() && counts(old) != counts(new)
}

/// Whether somebody is in another region, and not because there are other servers.
fn has_other_regions(old: &Config, new: &Config) -> bool {
    old.servers == new.servers && old.on_engine.regions != new.on_engine.regions
}

/// Whether somebody holds other parts, and nothing else that was written says why.
fn has_other_holders(old: &Config, new: &Config) -> bool {
    let divided = |config: &Config| (config.engine.parts, config.engine.copies);
    let is_said = old.servers != new.servers || divided(old) != divided(new);
    !is_said && old.on_engine.parts != new.on_engine.parts
}

fn tls_address(config: &Config) -> Option<SocketAddr> {
    config.tls.as_ref().and_then(|door| door.address)
}

impl Parsed {
    /// What runs after this was read, where `running` has run before.
    ///
    /// # Errors
    /// A rule that limits owe each other is broken as long as the server is not started again.
    pub fn beside(self, running: &Parsed) -> Result<Parsed, ConfigError> {
        let Parsed { config: new, mut settings } = self;
        let old = &running.config;
        for knob in knobs().filter(|knob| knob.effect == Effect::Restart) {
            knob.copy(&running.settings, &mut settings);
        }
        if let Some(rule) = broken_rule(&settings) {
            return Err(ConfigError::new(format!(
                "with what only a restart changes, {rule}: restart the server instead"
            )));
        }
        let stays = stays_as_it_is(old, &new);
        let may_change_keys = new.keys.is_empty() == old.keys.is_empty();
        let keys = if may_change_keys { new.keys } else { old.keys.clone() };
        let tls = match (&old.tls, new.tls.clone()) {
            (Some(old), Some(new)) => Some(TlsDoor { address: old.address, web: old.web, ..new }),
            (old, _) => old.clone(),
        };
        let tls_peers = if keys.is_empty() { PeerTls::Off } else { new.tls_peers };
        // An engine stays as it is, and where one comes or goes, so do links.
        let peers = match (old.engine.is_on(), new.engine.is_on()) {
            (false, false) => new.peers.clone(),
            (true, true) => {
                let plain = new.peers.iter().filter(|peer| peer.kind != LinkKind::Engine);
                let engine = old.peers.iter().filter(|peer| peer.kind == LinkKind::Engine);
                plain.chain(engine).cloned().collect()
            }
            _ => old.peers.clone(),
        };
        let (on_engine, servers, copies) = if stays {
            (old.on_engine.clone(), old.servers.clone(), old.engine.copies)
        } else {
            let login = old.on_engine.login.clone();
            let mut on_engine = OnEngine { login, ..new.on_engine };
            // What an engine that comes will carry waits for a restart, as it does.
            if !old.engine.is_on() {
                on_engine.parts.clone_from(&old.on_engine.parts);
            }
            (on_engine, new.servers.clone(), new.engine.copies)
        };
        settings.engine.copies = copies;
        let config = Config {
            peers,
            engine: Engine { copies, ..old.engine.clone() },
            on_engine,
            servers,
            tls,
            tls_peers,
            herd: old.herd.clone(),
            client_address: old.client_address,
            peer_address: old.peer_address,
            web: old.web,
            operators: old.operators,
            mqtt: old.mqtt,
            http_hosts: old.http_hosts.clone(),
            keys,
            answers: settings.answers.clone(),
            limits: settings.limits.clone(),
            log: settings.log.clone(),
            journal: settings.journal.clone(),
            nearby: old.nearby.clone(),
            trace: old.trace.clone(),
            run_dir: settings.run_dir.clone(),
            run_dir_mode: settings.run_dir_mode,
            ..new
        };
        Ok(Parsed { config, settings })
    }
}
