//! Who is near: a million clients, of which up to a hundred are within a kilometre. The index
//! alone, the herd's answer as GeoJSON by HTTP, and Redis' GEOSEARCH of the same points, each with
//! positions and distances, the nearest first. `cargo bench --bench nearby`, only if it is asked
//! for; without a redis-server on the PATH it says so, and goes on without one.
//!
//! The three take turns, round by round, and what is compared is the CPU time of the process that
//! answers: this process, which asks, is not counted.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use herd_core::store::{HashKeys, Store};
use herd_web::clients::Clients;
use herd_web::nearby::Point;

#[allow(dead_code)]
#[path = "common/machine.rs"]
mod machine;

const CLIENTS: u32 = 1_000_000;
const RADIUS_M: f64 = 1_000.0;
/// Questions of one round, and how many of them are under way at a time.
const QUESTIONS: usize = 2_000;
const PIPELINE: usize = 16;
const ROUNDS: usize = 5;

/// A million points on 250 by 200 kilometres: 63 are within a kilometre of one, more or less.
struct Places(Vec<(f64, f64)>);

impl Places {
    fn new() -> Places {
        let mut random = fastrand::Rng::with_seed(11);
        // Written as they are reported, so that all hold the same.
        let place = |number: f64| (number * 1e6).round() / 1e6;
        let one = |_| (place(60.0 + random.f64() * 1.8), place(24.0 + random.f64() * 4.62));
        Places((0..CLIENTS).map(one).collect())
    }

    fn centres(&self, round: usize) -> impl Iterator<Item = (f64, f64)> {
        let step = self.0.len() / QUESTIONS;
        (0..QUESTIONS).map(move |n| self.0[n * step + round])
    }
}

/// A server that is asked, and killed in the end.
struct Asked {
    child: Child,
    stream: BufReader<TcpStream>,
}

impl Asked {
    fn start(mut command: Command, port: u16) -> Asked {
        let child = command.stdout(Stdio::null()).spawn().expect("the program can be started");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let deadline = Instant::now() + Duration::from_secs(30);
        let stream = loop {
            match TcpStream::connect(address) {
                Ok(stream) => break BufReader::with_capacity(1 << 20, stream),
                Err(error) => assert!(Instant::now() < deadline, "{address}: {error}"),
            }
            thread::sleep(Duration::from_millis(5));
        };
        Asked { child, stream }
    }

    /// CPU time of the server so far, in seconds.
    fn cpu(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it lives");
        let (_, behind) = stat.rsplit_once(") ").expect("proc(5)");
        let fields = Vec::from_iter(behind.split(' '));
        let ticks = |at: usize| fields[at].parse::<f64>().expect("a number");
        (ticks(11) + ticks(12)) / 100.0
    }

    /// Asks all, some at a time, and gives microseconds of CPU and of the clock a question, and
    /// how many were found.
    fn ask(
        &mut self,
        questions: &[String],
        found: fn(&mut BufReader<TcpStream>) -> usize,
    ) -> [f64; 3] {
        let (cpu, began, mut hits) = (self.cpu(), Instant::now(), 0);
        for some in questions.chunks(PIPELINE) {
            self.stream.get_mut().write_all(some.concat().as_bytes()).expect("it listens");
            hits += some.iter().map(|_| found(&mut self.stream)).sum::<usize>();
        }
        let count = questions.len() as f64;
        let clock = began.elapsed().as_secs_f64();
        [(self.cpu() - cpu) * 1e6 / count, clock * 1e6 / count, hits as f64 / count]
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).expect("an answer");
    line.trim_end().to_owned()
}

/// Whether an answer by HTTP is good, and its body.
fn answer(stream: &mut BufReader<TcpStream>) -> (bool, String) {
    let is_good = line(stream).starts_with("HTTP/1.1 200");
    let mut length = 0;
    loop {
        let line = line(stream);
        if let Some(value) = line.strip_prefix("Content-Length: ") {
            length = value.parse().expect("a length");
        } else if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("a body");
    (is_good, String::from_utf8(body).expect("text"))
}

/// Features of an answer by HTTP.
fn features(stream: &mut BufReader<TcpStream>) -> usize {
    let (is_good, body) = answer(stream);
    assert!(is_good, "{body}");
    let (_, count) = body.rsplit_once("ed\":").expect("a count");
    count.trim_end().trim_end_matches('}').parse().expect("no next page")
}

/// A question by HTTP.
fn near((latitude, longitude): (f64, f64)) -> String {
    format!(
        "GET /v1/clients?near={latitude},{longitude}&radius={RADIUS_M}&limit=1000 HTTP/1.1\r\n\
         Host: localhost\r\n\r\n"
    )
}

/// Members of an array of Redis, each with its distance and its position.
fn members(stream: &mut BufReader<TcpStream>) -> usize {
    let count = line(stream).strip_prefix('*').expect("an array").parse().expect("a count");
    for _ in 0..count {
        // *3, the member, the distance, *2, both coordinates: nine lines behind the first.
        for _ in 0..10 {
            line(stream);
        }
    }
    count
}

fn herd(dir: &std::path::Path, places: &Places) -> Asked {
    let ports = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    let [clients, peers, web] = ports.map(|it| it.local_addr().expect("it is bound").port());
    let text = format!(
        "herd = \"bench\"\n[[server]]\nname = \"Hub\"\nclients = \"127.0.0.1:{clients}\"\n\
         peers = \"127.0.0.1:{peers}\"\n[limits]\nclients_max = 2000000\n"
    );
    let config = dir.join("herd.toml");
    fs::write(&config, text).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.env("HERD_WEB", format!("127.0.0.1:{web}")).env("HERD_OPERATORS", "off");
    command.args(["serve", "Hub", "--log-level", "off", "--keep", "off"]);
    command.args(["--places", "google-legacy"]);
    command.args(["--places-url", "http://127.0.0.1:9", "--config"]).arg(&config);
    command.arg("--log-dir").arg(dir).arg("--run-dir").arg(dir);
    let mut asked = Asked::start(command, web);
    let stream = TcpStream::connect(("127.0.0.1", clients)).expect("it listens");
    let mut reading = BufReader::with_capacity(1 << 20, stream.try_clone().expect("a socket"));
    for (at, some) in places.0.chunks(1_000).enumerate() {
        let report = |(n, (latitude, longitude)): (usize, &(f64, f64))| {
            let n = at * 1_000 + n;
            format!("IAMAT client-{n} +{latitude:.6}+{longitude:.6} 1520023934.918963997\n")
        };
        let text = Vec::from_iter(some.iter().enumerate().map(report)).concat();
        (&stream).write_all(text.as_bytes()).expect("it listens");
        some.iter().for_each(|_| assert!(line(&mut reading).starts_with("AT Hub ")));
    }
    // The first question has the index made.
    loop {
        asked.stream.get_mut().write_all(near(places.0[0]).as_bytes()).expect("it listens");
        if answer(&mut asked.stream).0 {
            break asked;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

fn redis(places: &Places) -> Option<Asked> {
    machine::said("redis-server", &["--version"])?;
    let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = free.local_addr().expect("it is bound").port();
    drop(free);
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--port"]);
    let mut asked = Asked::start(
        {
            command.arg(port.to_string());
            command
        },
        port,
    );
    for (at, some) in places.0.chunks(1_000).enumerate() {
        let add = |(n, (latitude, longitude)): (usize, &(f64, f64))| {
            format!("GEOADD herd {longitude:.6} {latitude:.6} client-{}\r\n", at * 1_000 + n)
        };
        let text = Vec::from_iter(some.iter().enumerate().map(add)).concat();
        asked.stream.get_mut().write_all(text.as_bytes()).expect("it listens");
        some.iter().for_each(|_| assert_eq!(line(&mut asked.stream), ":1"));
    }
    Some(asked)
}

/// What a server keeps for those who ask and follow.
fn everybody(places: &Places) -> Clients {
    let store = Store::new(HashKeys { herd: (1, 2), process: (3, 4) });
    let mut clients = Clients::default();
    clients.keep_grid();
    clients.grid_is_read();
    for (n, &(latitude, longitude)) in places.0.iter().enumerate() {
        let name = format!("client-{n}");
        clients.put(store.key(name.as_bytes()), Point::new(latitude, longitude));
    }
    clients
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn main() {
    println!("{}", machine::description());
    let places = Places::new();
    let began = Instant::now();
    let mut clients = everybody(&places);
    let put = began.elapsed().as_secs_f64() * 1e9 / f64::from(CLIENTS);
    let index = clients.bytes();
    clients.keep_list();
    let keys = Vec::from_iter((0..clients.end()).map(|who| clients.key(who)));
    keys.into_iter().enumerate().for_each(|(who, key)| {
        clients.put(key, clients.at(who as u32));
    });
    let each = |bytes: usize| bytes as f64 / f64::from(CLIENTS);
    let [index, both] = [index, clients.bytes()].map(each);
    println!("index {index:.1} bytes a client, with the list {both:.1}; {put:.0} ns to index one");
    let grid = clients.grid().expect("it is kept");
    let point = |(latitude, longitude)| Point::new(latitude, longitude).expect("on the globe");
    let dir = tempfile::tempdir().expect("a temporary directory");
    let mut herd = herd(dir.path(), &places);
    let mut redis = redis(&places);
    let mut figures: [Vec<[f64; 3]>; 3] = Default::default();
    for round in 0..ROUNDS {
        let (mut found, mut hits, began) = (Vec::new(), 0, Instant::now());
        for centre in places.centres(round) {
            grid.near(point(centre), RADIUS_M, &mut found).expect("few are there");
            hits += found.len();
        }
        let each = began.elapsed().as_secs_f64() * 1e6 / QUESTIONS as f64;
        figures[0].push([each, each, hits as f64 / QUESTIONS as f64]);
        figures[1].push(herd.ask(&Vec::from_iter(places.centres(round).map(near)), features));
        let ask = |(latitude, longitude)| {
            format!(
                "GEOSEARCH herd FROMLONLAT {longitude} {latitude} BYRADIUS {RADIUS_M} m ASC \
                 WITHDIST WITHCOORD\r\n"
            )
        };
        if let Some(redis) = &mut redis {
            figures[2].push(redis.ask(&Vec::from_iter(places.centres(round).map(ask)), members));
        }
    }
    if redis.is_none() {
        println!("==== SKIPPED: Redis is missing: apt-get install redis-server");
    }
    println!("| who | CPU µs | clock µs | found |");
    println!("|---|---:|---:|---:|");
    let names = ["index alone", "herd, GeoJSON", "Redis GEOSEARCH"];
    let middle = |rounds: &[[f64; 3]], at: usize| median(rounds.iter().map(|it| it[at]).collect());
    let measured = || names.iter().zip(&figures).filter(|(_, rounds)| !rounds.is_empty());
    for (name, rounds) in measured() {
        let [cpu, clock, hits] = [0, 1, 2].map(|at| middle(rounds, at));
        let spread = machine::spread(&Vec::from_iter(rounds.iter().map(|it| it[0])), fine);
        println!("| {name} | {}{spread} | {clock:.1} | {hits:.1} |", fine(cpu));
    }
    if let Some((_, redis)) = measured().nth(2) {
        for (name, rounds) in measured().take(2) {
            let times = middle(redis, 0) / middle(rounds, 0);
            println!("Redis takes {times:.1} times as long as: {name}");
        }
    }
}

fn fine(us: f64) -> String {
    format!("{us:.1}")
}
