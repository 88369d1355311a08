//! Trees and archives: packing overlayfs upper directories into layers, unpacking layers, looking
//! at a stack of layers without mounting it, and copying files between such stacks.

mod compress;
mod error;
mod meta;
mod stub;
mod sys;
mod view;
mod xattr;

pub mod copy;

pub use compress::{Compression, Encoder, Format, decoder, detect, read_ahead};
pub use error::{LayerError, Result};
pub use meta::{Kind, Metadata};
pub use stub::*;
pub use view::{Filter, Node, Verdict, View, Walk};
