//! Places where blobs are, as the store remembers them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::gha::Service;
use crate::s3::Bucket;

/// Where a blob can be had. It holds no secret: whoever goes there brings what is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "in", rename_all = "snake_case")]
pub enum Place {
    /// A repository of a registry.
    Registry {
        /// Registry and repository.
        repository: String,
    },
    /// An OCI layout.
    Local {
        /// The directory.
        dir: PathBuf,
    },
    /// A bucket.
    S3 {
        /// Which.
        bucket: Bucket,
        /// What the keys of blobs begin with.
        blobs: String,
    },
    /// A cache service of GitHub Actions.
    Gha {
        /// Which.
        service: Service,
    },
}

impl Place {
    /// As the store has it.
    pub fn to_text(&self) -> String {
        // Cannot fail: there are only strings in it.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// What [`to_text`](Self::to_text) wrote; none for what a later version wrote.
    pub fn from_text(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Registry { repository } => f.write_str(repository),
            Self::Local { dir } => dir.display().fmt(f),
            Self::Gha { service } => service.fmt(f),
            Self::S3 { bucket, blobs } => write!(f, "{bucket}/{blobs}"),
        }
    }
}
