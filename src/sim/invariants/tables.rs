//! What is held, as lines that can be compared: of one store, of two, and of all that were ever
//! answered. Apart from `invariants`, which says what must be true of them.

use std::cmp::Ordering;

use super::{Invariant, Violation};
use crate::client::report;
use herd_core::store::{HashKeys, Store, rank};

/// Any two reports of a client have an order, and a store that is given all of them ends with the
/// same, in any order and however often.
///
/// # Errors
/// I1.
pub(super) fn are_ordered(lines: &[String]) -> Result<(), Violation> {
    let [mut there, mut back] =
        [(); 2].map(|()| Store::new(HashKeys { herd: (1, 2), process: (3, 4) }));
    for (at, line) in lines.iter().enumerate() {
        let one = report(line);
        for other_line in &lines[..at] {
            let other = report(other_line);
            let order = rank(&one, &other);
            let is_fair = order == rank(&other, &one).reverse()
                && (order != Ordering::Equal || line == other_line);
            Invariant::Order.demand(one.client != other.client || is_fair, || {
                format!("{line:?} and {other_line:?} have no order")
            })?;
        }
        there.put(&one);
    }
    for line in lines.iter().rev().chain(lines) {
        back.put(&report(line));
    }
    let [there, back] = [there, back].map(|store| lines_of(&store));
    Invariant::Order.demand(there == back, || "a store depends on the order of reports".to_owned())
}

/// Whether a store holds what this AT line says, or better.
pub(super) fn holds(store: &Store, line: &str) -> bool {
    let line = report(line);
    store.find(line.client).is_some_and(|held| rank(&held, &line) != Ordering::Less)
}

/// All AT lines of a store, in an order of their own.
pub fn lines_of(store: &Store) -> Vec<String> {
    let mut lines = Vec::new();
    for report in store.reports() {
        let mut line = Vec::new();
        report.write_line(&mut line);
        lines.push(String::from_utf8_lossy(&line).into_owned());
    }
    lines.sort();
    lines
}

/// The first difference between the tables of two servers.
///
/// # Errors
/// I4.
pub fn agree(
    (one, ones): (&str, &[String]),
    (other, others): (&str, &[String]),
) -> Result<(), Violation> {
    let first = |these: &[String], those: &[String]| {
        let missing = these.iter().find(|line| those.binary_search(line).is_err());
        missing.map(|line| line.chars().take(80).collect::<String>())
    };
    let difference = match (first(ones, others), first(others, ones)) {
        (Some(line), _) => format!("{one} holds {line:?}, {other} does not"),
        (None, Some(line)) => format!("{other} holds {line:?}, {one} does not"),
        (None, None) => return Ok(()),
    };
    Err(Invariant::Agreement.broken(difference))
}

/// A time or a skew in nanoseconds; digits beyond are left out, as they are in a skew.
pub fn nanos(decimal: &[u8]) -> i128 {
    let (sign, digits) = match decimal {
        [b'-', digits @ ..] => (-1, digits),
        [b'+', digits @ ..] => (1, digits),
        digits => (1, digits),
    };
    let dot = digits.iter().position(|&byte| byte == b'.').unwrap_or(digits.len());
    let fraction = digits[dot..].iter().skip(1).chain([b'0'; 9].iter()).take(9);
    // An erasure's skew has an exponent, which says that it is none.
    let whole = digits[..dot].iter().take_while(|byte| byte.is_ascii_digit());
    let number = whole.chain(fraction);
    sign * number.fold(0, |number, &digit| 10 * number + i128::from(digit.saturating_sub(b'0')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_skews_add_up() {
        let check = |text: &str, expected: i128| assert_eq!(nanos(text.as_bytes()), expected);
        check("7", 7_000_000_000);
        check("7.5", 7_500_000_000);
        check("+0.000000001", 1);
        check("-1.0000000019", -1_000_000_001);
        check("+0e0", 0);
    }

    #[test]
    fn differences_are_named() {
        let check = |ones: &[&str], others: &[&str], expected: Option<&str>| {
            let [ones, others] = [ones, others].map(|lines| lines.iter().map(|l| l.to_string()));
            let [ones, others] = [ones.collect::<Vec<_>>(), others.collect()];
            let outcome = agree(("A", &ones), ("B", &others)).map_err(|broken| broken.to_string());
            assert_eq!(outcome.err().as_deref(), expected);
        };
        check(&["x"], &["x"], None);
        check(&["x", "y"], &["x"], Some("I4: A holds \"y\", B does not"));
        check(&["x"], &["x", "y"], Some("I4: B holds \"y\", A does not"));
    }
}
