//! How the AT lines of a server's own reports begin. Apart because it is spelled for every IAMAT,
//! and from one to the next there is hardly anything new in it: clients whose clocks are right are
//! as many whole seconds away, and only the nanoseconds are spelled.
//!
//! ```text
//!   AT Hill +0.263873386 kiwi.cs.ucla.edu +34.068930-118.445127 1520023934.918963997
//!   └──────────────────┘ └─────────────── as the client has spelled it ────────────┘
//! ```

use crate::clock::Skew;

const WORD: &[u8] = b"AT ";

/// `AT`, the server's name and a skew, with a space behind each.
pub struct Opening {
    text: Vec<u8>,
    /// Where the skew begins.
    skew_at: usize,
    /// Whose seconds are spelled.
    skew: Skew,
}

impl Opening {
    /// The opening of the reports of a server with this name; its skew is zero.
    pub fn new(server: &[u8]) -> Opening {
        let text = [WORD, server, b" "].concat();
        let mut opening = Opening { skew_at: text.len(), text, skew: Skew::default() };
        opening.spell_all(Skew::default());
        opening
    }

    /// Appends the opening with this skew.
    #[inline]
    pub fn write(&mut self, skew: Skew, out: &mut Vec<u8>) {
        self.spell(skew);
        out.extend_from_slice(&self.text);
    }

    /// Spells this skew instead of the one before.
    #[inline]
    pub fn spell(&mut self, skew: Skew) {
        if skew.has_seconds_of(self.skew)
            && let Some(fraction) = self.text.last_chunk_mut::<{ Skew::FRACTION_DIGITS + 1 }>()
        {
            fraction[..Skew::FRACTION_DIGITS].copy_from_slice(&skew.fraction());
        } else {
            self.spell_all(skew);
        }
    }

    fn spell_all(&mut self, skew: Skew) {
        self.skew = skew;
        self.text.truncate(self.skew_at);
        skew.write(&mut self.text);
        self.text.push(b' ');
    }

    /// What comes before the client's id in an AT line, with the skew spelled last.
    pub fn as_bytes(&self) -> &[u8] {
        &self.text
    }

    /// Its length without the first word: where in a line's fields the client's id begins.
    pub fn fields_len(&self) -> usize {
        self.text.len() - WORD.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::PosixTime;

    #[test]
    fn a_skew_is_spelled_over_any_other() {
        let mut opening = Opening::new(b"Hill");
        assert_eq!(opening.as_bytes(), b"AT Hill +0.000000000 ");
        for (server, client, expected) in [
            ("5.5", "5", "+0.500000000"),
            ("5.5", "5.499999999", "+0.000000001"),
            ("5", "5.000000001", "-0.000000001"),
            ("1796567144", "1520023934.918963997", "+276543209.081036003"),
            ("1796567144", "1520023934.9", "+276543209.100000000"),
            ("1", "99999999999999999999.5", "-99999999999999999998.500000000"),
            ("7", "7", "+0.000000000"),
        ] {
            let [server, client] =
                [server, client].map(|time| PosixTime::parse(time.as_bytes()).unwrap());
            opening.spell(Skew::between(server, client));
            assert_eq!(opening.as_bytes(), format!("AT Hill {expected} ").as_bytes());
        }
    }
}
