//! The page for operators keeps up with the list.

/// The page for operators has each name and each reason.
#[test]
fn the_page_for_operators_has_every_event() {
    let page = include_str!("../../PRODUCTION.md");
    let (_, table) = page.split_once("## Log events\n").unwrap();
    let (source, _) = include_str!("../events.rs").split_once("#[cfg(test)]").unwrap();
    let reasons = include_str!("../../../core/session/close_reason.rs")
        .split(" => \"")
        .skip(1)
        .filter_map(|part| part.split('"').next())
        // These two have events of their own.
        .filter(|reason| !["dial_timeout", "line_timeout"].contains(reason));
    for reason in reasons.chain(["clock_ahead", "store_full", "new_clients"]) {
        assert!(table.contains(&format!("`{reason}`")), "{reason}");
    }
    let texts = source.split("write!(").skip(1).filter_map(|part| part.split('"').nth(1));
    for text in texts.filter(|text| !text.starts_with(['{', ' '])) {
        let name = text.split(':').next().unwrap();
        let words = name.split(' ').take_while(|word| !word.contains(['=', '{']));
        let name = words.collect::<Vec<_>>().join(" ");
        assert!(table.contains(&format!("`{name}`")), "{name}");
    }
}
