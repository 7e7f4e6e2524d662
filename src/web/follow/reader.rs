//! The other end: a stream of events is read, for `herd follow` and for tests.

/// One event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    pub name: String,
    pub data: String,
}

/// What has come of a stream, and what is kept when it breaks.
#[derive(Debug, Default)]
pub struct Reader {
    /// A line that is not whole.
    rest: Vec<u8>,
    event: Event,
    id: String,
    /// The id of the last whole event that had one: to be sent as `Last-Event-ID`.
    pub last_id: String,
    /// Milliseconds after which the far end wants to be asked again.
    pub retry_ms: Option<u64>,
}

impl Reader {
    /// A stream from its beginning, of somebody who has heard others before.
    pub fn again(self) -> Reader {
        let id = self.last_id.clone();
        Reader { id, last_id: self.last_id, retry_ms: self.retry_ms, ..Reader::default() }
    }

    /// Takes what has come, and gives the events that are whole by it.
    pub fn take(&mut self, bytes: &[u8]) -> Vec<Event> {
        let mut events = Vec::new();
        self.rest.extend_from_slice(bytes);
        let rest = std::mem::take(&mut self.rest);
        for line in rest.split_inclusive(|&byte| byte == b'\n') {
            match line.strip_suffix(b"\n") {
                Some(line) => events.extend(self.take_line(line)),
                None => self.rest = line.to_vec(),
            }
        }
        events
    }

    fn take_line(&mut self, line: &[u8]) -> Option<Event> {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if line.is_empty() {
            self.last_id.clone_from(&self.id);
            let event = std::mem::take(&mut self.event);
            return (!event.name.is_empty() || !event.data.is_empty()).then_some(event);
        }
        let (field, value) = line.split_once(':').unwrap_or((&line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "event" => self.event.name = value.to_owned(),
            "data" => {
                if !self.event.data.is_empty() {
                    self.event.data.push('\n');
                }
                self.event.data += value;
            }
            "id" => self.id = value.to_owned(),
            "retry" => self.retry_ms = value.parse().ok().or(self.retry_ms),
            // A comment, or nothing that is known.
            _ => {}
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Goal: events are the same however the stream is cut, and what is not whole is not heard.
    #[test]
    fn a_stream_may_be_cut_anywhere() {
        let text = ":\n\nretry: 2000\nevent: hello\ndata: {}\n\nevent: move\r\ndata: [1]\r\n\
                    id: A.b.7\r\n\r\ndata: x\ndata: y\n\nevent: move\ndata: [2]\nid: A.b.8\n";
        let event = |name: &str, data: &str| Event { name: name.into(), data: data.into() };
        let expected = [event("hello", "{}"), event("move", "[1]"), event("", "x\ny")];
        for size in 1..text.len() {
            let mut reader = Reader::default();
            let mut events = Vec::new();
            for piece in text.as_bytes().chunks(size) {
                events.extend(reader.take(piece));
            }
            assert_eq!(events, expected);
            assert_eq!((&*reader.last_id, reader.retry_ms), ("A.b.7", Some(2_000)));
            let mut again = reader.again();
            assert!(again.take(b"\n\n").is_empty() && again.last_id == "A.b.7");
        }
    }
}
