//! Experiments on the other side: what asyncio does, shown in the twin or beside it.
//!
//! Each is a script of its own, to be read as Python; here is only how it is run. A script prints
//! a row for each figure (what, expected, found; tabs between them), and ends with a message and
//! exit code 1 if its effect does not show. The twin comes to it as a module, through a pipe, so
//! that no file is left behind.

use std::io::{self, ErrorKind, Write};
use std::process::{Command, Stdio};

use super::{Experiment, Findings};

const TWIN: &str = include_str!("../twin/herd_twin.py");

/// Makes the twin a module: what a script imports as `herd_twin`.
const PREAMBLE: &str = "\
import sys, types
sys.modules['herd_twin'] = types.ModuleType('herd_twin')
sys.modules['herd_twin'].__file__ = 'src/teach/twin/herd_twin.py'
exec(sys.stdin.read(), sys.modules['herd_twin'].__dict__)
";

const IS_OLD_ENOUGH: &str = "import sys; sys.exit(sys.version_info < (3, 11))";

pub const ORDER: Experiment = Experiment {
    name: "order",
    chapter: 8,
    title: "asyncio: with a task for each line, WHATSAT overtakes IAMAT",
    about: "One thread, and a race all the same: where a coroutine awaits, another goes on. A \
            server that starts a task for each line has given up the order of lines.",
    steps: "1,000 times IAMAT and WHATSAT of a new client in one write, to the twin, which has one \
            coroutine for a connection, and to the twin with a task for each line that awaits \
            something before it stores.",
    house: "lines take effect in the order sent, only answers wait: `Server::reply`, `Waits`.",
    run: |found, _| python(include_str!("order.py"), found),
};

pub const EXECUTOR: Experiment = Experiment {
    name: "executor",
    chapter: 8,
    title: "asyncio: hanging questions keep names from being resolved",
    about: "`to_thread` and `getaddrinfo` share one pool of few threads, behind a queue without a \
            bound. A caller that fills it makes all others wait that need a thread.",
    steps: "A service accepts and never answers; the twin gives up after 1 s. 60 questions are \
            asked, and then the name `localhost` is resolved.",
    house: "names have threads of their own (`CompletionSender::resolve`), and questions beyond \
            a bound are refused at once (`CallGate::receive`).",
    run: |found, _| python(include_str!("executor.py"), found),
};

pub const TRICKLE: Experiment = Experiment {
    name: "trickle",
    chapter: 8,
    title: "asyncio: a timeout ends our waiting, not the thread's",
    about: "`asyncio.timeout` cancels the coroutine that waits. The thread that it waited for \
            knows nothing of that, and a byte now and then keeps urllib content for ever.",
    steps: "A service sends a byte every 100 ms to as many questions as there are threads; all \
            time out after 500 ms. From then on it answers at once, and is asked once more.",
    house: "a call as a whole has a deadline: ureq's `timeout_global`, beside one for each part.",
    run: |found, _| python(include_str!("trickle.py"), found),
};

pub const DEADLOCK: Experiment = Experiment {
    name: "deadlock",
    chapter: 11,
    title: "asyncio: two coroutines that wait for each other wait for ever",
    about: "No lock is needed for a deadlock. Two servers that each wait for the other's greeting \
            before they say their own are two coroutines that are never resumed: no error, no CPU.",
    steps: "Two ends of a connection greet each other. Both listen first, without a deadline; we \
            look on for 1 s. Then the same with a deadline. Then one of them speaks first.",
    house: "who speaks first is a rule (`core::peers::greeting`), and every state that waits for \
            a far end has a deadline (`core::peers`, `Session::deadline`).",
    run: |found, _| python(include_str!("deadlock.py"), found),
};

pub const STARVATION: Experiment = Experiment {
    name: "starvation",
    chapter: 4,
    title: "asyncio: a coroutine whose data is there never yields",
    about: "`await` yields only if there is something to wait for. A coroutine that finds its data \
            ready, or puts work back for itself, never lets the loop turn.",
    steps: "A ticker wants to run every 10 ms. Beside it, for 500 ms, a listener takes a job from \
            a queue and puts it back. Then the same with `await asyncio.sleep(0)` in between.",
    house: "a connection that puts itself back comes behind the others, and the walk is as long as \
            the queue was when it began: `Reactor::turn`, the unfinished.",
    run: |found, _| python(include_str!("starvation.py"), found),
};

pub const SERVER_CLOSE: Experiment = Experiment {
    name: "server-close",
    chapter: 25,
    title: "asyncio: `Server.close` shuts the door and leaves those inside",
    about: "A server that closes accepts nobody more, and says nothing to those who are connected. \
            `asyncio.run` cancels their coroutines, and an answer under way is never sent.",
    steps: "20 clients have asked and wait 300 ms for their answers when SIGTERM comes. The server \
            calls `close`, and its `main` returns; then the same with a drain of 8 lines, for \
            which it has to know who is busy and who is idle. Last, `wait_closed` beside a client \
            who says nothing.",
    house: "phases with deadlines: no new line is taken, the last answers leave, who is between \
            two lines is let go (`Reactor::begin_drain`, `Session::stop_reading`).",
    run: |found, _| python(include_str!("server_close.py"), found),
};

pub const START_TLS: Experiment = Experiment {
    name: "start-tls",
    chapter: 25,
    title: "asyncio: what was said before TLS counts as said inside it",
    about: "`StreamWriter.start_tls` puts TLS around the socket. What the reader has read before \
            stays in its buffer, and the next `readline` gives it as if it had come by TLS.",
    steps: "A client says `STARTTLS` and, in the same write, a line that somebody on the way could \
            have put there. Then it speaks by TLS. We see which line the server takes for the \
            first one by TLS, whether the client may half-close, and what 50 connections cost.",
    house: "TLS has a port of its own. Between peers the first byte decides, and nothing plain is \
            kept (`Wrapped::fill`, `tls::Session::feed`).",
    run: |found, _| python(include_str!("start_tls.py"), found),
};

pub const FOLLOWERS: Experiment = Experiment {
    name: "followers",
    chapter: 24,
    title: "asyncio: a follower's queue grows while it does not read",
    about: "`drain` holds back the coroutine that writes to a slow reader, and not the one that \
            puts into its queue: back-pressure ends there. With a bound, all wait for the slowest.",
    steps: "One follower reads nothing, another one all. 20,000 changes of 100 clients are told to \
            both: by a queue each, by queues with a bound, and by a dict of the newest of each.",
    house: "one list of clients by their last change, and a number for each follower; what is told \
            is put together when there is room (`Recency`, `Following::serve`).",
    run: |found, _| python(include_str!("followers.py"), found),
};

fn python(script: &str, found: &mut Findings) -> io::Result<()> {
    let mut look = Command::new("python3");
    look.args(["-c", IS_OLD_ENOUGH]).stderr(Stdio::null());
    if !look.status().is_ok_and(|status| status.success()) {
        let message = "this experiment needs python3, 3.11 or later, which is missing here";
        return Err(io::Error::new(ErrorKind::Unsupported, message));
    }
    let mut python = Command::new("python3");
    python.args(["-c", &format!("{PREAMBLE}{script}")]);
    // A proxy of this machine must not come between the twin and a service here.
    python.env("no_proxy", "*").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut python = python.spawn()?;
    let fed = python.stdin.take().map(|mut stdin| stdin.write_all(TWIN.as_bytes()));
    let output = python.wait_with_output()?;
    fed.transpose()?;
    for row in String::from_utf8_lossy(&output.stdout).lines() {
        let mut cells = row.split('\t');
        let mut cell = || cells.next().unwrap_or_default();
        found.show(cell(), cell(), cell());
    }
    match output.status.code() {
        Some(0) => {}
        Some(1) => {
            let complaint = String::from_utf8_lossy(&output.stderr);
            found.demand(false, complaint.lines().last().unwrap_or_default());
        }
        _ => return Err(io::Error::other("python3 was killed")),
    }
    Ok(())
}
