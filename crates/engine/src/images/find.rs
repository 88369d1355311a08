//! From what a user typed to an image.

use bld_oci::{Digest, Platform, Reference};
use bld_registry::RegistryError;
use bld_store::{ImageRecord, Store};

use super::variants::variant;
use crate::{Engine, EngineError, Result, trust};

/// Reads the name of an image.
pub(crate) fn parse(text: &str) -> Result<Reference> {
    Reference::parse(text)
        .map_err(|source| EngineError::Reference { reference: text.to_owned(), source })
}

/// What a name turned out to be.
pub(crate) struct Found {
    /// The image.
    pub(crate) record: ImageRecord,
    /// The name by which it was found; none when it was found by id.
    pub(crate) reference: Option<Reference>,
}

/// The image `name` stands for: a tag, a name with a digest, an id, or the unique start of one. A name without a
/// registry is Docker's, or what else [it may mean](Engine::meant).
pub(crate) fn find(engine: &Engine, name: &str) -> Result<Found> {
    let store = engine.store()?;
    let missing = || EngineError::NoSuchImage { name: name.to_owned() };
    let record = |id: &Digest| store.image(id)?.ok_or_else(missing);
    if let Ok(id) = name.parse::<Digest>() {
        return Ok(Found { record: record(&id)?, reference: None });
    }
    // Not every start of an id is a valid name, and not every name could be the start of an id.
    let reference = parse(name);
    if let Ok(reference) = &reference
        && let Some(id) = called(store, reference)?
    {
        return Ok(Found { record: record(&id)?, reference: Some(reference.clone()) });
    }
    let prefix = name.strip_prefix("sha256:").unwrap_or(name);
    if !prefix.is_empty() && prefix.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        match store.find_by_prefix(prefix)?.as_slice() {
            [] => {}
            [id] => return Ok(Found { record: record(id)?, reference: None }),
            _ => return Err(EngineError::AmbiguousImage { prefix: prefix.to_owned() }),
        }
    }
    // Files that are wrong, and names that could mean several things, are told to those who pull.
    for reference in engine.meant(name).unwrap_or_default() {
        if let Some(id) = called(store, &reference)? {
            return Ok(Found { record: record(&id)?, reference: Some(reference) });
        }
    }
    // With the tag that was looked for, as docker says it.
    Err(EngineError::NoSuchImage { name: reference?.familiar() })
}

/// The image that has this very name.
fn called(store: &Store, reference: &Reference) -> Result<Option<Digest>> {
    Ok(match reference.digest() {
        Some(digest) => match store.find_repo_digest(&reference.name(), &digest)? {
            Some(id) => Some(id),
            // `name@sha256:...` with the id itself, as docker accepts it.
            None => store.image(&digest)?.map(|image| image.id),
        },
        None => store.resolve(&reference.to_string())?,
    })
}

/// As [`find`]; where a name stands for images of several platforms, that for `platform`.
pub(crate) fn find_for(engine: &Engine, name: &str, platform: Option<&Platform>) -> Result<Found> {
    let store = engine.store()?;
    let found = find(engine, name)?;
    if let (Some(platform), Some(reference)) = (platform, &found.reference)
        && let Some(record) = variant(store, &reference.to_string(), platform)?
    {
        return Ok(Found { record, ..found });
    }
    Ok(found)
}

fn check_platform(name: &str, image: &ImageRecord, wanted: Option<&Platform>) -> Result<()> {
    let Some(wanted) = wanted else { return Ok(()) };
    if Platform::parse(&image.platform).is_ok_and(|found| found.satisfies(wanted)) {
        return Ok(());
    }
    Err(EngineError::WrongPlatform {
        reference: name.to_owned(),
        found: image.platform.clone(),
        wanted: wanted.to_string(),
    })
}

/// As [`find_for`]; an image for another platform is an error.
pub(crate) fn find_exactly(
    engine: &Engine,
    name: &str,
    platform: Option<&Platform>,
) -> Result<Found> {
    let found = find_for(engine, name, platform)?;
    check_platform(name, &found.record, platform)?;
    Ok(found)
}

impl Engine {
    /// What `name`, as typed, means by containers' `registries.conf`, the likeliest first; nothing if it names its registry,
    /// or if the files say nothing of it.
    ///
    /// # Errors
    /// [`RegistryError::Config`] when it cannot be decided, or a file is wrong.
    pub(crate) fn meant(&self, name: &str) -> Result<Vec<Reference>> {
        if !Reference::is_short(name) {
            return Ok(Vec::new());
        }
        let meant = trust::short_names(self.config()).and_then(|names| names.meant(name));
        Ok(meant.map_err(|reason| RegistryError::Config { reason })?)
    }

    /// What `name`, as typed, is most likely to be pulled as.
    ///
    /// # Errors
    /// What is wrong with the name, or with the files that say what it means.
    pub fn likeliest_image(&self, name: &str) -> Result<Reference> {
        match self.meant(name)?.into_iter().next() {
            Some(meant) => Ok(meant),
            None => parse(name),
        }
    }

    /// As [`find_image`](Self::find_image); where a name stands for images of several platforms, that
    /// for `platform`.
    pub fn find_image_for(&self, name: &str, platform: Option<&Platform>) -> Result<ImageRecord> {
        Ok(find_for(self, name, platform)?.record)
    }

    /// The image `name` stands for: a tag, a name with a digest, an id, or the unique start of one.
    pub fn find_image(&self, name: &str) -> Result<ImageRecord> {
        Ok(find(self, name)?.record)
    }
}
