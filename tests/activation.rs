//! A server whose ports are held by what starts it, as by systemd with a `.socket` unit
//! (sd_listen_fds(3)).

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use common::operator::Operator;
use common::{Herd, PLACELESS, TIMEOUT, until};
use rustix::process::Signal;

/// A server of the name Hill that finds these as its descriptors 3, 4 and 5. It writes complaints
/// where others do.
fn command(herd: &Herd, passed: [OwnedFd; 3]) -> Command {
    let takes = "exec 3<&0 4<&1 5<&2 </dev/null >/dev/null 2>>Hill.err; \
                 export LISTEN_PID=$$ LISTEN_FDS=3";
    let mut command = herd.command_after(takes, "Hill", PLACELESS);
    let [one, two, three] = passed.map(Stdio::from);
    command.stdin(one).stdout(two).stderr(three);
    command
}

fn copies(listeners: &[TcpListener; 3]) -> [OwnedFd; 3] {
    listeners.each_ref().map(|listener| listener.try_clone().unwrap().into())
}

/// Connects, and reports until the server ends the connection or it is over, again and again.
/// Counts answers, and says how long each connect took. One that is refused or reset fails.
fn report(
    address: SocketAddr,
    name: usize,
    is_over: &AtomicBool,
    answers: &AtomicUsize,
) -> Vec<Duration> {
    let (mut time, mut connects) = (0, Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let mut stream = TcpStream::connect(address).expect("nobody is refused");
        connects.push(began.elapsed());
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        for _ in 0..10 {
            time += 1;
            let mut line = String::new();
            let said = writeln!(stream, "IAMAT client-{name} +1-1 {time}");
            // The end may have come while we spoke.
            if let Err(error) = said {
                assert_eq!(error.kind(), ErrorKind::BrokenPipe);
                break;
            }
            let bytes = lines.read_line(&mut line).expect("no connection is reset");
            if bytes == 0 {
                break;
            }
            assert!(line.ends_with(&format!(" client-{name} +1-1 {time}\n")), "{line:?}");
            answers.fetch_add(1, Ordering::Relaxed);
        }
    }
    connects
}

/// Goal: nobody who connects is refused or reset while a server is restarted, again and again, and
/// each is answered by the one before or the one after.
#[test]
fn nobody_is_refused_over_restarts() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let ports = [herd.port("Hill"), herd.port("Hill") + 100, herd.operators_port("Hill")];
    let listeners = ports.map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let address = listeners[0].local_addr().unwrap();
    let (is_over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    let mut connects = thread::scope(|scope| {
        let clients = Vec::from_iter((0..4).map(|name| {
            let (is_over, answers) = (&is_over, &answers);
            scope.spawn(move || report(address, name, is_over, answers))
        }));
        for _ in 0..20 {
            let start = command(&herd, copies(&listeners));
            herd.launch("Hill", start);
            let before = answers.load(Ordering::Relaxed);
            until("clients are answered", || answers.load(Ordering::Relaxed) > before + 20);
            assert_eq!(Operator::connect(ports[2]).get("/livez").status, 200);
            herd.signal("Hill", Signal::TERM);
            assert_eq!(herd.ended("Hill").code(), Some(0));
        }
        let start = command(&herd, copies(&listeners));
        herd.launch("Hill", start);
        is_over.store(true, Ordering::Relaxed);
        Vec::from_iter(clients.into_iter().flat_map(|client| client.join().unwrap()))
    });
    connects.sort_unstable();
    let [count, slow] = [connects.len(), connects.len() * 99 / 100];
    println!("{count} connects over 20 restarts, p99 {:?}", connects[slow]);
}

/// Goal: what is passed and can serve no port is named, and stops the start: an operator would
/// believe that it is served.
#[test]
fn what_is_no_port_is_named_and_refused() {
    let herd = Herd::of_file(&["Hill"], &[], "");
    let ports = [herd.port("Hill"), herd.port("Hill") + 100, herd.spare_port()];
    let listeners = ports.map(|port| TcpListener::bind(("127.0.0.1", port)).unwrap());
    let check = |passed: [OwnedFd; 3], parts: &[&str]| {
        let ended = command(&herd, passed).status().unwrap();
        let complaints = herd.complaints("Hill");
        let last = complaints.lines().last().unwrap_or_default();
        assert_eq!(ended.code(), Some(78), "{complaints}");
        for part in parts {
            assert!(last.contains(part), "{last:?} lacks {part:?}");
        }
    };
    let spare = format!("was passed 127.0.0.1:{}, but its ports are ", ports[2]);
    let own = format!("its ports are 127.0.0.1:{}, 127.0.0.1:{}, ", ports[0], ports[1]);
    check(copies(&listeners), &[&spare, &own, "correct ListenStream="]);

    let [clients, peers, _] = copies(&listeners);
    let file = File::open("/dev/null").unwrap().into();
    check([clients, peers, file], &["was passed what is of no use (fd 5 is not a socket), but"]);
    let [clients, peers, _] = copies(&listeners);
    let connected: OwnedFd = TcpStream::connect(listeners[0].local_addr().unwrap()).unwrap().into();
    check([clients, peers, connected], &[", which does not listen, but its ports are "]);
}

/// Goal: what was passed to another process is none of ours.
#[test]
fn what_another_process_was_given_is_not_touched() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let takes = "exec 3</dev/null; export LISTEN_PID=1 LISTEN_FDS=1";
    let start = herd.command_after(takes, "Hill", PLACELESS);
    herd.launch("Hill", start);
    assert!(herd.report("Hill", "kiwi", "+1-1", "7").starts_with("AT Hill "));
}
