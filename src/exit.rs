//! How a `herd` command ends: every exit code, in one place.
//!
//! Apart from the commands because scripts and service managers rely on the numbers. They follow
//! sysexits.h where it has one. The code of a usage error, 2, is clap's.

use std::process::ExitCode;

/// Why a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    /// Standard output cannot be written.
    Output = 1,
    /// The server that was asked about is not running.
    NotRunning = 3,
    /// EX_UNAVAILABLE: nobody listens there, or nobody answers in time.
    Unreachable = 69,
    /// EX_CANTCREAT: the log or the run directory cannot be used.
    CannotCreate = 73,
    /// EX_CONFIG: herd.toml, a key file or the choice of a herd is wrong.
    Config = 78,
    /// A port, or the server's name in its run directory, is taken (98 is EADDRINUSE on Linux).
    Taken = 98,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}
