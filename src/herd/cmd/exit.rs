//! How a `herd` command ends: every exit code, and the one message that goes with a failure.
//!
//! Scripts and service managers rely on the numbers. They follow sysexits.h where it has one.

use std::io;
use std::process::ExitCode;

use rustix::io::Errno;

use herd::config::ConfigError;
use herd::journal::load::LoadError as JournalLoadError;
use herd::journal::{DirectoryError, JournalError};
use herd::logging::LogError;
use herd::reactor::StartError;
use herd::run_dir::ClaimError;
use herd_load::LoadError;
use herd_teach::lab::LabError;

/// Why a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    Success = 0,
    /// Standard output cannot be written, a journal is not whole, a simulated herd has broken a
    /// promise, a planted bug was not noticed, or an experiment did not show its effect.
    Failed = 1,
    /// The arguments are invalid. Clap uses the same code for its own errors.
    Usage = 2,
    /// The server that was asked about is not running.
    NotRunning = 3,
    /// EX_UNAVAILABLE: no server listens there, or none answers in time; or an experiment misses
    /// python3 or a disk.
    Unreachable = 69,
    /// EX_OSERR: the system refuses something that every process may have.
    System = 71,
    /// EX_CANTCREAT: the log or the run directory cannot be used, or a key file or a trace not be
    /// made.
    CannotCreate = 73,
    /// EX_IOERR: the server has stopped, and the disk has not taken all that it has answered.
    NotKept = 74,
    /// EX_TEMPFAIL: the server has stopped, and no peer has said that it keeps all its reports.
    NotHandedOver = 75,
    /// EX_NOPERM: the server, the run directory, or a journal to be looked at is another user's.
    NotAllowed = 77,
    /// EX_CONFIG: herd.toml, a key file or the choice of a herd is wrong, or no server has a name.
    Config = 78,
    /// A port, or the server's name in its run directory, is taken (98 is EADDRINUSE on Linux).
    Taken = 98,
}

impl Exit {
    /// The exit code of a server that a command has started; the command ends with the same.
    pub fn of_server(code: i32) -> Exit {
        let all = [Exit::System, Exit::CannotCreate, Exit::NotAllowed, Exit::Config, Exit::Taken];
        all.into_iter().find(|exit| *exit as i32 == code).unwrap_or(Exit::Failed)
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit as u8)
    }
}

/// What a command could not do: a message for the operator, a code for scripts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub exit: Exit,
    /// Empty if there is nothing to say.
    pub message: String,
}

impl Failure {
    pub fn new(exit: Exit, message: impl Into<String>) -> Failure {
        Failure { exit, message: message.into() }
    }

    /// Standard output cannot be written. A reader that closes the far end of a pipe has seen
    /// enough: that is no failure.
    pub fn of_output(error: &io::Error) -> Failure {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Failure::new(Exit::Success, "");
        }
        Failure::new(Exit::Failed, format!("cannot write to standard output: {error}"))
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Failure {
        Failure::new(Exit::Config, error.to_string())
    }
}

impl From<ClaimError> for Failure {
    fn from(error: ClaimError) -> Failure {
        let message = error.to_string();
        match error {
            ClaimError::Taken { .. } => Failure::new(Exit::Taken, message),
            ClaimError::Failed { path, error } => {
                scarce(&format!("to use {}", path.display()), &error)
                    .unwrap_or(Failure::new(Exit::CannotCreate, message))
            }
        }
    }
}

impl From<LogError> for Failure {
    fn from(error: LogError) -> Failure {
        let failure = Failure::new(Exit::CannotCreate, error.to_string());
        match error {
            LogError::File(path, why) | LogError::Directory(path, why) => {
                scarce(&format!("to open {}", path.display()), &why).unwrap_or(failure)
            }
            LogError::Thread(why) => scarce("for the thread of the log", &why).unwrap_or(failure),
            LogError::Twice => failure,
        }
    }
}

/// If the system has too little of something, no other directory or port will help.
fn scarce(what: &str, error: &io::Error) -> Option<Failure> {
    let way_out = match Errno::from_io_error(error)? {
        Errno::MFILE => "allow it more descriptors (ulimit -n)",
        Errno::NFILE => "the whole system has no more descriptors: end what is not needed",
        Errno::AGAIN => "allow its user more processes and threads (ulimit -u)",
        Errno::NOMEM | Errno::NOBUFS => "end what needs the memory",
        _ => return None,
    };
    let message = format!("the system gives this process too little {what} ({error}): {way_out}");
    Some(Failure::new(Exit::System, message))
}

impl From<JournalLoadError> for Failure {
    fn from(error: JournalLoadError) -> Failure {
        Failure::from(JournalError::Load(error))
    }
}

impl From<JournalError> for Failure {
    fn from(error: JournalError) -> Failure {
        Failure::new(Exit::from(&error), error.to_string())
    }
}

impl From<&JournalError> for Exit {
    fn from(error: &JournalError) -> Exit {
        match error {
            JournalError::Directory(DirectoryError::Locked { .. }) => Exit::Taken,
            JournalError::Directory(DirectoryError::Unusable { .. })
            | JournalError::Load(JournalLoadError::Unreadable { .. })
            | JournalError::Occupied { .. } => Exit::CannotCreate,
            JournalError::Load(_) | JournalError::NotWhole { .. } => Exit::Config,
            JournalError::Threads(_) => Exit::System,
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Failure {
        if let StartError::CannotListen { error: why, .. }
        | StartError::AdminSocket { error: why, .. }
        | StartError::System(_, why) = &error
            && let Some(failure) = scarce("to start a server", why)
        {
            return failure;
        }
        let exit = match error {
            StartError::Taken { .. } => Exit::Taken,
            StartError::Journal(ref error) => Exit::from(error),
            StartError::CannotListen { .. }
            | StartError::Passed { .. }
            | StartError::Tls(_)
            | StartError::Places(_) => Exit::Config,
            StartError::AdminSocket { .. } | StartError::Trace { .. } => Exit::CannotCreate,
            StartError::System(..) | StartError::Descriptors { .. } => Exit::System,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<LoadError> for Failure {
    fn from(error: LoadError) -> Failure {
        let exit = match error {
            LoadError::NotRunning(_) => Exit::NotRunning,
            LoadError::Unreachable(_) => Exit::Unreachable,
            LoadError::System(_) => Exit::System,
        };
        Failure::new(exit, error.to_string())
    }
}

impl From<LabError> for Failure {
    fn from(error: LabError) -> Failure {
        let exit = match &error {
            LabError::Unknown { .. } => Exit::Usage,
            LabError::Unsupported(_) => Exit::Unreachable,
            LabError::System(_) => Exit::System,
            LabError::NoEffect(_) => Exit::Failed,
            LabError::Output(error) => return Failure::of_output(error),
        };
        Failure::new(exit, error.to_string())
    }
}
