//! Services that refuse, hang, lie and flood, in each of the remote protocols: what a client gets
//! of it, and that it costs little time and memory. Apart from `places`, which is about what the
//! server makes of a service that is good, slow or away.

mod common;

use std::fs;
use std::io::Write;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use common::fake_places::{Call, FakePlaces, GOOGLE_LEGACY, GOOGLE_NEW, OVERPASS, Protocol};
use common::{Client, Herd, skip};
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

/// For services that never answer; and long enough for a good answer on a busy machine.
const DEADLINE: Duration = Duration::from_secs(6);

/// For services that are through at once, however busy the machine is.
const LONG: Duration = Duration::from_secs(120);

/// What may pass beyond the deadline. Only what hangs comes near it.
const SLACK: Duration = Duration::from_secs(60);

/// What all of it may cost a server of four workers that read no body beyond two megabytes.
const GROWTH_BYTES_MAX: usize = 16 << 20;

/// What a flood offers: more than sockets hold, and than a server may take.
const FLOOD_BYTES: usize = 256 << 20;

/// What a service does with a call, and its name here.
type Reply = (&'static str, fn(Call));

/// What only the deadline ends.
const SLOW: &[Reply] = &[
    ("keeps silent", Call::keep_silent),
    ("drips the head", |call| drip(call, "HTTP/1.1 200 OK\r\nX-Head: ")),
    ("drips the body", |call| drip(call, "HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")),
    ("refuses and keeps the reason", |mut call| {
        call.send("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 9999\r\n\r\nbecause");
        call.keep_silent();
    }),
];

/// What is over at once, by what the client is told.
const QUICK: &[(&str, &str, &[Reply])] = &[
    (
        "UNKNOWN_ERROR",
        "the places service answered with HTTP status 302",
        &[("sends elsewhere", |call| call.answer("302 Found\r\nLocation: /elsewhere", ""))],
    ),
    (
        "REQUEST_DENIED",
        "the places service answered with HTTP status 403",
        &[("forbids", |call| call.answer("403 Forbidden", "<html>"))],
    ),
    (
        "OVER_QUERY_LIMIT",
        "the places service answered with HTTP status 429",
        &[("has had enough", |call| call.answer("429 Too Many Requests", "<html>"))],
    ),
    (
        "UNKNOWN_ERROR",
        "the places service answered with HTTP status 500",
        &[("fails", |call| call.answer("500 Internal Server Error", "<html>"))],
    ),
    (
        "UNKNOWN_ERROR",
        // The system says how; what it has kept of the body may be told first.
        "the places service failed: ",
        &[
            ("resets", Call::reset),
            ("resets in the body", |mut call| {
                call.send("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{");
                call.reset();
            }),
        ],
    ),
    (
        "UNKNOWN_ERROR",
        "the places service failed: unexpected end of file",
        &[
            ("hangs up", drop),
            ("hangs up in the head", |call| say(call, "Content-Len")),
            ("announces too long a body", |call| say(call, "Content-Length: 9\r\n\r\n{}")),
        ],
    ),
    (
        "UNKNOWN_ERROR",
        "the places service does not speak HTTP as it should",
        &[
            ("speaks another language", |mut call| {
                call.send("220 ready\r\n\r\n");
            }),
            ("counts below zero", |call| say(call, "Content-Length: -1\r\n\r\n{}")),
            ("counts twice", |call| say(call, "Content-Length: 2\r\nContent-Length: 9\r\n\r\n{}")),
            ("chops badly", |call| say(call, "Transfer-Encoding: chunked\r\n\r\nfew\r\n{}")),
            ("has an endless head", |call| flood(call, "", b"X-More: and more, and more\r\n")),
            ("packs nothing", |call| packed(call, b"{}")),
            ("packs half of it", |call| packed(call, &BOMB[..100])),
            ("clears its throat", |call| {
                let progress = "HTTP/1.1 102 Processing\r\n\r\n";
                call.send_for_ever(progress, Duration::ZERO, FLOOD_BYTES / progress.len());
            }),
        ],
    ),
    (
        "UNKNOWN_ERROR",
        "the places service answered with more than 2097152 bytes",
        &[
            ("sends a huge body", |call| {
                flood(call, &format!("Content-Length: {FLOOD_BYTES}\r\n\r\n"), &[b' '; 1 << 16]);
            }),
            ("sends an endless body", |call| {
                let chunk = format!("8000\r\n{}\r\n", " ".repeat(0x8000));
                flood(call, "Transfer-Encoding: chunked\r\n\r\n", chunk.as_bytes());
            }),
            ("sends a bomb", |call| packed(call, &BOMB)),
        ],
    ),
    (
        "UNKNOWN_ERROR",
        "the places service answered, but not with places",
        &[
            ("is no JSON", |call| call.answer("200 OK", "<html>Sign in to continue")),
            ("is no text", |call| say(call, "Content-Length: 4\r\n\r\n\"\u{e9}\"")),
            ("is empty", |call| call.answer("204 No Content", "")),
            ("is cut off", |call| {
                let place = call.protocol.place();
                call.answer("200 OK", &place[..place.len() - 1]);
            }),
            ("is deep", |call| {
                let deep = call.protocol.place_begun().to_owned() + &"[".repeat(1_000_000);
                call.answer("200 OK", &deep);
            }),
            ("is somebody else", |call| call.answer("200 OK", "{\"login\":\"please\"}")),
            // What is too much must not be taken for the next answer.
            ("announces too short a body", |call| {
                let rest = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
                say(call, &format!("Content-Length: 1\r\n\r\n{{}}{rest}"));
            }),
        ],
    ),
];

/// A gibibyte of spaces in a megabyte. Packed pieces, one after the other, are the whole packed.
static BOMB: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut piece = GzEncoder::new(Vec::new(), Compression::best());
    piece.write_all(&vec![b' '; 1 << 20]).unwrap();
    piece.finish().unwrap().repeat(1 << 10)
});

/// Says that all is well; the head goes on with `rest`, behind which may be a body.
fn say(mut call: Call, rest: &str) {
    call.send(format!("HTTP/1.1 200 OK\r\n{rest}"));
}

fn packed(mut call: Call, body: &[u8]) {
    let length = body.len();
    let head = format!("Content-Encoding: gzip\r\nContent-Length: {length}\r\n\r\n");
    call.send(format!("HTTP/1.1 200 OK\r\n{head}"));
    call.send(body);
}

fn drip(mut call: Call, begin: &str) {
    call.send(begin);
    call.send_for_ever(" ", Duration::from_millis(20), 1_500);
}

/// Sends `piece` again and again, behind a head that goes on with `rest`.
fn flood(mut call: Call, rest: &str, piece: &[u8]) {
    call.send(format!("HTTP/1.1 200 OK\r\n{rest}"));
    call.send_for_ever(piece, Duration::ZERO, FLOOD_BYTES / piece.len());
}

/// A server, the service that it asks, and a client of it that asks on one connection.
struct Asking {
    herd: Herd,
    fake: FakePlaces,
    client: Client,
    /// Where the client is.
    line: String,
    /// No two questions are the same, or one call could answer both.
    questions: u32,
}

impl Asking {
    /// Nobody listens where the service is to be, until the first question has been answered.
    fn of(protocol: &'static Protocol, deadline: Duration) -> Asking {
        let deadline = deadline.as_millis();
        let section = format!("[places]\ndeadline = \"{deadline} ms\"\n");
        let mut herd = Herd::of_file(&["Hill"], &[], &section);
        let port = herd.spare_port();
        let url = format!("http://127.0.0.1:{port}");
        herd.start("Hill", &["--places", protocol.source, "--places-url", &url]);
        let line = herd.report("Hill", "kiwi", "+34.0-118.0", "1520023934.918963997");

        let mut client = herd.connect("Hill");
        client.send("WHATSAT kiwi 0 5\n");
        let refused = "the places service failed: connection refused";
        check_failure(&hear(&mut client, &line), "UNKNOWN_ERROR", refused);
        let fake = FakePlaces::at(port, protocol);
        Asking { herd, fake, client, line, questions: 0 }
    }

    fn ask(&mut self) {
        self.questions += 1;
        self.client.send(format!("WHATSAT kiwi 0.{:03} 5\n", self.questions));
    }

    /// Asks once for each reply, all at once; the service gives them, and the client is told.
    fn check(&mut self, replies: &[Reply], status: &str, message: &str) {
        let names: Vec<_> = replies.iter().map(|(name, _)| *name).collect();
        // Heard only if the test fails.
        println!("{}: the service {}", self.fake.source(), names.join(", "));
        let begin = Instant::now();
        for _ in replies {
            self.ask();
        }
        let give = |(_, reply): &Reply| {
            let (call, reply) = (self.fake.call(), *reply);
            thread::spawn(move || reply(call))
        };
        let services: Vec<_> = replies.iter().map(give).collect();
        for _ in replies {
            check_failure(&hear(&mut self.client, &self.line), status, message);
        }
        let took = begin.elapsed();
        assert!(took < DEADLINE + SLACK, "it took {took:?}");
        for service in services {
            service.join().unwrap();
        }
        self.check_good();
    }

    /// The service is good again. So is the client's connection: nothing came between the answers.
    fn check_good(&mut self) {
        self.ask();
        self.fake.call().answer_place();
        let body = hear(&mut self.client, &self.line);
        let names: Vec<_> =
            body["results"].as_array().unwrap().iter().map(|r| &r["name"]).collect();
        assert_eq!((&body["status"], names), (&"OK".into(), vec![&"A".into()]));
        assert!(self.client.is_silent() && self.fake.is_idle());
    }

    /// The most memory that the server has ever had, where the system tells it as Linux does.
    fn peak_bytes(&self) -> Option<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.herd.pid("Hill"))).ok()?;
        let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
        Some(1024 * line.split_whitespace().nth(1)?.parse::<usize>().ok()?)
    }
}

/// Reads an answer, which must begin with this AT line.
fn hear(client: &mut Client, line: &str) -> Value {
    assert_eq!(client.line(), format!("{line}\n").as_bytes());
    serde_json::from_slice(&client.through(b"\n\n")).unwrap()
}

/// The body must be the excuse with this status, this in the reason, and nothing else.
fn check_failure(body: &Value, status: &str, message: &str) {
    let reason = body["error_message"].as_str().unwrap_or_default();
    let expected = json!({
        "html_attributions": [], "results": [], "status": status, "error_message": reason,
    });
    assert_eq!(*body, expected);
    assert!(reason.contains(message), "{reason:?} lacks {message:?}");
}

/// Goal: whatever a service does, the client gets the fitting answer in time, the server keeps its
/// memory, and the next good answer is as good as ever. Method: one server goes through what only
/// the deadline ends, and one that has patience through all that is over at once.
fn check_protocol(protocol: &'static Protocol) {
    let mut asking = Asking::of(protocol, DEADLINE);
    asking.check_good();
    // Each costs the whole deadline; there are as many workers.
    asking.check(SLOW, "UNKNOWN_ERROR", " did not answer in time");
    drop(asking);

    let mut asking = Asking::of(protocol, LONG);
    asking.check_good();
    let before = asking.peak_bytes();
    for (status, message, replies) in QUICK {
        for reply in *replies {
            asking.check(&[*reply], status, message);
        }
    }
    match (before, asking.peak_bytes()) {
        (Some(before), Some(after)) => {
            assert!(after < before + GROWTH_BYTES_MAX, "grew from {before} to {after} bytes");
        }
        _ => skip("the memory of a process is looked up on Linux only"),
    }
}

/// Goal: a crowd before a service that hangs is answered in time, every one of it, whether it got
/// into the queue or not. Method: 500 questions at once, and a service that takes four.
#[test]
fn five_hundred_ask_a_service_that_hangs() {
    let fake = FakePlaces::at(0, &GOOGLE_NEW);
    let deadline = DEADLINE.as_millis();
    let herd = Herd::of_one(&fake.sections(&format!("deadline = \"{deadline} ms\"\n")), &[]);
    let line = herd.report("Hill", "kiwi", "+34.0-118.0", "1520023934.918963997");
    let begin = Instant::now();
    let mut clients: Vec<_> = (0..10).map(|_| herd.connect("Hill")).collect();
    for (number, client) in clients.iter_mut().enumerate() {
        let ask = |question| format!("WHATSAT kiwi {number}.{question:02} 5\n");
        client.send((0..50).map(ask).collect::<String>());
    }
    let held: Vec<_> = (0..4).map(|_| fake.call()).collect();
    let (mut late, mut refused) = (0, 0);
    for client in &mut clients {
        for _ in 0..50 {
            let body = hear(client, &line);
            if body["status"] == "OVER_QUERY_LIMIT" {
                check_failure(&body, "OVER_QUERY_LIMIT", "too many questions are waiting");
                refused += 1;
            } else {
                check_failure(&body, "UNKNOWN_ERROR", "did not answer in time");
                late += 1;
            }
        }
    }
    assert_eq!((late, refused), (260, 240), "four are asked and 256 wait");
    let took = begin.elapsed();
    assert!(took < DEADLINE + SLACK, "it took {took:?}");
    // Now the service is well again, and what nobody waits for any more is not asked. Those who
    // came a moment after the first may still have waited when a worker was free.
    drop(held);
    let mut asked = 0;
    while let Some(call) = fake.next_call(Duration::from_millis(500)) {
        drop(call);
        asked += 1;
    }
    assert!(asked <= 8, "{asked} of 256 were asked in vain");
}

#[test]
fn google_legacy_misbehaves() {
    check_protocol(&GOOGLE_LEGACY);
}

#[test]
fn google_new_misbehaves() {
    check_protocol(&GOOGLE_NEW);
}

#[test]
fn overpass_misbehaves() {
    check_protocol(&OVERPASS);
}
