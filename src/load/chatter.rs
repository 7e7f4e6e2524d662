//! What a load sends, and what it must receive: requests by their numbers, in each protocol.
//!
//! It is pure and knows no connections, so that a request can be made again when its answer has
//! come: a number says all. Making one is a copy of a template with a few digits changed, because
//! at two million requests a second there is no time to format them.

use std::ops::Range;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

/// More clients than this would need longer names, and so other requests.
pub const CLIENTS_MAX: u64 = 1_000_000;

/// Odd, without a pattern: the multiplier of `shuffled`.
const MIXER: u64 = 0x9e37_79b9_7f4a_7c15;

const ID: &str = "client-000000.example.org";
/// Where the digits stand in it.
const ID_DIGITS: std::ops::Range<usize> = 7..13;
/// Where NATS acknowledges; each caller has its own.
const INBOX: &str = "inbox-000000";
const POSITION: &str = "+34.068930-118.445127";
/// Seconds and nanoseconds: both are spelled anew for each request.
const TIME: &str = "0000000000.000000000";
const SECOND_DIGITS: usize = 10;

/// The protocols that can be spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// IAMAT and WHATSAT.
    Herd,
    /// Redis, which keeps position and time under the client's id.
    RedisSet,
    /// Redis, which keeps the position in an index that can be searched.
    RedisGeoadd,
    /// memcached, as `RedisSet`.
    Memcached,
    /// NATS, which adds each report to a stream of JetStream and acknowledges it.
    Jetstream,
    /// etcd, which keeps position and time under the client's id; by HTTP, as its version 2 has it.
    Etcd,
}

impl Dialect {
    /// Whether `line`, without its newline, is no complaint.
    pub fn is_content(self, line: &[u8]) -> bool {
        match self {
            Dialect::Herd => line.first_chunk() == Some(b"AT "),
            Dialect::RedisSet => line == b"+OK\r",
            Dialect::RedisGeoadd => line == b":0\r" || line == b":1\r",
            Dialect::Memcached => line == b"STORED\r",
            Dialect::Jetstream => line.starts_with(b"{\"stream\":"),
            Dialect::Etcd => line.starts_with(b"{\"action\":\"set\""),
        }
    }

    /// Whether `line`, without its newline, is no answer: it stands before one, or is of another
    /// matter.
    pub fn is_beside(self, line: &[u8]) -> bool {
        let begins_with_one = |words: &[&[u8]]| words.iter().any(|word| line.starts_with(word));
        match self {
            Dialect::Jetstream => begins_with_one(&[b"MSG ", b"INFO ", b"PING\r"]),
            Dialect::Etcd => {
                let is_header = || line.first() != Some(&b'{') && memmem(line, b": ");
                line == b"\r" || line.starts_with(b"HTTP/1.1 20") || is_header()
            }
            _ => false,
        }
    }

    fn template(self) -> String {
        let value = format!("{POSITION} {TIME}");
        let bulk = |text: &str| format!("${}\r\n{text}\r\n", text.len());
        let command = |words: &[&str]| {
            let words: Vec<_> = words.iter().map(|word| bulk(word)).collect();
            format!("*{}\r\n{}", words.len(), words.concat())
        };
        match self {
            Dialect::Herd => format!("IAMAT {ID} {value}\n"),
            Dialect::RedisSet => command(&["SET", ID, &value]),
            Dialect::RedisGeoadd => {
                // A position that did not change would cost less than one that did.
                command(&["GEOADD", "clients", "-118.445127", "34.000000000", ID])
            }
            Dialect::Memcached => format!("set {ID} 0 0 {}\r\n{value}\r\n", value.len()),
            Dialect::Jetstream => {
                let report = format!("{ID} {value}");
                format!("PUB reports {INBOX} {}\r\n{report}\r\n", report.len())
            }
            Dialect::Etcd => {
                let form = format!("value={value}");
                format!(
                    "PUT /v2/keys/{ID} HTTP/1.1\r\nHost: etcd\r\nContent-Type: \
                     application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{form}",
                    form.len()
                )
            }
        }
    }
}

fn memmem(line: &[u8], part: &[u8]) -> bool {
    line.windows(part.len()).any(|window| window == part)
}

/// Gives requests and checks answers.
pub struct Chatter {
    dialect: Dialect,
    clients: Range<u64>,
    /// So many of a hundred requests are WHATSATs.
    whatsat_percent: u64,
    template: Vec<u8>,
    id_at: usize,
    /// Where the digits of the caller stand, if the protocol must know who asks.
    caller_at: Option<usize>,
    /// The seconds that the template shows, and where, if the protocol has any.
    second: u64,
    second_at: Option<usize>,
    /// Nine digits that are different for each request.
    fraction_at: usize,
    /// Request 0 was made at this time, and each further one a nanosecond later: so a client's
    /// requests are always newer than its last, also than those of an earlier load.
    began_posix_ns: u64,
    spare: Vec<u8>,
}

const FRACTION_DIGITS: usize = 9;
const FRACTION: u64 = 1_000_000_000;

impl Chatter {
    /// It sends reports only, until `WHATSAT`s are asked for.
    pub fn new(dialect: Dialect, clients: Range<u64>) -> Chatter {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let template = dialect.template();
        let found = |part: &str| template.find(part);
        let (second_at, fraction_at) = match found(TIME) {
            Some(at) => (Some(at), at + SECOND_DIGITS + 1),
            None => (None, found(".000000000").map_or(0, |at| at + 1)),
        };
        Chatter {
            dialect,
            clients,
            whatsat_percent: 0,
            id_at: found(ID).unwrap_or_default(),
            caller_at: found(INBOX).map(|at| at + INBOX.len() - ID_DIGITS.len()),
            second: 0,
            second_at,
            fraction_at,
            began_posix_ns: u64::try_from(since_1970.as_nanos()).unwrap_or_default(),
            template: template.into_bytes(),
            spare: Vec::new(),
        }
    }

    /// What caller `place` says before its first request.
    pub fn greeting(&self, place: usize) -> String {
        match self.dialect {
            Dialect::Jetstream => format!(
                "CONNECT {{\"verbose\":false}}\r\nSUB {}{place:06} 1\r\n",
                &INBOX[..INBOX.len() - ID_DIGITS.len()]
            ),
            _ => String::new(),
        }
    }

    /// The requests that are written from now on are those of caller `place`.
    pub fn speak_for(&mut self, place: usize) {
        if let Some(at) = self.caller_at {
            spell(place as u64, &mut self.template[at..][..ID_DIGITS.len()]);
        }
    }

    /// From now on, so many of a hundred requests are WHATSATs.
    pub fn ask_for_places(&mut self, percent: u64) {
        self.whatsat_percent = percent;
    }

    /// The client that sends request `number`. All of them speak before one speaks again, and each
    /// time in another order: a server that keeps clients in the order in which they came must not
    /// find them in that order ever after, or its cache would know which is next.
    fn client_of(&self, number: u64) -> u64 {
        let count = self.clients.end - self.clients.start;
        self.clients.start + shuffled(number % count, number / count, count)
    }

    /// Whether request `number` is a WHATSAT. They are spread evenly.
    pub fn is_question(&self, number: u64) -> bool {
        let percent = self.whatsat_percent;
        percent > 0 && number % 100 * percent / 100 != (number % 100 + 1) * percent / 100
    }

    /// Appends request `number`. A WHATSAT asks for the client of the report `known`.
    pub fn write(&mut self, number: u64, known: u64, out: &mut Vec<u8>) {
        if self.is_question(number) {
            self.write_question(known, out);
        } else {
            self.write_report(number, out);
        }
    }

    /// Appends request `number` as a report, even where a WHATSAT is due.
    pub fn write_report(&mut self, number: u64, out: &mut Vec<u8>) {
        let posix_ns = self.began_posix_ns + number;
        let second = posix_ns / FRACTION;
        if let Some(at) = self.second_at.filter(|_| second != self.second) {
            let digits = format!("{second:0SECOND_DIGITS$}");
            self.template[at..][..SECOND_DIGITS].copy_from_slice(digits.as_bytes());
            self.second = second;
        }
        let client = self.client_of(number);
        let start = out.len();
        out.extend_from_slice(&self.template);
        let request = &mut out[start..];
        spell(client, &mut request[self.id_at..][ID_DIGITS]);
        spell(posix_ns % FRACTION, &mut request[self.fraction_at..][..FRACTION_DIGITS]);
    }

    fn write_question(&self, known: u64, out: &mut Vec<u8>) {
        let mut id = ID.as_bytes().to_vec();
        spell(self.client_of(known), &mut id[ID_DIGITS]);
        out.extend_from_slice(b"WHATSAT ");
        out.extend_from_slice(&id);
        out.extend_from_slice(b" 10 5\n");
    }

    pub fn is_content(&self, line: &[u8]) -> bool {
        self.dialect.is_content(line)
    }

    pub fn is_beside(&self, line: &[u8]) -> bool {
        self.dialect.is_beside(line)
    }

    /// Whether `line`, which is no complaint, answers the report `number` and no other. Only a herd
    /// says which it answers.
    pub fn is_answer(&mut self, number: u64, line: &[u8]) -> bool {
        if self.dialect != Dialect::Herd {
            return true;
        }
        let mut request = std::mem::take(&mut self.spare);
        request.clear();
        self.write_report(number, &mut request);
        let operands = request["IAMAT".len()..].trim_ascii_end();
        let is_answer = line.ends_with(operands);
        self.spare = request;
        is_answer
    }
}

/// Where `place` of `count` lies in shuffle number `shuffle`; no two places lie at one.
fn shuffled(place: u64, shuffle: u64, count: u64) -> u64 {
    let bits = count.next_power_of_two().trailing_zeros();
    let (mask, half) = ((1 << bits) - 1, (bits / 2).max(1));
    let key = (shuffle + 1).wrapping_mul(MIXER);
    let mut at = place;
    // Each step can be undone, so numbers below a power of two are only moved about. One that lands
    // outside is moved on until it is inside.
    loop {
        for part in [8, 21, 34, 47] {
            at = (at ^ key >> part).wrapping_mul(MIXER) & mask;
            at ^= at >> half;
        }
        if at < count {
            return at;
        }
    }
}

/// All numbers of three digits: dividing by ten for each digit would be most of a request's cost.
static THREE_DIGITS: [[u8; 3]; 1_000] = {
    let mut table = [[0; 3]; 1_000];
    let mut number = 0;
    while number < table.len() {
        let [hundreds, tens] = [number / 100, number / 10 % 10];
        table[number] = [b'0' + hundreds as u8, b'0' + tens as u8, b'0' + (number % 10) as u8];
        number += 1;
    }
    table
};

/// Spells the last digits of `number`, as many as there is room for: a multiple of three.
fn spell(mut number: u64, digits: &mut [u8]) {
    for three in digits.as_rchunks_mut().1.iter_mut().rev() {
        *three = THREE_DIGITS[(number % 1_000) as usize];
        number /= 1_000;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::*;

    fn request(chatter: &mut Chatter, number: u64) -> String {
        let mut out = Vec::new();
        chatter.write(number, 0, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn requests_are_well_formed_in_every_dialect() {
        let check = |dialect, expected: &str| {
            let mut chatter = Chatter::new(dialect, 0..1_000);
            chatter.began_posix_ns = 1_520_023_934_999_999_998;
            let client = format!("{:06}", chatter.client_of(0));
            assert_eq!(request(&mut chatter, 0).replace(&client, "000000"), *expected);
            // The template's second must not outlive its second, nor be late with the next.
            let later = request(&mut chatter, 2);
            assert_eq!(later.contains("1520023935.000000000"), dialect != Dialect::RedisGeoadd);
        };
        let value = "+34.068930-118.445127 1520023934.999999998";
        check(Dialect::Herd, &format!("IAMAT client-000000.example.org {value}\n"));
        let set = "*3\r\n$3\r\nSET\r\n$25\r\nclient-000000.example.org\r\n$42\r\n";
        check(Dialect::RedisSet, &format!("{set}{value}\r\n"));
        let geoadd = "*5\r\n$6\r\nGEOADD\r\n$7\r\nclients\r\n$11\r\n-118.445127\r\n";
        let rest = "$12\r\n34.999999998\r\n$25\r\nclient-000000.example.org\r\n";
        check(Dialect::RedisGeoadd, &format!("{geoadd}{rest}"));
        let set = "set client-000000.example.org 0 0 42\r\n";
        check(Dialect::Memcached, &format!("{set}{value}\r\n"));
        let publish = "PUB reports inbox-000000 68\r\nclient-000000.example.org ";
        check(Dialect::Jetstream, &format!("{publish}{value}\r\n"));
        let put = "PUT /v2/keys/client-000000.example.org HTTP/1.1\r\nHost: etcd\r\nContent-Type: \
                   application/x-www-form-urlencoded\r\nContent-Length: 48\r\n\r\nvalue=";
        check(Dialect::Etcd, &format!("{put}{value}"));
    }

    #[test]
    fn each_caller_of_nats_has_an_inbox() {
        let mut chatter = Chatter::new(Dialect::Jetstream, 0..10);
        assert_eq!(chatter.greeting(7), "CONNECT {\"verbose\":false}\r\nSUB inbox-000007 1\r\n");
        chatter.speak_for(7);
        assert!(request(&mut chatter, 0).starts_with("PUB reports inbox-000007 68\r\n"));
        let mut other = Chatter::new(Dialect::Memcached, 0..10);
        let before = request(&mut other, 0);
        other.speak_for(7);
        assert_eq!(other.greeting(7) + &request(&mut other, 0), before);
    }

    #[test]
    fn every_client_speaks_and_each_time_is_newer() {
        let mut chatter = Chatter::new(Dialect::Herd, 500..1_500);
        let lines: Vec<_> = (0..1_000).map(|number| request(&mut chatter, number)).collect();
        let ids: BTreeSet<_> = lines.iter().map(|line| line[6..31].to_owned()).collect();
        let all = (500..1_500).map(|client| format!("client-{client:06}.example.org"));
        assert!(ids.into_iter().eq(all));
        let times = lines.iter().map(|line| line[54..].to_owned());
        assert!(times.is_sorted_by(|one, next| one < next));
    }

    /// Method: the distance from each client to the one after it, in the order of the first time. A
    /// prefetcher learns distances that repeat.
    #[test]
    fn clients_speak_in_another_order_each_time() {
        for count in [1, 2, 3, 1_000, 1_024, 1_025] {
            let mut chatter = Chatter::new(Dialect::Herd, 7..7 + count);
            chatter.began_posix_ns = 0;
            let turn = |time: u64| (0..count).map(move |place| time * count + place);
            let first: Vec<_> = turn(0).map(|number| chatter.client_of(number)).collect();
            for time in 1..20 {
                let clients: Vec<_> = turn(time).map(|number| chatter.client_of(number)).collect();
                let all: BTreeSet<_> = clients.iter().copied().collect();
                assert!(all.into_iter().eq(7..7 + count), "{count} clients, time {time}");
                let place = |client| first.iter().position(|it| it == client).unwrap() as i64;
                let places: Vec<_> = clients.iter().map(place).collect();
                let mut distances = BTreeMap::new();
                places.windows(2).for_each(|two| {
                    *distances.entry(two[1] - two[0]).or_insert(0) += 1;
                });
                let most = distances.values().copied().max().unwrap_or(0);
                assert!(count < 1_000 || most <= 15, "{count} clients, time {time}: {most}");
            }
        }
    }

    #[test]
    fn questions_are_as_many_as_was_said() {
        for percent in [0, 1, 30, 50, 99, 100] {
            let mut chatter = Chatter::new(Dialect::Herd, 0..10);
            chatter.ask_for_places(percent);
            let questions = (0..1_000).filter(|number| chatter.is_question(*number)).count();
            assert_eq!(questions as u64, percent * 10);
        }
        let mut chatter = Chatter::new(Dialect::Herd, 0..10);
        chatter.ask_for_places(100);
        let question = format!("WHATSAT client-{:06}.example.org 10 5\n", chatter.client_of(0));
        assert_eq!(request(&mut chatter, 5), question);
    }

    #[test]
    fn answers_are_judged() {
        let mut chatter = Chatter::new(Dialect::Herd, 0..10);
        let operands = request(&mut chatter, 3)[6..].trim_end().to_owned();
        let mut check = |line: &str, is_good| {
            let line = line.as_bytes();
            assert_eq!(chatter.is_content(line) && chatter.is_answer(3, line), is_good, "{line:?}");
        };
        check(&format!("AT Hill +0.1 {operands}"), true);
        check(&format!("? IAMAT {operands}"), false);
        check(&format!("AT Hill +0.1 {operands} "), false);
        check(&format!("AT Hill +0.1 {}", operands.replace("client", "others")), false);
        assert!(Dialect::RedisSet.is_content(b"+OK\r"));
        assert!(Dialect::RedisGeoadd.is_content(b":1\r"));
        assert!(!Dialect::Memcached.is_content(b"SERVER_ERROR out of memory\r"));
    }

    #[test]
    fn what_stands_beside_answers_is_none() {
        let answers = |dialect: Dialect, text: &str| {
            let lines = text.split('\n').filter(|line| !line.is_empty());
            let lines = lines.filter(|line| !dialect.is_beside(line.as_bytes()));
            lines.map(|line| dialect.is_content(line.as_bytes())).collect::<Vec<_>>()
        };
        let greeted = "INFO {\"max_payload\":1}\r\nPING\r\n";
        let kept = "MSG inbox-000001 1 27\r\n{\"stream\":\"R\",\"seq\":1}\r\n";
        let refused = "MSG inbox-000001 1 9\r\n{\"error\":{\"code\":503}}\r\n-ERR 'no'\r\n";
        let all = [greeted, kept, refused].concat();
        assert_eq!(answers(Dialect::Jetstream, &all), [true, false, false]);
        let kept = "HTTP/1.1 200 OK\r\nX-Etcd-Index: 7\r\n\r\n{\"action\":\"set\",\"a\": 1}\n";
        let refused = "HTTP/1.1 400 Bad Request\r\n";
        let unlike = "{\"errorCode\": 300}\n404 page not found\n";
        let all = [kept, refused, unlike].concat();
        assert_eq!(answers(Dialect::Etcd, &all), [true, false, false, false]);
        assert!(!Dialect::Herd.is_beside(b""));
    }
}
