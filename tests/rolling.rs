//! All servers of a herd are restarted, one after the other, while clients report. Clients do what
//! they do behind a load balancer: one whose connection is closed goes to the next server.

mod common;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use common::{Herd, PLACELESS, TIMEOUT, until};
use rustix::process::Signal;

/// Clients, and how long each thinks between two reports.
const CLIENTS: usize = 40;
const PAUSE: Duration = Duration::from_millis(10);

/// What a client has seen.
#[derive(Default)]
struct Seen {
    /// The time of the last report that was answered.
    answered: u64,
    /// Connections that were closed, and those of them on which it spoke at the same moment.
    closes: usize,
    late: usize,
}

/// Reports at one server after the other of those at these ports, until it is over. Any end of a
/// connection but one between two answers fails.
fn report(ports: &[u16], client: usize, is_over: &AtomicBool) -> Seen {
    let (mut seen, mut time) = (Seen::default(), 0);
    for port in ports.iter().cycle().skip(client) {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        // A server that is not there sends it to the next one.
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", *port)) else { continue };
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(TIMEOUT)).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        while !is_over.load(Ordering::Relaxed) {
            if has_ended(&stream) {
                seen.closes += 1;
                break;
            }
            time += 1;
            let line = format!(" client-{client} +1-1 {time}\n");
            let said = stream.write_all(format!("IAMAT{line}").as_bytes());
            let mut answer = String::new();
            lines.read_line(&mut answer).expect("no connection is reset");
            if answer.is_empty() {
                seen.closes += 1;
                seen.late += usize::from(said.is_ok());
                break;
            }
            assert!(answer.starts_with("AT ") && answer.ends_with(&line), "{answer:?}");
            seen.answered = time;
            thread::sleep(PAUSE);
        }
    }
    seen
}

/// Whether the server has closed the connection, and all that it has said was read.
fn has_ended(stream: &TcpStream) -> bool {
    stream.set_nonblocking(true).unwrap();
    let ended = matches!(stream.peek(&mut [0]), Ok(0));
    stream.set_nonblocking(false).unwrap();
    ended
}

/// Goal: a rolling restart loses no answer inside a connection and no report that was answered, and
/// each server has handed over what it knew. Method: a short lame duck, begun by an operator and by
/// SIGTERM in turns. PROTOCOL 4.6, 11.3.
#[test]
fn a_rolling_restart_loses_nothing() {
    let mut herd = Herd::of_year("2023");
    let duck = [PLACELESS, &["--lame-duck-grace", "100 ms", "--lame-duck", "1 s"]].concat();
    herd.start_all(&duck);
    let names = herd.names.clone();
    let ports: Vec<_> = names.iter().map(|name| herd.port(name)).collect();
    let is_over = AtomicBool::new(false);
    let seen: Vec<Seen> = thread::scope(|scope| {
        let clients = Vec::from_iter((0..CLIENTS).map(|client| {
            let (ports, is_over) = (&ports, &is_over);
            scope.spawn(move || report(ports, client, is_over))
        }));
        for (at, name) in names.iter().enumerate() {
            until("it has clients", || herd.status(name).connections >= 3);
            herd.signal(name, if at % 2 == 0 { Signal::USR2 } else { Signal::TERM });
            assert_eq!(herd.ended(name).code(), Some(0), "{}", herd.log(name));
            let log = herd.log(name);
            assert!(log.contains("drain phase=leaving"), "{log}");
            assert!(!log.contains("reports not confirmed"), "{log}");
            herd.start(name, &duck);
            herd.until_joined();
        }
        is_over.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).collect()
    });
    let closes: usize = seen.iter().map(|seen| seen.closes).sum();
    let late: usize = seen.iter().map(|seen| seen.late).sum();
    assert!(closes >= 3 * names.len(), "{closes} connections were closed");
    println!("{closes} connections were closed, {late} of them while the client spoke");

    herd.until_joined();
    until("all hold the same", || {
        let digests: Vec<_> = names.iter().map(|name| herd.status(name).digest).collect();
        digests.windows(2).all(|pair| pair[0] == pair[1])
    });
    let held = (0..CLIENTS).map(|client| {
        let line = herd.held(&names[client % names.len()], &format!("client-{client}"));
        let line = line.unwrap_or_else(|| panic!("client-{client} is forgotten"));
        (client, line.trim_end().rsplit(' ').next().unwrap().parse::<u64>().unwrap())
    });
    let held: BTreeMap<_, _> = held.collect();
    for (client, seen) in seen.iter().enumerate() {
        // What was not answered may have been heard all the same.
        let (held, answered) = (held[&client], seen.answered);
        assert!(answered > 0 && held >= answered, "{client} was answered {answered}, held {held}");
    }
}
