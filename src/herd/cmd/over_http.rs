//! Servers of other machines, asked by HTTP at their operators' ports.
//!
//! The commands `status` and `top` use it. All that is asked of a server goes over one connection,
//! with one deadline. What comes from there is another machine's, and is shown as text only.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::Shutdown;
use std::time::Duration;

use herd::config::Address;
use herd::config::herd::{Member, OtherPort};
use herd::status::Status;

use super::call::Call;

/// What a server says of itself and measures.
pub struct Report {
    pub status: Status,
    pub readings: Readings,
}

impl Report {
    /// Whether clients may be sent there.
    pub fn is_ready(&self) -> bool {
        self.readings.value("herd_ready") == Some(1.0)
    }

    pub fn is_draining(&self) -> bool {
        self.status.draining || self.status.drain_phase.is_some()
    }
}

/// One answer: the code and the body.
pub struct Answer {
    pub code: u16,
    pub body: Vec<u8>,
}

/// What `/metrics` says: figures by their series, spelled as there.
#[derive(Debug, Default)]
pub struct Readings(BTreeMap<String, f64>);

impl Readings {
    /// Lines that have no figure are passed over.
    pub fn parse(text: &str) -> Readings {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        let figures = lines.filter_map(|line| {
            // A label's value may have blanks; the figure behind it has none.
            let (series, figure) = line.rsplit_once(' ')?;
            Some((series.to_owned(), figure.parse().ok()?))
        });
        Readings(figures.collect())
    }

    pub fn value(&self, series: &str) -> Option<f64> {
        self.0.get(series).copied()
    }

    /// The figures of a histogram, by their upper bounds, as they stand in the text: how many are
    /// not above each.
    pub fn buckets(&self, name: &str) -> Vec<(f64, f64)> {
        let begin = format!("{name}_bucket{{le=\"");
        let found = self.0.range(begin.clone()..).take_while(|(at, _)| at.starts_with(&begin));
        let found = found.filter_map(|(at, count)| {
            let bound = at.strip_prefix(&begin)?.strip_suffix("\"}")?;
            Some((bound.parse::<f64>().ok()?, *count))
        });
        let mut found = Vec::from_iter(found);
        found.sort_by(|one, other| one.0.total_cmp(&other.0));
        found
    }

    /// Of all series of this name, the figure with the greatest magnitude.
    pub fn farthest_from_zero(&self, name: &str) -> Option<f64> {
        let begin = format!("{name}{{");
        let found = self.0.range(begin.clone()..).take_while(|(at, _)| at.starts_with(&begin));
        found.map(|(_, figure)| *figure).max_by(|one, two| one.abs().total_cmp(&two.abs()))
    }

    /// The sum of all series of this name, whatever their labels.
    pub fn sum(&self, name: &str) -> Option<f64> {
        let is_of = |series: &str| series.split('{').next() == Some(name);
        let of_name = self.0.range(name.to_owned()..).take_while(|(at, _)| at.starts_with(name));
        of_name.filter(|(at, _)| is_of(at)).map(|(_, figure)| *figure).reduce(|one, two| one + two)
    }
}

/// Where a server of another machine is asked. `None` if its port for operators is off, or on the
/// loopback of its own machine: that of ours leads to others.
pub fn port_of(member: &Member) -> Option<Address> {
    let address = member.operators.address(OtherPort::Operators, &member.clients).ok()??;
    if address.ip().is_some_and(|ip| ip.is_unspecified()) {
        // It listens on all addresses of its machine, and so on that of its clients.
        return Some(Address { host: member.clients.host.clone(), port: address.port });
    }
    (!address.is_loopback()).then_some(address)
}

/// What the server there says of itself and measures.
///
/// # Errors
/// A sentence that says what is wrong there.
pub fn look(at: &Address, patience: Duration) -> Result<Report, String> {
    let answers = ask(at, &["/status", "/metrics"], patience)?;
    let status = serde_json::from_slice(&answers[0].body).ok().filter(|_| answers[0].code == 200);
    let status = status.ok_or_else(|| format!("{at} is no herd's port for operators"))?;
    Ok(Report { status, readings: Readings::parse(&String::from_utf8_lossy(&answers[1].body)) })
}

/// Asks for paths, one after the other.
///
/// # Errors
/// A sentence that says what is wrong there.
pub fn ask(at: &Address, paths: &[&str], patience: Duration) -> Result<Vec<Answer>, String> {
    let address = at.resolve().map_err(|error| format!("{} has no address: {error}", at.host))?;
    let mut call = Call::open(&address.into(), patience).map_err(|error| match error.kind() {
        ErrorKind::ConnectionRefused => format!("nobody listens on {at}"),
        _ => trouble(at, patience, &error),
    })?;
    let mut heard = Vec::new();
    let said = call.say(requests(at, paths).as_bytes()).and_then(|()| call.hear_out(&mut heard));
    let answers = take_apart(&heard);
    match said {
        _ if answers.len() == paths.len() => Ok(answers),
        Err(error) if error.kind() == ErrorKind::TimedOut => Err(trouble(at, patience, &error)),
        // Hanging up on what was not read looks like a reset.
        _ if !heard.starts_with(b"HTTP/") => Err(wrong_port(at, patience)),
        Err(error) => Err(trouble(at, patience, &error)),
        Ok(()) => Err(format!("{at} broke off")),
    }
}

fn trouble(at: &Address, patience: Duration, error: &io::Error) -> String {
    match error.kind() {
        ErrorKind::TimedOut => format!("{at} has not answered within {patience:?}"),
        _ => format!("{at} cannot be asked: {error}"),
    }
}

/// The server hangs up after the last of them.
fn requests(at: &Address, paths: &[&str]) -> String {
    let last = paths.len() - 1;
    let request = |(number, path): (usize, &&str)| {
        let end = if number == last { "Connection: close\r\n\r\n" } else { "\r\n" };
        format!("GET {path} HTTP/1.1\r\nHost: {at}\r\n{end}")
    };
    paths.iter().enumerate().map(request).collect()
}

/// Those answers that are whole.
fn take_apart(heard: &[u8]) -> Vec<Answer> {
    let (mut answers, mut rest) = (Vec::new(), heard);
    while let Some((answer, behind)) = first(rest) {
        answers.push(answer);
        rest = behind;
    }
    answers
}

/// The first answer, and what stands behind it.
fn first(heard: &[u8]) -> Option<(Answer, &[u8])> {
    let end = heard.windows(4).position(|four| four == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&heard[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let code = lines.next()?.strip_prefix("HTTP/1.")?.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
    })?;
    let body = heard[end + 4..].get(..length)?;
    Some((Answer { code, body: body.to_vec() }, &heard[end + 4 + length..]))
}

/// What to say of a port that speaks no HTTP. A herd's port for clients repeats what it does not
/// understand.
fn wrong_port(at: &Address, patience: Duration) -> String {
    const NONSENSE: &[u8] = b"WHATSAT";
    let probe = || -> io::Result<Vec<u8>> {
        let mut call = Call::open(&at.resolve()?.into(), patience)?;
        let mut heard = Vec::new();
        call.say(NONSENSE)?;
        call.socket.shutdown(Shutdown::Write)?;
        call.hear_out(&mut heard)?;
        Ok(heard)
    };
    let answered = probe().is_ok_and(|heard| heard.starts_with(&[b"? ", NONSENSE].concat()));
    let what = if answered { "is the clients' port" } else { "speaks no HTTP" };
    format!("{at} {what}: that for operators is 300 above the clients', if nothing else is said")
}

#[cfg(test)]
mod tests {
    use super::*;
    use herd::config::herd::Door;

    #[test]
    fn figures_are_summed_by_their_name() {
        let text =
            "# TYPE a counter\na_total{b=\"x y\"} 3\na_total{b=\"z\"} 4.5\na_total_b 9\nc 1\n";
        let readings = Readings::parse(text);
        assert_eq!(readings.sum("a_total"), Some(7.5));
        assert_eq!(readings.value("a_total{b=\"x y\"}"), Some(3.0));
        assert_eq!((readings.sum("c"), readings.sum("d")), (Some(1.0), None));
    }

    #[test]
    fn answers_are_taken_apart() {
        let heard =
            b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 503 Service Unavailable\
            \r\ncontent-length: 1\r\n\r\nxHTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut";
        let answers = take_apart(heard);
        let seen: Vec<_> = answers.iter().map(|answer| (answer.code, &*answer.body)).collect();
        assert_eq!(seen, [(200, &b"ok"[..]), (503, b"x")]);
    }

    #[test]
    fn a_loopback_is_that_of_its_own_machine() {
        let check = |clients: &str, operators: &str, expected: Option<&str>| {
            let member = Member {
                tls_clients: herd::config::TlsClients::default(),
                name: "Hill".to_owned(),
                clients: clients.parse().unwrap(),
                peers: None,
                web: Door::Off,
                operators: operators.parse().unwrap(),
                mqtt: Door::Off,
                shape: Default::default(),
                holds: true,
                region: None,
            };
            assert_eq!(port_of(&member).map(|at| at.to_string()).as_deref(), expected);
        };
        check("far.example:1", "127.0.0.1:301", None);
        check("far.example:1", "off", None);
        check("far.example:1", "10.0.0.1:301", Some("10.0.0.1:301"));
        check("far.example:1", "0.0.0.0:301", Some("far.example:301"));
        check("[2001:db8::1]:1", "[::]:301", Some("[2001:db8::1]:301"));
    }
}
