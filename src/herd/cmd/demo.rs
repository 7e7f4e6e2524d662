//! The command `herd demo`: clients that move about a city, each reporting once a second to one of
//! the herd's servers. If that does not answer, another one hears of them meanwhile.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use signal_hook::consts::{SIGINT, SIGTERM};

use herd::config::herd::{Member, OtherPort};
use herd_load::Stroll;

use super::exit::{Exit, Failure};
use super::flags::DemoFlags;
use super::start;

/// Each client reports so often.
const PERIOD: Duration = Duration::from_secs(1);
/// They take turns, in so many groups a period, as clients of different people do.
const GROUPS: usize = 20;
/// A server that does not answer for so long is left alone for as long.
const PATIENCE: Duration = Duration::from_secs(2);

/// One server, as clients see it.
struct Server<'a> {
    member: &'a Member,
    stream: Option<BufReader<TcpStream>>,
    /// When it may be dialled again.
    dial_at: Instant,
}

/// What came of all reports.
#[derive(Default)]
struct Tally {
    taken: u64,
    /// Answered with a question mark.
    refused: u64,
    /// Nobody has heard them.
    unheard: u64,
}

/// Moves clients about until somebody ends it.
///
/// # Errors
/// There is no such herd, none of its servers answers at the beginning, or `out` cannot be written.
pub fn demo(out: &mut impl Write, flags: &DemoFlags) -> Result<Exit, Failure> {
    let which = flags.herd.which();
    let (herd, _) = which.herd(None)?;
    let members = herd.members.iter().filter(|member| member.peers.is_some());
    let (now, strolls) = (Instant::now(), Vec::from_iter((0..flags.clients).map(Stroll::new)));
    let mut servers = Vec::from_iter(members.map(|member| Server::new(member, now)));
    let up = Vec::from_iter(servers.iter_mut().map(Server::is_up));
    if !up.contains(&true) {
        let message = format!(
            "no server of herd {} answers ({}): start them with `{} start{}`",
            herd.id,
            herd.names(),
            start::me(),
            which.flags()
        );
        return Err(Failure::new(Exit::Unreachable, message));
    }
    let ending = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&ending))
            .map_err(|error| Failure::new(Exit::System, error.to_string()))?;
    }
    introduce(out, strolls.len(), &servers).map_err(|error| Failure::of_output(&error))?;
    let tally = stroll_about(&strolls, &mut servers, flags.seconds, &ending);
    conclude(out, &tally, now.elapsed()).map_err(|error| Failure::of_output(&error))?;
    Ok(Exit::Success)
}

fn introduce(out: &mut impl Write, count: usize, servers: &[Server<'_>]) -> io::Result<()> {
    writeln!(out, "{count} clients move about Helsinki, and report to {}.", listed(servers))?;
    let of = |member: &Member| member.web.address(OtherPort::Web, &member.clients).ok().flatten();
    if let Some(web) = servers.iter().find_map(|server| of(server.member)) {
        writeln!(out, "See them at http://{web}/map, or at another server of the herd.")?;
    }
    writeln!(out, "Ctrl-C ends it.")?;
    out.flush()
}

/// `Bailey, Bona and Clark`
fn listed(servers: &[Server<'_>]) -> String {
    let names = Vec::from_iter(servers.iter().map(|server| server.member.name.as_str()));
    match &names[..] {
        [all @ .., last] if !all.is_empty() => format!("{} and {last}", all.join(", ")),
        all => all.concat(),
    }
}

fn conclude(out: &mut impl Write, tally: &Tally, elapsed: Duration) -> io::Result<()> {
    write!(out, "{} reports in {:.0} s", tally.taken, elapsed.as_secs_f64())?;
    for (count, what) in [(tally.refused, "refused"), (tally.unheard, "heard by nobody")] {
        if count > 0 {
            write!(out, ", {count} {what}")?;
        }
    }
    writeln!(out)?;
    out.flush()
}

fn stroll_about(
    strolls: &[Stroll],
    servers: &mut [Server<'_>],
    limit: Option<Duration>,
    ending: &AtomicBool,
) -> Tally {
    let (begun, mut tally) = (Instant::now(), Tally::default());
    for step in 0_u32.. {
        let due = begun + PERIOD * step / GROUPS as u32;
        // A machine that is too slow for all of them shows them less often, not ever later.
        if due + PERIOD < Instant::now() {
            continue;
        }
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if ending.load(Ordering::Relaxed) || limit.is_some_and(|limit| due - begun >= limit) {
            break;
        }
        let posix = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let group = step as usize % GROUPS;
        let is_first = step < GROUPS as u32;
        for home in 0..servers.len() {
            let of_home = strolls.iter().enumerate().skip(group).step_by(GROUPS);
            let of_home = of_home.filter(|(at, _)| at / GROUPS % servers.len() == home);
            let speaking = of_home.filter(|(_, it)| is_first || it.stopped_s.is_none());
            let lines: String = speaking.map(|(_, it)| it.line(posix.as_secs_f64())).collect();
            tell_somebody(servers, home, &lines, &mut tally);
        }
    }
    tally
}

/// Tells the server at this place, or the next one that listens.
fn tell_somebody(servers: &mut [Server<'_>], home: usize, lines: &str, tally: &mut Tally) {
    if lines.is_empty() {
        return;
    }
    let count = servers.len();
    for at in (home..home + count).map(|at| at % count) {
        if servers[at].is_up() && servers[at].tell(lines, tally).is_ok() {
            return;
        }
        servers[at].stream = None;
    }
    tally.unheard += lines.lines().count() as u64;
}

impl<'a> Server<'a> {
    fn new(member: &'a Member, now: Instant) -> Server<'a> {
        Server { member, stream: None, dial_at: now }
    }

    /// Dials it, if that is to be done.
    fn is_up(&mut self) -> bool {
        if self.stream.is_none() && Instant::now() >= self.dial_at {
            let stream = self.member.clients.resolve().and_then(dial);
            self.stream = stream.ok().map(BufReader::new);
            self.dial_at = Instant::now() + PATIENCE;
        }
        self.stream.is_some()
    }

    /// Says these lines and hears as many answers.
    fn tell(&mut self, lines: &str, tally: &mut Tally) -> io::Result<()> {
        let stream = self.stream.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        stream.get_mut().write_all(lines.as_bytes())?;
        for _ in lines.lines() {
            let mut answer = String::new();
            stream.read_line(&mut answer)?;
            match answer.bytes().next() {
                Some(b'A') => tally.taken += 1,
                Some(_) => tally.refused += 1,
                None => return Err(io::ErrorKind::UnexpectedEof.into()),
            }
        }
        Ok(())
    }
}

fn dial(address: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}
