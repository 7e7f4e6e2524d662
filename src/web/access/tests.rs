//! Who is let in, by which way, until when.

use super::*;
use crate::http::Headers;

/// Some time, and a hundred seconds later.
const NOW_S: u64 = 1_795_910_184;

fn begin() -> PosixTime {
    PosixTime::new(NOW_S, 0)
}

fn later() -> PosixTime {
    PosixTime::new(NOW_S + 100, 0)
}

fn patterns(texts: &[&str]) -> Vec<Pattern> {
    texts.iter().map(|text| text.parse().unwrap()).collect()
}

fn token(name: &str, secret: &str, read: &[&str], expires: Option<PosixTime>) -> Token {
    let report = patterns(&[&format!("{name}/*")]);
    let grant = Grant { name: name.to_owned(), report, read: patterns(read), expires };
    Token { digest: digest(secret.as_bytes()), grant: Arc::new(grant) }
}

fn access() -> Access {
    let tokens = vec![
        token("jane", "janes", &["jane/*", "kiwi"], None),
        token("short", "shorts", &["*"], Some(later())),
        token("nobody", "nobodys", &[], None),
    ];
    let revoked = HashSet::from(["dead".to_owned()]);
    Access::new(tokens, revoked, Signer::new(&[[7; 32], [5; 32]], "demo")).unwrap()
}

fn sessions() -> Sessions {
    Sessions::new(&[9; 32])
}

fn ask(shown: &Shown<'_>, now: PosixTime) -> Result<Caller, Denied> {
    access().caller(shown, &sessions(), now)
}

#[test]
fn a_caller_may_what_is_granted() {
    let jane = ask(&Shown::Secret("janes"), begin()).unwrap();
    assert!(jane.may_report(b"jane/phone") && jane.may_read(b"jane/phone"));
    assert!(!jane.may_report(b"kiwi") && jane.may_read(b"kiwi") && !jane.may_read(b"kiwis"));
    assert!(!jane.may_read_all());
    assert_eq!(jane.name(), Some("jane"));
    let nobody = ask(&Shown::Secret("nobodys"), begin()).unwrap();
    assert!(!nobody.may_report(b"kiwi") && !nobody.may_read(b"kiwi"));
    let anybody = Caller::anybody();
    assert!(anybody.may_report(b"kiwi") && anybody.may_read(b"kiwi") && anybody.may_read_all());
    assert_eq!(anybody.name(), None);
    assert!(ask(&Shown::Secret("shorts"), begin()).unwrap().may_read_all());
}

#[test]
fn what_opens_nothing_is_denied_and_why() {
    let named = |user: &str, secret: &str| Shown::Named {
        user: user.to_owned(),
        secret: secret.to_owned(),
    };
    let denied = |shown, now| ask(&shown, now).err();
    assert_eq!(denied(Shown::Nothing, begin()), Some(Denied::Missing));
    for wrong in ["", "jane", "janes ", "Janes", "janess", "s1.", "s1.YQ.YQ"] {
        assert_eq!(denied(Shown::Secret(wrong), begin()), Some(Denied::Wrong), "{wrong}");
    }
    assert_eq!(denied(named("jane", "janes"), begin()), None);
    for (user, secret) in [("", "janes"), ("nobody", "janes"), ("jane", ""), ("janes", "jane")] {
        assert_eq!(denied(named(user, secret), begin()), Some(Denied::Wrong), "{user} {secret}");
    }
    assert_eq!(denied(Shown::Unreadable, begin()), Some(Denied::Wrong));
    assert_eq!(denied(Shown::Secret("shorts"), begin()), None);
    assert_eq!(denied(Shown::Secret("shorts"), later()), Some(Denied::Expired));
}

#[test]
fn a_session_is_good_until_it_ends_or_its_token_does() {
    let (access, sessions) = (access(), sessions());
    let open = |name: &str| sessions.open(access.named(name).unwrap(), begin());
    let (jane, seconds) = open("jane");
    assert_eq!(seconds, 12 * 3600);
    let caller = |text: &str, now| access.caller(&Shown::Session(text), &sessions, now);
    assert!(caller(&jane, begin()).unwrap().may_read(b"kiwi"));
    let next_day = begin().plus(std::time::Duration::from_secs(12 * 3600));
    assert_eq!(caller(&jane, next_day).err(), Some(Denied::Expired));
    let (short, seconds) = open("short");
    assert_eq!(seconds, 100);
    assert_eq!(caller(&short, later()).err(), Some(Denied::Expired));
    let other_end = jane.replacen(".17", ".27", 1);
    for forged in ["", ".", "..", &jane[1..], &jane[..jane.len() - 1], &other_end] {
        assert_eq!(caller(forged, begin()).err(), Some(Denied::Wrong), "{forged}");
    }
    let elsewhere = access.caller(&Shown::Session(&jane), &Sessions::new(&[8; 32]), begin());
    assert_eq!(elsewhere.err(), Some(Denied::Wrong));
    let renewed = vec![token("jane", "other", &["jane/*"], None)];
    let renewed = Access::new(renewed, HashSet::new(), Signer::default()).unwrap();
    let with_old = renewed.caller(&Shown::Session(&jane), &sessions, begin());
    assert_eq!(with_old.err(), Some(Denied::Wrong), "another secret, another token");
    assert!(renewed.again(&caller(&jane, begin()).unwrap(), begin()).is_none());
}

#[test]
fn a_link_shows_one_client_for_a_while() {
    let (access, signer) = (access(), Signer::new(&[[7; 32]], "demo"));
    let link = |serial: &str, client: &str| Link {
        serial: serial.to_owned(),
        expires: later(),
        client: client.to_owned(),
        blur: None,
    };
    let text = signer.sign(&link("1f", "jane/phone")).unwrap();
    let caller = |text: &str, now| access.caller(&Shown::Secret(text), &sessions(), now);
    let guest = caller(&text, begin()).unwrap();
    assert!(guest.may_read(b"jane/phone") && !guest.may_read(b"jane/phones"));
    assert!(!guest.may_read(b"kiwi") && !guest.may_report(b"jane/phone"));
    assert_eq!(guest.name(), None);
    assert!(access.again(&guest, begin()).is_some() && access.again(&guest, later()).is_none());
    assert_eq!(caller(&text, later()).err(), Some(Denied::Expired));
    let revoked = signer.sign(&link("dead", "kiwi")).unwrap();
    assert_eq!(caller(&revoked, begin()).err(), Some(Denied::Revoked));
    // A name that looks like a pattern is a name.
    let star = caller(&signer.sign(&link("1f", "*")).unwrap(), begin()).unwrap();
    assert!(star.may_read(b"*") && !star.may_read(b"kiwi") && !star.may_read_all());
    let spaced = link("1f", "a b c");
    assert_eq!(signer.read(&signer.sign(&spaced).unwrap()), Some(spaced));
    // The key before the newest is good as well; another herd's is not.
    let old = Signer::new(&[[5; 32]], "demo").sign(&link("1f", "kiwi")).unwrap();
    assert!(caller(&old, begin()).is_ok());
    for other in [Signer::new(&[[6; 32]], "demo"), Signer::new(&[[7; 32]], "other")] {
        let text = other.sign(&link("1f", "kiwi")).unwrap();
        assert_eq!(caller(&text, begin()).err(), Some(Denied::Wrong));
    }
    assert_eq!(Signer::default().sign(&link("1f", "kiwi")), None);
    for at in 0..text.len() {
        let mut forged = text.clone().into_bytes();
        forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
        let forged = String::from_utf8(forged).unwrap();
        assert!(signer.read(&forged).is_none_or(|it| it == link("1f", "jane/phone")), "{at}");
    }
}

/// Goal: who has a link that blurs reads nobody, not even its client, and cannot make another link
/// of it.
#[test]
fn a_blurred_link_reads_nobody() {
    let (access, signer) = (access(), Signer::new(&[[7; 32]], "demo"));
    let link = |metres: Option<u32>, client: &str| Link {
        serial: "1f".to_owned(),
        expires: later(),
        client: client.to_owned(),
        blur: metres.map(|metres| Blur::new(metres).unwrap()),
    };
    let caller = |text: &str, now| access.caller(&Shown::Secret(text), &sessions(), now);
    for client in ["jane/phone", "a b c", "*", "1000 kiwi"] {
        let text = signer.sign(&link(Some(1_000), client)).unwrap();
        assert_eq!(signer.read(&text), Some(link(Some(1_000), client)));
        let guest = caller(&text, begin()).unwrap();
        assert!(!guest.may_read(client.as_bytes()) && !guest.may_report(client.as_bytes()));
        assert!(guest.may_follow(client.as_bytes()) && !guest.may_follow(b"kiwi"));
        let blurred = guest.blurred().unwrap();
        assert_eq!((&*blurred.client, blurred.blur.metres()), (client, 1_000));
        assert!(access.again(&guest, begin()).unwrap().blurred().is_some());
        assert!(access.again(&guest, later()).is_none());
        assert_eq!(caller(&text, later()).err(), Some(Denied::Expired));
        // The first part is signed, too.
        let exact = text.replacen("s2.", "s1.", 1);
        assert_eq!(caller(&exact, begin()).err(), Some(Denied::Wrong));
    }
    let exact = signer.sign(&link(None, "1000 kiwi")).unwrap();
    assert!(caller(&exact, begin()).unwrap().blurred().is_none());
    let blurred = exact.replacen("s1.", "s2.", 1);
    assert_eq!(caller(&blurred, begin()).err(), Some(Denied::Wrong));
}

#[test]
fn tokens_are_told_apart() {
    let of = |tokens| Access::new(tokens, HashSet::new(), Signer::default()).map(|_| ());
    let same_name = vec![token("a", "1", &[], None), token("a", "2", &[], None)];
    assert_eq!(of(same_name).unwrap_err(), "two tokens are called a");
    let same_secret = vec![token("a", "1", &[], None), token("b", "1", &[], None)];
    assert!(of(same_secret).unwrap_err().contains("have one secret"));
    for wrong in ["", "a b", "a\n", "käthe", &"a".repeat(65)] {
        assert!(check_name(wrong).is_err(), "{wrong}");
    }
    assert!(check_name("jane/phone_2@home.example").is_ok());
}

#[test]
fn nothing_secret_is_shown() {
    let (access, jane) = (access(), ask(&Shown::Secret("janes"), begin()).unwrap());
    let shown = format!("{access:?} {jane:?}");
    assert!(shown.contains("jane/"), "{shown}");
    let digest = digest(b"janes").to_string();
    assert!(!shown.contains("janes") && !shown.contains(&digest[..8]), "{shown}");
}

#[test]
fn the_first_way_counts() {
    let basic = "Basic amFuZTpqYW5lczp4";
    let headers = |authorization, cookie| Headers { authorization, cookie, ..Headers::default() };
    let check = |secret, authorization, cookie, expected| {
        assert!(Shown::by(secret, &headers(authorization, cookie)) == expected);
    };
    let (user, secret) = ("jane".to_owned(), "janes:x".to_owned());
    check(None, None, None, Shown::Nothing);
    check(None, Some(basic), None, Shown::Named { user, secret });
    check(None, Some("bearer  a.b "), Some("herd_session=c"), Shown::Secret("a.b"));
    check(Some("d"), Some("Bearer a"), Some("herd_session=c"), Shown::Secret("d"));
    check(None, None, Some("x=y; herd_session=c.d; z"), Shown::Session("c.d"));
    check(None, None, Some("xherd_session=c; other"), Shown::Nothing);
    for wrong in ["Bearer", "Digest a=b", "Basic ***", "Basic YQ==", "", "Basic /w=="] {
        check(None, Some(wrong), None, Shown::Unreadable);
    }
    let split = |path| {
        let SplitPath { secret, path } = split_path(path);
        (secret, path)
    };
    assert_eq!(split("/t/abc/report"), (Some("abc"), "/report"));
    assert_eq!(split("/t/abc"), (Some("abc"), "/"));
    assert_eq!(split("/t/abc/"), (Some("abc"), "/"));
    assert_eq!(split("/t//x"), (Some(""), "/x"));
    assert_eq!(split("/report"), (None, "/report"));
    assert_eq!(split("/t"), (None, "/t"));
}
