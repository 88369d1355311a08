//! The terminal that `bld` runs on, lent to a container.

use std::io::{self, IsTerminal, Write as _};

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcgetwinsize, tcsetattr};

/// Height and width of the terminal, if there is one.
pub(crate) fn size() -> Option<(u16, u16)> {
    let of_stdout = io::stdout().is_terminal().then(|| tcgetwinsize(io::stdout()).ok()).flatten();
    let size = of_stdout.or_else(|| tcgetwinsize(io::stdin()).ok())?;
    Some((size.ws_row, size.ws_col))
}

/// Hands every key to the container as it is typed, until dropped.
pub(crate) struct Raw(Termios);

impl Raw {
    /// Switches standard input to raw mode; nothing happens when it is no terminal.
    pub(crate) fn enter() -> io::Result<Option<Self>> {
        let stdin = io::stdin();
        if !stdin.is_terminal() {
            return Ok(None);
        }
        let before = tcgetattr(&stdin)?;
        let mut raw = before.clone();
        raw.make_raw();
        tcsetattr(&stdin, OptionalActions::Now, &raw)?;
        Ok(Some(Self(before)))
    }
}

impl Drop for Raw {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _gone = tcsetattr(io::stdin(), OptionalActions::Now, &self.0);
    }
}

/// Asks for a line on the terminal; `secret` ones are not shown as they are typed.
pub(crate) fn ask(question: &str, secret: bool) -> io::Result<String> {
    let stdin = io::stdin();
    io::stderr().write_all(question.as_bytes())?;
    let shown = if secret {
        let before = tcgetattr(&stdin)?;
        let mut quiet = before.clone();
        quiet.local_modes.remove(LocalModes::ECHO);
        tcsetattr(&stdin, OptionalActions::Flush, &quiet)?;
        Some(Raw(before))
    } else {
        None
    };
    let mut line = String::new();
    let read = stdin.read_line(&mut line);
    if shown.is_some() {
        io::stderr().write_all(b"\n")?;
    }
    read?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
