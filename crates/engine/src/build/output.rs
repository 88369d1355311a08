//! Handing the result of a build out.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use bld_event::{Cancel, Events, Task};
use bld_export::{ArchiveImage, Cancelable, Manifest, ManifestOptions, Recipe};
use bld_graph::Plan;
use bld_oci::Reference;
use bld_solve::Solved;
use bld_store::{ImageRecord, Store};

use super::error::BuildError;
use super::request::{
    BuildRequest, BuildResult, Destination, ImageOptions, Output, StepCounts, WrittenManifest,
};
use crate::{Engine, EngineError};

/// One output and the names of the image there, checked before anything runs.
#[derive(Debug)]
pub(super) struct Wanted {
    output: Output,
    names: Vec<Reference>,
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
        match output {
            Output::Oci { dest: Destination::Stdout, tar: false, .. } => {
                return Err(refused("tar=false needs a dest"));
            }
            Output::Oci { tar: false, .. } => {}
            Output::Tar { dest }
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

/// Hands the result of one build out.
pub(super) struct HandOut<'a> {
    pub(super) engine: &'a Engine,
    pub(super) plan: &'a Plan,
    pub(super) solved: &'a Solved,
    pub(super) events: &'a Events,
    pub(super) cancel: &'a Cancel,
    /// The image, once an output has needed it.
    pub(super) image: Option<ImageRecord>,
}

impl HandOut<'_> {
    /// To all of `wanted`, one after the other.
    pub(super) fn all(mut self, wanted: &[Wanted]) -> Result<BuildResult, BuildError> {
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
        Ok(BuildResult {
            image_id: self.image.map(|image| image.id),
            manifest,
            names,
            steps: StepCounts { run: self.solved.run, cached: self.solved.cached },
        })
    }

    /// To one output, as a task; gives the manifest when one was written.
    fn one_shown(&mut self, wanted: &Wanted) -> Result<Option<WrittenManifest>, BuildError> {
        let task = self.events.task(title(&wanted.output));
        let written = self
            .one(wanted, &task)
            .map_err(|error| if self.cancel.is_canceled() { BuildError::Canceled } else { error });
        task.finish(written)
    }

    /// To one output; gives the manifest when one was written.
    fn one(&mut self, wanted: &Wanted, task: &Task) -> Result<Option<WrittenManifest>, BuildError> {
        let store = self.engine.store()?;
        let names = wanted.names.as_slice();
        match &wanted.output {
            Output::CacheOnly => {}
            Output::Docker { dest: None, .. } => name(store, &self.image()?, names, task)?,
            Output::Image { push, options, .. } => {
                // First, so that one walk finds the ids of the layers and packs them.
                let manifest = push.then(|| self.manifest(options, false, task)).transpose()?;
                let image = self.image()?;
                name(store, &image, names, task)?;
                if let Some(manifest) = manifest {
                    for name in names {
                        self.engine.push_manifest(
                            name,
                            &image,
                            &manifest,
                            task.events(),
                            task.id(),
                        )?;
                        task.progress(format!("pushing {name}"), 1, Some(1), true);
                    }
                    return Ok(Some(self.written(&manifest)));
                }
            }
            Output::Oci { dest: Destination::Path(dir), tar: false, options, .. } => {
                let image = self.archived(options, false, names, task)?;
                bld_export::write_layout(store, std::slice::from_ref(&image), dir)?;
                return Ok(Some(self.written(&image.manifest)));
            }
            Output::Oci { dest, options, .. } => {
                let image = self.archived(options, false, names, task)?;
                self.archive(dest, &image, false, task)?;
                return Ok(Some(self.written(&image.manifest)));
            }
            Output::Docker { dest: Some(dest), options, .. } => {
                let image = self.archived(options, true, names, task)?;
                self.archive(dest, &image, true, task)?;
                return Ok(Some(self.written(&image.manifest)));
            }
            Output::Local { dest } => {
                bld_export::write_rootfs_dir(store, self.solved.snapshot, dest)?;
            }
            Output::Tar { dest } => write_file(dest, task, self.cancel, &mut |out| {
                Ok(bld_export::write_rootfs_tar(store, self.solved.snapshot, out)?)
            })?,
        }
        Ok(None)
    }

    /// The image, which is not in the store for that: an archive must not wait until all it is made
    /// of is durable.
    fn image(&mut self) -> Result<ImageRecord, BuildError> {
        match &self.image {
            Some(image) => Ok(image.clone()),
            None => {
                let image = describe(self.engine.store()?, self.plan, self.solved)?;
                Ok(self.image.insert(image).clone())
            }
        }
    }

    /// Writes the manifest and the layers that are not there yet.
    fn manifest(
        &mut self,
        options: &ImageOptions,
        docker_types: bool,
        task: &Task,
    ) -> Result<Manifest, BuildError> {
        let options = ManifestOptions {
            compression: options.compression,
            force_compression: options.force_compression,
            docker_types: options.oci_mediatypes.map_or(docker_types, |oci| !oci),
            annotations: options.annotations.clone(),
            cancel: self.cancel.clone(),
        };
        let progress = |done, all| {
            task.progress("exporting layers", done as u64, Some(all as u64), done == all);
        };
        let store = self.engine.store()?;
        if self.image.is_none() {
            bld_export::pack_new_layers(store, self.solved.snapshot, &options, &progress)?;
        }
        Ok(bld_export::manifest(store, &self.image()?, &options, &progress)?)
    }

    fn written(&self, manifest: &Manifest) -> WrittenManifest {
        WrittenManifest {
            digest: manifest.digest,
            media_type: manifest.media_type.clone(),
            size: manifest.bytes.len() as u64,
            platform: self.plan.platform.clone(),
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
        Ok(ArchiveImage { manifest, names: names.to_vec() })
    }

    fn archive(
        &self,
        dest: &Destination,
        image: &ArchiveImage,
        docker: bool,
        task: &Task,
    ) -> Result<(), BuildError> {
        let store = self.engine.store()?;
        write_file(dest, task, self.cancel, &mut |out| {
            Ok(bld_export::write_archive(store, std::slice::from_ref(image), docker, out)?)
        })
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

fn is_on_stdout(output: &Output) -> bool {
    matches!(
        output,
        Output::Tar { dest: Destination::Stdout }
            | Output::Oci { dest: Destination::Stdout, .. }
            | Output::Docker { dest: Some(Destination::Stdout), .. }
    )
}

fn title(output: &Output) -> &'static str {
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

fn describe(store: &Store, plan: &Plan, solved: &Solved) -> Result<ImageRecord, BuildError> {
    let mut config = plan.config.clone();
    // The plan's config ends in the entries that `history` lists; times come with them.
    config.history.truncate(config.history.len().saturating_sub(plan.history.len()));
    let recipe = Recipe {
        history: plan.history.iter().map(|step| step.entry.clone()).collect(),
        config,
        snapshot: solved.snapshot,
        platform: plan.platform.clone(),
        epoch: plan.epoch,
    };
    Ok(bld_export::describe(store, recipe)?)
}

/// Writes a file that appears complete or not at all, or to where there is no such thing: standard
/// output, a device, a pipe.
fn write_file(
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
