//! Failures: what is said about them, and the exit code.
//!
//! Messages are one line: the error and its causes, joined by colons, in docker's words where a
//! script may look for them. Hints follow on lines of their own.

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::path::Path;

use bld_engine::EngineError;
use bld_server::ServerError;

use crate::template::TemplateError;

/// Exit code of a program that was interrupted from the keyboard: 128 + SIGINT.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The message; nothing when all has been said.
    text: Option<String>,
    /// The message is a report of several lines, which nothing stands in front of.
    report: bool,
    /// What could help.
    hints: Vec<String>,
    /// The exit code of `bld`.
    pub(crate) code: u8,
}

impl Failure {
    /// A failure with this message and exit code 1.
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self { text: Some(text.into()), report: false, hints: Vec::new(), code: 1 }
    }

    /// A failure whose report is whole, with its lines and what is in front of them.
    pub(crate) fn shown(report: String) -> Self {
        Self { report: true, ..Self::new(report) }
    }

    /// A failure about which all has been said.
    pub(crate) fn silent(code: u8) -> Self {
        Self { text: None, report: false, hints: Vec::new(), code }
    }

    /// The same with another exit code.
    pub(crate) fn with_code(mut self, code: u8) -> Self {
        self.code = code;
        self
    }

    /// The same, said of something.
    pub(crate) fn about(mut self, what: &str) -> Self {
        self.text = self.text.map(|text| format!("{what}: {text}"));
        self
    }

    /// The same with something that could help.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The message.
    #[cfg(test)]
    pub(crate) fn text(&self) -> Option<&str> {
        self.text.as_deref()
    }

    /// Prints message and hints on standard error.
    pub(crate) fn print(&self, prefix: &str) {
        let Some(text) = &self.text else { return };
        let mut lines = if self.report { text.clone() } else { format!("{prefix}{text}\n") };
        for hint in &self.hints {
            lines.push_str("hint: ");
            lines.push_str(hint);
            lines.push('\n');
        }
        // Nobody reads standard error: there is nobody to tell that to.
        let _unread = io::stderr().write_all(lines.as_bytes());
    }
}

/// An error with all its causes in one line. Causes that the text before repeats are left out.
pub(crate) fn describe(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        cause = error.source();
    }
    text
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Self {
        let text = describe(&error);
        match &error {
            EngineError::Io { source, .. } if source.kind() == ErrorKind::BrokenPipe => {
                Self::silent(0)
            }
            error if bld_engine::is_for_space(error) => Self::new(text).with_hint(FREE_SPACE),
            EngineError::Canceled => Self::new(text).with_code(INTERRUPTED),
            EngineError::NoSuchImage { .. }
            | EngineError::NoSuchContainer { .. }
            | EngineError::NothingToPush { .. }
            | EngineError::NameInUse { .. } => Self::new(dockerish(&text)),
            EngineError::Registry(_) if text.contains("invalid peer certificate") => {
                Self::new(text).with_hint(CERTIFICATE)
            }
            EngineError::Start { .. } if text.contains("executable file not found") => {
                Self::new(text)
                    .with_hint("the program has to exist in the image, as does its interpreter")
            }
            _ => Self::new(text),
        }
    }
}

/// What to do about a certificate that nobody we know has signed.
const CERTIFICATE: &str = "put the certificate of the registry's authority into \
                           /etc/containers/certs.d/HOST:PORT/ca.crt, or do without verification by \
                           --tls-verify=false";

/// What to do when a disk is full.
const FREE_SPACE: &str = "`bld du` shows what takes space in the store; `bld prune --all` and `bld \
                          image prune` make room";

/// What to say when there is no space left on the file system `mount`, which the store lies on.
pub(crate) fn no_space(mount: &Path) -> String {
    format!("there is no space left on the file system {}: {FREE_SPACE}", mount.display())
}

/// Docker begins these messages with a capital letter, and scripts look for that.
fn dockerish(text: &str) -> String {
    let text = match text.strip_prefix("the container name ") {
        Some(rest) => format!("Conflict. The container name {rest}"),
        None => text.to_owned(),
    };
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
}

impl From<ServerError> for Failure {
    fn from(error: ServerError) -> Self {
        Self::new(describe(&error))
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        // Whoever read our output has seen enough, as `head` does.
        if error.kind() == ErrorKind::BrokenPipe {
            Self::silent(0)
        } else {
            Self::new(error.to_string())
        }
    }
}

impl From<TemplateError> for Failure {
    fn from(error: TemplateError) -> Self {
        Self::new(error.to_string())
    }
}

impl Failure {
    /// A template that cannot be read, for those commands that have docker's own code for it: `inspect`, `info`,
    /// `version` and `events`. Lists have none, and neither has a template that does not fit.
    pub(crate) fn unreadable(error: TemplateError) -> Self {
        Self::from(error).with_code(64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn docker_capitalises_what_scripts_look_for() {
        let error = EngineError::NoSuchContainer { name: "tr-a".into() };
        assert_eq!(Failure::from(error).text(), Some("No such container: tr-a"));
        let error = EngineError::NameInUse { name: "a1".into(), id: "ab".into() };
        assert_eq!(
            Failure::from(error).text(),
            Some(
                "Conflict. The container name \"/a1\" is already in use by container \"ab\"; you have to \
                 remove (or rename) that container to be able to reuse that name"
            )
        );
    }

    #[test]
    fn a_closed_pipe_is_no_failure() {
        let failure = Failure::from(io::Error::from(ErrorKind::BrokenPipe));
        assert_eq!((failure.text(), failure.code), (None, 0));
    }
}
