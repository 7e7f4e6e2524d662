//! The screen as lines: what is shown of so many servers in so many columns and rows. It knows no
//! terminal.

use herd::status::{ConnectionStatus, PeerState, PeerStatus};

use super::row::{COLUMNS, Column, Row, State, short};
use crate::cmd::table::{shown, write_table};

/// What the last column needs at least, so that a missing peer is seen.
const LAST_WIDTH: usize = 12;
/// What stands between two columns.
const GAP: usize = 2;
const KEYS: &str = "q ends  up/down server  tab connections or peers  s order  Ctrl-L redraws";

/// How a line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    Plain,
    Strong,
    /// The server whose details stand below.
    Chosen,
    /// Something is wrong with it.
    Bad,
}

#[derive(Debug)]
pub struct Line {
    pub text: String,
    pub look: Look,
}

/// What stands below the table.
pub enum Detail<'a> {
    Connections { order: &'a str, shown: Result<&'a [ConnectionStatus], &'a str> },
    Peers(&'a [PeerStatus]),
}

/// The whole screen: at most so many lines of at most so many characters.
pub fn screen(
    rows: &[Row],
    chosen: usize,
    detail: &Detail<'_>,
    clock: &str,
    (columns, lines): (usize, usize),
) -> Vec<Line> {
    let mut screen = vec![Line { text: headline(rows, clock, columns), look: Look::Strong }];
    let mut table = table(rows, Some(columns)).into_iter();
    screen.extend(table.next().map(|text| Line { text, look: Look::Strong }));
    // The keys and the title of the details stand below; a third of the rest is theirs.
    let room = lines.saturating_sub(4);
    let seen = rows.len().min((room * 2 / 3).max(1));
    let first = (chosen + 1).saturating_sub(seen).min(rows.len() - seen.min(rows.len()));
    for (number, text) in table.enumerate().skip(first).take(seen) {
        let look = match rows[number].state {
            _ if number == chosen => Look::Chosen,
            State::Ready | State::Elsewhere | State::Asked => Look::Plain,
            _ => Look::Bad,
        };
        screen.push(Line { text, look });
    }
    let name = rows.get(chosen).map_or("", |row| &row.name);
    let (title, below) = details(detail);
    screen.push(Line { text: format!("-- {name} -- {title} "), look: Look::Strong });
    let room = lines.saturating_sub(screen.len() + 1);
    screen.extend(below.into_iter().take(room).map(|text| Line { text, look: Look::Plain }));
    screen.truncate(lines.saturating_sub(1));
    while screen.len() + 1 < lines {
        screen.push(Line { text: String::new(), look: Look::Plain });
    }
    screen.push(Line { text: KEYS.to_owned(), look: Look::Plain });
    for line in &mut screen {
        line.text = shown(&line.text).chars().take(columns).collect();
    }
    screen
}

/// The herd in one line, with the time at its end if there is room.
fn headline(rows: &[Row], clock: &str, columns: usize) -> String {
    let ready = rows.iter().filter(|row| row.state == State::Ready).count();
    let mut herds: Vec<_> = rows.iter().filter_map(|row| row.herd.as_deref()).collect();
    herds.sort_unstable();
    herds.dedup();
    let mut digests: Vec<_> = rows.iter().filter_map(|row| row.digest.as_deref()).collect();
    digests.sort_unstable();
    digests.dedup();
    let even = match digests.len() {
        0 if rows.iter().any(|row| row.clients_known.is_some()) => "divided".to_owned(),
        0 => "nothing known".to_owned(),
        1 => "even".to_owned(),
        different => format!("{different} digests"),
    };
    let clients: u64 = rows.iter().filter_map(|row| row.connections).sum();
    let rates = rows.iter().filter_map(|row| row.requests_per_s);
    let requests = rates.reduce(|one, other| one + other).map_or("-".to_owned(), short);
    let text = format!(
        "herd {}  {ready} of {} ready  {even}  {clients} connected  {requests} req/s",
        if herds.is_empty() { "-".to_owned() } else { herds.join(" ") },
        rows.len()
    );
    let room = columns.saturating_sub(clock.len());
    if text.chars().count() < room { format!("{text:room$}{clock}") } else { text }
}

/// The header and a line for each server. If the columns are limited, those that matter least are
/// left out.
pub fn table(rows: &[Row], columns: Option<usize>) -> Vec<String> {
    let mut chosen: Vec<(&Column, Vec<String>)> = Vec::from_iter(COLUMNS.iter().map(|column| {
        let cells = rows.iter().map(|row| column.cell(row));
        (column, std::iter::once(column.head.to_owned()).chain(cells).collect())
    }));
    let last = COLUMNS.len() - 1;
    let width = |cells: &[String]| cells.iter().map(|cell| cell.chars().count()).max().unwrap_or(0);
    while let Some(columns) = columns {
        let all = chosen.iter().map(|(column, cells)| {
            if column.head == COLUMNS[last].head { LAST_WIDTH } else { width(cells) + GAP }
        });
        let worst = chosen.iter().map(|(column, _)| column.rank).max().unwrap_or(0);
        if all.sum::<usize>() <= columns || worst == 0 {
            break;
        }
        let at = chosen.iter().rposition(|(column, _)| column.rank == worst);
        at.map(|at| chosen.remove(at));
    }
    let widths: Vec<_> = chosen.iter().map(|(_, cells)| width(cells)).collect();
    let line = |number: usize| {
        let cells = chosen.iter().zip(&widths).map(|((column, cells), &width)| {
            let cell = &cells[number];
            if column.is_number { format!("{cell:>width$}  ") } else { format!("{cell:width$}  ") }
        });
        cells.collect::<String>().trim_end().to_owned()
    };
    (0..=rows.len()).map(line).collect()
}

/// What stands below the table, and its title.
fn details(detail: &Detail<'_>) -> (String, Vec<String>) {
    match detail {
        Detail::Peers(peers) => {
            let rows = peers.iter().map(|peer| {
                [
                    peer.name.clone(),
                    peer_state(peer.state).to_owned(),
                    if peer.dials { "we dial" } else { "it dials" }.to_owned(),
                    peer.address.clone(),
                    peer.redials.to_string(),
                    peer.trouble.clone().unwrap_or_default(),
                ]
            });
            let head = ["PEER", "STATE", "WHO", "ADDRESS", "REDIALS", "TROUBLE"];
            ("peers".to_owned(), lines(head, rows))
        }
        Detail::Connections { order, shown: Ok(connections) } => {
            let rows = connections.iter().map(|one| {
                [
                    one.conn.clone(),
                    one.from.clone().unwrap_or("-".to_owned()),
                    format!("{:.1}s", one.idle_ms as f64 / 1000.0),
                    one.owed_bytes.to_string(),
                    if one.is_closing { "closing" } else { "" }.to_owned(),
                ]
            });
            let title = format!("connections by {order}");
            (title, lines(["CONNECTION", "FROM", "IDLE", "OWED", ""], rows))
        }
        Detail::Connections { shown: Err(why), .. } => {
            ("connections".to_owned(), vec![(*why).to_owned()])
        }
    }
}

fn lines<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> Vec<String> {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned)).chain(rows).collect();
    let mut text = Vec::new();
    // Memory takes all that is written.
    let _ = write_table(&mut text, &rows);
    String::from_utf8_lossy(&text).lines().map(str::to_owned).collect()
}

fn peer_state(state: PeerState) -> &'static str {
    match state {
        PeerState::Up => "up",
        PeerState::Waiting => "waiting",
        PeerState::Dialing => "dialing",
        PeerState::Greeting => "greeting",
        PeerState::Down => "down",
        PeerState::Plain => "plain",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(number: usize) -> Vec<Row> {
        let row = |at: usize| Row {
            herd: Some("2023".to_owned()),
            uptime_s: Some(1_000_000),
            connections: Some(4_012),
            requests_per_s: Some(6_123.0),
            received_bytes_per_s: Some(123_456.0),
            sent_bytes_per_s: Some(1e9),
            busy: Some(0.31),
            owed_bytes: Some(12_345),
            resident_bytes: Some(38 << 20),
            clients_known: Some(100_000),
            digest: Some("0123456789abcdef".to_owned()),
            peers: vec!["Bona".to_owned()],
            peers_missing: vec!["Clark".to_owned()],
            ..Row::of_none(&format!("Server-{at}"), State::Ready, None)
        };
        (0..number).map(row).collect()
    }

    const NONE: Detail<'_> = Detail::Connections { order: "owed", shown: Err("off") };

    #[test]
    fn every_screen_is_as_large_as_its_terminal() {
        for (columns, lines) in [(80, 24), (200, 60), (40, 10), (20, 5), (1, 1), (300, 3)] {
            for number in [0, 1, 5, 100] {
                let rows = rows(number);
                for chosen in [0, number.saturating_sub(1)] {
                    let screen = screen(&rows, chosen, &NONE, "12:00:00", (columns, lines));
                    assert_eq!(screen.len(), lines, "{columns}x{lines}, {number} servers");
                    let widest = screen.iter().map(|line| line.text.chars().count()).max();
                    assert!(widest.unwrap() <= columns, "{columns}x{lines}");
                    let is_seen = screen.iter().any(|line| line.look == Look::Chosen);
                    assert_eq!(is_seen, number > 0 && lines > 3, "{columns}x{lines} {number}");
                }
            }
        }
    }

    #[test]
    fn what_matters_least_is_left_out_first() {
        let head = |columns| table(&rows(2), Some(columns)).remove(0);
        let all = table(&rows(2), None).remove(0);
        assert_eq!(head(200), all);
        assert!(all.contains("IN/S") && all.ends_with("PEERS"));
        let of_80 = head(80);
        for column in ["SERVER", "STATE", "CONN", "REQ/S", "BUSY", "KNOWN", "DIGEST", "PEERS"] {
            assert!(of_80.contains(column), "{of_80}");
        }
        assert_eq!(head(10).split_whitespace().collect::<Vec<_>>(), ["SERVER", "STATE", "PEERS"]);
    }

    #[test]
    fn a_herd_is_told_in_one_line() {
        let mut rows = rows(2);
        assert_eq!(
            headline(&rows, "12:00:00", 80),
            "herd 2023  2 of 2 ready  even  8024 connected  12k req/s                12:00:00"
        );
        rows[1].digest = Some("other".to_owned());
        rows[1].state = State::Draining;
        let line = headline(&rows, "12:00:00", 40);
        assert_eq!(line, "herd 2023  1 of 2 ready  2 digests  8024 connected  12k req/s");
        assert!(table(&rows, None)[1].ends_with("Bona !Clark"));
        rows.iter_mut().for_each(|row| row.digest = None);
        assert!(headline(&rows, "12:00:00", 40).contains("  divided  "));
        rows.iter_mut().for_each(|row| row.clients_known = None);
        assert!(headline(&rows, "12:00:00", 40).contains("  nothing known  "));
    }
}
