//! The file-level engine of COPY and ADD.
//!
//! It knows how files are chosen from a [`View`], where they land in another one and what they
//! look like there, but nothing of stages, contexts or variables. A copy writes only what changes
//! into a fresh upper directory: that directory on top of the layers it is for shows what Docker
//! shows after the same COPY.
//!
//! The rules, which are those of BuildKit:
//! - Of a directory the contents are copied, into the destination, which is made when it is
//!   missing. A file goes into the destination when that is a directory, else it becomes it.
//! - Directories that have to be made are 0755 0:0, or have the owner and octal mode asked for.
//!   The destination keeps what it has. A directory *inside* a copied tree that exists at the
//!   destination takes the source's owner and mode.
//! - Symbolic links on the way to the destination, its last component included, are followed
//!   inside the root. Inside a copied tree nothing is followed: a file replaces a link, and a
//!   directory where a link or a file is, is an error, as is a file where a directory is.
//! - Files that are hard links of each other in one source stay so. Sockets are left out.

mod chmod;
mod digest;
mod listing;
mod plan;
mod read;
mod select;
mod share;
mod unpack;
mod write;

use std::path::{Path, PathBuf};

pub use chmod::{Chmod, ChmodError};
pub use digest::selection_digest;
pub use listing::{Listed, Listing, listing};
pub use read::read;
pub use select::{Item, select};
pub use share::{Previous, Sharing};
pub use unpack::unpack;

use self::read::Taken;
use crate::upper::{Attributes, Upper};
use crate::{Kind, LayerError, Node, Result, View};

/// What is copied to where.
#[derive(Debug, Clone, Copy)]
pub struct CopyRequest<'a> {
    /// Where the items come from.
    pub source: &'a View,
    /// What is copied, one after the other.
    pub items: &'a [Item],
    /// The layers below `upper`. Empty for a layer that must not depend on them (`--link`).
    pub dest_view: &'a View,
    /// An upper directory; what it has already counts as part of the destination, so that several
    /// requests can share one.
    pub upper: &'a Path,
    /// Where to, absolute inside the destination. A slash or `/.` at the end says that it is a
    /// directory.
    pub dest: &'a Path,
    /// User and group of everything that is copied or made. Without, files keep what they have in
    /// the source and directories that have to be made belong to 0:0.
    pub owner: Option<(u32, u32)>,
    /// The change of the mode of everything that is copied.
    pub chmod: Option<&'a Chmod>,
    /// Whether symbolic links on the way to `dest` are followed. If not, a directory takes the
    /// place of each.
    pub follow_dest_symlinks: bool,
    /// Modification time, in seconds since the epoch, of everything that is copied, instead of
    /// the source's.
    pub mtime: Option<i64>,
}

/// What [`copy`] did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct CopyStats {
    /// Files, directories and everything else that was copied.
    pub files: u64,
    /// Bytes of file contents that were written.
    pub bytes: u64,
    /// Files that were linked instead.
    pub shared: u64,
    /// Files that are no longer what they were when the items were [read]. What landed is what they
    /// are now.
    pub changed: u64,
}

/// Why a copy failed. Paths are those inside the source and the destination.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// A source does not exist, or is hidden.
    #[error("find {} in the source", path.display())]
    NotFound {
        /// The source.
        path: PathBuf,
    },
    /// A directory where something else is.
    #[error("copy directory {} onto {}, which is not a directory", from.display(), to.display())]
    DirOntoFile {
        /// The source.
        from: PathBuf,
        /// The destination.
        to: PathBuf,
    },
    /// A file where a directory is.
    #[error("copy {} onto {}, which is a directory", from.display(), to.display())]
    FileOntoDir {
        /// The source.
        from: PathBuf,
        /// The destination.
        to: PathBuf,
    },
    /// Something on the way to the destination is no directory.
    #[error("copy to {}: {} is not a directory", dest.display(), path.display())]
    NotADirectory {
        /// The destination as it was asked for.
        dest: PathBuf,
        /// What is in the way.
        path: PathBuf,
    },
    /// Reading the source or writing the destination failed.
    #[error(transparent)]
    Layer(#[from] LayerError),
}

/// Copies the items of a request, in order: later ones replace earlier ones.
///
/// Contents are copied in parallel on the pool of the caller.
///
/// # Errors
/// Conflicts are found before anything is written. After an I/O error the upper directory is of
/// no use.
pub fn copy(request: &CopyRequest<'_>) -> Result<CopyStats, CopyError> {
    copy_sharing(request, &Sharing::default())
}

/// The same, linking files that are in other layers already instead of copying them. The upper
/// directory must become a layer itself: what is linked must never be written to.
///
/// # Errors
/// As [`copy`].
pub fn copy_sharing(
    request: &CopyRequest<'_>,
    sharing: &Sharing<'_>,
) -> Result<CopyStats, CopyError> {
    let shared = share::Shared::new(sharing)?;
    let mut upper = Upper::open(request.upper, request.dest_view)?;
    let plan = plan::Plan::make(request, &upper)?;
    let stats = write::write(request, &shared, &plan, &mut upper)?;
    upper.finish()?;
    Ok(stats)
}

impl CopyRequest<'_> {
    /// Whether the text of `dest` says that it is a directory.
    fn dest_is_dir(&self) -> bool {
        use std::os::unix::ffi::OsStrExt;
        let dest = self.dest.as_os_str().as_bytes();
        dest.is_empty() || dest == b"." || dest.ends_with(b"/") || dest.ends_with(b"/.")
    }

    /// What directories get that have to be made on the way to something from `node`. They are as
    /// old as that: the clock must not show in a layer.
    fn implied_dir(&self, node: &Node) -> Attributes {
        let mtime = (node.meta.mtime, node.meta.mtime_ns);
        let (uid, gid) = self.owner.unwrap_or((0, 0));
        Attributes {
            mode: self.chmod.map_or(0o755, Chmod::implied_dir),
            uid,
            gid,
            mtime: self.mtime.map_or(mtime, |mtime| (mtime, 0)),
            xattrs: Vec::new(),
        }
    }
}

/// The attributes a file has at its destination.
fn landing(
    Taken { node, inside, .. }: &Taken,
    owner: Option<(u32, u32)>,
    chmod: Option<&Chmod>,
    mtime: Option<i64>,
) -> Result<Attributes> {
    let mut attributes = match inside {
        Some(inside) => Attributes::with_xattrs(node, inside.xattrs.clone()),
        None => Attributes::of(node)?,
    };
    if let Some((uid, gid)) = owner {
        (attributes.uid, attributes.gid) = (uid, gid);
    }
    if let Some(chmod) = chmod
        && node.meta.kind != Kind::Symlink
    {
        attributes.mode = chmod.apply(attributes.mode, node.meta.is_dir());
    }
    if let Some(mtime) = mtime {
        attributes.mtime = (mtime, 0);
    }
    Ok(attributes)
}
