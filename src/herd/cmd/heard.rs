//! What a command says while it starts or stops servers, though nobody may read it to the end:
//! `herd start | grep -q Bona` closes the pipe at the first line that fits. That must not leave
//! half of the servers started, or stopped and not started again.

use std::io::{self, Write};

use super::exit::{Exit, Failure};

/// Takes all that is said. What `out` refuses is lost, and remembered.
pub struct Heard<W> {
    out: W,
    refused: Option<io::Error>,
}

impl<W: Write> Heard<W> {
    fn unless_refused(&mut self, say: impl FnOnce(&mut W) -> io::Result<()>) {
        if self.refused.is_none() {
            self.refused = say(&mut self.out).err();
        }
    }
}

impl<W: Write> Write for Heard<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.unless_refused(|out| out.write_all(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.unless_refused(W::flush);
        Ok(())
    }
}

/// Does all of it, whether `out` takes what is said or not.
///
/// # Errors
/// What has gone wrong; if nothing has, that `out` could not be written.
pub fn heard<W: Write>(
    out: W,
    act: impl FnOnce(&mut Heard<W>) -> Result<Exit, Failure>,
) -> Result<Exit, Failure> {
    let mut out = Heard { out, refused: None };
    let exit = act(&mut out)?;
    match out.refused {
        Some(error) if exit == Exit::Success => Err(Failure::of_output(&error)),
        _ => Ok(exit),
    }
}
