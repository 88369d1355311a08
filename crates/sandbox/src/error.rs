//! Why a process could not be started.

use std::io;

/// Why a process could not be started. Where Docker users know a message, it has those words.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SandboxError {
    /// There is no such program. The exit code for it is 127.
    #[error("exec: {program:?}: {reason}")]
    NotFound {
        /// As asked for.
        program: String,
        /// What Docker would say.
        reason: String,
    },
    /// The program is there but cannot be run. The exit code for it is 126.
    #[error("exec: {program:?}: {reason}")]
    NotExecutable {
        /// As asked for.
        program: String,
        /// What Docker would say.
        reason: String,
    },
    /// The working directory cannot be used. The exit code for it is 126.
    #[error("change to working directory {path:?}")]
    Cwd {
        /// As asked for.
        path: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// The request itself makes no sense.
    #[error("accept the container's configuration: {0}")]
    Invalid(String),
    /// A mount could not be made.
    #[error("mount {what} at {target:?}{}{detail}", if detail.is_empty() { "" } else { ": " })]
    Mount {
        /// What was to be mounted.
        what: String,
        /// Where in the container.
        target: String,
        /// What the filesystem said about it.
        detail: String,
        /// The kernel's reason.
        source: io::Error,
    },
    /// A control group could not be used.
    #[error(transparent)]
    Cgroup(#[from] crate::cgroup::CgroupError),
    /// Another step of the set-up failed.
    #[error("{step}")]
    Setup {
        /// What was attempted, as a verb phrase.
        step: String,
        /// The kernel's reason.
        source: io::Error,
    },
}

impl SandboxError {
    /// A step that failed, as a verb phrase, with the reason.
    pub(crate) fn setup(step: impl Into<String>, source: impl Into<io::Error>) -> Self {
        Self::Setup { step: step.into(), source: source.into() }
    }

    /// The exit code that shells and Docker give for this: 127, 126, or 125 when it was not the
    /// fault of what was to be run.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::NotFound { .. } => 127,
            Self::NotExecutable { .. } | Self::Cwd { .. } => 126,
            _ => 125,
        }
    }
}
