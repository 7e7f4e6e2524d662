//! The command `herd follow`: what changes, line by line, for a terminal or a script. A stream that
//! breaks is opened again where it was.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use herd_web::follow::reader::{Event, Reader};
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::flags::FollowFlags;

/// A server says something each fifteen seconds, so one that is silent for longer is gone.
const SILENCE_MAX: Duration = Duration::from_secs(40);
const DIAL_TIMEOUT: Duration = Duration::from_secs(5);
const RETRY_DEFAULT: Duration = Duration::from_secs(2);

/// How a stream has ended.
enum Ended {
    /// All that is known was told, and no more is wanted.
    Enough,
    Broken(String),
}

/// Follows until it is interrupted, or once.
///
/// # Errors
/// The server cannot be reached at first, or refuses; or `out` cannot be written.
pub fn follow(out: &mut impl Write, flags: &FollowFlags) -> Result<Exit, Failure> {
    let mut reader = Reader::default();
    let mut was_there = false;
    loop {
        let why = match read_stream(out, flags, &mut reader, &mut was_there)? {
            Ended::Enough => return Ok(Exit::Success),
            Ended::Broken(why) => why,
        };
        if !was_there {
            return Err(Failure::new(Exit::Unreachable, format!("{}: {why}", flags.at)));
        }
        eprintln!("herd follow: {}: {why}; coming again", flags.at);
        thread::sleep(reader.retry_ms.map_or(RETRY_DEFAULT, Duration::from_millis));
        reader = reader.again();
    }
}

fn read_stream(
    out: &mut impl Write,
    flags: &FollowFlags,
    reader: &mut Reader,
    was_there: &mut bool,
) -> Result<Ended, Failure> {
    let broken = |error: io::Error| Ok(Ended::Broken(error.to_string()));
    let mut stream = match open(flags, &reader.last_id) {
        Ok(stream) => BufReader::new(stream),
        Err(error) => return broken(error),
    };
    match read_head(&mut stream) {
        Ok(200) => *was_there = true,
        Ok(status) => return refused(&mut stream, status, *was_there),
        Err(error) => return broken(error),
    }
    loop {
        let bytes = match stream.fill_buf() {
            Ok([]) => return Ok(Ended::Broken("the stream has ended".to_owned())),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return broken(error),
        };
        let (count, events) = (bytes.len(), reader.take(bytes));
        stream.consume(count);
        for event in events {
            tell(out, flags, &event)?;
            if event.name == "ready" && flags.once {
                return Ok(Ended::Enough);
            }
        }
        out.flush().map_err(|error| Failure::of_output(&error))?;
    }
}

fn open(flags: &FollowFlags, last_id: &str) -> io::Result<TcpStream> {
    let mut addresses = flags.at.to_socket_addrs()?;
    let address = addresses.next().ok_or(ErrorKind::NotFound)?;
    let mut stream = TcpStream::connect_timeout(&address, DIAL_TIMEOUT)?;
    stream.set_read_timeout(Some(SILENCE_MAX))?;
    let mut head = format!("GET /v1/follow?{} HTTP/1.1\r\nHost: {}\r\n", flags.query(), flags.at);
    if !last_id.is_empty() {
        head += &format!("Last-Event-ID: {last_id}\r\n");
    }
    if let Some(token) = &flags.token {
        head += &format!("Authorization: Bearer {token}\r\n");
    }
    stream.write_all((head + "\r\n").as_bytes())?;
    Ok(stream)
}

/// Reads the head of the answer, and gives its status.
fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<u16> {
    let mut lines = stream.by_ref().take(16 * 1024).lines();
    let first = lines.next().ok_or(ErrorKind::UnexpectedEof)??;
    let status = first.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)?.parse().ok());
    for line in lines {
        if line?.is_empty() {
            return status.ok_or_else(|| io::Error::other("that is no herd's web port"));
        }
    }
    Err(ErrorKind::UnexpectedEof.into())
}

/// The server does not want it so, or not now.
fn refused(
    stream: &mut BufReader<TcpStream>,
    status: u16,
    was_there: bool,
) -> Result<Ended, Failure> {
    let mut why = String::new();
    let _ = stream.read_line(&mut why);
    let why = format!("{} (HTTP {status})", why.trim_end());
    match status {
        401 | 403 => Err(Failure::new(Exit::NotAllowed, why)),
        429 | 503 if was_there => Ok(Ended::Broken(why)),
        429 | 503 => Err(Failure::new(Exit::Unreachable, why)),
        _ => Err(Failure::new(Exit::Usage, why)),
    }
}

/// Prints an event, and hands it to a command if one is to be run.
fn tell(out: &mut impl Write, flags: &FollowFlags, event: &Event) -> Result<(), Failure> {
    let data = serde_json::from_str(&event.data).unwrap_or(Value::Null);
    let written = if flags.json {
        // As it was sent: numbers keep all their digits.
        let text = if data.is_null() { "null" } else { &event.data };
        writeln!(out, "{{\"event\":{},\"data\":{text}}}", Value::from(&*event.name))
    } else {
        lines_of(event, &data).iter().try_for_each(|line| writeln!(out, "{line}"))
    };
    written.map_err(|error| Failure::of_output(&error))?;
    let Some(command) = &flags.exec else { return Ok(()) };
    if matches!(&*event.name, "move" | "square" | "enter" | "exit" | "gone") {
        out.flush().map_err(|error| Failure::of_output(&error))?;
        if let Err(error) = run(command, event) {
            eprintln!("herd follow: cannot run {command}: {error}");
        }
    }
    Ok(())
}

/// Runs a command with an event: its name is in `HERD_EVENT`, its data on standard input.
fn run(command: &str, event: &Event) -> io::Result<()> {
    let mut child = Command::new("sh")
        .args(["-c", command])
        .env("HERD_EVENT", &event.name)
        .stdin(Stdio::piped())
        .spawn()?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command need not read it.
        let _ = stdin.write_all(event.data.as_bytes());
    }
    let status = child.wait()?;
    if !status.success() {
        eprintln!("herd follow: {command}: {status}");
    }
    Ok(())
}

/// What a terminal shows of an event: ids of strangers have no control characters there.
fn lines_of(event: &Event, data: &Value) -> Vec<String> {
    let shown = |value: &Value| {
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        text.chars().map(|c| if c.is_control() { '?' } else { c }).collect::<String>()
    };
    let (id, fence) = (shown(&data["id"]), shown(&data["fence"]));
    match &*event.name {
        "move" => {
            let moved = |client: &Value| {
                let [id, longitude, latitude, time] = [0, 1, 2, 3].map(|at| shown(&client[at]));
                format!("{id} at {latitude}, {longitude} at {time}")
            };
            data.as_array().into_iter().flatten().map(moved).collect()
        }
        "square" => {
            let [west, south, east, north] = [0, 1, 2, 3].map(|at| shown(&data["bbox"][at]));
            let time = shown(&data["t"]);
            vec![format!("{id} between {south}, {west} and {north}, {east} at {time}")]
        }
        "enter" => vec![format!("{id} enters {fence}")],
        "exit" => vec![format!("{id} leaves {fence}")],
        "gone" => vec![format!("{id} is gone: {}", shown(&data["why"]))],
        "inside" => {
            let ids = data["ids"].as_array().into_iter().flatten();
            ids.map(|id| format!("{} is inside", shown(id))).collect()
        }
        "hello" if data["resumed"] == true => Vec::new(),
        "hello" => vec![format!("{} tells all that it knows", shown(&data["server"]))],
        "ready" => vec!["that is all; what follows is new".to_owned()],
        "bye" => vec![format!("the stream ends: {}", shown(&data["why"]))],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_lines() {
        let check = |name: &str, data: &str, expected: &[&str]| {
            let event = Event { name: name.to_owned(), data: data.to_owned() };
            let lines = lines_of(&event, &serde_json::from_str(data).unwrap());
            assert_eq!(lines, expected);
        };
        let moves = r#"[["jane/phone",24.9384,60.1699,1520023934.5],["a\u001b[2J",1,2,3]]"#;
        let lines = ["jane/phone at 60.1699, 24.9384 at 1520023934.5", "a?[2J at 2, 1 at 3"];
        check("move", moves, &lines);
        check("enter", r#"{"fence":"depot","id":"kiwi","at":[1,2],"t":3}"#, &["kiwi enters depot"]);
        let square = r#"{"id":"kiwi","bbox":[24.5,60.25,24.75,60.5],"t":3}"#;
        check("square", square, &["kiwi between 60.25, 24.5 and 60.5, 24.75 at 3"]);
        check("gone", r#"{"id":"kiwi","why":"expired"}"#, &["kiwi is gone: expired"]);
        check("lag", r#"{"ms":5}"#, &[]);
    }
}
