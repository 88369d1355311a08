//! Results on their way out: images in the store, OCI layouts, archives, directories.
//!
//! An image that was built exists as a config and a chain of snapshots. Nothing is written as a tar
//! or compressed before something ships; then each layer is written once per compression setting,
//! and the store remembers the blob. So a second export, a push after a save or a push to another
//! registry compresses nothing.
//!
//! Invariants:
//! - a destination file appears complete or not at all: it is written beside its name and renamed;
//! - the same image gives the same bytes: archives carry no times, owners or random names;
//! - what leaves is described by the digests that were taken while it was written.

mod archive;
mod beginnings;
mod cancel;
mod derive;
mod error;
mod image;
mod index;
mod layout;
mod manifest;
mod pack;
mod rootfs;

pub use archive::{ArchiveImage, write_archive};
pub use cancel::Cancelable;
pub use derive::{Derivation, copy_layer, derive};
pub use error::ExportError;
pub use image::{Recipe, assemble, describe};
pub use index::{Index, IndexEntry};
pub use layout::write_layout;
pub use manifest::{Blob, Document, Manifest, ManifestOptions, manifest, stored_manifest};
pub use pack::{layer_blob, pack_new_layers};
pub use rootfs::{FilesOptions, write_rootfs_dir, write_rootfs_tar, write_rootfs_tars};
