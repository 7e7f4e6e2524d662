//! How much of the loop goes into handshakes, and what has become of them. A handshake takes as
//! long as fifty requests; a thousand clients that come at once must not make the others wait.
//!
//! ```text
//!   credit  grows by a quarter of the time that passes, up to half a millisecond
//!           shrinks by what each step takes
//! ```
//!
//! A step waits among the unfinished while there is no credit and somebody else has work. If nobody
//! has, it is taken all the same: the loop would only sleep.

use std::time::Duration;

/// Handshakes under way. The next clients wait in the kernel.
pub const PENDING_MAX: usize = 256;

/// Of the loop's time, one part in so many.
const SHARE: u32 = 4;

/// What may be taken at once after a pause: two or three handshakes, which is what one request may
/// wait for them.
const CREDIT_MAX: Duration = Duration::from_micros(500);

/// A debt that is not paid back: what was taken while nobody else had work costs nobody anything.
const DEBT_MAX: Duration = Duration::from_millis(2);

/// One line about handshakes that fail is logged in so long.
const COMPLAIN_EVERY: Duration = Duration::from_secs(60);

/// What has become of a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Done, with a signature.
    Full,
    /// Done, with a ticket of an earlier one.
    Resumed,
    /// The far end speaks TLS, and not as it should, or has shown no certificate that is right.
    Refused,
    /// What has come is no TLS.
    NoTls,
    TimedOut,
    /// The far end has gone.
    Gone,
}

impl Outcome {
    /// All of them, each at its place.
    pub const ALL: [Outcome; 6] = [
        Outcome::Full,
        Outcome::Resumed,
        Outcome::Refused,
        Outcome::NoTls,
        Outcome::TimedOut,
        Outcome::Gone,
    ];

    /// The word for it in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Outcome::Full => "full",
            Outcome::Resumed => "resumed",
            Outcome::Refused => "refused",
            Outcome::NoTls => "no_tls",
            Outcome::TimedOut => "timeout",
            Outcome::Gone => "gone",
        }
    }
}

#[derive(Default)]
pub struct Handshakes {
    /// How many are under way.
    pub pending: usize,
    /// How many have ended, by their outcome.
    pub ended: [u64; Outcome::ALL.len()],
    /// What they may take, less `DEBT_MAX`.
    balance: Duration,
    /// When that was so.
    at: Duration,
    /// When a failure was last logged: a client's, and a peer's.
    complained: [Option<Duration>; 2],
}

impl Handshakes {
    /// Whether there is room for another one.
    pub fn has_room(&self) -> bool {
        self.pending < PENDING_MAX
    }

    /// Whether a door that was full may be opened: not for each one that ends.
    pub fn has_much_room(&self) -> bool {
        self.pending <= PENDING_MAX - PENDING_MAX / 8
    }

    /// One under way was none: the far end speaks plain lines, and may.
    pub fn forget(&mut self) {
        self.pending -= 1;
    }

    /// One is over.
    pub fn end(&mut self, outcome: Outcome) {
        self.pending -= 1;
        self.ended[outcome as usize] += 1;
    }

    /// Whether a step may be taken though others have work.
    pub fn has_credit(&mut self, now: Duration) -> bool {
        let most = DEBT_MAX + CREDIT_MAX;
        self.balance = (self.balance + now.saturating_sub(self.at) / SHARE).min(most);
        self.at = now;
        self.balance > DEBT_MAX
    }

    /// A step has taken so long.
    pub fn spend(&mut self, time: Duration) {
        self.balance = self.balance.saturating_sub(time);
    }

    /// Whether a failure is to be logged. Clients that fail must not hide a peer.
    pub fn may_complain(&mut self, is_peer: bool, now: Duration) -> bool {
        let complained = &mut self.complained[usize::from(is_peer)];
        let may = complained.is_none_or(|last| last + COMPLAIN_EVERY < now);
        if may {
            *complained = Some(now);
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_have_places_and_words() {
        for (at, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, at);
        }
        let mut words = Outcome::ALL.map(Outcome::name);
        words.sort_unstable();
        assert!(words.windows(2).all(|pair| pair[0] != pair[1]));
    }

    /// Goal: while others have work, handshakes take a quarter of the time, never much at once.
    #[test]
    fn handshakes_have_a_quarter_of_the_time() {
        let mut handshakes = Handshakes::default();
        let (step, turn) = (Duration::from_micros(250), Duration::from_micros(100));
        let (mut now, mut spent) = (Duration::from_secs(1), Duration::ZERO);
        for _ in 0..100_000 {
            now += turn;
            let mut in_turn = Duration::ZERO;
            while handshakes.has_credit(now) {
                handshakes.spend(step);
                in_turn += step;
            }
            assert!(in_turn <= CREDIT_MAX + step, "{in_turn:?} at once");
            (now, spent) = (now + in_turn, spent + in_turn);
        }
        let share = spent.as_secs_f64() / (now - Duration::from_secs(1)).as_secs_f64();
        assert!((0.24..0.26).contains(&share), "{share}");
    }

    #[test]
    fn what_nobody_missed_is_soon_forgotten() {
        let mut handshakes = Handshakes::default();
        let now = Duration::from_secs(1);
        handshakes.spend(Duration::from_secs(10));
        assert!(!handshakes.has_credit(now + DEBT_MAX * SHARE - now));
        let mut handshakes = Handshakes { at: now, ..Handshakes::default() };
        handshakes.spend(Duration::from_secs(10));
        assert!(!handshakes.has_credit(now + DEBT_MAX * SHARE));
        assert!(handshakes.has_credit(now + DEBT_MAX * SHARE + Duration::from_micros(5)));
    }

    #[test]
    fn failures_are_logged_now_and_then() {
        let mut handshakes = Handshakes::default();
        let mut asked = |is_peer, seconds: [u64; 5]| {
            let moments = seconds.map(Duration::from_secs);
            moments.map(|moment| handshakes.may_complain(is_peer, moment))
        };
        assert_eq!(asked(false, [0, 1, 60, 61, 62]), [true, false, false, true, false]);
        assert_eq!(asked(true, [0, 1, 60, 61, 62]), [true, false, false, true, false]);
    }
}
