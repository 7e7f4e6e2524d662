//! A server of a herd that has regions: what it tells others, and what it asks them.

use super::*;
use crate::engine::Region;

const EVERY: Duration = Duration::from_secs(320);

impl Jar {
    /// Anna, who is in the region eu with Bert; Cleo and Dora are in us, Eve is in asia.
    fn in_eu() -> Jar {
        Jar::in_eu_with(EVERY, 1024 * 1024)
    }

    /// The same, with so long a round, and so much that the node may be owed.
    fn in_eu_with(tell_every: Duration, owed_max: usize) -> Jar {
        let region = |name: &str, servers: &[&str]| {
            let servers = servers.iter().map(|name| name.as_bytes().to_vec()).collect();
            Region { name: name.as_bytes().to_vec(), servers }
        };
        Jar::with(EngineSettings {
            region: Some(b"eu".to_vec()),
            regions: vec![region("us", &["Cleo", "Dora"]), region("asia", &["Eve"])],
            tell_every,
            owed_max,
            ..EngineSettings::new(vec![b"Bert".to_vec()])
        })
    }

    /// The lines that were published on a subject of the herd since this was last asked, without
    /// their skews.
    fn said_on(&mut self, subject: &str) -> Vec<String> {
        let said = String::from_utf8(std::mem::take(&mut self.said)).unwrap();
        let (mut lines, mut is_there) = (Vec::new(), false);
        for line in said.lines() {
            if let Some(published) = line.strip_prefix("PUB ") {
                is_there = published.split(' ').next() == Some(&format!("herd.test.{subject}"));
            } else if is_there && line.starts_with(|first: char| first.is_ascii_uppercase()) {
                lines.push(line.to_owned());
            }
        }
        lines.iter().filter(|line| line.starts_with("AT ")).map(|line| without_skew(line)).collect()
    }

    /// Where a client was asked for last, within the herd, and the question's nonce.
    fn asked_at(&mut self, client: &str) -> Option<(String, String)> {
        let said = String::from_utf8(std::mem::take(&mut self.said)).unwrap();
        let lines = Vec::from_iter(said.lines());
        let at = lines.iter().rposition(|line| line.starts_with("ASK "))?;
        let nonce = lines[at].strip_suffix(client)?[4..].trim().to_owned();
        let subject = lines[at - 2].split(' ').nth(1)?;
        Some((subject.strip_prefix("herd.test.")?.to_owned(), nonce))
    }

    /// The region whose group was asked last, and the question's nonce.
    fn asked_of(&mut self, client: &str) -> Option<(String, String)> {
        let (subject, nonce) = self.asked_at(client)?;
        Some((subject.strip_suffix(".q.0")?.to_owned(), nonce))
    }

    fn nobody_there(&mut self, nonce: &str) {
        let head = format!("HMSG herd.test.eu.s.Anna.{nonce} 3000 16 16\r\n");
        self.node(format!("{head}NATS/1.0 503\r\n\r\n\r\n").as_bytes());
    }
}

fn without_skew(line: &str) -> String {
    let mut words = Vec::from_iter(line.split(' '));
    words.remove(2);
    words.join(" ")
}

/// Goal: news of a region stays there; others hear once that a client is here, again when it has
/// been elsewhere, and that it is forgotten. PROTOCOL 15.15, 15.16.
#[test]
fn others_hear_where_a_client_is() {
    let mut jar = Jar::in_eu();
    jar.let_in();
    let said = String::from_utf8(std::mem::take(&mut jar.said)).unwrap();
    for subject in ["eu.r.0 ", "eu.s.Anna ", "x.* "] {
        assert!(said.contains(&format!("SUB herd.test.{subject}")), "{said}");
    }
    let first = "IAMAT kiwi +1-1 50\n";
    jar.client(first);
    assert_eq!(jar.said_on("x.0"), ["AT Anna kiwi +1-1 50"]);
    jar.node(b"PONG\r\n");
    jar.client("IAMAT kiwi +1-1 51\nIAMAT plum +1-1 51\n");
    assert_eq!(jar.said_on("x.0"), ["AT Anna plum +1-1 51"]);
    jar.client("IAMAT kiwi +1-1 52\n");
    assert_eq!(jar.said_on("eu.r.0"), ["AT Anna kiwi +1-1 52"]);

    jar.hear("Cleo", "x.0", "AT Cleo +1 kiwi +2-2 53");
    jar.client("IAMAT kiwi +1-1 54\nIAMAT kiwi +1-1 55\n");
    assert_eq!(jar.said_on("x.0"), ["AT Anna kiwi +1-1 54"]);
    // What has come too late is not where it is.
    jar.hear("Cleo", "x.0", "AT Cleo +1 kiwi +2-2 53");
    jar.client("IAMAT kiwi +1-1 56\n");
    assert_eq!(jar.said_on("x.0"), [""; 0]);
    jar.tell(Input::Erase { client: b"kiwi" });
    let erased = jar.said_on("x.0");
    assert!(erased.len() == 1 && erased[0].starts_with("AT Anna kiwi "), "{erased:?}");
}

/// Goal: what was lost on the way is told in the next round, and so is what came while there was no
/// engine; what others have said is not. PROTOCOL 15.16.
#[test]
fn all_is_told_again_in_each_round() {
    let mut jar = Jar::in_eu();
    jar.client("IAMAT kiwi +1-1 50\n");
    jar.let_in();
    assert_eq!(jar.said_on("x.0"), ["AT Anna kiwi +1-1 50"]);
    jar.hear("Bert", "eu.r.0", "AT Bert +1 plum +1-1 50");
    jar.hear("Cleo", "x.0", "AT Cleo +1 fig +1-1 50");
    let mut told = Vec::new();
    for _ in 0..32 {
        // The node has read all.
        jar.node(b"PONG\r\nPONG\r\n");
        jar.pass(EVERY / 32);
        told.extend(jar.said_on("x.0"));
    }
    assert_eq!(told, ["AT Anna kiwi +1-1 50"]);
}

/// Goal: where a node reads less than other regions are to be told, a server of our own region is
/// sent what it has missed all the same.
#[test]
fn other_regions_leave_room() {
    let step = Duration::from_secs(1);
    let mut jar = Jar::in_eu_with(32 * step, 8 * 1024);
    jar.let_in();
    jar.report(0..6_000, 7);
    while jar.server.engine().unwrap().leaves_missed > 0 {
        jar.node(b"PONG\r\n");
    }
    jar.hear("Bert", "eu.s.Anna", "ROOT 0 0000000000000000");
    let (mut told, mut sent) = (0, 0);
    for _ in 0..40 {
        jar.pass(step);
        jar.node(b"PONG\r\n");
        let said = String::from_utf8(std::mem::take(&mut jar.said)).unwrap();
        for batch in said.split("PUB herd.test.").skip(1) {
            let lines = batch.matches("\nAT Anna ").count();
            told += if batch.starts_with("x.0 ") { lines } else { 0 };
            sent += if batch.starts_with("eu.s.Bert ") { lines } else { 0 };
        }
    }
    assert!(told > 300 && sent > 300, "{told} to other regions, {sent} to Bert");
}

/// Goal: about a client that was last in another region, that one is asked, and answers for it; if
/// it does not, what is known here is told. PROTOCOL 15.17.
#[test]
fn the_region_of_a_client_is_asked() {
    let mut jar = Jar::in_eu();
    jar.let_in();
    jar.hear("Cleo", "x.0", "AT Cleo +1 kiwi +2-2 50");
    let ask = "WHATSAT kiwi 1 2\n";
    jar.client(ask);
    let (region, nonce) = jar.asked_of("kiwi").unwrap();
    assert_eq!(region, "us");
    jar.hear("Dora", "eu.s.Anna", &format!("FOUND {nonce} AT Dora +1 kiwi +3-3 60"));
    assert_eq!(jar.answers(), "AT Dora +1 kiwi +3-3 60\n{}\n\n");

    // It has gone on meanwhile, and its region says where.
    jar.client(ask);
    let (_, nonce) = jar.asked_of("kiwi").unwrap();
    jar.hear("Cleo", "eu.s.Anna", &format!("FOUND {nonce} AT Eve +1 kiwi +4-4 70"));
    let (region, nonce) = jar.asked_of("kiwi").unwrap();
    assert_eq!(region, "asia");
    jar.nobody_there(&nonce);
    let (subject, nonce) = jar.asked_at("kiwi").unwrap();
    assert_eq!(subject, "asia.q");
    jar.nobody_there(&nonce);
    assert_eq!(jar.answers(), "AT Eve +1 kiwi +4-4 70\n{}\n\n");

    // It is here again, so nobody is asked.
    jar.client("IAMAT kiwi +1-1 80\nWHATSAT kiwi 1 2\n");
    assert!(jar.answers().contains("{}"), "at once");
    assert_eq!(jar.server.engine().unwrap().questions.abroad, 3);
}

/// Goal: if nobody in another region is sure to know all, as soon after it has started, or if who
/// was chosen stands still, all servers there are asked, and the newest of what they say is the
/// answer. PROTOCOL 15.17.
#[test]
fn all_servers_of_a_region_are_asked() {
    let mut jar = Jar::in_eu();
    jar.let_in();
    jar.hear("Cleo", "x.0", "AT Cleo +1 kiwi +2-2 50");
    let ask = "WHATSAT kiwi 1 2\n";
    jar.client(ask);
    let (_, nonce) = jar.asked_of("kiwi").unwrap();
    jar.nobody_there(&nonce);
    let (subject, nonce) = jar.asked_at("kiwi").unwrap();
    assert_eq!(subject, "us.q");
    // Each is waited for, once.
    for _ in 0..2 {
        jar.hear("Dora", "eu.s.Anna", &format!("COPY {nonce} AT Cleo +1 kiwi +3-3 60"));
        assert_eq!(jar.answers(), "");
    }
    jar.hear("Cleo", "eu.s.Anna", &format!("COPY {nonce} AT Cleo +1 kiwi +4-4 70"));
    assert_eq!(jar.answers(), "AT Cleo +1 kiwi +4-4 70\n{}\n\n");

    // Who has just left the group, and those who do not answer in time.
    let copy = |nonce| format!("COPY {nonce} AT Dora +1 kiwi +5-5 80");
    for has_answered in [true, false] {
        jar.client(ask);
        let (_, nonce) = jar.asked_of("kiwi").unwrap();
        match has_answered {
            true => jar.hear("Dora", "eu.s.Anna", &copy(nonce)),
            false => jar.pass(Duration::from_millis(500)),
        }
        let (subject, nonce) = jar.asked_at("kiwi").unwrap();
        assert_eq!(subject, "us.q");
        jar.hear("Dora", "eu.s.Anna", &copy(nonce));
        assert_eq!(jar.answers(), "");
        jar.pass(Duration::from_millis(500));
        assert_eq!(jar.answers(), "AT Dora +1 kiwi +5-5 80\n{}\n\n");
    }

    // What comes meanwhile counts.
    jar.client(ask);
    jar.hear("Bert", "eu.r.0", "AT Bert +1 kiwi +7-7 85");
    jar.pass(Duration::from_millis(500));
    jar.pass(Duration::from_millis(500));
    assert_eq!(jar.answers(), "AT Bert +1 kiwi +7-7 85\n{}\n\n");
    jar.hear("Cleo", "x.0", "AT Cleo +1 kiwi +2-2 86");

    // Who is sure decides at once.
    jar.client(ask);
    let (_, nonce) = jar.asked_of("kiwi").unwrap();
    jar.nobody_there(&nonce);
    let (_, nonce) = jar.asked_at("kiwi").unwrap();
    jar.hear("Dora", "eu.s.Anna", &format!("FOUND {nonce} AT Dora +1 kiwi +6-6 90"));
    assert_eq!(jar.answers(), "AT Dora +1 kiwi +6-6 90\n{}\n\n");
    assert_eq!(jar.server.engine().unwrap().questions.abroad, 5);
}

/// Goal: a client that nobody knows here is asked for in each region. PROTOCOL 15.17.
#[test]
fn who_is_not_known_here_is_asked_for_everywhere() {
    let mut jar = Jar::in_eu();
    jar.let_in();
    for (found, expected) in
        [(false, "? WHATSAT fig 1 2\n"), (true, "AT Eve +1 fig +4-4 7\n{}\n\n")]
    {
        jar.client("WHATSAT fig 1 2\n");
        let (region, nonce) = jar.asked_of("fig").unwrap();
        assert_eq!(region, "us");
        jar.hear("Cleo", "eu.s.Anna", &format!("NONE {nonce}"));
        let (region, nonce) = jar.asked_of("fig").unwrap();
        assert_eq!(region, "asia");
        let answer = if found { "FOUND" } else { "NONE" };
        let report = if found { " AT Eve +1 fig +4-4 7" } else { "" };
        jar.hear("Eve", "eu.s.Anna", &format!("{answer} {nonce}{report}"));
        assert_eq!(jar.answers(), expected);
    }
}

/// Goal: another region is answered where it listens, by a server that knows all that there is to
/// know here. PROTOCOL 15.17.
#[test]
fn another_region_is_answered() {
    let mut jar = Jar::in_eu();
    jar.let_in();
    jar.client("IAMAT kiwi +1-1 50\n");
    jar.pass(Duration::from_millis(500));
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    assert!(said.contains("SUB herd.test.eu.q.0 h 4000"), "{said}");
    jar.said.clear();
    jar.hear("Dora", "eu.q.0", "ASK 00000000000000aa kiwi");
    let said = String::from_utf8(std::mem::take(&mut jar.said)).unwrap();
    assert!(said.contains("PUB herd.test.us.s.Dora "), "{said}");
    assert!(
        said.contains("\nFOUND 00000000000000aa AT Anna +50.000000000 kiwi +1-1 50\n"),
        "{said}"
    );
    // A stranger is not.
    jar.hear("Mallory", "eu.q.0", "ASK 00000000000000aa kiwi");
    jar.hear("Mallory", "x.0", "AT Mallory +1 kiwi +9-9 99");
    jar.hear("Cleo", "x.0", "AT Anna +1 kiwi +9-9 99");
    jar.answers();
    jar.client("WHATSAT kiwi 1 2\n");
    assert!(jar.answers().contains("kiwi +1-1 50\n"));
    assert!(!String::from_utf8_lossy(&jar.said).contains("FOUND"));
}
