//! Servers that know only the course's wire, as neighbours: each course herd has settled in its
//! own way what stands around an AT line and when a connection ends. Apart from `herd`, where all
//! are of our make, and from `twin`, which needs Python.

mod common;

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{self, Receiver};
use std::thread;

use common::{Client, Herd, PLACELESS, TIMEOUT};

/// A course server's port: what comes on each connection, to its end.
struct Port {
    port: u16,
    texts: Receiver<String>,
}

impl Port {
    fn open() -> Port {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (sender, texts) = mpsc::channel();
        // It ends with the test's process.
        thread::spawn(move || {
            for mut socket in listener.incoming().map_while(Result::ok) {
                let mut text = String::new();
                if socket.read_to_string(&mut text).is_ok() && sender.send(text).is_err() {
                    return;
                }
            }
        });
        Port { port, texts }
    }

    /// All that came on the next connection.
    fn text(&self) -> String {
        self.texts.recv_timeout(TIMEOUT).unwrap()
    }
}

/// Tells a server something as most course servers do: a line, and good-bye.
fn tell(herd: &Herd, name: &str, text: &str) {
    let mut socket = TcpStream::connect(("127.0.0.1", herd.port(name))).unwrap();
    socket.write_all(text.as_bytes()).unwrap();
    socket.shutdown(Shutdown::Write).unwrap();
    let mut answer = String::new();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    socket.read_to_string(&mut answer).unwrap();
    assert_eq!(answer, "", "an update is not answered");
}

/// The herd of A and B, where A has the course servers `One`, `Two` and so on for neighbours, each
/// with a shape for the lines that it is sent.
fn with_course_servers<const COUNT: usize>(shapes: [&str; COUNT]) -> (Herd, [Port; COUNT]) {
    let ports = shapes.map(|_| Port::open());
    let mut links = vec![("A", "B")];
    let mut sections = String::new();
    for ((name, shape), port) in NAMES.into_iter().zip(shapes).zip(&ports) {
        links.push(("A", name));
        let clients = format!("127.0.0.1:{}", port.port);
        sections += &format!("[[server]]\nname = {name:?}\nclients = {clients:?}\n");
        sections += &format!("plain = true\nshape = {shape:?}\n");
    }
    let mut herd = Herd::of_file(&["A", "B"], &links, &sections);
    herd.start_all(PLACELESS);
    (herd, ports)
}

const NAMES: [&str; 4] = ["One", "Two", "Three", "Four"];

/// Goal: course servers of four makes hear and are heard, each in the shape that it knows and no
/// other. Method: what each says is to reach everybody, and so is what B says.
///
/// `One` takes and sends the bare line. `Two` is Twisted's `LineReceiver`: what does not end with
/// CR LF is no line, and its own connection stays open. `Three` wants to know who sent it, and says
/// the servers it has been at already. `Four` has a word of its own before that. PROTOCOL 12.3,
/// 12.5.
#[test]
fn four_shapes_hear_and_are_heard() {
    let shapes = ["lf", "crlf", "sender", "word=FLOOD, sender"];
    let (herd, ports) = with_course_servers(shapes);
    let framed = |line: &str| {
        let bare = format!("{line}\n");
        let sender = format!("{line} A\n");
        [bare, format!("{line}\r\n"), sender.clone(), format!("FLOOD {sender}")]
    };
    let hear = |line: &str, teller: Option<usize>| {
        herd.until_all_hold(line.split(' ').nth(3).unwrap(), line);
        for (at, (port, text)) in ports.iter().zip(framed(line)).enumerate() {
            if Some(at) != teller {
                assert_eq!(port.text(), text);
            }
        }
    };
    let line = herd.report("B", "ours", "+1-1", "7");
    hear(&line, None);

    let line = "AT One +0.263873386 one +34.068930-118.445127 1520023934.918963997";
    tell(&herd, "A", line);
    hear(line, Some(0));

    let mut open = Client::connect(herd.port("A"));
    for client in ["two", "more"] {
        let line = format!("AT Two -1.5e-05 {client} +34.068930-118.445127 1520023934.9");
        open.send(format!("{line}\r\n"));
        hear(&line, Some(1));
    }
    assert!(open.is_silent());

    // Who sends it stands last: those are not told again, even if another server made the report.
    let line = "AT Two +0.5 three +1-1 7";
    tell(&herd, "A", &format!("{line} Two Three\n"));
    herd.until_all_hold("three", line);
    for at in [0, 3] {
        assert_eq!(ports[at].text(), framed(line)[at]);
    }
    let line = "AT Four +0.5 four +1-1 7";
    tell(&herd, "A", &format!("FLOOD {line} Four"));
    hear(line, Some(3));
}

/// Goal: course servers that spell a report in their own way hear it in that way, and are
/// understood, also where what stands between the fields differs. Method: four ways of public
/// course herds; what each says is to reach everybody. PROTOCOL 12.3, 12.5.
#[test]
fn lines_of_their_own_are_heard_and_understood() {
    let shapes = [
        "line=FLOOD 0 AT {server} {skew} {client} {position} {time}",
        "line=PUT {client} {position} {time} {server} {received}",
        "crlf,line=AT {us},{peer} {server} {skew} {client} {position} {time}",
        // It takes what clients say, and cannot be believed: it names nobody.
        "line=IAMAT {client} {position} {time}",
    ];
    let (herd, ports) = with_course_servers(shapes);
    let spelled = |line: &str| {
        let [_, server, skew, client, position, time] = fields(line);
        let (seconds, nanos) = skew.strip_prefix('+').unwrap().split_once('.').unwrap();
        let received = time.parse::<u64>().unwrap() + seconds.parse::<u64>().unwrap();
        [
            format!("FLOOD 0 {line}\n"),
            format!("PUT {client} {position} {time} {server} {received}.{nanos}\n"),
            format!("AT A,Three {server} {skew} {client} {position} {time}\r\n"),
            format!("IAMAT {client} {position} {time}\n"),
        ]
    };
    let hear = |line: &str, teller: Option<usize>| {
        herd.until_all_hold(fields(line)[3], line);
        for (at, (port, text)) in ports.iter().zip(spelled(line)).enumerate() {
            if Some(at) != teller {
                assert_eq!(port.text(), text);
            }
        }
    };
    hear(&herd.report("B", "ours", "+1-1", "7"), None);
    for (teller, text, line) in [
        (0, "FLOOD 12 AT One +1.500000000 one +1-1 7", "AT One +1.500000000 one +1-1 7"),
        (1, "PUT two +1-1 7 Two 8.25", "AT Two +1.250000000 two +1-1 7"),
        (2, "AT Three,A Three +2.000000000 c +1-1 7\r", "AT Three +2.000000000 c +1-1 7"),
    ] {
        tell(&herd, "A", &format!("{text}\n"));
        hear(line, Some(teller));
    }
    for bad in ["FLOOD 0 AT Nobody +1 x +1-1 7", "PUT x +1-1 7 Two", "PUT x +91-1 7 Two 8"] {
        assert_eq!(herd.connect("A").ask(bad), format!("? {bad}"));
    }
    assert_eq!(herd.held("A", "x"), None);
}

/// The words of an AT line.
fn fields(line: &str) -> [&str; 6] {
    line.split(' ').collect::<Vec<_>>().try_into().unwrap()
}

/// A course server that has lost what it knew, or never heard it, shows that by what it tells.
/// PROTOCOL 12.7.
#[test]
fn a_course_server_is_put_right_once() {
    let (herd, [one, two]) = with_course_servers(["lf", "sender"]);
    let held = herd.report("B", "kiwi", "+1-1", "9");
    assert_eq!((one.text(), two.text()), (format!("{held}\n"), format!("{held} A\n")));
    for _ in 0..3 {
        tell(&herd, "A", "AT Two +0.5 kiwi +2-2 7 Two\n");
        tell(&herd, "A", "AT Two +0.5 kiwi +2-2 8 Two\n");
    }
    assert_eq!(two.text(), format!("{held} A\n"), "what is newer");
    let held = herd.report("B", "kiwi", "+1-1", "10");
    assert_eq!(two.text(), format!("{held} A\n"), "and only once");
    assert_eq!(one.text(), format!("{held}\n"), "and nobody else");
    for _ in 0..3 {
        tell(&herd, "A", "AT Two +0.5 kiwi +2-2 7 Two\n");
    }
    assert_eq!(two.text(), format!("{held} A\n"), "once for each report");

    // A bare line does not say who sent it; a tie is not older.
    tell(&herd, "A", "AT Two +0.5 kiwi +2-2 7\n");
    tell(&herd, "A", "AT A +0.5 kiwi +0-2 10\n");
    assert_eq!(one.text(), format!("{held}\n"));
    // What it has reported itself and forgotten, it is told as well.
    tell(&herd, "A", "AT One +0.5 lime +2-2 9\n");
    assert_eq!(two.text(), "AT One +0.5 lime +2-2 9 A\n");
    tell(&herd, "A", "AT One +0.5 lime +2-2 8 One\n");
    assert_eq!(one.text(), "AT One +0.5 lime +2-2 9\n");
    let last = herd.report("B", "last", "+1-1", "7");
    assert_eq!((one.text(), two.text()), (format!("{last}\n"), format!("{last} A\n")));
    herd.until_all_hold("kiwi", &held);
}

/// Goal: bare AT lines are believed of servers that the configuration names, and of no other; and
/// without course links, of none. Method: the answers of servers with and without `--plain`.
/// PROTOCOL 12.1, 12.2, 12.3.
#[test]
fn only_servers_of_the_herd_are_believed() {
    let mut herd = Herd::of_year("2023");
    herd.start("Bona", &[PLACELESS, &["--plain"]].concat());
    herd.start_all(PLACELESS);
    let lines = [
        ("AT Clark +0.5 a +1-1 7", true),
        ("AT Bona +0.5 b +1-1 7", true),
        ("AT Clark +0.5 c +1-1 7 Jaquez", true),
        ("\tAT  Clark +0.5 d +1-1 7 \x0bJaquez Bailey Nobody ", true),
        ("AT Nobody +0.5 e +1-1 7", false),
        ("AT Nobody +0.5 e +1-1 7 Clark", false),
        ("AT clark +0.5 e +1-1 7", false),
        ("AT Clark +0.5 e +1-1", false),
        ("AT Clark +0.5 e +91-1 7 Jaquez", false),
        ("AT Clark e +0.5 +1-1 7 Jaquez", false),
        ("FLOOD AT Clark +0.5 e +1-1 7", false),
        ("IAMAT e +1-1 7 Clark", false),
        ("WHATSAT a 0 0 Clark", false),
    ];
    for (line, believed) in lines {
        let mut client = herd.connect("Bona");
        if believed {
            client.send(format!("{line}\n"));
            let fields: Vec<_> = line.split_ascii_whitespace().take(6).collect();
            herd.until_all_hold(fields[3], &fields.join(" "));
            assert!(client.is_silent(), "{line:?}");
        } else {
            assert_eq!(client.ask(line), format!("? {line}"));
        }
        let mut client = herd.connect("Clark");
        assert_eq!(client.ask(line), format!("? {line}"));
    }
    assert_eq!(herd.held("Bona", "e"), None);
}

/// PROTOCOL 12.4, 12.5.
#[test]
fn plain_peers_hear_and_are_heard() {
    let old = Port::open();
    let mut herd = Herd::of_year("2023");
    let address = format!("Old=127.0.0.1:{}", old.port);
    herd.start("Bona", &[PLACELESS, &["--plain-peer", &address]].concat());
    herd.start_all(PLACELESS);

    // Each connection brings one whole line and closes.
    let line = herd.report("Jaquez", "kiwi", "+1-1", "7");
    assert_eq!(old.text(), format!("{line}\n"));
    let line = herd.report("Bona", "kiwi", "+1-1", "8");
    assert_eq!(old.text(), format!("{line}\n"));

    for line in [
        "AT Old +0.263873386 told +34.068930-118.445127 1520023934.918963997",
        "AT Old -1.5e-05 float +34.068930-118.445127 1520023934.9",
        "AT Clark 0.5 transitive +1-1 7",
    ] {
        tell(&herd, "Bona", line);
        let client = line.split(' ').nth(3).unwrap();
        herd.until_all_hold(client, line);
    }
    // It is told what others have reported, even where it was the teller; not what it reported.
    assert_eq!(old.text(), "AT Clark 0.5 transitive +1-1 7\n");

    // Repeated: nothing comes of it.
    tell(&herd, "Bona", "AT Clark 0.5 transitive +1-1 7\n");
    // The others have no plain peer, and take no plain line from anybody.
    let mut client = herd.connect("Clark");
    let forged = "AT Old +0.5 told +3-3 1520023999";
    assert_eq!(client.ask(forged), format!("? {forged}"));
    let held = "AT Old +0.263873386 told +34.068930-118.445127 1520023934.918963997";
    herd.until_all_hold("told", held);
    let line = herd.report("Clark", "last", "+1-1", "9");
    assert_eq!(old.text(), format!("{line}\n"), "and nothing before it");
}

/// A course server that is away is dialled again; a client that moved meanwhile is told once.
/// PROTOCOL 12.6.
#[test]
fn a_plain_peer_may_be_away() {
    let mut herd = Herd::of_year("2023");
    let address = format!("Old=127.0.0.1:{}", herd.spare_port());
    herd.start("Bona", &[PLACELESS, &["--plain-peer", &address]].concat());
    herd.report("Bona", "kiwi", "+1-1", "7");
    herd.until_logged("Bona", "peer unreachable peer=Old");
    let kiwi = herd.report("Bona", "kiwi", "+2-2", "8");
    let other = herd.report("Bona", "other", "+2-2", "8");

    let listener = TcpListener::bind(("127.0.0.1", herd.spare_port())).unwrap();
    let heard = [0, 1].map(|_| {
        let (mut socket, _) = listener.accept().unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        text
    });
    assert_eq!(BTreeSet::from(heard), BTreeSet::from([kiwi + "\n", other + "\n"]));
}
