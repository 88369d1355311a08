//! Handing the result of a build for one platform out.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use bld_event::{Cancel, EventKind, Task};
use bld_export::{
    ArchiveImage, Cancelable, Derivation, FilesOptions, Manifest, ManifestOptions, Recipe,
};
use bld_graph::Plan;
use bld_layer::Compression;
use bld_oci::{Digest, History, Reference, document};
use bld_solve::SolvedStep;
use bld_store::{ImageRecord, Lease, SnapshotId, Store};

use super::annotations::{AnnotationScope, Annotations};
use super::error::BuildError;
use super::request::{
    BuildRequest, Built, Destination, FixedTimes, ImageOptions, Naming, Output, WrittenManifest,
};
use crate::share::{self, Bringer, CacheTarget};
use crate::{Engine, EngineError};

/// One output and the names of the image there, checked before anything runs.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) output: Output,
    pub(super) names: Vec<Reference>,
}

/// All outputs of a request; the image store when it asks for none.
pub(super) fn wanted(request: &BuildRequest) -> Result<Vec<Wanted>, BuildError> {
    let store_image =
        Output::Image { names: Vec::new(), push: false, options: ImageOptions::default() };
    let outputs = match request.outputs.as_slice() {
        [] => std::slice::from_ref(&store_image),
        outputs => outputs,
    };
    let mut wanted = Vec::with_capacity(outputs.len());
    let mut on_stdout = 0;
    let several = request.platforms.len() > 1;
    for output in outputs {
        let own = match output {
            Output::Image { names, .. }
            | Output::Oci { names, .. }
            | Output::Docker { names, .. } => names.as_slice(),
            _ => &[],
        };
        let names = parse(request.tags.iter().chain(own))?;
        if names.is_empty() && matches!(output, Output::Image { push: true, .. }) {
            return Err(refused("tag is needed when pushing to registry"));
        }
        if let Output::Image { options, push, .. } = output {
            check_naming(request.tags.iter().chain(own), &options.naming, *push)?;
        }
        if several && matches!(output, Output::Docker { dest: Some(_), .. }) {
            let why = "docker exporter does not currently support exporting manifest lists: use \
                       type=oci, or build for one platform";
            return Err(refused(why));
        }
        if several && matches!(output, Output::Tar { split: Some(false), .. }) {
            return Err(refused("platform-split=false: one tar cannot hold two root filesystems"));
        }
        if !several && annotations(output).is_some_and(Annotations::need_index) {
            let why = "index annotations not supported for single platform export";
            return Err(refused(why));
        }
        match output {
            Output::Oci { dest: Destination::Stdout, tar: false, .. }
            | Output::Docker { dest: Some(Destination::Stdout), tar: false, .. } => {
                return Err(refused("tar=false needs a dest"));
            }
            Output::Oci { tar: false, .. } | Output::Docker { tar: false, .. } => {}
            Output::Tar { dest, .. }
            | Output::Oci { dest, .. }
            | Output::Docker { dest: Some(dest), .. } => match dest {
                Destination::Path(path) if path.is_dir() => {
                    let path = path.display();
                    return Err(refused(format!("destination file {path} is a directory")));
                }
                Destination::Path(_) => {}
                Destination::Stdout => on_stdout += 1,
            },
            _ => {}
        }
        wanted.push(Wanted { output: output.clone(), names });
    }
    if on_stdout > 1 {
        return Err(refused("only one output can go to standard output"));
    }
    Ok(wanted)
}

/// The annotations of an output that can have any.
fn annotations(output: &Output) -> Option<&Annotations> {
    match output {
        Output::Image { options, .. }
        | Output::Oci { options, .. }
        | Output::Docker { options, .. } => Some(&options.annotations),
        _ => None,
    }
}

fn check_naming<'a>(
    mut names: impl Iterator<Item = &'a String>,
    naming: &Naming,
    push: bool,
) -> Result<(), BuildError> {
    let is_tagged = |name: &&String| name.rsplit('/').next().is_some_and(|last| last.contains(':'));
    if naming.by_digest
        && let Some(name) = names.find(is_tagged)
    {
        return Err(refused(format!("cannot push {name} by digest: leave its tag out")));
    }
    if naming.discard && !push {
        return Err(refused("store=false without push=true would leave nothing"));
    }
    Ok(())
}

fn refused(why: impl Into<String>) -> BuildError {
    BuildError::Output(why.into())
}

/// Names for images, each once.
fn parse<'a>(names: impl Iterator<Item = &'a String>) -> Result<Vec<Reference>, BuildError> {
    let mut parsed = Vec::new();
    for name in names {
        let reference = Reference::parse(name)
            .map_err(|source| BuildError::Tag { name: name.clone(), source })?;
        if reference.digest().is_some() {
            return Err(refused(format!("a tag cannot hold a digest: {name}")));
        }
        if !parsed.contains(&reference) {
            parsed.push(reference);
        }
    }
    Ok(parsed)
}

/// One of the images that outputs make of one result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Variant {
    /// Its fixed time.
    epoch: Option<i64>,
    /// No file is newer than that.
    rewrite: bool,
    /// Its layers are in eStargz of this level.
    estargz: Option<u32>,
    /// Those of the base, too.
    whole: bool,
}

/// The result of a build for one platform, and what outputs make of it.
pub(super) struct Made<'a> {
    pub(super) engine: &'a Engine,
    pub(super) store: &'a Store,
    pub(super) plan: &'a Plan,
    pub(super) snapshot: Option<SnapshotId>,
    squash: bool,
    reproducible: bool,
    /// Something is said about the image's manifest, so there has to be one.
    attested: bool,
    bringer: &'a Bringer,
    /// What the configuration says of the steps that made the image, if it is to say that.
    inline: Option<&'a [SolvedStep]>,
    cancel: &'a Cancel,
    /// The images that outputs have needed.
    images: BTreeMap<Variant, ImageRecord>,
    /// The one that was needed last.
    last: Option<Variant>,
    /// Keeps what was made for them.
    held: Lease,
}

impl<'a> Made<'a> {
    pub(super) fn new(
        engine: &'a Engine,
        request: &BuildRequest,
        (plan, snapshot): (&'a Plan, Option<SnapshotId>),
        steps: &'a [SolvedStep],
        (bringer, cancel): (&'a Bringer, &'a Cancel),
    ) -> Result<Self, BuildError> {
        let store = engine.store()?;
        let (squash, reproducible) = (request.squash, request.reproducible);
        let (images, held) = (BTreeMap::new(), store.lease());
        let inline = request.cache_to.contains(&CacheTarget::Inline).then_some(steps);
        Ok(Self {
            engine,
            store,
            plan,
            snapshot,
            squash,
            reproducible,
            attested: !request.attest.is_empty(),
            bringer,
            inline,
            cancel,
            images,
            last: None,
            held,
        })
    }

    /// The image as an output with `options` makes it.
    pub(super) fn built(
        &mut self,
        options: &ImageOptions,
        task: &Task,
    ) -> Result<Built, BuildError> {
        // It is for somebody who looks at files.
        self.bring(task)?;
        let variant = self.variant(options);
        let image = match self.images.get(&variant) {
            Some(image) => image.clone(),
            None => self.describe(variant, task)?,
        };
        self.images.insert(variant, image.clone());
        let fixed = FixedTimes { created: variant.epoch.is_some(), files: variant.rewrite };
        Ok(Built { image, fixed })
    }

    /// The image that the last output needed.
    pub(super) fn into_image(mut self) -> Option<ImageRecord> {
        self.last.and_then(|last| self.images.remove(&last))
    }

    /// The id of the image that an output needed last.
    pub(super) fn last_image(&self) -> Option<Digest> {
        self.last.and_then(|last| self.images.get(&last)).map(|image| image.id)
    }

    /// To one output; gives the manifest when one was written.
    pub(super) fn one(
        &mut self,
        wanted: &Wanted,
        task: &Task,
    ) -> Result<Option<WrittenManifest>, BuildError> {
        let names = wanted.names.as_slice();
        match &wanted.output {
            Output::CacheOnly => {}
            Output::Image { push, options, .. } => {
                return self.store_image(names, *push, options, task);
            }
            Output::Docker { dest: None, options, .. } => {
                self.bring(task)?;
                return self.store_image(names, false, options, task);
            }
            Output::Oci { dest, tar, options, .. }
            | Output::Docker { dest: Some(dest), tar, options, .. } => {
                let docker = matches!(wanted.output, Output::Docker { .. });
                let image = self.archived(options, docker, names, task)?;
                match dest {
                    Destination::Path(dir) if !tar => {
                        bld_export::write_layout(self.store, std::slice::from_ref(&image), dir)?;
                    }
                    dest => archive(self.store, dest, &image, docker, task, self.cancel)?,
                }
                return Ok(Some(self.written(&image.manifest)));
            }
            Output::Local { dest, split, delete } => {
                self.bring(task)?;
                let options = self.files(*split, *delete);
                bld_export::write_rootfs_dir(self.store, self.snapshot, dest, &options)?;
            }
            Output::Tar { dest, split } => {
                self.bring(task)?;
                let (store, snapshot, epoch) = (self.store, self.snapshot, self.plan.epoch);
                let subdir = split.unwrap_or(false).then(|| vec![(self.directory(), snapshot)]);
                write_file(dest, task, self.cancel, &mut |out| {
                    let written = match &subdir {
                        Some(one) => bld_export::write_rootfs_tars(store, one, out, epoch),
                        None => bld_export::write_rootfs_tar(store, snapshot, out, epoch),
                    };
                    Ok(written?)
                })?;
            }
        }
        Ok(None)
    }

    /// To the image store, and from there to registries.
    fn store_image(
        &mut self,
        names: &[Reference],
        push: bool,
        options: &ImageOptions,
        task: &Task,
    ) -> Result<Option<WrittenManifest>, BuildError> {
        let (store, naming) = (self.store, &options.naming);
        // First, so that one walk finds the ids of the layers and packs them.
        let mut manifest = None;
        if push || self.attested || is_special(options) || self.variant(options).rewrite {
            manifest = Some(self.manifest(options, false, task)?);
        }
        let mut image = self.image(options, task)?;
        let before = store.image(&image.id).map_err(EngineError::from)?;
        if manifest.is_none() && self.is_annotated(before.as_ref()) {
            // Else those of an earlier build would stay.
            manifest = Some(self.manifest(options, false, task)?);
        }
        if let Some(manifest) = &manifest {
            image.manifest = Some(manifest.digest);
        }
        let tags = if naming.by_digest || naming.discard { &[] } else { names };
        let is_new = |name: &&Reference| {
            !store.resolve(&name.to_string()).is_ok_and(|known| known == Some(image.id))
        };
        let new: Vec<_> = tags.iter().filter(is_new).collect();
        name(store, &image, tags, task)?;
        for name in new {
            self.engine.announce_image("tag", &image.id, &name.familiar());
        }
        let Some(manifest) = manifest else { return Ok(None) };
        for name in naming.repositories(names) {
            store.add_repo_digest(&name, &manifest.digest, &image.id)?;
            task.progress(format!("naming to {name}@{}", manifest.digest), 1, Some(1), true);
        }
        for name in names.iter().filter(|_| push) {
            let name =
                if naming.by_digest { name.by_digest(manifest.digest) } else { name.clone() };
            let (events, vertex) = (task.events(), task.id());
            self.engine.push_manifest(&name, &image, &manifest, events, vertex)?;
            task.progress(format!("pushing {name}"), 1, Some(1), true);
        }
        if naming.discard && before.is_none() {
            store.delete_image(&image.id)?;
        }
        Ok(Some(self.written(&manifest)))
    }

    /// Whether an image is in the store with a manifest that has annotations.
    fn is_annotated(&self, image: Option<&ImageRecord>) -> bool {
        let manifest = image.and_then(|image| image.manifest);
        let bytes = manifest.and_then(|digest| self.store.read_blob(&digest).ok());
        let parsed = bytes.and_then(|bytes| document::parse_manifest(&bytes).ok());
        parsed
            .is_some_and(|manifest| manifest.annotations().as_ref().is_some_and(|a| !a.is_empty()))
    }

    fn files(&self, split: Option<bool>, delete: bool) -> FilesOptions {
        let subdir = split.unwrap_or(false).then(|| self.directory());
        FilesOptions { mtime: self.plan.epoch, subdir, delete }
    }

    /// The directory for the files of its platform.
    pub(super) fn directory(&self) -> String {
        self.plan.platform.to_string().replace('/', "_")
    }

    fn variant(&self, options: &ImageOptions) -> Variant {
        let epoch = options.epoch.or(self.plan.epoch);
        let rewrite = (options.rewrite_timestamp || self.reproducible) && epoch.is_some();
        let estargz = match options.compression {
            Compression::Estargz { level } => Some(level),
            _ => None,
        };
        Variant { epoch, rewrite, estargz, whole: estargz.is_some() && options.force_compression }
    }

    /// Number of layers that come from the base image.
    fn base_layers(&self) -> usize {
        self.plan.config.rootfs.diff_ids.len()
    }

    /// The topmost layer of a variant.
    fn top(&self, variant: Variant, task: &Task) -> Result<Option<SnapshotId>, BuildError> {
        let Some(top) = self.snapshot else { return Ok(None) };
        let clamp = variant.epoch.filter(|_| variant.rewrite);
        let derivation = Derivation { squash: self.squash, clamp, estargz: None };
        let parts = Derivation { estargz: variant.estargz, ..Derivation::default() };
        if derivation != parts || variant.estargz.is_some() {
            self.bring(task)?;
        }
        let base = self.base_layers();
        let top = bld_export::derive(self.store, top, base, derivation, &self.held)?;
        let base = if variant.whole { 0 } else { base };
        Ok(Some(bld_export::derive(self.store, top, base, parts, &self.held)?))
    }

    /// The image, which is not in the store for that: an archive must not wait until all it is made
    /// of is durable.
    pub(super) fn image(
        &mut self,
        options: &ImageOptions,
        task: &Task,
    ) -> Result<ImageRecord, BuildError> {
        let variant = self.variant(options);
        if options.rewrite_timestamp && !variant.rewrite {
            let message = "rewrite-timestamp changes nothing without SOURCE_DATE_EPOCH".to_owned();
            task.events().emit(task.id(), EventKind::Note { message });
        }
        self.last = Some(variant);
        if let Some(image) = self.images.get(&variant) {
            return Ok(image.clone());
        }
        let image = self.describe(variant, task)?;
        self.images.insert(variant, image.clone());
        Ok(image)
    }

    fn describe(&self, variant: Variant, task: &Task) -> Result<ImageRecord, BuildError> {
        let plan = self.plan;
        let top = self.top(variant, task)?;
        let mut config = plan.config.clone();
        // That of the base says nothing of this image.
        config.extra.remove(bld_cache::inline::FIELD);
        // Layers that were derived are not those of the steps.
        if let Some(steps) = self.inline.filter(|_| top == self.snapshot)
            && let Some(value) = share::inline(self.store, steps, top)?
        {
            config.extra.insert(bld_cache::inline::FIELD.to_owned(), value);
        }
        // The plan's config ends in the entries that `history` lists; times come with them.
        config.history.truncate(config.history.len().saturating_sub(plan.history.len()));
        let mut history: Vec<History> =
            plan.history.iter().map(|step| step.entry.clone()).collect();
        if self.squash {
            squash(&mut history);
        }
        let recipe = Recipe {
            history,
            config,
            snapshot: top,
            platform: plan.platform.clone(),
            epoch: variant.epoch,
        };
        Ok(bld_export::describe(self.store, recipe)?)
    }

    /// Brings the files of the result here.
    pub(super) fn bring(&self, task: &Task) -> Result<(), BuildError> {
        match self.snapshot {
            Some(id) => Ok(self.bringer.bring_or_forget(id, task.id())?),
            None => Ok(()),
        }
    }

    /// Writes the manifest and the layers that are not there yet. Layers that are elsewhere stay there.
    pub(super) fn manifest(
        &mut self,
        options: &ImageOptions,
        docker_types: bool,
        task: &Task,
    ) -> Result<Manifest, BuildError> {
        if options.force_compression {
            self.bring(task)?;
        }
        let (variant, platform) = (self.variant(options), &self.plan.platform);
        let rewritten = variant.epoch.filter(|_| variant.rewrite);
        // Docker's media types have no annotations.
        let is_plain = options.annotations.is_empty() && rewritten.is_none();
        let manifest_options = ManifestOptions {
            compression: options.compression,
            force_compression: options.force_compression,
            docker_types: is_plain && options.oci_mediatypes.map_or(docker_types, |oci| !oci),
            annotations: options.annotations.of(AnnotationScope::Manifest, platform),
            rewritten: rewritten.map(|epoch| (self.base_layers(), epoch)),
            cancel: self.cancel.clone(),
        };
        let progress = |done, all| {
            task.progress("exporting layers", done as u64, Some(all as u64), done == all);
        };
        if !self.images.contains_key(&variant) {
            let top = self.top(variant, task)?;
            bld_export::pack_new_layers(self.store, top, &manifest_options, &progress)?;
        }
        let image = self.image(options, task)?;
        Ok(bld_export::manifest(self.store, &image, &manifest_options, &progress)?)
    }

    /// Brings the blobs of an image here that are elsewhere.
    pub(super) fn fetch_blobs(
        &mut self,
        manifest: &Manifest,
        options: &ImageOptions,
        task: &Task,
    ) -> Result<(), BuildError> {
        let layers = self.image(options, task)?.layers;
        for (diff_id, blob) in layers.iter().zip(&manifest.layers) {
            self.bringer.fetch_blob(diff_id, &blob.digest, task.id())?;
        }
        Ok(())
    }

    fn written(&self, manifest: &Manifest) -> WrittenManifest {
        WrittenManifest {
            digest: manifest.digest,
            media_type: manifest.media_type.clone(),
            size: manifest.bytes.len() as u64,
            platform: Some(self.plan.platform.clone()),
        }
    }

    fn archived(
        &mut self,
        options: &ImageOptions,
        docker_types: bool,
        names: &[Reference],
        task: &Task,
    ) -> Result<ArchiveImage, BuildError> {
        let manifest = self.manifest(options, docker_types, task)?;
        self.fetch_blobs(&manifest, options, task)?;
        let scope = AnnotationScope::ManifestDescriptor;
        let annotations = options.annotations.of(scope, &self.plan.platform);
        Ok(ArchiveImage { manifest, index: None, names: names.to_vec(), annotations })
    }
}

/// Writes an archive of one image.
pub(super) fn archive(
    store: &Store,
    dest: &Destination,
    image: &ArchiveImage,
    docker: bool,
    task: &Task,
    cancel: &Cancel,
) -> Result<(), BuildError> {
    write_file(dest, task, cancel, &mut |out| {
        Ok(bld_export::write_archive(store, std::slice::from_ref(image), docker, out)?)
    })
}

/// Whether the manifest of an image in the store is to be another one than a push would write.
pub(super) fn is_special(options: &ImageOptions) -> bool {
    let ImageOptions { compression, force_compression, oci_mediatypes, annotations, .. } = options;
    *force_compression
        || *compression != Compression::default()
        || *oci_mediatypes == Some(false)
        || !annotations.is_empty()
        || options.naming.canonical
        || options.naming.dangling.is_some()
}

impl Naming {
    /// The repositories in which an image with these `names` is known by its digest.
    fn repositories(&self, names: &[Reference]) -> Vec<String> {
        let canonical = names.iter().filter(|_| self.canonical).map(Reference::name);
        let prefix = self.dangling.clone();
        let dangling = prefix.filter(|_| names.is_empty() || !self.dangling_if_unnamed);
        canonical.chain(dangling).collect()
    }
}

/// Tells of all that made layers that they are in one layer now.
fn squash(history: &mut Vec<History>) {
    let mut merged = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        entry.empty_layer = true;
        merged += 1;
    }
    match merged {
        0 => {}
        1 => {
            // One layer stays what it is.
            if let Some(entry) = history.iter_mut().rfind(|entry| entry.empty_layer) {
                entry.empty_layer = false;
            }
        }
        _ => history.push(History {
            created_by: Some("squash".to_owned()),
            comment: Some(format!("{merged} layers in one")),
            ..History::default()
        }),
    }
}

/// Puts the image into the store, and gives it its names there.
fn name(
    store: &Store,
    image: &ImageRecord,
    names: &[Reference],
    task: &Task,
) -> Result<(), BuildError> {
    store.put_image(image).map_err(EngineError::from)?;
    task.progress(format!("writing image {}", image.id), 1, Some(1), true);
    for name in names {
        store.tag(&name.to_string(), &image.id, None)?;
        task.progress(format!("naming to {name}"), 1, Some(1), true);
    }
    Ok(())
}

pub(super) fn is_on_stdout(output: &Output) -> bool {
    matches!(
        output,
        Output::Tar { dest: Destination::Stdout, .. }
            | Output::Oci { dest: Destination::Stdout, .. }
            | Output::Docker { dest: Some(Destination::Stdout), .. }
    )
}

pub(super) fn title(output: &Output) -> &'static str {
    match output {
        Output::Image { push: true, .. } => "exporting to image and pushing",
        Output::Image { .. } | Output::Docker { dest: None, .. } => "exporting to image",
        Output::Oci { .. } => "exporting to oci image format",
        Output::Docker { .. } => "exporting to docker image format",
        Output::Local { .. } => "exporting to client directory",
        Output::Tar { .. } => "exporting to client tarball",
        Output::CacheOnly => "keeping the result in the build cache",
    }
}

/// Writes a file that appears complete or not at all, or to where there is no such thing: standard
/// output, a device, a pipe.
pub(super) fn write_file(
    dest: &Destination,
    task: &Task,
    cancel: &Cancel,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let mut write_to = |out: &mut dyn Write, path: &Path| {
        let mut out = BufWriter::with_capacity(BUFFER, Cancelable::new(out, cancel));
        write(&mut out)?;
        out.flush().map_err(|source| failed("write", path, source))
    };
    let path = match dest {
        Destination::Stdout => {
            return write_to(&mut io::stdout().lock(), Path::new("standard output"));
        }
        Destination::Path(path) => path,
    };
    // What a link leads to is meant, not the link.
    let path = &path.canonicalize().unwrap_or_else(|_| path.clone());
    if path.metadata().is_ok_and(|metadata| !metadata.is_file()) {
        let opened = OpenOptions::new().write(true).open(path);
        return write_to(&mut opened.map_err(|source| failed("open", path, source))?, path);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let own = format!(".{name}.{}-{}.partial", std::process::id(), task.id());
    let partial = path.with_file_name(own);
    let written = File::create(&partial)
        .map_err(|source| failed("create", path, source))
        .and_then(|mut file| write_to(&mut file, path))
        .and_then(|()| fs::rename(&partial, path).map_err(|source| failed("rename", path, source)));
    if written.is_err() {
        // What is left of it is useless; that it could not be removed as well says nothing new.
        let _ = fs::remove_file(&partial);
    }
    written
}

/// Bytes collected before they are written.
const BUFFER: usize = 1 << 20;

fn failed(action: &'static str, path: &Path, source: io::Error) -> BuildError {
    EngineError::Io { action, path: path.to_owned(), source }.into()
}
