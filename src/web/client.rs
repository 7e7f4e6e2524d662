//! Names of clients: what an app calls somebody becomes one word of the wire.

use crate::report::{Fix, Unusable};

/// White space and control characters become `%XX`, and so does `%`: two names are never spelled
/// alike, and each can be read back.
pub fn spell(name: &str) -> Result<String, Unusable> {
    if name.is_empty() {
        return Err(Unusable::NoClient);
    }
    let is_plain = |byte: u8| byte > b' ' && byte != b'%' && byte != 0x7f;
    if name.len() <= Fix::CLIENT_BYTES_MAX && name.bytes().all(is_plain) {
        return Ok(name.to_owned());
    }
    let mut spelled = String::with_capacity(name.len());
    for char in name.chars() {
        if char.is_ascii_control() || matches!(char, ' ' | '%') {
            spelled.push_str(&format!("%{:02X}", char as u32));
        } else {
            spelled.push(char);
        }
        if spelled.len() > Fix::CLIENT_BYTES_MAX {
            return Err(Unusable::LongClient);
        }
    }
    Ok(spelled)
}

/// What a part of a URL stands for: `%XX` is a byte, and everything else stands for itself.
pub fn unescape(text: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, behind)) = rest.split_first() {
        let hex = |at: usize| behind.get(at).and_then(|&digit| char::from(digit).to_digit(16));
        match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                rest = &behind[2..];
            }
            _ => {
                bytes.push(first);
                rest = behind;
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_of_urls_are_read() {
        for (text, bytes) in [
            ("jane/phone", &b"jane/phone"[..]),
            ("a%20b%2Fc%ff", b"a b/c\xff"),
            ("100%", b"100%"),
            ("%2", b"%2"),
            ("%zz+", b"%zz+"),
            ("", b""),
        ] {
            assert_eq!(unescape(text), bytes);
        }
    }

    #[test]
    fn a_name_is_one_word() {
        for (name, spelled) in [
            ("jane/phone", "jane/phone"),
            ("Jane Doe", "Jane%20Doe"),
            ("100%", "100%25"),
            ("a\tb\nc\x0b\x0c\r", "a%09b%0Ac%0B%0C%0D"),
            ("\u{7f}", "%7F"),
            ("käthe", "käthe"),
        ] {
            assert_eq!(spell(name).unwrap(), spelled);
        }
        assert_eq!(spell(""), Err(Unusable::NoClient));
        assert_eq!(spell(&"x".repeat(128)).unwrap().len(), 128);
        assert_eq!(spell(&"x".repeat(129)), Err(Unusable::LongClient));
        assert_eq!(spell(&" ".repeat(43)), Err(Unusable::LongClient));
    }
}
