//! Copying files.

use serde::{Serialize, Serializer};

use super::is_false;

/// Copy files into the root filesystem.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CopyOp {
    /// What to copy, in order.
    pub sources: Vec<CopySource>,
    /// Where to: absolute and clean, but for a final slash, which says it is a directory.
    pub dest: String,
    /// `user[:group]` as written, names looked up in the root filesystem; none: 0:0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chown: Option<String>,
    /// Permissions instead of those of the source.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chmod: Option<Chmod>,
    /// The files make a layer of their own that doesn't depend on the root filesystem: the key
    /// leaves the root out, and no symlink of it is followed.
    #[serde(skip_serializing_if = "is_false")]
    pub link: bool,
    /// Keep the directories of the source path, from a `/./` in it on.
    #[serde(skip_serializing_if = "is_false")]
    pub parents: bool,
    /// Patterns of files to leave out, relative to each source directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
}

/// One thing to copy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "from", rename_all = "snake_case")]
pub enum CopySource {
    /// Files of another tree.
    Tree {
        /// Which [`Input::From`](crate::Input::From); none: an empty tree.
        #[serde(skip_serializing_if = "Option::is_none")]
        input: Option<usize>,
        /// Path or pattern (Go's `filepath.Match`) from the root of the tree, `/`-rooted, clean
        /// but for `/./` with `parents`; never leads out of it.
        path: String,
        /// A file that is an archive, told by its content, is unpacked into the destination.
        #[serde(skip_serializing_if = "is_false")]
        unpack: bool,
    },
    /// A file that stands in the Dockerfile, mode 0644.
    Inline {
        /// Its name.
        name: String,
        /// What it holds.
        content: String,
    },
}

/// Permissions to set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Chmod {
    /// These bits.
    Bits(u32),
    /// A change in the manner of chmod(1), such as `u=rwX,go=rX`.
    Symbolic(String),
}

impl Serialize for Chmod {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Bits(bits) => serializer.collect_str(&format_args!("{bits:04o}")),
            Self::Symbolic(text) => serializer.serialize_str(text),
        }
    }
}

/// A `--chmod` that is neither octal nor symbolic.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("understand the mode {0:?}: neither octal (0 to 07777) nor symbolic (such as u=rwX,go=rX)")]
pub struct ChmodError(pub String);
