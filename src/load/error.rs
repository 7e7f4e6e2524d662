//! Why there was no load, or no measure of it.

use std::fmt;

/// What is in the way, in a message for the person who wants the load.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LoadError {
    /// The process that was to be measured is not there.
    NotRunning(String),
    /// The server cannot be reached, or is none of this protocol.
    Unreachable(String),
    /// The system refuses descriptors, or its event queue has failed.
    System(String),
}

impl fmt::Display for LoadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (LoadError::NotRunning(message)
        | LoadError::Unreachable(message)
        | LoadError::System(message)) = self;
        f.write_str(message)
    }
}

impl std::error::Error for LoadError {}
