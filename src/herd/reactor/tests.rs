//! The loop turned by hand, with real sockets and a clock that is moved on: what far ends may do,
//! and for how long. Each test says what must come of it, in turns and in bytes, never in time that
//! really passes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use super::connection::Connection;
use super::listener::{Accepted, Arrival, Listener};
use super::*;
use crate::config::Limits;
use herd_core::LinkState;
use herd_core::names::{ConnKind, PeerId};
use herd_core::session::Phase;
use herd_core::wire::line_buffer::{LineLimits, Lines};
pub(super) use house::{House, by_link, house, reactor};

mod house;

/// Goal: a client that pipelines without pause gets one turn in a turn of the loop, not one more
/// for each event. Method: events about a connection that is already in the queue.
#[test]
fn nobody_queues_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (mut reactor, [address, _]) = reactor(dir.path());
    let mut events = Events::with_capacity(EVENTS_MAX);
    let mut hog = TcpStream::connect(address).unwrap();
    let lines = b"\n".repeat(4096);
    let mut longest = 0;
    for _ in 0..100 {
        hog.write_all(&lines).unwrap();
        reactor.turn(&mut events).unwrap();
        longest = longest.max(reactor.unfinished.len());
        assert!(reactor.work.lines <= 256, "{} lines in a turn", reactor.work.lines);
    }
    assert_eq!(longest, 1);
}

fn owed(reactor: &mut Reactor, conn: ConnId) -> usize {
    reactor.slots.session(conn).unwrap().queued_bytes()
}

fn links_up(reactor: &Reactor) -> usize {
    let peers = (0..reactor.config.peers.len()).map(|at| PeerId(at as u16));
    peers.filter(|&peer| reactor.server.peer(peer).state == LinkState::Up).count()
}

/// Reads so much at most, and says how much there was. A busy kernel is given time to bring what is
/// on its way.
fn read_some(stream: &mut TcpStream, most: usize) -> usize {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(100))).unwrap();
    let mut piece = vec![0; most];
    let mut count = 0;
    while count < most {
        match stream.read(&mut piece[count..]) {
            Ok(0) | Err(_) => break,
            Ok(more) => count += more,
        }
    }
    count
}

// ---- reading ----

/// Goal: what follows urgent data is read, though no event says that it is there.
#[test]
#[cfg(target_os = "linux")]
fn urgent_data_hides_nothing() {
    let mut house = House::new();
    let (mut client, _) = house.come(ConnKind::Client);
    client.write_all(b"IAMAT one +1-1 7\n").unwrap();
    socket2::SockRef::from(&client).send_out_of_band(b"!").unwrap();
    client.write_all(b"IAMAT two +1-1 7\n").unwrap();
    for _ in 0..10 {
        house.turn();
    }
    assert!(house.knows("one") && house.knows("two"));
}

/// Goal: a connection that begins in another language is closed before anything of it is taken, in
/// however many pieces it comes; in the middle of a connection, the same is a line like any other.
/// PROTOCOL 1.13.
#[test]
fn other_languages_are_not_heard() {
    let mut house = House::new();
    let page = b"POST / HTTP/1.1\r\nHost: a\r\n\r\nIAMAT victim +1-1 7\n";
    for piece_bytes in [page.len(), 9, 1] {
        let (mut client, conn) = house.come(ConnKind::Client);
        for piece in page.chunks(piece_bytes) {
            // It may be closed by now.
            let _ = client.write_all(piece);
            house.turn();
        }
        house.turn_until(|reactor| reactor.slots.connection(conn).is_none());
        assert!(!house.knows("victim"));
    }
    assert_eq!(house.reactor.server.counters().lines_in, 0);

    let (mut client, conn) = house.come(ConnKind::Client);
    client.write_all(b"NOPE\n").unwrap();
    house.turn_until(|reactor| reactor.server.counters().lines_in == 1);
    client.write_all(page).unwrap();
    house.turn_until(|reactor| reactor.server.counters().lines_in == 5);
    assert!(house.lives(conn) && house.knows("victim"));
}

// ---- deadlines ----

/// Goal: a command without a newline is answered when it has been waited for in vain, and then the
/// connection is closed. PROTOCOL 4.2.
#[test]
fn an_unfinished_line_is_answered_in_the_end() {
    let mut house = House::new();
    let (mut client, conn) = house.come(ConnKind::Client);
    client.write_all(b"NOPE\nIAMAT kiwi +1-1 7").unwrap();
    house.turn_until(|reactor| reactor.server.counters().lines_in == 1);
    house.pass(Duration::from_secs(8));
    assert!(!house.knows("kiwi") && house.lives(conn), "its time is not over");
    house.pass(Duration::from_secs(4));
    assert!(house.knows("kiwi"));
    let mut answers = String::new();
    client.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    client.read_to_string(&mut answers).unwrap();
    assert!(answers.starts_with("? NOPE\nAT Bailey ") && answers.ends_with(" kiwi +1-1 7\n"));
}

/// Goal: each line has its own time. Method: lines that always end in the next write.
#[test]
fn a_line_that_ends_gives_time_to_the_next() {
    let mut house = House::new();
    let (mut client, conn) = house.come(ConnKind::Client);
    client.write_all(b"IAMAT kiwi +1-1 ").unwrap();
    for time in 0..20 {
        house.pass(Duration::from_secs(3));
        client.write_all(format!("{time}\nIAMAT kiwi +1-1 ").as_bytes()).unwrap();
    }
    assert!(house.lives(conn));
    house.pass(Duration::from_secs(12));
    assert!(
        house.reactor.slots.connection(conn).is_none_or(|conn| conn.session.phase() != Phase::Open)
    );
}

/// Goal: a client with a little to flush has no more time for a line than others.
#[test]
fn what_is_owed_excuses_no_unfinished_line() {
    let mut house = House::new();
    house.reactor.config.limits.timeouts.write_stall = Duration::from_secs(3600);
    let (mut client, conn) = house.come(ConnKind::Client);
    house.block(conn, 20_000);
    client.write_all(b"IAMAT kiwi +1-1 7").unwrap();
    house.pass(Duration::from_secs(13));
    assert!(house.knows("kiwi"));
}

/// Goal: a far end is given up if it takes nothing of its outbox, however much it sends meanwhile;
/// one that takes a little now and then is not. PROTOCOL 4.1, 8.6.
#[test]
fn who_takes_nothing_is_given_up() {
    for kind in [ConnKind::Peer, ConnKind::Client] {
        // With much, the outbox is never empty between two readings: only progress counts.
        for (reads, much) in [(true, 60_000), (true, 2 << 20), (false, 60_000)] {
            let mut house = House::new();
            let (mut far_end, conn) = match kind {
                ConnKind::Peer => house.come_as_bona(),
                _ => house.come(ConnKind::Client),
            };
            // Most of it lies in the kernel, which takes more only when there is much room.
            house.block(conn, much);
            let before = owed(&mut house.reactor, conn);
            for second in 0..40 {
                let _ = far_end.set_nonblocking(false);
                let said = if kind == ConnKind::Peer { "PING 1\n" } else { "\n" };
                let _ = far_end.write_all(said.as_bytes());
                if reads && second % 4 == 0 {
                    read_some(&mut far_end, 1 << 22);
                    // What it has taken is queued anew.
                    if house.lives(conn) {
                        // The kernel may say late that there is room; no time passes until then.
                        let before = owed(&mut house.reactor, conn);
                        house.turn_until(|reactor| before == 0 || owed(reactor, conn) < before);
                        let left = much.saturating_sub(owed(&mut house.reactor, conn));
                        house.reactor.send(conn, &vec![b'x'; left]);
                    }
                }
                house.pass(Duration::from_secs(1));
            }
            assert_eq!(house.lives(conn), reads, "{kind:?}, reads: {reads}, {before} bytes");
        }
    }
}

/// Goal: after our last byte a connection ends soon, whether the far end drips or floods.
/// PROTOCOL 4.4.
#[test]
fn lingering_has_bounds() {
    let mut house = House::new();
    let (mut dripping, conn) = house.come(ConnKind::Client);
    house.reactor.close_when_sent(conn);
    for _ in 0..12 {
        let _ = dripping.write_all(b"x");
        house.pass(Duration::from_millis(250));
    }
    assert!(!house.lives(conn), "two seconds are over");

    house.reactor.config.limits.timeouts.linger = Duration::from_secs(3600);
    let (mut flooding, conn) = house.come(ConnKind::Client);
    house.reactor.close_when_sent(conn);
    for sent in 0..=64 {
        assert!(house.lives(conn) || sent >= 60, "after {sent} KiB");
        let _ = flooding.write_all(&[b'x'; 1024]);
        house.turn();
    }
    let _ = flooding.write_all(&[b'x'; 1024]);
    house.turn_until(|reactor| reactor.slots.connection(conn).is_none());
}

/// Goal: a dial into a black hole is given up. Method: a listener that accepts nothing and has no
/// room for more. PROTOCOL 6.11.
#[test]
#[cfg(target_os = "linux")]
fn a_dial_without_an_answer_is_given_up() {
    let mut house = House::new();
    let hole = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    hole.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    hole.listen(0).unwrap();
    let address = hole.local_addr().unwrap().as_socket().unwrap();
    let _fill = TcpStream::connect(address).unwrap();
    let before = house.reactor.slots.names();
    house.reactor.connect(PeerId(0), address);
    let mut names = house.reactor.slots.names();
    names.retain(|name| !before.contains(name));
    let [conn] = names[..] else { panic!("{names:?}") };
    house.turn();
    assert!(house.lives(conn), "it is under way");
    house.pass(Duration::from_secs(3));
    assert!(!house.lives(conn));
}

/// Goal: strangers who say nothing keep no peer out. Method: more of them than may wait.
/// PROTOCOL 6.7.
#[test]
fn the_oldest_stranger_makes_room() {
    let mut house = House::new();
    let strangers = Vec::from_iter((0..80).map(|_| TcpStream::connect(house.peers).unwrap()));
    house.turn_until(|reactor| reactor.slots.admitted(ConnKind::Peer) >= 80);
    let (_peer, conn) = house.come_as_bona();
    assert!(house.lives(conn));
    drop(strangers);
}

/// Goal: a dial that has connected to itself ends, and leaves the port to its owner.
#[test]
fn a_dial_does_not_keep_the_port_of_a_peer() {
    let mut house = House::new();
    let own = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    own.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = own.local_addr().unwrap();
    own.connect(&address).unwrap();
    own.set_nonblocking(true).unwrap();
    let stream = mio::net::TcpStream::from_std(own.into());
    let (phase, now) = (Phase::Connecting { peer: PeerId(0) }, house.reactor.moment());
    let dial = |id| Connection::tcp(id, stream, phase, now);
    let conn = house.reactor.slots.admit(ConnKind::Peer, dial).unwrap();
    assert!(house.reactor.register(conn));
    house.turn_until(|reactor| reactor.slots.connection(conn).is_none());
    assert_eq!(links_up(&house.reactor), 0);
    house.turn();
    TcpListener::bind(address.as_socket().unwrap()).expect("the port is free");
}

/// Goal: a client that comes over IPv4 to a socket of IPv6 has its usual address.
#[test]
fn an_address_has_one_form() {
    let Ok(listener) = TcpListener::bind("[::]:0") else { return };
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut listener =
        Listener::tcp(0, ConnKind::Client, mio::net::TcpListener::from_std(listener));
    let _client = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let (stream, from) = loop {
        match listener.accept(Moment::default()) {
            Accepted::Arrived(Arrival::Tcp(stream, from)) => break (stream, from),
            _ => std::thread::yield_now(),
        }
    };
    assert!(from.is_ipv4() && from.ip().is_loopback());
    let id = ConnId::new(ConnKind::Client, 1, 0);
    let connection = Connection::tcp(id, stream, Phase::Open, Moment::default());
    assert_eq!(connection.peer_ip(), Some(from.ip()));
}

// ---- peers ----

/// Reports of 1,000 clients, each with this time.
fn reports(time: usize) -> String {
    (0..1_000).map(|client| format!("IAMAT client-{client} +1.5-1.5 {time}\n")).collect()
}

/// Goal: a peer that reads gets every report by itself, even in a turn that has more news than its
/// outbox may hold. Method: a client that the peer is behind with would be sent once, in its latest
/// state.
#[test]
fn a_peer_that_reads_hears_everything() {
    let mut house = House::new();
    let (mut peer, conn) = house.come_as_bona();
    let nobody = ConnId::new(ConnKind::Client, 0, 99);
    let limits = LineLimits { line_bytes_max: 8192, endless_bytes_max: 1 << 20 };
    read_some(&mut peer, 1 << 20);
    let mut heard = 0;
    // More than a megabyte of news, and not one turn.
    for time in 0..10 {
        let text = reports(time);
        house.reactor.tell_lines(nobody, &mut Lines::new(text.as_bytes(), limits));
        house.reactor.tell_deferred();
        heard += read_some(&mut peer, 1 << 20);
    }
    house.turn_until(|reactor| {
        heard += read_some(&mut peer, 1 << 20);
        owed(reactor, conn) == 0
    });
    let line_bytes = "AT Bailey +0.123456789 client-100 +1.5-1.5 1\n".len();
    assert!(heard >= 10_000 * line_bytes, "{heard} bytes");
}

/// Goal: a peer is read beside clients that have as much to say as we can take.
#[test]
fn a_peer_is_heard_beside_a_crowd() {
    let mut house = House::new();
    let (mut peer, _) = house.come_as_bona();
    let hogs = Vec::from_iter((0..30).map(|_| {
        let mut hog = TcpStream::connect(house.clients).unwrap();
        hog.write_all("\n".repeat(60_000).as_bytes()).unwrap();
        hog
    }));
    house.turn_until(|reactor| reactor.slots.alive(ConnKind::Client) == 30);
    let news = (0..8_000).map(|client| format!("AT Bona +0 client-{client} +1-1 7\n"));
    let news = news.collect::<String>();
    let telling = std::thread::spawn(move || {
        peer.write_all(news.as_bytes()).unwrap();
        peer
    });
    let mut most = 0;
    house.turn_until(|reactor| {
        most = most.max(reactor.work.peer_lines);
        reactor.server.store().len() == 8_000
    });
    // One turn takes more of it than one read.
    assert!(most > 1_024, "{most} lines at most");
    drop((hogs, telling.join().unwrap()));
}

// ---- newcomers ----

/// Goal: one address does not fill the herd: beyond what it may, new clients are refused, those
/// that are known are served, and in time there is room again. PROTOCOL 2.14.
#[test]
fn an_address_introduces_so_many_and_no_more() {
    let mut house = House::new();
    let limits = Limits {
        new_clients_per_s: 10,
        new_clients_at_once: 300,
        new_clients_limit_loopback: true,
        ..house.reactor.config.limits.clone()
    };
    house.reactor.newcomers = Newcomers::new(&limits);
    let (mut client, conn) = house.come(ConnKind::Client);
    client.write_all(reports(7).as_bytes()).unwrap();
    house.turn_until(|reactor| reactor.server.counters().lines_in == 1_000);
    // What one turn of a connection may introduce before its address is looked up.
    let known = house.reactor.server.store().len();
    assert!((300..=512).contains(&known), "{known} are known");
    let refused = house.reactor.server.counters().newcomers_refused;
    assert_eq!(refused as usize + known, 1_000);

    client.write_all(b"IAMAT client-0 +2-2 8\n").unwrap();
    house.turn_until(|reactor| reactor.server.counters().lines_in == 1_001);
    assert_eq!(*house.reactor.server.store().find(b"client-0").unwrap().time, *b"8");
    house.pass(Duration::from_secs(60));
    client.write_all(b"IAMAT late +2-2 8\n").unwrap();
    house.turn_until(|reactor| reactor.server.counters().lines_in == 1_002);
    assert!(house.knows("late") && house.lives(conn));
}

// ---- the journal ----

/// Goal: much is written before the turn is over, and of that, too, nothing leaves before what it
/// rests on is kept. Method: whether it is, the loop learns at the end of a turn.
#[test]
fn an_early_flush_waits_for_the_journal() {
    let mut house = House::with_journal();
    let (mut client, conn) = house.come(ConnKind::Client);
    let much = vec![b'x'; FLUSH_EARLY + 1];
    house.reactor.send(conn, &much);
    assert_eq!(owed(&mut house.reactor, conn), 0, "it rests on nothing");
    assert_eq!(read_some(&mut client, much.len()), much.len());

    let bounds = house.reactor.bounds(conn);
    house.reactor.serve(conn, b"IAMAT kiwi +1-1 7\n", bounds);
    house.reactor.send(conn, &much);
    assert!(owed(&mut house.reactor, conn) > much.len(), "it rests on a report");
    assert_eq!(read_some(&mut client, 1), 0);
    house.turn_until(|reactor| owed(reactor, conn) == 0);
    let mut answer = [0; 10];
    client.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"AT Bailey ");
}
