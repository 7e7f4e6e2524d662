//! A Places service in the hands of the test: it takes calls, and answers none by itself. Apart
//! because the source of places and the loop that waits for it are tested in different rings; it
//! knows no more of HTTP than one call on each connection.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use super::PATIENCE;

pub struct FakePlaces {
    pub port: u16,
    calls: Receiver<Call>,
}

/// A request that waits for its answer; dropped, its connection closes.
pub struct Call {
    /// As far as the empty line.
    pub head: String,
    socket: TcpStream,
}

impl FakePlaces {
    pub fn start() -> FakePlaces {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, calls) = mpsc::channel();
        // It ends with the test's process: a thread that waits costs nothing.
        thread::spawn(move || {
            for socket in listener.incoming() {
                let Some(call) = socket.ok().and_then(Call::read) else { continue };
                if sender.send(call).is_err() {
                    return;
                }
            }
        });
        FakePlaces { port, calls }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The sections of a herd.toml for a server that asks here.
    pub fn sections(&self, more: &str) -> String {
        format!("[places]\nsource = \"google-legacy\"\nurl = \"{}\"\n{more}", self.url())
    }

    /// The next call that has come.
    pub fn call(&self) -> Call {
        self.calls.recv_timeout(PATIENCE).expect("somebody calls the places service")
    }
}

impl Call {
    fn read(mut socket: TcpStream) -> Option<Call> {
        socket.set_read_timeout(Some(PATIENCE)).ok()?;
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            socket.read_exact(&mut byte).ok()?;
            head.push(byte[0]);
        }
        Some(Call { head: String::from_utf8(head).ok()?, socket })
    }

    pub fn answer(mut self, code: &str, body: &str) {
        let length = body.len();
        let head = format!("HTTP/1.1 {code}\r\nContent-Length: {length}\r\nConnection: close");
        // Whoever asked may have lost patience.
        let _ = write!(self.socket, "{head}\r\n\r\n{body}");
    }

    /// The good answer without any place.
    pub fn answer_nothing_there(self) {
        self.answer("200 OK", r#"{"html_attributions":[],"results":[],"status":"ZERO_RESULTS"}"#);
    }

    /// The part of the query with this name.
    pub fn query(&self, name: &str) -> &str {
        let query = self.head.split([' ', '?']).nth(2).unwrap();
        let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        pairs.find(|(other, _)| *other == name).unwrap().1
    }
}
