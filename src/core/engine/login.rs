//! What a node says of itself, and how a server introduces itself to it. Apart because it is all
//! that is not herd: JSON, and a signature.

use std::fmt;

use ring::signature::{Ed25519KeyPair, KeyPair};

/// Who a server is to an engine.
#[derive(Clone, Default)]
pub enum Login {
    /// The engine asks nobody.
    #[default]
    Nobody,
    /// A user with a password.
    User {
        /// The user's name.
        user: String,
        /// The user's password.
        password: String,
    },
    /// A user with a key: its seed, as `nk -gen user` writes it.
    Nkey(Nkey),
}

impl fmt::Debug for Login {
    /// Who it is, and nothing that is secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Login::Nobody => f.write_str("Nobody"),
            Login::User { user, .. } => write!(f, "User({user})"),
            Login::Nkey(nkey) => write!(f, "Nkey({})", nkey.public()),
        }
    }
}

/// A user's key.
#[derive(Clone)]
pub struct Nkey {
    seed: [u8; 32],
}

/// The first bytes of a user's seed and of a user's public key: `SU` and `U`.
const USER: u8 = 20 << 3;
const SEED: u8 = 18 << 3;
const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

impl Nkey {
    /// Reads a user's seed: 58 characters that begin with `SU`.
    ///
    /// # Errors
    /// What is wrong with it, without a word of it.
    pub fn parse(text: &str) -> Result<Nkey, &'static str> {
        const WRONG: &str = "it holds no seed of a user: 58 letters and digits that begin with SU";
        let bytes = unbase32(text.trim().as_bytes()).filter(|bytes| bytes.len() == 36);
        let bytes = bytes.ok_or(WRONG)?;
        let (seed, sum) = bytes.split_at(34);
        let is_user = seed[0] & 0xf8 == SEED && (seed[0] & 7) << 5 | seed[1] >> 3 == USER;
        if !is_user {
            return Err(WRONG);
        }
        if crc16(seed).to_le_bytes() != sum {
            return Err("its seed has a typing error: the check sum is wrong");
        }
        let seed: [u8; 32] = seed[2..].try_into().map_err(|_| WRONG)?;
        Ed25519KeyPair::from_seed_unchecked(&seed).map_err(|_| WRONG)?;
        Ok(Nkey { seed })
    }

    fn pair(&self) -> Option<Ed25519KeyPair> {
        Ed25519KeyPair::from_seed_unchecked(&self.seed).ok()
    }

    /// The public key, as a configuration of NATS names it.
    pub fn public(&self) -> String {
        let mut bytes = vec![USER];
        if let Some(pair) = self.pair() {
            bytes.extend_from_slice(pair.public_key().as_ref());
        }
        bytes.extend_from_slice(&crc16(&bytes).to_le_bytes());
        base32(&bytes)
    }

    fn sign(&self, nonce: &[u8]) -> String {
        self.pair().map_or_else(String::new, |pair| base64url(pair.sign(nonce).as_ref()))
    }
}

/// What matters of a node's INFO.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Info {
    /// Longest payload that it takes.
    pub payload_max: Option<usize>,
    /// To be signed by those who have a key.
    pub nonce: Option<String>,
    /// It goes on by TLS only.
    pub wants_tls: bool,
    /// It wants to know who comes.
    pub wants_login: bool,
    /// It is about to end: one should leave it.
    pub is_leaving: bool,
}

impl Info {
    /// Reads the members that matter, wherever they stand in the text: their names are no values.
    pub fn parse(json: &[u8]) -> Info {
        let text = String::from_utf8_lossy(json);
        let value = |name: &str| {
            let at = text.find(&format!("\"{name}\":"))?;
            Some(text[at + name.len() + 3..].trim_start())
        };
        let is_true = |name| value(name).is_some_and(|value| value.starts_with("true"));
        let digits = value("max_payload")
            .and_then(|value| value.split(|byte: char| !byte.is_ascii_digit()).next());
        let nonce = value("nonce").and_then(|value| value.strip_prefix('"')?.split('"').next());
        Info {
            payload_max: digits.and_then(|digits| digits.parse().ok()),
            nonce: nonce.map(str::to_owned),
            wants_tls: is_true("tls_required"),
            wants_login: is_true("auth_required"),
            is_leaving: is_true("ldm"),
        }
    }
}

/// Writes CONNECT: who we are, that nothing of ours is to come back to us, and that only what is
/// wrong need be said; if we ask, also when nobody hears it.
pub(super) fn write_connect(login: &Login, name: &str, info: &Info, asks: bool, out: &mut Vec<u8>) {
    let mut json = String::from("{\"verbose\":false,\"pedantic\":false,\"echo\":false");
    json += ",\"protocol\":1,\"lang\":\"herd\",\"version\":\"1\"";
    if asks {
        json += ",\"headers\":true,\"no_responders\":true";
    }
    let mut member = |name: &str, value: &str| {
        json += &format!(",\"{name}\":\"{}\"", escaped(value));
    };
    member("name", name);
    match login {
        Login::Nobody => {}
        Login::User { user, password } => {
            member("user", user);
            member("pass", password);
        }
        Login::Nkey(nkey) => {
            member("nkey", &nkey.public());
            member("sig", &nkey.sign(info.nonce.as_deref().unwrap_or_default().as_bytes()));
        }
    }
    out.extend_from_slice(b"CONNECT ");
    out.extend_from_slice(json.as_bytes());
    out.extend_from_slice(b"}\r\n");
}

fn escaped(text: &str) -> String {
    let escape = |char| match char {
        '"' | '\\' => format!("\\{char}"),
        char if char.is_control() => format!("\\u{:04x}", u32::from(char)),
        char => char.to_string(),
    };
    text.chars().map(escape).collect()
}

/// CRC-16/XMODEM.
fn crc16(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0, |sum: u16, byte| {
        (0..8).fold(sum ^ u16::from(*byte) << 8, |sum, _| {
            if sum & 0x8000 == 0 { sum << 1 } else { sum << 1 ^ 0x1021 }
        })
    })
}

fn base32(bytes: &[u8]) -> String {
    let (mut text, mut bits, mut held) = (String::new(), 0_u32, 0_u32);
    for byte in bytes {
        (held, bits) = (held << 8 | u32::from(*byte), bits + 8);
        while bits >= 5 {
            bits -= 5;
            text.push(char::from(ALPHABET[(held >> bits) as usize & 31]));
        }
    }
    if bits > 0 {
        text.push(char::from(ALPHABET[(held << (5 - bits)) as usize & 31]));
    }
    text
}

fn unbase32(text: &[u8]) -> Option<Vec<u8>> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0_u32);
    for letter in text {
        let digit = ALPHABET.iter().position(|it| it == letter)?;
        (held, bits) = (held << 5 | digit as u32, bits + 5);
        if bits >= 8 {
            bits -= 8;
            bytes.push((held >> bits) as u8);
        }
    }
    Some(bytes)
}

/// Without padding, as JSON web tokens have it.
fn base64url(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut text = String::new();
    for group in bytes.chunks(3) {
        let whole = [group, &[0; 2]].concat();
        let number = u32::from_be_bytes([0, whole[0], whole[1], whole[2]]);
        for digit in 0..=group.len() {
            text.push(char::from(DIGITS[(number >> (18 - 6 * digit)) as usize & 63]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seed_of(bytes: [u8; 32]) -> String {
        let mut all = vec![super::SEED | USER >> 5, (USER & 31) << 3];
        all.extend_from_slice(&bytes);
        all.extend_from_slice(&crc16(&all).to_le_bytes());
        base32(&all)
    }

    #[test]
    fn seeds_are_read_and_typing_errors_found() {
        let bytes = std::array::from_fn(|at| at as u8);
        let seed = seed_of(bytes);
        assert_eq!((&seed[..2], seed.len()), ("SU", 58));
        let nkey = Nkey::parse(&format!("{seed}\n")).unwrap();
        assert_eq!(nkey.seed, bytes);
        assert_eq!((&nkey.public()[..1], nkey.public().len()), ("U", 56));
        assert_eq!(nkey.sign(b"nonce").len(), 86);
        let mut typo = seed.clone().into_bytes();
        typo[20] = if typo[20] == b'A' { b'B' } else { b'A' };
        let typo = String::from_utf8(typo).unwrap();
        assert!(Nkey::parse(&typo).is_err_and(|why| why.contains("check sum")));
        for wrong in ["", "SU", &seed[..57], &seed.replace('S', "P"), &seed.to_lowercase()] {
            assert!(Nkey::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_info_is_read_as_far_as_it_matters() {
        let info = Info::parse(
            b"{\"server_id\":\"X\",\"max_payload\":1048576,\"auth_required\":true,\
              \"nonce\":\"lhwO7ZDXdSmbvWo\",\"ldm\":true}",
        );
        let expected = Info {
            payload_max: Some(1_048_576),
            nonce: Some("lhwO7ZDXdSmbvWo".to_owned()),
            wants_tls: false,
            wants_login: true,
            is_leaving: true,
        };
        assert_eq!(info, expected);
        assert_eq!(Info::parse(b"{}"), Info::default());
        assert_eq!(Info::parse(b"\xff{\"max_payload\": x"), Info::default());
    }

    #[test]
    fn a_connect_is_json() {
        let mut out = Vec::new();
        let login = Login::User { user: "hi\"ll".to_owned(), password: "a\\b\n".to_owned() };
        write_connect(&login, "2023 Bailey", &Info::default(), false, &mut out);
        let text = String::from_utf8(out).unwrap();
        assert!(text.starts_with("CONNECT {\"verbose\":false,") && text.ends_with("}\r\n"));
        assert!(text.contains("\"user\":\"hi\\\"ll\",\"pass\":\"a\\\\b\\u000a\""), "{text}");
    }
}
