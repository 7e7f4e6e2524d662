//! Why an experiment has shown nothing.

use std::error::Error;
use std::{fmt, io};

/// What is in the way.
#[derive(Debug)]
pub enum LabError {
    /// There is no experiment of this name.
    Unknown { name: String },
    /// This machine lacks something that it needs.
    Unsupported(io::Error),
    /// It cannot be run here.
    System(io::Error),
    /// It ran, and the effect that it is about did not show.
    NoEffect(String),
    /// What it found cannot be printed.
    Output(io::Error),
}

impl fmt::Display for LabError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LabError::Unknown { name } => {
                write!(f, "there is no experiment `{name}`: see `herd lab --list`")
            }
            LabError::Unsupported(error) => error.fmt(f),
            LabError::System(error) => write!(f, "the experiment cannot be run: {error}"),
            LabError::NoEffect(why) => write!(f, "the effect is not there: {why}"),
            LabError::Output(error) => write!(f, "cannot write to standard output: {error}"),
        }
    }
}

impl Error for LabError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            LabError::System(error) | LabError::Unsupported(error) | LabError::Output(error) => {
                Some(error)
            }
            LabError::Unknown { .. } | LabError::NoEffect(_) => None,
        }
    }
}
