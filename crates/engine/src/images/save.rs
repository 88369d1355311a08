//! Writing archives that docker, podman and skopeo read.

use std::collections::BTreeMap;
use std::io::Write;

use bld_event::Events;
use bld_export::{ArchiveImage, ManifestOptions, manifest, write_archive};

use super::find;
use crate::{Engine, Result};

impl Engine {
    /// Writes the images `names` as one archive, an OCI layout that is also docker's format. Layers
    /// that exist as blobs go out as they are, others are compressed first.
    ///
    /// An image named by id goes out without a name.
    pub fn save_images(
        &self,
        names: &[String],
        out: &mut dyn Write,
        events: &Events,
    ) -> Result<()> {
        let store = self.store()?;
        // All names first: an archive that is cut short by a typo helps nobody.
        let mut found = Vec::with_capacity(names.len());
        for name in names {
            found.push(find::find(store, name)?);
        }
        let mut images: Vec<ArchiveImage> = Vec::new();
        for image in found {
            let reference = image.reference.filter(|reference| reference.digest().is_none());
            let id = image.record.id;
            match images.iter_mut().find(|known| known.manifest.config.digest == id) {
                Some(known) => known.names.extend(reference),
                None => {
                    let task = events.task(format!("exporting {id}"));
                    let progress = |done, all| {
                        task.progress(
                            "exporting layers",
                            done as u64,
                            Some(all as u64),
                            done == all,
                        );
                    };
                    let options = ManifestOptions::default();
                    let manifest = manifest(store, &image.record, &options, &progress);
                    let manifest = task.finish(manifest)?;
                    let (names, annotations) = (reference.into_iter().collect(), BTreeMap::new());
                    images.push(ArchiveImage { manifest, names, annotations });
                }
            }
        }
        Ok(write_archive(store, &images, true, out)?)
    }
}
