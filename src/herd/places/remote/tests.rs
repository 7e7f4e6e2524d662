//! Remote sources against a service: what they ask byte for byte, and what becomes of its answers,
//! good and bad.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::*;
use crate::config::{Places, PlacesSource, Settings};
use crate::places::Supply;
use herd_core::whatsat::Position;

/// Longer than any good answer takes, however busy the machine is.
const DEADLINE: Duration = Duration::from_secs(60);
/// For services that would never answer.
const SHORT: Duration = Duration::from_millis(300);

/// Needs every kind of escape, and would be recognised wherever it turned up.
const KEY: &str = "AIza top+secret/&=é";

/// Where Google's documentation of the legacy service asks.
const SYDNEY: Question = Question {
    at: Position { latitude: -33.8670522, longitude: 151.1957362 },
    radius_km: 1.5,
    bound: 1,
};

/// Where its documentation of the new one does.
const SAN_FRANCISCO: Question = Question {
    at: Position { latitude: 37.7937, longitude: -122.3965 },
    radius_km: 0.5,
    bound: 10,
};

/// A service on a port of its own that answers one call by `reply` and gives back the request.
fn serve(reply: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let service = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        let head = String::from_utf8(request.clone()).unwrap().to_ascii_lowercase();
        let length = head.split_once("content-length: ").map_or("0", |(_, rest)| rest);
        let length: usize = length.lines().next().unwrap().parse().unwrap();
        let mut body = vec![0; length];
        socket.read_exact(&mut body).unwrap();
        request.extend(body);
        reply(&mut socket);
        String::from_utf8(request).unwrap()
    });
    (base, service)
}

/// A response of which nothing is missing.
fn response(code: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let mut bytes = format!("HTTP/1.1 {code}\r\nContent-Length: {length}\r\n\r\n").into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

fn remote(source: PlacesSource, base: &str, deadline: Duration) -> Remote {
    let url = Some(base.to_owned());
    let places = Places { source, url, deadline, ..Settings::default().places };
    let places = places.complete(Some(Secret::new(KEY.to_owned()))).unwrap();
    match Supply::of(&places).unwrap() {
        Supply::Remote(remote) => remote,
        Supply::Local(_) => panic!("{source:?} is no remote source"),
    }
}

fn ask_within(
    deadline: Duration,
    source: PlacesSource,
    base: &str,
    question: &Question,
) -> (Outcome, String) {
    let mut out = Vec::new();
    let outcome = remote(source, base, deadline).answer(question, &mut out);
    (outcome, String::from_utf8(out).unwrap())
}

fn ask(base: &str) -> String {
    ask_within(DEADLINE, PlacesSource::GoogleLegacy, base, &SYDNEY).1
}

/// What a source answers when the service does, and what it asked.
fn exchange(
    source: PlacesSource,
    question: &Question,
    code: &str,
    body: &str,
) -> (Outcome, String, String) {
    let bytes = response(code, body.as_bytes());
    let (base, service) = serve(move |socket| socket.write_all(&bytes).unwrap());
    let (outcome, answer) = ask_within(DEADLINE, source, &base, question);
    (outcome, answer, service.join().unwrap())
}

/// Asks a service that answers by `reply`; the source must fail with `status` and `message`,
/// without revealing the key or the address.
fn check(reply: impl FnOnce(&mut TcpStream) + Send + 'static, status: &str, message: &str) {
    check_within(DEADLINE, reply, status, message);
}

fn check_within(
    deadline: Duration,
    reply: impl FnOnce(&mut TcpStream) + Send + 'static,
    status: &str,
    message: &str,
) {
    let (base, service) = serve(reply);
    let (_, answer) = ask_within(deadline, PlacesSource::GoogleLegacy, &base, &SYDNEY);
    let mut expected = Vec::new();
    render::failure(status, message, &mut expected);
    assert_eq!(answer, String::from_utf8(expected).unwrap());
    service.join().unwrap();
}

/// `check` for a service that sends `bytes` and hangs up.
fn check_bytes(bytes: Vec<u8>, status: &str, message: &str) {
    // The client may hang up first, when it has read enough.
    check(move |socket| drop(socket.write_all(&bytes)), status, message);
}

/// A request without what changes from run to run: the port, and the version in `user-agent`.
fn spelled(request: &str) -> String {
    let is_fixed = |line: &&str| !line.starts_with("host: ") && !line.starts_with("user-agent: ");
    let lines: Vec<_> = request.split("\r\n").filter(is_fixed).collect();
    assert!(request.contains(concat!("\r\nuser-agent: herd/", env!("CARGO_PKG_VERSION"), "\r\n")));
    lines.join("\n")
}

#[test]
fn the_request_to_google_legacy_is_the_documented_one() {
    let body = "{\"results\":[{\"n\":3},\n\n{}],\n\n\"status\":\"OK\"}\n\n";
    let (outcome, answer, request) = exchange(PlacesSource::GoogleLegacy, &SYDNEY, "200 OK", body);
    let expected = "{\"results\":[{\"n\":3}],\n\"status\":\"OK\"}";
    assert_eq!((outcome, answer.as_str()), (Outcome::Answered, expected));
    let line = "GET /maps/api/place/nearbysearch/json?location=-33.8670522%2C151.1957362\
                &radius=1500&key=AIza%20top%2Bsecret%2F%26%3D%C3%A9 HTTP/1.1";
    assert_eq!(request.lines().next(), Some(line));
}

/// Goal: a client gets the service's status, and nothing of its words, which may hold our address
/// or the key; the operator gets both, without the key.
#[test]
fn a_status_of_the_service_is_passed_on() {
    for code in ["200 OK", "403 Forbidden", "500 Internal Server Error", "302 Found"] {
        for status in ["OVER_QUERY_LIMIT", "REQUEST_DENIED", "INVALID_REQUEST", "SOMETHING_NEW"] {
            let body = format!(
                "{{\"results\":[],\"x\":\"192.0.2.7\",\"error_message\":\"IP\\n192.0.2.7, \
                 {KEY}\",\"status\":\"{status}\"}}\n"
            );
            let bytes = response(code, body.as_bytes());
            let (base, service) = serve(move |socket| socket.write_all(&bytes).unwrap());
            let source = remote(PlacesSource::GoogleLegacy, &base, DEADLINE);
            let mut out = Vec::new();
            assert_eq!(source.answer(&SYDNEY, &mut out), Outcome::Answered);
            let answer: serde_json::Value = serde_json::from_slice(&out).unwrap();
            assert_eq!(answer["status"], status, "{code}");
            assert!(answer["error_message"].as_str().unwrap().starts_with("the places service"));
            assert!(!answer.to_string().contains("192.0.2.7") && !answer.to_string().contains(KEY));
            let told = format!("{status}: IP 192.0.2.7, …");
            assert_eq!(source.trouble(), Some(Trouble::Refusal(told)));
            service.join().unwrap();
        }
    }
}

#[test]
fn refusals_by_http_status() {
    fn check(code: &str, body: &str, status: &str) {
        let message = format!("the places service answered with HTTP status {}", &code[..3]);
        check_bytes(response(code, body.as_bytes()), status, &message);
    }
    check("400 Bad Request", "", "INVALID_REQUEST");
    check("401 Unauthorized", "no", "REQUEST_DENIED");
    check(
        "403 Forbidden",
        "{\"error\":{\"code\":403,\"status\":\"PERMISSION_DENIED\"}}",
        "REQUEST_DENIED",
    );
    check("404 Not Found", "<html>", "UNKNOWN_ERROR");
    check("429 Too Many Requests", "", "OVER_QUERY_LIMIT");
    check("500 Internal Server Error", "{}", "UNKNOWN_ERROR");
    check("302 Found\r\nLocation: http://127.0.0.1:9/", "", "UNKNOWN_ERROR");
}

#[test]
fn other_answers() {
    let not_places = "the places service answered, but not with places";
    check_bytes(response("200 OK", b"<html>"), "UNKNOWN_ERROR", not_places);
    check_bytes(
        response("200 OK", b"{\"status\":\"OK\",\"results\":["),
        "UNKNOWN_ERROR",
        not_places,
    );
    check_bytes(response("200 OK", b"{\"status\":\"\xff\"}"), "UNKNOWN_ERROR", not_places);
    check_bytes(response("204 No Content", b""), "UNKNOWN_ERROR", not_places);

    let large = "the places service answered with more than 2097152 bytes";
    check_bytes(response("200 OK", &vec![b' '; 3 << 20]), "UNKNOWN_ERROR", large);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    bomb.write_all(&vec![b' '; 3 << 20]).unwrap();
    let bomb = response("200 OK\r\nContent-Encoding: gzip", &bomb.finish().unwrap());
    check_bytes(bomb, "UNKNOWN_ERROR", large);

    let mut cut_off = response("200 OK", b"{\"results\":[],\"status\":\"OK\"}");
    cut_off.pop();
    let message = "the places service failed: unexpected end of file";
    check_bytes(cut_off, "UNKNOWN_ERROR", message);
    check_bytes(Vec::new(), "UNKNOWN_ERROR", message);
    let no_http = "the places service does not speak HTTP as it should";
    check_bytes(b"220 smtp ready\r\n\r\n".to_vec(), "UNKNOWN_ERROR", no_http);
}

#[test]
fn silence_ends_at_the_deadline() {
    let late = "the places service did not answer in time";
    let until_closed = |socket: &mut TcpStream| drop(socket.read_to_end(&mut Vec::new()));
    check_within(SHORT, until_closed, "UNKNOWN_ERROR", late);
    let drip = |socket: &mut TcpStream| {
        let _ = socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n");
        // At most two seconds; it ends when the client has hung up.
        for _ in 0..100 {
            thread::sleep(Duration::from_millis(20));
            if socket.write_all(b" ").is_err() {
                break;
            }
        }
    };
    check_within(SHORT, drip, "UNKNOWN_ERROR", late);
}

#[test]
fn nobody_listens() {
    // A port that was just free: nothing takes it in the moment between.
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let answer = ask(&base);
    assert!(answer.contains("the places service failed: connection refused"), "{answer}");
}

#[test]
fn shutdown_ends_a_call_in_flight() {
    let (told, heard) = std::sync::mpsc::channel();
    let (base, service) = serve(move |socket| {
        told.send(()).unwrap();
        let _ = socket.read_to_end(&mut Vec::new());
    });
    let source = remote(PlacesSource::GoogleLegacy, &base, Duration::from_secs(60));
    let mut out = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| source.answer(&SYDNEY, &mut out));
        heard.recv().unwrap();
        source.shutdown();
    });
    let answer = String::from_utf8(out).unwrap();
    assert!(answer.contains("\"UNKNOWN_ERROR\",\"error_message\":\"the places service failed: "));
    service.join().unwrap();
}

#[test]
fn the_request_to_google_new_is_the_documented_one() {
    let body = r#"{"places":[
        {"id":"ChIJ2","location":{"latitude":37.8,"longitude":-122.4},
         "displayName":{"text":"Later \"é\"","languageCode":"en"},"types":["bar","cafe"]},
        {"id":"ChIJ1","location":{"latitude":37.794,"longitude":-122.4},
         "displayName":{"text":"First"},"shortFormattedAddress":"1 Road, Town"}]}"#;
    let (outcome, answer, request) =
        exchange(PlacesSource::GoogleNew, &SAN_FRANCISCO, "200 OK", body);
    assert_eq!(
        spelled(&request),
        format!(
            "POST /v1/places:searchNearby HTTP/1.1\n\
             accept-encoding: gzip\n\
             content-length: 151\n\
             accept: */*\n\
             x-goog-fieldmask: places.id,places.displayName,places.location,places.types,\
             places.shortFormattedAddress\n\
             x-goog-api-key: {KEY}\n\
             content-type: application/json\n\
             \n\
             {{\"maxResultCount\":10,\"locationRestriction\":{{\"circle\":{{\"center\":\
             {{\"latitude\":37.7937,\"longitude\":-122.3965}},\"radius\":500.0}}}},\
             \"rankPreference\":\"DISTANCE\"}}"
        )
    );
    let expected = r#"{
   "html_attributions" : [
      "Google Maps"
   ],
   "results" : [
      {
         "geometry" : {
            "location" : {
               "lat" : 37.794,
               "lng" : -122.4
            }
         },
         "name" : "First",
         "place_id" : "ChIJ1",
         "types" : [],
         "vicinity" : "1 Road, Town"
      },
      {
         "geometry" : {
            "location" : {
               "lat" : 37.8,
               "lng" : -122.4
            }
         },
         "name" : "Later \"é\"",
         "place_id" : "ChIJ2",
         "types" : [
            "bar",
            "cafe"
         ],
         "vicinity" : ""
      }
   ],
   "status" : "OK"
}"#;
    assert_eq!((outcome, answer.as_str()), (Outcome::Answered, expected));
}

#[test]
fn google_new_takes_no_zeros() {
    let question = Question { radius_km: 0.0, bound: 0, ..SAN_FRANCISCO };
    let body = "{\"places\":[{\"id\":\"x\",\"location\":{}}]}";
    let (_, answer, request) = exchange(PlacesSource::GoogleNew, &question, "200 OK", body);
    assert!(request.contains("{\"maxResultCount\":1,") && request.contains("\"radius\":0.1}"));
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert_eq!((&answer["results"], &answer["status"]), (&serde_json::json!([]), &"OK".into()));
}

#[test]
fn what_google_new_refuses_has_a_legacy_status() {
    fn check(code: &str, body: &str, outcome: Outcome, status: &str) {
        let (seen, answer, _) = exchange(PlacesSource::GoogleNew, &SAN_FRANCISCO, code, body);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((seen, &answer["status"]), (outcome, &status.into()), "{code} {body}");
        assert_eq!(answer["results"], serde_json::json!([]));
    }
    let refusal = format!("{{\"error\":{{\"code\":403,\"message\":\"Consumer api_key:{KEY}\"}}}}");
    check("200 OK", "{}", Outcome::Answered, "ZERO_RESULTS");
    check("200 OK", "{\n}\n", Outcome::Answered, "ZERO_RESULTS");
    check("400 Bad Request", &refusal, Outcome::Answered, "INVALID_REQUEST");
    check("403 Forbidden", &refusal, Outcome::Answered, "REQUEST_DENIED");
    check("429 Too Many Requests", &refusal, Outcome::Answered, "OVER_QUERY_LIMIT");
    check("503 Service Unavailable", &refusal, Outcome::Failed, "UNKNOWN_ERROR");
    check("403 Forbidden", "<html>", Outcome::Failed, "REQUEST_DENIED");
    check("302 Found\r\nLocation: http://127.0.0.1:9/", "{}", Outcome::Failed, "UNKNOWN_ERROR");
    check("200 OK", "<html>", Outcome::Failed, "UNKNOWN_ERROR");
    check("200 OK", "{\"login\":\"please\"}", Outcome::Failed, "UNKNOWN_ERROR");
    check("200 OK", "{\"places\":[{}]}", Outcome::Answered, "ZERO_RESULTS");
    check("200 OK", "{\"places\":{}}", Outcome::Failed, "UNKNOWN_ERROR");
    check("200 OK", "{\"places\":[", Outcome::Failed, "UNKNOWN_ERROR");
}

/// Nodes and ways near Kamppi, one of them twice, one without a name, one without a position.
const ELEMENTS: &str = r#"{"version":0.6,"generator":"Overpass API","elements":[
    {"type":"node","id":7,"lat":60.171,"lon":24.94,
     "tags":{"name":"Far","shop":"bakery","addr:street":"Katu","addr:housenumber":"1"}},
    {"type":"node","id":8,"lat":60.17,"lon":24.94,"tags":{"amenity":"bench"}},
    {"type":"way","id":9,"center":{"lat":60.1701,"lon":24.94},"nodes":[1,2],
     "tags":{"name":"Near é","amenity":"cafe"}},
    {"type":"relation","id":9,"tags":{"name":"Nowhere","amenity":"cafe"}},
    {"type":"node","id":7,"lat":60.171,"lon":24.94,
     "tags":{"name":"Far","shop":"bakery","addr:street":"Katu","addr:housenumber":"1"}}]}"#;

const KAMPPI: Question =
    Question { at: Position { latitude: 60.17, longitude: 24.94 }, radius_km: 0.4, bound: 20 };

#[test]
fn the_request_to_overpass_is_the_documented_one() {
    let (outcome, answer, request) = exchange(PlacesSource::Overpass, &KAMPPI, "200 OK", ELEMENTS);
    let body = "data=%5Bout%3Ajson%5D%5Btimeout%3A60%5D%3B\
         nwr(around%3A400%2C60.17%2C24.94)\
         %5B~%22%5E(amenity%7Cshop%7Ctourism%7Cleisure%7Coffice%7Ccraft%7Chistoric)\
         %24%22~%22.%22%5D%5Bname%5D%3Bout+tags+center+500%3B";
    assert_eq!(
        spelled(&request),
        format!(
            "POST /api/interpreter HTTP/1.1\n\
             accept-encoding: gzip\n\
             content-length: {}\n\
             accept: */*\n\
             content-type: application/x-www-form-urlencoded\n\
             \n\
             {body}",
            body.len()
        )
    );
    assert_eq!(outcome, Outcome::Answered);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    let credit = answer["html_attributions"][0].as_str().unwrap();
    assert!(credit.contains("OpenStreetMap contributors") && credit.contains("ODbL"), "{credit}");
    let [near, far] = &answer["results"].as_array().unwrap()[..] else { panic!("{answer}") };
    assert_eq!(near["name"], "Near é");
    assert_eq!(near["place_id"], "osm:way/9");
    assert_eq!(near["geometry"]["location"]["lat"], 60.1701);
    assert_eq!(far["place_id"], "osm:node/7");
    assert_eq!(far["types"], serde_json::json!(["bakery", "store"]));
    assert_eq!(far["vicinity"], "Katu 1");
}

#[test]
fn overpass_may_be_busy() {
    fn check(code: &str, body: &str, outcome: Outcome, status: &str) {
        let (seen, answer, _) = exchange(PlacesSource::Overpass, &KAMPPI, code, body);
        let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
        assert_eq!((seen, &answer["status"]), (outcome, &status.into()), "{code} {body}");
    }
    check("200 OK", "{\"elements\":[]}", Outcome::Answered, "ZERO_RESULTS");
    check("429 Too Many Requests", "<html>", Outcome::Failed, "OVER_QUERY_LIMIT");
    check("504 Gateway Timeout", "<html>", Outcome::Failed, "UNKNOWN_ERROR");
    check("400 Bad Request", "<html>", Outcome::Failed, "INVALID_REQUEST");
    check("200 OK", "<html>", Outcome::Failed, "UNKNOWN_ERROR");
    check("200 OK", "{}", Outcome::Failed, "UNKNOWN_ERROR");
    let late = "{\"elements\":[],\"remark\":\"runtime error: Query timed out in \\\"query\\\"\"}";
    check("200 OK", late, Outcome::Failed, "UNKNOWN_ERROR");
}

/// Goal: what OpenStreetMap says is asked once an hour, what Google says every time.
#[test]
fn only_answers_that_may_be_kept_are() {
    fn check(source: PlacesSource, code: &str, body: &str, is_kept: bool) -> String {
        let bytes = response(&format!("{code}\r\nConnection: close"), body.as_bytes());
        let (base, service) = serve(move |socket| socket.write_all(&bytes).unwrap());
        let source = remote(source, &base, DEADLINE);
        let (mut answer, mut recalled) = (Vec::new(), Vec::new());
        source.answer(&KAMPPI, &mut answer);
        service.join().unwrap();
        assert_eq!(source.recall(&KAMPPI, &mut recalled), is_kept, "{code} {body}");
        assert!(recalled == if is_kept { answer.clone() } else { Vec::new() });
        String::from_utf8(answer).unwrap()
    }
    check(PlacesSource::Overpass, "200 OK", ELEMENTS, true);
    check(PlacesSource::Overpass, "429 Too Many Requests", "", false);
    let partial = r#"{"remark":"runtime error: Query timed out","elements":[
        {"type":"node","id":7,"lat":60.171,"lon":24.94,"tags":{"name":"Half"}}]}"#;
    let told = check(PlacesSource::Overpass, "200 OK", partial, false);
    assert!(told.contains("\"Half\""), "half an answer is outcome, and not kept");
    let body = "{\"results\":[],\"status\":\"ZERO_RESULTS\"}";
    check(PlacesSource::GoogleLegacy, "200 OK", body, false);
    check(PlacesSource::GoogleNew, "200 OK", "{}", false);
}

#[test]
fn a_key_in_an_answer_is_not_passed_on() {
    let body = format!("{{\"results\":[{{\"name\":\"{KEY}\"}}],\"status\":\"OK\"}}");
    let (outcome, answer, _) = exchange(PlacesSource::GoogleLegacy, &SYDNEY, "200 OK", &body);
    assert_eq!(outcome, Outcome::Failed);
    assert!(!answer.contains(KEY) && answer.contains("\"UNKNOWN_ERROR\""), "{answer}");
}

/// Goal: an odd element is counted, and says nothing about the service; each protocol tests which
/// ones are odd.
#[test]
fn odd_elements_are_counted() {
    let body = "{\"elements\":[{\"type\":\"node\",\"id\":1,\"lat\":60.17,\"lon\":24.94,\
        \"tags\":{\"name\":\"A\"}},null,7]}";
    let bytes = response("200 OK", body.as_bytes());
    let (base, service) = serve(move |socket| socket.write_all(&bytes).unwrap());
    let source = remote(PlacesSource::Overpass, &base, DEADLINE);
    assert_eq!(source.answer(&KAMPPI, &mut Vec::new()), Outcome::Answered);
    service.join().unwrap();
    assert_eq!((source.skipped(), source.trouble()), (2, None));
}

/// Goal: no answer of a service is longer than answers may be.
#[test]
fn an_answer_has_a_bound() {
    let place = format!("{{\"name\":\"{}\"}}", "x".repeat(90_000));
    let whole = |places: &str| format!("{{\"results\":[{places}],\"status\":\"OK\"}}");
    let (outcome, _, _) = exchange(PlacesSource::GoogleLegacy, &SYDNEY, "200 OK", &whole(&place));
    assert_eq!(outcome, Outcome::Answered);
    let question = Question { bound: 20, ..SYDNEY };
    let two = whole(&format!("{place},{place}"));
    let (outcome, answer, _) = exchange(PlacesSource::GoogleLegacy, &question, "200 OK", &two);
    assert_eq!(outcome, Outcome::Failed);
    assert!(answer.contains("answered at too great a length"), "{}", answer.len());
}

#[test]
fn a_paid_service_needs_a_key() {
    for source in [PlacesSource::GoogleNew, PlacesSource::GoogleLegacy] {
        let stand_in = Places {
            source,
            url: Some("http://127.0.0.1:9".to_owned()),
            ..Settings::default().places
        };
        let mut places = stand_in.complete(None).unwrap();
        assert!(Supply::of(&places).is_ok());
        places.url = None;
        assert_eq!(Supply::of(&places).err(), Some(SourceError::NoKey(source.name())));
    }
}
