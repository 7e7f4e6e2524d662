//! A server without descriptors: who waits at the door when they are free again?
//!
//! The server is a process of its own, because the limit that it sets would be that of the whole
//! process.

use std::env;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::{Experiment, Findings, House, join};

pub const DESCRIPTORS: Experiment = Experiment {
    name: "descriptors",
    chapter: 4,
    title: "where there are no descriptors, a new client waits for ever",
    about: "At EMFILE a server stops accepting. mio has reported that connections wait, and will \
            not report it again; that descriptors become free is no event at all.",
    steps: "60 clients come to a server that may have 20 descriptors. After 300 ms it hangs up on \
            those that it has served. One server waits for events; another tries again every \
            100 ms as well.",
    house: "a timer calls `Reactor::accept` again: `Accepted::Exhausted`. asyncio does the same \
            after a second.",
    run: descriptors,
};

const CLIENTS: usize = 60;
const SERVED_FOR: Duration = Duration::from_millis(300);
const LIFE: Duration = Duration::from_millis(2_500);

fn descriptors(found: &mut Findings, _: &House) -> io::Result<()> {
    let rows = [("waits for events", "wait"), ("tries again every 100 ms", "retry")];
    let crowds = rows.map(|(_, manner)| thread::spawn(move || count_served(manner)));
    for ((what, manner), crowd) in rows.into_iter().zip(crowds) {
        let served = join(crowd)??;
        found.show(&format!("served, if the server {what}"), CLIENTS, served);
        let as_told = if manner == "retry" { served == CLIENTS } else { served < CLIENTS / 2 };
        found.demand(as_told, "trying again made no difference");
    }
    Ok(())
}

fn count_served(manner: &str) -> io::Result<usize> {
    let mut server = Command::new(env::current_exe()?);
    server.args(["lab", "descriptors", "--alone", manner]).stdout(Stdio::piped());
    let mut server = server.spawn()?;
    let served = server.stdout.take().ok_or(ErrorKind::BrokenPipe.into()).and_then(|out| {
        let mut port = String::new();
        BufReader::new(out).read_line(&mut port)?;
        let address: SocketAddr = port.trim().parse().map_err(io::Error::other)?;
        let come = |_| TcpStream::connect(address);
        let clients = (0..CLIENTS).map(come).collect::<io::Result<Vec<_>>>()?;
        // A client that was served has read one byte before the server ends; the others get a
        // reset.
        let mut clients = clients.into_iter();
        Ok(clients.by_ref().filter_map(|mut client| client.read_exact(&mut [0]).ok()).count())
    });
    server.wait()?;
    served
}

/// What `--alone` runs: the server, for as long as the experiment takes.
///
/// # Errors
/// What the system says, except that there are no descriptors.
pub fn serve(manner: &str) -> io::Result<()> {
    let limit = Rlimit { current: Some(20), ..getrlimit(Resource::Nofile) };
    setrlimit(Resource::Nofile, limit)?;
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(16);
    let mut listener = TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0)))?;
    poll.registry().register(&mut listener, Token(0), Interest::READABLE)?;
    writeln!(io::stdout(), "{}", listener.local_addr()?)?;

    let begun = Instant::now();
    let mut served = Vec::new();
    while begun.elapsed() < LIFE {
        poll.poll(&mut events, Some(Duration::from_millis(100)))?;
        served.retain(|(_, since): &(_, Instant)| since.elapsed() < SERVED_FOR);
        if events.is_empty() && manner != "retry" {
            continue;
        }
        // Until no client is left, or there is no descriptor.
        while let Ok((mut client, _)) = listener.accept() {
            client.write_all(b"x")?;
            served.push((client, Instant::now()));
        }
    }
    Ok(())
}
