//! What a proxy does to those who talk through it, in each of its moods. Apart because a fault
//! that is not made proves nothing: here it is seen by both ends, with no herd in between.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::common::TIMEOUT;
use crate::common::proxy::{Mood, Proxy, Way};

/// Long enough for what passes to have come; nothing waits for it but what must not come.
const A_WHILE: Duration = Duration::from_millis(100);

/// A proxy, the listener behind it, and one connection through it.
struct Wire {
    proxy: Proxy,
    listener: TcpListener,
    dialler: TcpStream,
    acceptor: TcpStream,
}

impl Wire {
    fn new() -> Wire {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let proxy = Proxy::before(listener.local_addr().unwrap().port());
        let dialler = dial(&proxy);
        let (acceptor, _) = listener.accept().unwrap();
        acceptor.set_read_timeout(Some(TIMEOUT)).unwrap();
        Wire { proxy, listener, dialler, acceptor }
    }

    fn say(&mut self, text: &str) {
        self.dialler.write_all(text.as_bytes()).unwrap();
    }
}

fn dial(proxy: &Proxy) -> TcpStream {
    let dialler = TcpStream::connect(("127.0.0.1", proxy.port())).unwrap();
    dialler.set_read_timeout(Some(TIMEOUT)).unwrap();
    dialler
}

fn hears(stream: &mut TcpStream, text: &str) {
    let mut heard = vec![0; text.len()];
    stream.read_exact(&mut heard).unwrap();
    assert_eq!(String::from_utf8(heard).unwrap(), text);
}

fn hears_nothing(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(A_WHILE)).unwrap();
    let heard = stream.read(&mut [0]);
    assert!(heard.as_ref().is_err_and(|e| e.kind() == ErrorKind::WouldBlock), "{heard:?}");
    stream.set_read_timeout(Some(TIMEOUT)).unwrap();
}

fn hears_a_reset(stream: &mut TcpStream) {
    let heard = stream.read(&mut [0]);
    assert!(heard.as_ref().is_err_and(|e| e.kind() == ErrorKind::ConnectionReset), "{heard:?}");
}

fn hears_the_end(stream: &mut TcpStream) {
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
}

#[test]
fn everything_passes_both_ways_and_is_kept() {
    let mut wire = Wire::new();
    wire.say("to\n");
    hears(&mut wire.acceptor, "to\n");
    wire.acceptor.write_all(b"fro").unwrap();
    hears(&mut wire.dialler, "fro");
    assert_eq!(wire.proxy.tapes(), [[b"to\n".to_vec(), b"fro".to_vec()]]);
    drop(wire.dialler);
    hears_the_end(&mut wire.acceptor);
}

#[test]
fn a_severed_link_resets_old_and_new() {
    let mut wire = Wire::new();
    wire.proxy.set(Mood::Severed);
    hears_a_reset(&mut wire.dialler);
    hears_a_reset(&mut wire.acceptor);
    hears_a_reset(&mut dial(&wire.proxy));
    wire.proxy.set(Mood::Pass);
    wire.dialler = dial(&wire.proxy);
    (wire.acceptor, _) = wire.listener.accept().unwrap();
    wire.say("again");
    hears(&mut wire.acceptor, "again");
}

/// A stream with a hole never passes anything again, and neither end hears of the other's death;
/// a stream that said nothing meanwhile has no hole.
#[test]
fn a_hole_is_silent_for_ever() {
    let mut wire = Wire::new();
    let mut quiet = dial(&wire.proxy);
    let (mut quiet_acceptor, _) = wire.listener.accept().unwrap();
    quiet.write_all(b"before").unwrap();
    hears(&mut quiet_acceptor, "before");

    wire.proxy.set_one(Way::There, Mood::Hole);
    wire.say("lost");
    hears_nothing(&mut wire.acceptor);
    // The other way is open.
    wire.acceptor.write_all(b"heard").unwrap();
    hears(&mut wire.dialler, "heard");
    let mut late = dial(&wire.proxy);
    late.write_all(b"lost").unwrap();
    hears_nothing(&mut late);

    wire.proxy.set(Mood::Pass);
    wire.say("lost, too");
    hears_nothing(&mut wire.acceptor);
    hears_nothing(&mut late);
    drop(wire.dialler);
    hears_nothing(&mut wire.acceptor);
    wire.listener.set_nonblocking(true).unwrap();
    assert!(wire.listener.accept().is_err(), "nobody heard who came in the hole");
}

#[test]
fn what_stalls_comes_later() {
    let mut wire = Wire::new();
    wire.proxy.set(Mood::Stall);
    wire.say("late");
    let mut later = dial(&wire.proxy);
    later.write_all(b"later").unwrap();
    hears_nothing(&mut wire.acceptor);
    wire.proxy.set(Mood::Pass);
    hears(&mut wire.acceptor, "late");
    let (mut acceptor, _) = wire.listener.accept().unwrap();
    hears(&mut acceptor, "later");
}

#[test]
fn delays_and_drips_lose_nothing() {
    let mut wire = Wire::new();
    let begun = Instant::now();
    wire.proxy.set(Mood::Delay(A_WHILE));
    wire.say("slow");
    hears(&mut wire.acceptor, "slow");
    assert!(begun.elapsed() >= A_WHILE);

    wire.proxy.set(Mood::Drip);
    let text = "drop by drop ".repeat(10);
    wire.say(&text);
    let mut first = [0; 1000];
    let count = wire.acceptor.read(&mut first).unwrap();
    assert!(count < text.len(), "a part by itself");
    hears(&mut wire.acceptor, &text[count..]);
}

#[test]
fn a_cut_leaves_half_a_line() {
    let mut wire = Wire::new();
    wire.proxy.set(Mood::Cut);
    wire.say("a whole line\na line that is cut\n");
    let mut heard = String::new();
    wire.acceptor.read_to_string(&mut heard).unwrap();
    assert_eq!(heard, "a whole line\na line th");
    let mut rest = Vec::new();
    assert!(wire.dialler.read_to_end(&mut rest).is_ok_and(|_| rest.is_empty()));
}

#[test]
fn whole_lines_are_rewritten() {
    let mut wire = Wire::new();
    wire.say("begun ");
    hears(&mut wire.acceptor, "begun ");
    wire.proxy.rewrite(|way, line| {
        assert_eq!(way, Way::There);
        [b"<", line, b">"].concat()
    });
    wire.say("before\none\ntw");
    thread::sleep(A_WHILE);
    wire.say("o\nthree");
    hears(&mut wire.acceptor, "before\n<one\n><two\n>");
    wire.proxy.rewrite_no_more();
    wire.say("\n");
    hears(&mut wire.acceptor, "three\n");
}
