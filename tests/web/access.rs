//! Who may report and see which client: every token by every way at every path, against what
//! access.toml says, computed here in other words.

use std::fs;
use std::process::{Command, Stdio};

use super::common::operator::{Operator, Reply};
use super::common::{Client, Herd, PLACELESS};

/// Clients that are known, and some that look like others.
pub const CLIENTS: [&str; 7] =
    ["jane/phone", "jane/watch", "janet/phone", "kiwi", "kiwis", "joe/car", "<b>x</b>"];
/// Of a name that nobody has.
pub const NOBODY: &str = "nobody";

pub struct Who {
    pub name: &'static str,
    pub report: &'static [&'static str],
    pub read: &'static [&'static str],
    /// Its secret opens nothing any more.
    pub is_over: bool,
}

pub const TOKENS: [Who; 7] = [
    Who { name: "jane", report: &["jane/*"], read: &["jane/*", "kiwi"], is_over: false },
    Who { name: "joe", report: &["joe/car"], read: &["joe/car"], is_over: false },
    Who { name: "eye", report: &[], read: &["*"], is_over: false },
    Who { name: "mouth", report: &["*"], read: &[], is_over: false },
    Who { name: "none", report: &[], read: &[], is_over: false },
    Who { name: "late", report: &["*"], read: &["*"], is_over: true },
    Who { name: "gone", report: &["*"], read: &["*"], is_over: true },
];

pub fn among(patterns: &[&str], client: &str) -> bool {
    patterns.iter().any(|pattern| match pattern.split_once('*') {
        Some((begin, _)) => client.len() >= begin.len() && &client[..begin.len()] == begin,
        None => *pattern == client,
    })
}

/// The command line of `herd`, as its operator types it in the herd's directory.
fn herd_command(herd: &Herd, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("HERD_")) {
        command.env_remove(name);
    }
    let output = command.current_dir(herd.dir()).args(arguments).stdin(Stdio::null()).output();
    let output = output.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

pub fn done(herd: &Herd, arguments: &[&str]) -> String {
    let (code, said, complaint) = herd_command(herd, arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {complaint}");
    said
}

/// A server whose access is configured, and the secret of each token.
pub fn guarded() -> (Herd, Vec<String>) {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let mut secrets = Vec::new();
    for who in &TOKENS {
        let mut arguments = vec!["token", "add", who.name];
        who.report.iter().for_each(|pattern| arguments.extend(["--report", pattern]));
        who.read.iter().for_each(|pattern| arguments.extend(["--read", pattern]));
        if who.name == "late" {
            arguments.extend(["--for", "1 ms"]);
        }
        let said = done(&herd, &arguments);
        let secret = said.strip_suffix('\n').unwrap().to_owned();
        assert!(secret.len() == 32 && secret.bytes().all(|byte| byte.is_ascii_hexdigit()));
        secrets.push(secret);
    }
    done(&herd, &["token", "remove", "gone"]);
    done(&herd, &["keygen", "herd.key"]);
    let flags = [PLACELESS, &["--access", "access.toml", "--key-file", "herd.key"]].concat();
    herd.start("Hill", &flags);
    for client in CLIENTS {
        herd.report("Hill", client, "+1-1", "7");
    }
    (herd, secrets)
}

/// Head lines and the beginning of the path, for a secret, and whether that is right.
type Way = fn(&str, &str) -> (String, String);

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let bits = (0..3).fold(0_usize, |bits, at| {
            bits << 8 | usize::from(chunk.get(at).copied().unwrap_or_default())
        });
        for at in 0..4 {
            let digit = char::from(DIGITS[bits >> (18 - 6 * at) & 63]);
            text.push(if at <= chunk.len() { digit } else { '=' });
        }
    }
    text
}

pub fn basic(user: &str, secret: &str) -> String {
    format!("Authorization: Basic {}\r\n", base64(format!("{user}:{secret}").as_bytes()))
}

const WAYS: [(&str, bool, Way); 6] = [
    ("bearer", true, |_, secret| (format!("Authorization: Bearer {secret}\r\n"), String::new())),
    ("basic", true, |name, secret| (basic(name, secret), String::new())),
    ("path", true, |_, secret| (String::new(), format!("/t/{secret}"))),
    ("another's", false, |_, secret| (basic("somebody", secret), String::new())),
    ("cut", false, |_, secret| {
        (format!("Authorization: Bearer {}\r\n", &secret[1..]), String::new())
    }),
    ("nothing", false, |_, _| (String::new(), String::new())),
];

/// What a browser says of the page that asks, and whether that is ours.
const PAGES: [(&str, bool); 4] = [
    ("", true),
    ("Sec-Fetch-Site: same-origin\r\nOrigin: http://localhost\r\n", true),
    ("Sec-Fetch-Site: cross-site\r\nOrigin: https://evil.example\r\n", false),
    ("Origin: null\r\n", false),
];

pub fn ask(conn: &mut Operator, method: &str, head: &str, path: &str, body: &str) -> Reply {
    let length = body.len();
    conn.ask(&format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n{head}\
         Content-Length: {length}\r\n\r\n{body}"
    ))
}

/// What an answer shows of clients: all that it has in its body.
fn shown(reply: &Reply) -> Vec<&'static str> {
    shown_by(&reply.body)
}

fn shown_by(body: &str) -> Vec<&'static str> {
    let has = |client: &&&str| body.contains(&serde_json::Value::from(**client).to_string());
    CLIENTS.iter().filter(has).copied().collect()
}

/// Goal: nobody sees or reports anybody that access.toml does not give them, whatever they ask and
/// however they say who they are; and they see and report all that it gives them.
#[test]
fn nobody_may_more_than_is_written() {
    let (herd, secrets) = guarded();
    let port = herd.web_port("Hill");
    let (mut cases, mut leaks) = (0_usize, Vec::new());
    for (who, secret) in TOKENS.iter().zip(&secrets) {
        for (way, is_right, credentials) in WAYS {
            let (credentials, begin) = credentials(who.name, secret);
            let is_in = !who.is_over && is_right;
            for (page, is_ours) in PAGES {
                let head = format!("{credentials}{page}");
                // Who was refused may be hung up on; wrong secrets cost patience, so they are few.
                let mut conn = Operator::connect(port);
                let mut check = |method: &str, path: &str, body: &str, expected: Expected| {
                    cases += 1;
                    let path = format!("{begin}{path}");
                    let reply = ask(&mut conn, method, &head, &path, body);
                    if !is_ours {
                        conn = Operator::connect(port);
                    }
                    let status_fits = match (is_ours, is_in) {
                        (false, _) => reply.status == 403,
                        (true, false) => matches!(reply.status, 401 | 429),
                        (true, true) => reply.status == expected.status,
                    };
                    let may_show = if is_ours && is_in { expected.shown } else { Vec::new() };
                    if !status_fits || shown(&reply) != may_show {
                        leaks.push(format!(
                            "{} {way} {page:?} {method} {path}: {reply:?}",
                            who.name
                        ));
                    }
                };
                for client in CLIENTS.into_iter().chain([NOBODY]) {
                    let is_seen = client != NOBODY && among(who.read, client);
                    let one = if is_seen { vec![client] } else { Vec::new() };
                    let status = if is_seen { 200 } else { 404 };
                    let path = format!("/v1/clients/{client}");
                    check("GET", &path, "", Expected { status, shown: one.clone() });
                    let path = format!("/v1/clients?id={client}&id={NOBODY}");
                    check("GET", &path, "", Expected { status: 200, shown: one.clone() });
                    let path = format!("/v1/clients?id=jane/phone&id={client}&id=kiwi");
                    let asked = ["jane/phone", client, "kiwi"];
                    let all = CLIENTS.into_iter().filter(|it| asked.contains(it));
                    let all = all.filter(|it| among(who.read, it)).collect();
                    check("GET", &path, "", Expected { status: 200, shown: all });
                    // A head alone has no body, and is as long as the body would be.
                    let path = format!("/t/{secret}/v1/clients/{client}");
                    let is_nested = !begin.is_empty();
                    let status = if is_nested { 404 } else { status };
                    let shown = if is_nested || way == "path" { Vec::new() } else { one };
                    if way == "bearer" {
                        check("GET", &path, "", Expected { status, shown });
                    }
                    // It is older than what is held, so nothing changes but what is counted.
                    let body = format!("id={client}&lat=1&lon=1&timestamp=5");
                    check("POST", "/report", &body, Expected { status: 200, shown: Vec::new() });
                }
                check("GET", "/v1/me", "", Expected { status: 200, shown: exact(who) });
            }
        }
    }
    assert!(
        leaks.is_empty(),
        "{} of {cases} cases: {:#?}",
        leaks.len(),
        &leaks[..leaks.len().min(9)]
    );
    assert!(cases >= 5_000, "{cases}");
    println!("{cases} cases");
}

struct Expected {
    status: u16,
    shown: Vec<&'static str>,
}

/// What `/v1/me` repeats of a token: names in full are clients.
fn exact(who: &Who) -> Vec<&'static str> {
    let named = |client: &&str| who.read.contains(client) || who.report.contains(client);
    CLIENTS.into_iter().filter(named).collect()
}

/// Goal: who asks who is near, and who follows, hears of those that its token may see, and of no
/// one else.
#[test]
fn nobody_finds_or_follows_others() {
    let (herd, secrets) = guarded();
    let port = herd.web_port("Hill");
    for (who, secret) in TOKENS.iter().zip(&secrets).filter(|(who, _)| !who.is_over) {
        let may = Vec::from_iter(CLIENTS.into_iter().filter(|client| among(who.read, client)));
        let head = format!("Authorization: Bearer {secret}\r\n");
        let mut conn = Operator::connect(port);
        for query in ["near=1,-1&radius=9", "bbox=-9,-9,9,9", "prefix=", "bbox=-9,-9,9,9&thin=true"]
        {
            let reply = ask(&mut conn, "GET", &head, &format!("/v1/clients?{query}"), "");
            assert_eq!((reply.status, shown(&reply)), (200, may.clone()), "{} {query}", who.name);
        }
        for query in ["", "prefix=", "bbox=-9,-9,9,9", "fence=f:-9,-9,9,9"] {
            let mut stream = Client::connect(port);
            let path = format!("/v1/follow?{query}");
            stream.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n"));
            let heard = String::from_utf8(stream.through(b"event: ready")).unwrap();
            assert_eq!(shown_by(&heard), may, "{} {query}", who.name);
        }
    }
}

/// Goal: a token reports those that it may and no others, and is told so in neither case.
#[test]
fn reports_of_others_are_not_taken() {
    let (herd, secrets) = guarded();
    let mut conn = Operator::connect(herd.web_port("Hill"));
    let mut second = 1_000;
    for (who, secret) in TOKENS.iter().zip(&secrets) {
        for client in CLIENTS {
            second += 1;
            let before = herd.held("Hill", client).unwrap();
            let path = format!("/t/{secret}/?id={client}&lat=2&lon=2&timestamp={second}");
            let reply = ask(&mut conn, "POST", "", &path, "");
            let may = !who.is_over && among(who.report, client);
            assert_eq!(reply.status, if who.is_over { 401 } else { 200 }, "{} {client}", who.name);
            let is_other = herd.held("Hill", client).unwrap() != before;
            assert_eq!(is_other, may, "{} {client}: {reply:?}", who.name);
            if !who.is_over {
                assert_eq!(reply.body.contains("\"not_allowed\":1"), !may, "{reply:?}");
            }
            if who.is_over {
                break;
            }
        }
    }
    // An empty id is the token's name.
    let path = format!("/t/{}/?lat=2&lon=2", secrets[3]);
    assert_eq!(ask(&mut conn, "POST", "", &path, "").status, 200);
    assert!(herd.held("Hill", "mouth").is_some());
    // OwnTracks hears where its friends are, and not where others are.
    let body = r#"{"_type":"location","lat":2,"lon":2,"tst":1520023934,"topic":"o/jane/phone"}"#;
    let reply = ask(&mut conn, "POST", &basic("jane", &secrets[0]), "/pub", body);
    assert_eq!(shown(&reply), ["jane/watch", "kiwi"], "{reply:?}");
    let reply = ask(&mut conn, "POST", &basic("mouth", &secrets[3]), "/pub", body);
    assert_eq!((reply.status, &*reply.body), (200, "[]"));
}

/// Goal: a browser shows its secret once, and a link shows one client until it is taken back.
#[test]
fn sessions_and_links_end() {
    let (herd, secrets) = guarded();
    let mut conn = Operator::connect(herd.web_port("Hill"));
    let bearer = |text: &str| format!("Authorization: Bearer {text}\r\n");
    let reply = ask(&mut conn, "POST", &bearer(&secrets[0]), "/v1/session", "");
    let cookie = &reply.headers["set-cookie"];
    assert!(cookie.contains("; HttpOnly") && cookie.contains("; SameSite=Strict"), "{cookie}");
    assert!(!cookie.contains(&secrets[0]), "{cookie}");
    let cookie = format!("Cookie: {}\r\n", cookie.split(';').next().unwrap());
    assert_eq!(ask(&mut conn, "GET", &cookie, "/v1/clients/kiwi", "").status, 200);
    assert_eq!(ask(&mut conn, "GET", &cookie, "/v1/clients/joe/car", "").status, 404);
    let page = format!("{cookie}Origin: https://evil.example\r\n");
    let mut other = Operator::connect(herd.web_port("Hill"));
    assert_eq!(ask(&mut other, "GET", &page, "/v1/clients/kiwi", "").status, 403);

    let share = ["share", "joe/car", "--for", "1 h", "--access", "access.toml"];
    let share = [&share[..], &["--key-file", "herd.key", "--config", "herd.toml"]].concat();
    let (code, url, hint) = herd_command(&herd, &share);
    assert_eq!(code, Some(0), "{hint}");
    let (_, link) = url.trim_end().split_once("/map#").unwrap();
    let see = |conn: &mut Operator, client: &str| {
        ask(conn, "GET", &bearer(link), &format!("/v1/clients/{client}"), "").status
    };
    assert_eq!(see(&mut conn, "joe/car"), 200);
    for client in ["kiwi", "jane/phone", NOBODY] {
        assert_eq!(see(&mut conn, client), 404);
    }
    let report = "/report?id=joe/car&lat=3&lon=3";
    let reply = ask(&mut conn, "GET", &bearer(link), report, "");
    assert!(reply.status == 200 && reply.body.contains("\"not_allowed\":1"), "{reply:?}");
    assert_eq!(ask(&mut conn, "POST", &bearer(link), "/v1/session", "").status, 404);
    let serial = hint.split('`').nth(1).unwrap().rsplit(' ').next().unwrap();
    done(&herd, &["token", "revoke", serial]);
    done(&herd, &["token", "remove", "jane"]);
    done(&herd, &["reload", "--wait", "--run-dir", herd.path("run").to_str().unwrap()]);
    assert_eq!(see(&mut conn, "joe/car"), 401, "it was taken back");
    assert_eq!(ask(&mut conn, "GET", &cookie, "/v1/clients/kiwi", "").status, 401);
    let log = herd.log("Hill");
    assert!(secrets.iter().all(|secret| !log.contains(secret)) && !log.contains(link), "{log}");
}

/// Goal: ten wrong secrets of an address are answered, then it has to wait; a right secret is
/// let in all the same. A half-written file changes nothing.
#[test]
fn who_guesses_waits() {
    let (herd, secrets) = guarded();
    let mut conn = Operator::connect(herd.web_port("Hill"));
    let mut get = |head: &str, path: &str| ask(&mut conn, "GET", head, path, "");
    let reply = get("", "/v1/clients/kiwi");
    assert_eq!(reply.status, 401);
    assert_eq!(reply.headers["www-authenticate"], "Basic realm=\"herd\"");
    assert_eq!(
        get("Sec-Fetch-Site: same-origin\r\n", "/v1/me").headers["www-authenticate"],
        "Bearer realm=\"herd\""
    );
    let guesses = Vec::from_iter((0..15).map(|guess| {
        get(&format!("Authorization: Bearer {guess:032x}\r\n"), "/v1/clients/kiwi").status
    }));
    assert_eq!(guesses, [&[401; 10][..], &[429; 5]].concat());
    let right = format!("Authorization: Bearer {}\r\n", secrets[0]);
    assert_eq!(get(&right, "/v1/clients/kiwi").status, 200);
    assert_eq!(get("", "/").status, 200, "help is for everybody");

    let text = fs::read_to_string(herd.path("access.toml")).unwrap();
    assert!(secrets.iter().all(|secret| !text.contains(secret)));
    fs::write(herd.path("access.toml"), format!("{text}\n[[token]]\nname = \"half")).unwrap();
    let run_dir = herd.path("run");
    let reload = ["reload", "--wait", "--run-dir", run_dir.to_str().unwrap()];
    let (code, _, complaint) = herd_command(&herd, &reload);
    assert!(code != Some(0) && complaint.contains("access file"), "{complaint}");
    assert_eq!(get(&right, "/v1/clients/kiwi").status, 200);
    let metrics = Operator::connect(herd.operators_port("Hill")).get("/metrics").body;
    let refused = |reason: &str, count: u32| {
        let line = format!("herd_web_refused_total{{reason=\"{reason}\"}} {count}\n");
        assert!(metrics.contains(&line), "{line}");
    };
    refused("wrong_secret", 10);
    refused("too_many_wrong", 5);
    refused("no_secret", 2);
}

/// Goal: positions of people are forgotten after a day and not written into the log, unless
/// herd.toml says otherwise.
#[test]
fn a_guarded_herd_keeps_less() {
    let (herd, _) = guarded();
    let check = |flags: &[&str]| {
        let arguments = ["check-config", "Hill", "--config", "herd.toml"];
        done(&herd, &[&arguments[..], flags].concat())
    };
    let usual = check(&[]);
    assert!(usual.contains(", traffic\n") && !usual.contains("limits.expire_after"), "{usual}");
    let guarded = check(&["--access", "access.toml"]);
    assert!(guarded.contains(", info\n") || guarded.contains(", events\n"), "{guarded}");
    assert!(guarded.contains("limits.expire_after") && guarded.contains("1 d"), "{guarded}");
    let loud = check(&["--access", "access.toml", "--log-level", "traffic"]);
    assert!(loud.contains(", traffic\n"), "{loud}");
}
