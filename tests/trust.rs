//! Who is believed, over TCP and between processes: strangers with all that can be read off the
//! wire, servers with another key or none, and somebody in the middle who changes what is said.
//! What proofs and seals are made of is shown in `core::seal`; herds without keys are in `herd`.

mod common;

use std::fs;
use std::io::Write;
use std::net::TcpListener;

use common::proxy::{Mood, Proxy, Way};
use common::{Client, Herd, PLACELESS, until};
use herd::status::PeerState;

/// Links heal at once, however busy the machine is, and nothing is said on them but what the tests
/// make them say.
const SECTIONS: &str = "[limits]\nbackoff_max = \"200 ms\"\ncompare_every = \"off\"\n\
                        ping_after = \"60 s\"\nsilence_max = \"120 s\"\ngreeting = \"60 s\"\n";
const NOT_SEALED: &str = "a line of it is not sealed as it should be";
const FORGED: &str = "AT A +0.500000000 forged +2-2 9\n";

fn with_key(file: &str) -> Vec<&str> {
    [PLACELESS, &["--key-file", file]].concat()
}

/// A dials B through a proxy, and both have the key. C is of the herd and never there.
struct Pair {
    herd: Herd,
    proxy: Proxy,
}

impl Pair {
    fn joined() -> Pair {
        let (mut herd, mut proxies) = Herd::with_proxies(&["A", "B", "C"], &[("A", "B")], SECTIONS);
        herd.write_keys("herd.key", "a");
        herd.start("A", &with_key("herd.key"));
        herd.start("B", &with_key("herd.key"));
        herd.until_joined();
        Pair { herd, proxy: proxies.remove(0) }
    }

    /// Strangers that A and B have refused, and links on which they heard something wrong.
    fn refused(&self) -> u64 {
        ["A", "B"].map(|name| self.herd.status(name).refused).iter().sum()
    }

    fn digests(&self) -> [String; 2] {
        ["A", "B"].map(|name| self.herd.status(name).digest)
    }

    /// How often the logs of A and B say this.
    fn logged(&self, part: &str) -> usize {
        ["A", "B"].map(|name| self.herd.log(name).matches(part).count()).iter().sum()
    }

    /// What A and B have said on their first link, by lines.
    fn tapes(&self) -> [Vec<String>; 2] {
        self.proxy.tapes()[0].each_ref().map(|tape| lines(tape))
    }

    /// The line with its MAC that was sent about a client on the newest link that has one.
    fn said_last(&self, way: Way, client: &str) -> String {
        let tapes = self.proxy.tapes();
        let said = tapes.iter().rev().flat_map(|tape| lines(&tape[way as usize]));
        said.into_iter().find(|line| line.contains(&format!(" {client} "))).unwrap()
    }

    /// A report that both hold.
    fn agree(&self, name: &str, client: &str) -> String {
        let line = self.herd.report(name, client, "+1-1", "7");
        self.herd.until_all_hold(client, &line);
        line
    }
}

/// The lines of a tape, each with its newline.
fn lines(tape: &[u8]) -> Vec<String> {
    let lines = tape.split_inclusive(|&byte| byte == b'\n');
    lines.map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
}

/// `HERD/1 from to herd nonce caps [proof]` with another field in the place of one.
fn with_field(greeting: &str, number: usize, field: &str) -> String {
    let mut fields: Vec<&str> = greeting.trim_end().split(' ').collect();
    fields[number] = field;
    fields.join(" ") + "\n"
}

const NO_KEY: &str = "does not share a key with us";

/// What is said to somebody who is refused for this reason: nothing, unless it knows all names and
/// only the key is another one. That is an operator's slip, and both logs should say so.
fn last_word(why: &str) -> &'static [u8] {
    if why == NO_KEY { b"REFUSED key\n" } else { b"" }
}

// ---- strangers ----

/// Goal: whatever a stranger knows but the key, it is refused and counted, and nothing changes.
/// Method: the lines of a real link; what comes after a greeting is all but its proof.
/// PROTOCOL 6.5, 6.6, 6.8.
#[test]
fn strangers_prove_nothing() {
    let pair = Pair::joined();
    pair.agree("A", "kiwi");
    let [real, _] = pair.tapes();
    let (greeting, auth) = (real[0].as_str(), real[1].as_str());
    assert!(greeting.starts_with("HERD/1 A B ") && auth.starts_with("AUTH "));
    let sealed = real.iter().find(|line| line.starts_with("AT ")).unwrap();
    let digests = pair.digests();
    let begin = || (pair.herd.status("B").refused, pair.herd.connect_peer("B"));
    let end = |before: u64, mut stranger: Client, why: &str| {
        assert_eq!(stranger.hung_up(), last_word(why), "{why}");
        assert_eq!(pair.herd.status("B").refused, before + 1, "{why}");
        pair.herd.until_logged("B", &format!("reason={why:?}\n"));
        assert_eq!(pair.digests(), digests, "{why}");
    };

    let silently = |said: &str, why: &str| {
        let (before, stranger) = begin();
        // It may hang up after the first line.
        let _ = stranger.stream().write_all([said, auth, FORGED].concat().as_bytes());
        end(before, stranger, why);
    };
    silently(FORGED, "not a greeting");
    silently(sealed, "not a greeting");
    silently(auth, "not a greeting");
    silently(&with_field(greeting, 1, "B"), "not a peer of this server");
    silently(&with_field(greeting, 1, "C"), "not a peer of this server");
    silently(&with_field(greeting, 2, "A"), "greets another server than this one");
    silently(&with_field(greeting, 3, "other"), "a server of another herd");
    silently(&with_field(greeting, 5, "-"), NO_KEY);
    silently(&with_field(greeting, 5, "key:00000000"), NO_KEY);

    let answered = |greeting: &str, said: &str, why: &str| {
        let (before, mut stranger) = begin();
        stranger.send(greeting);
        assert!(stranger.line().starts_with(b"HERD/1 B A "));
        let _ = stranger.stream().write_all([said, FORGED].concat().as_bytes());
        end(before, stranger, why);
    };
    answered(greeting, &real[1..].concat(), "its proof is wrong");
    answered(greeting, &format!("AUTH {}\n", "0".repeat(64)), "its proof is wrong");
    answered(&with_field(greeting, 4, &"0".repeat(32)), auth, "its proof is wrong");
    answered(greeting, "AUTH\n", "it proves nothing");
    answered(greeting, sealed, "it proves nothing");
    answered(greeting, greeting, "it proves nothing");
    answered(greeting, "", "it proves nothing");

    // However many come, each reason was logged once; and the real link has not noticed.
    assert_eq!(pair.logged("reason=\"its proof is wrong\""), 1);
    assert_eq!(pair.logged("peer link down"), 0);
    assert_eq!(pair.proxy.tapes().len(), 1);
}

/// The acceptor's own proof is none when it is sent back. PROTOCOL 7.3.
#[test]
fn a_proof_sent_back_is_none() {
    let pair = Pair::joined();
    let mut stranger = pair.herd.connect_peer("B");
    stranger.send(&pair.tapes()[0][0]);
    let answer = String::from_utf8(stranger.line()).unwrap();
    let proof = answer.trim_end().rsplit(' ').next().unwrap();
    stranger.send(format!("AUTH {proof}\n{FORGED}"));
    assert_eq!(stranger.hung_up(), b"");
    pair.herd.until_logged("B", "reason=\"its proof is wrong\"\n");
    assert_eq!(pair.herd.held("B", "forged"), None);
}

/// Goal: the side that dials is as careful as the side that accepts. Method: B is killed, and in
/// its place listens somebody who knows all that B has ever said. PROTOCOL 6.6.
#[test]
fn an_impostor_is_not_talked_to() {
    let mut pair = Pair::joined();
    let known = pair.agree("A", "kiwi");
    let [_, real] = pair.tapes();
    let (unproven, proof) = real[0].rsplit_once(' ').unwrap();
    pair.herd.kill("B");
    let impostor = TcpListener::bind(("127.0.0.1", pair.herd.port("B") + 100)).unwrap();
    let check = |answer: &dyn Fn(&str) -> String, why: &str| {
        let before = pair.herd.status("A").refused;
        let mut asked = Client::of(impostor.accept().unwrap().0);
        let theirs = String::from_utf8(asked.line()).unwrap();
        assert!(theirs.starts_with("HERD/1 A B "), "{theirs}");
        asked.send(answer(&theirs) + FORGED);
        assert_eq!(asked.hung_up(), last_word(why), "{why}");
        until("it is counted", || pair.herd.status("A").refused > before);
        pair.herd.until_logged("A", &format!("reason={why:?}\n"));
    };
    check(&|_| real.concat(), "its proof is wrong");
    check(&|_| format!("{unproven}\n"), NO_KEY);
    check(&|theirs| theirs.to_owned(), "greets another server than this one");
    let turned = |theirs: &str| {
        let turned = with_field(&with_field(theirs, 1, "B"), 2, "A");
        format!("{} {proof}", turned.trim_end())
    };
    check(&turned, "its proof is wrong");
    check(&|_| String::new(), "not a greeting");
    drop(impostor);
    assert_eq!(pair.herd.held("A", "forged"), None);
    pair.herd.start("B", &with_key("herd.key"));
    pair.herd.until_all_hold("kiwi", &known);
}

#[test]
fn clients_cannot_forge() {
    let pair = Pair::joined();
    pair.agree("A", "kiwi");
    let digests = pair.digests();
    for line in pair.tapes().concat().iter().map(String::as_str).chain([FORGED]) {
        let line = line.trim_end();
        assert_eq!(pair.herd.connect("B").ask(line), format!("? {line}"));
    }
    assert_eq!(pair.digests(), digests);
}

/// What peers add to a line is between them: clients are answered as in any herd, and once.
/// PROTOCOL 2.7, 7.6.
#[test]
fn clients_hear_no_seals() {
    let pair = Pair::joined();
    for name in ["A", "B"] {
        let mut client = pair.herd.connect(name);
        client.send(format!("IAMAT one-{name} +1-1 7\nIAMAT two-{name} +1-1 7\n"));
        client.half_close();
        let heard = lines(&client.rest());
        let ends = heard.iter().map(|line| line.split_once(" +1-1 ").map(|(_, end)| end));
        assert!(ends.eq([Some("7\n"), Some("7\n")]), "{heard:?}");
    }
}

// ---- servers ----

/// Goal: a server that has another key, none, or no place in the graph joins nobody, and nothing
/// that it holds comes out. Method: A dials C, and D and E dial A; A knows nothing of E.
#[test]
fn a_server_that_does_not_belong_stays_alone() {
    let names = ["A", "C", "D", "E"];
    let (mut herd, _proxies) = Herd::with_proxies(&names, &[("A", "C"), ("D", "A")], SECTIONS);
    let view = fs::read_to_string(herd.path("E.toml")).unwrap();
    fs::write(herd.path("E.toml"), view.replace("links = [", "links = [[\"E\", \"A\"], ")).unwrap();
    herd.write_keys("herd.key", "a");
    herd.write_keys("other.key", "b");
    herd.start("A", &with_key("herd.key"));
    let no_key = NO_KEY;
    for (name, flags, refuses, why) in [
        ("C", PLACELESS, "A", no_key),
        ("D", PLACELESS, "A", no_key),
        ("C", &with_key("other.key"), "C", no_key),
        ("D", &with_key("other.key"), "A", no_key),
        ("E", &with_key("herd.key"), "A", "not a peer of this server"),
    ] {
        herd.start(name, flags);
        let before = herd.status(refuses).refused;
        let line = herd.report(name, "forged", "+2-2", "9");
        // It is dialled, or dials, again and again.
        until("it is refused", || herd.status(refuses).refused >= before + 3);
        herd.until_logged(refuses, &format!("reason={why:?}\n"));
        assert_eq!(herd.held(name, "forged"), Some(line));
        assert_eq!(herd.held("A", "forged"), None, "{name}");
        herd.kill(name);
    }
    herd.start("C", &with_key("herd.key"));
    herd.start("D", &with_key("herd.key"));
    let line = herd.report("D", "kiwi", "+1-1", "7");
    herd.until_all_hold("kiwi", &line);
}

/// While the key is changed from one server to the next, the herd stays together. PROTOCOL 7.1.
#[test]
fn a_key_is_changed_under_way() {
    let names = ["A", "B", "C"];
    let mut herd = Herd::of_file(&names, &[("A", "B"), ("C", "B"), ("C", "A")], SECTIONS);
    for (file, digits) in [("old", "a"), ("both", "ba"), ("new", "b")] {
        herd.write_keys(file, digits);
    }
    herd.start_all(&with_key("old"));
    for file in ["both", "new"] {
        for name in names {
            herd.kill(name);
            herd.start(name, &with_key(file));
            herd.until_joined();
            let client = format!("{name}-{file}");
            let line = herd.report(name, &client, "+1-1", "7");
            herd.until_all_hold(&client, &line);
        }
    }
}

// ---- somebody in the middle ----

/// What is delivered for two lines, given one that was said this way on an earlier link, and one
/// that was said on this link the other way.
type Tampering = fn(first: &str, second: &str, earlier: &str, back: &str) -> String;

const TAMPERINGS: &[(&str, Tampering)] = &[
    ("said twice", |first, second, _, _| [first, first, second].concat()),
    ("said on an earlier link", |first, second, earlier, _| [earlier, first, second].concat()),
    ("sent back", |first, second, _, back| [back, first, second].concat()),
    ("exchanged", |first, second, _, _| [second, first].concat()),
    ("dropped", |_, second, _, _| second.to_owned()),
    ("cut", |first, second, _, _| format!("{}\n{second}", &first[..first.len() / 2])),
    ("cut before its seal", |first, second, _, _| first.replace("1.5 ~", "1. ~") + second),
    ("without a seal", |first, second, _, _| format!("{}\n{second}", unsealed(first))),
    ("with a bit flipped", |first, second, _, _| first.replace(" 1.5 ~", " 9.5 ~") + second),
    ("with a bit flipped in its seal", |first, second, _, _| {
        let (line, last) = first.split_at(first.len() - 2);
        let flipped = char::from(last.as_bytes()[0] ^ 1);
        format!("{line}{flipped}\n{second}")
    }),
    ("forged", |first, second, _, _| [first, FORGED, second].concat()),
    ("forged, with another's seal", |first, second, _, _| {
        let seal = &first[unsealed(first).len()..];
        [FORGED.trim_end(), seal, second].concat()
    }),
];

fn unsealed(line: &str) -> &str {
    line.rsplit_once(" ~").unwrap().0
}

/// Makes what `tampering` makes of the next two reports that are told this way.
fn tamper(pair: &Pair, tampered: Way, tampering: Tampering, earlier: String, back: String) {
    let mut first: Option<String> = None;
    let mut is_done = false;
    pair.proxy.rewrite(move |way, line| {
        if is_done || way != tampered || !line.starts_with(b"AT ") {
            return line.to_vec();
        }
        let line = String::from_utf8(line.to_vec()).unwrap();
        let Some(first) = first.take() else {
            first = Some(line);
            return Vec::new();
        };
        is_done = true;
        tampering(&first, &line, &earlier, &back).into_bytes()
    });
}

/// Goal: whatever is changed on a link, it ends at once, is counted and logged once, and nothing
/// of it is believed; then the link comes up by itself and the two agree on what was really said.
/// Method: two reports at one end. What is made of them would win if it were believed.
/// PROTOCOL 7.4, 7.5.
#[test]
fn nothing_can_be_changed_on_the_way() {
    let pair = Pair::joined();
    for (way, teller, other) in [(Way::There, "A", "B"), (Way::Back, "B", "A")] {
        pair.agree(teller, &format!("before-{teller}"));
        let mut earlier = pair.said_last(way, &format!("before-{teller}"));
        for (round, (what, tampering)) in TAMPERINGS.iter().enumerate() {
            let what = format!("a line of {teller}, {what}");
            let back = format!("back-{teller}-{round}");
            pair.agree(other, &back);
            let back = pair.said_last(way.turned(), &back);
            let links = pair.proxy.tapes().len();
            let (refused, logged) = (pair.refused(), pair.logged(NOT_SEALED));

            tamper(&pair, way, *tampering, earlier, back);
            let clients = ["first", "second"].map(|place| format!("{place}-{teller}-{round}"));
            let mut client = pair.herd.connect(teller);
            client.send(clients.each_ref().map(|id| format!("IAMAT {id} +1-1 1.5\n")).concat());
            let reported = [client.line(), client.line()];
            until(&format!("{what}, is counted"), || pair.refused() > refused);
            earlier = pair.said_last(way, &clients[0]);
            for (client, line) in clients.iter().zip(&reported) {
                let line = std::str::from_utf8(line).unwrap().trim_end();
                pair.herd.until_all_hold(client, line);
            }
            assert_eq!(pair.herd.held(other, "forged"), None, "{what}");
            assert_eq!(pair.refused(), refused + 1, "{what}");
            until("it is logged", || pair.logged(NOT_SEALED) > logged);
            assert_eq!(pair.logged(NOT_SEALED), logged + 1, "{what}");
            assert_eq!(pair.proxy.tapes().len(), links + 1, "{what}: one new link");
            let [one, two] = pair.digests();
            assert_eq!(one, two, "{what}");
        }
    }
}

/// Goal: nobody is told its own words as the other's. Method: on a new link, each sealed line of B
/// is exchanged for the one that A has said in the same place, so that their counts are the same.
#[test]
fn nobody_hears_itself() {
    let pair = Pair::joined();
    pair.agree("A", "kiwi");
    let mut said_by_a: Vec<Vec<u8>> = Vec::new();
    let mut heard_by_a = 0;
    pair.proxy.rewrite(move |way, line| {
        if line.starts_with(b"HERD/1 A ") {
            said_by_a.clear();
            heard_by_a = 0;
        }
        let is_sealed = line.windows(2).any(|two| two == b" ~");
        match (is_sealed, way) {
            (false, _) => line.to_vec(),
            (true, Way::There) => {
                said_by_a.push(line.to_vec());
                line.to_vec()
            }
            (true, Way::Back) => {
                heard_by_a += 1;
                said_by_a.get(heard_by_a - 1).map_or_else(|| line.to_vec(), Clone::clone)
            }
        }
    });
    pair.proxy.set(Mood::Severed);
    until("the link is lost", || pair.herd.status("B").peers[0].state != PeerState::Up);
    let line = pair.herd.report("B", "pear", "+1-1", "7");
    pair.proxy.set(Mood::Pass);
    pair.herd.until_logged("A", NOT_SEALED);
    assert_eq!(pair.herd.held("A", "pear"), None);
    pair.proxy.rewrite_no_more();
    pair.herd.until_all_hold("pear", &line);
}

/// What is made of a line of the greeting.
type Change = fn(&str) -> String;

fn only(line: &str, cap: &str) -> String {
    let caps = line.split(' ').nth(5).unwrap();
    let kept: Vec<&str> = caps.trim_end().split(',').filter(|word| word.starts_with(cap)).collect();
    with_field(line, 5, &kept.join(","))
}

const CHANGES: &[(Way, &str, Change)] = &[
    (Way::There, "HERD/1", |line| with_field(line, 4, &"0".repeat(32))),
    (Way::There, "HERD/1", |line| only(line, "digest:")),
    (Way::There, "HERD/1", |line| only(line, "key:")),
    (Way::Back, "HERD/1", |line| with_field(line, 4, &"0".repeat(32))),
    (Way::Back, "HERD/1", |line| only(line, "digest:")),
    (Way::Back, "HERD/1", |line| only(line, "key:")),
    (Way::Back, "HERD/1", |line| with_field(line, 6, &"0".repeat(64))),
    (Way::Back, "HERD/1", |line| line.rsplit_once(' ').unwrap().0.to_owned() + "\n"),
    (Way::There, "AUTH", |line| with_field(line, 1, &"0".repeat(64))),
];

/// Goal: nobody on the way can talk two servers out of proofs, keys or digests. Method: a link is
/// lost, and each part of the greeting on the next ones is changed until it is left alone.
/// PROTOCOL 6.4, 7.3.
#[test]
fn a_greeting_cannot_be_changed_on_the_way() {
    let pair = Pair::joined();
    for (round, &(changed, word, change)) in CHANGES.iter().enumerate() {
        pair.proxy.rewrite(move |way, line| {
            let text = String::from_utf8_lossy(line);
            let is_it = way == changed && text.starts_with(word);
            if is_it { change(&text).into_bytes() } else { line.to_vec() }
        });
        pair.proxy.set(Mood::Severed);
        let refused = pair.refused();
        let b_has_joined = || pair.herd.status("B").peers[0].state == PeerState::Up;
        until("the link is lost", || !b_has_joined());
        pair.proxy.set(Mood::Pass);
        until("two dials are refused", || {
            assert!(!b_has_joined(), "{changed:?} {word} {round}");
            pair.refused() >= refused + 2
        });
        pair.proxy.rewrite_no_more();
        pair.agree("A", &format!("round-{round}"));
    }
}
