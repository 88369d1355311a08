//! What can go wrong in a build that was lowered well.

use std::error::Error;
use std::path::PathBuf;

use bld_dockerfile::Span;
use bld_layer::LayerError;
use bld_layer::copy::CopyError;
use bld_oci::Digest;

/// A build did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum SolveError {
    /// A step failed.
    #[error("{}: {}", .0.name, .0.cause)]
    Step(Box<StepError>),
    /// The caller asked to stop.
    #[error("the build was canceled")]
    Canceled,
    /// The store failed outside any step.
    #[error(transparent)]
    Store(#[from] bld_store::StoreError),
    /// The runtime that drives the steps could not be started.
    #[error("start the worker threads: {0}")]
    Runtime(std::io::Error),
}

/// The step that failed and everything a reader needs to find out why.
#[derive(Debug)]
pub struct StepError {
    /// Name of the step as shown in the progress, e.g. `[build 2/5] RUN make`.
    pub name: String,
    /// The instruction in the Dockerfile.
    pub span: Span,
    /// What happened.
    pub cause: StepFailure,
    /// There was no space left when it failed.
    pub full: bool,
    /// The file that holds everything the step wrote.
    pub log: Option<PathBuf>,
    /// The id by which what the step left can be looked into; none when it left nothing.
    pub left: Option<Digest>,
    /// The step whose file system this one worked on.
    pub before: Option<Digest>,
}

/// Why a step failed.
#[derive(Debug, thiserror::Error)]
pub enum StepFailure {
    /// The process ended with a status other than 0.
    #[error("process {command:?} did not complete successfully: exit code: {code}")]
    Exit {
        /// The command line.
        command: String,
        /// Its exit status.
        code: i32,
    },
    /// A signal ended the process.
    #[error("process {command:?} was killed by signal {signal}")]
    Signal {
        /// The command line.
        command: String,
        /// Number of the signal.
        signal: i32,
    },
    /// The kernel killed the process because memory ran out.
    #[error("process {command:?} was killed because it ran out of memory: {}", limited(*.limit))]
    OutOfMemory {
        /// The command line.
        command: String,
        /// The limit that it ran into; none: all the machine has.
        limit: Option<MemoryLimit>,
    },
    /// A source of COPY or ADD does not exist, or is kept out by an ignore rule.
    #[error("{}", .0)]
    MissingSource(Box<MissingSource>),
    /// The user or group is not known in the root filesystem.
    #[error("{0}")]
    User(String),
    /// A secret or SSH agent that the step requires was not given.
    #[error("{kind} {id:?} not found: give it with `{flag} {example}`")]
    NotGiven {
        /// `secret` or `ssh agent`.
        kind: &'static str,
        /// Its id.
        id: String,
        /// The flag that gives it.
        flag: &'static str,
        /// An example of the flag's value.
        example: String,
    },
    /// The step asks for something this version cannot do.
    #[error("{0}")]
    Unsupported(String),
    /// A step that would have been reused by what it read does something else now.
    #[error("what this step read has not changed, but what it makes has: {paths}")]
    WrongReuse {
        /// Where the results differ.
        paths: String,
    },
    /// The step was given up.
    #[error("canceled")]
    Canceled,
    /// Files could not be copied.
    #[error(transparent)]
    Copy(#[from] CopyError),
    /// Files could not be read or unpacked.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] bld_store::StoreError),
    /// The container could not be started.
    #[error(transparent)]
    Sandbox(#[from] bld_sandbox::SandboxError),
    /// A device cannot be had.
    #[error(transparent)]
    Device(#[from] crate::devices::DeviceError),
    /// The network could not be set up.
    #[error(transparent)]
    Network(#[from] bld_network::NetworkError),
    /// A base image could not be brought in.
    #[error(transparent)]
    Image(Box<dyn Error + Send + Sync>),
    /// Files that are elsewhere could not be brought.
    #[error(transparent)]
    Elsewhere(Box<dyn Error + Send + Sync>),
    /// A download or a git checkout could not be brought in.
    #[error(transparent)]
    Source(Box<dyn Error + Send + Sync>),
    /// A file could not be used.
    #[error("{what}: {source}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A limit of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MemoryLimit {
    /// In bytes.
    pub bytes: u64,
    /// It is for all steps together, not for each.
    pub together: bool,
}

/// What limits, and what can be done about it.
fn limited(limit: Option<MemoryLimit>) -> String {
    match limit {
        None => {
            "there is no limit but that of the machine, or of what bld was started in".to_owned()
        }
        Some(MemoryLimit { bytes, together: false }) => {
            format!("each step is limited to {} MiB; raise --resource memory=", bytes >> 20)
        }
        Some(MemoryLimit { bytes, together: true }) => format!(
            "all steps together are limited to {} MiB; raise --memory, or lower --jobs",
            bytes >> 20
        ),
    }
}

impl StepFailure {
    /// Whether a file was not there that was to be read or copied.
    pub(crate) fn is_of_missing_file(&self) -> bool {
        match self {
            Self::Layer(LayerError::Io { source, .. })
            | Self::Copy(CopyError::Layer(LayerError::Io { source, .. })) => {
                source.kind() == std::io::ErrorKind::NotFound
            }
            _ => false,
        }
    }

    /// For `map_err`: `what` was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { what: what.into(), source }
    }
}

/// Why a source of COPY or ADD is not there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingSource {
    /// The path as the instruction names it, from the root of the tree.
    pub path: String,
    /// Where it was looked for: the context directory, or the name of a stage or image.
    pub place: String,
    /// The ignore file, line number and pattern that keep the path out of the context.
    pub ignored_by: Option<(PathBuf, usize, String)>,
    /// Names beside it that look alike.
    pub similar: Vec<String>,
}

impl std::fmt::Display for MissingSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} not found in {}", self.path, self.place)?;
        if let Some((file, line, pattern)) = &self.ignored_by {
            write!(f, ": excluded by {pattern:?} ({}:{line})", file.display())?;
        }
        if !self.similar.is_empty() {
            write!(f, " (did you mean {}?)", self.similar.join(" or "))?;
        }
        Ok(())
    }
}
