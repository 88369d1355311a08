//! Removing names and images, by docker's rules.
//!
//! A name that is not the last one of its image only goes away. The last one takes the image along,
//! unless a container stands in the way: a stopped one can be overruled, a running one cannot.

use bld_oci::{Digest, Platform, Reference};
use bld_store::{GcPolicy, Store, Tag};

use super::find;
use crate::containers::Container;
use crate::events::Event;
use crate::{Engine, Result};

/// One thing that a removal did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Removed {
    /// A name is gone.
    Untagged(String),
    /// An image is gone.
    Deleted(Digest),
}

/// Why an image was not removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Conflict {
    /// It would be left without a name while a container needs it.
    #[error(
        "conflict: unable to remove repository reference {reference:?} (must force) - container {container} \
         is using its referenced image {}",
        image.short()
    )]
    LastName {
        /// The name, as given.
        reference: String,
        /// Short id of a container that uses the image.
        container: String,
        /// The image.
        image: Digest,
    },
    /// Several names lead to it.
    #[error(
        "conflict: unable to delete {} (must be forced) - image is referenced in multiple repositories",
        image.short()
    )]
    ManyNames {
        /// The image.
        image: Digest,
    },
    /// A container that does not run uses it.
    #[error(
        "conflict: unable to delete {} (must be forced) - image is being used by stopped container {container}",
        image.short()
    )]
    Stopped {
        /// The image.
        image: Digest,
        /// Short id of the container.
        container: String,
    },
    /// A container that runs uses it.
    #[error(
        "conflict: unable to delete {} (cannot be forced) - image is being used by running container {container}",
        image.short()
    )]
    Running {
        /// The image.
        image: Digest,
        /// Short id of the container.
        container: String,
    },
}

impl Engine {
    /// Removes the name `name` and, with the last name or when `name` is an id, the image. `force`
    /// overrules containers that do not run and removes all names of an id.
    pub fn remove_image(&self, name: &str, force: bool) -> Result<Vec<Removed>> {
        Ok(self.delete_image(name, force)?.0)
    }

    /// Takes the images for `platforms` away from those that `name` stands for. One that nothing else names
    /// and no container uses is removed, and so is the name with the last of them, by the rules of
    /// [`remove_image`](Self::remove_image).
    ///
    /// # Errors
    /// [`EngineError::WrongPlatform`](crate::EngineError::WrongPlatform) for what the name has no image for.
    pub fn remove_platforms(
        &self,
        name: &str,
        platforms: &[Platform],
        force: bool,
    ) -> Result<Vec<Removed>> {
        let store = self.store()?;
        let mut gone = Vec::with_capacity(platforms.len());
        for platform in platforms {
            gone.push(find::find_exactly(self, name, Some(platform))?.record.id);
        }
        let found = find::find(self, name)?;
        let Some(reference) = found.reference else { return self.remove_image(name, force) };
        let key = reference.to_string();
        let mut rest = store.variants(&key)?;
        rest.retain(|id| !gone.contains(id));
        let Some(first) = rest.first() else { return self.remove_image(name, force) };
        let main = rest.iter().find(|id| **id == found.record.id).unwrap_or(first);
        store.tag_variants(&key, &rest, main)?;
        let mut removed = Vec::new();
        for id in gone {
            let is_named = store.is_variant(&id)? || !store.tags_of(&id)?.is_empty();
            if !is_named && self.users_of(&id)?.is_empty() && store.delete_image(&id)? {
                removed.push(Removed::Deleted(id));
                self.announce([Event::image("delete", &id, &id.to_string())]);
            }
        }
        store.gc(&GcPolicy::default())?;
        Ok(removed)
    }

    /// As [`remove_image`](Self::remove_image), with the bytes that were freed.
    pub(super) fn delete_image(&self, name: &str, force: bool) -> Result<(Vec<Removed>, u64)> {
        let id = find::find(self, name)?.record.id;
        let done = self.take_image(name, force)?;
        self.announce(done.0.iter().map(|removed| match removed {
            Removed::Untagged(name) => Event::image("untag", &id, name),
            Removed::Deleted(id) => Event::image("delete", id, &id.to_string()),
        }));
        Ok(done)
    }

    fn take_image(&self, name: &str, force: bool) -> Result<(Vec<Removed>, u64)> {
        let store = self.store()?;
        let found = find::find(self, name)?;
        let id = found.record.id;
        let users = self.users_of(&id)?;
        let tags = store.tags_of(&id)?;
        let mut removed = Vec::new();
        let mut variants = Vec::new();
        for tag in &tags {
            variants.extend(store.variants(&tag.name)?);
        }
        match &found.reference {
            Some(reference) => {
                if let (false, [_] | [], Some(user)) = (force, tags.as_slice(), users.first()) {
                    return Err(Conflict::LastName {
                        reference: name.to_owned(),
                        container: user.short_id(),
                        image: id,
                    }
                    .into());
                }
                if reference.digest().is_none() {
                    untag(store, reference, &mut removed)?;
                }
                if !store.tags_of(&id)?.is_empty() || running(&users).is_some() {
                    return Ok((removed, 0));
                }
            }
            None => {
                check(&id, &users, &tags, force)?;
                for tag in &tags {
                    if let Ok(reference) = Reference::parse(&tag.name) {
                        untag(store, &reference, &mut removed)?;
                    }
                }
            }
        }
        for known in store.repo_digests_of(&id)? {
            if let Ok(repository) = Reference::parse(&known.repo) {
                let name = repository.familiar_name();
                removed.push(Removed::Untagged(format!("{name}@{}", known.digest)));
            }
        }
        store.delete_image(&id)?;
        removed.push(Removed::Deleted(id));
        for other in variants {
            let is_named = store.is_variant(&other)? || !store.tags_of(&other)?.is_empty();
            if !is_named && self.users_of(&other)?.is_empty() && store.delete_image(&other)? {
                removed.push(Removed::Deleted(other));
            }
        }
        // What only this image named is of no use to anyone; cached steps keep what they name.
        let freed = store.gc(&GcPolicy::default())?.bytes;
        Ok((removed, freed))
    }

    fn users_of(&self, id: &Digest) -> Result<Vec<Container>> {
        let mut users = self.all_containers()?;
        users.retain(|container| container.images().any(|used| used == *id));
        Ok(users)
    }
}

fn running(users: &[Container]) -> Option<&Container> {
    users.iter().find(|container| container.state.is_running())
}

/// Whether the image may go by its id.
fn check(id: &Digest, users: &[Container], tags: &[Tag], force: bool) -> Result<(), Conflict> {
    if let Some(user) = running(users) {
        return Err(Conflict::Running { image: *id, container: user.short_id() });
    }
    if force {
        return Ok(());
    }
    if tags.len() > 1 {
        return Err(Conflict::ManyNames { image: *id });
    }
    match users.first() {
        Some(user) => Err(Conflict::Stopped { image: *id, container: user.short_id() }),
        None => Ok(()),
    }
}

fn untag(store: &Store, reference: &Reference, removed: &mut Vec<Removed>) -> Result<()> {
    if store.untag(&reference.to_string())? {
        removed.push(Removed::Untagged(reference.familiar()));
    }
    Ok(())
}
