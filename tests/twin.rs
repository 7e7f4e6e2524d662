//! The asyncio twin, `src/twin/herd_twin.py`: it follows the rules of the wire, and joins a herd of
//! ours as the course's servers do. Apart from `conformance` and `herd`, which must run where there
//! is no Python.

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use common::fake_places::FakePlaces;
use common::transcripts::TRANSCRIPTS;
use common::twin::{SOURCE, have_python};
use common::{Herd, PATIENCE, PLACELESS, skip, until};
use herd::config::presets::PRESETS;
use serde_json::Value;

/// Says whether a test must do without, and says so aloud.
fn lacks_python(test: &str) -> bool {
    let lacks = !have_python();
    if lacks {
        skip(&format!("{test} needs python3, 3.11 or later, which is missing here"));
    }
    lacks
}

fn source() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(SOURCE)).unwrap()
}

/// Transcripts that nobody with plain links on the client port can follow, with the reason.
const EXCEPT: &[(&str, &str)] = &[(
    "clients_cannot_speak_as_servers",
    "it has one port: whoever says AT there is a neighbour, as the course has it",
)];

fn say_transcripts(herd: &Herd) {
    for (name, transcript) in TRANSCRIPTS {
        if EXCEPT.iter().any(|(except, _)| except == name) {
            continue;
        }
        println!("{name}");
        transcript(herd);
    }
}

#[test]
fn the_twin_follows_the_rules() {
    if lacks_python("the_twin_follows_the_rules") {
        return;
    }
    say_transcripts(&Herd::of_twins("2023"));
}

/// Goal: both makes mean the same by every rule, also by the order of reports. Method: the same
/// transcripts at a herd of both, whose graph leads through both.
#[test]
fn both_makes_in_one_herd_follow_the_rules() {
    if lacks_python("both_makes_in_one_herd_follow_the_rules") {
        return;
    }
    say_transcripts(&both_makes());
}

/// The preset with Clark and Jaquez as twins.
fn both_makes() -> Herd {
    let mut herd = Herd::of_year("2023");
    for name in ["Clark", "Jaquez"] {
        herd.start_twin(name, &[]);
    }
    for (name, peer) in [("Bona", "Clark"), ("Campbell", "Jaquez")] {
        herd.start(name, &["--plain-peer", peer]);
    }
    herd.start_all(&[]);
    herd
}
