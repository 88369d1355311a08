//! What can be wrong with Compose files.

use std::io;
use std::path::PathBuf;

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
    },
    /// The project as a whole makes no sense.
    #[error("{0}")]
    Project(String),
}
