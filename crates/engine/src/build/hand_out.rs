//! Handing the result of a build out, for one platform or several.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::path::Path;

use bld_event::{Cancel, Events, Task};
use bld_export::{ArchiveImage, FilesOptions, Index, IndexEntry};
use bld_graph::Plan;
use bld_oci::{Platform, Reference};
use bld_solve::Solved;
use bld_store::ImageRecord;

use super::annotations::AnnotationScope;
use super::error::BuildError;
use super::output::{Made, Wanted, archive, is_on_stdout, is_special, title, write_file};
use super::request::{
    BuildRequest, BuildResult, Built, Destination, ImageOptions, Output, StepCounts,
    WrittenManifest,
};
use super::verify::image_options;
use crate::attest::{self, AttestationForm, Attestations, Claim, Claims, SPDX};
use crate::error::IoContext as _;
use crate::history::Said;
use crate::share::{Bringer, CacheTarget, Exporter};
use crate::{Engine, EngineError, sbom};

/// Hands the result of one build out.
pub(super) struct HandOut<'a> {
    engine: &'a Engine,
    events: &'a Events,
    cancel: &'a Cancel,
    /// What was made for each platform, in the order in which they were asked for.
    made: Vec<Made<'a>>,
    solved: &'a Solved,
    bringer: &'a Bringer,
    /// The images are needed in any case, in this form.
    verify: Option<ImageOptions>,
    /// What is asked for and what there is to say about the images.
    asked: &'a Attestations,
    claims: Claims,
    /// Where that is kept.
    places: Vec<String>,
}

impl<'a> HandOut<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        request: &'a BuildRequest,
        plans: &'a [Plan],
        solved: &'a Solved,
        bringer: &'a Bringer,
        (events, cancel): (&'a Events, &'a Cancel),
    ) -> Result<Self, BuildError> {
        let results = plans.iter().zip(solved.snapshots.iter().copied());
        let made = results
            .map(|result| Made::new(engine, request, result, &solved.steps, (bringer, cancel)))
            .collect::<Result<_, _>>()?;
        let verify = request.verify.then(|| image_options(&request.outputs));
        let (asked, claims, places) = (&request.attest, Claims::default(), Vec::new());
        Ok(Self { engine, events, cancel, made, solved, bringer, verify, asked, claims, places })
    }

    /// The same, with something to say about how the images were made.
    pub(super) fn claiming(mut self, provenance: Option<Claim>) -> Self {
        self.claims.provenance = provenance;
        self
    }

    /// To all of `wanted`, one after the other, then to `caches`.
    pub(super) fn all(
        mut self,
        wanted: &[Wanted],
        caches: &[CacheTarget],
    ) -> Result<BuildResult, BuildError> {
        let mut names: Vec<String> = Vec::new();
        let mut manifest = None;
        for wanted in wanted {
            if self.cancel.is_canceled() {
                return Err(BuildError::Canceled);
            }
            let (engine, events) = (self.engine, self.events);
            let written = if is_on_stdout(&wanted.output) {
                // What was written cannot be taken back.
                self.one_shown(wanted)
            } else {
                engine.mending(events, || self.one_shown(wanted))
            };
            manifest = written?.or(manifest);
            for name in wanted.names.iter().map(ToString::to_string) {
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
        let mut built: Vec<Built> = Vec::new();
        if let Some(options) = &self.verify {
            let task = self.events.task("describing the images");
            let images = self.made.iter_mut().map(|made| made.built(options, &task));
            let images: Result<_, _> = images.collect();
            built = task.finish(images)?;
        }
        let (engine, events, cancel) = (self.engine, self.events, self.cancel);
        let exporter =
            Exporter { engine, solved: self.solved, bringer: self.bringer, events, cancel };
        let cache = exporter.all(caches)?.map(|written| WrittenManifest {
            digest: written.digest,
            media_type: written.media_type.to_owned(),
            size: written.bytes.len() as u64,
            platform: None,
        });
        let steps = StepCounts { run: self.solved.run, cached: self.solved.cached };
        let main = self.main();
        let image_ids = self.made.iter().filter_map(Made::last_image).collect();
        let image = self.made.into_iter().nth(main).and_then(Made::into_image);
        let image_id = image.as_ref().map(|image| image.id);
        let (said, materials) = (said(self.claims, &self.places), Vec::new());
        Ok(BuildResult {
            image_id,
            image_ids,
            manifest,
            names,
            materials,
            said,
            steps,
            image,
            cache,
            built,
        })
    }

    /// To one output, as a task; gives the manifest or index when one was written.
    fn one_shown(&mut self, wanted: &Wanted) -> Result<Option<WrittenManifest>, BuildError> {
        let task = self.events.task(title(&wanted.output));
        let written = self.attested(wanted, &task);
        let canceled = self.cancel.is_canceled();
        task.finish(written.map_err(|error| if canceled { BuildError::Canceled } else { error }))
    }

    /// To one output, with what there is to say about the images.
    fn attested(
        &mut self,
        wanted: &Wanted,
        task: &Task,
    ) -> Result<Option<WrittenManifest>, BuildError> {
        let place = if self.asked.is_empty() { None } else { self.place_of(&wanted.output) };
        let enclosed = place == Some(Place::Index);
        if place.is_some() {
            self.list_packages(&wanted.output, task)?;
        }
        let written = match self.made.as_mut_slice() {
            [only] if !enclosed => only.one(wanted, task)?,
            _ => self.several(wanted, enclosed, task)?,
        };
        if is_stored(&wanted.output) {
            for id in self.made.iter().filter_map(Made::last_image) {
                self.engine.keep_claims(&id, &self.claims, self.asked.form)?;
            }
        }
        match (place, &wanted.output, &written) {
            (Some(Place::Files), Output::Local { dest, split, .. }, _) => {
                self.write_claims(dest, *split)?;
            }
            (Some(Place::Referrers), _, Some(written)) => {
                let WrittenManifest { media_type, digest, size, platform } = written;
                let top = bld_oci::descriptor(media_type, *digest, *size);
                let platform = platform.clone().unwrap_or_else(Platform::host);
                for name in &wanted.names {
                    self.engine.attest(name, &top, &platform, &self.claims)?;
                }
            }
            _ => {}
        }
        if place.is_some() {
            self.places.extend(places(wanted, written.as_ref()));
        }
        Ok(written)
    }

    /// Where an output has a place for what is said about its images.
    fn place_of(&self, output: &Output) -> Option<Place> {
        match (output, self.asked.form) {
            (Output::Oci { .. }, _)
            | (Output::Image { push: true, .. }, AttestationForm::Index) => Some(Place::Index),
            (Output::Image { push: true, .. }, AttestationForm::Referrer) => Some(Place::Referrers),
            (Output::Local { .. }, _) => Some(Place::Files),
            (output, _) => is_stored(output).then_some(Place::Store),
        }
    }

    /// Lists the packages of the images that an output makes, if that is asked for.
    fn list_packages(&mut self, output: &Output, task: &Task) -> Result<(), BuildError> {
        if !self.asked.sbom {
            return Ok(());
        }
        let options = image_options(std::slice::from_ref(output));
        for made in &mut self.made {
            made.bring(task)?;
            let image = made.image(&options, task)?;
            if let Entry::Vacant(place) = self.claims.packages.entry(image.id) {
                let contents = self.engine.contents_of(image, None, &Events::none())?;
                let predicate = sbom::document(&contents)?;
                place.insert(Claim { predicate_type: SPDX.to_owned(), predicate });
            }
        }
        Ok(())
    }

    /// Writes what there is to say beside the files of the result.
    fn write_claims(&self, dest: &Path, split: Option<bool>) -> Result<(), BuildError> {
        let split = split.unwrap_or(self.made.len() > 1);
        for made in &self.made {
            let dir = if split { dest.join(made.directory()) } else { dest.to_owned() };
            let packages = made.last_image().and_then(|id| self.claims.packages.get(&id));
            let inline_only = self.asked.provenance.as_ref().is_some_and(|asked| asked.inline_only);
            let provenance = self.claims.provenance.as_ref().filter(|_| !inline_only);
            let files = [("provenance.json", provenance), ("sbom.spdx.json", packages)];
            for (name, claim) in files {
                let Some(claim) = claim else { continue };
                let path = dir.join(name);
                std::fs::write(&path, format!("{:#}\n", claim.predicate)).at("write", &path)?;
            }
        }
        Ok(())
    }

    /// Which of the platforms stands for all where only one can: that of this machine, or the first.
    fn main(&self) -> usize {
        let host = Platform::host();
        self.made.iter().position(|made| made.plan.platform.satisfies(&host)).unwrap_or(0)
    }

    /// The results to one output, as an index where that can be; with `enclosed`, what there is to
    /// say about the images is in it.
    fn several(
        &mut self,
        wanted: &Wanted,
        enclosed: bool,
        task: &Task,
    ) -> Result<Option<WrittenManifest>, BuildError> {
        let store = self.engine.store()?;
        match &wanted.output {
            Output::CacheOnly => Ok(None),
            Output::Image { push, options, .. } => {
                self.store_images(&wanted.names, (*push, enclosed), options, task)
            }
            Output::Docker { dest: None, options, .. } => {
                self.bring(task)?;
                self.store_images(&wanted.names, (false, false), options, task)
            }
            Output::Oci { dest, tar, options, .. }
            | Output::Docker { dest: Some(dest), tar, options, .. } => {
                let image = self.archived(options, &wanted.names, enclosed, task)?;
                match dest {
                    Destination::Path(dir) if !tar => {
                        bld_export::write_layout(store, std::slice::from_ref(&image), dir)?;
                    }
                    dest => archive(store, dest, &image, false, task, self.cancel)?,
                }
                Ok(image.index.as_ref().map(written))
            }
            Output::Local { dest, split, delete } => {
                self.bring(task)?;
                for made in &self.made {
                    let options = FilesOptions {
                        mtime: made.plan.epoch,
                        subdir: split.unwrap_or(true).then(|| made.directory()),
                        delete: *delete,
                    };
                    bld_export::write_rootfs_dir(store, made.snapshot, dest, &options)?;
                }
                Ok(None)
            }
            Output::Tar { dest, .. } => {
                self.bring(task)?;
                let trees: Vec<_> =
                    self.made.iter().map(|made| (made.directory(), made.snapshot)).collect();
                let epoch = self.made.first().and_then(|made| made.plan.epoch);
                write_file(dest, task, self.cancel, &mut |out| {
                    Ok(bld_export::write_rootfs_tars(store, &trees, out, epoch)?)
                })?;
                Ok(None)
            }
        }
    }

    /// To the image store, where the names then stand for all of them, and from there to registries.
    fn store_images(
        &mut self,
        names: &[Reference],
        (push, enclosed): (bool, bool),
        options: &ImageOptions,
        task: &Task,
    ) -> Result<Option<WrittenManifest>, BuildError> {
        let store = self.engine.store()?;
        let needs_index = push || !self.asked.is_empty() || is_special(options);
        let beside = enclosed.then_some(names);
        let index = if needs_index { Some(self.index(options, beside, task)?) } else { None };
        let main = self.main();
        let mut images: Vec<ImageRecord> = Vec::with_capacity(self.made.len());
        let mut added = Vec::new();
        for (number, made) in self.made.iter_mut().enumerate() {
            let mut image = made.image(options, task)?;
            image.manifest =
                index.as_ref().and_then(|index| index.manifests.get(number)).map(|m| m.digest);
            if store.image(&image.id).map_err(EngineError::from)?.is_none() {
                added.push(image.id);
            }
            store.put_image(&image).map_err(EngineError::from)?;
            task.progress(format!("writing image {}", image.id), 1, Some(1), true);
            images.push(image);
        }
        let naming = &options.naming;
        if !(naming.by_digest || naming.discard) {
            let ids: Vec<_> = images.iter().map(|image| image.id).collect();
            for name in names {
                match ids.as_slice() {
                    [only] => store.tag(&name.to_string(), only, None)?,
                    _ => store.tag_variants(&name.to_string(), &ids, &ids[main])?,
                }
                task.progress(format!("naming to {name}"), 1, Some(1), true);
            }
        }
        let Some(index) = index else { return Ok(None) };
        for name in names.iter().filter(|_| push) {
            let name = if naming.by_digest { name.by_digest(index.digest) } else { name.clone() };
            self.engine.push_index(&name, &images, &index, task.events(), task.id())?;
            task.progress(format!("pushing {name}"), 1, Some(1), true);
        }
        if naming.discard {
            added.iter().try_for_each(|id| store.delete_image(id).map(drop))?;
        }
        Ok(Some(written(&index)))
    }

    fn bring(&self, task: &Task) -> Result<(), BuildError> {
        self.made.iter().try_for_each(|made| made.bring(task))
    }

    /// The index over the images, which are written before it, and if they are called something, over
    /// what there is to say about them.
    fn index(
        &mut self,
        options: &ImageOptions,
        beside: Option<&[Reference]>,
        task: &Task,
    ) -> Result<Index, BuildError> {
        let store = self.engine.store()?;
        let mut entries = Vec::with_capacity(self.made.len());
        let mut said = Vec::new();
        for made in &mut self.made {
            let manifest = made.manifest(options, false, task)?;
            let platform = made.plan.platform.clone();
            let claims = self.claims.about(&manifest.config.digest);
            if let Some(names) = beside.filter(|_| !claims.is_empty()) {
                said.push(attest::beside(store, names, &manifest, &platform, &claims)?);
            }
            let annotations =
                options.annotations.of(AnnotationScope::ManifestDescriptor, &platform);
            entries.push(IndexEntry { manifest, platform, annotations });
        }
        entries.append(&mut said);
        let annotations = options.annotations.of_index(AnnotationScope::Index);
        Ok(Index::write(store, &entries, &annotations)?)
    }

    fn archived(
        &mut self,
        options: &ImageOptions,
        names: &[Reference],
        enclosed: bool,
        task: &Task,
    ) -> Result<ArchiveImage, BuildError> {
        let index = self.index(options, enclosed.then_some(names), task)?;
        for (made, manifest) in self.made.iter_mut().zip(&index.manifests) {
            made.fetch_blobs(manifest, options, task)?;
        }
        let manifest = index.manifests[self.main()].clone();
        let annotations: BTreeMap<_, _> =
            options.annotations.of_index(AnnotationScope::IndexDescriptor);
        Ok(ArchiveImage { manifest, index: Some(index), names: names.to_vec(), annotations })
    }
}

/// Where what is said about images is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// In an index, beside them.
    Index,
    /// In artifacts that refer to them.
    Referrers,
    /// In files.
    Files,
    /// In the store, with them.
    Store,
}

/// What the places are called in which an output has what is said.
fn places(wanted: &Wanted, written: Option<&WrittenManifest>) -> Vec<String> {
    match (&wanted.output, written) {
        (
            Output::Local { dest: path, .. } | Output::Oci { dest: Destination::Path(path), .. },
            _,
        ) => {
            vec![path.display().to_string()]
        }
        (_, Some(WrittenManifest { digest, .. })) => {
            wanted.names.iter().map(|name| format!("{name}@{digest}")).collect()
        }
        (_, None) => wanted.names.iter().map(ToString::to_string).collect(),
    }
}

/// What the history keeps of claims that are in these places.
fn said(claims: Claims, places: &[String]) -> Vec<Said> {
    if places.is_empty() {
        return Vec::new();
    }
    let has_packages = !claims.packages.is_empty();
    let said =
        |predicate_type, predicate| Said { predicate_type, places: places.to_vec(), predicate };
    let provenance =
        claims.provenance.map(|claim| said(claim.predicate_type, Some(claim.predicate)));
    let packages = has_packages.then(|| said(SPDX.to_owned(), None));
    provenance.into_iter().chain(packages).collect()
}

/// Whether an output puts images into the store.
fn is_stored(output: &Output) -> bool {
    match output {
        Output::Image { options, .. } => !options.naming.discard,
        Output::Docker { dest, .. } => dest.is_none(),
        _ => false,
    }
}

fn written(index: &Index) -> WrittenManifest {
    WrittenManifest {
        digest: index.digest,
        media_type: index.media_type.clone(),
        size: index.bytes.len() as u64,
        platform: None,
    }
}
