//! The command `herd status`: which servers run, and how they are.
//!
//! `query` looks; this shows the result to people and scripts.

use std::io::{self, Write};

use super::exit::{Exit, Failure};
use herd::config::herd::Member;
use herd::run_dir::RunDir;
use herd::status::{PeerState, Status};

use super::query::{Sight, look_at_all, unreadable};
use super::table::{shown, write_table};

/// Enough of a digest to see whether two are equal.
const DIGEST_DIGITS_SHOWN: usize = 8;

/// Prints which servers run: these or, if there are none, all that have run here. Those of `herd`
/// are listed even if they have not.
///
/// # Errors
/// The run directory cannot be read, or `out` not be written.
pub fn status(
    out: &mut impl Write,
    run_dir: &RunDir,
    names: Vec<String>,
    herd: &[Member],
    json: bool,
) -> Result<Exit, Failure> {
    let is_chosen = !names.is_empty();
    let mut names = names;
    if !is_chosen {
        names.extend(herd.iter().map(|member| member.name.clone()));
        let seen = run_dir.names().map_err(|error| unreadable(run_dir, &error))?;
        let others: Vec<_> = seen.into_iter().filter(|name| !names.contains(name)).collect();
        names.extend(others);
    }
    let mut sights = look_at_all(run_dir, &names, herd);
    // A server of another herd that is gone is of no concern here.
    let is_of_herd = |name: &String| herd.iter().any(|member| member.name == *name);
    sights.retain(|sight| match sight {
        Sight::Stopped { name } => is_chosen || herd.is_empty() || is_of_herd(name),
        _ => true,
    });

    let written = if json {
        serde_json::to_writer_pretty(&mut *out, &sights).map_err(io::Error::from).and_then(|()| {
            // The prompt of a shell wants a line of its own.
            writeln!(out)
        })
    } else if sights.is_empty() {
        let path = run_dir.path().display();
        writeln!(out, "No server has run here yet (run directory {path}): herd serve NAME")
    } else {
        let header = [
            "SERVER",
            "STATE",
            "CLIENTS AT",
            "PEERS AT",
            "PID",
            "SINCE",
            "KNOWN",
            "DIGEST",
            "CONNECTED",
            "PEERS",
        ];
        let rows = sights.iter().map(row).collect();
        write_table(out, &[vec![header.map(str::to_owned)], rows].concat())
            .and_then(|()| write_lines_below(out, &sights))
    };
    written.and_then(|()| out.flush()).map_err(|error| Failure::of_output(&error))?;

    conclude(run_dir, &sights, is_chosen)
}

/// Lines below the table: whose places cost money or are in trouble, who keeps a journal, and who
/// is on another machine and does not answer.
fn write_lines_below(out: &mut impl Write, sights: &[Sight]) -> io::Result<()> {
    let up = sights.iter().filter_map(Sight::status);
    let told = up.filter(|it| it.places_service.is_some() || it.places.contains(", broken: "));
    for (number, status) in told.enumerate() {
        let before = if number == 0 { "\n" } else { "" };
        writeln!(out, "{before}{} has places of {}", status.name, shown(&status.places))?;
    }
    write_journals(out, sights)?;
    let silent = sights.iter().filter_map(|sight| match sight {
        Sight::Silent { name, why, .. } => Some((name, why)),
        _ => None,
    });
    for (number, (name, why)) in silent.enumerate() {
        let before = if number == 0 { "\n" } else { "" };
        writeln!(out, "{before}{name} is elsewhere: {}", shown(why))?;
    }
    Ok(())
}

/// Where all is well, the journals of all servers are one line.
fn write_journals(out: &mut impl Write, sights: &[Sight]) -> io::Result<()> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for status in sights.iter().filter_map(Sight::status) {
        let Some(journal) = &status.journal else { continue };
        let text = shown(&journal.to_string()).to_string();
        match lines.iter_mut().find(|(other, _)| *other == text) {
            Some((_, names)) => names.push(&status.name),
            None => lines.push((text, vec![&status.name])),
        }
    }
    for (number, (text, names)) in lines.iter().enumerate() {
        let before = if number == 0 { "\n" } else { "" };
        let keep = if names.len() == 1 { "keeps" } else { "keep" };
        writeln!(out, "{before}{} {keep} a journal: {text}", names.join(", "))?;
    }
    Ok(())
}

/// The exit code for what was seen: the worst of it.
fn conclude(run_dir: &RunDir, sights: &[Sight], is_chosen: bool) -> Result<Exit, Failure> {
    let unreadable = sights.iter().find_map(|sight| match sight {
        Sight::Unreadable { name, why } => Some((name, why)),
        _ => None,
    });
    if let Some((name, why)) = unreadable {
        let path = run_dir.path().display();
        let message = format!("{name} cannot be looked at in {path} ({why}): ask its owner");
        return Err(Failure::new(Exit::CannotCreate, message));
    }
    let any = |wanted: fn(&Sight) -> bool| sights.iter().any(wanted);
    if sights.is_empty() || any(|sight| matches!(sight, Sight::Stopped { .. })) {
        return Ok(Exit::NotRunning);
    }
    let is_unknown = is_chosen && any(|sight| matches!(sight, Sight::Elsewhere { .. }));
    let is_silent =
        |sight: &Sight| matches!(sight, Sight::NotAnswering { .. } | Sight::Silent { .. });
    if is_unknown || sights.iter().any(is_silent) {
        return Ok(Exit::Unreachable);
    }
    Ok(Exit::Success)
}

fn row(sight: &Sight) -> [String; 10] {
    let short = |name: &String, state: &str, pid: &str| {
        let mut row: [String; 10] = std::array::from_fn(|_| "-".to_owned());
        row[0].clone_from(name);
        row[1] = state.to_owned();
        row[4] = pid.to_owned();
        row
    };
    match sight {
        Sight::Stopped { name } => short(name, "stopped", "-"),
        Sight::Unreadable { name, .. } => short(name, "unreadable", "-"),
        Sight::NotAnswering { name, pid } => {
            let pid = pid.map_or("-".to_owned(), |pid| pid.to_string());
            short(name, "not answering", &pid)
        }
        Sight::Elsewhere { name, client_address } => {
            let mut row = short(name, "elsewhere", "-");
            row[2].clone_from(client_address);
            row
        }
        Sight::Silent { name, client_address, .. } => {
            let mut row = short(name, "silent", "-");
            row[2].clone_from(client_address);
            row
        }
        Sight::Up(status) => full(status, &stopping(status, "stopping", "up")),
        Sight::Ready(status) => full(status, "ready"),
        Sight::NotReady(status) => full(status, "not ready"),
        Sight::Draining(status) => full(status, &stopping(status, "draining", "draining")),
    }
}

/// The row of a server that answers.
fn full(status: &Status, state: &str) -> [String; 10] {
    let row = [
        status.name.clone(),
        state.to_owned(),
        status.client_address.clone(),
        status.peer_address.clone(),
        status.pid.to_string(),
        utc(status.since_posix_s),
        status.clients_known.to_string(),
        status.digest.chars().take(DIGEST_DIGITS_SHOWN).collect(),
        status.connections.to_string(),
        peers(status),
    ];
    row.map(|cell| shown(&cell))
}

/// How far a server is that stops; `otherwise` for one that does not.
fn stopping(status: &Status, word: &str, otherwise: &str) -> String {
    match (&status.drain_phase, status.draining) {
        (Some(phase), _) => format!("{word} ({phase})"),
        (None, true) => word.to_owned(),
        (None, false) => otherwise.to_owned(),
    }
}

/// The peers that are joined, then those that are missing and why.
fn peers(status: &Status) -> String {
    let mut joined = Vec::new();
    let mut missing = Vec::new();
    for peer in &status.peers {
        match peer.state {
            PeerState::Up if peer.tls => joined.push(format!("{} (TLS)", peer.name)),
            PeerState::Up => joined.push(peer.name.clone()),
            PeerState::Plain => joined.push(format!("{} (plain)", peer.name)),
            _ => missing.push(match &peer.trouble {
                Some(trouble) => format!("{} ({trouble})", peer.name),
                None => peer.name.clone(),
            }),
        }
    }
    if let Some(engine) = &status.engine {
        match (engine.state.as_str(), &engine.trouble) {
            ("up", _) => joined.push("the engine".to_owned()),
            (_, Some(trouble)) => missing.push(format!("the engine ({trouble})")),
            (_, None) => missing.push("the engine".to_owned()),
        }
    }
    let missing = match missing.as_slice() {
        [] => String::new(),
        names => format!("missing: {}", names.join(" ")),
    };
    match (joined.is_empty(), missing.is_empty()) {
        (true, true) => "-".to_owned(),
        (true, false) => missing,
        (false, true) => joined.join(" "),
        (false, false) => format!("{}, {missing}", joined.join(" ")),
    }
}

/// A moment as people write it. Leap seconds do not exist in POSIX time.
fn utc(posix_s: u64) -> String {
    let (days, second) = (posix_s / 86_400, posix_s % 86_400);
    // Years are counted from March, so that the leap day is a year's last; 400 of them, an era,
    // have 146,097 days. 719,468 days lie between 0000-03-01 and 1970-01-01.
    let days = days + 719_468;
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    // From March on, five months always have 153 days.
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next_year) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = era * 400 + year + next_year;
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02} UTC")
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::os::unix::net::UnixListener;
    use std::thread;
    use std::time::Instant;

    use herd::status::{PeerStatus, QUESTION};

    use super::super::query::STATUS_TIMEOUT;

    use super::*;

    fn a_status() -> Status {
        let peer = |name: &str, state| PeerStatus {
            name: name.to_owned(),
            state,
            dials: true,
            address: "127.0.0.1:12101".to_owned(),
            redials: 0,
            tls: false,
            trouble: (state == PeerState::Waiting).then(|| "does not share a key".to_owned()),
        };
        Status {
            name: "Hill".to_owned(),
            herd: "2020".to_owned(),
            version: "0.1.0".to_owned(),
            pid: std::process::id(),
            since_posix_s: 1_520_023_934,
            uptime_s: 1,
            client_address: "127.0.0.1:12000".to_owned(),
            peer_address: "127.0.0.1:12100".to_owned(),
            tls_address: None,
            web_address: None,
            operators_address: None,
            mqtt_address: None,
            peers: vec![
                peer("Jaquez", PeerState::Up),
                peer("Smith", PeerState::Waiting),
                peer("Old", PeerState::Plain),
            ],
            clients_known: 17,
            connections: 4,
            connections_total: 5,
            lines_in: 6,
            reports_news: 7,
            reports_stale: 8,
            digest: "0123456789abcdef".into(),
            differences: 0,
            refused: 0,
            newcomers_refused: 0,
            reports_refused_full: 0,
            reports_expired: 0,
            questions_waiting: 0,
            log_lines_dropped: 0,
            places: "embedded, loaded".to_owned(),
            places_service: None,
            journal: None,
            engine: None,
            draining: false,
            drain_phase: None,
            drain_s: 5,
            settings: String::new(),
        }
    }

    fn shown(run_dir: &RunDir, names: &[&str], json: bool) -> (String, Exit) {
        let mut out = Vec::new();
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let exit = status(&mut out, run_dir, names, &[], json).unwrap();
        (String::from_utf8(out).unwrap(), exit)
    }

    #[test]
    fn days_have_dates() {
        let check = |posix_s, expected: &str| assert_eq!(utc(posix_s), expected);
        check(0, "1970-01-01 00:00:00 UTC");
        check(951_782_399, "2000-02-28 23:59:59 UTC");
        check(951_782_400, "2000-02-29 00:00:00 UTC");
        check(951_868_800, "2000-03-01 00:00:00 UTC");
        check(1_520_023_934, "2018-03-02 20:52:14 UTC");
        check(4_102_444_799, "2099-12-31 23:59:59 UTC");
        check(4_107_542_400, "2100-03-01 00:00:00 UTC");
    }

    #[test]
    fn a_server_that_answers_is_up() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(dir.path().to_owned());
        let _claim = run_dir.claim("Hill").unwrap();
        let listener = UnixListener::bind(run_dir.socket("Hill").unwrap()).unwrap();
        let server = thread::spawn(move || {
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().unwrap();
                let mut question = [0; QUESTION.len()];
                stream.read_exact(&mut question).unwrap();
                assert_eq!(question, QUESTION.as_bytes());
                writeln!(stream, "{}", serde_json::to_string(&a_status()).unwrap()).unwrap();
            }
        });
        let (table, exit) = shown(&run_dir, &["Hill", "Smith"], false);
        assert_eq!(exit, Exit::NotRunning);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[1].starts_with("Hill    up       127.0.0.1:12000  127.0.0.1:12100  "));
        assert!(lines[1].ends_with(
            "17     01234567  4          Jaquez Old (plain), missing: Smith (does not share a key)"
        ));
        assert!(lines[2].starts_with("Smith   stopped  -  "));

        let (json, exit) = shown(&run_dir, &[], true);
        assert_eq!(exit, Exit::Success);
        let seen: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(seen[0]["state"], "up");
        assert_eq!(seen[0]["clients_known"], 17);
        assert_eq!(seen[0]["peers"][1]["state"], "waiting");
        server.join().unwrap();
    }

    #[test]
    fn a_lock_without_an_answer_is_not_answering() {
        let dir = tempfile::tempdir().unwrap();
        let run_dir = RunDir::new(dir.path().to_owned());
        let _silent = run_dir.claim("Silent").unwrap();
        let _deaf = run_dir.claim("Deaf").unwrap();
        let _listener = UnixListener::bind(run_dir.socket("Silent").unwrap()).unwrap();
        let began = Instant::now();
        let (table, exit) = shown(&run_dir, &[], false);
        assert_eq!(exit, Exit::Unreachable);
        assert_eq!(table.matches("not answering").count(), 2, "{table}");
        // Without a timeout it would wait for ever.
        assert!(began.elapsed() < 15 * STATUS_TIMEOUT);
    }
}
