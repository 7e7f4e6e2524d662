//! A Places service in the hands of the test, in each of the remote protocols: it takes calls, and
//! answers none by itself. Apart because the sources of places and the loop that waits for them
//! are tested in different rings; it knows no more of HTTP than one call on each connection, and
//! how to break it is for the tests.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use super::TIMEOUT;

/// A remote protocol, as far as a service must speak it.
#[derive(Debug)]
pub struct Protocol {
    /// What the operator calls the source.
    pub source: &'static str,
    /// The good answer without any place.
    nothing_there: &'static str,
    /// The good answer with a place named A, around the value of a member that nobody asked for.
    place: [&'static str; 2],
}

pub const GOOGLE_LEGACY: Protocol = Protocol {
    source: "google-legacy",
    nothing_there: r#"{"html_attributions":[],"results":[],"status":"ZERO_RESULTS"}"#,
    place: [
        r#"{"status":"OK","html_attributions":[],"results":[{"name":"A",
            "geometry":{"location":{"lat":34.0,"lng":-118.0}},"more":"#,
        "}]}",
    ],
};

pub const GOOGLE_NEW: Protocol = Protocol {
    source: "google-new",
    nothing_there: "{}",
    place: [
        r#"{"places":[{"id":"1","displayName":{"text":"A"},
            "location":{"latitude":34.0,"longitude":-118.0},"more":"#,
        "}]}",
    ],
};

pub const OVERPASS: Protocol = Protocol {
    source: "overpass",
    nothing_there: r#"{"elements":[]}"#,
    place: [
        r#"{"elements":[{"type":"node","id":1,"lat":34.0,"lon":-118.0,"tags":{"name":"A"},
            "more":"#,
        "}]}",
    ],
};

impl Protocol {
    /// The good answer with one place.
    pub fn place(&self) -> String {
        self.place.join("0")
    }

    /// The beginning of that answer, up to a member that nobody asked for.
    pub fn place_begun(&self) -> &'static str {
        self.place[0]
    }
}

pub struct FakePlaces {
    pub port: u16,
    protocol: &'static Protocol,
    calls: Receiver<Call>,
}

/// A request that waits for its answer; dropped, its connection closes.
pub struct Call {
    /// As far as the empty line.
    pub head: String,
    pub body: String,
    pub protocol: &'static Protocol,
    socket: TcpStream,
}

impl FakePlaces {
    /// Speaks as Google's legacy service, which is enough where the protocol does not matter.
    pub fn start() -> FakePlaces {
        FakePlaces::at(0, &GOOGLE_LEGACY)
    }

    /// Listens on this port, or on any if it is 0.
    pub fn at(port: u16, protocol: &'static Protocol) -> FakePlaces {
        let listener = TcpListener::bind(("127.0.0.1", port)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, calls) = mpsc::channel();
        // It ends with the test's process: a thread that waits costs nothing.
        thread::spawn(move || {
            for socket in listener.incoming() {
                let call = socket.ok().and_then(|socket| Call::read(socket, protocol));
                let Some(call) = call else { continue };
                if sender.send(call).is_err() {
                    return;
                }
            }
        });
        FakePlaces { port, protocol, calls }
    }

    pub fn source(&self) -> &'static str {
        self.protocol.source
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The sections of a herd.toml for a server that asks here.
    pub fn sections(&self, more: &str) -> String {
        let (source, url) = (self.protocol.source, self.url());
        format!("[places]\nsource = \"{source}\"\nurl = \"{url}\"\n{more}")
    }

    /// The next request, if one comes in this time.
    pub fn next_call(&self, timeout: Duration) -> Option<Call> {
        self.calls.recv_timeout(timeout).ok()
    }

    /// The next call that has come.
    pub fn call(&self) -> Call {
        self.calls.recv_timeout(TIMEOUT).expect("somebody calls the places service")
    }

    /// Whether no call has come that was not taken.
    pub fn is_idle(&self) -> bool {
        matches!(self.calls.try_recv(), Err(TryRecvError::Empty))
    }
}

impl Call {
    fn read(mut socket: TcpStream, protocol: &'static Protocol) -> Option<Call> {
        socket.set_read_timeout(Some(TIMEOUT)).ok()?;
        socket.set_write_timeout(Some(TIMEOUT)).ok()?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).ok()?;
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; length.map_or(Some(0), |digits| digits.parse().ok())?];
        socket.read_exact(&mut body).ok()?;
        Some(Call { head, body: String::from_utf8(body).ok()?, protocol, socket })
    }

    pub fn answer(mut self, code: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {code}\r\nContent-Length: {length}\r\nConnection: close");
        // The asker may have given up.
        self.send(format!("{head}\r\n\r\n{body}"));
    }

    /// The good answer without any place.
    pub fn answer_nothing_there(self) {
        let body = self.protocol.nothing_there;
        self.answer("200 OK", body);
    }

    /// The good answer with a place named A.
    pub fn answer_place(self) {
        let body = self.protocol.place();
        self.answer("200 OK", &body);
    }

    /// Sends bytes as they are. Says whether the far end still takes them.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.socket.write_all(bytes.as_ref()).is_ok()
    }

    /// Sends these bytes again and again until the far end has had enough, which must be before
    /// `times` are over.
    pub fn send_for_ever(mut self, bytes: impl AsRef<[u8]>, pause: Duration, times: usize) {
        for _ in 0..times {
            if !self.send(&bytes) {
                return;
            }
            thread::sleep(pause);
        }
        panic!("the far end takes whatever comes");
    }

    /// Says nothing more, until the far end hangs up.
    pub fn keep_silent(mut self) {
        let said = self.socket.read_to_end(&mut Vec::new());
        assert!(said.is_ok(), "the far end has not hung up: {said:?}");
    }

    /// Breaks the connection off, as if the service had died.
    pub fn reset(self) {
        // Without patience for what is unsent, closing resets (tcp(7), SO_LINGER in socket(7)).
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }

    /// The part of the query with this name.
    pub fn query(&self, name: &str) -> &str {
        let query = self.head.split([' ', '?']).nth(2).unwrap();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(other, _)| *other == name).unwrap().1
    }
}
