//! A server under a program that speaks as systemd does (`sd_notify(3)`): it hears that the server
//! is ready, that its loop turns, and that it ends.

mod common;

use std::os::unix::net::UnixDatagram;

use common::{Herd, TIMEOUT};
use rustix::process::Signal;

/// The next thing that the server says, in words.
fn next(socket: &UnixDatagram) -> String {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).expect("the server says something");
    String::from_utf8(bytes[..length].to_vec()).unwrap().trim().to_owned()
}

/// Goal: a loop that hangs is noticed, and what starts after a server finds it ready.
/// Method: an idle server, which wakes only to say that it is alive. While it starts nobody reads
/// what it says, and it must not wait for that.
#[test]
fn a_service_manager_hears_that_a_server_is_ready_alive_and_stopping() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let path = herd.path("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let mut command = herd.command("Hill", &[]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000");
    herd.launch("Hill", command);
    // It may have said so often that it lives that there was no room for more.
    let said: Vec<_> = (0..6).map(|_| next(&socket)).collect();
    assert_eq!(said.iter().filter(|said| *said == "READY=1").count(), 1, "{said:?}");
    assert_eq!(said.iter().filter(|said| *said == "WATCHDOG=1").count(), 5, "{said:?}");
    herd.signal("Hill", Signal::TERM);
    while next(&socket) != "STOPPING=1" {}
    assert!(herd.ended("Hill").success());
}

/// Goal: no one need listen, and what is set for another process concerns no server.
#[test]
fn a_server_without_a_service_manager_serves() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let mut command = herd.command("Hill", &[]);
    command.env("NOTIFY_SOCKET", herd.path("nobody")).env("WATCHDOG_USEC", "nonsense");
    herd.launch("Hill", command);
    assert!(herd.report("Hill", "kiwi", "+34.0-118.0", "7").starts_with("AT Hill "));
}
