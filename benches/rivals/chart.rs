//! A picture of the race: one bar for each rival and each of a few loads, as an SVG that fits a
//! page on a light and on a dark ground. Apart from the tables, which say it all.

use crate::machine::short;
use crate::race::{Aim, Load, Measurement, median_number};
use crate::rivals::Rival;

const LABELS: usize = 180;
const PANEL: usize = 200;
/// The longest bar leaves room for its figure.
const BAR: f64 = 130.0;
const ROW: usize = 20;
const TOP: usize = 48;
const MARGIN: usize = 12;

const STYLE: &str = "\
text { font: 12px system-ui, sans-serif; fill: #24292f }
.head { font-weight: 600 }
.bar { fill: #a8b3c0 }
.limit { fill: #d0a24c }
.ours { fill: #2f7ed8 }
@media (prefers-color-scheme: dark) {
  text { fill: #d7dde3 }
  .bar { fill: #5d6977 }
  .limit { fill: #a97f2e }
  .ours { fill: #4b96ea }
}
";

pub fn draw(rivals: &[Rival], loads: &[Load], results: &[Measurement]) -> String {
    let is_drawn = |load: &usize| loads[*load].aim == Aim::Rate { is_drawn: true };
    let drawn: Vec<_> = (0..loads.len()).filter(is_drawn).collect();
    let shown: Vec<_> =
        (0..rivals.len()).filter(|rival| !rivals[*rival].is_for_lone_only).collect();
    let width = LABELS + drawn.len() * PANEL + MARGIN;
    let height = TOP + shown.len() * ROW + MARGIN;
    let mut parts = vec![format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" \
         width=\"{width}\" height=\"{height}\" role=\"img\">\n\
         <title>Requests a second of the herd and its rivals</title>\n<style>\n{STYLE}</style>"
    )];
    parts.push(text(MARGIN, 18, "head", "Requests a second, one core for the server"));
    for (row, rival) in shown.iter().map(|rival| &rivals[*rival]).enumerate() {
        let class = if rival.is_ours { "head" } else { "" };
        parts.push(text(MARGIN, TOP + row * ROW + 14, class, &rival.name));
    }
    for (column, load) in drawn.into_iter().enumerate() {
        let left = LABELS + column * PANEL;
        parts.push(text(left, 38, "head", loads[load].name));
        let path = "/answers_per_second";
        let figures = shown.iter().map(|rival| median_number(results, *rival, load, path));
        let figures: Vec<_> = figures.collect();
        let most = figures.iter().flatten().fold(f64::MIN_POSITIVE, |most, it| most.max(*it));
        for (row, (figure, rival)) in figures.iter().zip(&shown).enumerate() {
            let Some(figure) = figure else { continue };
            let length = (BAR * figure / most).max(1.0);
            let top = TOP + row * ROW;
            let (class, y) = (class(&rivals[*rival]), top + 3);
            parts.push(format!(
                "<rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" \
                 height=\"14\" rx=\"2\"/>"
            ));
            parts.push(text(left + length as usize + 5, top + 14, "", &short(*figure)));
        }
    }
    parts.push("</svg>\n".to_owned());
    parts.join("\n")
}

fn class(rival: &Rival) -> &'static str {
    match (rival.is_ours, rival.is_limit) {
        (true, _) => "ours",
        (_, true) => "limit",
        _ => "bar",
    }
}

fn text(x: usize, y: usize, class: &str, what: &str) -> String {
    let what = what.replace('&', "&amp;").replace('<', "&lt;");
    let class = if class.is_empty() { String::new() } else { format!(" class=\"{class}\"") };
    format!("<text x=\"{x}\" y=\"{y}\"{class}>{what}</text>")
}
