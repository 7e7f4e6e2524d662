//! What is said between a client of NATS and a node of it (`nats-server`): text, one operation a
//! line, payloads counted in bytes. Apart because it is a tool: bytes in, whole operations out, and
//! the other way round. What is said by it is in `engine`. The same for versions 2.9 to 2.15.
//!
//! ```text
//!   node   INFO {json}                        client   CONNECT {json}
//!          MSG <subject> <sid> [reply] <n>             PUB <subject> [reply] <n>
//!          <n bytes>                                   <n bytes>
//!          HMSG <subject> <sid> [reply] <h> <n>        SUB <subject> [queue] <sid>   UNSUB <sid>
//!          <h bytes of headers, n in all>              PING   PONG
//!          PING   PONG   +OK   -ERR '<text>'
//! ```
//!
//! Headers are the node's: it says by them that nobody hears what was published with a subject for
//! the reply. Nothing else in them matters to a herd.
//!
//! An operation is read from where the kernel put it. Only what is not whole is kept, to be joined
//! with the next read; what is kept is bounded by the longest operation that is taken.

/// The longest line of a node but INFO; a node itself takes no more by default.
const LINE_BYTES_MAX: usize = 4 * 1024;
/// What the headers begin with by which a node says that nobody hears.
const NO_RESPONDERS: &[u8] = b"NATS/1.0 503";
/// The longest INFO: it lists the addresses of all nodes.
const INFO_BYTES_MAX: usize = 64 * 1024;

/// What a node says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// About itself: the first line, and again when the cluster changes.
    Info(&'a [u8]),
    /// Somebody has published.
    Msg {
        /// To which subject.
        subject: &'a [u8],
        /// What was published.
        payload: &'a [u8],
    },
    /// Nobody wants what was published with this subject for the reply.
    NoResponders {
        /// The subject for the reply.
        subject: &'a [u8],
    },
    /// The same as `Msg`, with more than is taken: it is skipped.
    TooMuch {
        /// To which subject.
        subject: &'a [u8],
    },
    /// Wants a PONG.
    Ping,
    /// All that was said before our PING was read.
    Pong,
    /// Something was taken; a node says so only if it is asked to.
    Ok,
    /// Something was not. Some of these end the connection.
    Err(&'a [u8]),
}

/// The far end does not speak this language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotNats;

/// What has come of an operation that is not whole.
#[derive(Debug)]
pub struct Inbox {
    kept: Vec<u8>,
    /// Bytes of a payload that are still to be thrown away.
    skip: usize,
    payload_max: usize,
}

/// The operations of one read. Give it back to `Inbox::settle`, with the same read.
#[derive(Debug)]
pub struct Ops<'a> {
    bytes: &'a [u8],
    at: usize,
    skip: usize,
    payload_max: usize,
}

/// What was not taken of a read.
#[derive(Clone, Copy, Debug)]
pub struct Rest {
    left: usize,
    skip: usize,
}

impl Inbox {
    /// Takes payloads of up to so many bytes; longer ones are skipped.
    pub fn new(payload_max: usize) -> Inbox {
        Inbox { kept: Vec::new(), skip: 0, payload_max }
    }

    /// The operations of what was kept and of what was just read.
    pub fn ops<'a>(&'a mut self, read: &'a [u8]) -> Ops<'a> {
        let (skip, payload_max) = (self.skip, self.payload_max);
        let bytes = if self.kept.is_empty() {
            read
        } else {
            self.kept.extend_from_slice(read);
            &self.kept
        };
        Ops { bytes, at: 0, skip, payload_max }
    }

    /// Keeps what was not taken.
    pub fn settle(&mut self, read: &[u8], rest: Rest) {
        self.skip = rest.skip;
        if self.kept.is_empty() {
            self.kept.extend_from_slice(&read[read.len() - rest.left..]);
        } else {
            self.kept.drain(..self.kept.len() - rest.left);
        }
    }

    /// Bytes that are kept.
    pub fn kept(&self) -> usize {
        self.kept.len()
    }
}

impl<'a> Ops<'a> {
    /// The next operation, if there is a whole one.
    ///
    /// # Errors
    /// What comes is no operation of a node.
    pub fn take(&mut self) -> Result<Option<Op<'a>>, NotNats> {
        let skipped = self.skip.min(self.bytes.len() - self.at);
        self.at += skipped;
        self.skip -= skipped;
        if self.skip > 0 {
            return Ok(None);
        }
        let rest = &self.bytes[self.at..];
        let Some(newline) = memchr::memchr(b'\n', rest) else {
            return if rest.len() > longest(rest) { Err(NotNats) } else { Ok(None) };
        };
        let line = &rest[..newline];
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.len() > longest(line) {
            return Err(NotNats);
        }
        let (word, operands) = split_word(line);
        let op = match word {
            b"MSG" => return self.msg(newline + 1, operands, false),
            b"HMSG" => return self.msg(newline + 1, operands, true),
            b"PING" => Op::Ping,
            b"PONG" => Op::Pong,
            b"INFO" => Op::Info(operands),
            b"+OK" => Op::Ok,
            b"-ERR" => Op::Err(operands),
            _ => return Err(NotNats),
        };
        self.at += newline + 1;
        Ok(Some(op))
    }

    /// `<subject> <sid> [reply] [headers] <n>`, and behind the line `n` bytes and CR LF.
    fn msg(
        &mut self,
        line_bytes: usize,
        operands: &'a [u8],
        has_headers: bool,
    ) -> Result<Option<Op<'a>>, NotNats> {
        let mut words = operands.split(|&byte| byte == b' ').filter(|word| !word.is_empty());
        let subject = words.next().ok_or(NotNats)?;
        let _sid = words.next().ok_or(NotNats)?;
        let count = words.next_back().and_then(number).ok_or(NotNats)?;
        let headers = if has_headers { words.next_back().and_then(number) } else { Some(0) };
        let headers = headers.filter(|headers| *headers <= count).ok_or(NotNats)?;
        let _reply = words.next();
        if words.next().is_some() {
            return Err(NotNats);
        }
        if count > self.payload_max {
            self.at += line_bytes;
            self.skip = count.saturating_add(2);
            return Ok(Some(Op::TooMuch { subject }));
        }
        let behind_line = &self.bytes[self.at + line_bytes..];
        let Some((bytes, end)) = behind_line.split_at_checked(count) else { return Ok(None) };
        let (headers, payload) = bytes.split_at(headers);
        match end {
            [b'\r', b'\n', ..] => {
                self.at += line_bytes + count + 2;
                let is_unheard = headers.starts_with(NO_RESPONDERS);
                Ok(Some(match is_unheard {
                    true => Op::NoResponders { subject },
                    false => Op::Msg { subject, payload },
                }))
            }
            [] | [b'\r'] => Ok(None),
            _ => Err(NotNats),
        }
    }

    /// What is left, for `Inbox::settle`.
    pub fn rest(&self) -> Rest {
        Rest { left: self.bytes.len() - self.at, skip: self.skip }
    }
}

fn longest(line: &[u8]) -> usize {
    if line.starts_with(b"INFO") { INFO_BYTES_MAX } else { LINE_BYTES_MAX }
}

fn split_word(line: &[u8]) -> (&[u8], &[u8]) {
    match line.iter().position(|byte| matches!(byte, b' ' | b'\t')) {
        Some(end) => (&line[..end], line[end + 1..].trim_ascii()),
        None => (line, &[]),
    }
}

/// Decimal digits, at most nine of them.
fn number(digits: &[u8]) -> Option<usize> {
    let is_number = (1..=9).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    is_number.then(|| digits.iter().fold(0, |sum, digit| 10 * sum + usize::from(digit - b'0')))
}

/// Writes `PUB`: the payload is said to be so many bytes, and must follow, and then CR LF.
pub fn write_pub(subject: &[u8], bytes: usize, out: &mut Vec<u8>) {
    write_words(&[b"PUB", subject], bytes, out);
}

/// Writes `PUB` as `write_pub` does, with a subject on which the node says so if nobody hears it.
pub fn write_pub_asking(subject: &[u8], reply: &[u8], bytes: usize, out: &mut Vec<u8>) {
    write_words(&[b"PUB", subject, reply], bytes, out);
}

/// Writes `SUB`: what is published to the subject is wanted.
pub fn write_sub(subject: &[u8], sid: u32, out: &mut Vec<u8>) {
    write_words(&[b"SUB", subject], sid, out);
}

/// Writes `SUB` for one of a group: each message goes to one of those who say the same.
pub fn write_sub_in_group(subject: &[u8], group: &[u8], sid: u32, out: &mut Vec<u8>) {
    write_words(&[b"SUB", subject, group], sid, out);
}

/// Writes `UNSUB`: what `SUB` wanted is not wanted any more.
pub fn write_unsub(sid: u32, out: &mut Vec<u8>) {
    write_words(&[b"UNSUB"], sid, out);
}

/// Writes words and a number behind them.
fn write_words(words: &[&[u8]], number: impl itoa::Integer, out: &mut Vec<u8>) {
    for word in words {
        out.extend_from_slice(word);
        out.push(b' ');
    }
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    out.extend_from_slice(b"\r\n");
}

/// Whether it can be one token of a subject: letters, digits, `-` and `_` of ASCII.
pub fn is_token(text: &[u8]) -> bool {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_".contains(byte);
    !text.is_empty() && text.len() <= 128 && text.iter().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As 2.9.10 says it.
    const INFO_2_9: &str = "INFO {\"server_id\":\"NCXM\",\"server_name\":\"NCXM\",\
        \"version\":\"2.9.10\",\"proto\":1,\"go\":\"go1.19.8\",\"host\":\"127.0.0.1\",\
        \"port\":4222,\"headers\":true,\"max_payload\":1048576,\"client_id\":4,\
        \"client_ip\":\"127.0.0.1\",\"nonce\":\"lhwO7ZDXdSmbvWo\"} \r\n";
    /// As 2.15.1 says it.
    const INFO_2_15: &str = "INFO {\"server_id\":\"NDAB\",\"server_name\":\"NDAB\",\
        \"version\":\"2.15.1\",\"proto\":1,\"git_commit\":\"1\",\"go\":\"go1.25.1\",\
        \"host\":\"127.0.0.1\",\"port\":4222,\"headers\":true,\"max_payload\":1048576,\
        \"client_id\":5,\"client_ip\":\"127.0.0.1\",\"xkey\":\"XA\"} \r\n";

    fn owned(op: Op<'_>) -> String {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        match op {
            Op::Info(json) => format!("info {}", text(json)),
            Op::Msg { subject, payload } => format!("msg {} {:?}", text(subject), text(payload)),
            Op::TooMuch { subject } => format!("too much {}", text(subject)),
            Op::NoResponders { subject } => format!("nobody {}", text(subject)),
            Op::Err(why) => format!("err {}", text(why)),
            other => format!("{other:?}").to_lowercase(),
        }
    }

    /// What is read of these pieces, up to the first that is no operation.
    fn read(pieces: &[&[u8]], payload_max: usize) -> (Vec<String>, bool) {
        let (mut inbox, mut heard) = (Inbox::new(payload_max), Vec::new());
        for piece in pieces {
            let mut ops = inbox.ops(piece);
            loop {
                match ops.take() {
                    Ok(Some(op)) => heard.push(owned(op)),
                    Ok(None) => break,
                    Err(NotNats) => return (heard, false),
                }
            }
            let rest = ops.rest();
            inbox.settle(piece, rest);
        }
        (heard, true)
    }

    #[test]
    fn operations_of_both_versions() {
        let check = |text: &str, expected: &[&str]| {
            let (heard, is_nats) = read(&[text.as_bytes()], 100);
            assert!(is_nats, "{text}");
            assert_eq!(heard, expected, "{text}");
        };
        for line in [INFO_2_9, INFO_2_15] {
            let json = line.trim_start_matches("INFO ").trim_end();
            check(line, &[&format!("info {json}")]);
        }
        check("PING\r\nPONG\r\n+OK\r\n", &["ping", "pong", "ok"]);
        check("MSG a.b 1 5\r\nhel\r\n\r\n", &["msg a.b \"hel\\r\\n\""]);
        check("MSG a.b 1 reply.to 2\r\nhi\r\nPING\r\n", &["msg a.b \"hi\"", "ping"]);
        check("MSG a 1 0\r\n\r\n", &["msg a \"\""]);
        check("MSG a 1 101\r\n", &["too much a"]);
        let unheard = "HMSG a.b 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\nPONG\r\n";
        check(unheard, &["nobody a.b", "pong"]);
        check("HMSG a 1 r 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", &["msg a \"hi\""]);
        check("HMSG a 1 0 2\r\nhi\r\n", &["msg a \"hi\""]);
        check("HMSG a 1 12 101\r\n", &["too much a"]);
        let why = "-ERR 'Permissions Violation for Publish to \"x\"'\r\n";
        check(why, &["err 'Permissions Violation for Publish to \"x\"'"]);
        check("-ERR 'Authorization Violation'\r\n", &["err 'Authorization Violation'"]);
        let skipped = format!("MSG a 1 101\r\n{}\r\nPONG\r\n", "x".repeat(101));
        check(&skipped, &["too much a", "pong"]);
    }

    #[test]
    fn what_no_node_says() {
        let long = "x".repeat(LINE_BYTES_MAX + 1);
        let none = [
            "HTTP/1.1 400 Bad Request\r\n",
            "MSG a 1\r\n",
            "MSG a 1 -5\r\n",
            "MSG a 1 x\r\n",
            "MSG a 1 9999999999\r\n",
            "MSG a 1 r 2 3\r\nabc\r\n",
            "MSG a 1 2\r\nabc\r\n",
            "HMSG a 1 2\r\nab\r\n",
            "HMSG a 1 3 2\r\nab\r\n",
            "HMSG a 1 r s 1 2\r\nab\r\n",
            "\r\n",
            &long,
        ];
        for text in none {
            assert_eq!(read(&[text.as_bytes()], 100), (vec![], false), "{text}");
        }
    }

    /// Goal: however the network cuts it, the same is heard.
    #[test]
    fn pieces_change_nothing() {
        let text = format!(
            "{INFO_2_9}PING\r\nMSG herd.x.r.0 1 70\r\n{}\r\nMSG s 2 300\r\n{}\r\n\
             -ERR 'x'\r\nHMSG s.7 4 16 16\r\nNATS/1.0 503\r\n\r\n\r\nPONG\r\n",
            "MSG 1\r\n".repeat(10),
            "y".repeat(300),
        );
        let whole = read(&[text.as_bytes()], 100);
        assert_eq!(whole.0.len(), 7);
        for step in [1, 2, 3, 7, 64, 300] {
            let pieces = Vec::from_iter(text.as_bytes().chunks(step));
            assert_eq!(read(&pieces, 100), whole, "pieces of {step}");
        }
    }

    /// Goal: whatever comes, it is read or refused, and what is kept is bounded.
    #[test]
    fn noise_is_bounded() {
        let words: [&[u8]; 12] = [
            b"MSG ", b"PING", b"\r\n", b"\r", b"\n", b" 1 ", b"a.b", b"7", b"INFO {", b"+OK",
            b"-ERR '", b"HMSG ",
        ];
        let mut random = fastrand::Rng::with_seed(17);
        for _ in 0..20_000 {
            let mut inbox = Inbox::new(50);
            'link: for _ in 0..random.usize(1..6) {
                let mut piece = Vec::new();
                for _ in 0..random.usize(0..8) {
                    piece.extend_from_slice(words[random.usize(0..words.len())]);
                    if random.u8(..4) == 0 {
                        piece.push(random.u8(..));
                    }
                }
                let mut ops = inbox.ops(&piece);
                loop {
                    match ops.take() {
                        Ok(Some(Op::Msg { payload, .. })) => assert!(payload.len() <= 50),
                        Ok(Some(_)) => {}
                        Ok(None) => break,
                        Err(NotNats) => break 'link,
                    }
                }
                let rest = ops.rest();
                inbox.settle(&piece, rest);
                assert!(inbox.kept() <= INFO_BYTES_MAX);
            }
        }
    }

    /// PROTOCOL 15.1.
    #[test]
    fn what_we_say() {
        let mut out = Vec::new();
        write_sub(b"herd.2023.r.0", 1, &mut out);
        write_pub(b"herd.2023.r.0", 2, &mut out);
        assert_eq!(out, b"SUB herd.2023.r.0 1\r\nPUB herd.2023.r.0 2\r\n");
        out.clear();
        write_sub_in_group(b"a.q.7", b"h", 9, &mut out);
        write_pub_asking(b"a.q.7", b"a.s.Hill.5", 3, &mut out);
        write_unsub(9, &mut out);
        assert_eq!(out, b"SUB a.q.7 h 9\r\nPUB a.q.7 a.s.Hill.5 3\r\nUNSUB 9\r\n");
        for text in ["Hill", "a-b_c", "2023"] {
            assert!(is_token(text.as_bytes()), "{text}");
        }
        for text in ["", "a.b", "*", ">", "a b", "$SYS", "?", "h\u{e9}"] {
            assert!(!is_token(text.as_bytes()), "{text}");
        }
    }
}
