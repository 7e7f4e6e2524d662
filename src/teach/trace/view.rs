//! A trace in the page that draws it: one file, to be opened in a browser anywhere. The page is
//! written in other languages and knows how to find what is put here.

const PAGE: &str = include_str!("viewer.html");
const EMPTY: &str = r#"<script type="application/json" id="trace">null</script>"#;

/// The viewer with this trace in it, which is JSON.
pub fn page(trace: &str) -> String {
    // In JSON, such a bracket stands in strings only; unescaped, one could end the script.
    let trace = trace.replace('<', "\\u003c");
    PAGE.replacen(EMPTY, &EMPTY.replace("null", &trace), 1)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_trace_cannot_leave_its_place() {
        assert_eq!(PAGE.matches(EMPTY).count(), 1, "the page has one place for a trace");
        let trace = r#"{"args":{"client":"</script><!--<script>"}}"#;
        let page = page(trace);
        let (before, after) = PAGE.split_once(EMPTY).unwrap();
        let put = page.strip_prefix(before).and_then(|page| page.strip_suffix(after)).unwrap();
        let (opening, closing) = EMPTY.split_once("null").unwrap();
        let put = put.strip_prefix(opening).and_then(|put| put.strip_suffix(closing)).unwrap();
        assert!(!put.contains('<'));
        let [found, given]: [Value; 2] =
            [put, trace].map(|text| serde_json::from_str(text).unwrap());
        assert_eq!(found, given);
    }
}
