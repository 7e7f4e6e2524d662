//! Several traces on one timeline: reactors, twins, or what was merged before. It reads files of
//! any make, and so relies on nothing but the schema.
//!
//! Each trace counts from an origin of its own and says when that was by the wall clock. The
//! earliest origin becomes that of all, and the others' times are shifted by the difference. So a
//! merge is as exact as the clocks agree: on one machine to a microsecond or so.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// The format, as a server and the twin name it in their files.
const SCHEMA: &str = "herd-trace/1";

/// A trace of one server, or of several.
#[derive(Deserialize)]
struct Trace<'a> {
    #[serde(rename = "otherData")]
    about: About,
    /// Members that mean nothing here stay as they are.
    #[serde(rename = "traceEvents", borrow)]
    events: Vec<BTreeMap<Cow<'a, str>, &'a RawValue>>,
}

#[derive(Deserialize, Serialize)]
struct About {
    schema: String,
    /// About each server, if there are several.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    servers: Vec<About>,
    origin_posix_us: f64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pid: Option<u64>,
    #[serde(flatten)]
    more: BTreeMap<String, serde_json::Value>,
}

#[derive(Serialize)]
struct Merged<'a> {
    #[serde(rename = "displayTimeUnit")]
    unit: &'static str,
    #[serde(rename = "otherData")]
    about: About,
    #[serde(rename = "traceEvents")]
    events: Vec<BTreeMap<Cow<'a, str>, Cow<'a, RawValue>>>,
}

/// Lays these traces, which have names, on one timeline. One alone stays as it is.
///
/// # Errors
/// A message about the first that is no trace or is empty.
pub fn merge(texts: &[(String, String)]) -> Result<String, String> {
    let mut traces = Vec::new();
    for (name, text) in texts {
        let no_trace = |why: &dyn std::fmt::Display| format!("{name} is no trace: {why}");
        let trace: Trace<'_> = serde_json::from_str(text).map_err(|error| no_trace(&error))?;
        if trace.about.schema != SCHEMA {
            let schema = &trace.about.schema;
            return Err(no_trace(&format!("its schema is {schema}, and ours {SCHEMA}")));
        }
        // A server writes this when it starts, to test that it can.
        if !trace.events.iter().any(|event| event.get("name").is_some_and(is_turn)) {
            return Err(format!(
                "{name} holds no turn yet: its server writes the trace when it ends, and when it \
                 is sent SIGUSR1"
            ));
        }
        traces.push(trace);
    }
    if let [(_, text)] = texts {
        return Ok(text.clone());
    }
    let origins = traces.iter().map(|trace| trace.about.origin_posix_us);
    let origin = origins.fold(f64::INFINITY, f64::min);
    let (mut servers, mut events, mut pids) = (Vec::new(), Vec::new(), Pids::default());
    for mut trace in traces {
        let shift = trace.about.origin_posix_us - origin;
        pids.begin_file();
        for event in trace.events {
            events.push(moved(event, shift, &mut pids));
        }
        if trace.about.servers.is_empty() {
            servers.push(trace.about);
        } else {
            servers.append(&mut trace.about.servers);
        }
        for server in &mut servers[pids.named..] {
            server.pid = server.pid.map(|pid| pids.new_one(pid));
        }
        pids.named = servers.len();
    }
    let about = About {
        schema: SCHEMA.to_owned(),
        servers,
        origin_posix_us: origin,
        pid: None,
        more: BTreeMap::new(),
    };
    let merged = Merged { unit: "ns", about, events };
    serde_json::to_string(&merged).map_err(|error| error.to_string())
}

fn is_turn(name: &&RawValue) -> bool {
    name.get() == r#""turn""#
}

/// The event by the common clock, of a process that no other file has.
fn moved<'a>(
    event: BTreeMap<Cow<'a, str>, &'a RawValue>,
    shift: f64,
    pids: &mut Pids,
) -> BTreeMap<Cow<'a, str>, Cow<'a, RawValue>> {
    let renewed = |text: String| RawValue::from_string(text).ok().map(Cow::Owned);
    let member = |(key, value): (Cow<'a, str>, &'a RawValue)| {
        let new = match &*key {
            "ts" => value.get().parse().ok().map(|at: f64| format!("{:.3}", at + shift)),
            "pid" => value.get().parse().ok().map(|pid| pids.new_one(pid).to_string()),
            _ => None,
        };
        (key, new.and_then(renewed).unwrap_or(Cow::Borrowed(value)))
    };
    event.into_iter().map(member).collect()
}

/// Process ids, made unique: two machines, or two lives of one, may have the same.
#[derive(Default)]
struct Pids {
    taken: Vec<u64>,
    /// The new ids of those of this file.
    here: BTreeMap<u64, u64>,
    /// Servers whose id is settled.
    named: usize,
}

impl Pids {
    fn begin_file(&mut self) {
        self.here.clear();
    }

    fn new_one(&mut self, pid: u64) -> u64 {
        *self.here.entry(pid).or_insert_with(|| {
            let above = self.taken.iter().max().map_or(1, |last| last + 1);
            let new = if self.taken.contains(&pid) { above } else { pid };
            self.taken.push(new);
            new
        })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn trace(server: &str, pid: u64, origin: f64, ts: f64) -> (String, String) {
        let span = json!({"name": "turn", "ph": "X", "ts": ts, "dur": 1.5, "pid": pid, "tid": 1,
            "args": {"n": 0, "more": "<as it was>"}});
        let name = json!({"name": "process_name", "ph": "M", "pid": pid});
        let about = json!({"schema": SCHEMA, "server": server, "engine": "reactor", "pid": pid,
            "origin_posix_us": origin, "dropped": 0});
        let trace = json!({"otherData": about, "traceEvents": [name, span]});
        (format!("{server}.json"), trace.to_string())
    }

    fn merged(texts: &[(String, String)]) -> Value {
        serde_json::from_str(&merge(texts).unwrap()).unwrap()
    }

    /// Goal: what happened at the same time stands at the same time, whichever began first, and no
    /// process is taken for another.
    #[test]
    fn one_clock_and_no_two_alike() {
        let begun = 1_795_323_858_123_456.5;
        let (early, late) = (trace("A", 7, begun, 500.25), trace("B", 7, begun + 400.0, 100.25));
        for texts in [[early.clone(), late.clone()], [late.clone(), early.clone()]] {
            let file = merged(&texts);
            let events = file["traceEvents"].as_array().unwrap();
            let spans: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
            assert_eq!(
                (spans[0]["ts"].as_f64(), spans[1]["ts"].as_f64()),
                (Some(500.25), Some(500.25))
            );
            assert_eq!(spans[0]["args"], json!({"n": 0, "more": "<as it was>"}));
            let pids: Vec<_> = events.iter().map(|event| event["pid"].as_u64().unwrap()).collect();
            assert_eq!(pids, [7, 7, 8, 8]);
            let about = &file["otherData"];
            assert_eq!(about["origin_posix_us"], begun);
            assert_eq!(
                (&about["servers"][0]["pid"], &about["servers"][1]["pid"]),
                (&json!(7), &json!(8))
            );
            assert_eq!(about["servers"][1]["engine"], "reactor");
        }
        let both = ("both".to_owned(), merge(&[early.clone(), late]).unwrap());
        let three = merged(&[both, trace("C", 9, begun - 1.0, 0.0)]);
        let servers = three["otherData"]["servers"].as_array().unwrap();
        let servers: Vec<_> = servers.iter().map(|server| server["server"].as_str()).collect();
        assert_eq!(servers, [Some("A"), Some("B"), Some("C")]);
        assert_eq!(three["traceEvents"][1]["ts"], 501.25);
        assert_eq!(merge(std::slice::from_ref(&early)).unwrap(), early.1);
    }

    #[test]
    fn what_is_no_trace_is_named() {
        let check = |text: &str, part: &str| {
            let texts = [trace("A", 1, 0.0, 0.0), ("b.json".to_owned(), text.to_owned())];
            let message = merge(&texts).unwrap_err();
            assert!(message.starts_with("b.json "), "{message}");
            assert_eq!(merge(&texts[1..]), Err(message.clone()), "one alone is read as well");
            assert!(message.contains(part), "{message}");
        };
        check("", "EOF");
        check("{}", "otherData");
        check("[]", "expected");
        let other = r#"{"otherData":{"schema":"x/2","origin_posix_us":0},"traceEvents":[]}"#;
        check(other, "its schema is x/2");
        let no_list = r#"{"otherData":{"schema":"herd-trace/1","origin_posix_us":0}}"#;
        check(no_list, "traceEvents");
        let (_, full) = trace("B", 1, 0.0, 0.0);
        check(&full.replace("\"turn\"", "\"sleep\""), "holds no turn yet");
    }
}
