//! New images of those that registries have.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use bld_event::{EventKind, Events, Stream, Task};
use bld_oci::{Digest, DigestError, Platform, Reference, ReferenceError};
use bld_registry::{Client, Manifest, Reporter};
use futures_util::future::try_join_all;
use serde::Deserialize;

use super::entry::{Entry, IndexDocument};
use super::inspect::{complete, complete_platform};
use super::location::{Layout, Location};
use crate::attest::REFERENCE_DIGEST;
use crate::build::{AnnotationScope, Annotations};
use crate::{Engine, EngineError, Result};

/// One of the images that a new one is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// By name, or name and digest.
    Name(Reference),
    /// In a directory.
    Layout(Layout),
    /// By digest, in the repository that all is about.
    Digest(Digest),
    /// As that, with more to say about it.
    Entry(Box<Entry>),
}

/// Why a text names no image to make another of.
#[derive(Debug, thiserror::Error)]
#[error("failed to parse source {text:?}, valid sources are digests, references and descriptors")]
pub struct SourceError {
    text: String,
    #[source]
    cause: SourceProblem,
}

/// What is wrong with a source.
#[derive(Debug, thiserror::Error)]
enum SourceProblem {
    #[error(transparent)]
    Reference(ReferenceError),
    #[error(transparent)]
    Digest(DigestError),
    #[error("invalid descriptor: {0}")]
    Json(serde_json::Error),
    #[error("expected an OCI content descriptor, got a manifest or index")]
    Document,
}

impl FromStr for Source {
    type Err = SourceError;

    fn from_str(text: &str) -> std::result::Result<Self, SourceError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Given {
            #[serde(default)]
            schema_version: u32,
            #[serde(flatten)]
            entry: Entry,
        }
        let text = text.trim();
        let wrong = |cause| SourceError { text: text.to_owned(), cause };
        if text.starts_with("sha256:") {
            let digest = text.parse().map_err(|error| wrong(SourceProblem::Digest(error)))?;
            return Ok(Self::Digest(digest));
        }
        if let Some(layout) = Layout::parse(text) {
            return Ok(Self::Layout(layout));
        }
        if !text.starts_with('{') {
            let name = Reference::parse(text);
            return Ok(Self::Name(name.map_err(|error| wrong(SourceProblem::Reference(error)))?));
        }
        let given: Given =
            serde_json::from_str(text).map_err(|error| wrong(SourceProblem::Json(error)))?;
        if given.schema_version != 0 {
            return Err(wrong(SourceProblem::Document));
        }
        given.entry.sha256().map_err(|error| wrong(SourceProblem::Digest(error)))?;
        Ok(Self::Entry(Box::new(given.entry)))
    }
}

/// What is to become of which images.
#[derive(Debug, Clone)]
pub struct Combination {
    /// What the new image consists of.
    pub sources: Vec<Source>,
    /// The names it is to have.
    pub tags: Vec<Reference>,
    /// Annotations of the index and of what it says of its images.
    pub annotations: Annotations,
    /// Of one image that is for one platform, make an index of one.
    pub prefer_index: bool,
    /// The platforms that the new image is for; all there are when empty.
    pub platforms: Vec<Platform>,
}

/// A new image that is nowhere yet.
#[derive(Debug, Clone)]
pub struct Combined {
    /// Its manifest or index.
    pub manifest: Manifest,
    /// What has to be in a repository before it, and where that is now.
    parts: Vec<(Location, Digest)>,
}

/// Why images cannot be combined.
#[derive(Debug, thiserror::Error)]
pub enum CombineError {
    /// Digests alone, and nothing says of which repository.
    #[error("no repositories specified, please set a reference in tag or source")]
    NoRepository,
    /// A digest alone, with more than one repository.
    #[error("multiple repositories specified, cannot infer repository for {0:?}")]
    AmbiguousRepository(String),
    /// A descriptor that contradicts what the registry has.
    #[error("invalid size mismatch for {digest}, {given} != {found}")]
    Size {
        /// What it is about.
        digest: Digest,
        /// Bytes according to the descriptor.
        given: u64,
        /// Bytes there are.
        found: u64,
    },
    /// Images cannot be annotated without becoming other images.
    #[error("\"manifest\" annotations are not supported yet: the images stay what they are")]
    ManifestAnnotation,
    /// There is nothing above the index.
    #[error("\"index-descriptor\" annotations are invalid while creating an image")]
    IndexDescriptorAnnotation,
    /// The only image is for another platform.
    #[error("input platform {0} does not match any of the provided platforms")]
    OtherPlatform(String),
    /// No image is for one of the platforms.
    #[error("none of the manifests match the provided platforms")]
    NoPlatform,
}

/// A source that was found.
struct Found {
    location: Location,
    manifest: Manifest,
    entry: Entry,
}

impl Engine {
    /// Finds out what the new image is; nothing is written.
    ///
    /// # Errors
    /// [`CombineError`], and what registries answer.
    pub fn combine(&self, asked: &Combination) -> Result<Combined> {
        if asked.annotations.has(AnnotationScope::Manifest) {
            return Err(CombineError::ManifestAnnotation.into());
        }
        if asked.annotations.has(AnnotationScope::IndexDescriptor) {
            return Err(CombineError::IndexDescriptorAnnotation.into());
        }
        let client = self.client()?;
        let sources = located(asked)?;
        let found = sources.iter().map(|(location, given)| find(client, location, *given));
        let found = self.block_on(try_join_all(found))??;
        if let ([only], true) = (found.as_slice(), asked.annotations.is_empty())
            && (only.manifest.is_index() || !asked.prefer_index)
        {
            return only.filtered(&asked.platforms);
        }
        let mut index = united(&found)?;
        for entry in &mut index.entries {
            let platform = entry.platform.clone().unwrap_or_default().normalized();
            let said = asked.annotations.of(AnnotationScope::ManifestDescriptor, &platform);
            entry.annotations.extend(said);
        }
        index.filter(&asked.platforms)?;
        let annotations = asked.annotations.of_index(AnnotationScope::Index);
        let manifest = IndexDocument::new(index.entries.clone(), annotations).to_manifest()?;
        Ok(Combined { manifest, parts: index.parts()? })
    }

    /// Gives the new image its names, after all that it consists of is in their repositories: what the
    /// same registry has is mounted, the rest passes through.
    ///
    /// # Errors
    /// What registries answer.
    pub fn publish(&self, image: &Combined, tags: &[Reference], events: &Events) -> Result<()> {
        let mut repositories: BTreeMap<String, Vec<&Reference>> = BTreeMap::new();
        for tag in tags {
            repositories.entry(tag.name()).or_default().push(tag);
        }
        for (name, tags) in repositories {
            let task = events.task(format!("[internal] pushing {name}"));
            let published = self.publish_to(image, &tags, &task);
            task.finish(published)?;
        }
        Ok(())
    }

    fn publish_to(&self, image: &Combined, tags: &[&Reference], task: &Task) -> Result<()> {
        let client = self.client()?;
        let say = |line: String| {
            let data = format!("{line}\n").into_bytes();
            task.events().emit(task.id(), EventKind::Log { stream: Stream::Stdout, data });
        };
        let reporter = Reporter::from(task);
        for (from, digest) in &image.parts {
            let Some(to) = tags.first() else { return Ok(()) };
            say(format!("copying {digest} from {from} to {}", to.name()));
            match from {
                Location::Registry(from) => {
                    let manifest = self.block_on(client.manifest(from, *digest))??;
                    self.block_on(client.copy(from, to, &manifest, &reporter))??;
                }
                Location::Layout(layout) => {
                    let (store, manifest) = (self.store()?, layout.manifest(*digest)?);
                    let lease = store.lease();
                    layout.take_in(store, &lease, &manifest)?;
                    let to = to.by_digest(*digest);
                    self.block_on(client.push(store, &to, &manifest, &[], &reporter))??;
                }
            }
        }
        for tag in tags {
            say(format!("pushing {} to {tag}", image.manifest.digest));
            self.block_on(client.put(tag, &image.manifest))??;
        }
        Ok(())
    }
}

/// Where each source is, and what is said about it besides.
fn located(asked: &Combination) -> Result<Vec<(Location, Option<&Entry>)>, CombineError> {
    let named = asked.sources.iter().filter_map(|source| match source {
        Source::Name(reference) => Some(reference),
        _ => None,
    });
    let mut repositories: Vec<&Reference> = Vec::new();
    for reference in named.chain(&asked.tags) {
        if !repositories.iter().any(|known| known.name() == reference.name()) {
            repositories.push(reference);
        }
    }
    let within = |digest: &str| match repositories.as_slice() {
        [] => Err(CombineError::NoRepository),
        [only] => Ok((*only).clone()),
        _ => Err(CombineError::AmbiguousRepository(digest.to_owned())),
    };
    let mut located = Vec::with_capacity(asked.sources.len());
    for source in &asked.sources {
        located.push(match source {
            Source::Name(reference) => (Location::Registry(reference.clone()), None),
            Source::Layout(layout) => (Location::Layout(layout.clone()), None),
            Source::Digest(digest) => {
                let place = within(&digest.to_string())?.by_digest(*digest);
                (Location::Registry(place), None)
            }
            Source::Entry(entry) => {
                let place = within(&entry.digest)?;
                let place = entry.sha256().map_or_else(|_| place.clone(), |d| place.by_digest(d));
                (Location::Registry(place), Some(&**entry))
            }
        });
    }
    Ok(located)
}

async fn find(client: &Client, location: &Location, given: Option<&Entry>) -> Result<Found> {
    let manifest = match location {
        Location::Registry(reference) => client.resolve(reference).await?,
        Location::Layout(layout) => layout.resolve()?,
    };
    let mut entry = Entry::of(&manifest);
    if let Some(given) = given {
        if given.size != 0 && given.size != entry.size {
            let (digest, found) = (manifest.digest, entry.size);
            return Err(CombineError::Size { digest, given: given.size, found }.into());
        }
        // Replaced, not merged, so that annotations can be taken away, too.
        if !given.annotations.is_empty() {
            entry.annotations.clone_from(&given.annotations);
        }
        if !given.media_type.is_empty() {
            entry.media_type.clone_from(&given.media_type);
        }
        entry.platform.clone_from(&given.platform);
    }
    if !manifest.is_index() {
        match location {
            Location::Registry(reference) => {
                complete_platform(client, reference, &manifest, &mut entry).await?;
            }
            Location::Layout(layout) => complete(&layout.config(&manifest)?, &mut entry),
        }
    }
    Ok(Found { location: location.clone(), manifest, entry })
}

impl Found {
    /// The source as it is, or an index of those of its images that are for `platforms`.
    fn filtered(&self, platforms: &[Platform]) -> Result<Combined> {
        let as_it_is = || Combined {
            manifest: self.manifest.clone(),
            parts: vec![(self.location.clone(), self.manifest.digest)],
        };
        if platforms.is_empty() {
            return Ok(as_it_is());
        }
        if !self.manifest.is_index() {
            let platform = self.entry.platform.clone().unwrap_or_default();
            if platforms.contains(&platform.normalized()) {
                return Ok(as_it_is());
            }
            return Err(CombineError::OtherPlatform(platform.shown()).into());
        }
        let mut document = IndexDocument::parse(&self.manifest)?;
        let mut index = united(std::slice::from_ref(self))?;
        index.filter(platforms)?;
        if index.entries.len() == document.manifests.len() {
            return Ok(as_it_is());
        }
        document.manifests.clone_from(&index.entries);
        if document.media_type.is_empty() {
            document.media_type.clone_from(&self.manifest.media_type);
        }
        Ok(Combined { manifest: document.to_manifest()?, parts: index.parts()? })
    }
}

/// The entries of a new index, each once, and where each comes from.
#[derive(Default)]
struct United {
    entries: Vec<Entry>,
    sources: HashMap<String, Location>,
}

fn united(found: &[Found]) -> Result<United> {
    let mut united = United::default();
    for source in found {
        if source.manifest.is_index() {
            for entry in IndexDocument::parse(&source.manifest)?.manifests {
                united.add(entry, &source.location);
            }
        } else {
            united.add(source.entry.clone(), &source.location);
        }
    }
    Ok(united)
}

impl United {
    /// What is said later of the same manifest counts.
    fn add(&mut self, entry: Entry, source: &Location) {
        self.sources.insert(entry.digest.clone(), source.clone());
        match self.entries.iter_mut().find(|known| known.digest == entry.digest) {
            Some(known) => {
                if known.media_type.is_empty() {
                    known.media_type = entry.media_type;
                }
                known.platform = entry.platform.or(known.platform.take());
                known.annotations.extend(entry.annotations);
            }
            None => self.entries.push(entry),
        }
    }

    /// Leaves the images for these platforms, if there are any, and what is said about them.
    fn filter(&mut self, platforms: &[Platform]) -> Result<(), CombineError> {
        if platforms.is_empty() {
            return Ok(());
        }
        let is_meant = |entry: &Entry| {
            let platform = entry.platform.as_ref();
            platform.is_none_or(|platform| platforms.contains(&platform.normalized()))
        };
        let meant = self.entries.iter().filter(|entry| is_meant(entry));
        let meant: Vec<String> = meant.map(|entry| entry.digest.clone()).collect();
        self.entries.retain(|entry| {
            let subject = entry.annotations.get(REFERENCE_DIGEST);
            is_meant(entry) || subject.is_some_and(|subject| meant.contains(subject))
        });
        if self.entries.is_empty() { Err(CombineError::NoPlatform) } else { Ok(()) }
    }

    fn parts(&self) -> Result<Vec<(Location, Digest)>> {
        let part = |entry: &Entry| {
            let digest = entry
                .sha256()
                .map_err(|error| EngineError::Archive { problem: error.to_string() })?;
            Ok((self.sources[&entry.digest].clone(), digest))
        };
        self.entries.iter().map(part).collect()
    }
}
