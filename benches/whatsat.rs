//! What questions about places cost the others, and what they cost themselves. Apart from the
//! benches of criterion because one figure is a tail, which criterion does not keep, and both are
//! ratios of two loads in one run.
//!
//! 1. A service of places is dead: it accepts and never answers. While sixteen clients keep asking,
//!    another client's IAMATs should take as long as without them. Rounds with and without
//!    questions alternate; each server has its own process.
//! 2. A service takes 100 ms. One client asks 64 questions at once, about 64 places and then about
//!    one: four workers need 1.6 s for the first, and one call answers the second.
//! 3. Bytes a second that leave for IAMATs and for WHATSATs of the embedded atlas, pipeline 16.

mod common {
    pub mod server;
}

use std::hint::black_box;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::server::Server;

const ASKERS: usize = 16;
const ASK_EVERY: Duration = Duration::from_millis(5);
const PIPELINE: usize = 16;

fn main() {
    // `cargo bench -- --test` asks for one short pass.
    let is_test = std::env::args().any(|argument| argument == "--test");
    let (rounds, round) =
        if is_test { (1, Duration::from_millis(100)) } else { (8, Duration::from_millis(500)) };
    beside_a_dead_service(rounds, round);
    many_questions_at_once();
    bytes_a_second(rounds, round);
}

fn beside_a_dead_service(rounds: usize, round: Duration) {
    let dead = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = dead.local_addr().expect("it is bound");
    // Its backlog accepts for it; nobody ever reads.
    let sections = format!(
        "[places]\nsource = \"google-legacy\"\nurl = \"http://{address}\"\ndeadline = \"300 ms\"\n"
    );
    let server = Server::start_with(&sections);
    let mut steady = TcpStream::connect(server.clients).expect("it listens");
    let mut quiet = Vec::new();
    let mut beside = Vec::new();
    for _ in 0..rounds {
        quiet.extend(round_trips(&mut steady, round));
        let asking = Arc::new(AtomicBool::new(true));
        let askers: Vec<_> = (0..ASKERS)
            .map(|number| {
                let (asking, clients) = (asking.clone(), server.clients);
                thread::spawn(move || ask_while(&asking, clients, number))
            })
            .collect();
        beside.extend(round_trips(&mut steady, round));
        asking.store(false, Ordering::Relaxed);
        let questions: usize = askers.into_iter().map(|asker| asker.join().unwrap_or(0)).sum();
        black_box(questions);
    }
    println!("IAMAT on a connection of its own, beside {ASKERS} clients that ask a dead service:");
    for (name, percent) in [("p50", 50), ("p90", 90), ("p99", 99)] {
        let [quiet, beside] = [&mut quiet, &mut beside].map(|times| percentile(times, percent));
        let ratio = beside.as_secs_f64() / quiet.as_secs_f64();
        println!("  {name}: {quiet:?} without, {beside:?} with, ratio {ratio:.2}");
    }
}

/// Asks for something new each time, so that every question is a call.
fn ask_while(asking: &AtomicBool, clients: SocketAddr, number: usize) -> usize {
    let stream = TcpStream::connect(clients).expect("it listens");
    let mut heard = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut stream = stream;
    let mut line = String::new();
    let mut questions = 0;
    writeln!(stream, "IAMAT asker-{number} +1+1 1").expect("it reads");
    heard.read_line(&mut line).expect("it answers");
    while asking.load(Ordering::Relaxed) {
        let radius = questions % 50;
        writeln!(stream, "WHATSAT asker-{number} {radius}.{number} 5").expect("it reads");
        // The AT line, then a document, then an empty line.
        while line != "\n" {
            line.clear();
            heard.read_line(&mut line).expect("it answers in time");
        }
        line.clear();
        questions += 1;
        // Once the service counts as dead a refusal takes microseconds. What is to be measured is
        // the dead service, not sixteen clients that ask as fast as they can.
        thread::sleep(ASK_EVERY);
    }
    questions
}

fn round_trips(stream: &mut TcpStream, round: Duration) -> Vec<Duration> {
    let mut answer = [0; 256];
    let mut times = Vec::new();
    let end = Instant::now() + round;
    while Instant::now() < end {
        let begin = Instant::now();
        let line = format!("IAMAT steady +34.068930-118.445127 {}\n", times.len());
        stream.write_all(line.as_bytes()).expect("it reads");
        let count = stream.read(&mut answer).expect("it answers");
        assert!(answer[..count].ends_with(b"\n"), "one short line");
        times.push(begin.elapsed());
    }
    times
}

fn percentile(times: &mut [Duration], percent: usize) -> Duration {
    times.sort_unstable();
    times[(times.len() - 1) * percent / 100]
}

fn many_questions_at_once() {
    const QUESTIONS: usize = 64;
    let calls = Arc::new(AtomicUsize::new(0));
    let slow = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = slow.local_addr().expect("it is bound");
    let counter = calls.clone();
    thread::spawn(move || {
        for stream in slow.incoming() {
            let calls = counter.clone();
            thread::spawn(move || answer_slowly(stream.expect("somebody calls"), &calls));
        }
    });
    let sections = format!("[places]\nsource = \"google-legacy\"\nurl = \"http://{address}\"\n");
    let server = Server::start_with(&sections);
    let mut stream = TcpStream::connect(server.clients).expect("it listens");
    let report = |number| format!("IAMAT client-{number} +{}.5+1 1\n", number % 90);
    let reports: String = (0..QUESTIONS).map(report).collect();
    read_until(&mut stream, &reports, b"\n", QUESTIONS);
    println!("{QUESTIONS} questions at once to a service that takes 100 ms:");
    let apart: String = (0..QUESTIONS).map(|n| format!("WHATSAT client-{n} 10 5\n")).collect();
    let same = "WHATSAT client-0 9 5\n".repeat(QUESTIONS);
    for (name, lines) in [("64 places", apart), ("one place", same)] {
        let before = calls.load(Ordering::Relaxed);
        let begin = Instant::now();
        let answers = read_until(&mut stream, &lines, b"\n\n", QUESTIONS);
        let asked = lines.lines().map(|line| line.split(' ').nth(1));
        let answered = std::str::from_utf8(&answers).expect("the service speaks ASCII").lines();
        let answered =
            answered.filter(|line| line.starts_with("AT ")).map(|at| at.split(' ').nth(3));
        assert!(asked.eq(answered), "answers in the order of questions");
        let calls = calls.load(Ordering::Relaxed) - before;
        println!("  {name}: {:?}, {calls} calls", begin.elapsed());
    }
}

/// One connection of the service; the client keeps it open from call to call.
fn answer_slowly(mut stream: TcpStream, calls: &AtomicUsize) {
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut piece) {
        head.extend_from_slice(&piece[..count]);
        if head.ends_with(b"\r\n\r\n") {
            head.clear();
            calls.fetch_add(1, Ordering::Relaxed);
            thread::sleep(Duration::from_millis(100));
            let body = "{\"results\":[],\"status\":\"ZERO_RESULTS\"}";
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
            if stream.write_all((head + body).as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn bytes_a_second(rounds: usize, round: Duration) {
    let server = Server::start();
    let mut stream = TcpStream::connect(server.clients).expect("it listens");
    let iamat = "IAMAT kiwi +60.169900+24.938400 1520023934.918963997\n".repeat(PIPELINE);
    let whatsat = "WHATSAT kiwi 50 20\n".repeat(PIPELINE);
    let answer_bytes = read_until(&mut stream, &iamat, b"\n", PIPELINE).len();
    // Twice: the first may have to wait for the atlas.
    read_until(&mut stream, &whatsat, b"\n\n", PIPELINE);
    let places_bytes = read_until(&mut stream, &whatsat, b"\n\n", PIPELINE).len();
    let mut rates = [Vec::new(), Vec::new()];
    for _ in 0..rounds {
        for (rates, (lines, bytes)) in
            rates.iter_mut().zip([(&iamat, answer_bytes), (&whatsat, places_bytes)])
        {
            rates.push(rate(&mut stream, lines, bytes, round));
        }
    }
    let [iamats, whatsats] = rates.map(|mut rates| {
        rates.sort_unstable_by(f64::total_cmp);
        rates[rates.len() / 2]
    });
    println!("bytes a second, one connection, pipeline {PIPELINE}:");
    println!("  IAMAT:   {:7.1} MB ({answer_bytes} bytes a batch)", iamats / 1e6);
    println!("  WHATSAT: {:7.1} MB ({places_bytes} bytes a batch)", whatsats / 1e6);
    println!("  ratio {:.2}", whatsats / iamats);
}

/// Sends lines and gives their answers, each of which ends with `end`.
fn read_until(stream: &mut TcpStream, lines: &str, end: &[u8], answers: usize) -> Vec<u8> {
    stream.write_all(lines.as_bytes()).expect("it reads");
    let mut heard = Vec::new();
    let mut piece = [0; 64 * 1024];
    while memchr::memmem::find_iter(&heard, end).count() < answers {
        let count = stream.read(&mut piece).expect("it answers");
        heard.extend_from_slice(&piece[..count]);
    }
    heard
}

fn rate(stream: &mut TcpStream, lines: &str, answer_bytes: usize, round: Duration) -> f64 {
    let mut answers = vec![0; answer_bytes];
    let begin = Instant::now();
    let mut bytes = 0;
    while begin.elapsed() < round {
        stream.write_all(lines.as_bytes()).expect("it reads");
        stream.read_exact(&mut answers).expect("it answers");
        bytes += answer_bytes;
    }
    bytes as f64 / begin.elapsed().as_secs_f64()
}
