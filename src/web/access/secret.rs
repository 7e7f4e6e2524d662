//! Secrets: how they are spelled, and what is kept of them.

use std::fmt::{self, Write};
use std::str::FromStr;

use ring::digest::SHA256;

/// Bytes of a secret: 128 bits, which nobody guesses.
pub const SECRET_BYTES: usize = 16;

/// Digits of a digest.
const DIGITS: usize = 64;

/// SHA-256 of a secret. A slow hash would be for what people think up, not for random bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

/// What is kept of a secret.
pub fn digest(secret: &[u8]) -> Digest {
    let mut bytes = [0; 32];
    bytes.copy_from_slice(ring::digest::digest(&SHA256, secret).as_ref());
    Digest(bytes)
}

/// A secret as people copy it: hex digits.
pub fn spell_secret(bytes: [u8; SECRET_BYTES]) -> String {
    hex(&bytes)
}

impl Digest {
    /// By this it is looked up.
    pub(super) fn begin(&self) -> &[u8] {
        &self.0[..8]
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// In constant time: each byte is looked at, whatever the others are.
    pub(super) fn is_same(&self, other: &Digest) -> bool {
        let pairs = self.0.iter().zip(other.0);
        pairs.fold(0, |difference, (one, other)| difference | (one ^ other)) == 0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl FromStr for Digest {
    type Err = String;

    fn from_str(text: &str) -> Result<Digest, String> {
        let digits = Vec::from_iter(text.chars().filter_map(|digit| digit.to_digit(16)));
        if digits.len() != DIGITS || text.len() != DIGITS {
            return Err(format!("a SHA-256 has {DIGITS} hex digits"));
        }
        Ok(Digest(std::array::from_fn(|at| (digits[2 * at] * 16 + digits[2 * at + 1]) as u8)))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_read_back() {
        let abc = digest(b"abc");
        // FIPS 180-4, appendix B.1.
        let known = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(abc.to_string(), known);
        assert!(known.to_uppercase().parse::<Digest>().unwrap().is_same(&abc));
        assert!(!abc.is_same(&digest(b"abd")));
        for wrong in ["", &known[1..], &known.replace('b', "x"), &format!("{known}0")] {
            assert!(wrong.parse::<Digest>().is_err(), "{wrong}");
        }
        assert_eq!(spell_secret([0xA5; SECRET_BYTES]), "a5".repeat(16));
    }
}
