//! The line that a course server wants to hear, and says. The assignment leaves it open what
//! servers say to each other, and so course herds differ in what stands around a report, in the
//! order of its fields, and in what else is there. Apart from `course`, which says when a line is
//! sent and what becomes of one that has come.
//!
//! A frame is written as the line itself, with names in braces where the report's fields stand:
//!
//! ```text
//!   FLOOD 0 AT {server} {skew} {client} {position} {time} {us}
//! ```

use crate::clock::{PosixTime, Skew};
use crate::wire::{Report, is_space};

/// What stands at a place of the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Server,
    Skew,
    Client,
    Position,
    Time,
    /// When `Server` heard it: time and skew together.
    Received,
}

const FIELDS: [(&str, Field); 6] = [
    ("server", Field::Server),
    ("skew", Field::Skew),
    ("client", Field::Client),
    ("position", Field::Position),
    ("time", Field::Time),
    ("received", Field::Received),
];

/// How a course server spells a report.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    parts: Vec<Part>,
    /// The line's words: fields, where a word is one and nothing else.
    words: Vec<Option<Field>>,
    /// The first word, if it has no field.
    first: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Text(Vec<u8>),
    Field(Field),
}

impl Frame {
    /// The frame of a line, which may have a line end. `{us}` and `{peer}` are our name and that
    /// of the course server. `None` if it lacks the client, the position or the time, or has
    /// another name in braces that is none of a field.
    pub fn parse(line: &str, us: &str, peer: &str) -> Option<Frame> {
        let mut parts = Vec::new();
        let mut rest = line;
        while let Some((text, behind)) = rest.split_once('{') {
            let (name, behind) = behind.split_once('}')?;
            parts.push(Part::Text(text.as_bytes().to_vec()));
            parts.push(match name {
                "us" => Part::Text(us.as_bytes().to_vec()),
                "peer" => Part::Text(peer.as_bytes().to_vec()),
                _ => Part::Field(FIELDS.iter().find(|(known, _)| *known == name)?.1),
            });
            rest = behind;
        }
        parts.push(Part::Text(rest.as_bytes().to_vec()));
        let has = |field| parts.contains(&Part::Field(field));
        if ![Field::Client, Field::Position, Field::Time].into_iter().all(has) {
            return None;
        }
        let word = |word: &str| {
            let name = word.strip_prefix('{')?.strip_suffix('}')?;
            FIELDS.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
        };
        let first = line.split_whitespace().next().filter(|first| !first.contains('{'));
        Some(Frame {
            words: line.split_whitespace().map(word).collect(),
            first: first.map(|first| first.as_bytes().to_vec()),
            parts,
        })
    }

    /// Writes the line of a report.
    pub(crate) fn write(&self, report: &Report<'_>, out: &mut Vec<u8>) {
        for part in &self.parts {
            match part {
                Part::Text(text) => out.extend_from_slice(text),
                Part::Field(Field::Server) => out.extend_from_slice(report.server),
                Part::Field(Field::Skew) => out.extend_from_slice(report.skew),
                Part::Field(Field::Client) => out.extend_from_slice(report.client),
                Part::Field(Field::Position) => out.extend_from_slice(report.position),
                Part::Field(Field::Time) => out.extend_from_slice(&report.time),
                Part::Field(Field::Received) => write_received(report, out),
            }
        }
    }

    /// The report of a line that is spelled so, and what stands behind it. Only the first word is
    /// compared: what else stands between the fields may count how far the line has come. `None` as
    /// well if this frame does not say who has heard it and when; such lines are only sent. `skew`
    /// is memory for a skew that has to be calculated.
    pub(crate) fn read<'a>(
        &self,
        line: &'a [u8],
        skew: &'a mut Vec<u8>,
    ) -> Option<(Report<'a>, &'a [u8])> {
        let first = self.first.as_ref()?;
        let mut at = 0;
        let mut next = || {
            at += line[at..].iter().position(|&byte| !is_space(byte))?;
            let word = line[at..].split(|&byte| is_space(byte)).next()?;
            at += word.len();
            Some(word)
        };
        let mut fields = [None; FIELDS.len()];
        for (number, place) in self.words.iter().enumerate() {
            let word = next()?;
            if number == 0 && word != first {
                return None;
            }
            if let Some(field) = place {
                fields[*field as usize] = Some(word);
            }
        }
        let [server, given, client, position, time, received] = fields;
        let skew = match (given, received) {
            (Some(given), _) => given,
            (None, received) => {
                let (stamp, received) = (PosixTime::parse(time?)?, PosixTime::parse(received?)?);
                skew.clear();
                Skew::between(received, stamp).write(skew);
                skew
            }
        };
        let report = Report::parse(&[server?, skew, client?, position?, time?])?;
        Some((report, &line[at..]))
    }
}

/// Writes when a server heard a report; the client's time, if its skew cannot be added to that.
fn write_received(report: &Report<'_>, out: &mut Vec<u8>) {
    let Some(received) = PosixTime::heard_at(report.stamp, report.skew) else {
        return out.extend_from_slice(&report.time);
    };
    // A time is what a skew since 1970 is, without its sign.
    let sign = out.len();
    Skew::between(received, PosixTime::new(0, 0)).write(out);
    out.remove(sign);
}

#[cfg(test)]
mod tests {
    use super::*;

    const AT: &str = "AT Hill +0.500000000 kiwi +1-2 1795321086.25";

    fn parse(frame: &str) -> Frame {
        Frame::parse(frame, "Bona", "{client}").unwrap()
    }

    fn written(frame: &str) -> String {
        let mut out = Vec::new();
        parse(frame).write(&Report::of_line(AT.as_bytes()).unwrap(), &mut out);
        String::from_utf8(out).unwrap()
    }

    /// What is written is read again, also with something behind it.
    #[test]
    fn a_report_is_spelled_and_read_in_any_order() {
        let check = |frame: &str, line: &str| {
            assert_eq!(written(frame), line);
            let line = format!(" {}\tBona Clark", line.trim_end());
            let mut skew = Vec::new();
            let (report, behind) = parse(frame).read(line.as_bytes(), &mut skew).unwrap();
            let mut again = Vec::new();
            report.write_at(&mut again);
            assert_eq!((&*again, behind), (AT.as_bytes(), &b"\tBona Clark"[..]), "{frame}");
        };
        check("AT {server} {skew} {client} {position} {time}\r\n", &format!("{AT}\r\n"));
        check("FLOOD 0 AT {server} {skew} {client} {position} {time}", &format!("FLOOD 0 {AT}"));
        check(
            "AT {skew} {server} {client} {position} {time} ['{us}']",
            "AT +0.500000000 Hill kiwi +1-2 1795321086.25 ['Bona']",
        );
        check(
            "PUT {client} {position} {time} {server} {received}",
            "PUT kiwi +1-2 1795321086.25 Hill 1795321086.750000000",
        );
        check(
            "AT {us},{peer} {server} {skew} {client}\t{position} {time}-{client} {time}",
            "AT Bona,{client} Hill +0.500000000 kiwi\t+1-2 1795321086.25-kiwi 1795321086.25",
        );
    }

    #[test]
    fn only_what_has_the_shape_is_read() {
        let check = |frame: &str, line: &str, is_read: bool| {
            let mut skew = Vec::new();
            let frame = parse(frame);
            assert_eq!(frame.read(line.as_bytes(), &mut skew).is_some(), is_read, "{line}");
        };
        let flood = "FLOOD 0 AT {server} {skew} {client} {position} {time}";
        check(flood, "FLOOD 12 AT Hill +0.5 kiwi +1-2 7", true);
        check(flood, "FLOOD 12 AT Hill +0.5 kiwi +1-2", false);
        check(flood, "FLOOD 12 AT Hill +0.5 kiwi +91-2 7", false);
        check(flood, "Flood 12 AT Hill +0.5 kiwi +1-2 7", false);
        check(flood, "", false);
        // Nobody is named who has heard it, or nothing says when.
        check("IAMAT {client} {position} {time}", "IAMAT kiwi +1-2 7", false);
        check("AT {server} {client} {position} {time}", "AT Hill kiwi +1-2 7", false);
        check("{server} {skew} {client} {position} {time}", "Hill +0.5 kiwi +1-2 7", false);
    }

    #[test]
    fn a_frame_has_the_fields_that_make_a_report() {
        for bad in ["", "AT", "{us}", "AT {client} {time}", "AT {client} {position} {time", "{x}"] {
            assert_eq!(Frame::parse(bad, "Bona", "Clark"), None, "{bad}");
        }
    }

    #[test]
    fn a_time_that_cannot_be_calculated_is_the_clients() {
        let line = b"AT Hill -1.5e-05 kiwi +1-2 7.5";
        let mut out = Vec::new();
        let frame = parse("{client} {position} {time} {received}");
        frame.write(&Report::of_line(line).unwrap(), &mut out);
        assert_eq!(out, b"kiwi +1-2 7.5 7.5");
    }
}
