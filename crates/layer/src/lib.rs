//! Trees and archives: everything that turns files into layers and layers into files.
//!
//! A layer, on disk, is an overlayfs upper directory: the files that changed, a character device
//! 0:0 for each that was deleted, and `trusted.overlay.opaque` on directories that hide the ones
//! below (`user.overlay.opaque` in a user namespace). On the wire it is a tar whose `.wh.` entries say the same. This crate goes from either
//! form to the other ([`write_layer`], [`apply`]), compresses and decompresses the second
//! ([`Encoder`], [`decoder`]), looks at a stack of the first as the kernel would show it mounted
//! ([`View`]), says how two of those differ ([`differences`]), and copies files from one stack onto another ([`mod@copy`]). It knows nothing of
//! images, builds or stores, and keeps no state.
//!
//! What holds everywhere:
//!
//! - **Nothing is mounted.** A view follows the rules of overlayfs on the directories themselves,
//!   which takes no privilege, leaves nothing behind, and reads only what is asked for.
//! - **Nothing escapes.** Paths are resolved inside the tree, as a process chrooted into it would
//!   see them; what they resolve to is then opened with `openat2`, beneath the root, refusing
//!   every symbolic link. Neither an archive nor somebody who changes a tree under our hands leads
//!   out of it.
//! - **The same tree gives the same bytes**: no order of `readdir`, no inode number, clock, thread
//!   count or machine shows in a tar, a digest or a compressed stream. Directories that have to be
//!   made or copied up get the time of what they are made for, or keep their own.
//! - **Names are bytes.** Nothing here needs a file name to be UTF-8.
//!
//! Work that takes long runs in parallel on the rayon pool it is called on.

mod adopt;
mod agree;
mod ahead;
mod apply;
mod archive;
mod beginnings;
mod behind;
mod compress;
mod contents;
mod diff;
mod digest;
mod error;
mod merge;
mod meta;
mod names;
mod order;
mod owner;
mod pack;
mod sys;
mod upper;
mod view;
mod xattr;

pub mod copy;

pub use adopt::adopt;
pub use agree::{Aspects, Comparison, differing};
pub use ahead::{ReadAhead, read_ahead};
pub use apply::{Applied, ApplyOptions, Whiteouts, apply};
pub use archive::{comment, is_tar};
pub use beginnings::Beginnings;
pub use behind::{HashBehind, WriteBehind};
pub use compress::{Compression, Encoder, Format, decoder, detect, positions};
pub use diff::{Aspect, Change, Difference, Times, changes, differences};
pub use digest::{FileStamp, Known, StatCache, tree_digest};
pub use error::{LayerError, Result};
pub use merge::{merge, merge_onto};
pub use meta::{Kind, Metadata};
pub use names::{harmless, shown};
pub use owner::owner;
pub use pack::{
    LayerStats, TarOptions, diff_id, diff_id_after, write_directory, write_file, write_layer,
    write_tree, write_trees,
};
pub use view::{Filter, Node, Verdict, View, Walk};
