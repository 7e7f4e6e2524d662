//! Two reports of one client with the same time, and five servers that are to agree.

use std::io;

use fastrand::Rng;

use super::{Experiment, Findings, House};

pub const FIRST_SEEN: Experiment = Experiment {
    name: "first-seen",
    chapter: 10,
    title: "\"equal times: the first one heard stays\" splits a herd",
    about: "Each server hears one of the two reports first, and keeps it. Nobody is told again: \
            the other one is not newer. With a total order it does not matter which came first.",
    steps: "1,000 herds with the servers and links of 2023. A client says two reports with the \
            same time, to any two servers, within 5 ms; a hop takes 1 to 5 ms. When all is quiet: \
            how many herds hold two different reports?",
    house: "ties are broken by every other byte: `store::rank`. The planted bug `TiesByArrival` is \
            this one, in the real core.",
    run: first_seen,
};

/// Bailey, Bona, Campbell, Clark and Jaquez.
const LINKS: [(usize, usize); 6] = [(3, 4), (3, 1), (2, 0), (2, 1), (2, 4), (1, 0)];
const HERDS: u64 = 1_000;

/// What a server holds: the time of a report, and everything else that it says.
type Report = (u32, u32);

fn first_seen(found: &mut Findings, _: &House) -> io::Result<()> {
    let newer: fn(Report, Report) -> bool = |report, held| report.0 > held.0;
    let greater: fn(Report, Report) -> bool = |report, held| report > held;
    let split = |is_news| (0..HERDS).filter(|&seed| is_split(seed, is_news)).count();
    let (first, order) = (split(newer), split(greater));
    found.show("herds split, the first heard stays", "few", first);
    found.show("herds split, total order", 0, order);
    found.demand(first > 100, "hardly a herd was split");
    found.demand(order == 0, "a total order did not make them agree");
    Ok(())
}

/// Gives both reports to a herd, which floods them. Says whether it disagrees in the end.
fn is_split(seed: u64, is_news: fn(Report, Report) -> bool) -> bool {
    let mut rng = Rng::with_seed(seed);
    let mut held = [(0, 0); 5];
    // Reports on their way: when each arrives, in microseconds, where, and what it is.
    let mut mail = vec![(0, rng.usize(..5), (7, 1)), (rng.u32(..5_000), rng.usize(..5), (7, 2))];
    while let Some(next) = (0..mail.len()).min_by_key(|&at| mail[at].0) {
        let (now, server, report) = mail.swap_remove(next);
        if !is_news(report, held[server]) {
            continue;
        }
        held[server] = report;
        for (one, other) in LINKS {
            if one == server || other == server {
                let peer = one + other - server;
                mail.push((now + rng.u32(1_000..5_000), peer, report));
            }
        }
    }
    held.iter().any(|report| *report != held[0])
}
