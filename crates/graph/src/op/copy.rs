//! Copying files.

use serde::Serialize;

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
    /// Permissions instead of those of the source: four octal digits, or a change in the manner of
    /// [chmod(1)] such as `u=rwX,go=rX`, well-formed.
    ///
    /// [chmod(1)]: https://man7.org/linux/man-pages/man1/chmod.1.html
    #[serde(skip_serializing_if = "Option::is_none")]
    pub chmod: Option<String>,
    /// The files make a layer of their own that doesn't depend on the root filesystem: the key
    /// leaves the root out, no symlink of it is followed and no name looked up in it.
    #[serde(skip_serializing_if = "is_false")]
    pub link: bool,
    /// Keep the directories of the source path, from a `/./` in it on.
    #[serde(skip_serializing_if = "is_false")]
    pub parents: bool,
    /// Patterns of files to leave out, relative to each source directory.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub excludes: Vec<String>,
}

impl CopyOp {
    /// A copy of `sources` to `dest` with nothing special.
    pub fn new(sources: Vec<CopySource>, dest: String) -> Self {
        Self {
            sources,
            dest,
            chown: None,
            chmod: None,
            link: false,
            parents: false,
            excludes: Vec::new(),
        }
    }
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
