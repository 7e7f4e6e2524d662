//! Proof that the other end of a link knows the herd's key, and that each of its lines is its own.
//! Apart because it is the herd's whole cryptography: who must prove what, and when, is in
//! `greeting`; HMAC-SHA-256 itself is a library's. It keeps nothing secret but the key: lines stay
//! readable on the wire.
//!
//! ```text
//!   T    = "herd/1" ‖ from ‖ to ‖ herd ‖ nonce A ‖ nonce B ‖ caps A ‖ caps B
//!   proof of the acceptor = HMAC(K, "srv" ‖ T)      of the dialler = HMAC(K, "cli" ‖ T)
//!   key of each direction = HMAC(K, "a2b" ‖ T)      and             HMAC(K, "b2a" ‖ T)
//!   tag of a line         = first 16 bytes of HMAC(key of the direction, count ‖ line)
//! ```
//!
//! Both nonces are in every proof, so that none can be used twice; both names and roles, so that
//! none can be sent back or passed on to somebody else; both lists of capabilities, so that nobody
//! on the way can shorten them. Each direction counts its lines: a line that was heard before,
//! that is missing or that has changed places has the wrong tag.

use std::time::Duration;

use ring::hmac;

use crate::store::HashKeys;
use crate::store::digest::Hash;
use crate::wire::peer_command::{Greeting, MAC_BYTES, from_hex, write_hex};

/// The keys that this server knows, and what follows from them.
pub(crate) struct Keyring {
    /// The newest first. Without any, names are believed.
    keys: Vec<Key>,
    nonce_key: hmac::Key,
    nonces: u64,
    /// The keys of the store's hashes.
    pub hash_keys: HashKeys,
    pub run: RunId,
    /// What digests are hidden with before they are said.
    digest_key: hmac::Key,
}

struct Key {
    hmac: hmac::Key,
    /// Names the key without giving it away, so that two ends find one that both have.
    id: KeyId,
}

pub(crate) type KeyId = [u8; 4];

impl Key {
    fn all(keys: &[[u8; 32]]) -> Vec<Key> {
        let key = |key: &[u8; 32]| {
            let hmac = hmac::Key::new(hmac::HMAC_SHA256, key);
            Key { id: key_id(&hmac), hmac }
        };
        keys.iter().map(key).collect()
    }
}

/// Names a process, so that two of one name can be told from one that has started again.
pub(crate) type RunId = [u8; 8];

/// What a server says of itself in its greeting.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Abilities {
    /// Its digests can be compared with ours.
    pub shares_digest: bool,
    /// It knows what `EVEN?` means.
    pub knows_even: bool,
    /// It says its time with each sign of life.
    pub knows_clock: bool,
    /// Lines have no MAC: it does without, and the link is inside TLS.
    pub is_bare: bool,
    /// Its process, if it names it.
    pub run: Option<RunId>,
}

/// Which end of a connection a server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Dialler,
    Acceptor,
}

impl Keyring {
    /// `digest_key` keys digests, or the newest key if it is `None`. `expire_after` is part of what
    /// digests are keyed with: servers that forget at different times must not expect to hold the
    /// same.
    pub fn new(
        keys: &[[u8; 32]],
        digest_key: Option<[u8; 32]>,
        nonce_key: &[u8; 32],
        herd: &[u8],
        expire_after: Option<Duration>,
    ) -> Keyring {
        let keyed = |key: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, key);
        // A herd without a secret has digests that anybody can calculate.
        let digest_key = digest_key.or(keys.first().copied());
        let keys = Key::all(keys);
        let expire_after = expire_after.map_or(0, |after| after.as_secs());
        let parts: [&[u8]; 3] = [b"digest/2", herd, &expire_after.to_be_bytes()];
        let digest = mac(&keyed(digest_key.as_ref().map_or(&[], |key| &key[..])), &parts);
        let nonce_key = keyed(nonce_key);
        let index = mac(&nonce_key, &[b"index"]);
        let halves = |mac: &[u8; MAC_BYTES]| {
            let half = |at: usize| u64::from_be_bytes(first_bytes(&mac[at..]));
            (half(0), half(8))
        };
        let hash_keys = HashKeys { herd: halves(&digest), process: halves(&index) };
        let run = first_bytes(&mac(&nonce_key, &[b"run"]));
        let digest_key = keyed(&mac(&keyed(&digest), &[b"shown"]));
        Keyring { keys, nonce_key, nonces: 0, hash_keys, run, digest_key }
    }

    /// Greets with other keys from now on. What is held stays keyed as it is, so that digests can
    /// be compared with those of peers that have changed their keys or have not.
    pub fn change(&mut self, keys: &[[u8; 32]]) {
        self.keys = Key::all(keys);
    }

    /// Whether it greets with these keys.
    pub fn has(&self, keys: &[[u8; 32]]) -> bool {
        let ids = Key::all(keys).into_iter().map(|key| key.id);
        ids.eq(self.keys.iter().map(|key| key.id))
    }

    pub fn is_open(&self) -> bool {
        self.keys.is_empty()
    }

    /// A number that nobody could have known before.
    pub fn nonce(&mut self) -> u128 {
        self.nonces += 1;
        u128::from_be_bytes(first_bytes(&mac(&self.nonce_key, &[&self.nonces.to_be_bytes()])))
    }

    /// What a dialler says that it knows: all its keys. An acceptor names the one it has chosen.
    /// Who says `tls` does without MACs inside TLS.
    pub fn caps(&self, chosen: Option<KeyId>, is_bare: bool) -> Vec<u8> {
        let mut caps = Vec::new();
        for key in &self.keys {
            if chosen.is_none_or(|chosen| chosen == key.id) {
                caps.extend_from_slice(b"key:");
                write_hex(&key.id, &mut caps);
                caps.push(b',');
            }
        }
        caps.extend_from_slice(b"digest:");
        write_hex(&self.digest_id(), &mut caps);
        caps.extend_from_slice(b",run:");
        write_hex(&self.run, &mut caps);
        if is_bare {
            caps.extend_from_slice(b",tls");
        }
        caps.extend_from_slice(b",even,clock");
        caps
    }

    /// The newest of our keys that the far end knows, too.
    pub fn common(&self, caps: &[u8]) -> Option<KeyId> {
        let named = |id: &KeyId| words(caps, b"key:").any(|word| from_hex(word) == Some(*id));
        self.keys.iter().map(|key| key.id).find(named)
    }

    /// What the far end says of itself, on a link that nobody else can say anything on, or may.
    pub fn abilities(&self, caps: &[u8], is_secret: bool) -> Abilities {
        let is_ours = |word| from_hex(word) == Some(self.digest_id());
        Abilities {
            shares_digest: words(caps, b"digest:").any(is_ours),
            knows_even: words(caps, b"even").any(<[u8]>::is_empty),
            knows_clock: words(caps, b"clock").any(<[u8]>::is_empty),
            is_bare: is_secret && words(caps, b"tls").any(<[u8]>::is_empty),
            run: words(caps, b"run:").find_map(from_hex),
        }
    }

    /// What two greetings claim, to be proven with this key.
    pub fn claim(
        &self,
        id: KeyId,
        dialler: &Greeting<'_>,
        acceptor: &Greeting<'_>,
    ) -> Option<Claim> {
        let key = self.keys.iter().find(|key| key.id == id)?;
        Some(Claim { key: key.hmac.clone(), transcript: transcript(dialler, acceptor) })
    }

    /// A digest as it may be said aloud: equal for equal ones, and of no use for finding out the
    /// key of the hashes that it is made of. What is empty stays 0.
    pub fn shown(&self, digest: Hash) -> Hash {
        match digest {
            0 => 0,
            _ => Hash::from_be_bytes(first_bytes(&mac(&self.digest_key, &[&digest.to_be_bytes()]))),
        }
    }

    /// Equal at servers whose digests can be compared.
    pub fn digest_id(&self) -> [u8; 8] {
        first_bytes(&mac(&self.digest_key, &[b"which digest"]))
    }
}

/// Who two ends say that they are, to each other and at this time.
pub(crate) struct Claim {
    key: hmac::Key,
    transcript: Vec<u8>,
}

impl Claim {
    /// What the end with this role proves itself with.
    pub fn proof(&self, role: Role) -> [u8; MAC_BYTES] {
        mac(&self.key, &[label(role), &self.transcript])
    }

    pub fn is_proven(&self, role: Role, proof: &[u8; MAC_BYTES]) -> bool {
        let mut message = label(role).to_vec();
        message.extend_from_slice(&self.transcript);
        // The library compares in constant time: how far a guess was right cannot be measured.
        hmac::verify(&self.key, &message, proof).is_ok()
    }

    /// The seal of a link on which this role is ours.
    pub fn seal(&self, ours: Role) -> Box<LineMac> {
        let direction = |label: &[u8]| {
            let key = mac(&self.key, &[label, &self.transcript]);
            Direction { key: hmac::Key::new(hmac::HMAC_SHA256, &key), lines: 0 }
        };
        let (a2b, b2a) = (direction(b"a2b"), direction(b"b2a"));
        Box::new(match ours {
            Role::Dialler => LineMac { ours: a2b, theirs: b2a },
            Role::Acceptor => LineMac { ours: b2a, theirs: a2b },
        })
    }
}

/// What a proven link adds to every line.
pub(crate) struct LineMac {
    ours: Direction,
    theirs: Direction,
}

struct Direction {
    key: hmac::Key,
    lines: u64,
}

impl LineMac {
    const MARK: &[u8] = b" ~";
    /// What a line becomes longer by.
    pub const BYTES: usize = Self::MARK.len() + 2 * size_of::<u128>();

    /// Seals the line that begins at `start` and has no newline yet.
    pub fn close(&mut self, text: &mut Vec<u8>, start: usize) {
        let tag = self.ours.next_tag(&text[start..]);
        text.extend_from_slice(Self::MARK);
        write_hex(&tag.to_be_bytes(), text);
    }

    /// The line without its tag, if it is what the far end says now.
    pub fn open<'a>(&mut self, line: &'a [u8]) -> Option<&'a [u8]> {
        let (line, tag) = line.split_at_checked(line.len().checked_sub(Self::BYTES)?)?;
        let tag = from_hex(tag.strip_prefix(Self::MARK)?).map(u128::from_be_bytes)?;
        (self.theirs.next_tag(line) == tag).then_some(line)
    }
}

impl Direction {
    fn next_tag(&mut self, line: &[u8]) -> u128 {
        self.lines += 1;
        u128::from_be_bytes(first_bytes(&mac(&self.key, &[&self.lines.to_be_bytes(), line])))
    }
}

/// Names a key without giving it away.
pub(crate) fn key_id(key: &hmac::Key) -> KeyId {
    first_bytes(&mac(key, &[b"id"]))
}

pub(crate) fn mac(key: &hmac::Key, parts: &[&[u8]]) -> [u8; MAC_BYTES] {
    let mut context = hmac::Context::with_key(key);
    parts.iter().for_each(|part| context.update(part));
    first_bytes(context.sign().as_ref())
}

pub(crate) fn first_bytes<const N: usize>(bytes: &[u8]) -> [u8; N] {
    *bytes.first_chunk().expect("no more is taken than a digest has")
}

fn label(role: Role) -> &'static [u8] {
    match role {
        Role::Dialler => b"cli",
        Role::Acceptor => b"srv",
    }
}

/// Everything that the two ends have said, so spelled that nothing else is spelled alike: what has
/// no fixed length follows its length.
fn transcript(dialler: &Greeting<'_>, acceptor: &Greeting<'_>) -> Vec<u8> {
    let mut text = b"herd/1".to_vec();
    let add = |text: &mut Vec<u8>, part: &[u8]| {
        text.extend_from_slice(&(part.len() as u64).to_be_bytes());
        text.extend_from_slice(part);
    };
    [dialler.from, dialler.to, dialler.herd].into_iter().for_each(|part| add(&mut text, part));
    text.extend_from_slice(&dialler.nonce.to_be_bytes());
    text.extend_from_slice(&acceptor.nonce.to_be_bytes());
    [dialler.caps, acceptor.caps].into_iter().for_each(|part| add(&mut text, part));
    text
}

/// The words of a list of capabilities that begin so, without their beginning.
fn words<'a>(caps: &'a [u8], begin: &[u8]) -> impl Iterator<Item = &'a [u8]> {
    caps.split(|&byte| byte == b',').filter_map(move |word| word.strip_prefix(begin))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(86_400);

    fn keyring(keys: &[u8]) -> Keyring {
        let keys: Vec<[u8; 32]> = keys.iter().map(|&key| [key; 32]).collect();
        Keyring::new(&keys, None, &[9; 32], b"demo", None)
    }

    fn greeting<'a>(from: &'a [u8], to: &'a [u8], nonce: u128, caps: &'a [u8]) -> Greeting<'a> {
        Greeting { from, to, herd: b"demo", nonce, caps, mac: None }
    }

    /// The seals of the two ends of a link.
    fn link() -> [Box<LineMac>; 2] {
        let ring = keyring(&[1]);
        let id = ring.keys[0].id;
        let (one, other) = (greeting(b"A", b"B", 1, b"x"), greeting(b"B", b"A", 2, b"y"));
        let claim = ring.claim(id, &one, &other).unwrap();
        [claim.seal(Role::Dialler), claim.seal(Role::Acceptor)]
    }

    fn sealed(seal: &mut LineMac, line: &str) -> Vec<u8> {
        let mut text = b"before".to_vec();
        text.extend_from_slice(line.as_bytes());
        seal.close(&mut text, b"before".len());
        text.split_off(b"before".len())
    }

    /// PROTOCOL 7.1.
    #[test]
    fn the_newest_key_that_both_have_is_chosen() {
        let check = |ours: &[u8], theirs: &[u8], chosen: Option<u8>| {
            let (ours, theirs) = (keyring(ours), keyring(theirs));
            let expected = chosen.map(|key| keyring(&[key]).keys[0].id);
            assert_eq!(ours.common(&theirs.caps(None, true)), expected);
        };
        check(&[1], &[1], Some(1));
        check(&[2, 1], &[1], Some(1));
        check(&[1], &[2, 1], Some(1));
        check(&[2, 1], &[1, 2], Some(2));
        check(&[2, 1], &[3], None);
        check(&[1], &[], None);
    }

    /// PROTOCOL 10.2.
    #[test]
    fn digests_are_shared_by_those_who_hash_alike() {
        let shares = |one: &Keyring, other: &Keyring| {
            one.abilities(&other.caps(None, true), false).shares_digest
        };
        assert!(shares(&keyring(&[1]), &keyring(&[1])));
        assert!(shares(&keyring(&[]), &keyring(&[])));
        assert!(!shares(&keyring(&[1]), &keyring(&[2, 1])), "while keys are changed");
        assert!(!shares(&keyring(&[1]), &keyring(&[])));
        let rotated = Keyring::new(&[[2; 32], [1; 32]], Some([1; 32]), &[9; 32], b"demo", None);
        assert!(shares(&keyring(&[1]), &rotated), "while they are changed as they should be");
        let forgetful = Keyring::new(&[[1; 32]], None, &[9; 32], b"demo", Some(DAY));
        assert!(!shares(&keyring(&[1]), &forgetful));
        let of_none = keyring(&[]).abilities(b"-,evening", false);
        assert!(!of_none.shares_digest && !of_none.knows_even && of_none.run.is_none());
    }

    /// PROTOCOL 7.10.
    #[test]
    fn macs_are_left_out_inside_tls_alone() {
        let ring = keyring(&[1]);
        let is_bare = |says_tls, is_secret| {
            let caps = ring.caps(None, says_tls);
            ring.abilities(&caps, is_secret).is_bare
        };
        assert!(is_bare(true, true));
        assert!(!is_bare(true, false) && !is_bare(false, true) && !is_bare(false, false));
    }

    /// PROTOCOL 7.2, 7.3.
    #[test]
    fn a_proof_is_for_one_meeting_of_two() {
        let ring = keyring(&[1, 2]);
        let [first, second] = [0, 1].map(|at: usize| ring.keys[at].id);
        let (one, other) = (greeting(b"A", b"B", 1, b"x"), greeting(b"B", b"A", 2, b"y"));
        let claim = ring.claim(first, &one, &other).unwrap();
        let proof = claim.proof(Role::Dialler);
        assert!(claim.is_proven(Role::Dialler, &proof));
        assert!(!claim.is_proven(Role::Acceptor, &proof), "sent back");
        let refused = |id: KeyId, one: Greeting<'_>, other: Greeting<'_>| {
            let claim = ring.claim(id, &one, &other).unwrap();
            assert!(!claim.is_proven(Role::Dialler, &proof), "{one:?} {other:?}");
        };
        refused(second, one, other);
        refused(first, greeting(b"A", b"B", 3, b"x"), other);
        refused(first, one, greeting(b"B", b"A", 3, b"y"));
        refused(first, greeting(b"C", b"B", 1, b"x"), other);
        refused(first, greeting(b"A", b"C", 1, b"x"), other);
        refused(first, greeting(b"A", b"B", 1, b"-"), other);
        refused(first, one, greeting(b"B", b"A", 2, b"-"));
        refused(first, Greeting { herd: b"other", ..one }, other);
        // The same bytes, cut elsewhere.
        refused(first, greeting(b"AB", b"", 1, b"x"), other);
        assert!(ring.claim([0; 4], &one, &other).is_none());
    }

    #[test]
    fn nonces_are_new() {
        let mut ring = keyring(&[]);
        let nonces: std::collections::BTreeSet<u128> = (0..100).map(|_| ring.nonce()).collect();
        assert_eq!(nonces.len(), 100);
    }

    /// PROTOCOL 7.4.
    #[test]
    fn lines_are_heard_as_they_were_said() {
        let [mut one, mut other] = link();
        for line in ["", "PING 1", "AT A +0 x +1-1 0"] {
            let text = sealed(&mut one, line);
            assert_eq!(text.len(), line.len() + LineMac::BYTES);
            assert_eq!(other.open(&text), Some(line.as_bytes()));
            let text = sealed(&mut other, line);
            assert_eq!(one.open(&text), Some(line.as_bytes()));
        }
    }

    /// PROTOCOL 7.5.
    #[test]
    fn no_other_line_is_believed() {
        let line = "AT A +0 x +1-1 0";
        let check = |what: &str, change: &dyn Fn(&mut LineMac) -> Vec<u8>| {
            let [mut one, mut other] = link();
            assert_eq!(other.open(&change(&mut one)), None, "{what}");
        };
        check("no seal", &|_| line.into());
        check("a changed byte", &|one| {
            let mut text = sealed(one, line);
            text[10] ^= 1;
            text
        });
        check("a changed tag", &|one| {
            let mut text = sealed(one, line);
            let last = text.len() - 1;
            text[last] = if text[last] == b'0' { b'1' } else { b'0' };
            text
        });
        check("a line that was dropped", &|one| {
            sealed(one, "PING 1");
            sealed(one, line)
        });
        check("a shorter line", &|one| {
            let text = sealed(one, line);
            [&text[..4], &text[line.len()..]].concat()
        });
        check("our own line", &|_| sealed(&mut link()[1], line));
        check("nothing", &|_| Vec::new());

        let [mut one, mut other] = link();
        let text = sealed(&mut one, line);
        assert!(other.open(&text).is_some());
        assert_eq!(other.open(&text), None, "heard before");
    }
}
