//! What programs learn about an event: its name, and who it is about. The text form says the same
//! in words.

use log::kv::{self, Key, Source, ToValue, Value, VisitSource};

use super::Event;
use herd_core::names::ConnId;

impl Event<'_> {
    /// The name, which does not change: that of the text with hyphens for blanks, but that a
    /// connection's has no door before it.
    pub fn name(&self) -> &'static str {
        match self {
            Event::Listening { .. } => "server-listening",
            Event::Stopping { .. } => "server-stopping",
            Event::DrainPhase { .. } => "drain",
            Event::StopNoted => "stop-noted",
            Event::StoppingAtOnce { .. } => "server-stopping-at-once",
            Event::NotHandedOver { .. } => "reports-not-confirmed",
            Event::ReportsAtRisk { .. } => "reports-at-risk",
            Event::Stopped => "server-stopped",
            Event::LogReopened => "log-reopened",
            Event::LogLevel { .. } => "log-level",
            Event::Reloaded { .. } => "configuration-reloaded",
            Event::ReloadRefused { .. } => "reload-refused",
            Event::Connected { .. } => "connected",
            Event::Closed { .. } => "closed",
            Event::LineTimeout { .. } => "line-timeout",
            Event::Refused { .. } => "connection-refused",
            Event::OtherProtocol { .. } => "other-protocol",
            Event::SlowTurn { .. } => "slow-turn",
            Event::HandshakeFailed { .. } => "tls-handshake-failed",
            Event::WebRefused { .. } => "web-refused",
            Event::CertificateLoaded { .. } => "certificate-loaded",
            Event::AcceptFailed { .. } => "accept-failed",
            Event::Dialing { .. } => "dial",
            Event::DialFailed { .. } => "dial-failed",
            Event::LinkUp { .. } => "peer-link-up",
            Event::LinkDown { .. } => "peer-link-down",
            Event::PeerUnreachable { .. } => "peer-unreachable",
            Event::PeerBehind { .. } => "peer-behind",
            Event::CoursePeerOverflow { .. } => "course-peer-overflow",
            Event::NameConflict { .. } => "name-conflict",
            Event::ClockAhead { .. } | Event::StoreFull { .. } | Event::TooManyNewcomers { .. } => {
                "report-refused"
            }
            Event::JournalLoaded { .. } => "journal-loaded",
            Event::JournalDamaged { .. } => "journal-damaged",
            Event::JournalIncomplete { .. } => "journal-incomplete",
            Event::JournalRefused { .. } => "journal-refused",
            Event::JournalGoesOn => "journal-goes-on",
            Event::JournalFailed { .. } => "journal-failed",
            Event::JournalBroken { .. } => "journal-broken",
            Event::JournalMended => "journal-mended",
            Event::JournalHeld { time: Some(_) } => "journal-held",
            Event::JournalHeld { time: None } => "journal-released",
            Event::JournalNotKept => "journal-not-kept",
            Event::ClockDoubted { .. } => "clock-doubted",
            Event::PlacesLoaded { .. } => "places-loaded",
            Event::PlacesShrunk { .. } => "places-shrunk",
            Event::PlacesNotLoaded { .. } => "places-not-loaded",
            Event::PlacesServiceSuspended { .. } => "places-service-suspended",
            Event::PlacesServiceResumed => "places-service-resumed",
            Event::PlacesServiceRefuses { .. } => "places-service-refuses",
            Event::PlacesServiceAccepts => "places-service-accepts",
            Event::CallsUncounted { .. } => "calls-uncounted",
            Event::TraceWritten { .. } => "trace-written",
            Event::TraceNotWritten { .. } => "trace-not-written",
        }
    }

    fn conn(&self) -> Option<&ConnId> {
        match self {
            Event::Connected { conn, .. }
            | Event::Closed { conn, .. }
            | Event::LineTimeout { conn }
            | Event::Refused { conn, .. }
            | Event::OtherProtocol { conn, .. }
            | Event::HandshakeFailed { conn, .. }
            | Event::WebRefused { conn, .. }
            | Event::Dialing { conn, .. }
            | Event::LinkUp { conn, .. }
            | Event::LinkDown { conn, .. }
            | Event::ClockAhead { conn, .. }
            | Event::TooManyNewcomers { conn } => Some(conn),
            _ => None,
        }
    }

    fn peer(&self) -> Option<&str> {
        match *self {
            Event::NotHandedOver { peer }
            | Event::DialFailed { peer, .. }
            | Event::LinkUp { peer, .. }
            | Event::LinkDown { peer, .. }
            | Event::PeerUnreachable { peer }
            | Event::PeerBehind { peer }
            | Event::CoursePeerOverflow { peer }
            | Event::NameConflict { peer, .. } => Some(peer),
            _ => None,
        }
    }

    fn reason(&self) -> Option<Value<'_>> {
        match self {
            Event::StoppingAtOnce { why: reason }
            | Event::Refused { reason, .. }
            | Event::LinkDown { reason, .. } => Some(reason.to_value()),
            Event::HandshakeFailed { why: reason, .. } => Some(reason.to_value()),
            Event::WebRefused { reason, .. } => Some(reason.to_value()),
            Event::DialFailed { reason, .. } => Some(reason.to_value()),
            Event::Closed { reason, .. } => Some(Value::from_display(reason)),
            Event::ClockAhead { .. } => Some("clock_ahead".into()),
            Event::StoreFull { .. } => Some("store_full".into()),
            Event::TooManyNewcomers { .. } => Some("new_clients".into()),
            _ => None,
        }
    }
}

impl Source for Event<'_> {
    fn visit<'kvs>(&'kvs self, out: &mut dyn VisitSource<'kvs>) -> Result<(), kv::Error> {
        let mut say = |key, value| out.visit_pair(Key::from_str(key), value);
        say("event", self.name().into())?;
        if let Some(conn) = self.conn() {
            say("conn", Value::from_display(conn))?;
            say("door", conn.kind().name().into())?;
        }
        if let Some(peer) = self.peer() {
            say("peer", peer.into())?;
        }
        self.reason().map_or(Ok(()), |reason| say("reason", reason))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr, SocketAddr};
    use std::path::Path;
    use std::time::Duration;

    use log::{Level, Record};

    use super::*;
    use crate::logging::form::{Form, Stamp};
    use herd_core::names::ConnKind;
    use herd_core::session::{CloseReason, Expiry};

    const ERROR: &str = "no \"room\"";
    const HERE: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 1);

    /// An event of each kind.
    fn all(conn: ConnId) -> Vec<Event<'static>> {
        let (peer, error, time) = ("Bona", ERROR, Duration::from_secs(1));
        vec![
            Event::Listening {
                name: "Hill",
                herd: "h",
                clients: &1,
                tls: None,
                peers: &2,
                web: None,
                operators: None,
                mqtt: None,
                connections_max: 3,
            },
            Event::Stopping { grace: time, lame_duck: time, drain: time },
            Event::DrainPhase { phase: "told", meaning: &ERROR },
            Event::StopNoted,
            Event::StoppingAtOnce { why: "second signal" },
            Event::NotHandedOver { peer },
            Event::ReportsAtRisk { warning: error },
            Event::Stopped,
            Event::LogReopened,
            Event::LogLevel { level: "traffic", time: Some(time) },
            Event::Connected { conn, from: Some(HERE) },
            Event::Closed { conn, reason: CloseReason::Displaced, error: Some(&ERROR) },
            Event::LineTimeout { conn },
            Event::Refused { conn, reason: "wrong key" },
            Event::OtherProtocol { conn, protocol: "HTTP" },
            Event::SlowTurn { took: time, others: 1, ready: 2, work: "lines=3" },
            Event::HandshakeFailed { conn, why: error },
            Event::WebRefused { conn, reason: "wrong_secret" },
            Event::CertificateLoaded { expires: 1 },
            Event::AcceptFailed { error: &ERROR },
            Event::Dialing { conn, address: HERE },
            Event::DialFailed { peer, address: &7, reason: error },
            Event::LinkUp { peer, conn },
            Event::LinkDown { peer, conn, reason: "silent" },
            Event::PeerUnreachable { peer },
            Event::PeerBehind { peer },
            Event::CoursePeerOverflow { peer },
            Event::NameConflict { peer, joined: "a", refused: "b" },
            Event::ClockAhead { conn, ahead: "25 h" },
            Event::StoreFull { clients: 1, bytes: 2 },
            Event::TooManyNewcomers { conn },
            Event::JournalLoaded { clients: 1, reports: 2, segments: 3, torn_bytes: 4, took: time },
            Event::JournalDamaged { segment: &5, from: 1, to: 2 },
            Event::JournalIncomplete { segment: &5 },
            Event::JournalRefused { error },
            Event::JournalGoesOn,
            Event::JournalFailed { error },
            Event::JournalBroken { then: "x" },
            Event::JournalMended,
            Event::JournalHeld { time: Some(time) },
            Event::JournalHeld { time: None },
            Event::JournalNotKept,
            Event::ClockDoubted { expired: 2, clients: 3 },
            Event::PlacesLoaded { summary: error },
            Event::PlacesShrunk { places: 1, before: 3 },
            Event::PlacesNotLoaded { error },
            Event::Reloaded { changes: "x" },
            Event::ReloadRefused { error },
            Event::PlacesServiceSuspended { error },
            Event::PlacesServiceResumed,
            Event::PlacesServiceRefuses { error },
            Event::PlacesServiceAccepts,
            Event::CallsUncounted { error },
            Event::TraceWritten { records: 1, path: Path::new("a b") },
            Event::TraceNotWritten { error },
        ]
    }

    #[test]
    fn an_event_is_its_name_and_what_varies() {
        let conn = ConnId::new(ConnKind::Client, 12, 0);
        let check = |event: Event<'_>, expected: &str| assert_eq!(event.to_string(), expected);
        let from = Some("127.0.0.1:51812".parse().unwrap());
        let connected = Event::Connected { conn, from };
        check(connected, "client connected conn=client-12 from=127.0.0.1:51812");
        let closed =
            Event::Closed { conn, reason: CloseReason::Expired(Expiry::Idle), error: None };
        check(closed, "client closed conn=client-12 reason=idle_timeout");
        let conn = ConnId::new(ConnKind::Peer, 3, 0);
        let down = Event::LinkDown { peer: "Bona", conn, reason: "silent" };
        check(down, "peer link down peer=Bona conn=peer-3 reason=\"silent\"");
    }

    /// Goal: the list above has every kind of event.
    #[test]
    fn no_event_is_forgotten() {
        let source = include_str!("../events.rs");
        let (_, list) = source.split_once("pub enum Event<'a> {\n").unwrap();
        let (list, _) = list.split_once("\n}\n").unwrap();
        let kinds = list.lines().filter_map(|line| line.strip_prefix("    "));
        let kinds = kinds.filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()));
        let kinds = BTreeSet::from_iter(kinds.map(|line| line.trim_end_matches([' ', '{', ','])));
        let source = include_str!("members.rs");
        let (_, list) = source.split_once("vec![\n").unwrap();
        let (list, _) = list.split_once("\n        ]\n").unwrap();
        let listed = list.lines().filter_map(|line| line.strip_prefix("            Event::"));
        let end = |line: &str| line.find([' ', ',']).unwrap_or(line.len());
        assert_eq!(BTreeSet::from_iter(listed.map(|line| &line[..end(line)])), kinds);
    }

    /// Goal: each event is one line in either form, and the JSON says what the text says: its name,
    /// the same sentence, and who it is about, in one order.
    #[test]
    fn every_event_has_both_forms() {
        for kind in ConnKind::ALL {
            for event in all(ConnId::new(kind, 3, 0)) {
                check_forms(&event);
            }
        }
    }

    fn check_forms(event: &Event<'_>) {
        let at = Duration::new(1_795_944_516, 500_529_034);
        let spell = |is_json| {
            let form = Form::new("Hill", is_json, false);
            let args = format_args!("{event}");
            let record = Record::builder().level(Level::Info).key_values(event).args(args).build();
            let line = form.spell(&record, at, &mut Stamp::default());
            String::from_utf8(line).unwrap()
        };
        let (text, json) = (spell(false), spell(true));
        let (_, sentence) = text.split_once("Z [INFO] ").unwrap();
        let sentence = sentence.strip_suffix('\n').unwrap();
        assert!(json.ends_with("}\n") && json.lines().count() == 1, "{json}");
        assert!(json.starts_with("{\"ts\":\"2026-11-29T09:28:36.500529Z\",\"level\":\"info\","));
        let record: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!((&record["server"], &record["msg"]), (&"Hill".into(), &sentence.into()));

        let name = record["event"].as_str().unwrap();
        assert!(name.bytes().all(|byte| byte == b'-' || byte.is_ascii_lowercase()), "{name}");
        let door = record["door"].as_str().map(|door| door.replace("course", "course peer"));
        let mut named = name.replace('-', " ");
        if ["connected", "closed", "line-timeout"].contains(&name) {
            named = format!("{} {named}", door.unwrap());
        }
        let rest = sentence.strip_prefix(&named).unwrap_or_else(|| panic!("{named}: {sentence}"));
        assert!(rest.is_empty() || rest.starts_with([' ', ':']), "{sentence}");
        for key in ["conn", "peer", "reason"] {
            let said = record[key].as_str().map(str::to_owned);
            let shown = said.map(|said| [format!(" {key}={said}"), format!(" {key}={said:?}")]);
            let is_said = shown.is_none_or(|shown| shown.iter().any(|it| rest.contains(it)));
            let is_there = record.get(key).is_some() || !rest.contains(&format!(" {key}="));
            assert!(is_said && is_there, "{key}: {json}");
        }
        let places = ["event", "conn", "door", "peer", "reason", "msg"];
        let places = places.iter().filter_map(|key| json.find(&format!("\"{key}\":")));
        assert!(Vec::from_iter(places).is_sorted(), "{json}");
    }
}
