//! Operations that bring files from outside.

use bld_oci::{Digest, Reference};
use serde::Serialize;

use super::is_false;

/// The root filesystem of an image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ImageOp {
    /// The diff ids, lowest layer first; never empty: an image without layers makes no vertex.
    /// They alone are the identity, so two images of the same layers share their results.
    pub diff_ids: Vec<Digest>,
    /// The name it was asked for by, with the tag; where to fetch the layers from.
    #[serde(skip)]
    pub reference: Reference,
    /// The manifest for the platform; none for an image that only exists in the store.
    #[serde(skip)]
    pub manifest: Option<Digest>,
}

/// A directory of the client.
///
/// Its definition says nothing of what is in it: an operation that reads a context can only be
/// looked up by the content it selects.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ContextOp {
    /// [`ContextOp::MAIN`], or the name given with `--build-context`.
    pub name: String,
}

impl ContextOp {
    /// The name of the build context itself, which is reserved.
    pub const MAIN: &'static str = "context";
}

/// A file fetched by HTTP: a tree of this one file.
///
/// What it holds is its identity, wherever it comes from: before a plan is executed, `content` is
/// to be filled in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct HttpOp {
    /// Where from. It may hold a login.
    #[serde(skip)]
    pub url: String,
    /// Name of the file in the tree: one component.
    pub filename: String,
    /// What the file must hash to; a mismatch fails the build.
    #[serde(skip)]
    pub checksum: Option<Digest>,
    /// What the URL leads to now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content: Option<Digest>,
}

impl HttpOp {
    /// A download of `url` as a file called `filename`.
    pub fn new(url: impl Into<String>, filename: impl Into<String>) -> Self {
        Self { url: url.into(), filename: filename.into(), checksum: None, content: None }
    }
}

/// A tree checked out with git.
///
/// The commit is its identity, wherever it comes from: before a plan is executed, `commit` is to
/// be filled in.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct GitOp {
    /// What `git fetch` takes, without fragment or query. It may hold a login.
    #[serde(skip)]
    pub remote: String,
    /// Branch, tag or commit; none: the remote's default.
    #[serde(skip)]
    pub reference: Option<String>,
    /// What the reference leads to now, all digits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<String>,
    /// What the `.git` directory that is left in the tree says of where it is from: the remote,
    /// without a login, and the full name of the reference. To be filled in with `commit`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub origin: Option<String>,
    /// Directory of the checkout that becomes the root of the tree.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subdir: Option<String>,
    /// Commit (a prefix will do) that the reference must lead to.
    #[serde(skip)]
    pub checksum: Option<String>,
    /// Take the commit that `checksum` says, without asking where the reference leads.
    #[serde(skip)]
    pub fetch_by_commit: bool,
    /// Leave the `.git` directory in the tree.
    #[serde(skip_serializing_if = "is_false")]
    pub keep_git_dir: bool,
    /// Leave submodules out; they are fetched by default.
    #[serde(skip_serializing_if = "is_false")]
    pub skip_submodules: bool,
}
