//! What a report costs a server that hears it from a peer, as news and as a copy of what it holds,
//! to be compared with one that answers it. Apart from loads by `herd bench`, which are clients.
//!
//! Method: we are the peer, and write without pause; the server's processor time is read before and
//! after. A `PING` behind the last report is answered when all have been heard.

use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::chatter::Chatter;
use crate::herd::{Herd, Plan};
use crate::load::Span;
use crate::spread::{ear, join};
use crate::trial::{CPU, Found, RATE};

const SERVER: &str = "Front0";
/// Reports that are written at once.
const LINES: usize = 512;
/// Copies come soon after what they are copies of: so many reports later.
const COPIES_BEHIND: usize = 1_024;

/// A peer that tells and does not listen.
struct Teller {
    link: BufReader<TcpStream>,
    news: Chatter,
    /// Reports that are told again and again; none if each is to be news.
    copies: Vec<String>,
    pings: u64,
}

/// A server that is told reports of so many clients. `tells_news` or the same again and again.
pub fn run(clients: u64, tells_news: bool, span: Span) -> Result<Found, String> {
    let plan = Plan {
        is_pinned: true,
        strangers: vec![ear(SERVER)],
        links: vec![(ear(SERVER), SERVER.to_owned())],
        ..Plan::of(1, 0)
    };
    let herd = Herd::start(&plan)?;
    let server = &herd.servers[0];
    let link = join(SERVER, server.peers)?;
    let mut teller = Teller { link, news: Chatter::new(clients), copies: Vec::new(), pings: 0 };
    if !tells_news {
        teller.copies = (0..COPIES_BEHIND / LINES).map(|_| teller.make_news()).collect();
    }
    let tell = |teller: &mut Teller, time| teller.tell(time).map_err(|error| error.to_string());
    tell(&mut teller, span.warm_up)?;
    let before = server.loop_time()?;
    let (began, told) = (Instant::now(), tell(&mut teller, span.measure)?);
    let (took, busy) = (began.elapsed(), server.loop_time()?.saturating_sub(before));
    Ok(vec![
        (RATE, told as f64 / took.as_secs_f64()),
        (CPU, busy.as_secs_f64() * 1e6 / told as f64),
    ])
}

impl Teller {
    fn make_news(&mut self) -> String {
        let mut lines = Vec::new();
        self.news.write_lines(LINES, &mut lines);
        let lines = String::from_utf8_lossy(&lines);
        lines.replace("IAMAT ", &format!("AT {} +0.263873386 ", ear(SERVER)))
    }

    /// Tells for so long, and waits until all is heard. Says how many reports that were.
    fn tell(&mut self, time: Duration) -> io::Result<usize> {
        let (end, mut writes) = (Instant::now() + time, 0);
        while Instant::now() < end {
            let lines = match self.copies.len() {
                0 => &self.make_news(),
                count => &self.copies[writes % count],
            };
            self.link.get_mut().write_all(lines.as_bytes())?;
            writes += 1;
        }
        self.pings += 1;
        let pong = format!("PONG {}", self.pings);
        writeln!(self.link.get_mut(), "PING {}", self.pings)?;
        let mut line = String::new();
        while !line.starts_with(&pong) {
            line.clear();
            if self.link.read_line(&mut line)? == 0 {
                return Err(io::Error::other("the server has hung up"));
            }
        }
        Ok(writes * LINES)
    }
}
