//! Writing archives that docker, podman and skopeo read.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use bld_event::Events;
use bld_export::{
    ArchiveImage, IndexEntry, Manifest, ManifestOptions, write_archive, write_layout,
};
use bld_oci::{Platform, Reference};
use bld_store::{ImageRecord, Store};

use super::find;
use super::variants::{index_entries, records};
use crate::{Engine, Result};

impl Engine {
    /// Writes the images `names` as one archive, an OCI layout that with `docker` is also docker's
    /// format. Layers that exist as blobs go out as they are, others are compressed first; an image
    /// that came with a manifest keeps it.
    ///
    /// An image named by id goes out without a name.
    ///
    /// # Errors
    /// [`EngineError::WrongPlatform`](crate::EngineError::WrongPlatform) for an image that is for another platform
    /// than `platform`.
    pub fn save_images(
        &self,
        names: &[String],
        docker: bool,
        platform: Option<&Platform>,
        out: &mut dyn Write,
        events: &Events,
    ) -> Result<()> {
        let images = self.to_save(names, platform, !docker, events)?;
        write_archive(self.store()?, &images, docker, out)?;
        self.announce_saved(names);
        Ok(())
    }

    /// Writes the images `names` into the OCI layout in `dir`, made when missing. Others that it
    /// holds stay.
    ///
    /// # Errors
    /// As [`save_images`](Self::save_images).
    pub fn save_layout(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        dir: &Path,
        events: &Events,
    ) -> Result<()> {
        let images = self.to_save(names, platform, true, events)?;
        write_layout(self.store()?, &images, dir)?;
        self.announce_saved(names);
        Ok(())
    }

    fn announce_saved(&self, names: &[String]) {
        for name in names {
            if let Ok(image) = self.find_image(name) {
                self.announce_image("save", &image.id, name);
            }
        }
    }

    /// What an archive is to hold; with `claims`, also what is said about the images.
    fn to_save(
        &self,
        names: &[String],
        platform: Option<&Platform>,
        claims: bool,
        events: &Events,
    ) -> Result<Vec<ArchiveImage>> {
        let store = self.store()?;
        // All names first: an archive that is cut short by a typo helps nobody.
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(find::find_exactly(self, name, platform)?);
        }
        let mut images: Vec<ArchiveImage> = Vec::new();
        for image in found {
            let reference = image.reference.filter(|reference| reference.digest().is_none());
            let id = image.record.id;
            match images.iter_mut().find(|known| known.manifest.config.digest == id) {
                Some(known) => {
                    // The same name twice is one name.
                    known.names.extend(reference.filter(|name| !known.names.contains(name)));
                }
                None => {
                    let manifest = manifest(store, &image.record, events)?;
                    let variants = match (&reference, platform) {
                        (Some(name), None) => store.variants(&name.to_string())?,
                        _ => Vec::new(),
                    };
                    let kept = if claims {
                        let ids = if variants.is_empty() { vec![id] } else { variants.clone() };
                        self.kept_claims(&ids)?
                    } else {
                        None
                    };
                    let called: Vec<_> = reference.iter().cloned().collect();
                    let index = match (records(store, &variants)?, kept) {
                        (none, None) if none.is_empty() => None,
                        (none, Some(kept)) if none.is_empty() && kept.is_silent() => None,
                        (none, Some(kept)) if none.is_empty() => {
                            let (image, manifest) = (&image.record, manifest.clone());
                            Some(self.index_of_one(&kept, &called, image, manifest)?)
                        }
                        (images, kept) => {
                            let entries = entries(store, &called, &images, events)?;
                            Some(self.index_with_claims(kept.as_ref(), &called, entries)?)
                        }
                    };
                    let (names, annotations) = (reference.into_iter().collect(), BTreeMap::new());
                    images.push(ArchiveImage { manifest, index, names, annotations });
                }
            }
        }
        Ok(images)
    }
}

/// What an index over the images of several platforms lists, which are called `names`.
fn entries(
    store: &Store,
    names: &[Reference],
    images: &[ImageRecord],
    events: &Events,
) -> Result<Vec<IndexEntry>> {
    let name = names.first().map(Reference::familiar).unwrap_or_default();
    let task = events.task(format!("exporting the platforms of {name}"));
    let entries = index_entries(store, images, &task);
    task.finish(entries)
}

fn manifest(store: &Store, image: &ImageRecord, events: &Events) -> Result<Manifest> {
    if let Some(manifest) = bld_export::stored_manifest(store, image)? {
        return Ok(manifest);
    }
    let task = events.task(format!("exporting {}", image.id));
    let progress = |done, all| {
        task.progress("exporting layers", done as u64, Some(all as u64), done == all);
    };
    let manifest = bld_export::manifest(store, image, &ManifestOptions::default(), &progress);
    Ok(task.finish(manifest)?)
}
