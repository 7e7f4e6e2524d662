//! Columns that people can read in a terminal.
//!
//! Several commands print one. It knows nothing of what is in the cells.

use std::io::{self, Write};

/// Prints rows of `N` cells, each column as wide as its widest cell, the last one unpadded.
///
/// # Errors
/// What `out` says.
pub fn write_table<const N: usize>(out: &mut impl Write, rows: &[[String; N]]) -> io::Result<()> {
    let widths: [usize; N] = std::array::from_fn(|column| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default()
    });
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}  "));
        }
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Text from outside as a terminal may have it: what would move its cursor stands as `?`.
pub fn shown(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '?' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_from_outside_moves_the_cursor() {
        assert_eq!(shown("Élan\u{1b}[2J\r\n\u{9b}"), "Élan?[2J???");
    }

    #[test]
    fn columns_are_as_wide_as_their_cells() {
        let rows = [["NAME", "N"], ["Élan", "1"], ["Goloman", ""]];
        let rows = rows.map(|row| row.map(String::from));
        let mut out = Vec::new();
        write_table(&mut out, &rows).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "NAME     N\nÉlan     1\nGoloman\n");
    }
}
