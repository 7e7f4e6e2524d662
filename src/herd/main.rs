//! Arguments in, one command out. What a command does stands in `cmd`, in the file of its name.

mod cmd;

use std::io::{self, Write};
use std::process::ExitCode;

fn main() -> ExitCode {
    let exit = match cmd::run(cmd::flags::Cli::from_process().command) {
        Ok(exit) => exit,
        Err(failure) => {
            if !failure.message.is_empty() {
                // Where standard error is closed, the exit code must do.
                let _ = writeln!(io::stderr(), "herd: {}", failure.message);
            }
            failure.exit
        }
    };
    exit.into()
}
