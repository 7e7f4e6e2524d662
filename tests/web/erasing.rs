//! Forgetting a client, with real servers: in the whole herd, for good, and not for longer than its
//! owner wants.

use std::fs;
use std::process::Command;

use super::access::{CLIENTS, TOKENS, among, guarded};
use super::common::operator::{Operator, Reply};
use super::common::{Herd, PLACELESS, until};

fn delete(path: &str, headers: &str) -> String {
    format!("DELETE {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")
}

fn check(reply: &Reply, status: u16, part: &str) {
    assert!(reply.status == status && reply.body.contains(part), "{reply:?}");
}

fn is_unknown(herd: &Herd, name: &str, client: &str) -> bool {
    let question = format!("WHATSAT {client} 10 1");
    herd.connect(name).ask(&question) == format!("? {question}")
}

/// Goal: who is forgotten at one server is unknown at all, by every way of asking; a report from
/// before changes nothing, one from after does. PROTOCOL 5.8, 5.9.
#[test]
fn who_is_forgotten_is_unknown_everywhere() {
    let herd = Herd::running("2023", PLACELESS);
    herd.until_joined();
    let line = herd.report("Bailey", "jane/phone", "+60.1699+24.9384", "1520023934.5");
    herd.until_all_hold("jane/phone", &line);
    // Who has been asked for an area before follows what changes.
    let area = get("/v1/clients?bbox=24,60,25,61");
    for name in &herd.names {
        let mut browser = Operator::connect(herd.web_port(name));
        check(&browser.ask(&area), 200, "\"numberReturned\":1}");
    }
    let mut browser = Operator::connect(herd.web_port("Clark"));
    check(&browser.ask(&delete("/v1/clients/jane/phone", "")), 200, "forgotten");
    for name in &herd.names {
        until("it is unknown", || is_unknown(&herd, name, "jane/phone"));
        let mut browser = Operator::connect(herd.web_port(name));
        check(&browser.ask(&get("/v1/clients/jane/phone")), 404, "no such client");
        check(&browser.ask(&get("/v1/clients")), 200, "\"numberReturned\":0}");
        check(&browser.ask(&area), 200, "\"numberReturned\":0}");
        check(&browser.ask(&get("/v1/clients?bbox=-1,-1,1,1")), 200, "\"numberReturned\":0}");
    }
    // A phone that was out of reach sends what it had kept.
    let answer = herd.report("Bona", "jane/phone", "+60.17+24.94", "1520023935");
    assert!(answer.ends_with(" jane/phone +60.17+24.94 1520023935"), "{answer}");
    assert!(is_unknown(&herd, "Bona", "jane/phone"));
    let line = herd.report("Jaquez", "jane/phone", "+1.5+1.5", "1999999999");
    herd.until_all_hold("jane/phone", &line);
    // And again, though the time of its report is far ahead.
    let forget = |client: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
        let done = command.args(["forget", "Bailey", client]).current_dir(herd.dir()).output();
        let done = done.unwrap();
        (done.status.code(), String::from_utf8(done.stdout).unwrap())
    };
    let (code, said) = forget("jane/phone");
    assert!(code == Some(0) && said.contains("jane/phone is forgotten"), "{code:?} {said}");
    for name in &herd.names {
        until("it is unknown", || is_unknown(&herd, name, "jane/phone"));
    }
}

/// Goal: what is forgotten is so after a restart, and nothing of where it was is in the journal
/// once that is written anew. PROTOCOL 5.8.
#[test]
fn who_is_forgotten_stays_so() {
    let mut herd = Herd::of_file(&["Hill"], &[], "[journal]\nkeep = \"synced\"\n");
    herd.start("Hill", PLACELESS);
    herd.report("Hill", "kiwi", "+60.1699123+24.9384321", "1520023934");
    herd.report("Hill", "fig", "+1+1", "1520023934");
    let mut browser = Operator::connect(herd.web_port("Hill"));
    check(&browser.ask(&delete("/v1/clients/kiwi", "")), 200, "forgotten");
    let journal = herd.path("journal");
    let holds = || {
        let files = fs::read_dir(&journal).unwrap();
        let dirs = files.flat_map(|entry| {
            let path = entry.unwrap().path();
            if path.is_dir() { Vec::from_iter(fs::read_dir(path).unwrap()) } else { Vec::new() }
        });
        let mut bytes = dirs.map(|entry| fs::read(entry.unwrap().path()).unwrap_or_default());
        bytes.any(|bytes| bytes.windows(11).any(|window| window == b"+60.1699123"))
    };
    assert!(holds(), "the journal has what was reported");
    // A server never goes on in a file that another life of it has written.
    herd.kill("Hill");
    herd.start("Hill", PLACELESS);
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    let done = command.args(["journal", "compact", "Hill"]).current_dir(herd.dir()).output();
    assert!(done.unwrap().status.success());
    until("the old files are gone", || !holds());
    assert!(is_unknown(&herd, "Hill", "kiwi") && !is_unknown(&herd, "Hill", "fig"));
}

/// Goal: who may report a client may have it forgotten, and nobody else; nobody learns from it
/// whether there is one.
#[test]
fn who_may_report_may_forget() {
    let (herd, secrets) = guarded();
    let ask = |text: &str| Operator::connect(herd.web_port("Hill")).ask(text);
    for (who, secret) in TOKENS.iter().zip(&secrets) {
        let bearer = format!("Authorization: Bearer {secret}\r\n");
        // Few wrong secrets, or nothing more is heard from this address for a minute.
        let most = if who.is_over { 1 } else { usize::MAX };
        for client in CLIENTS.iter().chain(&["unheard-of"]).take(most) {
            herd.report("Hill", "kiwi", "+1-1", "1520023934");
            let reply = ask(&delete(&format!("/v1/clients/{client}"), &bearer));
            let expected = match (who.is_over, among(who.report, client)) {
                (true, _) => 401,
                (false, true) => 200,
                (false, false) => 403,
            };
            assert_eq!(reply.status, expected, "{} {client}: {reply:?}", who.name);
        }
    }
    check(&ask(&delete("/v1/clients/kiwi", "")), 401, "secret");
    let foreign = "Authorization: Bearer x\r\nOrigin: http://far.example\r\n";
    check(&ask(&delete("/v1/clients/kiwi", foreign)), 403, "pages of others");
    check(&ask(&delete("/map", "")), 401, "secret");
}

/// Goal: a server that was away while a client was forgotten, and knows it from its own journal,
/// has forgotten it as soon as it has caught up; and none takes its position up again.
/// PROTOCOL 5.8.
#[test]
fn who_was_away_hears_of_it() {
    let links = [("Bona", "Hill")];
    let mut herd = Herd::of_file(&["Hill", "Bona"], &links, "[journal]\nkeep = \"synced\"\n");
    herd.start_all(PLACELESS);
    herd.until_joined();
    let line = herd.report("Bona", "kiwi", "+60.1699+24.9384", "1520023934");
    herd.until_all_hold("kiwi", &line);
    herd.kill("Bona");
    let mut browser = Operator::connect(herd.web_port("Hill"));
    check(&browser.ask(&delete("/v1/clients/kiwi", "")), 200, "forgotten");
    herd.start("Bona", PLACELESS);
    for name in ["Bona", "Hill"] {
        until("it is unknown", || is_unknown(&herd, name, "kiwi"));
    }
    let digest = |name| herd.status(name).digest;
    until("they hold the same", || digest("Bona") == digest("Hill"));
    assert!(is_unknown(&herd, "Hill", "kiwi") && is_unknown(&herd, "Bona", "kiwi"));
}
