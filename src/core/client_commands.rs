//! What a client's command does: IAMAT is stored, flooded and answered, WHATSAT is asked of the
//! places, and anything else comes back with a question mark. How a line is read is in `wire`; what
//! is news, and who hears of it, in `reports`.

use std::ops::Range;

use arrayvec::ArrayVec;

use super::Server;
use super::border::{Output, Outputs};
use super::clock::{Now, Skew};
use super::names::{ConnId, Ticket};
use super::reports::flood::ReportLine;
use super::store::{Key, Verdict};
use super::whatsat::Release;
use super::wire::line_buffer::{Line, Lines, Mark};
use super::wire::{self, Command, Iamat, Report};

/// Lines of a client that are looked up together. More cache misses than these cannot be under way
/// at a time (the processor's line-fill buffers).
const LINES_AHEAD: usize = 16;

/// A line that was taken and parsed, and is not yet handled.
struct Ahead<'a> {
    /// The place before it.
    mark: Mark,
    line: &'a [u8],
    command: Command<'a>,
    /// Of the client that it is about, if there is one.
    key: Key,
}

impl Server {
    /// Takes lines until enough is owed to the client or it waits for too many answers.
    ///
    /// Several are taken at once and looked up together (`Store::fetch_ahead`), then handled one
    /// by one, in order; those that cannot be handled yet are given back.
    #[inline(never)]
    pub(crate) fn client_lines(
        &mut self,
        now: Now,
        conn: ConnId,
        lines: &mut Lines<'_>,
        out: &mut Outputs,
    ) {
        let mut ahead = ArrayVec::<Ahead<'_>, LINES_AHEAD>::new();
        loop {
            let is_all = !self.look_ahead(lines, &mut ahead);
            for line in &ahead {
                let is_full = self.waits.hold_if_full(conn);
                if is_full || out.text.len() > lines.room_bytes() {
                    lines.give_back(line.mark);
                    if is_full {
                        lines.pause();
                    }
                    return;
                }
                self.counters.lines_in += 1;
                let answered = self.command(now, conn, line, out);
                if answered && self.settings.close_after_reply {
                    lines.pause();
                    self.ended(now, conn, out);
                    return;
                }
            }
            if is_all {
                return;
            }
            ahead.clear();
        }
    }

    /// Takes as many lines as can be looked up together. Says whether there may be more. Not
    /// inlined, because of register pressure in its caller.
    #[inline(never)]
    fn look_ahead<'a>(
        &self,
        lines: &mut Lines<'a>,
        ahead: &mut ArrayVec<Ahead<'a>, LINES_AHEAD>,
    ) -> bool {
        // Behind an answer that closes the connection, nothing may be taken.
        let lines_max = if self.settings.close_after_reply { 1 } else { LINES_AHEAD };
        while ahead.len() < lines_max && !lines.is_over() {
            let mark = lines.mark();
            if let Some((line, iamat, bytes)) = wire::fast_path::iamat(lines.ahead()) {
                lines.pass(bytes);
                let (command, key) = (Command::Iamat(iamat), self.store.key(iamat.client));
                ahead.push(Ahead { mark, line, command, key });
            } else if let Some((line, command)) = parse_next(lines) {
                let key = command.client().map(|client| self.store.key(client));
                ahead.push(Ahead { mark, line, command, key: key.unwrap_or_default() });
            } else {
                break;
            }
        }
        if ahead.len() > 1 {
            self.store.fetch_ahead::<LINES_AHEAD>(ahead.iter().map(|line| line.key));
        }
        ahead.len() == lines_max
    }

    /// Handles one line of a client. Says whether the line gets an answer, now or later.
    fn command(&mut self, now: Now, conn: ConnId, ahead: &Ahead<'_>, out: &mut Outputs) -> bool {
        match ahead.command {
            Command::Iamat(ref iamat) => self.iamat(now, conn, ahead, iamat, out),
            Command::Whatsat { client, radius, bound } => {
                self.whatsat(now, conn, ahead, (client, radius, bound), out)
            }
            Command::Blank | Command::At(_) | Command::Invalid => {
                self.counters.other_lines += 1;
                let is_blank = matches!(ahead.command, Command::Blank);
                !is_blank
                    && !self.plain_line(now, ahead.line, out)
                    && self.reject(conn, ahead.line, out)
            }
        }
    }

    /// Stores, floods and answers, in this order.
    fn iamat(
        &mut self,
        now: Now,
        conn: ConnId,
        ahead: &Ahead<'_>,
        iamat: &Iamat<'_>,
        out: &mut Outputs,
    ) -> bool {
        let (client, stamp) = (iamat.client, iamat.stamp);
        let heard = self.next_stamp(now, client);
        let skew = Skew::between(heard, stamp);
        if skew.is_negative() && self.is_too_far_ahead(stamp, heard) {
            self.note_ahead(now, conn, stamp.seconds() - heard.seconds(), out);
            return self.reject(conn, ahead.line, out);
        }
        let start = out.text.len();
        self.opening.write(skew, &mut out.text);
        iamat.write_operands(&mut out.text);
        out.text.push(b'\n');
        let client_at = self.opening.fields_len();
        let told = ReportLine { client, client_at, line: [start, out.text.len()], stamp };
        let may_keep = self.may_keep(ahead.key, client, &out.text[start..]);
        if !may_keep || !self.may_introduce(now, conn, client, out) {
            out.text.truncate(start);
            if !may_keep {
                self.note_full(now, out);
            }
            return self.reject(conn, ahead.line, out);
        }
        let verdict = self.accept_report(now, (ahead.key, told), None, out);
        if verdict == Verdict::Stale && self.settings.stale_reply_stored {
            self.show_held(told, out);
            return self.reply(conn, start..out.text.len(), out);
        }
        self.reply(conn, told.range(), out)
    }

    /// Writes what is held of a client over the report that is older, unless it was erased.
    #[cold]
    fn show_held(&self, told: ReportLine<'_>, out: &mut Outputs) {
        if let Some(held) = self.store.find(told.client).filter(|held| !held.is_erasure()) {
            out.text.truncate(told.range().start);
            held.write_line(&mut out.text);
        }
    }

    fn whatsat(
        &mut self,
        now: Now,
        conn: ConnId,
        ahead: &Ahead<'_>,
        (client, radius, bound): (&[u8], &[u8], u8),
        out: &mut Outputs,
    ) -> bool {
        self.counters.whatsats += 1;
        if self.asks_others && !self.is_authority(ahead.key, client) {
            let ticket = self.waits.open(conn, Vec::new());
            self.ask_others(now, ticket, (ahead.key, client, ahead.line), out);
            return true;
        }
        let held = self.store.find(client);
        let Some((held, question)) = held
            .filter(|held| !held.is_erasure() && !self.has_expired(held, now))
            .and_then(|held| Some((held, wire::question(held.position, radius, bound)?)))
        else {
            self.counters.unanswerable += 1;
            return self.reject(conn, ahead.line, out);
        };
        let mut at_line = Vec::with_capacity(held.fields_len() + 4);
        held.write_line(&mut at_line);
        self.journal_held(ahead.key, client, out);
        let ticket = self.waits.open(conn, at_line);
        let timeout = self.settings.answer_timeout;
        out.push(Output::AskPlaces { conn, ticket, question, timeout });
        true
    }

    /// Others were asked about the client of a WHATSAT. The places come next, unless nobody knows
    /// it.
    pub(crate) fn whatsat_answered(
        &mut self,
        ticket: Ticket,
        line: &[u8],
        found: Option<Report<'_>>,
        out: &mut Outputs,
    ) {
        let Some(conn) = self.waits.connection(ticket) else { return };
        let Command::Whatsat { radius, bound, .. } = Command::parse(line) else { return };
        let question = found.and_then(|it| Some((it, wire::question(it.position, radius, bound)?)));
        if let Some((found, question)) = question {
            let mut at_line = Vec::with_capacity(found.line_len());
            found.write_line(&mut at_line);
            self.waits.begin(ticket, at_line);
            let timeout = self.settings.answer_timeout;
            out.push(Output::AskPlaces { conn, ticket, question, timeout });
            return;
        }
        self.counters.unanswerable += 1;
        self.counters.rejected += 1;
        let start = out.text.len();
        let release = self.waits.refuse(ticket, line, &mut out.text);
        self.release(release, start, out);
    }

    fn reject(&mut self, conn: ConnId, line: &[u8], out: &mut Outputs) -> bool {
        self.counters.rejected += 1;
        let start = out.text.len();
        out.text.extend_from_slice(b"? ");
        out.text.extend_from_slice(line);
        out.text.push(b'\n');
        self.reply(conn, start..out.text.len(), out)
    }

    /// Sends a range of the text to the client, behind the answers that it waits for.
    #[inline(always)]
    fn reply(&mut self, conn: ConnId, text: Range<usize>, out: &mut Outputs) -> bool {
        if self.waits.is_waiting(conn) {
            self.waits.queue(conn, &out.text[text]);
        } else {
            out.send(conn, text);
        }
        true
    }

    pub(crate) fn places_arrived(&mut self, ticket: Ticket, body: &[u8], out: &mut Outputs) {
        let start = out.text.len();
        let release = self.waits.close(ticket, body, &mut out.text);
        self.release(release, start, out);
    }

    /// Sends the answers that may leave now, which begin at `start` of the text.
    fn release(&mut self, release: Option<Release>, start: usize, out: &mut Outputs) {
        let Some(release) = release else { return };
        let conn = release.conn;
        if release.answers > 0 {
            out.send(conn, start..out.text.len());
        }
        if release.finished {
            out.push(Output::Close { conn });
        } else if release.resume {
            out.push(Output::ResumeReading { conn });
        }
    }
}

/// The next line, if there is one, and what it means.
#[inline(never)]
fn parse_next<'a>(lines: &mut Lines<'a>) -> Option<(&'a [u8], Command<'a>)> {
    Some(match lines.take()? {
        Line::Whole(line) => (line, Command::parse(line)),
        Line::TooLong(start) => (start, Command::Invalid),
    })
}
