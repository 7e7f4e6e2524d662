//! The wire, rule by rule: the transcripts of `common::transcripts` at every server of a herd of
//! ours, and what the configuration changes. What the loop does under load is in `reactor`, the
//! herd's agreement in `herd`, the same transcripts said to another make in `twin`.

mod common;

use std::sync::{Arc, Mutex, Weak};

use common::Herd;
use common::transcripts::{self, TRANSCRIPTS};

/// The servers that the tests of this file share: started by the first, ended by the last.
fn five() -> Arc<Herd> {
    static SHARED: Mutex<Weak<Herd>> = Mutex::new(Weak::new());
    let mut shared = SHARED.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    shared.upgrade().unwrap_or_else(|| {
        let herd = Arc::new(Herd::running("2023", &[]));
        *shared = Arc::downgrade(&herd);
        herd
    })
}

macro_rules! say {
    ($($name:ident,)*) => {
        $(#[test]
        fn $name() {
            transcripts::$name(&five());
        })*

        #[test]
        fn every_transcript_is_said() {
            let said = [$(stringify!($name),)*];
            assert!(TRANSCRIPTS.iter().map(|(name, _)| *name).eq(said));
        }
    };
}

say! {
    every_line_is_answered_by_the_rules,
    the_last_line_needs_no_newline,
    lines_have_a_longest,
    skews_are_exact,
    an_older_report_replaces_nothing,
    equal_times_are_settled_everywhere_alike,
    a_question_never_overtakes_the_report_before_it,
    one_read_gets_the_whole_answer,
    clients_cannot_speak_as_servers,
    the_server_speaks_when_spoken_to,
}

// ---- what the configuration changes ----

#[test]
fn stale_reports_may_be_answered_with_what_is_stored() {
    let herd = Herd::of_one("[answers]\nstale_reply = \"stored\"\n", common::PLACELESS);
    let newest = herd.report("Hill", "kiwi", "+1-1", "8");
    assert_eq!(herd.report("Hill", "kiwi", "+2-2", "7"), newest);
    assert_eq!(herd.held("Hill", "kiwi"), Some(newest));
    let newer = herd.report("Hill", "kiwi", "+3-3", "9");
    assert!(newer.ends_with(" kiwi +3-3 9"), "{newer}");
}

#[test]
fn the_first_answer_may_be_the_last() {
    let herd = Herd::of_one("[answers]\nclose_after_reply = true\n", &[]);
    herd.report("Hill", "kiwi", "-48.8767-123.3933", "8");
    for (line, start) in [
        ("IAMAT kiwi +1-1 7\n", "AT Hill "),
        ("WHATSAT kiwi 10 5\n", "AT Hill "),
        ("NOPE\n", "? NOPE\n"),
        ("\n \r\n\nNOPE\n", "? NOPE\n"),
    ] {
        // What comes behind is neither answered nor heeded.
        for more in ["", "IAMAT late +1-1 7\nNOPE\n", "no newline"] {
            let mut client = herd.connect("Hill");
            client.send([line, more].concat());
            let heard = String::from_utf8(client.rest()).unwrap();
            assert!(heard.starts_with(start), "{line:?}: {heard:?}");
            let answers = if line.starts_with("WHATSAT") {
                heard.matches("\n\n").count()
            } else {
                heard.lines().count()
            };
            assert_eq!(answers, 1, "{line:?}: {heard:?}");
        }
    }
    assert_eq!(herd.held("Hill", "late"), None);
}
