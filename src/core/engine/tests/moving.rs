//! Parts that move: what a server goes on holding, until when, and what it asks for.

use super::*;

impl Jar {
    /// Of three servers, each holds what the others do not; all have answered, and Anna has all.
    fn at_rest() -> Jar {
        let mut jar = Jar::met();
        jar.others_answer();
        jar.pass(Duration::from_millis(500));
        jar.others_answer();
        jar
    }

    /// Both others have sent what Anna has asked for last.
    fn others_answer(&mut self) {
        for name in ["Bert", "Cleo"] {
            let last = self
                .said_to(name)
                .iter()
                .filter_map(|it| it.strip_prefix("EVEN? ")?.parse().ok())
                .next_back();
            let number: u32 = last.unwrap();
            self.hear(name, "s.Anna", &format!("EVEN {number}"));
        }
    }

    /// The lines that were said to one server alone.
    fn said_to(&self, name: &str) -> Vec<String> {
        let said = String::from_utf8_lossy(&self.said).into_owned();
        let subject = format!("s.{name} ");
        let batches = said.split("PUB herd.test.").filter(|it| it.starts_with(&subject));
        batches.flat_map(str::lines).map(str::to_owned).collect()
    }

    /// A reload says that these servers hold all, one each part.
    fn divide_among(&mut self, names: &[&str]) -> Parts {
        let names = Vec::from_iter(names.iter().map(|name| name.as_bytes().to_vec()));
        let parts = Parts::divided(32, 1, &names).unwrap();
        let mut settings = self.server.settings().clone();
        settings.engine.as_mut().unwrap().parts = parts.clone();
        self.said.clear();
        self.tell(Input::Changed { settings: &settings });
        parts
    }

    fn moving(&self) -> usize {
        self.server.engine().unwrap().parts_moving
    }
}

fn numbers(parts: &[Part]) -> String {
    Vec::from_iter(parts.iter().map(Part::to_string)).join(" ")
}

/// Goal: what others are to hold is held, and answered about, until those who are to hold it say
/// that they do, that they have all, and that nothing of ours is missing. PROTOCOL 15.18.
#[test]
fn a_part_is_held_until_its_next_holder_has_it() {
    let mut jar = Jar::at_rest();
    let ours = jar.server.settings().engine.as_ref().unwrap().parts.held_by(b"Anna");
    let parts = jar.divide_among(&["Bert", "Cleo"]);
    let (berts, cleos): (Vec<Part>, Vec<Part>) =
        ours.iter().partition(|part| parts.is_holder(b"Bert", **part));
    assert!(!berts.is_empty() && !cleos.is_empty());
    assert_eq!(jar.moving(), ours.len());
    assert!(jar.said_to("Bert").contains(&format!("HOLDS {}", numbers(&ours))));
    jar.others_answer();
    jar.pass(Duration::from_millis(500));
    jar.others_answer();
    jar.pass(Duration::ZERO);
    assert!(jar.said_to("Bert").contains(&format!("TAKE? {}", numbers(&berts))));
    assert!(jar.said_to("Cleo").contains(&format!("TAKE? {}", numbers(&cleos))));

    let holds = format!("HOLDS {}", numbers(&parts.held_by(b"Bert")));
    let complete: String = berts.iter().map(|part| format!(" {part} 0000000000000000+")).collect();
    // Each of the three is wanted.
    for said in [&holds[..], "TAKEN", &format!("PARTS{complete}")] {
        jar.hear("Bert", "s.Anna", said);
        assert_eq!(jar.moving(), ours.len());
        assert!(jar.server.is_complete(berts[0]), "Anna answers about it all the while");
        jar.node(b"PONG\r\n");
        jar.said.clear();
        jar.pass(Duration::from_secs(2));
    }
    assert_eq!(jar.moving(), cleos.len());
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    for part in &berts {
        assert!(said.contains(&format!("UNSUB {}\r\n", part + 1)), "{said}");
        assert!(said.contains(&format!("UNSUB {}\r\n", part + 4_000)), "{said}");
    }
    assert!(!jar.server.is_complete(berts[0]) && jar.server.is_complete(cleos[0]));

    // Anna has published nothing; but who holds these parts and starts again has to ask.
    jar.hear("Bert", "s.Anna", "PARTS?");
    let told: String = berts.iter().map(|part| format!(" {part} 1")).collect();
    assert!(jar.said_to("Bert").contains(&format!("TOLD{told}")));
}

/// Goal: a server that is to hold more hears it from then on, asks everybody, and has all only when
/// they have answered; who held it before learns when that is. PROTOCOL 15.18.
#[test]
fn who_is_to_hold_a_part_asks_for_it() {
    let mut jar = Jar::at_rest();
    let before = jar.server.settings().engine.as_ref().unwrap().parts.held_by(b"Anna");
    let parts = jar.divide_among(&["Anna"]);
    let gained = parts.all().filter(|part| !before.contains(part));
    let gained = Vec::from_iter(gained);
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    for part in parts.all() {
        let is_new = gained.contains(&part);
        let sub = format!("SUB herd.test.r.{part} {}\r\n", part + 1);
        assert_eq!(said.contains(&sub), is_new, "{part}: {said}");
        assert_ne!(jar.server.is_complete(part), is_new);
    }
    assert_eq!(jar.moving(), 0);
    jar.hear("Bert", "s.Anna", &format!("TAKE? {}", gained[0]));
    jar.others_answer();
    let asked = format!("PARTS? {} 0000000000000000", numbers(&gained[..1]));
    assert!(jar.said_to("Bert").iter().any(|line| line.contains(&asked[7..])), "{said}");
    let has_taken = |jar: &Jar| jar.said_to("Bert").iter().any(|line| line == "TAKEN");
    assert!(has_taken(&jar));
    jar.pass(Duration::from_millis(500));
    assert!(!jar.server.is_complete(gained[0]));
    jar.others_answer();
    assert!(jar.server.is_complete(gained[0]));
}
