//! Lists of manifests that are put together here before they are pushed. What they list is at registries
//! or in the store; the list itself is a note in the store.

use std::collections::BTreeMap;

use bld_event::{Events, Task};
use bld_export::ManifestOptions;
use bld_oci::document::parse_index;
use bld_oci::{DescriptorExt as _, Digest, Platform, Reference, media_type};
use bld_registry::{Manifest, Reporter};
use bld_store::{ImageRecord, Store};
use serde::{Deserialize, Serialize};

use super::entry::{Entry, EntryPlatform, IndexDocument};
use super::inspect::complete_platform;
use crate::images::find;
use crate::images::variants::{index_entries, records};
use crate::{Engine, EngineError, Result};

/// The bucket of the notes that are lists, by the canonical reference of each.
const BUCKET: &str = "manifest-lists";

/// A list of manifests.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestList {
    /// What is on it.
    pub members: Vec<Member>,
    /// Annotations of the index that it becomes.
    pub annotations: BTreeMap<String, String>,
}

/// A manifest on a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// What the list says of it.
    pub entry: Entry,
    /// The name by which it was put there, complete.
    pub name: String,
    /// The image of the store that it is; none: it is at the registry of `name`.
    pub image: Option<Digest>,
}

/// What is to be said of a manifest in place of what it says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overrides {
    /// The operating system.
    pub os: Option<String>,
    /// The CPU architecture.
    pub architecture: Option<String>,
    /// The variant of the architecture.
    pub variant: Option<String>,
    /// The version of the operating system.
    pub os_version: Option<String>,
    /// Features of the operating system, added to those there are.
    pub os_features: Vec<String>,
    /// Annotations of the entry, added to those there are.
    pub annotations: BTreeMap<String, String>,
}

impl Overrides {
    fn apply(&self, entry: &mut Entry) {
        let platform = entry.platform.get_or_insert_default();
        let fields = [
            (&self.os, &mut platform.os),
            (&self.architecture, &mut platform.architecture),
            (&self.variant, &mut platform.variant),
            (&self.os_version, &mut platform.os_version),
        ];
        for (new, old) in fields {
            if let Some(new) = new {
                old.clone_from(new);
            }
        }
        for feature in &self.os_features {
            if !platform.os_features.contains(feature) {
                platform.os_features.push(feature.clone());
            }
        }
        entry.annotations.extend(self.annotations.clone());
    }
}

/// Why a list cannot be changed or pushed.
#[derive(Debug, thiserror::Error)]
pub enum ListError {
    /// There is no such list.
    #[error("no such manifest: {0}")]
    Missing(String),
    /// There is one already.
    #[error("refusing to amend an existing manifest list with no --amend flag")]
    Exists,
    /// The list does not have that.
    #[error("manifest for image {image} does not exist in {list}")]
    NotListed {
        /// What was looked for.
        image: String,
        /// The list.
        list: String,
    },
    /// A member that is for nothing in particular.
    #[error("manifest {0} must have an OS and Architecture to be pushed to a registry")]
    NoPlatform(String),
    /// A member's image is not as it was.
    #[error("image {0} is not in the store any more as it was when it was added: add it again")]
    Changed(String),
    /// Docker's lists have no annotations.
    #[error("a list in Docker's format has no place for annotations: push it as \"oci\"")]
    NoAnnotations,
}

impl ManifestList {
    /// The index that it becomes, in the format of this media type or the one that suits its members.
    ///
    /// # Errors
    /// [`ListError`] for what the format has no place for.
    pub fn index(&self, format: Option<&str>) -> Result<IndexDocument, ListError> {
        let entries = self.members.iter().map(|member| member.entry.clone()).collect();
        let mut index = IndexDocument::new(entries, self.annotations.clone());
        let is_annotated = |entry: &Entry| !entry.annotations.is_empty();
        if format == Some(media_type::DOCKER_INDEX)
            && (!index.annotations.is_empty() || index.manifests.iter().any(is_annotated))
        {
            return Err(ListError::NoAnnotations);
        }
        if let Some(format) = format {
            format.clone_into(&mut index.media_type);
        }
        Ok(index)
    }

    /// The member that is called `image` on this list, which is called `list`.
    ///
    /// # Errors
    /// [`ListError::NotListed`]
    pub fn member(&self, image: &str, list: &str) -> Result<&Member> {
        let place = self.position(image).and_then(|place| self.members.get(place));
        place.ok_or_else(|| not_listed(image, list).into())
    }

    /// Puts a member on the list, in the place of one that is the same or has the same name.
    fn put(&mut self, member: Member) {
        let is_same = |known: &Member| {
            known.entry.digest == member.entry.digest
                || (known.name == member.name && known.image.is_some() == member.image.is_some())
        };
        match self.members.iter().position(is_same) {
            Some(place) => self.members[place] = member,
            None => self.members.push(member),
        }
    }

    /// The member that is called `image`: by name, digest, or id.
    fn position(&self, image: &str) -> Option<usize> {
        let name = source(image).1;
        let name = Reference::parse(name).map_or_else(|_| name.to_owned(), |name| name.to_string());
        self.members.iter().position(|member| {
            let id = member.image.map(|id| id.to_string());
            member.name == name || member.entry.digest == image || id.as_deref() == Some(image)
        })
    }
}

impl Member {
    /// Whether it was added by a name in the repository of `other`.
    fn is_of(&self, other: &Reference) -> bool {
        Reference::parse(&self.name).is_ok_and(|own| own.name() == other.name())
    }
}

impl Engine {
    /// The list called `name`. A name that stands for images of several platforms is one, too.
    ///
    /// # Errors
    /// [`ListError::Missing`]
    pub fn manifest_list(&self, name: &str) -> Result<ManifestList> {
        let list = self.known_list(&find::parse(name)?)?;
        list.ok_or_else(|| ListError::Missing(name.to_owned()).into())
    }

    fn known_list(&self, name: &Reference) -> Result<Option<ManifestList>> {
        let store = self.store()?;
        let key = name.to_string();
        if let Some(note) = store.get(BUCKET, &key)? {
            let unreadable = |error| EngineError::Archive { problem: format!("{key}: {error}") };
            return Ok(Some(serde_json::from_slice(&note).map_err(unreadable)?));
        }
        let variants = records(store, &store.variants(&key)?)?;
        if variants.is_empty() {
            return Ok(None);
        }
        let task = Events::none().task(key.clone());
        let members = local_members(store, &key, &variants, &task)?;
        Ok(Some(ManifestList { members, annotations: BTreeMap::new() }))
    }

    /// Changes a list, while nobody else does.
    fn change_list<T>(
        &self,
        name: &str,
        change: impl FnOnce(&mut Option<ManifestList>) -> Result<T>,
    ) -> Result<T> {
        let reference = find::parse(name)?;
        let key = reference.to_string();
        let store = self.store()?;
        let _lock = store.lock(&format!("manifest-list-{}", Digest::of(key.as_bytes()).hex()))?;
        let mut list = self.known_list(&reference)?;
        let before = list.clone();
        let result = change(&mut list)?;
        if let Some(list) = list.filter(|list| before.as_ref() != Some(list)) {
            let note = serde_json::to_vec(&list)
                .map_err(|error| EngineError::Archive { problem: format!("{key}: {error}") })?;
            store.put(BUCKET, &key, &note)?;
        }
        Ok(result)
    }

    /// Makes the list `name` of `images`; of those that are lists themselves, the one for this machine or
    /// `all`. One that exists is only added to with `amend`.
    ///
    /// # Errors
    /// [`ListError::Exists`], and whatever keeps from finding an image.
    pub fn create_manifest_list(
        &self,
        name: &str,
        images: &[String],
        (amend, all): (bool, bool),
        annotations: &BTreeMap<String, String>,
    ) -> Result<()> {
        let mut members = Vec::new();
        let exists = self.known_list(&find::parse(name)?)?.is_some();
        if exists && !amend {
            return Err(ListError::Exists.into());
        }
        for image in images {
            members.extend(self.members(image, all)?);
        }
        self.change_list(name, |list| {
            if list.is_some() && !amend {
                return Err(ListError::Exists.into());
            }
            let list = list.get_or_insert_default();
            list.annotations.extend(annotations.clone());
            for member in members {
                list.put(member);
            }
            Ok(())
        })
    }

    /// Puts `image` on the list `name`; of a list, the one for this machine or `all`. Gives the digests of
    /// what was added.
    ///
    /// # Errors
    /// [`ListError::Missing`], and whatever keeps from finding the image.
    pub fn add_to_manifest_list(
        &self,
        name: &str,
        image: &str,
        all: bool,
        overrides: &Overrides,
    ) -> Result<Vec<String>> {
        self.manifest_list(name)?;
        let mut members = self.members(image, all)?;
        for member in &mut members {
            overrides.apply(&mut member.entry);
        }
        let digests = members.iter().map(|member| member.entry.digest.clone()).collect();
        self.change_list(name, |list| {
            let list = list.as_mut().ok_or_else(|| ListError::Missing(name.to_owned()))?;
            for member in members {
                list.put(member);
            }
            Ok(digests)
        })
    }

    /// Puts the images with these ids, which were built as `tag` if it has a name, on the list `name`, which
    /// is made if there is none.
    ///
    /// # Errors
    /// What the store says.
    pub fn list_built_images(&self, name: &str, tag: Option<&str>, ids: &[Digest]) -> Result<()> {
        let store = self.store()?;
        let tag = tag.map(find::parse).transpose()?.map(|tag| tag.to_string());
        let mut members = Vec::with_capacity(ids.len());
        for image in records(store, ids)? {
            let task = Events::none().task(name);
            let shown = tag.clone().unwrap_or_else(|| image.id.to_string());
            members.extend(local_members(store, &shown, &[image], &task)?);
        }
        if tag.is_some() {
            // Whatever is built for other platforms has the same name.
            for member in &mut members {
                member.name = format!("{}@{}", member.name, member.entry.digest);
            }
        }
        self.change_list(name, |list| {
            let list = list.get_or_insert_default();
            for member in members {
                list.put(member);
            }
            Ok(())
        })
    }

    /// Says something else of `image` on the list `name`; of the whole list when there is no image.
    ///
    /// # Errors
    /// [`ListError::Missing`], [`ListError::NotListed`]
    pub fn annotate_manifest_list(
        &self,
        name: &str,
        image: Option<&str>,
        overrides: &Overrides,
    ) -> Result<()> {
        self.change_list(name, |list| {
            let list = list.as_mut().ok_or_else(|| ListError::Missing(name.to_owned()))?;
            match image {
                None => list.annotations.extend(overrides.annotations.clone()),
                Some(image) => {
                    let place = self.place_on(list, image, name)?;
                    overrides.apply(&mut list.members[place].entry);
                }
            }
            Ok(())
        })
    }

    /// Takes `image` off the list `name`.
    ///
    /// # Errors
    /// [`ListError::Missing`], [`ListError::NotListed`]
    pub fn remove_from_manifest_list(&self, name: &str, image: &str) -> Result<()> {
        self.change_list(name, |list| {
            let list = list.as_mut().ok_or_else(|| ListError::Missing(name.to_owned()))?;
            let place = self.place_on(list, image, name)?;
            list.members.remove(place);
            Ok(())
        })
    }

    /// Where on `list`, which is called `name`, the image is: by what it is called there, or by what it is.
    fn place_on(&self, list: &ManifestList, image: &str, name: &str) -> Result<usize> {
        if let Some(place) = list.position(image) {
            return Ok(place);
        }
        let missing = || not_listed(image, name);
        let wanted = find::parse(source(image).1).map_err(|_| missing())?;
        let digests = match wanted.digest() {
            Some(digest) => vec![digest.to_string()],
            // Nobody is asked about what has no relation to the list.
            None if !list.members.iter().any(|member| member.is_of(&wanted)) => Vec::new(),
            None => {
                let found = self.members(image, false).unwrap_or_default();
                found.into_iter().map(|member| member.entry.digest).collect()
            }
        };
        let place = list.members.iter().position(|member| digests.contains(&member.entry.digest));
        place.ok_or_else(|| missing().into())
    }

    /// Forgets the list `name`; images stay.
    ///
    /// # Errors
    /// [`ListError::Missing`]
    pub fn delete_manifest_list(&self, name: &str) -> Result<()> {
        let store = self.store()?;
        let key = find::parse(name)?.to_string();
        let was_note = store.delete(BUCKET, &key)?;
        let was_name = !store.variants(&key)?.is_empty() && store.untag(&key)?;
        if was_note || was_name { Ok(()) } else { Err(ListError::Missing(name.to_owned()).into()) }
    }

    /// Sends the list `name`, and all that is on it, to `destination`. Gives the digest of the index.
    ///
    /// # Errors
    /// [`ListError`], and what registries answer.
    pub fn push_manifest_list(
        &self,
        name: &str,
        destination: &Reference,
        format: Option<&str>,
        events: &Events,
    ) -> Result<Digest> {
        let list = self.manifest_list(name)?;
        for member in &list.members {
            let platform = member.entry.platform.clone().unwrap_or_default();
            if platform.os.is_empty() || platform.architecture.is_empty() {
                return Err(ListError::NoPlatform(member.name.clone()).into());
            }
        }
        let index = list.index(format)?.to_manifest()?;
        let task = events.task(format!("push {}", destination.familiar()));
        let pushed =
            list.members.iter().try_for_each(|one| self.push_member(one, destination, &task));
        let client = self.client()?;
        let pushed = pushed.and_then(|()| Ok(self.block_on(client.put(destination, &index))??));
        task.finish(pushed)?;
        Ok(index.digest)
    }

    fn push_member(&self, member: &Member, destination: &Reference, task: &Task) -> Result<()> {
        let Some(id) = member.image else {
            let from = find::parse(&member.name)?;
            let manifest = self.member_manifest(member)?;
            let reporter = Reporter::from(task);
            let copy = self.client()?.copy(&from, destination, &manifest, &reporter);
            return Ok(self.block_on(copy)??);
        };
        let store = self.store()?;
        let changed = || ListError::Changed(member.name.clone());
        let wanted: Digest = member.entry.sha256().map_err(|_| changed())?;
        let mut image = store.image(&id)?.ok_or_else(changed)?;
        image.manifest = Some(wanted);
        let manifest = match bld_export::stored_manifest(store, &image)? {
            Some(manifest) => manifest,
            None => bld_export::manifest(store, &image, &ManifestOptions::default(), &|_, _| {})?,
        };
        if manifest.digest != wanted {
            return Err(changed().into());
        }
        let place = destination.by_digest(wanted);
        self.push_manifest(&place, &image, &manifest, task.events(), task.id())?;
        Ok(())
    }

    /// The manifest of a member.
    ///
    /// # Errors
    /// What the store or the registry says.
    pub fn member_manifest(&self, member: &Member) -> Result<Manifest> {
        let digest = member.entry.sha256().map_err(|_| ListError::Changed(member.name.clone()))?;
        if member.image.is_some() {
            let bytes = self.store()?.read_blob(&digest)?;
            return Ok(Manifest::new(member.entry.media_type.as_str(), bytes)?);
        }
        let place = find::parse(&member.name)?.by_digest(digest);
        Ok(self.block_on(self.client()?.resolve(&place))??)
    }

    /// What `image` brings to a list: that of the store by this name, or else that of its registry.
    fn members(&self, image: &str, all: bool) -> Result<Vec<Member>> {
        let (place, name) = source(image);
        if place != Place::Registry {
            let store = self.store()?;
            match local(self, name, all) {
                Ok((name, images)) => {
                    let task = Events::none().task(name.clone());
                    return local_members(store, &name, &images, &task);
                }
                Err(EngineError::NoSuchImage { .. }) if place == Place::Any => {}
                Err(error) => return Err(error),
            }
        }
        self.remote_members(&find::parse(name)?, all)
    }

    /// What the image `reference` would bring to a list from its registry; of an index, the one for this
    /// machine or `all`.
    ///
    /// # Errors
    /// What the registry answers.
    pub fn remote_members(&self, reference: &Reference, all: bool) -> Result<Vec<Member>> {
        let client = self.client()?;
        let named = self.block_on(client.resolve(reference))??;
        if !named.is_index() {
            let mut entry = Entry::of(&named);
            self.block_on(complete_platform(client, reference, &named, &mut entry))??;
            return Ok(vec![Member { entry, name: reference.to_string(), image: None }]);
        }
        let listed = IndexDocument::parse(&named)?.manifests;
        let images = listed.into_iter().filter(|entry| !entry.is_attestation());
        let member = |entry: Entry| {
            let name =
                entry.sha256().map_or_else(|_| reference.clone(), |d| reference.with_digest(d));
            Member { entry, name: name.to_string(), image: None }
        };
        if all {
            return Ok(images.map(member).collect());
        }
        let host = Platform::host();
        let unreadable = |error: bld_oci::DocumentError| EngineError::Archive {
            problem: format!("{reference}: {error}"),
        };
        let index = parse_index(&named.bytes).map_err(unreadable)?;
        let chosen = host.choose(index.manifests()).and_then(|chosen| chosen.sha256().ok());
        let found = images.into_iter().find(|entry| entry.sha256().ok() == chosen);
        let found = found.ok_or_else(|| bld_registry::RegistryError::NoPlatform {
            reference: reference.to_string(),
            wanted: Box::new(host.clone()),
            available: Platform::available(index.manifests()),
        })?;
        Ok(vec![member(found)])
    }
}

fn not_listed(image: &str, list: &str) -> ListError {
    ListError::NotListed { image: image.to_owned(), list: list.to_owned() }
}

/// Where an image is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Any,
    Store,
    Registry,
}

/// Takes the transport off the name of an image, as podman and skopeo write it.
fn source(text: &str) -> (Place, &str) {
    if let Some(name) = text.strip_prefix("docker://") {
        return (Place::Registry, name);
    }
    match text.strip_prefix("containers-storage:") {
        Some(name) => (Place::Store, name),
        None => (Place::Any, text),
    }
}

/// The images that `name` stands for in the store, and the name, complete.
fn local(engine: &Engine, name: &str, all: bool) -> Result<(String, Vec<ImageRecord>)> {
    let store = engine.store()?;
    let found = find::find_for(engine, name, Some(&Platform::host()))?;
    let Some(reference) = found.reference else {
        return Ok((found.record.id.to_string(), vec![found.record]));
    };
    let name = reference.to_string();
    let variants = if all { records(store, &store.variants(&name)?)? } else { Vec::new() };
    let images = if variants.is_empty() { vec![found.record] } else { variants };
    Ok((name, images))
}

/// What `images` bring to a list. They get manifests, if they have none.
fn local_members(
    store: &Store,
    name: &str,
    images: &[ImageRecord],
    task: &Task,
) -> Result<Vec<Member>> {
    let mut members = Vec::with_capacity(images.len());
    for (image, found) in images.iter().zip(index_entries(store, images, task)?) {
        let manifest = found.manifest;
        store.put_image(&ImageRecord { manifest: Some(manifest.digest), ..image.clone() })?;
        let entry = Entry {
            media_type: manifest.media_type,
            digest: manifest.digest.to_string(),
            size: manifest.bytes.len() as u64,
            platform: Some(EntryPlatform::from(&found.platform)),
            ..Entry::default()
        };
        // Several images of one name are told apart by their digests.
        let name =
            if images.len() > 1 { format!("{name}@{}", entry.digest) } else { name.to_owned() };
        members.push(Member { entry, name, image: Some(image.id) });
    }
    Ok(members)
}
