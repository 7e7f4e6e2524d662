//! A picture of the race: one bar for each rival and each of a few loads. Apart from the tables,
//! which say it all.

use herd_load::picture::Picture;

use crate::machine::short;
use crate::race::{Aim, Load, Measurement, median_number};
use crate::rivals::Rival;

const LABELS: f64 = 180.0;
const PANEL: f64 = 200.0;
/// The longest bar leaves room for its figure.
const BAR: f64 = 130.0;
const ROW: f64 = 20.0;
const TOP: f64 = 48.0;
const MARGIN: f64 = 12.0;

const LIGHT: &str = "\
.bar { fill: #a8b3c0 }
.limit { fill: #d0a24c }
.ours { fill: #2f7ed8 }
";
const DARK: &str = "\
  .bar { fill: #5d6977 }
  .limit { fill: #a97f2e }
  .ours { fill: #4b96ea }
";

pub fn draw(rivals: &[Rival], loads: &[Load], results: &[Measurement]) -> String {
    let is_drawn = |load: &usize| loads[*load].aim == Aim::Rate { is_drawn: true };
    let drawn: Vec<_> = (0..loads.len()).filter(is_drawn).collect();
    let shown: Vec<_> =
        (0..rivals.len()).filter(|rival| !rivals[*rival].is_for_lone_only).collect();
    let width = LABELS + drawn.len() as f64 * PANEL + MARGIN;
    let top_of = |row: usize| TOP + row as f64 * ROW;
    let size = (width, top_of(shown.len()) + MARGIN);
    let title = "Requests a second of the herd and its rivals";
    let mut picture = Picture::new(size, title, LIGHT, DARK);
    picture.text((MARGIN, 18.0), "head", "Requests a second, one core for the server");
    for (row, rival) in shown.iter().map(|rival| &rivals[*rival]).enumerate() {
        let class = if rival.is_ours { "head" } else { "" };
        picture.text((MARGIN, top_of(row) + 14.0), class, &rival.name);
    }
    for (column, load) in drawn.into_iter().enumerate() {
        let left = LABELS + column as f64 * PANEL;
        picture.text((left, 38.0), "head", loads[load].name);
        let path = "/answers_per_second";
        let figures = shown.iter().map(|rival| median_number(results, *rival, load, path));
        let figures: Vec<_> = figures.collect();
        let most = figures.iter().flatten().fold(f64::MIN_POSITIVE, |most, it| most.max(*it));
        for (row, (figure, rival)) in figures.iter().zip(&shown).enumerate() {
            let Some(figure) = figure else { continue };
            let length = (BAR * figure / most).max(1.0);
            let (class, top) = (class(&rivals[*rival]), top_of(row));
            let y = top + 3.0;
            picture.add(format!(
                "<rect class=\"{class}\" x=\"{left}\" y=\"{y}\" width=\"{length:.1}\" \
                 height=\"14\" rx=\"2\"/>"
            ));
            picture.text((left + length.floor() + 5.0, top + 14.0), "", &short(*figure));
        }
    }
    picture.finish()
}

fn class(rival: &Rival) -> &'static str {
    match (rival.is_ours, rival.is_limit) {
        (true, _) => "ours",
        (_, true) => "limit",
        _ => "bar",
    }
}
