//! Who asks, and what they may: whose positions they report, and whose they see.
//!
//! Each request is answered for one [`Caller`], and whatever reads or writes a client's position
//! asks it first. A client that may not be seen is answered like one that nobody knows, and is not
//! counted either: nothing may tell the two apart.
//!
//! ```text
//!   head of a request ──▶ shown ──▶ Access::caller ──▶ Caller      what it may
//!                                                 └──▶ Denied      why it may nothing
//! ```
//!
//! Secrets are 128 random bits, so a plain SHA-256 of each is kept and none can be guessed. A share
//! link is no secret that is kept: it is signed by the herd's key, and says itself what it is for.

mod buckets;
mod pattern;
mod secret;
mod session;
mod share;
mod shown;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use herd_core::clock::PosixTime;

pub use buckets::Buckets;
pub use pattern::Pattern;
pub use secret::{Digest, SECRET_BYTES, digest, spell_secret};
pub use session::Sessions;
pub use share::{Link, Signer};
pub use shown::{Shown, SplitPath, split_path};

use crate::blur::Blur;
use crate::stamp;

/// Longest name of a token, in bytes.
pub const NAME_BYTES_MAX: usize = 64;

/// What somebody may.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grant {
    /// What a report is filed under that says no name.
    pub name: String,
    /// Clients whose positions may be reported.
    pub report: Vec<Pattern>,
    /// Clients whose positions may be seen.
    pub read: Vec<Pattern>,
    /// Until then.
    pub expires: Option<PosixTime>,
}

/// A secret that somebody has been given, and what it opens.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    pub digest: Digest,
    pub grant: Arc<Grant>,
}

/// Everybody who may anything.
#[derive(Clone, PartialEq, Eq)]
pub struct Access {
    /// In the order of their digests.
    tokens: Vec<Token>,
    /// Serials of share links that are good no more.
    revoked: HashSet<String>,
    signer: Signer,
}

/// Why somebody may nothing. A closed list: it is a label of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// It has shown nothing.
    Missing,
    /// It has shown something that opens nothing.
    Wrong,
    /// What it has shown has opened something until a while ago.
    Expired,
    /// A share link that was taken back.
    Revoked,
}

impl Access {
    /// # Errors
    /// Two tokens have one name, or one secret: a sentence that names them.
    pub fn new(
        mut tokens: Vec<Token>,
        revoked: HashSet<String>,
        signer: Signer,
    ) -> Result<Access, String> {
        let mut names = HashSet::new();
        if let Some(twice) = tokens.iter().find(|token| !names.insert(&token.grant.name)) {
            return Err(format!("two tokens are called {}", twice.grant.name));
        }
        tokens.sort_by_key(|token| token.digest);
        if let Some(twice) = tokens.windows(2).find(|two| two[0].digest == two[1].digest) {
            let (one, other) = (&twice[0].grant.name, &twice[1].grant.name);
            return Err(format!("{one} and {other} have one secret: give each its own"));
        }
        Ok(Access { tokens, revoked, signer })
    }

    /// Who has shown this.
    ///
    /// # Errors
    /// Why it may nothing.
    pub fn caller(
        &self,
        shown: &Shown<'_>,
        sessions: &Sessions,
        now: PosixTime,
    ) -> Result<Caller, Denied> {
        let token = match shown {
            Shown::Nothing => return Err(Denied::Missing),
            Shown::Unreadable => return Err(Denied::Wrong),
            Shown::Secret(text) if share::is_link(text) => return self.sharer(text, now),
            Shown::Secret(text) => self.token(text),
            Shown::Named { user, secret } => {
                self.token(secret).filter(|token| token.grant.name == *user)
            }
            Shown::Session(text) => {
                let (name, proof) = sessions.read(text, now)?;
                self.named(&name).filter(|token| sessions.is_of(&proof, token))
            }
        };
        let token = token.ok_or(Denied::Wrong)?;
        if token.grant.is_over(now) {
            return Err(Denied::Expired);
        }
        Ok(Caller::of(&token.grant, Proof::Token(token.digest)))
    }

    /// A caller who has been let in some time ago, as it may be now: its token may have expired or
    /// been taken away, and a reload may have changed what it opens.
    pub fn again(&self, caller: &Caller, now: PosixTime) -> Option<Caller> {
        let Some(identity) = &caller.0 else { return None };
        let digest = match &identity.proof {
            Proof::None => return Some(caller.clone()),
            Proof::Link(text) => return self.sharer(text, now).ok(),
            Proof::Token(digest) => digest,
        };
        let token = self.by_digest(digest).filter(|token| !token.grant.is_over(now))?;
        Some(Caller::of(&token.grant, identity.proof.clone()))
    }

    /// The token with this name.
    pub fn named(&self, name: &str) -> Option<&Token> {
        self.tokens.iter().find(|token| token.grant.name == name)
    }

    pub fn tokens(&self) -> &[Token] {
        &self.tokens
    }

    pub fn is_revoked(&self, serial: &str) -> bool {
        self.revoked.contains(serial)
    }

    fn sharer(&self, text: &str, now: PosixTime) -> Result<Caller, Denied> {
        let link = self.signer.read(text).ok_or(Denied::Wrong)?;
        if self.is_revoked(&link.serial) {
            return Err(Denied::Revoked);
        }
        if link.expires <= now {
            return Err(Denied::Expired);
        }
        let (proof, expires) = (Proof::Link(text.into()), Some(link.expires));
        let Some(blur) = link.blur else {
            let read = vec![Pattern::of_one(link.client)];
            let grant = Grant { read, expires, ..Grant::default() };
            return Ok(Caller::of(&Arc::new(grant), proof));
        };
        // It reads nobody, so whatever does not know of blurring tells it nothing.
        let grant = Arc::new(Grant { expires, ..Grant::default() });
        let blurred = Some(Blurred { client: link.client, blur });
        Ok(Caller(Some(Arc::new(Identity { grant, proof, blurred }))))
    }

    fn token(&self, secret: &str) -> Option<&Token> {
        self.by_digest(&digest(secret.as_bytes()))
    }

    /// How long this takes says something about the digest of what was shown, which nobody can aim;
    /// the rest is compared in constant time.
    fn by_digest(&self, digest: &Digest) -> Option<&Token> {
        let begin = |token: &Token| token.digest.begin() < digest.begin();
        let rest = &self.tokens[self.tokens.partition_point(begin)..];
        let mut alike = rest.iter().take_while(|token| token.digest.begin() == digest.begin());
        alike.find(|token| token.digest.is_same(digest))
    }
}

/// Digests are not shown: a reader of the log has no use for them, but an attacker might.
impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut revoked = Vec::from_iter(&self.revoked);
        revoked.sort();
        let mut grants = Vec::from_iter(self.tokens.iter().map(|token| &token.grant));
        grants.sort_by_key(|grant| &grant.name);
        write!(f, "Access({grants:?}, {revoked:?})")
    }
}

/// Who asks. It may be kept as long as its connection, and a clone costs next to nothing; who keeps
/// one asks [`Access::again`] whether it is still let in.
#[derive(Clone, Debug)]
pub struct Caller(Option<Arc<Identity>>);

#[derive(Debug)]
struct Identity {
    grant: Arc<Grant>,
    proof: Proof,
    blurred: Option<Blurred>,
}

/// The one client of which a caller may know in which square it is, and nothing else.
#[derive(Debug)]
pub struct Blurred {
    /// Its name is as on the wire.
    pub client: String,
    pub blur: Blur,
}

/// By what a caller was let in.
#[derive(Clone)]
enum Proof {
    None,
    Token(Digest),
    Link(Box<str>),
}

impl fmt::Debug for Proof {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Proof::None => "None",
            Proof::Token(_) => "Token(…)",
            Proof::Link(_) => "Link(…)",
        })
    }
}

impl Caller {
    /// A caller of a server whose access is not configured: everything is open to it.
    pub fn anybody() -> Caller {
        Caller(None)
    }

    /// Who may so much, and has shown nothing for it.
    pub fn new(grant: Arc<Grant>) -> Caller {
        Caller::of(&grant, Proof::None)
    }

    fn of(grant: &Arc<Grant>, proof: Proof) -> Caller {
        let grant = Arc::clone(grant);
        Caller(Some(Arc::new(Identity { grant, proof, blurred: None })))
    }

    /// A caller of what is public: it may know of no client.
    pub fn nobody() -> Caller {
        Caller::new(Arc::default())
    }

    /// What the caller goes by, if that is known.
    pub fn name(&self) -> Option<&str> {
        self.grant().map(|grant| &*grant.name).filter(|name| !name.is_empty())
    }

    /// The share link by which it was let in, if it was by one.
    pub fn link(&self) -> Option<&str> {
        match &self.0.as_deref()?.proof {
            Proof::Link(text) => Some(text),
            Proof::None | Proof::Token(_) => None,
        }
    }

    /// What it may; `None` if it may everything.
    pub fn grant(&self) -> Option<&Grant> {
        self.0.as_deref().map(|identity| &*identity.grant)
    }

    /// Whether the caller may say where this client is. Its name is as on the wire.
    pub fn may_report(&self, client: &[u8]) -> bool {
        self.grant().is_none_or(|grant| is_among(&grant.report, client))
    }

    /// Whether the caller may know where this client is, and that it exists.
    pub fn may_read(&self, client: &[u8]) -> bool {
        self.grant().is_none_or(|grant| is_among(&grant.read, client))
    }

    /// Of which client it may know only about where that is, if so: then it may read nobody.
    pub fn blurred(&self) -> Option<&Blurred> {
        self.0.as_deref().and_then(|identity| identity.blurred.as_ref())
    }

    /// Whether the caller may be told when this client comes and goes: how exactly it hears where,
    /// is a matter of its wish.
    pub fn may_follow(&self, client: &[u8]) -> bool {
        self.may_read(client) || self.blurred().is_some_and(|it| it.client.as_bytes() == client)
    }

    /// Whether everybody may be seen: then there is no need to ask for each of them.
    pub fn may_read_all(&self) -> bool {
        self.grant().is_none_or(|grant| grant.read.iter().any(Pattern::is_everybody))
    }
}

impl Grant {
    fn is_over(&self, now: PosixTime) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

fn is_among(patterns: &[Pattern], client: &[u8]) -> bool {
    patterns.iter().any(|pattern| pattern.matches(client))
}

/// A name that a token may have: a person or a device, in a word.
///
/// # Errors
/// What is wrong with it.
pub fn check_name(name: &str) -> Result<(), String> {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"_-./@".contains(&byte);
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.bytes().all(is_word) {
        return Err(format!(
            "`{}` is no name of a token: write 1 to {NAME_BYTES_MAX} letters, digits, _ - . / @",
            name.escape_debug()
        ));
    }
    Ok(())
}

/// When something expires: a date as RFC 3339 has it, or seconds since 1970 began.
pub fn parse_time(text: &str) -> Option<PosixTime> {
    stamp::parse(text)
}

#[cfg(test)]
mod tests;
