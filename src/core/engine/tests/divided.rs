//! A server of a herd whose clients are divided: which others it asks, what it answers, and when it
//! says that it has all of a part.

use super::*;

impl Jar {
    /// Of Anna, Bert and Cleo, each holds what the others do not.
    fn divided() -> Jar {
        Jar::divided_with_room(1024 * 1024)
    }

    /// The same; the node may owe so much.
    fn divided_with_room(owed_max: usize) -> Jar {
        let names = ["Anna", "Bert", "Cleo"].map(|name| name.as_bytes().to_vec());
        let parts = Parts::divided(32, 1, &names).unwrap();
        Jar::with(EngineSettings { parts, owed_max, ..EngineSettings::new(names[1..].to_vec()) })
    }

    /// A client of whose part this server is the holder.
    fn client_held_by(&self, name: &str) -> String {
        let parts = &self.server.settings().engine.as_ref().unwrap().parts;
        let part = |client: &str| parts.of(self.server.store().key(client.as_bytes()).leaf());
        let names = (0..).map(|at| format!("c{at}"));
        names.into_iter().find(|it| parts.is_holder(name.as_bytes(), part(it))).unwrap()
    }

    /// A divided herd, whose node has let Anna in, and where she has heard of both others.
    pub(super) fn met() -> Jar {
        let mut jar = Jar::divided();
        jar.let_in();
        jar.meet("Bert");
        jar.meet("Cleo");
        jar
    }

    /// Another server says that it is there.
    fn meet(&mut self, name: &str) {
        self.hear(name, "s.Anna", "");
    }

    /// The only question that was published since this was last asked: its subject, and the nonce.
    fn question(&mut self, client: &str) -> (String, String) {
        let said = String::from_utf8(std::mem::take(&mut self.said)).unwrap();
        let lines = Vec::from_iter(said.lines());
        let at = lines.iter().position(|line| line.starts_with("ASK ")).unwrap();
        assert!(!lines[at + 1..].iter().any(|line| line.starts_with("ASK ")), "{said}");
        let words = Vec::from_iter(lines[at - 2].split(' '));
        let nonce = lines[at].strip_suffix(client).unwrap()[4..].trim().to_owned();
        let [verb, subject, reply, _] = words[..] else { panic!("{said}") };
        assert_eq!((verb, reply), ("PUB", &*format!("herd.test.s.Anna.{nonce}")));
        (subject.strip_prefix("herd.test.").unwrap().to_owned(), nonce)
    }

    fn nobody_hears(&mut self, nonce: &str) {
        let head = format!("HMSG herd.test.s.Anna.{nonce} 3000 16 16\r\n");
        self.node(format!("{head}NATS/1.0 503\r\n\r\n\r\n").as_bytes());
    }

    /// The node reads all, and all that comes of it at once. Gives what was said since this was
    /// last taken.
    fn node_reads_on(&mut self) -> String {
        let mut said = Vec::new();
        loop {
            said.append(&mut self.said);
            self.node(b"PONG\r\n");
            if self.said.is_empty() {
                return String::from_utf8(said).unwrap();
            }
        }
    }

    /// What Bert hears when he asks whether all has been sent, once the node has read all.
    fn answer_to(&mut self, number: u32) -> Vec<String> {
        self.hear("Bert", "s.Anna", &format!("EVEN? {number}"));
        let said = self.node_reads_on();
        let is_answer = |line: &&str| line.starts_with("EVEN ") || line.starts_with("AGAIN ");
        said.lines().filter(is_answer).map(str::to_owned).collect()
    }

    /// Everybody was asked what Anna misses, and nobody has said anything in time.
    fn become_complete(&mut self) {
        self.pass(Duration::from_millis(500));
        self.pass(Duration::from_millis(500));
    }
}

/// Goal: a WHATSAT about a client that another server holds is asked of one of the part's group,
/// and answered with what that one holds; later commands wait for it. PROTOCOL 15.12, 15.13.
#[test]
fn a_holder_is_asked() {
    let mut jar = Jar::divided();
    jar.let_in();
    let said = String::from_utf8(std::mem::take(&mut jar.said)).unwrap();
    assert!(said.contains(",\"headers\":true,\"no_responders\":true"), "{said}");
    assert!(said.contains("SUB herd.test.s.Anna.* 3000\r\nSUB herd.test.q 3001\r\n"), "{said}");
    jar.meet("Bert");
    let client = jar.client_held_by("Bert");
    jar.client(&format!("WHATSAT {client} 1 2\nIAMAT other +1-1 3\n"));
    let (subject, nonce) = jar.question(&client);
    assert!(subject.starts_with("q."), "{subject}");
    // Another question's nonce, and another client's report, are no answer.
    jar.hear("Bert", "s.Anna", &format!("FOUND 0000000000000000 AT Bert +1 {client} +1-1 5"));
    jar.hear("Bert", "s.Anna", "NONE 00");
    assert_eq!(jar.answers(), "");
    jar.hear("Bert", "s.Anna", &format!("FOUND {nonce} AT Bert +1 {client} +2-2 5"));
    let expected = format!("AT Bert +1 {client} +2-2 5\n{{}}\n\nAT Anna +97 other +1-1 3\n");
    let answers = jar.answers();
    assert_eq!(answers.replace("+97.000000000", "+97"), expected);
    assert!(jar.server.store().find(client.as_bytes()).is_none(), "it is not kept");

    jar.client(&format!("WHATSAT {client} 1 2\n"));
    let (_, nonce) = jar.question(&client);
    jar.hear("Bert", "s.Anna", &format!("NONE {nonce}"));
    assert_eq!(jar.answers(), format!("? WHATSAT {client} 1 2\n"));
    let counted = jar.server.engine().unwrap().questions;
    assert_eq!((counted.asked, counted.found, counted.none), (2, 1, 1));
}

/// Goal: of what clients have said here and what a holder has heard, the newer one is told; who was
/// erased is not known, unless there is a later report. PROTOCOL 15.13.
#[test]
fn the_newer_one_is_told() {
    let mut jar = Jar::divided();
    jar.let_in();
    jar.meet("Bert");
    let client = jar.client_held_by("Bert");
    jar.client(&format!("IAMAT {client} +1-1 50\n"));
    jar.answers();
    let mut told = |report: &str| {
        jar.client(&format!("WHATSAT {client} 1 2\n"));
        let (_, nonce) = jar.question(&client);
        let answer = if report.is_empty() { "NONE" } else { "FOUND" };
        jar.hear("Bert", "s.Anna", format!("{answer} {nonce} {report}").trim_end());
        jar.answers()
    };
    let at = |time: &str| format!("AT Bert +1 {client} +2-2 {time}");
    assert!(told(&at("49")).starts_with("AT Anna "));
    assert!(told("").starts_with("AT Anna "));
    assert_eq!(told(&at("51")), format!("{}\n{{}}\n\n", at("51")));
    let erased = |time: &str| format!("AT Bert +0e0 {client} +0+0 {time}");
    assert!(told(&erased("49")).starts_with("AT Anna "));
    assert!(told(&erased("51")).starts_with("? WHATSAT "));
}

/// Goal: where nobody holds the part, or its holder does not answer in time, all are asked, and the
/// newest of what they have is told. PROTOCOL 15.14.
#[test]
fn all_are_asked_if_no_holder_answers() {
    let mut jar = Jar::met();
    let client = jar.client_held_by("Bert");
    for is_silent in [false, true] {
        jar.client(&format!("WHATSAT {client} 1 2\n"));
        let (_, nonce) = jar.question(&client);
        if is_silent {
            // They are there, and answer other questions.
            jar.pass(Duration::from_millis(400));
            jar.meet("Bert");
            jar.meet("Cleo");
            jar.pass(Duration::from_millis(100));
        } else {
            jar.nobody_hears(&nonce);
        }
        let (subject, nonce) = jar.question(&client);
        assert_eq!(subject, "q");
        jar.hear("Bert", "s.Anna", &format!("COPY {nonce} AT Bert +1 {client} +1-1 7"));
        assert_eq!(jar.answers(), "", "Cleo may have a newer one");
        jar.hear("Cleo", "s.Anna", &format!("COPY {nonce} AT Cleo +1 {client} +2-2 8"));
        assert_eq!(jar.answers(), format!("AT Cleo +1 {client} +2-2 8\n{{}}\n\n"));
    }

    // One who does not answer is not waited for longer; who has left its group is no holder.
    jar.client(&format!("WHATSAT {client} 1 2\n"));
    let (_, nonce) = jar.question(&client);
    jar.hear("Bert", "s.Anna", &format!("NOCOPY {nonce}"));
    let (subject, nonce) = jar.question(&client);
    assert_eq!(subject, "q");
    jar.hear("Bert", "s.Anna", &format!("NOCOPY {nonce}"));
    jar.pass(Duration::from_millis(500));
    assert_eq!(jar.answers(), format!("? WHATSAT {client} 1 2\n"));
    let counted = jar.server.engine().unwrap().questions;
    assert_eq!((counted.no_responders, counted.too_late, counted.none), (1, 2, 1));
}

/// Goal: who has just come up and has heard nobody yet asks all the same. PROTOCOL 15.14.
#[test]
fn all_are_asked_before_they_were_heard() {
    let mut jar = Jar::divided();
    jar.let_in();
    let client = jar.client_held_by("Bert");
    jar.client(&format!("WHATSAT {client} 1 2\n"));
    let (_, nonce) = jar.question(&client);
    jar.nobody_hears(&nonce);
    let (subject, nonce) = jar.question(&client);
    assert_eq!(subject, "q");
    jar.hear("Cleo", "s.Anna", &format!("NOCOPY {nonce}"));
    assert_eq!(jar.answers(), "", "Bert may be there");
    jar.hear("Bert", "s.Anna", &format!("COPY {nonce} AT Bert +1 {client} +1-1 7"));
    assert_eq!(jar.answers(), format!("AT Bert +1 {client} +1-1 7\n{{}}\n\n"));
}

/// Goal: without an engine, a client is answered at once with what its own server has. PROTOCOL
/// 15.14.
#[test]
fn nobody_waits_for_an_engine_that_is_away() {
    let mut jar = Jar::divided();
    let client = jar.client_held_by("Bert");
    let ask = format!("WHATSAT {client} 1 2\n");
    jar.client(&ask);
    assert_eq!(jar.answers(), format!("? {ask}"));
    jar.let_in();
    jar.said.clear();
    jar.client(&format!("IAMAT {client} +1-1 50\n{ask}"));
    jar.question(&client);
    let conn = jar.conn();
    jar.tell(Input::Closed { conn });
    assert_eq!(jar.answers().lines().filter(|line| line.starts_with("AT Anna ")).count(), 2);
}

/// Goal: a server answers for a part that it holds once that is complete, and stops to be asked
/// before it leaves; of other parts it tells what it happens to have. PROTOCOL 15.12.
#[test]
fn who_has_all_of_a_part_is_in_its_group() {
    let mut jar = Jar::divided();
    jar.let_in();
    let client = jar.client_held_by("Anna");
    let other = jar.client_held_by("Bert");
    jar.client(&format!("IAMAT {client} +1-1 50\nIAMAT {other} +1-1 50\n"));
    let answer = |jar: &mut Jar, subject: &str, client: &str| {
        jar.said.clear();
        jar.hear("Bert", subject, &format!("ASK 00000000000000aa {client}"));
        let said = String::from_utf8(std::mem::take(&mut jar.said)).unwrap();
        assert!(said.contains("PUB herd.test.s.Bert "), "{said}");
        let is_it = |line: &&str| line.contains("00000000000000aa");
        said.lines().find(is_it).unwrap().split(" +").next().unwrap().to_owned()
    };
    assert_eq!(answer(&mut jar, "q", &client), "COPY 00000000000000aa AT Anna");
    let parts = jar.server.settings().engine.as_ref().unwrap().parts.clone();
    let held = parts.held_by(b"Anna").len();
    jar.become_complete();
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    assert_eq!(said.lines().filter(|line| line.starts_with("SUB herd.test.q.")).count(), held);
    assert_eq!(answer(&mut jar, "q.0", &client), "FOUND 00000000000000aa AT Anna");
    assert_eq!(answer(&mut jar, "q", &other), "COPY 00000000000000aa AT Anna");
    let unknown = (0..).map(|at| format!("{client}{at}"));
    let is_ours = |it: &String| {
        parts.is_holder(b"Anna", parts.of(jar.server.store().key(it.as_bytes()).leaf()))
    };
    let unknown = unknown.into_iter().find(is_ours).unwrap();
    assert_eq!(answer(&mut jar, "q", &unknown), "NONE 00000000000000aa");

    jar.said.clear();
    jar.tell(Input::Draining);
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    assert_eq!(said.lines().filter(|line| line.starts_with("UNSUB 4")).count(), held);
}

/// Goal: a server that leaves says so to all, and goes when the holders of its clients' parts keep
/// them. PROTOCOL 15.11.
#[test]
fn who_leaves_is_kept_by_those_who_hold_its_parts() {
    let mut jar = Jar::met();
    let client = jar.client_held_by("Bert");
    jar.client(&format!("IAMAT {client} +1-1 50\n"));
    jar.become_complete();
    jar.said.clear();
    jar.tell(Input::Draining);
    jar.tell(Input::Leaving);
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    for name in ["Bert", "Cleo"] {
        let mut messages = said.split("PUB herd.test.s.");
        let is_bye = |it: &str| it.starts_with(name) && it.lines().any(|line| line == "BYE");
        assert!(messages.any(is_bye), "{name} hears no good-bye: {said}");
    }
    jar.hear("Cleo", "s.Anna", "KEPT");
    assert_eq!(jar.server.hand_over().kept_by, 0, "Cleo does not hold it");
    jar.hear("Bert", "s.Anna", "KEPT");
    assert_eq!(jar.server.hand_over().kept_by, 1);
}

/// Goal: a part is complete when everybody has said how far its batches have come, and what did not
/// come has been sent; before, nobody is told that this server has all of it. PROTOCOL 15.10.
#[test]
fn a_part_is_complete_when_all_have_told() {
    let mut jar = Jar::met();
    let client = jar.client_held_by("Anna");
    let part = jar.server.part_of(client.as_bytes());
    // What they say before the settling time is over may not be all.
    jar.hear("Bert", "s.Anna", "EVEN 1");
    jar.hear("Cleo", "s.Anna", "EVEN 1");
    jar.pass(Duration::from_millis(500));
    assert!(!jar.server.is_complete(part));
    jar.hear("Bert", "s.Anna", "EVEN 2");
    assert!(!jar.server.is_complete(part), "Cleo has not answered");
    jar.hear("Cleo", "s.Anna", &format!("TOLD {part} 1\nEVEN 2"));
    assert!(!jar.server.is_complete(part), "a batch of hers did not come");
    jar.said.clear();
    jar.pass(Duration::from_secs(1));
    let said = String::from_utf8_lossy(&jar.said).into_owned();
    assert!(said.contains(&format!("OWN? {part}\nPARTS?\nEVEN? 3\n")), "{said}");
    jar.hear("Cleo", "s.Anna", &format!("AT Cleo +1 {client} +1-1 5\nEVEN 3"));
    assert!(jar.server.is_complete(part));
    assert!(jar.server.store().find(client.as_bytes()).is_some());
}

/// Goal: a server that answers slowly is given more time after each question that it has not
/// answered: for each of them it begins anew. PROTOCOL 15.10.
#[test]
fn who_is_slow_is_given_more_time() {
    let mut jar = Jar::met();
    let client = jar.client_held_by("Anna");
    let part = jar.server.part_of(client.as_bytes());
    jar.pass(Duration::from_millis(500));
    jar.hear("Bert", "s.Anna", "EVEN 2");
    jar.hear("Cleo", "s.Anna", &format!("TOLD {part} 1\nEVEN 2"));
    // Whether she is asked within so many tenths of a second.
    let is_asked = |jar: &mut Jar, tenths: u32| {
        jar.said.clear();
        for _ in 0..tenths {
            jar.pass(Duration::from_millis(100));
            jar.node(b"PONG\r\n");
        }
        String::from_utf8_lossy(&jar.said).contains(&format!("OWN? {part}\n"))
    };
    assert!(is_asked(&mut jar, 11), "a batch of hers did not come");
    assert!(is_asked(&mut jar, 20), "she does not answer");
    jar.hear("Cleo", "s.Anna", "TOLD");
    assert!(is_asked(&mut jar, 11), "she is there, and may have heard nothing");
    assert!(!is_asked(&mut jar, 2), "she has more time now");
    assert!(!jar.server.is_complete(part));
    jar.hear("Cleo", "s.Anna", &format!("AT Cleo +1 {client} +1-1 5\nEVEN 5"));
    assert!(jar.server.is_complete(part));
}

/// Goal: who holds nothing of a part is sent all of it, and not asked where it differs. PROTOCOL
/// 15.9.
#[test]
fn who_has_nothing_is_sent_all() {
    let mut jar = Jar::divided();
    jar.let_in();
    let client = jar.client_held_by("Anna");
    jar.client(&format!("IAMAT {client} +1-1 50\n"));
    let part = jar.server.part_of(client.as_bytes());
    let mut told = |digest: &str| {
        jar.said.clear();
        jar.hear("Bert", "s.Anna", &format!("PARTS? {part} {digest}\nEVEN? 1"));
        jar.node(b"PONG\r\n");
        let said = String::from_utf8_lossy(&jar.said).into_owned();
        ["\nAT Anna ", "\nL2 "].map(|word| said.contains(word))
    };
    assert_eq!(told("0000000000000000"), [true, false]);
    assert_eq!(told("00000000000000aa"), [false, true]);
}

/// Goal: who asks hears that not all of the answer has found room, once there is some. PROTOCOL
/// 15.6.
#[test]
fn what_finds_no_room_is_asked_again() {
    let mut jar = Jar::divided_with_room(3_000);
    jar.let_in();
    let client = jar.client_held_by("Anna");
    jar.client(&format!("IAMAT {client} +1-1 50\n"));
    let part = jar.server.part_of(client.as_bytes());
    for _ in 0..30 {
        jar.hear("Bert", "s.Anna", &format!("PARTS? {part} 00000000000000aa"));
    }
    assert_eq!(jar.answer_to(1), ["AGAIN 1"]);
    assert_eq!(jar.answer_to(2), ["EVEN 2"]);
}

/// Goal: where hundreds of digests differ and the node may be owed little, all of them are told,
/// some at a time, and each once. PROTOCOL 15.6.
#[test]
fn what_differs_is_told_as_there_is_room() {
    let names = ["Anna", "Bert"].map(|name| name.as_bytes().to_vec());
    let parts = Parts::divided(32, 2, &names).unwrap();
    let batch_bytes_max = 512;
    let others = EngineSettings::new(names[1..].to_vec());
    let mut jar =
        Jar::with(EngineSettings { parts, owed_max: 8 * 1024, batch_bytes_max, ..others });
    jar.let_in();
    jar.report(0..1_000, 7);
    jar.node_reads_on();
    let digests: String = (0..32).map(|part| format!(" {part} 00000000000000aa")).collect();
    jar.hear("Bert", "s.Anna", &format!("PARTS?{digests}"));
    jar.hear("Bert", "s.Anna", "EVEN? 1");
    let said = jar.node_reads_on();
    let lines = Vec::from_iter(said.lines());
    let is_answer = |line: &&str| ["EVEN 1", "AGAIN 1"].contains(line);
    let answer = lines.iter().position(is_answer).unwrap();
    assert_eq!(lines[answer], "EVEN 1");
    let told = |lines: &[&str]| lines.iter().filter(|line| line.starts_with("L2 ")).count();
    assert_eq!((told(&lines[..answer]), told(&lines[answer..])), (32, 0));
}
