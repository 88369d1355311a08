//! Why a build gave nothing, with what a reader needs to see where.

use std::path::{Path, PathBuf};

use bld_dockerfile::{Diagnostic, LineIndex, Span};
use bld_export::ExportError;
use bld_oci::ReferenceError;
use bld_solve::{SolveError, StepError};
use bld_store::StoreError;

use super::policy::PolicyError;
use crate::EngineError;

/// A text that diagnostics point into.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// How the file is called in messages.
    pub name: String,
    /// What it holds.
    pub text: String,
}

/// Why a build gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BuildError {
    /// The Dockerfile is wrong.
    #[error("{}", first(.source_text, .diagnostics))]
    Dockerfile {
        /// The file.
        source_text: SourceText,
        /// All that is wrong with it, in source order; warnings too.
        diagnostics: Vec<Diagnostic>,
    },
    /// A step failed.
    #[error("{}: {}", .error.name, .error.cause)]
    Step {
        /// The file.
        source_text: SourceText,
        /// The step.
        error: Box<StepError>,
    },
    /// There is no Dockerfile where one was looked for.
    #[error("failed to read dockerfile: {} not found{}{}", .path.display(),
        .context.as_deref().map_or_else(String::new, |origin| format!(" in {origin}")),
        near(.similar.as_deref()))]
    NoDockerfile {
        /// Where it was looked for.
        path: PathBuf,
        /// The context that was brought here, if it was looked for there.
        context: Option<String>,
        /// A file beside it that looks alike.
        similar: Option<String>,
    },
    /// A directory is where a Dockerfile was looked for.
    #[error("failed to read dockerfile: {} is a directory", .0.display())]
    DockerfileIsDirectory(PathBuf),
    /// The context is not a directory that can be read.
    #[error("the context {} cannot be used: {reason}", named(.name.as_deref(), .path))]
    Context {
        /// Its name, unless it is the main one.
        name: Option<String>,
        /// The directory.
        path: PathBuf,
        /// Why not.
        reason: String,
    },
    /// A rule of the ignore file is malformed.
    #[error("{}:{line}: {reason}", .path.display())]
    IgnoreFile {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// An image cannot have this name.
    #[error("invalid tag {name:?}: {source}")]
    Tag {
        /// As given.
        name: String,
        /// What is wrong with it.
        source: ReferenceError,
    },
    /// The caller asked to stop.
    #[error("the build was canceled")]
    Canceled,
    /// The result could not be handed out.
    #[error(transparent)]
    Export(#[from] ExportError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The solver failed outside any step.
    #[error(transparent)]
    Solve(SolveError),
    /// Images could not be looked up, fetched or pushed.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The context or the Dockerfile could not be brought here.
    #[error("load the context")]
    Remote {
        /// Why not.
        #[source]
        error: bld_remote::RemoteError,
        /// What to do about it.
        help: Option<&'static str>,
    },
    /// A policy does not allow a context or the Dockerfile.
    #[error(transparent)]
    Policy(#[from] PolicyError),
    /// The output cannot be made.
    #[error("{0}")]
    Output(String),
}

/// The first error with its line, and how many more there are.
fn first(source: &SourceText, diagnostics: &[Diagnostic]) -> String {
    let name = &source.name;
    let mut errors = diagnostics.iter().filter(|diagnostic| diagnostic.is_error());
    let Some(error) = errors.next() else { return format!("{name} is wrong") };
    let place = if error.span == Span::default() {
        String::new() // it is about no words of the file
    } else {
        format!("{name}:{}: ", LineIndex::new(&source.text).line_col(error.span.start).0)
    };
    match errors.count() {
        0 => format!("{place}{}", error.message),
        1 => format!("{place}{} (and 1 more error)", error.message),
        more => format!("{place}{} (and {more} more errors)", error.message),
    }
}

fn named(name: Option<&str>, path: &Path) -> String {
    let path = path.display();
    name.map_or_else(|| path.to_string(), |name| format!("{name} ({path})"))
}

fn near(similar: Option<&str>) -> String {
    similar.map_or_else(String::new, |name| format!(" (did you mean {name}?)"))
}
