//! The herd's client port on tokio: one task a connection, one thread, for it has one core.
//!
//! All lines that came together are answered by one write. IAMAT and `? line` only. Left out:
//! WHATSAT, peers, limits, logs.

use std::collections::HashMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// By client: when it was sent, and what it said.
type Newest = Arc<Mutex<HashMap<Box<str>, (i64, Box<str>)>>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port: u16 = std::env::args().nth(1).and_then(|port| port.parse().ok()).expect("a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    let newest = Newest::default();
    loop {
        let (stream, _) = listener.accept().await?;
        let newest = newest.clone();
        tokio::spawn(async move {
            // Clients come and go.
            let _ = serve(stream, newest).await;
        });
    }
}

async fn serve(mut stream: TcpStream, newest: Newest) -> io::Result<()> {
    stream.set_nodelay(true)?;
    // As much at a time as the others read.
    let mut heard = Vec::with_capacity(64 * 1024);
    let mut answers = Vec::new();
    while stream.read_buf(&mut heard).await? > 0 {
        let whole = heard.iter().rposition(|&byte| byte == b'\n').map_or(0, |last| last + 1);
        for line in heard[..whole].split_inclusive(|&byte| byte == b'\n') {
            answer(line.trim_ascii_end(), &newest, &mut answers)?;
        }
        heard.drain(..whole);
        stream.write_all(&answers).await?;
        answers.clear();
    }
    Ok(())
}

fn answer(line: &[u8], newest: &Newest, out: &mut Vec<u8>) -> io::Result<()> {
    let Some((client, position, stamp, sent)) = std::str::from_utf8(line).ok().and_then(parse)
    else {
        out.extend_from_slice(b"? ");
        out.extend_from_slice(line);
        out.push(b'\n');
        return Ok(());
    };
    let mut newest = newest.lock().expect("nobody panics with it");
    let report = || (sent, format!("{position} {stamp}").into());
    match newest.get_mut(client) {
        Some((known, _)) if *known >= sent => {}
        Some(known) => *known = report(),
        None => drop(newest.insert(client.into(), report())),
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let skew = now.as_nanos() as i64 - sent;
    let sign = if skew < 0 { '-' } else { '+' };
    let (seconds, nanos) = (skew.abs() / 1_000_000_000, skew.abs() % 1_000_000_000);
    writeln!(out, "AT Rival {sign}{seconds}.{nanos:09} {client} {position} {stamp}")
}

fn parse(line: &str) -> Option<(&str, &str, &str, i64)> {
    let mut words = line.split_ascii_whitespace();
    let (command, client, position) = (words.next()?, words.next()?, words.next()?);
    let stamp = words.next()?;
    if command != "IAMAT" || words.next().is_some() {
        return None;
    }
    let longitude = position.get(1..)?.find(['+', '-'])? + 1;
    let (latitude, longitude) = position.split_at(longitude);
    let is_signed = |number: &str| number.starts_with(['+', '-']) && number.parse::<f64>().is_ok();
    if !is_signed(latitude) || !is_signed(longitude) {
        return None;
    }
    let (seconds, fraction) = stamp.split_once('.').unwrap_or((stamp, "0"));
    let fraction = fraction.get(..9).unwrap_or(fraction);
    let nanos = fraction.parse::<i64>().ok()? * 10_i64.pow(9 - fraction.len() as u32);
    let sent = seconds.parse::<i64>().ok()?.checked_mul(1_000_000_000)?.checked_add(nanos)?;
    Some((client, position, stamp, sent))
}
