//! A picture of it: connections and memory over time.

use herd_load::picture::Picture;

use super::outcome::{Outcome, megabytes};

/// What was seen at one moment.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Since the herd was complete.
    pub seconds: f64,
    pub connections: u64,
    pub memory_bytes: u64,
}

const WIDTH: f64 = 640.0;
const HEIGHT: f64 = 220.0;
/// Beside the picture, for figures.
const LEFT: f64 = 76.0;
const RIGHT: f64 = 88.0;
const TOP: f64 = 44.0;
const BOTTOM: f64 = 44.0;

const LIGHT: &str = "\
.end { text-anchor: end }
polyline { fill: none; stroke-width: 2 }
.connections { stroke: #2f7ed8; fill: #2f7ed8 }
.memory { stroke: #d0a24c; fill: #d0a24c }
line { stroke: #a8b3c0 }
polyline.connections, polyline.memory { fill: none }
text.connections, text.memory { stroke: none }
";
const DARK: &str = "\
  .connections { stroke: #4b96ea; fill: #4b96ea }
  .memory { stroke: #a97f2e; fill: #a97f2e }
  line { stroke: #5d6977 }
";

pub fn draw(outcome: &Outcome, samples: &[Sample]) -> String {
    let most = |of: fn(&Sample) -> f64| samples.iter().map(of).fold(1.0, f64::max);
    let seconds = most(|sample| sample.seconds);
    let (connections, memory) =
        (most(|sample| sample.connections as f64), most(|sample| sample.memory_bytes as f64));
    let x = |at: f64| LEFT + (WIDTH - LEFT - RIGHT) * at / seconds;
    let y = |share: f64| HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * share;

    let title = "Connections and memory of a herd over time";
    let mut picture = Picture::new((WIDTH, HEIGHT), title, LIGHT, DARK);
    let Outcome { servers, opened_in_s, seconds: measured, rate, .. } = outcome;
    let head = format!("{} connections on {servers} servers of one machine", outcome.connections);
    picture.text((12.0, 18.0), "head", &head);
    for (at, what) in [(0.0, "0 s"), (*opened_in_s, "all open"), (opened_in_s + measured, "end")] {
        let (from, to) = (y(0.0), y(1.0));
        let at = x(at.min(seconds));
        picture
            .add(format!("<line x1=\"{at:.1}\" y1=\"{from:.1}\" x2=\"{at:.1}\" y2=\"{to:.1}\"/>"));
        picture.text((at, HEIGHT - BOTTOM + 16.0), "", what);
    }
    let rates = format!(
        "{opened_in_s:.0} s until all are open, then {rate} reports a second for {measured:.0} s"
    );
    picture.text((LEFT, HEIGHT - 10.0), "", &rates);
    let line = |class: &str, of: &dyn Fn(&Sample) -> f64| {
        let points = samples.iter().map(|it| format!("{:.1},{:.1}", x(it.seconds), y(of(it))));
        format!("<polyline class=\"{class}\" points=\"{}\"/>", Vec::from_iter(points).join(" "))
    };
    picture.add(line("connections", &|sample| sample.connections as f64 / connections));
    picture.add(line("memory", &|sample| sample.memory_bytes as f64 / memory));
    let top = y(1.0) + 4.0;
    picture.text((LEFT - 6.0, top), "connections end", &format!("{connections:.0}"));
    picture.text((WIDTH - RIGHT + 6.0, top), "memory", &megabytes(memory as u64));
    picture.finish()
}
