//! Results of builds as other machines read them: the cache documents of BuildKit, and the places
//! where they lie.
//!
//! A [`Cache`] says which steps have which result, and of which layers that is made. It is written
//! as BuildKit's `cacheconfig.v0`, in a manifest ([`manifest`]), in the configuration of an image
//! ([`inline`]), or as a file or object ([`s3`], [`gha`]). BuildKit reads all of it; what `bld` needs besides, its own keys, is
//! a field that BuildKit skips.
//!
//! Invariants:
//! - what is read was written by somebody else: indices, digests and loops are checked here, and a
//!   record that makes no sense is dropped, not believed in part;
//! - the same results give the same bytes;
//! - nothing here has a secret or a path of this machine in it.

mod document;
mod error;
pub mod gha;
pub mod inline;
pub mod layout;
pub mod manifest;
mod place;
pub mod s3;

pub use document::{Cache, Input, Layer, MAX_SIZE, MEDIA_TYPE, Mount, Parsed, Record};
pub use error::CacheError;
pub use place::Place;
