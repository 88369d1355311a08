//! Images at registries: looking at them, and making new ones of them. What is made is an index of
//! manifests that exist. All but lists that are put together bit by bit, and images that come from
//! directories, does without the store.

mod combine;
mod entry;
mod inspect;
mod list;
mod location;

pub use bld_registry::Manifest;
pub use combine::{Combination, CombineError, Combined, Source, SourceError};
pub use entry::{Entry, EntryPlatform, IndexDocument};
pub use inspect::RemoteImage;
pub use list::{ListError, ManifestList, Member, Overrides};
pub use location::{Layout, Location};
