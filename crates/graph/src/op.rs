//! The operations a plan is made of.
//!
//! Every operation is a plain value, and its JSON is its identity: see [`Vertex::key`]. Fields that
//! must not decide about reuse are marked `serde(skip)` and say why. Fields that are absent are
//! left out, so that a field added later leaves the keys of all earlier operations as they were;
//! renaming a field or a variant changes them.
//!
//! [`Vertex::key`]: crate::Vertex::key

mod copy;
mod exec;
mod source;

pub use copy::{CopyOp, CopySource};
pub use exec::{
    DeviceOp, Environment, ExecOp, MountKind, MountOp, Network, Script, Security, Sharing,
};
pub use source::{ContextOp, GitOp, HttpOp, ImageOp};

use serde::{Serialize, Serializer};

/// One operation.
///
/// The operations that change a filesystem (`Exec`, `Copy`, `Mkdir`) work on what arrives by
/// [`Input::Root`](crate::Input::Root), an empty filesystem when nothing does, and give a snapshot
/// on top of it. The sources (`Image`, `Context`, `Http`, `Git`) have no inputs and give a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "op", rename_all = "snake_case")]
pub enum Op {
    /// The root filesystem of an image.
    Image(ImageOp),
    /// A directory of the client: the build context or a named one.
    Context(ContextOp),
    /// A file fetched by HTTP.
    Http(HttpOp),
    /// A tree checked out with git.
    Git(GitOp),
    /// Run a process in the root filesystem.
    Exec(Box<ExecOp>),
    /// Copy files into the root filesystem.
    Copy(Box<CopyOp>),
    /// Make a directory, with its parents, unless it exists.
    Mkdir(MkdirOp),
}

/// Make a directory and its missing parents, mode 0755; existing ones stay as they are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct MkdirOp {
    /// Absolute and clean.
    pub path: String,
    /// Who owns the directories that are made, as written in `USER`; looked up in the root
    /// filesystem. Empty: 0:0.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub user: String,
    /// The modification time of the directories that are made, in seconds since 1970, so that a
    /// build with a fixed time gives the same layer whenever it runs; none: when they are made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtime: Option<i64>,
}

impl Op {
    /// The word for the kind of operation, as in its key.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Image(_) => "image",
            Self::Context(_) => "context",
            Self::Http(_) => "http",
            Self::Git(_) => "git",
            Self::Exec(_) => "exec",
            Self::Copy(_) => "copy",
            Self::Mkdir(_) => "mkdir",
        }
    }

    /// Whether the operation brings files from outside and has no inputs.
    pub fn is_source(&self) -> bool {
        matches!(self, Self::Image(_) | Self::Context(_) | Self::Http(_) | Self::Git(_))
    }
}

/// For `skip_serializing_if`: fields that are off leave no trace in the key.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(value: &bool) -> bool {
    !value
}

/// For `serialize_with`: permission bits as people write them.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn octal<S: Serializer>(mode: &u32, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&format_args!("{mode:04o}"))
}
