//! Who is connected, a page at a time: what operators are answered at `/connections`.
//!
//! A page begins behind the last entry of the one before, so connections that come and go between
//! two pages move no others. All connections are looked at for each page, some nanoseconds each;
//! their addresses are asked of the kernel only for those that are shown.

use std::collections::BinaryHeap;

use super::Reactor;
use super::connection::Connection;
use super::metrics::door_name;
use crate::status::{ConnectionStatus, ConnectionsPage};
use herd_core::session::{Moment, Phase};
use herd_web::http::{Answer, Request};

/// Entries of a page, unless fewer are asked for; never more.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1_000;

/// Where a connection stands in the order that was asked for. The serial number makes it unique.
type Key = (u64, u64);

#[derive(Clone, Copy)]
enum Sort {
    /// The oldest first.
    Age,
    /// The longest idle first.
    Idle,
    /// Those that are owed the most first.
    Owed,
}

pub fn answer(reactor: &Reactor, request: &Request<'_>) -> Answer {
    match page(reactor, request) {
        Ok(page) => {
            let mut body = serde_json::to_vec(&page).unwrap_or_default();
            body.push(b'\n');
            Answer::json(body)
        }
        Err(why) => Answer::text(400, format!("{why}\n")),
    }
}

fn page(reactor: &Reactor, request: &Request<'_>) -> Result<ConnectionsPage, String> {
    let limit = request.parameter("limit").map_or(Ok(LIMIT), |text| {
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| format!("limit: write 1 to {LIMIT_MAX}"))
    })?;
    let sort = match request.parameter("sort").unwrap_or("age") {
        "age" => Sort::Age,
        "idle" => Sort::Idle,
        "owed" => Sort::Owed,
        _ => return Err("sort: write age, idle or owed".to_owned()),
    };
    let after = request.parameter("after").map(|text| {
        let key = text.split_once('-').map(|(first, serial)| (first.parse(), serial.parse()));
        match key {
            Some((Ok(first), Ok(serial))) => Ok((first, serial)),
            _ => Err("after: write the `next` of the page before".to_owned()),
        }
    });
    let after: Option<Key> = after.transpose()?;
    let mut chosen: BinaryHeap<(Key, usize)> = BinaryHeap::with_capacity(limit + 2);
    let mut is_cut = false;
    for connection in reactor.slots.living() {
        let key = key(connection, sort);
        if after.is_some_and(|after| key <= after) {
            continue;
        }
        chosen.push((key, connection.id().slot()));
        if chosen.len() > limit {
            chosen.pop();
            is_cut = true;
        }
    }
    let chosen = chosen.into_sorted_vec();
    let next = chosen.last().filter(|_| is_cut);
    Ok(ConnectionsPage {
        total: reactor.slots.open() as u64,
        next: next.map(|((first, serial), _)| format!("{first}-{serial}")),
        connections: chosen.iter().filter_map(|&(_, slot)| describe(reactor, slot)).collect(),
    })
}

fn key(connection: &Connection, sort: Sort) -> Key {
    let session = &connection.session;
    let first = match sort {
        Sort::Age => 0,
        Sort::Idle => session.last_active().as_duration().as_millis() as u64,
        Sort::Owed => u64::MAX - session.queued_bytes() as u64,
    };
    (first, connection.id().serial())
}

fn describe(reactor: &Reactor, slot: usize) -> Option<ConnectionStatus> {
    let connection = reactor.slots.tenant(slot)?;
    let session = &connection.session;
    let now = Moment::at(reactor.now.monotonic).as_duration();
    Some(ConnectionStatus {
        conn: connection.id().to_string(),
        door: door_name(reactor.door(connection.id())).to_owned(),
        from: reactor.slots.address(connection.id()).map(|from| from.to_string()),
        idle_ms: now.saturating_sub(session.last_active().as_duration()).as_millis() as u64,
        owed_bytes: session.queued_bytes() as u64,
        is_closing: session.phase() != Phase::Open,
    })
}
