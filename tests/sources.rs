//! The sources of places as an operator meets them: files that change, commands that look into
//! them, services that are asked with a key. Apart from `places`, which is about services that
//! misbehave.

mod common;

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use common::{Herd, until};
use rustix::process::Signal;
use serde_json::Value;

fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/herd/places/demo/helsinki.csv")
}

/// What a WHATSAT is answered with, below its AT line.
fn whatsat(herd: &Herd, question: &str) -> Value {
    let mut client = herd.connect("Hill");
    client.ask("IAMAT demo +60.1699+24.9384 1520023934.918963997");
    client.send(format!("WHATSAT demo {question}\n"));
    let line = client.line();
    assert!(line.starts_with(b"AT Hill "), "{}", line.escape_ascii());
    serde_json::from_slice(&client.through(b"\n\n")).unwrap()
}

fn first_name(answer: &Value) -> &str {
    answer["results"][0]["name"].as_str().unwrap_or_default()
}

/// Goal: a file is read again on SIGHUP, and a bad one harms nobody. Method: replace it, signal,
/// wait until the log tells what came of it, ask.
#[test]
fn a_file_is_swapped_in_one_step() {
    let header = "name,lat,lon\n";
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let path = herd.path("places.csv");
    let write = |text: &str| fs::write(&path, text).unwrap();
    write(&format!("{header}One,60.17,24.94\n"));
    let flags = ["--places", "file", "--places-file", "places.csv"];
    herd.start("Hill", &[&flags[..], &["--places-attribution", "<b>us</b>"]].concat());
    let answer = whatsat(&herd, "5 20");
    assert_eq!((first_name(&answer), &answer["status"]), ("One", &"OK".into()));
    assert_eq!(answer["html_attributions"], serde_json::json!(["<b>us</b>"]));

    let swap = |text: &str, told: &str, name: &str| {
        write(text);
        herd.signal("Hill", Signal::HUP);
        herd.until_logged("Hill", told);
        assert_eq!(first_name(&whatsat(&herd, "5 20")), name);
    };
    let two = format!("{header},1,2\nTwo,60.17,24.94\n");
    swap(&two, "places loaded: 1 place, 1 row skipped (1 × no name: line 2)", "Two");
    let many = format!("{header}{}", "Many,60.17,24.94\n".repeat(5));
    swap(&many, "places loaded: 5 places of", "Many");
    assert!(!herd.log("Hill").contains("places shrunk"));
    swap(&two, "places shrunk places=1 before=5: if that is a mistake", "Two");
    swap("name:lat:lon\n", "places.csv cannot be used: its header (line 1) names no", "Two");
    swap(header, "places.csv holds no usable place: 0 places", "Two");
    fs::remove_file(&path).unwrap();
    herd.signal("Hill", Signal::HUP);
    herd.until_logged("Hill", "the file of places places.csv cannot be read: ");
    write(&two.replace("Two", "Three"));
    herd.signal("Hill", Signal::HUP);
    until("the last file is in use", || first_name(&whatsat(&herd, "5 20")) == "Three");
}

/// Goal: a reload never waits for what is no file, and the server says so. Method: a pipe that
/// nobody writes to.
#[test]
fn a_pipe_in_place_of_a_file_is_refused_at_once() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let path = herd.path("places.csv");
    fs::write(&path, "name,lat,lon\nOne,60.17,24.94\n").unwrap();
    herd.start("Hill", &["--places", "file", "--places-file", "places.csv"]);
    assert_eq!(first_name(&whatsat(&herd, "5 20")), "One");
    fs::remove_file(&path).unwrap();
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    herd.signal("Hill", Signal::HUP);
    herd.until_logged("Hill", "places.csv cannot be read: it is no regular file but a pipe");
    assert_eq!(first_name(&whatsat(&herd, "5 20")), "One");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "name,lat,lon\nTwo,60.17,24.94\n").unwrap();
    herd.signal("Hill", Signal::HUP);
    until("the next file is in use", || first_name(&whatsat(&herd, "5 20")) == "Two");
}

/// Goal: no answer is cut, however long the places are. Method: twenty places that are as long as a
/// place may be, asked for by a client that sends all it may and reads afterwards.
#[test]
fn the_longest_answers_are_whole() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let row = format!("{},60.17,24.94\n", "x".repeat(3_800));
    fs::write(herd.path("places.csv"), format!("name,lat,lon\n{}", row.repeat(20))).unwrap();
    herd.start("Hill", &["--places", "file", "--places-file", "places.csv"]);
    let mut client = herd.connect("Hill");
    client.ask("IAMAT demo +60.17+24.94 1520023934.918963997");
    client.send("WHATSAT demo 5 20\n".repeat(300));
    client.half_close();
    let all = String::from_utf8(client.rest()).unwrap();
    let mut answers = 0;
    for answer in all.split_terminator("\n\n") {
        let (line, body) = answer.split_once('\n').unwrap();
        assert!(line.starts_with("AT Hill "), "{line}");
        let body: Value = serde_json::from_str(body).unwrap();
        assert_eq!(body["results"].as_array().unwrap().len(), 20);
        answers += 1;
    }
    assert_eq!(answers, 300);
}

/// Goal: a server that has no places says so, names no file to its clients, and recovers.
#[test]
fn a_file_may_become_good() {
    let mut herd = Herd::of_file(&["Hill"], &[], "");
    let path = herd.path("places.csv");
    fs::write(&path, "").unwrap();
    herd.start("Hill", &["--places", "file", "--places-file", "places.csv"]);
    assert!(herd.status("Hill").places.starts_with("file, broken: places.csv cannot be used: "));
    let answer = whatsat(&herd, "5 20");
    assert_eq!(answer["status"], "UNKNOWN_ERROR");
    assert_eq!(answer["error_message"], "this server has no places to tell of");

    fs::copy(demo(), &path).unwrap();
    herd.signal("Hill", Signal::HUP);
    herd.until_logged("Hill", "places loaded: 1399 places of places.csv");
    let answer = whatsat(&herd, "0.1 3");
    assert_eq!((&answer["status"], answer["results"].as_array().unwrap().len()), (&"OK".into(), 3));
    assert_eq!(herd.status("Hill").places, "file, 1399 places of places.csv");
}

fn run(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_herd"));
    command.env_remove("HERD_PLACES_FILE").current_dir(dir).args(arguments);
    let Output { status, stdout, stderr } = command.output().unwrap();
    let [out, complaint] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    (status.code(), out, complaint)
}

#[test]
fn files_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let check = |text: &str, code: i32, out: &str, complaint: &str| {
        fs::write(dir.path().join("p"), text).unwrap();
        let seen = run(dir.path(), &["places", "check", "p"]);
        assert_eq!(seen, (Some(code), out.to_owned(), complaint.to_owned()), "{text}");
    };
    check(
        "name,lat,lon\nA,1,2\n,1,2\nB,-1.5,20\nC,91,0\n,,\n",
        0,
        "2 places, 3 rows skipped\n  2 × no name: line 3, 6\n  \
         1 × no latitude between -90 and 90: line 5\n\
         latitudes -1.5 to 1, longitudes 2 to 20\n",
        "",
    );
    fs::write(dir.path().join("old"), "name,lat,lon\nA,1,2\nB,1,2\nC,1,2\n").unwrap();
    let replaces = |rows: usize| {
        fs::write(dir.path().join("p"), "name,lat,lon\n".to_owned() + &"A,1,2\n".repeat(rows))
            .unwrap();
        run(dir.path(), &["places", "check", "p", "--against", "old"])
    };
    let (code, _, complaint) = replaces(1);
    assert_eq!(code, Some(78));
    assert_eq!(complaint, "herd: p has less than half of what old has, 1 instead of 3 places\n");
    assert_eq!((replaces(2).0, replaces(9).0), (Some(0), Some(0)));
    let (code, _, complaint) = run(dir.path(), &["places", "check", "p", "--against", "none"]);
    assert_eq!(code, Some(78));
    assert!(complaint.starts_with("herd: none cannot be used: it cannot be read: "), "{complaint}");
    let none = "herd: p holds no usable place\n";
    check("name,lat,lon\n,1,2\n", 78, "0 places, 1 row skipped\n  1 × no name: line 2\n", none);
    let (code, out, complaint) = run(dir.path(), &["places", "check", "missing"]);
    assert_eq!((code, out.as_str()), (Some(78), ""));
    assert!(complaint.starts_with("herd: missing cannot be used: it cannot be read: "));
    let (code, out, _) = run(dir.path(), &["places", "check", demo().to_str().unwrap()]);
    let expected = "1399 places, 0 rows skipped\n\
        latitudes 60.1641596 to 60.1790339, longitudes 24.9351766 to 24.9533779\n";
    assert_eq!((code, out.as_str()), (Some(0), expected));
}

#[test]
fn what_is_near_needs_no_server() {
    let dir = tempfile::tempdir().unwrap();
    let near = |more: &[&str]| run(dir.path(), &[&["places", "near"], more].concat());
    let (code, out, _) = near(&["+60.17+24.94", "2", "5"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, first_name(&answer)), (Some(0), "Helsinki"));
    let (_, out, _) = near(&["-34.9-56.17", "10", "1"]);
    assert_eq!(first_name(&serde_json::from_str(&out).unwrap()), "Montevideo");
    let demo = demo();
    let file = ["--file", demo.to_str().unwrap(), "--attribution", "<b>us</b>"];
    let (_, out, _) = near(&[&["+60.1699+24.9384", "2", "5"], &file[..]].concat());
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(answer["html_attributions"], serde_json::json!(["<b>us</b>"]));
    assert_eq!(answer["results"].as_array().unwrap().len(), 5);
    assert!(answer["results"][0]["place_id"].as_str().unwrap().starts_with("osm:node/"));
    for wrong in [["60.17+24.94", "2", "5"], ["+60+24", "51", "5"], ["+60+24", "2", "21"]] {
        let (code, out, complaint) = near(&wrong);
        assert_eq!((code, out.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(complaint.contains("+60.1699+24.9384 5 3"), "{complaint}");
    }
}

/// A service that answers everybody with `body` and gives every request to `heard`.
fn serve(body: &'static str, heard: std::sync::mpsc::Sender<String>) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    // It ends with the test's process: a thread that waits costs nothing.
    thread::spawn(move || {
        for socket in listener.incoming() {
            let mut socket = socket.unwrap();
            let mut request = Vec::new();
            let mut piece = [0; 4096];
            // All bodies of requests end like this, and no head does.
            while !request.ends_with(b"\"DISTANCE\"}") && !request.ends_with(b"%3B") {
                let count = socket.read(&mut piece).unwrap();
                assert!(count > 0, "{}", request.escape_ascii());
                request.extend_from_slice(&piece[..count]);
            }
            let length = body.len();
            let head = format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}");
            write!(socket, "{head}\r\n\r\n{body}").unwrap();
            if heard.send(String::from_utf8(request).unwrap()).is_err() {
                return;
            }
        }
    });
    port
}

const KEY: &str = "AIza-secret-secret-secret-secret-secret";

/// Goal: each service is asked in its own way and answers in the one shape, and the key is nowhere
/// but in the request. Method: look at everything that the server leaves behind.
#[test]
fn remote_sources_answer_in_one_shape() {
    let check = |source: &str, body: &'static str, path: &str, id: &str| {
        let (sender, heard) = std::sync::mpsc::channel();
        let url = format!("http://127.0.0.1:{}", serve(body, sender));
        let mut herd = Herd::of_file(&["Hill"], &[], "");
        let mut command = herd
            .command("Hill", &["--places", source, "--places-url", &url, "--log-level", "trace"]);
        command.env("HERD_PLACES_KEY", KEY);
        herd.launch("Hill", command);
        let answer = whatsat(&herd, "5 20");
        assert_eq!((first_name(&answer), &answer["status"]), ("A", &"OK".into()));
        assert_eq!(answer["results"][0]["place_id"], id);
        let request = heard.recv().unwrap();
        assert!(request.starts_with(&format!("POST {path} HTTP/1.1\r\n")), "{request}");
        assert_eq!(request.contains(KEY), source == "google-new", "{request}");
        assert!(herd.status("Hill").places.starts_with(source));
        for left in
            [herd.log("Hill"), herd.complaints("Hill"), format!("{:?}", herd.status("Hill"))]
        {
            assert!(!left.contains("AIza"), "{left}");
        }
    };
    check(
        "google-new",
        r#"{"places":[{"id":"x","displayName":{"text":"A"},"location":{"latitude":60.17}}]}"#,
        "/v1/places:searchNearby",
        "x",
    );
    check(
        "overpass",
        r#"{"elements":[{"type":"node","id":5,"lat":60.17,"lon":24.9,"tags":{"name":"A"}}]}"#,
        "/api/interpreter",
        "osm:node/5",
    );
}

/// Goal: a proxy hears where clients are only if the operator wants one. Method: a proxy that the
/// environment names, and a service beyond this machine.
#[test]
fn a_proxy_is_asked_only_on_request() {
    let proxy = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let url = format!("http://{}", proxy.local_addr().unwrap());
    let ask = |is_wanted: bool| {
        let sections = format!(
            "[places]\nsource = \"overpass\"\nurl = \"https://places.invalid\"\n\
             deadline = \"2 s\"\nproxy_from_env = {is_wanted}\n"
        );
        let mut herd = Herd::of_file(&["Hill"], &[], &sections);
        let mut command = herd.command("Hill", &[]);
        command.env("ALL_PROXY", &url).env_remove("NO_PROXY").env_remove("no_proxy");
        herd.launch("Hill", command);
        assert_eq!(whatsat(&herd, "5 20")["status"], "UNKNOWN_ERROR");
    };
    proxy.set_nonblocking(true).unwrap();
    ask(false);
    assert!(proxy.accept().is_err(), "nobody has called the proxy");
    proxy.set_nonblocking(false).unwrap();
    let heard = thread::spawn(move || {
        let (mut socket, _) = proxy.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n") {
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        String::from_utf8(head).unwrap()
    });
    ask(true);
    assert_eq!(heard.join().unwrap(), "CONNECT places.invalid:443 HTTP/1.1\r\n");
}

/// Goal: a proxy that cannot be used is told before anything is sent, and never gone past. Method:
/// one that speaks SOCKS, whose address holds a password.
#[test]
fn a_proxy_that_cannot_be_used_is_refused() {
    let sections = "[places]\nsource = \"overpass\"\nurl = \"https://places.invalid\"\n\
        proxy_from_env = true\n";
    for variable in ["ALL_PROXY", "https_proxy"] {
        let herd = Herd::of_file(&["Hill"], &[], sections);
        let mut command = herd.command("Hill", &[]);
        for other in ["ALL_PROXY", "all_proxy", "HTTPS_PROXY", "https_proxy"] {
            command.env_remove(other);
        }
        let status = command.env(variable, "socks5://me:secret@127.0.0.1:9").status().unwrap();
        let complaint = herd.complaints("Hill");
        assert_eq!(status.code(), Some(78), "{complaint}");
        let part = format!("proxy_from_env wants a proxy, but {variable} names a SOCKS proxy: set");
        assert!(complaint.contains(&part) && !complaint.contains("secret"), "{complaint}");
    }
}

/// Goal: `check-config` refuses what `serve` refuses, in the same words. Method: certificates that
/// are none, a URL with a key in it, and fewer calls than servers.
#[test]
fn a_source_is_checked_once() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("ca.pem"), "hello").unwrap();
    let check = |places: &str, part: &str| {
        let servers = ["Hill", "Old"].map(|name| {
            let port = 22_900 + name.len();
            format!("[[server]]\nname = \"{name}\"\nclients = \"127.0.0.1:{port}\"\n")
        });
        let text = format!("herd = \"x\"\n{}[places]\n{places}", servers.concat());
        fs::write(dir.path().join("herd.toml"), text).unwrap();
        for command in ["check-config", "serve"] {
            let (code, _, complaint) = run(dir.path(), &[command, "Hill", "--config", "herd.toml"]);
            assert_eq!(code, Some(78), "{command}: {complaint}");
            assert!(complaint.contains(part) && !complaint.contains("AIza"), "{complaint}");
        }
    };
    let overpass = "source = \"overpass\"\n";
    check(&format!("{overpass}ca_file = \"ca.pem\"\n"), "ca_file ca.pem holds no certificate");
    check(&format!("{overpass}ca_file = \"none\"\n"), "ca_file none cannot be read (");
    let url = "url = \"https://a.example/json?key=AIzaSyNobodyMaySeeThis\"\n";
    check(&format!("{overpass}{url}"), "`https://a.example/json?…` must not hold a query");
    check(&format!("{overpass}calls_per_day = 1\n"), "is to be shared by 2 servers");
}

/// Goal: a person sees what a service costs, and that its files have gone bad, below the table.
#[test]
fn the_status_tells_of_places() {
    let told = |sections: &str, flags: &[&str], part: &str| {
        let mut herd = Herd::of_file(&["Hill"], &[], sections);
        herd.start("Hill", flags);
        let run_dir = herd.path("run");
        let (_, out, _) = run(run_dir.parent().unwrap(), &["status", "--run-dir", "run"]);
        assert!(out.contains(part), "{out}");
    };
    let overpass = "[places]\nsource = \"overpass\"\ncalls_per_day = 7\n";
    let well = "Hill has places of overpass, well, calls: 0 under way, 0 today, 7 left\n";
    told(overpass, &[], well);
    let pipe = ["--places", "file", "--places-file", "herd.toml"];
    told("", &pipe, "Hill has places of file, broken: ");
}
