//! Following real servers: what is reported here is an event there, once, whatever breaks.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use herd_web::follow::reader::{Event, Reader};
use herd_web::follow::told::Told;
use rustix::process::Signal;

use super::common::operator::Operator;
use super::common::{Herd, PLACELESS};

/// A stream that is read.
struct Stream {
    stream: TcpStream,
    reader: Reader,
    told: Told,
    events: Vec<Event>,
    head: String,
}

impl Stream {
    /// Follows; `reader` has heard what was told before.
    fn open(herd: &Herd, name: &str, query: &str, reader: Reader) -> Stream {
        let mut stream = TcpStream::connect(("127.0.0.1", herd.web_port(name))).unwrap();
        stream.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let reader = reader.again();
        let last = &reader.last_id;
        let again = if last.is_empty() { "" } else { &format!("Last-Event-ID: {last}\r\n") };
        let head = format!("GET /v1/follow?{query} HTTP/1.1\r\nHost: localhost\r\n{again}\r\n");
        stream.write_all(head.as_bytes()).unwrap();
        let mut head = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while !head.ends_with(b"\r\n\r\n") {
            assert!(Instant::now() < deadline, "no answer");
            let mut byte = [0];
            if stream.read(&mut byte).is_ok_and(|count| count == 1) {
                head.push(byte[0]);
            }
        }
        let head = String::from_utf8(head).unwrap();
        Stream { stream, reader, told: Told::default(), events: Vec::new(), head }
    }

    /// Reads until something is so, or the stream ends.
    fn until(&mut self, what: &str, holds: impl Fn(&Stream) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        let mut piece = [0; 64 * 1024];
        while !holds(self) {
            assert!(Instant::now() < deadline, "{what}: {:?}", self.events);
            match self.stream.read(&mut piece) {
                Ok(0) => panic!("{what}: it has ended: {:?}", self.events),
                Ok(count) => {
                    for event in self.reader.take(&piece[..count]) {
                        self.told.take(&event).unwrap();
                        self.events.push(event);
                    }
                }
                Err(_) => {}
            }
        }
    }

    fn until_ready(&mut self) {
        self.until("ready", |it| it.events.iter().any(|event| event.name == "ready"));
    }

    fn knows(&self, client: &str, place: &str) -> bool {
        self.told.clients.get(client).is_some_and(|known| known == place)
    }

    /// How often it heard about a client.
    fn times(&self, client: &str) -> usize {
        let named = format!("[\"{client}\",");
        self.events.iter().map(|event| event.data.matches(&named).count()).sum()
    }
}

/// Goal: what is reported to one server is an event at another, for those who want to know.
#[test]
fn what_is_reported_here_is_an_event_there() {
    let herd = Herd::running("2023", PLACELESS);
    herd.until_joined();
    herd.report("Bailey", "jane/phone", "+60.1699+024.9384", "1520023934");
    herd.until_all_hold("jane/phone", &herd.held("Bailey", "jane/phone").unwrap());
    let open = |query| Stream::open(&herd, "Clark", query, Reader::default());
    let mut all = open("every=50");
    let mut jane = open("prefix=jane%2F&every=50");
    let mut kiwi = open("id=kiwi&every=50");
    let mut depot = open("fence=depot:24.9,60.1,25,60.2&every=50");
    for stream in [&mut all, &mut jane, &mut kiwi, &mut depot] {
        stream.until_ready();
        for header in ["Content-Type: text/event-stream", "X-Accel-Buffering: no"] {
            assert!(stream.head.contains(header), "{}", stream.head);
        }
        assert_eq!(stream.reader.retry_ms, Some(2_000));
    }
    assert_eq!(depot.told.inside.iter().collect::<Vec<_>>(), ["jane/phone"]);
    herd.report("Bailey", "kiwi", "+60.1500+024.9500", "1520023935.25");
    herd.report("Campbell", "jane/phone", "+61.1699+024.9384", "1520023936");
    for stream in [&mut all, &mut kiwi] {
        stream.until("kiwi", |it| it.knows("kiwi", "24.95,60.15,1520023935.25"));
    }
    for stream in [&mut all, &mut jane] {
        stream.until("jane", |it| it.knows("jane/phone", "24.9384,61.1699,1520023936"));
    }
    depot.until("both crossings", |it| it.told.crossings.len() == 3);
    assert_eq!(depot.told.inside.iter().collect::<Vec<_>>(), ["kiwi"]);
    assert_eq!((jane.told.clients.len(), kiwi.told.clients.len()), (1, 1));
    let mut phone = Operator::connect(herd.web_port("Clark"));
    for (query, why) in [("bbox=1", "four degrees"), ("colour=red", "follow knows")] {
        let reply = phone.get(&format!("/v1/follow?{query}"));
        assert!(reply.status == 400 && reply.body.contains(why), "{reply:?}");
    }
    let metrics = Operator::connect(herd.operators_port("Clark")).get("/metrics").body;
    assert!(metrics.contains("herd_web_followers 4"), "{metrics}");
}

/// Goal: after a break, each change is told once; after a kill and a restart, everything is, and
/// the follower knows that it is.
#[test]
fn a_broken_stream_goes_on() {
    let mut herd = Herd::running("2023", PLACELESS);
    herd.until_joined();
    for client in 0..50 {
        herd.report("Bailey", &format!("c{client}"), "+60+024", "1520023934");
    }
    let mut stream = Stream::open(&herd, "Bailey", "every=50", Reader::default());
    stream.until_ready();
    assert_eq!(stream.told.clients.len(), 50);
    for round in 0..3 {
        stream.stream.shutdown(Shutdown::Both).unwrap();
        for second in 0..5 {
            for client in 0..7 {
                let time = (1_520_024_000 + 10 * round + second).to_string();
                herd.report("Bailey", &format!("c{client}"), "+61+025", &time);
            }
        }
        let told = stream.told;
        stream = Stream::open(&herd, "Bailey", "every=50", stream.reader);
        stream.told = told;
        herd.report("Bailey", "last", "+61+025", &(1_520_024_000 + round).to_string());
        stream.until("the last", |it| it.times("last") == 1);
        assert!(stream.events[0].data.contains("\"resumed\":true"), "{:?}", stream.events);
        assert_eq!((0..50).map(|at| stream.times(&format!("c{at}"))).sum::<usize>(), 7);
        assert_eq!(stream.told.clients.len(), 51);
    }
    herd.kill("Bailey");
    herd.start("Bailey", PLACELESS);
    herd.until_joined();
    herd.until_all_hold("c49", &herd.held("Clark", "c49").unwrap());
    let told = stream.told;
    stream = Stream::open(&herd, "Bailey", "every=50", stream.reader);
    stream.told = told;
    stream.until("everything", |it| !it.events.is_empty() && it.told.clients.len() == 51);
    assert!(stream.events[0].data.contains("\"resumed\":false"), "{:?}", stream.events);
    // A server that stops says so, and waits for nobody.
    herd.signal("Bailey", Signal::TERM);
    stream.until("bye", |it| it.events.iter().any(|event| event.name == "bye"));
    assert_eq!(stream.reader.retry_ms, Some(500));
    drop(stream);
    herd.ended("Bailey");
}
