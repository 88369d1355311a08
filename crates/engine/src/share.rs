//! What machines share: caches of builds, and layers that stay where they are until somebody needs
//! them.
//!
//! An import reads what others say of their results; the solver asks for them by its keys.
//! Their layers are noted down with the places where their blobs are, and brought here only
//! for a step or an output that needs files. An export says what this build knows.

mod bring;
mod bucket;
mod export;
mod gha;
mod import;
mod lost;
mod mounts;
mod objects;
mod request;

pub use bld_cache::gha::{
    GhaCache, Listing, Protocol, Service as CacheService, Token as ServiceToken,
};
pub use bld_cache::manifest::Form as CacheForm;
pub use bld_cache::s3::{AccessKeys, Bucket, S3Cache, Surroundings};
pub(crate) use bring::Bringer;
pub(crate) use bucket::Buckets;
pub(crate) use export::{Exporter, inline, lenders, providing};
pub(crate) use gha::Services;
pub(crate) use import::{Importing, Imports};
pub use request::{CacheOptions, CacheSource, CacheTarget, ExportMode, LocalTarget, S3Target};
