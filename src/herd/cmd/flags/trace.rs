//! The flags of `herd trace`, which needs no herd.

use std::path::PathBuf;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub enum TraceCommand {
    /// Lay several on one timeline, by the wall clock
    Merge {
        /// What `serve --trace` and the traced twin have written
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where it goes
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
    },
    /// Put it into a page for the browser, several on one timeline
    View {
        /// What `serve --trace`, the traced twin or `trace merge` have written
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Where the page goes
        #[arg(short, long, value_name = "FILE", default_value = "trace.html")]
        output: PathBuf,
    },
}
