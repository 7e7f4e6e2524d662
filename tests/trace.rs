//! The trace, end to end: what servers of both makes record of their own turns, written at SIGUSR1
//! and at the end, merged and put into the page. Goal of all of it: a reader of a line of a trace
//! may believe it.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use common::twin::have_python;
use common::{Herd, await_some, skip, until};
use rustix::process::Signal;
use serde_json::Value;

/// A server's file, as far as it is spans and hops.
struct Trace {
    about: Value,
    events: Vec<Value>,
}

impl Trace {
    fn read(path: &Path) -> Trace {
        let mut file: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
        let Value::Array(events) = file["traceEvents"].take() else { panic!("no events") };
        Trace { about: file["otherData"].take(), events }
    }

    fn of(herd: &Herd, name: &str) -> Trace {
        Trace::read(&herd.path(&format!("{name}.json")))
    }

    fn named(&self, name: &str) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(move |event| event["name"] == name)
    }

    /// Values that this member of the arguments has in spans of this name.
    fn args(&self, name: &str, member: &str) -> Vec<String> {
        self.named(name).map(|event| event["args"][member].to_string()).collect()
    }

    /// Demands what must hold of every trace: spans nest, turns come one after the other and are
    /// numbered, and everything but a turn lies in one.
    fn check(&self) {
        let nanos = |value: &Value| (value.as_f64().unwrap() * 1000.0).round() as i64;
        let mut spans: Vec<_> = self
            .events
            .iter()
            .filter(|event| event["tid"] == 1 && event["ph"] != "M")
            .map(|event| {
                let start = nanos(&event["ts"]);
                let length = if event["ph"] == "X" { nanos(&event["dur"]) } else { 0 };
                (start, start + length, event)
            })
            .collect();
        // Parents before their children, of those that begin together.
        let rank = |event: &Value| ["turn", "phase", "work", "hop"].map(|cat| event["cat"] != cat);
        spans.sort_by(|one, other| {
            (one.0, -one.1, rank(one.2)).cmp(&(other.0, -other.1, rank(other.2))).reverse()
        });
        let mut around: Vec<(i64, &Value)> = Vec::new();
        let mut numbers = Vec::new();
        while let Some((start, end, event)) = spans.pop() {
            // Floats of microseconds are exact to the nanosecond, but for one at each end.
            while around.last().is_some_and(|(until, _)| start >= until - 1 && end > until + 1) {
                around.pop();
            }
            match (event["name"].as_str(), around.last()) {
                (Some("turn"), Some((until, outer))) => {
                    assert!(start >= until - 1, "{event} in {outer}");
                    around.clear();
                }
                (Some("turn"), None) => {}
                (_, None) => panic!("{event} is in no turn"),
                (_, Some((until, outer))) => assert!(end <= until + 1, "{event} across {outer}"),
            }
            if event["name"] == "turn" {
                numbers.push(event["args"]["n"].as_u64().unwrap());
            }
            if event["ph"] == "X" {
                around.push((end, event));
            }
        }
        let first = numbers[0];
        assert!(numbers.iter().copied().eq(first..first + numbers.len() as u64), "{numbers:?}");
        assert_eq!(self.about["schema"], "herd-trace/1");
    }

    /// The hops of one end (`s` or `f`): what they are called, and whose they are.
    fn hops(&self, end: &str) -> BTreeMap<String, String> {
        let hops = self.named("AT").filter(|event| event["ph"] == end);
        hops.map(|event| (event["id"].to_string(), event["args"]["client"].to_string())).collect()
    }
}

fn serve_traced(herd: &mut Herd, name: &str, flags: &[&str]) {
    let file = format!("{name}.json");
    herd.start(name, &[&["--trace", &file], flags].concat());
}

fn twin_traced(herd: &mut Herd, name: &str) {
    let file = herd.path(&format!("{name}.json"));
    herd.start_traced_twin(name, &["--trace", file.to_str().unwrap()]);
}

/// What a server ends with that none of its peers has outlived: nobody keeps its reports.
const NOT_HANDED_OVER: i32 = 75;

/// Ends all servers and waits until they have. They go together, so who is the last is chance.
fn end_all(herd: &mut Herd, names: &[&str]) {
    for name in names {
        herd.signal(name, Signal::TERM);
    }
    for name in names {
        let code = herd.ended(name).code();
        assert!(matches!(code, Some(0 | NOT_HANDED_OVER)), "{code:?}: {}", herd.complaints(name));
    }
}

fn trace_command(herd: &Herd, words: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.arg("trace").args(words).current_dir(herd.dir()).output().unwrap()
}

/// Goal: each hop is told once and heard once, by another server, and both call it the same.
fn check_hops(traces: &[Trace], told_min: usize) {
    let told: Vec<_> = traces.iter().map(|trace| trace.hops("s")).collect();
    let heard: Vec<_> = traces.iter().map(|trace| trace.hops("f")).collect();
    let count = |hops: &[BTreeMap<String, String>]| hops.iter().map(BTreeMap::len).sum::<usize>();
    assert!(count(&told) >= told_min, "{} hops", count(&told));
    for (teller, hops) in told.iter().enumerate() {
        for (id, client) in hops {
            let hearers = heard.iter().enumerate().filter(|(_, hops)| hops.get(id) == Some(client));
            let hearers: Vec<_> = hearers.map(|(hearer, _)| hearer).collect();
            assert!(hearers.len() == 1 && hearers[0] != teller, "{client} went to {hearers:?}");
        }
    }
    assert_eq!(count(&told), count(&heard));
}

/// Goal: the file of a living server is whole and true, and so is the one of its end. Method: two
/// servers and one line after the other, so that the trace can be foreseen.
#[test]
fn servers_record_their_turns() {
    let mut herd = Herd::of_year("2023");
    let names = ["Bailey", "Bona"];
    for name in names {
        serve_traced(&mut herd, name, &[]);
    }
    let mut client = herd.connect("Bailey");
    for number in 0..20 {
        client.ask(&format!("IAMAT kiwi-{number} +60.17+24.94 1520023934.{number}"));
    }
    let last = client.ask("IAMAT last +60.17+24.94 1520023934.918963997");
    let line = last.trim_end();
    until("the other has heard", || herd.held("Bona", "last").as_deref() == Some(line));
    client.send("WHATSAT last 10 3\n");
    client.through(b"\n\n");

    let before = Trace::of(&herd, "Bailey");
    assert!(before.named("turn").next().is_none(), "nothing is recorded yet");
    herd.signal("Bailey", Signal::USR1);
    let living = await_some("the trace is written", || {
        Some(Trace::of(&herd, "Bailey")).filter(|trace| trace.named("turn").next().is_some())
    });
    living.check();
    assert_eq!(living.about["dropped"], 0);
    assert_eq!(
        (&living.about["server"], &living.about["engine"]),
        (&"Bailey".into(), &"reactor".into())
    );
    let fills = living.named("fill").filter(|fill| fill["args"]["bytes"].as_u64() >= Some(30));
    assert!(fills.count() >= 21);
    let lines = living.named("tell").filter(|tell| tell["args"]["input"] == "Lines");
    assert!(lines.count() >= 22);
    assert!(living.args("signals", "conn").len() == 1 && living.args("dial", "peer").len() >= 2);
    assert!(living.args("accept", "door").contains(&"\"Client\"".to_owned()));
    // The atlas was loaded by a thread, which took up a row of its own and woke the loop.
    let load: Vec<_> = living.named("call").map(|call| &call["args"]["what"]).collect();
    assert_eq!(load, ["load"]);
    assert!(living.args("waker", "results").iter().any(|results| results != "0"));

    drop(client);
    end_all(&mut herd, &names);
    let traces = names.map(|name| Trace::of(&herd, name));
    traces.iter().for_each(Trace::check);
    assert!(traces[0].events.len() > living.events.len());
    // The link has heard all it was told before BYE.
    check_hops(&traces, 21);
    let first = traces[0].named("turn").map(|turn| turn["args"]["n"].as_u64()).min();
    assert_eq!(first, Some(Some(0)));

    let merged = trace_command(&herd, &["merge", "Bailey.json", "Bona.json", "-o", "all.json"]);
    assert!(merged.status.success());
    let all = Trace::read(&herd.path("all.json"));
    let both = traces[0].events.len() + traces[1].events.len();
    assert_eq!((all.events.len(), all.about["servers"].as_array().unwrap().len()), (both, 2));
    check_order(&all);
    assert!(trace_command(&herd, &["view", "all.json"]).status.success());
    let page = fs::read_to_string(herd.path("trace.html")).unwrap();
    assert!(page.contains("\"herd-trace/1\""));
}

/// On one timeline, nothing is heard before it is told.
fn check_order(all: &Trace) {
    let mut told = BTreeMap::new();
    for hop in all.named("AT").filter(|hop| hop["ph"] == "s") {
        told.insert(hop["id"].to_string(), (hop["ts"].as_f64().unwrap(), &hop["pid"]));
    }
    for hop in all.named("AT").filter(|hop| hop["ph"] == "f") {
        let (ts, pid) = told[&hop["id"].to_string()];
        // A clock that is set while the test runs is out of our hands, and not by a second.
        assert!(hop["ts"].as_f64().unwrap() > ts - 1e6, "{hop}");
        assert_ne!(&hop["pid"], pid);
    }
}

/// Goal: a request while a file is being written gets a newer one. Method: many signals without
/// a pause, and then something that only the last file can hold.
#[test]
fn no_asking_is_lost() {
    let mut herd = Herd::of_year("2023");
    serve_traced(&mut herd, "Bailey", &[]);
    let mut client = herd.connect("Bailey");
    for number in 0..50 {
        client.ask(&format!("IAMAT kiwi +60.17+24.94 {number}"));
        herd.signal("Bailey", Signal::USR1);
    }
    client.ask("IAMAT last-one +60.17+24.94 7");
    let told = |trace: &Trace| trace.args("fill", "bytes").len();
    herd.signal("Bailey", Signal::USR1);
    until("the last file is written", || told(&Trace::of(&herd, "Bailey")) >= 51);
    Trace::of(&herd, "Bailey").check();
}

/// A ring that is full keeps the last turns, and says how much it has lost.
#[test]
fn the_oldest_turns_make_way() {
    let mut herd = Herd::of_year("2023");
    serve_traced(&mut herd, "Bailey", &["--log-level", "off"]);
    let mut client = herd.connect("Bailey");
    for number in 0..15_000 {
        client.ask(&format!("IAMAT kiwi +60.17+24.94 {number}"));
    }
    drop(client);
    end_all(&mut herd, &["Bailey"]);
    let trace = Trace::of(&herd, "Bailey");
    assert!(trace.about["dropped"].as_u64() > Some(10_000), "{}", trace.about);
    assert!((60_000..=65_540).contains(&trace.events.len()), "{}", trace.events.len());
    trace.check();
}

/// What goes wrong is said in a message: at the start before anything else, later in the log.
#[test]
fn a_trace_that_cannot_be_written_is_told_of() {
    let mut herd = Herd::of_year("2023");
    let output = herd.command("Bailey", &["--trace", "no/such/dir.json"]).output().unwrap();
    assert_eq!(output.status.code(), Some(73));
    let said = herd.complaints("Bailey");
    assert!(said.contains("the trace cannot be written to no/such/dir.json: "), "{said}");

    fs::create_dir(herd.path("dir")).unwrap();
    herd.start("Bona", &["--trace", "dir/Bona.json"]);
    fs::remove_dir_all(herd.path("dir")).unwrap();
    herd.signal("Bona", Signal::USR1);
    herd.until_logged("Bona", "trace not written error=\"dir/Bona.json: ");
    herd.connect("Bona").ask("IAMAT kiwi +60.17+24.94 7");

    herd.start("Clark", &[]);
    herd.signal("Clark", Signal::USR1);
    herd.until_logged("Clark", "start with --trace FILE");

    let none = trace_command(&herd, &["merge", "none.json", "-o", "x.json"]);
    assert_eq!(none.status.code(), Some(78));
    fs::write(herd.path("other.json"), "{}").unwrap();
    let other = trace_command(&herd, &["view", "other.json"]);
    assert_eq!(other.status.code(), Some(78));
    let said = String::from_utf8(other.stderr).unwrap();
    assert!(said.starts_with("herd: other.json is no trace: "), "{said}");
}

/// Goal: the traces of both makes lie on one timeline, and a hop from one to the other is one.
#[test]
fn both_makes_record_the_same() {
    if !have_python() {
        skip("both_makes_record_the_same needs python3, 3.11 or later, which is missing here");
        return;
    }
    let mut herd = Herd::of_year("2023");
    let names = ["Clark", "Bona", "Jaquez"];
    twin_traced(&mut herd, "Clark");
    twin_traced(&mut herd, "Bona");
    serve_traced(&mut herd, "Jaquez", &["--plain-peer", "Clark"]);
    herd.until_logged("Clark", "Jaquez is joined");
    herd.until_logged("Clark", "Bona is joined");
    for (number, name) in ["Clark", "Jaquez", "Clark"].iter().enumerate() {
        let client = format!("kiwi-{number}");
        let line = herd.report(name, &client, "+60.17+24.94", "1520023934.918963997");
        for other in names {
            until("all have heard", || herd.held(other, &client).as_deref() == Some(&line));
        }
    }
    herd.signal("Clark", Signal::USR1);
    let living = await_some("the trace is written", || {
        Some(Trace::of(&herd, "Clark")).filter(|trace| trace.named("turn").next().is_some())
    });
    living.check();

    end_all(&mut herd, &names);
    let traces = names.map(|name| Trace::of(&herd, name));
    traces.iter().for_each(Trace::check);
    let clark = &traces[0];
    assert_eq!(clark.about["engine"], "asyncio");
    let stands = clark.args("step", "at");
    for place in ["lines, herd_twin.py:", "tell, herd_twin.py:", "done"] {
        assert!(stands.iter().any(|at| at.contains(place)), "{place} in {stands:?}");
    }
    for phase in ["sleep", "ready", "accept", "fill", "write", "dial"] {
        assert!(clark.named(phase).next().is_some(), "{phase}");
    }
    let heard_by = |name: usize| traces[name].hops("f").into_values().collect::<Vec<_>>();
    assert!(heard_by(2).contains(&"\"kiwi-0\"".to_owned()), "{:?}", heard_by(2));
    assert!(heard_by(0).contains(&"\"kiwi-1\"".to_owned()), "{:?}", heard_by(0));
    check_hops(&traces, 6);

    let files = ["Clark.json", "Bona.json", "Jaquez.json"];
    let words = [&["merge"], files.as_slice(), &["-o", "all.json"]].concat();
    assert!(trace_command(&herd, &words).status.success());
    check_order(&Trace::read(&herd.path("all.json")));
}

/// Goal: it can be seen what an answer waits for: the group of a sync, which a thread of its own
/// asks the disk for.
#[test]
fn an_answer_waits_for_its_group() {
    let settings = "[journal]\nkeep = \"synced\"\n[log]\nlevel = \"off\"\n";
    let mut herd = Herd::of_file(&["Hill"], &[], settings);
    serve_traced(&mut herd, "Hill", &[]);
    herd.report("Hill", "kiwi", "+60.17+24.94", "1520023934.918963997");
    end_all(&mut herd, &["Hill"]);
    let trace = Trace::of(&herd, "Hill");
    trace.check();
    let of_thread = |name: &str| {
        let named = trace.named("thread_name").find(|event| event["args"]["name"] == name);
        let thread = named.unwrap_or_else(|| panic!("no row {name}"))["tid"].clone();
        trace.named(name).filter(move |event| event["tid"] == thread).collect::<Vec<_>>()
    };
    let start = |event: &Value| event["ts"].as_f64().unwrap();
    let end = |event: &Value| start(event) + event["dur"].as_f64().unwrap();
    let keep = |what: &str| {
        let mut keeps = trace.named("keep");
        keeps.find(|keep| keep["args"][what].as_u64() > Some(0)).unwrap_or_else(|| panic!("{what}"))
    };
    let (given, released) = (keep("bytes"), keep("released"));
    let written = of_thread("journal");
    let synced = of_thread("sync");
    assert!(written.iter().any(|write| start(write) >= start(given)), "a thread writes it");
    let is_between = |sync: &&Value| start(sync) >= start(given) && end(sync) <= end(released);
    assert!(synced.iter().any(is_between), "{given} {synced:?} {released}");
    // Meanwhile the answer is held, and leaves in a later turn.
    let held = trace.named("write").find(|write| {
        write["args"]["bytes"] == 0 && start(write) > start(given) && end(write) < start(released)
    });
    assert!(held.is_some_and(|write| write["args"]["left"].as_u64() > Some(0)));
}
