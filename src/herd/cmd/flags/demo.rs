//! The flags of `herd demo`.

use std::time::Duration;

use clap::Args;

use super::HerdFlags;
use super::bench::parse_seconds;

/// How many, and for how long.
#[derive(Args, Clone, Debug)]
pub struct DemoFlags {
    /// How many clients
    #[arg(long, value_name = "N", default_value_t = 100)]
    #[arg(value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub clients: u32,
    /// End by itself after so long [default: Ctrl-C ends it]
    #[arg(short, long, value_name = "S", value_parser = parse_seconds)]
    pub seconds: Option<Duration>,
    #[command(flatten)]
    pub herd: HerdFlags,
}
