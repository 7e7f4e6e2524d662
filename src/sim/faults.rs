//! What can go wrong in a simulated herd, by name. People choose from it (`herd sim --faults
//! crash,stall`); `scenario` and `world` decide when each happens, and to which server.

use std::fmt;

/// One kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Fault {
    /// A process is killed: its far ends learn of it. It comes back empty, or with its journal.
    Crash = 1,
    /// A machine loses power: its far ends learn nothing. It comes back empty, or with what of its
    /// journal the disk has got.
    Power = 1 << 1,
    /// A server is stopped in an orderly way, and started again.
    Leave = 1 << 2,
    /// A link breaks, and both ends notice; dials may be refused for a while.
    Reset = 1 << 3,
    /// A link carries nothing any more; its ends notice late, or never by themselves.
    Silence = 1 << 4,
    /// The same in one direction only.
    Deaf = 1 << 5,
    /// A link carries nothing for a while, then goes on.
    Stall = 1 << 6,
    /// A server's clock is set forward or back.
    Clock = 1 << 7,
    /// Bytes come in random pieces.
    Pieces = 1 << 8,
    /// Pipes are small, as if their readers were slow.
    Reader = 1 << 9,
    /// Some links are slow.
    Slow = 1 << 10,
    /// Dials are refused now and then.
    Refusal = 1 << 11,
    /// A stranger repeats, byte for byte, what a server has said when it dialled.
    Replay = 1 << 12,
    /// A stranger greets as if it were a server, or answers a dial in its place.
    Forge = 1 << 13,
    /// An attacker on the way changes what a link carries.
    Meddle = 1 << 14,
    /// Disks are full, fail, lie, go bad or are stuck for seconds.
    Disk = 1 << 15,
    /// A server reads its configuration again: bounds and keys are others, or a link is gone for a
    /// while.
    Reload = 1 << 16,
    /// A node of the engine dies, and comes back.
    NodeCrash = 1 << 17,
    /// All nodes do, at once.
    EngineAway = 1 << 18,
    /// Two nodes lose what they tell each other, for a while, and nobody is told.
    RouteCut = 1 << 19,
    /// A node cuts a server off, and loses what it had for it.
    SlowConsumer = 1 << 20,
    /// A node lets nobody publish, for a while.
    Denied = 1 << 21,
    /// A node says that it is about to end.
    LameDuck = 1 << 22,
    /// Nodes learn late who wants to hear what.
    LateInterest = 1 << 23,
    /// Another client of the engine repeats and forges what servers say.
    Tenant = 1 << 24,
}

const ALL: [(Fault, &str); 25] = [
    (Fault::Crash, "crash"),
    (Fault::Power, "power"),
    (Fault::Leave, "leave"),
    (Fault::Reset, "reset"),
    (Fault::Silence, "silence"),
    (Fault::Deaf, "deaf"),
    (Fault::Stall, "stall"),
    (Fault::Clock, "clock"),
    (Fault::Pieces, "pieces"),
    (Fault::Reader, "reader"),
    (Fault::Slow, "slow"),
    (Fault::Refusal, "refusal"),
    (Fault::Replay, "replay"),
    (Fault::Forge, "forge"),
    (Fault::Meddle, "meddle"),
    (Fault::Disk, "disk"),
    (Fault::Reload, "reload"),
    (Fault::NodeCrash, "node-crash"),
    (Fault::EngineAway, "engine-away"),
    (Fault::RouteCut, "route-cut"),
    (Fault::SlowConsumer, "slow-consumer"),
    (Fault::Denied, "denied"),
    (Fault::LameDuck, "lame-duck"),
    (Fault::LateInterest, "late-interest"),
    (Fault::Tenant, "tenant"),
];

/// A set of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Faults(u32);

impl Faults {
    pub const NONE: Faults = Faults(0);
    /// Those that happen at a moment; the others are how the world is.
    pub const EVENTS: Faults = Faults(0x017f_70ff);
    /// Those that only a herd with keys can withstand.
    pub const ON_THE_WIRE: Faults = Faults(0x5000);
    /// Those that a herd with links cannot meet.
    pub const OF_ENGINE: Faults = Faults(0x01fe_0000);
    /// Those after which all servers come to the engine again, or none.
    pub const OF_ONE_NODE: Faults = Faults(0x1660940);
    /// Those that an attacker on a link would need.
    pub const OF_LINKS: Faults = Faults(0x7000);
    /// Those that a single server can meet.
    pub const OF_ONE: Faults = Faults(0x1_8787);

    pub fn of(faults: &[Fault]) -> Faults {
        Faults(faults.iter().fold(0, |set, &fault| set | fault as u32))
    }

    /// Each of those that any herd can meet with even odds, but `Reload`.
    pub fn some(random: &mut fastrand::Rng) -> Faults {
        Faults(u32::from(random.u16(..)))
    }

    /// Each of those that a herd on an engine can meet with even odds.
    pub fn some_of_engine(random: &mut fastrand::Rng) -> Faults {
        Faults(random.u32(..) & 0x01fe_ffff).without(Faults::OF_LINKS)
    }

    /// # Errors
    /// A message that says which there are.
    pub fn parse(text: &str) -> Result<Faults, String> {
        if text == "none" {
            return Ok(Faults::NONE);
        }
        text.split(',').try_fold(Faults::NONE, |set, word| {
            let found = ALL.iter().find(|(_, name)| *name == word);
            let (fault, _) = found.ok_or_else(|| {
                let names: Vec<&str> = ALL.iter().map(|(_, name)| *name).collect();
                format!("`{word}` is no fault: write none, or some of {}", names.join(","))
            })?;
            Ok(Faults(set.0 | *fault as u32))
        })
    }

    pub fn has(self, fault: Fault) -> bool {
        self.0 & fault as u32 != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn and(self, other: Faults) -> Faults {
        Faults(self.0 & other.0)
    }

    pub fn with(self, fault: Fault) -> Faults {
        Faults(self.0 | fault as u32)
    }

    pub fn without(self, other: Faults) -> Faults {
        Faults(self.0 & !other.0)
    }

    pub fn list(self) -> impl Iterator<Item = Fault> {
        ALL.into_iter().map(|(fault, _)| fault).filter(move |&fault| self.has(fault))
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = ALL.iter().filter(|(fault, _)| self.has(*fault)).map(|(_, name)| *name);
        let names: Vec<&str> = names.collect();
        f.write_str(if names.is_empty() { "none".to_owned() } else { names.join(",") }.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_are_read_as_they_are_written() {
        let check = |text: &str, expected: Faults| {
            assert_eq!(Faults::parse(text), Ok(expected), "{text}");
            assert_eq!(expected.to_string(), text);
        };
        check("none", Faults::NONE);
        check("crash,stall", Faults::of(&[Fault::Crash, Fault::Stall]));
        let all: Vec<Fault> = ALL.iter().map(|(fault, _)| *fault).collect();
        check(&Faults::of(&all).to_string(), Faults::of(&all));
        assert!(Faults::parse("crash,").is_err() && Faults::parse("fire").is_err());
        assert_eq!(Faults::of(&all).and(Faults::EVENTS).list().count(), 19);
    }
}
