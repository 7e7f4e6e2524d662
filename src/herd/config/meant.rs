//! Which name somebody meant who has typed one that nothing has.

use strsim::damerau_levenshtein;

/// ` (is Hill meant?)`, if one of the names is close to what was typed; else nothing. Large letters
/// and small ones are the same.
pub fn meant<'a>(typed: &str, names: impl IntoIterator<Item = &'a str>) -> String {
    let lower = typed.to_lowercase();
    let slips = |name: &str| damerau_levenshtein(&lower, &name.to_lowercase());
    let closest = names.into_iter().map(|name| (slips(name), name)).min();
    let close = closest.filter(|(slips, _)| 2 * slips <= typed.len());
    close.map_or(String::new(), |(_, name)| format!(" (is {name} meant?)"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_close_was_meant() {
        let names = ["Bailey", "Bona", "Campbell"];
        for (typed, name) in
            [("Baily", "Bailey"), ("bona", "Bona"), ("Bnoa", "Bona"), ("Cambel", "Campbell")]
        {
            assert_eq!(meant(typed, names), format!(" (is {name} meant?)"));
        }
        for typed in ["Hill", "Jaquez", "x", ""] {
            assert_eq!(meant(typed, names), "", "{typed}");
        }
        assert_eq!(meant("Hill", []), "");
    }
}
