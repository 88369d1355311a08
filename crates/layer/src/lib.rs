//! Trees and archives: packing overlayfs upper directories into layers, unpacking layers, looking
//! at a stack of layers without mounting it, and copying files between such stacks.

mod adopt;
mod ahead;
mod apply;
mod archive;
mod behind;
mod compress;
mod contents;
mod digest;
mod error;
mod meta;
mod pack;
mod sys;

mod upper;
mod view;
mod xattr;

pub mod copy;

pub use adopt::adopt;
pub use ahead::read_ahead;
pub use apply::{Applied, ApplyOptions, Whiteouts, apply};
pub use archive::is_tar;
pub use behind::WriteBehind;
pub use compress::{Compression, Encoder, Format, decoder, detect};
pub use digest::{FileStamp, StatCache, tree_digest};
pub use error::{LayerError, Result};
pub use meta::{Kind, Metadata};
pub use pack::{LayerStats, TarOptions, diff_id, write_layer, write_tree};
pub use view::{Filter, Node, Verdict, View, Walk};
