//! The deterministic guard: how many instructions a report costs a server that answers it, that
//! floods or publishes it and that hears it, through the real reactor and core, counted by valgrind
//! and compared with what is written down here. Apart from the other benches because it measures no
//! time: a figure that is the same on a busy machine can fail a build, and catches what a stopwatch
//! cannot see.
//!
//! `cargo bench --bench instructions`. It fails if a report is much dearer than written down, and
//! if it is much cheaper: a change that does either on purpose writes the new figure down. On
//! another machine it counts, and says that it compares nothing.
//!
//! Method: one client or one peer on one connection, so each turn of the loop is the same; the
//! difference of two runs, so that starting and stopping do not count. What the kernel does is not
//! seen. The peers are this program.

#[path = "common/chatter.rs"]
mod chatter;
#[path = "common/judgement.rs"]
mod judgement;
#[path = "common/node.rs"]
mod node;

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use std::{fs, thread};

use chatter::Chatter;
use judgement::judge;
use node::Node;
use rustix::process::{Pid, Signal, kill_process};

/// What is counted, and the instructions of each report, as last written down.
const RECORDED: [(&str, Work, u64); 7] = [
    ("answering, 1 in a write", Work::Answer { pipeline: 1, peers: 0 }, 2_598),
    ("answering, 16 in a write", Work::Answer { pipeline: 16, peers: 0 }, 1_288),
    ("answering, 128 in a write", Work::Answer { pipeline: 128, peers: 0 }, 1_300),
    ("the same, flooding to four peers", Work::Answer { pipeline: 128, peers: 4 }, 1_789),
    ("hearing what is news", Work::Hear { is_news: true }, 1_035),
    ("hearing a copy of what is held", Work::Hear { is_news: false }, 290),
    ("answering, 16, with an index", Work::Indexed { pipeline: 16 }, 1_462),
];
/// What is counted beside them, and compared with nothing: few pay for it.
const COUNTED: [(&str, Work); 10] = [
    ("answering, 1, every line logged", Work::Logged { pipeline: 1 }),
    ("answering, 16, every line logged", Work::Logged { pipeline: 16 }),
    ("answering, 16, a crowd that moves", Work::Crowd { is_indexed: false }),
    ("the same, with an index", Work::Crowd { is_indexed: true }),
    ("answering, 16, with a journal", Work::Kept { pipeline: 16 }),
    ("answering, 16, publishing it", Work::Publish { has_key: false }),
    ("the same, with a key", Work::Publish { has_key: true }),
    ("hearing what is news in a batch", Work::HearBatch),
    ("OwnTracks' POST, 1 in a write", Work::Post { pipeline: 1 }),
    ("OwnTracks' POST, 16 in a write", Work::Post { pipeline: 16 }),
];
/// Where that was: the compiler, the processor and the counter. Another compiler's code, or another
/// processor's `memcpy`, is neither a regression nor a gain.
const RECORDED_AT: [&str; 3] = ["rustc 1.95.0", "AMD EPYC", "valgrind-3.19.0"];
const PEERS: [&str; 4] = ["Anna", "Bert", "Carl", "Dora"];
const CLIENTS: u64 = 1_024;
/// Enough that every client is known, and the memory has settled, before the counting begins.
const FEW: usize = 4_096;
const MANY: usize = 20_480;
/// So many that hardly one reports twice between two questions.
const CROWD: u64 = 16_384;
/// Where in a line of `Chatter` the decimals of the latitude stand.
const DECIMALS: std::ops::Range<usize> = 36..42;
/// Reports that a peer sends in one write.
const TOLD: usize = 128;
/// Valgrind is fifty times slower than the processor, and the machine may be busy.
const START_MAX: Duration = Duration::from_secs(120);

/// What a server does with the reports that it gets.
#[derive(Clone, Copy)]
enum Work {
    /// It answers a client that sends so many in one write, and floods them to so many peers.
    Answer { pipeline: usize, peers: usize },
    /// It answers a client, and writes every line in and out to its log: what both threads do.
    Logged { pipeline: usize },
    /// It hears a peer's, which are news, or copies of what it holds.
    Hear { is_news: bool },
    /// It answers a client that sends sixteen in one write, and publishes them on an engine, which
    /// it proves with the herd's key if there is one.
    Publish { has_key: bool },
    /// It hears another server's, which are news, in batches on an engine.
    HearBatch,
    /// It answers a client while somebody may ask who is near: one has asked.
    Indexed { pipeline: usize },
    /// It answers many clients of one connection, each of which has moved to another place.
    Crowd { is_indexed: bool },
    /// It answers a client when what it has said is written to a journal.
    Kept { pipeline: usize },
    /// It answers a phone that reports by HTTP, on a connection that stays open.
    Post { pipeline: usize },
}

impl Work {
    /// The servers that it is linked with.
    fn peers(self) -> &'static [&'static str] {
        match self {
            Work::Answer { peers, .. } => &PEERS[..peers],
            Work::Hear { .. } | Work::Publish { .. } | Work::HearBatch => &PEERS[..1],
            Work::Logged { .. }
            | Work::Indexed { .. }
            | Work::Crowd { .. }
            | Work::Kept { .. }
            | Work::Post { .. } => &[],
        }
    }

    /// The reports of two runs. Every client is known, and who is noted was read, before the first
    /// of them ends.
    fn reports(self) -> [usize; 2] {
        let few = if matches!(self, Work::Crowd { .. }) { 2 * CROWD as usize + FEW } else { FEW };
        [few, few + MANY - FEW]
    }

    /// Whether it has an engine instead of links.
    fn has_engine(self) -> bool {
        matches!(self, Work::Publish { .. } | Work::HearBatch)
    }

    fn log_level(self) -> &'static str {
        if matches!(self, Work::Logged { .. }) { "traffic" } else { "off" }
    }
}

/// Where a server is found.
#[derive(Clone, Copy)]
struct Doors {
    clients: SocketAddr,
    peers: SocketAddr,
    web: SocketAddr,
    engine: SocketAddr,
}

fn main() -> ExitCode {
    let Some(valgrind) = first_line("valgrind") else {
        println!("==== SKIPPED: instructions, for valgrind is missing: apt-get install valgrind");
        return ExitCode::SUCCESS;
    };
    let here = [compiler(), processor(), valgrind];
    let mut verdict = Ok(());
    println!("{:32}  instructions a report  written down", "");
    let each = |name: &str, work: Work| {
        let [few, many] = work.reports().map(|reports| {
            count(work, reports).unwrap_or_else(|error| panic!("{name}, {reports}: {error}"))
        });
        (many - few) / (MANY - FEW) as u64
    };
    for (name, work, recorded) in RECORDED {
        let each = each(name, work);
        println!("{name:32}  {each:21}  {recorded:12}");
        verdict = verdict.and(judge(each, recorded));
    }
    for (name, work) in COUNTED {
        println!("{name:32}  {:21}", each(name, work));
    }
    if here != RECORDED_AT {
        println!("==== SKIPPED: comparing, for what is written down was counted at");
        println!("==== {}, and this is {}", RECORDED_AT.join(", "), here.join(", "));
        return ExitCode::SUCCESS;
    }
    match verdict {
        Ok(()) => ExitCode::SUCCESS,
        Err(complaint) => {
            println!("{complaint}");
            ExitCode::FAILURE
        }
    }
}

/// The compiler without its commit: `rustc 1.95.0`.
fn compiler() -> String {
    let line = first_line("rustc").unwrap_or_default();
    line.split(' ').take(2).collect::<Vec<_>>().join(" ")
}

fn processor() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name"));
    name.unwrap_or("an unknown processor").trim_start_matches([' ', '\t', ':']).to_owned()
}

/// What a program says of its version, if it is there.
fn first_line(program: &str) -> Option<String> {
    let output = Command::new(program).arg("--version").output().ok()?;
    let text = String::from_utf8_lossy(&output.stdout).lines().next()?.to_owned();
    output.status.success().then_some(text)
}

/// Instructions of a server's whole life, in which it gets so many reports.
fn count(work: Work, reports: usize) -> io::Result<u64> {
    let dir = tempfile::tempdir()?;
    let any_port = || TcpListener::bind("127.0.0.1:0");
    let listeners = [any_port()?, any_port()?, any_port()?];
    let [clients, peers, web] = listeners.each_ref().map(TcpListener::local_addr);
    let (node, engine) = node::listen()?;
    let doors = Doors { clients: clients?, peers: peers?, web: web?, engine };
    drop(listeners);
    let report = dir.path().join("callgrind.out");
    let mut server = start(dir.path(), &report, doors, work)?;
    let done = connect(doors.clients, &mut server).and_then(|client| match work {
        Work::Answer { pipeline, peers } => {
            (0..peers).try_for_each(|number| greet(doors, number).map(drain))?;
            ask(client, reports, pipeline)
        }
        Work::Logged { pipeline } | Work::Kept { pipeline } => ask(client, reports, pipeline),
        Work::Hear { is_news } => tell(greet(doors, 0)?, reports, is_news),
        Work::Publish { .. } => {
            let _node = Node::serve(node)?;
            ask(client, reports, 16)
        }
        Work::HearBatch => publish(Node::serve(node)?, reports),
        Work::Indexed { pipeline } => {
            have_indexed(doors.web)?;
            ask(client, reports, pipeline)
        }
        Work::Crowd { is_indexed } => {
            if is_indexed {
                have_indexed(doors.web)?;
            }
            let mut random = fastrand::Rng::with_seed(1);
            ask_for(client, (reports, 16), CROWD, |line| {
                line[DECIMALS].fill_with(|| random.u8(b'0'..=b'9'));
            })
        }
        Work::Post { pipeline } => post(TcpStream::connect(doors.web)?, reports, pipeline),
    });
    // It must end by itself, or there is no report.
    if let Some(pid) = Pid::from_raw(server.id() as i32) {
        let _ = kill_process(pid, Signal::TERM);
    }
    server.wait()?;
    done?;
    let text = fs::read_to_string(report)?;
    let total = text.lines().find_map(|line| line.strip_prefix("summary: "));
    total
        .and_then(|total| total.trim().parse().ok())
        .ok_or_else(|| io::Error::other("callgrind's report has no total"))
}

/// A server that knows no place, waits for its peers, and does nothing by itself.
fn start(dir: &Path, report: &Path, doors: Doors, work: Work) -> io::Result<Child> {
    let peers = work.peers();
    let places = dir.join("places.csv");
    fs::write(&places, "name,lat,lon\nSomewhere,0,0\n")?;
    let config = dir.join("herd.toml");
    let Doors { clients, peers: links, web, engine } = doors;
    let mut text = "herd = \"count\"\n".to_owned();
    if work.has_engine() {
        text += &key_line(dir, work)?;
        text += &format!("[engine]\nurls = [\"{engine}\"]\n[limits]\ncompare_every = \"1 h\"\n");
    } else {
        let links = peers.iter().map(|peer| format!("[\"{peer}\", \"Alone\"]"));
        text += &format!("links = [{}]\n", Vec::from_iter(links).join(", "));
        text += "[limits]\ncompare_every = \"off\"\n";
    }
    text += &format!(
        "[[server]]\nname = \"Alone\"\nclients = \"{clients}\"\npeers = \"{links}\"\n\
         web = \"{web}\"\n"
    );
    for (number, peer) in peers.iter().enumerate() {
        // Nobody dials them: they do.
        let clients = format!("127.0.0.1:{}", 1 + number);
        text += &format!("[[server]]\nname = \"{peer}\"\nclients = \"{clients}\"\n");
    }
    fs::write(&config, text)?;
    let mut report_flag = std::ffi::OsString::from("--callgrind-out-file=");
    report_flag.push(report);
    Command::new("valgrind")
        .args(["--tool=callgrind", "--quiet"])
        .arg(report_flag)
        .arg(env!("CARGO_BIN_EXE_herd"))
        // They would be 300 and 400 above that of clients, which may be other programs'.
        .env("HERD_MQTT", "off")
        .env("HERD_OPERATORS", "off")
        .args(["serve", "Alone", "--log-level", work.log_level(), "--places", "file"])
        .arg("--places-file")
        .arg(&places)
        .arg("--config")
        .arg(&config)
        .arg("--log-dir")
        .arg(dir)
        .arg("--run-dir")
        .arg(dir)
        .args(["--keep", if matches!(work, Work::Kept { .. }) { "written" } else { "off" }])
        .arg("--journal-dir")
        .arg(dir.join("journal"))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
}

/// What herd.toml says of the herd's key, if it is to have one.
fn key_line(dir: &Path, work: Work) -> io::Result<String> {
    if !matches!(work, Work::Publish { has_key: true }) {
        return Ok(String::new());
    }
    let path = dir.join("herd.key");
    fs::write(&path, "7".repeat(64) + "\n")?;
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
    Ok(format!("key_file = \"{}\"\n", path.display()))
}

fn connect(address: SocketAddr, server: &mut Child) -> io::Result<TcpStream> {
    let deadline = Instant::now() + START_MAX;
    loop {
        match TcpStream::connect(address) {
            Ok(stream) => return Ok(stream),
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => thread::sleep(Duration::from_millis(50)),
        }
        if let Some(status) = server.try_wait()? {
            return Err(io::Error::other(format!("the server has ended: {status}")));
        }
    }
}

/// Asks who is near, so that the server has an index from then on.
fn have_indexed(web: SocketAddr) -> io::Result<()> {
    let mut web = TcpStream::connect(web)?;
    let question = "GET /v1/clients?near=34,-118&radius=1 HTTP/1.1\r\nHost: localhost";
    write!(web, "{question}\r\n\r\n")?;
    wait_for(&mut web, "{\"type\":\"FeatureCollection\"")
}

fn ask(stream: TcpStream, requests: usize, pipeline: usize) -> io::Result<()> {
    ask_for(stream, (requests, pipeline), CLIENTS, |_| {})
}

/// Sends requests of so many clients, each after a change to its line.
fn ask_for(
    mut stream: TcpStream,
    (requests, pipeline): (usize, usize),
    clients: u64,
    mut change: impl FnMut(&mut [u8]),
) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut chatter = Chatter::new(clients);
    let (mut lines, mut answers) = (Vec::new(), [0; 64 * 1024]);
    for _ in 0..requests / pipeline {
        lines.clear();
        chatter.write_lines(pipeline, &mut lines);
        let length = lines.len() / pipeline;
        lines.chunks_mut(length).for_each(&mut change);
        stream.write_all(&lines)?;
        let mut answered = 0;
        while answered < pipeline {
            let read = stream.read(&mut answers)?;
            if read == 0 {
                return Err(io::Error::other("the server has hung up"));
            }
            answered += answers[..read].iter().filter(|&&byte| byte == b'\n').count();
        }
    }
    Ok(())
}

/// Reports as OwnTracks does, each after so many answers.
fn post(mut stream: TcpStream, requests: usize, pipeline: usize) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut posts, mut answers) = (Vec::new(), [0; 64 * 1024]);
    for first in (0..requests).step_by(pipeline) {
        posts.clear();
        for number in first..first + pipeline {
            let (client, time) = (number * 7 % CLIENTS as usize, 1_520_023_934 + number);
            let body = format!(
                "{{\"_type\":\"location\",\"lat\":34.068930,\"lon\":-118.445127,\"tst\":{time},\
                 \"tid\":\"ph\",\"acc\":12,\"alt\":9,\"vel\":4,\"cog\":71,\"batt\":83,\"t\":\"u\",\
                 \"topic\":\"owntracks/client-{client:06}/phone\"}}"
            );
            write!(
                posts,
                "POST /pub HTTP/1.1\r\nHost: localhost\r\nUser-Agent: Owntracks-Android/gms\r\n\
                 Content-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\
                 Accept-Encoding: gzip\r\nX-Limit-U: client\r\nX-Limit-D: phone\r\n\r\n{body}",
                body.len()
            )?;
        }
        stream.write_all(&posts)?;
        let mut answered = 0;
        while answered < pipeline {
            let read = stream.read(&mut answers)?;
            if read == 0 {
                return Err(io::Error::other("the server has hung up"));
            }
            // Each answer is `[]`, behind a head that has no bracket.
            answered += answers[..read].iter().filter(|&&byte| byte == b']').count();
        }
    }
    Ok(())
}

/// A link to the server, which has greeted.
fn greet(doors: Doors, number: usize) -> io::Result<TcpStream> {
    let mut link = TcpStream::connect(doors.peers)?;
    link.set_nodelay(true)?;
    writeln!(link, "HERD/1 {} Alone count {} -", PEERS[number], "0".repeat(32))?;
    wait_for(&mut link, "HERD/1 Alone ")?;
    Ok(link)
}

/// Reads all that comes, in a thread that ends when the server does.
fn drain(mut link: TcpStream) {
    thread::spawn(move || io::copy(&mut link, &mut io::sink()));
}

/// Reads until a line has come that begins like this.
fn wait_for(link: &mut TcpStream, start: &str) -> io::Result<()> {
    let mut heard = String::new();
    let mut piece = [0; 1024];
    loop {
        let whole = heard.rsplit_once('\n').map_or("", |(whole, _)| whole);
        if whole.lines().any(|line| line.starts_with(start)) {
            return Ok(());
        }
        match link.read(&mut piece)? {
            0 => return Err(io::Error::other(format!("it hangs up instead of: {start}"))),
            count => heard += &String::from_utf8_lossy(&piece[..count]),
        }
    }
}

/// Tells a server reports that are news, in batches on its engine.
fn publish(mut node: Node, reports: usize) -> io::Result<()> {
    let mut chatter = Chatter::new(CLIENTS);
    for _ in 0..reports / TOLD {
        let mut lines = Vec::new();
        chatter.write_lines(TOLD, &mut lines);
        let lines = String::from_utf8_lossy(&lines);
        let lines = lines.replace("IAMAT ", &format!("AT {} +0.263873386 ", PEERS[0]));
        node.publish(PEERS[0], "count", &lines)?;
    }
    Ok(())
}

/// Tells a server reports that are news, or first some and then again and again the same.
fn tell(mut link: TcpStream, reports: usize, is_news: bool) -> io::Result<()> {
    let mut chatter = Chatter::new(CLIENTS);
    let mut writes = Vec::new();
    let different = if is_news { reports } else { CLIENTS as usize };
    for _ in 0..different / TOLD {
        let mut lines = Vec::new();
        chatter.write_lines(TOLD, &mut lines);
        let lines = String::from_utf8_lossy(&lines);
        writes.push(lines.replace("IAMAT ", &format!("AT {} +0.263873386 ", PEERS[0])));
    }
    let again = if is_news { 0 } else { reports / TOLD };
    let number = writes.len() + again;
    for (number, lines) in writes.iter().cycle().take(number).enumerate() {
        writeln!(link, "{lines}PING {number}")?;
        wait_for(&mut link, &format!("PONG {number}"))?;
    }
    Ok(())
}
