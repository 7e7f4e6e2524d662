//! What came of the race, in Markdown for people and in CSV for programs. Apart from the chart,
//! which shows less of it.

use std::fmt::Write;

use crate::race::{Figures, Load, Measurement};
use crate::rivals::Rival;

/// The median of one figure over the rounds; `None` if nobody knows it.
pub fn median(
    results: &[Measurement],
    rival: usize,
    load: usize,
    figure: impl Fn(&Figures) -> Option<f64>,
) -> Option<f64> {
    let of_both = |result: &&Measurement| result.rival == rival && result.load == load;
    let found = results.iter().filter(of_both).filter_map(|result| result.found.as_ref().ok());
    let mut found: Vec<f64> = found.filter_map(figure).collect();
    found.sort_by(f64::total_cmp);
    let middle = found.len() / 2;
    match found.len() {
        0 => None,
        odd if odd % 2 == 1 => Some(found[middle]),
        _ => Some(f64::midpoint(found[middle - 1], found[middle])),
    }
}

pub fn per_second(figures: &Figures) -> Option<f64> {
    Some(figures.answers_per_second)
}

/// 2.05 M, 152 k, 98.
pub fn short(number: f64) -> String {
    match number {
        _ if number >= 999_500.0 => format!("{:.2} M", number / 1e6),
        _ if number >= 9_995.0 => format!("{:.0} k", number / 1e3),
        _ if number >= 999.5 => format!("{:.1} k", number / 1e3),
        _ => format!("{number:.0}"),
    }
}

fn fine(number: f64) -> String {
    if number < 9.995 { format!("{number:.2}") } else { format!("{number:.1}") }
}

/// Two tables: requests a second, and CPU time a request with the memory of who is idle.
pub fn write(rivals: &[Rival], loads: &[Load], results: &[Measurement]) -> String {
    let mut text = String::from("Requests a second; in parentheses, of the limit's:\n\n");
    let asked: Vec<_> = (0..loads.len()).filter(|load| !loads[*load].is_idle).collect();
    write_one(&mut text, rivals, loads, &asked, |rival, load| {
        cell(rivals, rival, short, |rival| median(results, rival, load, per_second))
    });
    text +=
        "\nMicroseconds of the server's CPU time a request; in parentheses, of the limit's. For ";
    text += "those who are idle,\nresident bytes a connection:\n\n";
    let all: Vec<_> = (0..loads.len()).collect();
    write_one(&mut text, rivals, loads, &all, |rival, load| {
        if loads[load].is_idle {
            let bytes = median(results, rival, load, |figures| figures.resident_bytes_per_idle);
            return bytes.map_or_else(|| "–".to_owned(), |bytes| format!("{bytes:.0}"));
        }
        let cpu = |rival| median(results, rival, load, |figures| figures.cpu_us_per_answer);
        cell(rivals, rival, fine, cpu)
    });
    text
}

fn write_one(
    text: &mut String,
    rivals: &[Rival],
    loads: &[Load],
    columns: &[usize],
    cell: impl Fn(usize, usize) -> String,
) {
    let names: Vec<_> = columns.iter().map(|load| loads[*load].name).collect();
    *text += &format!("| | {} |\n|---|{}\n", names.join(" | "), "---:|".repeat(names.len()));
    for (number, rival) in rivals.iter().enumerate() {
        let cells: Vec<_> = columns.iter().map(|load| cell(number, *load)).collect();
        let name = if rival.is_ours { format!("**{}**", rival.name) } else { rival.name.clone() };
        *text += &format!("| {name} | {} |\n", cells.join(" | "));
    }
}

/// A figure, and its ratio to the limit's.
fn cell(
    rivals: &[Rival],
    rival: usize,
    spoken: fn(f64) -> String,
    figure: impl Fn(usize) -> Option<f64>,
) -> String {
    let limit = rivals.iter().position(|rival| rival.is_limit).and_then(&figure);
    match (figure(rival), limit) {
        (None, _) => "–".to_owned(),
        (Some(number), Some(limit)) if !rivals[rival].is_limit && limit > 0.0 => {
            format!("{} ({:.2})", spoken(number), number / limit)
        }
        (Some(number), _) => spoken(number),
    }
}

/// Every measurement by itself. A figure that is not known is an empty field.
pub fn csv(rivals: &[Rival], loads: &[Load], results: &[Measurement]) -> String {
    let mut text = String::from(
        "round,load,rival,answers_per_second,cpu_us_per_answer,p50_us,p99_us,\
         resident_bytes_after,resident_bytes_per_idle,load_cpu_percent,error\n",
    );
    for result in results {
        let (load, rival) = (loads[result.load].name, &rivals[result.rival].name);
        let fields = match &result.found {
            Ok(figures) => {
                let latency = figures.latency_us;
                let numbers = [
                    Some(figures.answers_per_second),
                    figures.cpu_us_per_answer,
                    latency.map(|latency| latency.p50),
                    latency.map(|latency| latency.p99),
                    figures.resident_bytes_after.map(|bytes| bytes as f64),
                    figures.resident_bytes_per_idle,
                    figures.load_cpu_percent,
                ];
                let spoken =
                    |number: Option<f64>| number.map_or(String::new(), |n| format!("{n:.3}"));
                format!("{},", numbers.map(spoken).join(","))
            }
            Err(why) => format!(",,,,,,,\"{}\"", why.replace('"', "'").replace('\n', " ")),
        };
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{},\"{load}\",\"{rival}\",{fields}", result.round + 1);
    }
    text
}
