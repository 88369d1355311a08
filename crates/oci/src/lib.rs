//! The nouns of container images: references, digests, platforms, manifests, configurations.
//!
//! Pure data and its rules. Nothing in here opens a file or a connection; an [`Image`] is whatever
//! can hand out a manifest, a configuration and blobs, and everything else about it is derived
//! once, in [`ImageExt`], and checked once, by [`validate`].
//!
//! Two decisions shape the crate:
//! - A digest belongs to bytes, not to a parsed value. Documents that were read are passed on as
//!   the bytes that were read; only documents made here are serialised, by [`json::to_canonical`].
//! - Reading is lenient where other tools have been sloppy (`null` for an empty list, unknown
//!   fields, which are kept) and strict where identity is at stake (digests, names, sizes).

mod chain;
mod config;
mod descriptor;
mod digest;
pub mod document;
mod grammar;
mod hash;
mod image;
pub mod json;
pub mod layout;
pub mod media_type;
mod memory;
mod platform;
mod reference;
mod validate;

pub use chain::{chain_id, chain_ids};
pub use config::{ContainerConfig, Healthcheck, History, ImageConfig, RootFs};
pub use descriptor::{DescriptorExt, describe, descriptor};
pub use digest::{Digest, DigestError};
pub use document::DocumentError;
pub use hash::{Hasher, HashingReader, HashingWriter};
pub use image::{Image, ImageError, ImageExt};
pub use memory::MemoryImage;
pub use oci_spec::image::{Descriptor, ImageIndex, ImageManifest, MediaType};
pub use platform::{Platform, PlatformError};
pub use reference::{Reference, ReferenceError};
pub use validate::{Decode, Part, Problem, validate};
