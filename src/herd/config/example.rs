//! A complete herd.toml with every key explained, and the page of all settings. Both are written
//! from the declarations of the knobs.

use super::knob::{Kind, Knob};
use super::settings::{SECTIONS, Section, knobs};

/// What `herd example-config` prints: `herd.toml` beside this file is the graph, and says with
/// `{above}` and `{below}` where the knobs stand.
pub fn example() -> String {
    let [above, below @ ..] = &SECTIONS;
    let below: Vec<_> = below.iter().map(section).collect();
    include_str!("herd.toml")
        .replace("{above}\n", &in_section(above))
        .replace("{below}\n", &below.join("\n"))
}

/// What SETTINGS.md holds.
pub fn page() -> String {
    let mut page = PAGE.to_owned();
    for section in &SECTIONS {
        page += &match section.name {
            "" => "\n## Above the first section\n\n".to_owned(),
            name => format!("\n## [{name}]\n\n"),
        };
        if !section.about.is_empty() {
            page += &format!("{}\n\n", section.about);
        }
        page += "| key | default | may be | change | what it is, and why this default |\n\
                 |---|---|---|---|---|\n";
        section.knobs.iter().for_each(|knob| page += &row(knob));
    }
    page + &flags()
}

const PAGE: &str = "\
# Settings

Everything that can be set in a herd.toml. This page is written from the declarations in
`limits.rs`, `log_settings.rs`, `places.rs` and `settings.rs` beside it; a test compares it. `herd
example-config` prints a herd.toml with all of it, and `herd check-config` shows what a server would
run with. A flag beats its variable, which beats herd.toml, which beats the default.

A change of herd.toml takes effect at `herd reload` where the column *change* says `live`, and for
connections that come after it where it says `new connections`. `restart` is for a server that is
started again; until then, a reload says so. What stands in no table: servers, `holds` and links are
live, but the herd's name, this server's own addresses, `plain` and `region` want a restart, as do
flags; and so do servers, `holds` and `copies` if servers have a region.
";

const COLUMNS_MAX: usize = 100;

fn section(section: &Section) -> String {
    let about = if section.about.is_empty() { String::new() } else { comment(section.about) };
    format!("{about}[{}]\n{}", section.name, in_section(section))
}

fn in_section(section: &Section) -> String {
    section.knobs.iter().map(line).collect()
}

/// A knob with its default and, behind it, what else it may be.
fn line(knob: &Knob) -> String {
    let is_default = !knob.is_optional() && knob.example == knob.default;
    // What lies in HERD_HOME unless herd.toml says otherwise.
    let is_shown = is_default && !matches!(knob.kind, Kind::Path { .. });
    let mut text = knob.meaning.to_owned();
    if let Some(value) = knob.preset {
        text += &format!(" In presets: {}.", knob.in_file(value));
    }
    if let Some(value) = knob.guarded {
        text += &format!(" With access or web_open: {}.", knob.in_file(value));
    }
    if !is_shown {
        text += &format!(" Default: {}.", knob.default);
    }
    let mark = if is_shown { "" } else { "#" };
    let (key, value) = (knob.key(), knob.in_file(knob.example));
    format!("{}{mark}{key} = {value}  # {}\n", comment(&text), knob.range())
}

/// Lines of at most so many columns, behind a `# `.
fn comment(text: &str) -> String {
    let mut comment = String::new();
    let mut columns = COLUMNS_MAX;
    for word in text.split(' ') {
        let width = word.chars().count();
        if columns + 1 + width > COLUMNS_MAX {
            comment += if comment.is_empty() { "#" } else { "\n#" };
            columns = 1;
        }
        comment.extend([" ", word]);
        columns += 1 + width;
    }
    comment + "\n"
}

fn row(knob: &Knob) -> String {
    let code = |value: &str| {
        if knob.is_optional() { value.to_owned() } else { format!("`{value}`") }
    };
    let preset = knob.preset.map(|value| format!("; in presets {}", code(value)));
    let guarded = knob.guarded.map(|it| format!("; with `access` or `web_open` {}", code(it)));
    let default = code(knob.default) + &(preset.unwrap_or_default() + &guarded.unwrap_or_default());
    let (key, may_be, change) = (knob.key(), knob.range(), knob.effect.name());
    let text = format!("{} *{}*", knob.meaning, knob.reason).replace('|', "\\|");
    format!("| `{key}` | {default} | {may_be} | {change} | {text} |\n")
}

/// Flags and variables that say the same as a key.
fn flags() -> String {
    let mut table = "\n## Flags and variables\n\n| flag of `herd serve` | variable | key |\n\
                     |---|---|---|\n"
        .to_owned();
    for knob in knobs() {
        if let Some(flag) = &knob.flag {
            let value = flag.value.replace('|', "\\|");
            let (long, variable) = (flag.long, flag.variable);
            table += &format!("| `--{long}={value}` | `{variable}` | `{}` |\n", knob.name);
        }
    }
    table
}
