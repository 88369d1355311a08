//! Images at registries, without the store: looking at them, and making new ones of them. What is made
//! is an index of manifests that exist; nothing is unpacked, compressed or kept here.

mod combine;
mod entry;
mod inspect;

pub use bld_registry::Manifest;
pub use combine::{Combination, CombineError, Combined, Source, SourceError};
pub use entry::{Entry, EntryPlatform, IndexDocument};
pub use inspect::RemoteImage;
