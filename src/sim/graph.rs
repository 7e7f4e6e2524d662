//! Which servers of a simulated herd are joined. A herd's shape decides what can go wrong in it,
//! and what a report costs. Nothing here knows what is said on a link.

use std::collections::BTreeSet;
use std::fmt;

use fastrand::Rng;

use herd_core::presets::{PRESETS, Preset, SERVERS};

/// A herd's servers and links. The first-named server of a link dials.
#[derive(Clone, Debug)]
pub struct Graph {
    pub names: Vec<String>,
    pub links: Vec<(usize, usize)>,
}

/// What a graph of any size looks like.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    Preset(&'static Preset),
    /// Connected; of this mean degree, or of a random one.
    Random(Option<usize>),
    Ring,
    Star,
    Line,
    Mesh,
}

impl Shape {
    /// # Errors
    /// A message that says which shapes there are.
    pub fn parse(text: &str) -> Result<Shape, String> {
        let (word, detail) = text.split_once(':').unwrap_or((text, ""));
        let shape = match (word, detail) {
            ("preset", year) => {
                PRESETS.iter().find(|preset| preset.year == year).map(Shape::Preset)
            }
            ("random", "") => Some(Shape::Random(None)),
            ("random", degree) => {
                degree.parse().ok().filter(|&degree| degree > 1).map(|d| Shape::Random(Some(d)))
            }
            ("ring", "") => Some(Shape::Ring),
            ("star", "") => Some(Shape::Star),
            ("line", "") => Some(Shape::Line),
            ("mesh", "") => Some(Shape::Mesh),
            _ => None,
        };
        shape.ok_or_else(|| {
            "write preset:YEAR, random, random:DEGREE (2 or more), ring, star, line or mesh"
                .to_owned()
        })
    }

    /// A graph of this shape; a preset has its own number of servers.
    pub fn graph(self, servers: usize, random: &mut Rng) -> Graph {
        if let Shape::Preset(preset) = self {
            return Graph::of_preset(preset);
        }
        let chain = (1..servers).map(|at| (at - 1, at));
        let links = match self {
            Shape::Ring if servers > 2 => chain.chain([(servers - 1, 0)]).collect(),
            Shape::Ring | Shape::Line => chain.collect(),
            Shape::Star => (1..servers).map(|at| (0, at)).collect(),
            Shape::Mesh => (0..servers).flat_map(|a| (0..a).map(move |b| (b, a))).collect(),
            Shape::Random(degree) => random_links(servers, degree, random),
            Shape::Preset(_) => Vec::new(),
        };
        Graph { names: (0..servers).map(name).collect(), links }
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Shape::Preset(preset) => write!(f, "preset:{}", preset.year),
            Shape::Random(None) => write!(f, "random"),
            Shape::Random(Some(degree)) => write!(f, "random:{degree}"),
            Shape::Ring => write!(f, "ring"),
            Shape::Star => write!(f, "star"),
            Shape::Line => write!(f, "line"),
            Shape::Mesh => write!(f, "mesh"),
        }
    }
}

impl Graph {
    pub fn of_preset(preset: &Preset) -> Graph {
        let seat = |name: &str| preset.servers.iter().position(|&other| other == name);
        let ends = |&(dials, accepts): &(&str, &str)| Some((seat(dials)?, seat(accepts)?));
        Graph {
            names: preset.servers.iter().map(|&name| name.to_owned()).collect(),
            links: preset.links.iter().filter_map(ends).collect(),
        }
    }

    /// What a report costs where nothing goes wrong: 2E − N + 1 lines.
    pub fn lines_per_report(&self) -> usize {
        2 * self.links.len() + 1 - self.names.len()
    }

    /// The servers that this one is joined with, and whether it dials them.
    pub fn peers_of(&self, server: usize) -> Vec<(usize, bool)> {
        let far_end = |&(dials, accepts): &(usize, usize)| match server {
            _ if server == dials => Some((accepts, true)),
            _ if server == accepts => Some((dials, false)),
            _ => None,
        };
        self.links.iter().filter_map(far_end).collect()
    }
}

/// Names that differ at a glance, as long as there are any.
fn name(server: usize) -> String {
    let year = &PRESETS[(server / SERVERS) % PRESETS.len()];
    if server < 2 * SERVERS {
        // The first two years have no name in common.
        year.servers[server % SERVERS].to_owned()
    } else {
        format!("S{server}")
    }
}

/// A random tree, and then links between any two until there are enough. Bound: there are at most
/// as many links as pairs, and at most half of them are drawn at random.
fn random_links(servers: usize, degree: Option<usize>, random: &mut Rng) -> Vec<(usize, usize)> {
    let pairs = servers * (servers - 1) / 2;
    let wanted = match degree {
        Some(degree) => (servers * degree).div_ceil(2),
        None => servers - 1 + random.usize(0..=servers),
    };
    let wanted = wanted.clamp(servers - 1, pairs);
    let mut places: Vec<usize> = (0..servers).collect();
    random.shuffle(&mut places);
    let mut joined = BTreeSet::new();
    let mut links = Vec::new();
    for at in 1..servers {
        links.push((places[at], places[random.usize(0..at)]));
    }
    joined.extend(links.iter().map(|&(one, other)| (one.min(other), one.max(other))));
    let mut rest: Vec<(usize, usize)> = Vec::new();
    if wanted > pairs / 2 {
        rest = (0..servers).flat_map(|a| (0..a).map(move |b| (b, a))).collect();
        rest.retain(|pair| !joined.contains(pair));
        random.shuffle(&mut rest);
    }
    while links.len() < wanted {
        let drawn = (random.usize(0..servers), random.usize(0..servers));
        let (one, other) = rest.pop().unwrap_or(drawn);
        if one != other && joined.insert((one.min(other), one.max(other))) {
            links.push(if random.bool() { (one, other) } else { (other, one) });
        }
    }
    links
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether every server can be reached from the first.
    fn is_connected(graph: &Graph) -> bool {
        let (mut known, mut to_visit) = (BTreeSet::from([0]), vec![0]);
        while let Some(server) = to_visit.pop() {
            let peers = graph.peers_of(server).into_iter().map(|(peer, _)| peer);
            to_visit.extend(peers.filter(|&peer| known.insert(peer)));
        }
        known.len() == graph.names.len()
    }

    #[test]
    fn graphs_are_connected_and_have_their_links() {
        let mut random = Rng::with_seed(1);
        let mut check = |text: &str, servers: usize, links: std::ops::RangeInclusive<usize>| {
            let shape = Shape::parse(text).unwrap();
            assert_eq!(shape.to_string(), text);
            let graph = shape.graph(servers, &mut random);
            assert!(is_connected(&graph) && links.contains(&graph.links.len()), "{text} {graph:?}");
            let names: BTreeSet<_> = graph.names.iter().collect();
            assert_eq!(names.len(), graph.names.len());
        };
        check("preset:2023", 5, 6..=6);
        check("ring", 2, 1..=1);
        check("ring", 7, 7..=7);
        check("star", 7, 6..=6);
        check("line", 7, 6..=6);
        check("mesh", 7, 21..=21);
        check("random:6", 500, 1_500..=1_500);
        check("random:6", 5, 10..=10);
        for servers in 2..30 {
            check("random", servers, servers - 1..=2 * servers);
            check("random:3", servers, servers - 1..=2 * servers);
        }
        for bad in ["preset:1999", "random:1", "random:x", "ring:3", "cube", ""] {
            assert!(Shape::parse(bad).is_err(), "{bad}");
        }
    }
}
