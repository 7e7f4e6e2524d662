//! An operator's side of a connection: asks by HTTP and takes answers apart, strictly.

use std::collections::BTreeMap;

use super::Client;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    /// By their names in lower case.
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

pub struct Operator(pub Client);

impl Operator {
    pub fn connect(port: u16) -> Operator {
        Operator(Client::connect(port))
    }

    /// GET, as a scraper sends it.
    pub fn get(&mut self, path: &str) -> Reply {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n"))
    }

    pub fn ask(&mut self, request: &str) -> Reply {
        self.0.send(request);
        self.reply(request.starts_with("HEAD"))
    }

    /// Reads one answer.
    pub fn reply(&mut self, is_head: bool) -> Reply {
        let head = String::from_utf8(self.0.through(b"\r\n\r\n")).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().strip_prefix("HTTP/1.1 ").unwrap();
        let status: u16 = status.split(' ').next().unwrap().parse().unwrap();
        let header = |line: &str| {
            let (name, value) = line.split_once(": ").unwrap();
            (name.to_lowercase(), value.to_owned())
        };
        let headers: BTreeMap<_, _> = lines.map(header).collect();
        // What is not modified has no body, and says no length.
        let length = if status == 304 { 0 } else { headers["content-length"].parse().unwrap() };
        let body = if is_head { Vec::new() } else { self.0.bytes(length) };
        Reply { status, headers, body: String::from_utf8(body).unwrap() }
    }
}
