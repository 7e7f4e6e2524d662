//! access.toml: who may report and ask by HTTP. It is read here, and written by `herd token` and
//! `herd share`.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use herd_web::access::{Access, Digest, Grant, Pattern, Signer, Token, check_name, parse_time};
use serde::Deserialize;
use toml::Spanned;

use super::key::KeyFile;
use super::{ConfigError, HerdKey};

/// Ten thousand tokens need a third of this.
const FILE_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// Patterns of one token, for each of the two: each request looks at all of them.
const PATTERNS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Tables {
    #[serde(default)]
    token: Vec<TokenTable>,
    #[serde(default)]
    revoked: Vec<RevokedTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenTable {
    name: Spanned<String>,
    sha256: Spanned<String>,
    #[serde(default)]
    report: Vec<Spanned<String>>,
    #[serde(default)]
    read: Vec<Spanned<String>>,
    expires: Option<Spanned<String>>,
}

/// A share link that was taken back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RevokedTable {
    serial: String,
}

/// Reads who may what; share links are those that one of the herd's keys has signed.
///
/// # Errors
/// The file is unfit to hold a secret, or one thing in it is wrong: then nothing of it counts.
pub fn read(path: &Path, keys: &[HerdKey], herd: &str) -> Result<Access, ConfigError> {
    let keys = Vec::from_iter(keys.iter().map(HerdKey::reveal));
    parse(&read_text(path)?, Signer::new(&keys, herd)).map_err(|why| file(path).wrong(&why))
}

/// The same, if there is such a file.
///
/// # Errors
/// As [`read`].
pub fn of(
    path: Option<&Path>,
    keys: &[HerdKey],
    herd: &str,
) -> Result<Option<Arc<Access>>, ConfigError> {
    path.map(|path| read(path, keys, herd).map(Arc::new)).transpose()
}

/// Its text as it is written.
///
/// # Errors
/// It cannot be read, is open to others or no text.
pub fn read_text(path: &Path) -> Result<String, ConfigError> {
    let bytes = file(path).read()?;
    String::from_utf8(bytes).map_err(|_| file(path).wrong("is no text"))
}

fn file(path: &Path) -> KeyFile<'_> {
    let way_out = "make one with `herd token add`, or name another with --access";
    KeyFile { path, what: "access file", way_out, bytes_max: FILE_BYTES_MAX }
}

/// Understands a text.
///
/// # Errors
/// A sentence with the line.
pub fn parse(text: &str, signer: Signer) -> Result<Access, String> {
    let line = |at: usize| 1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count();
    let wrong = |at: usize, why: &str| format!("is wrong in line {}: {why}", line(at));
    let tables: Tables = toml::from_str(text).map_err(|error| {
        let at = error.span().map_or(0, |span| span.start);
        wrong(at, &error.message().replace('\n', " "))
    })?;
    let spanned = |value: &Spanned<String>, why: &str| wrong(value.span().start, why);
    let token = |table: TokenTable| -> Result<Token, String> {
        let TokenTable { name, sha256, report, read, expires } = table;
        check_name(name.get_ref()).map_err(|why| spanned(&name, &why))?;
        let digest = sha256.get_ref().parse().map_err(|why: String| spanned(&sha256, &why))?;
        let patterns = |list: Vec<Spanned<String>>| {
            if list.len() > PATTERNS_MAX {
                let why = format!("a token has at most {PATTERNS_MAX} patterns of a kind");
                return Err(spanned(&name, &why));
            }
            let pattern = |text: &Spanned<String>| {
                text.get_ref().parse().map_err(|why: String| spanned(text, &why))
            };
            list.iter().map(pattern).collect::<Result<Vec<Pattern>, String>>()
        };
        let (report, read) = (patterns(report)?, patterns(read)?);
        let time = |text: &Spanned<String>| {
            let why = "this is no time: write a date as in \"2027-01-31T12:00:00Z\"";
            parse_time(text.get_ref()).ok_or_else(|| spanned(text, why))
        };
        let expires = expires.as_ref().map(time).transpose()?;
        let name = name.into_inner();
        Ok(Token { digest, grant: Arc::new(Grant { name, report, read, expires }) })
    };
    let tokens = tables.token.into_iter().map(token).collect::<Result<Vec<Token>, String>>()?;
    let revoked = HashSet::from_iter(tables.revoked.into_iter().map(|table| table.serial));
    Access::new(tokens, revoked, signer).map_err(|why| format!("is wrong: {why}"))
}

/// The table of a token, as it stands in the file.
pub fn print_token(grant: &Grant, digest: &Digest) -> String {
    let quoted = |text: String| toml::Value::from(text).to_string();
    let list = |patterns: &[Pattern]| {
        let texts = patterns.iter().map(|pattern| quoted(pattern.to_string()));
        Vec::from_iter(texts).join(", ")
    };
    let Grant { name, report, read, expires } = grant;
    let (name, report, read) = (quoted(name.clone()), list(report), list(read));
    let expires = expires.map(|time| format!("expires = \"{}\"\n", time.whole_seconds()));
    format!(
        "[[token]]\nname = {name}\nsha256 = \"{digest}\"\nreport = [{report}]\nread = [{read}]\n{}",
        expires.unwrap_or_default()
    )
}

/// The table of a share link that was taken back.
pub fn print_revoked(serial: &str) -> String {
    format!("[[revoked]]\nserial = \"{serial}\"\n")
}

/// The text without the table of one token; `None` if it has none.
pub fn without_token(text: &str, name: &str) -> Option<String> {
    let is_header = |line: &&str| line.trim_start().starts_with('[');
    let mut kept = String::new();
    let mut lines = text.split_inclusive('\n').peekable();
    let mut is_found = false;
    while let Some(line) = lines.next() {
        let mut table = line.to_owned();
        if is_header(&line) {
            while let Some(line) = lines.next_if(|line| !is_header(line)) {
                table += line;
            }
        }
        let read: Option<Tables> = toml::from_str(&table).ok();
        let is_its = read.is_some_and(|read| {
            read.token.first().is_some_and(|token| token.name.get_ref() == name)
        });
        is_found |= is_its;
        if !is_its {
            kept += &table;
        }
    }
    is_found.then_some(kept)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const DIGEST: &str = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";

    fn parsed(text: &str) -> Result<Access, String> {
        parse(&text.replace("DIGEST", DIGEST), Signer::default())
    }

    #[test]
    fn tokens_are_tables() {
        let access = parsed(
            "# Ours.\n[[token]]\nname = \"jane\"\nsha256 = \"DIGEST\"\nreport = [\"jane/*\"]\n\
             read = [\"kiwi\", \"jane/*\"]\nexpires = \"2027-01-31T12:00:00Z\"\n\
             [[revoked]]\nserial = \"1f\"\n",
        );
        let access = access.unwrap();
        let grant = &access.named("jane").unwrap().grant;
        assert_eq!(grant.report, ["jane/*".parse().unwrap()]);
        assert_eq!(grant.read.len(), 2);
        assert_eq!(grant.expires.map(|time| time.whole_seconds()), Some(1_801_396_800));
        assert!(access.is_revoked("1f") && !access.is_revoked("1e"));
        assert!(parsed("").unwrap().tokens().is_empty(), "nobody may anything");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let token = "[[token]]\nname = \"jane\"\nsha256 = \"DIGEST\"\n";
        for (text, part) in [
            ("[[token]]\nname = \"a b\"\nsha256 = \"DIGEST\"\n".to_owned(), "in line 2: `a b`"),
            ("[[token]]\nname = \"jane\"\nsha256 = \"abc\"\n".to_owned(), "in line 3: a SHA-256"),
            ("[[token]]\nname = \"jane\"\n".to_owned(), "sha256"),
            (format!("{token}read = [\"*/x\"]\n"), "in line 4: `*/x` is no pattern"),
            (format!("{token}red = []\n"), "unknown field `red`"),
            (format!("{token}expires = \"soon\"\n"), "in line 4: this is no time"),
            (format!("{token}{token}"), "two tokens are called jane"),
            (format!("{token}{}", token.replace("jane", "joe")), "have one secret"),
            ("[[tokens]]\n".to_owned(), "unknown field `tokens`"),
            ("[[token]\n".to_owned(), "in line 1"),
        ] {
            let why = parsed(&text).unwrap_err();
            assert!(why.contains(part), "{why}\n  lacks {part}");
        }
    }

    #[test]
    fn a_token_is_written_and_taken_out() {
        let digest = herd_web::access::digest(b"abc");
        let grant = |name: &str| Grant {
            name: name.to_owned(),
            report: vec!["jane/*".parse().unwrap(), "a\"b".parse().unwrap()],
            read: Vec::new(),
            expires: parse_time("1795910184"),
        };
        let (jane, joe) = (grant("jane"), grant("joe"));
        let other = herd_web::access::digest(b"other");
        let text = format!(
            "# Ours.\n\n{}\n{}# behind\n{}",
            print_token(&jane, &digest),
            print_token(&joe, &other),
            print_revoked("1f")
        );
        let access = parse(&text, Signer::default()).unwrap();
        assert_eq!(*access.named("jane").unwrap().grant, jane);
        let rest = without_token(&text, "jane").unwrap();
        assert!(rest.starts_with("# Ours.\n") && rest.contains("1f"), "{rest}");
        let rest = parse(&rest, Signer::default()).unwrap();
        assert!(rest.named("jane").is_none() && rest.named("joe").is_some());
        assert_eq!(without_token(&text, "jan"), None);
    }

    #[test]
    fn the_file_is_kept_from_others() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.toml");
        let check = |mode: u32, part: &str| {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            let message = read(&path, &[], "demo").unwrap_err().to_string();
            assert!(
                message.starts_with("the access file /") && message.contains(part),
                "{message}"
            );
        };
        fs::write(&path, "[[token]]\n").unwrap();
        check(0o640, "mode 0640): chmod 600 ");
        check(0o600, "is wrong in line 1: missing field `name`");
        let missing = read(Path::new("no/access.toml"), &[], "demo").unwrap_err().to_string();
        assert!(missing.contains("make one with `herd token add`"), "{missing}");
    }
}
