//! The terminal while a program has all of it: modes, size, drawing; and how it is given back
//! whatever happens: at the end, for a stop (Ctrl-Z), and in a panic.

use std::io;
use std::sync::{Arc, Mutex};
use std::{panic, thread};

use rustix::io::retry_on_intr;
use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

use super::view::{Line, Look};

/// Another screen, without a cursor, on which a line that is too long goes nowhere.
const ENTER: &str = "\x1b[?1049h\x1b[?25l\x1b[?7l";
const LEAVE: &str = "\x1b[?7h\x1b[?25h\x1b[0m\x1b[?1049l";

/// A terminal that is ours until it is dropped.
pub struct Terminal {
    /// The modes that it had. `None`: they are in force, and the screen is not ours.
    before: Arc<Mutex<Option<Termios>>>,
    has_colours: bool,
}

impl Terminal {
    /// # Errors
    /// Standard input and output are not a terminal's.
    pub fn enter(has_colours: bool) -> io::Result<Terminal> {
        let terminal = Terminal { before: Arc::new(Mutex::new(None)), has_colours };
        terminal.take()?;
        let before = Arc::clone(&terminal.before);
        let tell = panic::take_hook();
        // What the panic says would vanish with the screen, and be without line ends.
        panic::set_hook(Box::new(move |about| {
            give_back(&before);
            tell(about);
        }));
        Ok(terminal)
    }

    /// Takes the screen. Keys come at once and are not shown; those that send signals still do.
    ///
    /// # Errors
    /// What the system says.
    pub fn take(&self) -> io::Result<()> {
        let stdin = io::stdin();
        let mut modes = tcgetattr(&stdin)?;
        let Ok(mut before) = self.before.lock() else { return Ok(()) };
        if before.is_none() {
            *before = Some(modes.clone());
        }
        modes.local_modes -= LocalModes::ICANON | LocalModes::ECHO;
        tcsetattr(&stdin, OptionalActions::Flush, &modes)?;
        write(ENTER)
    }

    pub fn give_back(&self) {
        give_back(&self.before);
    }

    /// Columns and rows. A terminal that does not know them is as they once all were.
    pub fn size(&self) -> (usize, usize) {
        match tcgetwinsize(io::stdout()) {
            Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
                (usize::from(size.ws_col), usize::from(size.ws_row))
            }
            _ => (80, 24),
        }
    }

    /// Puts these lines on the screen, from its top, in one write.
    ///
    /// # Errors
    /// What the system says.
    pub fn draw(&self, lines: &[Line]) -> io::Result<()> {
        let mut text = "\x1b[H".to_owned();
        for (number, line) in lines.iter().enumerate() {
            let look = match line.look {
                Look::Plain => "",
                Look::Strong => "\x1b[1m",
                Look::Chosen => "\x1b[7m",
                Look::Bad if self.has_colours => "\x1b[31m",
                Look::Bad => "\x1b[1m",
            };
            let end = if number + 1 == lines.len() { "" } else { "\r\n" };
            // To clear behind the text would take its last character in the last column.
            text += &format!("\x1b[2K{look}{}\x1b[0m{end}", line.text);
        }
        write(&text)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        self.give_back();
        // In a panic the hook is at work.
        if !thread::panicking() {
            let _ = panic::take_hook();
        }
    }
}

fn give_back(before: &Mutex<Option<Termios>>) {
    let mut before = before.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    if let Some(modes) = before.take() {
        let _ = write(LEAVE);
        let _ = tcsetattr(io::stdin(), OptionalActions::Flush, &modes);
    }
}

/// Past the lock of standard output, which another thread may hold when one panics.
fn write(text: &str) -> io::Result<()> {
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let written = retry_on_intr(|| rustix::io::write(io::stdout(), rest))?;
        rest = &rest[written..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs::File;
    use std::os::unix::ffi::OsStrExt;
    use std::process::Command;

    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

    use super::*;

    /// Says which of the two processes of a test this is.
    const INSIDE: &str = "TEST_IS_INSIDE";

    /// Goal: a panic gives the terminal back before it is told, so that it can be read.
    /// Method: this test again, in a terminal of its own, where it panics.
    #[test]
    fn a_panic_gives_the_terminal_back() {
        if env::var_os(INSIDE).is_some() {
            let _terminal = Terminal::enter(true).unwrap();
            panic!("on purpose");
        }
        let ours = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        grantpt(&ours).unwrap();
        unlockpt(&ours).unwrap();
        let path = ptsname(&ours, Vec::new()).unwrap();
        let path = std::ffi::OsStr::from_bytes(path.to_bytes()).to_owned();
        let end = || File::options().read(true).write(true).open(&path).unwrap();
        let theirs = end();
        let before = tcgetattr(&theirs).unwrap().local_modes;
        let test = "cmd::top::terminal::tests::a_panic_gives_the_terminal_back";
        let mut inside = Command::new(env::current_exe().unwrap());
        inside.args([test, "--exact", "--nocapture"]).env(INSIDE, "1");
        let ended = inside.stdin(end()).stdout(end()).stderr(end()).status().unwrap();
        assert!(!ended.success());
        assert_eq!(tcgetattr(&theirs).unwrap().local_modes, before);
        let mut said = vec![0; 1 << 16];
        let length = rustix::io::read(&ours, &mut said).unwrap();
        let said = String::from_utf8_lossy(&said[..length]);
        let at =
            |part: &str| said.find(part).unwrap_or_else(|| panic!("{part:?} is not in {said}"));
        assert!(at(ENTER) < at(LEAVE) && at(LEAVE) < at("on purpose"), "{said}");
    }
}
