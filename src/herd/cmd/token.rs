//! Gives out secrets and takes them back: `token`. `herd::config::access` only reads what is
//! written here.
//!
//! A secret is shown once, and only its SHA-256 is kept. The file is edited as a text, so that
//! comments in it stay.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::time::{Duration, SystemTime};

use super::exit::{Exit, Failure};
use super::flags::TokenCommand;
use super::secret_file::replace;
use super::start::say;
use super::table::write_table;
use herd::config::ConfigError;
use herd::config::access::{parse, print_revoked, print_token, read, read_text, without_token};
use herd_core::clock::PosixTime;
use herd_web::access::{Grant, Pattern, SECRET_BYTES, Signer, digest, spell_secret};
use ring::rand::{SecureRandom, SystemRandom};

const HEAD: &str = "# Who may report and ask by HTTP: the same for all servers of a herd, and for \
                    nobody else to read.\n# Secrets are not in here, only what shows that one is \
                    right. `herd token` writes it.\n";

/// # Errors
/// The file is unfit, or cannot be changed; there is no such token, or one already.
pub fn run(out: &mut impl Write, command: TokenCommand) -> Result<io::Result<()>, Failure> {
    match command {
        TokenCommand::Add { name, report, read, time, access } => {
            let secret = random::<SECRET_BYTES>().map(spell_secret)?;
            let expires = time.map(|time| now().plus(time));
            let grant = Grant { name, report, read, expires };
            let table = print_token(&grant, &digest(secret.as_bytes()));
            change(&access.access, true, |text| Ok(format!("{text}\n{table}")))?;
            let file = access.access.display();
            say(&format!(
                "this secret is shown once: hand it over by a safe way. It opens servers that \
                 name {file} (`access` in herd.toml, --access, HERD_ACCESS); those that run read \
                 it by `herd reload`. Copy it to the herd's other machines"
            ));
            Ok(writeln!(out, "{secret}"))
        }
        TokenCommand::List { access } => list(out, &access.access),
        TokenCommand::Remove { name, access } => {
            change(&access.access, false, |text| {
                without_token(text, &name).ok_or_else(|| {
                    ConfigError::new(format!("no token is called {name}: see `herd token list`"))
                })
            })?;
            Ok(writeln!(out, "{name} is out: `herd reload` says so to servers that run"))
        }
        TokenCommand::Revoke { serial, access } => {
            let table = print_revoked(&serial);
            change(&access.access, false, |text| Ok(format!("{text}\n{table}")))?;
            Ok(writeln!(out, "link {serial} is dead: `herd reload` says so to servers that run"))
        }
    }
}

fn list(out: &mut impl Write, path: &Path) -> Result<io::Result<()>, Failure> {
    let access = read(path, &[], "")?;
    let mut tokens = Vec::from_iter(access.tokens());
    tokens.sort_by_key(|token| &token.grant.name);
    let words = |patterns: &[Pattern]| match patterns {
        [] => "-".to_owned(),
        some => Vec::from_iter(some.iter().map(Pattern::to_string)).join(" "),
    };
    let mut rows = vec![["TOKEN", "REPORTS", "READS", "EXPIRES"].map(str::to_owned)];
    rows.extend(tokens.iter().map(|token| {
        let Grant { name, report, read, expires } = &*token.grant;
        let expires = expires.map_or("never".to_owned(), |expires| match expires <= now() {
            true => "has expired".to_owned(),
            false => format!("in {} h", left(expires).as_secs().div_ceil(3600)),
        });
        [name.clone(), words(report), words(read), expires]
    }));
    Ok(write_table(out, &rows))
}

fn left(expires: PosixTime) -> Duration {
    Duration::from_secs(expires.whole_seconds().saturating_sub(now().whole_seconds()))
}

/// Changes the text of the file, which is checked before it takes the old one's place. It may have
/// to be made.
fn change(
    path: &Path,
    may_make: bool,
    edit: impl FnOnce(&str) -> Result<String, ConfigError>,
) -> Result<(), Failure> {
    // The file is replaced, not a link to it.
    let file = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    replace(&file, || {
        let old = if may_make && !file.exists() { HEAD.to_owned() } else { read_text(path)? };
        let text = edit(&old)?;
        parse(&text, Signer::default()).map_err(|why| {
            ConfigError::new(format!("{} stays as it is: with this it {why}", path.display()))
        })?;
        Ok(text)
    })
}

pub fn now() -> PosixTime {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    PosixTime::new(since.as_secs(), 0)
}

/// # Errors
/// The system has no random numbers.
pub fn random<const BYTES: usize>() -> Result<[u8; BYTES], Failure> {
    let mut bytes = [0; BYTES];
    let none = |_| Failure::new(Exit::System, "the system gives no random numbers for a secret");
    SystemRandom::new().fill(&mut bytes).map(|()| bytes).map_err(none)
}
