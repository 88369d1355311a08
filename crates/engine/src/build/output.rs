//! Handing the result of a build out.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

use bld_event::{Events, Task};
use bld_export::{ArchiveImage, Manifest, ManifestOptions, Recipe};
use bld_graph::Plan;
use bld_oci::Reference;
use bld_solve::Solved;
use bld_store::{ImageRecord, Store};

use super::error::BuildError;
use super::request::{BuildRequest, BuildResult, Destination, ImageOptions, Output, StepCounts};
use crate::{Engine, EngineError};

/// The names of `-t`, checked before anything runs.
pub(super) fn names(request: &BuildRequest) -> Result<Vec<Reference>, BuildError> {
    let further = request.outputs.iter().flat_map(|output| match output {
        Output::Image { names, .. } | Output::Oci { names, .. } | Output::Docker { names, .. } => {
            names.as_slice()
        }
        _ => &[],
    });
    let mut parsed = Vec::new();
    for name in request.tags.iter().chain(further) {
        let reference = Reference::parse(name)
            .map_err(|source| BuildError::Tag { name: name.clone(), source })?;
        if reference.digest().is_some() {
            return Err(BuildError::Output(format!("a tag cannot hold a digest: {name}")));
        }
        if !parsed.contains(&reference) {
            parsed.push(reference);
        }
    }
    Ok(parsed)
}

impl Engine {
    pub(super) fn hand_out(
        &self,
        request: &BuildRequest,
        names: &[Reference],
        plan: &Plan,
        solved: &Solved,
        events: &Events,
    ) -> Result<BuildResult, BuildError> {
        let store_image =
            Output::Image { names: Vec::new(), push: false, options: ImageOptions::default() };
        let outputs = match request.outputs.as_slice() {
            [] => std::slice::from_ref(&store_image),
            outputs => outputs,
        };
        let mut result = BuildResult {
            image_id: None,
            manifest: None,
            names: names.iter().map(ToString::to_string).collect(),
            steps: StepCounts { run: solved.run, cached: solved.cached },
        };
        let mut image = None;
        for output in outputs {
            let task = events.task(title(output));
            let handed =
                self.hand_out_one(output, names, plan, solved, &mut image, &mut result, &task);
            task.finish(handed)?;
        }
        result.image_id = image.map(|image| image.id);
        Ok(result)
    }

    #[expect(clippy::too_many_arguments, reason = "one output among the things all outputs share")]
    fn hand_out_one(
        &self,
        output: &Output,
        names: &[Reference],
        plan: &Plan,
        solved: &Solved,
        image: &mut Option<ImageRecord>,
        result: &mut BuildResult,
        task: &Task,
    ) -> Result<(), BuildError> {
        let store = self.store()?;
        let mut assembled = || -> Result<ImageRecord, BuildError> {
            match image {
                Some(image) => Ok(image.clone()),
                None => Ok(image.insert(assemble(store, plan, solved)?).clone()),
            }
        };
        match output {
            Output::CacheOnly => {}
            Output::Docker { dest: None, .. } => name(store, &assembled()?, names, task)?,
            Output::Image { push, options, .. } => {
                let image = assembled()?;
                name(store, &image, names, task)?;
                if *push {
                    let manifest = manifest(store, &image, options, task)?;
                    for name in names {
                        self.push_manifest(name, &image, &manifest, task.events(), task.id())?;
                        task.progress(format!("pushing {name}"), 1, Some(1), true);
                    }
                    result.manifest = Some(manifest.digest);
                }
            }
            Output::Oci { dest, tar, options, .. } => {
                let manifest = manifest(store, &assembled()?, options, task)?;
                result.manifest = Some(manifest.digest);
                let image = ArchiveImage { manifest, names: names.to_vec() };
                match (dest, tar) {
                    (Destination::Path(dir), false) => {
                        bld_export::write_layout(store, &[image], dir)?;
                    }
                    (Destination::Stdout, false) => {
                        return Err(BuildError::Output("tar=false needs a dest".to_owned()));
                    }
                    (dest, true) => write_file(dest, &mut |out| {
                        Ok(bld_export::write_archive(
                            store,
                            std::slice::from_ref(&image),
                            false,
                            out,
                        )?)
                    })?,
                }
            }
            Output::Docker { dest: Some(dest), options, .. } => {
                let manifest = manifest(store, &assembled()?, options, task)?;
                result.manifest = Some(manifest.digest);
                let image = ArchiveImage { manifest, names: names.to_vec() };
                write_file(dest, &mut |out| {
                    Ok(bld_export::write_archive(store, std::slice::from_ref(&image), true, out)?)
                })?;
            }
            Output::Local { dest } => {
                bld_export::write_rootfs_dir(store, solved.snapshot, dest)?;
            }
            Output::Tar { dest } => write_file(dest, &mut |out| {
                Ok(bld_export::write_rootfs_tar(store, solved.snapshot, out)?)
            })?,
        }
        Ok(())
    }
}

/// Gives the image its names in the store.
fn name(
    store: &Store,
    image: &ImageRecord,
    names: &[Reference],
    task: &Task,
) -> Result<(), BuildError> {
    task.progress(format!("writing image {}", image.id), 1, Some(1), true);
    for name in names {
        store.tag(&name.to_string(), &image.id, None)?;
        task.progress(format!("naming to {name}"), 1, Some(1), true);
    }
    Ok(())
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

fn assemble(store: &Store, plan: &Plan, solved: &Solved) -> Result<ImageRecord, BuildError> {
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
    Ok(bld_export::assemble(store, recipe)?)
}

fn manifest(
    store: &Store,
    image: &ImageRecord,
    options: &ImageOptions,
    task: &Task,
) -> Result<Manifest, BuildError> {
    let options = ManifestOptions {
        compression: options.compression,
        force_compression: options.force_compression,
        docker_types: options.oci_mediatypes == Some(false),
        annotations: options.annotations.clone(),
    };
    Ok(bld_export::manifest(store, image, &options, &|done, all| {
        task.progress("exporting layers", done as u64, Some(all as u64), done == all);
    })?)
}

/// Writes a file that appears complete or not at all, or standard output.
fn write_file(
    dest: &Destination,
    write: &mut dyn FnMut(&mut dyn Write) -> Result<(), BuildError>,
) -> Result<(), BuildError> {
    let Destination::Path(path) = dest else {
        let mut out = BufWriter::new(io::stdout().lock());
        write(&mut out)?;
        return out.flush().map_err(|source| failed("write", Path::new("standard output"), source));
    };
    let mut partial = path.as_os_str().to_owned();
    partial.push(".partial");
    let partial = Path::new(&partial);
    let written = (|| {
        let file = File::create(partial).map_err(|source| failed("create", path, source))?;
        let mut out = BufWriter::with_capacity(1 << 20, file);
        write(&mut out)?;
        out.flush().map_err(|source| failed("write", path, source))?;
        fs::rename(partial, path).map_err(|source| failed("rename", path, source))
    })();
    if written.is_err() {
        // What is left of it is useless; that it could not be removed as well says nothing new.
        let _ = fs::remove_file(partial);
    }
    written
}

fn failed(action: &'static str, path: &Path, source: io::Error) -> BuildError {
    EngineError::Io { action, path: path.to_owned(), source }.into()
}
