//! Images: found by name, fetched, unpacked, listed, described, removed, and moved in and out.
//!
//! An image is a record in the store (its configuration's digest is its id) plus the blobs of its
//! configuration, its manifest when it has one, and its layers, which exist as snapshots, as
//! compressed blobs, or as both. Nothing is fetched, unpacked or compressed before something needs
//! it.

mod anatomy;
mod convert;
mod details;
mod diff;
pub(crate) mod find;
mod import;
mod layout;
pub(crate) mod list;
mod load;
mod prune;
mod pull;
mod push;
pub(crate) mod record;
pub(crate) mod remove;
mod save;
mod tag;
pub(crate) mod unpack;
mod usage;
pub(crate) mod variants;

pub use anatomy::{
    Amount, ImageAnatomy, LargeFile, LayerAnatomy, LayerEffect, LayerEntry, WastefulPath,
};
pub use convert::Conversion;
pub use details::{HistoryEntry, ImageDetails};
pub use diff::{
    DiffDocument, DiffOptions, FieldChange, FileChange, ImageContents, ImageDiff, ImageLayer,
    LayerChange, TextChange, TextOptions, diff_images,
};
pub use import::ImportRequest;
pub use list::{ImageFilter, ImageSummary};
pub use load::Loaded;
pub use pull::{PullOptions, Pulled};
pub use record::config;
pub use remove::{Conflict, Removed};
pub use unpack::ensure_unpacked;
pub use usage::ImageUsage;
