//! Five processes in the worst of worlds, and what their clients may believe all the same.
//!
//! Goal: whatever is killed, stopped, severed or lost, the herd keeps the promises of
//! `checker::Promise`. Method: clients talk to all servers at once and write down every request
//! and answer, while a seed decides what goes wrong; then everything is put right, all servers are
//! asked, and the checker, which knows nothing of what went wrong, looks at what was seen.
//!
//! ```sh
//! HERD_SEED=17 cargo test --test history      # the same trouble again
//! HERD_SEEDS=100 cargo test --test history    # twenty minutes of it
//! ```

mod checker;
#[path = "../common/mod.rs"]
mod common;
mod record;
mod refusals;
mod talker;
mod trouble;
mod wires;

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};
use std::{env, thread};

use common::{Client, Herd, TIMEOUT};
use herd::config::presets;
use record::History;
use talker::{CLIENTS, Field, Talker};
use trouble::Trouble;

/// One with every kind of trouble, one without deaths, one without pauses.
const SEEDS: Range<u64> = 0..3;
const TALKERS: u64 = 6;
const TROUBLE: Duration = Duration::from_secs(8);
/// A link that died without a word is noticed while the test still runs.
const SECTIONS: &str =
    "[limits]\nping_after = \"1 s\"\nsilence_max = \"3 s\"\nbackoff_max = \"200 ms\"\n";

#[test]
fn the_herd_keeps_its_promises() {
    let seeds = match (number("HERD_SEED"), number("HERD_SEEDS")) {
        (Some(seed), _) => seed..seed + 1,
        (None, seeds) => seeds.map_or(SEEDS, |seeds| 0..seeds),
    };
    for seed in seeds {
        println!("HERD_SEED={seed} cargo test --test history");
        let history = live(seed);
        let complaints = checker::check(&history);
        for complaint in complaints.iter().take(10) {
            println!("{:?}: {}", complaint.broken, complaint.seen);
        }
        assert!(complaints.is_empty(), "seed {seed}: {} complaints", complaints.len());
        check_eventful(&history);
    }
}

fn number(variable: &str) -> Option<u64> {
    let text = env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable}={text}: not a number")))
}

/// Closes the field even if what is between panics: else those who talk would never end.
struct Closing<'a>(&'a Field);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        self.0.close();
    }
}

fn live(seed: u64) -> History {
    let preset = presets::of_year("2023").unwrap();
    let (mut herd, proxies) = Herd::with_proxies(&preset.servers, preset.links, SECTIONS);
    herd.write_keys("herd.key", "a");
    // Sealed lines in every second life.
    let flags: &[&str] = if seed % 2 == 1 { &["--key-file", "herd.key"] } else { &[] };
    herd.start_all(flags);
    let names = herd.names.clone();
    let field = Field::new(names.iter().map(|name| (name.clone(), herd.port(name))));
    names.iter().for_each(|name| field.turns(name));

    let mut trouble = Trouble::new(&mut herd, flags, &proxies, &field, seed);
    let mut history = History::default();
    thread::scope(|scope| {
        let closing = Closing(&field);
        let talkers = (0..TALKERS).map(|number| {
            let talker = Talker::new(&field, seed * TALKERS + number);
            scope.spawn(move || talker.talk())
        });
        let talkers: Vec<_> = talkers.collect();
        trouble.make(TROUBLE);
        drop(closing);
        for talker in talkers {
            history.connections.extend(talker.join().unwrap());
        }
    });
    trouble.heal();
    history.alive = names.iter().map(|name| field.life(name)).collect();
    history.healed = healed(&herd);
    history
}

/// Asks all servers until they agree. If they do not, the checker will say so.
fn healed(herd: &Herd) -> BTreeMap<String, BTreeMap<String, String>> {
    let begun = Instant::now();
    loop {
        let held = |name: &String| (name.clone(), all_held(&mut herd.connect(name)));
        let healed: BTreeMap<_, _> = herd.names.iter().map(held).collect();
        let mut stores = healed.values();
        let first = stores.next();
        if stores.all(|store| Some(store) == first) || begun.elapsed() > TIMEOUT {
            println!("agreed after {} ms", begun.elapsed().as_millis());
            return healed;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn all_held(client: &mut Client) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    for name in CLIENTS {
        let line = client.ask(&format!("WHATSAT {name} 0 0"));
        if !line.starts_with('?') {
            client.through(b"\n\n");
            all.insert(name.to_owned(), line);
        }
    }
    all
}

/// Demands that there was something to check.
fn check_eventful(history: &History) {
    let exchanges = history.connections.iter().flat_map(|connection| &connection.exchanges);
    let (answered, silent): (Vec<_>, Vec<_>) =
        exchanges.partition(|exchange| exchange.answer.is_some());
    let reports = answered.iter().filter(|exchange| exchange.is_report()).count();
    println!("{} answers, {reports} of them to reports; {} silences", answered.len(), silent.len());
    assert!(reports > 100 && answered.len() - reports > 100);
    let first = &history.healed.values().next().map(BTreeMap::len);
    assert_eq!(*first, Some(CLIENTS.len()), "everybody is known in the end");
}
