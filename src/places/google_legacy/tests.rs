//! The legacy source against a service that misbehaves.
//!
//! It is apart because the service it asks, a thread with a socket, is as long as the rest.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Instant;

use super::*;
use crate::core::whatsat::Position;

const DEADLINE: Duration = Duration::from_millis(300);

/// Needs every kind of escape, and would be recognised wherever it turned up.
const KEY: &str = "AIza top+secret/&=é";

const UCLA: Question = Question {
    at: Position { latitude: 34.06893, longitude: -118.445127 },
    radius_km: 10.5,
    bound: 1,
};

/// A service on a port of its own that answers one call by `reply` and gives back the head of the
/// request.
fn serve(reply: impl FnOnce(&mut TcpStream) + Send + 'static) -> (String, JoinHandle<String>) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let service = thread::spawn(move || {
        let (mut socket, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).unwrap();
            head.push(byte[0]);
        }
        reply(&mut socket);
        String::from_utf8(head).unwrap()
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

fn ask(base: &str) -> String {
    let source =
        GoogleLegacy::new(Some(base), Some(Secret::new(KEY.to_owned())), DEADLINE).unwrap();
    let mut out = Vec::new();
    source.answer(&UCLA, &mut out);
    String::from_utf8(out).unwrap()
}

/// Asks a service that answers by `reply`; the source must fail with `status` and `message`, in
/// time and without telling the key or the address.
fn check(reply: impl FnOnce(&mut TcpStream) + Send + 'static, status: &str, message: &str) {
    let (base, service) = serve(reply);
    let begin = Instant::now();
    let answer = ask(&base);
    assert!(begin.elapsed() < DEADLINE * 3, "{message}: {:?}", begin.elapsed());
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

#[test]
fn the_request_is_the_documented_one() {
    let body = "{\"results\":[3,\n\n4],\n\n\"status\":\"OK\"}\n\n";
    let bytes = response("200 OK", body.as_bytes());
    let (base, service) = serve(move |socket| socket.write_all(&bytes).unwrap());
    assert_eq!(ask(&base), "{\"results\":[3],\n\"status\":\"OK\"}");
    let head = service.join().unwrap();
    let line = "GET /maps/api/place/nearbysearch/json?location=34.06893%2C-118.445127\
                &radius=10500&key=AIza%20top%2Bsecret%2F%26%3D%C3%A9 HTTP/1.1";
    assert_eq!(head.lines().next(), Some(line));
    let agent = format!("user-agent: herd/{}\r\n", env!("CARGO_PKG_VERSION"));
    assert!(head.to_ascii_lowercase().contains(&agent), "{head}");
}

#[test]
fn a_status_of_the_service_is_passed_on() {
    for code in ["200 OK", "403 Forbidden", "500 Internal Server Error", "302 Found"] {
        let body = "{\n   \"results\" : [],\n   \"status\" : \"OVER_QUERY_LIMIT\"\n}\n";
        let bytes = response(code, body.as_bytes());
        let (base, service) = serve(move |socket| socket.write_all(&bytes).unwrap());
        assert_eq!(ask(&base), body.trim_end(), "{code}");
        service.join().unwrap();
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

    let large = "the places service answered with more than 1048576 bytes";
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
    check(until_closed, "UNKNOWN_ERROR", late);
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
    check(drip, "UNKNOWN_ERROR", late);
}

#[test]
fn nobody_listens() {
    // A port that was just free: nobody takes it in the moment between.
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
    let key = Some(Secret::new(KEY.to_owned()));
    let source = GoogleLegacy::new(Some(&base), key, Duration::from_secs(60)).unwrap();
    let mut out = Vec::new();
    thread::scope(|scope| {
        scope.spawn(|| source.answer(&UCLA, &mut out));
        heard.recv().unwrap();
        source.shutdown();
    });
    let answer = String::from_utf8(out).unwrap();
    assert!(answer.contains("\"UNKNOWN_ERROR\",\"error_message\":\"the places service failed: "));
    service.join().unwrap();
}

#[test]
fn bases() {
    use SourceError::{InTheClear, NotABase};
    fn check(base: &str, expected: Result<&str, SourceError>) {
        assert_eq!(endpoint(base), expected.map(str::to_owned), "{base}");
    }
    const AT_GOOGLE: &str = "https://maps.googleapis.com/maps/api/place/nearbysearch/json";
    check(GOOGLE, Ok(AT_GOOGLE));
    check("https://maps.googleapis.com/", Ok(AT_GOOGLE));
    check(AT_GOOGLE, Ok(AT_GOOGLE));
    check("https://x.test:8443/v/", Ok("https://x.test:8443/v/maps/api/place/nearbysearch/json"));
    check("http://localhost:1/places/json", Ok("http://localhost:1/places/json"));
    check("http://[::1]:1/json", Ok("http://[::1]:1/json"));
    check("http://127.9.9.9/json", Ok("http://127.9.9.9/json"));
    check("http://maps.googleapis.com", Err(InTheClear));
    check("http://127.0.0.1.evil.test", Err(InTheClear));
    check("http://localhost@evil.test", Err(NotABase));
    check("https://x.test/?key=1", Err(NotABase));
    check("https://x.test/#a", Err(NotABase));
    check("ftp://x.test", Err(NotABase));
    check("x.test", Err(NotABase));
    check("/json", Err(NotABase));
    check("", Err(NotABase));
}

#[test]
fn a_key_is_needed() {
    let source = GoogleLegacy::new(None, None, DEADLINE);
    assert_eq!(source.err(), Some(SourceError::NoKey));
}
