//! The flags of `lab`, which itself says which names there are.

use clap::Args;
use clap::builder::PossibleValuesParser;

use herd_teach::lab;

/// What `lab` takes.
#[derive(Args, Clone, Debug)]
pub struct LabFlags {
    /// Which experiment
    #[arg(value_parser = PossibleValuesParser::new(lab::names()), hide_possible_values = true)]
    pub name: Option<String>,
    /// List all experiments, with the chapters of NOTES.md that they belong to
    #[arg(long, conflicts_with = "name")]
    pub list: bool,
    /// Be the part of an experiment that must not share a process.
    #[arg(long, hide = true, requires = "name")]
    pub alone: Option<String>,
}
