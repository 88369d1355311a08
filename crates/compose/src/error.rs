//! What can be wrong with Compose files.

use std::io;
use std::path::{Path, PathBuf};

use crate::excerpt::{Excerpt, Text, locate};

/// Why a project could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComposeError {
    /// There is no Compose file.
    #[error(
        "no configuration file provided: not found: there is no compose.yaml, compose.yml, \
         docker-compose.yml or docker-compose.yaml in {} or above it", dir.display()
    )]
    NoFile {
        /// Where the search began.
        dir: PathBuf,
    },
    /// A file could not be read.
    #[error("open {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
    /// A file is not YAML.
    #[error("{}: {problem}", path.display())]
    Yaml {
        /// The file.
        path: PathBuf,
        /// What is wrong and where, in the parser's words.
        problem: String,
    },
    /// A value is not what the specification has in its place.
    #[error("{}: {at}: {problem}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// Names of the keys that lead there, with dots.
        at: String,
        /// What is wrong.
        problem: String,
        /// The words of the file that are wrong, if they are known.
        excerpt: Option<Excerpt>,
    },
    /// The project as a whole makes no sense.
    #[error("{0}")]
    Project(String),
}

impl ComposeError {
    /// A value that is wrong.
    pub(crate) fn invalid(path: &Path, at: impl Into<String>, problem: impl Into<String>) -> Self {
        let (at, problem) = (at.into(), problem.into());
        Self::Invalid { path: path.to_owned(), at, problem, excerpt: None }
    }

    /// The same with the words that are wrong, if they are in one of the files.
    pub(crate) fn located(self, texts: &[Text]) -> Self {
        let Self::Invalid { path, at, problem, excerpt: None } = self else { return self };
        match locate(texts, &at, &problem) {
            Some((path, excerpt)) => {
                Self::Invalid { path: path.to_owned(), at, problem, excerpt: Some(excerpt) }
            }
            None => Self::Invalid { path, at, problem, excerpt: None },
        }
    }
}
