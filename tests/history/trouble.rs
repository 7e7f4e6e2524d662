//! What goes wrong, and how it is put right: servers are killed and stopped, links are severed and
//! worse. Apart because a seed decides all of it, and a life that went wrong must be told.

use std::collections::BTreeSet;
use std::thread;
use std::time::{Duration, Instant};

use fastrand::Rng;
use rustix::process::Signal;

use crate::common::Herd;
use crate::common::proxy::{Mood, Proxy, Way};
use crate::talker::Field;

/// At least three servers live and are awake: else nothing would happen.
const AWAY_MAX: usize = 2;

pub struct Trouble<'a> {
    herd: &'a mut Herd,
    /// With which servers are started.
    flags: &'a [&'a str],
    proxies: &'a [Proxy],
    field: &'a Field,
    random: Rng,
    begun: Instant,
    /// Mechanisms are left out in part of the seeds: one fault can hide what another would show.
    kills: bool,
    stops: bool,
    dead: BTreeSet<String>,
    stopped: BTreeSet<String>,
}

impl<'a> Trouble<'a> {
    pub fn new(
        herd: &'a mut Herd,
        flags: &'a [&'a str],
        proxies: &'a [Proxy],
        field: &'a Field,
        seed: u64,
    ) -> Trouble<'a> {
        Trouble {
            herd,
            flags,
            proxies,
            field,
            random: Rng::with_seed(seed),
            begun: Instant::now(),
            kills: seed % 3 != 1,
            stops: seed % 3 != 2,
            dead: BTreeSet::new(),
            stopped: BTreeSet::new(),
        }
    }

    pub fn make(&mut self, how_long: Duration) {
        while self.begun.elapsed() < how_long {
            thread::sleep(Duration::from_millis(self.random.u64(50..400)));
            match self.random.u8(..8) {
                0 if self.kills => self.kill(),
                1 if self.stops => self.stop(),
                2 => self.revive(),
                3 => self.wake(),
                _ => self.disturb(),
            }
        }
    }

    fn tell(&self, what: String) {
        println!("{:6} ms  {what}", self.begun.elapsed().as_millis());
    }

    /// Somebody who lives and is awake, if enough are.
    fn victim(&mut self) -> Option<String> {
        let is_away = |name: &&String| self.dead.contains(*name) || self.stopped.contains(*name);
        let away = self.herd.names.iter().filter(is_away).count();
        let here: Vec<&String> = self.herd.names.iter().filter(|name| !is_away(name)).collect();
        (away < AWAY_MAX).then(|| here[self.random.usize(..here.len())].clone())
    }

    fn kill(&mut self) {
        let Some(name) = self.victim() else { return };
        self.tell(format!("kill -9 {name}"));
        self.field.turns(&name);
        self.herd.kill(&name);
        self.dead.insert(name);
    }

    fn revive(&mut self) {
        let Some(name) = self.dead.pop_first() else { return };
        self.herd.start(&name, self.flags);
        self.field.turns(&name);
        self.tell(format!("{name} is back, and empty"));
    }

    fn stop(&mut self) {
        let Some(name) = self.victim() else { return };
        self.tell(format!("SIGSTOP {name}"));
        self.herd.signal(&name, Signal::STOP);
        self.stopped.insert(name);
    }

    fn wake(&mut self) {
        let Some(name) = self.stopped.pop_first() else { return };
        self.tell(format!("SIGCONT {name}"));
        self.herd.signal(&name, Signal::CONT);
    }

    /// Changes how a link does.
    fn disturb(&mut self) {
        let link = self.random.usize(..self.proxies.len());
        let proxy = &self.proxies[link];
        let mood = match self.random.u8(..9) {
            0 => Mood::Severed,
            1..3 => Mood::Hole,
            3 => Mood::Stall,
            4 => Mood::Delay(Duration::from_millis(self.random.u64(1..400))),
            5 => Mood::Drip,
            6 => Mood::Cut,
            _ => Mood::Pass,
        };
        let way = match self.random.u8(..4) {
            0 => Some(Way::There),
            1 => Some(Way::Back),
            _ => None,
        };
        let (dials, accepts) = &self.herd.links[link];
        let (from, to) = if way == Some(Way::Back) { (accepts, dials) } else { (dials, accepts) };
        let arrow = if way.is_some() { "->" } else { "--" };
        self.tell(format!("{from} {arrow} {to}: {mood:?}"));
        match way {
            Some(way) => proxy.set_one(way, mood),
            None => proxy.set(mood),
        }
    }

    /// Puts everything right. What was lost stays lost, and ends that do not know that the other
    /// is gone still do not know it.
    pub fn heal(mut self) {
        while !self.dead.is_empty() {
            self.revive();
        }
        while !self.stopped.is_empty() {
            self.wake();
        }
        self.proxies.iter().for_each(|proxy| proxy.set(Mood::Pass));
        self.tell("everything is well".into());
    }
}
