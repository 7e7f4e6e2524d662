//! The command `herd presets`: the herds of the course's years.

use std::io::{self, Write};

use herd::config::presets::BASE_PORT;
use herd_core::presets::PRESETS;

use super::check_config::listed;
use super::table::write_table;

/// The years, with their ports and which peer dials which.
///
/// # Errors
/// What `out` says.
pub fn write_presets(out: &mut impl Write) -> io::Result<()> {
    let header = ["YEAR", "SERVERS", "LINKS (the first-named dials)"].map(str::to_owned);
    let rows = PRESETS.iter().map(|preset| {
        let year = match preset.alias {
            Some(alias) => format!("{}, {alias}", preset.year),
            None => preset.year.to_owned(),
        };
        let links = preset.links.iter().map(|(dials, accepts)| format!("{dials}-{accepts}"));
        [year, preset.servers.join(" "), listed(links)]
    });
    write_table(out, &[vec![header], rows.collect()].concat())?;
    writeln!(
        out,
        "\nClient ports count up from {BASE_PORT} in this order (--base-port moves them); peer \
         ports are 100 above.\nA name without a year means the newest year that has it."
    )
}
