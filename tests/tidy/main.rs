//! The style of the house, as far as a machine can see it: who may import whom, how long things
//! may be, and what must not be there. It reads sources, in this order: words, then the rules.
//!
//! The tables are strict in both directions: a line that is not needed any more is as wrong as one
//! that is missing, so they always show the house as it is.

mod documents;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

const COLUMNS_MAX: usize = 100;
const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 520;

/// A source file, and the same text without comments, literals and tests. Both have the same
/// lines.
struct Source {
    path: String,
    text: String,
    code: String,
}

impl Source {
    fn read(path: &Path) -> Source {
        let text = fs::read_to_string(path).unwrap();
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let path = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
        let code = without_tests(&path, &blank(&text));
        Source { path, text, code }
    }

    fn is_in(&self, place: &str) -> bool {
        self.path.starts_with(place)
    }

    fn words(&self) -> impl Iterator<Item = &str> {
        words(&self.code)
    }

    /// The names that follow `first::` where a path begins with it.
    fn names_after(&self, first: &str) -> BTreeSet<&str> {
        let begins = |at: usize| !self.code[..at].ends_with(|c| is_word(c) || c == ':');
        let found = self.code.match_indices(first).filter(|(at, _)| begins(*at));
        let rests = found.filter_map(|(at, _)| self.code[at + first.len()..].strip_prefix("::"));
        rests.flat_map(heads).collect()
    }
}

/// The first names of a path, of which there are several if it begins with a list in braces.
fn heads(path: &str) -> Vec<&str> {
    let Some(list) = path.strip_prefix('{') else { return words(path).take(1).collect() };
    let mut depth = 1;
    let mut heads = Vec::new();
    let mut piece = 0;
    for (at, c) in list.char_indices() {
        depth += i32::from(c == '{') - i32::from(c == '}');
        if depth == 0 || depth == 1 && c == ',' {
            heads.extend(words(&list[piece..at]).next());
            piece = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    heads
}

/// All sources below these folders.
fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders: Vec<_> =
        folders.iter().map(|name| Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).collect();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(Source::read(&path));
            }
        }
    }
    found.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(!found.is_empty());
    found
}

fn everything() -> Vec<Source> {
    sources(&["src", "tests", "benches"])
}

fn is_word(byte: char) -> bool {
    byte.is_ascii_alphanumeric() || byte == '_'
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !is_word(c)).filter(|word| !word.is_empty())
}

fn ends_in_word(text: &str) -> bool {
    text.ends_with(is_word)
}

/// Replaces comments and the contents of literals by blanks; newlines stay.
fn blank(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = skipped(rest, &code);
        let kept = if length == 0 { first.len_utf8() } else { 0 };
        code.push_str(&rest[..kept]);
        let newlines = rest[kept..kept.max(length)].matches('\n').count();
        code.push_str(if length > 0 { "\"\"" } else { "" });
        code.push_str(&"\n".repeat(newlines));
        rest = &rest[kept.max(length)..];
    }
    code
}

/// How long the comment or literal is with which `rest` begins; 0 if it begins with code.
fn skipped(rest: &str, before: &str) -> usize {
    let through = |from: usize, end: &str| {
        rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len())
    };
    let raw = rest.trim_start_matches('b').strip_prefix('r').filter(|_| !ends_in_word(before));
    if let Some(raw) = raw
        && let hashes = raw.len() - raw.trim_start_matches('#').len()
        && raw[hashes..].starts_with('"')
    {
        let opening = rest.len() - raw.len() + hashes + 1;
        return through(opening, &format!("\"{}", "#".repeat(hashes)));
    }
    let mut chars = rest.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('/'), Some('/'), _) => rest.find('\n').unwrap_or(rest.len()),
        (Some('/'), Some('*'), _) => through(2, "*/"),
        (Some('"'), ..) => quoted(rest, '"'),
        // Not a lifetime.
        (Some('\''), Some('\\'), _) | (Some('\''), Some(_), Some('\'')) => quoted(rest, '\''),
        _ => 0,
    }
}

/// The length of a literal in `quote`s.
fn quoted(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

/// `mod tests` is the last item of a file, so everything from there on is tests.
fn without_tests(path: &str, code: &str) -> String {
    let is_below = path.contains("/tests/") || path.starts_with("tests/");
    let is_tests = path.ends_with("/tests.rs") || is_below;
    let begin = if is_tests { Some(0) } else { code.find("#[cfg(test)]\nmod tests") };
    code[..begin.unwrap_or(code.len())].to_owned()
}

// ---- who may import whom ----

/// Libraries that only these parts of the server may name, and they must. Which library a crate may
/// use is in its Cargo.toml.
const KEEPERS: &[(&str, &[&str])] = &[
    ("mio", &["src/herd/reactor/"]),
    ("slab", &["src/herd/reactor/"]),
    (
        "signal_hook",
        &[
            "src/herd/reactor/",
            "src/herd/cmd/demo.rs",
            "src/herd/cmd/million.rs",
            "src/herd/cmd/start.rs",
            "src/herd/cmd/top/",
        ],
    ),
    ("signal_hook_mio", &["src/herd/reactor/"]),
    (
        "rustix",
        &["src/herd/reactor/", "src/herd/run_dir/", "src/herd/cmd/", "src/herd/config/key.rs"],
    ),
    ("ureq", &["src/herd/places/", "src/herd/cmd/lab.rs"]),
    ("listenfd", &["src/herd/reactor/passed.rs"]),
    (
        "herd_web",
        &[
            "src/herd/cmd/flags/access.rs",
            "src/herd/cmd/follow.rs",
            "src/herd/cmd/share.rs",
            "src/herd/cmd/token.rs",
            "src/herd/config/",
            "src/herd/reactor/",
        ],
    ),
    ("prometheus_client", &["src/herd/openmetrics.rs"]),
    ("proxy_header", &["src/herd/proxy_head.rs"]),
    ("rustls", &["src/herd/tls.rs", "src/herd/tls/"]),
    ("kiddo", &["src/herd/places/"]),
    ("flate2", &["src/herd/places/"]),
    ("toml", &["src/herd/config/"]),
    ("clap", &["src/herd/cmd/flags.rs", "src/herd/cmd/flags/"]),
];

#[test]
fn libraries_stay_in_their_files() {
    let sources = sources(&["src/herd"]);
    for (library, keepers) in KEEPERS {
        let naming = sources.iter().filter(|source| source.words().any(|word| word == *library));
        let mut missing = BTreeSet::from_iter(*keepers);
        for source in naming {
            let keeper = keepers.iter().find(|keeper| source.is_in(keeper));
            missing.remove(keeper.unwrap_or_else(|| panic!("{} names {library}", source.path)));
        }
        assert!(missing.is_empty(), "{missing:?} do not name {library} any more");
    }
}

/// What each part of the server names of the others. Between crates, the compiler sees to it.
const PARTS: &[(&str, &[&str])] = &[
    ("cmd", &["config", "journal", "logging", "places", "reactor", "run_dir", "status", "tls"]),
    ("config", &[]),
    ("journal", &["logging"]),
    ("lib", &[]),
    ("logging", &[]),
    ("main", &[]),
    ("openmetrics", &[]),
    ("places", &["config", "places"]),
    (
        "reactor",
        &[
            "config",
            "journal",
            "logging",
            "openmetrics",
            "places",
            "proxy_head",
            "status",
            "tls",
            "trace",
        ],
    ),
    ("proxy_head", &[]),
    ("run_dir", &["config"]),
    ("status", &[]),
    ("tls", &["config"]),
    ("trace", &[]),
];

/// What the files and folders of `core` name of each other; `Server` is the one that all of it is
/// about.
const CORE: &[(&str, &[&str])] = &[
    ("border", &["names", "peers", "reports", "settings", "whatsat", "wire"]),
    (
        "client_commands",
        &["Server", "border", "clock", "names", "reports", "store", "whatsat", "wire"],
    ),
    ("clock", &["digits"]),
    ("counters", &[]),
    ("digits", &[]),
    ("driver", &["border", "clock", "names", "session", "whatsat", "wire"]),
    (
        "engine",
        &[
            "Server",
            "border",
            "clock",
            "counters",
            "names",
            "nats_wire",
            "parts",
            "peers",
            "reports",
            "store",
            "wire",
        ],
    ),
    (
        "journal",
        &[
            "Server", "border", "clock", "digits", "driver", "names", "peers", "session", "store",
            "wire",
        ],
    ),
    ("names", &[]),
    ("nats_wire", &[]),
    ("parts", &["store"]),
    (
        "peers",
        &[
            "Server", "border", "clock", "counters", "engine", "names", "reports", "settings",
            "store", "wire",
        ],
    ),
    ("presets", &[]),
    ("reports", &["Server", "border", "clock", "names", "peers", "store", "wire"]),
    ("session", &["names", "wire"]),
    ("settings", &["engine", "peers"]),
    ("store", &["clock", "wire"]),
    ("timer_wheel", &[]),
    ("whatsat", &["names"]),
    ("wire", &["clock", "digits", "store", "whatsat"]),
];

/// Demands that `seen` is what the table says.
fn check_table(table: &[(&str, &[&str])], seen: &BTreeMap<&str, BTreeSet<&str>>) {
    for (part, names) in seen {
        let line = table.iter().find(|(other, _)| other == part);
        let (_, allowed) = line.unwrap_or_else(|| panic!("the table has no line for {part}"));
        assert!(names.iter().eq(allowed.iter()), "{part} names {names:?}, and may {allowed:?}");
    }
    for (part, _) in table {
        assert!(seen.contains_key(part), "the table has {part}, which is not there");
    }
}

#[test]
fn imports_follow_the_map() {
    let sources = sources(&["src/herd", "src/core"]);
    let mut parts: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is_in("src/herd/")) {
        let names = parts.entry(words(&source.path).nth(2).unwrap()).or_default();
        // The binary sees the library from outside.
        let library = if source.is_in("src/herd/cmd/") { "herd" } else { "crate" };
        names.extend(source.names_after(library));
    }
    check_table(PARTS, &parts);

    let mut core: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for source in sources.iter().filter(|source| source.is_in("src/core/")) {
        let mut folders = source.path.trim_start_matches("src/core/").split(['/', '.']);
        let file = folders.next().unwrap();
        // In a folder of its own, `super` is what the folder is about.
        let above = if folders.next() == Some("rs") { "super" } else { "crate" };
        if file != "lib" {
            core.entry(file).or_default().extend(source.names_after(above));
        }
    }
    check_table(CORE, &core);
}

/// The core decides and does nothing itself: which library it may not name, its Cargo.toml says;
/// this is what it may not name of the standard library.
#[test]
fn the_core_is_pure() {
    for source in sources(&["src/core"]) {
        for outside in ["net", "thread", "fs", "io", "env", "process", "os", "sync"] {
            assert!(!source.names_after("std").contains(outside), "{}: {outside}", source.path);
        }
        // The order of the last two is random, and nothing random may reach an output.
        for word in ["Instant", "SystemTime", "println", "eprintln", "HashMap", "HashSet"] {
            assert!(source.words().all(|other| other != word), "{}: {word}", source.path);
        }
        assert!(!source.code.contains("Rng::new()"), "{}: seeds are handed in", source.path);
    }
}

// ---- how things are written ----

#[test]
fn every_file_says_what_it_is() {
    for source in everything() {
        assert!(source.text.starts_with("//! "), "{} opens with `//! `", source.path);
        assert!(source.text.ends_with('\n') && !source.text.ends_with("\n\n"), "{}", source.path);
    }
}

#[test]
fn nothing_is_too_long() {
    for source in everything() {
        let path = &source.path;
        assert!(source.text.lines().count() <= FILE_LINES_MAX, "{path} wants to be two files");
        for (number, line) in source.text.lines().enumerate() {
            // A raw literal cannot be broken.
            let fits = line.chars().count() <= COLUMNS_MAX || line.contains("r#\"");
            assert!(fits, "{path}:{}: more than {COLUMNS_MAX} columns", number + 1);
        }
        for (number, length) in functions(&blank(&source.text)) {
            assert!(length <= FUNCTION_LINES_MAX, "{path}:{number}: {length} lines");
        }
    }
}

/// The first line and the number of lines of every function.
fn functions(code: &str) -> Vec<(usize, usize)> {
    let is_function = |at: &usize| !ends_in_word(&code[..*at]);
    let begins = code.match_indices("fn ").map(|(at, _)| at).filter(is_function);
    let measure = |at: usize| {
        let body = code[at..].find(['{', ';']).filter(|end| code[at + end..].starts_with('{'))?;
        let mut depth = 0;
        let is_end = |c: char| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            depth == 0
        };
        let length = code[at + body..].find(is_end)?;
        let lines = code[at..at + body + length].matches('\n').count() + 1;
        Some((code[..at].matches('\n').count() + 1, lines))
    };
    begins.filter_map(measure).collect()
}

#[test]
fn nothing_is_left_undone() {
    for source in everything() {
        for word in [concat!("TO", "DO"), concat!("FIX", "ME"), concat!("XX", "X")] {
            assert!(words(&source.text).all(|other| other != word), "{}: {word}", source.path);
        }
        let code = blank(&source.text);
        for word in ["unsafe", "todo", "unimplemented", "dbg"] {
            assert!(words(&code).all(|other| other != word), "{}: {word}", source.path);
        }
        if source.is_in("src/") {
            assert!(!source.code.contains(".unwrap()"), "{}: `unwrap` outside tests", source.path);
        }
    }
}

/// Verbs that fit everything say nothing.
#[test]
fn names_mean_something() {
    for source in sources(&["src"]) {
        let words: Vec<_> = source.words().collect();
        let named = words.windows(2).filter(|pair| ["fn", "mod"].contains(&pair[0]));
        for verb in named.filter_map(|pair| pair[1].split('_').next()) {
            let empty = ["process", "manage", "util", "utils", "helper", "helpers", "get", "do"];
            assert!(!empty.contains(&verb), "{}: `{verb}` says nothing", source.path);
        }
    }
}

/// The reader of sources reads as the compiler does, where the rules depend on it.
#[test]
fn comments_and_literals_are_no_code() {
    let check = |text: &str, code: &str| assert_eq!(blank(text), code, "{text}");
    check("a // b\nc", "a \"\"\nc");
    check("a /* b\n */ c", "a \"\"\n c");
    check(r#"f("a\"//b", 'x', '\'', b'"') 'a"#, r#"f("", "", "", b"") 'a"#);
    check("let r = r#\"a\"b\n\"#; br\"x\" ar\"y\"", "let r = \"\"\n; \"\" ar\"\"");
    assert_eq!(heads("a::b, c"), ["a"]);
    assert_eq!(heads("{self, a::{b, c}, d as e};"), ["self", "a", "d"]);
    assert_eq!(functions("fn a();\nfn b(\n) -> {\n  {}\n}\nfn c() {}"), [(2, 4), (6, 1)]);
}
