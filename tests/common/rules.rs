//! The rules of the wire as a table: commands, and what must come back for each. Apart from
//! `conformance`, which decides how they are sent and where.

use super::transcript::{Answer, Case, case, iamat, reshaped};

/// PROTOCOL 1.1, 1.4, 1.5, 1.6, 1.7, 2.2.
pub fn lines_and_fields() -> Vec<Case> {
    let long = "i".repeat(1_000);
    vec![
        // White space is space, tab, CR, LF, FF and VT; it separates, and surrounds in vain.
        reshaped(b"  IAMAT\tkiwi \x0b\x0c +1-1\x0c7\t ", "kiwi +1-1 7"),
        reshaped(b"\x0bIAMAT\x0bkiwi\x0b+1-1\x0b7\x0b", "kiwi +1-1 7"),
        reshaped(b"\x0cIAMAT\x0ckiwi\x0c+1-1\x0c7\x0c", "kiwi +1-1 7"),
        reshaped(b"IAMAT kiwi\r+1-1\r\r7 ", "kiwi +1-1 7"),
        // What is invalid comes back as it came, white space and all.
        case(" \tNOPE \x0b x\x0c ", Answer::Copy),
        case("IAMAT\u{a0}kiwi +1-1 7", Answer::Copy),
        case(b"\xff\xfe\x00\x01", Answer::Copy),
        case(b"\0", Answer::Copy),
        case("?", Answer::Copy),
        case("? IAMAT", Answer::Copy),
        case("\"IAMAT kiwi +1-1 7\"", Answer::Copy),
        // A blank line is answered with nothing.
        case("", Answer::Nothing),
        case(" ", Answer::Nothing),
        case(" \t\x0b\x0c\r ", Answer::Nothing),
        // Command words are case-sensitive.
        case("iamat kiwi +1-1 7", Answer::Copy),
        case("Iamat kiwi +1-1 7", Answer::Copy),
        case("IAMATx kiwi +1-1 7", Answer::Copy),
        case("whatsat kiwi 1 1", Answer::Copy),
        // A client's id is any run of other bytes.
        iamat(b"nul\0nul", "+1-1", "7"),
        iamat(b"\xff\xfe\x80", "+1-1", "7"),
        iamat(b"\x1c\x1d\x1e\x1f\x7f\x85", "+1-1", "7"),
        iamat("käse\u{a0}\u{2003}", "+1-1", "7"),
        iamat("+1-1", "+1-1", "7"),
        iamat("IAMAT", "+1-1", "7"),
        iamat(long, "+1-1", "7"),
    ]
}

/// PROTOCOL 2.1, 2.3, 2.4, 2.6, 2.7.
pub fn positions_and_times() -> Vec<Case> {
    let mut cases =
        vec![iamat("kiwi.cs.ucla.edu", "+34.068930-118.445127", "1520023934.918963997")];
    for good in [
        "+34-118",
        "-0.0+0.0",
        "+34.068930-118.445127",
        "+90+180",
        "-90-180",
        "+90.000+180.00",
        "-00090.0-000180",
        "+0.123456789012345678901234567890+1",
        "+00+000",
        "-12.5+7",
    ] {
        cases.push(iamat("kiwi", good, "7"));
    }
    for bad in [
        "34-118",
        "+34",
        "+34118",
        "+34.-118",
        "+.5-118",
        "+34-.5",
        "+34-118.",
        "+34-118/",
        "+34-118+5",
        "+90.1+0",
        "+90.0000000000000000000001+0",
        "-91+0",
        "+0+180.5",
        "+0-181",
        "+1e1+1",
        "+1+1e1",
        "+nan+1",
        "+inf+1",
        "++1+1",
        "+-1+1",
        "+1_0+2",
        "+1,5+2",
        "+99999999999+1",
        "+٣+1",
    ] {
        cases.push(case(format!("IAMAT kiwi {bad} 7"), Answer::Copy));
    }
    for good in [
        "0",
        "0.0",
        "7",
        "1520023934",
        "1520023934.9",
        "1520023934.918963997",
        "007.50",
        "1520023934.91896399712345678901234567890",
        "99999999999999999999",
        "4102444800.000000001",
    ] {
        cases.push(iamat("kiwi", "+1-1", good));
    }
    for bad in [
        "-1", "+1", "1.", ".5", "1e9", "1E9", "nan", "inf", "1_000", "0x10", "1,5", "1.5.5", "now",
        "٣",
    ] {
        cases.push(case(format!("IAMAT kiwi +1-1 {bad}"), Answer::Copy));
    }
    for bad in ["IAMAT", "IAMAT kiwi", "IAMAT kiwi +1-1", "IAMAT kiwi +1-1 7 7", "IAMAT +1-1 7"] {
        cases.push(case(bad, Answer::Copy));
    }
    cases
}

/// `here` is in Helsinki and `sea` far from everywhere; another client has said so.
/// PROTOCOL 3.1, 3.2, 3.3, 3.4.
pub fn questions(here: (&str, &str), sea: (&str, &str)) -> Vec<Case> {
    let places = |(client, at_line): (&str, &str), operands: &str, least, most| {
        let answer = Answer::Places { at_line: at_line.to_owned(), least, most };
        case(format!("WHATSAT {client} {operands}"), answer)
    };
    let (name, _) = here;
    let mut cases = vec![
        places(here, "10 5", 1, 5),
        places(here, "50 20", 20, 20),
        places(here, "50 1", 1, 1),
        places(here, "10 0", 0, 0),
        places(here, "0 20", 0, 20),
        places(here, "0 0", 0, 0),
        places(here, "10.5 5", 1, 5),
        places(here, "50.000 20", 20, 20),
        places(here, "+10 +5", 1, 5),
        places(here, "0010 005", 1, 5),
        places(sea, "50 20", 0, 0),
        case(format!("WHATSAT not-{name} 10 5"), Answer::Copy),
        case(format!("WHATSAT {} 10 5", &name[1..]), Answer::Copy),
        case(format!("WHATSAT {}\0 10 5", name), Answer::Copy),
        case("WHATSAT", Answer::Copy),
        case(format!("WHATSAT {name}"), Answer::Copy),
        case(format!("WHATSAT {name} 10"), Answer::Copy),
        case(format!("WHATSAT {name} 10 5 5"), Answer::Copy),
    ];
    for bad in [
        "51 5",
        "50.5 5",
        "50.0000000000000000000000001 5",
        "10 21",
        "-1 5",
        "-0 5",
        "10 -1",
        "10 5.0",
        "1e1 5",
        "10 1e0",
        "nan 5",
        "inf 5",
        "10. 5",
        ".5 5",
        "++10 5",
        "10 ++5",
        "+ 5",
        "10 +",
        "ten 5",
        "10 4294967301",
        "4294967306 5",
        "10 18446744073709551621",
    ] {
        cases.push(case(format!("WHATSAT {name} {bad}"), Answer::Copy));
    }
    cases
}
