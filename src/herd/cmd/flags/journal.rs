//! What `journal` takes.

use std::path::PathBuf;

use clap::Subcommand;

use herd::config::herd::parse_name;
use herd::config::units::{TIMER_MAX, parse_duration};
use herd::status::Order;

use super::{PlaceFlags, WhoseFlags};

#[derive(Debug, Subcommand)]
pub enum JournalCommand {
    /// Say what a journal holds, and whether all of it is there; exit code 1 if it is not
    Check {
        /// The journal of a server, or the directory that has one for each
        dir: PathBuf,
        /// One line of JSON for each journal
        #[arg(long)]
        json: bool,
    },
    /// Print the newest report of each client as an AT line, sorted
    Dump {
        /// The journal of a server, or the directory that has one for each
        dir: PathBuf,
    },
    /// Have a running server write all that it knows anew, and then remove older files
    Compact {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        #[command(flatten)]
        place: PlaceFlags,
    },
    /// Have a running server remove no file for a while, so that its journal can be copied
    Hold {
        /// The server's name in its herd
        #[arg(value_parser = parse_name)]
        name: String,
        /// As in 10min; `off` ends it
        #[arg(value_parser = parse_hold)]
        time: Order,
        #[command(flatten)]
        place: PlaceFlags,
    },
    /// Make the journal of a server that does not run, of AT lines as `dump` prints them
    Restore {
        /// The lines; `-` for standard input
        lines: PathBuf,
        /// Where the server will look for its journal: journal/Hill; empty or not there
        dir: PathBuf,
        #[command(flatten)]
        whose: WhoseFlags,
    },
    /// Make the journal of another server of the herd this server's own; its files are set aside
    Adopt {
        /// Where the server will look for its journal: journal/Hill
        dir: PathBuf,
        #[command(flatten)]
        whose: WhoseFlags,
    },
}

/// How long no file is to be removed.
fn parse_hold(text: &str) -> Result<Order, String> {
    if text == "off" {
        return Ok(Order::Hold(None));
    }
    parse_duration(text, TIMER_MAX).map(|time| Order::Hold(Some(time)))
}
